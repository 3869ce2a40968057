#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_limits.h"
#include "scratch.h"

struct folder {
	char path[256];
	int fd;
	struct scratch *s;
};

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");
	struct folder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->path, sizeof(f->path), "%s/scratch-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY);
	assert_true(f->fd >= 0);
	assert_int_equal(scratch_open(&f->s, f->fd, NULL, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct folder *f = *state;
	char command[512];

	scratch_close(f->s);
	close(f->fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->path);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static bool has_notes(void *context, const char *name)
{
	return strcmp(name, "notes.md") == 0;
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool created, exclusively; /* scratch when created without, with O_EXCL */
	} cases[] = {
		{ "notes.md", false, false },
		{ "README", false, false },
		{ "a", false, false },
		{ "~", true, true },
		{ ".notes.md.swp", true, true },
		{ ".notes.md.swx", true, true },
		{ ".profile", true, true },
		{ ".git", true, true },
		{ ".\xff\xfe", true, true },
		{ "4913", true, true },
		{ "49130", false, false },
		{ "notes.md~", true, true },
		{ "#notes.md#", true, true },
		{ "#notes.md", false, false },
		{ ".#notes.md", true, true },
		{ "sedAb12Xy", false, true },
		{ "sedAb12X", false, false },
		{ "sedAb12Xyz", false, false },
		{ "sed-ition", false, false },
		{ "sed.notes", false, false },
		{ "XXq1w2e3", false, true },
		{ ".goutputstream-AB12CD", true, true },
		{ ".~lock.notes.odt#", true, true },
		{ "lu123abcd.tmp", true, true },
		{ "x.tmp", true, true },
		{ "~$report.docx", true, true },
		{ "~WRL0001.tmp", true, true },
		{ ".notes.md.Ab12Xy", true, true },
		{ "notes.md.Ab12Xy", false, true },
		{ "notes.md.Ab12X", false, false },
		{ "notes.md.oAb12Xy", false, true },
		{ "notes.md.e-mail", false, false },
		{ "other.md.Ab12Xy", false, false }, /* no such document beside */
		{ ".md.Ab12Xy", true, true },
		{ "notes.orig", true, true },
		{ "notes.rej", true, true },
		{ "notes.bak", false, false },
		{ "notes.md.save", false, true },
		{ "notes.md.save.1", false, true },
		{ "notes.md.saved", false, false },
		{ "game.save", false, false }, /* no such document beside */
		{ "nano.4711.save", true, true },
		{ "nano.guide.save", false, false },
		{ "DEADJOE", true, true },
		{ "DEADJOES", false, false },
		{ "ed.hup", true, true },
		{ "notes.kate-swp", true, true },
		{ "x.vsctmp", true, true },
		{ "x___jb_tmp___", true, true },
		{ "x___jb_old___", true, true },
		{ "Thumbs.db", true, true },
		{ "desktop.ini", true, true },
		{ "big.iso.part", true, true },
		{ "big.iso.crdownload", true, true },
		{ "partial.md", false, false },
	};
	struct folder *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("case: %s\n", cases[i].name);
		assert_int_equal(scratch_is_name(f->s, cases[i].name, false, has_notes, NULL), cases[i].created);
		assert_int_equal(scratch_is_name(f->s, cases[i].name, true, has_notes, NULL), cases[i].exclusively);
		if (cases[i].exclusively)
			assert_non_null(scratch_rule(f->s, cases[i].name));
	}
}

static void test_longest_name(void **state)
{
	struct folder *f = *state;
	char name[NAME_SIZE_MAX + 64];

	for (size_t size = NAME_SIZE_MAX - 8; size < sizeof(name); size++) {
		memset(name, 'x', size);
		memcpy(name + size - 7, ".Ab12Xy", 8);
		assert_false(scratch_is_name(f->s, name, true, has_notes, NULL));
	}
}

static void test_rule_told(void **state)
{
	static const struct {
		const char *name, *rule;
	} cases[] = {
		{ ".notes.md.swp", ".*.sw[a-px]" },
		{ ".hidden", ".*" },
		{ "notes.md~", "*~" },
		{ "notes.md.Ab12Xy", "<doc>.??????" },
		{ "sedAb12Xy", "sed??????" },
	};
	struct folder *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(scratch_rule(f->s, cases[i].name), cases[i].rule);
	assert_null(scratch_rule(f->s, "notes.md"));
}

static void test_config_rules(void **state)
{
	static const struct {
		const char *name, *rules, *file;
		bool scratch;
	} cases[] = {
		{ "added", "*.bak\n", "notes.bak", true },
		{ "added, no last newline", "*.bak", "notes.bak", true },
		{ "comment", "# *.bak\n", "notes.bak", false },
		{ "spaces and empty lines", "\n\n  \t*.bak \t\r\n\n", "notes.bak", true },
		{ "taken away", "!*.tmp\n", "x.tmp", false },
		{ "taken away, spaces", "! *.tmp \n", "x.tmp", false },
		{ "another row still holds", "!*.tmp\n", "lu12.tmp", true },
		{ "hidden files published", "!.*\n", ".profile", false },
		{ "swap files all the same", "!.*\n", ".notes.md.swp", true },
		{ "rsync's all the same", "!.*\n", ".notes.md.Ab12Xy", true },
		{ "emacs's taken away", "!#*#\n", "#notes.md#", false },
		{ "added wins over taken away", "!*.tmp\nx*.tmp\n", "x.tmp", true },
		{ "class", "*.[ch]\n", "x.c", true },
		{ "class with bracket", "x[]]\n", "x]", true },
		{ "escaped", "\\#*\n", "#x", true },
		{ "escaped bracket", "\\[x\n", "[x", true },
	};
	struct folder *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scratch *s = NULL;

		print_message("case: %s\n", cases[i].name);
		assert_int_equal(scratch_open(&s, f->fd, cases[i].rules, NULL), 0);
		assert_int_equal(scratch_is_name(s, cases[i].file, true, has_notes, NULL), cases[i].scratch);
		scratch_close(s);
	}
}

static void test_bad_rules(void **state)
{
	static const struct {
		const char *name, *rules;
	} cases[] = {
		{ "slash", "a/b\n" },
		{ "not in the table", "!*.nothing\n" },
		{ "nothing taken away", "!\n" },
		{ "lone backslash", "x\\\n" },
		{ "open bracket", "x[a-z\n" },
		{ "open bracket, negated", "x[!]\n" },
		{ "good, then bad", "*.bak\nx[\n" },
	};
	struct folder *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scratch *s = NULL;
		struct why why = { "" };

		print_message("case: %s\n", cases[i].name);
		assert_int_equal(scratch_open(&s, f->fd, cases[i].rules, &why), -EINVAL);
		assert_null(s);
		assert_string_not_equal(why.text, "");
	}

	char rule[NAME_SIZE_MAX + 2];
	struct scratch *s = NULL;
	memset(rule, 'x', sizeof(rule) - 1);
	rule[sizeof(rule) - 1] = '\0';
	assert_int_equal(scratch_open(&s, f->fd, rule, NULL), -EINVAL);
	assert_null(s);
}

static void test_description_names_every_rule(void **state)
{
	struct folder *f = *state;
	struct scratch *s = NULL;
	struct bytes text;

	assert_int_equal(scratch_open(&s, f->fd, "*.bak\n!*.tmp\n", NULL), 0);
	bytes_init(&text, 64 * 1024);
	scratch_describe(s, &text);
	bytes_put(&text, "", 1);
	assert_int_equal(bytes_error(&text), 0);
	assert_non_null(strstr((char *)text.data, "*.bak "));
	assert_non_null(strstr((char *)text.data, "\n!*.tmp "));
	assert_non_null(strstr((char *)text.data, "\n4913 "));
	assert_non_null(strstr((char *)text.data, "O_EXCL"));
	bytes_finish(&text);
	scratch_close(s);
}

/* ---- files ---- */

static void touch(const struct folder *f, const struct id *directory, const char *name)
{
	char path[512];

	assert_int_equal(scratch_path(path, sizeof(path), directory, name), 0);

	int fd = openat(scratch_fd(f->s), path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void erase(const struct folder *f, const struct id *directory, const char *name)
{
	char path[512];

	assert_int_equal(scratch_path(path, sizeof(path), directory, name), 0);
	assert_int_equal(unlinkat(scratch_fd(f->s), path, 0), 0);
}

static void test_paths(void **state)
{
	static const struct id directory = { { 1, 2, 3 } };
	char id[ID_TEXT_SIZE + 1], path[ID_TEXT_SIZE + 4];

	id_format(id, &directory);
	assert_int_equal(scratch_path(path, sizeof(path), &directory, NULL), 0);
	assert_string_equal(path, id);
	assert_int_equal(scratch_path(path, sizeof(path), &directory, "ab"), 0);
	assert_memory_equal(path, id, ID_TEXT_SIZE);
	assert_string_equal(path + ID_TEXT_SIZE, "/ab");
	assert_int_equal(scratch_path(path, sizeof(path), &directory, "abc"), -ENAMETOOLONG);
}

static void test_directories(void **state)
{
	static const struct id here = { { 1 } }, there = { { 2 } };
	struct folder *f = *state;
	struct stat st;
	char path[ID_TEXT_SIZE + 1];

	assert_int_equal(fstat(scratch_fd(f->s), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(scratch_is_empty(f->s, &here));
	assert_false(scratch_exists(f->s, &here, ".x"));
	assert_int_equal(scratch_make_directory(f->s, &here), 0);
	assert_int_equal(scratch_make_directory(f->s, &here), 0);
	assert_int_equal(scratch_path(path, sizeof(path), &here, NULL), 0);
	assert_int_equal(fstatat(scratch_fd(f->s), path, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(scratch_is_empty(f->s, &here));

	touch(f, &here, ".x");
	assert_true(scratch_exists(f->s, &here, ".x"));
	assert_false(scratch_exists(f->s, &there, ".x"));
	assert_false(scratch_is_empty(f->s, &here));
	assert_true(scratch_is_empty(f->s, &there));
	erase(f, &here, ".x");
	assert_true(scratch_is_empty(f->s, &here));
}

static void test_busy(void **state)
{
	static const struct {
		const char *file;
		bool busy;
	} cases[] = {
		{ ".notes.md.swp", true },   { ".notes.md.swo", true },	   { ".notes.md.swa", true },
		{ ".notes.md.swx", true },   { ".notes.md.swz", false },   { ".notes.md.sw", false },
		{ ".#notes.md", true },	     { ".~lock.notes.md#", true }, { "#notes.md#", true },
		{ "notes.md~", false },	     { ".other.md.swp", false },   { ".notes.md", false },
	};
	static const struct id here = { { 7 } };
	struct folder *f = *state;
	char longest[NAME_SIZE_MAX + 1];

	assert_false(scratch_is_busy(f->s, &here, "notes.md"));
	assert_int_equal(scratch_make_directory(f->s, &here), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("case: %s\n", cases[i].file);
		touch(f, &here, cases[i].file);
		assert_int_equal(scratch_is_busy(f->s, &here, "notes.md"), cases[i].busy);
		erase(f, &here, cases[i].file);
	}

	char lock_path[512];
	assert_int_equal(scratch_path(lock_path, sizeof(lock_path), &here, ".#notes.md"), 0);
	assert_int_equal(symlinkat("user@host.1", scratch_fd(f->s), lock_path), 0); /* dangles */
	assert_true(scratch_is_busy(f->s, &here, "notes.md"));

	memset(longest, 'x', NAME_SIZE_MAX);
	longest[NAME_SIZE_MAX] = '\0';
	assert_false(scratch_is_busy(f->s, &here, longest));
}

struct seen {
	int count, stop_at;
	uint64_t sum; /* of what was told, whatever the order */
};

static int see(void *context, const struct id *directory, const char *name)
{
	struct seen *seen = context;

	seen->count++;
	seen->sum += (uint64_t)directory->bytes[0] * 1000 + (uint64_t)(name[1] - '0');
	return seen->count == seen->stop_at ? -ECANCELED : 0;
}

static void test_each(void **state)
{
	static const struct id here = { { 1 } }, there = { { 2 } }, nowhere = { { 3 } };
	struct folder *f = *state;
	struct seen seen;

	assert_int_equal(scratch_make_directory(f->s, &here), 0);
	assert_int_equal(scratch_make_directory(f->s, &there), 0);
	assert_int_equal(mkdirat(scratch_fd(f->s), "lost+found", 0700), 0); /* nobody's */
	touch(f, &here, ".1");
	touch(f, &here, ".2");
	touch(f, &there, ".4");

	seen = (struct seen){ 0 };
	assert_int_equal(scratch_each(f->s, NULL, see, &seen), 0);
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.sum, 4007);
	seen = (struct seen){ 0 };
	assert_int_equal(scratch_each(f->s, &here, see, &seen), 0);
	assert_int_equal(seen.sum, 2003);
	seen = (struct seen){ 0 };
	assert_int_equal(scratch_each(f->s, &nowhere, see, &seen), 0);
	assert_int_equal(seen.count, 0);
	seen = (struct seen){ .stop_at = 2 };
	assert_int_equal(scratch_each(f->s, NULL, see, &seen), -ECANCELED);
	assert_int_equal(seen.count, 2);
}

static void test_open_fails(void **state)
{
	struct folder *f = *state;
	struct scratch *s = NULL;
	struct why why = { "" };

	assert_int_equal(unlinkat(f->fd, "scratch", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/", f->fd, "scratch"), 0);
	assert_true(scratch_open(&s, f->fd, NULL, &why) < 0);
	assert_null(s);
	assert_string_not_equal(why.text, "");
	scratch_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_longest_name),
		TEST(test_rule_told),
		TEST(test_config_rules),
		TEST(test_bad_rules),
		TEST(test_description_names_every_rule),
		TEST(test_paths),
		TEST(test_directories),
		TEST(test_busy),
		TEST(test_each),
		TEST(test_open_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
