/* Saves of a published document wait a moment, to be signed in one transaction with others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "desk_fixture.h"

#define TOGETHER 3 /* ms */
#define PROCESS 5

/* Of the store as it is, without asking the desk to sign first. */
static int count_signed(struct fixture *f, const char *name)
{
	struct store_txn *txn;
	uint64_t count;

	assert_int_equal(store_begin(f->store, false, &txn), 0);
	assert_int_equal(document_count(txn, &f->root, &f->root, name, &count), 0);
	store_abort(txn);
	return (int)count;
}

static uint64_t lookup_mtime_ns(struct fixture *f, const char *name)
{
	struct desk_item item;

	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, name, &item), 0);
	return item.attributes.mtime_ns;
}

/* All versions in one line, the newest first. */
static void assert_line(struct fixture *f, const char *name, int count)
{
	struct version version = head_version(f, name);
	struct store_txn *txn;

	assert_int_equal(count_versions(f, name), count);
	assert_int_equal(count_heads(f, name), 1);
	assert_int_equal(store_begin(f->store, false, &txn), 0);
	for (int i = 1; i < count; i++) {
		struct id parent = version.parents[0];
		assert_int_equal(version.parent_count, 1);
		assert_int_equal(document_version(txn, &parent, &version), 0);
	}
	assert_int_equal(version.parent_count, 0);
	store_abort(txn);
}

/* A save alone waits for nobody: this one was not alone. */
static void hurry(struct fixture *f)
{
	shell_save(f, "other.md", "other\n", PROCESS);
}

static void save_many(struct fixture *f, const char *name, int count)
{
	char text[32];

	hurry(f);
	for (int i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "%s %d\n", name, i);
		shell_save(f, name, text, PROCESS);
	}
}

static void test_ten_saves_are_ten_versions(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	unsigned soon = f->soon;
	save_many(f, "a.md", 10);
	assert_int_equal(count_signed(f, "a.md"), 9); /* the eighth had them signed */
	assert_true(f->soon > soon);
	pass(f, TOGETHER - 1);
	assert_int_equal(count_signed(f, "a.md"), 9);
	pass(f, 1);
	assert_int_equal(count_signed(f, "a.md"), 11);
	assert_line(f, "a.md", 11);
	assert_text(f, "a.md", "a.md 9\n");
}

static void test_several_documents_in_one_transaction(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	published(f, "b.md", "old\n", PROCESS);
	save_many(f, "a.md", 2);
	save_many(f, "b.md", 2);
	desk_settle(f->desk);
	assert_int_equal(count_signed(f, "a.md"), 3);
	assert_int_equal(count_signed(f, "b.md"), 3);
	assert_line(f, "a.md", 3);
	assert_line(f, "b.md", 3);
}

static void test_who_reads_has_seen_a_version(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	hurry(f);
	shell_save(f, "a.md", "new\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 1);
	handle_release(open_file(f, "a.md", O_RDONLY, 30));
	assert_int_equal(count_signed(f, "a.md"), 2);
	struct version seen = head_version(f, "a.md");
	shell_save(f, "a.md", "newer\n", PROCESS);
	shell_save(f, "a.md", "by another\n", 30);
	assert_parent(f, "a.md", &seen.row.id);
	assert_int_equal(count_heads(f, "a.md"), 2);
}

/* Its own save is what a process has seen, signed after it was closed. */
static void test_who_saves_has_seen_it(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	hurry(f);
	shell_save(f, "a.md", "mine\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 1);
	pass(f, TOGETHER);
	struct version mine = head_version(f, "a.md");
	hurry(f);
	shell_save(f, "a.md", "theirs\n", 30);
	shell_save(f, "a.md", "mine again\n", PROCESS);
	assert_parent(f, "a.md", &mine.row.id);
	assert_int_equal(count_heads(f, "a.md"), 2);
}

static void test_names_move_after_what_waits(void **state)
{
	struct fixture *f = *state;
	const struct attributes a = { .permissions = 0755 };

	published(f, "a.md", "old\n", PROCESS);
	published(f, "b.md", "old b\n", PROCESS);
	save_many(f, "a.md", 2);
	save_many(f, "b.md", 2);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "c.md"), 0, PROCESS), 0);
	assert_int_equal(count_versions(f, "c.md"), 3);
	assert_text(f, "c.md", "a.md 1\n");
	assert_int_equal(desk_unlink(f->desk, at(f, "b.md")), 0);
	assert_int_equal(count_versions(f, "b.md"), 3);
	save_many(f, "c.md", 1);
	assert_int_equal(desk_set_attributes(f->desk, at(f, "c.md"), DESK_SET_PERMISSIONS, &a), 0);
	assert_line(f, "c.md", 5);
}

/* As an editor saves: a local file takes the name. */
static void take_over(struct fixture *f, const char *name, const char *text, uint32_t process)
{
	const struct attributes a = { .permissions = 0640, .mtime_ns = 77 };
	int fd = memfd_create("taken", 0);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(desk_take_file(f->desk, fd, at(f, name), &a, process, NULL), 0);
	close(fd);
}

static void test_files_taken_over_are_signed_together(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	hurry(f);
	take_over(f, "a.md", "one\n", PROCESS);
	take_over(f, "a.md", "two\n", PROCESS);
	take_over(f, "a.md", "two\n", PROCESS); /* the same bytes are no version */
	save_many(f, "a.md", 1);
	take_over(f, "a.md", "three\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 1);
	take_over(f, "a.md", "four\n", 30);
	assert_int_equal(count_signed(f, "a.md"), 5);
	pass(f, TOGETHER);
	assert_int_equal(count_signed(f, "a.md"), 6);
	assert_line(f, "a.md", 6);
	assert_text(f, "a.md", "four\n");
}

static void kill_program(struct fixture *f)
{
	char copy[80], command[256];

	snprintf(copy, sizeof(copy), "%s.crash", f->path);
	snprintf(command, sizeof(command), "cp -a %s %s", f->path, copy);
	assert_int_equal(system(command), 0);
	close_desk(f);
	nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, f->path), 0);
	open_desk(f, false, false);
}

static void test_what_waits_survives_a_kill(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	pass(f, 10000);
	save_many(f, "a.md", 5);
	uint64_t saved_ns = f->time_ms * 1000000;
	pass(f, TOGETHER - 1);
	kill_program(f);
	assert_text(f, "a.md", "a.md 4\n");
	assert_int_equal(lookup_mtime_ns(f, "a.md"), saved_ns);
	pass(f, WINDOW);
	assert_int_equal(count_signed(f, "a.md"), 6);
	assert_line(f, "a.md", 6);
	assert_int_equal(lookup_mtime_ns(f, "a.md"), saved_ns);
}

static void test_a_file_taken_over_survives_a_kill(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	hurry(f);
	take_over(f, "a.md", "one\n", PROCESS);
	take_over(f, "a.md", "two\n", PROCESS);
	kill_program(f);
	assert_text(f, "a.md", "two\n");
	assert_int_equal(lookup_mtime_ns(f, "a.md"), 77);
	pass(f, WINDOW);
	assert_int_equal(count_signed(f, "a.md"), 3);
	assert_line(f, "a.md", 3);
}

static void test_nothing_is_left_at_the_end(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	save_many(f, "a.md", 3);
	close_desk(f);
	open_desk(f, false, false);
	assert_int_equal(count_signed(f, "a.md"), 4);
	assert_line(f, "a.md", 4);
}

/* Nobody knows who saves: what such a one has seen is not to be found out later. */
static void test_an_unknown_process_waits_for_nobody(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	hurry(f);
	shell_save(f, "a.md", "new\n", 0);
	assert_int_equal(count_signed(f, "a.md"), 2);
}

static void test_a_save_alone_waits_for_nobody(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "old\n", PROCESS);
	shell_save(f, "a.md", "new\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 2);
	pass(f, TOGETHER + 1);
	shell_save(f, "a.md", "newer\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 3);
	pass(f, TOGETHER);
	shell_save(f, "a.md", "newest\n", PROCESS);
	assert_int_equal(count_signed(f, "a.md"), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_together, teardown)
	const struct CMUnitTest tests[] = {
		T(test_ten_saves_are_ten_versions),
		T(test_several_documents_in_one_transaction),
		T(test_who_reads_has_seen_a_version),
		T(test_who_saves_has_seen_it),
		T(test_names_move_after_what_waits),
		T(test_files_taken_over_are_signed_together),
		T(test_what_waits_survives_a_kill),
		T(test_a_file_taken_over_survives_a_kill),
		T(test_nothing_is_left_at_the_end),
		T(test_a_save_alone_waits_for_nobody),
		T(test_an_unknown_process_waits_for_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
