"""HTTPS by asyncio streams: one thread, and `ssl` reads and writes memory. Calls the next one for each request, over a
connection for each, where NEXT_PORT names it. CERTIFICATE: a PEM file with certificate and key."""

import asyncio
import os
import ssl

NEXT_PORT = os.environ.get("NEXT_PORT")
CERTIFICATE = os.environ["CERTIFICATE"]
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
SERVER.load_cert_chain(CERTIFICATE)
CLIENT = ssl.create_default_context(cafile=CERTIFICATE)


async def call(path):
    reader, writer = await asyncio.open_connection("localhost", int(NEXT_PORT), ssl=CLIENT)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
    writer.close()
    return body


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            await asyncio.sleep(0.002)
            body = await call(path) if NEXT_PORT else b"hello"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            if b"connection: close" in head.lower():
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=SERVER)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
