"""A function with habits that mislead (http.server with threads): /hop as in ../functions/CONTRACT.md, with more modes.

Mode b: its child is requested by a new thread, before_ms later; a: the same by a thread of a pool. Nobody waits for it:
the answer comes after after_ms. POLL=N: a thread of its own requests what POLLED says every N ms, from the start, or
with LAZY=1 from the first request on.
"""

import http.client
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

local = threading.local()
pool = ThreadPoolExecutor(8)
polling = threading.Lock()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        poll()
        plan = self.headers["X-Plan"]
        nodes = [node.split(";") for node in plan.split("|")]
        _, _, before, after, mode, _ = nodes[0]
        if mode == "s":
            time.sleep(int(before) / 1000)
            call(plan, nodes[1])
        else:
            later = lambda: (time.sleep(int(before) / 1000), call(plan, nodes[1]))
            pool.submit(later) if mode == "a" else threading.Thread(target=later).start()
        time.sleep(int(after) / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        """Quiet."""


def call(plan, node):
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection("127.0.0.1", int(node[0]))
    local.connection.request("GET", node[1], headers={"X-Plan": plan, "X-Node": "1"})
    local.connection.getresponse().read()


def poll():
    """Once."""
    if os.environ.get("POLL") and polling.acquire(blocking=False):
        threading.Thread(target=poll_for_ever, daemon=True).start()


def poll_for_ever():
    port = os.environ["POLLED"]
    while True:
        time.sleep(int(os.environ["POLL"]) / 1000)
        target = f"/hop/{random.getrandbits(64):016x}/{0:016x}"
        call(f"|{port};{target};0;0;s;", [port, target])


if not os.environ.get("LAZY"):
    poll()
server = Server(("127.0.0.1", 0), Handler)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
