/*
 * names.h - what persons are called here: a petname, or the nickname they chose as it was when it was first seen.
 *
 * A nickname is pinned (a local fact, LOCAL_NAME) when its bearer becomes known, so that nobody takes over a
 * name by choosing it too: who comes later is called name.SHORTID.  This node's own person is not named
 * here.  Looking up changes nothing.  Threads: those of the transaction.
 */
#ifndef NAMES_H
#define NAMES_H

#include "person.h"

/* May it stand as a name in the root of a mount? */
bool names_is_plain(const char *name);
/* Gives the person a name if they have none yet, nor are this node's own. For every person: zero. */
int names_pin(struct store *store, const struct id *person);
/* What the person is called: the pinned name, else the beginning of their id. */
void names_of(struct store_txn *txn, const struct id *person, char out[PROFILE_NAME_MAX + 1]);
/* Who is called so, or whose id begins so if they have a log here or are followed. -ENOENT: nobody, or several. */
int names_find(struct store_txn *txn, const char *name, struct id *out);
/* Whom this node's person follows, in order of id; documents are left out. Stops at nonzero and returns it. */
int names_each_followed(struct store_txn *txn, int (*visit)(void *context, const struct id *person), void *context);

#endif
