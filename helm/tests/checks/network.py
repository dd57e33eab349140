"""Traffic finds its way: selectors select, ports lead to ports, policies let through."""

from manifests import PROBES, allowed, selects, title, told

# Fields of a Service, and the types that may have them.
BY_TYPE = {
    "externalTrafficPolicy": ["LoadBalancer", "NodePort"],
    "loadBalancerClass": ["LoadBalancer"],
    "loadBalancerSourceRanges": ["LoadBalancer"],
    "allocateLoadBalancerNodePorts": ["LoadBalancer"],
}


def faults(manifests):
    for deployment in manifests.of("Deployment", "StatefulSet"):
        selector = deployment["spec"]["selector"].get("matchLabels", {})
        labels = deployment["spec"]["template"]["metadata"].get("labels", {})
        if not selector or not selects(selector, labels):
            yield f"{title(deployment)}: its selector does not select its pods"
    for policy in manifests.of("NetworkPolicy"):
        if not manifests.selected_pods(policy["spec"]["podSelector"].get("matchLabels", {})):
            yield f"{title(policy)}: selects no pod"
    for kind, look in {"Service": service_faults, "ServiceMonitor": monitor_faults}.items():
        for one in manifests.of(kind):
            yield from told(title(one), look(manifests, one))
    for pod in manifests.pods:
        for look in (probe_faults, service_port_faults, ingress_faults, dns_faults, client_faults):
            yield from told(pod.title, look(manifests, pod))


def service_faults(manifests, service):
    spec = service["spec"]
    pods = manifests.selected_pods(spec["selector"]) if spec.get("selector") else []
    if len(pods) != 1:
        yield f"selects {', '.join(pod.title for pod in pods) or 'no pod'}"
    for port in spec["ports"]:
        target = port.get("targetPort", port["port"])
        if pods and not all(pod.has_port(target) for pod in pods):
            yield f"no container has the targetPort {target}"
    own_type = spec.get("type", "ClusterIP")
    for field, types in BY_TYPE.items():
        if field in spec and own_type not in types:
            yield f"{field} is not for type {own_type}"


def monitor_faults(manifests, monitor):
    selector = monitor["spec"]["selector"].get("matchLabels", {})
    services = [
        service
        for service in manifests.of("Service")
        if selects(selector, service["metadata"].get("labels", {}))
    ]
    if not services:
        yield "selects no Service"
    names = [port.get("name") for service in services for port in service["spec"]["ports"]]
    for endpoint in monitor["spec"]["endpoints"]:
        # Two Services with such a port would have every pod scraped twice.
        count = names.count(endpoint.get("port"))
        if services and count != 1:
            yield f"{count} of its Services have the port {endpoint.get('port')}"


def probe_faults(_, pod):
    for container in pod.containers:
        ports = container.get("ports", [])
        own = [port.get("name") for port in ports] + [port["containerPort"] for port in ports]
        for probe in PROBES:
            for handler in ("httpGet", "tcpSocket", "grpc"):
                port = container.get(probe, {}).get(handler, {}).get("port")
                if port is not None and port not in own:
                    yield f"{probe} asks at port {port}, which its container does not have"


def service_port_faults(manifests, pod):
    targets = {
        port.get("targetPort", port["port"])
        for service in manifests.of("Service")
        if selects(service["spec"].get("selector", {}), pod.labels)
        for port in service["spec"]["ports"]
    }
    for port in pod.ports:
        if not targets & names(port):
            yield f"no Service leads to its port {port['containerPort']}"


def ingress_faults(manifests, pod):
    """Once a policy selects a pod, what no policy allows is closed."""
    policies = manifests.policies(pod, "Ingress")
    if not policies:
        return
    open_ports = {port for port, _ in allowed(policies, "ingress")}
    for port in sorted(map(str, open_ports - {None})):
        if not pod.has_port(int(port) if port.isdigit() else port):
            yield f"a NetworkPolicy lets in to port {port}, which it does not have"
    for port in pod.ports:
        if not open_ports & {None, *names(port)}:
            yield f"no NetworkPolicy lets in to its port {port['containerPort']}"


def dns_faults(manifests, pod):
    policies = manifests.policies(pod, "Egress")
    for protocol in ("UDP", "TCP") if policies else ():
        if not {(53, protocol), (None, protocol)} & allowed(policies, "egress"):
            yield f"no NetworkPolicy lets out DNS over {protocol}"


def client_faults(manifests, pod):
    """The test sends to a Service that is there."""
    arguments = [word for container in pod.containers for word in container.get("args", [])]
    for server in [word[9:] for word in arguments if word.startswith("--server=")]:
        host, _, port = server.partition(":")
        service = manifests.find("Service", host)
        if not service or int(port) not in [own["port"] for own in service["spec"]["ports"]]:
            yield f"sends to {server}, which no Service is"


def names(port):
    """What refers to a container port."""
    return {port.get("name"), port["containerPort"]} - {None}
