#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#define CAPACITY_MIN 1024 /* bytes: most documents are small */

/* In memory while fd < 0; else in the file, which is never longer than `size`. */
struct spool {
	int directory_fd;
	int fd;
	uint64_t size;
	uint8_t *memory;
	size_t capacity;
};

int spool_new(struct spool **out, int directory_fd)
{
	struct spool *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;

	s->directory_fd = directory_fd;
	s->fd = -1;
	*out = s;
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->memory);
	free(s);
}

uint64_t spool_size(const struct spool *s)
{
	return s->size;
}

ssize_t spool_read(struct spool *s, void *out, size_t size, uint64_t offset)
{
	if (offset >= s->size)
		return 0;
	if (size > s->size - offset)
		size = (size_t)(s->size - offset);
	if (size == 0)
		return 0;
	if (s->fd < 0) {
		memcpy(out, s->memory + offset, size);
		return (ssize_t)size;
	}

	ssize_t got = file_pread_all(s->fd, out, size, (off_t)offset);
	if (got >= 0 && (size_t)got < size)
		return -EIO;
	return got;
}

/* Where the filesystem has no O_TMPFILE: a name for a moment. Of a living thread, so no other's. */
static int open_named(int directory_fd)
{
	char name[64];

	snprintf(name, sizeof name, "spool.%ld.tmp", (long)gettid());
	if (unlinkat(directory_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(directory_fd, name, 0);
	return fd;
}

static int open_unnamed(int directory_fd)
{
	int fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
		return open_named(directory_fd);
	return -errno;
}

static int move_to_file(struct spool *s)
{
	int fd = open_unnamed(s->directory_fd);
	if (fd < 0)
		return fd;

	int err = file_pwrite_all(fd, s->memory, (size_t)s->size, 0);
	if (err < 0) {
		close(fd);
		return err;
	}
	s->fd = fd;
	free(s->memory);
	s->memory = NULL;
	s->capacity = 0;
	return 0;
}

static int reserve(struct spool *s, size_t size)
{
	if (size <= s->capacity)
		return 0;

	size_t capacity = s->capacity ? s->capacity : CAPACITY_MIN;
	while (capacity < size)
		capacity *= 2;
	uint8_t *memory = realloc(s->memory, capacity);
	if (!memory)
		return -ENOMEM;
	s->memory = memory;
	s->capacity = capacity;
	return 0;
}

/* Makes room up to `end`, in memory or in the file; what is new in memory reads as zeroes. */
static int prepare(struct spool *s, uint64_t end)
{
	if (end > INT64_MAX)
		return -EFBIG;
	if (s->fd >= 0)
		return 0;
	if (end > SPOOL_MEMORY_MAX)
		return move_to_file(s);

	int err = reserve(s, (size_t)end);
	if (err == 0 && end > s->size)
		memset(s->memory + s->size, 0, (size_t)(end - s->size));
	return err;
}

int spool_write(struct spool *s, const void *bytes, size_t size, uint64_t offset)
{
	if (size == 0)
		return 0;
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EFBIG;

	uint64_t end = offset + size;
	int err = prepare(s, end);
	if (err < 0)
		return err;
	if (s->fd < 0) {
		memcpy(s->memory + offset, bytes, size);
	} else {
		err = file_pwrite_all(s->fd, bytes, size, (off_t)offset);
		if (err < 0) {
			/* What was written past the end must not come back in a later hole. */
			if (end > s->size && ftruncate(s->fd, (off_t)s->size) < 0)
				return -EIO;
			return err;
		}
	}
	if (end > s->size)
		s->size = end;
	return 0;
}

int spool_truncate(struct spool *s, uint64_t size)
{
	int err = size > s->size ? prepare(s, size) : 0;
	if (err < 0)
		return err;

	if (size == 0 && s->fd >= 0) {
		/* Replaced whole: likely small from now on. */
		close(s->fd);
		s->fd = -1;
	} else if (s->fd >= 0 && ftruncate(s->fd, (off_t)size) < 0) {
		return -errno;
	}
	s->size = size;
	return 0;
}
