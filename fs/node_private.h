/*
 * node_private.h - what node.c and node_place.c share: the table itself.
 */
#ifndef NODE_PRIVATE_H
#define NODE_PRIVATE_H

#include "node.h"

struct link { /* a name that leads to a node */
	struct node *node;
	struct node *parent; /* pinned */
	struct link *next;   /* of the node */
	bool hashed;         /* false: superseded, the name leads to another now */
	UT_hash_handle hh;
	size_t key_size;
	uint64_t parent_number; /* with the name, the key */
	char name[];
};

struct nodes {
	pthread_mutex_t lock;
	uint64_t next_number;
	uint64_t open_count;
	uint64_t surplus_next;    /* number from which node_surplus() goes on */
	uint64_t many;            /* more than these are many: NODES_MAX, or beyond what was in use at the last look */
	struct node *root;
	struct node *by_number;
	struct node *directories; /* by (person, id) */
	struct node *scratch;     /* by (device, inode) */
	struct link *links;
};

#endif
