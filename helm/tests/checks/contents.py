"""Files in ConfigMaps are what their names say, dashboards ask what can be asked, and alerting rules
fire when they should."""

import functools
import json
import pathlib
import shutil
import subprocess
import tempfile

import yaml

from manifests import Dumper, Loader, title, told

from . import text

TESTS = pathlib.Path(__file__).parents[1]
PROMTOOL = TESTS.parents[1] / "target/chart-tools/bin/promtool"


def faults(manifests):
    for config in manifests.of("ConfigMap"):
        for name, content in config.get("data", {}).items():
            yield from told(f"{title(config)}: {name}", file_faults(name, content))
    for rule in manifests.of("PrometheusRule"):
        groups = yaml.dump({"groups": rule["spec"]["groups"]}, Dumper=Dumper)
        yield from told(title(rule), rule_faults(groups))


def file_faults(name, content):
    try:
        if name.endswith(".json"):
            yield from dashboard_faults(json.loads(content).get("panels", []))
        elif name.endswith((".yaml", ".yml")):
            yaml.load(content, Loader)
            yield from text.faults_of(content)
    except (ValueError, yaml.YAMLError) as fault:
        yield str(fault)


def dashboard_faults(panels):
    """Panels that share an id or explain nothing, and what promtool says of their expressions."""
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) < len(ids):
        yield "two panels have one id"
    rules = []
    for panel in panels:
        if panel["type"] != "row" and not panel.get("description"):
            yield f"the panel {panel['title']} has no description"
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "6h")
            rules.append({"record": f"panel:{panel['id']}:{target['refId']}", "expr": expression})
    if rules and PROMTOOL.exists():
        with tempfile.TemporaryDirectory() as folder:
            text = yaml.dump({"groups": [{"name": "dashboard", "rules": rules}]}, Dumper=Dumper)
            pathlib.Path(folder, "panels.yaml").write_text(text)
            yield from promtool(folder, "check", "rules", "panels.yaml")


@functools.cache
def rule_faults(groups):
    """What promtool says of rules, and of their tests, which name them as rules.yaml."""
    if not PROMTOOL.exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "rules.yaml").write_text(groups)
        found = promtool(folder, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
        for test in TESTS.glob("rules*_test.yaml"):
            shutil.copy(test, folder)
            found = found or promtool(folder, "test", "rules", test.name)
        return found


def promtool(folder, *arguments):
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True)
    return [] if done.returncode == 0 else [" ".join((done.stderr or done.stdout).split())[:400]]
