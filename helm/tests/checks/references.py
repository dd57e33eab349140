"""What a pod names is there: volumes, Secrets, ConfigMaps and their keys, its ServiceAccount."""

from manifests import title

# What cert-manager puts into the Secret of a Certificate.
CERTIFICATE_KEYS = {"tls.crt", "tls.key", "ca.crt"}


def faults(manifests):
    used = set()
    for pod in manifests.pods():
        where = title(pod.owner)
        for kind, name, keys, what in references(pod):
            used.add((kind, name))
            yield from (f"{where}: {what}: {fault}" for fault in missing(manifests, kind, name, keys))
        yield from mount_faults(where, pod)
    for certificate in manifests.of("Certificate"):
        secret = certificate["spec"]["secretName"]
        if ("Secret", secret) not in used:
            yield f"{title(certificate)}: no pod reads its Secret {secret}"


def references(pod):
    """Each reference of a pod as (kind, name, keys, where it stands)."""
    account = pod.spec.get("serviceAccountName")
    if account:
        yield "ServiceAccount", account, [], "serviceAccountName"
    for secret in pod.spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"], [], "imagePullSecrets"
    for name, volume in pod.volumes.items():
        for kind, source in volume_sources(volume):
            keys = [item["key"] for item in source.get("items", [])]
            yield kind, source.get("secretName") or source["name"], keys, f"volume {name}"
            used_by = [mount for container in pod.containers for mount in container.get("volumeMounts", [])]
            for mount in used_by:
                if mount["name"] == name and "subPath" in mount and not keys:
                    yield kind, source.get("secretName") or source["name"], [mount["subPath"]], f"subPath of {name}"
    for container in pod.containers:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                if field in source:
                    yield kind, source[field]["name"], [source[field]["key"]], f"variable {variable['name']}"
        for source in container.get("envFrom", []):
            for kind, field in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
                if field in source:
                    yield kind, source[field]["name"], [], "envFrom"


def volume_sources(volume):
    """The Secrets and ConfigMaps of a volume, projected ones too, that must be there."""
    sources = [volume, *volume.get("projected", {}).get("sources", [])]
    for source in sources:
        for kind, field in (("Secret", "secret"), ("ConfigMap", "configMap")):
            if field in source and not source[field].get("optional"):
                yield kind, source[field]


def missing(manifests, kind, name, keys):
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
        return {*document.get("data", {}), *document.get("stringData", {}), *document.get("binaryData", {})}
    certificates = [own["spec"]["secretName"] for own in manifests.of("Certificate")]
    return CERTIFICATE_KEYS if kind == "Secret" and name in certificates else None


def mount_faults(where, pod):
    mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
    for name in sorted(mounted - set(pod.volumes)):
        yield f"{where}: volumeMount {name} has no volume"
    for name in sorted(set(pod.volumes) - mounted):
        yield f"{where}: no container mounts volume {name}"
