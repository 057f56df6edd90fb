"""The function in aiohttp, server and client. Contract: ../CONTRACT.md."""

import asyncio
import os
import time

import aiohttp
from aiohttp import web

from contract import BUFFER, NEXT, Hop, kind, piece, pieces, record

routes = web.RouteTableDef()
CLIENT = web.AppKey("client", aiohttp.ClientSession)


def number(request, parameter):
    return int(request.query.get(parameter, "0"))


def text(body, status=200):
    return web.Response(body=body, status=status, content_type="text/plain")


@routes.get("/hello")
async def hello(request):
    return text("hello from aiohttp\n")


@routes.get("/delay")
async def delay(request):
    await asyncio.sleep(number(request, "ms") / 1000)
    return text(f"delayed {number(request, 'ms')}\n")


@routes.get("/stream")
async def stream(request):
    sse = number(request, "sse")
    answer = web.StreamResponse(headers={"Content-Type": kind(sse)})
    await answer.prepare(request)
    for i in range(1, number(request, "n") + 1):
        if i > 1:
            await asyncio.sleep(number(request, "ms") / 1000)
        await answer.write(piece(i, sse))
    return answer


@routes.get("/big")
async def big(request):
    size = number(request, "bytes")
    answer = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": str(size)})
    await answer.prepare(request)
    for data in pieces(size):
        await answer.write(data)
    return answer


@routes.post("/upload")
async def upload(request):
    size = 0
    async for data in request.content.iter_any():
        size += len(data)
    await asyncio.sleep(number(request, "delay") / 1000)
    return text(f"bytes={size}\n")


@routes.get("/error")
async def error(request):
    status = number(request, "status")
    return text(None if status in (204, 304) else f"status {status}\n", status)


@routes.get("/abort")
async def abort(request):
    answer = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(BUFFER[:100])
    request.transport.close()
    return answer


@routes.get("/chain")
async def chain(request):
    return text(*await get(request.app[CLIENT], NEXT + request.query["path"]))


@routes.get("/fan")
async def fan(request):
    client, url = request.app[CLIENT], NEXT + request.query["path"]
    answers = await asyncio.gather(*(get(client, url) for _ in range(number(request, "n"))))
    return text(f"fan {','.join(str(status) for _, status in answers)}\n")


@routes.get("/hop/{ids:.*}")
async def hop(request):
    client, plan = request.app[CLIENT], Hop(request.headers["X-Plan"], request.headers["X-Node"])
    await asyncio.sleep(plan.before)
    if plan.parallel:
        answers = await asyncio.gather(*(get(client, *call) for call in plan.calls))
    else:
        answers = [await get(client, *call) for call in plan.calls]
    await asyncio.sleep(plan.after)
    return text("ok\n") if all(status == 200 for _, status in answers) else text("a child failed\n", 502)


@routes.get("/burn")
async def burn(request):
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < number(request, "ms") * 1_000_000:
        pass
    return text(f"cpu_ns={time.thread_time_ns() - began}\n")


@routes.get("/echo-headers")
async def echo_headers(request):
    return text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))


async def get(client, url, headers=None):
    try:
        async with client.get(url, headers=headers) as answer:
            return await answer.read(), answer.status
    except (aiohttp.ClientError, OSError) as error:
        return f"{error!r}\n", 502


async def client_of(app):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as app[CLIENT]:
        yield


@web.middleware
async def recorded(request, handler):
    started = time.monotonic_ns()
    try:
        return await handler(request)
    finally:
        record(request.raw_path, started)


async def main():
    app = web.Application(middlewares=[recorded])
    app.add_routes(routes)
    app.add_routes(web.RouteDef(one.method, "/t/{mark}" + one.path, one.handler, one.kwargs) for one in routes)
    app.cleanup_ctx.append(client_of)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "0")), backlog=1024)
    await site.start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
