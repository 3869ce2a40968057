#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cleanup.h"
#include "spool.h"

#define MODEL_MAX (4 * SPOOL_MEMORY_MAX)

struct folder {
	char path[4096];
	int fd;
};

static int folder_setup(void **state)
{
	struct folder *f = calloc(1, sizeof *f);
	const char *tmp = getenv("TMPDIR");

	if (!f)
		return -1;
	snprintf(f->path, sizeof f->path, "%s/moot-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->path))
		return -1;
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return f->fd < 0 ? -1 : 0;
}

/* Every test leaves the folder empty: nothing of a spool has a name. */
static int folder_teardown(void **state)
{
	struct folder *f = *state;

	close(f->fd);
	int result = rmdir(f->path);
	free(f);
	return result;
}

/* The slow simple model: all bytes in memory, zeroes beyond the end. */
struct model {
	uint8_t bytes[MODEL_MAX];
	size_t size;
};

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Offsets that like the border, the end, and the beginning. */
static size_t random_offset(uint64_t *seed, size_t size)
{
	size_t near = random_next(seed) % 9;

	switch (random_next(seed) % 5) {
	case 0:
		return SPOOL_MEMORY_MAX - 4 + near;
	case 1:
		return size > 4 ? size - 4 + near : near;
	case 2:
		return near;
	case 3:
		return random_next(seed) % SPOOL_MEMORY_MAX;
	default:
		return random_next(seed) % (2 * SPOOL_MEMORY_MAX);
	}
}

static void model_truncate(struct model *m, size_t size)
{
	if (size < m->size)
		memset(m->bytes + size, 0, m->size - size);
	m->size = size;
}

static void expect_equal(struct spool *s, const struct model *m, uint8_t *buffer)
{
	assert_int_equal(spool_size(s), m->size);
	memset(buffer, 0xee, MODEL_MAX);
	assert_int_equal(spool_read(s, buffer, MODEL_MAX, 0), m->size);
	assert_memory_equal(buffer, m->bytes, m->size);
}

static void step_read(struct spool *s, const struct model *m, uint8_t *buffer, size_t offset, size_t size)
{
	size_t there = offset >= m->size ? 0 : m->size - offset;

	memset(buffer, 0xee, size + 1);
	ssize_t got = spool_read(s, buffer, size, offset);
	assert_int_equal(got, size < there ? size : there);
	assert_memory_equal(buffer, m->bytes + offset, (size_t)got);
	assert_int_equal(buffer[got], 0xee);
}

static void step_write(struct spool *s, struct model *m, const uint8_t *bytes, size_t offset, size_t size)
{
	assert_int_equal(spool_write(s, bytes, size, offset), 0);
	memcpy(m->bytes + offset, bytes, size);
	if (size > 0 && offset + size > m->size)
		m->size = offset + size;
}

static void step(struct spool *s, struct model *m, uint8_t *buffer, uint64_t *seed)
{
	size_t offset = random_offset(seed, m->size);
	size_t size = random_next(seed) % 4 ? random_next(seed) % 100 : random_next(seed) % SPOOL_MEMORY_MAX;
	unsigned kind = random_next(seed) % 6;

	/* The model has an end. */
	if (offset > MODEL_MAX - SPOOL_MEMORY_MAX)
		offset %= SPOOL_MEMORY_MAX;
	if (kind == 0) {
		/* At times to nothing, which goes back to memory. */
		offset = random_next(seed) % 8 ? offset : 0;
		assert_int_equal(spool_truncate(s, offset), 0);
		model_truncate(m, offset);
	} else if (kind <= 2) {
		step_read(s, m, buffer, offset, size);
	} else {
		for (size_t i = 0; i < size; i++)
			buffer[i] = (uint8_t)random_next(seed);
		step_write(s, m, buffer, offset, size);
	}
}

static void random_edits_are_as_in_memory(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_free) struct model *m = malloc(sizeof *m);
	CLEANUP(cleanup_free) uint8_t *buffer = malloc(MODEL_MAX + 1);

	assert_non_null(m);
	assert_non_null(buffer);
	for (uint64_t first = 1; first <= 30; first++) {
		uint64_t seed = first * 0x9e3779b97f4a7c15ull;
		struct spool *s;

		memset(m, 0, sizeof *m);
		assert_int_equal(spool_new(&s, f->fd), 0);
		for (unsigned i = 0; i < 100; i++) {
			step(s, m, buffer, &seed);
			if (i % 10 == 0)
				expect_equal(s, m, buffer);
		}
		expect_equal(s, m, buffer);
		spool_free(s);
	}
}

static unsigned count_open(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* A file is opened only by what is over the border, and let go by truncating to nothing. */
static void small_spools_have_no_file(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_free) uint8_t *text = calloc(1, SPOOL_MEMORY_MAX);
	unsigned before = count_open();
	struct spool *s;

	assert_non_null(text);
	assert_int_equal(spool_new(&s, f->fd), 0);
	assert_int_equal(spool_write(s, text, SPOOL_MEMORY_MAX, 0), 0);
	assert_int_equal(count_open(), before);
	assert_int_equal(spool_write(s, "x", 1, SPOOL_MEMORY_MAX), 0);
	assert_int_equal(count_open(), before + 1);
	assert_int_equal(spool_truncate(s, 0), 0);
	assert_int_equal(count_open(), before);
	assert_int_equal(spool_truncate(s, 10ull << 40), 0); /* a hole takes no room */
	assert_int_equal(count_open(), before + 1);
	assert_int_equal(spool_size(s), 10ull << 40);
	assert_int_equal(spool_read(s, text, 10, (10ull << 40) - 3), 3);
	assert_memory_equal(text, "\0\0\0", 3);
	spool_free(s);
	assert_int_equal(count_open(), before);
	spool_free(NULL);
}

static void too_far_is_refused(void **state)
{
	struct folder *f = *state;
	struct spool *s;
	char text[4];

	assert_int_equal(spool_new(&s, f->fd), 0);
	assert_int_equal(spool_write(s, "abc", 3, 0), 0);
	assert_int_equal(spool_write(s, "x", 1, UINT64_MAX), -EFBIG);
	assert_int_equal(spool_write(s, "xy", 2, INT64_MAX - 1), -EFBIG);
	assert_int_equal(spool_truncate(s, UINT64_MAX), -EFBIG);
	assert_int_equal(spool_write(s, NULL, 0, UINT64_MAX), 0);
	assert_int_equal(spool_size(s), 3);
	assert_int_equal(spool_read(s, text, 4, UINT64_MAX), 0);
	assert_int_equal(spool_read(s, text, 4, 0), 3);
	assert_memory_equal(text, "abc", 3);
	spool_free(s);
}

/* A disk that takes no more: what stood before still stands, and no rest of the failed write shows later. */
static void a_full_disk_keeps_the_old_bytes(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_free) uint8_t *text = malloc(4 * SPOOL_MEMORY_MAX);
	struct rlimit old, small;
	struct spool *s;

	assert_non_null(text);
	memset(text, 'x', 4 * SPOOL_MEMORY_MAX);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 2 * SPOOL_MEMORY_MAX;
	signal(SIGXFSZ, SIG_IGN);

	assert_int_equal(spool_new(&s, f->fd), 0);
	assert_int_equal(spool_write(s, text, SPOOL_MEMORY_MAX + 10, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int err = spool_write(s, text, 2 * SPOOL_MEMORY_MAX, SPOOL_MEMORY_MAX + 10);
	int truncate_err = spool_truncate(s, 3 * SPOOL_MEMORY_MAX);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, -EFBIG);
	assert_int_equal(truncate_err, -EFBIG);

	assert_int_equal(spool_size(s), SPOOL_MEMORY_MAX + 10);
	assert_int_equal(spool_truncate(s, 3 * SPOOL_MEMORY_MAX), 0);
	assert_int_equal(spool_read(s, text, 4 * SPOOL_MEMORY_MAX, 0), 3 * SPOOL_MEMORY_MAX);
	for (size_t i = 0; i < 3 * SPOOL_MEMORY_MAX; i++)
		assert_int_equal(text[i], i < SPOOL_MEMORY_MAX + 10 ? 'x' : 0);
	spool_free(s);
}

static void no_directory_fails_and_keeps_the_memory(void **state)
{
	struct spool *s;
	char text[4] = "";

	assert_int_equal(spool_new(&s, -1), 0);
	assert_int_equal(spool_write(s, "abc", 3, 0), 0);
	assert_int_equal(spool_write(s, "x", 1, SPOOL_MEMORY_MAX), -EBADF);
	assert_int_equal(spool_size(s), 3);
	assert_int_equal(spool_read(s, text, 4, 0), 3);
	assert_string_equal(text, "abc");
	spool_free(s);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_FOLDER(random_edits_are_as_in_memory),
		WITH_FOLDER(small_spools_have_no_file),
		WITH_FOLDER(too_far_is_refused),
		WITH_FOLDER(a_full_disk_keeps_the_old_bytes),
		cmocka_unit_test(no_directory_fails_and_keeps_the_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
