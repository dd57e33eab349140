"""Plants single mistakes in rendered manifests; the checks must find every one.

A check that nothing can trip over checks nothing. The mistakes are those that people make, and no check
knows of any of them by name.
"""

import copy
import dataclasses
import typing

import yaml

import checks
from checks import contents
from manifests import Dumper, Manifests

GONE = object()
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"
# Those of cases.yaml that together hold every kind.
CASES = ["everything", "keda"]


@dataclasses.dataclass
class Mutant:
    mistake: str
    kind: str
    # Keys joined by dots; a dot within a key is written \\.
    path: str
    # What comes to stand there: a value, GONE, or a function of what stood there.
    value: typing.Any
    case: str = CASES[0]


def renamed(mapping, old, new):
    return {new if key == old else key: value for key, value in mapping.items()}


# A row each.
# fmt: off
MUTANTS = [
    Mutant("a probe's port is misspelt", "Deployment", f"{CONTAINER}.readinessProbe.httpGet.port", "htttp"),
    Mutant("a probe asks at the SMTP port", "Deployment", f"{CONTAINER}.livenessProbe.httpGet.port", 2587),
    Mutant("a probe's path is misspelt", "Deployment", f"{CONTAINER}.readinessProbe.httpGet.path", "/health/redy"),
    Mutant("readynessProbe", "Deployment", CONTAINER, lambda own: renamed(own, "readinessProbe", "readynessProbe")),
    Mutant("no startup probe", "Deployment", f"{CONTAINER}.startupProbe", GONE),
    Mutant("replicas in quotes", "Deployment", "spec.replicas", "2"),
    Mutant("replicas beside an autoscaler", "Deployment", "spec.replicas", 3),
    Mutant("the Deployment selects other pods", "Deployment", "spec.selector.matchLabels.app\\.kubernetes\\.io/name", "gateway"),
    Mutant("the Service selects other pods", "Service", "spec.selector.app\\.kubernetes\\.io/instance", "gateway"),
    Mutant("the Service leads to a port nobody has", "Service", "spec.ports.0.targetPort", "submision"),
    Mutant("the Service has lost a port", "Service", "spec.ports.0", GONE),
    Mutant("externalTrafficPolicy on ClusterIP", "Service", "spec", lambda own: own | {"type": "ClusterIP", "externalTrafficPolicy": "Local"}),
    Mutant("a port's name is too long", "Service", "spec.ports.0.name", "submission-starttls"),
    Mutant("the HPA scales something else", "HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "smtp"),
    Mutant("the HPA's bounds are swapped", "HorizontalPodAutoscaler", "spec", lambda own: own | {"minReplicas": 20, "maxReplicas": 2}),
    Mutant("the HPA scales by CPU, and none is requested", "Deployment", f"{CONTAINER}.resources.requests.cpu", GONE),
    Mutant("an API version that was removed", "PodDisruptionBudget", "apiVersion", "policy/v1beta1"),
    Mutant("the PDB spares no pod", "PodDisruptionBudget", "spec", lambda own: {"selector": own["selector"], "minAvailable": 2}),
    Mutant("the PDB selects nothing", "PodDisruptionBudget", "spec.selector.matchLabels.app\\.kubernetes\\.io/name", "gateway"),
    Mutant("the policy lets in to another port", "NetworkPolicy", "spec.ingress.0.ports.0.port", 587),
    Mutant("the policy lets nothing out", "NetworkPolicy", "spec.egress", []),
    Mutant("the policy keeps the API out of reach", "NetworkPolicy", "spec.egress", lambda own: own[:1]),
    Mutant("no runAsNonRoot", "Deployment", f"{POD}.securityContext.runAsNonRoot", GONE),
    Mutant("runs as root", "Deployment", f"{POD}.securityContext.runAsUser", 0),
    Mutant("no seccomp profile", "Deployment", f"{POD}.securityContext.seccompProfile", GONE),
    Mutant("privileged", "Deployment", f"{CONTAINER}.securityContext.privileged", True),
    Mutant("the node's network", "Deployment", f"{POD}.hostNetwork", True),
    Mutant("a writable root", "Deployment", f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False),
    Mutant("a capability", "Deployment", f"{CONTAINER}.securityContext.capabilities.add", ["NET_ADMIN"]),
    Mutant("capabilities are kept", "Deployment", f"{CONTAINER}.securityContext.capabilities.drop", GONE),
    Mutant("a folder of the node", "Deployment", f"{POD}.volumes.0", lambda own: {"name": own["name"], "hostPath": {"path": "/etc"}}),
    Mutant("a token of the API", "Deployment", f"{POD}.automountServiceAccountToken", True),
    Mutant("no memory limit", "Deployment", f"{CONTAINER}.resources.limits.memory", GONE),
    Mutant("the image is latest", "Deployment", f"{CONTAINER}.image", "ghcr.io/cakemail/smtp-gateway:latest"),
    Mutant("no time to drain", "Deployment", f"{POD}.terminationGracePeriodSeconds", 30),
    Mutant("a port that the gateway does not bind", "Deployment", f"{CONTAINER}.ports.0.containerPort", 587),
    Mutant("another ServiceAccount", "Deployment", f"{POD}.serviceAccountName", "gateway"),
    Mutant("a Secret's name is misspelt", "Certificate", "spec.secretName", "mail-tsl"),
    Mutant("a volume's Secret is misspelt", "Deployment", f"{POD}.volumes.1.secret.secretName", "mail-tsl"),
    Mutant("a ConfigMap's key is misspelt", "ConfigMap", "data", lambda own: renamed(own, "gateway.yaml", "gatway.yaml")),
    Mutant("settings that the gateway refuses", "ConfigMap", "data.gateway\\.yaml", lambda own: own + "\nlimit: {recipients: 5}\n"),
    Mutant("settings with a key twice", "ConfigMap", "data.gateway\\.yaml", lambda own: own + own),
    Mutant("a volumeMount without volume", "Deployment", f"{CONTAINER}.volumeMounts.0.name", "setings"),
    Mutant("a file mounted elsewhere", "Deployment", f"{CONTAINER}.volumeMounts.0.mountPath", "/etc/smtp-gatway"),
    Mutant("a variable twice", "Deployment", f"{CONTAINER}.env", lambda own: own + own[:1]),
    Mutant("a variable without value", "Deployment", f"{CONTAINER}.env", lambda own: own + [{"name": "LOG_LEVEL", "value": None}]),
    Mutant("the ServiceMonitor's port is misspelt", "ServiceMonitor", "spec.endpoints.0.port", "metrics"),
    Mutant("the ServiceMonitor's path is misspelt", "ServiceMonitor", "spec.endpoints.0.path", "/metric"),
    Mutant("a Certificate without issuer", "Certificate", "spec.issuerRef", GONE),
    Mutant("a key that no Certificate has", "Certificate", "spec.privateKey.algoritm", "ECDSA"),
    Mutant("a ScaledObject's field is misspelt", "ScaledObject", "spec", lambda own: renamed(own, "minReplicaCount", "minReplicas"), "keda"),
    Mutant("a ScaledObject scales something else", "ScaledObject", "spec.scaleTargetRef.name", "smtp", "keda"),
    Mutant("a rule that is no PromQL", "PrometheusRule", "spec.groups.0.rules.0.expr", lambda own: own + ")"),
    Mutant("a rule asks for a metric nobody has", "PrometheusRule", "spec.groups", lambda own: misspelt(own)),
    Mutant("a dashboard that is no JSON", "ConfigMap", "data", lambda own: {key: own[key].replace("}", "", 1) for key in own if key.endswith(".json")} or own),
    Mutant("the test sends to nobody", "Pod", "spec.containers.0.args", lambda own: [word.replace("=mail-smtp", "=mail-stmp") for word in own]),
    Mutant("the test's command line is misspelt", "Pod", "spec.containers.0.args", lambda own: [word.replace("--subject", "--sbject") for word in own]),
    Mutant("a label that is too long", "Service", "metadata.labels.app\\.kubernetes\\.io/version", "1" * 64),
    Mutant("one name for two Services", "Service", "metadata.name", "mail-smtp-gateway"),
]
# fmt: on


# Without promtool nobody can tell a rule that is wrong.
if not contents.PROMTOOL.exists():
    MUTANTS = [mutant for mutant in MUTANTS if mutant.kind != "PrometheusRule"]
# One more is planted in the text.
COUNT = len(MUTANTS) + 1


def misspelt(groups):
    """The groups with the metric of the first rule misspelt."""
    groups = copy.deepcopy(groups)
    rules = [rule for group in groups for rule in group["rules"]]
    rule = next(rule for rule in rules if "(smtp_" in rule["expr"])
    rule["expr"] = rule["expr"].replace("(smtp_", "(smpt_", 1)
    return groups


def twice(text):
    """A key twice, which no parsed document can show."""
    return text.replace(
        "      serviceAccountName:",
        "      serviceAccountName: gateway\n      serviceAccountName:",
        1,
    )


def run(rendered):
    """Plants each in the rendering of its case; (mistake, checks that found it) for all."""
    results = []
    for mutant in MUTANTS:
        documents = copy.deepcopy(rendered[mutant.case].documents)
        plant(documents, mutant)
        results.append((mutant.mistake, faults_of(dump(documents), rendered[mutant.case])))
    text = dump(rendered["everything"].documents)
    results.append(("a key twice", faults_of(twice(text), rendered["everything"])))
    return results


def unclean(rendered):
    """What is found before anything is planted: then a finding would say nothing about a mistake."""
    found = [faults_of(dump(rendered[case].documents), rendered[case]) for case in CASES]
    return [f"{check}: {fault}" for faults in found for check, fault in faults]


def faults_of(text, rendered):
    return checks.faults(Manifests(text, rendered.outside))


def dump(documents):
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False)


def plant(documents, mutant):
    """Changes the first document of the mutant's kind that has the path."""
    keys = [key.replace("\0", ".") for key in mutant.path.replace("\\.", "\0").split(".")]
    for document in documents:
        before = copy.deepcopy(document)
        if document["kind"] == mutant.kind:
            try:
                change(document, keys, mutant.value)
            except (KeyError, IndexError):
                continue
            if document != before:
                return
    raise RuntimeError(f"{mutant.mistake}: no {mutant.kind} has {mutant.path}")


def change(node, keys, value):
    *path, last = keys
    for key in path:
        node = node[int(key) if isinstance(node, list) else key]
    if isinstance(node, list):
        last = int(last)
    if value is GONE:
        del node[last]
    else:
        node[last] = value(node[last]) if callable(value) else value
