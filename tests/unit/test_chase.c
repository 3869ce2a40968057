#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "chase_kit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* One log, a store, and peers that answer when told to. */
struct bench {
	struct chase *chase;
	struct kit_log log;
	struct kit_holding mine;
};

static struct bench bench_open(const struct kit_plan *plan, struct kit_holding mine, uint64_t sessions)
{
	struct bench b = { .chase = chase_new(), .mine = mine };

	assert_non_null(b.chase);
	kit_log_make(&b.log, 1, plan);
	kit_store(&b.log, &mine);
	for (uint64_t s = 1; s <= sessions; s++)
		assert_int_equal(chase_join(b.chase, s), 0);
	return b;
}

static void bench_close(struct bench *b)
{
	chase_free(b->chase);
	kit_log_finish(&b->log);
}

static const struct head *bench_own(struct bench *b, struct head *out)
{
	return kit_head(&b->log, NULL, out) ? out : NULL;
}

static int tell(struct bench *b, uint64_t session, struct kit_holding theirs)
{
	struct head head, own;

	assert_true(kit_head(&b->log, &theirs, &head));
	return chase_told(b->chase, session, &head, bench_own(b, &own));
}

/* Answers a query with at most `items_max` of what is held. Returns what chase_answered() said, or the first refusal. */
static int answer(struct bench *b, const struct chase_query *query, struct kit_holding theirs, size_t items_max, uint64_t now_ms)
{
	for (uint64_t seq = query->from; seq <= query->to && items_max && seq < b->log.count; seq++)
		for (size_t i = 0; i < b->log.count && items_max; i++) {
			struct record_item item = kit_item(&b->log.records[i]);
			int err;

			if (b->log.records[i].seq != seq || !kit_holds(&b->log, &theirs, i))
				continue;
			err = chase_item(b->chase, query->number, &item);
			if (err)
				return err;
			b->log.records[i].sent++;
			items_max--;
		}
	return chase_answered(b->chase, query->number, now_ms);
}

/* Runs the takes that there are; returns how many. */
static size_t run_takes(struct bench *b, uint64_t now_ms)
{
	struct chase_take take;
	size_t count = 0;

	for (; chase_next_take(b->chase, &take); count++) {
		struct head own;
		int result = kit_take(&b->log, take.records, take.count);

		chase_take_finish(&take);
		chase_taken(b->chase, take.number, result, bench_own(b, &own), now_ms);
	}
	return count;
}

/* Lets one session answer until nothing more is asked of it: how many queries that took. */
static size_t drain(struct bench *b, uint64_t session, struct kit_holding theirs)
{
	struct chase_query query;
	size_t count = 0;

	for (; chase_next(b->chase, session, 0, &query); count++) {
		assert_true(count < 10000);
		answer(b, &query, theirs, SIZE_MAX, 0);
		run_takes(b, 0);
	}
	return count;
}

static size_t here(const struct bench *b)
{
	size_t count = 0;

	for (size_t i = 0; i < b->log.count; i++)
		count += b->log.records[i].here;
	return count;
}

/* ---- forward ---- */

static void a_log_is_fetched_in_windows(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 5000, .sign_every = 7 }, (struct kit_holding){ 0 }, 1);
	struct kit_holding all = { .trunk = 5000 };
	struct chase_query queries[CHASE_WINDOWS_MAX + 1];
	struct chase_counts counts;

	assert_int_equal(tell(&b, 1, all), 1);
	chase_count(b.chase, &counts);
	assert_int_equal(counts.behind, 1);
	assert_int_equal(counts.records, 5000);
	assert_int_equal(chase_behind(b.chase, 1), 1);
	for (size_t i = 0; i < CHASE_WINDOWS_MAX; i++) {
		assert_true(chase_next(b.chase, 1, 0, &queries[i]));
		assert_int_equal(queries[i].from, i * CHASE_WINDOW);
		assert_int_equal(queries[i].to, (i + 1) * CHASE_WINDOW - 1);
	}
	assert_false(chase_next(b.chase, 1, 0, &queries[CHASE_WINDOWS_MAX]));

	/* Answers in another order wait for the first. */
	assert_int_equal(answer(&b, &queries[2], all, SIZE_MAX, 5), 0);
	assert_int_equal(answer(&b, &queries[1], all, SIZE_MAX, 5), 0);
	assert_int_equal(run_takes(&b, 5), 0);
	assert_int_equal(answer(&b, &queries[0], all, SIZE_MAX, 5), 0);
	assert_int_equal(run_takes(&b, 5), 1);
	assert_int_equal(here(&b), 3 * CHASE_WINDOW / 7 * 7);
	chase_count(b.chase, &counts);
	assert_int_equal(counts.records, 5000 - 3 * CHASE_WINDOW / 7 * 7);
	drain(&b, 1, all);
	assert_int_equal(here(&b), 5000);
	assert_true(chase_is_idle(b.chase));
	for (size_t i = 0; i < b.log.count; i++)
		assert_int_equal(b.log.records[i].sent, 1);
	chase_count(b.chase, &counts);
	assert_int_equal(counts.logs + counts.claims + counts.queries + counts.takes + counts.bytes, 0);
	bench_close(&b);
}

static void pages_that_are_cut_are_gone_on_with(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 3000, .sign_every = 1 }, (struct kit_holding){ .trunk = 10 }, 1);
	struct kit_holding all = { .trunk = 3000 };
	struct chase_query query;
	size_t count = 0;

	assert_int_equal(tell(&b, 1, all), 1);
	for (; chase_next(b.chase, 1, 0, &query); count++) {
		assert_true(query.from >= 10);
		assert_int_equal(answer(&b, &query, all, 100, 0), 0);
		run_takes(&b, 0);
	}
	assert_int_equal(here(&b), 3000);
	assert_true(count <= 40); /* windows become as long as pages */
	for (size_t i = 0; i < b.log.count; i++)
		assert_int_equal(b.log.records[i].sent, i >= 10);
	assert_true(chase_is_idle(b.chase));
	bench_close(&b);
}

static void what_is_not_newer_is_not_asked_for(void **state)
{
	static const struct {
		const char *name;
		struct kit_holding mine, theirs;
		int expected;
	} cases[] = {
		{ "the same",             { 20, 0 },  { 20, 0 }, 0 },
		{ "older",                { 20, 0 },  { 5, 0 },  0 },
		{ "newer",                { 5, 0 },   { 20, 0 }, 1 },
		{ "nothing here",         { 0, 0 },   { 1, 0 },  1 },
		{ "another of its number", { 20, 0 }, { 10, 10 }, 1 },
		{ "more of one tip",      { 20, 0 },  { 20, 3 }, 1 },
		{ "fewer of one tip",     { 20, 3 },  { 20, 0 }, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 20, .fork_at = 10, .branch = 10, .sign_every = 1 },
					    cases[i].mine, 1);
		struct chase_query query;

		print_message("  %s\n", cases[i].name);
		assert_int_equal(tell(&b, 1, cases[i].theirs), cases[i].expected);
		assert_int_equal(chase_next(b.chase, 1, 0, &query), cases[i].expected);
		assert_int_equal(chase_is_idle(b.chase), !cases[i].expected);
		bench_close(&b);
	}
}

/* ---- forks ---- */

static void goes_back_exponentially_until_branches_meet(void **state)
{
	/* Both branches begin after 100; mine has 60 records since, theirs 900. */
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 1000, .fork_at = 100, .branch = 60, .sign_every = 1 },
				    (struct kit_holding){ .trunk = 100, .branch = 60 }, 1);
	static const uint64_t expected[] = { 160, 159, 158, 157, 155, 151, 143, 127, 95 };
	struct kit_holding theirs = { .trunk = 1000, .branch = 0 };
	struct chase_query query;
	size_t step = 0;

	assert_int_equal(tell(&b, 1, theirs), 1);
	while (chase_next(b.chase, 1, 0, &query)) {
		if (step < COUNT(expected))
			assert_int_equal(query.from, expected[step]);
		step++;
		answer(&b, &query, theirs, SIZE_MAX, 0);
		run_takes(&b, 0);
	}
	assert_in_range(step, COUNT(expected), COUNT(expected) + 2);
	assert_int_equal(here(&b), b.log.count);
	assert_true(chase_is_idle(b.chase));
	bench_close(&b);
}

static void both_branches_come(void **state)
{
	static const struct {
		const char *name;
		struct kit_plan plan;
		struct kit_holding mine, theirs;
	} cases[] = {
		{ "equal numbers, other ids",  { 50, 40, 10, 1, 0 },    { 50, 0 },  { 40, 10 } },
		{ "same tip, a branch more",   { 50, 20, 10, 1, 0 },    { 50, 0 },  { 50, 10 } },
		{ "a branch at the very tip",  { 50, 49, 1, 1, 0 },     { 49, 0 },  { 50, 1 } },
		{ "from the first record on",  { 50, 0, 30, 1, 0 },     { 0, 30 },  { 50, 30 } },
		{ "nothing here, both there",  { 50, 20, 45, 1, 0 },    { 0, 0 },   { 50, 45 } },
		{ "runs signed at their end",  { 500, 100, 450, 60, 0 }, { 100, 60 }, { 500, 450 } },
		{ "a long branch, pages cut",  { 1300, 400, 700, 3, 0 }, { 1300, 0 }, { 1300, 700 } },
		{ "large records",             { 40, 10, 20, 1, 40000 }, { 40, 0 }, { 40, 20 } },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		for (size_t items_max = 5; items_max < 5000; items_max = items_max * 7 + 1) {
			struct bench b = bench_open(&cases[i].plan, cases[i].mine, 1);
			size_t before = here(&b), expected = 0;
			struct chase_query query;

			assert_int_equal(tell(&b, 1, cases[i].theirs), 1);
			for (size_t n = 0; chase_next(b.chase, 1, 0, &query); n++) {
				assert_true(n < 5000);
				answer(&b, &query, cases[i].theirs, items_max, 0);
				run_takes(&b, 0);
			}
			for (size_t n = 0; n < b.log.count; n++)
				expected += kit_holds(&b.log, &cases[i].mine, n) || kit_holds(&b.log, &cases[i].theirs, n);
			if (here(&b) != expected)
				print_message("  %s, pages of %zu: %zu of %zu, %zu before\n", cases[i].name, items_max,
					      here(&b), expected, before);
			assert_int_equal(here(&b), expected);
			assert_true(chase_is_idle(b.chase));
			bench_close(&b);
		}
	}
}

static void a_branch_below_the_tip_is_fetched_when_known_of(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .fork_at = 40, .branch = 5, .sign_every = 1 },
				    (struct kit_holding){ .trunk = 50 }, 1);
	struct kit_holding theirs = { .trunk = 40, .branch = 5 };
	struct head head, own;

	assert_int_equal(tell(&b, 1, theirs), 0);
	assert_true(kit_head(&b.log, &theirs, &head));
	assert_int_equal(chase_told_branch(b.chase, 1, &head, bench_own(&b, &own)), 1);
	drain(&b, 1, theirs);
	assert_int_equal(here(&b), 55);
	assert_true(chase_is_idle(b.chase));
	bench_close(&b);
}

/* Whichever of the two is the tip in the end: once theirs is here there is nothing more to ask. */
static void a_fork_at_the_tip_costs_one_query(void **state)
{
	static const struct kit_holding sides[2] = { { .trunk = 50 }, { .trunk = 49, .branch = 1 } };

	for (size_t mine = 0; mine < 2; mine++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .fork_at = 49, .branch = 1, .sign_every = 1 },
					    sides[mine], 1);

		assert_int_equal(tell(&b, 1, sides[!mine]), 1);
		assert_int_equal(drain(&b, 1, sides[!mine]), 1);
		assert_int_equal(here(&b), 51);
		assert_true(chase_is_idle(b.chase));
		bench_close(&b);
	}
}

static void a_false_count_ends_after_all_was_fetched(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 200, .sign_every = 1 }, (struct kit_holding){ .trunk = 200 }, 1);
	struct kit_holding all = { .trunk = 200 };
	struct head head, own;

	assert_true(kit_head(&b.log, &all, &head));
	head.records = 100000;
	assert_int_equal(chase_told(b.chase, 1, &head, bench_own(&b, &own)), 1);
	assert_in_range(drain(&b, 1, all), 5, 20);
	assert_true(chase_is_idle(b.chase));
	/* The same once more is not believed, more is. */
	assert_int_equal(chase_told(b.chase, 1, &head, bench_own(&b, &own)), 0);
	assert_int_equal(drain(&b, 1, all), 0);
	bench_close(&b);
}

/* ---- who lies ---- */

enum lie { SIGNATURE, GARBAGE, OTHER_LOG, OUTSIDE, UNSIGNED_ALL, EMPTY, ONLY_LAST, BROKEN_CHAIN };

static int lie(struct bench *b, const struct chase_query *query, enum lie what)
{
	struct kit_record *records = b->log.records;
	struct kit_log other;
	int err = 0;

	if (what == OTHER_LOG) {
		struct record_item item;

		kit_log_make(&other, 2, &(struct kit_plan){ .trunk = 1, .sign_every = 1 });
		item = kit_item(&other.records[0]);
		err = chase_item(b->chase, query->number, &item);
		kit_log_finish(&other);
		return err;
	}
	for (uint64_t i = query->from; i <= query->to && !err && what != EMPTY; i++) {
		struct record_item item = kit_item(&records[what == OUTSIDE ? query->from - 1 : i]);

		if (what == SIGNATURE)
			item.signature.bytes[0] = 0;
		if (what == GARBAGE)
			item.size--;
		if (what == UNSIGNED_ALL)
			item.is_signed = false;
		if ((what == ONLY_LAST && i < query->to) || (what == BROKEN_CHAIN && i == query->from + 1))
			continue;
		err = chase_item(b->chase, query->number, &item);
	}
	return err ? err : chase_answered(b->chase, query->number, 0);
}

static void lies_end_the_claim_and_another_is_asked(void **state)
{
	static const struct {
		const char *name;
		enum lie lie;
		int expected;
		bool convicted; /* of more than being useless */
	} cases[] = {
		{ "a bad signature",          SIGNATURE,    0,        true },
		{ "a malformed record",       GARBAGE,      -EBADMSG, true },
		{ "a record of another log",  OTHER_LOG,    -EPROTO,  true },
		{ "a record not asked for",   OUTSIDE,      -EPROTO,  true },
		{ "no signature at all",      UNSIGNED_ALL, 0,        false },
		{ "nothing",                  EMPTY,        0,        false },
		{ "the last alone",           ONLY_LAST,    0,        false },
		{ "a record left out",        BROKEN_CHAIN, 0,        false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 60, .sign_every = 1 }, (struct kit_holding){ .trunk = 10 }, 2);
		struct kit_holding all = { .trunk = 60 }, less = { .trunk = 59 };
		struct chase_query query;
		size_t count = 0;

		print_message("  %s\n", cases[i].name);
		assert_int_equal(tell(&b, 1, less), 1);
		assert_int_equal(tell(&b, 2, all), 1);
		for (; chase_next(b.chase, 1, 0, &query); count++) {
			int err = lie(&b, &query, cases[i].lie);

			assert_true(count < 20);
			if (!count)
				assert_int_equal(err, cases[i].expected);
			if (err == cases[i].expected && err < 0)
				assert_int_equal(chase_answered(b.chase, query.number, 0), -ENOENT);
			run_takes(&b, 0);
		}
		assert_true(count > 0);
		assert_int_equal(chase_behind(b.chase, 1), 0);
		/* Who lied is not asked again, whatever it tells; who was useless is, for a newer head. */
		if (here(&b) < 59)
			assert_int_equal(tell(&b, 1, all), cases[i].convicted ? 0 : 1);
		if (!cases[i].convicted)
			chase_leave(b.chase, 1);
		assert_false(chase_next(b.chase, 1, 0, &query));
		drain(&b, 2, all);
		assert_int_equal(here(&b), 60);
		assert_true(chase_is_idle(b.chase));
		bench_close(&b);
	}
}

static void a_chain_without_an_end_is_an_offence(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 120, .sign_every = 200, .padding = 60000 },
				    (struct kit_holding){ 0 }, 1);
	struct kit_holding all = { .trunk = 120 };
	struct chase_counts counts;
	struct chase_query query;
	int err = 0;

	assert_int_equal(tell(&b, 1, all), 1);
	for (size_t i = 0; i < 200 && !err && chase_next(b.chase, 1, 0, &query); i++) {
		err = answer(&b, &query, all, 5, 0);
		chase_count(b.chase, &counts);
		assert_true(counts.bytes <= CHAIN_SIZE_MAX + CHAIN_SIZE_MAX / 16);
	}
	assert_int_equal(err, -EMSGSIZE);
	assert_true(chase_is_idle(b.chase));
	chase_count(b.chase, &counts);
	assert_int_equal(counts.bytes, 0);
	bench_close(&b);
}

/* ---- who is slow or goes ---- */

static void what_a_session_owes_is_asked_of_another(void **state)
{
	static const struct {
		const char *name;
		bool leaves;
	} cases[] = { { "gone", true }, { "slow", false } };

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ 0 }, 2);
		struct kit_holding all = { .trunk = 50 };
		struct chase_query first, second;
		struct record_item item = kit_item(&b.log.records[0]);

		print_message("  %s\n", cases[i].name);
		tell(&b, 1, all);
		tell(&b, 2, all);
		assert_true(chase_next(b.chase, 1, 0, &first));
		assert_false(chase_next(b.chase, 2, 0, &second));
		if (cases[i].leaves) {
			chase_leave(b.chase, 1);
		} else {
			assert_int_equal(chase_deadline_ms(b.chase), QUERY_MS_MAX);
			chase_tick(b.chase, QUERY_MS_MAX - 1);
			assert_false(chase_next(b.chase, 2, QUERY_MS_MAX - 1, &second));
			chase_tick(b.chase, QUERY_MS_MAX);
		}
		assert_int_equal(chase_item(b.chase, first.number, &item), -ENOENT);
		assert_int_equal(chase_answered(b.chase, first.number, QUERY_MS_MAX), -ENOENT);
		assert_true(chase_next(b.chase, 2, QUERY_MS_MAX, &second));
		assert_int_equal(second.from, 0);
		answer(&b, &second, all, SIZE_MAX, QUERY_MS_MAX);
		run_takes(&b, QUERY_MS_MAX);
		assert_int_equal(here(&b), 50);
		assert_true(chase_is_idle(b.chase));
		bench_close(&b);
	}
}

static void the_only_one_is_waited_for_then_tried_again(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ 0 }, 1);
	struct kit_holding all = { .trunk = 50 };
	struct chase_query query;
	uint64_t now_ms = 0;
	size_t tries = 0;

	tell(&b, 1, all);
	while (!chase_is_idle(b.chase)) {
		if (chase_next(b.chase, 1, now_ms, &query))
			tries++;
		assert_true(chase_deadline_ms(b.chase) > now_ms);
		assert_true(chase_deadline_ms(b.chase) != UINT64_MAX);
		now_ms = chase_deadline_ms(b.chase);
		chase_tick(b.chase, now_ms);
	}
	assert_int_equal(tries, 3);
	assert_int_equal(chase_deadline_ms(b.chase), UINT64_MAX);
	bench_close(&b);
}

static void own_trouble_pauses_and_loses_nothing(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ .trunk = 5 }, 1);
	struct kit_holding all = { .trunk = 50 };
	struct chase_query query;
	struct chase_take take;
	uint64_t now_ms = 0;
	struct head own;

	tell(&b, 1, all);
	for (int i = 0; i < 4; i++) {
		assert_true(chase_next(b.chase, 1, now_ms, &query));
		assert_int_equal(query.from, 5);
		answer(&b, &query, all, SIZE_MAX, now_ms);
		assert_true(chase_next_take(b.chase, &take));
		chase_take_finish(&take);
		chase_taken(b.chase, take.number, -ENOSPC, bench_own(&b, &own), now_ms);
		assert_false(chase_next(b.chase, 1, now_ms, &query));
		assert_int_equal(chase_deadline_ms(b.chase), now_ms + (1000u << i));
		now_ms = chase_deadline_ms(b.chase);
		chase_tick(b.chase, now_ms);
	}
	assert_true(chase_next(b.chase, 1, now_ms, &query));
	answer(&b, &query, all, SIZE_MAX, now_ms);
	run_takes(&b, now_ms);
	assert_int_equal(here(&b), 50);
	bench_close(&b);
}

static void what_is_no_longer_followed_is_forgotten(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ 0 }, 1);
	struct kit_holding all = { .trunk = 50 };
	struct chase_counts counts;
	struct chase_query query;

	tell(&b, 1, all);
	assert_true(chase_next(b.chase, 1, 0, &query));
	answer(&b, &query, all, 20, 0);
	chase_forget(b.chase, &b.log.device);
	assert_false(chase_next(b.chase, 1, 0, &query));
	assert_int_equal(run_takes(&b, 0), 1);
	chase_count(b.chase, &counts);
	assert_int_equal(counts.logs + counts.claims + counts.queries + counts.takes + counts.bytes, 0);
	bench_close(&b);
}

/* ---- pushes ---- */

static int push_one(struct bench *b, uint64_t session, size_t first, size_t count)
{
	struct record_item items[64];
	struct head own;

	for (size_t i = 0; i < count; i++)
		items[i] = kit_item(&b->log.records[first + i]);
	return chase_push(b->chase, session, &b->log.device, bench_own(b, &own), items, count);
}

static void pushes_join_the_tip(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ .trunk = 5 }, 2);
	struct chase_query query;
	struct chase_take take;
	struct head own;

	assert_int_equal(push_one(&b, 1, 5, 1), 0);
	assert_true(chase_next_take(b.chase, &take));
	assert_true(take.pushed);
	assert_int_equal(take.session, 1);
	assert_int_equal(take.count, 1);
	/* While that is taken, the next ones come, and the same from another. */
	assert_int_equal(push_one(&b, 1, 6, 3), 0);
	assert_int_equal(push_one(&b, 2, 5, 1), 1);
	assert_int_equal(push_one(&b, 2, 8, 1), 1);
	chase_taken(b.chase, take.number, kit_take(&b.log, take.records, take.count), bench_own(&b, &own), 0);
	chase_take_finish(&take);
	assert_int_equal(run_takes(&b, 0), 1);
	assert_int_equal(here(&b), 9);
	assert_int_equal(push_one(&b, 2, 8, 1), 1);
	assert_true(chase_is_idle(b.chase));
	assert_false(chase_next(b.chase, 1, 0, &query));
	bench_close(&b);
}

static void a_push_with_a_gap_begins_a_chase(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 }, (struct kit_holding){ .trunk = 5 }, 2);
	struct chase_query query;

	assert_int_equal(push_one(&b, 2, 20, 1), 0);
	assert_int_equal(run_takes(&b, 0), 0);
	assert_true(chase_next(b.chase, 2, 0, &query));
	assert_int_equal(query.from, 5);
	assert_int_equal(query.to, 20);
	/* More pushes meanwhile: the chase goes on to them. */
	assert_int_equal(push_one(&b, 2, 21, 1), 0);
	assert_int_equal(push_one(&b, 1, 22, 1), 0);
	answer(&b, &query, (struct kit_holding){ .trunk = 22 }, SIZE_MAX, 0);
	run_takes(&b, 0);
	drain(&b, 2, (struct kit_holding){ .trunk = 22 });
	assert_int_equal(here(&b), 22);
	drain(&b, 1, (struct kit_holding){ .trunk = 23 });
	assert_int_equal(here(&b), 23);
	assert_true(chase_is_idle(b.chase));
	bench_close(&b);
}

/* What was pushed and could not join is fetched, and not at the cost of what is newer. */
static void pushes_that_do_not_join_do_not_hide_newer_ones(void **state)
{
	static const struct {
		const char *name;
		bool told;      /* of 40 records, between the pushes */
		size_t pushed_last, expected;
	} cases[] = {
		{ "told of more",   true,  0,  40 },
		{ "pushed more",    false, 45, 46 },
		{ "both",           true,  45, 46 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 1 },
					    (struct kit_holding){ .trunk = 5 }, 1);
		print_message("%s\n", cases[i].name);
		assert_int_equal(push_one(&b, 1, 5, 1), 0);
		assert_int_equal(push_one(&b, 1, 8, 1), 0);
		if (cases[i].told)
			assert_int_equal(tell(&b, 1, (struct kit_holding){ .trunk = 40 }), 1);
		if (cases[i].pushed_last)
			assert_int_equal(push_one(&b, 1, cases[i].pushed_last, 1), 0);
		run_takes(&b, 0);
		drain(&b, 1, (struct kit_holding){ .trunk = cases[i].expected });
		assert_int_equal(here(&b), cases[i].expected);
		assert_true(chase_is_idle(b.chase));
		bench_close(&b);
	}
}

static void a_push_of_another_branch_is_not_lost(void **state)
{
	static const struct {
		const char *name;
		struct kit_holding mine;
		size_t index; /* pushed */
	} cases[] = {
		{ "its first record, at the tip",     { 40, 0 }, 50 },
		{ "its first record, below the tip",  { 50, 0 }, 50 },
		{ "its last record, at the tip",      { 49, 0 }, 59 },
		{ "its last record, below the tip",   { 50, 0 }, 55 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .fork_at = 40, .branch = 10, .sign_every = 1 },
					    cases[i].mine, 1);
		size_t before = here(&b);

		print_message("  %s\n", cases[i].name);
		assert_int_equal(push_one(&b, 1, cases[i].index, 1), 0);
		run_takes(&b, 0);
		drain(&b, 1, (struct kit_holding){ .trunk = 40, .branch = cases[i].index - 49 });
		assert_int_equal(here(&b), before + cases[i].index - 49);
		assert_true(chase_is_idle(b.chase));
		bench_close(&b);
	}
}

static void pushes_are_checked(void **state)
{
	struct bench b = bench_open(&(struct kit_plan){ .trunk = 50, .sign_every = 10 }, (struct kit_holding){ .trunk = 10 }, 1);
	struct kit_log other;
	struct record_item items[2] = { kit_item(&b.log.records[19]), kit_item(&b.log.records[21]) };
	struct chase_query query;
	struct head own;

	kit_log_make(&other, 2, &(struct kit_plan){ .trunk = 1, .sign_every = 1 });
	assert_int_equal(push_one(&b, 1, 10, 3), -EPROTO); /* not signed at its end */
	assert_int_equal(push_one(&b, 1, 10, 0), -EPROTO);
	assert_int_equal(push_one(&b, 9, 10, 10), -ENOENT);
	items[1].is_signed = true;
	assert_int_equal(chase_push(b.chase, 1, &b.log.device, bench_own(&b, &own), items, 2), -EPROTO); /* a gap */
	items[0].size--;
	assert_int_equal(chase_push(b.chase, 1, &b.log.device, bench_own(&b, &own), items, 1), -EBADMSG);
	items[0] = kit_item(&other.records[0]);
	assert_int_equal(chase_push(b.chase, 1, &b.log.device, bench_own(&b, &own), items, 1), -EPROTO);
	assert_true(chase_is_idle(b.chase));

	/* A bad signature: nothing more of this log from this session. */
	items[0] = kit_item(&b.log.records[10]);
	items[0].is_signed = true;
	items[0].signature.bytes[0] = 0;
	assert_int_equal(chase_push(b.chase, 1, &b.log.device, bench_own(&b, &own), items, 1), 0);
	assert_int_equal(run_takes(&b, 0), 1);
	assert_int_equal(push_one(&b, 1, 10, 10), 1);
	assert_int_equal(tell(&b, 1, (struct kit_holding){ .trunk = 50 }), 0);
	assert_false(chase_next(b.chase, 1, 0, &query));
	kit_log_finish(&other);
	bench_close(&b);
}

/* ---- bounds ---- */

static void claims_are_bounded(void **state)
{
	struct chase *c = chase_new();
	struct chase_counts counts;
	struct head head = { .seq = 3, .records = 4 };
	uint64_t number = 0, made = 0;
	struct chase_query query;

	assert_non_null(c);
	for (uint64_t s = 1; s <= SESSIONS_MAX; s++)
		assert_int_equal(chase_join(c, s), 0);
	assert_int_equal(chase_join(c, SESSIONS_MAX + 1), -ENOSPC);
	assert_int_equal(chase_join(c, 1), -EEXIST);
	assert_int_equal(chase_told(c, 9999, &head, NULL), -ENOENT);
	head.seq = 1ull << 60;
	assert_int_equal(chase_told(c, 1, &head, NULL), -EPROTO);
	head.seq = 3;
	while (chase_room(c, 1)) {
		number++;
		id_of_bytes(&head.device, &number, sizeof(number));
		assert_int_equal(chase_told(c, 1, &head, NULL), 1);
	}
	assert_int_equal(number, CHASE_CLAIMS_SESSION);
	number++;
	id_of_bytes(&head.device, &number, sizeof(number));
	assert_int_equal(chase_told(c, 1, &head, NULL), -ENOSPC);
	/* Others may still claim the same logs, until all together have enough. */
	for (uint64_t s = 2; s < 12; s++)
		for (number = 1; number <= CHASE_CLAIMS_SESSION && chase_room(c, s); number++) {
			id_of_bytes(&head.device, &number, sizeof(number));
			assert_int_equal(chase_told(c, s, &head, NULL), 1);
			made++;
		}
	assert_int_equal(made + CHASE_CLAIMS_SESSION, CHASE_CLAIMS_MAX);
	chase_count(c, &counts);
	assert_int_equal(counts.claims, CHASE_CLAIMS_MAX);
	assert_int_equal(counts.behind, CHASE_CLAIMS_SESSION);
	assert_true(counts.memory < 32 * 1024 * 1024);
	for (unsigned i = 0; i < CHASE_QUERIES_MAX; i++)
		assert_true(chase_next(c, 1, 0, &query));
	assert_false(chase_next(c, 1, 0, &query));
	chase_free(c);
}

/* Logs whose chains do not end hold all the memory there is: some give way, none is asked for beyond it. */
static void memory_is_bounded_and_does_not_jam(void **state)
{
	enum { LOGS = 40 };
	struct chase *c = chase_new();
	static struct kit_log logs[LOGS];
	struct chase_counts counts;
	struct chase_query query;
	size_t asked = 0;

	assert_non_null(c);
	for (uint64_t i = 0; i < LOGS; i++) {
		struct head head;

		assert_int_equal(chase_join(c, i + 1), 0);
		kit_log_make(&logs[i], i, &(struct kit_plan){ .trunk = 66, .sign_every = 100, .padding = 60000 });
		assert_true(kit_head(&logs[i], &(struct kit_holding){ .trunk = 66 }, &head));
		assert_int_equal(chase_told(c, i + 1, &head, NULL), 1);
	}
	/* Each page brings 5 records; never all of them. */
	while (!chase_is_idle(c)) {
		assert_true(asked < 10000);
		for (uint64_t i = 0; i < LOGS; i++) {
			if (!chase_next(c, i + 1, 0, &query))
				continue;
			asked++;
			for (uint64_t seq = query.from; seq < query.from + 5 && seq <= query.to && seq < 60; seq++) {
				struct record_item item = kit_item(&logs[i].records[seq]);

				assert_int_equal(chase_item(c, query.number, &item), 0);
			}
			chase_answered(c, query.number, 0);
			chase_count(c, &counts);
			assert_true(counts.bytes <= CHASE_BYTES_MAX);
		}
	}
	assert_true(asked >= LOGS);
	for (size_t i = 0; i < LOGS; i++)
		kit_log_finish(&logs[i]);
	chase_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_log_is_fetched_in_windows),
		cmocka_unit_test(pages_that_are_cut_are_gone_on_with),
		cmocka_unit_test(what_is_not_newer_is_not_asked_for),
		cmocka_unit_test(goes_back_exponentially_until_branches_meet),
		cmocka_unit_test(both_branches_come),
		cmocka_unit_test(a_branch_below_the_tip_is_fetched_when_known_of),
		cmocka_unit_test(a_fork_at_the_tip_costs_one_query),
		cmocka_unit_test(a_false_count_ends_after_all_was_fetched),
		cmocka_unit_test(lies_end_the_claim_and_another_is_asked),
		cmocka_unit_test(a_chain_without_an_end_is_an_offence),
		cmocka_unit_test(what_a_session_owes_is_asked_of_another),
		cmocka_unit_test(the_only_one_is_waited_for_then_tried_again),
		cmocka_unit_test(own_trouble_pauses_and_loses_nothing),
		cmocka_unit_test(what_is_no_longer_followed_is_forgotten),
		cmocka_unit_test(pushes_join_the_tip),
		cmocka_unit_test(a_push_with_a_gap_begins_a_chase),
		cmocka_unit_test(pushes_that_do_not_join_do_not_hide_newer_ones),
		cmocka_unit_test(a_push_of_another_branch_is_not_lost),
		cmocka_unit_test(pushes_are_checked),
		cmocka_unit_test(claims_are_bounded),
		cmocka_unit_test(memory_is_bounded_and_does_not_jam),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
