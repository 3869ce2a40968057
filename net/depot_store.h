/*
 * depot_store.h - depot.h over a real store.
 *
 * Own head: the newest of the own log as it was when the journal was last made durable by sync(), and at the
 * start; records of the own log that stand after it in the journal are not told.  Logs of others: all that is here.
 *
 * Nothing here waits for the network or keeps a transaction over a call but while it visits; all calls from any thread.
 */
#ifndef DEPOT_STORE_H
#define DEPOT_STORE_H

#include "depot.h"
#include "store.h"

#define DEPOT_BATCH_RECORDS 1000           /* of one write transaction: others wait some 50 ms for it */
#define DEPOT_BATCH_WORK 20000             /* index rows, likewise, whatever the records say; one record more may follow */
#define DEPOT_BATCH_SIZE (1024 * 1024)     /* bytes of records, likewise */
#define DEPOT_NAMES_MAX 512                /* names told of after one transaction; more: whole persons, */
#define DEPOT_CHANGES_MAX 4096             /* and if these are more: everything */
#define DEPOT_MISSING_MAX 1024             /* pieces told at once */

struct depot_store_options {
	struct store *store;
	/*
	 * What shows under this name may be another thing now: other records stand there. directory = person and name
	 * "": anything of the person, and what they are called; person zero: anything of anybody. After the commit, without
	 * locks, on the thread that takes records, or that calls store_tick(). All may be NULL.
	 */
	void (*arrived)(void *context, const struct id *person, const struct id *directory, const char *name);
	void (*records_taken)(void *context);
	void (*came_due)(void *context); /* records held back count now: they may name pieces that are missing, or whom to follow */
	void *context;
};

struct depot_store;

/* The store outlives it. Makes durable what the journal has; what comes due in the store is told by it. */
int depot_store_new(struct depot_store **out, const struct depot_store_options *options);
void depot_store_free(struct depot_store *d); /* takes NULL */
const struct depot *depot_store_depot(const struct depot_store *d); /* lives as long */
/* A subscription was made or ended here; records that were taken are looked at by itself. */
void depot_store_follows_changed(struct depot_store *d);

#endif
