"""Every version is there to ls, cat and diff; a removed document can be restored; a folder at a time."""
import os
import re
import stat
import subprocess
import time

import pytest

from conftest import read, wait_until, write

TEXTS = ['one\n', 'one\ntwo\n', 'one\n2\nthree\n', '', 'no newline at the end', 'one\nlast\n']


@pytest.fixture(scope='module')
def folder(shared_mount):
    write(shared_mount.path('notes.md'), TEXTS[0])
    shared_mount.wait_signed('notes.md')
    for text in TEXTS[1:]:
        time.sleep(1.1 if text == TEXTS[3] else 0)  # so that two times can be told apart
        write(shared_mount.path('notes.md'), text)
    shared_mount.wait_signed('notes.md')
    return shared_mount


def test_names_tell_time_author_and_id(folder):
    versions = folder.versions('notes.md')
    assert len(versions) == len(TEXTS)
    for version in versions:
        assert re.fullmatch(r'\d{8}T\d{6}Z-alice-[a-z2-7]{8}\.md', version), version
    assert len(set(versions)) == len(versions)
    assert versions == sorted(versions, key=lambda version: version[:16])


def test_each_version_is_a_read_only_file_of_its_text(folder):
    versions = folder.versions('notes.md')
    assert folder.texts('notes.md') == [text.encode() for text in TEXTS]
    for version, text in zip(versions, TEXTS):
        found = os.stat(folder.path('notes.md') + '@/versions/' + version)
        assert found.st_size == len(text)
        assert stat.S_IMODE(found.st_mode) == 0o444
        named = time.strptime(version[:16], '%Y%m%dT%H%M%SZ')
        assert time.gmtime(found.st_mtime)[:6] == named[:6]


def test_a_version_by_number_time_and_prefix(folder):
    versions = folder.versions('notes.md')
    directory = folder.path('notes.md') + '@/versions/'
    for index, text in enumerate(TEXTS):
        assert read(directory + str(index + 1)) == text.encode()
        assert read(directory + str(index - len(TEXTS))) == text.encode()
        short = versions[index].rpartition('-')[2][:8]
        assert read(directory + short) == text.encode()
    assert read(directory + versions[-1][:4]) == TEXTS[-1].encode()  # this year
    stamp = versions[2]
    second = f'{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}'
    assert read(directory + second) == TEXTS[2].encode()
    assert not os.path.exists(directory + '2001-01-01')
    assert not os.path.exists(directory + str(len(TEXTS) + 1))


def test_diffs_apply_with_patch(folder, tmp_path):
    """From nothing to the newest, by the diffs alone."""
    versions = folder.versions('notes.md')
    diffs = os.listdir(folder.path('notes.md') + '@/diffs')
    assert [name.rpartition('.')[0] for name in diffs] == [name.rpartition('.')[0] for name in versions]
    assert all(name.endswith('.diff') for name in diffs)
    target = tmp_path / 'notes.md'
    target.write_bytes(b'')
    for diff, text in zip(diffs, TEXTS):
        patch = read(folder.path('notes.md') + '@/diffs/' + diff)
        done = subprocess.run(['patch', '-s', '--no-backup-if-mismatch', str(target)], input=patch, timeout=20,
                              capture_output=True, check=False)
        assert done.returncode == 0, (patch, done.stdout, done.stderr)
        assert (target.read_bytes() if target.exists() else b'') == text.encode(), patch


def test_diff_of_two_versions_by_diff_itself(folder):
    done = folder.sh('diff -u notes.md@/versions/1 notes.md@/versions/2', check=False)
    assert done.returncode == 1 and '\n+two\n' in done.stdout


def test_log_names_every_version_once(folder):
    log = folder.control('alice/notes.md@/log')
    for version in folder.versions('notes.md'):
        assert sum(line.startswith(version) for line in log.split('\n')) == 1
    printed = folder.run('log', folder.path('notes.md')).stdout
    for version in folder.versions('notes.md'):
        assert version.rpartition('-')[2][:8] in printed


def test_head_stands_on_an_old_version(mount):
    for text in ('one\n', 'two\n'):
        write(mount.path('notes.md'), text)
        mount.wait_signed('notes.md')
    versions = mount.versions('notes.md')
    assert mount.value('alice/notes.md@/head') == versions[1]
    mount.sh(f'echo {versions[0]} > notes.md@/head')
    assert mount.value('alice/notes.md@/head') == versions[0]
    assert read(mount.path('notes.md')) == b'one\n'
    assert os.stat(mount.path('notes.md')).st_size == 4
    assert mount.versions('notes.md') == versions
    write(mount.path('notes.md'), 'three\n')
    versions = mount.wait_signed('notes.md')
    line = [line for line in mount.control('alice/notes.md@/log').split('\n') if line.startswith(versions[2])]
    assert versions[0].rpartition('-')[2][:8] in line[0]


def test_a_removed_document_can_be_restored(mount):
    for text in ('one\n', 'two\n'):
        write(mount.path('gone.md'), text)
        mount.wait_signed('gone.md')
    os.unlink(mount.path('gone.md'))
    time.sleep(3)
    assert not os.path.exists(mount.path('gone.md'))
    assert mount.texts('gone.md') == [b'one\n', b'two\n']
    mount.sh('echo -1 > gone.md@/head')
    assert read(mount.path('gone.md')) == b'two\n'
    assert 'gone.md' in os.listdir(mount.own)
    os.unlink(mount.path('gone.md'))
    time.sleep(3)
    mount.run('restore', mount.path('gone.md'))
    wait_until(lambda: os.path.exists(mount.path('gone.md')), 5, 'the restored document')
    assert read(mount.path('gone.md')) == b'two\n'
    mount.run('restore', mount.path('gone.md'), '1')
    assert read(mount.path('gone.md')) == b'one\n'


def test_show_and_diff_of_the_command(folder):
    assert folder.run('show', folder.path('notes.md')).stdout == TEXTS[-1]
    assert folder.run('show', folder.path('notes.md'), '2').stdout == TEXTS[1]
    assert '+two' in folder.run('diff', folder.path('notes.md'), '1', '2').stdout


def test_commands_without_a_mount(mount):
    for text in ('one\n', 'two\n'):
        write(mount.path('notes.md'), text)
        mount.wait_signed('notes.md')
    mount.umount()
    assert mount.run('show', 'alice/notes.md').stdout == 'two\n'
    assert mount.run('show', 'alice/notes.md', '1').stdout == 'one\n'
    mount.run('log', 'alice/notes.md')
    mount.run('restore', 'alice/notes.md', '1')
    mount.mount()
    assert read(mount.path('notes.md')) == b'one\n'


def test_a_folder_at_a_time(mount):
    os.mkdir(mount.path('guides'))
    write(mount.path('guides/soil.md'), 'old\n')
    write(mount.path('stays.md'), 'stays\n')
    mount.wait_signed('guides/soil.md', 'stays.md')
    time.sleep(1.2)
    then = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())
    time.sleep(1.2)
    write(mount.path('guides/soil.md'), 'new\n')
    os.rename(mount.path('guides'), mount.path('moved'))
    os.unlink(mount.path('stays.md'))
    write(mount.path('later.md'), 'later\n')
    mount.wait_signed('later.md', 'moved/soil.md')
    time.sleep(2.5)
    at = os.path.join(mount.root, 'alice@/at', then)
    assert sorted(os.listdir(at)) == ['guides', 'stays.md']
    assert read(f'{at}/guides/soil.md') == b'old\n'
    assert read(f'{at}/stays.md') == b'stays\n'
    assert stat.S_IMODE(os.stat(f'{at}/stays.md').st_mode) & 0o222 == 0
    with pytest.raises(OSError):
        write(f'{at}/stays.md', 'x')
    with pytest.raises(OSError):
        write(f'{at}/new.md', 'x')
    year = os.path.join(mount.root, 'alice@/at', then[:4])
    assert sorted(os.listdir(year)) == sorted(os.listdir(mount.own))
    assert not os.listdir(os.path.join(mount.root, 'alice@/at/2001-01-01'))


@pytest.mark.parametrize('size', [0, 1, 4095, 4096, 65535, 65536, 65537, 1 << 20, 20 << 20])
def test_pieces_gunzip_to_the_document(shared_mount, size):
    text = (os.urandom(1 << 10) + b'0123456789abcdef' * 64) * (size // 2048 + 1)
    name = f'size{size}'
    write(shared_mount.path(name), text[:size])
    shared_mount.wait_signed(name)
    assert shared_mount.gunzip_pieces(name) == text[:size]
    names = os.listdir(shared_mount.path(name) + '@/pieces')
    for index, piece in enumerate(names):
        assert re.fullmatch(r'%04d-[a-z2-7]{52}\.gz' % index, piece), piece


@pytest.mark.limit(240)
def test_a_document_of_100_mib(mount):
    """Written, read, changed in the middle, and gunzipped; memory does not grow with it."""
    block = os.urandom(1 << 20)
    with open(mount.path('big.bin'), 'wb') as file:
        for index in range(100):
            file.write(index.to_bytes(8, 'little') + block[8:])
    mount.wait_signed('big.bin', timeout=60)
    with open(mount.path('big.bin'), 'r+b') as file:
        file.seek(50 << 20)
        file.write(b'CHANGED!')
    versions = mount.wait_signed('big.bin', timeout=60)
    assert len(versions) == 2
    done = subprocess.run(['sh', '-c', 'cat "$1"@/pieces/* | gunzip | cmp - "$1"', 'sh', mount.path('big.bin')],
                          timeout=200, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, (done.stdout, done.stderr)
    with open(mount.path('big.bin') + '@/versions/1', 'rb') as file:
        file.seek(50 << 20)
        assert file.read(8) == (50).to_bytes(8, 'little')
    pieces = [set(name.partition('-')[2] for name in os.listdir(mount.path('big.bin') + '@/pieces'))]
    mount.sh('echo 1 > big.bin@/head')
    pieces.append(set(name.partition('-')[2] for name in os.listdir(mount.path('big.bin') + '@/pieces')))
    assert len(pieces[0] - pieces[1]) <= 4, 'a byte changed stored more than a few pieces anew'
    with open(f'/proc/{mount.pid}/status', encoding='utf-8') as status:
        anonymous = int(re.search(r'RssAnon:\s+(\d+) kB', status.read()).group(1))
    if 'asan' not in mount.moot:
        assert anonymous < 64 << 10, f'{anonymous} kB'


def test_votes_and_subscriptions_are_kept(mount):
    write(mount.path('notes.md'), 'x\n')
    mount.wait_signed('notes.md')
    for control, value in (('vote', 'keep'), ('vote', 'delete'), ('vote', 'none'), ('subscribe', '1'), ('subscribe', '0')):
        mount.sh(f'echo {value} > notes.md@/{control}')
        assert mount.value(f'alice/notes.md@/{control}') == value
    mount.sh('echo keep > notes.md@/vote')
    mount.restart()
    assert mount.value('alice/notes.md@/vote') == 'keep'


def test_page_is_rendered_and_harmless(mount):
    write(mount.path('notes.md'), '# A *title*\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) [y](other.md)\n')
    page = mount.control('alice/notes.md@/page.html')
    assert '<h1>A <em>title</em></h1>' in page
    assert '<script' not in page and 'href="javascript:' not in page
    assert 'other.md' in mount.control('alice/notes.md@/links')
    write(mount.path('other.md'), 'x\n')
    assert 'notes.md' in mount.control('alice/other.md@/links')


def test_every_control_file_reads_and_explains(folder):
    """Value first, then lines that begin with `# `; README names all that is there."""
    for control in ('alice/notes.md@', 'alice@', '@'):
        directory = os.path.join(folder.root, control)
        names = os.listdir(directory)
        readme = folder.control(f'{control}/README')
        for name in names:
            assert name in readme, f'{control}/README does not name {name}'
            if stat.S_ISREG(os.stat(os.path.join(directory, name)).st_mode):
                folder.control(f'{control}/{name}')
    for control in ('alice/notes.md@/head', 'alice/notes.md@/vote', 'alice/notes.md@/subscribe', '@/quota'):
        value, *rest = folder.control(control).rstrip('\n').split('\n')
        assert value and not value.startswith('#')
        assert rest and any(line.startswith('# ') for line in rest), control
