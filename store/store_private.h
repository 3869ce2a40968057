/* store_private.h - what store.c, transaction.c, replay.c and gc.c share. */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store.h"
#include "tree.h"

#define NUMBER_KINDS 7 /* enum number_kind, 0 unused */

/* One row of TABLE_META, written by every commit: what the index covers and how far it has counted. */
struct counters {
	journal_place covered; /* all entries below it are applied */
	uint64_t next[NUMBER_KINDS];
};

#define LATER_MAX 64                /* entries */
#define KEEP_FACTS_MAX 2
#define LATER_SIZE_MAX (256 * 1024) /* their bytes, in memory */
#define BUFFERS_KEPT 4

/* An entry in the journal of which the index does not know yet. */
struct later {
	uint8_t kind;
	journal_place place;
	struct id name; /* of a piece */
	uint8_t *bytes; /* owned */
	size_t size;
};

/* What a transaction works with that is too large to make anew for each. */
struct txn_buffers {
	struct record *records[2];
	uint8_t *buffer;
};

struct store {
	char *path;
	int fd, lock_fd;
	struct key key;
	struct clock clock;
	struct journal *journal;
	struct index *index;
	struct piece_cache *cache;
	struct piece_store pieces;
	pthread_mutex_t write_lock; /* held by the one write transaction */
	struct counters counters;   /* under write_lock */
	pthread_mutex_t small_lock; /* held for moments: what follows */
	struct later later[LATER_MAX]; /* changed under write_lock too */
	size_t later_count, later_size;
	struct txn_buffers buffers[BUFFERS_KEPT];
	void (*on_append)(void *context);
	void *on_append_context;
	pthread_mutex_t due_lock; /* held while what is due is applied: of these two */
	int (*on_due)(void *context);
	void *on_due_context;
	atomic_uint_least64_t cookie;
	bool was_closed; /* before it was opened */
	atomic_uint_least64_t held_until_ms; /* nothing is signed before */
	atomic_bool late;           /* somebody's tree is to be settled (tree_late.h), */
	atomic_uint_least64_t late_after_ms; /* but not before */
	atomic_uint writers;        /* who wait for write_lock */
	unsigned batches;           /* under write_lock: alive; what they name is needed */
	atomic_bool moving;         /* a segment is being replaced: places may be of either file */
	bool stale; /* under write_lock: index and journal do not fit; writing is refused until the next start */
	uint32_t moved; /* under write_lock: a segment was replaced and the index does not know it yet; 0: none */
};

struct planned {
	uint8_t kind;
	size_t offset, size; /* in struct store_txn's bytes */
	journal_place place;
};

#define UNSIGNED_MAX 16               /* records in a row without a signature: who reads a log asks for few at a time */
#define UNSIGNED_SIZE_MAX (64 * 1024) /* their bytes */

struct unsigned_run { /* of this device's own log, at the end of what is planned */
	struct id last;
	size_t planned; /* index of its entry, the signature all zeroes */
	size_t count, size;
};

#define HOT_NUMBERS 32

/* Of a write transaction: what nearly every record asks for, in memory. */
struct hot {
	struct hot_number {
		uint8_t kind; /* 0: free */
		struct id id;
		uint64_t number;
	} numbers[HOT_NUMBERS];
	uint64_t entity; /* the last asked for by number; 0: none */
	struct id entity_id;
	struct log_row log; /* the last put, not in its table before the end; number 0: none */
	struct record_row last; /* the last record put; number 0: none */
	uint64_t cookie;        /* the greatest given, not kept yet; 0: none */
};

struct store_txn {
	struct store *store;
	struct index_txn *index;
	bool write, replaying;
	uint64_t time_ms;
	struct counters counters; /* as of this transaction */
	struct bytes bytes;       /* of the planned entries */
	struct planned *planned;
	size_t planned_count, planned_capacity;
	struct tree_dirty tree;
	struct txn_buffers buffers;
	struct hot *hot; /* of a write transaction */
	struct unsigned_run run;
	bool own;   /* it has records of this node's own device */
	bool later; /* it has applied what store->later holds */
};

/* ---- transaction.c ---- */

int counters_load(struct store *store, struct index_txn *index, struct counters *out);
int counters_save(struct store_txn *txn);
void txn_free(struct store_txn *txn);
void later_drop(struct store *store); /* frees what is left of it: the next start replays it */
void txn_buffers_finish(struct store *store);
int txn_new(struct store *store, bool write, struct store_txn **out);

/* ---- pieces.c ---- */

/* The index rows of a piece at a place, which of equal ones is the last. */
int piece_row_put(struct store_txn *txn, const struct id *name, const struct id *text_id,
		  uint32_t stored_size, journal_place place);
int piece_row_forget(struct store_txn *txn, const struct id *name);
ssize_t pieces_get(void *context, const struct id *name, uint8_t *out, size_t out_size);

/* Waits while a segment is being replaced, for who read something else at a place; bounded. False: nothing moves. */
bool pieces_wait_moving(struct store *store);

/* ---- desk_facts.c ---- */

/* The texts that a LOCAL_PENDING fact names. Stops at nonzero and returns it. */
int pending_each_content(const uint8_t *value, size_t size,
			 int (*visit)(void *context, const struct content *content), void *context);

/* ---- local.c ---- */

/* A KIND_LOCAL entry's bytes; finish them also on failure. */
int local_encode(struct bytes *out, enum local_kind kind, const void *key, size_t key_size,
		 const void *value, size_t value_size);
/* Applies them. */
int local_apply(struct store_txn *txn, const uint8_t *bytes, size_t size, journal_place place);

/* ---- gc.c ---- */

/* The index learns the places in store->moved. Under write_lock, outside of transactions. */
int gc_mend(struct store *store);

/* ---- replay.c ---- */

/* Did the machine stop while the folder was in use? Asked before the journal is opened. */
bool replay_power_was_cut(const struct store *store);
bool replay_was_closed(const struct store *store);
/* Brings the index up to the journal; builds it anew where asked or needed. */
/* The index is whole on disk: the next start may use it whatever boot it is. */
int replay_mark_closed(struct store *store);
int replay_index(struct store *store, const struct store_options *options, struct why *why);

#endif
