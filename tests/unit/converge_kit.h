/*
 * converge_kit.h - for test_converge.c: all that stores say of the same records, in lines that can be
 * compared, and a slow model of what must stand.
 *
 * After cmocka.h.
 */
#ifndef CONVERGE_KIT_H
#define CONVERGE_KIT_H

#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <string.h>
#include <uthash.h>

#include "fork.h"
#include "store_helper.h"

#define DEVICES 3
#define MACHINES_MAX 4   /* the devices, and a restored backup of one */
#define FRESH 2
#define RECORDS_MAX 2048
#define PLACES_MAX 512
#define SIDES_MAX 32

struct seen { /* how often what this test is about happened, or it shows nothing */
	unsigned several, orphans, rings, clashes, heads, forked, cut, branches, shorter;
};

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

static void dump_sides(struct dump *d, const struct log_row *log)
{
	struct fork_side sides[SIDES_MAX];

	int count = fork_sides(d->txn, log, sides, SIDES_MAX);
	assert_in_range(count, log->forked ? 2 : 0, SIDES_MAX - 1);
	for (int i = 0; i < count; i++)
		dump_line(d, "log %s side %d to %s from %llu", short_of(&log->device), i, short_of(&sides[i].newest.id),
			  (unsigned long long)sides[i].from_seq);
}

static void dump_device(struct world *w, struct dump *d, const struct id *device)
{
	struct person_device devices[DEVICES + 1];
	struct log_row log;
	struct id person;
	uint64_t value;

	assert_int_equal(person_of(d->txn, device, &person), 0);
	dump_line(d, "device %s of %s", short_of(device), short_of(&person));
	if (log_get(d->txn, device, &log) == 0) {
		dump_line(d, "log %s tip %s seq %llu records %llu forked %d cut %d branch %d", short_of(device),
			  short_of(&log.tip_id), (unsigned long long)log.tip_seq, (unsigned long long)log.records,
			  log.forked, log.seq_end != UINT64_MAX, log.branch != 0);
		dump_sides(d, &log);
	}
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

#endif
