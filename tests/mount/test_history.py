"""A real edit history by many authors, replayed by path through the mount: each edit one save."""
import collections
import gzip
import json
import os
import time

import pytest

from conftest import LONG, read, shared_data, write

DOCUMENTS = 60  # of 332, unless MOOT_LONG is set


def load():
    """path -> [(edit, text or None)] in order, of the documents chosen."""
    with gzip.open(shared_data('history.jsonl.gz'), 'rt', encoding='utf-8') as lines:
        edits = [json.loads(line) for line in lines]
    paths = list(dict.fromkeys(edit['path'] for edit in edits))
    chosen = set(paths if LONG else paths[::max(1, len(paths) // DOCUMENTS)])
    return [edit for edit in edits if edit['path'] in chosen]


@pytest.mark.limit(600)
def test_every_version_equals_its_source(mount):
    edits = load()
    expected = collections.defaultdict(list)
    live = {}
    for edit in edits:
        path = mount.path(edit['path'])
        if edit['op'] == 'delete':
            mount.wait_signed(edit['path'])  # years passed: what is removed within two seconds is never published
            os.unlink(path)
            live.pop(edit['path'], None)
            time.sleep(2.5)  # the removal is published
            continue
        text = edit['content'].encode()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, text)
        if live.get(edit['path']) != text:
            expected[edit['path']].append(text)
        live[edit['path']] = text
    assert len(expected) >= 50
    mount.wait_signed(*expected, timeout=60)
    check(mount, expected, live)
    mount.restart()
    check(mount, expected, live)


def check(folder, expected, live):
    for path, texts in expected.items():
        assert folder.texts(path) == texts, path
        if path in live:
            assert read(folder.path(path)) == live[path]
        else:
            assert not os.path.exists(folder.path(path))
