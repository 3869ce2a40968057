"""The daemon is killed at random moments while several programs save in every way that editors do.

Each writer keeps, outside the mount, what it saved: the text of every save whose close(2) returned, in order. After
the kill and the next mount all of these are versions in that order, none twice; of the step that the kill
interrupted, all or nothing. Run as a program this file is one writer.
"""
import errno
import json
import mmap
import os
import random
import subprocess
import sys
import time

import pytest

from conftest import LONG, wait_until

WRITERS = 4
ROUNDS = 200 if LONG else 20
DOCUMENTS_MAX = 6
VERSIONS_MAX = 60  # then a writer goes on to another document: reading all of them is the test's cost
SCRATCH = ('.{0}.swp', '{0}.AbC123', 'sed{1:06}', '{0}~', '{0}.tmp')  # never published
ORDINARY = ('{0}-new{1}', 'saving-{1}-{0}')  # known to no table: only the window keeps them out


def tell(answer):
    sys.stdout.write(json.dumps(answer) + '\n')
    sys.stdout.flush()


class Writer:
    """documents: what each name's versions must be. pending: of those in work, the states that may be found instead."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.random = random.Random(seed)
        self.turn = 0
        self.saves = 0
        self.directory = 'd0'
        self.documents = {}  # path below folder: texts
        self.removed = {}
        self.pending = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, size_max=3000):
        self.turn += 1
        # Whatever its length, no text is the beginning of another.
        return f'{self.turn} {os.path.basename(self.folder)}\n' + 'x' * self.random.randrange(size_max)

    # -- one way to save each; self.may(states) says before each step what a kill in it may leave --

    def may(self, *states):
        """Each state: {name: texts, or None for removed}."""
        self.pending = states

    def done(self, state):
        self.pending = None
        for name, texts in state.items():
            if texts is None:
                self.removed[name] = self.documents.pop(name)
            else:
                self.documents[name] = texts

    def put(self, path, text, flags):
        fd = os.open(path, flags | os.O_WRONLY, 0o644)
        try:
            data = text.encode()
            half = self.random.choice((0, len(data) // 2))
            for part in (data[:half], data[half:]):
                if part:
                    os.write(fd, part)
            if self.random.random() < 0.2:
                os.fsync(fd)
        except OSError:
            os.close(fd)
            raise
        os.close(fd)

    def save(self, name, flags, text, result):
        old = self.documents[name]
        self.may({name: old}, {name: old + [result]})
        self.put(self.path(name), text, flags)
        self.done({name: old + [result]})

    def in_place(self, name):
        text = self.text()
        self.save(name, os.O_TRUNC, text, text)

    def append(self, name):
        text = self.text(50)
        self.save(name, os.O_APPEND, text, self.documents[name][-1] + text)

    def mapped(self, name):
        old = self.documents[name]
        text = self.text(100)
        size = len(old[-1])
        new = (text + old[-1][len(text):])[:size]
        if new == old[-1]:
            return
        self.may({name: old}, {name: old + [new]})
        # In a child: a page that cannot be had any more is a SIGBUS.
        child = os.fork()
        if child == 0:
            try:
                write_mapped(self.path(name), new.encode())
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            raise OSError(errno.ENOTCONN, 'mapped')
        self.done({name: old + [new]})

    def by_rename(self, name):
        old, text = self.documents[name], self.text()
        form = self.random.choice(SCRATCH + ORDINARY)
        beside = os.path.join(os.path.dirname(name), form.format(os.path.basename(name), self.turn))
        before = [{name: old}, {name: old, beside: [text]}] if form in ORDINARY else [{name: old}]
        self.may(*before)
        self.put(self.path(beside), text, os.O_CREAT | os.O_EXCL)
        if form in ORDINARY:
            self.may(before[1], {name: old + [text]})
        else:
            self.may({name: old}, {name: old + [text]})
        os.rename(self.path(beside), self.path(name))
        self.done({name: old + [text]})

    def by_backup(self, name):
        old, text = self.documents[name], self.text()
        self.may({name: old}, {name: None})
        os.rename(self.path(name), self.path(name) + '~')
        self.may({name: None}, {name: old + [text]})
        self.put(self.path(name), text, os.O_CREAT | os.O_EXCL)
        self.done({name: old + [text]})
        os.unlink(self.path(name) + '~')

    def by_unlink(self, name):
        old, text = self.documents[name], self.text()
        self.may({name: old}, {name: None})
        os.unlink(self.path(name))
        self.may({name: None}, {name: old + [text]})
        self.put(self.path(name), text, os.O_CREAT | os.O_EXCL)
        self.done({name: old + [text]})

    def create(self, name=None):
        text = self.text()
        name = f'{self.directory}/n{self.turn}.md'
        self.may({}, {name: [text]}, {name: ['']})
        self.put(self.path(name), text, os.O_CREAT | os.O_EXCL)
        self.done({name: [text]})

    def remove(self, name):
        old = self.documents[name]
        self.may({name: old}, {name: None})
        os.unlink(self.path(name))
        self.done({name: None})

    def is_signed(self, name):
        return any('-draft' not in version for version in os.listdir(self.path(name) + '@/versions'))

    def move(self, name):
        """Of a name that is not signed yet only the last save would move along: a tool's own name, for all one knows."""
        old = self.documents[name]
        if len(old) > 1 and not self.is_signed(name):
            return
        self.turn += 1
        to = f'{self.directory}/m{self.turn}.md'
        self.may({name: old}, {to: old, name: 'moved'})
        os.rename(self.path(name), self.path(to))
        self.documents[to] = self.documents.pop(name)
        self.pending = None

    def move_directory(self, name=None):
        self.turn += 1
        to = f'd{self.turn}'
        moved = {f'{to}/{os.path.basename(name)}': texts for name, texts in self.documents.items()}
        self.removed = {f'{to}/{os.path.basename(name)}': texts for name, texts in self.removed.items()}
        self.may(self.documents, {**moved, **dict.fromkeys(self.documents, 'moved')})
        os.rename(self.path(self.directory), self.path(to))
        self.documents, self.directory = moved, to
        self.pending = None

    WAYS = (in_place, in_place, append, append, mapped, by_rename, by_rename, by_rename, by_backup, by_unlink,
            create, create, remove, move, move_directory)

    def step(self):
        few = [name for name, texts in self.documents.items() if len(texts) < VERSIONS_MAX]
        way = self.random.choice(self.WAYS)
        if not few or (way is Writer.create and len(few) < DOCUMENTS_MAX):
            self.create()
        elif way is not Writer.create and (way is not Writer.remove or len(few) > 2):
            way(self, self.random.choice(few))
        self.saves += 1

    def run(self):
        """Until the daemon is gone."""
        if not os.path.isdir(self.path(self.directory)):
            os.makedirs(self.path(self.directory), exist_ok=True)
        tell('runs')
        while True:
            try:
                self.step()
            except OSError as error:
                # What a path that crosses a daemon's end answers.
                if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
                    raise
                return

    # -- what is found --

    def versions(self, name):
        """The texts; None: there is nothing of that name, nor was."""
        folder = self.path(name) + '@/versions'
        for _ in range(20):
            try:
                listed = os.listdir(folder)
            except (FileNotFoundError, NotADirectoryError):
                return None
            texts = []
            try:
                for version in listed:
                    with open(os.path.join(folder, version), 'rb') as file:
                        texts.append(file.read().decode())
                return texts
            except FileNotFoundError:  # a draft that was signed since has another name
                time.sleep(0.05)
        raise AssertionError(f'{folder} changes again and again')

    def shows(self, name, texts):
        """What is wrong with that name, or nothing."""
        if texts is None:
            texts, gone = self.documents.get(name, self.removed.get(name)), True
        else:
            gone = False
        if os.path.exists(self.path(name)) == gone:
            return f'{name}: removed {gone}, and it is {"there" if gone else "not there"}'
        found = self.versions(name)
        if gone and found is None:
            return None  # removed before it was signed
        if found != texts:
            return f'{name}: {short(found)} instead of {short(texts)}'
        if not gone:
            with open(self.path(name), 'rb') as file:
                text = file.read().decode()
            if text != texts[-1]:
                return f'{name}: shows {short([text])} instead of {short(texts[-1:])}'
        return None

    def wrong(self, state):
        for name, texts in state.items():
            if texts == 'moved':
                if os.path.exists(self.path(name)):
                    return f'{name} is there'
            else:
                problem = self.shows(name, texts)
                if problem:
                    return problem
        return None

    def resolve(self):
        """Which of the states that a kill may leave is there; it is what counts from now on."""
        problems = []
        for state in self.pending or ():
            problem = self.wrong(state)
            others = {name for names in self.pending for name in names} - set(state)
            problem = problem or next((f'{name} is there' for name in others if os.path.exists(self.path(name))), None)
            if not problem:
                break
            problems.append(problem)
        else:
            return f'none of the states allowed: {problems}' if self.pending else None
        self.pending = None
        for name, texts in state.items():
            if texts == 'moved':
                self.documents.pop(name, None)
                if '/' in name and name.split('/')[0] == self.directory:
                    directory = next(iter(set(other.split('/')[0] for other in state if state[other] != 'moved')))
                    self.directory = directory
            elif texts is None:
                self.removed[name] = self.documents.pop(name)
            else:
                self.documents[name] = texts
        return None

    def check(self):
        problem = self.resolve()
        if problem:
            return problem
        # The directory's name, if it is what a kill left undecided, stands now.
        listed = {f'{self.directory}/{name}' for name in os.listdir(self.path(self.directory))}
        here = {name for name in listed if not is_scratch(name)}
        if here != set(self.documents):
            return f'listed {sorted(here ^ set(self.documents))}'
        for name in listed - here:
            os.unlink(self.path(name))
        return self.wrong(self.documents)

    def lines(self):
        """When all is signed: each save is the child of the one before it."""
        for name, texts in self.documents.items():
            with open(self.path(name) + '@/log', encoding='utf-8') as file:
                rows = [line.rstrip('\n').split('\t') for line in file if not line.startswith('#')]
            parents = ['-'] + [row[0].split('-')[2].split('.')[0] for row in rows[:-1]]
            odd = [(before, row) for before, row, parent in zip([None] + rows, rows, parents) if row[2] != parent]
            if len(rows) != len(texts) or odd:
                return f'{name}: {len(rows)} of {len(texts)}, not the child of the one before: {odd}'
        return next((f'{name} is back' for name in self.removed if os.path.exists(self.path(name))), None)


def write_mapped(path, data):
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 0) as area:
        area[:len(data)] = data
        area.flush()
    os.close(fd)


def is_scratch(path):
    name = os.path.basename(path)
    return name.startswith('.') or name.endswith(('~', '.tmp', '.AbC123')) or name.startswith('sed')


def short(texts):
    return texts and [f'{text[:12]!r}+{len(text)}' for text in texts]


def serve(folder, seed):
    writer = Writer(folder, seed)
    for line in sys.stdin:
        command = line.strip()
        if command == 'run':
            writer.run()
            tell(writer.saves)
        elif command == 'check':
            tell(writer.check())
        elif command == 'documents':
            tell(sorted(writer.documents))
        elif command == 'lines':
            tell(writer.lines())


# ---- the test's side ----

class Process:
    def __init__(self, folder, seed):
        self.process = subprocess.Popen([sys.executable, '-B', os.path.abspath(__file__), folder, str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

    def ask(self, command):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, 'a writer ended'
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait(timeout=20)


def ask_all(writers, command):
    for writer in writers:
        writer.ask(command)
    return [writer.answer() for writer in writers]


def no_problem(answers, when):
    problems = [answer for answer in answers if answer]
    assert not problems, f'{when}: {problems}'


@pytest.mark.limit(1500 if LONG else 110)
def test_killed_again_and_again_under_load(mount):
    seed = int(os.environ.get('MOOT_SEED') or time.time())
    print(f'seed {seed}')
    chance = random.Random(seed)
    folders = [mount.path(f'w{n}') for n in range(WRITERS)]
    for folder in folders:
        os.mkdir(folder)
    writers = [Process(folder, f'{seed} {n}') for n, folder in enumerate(folders)]
    try:
        saves = 0
        for turn in range(ROUNDS):
            when = f'seed {seed} round {turn}'
            ask_all(writers, 'run')
            # Most before anything is signed, some about when the window ends.
            time.sleep(chance.choice((0.05, 0.2, 0.4, 0.4, 2.2)) * chance.uniform(0.2, 1.2))
            mount.kill9()
            saves = sum(writer.answer() for writer in writers)
            mount.mount()
            no_problem(ask_all(writers, 'check'), when)
            if turn % 10 == 9:
                mount.run('verify')
        documents = [f'w{n}/{name}' for n, names in enumerate(ask_all(writers, 'documents')) for name in names]
        mount.wait_signed(*documents)
        wait_until(lambda: '\nwaits' not in mount.control('@/status'), 20, 'everything to be signed')
        no_problem(ask_all(writers, 'check'), f'seed {seed}, signed')
        no_problem(ask_all(writers, 'lines'), f'seed {seed}, signed')
        print(f'{saves} saves, {len(documents)} documents')
        names = {line.split('\t')[5] for line in mount.control('alice@/log').split('\n') if line.count('\t') >= 5}
        assert not [name for name in names if is_scratch(name)]
    finally:
        for writer in writers:
            writer.end()


if __name__ == '__main__':
    serve(sys.argv[1], sys.argv[2])
