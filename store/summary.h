/*
 * summary.h - everything in force that a log says, as pieces: what a newcomer may start from.
 *
 * Each section is a list in a fixed sorted encoding (moot-store(5)), stored as a content.
 * A function of the records of the log up to and including seq: anyone who holds them can check it.
 *
 * Reads the whole log, from its end to its beginning. Memory is for what is in force, not for
 * all that was ever said.
 */
#ifndef SUMMARY_H
#define SUMMARY_H

#include "log.h"

/*
 * Makes the sections for the branch of the log in effect, up to seq inclusive; stores their pieces in the
 * transaction. -ENOENT: no such log, or no such seq on that branch; -EMSGSIZE: they do not fit a transaction.
 */
int summary_make(struct store_txn *txn, uint64_t log, uint64_t seq, struct summary_section out[SUMMARY_COUNT]);
/* Appends a summary record of this device. */
int summary_append(struct store_txn *txn);
/*
 * 1: the record says what the log up to it says, on its own branch; 0: it does not. Sizes and digests are
 * compared, no piece is read. What `record` borrows may be overwritten: it reads records itself.
 */
int summary_check(struct store_txn *txn, const struct record_row *row, const struct record *record);

#endif
