/*
 * fork.h - the sides of a forked log, and the word of its person on which one it goes on from.
 *
 * A log forks where one key signed twice with one number: a backup was put back and wrote before any peer could
 * tell what it had forgotten, or two copies of a folder ran at once.  Every side counts in folders, so nothing
 * saved on any of them is lost; a `branch` record says where the log goes on.
 *
 * A node never signs one by itself.  A fork is the one trace that a stolen key leaves, and to call it innocent is for
 * the person to say; and two copies that each kept their own side would contradict one another for good, for what
 * a log says of itself is never taken back (log.h).  Nothing waits for it either: till then the longest side holds.
 */
#ifndef FORK_H
#define FORK_H

#include "log.h"
#include "why.h"

struct fork_side {
	struct record_row newest; /* no record comes after it */
	uint64_t from_seq;        /* its records from this one to the newest are on no side that goes before it */
};

/* The least number that two records of a log have. -ENOENT: it never forked. */
int fork_begin(struct store_txn *txn, const struct log_row *log, uint64_t *out_seq);
/*
 * Fills up to count_max sides: first the one in effect, which ends in the log's tip; then the others, those
 * whose newest record comes later by (seq, time, id) before those whose comes earlier. Returns how many; 0: it never forked.
 */
int fork_sides(struct store_txn *txn, const struct log_row *log, struct fork_side *out, size_t count_max);
/*
 * Signs that the log of this record, of this person, goes on from what descends from it. Of its own log a device says so
 * after the newest of those. 1: it holds already, nothing was signed. -ENOENT: no such record; -EINVAL: it is on no
 * side, or would not be heard; -EACCES: the log is another's, or this device does not count; as log_append().
 */
int fork_keep(struct store_txn *txn, const struct id *record, struct why *why);

#endif
