"""A relay between nodes that cannot reach one another: adds delay, stalls in mid-stream, cuts links.

Started by world.py in the hub's network namespace.  Commands come as lines of JSON on standard
input, each answered by a line; it ends when standard input does.

    {"listen": ["10.77.1.1", 9002], "to": ["10.77.2.2", 4040], "link": "1-2"}
    {"link": "1-2", "delay": 0.05}   {"link": "1-2", "state": "open" | "stalled" | "cut"}
    {"link": "1-2", "budget": 100000}   stalls after so many bytes more
"""
import asyncio
import json
import sys

CHUNK = 64 * 1024
HELD_MAX = 4 * 1024 * 1024  # bytes under way in one direction


class Link:
    def __init__(self):
        self.delay = 0.0
        self.state = 'open'
        self.budget = None
        self.bytes = 0
        self.changed = asyncio.Event()
        self.writers = set()

    def change(self, command):
        self.delay = command.get('delay', self.delay)
        self.state = command.get('state', self.state)
        if 'budget' in command or 'state' in command:
            self.budget = command.get('budget')  # a new state ends what was to come
        if self.state == 'cut':
            for writer in list(self.writers):
                writer.transport.abort()
        self.changed.set()
        self.changed = asyncio.Event()

    async def pass_on(self, size):
        while self.state == 'stalled':
            await self.changed.wait()
        self.bytes += size
        if self.budget is not None:
            self.budget -= size
            if self.budget <= 0:
                self.budget, self.state = None, 'stalled'


async def pump(link, reader, writer):
    """One direction: what is read at t leaves at t + delay, in order."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue(HELD_MAX // CHUNK)

    async def read():
        while data := await reader.read(CHUNK):
            await queue.put((loop.time() + link.delay, data))
        await queue.put((loop.time() + link.delay, b''))

    task = asyncio.create_task(read())
    try:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            await link.pass_on(len(data))
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    finally:
        task.cancel()


async def serve(link, to, reader, writer):
    if link.state == 'cut':
        writer.transport.abort()
        return
    try:
        far_reader, far_writer = await asyncio.open_connection(*to)
    except OSError:
        writer.transport.abort()
        return
    link.writers |= {writer, far_writer}
    try:
        await asyncio.gather(pump(link, reader, far_writer), pump(link, far_reader, writer))
    except (OSError, asyncio.CancelledError):
        pass
    finally:
        for end in (writer, far_writer):
            link.writers.discard(end)
            end.transport.abort()


async def main():
    links, servers = {}, []
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        link = links.setdefault(command['link'], Link())
        if 'listen' in command:
            servers.append(await asyncio.start_server(
                lambda r, w, link=link, to=command['to']: serve(link, to, r, w), *command['listen']))
        link.change(command)
        print(json.dumps({'bytes': link.bytes}), flush=True)


if __name__ == '__main__':
    asyncio.run(main())
