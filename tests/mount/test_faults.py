"""The disk is full, or fails: at every step of a save, by a preloaded library and on a small file system of its own.

What cannot be kept is said by write, close, fsync or the call that asked; what is there is the old or the new text,
whole; when there is room again everything works, at once and after a restart. MOOT_LONG=1: every step.
"""
import errno
import mmap
import os
import shutil
import struct
import subprocess
import threading

import pytest

from conftest import LONG, is_mounted, read, write

WRITES, TRUNCATES, SYNCS, OPENS, INDEX, METAS = 1, 2, 4, 8, 16, 32
KINDS, FAIL_AT, FOR_GOOD, ERROR, PART, COUNT, FAILED = range(7)
OLD = b'the old text\n' * 20
LARGE = os.urandom(200_000)  # goes through a spool file and several pieces


class Faults:
    def __init__(self, folder):
        self.path = os.path.join(folder.base, 'plan')
        library = os.path.join(folder.base, 'failing.so')
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'failing.c')
        subprocess.run(['cc', '-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-shared', '-fPIC', '-O1', '-o', library, source,
                        '-ldl'], check=True, timeout=60)
        write(self.path, bytes(4096))
        with open(self.path, 'r+b') as file:
            self.map = mmap.mmap(file.fileno(), 4096)
        folder.env.update(LD_PRELOAD=library, FAILING=self.path, FAILING_FOLDER=folder.home)

    def set(self, field, value):
        self.map[field * 4:field * 4 + 4] = struct.pack('=I', value)

    def get(self, field):
        return struct.unpack('=I', self.map[field * 4:field * 4 + 4])[0]

    def arm(self, kinds, fail_at, error=errno.EIO, for_good=False, part=False):
        self.set(KINDS, 0)
        for field, value in ((FAIL_AT, fail_at), (FOR_GOOD, for_good), (ERROR, error), (PART, part), (COUNT, 0), (FAILED, 0),
                             (KINDS, kinds)):
            self.set(field, value)

    def disarm(self):
        self.set(KINDS, 0)
        return self.get(FAILED)


@pytest.fixture
def faults(home):
    linked = subprocess.run(['ldd', home.moot], timeout=20, capture_output=True, text=True, check=False).stdout
    if 'san.so' in linked:
        pytest.skip('a sanitizer wants to be loaded first')
    plan = Faults(home)
    home.mount()
    yield plan
    plan.disarm()


# ---- ways to save; each returns after close(2), or raises ----

def put(path, text, flags, sync=False):
    fd = os.open(path, flags | os.O_WRONLY, 0o644)
    try:
        os.write(fd, text)
        if sync:
            os.fsync(fd)
    except OSError:
        try:
            os.close(fd)
        except OSError:
            pass
        raise
    os.close(fd)


def in_place(path, text):
    put(path, text, os.O_TRUNC)


def synced(path, text):
    put(path, text, os.O_TRUNC, True)


def by_rename(path, text):
    try:
        put(path + '.AbCdEf', text, os.O_CREAT | os.O_EXCL)
        os.rename(path + '.AbCdEf', path)
    except OSError:
        if os.path.exists(path + '.AbCdEf'):
            os.unlink(path + '.AbCdEf')
        raise


def by_backup(path, text):
    os.rename(path, path + '~')
    put(path, text, os.O_CREAT | os.O_EXCL)


def by_cp(path, text):
    outside = path.replace('/moot/alice/', '/outside/')
    write(outside, text)
    if subprocess.run(['cp', outside, path], timeout=30, stderr=subprocess.DEVNULL).returncode != 0:
        raise OSError(errno.EIO, 'cp')


WAYS = [in_place, synced, by_rename, by_backup, by_cp]
TOLD = (errno.ENOSPC, errno.EIO)


def one_of(folder, name, texts):
    """The text that shows; after a backup was made and nothing more, the backup's."""
    path = folder.path(name)
    shown = read(path) if os.path.exists(path) else read(path + '~') if os.path.exists(path + '~') else None
    assert shown in texts, f'{name}: {shown and (shown[:40], len(shown))}'
    return shown


def run_case(folder, faults, way, n, kinds, error, for_good):
    """One save whose n-th call fails; how many failed. None: there is no n-th call."""
    name = f'{way.__name__}-{kinds}-{n}.md'
    path = folder.path(name)
    write(path, OLD)
    new = (b'new %d\n' % n) * 50 if n % 2 else LARGE[n:]
    folder.control('@/errors')
    faults.arm(kinds, n, error, for_good, part=error == errno.ENOSPC)
    failed_with = None
    try:
        way(path, new)
        saved = True
    except OSError as problem:
        saved = False
        failed_with = problem.errno
    hit = faults.disarm()
    if not saved:
        assert hit, f'{name}: {failed_with} and nothing failed'
        assert failed_with in TOLD, f'{name}: {errno.errorcode[failed_with]}'
        if not kinds & INDEX:
            assert folder.control('@/errors').split('\n')[0], f'{name}: no reason in @/errors'
    # What was not acknowledged is the old or the new text; a name that is truncated in place is the new one's to write again.
    allowed = {new} if saved else {OLD, new}
    if not saved and way in (in_place, synced, by_cp):
        allowed |= {b'', new[:len(new) // 2], None}  # shown until it is written again; never a version: see below
    one_of(folder, name, allowed)
    way_again = in_place if not os.path.exists(path + '~') else by_backup
    if way_again is by_backup and not os.path.exists(path):
        put(path, new, os.O_CREAT)
    else:
        in_place(path, new)
    assert read(path) == new
    return (hit, name, new)


@pytest.mark.limit(600 if LONG else 60)
@pytest.mark.parametrize('kinds', [WRITES, TRUNCATES | SYNCS | OPENS, INDEX | WRITES], ids=['writes', 'syncs and opens', 'index'])
def test_every_step_of_a_save_fails_once(home, faults, kinds):
    saved = []
    for way in WAYS:
        n = 0
        while True:
            n += 1
            hit, name, new = run_case(home, faults, way, n, kinds, errno.ENOSPC if n % 3 else errno.EIO, n % 5 == 0)
            saved.append((name, new))
            if not hit:
                break
            assert n < 200
        print(f'{way.__name__}: {n - 1} calls')
    check_all(home, saved)


@pytest.mark.limit(600 if LONG else 60)
def test_every_step_of_signing_fails_once(home, faults):
    """The index fails behind everybody's back: readers notice nothing, and what waited is signed without a remount."""
    home.wait_signed(*[write(home.path(f'before{i}.md'), OLD) or f'before{i}.md' for i in range(3)])
    stop, wrong, reads = threading.Event(), [], 0

    def look():
        nonlocal reads
        while not stop.is_set():
            try:
                assert {'before0.md', 'before2.md'} <= set(os.listdir(home.own))
                assert read(home.path('before1.md')) == OLD
                home.versions('before2.md')
                reads += 1
            except (OSError, AssertionError) as problem:
                wrong.append(problem)

    reader = threading.Thread(target=look)
    reader.start()
    saved, hits = [], 0
    try:
        steps = [(METAS, n) for n in range(1, 10 if LONG else 4)] + [(WRITES, n) for n in range(1, 60 if LONG else 3)]
        for kind, n in steps:
            names = [f'{kind}.{n}.{i}.md' for i in range(3)]
            faults.arm(INDEX | kind, n, errno.EIO, part=n % 2)
            for name in names:
                write(home.path(name), LARGE[n:n + 3000])
                saved.append((name, LARGE[n:n + 3000]))
            home.wait_signed(*names)
            hits += faults.disarm()
    finally:
        stop.set()
        reader.join()
    print(f'{hits} calls failed, {reads} reads')
    assert not wrong and hits > 3 and reads, wrong[:3]
    check_all(home, saved)


def check_all(home, saved):
    """Signed, verified, started again: whole texts alone, the last of them the one that was acknowledged."""
    for again in range(2):
        for name, new in saved:
            assert read(home.path(name)) == new, name
        home.wait_signed(*[name for name, _ in saved])
        if not again:
            for name, new in saved:
                texts = home.texts(name)
                assert set(texts) <= {OLD, new} and texts[-1] == new, (name, [(text[:20], len(text)) for text in texts])
            home.restart()
            home.run('verify')


# ---- really full ----

@pytest.fixture
def small(home):
    """The data folder on a file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip('mounting a small file system needs root')
    kept = home.home + '.kept'
    os.rename(home.home, kept)
    os.mkdir(home.home, 0o700)
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16m,mode=0700', 'small', home.home], timeout=20, check=False)
    if done.returncode != 0:
        pytest.skip('no tmpfs can be mounted here')
    try:
        for name in os.listdir(kept):
            shutil.move(os.path.join(kept, name), home.home)
        home.mount()
        yield home
    finally:
        if is_mounted(home.root):
            home.abort()
        for _ in range(3):
            subprocess.run(['umount', '-l', home.home], timeout=20, check=False, capture_output=True)


def make_new(path, text):
    put(path, text, os.O_CREAT | os.O_EXCL)


def make_directory(path, text):
    os.mkdir(path)
    make_new(os.path.join(path, 'inner.md'), text)


def make_link(path, text):
    os.symlink('old.md', path)


def leave_room(ballast, size):
    """What is free is `size` bytes from here on."""
    with open(ballast, 'ab', buffering=0) as file:
        for part in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(part))
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
        file.truncate(max(0, os.path.getsize(ballast) // 4096 * 4096 - size))


@pytest.mark.limit(600 if LONG else 120)
def test_full_after_any_page(small):
    """Whatever write it is that finds no room, of journal or index: ENOSPC, never EIO; with room again all is well at once."""
    ballast = os.path.join(small.home, 'ballast')
    kept, refused, made = {'old.md': b'old\n'}, 0, []
    write(small.path('old.md'), b'old\n')
    small.wait_signed('old.md')
    for pages in range(40 if LONG else 10):
        for way in (in_place, by_rename, make_new, make_directory, make_link):
            name = f'{way.__name__}{pages}' + ('' if way is make_directory else '.md')
            text = os.urandom(24000)
            if way in (in_place, by_rename):
                write(small.path(name), OLD)
            leave_room(ballast, pages * 4096)
            try:
                way(small.path(name), text)
            except OSError as problem:
                assert problem.errno == errno.ENOSPC, f'{name}: {errno.errorcode[problem.errno]}'
                refused += 1
            os.truncate(ballast, 0)
            in_place(small.path('old.md'), text)
            assert read(small.path('old.md')) == text
            write(small.path(f'{name}.after'), text)
            kept['old.md'] = kept[f'{name}.after'] = text
            made.append(name)
    assert refused > 20
    listed = set(os.listdir(small.own))
    assert listed >= set(kept) and listed <= set(kept) | set(made), listed ^ set(kept)
    os.unlink(ballast)
    small.wait_signed(*kept)
    for again in range(2):
        for name, text in kept.items():
            assert read(small.path(name)) == text, name
        small.restart()
        small.run('verify')
    small.umount()


@pytest.mark.limit(120)
def test_a_full_disk(small):
    """Filled by every way of saving; nothing is lost, and with room again it goes on."""
    kept = {}
    small_text = b'small %d\n'
    for turn in range(5):
        write(small.path(f'old{turn}.md'), small_text % turn)
        kept[f'old{turn}.md'] = small_text % turn
    small.wait_signed(*kept)
    refused = 0
    for turn in range(300):
        way = WAYS[turn % len(WAYS)]
        name = f'old{turn % 5}.md' if turn % 3 == 0 and way is not by_backup else f'n{turn}.md'
        text = os.urandom(250_000 if turn < 80 else 3000)
        if not os.path.exists(small.path(name)):
            way = in_place if way is by_backup else way
        try:
            if not os.path.exists(small.path(name)) and way in (in_place, synced):
                put(small.path(name), text, os.O_CREAT, way is synced)
            else:
                way(small.path(name), text)
            kept[name] = text
        except OSError as problem:
            assert problem.errno == errno.ENOSPC or way is by_cp, problem
            refused += 1
            if name in kept:
                kept[name] = (kept[name], text) if not isinstance(kept[name], tuple) else kept[name] + (text,)
            if refused > 60:
                break
        assert small.pid, 'the daemon died'
    assert refused > 10
    for name, text in kept.items():
        if not isinstance(text, tuple):
            assert read(small.path(name)) == text, name
    os.listdir(small.own)
    assert 'disk is full' in small.control('@/errors')
    # Room again: all goes on without a remount.
    subprocess.run(['mount', '-o', 'remount,size=64m', small.home], check=True, timeout=20)
    for name, text in kept.items():
        if isinstance(text, tuple):
            in_place(small.path(name), b'again\n')
            kept[name] = b'again\n'
    write(small.path('after.md'), 'after\n')
    small.wait_signed('after.md', *kept)
    for name, text in kept.items():
        assert read(small.path(name)) == text, name
    small.restart()
    small.run('verify')
    for name, text in kept.items():
        assert read(small.path(name)) == text, name
    small.umount()
