/*
 * depot_memory_private.h - blobs that nodes share (blobs.c), and one node: depot.h (depot_memory.c) and what its user does (depot_memory_use.c).
 */
#ifndef DEPOT_MEMORY_PRIVATE_H
#define DEPOT_MEMORY_PRIVATE_H

#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

#include "cleanup.h"
#include "depot_memory.h"

/* ---- blobs.c ---- */

struct blob {
	struct id id; /* key */
	unsigned refs;
	uint32_t size;
	bool is_record, is_checked; /* a signature of it was right (that one); of a piece: it inflates */
	struct signature signature;
	/* of a record: */
	struct id voucher, prev, person, admits; /* person: a profile's; admits: that device */
	uint64_t seq, time_ms, field;
	struct id document;
	struct piece_ref *pieces;   /* of a version */
	size_t piece_count;
	const void *marked;         /* who counted it last */
	UT_hash_handle hh;
	uint8_t bytes[];
};

struct blobs {
	pthread_mutex_t lock;
	bool check;
	uint64_t checked;
	struct blob *table;
	struct record *scratch;
	struct packer *packer;
	uint8_t *text;
};

void *must(void *memory); /* aborts at NULL */
struct blob *blob_find(struct blobs *blobs, const struct id *id);
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blobs *blobs, struct blob *blob);
/* Without a reference. */
struct blob *blob_add(struct blobs *blobs, const struct id *id, const void *bytes, size_t size);
/* -EBADMSG: no record. A reference is the caller's. */
int blob_of_record(struct blobs *blobs, const uint8_t *bytes, size_t size, struct blob **out);
int blob_check(struct blobs *blobs, struct blob *blob, const struct signature *signature);

/* ---- a node ---- */

struct kept { /* a record in a log */
	struct blob *blob;
	bool is_signed;
};

struct log {
	struct id device;
	struct kept *entries; /* by (seq, id) */
	size_t count, capacity;
	size_t durable;        /* own: of them; of others all */
};

struct fact {
	struct fact *next;
	size_t key_size, value_size;
	uint8_t bytes[];
};

struct memory {
	struct blobs *blobs;
	const struct key *key;
	const struct clock *clock;
	struct depot depot;
	struct log **logs;     /* by device */
	size_t log_count, log_capacity;
	struct id *followed;   /* sorted */
	size_t followed_count, followed_capacity;
	struct id *documents;  /* followed */
	size_t document_count, document_capacity;
	struct blob **pieces;  /* open addressing by name; a power of two */
	size_t piece_count, piece_capacity;
	struct blob **versions; /* in order of coming, NULL: lacks nothing */
	size_t version_count, version_capacity;
	struct fact *facts;    /* in order of key */
	struct id *once;       /* followed at some time, sorted */
	size_t once_count, once_capacity;
	int sync_error, take_error;
	uint64_t nonce;
};

#define GROW(array, count, capacity) \
	do { \
		if ((count) == (capacity)) { \
			(capacity) = (capacity) ? 2 * (capacity) : 4; \
			(array) = must(realloc((array), (capacity) * sizeof((array)[0]))); \
		} \
	} while (0)

static inline void unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}
#define LOCKED(m) \
	CLEANUP(unlock) pthread_mutex_t *lock = &(m)->blobs->lock; \
	pthread_mutex_lock(lock)

extern const struct depot_calls memory_calls;

struct blob *memory_find_piece(const struct memory *m, const struct id *name);
void memory_remove_piece(struct memory *m, const struct id *name);
int memory_take_piece(struct memory *m, const struct piece_item *piece);
ssize_t memory_read_piece(void *context, const struct id *name, uint8_t *out, size_t out_size);
struct log *memory_make_log(struct memory *m, const struct id *device);
struct log *memory_find_log(const struct memory *m, const struct id *device);
void memory_add_entry(struct memory *m, struct log *log, struct blob *blob, bool is_signed);
struct id memory_person_of(const struct memory *m, const struct log *log);
bool memory_follows(const struct memory *m, const struct id *entity);
bool memory_followed_once(const struct memory *m, const struct id *entity);
int memory_compare_ids(const void *a, const void *b);
const struct blob *memory_find_version(const struct memory *m, const struct id *id);

#endif
