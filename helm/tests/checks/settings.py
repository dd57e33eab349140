"""The gateway starts with what it finds in its pod, and the pod's ports and times are those of its settings."""

import functools
import re
import urllib.parse

import gateway
from manifests import selects, title
from pod_files import surroundings

from .network import allowed

CHART = gateway.ROOT / "helm/smtp-gateway"
DOCKERFILE = gateway.ROOT / "deployment/docker/Dockerfile"


def faults(manifests):
    for deployment in manifests.of("Deployment"):
        pod = next(pod for pod in manifests.pods() if pod.owner is deployment)
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            settings, found = in_force(manifests, pod, container)
            found += [*port_faults(settings, container), *time_faults(settings, pod), *memory_faults(settings, container)]
            found += [*probe_faults(settings, container), *egress_faults(settings, manifests, pod)]
            yield from (f"{title(deployment)}: {fault}" for fault in found)
    for pod in manifests.pods():
        for container in pod.containers:
            yield from (f"{title(pod.owner)}: {fault}" for fault in gateway.usage_faults(tuple(container.get("args", []))))
    for monitor in manifests.of("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            yield from (f"{title(monitor)}: {fault}" for fault in path_faults(endpoint.get("path", "/metrics")))


def in_force(manifests, pod, container):
    files, environment, arguments = surroundings(manifests, pod, container)
    environment = image_environment() | environment
    # No text need name the certificate's paths, as they have defaults.
    for name, key in (("TLS_CERT_PATH", "cert_path"), ("TLS_KEY_PATH", "key_path")):
        path = gateway.defaults()[f"tls.{key}"]
        if path in files and not any(key in content for content in files.values()):
            environment.setdefault(name, path)
    settings, faults = gateway.check(files, environment, arguments)
    return settings, list(faults)


@functools.cache
def image_environment():
    if not DOCKERFILE.exists():
        return {}
    last_stage = DOCKERFILE.read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = re.findall(r"^ENV (.*)$", last_stage, re.MULTILINE)
    return dict(re.findall(r'(\w+)="?([^"\s]*)"?', " ".join(lines)))


def port_faults(settings, container):
    if not settings:
        return
    listeners = [listener["port"] for listener in settings["smtp.listeners"].value]
    if "smtp.port" in settings:
        listeners[0] = settings["smtp.port"].value
    bound = {*listeners, settings["http.port"].value}
    named = {port["containerPort"] for port in container.get("ports", [])}
    if bound != named or len(bound) != len(listeners) + 1:
        yield f"the gateway binds {sorted([*listeners, settings['http.port'].value])}, and the container has {sorted(named)}"
    for port in bound:
        if port < 1024:
            yield f"port {port} needs a privilege"


def time_faults(settings, pod):
    if not settings:
        return
    drain = sum(gateway.seconds(settings[key].value) for key in ("drain.pause", "drain.deadline"))
    grace = pod.spec.get("terminationGracePeriodSeconds", 30)
    if grace < drain:
        yield f"a drain may take {drain:g} s, and terminationGracePeriodSeconds is {grace}"


def memory_faults(settings, container):
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    if not settings or not limit:
        return
    available = gateway.octets(settings["limits.available_memory"].value)
    if available > gateway.octets(limit):
        yield f"limits.available_memory is {available}, and the container is killed at {limit}"


def probe_faults(settings, container):
    if not settings:
        return
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = container.get(probe, {}).get("httpGet")
        if not request:
            yield f"has no {probe} that asks by HTTP"
            continue
        if ports.get(request["port"], request["port"]) != settings["http.port"].value:
            yield f"{probe} asks at port {request['port']}, which speaks no HTTP"
        if request.get("scheme", "HTTP") != "HTTP":
            yield f"{probe} asks by {request['scheme']}"
        yield from (f"{probe}: {fault}" for fault in path_faults(request.get("path", "/")))


def path_faults(path):
    if gateway.status(path) != 200:
        yield f"the gateway answers {gateway.status(path)} at {path}"


def egress_faults(settings, manifests, pod):
    policies = [
        policy
        for policy in manifests.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"].get("matchLabels", {}), pod.labels)
        and "Egress" in policy["spec"]["policyTypes"]
    ]
    for key in ("api.url", "auth.url"):
        url = urllib.parse.urlsplit(settings[key].value if settings else "")
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        if policies and port and not {(port, "TCP"), (None, "TCP")} & allowed(policies, "egress"):
            yield f"no NetworkPolicy lets out to port {port}, where {key} is"


def default_faults(manifests, given):
    """What the chart sets, besides the settings that were given to it, is the binary's default or has a reason.

    A reason stands in the chart as "Differs from the binary: <key>: <why>".
    """
    given = set(keys(given, ""))
    reasons = {}
    for file in [CHART / "values.yaml", *(CHART / "templates").iterdir()]:
        reasons |= dict(re.findall(r"Differs from the binary: ([a-z_.]+): (\w.*)", file.read_text()))
    differing = set()
    for deployment in manifests.of("Deployment"):
        pod = next(pod for pod in manifests.pods() if pod.owner is deployment)
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            settings, _ = in_force(manifests, pod, container)
            for key, setting in settings.items():
                ours = setting.source != "default" and setting.source not in image_environment()
                if ours and key not in given and gateway.defaults().get(key) != setting.value:
                    differing.add(key)
    for key in sorted(differing - set(reasons)):
        yield f"the chart sets {key}, differently from the binary, and gives no reason"
    for key in sorted(set(reasons) - differing):
        yield f"the chart tells why {key} differs from the binary, and it does not"


def keys(settings, path):
    for key, value in settings.items():
        yield from keys(value, f"{path}{key}.") if isinstance(value, dict) else [path + key]
