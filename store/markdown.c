#include "markdown.h"

#include <cmark.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "id.h"
#include "utf8.h"

#define PARSE_OPTIONS CMARK_OPT_VALIDATE_UTF8
#define RENDER_OPTIONS CMARK_OPT_DEFAULT /* without CMARK_OPT_UNSAFE: no raw HTML, no dangerous URLs */

#define TITLE_SIZE_MAX 200
#define FRONT_SIZE_MAX (16 * 1024)

static const char page_head[] =
	"<!DOCTYPE html>\n"
	"<html>\n"
	"<head>\n"
	"<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"referrer\" content=\"no-referrer\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"
	" img-src * data: file:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n";

static const char page_style[] =
	"<style>\n"
	":root { color-scheme: light dark; --text: #1c1c1c; --faint: #666; --back: #fff; --box: #f3f3f1; --link: #0b57a4 }\n"
	"@media (prefers-color-scheme: dark) {\n"
	"  :root { --text: #ddd; --faint: #999; --back: #181a1b; --box: #26292b; --link: #7ab4f0 }\n"
	"}\n"
	"body { max-width: 42rem; margin: 2rem auto; padding: 0 1rem; color: var(--text); background: var(--back);\n"
	"  font: 1.06rem/1.6 system-ui, sans-serif; overflow-wrap: break-word }\n"
	"a { color: var(--link) }\n"
	"img { max-width: 100% }\n"
	"h1, h2, h3 { line-height: 1.25 }\n"
	"code, pre { font: 0.92em/1.45 ui-monospace, monospace; background: var(--box) }\n"
	"pre { padding: 0.8rem; overflow-x: auto }\n"
	"blockquote { margin-inline: 0; padding-inline-start: 1rem; border-inline-start: 3px solid var(--faint) }\n"
	"footer { margin-top: 3rem; border-top: 1px solid var(--box); color: var(--faint); font-size: 0.85rem;\n"
	"  white-space: pre-line }\n"
	"</style>\n";

/* A text in two parts: the `key: value` lines that many tools put between two `---` at the top, and the Markdown. */
struct document_text {
	struct span front; /* without the `---` lines; empty if there is none */
	struct span body;
};

static void node_free(cmark_node **node)
{
	if (*node)
		cmark_node_free(*node);
}

static void iter_free(cmark_iter **iter)
{
	if (*iter)
		cmark_iter_free(*iter);
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t size = strlen(name);
	size_t suffix_size = strlen(suffix);

	return size >= suffix_size && !strcasecmp(name + size - suffix_size, suffix);
}

bool markdown_is(const char *name, const void *text, size_t size)
{
	if (ends_with(name, ".md") || ends_with(name, ".markdown"))
		return true;
	return !size || (!memchr(text, 0, size) && utf8_valid(text, size));
}

/* The size of the line at `at`, its newline included. */
static size_t line_size(const char *at, size_t left)
{
	const char *newline = memchr(at, '\n', left);

	return newline ? (size_t)(newline - at) + 1 : left;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* True for `---` alone on its line. */
static bool is_fence(const char *line, size_t size)
{
	while (size && is_space(line[size - 1]))
		size--;
	return size == 3 && !memcmp(line, "---", 3);
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* True for `key: …`, as the first line of front matter has it. */
static bool is_key_line(const char *line, size_t size)
{
	size_t at = 0;

	while (at < size && (is_letter(line[at]) || is_digit(line[at]) || line[at] == '_' || line[at] == '-'))
		at++;
	return at && at < size && line[at] == ':';
}

static struct document_text split_front(const void *text, size_t size)
{
	struct document_text whole = { .body = { size ? text : "", size } };
	const char *at = whole.body.data;
	size_t limit = size < FRONT_SIZE_MAX ? size : FRONT_SIZE_MAX;
	size_t start = line_size(at, limit);

	if (!is_fence(at, start) || !is_key_line(at + start, limit - start))
		return whole;
	for (size_t end = start, next; end < limit; end = next) {
		next = end + line_size(at + end, limit - end);
		if (!is_fence(at + end, next - end))
			continue;
		if (memchr(at, 0, end) || !utf8_valid(at, end))
			return whole;
		return (struct document_text){ { at + start, end - start }, { at + next, size - next } };
	}
	return whole;
}

/*
 * What a text costs cmark 0.30 beyond its size, so that what would take minutes or gigabytes is refused beforehand:
 * a blank line takes a step for each list it may stand in, a `]` one for each `![` before it in its paragraph, and
 * everything that may become a node takes up to 370 bytes. The bounds are about a second and 50 MB.
 */
#define STEPS_MAX (1u << 24)
#define MARKS_MAX (1u << 17)

struct burden {
	size_t depth; /* no more lists and quotes than this are open */
	size_t images; /* `![` in this paragraph */
	size_t steps, marks;
	bool after_blank;
};

static bool may_be_mark(char c)
{
	return c && strchr("*_[]!`<&\\", c);
}

/* Counts one line, without its end. */
static void burden_add(struct burden *b, const char *line, size_t size)
{
	size_t at = 0, columns = 0, markers = 0, quotes = 0;

	/* Each list and quote that a line opens or goes on with takes at least a column before its words. */
	for (; at < size && line[at] && strchr(" \t>-+*.)0123456789", line[at]); at++) {
		columns += line[at] == '\t' ? 4 : 1;
		markers += line[at] != ' ' && line[at] != '\t';
		quotes += line[at] == '>';
	}
	bool blank = at == size && !markers;
	if (!blank && (columns > b->depth || b->after_blank))
		b->depth = columns;
	if (at == size && markers == quotes)
		b->steps += b->depth;
	b->after_blank = blank;
	b->marks += 1 + markers;
	/* Where a paragraph surely ends. */
	if (blank || line[0] == '#' || (size > 1 && line[1] == ' ' && (line[0] == '-' || line[0] == '+' || line[0] == '*')))
		b->images = 0;

	for (; at < size; at++) {
		b->marks += may_be_mark(line[at]);
		b->images += line[at] == '!' && at + 1 < size && line[at + 1] == '[';
		if (line[at] == ']')
			b->steps += b->images;
	}
}

static bool is_bearable(struct span text)
{
	struct burden burden = { 0 };
	const char *at = text.data;

	for (size_t left = text.size; left;) {
		size_t size = 0;
		while (size < left && at[size] != '\n' && at[size] != '\r')
			size++;
		burden_add(&burden, at, size);
		if (size < left)
			size += size + 1 < left && at[size] == '\r' && at[size + 1] == '\n' ? 2 : 1;
		at += size;
		left -= size;
	}
	return burden.steps <= STEPS_MAX && burden.marks <= MARKS_MAX;
}

/* cmark aborts where memory ends, and counts in int. */
static int parse(struct span text, cmark_node **out_root)
{
	if (text.size > MARKDOWN_SIZE_MAX || !is_bearable(text))
		return -EMSGSIZE;
	*out_root = cmark_parse_document(text.data, text.size, PARSE_OPTIONS);
	return *out_root ? 0 : -ENOMEM;
}

/* What stands outside of tags. */
static void put_html_words(struct bytes *out, const char *html)
{
	while (*html) {
		size_t words = strcspn(html, "<");
		bytes_put(out, html, words);
		html += words;
		if (!*html)
			break;
		bytes_put(out, " ", 1);
		html += strcspn(html, ">");
		if (*html)
			html++;
	}
}

/* What one step of the iterator adds to the plain text. */
static void put_plain(struct bytes *out, cmark_event_type event, cmark_node *node)
{
	cmark_node_type type = cmark_node_get_type(node);

	if (event == CMARK_EVENT_EXIT) {
		if (type == CMARK_NODE_PARAGRAPH || type == CMARK_NODE_HEADING)
			bytes_put(out, "\n", 1);
		return;
	}
	if (type == CMARK_NODE_SOFTBREAK || type == CMARK_NODE_LINEBREAK) {
		bytes_put(out, "\n", 1);
		return;
	}

	const char *literal = cmark_node_get_literal(node);
	if (!literal)
		return;
	if (type == CMARK_NODE_HTML_BLOCK)
		put_html_words(out, literal);
	else if (type != CMARK_NODE_HTML_INLINE)
		bytes_put_text(out, literal);
}

int markdown_plain(const void *text, size_t size, struct bytes *out)
{
	CLEANUP(node_free) cmark_node *root = NULL;
	CLEANUP(iter_free) cmark_iter *iter = NULL;
	struct document_text parts = split_front(text, size);

	int err = parse(parts.body, &root);
	if (err < 0)
		return err;
	iter = cmark_iter_new(root);
	if (!iter)
		return -ENOMEM;

	bytes_put(out, parts.front.data, parts.front.size);
	for (cmark_event_type event; (event = cmark_iter_next(iter)) != CMARK_EVENT_DONE;)
		put_plain(out, event, cmark_iter_get_node(iter));
	return bytes_error(out);
}

static bool is_blank(uint8_t c)
{
	return c <= ' ' || c == 0x7f;
}

/* One line: runs of white space and control characters become one space, none at the ends. */
static void put_title(struct bytes *out, struct span text)
{
	const uint8_t *at = text.data;
	uint8_t title[TITLE_SIZE_MAX + 1];
	size_t size = 0;

	for (size_t i = 0; i < text.size && size < sizeof(title); i++) {
		if (!is_blank(at[i]))
			title[size++] = at[i];
		else if (size && title[size - 1] != ' ')
			title[size++] = ' ';
	}
	if (size > TITLE_SIZE_MAX) {
		/* Not in the middle of a character. */
		while (size > 1 && (title[size - 1] & 0xc0) == 0x80)
			size--;
		size--;
	}
	while (size && title[size - 1] == ' ')
		size--;
	bytes_put(out, title, size);
}

/* The value of `title:` in front matter, without its quotes. */
static struct span front_title(struct span front)
{
	static const char key[] = "title:";
	const char *at = front.data;
	size_t left = front.size;

	while (left) {
		size_t size = line_size(at, left);
		if (size >= sizeof(key) && !strncasecmp(at, key, sizeof(key) - 1)) {
			const char *value = at + sizeof(key) - 1;
			const char *end = at + size;
			while (value < end && is_blank((uint8_t)*value))
				value++;
			while (value < end && is_blank((uint8_t)end[-1]))
				end--;
			if (end - value >= 2 && strchr("\"'", *value) && end[-1] == *value) {
				value++;
				end--;
			}
			return (struct span){ value, (size_t)(end - value) };
		}
		at += size;
		left -= size;
	}
	return (struct span){ 0 };
}

static bool has_words(const struct bytes *text)
{
	for (size_t i = 0; i < text->size; i++)
		if (!is_blank(text->data[i]))
			return true;
	return false;
}

/* The first heading that has words; with `headings` false, the first line that has. */
static int find_title(cmark_node *root, bool headings, struct bytes *found)
{
	CLEANUP(iter_free) cmark_iter *iter = cmark_iter_new(root);
	bool inside = !headings;

	if (!iter)
		return -ENOMEM;
	for (cmark_event_type event; (event = cmark_iter_next(iter)) != CMARK_EVENT_DONE;) {
		cmark_node *node = cmark_iter_get_node(iter);
		bool is_heading = cmark_node_get_type(node) == CMARK_NODE_HEADING;
		size_t before = found->size;

		if (headings && is_heading)
			inside = event == CMARK_EVENT_ENTER;
		if (inside)
			put_plain(found, event, node);
		bool ended = headings ? is_heading && !inside
				      : found->size > before && memchr(found->data + before, '\n', found->size - before);
		if (!ended)
			continue;
		if (has_words(found))
			break;
		bytes_clear(found);
	}
	return bytes_error(found);
}

/* The first line of `text` that has more than white space. */
static struct span first_line(const struct bytes *text)
{
	size_t start = 0;

	while (start < text->size && is_blank(text->data[start]))
		start++;
	if (start == text->size)
		return (struct span){ 0 };
	const char *line = (const char *)text->data + start;
	return (struct span){ line, line_size(line, text->size - start) };
}

int markdown_title(const void *text, size_t size, struct bytes *out)
{
	CLEANUP(node_free) cmark_node *root = NULL;
	CLEANUP(bytes_finish) struct bytes found;
	struct document_text parts = split_front(text, size);
	struct span title = front_title(parts.front);

	/* An invalid byte becomes a character of three. */
	bytes_init(&found, 4 * (size_t)MARKDOWN_SIZE_MAX);
	if (title.size) {
		put_title(out, title);
		return bytes_error(out);
	}

	int err = parse(parts.body, &root);
	if (err < 0)
		return err;
	err = find_title(root, true, &found);
	if (err < 0)
		return err;
	if (has_words(&found)) {
		put_title(out, (struct span){ found.data, found.size });
		return bytes_error(out);
	}

	bytes_clear(&found);
	err = find_title(root, false, &found);
	if (err < 0)
		return err;
	put_title(out, first_line(&found));
	return bytes_error(out);
}

int markdown_links(const void *text, size_t size,
		   int (*visit)(void *context, const char *url, const char *title, bool is_image), void *context)
{
	CLEANUP(node_free) cmark_node *root = NULL;
	CLEANUP(iter_free) cmark_iter *iter = NULL;

	int err = parse(split_front(text, size).body, &root);
	if (err < 0)
		return err;
	iter = cmark_iter_new(root);
	if (!iter)
		return -ENOMEM;

	for (cmark_event_type event; (event = cmark_iter_next(iter)) != CMARK_EVENT_DONE;) {
		cmark_node *node = cmark_iter_get_node(iter);
		cmark_node_type type = cmark_node_get_type(node);

		if (event != CMARK_EVENT_ENTER || (type != CMARK_NODE_LINK && type != CMARK_NODE_IMAGE))
			continue;
		const char *url = cmark_node_get_url(node);
		const char *title = cmark_node_get_title(node);
		int stop = visit(context, url ? url : "", title ? title : "", type == CMARK_NODE_IMAGE);
		if (stop)
			return stop;
	}
	return 0;
}

/* RFC 3986 section 3.1. */
static bool has_scheme(const char *url)
{
	size_t at = 0;

	if (!is_letter(url[0]))
		return false;
	while (is_letter(url[at]) || is_digit(url[at]) || (url[at] && strchr("+-.", url[at])))
		at++;
	return url[at] == ':';
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* RFC 3986 section 2.1. A `%` that begins no escape stands for itself. */
static void put_decoded(struct bytes *out, const char *segment, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		int high = size - i > 2 && segment[i] == '%' ? hex_value(segment[i + 1]) : -1;
		int low = high >= 0 ? hex_value(segment[i + 2]) : -1;

		if (low >= 0) {
			bytes_put_u8(out, (uint8_t)(high << 4 | low));
			i += 2;
		} else {
			bytes_put_u8(out, (uint8_t)segment[i]);
		}
	}
}

/* Takes the last name off the path that begins at `start`. -ENOENT: there is none. */
static int drop_name(struct bytes *path, size_t start)
{
	if (path->size == start)
		return -ENOENT;
	while (path->size > start && path->data[path->size - 1] != '/')
		path->size--;
	if (path->size > start)
		path->size--;
	return 0;
}

/* Adds one segment of a URL to the path that begins at `start` (RFC 3986 section 5.2.4). */
static int add_segment(struct bytes *path, size_t start, const char *segment, size_t size)
{
	size_t before = path->size;

	if (!size)
		return 0;
	if (before > start)
		bytes_put(path, "/", 1);
	size_t name_start = path->size;
	put_decoded(path, segment, size);
	if (bytes_error(path) < 0)
		return bytes_error(path);

	const uint8_t *name = path->data + name_start;
	size_t name_size = path->size - name_start;
	bool dots = name_size <= 2 && name[0] == '.' && name[name_size - 1] == '.';
	if (dots) {
		path->size = before;
		return name_size == 2 ? drop_name(path, start) : 0;
	}
	if (memchr(name, '/', name_size) || memchr(name, 0, name_size) || !utf8_valid(name, name_size))
		return -ENOENT;
	return 0;
}

static int put_resolved(const char *document_path, const char *url, struct bytes *out)
{
	size_t start = out->size;
	const char *slash = strrchr(document_path, '/');

	if (has_scheme(url) || url[0] == '/' || !strcspn(url, "?#"))
		return -ENOENT;
	if (slash)
		bytes_put(out, document_path, (size_t)(slash - document_path));
	for (const char *end = url + strcspn(url, "?#"); url < end;) {
		size_t size = strcspn(url, "/?#");
		int err = add_segment(out, start, url, size);
		if (err < 0)
			return err;
		url += size;
		if (url < end)
			url++;
	}
	return out->size > start ? bytes_error(out) : -ENOENT;
}

int markdown_resolve(const char *document_path, const char *url, struct bytes *out)
{
	size_t start = out->size;
	int err = put_resolved(document_path, url, out);

	if (err < 0)
		out->size = start;
	return err;
}

static void put_escaped(struct bytes *out, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		switch (text[i]) {
		case '&':
			bytes_put_text(out, "&amp;");
			break;
		case '<':
			bytes_put_text(out, "&lt;");
			break;
		case '>':
			bytes_put_text(out, "&gt;");
			break;
		case '"':
			bytes_put_text(out, "&quot;");
			break;
		default:
			bytes_put(out, text + i, 1);
		}
	}
}

void markdown_escape(struct bytes *out, const char *text)
{
	put_escaped(out, text, strlen(text));
}

int markdown_page(const char *title, const void *text, size_t size, const char *note, struct bytes *out)
{
	CLEANUP(node_free) cmark_node *root = NULL;
	CLEANUP(cleanup_free) char *html = NULL;
	struct document_text parts = split_front(text, size);

	int err = parse(parts.body, &root);
	if (err < 0)
		return err;
	html = cmark_render_html(root, RENDER_OPTIONS);
	if (!html)
		return -ENOMEM;

	bytes_put_text(out, page_head);
	bytes_put_text(out, "<title>");
	markdown_escape(out, title);
	bytes_put_text(out, "</title>\n");
	bytes_put_text(out, page_style);
	bytes_put_text(out, "</head>\n<body>\n<main dir=\"auto\">\n");
	if (parts.front.size) {
		bytes_put_text(out, "<pre>");
		put_escaped(out, parts.front.data, parts.front.size);
		bytes_put_text(out, "</pre>\n");
	}
	bytes_put_text(out, html);
	bytes_put_text(out, "</main>\n");
	if (note) {
		bytes_put_text(out, "<footer>");
		markdown_escape(out, note);
		bytes_put_text(out, "</footer>\n");
	}
	bytes_put_text(out, "</body>\n</html>\n");
	return bytes_error(out);
}
