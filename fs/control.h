/*
 * control.h - what stands behind the `@`: every control file, one row of a table each.
 *
 * Knows nothing of FUSE: the mount serves these nodes as files and folders, the
 * `moot` command prints and writes the same rows without a mount.  Reading and
 * listing never change anything.
 *
 * A control node is a value: what it is about (subject), which row, and for things inside
 * versions/, diffs/, pieces/ which one.  Threads: any.
 *
 * A file reads as its value, then lines that begin with `# ` and tell what it is and what may be written;
 * those that are a text of their own (merge, about, page.html, metrics, README) have no such lines.  In tables the
 * columns are divided by tabs, and control characters in names are shown as `\xNN`.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <sys/stat.h>

#include "desk.h"
#include "errors.h"
#include "events.h"
#include "network.h"
#include "scratch.h"
#include "store.h"

/* Which heads `merge` has shown, and to which process. Bounded; thread-safe. */
struct control_memory;
struct control_memory *control_memory_new(void); /* NULL: no memory */
void control_memory_free(struct control_memory *memory); /* takes NULL */

/* What controls work on; made by the mount or by the command. */
struct control_host {
	struct store *store;
	struct desk *desk;
	struct scratch *scratch;
	struct errors *errors;         /* may be NULL */
	struct control_memory *memory; /* may be NULL: then nobody has read `merge` */
	const char *data_path;
	const char *mount_point; /* NULL: none */
	struct events *events;   /* NULL: nobody gathers them */
	struct network *network; /* NULL: none runs */
	uint64_t started_ms;     /* wall time */
	/* Counters of the mount, a Prometheus line each, appended; may be NULL. */
	void (*metrics)(void *context, struct bytes *out);
	void *context;
};

enum control_scope { CONTROL_NODE, CONTROL_ENTITY, CONTROL_DOCUMENT };

struct control_row; /* private: name, scope, kind, functions */

struct control_node {
	enum control_scope scope;
	const struct control_row *row; /* NULL: the control folder itself */
	struct id person;              /* ENTITY and DOCUMENT */
	struct id directory;           /* DOCUMENT: the slot */
	char name[NAME_SIZE_MAX + 1];  /* DOCUMENT: its name there, as in entries */
	bool item;                     /* inside a row that is a folder */
	struct id version;             /* item of versions/ and diffs/; zero: a save not yet signed; the name of a piece */
	uint64_t number;               /* which unsigned save (not its position: that changes), or the piece's position */
	uint64_t time_ms;              /* item of at/: the end of the time asked for (exclusive) */
};

enum control_kind {
	CONTROL_FOLDER,
	CONTROL_TEXT,    /* made when opened: direct_io, size 0 */
	CONTROL_CONTENT, /* an immutable text: versions/ items; use control_content() */
	CONTROL_LINK,    /* a symbolic link: control_read() gives its target */
	CONTROL_STREAM,  /* lines as they come: host->events; control_read() gives those that are kept */
	CONTROL_AT,      /* at/TIME: the mount goes on with tree_lookup_at() */
};

/* The control folder of what is behind the `@`. */
void control_node_root(struct control_node *out);
void control_node_entity(struct control_node *out, const struct id *person);
void control_node_document(struct control_node *out, const struct id *person,
			   const struct id *directory, const char *name);

/* -ENOENT, -ENOTUNIQ, -ENOTDIR. */
int control_lookup(const struct control_host *host, const struct control_node *folder, const char *name,
		   struct control_node *out);
/* Children by position, from those greater than `after`; streams. Stops at nonzero and returns it. */
int control_each(const struct control_host *host, const struct control_node *folder, uint64_t after,
		 int (*visit)(void *context, const char *name, uint64_t position, const struct control_node *node),
		 void *context);
/* A person, as they are called in the root of a mount, or by `me` or an id. -ENOENT: nobody, or several. */
int control_find_person(const struct control_host *host, const char *name, struct id *out);
/* Lookups one after another: "status", "versions/-1"; "" is the folder itself. */
int control_find_below(const struct control_host *host, const struct control_node *folder, const char *path,
		       struct control_node *out);
/* By its path in a mount: "@/status", "alice@/devices". What is behind a document is not found so (-ENOENT). */
int control_find(const struct control_host *host, const char *path, struct control_node *out);
enum control_kind control_kind(const struct control_node *node);
/* mode (0444, 0644, 0555 and type), size (true for CONTENT and pieces), mtime. Owner is the caller's to fill. */
int control_stat(const struct control_host *host, const struct control_node *node, struct stat *out);
/* A number that names this node: equal for equal nodes, never 0. For st_ino. */
uint64_t control_ino(const struct control_node *node);
/*
 * The text as it is now, appended; lists end early, and say so, where `out` is nearly full. `process` has read it
 * (merge remembers what was shown). -EISDIR: a folder; -EOPNOTSUPP: heads that are not text cannot be merged.
 */
int control_read(const struct control_host *host, const struct control_node *node, uint32_t process, struct bytes *out);
int control_content(const struct control_host *host, const struct control_node *node, struct content *out);
/* True: applied when a line is complete; false: a text, applied when closed. */
bool control_takes_lines(const struct control_node *node);
/*
 * Applies what was written: a line with or without its newline, or a whole text. -EINVAL, -EACCES (not writable),
 * -EAGAIN (not now), ... with a sentence; then nothing was changed.
 */
int control_write(const struct control_host *host, const struct control_node *node, uint32_t process,
		  const char *text, size_t size, struct why *why);

/* Every row, in the order of the table, for tests of the manual. Stops at nonzero and returns it. */
int control_each_row(int (*visit)(void *context, enum control_scope scope, const char *name, const char *help,
				  bool writable),
		     void *context);

/* ---- @/config: local facts that whoever opens desk and scratch asks for ---- */

struct control_settings {
	uint64_t window_ms;         /* struct desk_options */
	uint64_t document_size_max;
	char listen[ADDRESS_SIZE_MAX]; /* "": the default */
	struct bytes scratch;       /* rules for scratch_open(), NUL-terminated; data NULL: none */
};
/* What is not configured has its default. Finish also after a failure. */
int control_settings_read(struct store *store, struct control_settings *out);
void control_settings_finish(struct control_settings *settings); /* also for CLEANUP */

#endif
