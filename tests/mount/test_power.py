"""The power is cut: whatever the disk holds then, the folder opens, and what was synced or published is there.

One run of the program is recorded: every write and flush below the data folder. Then states are built that a disk may
hold at any moment of it (disk_states.py says what it may), and each is verified, opened, used and opened again
(tests/power/state_check.c). MOOT_LONG=1: the power is cut between any two calls, TURNS times with another seed each;
and in a second recording, which fills a segment, at the calls about the beginning of the next one and about flushes,
and at some of the others (a state of it is 70 MB, so not at all of them). Both together take 10 to 30 minutes.
MOOT_POWER_STATE=cut,seed checks a single one again, and keeps it.
"""
import collections
import concurrent.futures
import hashlib
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time

import pytest

import disk_states
from conftest import LONG, Folder, find_moot, live, read, write
from disk_states import ALONE, DROP, KEEP, MIXED, ORDERED, TORN, ZERO

HOWS = (DROP, KEEP, ZERO, TORN, MIXED, MIXED)
SAMPLE = 150
TURNS = 3 if LONG else 1
NEAR = 25  # calls before and after the beginning of a segment
LARGE_STATES = 700  # at most, of the second recording
BUILD = os.path.dirname(os.path.dirname(find_moot()))
RECORDER = os.path.join(BUILD, 'tests/power/recorder.so')
CHECK = os.path.join(BUILD, 'tests/power/state_check')
SEGMENT_HEAD, ENTRY_HEAD = 20, 24
KIND_RECORD = 1
AFTER = b'saved after the power came back\n'


def digest(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


class Recorded(Folder):
    """A folder whose program is recorded, and which notes what it may rely on."""

    def __init__(self):
        super().__init__()
        os.mkdir(self.home, 0o700)
        self.log = os.path.join(self.base, 'log')
        self.env.update(LD_PRELOAD=RECORDER, RECORD_ROOT=self.home, RECORD_LOG=self.log)
        self.count = 0

    def note(self, word, data=b''):
        text = f'{word} {digest(data)}'.encode()
        line = disk_states.LINE.pack(ord('!'), len(text), 0, 0, 0, 0, 0)
        fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line + text)
        os.close(fd)

    def text(self, size=0):
        """One that there is only once."""
        self.count += 1
        return f'text {self.count}\n'.encode() + random.Random(self.count).randbytes(size)

    def save(self, name, sync=False, size=0, word='synced'):
        """In place. What fsync(2) returned for is there from then on."""
        text = self.text(size)
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, text)
        if sync:
            os.fsync(fd)
            self.note(word, text)
        os.close(fd)
        return text

    def replace(self, name, sync):
        """By a scratch file that takes the name. Where that was synced, its text is there under one name or the other."""
        beside = f'.{name}.tmp'
        text = self.save(beside, sync, word='aside')
        os.rename(self.path(beside), self.path(name))
        if sync:
            self.note('aside', text)


def work(folder):
    """Saves of every kind, with and without fsync; stops and starts of every kind."""
    folder.init()
    folder.note('made')
    folder.mount()
    for turn in range(3):
        folder.save(f'plain{turn}.md')
        folder.save(f'synced{turn}.md', sync=True)
    folder.save('large.bin', sync=True, size=300000)
    os.mkdir(folder.path('room'))
    folder.save('room/inner.md', sync=True)
    folder.save('.plain0.md.swp', size=9000)
    folder.wait_signed('plain0.md', 'synced2.md', 'room/inner.md', 'large.bin')

    for turn in range(4):
        folder.save('plain0.md')
        folder.save('synced0.md', sync=turn % 2)
        folder.replace('plain1.md', sync=turn % 2)
        folder.replace('synced1.md', sync=turn == 3)
    folder.save('large.bin', size=200000)
    os.rename(folder.path('room'), folder.path('hall'))
    os.rename(folder.path('.plain0.md.swp'), folder.path('hall/.inner.md.swp'))
    os.unlink(folder.path('hall/.inner.md.swp'))
    folder.save('hall/inner.md', sync=True)
    os.symlink('hall/inner.md', folder.path('link.md'))
    os.unlink(folder.path('plain2.md'))
    text = folder.save('backup.md', sync=True, word='aside')
    os.rename(folder.path('backup.md'), folder.path('.backup.md'))
    folder.note('aside', text)
    folder.save('new.md', sync=True)
    folder.wait_signed('new.md', 'hall/inner.md', 'plain1.md')
    folder.umount()
    folder.note('stopped')

    folder.run('gc')
    folder.mount()
    folder.save('synced2.md', sync=True)
    folder.save('plain0.md')
    folder.wait_signed('plain0.md') # the recorder dies too: not in the middle of a line
    folder.kill9() # what it wrote is the kernel's still: the next must flush it before it builds on it
    folder.mount()
    folder.save('synced2.md', sync=True)
    folder.save('last.md')
    folder.umount()
    folder.run('reindex')
    folder.mount()
    folder.save('last.md')
    folder.umount()
    folder.run('gc')


def work_long(folder):
    """Until a segment is full and the next one begun, with small saves on the way."""
    folder.init()
    folder.note('made')
    folder.mount()
    for turn in range(9):
        folder.save('large.bin', sync=turn % 4 == 0, size=8 << 20)
        folder.save(f'small{turn}.md', sync=turn % 2)
    folder.save('last.md', sync=True)
    folder.wait_signed('last.md', 'large.bin', 'small8.md')
    folder.save('last.md')
    folder.umount()


def record(work):
    """The lines of the recording, and the data folder as it was left."""
    folder = Recorded()
    live.append(folder)
    kept = tempfile.mkdtemp(prefix='moot-', dir='/var/tmp')
    try:
        work(folder)
        shutil.copytree(folder.home, os.path.join(kept, 'data'), symlinks=True)
        lines = disk_states.read_log(folder.log)
        yield lines, os.path.join(kept, 'data')
    finally:
        folder.finish()
        live.remove(folder)
        shutil.rmtree(kept)


@pytest.fixture(scope='module')
def recording():
    yield from record(work)


@pytest.fixture(scope='module')
def recording_long():
    yield from record(work_long)


def test_nothing_escaped_the_recorder(recording):
    """All that was recorded, kept, is the folder as it is: else the states below are of no worth."""
    lines, home = recording
    disk = disk_states.Disk(lines)
    tree = disk.state(len(lines), random.Random(0), None, KEEP)
    found = {}
    for directory, folders, files in os.walk(home):
        for name in folders + files:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, home)
            found[relative] = os.readlink(path) if os.path.islink(path) else None if name in folders else read(path)
    assert set(tree) == set(found)
    for path in found:
        if path != 'index/lock.mdb':
            assert tree[path] == found[path], path


# ---- what must be there ----

def records_in(segment):
    """Of a segment's bytes: the digests of the records with their signatures."""
    found, at = set(), SEGMENT_HEAD
    while at + ENTRY_HEAD <= len(segment):
        number, size, kind = struct.unpack_from('<QIB', segment, at + 4)
        if not number or at + ENTRY_HEAD + size > len(segment):
            break
        if kind == KIND_RECORD:
            found.add(digest(bytes(segment[at + ENTRY_HEAD:at + ENTRY_HEAD + size])))
        at += ENTRY_HEAD + size
    return found


class Wanted:
    """What must be found after a cut; cuts are asked for in order."""

    def __init__(self, disk):
        self.disk = disk
        self.cache = {}
        self.segments = {line.file for line in disk.lines if line.type == 'C' and line.path.endswith('.seg')}

    def at(self, cut):
        texts, aside, words = set(), set(), set()
        for line in self.disk.lines[:cut]:
            if line.type == '!':
                word, text = line.path.split()
                words.add(word)
                if word == 'synced':
                    texts.add(text)
                elif word == 'aside':
                    aside.add(text)
        records = set()
        files, _, _ = self.disk.durable(cut)
        for file in self.segments:
            below = files.get(file, 0)
            if self.cache.get(file, (None,))[0] != below:
                self.cache[file] = below, records_in(self.disk.durable_content(file, below))
            records |= self.cache[file][1]
        return texts, aside, records, words


# ---- judging a state ----

Case = collections.namedtuple('Case', 'cut seed names how tree texts aside records words')


def other_boot(tree):
    """The power was off: the index was written under another boot than this one."""
    boot = read('/proc/sys/kernel/random/boot_id').strip()
    tree = dict(tree)
    if tree.get('index/state'):
        tree['index/state'] = tree['index/state'].replace(boot, boot[::-1])
    return tree


def check(case, place, init):
    """The complaints about a state; empty: none."""
    root = os.path.join(place, f'{case.cut}.{case.seed}')
    disk_states.write_tree(root, other_boot(case.tree))
    if 'made' not in case.words and not case.tree.get('key'):
        done = init(root)
        if done.returncode:
            return [f'init cannot be begun again: {done.stdout}{done.stderr}']
    try:
        done = subprocess.run([CHECK, root], capture_output=True, timeout=120, check=False)
    finally:
        if 'MOOT_POWER_STATE' not in os.environ:
            shutil.rmtree(root)
    found = collections.defaultdict(list)
    for line in os.fsdecode(done.stdout).splitlines():
        word, _, rest = line.partition(' ')
        found[word].append(rest)
    wrong = [f'status {done.returncode}: {found["failed"]} {os.fsdecode(done.stderr)[-2000:]}'] if done.returncode else []
    wrong += [f'{word}: {rest}' for word in ('chain', 'unreadable', 'unindexed') for rest in found[word]]
    wrong += [f'a synced text is not there: {text}' for text in case.texts - set(found['text'])]
    wrong += [f'a durable record is not there: {record}' for record in case.records - set(found['entry'])]
    wrong += [f'{count} versions of {text}' for text, count in collections.Counter(found['text']).items() if count > 1]
    if found['verify'][1:] and not found['verify'][1].startswith('2 0 0'):
        wrong += found['finding'] + ['it is not well after it was opened']
    if not done.returncode and digest(AFTER) not in found['text']:
        wrong.append('the save after the cut is not there')
    scratch = {digest(data) for path, data in case.tree.items() if path.startswith('scratch/') and isinstance(data, bytes)}
    if case.names == ORDERED:
        wrong += [f'a synced text lost both its names: {text}' for text in case.aside - scratch - set(found['text'])]
    return wrong


def cuts_of(lines, chance):
    if LONG:
        return range(len(lines) + 1)
    near = {at for index, line in enumerate(lines) if line.type in 'BE' for at in (index, index + 1)}
    return sorted(near | set(chance.sample(range(len(lines) + 1), min(SAMPLE, len(lines)))))


def cuts_about_segments(lines, chance):
    """All about the beginnings of segments; of those about flushes, and of the rest, as many as there is time for."""
    begun = [index for index, line in enumerate(lines) if line.type == 'C' and line.path.endswith('.seg')]
    assert len(begun) > 1, 'the segment was not filled'
    near = {at for index in begun for at in range(index - NEAR, index + NEAR + 1) if 0 <= at <= len(lines)}
    flushes = {at for index, line in enumerate(lines) if line.type in 'BE' for at in (index, index + 1)} - near
    rest = sorted(set(range(len(lines) + 1)) - near - flushes)
    left = max(0, LARGE_STATES - len(near))
    return sorted(near | set(chance.sample(sorted(flushes), min(len(flushes), left // 2))) |
                  set(chance.sample(rest, min(len(rest), left // 2))))


def cases(lines, choose, turn):
    """One state for each cut, of every kind in turn."""
    seed = int(os.environ.get('MOOT_SEED', 0))
    chance = random.Random(seed + turn)
    disk = disk_states.Disk(lines)
    wanted = Wanted(disk)
    single = os.environ.get('MOOT_POWER_STATE')
    for cut in choose(lines, chance):
        chosen = chance.getrandbits(32)
        if single:
            if cut != int(single.split(',')[0]):
                continue
            chosen = int(single.split(',')[1])
        of_case = random.Random(chosen)
        names, how = of_case.choice((ORDERED, ALONE)), of_case.choice(HOWS)
        yield Case(cut, chosen, names, how, disk.state(cut, of_case, names, how), *wanted.at(cut))


def check_states(lines, choose, turns):
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else '/var/tmp'
    place = tempfile.mkdtemp(prefix='moot-', dir=memory)
    env = dict(os.environ)

    def init(root):
        return subprocess.run([find_moot(), 'init'], env=dict(env, MOOT_HOME=root), capture_output=True, timeout=60,
                              check=False, text=True)

    began, count, wrong = time.monotonic(), 0, []
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            waiting = collections.deque()
            for case in (case for turn in range(turns) for case in cases(lines, choose, turn)):
                count += 1
                waiting.append((case, pool.submit(check, case, place, init)))
                while len(waiting) > 4:
                    wrong += judge(*waiting.popleft())
            while waiting:
                wrong += judge(*waiting.popleft())
    finally:
        if 'MOOT_POWER_STATE' in os.environ:
            print(f'kept in {place}')
        else:
            shutil.rmtree(place)
    print(f'{count} states of {len(lines)} calls in {time.monotonic() - began:.0f} s')
    assert not wrong, f'{len(wrong)} states of {count}:\n' + '\n'.join(wrong[:20])
    assert count > 100 or 'MOOT_POWER_STATE' in os.environ


@pytest.mark.limit(3600 if LONG else 300)
def test_power_cut(recording):
    lines, _ = recording
    check_states(lines, cuts_of, TURNS)


@pytest.mark.limit(3600)
def test_power_cut_over_two_segments(request):
    if not LONG:
        pytest.skip('MOOT_LONG=1: a state is 70 MB')
    lines, _ = request.getfixturevalue('recording_long')
    check_states(lines, cuts_about_segments, 1)


def judge(case, checked):
    wrong = checked.result()
    if not wrong:
        return []
    told = f'MOOT_POWER_STATE={case.cut},{case.seed} ({case.names}, {case.how}): ' + '; '.join(wrong[:6])
    print(told, flush=True) # a long run tells as it goes
    return [told]
