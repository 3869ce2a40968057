/*
 * control_private.h - between control.c, which has the table, and the functions of its rows.
 */
#ifndef CONTROL_PRIVATE_H
#define CONTROL_PRIVATE_H

#include "control.h"
#include "document.h"

/* One question to a row, or one write. */
struct control_call {
	const struct control_host *host;
	const struct control_node *node;
	struct store_txn *txn;    /* of a read; a row that writes ends it first with control_release() */
	struct id self;           /* this node's person */
	bool own;                 /* it is about this node's person */
	struct desk_save *saves;  /* DOCUMENT: those not signed yet, oldest first */
	size_t save_count;
	uint32_t process;
	struct why *why;
};

typedef int (*control_visit)(void *context, const char *name, uint64_t position, const struct control_node *node);

enum {
	ROW_OWN = 1,   /* writable only behind one's own */
	ROW_WHOLE = 2, /* what is written is a text, not a line */
	ROW_BARE = 4,  /* reads as a text of its own: no explanation follows */
};

struct control_row {
	enum control_scope scope;
	const char *name;
	enum control_kind kind, item; /* item: of a folder's children */
	unsigned flags;
	const char *help;  /* one line */
	const char *takes; /* what may be written; NULL where there is no write */
	/* The text; of a folder: of its items. */
	int (*read)(struct control_call *c, struct bytes *out);
	/* A line without its newline, or a text. Both end with NUL after `size`, and a line has no other. */
	int (*write)(struct control_call *c, const char *text, size_t size);
	/* Of a folder: `out` is the folder's node with `item` set. each may be NULL: nothing is listed. */
	int (*lookup)(struct control_call *c, const char *name, struct control_node *out);
	int (*each)(struct control_call *c, uint64_t after, control_visit visit, void *context);
	/* Of items: size and mtime. May be NULL. */
	int (*stat)(struct control_call *c, struct stat *out);
	int (*content)(struct control_call *c, struct content *out);
};

/* Ends the reading, also before control_call ends. */
void control_release(struct control_call *c);
/* Signs one statement of this device, which `fill` completes (fields of the body; field is set, the rest zero). */
int control_sign(struct control_call *c, enum field field, void (*fill)(struct record *record, const void *context),
		 const void *context);
int control_readme(struct control_call *c, struct bytes *out);

/* ---- control_text.c ---- */

/* Control characters as \xNN: a line stays one line. */
void text_put_visible(struct bytes *out, const char *text);
void text_put_time(struct bytes *out, uint64_t time_ms); /* 2026-11-22T07:31:04Z */
void text_put_id(struct bytes *out, const struct id *id); /* moot:... */
void text_put_short(struct bytes *out, const struct id *id);
/* True where a list should end because `out` is nearly full; says so in it, once, when it becomes so. */
bool text_is_full(struct bytes *out);
/* Appends a content's text. -EFBIG over size_max. */
int text_read(const struct control_host *host, const struct content *content, uint64_t size_max, struct bytes *out);
/* The name under which a person shows in the root of a mount. */
void text_put_person(struct bytes *out, struct store_txn *txn, const struct id *person);
/* Path of a slot below its person's root: "guides/soil.md". name NULL: of the directory, "" for the root. */
int text_put_path(struct bytes *out, struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name);
/* A number with K, M, G or T (of 1024) after it or not. -EINVAL. */
int text_parse_size(const char *text, uint64_t *out);

/* ---- control_memory.c ---- */

struct merge_heads {
	struct id ids[PARENTS_MAX];
	size_t count;
};
/* What merge shows of the document behind `node` was read; or was merged. memory may be NULL. */
void memory_note(struct control_memory *memory, uint32_t process, const struct control_node *node,
		 const struct merge_heads *heads);
void memory_forget(struct control_memory *memory, uint32_t process, const struct control_node *node);
/* What this process saw last; process 0: what anybody saw last. False: nothing. */
bool memory_find(struct control_memory *memory, uint32_t process, const struct control_node *node,
		 struct merge_heads *out);

/* ---- control_document.c ---- */

#define HEADS_MAX 64 /* that are shown at one name */

/* Versions that stand at the name, newest first, each once: how many, at most count_max. */
int call_heads(struct control_call *c, struct id *out, size_t count_max);
/* The text that shows at the name, signed or not. -ENOENT: none does. out_row (zeroed if not signed) may be NULL. */
int call_current(struct control_call *c, struct content *out, struct version_row *out_row);
int head_read(struct control_call *c, struct bytes *out);
int head_write(struct control_call *c, const char *text, size_t size);
int heads_read(struct control_call *c, struct bytes *out);
int history_read(struct control_call *c, struct bytes *out);
int vote_read(struct control_call *c, struct bytes *out);
int vote_write(struct control_call *c, const char *text, size_t size);
int subscribe_read(struct control_call *c, struct bytes *out);
int subscribe_write(struct control_call *c, const char *text, size_t size);

/* ---- control_versions.c ---- */

/* "20261122T073104Z-me-draft.md" of the save at an index. */
void draft_name(const struct control_call *c, size_t index, const char *suffix, char out[VERSION_NAME_MAX + 1]);
/*
 * Which version of the document is meant, also of those not signed: fills version, or number, of `out`.
 * -ENOENT, -ENOTUNIQ.
 */
int version_find(struct control_call *c, const char *spelling, struct control_node *out);
int versions_lookup(struct control_call *c, const char *name, struct control_node *out);
int versions_each(struct control_call *c, uint64_t after, control_visit visit, void *context);
int versions_stat(struct control_call *c, struct stat *out);
int versions_content(struct control_call *c, struct content *out);
int diffs_lookup(struct control_call *c, const char *name, struct control_node *out);
int diffs_each(struct control_call *c, uint64_t after, control_visit visit, void *context);
int diffs_read(struct control_call *c, struct bytes *out);
int diffs_stat(struct control_call *c, struct stat *out);
int pieces_lookup(struct control_call *c, const char *name, struct control_node *out);
int pieces_each(struct control_call *c, uint64_t after, control_visit visit, void *context);
int pieces_read(struct control_call *c, struct bytes *out);
int pieces_stat(struct control_call *c, struct stat *out);

/* ---- control_merge.c, control_links.c ---- */

int merge_read(struct control_call *c, struct bytes *out);
int merge_write(struct control_call *c, const char *text, size_t size);
int html_read(struct control_call *c, struct bytes *out);
int links_read(struct control_call *c, struct bytes *out);

/* ---- control_entity.c ---- */

int entity_id_read(struct control_call *c, struct bytes *out);
int about_read(struct control_call *c, struct bytes *out);
int about_write(struct control_call *c, const char *text, size_t size);
int at_lookup(struct control_call *c, const char *name, struct control_node *out);
int devices_read(struct control_call *c, struct bytes *out);
int devices_write(struct control_call *c, const char *text, size_t size);
int entity_log_read(struct control_call *c, struct bytes *out);

/* ---- control_forks.c ---- */

int forks_read(struct control_call *c, struct bytes *out);
int forks_write(struct control_call *c, const char *text, size_t size);
/* A line for each log of this node's person that forked and waits for a word. */
int forks_put_status(struct control_call *c, struct bytes *out);

/* ---- control_network.c ---- */

int peers_read(struct control_call *c, struct bytes *out);
int connect_read(struct control_call *c, struct bytes *out);
int connect_write(struct control_call *c, const char *text, size_t size);
int follow_read(struct control_call *c, struct bytes *out);
int follow_write(struct control_call *c, const char *text, size_t size);
int holders_read(struct control_call *c, struct bytes *out);
/* Signs a subscription, and tells the network. */
int network_subscribe(struct control_call *c, enum subject what, const struct id *id, bool on);
void network_put_status(struct control_call *c, struct bytes *out);
void network_put_metrics(struct network *network, struct bytes *out); /* all zero without one */

/* ---- control_node.c ---- */

int status_read(struct control_call *c, struct bytes *out);
int node_id_read(struct control_call *c, struct bytes *out);
int errors_file_read(struct control_call *c, struct bytes *out);
int events_file_read(struct control_call *c, struct bytes *out);
int metrics_read(struct control_call *c, struct bytes *out);
int config_read(struct control_call *c, struct bytes *out);
int config_write(struct control_call *c, const char *text, size_t size);
int quota_read(struct control_call *c, struct bytes *out);
int quota_write(struct control_call *c, const char *text, size_t size);

#endif
