"""System calls by name, on one folder, each outcome written down: the same script runs on a mount and on a plain disk.

A Tape takes calls as methods: `do.write(fd, b'x')`. A str argument is a path below the tape's folders, bytes are
content. What a call gave, or the name of its errno, stands in `do.log`, without what two file systems may
choose for themselves: inode numbers, a directory's size and link count, times of the clock.
"""
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
LIBC.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint)
AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE = 1, 2, 8, 16
MS_ASYNC, MS_SYNC = 1, 4
SYS_GETDENTS64 = 217
PAGE = mmap.PAGESIZE
NOT_OPEN = 999999  # no descriptor has this number
BLOCK = 4096  # what O_DIRECT must be aligned to


def checked(result):
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class File:
    """An open descriptor; one that could not be opened answers EBADF."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return 'fd' if self.number >= 0 else 'no fd'


class Mapped:
    def __init__(self, address, size):
        self.address, self.size = address, size

    def __repr__(self):
        return 'map'


def describe(found):
    """What two file systems agree about."""
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR and found.st_nlink == 0:
        return 'removed directory'  # of which little is known
    if kind == stat.S_IFDIR:
        return stat.filemode(found.st_mode), found.st_uid, found.st_gid
    return stat.filemode(found.st_mode), found.st_uid, found.st_gid, found.st_nlink, found.st_size


def getdents(number, size):
    """The entries of one call: (name, cookie after it, type)."""
    buffer = ctypes.create_string_buffer(size)
    got = checked(LIBC.syscall(SYS_GETDENTS64, number, buffer, size))
    entries, at = [], 0
    while at < got:
        _, cookie, length, kind = struct.unpack_from('=QqHB', buffer.raw, at)
        name = buffer.raw[at + 19:at + length].split(b'\0', 1)[0]
        entries.append((os.fsdecode(name), cookie, kind))
        at += length
    return entries


def list_all(number, size=32768):
    """Every entry from where the descriptor stands, `.` and `..` too."""
    found = []
    while entries := getdents(number, size):
        found += entries
    return found


def aligned(size):
    """A buffer that O_DIRECT takes."""
    return mmap.mmap(-1, size)


class Tape:
    """Calls on folders: {'a': path, 'b': path}. Each path of a call begins with one of these names."""

    def __init__(self, folders):
        self.folders = folders
        self.log = []
        self.files = []
        self.maps = []
        self.times = {}

    def __getattr__(self, call):
        function = getattr(Calls, call)

        def run(*arguments):
            result = given = None
            try:
                result = function(self, *[self.real(argument) for argument in arguments])
                given = repr(result) if not isinstance(result, (bytes, bytearray)) else brief(result)
            except OSError as error:
                given = errno.errorcode[error.errno]
            if result is None and call in ('open', 'dup', 'create'):
                result = File(-1)
            shown = ', '.join(brief(argument) if isinstance(argument, bytes) else repr(argument)
                              for argument in arguments)
            self.log.append((f'{call}({shown})', given))
            return result
        return run

    def real(self, argument):
        if isinstance(argument, File):
            return argument.number if argument.number >= 0 else NOT_OPEN
        if not isinstance(argument, str):
            return argument
        first, slash, rest = argument.partition('/')
        return self.folders[first] + slash + rest

    def finish(self):
        for file in self.files:
            with contextlib.suppress(OSError):
                if file.number >= 0:
                    os.close(file.number)
        for mapped in self.maps:
            if mapped.address:
                LIBC.munmap(mapped.address, mapped.size)


def brief(content):
    """Content in a line: short as it is, long by its size and a sum."""
    if len(content) <= 48:
        return repr(bytes(content))
    return f'{len(content)} bytes {hash(bytes(content)) & 0xffffffff:08x}'


class Calls:
    """One function a call: the tape, then its arguments with paths made real."""

    # -- by descriptor --

    def open(self, path, flags=os.O_RDONLY, mode=0o644):
        file = File(os.open(path, flags, mode))
        self.files.append(file)
        return file

    def openat(self, directory, name, flags=os.O_RDONLY, mode=0o644):
        file = File(os.open(name, flags, mode, dir_fd=directory))
        self.files.append(file)
        return file

    def create(self, path):
        return Calls.open(self, path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)

    def dup(self, number):
        file = File(os.dup(number))
        self.files.append(file)
        return file

    def close(self, number):
        os.close(number)
        for file in self.files:
            if file.number == number:
                file.number = -1

    def read(self, number, size):
        return os.read(number, size)

    def pread(self, number, size, offset):
        return os.pread(number, size, offset)

    def readv(self, number, *sizes):
        buffers = [bytearray(size) for size in sizes]
        got = os.readv(number, buffers)
        return b''.join(buffers)[:got]

    def write(self, number, content):
        return os.write(number, content)

    def writev(self, number, *contents):
        return os.writev(number, contents)

    def pwrite(self, number, content, offset):
        return os.pwrite(number, content, offset)

    def direct_write(self, number, content, offset):
        with aligned(len(content)) as buffer:
            buffer[:] = content
            return os.pwritev(number, [buffer], offset)

    def direct_read(self, number, size, offset):
        with aligned(size) as buffer:
            got = os.preadv(number, [buffer], offset)
            return buffer[:got]

    def lseek(self, number, offset, whence=os.SEEK_SET):
        return os.lseek(number, offset, whence)

    def ftruncate(self, number, size):
        os.ftruncate(number, size)

    def fsync(self, number):
        os.fsync(number)

    def fdatasync(self, number):
        os.fdatasync(number)

    def sync_file_range(self, number):
        checked(LIBC.sync_file_range(number, 0, 0, 7))

    def fstat(self, number):
        return describe(os.fstat(number))

    def fchmod(self, number, mode):
        os.fchmod(number, mode)

    def futime(self, number, ns):
        os.utime(number, ns=(ns, ns))

    def fallocate(self, number, mode, offset, size):
        checked(LIBC.fallocate(number, mode, offset, size))

    def copy_range(self, source, target, size, at=None, to=None):
        return os.copy_file_range(source, target, size, at, to)

    def sendfile(self, target, source, offset, size):
        return os.sendfile(target, source, offset, size)

    def splice(self, source, target, size):
        """Through a pipe, as splice wants it."""
        reader, writer = os.pipe()
        try:
            got = os.splice(source, writer, size)
            return os.splice(reader, target, got) if got else 0
        finally:
            os.close(reader)
            os.close(writer)

    def flock(self, number, how):
        fcntl.flock(number, how)

    def lock(self, number, how, start=0, size=0):
        fcntl.lockf(number, how, size, start)

    def flags(self, number, flags):
        fcntl.fcntl(number, fcntl.F_SETFL, flags)

    # -- mapped --

    def map(self, number, size, kind=mmap.MAP_SHARED, writable=True):
        rights = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        address = LIBC.mmap(None, size, rights, kind, number, 0)
        if address == ctypes.c_void_p(-1).value:
            checked(-1)
        mapped = Mapped(address, size)
        self.maps.append(mapped)
        return mapped

    def load(self, mapped, offset, size):
        return ctypes.string_at(mapped.address + offset, size)

    def store(self, mapped, offset, content):
        ctypes.memmove(mapped.address + offset, content, len(content))

    def msync(self, mapped, how=MS_SYNC):
        checked(LIBC.msync(mapped.address, mapped.size, how))

    def unmap(self, mapped):
        checked(LIBC.munmap(mapped.address, mapped.size))
        mapped.address = None

    # -- by name --

    def put(self, path, content):
        with open(path, 'wb') as file:
            file.write(content)

    def cat(self, path):
        with open(path, 'rb') as file:
            return file.read()

    def stat(self, path):
        return describe(os.stat(path))

    def lstat(self, path):
        return describe(os.lstat(path))

    def same(self, path, number):
        """Is what stands there what is open?"""
        return os.stat(path).st_ino == os.fstat(number).st_ino

    def access(self, path, how):
        return os.access(path, how)

    def unlink(self, path):
        os.unlink(path)

    def mkdir(self, path, mode=0o755):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def rename(self, path, other):
        os.rename(path, other)

    def rename2(self, path, other, flags):
        checked(LIBC.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(other), flags))

    def link(self, path, other):
        os.link(path, other)

    def symlink(self, target, path):
        """The target is bytes: it is no path of the tape's."""
        os.symlink(os.fsdecode(target), path)

    def readlink(self, path):
        return os.readlink(path)

    def mknod(self, path, mode, device=0):
        os.mknod(path, mode, device)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        os.chown(path, uid, gid)

    def truncate(self, path, size):
        os.truncate(path, size)

    def utime(self, path, ns):
        os.utime(path, ns=(ns, ns), follow_symlinks=False)

    def mtime(self, path):
        return os.lstat(path).st_mtime_ns

    def newer(self, path):
        """Has its time gone on since the last call?"""
        now, before = os.lstat(path).st_mtime_ns, self.times.get(path, 0)
        self.times[path] = now
        return now > before

    def list(self, path):
        return sorted(os.listdir(path))

    def list_open(self, number):
        """From the start, in small buffers."""
        os.lseek(number, 0, os.SEEK_SET)
        return sorted(name for name, _, _ in list_all(number, 512))

    def statfs(self, path):
        found = os.statvfs(path)
        sane = found.f_blocks >= found.f_bfree >= found.f_bavail > 0 and found.f_frsize >= 512 and found.f_files > 0
        return sane, found.f_namemax

    def execute(self, path):
        return subprocess.run([path], capture_output=True, timeout=20, check=False).stdout


def tree(folder):
    """All that stands below: {path: (what it is, its bytes)}."""
    found = {}
    for directory, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, 'rb') as file:
                    content = file.read()
            found[os.path.relpath(path, folder)] = describe(status), content
    return found
