"""What a disk may hold after the power was cut, made from what tests/power/recorder.c wrote down.

What it assumes of a disk and its filesystem:

* what was written to a file before an fsync or fdatasync of it began is there once that returned, with the size
  that goes with it; likewise what was done to the names of a directory;
* of later writes each may be there or not, in whole, in sectors of 512 bytes or pages of 4 KiB, or as zeroes where the file
  grew; so may truncations; between files nothing has an order;
* names: either as with a journal (ext4, xfs, btrfs), in the order in which they were changed, and an fsync
  of any file takes along what was before it; or as POSIX has it, each directory for itself, and a new file's name is
  safe only once its directory was synced;
* a rename is there or not; it is never half there, and never without the old or the new file;
* bytes that are durable do not change: that is damage, and other tests have it.
"""
import os
import struct

LINE = struct.Struct('<B3xIIIQqQ')
SECTOR, PAGE = 512, 4096
NAMES = 'CRUKXLS'
ORDERED, ALONE = 'names in order', 'each directory for itself'
DROP, KEEP, ZERO, TORN, MIXED = 'dropped', 'kept', 'zeroes', 'torn', 'mixed'


class Line:
    __slots__ = ('type', 'path', 'other', 'data', 'offset', 'reference', 'file', 'begin')

    def __repr__(self):
        return f'{self.type} file {self.file} {self.path} {self.other} at {self.offset} {len(self.data)} bytes'


def read_log(path):
    """The lines in order; files get numbers of their own, since inodes are used again."""
    with open(path, 'rb') as file:
        log = file.read()
    lines, at, numbers, count, begun = [], 0, {}, 0, {}
    while at < len(log):
        kind, path_size, other_size, data_size, inode, offset, reference = LINE.unpack_from(log, at)
        at += LINE.size
        line = Line()
        line.type = chr(kind)
        line.path = os.fsdecode(log[at:at + path_size])
        line.other = os.fsdecode(log[at + path_size:at + path_size + other_size])
        at += path_size + other_size
        line.data = log[at:at + data_size]
        at += data_size
        line.offset, line.reference, line.begin = offset, reference, None
        if line.type == 'C':
            count += 1
            numbers[inode] = count
        line.file = numbers[inode] if inode else 0
        if line.type == 'B':
            line.other = 'directory' if not inode else ''
            begun[reference] = len(lines)
        if line.type == 'E':
            line.begin = begun.pop(reference)
        assert line.type != '?', f'the recorder does not know {line.other} of {line.path}'
        lines.append(line)
    return lines


def parent(path):
    return os.path.dirname(path)


def put(content, line):
    """Writes or cuts, all of it."""
    if line.type == 'T':
        del content[line.offset:]
        content.extend(bytes(line.offset - len(content)))
    else:
        put_bytes(content, line.offset, line.data)


def put_bytes(content, offset, data):
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data


def grow(content, size):
    if size > len(content):
        content.extend(bytes(size - len(content)))


def put_some(content, line, chance, step):
    """Some sectors or pages of it; the file has grown, at times, also where its last ones are missing."""
    end = line.offset + len(line.data)
    at = line.offset
    while at < end:
        stop = min(end, (at // step + 1) * step)
        if chance.random() < 0.5:
            put_bytes(content, at, line.data[at - line.offset:stop - line.offset])
        at = stop
    if chance.random() < 0.5:
        grow(content, end)


def put_maybe(content, line, how, chance):
    if how == MIXED:
        how = chance.choice((DROP, KEEP, KEEP, ZERO, TORN))
    if how == KEEP or how == ZERO and line.type == 'T':
        put(content, line)
    elif how == ZERO:
        grow(content, line.offset + len(line.data))
    elif how == TORN and line.type == 'T':
        if chance.random() < 0.5:
            put(content, line)
    elif how == TORN:
        put_some(content, line, chance, chance.choice((SECTOR, PAGE)))


class Disk:
    """Everything up to a cut: what is durable, and states with some of the rest."""

    def __init__(self, lines):
        self.lines = lines
        self.by_file = {}
        self.durable_bytes = {}
        for index, line in enumerate(lines):
            if line.type in 'WT':
                self.by_file.setdefault(line.file, []).append(index)

    def durable(self, cut):
        """(file -> index below which its writes are durable, directory -> the same of its names, the same of all names)."""
        files, directories, ordered = {}, {}, 0
        for line in self.lines[:cut]:
            if line.type != 'E':
                continue
            begin = self.lines[line.begin]
            if begin.path == '*':
                files.update((file, max(files.get(file, 0), line.begin)) for file in self.by_file)
                directories.update((parent(name), max(directories.get(parent(name), 0), line.begin))
                                   for change in self.lines[:line.begin] if change.type in NAMES
                                   for name in (change.path, change.other if change.type == 'R' else change.path))
            elif begin.other == 'directory':
                directories[begin.path] = max(directories.get(begin.path, 0), line.begin)
            else:
                files[begin.file] = max(files.get(begin.file, 0), line.begin)
            if begin.other == 'directory' or not begin.offset: # not fdatasync
                ordered = max(ordered, line.begin)
        return files, directories, ordered

    def durable_content(self, file, below):
        """Kept, and grown from the last one asked for, since cuts are asked for in order."""
        index, content = self.durable_bytes.get(file, (0, bytearray()))
        if index > below:
            index, content = 0, bytearray()
        for write in self.by_file.get(file, ()):
            if index <= write < below:
                put(content, self.lines[write])
        self.durable_bytes[file] = below, content
        return content

    def content(self, file, below, cut, how, chance):
        content = bytearray(self.durable_content(file, below))
        for write in self.by_file.get(file, ()):
            if below <= write < cut:
                put_maybe(content, self.lines[write], how, chance)
        return content

    def names(self, cut, how, chance):
        """path -> file, None for a directory, a text for a link. how None: all of them."""
        _, directories, ordered = self.durable(cut)
        limits = {}

        def is_there(index, line):
            if how is None:
                return True
            if how == ORDERED:
                return index < limits.setdefault('', chance.choice((cut, ordered, chance.randint(ordered, cut))))
            for directory in {parent(line.path), parent(line.other) if line.type == 'R' else parent(line.path)}:
                if directory not in limits:
                    least = directories.get(directory, 0)
                    limits[directory] = chance.choice((cut, least, chance.randint(least, cut)))
                if index < limits[directory]:
                    return True
            return False

        names = {}
        for index, line in enumerate(self.lines[:cut]):
            if line.type in NAMES and is_there(index, line):
                apply_name(names, line)
        return names

    def state(self, cut, chance, how_names, how):
        """path -> bytes, None for a directory, a text for a link."""
        files, _, _ = self.durable(cut)
        tree = {}
        for path, file in self.names(cut, how_names, chance).items():
            if isinstance(file, int):
                tree[path] = bytes(self.content(file, files.get(file, 0), cut, how, chance))
            else:
                tree[path] = file
        return tree


def apply_name(names, line):
    if line.type in 'CL' and line.path:
        names[line.path] = line.file
    elif line.type == 'K':
        names[line.path] = None
    elif line.type == 'S':
        names[line.path] = line.other
    elif line.type in 'UX':
        names.pop(line.path, None)
    elif line.type == 'R' and line.path in names:
        swapped = names.get(line.other) if line.offset & 2 else None
        for path in [path for path in names if path == line.path or path.startswith(line.path + '/')]:
            names[line.other + path[len(line.path):]] = names.pop(path)
        if swapped is not None:
            names[line.path] = swapped


def write_tree(root, tree):
    """Leaves out what stands in a directory that is not there."""
    os.mkdir(root, 0o700)
    for path in sorted(tree):
        full = os.path.join(root, path)
        if not os.path.isdir(os.path.dirname(full)):
            continue
        if tree[path] is None:
            os.mkdir(full, 0o700)
        elif isinstance(tree[path], str):
            os.symlink(tree[path], full)
        else:
            fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, 'wb') as file:
                file.write(tree[path])
