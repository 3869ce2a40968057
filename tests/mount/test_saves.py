"""One save is one version, whatever a tool does to get there. A tool is one row."""
import ctypes.util
import json
import mmap
import os
import shlex
import shutil
import sys
import time
import zipfile

import pexpect
import pytest

from conftest import read, wait_until, write

OLD = 'old line\nsecond line\n'
NEW = 'new line\nsecond line\n'
WINDOW_S = 2
JUNK = ('.swp', '.swx', '4913', 'doc.md~', 'sed', 'XX', 'goutput', '.git', 'beside', 'brief', 'doc.md-new', 'doc.md.',
        '.~tmp~', '___jb')
QT_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'editors_qt.py')

PATCH = '''--- doc.md
+++ doc.md
@@ -1,2 +1,2 @@
-old line
+new line
 second line
'''


def spawn(folder, directory, program, *arguments):
    child = pexpect.spawn(program, list(arguments), cwd=directory, timeout=20, dimensions=(24, 80),
                          env=dict(folder.env, TERM='xterm'))
    child.delaybeforesend = 0.2
    return child


def end(child):
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def vim(*arguments, saves=1):
    def edit(folder, directory):
        child = spawn(folder, directory, 'vim', '-i', 'NONE', *arguments, 'doc.md')
        child.expect('second line')
        child.send(':%s/old/new/\r')
        for _ in range(saves - 1):
            child.send(':w\r')
            child.expect('written')
            child.send(':1s/$/!/\r')
        child.send(':wq\r')
        end(child)
    return edit


def vim_unchanged(folder, directory):
    child = spawn(folder, directory, 'vim', '-i', 'NONE', 'doc.md')
    child.expect('second line')
    child.send(':w\r')
    child.expect('written')
    child.send(':q\r')
    end(child)


def vim_new(folder, directory):
    child = spawn(folder, directory, 'vim', '-i', 'NONE', 'fresh.md')
    child.expect('New')
    child.send('inew line\033')
    child.send(':wq\r')
    end(child)


def nano(folder, directory):
    child = spawn(folder, directory, 'nano', 'doc.md')
    child.expect('second line')
    child.send('\x0b')  # cuts the line
    child.send('new line\r')
    child.send('\x0f\r')
    child.expect('Wrote')
    child.send('\x18')
    end(child)


def map_file(path, closed_first):
    fd = os.open(path, os.O_RDWR)
    try:
        memory = mmap.mmap(fd, 0)
        if closed_first:
            os.close(fd)
            fd = -1
        memory[0:3] = b'new'
        memory.close()
    finally:
        if fd >= 0:
            os.close(fd)


def python_mmap(folder, directory):
    map_file(os.path.join(directory, 'doc.md'), False)


def python_mmap_after_close(folder, directory):
    map_file(os.path.join(directory, 'doc.md'), True)


def python_open(folder, directory):
    write(os.path.join(directory, 'doc.md'), NEW)


def python_fsyncs(folder, directory):
    with open(os.path.join(directory, 'doc.md'), 'w', encoding='utf-8') as file:
        for character in NEW:
            file.write(character)
            file.flush()
            os.fsync(file.fileno())


def glib_replace(folder, directory):
    """Renamed while still open, as g_file_replace does."""
    temporary = os.path.join(directory, '.goutputstream-AB12CD')
    with open(temporary, 'x', encoding='utf-8') as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
        os.rename(temporary, os.path.join(directory, 'doc.md'))


def unknown_temporary(folder, directory):
    """A temporary name that no table knows."""
    temporary = os.path.join(directory, 'doc.md-new-3')
    write(temporary, NEW)
    os.rename(temporary, os.path.join(directory, 'doc.md'))


# What its file service does: truncated by open, then written, synced, closed.
VS_CODE = f'''const fd = fs.openSync("doc.md", "w"), text = Buffer.from({json.dumps(NEW)});
fs.writeSync(fd, text, 0, text.length, null); fs.fdatasyncSync(fd); fs.closeSync(fd)'''


def qt_save_file(folder, directory):
    """Qt's own QSaveFile, in a process of its own; the library alone is enough."""
    if not ctypes.util.find_library('Qt5Core'):
        pytest.skip('Qt5Core is not installed')
    folder.sh(f"/usr/bin/python3 {shlex.quote(QT_PROGRAM)} doc.md '{NEW}'", cwd=directory)


def glib_set_contents(folder, directory):
    """GLib's own g_file_set_contents, in a process of its own."""
    if not ctypes.util.find_library('glib-2.0'):
        pytest.skip('GLib is not installed')
    program = f'''import ctypes, ctypes.util
glib = ctypes.CDLL(ctypes.util.find_library("glib-2.0"))
assert glib.g_file_set_contents(b"doc.md", {NEW.encode()!r}, ctypes.c_ssize_t({len(NEW)}), None)'''
    folder.sh(f'/usr/bin/python3 -c {shlex.quote(program)}', cwd=directory)


def both_renamed(folder, directory):
    """The new one is written beside, the old one renamed away, the new one renamed there."""
    doc = os.path.join(directory, 'doc.md')
    write(doc + '___jb_tmp___', NEW)
    os.rename(doc, doc + '___jb_old___')
    os.rename(doc + '___jb_tmp___', doc)
    os.remove(doc + '___jb_old___')


def backup_by_rename(folder, directory):
    """Emacs and joe at their first save: the old one is kept under a scratch name."""
    doc = os.path.join(directory, 'doc.md')
    os.rename(doc, doc + '~')
    write(doc, NEW)


# name, command: a shell script or a function (folder, directory); the text it leaves (None: NEW); versions it makes.
# A name before a colon is the program that the row needs.
TOOLS = [
    ('shell >', f"printf '{NEW}' > doc.md", None, 1),
    ('shell >>', 'echo third >> doc.md', OLD + 'third\n', 1),
    ('shell { ; } >', '{ echo one; echo two; } > doc.md', 'one\ntwo\n', 1),
    ('shell, empty >', ': > doc.md', '', 1),
    ('shell >, twice', f"echo x > doc.md; printf '{NEW}' > doc.md", None, 2),
    ('tee', f"printf '{NEW}' | tee doc.md >/dev/null", None, 1),
    ('cp over', 'cp "$OUTSIDE/new.md" doc.md', None, 1),
    ('cp -f over, removed first', 'cp --remove-destination "$OUTSIDE/new.md" doc.md', None, 1),
    ('cp -b over', 'cp -b "$OUTSIDE/new.md" doc.md', None, 1),
    ('install over', 'install -m 644 "$OUTSIDE/new.md" doc.md', None, 1),
    ('mv over, from outside', 'cp "$OUTSIDE/new.md" "$OUTSIDE/moved.md"; mv -f "$OUTSIDE/moved.md" doc.md', None, 1),
    ('mv over, from a new name', 'cp "$OUTSIDE/new.md" beside.md; mv -f beside.md doc.md', None, 1),
    ('mv over, from scratch', 'cp "$OUTSIDE/new.md" .beside; mv -f .beside doc.md', None, 1),
    ('dd conv=notrunc', 'printf new | dd of=doc.md conv=notrunc status=none', None, 1),
    ('truncate', 'truncate -s 4 doc.md', 'old ', 1),
    ('sed -i', 'sed -i s/old/new/ doc.md', None, 1),
    ('sed -i.bak', 'sed -i.bak s/old/new/ doc.md && rm doc.md.bak', None, 1),
    ('perl: -i.bak', 'perl -i.bak -pe s/old/new/ doc.md && rm doc.md.bak', None, 1),
    ('perl: -i', 'perl -pi -e s/old/new/ doc.md', None, 1),
    ('ed: w', "printf ',s/old/new/\\nw\\nq\\n' | ed -s doc.md", None, 1),
    ('patch: a diff', 'patch -s < "$OUTSIDE/new.patch"', None, 1),
    ('tar: x', 'tar xf "$OUTSIDE/new.tar"', None, 1),
    ('rsync: beside and over', 'rsync -I "$OUTSIDE/new.md" doc.md', None, 1),
    ('rsync: --inplace', 'rsync -I --inplace "$OUTSIDE/new.md" doc.md', None, 1),
    ('rsync: --delay-updates', 'rsync -I --delay-updates "$OUTSIDE/new.md" doc.md', None, 1),
    ('rsync: a folder, --delay-updates --backup', 'rsync -aI --delay-updates --backup "$OUTSIDE/from/" .', None, 1),
    ('patch: with a backup', 'patch -sb < "$OUTSIDE/new.patch" && rm doc.md.orig', None, 1),
    ('cp over, twice, numbered backups',
     'for i in 1 2; do cp --backup=numbered "$OUTSIDE/new.md" doc.md; done', None, 1),
    ('tar: x --overwrite', 'tar xf "$OUTSIDE/new.tar" --overwrite', None, 1),
    ('unzip: -o', 'unzip -qo "$OUTSIDE/new.zip"', None, 1),
    ('gio: save', 'gio save doc.md < "$OUTSIDE/new.md"', None, 1),
    ('gio: save -b', 'gio save -b doc.md < "$OUTSIDE/new.md"', None, 1),
    ('gio: copy over', 'gio copy "$OUTSIDE/new.md" doc.md', None, 1),
    ('gio: move over', 'cp "$OUTSIDE/new.md" "$OUTSIDE/gone.md"; gio move "$OUTSIDE/gone.md" doc.md', None, 1),
    ('node: fs.writeFile', f"node -e 'fs.writeFileSync(\"doc.md\", {json.dumps(NEW)})'", None, 1),
    ('node: VS Code', f"node -e '{VS_CODE}'", None, 1),
    ('QSaveFile (Qt, Kate)', qt_save_file, None, 1),
    ('ed: two saves', "printf '1s/old/odd/\\nw\\n1s/odd/new/\\nw\\nq\\n' | ed -s doc.md", None, 2),
    ('git: checkout', 'git init -q . && git -c user.name=a -c user.email=a@b add doc.md && '
     f"printf '{NEW}' > doc.md && git checkout -q -- doc.md", OLD, 2),
    ('vim: default', vim(), None, 1),
    ('vim: backupcopy=yes', vim('--cmd', 'set backupcopy=yes'), None, 1),
    ('vim: kept backup', vim('--cmd', 'set backup'), None, 1),
    ('vim: two saves', vim(saves=2), 'new line!\nsecond line\n', 2),
    ('vim: unchanged', vim_unchanged, OLD, 0),
    ('nano: ^O ^X', nano, None, 1),
    ('python open', python_open, None, 1),
    ('python, an fsync a byte', python_fsyncs, None, 1),
    ('mmap', python_mmap, None, 1),
    ('mmap, closed before the stores', python_mmap_after_close, None, 1),
    ('rename while open (GLib)', glib_replace, None, 1),
    ('rename from an unknown temporary name', unknown_temporary, None, 1),
    ('g_file_set_contents (GLib)', glib_set_contents, None, 1),
    ('both renamed (JetBrains)', both_renamed, None, 1),
    ('backup by rename (Emacs, joe)', backup_by_rename, None, 1),
    ('touch', 'touch doc.md', OLD, 0),
    ('chmod', 'chmod 600 doc.md', OLD, 0),
    ('opened for append, nothing written', ': >> doc.md', OLD, 0),
    ('the same bytes again', f"printf '{OLD}' > doc.md", OLD, 0),
]
# name, command, document, text
NEW_NAMES = [
    ('shell >', 'echo new > fresh.md', 'fresh.md', 'new\n'),
    ('shell >, twice in the window', 'echo x > fresh.md; echo new > fresh.md', 'fresh.md', 'new\n'),
    ('cp', 'cp "$OUTSIDE/new.md" fresh.md', 'fresh.md', NEW),
    ('touch', 'touch fresh.md', 'fresh.md', ''),
    ('written, then renamed', 'echo new > first.md; mv first.md fresh.md', 'fresh.md', 'new\n'),
    ('vim: new file', vim_new, 'fresh.md', 'new line\n'),
]


def needs(name):
    """The program that a row needs is installed, or the row is skipped."""
    program = name.partition(':')[0]
    if ':' in name and not shutil.which(program):
        pytest.skip(f'{program} is not installed')


def folder_name(group, row):
    return f'{group}{row:02}'


@pytest.fixture(scope='module')
def folder(shared_mount):
    """A directory with a signed doc.md for each row, so that all wait for one window."""
    outside = shared_mount.outside
    write(f'{outside}/new.md', NEW)
    write(f'{outside}/new.patch', PATCH)
    write(f'{outside}/doc.md', NEW)
    os.mkdir(f'{outside}/from')
    write(f'{outside}/from/doc.md', NEW)
    with zipfile.ZipFile(f'{outside}/new.zip', 'w') as archive:
        archive.writestr('doc.md', NEW)
    shared_mount.sh('tar cf new.tar doc.md', cwd=outside)
    for row in range(len(TOOLS)):
        os.mkdir(shared_mount.path(folder_name('save', row)))
        write(shared_mount.path(folder_name('save', row), 'doc.md'), OLD)
    for row in range(len(NEW_NAMES)):
        os.mkdir(shared_mount.path(folder_name('new', row)))
    for row in range(len(TOOLS)):
        shared_mount.wait_signed(f'{folder_name("save", row)}/doc.md')
    time.sleep(WINDOW_S + 0.5)
    shared_mount.expected = shared_mount.control('alice@/log').count('\n')
    yield shared_mount
    nothing_else_was_published(shared_mount)


def nothing_else_was_published(folder):
    """Every record that her log has grown by is a version that a test counted."""
    time.sleep(WINDOW_S + 1)
    log = folder.control('alice@/log')
    assert log.count('\n') == folder.expected, log
    about = [line.split('\t')[5] for line in log.split('\n') if line.count('\t') == 5]
    # Without the ids of directories, which may spell anything.
    assert not [name for name in about for junk in JUNK if junk in name.split(' = ')[0]]


def act(folder, directory, command):
    if callable(command):
        command(folder, directory)
    else:
        folder.sh(command, cwd=directory)


def listed(directory):
    """What is there and not hidden; backups are scratch, too."""
    return {name for name in os.listdir(directory) if name[0] != '.' and name[-1] != '~'}


def log_line(folder, name, version):
    lines = [line for line in folder.control(f'alice/{name}@/log').split('\n') if line.startswith(version)]
    assert len(lines) == 1, lines
    return lines[0]


def short_id(version):
    return version.rpartition('-')[2].partition('.')[0]


@pytest.mark.parametrize('row', range(len(TOOLS)), ids=[row[0] for row in TOOLS])
def test_one_save_is_one_version(folder, row):
    name, command, text, made = TOOLS[row]
    needs(name)
    doc = folder_name('save', row) + '/doc.md'
    directory = folder.path(folder_name('save', row))
    before = folder.versions(doc)

    act(folder, directory, command)
    after = folder.wait_signed(doc)
    folder.expected += made

    text = (NEW if text is None else text).encode()
    assert read(folder.path(doc)) == text
    assert after[:len(before)] == before
    assert len(after) == len(before) + made, after
    assert folder.version_text(doc, after[-1]) == text
    assert folder.value(f'alice/{doc}@/head') == after[-1]
    assert listed(directory) == {'doc.md'}
    for parent, version in zip(after, after[1:]):
        assert short_id(parent) in log_line(folder, doc, version)


@pytest.mark.parametrize('row', range(len(NEW_NAMES)), ids=[row[0] for row in NEW_NAMES])
def test_a_new_name_is_published_once(folder, row):
    name, command, document, text = NEW_NAMES[row]
    needs(name)
    doc = folder_name('new', row) + '/' + document
    directory = folder.path(folder_name('new', row))

    act(folder, directory, command)
    assert any('-draft' in version for version in folder.versions(doc)), 'nothing waits for the window'
    versions = folder.wait_signed(doc)
    folder.expected += len(versions)

    assert read(folder.path(doc)) == text.encode()
    assert len(versions) == 1 + ('twice' in name)
    assert folder.version_text(doc, versions[-1]) == text.encode()
    assert listed(directory) == {document}


def test_created_and_removed_in_the_window_is_not_published(folder):
    folder.sh('echo x > brief.md; rm brief.md; echo y > was.md; mv was.md .hidden')
    time.sleep(WINDOW_S + 1)
    assert not os.path.exists(folder.path('brief.md'))
    assert not {'brief.md', 'was.md'} & set(os.listdir(folder.own))


def test_a_long_open_file_is_sealed_when_idle(mount):
    """A logger never closes; its last words are a version all the same, a bounded time later."""
    write(mount.path('log.txt'), 'begin\n')
    mount.wait_signed('log.txt')
    with open(mount.path('log.txt'), 'a', encoding='utf-8') as file:
        file.write('one\n')
        file.flush()
        time.sleep(WINDOW_S / 4)
        file.write('two\n')
        file.flush()
        wait_until(lambda: len(mount.versions('log.txt')) == 2, 15, 'the idle seal')
        file.write('three\n')
    mount.wait_signed('log.txt')
    assert mount.texts('log.txt') == [b'begin\n', b'begin\none\ntwo\n', b'begin\none\ntwo\nthree\n']


def test_truncated_and_not_yet_written_is_not_sealed_by_time(mount):
    write(mount.path('notes.md'), OLD)
    mount.wait_signed('notes.md')
    with open(mount.path('notes.md'), 'w', encoding='utf-8') as file:
        time.sleep(2 * WINDOW_S)
        file.write(NEW)
    mount.wait_signed('notes.md')
    assert mount.texts('notes.md') == [OLD.encode(), NEW.encode()]


def test_a_plain_rename_keeps_the_history(mount):
    write(mount.path('a.md'), OLD)
    mount.wait_signed('a.md')
    write(mount.path('a.md'), NEW)
    before = mount.wait_signed('a.md')
    os.rename(mount.path('a.md'), mount.path('b.md'))
    after = wait_until(lambda: mount.signed('b.md'), 10, 'b.md')
    assert after[:len(before)] == before
    assert mount.texts('b.md') == [OLD.encode(), NEW.encode()]


def test_cp_in_the_mount_is_a_fork(mount):
    """A later edit of the copy descends from the original."""
    write(mount.path('a.md'), OLD)
    original = mount.wait_signed('a.md')
    mount.sh('cp a.md b.md')
    mount.wait_signed('b.md')
    write(mount.path('b.md'), NEW)
    versions = mount.wait_signed('b.md')
    assert short_id(original[-1]) in log_line(mount, 'b.md', versions[-1])
    assert read(mount.path('a.md')) == OLD.encode()
    assert mount.value('alice/a.md@/head') == original[-1]
    assert mount.value('alice/b.md@/head') == versions[-1]
    assert read(mount.path('b.md')) == NEW.encode()


def test_equal_bytes_alone_are_no_fork(mount):
    write(mount.path('a.md'), OLD)
    mount.wait_signed('a.md')
    time.sleep(WINDOW_S + 1)
    mount.sh(f"printf '{OLD}' > b.md")
    mount.wait_signed('b.md')
    assert set(mount.versions('a.md')).isdisjoint(mount.versions('b.md'))


if __name__ == '__main__':
    sys.exit(pytest.main([__file__]))
