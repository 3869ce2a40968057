/*
 * Cost grows with the change, not with the size: what the same acts ask of the index in a small folder and in
 * one that is thirty times as large, counted.  The linker puts the counters between (meson.build).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_bench.h"

#define SMALL 100
#define LARGE 3000
#define BATCH 20 /* documents and versions that share a time */

static uint64_t asked; /* of the index: rows looked up, written, or passed by */

int __real_index_get(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const uint8_t **out_value, size_t *out_size);
int __wrap_index_get(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const uint8_t **out_value, size_t *out_size);
int __real_index_put(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const void *value, size_t value_size);
int __wrap_index_put(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const void *value, size_t value_size);
int __real_index_range_next(struct index_range *range);
int __wrap_index_range_next(struct index_range *range);

int __real_index_put_new(struct index_txn *txn, enum table table, const void *key, size_t key_size,
			 const void *value, size_t value_size, const uint8_t **out_value, size_t *out_size);
int __wrap_index_put_new(struct index_txn *txn, enum table table, const void *key, size_t key_size,
			 const void *value, size_t value_size, const uint8_t **out_value, size_t *out_size);

int __wrap_index_put_new(struct index_txn *txn, enum table table, const void *key, size_t key_size,
			 const void *value, size_t value_size, const uint8_t **out_value, size_t *out_size)
{
	asked++;
	return __real_index_put_new(txn, table, key, key_size, value, value_size, out_value, out_size);
}

int __wrap_index_get(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const uint8_t **out_value, size_t *out_size)
{
	asked++;
	return __real_index_get(txn, table, key, key_size, out_value, out_size);
}

int __wrap_index_put(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		     const void *value, size_t value_size)
{
	asked++;
	return __real_index_put(txn, table, key, key_size, value, value_size);
}

int __wrap_index_range_next(struct index_range *range)
{
	asked++;
	return __real_index_range_next(range);
}

/* ---- a folder of a size ---- */

static struct id add_version(struct bench *b, struct store_txn *txn, const char *name, const struct id *document,
			     const struct id *parent)
{
	struct helper_save save = { .directory = b->root, .name = name };
	char text[64];

	snprintf(text, sizeof(text), "%s %llu\n", name, (unsigned long long)chance_next(&b->t.chance));
	save.text = text;
	if (parent) {
		save.document = *document;
		save.parent = *parent;
	}
	return say_version(&b->t, txn, &save);
}

/* Documents from..to; and as many versions of `deep.md`. */
static void fill_to(struct bench *b, unsigned from, unsigned to)
{
	static struct id document, head;
	char name[32];

	for (unsigned i = from; i < to;) {
		struct store_txn *txn = txn_begin(&b->t, true);
		for (unsigned k = 0; k < BATCH && i < to; k++, i++) {
			snprintf(name, sizeof(name), "doc-%05u.md", i);
			add_version(b, txn, name, NULL, NULL);
			head = add_version(b, txn, "deep.md", &document, i ? &head : NULL);
			if (i == 0)
				document = head;
		}
		txn_commit(txn);
		b->t.time_ms += 1000;
	}
}

/* ---- the acts ---- */

static void save_one(struct bench *b)
{
	must_save(b, "doc-00007.md", b->t.time_ms % 2 ? "an odd time\n" : "an even time\n", 0);
}

static void save_deep(struct bench *b)
{
	must_save(b, "deep.md", b->t.time_ms % 2 ? "an odd time\n" : "an even time\n", 0);
}

static void create_one(struct bench *b)
{
	char name[32];

	snprintf(name, sizeof(name), "new-%llu.md", (unsigned long long)b->t.time_ms);
	must_publish(b, name, "new\n", 0);
}

static void open_deep(struct bench *b)
{
	char text[64];

	assert_true(read_all(b, "deep.md", text, sizeof(text)) > 0);
}

static int stop_after_ten(void *context, const struct desk_item *item)
{
	return ++*(unsigned *)context == 10;
}

static void list_first(struct bench *b)
{
	unsigned count = 0;

	assert_int_equal(desk_each(b->desk, &b->root, &b->root, 0, stop_after_ten, &count), 1);
}

struct listed {
	unsigned count, stop;
	uint64_t place;
};

static int list_version(void *context, const struct version_row *row, uint64_t place)
{
	struct listed *l = context;

	l->place = place;
	return ++l->count == l->stop;
}

/* Ten of the versions, going on after half of them. */
static void list_middle(struct bench *b)
{
	struct store_txn *txn = txn_begin(&b->t, false);
	struct listed half = { .stop = (unsigned)count_versions(b, "deep.md") / 2 }, ten = { .stop = 10 };

	assert_int_equal(document_each(txn, &b->root, &b->root, "deep.md", 0, list_version, &half), 1);
	asked = 0;
	assert_int_equal(document_each(txn, &b->root, &b->root, "deep.md", half.place, list_version, &ten), 1);
	store_abort(txn);
}

static void find_some(struct bench *b)
{
	struct store_txn *txn = txn_begin(&b->t, false);
	char id[ID_TEXT_SIZE + 1];
	struct version_row row;

	assert_int_equal(document_find(txn, &b->root, &b->root, "deep.md", "-1", &row), 0);
	assert_int_equal(document_find(txn, &b->root, &b->root, "deep.md", "3", &row), 0);
	assert_int_equal(document_find(txn, &b->root, &b->root, "deep.md", "2100-01", &row), 0);
	id_format(id, &row.id);
	id[16] = '\0';
	assert_int_equal(document_find(txn, &b->root, &b->root, "deep.md", id, &row), 0);
	store_abort(txn);
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
	uint64_t more; /* that one of them may take in the large folder: of a batch's versions that share a time */
} acts[] = {
	{ "save", save_one, 4 },
	{ "save of many versions", save_deep, 4 },
	{ "create", create_one, 4 },
	{ "open of many versions", open_deep, 4 },
	{ "the first of a listing", list_first, 4 },
	{ "versions from the middle", list_middle, 4 * BATCH },
	{ "versions by number, time, id", find_some, 4 },
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

static void measure(struct bench *b, uint64_t out[ACTS])
{
	for (size_t i = 0; i < ACTS; i++) {
		acts[i].run(b); /* what is remembered is remembered */
		b->t.time_ms++;
		asked = 0;
		acts[i].run(b);
		out[i] = asked;
		b->t.time_ms++;
	}
}

static void cost_does_not_grow_with_the_size(void **state)
{
	uint64_t small[ACTS], large[ACTS];
	struct bench b;

	bench_make(&b);
	fill_to(&b, 0, SMALL);
	measure(&b, small);
	fill_to(&b, SMALL, LARGE);
	measure(&b, large);
	for (size_t i = 0; i < ACTS; i++)
		if (small[i] == 0 || large[i] > small[i] + acts[i].more)
			fail_msg("%s: asks %llu rows of %u documents, %llu of %u", acts[i].name,
				 (unsigned long long)small[i], SMALL, (unsigned long long)large[i], LARGE);
		else
			print_message("%-30s %4llu rows of %u, %4llu of %u\n", acts[i].name, (unsigned long long)small[i],
				      SMALL, (unsigned long long)large[i], LARGE);
	bench_remove(&b);
}

/* Removed and not signed yet they are passed by, and it is their number that must not matter. */
static void counting_directories_does_not_grow_with_what_was_removed(void **state)
{
	enum { COUNTED_MAX = 200, ROWS_EACH = 12 };
	struct desk_item item;
	struct bench b;
	char name[32];

	bench_make(&b);
	fill_to(&b, 0, LARGE);
	for (unsigned i = 0; i < LARGE; i++) {
		snprintf(name, sizeof(name), "doc-%05u.md", i);
		assert_int_equal(desk_unlink(b.desk, at(&b, name)), 0);
	}
	assert_int_equal(desk_mkdir(b.desk, at(&b, "directory"), 0755, 0, 0, &item), 0);
	asked = 0;
	assert_int_equal(desk_count_directories(b.desk, &b.root, &b.root, COUNTED_MAX), -E2BIG);
	assert_in_range(asked, COUNTED_MAX, COUNTED_MAX * ROWS_EACH);
	bench_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost_does_not_grow_with_the_size),
		cmocka_unit_test(counting_directories_does_not_grow_with_what_was_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
