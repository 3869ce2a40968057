"""Programs that others wrote to break file systems: stress-ng, fio, dbench, fs_mark; each verifies what it reads.

By hand, all of it: MOOT_LONG=1. What is left out stands in LEFT_OUT, each with its reason.
"""
import os
import shutil
import subprocess

import pytest

from conftest import LONG

PLACES = {'documents': 'work', 'scratch': '.work'}
# What asks for something that no FUSE file system has, or is not about files at all.
ELSEWHERE = ('binderfs', 'procfs', 'bind-mount', 'eventfd', 'fanotify', 'dnotify', 'verity', 'chattr', 'inode-flags',
             'ioprio', 'lease', 'fiemap', 'file-ioctl')
LEFT_OUT = {
    'documents': {
        'hdd': 'sets room aside with fallocate and counts its refusal as a failure',
        'link': 'hard links: a document has one name',
        'mknod': 'fifos, sockets and devices cannot be published',
    },
    'scratch': {},
}
SHORT = ('access', 'chdir', 'chmod', 'copy-file', 'dentry', 'dir', 'dup', 'fallocate', 'filename', 'flock', 'fstat',
         'lockf', 'mmapfork', 'open', 'rename', 'seek', 'symlink', 'touch', 'utime')


@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def folder(shared_mount, place, request):
    path = shared_mount.path(f'{PLACES[place]}-{request.function.__name__}')
    os.mkdir(path)
    yield path
    shutil.rmtree(path)


def run(*command, timeout=110, cwd=None):
    if not shutil.which(command[0]):
        pytest.skip(f'{command[0]} is not installed')
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=timeout, cwd=cwd, check=False)
    text = os.fsdecode(done.stdout + done.stderr)
    assert done.returncode == 0, f'{command}: {done.returncode}\n{text[-4000:]}'
    return text


@pytest.mark.limit(900)
def test_stress_ng(folder, place):
    common = ('stress-ng', '--temp-path', folder, '--verify', '--oomable')
    if LONG:
        left_out = [*ELSEWHERE, *LEFT_OUT[place]]
        text = run(*common, '--timeout', '1s', '--sequential', 1, '--class', 'filesystem', '-x', ','.join(left_out), timeout=600)
    else:
        # All at once.
        stressors = [word for name in SHORT if name not in LEFT_OUT[place] for word in (f'--{name}', 1)]
        text = run(*common, '--timeout', '2s', *stressors)
    failed = [line for line in text.split('\n') if 'fail:' in line]
    assert not failed, '\n'.join(failed)
    assert 'successful run completed' in text, text[-2000:]


FIO = {
    'random writes': ('--rw=randwrite', '--bs=4k', '--size=' + ('16m' if LONG else '4m'), '--numjobs=2', '--do_verify=1',
                      '--ioengine=psync', '--end_fsync=1'),
    'mapped': ('--rw=randrw', '--bs=4k', '--size=' + ('8m' if LONG else '2m'), '--ioengine=mmap'),
}


@pytest.mark.limit(300)
@pytest.mark.parametrize('work', FIO)
def test_fio(folder, work):
    # No room is set aside: a text takes none.
    run('fio', '--name=v', f'--directory={folder}', '--verify=crc32c', '--verify_fatal=1', '--fallocate=none', *FIO[work],
        cwd=folder)


@pytest.mark.limit(300)
def test_dbench(folder):
    text = run('dbench', '-D', folder, '-t', 20 if LONG else 3, '-c', '/usr/share/dbench/client.txt', 2)
    assert 'Throughput' in text and 'failed' not in text, text[-2000:]


@pytest.mark.limit(300)
def test_fs_mark(folder):
    """In its own directory: it takes no path of 40 bytes."""
    run('fs_mark', '-d', '.', '-n', 500 if LONG else 100, '-s', 4096, '-t', 2, '-S', 1, '-L', 1, cwd=folder)
