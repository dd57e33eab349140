"""Names are ones that the API server takes, and each is there once: no schema says either."""

import re

from manifests import title, told

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PORT = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
ON_EVERYTHING = [f"app.kubernetes.io/{label}" for label in ("name", "instance", "managed-by")]


def faults(manifests):
    yield from told("the release", repeated([title(one) for one in manifests.documents]))
    for document in manifests.documents:
        yield from told(title(document), document_faults(document))
    for service in manifests.of("Service"):
        ports = service["spec"]["ports"]
        yield from told(title(service), port_name_faults(ports))
        yield from told(title(service), repeated([port["port"] for port in ports]))
    for pod in manifests.pods:
        yield from told(pod.title, pod_faults(pod))


def document_faults(document):
    form = SERVICE if document["kind"] == "Service" else LABEL
    if not form.fullmatch(document["metadata"]["name"]):
        yield "is no name of at most 63 letters, digits and hyphens"
    labels = document["metadata"].get("labels", {})
    for key in ON_EVERYTHING:
        if key not in labels:
            yield f"has no label {key}"
    yield from label_faults(labels)


def pod_faults(pod):
    yield from label_faults(pod.labels)
    yield from port_name_faults(pod.ports)
    yield from repeated([port["containerPort"] for port in pod.ports])
    yield from repeated([container["name"] for container in pod.containers])
    yield from repeated([volume["name"] for volume in pod.spec.get("volumes", [])])
    for container in pod.containers:
        yield from repeated([variable["name"] for variable in container.get("env", [])])
        yield from repeated([mount["mountPath"] for mount in container.get("volumeMounts", [])])


def label_faults(labels):
    for key, value in labels.items():
        if not LABEL_VALUE.fullmatch(value):
            yield f"label {key} cannot be {value!r}"


def port_name_faults(ports):
    names = [port["name"] for port in ports if "name" in port]
    yield from repeated(names)
    for name in names:
        if not PORT.fullmatch(name):
            yield f"port name {name!r} is not at most 15 small letters, digits and hyphens"


def repeated(names):
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield f"has {name} more than once"
