/* The table of control files, and what is common to all of them. */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "person.h"

#define LINE_SIZE_MAX 4096 /* of a line that is written: the longest is a pattern or a name */

static const struct control_row table[] = {
	{ CONTROL_DOCUMENT, "README", CONTROL_TEXT, 0, ROW_BARE, "what is here", NULL, .read = control_readme },
	{ CONTROL_DOCUMENT, "versions", CONTROL_FOLDER, CONTROL_CONTENT, 0,
	  "every version, oldest first; a number, a UTC time or an id names one too", NULL,
	  .lookup = versions_lookup, .each = versions_each, .stat = versions_stat, .content = versions_content },
	{ CONTROL_DOCUMENT, "diffs", CONTROL_FOLDER, CONTROL_TEXT, 0,
	  "what each version changed in its first parent; patch(1) applies it", NULL,
	  .read = diffs_read, .lookup = diffs_lookup, .each = diffs_each, .stat = diffs_stat },
	{ CONTROL_DOCUMENT, "head", CONTROL_TEXT, 0, ROW_OWN, "the version in effect",
	  "a version's name, number (-1: the newest), time (UTC) or id, to stand on it",
	  .read = head_read, .write = head_write },
	{ CONTROL_DOCUMENT, "heads", CONTROL_TEXT, 0, 0, "the versions that stand here, newest first", NULL,
	  .read = heads_read },
	{ CONTROL_DOCUMENT, "log", CONTROL_TEXT, 0, 0,
	  "a line a version: name, author, parents, size, net trust, supporters, and whether it is a head or leaf",
	  NULL, .read = history_read },
	{ CONTROL_DOCUMENT, "merge", CONTROL_TEXT, 0, ROW_OWN | ROW_WHOLE | ROW_BARE,
	  "the heads merged, with conflict markers where they clash",
	  "a text, to make it a version whose parents are the heads that were shown", .read = merge_read,
	  .write = merge_write },
	{ CONTROL_DOCUMENT, "pieces", CONTROL_FOLDER, CONTROL_TEXT, 0,
	  "the gzip members of the text in order: cat pieces/* | gunzip", NULL,
	  .read = pieces_read, .lookup = pieces_lookup, .each = pieces_each, .stat = pieces_stat },
	{ CONTROL_DOCUMENT, "links", CONTROL_TEXT, 0, 0, "documents it links to, and that link to it", NULL,
	  .read = links_read },
	{ CONTROL_DOCUMENT, "page.html", CONTROL_TEXT, 0, ROW_BARE, "the document rendered, standing alone", NULL,
	  .read = html_read },
	{ CONTROL_DOCUMENT, "vote", CONTROL_TEXT, 0, 0, "your vote on this document, then the sums",
	  "keep, delete or none", .read = vote_read, .write = vote_write },
	{ CONTROL_DOCUMENT, "subscribe", CONTROL_TEXT, 0, 0, "1 if you follow this document whoever writes it",
	  "1 or 0", .read = subscribe_read, .write = subscribe_write },
	{ CONTROL_DOCUMENT, "holders", CONTROL_TEXT, 0, 0,
	  "a line a piece: short name, bytes of text, bytes stored, whether it is here, and who should have what is missing", NULL, .read = holders_read },

	{ CONTROL_ENTITY, "README", CONTROL_TEXT, 0, ROW_BARE, "what is here", NULL, .read = control_readme },
	{ CONTROL_ENTITY, "id", CONTROL_TEXT, 0, 0, "the id: the key of the first device", NULL,
	  .read = entity_id_read },
	{ CONTROL_ENTITY, "about", CONTROL_TEXT, 0, ROW_OWN | ROW_WHOLE | ROW_BARE, "what they say of themselves",
	  "a text of up to 4096 bytes", .read = about_read, .write = about_write },
	{ CONTROL_ENTITY, "at", CONTROL_FOLDER, CONTROL_AT, 0,
	  "at/TIME is the whole folder as it stood then (UTC: 2026, 2026-11-20, 2026-11-20T14:00); not listed", NULL,
	  .lookup = at_lookup },
	{ CONTROL_ENTITY, "devices", CONTROL_TEXT, 0, ROW_OWN, "a line a device: id, state, since when, newest record",
	  "a device's id to admit it, -ID to retire it", .read = devices_read, .write = devices_write },
	{ CONTROL_ENTITY, "forks", CONTROL_TEXT, 0, ROW_OWN,
	  "a line a side of each log that forked: newest record, state, device, records, time, what about",
	  "the newest record of the side that its log goes on from", .read = forks_read, .write = forks_write },
	{ CONTROL_ENTITY, "subscribe", CONTROL_TEXT, 0, 0, "1 if you follow them: all that is theirs is fetched and kept",
	  "1 or 0", .read = follow_read, .write = follow_write },
	{ CONTROL_ENTITY, "log", CONTROL_TEXT, 0, 0,
	  "a line a record: device, number in its log, time, kind, id, what about", NULL, .read = entity_log_read },

	{ CONTROL_NODE, "README", CONTROL_TEXT, 0, ROW_BARE, "what is here", NULL, .read = control_readme },
	{ CONTROL_NODE, "status", CONTROL_TEXT, 0, 0,
	  "what is stored, what waits to be signed, what is not published and why", NULL, .read = status_read },
	{ CONTROL_NODE, "id", CONTROL_TEXT, 0, 0, "the id of this device", NULL, .read = node_id_read },
	{ CONTROL_NODE, "peers", CONTROL_TEXT, 0, 0, "a line a peer that is connected or remembered", NULL,
	  .read = peers_read },
	{ CONTROL_NODE, "connect", CONTROL_TEXT, 0, 0, "the peer that was last asked for, and how that ended",
	  "HOST:PORT, or HOST:PORT#ID to accept nobody else there", .read = connect_read, .write = connect_write },
	{ CONTROL_NODE, "errors", CONTROL_TEXT, 0, 0, "the last hundred refusals, newest first: time, path, error, why",
	  NULL, .read = errors_file_read },
	{ CONTROL_NODE, "events", CONTROL_STREAM, 0, 0,
	  "what arrived, a line each: time, what, path; while it is open each read gives what is new, and poll(2) waits for it",
	  NULL, .read = events_file_read },
	{ CONTROL_NODE, "metrics", CONTROL_TEXT, 0, ROW_BARE, "counters, in the text format of Prometheus", NULL,
	  .read = metrics_read },
	{ CONTROL_NODE, "config", CONTROL_TEXT, 0, 0, "the settings, and the table of scratch names",
	  "`window MS`, `limit BYTES`, `listen ADDRESS:PORT`, `scratch PATTERN` or `scratch !PATTERN`; a key alone: its default again",
	  .read = config_read, .write = config_write },
	{ CONTROL_NODE, "quota", CONTROL_TEXT, 0, 0, "how many bytes may be kept for others",
	  "a number of bytes, or one with K, M, G or T after it", .read = quota_read, .write = quota_write },
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

int control_each_row(int (*visit)(void *context, enum control_scope scope, const char *name, const char *help,
				  bool writable),
		     void *context)
{
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		int stop = visit(context, table[i].scope, table[i].name, table[i].help, table[i].write != NULL);
		if (stop)
			return stop;
	}
	return 0;
}

/* ---- calls ---- */

static int load_saves(struct control_call *c)
{
	const struct control_node *node = c->node;

	for (;;) {
		int count = desk_saves(c->host->desk, &node->directory, node->name, c->saves, c->save_count);
		if (count < 0)
			return count;
		if ((size_t)count <= c->save_count) {
			c->save_count = (size_t)count;
			return 0;
		}
		free(c->saves);
		c->save_count = (size_t)count;
		c->saves = calloc(c->save_count, sizeof(*c->saves));
		if (!c->saves)
			return -ENOMEM;
	}
}

/* Saves first: one that is signed between the two is shown twice then, and not missing. */
static int call_begin(struct control_call *c, const struct control_host *host, const struct control_node *node)
{
	*c = (struct control_call){ .host = host, .node = node };
	int err = node->scope == CONTROL_DOCUMENT ? load_saves(c) : 0;
	if (err == 0)
		err = store_begin(host->store, false, &c->txn);
	if (err == 0)
		err = person_self(c->txn, &c->self);
	c->own = err == 0 && (node->scope == CONTROL_NODE ||
			      (id_equal(&node->person, &c->self) && person_self_counts(c->txn) == 1));
	return err;
}

void control_release(struct control_call *c)
{
	store_abort(c->txn);
	c->txn = NULL;
}

static void call_end(struct control_call *c)
{
	control_release(c);
	free(c->saves);
}

static int sign_once(struct control_call *c, enum field field, void (*fill)(struct record *record, const void *context),
		     const void *context)
{
	struct store_txn *txn;

	int err = store_begin(c->host->store, true, &txn);
	if (err < 0)
		return err;
	struct record *record = store_txn_record(txn, 0);
	if (!record) {
		store_abort(txn);
		return -ENOMEM;
	}
	memset(record, 0, sizeof(*record));
	record->field = field;
	fill(record, context);
	err = log_append(txn, record, NULL, NULL);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

int control_sign(struct control_call *c, enum field field, void (*fill)(struct record *record, const void *context),
		 const void *context)
{
	control_release(c);
	int err = sign_once(c, field, fill, context);
	if (err == STORE_HELD && c->host->desk) {
		desk_pass_hold(c->host->desk);
		err = sign_once(c, field, fill, context);
	}
	if (err == STORE_HELD)
		return why_set(c->why, -EAGAIN, "peers are being asked for the newest of your own records; try again in some seconds");
	return err;
}

/* ---- nodes ---- */

void control_node_root(struct control_node *out)
{
	*out = (struct control_node){ .scope = CONTROL_NODE };
}

void control_node_entity(struct control_node *out, const struct id *person)
{
	*out = (struct control_node){ .scope = CONTROL_ENTITY, .person = *person };
}

void control_node_document(struct control_node *out, const struct id *person, const struct id *directory,
			   const char *name)
{
	*out = (struct control_node){ .scope = CONTROL_DOCUMENT, .person = *person, .directory = *directory };
	memcpy(out->name, name, strnlen(name, NAME_SIZE_MAX));
}

enum control_kind control_kind(const struct control_node *node)
{
	if (!node->row)
		return CONTROL_FOLDER;
	return node->item ? node->row->item : node->row->kind;
}

static bool is_writable(const struct control_call *c)
{
	const struct control_row *row = c->node->row;

	return row && !c->node->item && row->write && (c->own || !(row->flags & ROW_OWN));
}

static int lookup_row(const struct control_node *folder, const char *name, struct control_node *out)
{
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		if (table[i].scope == folder->scope && strcmp(table[i].name, name) == 0) {
			struct control_node found = *folder;
			found.row = &table[i];
			*out = found;
			return 0;
		}
	}
	return -ENOENT;
}

int control_lookup(const struct control_host *host, const struct control_node *folder, const char *name,
		   struct control_node *out)
{
	struct control_call c;

	if (control_kind(folder) != CONTROL_FOLDER)
		return -ENOTDIR;
	if (!folder->row)
		return lookup_row(folder, name, out);

	struct control_node found = *folder;
	found.item = true;
	int err = call_begin(&c, host, folder);
	if (err == 0)
		err = folder->row->lookup(&c, name, &found);
	call_end(&c);
	if (err == 0)
		*out = found;
	return err;
}

static int each_row(const struct control_node *folder, uint64_t after, control_visit visit, void *context)
{
	struct control_node node = *folder;

	for (uint64_t i = after; i < TABLE_COUNT; i++) {
		if (table[i].scope != folder->scope)
			continue;
		node.row = &table[i];
		int stop = visit(context, table[i].name, i + 1, &node);
		if (stop)
			return stop;
	}
	return 0;
}

int control_each(const struct control_host *host, const struct control_node *folder, uint64_t after,
		 int (*visit)(void *context, const char *name, uint64_t position, const struct control_node *node),
		 void *context)
{
	struct control_call c;

	if (control_kind(folder) != CONTROL_FOLDER)
		return -ENOTDIR;
	if (!folder->row)
		return each_row(folder, after, visit, context);
	if (!folder->row->each)
		return 0;
	int result = call_begin(&c, host, folder);
	if (result == 0)
		result = folder->row->each(&c, after, visit, context);
	call_end(&c);
	return result;
}

static mode_t mode_of(const struct control_call *c)
{
	switch (control_kind(c->node)) {
	case CONTROL_FOLDER: case CONTROL_AT:
		return S_IFDIR | 0555;
	case CONTROL_LINK:
		return S_IFLNK | 0777;
	case CONTROL_TEXT: case CONTROL_CONTENT: case CONTROL_STREAM:
		break;
	}
	return is_writable(c) ? S_IFREG | 0644 : S_IFREG | 0444;
}

int control_stat(const struct control_host *host, const struct control_node *node, struct stat *out)
{
	struct control_call c = { .host = host, .node = node };
	struct stat st = { 0 };
	int err = 0;

	/* Who is behind a row need not be asked where nothing can be written. */
	if (node->row && (node->item ? node->row->stat != NULL : node->row->write != NULL))
		err = call_begin(&c, host, node);
	st.st_mode = mode_of(&c);
	st.st_mtim.tv_sec = (time_t)(host->started_ms / 1000);
	if (err == 0 && node->item && node->row->stat)
		err = node->row->stat(&c, &st);
	call_end(&c);
	if (err < 0)
		return err;
	st.st_ctim = st.st_atim = st.st_mtim;
	*out = st;
	return 0;
}

uint64_t control_ino(const struct control_node *node)
{
	const char *row = node->row ? node->row->name : "";
	const uint64_t numbers[] = { node->scope, node->item, node->number, node->time_ms };
	const struct span spans[] = {
		{ numbers, sizeof(numbers) }, { node->person.bytes, ID_SIZE }, { node->directory.bytes, ID_SIZE },
		{ node->version.bytes, ID_SIZE }, { node->name, strlen(node->name) + 1 }, { row, strlen(row) + 1 },
	};
	struct id hash;
	uint64_t ino;

	id_of_spans(&hash, spans, sizeof(spans) / sizeof(spans[0]));
	memcpy(&ino, &hash, sizeof(ino));
	return ino ? ino : 1;
}

/* ---- reading ---- */

static void put_explanation(const struct control_call *c, struct bytes *out)
{
	const struct control_row *row = c->node->row;

	bytes_put_format(out, "# %s\n", row->help);
	if (is_writable(c))
		bytes_put_format(out, "# write: %s\n", row->takes);
}

static int read_content(struct control_call *c, struct bytes *out)
{
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));

	if (!content)
		return -ENOMEM;
	int err = c->node->row->content(c, content);
	return err < 0 ? err : text_read(c->host, content, out->size_max, out);
}

int control_read(const struct control_host *host, const struct control_node *node, uint32_t process, struct bytes *out)
{
	const struct control_row *row = node->row;
	struct control_call c;

	if (control_kind(node) == CONTROL_FOLDER || control_kind(node) == CONTROL_AT)
		return -EISDIR;
	int err = call_begin(&c, host, node);
	c.process = process;
	if (err == 0)
		err = control_kind(node) == CONTROL_CONTENT ? read_content(&c, out) : row->read(&c, out);
	if (err == 0 && !node->item && !(row->flags & ROW_BARE))
		put_explanation(&c, out);
	call_end(&c);
	return err < 0 ? err : bytes_error(out);
}

int control_content(const struct control_host *host, const struct control_node *node, struct content *out)
{
	struct control_call c;

	if (control_kind(node) != CONTROL_CONTENT)
		return -EINVAL;
	int err = call_begin(&c, host, node);
	if (err == 0)
		err = node->row->content(&c, out);
	call_end(&c);
	return err;
}

static void put_readme_row(const struct control_row *row, bool writable, struct bytes *out)
{
	bytes_put_format(out, "%s%-*s  %s\n", row->name, 10 - (int)strlen(row->name),
			 row->kind == CONTROL_FOLDER ? "/" : "", row->help);
	if (writable)
		bytes_put_format(out, "%-10s  write: %s\n", "", row->takes);
}

int control_readme(struct control_call *c, struct bytes *out)
{
	static const char *const titles[] = {
		[CONTROL_NODE] = "This node: what it keeps, its settings, and why something was refused.",
		[CONTROL_ENTITY] = "What stands behind this person: who it is, and everything they signed.",
		[CONTROL_DOCUMENT] = "What stands behind this document: its versions, and what is said about them.",
	};
	const struct control_node *node = c->node;

	bytes_put_format(out, "%s\n\n", titles[node->scope]);
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (table[i].scope == node->scope)
			put_readme_row(&table[i], table[i].write && (c->own || !(table[i].flags & ROW_OWN)), out);
	bytes_put_text(out, "\nFiles are read with cat and written with echo. What cannot be applied changes nothing, and the\n"
			    "reason stands in @/errors of the mount. mootfs(7) tells more.\n");
	return 0;
}

/* ---- writing ---- */

bool control_takes_lines(const struct control_node *node)
{
	return !node->row || !(node->row->flags & ROW_WHOLE);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int write_line(struct control_call *c, const char *text, size_t size)
{
	const struct control_row *row = c->node->row;
	char line[LINE_SIZE_MAX + 1];

	while (size > 0 && is_blank(text[size - 1]))
		size--;
	while (size > 0 && is_blank(text[0])) {
		text++;
		size--;
	}
	if (size == 0)
		return why_set(c->why, -EINVAL, "nothing was written; write %s", row->takes);
	if (size > LINE_SIZE_MAX)
		return why_set(c->why, -EINVAL, "that is longer than %d bytes; write %s", LINE_SIZE_MAX, row->takes);
	if (memchr(text, '\0', size) || memchr(text, '\n', size))
		return why_set(c->why, -EINVAL, "that is not one line of text; write %s", row->takes);
	memcpy(line, text, size);
	line[size] = '\0';
	return row->write(c, line, size);
}

static int write_text(struct control_call *c, const char *text, size_t size)
{
	CLEANUP(cleanup_free) char *copy = malloc(size + 1);

	if (!copy)
		return -ENOMEM;
	if (size > 0)
		memcpy(copy, text, size);
	copy[size] = '\0';
	return c->node->row->write(c, copy, size);
}

int control_write(const struct control_host *host, const struct control_node *node, uint32_t process,
		  const char *text, size_t size, struct why *why)
{
	struct control_call c;

	if (!node->row || node->item || !node->row->write)
		return why_set(why, -EACCES, "this can only be read");
	int err = call_begin(&c, host, node);
	c.process = process;
	c.why = why;
	if (err == 0 && !is_writable(&c))
		err = why_set(why, -EACCES, "only whose it is can write here");
	if (err == 0)
		err = control_takes_lines(node) ? write_line(&c, text, size) : write_text(&c, text, size);
	call_end(&c);
	return err;
}
