#!/usr/bin/env python3
"""Writes the table of values in the chart's README from the comments of values.yaml.

With --check it writes nothing, and fails where the table is not what it would write.
"""

import pathlib
import re
import sys

CHART = pathlib.Path(__file__).parent / "smtp-gateway"
MARK = "<!-- What follows is made from values.yaml by helm/readme.py. -->\n"


def rows(text):
    """(key, default, meaning) of each value that is a leaf, or has a comment that begins with "--"."""
    path, comment, described = [], [], None
    for line in text.splitlines():
        if found := re.match(r"( *)# ?(.*)", line):
            words = found[2]
            if words.startswith("-- "):
                comment = [words.removeprefix("-- ")]
            elif comment:
                comment.append(words)
            continue
        found = re.match(r"( *)([\w-]+):(?: +(.*))?$", line)
        if not found:
            comment = []
            continue
        depth = len(found[1])
        path = [key for key in path if key[0] < depth] + [(depth, found[2])]
        key = ".".join(name for _, name in path)
        if described and key.startswith(f"{described}."):
            comment = []
            continue
        default = re.sub(r"\s+#.*", "", found[3] or "")
        if comment or default:
            # A whole with a comment of its own is described by that.
            described = key if comment and not default else None
            yield key, default or "see values.yaml" * bool(described), " ".join(comment)
        comment = []


def table(text):
    yield "| Value | Default | Meaning |"
    yield "|---|---|---|"
    for key, default, meaning in rows(text):
        shown = default if default.startswith("see ") else f"`{default}`"
        yield f"| `{key}` | {shown} | {meaning} |"


def main():
    readme = CHART / "README.md"
    old = readme.read_text()
    new = old.partition(MARK)[0] + MARK + "\n" + "\n".join(table((CHART / "values.yaml").read_text())) + "\n"
    if "--check" in sys.argv and new != old:
        sys.exit(f"{readme.name} of the chart is not what values.yaml says: run helm/readme.py")
    if "--check" not in sys.argv:
        readme.write_text(new)


main()
