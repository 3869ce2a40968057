"""A document followed whoever writes it: three mounts on loopback."""
import os
import subprocess

from conftest import read, wait_until, write
from test_network import connect, people, theirs, wait_text


def listed(folder, other, name):
    return sorted(os.listdir(theirs(folder, other, name + '@/versions')))


def shown(folder, other, name, author, text):
    """Has it a version by that author with that text, whole?"""
    for version in listed(folder, other, name):
        if f'-{author}-' in version:
            try:
                if read(theirs(folder, other, f'{name}@/versions/{version}')) == text:
                    return True
            except OSError:
                pass
    return False


def wait_shown(folder, other, name, author, text, timeout=25):
    wait_until(lambda: shown(folder, other, name, author, text), timeout,
               f'{text!r} by {author} at {other.name}/{name} of {folder.name}; listed: {listed(folder, other, name)}')


def test_versions_of_whoever_writes_it():
    with people('alice', 'bob', 'carol') as (alice, bob, carol):
        write(alice.path('notes.md'), 'sow in March\n')
        alice.wait_signed('notes.md')
        connect(carol, alice)
        carol.run('follow', 'alice')
        wait_text(theirs(carol, alice, 'notes.md'), b'sow in March\n')
        subprocess.run(['cp', theirs(carol, alice, 'notes.md'), carol.path('mine.md')], check=True, timeout=20)
        write(carol.path('mine.md'), 'sow in March\nand water it\n')
        write(carol.path('other.md'), 'not of that document\n')
        carol.wait_signed('mine.md', 'other.md')

        connect(bob, alice)
        connect(bob, carol)
        bob.run('follow', 'alice')
        wait_text(theirs(bob, alice, 'notes.md'), b'sow in March\n')
        assert len(listed(bob, alice, 'notes.md')) == 1
        write(theirs(bob, alice, 'notes.md@/subscribe'), '1\n')
        assert bob.value('alice/notes.md@/subscribe') == '1'
        wait_shown(bob, alice, 'notes.md', 'carol', b'sow in March\nand water it\n')
        # It stands at another name: the head here is still alice's.
        assert read(theirs(bob, alice, 'notes.md')) == b'sow in March\n'
        heads = bob.control('alice/notes.md@/heads').splitlines()
        assert '-alice-' in heads[0] and not any('-carol-' in line for line in heads if line[0] != '#'), heads
        assert any(line.startswith('# elsewhere: ') and '-carol-' in line for line in heads), heads
        assert bob.value('carol@/subscribe') == '0' and 'carol' not in os.listdir(bob.root)
        # Of carol's other documents there is the name, and no text.
        assert '\tmissing' in bob.control('carol/other.md@/holders')

        # Also without alice, what carol writes next comes by itself.
        bob.run('unfollow', 'alice')
        write(carol.path('mine.md'), 'sow in April\n')
        wait_shown(bob, alice, 'notes.md', 'carol', b'sow in April\n')

        # And no more is shown once it is not followed.
        write(theirs(bob, alice, 'notes.md@/subscribe'), '0\n')
        assert len(listed(bob, alice, 'notes.md')) == 1
