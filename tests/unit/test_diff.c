#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diff.h"
#include "file.h"

#define OUT_SIZE_MAX (64u * 1024 * 1024)

#define SPAN(literal) { (literal), sizeof(literal) - 1 }

static struct span span_of(const char *text)
{
	return (struct span){ text, strlen(text) };
}

/* The buffer as a string that lives as long as it. */
static const char *string_of(struct bytes *b)
{
	bytes_put_u8(b, 0);
	assert_int_equal(bytes_error(b), 0);
	return (const char *)b->data;
}

/* --- a folder for patch(1) --- */

struct folder {
	char path[256];
};

static void folder_make(struct folder *f)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(f->path, sizeof(f->path), "%s/diff.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->path));
}

static int remove_path(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
	return remove(path);
}

static void folder_remove(struct folder *f)
{
	nftw(f->path, remove_path, 16, FTW_PHYS | FTW_DEPTH);
}

static void folder_write(const struct folder *f, const char *name, struct span text)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text.data, text.size), 0);
	close(fd);
}

static bool folder_has(const struct folder *f, const char *name, struct span text)
{
	char path[600];
	uint8_t *got;
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	if (file_read(AT_FDCWD, path, OUT_SIZE_MAX, &got, &size) < 0)
		return false;
	bool same = size == text.size && !memcmp(got, text.data, size);
	free(got);
	return same;
}

static bool folder_lacks(const struct folder *f, const char *name)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	return access(path, F_OK) < 0 && errno == ENOENT;
}

static int folder_patch(const struct folder *f, const struct bytes *diff)
{
	char command[600];

	folder_write(f, "patch.diff", (struct span){ diff->data, diff->size });
	snprintf(command, sizeof(command), "cd '%s' && patch -s -p1 < patch.diff", f->path);
	return system(command);
}

/* --- unified diffs --- */

static void writes_unified_diffs(void **state)
{
	static const struct {
		const char *name;
		struct diff_side before, after;
		const char *expected;
	} cases[] = {
		{ "equal", { "a", SPAN("x\n") }, { "b", SPAN("x\n") }, "" },
		{ "equal binary", { "a", SPAN("\0") }, { "b", SPAN("\0") }, "" },
		{ "new and empty", { NULL, SPAN("") }, { "b", SPAN("") }, "" },
		{ "a line", { "d/a.md", SPAN("x\ny\n") }, { "d/a.md", SPAN("x\nz\n") },
		  "--- a/d/a.md\n+++ b/d/a.md\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n" },
		{ "three lines of context", { "a", SPAN("1\n2\n3\n4\n5\n6\n7\n8\n9\n") }, { "a", SPAN("1\n2\n3\n4\n\n6\n7\n8\n9\n") },
		  "--- a/a\n+++ b/a\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+\n 6\n 7\n 8\n" },
		{ "no newline at the end", { "a", SPAN("x") }, { "a", SPAN("y") },
		  "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n\\ No newline at end of file\n" },
		{ "new", { NULL, SPAN("") }, { "a", SPAN("x\n") }, "--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n" },
		{ "removed", { "a", SPAN("x\n") }, { NULL, SPAN("") }, "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n" },
		{ "emptied", { "a", SPAN("x\n") }, { "a", SPAN("") }, "--- a/a\n+++ b/a\n@@ -1 +0,0 @@\n-x\n" },
		{ "CRLF", { "a", SPAN("x\r\n") }, { "a", SPAN("x\n") }, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\r\n+x\n" },
		{ "name with a space", { "a b", SPAN("x\n") }, { "\xc3\xa4", SPAN("") },
		  "--- a/a b\t\n+++ b/\xc3\xa4\n@@ -1 +0,0 @@\n-x\n" },
		{ "name that would add lines", { "a\n+b", SPAN("x\n") }, { "\"\\", SPAN("") },
		  "--- \"a/a\\012+b\"\n+++ \"b/\\\"\\\\\"\n@@ -1 +0,0 @@\n-x\n" },
		{ "binary", { "a", SPAN("x\0") }, { "b", SPAN("x") }, "Binary files a/a and b/b differ\n" },
		{ "new binary", { NULL, SPAN("") }, { "b", SPAN("\0") }, "Binary files /dev/null and b/b differ\n" },
		{ "not UTF-8 is text", { "a", SPAN("\xff\n") }, { "a", SPAN("\xfe\n") },
		  "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-\xff\n+\xfe\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes out;
		bytes_init(&out, OUT_SIZE_MAX);
		assert_int_equal(diff_unified(&cases[i].before, &cases[i].after, &out), 0);
		const char *got = string_of(&out);
		if (strcmp(got, cases[i].expected))
			fail_msg("%s: got \"%s\", expected \"%s\"", cases[i].name, got, cases[i].expected);
		bytes_finish(&out);
	}
}

static void keeps_maximum_of_buffer(void **state)
{
	static const struct diff_side before = { "a", SPAN("x\n") }, after = { "a", SPAN("y\n") };
	struct bytes out;

	for (size_t size_max = 0; size_max < 40; size_max++) {
		bytes_init(&out, size_max);
		int err = diff_unified(&before, &after, &out);
		assert_int_equal(err, size_max < strlen("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n+y\n") ? -EMSGSIZE : 0);
		bytes_finish(&out);
	}
	bytes_init(&out, 10);
	assert_int_equal(diff_merge((struct span)SPAN("1"), &before, &after, &out), -EMSGSIZE);
	assert_int_equal(out.size, 0);
	bytes_finish(&out);
}

static void patch_applies_them(void **state)
{
	static const struct span texts[] = {
		SPAN(""), SPAN("x"), SPAN("x\n"), SPAN("\n"), SPAN("x\ny"), SPAN("x\r\ny\r\n"), SPAN("x\r\ny"), SPAN("x\n\ny\n\n"),
		SPAN("--- a/x\n+++ b/x\n@@ -1 +1 @@\n"), SPAN("\\ No newline at end of file\n"), SPAN("\xff\xfe\n\x01"),
	};
	static const char *const names[] = { "a.md", "a b.md", "\"a\\b\"", "\xc3\xa4\n.md" };
	size_t count = sizeof(texts) / sizeof(*texts);
	struct folder folder;
	struct bytes diffs;
	char name[64];

	folder_make(&folder);
	bytes_init(&diffs, OUT_SIZE_MAX);
	for (size_t i = 0; i < count * count; i++) {
		snprintf(name, sizeof(name), "%zu-%s", i, names[i % (sizeof(names) / sizeof(*names))]);
		struct diff_side before = { name, texts[i / count] }, after = { name, texts[i % count] };
		folder_write(&folder, name, before.text);
		assert_int_equal(diff_unified(&before, &after, &diffs), 0);
	}
	assert_int_equal(folder_patch(&folder, &diffs), 0);
	for (size_t i = 0; i < count * count; i++) {
		snprintf(name, sizeof(name), "%zu-%s", i, names[i % (sizeof(names) / sizeof(*names))]);
		if (!folder_has(&folder, name, texts[i % count]))
			fail_msg("text %zu to %zu, %s", i / count, i % count, name);
	}
	bytes_finish(&diffs);
	folder_remove(&folder);
}

static void patch_makes_and_removes(void **state)
{
	static const struct diff_side none = { NULL, SPAN("") }, some = { "a b.md", SPAN("x\ny") };
	struct folder folder;
	struct bytes out;

	folder_make(&folder);
	bytes_init(&out, OUT_SIZE_MAX);
	assert_int_equal(diff_unified(&none, &some, &out), 0);
	assert_int_equal(folder_patch(&folder, &out), 0);
	assert_true(folder_has(&folder, some.name, some.text));
	bytes_clear(&out);
	assert_int_equal(diff_unified(&some, &none, &out), 0);
	assert_int_equal(folder_patch(&folder, &out), 0);
	assert_true(folder_lacks(&folder, some.name));
	bytes_finish(&out);
	folder_remove(&folder);
}

/* --- merges --- */

static int merge(const char *ancestor, const char *ours, const char *theirs, struct bytes *out)
{
	struct diff_side a = { "A", span_of(ours) }, b = { "B", span_of(theirs) };

	bytes_init(out, OUT_SIZE_MAX);
	return diff_merge(span_of(ancestor), &a, &b, out);
}

struct merge_case {
	const char *name, *ancestor, *ours, *theirs, *expected;
	int clashes;
};

static void check_merge(const struct merge_case *c)
{
	struct bytes out, again;

	int clashes = merge(c->ancestor, c->ours, c->theirs, &out);
	const char *got = string_of(&out);
	if (clashes != c->clashes || strcmp(got, c->expected))
		fail_msg("%s: %d \"%s\", expected %d \"%s\"", c->name, clashes, got, c->clashes, c->expected);

	/* The same from either side. */
	assert_int_equal(merge(c->ancestor, c->theirs, c->ours, &again), clashes);
	if (!clashes)
		assert_string_equal(string_of(&again), got);
	bytes_finish(&again);
	bytes_finish(&out);
}

static void merges_what_does_not_clash(void **state)
{
	static const struct merge_case cases[] = {
		{ "both the same", "1\n", "2\n", "2\n", "2\n", 0 },
		{ "only ours", "1\n", "2\n", "1\n", "2\n", 0 },
		{ "to nothing", "1\n", "", "1\n", "", 0 },
		{ "lines apart", "1\n2\n3\n", "1a\n2\n3\n", "1\n2\n3a\n", "1a\n2\n3a\n", 0 },
		{ "lines side by side", "1\n2\n", "1a\n2\n", "1\n2a\n", "1a\n2a\n", 0 },
		{ "last lines without newline", "1\n2\n3", "1a\n2\n3", "1\n2\n3a", "1a\n2\n3a", 0 },
		{ "newline added and line edited", "1\n2", "1\n2\n", "1\n2a", "1\n2a\n", 0 },
		{ "CRLF", "1\r\n2\r\n3\r\n", "1a\r\n2\r\n3\r\n", "1\r\n2\r\n3a\r\n", "1a\r\n2\r\n3a\r\n", 0 },
		{ "sentences apart", "One. Two. Three.\n", "One! Two. Three.\n", "One. Two. Three?\n", "One! Two. Three?\n", 0 },
		{ "sentences side by side", "One. Two.\n", "One a. Two.\n", "One. Two b.\n", "One a. Two b.\n", 0 },
		{ "sentence added and edited before", "One. Two.\n", "One. Two. New.\n", "One. Two b.\n", "One. Two b. New.\n", 0 },
		{ "sentence added and edited after", "One. Two.\n", "One. New. Two.\n", "One. Two b.\n", "One. New. Two b.\n", 0 },
		{ "sentence removed and edited beside", "One. Two. Three.\n", "One. Three.\n", "One a. Two. Three.\n",
		  "One a. Three.\n", 0 },
		{ "added at both ends", "One.\n", "Zero. One.\n", "One. Two.\n", "Zero. One. Two.\n", 0 },
		{ "all sentences", "A. B. C. D.\n", "A1. B. C1. D.\n", "A. B2. C. D2.\n", "A1. B2. C1. D2.\n", 0 },
		{ "the same sentence, and others", "A. B. C.\n", "A1. B9. C.\n", "A. B9. C1.\n", "A1. B9. C1.\n", 0 },
		{ "wrapped lines", "One is\nhere. Two is\nthere.\n", "One was\nhere. Two is\nthere.\n",
		  "One is\nhere. Two was\nthere.\n", "One was\nhere. Two was\nthere.\n", 0 },
		{ "without newline at the end", "One. Two.", "One a. Two.", "One. Two b.", "One a. Two b.", 0 },
		{ "CRLF sentences", "One. Two.\r\n", "One a. Two.\r\n", "One. Two b.\r\n", "One a. Two b.\r\n", 0 },
		{ "lines like markers", "<<<<<<< x\n=======\n>>>>>>> y\nz\n", "<<<<<<< a\n=======\n>>>>>>> y\nz\n",
		  "<<<<<<< x\n=======\n>>>>>>> y\nb\n", "<<<<<<< a\n=======\n>>>>>>> y\nb\n", 0 },
		{ "no ancestor, the same", "", "x\n", "x\n", "x\n", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		check_merge(&cases[i]);
}

static void marks_what_clashes(void **state)
{
	static const struct merge_case cases[] = {
		{ "a line", "1\n2\n3\n", "1\n2a\n3\n", "1\n2b\n3\n",
		  "1\n<<<<<<< A\n2a\n=======\n2b\n>>>>>>> B\n3\n", 1 },
		{ "two lines", "1\n2\n3\n", "1a\n2\n3a\n", "1b\n2\n3b\n",
		  "<<<<<<< A\n1a\n=======\n1b\n>>>>>>> B\n2\n<<<<<<< A\n3a\n=======\n3b\n>>>>>>> B\n", 2 },
		{ "removed and edited", "1\n2\n3\n", "1\n3\n", "1\n2b\n3\n", "1\n<<<<<<< A\n=======\n2b\n>>>>>>> B\n3\n", 1 },
		{ "a sentence, beside one that does not", "One. Two. Three.\n", "One a. Two a. Three.\n", "One. Two b. Three.\n",
		  "<<<<<<< A\nOne a. Two a. Three.\n=======\nOne a. Two b. Three.\n>>>>>>> B\n", 1 },
		{ "one sentence of those rewritten", "One.\tTwo. Three.\n", "New. Three.\n", "One.\tTwo b. Three.\n",
		  "<<<<<<< A\nNew. Three.\n=======\nOne.\tTwo b. Three.\n>>>>>>> B\n", 1 },
		{ "both add at one place", "One.\n", "One. A.\n", "One. B.\n", "<<<<<<< A\nOne. A.\n=======\nOne. B.\n>>>>>>> B\n", 1 },
		{ "both add at one place, one more edits", "One. Two.\n", "One. New. Two.\n", "One. New. Twice. Two b.\n",
		  "<<<<<<< A\nOne. New. Two.\n=======\nOne. New. Twice. Two b.\n>>>>>>> B\n", 1 },
		{ "no ancestor", "", "x\ny\nz\n", "x\nw\nz\n", "x\n<<<<<<< A\ny\n=======\nw\n>>>>>>> B\nz\n", 1 },
		{ "no ancestor, one longer", "", "x\n", "x\ny\n", "x\n<<<<<<< A\n=======\ny\n>>>>>>> B\n", 1 },
		{ "without newline", "1", "2", "3", "<<<<<<< A\n2\n=======\n3\n>>>>>>> B\n", 1 },
		{ "CRLF", "1\r\n", "2\r\n", "3\r\n", "<<<<<<< A\r\n2\r\n=======\r\n3\r\n>>>>>>> B\r\n", 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		check_merge(&cases[i]);
}

static void labels_are_one_line(void **state)
{
	static const struct diff_side none = { NULL, SPAN("2\n") }, odd = { "a\n=======\x1b", SPAN("3\n") };
	struct bytes out;

	bytes_init(&out, OUT_SIZE_MAX);
	assert_int_equal(diff_merge((struct span)SPAN("1\n"), &none, &odd, &out), 1);
	assert_string_equal(string_of(&out), "<<<<<<<\n2\n=======\n3\n>>>>>>> a =======\x20\n");
	bytes_finish(&out);
}

static void refuses_to_merge_binaries(void **state)
{
	static const struct diff_side text = { "a", SPAN("x") }, binary = { "b", SPAN("\0") };
	struct bytes out;

	bytes_init(&out, OUT_SIZE_MAX);
	assert_int_equal(diff_merge((struct span)SPAN("y"), &text, &binary, &out), -EBADMSG);
	assert_int_equal(diff_merge((struct span)SPAN("\0y"), &text, &text, &out), 0);
	assert_int_equal(diff_merge((struct span)SPAN("x"), &text, &binary, &out), 0);
	assert_memory_equal(out.data, "x\0", 2);
	bytes_finish(&out);
}

static void long_regions_clash_whole(void **state)
{
	struct bytes sides[3], out;

	for (int side = 0; side < 3; side++) {
		bytes_init(&sides[side], OUT_SIZE_MAX);
		for (int i = 0; i < 5000; i++)
			bytes_put_format(&sides[side], "Sentence %d of %d. ", i, side && i == side ? side : 0);
	}
	assert_int_equal(merge(string_of(&sides[0]), string_of(&sides[1]), string_of(&sides[2]), &out), 1);
	assert_memory_equal(out.data, "<<<<<<< A\n", 10);
	bytes_finish(&out);
	for (int side = 0; side < 3; side++)
		bytes_finish(&sides[side]);
}

/* --- properties --- */

static uint32_t random_next(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % below;
}

#define PARTS_MAX 200

/* A text as numbered sentences, each with what follows it. */
struct story {
	struct { unsigned word; const char *after; } parts[PARTS_MAX];
	size_t count;
};

static const char *random_after(uint32_t *seed)
{
	static const char *const afters[] = { ".", ". ", ". ", "! ", ". ", ".\n", "\n", ".\n\n", ".\r\n" };

	return afters[1 + random_next(seed, 8)];
}

static void story_insert(struct story *s, size_t at, unsigned word, uint32_t *seed)
{
	if (s->count == PARTS_MAX)
		return;
	memmove(&s->parts[at + 1], &s->parts[at], (s->count - at) * sizeof(*s->parts));
	s->parts[at].word = word;
	s->parts[at].after = random_after(seed);
	s->count++;
}

static void story_edit(struct story *s, unsigned *word, uint32_t *seed)
{
	for (uint32_t edits = random_next(seed, 5); edits; edits--) {
		size_t at = s->count ? random_next(seed, (uint32_t)s->count) : 0;
		switch (s->count ? random_next(seed, 4) : 0) {
		case 0:
		case 1:
			story_insert(s, at + random_next(seed, 2) * (s->count > at), ++*word, seed);
			break;
		case 2:
			s->parts[at].word = ++*word;
			break;
		case 3:
			s->count--;
			memmove(&s->parts[at], &s->parts[at + 1], (s->count - at) * sizeof(*s->parts));
			break;
		}
	}
}

static void story_write(const struct story *s, struct bytes *out)
{
	bytes_init(out, OUT_SIZE_MAX);
	for (size_t i = 0; i < s->count; i++)
		bytes_put_format(out, "Word <%u>%s", s->parts[i].word, s->parts[i].after);
	string_of(out);
}

static bool story_has(const struct story *s, unsigned word)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->parts[i].word == word)
			return true;
	return false;
}

static size_t count_word(const char *text, unsigned word)
{
	char needle[32];
	size_t count = 0;

	snprintf(needle, sizeof(needle), "<%u>", word);
	for (const char *at = text; (at = strstr(at, needle)); at++)
		count++;
	return count;
}

/*
 * What somebody wrote is there, once if nothing clashes; what both kept is there; what both removed is not. What only one
 * removed may stay, where the other's edits around it look like a move.
 */
static void check_words(const struct story *old, const struct story sides[2], unsigned words, const char *merged,
			int clashes, uint32_t seed)
{
	for (unsigned word = 1; word <= words; word++) {
		bool was = story_has(old, word), ours = story_has(&sides[0], word), theirs = story_has(&sides[1], word);
		size_t count = count_word(merged, word);
		size_t least = was ? ours && theirs : ours || theirs;
		size_t most = was && ours != theirs ? 1 : least;

		if (count < least || (!clashes && count > most))
			fail_msg("seed %u: word %u stands %zu times", seed, word, count);
	}
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts the lines of a text, the markers cut to their sign. */
static size_t sorted_lines(char *text, char **lines)
{
	size_t count = 0;

	for (char *save, *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		if (!strncmp(line, "<<<<<<< ", 8) || !strncmp(line, ">>>>>>> ", 8))
			line = line + 8;
		lines[count++] = line;
	}
	qsort(lines, count, sizeof(*lines), compare_lines);
	return count;
}

static void check_symmetry(const char *merged, const char *other, uint32_t seed)
{
	char *texts[2] = { strdup(merged), strdup(other) };
	char **lines[2];
	size_t counts[2];

	for (int i = 0; i < 2; i++) {
		lines[i] = calloc(strlen(texts[i]) + 1, sizeof(*lines[i]));
		counts[i] = sorted_lines(texts[i], lines[i]);
	}
	if (counts[0] != counts[1])
		fail_msg("seed %u: \"%s\" and \"%s\"", seed, merged, other);
	for (size_t i = 0; i < counts[0]; i++)
		if (strcmp(lines[0][i], lines[1][i]))
			fail_msg("seed %u: \"%s\" and \"%s\"", seed, lines[0][i], lines[1][i]);
	for (int i = 0; i < 2; i++) {
		free(lines[i]);
		free(texts[i]);
	}
}

static void random_edits_lose_nothing(void **state)
{
	size_t clean = 0;

	for (uint32_t round = 1; round <= 1500; round++) {
		uint32_t seed = round;
		unsigned word = 0;
		struct story old = { .count = 0 }, sides[2];
		struct bytes texts[3], merged, other;

		for (uint32_t parts = random_next(&seed, 12); parts; parts--)
			story_insert(&old, old.count, ++word, &seed);
		sides[0] = sides[1] = old;
		story_edit(&sides[0], &word, &seed);
		story_edit(&sides[1], &word, &seed);
		story_write(&old, &texts[0]);
		story_write(&sides[0], &texts[1]);
		story_write(&sides[1], &texts[2]);

		const char *ours = (const char *)texts[1].data, *theirs = (const char *)texts[2].data;
		int clashes = merge((const char *)texts[0].data, ours, theirs, &merged);
		assert_true(clashes >= 0);
		string_of(&merged);
		check_words(&old, sides, word, (const char *)merged.data, clashes, round);
		assert_int_equal(merge((const char *)texts[0].data, theirs, ours, &other), clashes);
		string_of(&other);
		if (!clashes)
			assert_string_equal(merged.data, other.data);
		check_symmetry((const char *)merged.data, (const char *)other.data, round);
		clean += !clashes;
		for (int i = 0; i < 3; i++)
			bytes_finish(&texts[i]);
		bytes_finish(&merged);
		bytes_finish(&other);
	}
	print_message("%zu of 1500 merged clean\n", clean);
	assert_true(clean > 750);
}

/* --- real versions --- */

struct version {
	char *path;
	char *text;
	size_t size;
};

static int hex_value(const char *at, unsigned *out)
{
	return sscanf(at, "%4x", out) == 1 ? 4 : -1;
}

static size_t put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* The string value of a key in a line of JSON, unescaped; NULL if there is none. */
static char *json_string(const char *line, const char *key, size_t *out_size)
{
	static const char escapes[] = "n\nt\tr\rb\bf\f";
	char needle[32];

	snprintf(needle, sizeof(needle), "\"%s\": \"", key);
	const char *at = strstr(line, needle);
	if (!at)
		return NULL;
	at += strlen(needle);
	char *text = malloc(strlen(at) + 1);
	assert_non_null(text);
	size_t size = 0;
	for (; *at != '"'; at++) {
		assert_true(*at);
		if (*at != '\\') {
			text[size++] = *at;
			continue;
		}
		const char *escape = strchr(escapes, *++at);
		unsigned c, low;
		if (*at == 'u') {
			at += hex_value(at + 1, &c);
			if (c >= 0xd800 && c < 0xdc00 && at[1] == '\\' && at[2] == 'u') {
				at += 2;
				at += hex_value(at + 1, &low);
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			}
			size += put_utf8(text + size, c);
		} else {
			text[size++] = escape ? escape[1] : *at;
		}
	}
	text[size] = 0;
	*out_size = size;
	return text;
}

#define VERSIONS_MAX 700

/* Reads the first versions of the real history; the caller frees their texts. */
static size_t read_history(struct version *versions, size_t count_max)
{
	const char *shared = getenv("MOOT_SHARED");
	char command[4200], *line = NULL;
	size_t count = 0, capacity = 0, size;

	snprintf(command, sizeof(command), "%s/data/history.jsonl.gz", shared ? shared : "");
	if (!shared || access(command, R_OK) < 0) {
		print_message("skipped: no $MOOT_SHARED/data/history.jsonl.gz\n");
		skip();
	}
	snprintf(command, sizeof(command), "gzip -dc '%s/data/history.jsonl.gz' 2>&-", shared);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	while (count < count_max && getline(&line, &capacity, pipe) > 0) {
		struct version *v = &versions[count];
		v->text = json_string(line, "content", &v->size);
		if (!v->text)
			continue;
		v->path = json_string(line, "path", &size);
		count++;
	}
	free(line);
	pclose(pipe);
	assert_int_equal(count, count_max);
	return count;
}

static void free_history(struct version *versions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(versions[i].path);
		free(versions[i].text);
	}
	free(versions);
}

static struct span text_of(const struct version *v)
{
	return (struct span){ v->text, v->size };
}

/* The version before of the same document. */
static const struct version *previous(const struct version *versions, size_t i)
{
	for (size_t j = i; j--;)
		if (!strcmp(versions[j].path, versions[i].path))
			return &versions[j];
	return NULL;
}

static void patch_applies_real_edits(void **state)
{
	struct version *versions = calloc(VERSIONS_MAX, sizeof(*versions));
	size_t count = read_history(versions, VERSIONS_MAX);
	struct folder folder;
	struct bytes diffs;
	char name[32];

	folder_make(&folder);
	bytes_init(&diffs, OUT_SIZE_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct version *old = previous(versions, i);
		snprintf(name, sizeof(name), "%04zu.md", i);
		struct diff_side before = { old ? name : NULL, old ? text_of(old) : (struct span){ "", 0 } };
		struct diff_side after = { name, text_of(&versions[i]) };
		if (old)
			folder_write(&folder, name, before.text);
		assert_int_equal(diff_unified(&before, &after, &diffs), 0);
	}
	assert_int_equal(folder_patch(&folder, &diffs), 0);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%04zu.md", i);
		if (!folder_has(&folder, name, text_of(&versions[i])))
			fail_msg("%s: version %zu differs", versions[i].path, i);
	}
	bytes_finish(&diffs);
	folder_remove(&folder);
	free_history(versions, count);
}

/* Beside each real edit another author adds a sentence somewhere: both must be in the merge. */
static void merges_real_edits(void **state)
{
	static const char added[] = " Quite unlike anything.";
	struct version *versions = calloc(VERSIONS_MAX, sizeof(*versions));
	size_t count = read_history(versions, VERSIONS_MAX), merges = 0, clean = 0;
	uint32_t seed = 1;

	for (size_t i = 0; i < count; i++) {
		const struct version *old = previous(versions, i);
		if (!old || !old->size)
			continue;
		size_t at = random_next(&seed, (uint32_t)old->size);
		const char *stop = strstr(old->text + at, ". ");
		if (!stop)
			continue;
		struct bytes theirs, out;
		bytes_init(&theirs, OUT_SIZE_MAX);
		bytes_put(&theirs, old->text, (size_t)(stop + 1 - old->text));
		bytes_put_text(&theirs, added);
		bytes_put_text(&theirs, stop + 1);
		int clashes = merge(old->text, versions[i].text, string_of(&theirs), &out);
		assert_true(clashes >= 0);
		assert_non_null(strstr(string_of(&out), added + 1));
		merges++;
		if (!clashes) {
			clean++;
			assert_int_equal(out.size - 1, versions[i].size + sizeof(added) - 1);
		}
		bytes_finish(&out);
		bytes_finish(&theirs);
	}
	print_message("%zu of %zu merged clean\n", clean, merges);
	assert_true(merges > 250 && clean > merges * 4 / 5);
	free_history(versions, count);
}

static int set_up(void **state)
{
	return diff_init();
}

static int tear_down(void **state)
{
	diff_finish();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_unified_diffs),
		cmocka_unit_test(keeps_maximum_of_buffer),
		cmocka_unit_test(patch_applies_them),
		cmocka_unit_test(patch_makes_and_removes),
		cmocka_unit_test(merges_what_does_not_clash),
		cmocka_unit_test(marks_what_clashes),
		cmocka_unit_test(labels_are_one_line),
		cmocka_unit_test(refuses_to_merge_binaries),
		cmocka_unit_test(long_regions_clash_whole),
		cmocka_unit_test(random_edits_lose_nothing),
		cmocka_unit_test(patch_applies_real_edits),
		cmocka_unit_test(merges_real_edits),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
