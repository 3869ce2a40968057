#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>

#include "store_helper.h"

#define DAY_MS (24ull * 3600 * 1000)

struct two { /* devices who are strangers */
	struct test_store a, b;
};

static int two_make(void **state)
{
	struct two *t = calloc(1, sizeof(*t));

	test_store_make(&t->a, 1);
	test_store_make(&t->b, 2);
	*state = t;
	return 0;
}

static int two_remove(void **state)
{
	struct two *t = *state;

	test_store_remove(&t->a);
	test_store_remove(&t->b);
	free(t);
	return 0;
}

static struct id say(struct test_store *t)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id id = say_profile(txn, NULL, "alice");

	txn_commit(txn);
	return id;
}

static struct log_row log_of(struct test_store *t, const struct id *device)
{
	struct store_txn *txn = txn_begin(t, false);
	struct log_row log;

	assert_int_equal(log_get(txn, device, &log), 0);
	store_abort(txn);
	return log;
}

static void expect_tip(struct test_store *t, const struct id *device, const struct id *expected)
{
	struct log_row log = log_of(t, device);

	assert_true(id_equal(&log.tip_id, expected));
}

static int accept(struct test_store *t, const struct parcel *parcel)
{
	struct store_txn *txn = txn_begin(t, true);

	int err = parcel_accept(txn, parcel);
	if (err < 0)
		store_abort(txn);
	else
		txn_commit(txn);
	return err;
}

/* ---- appending ---- */

static void records_follow_one_another(void **state)
{
	struct two *t = *state;
	struct record *record = record_new();
	struct record_row row;
	struct signature signature;
	struct id ids[3];

	for (int i = 0; i < 3; i++) {
		ids[i] = say(&t->a);
		t->a.time_ms += i == 0 ? 1000 : 0;
	}
	struct log_row log = log_of(&t->a, &t->a.key.public);
	assert_int_equal(log.records, 3);
	assert_int_equal(log.tip_seq, 2);
	assert_true(id_equal(&log.tip_id, &ids[2]));
	assert_false(log.forked);
	struct store_txn *txn = txn_begin(&t->a, false);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(log_find_record(txn, &ids[i], &row), 0);
		assert_int_equal(row.seq, i);
		assert_int_equal(row.time_ms, HELPER_TIME_MS + (i ? 1000 : 0));
		assert_int_equal(log_read_record(txn, &row, record, &signature), 0);
		assert_int_equal(record_verify(&signature, &t->a.key.public, &ids[i]), 0);
		assert_int_equal(record->seq, i);
		assert_true(i ? id_equal(&record->prev, &ids[i - 1]) : id_is_zero(&record->prev));
	}
	store_abort(txn);
	free(record);
}

static void a_clock_set_back_stops_no_log(void **state)
{
	struct two *t = *state;
	struct record_row row;

	say(&t->a);
	t->a.time_ms -= DAY_MS;
	struct id id = say(&t->a);
	struct store_txn *txn = txn_begin(&t->a, false);
	assert_int_equal(log_find_record(txn, &id, &row), 0);
	assert_int_equal(row.time_ms, HELPER_TIME_MS);
	assert_false(row.held);
	store_abort(txn);
}

static void a_transaction_reads_what_it_planned(void **state)
{
	struct two *t = *state;
	struct record *record = record_new();
	struct record_row row;

	struct store_txn *txn = txn_begin(&t->a, true);
	struct id id = say_profile(txn, NULL, "planned");
	assert_int_equal(log_find_record(txn, &id, &row), 0);
	assert_int_equal(log_read_record(txn, &row, record, NULL), 0);
	assert_int_equal(record->profile.name.size, strlen("planned"));
	store_abort(txn);
	txn = txn_begin(&t->a, false);
	assert_int_equal(log_find_record(txn, &id, &row), -ENOENT);
	store_abort(txn);
	free(record);
}

static void what_breaks_a_rule_is_not_said(void **state)
{
	struct two *t = *state;
	struct record *record = record_new();

	struct store_txn *txn = txn_begin(&t->a, true);
	record->field = FIELD_ENTRIES; /* none */
	assert_int_equal(log_append(txn, record, NULL, NULL), -EINVAL);
	store_abort(txn);
	free(record);
}

/* ---- accepting ---- */

/* Signs a record as the device of `t` would, at another place of its chain. */
static struct parcel forge(struct test_store *t, uint64_t seq, const struct id *prev, uint64_t time_ms)
{
	struct record *record = record_new();
	struct parcel parcel = { .bytes = NULL };
	struct bytes bytes;

	record->field = FIELD_PROFILE;
	record->profile.name = text_of("mallory");
	record->profile.about = text_of("");
	record->voucher = t->key.public;
	record->seq = seq;
	if (prev)
		record->prev = *prev;
	record->time_ms = time_ms;
	helper_random(t, record->nonce, sizeof(record->nonce));
	bytes_init(&bytes, RECORD_SIZE_MAX);
	assert_int_equal(record_encode(record, &bytes), 0);
	parcel.bytes = bytes_take(&bytes, &parcel.size);
	record_id(&parcel.id, parcel.bytes, parcel.size);
	assert_int_equal(record_sign(&parcel.signature, &t->key, &parcel.id), 0);
	free(record);
	return parcel;
}

static void expect_and_free(struct test_store *t, struct parcel parcel, int expected)
{
	assert_int_equal(accept(t, &parcel), expected);
	free(parcel.bytes);
}

static void records_are_taken_once_and_in_order(void **state)
{
	struct two *t = *state;

	say(&t->a);
	say(&t->a);
	struct parcels *p = parcels_of(&t->a, &t->a.key.public);
	assert_int_equal(accept(&t->b, &p->items[1]), -EAGAIN);
	assert_int_equal(accept(&t->b, &p->items[0]), 0);
	assert_int_equal(accept(&t->b, &p->items[0]), 1);
	assert_int_equal(accept(&t->b, &p->items[1]), 0);
	struct log_row mine = log_of(&t->a, &t->a.key.public), theirs = log_of(&t->b, &t->a.key.public);
	assert_true(id_equal(&mine.tip_id, &theirs.tip_id));
	parcels_free(p);
}

static void what_is_wrong_is_refused(void **state)
{
	struct two *t = *state;
	struct id first = say(&t->a), of_b = say(&t->b);
	struct id unknown = { { 9 } };

	t->a.time_ms += DAY_MS;
	say(&t->a);
	send_log(&t->a, &t->b);
	struct parcels *p = parcels_of(&t->a, &t->a.key.public);
	struct parcel bad = p->items[1];
	bad.signature.bytes[3] ^= 1;
	struct test_store c;
	test_store_make(&c, 3);
	assert_int_equal(accept(&c, &p->items[0]), 0);
	assert_int_equal(accept(&c, &bad), -EKEYREJECTED);
	bad = p->items[1];
	bad.size--;
	assert_int_equal(accept(&c, &bad), -EBADMSG);
	expect_and_free(&t->b, forge(&t->a, 1, &unknown, HELPER_TIME_MS), -EAGAIN);
	expect_and_free(&t->b, forge(&t->a, 2, &first, HELPER_TIME_MS), -EPROTO);
	expect_and_free(&t->b, forge(&t->a, 1, &first, HELPER_TIME_MS - 1), -EPROTO);
	expect_and_free(&t->b, forge(&t->a, 1, &of_b, HELPER_TIME_MS), -EPROTO);
	parcels_free(p);
	test_store_remove(&c);
	assert_int_equal(log_of(&t->b, &t->a.key.public).records, 2);
}

static void a_record_without_a_signature_is_taken_on_trust(void **state)
{
	struct two *t = *state;

	say(&t->a);
	struct parcels *p = parcels_of(&t->a, &t->a.key.public);
	struct store_txn *txn = txn_begin(&t->b, true);
	assert_int_equal(log_accept(txn, p->items[0].bytes, p->items[0].size, NULL), 0);
	txn_commit(txn);
	parcels_free(p);
	assert_int_equal(log_of(&t->b, &t->a.key.public).records, 1);
}

/* ---- the future ---- */

static void the_future_is_held_back_until_it_comes(void **state)
{
	struct two *t = *state;
	struct person_profile profile;
	uint64_t next;

	t->a.time_ms += DAY_MS;
	say(&t->a);
	say(&t->a);
	send_log(&t->a, &t->b);
	struct log_row log = log_of(&t->b, &t->a.key.public);
	assert_int_equal(log.records, 2);
	assert_int_equal(log.newest_ms, 0);
	struct store_txn *txn = txn_begin(&t->b, false);
	assert_int_equal(person_profile(txn, &t->a.key.public, &profile), -ENOENT);
	store_abort(txn);
	assert_int_equal(store_tick(t->b.store, &next), 0);
	assert_int_equal(next, HELPER_TIME_MS + DAY_MS);
	/* What is made meanwhile does not take its time from there. */
	struct id own = say(&t->b);
	struct record_row row;
	txn = txn_begin(&t->b, false);
	assert_int_equal(log_find_record(txn, &own, &row), 0);
	assert_int_equal(row.time_ms, HELPER_TIME_MS);
	store_abort(txn);

	t->b.time_ms += DAY_MS - FUTURE_MS_MAX;
	assert_int_equal(store_tick(t->b.store, &next), 2);
	txn = txn_begin(&t->b, false);
	assert_int_equal(person_profile(txn, &t->a.key.public, &profile), 0);
	store_abort(txn);
	assert_int_equal(log_of(&t->b, &t->a.key.public).newest_ms, HELPER_TIME_MS + DAY_MS);
}

static void held_records_survive_a_restart(void **state)
{
	struct two *t = *state;
	uint64_t next;

	t->a.time_ms += DAY_MS;
	say(&t->a);
	send_log(&t->a, &t->b);
	test_store_stop(&t->b);
	test_store_start(&t->b, true);
	assert_int_equal(log_of(&t->b, &t->a.key.public).newest_ms, 0);
	t->b.time_ms += DAY_MS;
	assert_int_equal(store_tick(t->b.store, &next), 1);
	test_store_stop(&t->b);
	test_store_start(&t->b, true);
	assert_int_equal(log_of(&t->b, &t->a.key.public).newest_ms, HELPER_TIME_MS + DAY_MS);
}

/* ---- forks ---- */

static void say_branch(struct test_store *t, const struct id *kept)
{
	struct record *record = record_new();
	struct store_txn *txn = txn_begin(t, true);

	record->field = FIELD_BRANCH;
	record->branch.record = *kept;
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	txn_commit(txn);
	free(record);
}

/* a goes on, and so does a backup of it: a fork of two branches, the second longer. */
static void fork_log(struct two *t, struct test_store *backup, struct id *out_short, struct id *out_long)
{
	say(&t->a);
	test_store_stop(&t->a);
	test_store_copy(backup, &t->a, 77);
	test_store_start(&t->a, false);
	*out_short = say(&t->a);
	say(backup);
	*out_long = say(backup);
}

static void both_branches_of_a_fork_are_kept(void **state)
{
	struct two *t = *state;
	struct test_store backup;
	struct id shorter, longer;

	fork_log(t, &backup, &shorter, &longer);
	send_log(&t->a, &t->b);
	assert_false(log_of(&t->b, &t->a.key.public).forked);
	send_log(&backup, &t->b);
	struct log_row log = log_of(&t->b, &t->a.key.public);
	assert_true(log.forked);
	assert_int_equal(log.records, 4);
	assert_true(id_equal(&log.tip_id, &longer));
	/* The device itself goes on from the longer branch once it knows. */
	send_log(&backup, &t->a);
	expect_tip(&t->a, &t->a.key.public, &longer);
	say(&t->a);
	assert_int_equal(log_of(&t->a, &t->a.key.public).tip_seq, 3);
	test_store_remove(&backup);
}

static void a_log_says_which_branch_it_keeps(void **state)
{
	struct two *t = *state;
	struct test_store backup, c;
	struct id shorter, longer;

	fork_log(t, &backup, &shorter, &longer);
	/* Said on the shorter branch, before the other is known. */
	say_branch(&t->a, &shorter);
	struct id tip = log_of(&t->a, &t->a.key.public).tip_id;
	send_log(&backup, &t->b);
	send_log(&t->a, &t->b);
	struct log_row log = log_of(&t->b, &t->a.key.public);
	assert_true(log.branch != 0);
	assert_true(id_equal(&log.tip_id, &tip));
	/* The other branch grows: no matter. */
	say(&backup);
	say(&backup);
	say(&backup);
	send_log(&backup, &t->b);
	expect_tip(&t->b, &t->a.key.public, &tip);
	/* A rival statement: neither is heard, and the longest is in effect. */
	say_branch(&backup, &longer);
	send_log(&backup, &t->b);
	log = log_of(&t->b, &t->a.key.public);
	assert_int_equal(log.branch, 0);
	expect_tip(&backup, &t->a.key.public, &log.tip_id);
	/* The same in the other order. */
	test_store_make(&c, 5);
	send_log(&backup, &c);
	send_log(&t->a, &c);
	struct log_row other = log_of(&c, &t->a.key.public);
	assert_int_equal(other.branch, 0);
	assert_true(id_equal(&other.tip_id, &log.tip_id));
	test_store_remove(&c);
	test_store_remove(&backup);
}

static void a_stranger_decides_about_no_branch(void **state)
{
	struct two *t = *state;
	struct test_store backup;
	struct id shorter, longer;

	fork_log(t, &backup, &shorter, &longer);
	say_branch(&t->b, &shorter);
	send_log(&t->a, &t->b);
	send_log(&backup, &t->b);
	expect_tip(&t->b, &t->a.key.public, &longer);
	test_store_remove(&backup);
}

/* ---- walking ---- */

static int count_row(void *context, const struct record_row *row)
{
	uint64_t *next = context;

	assert_int_equal(row->seq, *next);
	(*next)++;
	return *next == 150 ? 5 : 0;
}

static void a_log_is_walked_in_order(void **state)
{
	struct two *t = *state;

	struct store_txn *txn = txn_begin(&t->a, true);
	for (int i = 0; i < 140; i++)
		say_profile(txn, NULL, "x");
	txn_commit(txn);
	txn = txn_begin(&t->a, false);
	struct log_row log;
	assert_int_equal(log_get(txn, &t->a.key.public, &log), 0);
	uint64_t next = 0;
	assert_int_equal(log_each(txn, log.number, 0, count_row, &next), 0);
	assert_int_equal(next, 140);
	next = 70;
	assert_int_equal(log_each(txn, log.number, 70, count_row, &next), 0);
	assert_int_equal(next, 140);
	store_abort(txn);
	txn = txn_begin(&t->a, true);
	for (int i = 0; i < 20; i++)
		say_profile(txn, NULL, "x");
	next = 0;
	assert_int_equal(log_each(txn, log.number, 0, count_row, &next), 5);
	txn_commit(txn);
}

/* ---- signed together ---- */

#define TOGETHER 40
#define RUN_MAX 17 /* records for which one signature is made */

static void say_together(struct test_store *t, struct id *out_ids)
{
	char name[16];

	say(t);
	struct store_txn *txn = txn_begin(t, true);
	for (int i = 0; i < TOGETHER; i++) {
		snprintf(name, sizeof(name), "%d.md", i);
		out_ids[i] = say_nothing(txn, &t->key.public, name);
	}
	txn_commit(txn);
}

static void of_one_transaction_the_last_is_signed(void **state)
{
	struct two *t = *state;
	uint8_t *buffer = malloc(RECORD_BUFFER_SIZE);
	struct id ids[TOGETHER];
	struct signature signature;
	struct record_row row;
	const uint8_t *bytes;
	int run = 0, signatures = 0;

	say_together(&t->a, ids);
	struct store_txn *txn = txn_begin(&t->a, false);
	for (int i = 0; i < TOGETHER; i++) {
		assert_int_equal(log_find_record(txn, &ids[i], &row), 0);
		assert_int_equal(log_read_bytes(txn, &row, buffer, &bytes, &signature), 0);
		run++;
		if (sodium_is_zero(signature.bytes, sizeof(signature.bytes)))
			continue;
		assert_int_equal(record_verify(&signature, &t->a.key.public, &ids[i]), 0);
		assert_true(run <= RUN_MAX);
		run = 0;
		signatures++;
	}
	store_abort(txn);
	assert_int_equal(run, 0);
	assert_int_equal(signatures, 3);
	free(buffer);
}

/* What vouched for the records after it is damaged: they are this device's own, and count. */
static void own_records_count_without_the_one_before(void **state)
{
	struct two *t = *state;
	struct id ids[TOGETHER];
	struct record_row row;
	char path[300];
	uint8_t byte;

	say_together(&t->a, ids);
	struct store_txn *txn = txn_begin(&t->a, false);
	assert_int_equal(log_find_record(txn, &ids[3], &row), 0);
	store_abort(txn);
	test_store_stop(&t->a);
	snprintf(path, sizeof(path), "%s/journal/%08u.seg", t->a.path, (unsigned)(row.place >> 32));
	int fd = open(path, O_RDWR);
	off_t at = (off_t)(row.place & UINT32_MAX) + JOURNAL_HEAD_SIZE + 70;
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	test_store_start(&t->a, true);
	assert_int_equal(log_of(&t->a, &t->a.key.public).records, TOGETHER);
	expect_tip(&t->a, &t->a.key.public, &ids[TOGETHER - 1]);
}

static void an_index_made_again_is_the_same(void **state)
{
	struct two *t = *state;
	struct test_store backup;
	struct id shorter, longer;

	fork_log(t, &backup, &shorter, &longer);
	send_log(&backup, &t->a);
	struct log_row before = log_of(&t->a, &t->a.key.public);
	test_store_stop(&t->a);
	test_store_start(&t->a, true);
	struct log_row after = log_of(&t->a, &t->a.key.public);
	assert_memory_equal(&before, &after, sizeof(before));
	test_store_remove(&backup);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, two_make, two_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_follow_one_another),
		TEST(a_clock_set_back_stops_no_log),
		TEST(a_transaction_reads_what_it_planned),
		TEST(what_breaks_a_rule_is_not_said),
		TEST(records_are_taken_once_and_in_order),
		TEST(what_is_wrong_is_refused),
		TEST(a_record_without_a_signature_is_taken_on_trust),
		TEST(the_future_is_held_back_until_it_comes),
		TEST(held_records_survive_a_restart),
		TEST(both_branches_of_a_fork_are_kept),
		TEST(a_log_says_which_branch_it_keeps),
		TEST(a_stranger_decides_about_no_branch),
		TEST(a_log_is_walked_in_order),
		TEST(of_one_transaction_the_last_is_signed),
		TEST(own_records_count_without_the_one_before),
		TEST(an_index_made_again_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
