/*
 * log.h - the logs of devices: appending to one's own, accepting those of others, chains and forks.
 *
 * A log is a tree of records by prev, a line unless it forked.  Both branches
 * of a fork are kept and count in folders (which merge by themselves); a fork
 * is remembered, because its voucher's ballots do not count and peers are told.
 *
 * The tip is the newest record by (seq, time, id) of the branch in effect: what
 * descends from the record that a valid `branch` record keeps, else all.  A branch
 * record is valid from another device of the person (the newest of them, if its
 * record counts), or from the log itself as long as all of its own agree, that is lie on one chain.
 *
 * Records of this node's own device are never held: a bad clock must not hide one's own saves.
 *
 * Rows: TABLE_RECORD number -> [id, place, size, log number, seq, time, field, flags, prev number];
 * TABLE_LOG; TABLE_HELD; TABLE_CHAIN (log, seq, record) -> flags, and in the same table
 * (log, 2^64 - 1, branch record) -> the record it keeps, (0, record, statement): the statement
 * waits for that record to come.
 */
#ifndef LOG_H
#define LOG_H

#include "record.h"
#include "store.h"

struct record_row {
	uint64_t number;
	struct id id;
	journal_place place;
	uint32_t size;       /* of the record's bytes */
	uint64_t log;        /* number of the device */
	uint64_t seq, time_ms, field;
	uint64_t prev;       /* record number, 0 at seq 0 */
	bool held;           /* from the future, not yet applied */
	bool fresh;          /* as it is taken: nothing ever spoke of it before. Never of a row that was read */
	bool made;           /* by this node, now. Nor this */
};

struct log_row {
	uint64_t number;
	struct id device;
	uint64_t records;    /* kept, all branches */
	uint64_t tip;        /* record number of the newest of the branch in effect; 0: empty */
	uint64_t tip_seq, tip_time_ms;
	struct id tip_id;
	bool forked;
	uint64_t branch;     /* record number that a valid branch record keeps; 0: none */
	uint64_t newest_ms;  /* greatest time of the records not held */
	/* Kept for person.h: */
	uint64_t person;     /* entity number of whom it speaks for */
	uint64_t claim;      /* entity number that its first profile with a person names; 0: none */
	uint64_t claim_seq;
	struct id claim_id;
	uint64_t seq_end;    /* UINT64_MAX: all count; else those below it on the chain of `cut` */
	uint64_t cut;        /* record number of the last that counts; 0: none, where seq_end is 0 */
};

int log_get(struct store_txn *txn, const struct id *device, struct log_row *out); /* -ENOENT */
int log_get_number(struct store_txn *txn, uint64_t log, struct log_row *out);
/* Visits all logs from this number on, in order of their numbers. Read transactions. Stops at nonzero and returns it. */
int log_each_row(struct store_txn *txn, uint64_t number, int (*visit)(void *context, const struct log_row *row),
		 void *context);
int log_record_row(struct store_txn *txn, uint64_t number, struct record_row *out);
int log_find_record(struct store_txn *txn, const struct id *id, struct record_row *out);
/* Reads and decodes a record again from the journal. The bytes behind `out` are the transaction's until the next call. out_signature may be NULL. */
int log_read_record(struct store_txn *txn, const struct record_row *row, struct record *out,
		    struct signature *out_signature);

/* The same as it came, into a buffer of RECORD_BUFFER_SIZE; *out_bytes, row->size of them, stand in it. */
#define RECORD_BUFFER_SIZE (RECORD_SIZE_MAX + sizeof(struct signature))
int log_read_bytes(struct store_txn *txn, const struct record_row *row, uint8_t *buffer,
		   const uint8_t **out_bytes, struct signature *out_signature);

/*
 * Appends a record of this device: fills voucher, seq, prev, time and
 * nonce of *record, the caller the rest. The time is the greatest of now, prev's and
 * the newest of the person's other devices. -EINVAL, -EMSGSIZE as record_encode();
 * STORE_HELD.  Of the versions and entries of one transaction the last is signed, for all.
 */
int log_append(struct store_txn *txn, struct record *record, struct id *out_id, uint64_t *out_number);
/* The same, with a time of at least least_ms: what is to be the newest of several must not tie with them. */
int log_append_after(struct store_txn *txn, struct record *record, uint64_t least_ms, struct id *out_id,
		     uint64_t *out_number);

/*
 * Takes a record of another device (or of this one, from a backup or a peer). 0: kept;
 * 1: was here. -EAGAIN: its predecessor is not here; -EBADMSG: malformed; -EPROTO: breaks
 * the chain (seq or time against prev's); -EKEYREJECTED: wrong signature. signature NULL:
 * vouched for by a later record's signature, checked by the caller.
 */
int log_accept(struct store_txn *txn, const uint8_t *bytes, size_t size, const struct signature *signature);

/* Called by the store for each KIND_RECORD entry (signature and record) it replays: the same as accept, without checking signatures again, and at a place already written. */
int log_replay(struct store_txn *txn, const uint8_t *bytes, size_t size, journal_place place);

/* Applies a held record (its time has come). */
int log_apply_held(struct store_txn *txn, uint64_t record_number);

/* The signature that vouches for what was appended; the store calls it before a commit. */
int log_sign(struct store_txn *txn);

/* ---- for person.h ---- */

/* Kept in memory till log_settle(), which the store calls before a commit. */
int log_put(struct store_txn *txn, const struct log_row *row);
int log_settle(struct store_txn *txn);
/* Comes the record after the tip by (seq, time, id)? */
bool log_is_newer(const struct log_row *log, const struct record_row *row);
void log_set_tip(struct log_row *log, const struct record_row *row);
enum { CHAIN_COUNTS = 1, CHAIN_KEPT = 2 }; /* within the cut; on the branch kept */
int log_chain_flags(struct store_txn *txn, const struct record_row *row, uint8_t *out);
/* Marks the records up to `last` (0: none) as the ones that count when the log is cut. */
int log_mark_cut(struct store_txn *txn, uint64_t log, uint64_t last);
/* 1 if the record counts in the folder of its device's person, else 0. */
int log_counts(struct store_txn *txn, const struct log_row *log, const struct record_row *row);
/* 1 if `ancestor` is the record `of` or before it on its chain, else 0. */
int log_is_ancestor(struct store_txn *txn, const struct record_row *ancestor, const struct record_row *of);
/* A statement (branch, admit) waits for a record that is not here yet. */
int log_wait(struct store_txn *txn, uint64_t record, uint64_t statement);
/* A branch record became effective, or the record it keeps came. */
int log_note_branch(struct store_txn *txn, const struct record_row *statement, uint64_t kept);
/* Finds the branch in effect and the tip again, after what decides them changed. */
int log_settle_branch(struct store_txn *txn, uint64_t log);

/* ---- for fork.h ---- */

/* Which records the statements about a log keep; number 0: none. That of other devices holds before its own. */
struct log_branches {
	struct record_row other, own;
	uint64_t other_ms; /* when the one of another device was said */
	bool rivals;       /* its own contradict one another */
};
int log_branches(struct store_txn *txn, const struct log_row *log, struct log_branches *out);
/* The branch from this record on is in effect, till log_settle_branch(). */
int log_take_branch(struct store_txn *txn, uint64_t log, uint64_t kept);

/* Visits a log's records by (seq, number) from `seq`. The visitor may write. Stops at nonzero and returns it. */
int log_each(struct store_txn *txn, uint64_t log, uint64_t seq,
	     int (*visit)(void *context, const struct record_row *row), void *context);

#endif
