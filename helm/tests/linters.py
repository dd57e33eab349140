"""The files of the repository: scripts, workflows, Dockerfiles, values."""

import pathlib
import re
import shutil
import subprocess
import tempfile

from checks import BY_FORM, CHECKS, text
from manifests import Manifests
from render import CHART, ROOT, TESTS

PROGRAMS = ROOT / "target/chart-tools/checks/bin"
CHECKOV = ROOT / "target/chart-tools/checkov/bin/checkov"


def files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def scripts():
    found = [file for file in files() if re.match(rb"#!.*\b(ba|da)?sh\b", file.open("rb").read(64))]
    return count(found), run([PROGRAMS / "shellcheck", *found])


def workflows():
    """Shell within them is checked by shellcheck too, which stands beside actionlint."""
    found = [file for file in files() if file.match(".github/workflows/*.y*ml")]
    return count(found), run(
        [PROGRAMS / "actionlint", "-shellcheck", PROGRAMS / "shellcheck", *found]
    ) if found else []


def dockerfiles():
    found = [file for file in files() if file.name.startswith("Dockerfile")]
    return count(found), run([PROGRAMS / "hadolint", "--no-color", *found]) if found else []


def yaml_files():
    found = [
        file
        for file in files()
        if file.suffix in (".yaml", ".yml")
        and CHART / "templates" not in file.parents
        and CHART / "files" not in file.parents
    ]
    faults = [
        f"{file.relative_to(ROOT)}: {fault}"
        for file in found
        for fault in text.faults_of(file.read_text())
    ]
    return count(found), faults


def examples():
    """Manifests to take and change: their form only, as they refer to what is elsewhere."""
    listed = [
        file for file in files() if file.suffix == ".yaml" and ROOT / "deployment" in file.parents
    ]
    found = [file for file in listed if "\nkind:" in file.read_text()]
    faults = []
    for file in found:
        manifests = Manifests(file.read_text())
        faults += [
            f"{file.relative_to(ROOT)}: {fault}"
            for check in BY_FORM
            for fault in CHECKS[check](manifests)
        ]
    return count(found), faults


def checkov(texts):
    """What checkov says of manifests and Dockerfiles, as checkov.yaml tells it to look."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            pathlib.Path(folder, f"{name}.yaml").write_text(text)
        for file in files():
            if file.name.startswith("Dockerfile"):
                shutil.copy(file, folder)
        return run([CHECKOV, "--config-file", TESTS / "checkov.yaml", "--directory", folder])


def count(found):
    return f"{len(found)} files"


def run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not done.returncode:
        return []
    return [f"{pathlib.Path(command[0]).name}: {(done.stdout + done.stderr).strip()}"]


LINTERS = {
    "scripts": scripts,
    "workflows": workflows,
    "dockerfiles": dockerfiles,
    "yaml": yaml_files,
    "examples": examples,
}
