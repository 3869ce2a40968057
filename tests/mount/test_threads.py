"""Many at once: each writer's saves are versions of its own document, whatever the others do. Also run under TSan."""
import concurrent.futures
import contextlib
import errno
import os
import subprocess
import threading

import pytest

from conftest import read, wait_until, write

WRITERS = 6
SAVES = 25


def save_often(folder, writer):
    for turn in range(SAVES):
        write(folder.path(f'd{writer}', 'doc.md'), f'writer {writer} turn {turn}\n')
        write(folder.path(f'd{writer}', '.beside'), 'x')
        os.rename(folder.path(f'd{writer}', '.beside'), folder.path(f'd{writer}', '.other'))
        if turn % 5 == 0:
            os.mkdir(folder.path(f'd{writer}', f'sub{turn}'))
            os.rename(folder.path(f'd{writer}', f'sub{turn}'), folder.path(f'd{writer}', f'moved{turn}'))


def look_often(folder, writer):
    for _ in range(SAVES):
        name = f'd{writer}/doc.md'
        for text in folder.texts(name):
            assert text == b'begin\n' or text.startswith(f'writer {writer} turn '.encode()), text
        os.listdir(folder.own)
        folder.control(f'alice/{name}@/log')
        folder.control('@/metrics')
        os.listdir(folder.path(name) + '@/pieces')


@pytest.mark.limit(300)
def test_writers_and_readers_at_once(mount):
    for writer in range(WRITERS):
        os.mkdir(mount.path(f'd{writer}'))
        write(mount.path(f'd{writer}', 'doc.md'), 'begin\n')
    mount.wait_signed(*[f'd{writer}/doc.md' for writer in range(WRITERS)])
    with concurrent.futures.ThreadPoolExecutor(2 * WRITERS) as pool:
        work = [pool.submit(act, mount, writer) for writer in range(WRITERS) for act in (save_often, look_often)]
        for one in work:
            one.result()
    for writer in range(WRITERS):
        name = f'd{writer}/doc.md'
        mount.wait_signed(name)
        expected = [b'begin\n'] + [f'writer {writer} turn {turn}\n'.encode() for turn in range(SAVES)]
        assert mount.texts(name) == expected


@pytest.mark.limit(300)
def test_two_writers_of_one_document(mount):
    """Every save is kept, in whatever order; nothing torn."""
    write(mount.path('doc.md'), 'begin\n')
    mount.wait_signed('doc.md')
    script = 'for i in $(seq 40); do echo "$1 $i" > .$1; mv -f .$1 doc.md; done'
    writers = [subprocess.Popen(['bash', '-c', script, 'sh', name], cwd=mount.own) for name in ('a', 'b')]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    mount.wait_signed('doc.md')
    texts = sorted(mount.texts('doc.md'))
    assert texts == sorted([b'begin\n'] + [f'{name} {i}\n'.encode() for name in 'ab' for i in range(1, 41)])
    assert read(mount.path('doc.md')) in (b'a 40\n', b'b 40\n')


@pytest.mark.limit(300)
def test_create_and_remove_at_once(mount):
    script = 'for i in $(seq 40); do echo $i > n$1.md; ls -l >/dev/null; rm n$1.md; mkdir m$1; rmdir m$1; done'
    writers = [subprocess.Popen(['bash', '-c', script, 'sh', str(n)], cwd=mount.own, stderr=subprocess.DEVNULL)
               for n in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    assert os.listdir(mount.own) == []


# ---- all at once ----

LOAD_S = 6
# What a name that others rename and remove may answer, and a control file of it.
PASSING = (errno.ENOENT, errno.ESTALE, errno.EAGAIN, errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EINVAL,
           errno.EBUSY)


def drop_caches():
    with contextlib.suppress(PermissionError), open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
        file.write('2')


def acts(folder):
    """What runs at once over a few names that all share: each is called with a number that rises."""
    def path(turn):
        return folder.path(f's{turn % 3}', f'n{turn % 4}.md')

    def in_place(turn):
        write(path(turn), f'in place {turn}\n')

    def append(turn):
        write(path(turn), f'append {turn}\n', 'a')

    def by_rename(turn):
        write(folder.path('s0', '.beside'), f'by rename {turn}\n')
        os.rename(folder.path('s0', '.beside'), path(turn))

    def names(turn):
        os.rename(path(turn), path(turn + 1))
        os.unlink(path(turn + 2))

    def directories(turn):
        os.rename(folder.path(f's{turn % 3}'), folder.path(f't{turn % 3}'))
        os.rename(folder.path(f't{turn % 3}'), folder.path(f's{turn % 3}'))

    def listing(turn):
        for name in os.listdir(folder.path(f's{turn % 3}')):
            os.stat(folder.path(f's{turn % 3}', name))

    def versions(turn):
        for version in os.listdir(path(turn) + '@/versions')[-5:]:
            read(path(turn) + '@/versions/' + version)
        read(path(turn) + '@/diffs/-1')

    def controls(turn):
        for name in ('head', 'heads', 'log', 'links', 'page.html', 'merge', 'vote', 'holders'):
            with contextlib.suppress(OSError):
                read(path(turn) + '@/' + name)
        for name in ('@/status', '@/metrics', '@/errors', 'alice@/log'):
            folder.control(name)

    def told(turn):
        write(path(turn) + '@/head', '-1\n')
        write(path(turn) + '@/vote', 'keep\n')

    def forget(turn):
        drop_caches()
        folder.control(f'alice@/at/2099/s{turn % 3}/n0.md')

    return in_place, append, by_rename, names, directories, listing, versions, controls, told, forget


def repeat(act, stop, problems):
    turn = 0
    while not stop.is_set():
        turn += 1
        try:
            act(turn)
        except OSError as error:
            if error.errno not in PASSING:
                problems.append((act.__name__, turn, error))
                return


@pytest.mark.limit(200)
def test_everything_at_once_and_unmounted_while_busy(mount):
    """Nothing hangs, nothing ends by itself, what is stored is sound; unmounting lazily in the middle too."""
    for n in range(3):
        os.mkdir(mount.path(f's{n}'))
    stop, problems = threading.Event(), []
    pool = [threading.Thread(target=repeat, args=(act, stop, problems)) for act in acts(mount)]
    for thread in pool:
        thread.start()
    stop.wait(LOAD_S)
    assert not problems
    assert mount.pid
    # Busy to the last: who still works finds the end of the mount, or the empty place below it.
    pid = mount.pid
    subprocess.run(['umount', '-l', mount.root], timeout=30, check=False, capture_output=True)
    stop.set()
    for thread in pool:
        thread.join(60)
    assert not any(thread.is_alive() for thread in pool)
    wait_until(lambda: not mount.pid, 40, f'the daemon {pid} to end')
    mount.killed = True
    mount.run('verify')
    mount.mount()
    write(mount.path('after.md'), 'after\n')
    mount.wait_signed('after.md')
