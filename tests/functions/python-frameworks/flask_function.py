"""The function in Flask with requests: under gunicorn, or by itself with threads. Contract: ../CONTRACT.md."""

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from os import environ

import requests
from flask import Flask, Response, request
from werkzeug.serving import make_server

from contract import BUFFER, NEXT, Hop, kind, piece, pieces, record, route


class Contract:
    """Cuts off /t/<anything>, and records a request when its answer is over."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start):
        started = time.monotonic_ns()
        target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
        environ["PATH_INFO"] = route(environ["PATH_INFO"])
        answer = self.app(environ, start)
        try:
            yield from answer
        finally:
            answer.close()
            record(target, started)


app = Flask(__name__)
app.wsgi_app = Contract(app.wsgi_app)


def number(parameter):
    return int(request.args.get(parameter, "0"))


def text(body, status=200):
    return Response(body, status, mimetype="text/plain")


@app.get("/hello")
def hello():
    return text("hello from flask\n")


@app.get("/delay")
def delay():
    time.sleep(number("ms") / 1000)
    return text(f"delayed {number('ms')}\n")


@app.get("/stream")
def stream():
    count, ms, sse = number("n"), number("ms"), number("sse")

    def generate():
        for i in range(1, count + 1):
            if i > 1:
                time.sleep(ms / 1000)
            yield piece(i, sse)

    return Response(generate(), mimetype=kind(sse))


@app.get("/big")
def big():
    size = number("bytes")
    return Response(pieces(size), mimetype="text/plain", headers={"Content-Length": size})


@app.post("/upload")
def upload():
    size = 0
    while data := request.stream.read(65536):
        size += len(data)
    time.sleep(number("delay") / 1000)
    return text(f"bytes={size}\n")


@app.get("/error")
def error():
    status = number("status")
    return text("" if status in (204, 304) else f"status {status}\n", status)


@app.get("/abort")
def abort():
    def generate():
        yield BUFFER[:100]
        raise ConnectionAbortedError

    return Response(generate(), mimetype="text/plain", headers={"Content-Length": 1000})


@app.get("/chain")
def chain():
    return text(*get(NEXT + request.args["path"]))


@app.get("/fan")
def fan():
    urls = [NEXT + request.args["path"]] * number("n")
    with ThreadPoolExecutor(max(len(urls), 1)) as pool:
        statuses = [str(status) for _, status in pool.map(get, urls)]
    return text(f"fan {','.join(statuses)}\n")


@app.get("/hop/<path:ids>")
def hop(ids):
    plan = Hop(request.headers["X-Plan"], request.headers["X-Node"])
    time.sleep(plan.before)
    if plan.parallel:
        with ThreadPoolExecutor(max(len(plan.calls), 1)) as pool:
            answers = list(pool.map(lambda call: get(*call), plan.calls))
    else:
        answers = [get(*call) for call in plan.calls]
    time.sleep(plan.after)
    return text("ok\n") if all(status == 200 for _, status in answers) else text("a child failed\n", 502)


@app.get("/burn")
def burn():
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < number("ms") * 1_000_000:
        pass
    return text(f"cpu_ns={time.thread_time_ns() - began}\n")


@app.get("/echo-headers")
def echo_headers():
    return text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))


def get(url, headers=None):
    try:
        answer = requests.get(url, headers=headers, timeout=60)
        return answer.content, answer.status_code
    except requests.RequestException as error:
        return f"{error!r}\n", 502


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    listener = socket.create_server((environ.get("HOST", "127.0.0.1"), int(environ.get("PORT", "0"))), backlog=1024)
    server = make_server(*listener.getsockname(), app, threaded=True, fd=listener.fileno())
    print("listening", listener.getsockname()[1], flush=True)
    server.serve_forever()
