"""Bad input is refused with a clear errno and changes nothing; odd but good input is kept."""
import errno
import os
import socket
import stat

import pytest

from conftest import read, wait_until, write


@pytest.fixture(scope='module')
def folder(shared_mount):
    write(shared_mount.path('notes.md'), 'one\n')
    shared_mount.wait_signed('notes.md')
    write(shared_mount.path('notes.md'), 'two\n')
    shared_mount.wait_signed('notes.md')
    os.mkdir(shared_mount.path('guides'))
    write(shared_mount.path('guides/soil.md'), 'soil\n')
    shared_mount.wait_signed('guides/soil.md')
    return shared_mount


def refuses(code, action):
    with pytest.raises(OSError) as refused:
        action()
    assert errno.errorcode[refused.value.errno] == errno.errorcode[code]


def put(path, text='x'):
    """What a shell's echo does: one write, whose error counts."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode() + b'\n')
    finally:
        os.close(fd)


def create(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))


# name, errno, action on the person's own folder
REFUSED = [
    ('create a name ending in @', errno.EINVAL, lambda d: create(f'{d}/x@')),
    ('mkdir a name ending in @', errno.EINVAL, lambda d: os.mkdir(f'{d}/x@')),
    ('symlink of a name ending in @', errno.EINVAL, lambda d: os.symlink('t', f'{d}/x@')),
    ('rename to a name ending in @', errno.EINVAL, lambda d: os.rename(f'{d}/notes.md', f'{d}/x@')),
    ('invalid UTF-8', errno.EINVAL, lambda d: create(os.fsencode(d) + b'/x\xff')),
    ('mkdir invalid UTF-8', errno.EINVAL, lambda d: os.mkdir(os.fsencode(d) + b'/x\xff')),
    ('rename to invalid UTF-8', errno.EINVAL, lambda d: os.rename(os.fsencode(d) + b'/notes.md', os.fsencode(d) + b'/x\xff')),
    ('name too long', errno.ENAMETOOLONG, lambda d: create(f'{d}/{"x" * 256}')),
    ('exists', errno.EEXIST, lambda d: create(f'{d}/notes.md')),
    ('mkdir over a document', errno.EEXIST, lambda d: os.mkdir(f'{d}/notes.md')),
    ('no such directory', errno.ENOENT, lambda d: create(f'{d}/none/x')),
    ('below a document', errno.ENOTDIR, lambda d: create(f'{d}/notes.md/x')),
    ('hard link', errno.EPERM, lambda d: os.link(f'{d}/notes.md', f'{d}/linked.md')),
    ('fifo', errno.EPERM, lambda d: os.mkfifo(f'{d}/fifo')),
    ('device', errno.EPERM, lambda d: os.mknod(f'{d}/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))),
    ('rmdir of what is not empty', errno.ENOTEMPTY, lambda d: os.rmdir(f'{d}/guides')),
    ('rmdir of a document', errno.ENOTDIR, lambda d: os.rmdir(f'{d}/notes.md')),
    ('unlink of a directory', errno.EISDIR, lambda d: os.unlink(f'{d}/guides')),
    ('directory into itself', errno.EINVAL, lambda d: os.rename(f'{d}/guides', f'{d}/guides/x')),
    ('document over a directory', errno.EISDIR, lambda d: os.rename(f'{d}/notes.md', f'{d}/guides')),
    ('directory over a document', errno.ENOTDIR, lambda d: os.rename(f'{d}/guides', f'{d}/notes.md')),
    ('larger than a document may be', errno.EFBIG, lambda d: os.truncate(f'{d}/notes.md', (1 << 30) + 1)),
    ('write to a version', errno.EACCES, lambda d: os.open(f'{d}/notes.md@/versions/1', os.O_WRONLY)),
    ('truncate a version', (errno.EACCES, errno.EPERM), lambda d: os.truncate(f'{d}/notes.md@/versions/1', 0)),
    ('remove a version', (errno.EACCES, errno.EPERM), lambda d: os.unlink(f'{d}/notes.md@/versions/1')),
    ('no such version', errno.ENOENT, lambda d: os.stat(f'{d}/notes.md@/versions/3')),
    ('version 0', errno.ENOENT, lambda d: os.stat(f'{d}/notes.md@/versions/0')),
    ('nonsense as a version', errno.ENOENT, lambda d: os.stat(f'{d}/notes.md@/versions/!!')),
    ('create in a control folder', (errno.EACCES, errno.EPERM), lambda d: create(f'{d}/notes.md@/mine')),
    ('create among versions', (errno.EACCES, errno.EPERM), lambda d: create(f'{d}/notes.md@/versions/mine')),
    ('mkdir in a control folder', (errno.EACCES, errno.EPERM), lambda d: os.mkdir(f'{d}/notes.md@/mine')),
    ('remove a control file', (errno.EACCES, errno.EPERM), lambda d: os.unlink(f'{d}/notes.md@/head')),
    ('rename a control file', (errno.EACCES, errno.EPERM, errno.EXDEV), lambda d: os.rename(f'{d}/notes.md@/head', f'{d}/head.md')),
    ('rename onto a control file', (errno.EACCES, errno.EPERM, errno.EXDEV), lambda d: os.rename(f'{d}/notes.md', f'{d}/notes.md@/head')),
    ('remove a control folder', (errno.EACCES, errno.EPERM), lambda d: os.rmdir(f'{d}/notes.md@')),
    ('write to a read-only control file', errno.EACCES, lambda d: os.open(f'{d}/notes.md@/log', os.O_WRONLY)),
    ('control folder of what never was', errno.ENOENT, lambda d: os.stat(f'{d}/never.md@/head')),
    ('control file that is none', errno.ENOENT, lambda d: os.stat(f'{d}/notes.md@/nothing')),
    ('create beside the entities', (errno.EACCES, errno.EPERM), lambda d: create(f'{d}/../file.md')),
    ('write the README of the root', errno.EACCES, lambda d: os.open(f'{d}/../README.md', os.O_WRONLY)),
]


@pytest.mark.parametrize('name, codes, action', REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(folder, name, codes, action):
    before = sorted(os.listdir(folder.own)), folder.versions('notes.md'), read(folder.path('notes.md'))
    with pytest.raises(OSError) as refused:
        action(folder.own)
    codes = codes if isinstance(codes, tuple) else (codes,)
    assert errno.errorcode[refused.value.errno] in [errno.errorcode[code] for code in codes]
    assert before == (sorted(os.listdir(folder.own)), folder.versions('notes.md'), read(folder.path('notes.md')))


# control file, what is written
NONSENSE = [
    ('alice/notes.md@/head', 'no-such-version'),
    ('alice/notes.md@/head', '99'),
    ('alice/notes.md@/head', ''),
    ('alice/notes.md@/head', 'a\0b'),
    ('alice/notes.md@/vote', 'perhaps'),
    ('alice/notes.md@/vote', 'keep delete'),
    ('alice/notes.md@/subscribe', '2'),
    ('alice/notes.md@/subscribe', 'yes please'),
    ('alice@/devices', 'nonsense'),
    ('@/quota', 'a lot'),
    ('@/quota', '-1'),
    ('@/quota', '99999999999999999999999'),
    ('@/config', 'no-such-setting=1'),
]


@pytest.mark.parametrize('control, text', NONSENSE, ids=[f'{row[0]}: {row[1]!r}' for row in NONSENSE])
def test_nonsense_is_refused_and_told(folder, control, text):
    before = folder.control(control)
    refuses(errno.EINVAL, lambda: put(os.path.join(folder.root, control), text))
    assert folder.control(control) == before
    newest = folder.control('@/errors').split('\n')[0]
    assert os.path.basename(control) in newest and 'EINVAL' in newest, newest
    assert len(newest.split('EINVAL', 1)[1].strip()) > 10, f'no reason given: {newest}'


def test_a_shell_echo_reports_the_error(folder):
    done = folder.sh('echo nonsense > notes.md@/vote', check=False)
    assert done.returncode != 0 and 'Invalid argument' in done.stdout


@pytest.mark.parametrize('name', [
    'Makefile', 'photo.jpg', 'two words.md', 'ümlaut-日本.md', "quote'\".md", '-dash', 'a@b', '@x', 'x' * 255, 'new\nline',
    'back\\slash', '*', 'CON', 'a..', '~x', 'notes.bak', 'con:colon',
])
def test_any_good_name_is_kept(folder, name):
    path = folder.path(name)
    write(path, name)
    assert name in os.listdir(folder.own)
    folder.wait_signed(name)
    assert folder.texts(name) == [name.encode()]
    assert read(path) == name.encode()
    os.unlink(path)
    assert name not in os.listdir(folder.own)


CONTENTS = [
    ('empty.md', b''),
    ('binary', bytes(range(256)) * 300),
    ('not-utf-8.md', b'\xff\xfe\x00bad\n'),
    ('nul.md', b'\0'),
    ('no newline.md', b'text'),
    ('crlf.md', b'a\r\nb\r\n'),
    ('gzip', b'\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff'),
]


@pytest.mark.parametrize('name, text', CONTENTS, ids=[row[0] for row in CONTENTS])
def test_any_content_is_kept(folder, name, text):
    write(folder.path(name), text)
    versions = folder.wait_signed(name)
    assert read(folder.path(name)) == text
    assert folder.texts(name) == [text]
    assert os.stat(folder.path(name) + '@/versions/' + versions[0]).st_size == len(text)
    assert folder.gunzip_pieces(name) == text


def test_symlinks_are_versions(folder):
    os.symlink('notes.md', folder.path('link.md'))
    assert os.readlink(folder.path('link.md')) == 'notes.md'
    assert read(folder.path('link.md')) == b'two\n'
    assert len(folder.wait_signed('link.md')) == 1


def test_the_x_bit_is_published_and_other_bits_are_kept(folder):
    write(folder.path('run.sh'), '#!/bin/sh\necho ran\n')
    os.chmod(folder.path('run.sh'), 0o750)
    os.utime(folder.path('run.sh'), (1e9, 1e9))
    folder.wait_signed('run.sh')
    found = os.stat(folder.path('run.sh'))
    assert stat.S_IMODE(found.st_mode) == 0o750
    assert found.st_mtime == 1e9
    assert folder.sh('./run.sh').stdout == 'ran\n'


def test_scratch_is_a_local_file_system(folder):
    """Swap files, lock links, fifos, sockets and repositories work and are not published."""
    own = folder.own
    os.mkdir(f'{own}/.git')
    write(f'{own}/.git/config', 'x')
    os.link(f'{own}/.git/config', f'{own}/.git/linked')
    assert os.stat(f'{own}/.git/config').st_nlink == 2
    os.mkfifo(f'{own}/.fifo')
    os.symlink('user@host.1', f'{own}/.#notes.md')
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(own, os.O_RDONLY)
        try:
            listener.bind(f'/proc/self/fd/{directory}/.socket')
        finally:
            os.close(directory)
    assert {'.git', '.fifo', '.#notes.md', '.socket'} <= set(os.listdir(own))
    assert '.git' not in folder.control('alice@/log')
    status = folder.run('status').stdout
    assert '.git' in status and '.fifo' in status, status
    for name in ('.fifo', '.#notes.md', '.socket'):
        os.unlink(f'{own}/{name}')
    for code, old in ((errno.EXDEV, '.git'),):
        refuses(code, lambda old=old: os.rename(f'{own}/{old}', f'{own}/published'))
    os.unlink(f'{own}/.git/linked')
    os.unlink(f'{own}/.git/config')
    os.rmdir(f'{own}/.git')


def test_others_and_old_versions_are_read_only_even_to_root(folder):
    path = folder.path('notes.md') + '@/versions/1'
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
    refuses(errno.EACCES, lambda: os.open(path, os.O_RDWR))
    refuses(errno.EACCES, lambda: os.open(path, os.O_WRONLY | os.O_APPEND))


def test_looking_changes_nothing(folder):
    before = folder.control('alice@/log')
    folder.sh('ls -laR . >/dev/null; find . | wc -l; grep -r soil . >/dev/null; cat notes.md@/* 2>/dev/null | wc -c;'
              'ls -l notes.md@/* >/dev/null; stat gone.md@ || true')
    assert folder.control('alice@/log') == before


def test_control_folders_are_not_listed(folder):
    assert not [name for name in os.listdir(folder.own) if name.endswith('@')]
    assert sorted(os.listdir(folder.root)) == ['@', 'README.md', 'alice', 'me']
    assert os.readlink(os.path.join(folder.root, 'me')) == 'alice'
    assert folder.sh('find . -name soil.md | wc -l').stdout.strip() == '1'


def test_option_controls_lists_them(home):
    home.mount('-o', 'controls')
    write(home.path('notes.md'), 'x\n')
    assert set(os.listdir(home.own)) == {'notes.md', 'notes.md@'}
    assert 'alice@' in os.listdir(home.root)


# ---- the command ----

def refuses_to_run(folder, *arguments, status=1):
    done = folder.run(*arguments, check=False)
    assert done.returncode == status, f'{done.returncode}: {done.stdout}{done.stderr}'
    assert len(done.stderr.strip().split('\n')) == 1 or status == 2, done.stderr
    assert done.stderr.strip()
    return done.stderr


def test_usage(home):
    for arguments in ((), ('nonsense',), ('mount',), ('log',), ('init', '--nonsense')):
        refuses_to_run(home, *arguments, status=2)


def test_a_second_identity_is_refused(home):
    key = read(os.path.join(home.home, 'key'))
    refuses_to_run(home, 'init', '--name', 'bob')
    assert read(os.path.join(home.home, 'key')) == key


def test_mount_points_that_are_none(home):
    write(os.path.join(home.base, 'file'), 'x')
    write(os.path.join(home.outside, 'full'), 'x')
    for place in (os.path.join(home.base, 'none'), os.path.join(home.base, 'file'), home.outside):
        sentence = refuses_to_run(home, 'mount', place)
        assert place in sentence, sentence


def test_a_second_daemon_is_refused(mount):
    second = os.path.join(mount.base, 'second')
    os.mkdir(second)
    pid = mount.pid
    assert str(pid) in refuses_to_run(mount, 'mount', second)
    refuses_to_run(mount, 'mount', mount.root)
    assert mount.pid == pid
    assert os.listdir(mount.root)


def test_umount_of_what_is_no_mount(home):
    refuses_to_run(home, 'umount', home.root)


@pytest.mark.parametrize('command', ['mount', 'status', 'verify', 'id'])
def test_no_identity_yet(home, command):
    home.env['MOOT_HOME'] = os.path.join(home.base, 'empty')
    try:
        sentence = refuses_to_run(home, command, *[home.root] if command == 'mount' else [])
    finally:
        home.env['MOOT_HOME'] = home.home
    assert 'moot init' in sentence


def test_a_corrupt_key_is_refused(home):
    path = os.path.join(home.home, 'key')
    key = read(path)
    for damaged in (b'', key[:-1], key + b'x', bytes([key[0] ^ 1]) + key[1:], b'\0' * len(key)):
        write(path, damaged)
        assert 'key' in refuses_to_run(home, 'mount', home.root)
    write(path, key)
    home.mount()


def test_a_data_folder_open_to_others_is_refused(home):
    os.chmod(home.home, 0o755)
    assert home.home in refuses_to_run(home, 'mount', home.root)
    os.chmod(home.home, 0o700)
    os.chmod(os.path.join(home.home, 'key'), 0o644)
    refuses_to_run(home, 'mount', home.root)
    os.chmod(os.path.join(home.home, 'key'), 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a folder away')
def test_a_data_folder_of_another_user_is_refused(home):
    os.chown(home.home, 65534, 65534)
    assert home.home in refuses_to_run(home, 'mount', home.root)
    os.chown(home.home, 0, 0)


def test_paths_that_are_none(mount):
    for arguments in (('log', 'alice/never.md'), ('show', mount.path('never.md')), ('diff', '/etc/passwd'),
                      ('restore', mount.path('never.md'))):
        refuses_to_run(mount, *arguments)


def test_umount_publishes_what_waits(home):
    home.mount()
    write(home.path('notes.md'), 'x\n')
    home.umount()
    home.mount()
    wait_until(lambda: home.signed('notes.md'), 10, 'notes.md')
    assert home.texts('notes.md') == [b'x\n']
