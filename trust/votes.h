/*
 * votes.h - what is said for and against an object: plain sums of keep and delete votes.
 *
 * One vote a person, the newest; every voice counts the same here.
 */
#ifndef VOTES_H
#define VOTES_H

#include "person.h"

struct votes {
	uint64_t keep, delete;
	enum vote own; /* this node's person's */
};

int votes_count(struct store_txn *txn, const struct id *object, struct votes *out);

#endif
