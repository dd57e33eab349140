"""The chart rendered: every case of cases.yaml, by both Helms, for each version of Kubernetes."""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import re
import subprocess
import tempfile

import yaml

from manifests import Dumper, Loader, Manifests

ROOT = pathlib.Path(__file__).parents[2]
TESTS = ROOT / "helm/tests"
CHART = ROOT / "helm/smtp-gateway"
BIN = ROOT / "target/chart-tools/bin"
HELMS = ["helm3", "helm4"]
KUBERNETES = ["1.28.0", "1.31.0", "1.35.0", "1.37.0"]
APIS = ["cert-manager.io/v1", "keda.sh/v1alpha1", "monitoring.coreos.com/v1"]
# Helm reads no settings, plugins or repositories of whoever runs this.
HOME = tempfile.TemporaryDirectory(prefix="chart-")
ENVIRONMENT = {"PATH": os.environ["PATH"]} | {f"HELM_{kind}_HOME": HOME.name for kind in ("CACHE", "CONFIG", "DATA")}


@dataclasses.dataclass
class Case:
    name: str
    # Values files of the chart, below the values of the case.
    files: list = dataclasses.field(default_factory=list)
    values: dict = dataclasses.field(default_factory=dict)
    # What is in the cluster already, as "Secret/name".
    outside: list = dataclasses.field(default_factory=list)
    release: str = "mail"


def cases():
    return [Case(**case) for case in yaml.load((TESTS / "cases.yaml").read_text(), Loader)]


def helm(program, command, case, *arguments):
    """Runs Helm upon the chart with the values of a case."""
    files = [word for file in case.files for word in ("--values", CHART / file)]
    name = [] if command == "lint" else [case.release]
    return subprocess.run(
        [BIN / program, *command.split(), *name, CHART, "--namespace", "mail", *files, "--values", "-", *arguments],
        env=ENVIRONMENT,
        input=yaml.dump(case.values, Dumper=Dumper),
        capture_output=True,
        text=True,
    )


def template(program, case, kubernetes):
    apis = [word for api in APIS for word in ("--api-versions", api)]
    return helm(program, "template", case, "--kube-version", kubernetes, *apis)


def lint(program, case, kubernetes):
    return helm(program, "lint", case, "--strict", "--quiet", "--kube-version", kubernetes)


def in_parallel(work, items):
    """The results of work(*item) in order, as many at a time as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda item: work(*item), items))


def all_cases():
    """The manifests of each distinct rendering as (where it comes from, Manifests), and the faults of Helm."""
    everything = list(itertools.product(HELMS, cases(), KUBERNETES))
    faults = []
    for (program, case, version), done in zip(everything, in_parallel(lint, everything)):
        if done.returncode:
            faults.append(f"{program} lint, {case.name}, Kubernetes {version}: {(done.stdout + done.stderr).strip()}")
    rendered = dict(zip(((own[0], own[1].name, own[2]) for own in everything), in_parallel(template, everything)))
    distinct = {}
    for case, version in itertools.product(cases(), KUBERNETES):
        both = [rendered[program, case.name, version] for program in HELMS]
        where = f"{case.name}, Kubernetes {version}"
        for program, done in zip(HELMS, both):
            if done.returncode or done.stderr:
                faults.append(f"{program} template, {where}: {done.stderr.strip()}")
        if both[0].stdout != both[1].stdout:
            faults.append(f"{where}: {' and '.join(HELMS)} render different manifests")
        if not both[0].returncode:
            distinct.setdefault((case.name, both[0].stdout), (where, Manifests(both[0].stdout, case.outside)))
    return list(distinct.values()), faults


def notes():
    """What is wrong with the notes that an installation prints. Only Helm 4 shows them without a cluster."""
    everything = [("helm4", "install", case, "--dry-run=client") for case in cases()]
    for (_, _, case, _), done in zip(everything, in_parallel(helm, everything)):
        text = done.stdout.partition("\nNOTES:\n")[2]
        if done.returncode or not text.strip():
            yield f"{case.name}: prints no notes: {done.stderr.strip()}"
        for sign in ("<no value>", "%!", "<nil>"):
            if sign in text:
                yield f"{case.name}: its notes hold {sign}"


def refused():
    """Values that must not pass: what each of refused.yaml is met with."""
    listed = yaml.load((TESTS / "refused.yaml").read_text(), Loader)
    everything = list(itertools.product(HELMS, listed))
    base = next(case for case in cases() if case.name == "minimal")

    def attempt(program, refusal):
        case = Case(refusal["what"], [], merged(base.values, refusal["values"]))
        return template(program, case, KUBERNETES[-1])

    faults = []
    for (program, refusal), done in zip(everything, in_parallel(attempt, everything)):
        said = " ".join(done.stderr.split())
        if not done.returncode:
            faults.append(f"{program} renders {refusal['what']}")
        elif not re.search(refusal["says"], said):
            faults.append(f"{program} refuses {refusal['what']} without /{refusal['says']}/: {said[:300]}")
    return len(listed), faults


def merged(under, over):
    """Values over others, as Helm lays one file over another."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: merged(under.get(key), value) for key, value in over.items()}
