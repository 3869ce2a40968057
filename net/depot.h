/*
 * depot.h - the store as the protocol sees it: one narrow interface, two implementations (depot_store.c over a real
 * store; one in memory for simulator, tests and fuzzers).
 *
 * Questions are answered at once, from the index or memory.  What takes time (taking records and
 * pieces, reading pieces, making durable) is asked for by work.h, which may run on any
 * thread.  All calls may come from any thread, at the same time.
 *
 * Heads: of this node's own device only what is durable counts, everywhere: a log that
 * its author's disk forgets and its peers remember would make an honest author sign two records with one number.
 */
#ifndef DEPOT_H
#define DEPOT_H

#include <sys/types.h>

#include "key.h"
#include "packet.h"

struct depot_piece { /* one that is missing */
	struct id name;
	uint32_t stored;   /* bytes, as its version says */
	uint64_t version;  /* record number of the version that names it (for depot_version_done) */
};

struct depot_calls {
	/* -- logs -- */
	int (*head)(void *context, const struct id *device, struct head *out); /* -ENOENT */
	/* All logs, in order of device, from those after `after` (zero: all); stops at nonzero and returns it. */
	int (*each_head)(void *context, const struct id *after, int (*visit)(void *visitor, const struct head *head), void *visitor);
	/* All logs in any order, and much quicker. */
	int (*every_head)(void *context, int (*visit)(void *visitor, const struct head *head), void *visitor);
	/* The logs of an entity. */
	int (*each_head_of)(void *context, const struct id *entity, int (*visit)(void *visitor, const struct head *head), void *visitor);
	uint64_t (*log_count)(void *context);
	/* Has this person admitted that device, as far as records here say? Its log need not be here. */
	bool (*has_admitted)(void *context, const struct id *person, const struct id *device);
	/* Records of a log in order of (seq, id); bytes are borrowed until visit returns. */
	int (*each_record)(void *context, const struct id *device, uint64_t from, uint64_t to,
			   int (*visit)(void *visitor, uint64_t seq, const struct record_item *item), void *visitor);
	/*
	 * Takes a chain of records of one device, checked: each names the one before it, or what is here; the last
	 * one's signature is valid. 0 or how many were new; -EAGAIN: the first one's predecessor is not
	 * here; -EBADMSG, -EPROTO, -EKEYREJECTED: the sender lies, nothing was taken.
	 */
	int (*take_records)(void *context, const struct id *device, const struct record_item *records, size_t count);

	/* -- who is followed: own person, subscriptions -- */
	bool (*follows)(void *context, const struct id *entity);
	int (*each_followed)(void *context, int (*visit)(void *visitor, const struct id *entity), void *visitor);
	uint64_t (*follow_count)(void *context);
	/* Documents followed, whoever writes them; in order. */
	int (*each_document)(void *context, int (*visit)(void *visitor, const struct id *document), void *visitor);
	/* Whose logs have versions of a document: those known longest first. */
	int (*each_author)(void *context, const struct id *document, int (*visit)(void *visitor, const struct id *entity), void *visitor);

	/* -- pieces -- */
	bool (*has_piece)(void *context, const struct id *name);
	ssize_t (*read_piece)(void *context, const struct id *name, uint8_t *out, size_t out_size); /* -ENOENT */
	/* Pieces that were asked for: checked against their names, inflated, kept. out_results: 0 or an error each. */
	int (*take_pieces)(void *context, const struct piece_item *pieces, size_t count, int *out_results);
	/*
	 * Missing pieces of versions of those followed, and of documents followed, newest first: the heads before the rest.
	 * *cursor: 0 to begin; says where to go on. Fills up to count_max; 0: no more. Versions that lack nothing are forgotten on the way.
	 */
	ssize_t (*missing)(void *context, uint64_t *cursor, struct depot_piece *out, size_t count_max);
	/* The same of one version, whoever made it. */
	ssize_t (*missing_of)(void *context, const struct id *version, struct depot_piece *out, size_t count_max);
	/* Pieces of a record's content that are here and small enough to send along (at most size_max bytes in all), for pushes. */
	ssize_t (*pieces_of)(void *context, const struct record_item *record, struct id *out, size_t count_max, size_t size_max);

	/* -- this node -- */
	int (*sync)(void *context); /* what was appended is durable after it; the own head moves */
	/* Local facts of the network: addresses, receipts. An empty value forgets. */
	int (*remember)(void *context, const void *key, size_t key_size, const void *value, size_t value_size);
	int (*each_memory)(void *context, const void *prefix, size_t prefix_size,
			   int (*visit)(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size), void *visitor);
};

struct depot {
	const struct depot_calls *calls;
	void *context;
	const struct key *key;  /* of this device */
	struct id person;       /* it speaks for */
};

#endif
