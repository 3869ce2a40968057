/*
 * store.h - a data folder held open: the journal as truth, the index over it, and the transaction that keeps them together.
 *
 * One process holds a data folder (`lock`, an flock, names its pid and where it
 * is mounted).  All changes go through a write transaction: entries are
 * planned, applied to the index under their future places, then written to the
 * journal in one write(2), then the index is committed.  What fails before the
 * write changes nothing; if the index fails after it, the write is taken back.
 *
 * Opening replays what the journal has beyond the index; the index is rebuilt
 * whole if the boot id differs and it was not closed cleanly, or if its format
 * is another.  Replaying calls the same functions that the live path calls.
 *
 * Numbers (records, pieces, logs = devices, entities, directories, documents)
 * are given at first mention, in journal order, from 1; 0 is none.
 *
 * Threads: any.  Write transactions exclude one another; read transactions see
 * the last commit and must be short and end on the thread that began them.
 */
#ifndef STORE_H
#define STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "clock.h"
#include "content.h"
#include "id.h"
#include "index.h"
#include "journal.h"
#include "key.h"
#include "record.h"
#include "why.h"

/* Journal entry kinds (moot-store(5)). */
enum journal_kind {
	KIND_RECORD = 1, /* signature 64 (zero: not checked), record */
	KIND_PIECE = 2,  /* BLAKE2b-256 of the inflated bytes (32), one gzip member */
	KIND_LOCAL = 4,  /* CBOR [kind, key bytes, value bytes]: a local fact; an empty value forgets it */
	KIND_MARK = 5,   /* a piece's name (32): it may be dropped (deleting marks; gc rewrites) */
};

/* Local facts: kinds of TABLE_LOCAL. Never leave this machine. */
enum local_kind {
	LOCAL_NAME = 1,    /* nickname or petname of an entity: key entity id -> name */
	LOCAL_ATTR = 2,    /* key directory id, name -> attributes (desk.h) */
	LOCAL_CONFIG = 3,  /* key name -> value */
	LOCAL_PENDING = 4, /* key directory id, name -> what waits there (desk.h) */
	LOCAL_NET = 5,     /* the network's: addresses, receipts (net/) */
};

/* Kinds of TABLE_NUMBER. */
enum number_kind {
	NUMBER_RECORD = 1, NUMBER_PIECE = 2, NUMBER_DEVICE = 3, NUMBER_ENTITY = 4,
	NUMBER_DIRECTORY = 5, NUMBER_DOCUMENT = 6,
};

struct store;

struct store_options {
	struct clock clock;
	bool create;            /* make journal and index where missing (moot init) */
	bool reindex;           /* build the index anew even if it seems right */
	void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes of journal; may be NULL */
	void *progress_context;
};

/*
 * Opens the data folder. The key must exist (moot init) and is loaded by the caller:
 * the store keeps a copy and wipes it at close. -EBUSY: another process holds it (why
 * names its pid and mount); -EACCES: it is another user's or others can enter it.
 */
int store_open(struct store **out, const char *path, const struct key *key,
	       const struct store_options *options, struct why *why);
/* Marks the index clean. Takes NULL. */
int store_close(struct store *store);

/* $MOOT_HOME, else $XDG_DATA_HOME/moot, else ~/.local/share/moot, as an absolute path. -ENOENT: none is known. */
int store_default_path(char *out, size_t out_size);
/*
 * Until then (now_ms clock; 0: no more) nothing is signed here: log_append() fails with STORE_HELD. For a folder
 * that may have signed more than it knows of (a backup), while peers are asked.
 */
#define STORE_HELD (-EINPROGRESS)
void store_hold_signing(struct store *store, uint64_t until_ms);
uint64_t store_held_until_ms(struct store *store); /* 0: it is not held, or no more */
/* Who holds it: pid (0: nobody) and the mount point it wrote, if any. Does not open. */
int store_holder(const char *path, int *out_pid, char *out_mount, size_t mount_size);
/* Was it closed, when it was opened? Else its program was killed, or it is a copy of a folder in use. */
bool store_was_closed(const struct store *store);
/* Written to the lock for others to read. */
int store_set_mount(struct store *store, const char *mount_point);

int store_directory_fd(const struct store *store); /* the data folder's, borrowed */
const struct key *store_key(const struct store *store);
const struct clock *store_clock(const struct store *store);
struct journal *store_journal(struct store *store);
struct piece_cache *store_piece_cache(struct store *store);
/* Pieces as content.h wants them: get reads the index and the journal; put and find_text need a transaction and fail with -EPERM. */
const struct piece_store *store_pieces(struct store *store);

/* ---- transactions ---- */

struct store_txn;

int store_begin(struct store *store, bool write, struct store_txn **out);
/* How much was read and written in this transaction, in index rows. */
uint64_t store_txn_work(const struct store_txn *txn);
/* Between two write transactions of a long job: lets those who wait for one go first, for a bounded time. */
void store_give_way(struct store *store);
/* Journal, then index. Frees the transaction also on failure: then nothing was changed. */
int store_commit(struct store_txn *txn);
void store_abort(struct store_txn *txn); /* takes NULL; ends a read */
struct index_txn *store_index(struct store_txn *txn);
struct store *store_of(struct store_txn *txn);
/* All that this transaction sees stands in the journal below this place. Read transactions. */
journal_place store_txn_covered(struct store_txn *txn);
/* This node's own clock reading of the transaction: one value throughout. */
uint64_t store_txn_time_ms(const struct store_txn *txn);
/* A scratch record for decoding, one a transaction: `index` 0 or 1. Contents last until the next use. */
struct record *store_txn_record(struct store_txn *txn, unsigned index);

/*
 * Called after each commit that appended records of this node's own device, on the thread that committed, with a lock
 * of the store held: it must not call the store. NULL: nobody. One at a time.
 */
void store_on_append(struct store *store, void (*appended)(void *context), void *context);

/* What tree.h keeps for the length of a write transaction. */
struct tree_dirty;
struct tree_dirty *store_txn_tree(struct store_txn *txn);
/* Listing positions of new slots: a counter above every one in the index. */
uint64_t store_next_cookie(struct store *store);

/* A buffer of RECORD_SIZE_MAX + 64 bytes for reading a record, one a transaction; NULL: no memory. */
uint8_t *store_txn_buffer(struct store_txn *txn);

/* Plans an entry; its place is final once committed. Copies the bytes. */
int store_append(struct store_txn *txn, uint8_t kind, const struct span *spans, size_t span_count,
		 journal_place *out_place);

/*
 * Journals entries in one write and leaves the index to the next write transaction, which it costs less:
 * for what is soon followed by one. Until then store_pieces() finds the pieces and nobody the local facts, and
 * the next start would replay them. names: of the pieces among them. No records.
 * -ENOBUFS: too much waits already, use a transaction.
 */
int store_append_later(struct store *store, const struct journal_part *parts, const struct id *names, size_t count);

/* Number of an id: -ENOENT if never mentioned. */
int store_number(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out);
/* Gives one if it has none (write transactions). */
int store_number_make(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out);
/* The id of a number (kept for all kinds but pieces and records, whose rows tell). */
int store_number_id(struct store_txn *txn, enum number_kind kind, uint64_t number, struct id *out);
/* Ids of a kind between two, for prefixes: fills up to count_max, returns how many there are (at most count_max + 1). */
int store_number_between(struct store_txn *txn, enum number_kind kind, const struct id *least,
			 const struct id *greatest, struct id *out, size_t count_max);

/* ---- pieces ---- */

/* As a piece_store that puts into this write transaction (and flushes it to the journal in between when it grows large: pieces are harmless alone). */
struct piece_store store_txn_pieces(struct store_txn *txn);
/*
 * Pieces made outside a transaction, so that compressing holds no lock: use `pieces` with
 * content_write(), then store_batch_finish() in the transaction that needs them. What grows
 * large is committed in between (pieces are harmless alone).
 */
struct store_batch;
struct store_batch *store_batch_new(struct store *store); /* NULL: no memory */
struct piece_store store_batch_pieces(struct store_batch *batch);
int store_batch_finish(struct store_batch *batch, struct store_txn *txn); /* keeps them: once more if the transaction fails */
/* Keeps the batch (NULL: none) and local facts (two at most) together, by store_append_later() if that has room. */
struct local_fact {
	enum local_kind kind;
	const void *key;
	size_t key_size;
	const void *value; /* empty: forget it */
	size_t value_size;
};
int store_keep_later(struct store *store, struct store_batch *batch, const struct local_fact *facts, size_t count);
void store_batch_free(struct store_batch *batch);
/* A foreign piece, checked by the caller to be wanted: -EBADMSG if it does not inflate; 0 if kept, also before. */
int store_accept_piece(struct store_txn *txn, const uint8_t *member, size_t size);
/* Reads one piece's member bytes: size or -ENOENT. */
ssize_t store_read_piece(struct store *store, const struct id *name, uint8_t *out, size_t out_size);
bool store_has_piece(struct store_txn *txn, const struct id *name);
/* Marks a piece as droppable; its row goes, gc takes the bytes. */
int store_drop_piece(struct store_txn *txn, const struct id *name);

/* ---- local facts ---- */

int store_local_get(struct store_txn *txn, enum local_kind kind, const void *key, size_t key_size,
		    const uint8_t **out_value, size_t *out_size);
/* Journals and indexes it; an empty value forgets. */
int store_local_put(struct store_txn *txn, enum local_kind kind, const void *key, size_t key_size,
		    const void *value, size_t value_size);
/* All facts of a kind whose key begins so. */
int store_local_range(struct store_txn *txn, enum local_kind kind, const void *prefix,
		      size_t prefix_size, struct index_range *out);

/* Key and value of the row a local range is at; borrowed as the range's are. */
void store_local_row(const struct index_range *range, const uint8_t **out_key, size_t *out_key_size,
		     const uint8_t **out_value, size_t *out_value_size);

/* ---- upkeep ---- */

struct store_counts {
	uint64_t records, pieces, logs, journal_bytes, journal_segments;
};
int store_counts(struct store *store, struct store_counts *out);

/* Settles trees that wait for it (tree_late.h); applies held-back records whose time has come. Returns how many, and the time_ms of the next in *out_next (UINT64_MAX: none). */
int store_tick(struct store *store, uint64_t *out_next_ms);
/*
 * Who applies in place of store_tick() itself, which calls it, one at a time, without locks but the one that keeps it: trees, if
 * it is time, and some of them, in a transaction of its own; returns how many, or an error. NULL: nobody any more, when this returns.
 */
void store_on_due(struct store *store, int (*apply)(void *context), void *context);
/* The first record held back, if its time has come, for log_apply_held(). 1, 0 or an error. */
int store_first_due(struct store_txn *txn, uint64_t *out_number);

struct gc_report {
	uint64_t segments_rewritten, bytes_freed;
};
/*
 * Rewrites segments with more than half dead bytes (all: any dead bytes). Never blocks readers.
 * -EUCLEAN: the journal is damaged, nothing was touched.
 */
int store_gc(struct store *store, bool all, struct gc_report *out);

struct verify_report {
	uint64_t records, pieces, signatures, logs, bytes;
	uint64_t missing; /* pieces of other devices' versions that are not here: no findings */
	uint64_t bad; /* findings told */
};
/*
 * Checks every entry of the journal: crc, names, records, chains, signatures, and that each
 * version's pieces are here and have the digest told. Reads without the lock: also while mounted.
 * Each finding is one sentence.
 */
int store_verify(const char *path, void (*finding)(void *context, const char *sentence),
		 void (*progress)(void *context, uint64_t done, uint64_t total),
		 void *context, struct verify_report *out, struct why *why);

#endif
