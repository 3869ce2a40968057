/* test_index.c - the tables against a sorted list in memory, and what happens around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "index_kit.h"

#define KEY_MAX 511 /* LMDB's */

/* ---- one row ---- */

static void put_get_delete(void **state)
{
	struct index_txn *txn = begin(*state, true);
	const uint8_t *value;
	size_t size;

	assert_value(txn, TABLE_META, "a", NULL);
	put(txn, TABLE_META, "a", "one");
	assert_value(txn, TABLE_META, "a", "one");
	put(txn, TABLE_META, "a", "another");
	assert_value(txn, TABLE_META, "a", "another");
	assert_int_equal(index_rows(txn, TABLE_META), 1);
	assert_value(txn, TABLE_LOCAL, "a", NULL); /* tables do not share keys */
	assert_int_equal(index_get(txn, TABLE_META, "a", 1, NULL, NULL), 0);

	assert_int_equal(index_put(txn, TABLE_META, "empty", 5, NULL, 0), 0);
	assert_int_equal(index_get(txn, TABLE_META, "empty", 5, &value, &size), 0);
	assert_int_equal(size, 0);

	assert_int_equal(index_delete(txn, TABLE_META, "a", 1), 0);
	assert_value(txn, TABLE_META, "a", NULL);
	assert_int_equal(index_delete(txn, TABLE_META, "a", 1), 0);
	assert_int_equal(index_rows(txn, TABLE_META), 1);
	index_abort(txn);
}

static void keys_have_bounds(void **state)
{
	static const uint8_t zeroes[KEY_MAX + 1];
	struct index_txn *txn = begin(*state, true);

	assert_int_equal(index_put(txn, TABLE_SLOT, zeroes, 0, "x", 1), -EINVAL);
	assert_int_equal(index_put(txn, TABLE_SLOT, zeroes, KEY_MAX + 1, "x", 1), -EINVAL);
	assert_int_equal(index_put(txn, TABLE_SLOT, zeroes, KEY_MAX, "x", 1), 0);
	assert_int_equal(index_get(txn, TABLE_SLOT, zeroes, KEY_MAX, NULL, NULL), 0);
	assert_int_equal(index_get(txn, TABLE_SLOT, zeroes, KEY_MAX - 1, NULL, NULL), -ENOENT);
	index_abort(txn);
}

static void values_may_be_large(void **state)
{
	enum { SIZE = 300000 };
	struct index_txn *txn = begin(*state, true);
	uint8_t *large = malloc(SIZE);
	const uint8_t *value;
	size_t size;

	for (size_t i = 0; i < SIZE; i++)
		large[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(index_put(txn, TABLE_SLOT, "k", 1, large, SIZE), 0);
	assert_int_equal(index_commit(txn), 0);
	txn = begin(*state, false);
	assert_int_equal(index_get(txn, TABLE_SLOT, "k", 1, &value, &size), 0);
	assert_int_equal(size, SIZE);
	assert_memory_equal(value, large, SIZE);
	index_abort(txn);
	free(large);
}

static void every_table_is_its_own(void **state)
{
	struct index_txn *txn = begin(*state, true);

	for (int table = 0; table < TABLE_COUNT; table++) {
		uint8_t value = (uint8_t)table;
		assert_int_equal(index_put(txn, (enum table)table, "same", 4, &value, 1), 0);
	}
	assert_int_equal(index_commit(txn), 0);
	txn = begin(*state, false);
	for (int table = 0; table < TABLE_COUNT; table++) {
		const uint8_t *value;
		size_t size;
		assert_int_equal(index_get(txn, (enum table)table, "same", 4, &value, &size), 0);
		assert_int_equal(size, 1);
		assert_int_equal(value[0], table);
		assert_int_equal(index_rows(txn, (enum table)table), 1);
	}
	index_abort(txn);
}

/* ---- transactions ---- */

static void abort_leaves_nothing(void **state)
{
	struct index_txn *txn = begin(*state, true);

	put(txn, TABLE_LOG, "kept", "1");
	assert_int_equal(index_commit(txn), 0);
	txn = begin(*state, true);
	put(txn, TABLE_LOG, "gone", "1");
	put(txn, TABLE_LOG, "kept", "2");
	assert_int_equal(index_delete_prefix(txn, TABLE_LOG, "k", 1), 0);
	assert_value(txn, TABLE_LOG, "kept", NULL);
	index_abort(txn);
	index_abort(NULL);

	txn = begin(*state, false);
	assert_value(txn, TABLE_LOG, "kept", "1");
	assert_value(txn, TABLE_LOG, "gone", NULL);
	index_abort(txn);
}

static void a_reader_sees_what_was_when_it_began(void **state)
{
	struct index_txn *write = begin(*state, true);

	put(write, TABLE_LOG, "k", "1");
	assert_int_equal(index_commit(write), 0);
	struct index_txn *before = begin(*state, false);
	write = begin(*state, true);
	put(write, TABLE_LOG, "k", "2");
	assert_value(before, TABLE_LOG, "k", "1");
	assert_int_equal(index_commit(write), 0);
	struct index_txn *after = begin(*state, false);
	assert_value(before, TABLE_LOG, "k", "1");
	assert_value(after, TABLE_LOG, "k", "2");
	index_abort(before);
	assert_int_equal(index_commit(after), 0);
}

static void a_reader_cannot_write(void **state)
{
	struct index_txn *txn = begin(*state, false);

	assert_int_equal(index_put(txn, TABLE_LOG, "k", 1, "v", 1), -EACCES);
	assert_int_equal(index_delete(txn, TABLE_LOG, "k", 1), -EACCES);
	index_abort(txn);
}

/* Ended readers are used again: a new one must see what is new, also where many were open at once. */
static void spare_readers_are_renewed(void **state)
{
	enum { AT_ONCE = 40, ROUNDS = 5 };
	struct index_txn *readers[AT_ONCE];
	char value[16];

	for (int round = 0; round < ROUNDS; round++) {
		snprintf(value, sizeof(value), "%d", round);
		struct index_txn *write = begin(*state, true);
		put(write, TABLE_LOG, "k", value);
		assert_int_equal(index_commit(write), 0);
		for (int i = 0; i < AT_ONCE; i++) {
			readers[i] = begin(*state, false);
			assert_value(readers[i], TABLE_LOG, "k", value);
		}
		for (int i = 0; i < AT_ONCE; i++) {
			if (i % 2)
				index_abort(readers[i]);
			else
				assert_int_equal(index_commit(readers[i]), 0);
		}
	}
	for (int i = 0; i < 2000; i++) /* more than there are places for readers */
		index_abort(begin(*state, false));
}

static void reopen_finds_it_again(void **state)
{
	struct folder *f = *state;

	for (int i = 0; i < 3; i++) {
		char key[2] = { (char)('a' + i), 0 };
		struct index_txn *txn = begin(f, true);
		put(txn, TABLE_PATH, key, "v");
		assert_int_equal(index_commit(txn), 0);
		assert_int_equal(index_sync(f->index), 0);
		index_close(f->index);
		assert_int_equal(index_open(&f->index, f->fd, NULL), 0);
		txn = begin(f, false);
		assert_value(txn, TABLE_PATH, key, "v");
		assert_int_equal(index_rows(txn, TABLE_PATH), i + 1);
		index_abort(txn);
	}
	index_close(f->index);
	assert_int_equal(index_remove(f->fd), 0);
	assert_int_equal(index_remove(f->fd), 0);
	assert_int_equal(index_open(&f->index, f->fd, NULL), 0);
	struct index_txn *txn = begin(f, false);
	assert_int_equal(index_rows(txn, TABLE_PATH), 0);
	index_abort(txn);
}

/* What a disk may do to the file: an error, a reason, and all let go. */
static void a_damaged_file_is_refused(void **state)
{
	enum { SIZE = 64 * 1024 };
	struct folder *f = *state;
	uint8_t *garbage = malloc(SIZE);
	struct index *index = NULL;
	struct why why = { { 0 } };

	memset(garbage, 0xa5, SIZE);
	index_close(f->index);
	f->index = NULL;
	assert_int_equal(file_replace(f->fd, "index/data.mdb", 0600, garbage, SIZE), 0);
	assert_int_equal(index_open(&index, f->fd, &why), -EBADMSG);
	assert_null(index);
	assert_true(strlen(why.text) > 0);
	free(garbage);
}

static void no_folder_is_an_error(void **state)
{
	struct folder *f = *state;
	struct index *index = NULL;

	index_close(f->index);
	f->index = NULL;
	assert_int_equal(index_remove(f->fd), 0);
	assert_int_equal(unlinkat(f->fd, "index", AT_REMOVEDIR), 0);
	assert_int_equal(file_replace(f->fd, "index", 0600, "x", 1), 0);
	assert_int_equal(index_open(&index, f->fd, NULL), -ENOTDIR);
	assert_int_equal(unlinkat(f->fd, "index", 0), 0);
	assert_int_equal(mkdirat(f->fd, "index", 0700), 0);
}

/* ---- ranges ---- */

static const char *const range_keys[] = { "a", "ab", "abc", "abd", "ac", "b", "ba", "c" };

/* Keys as the walk gives them, with commas. */
static void walk(struct index_txn *txn, const char *prefix, const char *from, bool backwards, char *out, size_t size)
{
	struct index_range range;
	size_t used = 0;
	int more;

	assert_int_equal(index_range_open_at(&range, txn, TABLE_ORDER, prefix, strlen(prefix), from, strlen(from),
					     backwards), 0);
	out[0] = '\0';
	while ((more = index_range_next(&range)) > 0) {
		assert_int_equal(range.value_size, 1);
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? "," : "", (int)range.key_size,
					 (const char *)range.key);
	}
	assert_int_equal(more, 0);
	assert_int_equal(index_range_next(&range), 0); /* the end stays the end */
	index_range_close(&range);
	index_range_close(&range);
}

static void ranges(void **state)
{
	static const struct {
		const char *name, *prefix, *from;
		bool backwards;
		const char *expected;
	} cases[] = {
		{ "everything",                  "",    "",     false, "a,ab,abc,abd,ac,b,ba,c" },
		{ "everything, backwards",       "",    "",     true,  "c,ba,b,ac,abd,abc,ab,a" },
		{ "a prefix",                    "ab",  "ab",   false, "ab,abc,abd" },
		{ "a prefix that is no key",     "ac",  "ac",   false, "ac" },
		{ "no such prefix",              "aba", "aba",  false, "" },
		{ "after all",                   "d",   "d",    false, "" },
		{ "from a key",                  "a",   "abd",  false, "abd,ac" },
		{ "from between keys",           "a",   "abca", false, "abd,ac" },
		{ "from before the prefix",      "b",   "a",    false, "" },
		{ "from the last of the prefix", "a",   "ac",   false, "ac" },
		{ "from behind the prefix",      "a",   "ad",   false, "" },
		{ "backwards from a key",        "a",   "abd",  true,  "abd,abc,ab,a" },
		{ "backwards from between",      "a",   "abca", true,  "abc,ab,a" },
		{ "backwards from the end",      "a",   "a~",   true,  "ac,abd,abc,ab,a" },
		{ "backwards from behind all",   "c",   "~",    true,  "c" },
		{ "backwards from the first",    "a",   "a",    true,  "a" },
		{ "backwards from before all",   "",    "A",    true,  "" },
		{ "backwards, other prefix",     "b",   "c",    true,  "" },
		{ "backwards within a prefix",   "ab",  "ab~",  true,  "abd,abc,ab" },
	};
	struct index_txn *txn = begin(*state, true);
	char found[256];

	for (size_t i = 0; i < sizeof(range_keys) / sizeof(range_keys[0]); i++)
		put(txn, TABLE_ORDER, range_keys[i], "v");
	put(txn, TABLE_PATH, "abcd", "not in this table");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		walk(txn, cases[i].prefix, cases[i].from, cases[i].backwards, found, sizeof(found));
		if (strcmp(found, cases[i].expected) != 0)
			fail_msg("%s: %s, not %s", cases[i].name, found, cases[i].expected);
	}
	index_abort(txn);
}

static void ranges_of_nothing(void **state)
{
	struct index_txn *txn = begin(*state, false);
	struct index_range range;
	char found[16];

	walk(txn, "", "", false, found, sizeof(found));
	assert_string_equal(found, "");
	walk(txn, "", "", true, found, sizeof(found));
	assert_string_equal(found, "");
	walk(txn, "a", "b", true, found, sizeof(found));
	assert_string_equal(found, "");
	assert_int_equal(index_range_open(&range, txn, TABLE_ORDER, NULL, 0), 0);
	assert_int_equal(index_range_next(&range), 0);
	index_range_close(&range);
	static const uint8_t zeroes[513];
	assert_int_equal(index_range_open(&range, txn, TABLE_ORDER, zeroes, sizeof(zeroes)), -EINVAL);
	index_range_close(&range);
	index_abort(txn);
}

/* Modules delete what a walk has brought them to, and write elsewhere. */
static void a_walk_goes_on_over_writes(void **state)
{
	enum { ROWS = 3000 };
	struct index_txn *txn = begin(*state, true);
	struct index_range range;
	char key[16];
	unsigned seen = 0;

	for (unsigned i = 0; i < ROWS; i++) {
		snprintf(key, sizeof(key), "%06u", i);
		put(txn, TABLE_ORDER, key, "value");
	}
	assert_int_equal(index_range_open(&range, txn, TABLE_ORDER, "", 0), 0);
	while (index_range_next(&range) > 0) {
		assert_int_equal(range.key_size, 6);
		memcpy(key, range.key, 6);
		key[6] = '\0';
		assert_int_equal(strtoul(key, NULL, 10), seen);
		put(txn, TABLE_PATH, key, "value");
		if (seen % 3)
			assert_int_equal(index_delete(txn, TABLE_ORDER, key, 6), 0);
		seen++;
	}
	index_range_close(&range);
	assert_int_equal(seen, ROWS);
	assert_int_equal(index_rows(txn, TABLE_ORDER), ROWS / 3);
	assert_int_equal(index_rows(txn, TABLE_PATH), ROWS);
	index_abort(txn);
}

/* ---- delete_prefix ---- */

static size_t numbered(char out[32], unsigned group, unsigned i)
{
	return (size_t)snprintf(out, 32, "%c%u", (int)('a' + group), i * 2654435761u);
}

static void fill(struct index_txn *txn, const unsigned counts[3], size_t value_size)
{
	static const uint8_t value[2048];
	char key[32];

	for (unsigned group = 0; group < 3; group++)
		for (unsigned i = 0; i < counts[group]; i++) {
			size_t size = numbered(key, group, i);
			assert_int_equal(index_put(txn, TABLE_ENTRY, key, size, value, value_size), 0);
		}
}

static void deletes_by_prefix(void **state)
{
	static const struct {
		const char *name, *prefix;
		unsigned counts[3];
		size_t value_size;
	} cases[] = {
		{ "in an empty table",        "b", { 0, 0, 0 },          10 },
		{ "everything, of nothing",   "",  { 0, 0, 0 },          10 },
		{ "none such",                "b", { 10, 0, 10 },        10 },
		{ "one in the middle",        "b", { 10, 1, 10 },        10 },
		{ "some in the middle",       "b", { 10, 10, 10 },       10 },
		{ "at the beginning",         "a", { 10, 10, 10 },       10 },
		{ "at the end",               "c", { 10, 10, 10 },       10 },
		{ "everything",               "",  { 10, 10, 10 },       10 },
		{ "all there is, by prefix",  "b", { 0, 5000, 0 },       30 },
		{ "thousands in the middle",  "b", { 300, 5000, 300 },   30 },
		{ "thousands at the start",   "a", { 5000, 300, 0 },     30 },
		{ "thousands at the end",     "c", { 300, 300, 5000 },   30 },
		{ "thousands, everything",    "",  { 2000, 2000, 2000 }, 30 },
		{ "large ones in the middle", "b", { 50, 700, 50 },      1500 },
		{ "large ones, everything",   "",  { 50, 700, 50 },      1500 },
		{ "on pages of their own",    "b", { 10, 200, 10 },      2048 },
	};
	char key[32];

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct index_txn *txn = begin(*state, true);
		fill(txn, cases[c].counts, cases[c].value_size);
		put(txn, TABLE_PATH, "b1", "of another table");
		assert_int_equal(index_delete_prefix(txn, TABLE_ENTRY, cases[c].prefix, strlen(cases[c].prefix)), 0);
		uint64_t left = 0;
		for (unsigned group = 0; group < 3; group++) {
			bool gone = !cases[c].prefix[0] || cases[c].prefix[0] == (char)('a' + group);
			left += gone ? 0 : cases[c].counts[group];
			for (unsigned i = 0; i < cases[c].counts[group]; i++) {
				size_t size = numbered(key, group, i);
				int err = index_get(txn, TABLE_ENTRY, key, size, NULL, NULL);
				if (err != (gone ? -ENOENT : 0))
					fail_msg("%s: %s: %d", cases[c].name, key, err);
			}
		}
		if (index_rows(txn, TABLE_ENTRY) != left)
			fail_msg("%s: %u rows are left, not %u", cases[c].name,
				 (unsigned)index_rows(txn, TABLE_ENTRY), (unsigned)left);
		assert_value(txn, TABLE_PATH, "b1", "of another table");
		index_abort(txn);
	}
}

/* ---- at random, against a sorted list ---- */

#define MODEL_KEYS 400

struct model { /* of keys "000" .. "399": the value of those that are there */
	bool there[MODEL_KEYS];
	uint32_t values[MODEL_KEYS];
};

static uint64_t chance(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

static void model_key(char out[4], unsigned i)
{
	out[0] = (char)('0' + i / 100);
	out[1] = (char)('0' + i / 10 % 10);
	out[2] = (char)('0' + i % 10);
	out[3] = '\0';
}

static void model_change(struct index_txn *txn, struct model *m, uint64_t *seed)
{
	unsigned i = (unsigned)(chance(seed) % MODEL_KEYS), kind = (unsigned)(chance(seed) % 100);
	uint32_t value = (uint32_t)chance(seed);
	char key[4];

	model_key(key, i);
	if (kind < 70) {
		m->there[i] = true;
		m->values[i] = value;
		assert_int_equal(index_put(txn, TABLE_CHAIN, key, 3, &value, sizeof(value)), 0);
	} else if (kind < 98) {
		m->there[i] = false;
		assert_int_equal(index_delete(txn, TABLE_CHAIN, key, 3), 0);
	} else {
		size_t size = 1 + value % 3;
		unsigned step = size == 1 ? 100 : size == 2 ? 10 : 1;
		for (unsigned k = i / step * step; k < i / step * step + step; k++)
			m->there[k] = false;
		assert_int_equal(index_delete_prefix(txn, TABLE_CHAIN, key, size), 0);
	}
}

/* Walks from a random key within a random prefix and compares. */
static void model_walk(struct index_txn *txn, const struct model *m, uint64_t *seed)
{
	unsigned at = (unsigned)(chance(seed) % MODEL_KEYS), size = (unsigned)(chance(seed) % 3);
	unsigned step = size == 0 ? MODEL_KEYS : size == 1 ? 100 : 10;
	int first = (int)(at / step * step), last = first + (int)step - 1;
	bool backwards = chance(seed) % 2;
	struct index_range range;
	char key[4];

	model_key(key, at);
	assert_int_equal(index_range_open_at(&range, txn, TABLE_CHAIN, key, size, key, 3, backwards), 0);
	for (int i = (int)at; i >= first && i <= last; i += backwards ? -1 : 1) {
		if (!m->there[i])
			continue;
		model_key(key, (unsigned)i);
		assert_int_equal(index_range_next(&range), 1);
		assert_int_equal(range.key_size, 3);
		assert_memory_equal(range.key, key, 3);
		assert_int_equal(range.value_size, sizeof(uint32_t));
		assert_memory_equal(range.value, &m->values[i], sizeof(uint32_t));
	}
	assert_int_equal(index_range_next(&range), 0);
	index_range_close(&range);
}

static void like_a_sorted_list(void **state)
{
	struct folder *f = *state;
	struct model now = { 0 }, kept = { 0 };
	uint64_t seed = 20261122, rows;

	for (int round = 0; round < 300; round++) {
		struct index_txn *txn = begin(f, true);
		for (unsigned i = (unsigned)(chance(&seed) % 60); i > 0; i--)
			model_change(txn, &now, &seed);
		for (int i = 0; i < 5; i++)
			model_walk(txn, &now, &seed);
		if (chance(&seed) % 4) {
			assert_int_equal(index_commit(txn), 0);
			kept = now;
		} else {
			index_abort(txn);
			now = kept;
		}
		txn = begin(f, false);
		rows = 0;
		for (unsigned i = 0; i < MODEL_KEYS; i++)
			rows += kept.there[i];
		assert_true(index_rows(txn, TABLE_CHAIN) == rows);
		for (int i = 0; i < 5; i++)
			model_walk(txn, &kept, &seed);
		index_abort(txn);
	}
}

/* ---- threads ---- */

#define READERS 4
#define PAIRS 50

struct reading {
	const struct folder *f;
	atomic_bool *stop;
	unsigned rounds, errors;
};

/* The writer keeps all rows of the table at one value: no reader may see two. */
static void *read_on(void *context)
{
	struct reading *r = context;
	uint64_t before = 0;

	while (!atomic_load(r->stop) || r->rounds == 0) {
		struct index_range range;
		struct index_txn *txn;
		uint64_t value = 0, rows = 0;
		if (index_begin(r->f->index, false, &txn) < 0) {
			r->errors++;
			break;
		}
		int more = index_range_open(&range, txn, TABLE_STAND, "", 0);
		while (more == 0 && index_range_next(&range) > 0) {
			uint64_t one;
			memcpy(&one, range.value, sizeof(one));
			r->errors += rows > 0 && one != value;
			value = one;
			rows++;
		}
		index_range_close(&range);
		r->errors += more < 0 || rows != PAIRS || value < before;
		before = value;
		if (r->rounds++ % 2)
			index_abort(txn);
		else
			r->errors += index_commit(txn) < 0;
	}
	return NULL;
}

static void write_all(const struct folder *f, uint64_t value)
{
	struct index_txn *txn = begin(f, true);

	for (uint8_t key = 0; key < PAIRS; key++)
		assert_int_equal(index_put(txn, TABLE_STAND, &key, 1, &value, sizeof(value)), 0);
	if (value % 5 == 4)
		index_abort(txn);
	else
		assert_int_equal(index_commit(txn), 0);
}

static void readers_beside_a_writer(void **state)
{
	struct folder *f = *state;
	atomic_bool stop = false;
	struct reading readings[READERS];
	pthread_t threads[READERS];

	write_all(f, 0);
	for (int i = 0; i < READERS; i++) {
		readings[i] = (struct reading){ f, &stop, 0, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readings[i]), 0);
	}
	for (uint64_t value = 1; value <= 400; value++)
		write_all(f, value);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(readings[i].errors, 0);
		assert_true(readings[i].rounds > 0);
	}
}
int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(put_get_delete),
		TEST(keys_have_bounds),
		TEST(values_may_be_large),
		TEST(every_table_is_its_own),
		TEST(abort_leaves_nothing),
		TEST(a_reader_sees_what_was_when_it_began),
		TEST(a_reader_cannot_write),
		TEST(spare_readers_are_renewed),
		TEST(reopen_finds_it_again),
		TEST(a_damaged_file_is_refused),
		TEST(no_folder_is_an_error),
		TEST(ranges),
		TEST(ranges_of_nothing),
		TEST(a_walk_goes_on_over_writes),
		TEST(deletes_by_prefix),
		TEST(like_a_sorted_list),
		TEST(readers_beside_a_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
