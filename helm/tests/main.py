"""Checks the chart in every case, and that the checks would find a mistake. `make chart` runs it."""

import concurrent.futures
import pathlib
import re
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
from manifests import Loader, Manifests

CARGO = tomllib.loads((render.ROOT / "Cargo.toml").read_text())


class Report:
    """A line for each part, with what it looked at and how long that took."""

    def __init__(self):
        self.broken = []
        self.began = self.last = time.monotonic()

    def part(self, name, looked_at, faults):
        now = time.monotonic()
        state = "FAILED" if faults else "ok"
        print(f"{state:6}  {name:12}  {looked_at:72}  {now - self.last:5.1f} s", flush=True)
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
    own = {"Chart.yaml version": chart["version"], "appVersion": chart["appVersion"], "Cargo.toml": CARGO["package"]["version"]}
    return [] if len(set(own.values())) == 1 else [f"{own} differ"]


def package():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [render.BIN / "helm3", "package", render.CHART, "--destination", folder],
            env=render.ENVIRONMENT, capture_output=True, text=True,
        )
        if done.returncode:
            return "", [done.stderr]
        (file,) = pathlib.Path(folder).iterdir()
        return f"{file.name}, {file.stat().st_size / 1024:.1f} KiB", []


def manifest_faults(rendered):
    """The faults of all renderings, each told once, with the first where it is."""
    found = {}
    for where, manifests in rendered:
        for check, fault in checks.faults(manifests):
            found.setdefault(f"{check}: {fault}", where)
    return [f"{fault} [{where}]" for fault, where in found.items()]


def plant(report, latest):
    results = mutants.run(latest)
    for mistake, found in results:
        print(f"          {mistake:50}  {', '.join(sorted({check for check, _ in found})) or 'SURVIVES'}")
    survivors = [mistake for mistake, found in results if not found]
    report.part("mutants", f"{len(results) - len(survivors)} of {len(results)} planted mistakes found", survivors)


def main():
    report = Report()
    report.part("versions", f"{CARGO['package']['version']}", versions())

    rendered, faults = render.all_cases()
    cases = {case.name: case for case in render.cases()}
    latest = {name: next(own for where, own in reversed(rendered) if where.startswith(f"{name},")) for name in cases}
    looked_at = f"{len(cases)} cases × {len(render.KUBERNETES)} Kubernetes × Helm 3 and 4: lint --strict, template"
    report.part("render", looked_at, faults)

    # It takes as long as all else, and waits for nothing.
    texts = {name: manifests.text for name, manifests in latest.items()}
    checkov = concurrent.futures.ThreadPoolExecutor(1).submit(linters.checkov, texts)

    documents = sum(len(manifests.documents) for _, manifests in rendered)
    report.part("manifests", f"{documents} in {len(rendered)} renderings, {len(checks.CHECKS)} checks", manifest_faults(rendered))
    if not contents.PROMTOOL.exists():
        report.skipped("nobody tested the alerting rules, promtool is not to be had")
    report.part("defaults", "the chart's are the binary's", list(settings.default_faults(latest["minimal"], cases["minimal"].values["config"])))
    report.part("notes", "helm install --dry-run=client", list(render.notes()))
    count, faults = render.refused()
    report.part("refused", f"{count} values that must not pass", faults)
    looked_at, faults = package()
    report.part("package", looked_at, faults)

    faults = mutants.unclean(latest)
    if faults:
        report.part("mutants", "nothing planted, as there are faults already", faults)
    else:
        plant(report, latest)
    for name, look in (
        ("scripts", linters.scripts), ("workflows", linters.workflows), ("dockerfiles", linters.dockerfiles), ("yaml", linters.yaml_files), ("examples", linters.examples),
    ):
        count, faults = look()
        report.part(name, f"{count} files", faults)
    report.part("checkov", f"{len(latest)} renderings, Dockerfiles", checkov.result())
    return report.end()


sys.exit(main())
