/* store_bench.h - for tests of a store that may fail or be killed: one for each test, and what must be the same after. After cmocka.h. */
#ifndef STORE_BENCH_H
#define STORE_BENCH_H

#include "store_faults.h"
#include "store_helper.h"

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- a store for each test ---- */

static inline int setup(void **state)
{
	struct test_store *t = calloc(1, sizeof(*t));

	arm(0, 0, false, 0);
	test_store_make(t, 11);
	use_faults(t->store);
	*state = t;
	return 0;
}

static inline int teardown(void **state)
{
	arm(0, 0, false, 0);
	test_store_remove(*state);
	free(*state);
	return 0;
}

static inline void reopen(struct test_store *t, bool reindex)
{
	test_store_stop(t);
	test_store_start(t, reindex);
	use_faults(t->store);
}

/* As a kill leaves it: the folder is copied while it is open. */
static inline void kill_and_start(struct test_store *t)
{
	char copy[300], command[700];

	snprintf(copy, sizeof(copy), "%s.copy", t->path);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", t->path, copy);
	assert_int_equal(system(command), 0);
	store_close(t->store); /* its disk may still be failing */
	nftw(t->path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, t->path), 0);
	arm(0, 0, false, 0);
	test_store_start(t, false);
	use_faults(t->store);
}

static inline int put_fact(struct test_store *t, const char *key, const char *value)
{
	struct store_txn *txn;

	int err = store_begin(t->store, true, &txn);
	if (err < 0)
		return err;
	err = store_local_put(txn, LOCAL_CONFIG, key, strlen(key), value, strlen(value));
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static inline void assert_fact(struct test_store *t, const char *key, const char *expected)
{
	struct store_txn *txn = txn_begin(t, false);
	const uint8_t *value;
	size_t size;

	int err = store_local_get(txn, LOCAL_CONFIG, key, strlen(key), &value, &size);
	if (!expected)
		assert_int_equal(err, -ENOENT);
	else if (err < 0 || size != strlen(expected) || memcmp(value, expected, size) != 0)
		fail_msg("%s: %d, %.*s, not %s", key, err, err < 0 ? 0 : (int)size, err < 0 ? "" : (const char *)value, expected);
	store_abort(txn);
}

/* A store with a bit of everything: documents, directories, facts. */
static inline void fill(struct test_store *t, unsigned versions)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id root = t->key.public, directory, last = { { 0 } }, document = { { 0 } };
	char text[64];

	say_profile(txn, NULL, "alice");
	say_directory(txn, &root, "guides", &directory);
	for (unsigned i = 0; i < versions; i++) {
		snprintf(text, sizeof(text), "version %u\n", i);
		const struct save save = { .directory = directory, .name = "soil.md", .text = text, .document = document, .parent = last };
		last = say_version(t, txn, &save);
		if (i == 0)
			document = last;
	}
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "quota", 5, "10", 2), 0);
	txn_commit(txn);
}

#endif
