/*
 * tree.h - folders made of entries: what stands where, and what is shown.
 *
 * An entry [directory, name, what, id, replaces] says: here, under this name,
 * stands this.  A slot is a (person, directory, name).  What stands at a slot
 * is every entry of the person's devices there that no other entry *of the same
 * slot* replaces; entries never leave TABLE_ENTRY.  From what stands follows
 * what shows, by rules that do not depend on the order of arrival:
 *
 *  - versions standing at a slot are one document there; the newest by (time,
 *    record id) of their entries is the head, the rest are other heads.  A version
 *    beside a 'nothing' stands.  A version whose record is not here does not show.
 *  - a directory shows at the newest, by (time, record id, index), of the standing
 *    entries that name it.  With none standing and something in it (a version, or
 *    a directory that stands there), it shows at the newest entry that ever named it;
 *    never named: in the root, under its short id.
 *  - where directories lie inside one another in a ring, the one whose entry is
 *    newest shows in the root.
 *  - of what stands at a slot the 64 newest are looked at, and as many of what shows at a name against its
 *    entries: what anybody puts at one name costs the same.  Older ones are kept, and come up when newer ones go.
 *  - at one name, the newest of a document (by its head) and directories shows
 *    plainly; others as `name.<short id>`: a directory's own id, a document's id.  If
 *    that is taken, with the whole id.
 *  - a person's root directory has the person's id, a group's root the id of the
 *    record that founded it: entries that name one of these as a directory show nothing.
 *
 * All of this is a function of the set of records.  Inside a write transaction
 * directories that were orphaned, or put in a ring, show right only after its commit; those of others who have
 * hundreds only after the next store_tick() (tree_late.h).
 *
 * Rows: DIR is (person, directory); names in keys end with NUL.
 *   TABLE_SLOT   DIR name -> cookie, how many more, count, standing entries newest first
 *   TABLE_ORDER  DIR cookie -> name, where something stands; cookie 0: what is in the directory
 *   TABLE_ENTRY  DIR name time record index -> what, dead since, record id, id; with a
 *                time of 2^64 - 1: the entry is not here yet, and is dead on arrival
 *   TABLE_PLACED directory person standing time record-id index -> parent, record, name
 *   TABLE_SHOWN  DIR -> parent, time, record id, index, name;  TABLE_EXTRA person parent directory -> the same,
 *                and person parent|2^63 name ~time ~record-id ~index directory -> the same
 *   TABLE_PATH   DIR name document -> newest time
 *   TABLE_STAND  document DIR name ->; and (0, version record, DIR name) -> newest time: its record is not here yet
 */
#ifndef TREE_H
#define TREE_H

#include "log.h"

#define SHOWN_NAME_MAX (NAME_SIZE_MAX + 1 + ID_TEXT_SIZE)

struct standing { /* an entry that stands */
	uint64_t record;   /* number */
	struct id record_id;
	uint32_t index;
	enum what what;
	struct id id;      /* version record or directory; zero: nothing */
	uint64_t time_ms;  /* of the record */
};

struct tree_item {
	char name[SHOWN_NAME_MAX + 1];      /* as shown */
	struct id directory;                /* slot it comes from: equals the directory asked but for relocated ones */
	char slot_name[NAME_SIZE_MAX + 1];  /* for a directory never named: its short id, in the directory asked */
	enum what what;                     /* WHAT_VERSION or WHAT_DIRECTORY */
	struct id id;                       /* the head, or the directory's own id */
	uint64_t time_ms;                   /* of the version's record, or of the directory's entry */
	uint64_t cookie;                    /* of the slot: stable, rising with first appearance; 1 .. 2^62 */
	uint32_t heads;                     /* different versions standing */
};

/* What shows in a directory under a name; -ENOENT. */
int tree_lookup(struct store_txn *txn, const struct id *person, const struct id *directory,
		const char *name, struct tree_item *out);
/*
 * Everything that shows in a directory, by cookie, from those greater than `after`
 * (relocated directories last). Stops at nonzero and returns it.
 */
int tree_each(struct store_txn *txn, const struct id *person, const struct id *directory,
	      uint64_t after, int (*visit)(void *context, const struct tree_item *item), void *context);
/* Where a directory shows: its parent and name there. -ENOENT: nowhere; the root has none. */
int tree_directory_path(struct store_txn *txn, const struct id *person, const struct id *directory,
			struct id *out_parent, char out_name[SHOWN_NAME_MAX + 1]);

/*
 * What stands at a slot, newest first by (time, record id, index): returns how many of the 64 newest there
 * are, fills at most count_max. Versions, directories and nothings; not versions whose record is not
 * here: they cannot have been seen, so nobody may replace them.
 */
int tree_standing(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, struct standing *out, size_t count_max);
/* The documents that ever stood at a slot and the newest time of an entry there: returns how many, fills at most count_max. */
struct tree_document {
	struct id document;
	uint64_t last_ms;
	uint64_t placed_ms; /* the newest time of a version put there that was saved elsewhere; 0: none */
	bool stands; /* a version of it stands there now */
};
/* Did this version record make its entry at that slot? 1, 0 or an error. */
int tree_is_made_at(struct store_txn *txn, const struct id *person, const struct id *directory, const char *name,
		    uint64_t record, uint64_t time_ms);
int tree_documents(struct store_txn *txn, const struct id *person, const struct id *directory,
		   const char *name, struct tree_document *out, size_t count_max);
/*
 * Where entries that name this directory stand, the one it shows at first: who moves or removes it
 * replaces them all, or it would show at the next. Returns how many, fills at most count_max.
 */
struct tree_placement {
	struct id directory; /* the slot */
	char name[NAME_SIZE_MAX + 1];
	struct id record_id;
	uint32_t index;
	uint64_t time_ms;
};
int tree_placements(struct store_txn *txn, const struct id *person, const struct id *directory,
		    struct tree_placement *out, size_t count_max);
/* Reserves the cookie of a slot that does not exist yet, so that listings stay in order when it is published. */
uint64_t tree_cookie(struct store *store);
/* The cookie that the next entry made at this slot shall have. Only in the transaction that makes it. */
int tree_set_cookie(struct store_txn *txn, const struct id *person, const struct id *directory,
		    const char *name, uint64_t cookie);

/* The id a new directory gets: BLAKE2b-256("mootfs directory 1" NUL parent name n), n a little-endian u32, the least that no standing entry uses: a removed directory comes back as itself. */
int tree_new_directory_id(struct store_txn *txn, const struct id *parent, const char *name, struct id *out);

/*
 * The folder as it stood at a time: the same two questions, from the entries of
 * records not newer. Costs a scan of each directory's entries ever made.
 */
int tree_each_at(struct store_txn *txn, const struct id *person, const struct id *directory, uint64_t time_ms,
		 int (*visit)(void *context, const struct tree_item *item), void *context);
int tree_lookup_at(struct store_txn *txn, const struct id *person, const struct id *directory, uint64_t time_ms,
		   const char *name, struct tree_item *out);

/* What a write transaction remembers for tree_settle() and tree_set_cookie(). Zeroed at the start. */
#define TREE_DIRTY_MAX 8
#define TREE_HINTS_MAX 16
struct tree_dirty {
	bool all;        /* more persons than fit: everybody, later */
	size_t count;
	uint64_t persons[TREE_DIRTY_MAX]; /* numbers */
	/*
	 * Told of each slot where something else may show, by the numbers of person and directory (name of size 0: all of the
	 * person; person 0: everything). May be NULL. Who sets it calls tree_settle() before the commit to hear all.
	 */
	void (*changed)(void *context, uint64_t person, uint64_t directory, const char *name, size_t name_size);
	void *context;
	size_t hint_count;
	struct tree_hint {
		uint64_t person, directory, cookie;
		struct id name; /* hash of the slot's name */
	} hints[TREE_HINTS_MAX];
};

/* For person.h: applies the entries of one counted record; forgets all rows of a person. */
int tree_apply(struct store_txn *txn, const struct id *person, const struct record_row *row,
	       const struct record *record);
/* The same for a record that does not count: its entries never stood, but their versions were put there. */
int tree_note(struct store_txn *txn, const struct id *person, const struct record_row *row,
	      const struct record *record);
int tree_forget_person(struct store_txn *txn, const struct id *person);
/* A group was founded: this id is the root of a place. */
int tree_apply_place(struct store_txn *txn, const struct id *id);
/* For document.h: a version's record became effective. */
int tree_apply_version(struct store_txn *txn, const struct record_row *row, uint64_t document);
/* For the store, before a commit: brings TABLE_SHOWN and TABLE_EXTRA up to date for the persons touched. */
int tree_settle(struct store_txn *txn);

#endif
