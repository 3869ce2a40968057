/* verify_table.c - arrays of names, found by hash. */
#include "verify_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ids are hashes or keys already. */
#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <uthash.h>

#define NAMES_MIN 1024

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

/* ---- names ---- */

static uint64_t hash_of(const struct id *name)
{
	uint64_t hash;
	memcpy(&hash, name->bytes, sizeof(hash));
	return hash;
}

/* The slot of a name, or the free one where it would stand. Rows begin with their names. */
static uint32_t *find(const struct verify_names *names, const void *rows, size_t row_size, const struct id *name)
{
	size_t mask = names->slot_count - 1;
	for (size_t at = hash_of(name) & mask;; at = (at + 1) & mask) {
		uint32_t *slot = &names->slots[at];
		if (!*slot || id_equal(name, (const struct id *)((const char *)rows + (*slot - 1) * row_size)))
			return slot;
	}
}

/* Room for one more than `count`: never more than half full. */
static int names_reserve(struct verify_names *names, const void *rows, size_t row_size, size_t count)
{
	if (2 * (count + 1) <= names->slot_count)
		return 0;
	if (count >= UINT32_MAX / 2)
		return -ENOMEM;
	struct verify_names larger = { .slot_count = names->slot_count ? 2 * names->slot_count : NAMES_MIN };
	larger.slots = calloc(larger.slot_count, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct id *name = (const struct id *)((const char *)rows + i * row_size);
		*find(&larger, rows, row_size, name) = (uint32_t)i + 1;
	}
	free(names->slots);
	*names = larger;
	return 0;
}

/* ---- filling ---- */

int verify_table_add_piece(struct verify_table *t, const struct verify_piece *row)
{
	void *items = t->pieces;
	int err = reserve(&items, t->piece_count, &t->piece_capacity, sizeof(*row));
	t->pieces = items;
	if (err == 0)
		err = names_reserve(&t->piece_names, t->pieces, sizeof(*row), t->piece_count);
	if (err < 0)
		return err;
	uint32_t *slot = find(&t->piece_names, t->pieces, sizeof(*row), &row->name);
	if (!*slot)
		*slot = (uint32_t)++t->piece_count;
	t->pieces[*slot - 1] = *row;
	return 0;
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

int verify_table_add_record(struct verify_table *t, const struct verify_record *row, const struct id *voucher,
			    size_t *out_index)
{
	void *items = t->records;
	int err = reserve(&items, t->record_count, &t->record_capacity, sizeof(*row));
	uint32_t log = 0;
	t->records = items;
	if (err == 0)
		err = names_reserve(&t->record_names, t->records, sizeof(*row), t->record_count);
	if (err == 0)
		err = log_number(t, voucher, &log);
	if (err < 0)
		return err;
	uint32_t *slot = find(&t->record_names, t->records, sizeof(*row), &row->id);
	bool known = *slot != 0;
	if (!known) {
		*slot = (uint32_t)++t->record_count;
		t->records[*slot - 1] = *row;
		t->records[*slot - 1].log = log;
	}
	*out_index = *slot - 1;
	return known;
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
	free(t->piece_names.slots);
	free(t->record_names.slots);
	*t = (struct verify_table){ 0 };
}

/* ---- finding ---- */

struct verify_piece *verify_table_piece(const struct verify_table *t, const struct id *name)
{
	const uint32_t *slot = t->piece_count ? find(&t->piece_names, t->pieces, sizeof(*t->pieces), name) : NULL;
	return slot && *slot ? &t->pieces[*slot - 1] : NULL;
}

struct verify_record *verify_table_record(const struct verify_table *t, const struct id *id)
{
	const uint32_t *slot = t->record_count ? find(&t->record_names, t->records, sizeof(*t->records), id) : NULL;
	return slot && *slot ? &t->records[*slot - 1] : NULL;
}

const struct id *verify_table_log(const struct verify_table *t, uint32_t log)
{
	return &t->logs[log];
}

void verify_table_spread_vouched(struct verify_table *t)
{
	/* From the newest on, so that each chain is gone down once. */
	for (size_t i = t->record_count; i > 0; i--) {
		struct verify_record *row = &t->records[i - 1];
		uint32_t log = row->log;
		if (!row->signed_well)
			continue;
		while (row && !row->vouched && row->log == log) {
			row->vouched = true;
			row = verify_table_record(t, &row->prev);
		}
	}
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
