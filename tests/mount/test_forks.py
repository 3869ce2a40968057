"""Two who edit one document, the merge of what they wrote, copies, and what is left of a damaged journal."""
import os
import struct

import pytest

from conftest import read, wait_until

ENTRY_HEAD = struct.Struct('<IQIB')
HEAD_SIZE = 24
SEGMENT_HEAD_SIZE = 20
KIND_RECORD = 1


def fork(mount, name):
    """Two processes read the same version and save one after the other."""
    mount.sh(f'echo first > {name}')
    mount.wait_signed(name)
    mount.sh(f'''(read line < {name}; sleep 0.3; echo left > {name}) &
                 (read line < {name}; sleep 0.6; echo right > {name}) & wait''')
    return wait_until(lambda: [line for line in mount.control(f'alice/{name}@/heads').splitlines()
                               if not line.startswith('#')], what='the heads')


def test_both_saves_stand_and_merge_joins_them(mount):
    heads = fork(mount, 'plan.md')
    assert len(heads) == 2
    assert mount.texts('plan.md') == [b'first\n', b'left\n', b'right\n']
    shown = mount.sh('cat plan.md@/merge').stdout
    assert 'left' in shown and 'right' in shown and '<<<<<<<' in shown
    mount.sh('exec 3<> plan.md@/merge; cat <&3 > /dev/null; printf "both\\n" >&3; exec 3>&-')
    assert read(mount.path('plan.md')) == b'both\n'
    assert mount.control('alice/plan.md@/heads').count('.md') == 1
    line = mount.control('alice/plan.md@/log').splitlines()[3].split('\t')
    assert len(line[2].split(',')) == 2


def test_merge_does_not_supersede_what_it_did_not_show(mount):
    fork(mount, 'plan.md')
    script = '''cat plan.md@/merge > $OUTSIDE/shown
                sh -c 'echo third > plan.md'
                exec 4> plan.md@/merge; cat $OUTSIDE/shown >&4; exec 4>&-'''
    mount.sh(script, check=False)
    texts = {mount.version_text('plan.md', name) for name in
             mount.control('alice/plan.md@/heads').splitlines() if not name.startswith('#')}
    assert b'third\n' in texts


def test_a_copy_and_its_original_go_separate_ways(mount):
    mount.sh('echo original > a.md')
    mount.wait_signed('a.md')
    mount.sh('cp a.md b.md')
    mount.wait_signed('b.md')
    mount.sh('echo "text of b" > b.md')
    assert mount.texts('a.md') == [b'original\n']
    assert mount.texts('b.md') == [b'original\n', b'text of b\n']
    mount.sh('rm a.md; sleep 3; echo -1 > a.md@/head')
    assert read(mount.path('a.md')) == b'original\n'


def test_what_was_removed_with_its_folder_comes_back_with_it(mount):
    mount.sh('mkdir d; echo one > d/x.md')
    mount.wait_signed('d/x.md')
    mount.sh('rm -r d; sleep 3; mkdir d; echo -1 > d/x.md@/head')
    assert read(mount.path('d', 'x.md')) == b'one\n'


def test_a_folder_is_not_renamed_over_a_full_one(mount):
    mount.sh('mkdir full empty; echo x > full/x.md')
    with pytest.raises(OSError):
        os.rename(mount.path('empty'), mount.path('full'))
    assert read(mount.path('full', 'x.md')) == b'x\n'


def damage_record(path, index):
    """One bit of the index-th record of a segment."""
    with open(path, 'rb') as file:
        segment = bytearray(file.read())
    offset, records = SEGMENT_HEAD_SIZE, []
    while offset < len(segment):
        _, _, size, kind = ENTRY_HEAD.unpack_from(segment, offset)
        if kind == KIND_RECORD:
            records.append(offset)
        offset += HEAD_SIZE + size
    segment[records[index] + HEAD_SIZE + 80] ^= 1
    with open(path, 'wb') as file:
        file.write(segment)


def test_one_damaged_record_costs_one_record(mount):
    names = [f'd{i}.md' for i in range(8)]
    mount.sh('for i in 0 1 2 3 4 5 6 7; do echo "text $i" > d$i.md; done')
    mount.wait_signed(*names)
    mount.umount()
    damage_record(os.path.join(mount.home, 'journal/00000001.seg'), 3)
    assert 'hold no valid entry' in mount.run('verify', check=False).stdout
    mount.run('reindex')
    assert mount.run('gc', check=False).returncode == 1
    mount.mount()
    kept = [name for name in names if os.path.exists(mount.path(name))]
    assert len(kept) == 7
    assert all(read(mount.path(name)) == b'text %s\n' % name[1].encode() for name in kept)
    mount.sh(f'echo again > {kept[-1]}')
    assert mount.texts(kept[-1])[-1] == b'again\n'
    mount.umount()
    assert mount.run('verify', check=False).stdout.count('not here') == 1
    os.remove(os.path.join(mount.home, 'key'))  # its verify has findings, as it should
