"""The YAML itself: kubectl lets the last of two equal keys win and says nothing."""

import functools
import pathlib
import re

from yamllint import linter
from yamllint.config import YamlLintConfig

from manifests import told

CONFIG = YamlLintConfig(file=str(pathlib.Path(__file__).parents[1] / "yamllint.yaml"))


def faults(manifests):
    for document in re.split(r"^---\n", manifests.text, flags=re.MULTILINE):
        kind = re.search(r"^kind: .*$", document, re.MULTILINE)
        yield from told(kind[0] if kind else "a manifest", faults_of(document))


@functools.cache
def faults_of(text):
    return [f"line {fault.line}: {fault.message}" for fault in linter.run(text, CONFIG)]
