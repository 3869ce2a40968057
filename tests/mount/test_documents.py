"""Real documents, thousands of them: imported, exported again, and equal; every one gunzips from its pieces."""
import os
import subprocess
import tarfile
import threading

import pytest

from conftest import is_mounted, read, shared_data


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
