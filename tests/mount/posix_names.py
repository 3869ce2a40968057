"""More scripts of system calls (see posix_scripts.py): names made, renamed and removed, and what may be one."""
import os
import stat

from calls import EXCHANGE, NOREPLACE, WHITEOUT
from posix_scripts import CREATE, EXCL, RD, RW, WR, script


# ---- names: removing and renaming ----

@script
def unlinked_while_open(do):
    file = do.create('a/f')
    do.write(file, b'kept')
    do.unlink('a/f')
    do.fstat(file)
    do.write(file, b' and more')
    do.pread(file, 20, 0)
    do.ftruncate(file, 6)
    do.fchmod(file, 0o600)
    do.futime(file, 10 ** 18)
    do.fstat(file)
    do.stat('a/f')
    do.put('a/f', b'another')
    do.same('a/f', file)
    do.pwrite(file, b'Z', 0)
    do.pread(file, 20, 0)
    do.cat('a/f')
    do.unlink('a/f')
    do.mkdir('a/f')
    do.pread(file, 20, 0)
    again = do.dup(file)
    do.close(file)
    do.write(again, b'last')
    do.fstat(again)
    do.close(again)
    do.rmdir('a/f')
    do.list('a')


@script
def renamed_over_while_open(do):
    do.put('a/f', b'first')
    do.put('a/g', b'second')
    old, new = do.open('a/f', RW), do.open('a/g', RW)
    do.rename('a/g', 'a/f')
    do.fstat(old)
    do.fstat(new)
    do.same('a/f', new)
    do.same('a/f', old)
    do.read(old, 9)
    do.write(old, b' is gone')
    do.write(new, b'ond')
    do.pwrite(new, b'S', 0)
    do.cat('a/f')
    do.pread(old, 30, 0)
    do.close(old)
    do.close(new)
    do.cat('a/f')
    do.stat('a/g')


@script
def renamed_across_while_open(do):
    do.put('a/f', b'first')
    do.put('b/f', b'second')
    one, two = do.open('a/f', RW), do.open('b/f', RW)
    do.pwrite(one, b'not yet closed', 6)
    do.pwrite(two, b'neither', 7)
    do.rename('a/f', 'b/f')
    do.cat('b/f')
    do.same('b/f', one)
    do.fstat(one)
    do.fstat(two)
    do.write(one, b'FIRST and')
    do.write(two, b'SECOND')
    do.cat('b/f')
    do.pread(two, 20, 0)
    do.ftruncate(one, 7)
    do.cat('b/f')
    do.rename('b/f', 'a/back')
    do.pwrite(one, b'x', 8)
    do.cat('a/back')
    do.stat('b/f')
    do.fchmod(one, 0o700)
    do.stat('a/back')
    do.unlink('a/back')
    do.fstat(one)
    do.pread(one, 20, 0)


@script
def rename_to_itself(do):
    do.put('a/f', b'text')
    do.mkdir('a/d')
    do.rename('a/f', 'a/f')
    do.rename('a/d', 'a/d')
    do.rename('a/f', 'a/d/../f')
    do.rename2('a/f', 'a/f', NOREPLACE)
    do.rename2('a/f', 'a/f', EXCHANGE)
    do.cat('a/f')
    do.list('a')


@script
def rename_flags(do):
    do.put('a/f', b'f')
    do.put('a/g', b'g')
    do.mkdir('a/d')
    do.put('a/d/x', b'x')
    do.rename2('a/f', 'a/g', NOREPLACE)
    do.rename2('a/f', 'a/d', NOREPLACE)
    do.rename2('a/none', 'a/g', NOREPLACE)
    do.rename2('a/f', 'b/n', NOREPLACE)
    do.rename2('b/n', 'a/f', NOREPLACE)
    do.rename2('a/f', 'a/none', EXCHANGE)
    do.rename2('a/none', 'a/f', EXCHANGE)
    do.rename2('a/f', 'a/g', EXCHANGE)
    do.cat('a/f')
    do.rename2('a/f', 'a/d', EXCHANGE)
    do.cat('a/f/x')
    do.cat('a/d')
    do.rename2('a/f', 'a/f/x', EXCHANGE)
    do.rename2('a/f/x', 'a/f', EXCHANGE)
    for flags in (NOREPLACE | EXCHANGE, 8, 0x80000000, WHITEOUT | EXCHANGE):
        do.rename2('a/f', 'a/g', flags)
    do.rename2('a/g', 'a/w', WHITEOUT)
    do.list('a')


@script
def exchanged_while_open(do):
    do.put('a/f', b'f')
    do.put('a/g', b'g')
    one, two = do.open('a/f', RW), do.open('a/g', RW)
    do.rename2('a/f', 'a/g', EXCHANGE)
    do.write(one, b'F')
    do.write(two, b'G')
    do.same('a/g', one)
    do.same('a/f', two)
    do.close(one)
    do.close(two)
    do.cat('a/f')
    do.cat('a/g')


@script
def exchanged_across(do):
    do.put('a/f', b'f')
    do.put('b/g', b'g')
    do.rename2('a/f', 'b/g', EXCHANGE)
    do.cat('a/f')
    do.cat('b/g')


@script
def directories_renamed(do):
    for name in ('empty', 'full', 'full/sub', 'other'):
        do.mkdir(f'a/{name}')
    do.put('a/full/x', b'x')
    do.put('a/f', b'f')
    do.rename('a/empty', 'a/full')
    do.rename('a/full', 'a/full/sub/in')
    do.rename('a/full', 'a/full/sub')
    do.rename('a/full', 'a/f')
    do.rename('a/f', 'a/full')
    do.rename('a/full/sub', 'a/full')  # its own parent
    do.rename('a/full', 'a/other')
    do.cat('a/other/x')
    do.list('a')
    do.rename('a/other', 'a/empty')
    do.rename('a/empty/x', 'a/x')
    do.rename('a/x', 'a/none/x')
    do.rename('a/none', 'a/y')
    do.rename('a/empty/.', 'a/z')
    do.rename('a/empty', 'a/z/..')
    do.rename('a/empty/..', 'a/q')
    do.rmdir('a/empty')
    do.rmdir('a/empty/sub')
    do.rmdir('a/empty')
    do.rmdir('a/empty')
    do.list('a')


@script
def directories_renamed_across(do):
    do.mkdir('a/d')
    do.mkdir('a/d/e')
    do.put('a/d/e/f', b'deep')
    inside = do.open('a/d/e/f', RW)
    do.rename('a/d', 'b/moved')
    do.write(inside, b'DEEP')
    do.cat('b/moved/e/f')
    do.list('a')
    do.mkdir('a/top')
    do.rename('b/moved', 'a/top/in')
    do.rename('a/top', 'a/top/in/e/x')
    do.close(inside)
    do.cat('a/top/in/e/f')


@script
def trailing_slashes(do):
    do.put('a/f', b'f')
    do.mkdir('a/d')
    do.symlink(b'd', 'a/l')
    do.symlink(b'none', 'a/dangling')
    for path in ('a/f/', 'a/d/', 'a/l/', 'a/none/', 'a/dangling/', 'a/f/.', 'a/d/.', 'a/d//', 'a/f/x'):
        do.stat(path)
        do.open(path, RD)
        do.open(path, WR | CREATE)
        do.unlink(path)
    do.rename('a/f', 'a/g/')
    do.rename('a/f/', 'a/g')
    do.rename('a/d/', 'a/e/')
    do.rename('a/e/', 'a/d')
    do.mkdir('a/new/')
    do.mkdir('a/f/')
    do.mkdir('a/dangling/')
    do.rmdir('a/l/')
    do.rmdir('a/f/')
    do.rmdir('a/new/')
    do.symlink(b't', 'a/link/')
    do.link('a/f', 'a/hard/')
    do.rename('a/l/', 'a/m')
    do.rename('a/l', 'a/m')
    do.list('a')


@script
def dots(do):
    do.mkdir('a/d')
    for path in ('a/d/.', 'a/d/..', 'a/.', 'a/..'):
        do.stat(path)
        do.rmdir(path)
        do.unlink(path)
        do.mkdir(path)
        do.open(path, WR | CREATE)
        do.rename(path, 'a/x')
        do.rename('a/d', path)
    do.list('a')


@script
def removed_directory(do):
    do.mkdir('a/d')
    directory = do.open('a/d')
    do.rmdir('a/d')
    do.fstat(directory)
    do.openat(directory, b'x', WR | CREATE)
    do.openat(directory, b'x', RD)
    do.openat(directory, b'.', RD)
    do.list_open(directory)
    do.mkdir('a/d')
    do.openat(directory, b'x', WR | CREATE)
    do.list('a/d')
    do.close(directory)


@script
def made_below_a_renamed_directory(do):
    do.mkdir('a/d')
    directory = do.open('a/d')
    do.rename('a/d', 'b/e')
    file = do.openat(directory, b'f', WR | CREATE)
    do.write(file, b'here')
    do.close(file)
    do.cat('b/e/f')
    do.list('b/e')
    do.mkdir('a/d')
    do.list('a/d')


# ---- names: what may be one ----

@script
def long_names(do):
    do.put('a/' + 'x' * 255, b'long')
    do.cat('a/' + 'x' * 255)
    do.rename('a/' + 'x' * 255, 'b/' + 'y' * 255)
    do.rename('b/' + 'y' * 255, 'a/' + 'ü' * 127)
    do.list('a')
    do.unlink('a/' + 'ü' * 127)
    do.mkdir('a/' + 'd' * 255)
    do.rmdir('a/' + 'd' * 255)
    for name in ('x' * 256, 'ü' * 128, 'z' * 1000):
        do.stat(f'a/{name}')
        do.put(f'a/{name}', b'')
        do.mkdir(f'a/{name}')
        do.symlink(b't', f'a/{name}')
        do.mknod(f'a/{name}', stat.S_IFREG | 0o644)
        do.unlink(f'a/{name}')
        do.rmdir(f'a/{name}')
        do.rename('a', f'b/{name}')
        do.readlink(f'a/{name}')
    do.stat('a/' + 'p/' * 2100)
    deep = 'a'
    for _ in range(60):
        deep += '/' + 'n' * 60
        do.mkdir(deep)
    do.put(deep + '/f', b'deep')
    do.cat(deep + '/f')


@script
def utf8_names(do):
    for name in ('ümlaut', '日本語.md', 'e\u0301', '\u00e9', '🙂', 'a b', 'new\nline', 'tab\t', '-dash', '\u202eright', '\ufeff'):
        do.put(f'a/{name}', name.encode())
        do.rename(f'a/{name}', f'b/{name}')
        do.cat(f'b/{name}')
        do.stat(f'a/{name}')
    do.list('b')


@script
def names_that_are_no_utf8(do):
    name = os.fsdecode(b'x\xff\xfe')
    do.put('a/f', b'f')
    do.put(f'a/{name}', b'x')
    do.mkdir(f'a/{name}d')
    do.symlink(b't', f'a/{name}l')
    do.rename('a/f', f'a/{name}r')
    do.list('a')
    do.stat(f'a/{name}')


@script
def names_that_end_in_an_at(do):
    do.put('a/f', b'f')
    do.put('a/x@', b'x')
    do.mkdir('a/d@')
    do.symlink(b't', 'a/l@')
    do.rename('a/f', 'a/r@')
    do.list('a')


@script
def symlinks(do):
    do.put('a/f', b'f')
    do.mkdir('a/d')
    do.put('a/d/g', b'g')
    for name, target in (('l', b'f'), ('dl', b'd'), ('out', b'd/h'), ('loop', b'loop'), ('two', b'one'), ('one', b'two'),
                         ('dangling', b'none'), ('abs', b'/nowhere/at/all'), ('long', b'x' * 1000), ('odd', b'\xff\n')):
        do.symlink(target, f'a/{name}')
        do.readlink(f'a/{name}')
        do.lstat(f'a/{name}')
        do.stat(f'a/{name}')
    do.symlink(b'', 'a/empty')
    do.symlink(b'x' * 4095, 'a/longest')
    do.symlink(b'x' * 4096, 'a/toolong')
    do.symlink(b'f', 'a/l')
    do.cat('a/l')
    do.cat('a/dl/g')
    do.put('a/out', b'through')
    do.cat('a/d/h')
    do.put('a/l', b'changed')
    do.cat('a/f')
    do.open('a/loop', RD)
    do.open('a/one', RD)
    do.open('a/l', RD | os.O_NOFOLLOW)
    do.open('a/dangling', WR | CREATE | EXCL)
    do.open('a/dangling', RD)
    do.put('a/dangling', b'made')
    do.cat('a/none')
    do.readlink('a/f')
    do.readlink('a/d')
    do.rename('a/l', 'a/l2')
    do.rename('a/dl', 'a/d/dl')
    do.rename('a/l2', 'a/f')
    do.lstat('a/f')
    do.rmdir('a/dl')
    do.unlink('a/dl')
    do.truncate('a/loop', 0)
    do.chmod('a/loop', 0o600)
    do.list('a')


@script
def hard_links(do):
    do.put('a/f', b'f')
    do.link('a/f', 'a/g')
    do.link('a/f', 'b/g')
    do.link('a', 'a/d')
    do.link('a/f', 'a/g')
    do.link('a/none', 'a/h')
    do.stat('a/f')
    do.list('a')


@script
def special_files(do):
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR):
        do.mknod('a/special', kind | 0o644, os.makedev(1, 3))
        do.lstat('a/special')
        do.unlink('a/special')
    do.mknod('a/f', stat.S_IFREG | 0o600)
    do.mknod('a/f', stat.S_IFREG | 0o600)
    do.mknod('a/dir', stat.S_IFDIR | 0o700)
    do.stat('a/f')
