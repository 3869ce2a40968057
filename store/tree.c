#include "tree.h"

#include <errno.h>
#include <stdlib.h>

#include "document_rows.h"
#include "store_private.h"
#include "tree_rows.h"

#define COOKIE_KEY "cookie"

/* What one record does to the tree of one person. */
struct application {
	struct store_txn *txn;
	const struct record_row *row;
	const struct record *record;
	struct view view;
	size_t touched_count;
	uint64_t touched[ENTRIES_MAX + REPLACES_MAX]; /* directories whose entries changed */
};

/* What one entry does to its slot. */
struct change {
	struct slot_name name;
	struct slot slot;
	struct slot_item item;
	uint64_t target;      /* number of the version or directory named */
	uint64_t version_ms;  /* time of the version's record, if it is here */
	uint64_t dead_ms;     /* of the item itself */
	bool had_version, had_directory, existed;
	size_t looked_count;          /* of what stood before, and the last of them */
	struct slot_item looked_last;
	size_t document_count;
	uint64_t documents[REPLACES_MAX + SLOT_LOOKED_MAX + 2]; /* of which something changed */
};

/* ---- cookies ---- */

uint64_t tree_cookie(struct store *store)
{
	return store_next_cookie(store) << COOKIE_SHIFT;
}

int tree_set_cookie(struct store_txn *txn, const struct id *person, const struct id *directory,
		    const char *name, uint64_t cookie)
{
	struct tree_dirty *dirty = store_txn_tree(txn);
	struct tree_hint hint = { .cookie = cookie >> COOKIE_SHIFT };

	int err = store_number_make(txn, NUMBER_ENTITY, person, &hint.person);
	if (err == 0)
		err = store_number_make(txn, NUMBER_DIRECTORY, directory, &hint.directory);
	id_of_bytes(&hint.name, name, strlen(name));
	if (err == 0) /* the record that needs it comes next: the oldest may go */
		dirty->hints[dirty->hint_count++ % TREE_HINTS_MAX] = hint;
	return err;
}

static uint64_t hinted_cookie(struct store_txn *txn, const struct slot_name *name)
{
	struct tree_dirty *dirty = store_txn_tree(txn);
	struct id id;

	if (dirty->hint_count == 0)
		return 0;
	id_of_bytes(&id, name->name, name->size);
	for (size_t i = 0; i < dirty->hint_count && i < TREE_HINTS_MAX; i++)
		if (dirty->hints[i].person == name->person && dirty->hints[i].directory == name->directory &&
		    id_equal(&dirty->hints[i].name, &id))
			return dirty->hints[i].cookie;
	return 0;
}

static void note_cookie(struct store_txn *txn, uint64_t cookie)
{
	if (cookie > txn->hot->cookie)
		txn->hot->cookie = cookie;
}

int tree_keep_cookie(struct store_txn *txn)
{
	struct row key = row_none(), value = row_none();
	uint64_t cookie = txn->hot->cookie;
	struct wire w;

	if (cookie == 0)
		return 0;
	txn->hot->cookie = 0;

	row_bytes(&key, COOKIE_KEY, strlen(COOKIE_KEY));
	int err = row_get(txn, TABLE_META, &key, &w);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0 && wire_u64(&w) >= cookie)
		return 0;
	row_u64(&value, cookie);
	return row_put(txn, TABLE_META, &key, &value);
}

/* The row that lists a slot; another cookie if some other slot has taken it meanwhile. */
static int list_slot(struct store_txn *txn, const struct slot_name *name, struct slot *slot)
{
	struct row value = row_none();
	struct wire w;

	row_bytes(&value, name->name, name->size);
	while (true) {
		struct row key = row_of3(name->person, name->directory, slot->cookie);
		int err = slot->cookie ? row_get(txn, TABLE_ORDER, &key, &w) : 0;
		if (err < 0 && err != -ENOENT)
			return err;
		if (err == -ENOENT) {
			err = row_put(txn, TABLE_ORDER, &key, &value);
			note_cookie(txn, slot->cookie);
			return err;
		}
		if (slot->cookie && w.left == name->size && memcmp(w.at, name->name, name->size) == 0)
			return 0;
		slot->cookie = store_next_cookie(store_of(txn));
	}
}

/* ---- a slot after a change ---- */

static bool lists(const struct slot *slot)
{
	for (size_t i = 0; i < slot_looked(slot); i++)
		if (slot->items[i].what != WHAT_NOTHING)
			return true;
	return false;
}

static void count_up(uint64_t *count, bool before, bool after)
{
	if (after && !before)
		(*count)++;
	else if (before && !after && *count > 0)
		(*count)--;
}

/* Counts what is in the directory; a directory without a place that becomes empty or not is looked at. */
static int save_contents(struct store_txn *txn, const struct view *view, const struct change *c, uint64_t time_ms)
{
	struct contents contents = { .first_ms = UINT64_MAX }, before;
	struct placement placement;

	int err = contents_get(txn, c->name.person, c->name.directory, &contents);
	if (err < 0 && err != -ENOENT)
		return err;
	before = contents;
	count_up(&contents.versions, c->had_version, slot_has_version(&c->slot));
	count_up(&contents.directories, c->had_directory, slot_has_directory(&c->slot));
	if (time_ms < contents.first_ms)
		contents.first_ms = time_ms;
	if (err == 0 && memcmp(&before, &contents, sizeof(contents)) == 0)
		return 0;
	err = contents_put(txn, c->name.person, c->name.directory, &contents);
	if (err < 0 || !before.versions == !contents.versions || c->name.directory == view->root)
		return err;
	err = placed_newest(txn, c->name.person, c->name.directory, true, &placement);
	if (err != -ENOENT)
		return err;
	int root = tree_is_root(txn, &view->person_id, c->name.directory);
	if (root == 0)
		settle_mark(txn, c->name.person);
	return root < 0 ? root : 0;
}

static struct row stand_key(uint64_t document, const struct slot_name *name)
{
	struct row key = row_of3(document, name->person, name->directory);

	row_bytes(&key, name->name, name->size);
	return key;
}

static void touch_document(struct change *c, uint64_t document)
{
	for (size_t i = 0; i < c->document_count; i++)
		if (c->documents[i] == document)
			return;
	if (document)
		c->documents[c->document_count++] = document;
}

/* Documents whose entries are looked at now, or no more, because of others. */
static void touch_moved(struct change *c)
{
	const struct slot *slot = &c->slot;

	if (c->looked_count < SLOT_LOOKED_MAX)
		return;
	for (size_t i = slot_looked(slot); i > 0 && slot_item_compare(&c->looked_last, &slot->items[i - 1]) < 0; i--)
		touch_document(c, slot->items[i - 1].document);
	if (slot->count > SLOT_LOOKED_MAX)
		touch_document(c, slot->items[SLOT_LOOKED_MAX].document);
}

static int save_stands(struct store_txn *txn, struct change *c)
{
	int err = 0;

	touch_moved(c);
	for (size_t i = 0; err == 0 && i < c->document_count; i++) {
		struct row key = stand_key(c->documents[i], &c->name);
		err = slot_has_document(&c->slot, c->documents[i]) ? row_put(txn, TABLE_STAND, &key, NULL)
								   : row_delete(txn, TABLE_STAND, &key);
	}
	return err;
}

static int save_change(struct store_txn *txn, const struct view *view, struct change *c, uint64_t time_ms)
{
	struct row order = row_of3(c->name.person, c->name.directory, c->slot.cookie);

	/* What comes to a name where nothing was listed has been listed as waiting: it keeps that place. */
	const uint64_t hinted = c->existed ? 0 : hinted_cookie(txn, &c->name);
	if (hinted)
		c->slot.cookie = hinted;
	int err = 0;
	if (lists(&c->slot))
		err = list_slot(txn, &c->name, &c->slot);
	else if (c->slot.cookie && c->existed)
		err = row_delete(txn, TABLE_ORDER, &order);
	if (err == 0)
		err = slot_save(txn, &c->name, &c->slot);
	if (err == 0)
		err = save_contents(txn, view, c, time_ms);
	settle_tell(txn, &c->name);
	return err < 0 ? err : save_stands(txn, c);
}

static int load_change(struct store_txn *txn, struct change *c)
{
	int err = slot_load(txn, &c->name, &c->slot);
	if (err < 0 && err != -ENOENT)
		return err;
	c->existed = lists(&c->slot);
	c->had_version = slot_has_version(&c->slot);
	c->had_directory = slot_has_directory(&c->slot);
	c->looked_count = slot_looked(&c->slot);
	if (c->looked_count > 0)
		c->looked_last = c->slot.items[c->looked_count - 1];
	return 0;
}

/* ---- entries ---- */

/* Was it, or is it, part of something shown elsewhere? */
static int look_at_directory(struct application *a, uint64_t directory)
{
	int plain = settle_is_marked(a->txn, a->view.person) ? 1 : settle_is_plain(&a->view, directory);
	if (plain < 0)
		return plain;
	if (!plain)
		settle_mark(a->txn, a->view.person);
	return settle_tell_placed(a->txn, a->view.person, directory);
}

/* Before a directory's entries change. */
static int touch_directory(struct application *a, uint64_t directory)
{
	a->touched[a->touched_count++] = directory;
	return look_at_directory(a, directory);
}

static int check_touched(struct application *a)
{
	for (size_t i = 0; i < a->touched_count; i++) {
		int err = look_at_directory(a, a->touched[i]);
		if (err < 0)
			return err;
	}
	return 0;
}

/* It names a directory, and stands there no more. */
static int remove_placement(struct application *a, const struct change *c, const struct slot_item *item)
{
	uint64_t directory;

	int err = store_number_make(a->txn, NUMBER_DIRECTORY, &item->id, &directory);
	if (err == 0)
		err = touch_directory(a, directory);
	if (err == 0)
		err = placed_delete(a->txn, c->name.person, directory, true, item);
	return err < 0 ? err : placed_put(a->txn, &c->name, directory, false, item);
}

/* Takes a standing entry away: of the items, or of those that are only counted. */
static int remove_item(struct application *a, struct change *c, const struct entry_row *entry)
{
	struct slot_item *items = c->slot.items;
	struct slot_item item = { .record = entry->record, .index = entry->index, .what = entry->what,
				  .time_ms = entry->time_ms, .record_id = entry->record_id, .id = entry->id };
	size_t at = 0;

	while (at < c->slot.count && slot_item_compare(&items[at], &item) != 0)
		at++;
	if (at == c->slot.count) {
		c->slot.more -= c->slot.more > 0;
	} else {
		touch_document(c, items[at].document);
		c->slot.count--;
		memmove(items + at, items + at + 1, (c->slot.count - at) * sizeof(*items));
	}
	return item.what == WHAT_DIRECTORY ? remove_placement(a, c, &item) : 0;
}

/* An entry that this record replaces: dead since the record's time, also if it comes only later. */
static int replace(struct application *a, struct change *c, const struct replaced *target)
{
	struct entry_row entry = { .time_ms = NOT_HERE, .index = target->index, .dead_ms = ALIVE };
	struct record_row row;

	int err = store_number_make(a->txn, NUMBER_RECORD, &target->record, &entry.record);
	if (err < 0)
		return err;
	err = log_record_row(a->txn, entry.record, &row);
	if (err == 0)
		err = entry_get(a->txn, &c->name, row.time_ms, entry.record, target->index, &entry);
	if (err == -ENOENT)
		err = entry_get(a->txn, &c->name, NOT_HERE, entry.record, target->index, &entry);
	if (err < 0 && err != -ENOENT)
		return err;
	if (entry.dead_ms <= a->row->time_ms)
		return 0;
	const bool stood = entry.time_ms != NOT_HERE && entry.dead_ms == ALIVE;
	entry.dead_ms = a->row->time_ms;
	err = entry_put(a->txn, &c->name, &entry);
	return err == 0 && stood ? remove_item(a, c, &entry) : err;
}

/* Numbers and document of what the entry names. */
static int resolve(struct application *a, const struct entry *entry, uint32_t index, struct change *c)
{
	struct slot_item *item = &c->item;

	*item = (struct slot_item){ .record = a->row->number, .index = index, .what = entry->what,
				    .time_ms = a->row->time_ms, .record_id = a->row->id, .id = entry->id };
	if (item->what == WHAT_VERSION && id_is_zero(&item->id))
		item->id = a->row->id;
	c->name = (struct slot_name){ .person = a->view.person, .name = entry->name.data, .size = entry->name.size };
	c->dead_ms = ALIVE;
	int err = store_number_make(a->txn, NUMBER_DIRECTORY, &entry->directory, &c->name.directory);
	if (err == 0 && item->what == WHAT_DIRECTORY)
		err = store_number_make(a->txn, NUMBER_DIRECTORY, &item->id, &c->target);
	if (err < 0 || item->what != WHAT_VERSION)
		return err;
	if (id_equal(&item->id, &a->row->id))
		c->target = a->row->number;
	else
		err = store_number_make(a->txn, NUMBER_RECORD, &item->id, &c->target);
	if (err == 0)
		err = document_of_record(a->txn, c->target, &item->document, &c->version_ms);
	return err == -ENOENT ? 0 : err;
}

static int raise_time(struct store_txn *txn, enum table table, const struct row *key, uint64_t time_ms)
{
	struct row value = row_none();
	struct wire w;

	int err = row_get(txn, table, key, &w);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0 && wire_u64(&w) >= time_ms)
		return 0;
	row_u64(&value, time_ms);
	return row_put(txn, table, key, &value);
}

static struct row waiting_key(uint64_t version, const struct slot_name *name)
{
	struct row key = row_of2(0, version), slot = slot_key(name);

	row_bytes(&key, slot.data, slot.size);
	return key;
}

/* Raises both times of a document at a name: of its last entry, and of the last version that was made elsewhere. */
static int put_path(struct store_txn *txn, const struct slot_name *name, uint64_t document, uint64_t time_ms,
		    uint64_t placed_ms)
{
	struct row key = slot_key(name), value = row_none();
	uint64_t last_ms = 0, last_placed_ms = 0;
	struct wire w;

	row_u64_be(&key, document);
	int err = row_get(txn, TABLE_PATH, &key, &w);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0) {
		last_ms = wire_u64(&w);
		last_placed_ms = wire_u64(&w);
	}
	if (err == 0 && last_ms >= time_ms && last_placed_ms >= placed_ms)
		return 0;
	row_u64(&value, last_ms > time_ms ? last_ms : time_ms);
	row_u64(&value, last_placed_ms > placed_ms ? last_placed_ms : placed_ms);
	return row_put(txn, TABLE_PATH, &key, &value);
}

/* The document was put at this name; or will turn out to have been, when its record comes. */
static int note_path(struct application *a, const struct change *c)
{
	uint64_t time_ms = c->item.time_ms;

	if (c->item.what != WHAT_VERSION)
		return 0;
	if (c->item.document)
		return put_path(a->txn, &c->name, c->item.document,
				c->version_ms > time_ms ? c->version_ms : time_ms,
				c->target == c->item.record ? 0 : c->version_ms);
	struct row key = waiting_key(c->target, &c->name);
	return raise_time(a->txn, TABLE_STAND, &key, time_ms);
}

static int put_entry(struct application *a, const struct change *c)
{
	struct entry_row row = { .record = c->item.record, .time_ms = c->item.time_ms, .index = c->item.index,
				 .what = c->item.what, .dead_ms = c->dead_ms, .record_id = c->item.record_id,
				 .id = c->item.id };

	return entry_put(a->txn, &c->name, &row);
}

/* Was it replaced before it came? */
static int find_mark(struct application *a, struct change *c)
{
	struct entry_row mark;

	if (a->row->fresh)
		return 0;
	int err = entry_get(a->txn, &c->name, NOT_HERE, c->item.record, c->item.index, &mark);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	c->dead_ms = mark.dead_ms;
	return entry_delete(a->txn, &c->name, &mark);
}

static int place_item(struct application *a, struct change *c)
{
	bool stands = c->dead_ms == ALIVE;
	int err = 0;

	if (c->item.what == WHAT_DIRECTORY) {
		err = touch_directory(a, c->target);
		if (err == 0)
			err = placed_put(a->txn, &c->name, c->target, stands, &c->item);
	} else if (c->item.what == WHAT_VERSION) {
		touch_document(c, c->item.document);
	}
	return err == 0 && stands ? slot_insert(&c->slot, &c->item) : err;
}

static int apply_entry(struct application *a, const struct entry *entry, uint32_t index)
{
	struct change c = { .dead_ms = ALIVE };

	int err = resolve(a, entry, index, &c);
	if (err == 0)
		err = load_change(a->txn, &c);
	for (uint32_t i = 0; err == 0 && i < entry->replaces_count; i++)
		err = replace(a, &c, &a->record->replaces[entry->replaces_first + i]);
	if (err == 0)
		err = slot_refill(a->txn, &c.name, &c.slot);
	if (err == 0)
		err = find_mark(a, &c);
	if (err == 0)
		err = put_entry(a, &c);
	if (err == 0)
		err = place_item(a, &c);
	if (err == 0)
		err = note_path(a, &c);
	if (err == 0)
		err = save_change(a->txn, &a->view, &c, a->row->time_ms);
	slot_finish(&c.slot);
	return err;
}

static int note_entry(struct application *a, const struct entry *entry, uint32_t index)
{
	struct change c = { 0 };

	int err = resolve(a, entry, index, &c);
	c.dead_ms = 0;
	if (err == 0)
		err = put_entry(a, &c);
	return err < 0 ? err : note_path(a, &c);
}

static int each_entry(struct store_txn *txn, const struct id *person, const struct record_row *row,
		      const struct record *record,
		      int (*apply)(struct application *a, const struct entry *entry, uint32_t index))
{
	struct application a = { .txn = txn, .row = row, .record = record };
	const struct entry *entries;
	uint64_t number;

	size_t count = record_entries(record, &entries);
	if (count == 0)
		return 0;
	int err = store_number_make(txn, NUMBER_ENTITY, person, &number);
	if (err == 0)
		err = view_open(&a.view, txn, person);
	for (size_t i = 0; err == 0 && i < count; i++)
		err = apply(&a, &entries[i], (uint32_t)i);
	return err < 0 ? err : check_touched(&a);
}

int tree_apply(struct store_txn *txn, const struct id *person, const struct record_row *row,
	       const struct record *record)
{
	return each_entry(txn, person, row, record, apply_entry);
}

int tree_note(struct store_txn *txn, const struct id *person, const struct record_row *row,
	      const struct record *record)
{
	return each_entry(txn, person, row, record, note_entry);
}

int tree_apply_place(struct store_txn *txn, const struct id *id)
{
	uint64_t directory;

	int err = store_number(txn, NUMBER_DIRECTORY, id, &directory);
	if (err == 0)
		err = settle_mark_users(txn, directory);
	return err == -ENOENT ? 0 : err;
}

/* ---- a version comes after entries that name it ---- */

static int version_came(struct store_txn *txn, const struct record_row *row, uint64_t document,
			const struct slot_name *name)
{
	struct change c = { .name = *name };
	struct view view;
	struct id person;
	bool changed = false;

	int err = load_change(txn, &c);
	for (size_t i = 0; i < c.slot.count; i++) {
		struct slot_item *item = &c.slot.items[i];
		if (item->what == WHAT_VERSION && !item->document && id_equal(&item->id, &row->id)) {
			item->document = document;
			changed = true;
		}
	}
	if (err == 0 && changed) {
		touch_document(&c, document);
		err = store_number_id(txn, NUMBER_ENTITY, name->person, &person);
		if (err == 0)
			err = view_open(&view, txn, &person);
		if (err == 0)
			err = save_change(txn, &view, &c, UINT64_MAX);
	}
	slot_finish(&c.slot);
	return err;
}

/* The first slot that waits for a version; the row is taken away. 1, 0 or an error. */
static int take_waiting(struct store_txn *txn, uint64_t version, char name[NAME_SIZE_MAX], struct slot_name *out,
			uint64_t *out_ms)
{
	struct row prefix = row_of2(0, version), key = row_none();
	struct index_range range;
	struct wire w, value;

	int err = row_range(txn, TABLE_STAND, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	if (err > 0) {
		row_bytes(&key, range.key, range.key_size);
		wire_init(&value, range.value, range.value_size);
		*out_ms = wire_u64(&value);
	}
	index_range_close(&range);
	if (err <= 0)
		return err;
	wire_init(&w, key.data + prefix.size, key.size - prefix.size);
	out->person = wire_u64_be(&w);
	out->directory = wire_u64_be(&w);
	if (w.failed || w.left < 2 || w.left > NAME_SIZE_MAX + 1)
		return -EBADMSG;
	out->size = w.left - 1;
	memcpy(name, w.at, out->size);
	out->name = name;
	err = row_delete(txn, TABLE_STAND, &key);
	return err < 0 ? err : 1;
}

int tree_apply_version(struct store_txn *txn, const struct record_row *row, uint64_t document)
{
	char name[NAME_SIZE_MAX];
	struct slot_name slot;
	uint64_t time_ms;
	int found;

	while ((found = take_waiting(txn, row->number, name, &slot, &time_ms)) > 0) {
		int err = put_path(txn, &slot, document, time_ms > row->time_ms ? time_ms : row->time_ms, row->time_ms);
		if (err == 0)
			err = version_came(txn, row, document, &slot);
		if (err < 0)
			return err;
	}
	return found;
}

/* ---- forgetting ---- */

/* Calls `forget` for each row of a person in a table; it may write there. */
static int each_row(struct store_txn *txn, enum table table, uint64_t person,
		    int (*forget)(struct store_txn *txn, const struct index_range *range))
{
	struct row key = row_of(person);
	struct index_range range;
	int found;

	do {
		struct row next = row_none();
		found = row_range_at(txn, table, 8, &key, false, &range);
		if (found == 0 && (found = index_range_next(&range)) > 0) {
			row_bytes(&next, range.key, range.key_size);
			row_u8(&next, 0);
			int err = forget(txn, &range);
			if (err < 0)
				found = err;
		}
		index_range_close(&range);
		key = next;
	} while (found > 0);
	return found;
}

static struct slot_name slot_of_key(const struct index_range *range)
{
	struct slot_name name = { 0 };
	struct wire w;

	wire_init(&w, range->key, range->key_size);
	name.person = wire_u64_be(&w);
	name.directory = wire_u64_be(&w);
	const uint8_t *end = memchr(w.at, 0, w.left);
	name.name = (const char *)w.at;
	name.size = end ? (size_t)(end - w.at) : w.left;
	return name;
}

/* The cookie stays: a listing goes on in order. */
static int forget_slot(struct store_txn *txn, const struct index_range *range)
{
	struct slot_name name = slot_of_key(range);
	struct slot slot = { 0 };
	char copy[NAME_SIZE_MAX];
	struct wire w;

	wire_init(&w, range->value, range->value_size);
	slot.cookie = wire_u64(&w);
	wire_u64(&w);
	if (wire_u32(&w) == 0 || name.size > sizeof(copy))
		return 0;
	memcpy(copy, name.name, name.size);
	name.name = copy;
	return slot_save(txn, &name, &slot);
}

/* What other tables have of an entry. */
static int forget_entry(struct store_txn *txn, const struct index_range *range)
{
	struct slot_name name = slot_of_key(range);
	struct entry_row entry;
	uint64_t number, document, time_ms;

	int err = entry_read(range, &entry, NULL, NULL);
	if (err < 0 || entry.time_ms == NOT_HERE)
		return err;
	if (entry.what == WHAT_DIRECTORY) {
		err = store_number(txn, NUMBER_DIRECTORY, &entry.id, &number);
		struct row prefix = row_of2(number, name.person);
		return err < 0 ? err : row_delete_prefix(txn, TABLE_PLACED, &prefix);
	}
	if (entry.what != WHAT_VERSION)
		return 0;
	err = store_number(txn, NUMBER_RECORD, &entry.id, &number);
	if (err == 0)
		err = document_of_record(txn, number, &document, &time_ms);
	if (err != -ENOENT)
		return err;
	struct row waiting = waiting_key(number, &name);
	return row_delete(txn, TABLE_STAND, &waiting);
}

static int forget_path(struct store_txn *txn, const struct index_range *range)
{
	struct slot_name name = slot_of_key(range);
	struct wire w;

	wire_init(&w, range->key + range->key_size - 8, 8);
	struct row key = stand_key(wire_u64_be(&w), &name);
	return row_delete(txn, TABLE_STAND, &key);
}

int tree_forget_person(struct store_txn *txn, const struct id *person)
{
	static const enum table whole[] = { TABLE_ORDER, TABLE_ENTRY, TABLE_PATH, TABLE_SHOWN, TABLE_EXTRA };
	uint64_t number;

	int err = store_number(txn, NUMBER_ENTITY, person, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = each_row(txn, TABLE_SLOT, number, forget_slot);
	if (err == 0)
		err = each_row(txn, TABLE_ENTRY, number, forget_entry);
	if (err == 0)
		err = each_row(txn, TABLE_PATH, number, forget_path);
	struct row prefix = row_of(number);
	for (size_t i = 0; err == 0 && i < sizeof(whole) / sizeof(whole[0]); i++)
		err = row_delete_prefix(txn, whole[i], &prefix);
	settle_mark(txn, number);
	settle_tell(txn, &(struct slot_name){ .person = number, .name = "" });
	return err;
}
