/* journal_segment.c - the files of a journal: names, open descriptors, replacing one by another. */
#include "journal_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define COPY_SIZE (256 * 1024)
#define SECTOR_SIZE 4096 /* what a disk that cannot read gives up at once */

static ssize_t system_pread(void *context, int fd, void *out, size_t size, off_t offset)
{
	return pread(fd, out, size, offset);
}

static ssize_t system_pwrite(void *context, int fd, const void *bytes, size_t size, off_t offset)
{
	return pwrite(fd, bytes, size, offset);
}

static int system_fdatasync(void *context, int fd)
{
	return fdatasync(fd);
}

static int system_fsync(void *context, int fd)
{
	return fsync(fd);
}

static int system_ftruncate(void *context, int fd, off_t size)
{
	return ftruncate(fd, size);
}

static int system_openat(void *context, int directory_fd, const char *path, int flags, mode_t mode)
{
	return openat(directory_fd, path, flags, mode);
}

static int system_renameat(void *context, int directory_fd, const char *from, const char *to)
{
	return renameat(directory_fd, from, directory_fd, to);
}

static void system_random(void *context, uint8_t *out, size_t size)
{
	randombytes_buf(out, size);
}

const struct journal_calls journal_system_calls = {
	.pread = system_pread,
	.pwrite = system_pwrite,
	.fdatasync = system_fdatasync,
	.fsync = system_fsync,
	.ftruncate = system_ftruncate,
	.openat = system_openat,
	.renameat = system_renameat,
	.random = system_random,
};

/* ---- names ---- */

void journal_segment_name(char out[SEGMENT_NAME_SIZE], uint32_t id, const char *suffix)
{
	snprintf(out, SEGMENT_NAME_SIZE, "%08lu.%s", (unsigned long)id, suffix);
}

/* True if `name` is "<id>.<suffix>" just as it would be made. */
static bool parse_name(const char *name, const char *suffix, uint32_t *out_id)
{
	char *end;
	errno = 0;
	unsigned long long id = strtoull(name, &end, 10);
	if (errno || id == 0 || id > UINT32_MAX)
		return false;

	char made[SEGMENT_NAME_SIZE];
	journal_segment_name(made, (uint32_t)id, suffix);
	if (strcmp(made, name) != 0)
		return false;
	*out_id = (uint32_t)id;
	return true;
}

static int compare_ids(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void close_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static int open_listing(int directory_fd, DIR **out)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out = fdopendir(fd);
	if (!*out) {
		int err = -errno;
		close(fd);
		return err;
	}
	return 0;
}

int journal_list(int directory_fd, bool leftovers, uint32_t **out_ids, size_t *out_count)
{
	CLEANUP(close_directory) DIR *directory = NULL;
	CLEANUP(cleanup_free) uint32_t *ids = NULL;
	size_t count = 0, capacity = 0;

	int err = open_listing(directory_fd, &directory);
	if (err < 0)
		return err;
	for (;;) {
		errno = 0;
		const struct dirent *item = readdir(directory);
		if (!item)
			break;
		uint32_t id;
		if (leftovers && (parse_name(item->d_name, "new", &id) || parse_name(item->d_name, "copy", &id)))
			unlinkat(directory_fd, item->d_name, 0);
		if (!parse_name(item->d_name, "seg", &id))
			continue;
		if (count == capacity) {
			capacity = capacity ? 2 * capacity : 64;
			uint32_t *more = realloc(ids, capacity * sizeof(*ids));
			if (!more)
				return -ENOMEM;
			ids = more;
		}
		ids[count++] = id;
	}
	if (errno)
		return -errno;
	if (count)
		qsort(ids, count, sizeof(*ids), compare_ids);
	*out_ids = ids;
	*out_count = count;
	ids = NULL; /* the caller's now */
	return 0;
}

/* ---- bytes ---- */

int journal_write_all(const struct journal_calls *calls, int fd, const uint8_t *bytes, size_t size,
		      uint64_t offset)
{
	while (size) {
		ssize_t n = calls->pwrite(calls->context, fd, bytes, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		bytes += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

ssize_t journal_read_all(const struct journal_calls *calls, int fd, uint8_t *out, size_t size,
			 uint64_t offset)
{
	size_t done = 0;
	while (done < size) {
		ssize_t n = calls->pread(calls->context, fd, out + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Zeroes are no entry: the rest is still found. */
ssize_t journal_read_readable(const struct journal_calls *calls, int fd, uint8_t *out, size_t size,
			      uint64_t offset)
{
	ssize_t n = journal_read_all(calls, fd, out, size, offset);
	if (n != -EIO)
		return n;
	for (size_t done = 0; done < size;) {
		size_t step = SECTOR_SIZE - (size_t)((offset + done) % SECTOR_SIZE);
		if (step > size - done)
			step = size - done;
		n = journal_read_all(calls, fd, out + done, step, offset + done);
		if (n == -EIO)
			memset(out + done, 0, step);
		else if (n < 0)
			return n;
		else if ((size_t)n < step)
			return (ssize_t)(done + (size_t)n);
		done += step;
	}
	return (ssize_t)size;
}

int journal_copy(const struct journal_calls *calls, int from, uint64_t from_offset, uint64_t size, int to)
{
	CLEANUP(cleanup_free) uint8_t *buffer = malloc(COPY_SIZE);
	if (!buffer)
		return -ENOMEM;
	for (uint64_t done = 0; done < size;) {
		size_t step = size - done < COPY_SIZE ? (size_t)(size - done) : COPY_SIZE;
		ssize_t n = journal_read_readable(calls, from, buffer, step, from_offset + done);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO; /* shorter than it was */
		int err = journal_write_all(calls, to, buffer, (size_t)n, done);
		if (err < 0)
			return err;
		done += (uint64_t)n;
	}
	return 0;
}

int journal_sync_directory(struct journal *j)
{
	return j->calls.fsync(j->calls.context, j->directory_fd) < 0 ? -errno : 0;
}

static int create_aside(struct journal *j, uint32_t id, char name[SEGMENT_NAME_SIZE])
{
	for (unsigned n = 1;; n++) {
		char suffix[16];
		if (n == 1)
			snprintf(suffix, sizeof(suffix), "torn");
		else
			snprintf(suffix, sizeof(suffix), "torn.%u", n);
		journal_segment_name(name, id, suffix);
		int fd = j->calls.openat(j->calls.context, j->directory_fd, name,
					 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			return -errno;
	}
}

int journal_set_aside(struct journal *j, uint32_t id, int fd, uint64_t offset, uint64_t size)
{
	char name[SEGMENT_NAME_SIZE];
	CLEANUP(cleanup_close) int aside = create_aside(j, id, name);
	if (aside < 0)
		return aside;

	int err = journal_copy(&j->calls, fd, offset, size, aside);
	if (err == 0 && j->calls.fsync(j->calls.context, aside) < 0)
		err = -errno;
	if (err == 0)
		err = journal_sync_directory(j);
	if (err < 0)
		unlinkat(j->directory_fd, name, 0);
	return err;
}

/* ---- the table ---- */

struct segment *journal_find(struct journal *j, uint32_t id)
{
	size_t low = 0, high = j->segment_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (j->segments[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < j->segment_count && j->segments[low].id == id ? &j->segments[low] : NULL;
}

static struct segment_file *file_new(int fd)
{
	struct segment_file *file = malloc(sizeof(*file));
	if (file)
		*file = (struct segment_file){ .fd = fd, .refs = 1 };
	return file;
}

static void file_unref(struct segment_file *file)
{
	if (!file || --file->refs)
		return;
	close(file->fd);
	free(file);
}

/* What a sync may still need, and the active one, stays open. */
static bool may_close(const struct journal *j, const struct segment *s)
{
	return s->file && s->file->refs == 1 && s->touched == s->clean &&
	       s != &j->segments[j->segment_count - 1];
}

static bool close_oldest(struct journal *j)
{
	struct segment *oldest = NULL;
	for (size_t i = 0; i < j->segment_count; i++) {
		struct segment *s = &j->segments[i];
		if (may_close(j, s) && (!oldest || s->used < oldest->used))
			oldest = s;
	}
	if (!oldest)
		return false;
	file_unref(oldest->file);
	oldest->file = NULL;
	j->open_count--;
	return true;
}

static void close_over(struct journal *j, size_t count_max)
{
	while (j->open_count > count_max && close_oldest(j))
		;
}

static int reserve(struct journal *j)
{
	if (j->segment_count < j->segment_capacity)
		return 0;
	size_t capacity = j->segment_capacity ? 2 * j->segment_capacity : 16;
	struct segment *more = realloc(j->segments, capacity * sizeof(*more));
	if (!more)
		return -ENOMEM;
	j->segments = more;
	j->segment_capacity = capacity;
	return 0;
}

int journal_add_segment(struct journal *j, uint32_t id, uint64_t size, int fd)
{
	struct segment_file *file = NULL;
	if (fd >= 0) {
		file = file_new(fd);
		if (!file)
			return -ENOMEM;
	}
	pthread_mutex_lock(&j->files);
	int err = reserve(j);
	if (err == 0) {
		j->segments[j->segment_count++] = (struct segment){
			.id = id, .size = size, .file = file, .used = ++j->tick,
			.touched = j->durable, .clean = j->durable, .synced_size = size,
		};
		j->open_count += file != NULL;
		close_over(j, OPEN_FILES_MAX);
	}
	pthread_mutex_unlock(&j->files);
	if (err < 0)
		free(file);
	return err;
}

int journal_replace_file(struct journal *j, struct segment *s, int fd, const char *name, uint64_t size)
{
	char target[SEGMENT_NAME_SIZE];
	journal_segment_name(target, s->id, "seg");
	struct segment_file *file = file_new(fd);
	if (!file)
		return -ENOMEM;

	/* With the lock, so that nobody opens the old file and believes the new size. */
	pthread_mutex_lock(&j->files);
	if (j->calls.renameat(j->calls.context, j->directory_fd, name, target) < 0) {
		int err = -errno;
		pthread_mutex_unlock(&j->files);
		free(file);
		return err;
	}
	j->open_count += s->file == NULL;
	file_unref(s->file);
	s->file = file;
	s->size = size;
	pthread_mutex_unlock(&j->files);
	return 0;
}

void journal_touch(struct journal *j, struct segment *s, uint64_t size)
{
	pthread_mutex_lock(&j->files);
	s->size = size;
	s->touched = ++j->generation;
	pthread_mutex_unlock(&j->files);
	if (s->synced_size > size)
		s->synced_size = size;
}

void journal_set_clean(struct journal *j, struct segment *s, uint64_t generation, uint64_t synced_size)
{
	pthread_mutex_lock(&j->files);
	s->clean = generation;
	pthread_mutex_unlock(&j->files);
	s->synced_size = synced_size < s->size ? synced_size : s->size;
}

/* Another process may have put another file there; who knew places in the old one must hear of it. */
static int check_same(struct segment *s)
{
	struct stat st;
	if (fstat(s->file->fd, &st) < 0)
		return -errno;
	if (st.st_ino == s->inode)
		return 0;
	s->inode = st.st_ino;
	s->size = st.st_size < UINT32_MAX ? (uint64_t)st.st_size : UINT32_MAX;
	return -ESTALE;
}

static int open_segment(struct journal *j, struct segment *s)
{
	close_over(j, OPEN_FILES_MAX - 1);
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, s->id, "seg");
	int fd = j->calls.openat(j->calls.context, j->directory_fd, name,
				 (j->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC, 0);
	if (fd < 0 && errno == ENOENT && j->readonly) {
		s->size = 0; /* compacted to nothing, then removed */
		return -ESTALE;
	}
	if (fd < 0)
		return -errno;
	s->file = file_new(fd);
	if (!s->file) {
		close(fd);
		return -ENOMEM;
	}
	j->open_count++;
	return j->readonly ? check_same(s) : 0;
}

int journal_acquire(struct journal *j, uint32_t id, struct segment_file **out, uint64_t *out_size)
{
	int err = 0;
	pthread_mutex_lock(&j->files);
	struct segment *s = journal_find(j, id);
	if (!s)
		err = -ENOENT;
	else if (!s->file)
		err = open_segment(j, s);
	if (err == 0) {
		s->used = ++j->tick;
		s->file->refs++;
		*out = s->file;
		*out_size = s->size;
	}
	pthread_mutex_unlock(&j->files);
	return err;
}

void journal_release(struct journal *j, struct segment_file *file)
{
	pthread_mutex_lock(&j->files);
	file_unref(file);
	pthread_mutex_unlock(&j->files);
}

void journal_close_files(struct journal *j)
{
	for (size_t i = 0; i < j->segment_count; i++)
		file_unref(j->segments[i].file);
	free(j->segments);
	j->segments = NULL;
	j->segment_count = 0;
}

int journal_truncate(struct journal *j, struct segment *s)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, s->id, &file, &size);
	if (err == 0) {
		if (j->calls.ftruncate(j->calls.context, file->fd, (off_t)size) < 0)
			err = -errno;
		journal_release(j, file);
	}
	s->truncate_due = err < 0;
	return err;
}
