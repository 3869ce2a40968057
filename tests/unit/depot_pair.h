/* depot_pair.h - two nodes with depots, for a test; after depot_kit.h. */
#ifndef DEPOT_PAIR_H
#define DEPOT_PAIR_H

#include "depot_kit.h"

struct pair {
	struct node alice, bob; /* bob follows alice */
};

static inline void pair_make(struct pair *p)
{
	node_make(&p->alice, 1);
	node_make(&p->bob, 2);
	node_follow(&p->bob, device_of(&p->alice), true);
}

static inline void pair_remove(struct pair *p)
{
	node_remove(&p->alice);
	node_remove(&p->bob);
}

static inline int setup_pair(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	pair_make(p);
	*state = p;
	return 0;
}

static inline int teardown_pair(void **state)
{
	pair_remove(*state);
	free(*state);
	return 0;
}

/* A folder with all that there is: directories, a long document, moves, a removal, several versions. */
static inline void fill_folder(struct node *n)
{
	struct store_txn *txn = txn_begin(&n->t, true);
	struct id person, guides, id;
	char *text = noise(7, 2500000);

	assert_int_equal(person_self(txn, &person), 0);
	say_profile(txn, NULL, "alice");
	say_directory(txn, &person, "guides", &guides);
	txn_commit(txn);
	id = write_text(n, NULL, "notes.md", "first");
	struct id document = id;
	id = write_next(n, &document, &id, "notes.md", "second");
	write_next(n, &document, &id, "notes.md", "third");
	write_text(n, &guides, "soil.md", "earth");
	write_text(n, &guides, "long.bin", text);
	write_text(n, NULL, "gone.md", "gone");
	write_text(n, NULL, "empty", "");
	txn = txn_begin(&n->t, true);
	say_nothing(txn, &person, "gone.md");
	struct record *move = entries_begin();
	entries_put(txn, move, &person, "guides", WHAT_NOTHING, NULL);
	entries_put(txn, move, &person, "handbooks", WHAT_DIRECTORY, &guides);
	entries_say(txn, move);
	txn_commit(txn);
	free(text);
	node_sync(n);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, setup_pair, teardown_pair)

#endif
