"""Reading what is not here: it comes while the reader waits, or fails in bounded time, and nothing else waits."""
import concurrent.futures
import contextlib
import errno
import os
import random
import signal
import subprocess
import time

import pytest

import conftest
import pairs

SIZE = 1024 * 1024
WAIT_S = 2


def noise(seed, size=SIZE):
    return random.Random(seed).randbytes(size)


@contextlib.contextmanager
def halfway(options=()):
    """Bob knows of alice's big.md, and its text stalls on the way."""
    with pairs.folders('alice', 'bob', options=options) as (alice, bob), pairs.Relay(alice) as relay:
        conftest.write(alice.path('small.md'), 'small\n')
        bob.run('connect', relay.address)
        pairs.subscribe(bob, 'alice')
        pairs.reads(f'{bob.root}/alice/small.md', 'small\n')
        alice.big, relay.text = alice.path('big.md'), noise(1)
        relay.tell(budget=200 * 1024)
        conftest.write(alice.big, relay.text)
        big = f'{bob.root}/alice/big.md'
        conftest.wait_until(lambda: os.path.exists(big), 10, 'the name to come')
        yield alice, bob, relay, big
        relay.tell(state='open')
        if not conftest.is_mounted(bob.root):
            bob.mount()
        pairs.reads(big, relay.text, timeout=30)


def timed(path):
    """(seconds, bytes or errno) of one read of a whole file."""
    begun = time.monotonic()
    try:
        answer = conftest.read(path)
    except OSError as error:
        answer = error.errno
    return time.monotonic() - begun, answer


def test_what_comes_in_time_is_read_and_nobody_else_waits():
    with halfway(('-o', 'wait=40')) as (_, bob, relay, big):
        # Names, sizes and times are known.
        begun = time.monotonic()
        assert os.stat(big).st_size == SIZE
        assert sorted(os.listdir(os.path.dirname(big))) == ['big.md', 'small.md']
        assert time.monotonic() - begun < conftest.LATE_S
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            # More readers than the mount has workers, and more than the kernel has requests in the background.
            waiting = [pool.submit(timed, big) for _ in range(30)]
            time.sleep(0.3)
            seconds, answer = timed(f'{bob.root}/alice/small.md')
            assert answer == b'small\n' and seconds < conftest.LATE_S
            begun = time.monotonic()
            conftest.write(bob.path('own.md'), 'own\n')
            assert conftest.read(bob.path('own.md')) == b'own\n'
            assert time.monotonic() - begun < conftest.LATE_S
            relay.tell(state='open')
            for reader in waiting:
                seconds, answer = reader.result()
                assert answer == relay.text and seconds > 0.25


def test_what_does_not_come_fails_within_the_bound():
    with halfway() as (_, bob, relay, big):
        seconds, answer = timed(big)
        assert answer == errno.ENODATA and WAIT_S - 0.5 < seconds < WAIT_S + conftest.LATE_S
        version = os.listdir(big + '@/versions')[0]
        seconds, answer = timed(f'{big}@/versions/{version}')
        assert answer == errno.ENODATA and WAIT_S - 0.5 < seconds < WAIT_S + conftest.LATE_S
        # Who should have what is missing, is told.
        holders = [line.split('\t') for line in bob.control('alice/big.md@/holders').splitlines() if line[0] != '#']
        assert {tuple(line[3:]) for line in holders} <= {('here',), ('missing', 'alice')} and holders[-1][3] == 'missing'
        # With nobody there is nothing to wait for.
        relay.tell(state='cut')
        conftest.wait_until(lambda: timed(big)[0] < 0.2, 10, 'the peer to be gone')
        conftest.wait_until(lambda: '\tmissing\t-\n' in bob.control('alice/big.md@/holders'), 10, 'nobody to be told')
        seconds, answer = min(timed(big) for _ in range(5))
        assert answer == errno.ENODATA and seconds < 0.2


def test_many_readers_wait_together():
    with halfway() as (_, _, _, big), concurrent.futures.ThreadPoolExecutor(8) as pool:
        begun = time.monotonic()
        for reader in [pool.submit(timed, big) for _ in range(8)]:
            assert reader.result()[1] == errno.ENODATA
        assert time.monotonic() - begun < WAIT_S + conftest.LATE_S


def test_who_says_so_does_not_wait():
    with halfway(('-o', 'wait=0')) as (_, _, relay, big):
        seconds, answer = min(timed(big) for _ in range(5))
        assert answer == errno.ENODATA and seconds < 0.5


def test_a_signal_ends_it():
    with halfway(('-o', 'wait=20')) as (_, _, _, big):
        reader = subprocess.Popen(['cat', big], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        assert reader.poll() is None
        begun = time.monotonic()
        reader.send_signal(signal.SIGINT)
        reader.wait(conftest.LATE_S)
        assert time.monotonic() - begun < conftest.LATE_S


def test_a_handled_signal_is_eintr():
    with halfway(('-o', 'wait=20')) as (_, _, _, big):
        fd = os.open(big, os.O_RDONLY | os.O_DIRECT)

        def handler(*_):
            raise InterruptedError

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        begun = time.monotonic()
        try:
            with pytest.raises(InterruptedError):
                os.pread(fd, 4096, SIZE - 4096)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            os.close(fd)
        assert 0.4 < time.monotonic() - begun < conftest.LATE_S


def test_unmounting_does_not_wait():
    with halfway(('-o', 'wait=60')) as (_, bob, _, big):
        reader = subprocess.Popen(['cat', big], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        assert reader.poll() is None
        pid = bob.pid
        begun = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        reader.wait(10)
        conftest.wait_until(lambda: not conftest.is_alive(pid), 20, 'the daemon to end')
        assert time.monotonic() - begun < 20
