#include "index.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "gather.h"
#include "store_limits.h"

#define FULL_SIZE (256 * 1024) /* bytes left, of which a commit may want more */

#define READERS_MAX 512 /* read transactions at one time: far over the workers and threads there are */
#define MEND_WAIT_S 2   /* for readers to end before it is opened again: one of them may itself be waiting for that */
#define SPARE_MAX 16    /* ended read transactions kept for reuse: renewing costs a tenth of beginning */

static const char *const table_names[TABLE_COUNT] = {
	[TABLE_META] = "meta", [TABLE_NUMBER] = "number", [TABLE_RECORD] = "record",
	[TABLE_PIECE] = "piece", [TABLE_TEXT] = "text", [TABLE_LOG] = "log",
	[TABLE_CHAIN] = "chain", [TABLE_HELD] = "held", [TABLE_PERSON] = "person",
	[TABLE_SLOT] = "slot", [TABLE_ORDER] = "order", [TABLE_ENTRY] = "entry",
	[TABLE_PLACED] = "placed", [TABLE_SHOWN] = "shown", [TABLE_EXTRA] = "extra",
	[TABLE_PATH] = "path", [TABLE_VERSION] = "version", [TABLE_CHILD] = "child",
	[TABLE_NODE] = "node", [TABLE_STAND] = "stand", [TABLE_WANTED] = "wanted",
	[TABLE_SAID] = "said", [TABLE_LOCAL] = "local",
};

struct index {
	int directory_fd; /* the caller's */
	MDB_env *env;     /* NULL: it could not be opened again */
	MDB_dbi tables[TABLE_COUNT];
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t idle;
	MDB_txn *spare[SPARE_MAX];
	size_t spare_count;
	unsigned active; /* uses of env under way */
	bool broken;     /* LMDB takes nothing more before it is opened again */
	bool lost;       /* and what is there then is not what should be */
	size_t refused;  /* the last transaction that was not committed, by LMDB's number */
	struct gather *gather; /* NULL but while it is built anew */
};

struct index_txn {
	struct index *index;
	MDB_txn *txn;
	bool write, many;
	uint64_t work;
	MDB_cursor *cursors[TABLE_COUNT]; /* if many: a key beside the last one is found without a descent */
};

/* LMDB mixes positive errno with its own negative codes. */
static int translate(int code)
{
	if (code == MDB_SUCCESS)
		return 0;
	if (code > 0)
		return -code;
	switch (code) {
	case MDB_NOTFOUND: return -ENOENT;
	case MDB_KEYEXIST: return -EEXIST;
	case MDB_MAP_FULL: return -ENOSPC;
	case MDB_BAD_VALSIZE: return -EINVAL;
	case MDB_READERS_FULL: return -EAGAIN;
	case MDB_TXN_FULL: return -EMSGSIZE;
	case MDB_PANIC: return -EIO; /* a write of its own failed */
	default: return -EBADMSG;
	}
}

static int open_tables(struct index *index)
{
	MDB_txn *txn;

	int code = mdb_txn_begin(index->env, NULL, 0, &txn);
	if (code != 0)
		return translate(code);
	for (int i = 0; i < TABLE_COUNT && code == 0; i++)
		code = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &index->tables[i]);
	if (code != 0) {
		mdb_txn_abort(txn);
		return translate(code);
	}
	return translate(mdb_txn_commit(txn));
}

static int open_env(struct index *index, int directory_fd)
{
	char path[64];

	if (mkdirat(directory_fd, "index", 0700) < 0 && errno != EEXIST)
		return -errno;
	/* LMDB takes a path only; this one is right whatever the folder's own is. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/index", directory_fd);
	int code = mdb_env_create(&index->env);
	if (code == 0)
		code = mdb_env_set_maxdbs(index->env, TABLE_COUNT);
	if (code == 0)
		code = mdb_env_set_maxreaders(index->env, READERS_MAX);
	if (code == 0)
		code = mdb_env_set_mapsize(index->env, INDEX_MAP_SIZE);
	if (code == 0)
		code = mdb_env_open(index->env, path, MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (code != 0 && index->env) { /* nothing but closing is allowed then: no sync */
		mdb_env_close(index->env);
		index->env = NULL;
	}
	return translate(code);
}

/* A page that the file does not have would end the process when it is touched. */
static int check_size(const struct index *index, int directory_fd)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat file;

	int code = mdb_env_info(index->env, &info);
	if (code == 0)
		code = mdb_env_stat(index->env, &stat);
	if (code != 0)
		return translate(code);
	if (fstatat(directory_fd, "index/data.mdb", &file, 0) < 0)
		return -errno;
	/* Pages 0 and 1 are there from the start; the last may not have been written yet where nothing was. */
	uint64_t needed = (uint64_t)info.me_last_pgno * stat.ms_psize;
	return (uint64_t)file.st_size < needed ? -EBADMSG : 0;
}

static int open_all(struct index *index)
{
	int err = open_env(index, index->directory_fd);
	if (err == 0)
		err = check_size(index, index->directory_fd);
	if (err == 0)
		err = open_tables(index);
	return err;
}

static void close_env(struct index *index)
{
	while (index->spare_count > 0)
		mdb_txn_abort(index->spare[--index->spare_count]);
	if (index->env)
		mdb_env_close(index->env);
	index->env = NULL;
}

int index_open(struct index **out, int directory_fd, struct why *why)
{
	struct index *index = calloc(1, sizeof(*index));
	if (!index)
		return -ENOMEM;
	index->directory_fd = directory_fd;
	pthread_mutex_init(&index->lock, NULL);
	pthread_cond_init(&index->idle, NULL);

	int err = open_all(index);
	if (err < 0) {
		index_close(index);
		return why_set(why, err, "the index cannot be opened: %s", why_errno(err));
	}
	*out = index;
	return 0;
}

void index_close(struct index *index)
{
	if (!index)
		return;
	if (index->env)
		mdb_env_sync(index->env, 1);
	close_env(index);
	gather_free(index->gather);
	pthread_cond_destroy(&index->idle);
	pthread_mutex_destroy(&index->lock);
	free(index);
}

int index_remove(int directory_fd)
{
	static const char *const files[] = { "index/state", "index/data.mdb", "index/lock.mdb" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (unlinkat(directory_fd, files[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

/*
 * Opens it again after a failed write of LMDB's own. A commit that failed was taken back by everybody else: if it is
 * there all the same, or one before it is not, then only the journal knows what is right. Under lock.
 */
static int open_again(struct index *index)
{
	MDB_envinfo info;

	close_env(index);
	int err = open_all(index);
	if (err == 0)
		err = translate(mdb_env_info(index->env, &info));
	if (err == 0 && info.me_last_txnid + 1 != index->refused) {
		index->lost = true;
		index_remove(index->directory_fd); /* the next start builds it anew */
		err = -EIO;
	}
	if (err < 0)
		close_env(index);
	return err;
}

static int mend(struct index *index)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += MEND_WAIT_S;
	while (index->broken && index->active > 0)
		if (pthread_cond_clockwait(&index->idle, &index->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
			return -EIO;
	if (!index->broken)
		return 0;
	int err = index->lost ? -EIO : open_again(index);
	index->broken = err < 0;
	return err;
}

/* Nobody closes env before leave(). *out_spare: an ended read transaction, or NULL; may itself be NULL. */
static int enter(struct index *index, MDB_txn **out_spare)
{
	pthread_mutex_lock(&index->lock);
	int err = index->broken ? mend(index) : 0;
	if (err == 0) {
		index->active++;
		if (out_spare)
			*out_spare = index->spare_count > 0 ? index->spare[--index->spare_count] : NULL;
	}
	pthread_mutex_unlock(&index->lock);
	return err;
}

/* spare: to be kept if there is room; may be NULL. */
static void leave(struct index *index, MDB_txn *spare)
{
	pthread_mutex_lock(&index->lock);
	if (spare && index->spare_count < SPARE_MAX)
		index->spare[index->spare_count++] = spare;
	else if (spare)
		mdb_txn_abort(spare);
	if (--index->active == 0 && index->broken)
		pthread_cond_broadcast(&index->idle);
	pthread_mutex_unlock(&index->lock);
}

static void give_spare(struct index *index, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	leave(index, txn);
}

int index_sync(struct index *index)
{
	int err = enter(index, NULL);
	if (err < 0)
		return err;
	err = translate(mdb_env_sync(index->env, 1));
	leave(index, NULL);
	return err;
}

/* *out_broken: it may be tried once more. */
static int begin_once(struct index *index, bool write, MDB_txn **out, bool *out_broken)
{
	MDB_txn *spare = NULL;

	int err = enter(index, write ? NULL : &spare);
	if (err < 0)
		return err;
	if (spare && mdb_txn_renew(spare) == 0) {
		*out = spare;
		return 0;
	}
	mdb_txn_abort(spare);
	int code = mdb_txn_begin(index->env, NULL, write ? 0 : MDB_RDONLY, out);
	if (code == 0)
		return 0;
	*out_broken = code == MDB_PANIC;
	if (*out_broken) {
		pthread_mutex_lock(&index->lock);
		index->broken = true;
		pthread_mutex_unlock(&index->lock);
	}
	leave(index, NULL);
	return translate(code);
}

int index_begin(struct index *index, bool write, struct index_txn **out)
{
	struct index_txn *txn = calloc(1, sizeof(*txn));
	if (!txn)
		return -ENOMEM;
	txn->index = index;
	txn->write = write;
	bool broken = false;
	int err = begin_once(index, write, &txn->txn, &broken);
	if (broken)
		err = begin_once(index, write, &txn->txn, &broken);
	if (err < 0) {
		free(txn);
		return err;
	}
	*out = txn;
	return 0;
}

static void close_cursors(struct index_txn *txn)
{
	for (int i = 0; txn->many && i < TABLE_COUNT; i++)
		if (txn->cursors[i])
			mdb_cursor_close(txn->cursors[i]);
}

/* LMDB says EIO for a write cut short, which a full disk does. */
static bool disk_is_full(struct index *index)
{
	struct statvfs disk;
	int fd;

	return mdb_env_get_fd(index->env, &fd) == 0 && fstatvfs(fd, &disk) == 0 && disk.f_bavail * disk.f_frsize < FULL_SIZE;
}

int index_commit(struct index_txn *txn)
{
	int err = 0;

	close_cursors(txn);
	if (txn->write) {
		size_t number = mdb_txn_id(txn->txn);
		err = translate(mdb_txn_commit(txn->txn));
		if (err < 0)
			txn->index->refused = number;
		if (err == -EIO && disk_is_full(txn->index))
			err = -ENOSPC;
		leave(txn->index, NULL);
	} else {
		give_spare(txn->index, txn->txn);
	}
	free(txn);
	return err;
}

void index_abort(struct index_txn *txn)
{
	if (!txn)
		return;
	close_cursors(txn);
	if (txn->write) {
		mdb_txn_abort(txn->txn);
		leave(txn->index, NULL);
	} else {
		give_spare(txn->index, txn->txn);
	}
	free(txn);
}

static MDB_val value_of(const void *data, size_t size)
{
	return (MDB_val){ .mv_size = size, .mv_data = (void *)(uintptr_t)data };
}

void index_expect_many(struct index_txn *txn)
{
	txn->many = txn->write;
}

/* NULL: one by one, or there is no memory. */
static MDB_cursor *cursor_of(struct index_txn *txn, enum table table)
{
	if (!txn->many)
		return NULL;
	if (!txn->cursors[table] &&
	    mdb_cursor_open(txn->txn, txn->index->tables[table], &txn->cursors[table]) != 0)
		txn->cursors[table] = NULL;
	return txn->cursors[table];
}

static int put(struct index_txn *txn, enum table table, MDB_val *key, MDB_val *value, unsigned flags)
{
	MDB_cursor *cursor = cursor_of(txn, table);

	txn->work++;
	return cursor ? mdb_cursor_put(cursor, key, value, flags)
		      : mdb_put(txn->txn, txn->index->tables[table], key, value, flags);
}

int index_get(struct index_txn *txn, enum table table, const void *key, size_t key_size,
	      const uint8_t **out_value, size_t *out_size)
{
	MDB_val k = value_of(key, key_size), v;

	txn->work++;
	int gathered = txn->write && txn->index->gather
			       ? gather_get(txn->index->gather, table, key, key_size, out_value, out_size) : 0;
	if (gathered != 0)
		return gathered > 0 ? 0 : gathered;
	MDB_cursor *cursor = cursor_of(txn, table);
	int code = cursor ? mdb_cursor_get(cursor, &k, &v, MDB_SET) : mdb_get(txn->txn, txn->index->tables[table], &k, &v);
	if (code != 0)
		return translate(code);
	if (out_value)
		*out_value = v.mv_data;
	if (out_size)
		*out_size = v.mv_size;
	return 0;
}

int index_put(struct index_txn *txn, enum table table, const void *key, size_t key_size,
	      const void *value, size_t value_size)
{
	MDB_val k = value_of(key, key_size), v = value_of(value, value_size);

	if (txn->index->gather && gather_wants(txn->index->gather, table, key, key_size))
		return gather_put(txn->index->gather, table, key, key_size, value, value_size);
	return translate(put(txn, table, &k, &v, 0));
}

int index_put_new(struct index_txn *txn, enum table table, const void *key, size_t key_size,
		  const void *value, size_t value_size, const uint8_t **out_value, size_t *out_size)
{
	MDB_val k = value_of(key, key_size), v = value_of(value, value_size);

	if (txn->index->gather && gather_wants(txn->index->gather, table, key, key_size)) {
		int err = index_get(txn, table, key, key_size, out_value, out_size);
		if (err != -ENOENT)
			return err < 0 ? err : -EEXIST;
		return gather_put(txn->index->gather, table, key, key_size, value, value_size);
	}
	int code = put(txn, table, &k, &v, MDB_NOOVERWRITE);
	if (code == MDB_KEYEXIST) {
		*out_value = v.mv_data;
		*out_size = v.mv_size;
	}
	return translate(code);
}

int index_delete(struct index_txn *txn, enum table table, const void *key, size_t key_size)
{
	MDB_val k = value_of(key, key_size);

	if (txn->index->gather && gather_wants(txn->index->gather, table, key, key_size))
		return gather_delete(txn->index->gather, table, key, key_size);
	txn->work++;
	int code = mdb_del(txn->txn, txn->index->tables[table], &k, NULL);
	return code == MDB_NOTFOUND ? 0 : translate(code);
}

static int drain_for_walk(struct index_txn *txn, enum table table);

static bool has_prefix(const MDB_val *key, const void *prefix, size_t size)
{
	return key->mv_size >= size && memcmp(key->mv_data, prefix, size) == 0;
}

int index_delete_prefix(struct index_txn *txn, enum table table, const void *prefix, size_t prefix_size)
{
	MDB_cursor *cursor;

	int err = drain_for_walk(txn, table);
	if (err < 0)
		return err;
	int code = mdb_cursor_open(txn->txn, txn->index->tables[table], &cursor);
	if (code != 0)
		return translate(code);
	MDB_val key = value_of(prefix, prefix_size), value;
	code = mdb_cursor_get(cursor, &key, &value, prefix_size ? MDB_SET_RANGE : MDB_FIRST);
	while (code == 0 && has_prefix(&key, prefix, prefix_size)) {
		code = mdb_cursor_del(cursor, 0);
		if (code == 0) /* after a delete, next is the row that moved up */
			code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : translate(code);
}

uint64_t index_work(const struct index_txn *txn)
{
	return txn->work;
}

uint64_t index_rows(struct index_txn *txn, enum table table)
{
	MDB_stat stat;

	return drain_for_walk(txn, table) == 0 && mdb_stat(txn->txn, txn->index->tables[table], &stat) == 0 ? stat.ms_entries : 0;
}

int index_range_open(struct index_range *range, struct index_txn *txn, enum table table,
		     const void *prefix, size_t prefix_size)
{
	return index_range_open_at(range, txn, table, prefix, prefix_size, prefix, prefix_size, false);
}

/* The last row at or before `key`: the cursor may have to step back from the one after it. */
static int seek_backwards(MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
	MDB_val wanted = *key;

	int code = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (code == MDB_NOTFOUND)
		return mdb_cursor_get(cursor, key, value, MDB_LAST);
	if (code == 0 && !(key->mv_size == wanted.mv_size && memcmp(key->mv_data, wanted.mv_data, wanted.mv_size) == 0))
		return mdb_cursor_get(cursor, key, value, MDB_PREV);
	return code;
}

int index_range_open_at(struct index_range *range, struct index_txn *txn, enum table table,
			const void *prefix, size_t prefix_size,
			const void *key, size_t key_size, bool backwards)
{
	MDB_cursor *cursor;

	memset(range, 0, offsetof(struct index_range, prefix));
	range->prefix_size = prefix_size;
	range->key = range->value = NULL;
	range->started = false;
	range->backwards = backwards;
	range->work = &txn->work;
	if (prefix_size > sizeof(range->prefix))
		return -EINVAL;
	if (prefix_size)
		memcpy(range->prefix, prefix, prefix_size);

	int err = drain_for_walk(txn, table);
	if (err < 0)
		return err;
	int code = mdb_cursor_open(txn->txn, txn->index->tables[table], &cursor);
	if (code != 0)
		return translate(code);
	MDB_val k = value_of(key, key_size), v = { 0 };
	if (backwards)
		code = key_size ? seek_backwards(cursor, &k, &v) : mdb_cursor_get(cursor, &k, &v, MDB_LAST);
	else
		code = mdb_cursor_get(cursor, &k, &v, key_size ? MDB_SET_RANGE : MDB_FIRST);
	if (code != 0) {
		mdb_cursor_close(cursor);
		return code == MDB_NOTFOUND ? 0 : translate(code); /* no cursor: the first next says 0 */
	}
	range->cursor = cursor;
	range->key = k.mv_data;
	range->key_size = k.mv_size;
	range->value = v.mv_data;
	range->value_size = v.mv_size;
	return 0;
}

/* No row after the last: not even one that has the prefix again. */
static int range_end(struct index_range *range)
{
	index_range_close(range);
	return 0;
}

int index_range_next(struct index_range *range)
{
	if (range->work)
		++*range->work;
	MDB_val key = value_of(range->key, range->key_size), value = value_of(range->value, range->value_size);

	if (!range->cursor)
		return 0;
	if (range->started) {
		int code = mdb_cursor_get(range->cursor, &key, &value, range->backwards ? MDB_PREV : MDB_NEXT);
		if (code == MDB_NOTFOUND)
			return range_end(range);
		if (code != 0)
			return translate(code);
	}
	range->started = true;
	if (!has_prefix(&key, range->prefix, range->prefix_size))
		return range_end(range);
	range->key = key.mv_data;
	range->key_size = key.mv_size;
	range->value = value.mv_data;
	range->value_size = value.mv_size;
	return 1;
}

void index_range_close(struct index_range *range)
{
	if (range->cursor)
		mdb_cursor_close(range->cursor);
	range->cursor = NULL;
}

/* ---- building it anew ---- */

#define BUILDING_KEY "building"
#define DRAIN_ROWS 50000 /* in one transaction of LMDB's, which keeps the pages in memory until its end */

struct drain {
	struct index *index;
	struct index_txn *txn;
	enum table table;
	bool alone; /* transactions of its own: ended when many rows are in one */
	size_t rows;
	uint8_t last[512]; /* the last key that is there; behind it rows are only added */
	size_t last_size;
	bool behind;
};

static int compare_to_last(const struct drain *d, const void *key, size_t size)
{
	int order = memcmp(key, d->last, size < d->last_size ? size : d->last_size);

	return order ? order : (size > d->last_size) - (size < d->last_size);
}

static int find_last(struct drain *d)
{
	MDB_cursor *cursor;
	MDB_val key, value;

	int code = mdb_cursor_open(d->txn->txn, d->index->tables[d->table], &cursor);
	if (code != 0)
		return translate(code);
	code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	d->behind = code == MDB_NOTFOUND;
	if (code == 0 && key.mv_size <= sizeof(d->last)) {
		memcpy(d->last, key.mv_data, key.mv_size);
		d->last_size = key.mv_size;
	}
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : translate(code);
}

static int drain_turn(struct drain *d)
{
	int err = index_commit(d->txn);

	d->txn = NULL;
	d->rows = 0;
	if (err == 0)
		err = index_begin(d->index, true, &d->txn);
	if (err == 0)
		index_expect_many(d->txn);
	return err;
}

static int drain_row(void *context, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct drain *d = context;
	MDB_val k = value_of(key, key_size), v = value_of(value, value_size);

	int err = d->alone && ++d->rows > DRAIN_ROWS ? drain_turn(d) : 0;
	if (err < 0)
		return err;
	if (!d->behind)
		d->behind = compare_to_last(d, key, key_size) > 0;
	if (value)
		return translate(put(d->txn, d->table, &k, &v, d->behind ? MDB_APPEND : 0));
	int code = mdb_del(d->txn->txn, d->index->tables[d->table], &k, NULL);
	return code == MDB_NOTFOUND ? 0 : translate(code);
}

static int drain_table(struct drain *d, enum table table)
{
	d->table = table;
	if (gather_count(d->index->gather, table) == 0)
		return 0;
	int err = find_last(d);
	return err < 0 ? err : gather_drain(d->index->gather, table, drain_row, d);
}

/* In a transaction that writes: in one that reads nothing is seen of what is being built. */
static int drain_for_walk(struct index_txn *txn, enum table table)
{
	struct drain d = { .index = txn->index, .txn = txn };

	if (!txn->write || !txn->index->gather)
		return 0;
	gather_note_walk(txn->index->gather, table);
	return drain_table(&d, table);
}

static int drain_tables(struct index *index, bool scattered)
{
	struct drain d = { .index = index, .alone = true };

	int err = index_begin(index, true, &d.txn);
	if (err < 0)
		return err;
	index_expect_many(d.txn);
	for (int i = 0; err == 0 && i < TABLE_COUNT; i++)
		if (scattered || !gather_is_scattered((enum table)i))
			err = drain_table(&d, (enum table)i);
	if (err == 0)
		return index_commit(d.txn);
	index_abort(d.txn);
	return err;
}

int index_gather(struct index *index, uint64_t seed)
{
	struct index_txn *txn;

	int err = index_begin(index, true, &txn);
	if (err < 0)
		return err;
	err = index_put(txn, TABLE_META, BUILDING_KEY, strlen(BUILDING_KEY), "1", 1);
	if (err < 0) {
		index_abort(txn);
		return err;
	}
	err = index_commit(txn);
	if (err == 0)
		index->gather = gather_new(seed);
	return err == 0 && !index->gather ? -ENOMEM : err;
}

int index_gather_ripe(struct index_txn *txn)
{
	struct drain d = { .index = txn->index, .txn = txn };
	int err = 0;

	for (int i = 0; err == 0 && i < TABLE_COUNT; i++)
		if (gather_is_ripe(txn->index->gather, (enum table)i))
			err = drain_table(&d, (enum table)i);
	return err;
}

int index_gather_limit(struct index *index, size_t size_max)
{
	size_t all = 0, scattered = 0;

	for (int i = 0; i < TABLE_COUNT; i++) {
		size_t size = gather_size(index->gather, (enum table)i);
		all += size;
		scattered += gather_is_scattered((enum table)i) ? size : 0;
	}
	return all > size_max ? drain_tables(index, scattered > size_max / 2) : 0;
}

int index_gather_end(struct index *index)
{
	struct index_txn *txn;

	int err = drain_tables(index, true);
	gather_free(index->gather);
	index->gather = NULL;
	if (err == 0)
		err = index_begin(index, true, &txn);
	if (err < 0)
		return err;
	err = index_delete(txn, TABLE_META, BUILDING_KEY, strlen(BUILDING_KEY));
	if (err == 0)
		return index_commit(txn);
	index_abort(txn);
	return err;
}

bool index_is_building(struct index_txn *txn)
{
	return index_get(txn, TABLE_META, BUILDING_KEY, strlen(BUILDING_KEY), NULL, NULL) != -ENOENT;
}
