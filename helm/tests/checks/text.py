"""The YAML itself: kubectl lets the last of two equal keys win and says nothing."""

import functools
import pathlib

from yamllint import linter
from yamllint.config import YamlLintConfig

CONFIG = YamlLintConfig(file=str(pathlib.Path(__file__).parents[1] / "yamllint.yaml"))


def faults(manifests):
    return faults_of(manifests.text)


@functools.cache
def faults_of(text):
    return [f"line {fault.line}: {fault.message}" for fault in linter.run(text, CONFIG)]
