/*
 * fsx - random work on one file, compared with a model in memory all the while.
 *
 *	fsx [-s SEED] [-n OPERATIONS] [-l LARGEST] [-m MODES] [-w FOLDER] FILE
 *
 * MODES: letters of what is left out or added.
 *	m  no mmap           r  close and reopen between operations
 *	f  fsync often, and forget the cached pages
 *	2  a second descriptor takes turns
 * -w: each content that a close has left is written to FOLDER/000000, 000001 ... if it differs from
 * the one before: what a file system that keeps versions must have kept.
 *
 * Prints the seed first. Status 0: all was as in the model; 1: it was not, and the last operations are told.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOLD_MAX 30

struct work {
	const char *path, *modes, *folder;
	unsigned long seed, operation, left_count;
	uint64_t state;
	size_t largest, size, left_size;
	unsigned char *model, *buffer, *left;
	int fds[2], at;
	bool made, any_left;
	char told[TOLD_MAX][80];
};

/* splitmix64, below a limit that is not 0 */
static size_t below(struct work *w, size_t limit)
{
	uint64_t z = w->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % limit;
}

__attribute__((format(printf, 2, 3))) static void tell(struct work *w, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(w->told[w->operation % TOLD_MAX], sizeof(w->told[0]), format, arguments);
	va_end(arguments);
}

__attribute__((format(printf, 2, 3), noreturn)) static void fail(struct work *w, const char *format, ...)
{
	va_list arguments;

	for (unsigned long i = w->operation < TOLD_MAX ? 0 : w->operation - TOLD_MAX + 1; i <= w->operation; i++)
		printf("%lu %s\n", i, w->told[i % TOLD_MAX]);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("; seed %lu\n", w->seed);
	exit(1);
}

static void check(struct work *w, bool good, const char *call)
{
	if (!good)
		fail(w, "%s: %s", call, strerror(errno));
}

static void compare(struct work *w, const unsigned char *bytes, size_t offset, size_t size, const char *how)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != w->model[offset + i])
			fail(w, "%s: byte %zu is %02x, should be %02x", how, offset + i, bytes[i], w->model[offset + i]);
}

/* ---- operations ---- */

static void pick(struct work *w, size_t limit, size_t *offset, size_t *size)
{
	/* Many are small, some begin where a page or a block does. */
	*offset = below(w, limit);
	if (below(w, 4) == 0)
		*offset &= ~(size_t)4095;
	*size = 1 + below(w, below(w, 3) ? 5000 : limit - *offset);
	if (*size > limit - *offset)
		*size = limit - *offset;
}

static void fill(struct work *w, size_t offset, size_t size)
{
	unsigned char byte = (unsigned char)(1 + below(w, 255));

	if (offset > w->size)
		memset(w->model + w->size, 0, offset - w->size);
	for (size_t i = 0; i < size; i++)
		w->model[offset + i] = (unsigned char)(byte + i / 7);
	if (offset + size > w->size)
		w->size = offset + size;
}

static void write_some(struct work *w, bool append)
{
	size_t offset, size;

	pick(w, w->largest, &offset, &size);
	if (append)
		offset = w->size;
	if (size > w->largest - offset)
		size = w->largest - offset;
	tell(w, "%s %zu %zu", append ? "append" : "write", offset, size);
	fill(w, offset, size);
	check(w, !append || fcntl(w->fds[w->at], F_SETFL, O_APPEND) == 0, "fcntl");
	ssize_t wrote = pwrite(w->fds[w->at], w->model + offset, size, append ? 0 : (off_t)offset);
	check(w, wrote == (ssize_t)size && fcntl(w->fds[w->at], F_SETFL, 0) == 0, "write");
}

static void read_some(struct work *w)
{
	size_t offset, size;

	pick(w, w->largest, &offset, &size);
	tell(w, "read %zu %zu", offset, size);
	size_t expected = offset >= w->size ? 0 : size < w->size - offset ? size : w->size - offset;
	ssize_t got = pread(w->fds[w->at], w->buffer, size, (off_t)offset);
	if (got != (ssize_t)expected)
		fail(w, "read %zd of %zu at %zu", got, expected, offset);
	compare(w, w->buffer, offset, expected, "read");
}

static void truncate_some(struct work *w)
{
	size_t size = below(w, 5) ? below(w, w->largest) : 0;
	bool by_path = below(w, 3) == 0 && !w->folder; /* which is a save of its own */

	tell(w, "truncate %zu to %zu%s", w->size, size, by_path ? " by path" : "");
	if (size > w->size)
		memset(w->model + w->size, 0, size - w->size);
	w->size = size;
	check(w, (by_path ? truncate(w->path, (off_t)size) : ftruncate(w->fds[w->at], (off_t)size)) == 0, "truncate");
}

static void map_some(struct work *w, bool store)
{
	size_t offset, size, page = (size_t)sysconf(_SC_PAGESIZE);

	pick(w, w->size, &offset, &size);
	tell(w, "%s %zu %zu", store ? "store" : "load", offset, size);
	size_t start = offset / page * page;
	unsigned char *map = mmap(NULL, offset + size - start, PROT_READ | (store ? PROT_WRITE : 0), MAP_SHARED, w->fds[w->at],
				  (off_t)start);
	check(w, map != MAP_FAILED, "mmap");
	if (store) {
		fill(w, offset, size);
		memcpy(map + (offset - start), w->model + offset, size);
		if (below(w, 3) == 0)
			check(w, msync(map, offset + size - start, MS_SYNC) == 0, "msync");
	} else {
		compare(w, map + (offset - start), offset, size, "load");
	}
	check(w, munmap(map, offset + size - start) == 0, "munmap");
}

static void copy_some(struct work *w)
{
	size_t from, size, done = 0;

	pick(w, w->size, &from, &size);
	size_t to = below(w, w->largest - size + 1);
	tell(w, "copy %zu to %zu %zu", from, to, size);
	loff_t in = (loff_t)from, out = (loff_t)to;
	bool overlaps = from < to + size && to < from + size;
	while (done < size) {
		ssize_t got = copy_file_range(w->fds[w->at], &in, w->fds[w->at], &out, size - done, 0);
		if (got < 0 && overlaps && errno == EINVAL)
			return;
		check(w, got > 0, "copy_file_range");
		done += (size_t)got;
	}
	if (to > w->size)
		memset(w->model + w->size, 0, to - w->size);
	memmove(w->model + to, w->model + from, size);
	if (to + size > w->size)
		w->size = to + size;
}

/* Holes are refused, or are zeroes; never anything else. */
static void punch_some(struct work *w)
{
	size_t offset, size;

	pick(w, w->size, &offset, &size);
	tell(w, "punch %zu %zu", offset, size);
	if (fallocate(w->fds[w->at], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
		memset(w->model + offset, 0, size);
	else
		check(w, errno == EOPNOTSUPP, "fallocate");
}

static void sync_some(struct work *w)
{
	tell(w, "fsync");
	check(w, (below(w, 2) ? fsync(w->fds[w->at]) : fdatasync(w->fds[w->at])) == 0, "fsync");
	/* What is read next comes from the daemon. */
	check(w, (errno = posix_fadvise(w->fds[w->at], 0, 0, POSIX_FADV_DONTNEED)) == 0, "fadvise");
}

/* ---- closing ---- */

static void write_left(struct work *w)
{
	char path[PATH_MAX + 32];

	if (!w->folder || (w->any_left && w->left_size == w->size && memcmp(w->left, w->model, w->size) == 0))
		return;
	snprintf(path, sizeof(path), "%s/%06lu", w->folder, w->left_count++);
	FILE *file = fopen(path, "w");
	check(w, file && fwrite(w->model, 1, w->size, file) == w->size && fclose(file) == 0, path);
	memcpy(w->left, w->model, w->size);
	w->left_size = w->size;
	w->any_left = true;
}

static void open_all(struct work *w)
{
	for (int i = 0; i < (strchr(w->modes, '2') ? 2 : 1); i++) {
		w->fds[i] = open(w->path, w->made ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC, 0644);
		check(w, w->fds[i] >= 0, "open");
		w->made = true;
	}
}

static void close_all(struct work *w)
{
	for (int i = 0; i < (strchr(w->modes, '2') ? 2 : 1); i++)
		check(w, close(w->fds[i]) == 0, "close");
	write_left(w);
}

static void act(struct work *w)
{
	w->at = strchr(w->modes, '2') ? (int)below(w, 2) : 0;
	switch (below(w, strchr(w->modes, 'f') ? 12 : 10)) {
	case 0: case 1: write_some(w, false); break;
	case 2: write_some(w, true); break;
	case 3: case 4: read_some(w); break;
	case 5: truncate_some(w); break;
	case 6: case 7: if (w->size > 0 && !strchr(w->modes, 'm')) map_some(w, below(w, 2)); break;
	case 8: if (w->size > 1) copy_some(w); break;
	case 9: if (w->size > 0) punch_some(w); break;
	default: sync_some(w); break;
	}
	struct stat st;
	check(w, fstat(w->fds[w->at], &st) == 0, "fstat");
	if ((size_t)st.st_size != w->size)
		fail(w, "the size is %lld, should be %zu", (long long)st.st_size, w->size);
	if (strchr(w->modes, 'r') && below(w, 20) == 0) {
		close_all(w);
		open_all(w);
	}
}

int main(int argc, char **argv)
{
	struct work w = { .modes = "", .seed = 1, .largest = 256 * 1024 };
	unsigned long operations = 1000;
	int option;

	while ((option = getopt(argc, argv, "s:n:l:m:w:")) != -1) {
		switch (option) {
		case 's': w.seed = strtoul(optarg, NULL, 10); break;
		case 'n': operations = strtoul(optarg, NULL, 10); break;
		case 'l': w.largest = strtoul(optarg, NULL, 10); break;
		case 'm': w.modes = optarg; break;
		case 'w': w.folder = optarg; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || w.largest == 0)
		errx(2, "usage: fsx [-s SEED] [-n OPERATIONS] [-l LARGEST] [-m MODES] [-w FOLDER] FILE");
	w.path = argv[optind];
	w.state = w.seed;
	w.model = calloc(3, w.largest);
	if (!w.model)
		err(2, "memory");
	w.buffer = w.model + w.largest;
	w.left = w.buffer + w.largest;
	printf("seed %lu\n", w.seed);
	open_all(&w);
	for (w.operation = 0; w.operation < operations; w.operation++)
		act(&w);
	close_all(&w);
	return 0;
}
