"""The gateway starts with what it finds in its pod, whose ports and times are its own."""

import functools
import re
import urllib.parse

import gateway
from manifests import PROBES, allowed, title, told
from surroundings import surroundings

CHART = gateway.ROOT / "helm/smtp-gateway"
DOCKERFILE = gateway.ROOT / "deployment/docker/Dockerfile"


def faults(manifests):
    for pod in manifests.pods:
        for container in pod.containers:
            arguments = tuple(container.get("args", []))
            yield from told(pod.title, gateway.usage_faults(arguments))
            if pod.owner["kind"] == "Deployment":
                yield from told(pod.title, gateway_faults(manifests, pod, container))
    for monitor in manifests.of("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            yield from told(title(monitor), path_faults(endpoint.get("path", "/metrics")))


def gateway_faults(manifests, pod, container):
    settings, found = in_force(manifests, pod, container)
    if found:
        yield from found
        return
    values = {key: setting.value for key, setting in settings.items()}
    yield from port_faults(values, container)
    yield from memory_faults(values, container)
    yield from probe_faults(values, container)
    yield from time_faults(values, pod)
    yield from egress_faults(values, manifests.policies(pod, "Egress"))


def in_force(manifests, pod, container):
    """What the gateway makes of all that its container finds; settings by key, and faults."""
    files, environment, arguments = surroundings(manifests, pod, container)
    environment = image_environment() | environment
    # No text need name the certificate's paths, as they have defaults.
    for name, key in (("TLS_CERT_PATH", "cert_path"), ("TLS_KEY_PATH", "key_path")):
        path = gateway.defaults()[f"tls.{key}"]
        if path in files and not any(key in content for content in files.values()):
            environment.setdefault(name, path)
    return gateway.check(files, environment, arguments)


@functools.cache
def image_environment():
    """The variables that the image sets."""
    if not DOCKERFILE.exists():
        return {}
    last_stage = DOCKERFILE.read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = re.findall(r"^ENV (.*)$", last_stage, re.MULTILINE)
    return dict(re.findall(r'(\w+)="?([^"\s]*)"?', " ".join(lines)))


def port_faults(values, container):
    bound = [listener["port"] for listener in values["smtp.listeners"]]
    bound[0] = values.get("smtp.port", bound[0])
    bound = sorted([*bound, values["http.port"]])
    named = sorted(port["containerPort"] for port in container.get("ports", []))
    if bound != named:
        yield f"the gateway binds the ports {bound}, and its container has {named}"
    if bound[0] < 1024:
        yield f"to bind port {bound[0]} takes a privilege"


def memory_faults(values, container):
    limit = container["resources"].get("limits", {}).get("memory", 0)
    available = gateway.octets(values["limits.available_memory"])
    if available > gateway.octets(limit):
        yield f"limits.available_memory is {available}, and the container is killed at {limit}"


def probe_faults(values, container):
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
    for probe in PROBES:
        request = container.get(probe, {}).get("httpGet")
        if not request:
            yield f"has no {probe} that asks by HTTP"
            continue
        if ports.get(request["port"], request["port"]) != values["http.port"]:
            yield f"{probe} asks at port {request['port']}, which speaks no HTTP"
        if request.get("scheme", "HTTP") != "HTTP":
            yield f"{probe} asks by {request['scheme']}"
        yield from told(probe, path_faults(request.get("path", "/")))


def path_faults(path):
    if gateway.status(path) != 200:
        yield f"the gateway answers {gateway.status(path)} at {path}"


def time_faults(values, pod):
    drain = sum(gateway.seconds(values[key]) for key in ("drain.pause", "drain.deadline"))
    grace = pod.spec.get("terminationGracePeriodSeconds", 30)
    if grace < drain:
        yield f"a drain may take {drain:g} s, and terminationGracePeriodSeconds is {grace}"


def egress_faults(values, policies):
    for key in ("api.url", "auth.url"):
        url = urllib.parse.urlsplit(values[key])
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        if policies and port and not {(port, "TCP"), (None, "TCP")} & allowed(policies, "egress"):
            yield f"no NetworkPolicy lets out to port {port}, where {key} is"


def default_faults(case, manifests):
    """What the chart sets, besides what the case says, is the binary's default or has a reason.

    A reason stands in the chart as "Differs from the binary: <key>: <why>".
    """
    reasons = set()
    files = [CHART / name for name in ("values.yaml", *case.files)]
    for file in [*files, *(CHART / "templates").iterdir()]:
        reasons |= set(re.findall(r"Differs from the binary: ([a-z_.]+): \w", file.read_text()))
    differing = set()
    for pod in manifests.pods:
        if pod.owner["kind"] == "Deployment":
            differing |= differences(manifests, pod) - set(keys(case.values.get("config", {}), ""))
    for key in sorted(differing - reasons):
        yield f"{case.name}: sets {key}, differently from the binary, and gives no reason"
    for key in sorted(reasons - differing):
        yield f"{case.name}: tells why {key} differs from the binary, and it does not"


def differences(manifests, pod):
    """The settings that are not the binary's defaults, save for those of the image."""
    return {
        key
        for container in pod.containers
        for key, setting in in_force(manifests, pod, container)[0].items()
        if setting.source not in ("default", *image_environment())
        and setting.value != gateway.defaults().get(key)
    }


def keys(settings, path):
    for key, value in settings.items():
        yield from keys(value, f"{path}{key}.") if isinstance(value, dict) else [path + key]
