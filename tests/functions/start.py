"""Starts servers that are configured by files or flags: nginx, php-fpm, PHP's own. In: which, and the contract's variables,
for nginx over TLS CERTIFICATE, a PEM file with certificate and key, for nginx as a front FRONT, see below.
Out: `listening PORT` when it serves. Their files go beside TRUTH, or into a new folder. They end with this process, however that ends."""

import ctypes
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = os.environ.get("HOST", "127.0.0.1")
START_SECONDS = 20
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

LIMITED = "limit_req zone=limit burst=1000;"
ASKED = "auth_request /asked;"
MIRRORED = "mirror /mirrored;"
# What is in the configuration of each front: how many workers, whether it keeps connections, whether some of those that it may
# call do not answer, what else its requests go through.
FRONTS = {
    "kept": (1, True, False, []),
    "fresh": (1, False, False, []),
    "workers": (2, True, False, []),
    "limited": (1, True, False, [LIMITED]),
    "asked": (1, True, False, [ASKED]),
    "mirrored": (1, True, False, [MIRRORED]),
    "retried": (1, True, True, []),
    "mixed": (2, False, True, [LIMITED, ASKED, MIRRORED]),
}


def free_port(besides=None):
    """None of these tells which port it got for 0. `besides`: one that was found free before, and is not taken yet."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = str(probe.getsockname()[1])
    return port if port != besides else free_port(besides)


def main(which):
    truth = os.environ.get("TRUTH")
    values = {
        "FOLDER": str(Path(truth).parent if truth else tempfile.mkdtemp()),
        "HOST": HOST,
        "PORT": next(port for port in (os.environ.get("PORT"), free_port()) if port not in (None, "", "0")),
        "CERTIFICATE": os.environ.get("CERTIFICATE", ""),
        "NEXT": os.environ.get("NEXT", "127.0.0.1:1").removeprefix("http://"),
        "SCRIPTS": str(HERE / "php"),
    }
    values |= fastcgi(which, values)
    # php-fpm makes a process group of its own, which a kill of this one's does not reach.
    ends_with_parent = lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    servers = [subprocess.Popen(command, preexec_fn=ends_with_parent) for command in COMMANDS[which](values)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        wait_until_served(doors(which, values), servers)
        print("listening", values["PORT"], flush=True)
        servers[0].wait()
    finally:
        for server in servers:
            server.terminate()


def proxy(values):
    return [["nginx", "-c", written("nginx/nginx.conf", values)]]


def front(values):
    workers, keeps, has_dead, more = FRONTS[os.environ["FRONT"]]
    others = [f"{HOST}:{free_port()}", f"{HOST}:{mute()}"] if has_dead else []
    # One that takes too long is tried again.
    servers = [values["NEXT"], values["NEXT"], *others]
    values |= {
        "WORKERS": str(workers),
        "SERVERS": " ".join(f"server {server} max_fails=0;" for server in servers),
        "TIMEOUT": "300ms" if has_dead else "20s",
        "KEEPALIVE": "keepalive 64;" if keeps else "",
        "MORE": " ".join(more),
    }
    return [["nginx", "-c", written("nginx/front.conf", values)]]


class Reads(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(65536):
            pass


def mute():
    """The port of a server that reads and never answers."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer((HOST, 0), Reads)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def tls_proxy(values):
    return [["nginx", "-c", written("nginx/tls.conf", values)]]


def fastcgi(which, values):
    """Where php-fpm listens, as itself and as nginx names it, and how long nginx keeps its connections to it."""
    if which == "php-fpm-tcp":
        address = f"{HOST}:{free_port(besides=values['PORT'])}"
        return {"LISTEN": address, "FASTCGI": address, "KEEP": "on", "KEPT": "keepalive 8;"}
    path = values["FOLDER"] + "/fpm.socket"
    return {"LISTEN": path, "FASTCGI": f"unix:{path}", "KEEP": "off", "KEPT": ""}


def php_fpm(values):
    return [
        ["nginx", "-c", written("php/nginx.conf", values)],
        [fpm_program(), "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", written("php/fpm.conf", values)],
    ]


def php_server(values):
    return [["php", "-d", "post_max_size=0", "-S", f"{HOST}:{values['PORT']}", values["SCRIPTS"] + "/function.php"]]


COMMANDS = {
    "proxy": proxy,
    "front": front,
    "tls-proxy": tls_proxy,
    "php-fpm": php_fpm,
    "php-fpm-tcp": php_fpm,
    "php-server": php_server,
}


def fpm_program():
    """Debian has its version in its name."""
    return str(sorted(Path("/usr/sbin").glob("php-fpm*"))[-1])


def written(source, values):
    """The configuration with the values in place; other variables are the server's own."""
    text = re.sub(r"\$([A-Z]+)\b", lambda found: values[found[1]], (HERE / source).read_text())
    path = Path(values["FOLDER"]) / Path(source).name
    path.write_text(text)
    return str(path)


def doors(which, values):
    """Where each server listens."""
    port = (socket.AF_INET, (HOST, int(values["PORT"])))
    if which == "php-fpm":
        return [port, (socket.AF_UNIX, values["LISTEN"])]
    if which == "php-fpm-tcp":
        return [port, (socket.AF_INET, (HOST, int(values["LISTEN"].rpartition(":")[2])))]
    return [port]


def wait_until_served(doors, servers):
    deadline = time.monotonic() + START_SECONDS
    while not all(is_open(*door) for door in doors):
        ended = [server.args for server in servers if server.poll() is not None]
        if ended or time.monotonic() > deadline:
            sys.exit(f"not served; ended: {ended}")
        time.sleep(0.01)


def is_open(family, address):
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


main(sys.argv[1])
