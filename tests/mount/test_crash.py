"""Closed is kept: the daemon is killed and nothing is lost; the journal alone gives the same folder."""
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

from conftest import is_mounted, read, wait_until, write


# A shell would not notice that close(2) failed.
SAVE_FOR_EVER = '''
import os, sys
turn = 0
while True:
    turn += 1
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    os.write(fd, f'save {turn}\\n'.encode())
    os.close(fd)
    with open(sys.argv[2] + '.new', 'w') as file:
        file.write(str(turn))
    os.rename(sys.argv[2] + '.new', sys.argv[2])
'''


def snapshot(folder):
    """Every document with its bytes and its versions' names and bytes, every directory and link."""
    found = {}
    for directory, folders, files in os.walk(folder.own):
        for name in files + folders:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, folder.own)
            if os.path.islink(path):
                found[relative] = os.readlink(path)
            elif name in folders:
                found[relative] = None
            elif name.startswith('.'):
                found[relative] = read(path)
            else:
                found[relative] = read(path), list(zip(folder.versions(relative), folder.texts(relative)))
    return found


def fill(folder):
    """Documents of every shape with several versions each, renamed, removed and restored."""
    os.makedirs(folder.path('a/b'))
    for name in ('notes.md', 'a/soil.md', 'a/b/deep.md', 'empty.md'):
        write(folder.path(name), '' if 'empty' in name else f'{name} one\n')
    write(folder.path('large.bin'), os.urandom(3 << 20))
    os.symlink('a/soil.md', folder.path('link.md'))
    folder.wait_signed('notes.md', 'a/soil.md', 'a/b/deep.md', 'empty.md', 'large.bin')
    for text in ('two', 'three', 'four'):
        write(folder.path('notes.md'), text)
    os.rename(folder.path('a/b'), folder.path('moved'))
    os.rename(folder.path('a/soil.md'), folder.path('earth.md'))
    with open(folder.path('large.bin'), 'r+b') as file:
        file.seek(1 << 20)
        file.write(b'changed')
    folder.wait_signed('notes.md', 'earth.md', 'moved/deep.md', 'large.bin')


def test_closed_is_kept_when_the_daemon_is_killed(mount):
    """Killed right after close(2), again and again, whatever waits in the window."""
    write(mount.path('notes.md'), 'begin\n')
    mount.wait_signed('notes.md')
    texts = [b'begin\n']
    for turn in range(4):
        texts.append(f'turn {turn}\n'.encode())
        write(mount.path('notes.md'), texts[-1])
        write(mount.path(f'new{turn}.md'), f'new {turn}\n')
        mount.kill9()
        mount.mount()
        assert read(mount.path('notes.md')) == texts[-1]
        assert read(mount.path(f'new{turn}.md')) == f'new {turn}\n'.encode()
    mount.wait_signed('notes.md', *[f'new{turn}.md' for turn in range(4)])
    assert mount.texts('notes.md') == texts
    for turn in range(4):
        assert mount.texts(f'new{turn}.md') == [f'new {turn}\n'.encode()]


def test_saves_in_the_window_are_kept_each(mount):
    for text in ('one', 'two', 'three'):
        write(mount.path('new.md'), text)
    mount.kill9()
    mount.mount()
    mount.wait_signed('new.md')
    assert mount.texts('new.md') == [b'one', b'two', b'three']


def test_a_removal_in_the_window_is_kept(mount):
    write(mount.path('notes.md'), 'one\n')
    mount.wait_signed('notes.md')
    os.unlink(mount.path('notes.md'))
    mount.kill9()
    mount.mount()
    assert not os.path.exists(mount.path('notes.md'))
    time.sleep(3)
    assert not os.path.exists(mount.path('notes.md'))
    assert mount.texts('notes.md') == [b'one\n']


@pytest.mark.parametrize('signed', [False, True], ids=['in the window', 'signed'])
def test_directories_links_and_modes_are_kept(mount, signed):
    write(mount.path('notes.md'), 'one\n')
    mount.wait_signed('notes.md')
    os.chmod(mount.path('notes.md'), 0o640)
    os.mkdir(mount.path('private'), 0o750)
    os.mkdir(mount.path('private/below'), 0o700)
    os.symlink('notes.md', mount.path('link.md'))
    write(mount.path('private/run.sh'), '#!/bin/sh\n')
    os.chmod(mount.path('private/run.sh'), 0o750)
    if signed:
        mount.wait_signed('link.md', 'private/run.sh')
    before = {path: os.lstat(mount.path(path)) for path in
              ('', 'notes.md', 'private', 'private/below', 'link.md', 'private/run.sh')}
    mount.kill9()
    mount.mount()
    assert os.readlink(mount.path('link.md')) == 'notes.md'
    for path, was in before.items():
        found = os.lstat(mount.path(path))
        assert (path, stat.filemode(found.st_mode), found.st_size) == (path, stat.filemode(was.st_mode), was.st_size)
        assert (path, found.st_ino) == (path, was.st_ino)
        if stat.S_ISREG(was.st_mode):
            assert (path, found.st_mtime_ns // 10**6) == (path, was.st_mtime_ns // 10**6)


def test_names_and_scratch_are_kept(mount):
    fill(mount)
    write(mount.path('.notes.md.swp'), 'swap')
    before = snapshot(mount)
    mount.kill9()
    mount.mount()
    assert snapshot(mount) == before


def test_a_synced_draft_is_kept_of_a_file_never_closed(mount):
    write(mount.path('notes.md'), 'one\n')
    mount.wait_signed('notes.md')
    fd = os.open(mount.path('notes.md'), os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, b'synced\n')
        os.fsync(fd)
        mount.kill9()
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
    mount.mount()
    assert read(mount.path('notes.md')) == b'synced\n'
    mount.wait_signed('notes.md')
    assert mount.texts('notes.md') == [b'one\n', b'synced\n']


def test_killed_while_it_is_written(mount):
    """Each save that close(2) reported is there; of the last, which it did not, all or nothing."""
    write(mount.path('notes.md'), 'begin\n')
    mount.wait_signed('notes.md')
    counter = os.path.join(mount.outside, 'saved')
    write(counter, '0')
    writer = subprocess.Popen([sys.executable, '-c', SAVE_FOR_EVER, mount.path('notes.md'), counter],
                              stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: int(read(counter) or 0) >= 50, 20, '50 saves')
        mount.kill9()
        writer.wait(timeout=20)
    finally:
        writer.kill()
    saved = int(read(counter))
    mount.mount()
    mount.wait_signed('notes.md')
    texts = mount.texts('notes.md')
    assert texts[0] == b'begin\n'
    assert texts[1:saved + 1] == [f'save {i}\n'.encode() for i in range(1, saved + 1)]
    assert texts[saved + 1:] in ([], [f'save {saved + 1}\n'.encode()])


def test_a_stale_mount_is_cleaned_by_the_next_mount(mount):
    mount.kill9()
    assert is_mounted(mount.root)
    with pytest.raises(OSError):
        os.listdir(mount.root)
    mount.mount()
    assert 'alice' in os.listdir(mount.root)
    with open('/proc/self/mountinfo', encoding='utf-8') as table:
        assert table.read().count(f' {mount.root} ') == 1


def test_a_stale_mount_can_be_unmounted(mount):
    mount.kill9()
    mount.run('umount', mount.root)
    assert not is_mounted(mount.root)


def test_sigterm_seals_and_unmounts(mount):
    write(mount.path('notes.md'), 'one\n')
    mount.wait_signed('notes.md')
    write(mount.path('notes.md'), 'two\n')
    pid = mount.pid
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_mounted(mount.root), 20, 'the mount to go')
    mount.mount()
    mount.wait_signed('notes.md')
    assert mount.texts('notes.md') == [b'one\n', b'two\n']


def test_the_journal_alone_gives_the_same_folder(mount):
    fill(mount)
    before = snapshot(mount)
    mount.umount()
    shutil.rmtree(os.path.join(mount.home, 'index'))
    mount.mount()
    assert snapshot(mount) == before
    mount.umount()
    mount.run('reindex')
    mount.mount()
    assert snapshot(mount) == before


def test_reindex_after_a_kill(mount):
    fill(mount)
    before = snapshot(mount)
    mount.kill9()
    mount.run('umount', mount.root)
    mount.run('reindex')
    mount.mount()
    assert snapshot(mount) == before


def segments(folder):
    journal = os.path.join(folder.home, 'journal')
    return sorted(os.path.join(journal, name) for name in os.listdir(journal) if name.endswith('.seg'))


def test_a_torn_tail_is_cut_and_moved_aside(mount):
    fill(mount)
    before = snapshot(mount)
    mount.umount()
    with open(segments(mount)[-1], 'ab') as file:
        file.write(b'\x4d\x4f half an entry' * 3)
    mount.mount()
    assert snapshot(mount) == before
    write(mount.path('notes.md'), 'after\n')
    mount.wait_signed('notes.md')
    assert mount.texts('notes.md')[-1] == b'after\n'


def test_verify_tells_what_a_flipped_byte_hit(mount):
    write(mount.path('notes.md'), 'some text that is not compressed to nothing\n' * 3)
    write(mount.path('other.md'), 'other\n')
    mount.wait_signed('notes.md', 'other.md')
    mount.umount()
    mount.run('verify')
    path = segments(mount)[0]
    good = read(path)
    for at in range(len(good) // 8, len(good), len(good) // 8):
        write(path, good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1:])
        done = mount.run('verify', check=False)
        assert done.returncode == 1, f'byte {at} flipped and nothing found: {done.stdout}'
        assert (done.stdout + done.stderr).strip()
    write(path, good)
    mount.run('verify')


def test_verify_and_status_while_mounted(mount):
    fill(mount)
    mount.run('verify')
    assert mount.root in mount.run('status').stdout


def test_gc_changes_nothing_that_shows(mount):
    fill(mount)
    before = snapshot(mount)
    mount.umount()
    mount.run('gc')
    mount.run('verify')
    mount.mount()
    assert snapshot(mount) == before


def test_a_damaged_index_is_made_anew_by_reindex(mount):
    """As after a power cut: half of it is missing."""
    fill(mount)
    before = snapshot(mount)
    mount.kill9()
    mount.run('umount', mount.root)
    for name in os.listdir(os.path.join(mount.home, 'index')):
        path = os.path.join(mount.home, 'index', name)
        if 'lock' not in name:
            os.truncate(path, os.path.getsize(path) // 2)
    mount.run('reindex')
    mount.mount()
    assert snapshot(mount) == before
