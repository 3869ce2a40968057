"""What README and the manual say is so: examples run, pages lint, commands and control files are all there.

An example is a ```sh block of README, or a literal display of a manual page, whose first line begins
with `$ `. Such lines are typed into one shell in a fresh home with ~/moot mounted (before `moot init`, if the
example makes the identity itself); lines beginning `> ` go on with the one before. What follows is what must be printed:
`...` stands for any text within a line, and alone on a line for any lines.
"""
import glob
import os
import re
import stat
import subprocess

import pytest

from conftest import ROOT, folder_kept, write

README = os.path.join(ROOT, 'README.md')
PAGES = sorted(glob.glob(os.path.join(ROOT, 'man', '*.[1-9]')))
MARK = '\036'


def text_of(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def unescape_mdoc(line):
    return line.replace('\\&', '').replace('\\-', '-').replace('\\e', '\\').replace('\\(ti', '~').replace('\\(aq', "'")


def blocks(path):
    """(line number, lines) of every literal block."""
    readme = path.endswith('.md')
    start, block = None, []
    for number, line in enumerate(text_of(path).split('\n'), 1):
        if start is None:
            if line.strip() == '```sh' if readme else re.match(r'\.Bd .*-literal', line):
                start, block = number, []
        elif line.strip() == '```' if readme else line.startswith('.Ed'):
            yield start, block
            start = None
        else:
            block.append(line if readme else unescape_mdoc(line))


def examples():
    for path in [README, *PAGES]:
        for number, block in blocks(path):
            if block and block[0].startswith('$ '):
                yield pytest.param(block, id=f'{os.path.relpath(path, ROOT)}:{number}')


def steps(block):
    """[command, expected lines] of an example."""
    found = []
    for line in block:
        if line.startswith('$ '):
            found.append([line[2:], []])
        elif line.startswith('> ') and not found[-1][1]:
            found[-1][0] += '\n' + line[2:]
        else:
            found[-1][1].append(line.rstrip())
    return found


def pattern(lines):
    """A regular expression of expected output."""
    parts = []
    for line in lines:
        if line.strip() == '...':
            parts.append(r'(?:[^\n]*\n)*?')
        else:
            parts.append('[^\n]*?'.join(re.escape(part) for part in line.split('...')) + r'[ \t]*\n')
    return ''.join(parts)


def run_steps(folder, block):
    """(command, expected lines, output, status) of each step."""
    script = ''.join(f"{command}\nprintf '{MARK}%d{MARK}' $?\n" for command, _ in steps(block))
    done = folder.sh(script, cwd=folder.outside, check=False, timeout=100)
    pieces = done.stdout.split(MARK)
    assert len(pieces) == 2 * len(steps(block)) + 1, done.stdout
    for (command, expected), output, status in zip(steps(block), pieces[::2], pieces[1::2]):
        yield command, expected, output, int(status)


@pytest.mark.parametrize('block', list(examples()))
def test_example(block):
    makes_identity = any('moot init' in line for line in block)
    with folder_kept(not makes_identity, not makes_identity, usual_places=True) as folder:
        for command, expected, output, status in run_steps(folder, block):
            if output and not output.endswith('\n'):
                output += '\n'
            assert re.fullmatch(pattern(expected), output), \
                f'$ {command}\n{output}--- expected:\n' + '\n'.join(expected)
            assert status == 0 or expected, f'$ {command}: status {status}, and nothing said'


def test_there_are_examples():
    assert len(list(examples())) >= 2
    assert any(block and block[0].startswith('$ ') for _, block in blocks(README))


@pytest.mark.parametrize('path', PAGES, ids=os.path.basename)
def test_page_lints(path):
    done = subprocess.run(['mandoc', '-Tlint', '-Wstyle', path], capture_output=True, text=True, timeout=20, check=False)
    # A page of ours that another refers to need not be installed; test_references looks.
    complaints = [line for line in done.stdout.split('\n') if line and 'referenced manual not found' not in line]
    assert not complaints, '\n'.join(complaints)


def test_references():
    ours = {os.path.basename(path) for path in PAGES}
    for path in PAGES:
        for name, section in re.findall(r'^\.(?:.* )?Xr (\S+) (\d)', text_of(path), re.M):
            if 'moot' in name:
                assert f'{name}.{section}' in ours, f'{path} refers to {name}({section})'


def page(name):
    path = os.path.join(ROOT, 'man', name)
    assert path in PAGES, f'no man/{name}'
    return unescape_mdoc(text_of(path))


def test_moot_1_has_every_command():
    with folder_kept(False, False) as folder:
        listed = folder.run('help').stdout
    commands = set(re.findall(r'^ *(?:moot )?([a-z][a-z-]+)\b', listed, re.M)) - {'usage', 'moot', 'options'}
    assert {'init', 'mount', 'umount', 'log'} <= commands, listed
    text = page('moot.1')
    missing = [command for command in sorted(commands) if not re.search(rf'\b(Ic|Nm|Cm) {command}\b|moot {command}\b', text)]
    assert not missing, f'man/moot.1 does not tell of {missing}'


def control_names(root, folder):
    return [name for name in os.listdir(os.path.join(root, folder))]


def test_mootfs_7_has_every_control_file_and_no_other():
    text = page('mootfs.7')
    told = set(re.findall(r'^\.It (?:Pa|Cm) (\S+?)/?(?: .*)?$', text, re.M))
    with folder_kept(True) as folder:
        write(folder.path('notes.md'), 'x\n')
        folder.wait_signed('notes.md')
        found = set()
        for control in ('@', 'alice@', 'alice/notes.md@'):
            for name in os.listdir(os.path.join(folder.root, control)):
                mode = os.stat(os.path.join(folder.root, control, name)).st_mode
                found.add(name)
                assert name in told, f'man/mootfs.7 does not tell of {control}/{name}'
                if not stat.S_ISDIR(mode) and mode & 0o200:
                    section = re.search(rf'^\.It (?:Pa|Cm) {re.escape(name)}\b.*?(?=^\.It |^\.El)', text, re.M | re.S)
                    assert re.search(r'[Ww]rit', section.group()), f'man/mootfs.7: what may be written to {name}?'
    hidden = {'at'}  # answers, and is not listed
    for name in told - found - hidden:
        assert not re.search(rf'^\.It Pa {re.escape(name)}/?$', text, re.M), f'man/mootfs.7 tells of {name}, which is not there'


@pytest.mark.parametrize('place', ['README.md', 'man/mootfs.7', 'moot init'])
def test_it_says_what_is_public(place):
    if place == 'moot init':
        with folder_kept(False, False) as folder:
            text = folder.init().stdout
    else:
        text = text_of(os.path.join(ROOT, place))
    text = ' '.join(text.split())
    assert re.search(r'public to every peer|every peer', text) and 'old versions' in text, text[:2000]
