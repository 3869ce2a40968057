/* journal_kit.h - a folder of its own for each test of the journal, and entries whose bytes follow from their number. */
#ifndef JOURNAL_KIT_H
#define JOURNAL_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_private.h"

#define ENTRIES_SEEN_MAX 4096
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

/* ---- a folder of its own for each test ---- */

struct folder {
	char path[256];
	int fd;
};

static inline int folder_make(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));
	const char *base = getenv("TMPDIR");
	snprintf(f->path, sizeof(f->path), "%s/journal-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static inline void remove_journal(int folder_fd)
{
	int fd = openat(folder_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	DIR *directory = fdopendir(fd);
	const struct dirent *item;
	while ((item = readdir(directory)))
		unlinkat(fd, item->d_name, 0);
	closedir(directory);
	unlinkat(folder_fd, "journal", AT_REMOVEDIR);
}

static inline int folder_remove(void **state)
{
	struct folder *f = *state;
	remove_journal(f->fd);
	close(f->fd);
	rmdir(f->path);
	free(f);
	return 0;
}

static inline size_t file_size(const struct folder *f, const char *path)
{
	struct stat st;
	return fstatat(f->fd, path, &st, 0) < 0 ? SIZE_MAX : (size_t)st.st_size;
}

static inline void write_file(const struct folder *f, const char *path, const void *bytes, size_t size)
{
	unlinkat(f->fd, path, 0); /* truncating would make ext4 flush */
	int fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static inline size_t read_file(const struct folder *f, const char *path, uint8_t *out, size_t size)
{
	int fd = openat(f->fd, path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, out, size);
	assert_true(n >= 0);
	close(fd);
	return (size_t)n;
}

/* The same in every run, so that segments can be written by hand. */
static const struct journal_salt known_salt = { "ZZZZZZZZ" };

static inline void known_random(void *context, uint8_t *out, size_t size)
{
	assert_int_equal(size, sizeof(known_salt.bytes));
	memcpy(out, known_salt.bytes, size);
}

/* A journal of one segment with just these bytes. */
static inline void make_segment(const struct folder *f, const void *bytes, size_t size)
{
	uint8_t head[SEGMENT_HEAD_SIZE];
	journal_put_segment_head(head, &known_salt);
	remove_journal(f->fd);
	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	write_file(f, "journal/salt", head, sizeof(head));
	write_file(f, "journal/00000001.seg", bytes, size);
}

/* ---- entries whose bytes follow from their number ---- */

static inline size_t fill(uint8_t *out, unsigned n, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)(n * 131 + i * (n % 7 + 1));
	return size;
}

static inline int append_sized(struct journal *j, unsigned n, size_t size, journal_place *out_place)
{
	static const uint8_t nothing[1];
	uint8_t *bytes = malloc(size + 1);
	fill(bytes, n, size);
	/* In pieces, so that joining is tested too. */
	struct span spans[3] = { { bytes, size / 3 }, { nothing, 0 }, { bytes + size / 3, size - size / 3 } };
	struct journal_part part = { .kind = (uint8_t)(n % 5 + 1), .spans = spans, .span_count = 3 };
	journal_place planned;
	journal_plan(j, &part, 1, &planned);
	int err = journal_append(j, &part, 1, out_place);
	if (err == 0)
		assert_int_equal(planned, *out_place);
	free(bytes);
	return err;
}

static inline void append_ok(struct journal *j, unsigned n, size_t size, journal_place *out_place)
{
	journal_place place;
	assert_int_equal(append_sized(j, n, size, out_place ? out_place : &place), 0);
}

static inline void check_read(struct journal *j, journal_place place, unsigned n, size_t size)
{
	uint8_t *wanted = malloc(size + 1), *got = malloc(size + 1), kind;
	fill(wanted, n, size);
	assert_int_equal(journal_read(j, place, &kind, got, size), (int)size);
	assert_memory_equal(got, wanted, size);
	assert_int_equal(kind, n % 5 + 1);
	free(wanted);
	free(got);
}

struct seen {
	size_t count, damages;
	uint64_t numbers[ENTRIES_SEEN_MAX];
	journal_place places[ENTRIES_SEEN_MAX];
	size_t sizes[ENTRIES_SEEN_MAX];
	uint8_t first[ENTRIES_SEEN_MAX];
	struct journal_damage damage; /* the last */
};

static inline int see(void *context, const struct journal_entry *entry)
{
	struct seen *seen = context;
	assert_true(seen->count < ENTRIES_SEEN_MAX);
	assert_int_equal(entry->end - entry->place, ENTRY_HEAD_SIZE + entry->size);
	seen->numbers[seen->count] = entry->number;
	seen->places[seen->count] = entry->place;
	seen->sizes[seen->count] = entry->size;
	seen->first[seen->count] = entry->size ? entry->bytes[0] : 0;
	seen->count++;
	return 0;
}

static inline void see_damage(void *context, const struct journal_damage *damage)
{
	struct seen *seen = context;
	assert_true(damage->size > 0);
	seen->damages++;
	seen->damage = *damage;
}

static inline struct seen *seen_new(void)
{
	return calloc(1, sizeof(struct seen));
}

static inline void scan_all(struct journal *j, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	assert_int_equal(journal_scan(j, 0, see, see_damage, seen), 0);
}

static inline int scan_as_other(int folder_fd, journal_visit visit, journal_damaged damaged, void *context)
{
	struct journal *j;
	int err = journal_open_readonly(&j, folder_fd, NULL);
	if (err < 0)
		return err;
	err = journal_scan(j, 0, visit, damaged, context);
	journal_close(j);
	return err;
}

static inline void scan_readonly(const struct folder *f, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	assert_int_equal(scan_as_other(f->fd, see, see_damage, seen), 0);
}

static inline int sync_at_once(void *context, int fd)
{
	return 0;
}

/* With the system's calls, but for those that wait for the disk. */
static inline struct journal *open_after(const struct folder *f, uint64_t segment_size, const struct journal_calls *calls,
					 bool power_was_cut)
{
	struct journal *j = NULL;
	struct why why = { "" };
	struct journal_calls quick = journal_system_calls;
	quick.fsync = quick.fdatasync = sync_at_once;
	quick.random = known_random;
	const struct journal_tuning tuning = { segment_size, calls ? calls : &quick, power_was_cut };
	int err = journal_open_tuned(&j, f->fd, &tuning, &why);
	if (err)
		fail_msg("journal_open: %d %s", err, why.text);
	return j;
}

static inline struct journal *open_small(const struct folder *f, uint64_t segment_size, const struct journal_calls *calls)
{
	return open_after(f, segment_size, calls, false);
}

/* ---- damage: five entries of one size, so that a wrong length may well end where an entry ends ---- */

#define SMALL_COUNT 5
#define SMALL_SIZE 40
#define SMALL_STEP (ENTRY_HEAD_SIZE + SMALL_SIZE)
#define SMALL_AT(n) (SEGMENT_HEAD_SIZE + (n) * SMALL_STEP)

static inline size_t make_small(const struct folder *f, uint8_t *out)
{
	struct journal *j = open_small(f, 0, NULL);
	for (unsigned n = 0; n < SMALL_COUNT; n++)
		append_ok(j, n, SMALL_SIZE, NULL);
	assert_int_equal(journal_close(j), 0);
	size_t size = read_file(f, "journal/00000001.seg", out, 4096);
	assert_int_equal(size, SMALL_AT(SMALL_COUNT));
	return size;
}

#endif
