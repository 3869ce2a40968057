/*
 * tree_at.c - views of a tree: as it is, from the rows kept up to date; as it stood at a
 * time, from all entries ever made.
 */
#include <errno.h>

#include "document_rows.h"
#include "tree_rows.h"

int view_open_at(struct view *view, struct store_txn *txn, const struct id *person, uint64_t time_ms)
{
	int err = view_open(view, txn, person);

	view->past = true;
	view->time_ms = time_ms;
	/* While they are being found none is known: settle_find() asks for entries only. */
	return err < 0 ? err : settle_find(view, SIZE_MAX, &view->relocations);
}

void view_close(struct view *view)
{
	relocations_free(&view->relocations);
}

/* Did the entry stand then? */
static bool stood(const struct view *view, const struct entry_row *entry)
{
	return entry->time_ms != NOT_HERE && entry->time_ms <= view->time_ms && entry->dead_ms > view->time_ms;
}

static int slot_take(const struct view *view, const struct entry_row *entry, struct slot *slot)
{
	struct slot_item item = { .record = entry->record, .index = entry->index, .what = entry->what,
				  .time_ms = entry->time_ms, .record_id = entry->record_id, .id = entry->id };
	uint64_t number, time_ms;

	if (item.what == WHAT_VERSION) {
		int err = store_number(view->txn, NUMBER_RECORD, &item.id, &number);
		if (err == 0)
			err = document_of_record(view->txn, number, &item.document, &time_ms);
		if (err < 0 && err != -ENOENT)
			return err;
	}
	return slot_insert(slot, &item);
}

static int slot_cookie(struct store_txn *txn, const struct slot_name *name, uint64_t *out)
{
	struct slot slot = { 0 };

	int err = slot_load(txn, name, &slot);
	*out = slot.cookie;
	slot_finish(&slot);
	return err == -ENOENT ? 0 : err;
}

static int past_slot(const struct view *view, const struct slot_name *name, struct slot *out)
{
	struct row prefix = slot_key(name);
	struct entry_row entry;
	struct index_range range;

	int err = row_range(view->txn, TABLE_ENTRY, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = entry_read(&range, &entry, NULL, NULL);
		if (err == 0 && stood(view, &entry))
			err = slot_take(view, &entry, out);
	}
	index_range_close(&range);
	return err < 0 ? err : slot_cookie(view->txn, name, &out->cookie);
}

int view_slot(const struct view *view, const struct slot_name *name, struct slot *out)
{
	return view->past ? past_slot(view, name, out) : slot_load(view->txn, name, out);
}

/* ---- placements ---- */

static bool is_newer(const struct placement *a, const struct placement *b)
{
	if (a->time_ms != b->time_ms)
		return a->time_ms > b->time_ms;
	int order = id_compare(&a->record_id, &b->record_id);
	return order ? order > 0 : a->index > b->index;
}

/* Did this entry stand (or, not standing: was it made at all) then? 1, 0 or an error. */
static int placement_counts(const struct view *view, const struct placement *at, bool standing)
{
	struct slot_name name = { view->person, at->parent, at->name, strlen(at->name) };
	struct entry_row entry;

	if (at->time_ms > view->time_ms)
		return 0;
	if (!standing)
		return 1;
	int err = entry_get(view->txn, &name, at->time_ms, at->record, at->index, &entry);
	return err < 0 ? err : stood(view, &entry);
}

static int past_newest(const struct view *view, uint64_t directory, bool standing, struct placement *out)
{
	struct row prefix = row_of2(directory, view->person);
	struct placement best = { 0 }, at;
	struct index_range range;
	bool found = false;

	int err = row_range(view->txn, TABLE_PLACED, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = placed_read(&range, &at, NULL);
		if (err == 0 && (!found || is_newer(&at, &best)))
			err = placement_counts(view, &at, standing);
		else
			continue;
		if (err > 0) {
			best = at;
			found = true;
			err = 0;
		}
	}
	index_range_close(&range);
	if (err < 0)
		return err;
	if (!found)
		return -ENOENT;
	*out = best;
	return 0;
}

int view_newest(const struct view *view, uint64_t directory, bool standing, struct placement *out)
{
	return view->past ? past_newest(view, directory, standing, out)
			  : placed_newest(view->txn, view->person, directory, standing, out);
}

/* ---- relocations ---- */

int view_relocation(const struct view *view, uint64_t directory, struct placement *out)
{
	const uint8_t *value;
	size_t size;

	if (view->past) {
		struct relocation *relocation;
		HASH_FIND(hh, view->relocations, &directory, sizeof(directory), relocation);
		if (!relocation)
			return -ENOENT;
		*out = relocation->at;
		return 0;
	}
	struct row key = row_of2(view->person, directory);
	int err = index_get(store_index(view->txn), TABLE_SHOWN, key.data, key.size, &value, &size);
	return err < 0 ? err : relocation_read(value, size, out);
}

int view_each_relocated(const struct view *view, uint64_t parent, uint64_t from, relocated_visit visit, void *context)
{
	struct row key = row_of3(view->person, parent, from);
	struct relocation *relocation, *next;
	struct placement at;
	struct index_range range;
	struct wire w;

	if (view->past) {
		HASH_ITER(hh, view->relocations, relocation, next) {
			if (relocation->at.parent != parent || relocation->directory < from)
				continue;
			int stop = visit(context, relocation->directory, &relocation->at);
			if (stop != 0)
				return stop;
		}
		return 0;
	}
	int err = row_range_at(view->txn, TABLE_EXTRA, 16, &key, false, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		wire_init(&w, range.key + 16, range.key_size - 16);
		uint64_t directory = wire_u64_be(&w);
		err = relocation_read(range.value, range.value_size, &at);
		if (err == 0)
			err = visit(context, directory, &at);
	}
	index_range_close(&range);
	return err;
}

/* ---- is something in it? ---- */

/* A version that shows, or a directory whose newest standing entry this is. 1, 0 or an error. */
static int item_fills(const struct view *view, const struct slot_item *item)
{
	struct placement at;
	uint64_t number;

	if (item->what == WHAT_VERSION)
		return item->document != 0;
	if (item->what != WHAT_DIRECTORY)
		return 0;
	int err = store_number(view->txn, NUMBER_DIRECTORY, &item->id, &number);
	if (err < 0)
		return err;
	int root = tree_is_root(view->txn, &view->person_id, number);
	if (root != 0)
		return root < 0 ? root : 0;
	err = view_newest(view, number, true, &at);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return id_equal(&at.record_id, &item->record_id) && at.index == item->index;
}

static int slot_fills(const struct view *view, const struct slot *slot)
{
	int fills = 0;

	for (size_t i = 0; i < slot_looked(slot) && fills == 0; i++)
		fills = item_fills(view, &slot->items[i]);
	return fills;
}

typedef int (*slot_visit)(void *context, const char *name, size_t size);

/* Visits the names ever used in a directory; stops at nonzero. */
static int each_name(const struct view *view, uint64_t directory, slot_visit visit, void *context)
{
	struct row prefix = row_of2(view->person, directory);
	char name[NAME_SIZE_MAX + 1];
	struct entry_row entry;
	struct index_range range;
	const char *found;
	size_t size = 0, found_size;

	int err = row_range(view->txn, TABLE_ENTRY, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = entry_read(&range, &entry, &found, &found_size);
		if (err < 0 || (found_size == size && memcmp(found, name, size) == 0))
			continue;
		memcpy(name, found, found_size);
		size = found_size;
		err = visit(context, name, size);
	}
	index_range_close(&range);
	return err;
}

struct filling {
	const struct view *view;
	uint64_t directory;
};

static int name_fills(void *context, const char *name, size_t size)
{
	const struct filling *f = context;
	struct slot_name slot_name = { f->view->person, f->directory, name, size };
	struct slot slot = { 0 };

	int err = view_slot(f->view, &slot_name, &slot);
	if (err == 0)
		err = slot_fills(f->view, &slot);
	slot_finish(&slot);
	return err == -ENOENT ? 0 : err;
}

int view_contains(const struct view *view, uint64_t directory)
{
	struct filling f = { view, directory };
	struct contents contents;

	int err = contents_get(view->txn, view->person, directory, &contents);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	if (view->past ? contents.first_ms > view->time_ms : !contents.versions && !contents.directories)
		return 0;
	if (!view->past && contents.versions)
		return 1;
	return each_name(view, directory, name_fills, &f);
}

/* ---- the folder as it stood ---- */

static int show_name(void *context, const char *name, size_t size)
{
	return show_slot(context, name, size);
}

int tree_each_at(struct store_txn *txn, const struct id *person, const struct id *directory, uint64_t time_ms,
		 int (*visit)(void *context, const struct tree_item *item), void *context)
{
	struct view view = { 0 };
	struct showing s = { .view = &view, .directory_id = *directory, .visit = visit, .context = context };

	int err = store_number(txn, NUMBER_DIRECTORY, directory, &s.directory);
	if (err == 0)
		err = view_open_at(&view, txn, person, time_ms);
	if (err == 0)
		err = each_name(&view, s.directory, show_name, &s);
	if (err == 0)
		err = show_relocated(&s);
	view_close(&view);
	return err == -ENOENT ? 0 : err;
}

int tree_lookup_at(struct store_txn *txn, const struct id *person, const struct id *directory, uint64_t time_ms,
		   const char *name, struct tree_item *out)
{
	struct view view = { 0 };

	int err = view_open_at(&view, txn, person, time_ms);
	if (err == 0)
		err = show_lookup(&view, directory, name, out);
	view_close(&view);
	return err;
}
