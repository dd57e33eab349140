"""sbom.py ARCHIVE PREFIX: writes what an OCI archive says of its image, as SPDX: PREFIX-image.spdx.json has
the packages of the base, PREFIX-crates.spdx.json what the program is made of. One that is missing is a fault:
a list that names nothing would look complete."""

import json
import sys
import tarfile

# A package that each of them must name.
KINDS = {"image": "libc6", "crates": "rustls"}

source, prefix = sys.argv[1:]
with tarfile.open(source) as archive:

    def read(name):
        return json.load(archive.extractfile(name))

    def blob(descriptor):
        return read("blobs/" + descriptor["digest"].replace(":", "/"))

    (image,) = read("index.json")["manifests"]
    documents = [
        blob(layer)["predicate"]
        for manifest in blob(image)["manifests"]
        if manifest.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest"
        for layer in blob(manifest)["layers"]
        if layer["annotations"]["in-toto.io/predicate-type"] == "https://spdx.dev/Document"
    ]

for kind, package in KINDS.items():
    named = [found for found in documents if any(one["name"] == package for one in found["packages"])]
    if not named:
        sys.exit(f"{source} says nothing about {package}: {len(documents)} documents")
    with open(f"{prefix}-{kind}.spdx.json", "w") as file:
        json.dump(named[0], file, indent=1)
