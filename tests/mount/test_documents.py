"""Real documents, thousands of them: imported, exported again, and equal; every one gunzips from its pieces."""
import os
import shutil
import subprocess
import tarfile
import threading

import pytest

from conftest import is_mounted, read, shared_data, write


def listing(root):
    """Relative path -> bytes of everything that is not scratch by its name."""
    found = {}
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in files:
            if not name.startswith('.') and not name.endswith('~'):
                path = os.path.join(directory, name)
                found[os.path.relpath(path, root)] = read(path)
    return found


def unpack(folder):
    archive = shared_data('documents.tar.gz')
    source = os.path.join(folder.base, 'source')
    with tarfile.open(archive) as tar:
        tar.extractall(source)
    return source


def gunzip_all(folder, names):
    """The pieces of all these documents through one real gunzip."""
    with subprocess.Popen(['gunzip'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gunzip:
        def feed():
            for name in names:
                directory = folder.path(name) + '@/pieces'
                for piece in sorted(os.listdir(directory)):
                    gunzip.stdin.write(read(os.path.join(directory, piece)))
            gunzip.stdin.close()
        feeder = threading.Thread(target=feed)
        feeder.start()
        text = gunzip.stdout.read()
        feeder.join()
    assert gunzip.returncode == 0
    return text


@pytest.mark.limit(600)
def test_import_export_and_pieces(home):
    source = unpack(home)
    documents = listing(source)
    assert len(documents) > 10000

    home.run('import', source, timeout=300)
    home.mount()
    assert listing(home.own) == documents
    names = sorted(documents)
    assert gunzip_all(home, names) == b''.join(documents[name] for name in names)
    for name in names[::997]:
        assert home.texts(name) == [documents[name]]
    home.umount()

    target = os.path.join(home.base, 'exported')
    home.run('export', target, timeout=300)
    assert listing(target) == documents
    assert not is_mounted(home.root)


@pytest.mark.limit(300)
def test_import_again_changes_nothing(home):
    """And a changed document makes one version."""
    source = unpack(home)
    small = os.path.join(source, os.listdir(source)[0], 'eips', 'EIPS')
    directory = small if os.path.isdir(small) else source
    home.run('import', directory, 'copy', timeout=300)
    home.mount()
    log = home.control('alice@/log').count('\n')
    home.run('import', directory, 'copy', timeout=300)
    assert home.control('alice@/log').count('\n') == log
    name = sorted(listing(directory))[0]
    with open(os.path.join(directory, name), 'ab') as file:
        file.write(b'one more line\n')
    home.run('import', directory, 'copy', timeout=300)
    assert len(home.wait_signed(f'copy/{name}')) == 2
    assert read(home.path('copy', name)) == read(os.path.join(directory, name))


def test_times_before_1970(home):
    """They come in and go out as they are, with a mount and without."""
    source = os.path.join(home.base, 'source')
    os.mkdir(source)
    times = {'old.md': -315_000_000_500_000_000, 'edge.md': -1, 'new.md': 1_500_000_000_000_000_001}
    for name, time_ns in times.items():
        write(os.path.join(source, name), name)
        os.utime(os.path.join(source, name), ns=(time_ns, time_ns))

    def times_in(folder):
        return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in times}

    home.run('import', source, 'without')
    home.mount()
    home.run('import', source, 'with')
    assert times_in(home.path('without')) == times
    home.run('export', os.path.join(home.base, 'with'))
    home.umount()
    home.run('export', os.path.join(home.base, 'without'))
    for exported in ('with', 'without'):
        for folder in ('with', 'without'):
            assert times_in(os.path.join(home.base, exported, folder)) == times, (exported, folder)


def damage(home, text):
    """Flips a bit of the piece that holds this text, which does not compress."""
    for name in os.listdir(os.path.join(home.home, 'journal')):
        path = os.path.join(home.home, 'journal', name)
        entries = bytearray(read(path))
        at = entries.find(text)
        if at >= 0:
            entries[at + len(text) // 2] ^= 1
            write(path, bytes(entries))
            return
    raise AssertionError('the text is not in the journal')


def test_export_goes_on_after_damage(home):
    """A document that cannot be read is told of and left out; all others are there."""
    source, damaged, text = (os.path.join(home.base, name) for name in ('source', 'damaged', 'text'))
    os.mkdir(source)
    texts = {f'f{i}.md': os.urandom(3000) for i in range(4)}
    for name, text in texts.items():
        write(os.path.join(source, name), text)
    home.run('import', source, 'all')
    sound = os.path.join(home.base, 'sound')
    shutil.copytree(home.home, sound)
    damage(home, texts['f1.md'])
    verify = home.run('verify', check=False)
    assert verify.returncode == 1

    def check_export(target):
        done = home.run('export', target, 'all', check=False)
        assert done.returncode == 1
        told = done.stderr.splitlines()
        assert len(told) == 1 and 'f1.md is not copied: ' in told[0], done.stderr
        assert 'exported 3 documents' in done.stdout and '; 1 not copied' in done.stdout
        assert listing(target) == {name: text for name, text in texts.items() if name != 'f1.md'}

    check_export(os.path.join(home.base, 'without'))
    home.mount()
    check_export(os.path.join(home.base, 'with'))
    home.umount()
    shutil.rmtree(home.home)
    os.rename(sound, home.home)


def test_verify_counts_one(home):
    path = os.path.join(home.home, 'journal', '00000001.seg')
    sound = read(path)
    write(path, sound + b'torn off')
    done = home.run('verify', check=False)
    assert (done.returncode, done.stderr) == (1, 'moot: 1 finding\n')
    write(path, sound)


@pytest.mark.parametrize('mounted', [False, True], ids=['without', 'with'])
def test_import_leaves_out(home, mounted):
    """What cannot be a document is told of, and all else is imported; nothing goes through a link or into a control folder."""
    source = os.path.join(home.base, 'source')
    os.makedirs(os.path.join(source, 'a.md@'))
    os.mkdir(os.path.join(source, 'taken.md'))
    kept = {'a.md': 'a\n', 'plain': 'a document, a folder after\n', 'z.md': 'z\n'}
    refused = ['a.md@', 'ends@', 'fifo', os.fsdecode(b'\xff.md'), 'taken.md']
    for name, text in kept.items():
        write(os.path.join(source, name), text)
    for name in ('a.md@/message', 'ends@', os.fsdecode(b'\xff.md'), 'taken.md/below.md'):
        write(os.path.join(source, name), 'never\n')
    os.mkfifo(os.path.join(source, 'fifo'))
    before = os.path.join(home.base, 'before')
    os.mkdir(before)
    for name in ('a.md', 'taken.md'):
        write(os.path.join(before, name), 'before\n')
    home.run('import', before, 'to')
    if mounted:
        home.mount()
    done = home.run('import', source, 'to')
    assert [f'moot: {source}/{name} is left out: ' in done.stderr for name in refused] == [True] * len(refused), done.stderr
    assert done.stderr.count('\n') == len(refused)
    assert done.stdout.startswith(f'imported {len(kept)} documents') and done.stdout.endswith(f'; {len(refused)} left out\n')
    if not mounted:
        home.mount()
    kept['taken.md'] = 'before\n'
    assert listing(home.path('to')) == {name: text.encode() for name, text in kept.items()}


@pytest.mark.parametrize('mounted', [False, True], ids=['without', 'with'])
def test_import_links_again(home, mounted):
    """A link is as a file: another target is a version more, the same is none."""
    source = os.path.join(home.base, 'source')
    os.mkdir(source)
    victim = os.path.join(home.base, 'victim')
    write(victim, 'not to be written\n')
    links = {'changed': 'one', 'equal': 'same', 'file': victim}
    for name, target in links.items():
        os.symlink(target, os.path.join(source, name))

    def import_again():
        if mounted and not is_mounted(home.root):
            home.mount()
        home.run('import', source, 'to')

    import_again()
    if mounted:
        home.wait_signed(*(f'to/{name}' for name in links))
    for name in ('changed', 'file'):
        os.unlink(os.path.join(source, name))
    os.symlink('two', os.path.join(source, 'changed'))
    write(os.path.join(source, 'file'), 'a file now\n')
    import_again()
    if not mounted:
        home.mount()
    home.wait_signed(*(f'to/{name}' for name in links))
    assert os.readlink(home.path('to/changed')) == 'two'
    assert home.texts('to/changed') == [b'one', b'two']
    assert home.texts('to/equal') == [b'same']
    assert home.texts('to/file') == [victim.encode(), b'a file now\n']
    assert not os.path.islink(home.path('to/file'))
    assert read(victim) == b'not to be written\n'
