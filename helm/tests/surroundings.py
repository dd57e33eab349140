"""What a container would find in its pod: files, variables and arguments."""

import base64
import datetime
import functools
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from checks.references import CERTIFICATE_KEYS, volume_sources
from gateway import octets


def surroundings(manifests, pod, container):
    """The files by path, the variables and the arguments that the container finds."""
    files = {}
    for mount in container.get("volumeMounts", []):
        for kind, source in volume_sources(pod.volumes.get(mount["name"], {})):
            files |= mounted(manifests, container, mount, kind, source)
    arguments = [argument for argument in container.get("args", []) if argument != "serve"]
    return files, variables(container), arguments


def mounted(manifests, container, mount, kind, source):
    """The files that a Secret or ConfigMap brings to a mount."""
    name = source.get("secretName") or source["name"]
    items = {item["key"]: item["path"] for item in source.get("items", [])}
    keys = contents(manifests, kind, name)
    if f"{kind}/{name}" in manifests.outside:
        wanted = set(items) or CERTIFICATE_KEYS | mentioned(
            manifests, container, mount["mountPath"]
        )
        keys = {key: stand_in(key) for key in wanted}
    files = {
        items.get(key, key): content for key, content in keys.items() if key in items or not items
    }
    if "subPath" in mount:
        return {mount["mountPath"]: files[mount["subPath"]]} if mount["subPath"] in files else {}
    return {f"{mount['mountPath']}/{path}": content for path, content in files.items()}


def contents(manifests, kind, name):
    """What the release itself puts into a Secret or ConfigMap."""
    if kind == "Secret" and any(
        own["spec"]["secretName"] == name for own in manifests.of("Certificate")
    ):
        return {key: stand_in(key) for key in CERTIFICATE_KEYS}
    document = manifests.find(kind, name) or {}
    data = document.get("data", {})
    if kind == "Secret":
        data = {key: base64.b64decode(value).decode() for key, value in data.items()}
    return {**data, **document.get("stringData", {})}


def mentioned(manifests, container, path):
    """The files below a path that settings name: a Secret from outside is believed to hold them."""
    texts = [
        text for config in manifests.of("ConfigMap") for text in config.get("data", {}).values()
    ]
    texts += [str(variable.get("value")) for variable in container.get("env", [])]
    return {found for text in texts for found in re.findall(re.escape(path) + r"/([\w.-]+)", text)}


def variables(container):
    found = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "resourceFieldRef" in source:
            field, _, resource = source["resourceFieldRef"]["resource"].partition(".")
            found[variable["name"]] = str(
                octets(container["resources"].get(field, {}).get(resource, 0))
            )
        else:
            found[variable["name"]] = str(variable.get("value", "stand-in"))
    return found


def stand_in(name):
    certificate, key = pair()
    return {"tls.crt": certificate, "ca.crt": certificate, "tls.key": key}.get(name, "stand-in")


@functools.cache
def pair():
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("mail.example.com")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (
        certificate.public_bytes(pem).decode(),
        key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode(),
    )
