#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libdeflate.h>

#include "store_helper.h"

#include "depot_pair.h"

/* ---- a folder goes from one to another ---- */

static void a_followers_folder_is_the_same(void **state)
{
	struct pair *p = *state;

	fill_folder(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_true(count_missing(&p->bob) >= 6);
	assert_true(carry_pieces(&p->alice, &p->bob) > 100);
	assert_int_equal(count_missing(&p->bob), 0);
	assert_same_folder(&p->alice, &p->bob, device_of(&p->alice));
	/* Again is nothing new. */
	assert_int_equal(carry_log(&p->alice, &p->bob, device_of(&p->alice)), 0);
	assert_reindex_is_same(&p->bob);
	assert_same_folder(&p->alice, &p->bob, device_of(&p->alice));
}

static void an_index_made_again_is_the_same_at_every_step(void **state)
{
	struct pair *p = *state;
	struct depot_piece pieces[4];
	uint64_t cursor = 0;
	ssize_t count;

	fill_folder(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_reindex_is_same(&p->bob);
	count = p->bob.depot->calls->missing(p->bob.depot->context, &cursor, pieces, 4);
	assert_int_equal(count, 4);
	for (ssize_t i = 0; i < count; i++)
		assert_int_equal(carry_piece(&p->alice, &p->bob, &pieces[i].name), 0);
	assert_reindex_is_same(&p->bob);
	carry_pieces(&p->alice, &p->bob);
	assert_reindex_is_same(&p->bob);
	assert_int_equal(count_missing(&p->bob), 0);
}

static void three_hand_on_what_they_have(void **state)
{
	struct pair *p = *state;
	struct node carol;

	node_make(&carol, 3);
	node_follow(&carol, device_of(&p->alice), true);
	fill_folder(&p->alice);
	carry_logs(&p->alice, &p->bob);
	carry_pieces(&p->alice, &p->bob);
	carry_logs(&p->bob, &carol);
	carry_pieces(&p->bob, &carol);
	assert_same_folder(&p->alice, &carol, device_of(&p->alice));
	node_remove(&carol);
}

static void many_records_take_several_transactions(void **state)
{
	struct pair *p = *state;
	struct store_txn *txn = txn_begin(&p->alice.t, true);
	const size_t count = 2 * DEPOT_BATCH_RECORDS + 500;
	struct log_row log;

	for (size_t i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof(name), "n%zu", i);
		struct record *record = entries_begin();
		entries_add(record, device_of(&p->alice), name, WHAT_NOTHING, NULL);
		entries_say(txn, record);
		if (i % 500 == 499) {
			txn_commit(txn);
			txn = txn_begin(&p->alice.t, true);
		}
	}
	txn_commit(txn);
	node_sync(&p->alice);
	struct run *run = run_of(&p->alice, device_of(&p->alice), 0, UINT64_MAX);
	assert_int_equal(run->count, count);
	/* As one who relays has it: but the last and those at the ends of transactions come without a signature. */
	for (size_t i = 0; i + 1 < count; i++)
		run->items[i].is_signed = i + 1 == DEPOT_BATCH_RECORDS;
	assert_int_equal(node_take(&p->bob, device_of(&p->alice), run->items, run->count), (int)count);
	assert_int_equal(p->bob.takings, 1);
	txn = txn_begin(&p->bob.t, false);
	assert_int_equal(log_get(txn, device_of(&p->alice), &log), 0);
	assert_int_equal(log.records, count);
	assert_int_equal(log.tip_seq, count - 1);
	store_abort(txn);
	/* What it tells has these signatures and no others. */
	struct run *told = run_of(&p->bob, device_of(&p->alice), 0, UINT64_MAX);
	assert_int_equal(told->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(told->items[i].is_signed, i + 1 == DEPOT_BATCH_RECORDS || i + 1 == count);
	run_free(told);
	run_free(run);
}

/* ---- heads ---- */

static int find_head(void *visitor, const struct head *head)
{
	struct carrying *c = visitor;

	if (c->count > 0)
		assert_true(id_compare(&c->heads[c->count - 1].device, &head->device) < 0);
	return carry_head(visitor, head);
}

static int compare_devices(const void *a, const void *b)
{
	return id_compare(&((const struct head *)a)->device, &((const struct head *)b)->device);
}

static void heads_are_told_in_order_of_device(void **state)
{
	struct pair *p = *state;
	const struct id none = { { 0 } };
	struct carrying c = { .count = 0 }, rest = { .count = 0 }, every = { .count = 0 };
	struct node others[5];

	write_text(&p->alice, NULL, "a", "a");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	for (size_t i = 0; i < 5; i++) {
		node_make(&others[i], 10 + i);
		write_text(&others[i], NULL, "a", "a");
		node_sync(&others[i]);
		carry_logs(&others[i], &p->bob);
	}
	node_sync(&p->bob);
	assert_int_equal(p->bob.depot->calls->each_head(p->bob.depot->context, &none, find_head, &c), 0);
	assert_int_equal(c.count, 7);
	assert_int_equal(p->bob.depot->calls->log_count(p->bob.depot->context), 7);
	assert_int_equal(p->bob.depot->calls->each_head(p->bob.depot->context, &c.heads[2].device, find_head, &rest), 0);
	assert_int_equal(rest.count, 4);
	assert_true(id_equal(&rest.heads[0].device, &c.heads[3].device));
	assert_int_equal(p->bob.depot->calls->every_head(p->bob.depot->context, carry_head, &every), 0);
	qsort(every.heads, every.count, sizeof(every.heads[0]), compare_devices);
	assert_int_equal(every.count, 7);
	assert_memory_equal(every.heads, c.heads, 7 * sizeof(c.heads[0]));
	for (size_t i = 0; i < 5; i++)
		node_remove(&others[i]);
}

static void the_own_head_is_what_is_durable(void **state)
{
	struct pair *p = *state;
	const struct depot *depot = p->alice.depot;
	struct head head;

	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), -ENOENT);
	write_text(&p->alice, NULL, "a", "1");
	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), -ENOENT);
	node_sync(&p->alice);
	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), 0);
	assert_int_equal(head.seq, 0);
	assert_int_equal(head.records, 1);
	struct id second = write_text(&p->alice, NULL, "a", "2");
	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), 0);
	assert_int_equal(head.seq, 0);
	/* Nor is its record told. */
	struct run *run = run_of(&p->alice, device_of(&p->alice), 0, UINT64_MAX);
	assert_int_equal(run->count, 1);
	run_free(run);
	node_sync(&p->alice);
	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), 0);
	assert_int_equal(head.seq, 1);
	assert_true(id_equal(&head.record, &second));
	run = run_of(&p->alice, device_of(&p->alice), 0, UINT64_MAX);
	assert_int_equal(run->count, 2);
	run_free(run);
	run = run_of(&p->alice, device_of(&p->alice), 1, 1);
	assert_int_equal(run->count, 1);
	assert_int_equal(run->seqs[0], 1);
	run_free(run);
	/* At the start all that the journal has is made durable. */
	write_text(&p->alice, NULL, "a", "3");
	depot_store_free(p->alice.store);
	node_open(&p->alice);
	depot = p->alice.depot;
	assert_int_equal(depot->calls->head(depot->context, device_of(&p->alice), &head), 0);
	assert_int_equal(head.seq, 2);
}

/* ---- lies ---- */

struct chain {
	struct record_item items[16];
	size_t count;
	struct signature broken;
};

static void lie_wrong_prev(struct chain *c, struct run *run, struct run *other)
{
	/* One of the middle stands in for another: the next does not name it. */
	c->items[3] = run->items[2];
}

static void lie_last_signature(struct chain *c, struct run *run, struct run *other)
{
	c->items[c->count - 1].signature.bytes[5] ^= 1;
}

static void lie_last_unsigned(struct chain *c, struct run *run, struct run *other)
{
	c->items[c->count - 1].is_signed = false;
}

static void lie_foreign_voucher(struct chain *c, struct run *run, struct run *other)
{
	c->items[2] = other->items[0];
}

static void lie_all_foreign(struct chain *c, struct run *run, struct run *other)
{
	c->items[0] = other->items[0];
	c->count = 1;
}

static void lie_gap(struct chain *c, struct run *run, struct run *other)
{
	memmove(&c->items[3], &c->items[4], (c->count - 4) * sizeof(c->items[0]));
	c->count--;
}

static void lie_order(struct chain *c, struct run *run, struct run *other)
{
	struct record_item item = c->items[3];
	c->items[3] = c->items[2];
	c->items[2] = item;
}

static void lie_cut_short(struct chain *c, struct run *run, struct run *other)
{
	c->items[2].size--;
}

static void lie_empty(struct chain *c, struct run *run, struct run *other)
{
	c->items[2].size = 0;
}

static void lie_no_beginning(struct chain *c, struct run *run, struct run *other)
{
	memmove(&c->items[0], &c->items[2], (c->count - 2) * sizeof(c->items[0]));
	c->count -= 2;
}

static void truth_twice(struct chain *c, struct run *run, struct run *other)
{
	memmove(&c->items[3], &c->items[2], (c->count - 2) * sizeof(c->items[0]));
	c->count++;
}

static void truth_unsigned(struct chain *c, struct run *run, struct run *other)
{
	for (size_t i = 0; i + 1 < c->count; i++)
		c->items[i].is_signed = false;
}

/* It vouches for nothing: the last one does. */
static void truth_middle_signature(struct chain *c, struct run *run, struct run *other)
{
	c->items[3].signature.bytes[0] ^= 1;
}

static void chains_with_lies(void **state)
{
	static const struct {
		const char *name;
		void (*lie)(struct chain *c, struct run *run, struct run *other);
		int expected;
	} cases[] = {
		{ "a prev that is not the one before", lie_wrong_prev, -EPROTO },
		{ "a wrong last signature", lie_last_signature, -EKEYREJECTED },
		{ "no last signature", lie_last_unsigned, -EPROTO },
		{ "a record of another log", lie_foreign_voucher, -EPROTO },
		{ "another log altogether", lie_all_foreign, -EPROTO },
		{ "a gap", lie_gap, -EPROTO },
		{ "out of order", lie_order, -EPROTO },
		{ "a byte short", lie_cut_short, -EBADMSG },
		{ "no bytes", lie_empty, -EBADMSG },
		{ "the beginning is not here", lie_no_beginning, -EAGAIN },
		{ "one twice", truth_twice, 6 },
		{ "the last one signed alone", truth_unsigned, 6 },
		{ "a wrong signature that nobody needs", truth_middle_signature, 6 },
	};
	struct node alice, eve;

	node_make(&alice, 1);
	node_make(&eve, 9);
	for (int i = 0; i < 6; i++)
		write_text(&alice, NULL, "a", i % 2 ? "one" : "two");
	write_text(&eve, NULL, "a", "evil");
	node_sync(&alice);
	node_sync(&eve);
	struct run *run = run_of(&alice, device_of(&alice), 0, UINT64_MAX);
	struct run *other = run_of(&eve, device_of(&eve), 0, UINT64_MAX);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct chain chain = { .count = run->count };
		struct head head;
		struct node bob;
		node_make(&bob, 2);
		memcpy(chain.items, run->items, run->count * sizeof(run->items[0]));
		cases[i].lie(&chain, run, other);
		int err = node_take(&bob, device_of(&alice), chain.items, chain.count);
		if (err != cases[i].expected)
			fail_msg("%s: %d, not %d", cases[i].name, err, cases[i].expected);
		bool taken = bob.depot->calls->head(bob.depot->context, device_of(&alice), &head) == 0;
		if (taken != (cases[i].expected > 0) || (bob.arrival_count > 0) != taken || (bob.takings > 0) != taken)
			fail_msg("%s: something was taken, or not all", cases[i].name);
		node_remove(&bob);
	}
	run_free(run);
	run_free(other);
	node_remove(&alice);
	node_remove(&eve);
}

/* ---- forks ---- */

/* Alice's key writes on in two folders. */
static void fork_make(struct node *a, struct node *b)
{
	node_make(a, 1);
	write_text(a, NULL, "a", "before");
	write_text(a, NULL, "b", "before");
	memset(b, 0, sizeof(*b));
	test_store_copy(&b->t, &a->t, 77);
	node_open(b);
	write_text(a, NULL, "a", "one way");
	write_text(a, NULL, "c", "one way");
	write_text(b, NULL, "a", "the other way");
	write_text(b, NULL, "b", "the other way");
	write_text(b, NULL, "d", "the other way");
	node_sync(a);
	node_sync(b);
}

static void forked_logs_are_the_same_everywhere(void **state)
{
	struct node a, b, carol, dave, erin;

	fork_make(&a, &b);
	node_make(&carol, 3);
	node_make(&dave, 4);
	node_make(&erin, 5);
	node_follow(&carol, device_of(&a), true);
	node_follow(&dave, device_of(&a), true);
	node_follow(&erin, device_of(&a), true);
	assert_int_equal(carry_log(&a, &carol, device_of(&a)), 4);
	assert_int_equal(carry_log(&b, &carol, device_of(&a)), 3);
	assert_int_equal(carry_log(&b, &dave, device_of(&a)), 5);
	assert_int_equal(carry_log(&a, &dave, device_of(&a)), 2);
	carry_pieces(&a, &carol);
	carry_pieces(&b, &carol);
	carry_pieces(&b, &dave);
	carry_pieces(&a, &dave);
	assert_int_equal(count_missing(&carol), 0);
	assert_same_folder(&carol, &dave, device_of(&a));
	/* From one who has both branches, in one go. */
	assert_int_equal(carry_log(&carol, &erin, device_of(&a)), 7);
	carry_pieces(&carol, &erin);
	assert_same_folder(&carol, &erin, device_of(&a));
	assert_reindex_is_same(&erin);
	node_remove(&a);
	node_remove(&b);
	node_remove(&carol);
	node_remove(&dave);
	node_remove(&erin);
}

static void a_fork_is_told_by_seq_and_id(void **state)
{
	struct node a, b, carol;

	fork_make(&a, &b);
	node_make(&carol, 3);
	carry_log(&a, &carol, device_of(&a));
	carry_log(&b, &carol, device_of(&a));
	struct run *run = run_of(&carol, device_of(&a), 0, UINT64_MAX);
	assert_int_equal(run->count, 7);
	for (size_t i = 1; i < run->count; i++) {
		struct id before, this;
		record_id(&before, run->items[i - 1].bytes, run->items[i - 1].size);
		record_id(&this, run->items[i].bytes, run->items[i].size);
		assert_true(run->seqs[i - 1] < run->seqs[i] ||
			    (run->seqs[i - 1] == run->seqs[i] && id_compare(&before, &this) < 0));
	}
	run_free(run);
	struct run *middle = run_of(&carol, device_of(&a), 2, 2);
	assert_int_equal(middle->count, 2);
	run_free(middle);
	node_remove(&a);
	node_remove(&b);
	node_remove(&carol);
}

/* Who vouches for nothing in a chain is left out: a stranger may have made it. */
static void a_branch_without_a_signature_is_not_taken(void **state)
{
	struct node a, b, carol, dave;
	struct log_row log;

	fork_make(&a, &b);
	node_make(&carol, 3);
	node_make(&dave, 4);
	carry_log(&a, &carol, device_of(&a));
	carry_log(&b, &carol, device_of(&a));
	struct run *run = run_of(&carol, device_of(&a), 0, UINT64_MAX);
	for (size_t i = 0; i + 1 < run->count; i++)
		run->items[i].is_signed = false;
	/* The longer branch alone ends in the signature. */
	assert_int_equal(node_take(&dave, device_of(&a), run->items, run->count), 5);
	struct store_txn *txn = txn_begin(&dave.t, false);
	assert_int_equal(log_get(txn, device_of(&a), &log), 0);
	assert_false(log.forked);
	store_abort(txn);
	run_free(run);
	node_remove(&a);
	node_remove(&b);
	node_remove(&carol);
	node_remove(&dave);
}

static void a_restored_folder_gets_its_own_log_back(void **state)
{
	struct pair *p = *state;
	struct node restored;
	struct head head;

	memset(&restored, 0, sizeof(restored));
	write_text(&p->alice, NULL, "a", "old");
	node_sync(&p->alice);
	test_store_copy(&restored.t, &p->alice.t, 77);
	node_open(&restored);
	write_text(&p->alice, NULL, "a", "new");
	write_text(&p->alice, NULL, "b", "new too");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	carry_pieces(&p->alice, &p->bob);
	assert_int_equal(carry_log(&p->bob, &restored, device_of(&p->alice)), 2);
	assert_int_equal(restored.depot->calls->head(restored.depot->context, device_of(&restored), &head), 0);
	assert_int_equal(head.seq, 2);
	/* And what its versions name. */
	assert_int_equal(carry_pieces(&p->bob, &restored), 2);
	assert_same_folder(&p->alice, &restored, device_of(&p->alice));
	assert_reindex_is_same(&restored);
	/* What it signs next goes on from there. */
	write_text(&restored, NULL, "c", "next");
	node_sync(&restored);
	assert_int_equal(carry_log(&restored, &p->bob, device_of(&p->alice)), 1);
	struct store_txn *txn = txn_begin(&p->bob.t, false);
	struct log_row log;
	assert_int_equal(log_get(txn, device_of(&p->alice), &log), 0);
	assert_false(log.forked);
	store_abort(txn);
	node_remove(&restored);
}

/* ---- who is followed ---- */

static int count_entity(void *visitor, const struct id *entity)
{
	(*(size_t *)visitor)++;
	return 0;
}

static void followed_are_oneself_and_subscriptions(void **state)
{
	struct pair *p = *state;
	const struct depot *depot = p->bob.depot;
	struct id alice = *device_of(&p->alice), other = { { 1 } };
	size_t count = 0;

	assert_true(depot->calls->follows(depot->context, device_of(&p->bob)));
	assert_true(depot->calls->follows(depot->context, &alice));
	assert_false(depot->calls->follows(depot->context, &other));
	assert_int_equal(depot->calls->follow_count(depot->context), 2);
	assert_int_equal(depot->calls->each_followed(depot->context, count_entity, &count), 0);
	assert_int_equal(count, 2);
	node_follow(&p->bob, &other, true);
	assert_true(depot->calls->follows(depot->context, &other));
	node_follow(&p->bob, &alice, false);
	assert_false(depot->calls->follows(depot->context, &alice));
	assert_int_equal(depot->calls->follow_count(depot->context), 2);
}

static void authors_of_a_document(void **state)
{
	struct pair *p = *state;
	const struct depot *depot = p->bob.depot;
	size_t count = 0;

	struct id document = write_text(&p->alice, NULL, "a", "1");
	write_next(&p->alice, &document, &document, "a", "2");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_int_equal(depot->calls->each_author(depot->context, &document, count_entity, &count), 0);
	assert_int_equal(count, 1);
	write_next(&p->bob, &document, &document, "a", "bob's");
	count = 0;
	assert_int_equal(depot->calls->each_author(depot->context, &document, count_entity, &count), 0);
	assert_int_equal(count, 2);
	count = 0;
	assert_int_equal(depot->calls->each_author(depot->context, device_of(&p->bob), count_entity, &count), 0);
	assert_int_equal(count, 0);
}

/* A document is followed: pieces of its versions are asked for, whoever made them, and no others. */
static void documents_followed(void **state)
{
	struct pair *p = *state;
	const struct depot *depot = p->bob.depot;
	struct depot_piece pieces[8];
	uint64_t cursor = 0;
	size_t count = 0;

	struct id document = write_text(&p->alice, NULL, "a", "followed");
	write_text(&p->alice, NULL, "b", "not followed");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	node_follow(&p->bob, device_of(&p->alice), false);
	assert_int_equal(depot->calls->missing(depot->context, &cursor, pieces, 8), 0);
	assert_int_equal(depot->calls->each_document(depot->context, count_entity, &count), 0);
	assert_int_equal(count, 0);
	node_follow(&p->bob, &document, true);
	assert_int_equal(depot->calls->each_document(depot->context, count_entity, &count), 0);
	assert_int_equal(count, 1);
	assert_false(depot->calls->follows(depot->context, &document)); /* that is no entity */
	cursor = 0;
	assert_int_equal(depot->calls->missing(depot->context, &cursor, pieces, 8), 1);
	node_follow(&p->bob, &document, false);
	cursor = 0;
	assert_int_equal(depot->calls->missing(depot->context, &cursor, pieces, 8), 0);
}

/* ---- pieces ---- */

static void pieces_that_are_not_what_they_say(void **state)
{
	struct pair *p = *state;
	uint8_t *member = malloc(PIECE_STORED_MAX), *huge = calloc(1, 2 * PIECE_TEXT_MAX), *big = malloc(PIECE_STORED_MAX);
	const char text[] = "some text of a piece";
	static const char *const names[] = { "right", "another's bytes", "not gzip", "a bit flipped", "cut short", "none",
					     "more than a piece may hold", "right, without its name", "bytes after it" };
	struct piece_item items[9];
	int results[9], expected[9] = { 0, -EBADMSG, -EBADMSG, -EBADMSG, -EBADMSG, -EBADMSG, -EBADMSG, 0, -EBADMSG };
	uint8_t copies[9][256];

	ssize_t size = piece_deflate(p->alice.t.packer, (const uint8_t *)text, sizeof(text), member);
	assert_in_range(size, 20, 200);
	for (size_t i = 0; i < 9; i++) {
		memcpy(copies[i], member, (size_t)size);
		items[i] = (struct piece_item){ .bytes = copies[i], .size = (size_t)size };
	}
	memcpy(copies[2], "this is no gzip member, is it", 30);
	copies[3][size - 12] ^= 1;
	items[4].size--;
	items[5].size = 0;
	/* Two times what fits, by another's compressor: the head of the encoder's own, and zeroes that go on and on. */
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
	size_t huge_size = libdeflate_gzip_compress(compressor, huge, 2 * PIECE_TEXT_MAX, big, PIECE_STORED_MAX);
	libdeflate_free_compressor(compressor);
	memcpy(big, member, 10);
	items[6] = (struct piece_item){ .bytes = big, .size = huge_size };
	copies[7][0] = member[0];
	copies[8][size] = 0;
	items[8].size++;
	for (size_t i = 0; i < 9; i++)
		id_of_bytes(&items[i].name, items[i].bytes, items[i].size);
	items[1].name.bytes[0] ^= 1;
	items[7].name = (struct id){ { 0 } };
	assert_int_equal(p->bob.depot->calls->take_pieces(p->bob.depot->context, items, 9, results), 0);
	for (size_t i = 0; i < 9; i++) {
		if (results[i] != expected[i])
			fail_msg("%s: %d, not %d", names[i], results[i], expected[i]);
		assert_int_equal(p->bob.depot->calls->has_piece(p->bob.depot->context, &items[i].name),
				 results[i] == 0 && i != 7);
	}
	assert_int_equal(p->bob.depot->calls->read_piece(p->bob.depot->context, &items[0].name, big, PIECE_STORED_MAX), size);
	assert_memory_equal(big, member, (size_t)size);
	assert_int_equal(p->bob.depot->calls->read_piece(p->bob.depot->context, &items[3].name, big, PIECE_STORED_MAX), -ENOENT);
	free(member);
	free(huge);
	free(big);
}

static void heads_are_missing_before_the_rest(void **state)
{
	struct pair *p = *state;
	struct depot_piece pieces[64];
	uint64_t cursor = 0, numbers[6];
	struct id versions[6];

	/* a1 b1 a2 c1 a3 d1: those that nothing descends from first, newest first. */
	versions[0] = write_text(&p->alice, NULL, "a", "a1");
	versions[1] = write_text(&p->alice, NULL, "b", "b1");
	versions[2] = write_next(&p->alice, &versions[0], &versions[0], "a", "a2");
	versions[3] = write_text(&p->alice, NULL, "c", "c1");
	versions[4] = write_next(&p->alice, &versions[0], &versions[2], "a", "a3");
	versions[5] = write_text(&p->alice, NULL, "d", "d1");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	struct store_txn *txn = txn_begin(&p->bob.t, false);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(store_number(txn, NUMBER_RECORD, &versions[i], &numbers[i]), 0);
	store_abort(txn);
	static const size_t order[] = { 5, 4, 3, 1, 2, 0 };
	for (size_t i = 0; i < 6; i += 2) { /* two at a time */
		assert_int_equal(p->bob.depot->calls->missing(p->bob.depot->context, &cursor, pieces, 2), 2);
		assert_int_equal(pieces[0].version, numbers[order[i]]);
		assert_int_equal(pieces[1].version, numbers[order[i + 1]]);
	}
	assert_int_equal(p->bob.depot->calls->missing(p->bob.depot->context, &cursor, pieces, 2), 0);
	assert_int_equal(p->bob.depot->calls->missing_of(p->bob.depot->context, &versions[2], pieces, 64), 1);
	assert_int_equal(pieces[0].version, numbers[2]);
	assert_int_equal(p->bob.depot->calls->missing_of(p->bob.depot->context, device_of(&p->bob), pieces, 64), -ENOENT);
	/* Of whom nobody follows nothing is missing. */
	node_follow(&p->bob, device_of(&p->alice), false);
	assert_int_equal(count_missing(&p->bob), 0);
	assert_int_equal(p->bob.depot->calls->missing_of(p->bob.depot->context, &versions[2], pieces, 64), 1);
}

static void pieces_to_send_along(void **state)
{
	struct pair *p = *state;
	const struct depot *depot = p->alice.depot;
	char *text = noise(3, 200000);
	struct id names[64];

	struct id document = write_text(&p->alice, NULL, "long", text);
	text[100000] = text[100000] == 'x' ? 'y' : 'x';
	write_next(&p->alice, &document, &document, "long", text);
	node_sync(&p->alice);
	struct run *run = run_of(&p->alice, device_of(&p->alice), 0, UINT64_MAX);
	assert_int_equal(run->count, 2);
	ssize_t all = depot->calls->pieces_of(depot->context, &run->items[0], names, 64, SIZE_MAX);
	assert_in_range(all, 5, 50);
	/* Of the next those alone that the one before it has not. */
	ssize_t few = depot->calls->pieces_of(depot->context, &run->items[1], names, 64, SIZE_MAX);
	assert_in_range(few, 1, 3);
	assert_int_equal(depot->calls->pieces_of(depot->context, &run->items[0], names, 2, SIZE_MAX), 2);
	assert_int_equal(depot->calls->pieces_of(depot->context, &run->items[0], names, 64, 1000), 0);
	run_free(run);
	free(text);
}

/* ---- memory ---- */

struct memories {
	char text[256];
};

static int note_memory(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct memories *m = visitor;
	size_t at = strlen(m->text);

	snprintf(m->text + at, sizeof(m->text) - at, "%.*s=%.*s ", (int)key_size, (const char *)key, (int)value_size,
		 (const char *)value);
	return 0;
}

static void what_is_remembered_stays(void **state)
{
	struct pair *p = *state;

	for (int round = 0; round < 2; round++) {
		const struct depot *depot = p->bob.depot;
		struct memories m = { "" };
		if (round == 0) {
			assert_int_equal(depot->calls->remember(depot->context, "peer.b", 6, "1", 1), 0);
			assert_int_equal(depot->calls->remember(depot->context, "peer.a", 6, "2", 1), 0);
			assert_int_equal(depot->calls->remember(depot->context, "peer.c", 6, "3", 1), 0);
			assert_int_equal(depot->calls->remember(depot->context, "receipt", 7, "4", 1), 0);
			assert_int_equal(depot->calls->remember(depot->context, "peer.c", 6, "", 0), 0);
			assert_int_equal(depot->calls->remember(depot->context, "peer.a", 6, "5", 1), 0);
		}
		assert_int_equal(depot->calls->each_memory(depot->context, "peer", 4, note_memory, &m), 0);
		assert_string_equal(m.text, "peer.a=5 peer.b=1 ");
		assert_reindex_is_same(&p->bob);
	}
}
int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(a_followers_folder_is_the_same),
		WITH_PAIR(an_index_made_again_is_the_same_at_every_step),
		WITH_PAIR(three_hand_on_what_they_have),
		WITH_PAIR(many_records_take_several_transactions),
		WITH_PAIR(heads_are_told_in_order_of_device),
		WITH_PAIR(the_own_head_is_what_is_durable),
		cmocka_unit_test(chains_with_lies),
		cmocka_unit_test(forked_logs_are_the_same_everywhere),
		cmocka_unit_test(a_fork_is_told_by_seq_and_id),
		cmocka_unit_test(a_branch_without_a_signature_is_not_taken),
		WITH_PAIR(a_restored_folder_gets_its_own_log_back),
		WITH_PAIR(followed_are_oneself_and_subscriptions),
		WITH_PAIR(authors_of_a_document),
		WITH_PAIR(documents_followed),
		WITH_PAIR(pieces_that_are_not_what_they_say),
		WITH_PAIR(heads_are_missing_before_the_rest),
		WITH_PAIR(pieces_to_send_along),
		WITH_PAIR(what_is_remembered_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
