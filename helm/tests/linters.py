"""The files of the repository: scripts, workflows, Dockerfiles, values."""

import pathlib
import re
import subprocess

from checks import text
from render import CHART, ROOT, TESTS

CHECKS = ROOT / "target/chart-tools/checks/bin"
CHECKOV = ROOT / "target/chart-tools/checkov/bin/checkov"


def files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def scripts():
    found = [file for file in files() if re.match(rb"#!.*\b(ba|da)?sh\b", file.open("rb").read(64))]
    return len(found), run([CHECKS / "shellcheck", *found])


def workflows():
    """Shell within them is checked by shellcheck too, which stands beside actionlint."""
    found = [file for file in files() if file.match(".github/workflows/*.y*ml")]
    return len(found), run([CHECKS / "actionlint", "-shellcheck", CHECKS / "shellcheck", *found]) if found else []


def dockerfiles():
    found = [file for file in files() if file.name.startswith("Dockerfile")]
    faults = run([CHECKS / "hadolint", *found]) if found else []
    return len(found), faults + [fault for file in found for fault in checkov("dockerfile", file)]


def yaml_files():
    found = [
        file
        for file in files()
        if file.suffix in (".yaml", ".yml") and CHART / "templates" not in file.parents and CHART / "files" not in file.parents
    ]
    faults = [f"{file.relative_to(ROOT)}: {fault}" for file in found for fault in text.faults_of(file.read_text())]
    return len(found), faults


def checkov(framework, path):
    """Checks that are left out stand in checkov.yaml, each with its reason."""
    where = ["--directory" if path.is_dir() else "--file", path]
    return run([CHECKOV, "--config-file", TESTS / "checkov.yaml", "--framework", framework, *where])


def run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not done.returncode:
        return []
    return [f"{pathlib.Path(command[0]).name}: {(done.stdout + done.stderr).strip()}"]
