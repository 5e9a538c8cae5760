#!/usr/bin/python3
"""relay.py DELAY-MS HOST:PORT PORT-FILE: a TCP relay on a free loopback port that holds each direction back.

A new connection's first bytes wait for one round trip more: the handshake's, which here is answered at once
by the kernel. Bandwidth is not limited."""
import asyncio
import os
import sys

CHUNK = 256 << 10
IN_FLIGHT = 64 << 20  # what may be on its way; then the sender waits


async def carry(reader, writer, delay, handshake):
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue()
    held, room = 0, asyncio.Event()
    room.set()

    async def deliver():
        nonlocal held
        while True:
            due, data = await queue.get()
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            held -= len(data)
            room.set()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def accept():
        nonlocal held
        opened = loop.time()
        while True:
            data = await reader.read(CHUNK)
            queue.put_nowait((max(loop.time(), opened + handshake) + delay, data))
            held += len(data)
            if not data:
                break
            if held > IN_FLIGHT:
                room.clear()
                await room.wait()

    await asyncio.gather(deliver(), accept())


async def main():
    delay = float(sys.argv[1]) / 1000
    host, port = sys.argv[2].rsplit(":", 1)

    async def serve(reader, writer):
        peers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port), limit=CHUNK)
            peers.append(far_writer)
            await asyncio.gather(carry(reader, far_writer, delay, 2 * delay),
                                 carry(far_reader, writer, delay, 0))
        except OSError:
            pass  # one end is gone, and so is the other
        finally:
            for peer in peers:
                peer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=CHUNK, backlog=128)
    with open(sys.argv[3] + ".new", "w", encoding="ascii") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.rename(sys.argv[3] + ".new", sys.argv[3])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
