/*
 * index.h - tables over LMDB: the only file that knows it is index.c.
 *
 * Everything here can be made again from the journal.  Keys and values are
 * bytes; big-endian numbers in keys make ranges (bytes_put_u64_be).  What a read
 * returns is borrowed from the map and lives until the transaction ends or, in a
 * write transaction, until the next put or delete.
 *
 * LMDB's errors are translated here once: MDB_NOTFOUND -ENOENT, MDB_MAP_FULL
 * -ENOSPC, corruption -EBADMSG.  One write transaction at a time (the store's
 * mutex); read transactions any number, each on one thread.
 */
#ifndef INDEX_H
#define INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

/* Every table, with its key -> value; details stand with the module that owns it and in moot-store(5). */
enum table {
	TABLE_META,      /* name -> small value                                (store) */
	TABLE_NUMBER,    /* kind u8, id 32 -> number u64                       (store: hash to number) */
	TABLE_RECORD,    /* record number -> row                               (log) */
	TABLE_PIECE,     /* piece number -> row                                (store) */
	TABLE_TEXT,      /* first 16 bytes of the text's hash -> piece number   (store) */
	TABLE_LOG,       /* log number -> row                                  (log) */
	TABLE_CHAIN,     /* log number, seq, record number ->                  (log) */
	TABLE_HELD,      /* time, record number ->     records from the future (log) */
	TABLE_PERSON,    /* person number, log number -> row                   (person) */
	TABLE_SLOT,      /* person, directory, name -> what stands there       (tree) */
	TABLE_ORDER,     /* person, directory, cookie -> name                  (tree) */
	TABLE_ENTRY,     /* person, directory, name, time, record, index -> row: all entries ever (tree) */
	TABLE_PLACED,    /* directory, person, time, record, index -> where an entry put it (tree) */
	TABLE_SHOWN,     /* person, directory -> where it shows against its entries     (tree) */
	TABLE_EXTRA,     /* person, parent directory, directory ->  the same, by parent (tree) */
	TABLE_PATH,      /* person, directory, name, document -> newest time   (tree) */
	TABLE_VERSION,   /* document, time, record -> row                      (document) */
	TABLE_NODE,      /* version record -> row, parents                     (document) */
	TABLE_CHILD,     /* parent record, child record ->                     (document) */
	TABLE_STAND,     /* document, person, directory, name ->  where its versions stand (tree) */
	TABLE_WANTED,    /* class, record inverted -> what it lacks; piece, record -> (wanted) */
	TABLE_SAID,      /* field, subject 32, person -> newest statement      (person) */
	TABLE_LOCAL,     /* kind, key -> local fact                            (store) */
	TABLE_COUNT
};

struct index;
struct index_txn;

/*
 * Opens or makes `directory`/index; directory_fd stays the caller's, and open. durable: nothing, MDB_NOSYNC always.
 * When LMDB gives up after a failed write (a full disk), it is opened again as soon as no transaction is
 * under way; who begins one meanwhile waits for that, for a bounded time: -EIO.
 */
int index_open(struct index **out, int directory_fd, struct why *why);
void index_close(struct index *index); /* syncs first */
int index_sync(struct index *index);
/* Removes the files, closed before. */
int index_remove(int directory_fd);

int index_begin(struct index *index, bool write, struct index_txn **out);
int index_commit(struct index_txn *txn); /* frees it also on failure */
void index_abort(struct index_txn *txn); /* takes NULL */

/* 0 or -ENOENT. out_value/out_size may be NULL. */
int index_get(struct index_txn *txn, enum table table, const void *key, size_t key_size,
	      const uint8_t **out_value, size_t *out_size);
int index_put(struct index_txn *txn, enum table table, const void *key, size_t key_size,
	      const void *value, size_t value_size);
/* Only if the key is not there: else -EEXIST, and what is there in *out_value. */
int index_put_new(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		  const void *value, size_t value_size, const uint8_t **out_value, size_t *out_size);
/* Many changes are coming: worth remembering where the last one of each table was. Write transactions. */
void index_expect_many(struct index_txn *txn);
/* 0 also if it was not there. */
int index_delete(struct index_txn *txn, enum table table, const void *key, size_t key_size);
/* Deletes every key that begins with the prefix. */
int index_delete_prefix(struct index_txn *txn, enum table table, const void *prefix, size_t prefix_size);
uint64_t index_rows(struct index_txn *txn, enum table table);
/* Rows asked for, written and passed by since the transaction began, more or less: what it has cost. */
uint64_t index_work(const struct index_txn *txn);

/*
 * A walk over the keys that begin with a prefix, in order (or backwards). The
 * struct is the caller's; finish it before the transaction ends.
 */
struct index_range {
	void *cursor;
	uint64_t *work;
	uint8_t prefix[512];
	size_t prefix_size;
	bool started, backwards;
	const uint8_t *key, *value; /* of the current row */
	size_t key_size, value_size;
};

int index_range_open(struct index_range *range, struct index_txn *txn, enum table table,
		     const void *prefix, size_t prefix_size);
/* Begin instead at the first key at or after `key` (backwards: the last at or before it). */
int index_range_open_at(struct index_range *range, struct index_txn *txn, enum table table,
			const void *prefix, size_t prefix_size,
			const void *key, size_t key_size, bool backwards);
/* 1: at a row; 0: no more; negative errno. */
int index_range_next(struct index_range *range);
void index_range_close(struct index_range *range); /* also for CLEANUP */

/*
 * Building it anew: until index_gather_end() the large tables are kept in memory and written in order (gather.h).
 * What was committed between is not whole: the index says so itself until the end, and who finds
 * it like that makes another. Only of an empty index, while nobody else uses it, outside of transactions. seed: random.
 */
int index_gather(struct index *index, uint64_t seed);
/* Writes the tables whose keys come in order: cheap at any time, and best before a commit. */
int index_gather_ripe(struct index_txn *txn);
/* Writes most of it if there is more than so many bytes. */
int index_gather_limit(struct index *index, size_t size_max);
int index_gather_end(struct index *index);
bool index_is_building(struct index_txn *txn);

#endif
