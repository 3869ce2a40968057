"""Two and three mounts on loopback: invite, connect, follow, edit in one, read in the other; restarts, kills, dead peers."""
import contextlib
import os
import re
import socket
import subprocess
import time

import pytest

from conftest import LATE_S, Folder, live, read, wait_until, write


@contextlib.contextmanager
def people(*names):
    """A mounted folder for each."""
    folders = []
    try:
        for name in names:
            folder = Folder(name=name)
            folders.append(folder)
            live.append(folder)
            folder.init()
            folder.mount()
        yield folders
    except BaseException:
        for folder in folders:
            folder.abort()
        raise
    finally:
        with contextlib.ExitStack() as stack:
            for folder in folders:
                stack.callback(live.remove, folder)
                stack.callback(folder.finish)


def invitation(folder):
    """host:port#id, from the line that `moot invite` prints."""
    words = folder.run('invite').stdout.split()
    assert words[:2] == ['moot', 'connect'] and len(words) == 3, words
    return words[2]


def connect(one, other):
    done = one.run('connect', invitation(other))
    assert done.stdout.startswith(f'connected to {other.name}, moot:'), done.stdout
    return done


def join(one, other):
    """Connected, and following one another."""
    connect(one, other)
    wait_until(lambda: os.path.isdir(os.path.join(other.root, one.name)), 5, f'{one.name} to be known by name')
    one.run('follow', other.name)
    other.run('follow', one.name)


def theirs(folder, other, *names):
    return os.path.join(folder.root, other.name, *names)


def content(path):
    try:
        return read(path)
    except OSError:
        return None


def wait_text(path, text, timeout=15):
    wait_until(lambda: content(path) == text, timeout, f'{path} to read {text!r}; it reads {content(path)!r}')


def wait_peers(folder, count, timeout=20):
    wait_until(lambda: f'\npeers\t{count}\n' in folder.control('@/status'), timeout, f'{count} peers of {folder.name}')


def test_invite_connect_follow_edit():
    with people('alice', 'bob') as (alice, bob):
        write(alice.path('tomatoes.md'), 'Sow in March.\n')
        alice.wait_signed('tomatoes.md')
        first = connect(bob, alice)
        assert 'public to every peer' in first.stderr and 'old versions' in first.stderr
        assert 'public to every peer' not in connect(bob, alice).stderr
        assert 'alice' not in os.listdir(bob.root)
        bob.run('follow', 'alice')
        assert 'alice' in os.listdir(bob.root)
        assert bob.value('alice@/subscribe') == '1'
        wait_text(theirs(bob, alice, 'tomatoes.md'), b'Sow in March.\n')
        write(alice.path('tomatoes.md'), 'Sow in April.\n')
        wait_text(theirs(bob, alice, 'tomatoes.md'), b'Sow in April.\n')
        with pytest.raises(PermissionError):
            write(theirs(bob, alice, 'tomatoes.md'), 'mine\n')
        assert len(os.listdir(theirs(bob, alice, 'tomatoes.md@/versions'))) == 2
        assert '\there\n' in bob.control('alice/tomatoes.md@/holders')
        assert [line.split('\t')[0] for line in bob.control('@/peers').split('\n')][0] == 'alice'
        assert 'moot_net_sessions 1\n' in bob.control('@/metrics')


def test_a_folder_arrives_whole():
    with people('alice', 'bob') as (alice, bob):
        texts = {f'garden/{n % 7}/{n}.md': f'# Plant {n}\n\n'.encode() + b'water it\n' * n for n in range(200)}
        for name, text in texts.items():
            os.makedirs(os.path.dirname(alice.path(name)), exist_ok=True)
            write(alice.path(name), text)
        connect(bob, alice)
        bob.run('follow', 'alice')
        for name, text in texts.items():
            wait_text(theirs(bob, alice, name), text, 30)
        found = sum(len(files) for _, _, files in os.walk(theirs(bob, alice)))
        assert found == len(texts)
        wait_until(lambda: '\nmissing\t0 logs, 0 pieces\n' in bob.control('@/status'), 10, 'nothing to be missing')


def test_both_edit_and_one_unfollows():
    with people('alice', 'bob') as (alice, bob):
        join(alice, bob)
        for n in range(3):
            write(alice.path('a.md'), f'alice {n}\n')
            write(bob.path('b.md'), f'bob {n}\n')
            wait_text(theirs(bob, alice, 'a.md'), f'alice {n}\n'.encode())
            wait_text(theirs(alice, bob, 'b.md'), f'bob {n}\n'.encode())
        bob.run('unfollow', 'alice')
        assert bob.value('alice@/subscribe') == '0' and 'alice' not in os.listdir(bob.root)
        write(alice.path('a.md'), 'not for bob\n')
        write(bob.path('b.md'), 'still for alice\n')
        wait_text(theirs(alice, bob, 'b.md'), b'still for alice\n')
        assert content(theirs(bob, alice, 'a.md')) == b'alice 2\n'
        bob.run('follow', 'alice')
        wait_text(theirs(bob, alice, 'a.md'), b'not for bob\n')


def test_three_where_two_do_not_know_each_other():
    with people('alice', 'bob', 'carol') as (alice, bob, carol):
        join(alice, bob)
        connect(carol, bob)
        carol.run('follow', alice.value('alice@/id'))
        write(alice.path('a.md'), 'from alice\n')
        wait_text(theirs(bob, alice, 'a.md'), b'from alice\n')
        wait_until(lambda: 'alice' in os.listdir(carol.root), 20, 'alice to have a name at carol')
        wait_text(theirs(carol, alice, 'a.md'), b'from alice\n', 20)


@pytest.mark.parametrize('end', ['restart', 'kill9'])
def test_one_goes_and_comes_back(end):
    with people('alice', 'bob') as (alice, bob):
        join(alice, bob)
        write(alice.path('a.md'), 'before\n')
        wait_text(theirs(bob, alice, 'a.md'), b'before\n')
        address = invitation(alice)
        if end == 'restart':
            alice.umount()
        else:
            alice.kill9()
        wait_peers(bob, 0)
        write(bob.path('b.md'), 'alone\n')
        assert read(theirs(bob, alice, 'a.md')) == b'before\n'
        alice.mount()
        assert invitation(alice) == address
        write(alice.path('a.md'), 'after\n')
        wait_text(theirs(bob, alice, 'a.md'), b'after\n', 30)
        wait_text(theirs(alice, bob, 'b.md'), b'alone\n', 30)


def hole():
    """A listener that takes connections and never says a word."""
    listener = socket.create_server(('127.0.0.1', 0), backlog=16)
    return listener, f'127.0.0.1:{listener.getsockname()[1]}'


def test_dead_and_silent_peers_cost_nothing():
    with people('alice') as (alice,):
        listener, silent = hole()
        with listener:
            refused = alice.run('connect', '127.0.0.1:1', check=False)
            assert refused.returncode == 1 and 'nobody listens there' in refused.stderr
            refused = alice.run('connect', re.search(r'^listening\t(\S+)$', alice.control('@/status'), re.M).group(1), check=False)
            assert refused.returncode == 1 and 'that is this node itself' in refused.stderr
            for address in (silent, '192.0.2.1:4040', 'nowhere.invalid:4040'):
                write(os.path.join(alice.root, '@/connect'), address + '\n')
            start = time.monotonic()
            for n in range(20):
                write(alice.path(f'{n}.md'), 'text\n')
            assert len(os.listdir(alice.own)) == 20
            alice.control('@/status')
            saved = time.monotonic() - start
            start = time.monotonic()
            alice.umount()
            assert saved < LATE_S and time.monotonic() - start < LATE_S


def test_bad_requests_change_nothing():
    with people('alice') as (alice,):
        for row, text in (('@/connect', 'nonsense'), ('@/connect', '127.0.0.1:0'), ('@/connect', '127.0.0.1:80#x'),
                          ('@/config', 'listen nowhere'), ('alice@/subscribe', '0'), ('alice@/subscribe', '2')):
            with pytest.raises(OSError) as error:
                write(os.path.join(alice.root, row), text + '\n')
            assert error.value.errno == 22, row
        assert alice.run('follow', 'nobody', check=False).stderr.startswith('moot: nobody is known as nobody')
        assert alice.run('connect', 'x', check=False).returncode == 1
        itself = alice.run('connect', invitation(alice), check=False)
        assert itself.returncode == 1
        done = alice.run('devices', 'admit', 'nonsense', check=False)
        assert done.returncode == 1 and 'no device that is known here begins with `nonsense`' in done.stderr


def test_the_address_is_configured():
    with people('alice') as (alice,):
        listener, free = hole()
        listener.close()
        write(os.path.join(alice.root, '@/config'), f'listen {free}\n')
        alice.restart()
        assert f'\nlistening\t{free}\n' in alice.control('@/status')
        alice.restart('-o', 'listen=0.0.0.0:0')
        done = alice.run('invite')
        assert '0.0.0.0' not in done.stdout
        assert alice.run('connect', 'x', check=False).returncode == 1


def test_serve_is_the_same_node():
    with people('alice', 'bob') as (alice, bob):
        join(alice, bob)
        write(bob.path('b.md'), 'kept by alice\n')
        wait_text(theirs(alice, bob, 'b.md'), b'kept by alice\n')
        alice.umount()
        serving = subprocess.Popen([alice.moot, 'serve'], env=alice.env, stdout=subprocess.PIPE, text=True)
        try:
            assert serving.stdout.readline().startswith('listening on 127.0.0.1:')
            wait_peers(bob, 1)
            write(bob.path('b.md'), 'while it is served\n')
            held = alice.run('connect', '127.0.0.1:1', check=False)
            assert held.returncode == 1 and held.stderr.count('\n') == 1
            wait_until(lambda: len(bob.texts('b.md')) == 2 and bob.signed('b.md'), 10, 'the save to be signed')
            time.sleep(1)
        finally:
            serving.terminate()
            assert serving.wait(10) == 0
        alice.mount('-o', 'listen=127.0.0.1:0')
        assert content(theirs(alice, bob, 'b.md')) == b'while it is served\n'


def test_without_a_mount():
    folder = Folder()
    live.append(folder)
    try:
        folder.init()
        for arguments in (['connect', '127.0.0.1:4040'], ['invite']):
            done = folder.run(*arguments, check=False)
            assert done.returncode == 1 and 'moot mount' in done.stderr, done
        assert folder.run('peers').stdout.startswith('#')
        folder.run('follow', 'moot:' + 'b' * 51 + 'a')
        zero = folder.run('follow', 'moot:' + 'a' * 52, check=False)
        assert zero.returncode == 1 and len(zero.stderr) > len('moot: \n')
    finally:
        live.remove(folder)
        folder.finish()
