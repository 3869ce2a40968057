"""Nodes in network namespaces of their own, each with one wire to a hub that forwards nothing: only the relay there
joins them. No packet leaves the machine: the hub has no other wire. Everything goes when the world ends."""
import json
import os
import subprocess
import sys

from conftest import Folder, live, wait_until

PORT = 4040
HERE = os.path.dirname(os.path.abspath(__file__))


def ip(*arguments, check=True):
    return subprocess.run(['ip', *arguments], check=check, timeout=20, capture_output=True, text=True)


class Node(Folder):
    """A data folder, a mount or a served node, in a namespace."""

    def __init__(self, world, number, name):
        super().__init__(name)
        self.world, self.number = world, number
        self.space = f'{world.prefix}-{number}'
        self.server = None

    def run(self, *arguments, check=True, timeout=60, **options):
        moot = self.moot
        prefix = ['nsenter', f'--net=/run/netns/{self.space}', moot]
        done = subprocess.run([*prefix, *map(str, arguments)], env=self.env, timeout=timeout,
                              stdin=options.pop('stdin', subprocess.DEVNULL), capture_output=True, text=True, **options)
        if check:
            assert done.returncode == 0, f'moot {arguments}: {done.returncode}\n{done.stdout}{done.stderr}'
        return done

    def mount(self, *options):
        return super().mount('-o', f'listen=0.0.0.0:{PORT}', *options)

    def connect(self, other, **options):
        """Through the relay."""
        return self.run('connect', self.world.address(self, other), **options)

    def text(self, path):
        """What a path shows, or None."""
        try:
            with open(os.path.join(self.root, path), 'rb') as file:
                return file.read().decode()
        except OSError:
            return None

    def wait_text(self, path, text, timeout=20):
        wait_until(lambda: self.text(path) == text, timeout, f'{path} of {self.name} to be {text!r:.60}')

    def tree(self, person):
        """Every file of a person's folder and its bytes."""
        found = {}
        top = os.path.join(self.root, person)
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, 'rb') as file:
                    found[os.path.relpath(path, top)] = file.read()
        return found


class World:
    def __init__(self, rate=None):
        """rate: of each wire, as tc(8) writes it (10mbit); None: as fast as it goes."""
        self.prefix = f'moot{os.getpid()}'
        self.nodes, self.links, self.rate, self.relay = [], set(), rate, None
        ip('netns', 'add', f'{self.prefix}-hub')
        self.relay = subprocess.Popen(
            ['nsenter', f'--net=/run/netns/{self.prefix}-hub', sys.executable, '-B', os.path.join(HERE, 'relay.py')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def add(self, name, person=None):
        """person: whose device it will be, once they admit it."""
        number = len(self.nodes) + 1
        node = Node(self, number, name)
        live.append(node)
        self.nodes.append(node)
        hub = f'{self.prefix}-hub'
        ip('netns', 'add', node.space)
        ip('-n', node.space, 'link', 'set', 'lo', 'up')
        ip('-n', hub, 'link', 'add', f'w{number}', 'type', 'veth', 'peer', 'name', 'wire', 'netns', node.space)
        for space, device, address in ((hub, f'w{number}', self.hub_address(number)), (node.space, 'wire', self.node_address(number))):
            ip('-n', space, 'address', 'add', f'{address}/30', 'dev', device)
            ip('-n', space, 'link', 'set', device, 'up')
            if self.rate:
                subprocess.run(['tc', '-n', space, 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', self.rate,
                                'burst', '32kbit', 'latency', '400ms'], check=True, timeout=20)
        node.run('init', *(('--person', person) if person else ('--name', name)))
        return node

    @staticmethod
    def hub_address(number):
        return f'10.77.{number}.1'

    @staticmethod
    def node_address(number):
        return f'10.77.{number}.2'

    def tell(self, **command):
        self.relay.stdin.write(json.dumps(command) + '\n')
        self.relay.stdin.flush()
        return json.loads(self.relay.stdout.readline())

    @staticmethod
    def link(one, other):
        return '-'.join(map(str, sorted((one.number, other.number))))

    def address(self, one, other):
        """Where `one` reaches `other`: a port of the relay at its own end of the hub."""
        way = (one.number, other.number)
        port = 9000 + other.number
        if way not in self.links:
            self.links.add(way)
            self.tell(link=self.link(one, other), listen=[self.hub_address(one.number), port],
                      to=[self.node_address(other.number), PORT])
        return f'{self.hub_address(one.number)}:{port}'

    def change(self, one, other, **what):
        """delay (seconds), state ('open', 'stalled', 'cut'), budget (bytes, then stalled)."""
        return self.tell(link=self.link(one, other), **what)

    def finish(self):
        try:
            for node in self.nodes:
                node.finish()
        finally:
            for node in self.nodes:
                node.abort()
                if node in live:
                    live.remove(node)
            self.relay.stdin.close()
            try:
                self.relay.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.relay.kill()
                self.relay.wait()
            for space in [f'{self.prefix}-hub', *(node.space for node in self.nodes)]:
                ip('netns', 'delete', space, check=False)
