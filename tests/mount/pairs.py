"""Two or more folders, mounted on one machine and connected."""
import contextlib
import json
import os
import socket
import subprocess
import sys

import conftest


def subscribe(folder, name):
    conftest.write(f'{folder.root}/{name}@/subscribe', '1\n')


def connect(folder, to):
    """Asks `folder` to connect to `to`, and waits until they know one another."""
    line = to.run('invite').stdout.strip()
    assert line.startswith('moot connect '), line
    return folder.run('connect', line.split()[-1], timeout=30)


def reads(path, text, timeout=10):
    """Waits until the file at a path reads as this."""
    text = text.encode() if isinstance(text, str) else text

    def same():
        try:
            return conftest.read(path) == text
        except OSError:
            return False

    conftest.wait_until(same, timeout, f'{path} to read {text[:60]!r}')


@contextlib.contextmanager
def folders(*names, options=()):
    """A mounted folder for each name."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in names:
            folder = conftest.Folder(name)
            conftest.live.append(folder)
            stack.callback(end, folder)
            folder.init()
            folder.mount(*options)
            made.append(folder)
        yield made


def end(folder):
    try:
        folder.finish()
    finally:
        conftest.live.remove(folder)


class Relay:
    """tests/net/relay.py between two folders: the link can be stalled, cut, or let so many bytes pass."""

    def __init__(self, to):
        self.port = free_port()
        self.process = subprocess.Popen([sys.executable, os.path.join(conftest.ROOT, 'tests/net/relay.py')],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = to.run('invite').stdout.split()[-1]
        self.id = address.partition('#')[2]
        host, _, port = address.partition('#')[0].rpartition(':')
        self.tell(listen=['127.0.0.1', self.port], to=[host, int(port)])

    def tell(self, **command):
        self.process.stdin.write(json.dumps(dict(command, link='one')) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())['bytes']

    @property
    def address(self):
        return f'127.0.0.1:{self.port}#{self.id}'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]
