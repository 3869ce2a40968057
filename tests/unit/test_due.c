/* Records held back from the future: whoever listens hears of them when their time comes, as of any that arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

#include "depot_kit.h"

#define DAY_MS 86400000ull

struct pair {
	struct node alice, bob; /* bob follows alice, whose clock is a day ahead */
	unsigned due;
};

static void count_due(void *context)
{
	((struct pair *)context)->due++;
}

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	node_make(&p->alice, 1);
	node_make(&p->bob, 2);
	node_follow(&p->bob, device_of(&p->alice), true);
	p->alice.t.time_ms += DAY_MS;
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	node_remove(&p->alice);
	node_remove(&p->bob);
	free(p);
	return 0;
}

static void carry(struct pair *p)
{
	node_sync(&p->alice);
	assert_true(carry_log(&p->alice, &p->bob, device_of(&p->alice)) > 0);
}

/* What bob's store applies when it is as late as this. */
static int tick_at(struct pair *p, uint64_t time_ms)
{
	uint64_t next;

	p->bob.t.time_ms = time_ms;
	return store_tick(p->bob.t.store, &next);
}

static void what_comes_due_is_told(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);

	write_text(&p->alice, NULL, "early.md", "from tomorrow");
	carry(p);
	assert_false(has_arrived(&p->bob, alice, alice, "early.md"));
	assert_int_equal(count_missing(&p->bob), 0);
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS - FUTURE_MS_MAX - 1), 0);
	assert_false(has_arrived(&p->bob, alice, alice, "early.md"));
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS - FUTURE_MS_MAX), 1);
	assert_true(has_arrived(&p->bob, alice, alice, "early.md"));
	assert_int_equal(count_missing(&p->bob), 1);
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS), 0);
}

/* A profile names somebody: all that is theirs may show elsewise. */
static void a_profile_that_comes_due_tells_of_the_person(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);
	struct store_txn *txn = txn_begin(&p->alice.t, true);

	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	carry(p);
	p->bob.arrival_count = 0;
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS), 1);
	assert_true(has_arrived(&p->bob, alice, alice, ""));
}

/* An admission does: what the other device made before shows from then on. */
static void an_admission_that_comes_due_brings_what_the_device_made(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);
	struct tree_item item;
	struct node phone;

	node_make(&phone, 5);
	struct store_txn *txn = txn_begin(&phone.t, true);
	say_profile(txn, alice, "");
	txn_commit(txn);
	write_text(&phone, device_of(&phone), "by phone.md", "1");
	node_sync(&phone);
	carry_log(&phone, &p->bob, device_of(&phone));
	txn = txn_begin(&p->alice.t, true);
	say_admit(txn, device_of(&phone), true, NULL);
	txn_commit(txn);
	carry(p);
	p->bob.arrival_count = 0;
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS), 1);
	assert_true(has_arrived(&p->bob, alice, alice, ""));
	txn = txn_begin(&p->bob.t, false);
	assert_int_equal(tree_lookup(txn, device_of(&phone), device_of(&phone), "by phone.md", &item), -ENOENT);
	store_abort(txn);
	node_remove(&phone);
}

/* More than one transaction takes: all are told, and what follows from them once for each. */
static void many_come_due_in_parts(void **state)
{
	const unsigned count = DEPOT_BATCH_RECORDS + 5;
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);
	const struct depot_store_options options = { .store = p->bob.t.store, .came_due = count_due, .context = p };
	char name[32];

	struct store_txn *txn = txn_begin(&p->alice.t, true);
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%u", i);
		say_nothing(txn, alice, name);
	}
	txn_commit(txn);
	carry(p);
	depot_store_free(p->bob.store);
	assert_int_equal(depot_store_new(&p->bob.store, &options), 0);
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS), count);
	assert_int_equal(p->due, 2);
}

/* Nobody listens any more. */
static void without_a_depot_it_comes_due_all_the_same(void **state)
{
	struct pair *p = *state;

	write_text(&p->alice, NULL, "early.md", "from tomorrow");
	carry(p);
	depot_store_free(p->bob.store);
	assert_int_equal(tick_at(p, HELPER_TIME_MS + DAY_MS), 1);
	node_open(&p->bob);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(what_comes_due_is_told),
		WITH_PAIR(a_profile_that_comes_due_tells_of_the_person),
		WITH_PAIR(an_admission_that_comes_due_brings_what_the_device_made),
		WITH_PAIR(many_come_due_in_parts),
		WITH_PAIR(without_a_depot_it_comes_due_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
