"""A node with a friend, while a hostile peer does its worst: hostile.c, one test a mode.

Whatever comes, the node stays small, what it saves is at its friend within two seconds and the other way round, listing
and saving stay fast, and @/metrics says what happened.
"""
import collections
import contextlib
import os
import re
import statistics
import subprocess
import threading
import time

import pytest

import conftest
from conftest import LATE_S, LONG, Folder, find_moot, live, wait_until, write

HOSTILE = os.path.join(os.path.dirname(find_moot()), '..', 'tests', 'net', 'hostile')
SECONDS = 20 if LONG else 1
# The index is mapped, not RssAnon. 32 MiB for all sessions (LINKS_MEMORY_MAX), four workers with a page or a chain each,
# what the allocator keeps of it, and some 10 MiB of a mount with nobody connected.
RSS_ANON_MAX = 64 * 1024 * 1024
FAST_S = 1  # the median listing or save, with two processors for all the tests at once; alone 0.01
FOLLOWED = 4001  # the seed of the friend gone bad: each mode has its own after it

# What is to rise, and how long the short form needs (None: SECONDS).
MODES = {
    'crowd-garbage': ('handshake_failures_total', None),
    'crowd-garbage-earn': ('handshake_failures_total', None),
    'crowd-silent-one': ('refused_total', None),
    'crowd-silent-many': ('refused_total', None),
    'crowd-hello': ('refused_total', None),
    'crowd-slow': ('timeouts_total' if LONG else 'sessions_total', None),
    'crowd-churn': ('sessions_total', None),
    'crowd-identities': ('sessions_total', None),
    'crowd-partial-frames': ('floods_total', 2),
    'crowd-slow-readers': ('pages_out_total', 2),
    'crowd-filters': ('floods_total', 3),
    'words-garbage': ('malformed_total', None),
    'words-garbage-packets': ('malformed_total', None),
    'words-oversized': ('malformed_total', None),
    'words-cut': ('sessions_total', None),
    'words-again-ready': ('malformed_total', None),
    'words-queries': ('queries_dropped_total', None),
    'words-ranges': ('malformed_total', None),
    'words-filters': ('floods_total', None),
    'words-pings': ('floods_total', None),
    'words-rekeys': ('floods_total', None),
    'words-notes': ('floods_total', None),
    'words-grafts': ('floods_total', None),
    'words-thanks': ('malformed_total', None),
    'words-pages-unasked': ('floods_total', None),
    'words-junk': ('floods_total', 2),
    'words-chains': ('duplicates_total', None),
    'words-large-pushes': ('floods_total', None),
    'friend-nonce': ('floods_total', None),
    'friend-binding': ('floods_total', None),
    'friend-signature': ('bad_signatures_total', None),
    'friend-twice': ('floods_total', None),
    'friend-half': ('sessions_total', None),
    'friend-mute': ('sessions_total', None),
    'friend-endless': ('records_in_total', None),
    'friend-empty': ('pages_in_total', None),
    'friend-heads': ('pages_in_total', None),
    'friend-own-head': ('pages_in_total', None),
    'friend-peers': ('pages_in_total', None),
    'friend-bomb': ('malformed_total', 2),
    'friend-larger': ('pieces_in_total', None),
    'friend-wrong-piece': ('malformed_total', None),
    'friend-lists': ('pieces_in_total', 2),
    'friend-future': ('records_in_total', None),
    'friend-prev': ('pages_in_total', None),
    'friend-tip': ('bad_signatures_total', None),
    'friend-voucher': ('malformed_total', None),
    'friend-fork': ('forks_total', None),
    'friend-devices': ('pages_in_total', 2),
    'friend-junk': ('records_in_total', 3),
    'tree-strangers': ('sessions_total', 2),
    'tree-deep': ('records_in_total', None),
    'tree-same': ('records_in_total', None),
    'tree-nowhere': ('records_in_total', None),
    'tree-documents': ('records_in_total', None),
}


def hostile(*arguments):
    return subprocess.run([HOSTILE, *arguments], check=True, timeout=20, capture_output=True, text=True).stdout


def seed_of(mode):
    return FOLLOWED + list(MODES).index(mode)


class Victim(Folder):
    def finish(self):
        """Verified here: what the hostile wrote may be told, and nothing else."""
        try:
            self.umount()
            told = self.run('verify', check=False, timeout=120).stdout.splitlines()
            os.remove(os.path.join(self.home, 'key'))
            theirs = {hostile('id', str(seed_of(mode)))[5:13] for mode in MODES}
            logs = [(line, re.match(r'record \w+ of log (\w+): ', line)) for line in told]
            wrong = [line for line, log in logs if not (log and log.group(1) in theirs) and
                     not re.match(r'\d+ records in |\d+ pieces? of what others wrote |all is well$', line)]
            assert told and not wrong, told
        finally:
            super().finish()


class Pair:
    """Alice, who is the victim, and her friend."""

    def __init__(self):
        self.alice, self.bob = Victim('alice'), Folder('bob')
        live.extend((self.alice, self.bob))
        for folder in (self.alice, self.bob):
            folder.init()
            folder.mount()
        for i in range(40):
            write(self.alice.path(f'{i}.md'), f'{i}\n' * 500)
        for folder in (self.alice, self.bob):
            write(folder.path('news.md'), 'first\n')
        self.alice.run('connect', self.bob.run('invite').stdout.split()[-1])
        self.alice.run('follow', 'bob')
        self.bob.run('follow', 'alice')
        self.target = re.search(r'^listening\t(\S+)$', self.alice.control('@/status'), re.M).group(1)
        self.count = 0
        self.times = collections.defaultdict(list)
        self.say(20)

    def finish(self):
        with contextlib.ExitStack() as stack:
            for folder in (self.alice, self.bob):
                stack.callback(live.remove, folder)
                stack.callback(folder.finish)

    def timed(self, what, do):
        begun = time.monotonic()
        do()
        self.times[what].append(time.monotonic() - begun)

    def carry(self, one, other, timeout):
        """A save of one is visible at the other."""
        self.count += 1
        text = f'{self.count} ' + 'news ' * (self.count % 700)
        self.timed('save', lambda: write(one.path('news.md'), text))
        path = os.path.join(other.root, one.name, 'news.md')

        def is_there():
            with contextlib.suppress(OSError):
                with open(path, encoding='utf-8') as file:
                    return file.read() == text
            return False

        self.timed(f'from {one.name}', lambda: wait_until(is_there, timeout, f'a save of {one.name} at {other.name}'))

    def say(self, timeout=LATE_S):
        self.carry(self.alice, self.bob, timeout)
        self.carry(self.bob, self.alice, timeout)
        self.timed('ls', lambda: os.listdir(self.alice.own))
        self.timed('ls', lambda: [os.stat(self.alice.path(f'{i}.md')) for i in range(40)])

    def metrics(self):
        return {name: int(value) for name, value in re.findall(r'^moot_net_(\w+) (\d+)$', self.alice.control('@/metrics'), re.M)}


class Weight:
    """The greatest RssAnon of a process while this lasts."""

    def __init__(self, pid):
        self.pid, self.most, self.done = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.done.wait(0.02):
            with contextlib.suppress(OSError, AttributeError):
                with open(f'/proc/{self.pid}/status', encoding='ascii', errors='replace') as status:
                    self.most = max(self.most, int(re.search(r'RssAnon:\s*(\d+)', status.read()).group(1)) * 1024)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def run_beside(pair, mode, seconds):
    """While the two friends go on; what it told."""
    # It takes no processor time from its victim: elsewhere it would have its own.
    peer = subprocess.Popen(['nice', '-n', '15', HOSTILE, mode, pair.target, str(seconds), str(seed_of(mode))],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while peer.poll() is None:
            pair.say()
    finally:
        peer.kill()
        told = peer.communicate(timeout=20)[0]
    assert peer.returncode == 0, told
    return told


def risen(pair, before, counter):
    """What @/metrics shows is up to 100 ms old."""
    with contextlib.suppress(AssertionError):
        return wait_until(lambda: pair.metrics()[counter] > before[counter], 0.5)
    return False


@pytest.fixture(scope='module')
def pair():
    made = Pair()
    try:
        yield made
    finally:
        made.finish()


def test_every_mode_is_tested():
    assert hostile('list').split() == list(MODES)


@pytest.mark.parametrize('mode', MODES)
def test_a_hostile_peer_changes_nothing(pair, mode):
    counter, seconds = MODES[mode]
    seconds = SECONDS if LONG else seconds or SECONDS
    follows = mode.startswith(('friend-', 'tree-')) and mode != 'tree-strangers'
    if follows:
        pair.alice.run('follow', hostile('id', str(seed_of(mode))).strip())
    before, pid = pair.metrics(), pair.alice.pid
    pair.times.clear()
    with Weight(pid) as weight:
        # On a machine with much else to do it may not have come to much.
        for _ in range(5):
            told = run_beside(pair, mode, seconds)
            if risen(pair, before, counter):
                break
        pair.say()
    after = pair.metrics()
    print(f'{told.strip()}\nRssAnon at most {weight.most // 1024} KiB; { {what: max(times) for what, times in pair.times.items()} }\n'
          f'{ {name: after[name] - before[name] for name in after if after[name] != before[name]} }')
    assert pair.alice.pid == pid, 'the daemon is not what it was'
    assert weight.most < RSS_ANON_MAX
    assert after[counter] > before[counter], counter
    assert all(statistics.median(times) < FAST_S for times in pair.times.values()), pair.times
    if mode.startswith('tree-'):
        assert max(pair.times['save'] + pair.times['ls']) < LATE_S, pair.times
    if mode.startswith('tree-') and follows:
        begun = time.monotonic()
        os.listdir(os.path.join(pair.alice.root, f'mallory{seed_of(mode)}'))
        assert time.monotonic() - begun < LATE_S


@pytest.mark.parametrize('mode', ('crowd-silent-many', 'crowd-hello', 'crowd-identities'))
def test_a_friend_who_comes_back_in_a_flood_is_let_in(pair, mode):
    peer = subprocess.Popen(['nice', '-n', '15', HOSTILE, mode, pair.target, '20', str(seed_of(mode))],
                            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        time.sleep(1)
        pair.bob.restart('-o', 'listen=')  # he has to dial
        begun = time.monotonic()
        pair.say(10)
        print(f'{time.monotonic() - begun:.1f} s until both had heard of one another')
        assert peer.poll() is None
    finally:
        peer.kill()
        peer.wait()
