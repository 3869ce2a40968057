"""Several devices of one person: admitted, one folder of both, forks, retired; and backups that were put back."""
import contextlib
import errno
import os
import shutil
import signal
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


def texts(folder, name):
    """Of all versions, oldest first; b'draft' for what is not signed yet."""
    versions = f'{folder.root}/me/{name}@/versions'
    return [b'draft' if '-draft' in one else conftest.read(f'{versions}/{one}') for one in os.listdir(versions)]


def heads(folder, name, whose='me'):
    return [line for line in folder.control(f'{whose}/{name}@/heads').splitlines() if not line.startswith('#')]


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


def test_what_a_device_saves_after_it_was_retired_does_not_count():
    with two_devices() as (laptop, box), pairs.folders('bob') as (bob,), pairs.Relay(laptop) as relay:
        box.run('connect', relay.address)
        laptop.run('devices', 'admit', device(box))
        conftest.wait_until(lambda: writable(box), 15, 'the box to be admitted')
        conftest.write(mine(laptop, 'laptop.md'), 'laptop\n')
        conftest.write(mine(box, 'box.md'), 'box\n')
        pairs.reads(mine(laptop, 'box.md'), 'box\n', timeout=20)
        pairs.reads(mine(box, 'laptop.md'), 'laptop\n')
        # What the laptop does not know of when it retires the box came too late.
        relay.tell(state='stalled')
        conftest.write(mine(box, 'late.md'), 'late\n')
        conftest.write(mine(box, 'box.md'), 'late\n')
        conftest.wait_until(lambda: b'late\n' in texts(box, 'box.md') and texts(box, 'late.md') == [b'late\n'], 20,
                            'the box to sign')
        laptop.run('devices', 'retire', device(box))
        conftest.write(mine(laptop, 'box.md'), 'not so late\n')
        # Bob hears of it after all that the box said, the laptop before.
        pairs.connect(bob, box)
        pairs.subscribe(bob, 'alice')
        relay.tell(state='open')
        conftest.wait_until(lambda: not writable(box), 40, 'the box to learn that it was retired')
        for root in (mine(laptop, ''), mine(box, ''), f'{bob.root}/alice/'):
            pairs.reads(root + 'box.md', 'not so late\n', timeout=20)
            shown = [name for name in os.listdir(root) if not name.startswith('.')]
            assert sorted(shown) == ['box.md', 'early.md', 'laptop.md']
        # Nothing is lost: it is a version of its name, where it was saved and where it came to.
        for folder in (laptop, box):
            conftest.wait_until(lambda: set(texts(folder, 'box.md')) == {b'box\n', b'late\n', b'not so late\n'}, 20,
                                'the save that came late')
            assert texts(folder, 'late.md') == [b'late\n']


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


def sides(folder, whose='me'):
    """The sides of forked logs: state -> [id, what they are about]."""
    lines = [line.split('\t') for line in folder.control(f'{whose}@/forks').splitlines() if not line.startswith('#')]
    return {state: [id, about] for id, state, _, _, _, about in lines}


def forget_and_go_on(folder, name, text):
    """Puts back what was set aside, and saves while nobody can tell what was forgotten."""
    put_back(folder)
    folder.mount()
    conftest.write(mine(folder, name), text)
    folder.wait_signed(name, timeout=conftest.LATE_S + 10)


def test_a_person_says_which_side_of_a_fork_is_kept():
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(alice, bob)
        pairs.subscribe(bob, 'alice')
        assert sides(alice) == {}
        conftest.write(alice.path('notes.md'), 'one\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'one\n')
        alice.wait_signed('notes.md')
        set_aside(alice, False)
        for text in ('two\n', 'three\n'):
            conftest.write(alice.path('notes.md'), text)
            pairs.reads(f'{bob.root}/alice/notes.md', text)
        bob.umount()
        forget_and_go_on(alice, 'notes.md', 'other\n')
        bob.mount()
        pairs.connect(alice, bob)
        both = conftest.wait_until(lambda: len(sides(alice)) == 2 and sides(alice), 20, 'the fork to be seen')
        assert both['longest'][1] == both['aside'][1] == 'notes.md'
        assert 'forked' in alice.run('status').stdout
        assert alice.run('devices').stdout.splitlines()[0].endswith('\tthis one\tforked')
        conftest.wait_until(lambda: len(sides(bob, 'alice')) == 2, 20, 'the fork to be seen there')
        with pytest.raises(OSError) as refused:
            conftest.write(f'{bob.root}/alice@/forks', both['aside'][0] + '\n')
        assert refused.value.errno == errno.EACCES

        # The side put back is the shorter one: it is kept, and the log goes on there.
        alice.run('devices', 'keep', both['aside'][0])
        now = sides(alice)
        assert now['aside'] == both['longest'] and now['kept'][1] == 'notes.md, (branch)'
        assert 'forked' not in alice.run('status').stdout + alice.run('devices').stdout.split('#')[0]
        assert sides(alice)['kept'][0] in alice.run('devices', 'forks').stdout
        assert alice.run('devices', 'keep', both['longest'][0], check=False).returncode == 1
        assert 'only another of your devices' in alice.control('@/errors').splitlines()[0]
        # All that was saved on either stands or is a version.
        assert len(heads(alice, 'notes.md')) == 2
        assert {b'one\n', b'two\n', b'three\n', b'other\n'} <= set(alice.texts('notes.md'))
        alice.sh('cat notes.md@/merge > /dev/null; printf "both\\n" > notes.md@/merge', cwd=f'{alice.root}/me')
        assert len(heads(alice, 'notes.md')) == 1
        # Her log goes on from a lower number than bob has: he hears of it when they meet, and has the same folder.
        bob.umount()
        bob.mount()
        pairs.connect(alice, bob)
        pairs.reads(f'{bob.root}/alice/notes.md', 'both\n', timeout=20)
        assert sides(bob, 'alice') == sides(alice)
        assert conftest.wait_until(lambda: len(heads(bob, 'notes.md', 'alice')) == 1, 10, 'the merge')
        conftest.write(alice.path('notes.md'), 'and on\n')
        alice.wait_signed('notes.md')


def forked(folder):
    numbers = [record[1] for record in own_log(folder)]
    return [number for number in numbers if numbers.count(number) > 1]


def test_what_is_said_under_a_hold_is_said_after_it():
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(bob, alice)
        pairs.subscribe(bob, 'alice')
        conftest.write(alice.path('notes.md'), 'one\n')
        pairs.reads(f'{bob.root}/alice/notes.md', 'one\n')
        bob.kill9()
        pid = alice.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            bob.mount()
            # Not one of those that are asked.
            assert bob.run('connect', '127.0.0.1:1', check=False).returncode == 1
            begun = time.monotonic()
            conftest.write(f'{bob.root}/bob@/about', 'Bob, of the mill.\n')
            waited = time.monotonic() - begun
            assert conftest.read(f'{bob.root}/bob@/about') == b'Bob, of the mill.\n'
            assert 1 < waited < conftest.LATE_S
        finally:
            os.kill(pid, signal.SIGCONT)
