#include "members.h"

#include <errno.h>
#include <stdlib.h>

#include "row.h"
#include "store_limits.h"

static void *grow(void *items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return items;
	size_t wanted = *capacity ? *capacity * 2 : 8;
	void *grown = realloc(items, wanted * size);
	if (grown)
		*capacity = wanted;
	return grown;
}

void members_finish(struct members *members)
{
	free(members->items);
	free(members->statements);
	*members = (struct members){ 0 };
}

int members_note(struct store_txn *txn, const struct record_row *row, uint64_t device, bool on, uint64_t last)
{
	struct row key = row_of3(0, row->log, row->number), value = row_none();

	row_u64(&value, device);
	row_u8(&value, on);
	row_u64(&value, last);
	return row_put(txn, TABLE_PERSON, &key, &value);
}

static const struct member *find(const struct members *m, uint64_t log)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->items[i].log == log)
			return &m->items[i];
	return NULL;
}

/* Order of statements: (time, id). */
static int compare(uint64_t a_ms, const struct id *a, uint64_t b_ms, const struct id *b)
{
	if (a_ms != b_ms)
		return a_ms < b_ms ? -1 : 1;
	return id_compare(a, b);
}

/* Those of the last member. */
static int load_statements(struct store_txn *txn, struct members *m)
{
	size_t by = m->count - 1;
	struct row prefix = row_of2(0, m->items[by].log);
	struct index_range range;

	int err = row_range(txn, TABLE_PERSON, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct member_statement *grown = grow(m->statements, m->statement_count, &m->statement_capacity,
						      sizeof(*grown));
		struct wire key, value;
		if (!grown) {
			err = -ENOMEM;
			break;
		}
		m->statements = grown;
		struct member_statement *s = &grown[m->statement_count];
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		wire_init(&value, range.value, range.value_size);
		s->device = wire_u64(&value);
		s->on = wire_u8(&value);
		s->last = wire_u64(&value);
		s->by = by;
		s->admitted = find(m, s->device) != NULL;
		err = wire_finish(&value);
		if (err == 0)
			err = log_record_row(txn, wire_u64_be(&key), &s->row);
		if (err == 0)
			m->statement_count++;
	}
	index_range_close(&range);
	return err;
}

/* Made by a member since its admission, within its cut. 1, 0 or an error. */
static int is_heard(struct store_txn *txn, const struct members *m, const struct member_statement *s)
{
	const struct member *by = &m->items[s->by];
	struct record_row last;

	if (!by->claims || s->row.held ||
	    (!id_is_zero(&by->admitted_id) &&
	     compare(s->row.time_ms, &s->row.id, by->admitted_ms, &by->admitted_id) <= 0))
		return 0;
	if (by->seq_end == UINT64_MAX)
		return 1;
	if (s->row.seq >= by->seq_end)
		return 0;
	int err = log_record_row(txn, by->cut, &last);
	return err < 0 ? err : log_is_ancestor(txn, &s->row, &last);
}

static int compare_statements(const void *a, const void *b)
{
	const struct member_statement *x = a, *y = b;

	return compare(x->row.time_ms, &x->row.id, y->row.time_ms, &y->row.id);
}

/* One retirement. The last record not here, or not of this log: what held before stays. */
static int retire(struct store_txn *txn, struct member *member, const struct member_statement *s)
{
	struct record_row last;

	member->retired = true;
	if (s->last == 0) {
		member->seq_end = member->cut = 0;
		return 0;
	}
	int err = log_record_row(txn, s->last, &last);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	if (last.log == member->log && !last.held) {
		member->seq_end = last.seq + 1;
		member->cut = last.number;
	}
	return 0;
}

/* Statements are sorted, and are those of the members before this one. */
static int find_cut(struct store_txn *txn, const struct members *m, struct member *member)
{
	for (size_t i = 0; i < m->statement_count; i++) {
		const struct member_statement *s = &m->statements[i];
		if (s->device != member->log ||
		    compare(s->row.time_ms, &s->row.id, member->admitted_ms, &member->admitted_id) <= 0)
			continue;
		int err = is_heard(txn, m, s);
		if (err > 0 && s->on) {
			member->retired = false;
			member->seq_end = UINT64_MAX;
			member->cut = 0;
		} else if (err > 0) {
			err = retire(txn, member, s);
		}
		if (err < 0)
			return err;
	}
	return 0;
}

static int add(struct store_txn *txn, struct members *m, uint64_t person, struct member *member)
{
	struct log_row log;

	int err = log_get_number(txn, member->log, &log);
	if (err < 0 && err != -ENOENT)
		return err;
	member->claims = m->count == 0 || (err == 0 && log.claim == person);
	member->seq_end = UINT64_MAX;
	if (m->count > 0 && (err = find_cut(txn, m, member)) < 0)
		return err;
	struct member *grown = grow(m->items, m->count, &m->capacity, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	m->items = grown;
	m->items[m->count++] = *member;
	for (size_t i = m->next; i < m->statement_count; i++)
		m->statements[i].admitted |= m->statements[i].device == member->log;
	if (!member->claims)
		return 0;
	m->next = 0;
	err = load_statements(txn, m);
	if (m->statement_count > 1)
		qsort(m->statements, m->statement_count, sizeof(*m->statements), compare_statements);
	return err;
}

/* The least `on` statement that names a device not a member yet. 1, 0 or an error. */
static int next_admission(struct store_txn *txn, struct members *m, struct member *out)
{
	for (; m->next < m->statement_count && m->count < PERSON_DEVICES_MAX; m->next++) {
		const struct member_statement *s = &m->statements[m->next];
		if (!s->on || s->admitted)
			continue;
		int heard = is_heard(txn, m, s);
		if (heard < 0)
			return heard;
		if (heard) {
			*out = (struct member){ .log = s->device, .admitted_ms = s->row.time_ms,
						.admitted_id = s->row.id };
			return 1;
		}
	}
	return 0;
}

int members_find(struct store_txn *txn, uint64_t person, struct members *out)
{
	struct member next = { 0 };
	struct id id;

	int err = store_number_id(txn, NUMBER_ENTITY, person, &id);
	if (err == 0)
		err = store_number(txn, NUMBER_DEVICE, &id, &next.log);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = add(txn, out, person, &next);
	while (err == 0 && (err = next_admission(txn, out, &next)) > 0)
		err = add(txn, out, person, &next);
	return err;
}
