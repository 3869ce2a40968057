/*
 * piece.h - between piece.c and content.c: inflated pieces, out of the cache of content.h.
 *
 * Whoever gets a piece holds it until piece_cache_release(), also if the cache
 * drops it meanwhile.  Threads: any; the text does not change.
 */
#ifndef PIECE_H
#define PIECE_H

/* A name is a hash already. Before uthash.h is read. */
#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))

#include <stdbool.h>
#include <string.h>
#include <uthash.h>

#include "content.h"

struct inflated {
	struct id name;
	uint32_t stored_size;
	size_t size;
	unsigned users;  /* readers at work on it, under the cache's lock */
	bool cached;     /* in the table and the list */
	struct inflated *prev, *next;
	UT_hash_handle hh;
	uint8_t text[];
};

/*
 * The piece of that name and stored size; text_size is for the caller to judge.
 * -ENODATA: not in the store; -EBADMSG: not the piece that was named.
 */
int piece_cache_get(struct piece_cache *cache, const struct piece_store *store,
		    const struct piece_ref *ref, struct inflated **out);
void piece_cache_release(struct piece_cache *cache, struct inflated *piece);

#endif
