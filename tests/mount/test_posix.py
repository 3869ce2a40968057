"""The same scripts of system calls on a mount and on the disk below /var/tmp: same results, same errnos, same trees.

Each script (posix_scripts.py) runs in four places: in a document folder, in a scratch directory, and in both at
once, where its folders a/ and b/ are one of each. What is not the same stands in DIFFERENT, each with its
reason; a row that differs no more fails. MOOT_SEED repeats a random run.
"""
import os
import random

import pytest

import posix_names  # noqa: F401 (its scripts join SCRIPTS)
from calls import File, Tape, brief, tree
from conftest import LONG, read, write
from posix_scripts import OPENS, SCRIPTS, random_call

SEED = int(os.environ.get('MOOT_SEED', random.SystemRandom().randrange(1 << 32)))
PLACES = ('documents', 'scratch', 'out of scratch', 'into scratch')
DOCUMENTS, SCRATCH, OUT, INTO = PLACES

BAD = r'x\udcff\udcfe'

# places, script, {call: what it gives there}, reason
DIFFERENT = [
    (PLACES, 'rename_flags', {
        "rename2('a/g', 'a/w', 4)": 'EINVAL',
        "list('a')": "['d', 'f', 'g']",
    }, 'whiteouts are a layer below another file system: nothing here has them'),
    ((DOCUMENTS, INTO), 'allocate', {
        'fallocate(fd, 0, 0, 5000)': 'ENOTSUP',
        'fallocate(fd, 1, 0, 9000)': 'ENOTSUP',
        'fstat(fd)': "('-rw-r--r--', 0, 0, 1, 0)",
        'fallocate(fd, 3, 0, 4096)': 'ENOTSUP',
        'fallocate(fd, 16, 4096, 100)': 'ENOTSUP',
        'pread(fd, 9000, 0)': brief(b'x' * 9000),
    }, 'a text takes no room that could be set aside'),
    ((DOCUMENTS, INTO), 'names_that_are_no_utf8', {
        f"put('a/{BAD}', b'x')": 'EINVAL',
        f"mkdir('a/{BAD}d')": 'EINVAL',
        f"symlink(b't', 'a/{BAD}l')": 'EINVAL',
        f"rename('a/f', 'a/{BAD}r')": 'EINVAL',
        "list('a')": "['f']",
        f"stat('a/{BAD}')": 'ENOENT',
    }, 'a name that others shall read is UTF-8'),
    ((DOCUMENTS, INTO), 'names_that_end_in_an_at', {
        "put('a/x@', b'x')": 'EINVAL',
        "mkdir('a/d@')": 'EINVAL',
        "symlink(b't', 'a/l@')": 'EINVAL',
        "rename('a/f', 'a/r@')": 'EINVAL',
        "list('a')": "['f']",
    }, 'a name that ends in @ leads behind a name'),
    ((DOCUMENTS, INTO), 'hard_links', {
        "link('a/f', 'a/g')": 'EPERM',
        "link('a/f', 'b/g')": 'EPERM',
        "stat('a/f')": "('-rw-r--r--', 0, 0, 1, 1)",
        "list('a')": "['f']",
    }, 'a document has one name'),
    ((OUT,), 'hard_links', {
        "link('a/f', 'b/g')": 'EPERM',
        "stat('a/f')": "('-rw-r--r--', 0, 0, 2, 1)",
    }, 'a document has one name'),
    ((DOCUMENTS, INTO), 'special_files', {
        **{f"mknod('a/special', {kind}, 259)": 'EPERM' for kind in (4516, 49572, 8612)},
        "lstat('a/special')": 'ENOENT',
        "unlink('a/special')": 'ENOENT',
    }, 'fifos, sockets and devices cannot be published'),
    ((OUT, INTO), 'exchanged_across', {
        "rename2('a/f', 'b/g', 2)": 'EXDEV',
        "cat('a/f')": "b'f'",
        "cat('b/g')": "b'g'",
    }, 'what is published and what is not are two file systems: no exchange'),
    ((OUT, INTO), 'directories_renamed_across', {
        "rename('a/d', 'b/moved')": 'EXDEV',
        "cat('b/moved/e/f')": 'ENOENT',
        "list('a')": "['d']",
        "rename('b/moved', 'a/top/in')": 'ENOENT',
        "rename('a/top', 'a/top/in/e/x')": 'ENOENT',
        "cat('a/top/in/e/f')": 'ENOENT',
    }, 'what is published and what is not are two file systems: directories are copied'),
    ((OUT, INTO), 'made_below_a_renamed_directory', {
        "rename('a/d', 'b/e')": 'EXDEV',
        "cat('b/e/f')": 'ENOENT',
        "list('b/e')": 'ENOENT',
        "mkdir('a/d')": 'EEXIST',
        "list('a/d')": "['f']",
    }, 'what is published and what is not are two file systems: directories are copied'),
]


# ---- running them ----

def folders_of(top, place, name):
    """Where a/ and b/ of a script stand; None: on the plain disk."""
    document, scratch = os.path.join(top, name), os.path.join(top, f'.{name}')
    one = scratch if place in ('scratch', 'out of scratch') else document
    two = scratch if place in ('scratch', 'into scratch') else document
    folders = {'a': os.path.join(one, 'a'), 'b': os.path.join(two, 'b')}
    for folder in folders.values():
        os.makedirs(folder)
    return folders


def compare(name, place, expected, actual):
    """What is not the same and may not differ, and what may and does not."""
    allowed = {call: given for places, script, calls, _ in DIFFERENT if place in places and script == name
               for call, given in calls.items()}
    told, met = [], set()
    for (call, plain), (_, mounted) in zip(expected, actual, strict=True):
        if plain == mounted:
            continue
        if allowed.get(call) == mounted:
            met.add(call)
        else:
            told.append(f'{call}: {mounted}, on a disk {plain}')
    return told + [f'{call}: differs no more' for call in allowed.keys() - met]


@pytest.fixture(scope='module')
def kept():
    """(plain, mounted): folders that must be the same, as the tests left them."""
    return []


@pytest.fixture(autouse=True)
def usual_mask():
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('name', SCRIPTS)
def test_script(shared_mount, kept, name, place):
    title = f'{name}-{PLACES.index(place)}'
    plain = Tape(folders_of(os.path.join(shared_mount.base, 'plain'), 'documents', title))
    mounted = Tape(folders_of(shared_mount.own, place, title))
    try:
        for tape in (plain, mounted):
            SCRIPTS[name](tape)
    finally:
        plain.finish()
        mounted.finish()
    told = compare(name, place, plain.log, mounted.log)
    if not any(place in places and script == name for places, script, _, _ in DIFFERENT):
        kept.append((plain.folders, mounted.folders))
        told += trees_differ(plain.folders, mounted.folders)
    assert not told, '\n'.join(told)


def trees_differ(plain, mounted):
    told = []
    for side in plain:
        expected, actual = tree(plain[side]), tree(mounted[side])
        told += [f'{side}/{path}: {actual.get(path)}, on a disk {expected.get(path)}'
                 for path in expected.keys() | actual.keys() if expected.get(path) != actual.get(path)]
    return told


class Pair:
    """One random work on a disk and on a mount, call by call."""

    def __init__(self, plain, mounted):
        self.tapes = Tape(plain), Tape(mounted)
        self.slots = [[File(-1)] * OPENS for _ in self.tapes]

    def run(self, side, call, arguments):
        tape, slots = self.tapes[side], self.slots[side]
        result = getattr(tape, call)(*[slots[argument[1]] if isinstance(argument, tuple) else argument
                                       for argument in arguments])
        return result, tape.log[-1][1]

    def step(self, rng):
        """One call; what went wrong."""
        call, arguments = random_call(rng)
        slot = rng.randrange(OPENS)
        results = [None, self.run(1, call, arguments)]
        # What is published and what is not are two file systems.
        if results[1][1] == 'EXDEV':
            self.tapes[1].log.pop()
            return None
        results[0] = self.run(0, call, arguments)
        if call in ('open', 'dup') and results[1][0].number >= 0 and results[0][0].number >= 0:
            for side in (0, 1):
                old, self.slots[side][slot] = self.slots[side][slot], results[side][0]
                if old.number >= 0:
                    os.close(old.number)
                    old.number = -1
        if results[0][1] != results[1][1]:
            return f'{call}{arguments}: {results[1][1]}, on a disk {results[0][1]}'
        return None

    def finish(self):
        for tape in self.tapes:
            tape.finish()


@pytest.mark.limit(1200)
@pytest.mark.parametrize('place', PLACES)
def test_anything(shared_mount, kept, place):
    """Random calls, with files held open all the while."""
    steps, seed = (20000 if LONG else 1500), SEED + PLACES.index(place)
    rng = random.Random(seed)
    title = f'anything-{PLACES.index(place)}'
    plain = folders_of(os.path.join(shared_mount.base, 'plain'), DOCUMENTS, title)
    mounted = folders_of(shared_mount.own, place, title)
    pair = Pair(plain, mounted)
    try:
        for step in range(steps):
            told = pair.step(rng)
            if told is None and step % 100 == 99:
                told = '\n'.join(trees_differ(plain, mounted)) or None
            if told:
                last = '\n'.join(f'{call} = {given}' for call, given in pair.tapes[1].log[-40:])
                pytest.fail(f'{last}\nMOOT_SEED={SEED} step {step}: {told}')
    finally:
        pair.finish()
    kept.append((plain, mounted))


def test_a_signed_document_cut_off_by_its_path_has_its_new_size(shared_mount):
    path = shared_mount.path('cut.md')
    write(path, 'x' * 5000)
    shared_mount.wait_signed('cut.md')
    for size in (100000, 5):
        os.truncate(path, size)
        assert os.stat(path).st_size == size
    assert read(path) == b'xxxxx'


def times_of(folder):
    return {os.path.relpath(os.path.join(directory, name), folder): os.lstat(os.path.join(directory, name)).st_mtime_ns
            for directory, _, files in os.walk(folder) for name in files}


@pytest.mark.limit(300)
def test_all_is_kept_after_remount(shared_mount, kept):
    """Bytes, modes, owners, links and times, of all that the tests above left."""
    before = [times_of(mounted[side]) for _, mounted in kept for side in mounted]
    shared_mount.restart()
    told = [line for plain, mounted in kept for line in trees_differ(plain, mounted)]
    assert not told, '\n'.join(told)
    assert [times_of(mounted[side]) for _, mounted in kept for side in mounted] == before
