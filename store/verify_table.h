/*
 * verify_table.h - names of all records and pieces of a journal, for verify.c alone.
 *
 * Filled in the order of the journal, then settled once: from then on rows are
 * found by name, one for each.  Arrays sorted by name, because a journal may hold
 * millions.  Errors are negative errno.  One thread.
 */
#ifndef VERIFY_TABLE_H
#define VERIFY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"
#include "journal.h"

struct verify_piece {
	struct id name;
	journal_place place; /* 0: forgotten */
	uint32_t text_size;
	uint32_t stored_size : 31; /* of the gzip member */
	uint32_t marked : 1;       /* it may be dropped: it counts as not held */
};

struct verify_record {
	struct id id, prev;
	journal_place place; /* of the first, if it stands twice */
	uint64_t seq, time_ms;
	uint32_t log; /* for verify_table_log() */
	bool signed_well, signed_badly;
	bool vouched; /* it or one that follows it is signed well */
	bool checked; /* the caller's */
};

struct verify_log;

struct verify_table {
	struct verify_piece *pieces;
	struct verify_record *records;
	struct id *logs;
	struct verify_log *log_by_id; /* a hash table */
	size_t piece_count, piece_capacity, record_count, record_capacity, log_count, log_capacity;
};

int verify_table_add_piece(struct verify_table *t, const struct verify_piece *row);
/* Sets the row's log to that of the voucher. */
int verify_table_add_record(struct verify_table *t, const struct verify_record *row, const struct id *voucher);
/* Sorts; of rows of one name the last piece or mark and the first record stay; spreads `vouched`. */
void verify_table_settle(struct verify_table *t);
void verify_table_finish(struct verify_table *t); /* takes a zeroed one */

/* Once settled. NULL: there is none. */
struct verify_piece *verify_table_piece(const struct verify_table *t, const struct id *name);
struct verify_record *verify_table_record(const struct verify_table *t, const struct id *id);
const struct id *verify_table_log(const struct verify_table *t, uint32_t log);
/* The pieces of a segment count as marked, at place 0. */
void verify_table_forget(struct verify_table *t, uint32_t segment);

#endif
