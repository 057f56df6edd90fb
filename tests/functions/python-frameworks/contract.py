"""What the framework functions share: the plan of /hop, the pieces of bodies, the ground truth. Contract: ../CONTRACT.md."""

import json
import os
import time

NEXT = os.environ.get("NEXT", "")
CERTIFICATE = os.environ.get("CERTIFICATE")
SCHEME = "https" if CERTIFICATE else "http"
TRUTH = open(os.environ["TRUTH"], "ab", buffering=0) if os.environ.get("TRUTH") else None
BUFFER = b"x" * 65536


def route(path):
    """Cuts off /t/<anything>."""
    parts = path.split("/", 3)
    return "/" + parts[3] if len(parts) == 4 and parts[1] == "t" else path


def pieces(size):
    """`size` bytes from the buffer."""
    for _ in range(size // len(BUFFER)):
        yield BUFFER
    if size % len(BUFFER):
        yield BUFFER[: size % len(BUFFER)]


def piece(i, sse):
    return b"data: piece %d\n\n" % i if sse else b"piece %d\n" % i


def kind(sse):
    return "text/event-stream" if sse else "text/plain"


class Hop:
    """A node of the plan: when to sleep, seconds, and which requests to make."""

    def __init__(self, plan, index):
        nodes = [node.split(";") for node in plan.split("|")]
        _, _, before, after, mode, children = nodes[int(index)]
        self.before, self.after = int(before) / 1000, int(after) / 1000
        self.parallel = mode == "p"
        self.calls = [
            (f"{SCHEME}://127.0.0.1:{nodes[int(child)][0]}{nodes[int(child)][1]}", {"X-Plan": plan, "X-Node": child})
            for child in children.split(",")
            if child
        ]


def record(target, started):
    if TRUTH:
        line = {"path": target, "pid": os.getpid(), "started_ns": started, "ended_ns": time.monotonic_ns()}
        TRUTH.write(json.dumps(line).encode() + b"\n")
