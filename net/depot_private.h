/* depot_private.h - what depot_store.c and depot_take.c share. */
#ifndef DEPOT_PRIVATE_H
#define DEPOT_PRIVATE_H

#include <pthread.h>

#include "depot_store.h"

#define DEPOT_PACKERS 4 /* idle ones kept: as many as works that take pieces at a time */

struct depot_store {
	struct depot_store_options options;
	struct store *store;
	struct depot depot;
	pthread_mutex_t lock;  /* of what follows, held for moments */
	journal_place durable; /* what stands below is durable; 0: nothing own is known to be */
	struct head own;       /* seq, record, records: the newest of it */
	struct id *followed;   /* sorted */
	size_t followed_count;
	struct packer *packers[DEPOT_PACKERS];
};

/* ---- depot_store.c ---- */

int depot_refresh(struct depot_store *d); /* who is followed */

/* ---- depot_take.c: as in depot.h ---- */

int depot_take_records(void *context, const struct id *device, const struct record_item *records, size_t count);
int depot_take_pieces(void *context, const struct piece_item *pieces, size_t count, int *out_results);

#endif
