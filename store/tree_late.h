/*
 * tree_late.h - settling later the trees of those who have many directories, so that no transaction is long.
 *
 * tree_settle() leaves them to this: until it is done, directories that no entry places, or that lie in a ring, may show
 * where they showed before.  Who ticks does it a person at a time: look, in a read transaction of its own; then
 * write what differs, in as many transactions as it takes.  Resting between, since it may be asked for again and again.
 */
#ifndef TREE_LATE_H
#define TREE_LATE_H

#include "store.h"

#define LATE_CHANGES 256 /* directories of one transaction */
#define LATE_REST 4      /* times as long as looking took */

struct tree_late;

/* Is it time? Costs nothing to ask. */
bool tree_late_waits(struct store *store);
/* Looks at the first who waits: 1, 0 if nobody does, or an error. Free it in any case of 1. */
int tree_late_find(struct store *store, struct tree_late **out);
/* Writes some of it: 1 if there is more for the next transaction. */
int tree_late_apply(struct store_txn *txn, struct tree_late *late);
void tree_late_free(struct tree_late *late); /* takes NULL */
/* The first who waits, whole, where nobody listens: 1, 0 if nobody waits, or an error. */
int tree_late_once(struct store *store);
/* All of it now, for a store that is being opened. */
int tree_late_all(struct store *store);

#endif
