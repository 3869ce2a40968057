#include "diff.h"

#include <errno.h>
#include <git2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* libgit2 calls larger texts binary. */
#define TEXT_SIZE_MAX (512u * 1024 * 1024)
/* The exact comparison of sentences takes quadratic time: longer regions clash as a whole. */
#define SENTENCES_MAX 4096

int diff_init(void)
{
	static const git_config_level_t levels[] = {
		GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL,
	};

	if (git_libgit2_init() < 0)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
		if (git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, (int)levels[i], "") < 0) {
			git_libgit2_shutdown();
			return -ENOMEM;
		}
	}
	return 0;
}

void diff_finish(void)
{
	git_libgit2_shutdown();
}

/* Nothing here but memory can be lacking; it does not always say so. */
static int error_of_git(void)
{
	return -ENOMEM;
}

static bool span_equal(struct span a, struct span b)
{
	return a.size == b.size && (!a.size || !memcmp(a.data, b.data, a.size));
}

/* Never NULL, so that it may be added to. */
static struct span span_of(const struct bytes *b)
{
	return (struct span){ b->data ? (const void *)b->data : "", b->size };
}

static bool is_text(struct span text)
{
	return !text.size || !memchr(text.data, 0, text.size);
}

/* --- unified diffs --- */

static bool must_quote(const char *name)
{
	for (; *name; name++)
		if ((uint8_t)*name < ' ' || *name == 0x7f || *name == '"' || *name == '\\')
			return true;
	return false;
}

/* A file name as git and GNU patch write and read it: in quotes with C escapes if it must. */
static void put_file(struct bytes *out, char letter, const char *name)
{
	if (!name) {
		bytes_put_text(out, "/dev/null");
		return;
	}
	if (!must_quote(name)) {
		bytes_put_format(out, "%c/%s", letter, name);
		return;
	}
	bytes_put_format(out, "\"%c/", letter);
	for (; *name; name++) {
		if ((uint8_t)*name < ' ' || *name == 0x7f)
			bytes_put_format(out, "\\%03o", (unsigned)(uint8_t)*name);
		else if (*name == '"' || *name == '\\')
			bytes_put_format(out, "\\%c", *name);
		else
			bytes_put(out, name, 1);
	}
	bytes_put_text(out, "\"");
}

static void put_header(struct bytes *out, const char *mark, char letter, const char *name)
{
	bytes_put_text(out, mark);
	put_file(out, letter, name);
	/* The tab ends a name that has spaces in it. */
	bytes_put_text(out, name && strchr(name, ' ') ? "\t\n" : "\n");
}

struct unified {
	const struct diff_side *before, *after;
	struct bytes *out;
	bool started;
};

/* As diff(1) does: a count of one is left out. */
static void put_range(struct bytes *out, const char *mark, int start, int lines)
{
	bytes_put_format(out, lines == 1 ? "%s%d" : "%s%d,%d", mark, start, lines);
}

static int put_hunk(const git_diff_delta *delta, const git_diff_hunk *hunk, void *payload)
{
	struct unified *u = payload;

	if (!u->started) {
		put_header(u->out, "--- ", 'a', u->before->name);
		put_header(u->out, "+++ ", 'b', u->after->name);
		u->started = true;
	}
	put_range(u->out, "@@ -", hunk->old_start, hunk->old_lines);
	put_range(u->out, " +", hunk->new_start, hunk->new_lines);
	bytes_put_text(u->out, " @@\n");
	return bytes_error(u->out);
}

static int put_line(const git_diff_delta *delta, const git_diff_hunk *hunk, const git_diff_line *line, void *payload)
{
	struct unified *u = payload;

	if (line->origin == GIT_DIFF_LINE_CONTEXT || line->origin == GIT_DIFF_LINE_ADDITION ||
	    line->origin == GIT_DIFF_LINE_DELETION)
		bytes_put(u->out, &line->origin, 1);
	bytes_put(u->out, line->content, line->content_len);
	return bytes_error(u->out);
}

int diff_unified(const struct diff_side *before, const struct diff_side *after, struct bytes *out)
{
	struct unified u = { .before = before, .after = after, .out = out };
	git_diff_options options;

	if (span_equal(before->text, after->text))
		return 0;
	if (!is_text(before->text) || !is_text(after->text)) {
		bytes_put_text(out, "Binary files ");
		put_file(out, 'a', before->name);
		bytes_put_text(out, " and ");
		put_file(out, 'b', after->name);
		bytes_put_text(out, " differ\n");
		return bytes_error(out);
	}
	if (before->text.size > TEXT_SIZE_MAX || after->text.size > TEXT_SIZE_MAX)
		return -EMSGSIZE;

	git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
	options.flags = GIT_DIFF_FORCE_TEXT;
	options.context_lines = 3;
	int err = git_diff_buffers(before->text.data, before->text.size, NULL, after->text.data, after->text.size, NULL,
				   &options, NULL, NULL, put_hunk, put_line, &u);
	if (bytes_error(out) < 0)
		return bytes_error(out);
	return err < 0 ? error_of_git() : 0;
}

/* --- merging: what clashes, written out --- */

/* Both sides of what was merged since the last place where a line ended on both. */
struct weave {
	const struct diff_side *sides[2];
	struct bytes pending[2];
	bool clash; /* the two differ */
	int clashes;
	struct bytes *out;
};

static bool ends_line(const struct bytes *text)
{
	return !text->size || text->data[text->size - 1] == '\n';
}

static struct span line_at(struct span text, size_t at)
{
	const char *line = (const char *)text.data + at;
	const char *newline = memchr(line, '\n', text.size - at);

	return (struct span){ line, newline ? (size_t)(newline - line) + 1 : text.size - at };
}

/* The size of the whole lines that both begin with. */
static size_t common_head(struct span a, struct span b)
{
	size_t head = 0;

	while (head < a.size && head < b.size) {
		struct span line = line_at(a, head);
		if (!span_equal(line, line_at(b, head)))
			break;
		head += line.size;
	}
	return head;
}

/* The size of the whole lines that both end with. */
static size_t common_tail(struct span a, struct span b)
{
	const char *a_end = (const char *)a.data + a.size;
	const char *b_end = (const char *)b.data + b.size;
	size_t tail = 0;

	for (size_t same = 0; same < a.size && same < b.size; same++) {
		if (a_end[-1 - (ptrdiff_t)same] != b_end[-1 - (ptrdiff_t)same])
			break;
		bool a_line = same + 1 == a.size || a_end[-2 - (ptrdiff_t)same] == '\n';
		bool b_line = same + 1 == b.size || b_end[-2 - (ptrdiff_t)same] == '\n';
		if (a_line && b_line)
			tail = same + 1;
	}
	return tail;
}

static void put_marker(struct bytes *out, const char *mark, const char *name, const char *newline)
{
	bytes_put_text(out, mark);
	if (name)
		bytes_put_text(out, " ");
	for (; name && *name; name++)
		bytes_put_u8(out, (uint8_t)*name < ' ' || *name == 0x7f ? ' ' : (uint8_t)*name);
	bytes_put_text(out, newline);
}

static void put_side(struct bytes *out, struct span text, const char *newline)
{
	bytes_put(out, text.data, text.size);
	if (text.size && ((const char *)text.data)[text.size - 1] != '\n')
		bytes_put_text(out, newline);
}

/* Conflict markers end as the lines between them do. */
static const char *newline_of(struct span a, struct span b)
{
	struct span line = a.size ? line_at(a, 0) : line_at(b, 0);
	const char *text = line.data;

	return line.size >= 2 && text[line.size - 2] == '\r' && text[line.size - 1] == '\n' ? "\r\n" : "\n";
}

static void put_clash(struct weave *w, struct span a, struct span b)
{
	const char *newline = newline_of(a, b);

	put_marker(w->out, "<<<<<<<", w->sides[0]->name, newline);
	put_side(w->out, a, newline);
	put_marker(w->out, "=======", NULL, newline);
	put_side(w->out, b, newline);
	put_marker(w->out, ">>>>>>>", w->sides[1]->name, newline);
	w->clashes++;
}

/* Writes out what is pending; where the sides differ, the lines that do between markers. */
static void weave_flush(struct weave *w)
{
	struct span a = span_of(&w->pending[0]);
	struct span b = span_of(&w->pending[1]);

	if (!w->clash || span_equal(a, b)) {
		bytes_put(w->out, a.data, a.size);
	} else {
		size_t head = common_head(a, b);
		bytes_put(w->out, a.data, head);
		a = (struct span){ (const char *)a.data + head, a.size - head };
		b = (struct span){ (const char *)b.data + head, b.size - head };
		size_t tail = common_tail(a, b);
		put_clash(w, (struct span){ a.data, a.size - tail }, (struct span){ b.data, b.size - tail });
		bytes_put(w->out, (const char *)a.data + a.size - tail, tail);
	}
	bytes_clear(&w->pending[0]);
	bytes_clear(&w->pending[1]);
	w->clash = false;
}

/* Adds what the sides have next: the same, or a clash. Flushes where lines end, for markers stand on lines of their own. */
static void weave_put(struct weave *w, struct span a, struct span b, bool clash)
{
	bytes_put(&w->pending[0], a.data, a.size);
	bytes_put(&w->pending[1], b.data, b.size);
	w->clash |= clash;
	if (ends_line(&w->pending[0]) && ends_line(&w->pending[1]))
		weave_flush(w);
}

static void weave_init(struct weave *w, const struct diff_side *ours, const struct diff_side *theirs, struct bytes *out)
{
	*w = (struct weave){ .sides = { ours, theirs }, .out = out };
	bytes_init(&w->pending[0], out->size_max);
	bytes_init(&w->pending[1], out->size_max);
}

static int weave_error(const struct weave *w)
{
	int err = bytes_error(w->out);

	if (!err)
		err = bytes_error(&w->pending[0]);
	return err ? err : bytes_error(&w->pending[1]);
}

static void weave_finish(struct weave *w)
{
	bytes_finish(&w->pending[0]);
	bytes_finish(&w->pending[1]);
}

/* --- merging: sentence by sentence --- */

/* A text cut into sentences, the blanks between them and newlines. */
struct sentences {
	struct span *items; /* owned; the texts borrowed */
	size_t count;
};

/* Where the sentences of `new` differ from those of `old`: [old, old_end) became [new, new_end). */
struct change {
	size_t old, old_end, new, new_end;
};

struct changes {
	struct change *items; /* owned; apart from each other, in order */
	size_t count, capacity;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool ends_sentence(char c)
{
	return c == '.' || c == '!' || c == '?';
}

/* The size of what begins at `text`: a newline, blanks, or a sentence. */
static size_t sentence_size(const char *text, size_t left)
{
	size_t size = 0;

	if (text[0] == '\n')
		return 1;
	if (left > 1 && text[0] == '\r' && text[1] == '\n')
		return 2;
	while (size < left && is_blank(text[size]))
		size++;
	if (size)
		return size;
	for (size = 1; size < left; size++) {
		if (text[size] == '\n' || (text[size] == '\r' && size + 1 < left && text[size + 1] == '\n'))
			break;
		if (is_blank(text[size]) && ends_sentence(text[size - 1]))
			break;
	}
	return size;
}

/* -EMSGSIZE: too many to compare. */
static int sentences_split(struct sentences *s, const struct bytes *text)
{
	s->items = malloc(SENTENCES_MAX * sizeof(*s->items));
	if (!s->items)
		return -ENOMEM;
	for (size_t at = 0; at < text->size; s->count++) {
		if (s->count == SENTENCES_MAX)
			return -EMSGSIZE;
		const char *start = (const char *)text->data + at;
		size_t size = sentence_size(start, text->size - at);
		s->items[s->count] = (struct span){ start, size };
		at += size;
	}
	return 0;
}

static bool sentences_equal(const struct span *a, const struct span *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!span_equal(a[i], b[i]))
			return false;
	return true;
}

/* One a line; a newline is the only one that begins with a space. */
static void put_sentences(struct bytes *out, const struct sentences *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *text = s->items[i].data;
		size_t size = s->items[i].size;
		bool is_newline = text[size - 1] == '\n';
		bytes_put(out, is_newline ? " " : "-", 1);
		bytes_put(out, text, is_newline ? size - 1 : size);
		bytes_put(out, "\n", 1);
	}
}

/* libgit2 counts lines from 1, and names the line before where there are none. */
static size_t index_of_lines(int start, int lines)
{
	return (size_t)(lines ? start - 1 : start);
}

static int take_change(const git_diff_delta *delta, const git_diff_hunk *hunk, void *payload)
{
	struct changes *changes = payload;
	struct change change = {
		.old = index_of_lines(hunk->old_start, hunk->old_lines),
		.new = index_of_lines(hunk->new_start, hunk->new_lines),
	};

	if (changes->count == changes->capacity)
		return -1;
	change.old_end = change.old + (size_t)hunk->old_lines;
	change.new_end = change.new + (size_t)hunk->new_lines;
	changes->items[changes->count++] = change;
	return 0;
}

static int changes_find(struct changes *changes, const struct sentences *old, const struct sentences *new)
{
	CLEANUP(bytes_finish) struct bytes old_text;
	CLEANUP(bytes_finish) struct bytes new_text;
	git_diff_options options;

	bytes_init(&old_text, SIZE_MAX);
	bytes_init(&new_text, SIZE_MAX);
	put_sentences(&old_text, old);
	put_sentences(&new_text, new);
	if (bytes_error(&old_text) < 0 || bytes_error(&new_text) < 0)
		return -ENOMEM;
	/* Between two changes stands at least one sentence that is not. */
	changes->capacity = old->count + 1;
	changes->items = calloc(changes->capacity, sizeof(*changes->items));
	if (!changes->items)
		return -ENOMEM;

	git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
	options.flags = GIT_DIFF_FORCE_TEXT | GIT_DIFF_MINIMAL;
	options.context_lines = 0;
	int err = git_diff_buffers(old_text.data, old_text.size, NULL, new_text.data, new_text.size, NULL,
				   &options, NULL, NULL, take_change, NULL, changes);
	return err < 0 ? error_of_git() : 0;
}

static bool grows(const struct change *c)
{
	return c->new_end - c->new > c->old_end - c->old;
}

/*
 * Changes clash where they share a sentence, and where both add something at one place, for nothing says which comes first.
 * Those that only touch do not: one may end a paragraph while another edits its last sentence.
 */
static bool changes_clash(const struct change *a, const struct change *b)
{
	if (a->old < b->old_end && b->old < a->old_end)
		return true;
	return a->old <= b->old_end && b->old <= a->old_end && grows(a) && grows(b);
}

static bool change_before(const struct change *a, const struct change *b)
{
	return a->old != b->old ? a->old < b->old : a->old_end < b->old_end;
}

/* A three-way merge under way: what is left of both sides' changes. */
struct sentence_merge {
	struct sentences old, new[2];
	struct changes changes[2];
	size_t next[2]; /* index into changes */
	size_t at;      /* index into old: merged up to here */
};

/* The changes [first, next) of each side, and the range of old sentences that they span. */
struct cluster {
	size_t first[2];
	size_t old, old_end;
};

static const struct change *peek(const struct sentence_merge *m, int side)
{
	return m->next[side] < m->changes[side].count ? &m->changes[side].items[m->next[side]] : NULL;
}

static void cluster_add(struct cluster *c, struct sentence_merge *m, int side)
{
	const struct change *change = peek(m, side);

	if (change->old_end > c->old_end)
		c->old_end = change->old_end;
	m->next[side]++;
}

static bool cluster_grow(struct cluster *c, struct sentence_merge *m, int side)
{
	const struct change *change = peek(m, side);
	int other = !side;

	if (!change || c->first[other] == m->next[other] ||
	    !changes_clash(change, &m->changes[other].items[m->next[other] - 1]))
		return false;
	cluster_add(c, m, side);
	return true;
}

/* Takes the next change and all that clash with it, and so on. False: none is left. */
static bool cluster_take(struct cluster *c, struct sentence_merge *m)
{
	const struct change *ours = peek(m, 0);
	const struct change *theirs = peek(m, 1);

	if (!ours && !theirs)
		return false;
	int side = !ours || (theirs && change_before(theirs, ours));
	const struct change *first = side ? theirs : ours;
	*c = (struct cluster){ { m->next[0], m->next[1] }, first->old, first->old_end };
	cluster_add(c, m, side);
	while (cluster_grow(c, m, 0) || cluster_grow(c, m, 1))
		;
	return true;
}

/* What the cluster's range is on a side that has changes in it. */
static struct sentences cluster_side(const struct cluster *c, const struct sentence_merge *m, int side)
{
	const struct change *first = &m->changes[side].items[c->first[side]];
	const struct change *last = &m->changes[side].items[m->next[side] - 1];
	size_t start = first->new - (first->old - c->old);
	size_t end = last->new_end + (c->old_end - last->old_end);

	return (struct sentences){ m->new[side].items + start, end - start };
}

/* Sentences stand one after the other in their text. */
static struct span join(const struct sentences *s)
{
	if (!s->count)
		return (struct span){ "", 0 };
	const struct span *last = &s->items[s->count - 1];
	const char *start = s->items[0].data;
	return (struct span){ start, (size_t)((const char *)last->data - start) + last->size };
}

static void put_cluster(const struct cluster *c, const struct sentence_merge *m, struct weave *w)
{
	struct sentences sides[2] = { { 0 } };

	for (int side = 0; side < 2; side++)
		if (c->first[side] < m->next[side])
			sides[side] = cluster_side(c, m, side);
	if (c->first[0] == m->next[0])
		sides[0] = sides[1];
	if (c->first[1] == m->next[1])
		sides[1] = sides[0];
	bool same = sides[0].count == sides[1].count &&
		    sentences_equal(sides[0].items, sides[1].items, sides[0].count);
	weave_put(w, join(&sides[0]), join(&sides[1]), !same);
}

static void put_unchanged(struct sentence_merge *m, size_t end, struct weave *w)
{
	for (; m->at < end; m->at++)
		weave_put(w, m->old.items[m->at], m->old.items[m->at], false);
}

static int merge_sentences(struct sentence_merge *m, const struct bytes texts[3], struct weave *w)
{
	int err = sentences_split(&m->old, &texts[0]);

	for (int side = 0; side < 2 && !err; side++) {
		err = sentences_split(&m->new[side], &texts[side + 1]);
		if (!err)
			err = changes_find(&m->changes[side], &m->old, &m->new[side]);
	}
	if (err)
		return err;
	for (struct cluster c; cluster_take(&c, m); m->at = c.old_end) {
		put_unchanged(m, c.old, w);
		put_cluster(&c, m, w);
	}
	put_unchanged(m, m->old.count, w);
	return 0;
}

static void sentence_merge_finish(struct sentence_merge *m)
{
	free(m->old.items);
	for (int side = 0; side < 2; side++) {
		free(m->new[side].items);
		free(m->changes[side].items);
	}
}

/* Merges a region where lines clash: ancestor, ours, theirs. */
static int merge_region(const struct bytes texts[3], struct weave *w)
{
	CLEANUP(sentence_merge_finish) struct sentence_merge merge = { .at = 0 };
	int err = merge_sentences(&merge, texts, w);

	if (err == -EMSGSIZE) {
		weave_put(w, span_of(&texts[1]), span_of(&texts[2]), true);
		err = 0;
	}
	if (w->pending[0].size || w->pending[1].size)
		weave_flush(w);
	return err < 0 ? err : weave_error(w);
}

/* --- merging: line by line --- */

/* A letter before each line tells it from the markers of libgit2, and whether a newline ended it. */
static void put_lines(struct bytes *out, struct span text)
{
	for (size_t at = 0; at < text.size;) {
		struct span line = line_at(text, at);
		bool ended = ((const char *)line.data)[line.size - 1] == '\n';
		bytes_put(out, ended ? " " : "-", 1);
		bytes_put(out, line.data, line.size);
		if (!ended)
			bytes_put(out, "\n", 1);
		at += line.size;
	}
}

static void put_plain_line(struct bytes *out, struct span line)
{
	bool ended = *(const char *)line.data == ' ';

	bytes_put(out, (const char *)line.data + 1, line.size - (ended ? 1 : 2));
}

/* Reads libgit2's merge of such lines, in its diff3 form, and merges again what clashes in it. */
static int merge_regions(struct span merged, struct weave *w, struct bytes texts[3])
{
	static const int ancestor = 0, ours = 1, theirs = 2;
	struct bytes *to = w->out;
	int err = 0;

	for (size_t at = 0; at < merged.size && !err;) {
		struct span line = line_at(merged, at);
		at += line.size;
		switch (*(const char *)line.data) {
		case '<':
			to = &texts[ours];
			break;
		case '|':
			to = &texts[ancestor];
			break;
		case '=':
			to = &texts[theirs];
			break;
		case '>':
			to = w->out;
			for (int i = 0; i < 3 && !err; i++)
				err = bytes_error(&texts[i]);
			if (!err)
				err = merge_region(texts, w);
			for (int i = 0; i < 3; i++)
				bytes_clear(&texts[i]);
			break;
		default:
			put_plain_line(to, line);
		}
	}
	return err;
}

static int merge_lines(const struct span texts[3], struct weave *w)
{
	git_merge_file_options options;
	git_merge_file_input inputs[3];
	git_merge_file_result result = { 0 };
	struct bytes lines[3], regions[3];
	int err = 0;

	for (int i = 0; i < 3; i++) {
		bytes_init(&lines[i], SIZE_MAX);
		bytes_init(&regions[i], SIZE_MAX);
		put_lines(&lines[i], texts[i]);
		git_merge_file_input_init(&inputs[i], GIT_MERGE_FILE_INPUT_VERSION);
		inputs[i].ptr = span_of(&lines[i]).data;
		inputs[i].size = lines[i].size;
		if (!err)
			err = bytes_error(&lines[i]);
	}
	if (err)
		goto out;

	git_merge_file_options_init(&options, GIT_MERGE_FILE_OPTIONS_VERSION);
	options.flags = GIT_MERGE_FILE_STYLE_DIFF3;
	if (git_merge_file(&result, &inputs[0], &inputs[1], &inputs[2], &options) < 0)
		err = error_of_git();
	else if (!result.ptr && !result.automergeable)
		err = -EMSGSIZE;
	else
		err = merge_regions((struct span){ result.ptr, result.len }, w, regions);
	git_merge_file_result_free(&result);
out:
	for (int i = 0; i < 3; i++) {
		bytes_finish(&lines[i]);
		bytes_finish(&regions[i]);
	}
	return err;
}

int diff_merge(struct span ancestor, const struct diff_side *ours, const struct diff_side *theirs, struct bytes *out)
{
	CLEANUP(weave_finish) struct weave weave;
	const struct span texts[3] = { ancestor, ours->text, theirs->text };
	size_t start = out->size;

	weave_init(&weave, ours, theirs, out);
	if (span_equal(texts[1], texts[2]) || span_equal(texts[0], texts[2])) {
		bytes_put(out, texts[1].data, texts[1].size);
		return bytes_error(out);
	}
	if (span_equal(texts[0], texts[1])) {
		bytes_put(out, texts[2].data, texts[2].size);
		return bytes_error(out);
	}
	for (int i = 0; i < 3; i++) {
		if (!is_text(texts[i]))
			return -EBADMSG;
		if (texts[i].size > TEXT_SIZE_MAX)
			return -EMSGSIZE;
	}

	int err = merge_lines(texts, &weave);
	if (!err)
		err = weave_error(&weave);
	if (err < 0)
		out->size = start;
	return err < 0 ? err : weave.clashes;
}
