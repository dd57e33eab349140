"""An email API for test.sh: takes each message and appends its JSON as a line to the file named by the
first argument. Says on standard output which port it listens on; the second argument is the key that
requests must bear."""

import http.server
import sys

inbox, key = sys.argv[1:]


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {key}":
            self.answer(401, b'{"error": "wrong key"}')
            return
        with open(inbox, "ab") as file:
            file.write(body.replace(b"\n", b" ") + b"\n")
        self.answer(202, b'{"id": "1"}')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
