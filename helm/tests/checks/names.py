"""Names are ones that the API server takes, and each is there once: no schema says either."""

import re

from manifests import title

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PORT = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
ON_EVERYTHING = ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"]


def faults(manifests):
    yield from repeated("the release", [title(document) for document in manifests.documents])
    for document in manifests.documents:
        name = document["metadata"]["name"]
        form = SERVICE if document["kind"] == "Service" else LABEL
        if not form.fullmatch(name):
            yield f"{title(document)}: is no name of at most 63 letters, digits and hyphens"
        labels = document["metadata"].get("labels", {})
        for key in ON_EVERYTHING:
            if key not in labels:
                yield f"{title(document)}: has no label {key}"
        for key, value in labels.items():
            if not LABEL_VALUE.fullmatch(value):
                yield f"{title(document)}: label {key} cannot be {value!r}"
    for service in manifests.of("Service"):
        ports = service["spec"]["ports"]
        yield from ports_faults(title(service), ports)
        yield from repeated(title(service), [(port["port"], port.get("protocol", "TCP")) for port in ports])
    for pod in manifests.pods():
        yield from pod_faults(title(pod.owner), pod)


def pod_faults(where, pod):
    yield from repeated(where, [container["name"] for container in pod.containers])
    yield from repeated(where, [volume["name"] for volume in pod.spec.get("volumes", [])])
    yield from ports_faults(where, pod.ports())
    yield from repeated(where, [port["containerPort"] for port in pod.ports()])
    for container in pod.containers:
        yield from repeated(where, [variable["name"] for variable in container.get("env", [])])
        yield from repeated(where, [mount["mountPath"] for mount in container.get("volumeMounts", [])])
    for key, value in pod.labels.items():
        if not LABEL_VALUE.fullmatch(value):
            yield f"{where}: label {key} of its pods cannot be {value!r}"


def ports_faults(where, ports):
    names = [port["name"] for port in ports if "name" in port]
    yield from repeated(where, names)
    for name in names:
        if not PORT.fullmatch(name):
            yield f"{where}: port name {name!r} is not at most 15 small letters, digits and hyphens"


def repeated(where, names):
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield f"{where}: has {name} more than once"
