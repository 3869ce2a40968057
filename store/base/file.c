#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define READ_STEP (16 * 1024) /* bytes to ask for where the size is not known, as in /proc */

int file_write_all(int fd, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size > 0) {
		ssize_t written = write(fd, at, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		if (written == 0)
			return -EIO;
		at += written;
		size -= (size_t)written;
	}
	return 0;
}

int file_pwrite_all(int fd, const void *bytes, size_t size, off_t offset)
{
	const uint8_t *at = bytes;

	while (size > 0) {
		ssize_t written = pwrite(fd, at, size, offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		if (written == 0)
			return -EIO;
		at += written;
		size -= (size_t)written;
		offset += written;
	}
	return 0;
}

ssize_t file_pread_all(int fd, void *bytes, size_t size, off_t offset)
{
	uint8_t *at = bytes;
	size_t done = 0;

	while (done < size) {
		ssize_t got = pread(fd, at + done, size - done, offset + (off_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static ssize_t read_some(int fd, void *out, size_t size)
{
	ssize_t got;

	do
		got = read(fd, out, size);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* What to hold for so many bytes still to come: one more than the limit shows that it is broken. */
static size_t room_for(size_t size, size_t size_max, off_t expected)
{
	size_t room = READ_STEP;

	if (size == 0 && expected > 0)
		room = (uintmax_t)expected > size_max ? size_max : (size_t)expected;
	else if (size > room)
		room = size;
	if (room > size_max - size)
		room = size_max - size;
	return size + room + 1;
}

int file_read(int directory_fd, const char *path, size_t size_max,
	      uint8_t **out_bytes, size_t *out_size)
{
	CLEANUP(cleanup_close) int fd = openat(directory_fd, path, O_RDONLY | O_CLOEXEC);
	CLEANUP(cleanup_free) uint8_t *bytes = NULL;
	size_t size = 0, capacity = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	for (;;) {
		/* One byte is kept for the NUL, and shows whether more than size_max would come. */
		if (size == capacity) {
			capacity = room_for(size, size_max, st.st_size);
			uint8_t *larger = realloc(bytes, capacity);
			if (!larger)
				return -ENOMEM;
			bytes = larger;
		}
		ssize_t got = read_some(fd, bytes + size, capacity - size);
		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		size += (size_t)got;
		if (size > size_max)
			return -EFBIG;
	}
	bytes[size] = '\0';
	*out_bytes = bytes;
	*out_size = size;
	bytes = NULL;
	return 0;
}

static int sync_directory_of(int directory_fd, const char *path)
{
	CLEANUP(cleanup_free) char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;

	CLEANUP(cleanup_close) int fd =
		openat(directory_fd, dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

static int write_new(int directory_fd, const char *path, mode_t mode, const void *bytes, size_t size)
{
	CLEANUP(cleanup_close) int fd = openat(directory_fd, path,
					       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	int err = file_write_all(fd, bytes, size);
	if (err < 0)
		return err;
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int file_replace(int directory_fd, const char *path, mode_t mode, const void *bytes, size_t size)
{
	CLEANUP(cleanup_free) char *beside = NULL;

	/* A living thread has its number to itself: what lies there is a dead one's, and may go. */
	if (asprintf(&beside, "%s.%ld.tmp", path, (long)gettid()) < 0) {
		beside = NULL;
		return -ENOMEM;
	}
	if (unlinkat(directory_fd, beside, 0) < 0 && errno != ENOENT)
		return -errno;

	int err = write_new(directory_fd, beside, mode, bytes, size);
	if (err == 0 && renameat(directory_fd, beside, directory_fd, path) < 0)
		err = -errno;
	if (err < 0) {
		unlinkat(directory_fd, beside, 0);
		return err;
	}
	return sync_directory_of(directory_fd, path);
}

int file_make_directories(const char *path, mode_t mode)
{
	CLEANUP(cleanup_free) char *part = strdup(path);
	struct stat st;

	if (!part)
		return -ENOMEM;
	for (char *at = part; *at; at++) {
		if (*at != '/' || at == part)
			continue;
		*at = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	if (mkdir(part, mode) < 0 && errno != EEXIST)
		return -errno;
	if (stat(part, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}
