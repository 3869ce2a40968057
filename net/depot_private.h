/* depot_private.h - what depot_store.c, depot_follow.c and depot_take.c share. */
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
	struct id *documents;  /* followed; sorted */
	size_t document_count;
	struct packer *packers[DEPOT_PACKERS];
};

/* ---- depot_follow.c: most as in depot.h ---- */

int depot_refresh(struct depot_store *d); /* who is followed */
bool depot_follows(void *context, const struct id *entity);
bool depot_follows_document(struct depot_store *d, const struct id *document);
int depot_each_followed(void *context, int (*visit)(void *visitor, const struct id *entity), void *visitor);
int depot_each_document(void *context, int (*visit)(void *visitor, const struct id *document), void *visitor);
uint64_t depot_follow_count(void *context);
int depot_each_author(void *context, const struct id *document, int (*visit)(void *visitor, const struct id *entity),
		      void *visitor);

/* ---- depot_take.c: as in depot.h ---- */

int depot_take_records(void *context, const struct id *device, const struct record_item *records, size_t count);
int depot_take_pieces(void *context, const struct piece_item *pieces, size_t count, int *out_results);
int depot_apply_due(void *context); /* for store_on_due() */

#endif
