/* What stands behind a document, but for its versions: head, heads, log, vote, subscribe. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "person.h"
#include "row.h"
#include "votes.h"

#define NOT_SIGNED "it is not signed yet: a new name waits some seconds; try again then"

/* ---- what shows ---- */

static bool has_id(const struct id *ids, size_t count, const struct id *id)
{
	for (size_t i = 0; i < count; i++)
		if (id_equal(&ids[i], id))
			return true;
	return false;
}

int call_heads(struct control_call *c, struct id *out, size_t count_max)
{
	const struct control_node *node = c->node;
	struct standing standing[HEADS_MAX];
	size_t heads = 0;

	int count = tree_standing(c->txn, &node->person, &node->directory, node->name, standing, HEADS_MAX);
	if (count < 0)
		return count == -ENOENT ? 0 : count;
	for (int i = 0; i < count && i < HEADS_MAX && heads < count_max; i++)
		if (standing[i].what == WHAT_VERSION && !has_id(out, heads, &standing[i].id))
			out[heads++] = standing[i].id;
	return (int)heads;
}

/* 1: a document shows at the name; 0: none does. A removal that is not signed yet is one. */
static int is_shown(struct control_call *c)
{
	const struct control_node *node = c->node;
	struct desk_item item;

	if (!c->own)
		return 1;
	int err = desk_lookup(c->host->desk, &node->person, &node->directory, node->name, &item);
	if (err == -ENOENT)
		return 0;
	return err < 0 ? err : 1;
}

int call_current(struct control_call *c, struct content *out, struct version_row *out_row)
{
	struct version_row row = { 0 };
	struct id head;

	int shown = is_shown(c);
	if (shown <= 0)
		return shown < 0 ? shown : -ENOENT;
	if (c->save_count > 0) {
		*out = c->saves[c->save_count - 1].content;
		if (out_row)
			*out_row = row;
		return 0;
	}
	int heads = call_heads(c, &head, 1);
	if (heads <= 0)
		return heads < 0 ? heads : -ENOENT;
	CLEANUP(cleanup_free) struct version *version = malloc(sizeof(*version));
	if (!version)
		return -ENOMEM;
	int err = document_version(c->txn, &head, version);
	if (err < 0)
		return err;
	*out = version->content;
	if (out_row)
		*out_row = version->row;
	return 0;
}

static int put_version_name(struct control_call *c, const struct id *version, struct bytes *out)
{
	char name[VERSION_NAME_MAX + 1];
	struct version_row row;

	int err = document_version_row(c->txn, version, &row);
	if (err == 0)
		err = document_version_name(c->txn, &row, c->node->name, NULL, name);
	if (err == 0)
		text_put_visible(out, name);
	return err;
}

static void put_draft_name(struct control_call *c, size_t index, struct bytes *out)
{
	char name[VERSION_NAME_MAX + 1];

	draft_name(c, index, NULL, name);
	text_put_visible(out, name);
}

/* ---- head, heads ---- */

int head_read(struct control_call *c, struct bytes *out)
{
	struct id head;
	int err = 0;

	int shown = is_shown(c);
	int heads = shown < 0 ? shown : call_heads(c, &head, 1);
	if (heads < 0)
		return heads;
	if (shown && c->save_count > 0)
		put_draft_name(c, c->save_count - 1, out);
	else if (shown && heads > 0)
		err = put_version_name(c, &head, out);
	else
		bytes_put_text(out, "none");
	bytes_put_text(out, "\n");
	return err;
}

struct elsewhere { /* the ends of a document that is followed whoever writes it */
	struct control_call *c;
	struct bytes *out;
	const struct id *heads;
	size_t head_count, count;
};

static int put_elsewhere(void *context, const struct version_row *row, uint64_t place)
{
	struct elsewhere *e = context;

	if (has_id(e->heads, e->head_count, &row->id) || !document_is_leaf(e->c->txn, row->number))
		return 0;
	bytes_put_text(e->out, "# elsewhere: ");
	int err = put_version_name(e->c, &row->id, e->out);
	bytes_put_text(e->out, "\n");
	return err < 0 ? err : ++e->count == HEADS_MAX || text_is_full(e->out);
}

static int put_others(struct control_call *c, const struct id *heads, size_t head_count, struct bytes *out)
{
	struct elsewhere e = { c, out, heads, head_count, 0 };
	const struct control_node *node = c->node;
	struct version_row row;
	uint64_t on = 0;

	if (head_count == 0 || document_version_row(c->txn, &heads[0], &row) < 0 ||
	    person_said(c->txn, &c->self, FIELD_SUBSCRIBE, &row.document, &on) < 0 || !on)
		return 0;
	int err = document_each(c->txn, &node->person, &node->directory, node->name, 0, put_elsewhere, &e);
	return err < 0 ? err : 0;
}

int heads_read(struct control_call *c, struct bytes *out)
{
	struct id heads[HEADS_MAX];

	int count = call_heads(c, heads, HEADS_MAX);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		int err = put_version_name(c, &heads[i], out);
		if (err < 0)
			return err;
		bytes_put_text(out, "\n");
	}
	if (count == HEADS_MAX) {
		bytes_put_format(out, "# only %d are shown\n", HEADS_MAX);
	} else if (count == 0 && c->save_count > 0) {
		put_draft_name(c, c->save_count - 1, out);
		bytes_put_text(out, "\n");
	} else if (count == 0) {
		bytes_put_text(out, "# nothing stands here: it was removed; write to `head` to restore it\n");
	}
	return put_others(c, heads, (size_t)count, out);
}

int head_write(struct control_call *c, const char *text, size_t size)
{
	struct control_node found = *c->node;
	struct id heads[2];

	int err = version_find(c, text, &found);
	if (err == -ENOTUNIQ)
		return why_set(c->why, -EINVAL, "several versions are called `%s`: write more of the id", text);
	if (err == -ENOENT || err == -EINVAL)
		return why_set(c->why, -EINVAL, "no version is called `%s`; write %s", text, c->node->row->takes);
	if (err < 0)
		return err;
	if (id_is_zero(&found.version))
		return why_set(c->why, -EAGAIN, NOT_SIGNED);

	int count = call_heads(c, heads, 2);
	if (count < 0)
		return count;
	int shown = is_shown(c);
	if (shown < 0)
		return shown;
	if (shown && c->save_count == 0 && count == 1 && id_equal(&heads[0], &found.version))
		return 0;
	const struct desk_slot at = { .directory = c->node->directory, .name = c->node->name };
	control_release(c);
	return desk_set_head(c->host->desk, at, &found.version);
}

/* ---- log ---- */

#define STANDS_MAX 4096 /* places asked for who supports what: more are not counted */

struct support { /* a person stands on a version */
	struct id version;
	uint64_t person; /* number */
};

struct history {
	struct control_call *c;
	struct bytes *out;
	struct id heads[HEADS_MAX];
	size_t head_count;
	struct id documents[16]; /* whose supporters were counted */
	size_t document_count;
	struct support *supports;
	size_t support_count, support_capacity;
	struct version version;
};

static void history_free(struct history **h)
{
	if (*h)
		free((*h)->supports);
	free(*h);
}

static int add_support(struct history *h, const struct id *version, uint64_t person)
{
	for (size_t i = 0; i < h->support_count; i++)
		if (h->supports[i].person == person && id_equal(&h->supports[i].version, version))
			return 0;
	if (h->support_count == h->support_capacity) {
		size_t capacity = h->support_capacity ? h->support_capacity * 2 : 16;
		struct support *grown = realloc(h->supports, capacity * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		h->supports = grown;
		h->support_capacity = capacity;
	}
	h->supports[h->support_count++] = (struct support){ *version, person };
	return 0;
}

/* One place where versions of a document stand: person, directory, name. */
static int add_stand(struct history *h, const uint8_t *key, size_t size)
{
	struct standing standing[HEADS_MAX];
	char name[NAME_SIZE_MAX + 1] = { 0 };
	struct id person, directory;
	struct wire w;

	wire_init(&w, key, size);
	uint64_t person_number = wire_u64_be(&w), directory_number = wire_u64_be(&w);
	if (w.failed || w.left > sizeof(name) || (w.left == sizeof(name) && w.at[w.left - 1] != '\0'))
		return -EBADMSG;
	memcpy(name, w.at, w.left); /* with or without a NUL */
	int count = store_number_id(h->c->txn, NUMBER_ENTITY, person_number, &person);
	if (count == 0)
		count = store_number_id(h->c->txn, NUMBER_DIRECTORY, directory_number, &directory);
	if (count == 0)
		count = tree_standing(h->c->txn, &person, &directory, name, standing, HEADS_MAX);
	for (int i = 0; i < count && i < HEADS_MAX; i++) {
		int err = standing[i].what == WHAT_VERSION ? add_support(h, &standing[i].id, person_number) : 0;
		if (err < 0)
			return err;
	}
	return count < 0 && count != -ENOENT ? count : 0;
}

/* Who stands on which version of the document, wherever. */
static int find_support(struct history *h, const struct id *document)
{
	struct index_range range;
	uint64_t number;
	int more = 0;

	if (has_id(h->documents, h->document_count, document) ||
	    h->document_count == sizeof(h->documents) / sizeof(h->documents[0]))
		return 0;
	h->documents[h->document_count++] = *document;
	int err = store_number(h->c->txn, NUMBER_DOCUMENT, document, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	struct row prefix = row_of(number);
	err = row_range(h->c->txn, TABLE_STAND, &prefix, &range);
	for (int places = 0; err == 0 && places < STANDS_MAX && (more = index_range_next(&range)) > 0; places++)
		err = add_stand(h, range.key + prefix.size, range.key_size - prefix.size);
	index_range_close(&range);
	return more < 0 ? more : err;
}

static unsigned count_support(const struct history *h, const struct id *version)
{
	unsigned count = 0;

	for (size_t i = 0; i < h->support_count; i++)
		count += id_equal(&h->supports[i].version, version);
	return count;
}

/* What stands between time and short id in the name. */
static void put_author(struct bytes *out, const char *name, const struct id *version)
{
	char author[VERSION_NAME_MAX + 1] = { 0 }, mark[ID_SHORT_SIZE + 2] = "-";

	id_format_short(mark + 1, version);
	const char *start = strlen(name) > 17 ? name + 17 : name;
	const char *end = strstr(start, mark);
	memcpy(author, start, end ? (size_t)(end - start) : strlen(start));
	text_put_visible(out, author);
}

static void put_parents(struct bytes *out, const struct version *version)
{
	if (version->parent_count == 0)
		bytes_put_text(out, "-");
	for (uint32_t i = 0; i < version->parent_count; i++) {
		if (i > 0)
			bytes_put_text(out, ",");
		text_put_short(out, &version->parents[i]);
	}
}

static int put_history_line(void *context, const struct version_row *row, uint64_t index)
{
	struct history *h = context;
	struct bytes *out = h->out;
	char name[VERSION_NAME_MAX + 1];
	struct votes votes;

	if (text_is_full(out))
		return 1;
	int err = document_version_name(h->c->txn, row, h->c->node->name, NULL, name);
	if (err == 0)
		err = document_version(h->c->txn, &row->id, &h->version);
	if (err == 0)
		err = votes_count(h->c->txn, &row->id, &votes);
	if (err == 0)
		err = find_support(h, &row->document);
	if (err < 0)
		return err;
	bool is_head = has_id(h->heads, h->head_count, &row->id), is_leaf = document_is_leaf(h->c->txn, row->number);
	text_put_visible(out, name);
	bytes_put_text(out, "\t");
	put_author(out, name, &row->id);
	bytes_put_text(out, "\t");
	put_parents(out, &h->version);
	bytes_put_format(out, "\t%" PRIu64 "\t%" PRId64 "\t%u\t%s\n", row->size,
			 (int64_t)votes.keep - (int64_t)votes.delete, count_support(h, &row->id),
			 is_head && is_leaf ? "head,leaf" : is_head ? "head" : is_leaf ? "leaf" : "-");
	return bytes_error(out);
}

int history_read(struct control_call *c, struct bytes *out)
{
	const struct control_node *node = c->node;
	CLEANUP(history_free) struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->c = c;
	h->out = out;
	int heads = call_heads(c, h->heads, HEADS_MAX);
	if (heads < 0)
		return heads;
	h->head_count = (size_t)heads;
	int result = document_each(c->txn, &node->person, &node->directory, node->name, 0, put_history_line, h);
	for (size_t i = 0; result == 0 && i < c->save_count; i++) {
		if (text_is_full(out))
			break;
		put_draft_name(c, i, out);
		bytes_put_format(out, "\tme\t-\t%" PRIu64 "\t0\t0\tdraft\n", c->saves[i].content.size);
	}
	return result < 0 ? result : 0;
}

/* ---- vote, subscribe ---- */

/* What is voted on and followed: the document that stands here, else the last that did. -ENOENT: none is signed. */
static int subject(struct control_call *c, struct id *out)
{
	const struct control_node *node = c->node;
	struct tree_document documents[16];
	struct version_row row;
	struct id head;

	int count = call_heads(c, &head, 1);
	if (count < 0)
		return count;
	if (count > 0) {
		int err = document_version_row(c->txn, &head, &row);
		if (err == 0)
			*out = row.document;
		return err;
	}
	if (c->save_count > 0)
		return -ENOENT;
	count = tree_documents(c->txn, &node->person, &node->directory, node->name, documents, 16);
	if (count <= 0)
		return count < 0 ? count : -ENOENT;
	const struct tree_document *newest = &documents[0];
	for (int i = 1; i < count && i < 16; i++)
		if (documents[i].last_ms > newest->last_ms)
			newest = &documents[i];
	*out = newest->document;
	return 0;
}

static int own_subject(struct control_call *c, struct id *out)
{
	int err = subject(c, out);

	return err == -ENOENT ? why_set(c->why, -EAGAIN, NOT_SIGNED) : err;
}

static const char *const vote_names[] = { [VOTE_NONE] = "none", [VOTE_KEEP] = "keep", [VOTE_DELETE] = "delete" };

int vote_read(struct control_call *c, struct bytes *out)
{
	struct votes votes = { 0 };
	struct id document;

	int err = subject(c, &document);
	if (err == 0)
		err = votes_count(c->txn, &document, &votes);
	if (err < 0 && err != -ENOENT)
		return err;
	bytes_put_format(out, "%s\n# keep %" PRIu64 ", delete %" PRIu64 "\n", vote_names[votes.own], votes.keep,
			 votes.delete);
	return 0;
}

struct vote_statement {
	struct id object;
	enum vote vote;
};

static void fill_vote(struct record *record, const void *context)
{
	const struct vote_statement *statement = context;

	record->vote.object = statement->object;
	record->vote.vote = statement->vote;
}

int vote_write(struct control_call *c, const char *text, size_t size)
{
	struct vote_statement statement = { .vote = VOTE_NONE };
	uint64_t said = VOTE_NONE;
	unsigned i = 0;

	while (i < 3 && strcmp(text, vote_names[i]) != 0)
		i++;
	if (i == 3)
		return why_set(c->why, -EINVAL, "`%s` is no vote; write %s", text, c->node->row->takes);
	statement.vote = (enum vote)i;
	int err = own_subject(c, &statement.object);
	if (err == 0)
		err = person_said(c->txn, &c->self, FIELD_VOTE, &statement.object, &said);
	if (err < 0 && err != -ENOENT)
		return err;
	return said == i ? 0 : control_sign(c, FIELD_VOTE, fill_vote, &statement);
}

int subscribe_read(struct control_call *c, struct bytes *out)
{
	struct id document;
	uint64_t on = 0;

	int err = subject(c, &document);
	if (err == 0)
		err = person_said(c->txn, &c->self, FIELD_SUBSCRIBE, &document, &on);
	if (err < 0 && err != -ENOENT)
		return err;
	bytes_put_text(out, on ? "1\n" : "0\n");
	return 0;
}

int subscribe_write(struct control_call *c, const char *text, size_t size)
{
	bool on = strcmp(text, "1") == 0;
	struct id document;
	uint64_t said = 0;

	if (!on && strcmp(text, "0") != 0)
		return why_set(c->why, -EINVAL, "`%s` is neither 1 nor 0; write %s", text, c->node->row->takes);
	int err = own_subject(c, &document);
	if (err == 0)
		err = person_said(c->txn, &c->self, FIELD_SUBSCRIBE, &document, &said);
	if (err < 0 && err != -ENOENT)
		return err;
	return (said != 0) == on ? 0 : network_subscribe(c, SUBJECT_DOCUMENT, &document, on);
}
