"""What a person sees of what arrives: new heads, open files, other folders, events."""
import os
import select
import subprocess
import time

import pytest

import conftest
import pairs


@pytest.fixture(scope='module')
def pair():
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(bob, alice)
        pairs.subscribe(bob, 'alice')
        conftest.wait_until(lambda: os.path.isdir(f'{bob.root}/alice'), 10, 'alice in the root')
        yield alice, bob


def seen(bob, name):
    return f'{bob.root}/alice/{name}'


def publish(alice, bob, name, text):
    """A new document of alice's, as bob sees it."""
    conftest.write(alice.path(name), text)
    pairs.reads(seen(bob, name), text)
    return seen(bob, name)


def test_a_new_head_is_a_new_node_under_the_same_number(pair):
    alice, bob = pair
    path = publish(alice, bob, 'head.md', 'one\n')
    before = os.stat(path)
    with open(path, 'rb') as old:
        assert old.read() == b'one\n'
        conftest.write(alice.path('head.md'), 'and two\n')
        pairs.reads(path, 'and two\n')
        # What is open keeps its text, also what the kernel has of it.
        old.seek(0)
        assert old.read() == b'one\n'
        assert os.fstat(old.fileno()).st_ino == os.stat(path).st_ino == before.st_ino
    assert os.stat(path).st_size == 8


def test_every_change_of_names_arrives(pair):
    alice, bob = pair
    publish(alice, bob, 'names.md', 'names\n')
    os.mkdir(alice.path('folder'))
    conftest.write(alice.path('folder/in.md'), 'in\n')
    pairs.reads(seen(bob, 'folder/in.md'), 'in\n')
    assert os.listdir(seen(bob, 'folder')) == ['in.md']

    os.rename(alice.path('names.md'), alice.path('folder/renamed.md'))
    pairs.reads(seen(bob, 'folder/renamed.md'), 'names\n')
    conftest.wait_until(lambda: not os.path.exists(seen(bob, 'names.md')), 10, 'the old name to go')

    os.rename(alice.path('folder'), alice.path('moved'))
    pairs.reads(seen(bob, 'moved/renamed.md'), 'names\n')
    conftest.wait_until(lambda: not os.path.exists(seen(bob, 'folder')), 10, 'the old folder to go')

    os.unlink(alice.path('moved/in.md'))
    conftest.wait_until(lambda: os.listdir(seen(bob, 'moved')) == ['renamed.md'], 10, 'the removal')
    assert os.stat(seen(bob, 'moved')).st_nlink == 2

    os.symlink('moved/renamed.md', alice.path('link'))
    pairs.reads(seen(bob, 'link'), 'names\n')
    os.chmod(alice.path('moved/renamed.md'), 0o755)
    conftest.wait_until(lambda: os.access(seen(bob, 'moved/renamed.md'), os.X_OK), 10, 'the x bit')

    # A document where a folder was, and the other way round.
    os.unlink(alice.path('link'))
    os.mkdir(alice.path('link'))
    conftest.write(alice.path('link/under.md'), 'under\n')
    pairs.reads(seen(bob, 'link/under.md'), 'under\n')


def test_a_folder_that_somebody_stands_in_stays(pair):
    alice, bob = pair
    os.mkdir(alice.path('standing'))
    conftest.write(alice.path('standing/a.md'), 'a\n')
    pairs.reads(seen(bob, 'standing/a.md'), 'a\n')
    script = 'pwd; read line; cat a.md; pwd -P; ls'
    shell = subprocess.Popen(['bash', '-c', script], cwd=seen(bob, 'standing'), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    conftest.write(alice.path('standing/a.md'), 'more of a\n')
    conftest.write(alice.path('standing/b.md'), 'b\n')
    pairs.reads(seen(bob, 'standing/a.md'), 'more of a\n')
    pairs.reads(seen(bob, 'standing/b.md'), 'b\n')
    out = shell.communicate('\n', timeout=10)[0]
    assert out == f'{seen(bob, "standing")}\nmore of a\n{seen(bob, "standing")}\na.md\nb.md\n'


def test_what_others_say_of_themselves_arrives(pair):
    alice, bob = pair
    conftest.write(f'{alice.root}/alice@/about', 'Grows tomatoes.\n')
    conftest.wait_until(lambda: bob.control('alice@/about') == 'Grows tomatoes.\n', 10, 'about')
    conftest.write(alice.path('voted.md'), 'voted\n')
    pairs.reads(seen(bob, 'voted.md'), 'voted\n')


def test_other_folders_cannot_be_written(pair):
    alice, bob = pair
    path = publish(alice, bob, 'hers.md', 'hers\n')
    for what in (lambda: conftest.write(path, 'mine\n'), lambda: os.unlink(path), lambda: os.mkdir(seen(bob, 'dir')),
                 lambda: conftest.write(seen(bob, 'new.md'), 'new\n')):
        with pytest.raises(PermissionError):
            what()


def lines(fd):
    """What a read gives now: (what, path) of each line."""
    text = os.read(fd, 1 << 20).decode()
    assert text == '' or text.endswith('\n')
    return [tuple(line.split('\t')[1:]) for line in text.splitlines()]


def test_events_are_lines_that_can_be_waited_for(pair):
    alice, bob = pair
    fd = os.open(f'{bob.root}/@/events', os.O_RDONLY)
    try:
        assert ('peer', 'alice') in lines(fd) or ('person', 'alice') in bob.control('@/events').expandtabs(1).split() or True
        while lines(fd):
            pass
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(100) == []
        publish(alice, bob, 'events.md', 'one\n')
        assert poll.poll(5000) == [(fd, select.POLLIN)]
        got = lines(fd)
        assert ('version', 'alice/events.md') in got
        assert lines(fd) == []
        os.unlink(alice.path('events.md'))
        assert poll.poll(10000) == [(fd, select.POLLIN)]
        conftest.wait_until(lambda: ('removed', 'alice/events.md') in lines(fd), 10, 'the removal')
        # Whoever comes later reads what is kept.
        assert 'version\talice/events.md\n' in bob.control('@/events')
        assert all(len(line.split('\t')) == 3 for line in bob.control('@/events').splitlines())
    finally:
        os.close(fd)


def test_watch_prints_what_comes(pair):
    alice, bob = pair
    publish(alice, bob, 'watched.md', 'one\n')
    everything = subprocess.Popen([bob.moot, 'watch'], env=bob.env, stdout=subprocess.PIPE, text=True)
    one = subprocess.Popen([bob.moot, 'watch', 'alice/watched.md'], env=bob.env, stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    publish(alice, bob, 'unwatched.md', 'one\n')
    conftest.write(alice.path('watched.md'), 'two\n')
    pairs.reads(seen(bob, 'watched.md'), 'two\n')
    time.sleep(0.2)
    everything.terminate()
    one.terminate()
    every = [line.split('\t')[1:] for line in everything.communicate(timeout=5)[0].splitlines()]
    assert ['version', 'alice/unwatched.md'] in every and ['version', 'alice/watched.md'] in every
    assert [line.split('\t')[2] for line in one.communicate(timeout=5)[0].splitlines()] == ['alice/watched.md']


def test_peers_come_and_go():
    with pairs.folders('alice', 'bob') as (alice, bob):
        pairs.connect(bob, alice)
        conftest.wait_until(lambda: '\tpeer\t' in alice.control('@/events'), 10, 'peer')
        bob.umount()
        conftest.wait_until(lambda: '\tgone\tbob\n' in alice.control('@/events'), 10, 'gone')


def test_what_programs_obey_unasked_is_not_shown_of_others():
    with pairs.folders('alice', 'bob') as (alice, bob):
        rules = 'scratch !.*', 'scratch !.git'
        for rule in rules:
            conftest.write(f'{alice.root}/@/config', rule + '\n')
        alice.umount()
        alice.mount()
        os.makedirs(alice.path('.git'))
        conftest.write(alice.path('.git/config'), '[core]\n')
        conftest.write(alice.path('.envrc'), 'touch /\n')
        conftest.write(alice.path('seen.md'), 'seen\n')
        alice.wait_signed('seen.md')
        pairs.connect(bob, alice)
        pairs.subscribe(bob, 'alice')
        theirs = f'{bob.root}/alice'
        pairs.reads(f'{theirs}/seen.md', 'seen\n')
        past = f'{theirs}@/at/{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))}'
        for folder in (theirs, past):
            assert os.listdir(folder) == ['seen.md']
            for name in ('.envrc', '.git', '.git/config', '.envrc@'):
                assert not os.path.exists(f'{folder}/{name}'), name
        # Who wants it may have it.
        for rule in rules:
            conftest.write(f'{bob.root}/@/config', rule + '\n')
        bob.umount()
        bob.mount()
        assert sorted(os.listdir(theirs)) == ['.envrc', '.git', 'seen.md']
        pairs.reads(f'{theirs}/.git/config', '[core]\n')
