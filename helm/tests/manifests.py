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


class Manifests:
    """What one `helm template` printed, and what is in the cluster already: "Secret/name" and the like."""

    def __init__(self, text, outside=()):
        self.text = text
        self.outside = set(outside)
        self.documents = [document for document in yaml.load_all(text, Loader) if document is not None]

    def of(self, *kinds):
        return [document for document in self.documents if document["kind"] in kinds]

    def find(self, kind, name):
        return next((document for document in self.of(kind) if document["metadata"]["name"] == name), None)

    def pods(self):
        return [Pod(document) for document in self.of(*TEMPLATES)]

    def selected_pods(self, labels):
        return [pod for pod in self.pods() if selects(labels, pod.labels)]


class Pod:
    """A pod as its Deployment, or whatever makes it, describes it."""

    def __init__(self, owner):
        self.owner = owner
        template = owner
        for key in TEMPLATES[owner["kind"]]:
            template = template[key]
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.containers = self.spec.get("initContainers", []) + self.spec["containers"]
        self.volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}

    def ports(self):
        return [port for container in self.containers for port in container.get("ports", [])]

    def has_port(self, port):
        """Whether a container port has this name, or this number."""
        return any(port in (own.get("name"), own["containerPort"]) for own in self.ports())


def title(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())
