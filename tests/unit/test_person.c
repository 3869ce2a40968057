#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

#define DEVICES 4

/* Devices, and a fifth store that only watches: it gets their logs in every order. */
struct family {
	struct test_store devices[DEVICES];
};

static int family_make(void **state)
{
	struct family *f = calloc(1, sizeof(*f));

	for (size_t i = 0; i < DEVICES; i++)
		test_store_make(&f->devices[i], 10 + i);
	*state = f;
	return 0;
}

static int family_remove(void **state)
{
	struct family *f = *state;

	for (size_t i = 0; i < DEVICES; i++)
		test_store_remove(&f->devices[i]);
	free(f);
	return 0;
}

static const struct id *id_of(struct family *f, size_t device)
{
	return &f->devices[device].key.public;
}

/* Says it on one device, a minute after what was said before anywhere. */
static struct store_txn *at_device(struct family *f, size_t device)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < DEVICES; i++)
		if (f->devices[i].time_ms > newest)
			newest = f->devices[i].time_ms;
	f->devices[device].time_ms = newest + 60 * 1000;
	return txn_begin(&f->devices[device], true);
}

static struct id claims(struct family *f, size_t device, size_t person)
{
	struct store_txn *txn = at_device(f, device);
	struct id id = say_profile(txn, id_of(f, person), "alice");

	txn_commit(txn);
	return id;
}

static struct id admits(struct family *f, size_t by, size_t device)
{
	struct store_txn *txn = at_device(f, by);
	struct id id = say_admit(txn, id_of(f, device), true, NULL);

	txn_commit(txn);
	return id;
}

static struct id retires(struct family *f, size_t by, size_t device, const struct id *last)
{
	struct store_txn *txn = at_device(f, by);
	struct id id = say_admit(txn, id_of(f, device), false, last);

	txn_commit(txn);
	return id;
}

static struct id saves(struct family *f, size_t device, size_t person, const char *name)
{
	struct store_txn *txn = at_device(f, device);
	struct save save = { .directory = *id_of(f, person), .name = name, .text = name, .replaces_nothing = true };
	struct id id = say_version(&f->devices[device], txn, &save);

	txn_commit(txn);
	return id;
}

/* ---- watching ---- */

struct watch {
	struct test_store store;
	struct store_txn *txn;
};

/* A store that hears of the logs in one of the 24 orders. */
static void watch_begin(struct family *f, struct watch *w, unsigned order)
{
	size_t left[DEVICES] = { 0, 1, 2, 3 };

	test_store_make(&w->store, 100 + order);
	w->store.time_ms = HELPER_TIME_MS + 24 * 3600 * 1000;
	for (size_t count = DEVICES; count > 0; count--) {
		size_t pick = order % count;
		order /= (unsigned)count;
		send_log(&f->devices[left[pick]], &w->store);
		left[pick] = left[count - 1];
	}
	w->txn = txn_begin(&w->store, false);
}

static void watch_end(struct watch *w)
{
	store_abort(w->txn);
	test_store_remove(&w->store);
}

static void expect_person(struct family *f, struct watch *w, size_t device, size_t person)
{
	struct id found;

	assert_int_equal(person_of(w->txn, id_of(f, device), &found), 0);
	assert_true(id_equal(&found, id_of(f, person)));
}

static void expect_shown(struct family *f, struct watch *w, size_t person, const char *name, bool shown)
{
	struct tree_item item;

	int err = tree_lookup(w->txn, id_of(f, person), id_of(f, person), name, &item);
	assert_int_equal(err, shown ? 0 : -ENOENT);
}

#define EVERY_ORDER(order) for (unsigned order = 0; order < 24; order++)

/* ---- who ---- */

static void a_device_is_a_person_of_its_own(void **state)
{
	struct family *f = *state;
	struct person_device devices[2];
	struct id person;
	uint64_t newest;

	struct store_txn *txn = txn_begin(&f->devices[0], false);
	assert_int_equal(person_self(txn, &person), 0);
	assert_true(id_equal(&person, id_of(f, 0)));
	assert_int_equal(person_devices(txn, &person, devices, 2), 0);
	assert_int_equal(person_newest_ms(txn, &person, &newest), 0);
	assert_int_equal(newest, 0);
	store_abort(txn);
	txn = at_device(f, 0);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	txn = txn_begin(&f->devices[0], false);
	assert_int_equal(person_devices(txn, &person, devices, 2), 1);
	assert_true(id_equal(&devices[0].device, &person));
	assert_int_equal(devices[0].seq_end, UINT64_MAX);
	assert_int_equal(person_newest_ms(txn, &person, &newest), 0);
	assert_int_equal(newest, f->devices[0].time_ms);
	store_abort(txn);
}

static void admission_needs_both_sides(void **state)
{
	struct family *f = *state;
	struct person_device devices[DEVICES];

	admits(f, 0, 1); /* 1 says it too */
	claims(f, 1, 0);
	admits(f, 0, 2); /* 2 does not */
	claims(f, 3, 0); /* 3 was never admitted */
	for (size_t i = 0; i < DEVICES; i++)
		saves(f, i, 0, i == 1 ? "one" : i == 2 ? "two" : i == 3 ? "three" : "zero");
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 0, 0);
		expect_person(f, &w, 1, 0);
		expect_person(f, &w, 2, 2);
		expect_person(f, &w, 3, 3);
		expect_shown(f, &w, 0, "zero", true);
		expect_shown(f, &w, 0, "one", true);
		expect_shown(f, &w, 0, "two", false);
		expect_shown(f, &w, 0, "three", false);
		assert_int_equal(person_devices(w.txn, id_of(f, 0), devices, DEVICES), 2);
		assert_true(id_equal(&devices[0].device, id_of(f, 0)));
		assert_true(id_equal(&devices[1].device, id_of(f, 1)));
		/* What does not fit is counted still. */
		assert_int_equal(person_devices(w.txn, id_of(f, 0), devices, 1), 2);
		assert_true(id_equal(&devices[0].device, id_of(f, 0)));
		watch_end(&w);
	}
}

static void an_admitted_device_admits(void **state)
{
	struct family *f = *state;

	admits(f, 0, 1);
	claims(f, 1, 0);
	claims(f, 2, 0);
	send_log(&f->devices[0], &f->devices[1]);
	admits(f, 1, 2);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 2, 0);
		watch_end(&w);
	}
}

static void a_person_has_so_many_devices_and_no_more(void **state)
{
	for (unsigned junk = PERSON_DEVICES_MAX - 2; junk < PERSON_DEVICES_MAX; junk++) {
		void *fresh = NULL;
		family_make(&fresh);
		struct family *f = fresh;
		struct store_txn *txn = at_device(f, 0);
		for (unsigned i = 0; i < junk; i++)
			say_admit(txn, &(struct id){ { 1, (uint8_t)i } }, true, NULL);
		txn_commit(txn);
		admits(f, 0, 1);
		claims(f, 1, 0);
		struct watch w;
		watch_begin(f, &w, junk % 24);
		expect_person(f, &w, 1, junk < PERSON_DEVICES_MAX - 1 ? 0 : 1);
		watch_end(&w);
		family_remove(&fresh);
	}
}

static void what_was_said_before_admission_admits_nobody(void **state)
{
	struct family *f = *state;

	admits(f, 1, 2); /* as a person of its own */
	claims(f, 2, 0);
	claims(f, 1, 0);
	admits(f, 0, 1);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 1, 0);
		expect_person(f, &w, 2, 2);
		watch_end(&w);
	}
}

static void the_first_person_named_is_final(void **state)
{
	struct family *f = *state;

	admits(f, 0, 1);
	admits(f, 3, 1);
	claims(f, 1, 0);
	claims(f, 1, 3);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 1, 0);
		watch_end(&w);
	}
}

static void devices_that_claim_one_another_are_no_riddle(void **state)
{
	struct family *f = *state;

	claims(f, 0, 1);
	claims(f, 1, 0);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 0, 0);
		expect_person(f, &w, 1, 1);
		watch_end(&w);
	}
}

/* ---- retiring ---- */

static void a_retired_device_counts_up_to_its_last(void **state)
{
	struct family *f = *state;
	struct person_device devices[DEVICES];

	admits(f, 0, 1);
	claims(f, 1, 0);
	struct id last = saves(f, 1, 0, "before");
	struct id after = saves(f, 1, 0, "after");
	retires(f, 0, 1, &last);
	EVERY_ORDER(order) {
		struct watch w;
		struct version_row row;
		uint64_t count;
		watch_begin(f, &w, order);
		expect_person(f, &w, 1, 0);
		expect_shown(f, &w, 0, "before", true);
		expect_shown(f, &w, 0, "after", false);
		/* But what was saved after it is in the list of its name. */
		assert_int_equal(document_count(w.txn, id_of(f, 0), id_of(f, 0), "after", &count), 0);
		assert_int_equal(count, 1);
		assert_int_equal(document_find(w.txn, id_of(f, 0), id_of(f, 0), "after", "1", &row), 0);
		assert_true(id_equal(&row.id, &after));
		assert_int_equal(person_devices(w.txn, id_of(f, 0), devices, DEVICES), 2);
		assert_true(devices[1].retired);
		assert_int_equal(devices[1].seq_end, 2);
		watch_end(&w);
	}
}

static void who_may_retire_whom(void **state)
{
	static const struct {
		const char *name;
		size_t by, device;
		bool counts;
	} cases[] = {
		{ "the first, the second", 0, 1, true },
		{ "the second, the third", 1, 2, true },
		{ "the third, the second", 2, 1, false },
		{ "the second, the first", 1, 0, false },
		{ "one itself", 2, 2, false },
		{ "a stranger", 3, 1, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *fresh = NULL;
		family_make(&fresh);
		struct family *f = fresh;
		admits(f, 0, 1);
		admits(f, 0, 2);
		claims(f, 1, 0);
		claims(f, 2, 0);
		saves(f, cases[i].device, 0, "n");
		retires(f, cases[i].by, cases[i].device, NULL);
		for (unsigned order = 0; order < 24; order += 5) {
			struct watch w;
			watch_begin(f, &w, order);
			struct tree_item item;
			int err = tree_lookup(w.txn, id_of(f, 0), id_of(f, 0), "n", &item);
			if ((err == -ENOENT) != cases[i].counts)
				fail_msg("%s: %d", cases[i].name, err);
			watch_end(&w);
		}
		family_remove(&fresh);
	}
}

static void a_retired_device_may_be_taken_back(void **state)
{
	struct family *f = *state;

	admits(f, 0, 1);
	claims(f, 1, 0);
	saves(f, 1, 0, "n");
	retires(f, 0, 1, NULL);
	admits(f, 1, 1); /* not by itself */
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_shown(f, &w, 0, "n", false);
		watch_end(&w);
	}
	admits(f, 0, 1);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_shown(f, &w, 0, "n", true);
		watch_end(&w);
	}
}

static void what_a_retired_device_admitted_after_is_nobody(void **state)
{
	struct family *f = *state;

	admits(f, 0, 1);
	struct id last = claims(f, 1, 0);
	claims(f, 2, 0);
	admits(f, 1, 2);
	saves(f, 2, 0, "n");
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_shown(f, &w, 0, "n", true);
		watch_end(&w);
	}
	retires(f, 0, 1, &last);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		expect_person(f, &w, 2, 2);
		expect_shown(f, &w, 0, "n", false);
		watch_end(&w);
	}
}

static void a_thief_cannot_fork_before_the_last(void **state)
{
	struct family *f = *state;
	struct test_store stolen;

	admits(f, 0, 1);
	claims(f, 1, 0);
	test_store_stop(&f->devices[1]);
	test_store_copy(&stolen, &f->devices[1], 4711);
	test_store_start(&f->devices[1], false);
	struct id last = saves(f, 1, 0, "honest");
	stolen.time_ms = f->devices[1].time_ms;
	struct store_txn *txn = txn_begin(&stolen, true);
	struct save save = { .directory = *id_of(f, 0), .name = "theft", .text = "x" };
	say_version(&stolen, txn, &save);
	txn_commit(txn);
	retires(f, 0, 1, &last);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		store_abort(w.txn);
		send_log(&stolen, &w.store);
		w.txn = txn_begin(&w.store, false);
		expect_shown(f, &w, 0, "honest", true);
		expect_shown(f, &w, 0, "theft", false);
		watch_end(&w);
	}
	test_store_remove(&stolen);
}

/* ---- saying ---- */

static void votes(struct family *f, size_t device, const struct id *object, enum vote vote)
{
	struct record *record = record_new();
	struct store_txn *txn = at_device(f, device);

	record->field = FIELD_VOTE;
	record->vote.object = *object;
	record->vote.vote = vote;
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	txn_commit(txn);
	free(record);
}

static int sum_votes(void *context, const struct id *person, uint64_t value)
{
	*(uint64_t *)context += value;
	return 0;
}

static void the_newest_of_a_persons_devices_is_what_they_say(void **state)
{
	struct family *f = *state;
	struct id object = { { 5 } }, other = { { 6 } };

	admits(f, 0, 1);
	struct id last = claims(f, 1, 0);
	votes(f, 0, &object, VOTE_KEEP);
	votes(f, 1, &object, VOTE_DELETE);
	votes(f, 3, &object, VOTE_KEEP);
	EVERY_ORDER(order) {
		struct watch w;
		uint64_t value, sum = 0;
		watch_begin(f, &w, order);
		assert_int_equal(person_said(w.txn, id_of(f, 0), FIELD_VOTE, &object, &value), 0);
		assert_int_equal(value, VOTE_DELETE);
		assert_int_equal(person_said(w.txn, id_of(f, 0), FIELD_VOTE, &other, &value), -ENOENT);
		assert_int_equal(person_said(w.txn, id_of(f, 0), FIELD_TRUST, &object, &value), -ENOENT);
		assert_int_equal(person_said_each(w.txn, FIELD_VOTE, &object, sum_votes, &sum), 0);
		assert_int_equal(sum, VOTE_DELETE + VOTE_KEEP);
		watch_end(&w);
	}
	/* Of a retired device it is forgotten. */
	retires(f, 0, 1, &last);
	EVERY_ORDER(order) {
		struct watch w;
		uint64_t value;
		watch_begin(f, &w, order);
		assert_int_equal(person_said(w.txn, id_of(f, 0), FIELD_VOTE, &object, &value), 0);
		assert_int_equal(value, VOTE_KEEP);
		watch_end(&w);
	}
}

static void a_profile_is_the_newest(void **state)
{
	struct family *f = *state;
	struct person_profile profile;

	struct store_txn *txn = at_device(f, 0);
	say_profile(txn, NULL, "alice");
	assert_int_equal(person_profile(txn, id_of(f, 0), &profile), 0);
	assert_string_equal(profile.name, "alice");
	say_admit(txn, id_of(f, 1), true, NULL);
	txn_commit(txn);
	txn = at_device(f, 1);
	say_profile(txn, id_of(f, 0), "Alice of the garden");
	txn_commit(txn);
	EVERY_ORDER(order) {
		struct watch w;
		watch_begin(f, &w, order);
		assert_int_equal(person_profile(w.txn, id_of(f, 0), &profile), 0);
		assert_string_equal(profile.name, "Alice of the garden");
		assert_string_equal(profile.about, "");
		assert_int_equal(person_profile(w.txn, id_of(f, 3), &profile), -ENOENT);
		watch_end(&w);
	}
}

static void a_time_is_not_before_the_persons_other_devices(void **state)
{
	struct family *f = *state;
	struct record_row row;

	admits(f, 0, 1);
	claims(f, 1, 0);
	meet_each_other(&f->devices[0], &f->devices[1]);
	f->devices[0].time_ms += 5 * 60 * 1000; /* ahead, but not too far */
	struct store_txn *txn = txn_begin(&f->devices[0], true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	uint64_t ahead = f->devices[0].time_ms;
	f->devices[1].time_ms = ahead - 60 * 1000;
	send_log(&f->devices[0], &f->devices[1]);
	txn = txn_begin(&f->devices[1], true);
	struct id id = say_profile(txn, NULL, "alice");
	assert_int_equal(log_find_record(txn, &id, &row), 0);
	assert_int_equal(row.time_ms, ahead);
	txn_commit(txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, family_make, family_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_is_a_person_of_its_own),
		TEST(admission_needs_both_sides),
		TEST(an_admitted_device_admits),
		TEST(a_person_has_so_many_devices_and_no_more),
		TEST(what_was_said_before_admission_admits_nobody),
		TEST(the_first_person_named_is_final),
		TEST(devices_that_claim_one_another_are_no_riddle),
		TEST(a_retired_device_counts_up_to_its_last),
		TEST(who_may_retire_whom),
		TEST(a_retired_device_may_be_taken_back),
		TEST(what_a_retired_device_admitted_after_is_nobody),
		TEST(a_thief_cannot_fork_before_the_last),
		TEST(the_newest_of_a_persons_devices_is_what_they_say),
		TEST(a_profile_is_the_newest),
		TEST(a_time_is_not_before_the_persons_other_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
