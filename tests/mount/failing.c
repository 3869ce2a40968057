/*
 * failing.c - preloaded into the daemon: the n-th call that changes a file of the data folder fails, or all from it on.
 *
 * FAILING names a file of one `struct plan`, mapped and shared: the test writes what is to fail and reads how many
 * calls there were. FAILING_FOLDER: only descriptors of files in it count. LMDB's calls come through here too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	WRITES = 1, TRUNCATES = 2, SYNCS = 4, OPENS = 8,
	INDEX = 16, /* of the index's files only, else of all others */
	METAS = 32  /* of these, what is written to the two pages at the start: a commit counts from then on */
};

#define METAS_SIZE 8192

struct plan {
	_Atomic uint32_t kinds;    /* which calls count */
	_Atomic uint32_t fail_at;  /* from 1; 0: none */
	_Atomic uint32_t for_good; /* and all after it */
	_Atomic uint32_t error;    /* errno */
	_Atomic uint32_t part;     /* a write that fails takes half of its bytes first, as a full disk does */
	_Atomic uint32_t count, failed;
};

static struct plan *plan;
static char folder[PATH_MAX];

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAILING"), *below = getenv("FAILING_FOLDER");
	int fd = path && below ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	snprintf(folder, sizeof(folder), "%s/", below);
	void *map = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		plan = map;
}

static int is_ours(int fd)
{
	char link[64], path[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	if (size < 0)
		return 0;
	path[size] = '\0';
	if (strncmp(path, folder, strlen(folder)) != 0)
		return 0;
	return (strncmp(path + strlen(folder), "index/", 6) == 0) == ((plan->kinds & INDEX) != 0);
}

static int fails(uint32_t kind, int fd)
{
	if (!plan || !(plan->kinds & kind) || !is_ours(fd))
		return 0;
	uint32_t count = atomic_fetch_add(&plan->count, 1) + 1, at = plan->fail_at;
	if (!at || count < at || (count > at && !plan->for_good))
		return 0;
	atomic_fetch_add(&plan->failed, 1);
	errno = (int)plan->error;
	return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t size)
{
	if (!fails(WRITES, fd))
		return REAL(write)(fd, bytes, size);
	return plan->part && size > 1 ? REAL(write)(fd, bytes, size / 2) : -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	if (!fails(offset < METAS_SIZE ? WRITES | METAS : WRITES, fd))
		return REAL(pwrite)(fd, bytes, size, offset);
	return plan->part && size > 1 ? REAL(pwrite)(fd, bytes, size / 2, offset) : -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return pwrite(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *spans, int count)
{
	return fails(WRITES, fd) ? -1 : REAL(writev)(fd, spans, count);
}

ssize_t pwritev(int fd, const struct iovec *spans, int count, off_t offset)
{
	return fails(WRITES, fd) ? -1 : REAL(pwritev)(fd, spans, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *spans, int count, off_t offset)
{
	return pwritev(fd, spans, count, offset);
}

int ftruncate(int fd, off_t size)
{
	return fails(TRUNCATES, fd) ? -1 : REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int fsync(int fd)
{
	return fails(SYNCS, fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return fails(SYNCS, fd) ? -1 : REAL(fdatasync)(fd);
}

int openat(int directory_fd, const char *path, int flags, ...)
{
	va_list arguments;

	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	int fd = REAL(openat)(directory_fd, path, flags, mode);
	if (fd < 0 || (flags & O_ACCMODE) == O_RDONLY || !fails(OPENS, fd))
		return fd;
	close(fd);
	errno = (int)plan->error;
	return -1;
}

int openat64(int directory_fd, const char *path, int flags, ...)
{
	va_list arguments;

	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return openat(directory_fd, path, flags, mode);
}
