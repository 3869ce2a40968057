"""What the foreign conformance suites ask for beyond errnos: names replaced while they are opened, others' rights, times, links.

Two mounts as those suites are run: `-o allow_other,default_permissions`, by root, in a document folder and in a
scratch directory.
"""
import contextlib
import errno
import mmap
import multiprocessing
import os
import threading
import time

import pytest

from calls import LIBC
from conftest import LONG, Folder, live, read, write

RACE_S = 20 if LONG else 2
OTHER = 65534


@pytest.fixture(scope='module')
def folder():
    made = Folder()
    live.append(made)
    try:
        made.init()
        made.mount('-o', 'allow_other,default_permissions')
        for path in (made.base, made.root):
            with contextlib.suppress(PermissionError):
                os.chmod(path, 0o755)
        yield made
        made.finish()
    finally:
        made.abort()
        live.remove(made)


@pytest.fixture(params=['documents', '.scratch'])
def place(folder, request):
    """A new directory: in the first all is documents, in the second nothing is."""
    path = folder.path(request.param)
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o777)
    path = os.path.join(path, request.node.originalname)
    os.mkdir(path)
    os.chmod(path, 0o777)
    return path


# ---- names that are replaced while they are used ----

def replace(path, number, end):
    """Saves by a file beside and rename, as editors do."""
    while time.monotonic() < end:
        write(f'{path}.{number}.tmp', f'{number}\n')
        os.rename(f'{path}.{number}.tmp', path)


def append(path):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


USES = [read, os.stat, append, os.utime, lambda path: os.chmod(path, 0o644), lambda path: os.access(path, os.W_OK)]


def use(path, end, failures):
    count = 0
    while time.monotonic() < end:
        action = USES[count // 2 % len(USES)] if count % 2 else read
        try:
            action(path)
        except OSError as error:
            failures.append((action.__name__, errno.errorcode[error.errno]))
        count += 1


def use_all(path, end, queue):
    failures = []
    use(path, end, failures)
    queue.put(failures)


def test_a_name_that_is_replaced_can_always_be_opened(place):
    """No ESTALE: what is opened is the old file or the new one."""
    path = os.path.join(place, 'race.md')
    write(path, 'first\n')
    fork = multiprocessing.get_context('fork')
    queue, end = fork.Queue(), time.monotonic() + RACE_S
    workers = [fork.Process(target=replace, args=(path, number, end)) for number in range(2)]
    workers += [fork.Process(target=use_all, args=(path, end, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    failures = sum((queue.get(timeout=RACE_S + 30) for _ in range(3)), [])
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert not failures
    # Whatever way it went: what is written last is what is read.
    write(path, 'last\n')
    assert read(path) == b'last\n'


# ---- other users ----

def as_other(action):
    """In a process of another user: None, or the errno's name."""
    def run(queue):
        os.setgroups([])
        os.setgid(OTHER)
        os.setuid(OTHER)
        try:
            action()
            queue.put(None)
        except OSError as error:
            queue.put(errno.errorcode[error.errno])

    fork = multiprocessing.get_context('fork')
    queue = fork.Queue()
    child = fork.Process(target=run, args=(queue,))
    child.start()
    result = queue.get(timeout=30)
    child.join()
    return result


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be others')
def test_other_users_have_the_rights_that_modes_give_them(place):
    path, own, closed = (os.path.join(place, name) for name in ('roots.md', 'others.md', 'closed'))
    write(path, 'text\n')
    os.chmod(path, 0o644)
    os.mkdir(closed)
    os.chmod(closed, 0o700)
    assert as_other(lambda: read(path)) is None
    assert as_other(lambda: write(path, 'x\n')) == 'EACCES'
    assert as_other(lambda: os.chmod(path, 0o666)) == 'EPERM'
    assert as_other(lambda: os.chown(path, OTHER, OTHER)) == 'EPERM'
    assert as_other(lambda: os.utime(path)) == 'EACCES'
    assert as_other(lambda: os.utime(path, (1, 1))) == 'EPERM'
    assert as_other(lambda: os.truncate(path, 0)) == 'EACCES'
    assert as_other(lambda: write(f'{closed}/x.md', 'x\n')) == 'EACCES'
    os.chmod(path, 0o600)
    assert as_other(lambda: read(path)) == 'EACCES'
    os.chmod(path, 0o666)
    assert as_other(lambda: write(path, 'by another\n')) is None
    assert as_other(lambda: os.utime(path)) is None
    assert read(path) == b'by another\n'

    assert as_other(lambda: write(own, 'mine\n')) is None
    found = os.stat(own)
    assert (found.st_uid, found.st_gid) == (OTHER, OTHER)
    assert as_other(lambda: os.chmod(own, 0o600)) is None
    assert as_other(lambda: os.rename(own, f'{own}.moved.md')) is None
    os.chmod(place, 0o1777)
    assert as_other(lambda: os.unlink(path)) in ('EPERM', 'EACCES')
    assert as_other(lambda: os.rename(f'{own}.moved.md', path)) in ('EPERM', 'EACCES')
    assert as_other(lambda: os.unlink(f'{own}.moved.md')) is None


# ---- times and links ----

TIMES = [
    ('both', 1900000000_100000001, 1950000000_200000002),
    ('access later', 1960000000_000000000, 1950000000_000000000),
    ('before 1970', -86400_999999999, -2_000000001),
    ('1970', 0, 1_000000000),
    ('beyond 32 bits', (1 << 33) * 1_000000000, ((1 << 32) + 1) * 1_000000000),
]


def times_of(path):
    found = os.stat(path, follow_symlinks=False)
    return found.st_atime_ns, found.st_mtime_ns


def test_both_times_are_kept(folder, place):
    expected = {}
    for number, (_, accessed, modified) in enumerate(TIMES):
        for path in (os.path.join(place, f'{number}.md'), os.path.join(place, f'{number}')):
            if path.endswith('.md'):
                write(path, 'x\n')
            else:
                os.mkdir(path)
            os.utime(path, ns=(accessed, modified))
            # 0 is never set: a nanosecond more.
            expected[path] = (accessed or times_of(path)[0] & 1, modified)
            assert times_of(path) == expected[path], TIMES[number]
    path = os.path.join(place, '0.md')
    os.system(f'touch -a -d @1000 {path}')  # the other is left alone
    assert times_of(path) == (1000_000000000, TIMES[0][2])
    os.system(f'touch -m -d @2000 {path}')
    assert times_of(path) == (1000_000000000, 2000_000000000)
    expected[path] = times_of(path)
    folder.restart('-o', 'allow_other,default_permissions')
    assert {path: times_of(path) for path in expected} == expected


def test_a_folder_counts_the_folders_in_it(place):
    one, two = os.path.join(place, 'one'), os.path.join(place, 'two')
    links = lambda: [os.stat(path).st_nlink for path in (place, one, two)]
    os.mkdir(one)
    os.mkdir(two)
    assert links() == [4, 2, 2]
    os.mkdir(f'{one}/sub')
    os.mkdir(f'{one}/.local')
    write(f'{one}/document.md', 'x\n')
    assert links() == [4, 4, 2]
    os.rename(f'{one}/sub', f'{two}/sub')
    assert links() == [4, 3, 3]
    os.rmdir(f'{two}/sub')
    os.rmdir(f'{one}/.local')
    os.unlink(f'{one}/document.md')
    assert links() == [4, 2, 2]
    os.rmdir(one)
    assert os.stat(place).st_nlink == 3


# ---- listings ----

def test_a_listing_says_the_same_when_the_kernel_knows_its_entries(folder, place):
    """Known entries are listed by name and number alone: after a change it must be the new ones."""
    for number in range(300):
        write(os.path.join(place, f'{number:03}.md'), 'x' * number)
    os.symlink('000.md', os.path.join(place, 'link'))
    os.mkdir(os.path.join(place, 'sub'))
    if not os.path.basename(os.path.dirname(place)).startswith('.'):
        folder.wait_signed(os.path.relpath(os.path.join(place, '299.md'), folder.own))

    def listed():
        with os.scandir(place) as entries:
            return {(e.name, e.inode(), e.is_dir(follow_symlinks=False), e.is_symlink(), e.stat(follow_symlinks=False).st_size,
                     e.stat(follow_symlinks=False).st_ino) for e in entries}

    first = listed()
    assert len(first) == 302
    assert listed() == first == listed()
    assert all(entry[1] == entry[5] for entry in first)
    write(os.path.join(place, '007.md'), 'longer than it was')
    os.rename(os.path.join(place, '008.md'), os.path.join(place, '009.md'))
    os.unlink(os.path.join(place, '010.md'))
    os.rename(os.path.join(place, '011.md'), os.path.join(place, 'new.md'))
    second = listed()
    by_name = {entry[0]: entry for entry in second}
    assert len(second) == 300
    assert by_name['007.md'][4] == 18 and by_name['009.md'][4] == 8 and by_name['new.md'][4] == 11
    assert listed() == second


# ---- large files ----

@pytest.mark.limit(60)
def rename_beside_names(folder, turn, size):
    """How long a large file took to become a document, and each round of names meanwhile."""
    large, other = folder.path(f'.large{turn}'), folder.path(f'waits{turn}')
    os.mkdir(other)
    waits, ended = [], threading.Event()
    with open(large, 'wb') as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))

    def work():
        while not ended.is_set():
            began = time.monotonic()
            write(f'{other}/a.md', 'x\n')
            os.rename(f'{other}/a.md', f'{other}/b.md')
            os.unlink(f'{other}/b.md')
            waits.append(time.monotonic() - began)

    expected = read(large)
    worker = threading.Thread(target=work)
    worker.start()
    began = time.monotonic()
    os.rename(large, folder.path(f'large{turn}.bin'))
    took = time.monotonic() - began
    ended.set()
    worker.join()
    assert read(folder.path(f'large{turn}.bin')) == expected
    return took, waits


def test_names_do_not_wait_for_a_large_file_that_becomes_a_document(folder):
    # A busy machine may stop any of them for a while, but not each time.
    for turn in range(4):
        took, waits = rename_beside_names(folder, turn, (64 if LONG else 24) << 20)
        if len(waits) > 5 and max(waits) < max(0.5, took / 2):
            return
    raise AssertionError((took, max(waits)))


def test_a_large_file_written_while_it_becomes_a_document_loses_nothing(folder):
    """By a mapping: write(2) waits for the rename, what the kernel writes back does not."""
    large, document = folder.path('.written'), folder.path('written.bin')
    size, ended = 16 << 20, threading.Event()
    write(large, os.urandom(size))
    with open(large, 'r+b') as file, mmap.mmap(file.fileno(), size) as mapped:
        def work():
            for page in range(0, size, mmap.PAGESIZE):
                mapped[page:page + 8] = b'changed!'
                LIBC.sync_file_range(file.fileno(), 0, 0, 7)
                if ended.is_set():
                    return

        worker = threading.Thread(target=work)
        worker.start()
        os.rename(large, document)
        ended.set()
        worker.join()
        mapped.flush()
        expected = mapped[:]
    assert b'changed!' in expected
    assert read(document) == expected
    folder.wait_signed('written.bin')
    assert folder.texts('written.bin')[-1] == expected


@pytest.mark.limit(60)
def test_names_do_not_wait_for_a_large_document_that_is_closed(folder):
    """Nor do those who write to it: they alone wait for the close."""
    other = folder.path('waits-for-close')
    os.mkdir(other)
    write(f'{other}/stays.md', 'x\n')
    block = os.urandom(1 << 20).hex().encode()
    waits, ended, closing = [], threading.Event(), threading.Event()
    file = os.open(folder.path('closed.md'), os.O_RDWR | os.O_CREAT, 0o644)
    for number in range(100):
        os.write(file, block[number * 3:])

    def work():
        while not ended.is_set():
            began = time.monotonic()
            write(f'{other}/.a', f'{began}\n')
            os.rename(f'{other}/.a', f'{other}/b.md')
            os.stat(f'{other}/stays.md')
            with contextlib.suppress(FileNotFoundError):
                os.stat(f'{other}/none-{len(waits)}')
            waits.append(time.monotonic() - began)
            time.sleep(0.01)

    def append_to_it():
        closing.wait()
        time.sleep(0.05)
        os.write(second, b'the end\n')

    second = os.open(folder.path('closed.md'), os.O_WRONLY | os.O_APPEND)
    workers = [threading.Thread(target=work), threading.Thread(target=append_to_it)]
    for worker in workers:
        worker.start()
    closing.set()
    began = time.monotonic()
    os.close(file)
    took = time.monotonic() - began
    ended.set()
    for worker in workers:
        worker.join()
    os.close(second)
    assert len(waits) > 5 and max(waits) < max(0.5, took / 2), (took, max(waits))
    with open(folder.path('closed.md'), 'rb') as read_back:
        read_back.seek(-8, os.SEEK_END)
        assert read_back.read() == b'the end\n'


# ---- documents that many have open ----

def test_a_document_open_many_times_takes_a_local_name_and_comes_back(folder):
    document, backup = folder.path('many.md'), folder.path('many.md~')
    write(document, 'one\n')
    folder.wait_signed('many.md')
    files = [os.open(document, os.O_RDWR) for _ in range(70)]
    try:
        os.rename(document, backup)
        os.pwrite(files[69], b'two\n', 0)
        assert {os.pread(file, 10, 0) for file in files} == {b'two\n'}
        os.rename(backup, document)
        os.pwrite(files[0], b'three\n', 0)
        assert {os.pread(file, 10, 0) for file in files} == {b'three\n'}
    finally:
        for file in files:
            os.close(file)
    assert read(document) == b'three\n'


def test_a_document_may_take_a_local_name_while_it_is_closed(folder):
    """What was written to it before, meanwhile and after stands in the local file, and the close succeeds."""
    document, backup = folder.path('leaves.md'), folder.path('leaves.md~')
    file = os.open(document, os.O_RDWR | os.O_CREAT, 0o644)
    block = os.urandom(1 << 20)
    for _ in range(24):
        os.write(file, block)
    copy = os.dup(file)
    closer = threading.Thread(target=lambda: os.close(copy))
    closer.start()
    time.sleep(0.05)
    os.rename(document, backup)
    os.pwrite(file, b'after', 0)
    closer.join()
    os.fsync(file)
    os.close(file)
    assert read(backup) == b'after' + block[5:] + block * 23
    assert not os.path.exists(document)
