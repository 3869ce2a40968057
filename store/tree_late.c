/*
 * tree_late.c - the rows of directories that show against their entries, and putting right later, in small
 * transactions, those of a person who has many directories: looking at them all takes a read transaction only.
 *
 * Rows of TABLE_META: "settle", person (0: everybody) -> how often that was asked for.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_private.h"
#include "tree_late.h"
#include "tree_rows.h"

#define LATE_KEY "settle"
#define LATE_KEY_SIZE 6
#define NAMED (1ull << 63) /* of a parent in TABLE_EXTRA: the same again by name, newest first */

/* ---- rows ---- */

int relocation_read(const uint8_t *value, size_t size, struct placement *out)
{
	struct placement at = { 0 };
	struct wire w;

	wire_init(&w, value, size);
	at.parent = wire_u64(&w);
	at.record = wire_u64(&w);
	at.time_ms = wire_u64(&w);
	wire_id(&w, &at.record_id);
	at.index = wire_u32(&w);
	at.unnamed = wire_u8(&w);
	size_t name_size = w.left;
	if (w.failed || name_size > NAME_SIZE_MAX)
		return -EBADMSG;
	memcpy(at.name, wire_bytes(&w, name_size), name_size);
	*out = at;
	return 0;
}

static void named_prefix(struct row *key, uint64_t person, uint64_t parent, const char *name, size_t size)
{
	*key = row_of2(person, parent | NAMED);
	row_name(key, name, size);
}

static struct row named_key(uint64_t person, uint64_t directory, const struct placement *at)
{
	struct row key;

	named_prefix(&key, person, at->parent, at->name, strlen(at->name));
	row_u64_be(&key, ~at->time_ms);
	for (size_t i = 0; i < ID_SIZE; i++)
		row_u8(&key, (uint8_t)~at->record_id.bytes[i]);
	row_u32_be(&key, ~at->index);
	row_u64_be(&key, directory);
	return key;
}

int view_each_relocated_as(const struct view *view, uint64_t parent, const char *name, size_t size,
			   relocated_visit visit, void *context)
{
	struct relocation *relocation, *next;
	struct index_range range;
	struct placement at;
	struct row prefix;
	struct wire w;

	if (view->past) {
		HASH_ITER(hh, view->relocations, relocation, next) {
			const struct placement *is = &relocation->at;
			if (is->parent != parent || strlen(is->name) != size || memcmp(is->name, name, size) != 0)
				continue;
			int stop = visit(context, relocation->directory, is);
			if (stop != 0)
				return stop;
		}
		return 0;
	}
	named_prefix(&prefix, view->person, parent, name, size);
	int err = row_range(view->txn, TABLE_EXTRA, &prefix, &range);
	for (size_t i = 0; err == 0 && i < SLOT_LOOKED_MAX && (err = index_range_next(&range)) > 0; i++) {
		wire_init(&w, range.key + range.key_size - 8, 8);
		uint64_t directory = wire_u64_be(&w);
		err = relocation_read(range.value, range.value_size, &at);
		if (err == 0)
			err = visit(context, directory, &at);
	}
	index_range_close(&range);
	return err;
}

static int rows_delete(struct store_txn *txn, uint64_t person, uint64_t directory, const struct placement *at)
{
	struct row shown = row_of2(person, directory), extra = row_of3(person, at->parent, directory);
	struct row named = named_key(person, directory, at);

	int err = row_delete(txn, TABLE_SHOWN, &shown);
	if (err == 0)
		err = row_delete(txn, TABLE_EXTRA, &extra);
	return err < 0 ? err : row_delete(txn, TABLE_EXTRA, &named);
}

static int rows_put(struct store_txn *txn, uint64_t person, uint64_t directory, const struct placement *at)
{
	struct row shown = row_of2(person, directory), extra = row_of3(person, at->parent, directory);
	struct row named = named_key(person, directory, at), value = row_none();

	row_u64(&value, at->parent);
	row_u64(&value, at->record);
	row_u64(&value, at->time_ms);
	row_id(&value, &at->record_id);
	row_u32(&value, at->index);
	row_u8(&value, at->unnamed);
	row_bytes(&value, at->name, strlen(at->name));
	int err = row_put(txn, TABLE_SHOWN, &shown, &value);
	if (err == 0)
		err = row_put(txn, TABLE_EXTRA, &extra, &value);
	return err < 0 ? err : row_put(txn, TABLE_EXTRA, &named, &value);
}

static bool is_same(const struct placement *a, const struct placement *b)
{
	return a->parent == b->parent && a->record == b->record && a->time_ms == b->time_ms &&
	       a->index == b->index && a->unnamed == b->unnamed && id_equal(&a->record_id, &b->record_id) &&
	       strcmp(a->name, b->name) == 0;
}

static void tell_place(const struct view *view, const struct placement *at)
{
	settle_tell(view->txn, &(struct slot_name){ view->person, at->parent, at->name, strlen(at->name) });
}

int relocation_set(const struct view *view, uint64_t directory, const struct placement *after)
{
	struct placement before;

	int err = view_relocation(view, directory, &before);
	if (err < 0 && err != -ENOENT)
		return err;
	const bool was = err == 0;
	if (was ? after && is_same(&before, after) : !after)
		return 0;
	if (was)
		tell_place(view, &before);
	if (after)
		tell_place(view, after);
	err = was ? rows_delete(view->txn, view->person, directory, &before) : 0;
	if (err == 0 && after)
		err = rows_put(view->txn, view->person, directory, after);
	return err < 0 ? err : settle_tell_placed(view->txn, view->person, directory);
}

/* ---- what differs ---- */

void relocation_changes_finish(struct relocation_changes *c)
{
	free(c->items);
	*c = (struct relocation_changes){ 0 };
}

static int add_change(struct relocation_changes *c, uint64_t directory, const struct placement *at)
{
	if (c->count == c->capacity) {
		size_t capacity = c->capacity ? c->capacity * 2 : 16;
		struct relocation_change *items = realloc(c->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		c->items = items;
		c->capacity = capacity;
	}
	c->items[c->count] = (struct relocation_change){ .directory = directory, .shows = at != NULL };
	if (at)
		c->items[c->count].at = *at;
	c->count++;
	return 0;
}

int relocation_compare(const struct view *view, struct relocation *found, struct relocation_changes *out)
{
	struct row prefix = row_of(view->person);
	struct relocation *relocation, *next;
	struct index_range range;
	struct placement at;
	struct wire key;

	int err = row_range(view->txn, TABLE_SHOWN, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		wire_init(&key, range.key + 8, range.key_size - 8);
		uint64_t directory = wire_u64_be(&key);
		HASH_FIND(hh, found, &directory, sizeof(directory), relocation);
		err = relocation ? 0 : add_change(out, directory, NULL);
	}
	index_range_close(&range);
	HASH_ITER(hh, found, relocation, next) {
		int shows = err < 0 ? err : view_relocation(view, relocation->directory, &at);
		if (shows == -ENOENT || (shows == 0 && !is_same(&at, &relocation->at)))
			err = add_change(out, relocation->directory, &relocation->at);
		else
			err = shows;
	}
	return err;
}

/* ---- later ---- */

static struct row late_key(uint64_t person)
{
	struct row key = row_none();

	row_bytes(&key, LATE_KEY, LATE_KEY_SIZE);
	row_u64_be(&key, person);
	return key;
}

int settle_put_late(struct store_txn *txn, uint64_t person)
{
	struct row key = late_key(person), value = row_none();
	uint64_t asked = 0;
	struct wire w;

	int err = row_get(txn, TABLE_META, &key, &w);
	if (err == 0)
		asked = wire_u64(&w);
	else if (err != -ENOENT)
		return err;
	row_u64(&value, asked + 1);
	atomic_store(&txn->store->late, true);
	return row_put(txn, TABLE_META, &key, &value);
}

int settle_next_person(struct store_txn *txn, uint64_t from, uint64_t *out)
{
	struct row key = row_of(from);
	struct index_range range;
	struct wire w;

	int found = row_range_at(txn, TABLE_ORDER, 0, &key, false, &range);
	if (found == 0 && (found = index_range_next(&range)) > 0) {
		wire_init(&w, range.key, range.key_size);
		*out = wire_u64_be(&w);
	}
	index_range_close(&range);
	return found;
}

struct tree_late {
	uint64_t person, asked;
	struct relocation_changes changes;
	size_t next;
};

void tree_late_free(struct tree_late *late)
{
	if (late)
		relocation_changes_finish(&late->changes);
	free(late);
}

static int first_late(struct store_txn *txn, uint64_t *out_person, uint64_t *out_asked)
{
	struct row prefix = row_none();
	struct index_range range;
	struct wire w;

	row_bytes(&prefix, LATE_KEY, LATE_KEY_SIZE);
	int found = row_range(txn, TABLE_META, &prefix, &range);
	if (found == 0 && (found = index_range_next(&range)) > 0) {
		wire_init(&w, range.key + prefix.size, range.key_size - prefix.size);
		*out_person = wire_u64_be(&w);
		wire_init(&w, range.value, range.value_size);
		*out_asked = wire_u64(&w);
	}
	index_range_close(&range);
	return found;
}

static int late_look(struct store_txn *txn, struct tree_late *late)
{
	struct relocation *found = NULL;
	struct view view;
	struct id id;

	if (late->person == 0)
		return 0;
	int err = store_number_id(txn, NUMBER_ENTITY, late->person, &id);
	if (err == 0)
		err = view_open(&view, txn, &id);
	if (err == 0)
		err = settle_find(&view, SIZE_MAX, &found);
	if (err == 0)
		err = relocation_compare(&view, found, &late->changes);
	relocations_free(&found);
	return err;
}

bool tree_late_waits(struct store *store)
{
	return atomic_load(&store->late) && clock_now_ms(&store->clock) >= atomic_load(&store->late_after_ms);
}

int tree_late_find(struct store *store, struct tree_late **out)
{
	const uint64_t begun_ms = clock_now_ms(&store->clock);
	struct tree_late *late = calloc(1, sizeof(*late));
	struct store_txn *txn = NULL;

	if (!late)
		return -ENOMEM;
	int err = store_begin(store, false, &txn);
	int found = err < 0 ? err : first_late(txn, &late->person, &late->asked);
	if (found > 0)
		err = late_look(txn, late);
	store_abort(txn);
	if (found <= 0 || err < 0) {
		tree_late_free(late);
		return err < 0 ? err : found;
	}
	const uint64_t now_ms = clock_now_ms(&store->clock);
	atomic_store(&store->late_after_ms, now_ms + (now_ms - begun_ms) * LATE_REST);
	*out = late;
	return 1;
}

static int mark_everybody(struct store_txn *txn)
{
	uint64_t person = 0;
	int found;

	while ((found = settle_next_person(txn, person + 1, &person)) > 0) {
		int err = settle_put_late(txn, person);
		if (err < 0)
			return err;
	}
	settle_tell(txn, &(struct slot_name){ .name = "" });
	return found;
}

/* If nobody asked again meanwhile. */
static int late_done(struct store_txn *txn, const struct tree_late *late)
{
	struct row key = late_key(late->person);
	struct wire w;

	int err = row_get(txn, TABLE_META, &key, &w);
	if (err == 0 && wire_u64(&w) == late->asked)
		err = row_delete(txn, TABLE_META, &key);
	if (err < 0 && err != -ENOENT)
		return err;
	uint64_t person, asked;
	int found = first_late(txn, &person, &asked);
	/* Nobody else asks while this transaction lasts. */
	if (found == 0)
		atomic_store(&txn->store->late, false);
	return found < 0 ? found : 0;
}

int tree_late_apply(struct store_txn *txn, struct tree_late *late)
{
	struct view view;
	struct id id;

	if (late->person == 0) {
		int marked = mark_everybody(txn);
		return marked < 0 ? marked : late_done(txn, late);
	}
	int err = store_number_id(txn, NUMBER_ENTITY, late->person, &id);
	if (err == 0)
		err = view_open(&view, txn, &id);
	for (size_t i = 0; err == 0 && i < LATE_CHANGES && late->next < late->changes.count; i++) {
		const struct relocation_change *change = &late->changes.items[late->next++];
		err = relocation_set(&view, change->directory, change->shows ? &change->at : NULL);
	}
	if (err < 0 || late->next < late->changes.count)
		return err < 0 ? err : 1;
	return late_done(txn, late);
}

/* One transaction of it: 1 if there is more. */
static int apply_some(struct store *store, struct tree_late *late)
{
	struct store_txn *txn;

	int err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	int more = tree_late_apply(txn, late);
	if (more < 0) {
		store_abort(txn);
		return more;
	}
	err = store_commit(txn);
	return err < 0 ? err : more;
}

int tree_late_once(struct store *store)
{
	struct tree_late *late;
	int more;

	int found = tree_late_find(store, &late);
	if (found <= 0)
		return found;
	do
		more = apply_some(store, late);
	while (more > 0);
	tree_late_free(late);
	return more < 0 ? more : 1;
}

int tree_late_all(struct store *store)
{
	int done;

	do
		done = tree_late_once(store);
	while (done > 0);
	return done;
}
