/*
 * node.h - what the kernel knows of the mount: nodes, the names that lead to them, and what is open.
 *
 * One table, one lock, a leaf: nothing else is called while it is held.  A node is
 * found by its number (the FUSE node id: a counter, never used twice), and by
 * (parent, name) through its links; a scratch file may have several links, all
 * else one at most.  Look-ups are counted under the same lock under which they
 * are found.  A node lives while the kernel counts look-ups of it, a link names it
 * as parent, or something is open or pinned.
 *
 * A document node stands for one head.  When another head comes that was not
 * saved through it, it is superseded: it leaves its name, but remembers it, so
 * that what has it open goes on with the old text; the next look-up makes a new
 * node with the same st_ino.
 *
 * Fields of a node are read and changed by the functions below only; the ones marked
 * constant may be read by whoever holds the node.
 */
#ifndef NODE_H
#define NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <uthash.h>

#include "control.h"
#include "open.h"

enum node_kind {
	NODE_ROOT,
	NODE_README,    /* the root's README.md */
	NODE_ALIAS,     /* a link in the root to somebody's directory */
	NODE_DIRECTORY, /* of a person: a root directory has the person's id */
	NODE_DOCUMENT,
	NODE_CONTROL,   /* behind an `@`, versions too */
	NODE_AT,        /* a folder or document as it stood at a time */
	NODE_SCRATCH,
};

struct identity { /* what a node stands for; which fields depends on the kind */
	enum node_kind kind;
	mode_t type;          /* S_IFMT bits */
	struct id person;     /* ALIAS, DIRECTORY, AT */
	struct id id;         /* DIRECTORY, AT: the directory; DOCUMENT, AT: the version, zero: none signed yet */
	uint64_t time_ms;     /* AT */
	dev_t device;         /* SCRATCH: of the local file */
	ino_t inode;
	bool waits;           /* DOCUMENT: saves of our own are not signed yet */
	uint64_t order;       /* DOCUMENT: of the desk's answer that says so */
	const struct control_node *control; /* CONTROL */
	uint64_t ino, told_ms; /* what the kernel was told last: st_ino, and when (monotonic) */
};

struct link;

struct node {
	uint64_t number;      /* constant */
	struct identity is;
	uint64_t lookups;
	uint32_t pins;
	bool dirty;           /* DOCUMENT: changed through this node since is.id was noted */
	atomic_uint_fast64_t wait_until_ms; /* what is not here is waited for until then (now_ms); 0: nothing was yet */
	atomic_bool synced;   /* SCRATCH: a program made its bytes durable, and relies on that whatever name they get */
	struct link *links;   /* the first is the one that paths are made of */
	struct link *left;    /* DOCUMENT, SCRATCH without links: the last name it had */
	struct open *opens;
	UT_hash_handle by_number, by_thing;
};

struct nodes;

int nodes_new(struct nodes **out);
/* Only when nothing uses it any more. Calls release for everything still open. */
void nodes_free(struct nodes *nodes, void (*release)(void *context, struct open *open), void *context);
struct node *nodes_root(struct nodes *nodes);
void nodes_count(struct nodes *nodes, uint64_t *out_nodes, uint64_t *out_opens);

/* By the number that the kernel gave: it counts look-ups, so it is there (NULL: the kernel is wrong). */
struct node *node_find(struct nodes *nodes, uint64_t number);
/*
 * The node that stands under a name for what was found there, made if need be; counts
 * one look-up. A document node goes on with another head if the change came through it.
 */
int node_enter(struct nodes *nodes, struct node *parent, const char *name, const struct identity *identity,
	       struct node **out);
/*
 * The st_ino (and type) of the signed document or directory of this id, if the kernel was told of it under this name
 * since `since_ms`; 0: it was not.
 */
uint64_t node_known(struct nodes *nodes, struct node *parent, const char *name, const struct id *id,
		    uint64_t since_ms, mode_t *out_type);
void node_forget(struct nodes *nodes, uint64_t number, uint64_t count);

/* The kernel keeps what it was told of for as long as it has memory, and so must we: at some 500 bytes each this is 24 MiB. */
#define NODES_MAX 49152
bool nodes_are_many(struct nodes *nodes);
/* While there are many: a name that the kernel may be told to forget, each once. False: that is enough. */
bool node_surplus(struct nodes *nodes, uint64_t *out_parent, char out_name[SHOWN_NAME_MAX + 1]);

void node_pin(struct nodes *nodes, struct node *node);
void node_unpin(struct nodes *nodes, struct node *node);
/* Pinned; NULL: the kernel knows none there. */
struct node *node_child(struct nodes *nodes, struct node *parent, const char *name);

/* What it stands for now; out->control is constant while the node lives. */
void node_identity(struct nodes *nodes, struct node *node, struct identity *out);
void node_become(struct nodes *nodes, struct node *node, const struct identity *identity);
/* A document: what is read and written through it came from here. */
void node_set_dirty(struct nodes *nodes, struct node *node, uint64_t order); /* by what was done after this answer */
/* The desk says this head shows at the node's name: true if the node stands for it (adopting it if it came through the node). */
bool node_agrees(struct nodes *nodes, struct node *node, const struct id *version, bool waits, uint64_t order);

/* Unlinked. `last`: of a local file no other name is left anywhere (of all else: true). */
void node_leave(struct nodes *nodes, struct node *parent, const char *name, bool last);
/* Renamed; what stands there must have left the name. -ENOENT: no node has the old name now (it was superseded). */
int node_move(struct nodes *nodes, struct node *from, const char *from_name, struct node *to, const char *to_name);
int node_exchange(struct nodes *nodes, struct node *from, const char *from_name, struct node *to, const char *to_name);
/* Gives up the name but remembers it. */
void node_supersede(struct nodes *nodes, struct node *node);

/* The name that the node has, or had last, and its folder, pinned. -ESTALE: none was ever known. */
int node_name(struct nodes *nodes, struct node *node, struct node **out_parent, char out_name[SHOWN_NAME_MAX + 1]);

/*
 * Numbers of the documents and directories of a person (zero: of anybody) that have a name now, in the caller's array; of the person's
 * own directory in the root too. Returns how many, or -ENOMEM.
 */
ssize_t nodes_of_person(struct nodes *nodes, const struct id *person, uint64_t **out);
/* Supersedes what was saved through: another head is about to come there. */
void node_supersede_dirty(struct nodes *nodes, struct node *node);
/* As node_find(), pinned; it may have gone: NULL. */
struct node *node_find_pinned(struct nodes *nodes, uint64_t number);

struct place { /* of a document or directory: as shown */
	struct id person, directory;
	char name[SHOWN_NAME_MAX + 1];
};
/* -ESTALE: it has no name any more. */
int node_place(struct nodes *nodes, struct node *node, struct place *out);
/* Where a name below this directory node would be (name is copied). -ENOTDIR: not a directory of a person. */
int node_place_in(struct nodes *nodes, struct node *parent, const char *name, struct place *out);
/* The node of a person's directory, pinned; NULL: the kernel does not know it. */
struct node *node_of_directory(struct nodes *nodes, const struct id *person, const struct id *directory);

/*
 * The folder of scratch that a scratch node lies in (as a path below scratch/) and its name there; -ESTALE: unlinked.
 * For a folder (root, directory, scratch directory) itself: name NULL, and its own path.
 */
int node_scratch_path(struct nodes *nodes, struct node *node, char *out_folder, size_t folder_size,
		      char *out_name, size_t name_size);
/* The path in the mount of a name below a node (name NULL: of the node), for people. Cut if long. */
void node_path(struct nodes *nodes, struct node *node, const char *name, char *out, size_t out_size);

/* ---- what is open ---- */

void node_add_open(struct nodes *nodes, struct node *node, struct open *open);
/* Removes it; the last who lets go frees it: true then. */
bool node_drop_open(struct nodes *nodes, struct open *open);
/* Something open of this node that `wanted` accepts, held until node_let_go(); NULL: nothing. */
struct open *node_hold_open(struct nodes *nodes, struct node *node, bool (*wanted)(const struct open *open));
/* True: it was dropped meanwhile, the caller must free it. */
bool node_let_go(struct nodes *nodes, struct open *open);
/* All that is open of a node, held: fills at most count_max, returns how many there are. */
size_t node_hold_all(struct nodes *nodes, struct node *node, struct open **out, size_t count_max);

#endif
