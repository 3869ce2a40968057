/*
 * tree_rows.h - what tree.c, tree_show.c, tree_settle.c and tree_at.c share: slots, placements and views.
 *
 * Persons, directories, documents and records are numbers here (store.h).
 */
#ifndef TREE_ROWS_H
#define TREE_ROWS_H

#include <string.h>

/* Keys are numbers given one after the other: their low bits spread them best. */
#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <uthash.h>

#include "row.h"
#include "tree.h"

struct slot_name { /* which slot */
	uint64_t person, directory;
	const char *name; /* not NUL-terminated */
	size_t size;
};

struct slot_item { /* an entry */
	uint64_t record;
	uint32_t index;
	enum what what;
	uint64_t time_ms;
	struct id record_id;
	struct id id;       /* version record or directory; zero: nothing */
	uint64_t document;  /* of a version; 0: its record is not here */
};

/*
 * The newest of what stands there.  No more than SLOT_LOOKED_MAX are ever looked at: whatever anybody puts at one
 * name, an entry there costs the same.  Some more are kept, so that what comes up when newer ones go is rarely searched.
 */
#define SLOT_LOOKED_MAX 64 /* as many as one save replaces */
#define SLOT_KEPT_MAX 128

struct slot {
	uint64_t cookie;
	uint64_t more; /* older than all of the items: only in TABLE_ENTRY */
	struct slot_item oldest; /* if there are more: all others are older than this */
	size_t count, capacity;
	struct slot_item *items; /* newest first by (time, record id, index) */
};

/* Of the items, those that are looked at. */
static inline size_t slot_looked(const struct slot *slot)
{
	return slot->count < SLOT_LOOKED_MAX ? slot->count : SLOT_LOOKED_MAX;
}

void slot_finish(struct slot *slot); /* also for CLEANUP */
/* Zero `out` first. -ENOENT: nothing was ever there. */
int slot_load(struct store_txn *txn, const struct slot_name *name, struct slot *out);
/* Inserts a copy in its place, or counts it among the others; the oldest may have to leave the items. */
int slot_insert(struct slot *slot, const struct slot_item *item);
/* After some were taken away: enough to be looked at again, if there are so many. Their entries are written. */
int slot_refill(struct store_txn *txn, const struct slot_name *name, struct slot *slot);
int slot_save(struct store_txn *txn, const struct slot_name *name, const struct slot *slot);
/* Among those looked at. */
bool slot_has_version(const struct slot *slot);
bool slot_has_directory(const struct slot *slot);
bool slot_has_document(const struct slot *slot, uint64_t document);
/* Newer is less: by (time, record id, index), newest first. */
int slot_item_compare(const struct slot_item *a, const struct slot_item *b);

/* DIR name NUL */
struct row slot_key(const struct slot_name *name);

/* ---- entries ---- */

#define NOT_HERE UINT64_MAX   /* in the place of an entry's time: it has not come yet */
#define ALIVE UINT64_MAX      /* dead since: never */

struct entry_row {
	uint64_t record, time_ms; /* from the key */
	uint32_t index;
	enum what what;
	uint64_t dead_ms;         /* time of the earliest record that replaces it; 0: never stood */
	struct id record_id, id;
};

/* Reads the row a range is at; the name (borrowed) too. prefix_size: of person and directory, 16. */
int entry_read(const struct index_range *range, struct entry_row *out, const char **out_name, size_t *out_size);
int entry_get(struct store_txn *txn, const struct slot_name *name, uint64_t time_ms, uint64_t record, uint32_t index,
	      struct entry_row *out);
int entry_put(struct store_txn *txn, const struct slot_name *name, const struct entry_row *entry);
int entry_delete(struct store_txn *txn, const struct slot_name *name, const struct entry_row *entry);

/* ---- where directories are ---- */

struct placement { /* an entry that names a directory, or where it shows against its entries */
	uint64_t parent;   /* directory number */
	uint64_t record;   /* number */
	uint64_t time_ms;
	struct id record_id;
	uint32_t index;
	char name[NAME_SIZE_MAX + 1];
	bool unnamed;      /* never named: the name is its short id */
};

/* The newest standing (or dead) entry that names a directory. -ENOENT: none. */
int placed_newest(struct store_txn *txn, uint64_t person, uint64_t directory, bool standing, struct placement *out);
/* TABLE_PLACED's key: directory, person, standing u8, ... */
#define PLACED_STANDING_AT 16
int placed_put(struct store_txn *txn, const struct slot_name *name, uint64_t directory, bool standing,
	       const struct slot_item *item);
int placed_delete(struct store_txn *txn, uint64_t person, uint64_t directory, bool standing,
		  const struct slot_item *item);
int placed_read(const struct index_range *range, struct placement *out, bool *out_standing);
/* 1: this directory is a place's root: the person's own, or a group's. */
int tree_is_root(struct store_txn *txn, const struct id *person, uint64_t directory);

/* What is in a directory: the row of cookie 0. */
struct contents {
	uint64_t versions;    /* slots where a version shows */
	uint64_t directories; /* slots where a directory stands */
	uint64_t first_ms;    /* time of the oldest entry */
};
int contents_get(struct store_txn *txn, uint64_t person, uint64_t directory, struct contents *out); /* -ENOENT */
int contents_put(struct store_txn *txn, uint64_t person, uint64_t directory, const struct contents *contents);

/* ---- a view: the tree of a person now, or as it stood at a time ---- */

struct relocation { /* a directory that shows elsewhere than its standing entries say */
	uint64_t directory;
	struct placement at;
	UT_hash_handle hh;
};

struct view {
	struct store_txn *txn;
	struct id person_id;
	uint64_t person;
	uint64_t root;     /* directory number; 0: never mentioned */
	bool past;
	uint64_t time_ms;  /* if past */
	struct relocation *relocations; /* if past: hash by directory */
};

/* -ENOENT: the person was never mentioned. Fills relocations if past: view_close(). */
int view_open(struct view *view, struct store_txn *txn, const struct id *person);
int view_open_at(struct view *view, struct store_txn *txn, const struct id *person, uint64_t time_ms);
void view_close(struct view *view);

int view_slot(const struct view *view, const struct slot_name *name, struct slot *out); /* as slot_load() */
int view_newest(const struct view *view, uint64_t directory, bool standing, struct placement *out);
/* Where a directory shows against its entries. -ENOENT: it does not. */
int view_relocation(const struct view *view, uint64_t directory, struct placement *out);
typedef int (*relocated_visit)(void *context, uint64_t directory, const struct placement *at);
/* Visits the directories relocated to a parent, by number from `from`; stops at nonzero. */
int view_each_relocated(const struct view *view, uint64_t parent, uint64_t from, relocated_visit visit, void *context);
/* Those of one name: as of now the newest SLOT_LOOKED_MAX, newest first; of the past all, in no order. */
int view_each_relocated_as(const struct view *view, uint64_t parent, const char *name, size_t size,
			   relocated_visit visit, void *context);
/* 1: a version stands in it, or a directory whose newest standing entry is there. */
int view_contains(const struct view *view, uint64_t directory);

/* ---- tree_show.c ---- */

/* Positions in listings: of a slot its cookie and which of the things there it is; of relocated directories their number. */
#define COOKIE_SHIFT 16
#define COOKIE_RELOCATED (1ull << 61)

struct showing {
	const struct view *view;
	uint64_t directory;
	struct id directory_id;
	uint64_t after; /* positions up to it were shown before */
	int (*visit)(void *context, const struct tree_item *item);
	void *context;
};
int show_slot(const struct showing *s, const char *name, size_t name_size);
int show_relocated(const struct showing *s);
int show_lookup(const struct view *view, const struct id *directory, const char *name, struct tree_item *out);

/* ---- tree.c ---- */

/* The greatest cookie that the transaction has given, for the next start. */
int tree_keep_cookie(struct store_txn *txn);

/* ---- tree_settle.c ---- */

/* All directories of the view that show against their entries; the caller frees the hash. -E2BIG: of more than so many. */
int settle_find(const struct view *view, size_t count_max, struct relocation **out);
void relocations_free(struct relocation **relocations);
/* Something may show at another place than before: tree_settle() looks at the whole person. */
void settle_mark(struct store_txn *txn, uint64_t person);
bool settle_is_marked(struct store_txn *txn, uint64_t person);
/* Whoever has something in this directory, or names it: it became the root of a place. */
int settle_mark_users(struct store_txn *txn, uint64_t directory);
/* Something else may show in a slot; at the name where this directory's newest entry stands. */
void settle_tell(struct store_txn *txn, const struct slot_name *name);
int settle_tell_placed(struct store_txn *txn, uint64_t person, uint64_t directory);
/* 1: where it stands, or does not, has no part in a ring, nor in whether anything is shown against its entries. */
int settle_is_plain(const struct view *view, uint64_t directory);
int relocation_read(const uint8_t *value, size_t size, struct placement *out);

/* ---- tree_late.c ---- */

/* The rows of one directory, and who listens; after NULL: it shows by its entries. */
int relocation_set(const struct view *view, uint64_t directory, const struct placement *after);
/* What differs between the rows and what was found. */
struct relocation_change {
	uint64_t directory;
	bool shows; /* against its entries: */
	struct placement at;
};
struct relocation_changes {
	struct relocation_change *items;
	size_t count, capacity;
};
void relocation_changes_finish(struct relocation_changes *c);
int relocation_compare(const struct view *view, struct relocation *found, struct relocation_changes *out);
/* The person, or 0: everybody, is settled later, outside of this transaction. */
int settle_put_late(struct store_txn *txn, uint64_t person);
/* The first person from a number on who has a tree. 1, 0 or an error. */
int settle_next_person(struct store_txn *txn, uint64_t from, uint64_t *out);

#endif
