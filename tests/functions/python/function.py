"""The test function in Python (http.server with threads). Contract: ../CONTRACT.md."""

import http.client
import json
import os
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NEXT = urlsplit(os.environ.get("NEXT", ""))
TRUTH = open(os.environ["TRUTH"], "ab", buffering=0) if os.environ.get("TRUTH") else None
CERTIFICATE = os.environ.get("CERTIFICATE")
TRUST = ssl.create_default_context(cafile=CERTIFICATE) if CERTIFICATE else None
BUFFER = b"x" * 65536
local = threading.local()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self):
        host = os.environ.get("HOST", "127.0.0.1")
        self.path = os.environ.get("UNIX")
        self.address_family = socket.AF_UNIX if self.path else socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(self.path or (host, int(os.environ.get("PORT", "0"))), Handler)

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own: it asks the resolver for the host's name.
        if self.path:
            self.socket.bind(self.path)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self):
        """The handshake is the handler's, not the loop's that accepts."""
        connection, address = super().get_request()
        if CERTIFICATE:
            served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            served.load_cert_chain(CERTIFICATE)
            connection = served.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        """A client that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    late = 0

    def setup(self):
        self.disable_nagle_algorithm = not self.server.path
        super().setup()

    def handle_one_request(self):
        if self.late:
            select.select([self.connection], [], [])
            time.sleep(self.late / 1000)
            self.late = 0
        super().handle_one_request()

    def do_GET(self):
        self.started = time.monotonic_ns()
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        handler = getattr(self, "get_" + route(url.path)[1:].replace("-", "_"), None)
        handler() if handler else self.text(404, "not found\n")
        self.record()

    do_HEAD = do_POST = do_PUT = do_GET

    def get_hello(self):
        self.text(200, "hello from python\n")

    def get_delay(self):
        time.sleep(self.number("ms") / 1000)
        self.text(200, f"delayed {self.number('ms')}\n")

    def get_stream(self):
        chunked = self.request_version != "HTTP/1.0"
        sse = self.number("sse")
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
        self.head(200, framing, "text/event-stream" if sse else "text/plain")
        for i in range(1, self.number("n") + 1):
            if i > 1:
                time.sleep(self.number("ms") / 1000)
            piece = b"data: piece %d\n\n" % i if sse else b"piece %d\n" % i
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def get_big(self):
        left = self.number("bytes")
        self.head(200, ("Content-Length", str(left)))
        while left > 0:
            piece = BUFFER[:left]
            self.wfile.write(piece)
            left -= len(piece)

    def get_file(self):
        size = self.number("bytes")
        with tempfile.TemporaryFile() as sparse:
            sparse.truncate(size)
            self.head(200, ("Content-Length", str(size)))
            if size:
                self.connection.sendfile(sparse, 0, size)

    def get_upload(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            size = self.discard_chunks()
        else:
            size = int(self.headers.get("Content-Length", "0"))
            self.discard(size)
        time.sleep(self.number("delay") / 1000)
        self.text(200, f"bytes={size}\n")

    def get_error(self):
        status = self.number("status")
        self.text(status, "" if status in (204, 304) else f"status {status}\n")

    def get_abort(self):
        self.partial()
        if self.number("reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()  # else the server would shut it down first, which sends FIN
        self.close_connection = True

    def get_die(self):
        self.partial()
        self.record()
        os._exit(3)

    def get_chain(self):
        self.text(*call(self.query.get("path", "")))

    def get_fan(self):
        statuses = [None] * self.number("n")

        def one(i):
            statuses[i] = str(call(self.query.get("path", ""))[0])

        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(statuses))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.text(200, f"fan {','.join(statuses)}\n")

    def get_hop(self):
        """Follows a plan's node."""
        plan, index = self.headers["X-Plan"], self.headers["X-Node"]
        _, _, before, after, mode, children = node_of(plan, index)
        time.sleep(int(before) / 1000)
        done = []
        calls = [lambda child=child: done.append(hop_to(plan, child)) for child in children.split(",") if child]
        threads = [threading.Thread(target=call) for call in calls] if mode == "p" else []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in calls if mode == "s" else []:
            one()
        time.sleep(int(after) / 1000)
        self.text(*((200, "ok\n") if done.count(True) == len(calls) else (502, "a child failed\n")))

    def get_burn(self):
        began = time.thread_time_ns()
        while time.thread_time_ns() - began < self.number("ms") * 1_000_000:
            pass
        self.text(200, f"cpu_ns={time.thread_time_ns() - began}\n")

    def get_late(self):
        self.text(200, f"late {self.number('ms')}\n")
        self.late = self.number("ms")

    def get_echo_headers(self):
        self.text(200, "".join(f"{name}: {value}\n" for name, value in self.headers.items()))

    def number(self, parameter):
        return int(self.query.get(parameter, "0"))

    def head(self, status, framing, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if framing:
            self.send_header(*framing)
        self.end_headers()

    def text(self, status, body):
        body = body if isinstance(body, bytes) else body.encode()
        bodiless = status in (204, 304)
        self.head(status, None if bodiless else ("Content-Length", str(len(body))))
        if body and self.command != "HEAD":
            self.wfile.write(body)

    def partial(self):
        self.head(200, ("Content-Length", "1000"))
        self.wfile.write(BUFFER[:100])

    def discard(self, size):
        while size > 0:
            piece = self.rfile.read1(min(size, 1 << 20))
            if not piece:
                raise ConnectionError("the body ended early")
            size -= len(piece)

    def discard_chunks(self):
        total = 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            self.discard(size)
            self.rfile.readline()
            total += size
        while self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        return total

    def record(self):
        if TRUTH:
            line = {"path": self.path, "pid": os.getpid(), "started_ns": self.started, "ended_ns": time.monotonic_ns()}
            TRUTH.write(json.dumps(line).encode() + b"\n")

    def log_message(self, *_):
        """Quiet."""


def route(path):
    """Cuts off /t/<anything>, and what follows /hop."""
    if path.startswith("/hop/"):
        return "/hop"
    parts = path.split("/", 3)
    return "/" + parts[3] if len(parts) == 4 and parts[1] == "t" else path


def node_of(plan, index):
    return plan.split("|")[int(index)].split(";")


def hop_to(plan, index):
    port, target, *_ = node_of(plan, index)
    return request("127.0.0.1", int(port), target, {"X-Plan": plan, "X-Node": index})[0] == 200


def call(path):
    return request(NEXT.hostname, NEXT.port, path, {})


def request(host, port, path, headers):
    """Requests over this thread's kept connection to there: status and body."""
    try:
        return exchange(host, port, path, headers)
    except (http.client.HTTPException, OSError) as error:
        local.connections.pop((host, port), None)
        return 502, f"{error!r}\n"


def exchange(host, port, path, headers):
    local.connections = getattr(local, "connections", {})
    if (host, port) not in local.connections:
        local.connections[host, port] = (
            http.client.HTTPSConnection(host, port, context=TRUST) if TRUST else http.client.HTTPConnection(host, port)
        )
    connection = local.connections[host, port]
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


server = Server()
print("listening", server.path or server.server_address[1], flush=True)
server.serve_forever()
