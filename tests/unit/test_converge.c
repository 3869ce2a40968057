/*
 * Any two stores with the same records show the same folder, whatever the order they came in.
 *
 * Random histories of three devices of one person, whose clocks are up to an hour apart and who
 * meet now and then; a backup that is restored; a device that is retired. In the end all records go to all stores, and to
 * two fresh ones, in other orders, and everything they show is compared; a slow model says what must stand.
 *
 * MOOT_SEED=n runs one history; MOOT_SEEDS=n that many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <string.h>
#include <uthash.h>

#include "store_helper.h"

#define SEEDS_DEFAULT 60
#define DEVICES 3
#define MACHINES_MAX 4   /* the devices, and a restored backup of one */
#define FRESH 2
#define STEPS 80
#define RECORDS_MAX 2048
#define PLACES_MAX 512
#define HOUR_MS (3600 * 1000)

struct seen { /* how often what this test is about happened, or it shows nothing */
	unsigned several, orphans, rings, clashes, heads, forked, cut, branches;
};

static const char *const names[] = { "a.md", "b.md", "c", "d", "e" };
#define NAMES (sizeof(names) / sizeof(names[0]))

struct world {
	uint64_t seed, chance;
	uint64_t time_ms; /* the true one */
	struct test_store machines[MACHINES_MAX];
	int64_t skew_ms[MACHINES_MAX];
	size_t machine_count;
	struct test_store fresh[FRESH];
	struct parcel *records;
	size_t record_count;
	struct id person;
	struct seen seen;
	unsigned weights[16], weight; /* of deeds */
	unsigned retirements;         /* left to be made */
};

/* ---- what is there ---- */

struct spot { /* something that shows */
	struct id directory; /* where it shows */
	struct tree_item item;
};

struct spots {
	struct spot items[PLACES_MAX];
	size_t count;
	struct id directories[PLACES_MAX]; /* the root first */
	size_t directory_count;
};

struct looking {
	struct spots *spots;
	struct id directory;
};

static int take_spot(void *context, const struct tree_item *item)
{
	struct looking *l = context;

	if (l->spots->count == PLACES_MAX || l->spots->directory_count == PLACES_MAX)
		return 1;
	l->spots->items[l->spots->count++] = (struct spot){ l->directory, *item };
	if (item->what == WHAT_DIRECTORY)
		l->spots->directories[l->spots->directory_count++] = item->id;
	return 0;
}

/* All that shows of a person. A directory that showed twice would never end: PLACES_MAX ends it. */
static void look(struct store_txn *txn, const struct id *person, struct spots *out)
{
	out->count = 0;
	out->directories[0] = *person;
	out->directory_count = 1;
	for (size_t i = 0; i < out->directory_count; i++) {
		struct looking l = { out, out->directories[i] };
		int err = tree_each(txn, person, &l.directory, 0, take_spot, &l);
		if (err != 0)
			fail_msg("a tree without end (%d)", err);
	}
}

/* ---- what devices do ---- */

static struct id *any_directory(struct world *w, struct spots *spots)
{
	return &spots->directories[chance_below(&w->chance, (unsigned)spots->directory_count)];
}

static const char *any_name(struct world *w)
{
	return names[chance_below(&w->chance, NAMES)];
}

static struct spot *any_spot(struct world *w, struct spots *spots, enum what what)
{
	unsigned count = 0;

	for (size_t i = 0; i < spots->count; i++)
		count += spots->items[i].item.what == what;
	unsigned pick = chance_below(&w->chance, count);
	for (size_t i = 0; i < spots->count; i++)
		if (spots->items[i].item.what == what && pick-- == 0)
			return &spots->items[i];
	return NULL;
}

static void do_create(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	char text[64];
	struct tree_item item;
	struct save save = { .directory = *any_directory(w, spots), .name = any_name(w), .text = text };

	snprintf(text, sizeof(text), "new %llu\n", (unsigned long long)chance_next(&w->chance) % 1000);
	/* A file manager would not: but another device may have. */
	if (tree_lookup(txn, &w->person, &save.directory, save.name, &item) == 0)
		save.replaces_nothing = true;
	say_version(t, txn, &save);
}

static void do_save(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);
	struct version_row row;
	char text[64];

	if (!spot)
		return;
	assert_int_equal(document_version_row(txn, &spot->item.id, &row), 0);
	snprintf(text, sizeof(text), "save %llu\n", (unsigned long long)chance_next(&w->chance) % 1000);
	struct save save = { .directory = spot->item.directory, .name = spot->item.slot_name, .text = text,
			     .document = row.document, .parent = row.id,
			     .replaces_newest = chance_below(&w->chance, 2) };
	say_version(t, txn, &save);
}

static void do_remove(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);

	if (spot)
		say_nothing(txn, &spot->item.directory, spot->item.slot_name);
}

static void do_mkdir(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct id parent = *any_directory(w, spots), id;
	const char *name = any_name(w);
	struct tree_item item;

	if (tree_lookup(txn, &w->person, &parent, name, &item) == -ENOENT)
		say_directory(txn, &parent, name, &id);
}

static void do_rename_document(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);
	struct id to = *any_directory(w, spots);
	const char *name = any_name(w);

	if (!spot || (id_equal(&to, &spot->item.directory) && strcmp(name, spot->item.slot_name) == 0))
		return;
	struct record *record = entries_begin();
	entries_put(txn, record, &spot->item.directory, spot->item.slot_name, WHAT_NOTHING, NULL);
	entries_put(txn, record, &to, name, WHAT_VERSION, &spot->item.id);
	entries_say(txn, record);
}

#define PLACEMENTS_MAX 16

/* Nothing at each place where the directory stands, but not at (keep, name). The record borrows from places. */
static void leave_places(struct world *w, struct store_txn *txn, struct record *record, const struct id *directory,
			 const struct id *keep, const char *name, struct tree_placement places[PLACEMENTS_MAX])
{
	int count = tree_placements(txn, &w->person, directory, places, PLACEMENTS_MAX);
	assert_in_range(count, 0, PLACEMENTS_MAX);
	for (int i = 0; i < count; i++) {
		bool same = keep && id_equal(keep, &places[i].directory) && strcmp(name, places[i].name) == 0;
		for (int k = 0; k < i && !same; k++)
			same = id_equal(&places[k].directory, &places[i].directory) &&
			       strcmp(places[k].name, places[i].name) == 0;
		if (!same)
			entries_put(txn, record, &places[i].directory, places[i].name, WHAT_NOTHING, NULL);
	}
}

/* Does `inner` lie in `outer`, as this device sees it? */
static bool lies_in(struct world *w, struct store_txn *txn, struct id inner, const struct id *outer)
{
	char name[SHOWN_NAME_MAX + 1];
	struct id parent;

	for (int depth = 0; depth < PLACES_MAX; depth++) {
		if (id_equal(&inner, outer))
			return true;
		if (tree_directory_path(txn, &w->person, &inner, &parent, name) < 0)
			return false;
		inner = parent;
	}
	fail_msg("a ring shows");
	return true;
}

static void do_move_directory(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_DIRECTORY);
	struct id to = *any_directory(w, spots);
	const char *name = any_name(w);
	struct tree_placement places[PLACEMENTS_MAX];
	struct tree_item item;

	if (!spot || lies_in(w, txn, to, &spot->item.id) ||
	    tree_lookup(txn, &w->person, &to, name, &item) == 0)
		return;
	struct record *record = entries_begin();
	leave_places(w, txn, record, &spot->item.id, &to, name, places);
	entries_put(txn, record, &to, name, WHAT_DIRECTORY, &spot->item.id);
	entries_say(txn, record);
}

/* rmdir of an empty one; at times, as a careless program might, of one with something in it. */
static void do_rmdir(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_DIRECTORY);
	struct tree_placement places[PLACEMENTS_MAX];

	if (!spot)
		return;
	int empty = tree_is_empty(txn, &w->person, &spot->item.id);
	assert_true(empty >= 0);
	if (!empty && chance_below(&w->chance, 4))
		return;
	struct record *record = entries_begin();
	leave_places(w, txn, record, &spot->item.id, NULL, NULL, places);
	if (record->entries.count == 0)
		free(record);
	else
		entries_say(txn, record);
}

static void do_branch(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct record *record = record_new();
	struct log_row log;
	struct record_row row;
	struct id any = w->machines[chance_below(&w->chance, DEVICES)].key.public;

	record->field = FIELD_BRANCH;
	if (log_get(txn, &any, &log) < 0 || !log.forked) {
		free(record);
		return;
	}
	assert_int_equal(log_record_row(txn, log.tip, &row), 0);
	record->branch.record = row.id;
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	free(record);
}

static void do_vote(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct record *record = record_new();

	record->field = FIELD_VOTE;
	record->vote.object = w->machines[chance_below(&w->chance, DEVICES)].key.public;
	record->vote.vote = (enum vote)chance_below(&w->chance, 3);
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	free(record);
}

static void do_retire(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	size_t which = 1 + chance_below(&w->chance, DEVICES - 1);
	const struct id *device = &w->machines[which].key.public;
	struct record_row row;
	struct log_row log;

	if (!w->retirements)
		return;
	w->retirements--;
	int err = log_get(txn, device, &log);
	if (err == 0)
		assert_int_equal(log_record_row(txn, log.tip, &row), 0);
	bool on = chance_below(&w->chance, 2);
	say_admit(txn, device, on, err == 0 && !on ? &row.id : NULL);
}

typedef void (*deed)(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots);

static const deed deeds[] = {
	do_create, do_save, do_remove, do_mkdir, do_rename_document, do_move_directory, do_rmdir,
	do_branch, do_vote, do_retire,
};
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))
#define WEIGHT_MAX 8

/* Every history has habits of its own: some move much, some hardly save. */
static void choose_habits(struct world *w)
{
	for (size_t i = 0; i < DEEDS; i++) {
		w->weights[i] = chance_below(&w->chance, WEIGHT_MAX) + (deeds[i] == do_create || deeds[i] == do_mkdir);
		w->weight += w->weights[i];
	}
	w->retirements = chance_below(&w->chance, 3);
}

static deed choose_deed(struct world *w)
{
	unsigned pick = chance_below(&w->chance, w->weight);
	size_t i = 0;

	while (pick >= w->weights[i])
		pick -= w->weights[i++];
	return deeds[i];
}

/* ---- records travel ---- */

/* Remembers what the machine has made since. */
static void gather(struct world *w, struct test_store *t, const struct id *made)
{
	struct store_txn *txn = txn_begin(t, false);

	assert_true(w->record_count < RECORDS_MAX);
	assert_int_equal(parcel_read(txn, made, &w->records[w->record_count++]), 0);
	store_abort(txn);
}

struct gathering {
	struct world *w;
	struct test_store *t;
};

static int gather_new(void *context, const struct record_row *row)
{
	struct gathering *g = context;

	for (size_t i = g->w->record_count; i > 0; i--)
		if (id_equal(&g->w->records[i - 1].id, &row->id))
			return 0;
	gather(g->w, g->t, &row->id);
	return 0;
}

static void gather_all(struct world *w, struct test_store *t)
{
	struct gathering g = { w, t };
	struct store_txn *txn = txn_begin(t, false);
	struct log_row log;

	if (log_get(txn, &t->key.public, &log) == 0)
		assert_int_equal(log_each(txn, log.number, 0, gather_new, &g), 0);
	store_abort(txn);
}

static bool has(struct store_txn *txn, const struct id *id)
{
	struct record_row row;

	return log_find_record(txn, id, &row) == 0;
}

static void shuffle(struct world *w, size_t *order, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t k = chance_below(&w->chance, (unsigned)i), swap = order[i - 1];
		order[i - 1] = order[k];
		order[k] = swap;
	}
}

/* Gives records in any order, those again whose predecessor was missing. from NULL: all there are. */
static void deliver(struct world *w, struct test_store *from, struct test_store *to, size_t count_max)
{
	size_t order[RECORDS_MAX], count = 0, given = 0;
	bool again = true;
	struct store_txn *source = from ? txn_begin(from, false) : NULL;

	for (size_t i = 0; i < w->record_count; i++)
		if (!source || has(source, &w->records[i].id))
			order[count++] = i;
	if (source)
		store_abort(source);
	shuffle(w, order, count);
	struct store_txn *txn = txn_begin(to, true);
	while (again && given < count_max) {
		again = false;
		for (size_t i = 0; i < count && given < count_max; i++) {
			int err = parcel_accept(txn, &w->records[order[i]]);
			if (err != 0 && err != 1 && err != -EAGAIN)
				fail_msg("a record was refused: %d", err);
			given += err == 0;
			again |= err == 0;
			if (err == 0 && chance_below(&w->chance, 8) == 0) {
				txn_commit(txn);
				txn = txn_begin(to, true);
			}
		}
	}
	txn_commit(txn);
}

/* ---- comparing ---- */

struct dump {
	struct bytes text;
	struct test_store *store;
	struct store_txn *txn;
	struct id directory;
	const char *prefix;
	uint64_t at_ms; /* 0: now */
	char **lines;
	size_t line_count;
	struct spots *spots;
};

static void dump_line(struct dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void dump_line(struct dump *d, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	d->lines = realloc(d->lines, (d->line_count + 1) * sizeof(char *));
	d->lines[d->line_count++] = strdup(line);
}

static const char *short_of(const struct id *id)
{
	static char texts[8][ID_SHORT_SIZE + 1];
	static unsigned next;

	next = (next + 1) % 8;
	id_format_short(texts[next], id);
	return texts[next];
}

static int dump_item(void *context, const struct tree_item *item)
{
	struct dump *d = context;

	dump_line(d, "%s %s/%s what %d id %s from %s/%s time %llu heads %u", d->prefix, short_of(&d->directory),
		  item->name, item->what, short_of(&item->id), short_of(&item->directory), item->slot_name,
		  (unsigned long long)item->time_ms, item->heads);
	if (item->what == WHAT_DIRECTORY && d->spots->directory_count < PLACES_MAX)
		d->spots->directories[d->spots->directory_count++] = item->id;
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Everything that shows of a person, now or then. */
static void dump_tree(struct dump *d, const struct id *person)
{
	struct spots *spots = d->spots;

	spots->directories[0] = *person;
	spots->directory_count = 1;
	for (size_t i = 0; i < spots->directory_count; i++) {
		d->directory = spots->directories[i];
		int err = d->at_ms ? tree_each_at(d->txn, person, &d->directory, d->at_ms, dump_item, d)
				   : tree_each(d->txn, person, &d->directory, 0, dump_item, d);
		assert_int_equal(err, 0);
	}
	assert_true(spots->directory_count < PLACES_MAX);
}

/* What shows can be looked up by its name, and directories know where they show. */
static void check_lookups(struct dump *d, const struct id *person)
{
	struct spots *spots = d->spots;

	look(d->txn, person, spots);
	for (size_t i = 0; i < spots->count; i++) {
		const struct spot *spot = &spots->items[i];
		char name[SHOWN_NAME_MAX + 1];
		struct tree_item item;
		struct id parent;

		assert_int_equal(tree_lookup(d->txn, person, &spot->directory, spot->item.name, &item), 0);
		assert_true(id_equal(&item.id, &spot->item.id));
		if (item.what != WHAT_DIRECTORY)
			continue;
		assert_int_equal(tree_directory_path(d->txn, person, &item.id, &parent, name), 0);
		assert_true(id_equal(&parent, &spot->directory));
		assert_string_equal(name, spot->item.name);
	}
}

static int dump_version(void *context, const struct version_row *row, uint64_t index)
{
	struct dump *d = context;

	dump_line(d, "%s version %06llu %s of %s time %llu leaf %d", d->prefix, (unsigned long long)index,
		  short_of(&row->id), short_of(&row->document), (unsigned long long)row->time_ms,
		  document_is_leaf(d->txn, row->number));
	return 0;
}

/* What is known of one slot. */
static void dump_slot(struct dump *d, const struct id *person, const struct id *directory, const char *name)
{
	struct tree_document documents[64];
	struct standing standing[64];
	char prefix[400];

	snprintf(prefix, sizeof(prefix), "%s slot %s/%s", short_of(person), short_of(directory), name);
	d->prefix = prefix;
	int count = tree_standing(d->txn, person, directory, name, standing, 64);
	assert_in_range(count, 0, 64);
	for (int i = 0; i < count; i++)
		dump_line(d, "%s standing %d %s %u what %d %s", prefix, i, short_of(&standing[i].record_id),
			  standing[i].index, standing[i].what, short_of(&standing[i].id));
	count = tree_documents(d->txn, person, directory, name, documents, 64);
	assert_in_range(count, 0, 64);
	for (int i = 0; i < count; i++)
		dump_line(d, "%s document %s until %llu stands %d", prefix, short_of(&documents[i].document),
			  (unsigned long long)documents[i].last_ms, documents[i].stands);
	assert_int_equal(document_each(d->txn, person, directory, name, 0, dump_version, d), 0);
}

struct slot_seen { /* every slot of every record */
	struct { struct id directory; char name[16]; } key;
	UT_hash_handle hh;
};

/* All slots that any record names. */
static struct slot_seen *slots_of(struct world *w)
{
	struct slot_seen *seen = NULL, *slot;
	struct record *record = record_new();

	for (size_t i = 0; i < w->record_count; i++) {
		const struct entry *entries;
		assert_int_equal(record_decode(record, w->records[i].bytes, w->records[i].size), 0);
		size_t count = record_entries(record, &entries);
		for (size_t k = 0; k < count; k++) {
			struct slot_seen made = { 0 };
			made.key.directory = entries[k].directory;
			memcpy(made.key.name, entries[k].name.data, entries[k].name.size);
			HASH_FIND(hh, seen, &made.key, sizeof(made.key), slot);
			if (slot)
				continue;
			slot = calloc(1, sizeof(*slot));
			slot->key = made.key;
			HASH_ADD(hh, seen, key, sizeof(slot->key), slot);
		}
	}
	free(record);
	return seen;
}

static void dump_device(struct world *w, struct dump *d, const struct id *device)
{
	struct person_device devices[DEVICES + 1];
	struct log_row log;
	struct id person;
	uint64_t value;

	assert_int_equal(person_of(d->txn, device, &person), 0);
	dump_line(d, "device %s of %s", short_of(device), short_of(&person));
	if (log_get(d->txn, device, &log) == 0)
		dump_line(d, "log %s tip %s seq %llu records %llu forked %d cut %d", short_of(device),
			  short_of(&log.tip_id), (unsigned long long)log.tip_seq, (unsigned long long)log.records,
			  log.forked, log.seq_end != UINT64_MAX);
	int count = person_devices(d->txn, device, devices, DEVICES + 1);
	assert_in_range(count, 0, DEVICES);
	for (int i = 0; i < count; i++)
		dump_line(d, "person %s device %d %s until %llu retired %d", short_of(device), i,
			  short_of(&devices[i].device), (unsigned long long)devices[i].seq_end, devices[i].retired);
	for (size_t i = 0; i < DEVICES; i++)
		if (person_said(d->txn, device, FIELD_VOTE, &w->machines[i].key.public, &value) == 0)
			dump_line(d, "person %s votes %llu on %s", short_of(device), (unsigned long long)value,
				  short_of(&w->machines[i].key.public));
}

static char *dump_finish(struct dump *d)
{
	size_t size = 0;

	if (d->line_count)
		qsort(d->lines, d->line_count, sizeof(char *), compare_lines);
	for (size_t i = 0; i < d->line_count; i++)
		size += strlen(d->lines[i]) + 1;
	char *text = malloc(size + 1), *at = text;
	for (size_t i = 0; i < d->line_count; i++) {
		at += sprintf(at, "%s\n", d->lines[i]);
		free(d->lines[i]);
	}
	*at = '\0';
	free(d->lines);
	return text;
}

/* All that a store says of the records, in lines that do not depend on its own numbers. */
static char *dump_store(struct world *w, struct test_store *t)
{
	struct spots *spots = malloc(sizeof(*spots));
	struct dump d = { .store = t, .txn = txn_begin(t, false), .spots = spots };
	struct slot_seen *slots = slots_of(w), *slot, *next;

	for (size_t i = 0; i < DEVICES; i++) {
		const struct id *person = &w->machines[i].key.public;
		char prefix[64];
		dump_device(w, &d, person);
		HASH_ITER(hh, slots, slot, next)
			dump_slot(&d, person, &slot->key.directory, slot->key.name);
		snprintf(prefix, sizeof(prefix), "%s tree", short_of(person));
		d.prefix = prefix;
		d.at_ms = 0;
		dump_tree(&d, person);
		check_lookups(&d, person);
		for (int k = 1; k <= 3; k++) {
			snprintf(prefix, sizeof(prefix), "%s at %d", short_of(person), k);
			d.at_ms = HELPER_TIME_MS + (w->time_ms - HELPER_TIME_MS) * (uint64_t)k / 4;
			dump_tree(&d, person);
		}
	}
	HASH_ITER(hh, slots, slot, next) {
		HASH_DEL(slots, slot);
		free(slot);
	}
	store_abort(d.txn);
	free(spots);
	return dump_finish(&d);
}

static void show_difference(const struct world *w, const char *what, const char *a, const char *b)
{
	size_t line = 0;

	while (a[line] && a[line] == b[line])
		line++;
	while (line > 0 && a[line - 1] != '\n')
		line--;
	fprintf(stderr, "MOOT_SEED=%llu: %s differs:\n  %.*s\n  %.*s\n", (unsigned long long)w->seed, what,
		(int)strcspn(a + line, "\n"), a + line, (int)strcspn(b + line, "\n"), b + line);
	fail();
}

static void expect_same(struct world *w, const char *what, const char *expected, struct test_store *t)
{
	char *found = dump_store(w, t);

	if (strcmp(expected, found) != 0)
		show_difference(w, what, expected, found);
	free(found);
}

/* What shows must be what would show were it all looked at anew: as of the end of time. */
static void expect_settled(struct world *w, struct test_store *t)
{
	struct spots *spots = malloc(sizeof(*spots));
	char *texts[2];

	for (int past = 0; past < 2; past++) {
		struct dump d = { .store = t, .txn = txn_begin(t, false), .spots = spots, .prefix = "tree",
				  .at_ms = past ? UINT64_MAX - 2 : 0 };
		dump_tree(&d, &w->person);
		store_abort(d.txn);
		texts[past] = dump_finish(&d);
	}
	if (strcmp(texts[0], texts[1]) != 0)
		show_difference(w, "what shows now from what shows at the end of time", texts[0], texts[1]);
	free(texts[0]);
	free(texts[1]);
	free(spots);
}

/* ---- the model: straight from the definitions, over all records ---- */

static bool record_counts(struct store_txn *txn, const struct id *id, struct id *out_person, struct record_row *out)
{
	struct log_row log;

	assert_int_equal(log_find_record(txn, id, out), 0);
	assert_int_equal(log_get_number(txn, out->log, &log), 0);
	assert_int_equal(person_of(txn, &log.device, out_person), 0);
	return log_counts(txn, &log, out) == 1;
}

static bool same_slot(const struct entry *a, const struct entry *b)
{
	return id_equal(&a->directory, &b->directory) && a->name.size == b->name.size &&
	       memcmp(a->name.data, b->name.data, a->name.size) == 0;
}

struct decoded {
	struct record *record;
	struct record_row row;
	struct id person;
	bool counts;
};

/* Does any entry of a counting record of the person replace it, at its own slot? */
static bool model_is_dead(const struct decoded *all, size_t count, const struct decoded *of, const struct entry *entry,
			  size_t index)
{
	for (size_t i = 0; i < count; i++) {
		const struct entry *others;
		if (!all[i].counts || !id_equal(&all[i].person, &of->person))
			continue;
		size_t other_count = record_entries(all[i].record, &others);
		for (size_t k = 0; k < other_count; k++) {
			if (!same_slot(&others[k], entry))
				continue;
			for (size_t r = 0; r < others[k].replaces_count; r++) {
				const struct replaced *t = &all[i].record->replaces[others[k].replaces_first + r];
				if (id_equal(&t->record, &of->row.id) && t->index == index)
					return true;
			}
		}
	}
	return false;
}

struct wanted {
	const struct id *version;
	bool found;
};

static int find_version(void *context, const struct version_row *row, uint64_t index)
{
	struct wanted *wanted = context;

	wanted->found |= id_equal(&row->id, wanted->version);
	return 0;
}

/* One entry: does it stand exactly if it should, and are its versions in the list? */
static void model_check(struct world *w, struct store_txn *txn, const struct decoded *all, size_t count, size_t at,
			const struct entry *entry, size_t index)
{
	const struct decoded *of = &all[at];
	struct standing standing[64];
	char name[NAME_SIZE_MAX + 1];
	bool stands = false;

	snprintf(name, sizeof(name), "%.*s", (int)entry->name.size, entry->name.data);
	int found = tree_standing(txn, &of->person, &entry->directory, name, standing, 64);
	assert_in_range(found, 0, 64);
	for (int i = 0; i < found; i++)
		stands |= id_equal(&standing[i].record_id, &of->row.id) && standing[i].index == index;
	bool expected = of->counts && !model_is_dead(all, count, of, entry, index);
	if (stands != expected)
		fail_msg("MOOT_SEED=%llu: entry %zu of %s at %s stands %d, not %d", (unsigned long long)w->seed, index,
			 short_of(&of->row.id), name, stands, expected);
	if (entry->what != WHAT_VERSION)
		return;
	struct wanted wanted = { id_is_zero(&entry->id) ? &of->row.id : &entry->id, false };
	assert_int_equal(document_each(txn, &of->person, &entry->directory, name, 0, find_version, &wanted), 0);
	if (!wanted.found)
		fail_msg("MOOT_SEED=%llu: %s is in no list at %s", (unsigned long long)w->seed,
			 short_of(wanted.version), name);
}

static void expect_model(struct world *w, struct test_store *t)
{
	struct decoded *all = calloc(w->record_count, sizeof(*all));
	struct store_txn *txn = txn_begin(t, false);

	for (size_t i = 0; i < w->record_count; i++) {
		all[i].record = record_new();
		assert_int_equal(record_decode(all[i].record, w->records[i].bytes, w->records[i].size), 0);
		all[i].counts = record_counts(txn, &w->records[i].id, &all[i].person, &all[i].row);
	}
	for (size_t i = 0; i < w->record_count; i++) {
		const struct entry *entries;
		size_t count = record_entries(all[i].record, &entries);
		for (size_t k = 0; k < count; k++)
			model_check(w, txn, all, w->record_count, i, &entries[k], k);
	}
	store_abort(txn);
	for (size_t i = 0; i < w->record_count; i++)
		free(all[i].record);
	free(all);
}

/* ---- a history ---- */

static void set_clocks(struct world *w)
{
	for (size_t i = 0; i < w->machine_count; i++)
		w->machines[i].time_ms = (uint64_t)((int64_t)w->time_ms + w->skew_ms[i]);
}

static void tick(struct test_store *t)
{
	uint64_t next;

	assert_true(store_tick(t->store, &next) >= 0);
}

/* The first device admits the others, who say that they are its person's. */
static void introduce(struct world *w)
{
	for (size_t i = 0; i < DEVICES; i++) {
		struct test_store *t = &w->machines[i];
		struct store_txn *txn = txn_begin(t, true);
		say_profile(txn, i > 0 || chance_below(&w->chance, 2) ? &w->person : NULL, "alice");
		for (size_t k = 1; k < DEVICES && i == 0; k++)
			say_admit(txn, &w->machines[k].key.public, true, NULL);
		txn_commit(txn);
		gather_all(w, t);
	}
}

static void act(struct world *w, struct test_store *t, deed what)
{
	struct spots *spots = malloc(sizeof(*spots));
	struct store_txn *txn = txn_begin(t, true);
	struct id person;

	/* Not introduced yet: it has a folder of its own. */
	assert_int_equal(person_self(txn, &person), 0);
	if (id_equal(&person, &w->person)) {
		look(txn, &person, spots);
		what(w, t, txn, spots);
	}
	txn_commit(txn);
	free(spots);
	gather_all(w, t);
}

static void restore_backup(struct world *w, const struct test_store *backup)
{
	struct test_store *t = &w->machines[w->machine_count];

	test_store_copy(t, backup, w->seed + 999);
	w->skew_ms[w->machine_count] = w->skew_ms[1];
	w->machine_count++;
}

static void move_into(struct world *w, struct test_store *t, const struct id *directory, const struct id *to)
{
	struct tree_placement places[PLACEMENTS_MAX];
	struct store_txn *txn = txn_begin(t, true);
	const char *name = any_name(w);
	struct tree_item item;
	struct id person;

	assert_int_equal(person_self(txn, &person), 0);
	if (id_equal(&person, &w->person) && !lies_in(w, txn, *to, directory) &&
	    tree_lookup(txn, &w->person, to, name, &item) == -ENOENT) {
		struct record *record = entries_begin();
		leave_places(w, txn, record, directory, to, name, places);
		entries_put(txn, record, to, name, WHAT_DIRECTORY, directory);
		entries_say(txn, record);
	}
	txn_commit(txn);
	gather_all(w, t);
}

/* Two devices that know the same move two directories, each into the other. */
static void cross(struct world *w, struct test_store *a, struct test_store *b)
{
	struct spots *spots = malloc(sizeof(*spots));

	deliver(w, a, b, SIZE_MAX);
	deliver(w, b, a, SIZE_MAX);
	tick(a);
	tick(b);
	struct store_txn *txn = txn_begin(a, false);
	look(txn, &w->person, spots);
	store_abort(txn);
	struct id x = *any_directory(w, spots), y = *any_directory(w, spots);
	free(spots);
	if (a == b || id_equal(&x, &y) || id_equal(&x, &w->person) || id_equal(&y, &w->person))
		return;
	move_into(w, a, &x, &y);
	move_into(w, b, &y, &x);
}

static struct test_store *any_machine(struct world *w)
{
	return &w->machines[chance_below(&w->chance, (unsigned)w->machine_count)];
}

static void step(struct world *w)
{
	struct test_store *t = any_machine(w), *other = any_machine(w);

	w->time_ms += chance_below(&w->chance, 10) ? chance_below(&w->chance, 60 * 1000)
						   : chance_below(&w->chance, HOUR_MS);
	set_clocks(w);
	unsigned pick = chance_below(&w->chance, 24);
	if (pick < 8)
		tick(t);
	if (pick == 0)
		cross(w, t, other);
	else if (pick < 5 && other != t)
		deliver(w, other, t, chance_below(&w->chance, 20));
	else
		act(w, t, choose_deed(w));
	if (chance_below(&w->chance, 8) == 0)
		expect_settled(w, t);
}

/* One who has met everybody looks at what came of it, and goes on. */
static void go_on(struct world *w)
{
	struct test_store *t = any_machine(w);

	deliver(w, NULL, t, SIZE_MAX);
	w->time_ms += 2 * HOUR_MS;
	set_clocks(w);
	tick(t);
	act(w, t, do_branch);
	for (unsigned i = chance_below(&w->chance, 16); i > 0; i--) {
		act(w, t, choose_deed(w));
		expect_settled(w, t);
	}
}

static void live(struct world *w)
{
	struct test_store backup;
	unsigned steps = 20 + chance_below(&w->chance, STEPS);
	unsigned backed_up = chance_below(&w->chance, steps / 2), restored = backed_up + chance_below(&w->chance, steps / 2);
	bool forks = chance_below(&w->chance, 2);

	choose_habits(w);
	introduce(w);
	for (unsigned i = 0; i < steps; i++) {
		if (forks && i == backed_up) {
			test_store_stop(&w->machines[1]);
			test_store_copy(&backup, &w->machines[1], w->seed);
			test_store_start(&w->machines[1], false);
			test_store_stop(&backup);
		}
		if (forks && i == restored)
			restore_backup(w, &backup);
		step(w);
	}
	if (forks)
		test_store_remove(&backup);
	if (chance_below(&w->chance, 2))
		go_on(w);
}

/* Everything to everybody, and a clock for which nothing is in the future. */
static void meet(struct world *w)
{
	for (size_t i = 0; i < w->machine_count; i++)
		deliver(w, NULL, &w->machines[i], SIZE_MAX);
	for (size_t i = 0; i < FRESH; i++) {
		test_store_make(&w->fresh[i], w->seed * 1000 + 500 + i);
		/* One that holds most back at first, one that holds nothing back. */
		w->fresh[i].time_ms = i ? w->time_ms + 48 * (uint64_t)HOUR_MS : HELPER_TIME_MS - HOUR_MS;
		deliver(w, NULL, &w->fresh[i], SIZE_MAX);
		w->fresh[i].time_ms = w->time_ms + 48 * (uint64_t)HOUR_MS;
		tick(&w->fresh[i]);
	}
	for (size_t i = 0; i < w->machine_count; i++) {
		w->machines[i].time_ms = w->time_ms + 48 * (uint64_t)HOUR_MS;
		tick(&w->machines[i]);
	}
}

/* Counts what there was to be got wrong. */
static void count_seen(struct world *w, struct test_store *t)
{
	struct spots *spots = malloc(sizeof(*spots));
	struct store_txn *txn = txn_begin(t, false);
	struct log_row log;

	look(txn, &w->person, spots);
	for (size_t i = 0; i < spots->count; i++) {
		const struct spot *spot = &spots->items[i];
		if (spot->item.what == WHAT_DIRECTORY) {
			int places = tree_placements(txn, &w->person, &spot->item.id, NULL, 0);
			w->seen.several += places > 1;
			w->seen.orphans += places == 0;
			w->seen.rings += places > 0 && !id_equal(&spot->directory, &spot->item.directory);
		}
		w->seen.clashes += strcmp(spot->item.name, spot->item.slot_name) != 0;
		w->seen.heads += spot->item.heads > 1;
	}
	for (size_t i = 0; i < DEVICES; i++) {
		if (log_get(txn, &w->machines[i].key.public, &log) < 0)
			continue;
		w->seen.forked += log.forked;
		w->seen.cut += log.seq_end != UINT64_MAX;
		w->seen.branches += log.branch != 0;
	}
	store_abort(txn);
	free(spots);
}

static void compare_all(struct world *w)
{
	char *expected = dump_store(w, &w->machines[0]), what[64];

	for (size_t i = 1; i < w->machine_count; i++) {
		snprintf(what, sizeof(what), "machine %zu", i);
		expect_same(w, what, expected, &w->machines[i]);
	}
	for (size_t i = 0; i < FRESH; i++) {
		snprintf(what, sizeof(what), "fresh store %zu", i);
		expect_same(w, what, expected, &w->fresh[i]);
	}
	count_seen(w, &w->machines[0]);
	expect_model(w, &w->machines[0]);
	expect_settled(w, &w->machines[0]);
	size_t again = chance_below(&w->chance, (unsigned)w->machine_count);
	test_store_stop(&w->machines[again]);
	test_store_start(&w->machines[again], true);
	expect_same(w, "the index made again", expected, &w->machines[again]);
	free(expected);
}

static void run_seed(uint64_t seed, struct seen *seen)
{
	struct world *w = calloc(1, sizeof(*w));

	w->seed = w->chance = seed;
	w->seen = *seen;
	w->records = calloc(RECORDS_MAX, sizeof(*w->records));
	w->time_ms = HELPER_TIME_MS;
	w->machine_count = DEVICES;
	for (size_t i = 0; i < DEVICES; i++) {
		test_store_make(&w->machines[i], seed * 1000 + i);
		w->skew_ms[i] = (int64_t)chance_below(&w->chance, 2 * HOUR_MS) - HOUR_MS;
	}
	w->person = w->machines[0].key.public;
	set_clocks(w);
	live(w);
	meet(w);
	compare_all(w);
	for (size_t i = 0; i < w->machine_count; i++)
		test_store_remove(&w->machines[i]);
	for (size_t i = 0; i < FRESH; i++)
		test_store_remove(&w->fresh[i]);
	for (size_t i = 0; i < w->record_count; i++)
		free(w->records[i].bytes);
	*seen = w->seen;
	free(w->records);
	free(w);
}

static void stores_with_the_same_records_show_the_same(void **state)
{
	const char *one = getenv("MOOT_SEED"), *many = getenv("MOOT_SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
	struct seen seen = { 0 };

	for (uint64_t seed = first; seed < first + count; seed++)
		run_seed(seed, &seen);
	print_message("directories at several places %u, orphans %u, rings %u, clashes %u, several heads %u, "
		      "forked %u, cut %u, branches %u\n", seen.several, seen.orphans, seen.rings, seen.clashes,
		      seen.heads, seen.forked, seen.cut, seen.branches);
	if (count >= SEEDS_DEFAULT)
		assert_true(seen.several && seen.orphans && seen.rings && seen.clashes && seen.heads && seen.forked &&
			    seen.cut && seen.branches);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stores_with_the_same_records_show_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
