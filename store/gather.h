/*
 * gather.h - rows of some tables in memory while an index is built, given out in order in the end.
 *
 * A table with keys in no order costs a descent and a page of its own for each row
 * that is put; put in order, and once, it costs neither.  So while an index is made anew
 * its large tables live here, hashed by key, until index.c writes them.
 *
 * Only rows put or deleted since the last gather_drain() are here; index.c looks at the table
 * itself for the rest, and drains a table before it walks over it.  A table that is
 * walked is then written through for some rows, since it may be walked again and again.
 *
 * One thread.  What gather_get() gives lives until the next put, delete or drain of the table.
 */
#ifndef GATHER_H
#define GATHER_H

#include "index.h"

struct gather;

/* seed: random, so that nobody can make keys that fall together. NULL: no memory. */
struct gather *gather_new(uint64_t seed);
void gather_free(struct gather *g); /* takes NULL */

/* May the next row of this table be put here? Else it is written through; counts it. */
bool gather_wants(struct gather *g, enum table table, const void *key, size_t key_size);
int gather_put(struct gather *g, enum table table, const void *key, size_t key_size, const void *value,
	       size_t value_size);
int gather_delete(struct gather *g, enum table table, const void *key, size_t key_size);
/* 1: here; 0: the table itself knows; -ENOENT: deleted, or nothing was ever written to the table. */
int gather_get(const struct gather *g, enum table table, const void *key, size_t key_size, const uint8_t **out_value,
	       size_t *out_size);

size_t gather_count(const struct gather *g, enum table table);
/* Its keys came in order but for a few: it may as well be written now, while all is in the processor's caches. */
bool gather_is_ripe(const struct gather *g, enum table table);
/* In bytes, of one table. */
size_t gather_size(const struct gather *g, enum table table);
/* Is this a table whose keys come in no order? Such are written last. */
bool gather_is_scattered(enum table table);

/* value NULL: deleted. */
typedef int (*gather_write)(void *context, const void *key, size_t key_size, const void *value, size_t value_size);
/* Gives all rows of a table in order and forgets them; on failure some are lost. */
int gather_drain(struct gather *g, enum table table, gather_write write, void *context);
/* The table is going to be walked: drained before, it is written through for now. */
void gather_note_walk(struct gather *g, enum table table);

#endif
