"""Traffic finds its way: selectors select, ports lead to ports, policies let through what is meant to pass."""

from manifests import selects, title


def faults(manifests):
    for deployment in manifests.of("Deployment", "StatefulSet"):
        selector = deployment["spec"]["selector"].get("matchLabels", {})
        labels = deployment["spec"]["template"]["metadata"].get("labels", {})
        if not selector or not selects(selector, labels):
            yield f"{title(deployment)}: its selector does not select its pods"
    for service in manifests.of("Service"):
        yield from service_faults(manifests, service)
    for monitor in manifests.of("ServiceMonitor"):
        yield from monitor_faults(manifests, monitor)
    for pod in manifests.pods():
        yield from probe_faults(pod)
        yield from unreached_ports(manifests, pod)
        yield from policy_faults(manifests, pod)
    for policy in manifests.of("NetworkPolicy"):
        if not manifests.selected_pods(policy["spec"]["podSelector"].get("matchLabels", {})):
            yield f"{title(policy)}: selects no pod"


def service_faults(manifests, service):
    spec = service["spec"]
    pods = manifests.selected_pods(spec.get("selector", {})) if spec.get("selector") else []
    if not pods:
        yield f"{title(service)}: selects no pod"
    if len({title(pod.owner) for pod in pods}) > 1:
        yield f"{title(service)}: selects pods of {', '.join(title(pod.owner) for pod in pods)}"
    for port in spec["ports"]:
        target = port.get("targetPort", port["port"])
        if pods and not all(pod.has_port(target) for pod in pods):
            yield f"{title(service)}: no container has the targetPort {target}"
    for field in ("externalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts"):
        allowed = ("LoadBalancer", "NodePort") if field == "externalTrafficPolicy" else ("LoadBalancer",)
        if field in spec and spec.get("type", "ClusterIP") not in allowed:
            yield f"{title(service)}: {field} is not for type {spec.get('type', 'ClusterIP')}"


def monitor_faults(manifests, monitor):
    selector = monitor["spec"]["selector"].get("matchLabels", {})
    services = [own for own in manifests.of("Service") if selects(selector, own["metadata"].get("labels", {}))]
    if not services:
        yield f"{title(monitor)}: selects no Service"
    names = [port.get("name") for service in services for port in service["spec"]["ports"]]
    for endpoint in monitor["spec"]["endpoints"]:
        # Two Services with such a port would have every pod scraped twice.
        if services and names.count(endpoint.get("port")) != 1:
            yield f"{title(monitor)}: {names.count(endpoint.get('port'))} Services have the port {endpoint.get('port')}"


def probe_faults(pod):
    for container in pod.containers:
        own = [port.get("name") for port in container.get("ports", [])]
        own += [port["containerPort"] for port in container.get("ports", [])]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            for handler in ("httpGet", "tcpSocket", "grpc"):
                port = container.get(probe, {}).get(handler, {}).get("port")
                if port is not None and port not in own:
                    yield f"{title(pod.owner)}: {probe} asks at port {port}, which its container does not have"


def unreached_ports(manifests, pod):
    targets = set()
    for service in manifests.of("Service"):
        if selects(service["spec"].get("selector", {}), pod.labels):
            targets |= {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]}
    for port in pod.ports():
        if not targets & {port.get("name"), port["containerPort"]}:
            yield f"{title(pod.owner)}: no Service leads to port {port.get('name')} ({port['containerPort']})"


def policy_faults(manifests, pod):
    """Once a policy selects a pod, what no policy allows is closed."""
    policies = [
        policy
        for policy in manifests.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"].get("matchLabels", {}), pod.labels)
    ]
    inward = [policy for policy in policies if "Ingress" in policy["spec"]["policyTypes"]]
    outward = [policy for policy in policies if "Egress" in policy["spec"]["policyTypes"]]
    open_ports = allowed(inward, "ingress")
    for policy in inward:
        for port, _ in allowed([policy], "ingress"):
            if port is not None and not pod.has_port(port):
                yield f"{title(policy)}: lets in to port {port}, which {title(pod.owner)} does not have"
    for port in pod.ports() if inward else []:
        names = {(port.get("name"), "TCP"), (port["containerPort"], "TCP"), (None, "TCP")}
        if not names & open_ports:
            yield f"{title(pod.owner)}: no NetworkPolicy lets in to port {port.get('name')} ({port['containerPort']})"
    if outward:
        for protocol in ("UDP", "TCP"):
            if not {(53, protocol), (None, protocol)} & allowed(outward, "egress"):
                yield f"{title(pod.owner)}: no NetworkPolicy lets out DNS over {protocol}"


def allowed(policies, direction):
    """The (port, protocol) that policies let through; port None stands for all."""
    found = set()
    for policy in policies:
        for rule in policy["spec"].get(direction, []):
            for port in rule.get("ports", [{"protocol": "TCP"}, {"protocol": "UDP"}]):
                found.add((port.get("port"), port.get("protocol", "TCP")))
    return found
