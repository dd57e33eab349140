"""The gateway itself, asked what it makes of settings and which paths it serves."""

import atexit
import dataclasses
import functools
import http.client
import json
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/smtp-gateway"
SANDBOX = [
    "--set",
    "http.port=0",
    "--set",
    "smtp.listeners=[{port=0}]",
    "--set",
    "log.format=json",
    "sandbox",
]
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1}
SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclasses.dataclass
class Setting:
    value: object
    source: str


def check(files, environment, arguments):
    """The settings in force by key, and the faults; one of the two is empty."""
    return check_once(
        *(tuple(mapping.items()) for mapping in (files, environment)), tuple(arguments)
    )


@functools.cache
def check_once(files, environment, arguments):
    with tempfile.TemporaryDirectory() as folder:
        paths = "|".join(re.escape(path) for path, _ in sorted(files, reverse=True))

        def moved(text):
            """The same text with the paths of the files as they are on this machine."""
            return re.sub(rf"(?<![\w./-])(?={paths})", folder, text) if paths else text

        for path, content in files:
            place = pathlib.Path(folder + path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(moved(content))
        done = subprocess.run(
            [PROGRAM, *map(moved, arguments), "check"],
            env={name: moved(value) for name, value in environment},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
    if done.returncode:
        return {}, done.stderr.replace(folder, "").splitlines() or [f"ended with {done.returncode}"]
    lines = (
        re.fullmatch(r"(\S+) = (.*)  # (.*)", line)
        for line in done.stdout.replace(folder, "").splitlines()
    )
    return {line[1]: Setting(json.loads(line[2]), line[3]) for line in lines}, []


@functools.cache
def usage_faults(arguments):
    """What is wrong with a command line; to ask for help keeps it from being carried out."""
    done = subprocess.run(
        [PROGRAM, *arguments, "--help"], env={}, capture_output=True, text=True, timeout=60
    )
    return [done.stderr.splitlines()[0]] if done.returncode else []


@functools.cache
def defaults():
    """What holds where nobody says anything, save for what it takes to start at all."""
    start = {"backend": "sandbox", "auth.source": "any", "tls.self_signed": "true"}
    arguments = [word for key, value in start.items() for word in ("--set", f"{key}={value}")]
    settings, faults = check({}, {}, arguments)
    if faults:
        raise RuntimeError(faults)
    return {key: setting.value for key, setting in settings.items() if key not in start}


@functools.cache
def sandbox():
    """The address of a gateway that runs until this program ends."""
    process = subprocess.Popen(
        [PROGRAM, *SANDBOX], env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    atexit.register(process.kill)
    for line in process.stdout:
        if line.startswith("{") and "listening for HTTP" in line:
            return json.loads(line)["listener.addr"]
    raise RuntimeError("the gateway's sandbox does not start")


@functools.cache
def status(path):
    connection = http.client.HTTPConnection(sandbox(), timeout=10)
    connection.request("GET", path)
    return connection.getresponse().status


def seconds(value):
    """The duration that a setting tells, as in 1m30s."""
    return sum(
        float(number) * UNITS[unit]
        for number, unit in re.findall(r"([\d.]+)(ms|[smh]|)", str(value))
    )


def octets(value):
    """The size that a setting or a resource tells, as in 512MiB or 512Mi."""
    number, unit = re.fullmatch(r"(\d+)(\w*?)B?", str(value)).groups()
    return int(number) * SIZES[unit]
