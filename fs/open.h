/*
 * open.h - one open file description of the mount: what fi->fh points to.
 */
#ifndef OPEN_H
#define OPEN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bytes.h"
#include "content.h"
#include "desk.h"

struct listener;
struct node;

enum open_kind {
	OPEN_DOCUMENT, /* a handle of the desk; a local file since it took a local name */
	OPEN_CONTENT,  /* an immutable text: a version, a document of somebody else */
	OPEN_TEXT,     /* a text made when it was opened, and what is written meanwhile */
	OPEN_STREAM,   /* lines as they come */
	OPEN_SCRATCH,  /* a local file; a handle of the desk too since it took a document's name */
	OPEN_FOLDER,
};

struct listed { /* one entry of a folder listed at once */
	char *name;
	mode_t type;
	uint64_t ino;
};

struct listing {
	struct listed *items;
	size_t count, capacity;
};

struct open {
	enum open_kind kind;
	int flags;
	uint32_t process;        /* that opened it; 0 unknown */

	struct node *node;       /* the fields up to here and this one are constant; node's list is under its lock */
	struct open *prev, *next;
	uint32_t holders;
	bool dropped;

	_Atomic(struct handle *) handle; /* DOCUMENT, SCRATCH: NULL while local; set with the mount's `shape` held alone */
	atomic_bool wrote;
	bool astray;             /* the kernel knows it by another node: see act_again() */

	int fd;                  /* DOCUMENT, SCRATCH: valid while there is no handle; -1 if it never was local */

	struct content *content; /* CONTENT */
	struct id version;       /* CONTENT, and of a DOCUMENT that it began with: zero if not signed */

	struct listener *listener; /* STREAM */

	pthread_mutex_t lock;    /* TEXT, FOLDER: what follows */
	struct bytes text;       /* as it was at open */
	struct bytes written;    /* not applied yet */
	bool lines;              /* applied line by line */
	bool unapplied;
	struct listing listing;
	bool listed;
};

/* Zeroed, with fd -1 and bytes that may grow to text_max. NULL: no memory. */
struct open *open_new(enum open_kind kind, int flags, uint32_t process);
/* Frees memory and closes the fd; the desk's handle is the caller's to release before. Takes NULL. */
void open_free(struct open *open);

int listing_add(struct listing *listing, const char *name, mode_t type, uint64_t ino);
void listing_clear(struct listing *listing);

#endif
