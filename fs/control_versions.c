/* versions/, diffs/ and pieces/. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "control_private.h"
#include "diff.h"

/* Each side of a diff; larger texts are only said to be large. */
#define DIFF_TEXT_MAX (32u * 1024 * 1024)
/* Listing positions of saves not signed: above those of all versions. */
#define DRAFT_PLACE (1ull << 62)

/* ---- saves not signed yet ---- */

/* Names a save for as long as it waits: its time, and which of those of the same millisecond. */
static uint64_t draft_number(const struct control_call *c, size_t index)
{
	uint64_t same = 0;

	for (size_t i = 0; i < index; i++)
		same += c->saves[i].time_ms == c->saves[index].time_ms;
	return c->saves[index].time_ms << 10 | (same & 1023);
}

/* -ENOENT: it is signed by now, or was dropped. */
static int draft_find(const struct control_call *c, size_t *out_index)
{
	for (size_t i = 0; i < c->save_count; i++) {
		if (draft_number(c, i) == c->node->number) {
			*out_index = i;
			return 0;
		}
	}
	return -ENOENT;
}

void draft_name(const struct control_call *c, size_t index, const char *suffix, char out[VERSION_NAME_MAX + 1])
{
	time_t seconds = (time_t)(c->saves[index].time_ms / 1000);
	char time[32] = "", count[24] = "";
	unsigned same = 1;
	struct tm utc;

	for (size_t i = 0; i < index; i++)
		same += c->saves[i].time_ms / 1000 == (uint64_t)seconds;
	if (same > 1)
		snprintf(count, sizeof(count), "-%u", same);
	if (gmtime_r(&seconds, &utc))
		strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &utc);
	snprintf(out, VERSION_NAME_MAX + 1, "%s-me-draft%s%s", time, count,
		 suffix ? suffix : document_suffix(c->node->name));
}

/* By the name that is listed. */
static int draft_by_name(const struct control_call *c, const char *name, const char *suffix, struct control_node *out)
{
	char listed[VERSION_NAME_MAX + 1];

	for (size_t i = 0; i < c->save_count; i++) {
		draft_name(c, i, suffix, listed);
		if (strcmp(name, listed) == 0) {
			memset(&out->version, 0, sizeof(out->version));
			out->number = draft_number(c, i);
			return 0;
		}
	}
	return -ENOENT;
}

/* A position in the list: "1", "-1"; up to six digits. */
static bool parse_position(const char *text, int64_t *out)
{
	bool back = text[0] == '-';
	int64_t value = 0;
	size_t digits = 0;

	for (text += back; *text >= '0' && *text <= '9'; text++, digits++)
		if (digits < 6)
			value = value * 10 + (*text - '0');
	if (*text || digits == 0 || digits > 6)
		return false;
	*out = back ? -value : value;
	return true;
}

/* A position at which a save stands that is not signed. -ENOENT: it is among the signed. */
static int draft_by_position(struct control_call *c, const char *spelling, struct control_node *out)
{
	const struct control_node *node = c->node;
	int64_t position;
	uint64_t count;

	if (c->save_count == 0 || !parse_position(spelling, &position))
		return -ENOENT;
	int err = document_count(c->txn, &node->person, &node->directory, node->name, &count);
	if (err < 0)
		return err;
	if (position < 0)
		position += (int64_t)(count + c->save_count) + 1;
	if (position <= (int64_t)count || position > (int64_t)(count + c->save_count))
		return -ENOENT;
	memset(&out->version, 0, sizeof(out->version));
	out->number = draft_number(c, (size_t)(position - (int64_t)count) - 1);
	return 0;
}

/* From the end, those not signed come first. */
static int version_by_position(struct control_call *c, const char *spelling, struct version_row *out)
{
	const struct control_node *node = c->node;
	char shifted[32];
	int64_t position;

	if (c->save_count > 0 && parse_position(spelling, &position) && position < 0) {
		snprintf(shifted, sizeof(shifted), "%lld", (long long)position + (long long)c->save_count);
		spelling = shifted;
	}
	return document_find(c->txn, &node->person, &node->directory, node->name, spelling, out);
}

int version_find(struct control_call *c, const char *spelling, struct control_node *out)
{
	struct version_row row;

	int err = draft_by_name(c, spelling, NULL, out);
	if (err == -ENOENT)
		err = draft_by_position(c, spelling, out);
	if (err != -ENOENT)
		return err;
	err = version_by_position(c, spelling, &row);
	if (err == 0) {
		out->version = row.id;
		out->number = 0;
	}
	return err;
}

/* ---- listing ---- */

struct listing {
	struct control_call *c;
	const char *suffix;
	control_visit visit;
	void *context;
	struct control_node child;
};

static int list_version(void *context, const struct version_row *row, uint64_t place)
{
	struct listing *l = context;
	char name[VERSION_NAME_MAX + 1];

	int err = document_version_name(l->c->txn, row, l->c->node->name, l->suffix, name);
	if (err < 0)
		return err;
	l->child.version = row->id;
	return l->visit(l->context, name, place, &l->child);
}

static int each_version(struct control_call *c, uint64_t after, const char *suffix, control_visit visit, void *context)
{
	const struct control_node *node = c->node;
	struct listing l = { .c = c, .suffix = suffix, .visit = visit, .context = context, .child = *node };
	char name[VERSION_NAME_MAX + 1];
	int result = 0;

	l.child.item = true;
	if (after < DRAFT_PLACE)
		result = document_each(c->txn, &node->person, &node->directory, node->name, after, list_version, &l);
	memset(&l.child.version, 0, sizeof(l.child.version));
	for (size_t i = after > DRAFT_PLACE ? (size_t)(after - DRAFT_PLACE) : 0; result == 0 && i < c->save_count; i++) {
		draft_name(c, i, suffix, name);
		l.child.number = draft_number(c, i);
		result = visit(context, name, DRAFT_PLACE + i + 1, &l.child);
	}
	return result;
}

/* ---- versions/ ---- */

int versions_lookup(struct control_call *c, const char *name, struct control_node *out)
{
	int err = version_find(c, name, out);

	return err == -EINVAL ? -ENOENT : err;
}

int versions_each(struct control_call *c, uint64_t after, control_visit visit, void *context)
{
	return each_version(c, after, NULL, visit, context);
}

static void put_stat(struct stat *out, uint64_t size, uint64_t time_ms)
{
	out->st_size = (off_t)size;
	out->st_mtim.tv_sec = (time_t)(time_ms / 1000);
	out->st_mtim.tv_nsec = (long)(time_ms % 1000) * 1000000;
}

int versions_stat(struct control_call *c, struct stat *out)
{
	struct version_row row;
	size_t index;
	int err;

	if (id_is_zero(&c->node->version)) {
		err = draft_find(c, &index);
		if (err == 0)
			put_stat(out, c->saves[index].content.size, c->saves[index].time_ms);
		return err;
	}
	err = document_version_row(c->txn, &c->node->version, &row);
	if (err == 0)
		put_stat(out, row.size, row.time_ms);
	return err;
}

int versions_content(struct control_call *c, struct content *out)
{
	CLEANUP(cleanup_free) struct version *version = NULL;
	size_t index;
	int err;

	if (id_is_zero(&c->node->version)) {
		err = draft_find(c, &index);
		if (err == 0)
			*out = c->saves[index].content;
		return err;
	}
	version = malloc(sizeof(*version));
	if (!version)
		return -ENOMEM;
	err = document_version(c->txn, &c->node->version, version);
	if (err == 0)
		*out = version->content;
	return err;
}

/* ---- diffs/ ---- */

#define DIFF_SUFFIX ".diff"

int diffs_lookup(struct control_call *c, const char *name, struct control_node *out)
{
	int err = draft_by_name(c, name, DIFF_SUFFIX, out);

	return err == -ENOENT ? versions_lookup(c, name, out) : err; /* which knows the suffix */
}

int diffs_each(struct control_call *c, uint64_t after, control_visit visit, void *context)
{
	return each_version(c, after, DIFF_SUFFIX, visit, context);
}

/* Of a version not signed: the one before it in the list, else the head. -ENOENT: it is the first. */
static int draft_parent(struct control_call *c, size_t index, struct content *out)
{
	struct version version;
	struct id head;

	if (index > 0) {
		*out = c->saves[index - 1].content;
		return 0;
	}
	int count = call_heads(c, &head, 1);
	if (count <= 0)
		return count < 0 ? count : -ENOENT;
	int err = document_version(c->txn, &head, &version);
	if (err == 0)
		*out = version.content;
	return err;
}

/* The two texts. 1: there is one before; 0: it is the first. */
static int diff_contents(struct control_call *c, struct content *before, struct content *after)
{
	struct version version;
	size_t index;
	int err;

	if (id_is_zero(&c->node->version)) {
		err = draft_find(c, &index);
		if (err < 0)
			return err;
		*after = c->saves[index].content;
		err = draft_parent(c, index, before);
		return err == 0 ? 1 : err == -ENOENT ? 0 : err;
	}
	err = document_version(c->txn, &c->node->version, &version);
	if (err < 0)
		return err;
	*after = version.content;
	if (version.parent_count == 0)
		return 0;
	err = document_version(c->txn, &version.parents[0], &version);
	if (err < 0)
		return err == -ENOENT ? -ENODATA : err;
	*before = version.content;
	return 1;
}

int diffs_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(bytes_finish) struct bytes before;
	CLEANUP(bytes_finish) struct bytes after;
	const char *name = c->node->name;
	struct content from = { 0 }, to;

	bytes_init(&before, DIFF_TEXT_MAX);
	bytes_init(&after, DIFF_TEXT_MAX);
	int has_before = diff_contents(c, &from, &to);
	if (has_before < 0)
		return has_before;
	if (from.size > DIFF_TEXT_MAX || to.size > DIFF_TEXT_MAX) {
		bytes_put_text(out, "Files of this size are not compared: ");
		text_put_visible(out, name);
		bytes_put_text(out, "\n");
		return 0;
	}
	int err = has_before ? text_read(c->host, &from, DIFF_TEXT_MAX, &before) : 0;
	if (err == 0)
		err = text_read(c->host, &to, DIFF_TEXT_MAX, &after);
	if (err < 0)
		return err;
	const struct diff_side old = { has_before ? name : NULL, { before.data, before.size } };
	const struct diff_side new = { name, { after.data, after.size } };
	return diff_unified(&old, &new, out);
}

/* Made when read: no size, but the time of the version. */
int diffs_stat(struct control_call *c, struct stat *out)
{
	int err = versions_stat(c, out);

	out->st_size = 0;
	return err;
}

/* ---- pieces/ ---- */

#define PIECE_NAME_SIZE 80

/* Four digits, or as many as the most pieces of such a text need: names sort as the pieces do. */
static int position_width(uint64_t text_size)
{
	int width = 4;

	for (uint64_t limit = 10000; text_size / PIECE_TEXT_MIN >= limit; limit *= 10)
		width++;
	return width;
}

static void piece_name(char out[PIECE_NAME_SIZE], int width, uint64_t position, const struct id *name)
{
	char id[ID_TEXT_SIZE + 1];

	id_format(id, name);
	snprintf(out, PIECE_NAME_SIZE, "%0*llu-%s.gz", width, (unsigned long long)position, id);
}

struct piece_walk {
	uint64_t position, after;  /* after: visits those at this position and later */
	int width;
	struct control_node child;
	const char *wanted;        /* a name; or */
	control_visit visit;
	void *context;
};

static int walk_piece(void *context, const struct piece_ref *ref, bool is_list)
{
	struct piece_walk *w = context;
	char name[PIECE_NAME_SIZE];

	w->child.number = w->position++;
	if (w->child.number < w->after)
		return 0;
	w->child.version = ref->name;
	piece_name(name, w->width, w->child.number, &ref->name);
	if (w->wanted)
		return strcmp(name, w->wanted) == 0 ? 1 : -ENOENT;
	return w->visit(w->context, name, w->child.number + 1, &w->child);
}

static int walk_pieces(struct control_call *c, struct piece_walk *w)
{
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));

	if (!content)
		return -ENOMEM;
	w->child = *c->node;
	w->child.item = true;
	int err = call_current(c, content, NULL);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	w->width = position_width(content->size);
	return content_each(store_piece_cache(c->host->store), store_pieces(c->host->store), content, false,
			    walk_piece, w);
}

int pieces_lookup(struct control_call *c, const char *name, struct control_node *out)
{
	struct piece_walk w = { .wanted = name };
	size_t digits = strspn(name, "0123456789");

	if (digits < 4 || digits > 12 || name[digits] != '-')
		return -ENOENT;
	w.after = strtoull(name, NULL, 10);
	int found = walk_pieces(c, &w);
	if (found <= 0)
		return found < 0 ? found : -ENOENT;
	*out = w.child;
	return 0;
}

int pieces_each(struct control_call *c, uint64_t after, control_visit visit, void *context)
{
	struct piece_walk w = { .after = after, .visit = visit, .context = context };

	return walk_pieces(c, &w);
}

int pieces_read(struct control_call *c, struct bytes *out)
{
	uint8_t *to = bytes_extend(out, PIECE_STORED_MAX);

	if (!to)
		return bytes_error(out);
	ssize_t size = store_read_piece(c->host->store, &c->node->version, to, PIECE_STORED_MAX);
	out->size -= PIECE_STORED_MAX - (size > 0 ? (size_t)size : 0);
	if (size < 0)
		return size == -ENOENT ? -ENODATA : (int)size;
	return 0;
}

int pieces_stat(struct control_call *c, struct stat *out)
{
	uint8_t member[PIECE_STORED_MAX];
	ssize_t size = store_read_piece(c->host->store, &c->node->version, member, sizeof(member));

	if (size == -ENOENT) /* named, but not held here */
		size = 0;
	if (size < 0)
		return (int)size;
	out->st_size = (off_t)size;
	return 0;
}
