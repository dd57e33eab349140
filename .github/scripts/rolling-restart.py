"""Restarts the gateway's pods while messages come in, and counts: none may be lost, come twice or find
nobody who takes the connection.

Needs cluster.sh's cluster, kubectl and helm. The clients and the email API are in this process: it reaches
the node's port, and pods reach it at the address that it has towards the node."""

import collections
import http.server
import json
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

NAMESPACE = ["--namespace", "smtp-gateway"]
PODS = ["--selector", "app.kubernetes.io/name=smtp-gateway,app.kubernetes.io/component=gateway"]
CLIENTS = 20
# Between two messages of a client. With the time that the API takes, that is 40 a second of them all.
PERIOD = 0.3
API_TAKES = 0.2


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def pods():
    return set(run("kubectl", *NAMESPACE, "get", "pods", *PODS, "--output", "name").split())


class Api(http.server.BaseHTTPRequestHandler):
    """Takes every message, after a while, so that a restart finds some under way."""

    protocol_version = "HTTP/1.1"
    arrived = collections.Counter()
    lock = threading.Lock()

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(API_TAKES)
        with self.lock:
            self.arrived[message["subject"]] += 1
        body = b'{"id": "1"}'
        self.send_response(202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Client(threading.Thread):
    """Sends one message after the other, each in a session of its own, again where it is told so."""

    def __init__(self, number, address, stop):
        super().__init__()
        self.number, self.address, self.stop = number, address, stop
        self.accepted, self.bounced = [], []
        self.again = self.unanswered = self.refused = 0

    def run(self):
        turn = 0
        while not self.stop.wait(PERIOD):
            turn += 1
            self.deliver(f"{self.number}-{turn}")

    def deliver(self, name):
        for _ in range(30):
            try:
                self.send(name)
                self.accepted.append(name)
                return
            except ConnectionRefusedError:
                self.refused += 1
            except smtplib.SMTPResponseException as reply:
                if reply.smtp_code >= 500:
                    self.bounced.append((name, reply))
                    return
                self.again += 1
            except (OSError, smtplib.SMTPServerDisconnected):
                self.unanswered += 1
            time.sleep(1)
        self.bounced.append((name, "thirty tries"))

    def send(self, name):
        smtp = smtplib.SMTP(*self.address, local_hostname="app.example.com", timeout=60)
        try:
            smtp.starttls(context=ssl._create_unverified_context())
            smtp.login("app", "secret")
            message = f"From: app@example.com\r\nTo: ann@example.net\r\nSubject: {name}\r\n\r\nHello.\r\n"
            for code, reply in (
                smtp.mail("app@example.com"),
                smtp.rcpt("ann@example.net"),
                smtp.data(message),
            ):
                if code >= 400:
                    raise smtplib.SMTPResponseException(code, reply)
        finally:
            # Without a QUIT: behind the 250 its answer, such as 421, changes nothing any more.
            smtp.close()


def install(api):
    """The chart with two pods that call this process, and a port of the node for its clients."""
    values = {
        "replicaCount": 2,
        "autoscaling": {"enabled": False},
        "service": {"type": "NodePort"},
        "tls": {"selfSigned": True},
        "secretFiles": {"api-key": "key", "app": "secret"},
        "config": {
            "api": {
                "provider": "json",
                "url": api,
                "allow_http": True,
                "key_file": "/etc/smtp-gateway/secrets/api-key",
            },
            "auth": {
                "source": "static",
                "accounts": [{"name": "app", "password_file": "/etc/smtp-gateway/secrets/app"}],
            },
            # All clients have one address.
            "limits": {"messages_per_minute_per_ip": 0},
        },
    }
    command = ["helm", "upgrade", "smtp-gateway", "helm/smtp-gateway", *NAMESPACE]
    run(*command, "--values", "-", "--wait", "--timeout", "180s", input=json.dumps(values))


def restart():
    """Until the old pods are gone, not only the new ones there."""
    old = pods()
    run("kubectl", *NAMESPACE, "rollout", "restart", "deployment/smtp-gateway")
    run("kubectl", *NAMESPACE, "rollout", "status", "deployment/smtp-gateway", "--timeout=300s")
    deadline = time.monotonic() + 120
    while old & pods():
        if time.monotonic() > deadline:
            sys.exit(f"still there after two minutes: {old & pods()}")
        time.sleep(1)
    return old


def main():
    node = run("kubectl", "get", "nodes", "--output",
               'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((node, 9))
        here = towards.getsockname()[0]
    server = http.server.ThreadingHTTPServer((here, 0), Api)
    # A pod that leaves before its answer is seen by what it does to messages.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    install(f"http://{here}:{server.server_port}/")
    port = run("kubectl", *NAMESPACE, "get", "service", "smtp-gateway", "--output",
               'jsonpath={.spec.ports[?(@.name=="submission")].nodePort}')

    stop = threading.Event()
    # The port may need a moment.
    Client("first", (node, int(port)), stop).deliver("first")
    clients = [Client(number, (node, int(port)), stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(5)
    replaced = restart()
    time.sleep(5)
    stop.set()
    for client in clients:
        client.join()

    accepted = [name for client in clients for name in client.accepted]
    lost = [name for name in accepted if name not in Api.arrived]
    twice = [name for name, times in Api.arrived.items() if times > 1]
    bounced = [entry for client in clients for entry in client.bounced]
    refused, unanswered, again = (
        sum(getattr(client, count) for client in clients) for count in ("refused", "unanswered", "again")
    )
    print(f"{len(accepted)} messages, {len(replaced)} pods replaced: {len(lost)} lost, {len(twice)} twice, "
          f"{refused} connections refused, {unanswered} ended without an answer, {len(bounced)} messages "
          f"refused, {again} told to come again")
    for what in (lost, twice, bounced):
        print(*what[:5], sep="\n", end="")
    if lost or twice or bounced or refused or unanswered:
        sys.exit("the restart was noticed")
    if len(replaced) < 2 or len(accepted) < 400:
        sys.exit("too little happened to say anything")


main()
