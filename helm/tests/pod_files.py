"""The files and variables that a container would find, laid out below a folder of this machine."""

import base64
import datetime
import functools
import pathlib
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from checks.references import CERTIFICATE_KEYS, volume_sources
from gateway import octets


class Layout:
    def __init__(self, manifests, pod, container, folder):
        self.manifests = manifests
        self.pod = pod
        self.container = container
        self.folder = folder
        self.mounts = container.get("volumeMounts", [])
        self.files = {}
        for mount in self.mounts:
            for kind, source in volume_sources(pod.volumes.get(mount["name"], {})):
                self.collect(mount, kind, source)
        for path, content in self.files.items():
            place = pathlib.Path(folder + path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.moved(content))

    def collect(self, mount, kind, source):
        name = source.get("secretName") or source["name"]
        items = {item["key"]: item["path"] for item in source.get("items", [])}
        contents = self.contents(kind, name) or {key: stand_in(key) for key in items}
        if not contents:
            contents = {key: stand_in(key) for key in CERTIFICATE_KEYS}
            contents |= {file: stand_in(file) for file in self.mentioned(mount["mountPath"])}
        for key, content in contents.items():
            path = items.get(key) if items else key
            if "subPath" in mount and path == mount["subPath"]:
                self.files[mount["mountPath"]] = content
            elif "subPath" not in mount and path:
                self.files[f"{mount['mountPath']}/{path}"] = content

    def contents(self, kind, name):
        """What the release puts into a Secret or ConfigMap; nothing of one from outside."""
        if kind == "Secret" and any(own["spec"]["secretName"] == name for own in self.manifests.of("Certificate")):
            return {key: stand_in(key) for key in CERTIFICATE_KEYS}
        document = self.manifests.find(kind, name) or {}
        data = document.get("data", {})
        if kind == "Secret":
            data = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return {**data, **document.get("stringData", {})}

    def mentioned(self, path):
        """The files below a path that any ConfigMap names: a Secret from outside is believed to hold them."""
        texts = [text for config in self.manifests.of("ConfigMap") for text in config.get("data", {}).values()]
        texts += [str(variable.get("value")) for variable in self.container.get("env", [])]
        return {found for text in texts for found in re.findall(re.escape(path) + r"/([\w.-]+)", text)}

    def moved(self, text):
        """The same text with the paths of mounts as they are on this machine."""
        for path in sorted({mount["mountPath"] for mount in self.mounts}, key=len, reverse=True):
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", self.folder + path, text)
        return text

    def arguments(self):
        return [self.moved(argument) for argument in self.container.get("args", []) if argument != "serve"]

    def environment(self):
        found = {}
        for variable in self.container.get("env", []):
            source = variable.get("valueFrom", {})
            if "value" in variable:
                found[variable["name"]] = self.moved(variable["value"])
            elif "resourceFieldRef" in source:
                field, _, resource = source["resourceFieldRef"]["resource"].partition(".")
                found[variable["name"]] = str(octets(self.container["resources"].get(field, {}).get(resource, 0)))
            else:
                found[variable["name"]] = "stand-in"
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
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mail.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (
        certificate.public_bytes(pem).decode(),
        key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode(),
    )
