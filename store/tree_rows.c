#include "tree_rows.h"

#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "document_rows.h"

#define ITEM_SIZE (8 + 4 + 1 + 8 + ID_SIZE + ID_SIZE + 8)

/* ---- slots ---- */

void slot_finish(struct slot *slot)
{
	free(slot->items);
	*slot = (struct slot){ 0 };
}

struct row slot_key(const struct slot_name *name)
{
	struct row key = row_of2(name->person, name->directory);

	row_name(&key, name->name, name->size);
	return key;
}

static void item_read(struct wire *w, struct slot_item *out)
{
	out->record = wire_u64(w);
	out->index = wire_u32(w);
	out->what = (enum what)wire_u8(w);
	out->time_ms = wire_u64(w);
	wire_id(w, &out->record_id);
	wire_id(w, &out->id);
	out->document = wire_u64(w);
}

int slot_load(struct store_txn *txn, const struct slot_name *name, struct slot *out)
{
	struct row key = slot_key(name);
	struct wire w;

	int err = row_get(txn, TABLE_SLOT, &key, &w);
	if (err < 0)
		return err;
	out->cookie = wire_u64(&w);
	out->more = wire_u64(&w);
	size_t count = wire_u32(&w);
	if (w.failed || count > SLOT_KEPT_MAX || (count == 0 && out->more) || w.left != count * ITEM_SIZE)
		return -EBADMSG;
	if (count == 0)
		return 0;
	out->items = calloc(count, sizeof(*out->items));
	if (!out->items)
		return -ENOMEM;
	out->count = out->capacity = count;
	for (size_t i = 0; i < count; i++)
		item_read(&w, &out->items[i]);
	out->oldest = out->items[count - 1];
	return wire_finish(&w);
}

int slot_item_compare(const struct slot_item *a, const struct slot_item *b)
{
	if (a->time_ms != b->time_ms)
		return a->time_ms > b->time_ms ? -1 : 1;
	int order = id_compare(&b->record_id, &a->record_id);
	if (order == 0 && a->index != b->index)
		order = a->index > b->index ? -1 : 1;
	return order;
}

int slot_insert(struct slot *slot, const struct slot_item *item)
{
	if (slot->more && slot_item_compare(&slot->oldest, item) < 0) {
		slot->more++;
		return 0;
	}
	if (slot->count == slot->capacity) {
		size_t capacity = slot->capacity ? slot->capacity * 2 : 4;
		struct slot_item *items = realloc(slot->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		slot->items = items;
		slot->capacity = capacity;
	}
	size_t at = 0;
	while (at < slot->count && slot_item_compare(&slot->items[at], item) < 0)
		at++;
	memmove(slot->items + at + 1, slot->items + at, (slot->count - at) * sizeof(*slot->items));
	slot->items[at] = *item;
	if (++slot->count > SLOT_KEPT_MAX) {
		slot->count--;
		slot->more++;
		slot->oldest = slot->items[slot->count - 1];
	}
	return 0;
}

static int refill_from(struct store_txn *txn, const struct slot_name *name, const struct slot_item *oldest,
		       struct slot *slot)
{
	struct row key = slot_key(name);
	const size_t prefix_size = key.size;
	struct index_range range;
	struct entry_row entry;
	uint64_t number, time_ms;

	row_u64_be(&key, oldest->time_ms);
	row_u64_be(&key, UINT64_MAX);
	int err = row_range_at(txn, TABLE_ENTRY, prefix_size, &key, true, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = entry_read(&range, &entry, NULL, NULL);
		struct slot_item item = { .record = entry.record, .index = entry.index, .what = entry.what,
					  .time_ms = entry.time_ms, .record_id = entry.record_id, .id = entry.id };
		/* Of one time there may be any number, in no order. */
		if (err == 0 && slot->more && entry.time_ms < slot->oldest.time_ms)
			break;
		if (err < 0 || entry.dead_ms != ALIVE || slot_item_compare(&item, oldest) <= 0)
			continue;
		if (item.what == WHAT_VERSION) {
			err = store_number(txn, NUMBER_RECORD, &item.id, &number);
			if (err == 0)
				err = document_of_record(txn, number, &item.document, &time_ms);
			err = err == -ENOENT ? 0 : err;
		}
		if (err == 0)
			err = slot_insert(slot, &item);
	}
	index_range_close(&range);
	return err;
}

int slot_refill(struct store_txn *txn, const struct slot_name *name, struct slot *slot)
{
	const struct slot_item oldest = slot->oldest;
	const uint64_t total = slot->count + slot->more;

	if (!slot->more || slot->count >= SLOT_LOOKED_MAX)
		return 0;
	slot->more = 0; /* counted again, as far as it is searched */
	int err = refill_from(txn, name, &oldest, slot);
	if (slot->more)
		slot->more = total - slot->count;
	return err;
}

bool slot_has_document(const struct slot *slot, uint64_t document)
{
	for (size_t i = 0; i < slot_looked(slot); i++)
		if (slot->items[i].what == WHAT_VERSION && slot->items[i].document == document)
			return true;
	return false;
}

bool slot_has_version(const struct slot *slot)
{
	for (size_t i = 0; i < slot_looked(slot); i++)
		if (slot->items[i].what == WHAT_VERSION && slot->items[i].document)
			return true;
	return false;
}

bool slot_has_directory(const struct slot *slot)
{
	for (size_t i = 0; i < slot_looked(slot); i++)
		if (slot->items[i].what == WHAT_DIRECTORY)
			return true;
	return false;
}

/* ---- entries ---- */

int entry_read(const struct index_range *range, struct entry_row *out, const char **out_name, size_t *out_size)
{
	struct wire key, value;

	wire_init(&key, range->key, range->key_size);
	wire_bytes(&key, 16);
	const uint8_t *end = key.failed ? NULL : memchr(key.at, 0, key.left);
	if (!end)
		return -EBADMSG;
	size_t size = (size_t)(end - key.at);
	const char *name = (const char *)wire_bytes(&key, size + 1);
	struct entry_row row = { .time_ms = wire_u64_be(&key) };
	row.record = wire_u64_be(&key);
	row.index = wire_u32_be(&key);
	wire_init(&value, range->value, range->value_size);
	row.what = (enum what)wire_u8(&value);
	row.dead_ms = wire_u64(&value);
	wire_id(&value, &row.record_id);
	wire_id(&value, &row.id);
	if (wire_finish(&key) < 0 || wire_finish(&value) < 0)
		return -EBADMSG;
	*out = row;
	if (out_name) {
		*out_name = name;
		*out_size = size;
	}
	return 0;
}

static struct row entry_key(const struct slot_name *name, uint64_t time_ms, uint64_t record, uint32_t index)
{
	struct row key = slot_key(name);

	row_u64_be(&key, time_ms);
	row_u64_be(&key, record);
	row_u32_be(&key, index);
	return key;
}

int entry_get(struct store_txn *txn, const struct slot_name *name, uint64_t time_ms, uint64_t record, uint32_t index,
	      struct entry_row *out)
{
	struct row key = entry_key(name, time_ms, record, index);
	struct entry_row row = { .time_ms = time_ms, .record = record, .index = index };
	struct wire w;

	int err = row_get(txn, TABLE_ENTRY, &key, &w);
	if (err < 0)
		return err;
	row.what = (enum what)wire_u8(&w);
	row.dead_ms = wire_u64(&w);
	wire_id(&w, &row.record_id);
	wire_id(&w, &row.id);
	err = wire_finish(&w);
	if (err == 0)
		*out = row;
	return err;
}

int entry_put(struct store_txn *txn, const struct slot_name *name, const struct entry_row *entry)
{
	struct row key = entry_key(name, entry->time_ms, entry->record, entry->index), value = row_none();

	row_u8(&value, (uint8_t)entry->what);
	row_u64(&value, entry->dead_ms);
	row_id(&value, &entry->record_id);
	row_id(&value, &entry->id);
	return row_put(txn, TABLE_ENTRY, &key, &value);
}

int entry_delete(struct store_txn *txn, const struct slot_name *name, const struct entry_row *entry)
{
	struct row key = entry_key(name, entry->time_ms, entry->record, entry->index);

	return row_delete(txn, TABLE_ENTRY, &key);
}

/* ---- placements ---- */

int placed_read(const struct index_range *range, struct placement *out, bool *out_standing)
{
	struct placement placement = { 0 };
	struct wire key, value;

	wire_init(&key, range->key, range->key_size);
	wire_bytes(&key, 16);
	bool standing = wire_u8(&key);
	placement.time_ms = wire_u64_be(&key);
	wire_id(&key, &placement.record_id);
	placement.index = wire_u32_be(&key);
	wire_init(&value, range->value, range->value_size);
	placement.parent = wire_u64(&value);
	placement.record = wire_u64(&value);
	size_t size = value.left;
	if (size > NAME_SIZE_MAX)
		return -EBADMSG;
	memcpy(placement.name, wire_bytes(&value, size), size);
	if (wire_finish(&key) < 0 || wire_finish(&value) < 0)
		return -EBADMSG;
	*out = placement;
	if (out_standing)
		*out_standing = standing;
	return 0;
}

int placed_newest(struct store_txn *txn, uint64_t person, uint64_t directory, bool standing, struct placement *out)
{
	struct row key = row_of2(directory, person);
	struct index_range range;

	row_u8(&key, standing);
	size_t prefix_size = key.size;
	row_u64_be(&key, UINT64_MAX);
	int err = row_range_at(txn, TABLE_PLACED, prefix_size, &key, true, &range);
	if (err == 0)
		err = index_range_next(&range);
	if (err >= 0)
		err = err ? placed_read(&range, out, NULL) : -ENOENT;
	index_range_close(&range);
	return err;
}

static struct row placed_key(uint64_t person, uint64_t directory, bool standing, const struct slot_item *item)
{
	struct row key = row_of2(directory, person);

	row_u8(&key, standing);
	row_u64_be(&key, item->time_ms);
	row_id(&key, &item->record_id);
	row_u32_be(&key, item->index);
	return key;
}

int placed_put(struct store_txn *txn, const struct slot_name *name, uint64_t directory, bool standing,
	       const struct slot_item *item)
{
	struct row key = placed_key(name->person, directory, standing, item), value = row_none();

	row_u64(&value, name->directory);
	row_u64(&value, item->record);
	row_bytes(&value, name->name, name->size);
	return row_put(txn, TABLE_PLACED, &key, &value);
}

int placed_delete(struct store_txn *txn, uint64_t person, uint64_t directory, bool standing,
		  const struct slot_item *item)
{
	struct row key = placed_key(person, directory, standing, item);

	return row_delete(txn, TABLE_PLACED, &key);
}

int tree_is_root(struct store_txn *txn, const struct id *person, uint64_t directory)
{
	struct record_row row;
	struct id id;

	int err = store_number_id(txn, NUMBER_DIRECTORY, directory, &id);
	if (err < 0)
		return err;
	if (id_equal(&id, person))
		return 1;
	err = log_find_record(txn, &id, &row);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return row.field == FIELD_FOUND && !row.held;
}

/* ---- what is in a directory ---- */

int contents_get(struct store_txn *txn, uint64_t person, uint64_t directory, struct contents *out)
{
	struct row key = row_of3(person, directory, 0);
	struct contents contents;
	struct wire w;

	int err = row_get(txn, TABLE_ORDER, &key, &w);
	if (err < 0)
		return err;
	contents.versions = wire_u64(&w);
	contents.directories = wire_u64(&w);
	contents.first_ms = wire_u64(&w);
	err = wire_finish(&w);
	if (err == 0)
		*out = contents;
	return err;
}

int contents_put(struct store_txn *txn, uint64_t person, uint64_t directory, const struct contents *contents)
{
	struct row key = row_of3(person, directory, 0), value = row_none();

	row_u64(&value, contents->versions);
	row_u64(&value, contents->directories);
	row_u64(&value, contents->first_ms);
	return row_put(txn, TABLE_ORDER, &key, &value);
}

static void item_put(struct bytes *b, const struct slot_item *item)
{
	bytes_put_u64(b, item->record);
	bytes_put_u32(b, item->index);
	bytes_put_u8(b, (uint8_t)item->what);
	bytes_put_u64(b, item->time_ms);
	bytes_put(b, item->record_id.bytes, ID_SIZE);
	bytes_put(b, item->id.bytes, ID_SIZE);
	bytes_put_u64(b, item->document);
}

int slot_save(struct store_txn *txn, const struct slot_name *name, const struct slot *slot)
{
	struct row key = slot_key(name);
	struct bytes value;

	bytes_init(&value, 20 + slot->count * ITEM_SIZE);
	bytes_put_u64(&value, slot->cookie);
	bytes_put_u64(&value, slot->more);
	bytes_put_u32(&value, (uint32_t)slot->count);
	for (size_t i = 0; i < slot->count; i++)
		item_put(&value, &slot->items[i]);
	int err = bytes_error(&value);
	if (err == 0)
		err = index_put(store_index(txn), TABLE_SLOT, key.data, key.size, value.data, value.size);
	bytes_finish(&value);
	return err;
}
