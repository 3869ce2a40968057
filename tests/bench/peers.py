"""The folders that the benches compare: each made fresh, mounted, pinned, unmounted.

What makes them comparable: all keep their data on one file system; gocryptfs and securefs with
their defaults (gocryptfs allocates before it writes, securefs lets attributes be cached for 30 s),
but for the cost of the password, which is none of saving; bindfs has no cache of its own.
"""
import contextlib
import os
import shutil
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('BUILD', os.path.join(ROOT, 'build')))
MOOT = os.path.abspath(os.environ.get('MOOT', os.path.join(BUILD, 'fs/moot')))
FLOOR = os.path.join(BUILD, 'tests/bench/floor')
CORES = sorted(os.sched_getaffinity(0))
LIMIT_S = 120      # for one program
SETTLE_S = 2.3     # after which moot has begun to sign a new name


class Failed(Exception):
    """What a peer could not do: told in one line, the rest goes on."""


# ---- programs ----

def call(*arguments, cpu=None, seconds=LIMIT_S, **options):
    """Runs a program to its end on one core, or on all; returns what it printed."""
    os.sched_setaffinity(0, CORES if cpu is None else {cpu})  # which the program inherits
    try:
        done = subprocess.run(list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, text=True, errors='replace', **options)
    finally:
        os.sched_setaffinity(0, CORES)
    if done.returncode != 0:
        raise Failed(f'{os.path.basename(str(arguments[0]))}: {done.returncode} {done.stdout.strip()[-300:]}')
    return done.stdout


def timed(*arguments, **options):
    """Seconds that a program takes."""
    start = time.perf_counter()
    call(*arguments, **options)
    return time.perf_counter() - start


def is_mounted(path):
    with open('/proc/self/mountinfo', encoding='utf-8', errors='replace') as table:
        return any(line.split(' ')[4] == path for line in table)


def drop_caches():
    if os.geteuid() != 0:
        return False
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
        file.write('3')
    return True


# ---- peers ----

class Peer:
    """Where to save: a plain folder, here; mounts below."""
    name = 'plain'
    needs = ()
    process = None
    env = None      # of the daemon: as ours

    def __init__(self, base):
        self.base = tempfile.mkdtemp(prefix=self.name + '-', dir=base)
        self.data = os.path.join(self.base, 'data')
        os.mkdir(self.data)
        self.point = os.path.join(self.base, 'mount')
        os.mkdir(self.point)
        self.folder = self.point
        self.log = os.path.join(self.base, 'log')

    @classmethod
    def missing(cls):
        return [name for name in cls.needs if not shutil.which(name)]

    def make(self):
        """Makes what is mounted."""

    def command(self):
        """The daemon, in the foreground; None: nothing to mount."""
        return None

    def start(self):
        command = self.command()
        if command:
            with open(self.log, 'ab') as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                cwd=self.base, env=self.env)
            end = time.monotonic() + 20
            while not is_mounted(self.point):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failed(f'{self.name} did not mount: {open(self.log, errors="replace").read()[-300:]}')
                time.sleep(0.02)

    def stop(self):
        if is_mounted(self.point):
            subprocess.run(['umount', self.point] if os.geteuid() == 0 else ['fusermount3', '-u', self.point],
                           stderr=subprocess.DEVNULL, timeout=20, check=False)
        if is_mounted(self.point):
            subprocess.run(['umount', '-l', self.point] if os.geteuid() == 0 else ['fusermount3', '-uz', self.point],
                           stderr=subprocess.DEVNULL, timeout=20, check=False)
        if self.process:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def pin(self, cpu):
        """All threads of the daemon on one core; None: on all."""
        if self.process:
            for thread in os.listdir(f'/proc/{self.process.pid}/task'):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), CORES if cpu is None else {cpu})

    def cpu_us(self):
        """What the daemon has used of a core."""
        used = 0
        if self.process:
            for thread in os.listdir(f'/proc/{self.process.pid}/task'):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    with open(f'/proc/{self.process.pid}/task/{thread}/schedstat', encoding='ascii') as stat:
                        used += int(stat.read().split()[0]) // 1000
        return used

    def settle(self):
        """Until nothing that was put off is left to do."""


class Disk(Peer):
    """A plain folder on disk, wherever the others are."""
    name = 'disk'

    def __init__(self, base):
        super().__init__('/var/tmp')


class Floor(Peer):
    name = 'floor'
    needs = (FLOOR,)

    def command(self):
        return [FLOOR, self.point]


class Moot(Peer):
    name = 'moot'

    def make(self):
        os.rmdir(self.data)
        self.env = dict(os.environ, MOOT_HOME=self.data)
        call(MOOT, 'init', '--name', 'bench', env=self.env)

    def command(self):
        return [MOOT, 'mount', '-f', self.point]

    def start(self):
        super().start()
        # Where a shell is after `cd me`: the link itself is looked up each time.
        self.folder = os.path.realpath(os.path.join(self.point, 'me'))

    def settle(self):
        time.sleep(SETTLE_S)
        end = time.monotonic() + 30
        before = -1e6
        while time.monotonic() < end and self.cpu_us() - before > 5000:
            before = self.cpu_us()
            time.sleep(0.2)


class Gocryptfs(Peer):
    name = 'gocryptfs'
    needs = ('gocryptfs',)

    def make(self):
        self.password = os.path.join(self.base, 'password')
        with open(self.password, 'w', encoding='ascii') as file:
            file.write('password\n')
        call('gocryptfs', '-init', '-q', '-passfile', self.password, '-scryptn', 10, self.data)

    def command(self):
        return ['gocryptfs', '-fg', '-q', '-passfile', self.password, self.data, self.point]


class Securefs(Peer):
    name = 'securefs'
    needs = ('securefs',)

    def make(self):
        call('securefs', 'create', '--pass', 'password', '-r', 1, self.data)

    def command(self):
        return ['securefs', 'mount', '--pass', 'password', self.data, self.point]


class Bindfs(Peer):
    name = 'bindfs'
    needs = ('bindfs',)

    def command(self):
        return ['bindfs', '-f', self.data, self.point]


PEERS = (Peer, Floor, Moot, Gocryptfs, Securefs, Bindfs)
