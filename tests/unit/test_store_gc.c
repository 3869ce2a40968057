/* Pieces in a store, and giving back the room of what is dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "store_bench.h"

/* ---- pieces ---- */

static void random_text(char *text, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + chance_next(&seed) % 26);
}

static void write_text(struct test_store *t, const char *text, size_t size, struct content *out)
{
	struct store_txn *txn = txn_begin(t, true);
	const struct piece_store pieces = store_txn_pieces(txn);

	assert_int_equal(content_write_bytes(t->packer, &pieces, text, size, out), 0);
	txn_commit(txn);
}

static void assert_reads(struct test_store *t, const struct content *content, const char *text, size_t size)
{
	char *got = malloc(size + 1);
	/* A cache of its own: what comes from the disk is looked at. */
	struct piece_cache *cache = piece_cache_new(PIECE_TEXT_MAX);

	assert_int_equal(content_read(cache, store_pieces(t->store), content, (uint8_t *)got, size + 1, 0), (ssize_t)size);
	assert_memory_equal(got, text, size);
	piece_cache_free(cache);
	free(got);
}

static uint64_t count_pieces(struct test_store *t)
{
	struct store_counts counts;

	assert_int_equal(store_counts(t->store, &counts), 0);
	return counts.pieces;
}

static void test_equal_texts_are_kept_once(void **state)
{
	enum { SIZE = 100000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(2, sizeof(*content));
	struct store_counts before, after;

	random_text(text, SIZE, 1);
	write_text(t, text, SIZE, &content[0]);
	uint64_t pieces = count_pieces(t);
	assert_int_equal(store_counts(t->store, &before), 0);
	write_text(t, text, SIZE, &content[1]);
	assert_int_equal(store_counts(t->store, &after), 0);
	assert_int_equal(after.pieces, pieces);
	assert_int_equal(after.journal_bytes, before.journal_bytes);
	assert_memory_equal(&content[0].pieces, &content[1].pieces, content[0].count * sizeof(struct piece_ref));
	/* In a batch too, whether kept before or waiting in it. */
	struct store_batch *batch = store_batch_new(t->store);
	const struct piece_store waiting = store_batch_pieces(batch);
	random_text(text + SIZE / 2, SIZE / 2, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(content_write_bytes(t->packer, &waiting, text, SIZE, &content[i]), 0);
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_true(count_pieces(t) > pieces && count_pieces(t) < 2 * pieces);
	assert_reads(t, &content[1], text, SIZE);
	/* The store itself takes none. */
	assert_int_equal(content_write_bytes(t->packer, store_pieces(t->store), "x", 1, &content[0]), -EPERM);
	free(content);
	free(text);
}

static void test_large_batch_is_kept_as_it_grows(void **state)
{
	enum { SIZE = 3000000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));

	random_text(text, SIZE, 3);
	struct store_batch *batch = store_batch_new(t->store);
	const struct piece_store pieces = store_batch_pieces(batch);
	assert_int_equal(content_write_bytes(t->packer, &pieces, text, SIZE, content), 0);
	assert_true(count_pieces(t) > 20);
	/* A transaction that fails takes nothing out of it. */
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	arm(CALL_WRITE, 1, false, ENOSPC);
	assert_int_equal(store_commit(txn), -ENOSPC);
	arm(0, 0, false, 0);
	txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_reads(t, content, text, SIZE);
	reopen(t, true);
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

static void test_batch_on_a_full_disk(void **state)
{
	enum { SIZE = 2000000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));
	int err = -1;

	random_text(text, SIZE, 4);
	for (int n = 1; err < 0; n++) {
		struct store_batch *batch = store_batch_new(t->store);
		const struct piece_store pieces = store_batch_pieces(batch);
		arm(CALL_WRITE | CALL_COMMIT, n, false, ENOSPC);
		err = content_write_bytes(t->packer, &pieces, text, SIZE, content);
		assert_int_equal(err, faults.failed ? -ENOSPC : 0);
		arm(0, 0, false, 0);
		if (err == 0) {
			struct store_txn *txn = txn_begin(t, true);
			assert_int_equal(store_batch_finish(batch, txn), 0);
			txn_commit(txn);
		}
		store_batch_free(batch);
	}
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

static void test_foreign_pieces(void **state)
{
	struct test_store *t = *state;
	uint8_t member[PIECE_STORED_MAX + 1] = { 0 }, got[PIECE_STORED_MAX];
	struct store_txn *txn = txn_begin(t, true);
	struct id name;

	ssize_t size = piece_deflate(t->packer, (const uint8_t *)"a piece", 7, member);
	assert_true(size > 0);
	const struct {
		const char *name;
		size_t size, flip; /* which byte is changed; SIZE_MAX: none */
		int expected;
	} cases[] = {
		{ "nothing", 0, SIZE_MAX, -EBADMSG },
		{ "a byte short", (size_t)size - 1, SIZE_MAX, -EBADMSG },
		{ "a byte more", (size_t)size + 1, SIZE_MAX, -EBADMSG },
		{ "another magic", (size_t)size, 0, -EBADMSG },
		{ "another checksum", (size_t)size, (size_t)size - 8, -EBADMSG },
		{ "whole", (size_t)size, SIZE_MAX, 0 },
		{ "once more", (size_t)size, SIZE_MAX, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].flip != SIZE_MAX)
			member[cases[i].flip] ^= 1;
		int err = store_accept_piece(txn, member, cases[i].size);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		if (cases[i].flip != SIZE_MAX)
			member[cases[i].flip] ^= 1;
	}
	txn_commit(txn);
	assert_int_equal(count_pieces(t), 1);
	id_of_bytes(&name, member, (size_t)size);
	assert_int_equal(store_read_piece(t->store, &name, got, sizeof(got)), size);
	assert_memory_equal(got, member, (size_t)size);
	assert_int_equal(store_read_piece(t->store, &name, got, (size_t)size - 1), -EMSGSIZE);
	name.bytes[0] ^= 1;
	assert_int_equal(store_read_piece(t->store, &name, got, sizeof(got)), -ENOENT);
}

static void test_dropped_pieces_stay_dropped(void **state)
{
	struct test_store *t = *state;
	struct content *content = calloc(2, sizeof(*content));
	struct gc_report report;
	uint8_t got[PIECE_STORED_MAX];

	write_text(t, "to be dropped", 13, &content[0]);
	write_text(t, "to be kept", 10, &content[1]);
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_drop_piece(txn, &content[0].pieces[0].name), 0);
	assert_false(store_has_piece(txn, &content[0].pieces[0].name));
	assert_int_equal(store_drop_piece(txn, &content[0].pieces[0].name), 0);
	txn_commit(txn);
	for (int round = 0; round < 4; round++) {
		assert_int_equal(store_read_piece(t->store, &content[0].pieces[0].name, got, sizeof(got)), -ENOENT);
		assert_reads(t, &content[1], "to be kept", 10);
		if (round == 1) {
			assert_int_equal(journal_rotate(store_journal(t->store)), 0);
			assert_int_equal(store_gc(t->store, false, &report), 0);
		}
		reopen(t, true);
	}
	/* Kept again it is there again, also after a rebuild. */
	write_text(t, "to be dropped", 13, &content[0]);
	assert_reads(t, &content[0], "to be dropped", 13);
	reopen(t, true);
	assert_reads(t, &content[0], "to be dropped", 13);
	free(content);
}

/* ---- giving back room ---- */

/* Segments of facts overwritten and forgotten, beside versions that stay. */
static void fill_for_gc(struct test_store *t)
{
	char key[20], value[20];

	fill(t, 10);
	assert_int_equal(put_fact(t, "forgotten", "must not come back"), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "stays %d", i);
		assert_int_equal(put_fact(t, key, "forever"), 0);
	}
	for (int segment = 0; segment < 3; segment++) {
		assert_int_equal(journal_rotate(store_journal(t->store)), 0);
		for (int i = 0; i < 50; i++) {
			snprintf(value, sizeof(value), "%d.%d", segment, i);
			assert_int_equal(put_fact(t, "overwritten", value), 0);
		}
		assert_int_equal(put_fact(t, "forgotten", ""), 0);
	}
	assert_int_equal(journal_rotate(store_journal(t->store)), 0);
}

static void check_after_gc(struct test_store *t)
{
	struct store_txn *txn = txn_begin(t, false);
	struct id root = t->key.public;
	struct tree_item item;
	uint64_t count;

	assert_int_equal(tree_lookup(txn, &root, &root, "guides", &item), 0);
	struct id directory = item.id;
	assert_int_equal(document_count(txn, &root, &directory, "soil.md", &count), 0);
	assert_int_equal(count, 10);
	assert_int_equal(tree_lookup(txn, &root, &directory, "soil.md", &item), 0);
	struct version *v = malloc(sizeof(*v));
	assert_int_equal(document_version(txn, &item.id, v), 0);
	store_abort(txn);
	assert_reads(t, &v->content, "version 9\n", 10);
	free(v);
	assert_fact(t, "overwritten", "2.49");
	assert_fact(t, "forgotten", NULL);
	assert_fact(t, "stays 19", "forever");
	assert_fact(t, "quota", "10");
}

static void test_gc(void **state)
{
	struct test_store *t = *state;
	struct gc_report report;
	struct store_counts before, after;

	fill_for_gc(t);
	assert_int_equal(store_counts(t->store, &before), 0);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	/* The first is mostly alive. */
	assert_int_equal(report.segments_rewritten, 3);
	assert_int_equal(store_counts(t->store, &after), 0);
	assert_int_equal(before.journal_bytes - after.journal_bytes, report.bytes_freed);
	check_after_gc(t);
	kill_and_start(t);
	check_after_gc(t);
	reopen(t, true);
	check_after_gc(t);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	assert_int_equal(report.segments_rewritten, 0);

	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_true(report.bytes_freed > 0);
	check_after_gc(t);
	reopen(t, true);
	check_after_gc(t);
	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_int_equal(report.bytes_freed, 0);
}

static void test_gc_of_all_drops_what_nothing_names(void **state)
{
	enum { SIZE = 50000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));
	struct gc_report report;
	uint8_t got[PIECE_STORED_MAX];

	fill_for_gc(t);
	random_text(text, SIZE, 5);
	write_text(t, text, SIZE, content);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	assert_reads(t, content, text, SIZE);
	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_int_equal(store_read_piece(t->store, &content->pieces[0].name, got, sizeof(got)), -ENOENT);
	check_after_gc(t);
	reopen(t, true);
	assert_int_equal(store_read_piece(t->store, &content->pieces[0].name, got, sizeof(got)), -ENOENT);
	check_after_gc(t);
	/* It may come again. */
	write_text(t, text, SIZE, content);
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

/* Whatever fails in it, and wherever it is killed, nothing is lost. */
static void test_gc_with_faults(void **state)
{
	struct test_store *t = *state;
	struct gc_report report;
	int turn = 0, well = 0;

	for (int n = 1; well < 2; n += turn++ % 2) {
		fill_for_gc(t);
		arm(CALL_WRITE | CALL_SYNC | CALL_COMMIT | CALL_PUT | CALL_RENAME, n, false, ENOSPC);
		int err = store_gc(t->store, turn % 2, &report);
		well = err < 0 ? 0 : well + 1;
		if (err < 0)
			assert_true(faults.failed);
		arm(0, 0, false, 0);
		if (n % 4) { /* it works again, and what was moved is found */
			assert_int_equal(put_fact(t, "after", "works"), 0);
			check_after_gc(t);
			assert_int_equal(store_gc(t->store, true, &report), 0);
			check_after_gc(t);
		}
		if (n % 2)
			kill_and_start(t);
		else
			reopen(t, false);
		check_after_gc(t);
		assert_int_equal(put_fact(t, "after", "works"), 0);
		assert_int_equal(store_gc(t->store, true, &report), 0);
		reopen(t, true);
		check_after_gc(t);
		assert_int_equal(store_close(t->store), 0);
		nftw(t->path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
		assert_int_equal(mkdir(t->path, 0700), 0);
		test_store_start(t, false);
		use_faults(t->store);
	}
}

struct reader {
	struct test_store *t;
	const struct content *content;
	const char *text;
	size_t size;
	bool stop; /* atomic */
	int errors, reads;
};

static void *read_on(void *context)
{
	struct reader *r = context;
	char *got = malloc(r->size);

	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		struct piece_cache *cache = piece_cache_new(PIECE_TEXT_MAX);
		ssize_t size = content_read(cache, store_pieces(r->t->store), r->content, (uint8_t *)got, r->size, 0);
		r->errors += size != (ssize_t)r->size || memcmp(got, r->text, r->size) != 0;
		r->reads++;
		piece_cache_free(cache);
	}
	free(got);
	return NULL;
}

static void test_readers_notice_nothing_of_gc(void **state)
{
	enum { SIZE = 200000, ROUNDS = 20 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct reader r = { .t = t, .text = text, .size = SIZE };
	struct content *content = calloc(1, sizeof(*content));
	struct gc_report report;
	pthread_t thread;

	/* Behind facts that die, so that each round moves the pieces. */
	random_text(text, SIZE, 6);
	for (int i = 0; i < ROUNDS; i++) {
		char key[20];
		snprintf(key, sizeof(key), "dying %d", i);
		assert_int_equal(put_fact(t, key, "a value of some length"), 0);
	}
	write_text(t, text, SIZE, content);
	assert_int_equal(journal_rotate(store_journal(t->store)), 0);
	r.content = content;
	/* A batch is alive: nothing may take the pieces for unneeded. */
	struct store_batch *batch = store_batch_new(t->store);
	assert_int_equal(pthread_create(&thread, NULL, read_on, &r), 0);
	for (int i = 0; i < ROUNDS; i++) {
		char key[20];
		snprintf(key, sizeof(key), "dying %d", i);
		assert_int_equal(put_fact(t, key, ""), 0);
		assert_int_equal(store_gc(t->store, true, &report), 0);
		assert_true(report.segments_rewritten > 0);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_true(r.reads > 0);
	assert_int_equal(r.errors, 0);
	store_batch_free(batch);
	free(content);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_equal_texts_are_kept_once),
		T(test_large_batch_is_kept_as_it_grows),
		T(test_batch_on_a_full_disk),
		T(test_foreign_pieces),
		T(test_dropped_pieces_stay_dropped),
		T(test_gc),
		T(test_gc_of_all_drops_what_nothing_names),
		T(test_gc_with_faults),
		T(test_readers_notice_nothing_of_gc),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
