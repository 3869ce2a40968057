#include "summary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "cleanup.h"

/* One section, in memory while it is made: a million documents, more or less. */
#define SECTION_SIZE_MAX (256u * 1024 * 1024)
#define FACT_SIZE_MAX 1024 /* two ids, a name and some numbers are 400 */
#define FACTS_MIN 1024     /* fewer are not worth thinning out */
#define ID_ITEM_SIZE (2 + ID_SIZE) /* as CBOR */

/*
 * Something said by a record. What is said later makes many of them void: facts are
 * sorted and thinned out whenever there are twice as many as were left the last time.
 */
struct fact {
	uint8_t section;
	bool stands;      /* an entry: it stands, unless it is replaced as well. Else: it is replaced */
	uint32_t index;   /* the entry's */
	struct id record; /* that says so; of an entry: the entry's */
	uint64_t seq;     /* of the record that says so */
	size_t key_size;  /* of bytes, what they are about: array head, subject */
	size_t size;
	uint8_t bytes[];  /* as they will be written */
};

struct facts {
	struct fact **items;
	size_t count, capacity;
	size_t thin_at;
};

static void facts_finish(struct facts *facts)
{
	for (size_t i = 0; i < facts->count; i++)
		free(facts->items[i]);
	free(facts->items);
}

/* ---- thinning out ---- */

/* The order of the items: one CBOR item is never the beginning of another. */
static int compare_about(const struct fact *a, const struct fact *b)
{
	if (a->section != b->section)
		return a->section < b->section ? -1 : 1;
	int order = memcmp(a->bytes, b->bytes, a->key_size < b->key_size ? a->key_size : b->key_size);
	return order ? order : (a->key_size > b->key_size) - (a->key_size < b->key_size);
}

static int compare_entry(const struct fact *a, const struct fact *b)
{
	int order = id_compare(&a->record, &b->record);

	return order ? order : (a->index > b->index) - (a->index < b->index);
}

static int compare_age(const struct fact *a, const struct fact *b)
{
	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	return id_compare(&a->record, &b->record);
}

static int compare_facts(const void *left, const void *right)
{
	const struct fact *a = *(struct fact *const *)left, *b = *(struct fact *const *)right;

	int order = compare_about(a, b);
	if (order)
		return order;
	return a->section == SUMMARY_ENTRIES ? compare_entry(a, b) : compare_age(a, b);
}

static bool is_same(const struct fact *a, const struct fact *b)
{
	return compare_about(a, b) == 0 && (a->section != SUMMARY_ENTRIES || compare_entry(a, b) == 0);
}

/*
 * Of facts about the same, the last one: the newest, or any of the times that an entry is
 * replaced. None where an entry both stands and is replaced: those that replace it are later
 * in the log, and the walk has seen them all by then.
 */
static struct fact *pick(struct fact *const *same, size_t count)
{
	bool stands = false, replaced = false;

	if (same[0]->section != SUMMARY_ENTRIES)
		return same[count - 1];
	for (size_t i = 0; i < count; i++) {
		stands |= same[i]->stands;
		replaced |= !same[i]->stands;
	}
	return stands && replaced ? NULL : same[count - 1];
}

static void facts_thin(struct facts *facts)
{
	size_t kept = 0, next;

	if (facts->count == 0)
		return;
	qsort(facts->items, facts->count, sizeof(struct fact *), compare_facts);
	for (size_t first = 0; first < facts->count; first = next) {
		for (next = first + 1; next < facts->count; next++)
			if (!is_same(facts->items[first], facts->items[next]))
				break;
		struct fact *picked = pick(facts->items + first, next - first);
		for (size_t i = first; i < next; i++)
			if (facts->items[i] != picked)
				free(facts->items[i]);
		if (picked)
			facts->items[kept++] = picked;
	}
	facts->count = kept;
	facts->thin_at = kept < FACTS_MIN ? FACTS_MIN : 2 * kept;
}

/* Adds a copy, with these bytes. */
static int facts_add(struct facts *facts, const struct fact *fact, const struct bytes *bytes)
{
	int err = bytes_error(bytes);
	if (err < 0)
		return err;
	if (facts->count >= facts->thin_at)
		facts_thin(facts);
	if (facts->count >= facts->capacity) {
		size_t capacity = facts->capacity ? facts->capacity * 2 : FACTS_MIN;
		struct fact **items = realloc(facts->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		facts->items = items;
		facts->capacity = capacity;
	}
	struct fact *copy = malloc(sizeof(*copy) + bytes->size);
	if (!copy)
		return -ENOMEM;
	*copy = *fact;
	copy->size = bytes->size;
	memcpy(copy->bytes, bytes->data, bytes->size);
	facts->items[facts->count++] = copy;
	return 0;
}

/* ---- what records say ---- */

static void put_place(struct bytes *b, const struct id *record, uint32_t index)
{
	cbor_put_id(b, record);
	cbor_put_uint(b, index);
}

static int take_entry(struct facts *facts, const struct record_row *row, const struct record *record,
		      uint32_t index, const struct entry *entry, struct bytes *b)
{
	bool own = record->field == FIELD_VERSION;
	struct fact fact = { .section = SUMMARY_ENTRIES, .seq = row->seq };

	cbor_put_array(b, 4);
	cbor_put_id(b, &entry->directory);
	cbor_put_text(b, entry->name.data, entry->name.size);
	fact.key_size = b->size;
	for (uint32_t i = 0; i < entry->replaces_count; i++) {
		const struct replaced *replaced = &record->replaces[entry->replaces_first + i];
		fact.record = replaced->record;
		fact.index = replaced->index;
		cbor_put_array(b, 2);
		put_place(b, &fact.record, fact.index);
		int err = facts_add(facts, &fact, b);
		if (err < 0)
			return err;
		b->size = fact.key_size;
	}
	fact.stands = true;
	fact.record = row->id;
	fact.index = index;
	cbor_put_array(b, 5);
	put_place(b, &fact.record, fact.index);
	cbor_put_uint(b, entry->what);
	cbor_put_optional_id(b, own ? &row->id : &entry->id);
	cbor_put_uint(b, row->time_ms);
	return facts_add(facts, &fact, b);
}

static int take_entries(struct facts *facts, const struct record_row *row, const struct record *record,
			struct bytes *b)
{
	const struct entry *entries;
	size_t count = record_entries(record, &entries);
	int err = 0;

	for (size_t i = 0; err == 0 && i < count; i++) {
		bytes_clear(b);
		err = take_entry(facts, row, record, (uint32_t)i, &entries[i], b);
	}
	return err;
}

/* [field, group, entity: only the newest of these counts, on, record, time] */
static size_t put_group(struct bytes *b, const struct record_row *row, const struct record *record)
{
	static const struct id none;
	const struct id *group = record->field == FIELD_FOUND ? &row->id
			       : record->field == FIELD_JOIN ? &record->join.group : &record->authorize.group;
	const struct id *entity = record->field == FIELD_AUTHORIZE ? &record->authorize.entity : &none;

	cbor_put_array(b, 6);
	cbor_put_uint(b, record->field);
	cbor_put_id(b, group);
	cbor_put_optional_id(b, entity);
	size_t key_size = b->size;
	cbor_put_uint(b, record->field == FIELD_FOUND ? 1
			 : record->field == FIELD_JOIN ? record->join.on : record->authorize.on);
	return key_size;
}

/* The item but for its end. Returns the size of what it is about. */
static size_t put_said(struct bytes *b, const struct record_row *row, const struct record *record)
{
	size_t key_size;

	switch (record->field) {
	case FIELD_SUBSCRIBE:
		cbor_put_array(b, 5);
		cbor_put_uint(b, record->subscribe.what);
		cbor_put_id(b, &record->subscribe.id);
		key_size = b->size;
		cbor_put_uint(b, record->subscribe.on);
		return key_size;
	case FIELD_VOTE:
		cbor_put_array(b, 4);
		cbor_put_id(b, &record->vote.object);
		key_size = b->size;
		cbor_put_uint(b, record->vote.vote);
		return key_size;
	case FIELD_TRUST:
		cbor_put_array(b, 4);
		cbor_put_id(b, &record->trust.entity);
		key_size = b->size;
		cbor_put_uint(b, record->trust.parts_per_million);
		return key_size;
	case FIELD_RANKING:
		cbor_put_array(b, 4);
		cbor_put_id(b, &record->ranking.directory);
		cbor_put_text(b, record->ranking.name.data, record->ranking.name.size);
		return b->size;
	case FIELD_ADMIT: /* with the id that comes next: every one is kept */
		cbor_put_array(b, 5);
		cbor_put_id(b, &record->admit.device);
		cbor_put_uint(b, record->admit.on);
		cbor_put_optional_id(b, &record->admit.last);
		return b->size + ID_ITEM_SIZE;
	default:
		return put_group(b, row, record);
	}
}

/* The section that tells of a field; SUMMARY_COUNT: none. */
static uint8_t section_of(uint64_t field)
{
	static const struct {
		enum field field;
		uint8_t section;
	} rows[] = {
		{ FIELD_VERSION, SUMMARY_ENTRIES }, { FIELD_ENTRIES, SUMMARY_ENTRIES },
		{ FIELD_SUBSCRIBE, SUMMARY_SUBSCRIPTIONS }, { FIELD_VOTE, SUMMARY_VOTES },
		{ FIELD_TRUST, SUMMARY_TRUST }, { FIELD_RANKING, SUMMARY_RANKINGS },
		{ FIELD_FOUND, SUMMARY_GROUPS }, { FIELD_JOIN, SUMMARY_GROUPS },
		{ FIELD_AUTHORIZE, SUMMARY_GROUPS }, { FIELD_ADMIT, SUMMARY_ADMITS },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].field == field)
			return rows[i].section;
	return SUMMARY_COUNT;
}

static int take_record(struct facts *facts, const struct record_row *row, const struct record *record, struct bytes *b)
{
	struct fact fact = { .section = section_of(row->field), .record = row->id, .seq = row->seq };

	if (fact.section == SUMMARY_ENTRIES)
		return take_entries(facts, row, record, b);
	bytes_clear(b);
	fact.key_size = put_said(b, row, record);
	cbor_put_id(b, &row->id);
	cbor_put_uint(b, row->time_ms);
	return facts_add(facts, &fact, b);
}

/* Everything in force after the record `last` (0: none), from it back to the first. */
static int facts_collect(struct facts *facts, struct store_txn *txn, uint64_t last)
{
	CLEANUP(cleanup_free) struct record *record = record_new();
	CLEANUP(bytes_finish) struct bytes item = { 0 };
	struct record_row row;

	bytes_init(&item, FACT_SIZE_MAX);
	if (!record)
		return -ENOMEM;
	facts->thin_at = FACTS_MIN;
	for (uint64_t number = last; number; number = row.prev) {
		int err = log_record_row(txn, number, &row);
		if (err == 0 && section_of(row.field) != SUMMARY_COUNT) {
			err = log_read_record(txn, &row, record, NULL);
			if (err == 0)
				err = take_record(facts, &row, record, &item);
		}
		if (err < 0)
			return err;
	}
	facts_thin(facts);
	return 0;
}

/* ---- sections ---- */

static void put_entries(struct bytes *b, struct fact *const *slot, size_t count, bool stands)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += slot[i]->stands == stands;
	cbor_put_array(b, found);
	for (size_t i = 0; i < count; i++)
		if (slot[i]->stands == stands)
			bytes_put(b, slot[i]->bytes + slot[i]->key_size, slot[i]->size - slot[i]->key_size);
}

/* The facts of one slot, or one fact. */
static void put_item(struct bytes *b, struct fact *const *facts, size_t count)
{
	if (facts[0]->section != SUMMARY_ENTRIES) {
		bytes_put(b, facts[0]->bytes, facts[0]->size);
		return;
	}
	bytes_put(b, facts[0]->bytes, facts[0]->key_size);
	put_entries(b, facts, count, true);
	put_entries(b, facts, count, false);
}

static int section_put(const struct facts *facts, unsigned section, struct bytes *out)
{
	size_t next;

	bytes_clear(out);
	for (size_t first = 0; first < facts->count; first = next) {
		struct fact *const *items = facts->items + first;
		for (next = first + 1; next < facts->count; next++)
			if (compare_about(items[0], facts->items[next]) != 0)
				break;
		if (items[0]->section == section)
			put_item(out, items, next - first);
	}
	return bytes_error(out);
}

/* Visits the text of each section. Stops at nonzero and returns it. */
static int sections_each(struct store_txn *txn, uint64_t last,
			 int (*visit)(void *context, unsigned section, const struct bytes *text), void *context)
{
	CLEANUP(facts_finish) struct facts facts = { 0 };
	CLEANUP(bytes_finish) struct bytes text = { 0 };

	bytes_init(&text, SECTION_SIZE_MAX);
	int err = facts_collect(&facts, txn, last);
	for (unsigned i = 0; err == 0 && i < SUMMARY_COUNT; i++) {
		err = section_put(&facts, i, &text);
		if (err == 0)
			err = visit(context, i, &text);
	}
	return err;
}

struct making {
	struct piece_store pieces;
	struct packer *packer;
	struct summary_section *out;
};

static int store_section(void *context, unsigned section, const struct bytes *text)
{
	struct making *m = context;

	m->out[section].present = text->size > 0;
	return text->size == 0 ? 0 : content_write_bytes(m->packer, &m->pieces, text->data, text->size,
							 &m->out[section].content);
}

/* The record of that seq on the way from a record to the first. */
static int find_on_chain(struct store_txn *txn, uint64_t from, uint64_t seq, uint64_t *out)
{
	struct record_row row;

	for (uint64_t number = from; number; number = row.prev) {
		int err = log_record_row(txn, number, &row);
		if (err < 0)
			return err;
		if (row.seq == seq) {
			*out = number;
			return 0;
		}
		if (row.seq < seq)
			break;
	}
	return -ENOENT;
}

static int make_sections(struct store_txn *txn, uint64_t last, struct summary_section out[SUMMARY_COUNT])
{
	struct making making = { .pieces = store_txn_pieces(txn), .packer = packer_new() };

	making.out = calloc(SUMMARY_COUNT, sizeof(*making.out));
	int err = making.out && making.packer ? sections_each(txn, last, store_section, &making) : -ENOMEM;
	if (err == 0)
		memcpy(out, making.out, SUMMARY_COUNT * sizeof(*out));
	packer_free(making.packer);
	free(making.out);
	return err;
}

int summary_make(struct store_txn *txn, uint64_t log, uint64_t seq, struct summary_section out[SUMMARY_COUNT])
{
	struct log_row row;
	uint64_t last = 0;

	int err = log_get_number(txn, log, &row);
	if (err == 0)
		err = find_on_chain(txn, row.tip, seq, &last);
	return err < 0 ? err : make_sections(txn, last, out);
}

int summary_append(struct store_txn *txn)
{
	CLEANUP(cleanup_free) struct summary_section *sections = calloc(SUMMARY_COUNT, sizeof(*sections));
	struct record *record = store_txn_record(txn, 0);
	struct log_row log = { 0 };

	if (!sections || !record)
		return -ENOMEM;
	int err = log_get(txn, &store_key(store_of(txn))->public, &log);
	if (err < 0 && err != -ENOENT)
		return err;
	err = make_sections(txn, log.tip, sections);
	if (err < 0)
		return err;
	record->field = FIELD_SUMMARY;
	record->summary.sections = sections;
	record->replaces_count = 0;
	err = log_append(txn, record, NULL, NULL);
	record->summary.sections = NULL;
	return err;
}

/* ---- checking ---- */

#define DIFFERS 1 /* not an errno */

static int compare_section(void *context, unsigned section, const struct bytes *text)
{
	const struct summary_section *told = (const struct summary_section *)context + section;
	struct id digest;

	if (told->present != (text->size > 0))
		return DIFFERS;
	if (!told->present)
		return 0;
	id_of_bytes(&digest, text->data, text->size);
	return told->content.size == text->size && id_equal(&told->content.digest, &digest) ? 0 : DIFFERS;
}

int summary_check(struct store_txn *txn, const struct record_row *row, const struct record *record)
{
	CLEANUP(cleanup_free) struct summary_section *told = calloc(SUMMARY_COUNT, sizeof(*told));

	if (!told)
		return -ENOMEM;
	if (record->field != FIELD_SUMMARY)
		return -EINVAL;
	/* First: the record may be in the buffer that the walk reads into. */
	for (unsigned i = 0; i < SUMMARY_COUNT; i++) {
		int err = record_summary_section(record, i, &told[i]);
		if (err < 0)
			return err;
	}
	int differs = sections_each(txn, row->prev, compare_section, told);
	return differs < 0 ? differs : differs == 0;
}
