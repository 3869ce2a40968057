/* test_replay.c - an index built anew from a journal of some size is the one that grew with it, whatever stops the building. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "store_bench.h"

#define DOCUMENTS 3000
#define ROUND 500 /* documents in a transaction */

static void dump(struct test_store *t, struct bytes *out)
{
	struct store_txn *txn = txn_begin(t, false);
	struct index_range range;
	int more = 0;

	bytes_init(out, 1u << 28);
	for (int table = TABLE_META + 1; table < TABLE_COUNT; table++) {
		bytes_put_u32(out, (uint32_t)table);
		int err = index_range_open(&range, store_index(txn), (enum table)table, NULL, 0);
		while (err == 0 && (more = index_range_next(&range)) > 0) {
			bytes_put_u32(out, (uint32_t)range.key_size);
			bytes_put(out, range.key, range.key_size);
			bytes_put_u32(out, (uint32_t)range.value_size);
			bytes_put(out, range.value, range.value_size);
		}
		index_range_close(&range);
		assert_int_equal(err < 0 ? err : more, 0);
	}
	assert_int_equal(bytes_error(out), 0);
	store_abort(txn);
}

static void assert_dump(struct test_store *t, const struct bytes *expected)
{
	struct bytes now;

	dump(t, &now);
	assert_int_equal(now.size, expected->size);
	assert_memory_equal(now.data, expected->data, now.size);
	bytes_finish(&now);
}

/* Names in no order, in two folders; of every third document a second version, of some a third. */
static void make_documents(struct test_store *t)
{
	static struct id ids[DOCUMENTS];
	struct id root = t->key.public, directory;
	struct store_txn *txn = txn_begin(t, true);
	char name[32], text[64];

	say_profile(txn, NULL, "alice");
	say_directory(txn, &root, "guides", &directory);
	for (unsigned i = 0; i < 2 * DOCUMENTS; i++) {
		unsigned document = i < DOCUMENTS ? i : (i * 7 + 3) % DOCUMENTS;
		struct save save = { .directory = document % 5 ? root : directory, .name = name, .text = text };
		if (i >= DOCUMENTS && document % 3)
			continue;
		if (i % ROUND == 0) {
			txn_commit(txn);
			t->time_ms += 1000;
			txn = txn_begin(t, true);
		}
		snprintf(name, sizeof(name), "%04x.md", document * 40503u & 0xffff);
		snprintf(text, sizeof(text), "version %u\n", i % 97 ? i : 0);
		if (i >= DOCUMENTS)
			save.document = save.parent = ids[document];
		struct id id = say_version(t, txn, &save);
		if (i < DOCUMENTS)
			ids[document] = id;
	}
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "quota", 5, "10", 2), 0);
	txn_commit(txn);
}

static void test_built_anew_it_is_the_same(void **state)
{
	struct test_store *t = *state;
	struct bytes rows;

	make_documents(t);
	dump(t, &rows);
	reopen(t, true);
	assert_dump(t, &rows);
	/* What comes after is as if nothing had been. */
	fill(t, 5);
	bytes_finish(&rows);
	dump(t, &rows);
	reopen(t, true);
	assert_dump(t, &rows);
	bytes_finish(&rows);
}

/* ---- stopped in the middle ---- */

struct stop {
	int calls, at; /* killed at this call of progress */
	uint64_t first_done;
};

static void stop(void *context, uint64_t done, uint64_t total)
{
	struct stop *s = context;

	if (s->calls++ == 0)
		s->first_done = done;
	if (s->calls == s->at)
		raise(SIGKILL);
}

static int start(struct test_store *t, struct stop *s, bool reindex)
{
	const struct store_options options = { .clock = helper_clock(t), .reindex = reindex, .progress = stop, .progress_context = s };

	return store_open(&t->store, t->path, &t->key, &options, NULL);
}

static void test_killed_while_building_it_builds_anew(void **state)
{
	struct test_store *t = *state;
	struct stop whole = { 0 }, again = { 0 };
	struct bytes rows;

	make_documents(t);
	dump(t, &rows);
	test_store_stop(t);
	assert_int_equal(start(t, &whole, true), 0);
	assert_true(whole.calls > 1); /* or nothing is in the middle */
	test_store_stop(t);

	pid_t child = fork();
	if (child == 0) {
		struct stop killed = { .at = 1 };
		start(t, &killed, true);
		_exit(1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	assert_int_equal(start(t, &again, false), 0);
	use_faults(t->store);
	assert_int_equal(again.calls, whole.calls);
	assert_int_equal(again.first_done, whole.first_done); /* from the start, not from where it was killed */
	assert_dump(t, &rows);
	bytes_finish(&rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_built_anew_it_is_the_same),
		T(test_killed_while_building_it_builds_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
