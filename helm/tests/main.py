"""Checks the chart in every case, and that the checks would find a mistake."""

import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import yaml

import checks
import linters
import mutants
import render
from checks import contents, settings
from manifests import Loader

CARGO = tomllib.loads((render.ROOT / "Cargo.toml").read_text())


class Report:
    """A line for each part, with what it looked at and how long that took."""

    def __init__(self):
        self.broken = []
        self.began = self.last = time.monotonic()

    def part(self, name, looked_at, faults):
        now = time.monotonic()
        state = "FAILED" if faults else "ok"
        print(f"{state:6}  {name:12}  {looked_at:50}  {now - self.last:5.1f} s", flush=True)
        for fault in faults:
            print(f"          {fault}", flush=True)
        self.last = now
        self.broken += [name] if faults else []

    def skipped(self, what):
        print(f"SKIPPED: {what}", flush=True)

    def end(self):
        took = time.monotonic() - self.began
        if self.broken:
            print(f"\nthe chart is not right: {', '.join(self.broken)}; {took:.0f} s")
            return 1
        print(f"\nthe chart is right; {took:.0f} s")
        return 0


def versions():
    """The chart, what it installs and the program have one version."""
    chart = yaml.load((render.CHART / "Chart.yaml").read_text(), Loader)
    own = {
        "Chart.yaml version": chart["version"],
        "appVersion": chart["appVersion"],
        "Cargo.toml": CARGO["package"]["version"],
    }
    return [] if len(set(own.values())) == 1 else [f"{own} differ"]


def readme():
    """The chart's table of values is made from their comments."""
    return linters.run([sys.executable, render.ROOT / "helm/generate.py", "--check"])


def package():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [render.BIN / "helm3", "package", render.CHART, "--destination", folder],
            env=render.ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return "", [done.stderr]
        (file,) = pathlib.Path(folder).iterdir()
        return f"{file.name}, {file.stat().st_size / 1024:.1f} KiB", []


def manifest_faults(renderings):
    """The faults of all renderings, each told once, with the first where it is."""
    found = {}
    for case, version, manifests in renderings:
        for check, fault in checks.faults(manifests):
            found.setdefault(f"{check}: {fault}", f"{case.name}, Kubernetes {version}")
    return [f"{fault} [{where}]" for fault, where in found.items()]


def plant(manifests):
    """Prints what found each mistake; the mistakes that nothing found."""
    survivors = []
    for mistake, found in mutants.run(manifests):
        names = ", ".join(sorted({check for check, _ in found}))
        print(f"          {mistake:50}  {names or 'SURVIVES'}")
        survivors += [] if found else [f"nothing finds: {mistake}"]
    return survivors


def main():
    report = Report()
    report.part("versions", CARGO["package"]["version"], versions())
    report.part("readme", "its table is that of values.yaml", readme())
    renderings, faults = render.all_cases()
    cases = {case.name: case for case in render.cases()}
    looked_at = f"{len(cases)} cases, {len(render.KUBERNETES)} Kubernetes, Helm 3 and 4"
    report.part("render", looked_at, faults)
    if faults:
        return report.end()

    latest = {case.name: manifests for case, _, manifests in renderings}
    texts = {name: manifests.text for name, manifests in latest.items()}
    # It takes as long as all else, and waits for nothing.
    checkov = concurrent.futures.ThreadPoolExecutor(1).submit(linters.checkov, texts)

    count = sum(len(own.manifests.documents) for own in renderings)
    looked_at = f"{count} in {len(renderings)} renderings, {len(checks.CHECKS)} checks"
    report.part("manifests", looked_at, manifest_faults(renderings))
    if not contents.PROMTOOL.exists():
        report.skipped("nobody tested the alerting rules, promtool is not to be had")
    told = [settings.default_faults(cases[name], latest[name]) for name in ("minimal", "dev")]
    report.part("defaults", "the chart's are the gateway's", [*told[0], *told[1]])
    report.part("notes", f"{len(cases)} cases", list(render.notes()))
    looked_at = f"{len(list(render.refusals()))} values that must not pass"
    report.part("refused", looked_at, list(render.refusal_faults()))
    report.part("package", *package())
    faults = mutants.unclean(latest) or plant(latest)
    report.part("mutants", f"{mutants.COUNT} mistakes planted", faults)
    for name, look in linters.LINTERS.items():
        report.part(name, *look())
    report.part("checkov", f"{len(latest)} renderings, Dockerfiles", checkov.result())
    return report.end()


sys.exit(main())
