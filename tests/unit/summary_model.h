/*
 * summary_model.h - what a summary must be, from a slow model: a log as a list of records that is
 * gone through again for each question. After cmocka.h.
 */
#ifndef SUMMARY_MODEL_H
#define SUMMARY_MODEL_H

#include "cbor.h"
#include "store_helper.h"

#define MODEL_MAX 4096
#define TEXT_SIZE_MAX (8u * 1024 * 1024)

struct said_entry {
	struct id directory, record, id;
	char name[NAME_SIZE_MAX + 1];
	uint32_t index;
	enum what what;
	uint64_t time_ms;
	struct replaced replaces[8];
	size_t replaces_count;
};

struct item {
	uint8_t *bytes;
	size_t size;
};

struct model {
	struct parcel log[MODEL_MAX];
	size_t count;
	struct said_entry *entries; /* of the first records of the log */
	size_t entry_count;
	struct item items[MODEL_MAX];
	size_t item_count;
};

static inline struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->entries = calloc(MODEL_MAX, sizeof(*m->entries));
	assert_non_null(m->entries);
	return m;
}

static inline void model_free(struct model *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->log[i].bytes);
	free(m->entries);
	free(m);
}

/* Reads the newest record of this store's own log into the model. */
static inline void model_take(struct model *m, struct store_txn *txn, const struct id *id)
{
	assert_true(m->count < MODEL_MAX);
	assert_int_equal(parcel_read(txn, id, &m->log[m->count]), 0);
	m->count++;
}

static inline void model_entry(struct model *m, const struct parcel *p, const struct record *r,
			       const struct entry *entry, uint32_t index)
{
	struct said_entry *e = &m->entries[m->entry_count++];

	assert_true(m->entry_count < MODEL_MAX);
	*e = (struct said_entry){ .directory = entry->directory, .record = p->id, .index = index,
				  .id = r->field == FIELD_VERSION ? p->id : entry->id, .what = entry->what,
				  .time_ms = r->time_ms, .replaces_count = entry->replaces_count };
	memcpy(e->name, entry->name.data, entry->name.size);
	assert_true(entry->replaces_count <= 8);
	memcpy(e->replaces, r->replaces + entry->replaces_first, entry->replaces_count * sizeof(struct replaced));
}

static inline void model_entries(struct model *m, size_t count)
{
	struct record *r = record_new();
	const struct entry *first;

	m->entry_count = 0;
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(record_decode(r, m->log[i].bytes, m->log[i].size), 0);
		size_t entries = record_entries(r, &first);
		for (size_t k = 0; k < entries; k++)
			model_entry(m, &m->log[i], r, &first[k], (uint32_t)k);
	}
	free(r);
}

static inline bool same_slot(const struct said_entry *a, const struct said_entry *b)
{
	return id_equal(&a->directory, &b->directory) && strcmp(a->name, b->name) == 0;
}

/* Is there an entry of that name at the slot? */
static inline bool is_own(const struct model *m, const struct said_entry *slot, const struct replaced *r)
{
	for (size_t i = 0; i < m->entry_count; i++)
		if (same_slot(&m->entries[i], slot) && id_equal(&m->entries[i].record, &r->record) &&
		    m->entries[i].index == r->index)
			return true;
	return false;
}

static inline bool is_replaced(const struct model *m, const struct said_entry *e)
{
	for (size_t i = 0; i < m->entry_count; i++)
		for (size_t k = 0; same_slot(&m->entries[i], e) && k < m->entries[i].replaces_count; k++)
			if (id_equal(&m->entries[i].replaces[k].record, &e->record) &&
			    m->entries[i].replaces[k].index == e->index)
				return true;
	return false;
}

static inline int compare_standing(const void *a, const void *b)
{
	const struct said_entry *x = *(struct said_entry *const *)a, *y = *(struct said_entry *const *)b;
	int order = id_compare(&x->record, &y->record);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static inline void put_standing(const struct model *m, struct bytes *b, const struct said_entry *slot)
{
	const struct said_entry *standing[256];
	size_t count = 0;

	for (size_t i = 0; i < m->entry_count; i++)
		if (same_slot(&m->entries[i], slot) && !is_replaced(m, &m->entries[i]))
			standing[count++] = &m->entries[i];
	qsort(standing, count, sizeof(standing[0]), compare_standing);
	cbor_put_array(b, count);
	for (size_t i = 0; i < count; i++) {
		cbor_put_array(b, 5);
		cbor_put_id(b, &standing[i]->record);
		cbor_put_uint(b, standing[i]->index);
		cbor_put_uint(b, standing[i]->what);
		cbor_put_optional_id(b, &standing[i]->id);
		cbor_put_uint(b, standing[i]->time_ms);
	}
}

static inline void put_replaced(const struct model *m, struct bytes *b, const struct said_entry *slot)
{
	struct replaced found[1024];
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < m->entry_count; i++)
		for (size_t k = 0; same_slot(&m->entries[i], slot) && k < m->entries[i].replaces_count; k++)
			if (!is_own(m, slot, &m->entries[i].replaces[k]))
				found[count++] = m->entries[i].replaces[k];
	assert_true(count < 1024);
	qsort(found, count, sizeof(found[0]), compare_replaced);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || compare_replaced(&found[kept - 1], &found[i]) != 0)
			found[kept++] = found[i];
	cbor_put_array(b, kept);
	for (size_t i = 0; i < kept; i++) {
		cbor_put_array(b, 2);
		cbor_put_id(b, &found[i].record);
		cbor_put_uint(b, found[i].index);
	}
}

static inline void model_add(struct model *m, struct bytes *b)
{
	struct item *item = &m->items[m->item_count++];

	assert_true(m->item_count < MODEL_MAX);
	assert_int_equal(bytes_error(b), 0);
	item->bytes = bytes_take(b, &item->size);
}

static inline void model_slots(struct model *m)
{
	struct bytes b;

	for (size_t i = 0; i < m->entry_count; i++) {
		size_t first = 0;
		while (!same_slot(&m->entries[first], &m->entries[i]))
			first++;
		if (first < i)
			continue;
		bytes_init(&b, TEXT_SIZE_MAX);
		cbor_put_array(&b, 4);
		cbor_put_id(&b, &m->entries[i].directory);
		cbor_put_text(&b, m->entries[i].name, strlen(m->entries[i].name));
		put_standing(m, &b, &m->entries[i]);
		put_replaced(m, &b, &m->entries[i]);
		model_add(m, &b);
	}
}

/* What a record is about, and its item's middle, as bytes. */
static inline bool about(unsigned section, const struct record *r, const struct id *id, struct bytes *subject,
			 struct bytes *rest, size_t *out_items)
{
	static const struct id none;
	bool group = r->field == FIELD_FOUND || r->field == FIELD_JOIN || r->field == FIELD_AUTHORIZE;

	if (section == SUMMARY_SUBSCRIPTIONS && r->field == FIELD_SUBSCRIBE) {
		*out_items = 5;
		cbor_put_uint(subject, r->subscribe.what);
		cbor_put_id(subject, &r->subscribe.id);
		cbor_put_uint(rest, r->subscribe.on);
	} else if (section == SUMMARY_VOTES && r->field == FIELD_VOTE) {
		*out_items = 4;
		cbor_put_id(subject, &r->vote.object);
		cbor_put_uint(rest, r->vote.vote);
	} else if (section == SUMMARY_TRUST && r->field == FIELD_TRUST) {
		*out_items = 4;
		cbor_put_id(subject, &r->trust.entity);
		cbor_put_uint(rest, r->trust.parts_per_million);
	} else if (section == SUMMARY_RANKINGS && r->field == FIELD_RANKING) {
		*out_items = 4;
		cbor_put_id(subject, &r->ranking.directory);
		cbor_put_text(subject, r->ranking.name.data, r->ranking.name.size);
	} else if (section == SUMMARY_GROUPS && group) {
		*out_items = 6;
		cbor_put_uint(subject, r->field);
		cbor_put_id(subject, r->field == FIELD_FOUND ? id
				    : r->field == FIELD_JOIN ? &r->join.group : &r->authorize.group);
		cbor_put_optional_id(subject, r->field == FIELD_AUTHORIZE ? &r->authorize.entity : &none);
		cbor_put_uint(rest, r->field == FIELD_FOUND || (r->field == FIELD_JOIN ? r->join.on : r->authorize.on));
	} else if (section == SUMMARY_ADMITS && r->field == FIELD_ADMIT) {
		*out_items = 5;
		cbor_put_id(subject, &r->admit.device);
		cbor_put_uint(subject, r->admit.on);
		cbor_put_optional_id(subject, &r->admit.last);
	} else {
		return false;
	}
	return true;
}

struct statement {
	struct bytes subject, rest;
	struct id id;
	uint64_t time_ms, seq;
	size_t items;
};

static inline bool is_outdone(unsigned section, const struct statement *all, size_t count, const struct statement *by)
{
	for (size_t i = 0; section != SUMMARY_ADMITS && i < count; i++) {
		const struct statement *s = &all[i];
		if (s->subject.size == by->subject.size &&
		    memcmp(s->subject.data, by->subject.data, by->subject.size) == 0 &&
		    s->seq > by->seq)
			return true;
	}
	return false;
}

static inline void model_statements(struct model *m, size_t log_count, unsigned section)
{
	struct statement *all = calloc(MODEL_MAX, sizeof(*all));
	struct record *r = record_new();
	size_t count = 0;

	for (size_t i = 0; i < log_count; i++) {
		struct statement *s = &all[count];
		assert_int_equal(record_decode(r, m->log[i].bytes, m->log[i].size), 0);
		bytes_init(&s->subject, TEXT_SIZE_MAX);
		bytes_init(&s->rest, TEXT_SIZE_MAX);
		s->id = m->log[i].id;
		s->time_ms = r->time_ms;
		s->seq = r->seq;
		count += about(section, r, &s->id, &s->subject, &s->rest, &s->items);
	}
	for (size_t i = 0; i < count; i++) {
		struct bytes b;
		if (is_outdone(section, all, count, &all[i]))
			continue;
		bytes_init(&b, TEXT_SIZE_MAX);
		cbor_put_array(&b, all[i].items);
		bytes_put(&b, all[i].subject.data, all[i].subject.size);
		bytes_put(&b, all[i].rest.data, all[i].rest.size);
		cbor_put_id(&b, &all[i].id);
		cbor_put_uint(&b, all[i].time_ms);
		model_add(m, &b);
	}
	for (size_t i = 0; i < count; i++) {
		bytes_finish(&all[i].subject);
		bytes_finish(&all[i].rest);
	}
	free(all);
	free(r);
}

static inline int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);

	return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* The text of a section after the first `count` records of the log. */
static inline void model_section(struct model *m, size_t count, unsigned section, struct bytes *out)
{
	m->item_count = 0;
	if (section == SUMMARY_ENTRIES) {
		model_entries(m, count);
		model_slots(m);
	} else {
		model_statements(m, count, section);
	}
	qsort(m->items, m->item_count, sizeof(m->items[0]), compare_items);
	bytes_init(out, TEXT_SIZE_MAX);
	for (size_t i = 0; i < m->item_count; i++) {
		bytes_put(out, m->items[i].bytes, m->items[i].size);
		free(m->items[i].bytes);
	}
	assert_int_equal(bytes_error(out), 0);
}

#endif
