"""Several devices of one person: admitted, one folder of both, forks, retired; and backups that were put back."""
import contextlib
import errno
import os
import shutil
import subprocess
import time

import pytest

import conftest
import pairs


@contextlib.contextmanager
def two_devices():
    """Alice's laptop and her box: one person, two data folders, connected."""
    laptop, box = conftest.Folder('alice'), conftest.Folder('alice')
    with contextlib.ExitStack() as stack:
        for folder in (laptop, box):
            conftest.live.append(folder)
            stack.callback(pairs.end, folder)
        laptop.init()
        laptop.mount()
        conftest.write(laptop.path('early.md'), 'before the box\n')
        box.run('init', '--person', person(laptop))
        box.mount()
        yield laptop, box


def person(folder):
    return folder.value('me@/id')


def device(folder):
    return folder.value('@/id')


def join(laptop, box):
    pairs.connect(box, laptop)
    laptop.run('devices', 'admit', device(box))
    conftest.wait_until(lambda: writable(box), 15, 'the box to be admitted')


def writable(folder):
    probe = f'{folder.root}/me/.probe'
    try:
        conftest.write(probe, '')
        os.unlink(probe)
    except OSError:
        return False
    return True


def mine(folder, name):
    return f'{folder.root}/me/{name}'


def heads(folder, name):
    return [line for line in folder.control(f'me/{name}@/heads').splitlines() if not line.startswith('#')]


def test_a_device_is_admitted_and_both_show_one_folder():
    with two_devices() as (laptop, box):
        # Before, it shows what it knows of, and may not write.
        with pytest.raises(OSError) as refused:
            conftest.write(mine(box, 'too-early.md'), 'x\n')
        assert refused.value.errno == errno.EACCES
        pairs.connect(box, laptop)
        pairs.reads(mine(box, 'early.md'), 'before the box\n')
        with pytest.raises(OSError) as refused:
            conftest.write(mine(box, 'early.md'), 'x\n')
        assert refused.value.errno == errno.EACCES

        laptop.run('devices', 'admit', device(box))
        conftest.wait_until(lambda: writable(box), 15, 'the box to be admitted')
        for folder in (laptop, box):
            listed = folder.run('devices').stdout.splitlines()
            assert [line.split('\t')[1] for line in listed[:2]] == ['admitted', 'admitted']
            assert {line.split('\t')[0] for line in listed[:2]} == {device(laptop), device(box)}

        conftest.write(mine(box, 'early.md'), 'and the box\n')
        pairs.reads(mine(laptop, 'early.md'), 'and the box\n')
        conftest.write(mine(laptop, 'early.md'), 'and the laptop\n')
        pairs.reads(mine(box, 'early.md'), 'and the laptop\n')
        os.mkdir(mine(box, 'guides'))
        conftest.write(mine(box, 'guides/soil.md'), 'Loam.\n')
        pairs.reads(mine(laptop, 'guides/soil.md'), 'Loam.\n')
        os.rename(mine(laptop, 'guides/soil.md'), mine(laptop, 'guides/earth.md'))
        pairs.reads(mine(box, 'guides/earth.md'), 'Loam.\n')
        conftest.wait_until(lambda: os.listdir(mine(box, 'guides')) == ['earth.md'], 10, 'the rename')
        os.unlink(mine(box, 'guides/earth.md'))
        conftest.wait_until(lambda: os.listdir(mine(laptop, 'guides')) == [], 10, 'the removal')
        assert len(heads(laptop, 'early.md')) == len(heads(box, 'early.md')) == 1
        # Her name is hers still.
        assert 'alice' in os.listdir(laptop.root)


def test_saves_made_apart_stand_side_by_side():
    with two_devices() as (laptop, box), pairs.Relay(laptop) as relay:
        box.run('connect', relay.address)
        laptop.run('devices', 'admit', device(box))
        conftest.wait_until(lambda: writable(box), 15, 'the box to be admitted')
        pairs.reads(mine(box, 'early.md'), 'before the box\n')
        relay.tell(state='cut')
        conftest.write(mine(laptop, 'early.md'), 'the laptop\n')
        time.sleep(0.05)
        conftest.write(mine(box, 'early.md'), 'the box\n')
        relay.tell(state='open')
        conftest.wait_until(lambda: len(heads(laptop, 'early.md')) == len(heads(box, 'early.md')) == 2, 40, 'the fork')
        # The newest shows, on both.
        pairs.reads(mine(laptop, 'early.md'), 'the box\n')
        pairs.reads(mine(box, 'early.md'), 'the box\n')
        assert '\tfork\t' in laptop.control('@/events')
        # A merge on one ends it on both.
        laptop.sh('cat early.md@/merge > /dev/null; printf "both\\n" > early.md@/merge', cwd=f'{laptop.root}/me')
        pairs.reads(mine(box, 'early.md'), 'both\n')
        assert len(heads(box, 'early.md')) == 1


def test_who_has_a_file_open_saves_from_what_was_read():
    with two_devices() as (laptop, box):
        join(laptop, box)
        pairs.reads(mine(box, 'early.md'), 'before the box\n')
        base = heads(laptop, 'early.md')[0].split('\t')[0]
        with open(mine(laptop, 'early.md'), 'r+b', buffering=0) as writer:
            assert writer.read() == b'before the box\n'
            writer.write(b'laptop\n')
            conftest.write(mine(box, 'early.md'), 'box\n')
            # The name leads to what came; what is open goes on with its own.
            pairs.reads(mine(laptop, 'early.md'), 'box\n')
            writer.seek(0)
            assert writer.read() == b'before the box\nlaptop\n'
        conftest.wait_until(lambda: len(heads(laptop, 'early.md')) == 2, 10, 'the fork')
        pairs.reads(mine(laptop, 'early.md'), 'before the box\nlaptop\n')
        log = [line.split('\t') for line in laptop.control('me/early.md@/log').splitlines() if not line.startswith('#')]
        assert len(log) == 3
        short = base.split('-')[-1].split('.')[0]
        assert all(short in parents for _, _, parents, *_ in log[1:]), log
        conftest.wait_until(lambda: len(heads(box, 'early.md')) == 2, 10, 'the fork there')


def test_a_retired_device_may_read_but_not_write():
    with two_devices() as (laptop, box):
        join(laptop, box)
        conftest.write(mine(box, 'box.md'), 'box\n')
        pairs.reads(mine(laptop, 'box.md'), 'box\n')
        laptop.run('devices', 'retire', device(box))
        conftest.wait_until(lambda: not writable(box), 15, 'the box to be retired')
        assert conftest.read(mine(box, 'early.md')) == b'before the box\n'
        assert conftest.read(mine(laptop, 'box.md')) == b'box\n'
        assert 'retired' in laptop.run('devices').stdout
        assert laptop.run('devices', 'retire', device(laptop), check=False).returncode == 1


def set_aside(folder, clean):
    """A copy of the data folder, as a backup makes it: of one that was closed, or of one in use."""
    if clean:
        folder.umount()
    shutil.copytree(folder.home, folder.home + '.aside', symlinks=True, ignore=shutil.ignore_patterns('lock'))
    if clean:
        folder.mount()


def put_back(folder):
    folder.umount()
    shutil.rmtree(folder.home)
    shutil.copytree(folder.home + '.aside', folder.home, symlinks=True)


def own_log(folder):
    return [line.split('\t') for line in folder.control('me@/log').splitlines() if line and not line.startswith('#')]


@pytest.mark.parametrize('clean', [True, False])
def test_a_backup_put_back_goes_on_where_peers_saw_it(clean):
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(alice, bob)
        pairs.subscribe(bob, 'alice')
        conftest.write(alice.path('notes.md'), 'one\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'one\n')
        alice.wait_signed('notes.md')
        set_aside(alice, clean)
        conftest.write(alice.path('notes.md'), 'two\n')
        conftest.write(alice.path('later.md'), 'later\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'two\n', timeout=20)
        pairs.reads(f'{bob.root}/alice/later.md', 'later\n')
        put_back(alice)
        alice.mount()
        conftest.write(alice.path('notes.md'), 'three\n')
        alice.wait_signed('notes.md')
        pairs.reads(f'{bob.root}/alice/notes.md', 'three\n', timeout=20)
        pairs.reads(alice.path('later.md'), 'later\n')
        numbers = [int(record[1]) for record in own_log(alice)]
        assert len(numbers) == len(set(numbers)), 'its log is forked'
        # What was saved before the lost version came back stands beside it.
        assert b'three\n' in alice.texts('notes.md') and b'two\n' in alice.texts('notes.md')


def test_a_backup_without_peers_forks_and_is_healed():
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(alice, bob)
        pairs.subscribe(bob, 'alice')
        conftest.write(alice.path('notes.md'), 'one\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'one\n')
        alice.wait_signed('notes.md')
        set_aside(alice, False)
        conftest.write(alice.path('notes.md'), 'two\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'two\n')
        bob.umount()
        put_back(alice)
        alice.mount()
        begun = time.monotonic()
        conftest.write(alice.path('notes.md'), 'three\n')
        assert time.monotonic() - begun < conftest.LATE_S
        alice.wait_signed('notes.md', timeout=10)
        bob.mount()
        line = bob.run('invite').stdout.split()[-1]
        alice.run('connect', line)
        numbers = conftest.wait_until(lambda: forked(alice), 20, 'the fork to be seen')
        assert numbers
        # Nothing is lost: both saves are versions, and both stand until one is chosen.
        conftest.wait_until(lambda: b'two\n' in alice.texts('notes.md'), 20, 'the lost save')
        assert b'three\n' in alice.texts('notes.md')
        conftest.write(alice.path('notes.md'), 'four\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'four\n', timeout=20)


def forked(folder):
    numbers = [record[1] for record in own_log(folder)]
    return [number for number in numbers if numbers.count(number) > 1]
