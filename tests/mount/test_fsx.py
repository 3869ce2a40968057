"""fsx.c on a mount: random work on one file against a model, and every version that closing it left.

By hand, longer: MOOT_LONG=1, or `cc tests/mount/fsx.c && ./a.out -n 1000000 -m 2rf FILE`. MOOT_SEED repeats a run.
"""
import os
import random
import subprocess

import pytest

from conftest import LONG, ROOT, read

SEED = int(os.environ.get('MOOT_SEED', random.SystemRandom().randrange(1 << 32)))
TURNS = range(3 if LONG else 1)
OPERATIONS = 20000 if LONG else 1000
MODES = {'all': '', 'no mmap': 'm', 'close and reopen': 'r', 'fsync and forget': 'f', 'two descriptors': '2rf'}


@pytest.fixture(scope='module')
def fsx(tmp_path_factory):
    program = tmp_path_factory.mktemp('fsx') / 'fsx'
    source = os.path.join(ROOT, 'tests/mount/fsx.c')
    subprocess.run(['cc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source], check=True, timeout=60)
    return program


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.limit(600)
@pytest.mark.parametrize('turn', TURNS)
@pytest.mark.parametrize('modes', MODES)
@pytest.mark.parametrize('name', ['document.bin', '.scratch'])
def test_as_the_model(shared_mount, fsx, name, modes, turn):
    seed = SEED + turn
    path = shared_mount.path(f'{seed}-{MODES[modes]}-{name}' if name[0] != '.' else f'{name}-{seed}-{MODES[modes]}')
    run(fsx, '-s', seed, '-n', OPERATIONS, '-m', MODES[modes], path)
    shared_mount.sh('sync')
    before = read(path)
    os.unlink(path)
    assert len(before) <= 256 * 1024


@pytest.mark.limit(900)
@pytest.mark.parametrize('turn', TURNS)
@pytest.mark.parametrize('modes', ['r', 'rm', '2rf'])
def test_every_close_is_a_version(shared_mount, fsx, modes, turn):
    """The same number, in the same order, with the same bytes; also after a restart."""
    seed = SEED + turn
    name = f'versions-{modes}-{seed}.md'
    left = os.path.join(shared_mount.outside, name)
    os.mkdir(left)
    run(fsx, '-s', seed, '-n', OPERATIONS, '-l', 100000, '-m', modes, '-w', left, shared_mount.path(name))
    expected = [read(os.path.join(left, file)) for file in sorted(os.listdir(left))]
    assert len(expected) > OPERATIONS / 100
    shared_mount.wait_signed(name, timeout=60)
    assert same(shared_mount.texts(name), expected), f'MOOT_SEED={seed}'
    shared_mount.restart()
    assert same(shared_mount.texts(name), expected), f'MOOT_SEED={seed}'
    assert read(shared_mount.path(name)) == expected[-1]


def same(actual, expected):
    """Not compared by pytest, which would show all of them."""
    if actual == expected:
        return True
    differing = next((turn for turn, (one, two) in enumerate(zip(actual, expected)) if one != two), 'the last')
    print(f'{len(actual)} versions, should be {len(expected)}; the first that differs is {differing}')
    return False
