"""The function in FastAPI with httpx, under uvicorn. Contract: ../CONTRACT.md."""

import asyncio
import os
import ssl
import sys
import time
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from contract import BUFFER, CERTIFICATE, NEXT, Hop, kind, piece, pieces, record, route


class Contract:
    """Cuts off /t/<anything>, and records a request when its answer is over."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.monotonic_ns()
        query = scope["query_string"].decode()
        target = scope["path"] + (f"?{query}" if query else "")
        try:
            await self.app({**scope, "path": route(scope["path"])}, receive, send)
        finally:
            record(target, started)


@asynccontextmanager
async def lifespan(app):
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits, verify=trust) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(Contract)


def text(body, status=200):
    return PlainTextResponse(body, status)


@app.api_route("/hello", methods=["GET", "HEAD"])
async def hello():
    return text("hello from fastapi\n")


@app.get("/delay")
async def delay(ms: int = 0):
    await asyncio.sleep(ms / 1000)
    return text(f"delayed {ms}\n")


@app.get("/stream")
async def stream(n: int = 0, ms: int = 0, sse: int = 0):
    async def generate():
        for i in range(1, n + 1):
            if i > 1:
                await asyncio.sleep(ms / 1000)
            yield piece(i, sse)

    return StreamingResponse(generate(), media_type=kind(sse))


@app.get("/big")
async def big(bytes: int = 0):
    async def generate():
        for data in pieces(bytes):
            yield data

    return StreamingResponse(generate(), media_type="text/plain", headers={"Content-Length": str(bytes)})


@app.post("/upload")
async def upload(request: Request, delay: int = 0):
    size = 0
    async for data in request.stream():
        size += len(data)
    await asyncio.sleep(delay / 1000)
    return text(f"bytes={size}\n")


@app.get("/error")
async def error(status: int = 0):
    return text("" if status in (204, 304) else f"status {status}\n", status)


@app.get("/abort")
async def abort():
    async def generate():
        yield BUFFER[:100]
        raise ConnectionAbortedError

    return StreamingResponse(generate(), media_type="text/plain", headers={"Content-Length": "1000"})


@app.get("/chain")
async def chain(path: str):
    return text(*await get(NEXT + path))


@app.get("/fan")
async def fan(path: str, n: int = 0):
    answers = await asyncio.gather(*(get(NEXT + path) for _ in range(n)))
    return text(f"fan {','.join(str(status) for _, status in answers)}\n")


@app.get("/hop/{ids:path}")
async def hop(request: Request):
    plan = Hop(request.headers["X-Plan"], request.headers["X-Node"])
    await asyncio.sleep(plan.before)
    if plan.parallel:
        answers = await asyncio.gather(*(get(*call) for call in plan.calls))
    else:
        answers = [await get(*call) for call in plan.calls]
    await asyncio.sleep(plan.after)
    return text("ok\n") if all(status == 200 for _, status in answers) else text("a child failed\n", 502)


@app.get("/burn")
async def burn(ms: int = 0):
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < ms * 1_000_000:
        pass
    return text(f"cpu_ns={time.thread_time_ns() - began}\n")


@app.get("/echo-headers")
async def echo_headers(request: Request):
    return text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))


async def get(url, headers=None):
    try:
        answer = await app.state.client.get(url, headers=headers)
        return answer.content, answer.status_code
    except httpx.HTTPError as error:
        return f"{error!r}\n", 502


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("listening", self.servers[0].sockets[0].getsockname()[1], flush=True)


# Its loop and its parser: asyncio and h11, or uvloop and httptools.
_, loop, parser = sys.argv
host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "0"))
tls = {"ssl_certfile": CERTIFICATE}
Server(uvicorn.Config(app, host, port, loop=loop, http=parser, log_level="critical", access_log=False, **tls)).run()
