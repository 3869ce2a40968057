"""Random work on the mount beside the same work on a plain folder: same errors, same trees, same bytes.

The seed is printed; MOOT_SEED repeats one.
"""
import errno
import mmap
import os
import random
import stat

import pytest

from conftest import LONG, read, wait_until

SEED = int(os.environ.get('MOOT_SEED', random.SystemRandom().randrange(1 << 32)))
NAMES = ('a.md', 'b.md', 'c', 'd.txt', '.hidden', 'x~')
FOLDERS = ('.', 'one', 'two', 'one/deep')


def random_path(rng):
    return os.path.normpath(os.path.join(rng.choice(FOLDERS), rng.choice(NAMES + FOLDERS[1:3])))


def random_bytes(rng):
    return rng.randbytes(rng.choice((0, 1, 10, 5000, 70000)))


def put(path, flags, text, offset):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        if offset is not None:
            os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, text)
    finally:
        os.close(fd)


def random_action(rng):
    """(name, function of a root): the same for both roots."""
    path, other = random_path(rng), random_path(rng)
    text, offset = random_bytes(rng), rng.choice((0, 3, 4096, 100000))
    return rng.choice((
        (f'write {path}', lambda root: put(f'{root}/{path}', os.O_CREAT | os.O_TRUNC, text, None)),
        (f'write {path}', lambda root: put(f'{root}/{path}', os.O_CREAT | os.O_TRUNC, text, None)),
        (f'create {path}', lambda root: put(f'{root}/{path}', os.O_CREAT | os.O_EXCL, text, None)),
        (f'append {path}', lambda root: put(f'{root}/{path}', os.O_APPEND, text, None)),
        (f'write {path} at {offset}', lambda root: put(f'{root}/{path}', 0, text, offset)),
        (f'truncate {path} to {offset}', lambda root: os.truncate(f'{root}/{path}', offset)),
        (f'rename {path} {other}', lambda root: os.rename(f'{root}/{path}', f'{root}/{other}')),
        (f'rename {path} {other}', lambda root: os.rename(f'{root}/{path}', f'{root}/{other}')),
        (f'unlink {path}', lambda root: os.unlink(f'{root}/{path}')),
        (f'mkdir {path}', lambda root: os.mkdir(f'{root}/{path}')),
        (f'rmdir {path}', lambda root: os.rmdir(f'{root}/{path}')),
        (f'symlink {path}', lambda root: os.symlink('a.md', f'{root}/{path}')),
        (f'chmod {path}', lambda root: os.chmod(f'{root}/{path}', 0o640 + offset % 2 * 0o100)),
        (f'read {path}', lambda root: read(f'{root}/{path}')),
        (f'list {path}', lambda root: sorted(os.listdir(f'{root}/{path}'))),
    ))


def outcome(action, root):
    try:
        return action(root)
    except OSError as error:
        return errno.errorcode[error.errno]


def tree(root):
    found = {}
    for directory, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            text = os.readlink(path) if stat.S_ISLNK(kind) else read(path) if stat.S_ISREG(kind) else None
            mode = stat.S_IMODE(status.st_mode) if not stat.S_ISLNK(kind) else None
            found[os.path.relpath(path, root)] = kind, mode, status.st_size if text is not None else None, text
    return found


def differences(expected, actual):
    """What is not the same, in a few words; empty if all is."""
    told = []
    for path in sorted(expected.keys() | actual.keys()):
        if expected.get(path) != actual.get(path):
            told.append(f'{path}: is {brief(actual.get(path))}, should be {brief(expected.get(path))}')
    return told


def brief(entry):
    if not entry:
        return 'not there'
    kind, mode, size, text = entry
    return f'{stat.filemode(kind | (mode or 0))} {size} bytes {hash(text) & 0xffff:04x}'


def is_hidden(path):
    return any(part.startswith('.') or part.endswith('~') for part in path.split('/'))


def crosses(name):
    """Scratch other than files cannot be renamed to a document's name and back: EXDEV or EPERM is right."""
    words = name.split()
    return words[0] == 'rename' and is_hidden(words[1]) != is_hidden(words[2])


def is_plain_file(path):
    return os.path.isfile(path) and not os.path.islink(path)


@pytest.mark.limit(300)
def test_a_tree_behaves_as_on_any_disk(mount):
    print(f'MOOT_SEED={SEED}')
    rng = random.Random(SEED)
    plain = os.path.join(mount.base, 'plain')
    os.mkdir(plain)
    roots = plain, mount.own
    done = []
    for turn in range(4000 if LONG else 800):
        name, action = random_action(rng)
        if crosses(name) and not is_plain_file(f'{plain}/{name.split()[1]}'):
            continue
        done.append(name)
        expected, actual = (outcome(action, root) for root in roots)
        assert actual == expected, f'MOOT_SEED={SEED}: {done[-12:]}'
        if turn % 50 == 0:
            assert not differences(tree(plain), tree(mount.own)), f'MOOT_SEED={SEED}: {done[-50:]}'
    assert not differences(tree(plain), tree(mount.own)), f'MOOT_SEED={SEED}: {done[-50:]}'
    mount.kill9()
    mount.mount()
    assert not differences(tree(plain), tree(mount.own)), f'MOOT_SEED={SEED}, after a kill'
    mount.restart()
    assert not differences(tree(plain), tree(mount.own)), f'MOOT_SEED={SEED}, after a restart'


def work_on_handle(rng, fd, model):
    """A few writes, truncations and mapped stores; the model does the same."""
    for _ in range(rng.randrange(1, 8)):
        offset = rng.randrange(0, 200000)
        text = rng.randbytes(rng.choice((1, 100, 4096, 70000)))
        kind = rng.randrange(4)
        if kind == 0:
            os.ftruncate(fd, offset)
            del model[offset:]
            model.extend(bytes(offset - len(model)))
        elif kind == 1 and model:
            with mmap.mmap(fd, len(model)) as memory:
                at = min(offset, len(model) - 1)
                memory[at:at + 1] = text[:1]
                model[at:at + 1] = text[:1]
        else:
            os.pwrite(fd, text, offset)
            model.extend(bytes(max(0, offset - len(model))))
            model[offset:offset + len(text)] = text
        size = rng.randrange(0, 100000)
        assert os.pread(fd, size, offset) == bytes(model[offset:offset + size]), f'MOOT_SEED={SEED}'
        assert os.fstat(fd).st_size == len(model), f'MOOT_SEED={SEED}'
        if rng.randrange(6) == 0:
            os.fsync(fd)


@pytest.mark.limit(300)
def test_every_version_of_a_torn_about_file(mount):
    """Writes, truncations and mapped stores through several opens: each close that changed bytes is a version."""
    print(f'MOOT_SEED={SEED}')
    rng = random.Random(SEED)
    model = bytearray(b'begin')
    path = mount.path('file.bin')
    with open(path, 'wb') as file:
        file.write(model)
    mount.wait_signed('file.bin')
    texts = [bytes(model)]
    for _ in range(300 if LONG else 60):
        fd = os.open(path, os.O_RDWR)
        try:
            work_on_handle(rng, fd, model)
        finally:
            os.close(fd)
        if bytes(model) != texts[-1]:
            texts.append(bytes(model))
        assert read(path) == bytes(model), f'MOOT_SEED={SEED}'
        # The last close is asynchronous where pages were mapped; listing waits for it.
        wait_until(lambda: len(mount.versions('file.bin')) == len(texts), 5, f'a version, MOOT_SEED={SEED}')
    mount.wait_signed('file.bin')
    assert mount.texts('file.bin') == texts, f'MOOT_SEED={SEED}'
