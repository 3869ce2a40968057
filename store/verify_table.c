/* verify_table.c - sorted arrays of names. */
#include "verify_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ids are hashes or keys already. */
#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <uthash.h>

struct verify_log {
	struct id id;
	uint32_t number;
	UT_hash_handle hh;
};

static int reserve(void **items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return 0;
	size_t more = *capacity ? *capacity + *capacity / 2 : 256;
	void *moved = realloc(*items, more * size);
	if (!moved)
		return -ENOMEM;
	*items = moved;
	*capacity = more;
	return 0;
}

int verify_table_add_piece(struct verify_table *t, const struct verify_piece *row)
{
	void *items = t->pieces;
	int err = reserve(&items, t->piece_count, &t->piece_capacity, sizeof(*row));
	t->pieces = items;
	if (err == 0)
		t->pieces[t->piece_count++] = *row;
	return err;
}

static int log_number(struct verify_table *t, const struct id *voucher, uint32_t *out)
{
	struct verify_log *log;
	HASH_FIND(hh, t->log_by_id, voucher, sizeof(*voucher), log);
	if (log) {
		*out = log->number;
		return 0;
	}
	void *items = t->logs;
	int err = reserve(&items, t->log_count, &t->log_capacity, sizeof(*t->logs));
	t->logs = items;
	log = err == 0 ? calloc(1, sizeof(*log)) : NULL;
	if (!log)
		return -ENOMEM;
	log->id = *voucher;
	log->number = (uint32_t)t->log_count;
	HASH_ADD(hh, t->log_by_id, id, sizeof(log->id), log);
	if (!log->hh.tbl) { /* uthash had no memory */
		free(log);
		return -ENOMEM;
	}
	t->logs[t->log_count++] = *voucher;
	*out = log->number;
	return 0;
}

int verify_table_add_record(struct verify_table *t, const struct verify_record *row, const struct id *voucher)
{
	void *items = t->records;
	int err = reserve(&items, t->record_count, &t->record_capacity, sizeof(*row));
	uint32_t log;
	t->records = items;
	if (err == 0)
		err = log_number(t, voucher, &log);
	if (err < 0)
		return err;
	t->records[t->record_count] = *row;
	t->records[t->record_count++].log = log;
	return 0;
}

/* ---- settling ---- */

static int compare_places(journal_place a, journal_place b)
{
	return a < b ? -1 : a > b;
}

static int compare_pieces(const void *a, const void *b)
{
	const struct verify_piece *x = a, *y = b;
	int order = id_compare(&x->name, &y->name);
	return order ? order : compare_places(x->place, y->place);
}

static int compare_records(const void *a, const void *b)
{
	const struct verify_record *x = a, *y = b;
	int order = id_compare(&x->id, &y->id);
	return order ? order : compare_places(x->place, y->place);
}

/* What stands last counts: a piece that was marked may have come again. */
static void settle_pieces(struct verify_table *t)
{
	size_t kept = 0;
	if (t->piece_count)
		qsort(t->pieces, t->piece_count, sizeof(*t->pieces), compare_pieces);
	for (size_t i = 0; i < t->piece_count; i++) {
		bool same = kept && id_equal(&t->pieces[kept - 1].name, &t->pieces[i].name);
		t->pieces[same ? kept - 1 : kept++] = t->pieces[i];
	}
	t->piece_count = kept;
}

static void settle_records(struct verify_table *t)
{
	size_t kept = 0;
	if (t->record_count)
		qsort(t->records, t->record_count, sizeof(*t->records), compare_records);
	for (size_t i = 0; i < t->record_count; i++) {
		const struct verify_record *row = &t->records[i];
		if (kept && id_equal(&t->records[kept - 1].id, &row->id)) {
			t->records[kept - 1].signed_well |= row->signed_well;
			t->records[kept - 1].signed_badly |= row->signed_badly;
		} else {
			t->records[kept++] = *row;
		}
	}
	t->record_count = kept;
}

/* Each holds the hash of the one before, so that a signature vouches for all of them. */
static void spread_vouched(struct verify_table *t)
{
	for (size_t i = 0; i < t->record_count; i++) {
		struct verify_record *row = &t->records[i];
		uint32_t log = row->log;
		if (!row->signed_well)
			continue;
		while (row && !row->vouched && row->log == log) {
			row->vouched = true;
			row = verify_table_record(t, &row->prev);
		}
	}
}

void verify_table_settle(struct verify_table *t)
{
	settle_pieces(t);
	settle_records(t);
	spread_vouched(t);
}

void verify_table_finish(struct verify_table *t)
{
	struct verify_log *log, *next;
	HASH_ITER(hh, t->log_by_id, log, next) {
		HASH_DELETE(hh, t->log_by_id, log);
		free(log);
	}
	free(t->pieces);
	free(t->records);
	free(t->logs);
	*t = (struct verify_table){ 0 };
}

/* ---- once settled ---- */

static int find_piece(const void *name, const void *row)
{
	return id_compare(name, &((const struct verify_piece *)row)->name);
}

struct verify_piece *verify_table_piece(const struct verify_table *t, const struct id *name)
{
	if (!t->piece_count)
		return NULL;
	return bsearch(name, t->pieces, t->piece_count, sizeof(*t->pieces), find_piece);
}

static int find_record(const void *id, const void *row)
{
	return id_compare(id, &((const struct verify_record *)row)->id);
}

struct verify_record *verify_table_record(const struct verify_table *t, const struct id *id)
{
	if (!t->record_count)
		return NULL;
	return bsearch(id, t->records, t->record_count, sizeof(*t->records), find_record);
}

const struct id *verify_table_log(const struct verify_table *t, uint32_t log)
{
	return &t->logs[log];
}

void verify_table_forget(struct verify_table *t, uint32_t segment)
{
	for (size_t i = 0; i < t->piece_count; i++) {
		struct verify_piece *row = &t->pieces[i];
		if (row->place >> 32 != segment || row->marked)
			continue;
		row->place = 0;
		row->marked = true;
	}
}
