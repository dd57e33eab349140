#!/usr/bin/env python3
"""Writes what the chart says twice: the table of values in its README, from the comments of
values.yaml, and the part of its schema for `config`, from docs/settings.md.

With --check it writes nothing, and fails where a file is not what it would write.
"""

import json
import pathlib
import re
import sys

HELM = pathlib.Path(__file__).parent
CHART = HELM / "smtp-gateway"
SETTINGS = HELM.parent / "docs/settings.md"
MARK = "<!-- What follows is made from values.yaml by helm/generate.py. -->\n"


def readme():
    above = (CHART / "README.md").read_text().partition(MARK)[0]
    return above + MARK + "\n" + "\n".join(table((CHART / "values.yaml").read_text())) + "\n"


def table(text):
    yield "| Value | Default | Meaning |"
    yield "|---|---|---|"
    for key, default, meaning in values(text):
        if not meaning:
            sys.exit(f'values.yaml: {key} needs a comment that begins with "--"')
        yield f"| `{key}` | {f'`{default}`' if default else 'see values.yaml'} | {meaning} |"


def values(text):
    """(key, default, meaning) of each value. One comment may describe a whole, which has no default."""
    path, comment, whole = [], [], None
    for line in text.splitlines():
        if found := re.match(r" *# ?(.*)", line):
            if found[1].startswith("-- "):
                comment = [found[1].removeprefix("-- ")]
            elif comment:
                comment.append(found[1])
        elif found := re.match(r"( *)([\w-]+):(?: +(.*))?$", line):
            depth, name, default = len(found[1]), found[2], found[3]
            path = [parent for parent in path if parent[0] < depth] + [(depth, name)]
            key = ".".join(name for _, name in path)
            if (comment or default) and not (whole and key.startswith(f"{whole}.")):
                whole = None if default else key
                yield key, default, " ".join(comment)
            comment = []


def schema():
    """Everything but `config` is written by hand."""
    text = (CHART / "values.schema.json").read_text()
    before, rest = text.split('    "config": {\n', 1)
    after = rest.split("\n    },\n", 1)[1]
    lines = "\n".join(section(settings(SETTINGS.read_text()), 6))
    return f'{before}    "config": {{\n{lines}\n    }},\n{after}'


def settings(page):
    """The keys of all settings as a tree, with their types as leaves."""
    tree = {}
    for key, default in re.findall(r"^\| `([\w.]+)` \| (?:`(.*?)`)? *\|", page, re.MULTILINE):
        *sections, name = key.split(".")
        node = tree
        for part in sections:
            node = node.setdefault(part, {})
        node[name] = types(default)
        # Secrets can be read from a file; those of accounts have no row of their own.
        if name == "key":
            node["key_file"] = ["string"]
    return tree


def types(default):
    """What a setting with such a default may be. A size or a period may be a bare number."""
    if not default:
        return []
    value = json.loads(default)
    if isinstance(value, str):
        return ["string", "integer"] if value[:1].isdigit() else ["string"]
    return [{bool: "boolean", int: "integer", list: "array", dict: "object"}[type(value)]]


def section(tree, indent):
    """The lines of a JSON object that describes a table of settings, without its braces."""
    blank = " " * indent
    yield f'{blank}"type": "object",'
    yield f'{blank}"additionalProperties": false,'
    yield f'{blank}"properties": {{'
    for name, node in tree.items():
        comma = "" if name == list(tree)[-1] else ","
        if isinstance(node, dict):
            yield f'{blank}  "{name}": {{'
            yield from section(node, indent + 4)
            yield f"{blank}  }}{comma}"
        else:
            allowed = {"type": node[0] if len(node) == 1 else node} if node else {}
            yield f'{blank}  "{name}": {json.dumps(allowed)}{comma}'
    yield f"{blank}}}"


def main():
    stale = []
    for name, content in {"README.md": readme(), "values.schema.json": schema()}.items():
        file = CHART / name
        if file.read_text() != content:
            stale.append(name)
            if "--check" not in sys.argv:
                file.write_text(content)
    if "--check" in sys.argv and stale:
        sys.exit(f"{' and '.join(stale)} of the chart: run helm/generate.py, and look at the change")


main()
