"""A function in asyncio without packages, for every CPython: /hop as in ../functions/CONTRACT.md, and the habits of
habits.py. A connection is served by a task of its own, or with TASKS=1 each request by one.
"""

import asyncio
import os
import random

free = {}
kept = set()  # a loop alone does not keep its tasks from being collected


async def serve(reader, writer):
    keep(asyncio.current_task())
    poll()
    try:
        while True:
            headers = head(await reader.readuntil(b"\r\n\r\n"))
            answer = hop(headers["x-plan"], int(headers["x-node"]), writer)
            await (asyncio.ensure_future(answer) if os.environ.get("TASKS") else answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def hop(plan, index, writer):
    nodes = [node.split(";") for node in plan.split("|")]
    _, _, before, after, mode, children = nodes[index]
    calls = [call(plan, child, nodes[int(child)]) for child in children.split(",") if child]
    if mode in "ab":
        [later] = calls
        start(delayed(int(before) / 1000, later))
    else:
        await asyncio.sleep(int(before) / 1000)
        if mode == "p":
            await asyncio.gather(*calls)
        else:
            for made in calls:
                await made
    await asyncio.sleep(int(after) / 1000)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


async def call(plan, index, node):
    port, path = node[:2]
    waiting = free.setdefault(port, [])
    reader, writer = waiting.pop() if waiting else await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: next\r\nX-Plan: {plan}\r\nX-Node: {index}\r\n\r\n".encode())
    headers = head(await reader.readuntil(b"\r\n\r\n"))
    await reader.readexactly(int(headers["content-length"]))
    waiting.append((reader, writer))


def head(text):
    lines = text.decode().split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}


async def delayed(seconds, made):
    await asyncio.sleep(seconds)
    await made


def start(made):
    keep(asyncio.ensure_future(made))


def keep(task):
    kept.add(task)
    task.add_done_callback(kept.discard)


def poll():
    """Once."""
    if os.environ.pop("POLL_NOW", None):
        start(poll_for_ever())


async def poll_for_ever():
    port = os.environ["POLLED"]
    while True:
        await asyncio.sleep(int(os.environ["POLL"]) / 1000)
        target = f"/hop/{random.getrandbits(64):016x}/{0:016x}"
        plan = f"|{port};{target};0;0;s;"
        await call(plan, 1, [port, target])


async def main():
    if os.environ.get("POLL"):
        os.environ["POLL_NOW"] = "1"
    if not os.environ.get("LAZY"):
        poll()
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ.get("PORT", "0")), backlog=512)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
