"""What a pod names is there: volumes, Secrets, ConfigMaps and their keys, its ServiceAccount."""

import typing

from manifests import title, told

# What cert-manager puts into the Secret of a Certificate.
CERTIFICATE_KEYS = {"tls.crt", "tls.key", "ca.crt"}
VOLUMES = {"Secret": "secret", "ConfigMap": "configMap"}
VARIABLES = {"Secret": "secretKeyRef", "ConfigMap": "configMapKeyRef"}
ALL_VARIABLES = {"Secret": "secretRef", "ConfigMap": "configMapRef"}


class Reference(typing.NamedTuple):
    kind: str
    name: str
    keys: list
    # What refers to it.
    place: str


def faults(manifests):
    used = set()
    for pod in manifests.pods:
        for reference in references(pod):
            used.add((reference.kind, reference.name))
            yield from told(f"{pod.title}: {reference.place}", missing(manifests, reference))
        yield from told(pod.title, mount_faults(pod))
    for certificate in manifests.of("Certificate"):
        secret = certificate["spec"]["secretName"]
        if ("Secret", secret) not in used:
            yield f"{title(certificate)}: no pod reads its Secret {secret}"


def references(pod):
    account = pod.spec.get("serviceAccountName")
    if account:
        yield Reference("ServiceAccount", account, [], "serviceAccountName")
    for secret in pod.spec.get("imagePullSecrets", []):
        yield Reference("Secret", secret["name"], [], "imagePullSecrets")
    for volume in pod.volumes.values():
        yield from volume_references(pod, volume)
    for container in pod.containers:
        for variable in container.get("env", []):
            for kind, source in sources(variable.get("valueFrom", {}), VARIABLES):
                place = f"variable {variable['name']}"
                yield Reference(kind, source["name"], [source["key"]], place)
        for origin in container.get("envFrom", []):
            for kind, source in sources(origin, ALL_VARIABLES):
                yield Reference(kind, source["name"], [], "envFrom")


def volume_references(pod, volume):
    paths = [mount.get("subPath") for mount in pod.mounts if mount["name"] == volume["name"]]
    for kind, source in volume_sources(volume):
        keys = [item["key"] for item in source.get("items", [])] or [key for key in paths if key]
        name = source.get("secretName") or source["name"]
        yield Reference(kind, name, keys, f"volume {volume['name']}")


def volume_sources(volume):
    """The Secrets and ConfigMaps of a volume, also of a projected one, that must be there."""
    for one in [volume, *volume.get("projected", {}).get("sources", [])]:
        yield from sources(one, VOLUMES)


def sources(node, fields):
    for kind, field in fields.items():
        if field in node and not node[field].get("optional"):
            yield kind, node[field]


def missing(manifests, reference):
    kind, name, keys, _ = reference
    if f"{kind}/{name}" in manifests.outside:
        return
    present = provided_keys(manifests, kind, name)
    if present is None:
        yield f"nobody provides {kind} {name}"
        return
    for key in keys:
        if key not in present:
            yield f"{kind} {name} has no key {key}"


def provided_keys(manifests, kind, name):
    """The keys of a Secret or ConfigMap, or None where the release has none of this name."""
    document = manifests.find(kind, name)
    if document:
        fields = ("data", "stringData", "binaryData")
        return {key for field in fields for key in document.get(field, {})}
    certificates = [own["spec"]["secretName"] for own in manifests.of("Certificate")]
    return CERTIFICATE_KEYS if kind == "Secret" and name in certificates else None


def mount_faults(pod):
    mounted = {mount["name"] for mount in pod.mounts}
    for name in sorted(mounted - set(pod.volumes)):
        yield f"volumeMount {name} has no volume"
    for name in sorted(set(pod.volumes) - mounted):
        yield f"no container mounts volume {name}"
