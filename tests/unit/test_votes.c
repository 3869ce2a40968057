/* test_votes.c - one vote a person, the newest, whatever device it came from and in whatever order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"
#include "votes.h"

#define DEVICES 3
#define STEPS_MAX 8

static struct id object_of(uint8_t name)
{
	struct id id;

	memset(&id, name, sizeof(id));
	return id;
}

static struct id say_vote(struct test_store *t, uint8_t object, enum vote vote)
{
	struct store_txn *txn = txn_begin(t, true);
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_VOTE;
	record->vote.object = object_of(object);
	record->vote.vote = vote;
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	txn_commit(txn);
	t->time_ms++;
	return id;
}

static void carry(struct test_store *from, struct test_store *to, const struct id *id)
{
	struct store_txn *source = txn_begin(from, false), *txn = txn_begin(to, true);
	struct parcel parcel;

	assert_int_equal(parcel_read(source, id, &parcel), 0);
	assert_int_equal(parcel_accept(txn, &parcel), 0);
	free(parcel.bytes);
	store_abort(source);
	txn_commit(txn);
}

static void assert_votes(const char *name, struct test_store *t, uint8_t object, const struct votes *expected)
{
	struct store_txn *txn = txn_begin(t, false);
	struct id id = object_of(object);
	struct votes found = { 99, 99, VOTE_DELETE };

	assert_int_equal(votes_count(txn, &id, &found), 0);
	store_abort(txn);
	if (found.keep != expected->keep || found.delete != expected->delete || found.own != expected->own)
		fail_msg("%s: %u keep, %u delete, own %d", name, (unsigned)found.keep, (unsigned)found.delete, found.own);
}

/* ---- persons of one device each ---- */

struct said {
	unsigned device; /* 0 is the one that counts */
	uint8_t object;
	enum vote vote;
};

static void a_vote_a_person(void **state)
{
	static const struct {
		const char *name;
		struct said said[STEPS_MAX]; /* in order of time; object 0 ends it */
		struct votes expected;       /* on object 1, at device 0 */
	} cases[] = {
		{ "nobody voted", { { 0 } }, { 0, 0, VOTE_NONE } },
		{ "own keep", { { 0, 1, VOTE_KEEP } }, { 1, 0, VOTE_KEEP } },
		{ "own delete", { { 0, 1, VOTE_DELETE } }, { 0, 1, VOTE_DELETE } },
		{ "own, taken back", { { 0, 1, VOTE_KEEP }, { 0, 1, VOTE_NONE } }, { 0, 0, VOTE_NONE } },
		{ "own, changed", { { 0, 1, VOTE_KEEP }, { 0, 1, VOTE_DELETE } }, { 0, 1, VOTE_DELETE } },
		{ "own, said twice", { { 0, 1, VOTE_KEEP }, { 0, 1, VOTE_KEEP } }, { 1, 0, VOTE_KEEP } },
		{ "another's is not own", { { 1, 1, VOTE_DELETE } }, { 0, 1, VOTE_NONE } },
		{ "all three", { { 0, 1, VOTE_KEEP }, { 1, 1, VOTE_DELETE }, { 2, 1, VOTE_KEEP } }, { 2, 1, VOTE_KEEP } },
		{ "one of three taken back",
		  { { 0, 1, VOTE_KEEP }, { 1, 1, VOTE_KEEP }, { 2, 1, VOTE_KEEP }, { 1, 1, VOTE_NONE } },
		  { 2, 0, VOTE_KEEP } },
		{ "on something else", { { 0, 2, VOTE_KEEP }, { 1, 3, VOTE_DELETE } }, { 0, 0, VOTE_NONE } },
		{ "on this and something else",
		  { { 0, 1, VOTE_DELETE }, { 0, 2, VOTE_KEEP }, { 1, 2, VOTE_KEEP } }, { 0, 1, VOTE_DELETE } },
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct test_store t[DEVICES];
		for (unsigned i = 0; i < DEVICES; i++)
			test_store_make(&t[i], c * DEVICES + i + 1);
		for (const struct said *s = cases[c].said; s->object; s++) {
			struct id id = say_vote(&t[s->device], s->object, s->vote);
			if (s->device != 0)
				carry(&t[s->device], &t[0], &id);
		}
		assert_votes(cases[c].name, &t[0], 1, &cases[c].expected);
		for (unsigned i = 0; i < DEVICES; i++)
			test_store_remove(&t[i]);
	}
}

static void also_after_reindex(void **state)
{
	const struct votes expected = { 1, 1, VOTE_KEEP };
	struct test_store t, other;

	test_store_make(&t, 1);
	test_store_make(&other, 2);
	say_vote(&t, 1, VOTE_DELETE);
	say_vote(&t, 1, VOTE_KEEP);
	struct id id = say_vote(&other, 1, VOTE_DELETE);
	carry(&other, &t, &id);
	assert_votes("before", &t, 1, &expected);
	test_store_stop(&t);
	test_store_start(&t, true);
	assert_votes("after", &t, 1, &expected);
	test_store_remove(&other);
	test_store_remove(&t);
}

/* ---- a person of two devices ---- */

static struct id admit(struct test_store *t, const struct id *device, bool on, const struct id *last)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id id = say_admit(txn, device, on, last);

	txn_commit(txn);
	t->time_ms++;
	return id;
}

static struct id join(struct test_store *t, const struct id *person)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id id = say_profile(txn, person, "alice");

	txn_commit(txn);
	t->time_ms++;
	return id;
}

/* Both devices have all records of both in the end. */
static void two_devices_are_one_voice(void **state)
{
	struct test_store t[2];
	struct id ids[2][4];

	test_store_make(&t[0], 1);
	test_store_make(&t[1], 2);
	t[1].time_ms += 1000;
	ids[0][0] = admit(&t[0], &t[1].key.public, true, NULL);
	ids[0][1] = say_vote(&t[0], 1, VOTE_DELETE);
	ids[1][0] = join(&t[1], &t[0].key.public);
	ids[1][1] = say_vote(&t[1], 1, VOTE_KEEP); /* the newer one */
	carry(&t[1], &t[0], &ids[1][0]);
	carry(&t[0], &t[1], &ids[0][0]);
	carry(&t[1], &t[0], &ids[1][1]);
	carry(&t[0], &t[1], &ids[0][1]);
	for (int i = 0; i < 2; i++)
		assert_votes("both devices", &t[i], 1, &(struct votes){ 1, 0, VOTE_KEEP });

	/* The second device is lost, and nothing of it counts. */
	t[0].time_ms += 2000;
	struct id retired = admit(&t[0], &t[1].key.public, false, NULL);
	assert_votes("retired", &t[0], 1, &(struct votes){ 0, 1, VOTE_DELETE });
	carry(&t[0], &t[1], &retired);
	assert_votes("retired, seen there", &t[1], 1, &(struct votes){ 0, 1, VOTE_DELETE });
	for (int i = 0; i < 2; i++)
		test_store_remove(&t[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vote_a_person),
		cmocka_unit_test(also_after_reindex),
		cmocka_unit_test(two_devices_are_one_voice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
