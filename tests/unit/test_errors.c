#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "errors.h"

#define LOG_MAX (256 * 1024)

static uint64_t fixed_time_ns(void *context)
{
	return *(uint64_t *)context;
}

static struct errors *make(uint64_t *time_ns)
{
	struct clock clock = { .time_ns = fixed_time_ns, .context = time_ns };
	struct errors *e = errors_new(&clock);

	assert_non_null(e);
	return e;
}

/* The log as text; free with bytes_finish(). */
static const char *read_log(struct errors *e, struct bytes *out)
{
	bytes_init(out, LOG_MAX);
	errors_read(e, out);
	bytes_put(out, "", 1);
	assert_int_equal(bytes_error(out), 0);
	return (const char *)out->data;
}

static void test_lines(void **state)
{
	static const struct {
		const char *name, *path, *sentence;
		int error;
		const char *expected;
	} cases[] = {
		{ "plain", "me/notes.md@/head", "no such version: x", -EINVAL,
		  "2026-11-22T07:31:04Z  me/notes.md@/head  EINVAL  no such version: x\n" },
		{ "positive errno", "a", "s", ENOENT, "2026-11-22T07:31:04Z  a  ENOENT  s\n" },
		{ "newline in a name", "a\nb", "s\033[1m", -EACCES,
		  "2026-11-22T07:31:04Z  a\\x0ab  EACCES  s\\x1b[1m\n" },
		{ "no known errno", "a", "s", -99999, "2026-11-22T07:31:04Z  a  99999  s\n" },
		{ "empty", "", "", -EIO, "2026-11-22T07:31:04Z    EIO  \n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t time_ns = 1795332664ull * 1000000000;
		struct errors *e = make(&time_ns);
		struct bytes log;

		print_message("case: %s\n", cases[i].name);
		errors_add(e, cases[i].path, cases[i].error, cases[i].sentence);
		assert_string_equal(read_log(e, &log), cases[i].expected);
		bytes_finish(&log);
		errors_free(e);
	}
}

static void test_nothing_refused(void **state)
{
	uint64_t time_ns = 0;
	struct errors *e = make(&time_ns);
	struct bytes log;

	assert_string_equal(read_log(e, &log), "");
	assert_int_equal(errors_count(e), 0);
	bytes_finish(&log);
	errors_free(e);
	errors_free(NULL);
}

static void test_repeats_are_counted(void **state)
{
	uint64_t time_ns = 0;
	struct errors *e = make(&time_ns);
	struct bytes log;

	errors_add(e, "a", -EIO, "s");
	errors_add(e, "b", -EIO, "s");
	time_ns = 1000000000;
	errors_add(e, "b", -EIO, "s");
	assert_string_equal(read_log(e, &log), "1970-01-01T00:00:01Z  b  EIO  s (2 times)\n"
					       "1970-01-01T00:00:00Z  a  EIO  s\n");
	bytes_finish(&log);

	errors_add(e, "a", -EIO, "s"); /* not the newest: a line of its own */
	errors_add(e, "a", -ENOENT, "s");
	errors_add(e, "a", -ENOENT, "t");
	assert_string_equal(read_log(e, &log), "1970-01-01T00:00:01Z  a  ENOENT  t\n"
					       "1970-01-01T00:00:01Z  a  ENOENT  s\n"
					       "1970-01-01T00:00:01Z  a  EIO  s\n"
					       "1970-01-01T00:00:01Z  b  EIO  s (2 times)\n"
					       "1970-01-01T00:00:00Z  a  EIO  s\n");
	assert_int_equal(errors_count(e), 6);
	bytes_finish(&log);
	errors_free(e);
}

static void test_the_oldest_goes(void **state)
{
	uint64_t time_ns = 0;
	struct errors *e = make(&time_ns);
	struct bytes log;
	char path[32];

	for (int i = 0; i < 3 * ERRORS_KEPT + 7; i++) {
		snprintf(path, sizeof(path), "p%d", i);
		errors_add(e, path, -EIO, "s");
	}

	const char *line = read_log(e, &log);
	for (int i = 3 * ERRORS_KEPT + 6; i >= 2 * ERRORS_KEPT + 7; i--) {
		snprintf(path, sizeof(path), "  p%d  ", i);
		const char *end = strchr(line, '\n');
		assert_non_null(end);
		assert_non_null(strstr(line, path));
		assert_true(strstr(line, path) < end);
		line = end + 1;
	}
	assert_string_equal(line, "");
	assert_int_equal(errors_count(e), 3 * ERRORS_KEPT + 7);
	bytes_finish(&log);
	errors_free(e);
}

static void test_long_paths_are_cut_and_still_repeat(void **state)
{
	uint64_t time_ns = 0;
	struct errors *e = make(&time_ns);
	struct bytes log;
	char path[4096];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	errors_add(e, path, -EIO, "s");
	errors_add(e, path, -EIO, "s");
	assert_true(strlen(read_log(e, &log)) < 1100);
	assert_non_null(strstr((const char *)log.data, "(2 times)"));
	bytes_finish(&log);
	errors_free(e);
}

#define THREADS 4
#define ADDS 500

static void *add_many(void *argument)
{
	struct errors *e = argument;
	struct bytes log;

	for (int i = 0; i < ADDS; i++) {
		char path[32];

		snprintf(path, sizeof(path), "p%d", i % 3);
		errors_add(e, path, -EIO, "s");
		if (i % 50 == 0) {
			bytes_init(&log, LOG_MAX);
			errors_read(e, &log);
			bytes_finish(&log);
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	uint64_t time_ns = 0;
	struct errors *e = make(&time_ns);
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, e), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(errors_count(e), THREADS * ADDS);
	errors_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_nothing_refused),
		cmocka_unit_test(test_repeats_are_counted),
		cmocka_unit_test(test_the_oldest_goes),
		cmocka_unit_test(test_long_paths_are_cut_and_still_repeat),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
