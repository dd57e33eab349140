"""No pod needs a privilege that Pod Security "restricted" refuses, or could do without."""

from manifests import PROBES, told

# The Pod Security Standards: "baseline", and what "restricted" adds, as fields and the values that
# they may have; None stands for a field that is not there.
NO = [None, False]
CONFINED = ["RuntimeDefault", "Localhost"]
POD = {"hostNetwork": NO, "hostPID": NO, "hostIPC": NO}
CONTAINER = {
    "privileged": NO,
    "allowPrivilegeEscalation": [False],
    "procMount": [None, "Default"],
}
SELINUX_TYPES = [None, "", *(f"container_{of}t" for of in ("", "init_", "kvm_", "engine_"))]
# Of a container, or else of its pod.
INHERITED = {"runAsNonRoot": [True], "seccompProfile.type": CONFINED}
POD_AND_CONTAINER = {
    "windowsOptions.hostProcess": NO,
    "seccompProfile.type": [None, *CONFINED],
    "appArmorProfile.type": [None, *CONFINED],
    "seLinuxOptions.type": SELINUX_TYPES,
    "seLinuxOptions.user": [None, ""],
    "seLinuxOptions.role": [None, ""],
}
VOLUMES = ["configMap", "downwardAPI", "emptyDir", "projected", "secret"]
VOLUMES += ["csi", "ephemeral", "persistentVolumeClaim"]
CAPABILITIES = ["NET_BIND_SERVICE"]
# Some more are allowed; the gateway needs none.
SYSCTLS = ["net.ipv4.ip_unprivileged_port_start"]


def restricted(manifests):
    for pod in manifests.pods:
        yield from told(pod.title, pod_faults(pod.spec))
        for container in pod.containers:
            faults = container_faults(container, pod.spec.get("securityContext", {}))
            yield from told(f"{pod.title}, {container['name']}", faults)


def pod_faults(spec):
    context = spec.get("securityContext", {})
    yield from field_faults(spec, POD)
    yield from field_faults(context, POD_AND_CONTAINER)
    yield from root_faults(context)
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sets {sysctl['name']}"
    for volume in spec.get("volumes", []):
        for source in set(volume) - {"name", *VOLUMES}:
            yield f"volume {volume['name']} is a {source}"


def container_faults(container, of_pod):
    context = container.get("securityContext", {})
    yield from field_faults(context, CONTAINER | POD_AND_CONTAINER)
    yield from field_faults(of_pod | context, INHERITED)
    yield from root_faults(context)
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "does not drop ALL capabilities"
    for capability in set(capabilities.get("add", [])) - set(CAPABILITIES):
        yield f"adds the capability {capability}"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"takes port {port['hostPort']} of its node"
    handlers = [container.get(name, {}) for name in PROBES]
    for handler in [*handlers, *container.get("lifecycle", {}).values()]:
        for kind in ("httpGet", "tcpSocket"):
            if handler.get(kind, {}).get("host"):
                yield f"a {kind} asks {handler[kind]['host']}"


def root_faults(context):
    if context.get("runAsUser") == 0:
        yield "runs as root"


def field_faults(node, fields):
    for path, values in fields.items():
        value = node
        for key in path.split("."):
            value = (value or {}).get(key)
        if value not in values:
            yield f"{path} is {'not set' if value is None else value}"


def hardening(manifests):
    """What no standard asks of everybody, and this gateway can do with."""
    for pod in manifests.pods:
        fields = {"automountServiceAccountToken": [False], "enableServiceLinks": [False]}
        yield from told(pod.title, field_faults(pod.spec, fields))
        for container in pod.containers:
            faults = hardening_faults(container, pod.spec.get("securityContext", {}))
            yield from told(f"{pod.title}, {container['name']}", faults)


def hardening_faults(container, of_pod):
    context = of_pod | container.get("securityContext", {})
    yield from field_faults(context, {"readOnlyRootFilesystem": [True]})
    for field in ("runAsUser", "runAsGroup"):
        if context.get(field, 0) < 10000:
            yield f"{field} may be one of the node's own"
    resources = container.get("resources", {})
    for field, resource in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if resource not in resources.get(field, {}):
            yield f"resources.{field}.{resource} is not set"
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        yield f"image {container['image']} may be another one tomorrow"
