#include "document.h"

#include <errno.h>
#include <stdlib.h>

#include "document_rows.h"
#include "person.h"
#include "wanted.h"

#define DEVICE_PART 8 /* bytes of the device's id in the order of versions */
#define SORT_SIZE (8 + DEVICE_PART + 8 + ID_SIZE)

/* ---- rows ---- */

static struct row node_key(uint64_t number)
{
	return row_of(number);
}

static int put_list_row(struct store_txn *txn, uint64_t document, const struct record_row *row,
			const struct record *record)
{
	struct row key = row_of2(document, row->time_ms), value = row_none();

	row_bytes(&key, record->voucher.bytes, DEVICE_PART);
	row_u64_be(&key, row->seq);
	row_id(&key, &row->id);
	row_u64(&value, row->number);
	row_u64(&value, record->version.content.size);
	row_u64(&value, row->log);
	row_u8(&value, (uint8_t)record->version.mode);
	return row_put(txn, TABLE_VERSION, &key, &value);
}

static int put_parents(struct store_txn *txn, const struct record_row *row, const struct record *record,
		       struct row *value)
{
	row_u8(value, (uint8_t)record->version.parent_count);
	for (uint32_t i = 0; i < record->version.parent_count; i++) {
		uint64_t parent;
		int err = store_number_make(txn, NUMBER_RECORD, &record->version.parents[i], &parent);
		if (err < 0)
			return err;
		row_u64(value, parent);
		struct row child = row_of2(parent, row->number);
		err = row_put(txn, TABLE_CHILD, &child, NULL);
		if (err == 0)
			err = wanted_note_parent(txn, parent);
		if (err < 0)
			return err;
	}
	return 0;
}

int document_apply(struct store_txn *txn, const struct record_row *row, const struct record *record)
{
	const struct id *id = id_is_zero(&record->version.document) ? &row->id : &record->version.document;
	struct row key = node_key(row->number), value = row_none();
	uint64_t document;

	int err = store_number_make(txn, NUMBER_DOCUMENT, id, &document);
	if (err < 0)
		return err;
	row_u64(&value, document);
	row_u64(&value, row->time_ms);
	row_id(&value, &row->id);
	row_u64(&value, record->version.content.size);
	row_u64(&value, row->log);
	row_u8(&value, (uint8_t)record->version.mode);
	err = put_parents(txn, row, record, &value);
	if (err == 0)
		err = row_put(txn, TABLE_NODE, &key, &value);
	if (err == 0)
		err = put_list_row(txn, document, row, record);
	if (err == 0)
		err = wanted_note(txn, row, &record->version.content);
	return err < 0 || row->fresh ? err : tree_apply_version(txn, row, document);
}

static int get_row(struct store_txn *txn, uint64_t number, struct wire *out)
{
	struct row key = node_key(number);

	return row_get(txn, TABLE_NODE, &key, out);
}

int document_of_record(struct store_txn *txn, uint64_t record, uint64_t *out_document, uint64_t *out_time_ms)
{
	struct wire w;

	int err = get_row(txn, record, &w);
	if (err < 0)
		return err;
	uint64_t document = wire_u64(&w), time_ms = wire_u64(&w);
	if (w.failed)
		return -EBADMSG;
	*out_document = document;
	*out_time_ms = time_ms;
	return 0;
}

int document_node(struct store_txn *txn, uint64_t record, struct version_node *out)
{
	struct version_node node = { .number = record };
	struct wire w;

	int err = get_row(txn, record, &w);
	if (err < 0)
		return err;
	wire_u64(&w);
	node.time_ms = wire_u64(&w);
	wire_bytes(&w, ID_SIZE + 8 + 8 + 1);
	node.parent_count = wire_u8(&w);
	if (node.parent_count > PARENTS_MAX)
		return -EBADMSG;
	for (uint64_t i = 0; i < node.parent_count; i++)
		node.parents[i] = wire_u64(&w);
	err = wire_finish(&w);
	if (err == 0)
		*out = node;
	return err;
}

int document_version_row(struct store_txn *txn, const struct id *version, struct version_row *out)
{
	struct version_row row = { 0 };
	uint64_t document;
	struct wire w;

	int err = store_number(txn, NUMBER_RECORD, version, &row.number);
	if (err == 0)
		err = get_row(txn, row.number, &w);
	if (err < 0)
		return err;
	document = wire_u64(&w);
	row.time_ms = wire_u64(&w);
	wire_id(&w, &row.id);
	row.size = wire_u64(&w);
	row.log = wire_u64(&w);
	row.mode = (enum mode)wire_u8(&w);
	if (w.failed)
		return -EBADMSG;
	err = store_number_id(txn, NUMBER_DOCUMENT, document, &row.document);
	if (err == 0)
		*out = row;
	return err;
}

int document_version(struct store_txn *txn, const struct id *version, struct version *out)
{
	struct record *record = store_txn_record(txn, 1);
	struct record_row row;
	struct version_row version_row;

	int err = document_version_row(txn, version, &version_row);
	if (err == 0)
		err = log_record_row(txn, version_row.number, &row);
	if (err == 0)
		err = log_read_record(txn, &row, record, NULL);
	if (err < 0)
		return err;
	out->row = version_row;
	out->device = record->voucher;
	out->parent_count = record->version.parent_count;
	memcpy(out->parents, record->version.parents, sizeof(out->parents));
	out->content = record->version.content;
	return 0;
}

bool document_is_leaf(struct store_txn *txn, uint64_t record_number)
{
	struct row prefix = row_of(record_number);
	struct index_range range;

	int err = row_range(txn, TABLE_CHILD, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	index_range_close(&range);
	return err == 0;
}

int document_authors(struct store_txn *txn, const struct id *document, uint64_t *out_logs, size_t count_max)
{
	struct index_range range;
	uint64_t number;
	size_t count = 0;

	int err = store_number(txn, NUMBER_DOCUMENT, document, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	struct row prefix = row_of(number);
	err = row_range(txn, TABLE_VERSION, &prefix, &range);
	while (err == 0 && count < count_max && (err = index_range_next(&range)) > 0) {
		struct wire value;
		wire_init(&value, range.value, range.value_size);
		wire_bytes(&value, 8 + 8);
		uint64_t log = wire_u64(&value);
		size_t i = 0;
		while (i < count && out_logs[i] != log)
			i++;
		if (i == count)
			out_logs[count++] = log;
		err = value.failed ? -EBADMSG : 0;
	}
	index_range_close(&range);
	return err < 0 ? err : (int)count;
}

/* ---- lists ---- */

static int source_next(struct version_source *source, bool backwards)
{
	struct wire w;

	int found = index_range_next(&source->range);
	source->live = found > 0;
	if (found <= 0)
		return found;
	wire_init(&w, source->range.key + 8, source->range.key_size - 8);
	if (!backwards && wire_u64_be(&w) > source->limit_ms)
		source->live = false;
	return 0;
}

/* Does this node follow it whoever writes it? Then all its versions are listed wherever it stands. */
static bool is_followed(struct store_txn *txn, const struct id *document)
{
	struct id self;
	uint64_t on;

	return person_self(txn, &self) == 0 && person_said(txn, &self, FIELD_SUBSCRIBE, document, &on) == 0 && on;
}

/* from_ms: the first time wanted; backwards: the first that is not. */
static int source_open(struct version_list *list, const struct tree_document *document, uint64_t from_ms)
{
	struct version_source *source = &list->sources[list->count];
	uint64_t number;

	*source = (struct version_source){ .document = document->document, .placed_ms = document->placed_ms,
					   .limit_ms = document->stands ? UINT64_MAX : document->last_ms };
	if (document->stands && is_followed(list->txn, &document->document))
		source->placed_ms = UINT64_MAX;
	int err = store_number(list->txn, NUMBER_DOCUMENT, &document->document, &number);
	if (err < 0 || (list->backwards && from_ms == 0))
		return err;
	struct row key = row_of(number);
	if (list->backwards) {
		row_u64_be(&key, source->limit_ms < from_ms ? source->limit_ms : from_ms - 1);
		memset(key.data + key.size, 0xff, SORT_SIZE);
		key.size += SORT_SIZE;
	} else {
		row_u64_be(&key, from_ms);
	}
	err = row_range_at(list->txn, TABLE_VERSION, 8, &key, list->backwards, &source->range);
	if (err == 0)
		err = source_next(source, list->backwards);
	if (err < 0)
		index_range_close(&source->range);
	else
		list->count++;
	return err;
}

static int list_open(struct version_list *list, const struct list_at *at, uint64_t from_ms)
{
	struct tree_document *documents = NULL;

	int count = tree_documents(list->txn, at->person, at->directory, at->name, NULL, 0);
	if (count <= 0)
		return count;
	documents = calloc((size_t)count, sizeof(*documents));
	list->sources = calloc((size_t)count, sizeof(*list->sources));
	int err = documents && list->sources ? 0 : -ENOMEM;
	if (err == 0)
		err = tree_documents(list->txn, at->person, at->directory, at->name, documents, (size_t)count);
	for (int i = 0; err >= 0 && i < count; i++)
		err = source_open(list, &documents[i], from_ms);
	free(documents);
	if (err < 0)
		version_list_close(list);
	return err < 0 ? err : 0;
}

int version_list_open(struct version_list *list, struct store_txn *txn, const struct list_at *at, uint64_t from_ms)
{
	*list = (struct version_list){ .txn = txn, .at = *at };
	return list_open(list, at, from_ms);
}

int version_list_open_backwards(struct version_list *list, struct store_txn *txn, const struct list_at *at,
				uint64_t before_ms)
{
	*list = (struct version_list){ .txn = txn, .at = *at, .backwards = true };
	return list_open(list, at, before_ms);
}

void version_list_close(struct version_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		index_range_close(&list->sources[i].range);
	free(list->sources);
	list->sources = NULL;
	list->count = 0;
}

static struct version_source *first_source(const struct version_list *list)
{
	struct version_source *first = NULL;

	for (size_t i = 0; i < list->count; i++) {
		struct version_source *source = &list->sources[i];
		if (!source->live)
			continue;
		if (!first) {
			first = source;
			continue;
		}
		int order = memcmp(source->range.key + 8, first->range.key + 8, SORT_SIZE);
		if (list->backwards ? order > 0 : order < 0)
			first = source;
	}
	return first;
}

/* 1 if a version of the source's document belongs to the slot's list. */
static int is_listed(const struct version_list *list, const struct version_source *source, const struct version_row *row)
{
	if (row->time_ms > source->limit_ms)
		return 0;
	if (row->time_ms <= source->placed_ms)
		return 1;
	return tree_is_made_at(list->txn, list->at.person, list->at.directory, list->at.name, row->number, row->time_ms);
}

static int read_row(const struct version_source *source, struct version_row *out)
{
	struct version_row row;
	struct wire key, value;

	wire_init(&key, source->range.key + 8, source->range.key_size - 8);
	row.document = source->document;
	row.time_ms = wire_u64_be(&key);
	wire_bytes(&key, DEVICE_PART + 8);
	wire_id(&key, &row.id);
	wire_init(&value, source->range.value, source->range.value_size);
	row.number = wire_u64(&value);
	row.size = wire_u64(&value);
	row.log = wire_u64(&value);
	row.mode = (enum mode)wire_u8(&value);
	*out = row;
	return wire_finish(&key) < 0 || wire_finish(&value) < 0 ? -EBADMSG : 0;
}

int version_list_next(struct version_list *list, struct version_row *out)
{
	struct version_source *source;
	struct version_row row;

	while ((source = first_source(list)) != NULL) {
		int err = read_row(source, &row);
		int listed = err == 0 ? is_listed(list, source, &row) : err;
		if (listed >= 0)
			err = source_next(source, list->backwards);
		if (err < 0 || listed < 0)
			return err < 0 ? err : listed;
		if (!listed)
			continue;
		*out = row;
		return 1;
	}
	return 0;
}

int version_list_contains(const struct version_list *list, const struct version_row *row)
{
	for (size_t i = 0; i < list->count; i++)
		if (id_equal(&list->sources[i].document, &row->document)) {
			int listed = is_listed(list, &list->sources[i], row);
			if (listed != 0)
				return listed;
		}
	return 0;
}

/* A place in the list: the time, and which of those of that time. Later times share one. */
#define SAME_BITS 20
#define PLACE_MS_MAX ((1ull << 42) - 1)

static uint64_t place_after(uint64_t place, uint64_t time_ms)
{
	if (time_ms > PLACE_MS_MAX)
		time_ms = PLACE_MS_MAX;
	if (place >> SAME_BITS != time_ms)
		place = time_ms << SAME_BITS;
	return place + 1;
}

int document_each(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, uint64_t after,
		  int (*visit)(void *context, const struct version_row *row, uint64_t place), void *context)
{
	const struct list_at at = { person, directory, name };
	struct version_list list;
	struct version_row row;
	uint64_t place = 0;
	int found = 1;

	int err = version_list_open(&list, txn, &at, after >> SAME_BITS);
	while (err == 0 && (found = version_list_next(&list, &row)) > 0) {
		place = place_after(place, row.time_ms);
		if (place > after)
			err = visit(context, &row, place);
	}
	version_list_close(&list);
	return err != 0 ? err : found < 0 ? found : 0;
}

static int count_one(void *context, const struct version_row *row, uint64_t place)
{
	uint64_t *count = context;

	(*count)++;
	return 0;
}

int document_count(struct store_txn *txn, const struct id *person, const struct id *directory,
		   const char *name, uint64_t *out)
{
	uint64_t count = 0;

	int err = document_each(txn, person, directory, name, 0, count_one, &count);
	if (err == 0)
		*out = count;
	return err;
}
