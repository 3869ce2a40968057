"""Editors at a terminal: one row of keys each, and a session that presses them.

Every editor puts a `!` before the first line and saves, as often as it is asked to. A session ends by
itself: what does not come within TIMEOUT_S fails and shows the screen's last bytes.
"""
import os
import shutil
import time
from collections import namedtuple

import pexpect
import pytest

TIMEOUT_S = 20
ANSWER_S = 0.25
OLD = 'old line\nsecond line\n'
MARK = '!'
CONTROL = {letter: chr(ord(letter) & 31) for letter in 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'}
F2, F10 = '\033OQ', '\033[21~'

# arguments: of the program, before the document; mark, save, quit: keys;
# asks: what it may ask, where another saved the document meanwhile too, each with the answer
Editor = namedtuple('Editor', 'program arguments mark save quit asks')

VI = dict(mark=f':1s/^/{MARK}/\r', save=':w\r', quit=':q\r')

EDITORS = {
    'vim': Editor('vim', ['--clean'], **VI, asks={'y/n': 'y'}),
    'nvim': Editor('nvim', ['--clean'], **VI, asks={'y/n': 'y'}),
    'emacs': Editor('emacs', ['-nw', '-Q'], mark=MARK, save=CONTROL['X'] + CONTROL['S'],
                    quit=CONTROL['X'] + CONTROL['C'],
                    asks={r'r or C-h\) \x1b': 'y', r'anyway\? \(yes or no\) ': 'yes\r'}),
    'nano': Editor('nano', ['--ignorercfiles'], mark=MARK, save=CONTROL['O'] + '\r', quit=CONTROL['X'],
                   asks={'continue saving': 'y'}),
    'micro': Editor('micro', [], mark=MARK, save=CONTROL['S'], quit=CONTROL['Q'],
                    asks={'Reload': 'n', 'verwrite': 'y'}),
    'kak': Editor('kak', ['-n'], mark=f":exec 'ggi{MARK}<esc>'\r", save=':w\r', quit=':q\r', asks={}),
    'joe': Editor('joe', [], mark=MARK, save=CONTROL['K'] + 'D\r', quit=CONTROL['K'] + 'Q',
                  asks={'Overwrite': 'y'}),
    'mcedit': Editor('mcedit', [], mark=MARK, save=F2 + '\r', quit=F10, asks={'in the meantime': 'y'}),
}


def needs(program):
    """It is installed, or the test is skipped."""
    if not shutil.which(program):
        pytest.skip(f'{program} is not installed')


def bytes_at(path):
    """Its text; None: in the middle of a save, some have no document at the name."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError:
        return None


class Session:
    """One editor on one document, from its start to its end."""

    def __init__(self, folder, name, directory, arguments=(), document='doc.md', setup=None, shows='second line'):
        needs(EDITORS[name].program)
        self.editor = EDITORS[name]
        self.path = os.path.join(directory, document)
        self.home = os.path.join(folder.outside, f'home-{os.path.basename(directory)}-{name}')
        os.makedirs(self.home, exist_ok=True)
        if setup:
            setup(self.home)
        # Emacs asks what an xterm can do, and waits 2 s for the answer.
        term = 'vt220' if name == 'emacs' else 'xterm'
        environment = dict(folder.env, TERM=term, HOME=self.home)
        environment.pop('XDG_CONFIG_HOME', None)
        self.child = pexpect.spawn(self.editor.program, [*self.editor.arguments, *arguments, document], cwd=directory,
                                   env=environment, timeout=TIMEOUT_S, dimensions=(24, 80))
        self.child.delaybeforesend = 0.05
        if shows:
            self.child.expect(shows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.close(force=True)

    def drain(self, seconds):
        """Reads what the editor shows, whatever it is: it may not go on while nobody does."""
        self.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=seconds)

    def answer(self, *others, timeout):
        """Waits for a question and answers it, or for one of the others: its index, or -1 for an answer given."""
        asks = self.editor.asks
        found = self.child.expect([*others, pexpect.TIMEOUT, *asks], timeout=timeout)
        if found <= len(others):
            return found
        # Not at once: some throw away what was typed before the question stands.
        self.drain(ANSWER_S)
        self.child.send(list(asks.values())[found - len(others) - 1])
        self.drain(ANSWER_S)
        return -1

    def until(self, condition, what):
        """Polls, and answers what is asked."""
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f'waited in vain for {what}\n{self.child.before!r}'
            self.answer(pexpect.EOF, timeout=0.03)

    def mark(self, asked=False):
        """asked: somebody else has saved the document, and this editor may want to say so at once."""
        if asked:
            self.child.expect([pexpect.TIMEOUT, '(?s).+'], timeout=0.1)  # what it showed before
        self.child.send(self.editor.mark)
        if asked and self.answer(MARK, timeout=TIMEOUT_S) >= 0:
            self.answer(timeout=2 * ANSWER_S)

    def save(self, text):
        """Saves what must then read as `text`."""
        self.child.send(self.editor.save)
        self.until(lambda: bytes_at(self.path) == text.encode(), f'{self.path} to read {text!r}')

    def quit(self):
        self.child.send(self.editor.quit)
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0, self.child.before

