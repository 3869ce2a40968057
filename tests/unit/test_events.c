#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "events.h"

static uint64_t noon_ns(void *context)
{
	return UINT64_C(1795348800) * 1000000000; /* 2026-11-22T12:00:00Z */
}

static const struct clock noon = { .time_ns = noon_ns };

static int setup(void **state)
{
	*state = events_new(&noon);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	events_free(*state);
	return 0;
}

static const char *read_all(struct events *e, struct listener *l)
{
	static char text[1 << 20];
	size_t size = events_read(e, l, text, sizeof(text) - 1);

	text[size] = '\0';
	return text;
}

static struct listener *listen(struct events *e)
{
	struct listener *l;

	assert_int_equal(events_listen(e, &l), 0);
	return l;
}

static void a_reader_gets_what_is_kept_then_what_comes(void **state)
{
	struct events *e = *state;

	events_add(e, "version", "alice/notes.md");
	struct listener *l = listen(e);
	assert_true(events_has_more(e, l));
	assert_string_equal(read_all(e, l), "2026-11-22T12:00:00Z\tversion\talice/notes.md\n");
	assert_false(events_has_more(e, l));
	assert_string_equal(read_all(e, l), "");
	events_add(e, "removed", "alice/notes.md");
	events_add(e, "peer", "bob");
	assert_true(events_has_more(e, l));
	assert_string_equal(read_all(e, l), "2026-11-22T12:00:00Z\tremoved\talice/notes.md\n2026-11-22T12:00:00Z\tpeer\tbob\n");
	assert_string_equal(read_all(e, l), "");
	assert_null(events_leave(e, l));
}

static void lines_stay_whole(void **state)
{
	struct events *e = *state;
	char text[64];

	events_add(e, "peer", "a");
	events_add(e, "peer", "b");
	struct listener *l = listen(e);
	/* Room for one and a half. */
	assert_int_equal(events_read(e, l, text, 45), 28);
	assert_memory_equal(text + 26, "a\n", 2);
	assert_int_equal(events_read(e, l, text, 45), 28);
	assert_memory_equal(text + 26, "b\n", 2);
	assert_int_equal(events_read(e, l, text, 45), 0);
	events_leave(e, l);
}

static void a_name_cannot_make_a_line(void **state)
{
	static const struct {
		const char *name, *path, *shown;
	} cases[] = {
		{ "newline", "bob/a\nb.md", "bob/a\\x0ab.md" },
		{ "escape", "bob/\x1b[2J", "bob/\\x1b[2J" },
		{ "UTF-8", "bob/für.md", "bob/für.md" },
		{ "not UTF-8", "bob/\xff.md", "bob/\\xff.md" },
	};
	struct events *e = *state;
	struct listener *l = listen(e);
	char expected[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		events_add(e, "version", cases[i].path);
		snprintf(expected, sizeof(expected), "2026-11-22T12:00:00Z\tversion\t%s\n", cases[i].shown);
		assert_string_equal(read_all(e, l), expected);
	}
	events_leave(e, l);
}

static void a_thousand_are_kept(void **state)
{
	struct events *e = *state;
	struct listener *slow = listen(e);
	char path[32];

	for (int i = 0; i < EVENTS_KEPT + 5; i++) {
		snprintf(path, sizeof(path), "%d", i);
		events_add(e, "version", path);
	}
	struct listener *late = listen(e);
	const char *text = read_all(e, late);
	assert_memory_equal(text, "2026-11-22T12:00:00Z\tversion\t5\n", 31);
	int lines = 0;
	for (; *text; text++)
		lines += *text == '\n';
	assert_int_equal(lines, EVENTS_KEPT);
	/* Who was there before is told what it missed. */
	text = read_all(e, slow);
	assert_memory_equal(text, "# 5 lines before these are not kept\n2026-11-22T12:00:00Z\tversion\t5\n", 67);
	assert_string_equal(read_all(e, slow), "");
	events_leave(e, slow);
	events_leave(e, late);
}

static void count_woken(void *context, void *armed)
{
	int *woken = context;

	woken[*(int *)armed]++;
}

static void who_waits_is_woken_once(void **state)
{
	struct events *e = *state;
	int woken[3] = { 0 }, names[3] = { 0, 1, 2 };
	struct listener *one = listen(e), *two = listen(e);

	assert_null(events_arm(e, one, &names[0]));
	events_wake(e, count_woken, woken);
	assert_int_equal(woken[0], 0);
	assert_ptr_equal(events_arm(e, one, &names[1]), &names[0]);
	assert_null(events_arm(e, two, &names[2]));
	events_add(e, "peer", "bob");
	events_wake(e, count_woken, woken);
	events_wake(e, count_woken, woken);
	assert_int_equal(woken[0], 0);
	assert_int_equal(woken[1], 1);
	assert_int_equal(woken[2], 1);
	/* Armed while there is more: woken by the next. */
	assert_null(events_arm(e, one, &names[0]));
	assert_ptr_equal(events_leave(e, one), &names[0]);
	events_leave(e, two);
}

static void their_number_is_bounded(void **state)
{
	struct listener *listeners[LISTENERS_MAX], *last;
	struct events *e = *state;

	for (size_t i = 0; i < LISTENERS_MAX; i++)
		listeners[i] = listen(e);
	assert_int_equal(events_listen(e, &last), -EMFILE);
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		events_leave(e, listeners[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_reader_gets_what_is_kept_then_what_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_stay_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_cannot_make_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(a_thousand_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_is_woken_once, setup, teardown),
		cmocka_unit_test_setup_teardown(their_number_is_bounded, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
