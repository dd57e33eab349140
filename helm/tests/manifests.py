"""Rendered manifests, and what every check asks of them."""

import yaml

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# Where the kinds that make pods keep the pod's template.
TEMPLATES = {
    "Deployment": ["spec", "template"],
    "StatefulSet": ["spec", "template"],
    "DaemonSet": ["spec", "template"],
    "Job": ["spec", "template"],
    "Pod": [],
}

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


class Manifests:
    """What one `helm template` printed, and what the cluster has besides, as "Secret/name"."""

    def __init__(self, text, outside=()):
        self.text = text
        self.outside = set(outside)
        self.documents = [one for one in yaml.load_all(text, Loader) if one is not None]
        self.pods = [Pod(one) for one in self.of(*TEMPLATES)]

    def of(self, *kinds):
        return [one for one in self.documents if one["kind"] in kinds]

    def find(self, kind, name):
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def selected_pods(self, selector):
        return [pod for pod in self.pods if selects(selector, pod.labels)]

    def policies(self, pod, direction):
        """The NetworkPolicies that bound what a pod may take, "Ingress", or reach, "Egress"."""
        return [
            policy
            for policy in self.of("NetworkPolicy")
            if direction in policy["spec"]["policyTypes"]
            and selects(policy["spec"]["podSelector"].get("matchLabels", {}), pod.labels)
        ]


class Pod:
    """A pod as its Deployment, or whatever makes it, describes it."""

    def __init__(self, owner):
        self.owner = owner
        self.title = title(owner)
        template = owner
        for key in TEMPLATES[owner["kind"]]:
            template = template[key]
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.containers = self.spec.get("initContainers", []) + self.spec["containers"]
        self.volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        self.mounts = [mount for one in self.containers for mount in one.get("volumeMounts", [])]
        self.ports = [port for one in self.containers for port in one.get("ports", [])]

    def has_port(self, port):
        """Whether a container port has this name, or this number."""
        return any(port in (own.get("name"), own["containerPort"]) for own in self.ports)


def title(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def told(where, faults):
    """The same faults with their place in front."""
    return (f"{where}: {fault}" for fault in faults)


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def allowed(policies, direction):
    """The (port, protocol) that policies let through; port None stands for all."""
    everything = [{"protocol": "TCP"}, {"protocol": "UDP"}]
    rules = [rule for policy in policies for rule in policy["spec"].get(direction, [])]
    ports = [port for rule in rules for port in rule.get("ports", everything)]
    return {(port.get("port"), port.get("protocol", "TCP")) for port in ports}
