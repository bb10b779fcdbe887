"""Web services that call each other by name, and clients that ask them in a loop, with the standard library alone.

serve  Each LISTENER (IP:PORT) answers every GET with the text, followed by what `--ask NAME` answers. It asks from its
       own address, as a container would, on a new connection, and by the name that teal resolves each time.
ask    So many clients ask one after the other until SIGTERM. Each answer is one line on standard output, or
       `failed: WHY`; `ready` comes first.
open   Asks a number of times, and prints the different answers.
"""

import argparse
import http.client
import http.server
import random
import signal
import socket
import socketserver
import struct
import sys
import threading
import time

DEADLINE = 10.0


def resolve(name, server, source):
    """The address of a name, asked of teal as a stub resolver does."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    number = random.getrandbits(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(DEADLINE)
        asking.bind((source, 0))
        asking.connect(server)
        asking.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1))
        answer = asking.recv(512)
    found, flags, _, answers = struct.unpack(">4H", answer[:8])
    # The first record follows the question; its name is a pointer.
    record = 12 + len(question) + 4
    if found != number or flags & 0xF or answers == 0:
        raise OSError(f"{name} does not resolve: rcode {flags & 0xF}, {answers} records")
    return socket.inet_ntoa(answer[record + 12:record + 16])


def get(name, options, source="127.0.0.1"):
    """What http://NAME/ says."""
    address = resolve(name, options.dns, source)
    connection = http.client.HTTPConnection(address, options.port, timeout=DEADLINE, source_address=(source, 0))
    try:
        connection.request("GET", "/", headers={"Host": name, "Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{name} says {response.status}")
    return text


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        # A check that connects and says nothing, a client that a rollback cut.
        pass


def page(options):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(options.think / 1000)
            own = self.connection.getsockname()[0]
            try:
                text, status = options.text + (get(options.ask, options, own) if options.ask else ""), 200
            except OSError as error:
                text, status = f"{options.ask}: {error}", 502
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Page


def serve(options):
    for listener in options.listeners:
        host, port = listener.rsplit(":", 1)
        server = Server((host, int(port)), page(options))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


def one(options):
    try:
        return get(options.name, options)
    except OSError as error:
        return f"failed: {error}"


def ask(options):
    stopped, lock = threading.Event(), threading.Lock()

    def client():
        while not stopped.wait(options.pause / 1000):
            text = one(options)
            with lock:
                print(text, flush=True)

    clients = [threading.Thread(target=client) for _ in range(options.clients)]
    print("ready", flush=True)
    for thread in clients:
        thread.start()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    stopped.set()
    for thread in clients:
        thread.join()


def open_times(options):
    print("\n".join(sorted({one(options) for _ in range(options.times)})))


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--dns", type=address, required=True, help="where teal answers names")
    options.add_argument("--port", type=int, default=80, help="where every service listens")
    verbs = options.add_subparsers(dest="verb", required=True)
    serving = verbs.add_parser("serve")
    serving.add_argument("--text", required=True)
    serving.add_argument("--ask", help="whose answer follows the text")
    serving.add_argument("--think", type=float, default=0, help="milliseconds before it asks and answers")
    serving.add_argument("listeners", nargs="+")
    asking = verbs.add_parser("ask")
    asking.add_argument("name")
    asking.add_argument("--clients", type=int, default=8)
    asking.add_argument("--pause", type=float, default=20, help="milliseconds between two questions of a client")
    opening = verbs.add_parser("open")
    opening.add_argument("name")
    opening.add_argument("--times", type=int, default=20)
    options = options.parse_args()
    # Waited for, in threads too, instead of ending the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    {"serve": serve, "ask": ask, "open": open_times}[options.verb](options)
    sys.stdout.flush()


main()
