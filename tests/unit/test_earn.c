#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "earn.h"

static uint64_t number; /* of the newest newcomer */

static uint64_t come(struct earn *e, uint32_t effort, bool known, uint64_t now_ms)
{
	struct earn_waiting newcomer = { .session = ++number, .effort = effort, .known = known };

	return earn_join(e, &newcomer, now_ms);
}

static bool is_turned_away(struct earn *e, uint32_t effort, bool known)
{
	uint64_t dropped = come(e, effort, known, 0);

	return dropped == number;
}

/* Uses up what was saved while idle. */
static void exhaust(struct earn *e, uint64_t now_ms)
{
	while (e->slots > 0) {
		assert_int_equal(come(e, 0, false, now_ms), 0);
		assert_int_equal(earn_next(e, now_ms, 0), number);
	}
}

static void test_nobody_waits_while_idle(void **state)
{
	struct earn e;

	earn_init(&e, 0);
	for (uint64_t now = 0; now < 60000; now += 100) {
		assert_int_equal(come(&e, 0, false, now), 0);
		assert_int_equal(earn_next(&e, now, 7), number);
		assert_int_equal(earn_next(&e, now, 7), 0);
		earn_tick(&e, now);
		assert_int_equal(e.suggested, 0);
	}
	assert_int_equal(earn_deadline_ms(&e) == UINT64_MAX, e.bids == 0);
}

static void test_slots_come_at_the_rate(void **state)
{
	struct earn e;
	unsigned served = 0;

	earn_init(&e, 0);
	exhaust(&e, 0);
	for (uint64_t now = 1; now <= 1000; now++) {
		come(&e, 0, false, now);
		while (earn_next(&e, now, 0))
			served++;
	}
	assert_int_equal(served, EARN_PER_SECOND);
}

/* Of ten slots: five to those known, four by effort, one by lot. */
static void test_shares(void **state)
{
	struct earn e;
	uint64_t known[20], rich[20], poor[20];
	unsigned of_known = 0, of_rich = 0, of_poor = 0;

	earn_init(&e, 0);
	exhaust(&e, 0);
	for (int i = 0; i < 20; i++) {
		come(&e, 0, true, 0);
		known[i] = number;
		come(&e, 100 + (uint32_t)i, false, 0);
		rich[i] = number;
		come(&e, 0, false, 0);
		poor[i] = number;
	}
	for (int slot = 1; slot <= 20; slot++) {
		uint64_t session = earn_next(&e, (uint64_t)slot * 10, 3);
		assert_int_not_equal(session, 0);
		for (int i = 0; i < 20; i++) {
			of_known += session == known[i];
			of_rich += session == rich[i];
			of_poor += session == poor[i];
		}
	}
	assert_int_equal(of_known, 10);
	assert_int_equal(of_rich, 8);
	assert_int_equal(of_poor, 2);
}

static void test_highest_bid_first(void **state)
{
	static const uint32_t bids[] = { 5, 900, 30, 900, 1 };
	static const unsigned order[] = { 1, 3, 2, 0, 4 };
	struct earn e;

	earn_init(&e, 0);
	exhaust(&e, 0);
	uint64_t first = number + 1;
	for (unsigned i = 0; i < 5; i++)
		come(&e, bids[i], false, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(earn_next(&e, 10 * (i + 1), 0), first + order[i]);
}

static void test_a_full_queue_drops_the_poorest(void **state)
{
	struct earn e;

	earn_init(&e, 0);
	exhaust(&e, 0);
	uint64_t first = number + 1;
	for (int i = 0; i < EARN_WAITING_MAX; i++)
		assert_int_equal(come(&e, 10, i == 0, 0), 0);
	assert_int_equal(is_turned_away(&e, 10, false), true);                     /* pays no more than others: it goes */
	assert_int_equal(come(&e, 11, false, 0), first + EARN_WAITING_MAX - 1); /* the youngest of the poorest goes */
	assert_int_equal(come(&e, 0, true, 0), first + EARN_WAITING_MAX - 2);
	for (int i = 0; i < EARN_WAITING_MAX; i++)
		come(&e, 0, true, 0);
	assert_int_equal(is_turned_away(&e, 20000, false), true); /* no effort drives out those known well */
	earn_leave(&e, first, 0);
	assert_int_equal(come(&e, 0, false, 0), 0);
}

/* A node that serves 100 a second, and `rate` newcomers a second who pay what is asked. Returns the suggestion at the end. */
static uint32_t press(struct earn *e, unsigned rate, unsigned from_s, unsigned to_s, bool pays)
{
	for (uint64_t now = from_s * 1000; now < to_s * 1000; now += 10) {
		for (uint64_t n = now * rate / 1000; n < (now + 10) * rate / 1000; n++)
			come(e, pays ? e->suggested : 0, false, now);
		while (earn_next(e, now, (uint32_t)now))
			;
		earn_tick(e, now);
	}
	return e->suggested;
}

static void test_the_suggestion_follows_the_load(void **state)
{
	struct earn e;

	earn_init(&e, 0);
	assert_int_equal(press(&e, 50, 0, 60, true), 0);
	uint32_t first = press(&e, 400, 60, 90, true);
	assert_in_range(first, 1, 100);
	uint32_t high = press(&e, 400, 90, 200, true);
	assert_true(high > 4 * first);
	assert_true(high <= EARN_SUGGESTED_MAX);
	/* Who does not pay does not raise it: it falls when those who do are few. */
	assert_true(press(&e, 400, 200, 230, false) < high / 8);
	assert_int_equal(press(&e, 5, 230, 300, true), 0);
	/* And it is forgotten when nobody comes at all. */
	e.suggested = 500;
	earn_tick(&e, 1000000);
	assert_int_equal(e.suggested, 0);
}

static void test_one_bid_counts_little(void **state)
{
	struct earn a, b;

	earn_init(&a, 0);
	earn_init(&b, 0);
	a.suggested = b.suggested = 10;
	come(&a, 20000, false, 0);
	come(&b, 80, false, 0);
	assert_int_equal(a.bids_effort, b.bids_effort);
}

static void test_those_known_do_not_move_it(void **state)
{
	struct earn e;

	earn_init(&e, 0);
	for (uint64_t now = 0; now < 60000; now += 10) {
		for (int i = 0; i < 5; i++)
			come(&e, 20000, true, now);
		while (earn_next(&e, now, 0))
			;
		earn_tick(&e, now);
	}
	assert_int_equal(e.suggested, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_waits_while_idle),
		cmocka_unit_test(test_slots_come_at_the_rate),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_highest_bid_first),
		cmocka_unit_test(test_a_full_queue_drops_the_poorest),
		cmocka_unit_test(test_the_suggestion_follows_the_load),
		cmocka_unit_test(test_one_bid_counts_little),
		cmocka_unit_test(test_those_known_do_not_move_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
