"""Prints the schemas of the custom resources that the chart may hold, as JSON by "version/kind".

They are made from Python classes, whose optional fields allow null and whose objects allow any
field. The API server knows better: it drops unknown fields, so here they are faults.
"""

import json

from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

KINDS = {
    "cert-manager.io/v1": (cert_manager, ["Certificate", "ClusterIssuer", "Issuer"]),
    "keda.sh/v1alpha1": (keda, ["ScaledObject", "TriggerAuthentication"]),
    "monitoring.coreos.com/v1": (prometheus_operator, ["PrometheusRule", "ServiceMonitor"]),
}


def strict(node):
    """The same schema without null, and without fields that it does not name."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {
        key: strict(value)
        for key, value in node.items()
        if not (key == "default" and value is None)
    }
    if "properties" in node:
        node.setdefault("additionalProperties", False)
    choices = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del node["anyOf"]
        node.update(choices[0])
    return node


schemas = {}
for version, (module, kinds) in KINDS.items():
    for kind in kinds:
        schema = strict(getattr(module, kind).model_json_schema(by_alias=True))
        # The classes have defaults for these, and no manifest does.
        schema["required"] = sorted(
            {"apiVersion", "kind", "metadata", "spec", *schema.get("required", [])}
        )
        schemas[f"{version}/{kind}"] = schema
print(json.dumps(schemas))
