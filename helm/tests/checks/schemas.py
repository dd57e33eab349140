"""Every field is one that Kubernetes, or the custom resource, has, and of its type."""

import functools
import json
import pathlib

import jsonschema
from kubernetes_validate import utils

from manifests import title

VERSIONS = ["1.28.0", "1.31.0", "1.35.0", "1.37.0"]
CUSTOM_GROUPS = {"cert-manager.io", "keda.sh", "monitoring.coreos.com"}
CUSTOM = pathlib.Path(__file__).parents[3] / "target/chart-tools/crds.json"

# The schemas of one version are megabytes of JSON: read once.
utils.schema_contents = functools.cache(utils.schema_contents)


def native(manifests):
    for document in manifests.documents:
        if group(document) not in CUSTOM_GROUPS:
            for fault in native_faults(json.dumps(document, sort_keys=True)):
                yield f"{title(document)}: {fault}"


@functools.cache
def native_faults(text):
    faults = []
    for version in VERSIONS:
        try:
            utils.validate(json.loads(text), version, strict=True)
        except utils.ValidationError as fault:
            faults.append(f"{where(fault)}: {fault.message[:200]} (Kubernetes {version})")
        except utils.SchemaNotFoundError as fault:
            faults.append(f"Kubernetes {version} has no {fault.kind} {fault.api_version}")
    return faults


@functools.cache
def custom_validators():
    return {
        kind: jsonschema.Draft202012Validator(schema)
        for kind, schema in json.loads(CUSTOM.read_text()).items()
    }


def custom(manifests):
    for document in manifests.documents:
        if group(document) in CUSTOM_GROUPS:
            kind = f"{document['apiVersion']}/{document['kind']}"
            if kind not in custom_validators():
                yield f"{title(document)}: no schema of {kind} is known"
                continue
            for fault in custom_validators()[kind].iter_errors(document):
                fault = jsonschema.exceptions.best_match([fault])
                yield f"{title(document)}: {where(fault)}: {fault.message[:200]}"


def empty(manifests):
    """Schemas let a key without value pass: it is what a template leaves that found none."""
    for document in manifests.documents:
        for path in empty_paths(document, ""):
            yield f"{title(document)}: {path} has no value"


def empty_paths(node, path):
    if node is None:
        yield path
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from empty_paths(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from empty_paths(value, f"{path}[{index}]")


def group(document):
    return document["apiVersion"].partition("/")[0]


def where(fault):
    return ".".join(str(key) for key in fault.absolute_path) or "top level"
