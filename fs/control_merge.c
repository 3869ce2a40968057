/*
 * merge: the heads of a document made into one text, and a text made into their common child.
 *
 * Heads are merged one after the other, oldest first by (time, id), each over the lowest common ancestors of
 * it and those merged before; several of these are first merged themselves, in order of id.  So the
 * same heads give the same bytes everywhere.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "diff.h"

/* Of each head: what is merged is held in memory whole, several times over. */
#define MERGE_TEXT_MAX (16u * 1024 * 1024)
#define ANCESTORS_MAX 16

/* ---- texts ---- */

/* Replaces what is in `out`. */
static int version_text(struct control_call *c, const struct id *id, struct bytes *out)
{
	CLEANUP(cleanup_free) struct version *version = malloc(sizeof(*version));

	if (!version)
		return -ENOMEM;
	bytes_clear(out);
	int err = document_version(c->txn, id, version);
	return err < 0 ? err : text_read(c->host, &version->content, MERGE_TEXT_MAX, out);
}

static struct span span_of(const struct bytes *b)
{
	return (struct span){ b->data ? (const void *)b->data : "", b->size };
}

static int merge_error(int err)
{
	return err == -EBADMSG ? -EOPNOTSUPP : err;
}

/* ours becomes the merge of both. */
static int merge_into(struct bytes *ours, const char *ours_name, const struct bytes *theirs, const char *theirs_name,
		      const struct bytes *ancestor)
{
	const struct diff_side sides[] = { { ours_name, span_of(ours) }, { theirs_name, span_of(theirs) } };
	struct bytes merged;

	bytes_init(&merged, 4 * (size_t)MERGE_TEXT_MAX);
	int err = diff_merge(span_of(ancestor), &sides[0], &sides[1], &merged);
	if (err < 0) {
		bytes_finish(&merged);
		return merge_error(err);
	}
	bytes_finish(ours);
	*ours = merged;
	return 0;
}

/* ---- ancestors ---- */

struct id_set {
	struct id ids[ANCESTORS_MAX];
	size_t count;
};

static void set_add(struct id_set *set, const struct id *id)
{
	size_t at = 0;

	while (at < set->count && id_compare(&set->ids[at], id) < 0)
		at++;
	if ((at < set->count && id_equal(&set->ids[at], id)) || set->count == ANCESTORS_MAX)
		return;
	memmove(&set->ids[at + 1], &set->ids[at], (set->count - at) * sizeof(set->ids[0]));
	set->ids[at] = *id;
	set->count++;
}

/* 1: a is an ancestor of b. */
static int is_ancestor(struct control_call *c, const struct id *a, const struct id *b)
{
	struct id common[2];

	int count = document_common_ancestors(c->txn, a, b, common, 2);
	if (count < 0)
		return count;
	return count == 1 && id_equal(&common[0], a);
}

/* Drops those that are ancestors of others. */
static int set_reduce(struct control_call *c, struct id_set *set)
{
	struct id_set kept = { .count = 0 };

	for (size_t i = 0; i < set->count; i++) {
		int outdone = 0;
		for (size_t j = 0; outdone == 0 && j < set->count; j++)
			outdone = i == j ? 0 : is_ancestor(c, &set->ids[i], &set->ids[j]);
		if (outdone < 0)
			return outdone;
		if (!outdone)
			set_add(&kept, &set->ids[i]);
	}
	*set = kept;
	return 0;
}

/* Lowest common ancestors of heads[last] and those before it. */
static int find_ancestors(struct control_call *c, const struct id *heads, size_t last, struct id_set *out)
{
	struct id common[ANCESTORS_MAX];

	out->count = 0;
	for (size_t i = 0; i < last; i++) {
		int count = document_common_ancestors(c->txn, &heads[i], &heads[last], common, ANCESTORS_MAX);
		if (count < 0)
			return count;
		for (int j = 0; j < count && j < ANCESTORS_MAX; j++)
			set_add(out, &common[j]);
	}
	return set_reduce(c, out);
}

/* The text of an ancestor of two ancestors, or nothing: one step down is enough to tell most changes apart. */
static int deeper_text(struct control_call *c, const struct id *a, const struct id *b, struct bytes *out)
{
	struct id common[ANCESTORS_MAX];

	bytes_clear(out);
	int count = document_common_ancestors(c->txn, a, b, common, ANCESTORS_MAX);
	if (count <= 0)
		return count;
	return version_text(c, &common[0], out);
}

static int ancestor_text(struct control_call *c, const struct id_set *ancestors, struct bytes *out)
{
	CLEANUP(bytes_finish) struct bytes other;
	CLEANUP(bytes_finish) struct bytes deeper;

	bytes_init(&other, MERGE_TEXT_MAX);
	bytes_init(&deeper, MERGE_TEXT_MAX);
	bytes_clear(out);
	if (ancestors->count == 0)
		return 0;
	int err = version_text(c, &ancestors->ids[0], out);
	for (size_t i = 1; err == 0 && i < ancestors->count; i++) {
		err = version_text(c, &ancestors->ids[i], &other);
		if (err == 0)
			err = deeper_text(c, &ancestors->ids[0], &ancestors->ids[i], &deeper);
		if (err == 0)
			err = merge_into(out, "ancestor", &other, "ancestor", &deeper);
	}
	return err;
}

/* ---- heads ---- */

static int find_heads(struct control_call *c, struct merge_heads *out)
{
	int count = call_heads(c, out->ids, PARENTS_MAX);

	out->count = count < 0 ? 0 : (size_t)count;
	return count;
}

static bool same_heads(const struct merge_heads *a, const struct merge_heads *b)
{
	size_t same = 0;

	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			same += id_equal(&a->ids[i], &b->ids[j]);
	return a->count == b->count && same == a->count;
}

/* Oldest first by (time, id). */
static int sort_heads(struct control_call *c, const struct merge_heads *heads, struct id out[PARENTS_MAX])
{
	struct version_row rows[PARENTS_MAX];

	for (size_t i = 0; i < heads->count; i++) {
		struct version_row row;
		int err = document_version_row(c->txn, &heads->ids[i], &row);
		if (err < 0)
			return err;
		size_t at = i;
		for (; at > 0 && (rows[at - 1].time_ms > row.time_ms ||
				  (rows[at - 1].time_ms == row.time_ms && id_compare(&rows[at - 1].id, &row.id) > 0));
		     at--)
			rows[at] = rows[at - 1];
		rows[at] = row;
	}
	for (size_t i = 0; i < heads->count; i++)
		out[i] = rows[i].id;
	return 0;
}

static int version_label(struct control_call *c, const struct id *id, char out[VERSION_NAME_MAX + 1])
{
	struct version_row row;

	int err = document_version_row(c->txn, id, &row);
	return err < 0 ? err : document_version_name(c->txn, &row, c->node->name, NULL, out);
}

/* Merges heads[at] into `text`, which is made of those before it. */
static int merge_next(struct control_call *c, const struct id *heads, size_t at, struct bytes *text)
{
	CLEANUP(bytes_finish) struct bytes ancestor;
	CLEANUP(bytes_finish) struct bytes other;
	char ours[VERSION_NAME_MAX + 1] = "those before", theirs[VERSION_NAME_MAX + 1];
	struct id_set ancestors;

	bytes_init(&ancestor, 4 * (size_t)MERGE_TEXT_MAX);
	bytes_init(&other, MERGE_TEXT_MAX);
	int err = find_ancestors(c, heads, at, &ancestors);
	if (err == 0)
		err = ancestor_text(c, &ancestors, &ancestor);
	if (err == 0)
		err = version_text(c, &heads[at], &other);
	if (err == 0 && at == 1)
		err = version_label(c, &heads[0], ours);
	if (err == 0)
		err = version_label(c, &heads[at], theirs);
	return err < 0 ? err : merge_into(text, ours, &other, theirs, &ancestor);
}

int merge_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(bytes_finish) struct bytes text;
	struct merge_heads heads;
	struct id sorted[PARENTS_MAX];

	bytes_init(&text, MERGE_TEXT_MAX);
	int count = find_heads(c, &heads);
	if (count <= 0)
		return count;
	int err = sort_heads(c, &heads, sorted);
	if (err == 0)
		err = version_text(c, &sorted[0], &text);
	for (size_t i = 1; err == 0 && i < heads.count; i++)
		err = merge_next(c, sorted, i, &text);
	if (err < 0)
		return err;
	bytes_put(out, text.data ? text.data : (const uint8_t *)"", text.size);
	memory_note(c->host->memory, c->process, c->node, &heads);
	return 0;
}

/* ---- writing ---- */

/* The heads that the writer saw. What others saw counts only if nothing changed since. */
static int seen_heads(struct control_call *c, struct merge_heads *out)
{
	struct merge_heads now, seen;

	if (c->process != 0 && memory_find(c->host->memory, c->process, c->node, out))
		return 0;
	int count = find_heads(c, &now);
	if (count < 0)
		return count;
	if (count == 0 && c->save_count > 0)
		return why_set(c->why, -EAGAIN, "it is not signed yet: there is nothing to merge");
	if (count == 0)
		return why_set(c->why, -EINVAL, "nothing stands here to merge; write a version's name to `head`");
	if (memory_find(c->host->memory, 0, c->node, &seen) && !same_heads(&now, &seen))
		return why_set(c->why, -EAGAIN, "other versions stand here since `merge` was read; read it again");
	*out = now;
	return 0;
}

/* A text equal to the one head there is makes no version. */
static int is_unchanged(struct control_call *c, const struct merge_heads *heads, const char *text, size_t size)
{
	CLEANUP(cleanup_free) struct version *version = malloc(sizeof(*version));
	struct id digest;

	if (!version)
		return -ENOMEM;
	if (heads->count != 1)
		return 0;
	int err = document_version(c->txn, &heads->ids[0], version);
	if (err < 0)
		return err;
	id_of_bytes(&digest, text, size);
	return version->content.size == size && id_equal(&version->content.digest, &digest);
}

int merge_write(struct control_call *c, const char *text, size_t size)
{
	const struct desk_slot at = { .directory = c->node->directory, .name = c->node->name };
	struct merge_heads heads;

	int err = seen_heads(c, &heads);
	if (err < 0)
		return err;
	int unchanged = is_unchanged(c, &heads, text, size);
	if (unchanged < 0)
		return unchanged;
	control_release(c);
	if (!unchanged)
		err = desk_merge(c->host->desk, at, heads.ids, heads.count, text, size);
	if (err == 0)
		memory_forget(c->host->memory, c->process, c->node);
	return err;
}
