/* What is journalled and not yet indexed: found at once, indexed by the next transaction, replayed after a kill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cbor.h"
#include "store_bench.h"

#define KEY "key of the fact"

static int keep(struct test_store *t, struct store_batch *batch, const char *value)
{
	const struct local_fact fact = { LOCAL_CONFIG, KEY, strlen(KEY), value, strlen(value) };

	return store_keep_later(t->store, batch, &fact, 1);
}

/* A text of some pieces, kept with a fact. */
static void keep_text(struct test_store *t, const char *text, size_t size, struct content *out)
{
	struct store_batch *batch = store_batch_new(t->store);
	struct piece_store pieces = store_batch_pieces(batch);
	struct packer *packer = packer_new();

	assert_int_equal(content_write_bytes(packer, &pieces, text, size, out), 0);
	assert_int_equal(keep(t, batch, "value"), 0);
	store_batch_free(batch);
	packer_free(packer);
}

static void assert_readable(struct test_store *t, const struct content *content, const char *text)
{
	uint8_t buffer[65536];

	assert_int_equal(content_read(store_piece_cache(t->store), store_pieces(t->store), content, buffer,
				      sizeof(buffer), 0), (ssize_t)content->size);
	assert_memory_equal(buffer, text, content->size);
}

static int has_piece(struct test_store *t, const struct content *content)
{
	struct store_txn *txn = txn_begin(t, false);
	int has = 0;

	for (size_t i = 0; i < content->count; i++)
		has += store_has_piece(txn, &content->pieces[i].name);
	store_abort(txn);
	return has;
}

static void assert_kept(struct test_store *t, const char *expected)
{
	struct store_txn *txn = txn_begin(t, false);
	const uint8_t *value;
	size_t size;

	int err = store_local_get(txn, LOCAL_CONFIG, KEY, strlen(KEY), &value, &size);
	assert_int_equal(err, expected ? 0 : -ENOENT);
	if (expected) {
		assert_int_equal(size, strlen(expected));
		assert_memory_equal(value, expected, size);
	}
	store_abort(txn);
}

static const char some_text[40000] = "Sow in March, plant out in May.";

static void test_the_next_transaction_indexes_it(void **state)
{
	struct test_store *t = *state;
	struct content content;

	keep_text(t, some_text, sizeof(some_text), &content);
	assert_int_equal(has_piece(t, &content), 0);
	assert_readable(t, &content, some_text);
	assert_kept(t, NULL);

	struct store_txn *txn = txn_begin(t, true);
	store_abort(txn); /* undone with it, and still to come */
	assert_int_equal(has_piece(t, &content), 0);
	assert_readable(t, &content, some_text);

	txn_commit(txn_begin(t, true));
	assert_int_equal(has_piece(t, &content), content.count);
	assert_readable(t, &content, some_text);
	assert_kept(t, "value");
}

static void test_a_transaction_may_change_it_again(void **state)
{
	struct test_store *t = *state;

	assert_int_equal(keep(t, NULL, "first"), 0);
	assert_int_equal(keep(t, NULL, "second"), 0);
	assert_int_equal(put_fact(t, KEY, "third"), 0);
	assert_kept(t, "third");
	assert_int_equal(keep(t, NULL, "fourth"), 0);
	reopen(t, true);
	assert_kept(t, "fourth");
}

static void test_a_kill_or_a_stop_loses_none_of_it(void **state)
{
	struct test_store *t = *state;
	struct content content;

	for (int how = 0; how < 3; how++) {
		char text[5000];
		memset(text, 'a' + how, sizeof(text));
		keep_text(t, text, sizeof(text), &content);
		assert_int_equal(has_piece(t, &content), 0);
		if (how == 0)
			kill_and_start(t);
		else
			reopen(t, how == 1);
		assert_int_equal(has_piece(t, &content), content.count);
		assert_readable(t, &content, text);
		assert_kept(t, "value");
	}
}

static void test_equal_text_is_found_before_it_is_indexed(void **state)
{
	struct test_store *t = *state;
	struct content first, second;
	struct journal_stats before, after;

	keep_text(t, some_text, sizeof(some_text), &first);
	journal_stats(store_journal(t->store), &before);
	keep_text(t, some_text, sizeof(some_text), &second);
	journal_stats(store_journal(t->store), &after);
	assert_memory_equal(&first.pieces[0].name, &second.pieces[0].name, ID_SIZE);
	assert_true(after.bytes - before.bytes < 200); /* the fact alone */
}

static void test_what_waits_is_bounded(void **state)
{
	struct test_store *t = *state;
	char value[20];

	for (int i = 0; i < 1000; i++) {
		snprintf(value, sizeof(value), "value %d", i);
		assert_int_equal(keep(t, NULL, value), 0);
		if (i == 0)
			assert_kept(t, NULL);
	}
	struct store_txn *txn = txn_begin(t, false);
	const uint8_t *indexed;
	size_t size;
	assert_int_equal(store_local_get(txn, LOCAL_CONFIG, KEY, strlen(KEY), &indexed, &size), 0);
	store_abort(txn);
	txn_commit(txn_begin(t, true));
	assert_kept(t, "value 999");
}

/* However many there are and however small, a transaction takes them. */
static void test_a_batch_of_many_small_pieces(void **state)
{
	struct test_store *t = *state;
	struct store_batch *batch = store_batch_new(t->store);
	struct piece_store pieces = store_batch_pieces(batch);
	struct packer *packer = packer_new();
	uint8_t *member = malloc(PIECE_STORED_MAX);

	for (uint32_t i = 0; i < 5000; i++) {
		struct piece_ref ref = { .text_size = sizeof(i) }, kept;
		struct id text_id;
		id_of_bytes(&text_id, &i, sizeof(i));
		ref.stored_size = (uint32_t)piece_deflate(packer, (const uint8_t *)&i, sizeof(i), member);
		id_of_bytes(&ref.name, member, ref.stored_size);
		assert_int_equal(pieces.put(pieces.context, &text_id, &ref, member, &kept), 0);
	}
	assert_int_equal(keep(t, batch, "value"), 0);
	store_batch_free(batch);
	packer_free(packer);
	free(member);
	txn_commit(txn_begin(t, true));
	assert_kept(t, "value");
}

static void test_a_failing_disk_leaves_nothing_behind(void **state)
{
	struct test_store *t = *state;

	assert_int_equal(keep(t, NULL, "before"), 0);
	arm(CALL_WRITE, 1, true, ENOSPC);
	assert_int_equal(keep(t, NULL, "full"), -ENOSPC);
	arm(0, 0, false, 0);
	assert_int_equal(put_fact(t, "another", "x"), 0);
	assert_kept(t, "before");
	reopen(t, true);
	assert_kept(t, "before");
}

static void test_gc_sees_it(void **state)
{
	struct test_store *t = *state;
	struct content content;
	struct gc_report report;
	struct bytes fact;

	/* A text that only a fact of the desk names, as a draft is. */
	struct store_batch *batch = store_batch_new(t->store);
	struct piece_store pieces = store_batch_pieces(batch);
	struct packer *packer = packer_new();
	assert_int_equal(content_write_bytes(packer, &pieces, some_text, sizeof(some_text), &content), 0);
	bytes_init(&fact, 65536);
	cbor_put_array(&fact, 7);
	for (int i = 0; i < 3; i++)
		cbor_put_uint(&fact, i < 2);
	cbor_put_bytes(&fact, "", 0);
	cbor_put_array(&fact, 0);
	cbor_put_array(&fact, 0);
	cbor_put_array(&fact, 1);
	cbor_put_array(&fact, 5);
	record_put_content(&fact, &content);
	cbor_put_uint(&fact, MODE_FILE);
	cbor_put_uint(&fact, 1);
	cbor_put_bytes(&fact, "", 0);
	cbor_put_bytes(&fact, "", 0);
	uint8_t key[ID_SIZE + 1] = { 1, [ID_SIZE] = 'x' };
	const struct local_fact pending = { LOCAL_PENDING, key, sizeof(key), fact.data, fact.size };
	assert_int_equal(store_keep_later(t->store, batch, &pending, 1), 0);
	bytes_finish(&fact);
	store_batch_free(batch);
	packer_free(packer);

	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_readable(t, &content, some_text);
	reopen(t, true);
	assert_readable(t, &content, some_text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_next_transaction_indexes_it),
		T(test_a_transaction_may_change_it_again),
		T(test_a_kill_or_a_stop_loses_none_of_it),
		T(test_equal_text_is_found_before_it_is_indexed),
		T(test_what_waits_is_bounded),
		T(test_a_batch_of_many_small_pieces),
		T(test_a_failing_disk_leaves_nothing_behind),
		T(test_gc_sees_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
