"""No pod needs a privilege that Pod Security "restricted" refuses, and all are hardened beyond that."""

from manifests import title

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
PROFILES = ("RuntimeDefault", "Localhost")
SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


def restricted(manifests):
    """The Pod Security Standards, level "restricted", which holds "baseline" too."""
    for pod in manifests.pods():
        where = title(pod.owner)
        yield from (f"{where}: {fault}" for fault in of_pod(pod.spec))
        for container in pod.containers:
            yield from (f"{where}, {container['name']}: {fault}" for fault in of_container(pod.spec, container))


def of_pod(spec):
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    context = spec.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not a safe one"
    for volume in spec.get("volumes", []):
        for source in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {source}"
    yield from of_either(context)


def of_container(pod, container):
    context = container.get("securityContext", {})
    both = {**pod.get("securityContext", {}), **context}
    if context.get("privileged"):
        yield "is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if both.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "has no seccompProfile"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "does not drop ALL capabilities"
    for capability in set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"adds the capability {capability}"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"takes port {port['hostPort']} of its node"
    handlers = [container.get(probe, {}) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    handlers += container.get("lifecycle", {}).values()
    for handler in handlers:
        if handler.get("httpGet", {}).get("host") or handler.get("tcpSocket", {}).get("host"):
            yield "a probe or hook asks another host"
    yield from of_either(context)


def of_either(context):
    """What a pod may not say, and a container neither."""
    if context.get("runAsUser") == 0:
        yield "runs as root"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "is a process of its node"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in PROFILES:
        yield "its seccompProfile confines nothing"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in PROFILES:
        yield "its appArmorProfile confines nothing"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "its seLinuxOptions are not those of a container"


def hardening(manifests):
    """What no standard asks of everybody, and this gateway can do with."""
    for pod in manifests.pods():
        where = title(pod.owner)
        for field in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.spec.get(field) is not False:
                yield f"{where}: {field} is not false"
        for container in pod.containers:
            yield from (f"{where}, {container['name']}: {fault}" for fault in hardened(pod.spec, container))


def hardened(pod, container):
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    if context.get("readOnlyRootFilesystem") is not True:
        yield "can write to its root file system"
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
