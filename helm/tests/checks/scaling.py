"""Autoscalers have something to scale, by what it has, alone; and nodes can be drained."""

import math

from manifests import title, told

SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


def faults(manifests):
    scalers = manifests.of(*SCALERS)
    targets = [target(scaler) for scaler in scalers]
    for scaler in scalers:
        yield from told(title(scaler), scaler_faults(manifests, scaler))
    for deployment in manifests.of("Deployment", "StatefulSet"):
        count = targets.count((deployment["kind"], deployment["metadata"]["name"]))
        if count > 1:
            yield f"{title(deployment)}: {count} autoscalers pull at it"
        if count and "replicas" in deployment["spec"]:
            yield f"{title(deployment)}: sets replicas, against its autoscaler"
    for budget in manifests.of("PodDisruptionBudget"):
        yield from told(title(budget), budget_faults(manifests, budget))


def target(scaler):
    reference = scaler["spec"]["scaleTargetRef"]
    return (reference.get("kind", "Deployment"), reference["name"])


def bounds(scaler):
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        return spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    return spec.get("minReplicas", 1), spec["maxReplicas"]


def scaler_faults(manifests, scaler):
    least, most = bounds(scaler)
    if least < 1:
        yield "scales down to nothing, and clients are refused"
    if least > most:
        yield f"its least replicas, {least}, are more than its most, {most}"
    workload = manifests.find(*target(scaler))
    if not workload:
        yield f"there is no {' '.join(target(scaler))}"
        return
    for container in workload["spec"]["template"]["spec"]["containers"]:
        for resource in utilizations(scaler):
            if resource not in container.get("resources", {}).get("requests", {}):
                yield f"scales by {resource}, of which {container['name']} requests none"


def utilizations(scaler):
    """The resources whose use is told in per cent of the request."""
    for metric in scaler["spec"].get("metrics", []):
        resource = metric.get("resource", metric.get("containerResource", {}))
        if resource.get("target", {}).get("type") == "Utilization":
            yield resource["name"]
    for trigger in scaler["spec"].get("triggers", []):
        if (
            trigger["type"] in ("cpu", "memory")
            and trigger.get("metricType", "Utilization") == "Utilization"
        ):
            yield trigger["type"]


def budget_faults(manifests, budget):
    spec = budget["spec"]
    pods = manifests.selected_pods(spec["selector"].get("matchLabels", {}))
    if not pods:
        yield "selects no pod"
    for pod in pods:
        replicas = least_replicas(manifests, pod.owner)
        if "minAvailable" in spec:
            spare = replicas - portion(spec["minAvailable"], replicas)
        else:
            spare = portion(spec["maxUnavailable"], replicas)
        if spare < 1:
            yield f"with {replicas} of {pod.title} no pod may ever be evicted"


def least_replicas(manifests, owner):
    for scaler in manifests.of(*SCALERS):
        if target(scaler) == (owner["kind"], owner["metadata"]["name"]):
            return bounds(scaler)[0]
    return owner["spec"].get("replicas", 1)


def portion(value, of):
    """A number, or a percentage of another, rounded up as the disruption controller does."""
    return math.ceil(of * int(value[:-1]) / 100) if isinstance(value, str) else value
