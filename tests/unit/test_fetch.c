#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct id name_of(uint64_t number)
{
	struct id id;

	id_of_bytes(&id, &number, sizeof(number));
	return id;
}

static void add(struct fetch *f, uint64_t number, uint32_t stored, enum fetch_priority priority, uint64_t group)
{
	struct id id = name_of(number);

	assert_int_equal(fetch_add(f, &id, stored, priority, group), 0);
}

static struct fetch *fetch_with(size_t sessions)
{
	struct fetch *f = fetch_new();

	assert_non_null(f);
	for (size_t i = 1; i <= sessions; i++)
		assert_int_equal(fetch_join(f, i), 0);
	return f;
}

static void got(struct fetch *f, uint64_t session, uint64_t number)
{
	struct id id = name_of(number);

	assert_true(fetch_got(f, session, &id));
	fetch_came(f, &id);
}

static void absent(struct fetch *f, uint64_t session, uint64_t number)
{
	struct id id = name_of(number);

	fetch_absent(f, session, &id);
}

static void assert_batch(const struct fetch_batch *batch, const uint64_t *numbers, size_t count)
{
	assert_int_equal(batch->count, count);
	for (size_t i = 0; i < count; i++) {
		struct id id = name_of(numbers[i]);

		assert_true(id_equal(&batch->names[i], &id));
	}
}
#define ASSERT_BATCH(batch, ...) \
	assert_batch(batch, (const uint64_t[]){ __VA_ARGS__ }, COUNT(((const uint64_t[]){ __VA_ARGS__ })))

static size_t told_absent(struct fetch *f)
{
	struct id id;
	size_t count = 0;

	while (fetch_next_absent(f, &id))
		count++;
	return count;
}

/* ---- what is given, in which order ---- */

static void gives_the_urgent_first_then_as_added(void **state)
{
	struct fetch *f = fetch_with(1);
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	add(f, 2, 10, FETCH_HEAD, 2);
	add(f, 3, 10, FETCH_REST, 1);
	add(f, 4, 10, FETCH_WAITED, 3);
	add(f, 5, 10, FETCH_HEAD, 2);
	assert_true(fetch_next(f, 1, 0, &batch));
	ASSERT_BATCH(&batch, 4, 2, 5, 1, 3);
	assert_int_equal(batch.bytes, 50);
	assert_false(fetch_next(f, 1, 0, &batch));
	fetch_free(f);
}

static void finishes_a_group_begun(void **state)
{
	struct fetch *f = fetch_with(2);
	struct fetch_batch batch;

	/* Two documents, added in turns; what fits a first batch ends within one of them. */
	for (uint64_t i = 0; i < 6; i++)
		add(f, 10 + i, 30000, FETCH_HEAD, i % 2);
	assert_true(fetch_next(f, 1, 0, &batch));
	ASSERT_BATCH(&batch, 10, 12);
	add(f, 20, 10, FETCH_HEAD, 2);
	assert_true(fetch_next(f, 2, 0, &batch));
	ASSERT_BATCH(&batch, 14, 11);
	/* What comes back of the document begun first goes before the other's rest. */
	fetch_leave(f, 1);
	assert_true(fetch_next(f, 2, 0, &batch));
	ASSERT_BATCH(&batch, 10, 12);
	fetch_free(f);
}

static void a_batch_is_bounded(void **state)
{
	static const struct {
		const char *name;
		uint32_t stored;
		size_t count, expected;
	} cases[] = {
		{ "by names",              1,                  200, FETCH_BATCH_NAMES },
		{ "by bytes",              20 * 1024,          200, 3 },
		{ "one larger than all",   FETCH_BATCH_BYTES * 2, 3, 1 },
		{ "fewer than fit",        1,                  7, 7 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fetch *f = fetch_with(1);
		struct fetch_batch batch;

		print_message("  %s\n", cases[i].name);
		for (uint64_t n = 0; n < cases[i].count; n++)
			add(f, n, cases[i].stored, FETCH_REST, n);
		assert_true(fetch_next(f, 1, 0, &batch));
		assert_int_equal(batch.count, cases[i].expected);
		fetch_free(f);
	}
}

/* Answers all that is asked after `took_ms`: returns how many batches are out at once in the end. */
static size_t batches_after(struct fetch *f, uint64_t took_ms)
{
	struct fetch_batch batches[FETCH_BATCHES_MAX + 1];
	uint64_t now_ms = 0;
	size_t count = 0;

	for (int turn = 0; turn < 20; turn++) {
		count = 0;
		while (count < COUNT(batches) && fetch_next(f, 1, now_ms, &batches[count]))
			count++;
		now_ms += took_ms;
		for (size_t i = 0; i < count; i++) {
			for (size_t j = 0; j < batches[i].count; j++) {
				assert_true(fetch_got(f, 1, &batches[i].names[j]));
				fetch_came(f, &batches[i].names[j]);
			}
			fetch_answered(f, 1, batches[i].number, now_ms);
		}
	}
	return count;
}

static void asks_more_of_the_fast(void **state)
{
	static const struct {
		const char *name;
		uint64_t took_ms;
		size_t expected;
	} cases[] = {
		{ "fast", 5, FETCH_BATCHES_MAX },
		{ "middling", 1000, 2 },
		{ "slow", 5000, 1 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fetch *f = fetch_with(1);

		print_message("  %s\n", cases[i].name);
		for (uint64_t n = 0; n < 10000; n++)
			add(f, n, 1000, FETCH_REST, 1);
		assert_int_equal(batches_after(f, cases[i].took_ms), cases[i].expected);
		fetch_free(f);
	}
}

static void a_raised_piece_goes_first(void **state)
{
	struct fetch *f = fetch_with(1);
	struct fetch_batch batch;
	struct id id = name_of(3);

	for (uint64_t n = 1; n <= 3; n++)
		add(f, n, 10, FETCH_REST, 1);
	assert_int_equal(fetch_add(f, &id, 10, FETCH_WAITED, 9), 1);
	id = name_of(1);
	assert_int_equal(fetch_add(f, &id, 10, FETCH_REST, 9), 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	ASSERT_BATCH(&batch, 3, 1, 2);
	fetch_free(f);
}

/* ---- answers ---- */

static void what_an_answer_leaves_out_is_asked_again(void **state)
{
	struct fetch *f = fetch_with(1);
	struct fetch_batch batch;

	for (uint64_t n = 1; n <= 4; n++)
		add(f, n, 10, FETCH_REST, 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	got(f, 1, 1);
	fetch_answered(f, 1, batch.number, 10);
	assert_true(fetch_next(f, 1, 10, &batch));
	ASSERT_BATCH(&batch, 2, 3, 4);
	/* An empty answer must not be asked for again and again. */
	fetch_answered(f, 1, batch.number, 20);
	assert_false(fetch_next(f, 1, 20, &batch));
	assert_int_equal(told_absent(f), 3);
	fetch_free(f);
}

static void absent_at_one_is_asked_of_another(void **state)
{
	struct fetch *f = fetch_with(2);
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	assert_false(fetch_next(f, 2, 0, &batch));
	absent(f, 1, 1);
	fetch_answered(f, 1, 1, 5);
	assert_false(fetch_next(f, 1, 5, &batch));
	assert_int_equal(told_absent(f), 0);
	assert_true(fetch_next(f, 2, 5, &batch));
	got(f, 2, 1);
	fetch_free(f);
}

static void absent_everywhere_is_told_once_and_tried_again(void **state)
{
	struct fetch *f = fetch_with(2);
	struct fetch_counts counts;
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	add(f, 2, 10, FETCH_REST, 1);
	for (uint64_t s = 1; s <= 2; s++) {
		assert_true(fetch_next(f, s, 0, &batch));
		assert_int_equal(batch.count, 2);
		absent(f, s, 1);
		absent(f, s, 2);
		fetch_answered(f, s, batch.number, 5);
	}
	assert_int_equal(told_absent(f), 2);
	assert_int_equal(told_absent(f), 0);
	fetch_count(f, &counts);
	assert_int_equal(counts.absent, 2);
	assert_int_equal(fetch_deadline_ms(f), UINT64_MAX);

	assert_int_equal(fetch_join(f, 3), 0);
	assert_false(fetch_next(f, 1, 10, &batch));
	assert_true(fetch_next(f, 3, 10, &batch));
	assert_int_equal(batch.count, 2);
	absent(f, 3, 1);
	absent(f, 3, 2);
	fetch_answered(f, 3, batch.number, 15);
	assert_int_equal(told_absent(f), 2);

	/* News: at once, then once a second. */
	fetch_news(f, 1, 1000);
	assert_true(fetch_next(f, 1, 1000, &batch));
	assert_int_equal(batch.count, 2);
	fetch_answered(f, 1, batch.number, 1010);
	fetch_news(f, 1, 1020);
	assert_false(fetch_next(f, 1, 1020, &batch));
	assert_int_equal(fetch_deadline_ms(f), 2000);
	fetch_tick(f, 2000);
	assert_true(fetch_next(f, 1, 2000, &batch));
	assert_int_equal(batch.count, 2);
	fetch_free(f);
}

static void false_pieces_are_not_asked_of_their_sender_again(void **state)
{
	struct fetch *f = fetch_with(2);
	struct id id = name_of(1);
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	assert_true(fetch_got(f, 1, &id));
	fetch_answered(f, 1, batch.number, 5);
	assert_false(fetch_next(f, 2, 5, &batch)); /* under check */
	fetch_failed(f, 1, &id, true, 10);
	assert_false(fetch_next(f, 1, 10, &batch));
	fetch_news(f, 1, 2000);
	assert_false(fetch_next(f, 1, 2000, &batch));
	assert_true(fetch_next(f, 2, 2000, &batch));
	assert_true(fetch_got(f, 2, &id));
	fetch_answered(f, 2, batch.number, 2005);
	/* Our own trouble is nobody's fault. */
	fetch_failed(f, 2, &id, false, 2010);
	assert_false(fetch_next(f, 2, 2010, &batch));
	assert_int_equal(fetch_deadline_ms(f), 3010);
	fetch_tick(f, 3010);
	assert_true(fetch_next(f, 2, 3010, &batch));
	fetch_free(f);
}

static void a_second_copy_is_not_wanted(void **state)
{
	struct fetch *f = fetch_with(2);
	struct id id = name_of(1), other = name_of(2);
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	assert_false(fetch_got(f, 1, &other));
	assert_true(fetch_next(f, 1, 0, &batch));
	assert_true(fetch_got(f, 1, &id));
	assert_false(fetch_got(f, 2, &id));
	fetch_came(f, &id);
	assert_false(fetch_got(f, 2, &id));
	assert_false(fetch_holds(f, &id));
	fetch_free(f);
}

/* ---- time ---- */

static void late_batches_go_to_another_and_still_count(void **state)
{
	struct fetch *f = fetch_with(2);
	struct fetch_batch first, batch;

	for (uint64_t n = 1; n <= 3; n++)
		add(f, n, 10, FETCH_REST, 1);
	for (uint64_t n = 100; n < 200; n++) /* so that the end is not near */
		add(f, n, 40000, FETCH_REST, 2);
	assert_true(fetch_next(f, 1, 0, &first));
	fetch_tick(f, QUERY_MS_MAX - 1);
	assert_true(fetch_next(f, 2, QUERY_MS_MAX - 1, &batch));
	ASSERT_BATCH(&batch, 101);
	assert_int_equal(fetch_deadline_ms(f), QUERY_MS_MAX);
	fetch_tick(f, QUERY_MS_MAX);
	assert_true(fetch_next(f, 2, QUERY_MS_MAX, &batch));
	ASSERT_BATCH(&batch, 1, 2, 3, 100);
	got(f, 1, 1);
	fetch_answered(f, 1, first.number, QUERY_MS_MAX + 10);
	assert_false(fetch_holds(f, &batch.names[0]));
	got(f, 2, 2);
	got(f, 2, 3);
	fetch_answered(f, 2, batch.number, QUERY_MS_MAX + 20);
	fetch_free(f);
}

static void an_answer_that_never_comes_is_given_up(void **state)
{
	struct fetch *f = fetch_with(1);
	struct fetch_batch batch;

	add(f, 1, 10, FETCH_REST, 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	fetch_tick(f, QUERY_MS_MAX);
	assert_false(fetch_next(f, 1, QUERY_MS_MAX, &batch));
	assert_int_equal(fetch_deadline_ms(f), 3 * QUERY_MS_MAX);
	fetch_tick(f, 3 * QUERY_MS_MAX);
	assert_true(fetch_next(f, 1, 3 * QUERY_MS_MAX, &batch));
	ASSERT_BATCH(&batch, 1);
	fetch_free(f);
}

static void at_the_end_a_second_one_is_asked(void **state)
{
	struct fetch *f = fetch_with(3);
	struct fetch_batch batch;
	uint64_t deadline;

	add(f, 1, 10, FETCH_REST, 1);
	assert_true(fetch_next(f, 1, 0, &batch));
	assert_false(fetch_next(f, 2, 0, &batch));
	deadline = fetch_deadline_ms(f);
	assert_true(deadline < QUERY_MS_MAX);
	fetch_tick(f, deadline);
	assert_true(fetch_deadline_ms(f) > deadline);
	assert_true(fetch_next(f, 2, deadline, &batch));
	assert_false(fetch_next(f, 3, deadline, &batch)); /* two are enough */
	got(f, 2, 1);
	fetch_free(f);
}

/* ---- who leaves ---- */

static void nothing_outstanding_is_lost_with_a_session(void **state)
{
	enum { PIECES = FETCH_BATCH_NAMES + 36 };
	struct fetch *f = fetch_with(2);
	struct fetch_counts counts;
	struct fetch_batch batch;

	for (uint64_t n = 0; n < PIECES; n++)
		add(f, n, 10, FETCH_REST, 1);
	while (fetch_next(f, 1, 0, &batch))
		;
	absent(f, 2, 0);
	fetch_count(f, &counts);
	assert_int_equal(counts.outstanding, PIECES);
	fetch_leave(f, 1);
	fetch_count(f, &counts);
	assert_int_equal(counts.outstanding, 0);
	assert_int_equal(counts.unasked, PIECES - 1);
	assert_int_equal(counts.absent, 1); /* the only one left lacks it */
	assert_int_equal(told_absent(f), 1);
	assert_true(fetch_next(f, 2, 0, &batch));
	assert_int_equal(batch.count, FETCH_BATCH_NAMES);
	fetch_leave(f, 2);
	fetch_leave(f, 2);
	fetch_count(f, &counts);
	assert_int_equal(counts.unasked + counts.absent, PIECES);
	assert_int_equal(fetch_join(f, 3), 0);
	fetch_count(f, &counts);
	assert_int_equal(counts.unasked, PIECES);
	fetch_free(f);
}

/* ---- who waits ---- */

static void a_wait_is_told_once(void **state)
{
	enum { COME, LACK, TIME, LEAVE, NOBODY, NOTHING, FORGET, COME_FAILED_FIRST };
	static const struct {
		const char *name;
		int what;
		bool told;
		int expected;
	} cases[] = {
		{ "all came",           COME,    true, 0 },
		{ "one is absent",      LACK,    true, -ENODATA },
		{ "time is up",         TIME,    true, -ENODATA },
		{ "the last one left",  LEAVE,   true, -ENODATA },
		{ "nobody connected",   NOBODY,  true, -ENODATA },
		{ "all here before",    NOTHING, true, 0 },
		{ "forgotten",          FORGET,  false, 0 },
		{ "after a failure",    COME_FAILED_FIRST, true, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fetch *f = fetch_with(cases[i].what == NOBODY ? 0 : 1);
		struct id names[] = { name_of(1), name_of(2), name_of(1) };
		struct fetch_batch batch;
		uint64_t token;
		int result = 1;

		print_message("  %s\n", cases[i].name);
		for (uint64_t n = 1; n <= 2 && cases[i].what != NOTHING; n++)
			add(f, n, 10, FETCH_REST, 1);
		add(f, 3, 10, FETCH_HEAD, 1);
		assert_int_equal(fetch_wait(f, 77, names, COUNT(names), 1000), 0);
		assert_int_equal(fetch_wait(f, 77, names, COUNT(names), 1000), -EEXIST);
		if (cases[i].what == COME || cases[i].what == COME_FAILED_FIRST) {
			assert_true(fetch_next(f, 1, 0, &batch));
			ASSERT_BATCH(&batch, 1, 2, 3);
			if (cases[i].what == COME_FAILED_FIRST) {
				assert_true(fetch_got(f, 1, &names[0]));
				fetch_failed(f, 1, &names[0], false, 0);
				fetch_tick(f, 999);
				fetch_tick(f, 1000 - 1);
			}
			fetch_came(f, &names[0]);
			assert_false(fetch_next_told(f, &token, &result));
			fetch_came(f, &names[1]);
		}
		if (cases[i].what == LACK)
			absent(f, 1, 2);
		if (cases[i].what == TIME) {
			assert_int_equal(fetch_deadline_ms(f), 1000);
			fetch_tick(f, 999);
			assert_false(fetch_next_told(f, &token, &result));
			fetch_tick(f, 1000);
		}
		if (cases[i].what == LEAVE)
			fetch_leave(f, 1);
		if (cases[i].what == FORGET)
			fetch_unwait(f, 77);
		assert_int_equal(fetch_next_told(f, &token, &result), cases[i].told);
		if (cases[i].told) {
			assert_int_equal(token, 77);
			assert_int_equal(result, cases[i].expected);
		}
		fetch_came(f, &names[0]);
		fetch_came(f, &names[1]);
		assert_false(fetch_next_told(f, &token, &result));
		fetch_free(f);
	}
}

/* ---- bounds ---- */

static void holds_no_more_than_it_says(void **state)
{
	struct fetch *f = fetch_with(1);
	struct fetch_counts counts;
	struct fetch_batch batch;
	uint64_t number = 0;
	struct id id;

	for (; fetch_room(f, FETCH_REST); number++)
		add(f, number, 10, FETCH_REST, number);
	assert_int_equal(number, FETCH_PIECES_MAX - FETCH_PIECES_WAITED);
	id = name_of(number);
	assert_int_equal(fetch_add(f, &id, 10, FETCH_HEAD, 1), -ENOSPC);
	for (; fetch_room(f, FETCH_WAITED); number++)
		add(f, number, 10, FETCH_WAITED, number);
	assert_int_equal(number, FETCH_PIECES_MAX);
	id = name_of(number);
	assert_int_equal(fetch_add(f, &id, 10, FETCH_WAITED, 1), -ENOSPC);

	/* What nobody has makes room, oldest first. */
	for (uint64_t n = number - 64; n < number; n++)
		absent(f, 1, n);
	assert_int_equal(fetch_room(f, FETCH_WAITED), 64);
	assert_int_equal(fetch_room(f, FETCH_REST), 0);
	assert_int_equal(told_absent(f), 64);
	add(f, number, 10, FETCH_WAITED, 1);
	id = name_of(number - 64);
	assert_false(fetch_holds(f, &id));
	fetch_count(f, &counts);
	assert_int_equal(counts.pieces, FETCH_PIECES_MAX);
	assert_true(counts.memory < 8 * 1024 * 1024);
	assert_true(fetch_next(f, 1, 0, &batch));
	fetch_free(f);
}

static void waits_and_sessions_are_bounded(void **state)
{
	struct fetch *f = fetch_with(SESSIONS_MAX);
	struct id *names = calloc(FETCH_WAIT_NAMES_MAX + 1, sizeof(*names));

	assert_non_null(names);
	assert_int_equal(fetch_join(f, SESSIONS_MAX + 1), -ENOSPC);
	assert_int_equal(fetch_join(f, 1), -EEXIST);
	add(f, 1, 10, FETCH_REST, 1);
	names[0] = name_of(1);
	assert_int_equal(fetch_wait(f, 5000, names, FETCH_WAIT_NAMES_MAX + 1, 1000), -ENOSPC);
	for (uint64_t t = 0; t < FETCH_WAITS_MAX; t++)
		assert_int_equal(fetch_wait(f, t, names, 1, 1000), 0);
	assert_int_equal(fetch_wait(f, 5000, names, 1, 1000), -ENOSPC);
	fetch_unwait(f, 3);
	assert_int_equal(fetch_wait(f, 5000, names, 1, 1000), 0);
	free(names);
	fetch_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_urgent_first_then_as_added),
		cmocka_unit_test(finishes_a_group_begun),
		cmocka_unit_test(a_batch_is_bounded),
		cmocka_unit_test(asks_more_of_the_fast),
		cmocka_unit_test(a_raised_piece_goes_first),
		cmocka_unit_test(what_an_answer_leaves_out_is_asked_again),
		cmocka_unit_test(absent_at_one_is_asked_of_another),
		cmocka_unit_test(absent_everywhere_is_told_once_and_tried_again),
		cmocka_unit_test(false_pieces_are_not_asked_of_their_sender_again),
		cmocka_unit_test(a_second_copy_is_not_wanted),
		cmocka_unit_test(late_batches_go_to_another_and_still_count),
		cmocka_unit_test(an_answer_that_never_comes_is_given_up),
		cmocka_unit_test(at_the_end_a_second_one_is_asked),
		cmocka_unit_test(nothing_outstanding_is_lost_with_a_session),
		cmocka_unit_test(a_wait_is_told_once),
		cmocka_unit_test(holds_no_more_than_it_says),
		cmocka_unit_test(waits_and_sessions_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
