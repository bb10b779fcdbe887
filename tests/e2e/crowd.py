"""So many clients ask the control socket for its status and its releases, again and again, until SIGTERM; then one line
of JSON: how many answers, how many failures with their first reason, and the slowest answer in milliseconds."""

import argparse
import http.client
import json
import signal
import socket
import threading
import time

PATHS = ("/v1/releases", "/v1/status")
DEADLINE = 30.0


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("teal", timeout=DEADLINE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self.path)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--socket", required=True)
    options.add_argument("--clients", type=int, default=100)
    options.add_argument("--pause", type=float, default=100, help="milliseconds between two questions of a client")
    options = options.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    stopped, lock = threading.Event(), threading.Lock()
    facts = {"answers": 0, "failed": 0, "why": None, "slowest_ms": 0}

    def one(path):
        connection = Connection(options.socket)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            json.loads(answer.read())
            return None if answer.status == 200 else f"{path}: {answer.status}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"{path}: {error!r}"
        finally:
            connection.close()

    def client(number):
        while not stopped.wait(options.pause / 1000):
            begin = time.monotonic()
            failure = one(PATHS[number % len(PATHS)])
            took = (time.monotonic() - begin) * 1000
            with lock:
                facts["slowest_ms"] = max(facts["slowest_ms"], round(took))
                facts["answers" if failure is None else "failed"] += 1
                facts["why"] = facts["why"] or failure

    clients = [threading.Thread(target=client, args=[number]) for number in range(options.clients)]
    for thread in clients:
        thread.start()
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    stopped.set()
    for thread in clients:
        thread.join()
    print(json.dumps(facts), flush=True)


main()
