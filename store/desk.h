/*
 * desk.h - the working side of one's own folder: what is open, edited, or waits to be signed.
 *
 * The published tree (tree.h) plus what waits is what the mount shows.  The
 * rules S1 to S8 of saving live here and nowhere else:
 *
 *  - A `struct file` is the text at one slot while it is open: all handles of it see
 *    the same bytes.  It is dirty by write, truncation and creation, and sealed into
 *    one version when a handle that changed it is released, if its bytes differ from the base.
 *  - flush persists the draft (pieces, and a LOCAL_PENDING fact); sync also makes it durable.
 *  - A slot that is new, or removed, waits `window_ms` before anything is signed; each
 *    save in the window is kept in a queue and signed in order when it ends.
 *  - Of saves in quick succession one of what is published waits some ms in the same queue, for others to be
 *    signed with (desk_together.c).  Whoever looks at versions calls desk_settle() first.
 *  - What waits stands in the journal as one LOCAL_PENDING fact a slot.
 *
 * No threads of its own: desk_tick() does what is due.  All functions may be
 * called from any thread.  Nothing here waits on anything but the disk, except
 * desk_wait_released().
 *
 * Attributes (owner, permission bits, times, st_ino) are local facts.  `process` is the
 * id of the process (not the thread) that acts, 0 if unknown.
 */
#ifndef DESK_H
#define DESK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "document.h"
#include "store.h"
#include "tree.h"

struct desk;
struct handle; /* one open file description */

struct desk_options {
	uint64_t window_ms;         /* 2000 */
	uint64_t document_size_max; /* bytes: -EFBIG beyond */
	uint32_t uid, gid;          /* who owns what has no local attributes */
	/* Does a swap or lock file of this document exist? Removal then waits on. May be NULL. */
	bool (*busy)(void *context, const struct id *directory, const char *name);
	/* What the kernel may have cached of this name is not so any more (not for changes the caller asked for
	 * by the functions below, but for heads set, merged, or arrived). Called without locks. May be NULL. */
	void (*changed)(void *context, const struct id *person, const struct id *directory, const char *name);
	/* The parent of a process, 0 if unknown: a shell has seen what the programs it ran saved. May be NULL. */
	uint32_t (*parent_process)(void *context, uint32_t process);
	/* When it began, on the desk's clock; 0 if unknown: another may have had its number before. May be NULL. */
	uint64_t (*process_started_ms)(void *context, uint32_t process);
	/* desk_tick() is due earlier than it said. Called without locks. NULL: what is published is signed as it is closed. */
	void (*soon)(void *context);
	void *context;
	uint64_t hold_ms; /* 0, or as desk_hold() for so long from the start */
};

/* Reads what waits from the journal's facts: drafts that were flushed are sealed (S8). */
int desk_open(struct desk **out, struct store *store, const struct desk_options *options);
/* Seals what was written; what waits goes on waiting in the journal. Takes NULL. */
int desk_close(struct desk *desk);

/* ---- what shows ---- */

struct attributes {
	uint32_t permissions;        /* 07777 bits; of a document the x bits follow the version's mode */
	uint32_t uid, gid;
	uint64_t mtime_ns, ctime_ns; /* since 1970, modulo 2^64: before 1970 as a negative number */
	uint64_t atime_ns;           /* as it was set; 0: never set, so it is mtime_ns */
	uint64_t ino;                /* stable across renames and restarts, of one slot */
};

struct desk_item {
	char name[SHOWN_NAME_MAX + 1];     /* as shown */
	struct id directory;               /* the slot */
	char slot_name[NAME_SIZE_MAX + 1];
	enum what what;                    /* WHAT_VERSION or WHAT_DIRECTORY */
	struct id id;                      /* directory's id; head version's id, zero while none is signed */
	enum mode mode;                    /* of a version */
	uint64_t size;                     /* text bytes of the current content, also under edit; of a link its target's */
	uint64_t cookie;                   /* stable listing position, > 0 */
	bool waits;                        /* something here is not signed yet */
	uint64_t order;                    /* of this answer among all: a later one knows more */
	bool known;                        /* of desk_each_new() only */
	struct attributes attributes;
};

/* Persons other than this node's own are shown as published. -ENOENT. */
int desk_lookup(struct desk *desk, const struct id *person, const struct id *directory,
		const char *name, struct desk_item *out);
/* By cookie, those greater than `after`. The visitor must not call the desk. Stops at nonzero and returns it. */
int desk_each(struct desk *desk, const struct id *person, const struct id *directory, uint64_t after,
	      int (*visit)(void *context, const struct desk_item *item), void *context);
/*
 * As desk_each(), but of a signed item for which `knows` returns its st_ino (name as shown, what, id; 0: it is not
 * known) the name, cookie, what, id and attributes.ino alone are filled in, and `known`.
 */
int desk_each_new(struct desk *desk, const struct id *person, const struct id *directory, uint64_t after,
		  uint64_t (*knows)(void *context, const struct tree_item *item),
		  int (*visit)(void *context, const struct desk_item *item), void *context);
/* The order of the latest answer: what is done now, only later ones know of. Without the lock. */
uint64_t desk_order(struct desk *desk);
/* How many directories are in one; -E2BIG: it has more entries than that. */
int desk_count_directories(struct desk *desk, const struct id *person, const struct id *directory, size_t entries_max);
/* Attributes of a directory by its id (the root too). */
int desk_directory(struct desk *desk, const struct id *person, const struct id *directory, struct attributes *out);
/* All that waits, for status: flushed drafts, first publications, removals. */
struct desk_waiting {
	struct id directory;
	char name[NAME_SIZE_MAX + 1];
	bool removal;        /* else a save or a new directory */
	uint32_t saves;      /* unsigned saves, a flushed draft counted */
	uint64_t due_ms;     /* now_ms when it will be signed; 0: when it is closed */
};
int desk_each_waiting(struct desk *desk, int (*visit)(void *context, const struct desk_waiting *w), void *context);

/* The saves of a slot not signed yet, oldest first, a flushed draft last: for versions/. Returns how many; fills at most count_max. */
struct desk_save {
	struct content content;
	enum mode mode;
	uint64_t time_ms; /* when it was closed */
};
int desk_saves(struct desk *desk, const struct id *directory, const char *name, struct desk_save *out, size_t count_max);
/* Waits until no flushed draft of the slot is unreleased, at most bound_ms. */
void desk_wait_released(struct desk *desk, const struct id *directory, const char *name, uint64_t bound_ms);

/* ---- files ---- */

struct desk_slot { /* where: of this node's own folder */
	struct id directory;
	const char *name; /* as shown */
};

/* A new document; -EEXIST, -ENAMETOOLONG, -EINVAL (a name no record can have), -ENOENT (directory). permissions as of open(2) after umask. */
int desk_create(struct desk *desk, struct desk_slot at, mode_t permissions, uint32_t uid, uint32_t gid,
		uint32_t process, struct handle **out, struct desk_item *out_item);
/* Opens what shows there: -ENOENT, -EISDIR. flags: O_RDONLY, O_WRONLY, O_RDWR with O_TRUNC. */
int desk_open_file(struct desk *desk, struct desk_slot at, int flags, uint32_t process, struct handle **out);
/* Another handle on the same file as `of` (which may be unlinked or renamed meanwhile). */
int desk_reopen(struct desk *desk, struct handle *of, int flags, uint32_t process, struct handle **out);

ssize_t handle_read(struct handle *h, void *out, size_t size, uint64_t offset);
/* -EFBIG, -ENOSPC, -EIO. */
ssize_t handle_write(struct handle *h, const void *bytes, size_t size, uint64_t offset);
/* The same at the end, wherever that is by now. */
ssize_t handle_append(struct handle *h, const void *bytes, size_t size, uint64_t *out_offset);
/* As these two (offset NULL: at the end), but -EAGAIN where they would take long; handle_load() waits for that. */
ssize_t handle_try_write(struct handle *h, const void *bytes, size_t size, const uint64_t *offset, uint64_t *out_offset);
int handle_load(struct handle *h);
int handle_truncate(struct handle *h, uint64_t size);
/* close(2) reached us: the draft is in the journal when this returns 0. May come often. */
int handle_flush(struct handle *h);
/* fsync(2): as flush, and durable. */
int handle_sync(struct handle *h);
/* One more handle_release() is needed from now on: who works with it for long need not keep others from releasing it. */
void handle_hold(struct handle *h);
/* The last close: seals. Frees the handle. The error is for the log only. */
int handle_release(struct handle *h);
/* Current size, times, mode; the slot it stands at now if any (item->directory zero when unlinked). */
int handle_item(struct handle *h, struct desk_item *out);
/*
 * copy_file_range(2) of all of `from` (an open handle, or `version` if from is NULL) into an empty `to`: no bytes
 * move; bytes "copied", or -EXDEV when it is not such a whole copy (the kernel then reads and writes).
 */
ssize_t handle_copy(struct handle *from, const struct id *version, uint64_t from_offset,
		    struct handle *to, uint64_t to_offset, uint64_t size);
/* A process has read this version (from versions/, or another's folder): S6 and S7 ask later. */
void desk_note_read(struct desk *desk, uint32_t process, const struct id *version);

int desk_truncate(struct desk *desk, struct desk_slot at, uint64_t size, uint32_t process);
/* Attributes: mask of DESK_SET_*. Makes no version, but for the x bit (as git does). */
enum { DESK_SET_PERMISSIONS = 1, DESK_SET_UID = 2, DESK_SET_GID = 4, DESK_SET_MTIME = 8, DESK_SET_ATIME = 16 };
int desk_set_attributes(struct desk *desk, struct desk_slot at, unsigned mask, const struct attributes *a);
int desk_set_directory_attributes(struct desk *desk, const struct id *directory, unsigned mask, const struct attributes *a);
int handle_set_attributes(struct handle *h, unsigned mask, const struct attributes *a);

/* ---- names ---- */

/* -ENOENT; -EISDIR; a document leaves its name, its chain stays reserved for the window. */
int desk_unlink(struct desk *desk, struct desk_slot at);
int desk_mkdir(struct desk *desk, struct desk_slot at, mode_t permissions, uint32_t uid, uint32_t gid, struct desk_item *out);
int desk_rmdir(struct desk *desk, struct desk_slot at); /* -ENOTEMPTY, -ENOTDIR */
int desk_symlink(struct desk *desk, struct desk_slot at, const char *target, uint32_t uid, uint32_t gid, struct desk_item *out);
int desk_readlink(struct desk *desk, const struct id *person, struct desk_slot at, char *out, size_t out_size);
/* Both in the own folder. flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. */
int desk_rename(struct desk *desk, struct desk_slot from, struct desk_slot to, unsigned flags, uint32_t process);
/*
 * A local file (scratch) takes a document's name: a save of that document, or a new one. Reads all of fd.
 * The handle, if the caller passes out_handle, stands for the file from now on (its descriptor may still be open and be written).
 */
int desk_take_file(struct desk *desk, int fd, struct desk_slot to, const struct attributes *a, uint32_t process,
		   struct handle **out_handle);
/* The same in two steps: the first reads all of fd and may take long, the second does not. */
struct desk_text;
int desk_read_text(struct desk *desk, int fd, struct desk_text **out);
int desk_take_text(struct desk *desk, struct desk_text *text, struct desk_slot to, const struct attributes *a,
		   uint32_t process, struct handle **out_handle);
void desk_free_text(struct desk *desk, struct desk_text *text); /* takes NULL */
/*
 * The same for many files, none of which anybody has open: signed some hundreds at a time, without a window. What was
 * taken is safe after desk_import_flush() alone; on failure as many as desk_import_waiting() says were taken in vain.
 */
struct desk_import;
struct desk_import *desk_import_new(struct desk *desk); /* NULL: no memory */
int desk_import_file(struct desk_import *import, int fd, struct desk_slot to, const struct attributes *a);
int desk_import_flush(struct desk_import *import);
size_t desk_import_waiting(const struct desk_import *import);
void desk_import_free(struct desk_import *import); /* what waits is dropped; takes NULL */
/* A document becomes a local file: its bytes are written to fd, then it leaves its name as by unlink. */
int desk_give_file(struct desk *desk, struct desk_slot from, int fd);

/* ---- heads, by the control files ---- */

/* Stand on this version alone: replaces all that stands there. Also for a name that is gone. */
int desk_set_head(struct desk *desk, struct desk_slot at, const struct id *version);
/* A version of this text whose parents are these heads, replacing them. */
int desk_merge(struct desk *desk, struct desk_slot at, const struct id *parents, size_t parent_count,
	       const void *text, size_t size);

/* ---- upkeep ---- */

/* Seals idle handles, signs what is due, applies held records, syncs the journal each second. Returns how many ms until it should be called again. */
uint64_t desk_tick(struct desk *desk);
/*
 * Something came under a name of the own folder, from another device or a backup's lost log: what is known here agrees
 * with the tree again, unless something waits there, and `changed` is called. What is open keeps its text, and
 * its next save descends from that. name "": anything may have come. Of other persons nothing is known here.
 */
int desk_arrived(struct desk *desk, const struct id *person, const struct id *directory, const char *name);

/*
 * Until then (now_ms clock) nothing is signed, while peers are asked for the newest record of the own log: saves wait as those of
 * new names do, and what must sign at once (a rename of what is published, a head set) waits for the end.
 * For as long as it lasts log_append() fails for others too.
 */
void desk_hold(struct desk *desk, uint64_t until_ms);
void desk_release_hold(struct desk *desk);
/* Waits until it is over, 2 s at most, and ends it: for who got STORE_HELD and tries once more. */
void desk_pass_hold(struct desk *desk);

/* Signs what waits for nothing but others to be signed with: what was closed before this is in the store then. */
void desk_settle(struct desk *desk);
/* Signs what waits now, window or not (moot umount, tests). */
int desk_publish_all(struct desk *desk);

#endif
