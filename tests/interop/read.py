"""Reads every message below a folder with Python's email package and prints what it found as JSON.

read.py FOLDER

One member for each message, by its path. `leaves` are the parts that hold no others; `text` and
`html` are those of them that get_body() chooses.
"""

import base64
import email.message
import email.policy
import json
import pathlib
import re
import signal
import sys

TIME_LIMIT_SECONDS = 120


class Message(email.message.EmailMessage):
    """A message whose attached messages are not read but stay the octets they are."""

    def get_content_type(self):
        media_type = super().get_content_type()
        return "opaque-" + media_type if media_type.startswith("message/") else media_type


def describe(message):
    bodies = [message.get_body([form]) for form in ("plain", "html")]
    leaves = [part for part in message.walk() if not part.is_multipart()]
    return {
        "subject": message["Subject"],
        "from": addresses(message.get_all("From", [])),
        "to": addresses(message.get_all("To", [])),
        "text": text(bodies[0]),
        "html": text(bodies[1]),
        "leaves": [leaf(part) | {"is_body": part in bodies} for part in leaves],
    }


def addresses(fields):
    return [{"name": a.display_name, "email": a.addr_spec} for f in fields for a in f.addresses]


def text(part):
    return None if part is None else part.get_content()


def leaf(part):
    octets = part.get_payload(decode=True)
    return {
        "name": part.get_filename(),
        "media_type": part.get_content_type().removeprefix("opaque-"),
        "content": base64.b64encode(octets).decode(),
    }


signal.alarm(TIME_LIMIT_SECONDS)
policy = email.policy.default.clone(message_factory=Message)
folder = pathlib.Path(sys.argv[1])
found = {}
for path in folder.rglob("*"):
    if path.is_file():
        message = email.message_from_bytes(path.read_bytes(), policy=policy)
        found[str(path.relative_to(folder))] = describe(message)
# Octets that are no text in Python's eyes come as surrogates, which JSON cannot hold.
readable = re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(found, ensure_ascii=False))
sys.stdout.buffer.write(readable.encode())
