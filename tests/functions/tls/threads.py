"""HTTPS by http.server, a thread for each connection; `ssl` reads and writes the sockets itself. Calls the next one for each
request, over one connection for each thread, where NEXT_PORT names it. CERTIFICATE: a PEM file with certificate and key."""

import http.client
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEXT_PORT = os.environ.get("NEXT_PORT")
CERTIFICATE = os.environ["CERTIFICATE"]
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
SERVER.load_cert_chain(CERTIFICATE)
CLIENT = ssl.create_default_context(cafile=CERTIFICATE)
local = threading.local()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    disable_nagle_algorithm = True

    def setup(self):
        self.request = SERVER.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = call(self.path) if NEXT_PORT else b"hello"
        self.send_response(200)
        self.send_header("Set-Cookie", "session=canary")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away is no news."""


def call(path):
    if not hasattr(local, "next"):
        local.next = http.client.HTTPSConnection("localhost", int(NEXT_PORT), context=CLIENT)
    local.next.request("GET", path)
    return local.next.getresponse().read()


server = Server(("127.0.0.1", 0), Handler)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
