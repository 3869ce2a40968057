/*
 * saves - the client of the benches: does one thing many times and tells how long each took.
 *
 *   saves [-f] [-n COUNT] [-s FIRST] [-t TEMPORARY] MODE SOURCE [PATH]
 *
 *   in-place TEXTS FILE   open O_TRUNC, write 4 KiB, close
 *   rename TEXTS FILE     create FILE.tmp (-t: another name), write, close, rename over FILE
 *   create TEXTS FOLDER   create FIRST.md and so on, write, close
 *   read LIST             open, read to the end, close each file that LIST names, a line each
 *   stat LIST             stat each
 *   write TEXTS FILE      -n MiB in a row into a new file, close; prints MiB/s
 *   scan FILE             reads it in a row; prints MiB/s
 *
 * -f: fsync before each close.  TEXTS holds texts of 4 KiB, one behind the other.  They are
 * taken in turn from number FIRST on, and each is stamped with its number: one text written
 * again and again would be found, or compressed 2.6 times too fast.  So give each run its own
 * numbers.  Prints: MODE COUNT min MEDIAN-AND-SO-ON, in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_SIZE 4096
#define ROW_SIZE (128 * 1024) /* what cp and cat read and write at once */

struct bench {
	const char *mode, *source, *path, *temporary;
	uint64_t count, first, at; /* at: the operation's number, from 0 */
	const uint8_t *texts;
	uint64_t text_count;
	char **list;
	uint64_t list_count;
	bool sync;
};

static void die(const char *what, const char *name)
{
	fprintf(stderr, "saves: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- what is written ---- */

static void text_at(const struct bench *b, uint64_t number, uint8_t out[TEXT_SIZE])
{
	char stamp[24];

	memcpy(out, b->texts + number % b->text_count * TEXT_SIZE, TEXT_SIZE);
	int size = snprintf(stamp, sizeof(stamp), "%" PRIx64 "\n", number);
	memcpy(out, stamp, (size_t)size);
}

static void put(const struct bench *b, const char *path, int flags, const uint8_t *text)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("opening", path);
	if (write(fd, text, TEXT_SIZE) != TEXT_SIZE)
		die("writing", path);
	if (b->sync && fsync(fd) < 0)
		die("fsync", path);
	if (close(fd) < 0)
		die("closing", path);
}

static void save_in_place(struct bench *b, const uint8_t *text)
{
	put(b, b->path, O_WRONLY | O_TRUNC, text);
}

static void save_by_rename(struct bench *b, const uint8_t *text)
{
	put(b, b->temporary, O_WRONLY | O_CREAT | O_EXCL, text);
	if (rename(b->temporary, b->path) < 0)
		die("renaming", b->temporary);
}

static void create(struct bench *b, const uint8_t *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%" PRIu64 ".md", b->path, b->first + b->at);
	put(b, path, O_WRONLY | O_CREAT | O_EXCL, text);
}

static void read_one(struct bench *b, const uint8_t *text)
{
	static uint8_t bytes[ROW_SIZE];
	const char *path = b->list[b->at % b->list_count];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		die("opening", path);
	while ((got = read(fd, bytes, sizeof(bytes))) > 0)
		;
	if (got < 0)
		die("reading", path);
	close(fd);
}

static void stat_one(struct bench *b, const uint8_t *text)
{
	struct stat st;
	const char *path = b->list[b->at % b->list_count];

	if (stat(path, &st) < 0)
		die("stat", path);
}

/* ---- many times, each timed ---- */

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

static void print_us(const char *name, uint64_t ns)
{
	printf(" %s %" PRIu64 ".%02" PRIu64, name, ns / 1000, ns % 1000 / 10);
}

static void report(const struct bench *b, uint64_t *took_ns)
{
	uint64_t sum = 0;

	for (uint64_t index = 0; index < b->count; index++)
		sum += took_ns[index];
	qsort(took_ns, b->count, sizeof(*took_ns), compare);
	printf("%s %" PRIu64, b->mode, b->count);
	print_us("min", took_ns[0]);
	print_us("median", took_ns[b->count / 2]);
	print_us("p99", took_ns[b->count * 99 / 100]);
	print_us("mean", sum / b->count);
	printf(" us\n");
}

static void repeat(struct bench *b, void (*operation)(struct bench *b, const uint8_t *text))
{
	uint8_t text[TEXT_SIZE];
	uint64_t *took_ns = calloc(b->count, sizeof(*took_ns));

	if (!took_ns)
		die("remembering", "times");
	for (b->at = 0; b->at < b->count; b->at++) {
		if (b->texts)
			text_at(b, b->first + b->at, text);
		uint64_t start = now_ns();
		operation(b, text);
		took_ns[b->at] = now_ns() - start;
	}
	report(b, took_ns);
	free(took_ns);
}

/* ---- in a row ---- */

static void report_rate(const struct bench *b, uint64_t size, uint64_t ns)
{
	printf("%s %" PRIu64 " MiB: %" PRIu64 " MiB/s\n", b->mode, size >> 20, size * 1000 / (ns ? ns : 1) * 1000000 >> 20);
}

static void write_row(const struct bench *b)
{
	static uint8_t row[ROW_SIZE];
	uint64_t number = b->first, took = 0, size = b->count << 20;
	int fd = open(b->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("opening", b->path);
	for (uint64_t at = 0; at < size; at += sizeof(row)) {
		for (size_t inside = 0; inside < sizeof(row); inside += TEXT_SIZE)
			text_at(b, number++, row + inside);
		uint64_t start = now_ns();
		if (write(fd, row, sizeof(row)) != sizeof(row))
			die("writing", b->path);
		took += now_ns() - start;
	}
	uint64_t start = now_ns();
	if (b->sync && fsync(fd) < 0)
		die("fsync", b->path);
	if (close(fd) < 0)
		die("closing", b->path);
	report_rate(b, size, took + now_ns() - start);
}

static void scan(const struct bench *b)
{
	static uint8_t row[ROW_SIZE];
	uint64_t size = 0, start = now_ns();
	int fd = open(b->source, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		die("opening", b->source);
	while ((got = read(fd, row, sizeof(row))) > 0)
		size += (uint64_t)got;
	if (got < 0)
		die("reading", b->source);
	close(fd);
	report_rate(b, size, now_ns() - start);
}

/* ---- main ---- */

static const struct mode {
	const char *name;
	void (*operation)(struct bench *b, const uint8_t *text); /* timed each, or */
	void (*row)(const struct bench *b);
	bool texts, list;
} modes[] = {
	{ "in-place", save_in_place,  NULL,      true,  false },
	{ "rename",   save_by_rename, NULL,      true,  false },
	{ "create",   create,         NULL,      true,  false },
	{ "read",     read_one,       NULL,      false, true },
	{ "stat",     stat_one,       NULL,      false, true },
	{ "write",    NULL,           write_row, true,  false },
	{ "scan",     NULL,           scan,      false, false },
};

static char *map(const char *path, size_t *out_size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		die("opening", path);
	/* Private and writable: the list's lines are ended in place. */
	char *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		die("mapping", path);
	close(fd);
	*out_size = (size_t)st.st_size;
	return bytes;
}

static void load_texts(struct bench *b)
{
	size_t size;

	b->texts = (const uint8_t *)map(b->source, &size);
	b->text_count = size / TEXT_SIZE;
	if (!b->text_count || !b->path)
		exit(2);
}

static void load_list(struct bench *b)
{
	size_t size;
	char *lines = map(b->source, &size), *end;

	b->list = calloc(size / 2 + 1, sizeof(*b->list));
	if (!b->list)
		die("reading", b->source);
	for (char *line = lines; (end = memchr(line, '\n', (size_t)(lines + size - line))); line = end + 1) {
		*end = '\0';
		b->list[b->list_count++] = line;
	}
	if (!b->list_count)
		exit(2);
	if (!b->count)
		b->count = b->list_count;
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	char temporary[PATH_MAX];
	int option;

	while ((option = getopt(argc, argv, "fn:s:t:")) != -1) {
		if (option == 'f')
			b.sync = true;
		else if (option == 'n')
			b.count = strtoull(optarg, NULL, 10);
		else if (option == 's')
			b.first = strtoull(optarg, NULL, 10);
		else if (option == 't')
			b.temporary = optarg;
		else
			return 2;
	}
	if (argc - optind < 2)
		return 2;
	b.mode = argv[optind];
	b.source = argv[optind + 1];
	b.path = argv[optind + 2];
	if (!b.temporary) {
		snprintf(temporary, sizeof(temporary), "%s.tmp", b.path ? b.path : "");
		b.temporary = temporary;
	}
	for (size_t index = 0; index < sizeof(modes) / sizeof(modes[0]); index++) {
		const struct mode *mode = &modes[index];
		if (strcmp(mode->name, b.mode) != 0)
			continue;
		if (mode->texts)
			load_texts(&b);
		if (mode->list)
			load_list(&b);
		if (mode->row)
			mode->row(&b);
		else if (b.count)
			repeat(&b, mode->operation);
		return 0;
	}
	return 2;
}
