/*
 * recorder.c - preloaded into the program under test: what it asks of the files below $RECORD_ROOT is
 * appended to $RECORD_LOG, in the order in which it was done.  test_power.py makes of it what a disk may hold.
 *
 * One lock is held over each call and its line in the log, but for flushes: these are two lines, and what
 * was written before the first is durable at the second.  Files go by their inode's number, made anew
 * by a creation; directories by their path.  What the C library does within itself is not seen, nor are
 * writes to memory: such a mapping is a line of its own, on which the test fails.
 */
#undef _FILE_OFFSET_BITS /* both names of each function are taken here, and are one where off_t has 64 bits */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 65536

struct line {
	uint8_t type, zero[3];
	uint32_t path_size, other_size, data_size;
	uint64_t inode;
	int64_t offset;
	uint64_t reference;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_size;
static int log_fd = -1;
static uint64_t files[FILES_MAX]; /* inodes below the root; no room is a line '?' */
static size_t file_count;
static uint32_t references;

__attribute__((constructor)) static void begin(void)
{
	const char *where = getenv("RECORD_ROOT"), *log = getenv("RECORD_LOG");
	if (!where || !log || !realpath(where, root))
		return;
	root_size = strlen(root);
	log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void put(struct line line, const char *path, const char *other, const void *data, size_t size)
{
	line.path_size = path ? (uint32_t)strlen(path) : 0;
	line.other_size = other ? (uint32_t)strlen(other) : 0;
	line.data_size = (uint32_t)size;
	struct iovec parts[] = { { &line, sizeof(line) }, { (char *)path, line.path_size },
				 { (char *)other, line.other_size }, { (void *)data, size } };
	int saved = errno;
	if (syscall(SYS_writev, log_fd, parts, 4) != (long)(sizeof(line) + line.path_size + line.other_size + size))
		abort();
	errno = saved;
}

/* The path below the root in `out`; false: it is not there. */
static bool below(int directory_fd, const char *path, char out[PATH_MAX])
{
	char link[64], full[2 * PATH_MAX], base[PATH_MAX];
	int number, used = 0;
	if (log_fd < 0 || !path)
		return false;
	if (sscanf(path, "/proc/self/fd/%d%n", &number, &used) == 1 && path[used] == '/') {
		directory_fd = number;
		path += used + 1;
	}
	if (path[0] == '/') {
		snprintf(full, sizeof(full), "%s", path);
	} else {
		if (directory_fd == AT_FDCWD)
			snprintf(link, sizeof(link), "/proc/self/cwd");
		else
			snprintf(link, sizeof(link), "/proc/self/fd/%d", directory_fd);
		ssize_t size = readlink(link, base, sizeof(base) - 1);
		if (size < 0)
			return false;
		base[size] = '\0';
		snprintf(full, sizeof(full), "%s%s%s", base, strcmp(path, ".") ? "/" : "", strcmp(path, ".") ? path : "");
	}
	if (strncmp(full, root, root_size) != 0 || (full[root_size] != '/' && full[root_size]))
		return false;
	snprintf(out, PATH_MAX, "%s", full[root_size] ? full + root_size + 1 : "");
	return true;
}

static bool is_known(uint64_t inode)
{
	for (size_t i = 0; i < file_count; i++)
		if (files[i] == inode)
			return true;
	return false;
}

static void know(uint64_t inode)
{
	if (is_known(inode))
		return;
	if (file_count == FILES_MAX)
		put((struct line){ .type = '?' }, NULL, NULL, NULL, 0);
	else
		files[file_count++] = inode;
}

static void unknow(uint64_t inode)
{
	for (size_t i = 0; i < file_count; i++)
		if (files[i] == inode)
			files[i] = files[--file_count];
}

/* The inode of a file below the root, else 0. */
static uint64_t inode_of(int fd)
{
	struct stat st;
	if (log_fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !is_known(st.st_ino))
		return 0;
	return st.st_ino;
}

/* ---- opening ---- */

static int opened(int directory_fd, const char *path, int flags, mode_t mode)
{
	char relative[PATH_MAX];
	struct stat st;
	bool ours = below(directory_fd, path, relative);
	pthread_mutex_lock(&lock);
	bool made = (flags & O_CREAT) && fstatat(directory_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0;
	int fd = (int)syscall(SYS_openat, directory_fd, path, flags, mode);
	if (fd >= 0 && log_fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		bool unnamed = (flags & O_TMPFILE) == O_TMPFILE;
		if (!ours)
			unknow(st.st_ino);
		else
			know(st.st_ino);
		if (ours && (made || unnamed))
			put((struct line){ .type = 'C', .inode = st.st_ino }, unnamed ? NULL : relative, NULL, NULL, 0);
		else if (ours && (flags & O_TRUNC))
			put((struct line){ .type = 'T', .inode = st.st_ino }, NULL, NULL, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPENER(name)                                                     \
	int name(const char *path, int flags, ...)                       \
	{                                                                \
		va_list arguments;                                       \
		va_start(arguments, flags);                              \
		mode_t mode = va_arg(arguments, mode_t);                 \
		va_end(arguments);                                       \
		return opened(AT_FDCWD, path, flags, mode);              \
	}
#define OPENER_AT(name)                                                  \
	int name(int directory_fd, const char *path, int flags, ...)     \
	{                                                                \
		va_list arguments;                                       \
		va_start(arguments, flags);                              \
		mode_t mode = va_arg(arguments, mode_t);                 \
		va_end(arguments);                                       \
		return opened(directory_fd, path, flags, mode);          \
	}

#undef open
#undef open64
#undef openat
#undef openat64
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)

/* ---- bytes ---- */

static ssize_t written(int fd, const void *bytes, size_t size, off_t offset)
{
	pthread_mutex_lock(&lock);
	uint64_t inode = inode_of(fd);
	bool anywhere = offset < 0;
	ssize_t done = anywhere ? syscall(SYS_write, fd, bytes, size) : syscall(SYS_pwrite64, fd, bytes, size, offset);
	if (inode && done > 0) {
		if (anywhere)
			offset = lseek(fd, 0, SEEK_CUR) - done;
		put((struct line){ .type = 'W', .inode = inode, .offset = offset }, NULL, NULL, bytes, (size_t)done);
	}
	pthread_mutex_unlock(&lock);
	return done;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	return written(fd, bytes, size, -1);
}

static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t offset)
{
	size_t size = 0;
	for (int i = 0; i < count; i++)
		size += parts[i].iov_len;
	if (!inode_of(fd)) /* /dev/fuse wants it whole, and is none of ours */
		return offset < 0 ? syscall(SYS_writev, fd, parts, count)
				  : syscall(SYS_pwritev, fd, parts, count, offset, 0L);
	char *all = malloc(size + 1);
	if (!all)
		abort();
	size = 0;
	for (int i = 0; i < count; i++) {
		memcpy(all + size, parts[i].iov_base, parts[i].iov_len);
		size += parts[i].iov_len;
	}
	ssize_t done = written(fd, all, size, offset);
	free(all);
	return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	return gathered(fd, parts, count, -1);
}

#undef pwrite
#undef pwrite64
#undef pwritev
#undef pwritev64
ssize_t pwrite(int fd, const void *bytes, size_t size, __off_t offset)
{
	return written(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, __off64_t offset)
{
	return written(fd, bytes, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, __off_t offset)
{
	return gathered(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, __off64_t offset)
{
	return gathered(fd, parts, count, offset);
}

static int cut(int fd, off_t size)
{
	pthread_mutex_lock(&lock);
	uint64_t inode = inode_of(fd);
	int done = (int)syscall(SYS_ftruncate, fd, size);
	if (inode && done == 0)
		put((struct line){ .type = 'T', .inode = inode, .offset = size }, NULL, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

#undef ftruncate
#undef ftruncate64
int ftruncate(int fd, __off_t size)
{
	return cut(fd, size);
}

int ftruncate64(int fd, __off64_t size)
{
	return cut(fd, size);
}

#undef truncate
#undef truncate64
static int cut_path(const char *path, off_t size)
{
	struct stat st;
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_truncate, path, size);
	if (log_fd >= 0 && done == 0 && stat(path, &st) == 0 && is_known(st.st_ino))
		put((struct line){ .type = 'T', .inode = st.st_ino, .offset = size }, NULL, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int truncate(const char *path, __off_t size)
{
	return cut_path(path, size);
}

int truncate64(const char *path, __off64_t size)
{
	return cut_path(path, size);
}

/* What nobody here does so far, and what is written to memory: the test says so if it changes. */
static void unseen(int fd, const char *what)
{
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	path[size > 0 ? size : 0] = '\0';
	pthread_mutex_lock(&lock);
	if (inode_of(fd) && !strstr(path, "/lock.mdb"))
		put((struct line){ .type = '?' }, path, what, NULL, 0);
	pthread_mutex_unlock(&lock);
}

#undef fallocate
#undef fallocate64
int fallocate(int fd, int mode, __off_t offset, __off_t size)
{
	unseen(fd, "fallocate");
	return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int fallocate64(int fd, int mode, __off64_t offset, __off64_t size)
{
	unseen(fd, "fallocate");
	return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

ssize_t copy_file_range(int from, __off64_t *from_offset, int to, __off64_t *to_offset, size_t size, unsigned flags)
{
	unseen(to, "copy_file_range");
	return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, size, flags);
}

#undef mmap
#undef mmap64
static void *mapped(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE))
		unseen(fd, "mmap");
	return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, __off_t offset)
{
	return mapped(address, size, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, __off64_t offset)
{
	return mapped(address, size, protection, flags, fd, offset);
}

/* ---- names ---- */

static int renamed(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	char old[PATH_MAX], new[PATH_MAX];
	bool ours = below(from_fd, from, old) && below(to_fd, to, new);
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
	if (ours && done == 0)
		put((struct line){ .type = 'R', .offset = (int64_t)flags }, old, new, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int rename(const char *from, const char *to)
{
	return renamed(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return renamed(from_fd, from, to_fd, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return renamed(from_fd, from, to_fd, to, flags);
}

int unlinkat(int directory_fd, const char *path, int flags)
{
	char relative[PATH_MAX];
	bool ours = below(directory_fd, path, relative);
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_unlinkat, directory_fd, path, flags);
	if (ours && done == 0)
		put((struct line){ .type = flags & AT_REMOVEDIR ? 'X' : 'U' }, relative, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int directory_fd, const char *path, mode_t mode)
{
	char relative[PATH_MAX];
	bool ours = below(directory_fd, path, relative);
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_mkdirat, directory_fd, path, mode);
	if (ours && done == 0)
		put((struct line){ .type = 'K' }, relative, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int symlinkat(const char *target, int directory_fd, const char *path)
{
	char relative[PATH_MAX];
	bool ours = below(directory_fd, path, relative);
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_symlinkat, target, directory_fd, path);
	if (ours && done == 0)
		put((struct line){ .type = 'S' }, relative, target, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	char relative[PATH_MAX];
	struct stat st;
	bool ours = below(to_fd, to, relative);
	pthread_mutex_lock(&lock);
	int done = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
	if (ours && done == 0 && fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		put((struct line){ .type = 'L', .inode = st.st_ino }, relative, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

/* ---- flushes ---- */

static int flushed(int fd, long call)
{
	char relative[PATH_MAX];
	struct stat st;
	pthread_mutex_lock(&lock);
	bool directory = log_fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && below(fd, ".", relative);
	if (directory && call == SYS_syncfs)
		snprintf(relative, sizeof(relative), "*"); /* all there is */
	uint64_t inode = inode_of(fd), reference = (uint64_t)getpid() << 32 | ++references;
	bool ours = inode || directory;
	if (ours)
		put((struct line){ .type = 'B', .inode = inode, .offset = call == SYS_fdatasync, .reference = reference },
		    directory ? relative : NULL, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	int done = (int)syscall(call, fd);
	pthread_mutex_lock(&lock);
	if (ours && done == 0)
		put((struct line){ .type = 'E', .inode = inode, .reference = reference }, NULL, NULL, NULL, 0);
	pthread_mutex_unlock(&lock);
	return done;
}

int fsync(int fd)
{
	return flushed(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return flushed(fd, SYS_fdatasync);
}

int syncfs(int fd)
{
	return flushed(fd, SYS_syncfs);
}
