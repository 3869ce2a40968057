/*
 * verify_table.h - names of all records and pieces of a journal, for verify.c alone.
 *
 * Filled in the order of the journal; rows are found by name from the moment they
 * are added, one for each, and stand in that order.  Arrays and open hash tables of
 * their indices, because a journal may hold millions.  A row's address holds until the
 * next of its kind is added.  Errors are negative errno.  One thread.
 */
#ifndef VERIFY_TABLE_H
#define VERIFY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"
#include "journal.h"

#define VERIFY_TEXT_SIZE 32 /* bytes of a text's hash */

struct verify_piece {
	struct id name;
	uint8_t text_id[VERIFY_TEXT_SIZE]; /* of the inflated bytes */
	journal_place place; /* 0: forgotten */
	uint32_t text_size;
	uint32_t stored_size : 31; /* of the gzip member */
	uint32_t marked : 1;       /* it may be dropped: it counts as not held */
};

struct verify_record {
	struct id id, prev;
	uint64_t number;     /* of the entry, the first if it stands twice */
	journal_place place; /* of the same */
	uint64_t seq, time_ms;
	uint32_t log; /* for verify_table_log() */
	bool signed_well, signed_badly;
	bool vouched;  /* it or one that follows it is signed well */
	bool unsure;   /* the caller's: its own signature is to be checked */
	bool deferred; /* the caller's: its contents are to be looked at again */
};

struct verify_log;

struct verify_names { /* numbers of rows, by a hash of their names; 0: free, else one more */
	uint32_t *slots;
	size_t slot_count; /* a power of two */
};

struct verify_table {
	struct verify_piece *pieces;
	struct verify_record *records;
	struct id *logs;
	struct verify_log *log_by_id; /* a hash table */
	size_t piece_count, piece_capacity, record_count, record_capacity, log_count, log_capacity;
	struct verify_names piece_names, record_names;
};

/* Of one name the last piece or mark stays. */
int verify_table_add_piece(struct verify_table *t, const struct verify_piece *row);
/* Of one id the first stays: 1 if it was there. Sets the row's log to that of the voucher; *out its index. */
int verify_table_add_record(struct verify_table *t, const struct verify_record *row, const struct id *voucher,
			    size_t *out_index);
void verify_table_finish(struct verify_table *t); /* takes a zeroed one */

/* NULL: there is none. */
struct verify_piece *verify_table_piece(const struct verify_table *t, const struct id *name);
struct verify_record *verify_table_record(const struct verify_table *t, const struct id *id);
const struct id *verify_table_log(const struct verify_table *t, uint32_t log);
/* Each record holds the hash of the one before: those signed well vouch for all before them in their log. */
void verify_table_spread_vouched(struct verify_table *t);
/* The pieces of a segment count as marked, at place 0. */
void verify_table_forget(struct verify_table *t, uint32_t segment);

#endif
