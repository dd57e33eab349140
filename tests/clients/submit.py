"""Submits one message file with smtplib.

submit.py PORT starttls|implicit CA PLAIN|LOGIN USER FILE RECIPIENT...
"""

import smtplib
import ssl
import sys

port, tls, ca, mechanism, user, path, *recipients = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if tls == "implicit":
    client = smtplib.SMTP_SSL("localhost", int(port), timeout=20, context=context)
else:
    client = smtplib.SMTP("localhost", int(port), timeout=20)
    client.starttls(context=context)
with client, open(path, "rb") as message:
    client.ehlo_or_helo_if_needed()
    client.user, client.password = user, "secret"
    client.auth(mechanism, getattr(client, "auth_" + mechanism.lower()))
    client.sendmail("app@example.com", recipients, message.read())
