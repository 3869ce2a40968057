"""Scripts of system calls for a Tape (calls.py): what POSIX and Linux say of files, directories and names.

A script works in the folders a/ and b/, and makes no difference by what a call gave: so it can run on two file
systems and be compared line by line.
"""
import fcntl
import os
import random
import stat
from mmap import MAP_PRIVATE, MAP_SHARED

from calls import BLOCK, EXCHANGE, KEEP_SIZE, MS_ASYNC, NOREPLACE, PAGE, PUNCH_HOLE, ZERO_RANGE

RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREATE, EXCL, TRUNC, APPEND = os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND
SCRIPTS = {}


def script(function):
    SCRIPTS[function.__name__] = function
    return function


# ---- reading and writing ----

@script
def append(do):
    do.put('a/f', b'begin ')
    one, two = do.open('a/f', WR | APPEND), do.open('a/f', RW | APPEND)
    for turn in range(4):
        do.write(one, b'one%d ' % turn)
        do.write(two, b'two%d ' % turn)
    do.lseek(one, 0)
    do.write(one, b'at the end all the same')
    do.lseek(one, 0, os.SEEK_CUR)
    do.pwrite(two, b'!', 3)  # appends, on Linux
    do.truncate('a/f', 2)
    do.write(one, b' after')
    do.pread(two, 100, 0)
    do.writev(one, b'x', b'', b'yz')
    do.flags(one, 0)
    do.pwrite(one, b'B', 0)
    do.cat('a/f')
    mapped = do.map(two, PAGE)
    do.store(mapped, 1, b'mapped')  # appends never
    do.unmap(mapped)
    do.fsync(two)
    do.cat('a/f')


@script
def truncating_opens(do):
    do.put('a/f', b'text')
    do.open('a/f', CREATE | EXCL | WR)
    do.open('a/f', RD | CREATE)
    one = do.open('a/f', RD)
    two = do.open('a/f', WR | TRUNC)
    do.fstat(one)
    do.read(one, 10)
    do.write(two, b'new')
    do.read(one, 10)
    do.open('a/f', RD | TRUNC)  # Linux truncates
    do.stat('a/f')
    do.open('a/new', RD | CREATE | EXCL)
    do.stat('a/new')
    do.open('a/none', WR | TRUNC)
    do.mkdir('a/d')
    for flags in (WR, RW, RD | CREATE, RD | TRUNC, WR | CREATE | EXCL, RD | os.O_DIRECTORY, RD | os.O_DIRECTORY | CREATE):
        do.open('a/d', flags)
    do.open('a/f', os.O_DIRECTORY)
    do.open('a/x', os.O_TMPFILE | RD)
    do.write(do.open('a/f', RD), b'x')
    do.read(do.open('a/f', WR), 1)
    do.read(do.open('a/d', RD), 1)
    do.write(do.open('a/f', os.O_PATH), b'x')


@script
def sparse(do):
    file = do.create('a/f')
    do.pwrite(file, b'far', 300000)
    do.pread(file, 10, 0)
    do.pread(file, 10, 299998)
    do.pwrite(file, b'x' * 5000, 65536 - 2500)
    do.pread(file, 5010, 65536 - 2505)
    do.fstat(file)
    do.pread(file, 10, 300003)
    do.pread(file, 10, 400000)
    do.pwrite(file, b'', 500000)
    do.fstat(file)
    do.close(file)
    do.cat('a/f')
    do.truncate('a/f', 1000000)
    do.cat('a/f')


@script
def random_writes(do):
    rng = random.Random(7)
    file, other = do.create('a/f'), do.open('a/f', RW)
    for turn in range(60):
        content, offset = rng.randbytes(rng.choice((1, 100, 4096, 20000))), rng.randrange(120000)
        do.pwrite(rng.choice((file, other)), content, offset)
        do.pread(rng.choice((file, other)), 30000, rng.randrange(120000))
        if turn % 20 == 10:
            do.close(other)
            other = do.open('a/f', RW)
    do.cat('a/f')


@script
def offsets_at_the_edge(do):
    file = do.create('a/f')
    for offset in (-1, -(1 << 62)):
        do.pwrite(file, b'x', offset)
        do.pread(file, 1, offset)
        do.lseek(file, offset)
        do.ftruncate(file, offset)
    do.lseek(file, 5, os.SEEK_END)
    do.lseek(file, -6, os.SEEK_CUR)
    do.lseek(file, 0, 77)
    do.pread(file, 1, (1 << 63) - 1)
    do.read(file, 0)
    do.write(file, b'')
    do.fstat(file)


@script
def truncations(do):
    file = do.create('a/f')
    do.write(file, b'0123456789' * 9000)
    for size in (90000, 65536, 65537, 65535, 4097, 4096, 1, 0, 5, 70000, 200000, 3):
        do.ftruncate(file, size)
        do.fstat(file)
        do.pread(file, 20, max(0, size - 10))
        do.truncate('a/f', size + 1)
        do.stat('a/f')
    do.ftruncate(file, 10)
    do.ftruncate(file, 100)  # what was cut off is zeroes
    do.pread(file, 100, 0)
    do.ftruncate(do.open('a/f', RD), 0)
    do.truncate('a/none', 0)
    do.mkdir('a/d')
    do.truncate('a/d', 0)
    do.write(file, b'at the old place')
    do.close(file)
    do.cat('a/f')


@script
def duplicates(do):
    file = do.create('a/f')
    other = do.dup(file)
    do.write(file, b'one')
    do.write(other, b'two')
    do.lseek(file, 1)
    do.read(other, 3)
    do.close(file)
    do.write(other, b'three')
    do.stat('a/f')
    do.cat('a/f')
    do.close(other)
    do.write(other, b'x')
    do.cat('a/f')


@script
def syncs(do):
    one, two = do.create('a/f'), do.open('a/f', RW)
    do.write(one, b'by one')
    do.fsync(two)
    do.fdatasync(two)
    do.pwrite(two, b'BY TWO', 0)
    do.fsync(one)
    do.sync_file_range(one)
    do.unlink('a/f')
    do.fsync(two)
    do.fdatasync(one)
    for folder in ('a', 'b'):
        do.fsync(do.open(folder))
        do.fdatasync(do.open(folder))
    do.fsync(do.open('a/g', RD | CREATE))


@script
def direct(do):
    file = do.open('a/f', RW | CREATE | os.O_DIRECT)
    do.direct_write(file, b'd' * 2 * BLOCK, 0)
    do.direct_read(file, BLOCK, BLOCK)
    do.direct_read(file, BLOCK, 2 * BLOCK)
    other = do.open('a/f', RW)
    do.pwrite(other, b'cached', 10)
    do.direct_read(file, BLOCK, 0)
    do.direct_write(file, b'e' * BLOCK, 0)
    do.pread(other, 20, 0)
    do.cat('a/f')


@script
def holes(do):
    file = do.create('a/f')
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        do.lseek(file, 0, whence)
    do.write(file, b'x' * 100)
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for offset in (0, 50, 99, 100, 101, -1):
            do.lseek(file, offset, whence)


@script
def allocate(do):
    file = do.create('a/f')
    do.fallocate(file, 0, 0, 5000)
    do.fallocate(file, KEEP_SIZE, 0, 9000)
    do.fstat(file)
    do.write(file, b'x' * 9000)
    do.fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, 4096)
    do.fallocate(file, ZERO_RANGE, 4096, 100)
    do.fallocate(file, PUNCH_HOLE, 0, 1)
    do.fallocate(file, 0, 0, 0)
    do.fallocate(file, 0, -1, 5)
    do.fallocate(do.open('a/f', RD), 0, 0, 5)
    do.fstat(file)
    do.pread(file, 9000, 0)


@script
def copies_in_the_kernel(do):
    do.put('a/f', bytes(range(256)) * 600)
    source, target = do.open('a/f'), do.create('b/g')
    do.copy_range(source, target, 100000)
    do.copy_range(source, target, 100000)
    do.copy_range(source, target, 100000)
    do.cat('b/g')
    do.copy_range(source, target, 5000, 65500, 10)
    do.copy_range(source, target, 10, 153599, 300000)
    do.pread(target, 12000, 0)
    do.fstat(target)
    do.copy_range(target, source, 10, 0, 0)
    other = do.open('a/f', RW)
    do.copy_range(other, other, 100, 0, 50)  # overlaps
    do.copy_range(other, other, 100, 0, 1000)
    do.copy_range(source, do.open('b/g', WR | APPEND), 10, 0, 0)
    do.copy_range(source, target, 0, 0, 0)
    do.copy_range(source, do.open('b'), 10, 0, 0)
    pipe_like = do.open('b/g', RD)
    do.sendfile(target, source, 20, 5000)
    do.sendfile(target, source, 153600, 50)
    do.sendfile(pipe_like, source, 0, 50)
    do.lseek(source, 7)
    do.splice(source, target, 3000)
    do.splice(target, source, 10)
    do.cat('b/g')
    do.cat('a/f')


# ---- mapped ----

@script
def mapped_shared(do):
    file = do.create('a/f')
    do.write(file, b'.' * (2 * PAGE + 10))
    mapped, again = do.map(file, 3 * PAGE), do.map(file, 3 * PAGE)
    do.store(mapped, 5, b'stored')
    do.load(again, 0, 20)
    do.pread(file, 20, 0)
    do.pwrite(file, b'written', PAGE)
    do.load(mapped, PAGE - 5, 20)
    do.store(mapped, 2 * PAGE + 5, b'within and beyond the end')
    do.msync(mapped)
    do.msync(again, MS_ASYNC)
    do.fstat(file)
    do.cat('a/f')
    do.ftruncate(file, 2 * PAGE + 2)
    do.ftruncate(file, 2 * PAGE + 20)
    do.load(mapped, 2 * PAGE, 20)
    do.close(file)
    do.store(mapped, 0, b'after the close')
    do.cat('a/f')
    do.unmap(mapped)
    do.unmap(again)
    do.cat('a/f')


@script
def mapped_private(do):
    do.put('a/f', b'p' * PAGE)
    file = do.open('a/f')
    mapped = do.map(file, PAGE, MAP_PRIVATE)
    do.store(mapped, 3, b'mine alone')
    do.cat('a/f')
    other = do.open('a/f', RW)
    do.load(mapped, 0, 20)
    do.map(file, PAGE, MAP_SHARED)  # read only file
    shown = do.map(file, PAGE, MAP_SHARED, False)
    do.pwrite(other, b'theirs', 0)
    do.load(shown, 0, 10)
    do.map(do.open('a/f', WR), PAGE, MAP_SHARED, False)
    do.map(do.open('a'), PAGE, MAP_SHARED, False)
    do.unmap(mapped)
    do.cat('a/f')


@script
def mapped_unlinked_and_renamed(do):
    do.put('a/f', b'm' * PAGE)
    do.put('a/g', b'g' * PAGE)
    one, two = do.open('a/f', RW), do.open('a/g', RW)
    first, second = do.map(one, PAGE), do.map(two, PAGE)
    do.close(one)
    do.close(two)
    do.unlink('a/f')
    do.rename('a/g', 'b/h')
    do.store(first, 0, b'nowhere')
    do.store(second, 0, b'moved along')
    do.msync(first)
    do.msync(second)
    do.load(first, 0, 9)
    do.cat('b/h')
    do.put('a/f', b'another')
    do.unmap(first)
    do.unmap(second)
    do.cat('a/f')
    do.cat('b/h')


@script
def mapped_grows(do):
    file = do.create('a/f')
    mapped = do.map(file, 4 * PAGE)
    do.ftruncate(file, 3 * PAGE)
    do.load(mapped, PAGE, 5)
    do.store(mapped, 2 * PAGE, b'in the hole')
    do.pread(file, 20, 2 * PAGE)
    do.ftruncate(file, PAGE)
    do.ftruncate(file, 3 * PAGE)
    do.load(mapped, 2 * PAGE, 11)
    do.pread(file, 20, 2 * PAGE)
    do.store(mapped, PAGE, b'again')
    do.unmap(mapped)
    do.close(file)
    do.cat('a/f')


# ---- what stands beside the bytes ----

@script
def permissions(do):
    do.put('a/f', b'#!/bin/sh\necho ran\n')
    do.access('a/f', os.X_OK)
    for mode in (0o755, 0o700, 0o000, 0o444, 0o4755, 0o2755, 0o1777, 0o644, 0o111, 0o755):
        do.chmod('a/f', mode)
        do.stat('a/f')
    do.access('a/f', os.X_OK)
    do.execute('a/f')
    do.rename('a/f', 'b/f')
    do.execute('b/f')
    do.stat('b/f')
    do.mkdir('a/d', 0o700)
    do.chmod('a/d', 0o1755)
    do.stat('a/d')
    file = do.open('a/g', WR | CREATE, 0o400)
    do.write(file, b'by the one who made it')
    do.fchmod(file, 0o751)
    do.stat('a/g')
    do.chown('a/g', 1234, 2345)
    do.stat('a/g')
    do.chown('a/g', 4321, -1)
    do.chown('a/d', -1, 99)
    do.stat('a/g')
    do.stat('a/d')
    do.chmod('a/none', 0o644)
    do.chown('a/none', 1, 1)
    do.symlink(b'g', 'a/l')
    do.chmod('a/l', 0o600)
    do.stat('a/g')


@script
def times(do):
    do.put('a/f', b'f')
    do.mkdir('a/d')
    do.symlink(b'f', 'a/l')
    for path in ('a/f', 'a/d', 'a/l'):
        for ns in (1, 10 ** 18 + 123456789, 0, 4 * 10 ** 18, 1600000000 * 10 ** 9):
            do.utime(path, ns)
            do.mtime(path)
    file = do.open('a/f', RW)
    do.futime(file, 10 ** 18)
    do.mtime('a/f')
    do.read(file, 1)
    do.write(file, b'')
    do.mtime('a/f')
    do.chmod('a/f', 0o600)
    do.rename('a/f', 'b/f')
    do.mtime('b/f')
    do.futime(file, 10 ** 18 + 5)
    do.close(file)
    do.mtime('b/f')
    do.put('b/g', b'g')
    do.utime('b/g', 10 ** 18)
    do.rename('b/f', 'b/g')
    do.mtime('b/g')


@script
def times_go_on(do):
    file = do.create('a/f')
    do.mkdir('a/d')
    for path in ('a/f', 'a/d', 'a'):
        do.utime(path, 10 ** 18)
        do.newer(path)
    do.write(file, b'x')
    do.newer('a/f')
    do.newer('a/d')
    do.utime('a/f', 10 ** 18)
    do.newer('a/f')
    do.ftruncate(file, 0)
    do.newer('a/f')
    for change, *paths in (('put', 'a/d/x', b'x'), ('rename', 'a/d/x', 'a/d/y'), ('unlink', 'a/d/y'), ('mkdir', 'a/d/s'),
                           ('rmdir', 'a/d/s'), ('symlink', b't', 'a/d/l')):
        do.utime('a/d', 10 ** 18)
        do.newer('a/d')
        getattr(do, change)(*paths)
        do.newer('a/d')


@script
def free_space(do):
    do.put('a/f', b'f')
    for path in ('a', 'b', 'a/f'):
        do.statfs(path)


@script
def locks(do):
    one, two = do.create('a/f'), do.open('a/f', RW)
    do.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    do.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    do.flock(one, fcntl.LOCK_SH)
    do.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    do.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    do.flock(one, fcntl.LOCK_UN)
    do.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    do.lock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    do.lock(two, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
    do.lock(do.open('a/f'), fcntl.LOCK_EX | fcntl.LOCK_NB)
    do.flock(do.open('a'), fcntl.LOCK_EX | fcntl.LOCK_NB)


@script
def listings(do):
    for turn in range(40):
        do.put(f'a/file {turn}', b'')
        do.mkdir(f'a/d{turn}')
    directory = do.open('a')
    do.list_open(directory)
    for turn in range(0, 40, 3):
        do.unlink(f'a/file {turn}')
        do.rmdir(f'a/d{turn}')
    do.list_open(directory)
    do.list('a')
    do.list('a/file 1')
    do.list('a/none')


# ---- errnos ----

@script
def errnos(do):
    do.put('a/f', b'f')
    do.mkdir('a/d')
    do.mkdir('a/full')
    do.put('a/full/x', b'x')
    do.symlink(b'none', 'a/dangling')
    do.symlink(b'loop', 'a/loop')
    paths = ('a/f', 'a/d', 'a/full', 'a/none', 'a/dangling', 'a/loop', 'a/f/below', 'a/none/below', 'a/loop/below', 'a/d/none', 'a')
    for path in paths:
        for call, *arguments in (('stat',), ('lstat',), ('open', WR), ('open', RD | CREATE | EXCL), ('readlink',), ('list',),
                                 ('truncate', 1), ('mkdir',), ('symlink', ), ('mknod', stat.S_IFREG | 0o644), ('chmod', 0o755),
                                 ('access', os.R_OK), ('open', RD | os.O_DIRECTORY), ('open', RD | os.O_NOFOLLOW)):
            if call == 'symlink':
                do.symlink(b't', path)
            else:
                getattr(do, call)(path, *arguments)
    for path in paths:
        for other in paths:
            if path != 'a' and other != 'a' and path not in ('a/full',):
                do.rename2(path, other, NOREPLACE)
    for path in paths[:-1]:
        if path != 'a/d':
            do.rename(path, 'a/full')
        do.rmdir(path) if path != 'a/d' else None
    for path in ('a/d', 'a/full', 'a/none', 'a/f/below', 'a/loop/below', 'a/full/x/y'):
        do.unlink(path)
    do.list('a')


# ---- anything at all ----

OPENS = 6
NAMES = ['a/f', 'a/g', 'b/f', 'b/g', 'a/d', 'b/d', 'a/d/x', 'b/d/x', 'a/d/e', 'a/none/x']
CONTENT_SIZES = (0, 1, 10, 100, 4096, 5000, 70000)


def random_call(rng):
    """(call, arguments): an int argument named by ('open', slot) is what that slot holds."""
    path, other, slot = rng.choice(NAMES), rng.choice(NAMES), ('open', rng.randrange(OPENS))
    offset, size = rng.choice((0, 1, 3, 4095, 4096, 65536, 100000)), rng.choice(CONTENT_SIZES)
    content = bytes([rng.randrange(256)]) * size
    flags = rng.choice((RD, WR, RW, RW)) | rng.choice((0, 0, CREATE, CREATE, CREATE | EXCL, TRUNC, CREATE | TRUNC, APPEND | CREATE))
    calls = {
        'open': (6, (path, flags)), 'close': (4, (slot,)), 'dup': (1, (slot,)),
        'read': (2, (slot, size)), 'pread': (4, (slot, size + 10, offset)), 'write': (4, (slot, content)),
        'pwrite': (5, (slot, content, offset)), 'ftruncate': (3, (slot, offset)), 'truncate': (2, (path, offset)),
        'fsync': (1, (slot,)), 'fstat': (4, (slot,)), 'fchmod': (1, (slot, rng.choice((0o644, 0o755, 0o600)))),
        'futime': (1, (slot, 10 ** 18 + offset)), 'lseek': (1, (slot, offset)),
        'copy_range': (2, (slot, ('open', rng.randrange(OPENS)), size, offset, rng.choice((0, 50, 200000)))),
        'put': (4, (path, content)), 'cat': (4, (path,)), 'stat': (4, (path,)), 'lstat': (2, (path,)),
        'unlink': (4, (path,)), 'mkdir': (3, (path,)), 'rmdir': (2, (path,)), 'list': (3, (path,)),
        'rename': (7, (path, other)), 'rename2': (3, (path, other, rng.choice((NOREPLACE, EXCHANGE)))),
        'symlink': (1, (b'f', path)), 'readlink': (1, (path,)), 'chmod': (2, (path, rng.choice((0o644, 0o755, 0o640)))),
        'utime': (1, (path, 10 ** 18 + offset)),
    }
    call = rng.choices(list(calls), [weight for weight, _ in calls.values()])[0]
    return call, calls[call][1]
