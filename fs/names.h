/*
 * names.h - what persons are called here: a petname, or the nickname they chose as it was when it was first seen.
 *
 * A nickname is pinned (a local fact, LOCAL_NAME) when its bearer becomes known, so that nobody takes over a
 * name by choosing it too: who comes later is called name.SHORTID.  A petname is the same fact, given by hand.  This
 * node's own person is called by their own nickname, before anybody else.  Who has no name is called by the
 * beginning of their id.  Looking up changes nothing.  Threads: those of the transaction.
 */
#ifndef NAMES_H
#define NAMES_H

#include "person.h"
#include "why.h"

/* May it stand as a name in the root of a mount? */
bool names_is_plain(const char *name);
/*
 * Gives the person a name if they have none yet; if they are this node's own, whoever was called so before gives way:
 * 1 then, and who it is. For every person: zero.
 */
int names_pin(struct store *store, const struct id *person, struct id *out_renamed);
/* A petname. -EINVAL, -EEXIST, -ENAMETOOLONG, -EPERM (this node's own), with a sentence. */
int names_give(struct store *store, const struct id *person, const char *name, struct why *why);
void names_of(struct store_txn *txn, const struct id *person, char out[PROFILE_NAME_MAX + 1]);
/*
 * Who is called so (`me`: this node's own), or whose id begins so if they have a log here or are followed. -ENOENT:
 * nobody, or several.
 */
int names_find(struct store_txn *txn, const char *name, struct id *out);
/* Whom this node's person follows, in order of id; documents are left out. Stops at nonzero and returns it. */
int names_each_followed(struct store_txn *txn, int (*visit)(void *context, const struct id *person), void *context);

#endif
