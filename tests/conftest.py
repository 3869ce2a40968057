"""What the whole-program tests share: a data folder, a mount, and watching over both.

MOOT names the program under test. A mount that cannot mount fails the test; nothing hangs:
every program has a timeout, and a test over its limit loses its daemons, so that
whatever waits in the mount fails with ENOTCONN.
"""
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get('MOOT_SHARED', os.path.join(ROOT, '..', 'shared'))
LONG = bool(os.environ.get('MOOT_LONG'))
LIMIT_S = 120  # for a test without a mark of its own
SANITIZERS = ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS')
live = []  # folders that may be mounted


def find_moot():
    path = os.environ.get('MOOT')
    if not path:
        pytest.exit('MOOT must name the moot program, e.g. MOOT=build/fs/moot', 2)
    path = os.path.abspath(path)
    if not os.access(path, os.X_OK):
        pytest.exit(f'MOOT is not a program: {path}', 2)
    return path


def shared_data(name):
    """A file of the real data, or a skip that says what is missing."""
    path = os.path.join(SHARED, 'data', name)
    if not os.path.exists(path):
        pytest.skip(f'no {name} in $MOOT_SHARED/data')
    return path


def is_mounted(path):
    """By the kernel's table: asking the folder itself could hang."""
    with open('/proc/self/mountinfo', 'rb') as table:
        points = [os.fsdecode(line.split(b' ')[4]) for line in table]
    return os.path.abspath(path) in points


def is_alive(pid):
    """Its files, and the lock with them, go with its last thread: the first may have ended before."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as stat:
            return stat.read().rpartition(')')[2].split()[0] != 'Z' or len(os.listdir(f'/proc/{pid}/task')) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


# How late anything may come on a machine with much else to do.
LATE_S = 10


def wait_until(condition, timeout=10, what='it'):
    """Returns the first true answer."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f'waited {timeout} s in vain for {what}')
        time.sleep(0.02)


class Folder:
    """A data folder of its own and the place where it is mounted."""

    def __init__(self, name='alice', usual_places=False):
        """usual_places: ~/moot and the default data folder, below a home directory of its own."""
        self.moot = find_moot()
        self.killed = False
        self.name = name
        self.base = tempfile.mkdtemp(prefix='moot-', dir='/var/tmp')  # vim saves otherwise below /tmp
        self.home = os.path.join(self.base, 'data')
        self.root = os.path.join(self.base, 'moot')
        self.outside = os.path.join(self.base, 'outside')
        os.mkdir(self.root)
        os.mkdir(self.outside)
        self.env = dict(os.environ, MOOT_HOME=self.home, HOME=self.outside, LC_ALL='C.UTF-8', TZ='UTC',
                        PATH=os.path.dirname(self.moot) + ':' + os.environ['PATH'], OUTSIDE=self.outside)
        for variable in SANITIZERS:
            given = os.environ.get(variable, '')
            self.env[variable] = f'{given}:log_path={self.base}/sanitizer:exitcode=99:handle_abort=1'.lstrip(':')
        self.env.pop('NO_COLOR', None)
        self.env.pop('XDG_DATA_HOME', None)
        if usual_places:
            del self.env['MOOT_HOME']
            self.home = os.path.join(self.outside, '.local/share/moot')
            os.rmdir(self.root)
            self.root = os.path.join(self.outside, 'moot')
            os.mkdir(self.root)

    # -- the command --

    def run(self, *arguments, check=True, timeout=60, **options):
        """`moot ARGUMENTS`; check: status 0 is required."""
        done = subprocess.run([self.moot, *map(str, arguments)], env=self.env, timeout=timeout,
                              stdin=options.pop('stdin', subprocess.DEVNULL), capture_output=True, **options)
        done.stdout = os.fsdecode(done.stdout)
        done.stderr = os.fsdecode(done.stderr)
        if check:
            assert done.returncode == 0, f'moot {arguments}: {done.returncode}\n{done.stdout}{done.stderr}'
        return done

    def sh(self, script, cwd=None, check=True, timeout=60):
        """A shell script in the person's own folder (or cwd)."""
        done = subprocess.run(['bash', '-c', script], cwd=cwd or self.own, env=self.env, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        done.stdout = os.fsdecode(done.stdout)
        if check:
            assert done.returncode == 0, f'{script}: {done.returncode}\n{done.stdout}'
        return done

    # -- the mount --

    def init(self):
        return self.run('init', '--name', self.name)

    def mount(self, *options):
        done = self.run('mount', *options, self.root, timeout=60)
        self.killed = False
        assert is_mounted(self.root), f'moot mount returned 0 and mounted nothing\n{done.stdout}{done.stderr}'
        os.listdir(self.root)  # it returned, so it answers
        return done

    @property
    def pid(self):
        """The daemon's, from the lock; 0: there is none."""
        try:
            with open(os.path.join(self.home, 'lock'), encoding='utf-8', errors='replace') as lock:
                found = re.search(r'\d+', lock.read())
        except FileNotFoundError:
            return 0
        pid = int(found.group()) if found else 0
        try:
            program = os.readlink(f'/proc/{pid}/exe')
        except OSError:
            return 0
        return pid if os.path.basename(program).startswith('moot') else 0

    def umount(self):
        pid = self.pid
        self.run('umount', self.root, timeout=60)
        assert not is_mounted(self.root)
        if pid:
            wait_until(lambda: not is_alive(pid), 20, 'the daemon to end')

    def kill9(self):
        """The daemon dies at once; the stale mount stays."""
        pid = self.pid
        assert pid, 'no daemon to kill'
        self.killed = True
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), 10, 'the killed daemon to end')

    def restart(self, *options):
        self.umount()
        self.mount(*options)

    def abort(self):
        """Whatever it takes; never raises."""
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for _ in range(5):
            if not is_mounted(self.root):
                break
            subprocess.run(['umount', '-l', self.root], timeout=20, check=False, capture_output=True)

    def finish(self):
        """Unmounts, verifies what was stored, and leaves nothing; raises what went wrong."""
        try:
            died = is_mounted(self.root) and not self.pid and not self.killed
            if is_mounted(self.root):
                self.umount()
            if os.path.exists(os.path.join(self.home, 'key')):
                self.run('verify', timeout=120)
            for report in glob.glob(f'{self.base}/sanitizer*'):
                with open(report, encoding='utf-8', errors='replace') as text:
                    raise AssertionError(text.read())
            assert not died, 'the daemon died by itself'
        finally:
            self.abort()
            shutil.rmtree(self.base, ignore_errors=True)

    # -- what is in it --

    @property
    def own(self):
        return os.path.join(self.root, self.name)

    def path(self, *names):
        return os.path.join(self.own, *names)

    def versions(self, name):
        """The names in versions/, as listed."""
        return os.listdir(self.path(name) + '@/versions')

    def version_text(self, name, version):
        with open(os.path.join(self.path(name) + '@/versions', version), 'rb') as file:
            return file.read()

    def texts(self, name):
        """The text of every version, oldest first. What is listed as a draft may be signed, and be called otherwise, a moment later."""
        for _ in range(20):
            try:
                return [self.version_text(name, version) for version in self.versions(name)]
            except FileNotFoundError as error:
                if '-draft' not in error.filename:
                    raise
        raise AssertionError(f'the versions of {name} change again and again')

    def wait_signed(self, *names, timeout=20):
        """Until no save of these is a draft any more; the versions of the last."""
        for name in names:
            versions = wait_until(lambda name=name: self.signed(name), timeout, f'{name} to be signed')
        return versions

    def signed(self, name):
        versions = self.versions(name)
        return versions if versions and not any('-draft' in version for version in versions) else None

    def control(self, name):
        """A control file's text: `notes.md@/head`, `@/status`, `alice@/id`."""
        with open(os.path.join(self.root, name), 'rb') as file:
            return os.fsdecode(file.read())

    def value(self, name):
        """A control file's first line."""
        return self.control(name).split('\n', 1)[0]

    def gunzip_pieces(self, name):
        """`cat NAME@/pieces/* | gunzip`, with the real ones."""
        done = subprocess.run(['sh', '-c', 'cat -- "$1"@/pieces/* | gunzip', 'sh', self.path(name)],
                              timeout=120, capture_output=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout


def write(path, text, mode='w'):
    """One save: open, write, close."""
    with open(path, mode + ('b' if isinstance(text, bytes) else ''), **({} if isinstance(text, bytes) else {'encoding': 'utf-8'})) as file:
        file.write(text)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def pytest_configure(config):
    config.addinivalue_line('markers', 'limit(seconds): how long this test may take')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Over its limit, a test loses its daemons: what waits for them fails."""
    mark = item.get_closest_marker('limit')
    limit = mark.args[0] if mark else LIMIT_S

    def expire():
        os.write(2, f'\n{item.nodeid}: over {limit} s, killing its daemons\n'.encode())
        for folder in list(live):
            folder.abort()

    timer = threading.Timer(limit, expire)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


@contextlib.contextmanager
def folder_kept(mounted, made=True, usual_places=False):
    folder = Folder(usual_places=usual_places)
    live.append(folder)
    try:
        if made:
            folder.init()
        if mounted:
            folder.mount()
        yield folder
    except BaseException:
        folder.abort()
        raise
    finally:
        try:
            folder.finish()
        finally:
            live.remove(folder)


@pytest.fixture
def home():
    """A data folder made by `moot init --name alice`, not mounted."""
    with folder_kept(False) as folder:
        yield folder


@pytest.fixture
def mount():
    """The same, mounted."""
    with folder_kept(True) as folder:
        yield folder


@pytest.fixture(scope='module')
def shared_mount():
    """One mount for a module's tests, each in names of its own."""
    with folder_kept(True) as folder:
        yield folder
