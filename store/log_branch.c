/*
 * log_branch.c - forked logs: which records a cut leaves, which branch is in effect.
 */
#include <errno.h>
#include <stdlib.h>

#include "log.h"
#include "row.h"

int log_chain_flags(struct store_txn *txn, const struct record_row *row, uint8_t *out)
{
	struct row key = row_of3(row->log, row->seq, row->number);
	struct wire w;

	int err = row_get(txn, TABLE_CHAIN, &key, &w);
	if (err < 0)
		return err;
	*out = wire_u8(&w);
	return wire_finish(&w);
}

static int flags_put(struct store_txn *txn, const struct record_row *row, uint8_t flags)
{
	struct row key = row_of3(row->log, row->seq, row->number), value = row_none();

	row_u8(&value, flags);
	return row_put(txn, TABLE_CHAIN, &key, &value);
}

int log_is_ancestor(struct store_txn *txn, const struct record_row *ancestor, const struct record_row *of)
{
	struct record_row at = *of;

	if (ancestor->log != of->log)
		return 0;
	while (at.seq > ancestor->seq) {
		int err = log_record_row(txn, at.prev, &at);
		if (err < 0) /* beyond damage nothing is known */
			return err == -ENOENT ? 0 : err;
	}
	return at.number == ancestor->number;
}

/* ---- cuts ---- */

static int clear_counts(void *context, const struct record_row *row)
{
	struct store_txn *txn = context;
	uint8_t flags;

	int err = log_chain_flags(txn, row, &flags);
	if (err < 0 || !(flags & CHAIN_COUNTS))
		return err;
	return flags_put(txn, row, flags & (uint8_t)~CHAIN_COUNTS);
}

int log_mark_cut(struct store_txn *txn, uint64_t log, uint64_t last)
{
	struct record_row row;
	uint8_t flags;

	int err = log_each(txn, log, 0, clear_counts, txn);
	for (uint64_t number = last; err == 0 && number; number = row.prev) {
		err = log_record_row(txn, number, &row);
		if (err == -ENOENT) /* lost to damage: what was before it cannot be told from a rival */
			return 0;
		if (err == 0)
			err = log_chain_flags(txn, &row, &flags);
		if (err == 0)
			err = flags_put(txn, &row, flags | CHAIN_COUNTS);
	}
	return err;
}

int log_counts(struct store_txn *txn, const struct log_row *log, const struct record_row *row)
{
	uint8_t flags;

	if (log->seq_end == UINT64_MAX)
		return 1;
	if (row->seq >= log->seq_end)
		return 0;
	int err = log_chain_flags(txn, row, &flags);
	return err < 0 ? err : (flags & CHAIN_COUNTS) != 0;
}

int log_wait(struct store_txn *txn, uint64_t record, uint64_t statement)
{
	struct row key = row_of3(0, record, statement);

	return row_put(txn, TABLE_CHAIN, &key, NULL);
}

/* ---- branches ---- */

struct statement { /* a branch record about a log */
	struct record_row row, kept;
	bool own; /* of the log itself */
};

struct statements {
	struct statement *items;
	size_t count, capacity;
};

static int statements_add(struct statements *s, const struct statement *item)
{
	if (s->count == s->capacity) {
		size_t capacity = s->capacity ? s->capacity * 2 : 4;
		struct statement *items = realloc(s->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		s->items = items;
		s->capacity = capacity;
	}
	s->items[s->count++] = *item;
	return 0;
}

/* Keeps it if it counts and comes from the log itself or from another device of the person. */
static int consider(struct store_txn *txn, const struct log_row *log, struct statements *s, struct statement *item)
{
	struct log_row by;

	item->own = item->row.log == log->number;
	int err = log_get_number(txn, item->row.log, &by);
	if (err < 0)
		return err;
	int counts = log_counts(txn, &by, &item->row);
	if (counts < 0)
		return counts;
	if (!counts || (!item->own && by.person != log->person))
		return 0;
	return statements_add(s, item);
}

static int load_statements(struct store_txn *txn, const struct log_row *log, struct statements *s)
{
	struct row prefix = row_of2(log->number, UINT64_MAX);
	struct index_range range;

	int err = row_range(txn, TABLE_CHAIN, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct statement item;
		struct wire key, value;
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		wire_init(&value, range.value, range.value_size);
		err = log_record_row(txn, wire_u64_be(&key), &item.row);
		if (err == 0)
			err = log_record_row(txn, wire_u64(&value), &item.kept);
		if (err == 0)
			err = consider(txn, log, s, &item);
	}
	index_range_close(&range);
	return err;
}

static bool is_newer(const struct record_row *a, const struct record_row *b)
{
	return a->time_ms != b->time_ms ? a->time_ms > b->time_ms : id_compare(&a->id, &b->id) > 0;
}

/* The newest statement of another device. */
static void find_other(const struct statements *s, struct log_branches *out)
{
	const struct statement *best = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (!s->items[i].own && (!best || is_newer(&s->items[i].row, &best->row)))
			best = &s->items[i];
	if (best) {
		out->other = best->kept;
		out->other_ms = best->row.time_ms;
	}
}

/* The deepest record that the log's own statements keep, if all of them lie on its chain. */
static int find_own(struct store_txn *txn, const struct statements *s, struct log_branches *out)
{
	const struct statement *deepest = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (s->items[i].own && (!deepest || s->items[i].kept.seq > deepest->kept.seq))
			deepest = &s->items[i];
	for (size_t i = 0; deepest && i < s->count; i++) {
		if (!s->items[i].own)
			continue;
		int on = log_is_ancestor(txn, &s->items[i].kept, &deepest->kept);
		if (on < 0)
			return on;
		if (on == 0) {
			out->rivals = true; /* none is heard */
			return 0;
		}
	}
	if (deepest)
		out->own = deepest->kept;
	return 0;
}

int log_branches(struct store_txn *txn, const struct log_row *log, struct log_branches *out)
{
	struct log_branches said = { .rivals = false };
	struct statements s = { 0 };

	int err = load_statements(txn, log, &s);
	if (err == 0) {
		find_other(&s, &said);
		err = find_own(txn, &s, &said);
	}
	free(s.items);
	if (err == 0)
		*out = said;
	return err;
}

struct settling {
	struct store_txn *txn;
	struct log_row *log;
};

/* By rising seq, so that the record before is marked already. */
static int settle_record(void *context, const struct record_row *row)
{
	struct settling *s = context;
	struct record_row prev;
	uint8_t flags, before = 0;

	int err = log_chain_flags(s->txn, row, &flags);
	if (err == 0 && row->prev && s->log->branch) {
		err = log_record_row(s->txn, row->prev, &prev);
		if (err == 0)
			err = log_chain_flags(s->txn, &prev, &before);
		if (err == -ENOENT)
			err = 0;
	}
	if (err < 0)
		return err;
	bool kept = s->log->branch && (row->number == s->log->branch || (before & CHAIN_KEPT));
	uint8_t now = (uint8_t)((flags & ~CHAIN_KEPT) | (kept ? CHAIN_KEPT : 0));
	if (now != flags && (err = flags_put(s->txn, row, now)) < 0)
		return err;
	if (log_is_newer(s->log, row) && (!s->log->branch || kept))
		log_set_tip(s->log, row);
	return 0;
}

/* What is not after the record kept before, or now, is on neither branch. */
static int first_changed(struct store_txn *txn, uint64_t before, uint64_t now, uint64_t *out_seq)
{
	uint64_t numbers[] = { before, now };
	struct record_row row;

	*out_seq = UINT64_MAX;
	for (size_t i = 0; i < 2; i++) {
		int err = numbers[i] ? log_record_row(txn, numbers[i], &row) : 0;
		if (err < 0)
			return err;
		if (numbers[i] && row.seq < *out_seq)
			*out_seq = row.seq;
	}
	return 0;
}

int log_take_branch(struct store_txn *txn, uint64_t number, uint64_t kept)
{
	struct log_row log;
	uint64_t from;

	int err = log_get_number(txn, number, &log);
	if (err < 0 || kept == log.branch)
		return err;
	err = first_changed(txn, log.branch, kept, &from);
	if (err < 0)
		return err;
	log.branch = kept;
	log.tip = 0;
	struct settling settling = { txn, &log };
	err = log_each(txn, number, from, settle_record, &settling);
	return err < 0 ? err : log_put(txn, &log);
}

int log_settle_branch(struct store_txn *txn, uint64_t number)
{
	struct log_branches said;
	struct log_row log;

	int err = log_get_number(txn, number, &log);
	if (err == 0)
		err = log_branches(txn, &log, &said);
	if (err < 0)
		return err;
	return log_take_branch(txn, number, said.other.number ? said.other.number : said.own.number);
}

int log_note_branch(struct store_txn *txn, const struct record_row *statement, uint64_t kept)
{
	struct record_row row;

	int err = log_record_row(txn, kept, &row);
	if (err == -ENOENT)
		return log_wait(txn, kept, statement->number);
	if (err < 0)
		return err;
	struct row key = row_of3(row.log, UINT64_MAX, statement->number), value = row_none();
	row_u64(&value, kept);
	err = row_put(txn, TABLE_CHAIN, &key, &value);
	return err < 0 ? err : log_settle_branch(txn, row.log);
}
