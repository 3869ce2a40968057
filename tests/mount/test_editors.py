"""Editors, as a person uses them: one save is one version, and whatever else they leave is nobody else's.

A row is an editor with some of its options; test_saves has what saves without a terminal. With LibreOffice installed
(libreoffice-writer-nogui, python3-uno: 110 MB), MOOT_LONG=1 adds its rows.
"""
import os
import re
import shlex
import shutil
import signal
import sys
import time

import pytest

from conftest import LONG, read, write
from editors import EDITORS, MARK, OLD, Session, bytes_at, needs

WINDOW_S = 2
MANY = 10
OFFICE_PROGRAM = shlex.quote(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'editors_office.py'))


def vim_set(*options):
    return [word for option in options for word in ('--cmd', f'set {option}')]


def lisp(*forms):
    return [word for form in forms for word in ('--eval', form)]


def mc_option(line):
    def set_up(home):
        os.makedirs(f'{home}/.config/mc', exist_ok=True)
        write(f'{home}/.config/mc/ini', f'[Midnight-Commander]\n{line}\n')
    return set_up


# name, editor, arguments, saves, what its home needs (or None)
ROWS = [
    ('vim', 'vim', [], MANY, None),
    ('vim, backupcopy=yes', 'vim', vim_set('backupcopy=yes'), 2, None),
    ('vim, backupcopy=no', 'vim', vim_set('backupcopy=no'), 2, None),
    ('vim, backupcopy=auto, undo file', 'vim', vim_set('backupcopy=auto', 'undofile'), MANY, None),
    ('vim, backup kept as .bak', 'vim', vim_set('backup', 'backupcopy=no', 'backupext=.bak'), 2, None),
    ('vim, patchmode', 'vim', vim_set('patchmode=.orig'), 2, None),
    ('vim, no backup, no swap', 'vim', vim_set('nowritebackup', 'noswapfile'), 2, None),
    ('nvim', 'nvim', [], MANY, None),
    ('nvim, swap, undo and backup beside', 'nvim',
     vim_set('directory=.', 'undodir=.', 'undofile', 'backup', 'backupdir=.'), 2, None),
    ('nvim, backupcopy=yes', 'nvim', vim_set('backupcopy=yes'), 2, None),
    ('emacs', 'emacs', [], MANY, None),
    ('emacs, backup by copying', 'emacs', lisp('(setq backup-by-copying t)'), 2, None),
    ('emacs, numbered backups', 'emacs', lisp('(setq version-control t)'), 2, None),
    ('emacs, precious file', 'emacs', lisp('(setq file-precious-flag t)'), 2, None),
    ('emacs, no backup, no lock', 'emacs', lisp('(setq make-backup-files nil create-lockfiles nil)'), 2, None),
    ('nano', 'nano', [], MANY, None),
    ('nano, backup and lock', 'nano', ['--backup', '--locking'], 2, None),
    ('micro', 'micro', [], MANY, None),
    ('kak', 'kak', [], MANY, None),
    ('kak, writemethod=replace', 'kak', ['-e', 'set global writemethod replace'], 2, None),
    ('joe', 'joe', [], MANY, None),
    ('mcedit', 'mcedit', [], MANY, None),
    ('mcedit, safe save', 'mcedit', [], 2, mc_option('editor_option_save_mode=1')),
    ('mcedit, backup', 'mcedit', [], 2, mc_option('editor_option_save_mode=2')),
]
# Both open the document; the first saves, the second saves, the first saves again: which version (the base is 0) the
# second save goes on from, and which the third.
# (Emacs and joe read what stands there once more, to compare it and to keep it as a backup.)
PAIRS = [('vim', 'nano', 0, 1), ('nano', 'vim', 0, 1), ('emacs', 'vim', 0, 2), ('vim', 'emacs', 1, 1),
         ('nvim', 'mcedit', 0, 1), ('micro', 'joe', 1, 1)]
TYPED = 30 * MARK
# editor, arguments, signal, where it keeps what was typed and not saved: a pattern of names beside the document
ENDED = [
    ('vim', vim_set('updatetime=50'), signal.SIGKILL, r'\.doc\.md\.swp'),
    ('nvim', vim_set('directory=.', 'updatetime=50'), signal.SIGKILL, r'\.doc\.md\.swp'),
    ('emacs', lisp('(setq auto-save-interval 20)'), signal.SIGKILL, r'#doc\.md#'),
    ('nano', [], signal.SIGKILL, None),
    ('micro', [], signal.SIGKILL, None),
    ('kak', [], signal.SIGKILL, None),
    ('joe', [], signal.SIGKILL, None),
    ('mcedit', [], signal.SIGKILL, None),
    ('vim', [], signal.SIGHUP, r'\.doc\.md\.swp'),
    ('emacs', [], signal.SIGHUP, r'#doc\.md#'),
    ('nano', [], signal.SIGHUP, r'doc\.md\.save'),
    ('kak', [], signal.SIGHUP, r'\.doc\.md\.kak\..*'),
    ('joe', [], signal.SIGHUP, 'DEADJOE'),
]
# editor, how what was not saved is brought back
RECOVERIES = {
    'vim': "vim --clean -es -r doc.md -c 'w!' -c 'q!'",
    'nvim': "nvim --clean --cmd 'set directory=.' -es -r doc.md -c 'w!' -c 'q!'",
    'emacs': """emacs --batch -Q --eval '(fset (quote yes-or-no-p) (lambda (&rest _) t))' \
                --eval '(recover-file "doc.md")' --eval '(save-buffer)'""",
}


def directories():
    return ([f'row{row:02}' for row in range(len(ROWS))] + [pair_name(pair) for pair in PAIRS] +
            [ended_name(row) for row in ENDED])


def pair_name(pair):
    return '-'.join(pair[:2])


def ended_name(row):
    return f'{row[0]}-{row[2].name}'


@pytest.fixture(scope='module')
def folder(shared_mount):
    """A directory with a signed doc.md for each test, so that all wait for one window."""
    for name in directories():
        os.mkdir(shared_mount.path(name))
        write(shared_mount.path(name, 'doc.md'), OLD)
    shared_mount.wait_signed(*[f'{name}/doc.md' for name in directories()])
    shared_mount.expected = shared_mount.control('alice@/log').count('\n')
    yield shared_mount
    nothing_else_was_published(shared_mount)


def nothing_else_was_published(folder):
    """Every record that her log has grown by is a version that a test counted, and no other name is in it."""
    time.sleep(WINDOW_S + 1)
    lines = [line for line in folder.control('alice@/log').split('\n') if line]
    about = {line.split('\t')[5] for line in lines if line.count('\t') == 5 and '/ = ' not in line}
    assert {name.rpartition('/')[2] for name in about} <= {'alice', 'doc.md', 'fresh.md', 'soil.md'}
    assert len(lines) == folder.expected, lines


def short_id(version):
    return version.rpartition('-')[2].partition('.')[0]


def parents(folder, doc):
    """Of each version by its short id: the short ids of its parents."""
    lines = [line.split('\t') for line in folder.control(f'alice/{doc}@/log').split('\n') if '\t' in line]
    return {short_id(line[0]): line[2] for line in lines if not line[0].startswith('#')}


def published(folder, directory):
    """What stands beside and is not scratch, by the folder's own word."""
    status = folder.control('@/status').split('\n')
    scratch = {line.split('\t')[1] for line in status if line.startswith('scratch\t')}
    return {name for name in os.listdir(folder.path(directory)) if f'alice/{directory}/{name}' not in scratch}


@pytest.mark.parametrize('row', range(len(ROWS)), ids=[row[0] for row in ROWS])
def test_one_save_is_one_version(folder, row):
    _, editor, arguments, saves, set_up = ROWS[row]
    doc = f'row{row:02}/doc.md'
    texts = [count * MARK + OLD for count in range(saves + 1)]

    with Session(folder, editor, folder.path(f'row{row:02}'), arguments, setup=set_up) as session:
        for text in texts[1:]:
            session.mark()
            session.save(text)
        session.quit()
    versions = folder.wait_signed(doc)
    folder.expected += saves

    assert folder.texts(doc) == [text.encode() for text in texts]
    of = parents(folder, doc)
    for parent, version in zip(versions, versions[1:]):
        assert of[short_id(version)] == short_id(parent)
    assert folder.control(f'alice/{doc}@/heads').split('\n')[0] == folder.value(f'alice/{doc}@/head') == versions[-1]
    assert published(folder, f'row{row:02}') == {'doc.md'}


@pytest.mark.parametrize('pair', PAIRS, ids=[pair_name(pair) for pair in PAIRS])
def test_of_two_editors_neither_loses_a_save(folder, pair):
    """Each goes on from what it has read: a save that has not seen the other's stands beside it."""
    directory = pair_name(pair)
    doc = f'{directory}/doc.md'
    with Session(folder, pair[0], folder.path(directory)) as first, \
            Session(folder, pair[1], folder.path(directory)) as second:
        first.mark()
        first.save(MARK + OLD)
        second.mark(asked=True)
        second.mark()
        second.save(2 * MARK + OLD)
        first.mark(asked=True)
        first.mark()
        first.save(3 * MARK + OLD)
        first.quit()
        second.quit()
    versions = folder.wait_signed(doc)
    folder.expected += 3

    assert folder.texts(doc) == [count * MARK.encode() + OLD.encode() for count in (0, 1, 2, 3)]
    ids = [short_id(version) for version in versions]
    assert parents(folder, doc) == {ids[0]: '-', ids[1]: ids[0], ids[2]: ids[pair[2]], ids[3]: ids[pair[3]]}
    heads = [line for line in folder.control(f'alice/{doc}@/heads').split('\n') if line.startswith('2')]
    assert {short_id(head) for head in heads} == set(ids) - {ids[0], ids[pair[2]], ids[pair[3]]}
    assert read(folder.path(doc)) == 3 * MARK.encode() + OLD.encode()
    assert published(folder, directory) == {'doc.md'}


@pytest.mark.parametrize('row', ENDED, ids=[ended_name(row) for row in ENDED])
def test_what_was_not_saved_is_not_published(folder, row):
    editor, arguments, number, kept = row
    directory = ended_name(row)
    with Session(folder, editor, folder.path(directory), arguments) as session:
        session.child.send(EDITORS[editor].mark.replace(MARK, TYPED))
        session.child.expect(f'(?s){MARK}.{{0,40}}ld line')
        if kept and number == signal.SIGKILL:
            session.until(lambda: kept_texts(folder, directory, kept), f'{kept} with what was typed')
        session.child.kill(number)
        if kept:
            session.until(lambda: kept_texts(folder, directory, kept), f'{kept} with what was typed')

    assert read(folder.path(directory, 'doc.md')) == OLD.encode()
    assert len(folder.versions(f'{directory}/doc.md')) == 1
    assert published(folder, directory) == {'doc.md'}
    if number == signal.SIGKILL and editor in RECOVERIES:
        recover(folder, editor, directory, kept)


def recover(folder, editor, directory, kept):
    """What was typed comes back, also after the folder was unmounted."""
    folder.restart()
    assert kept_texts(folder, directory, kept)
    folder.sh(RECOVERIES[editor], cwd=folder.path(directory))
    folder.wait_signed(f'{directory}/doc.md')
    folder.expected += 1
    assert folder.texts(f'{directory}/doc.md') == [OLD.encode(), TYPED.encode() + OLD.encode()]


def kept_texts(folder, directory, pattern):
    names = [name for name in os.listdir(folder.path(directory)) if re.fullmatch(pattern, name)]
    return [name for name in names if TYPED.encode() in read(folder.path(directory, name))]


def test_a_new_name_is_published_once(folder):
    """All editors, one after the other, so that they wait for one window."""
    for editor, row in EDITORS.items():
        needs(row.program)
        os.mkdir(folder.path(f'new-{editor}'))
        with Session(folder, editor, folder.path(f'new-{editor}'), document='fresh.md', shows='fresh') as session:
            session.mark()
            session.drain(0.1)
            session.child.send(row.save)
            session.until(lambda path=session.path: (bytes_at(path) or b'').startswith(MARK.encode()), 'the save')
            session.quit()
    for editor in EDITORS:
        versions = folder.wait_signed(f'new-{editor}/fresh.md')
        made = 2 if editor == 'mcedit' else 1  # it makes the empty file as soon as it is asked for
        assert len(versions) == made, (editor, versions)
        assert folder.version_text(f'new-{editor}/fresh.md', versions[-1]).startswith(MARK.encode())
        assert published(folder, f'new-{editor}') == {'fresh.md'}
        folder.expected += made + 1  # and the directory


GIT_OUTSIDE = """
git init -q -b main upstream && cd upstream && git config user.name a && git config user.email a@example.org
mkdir guides && printf 'one\\n' > doc.md && printf 'soil\\n' > guides/soil.md && git add . && git commit -qm one
printf 'two\\n' > doc.md && git commit -qam two && git branch other HEAD~1
"""
GIT_STEPS = [  # command in the clone, versions of doc.md then
    ('true', [b'two\n']),
    ('git checkout -q other', [b'two\n', b'one\n']),
    ('git checkout -q main', [b'two\n', b'one\n', b'two\n']),
    ("echo three > doc.md && git commit -qam three", [b'two\n', b'one\n', b'two\n', b'three\n']),
    ('git gc -q --prune=now', [b'two\n', b'one\n', b'two\n', b'three\n']),
    ('git reset -q --hard HEAD~1', [b'two\n', b'one\n', b'two\n', b'three\n', b'two\n']),
]


def test_git_works_within(folder):
    """Its own files are scratch; what it checks out are documents."""
    folder.sh(GIT_OUTSIDE, cwd=folder.outside)
    folder.sh('git clone -q "$OUTSIDE/upstream" clone')
    folder.sh('git config user.name a && git config user.email a@example.org', cwd=folder.path('clone'))
    folder.wait_signed('clone/doc.md', 'clone/guides/soil.md')
    for command, texts in GIT_STEPS:
        folder.sh(command, cwd=folder.path('clone'))
        folder.wait_signed('clone/doc.md')
        assert folder.texts('clone/doc.md') == texts, command
        assert folder.sh('git fsck --full --strict && git status -s', cwd=folder.path('clone')).stdout == ''
    assert folder.texts('clone/guides/soil.md') == [b'soil\n']
    assert published(folder, 'clone') == {'doc.md', 'guides'}
    folder.expected += 2 + len(GIT_STEPS[-1][1]) + 1  # directories, versions


OFFICE = [  # what makes the document (beside: doc.md), its name, what saves it, how often
    ('soffice --headless --convert-to odt doc.md', 'doc.odt', f'/usr/bin/python3 {OFFICE_PROGRAM} doc.odt 3', 3),
    ('cp doc.md doc.txt', 'doc.txt', f'/usr/bin/python3 {OFFICE_PROGRAM} doc.txt 3', 3),
    ('soffice --headless --convert-to html doc.md && sed -i 1d doc.html', 'doc.html',
     'soffice --headless --convert-to html doc.md', 1),
]


@pytest.mark.skipif(not LONG, reason='LibreOffice is large: MOOT_LONG=1 runs it')
@pytest.mark.limit(300)
@pytest.mark.parametrize('row', OFFICE, ids=['odt', 'txt', 'convert-to'])
def test_office_saves(mount, row):
    make, name, save, saves = row
    assert shutil.which('soffice'), 'apt-get install --no-install-recommends libreoffice-writer-nogui python3-uno'
    write(mount.path('doc.md'), OLD)
    mount.sh(make, timeout=100)
    before = mount.wait_signed('doc.md', name)
    time.sleep(WINDOW_S)
    records = mount.control('alice@/log').count('\n')

    mount.sh(save, timeout=100)
    versions = mount.wait_signed(name)
    assert len(versions) == len(before) + saves
    assert mount.version_text(name, versions[-1]) == read(mount.path(name))
    of = parents(mount, name)
    for parent, version in zip(versions, versions[1:]):
        assert of[short_id(version)] == short_id(parent)
    texts = mount.texts(name)
    assert all(text != after for text, after in zip(texts, texts[1:]))
    time.sleep(WINDOW_S + 1)
    assert mount.control('alice@/log').count('\n') == records + saves
    assert set(os.listdir(mount.own)) == {'doc.md', name}


if __name__ == '__main__':
    sys.exit(pytest.main([__file__]))
