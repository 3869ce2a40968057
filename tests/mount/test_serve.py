"""`moot serve`, the node without a mount: spoken to while it runs, stopped, killed; a box that carries what a laptop saves."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pexpect

import conftest
import pairs
from conftest import LATE_S, Folder, wait_until, write


class Served(Folder):
    """A data folder that `moot serve` runs on."""

    process = None

    def serve(self, *options):
        self.process = subprocess.Popen([self.moot, 'serve', *options], env=self.env, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.told = []
        reader = threading.Thread(target=lambda stream: self.told.extend(stream), args=[self.process.stderr], daemon=True)
        reader.start()
        assert self.process.stdout.readline().startswith('listening on 127.0.0.1:'), self.told

    @property
    def socket(self):
        return os.path.join(self.home, 'socket')

    def stop(self, signal_number=signal.SIGTERM, status=0):
        if self.process:
            process, self.process = self.process, None
            process.send_signal(signal_number)
            assert process.wait(LATE_S) == status, self.told

    def finish(self):
        try:
            self.stop()
        finally:
            super().finish()

    def abort(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        super().abort()

    def status(self):
        return self.run('status').stdout

    def say(self, words):
        """Everything that is answered."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(LATE_S)
            one.connect(self.socket)
            one.sendall(words)
            said = b''
            # What is refused before it was whole ends with a reset.
            with contextlib.suppress(ConnectionResetError):
                while part := one.recv(1 << 16):
                    said += part
            return said.decode()


@contextlib.contextmanager
def nodes(*made):
    """A (class, name) each: what is Served is served, what is a Folder is mounted."""
    with contextlib.ExitStack() as stack:
        folders = []
        for kind, name in made:
            folder = kind(name)
            conftest.live.append(folder)
            stack.callback(pairs.end, folder)
            folder.init()
            folder.serve() if kind is Served else folder.mount()
            folders.append(folder)
        yield folders


class Watching:
    """`moot watch`, and what it printed."""

    def __init__(self, folder, *arguments):
        self.process = subprocess.Popen([folder.moot, 'watch', *arguments], env=folder.env, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.thread.start()

    def saw(self, what, path):
        return any(line.split('\t')[1:] == [what, path + '\n'] for line in list(self.lines))


def first(text):
    return text.split('\n', 1)[0]


def test_every_command_that_needs_a_node_works_beside_it():
    with nodes((Folder, 'bob'), (Served, 'alice')) as (bob, alice):
        for name in ('one.md', 'two.md'):
            write(bob.path(name), 'first\n')
        assert first(alice.status()) == 'mounted\tno, served'
        assert re.search(r'^listening\t127\.0\.0\.1:\d+$', alice.status(), re.M)
        assert first(alice.run('id').stdout).startswith('moot:')
        assert 'moot_net_sessions 0\n' in alice.run('metrics').stdout
        nobody = alice.run('follow', 'bob', check=False)
        assert nobody.returncode == 1 and 'nobody is known as bob' in nobody.stderr

        done = pairs.connect(alice, bob)
        assert done.stdout.startswith('connected to bob, moot:') and 'public to every peer' in done.stderr
        assert pairs.connect(bob, alice).stdout.startswith('connected to alice, moot:')
        assert alice.run('peers').stdout.startswith('bob\t')
        alice.run('follow', 'bob')
        assert first(alice.say(b'read bob@/subscribe\n').partition('\n')[2]) == '1'
        assert re.match(r'moot:\w+\tadmitted\t.*\tthis one\n', alice.run('devices').stdout)

        bob.wait_signed('one.md', 'two.md')
        wait_until(lambda: '\nmissing\t0 logs, 0 pieces\n' in alice.status() and '\tbob' in alice.say(b'read @/events\n'), LATE_S, 'all')
        every, one = Watching(alice), Watching(alice, 'bob/two.md')

        def both_saw():
            """They may have come later than the first save."""
            for name in ('one.md', 'two.md'):
                write(bob.path(name), f'{time.monotonic()}\n')
            time.sleep(0.3)
            return every.saw('version', 'bob/two.md') and every.saw('version', 'bob/one.md') and one.lines

        wait_until(both_saw, 2 * LATE_S, 'the lines')
        assert not one.saw('version', 'bob/one.md')

        # What works on the data folder itself is refused in a sentence, and harms nothing.
        for arguments in (['gc'], ['reindex'], ['log', 'bob/one.md'], ['import', alice.outside], ['serve']):
            refused = alice.run(*arguments, check=False)
            assert refused.returncode == 1 and 'in use by process' in refused.stderr, refused
        alice.run('verify')
        alice.run('unfollow', 'bob')
        refused = alice.run('connect', '127.0.0.1:1', check=False)
        assert refused.returncode == 1 and refused.stderr.count('\n') == 1

        # It ends at once, whoever watches; and they are told.
        alice.stop()
        for watching in (every, one):
            assert watching.process.wait(LATE_S) == 1 and 'ended' in watching.process.stderr.read()
        assert not os.path.exists(alice.socket)
        assert alice.run('show', 'bob/two.md').stdout.encode() in bob.texts('two.md')[1:]
        assert alice.run('connect', '127.0.0.1:1', check=False).stderr.count('moot serve') == 1


def test_killed_and_served_again():
    with nodes((Served, 'alice')) as (alice,):
        alice.stop(signal.SIGKILL, -signal.SIGKILL)
        assert os.path.exists(alice.socket)
        assert first(alice.status()) == 'mounted\tno'
        alice.mount()
        assert first(alice.status()) == f'mounted\t{alice.root}'
        alice.umount()
        alice.serve()
        assert first(alice.status()) == 'mounted\tno, served'
        assert os.stat(alice.socket).st_mode & 0o777 == 0o600
        # Half a request, and a line too long, keep nobody from being answered.
        with socket.socket(socket.AF_UNIX) as half:
            half.connect(alice.socket)
            half.sendall(b'write 8000 @/quota\n1')
            assert alice.say(b'x' * 5000).startswith('error ')
            assert first(alice.status()) == 'mounted\tno, served'
        assert alice.say(b'write 3 @/quota\n1M\n') == 'ok 0\n'
        assert alice.say(b'read @/quota\n').split('\n')[1] == '1048576'
        # Something else in its place: it serves its peers, and says what does not work.
        alice.stop(signal.SIGINT)
        write(alice.socket, 'mine\n')
        alice.serve()
        wait_until(lambda: alice.told, LATE_S, 'a sentence')
        assert 'called `socket`' in alice.told[0]
        assert 'in use by process' in alice.run('status', check=False).stderr
        alice.stop()
        assert conftest.read(alice.socket) == b'mine\n'
        os.unlink(alice.socket)


def test_a_box_carries_what_a_laptop_saves():
    """One person's laptop, mounted, and box, served and spoken to by its socket alone; a friend."""
    with nodes((Folder, 'alice'), (Folder, 'carol')) as (laptop, carol):
        box = Served('alice')
        conftest.live.append(box)
        write(laptop.path('early.md'), 'early\n')
        write(carol.path('hers.md'), 'hers\n')

        def events():
            return box.say(b'read @/events\n')

        try:
            box.run('init', '--person', laptop.value('me@/id'))
            box.serve()
            pairs.connect(box, laptop)
            laptop.run('devices', 'admit', first(box.run('id').stdout))
            wait_until(lambda: box.run('devices').stdout.count('\tadmitted\t') == 2, LATE_S, 'the box to be admitted')
            pairs.connect(box, carol)
            box.run('follow', 'carol')
            carol.run('follow', 'alice')
            pairs.reads(f'{carol.root}/alice/early.md', 'early\n', LATE_S)
            # What the box signs, the laptop knows.
            pairs.reads(f'{laptop.root}/carol/hers.md', 'hers\n', LATE_S)
            assert laptop.value('carol@/subscribe') == '1'

            carol.umount()
            wait_until(lambda: 'gone\tcarol\n' in events(), LATE_S, 'carol to go')
            before = events().count('\talice/early.md\n')
            write(laptop.path('early.md'), 'and the newest\n')
            wait_until(lambda: events().count('\talice/early.md\n') > before and '\nmissing\t0 logs, 0 pieces\n' in box.status(),
                       LATE_S, 'the box to have it')
            laptop.umount()

            carol.mount()
            pairs.reads(f'{carol.root}/alice/early.md', 'and the newest\n', LATE_S)
            # And what carol saves meanwhile, the laptop gets from the box.
            before = events().count('\tcarol/hers.md\n')
            write(carol.path('hers.md'), 'hers, newer\n')
            wait_until(lambda: events().count('\tcarol/hers.md\n') > before, LATE_S, 'the box to have hers')
            carol.umount()
            laptop.mount()
            pairs.reads(f'{laptop.root}/carol/hers.md', 'hers, newer\n', LATE_S)
        finally:
            pairs.end(box)


def test_a_first_sync_is_shown():
    text = os.urandom(1 << 20)
    with nodes((Folder, 'alice')) as (alice,), pairs.Relay(alice) as relay, contextlib.ExitStack() as stack:
        write(alice.path('big.md'), text)
        bob, = stack.enter_context(nodes((Served, 'bob')))
        bob.run('connect', relay.address)
        alice.wait_signed('big.md')
        relay.tell(budget=300 * 1024)
        child = pexpect.spawn(bob.moot, ['follow', 'alice'], env=bob.env, dimensions=(24, 100), timeout=LATE_S)
        going = r'sync: got \d+ records, \d+ pieces, [\d.]+ .iB; missing \d+ logs, [1-9]\d* pieces'
        child.expect('\r\x1b\\[K' + going)
        assert re.search(r'^missing\t\d+ logs, [1-9]\d* pieces$', bob.status(), re.M)
        # Not a terminal: lines, and not many.
        wait_until(lambda: bob.told, LATE_S + 3, 'a line')
        assert re.fullmatch(going + '\n', bob.told[0])
        relay.tell(state='open')
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0 and child.before.endswith(b'iB\r\n'), child.before
        wait_until(lambda: bob.told[-1].endswith('iB\n'), LATE_S, 'the last line')
        assert len(bob.told) <= 3
        # Where nobody looks, nobody waits.
        done = bob.run('follow', 'alice')
        assert done.stdout == done.stderr == ''
        bob.stop()
        assert subprocess.run([bob.moot, 'show', 'alice/big.md'], env=bob.env, capture_output=True, check=True).stdout == text
