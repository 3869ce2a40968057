/*
 * page.html, and links: what a document links to, and what of the same person links to it.
 *
 * Who links here is found by reading the person's documents, up to a bound: the answer says when it was cut.
 */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "cleanup.h"
#include "control_private.h"
#include "markdown.h"
#include "utf8.h"

#define LINKS_DOCUMENTS_MAX 10000 /* read for links to this one */
#define LINKS_TEXT_MAX 65536      /* of each */
#define LINKS_PATH_MAX 8192
#define LINKS_MAX 10000           /* listed */

/* ---- page.html ---- */

static void put_plain_page(struct bytes *out, const char *title, const char *sentence)
{
	bytes_put_text(out, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
	markdown_escape(out, title);
	bytes_put_text(out, "</title></head>\n<body><p>");
	markdown_escape(out, sentence);
	bytes_put_text(out, "</p></body></html>\n");
}

static int put_page(struct control_call *c, const struct version_row *row, const struct bytes *text, struct bytes *out)
{
	CLEANUP(bytes_finish) struct bytes title;
	CLEANUP(bytes_finish) struct bytes note;
	char version[VERSION_NAME_MAX + 1];
	int err = 0;

	bytes_init(&title, 4096);
	bytes_init(&note, 4096);
	if (markdown_title(text->data, text->size, &title) < 0 || title.size == 0) {
		bytes_clear(&title);
		bytes_put_text(&title, c->node->name);
	}
	bytes_put(&title, "", 1);
	bytes_put_text(&note, c->node->name);
	if (!id_is_zero(&row->id)) {
		err = document_version_name(c->txn, row, c->node->name, NULL, version);
		bytes_put_text(&note, ", version ");
		bytes_put_text(&note, err == 0 ? version : "");
	} else {
		bytes_put_text(&note, ", not signed yet");
	}
	bytes_put(&note, "", 1);
	if (bytes_error(&title) < 0 || bytes_error(&note) < 0)
		return -ENOMEM;
	return err < 0 ? err : markdown_page((const char *)title.data, text->data ? (const char *)text->data : "",
					     text->size, (const char *)note.data, out);
}

int html_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(bytes_finish) struct bytes text;
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));
	struct version_row row;

	bytes_init(&text, MARKDOWN_SIZE_MAX);
	if (!content)
		return -ENOMEM;
	int err = call_current(c, content, &row);
	if (err == 0)
		err = text_read(c->host, content, MARKDOWN_SIZE_MAX, &text);
	bool is_markdown = err == 0 && markdown_is(c->node->name, text.data ? text.data : (uint8_t *)"", text.size);
	if (is_markdown)
		err = put_page(c, &row, &text, out);
	if (err == -ENOENT)
		put_plain_page(out, c->node->name, "Nothing stands here: the document was removed.");
	else if (err == -EFBIG || err == -EMSGSIZE)
		put_plain_page(out, c->node->name, "The document is too large to be rendered.");
	else if (err == 0 && !is_markdown)
		put_plain_page(out, c->node->name, "The document is not text.");
	else
		return err;
	return 0;
}

/* ---- links to others ---- */

struct place { /* a directory of the person, still to be looked at; or a document in it */
	struct place *prev, *next;
	struct id directory; /* itself, or the document's slot */
	char name[NAME_SIZE_MAX + 1];
	char *path;          /* from the person's root, as it shows */
};

struct links {
	struct control_call *c;
	struct bytes *out;
	char *path;              /* of this document */
	const char *of;          /* of the document whose links are looked at */
	size_t count;
	struct bytes listed;     /* paths, each with its NUL: told already */
	struct place *folders, *documents;
	size_t document_count;
	bool cut;
};

static bool is_listed(const struct links *l, const char *path)
{
	const char *at = (const char *)l->listed.data, *end = at ? at + l->listed.size : NULL;

	for (; at < end; at += strlen(at) + 1)
		if (strcmp(at, path) == 0)
			return true;
	return false;
}

/* Does something of this person show at a path below their root? 1, 0 or an error. */
static int path_exists(struct control_call *c, const char *path)
{
	struct id directory = c->node->person;
	struct desk_item item;

	for (;;) {
		char name[SHOWN_NAME_MAX + 1];
		size_t size = strcspn(path, "/");
		if (size == 0 || size >= sizeof(name))
			return 0;
		memcpy(name, path, size);
		name[size] = '\0';
		int err = desk_lookup(c->host->desk, &c->node->person, &directory, name, &item);
		if (err < 0)
			return err == -ENOENT ? 0 : err;
		if (path[size] == '\0')
			return 1;
		if (item.what != WHAT_DIRECTORY)
			return 0;
		directory = item.id;
		path += size + 1;
	}
}

static void put_link(struct links *l, const char *direction, const char *path, const char *remark)
{
	bytes_put_text(l->out, direction);
	text_put_visible(l->out, path);
	bytes_put_text(l->out, remark);
	bytes_put_text(l->out, "\n");
	bytes_put(&l->listed, path, strlen(path) + 1);
	l->count++;
}

static int resolve(const char *of, const char *url, struct bytes *out)
{
	bytes_clear(out);
	int err = markdown_resolve(of, url, out);
	if (err == 0)
		bytes_put(out, "", 1);
	return err == 0 ? bytes_error(out) : err;
}

static int link_to(void *context, const char *url, const char *title, bool is_image)
{
	CLEANUP(bytes_finish) struct bytes path;
	struct links *l = context;

	bytes_init(&path, LINKS_PATH_MAX);
	int err = resolve(l->path, url, &path);
	if (err < 0)
		return err == -ENOMEM ? err : 0;
	if (is_listed(l, (const char *)path.data))
		return 0;
	int exists = path_exists(l->c, (const char *)path.data);
	if (exists < 0)
		return exists;
	if (l->count >= LINKS_MAX || text_is_full(l->out)) {
		l->cut = true;
		return 1;
	}
	put_link(l, "to\t", (const char *)path.data, exists ? "" : "\tnothing is there");
	return 0;
}

/* ---- links from others ---- */

static struct place *place_new(const char *path, const char *name, const struct id *directory)
{
	struct place *place = calloc(1, sizeof(*place));
	size_t size = strlen(path) + 1 + strlen(name) + 1;

	if (!place)
		return NULL;
	place->directory = *directory;
	place->path = malloc(size);
	if (!place->path) {
		free(place);
		return NULL;
	}
	strcpy(place->path, path);
	if (path[0])
		strcat(place->path, "/");
	strcat(place->path, name);
	return place;
}

static void place_free(struct place *place)
{
	free(place->path);
	free(place);
}

static int note_item(void *context, const struct desk_item *item)
{
	struct links *l = context;

	if (item->what == WHAT_VERSION && l->document_count == LINKS_DOCUMENTS_MAX) {
		l->cut = true;
		return 1;
	}
	struct place *place = place_new(l->of, item->name, item->what == WHAT_DIRECTORY ? &item->id : &item->directory);
	if (!place)
		return -ENOMEM;
	if (item->what == WHAT_DIRECTORY) {
		DL_APPEND(l->folders, place);
		return 0;
	}
	memcpy(place->name, item->slot_name, sizeof(place->name));
	if (id_equal(&item->directory, &l->c->node->directory) && strcmp(item->slot_name, l->c->node->name) == 0) {
		free(l->path); /* as it shows, also where its folder is not signed yet */
		l->path = place->path;
		place->path = NULL;
		place_free(place);
		return l->path ? 0 : -ENOMEM;
	}
	DL_APPEND(l->documents, place);
	l->document_count++;
	return 0;
}

/* All documents of the person, as they show. */
static int collect(struct links *l)
{
	int result = 0;

	struct place *root = place_new("", "", &l->c->node->person);
	if (!root)
		return -ENOMEM;
	DL_APPEND(l->folders, root);
	while (l->folders && result == 0) {
		struct place *folder = l->folders;
		DL_DELETE(l->folders, folder);
		l->of = folder->path;
		result = desk_each(l->c->host->desk, &l->c->node->person, &folder->directory, 0, note_item, l);
		place_free(folder);
	}
	return result < 0 ? result : 0;
}

static int is_link_here(void *context, const char *url, const char *title, bool is_image)
{
	CLEANUP(bytes_finish) struct bytes path;
	struct links *l = context;

	bytes_init(&path, LINKS_PATH_MAX);
	int err = resolve(l->of, url, &path);
	if (err < 0)
		return err == -ENOMEM ? err : 0;
	return strcmp((const char *)path.data, l->path) == 0;
}

/* A name of plain letters stands in a text that links to it as it is; others may be written in several ways. */
static bool may_link(const struct bytes *text, const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	size_t size = strlen(name);

	return strspn(name, plain) != size || memmem(text->data, text->size, name, size) != NULL;
}

static int read_head(struct control_call *c, const struct place *place, struct bytes *out)
{
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));
	CLEANUP(cleanup_free) struct desk_save *saves = NULL;
	struct control_call other = *c;
	struct control_node node;

	if (!content)
		return -ENOMEM;
	control_node_document(&node, &c->node->person, &place->directory, place->name);
	other.node = &node;
	other.save_count = 0;
	int count = desk_saves(c->host->desk, &node.directory, node.name, NULL, 0);
	if (count > 0) {
		other.saves = saves = calloc((size_t)count, sizeof(*saves));
		if (!saves)
			return -ENOMEM;
		int got = desk_saves(c->host->desk, &node.directory, node.name, saves, (size_t)count);
		other.save_count = (size_t)(got < count ? got : count);
	}
	int err = call_current(&other, content, NULL);
	if (err == 0 && content->size > LINKS_TEXT_MAX)
		err = -EFBIG;
	return err < 0 ? err : text_read(c->host, content, LINKS_TEXT_MAX, out);
}

static int look_at(struct links *l, const struct place *place, struct bytes *text)
{
	const char *slash = strrchr(l->path, '/');

	bytes_clear(text);
	int err = read_head(l->c, place, text);
	if (err < 0) {
		l->cut = l->cut || err == -EFBIG;
		return err == -ENOMEM ? err : 0;
	}
	if (text->size == 0 || !may_link(text, slash ? slash + 1 : l->path) ||
	    !markdown_is(place->path, text->data, text->size))
		return 0;
	l->of = place->path;
	int found = markdown_links(text->data, text->size, is_link_here, l);
	if (found > 0)
		put_link(l, "from\t", place->path, "");
	return found == -ENOMEM ? found : 0;
}

static int find_backward(struct links *l)
{
	CLEANUP(bytes_finish) struct bytes text;
	struct place *place;
	int err = 0;

	bytes_init(&text, LINKS_TEXT_MAX);
	DL_FOREACH(l->documents, place) {
		if (l->count >= LINKS_MAX || text_is_full(l->out)) {
			l->cut = true;
			break;
		}
		err = look_at(l, place, &text);
		if (err < 0)
			break;
	}
	return err;
}

static int find_forward(struct links *l)
{
	CLEANUP(bytes_finish) struct bytes text;
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));

	bytes_init(&text, MARKDOWN_SIZE_MAX);
	if (!content)
		return -ENOMEM;
	int err = call_current(l->c, content, NULL);
	if (err == 0)
		err = text_read(l->c->host, content, MARKDOWN_SIZE_MAX, &text);
	if (err == 0 && text.size > 0 && markdown_is(l->c->node->name, text.data, text.size))
		err = markdown_links(text.data, text.size, link_to, l);
	l->cut = l->cut || err == -EFBIG || err == -EMSGSIZE;
	return err == -ENOENT || err == -EFBIG || err == -EMSGSIZE ? 0 : err;
}

static int own_path(struct links *l)
{
	const struct control_node *node = l->c->node;
	struct bytes path;
	size_t size;

	if (l->path)
		return 0;
	bytes_init(&path, LINKS_PATH_MAX);
	int err = text_put_path(&path, l->c->txn, &node->person, &node->directory, node->name);
	if (err == -ENOENT) {
		bytes_clear(&path);
		bytes_put_text(&path, node->name);
		err = 0;
	}
	bytes_put(&path, "", 1);
	l->path = (char *)bytes_take(&path, &size);
	bytes_finish(&path);
	return l->path ? err : -ENOMEM;
}

int links_read(struct control_call *c, struct bytes *out)
{
	struct links l = { .c = c, .out = out };
	struct place *place, *next;

	bytes_init(&l.listed, 16u * 1024 * 1024);
	int err = collect(&l);
	if (err == 0)
		err = own_path(&l);
	if (err == 0)
		err = find_forward(&l);
	if (err >= 0)
		err = find_backward(&l);
	if (err == 0 && l.cut)
		bytes_put_format(out, "# not all was looked at: only %d documents, and of them none over %d bytes\n",
				 LINKS_DOCUMENTS_MAX, LINKS_TEXT_MAX);
	DL_FOREACH_SAFE(l.documents, place, next)
		place_free(place);
	DL_FOREACH_SAFE(l.folders, place, next)
		place_free(place);
	bytes_finish(&l.listed);
	free(l.path);
	return err;
}
