/*
 * store_faults.h - for tests of a store whose disk fails: the n-th of some calls of the journal and of
 * LMDB does. After cmocka.h. One program has one such disk.
 */
#ifndef STORE_FAULTS_H
#define STORE_FAULTS_H

#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "journal_private.h"
#include "store.h"

enum call { CALL_WRITE = 1, CALL_SYNC = 2, CALL_COMMIT = 4, CALL_PUT = 8, CALL_RENAME = 16, CALL_TRUNCATE = 32 };

static struct faults {
	unsigned kinds;
	int fail_at; /* which of them fails, from 1; 0: none */
	bool for_good; /* and all after it */
	int error;
	int count, failed;
} faults;

static inline void arm(unsigned kinds, int fail_at, bool for_good, int error)
{
	faults = (struct faults){ .kinds = kinds, .fail_at = fail_at, .for_good = for_good, .error = error };
}

static inline bool fails(enum call kind)
{
	if (!(faults.kinds & kind))
		return false;
	faults.count++;
	if (!faults.fail_at || faults.count < faults.fail_at || (faults.count > faults.fail_at && !faults.for_good))
		return false;
	faults.failed++;
	errno = faults.error;
	return true;
}

static inline ssize_t faulty_pwrite(void *context, int fd, const void *bytes, size_t size, off_t offset)
{
	if (!fails(CALL_WRITE))
		return pwrite(fd, bytes, size, offset);
	/* A full disk takes what still fits. */
	if (faults.error == ENOSPC && size > 10 && pwrite(fd, bytes, size / 2, offset) > 0)
		errno = ENOSPC;
	return -1;
}

static inline int faulty_sync(void *context, int fd)
{
	return fails(CALL_SYNC) ? -1 : 0;
}

static inline int faulty_renameat(void *context, int directory_fd, const char *from, const char *to)
{
	return fails(CALL_RENAME) ? -1 : renameat(directory_fd, from, directory_fd, to);
}

static inline int faulty_ftruncate(void *context, int fd, off_t size)
{
	return fails(CALL_TRUNCATE) ? -1 : ftruncate(fd, size);
}

/* Of a store that was just opened. */
static inline void use_faults(struct store *store)
{
	struct journal *journal = store_journal(store);

	journal->calls.pwrite = faulty_pwrite;
	journal->calls.fdatasync = journal->calls.fsync = faulty_sync;
	journal->calls.renameat = faulty_renameat;
	journal->calls.ftruncate = faulty_ftruncate;
}

/* These stand before liblmdb's own, whose errors they give: the index has no seam of its own. */
int mdb_txn_commit(MDB_txn *txn)
{
	static int (*real)(MDB_txn *txn);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_txn_commit");
	if (!fails(CALL_COMMIT))
		return real(txn);
	mdb_txn_abort(txn);
	return faults.error;
}

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags)
{
	static int (*real)(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_put");
	return fails(CALL_PUT) ? MDB_MAP_FULL : real(txn, dbi, key, data, flags);
}

#endif
