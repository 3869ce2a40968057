/*
 * Many things at one place: what an entry costs, what shows of thousands at one name, and that all stores show the
 * same of them whatever came first.
 *
 * MOOT_SEED=n runs one history; MOOT_SEEDS=n that many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"
#include "tree_rows.h"

#define RECORDS 40
#define ENTRIES 32 /* of each */
#define ENTRY_WORK_MAX 500   /* index rows for one entry, whatever there is */
#define SETTLE_WORK_MAX 8000 /* for the end of a transaction */

struct crowd {
	struct test_store alice, bob;
	struct parcel parcels[RECORDS + 8];
	size_t count;
	struct id root, at, first, *chain; /* directories; chain: RECORDS * ENTRIES */
	struct id last;      /* record */
};

static struct id any_id(struct test_store *t)
{
	struct id id;

	helper_random(t, id.bytes, sizeof(id.bytes));
	return id;
}

static void keep(struct crowd *c, struct id id)
{
	struct store_txn *txn = txn_begin(&c->alice, false);

	assert_true(c->count < sizeof(c->parcels) / sizeof(c->parcels[0]));
	assert_int_equal(parcel_read(txn, &id, &c->parcels[c->count++]), 0);
	store_abort(txn);
	c->last = id;
}

/* ---- what somebody may say, by the record ---- */

static void say_nested(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct id next = any_id(&c->alice);
		entries_add(record, &c->at, "d", WHAT_DIRECTORY, &next);
		c->at = next;
	}
}

/* The deepest first: each gets a place after what lies in it. */
static void say_nested_upwards(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct id parent = any_id(&c->alice);
		entries_add(record, &parent, "d", WHAT_DIRECTORY, &c->at);
		c->at = parent;
	}
}

/* Each time the first is moved to below the last. */
static void say_rings(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES / 2; i++) {
		struct id next = any_id(&c->alice);
		if (number + i == 0)
			c->first = next;
		entries_add(record, &c->at, "d", WHAT_DIRECTORY, &next);
		c->at = next;
		entries_add(record, &c->at, "first", WHAT_DIRECTORY, &c->first);
	}
}

static void say_same_name(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct id next = any_id(&c->alice);
		entries_add(record, &c->root, "same", WHAT_DIRECTORY, &next);
	}
}

/* What the record before put there goes, and as much comes. */
static void say_replaced(struct crowd *c, struct record *record, unsigned number)
{
	for (uint32_t i = 0; i < ENTRIES; i++) {
		struct id next = any_id(&c->alice);
		struct entry *entry = entries_add(record, &c->root, "same", WHAT_DIRECTORY, &next);
		if (number < RECORDS / 2)
			continue;
		const struct parcel *old = &c->parcels[c->count - (number - RECORDS / 2) * 2 - 1];
		entry->replaces_count = 1;
		record->replaces[record->replaces_count++] = (struct replaced){ old->id, i };
	}
}

static void say_one_everywhere(struct crowd *c, struct record *record, unsigned number)
{
	static char names[ENTRIES][16];

	for (unsigned i = 0; i < ENTRIES; i++) {
		snprintf(names[i], sizeof(names[i]), "n%u", number * ENTRIES + i);
		entries_add(record, &c->root, names[i], WHAT_DIRECTORY, &c->first);
	}
}

/* Directories that nobody places, with something in them. */
static void say_orphans(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct id nowhere = any_id(&c->alice);
		if (number + i == 0 || i % 4)
			entries_add(record, &nowhere, "v", WHAT_VERSION, &c->first);
		else
			entries_add(record, &nowhere, "d", WHAT_DIRECTORY, &c->at);
		c->at = nowhere;
	}
}

/* All of them had the same name, once. */
static void say_orphans_of_one_name(struct crowd *c, struct record *record, unsigned number)
{
	for (unsigned i = 0; i < ENTRIES / 2; i++) {
		struct id next = any_id(&c->alice);
		entries_add(record, &c->root, "same", WHAT_DIRECTORY, &next);
		entries_add(record, &next, "v", WHAT_VERSION, &c->first);
	}
	const struct entry *before = NULL;
	if (number == 0)
		return;
	for (uint32_t i = 0; i < ENTRIES / 2; i++)
		record->replaces[record->replaces_count++] =
			(struct replaced){ c->last, i * 2 };
	before = &record->entries.entries[0];
	record->entries.entries[0].replaces_count = ENTRIES / 2;
	for (uint32_t i = 1; i < record->entries.count; i++)
		record->entries.entries[i].replaces_first = ENTRIES / 2;
	assert_int_equal(before->replaces_first, 0);
}

static const struct {
	const char *name;
	void (*say)(struct crowd *c, struct record *record, unsigned number);
	unsigned shown_max; /* in the root */
} shapes[] = {
	{ "directories in directories", say_nested, 2 },
	{ "directories in directories, the inner first", say_nested_upwards, 2 },
	{ "rings", say_rings, 3 },
	{ "directories at one name", say_same_name, SLOT_LOOKED_MAX + 1 },
	{ "directories at one name, then replaced", say_replaced, SLOT_LOOKED_MAX + 1 },
	{ "a directory at all names", say_one_everywhere, 2 },
	{ "directories that are nowhere", say_orphans, RECORDS * ENTRIES },
	{ "directories that were at one name", say_orphans_of_one_name, 2 * SLOT_LOOKED_MAX + 1 },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void crowd_make(struct crowd *c, size_t shape)
{
	memset(c, 0, sizeof(*c));
	test_store_make(&c->alice, 1 + shape);
	test_store_make(&c->bob, 100 + shape);
	c->root = c->at = c->alice.key.public;
	struct store_txn *txn = txn_begin(&c->alice, true);
	struct id profile = say_profile(txn, NULL, "alice");
	struct save save = { .directory = c->root, .name = "file", .text = "text" };
	struct id version = say_version(&c->alice, txn, &save);
	txn_commit(txn);
	keep(c, profile);
	keep(c, version);
	c->first = version;
	for (unsigned i = 0; i < RECORDS; i++) {
		struct record *record = entries_begin();
		shapes[shape].say(c, record, i);
		txn = txn_begin(&c->alice, true);
		struct id id = entries_say(txn, record);
		/* Alone: settling is what bob is about. */
		store_txn_tree(txn)->count = 0;
		txn_commit(txn);
		keep(c, id);
	}
}

static void crowd_remove(struct crowd *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->parcels[i].bytes);
	test_store_remove(&c->alice);
	test_store_remove(&c->bob);
}

static void take_all(struct crowd *c, uint64_t *out_entry, uint64_t *out_settle)
{
	*out_entry = *out_settle = 0;
	for (size_t i = 0; i < c->count; i++) {
		struct store_txn *txn = txn_begin(&c->bob, true);
		uint64_t before = store_txn_work(txn);
		assert_int_equal(parcel_accept(txn, &c->parcels[i]), 0);
		uint64_t taken = store_txn_work(txn);
		assert_int_equal(tree_settle(txn), 0);
		if ((taken - before) / ENTRIES > *out_entry)
			*out_entry = (taken - before) / ENTRIES;
		if (store_txn_work(txn) - taken > *out_settle)
			*out_settle = store_txn_work(txn) - taken;
		txn_commit(txn);
	}
}

static int count_item(void *context, const struct tree_item *item)
{
	(*(unsigned *)context)++;
	return 0;
}

static void tick_out(struct test_store *t)
{
	uint64_t next;

	for (int i = 0; i < 50; i++) {
		t->time_ms += 1000;
		assert_true(store_tick(t->store, &next) >= 0);
	}
}

static void an_entry_costs_the_same_whatever_there_is(void **state)
{
	struct crowd *c = malloc(sizeof(*c));
	uint64_t entry, settle;

	for (size_t i = 0; i < SHAPES; i++) {
		unsigned shown = 0;
		crowd_make(c, i);
		take_all(c, &entry, &settle);
		tick_out(&c->bob);
		struct store_txn *txn = txn_begin(&c->bob, false);
		uint64_t before = store_txn_work(txn);
		assert_int_equal(tree_each(txn, &c->root, &c->root, 0, count_item, &shown), 0);
		uint64_t listing = store_txn_work(txn) - before;
		store_abort(txn);
		print_message("%-44s %4llu rows an entry, %5llu at the end, %6llu to list %u\n", shapes[i].name,
			      (unsigned long long)entry, (unsigned long long)settle, (unsigned long long)listing, shown);
		if (entry > ENTRY_WORK_MAX || settle > SETTLE_WORK_MAX || shown == 0 || shown > shapes[i].shown_max ||
		    listing > (uint64_t)(shown + 10) * 20 * SLOT_LOOKED_MAX)
			fail_msg("%s: too much", shapes[i].name);
		crowd_remove(c);
	}
	free(c);
}

/* ---- any order ---- */

#define STEPS 60
#define POOL_MAX 400
#define DUMP_MAX (4 * 1024 * 1024)

struct made {
	struct id record;
	uint32_t index, directory, name;
};

struct history {
	uint64_t chance;
	struct test_store makers[2], readers[3];
	struct parcel *parcels[2];
	size_t counts[2];
	struct made *made;
	size_t made_count, drained[2][2]; /* of the slots that have most: up to there, from the newest on */
	bool drains;
	struct id pool[POOL_MAX], versions[2];
	unsigned pool_count;
	const struct id *person;
};

static const char *const names[] = { "x", "y" };

/* An entry made before, at the slot or anywhere. */
static const struct made *any_made(struct history *h, size_t count, uint32_t directory, uint32_t name)
{
	if (!h->drains || directory > 1)
		return &h->made[chance_below(&h->chance, (unsigned)count)];
	size_t *at = &h->drained[directory][name];
	if (*at == 0)
		*at = count;
	do
		--*at;
	while (*at > 0 && (h->made[*at].directory != directory || h->made[*at].name != name));
	return &h->made[*at];
}

static void say_any(struct history *h, unsigned maker)
{
	struct test_store *t = &h->makers[maker];
	struct record *record = entries_begin();
	unsigned count = 1 + chance_below(&h->chance, ENTRIES_MAX);
	size_t first = h->made_count;

	for (unsigned i = 0; i < count; i++) {
		/* Most of it in few places: there are many at one name. */
		uint32_t directory = h->drains || chance_below(&h->chance, 2) ? chance_below(&h->chance, 2)
								: chance_below(&h->chance, h->pool_count);
		uint32_t name = chance_below(&h->chance, 2);
		unsigned pick = chance_below(&h->chance, 8);
		struct entry *entry;
		if (pick == 0)
			entry = entries_add(record, &h->pool[directory], names[name], WHAT_NOTHING, NULL);
		else if (pick == 1)
			entry = entries_add(record, &h->pool[directory], names[name], WHAT_VERSION,
					    &h->versions[chance_below(&h->chance, 2)]);
		else
			entry = entries_add(record, &h->pool[directory], names[name], WHAT_DIRECTORY,
					    &h->pool[1 + chance_below(&h->chance, h->pool_count - 1)]);
		for (unsigned k = chance_below(&h->chance, 6); k > 0 && first > 0; k--) {
			const struct made *old = any_made(h, first, directory, name);
			bool again = old->directory != directory || old->name != name;
			for (uint32_t j = 0; j < entry->replaces_count && !again; j++) {
				const struct replaced *r = &record->replaces[entry->replaces_first + j];
				again = id_equal(&r->record, &old->record) && r->index == old->index;
			}
			if (again || record->replaces_count == REPLACES_MAX)
				continue;
			record->replaces[record->replaces_count++] = (struct replaced){ old->record, old->index };
			entry->replaces_count++;
		}
		sort_replaced(record, entry);
		h->made[h->made_count++] = (struct made){ .index = i, .directory = directory, .name = name };
	}
	struct store_txn *txn = txn_begin(t, true);
	struct id id = entries_say(txn, record);
	txn_commit(txn);
	for (size_t i = first; i < h->made_count; i++)
		h->made[i].record = id;
	t->time_ms += chance_below(&h->chance, 3) ? 0 : chance_below(&h->chance, 1000);
}

static void gather(struct history *h, unsigned maker)
{
	struct parcels *p = parcels_of(&h->makers[maker], &h->makers[maker].key.public);

	h->counts[maker] = p->count;
	h->parcels[maker] = calloc(p->count, sizeof(struct parcel));
	memcpy(h->parcels[maker], p->items, p->count * sizeof(struct parcel));
	free(p);
}

static void history_make(struct history *h, uint64_t seed, unsigned pool_count)
{
	memset(h, 0, sizeof(*h));
	h->chance = seed;
	h->pool_count = pool_count;
	h->made = calloc(2 * STEPS * ENTRIES_MAX, sizeof(*h->made));
	for (unsigned i = 0; i < 2; i++)
		test_store_make(&h->makers[i], seed * 7 + i);
	h->person = &h->makers[0].key.public;
	h->pool[0] = *h->person;
	for (unsigned i = 1; i < pool_count; i++)
		h->pool[i] = any_id(&h->makers[0]);
	for (unsigned i = 0; i < 2; i++) {
		struct store_txn *txn = txn_begin(&h->makers[i], true);
		struct save save = { .directory = *h->person, .name = "file", .text = i ? "a" : "b" };
		say_profile(txn, i ? h->person : NULL, "alice");
		if (i == 0)
			say_admit(txn, &h->makers[1].key.public, true, NULL);
		h->versions[i] = say_version(&h->makers[i], txn, &save);
		txn_commit(txn);
	}
	for (unsigned i = 0; i < 2 * STEPS; i++) {
		h->drains = i > STEPS;
		say_any(h, chance_below(&h->chance, 2));
	}
	for (unsigned i = 0; i < 2; i++)
		gather(h, i);
}

static void history_remove(struct history *h)
{
	for (unsigned i = 0; i < 2; i++) {
		for (size_t k = 0; k < h->counts[i]; k++)
			free(h->parcels[i][k].bytes);
		free(h->parcels[i]);
		test_store_remove(&h->makers[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		test_store_remove(&h->readers[i]);
	free(h->made);
}

/* One log after the other; or both, now of this and now of that. */
static void read_all_of(struct history *h, unsigned reader)
{
	struct test_store *t = &h->readers[reader];
	size_t next[2] = { 0, 0 };
	uint64_t next_ms;

	test_store_make(t, h->chance + reader);
	t->time_ms += 3600 * 1000;
	struct store_txn *txn = txn_begin(t, true);
	while (next[0] < h->counts[0] || next[1] < h->counts[1]) {
		unsigned which = reader < 2 ? (next[reader] < h->counts[reader] ? reader : !reader)
					    : chance_below(&h->chance, 2);
		if (next[which] == h->counts[which])
			continue;
		assert_int_equal(parcel_accept(txn, &h->parcels[which][next[which]++]), 0);
		if (chance_below(&h->chance, 8))
			continue;
		txn_commit(txn);
		if (chance_below(&h->chance, 4) == 0)
			assert_true(store_tick(t->store, &next_ms) >= 0);
		txn = txn_begin(t, true);
	}
	txn_commit(txn);
	tick_out(t);
}

struct dump {
	char *text;
	size_t size;
};

static int dump_item(void *context, const struct tree_item *item)
{
	struct dump *d = context;
	char id[ID_SHORT_SIZE + 1], directory[ID_SHORT_SIZE + 1];

	id_format_short(id, &item->id);
	id_format_short(directory, &item->directory);
	assert_true(d->size < DUMP_MAX - 1024);
	d->size += (size_t)sprintf(d->text + d->size, " %s %d %s %u %s/%s\n", item->name, item->what, id, item->heads, directory,
				   item->slot_name);
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Listings are in another order on each. */
static void sort_lines(char *text)
{
	size_t count = 0, size = strlen(text) + 1;
	char **lines = malloc(size * sizeof(*lines)), *copy = malloc(size), *save = NULL, *to = text;

	memcpy(copy, text, size);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		lines[count++] = line;
	qsort(lines, count, sizeof(*lines), compare_lines);
	for (size_t i = 0; i < count; i++)
		to += sprintf(to, "%s\n", lines[i]);
	free(lines);
	free(copy);
}

/* All that shows, of now or (past) as of now from all entries ever. */
static char *dump(struct history *h, struct test_store *t, bool past)
{
	struct dump d = { .text = calloc(1, DUMP_MAX) };
	struct store_txn *txn = txn_begin(t, false);
	char text[ID_SHORT_SIZE + 1];

	for (unsigned i = 0; i < h->pool_count && (!past || i < 12); i++) {
		id_format_short(text, &h->pool[i]);
		d.size += (size_t)sprintf(d.text + d.size, "%s:\n", text);
		size_t from = d.size;
		assert_int_equal(past ? tree_each_at(txn, h->person, &h->pool[i], UINT64_MAX - 1, dump_item, &d)
				      : tree_each(txn, h->person, &h->pool[i], 0, dump_item, &d), 0);
		sort_lines(d.text + from);
		if (i == 11)
			d.size += (size_t)sprintf(d.text + d.size, "----\n");
	}
	store_abort(txn);
	return d.text;
}

static void expect_same(char *a, char *b, const char *what, uint64_t seed, bool part)
{
	char *end = part ? strstr(a, "----\n") : NULL;

	if (end)
		*end = '\0';
	end = part ? strstr(b, "----\n") : NULL;
	if (end)
		*end = '\0';
	size_t same = 0;
	while (a[same] && a[same] == b[same])
		same++;
	if (a[same] != b[same]) {
		while (same > 0 && a[same - 1] != '\n')
			same--;
		fail_msg("seed %llu, %s: %.80s ... %.80s", (unsigned long long)seed, what, a + same, b + same);
	}
	free(b);
}

static void run(uint64_t seed, unsigned pool_count)
{
	struct history *h = malloc(sizeof(*h));

	history_make(h, seed, pool_count);
	for (unsigned i = 0; i < 3; i++)
		read_all_of(h, i);
	char *first = dump(h, &h->readers[0], false);
	expect_same(first, dump(h, &h->readers[1], false), "the other log first", seed, false);
	expect_same(first, dump(h, &h->readers[2], false), "both at once", seed, false);
	test_store_stop(&h->readers[0]);
	test_store_start(&h->readers[0], true);
	expect_same(first, dump(h, &h->readers[0], false), "the index anew", seed, false);
	expect_same(first, dump(h, &h->readers[2], true), "as it stood", seed, true);
	free(first);
	history_remove(h);
	free(h);
}

static void stores_agree_on_crowds_in_any_order(void **state)
{
	const char *one = getenv("MOOT_SEED"), *many = getenv("MOOT_SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : many ? strtoull(many, NULL, 10) : 3;

	for (uint64_t seed = first; seed < first + count; seed++)
		run(seed, seed % 3 == 0 ? POOL_MAX : 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_costs_the_same_whatever_there_is),
		cmocka_unit_test(stores_agree_on_crowds_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
