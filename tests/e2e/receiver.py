"""What releases ask and tell: a receiver of signed webhooks, and a Prometheus that answers what it was told to.

Each POST is one line of JSON on standard output: `path`, whether the signature holds by the key (`signed`), the ID, and
the body. /gate answers 200 or 403, as FILE/gate says; everything else 200. GET /api/v1/query answers a vector with the
value in FILE/value, without any when that is empty, and keeps the query as a line. First comes `ready IP:PORT`.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

TOLERANCE_S = 300


class Receiver(http.server.BaseHTTPRequestHandler):
    options = None
    lock = threading.Lock()

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self, **facts):
        with self.lock:
            print(json.dumps(facts), flush=True)

    def told(self, name):
        with open(os.path.join(self.options.told, name), encoding="utf-8") as file:
            return file.read().strip()

    def is_signed(self, body):
        """As the specification says, for a key that is taken as it is."""
        number, sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        if number is None or sent is None or abs(time.time() - int(sent)) > TOLERANCE_S:
            return False
        message = f"{number}.{sent}.".encode() + body
        wanted = base64.b64encode(hmac.new(self.options.key.encode(), message, hashlib.sha256).digest())
        given = self.headers["webhook-signature"] or ""
        return any(hmac.compare_digest(b"v1," + wanted, one.encode()) for one in given.split())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.note(path=self.path, signed=self.is_signed(body), id=self.headers["webhook-id"], body=json.loads(body))
        self.answer(int(self.told("gate")) if self.path == "/gate" else 200)

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query).get("query", [""])[0]
        value = self.told("value")
        self.note(path=parts.path, query=query)
        result = [{"metric": {}, "value": [time.time(), value]}] if value else []
        answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
        self.answer(200, json.dumps(answer).encode())

    def log_message(self, *_):
        pass


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--key", required=True)
    options.add_argument("--told", required=True, help="folder with the files `gate` and `value`")
    Receiver.options = options.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.5", 0), Receiver)
    print(f"ready {server.server_address[0]}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


main()
