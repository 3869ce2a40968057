"""Directories at work: listings while entries come and go, thousands of names, many at once while the kernel forgets."""
import contextlib
import errno
import fcntl
import itertools
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from calls import getdents, list_all
from conftest import LONG, read, write

SEED = int(os.environ.get('MOOT_SEED', random.SystemRandom().randrange(1 << 32)))
MANY = 100000 if LONG else 5000
RACE_S = 60 if LONG else 5
DROP_CACHES = '/proc/sys/vm/drop_caches'
PLACES = {'documents': 'dir', 'scratch': '.dir'}


@pytest.fixture(params=PLACES)
def folder(request, shared_mount):
    """A folder of a test's own: of documents, or of scratch."""
    path = shared_mount.path(f'{PLACES[request.param]}-{request.node.name}')
    os.mkdir(path)
    return path


@contextlib.contextmanager
def opened(path, flags=os.O_RDONLY | os.O_DIRECTORY):
    number = os.open(path, flags, 0o644)
    try:
        yield number
    finally:
        os.close(number)


def fill(folder, names):
    for name in names:
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_WRONLY, 0o644))


# ---- listing ----

@pytest.mark.parametrize('size', [280, 1024, 32768])
def test_no_entry_is_missed_or_told_twice(folder, size):
    """Those that stay through a listing are in it once, whatever else comes and goes; no name is in it twice."""
    staying = [f'stays {turn}' for turn in range(300)]
    going = [f'goes {turn}' for turn in range(300)]
    fill(folder, [name for pair in zip(staying, going, strict=True) for name in pair])
    rng, seen, turn = random.Random(SEED), [], 0
    with opened(folder) as number:
        while entries := getdents(number, size):
            seen += [name for name, _, _ in entries]
            for _ in range(3):
                if going:
                    os.unlink(os.path.join(folder, going.pop(rng.randrange(len(going)))))
            if turn < 60:  # a listing may follow what comes for ever
                fill(folder, [f'comes {turn}'])
                turn += 1
    assert len(seen) == len(set(seen)), f'MOOT_SEED={SEED}'
    assert set(staying) <= set(seen), f'MOOT_SEED={SEED}'
    assert {'.', '..'} <= set(seen)
    assert set(os.listdir(folder)) == {*staying, *going, *[f'comes {number}' for number in range(turn)]}


def test_what_was_removed_before_is_not_listed(folder):
    fill(folder, [f'f{turn}' for turn in range(200)])
    with opened(folder) as number:
        assert len(list_all(number)) == 202
        for turn in range(0, 200, 2):
            os.unlink(os.path.join(folder, f'f{turn}'))
        fill(folder, ['new'])
        os.rename(os.path.join(folder, 'f1'), os.path.join(folder, 'renamed'))
        os.lseek(number, 0, os.SEEK_SET)  # rewinddir: as it is now
        names = {name for name, _, _ in list_all(number)} - {'.', '..'}
    assert names == {'new', 'renamed', *[f'f{turn}' for turn in range(3, 200, 2)]}


def test_places_in_a_listing_can_be_gone_back_to(folder):
    """telldir and seekdir: from each place the same names follow, also when names before it went."""
    fill(folder, [f'f{turn}' for turn in range(150)])
    with opened(folder) as number:
        whole = []
        while entries := getdents(number, 300):
            whole += entries
        names = [name for name, _, _ in whole]
        assert len(names) == len(set(names)) == 152
        cookies = [cookie for _, cookie, _ in whole]
        assert len(cookies) == len(set(cookies))
        for at in (0, 1, 2, 50, 51, 149, 151):
            os.lseek(number, cookies[at], os.SEEK_SET)
            assert [name for name, _, _ in list_all(number, 400)] == names[at + 1:]
        for name in names[2:60]:
            if name not in ('.', '..'):
                os.unlink(os.path.join(folder, name))
        os.lseek(number, cookies[80], os.SEEK_SET)
        assert [name for name, _, _ in list_all(number)] == names[81:]


def test_listings_at_once_do_not_disturb_each_other(folder):
    fill(folder, [f'f{turn}' for turn in range(100)])
    with opened(folder) as one, opened(folder) as two:
        found = {one: [], two: []}
        for number in [one, two] * 200:
            found[number] += getdents(number, 300)
        assert sorted(found[one]) == sorted(found[two])
        assert len(found[one]) == 102


def test_removing_all_while_listing(folder):
    """What `rm -r` does: each name that a listing gives is removed at once."""
    fill(folder, [f'f{turn}' for turn in range(500)])
    with opened(folder) as number:
        while entries := getdents(number, 1024):
            for name, _, _ in entries:
                if name not in ('.', '..'):
                    os.unlink(os.path.join(folder, name))
    assert os.listdir(folder) == []
    os.rmdir(folder)


def processor_s(pid):
    """What a program has used of the processor: unlike the clock, other work on the machine changes it little."""
    with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as stat:
        fields = stat.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.mark.limit(1800)
def test_many_names(folder, shared_mount):
    began = time.monotonic()
    told, used = [], [processor_s(shared_mount.pid)]

    def lap(what):
        nonlocal began
        now = time.monotonic()
        told.append(f'{what} {MANY / max(now - began, 1e-9):.0f}/s')
        began = now

    names = [f'document {turn}.md' for turn in range(MANY)]
    for turn, name in enumerate(names, 1):
        with opened(os.path.join(folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY) as number:
            os.write(number, name.encode())
        if turn % (MANY // 10) == 0:
            used.append(processor_s(shared_mount.pid))
    lap('create')
    tenths = [(after - before) / (MANY // 10) * 1e6 for before, after in itertools.pairwise(used)]
    told.append('processor by tenths ' + ' '.join(f'{tenth:.0f}' for tenth in tenths) + ' us each')
    # Cost grows with the change. Of few names the first tenth is too short to compare with.
    assert not LONG or max(tenths[-3:]) < 3 * min(tenths[:3]) + 100, told
    assert sorted(os.listdir(folder)) == sorted(names)
    lap('list')
    with os.scandir(folder) as entries:
        assert sum(entry.stat(follow_symlinks=False).st_size for entry in entries) == sum(map(len, names))
    lap('list and stat')
    for name in random.Random(SEED).sample(names, 500):
        assert read(os.path.join(folder, name)) == name.encode()
    began = time.monotonic()
    for name in names[::2]:
        os.rename(os.path.join(folder, name), os.path.join(folder, 'r' + name))
    lap('rename half')
    kept = ['r' + name for name in names[::2]] + names[1::2]
    assert sorted(os.listdir(folder)) == sorted(kept)
    began = time.monotonic()
    for name in kept:
        os.unlink(os.path.join(folder, name))
    lap('remove')
    assert os.listdir(folder) == []
    os.rmdir(folder)
    print(f'{MANY} names in {os.path.basename(folder)}: ' + ', '.join(told))


# ---- two processes ----

APPEND = '''
import os, sys
path, mark, again = sys.argv[1:]
number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
for turn in range(300):
    if again == 'again':
        os.close(number)
        number = os.open(path, os.O_WRONLY | os.O_APPEND)
    line = (mark * (turn % 90 + 1)) + '\\n'
    assert os.write(number, line.encode()) == len(line)
os.close(number)
'''


@pytest.mark.parametrize('how', ['held open', 'again'])
def test_two_append_at_once(folder, how):
    """Every line whole, none over another."""
    path = os.path.join(folder, 'lines')
    work = [subprocess.Popen([sys.executable, '-c', APPEND, path, mark, how]) for mark in 'ab']
    assert [one.wait(timeout=60) for one in work] == [0, 0]
    lines = read(path).decode().split('\n')
    assert os.stat(path).st_size == len('\n'.join(lines))
    assert lines.pop() == ''
    expected = [turn % 90 + 1 for turn in range(300)]
    for mark in 'ab':
        assert [len(line) for line in lines if set(line) == {mark}] == expected
    assert len(lines) == 600


LOCK = '''
import fcntl, os, sys
number = os.open(sys.argv[1], os.O_RDWR)
getattr(fcntl, sys.argv[2])(number, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()
'''


@pytest.mark.parametrize('kind', ['flock', 'lockf'])
def test_a_lock_holds_against_another_process(folder, kind):
    path = os.path.join(folder, 'locked')
    write(path, 'x')
    lock = getattr(fcntl, kind)
    with subprocess.Popen([sys.executable, '-c', LOCK, path, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b'held\n'
        with opened(path, os.O_RDWR) as number:
            with pytest.raises(BlockingIOError):
                lock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder.stdin.close()
            assert holder.wait(timeout=20) == 0
            lock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- races ----

class Race:
    """Threads at work over few names; what none of them may ever see is written down."""

    SIZES = 1, 5000, 70000
    FINE = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR}

    def __init__(self, folder):
        self.folder = folder
        self.end = time.monotonic() + RACE_S
        self.wrong = []
        self.done = {}

    def path(self, rng):
        return os.path.join(self.folder, f'n{rng.randrange(12)}')

    def save(self, rng):
        path = self.path(rng)
        beside = f'{path}.new{threading.get_ident()}'
        write(beside, bytes([rng.randrange(256)]) * rng.choice(self.SIZES))
        os.rename(beside, path)

    def create(self, rng):
        os.close(os.open(self.path(rng), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

    def look(self, rng):
        path = self.path(rng)
        with opened(path, os.O_RDONLY) as number:
            content = os.read(number, 100000)
            if len(set(content)) > 1 or len(content) not in (0, *self.SIZES):
                self.wrong.append(f'{path}: torn, {len(content)} bytes')
            time.sleep(rng.random() / 1000)
            if os.pread(number, 100000, 0) != content:
                self.wrong.append(f'{path}: other bytes in an open file')

    def stat(self, rng):
        os.stat(self.path(rng))

    def remove(self, rng):
        os.unlink(self.path(rng))

    def rename(self, rng):
        os.rename(self.path(rng), self.path(rng))

    def directory(self, rng):
        path = self.path(rng)
        os.mkdir(path)
        os.rmdir(path)

    def list(self, rng):
        os.listdir(self.folder)  # one that goes and comes again meanwhile may be in it twice

    def run(self, action, seed):
        rng = random.Random(seed)
        while time.monotonic() < self.end and not self.wrong:
            try:
                getattr(self, action)(rng)
            except OSError as error:
                if error.errno not in self.FINE:
                    self.wrong.append(f'{action}: {errno.errorcode[error.errno]} {error.filename}')
            self.done[action] = self.done.get(action, 0) + 1

    def forget(self, _):
        """The kernel drops what it knows of names and files."""
        time.sleep(0.02)
        with open(DROP_CACHES, 'w', encoding='ascii') as caches:
            caches.write('2')


@pytest.mark.limit(300)
@pytest.mark.skipif(not os.access(DROP_CACHES, os.W_OK), reason='only root may drop caches')
def test_names_race_while_the_kernel_forgets(folder):
    print(f'MOOT_SEED={SEED}')
    race = Race(folder)
    actions = ['save', 'save', 'create', 'look', 'look', 'stat', 'stat', 'remove', 'rename', 'directory', 'list', 'forget']
    threads = [threading.Thread(target=race.run, args=(action, SEED + turn)) for turn, action in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not race.wrong, f'MOOT_SEED={SEED}: {race.wrong[:5]}'
    assert min(race.done[action] for action in actions) >= 5, race.done
    for name in os.listdir(folder):
        os.lstat(os.path.join(folder, name))
