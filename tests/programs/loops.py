"""A function on two event loops, each in a thread of its own: a connection is served by one, what it requests is
requested by the other. /hop with one child, as in ../functions/CONTRACT.md.
"""

import asyncio
import itertools
import socket
import threading

loops = [asyncio.new_event_loop() for _ in range(2)]
free = [[], []]
served = []  # a loop alone does not keep its tasks from being collected


async def serve(index, accepted):
    reader, writer = await asyncio.open_connection(sock=accepted)
    try:
        while True:
            headers = head(await reader.readuntil(b"\r\n\r\n"))
            plan = headers["x-plan"]
            nodes = [node.split(";") for node in plan.split("|")]
            await asyncio.sleep(int(nodes[0][2]) / 1000)
            other = asyncio.run_coroutine_threadsafe(call(1 - index, plan, nodes[1]), loops[1 - index])
            await asyncio.wrap_future(other)
            await asyncio.sleep(int(nodes[0][3]) / 1000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    except asyncio.IncompleteReadError:
        writer.close()


async def call(index, plan, node):
    kept = free[index].pop() if free[index] else None
    reader, writer = kept or await asyncio.open_connection("127.0.0.1", int(node[0]))
    writer.write(f"GET {node[1]} HTTP/1.1\r\nHost: next\r\nX-Plan: {plan}\r\nX-Node: 1\r\n\r\n".encode())
    headers = head(await reader.readuntil(b"\r\n\r\n"))
    await reader.readexactly(int(headers["content-length"]))
    free[index].append((reader, writer))


def head(text):
    lines = text.decode().split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}


for loop in loops:
    threading.Thread(target=loop.run_forever, daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
print("listening", listener.getsockname()[1], flush=True)
for number in itertools.count():
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    served.append(asyncio.run_coroutine_threadsafe(serve(number % 2, accepted), loops[number % 2]))
