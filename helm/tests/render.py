"""The chart rendered: every case of cases.yaml, by both Helms, for each version of Kubernetes."""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import re
import subprocess
import tempfile
import typing

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
ENVIRONMENT = {"PATH": os.environ["PATH"]} | {
    f"HELM_{kind}_HOME": HOME.name for kind in ("CACHE", "CONFIG", "DATA")
}


@dataclasses.dataclass
class Case:
    name: str
    # Values files of the chart, below the values of the case.
    files: list = dataclasses.field(default_factory=list)
    values: dict = dataclasses.field(default_factory=dict)
    # What is in the cluster already, as "Secret/name".
    outside: list = dataclasses.field(default_factory=list)
    release: str = "mail"
    # What Helm says where it must refuse the values, as a regular expression.
    says: str = ""


class Rendering(typing.NamedTuple):
    case: Case
    kubernetes: str
    manifests: Manifests


def cases():
    return [Case(**case) for case in yaml.load((TESTS / "cases.yaml").read_text(), Loader)]


def helm(program, command, case, *arguments):
    """Runs Helm upon the chart with the values of a case."""
    files = [word for file in case.files for word in ("--values", CHART / file)]
    name = [] if command == "lint" else [case.release]
    return subprocess.run(
        [
            BIN / program,
            *command.split(),
            *name,
            CHART,
            "--namespace",
            "mail",
            *files,
            "--values",
            "-",
            *arguments,
        ],
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
    """(item, work(*item)) of all in order, as many at a time as there are cores."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(zip(items, pool.map(lambda item: work(*item), items)))


def everything():
    return itertools.product(HELMS, cases(), KUBERNETES)


def all_cases():
    """The distinct renderings, and the faults of Helm, each told once."""
    faults, renderings = {}, {}
    for (program, case, version), done in in_parallel(lint, everything()):
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            faults.setdefault(said, f"{program} lint, {case.name}, Kubernetes {version}")
    for (program, case, version), done in in_parallel(template, everything()):
        where = f"{case.name}, Kubernetes {version}"
        if done.returncode or done.stderr:
            faults.setdefault(done.stderr.strip(), f"{program} template, {where}")
        elif program == HELMS[0]:
            manifests = Manifests(done.stdout, case.outside)
            renderings[case.name, version] = Rendering(case, version, manifests)
        elif done.stdout != renderings[case.name, version].manifests.text:
            faults.setdefault(f"{' and '.join(HELMS)} render different manifests", where)
    distinct = {(own.case.name, own.manifests.text): own for own in renderings.values()}
    return list(distinct.values()), [f"{where}: {said}" for said, where in faults.items()]


def notes():
    """Faults of the notes that an installation prints, which only Helm 4 does without cluster."""
    installations = [("helm4", "install", case, "--dry-run=client") for case in cases()]
    for (_, _, case, _), done in in_parallel(helm, installations):
        text = done.stdout.partition("\nNOTES:\n")[2]
        if done.returncode or not text.strip():
            yield f"{case.name}: prints no notes: {done.stderr.strip()}"
        for sign in ("%!", "<nil>"):
            if sign in text:
                yield f"{case.name}: its notes hold {sign}"


def refusals():
    """Values that must not pass, upon those of the case minimal."""
    base = next(case for case in cases() if case.name == "minimal")
    listed = yaml.load((TESTS / "refused.yaml").read_text(), Loader)
    for one in listed:
        yield Case(one["what"], values=merged(base.values, one["values"]), says=one["says"])


def refusal_faults():
    attempts = itertools.product(HELMS, refusals(), KUBERNETES[-1:])
    for (program, case, _), done in in_parallel(template, attempts):
        said = " ".join(done.stderr.split())
        if not done.returncode:
            yield f"{program} renders {case.name}"
        elif not re.search(case.says, said):
            yield f"{program} refuses {case.name}, not by /{case.says}/: {said[:300]}"


def merged(under, over):
    """Values over others, as Helm lays one file over another."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: merged(under.get(key), value) for key, value in over.items()}
