"""Many at once: each writer's saves are versions of its own document, whatever the others do. Also run under TSan."""
import concurrent.futures
import os
import subprocess

import pytest

from conftest import read, write

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
