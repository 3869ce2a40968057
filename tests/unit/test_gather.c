/* test_gather.c - an index built by gathering its rows is the one that is built row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gather.h"
#include "index.h"

#define ROUNDS 24
#define ACTS 3000

enum { PLAIN, GATHERED, BOTH };

struct pair {
	char path[256];
	int fds[BOTH], base;
	struct index *index[BOTH];
	struct index_txn *txn[BOTH];
	uint64_t chance;
	uint64_t next; /* of keys that rise */
};

static int pair_open(void **state)
{
	static const char *const names[] = { "plain", "gathered" };
	struct pair *p = calloc(1, sizeof(*p));
	const char *base = getenv("TMPDIR");

	snprintf(p->path, sizeof(p->path), "%s/gather-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(p->path));
	p->base = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < BOTH; i++) {
		assert_int_equal(mkdirat(p->base, names[i], 0700), 0);
		p->fds[i] = openat(p->base, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(index_open(&p->index[i], p->fds[i], NULL), 0);
	}
	*state = p;
	return 0;
}

static int pair_close(void **state)
{
	static const char *const names[] = { "plain", "gathered" };
	struct pair *p = *state;

	for (int i = 0; i < BOTH; i++) {
		index_abort(p->txn[i]);
		index_close(p->index[i]);
		assert_int_equal(index_remove(p->fds[i]), 0);
		assert_int_equal(unlinkat(p->fds[i], "index", AT_REMOVEDIR), 0);
		close(p->fds[i]);
		assert_int_equal(unlinkat(p->base, names[i], AT_REMOVEDIR), 0);
	}
	close(p->base);
	rmdir(p->path);
	free(p);
	return 0;
}

static uint64_t next(struct pair *p)
{
	uint64_t z = p->chance += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna) */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void begin(struct pair *p)
{
	for (int i = 0; i < BOTH; i++) {
		assert_int_equal(index_begin(p->index[i], true, &p->txn[i]), 0);
		index_expect_many(p->txn[i]);
	}
}

static void commit(struct pair *p)
{
	for (int i = 0; i < BOTH; i++) {
		assert_int_equal(index_commit(p->txn[i]), 0);
		p->txn[i] = NULL;
	}
}

/* One that rises, or one of few, of different lengths, some the beginning of others. */
static size_t make_key(struct pair *p, enum table table, uint8_t key[64])
{
	uint64_t chance = next(p), number = p->next;

	if (chance % 3 == 0 || (table == TABLE_RECORD && chance >> 8 & 15)) {
		p->next += chance >> 32 & 1;
		key[0] = 0x70;
		for (int i = 0; i < 8; i++)
			key[1 + i] = (uint8_t)(number >> (56 - 8 * i));
		return 9;
	}
	size_t size = 1 + (chance >> 8) % 12;
	for (size_t i = 0; i < size; i++)
		key[i] = (uint8_t)(next(p) % 3 * 0x7f);
	return size;
}

static void assert_same_value(struct pair *p, enum table table, const uint8_t *key, size_t size)
{
	const uint8_t *values[BOTH] = { NULL, NULL };
	size_t sizes[BOTH] = { 0, 0 };
	int errs[BOTH];

	for (int i = 0; i < BOTH; i++)
		errs[i] = index_get(p->txn[i], table, key, size, &values[i], &sizes[i]);
	assert_int_equal(errs[PLAIN], errs[GATHERED]);
	assert_int_equal(sizes[PLAIN], sizes[GATHERED]);
	if (sizes[PLAIN])
		assert_memory_equal(values[PLAIN], values[GATHERED], sizes[PLAIN]);
}

/* All rows that begin so, from a key on. */
static void assert_same_rows(struct pair *p, enum table table, const uint8_t *key, size_t size, size_t prefix_size,
			     bool backwards)
{
	struct index_range ranges[BOTH];
	int found[BOTH];

	for (int i = 0; i < BOTH; i++)
		assert_int_equal(index_range_open_at(&ranges[i], p->txn[i], table, key, prefix_size, key, size, backwards), 0);
	do {
		for (int i = 0; i < BOTH; i++)
			found[i] = index_range_next(&ranges[i]);
		assert_int_equal(found[PLAIN], found[GATHERED]);
		if (found[PLAIN] <= 0)
			break;
		assert_int_equal(ranges[PLAIN].key_size, ranges[GATHERED].key_size);
		assert_int_equal(ranges[PLAIN].value_size, ranges[GATHERED].value_size);
		assert_memory_equal(ranges[PLAIN].key, ranges[GATHERED].key, ranges[PLAIN].key_size);
		assert_memory_equal(ranges[PLAIN].value, ranges[GATHERED].value, ranges[PLAIN].value_size);
	} while (true);
	for (int i = 0; i < BOTH; i++)
		index_range_close(&ranges[i]);
}

static void put_new(struct pair *p, enum table table, const uint8_t *key, size_t size, const uint8_t *value,
		    size_t value_size)
{
	const uint8_t *there[BOTH] = { NULL, NULL };
	size_t sizes[BOTH] = { 0, 0 };
	int errs[BOTH];

	for (int i = 0; i < BOTH; i++)
		errs[i] = index_put_new(p->txn[i], table, key, size, value, value_size, &there[i], &sizes[i]);
	assert_int_equal(errs[PLAIN], errs[GATHERED]);
	assert_int_equal(sizes[PLAIN], sizes[GATHERED]);
	if (sizes[PLAIN])
		assert_memory_equal(there[PLAIN], there[GATHERED], sizes[PLAIN]);
}

static void act(struct pair *p)
{
	static const enum table tables[] = { TABLE_META, TABLE_NUMBER, TABLE_SLOT, TABLE_RECORD };
	uint8_t key[64], value[200];
	uint64_t chance = next(p);
	enum table table = tables[chance % 4];
	size_t size = make_key(p, table, key), value_size = (chance >> 8) % (chance >> 20 & 7 ? 20 : sizeof(value));

	memset(value, (int)(chance >> 32), sizeof(value));
	switch (chance >> 40 & 15) {
	case 0: case 1: case 2: case 3: case 4: case 5:
		for (int i = 0; i < BOTH; i++)
			assert_int_equal(index_put(p->txn[i], table, key, size, value, value_size), 0);
		break;
	case 6: case 7: case 8:
		put_new(p, table, key, size, value, value_size);
		break;
	case 9: case 10: case 11:
		for (int i = 0; i < BOTH; i++)
			assert_int_equal(index_delete(p->txn[i], table, key, size), 0);
		break;
	default:
		assert_same_value(p, table, key, size);
	}
}

/* Walks make a table be written through for a while: seldom, so that both ways are met. */
static void walk(struct pair *p, enum table table)
{
	uint8_t key[64];
	size_t size = make_key(p, table, key), part = next(p) % (size + 1);

	assert_same_rows(p, table, key, size, part, next(p) & 1);
	if (next(p) % 4 == 0)
		for (int i = 0; i < BOTH; i++)
			assert_int_equal(index_delete_prefix(p->txn[i], table, key, size), 0);
	assert_int_equal(index_rows(p->txn[PLAIN], table), index_rows(p->txn[GATHERED], table));
}

static void test_random_acts(void **state)
{
	struct pair *p = *state;
	const char *seed = getenv("SEED");

	p->chance = seed ? strtoull(seed, NULL, 0) : 20261122;
	assert_int_equal(index_gather(p->index[GATHERED], 12345), 0);
	for (int round = 0; round < ROUNDS; round++) {
		begin(p);
		for (int i = 0; i < ACTS; i++) {
			act(p);
			if (i % 1000 == 999)
				assert_int_equal(index_gather_ripe(p->txn[GATHERED]), 0);
		}
		if (round % 11 == 5)
			walk(p, next(p) & 1 ? TABLE_SLOT : TABLE_NUMBER);
		commit(p);
		assert_int_equal(index_gather_limit(p->index[GATHERED], round % 5 ? 1 << 30 : round % 2 * 20000), 0);
	}
	assert_int_equal(index_gather_end(p->index[GATHERED]), 0);
	begin(p);
	for (int table = 0; table < TABLE_COUNT; table++)
		assert_same_rows(p, (enum table)table, NULL, 0, 0, false);
	commit(p);
}

/* More than are sorted by comparing, the parts that are compared first often equal. */
static void test_many_rows(void **state)
{
	struct pair *p = *state;
	uint8_t key[16] = { 0 };

	p->chance = 7;
	assert_int_equal(index_gather(p->index[GATHERED], 1), 0);
	begin(p);
	for (int i = 0; i < 30000; i++) {
		key[3] = (uint8_t)(next(p) % 4);
		key[10] = (uint8_t)(next(p) % 16); /* the last of the part */
		key[12] = (uint8_t)next(p);
		key[13] = (uint8_t)next(p);
		for (int k = 0; k < BOTH; k++)
			assert_int_equal(index_put(p->txn[k], TABLE_TEXT, key, sizeof(key), &i, sizeof(i)), 0);
	}
	commit(p);
	assert_int_equal(index_gather_end(p->index[GATHERED]), 0);
	begin(p);
	assert_same_rows(p, TABLE_TEXT, NULL, 0, 0, false);
	commit(p);
}

static void test_says_that_it_is_not_whole(void **state)
{
	struct pair *p = *state;

	for (int round = 0; round < 2; round++) {
		assert_int_equal(index_begin(p->index[GATHERED], false, &p->txn[GATHERED]), 0);
		assert_false(index_is_building(p->txn[GATHERED]));
		index_abort(p->txn[GATHERED]);
		assert_int_equal(index_gather(p->index[GATHERED], 1), 0);
		begin(p);
		assert_int_equal(index_put(p->txn[GATHERED], TABLE_SLOT, "a", 1, "b", 1), 0);
		commit(p);
		if (round == 0) { /* stopped in the middle */
			index_close(p->index[GATHERED]);
			assert_int_equal(index_open(&p->index[GATHERED], p->fds[GATHERED], NULL), 0);
		}
		assert_int_equal(index_begin(p->index[GATHERED], false, &p->txn[GATHERED]), 0);
		assert_true(index_is_building(p->txn[GATHERED]));
		index_abort(p->txn[GATHERED]);
		p->txn[GATHERED] = NULL;
		if (round == 0)
			assert_int_equal(index_gather(p->index[GATHERED], 1), 0);
		assert_int_equal(index_gather_end(p->index[GATHERED]), 0);
	}
	begin(p);
	assert_false(index_is_building(p->txn[GATHERED]));
	assert_int_equal(index_get(p->txn[GATHERED], TABLE_SLOT, "a", 1, NULL, NULL), 0);
	commit(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_acts, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(test_many_rows, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(test_says_that_it_is_not_whole, pair_open, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
