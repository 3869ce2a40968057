#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "progress.h"

#define QUIET_MS 1000
#define EVERY_MS 2000

/* What is seen at a time, and what is made of it. */
struct look {
	uint64_t now_ms;
	uint64_t pieces, missing, peers;
	enum progress_state state;
	const char *line; /* NULL: none is due */
};

static const struct look quick[] = {
	{ 1000, 0, 0, 1, PROGRESS_NONE, NULL },
	{ 1100, 0, 5, 1, PROGRESS_GOING, NULL },
	{ 1200, 5, 0, 1, PROGRESS_GOING, NULL },
	{ 1700, 5, 0, 1, PROGRESS_ENDED, NULL },
	{ 1800, 5, 0, 1, PROGRESS_NONE, NULL },
	{ 0 },
};

static const struct look slow[] = {
	{ 1000, 7, 0, 1, PROGRESS_NONE, NULL },
	{ 2000, 8, 90, 1, PROGRESS_GOING, NULL },
	{ 2900, 20, 80, 1, PROGRESS_GOING, NULL },
	{ 3000, 27, 71, 1, PROGRESS_GOING, "got 20 records, 20 pieces, 20.0 KiB; missing 1 logs, 71 pieces" },
	{ 4000, 30, 60, 1, PROGRESS_GOING, NULL },
	{ 5000, 57, 41, 1, PROGRESS_GOING, "got 50 records, 50 pieces, 50.0 KiB; missing 1 logs, 41 pieces" },
	{ 5400, 98, 0, 1, PROGRESS_GOING, NULL },
	{ 5600, 98, 1, 1, PROGRESS_GOING, NULL },
	{ 5700, 99, 0, 1, PROGRESS_GOING, NULL },
	{ 6100, 99, 0, 1, PROGRESS_ENDED, "got 92 records, 92 pieces, 92.0 KiB" },
	{ 6200, 99, 0, 1, PROGRESS_NONE, NULL },
	/* What comes next is counted anew. */
	{ 7000, 100, 1, 1, PROGRESS_GOING, NULL },
	{ 8000, 101, 1, 1, PROGRESS_GOING, "got 2 records, 2 pieces, 2.0 KiB; missing 1 logs, 1 pieces" },
	{ 0 },
};

static const struct look stalled[] = {
	{ 1000, 0, 9, 1, PROGRESS_GOING, NULL },
	{ 2000, 4, 5, 1, PROGRESS_GOING, "got 4 records, 4 pieces, 4.0 KiB; missing 1 logs, 5 pieces" },
	{ 9999, 4, 5, 1, PROGRESS_GOING, "got 4 records, 4 pieces, 4.0 KiB; missing 1 logs, 5 pieces" },
	{ 10000, 4, 5, 1, PROGRESS_STALLED, "got 4 records, 4 pieces, 4.0 KiB; missing 1 logs, 5 pieces" },
	{ 99000, 4, 5, 1, PROGRESS_STALLED, NULL },
	{ 99100, 5, 4, 1, PROGRESS_GOING, "got 5 records, 5 pieces, 5.0 KiB; missing 1 logs, 4 pieces" },
	{ 99200, 9, 0, 1, PROGRESS_GOING, NULL },
	{ 99900, 9, 0, 1, PROGRESS_ENDED, "got 9 records, 9 pieces, 9.0 KiB" },
	{ 0 },
};

static const struct look cut_off[] = {
	{ 1000, 0, 9, 1, PROGRESS_GOING, NULL },
	{ 2000, 4, 5, 1, PROGRESS_GOING, "got 4 records, 4 pieces, 4.0 KiB; missing 1 logs, 5 pieces" },
	{ 2100, 4, 0, 0, PROGRESS_STALLED, "got 4 records, 4 pieces, 4.0 KiB; nobody is connected any more" },
	{ 9000, 4, 0, 0, PROGRESS_STALLED, NULL },
	{ 0 },
};

static const struct look nothing[] = {
	{ 1000, 0, 0, 0, PROGRESS_NONE, NULL },
	{ 5000, 3, 0, 2, PROGRESS_NONE, NULL },
	{ 9000, 9, 0, 2, PROGRESS_NONE, NULL },
	{ 0 },
};

static void watch(const char *name, const struct look *looks)
{
	struct progress p = { 0 };
	char text[PROGRESS_TEXT_SIZE];

	for (const struct look *l = looks; l->now_ms; l++) {
		const struct progress_counts counts = { .records = l->pieces, .pieces = l->pieces, .bytes = l->pieces * 1024,
							.missing_logs = l->missing > 0, .missing_pieces = l->missing,
							.peers = l->peers };
		print_message("case: %s, %d ms\n", name, (int)l->now_ms);
		assert_int_equal(progress_take(&p, &counts, l->now_ms), l->state);
		assert_int_equal(progress_is_due(&p, QUIET_MS, EVERY_MS, l->now_ms), l->line != NULL);
		progress_describe(&p, text);
		if (l->line)
			assert_string_equal(text, l->line);
	}
}

static void test_when_what_is_told(void **state)
{
	watch("quick", quick);
	watch("slow", slow);
	watch("stalled", stalled);
	watch("cut off", cut_off);
	watch("nothing", nothing);
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "got 0 records, 0 pieces, 0.0 KiB" },
		{ 102, "got 0 records, 0 pieces, 0.0 KiB" },
		{ 1536, "got 0 records, 0 pieces, 1.5 KiB" },
		{ 1024 * 1024 - 1, "got 0 records, 0 pieces, 1023.9 KiB" },
		{ 9 * 1024 * 1024, "got 0 records, 0 pieces, 9.0 MiB" },
		{ UINT64_C(5) << 40, "got 0 records, 0 pieces, 5.0 TiB" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct progress p = { .last = { .bytes = cases[i].bytes, .peers = 1 } };
		char text[PROGRESS_TEXT_SIZE];

		progress_describe(&p, text);
		assert_string_equal(text, cases[i].text);
	}
}

/* The longest that can be said fits. */
static void test_the_longest(void **state)
{
	const struct progress p = { .last = { UINT64_MAX, UINT64_MAX, UINT64_MAX / 16, UINT64_MAX, UINT64_MAX, 1 } };
	char text[PROGRESS_TEXT_SIZE];

	progress_describe(&p, text);
	assert_non_null(strstr(text, "18446744073709551615 pieces"));
	assert_true(strlen(text) > 20 && strcmp(text + strlen(text) - 7, " pieces") == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when_what_is_told),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
