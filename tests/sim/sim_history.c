#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>
#include <zlib.h>

#include "depot_memory_private.h"
#include "sim_story.h"

/*
 * A line of $MOOT_SHARED/data/history.jsonl.gz is one edit: {"time": ..., "author": "aN", "path": "...", "op": "put" or
 * "delete", "content": "..."}, in order of time.  Years of edits are told in an hour, one after another; who has edited a document
 * follows those who did before.
 */
#define LINE_MAX_SIZE (1024 * 1024)
#define EDIT_US (SECOND_US / 2)
#define EDITS_MAX 3337
#define PROGRESS_EDITS 100
#define CONTACTS 3 /* of a document's authors, told to who joins them */
#define AUTHORS_MAX 1024
#define SETTLE_US (30 * 60 * SECOND_US)

struct edit {
	unsigned author;
	char *path, *text;
	size_t size;
};
struct chapter { /* of one path */
	char *path; /* key, borrowed of an edit */
	struct id *versions;
	size_t count, capacity;
	unsigned *authors;
	size_t author_count, author_capacity;
	UT_hash_handle hh;
};
struct history {
	struct edit *edits;
	size_t count, capacity;
	unsigned author_count;
	struct chapter *chapters;
};

/* ---- reading ---- */

static unsigned hex4(const char *text)
{
	char digits[5] = { 0 };

	memcpy(digits, text, 4);
	return (unsigned)strtoul(digits, NULL, 16);
}

static size_t put_utf8(char *out, unsigned c)
{
	size_t size = 0;

	if (c < 0x80) {
		out[size++] = (char)c;
	} else if (c < 0x800) {
		out[size++] = (char)(0xc0 | c >> 6);
		out[size++] = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		out[size++] = (char)(0xe0 | c >> 12);
		out[size++] = (char)(0x80 | ((c >> 6) & 63));
		out[size++] = (char)(0x80 | (c & 63));
	} else {
		out[size++] = (char)(0xf0 | c >> 18);
		out[size++] = (char)(0x80 | ((c >> 12) & 63));
		out[size++] = (char)(0x80 | ((c >> 6) & 63));
		out[size++] = (char)(0x80 | (c & 63));
	}
	return size;
}

static const char *unescape(const char *in, char *out, size_t *size)
{
	static const char from[] = "nrtbf\"\\/", to[] = "\n\r\t\b\f\"\\/";

	if (*in == 'u') {
		unsigned c = hex4(in + 1);
		in += 5;
		if (c >= 0xd800 && c < 0xdc00 && in[0] == '\\' && in[1] == 'u') {
			c = 0x10000 + ((c - 0xd800) << 10) + (hex4(in + 2) - 0xdc00);
			in += 6;
		}
		*size += put_utf8(out + *size, c);
		return in;
	}
	const char *found = strchr(from, *in);
	out[(*size)++] = found ? to[found - from] : *in;
	return in + 1;
}

/* The text of "name": "..." of a line; NULL: not there. */
static char *text_of(const char *line, const char *name, size_t *out_size)
{
	char key[32];

	snprintf(key, sizeof(key), "\"%s\": \"", name);
	const char *in = strstr(line, key);
	if (!in)
		return NULL;
	char *out = must(malloc(strlen(line) + 1));
	size_t size = 0;
	for (in += strlen(key); *in && *in != '"';) {
		if (*in == '\\')
			in = unescape(in + 1, out, &size);
		else
			out[size++] = *in++;
	}
	out[size] = '\0';
	*out_size = size;
	return out;
}

static void read_edit(struct history *history, const char *line)
{
	size_t size;
	char *author = text_of(line, "author", &size);
	struct edit edit = { .path = text_of(line, "path", &size), .text = text_of(line, "content", &size) };

	edit.size = edit.text ? size : 0;
	edit.author = author ? (unsigned)strtoul(author + 1, NULL, 10) : AUTHORS_MAX;
	free(author);
	if (!edit.path || !edit.text || edit.author >= AUTHORS_MAX) { /* a deletion: no version */
		free(edit.path);
		free(edit.text);
		return;
	}
	if (edit.author >= history->author_count)
		history->author_count = edit.author + 1;
	GROW(history->edits, history->count, history->capacity);
	history->edits[history->count++] = edit;
}

static bool history_read(struct history *history, size_t edits_max)
{
	const char *shared = getenv("MOOT_SHARED");
	char path[4096];

	snprintf(path, sizeof(path), "%s/data/history.jsonl.gz", shared ? shared : ".");
	gzFile file = gzopen(path, "rb");
	if (!file)
		return false;
	char *line = must(malloc(LINE_MAX_SIZE));
	while (history->count < edits_max && gzgets(file, line, LINE_MAX_SIZE))
		read_edit(history, line);
	free(line);
	gzclose(file);
	return history->count > 0;
}

static void history_finish(struct history *history)
{
	struct chapter *chapter, *next;

	HASH_ITER(hh, history->chapters, chapter, next) {
		HASH_DEL(history->chapters, chapter);
		free(chapter->versions);
		free(chapter->authors);
		free(chapter);
	}
	for (size_t i = 0; i < history->count; i++) {
		free(history->edits[i].path);
		free(history->edits[i].text);
	}
	free(history->edits);
}

/* ---- telling ---- */

static struct chapter *chapter_of(struct history *history, char *path)
{
	struct chapter *chapter;

	HASH_FIND_STR(history->chapters, path, chapter);
	if (chapter)
		return chapter;
	chapter = must(calloc(1, sizeof(*chapter)));
	chapter->path = path;
	HASH_ADD_KEYPTR(hh, history->chapters, chapter->path, strlen(chapter->path), chapter);
	return chapter;
}

static void follow(struct sim_node *node, const struct sim_node *other)
{
	const struct id *person = &other->memory->depot.person;

	if (memory_follows(node->memory, person))
		return;
	memory_follow(node->memory, person, true);
	core_follows_changed(node->core);
}

/* It follows all who were there and they it; it is told where some of them are. */
static void join(struct sim *sim, struct chapter *chapter, unsigned author)
{
	struct sim_node *node = &sim->nodes[author];

	for (size_t i = 0; i < chapter->author_count; i++)
		if (chapter->authors[i] == author)
			return;
	for (size_t i = 0; i < chapter->author_count; i++) {
		struct sim_node *other = &sim->nodes[chapter->authors[i]];
		follow(node, other);
		follow(other, node);
		sim_pump(other);
		if (i + 1 == chapter->author_count || sim_random_below(&sim->story, chapter->author_count) < CONTACTS)
			sim_meet(node, other);
	}
	GROW(chapter->authors, chapter->author_count, chapter->author_capacity);
	chapter->authors[chapter->author_count++] = author;
}

/* Of what has come to it, the newest is edited. */
static const struct id *newest_here(const struct sim_node *node, const struct chapter *chapter)
{
	for (size_t i = chapter->count; i > 0; i--)
		if (memory_find_version(node->memory, &chapter->versions[i - 1]))
			return &chapter->versions[i - 1];
	return NULL;
}

static void tell_edit(struct sim *sim, struct history *history, const struct edit *edit)
{
	struct chapter *chapter = chapter_of(history, edit->path);
	struct sim_node *node = &sim->nodes[edit->author];
	struct id version;

	join(sim, chapter, edit->author);
	const struct id *parent = newest_here(node, chapter);
	memory_save(node->memory, parent ? &chapter->versions[0] : NULL, parent, edit->text, edit->size, &version);
	GROW(chapter->versions, chapter->count, chapter->capacity);
	chapter->versions[chapter->count++] = version;
	core_appended(node->core);
	sim_pump(node);
}

static void tell_progress(const struct sim *sim, const struct history *history, size_t edits, FILE *out)
{
	char why[192];

	if (!out || (edits % PROGRESS_EDITS != 0 && edits != history->count))
		return;
	bool all = check_converged(sim, why, sizeof(why));
	fprintf(out, "%zu of %zu edits, %llu s of theirs and %llu of ours, %llu events, %llu packets, %llu sessions; %s\n",
		edits, history->count, (unsigned long long)(sim->now_us / SECOND_US),
		(unsigned long long)(clock() / CLOCKS_PER_SEC), (unsigned long long)sim->events,
		(unsigned long long)sim->packets, (unsigned long long)sim->sessions, all ? "all have all" : why);
	kit_tell_packets(sim, out);
}

static void tell_all(struct sim *sim, struct history *history, FILE *progress)
{
	for (size_t i = 0; i < history->count && !sim->failure[0]; i++) {
		tell_edit(sim, history, &history->edits[i]);
		sim_run(sim, sim->now_us + EDIT_US);
		tell_progress(sim, history, i + 1, progress);
	}
}

struct sim *story_history(const struct story_options *options)
{
	struct sim_options sim_options = {
		.seed = options->seed, .fake_keys = !options->real_keys, .peers_aim = 8,
		.weather = { 5, 150, 2000, 10, 0, 0, 0, 128 * 1024, 8 * 1024 * 1024 },
	};
	struct history history = { 0 };

	if (!history_read(&history, options->nodes ? options->nodes : EDITS_MAX)) {
		history_finish(&history);
		return NULL;
	}
	struct sim *sim = sim_new(&sim_options, history.author_count);
	while (sim->count < sim->count_max)
		kit_begin(sim_add(sim, NULL), "author");
	tell_all(sim, &history, options->progress);
	uint64_t us = sim->failure[0] ? 0 : kit_converge(sim, SETTLE_US);
	if (options->out)
		fprintf(options->out, "  %zu edits of %u documents by %u authors; all have all %llu s after the last\n",
			history.count, HASH_COUNT(history.chapters), history.author_count,
			(unsigned long long)(us / SECOND_US));
	history_finish(&history);
	return sim;
}
