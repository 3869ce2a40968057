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
	atomic_uint_least64_t cookie;
	unsigned batches;           /* under write_lock: alive; what they name is needed */
	atomic_bool moving;         /* a segment is being replaced: places may be of either file */
	bool stale; /* under write_lock: the index fell behind the journal; writing is refused */
};

struct planned {
	uint8_t kind;
	size_t offset, size; /* in struct store_txn's bytes */
	journal_place place;
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
	struct record *records[2];
	uint8_t *buffer;
};

/* ---- transaction.c ---- */

int counters_load(struct store *store, struct index_txn *index, struct counters *out);
int counters_save(struct store_txn *txn);
void txn_free(struct store_txn *txn);
int txn_new(struct store *store, bool write, struct store_txn **out);

/* ---- pieces.c ---- */

/* The index rows of a piece at a place; keeps the first of equal ones. */
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

/* Applies a KIND_LOCAL entry's bytes. */
int local_apply(struct store_txn *txn, const uint8_t *bytes, size_t size, journal_place place);

/* ---- replay.c ---- */

/* Brings the index up to the journal; builds it anew where asked or needed. */
/* The index is whole on disk: the next start may use it whatever boot it is. */
int replay_mark_closed(struct store *store);
int replay_index(struct store *store, const struct store_options *options, struct why *why);

#endif
