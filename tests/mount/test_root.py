"""Who stands in the root of a mount: petnames, who is followed and who is let go, namesakes, and one's own name."""
import errno
import os

import pytest

import conftest
import pairs

SHORT = 8 # characters of an id


def root(folder, *names):
    return os.path.join(folder.root, *names)


def people(folder):
    """The folders of others in the root."""
    return sorted(set(os.listdir(folder.root)) - {'@', 'README.md', 'me', os.readlink(root(folder, 'me'))})


def short_id(folder, name):
    return folder.value(f'{name}@/id').removeprefix('moot:')[:SHORT]


def refused(folder, number, act, *arguments):
    """It fails so, and the reason stands in @/errors."""
    with pytest.raises(OSError) as error:
        act(*arguments)
    assert error.value.errno == number, (arguments, error.value)
    assert f'  {errno.errorcode[number]}  ' in folder.control('@/errors').splitlines()[0]


def known(folder, name):
    conftest.wait_until(lambda: os.path.isdir(root(folder, name)), 10, f'{name} to be known')


def test_a_petname():
    with pairs.folders('alice', 'bob') as (alice, bob):
        conftest.write(alice.path('a.md'), 'one\n')
        pairs.connect(bob, alice)
        known(bob, 'alice')
        bob.run('follow', 'alice')
        pairs.reads(root(bob, 'alice/a.md'), 'one\n')
        short, there = short_id(bob, 'alice'), os.open(root(bob, 'alice'), os.O_RDONLY)

        bob.sh('mv alice carol', cwd=bob.root)
        assert people(bob) == ['carol'] and not os.path.exists(root(bob, 'alice'))
        assert conftest.read(root(bob, 'carol/a.md')) == b'one\n'
        assert os.listdir(there) == ['a.md'], 'whoever stands in it stays'
        os.close(there)
        # Also by the id, which is a link to the folder.
        assert os.readlink(root(bob, short)) == 'carol'
        bob.sh(f'mv {short} robert', cwd=bob.root)
        assert people(bob) == ['robert'] and os.readlink(root(bob, short)) == 'robert'
        assert not os.path.lexists(root(bob, 'carol'))
        assert conftest.read(root(bob, 'robert/a.md')) == b'one\n'

        # Whatever names somebody names them so, and takes the name.
        assert bob.control('robert@/id').splitlines()[1] == '# shown as robert'
        assert bob.control('@/peers').startswith('robert\t') and bob.run('peers').stdout.startswith('robert\t')
        assert '-robert-' in os.listdir(root(bob, 'robert/a.md@/versions'))[0]
        conftest.write(alice.path('a.md'), 'two\n')
        pairs.reads(root(bob, 'robert/a.md'), 'two\n')
        conftest.wait_until(lambda: '\tversion\trobert/a.md\n' in bob.control('@/events'), 10, 'the event')
        assert bob.run('log', 'robert/a.md').stdout.count('-robert-') >= 2
        bob.run('unfollow', 'robert')
        assert people(bob) == []
        bob.run('follow', 'robert')
        assert people(bob) == ['robert']

        for number, source, target in (
                (errno.EEXIST, 'robert', 'bob'), (errno.EINVAL, 'robert', '.robert'), (errno.EINVAL, 'robert', 'a@b'),
                (errno.EINVAL, 'robert', 'robert@'), (errno.EINVAL, 'robert', 'a\nb'), (errno.EINVAL, 'robert', b'\xff'),
                (errno.EINVAL, 'robert', 'robert.tmp'), (errno.EINVAL, 'robert', 'b' * 51 + 'a'),
                (errno.ENAMETOOLONG, 'robert', 'b' * 64), (errno.EPERM, 'robert', 'bob/robert'),
                (errno.EPERM, 'bob', 'other'), (errno.EPERM, 'me', 'other'), (errno.EPERM, '@', 'other'),
                (errno.EPERM, 'README.md', 'other')):
            refused(bob, number, os.rename, root(bob, source), os.path.join(os.fsencode(bob.root), os.fsencode(target)))
        assert people(bob) == ['robert']

        bob.umount()
        bob.run('reindex')
        assert bob.run('log', 'robert/a.md').stdout.count('-robert-') >= 2, 'without a mount'
        bob.mount()
        assert people(bob) == ['robert'] and conftest.read(root(bob, 'robert/a.md')) == b'two\n'


def test_namesakes_and_who_is_let_go():
    with pairs.folders('alice', 'alice', 'bob') as (one, other, bob):
        for alice in (one, other):
            pairs.connect(bob, alice)
            bob.run('follow', alice.value('me@/id'))
        first, second = one.value('me@/id')[5:][:SHORT], other.value('me@/id')[5:][:SHORT]
        conftest.wait_until(lambda: 'alice' in people(bob) and len(people(bob)) == 2, 10, 'both')
        conftest.wait_until(lambda: people(bob) == ['alice', f'alice.{second}'], 10, people(bob))
        assert short_id(bob, 'alice') == first
        refused(bob, errno.EEXIST, os.rename, root(bob, f'alice.{second}'), root(bob, 'alice'))
        os.rename(root(bob, 'alice'), root(bob, 'anna'))
        os.rename(root(bob, f'alice.{second}'), root(bob, 'alice'))
        assert people(bob) == ['alice', 'anna'] and short_id(bob, 'alice') == second

        # Let go, they are not listed and nothing of theirs is lost.
        conftest.write(other.path('a.md'), 'hers\n')
        pairs.reads(root(bob, 'alice/a.md'), 'hers\n')
        assert bob.sh('rm -r alice', cwd=bob.root, check=False).returncode == 1
        assert people(bob) == ['alice', 'anna'] and conftest.read(root(bob, 'alice/a.md')) == b'hers\n'
        os.rmdir(root(bob, 'alice'))
        assert people(bob) == ['anna'] and bob.value('alice@/subscribe') == '0'
        assert conftest.read(root(bob, 'alice/a.md')) == b'hers\n'
        os.rmdir(root(bob, 'alice'))
        bob.run('follow', 'alice')
        assert people(bob) == ['alice', 'anna'] and bob.value('alice@/subscribe') == '1'
        bob.sh('rm -r anna', cwd=bob.root) # an empty folder
        assert people(bob) == ['alice']
        for name, act in (('bob', os.rmdir), ('@', os.rmdir), ('me', os.unlink), ('README.md', os.unlink)):
            refused(bob, errno.EPERM, act, root(bob, name))
        bob.restart()
        assert people(bob) == ['alice'] and short_id(bob, 'anna') == first


def test_ones_own_name_comes_with_the_first_device():
    laptop, box = conftest.Folder('alice'), conftest.Folder('alice')
    conftest.live.extend((laptop, box))
    try:
        laptop.init()
        laptop.mount()
        person = laptop.value('me@/id')
        box.run('init', '--person', person)
        box.mount()
        # Nothing is known of them yet.
        own = os.readlink(root(box, 'me'))
        assert own == person[5:][:SHORT] and own in os.listdir(box.root)
        there = os.open(root(box, own), os.O_RDONLY)
        pairs.connect(box, laptop)
        laptop.run('devices', 'admit', box.value('@/id'))
        conftest.wait_until(lambda: os.readlink(root(box, 'me')) == 'alice', 10, 'the name to come')
        assert 'alice' in os.listdir(box.root) and own not in os.listdir(box.root)
        conftest.wait_until(lambda: box.run('devices').stdout.count('\tadmitted\t') == 2, 10, 'the admission')
        conftest.wait_until(lambda: os.access(root(box, 'alice'), os.W_OK), 10, 'the folder to be writable')
        conftest.write(root(box, 'alice/b.md'), 'by the box\n')
        assert os.listdir(there) == ['b.md']
        os.close(there)
        assert os.readlink(root(box, own)) == 'alice'
        pairs.reads(root(laptop, 'alice/b.md'), 'by the box\n')
        assert laptop.run('devices').stdout.count('\tadmitted\t') == 2
    finally:
        for folder in (laptop, box):
            pairs.end(folder)


def missing(folder):
    return [line for line in folder.control('@/status').splitlines() if line.startswith('missing\t')][0]


def test_what_is_missing_is_not_known_before_peers_are_asked():
    with pairs.folders('alice', 'bob') as (alice, bob), pairs.Relay(alice) as relay:
        bob.run('connect', relay.address)
        known(bob, 'alice')
        assert missing(bob) == 'missing\t0 logs, 0 pieces'
        relay.tell(state='stalled')
        bob.run('follow', 'alice')
        assert missing(bob).startswith('missing\tnot known yet')
        relay.tell(state='open')
        conftest.wait_until(lambda: missing(bob) == 'missing\t0 logs, 0 pieces', 10, 'the answer')
