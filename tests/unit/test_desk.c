/* The rules of saving (S1 to S8), on a desk over a store in a temporary folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_fixture.h"

static void test_first_save_waits_for_its_window(void **state)
{
	struct fixture *f = *state;

	shell_save(f, "a.md", "one\n", 5);
	assert_text(f, "a.md", "one\n");
	assert_int_equal(count_saves(f, "a.md"), 1);
	assert_int_equal(count_versions(f, "a.md"), 0);
	pass(f, WINDOW - 1);
	assert_int_equal(count_versions(f, "a.md"), 0);
	pass(f, 1);
	assert_int_equal(count_versions(f, "a.md"), 1);
	assert_int_equal(count_saves(f, "a.md"), 0);
	assert_text(f, "a.md", "one\n");
}

static void test_saves_in_the_window_are_versions_in_order(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		char text[16];
		snprintf(text, sizeof(text), "save %d\n", i);
		shell_save(f, "a.md", text, 5);
	}
	pass(f, WINDOW);
	assert_int_equal(count_versions(f, "a.md"), 10);
	assert_int_equal(count_heads(f, "a.md"), 1);
	assert_text(f, "a.md", "save 9\n");
}

static void test_later_saves_are_signed_at_once(void **state)
{
	struct fixture *f = *state;
	struct id first = published(f, "a.md", "one\n", 5);

	shell_save(f, "a.md", "two\n", 6);
	assert_int_equal(count_versions(f, "a.md"), 2);
	struct version head = head_version(f, "a.md");
	assert_int_equal(head.parent_count, 1);
	assert_memory_equal(&head.parents[0], &first, sizeof(first));
	assert_memory_equal(&head.row.document, &first, sizeof(first));
	assert_int_equal(count_heads(f, "a.md"), 1);
}

static void test_equal_bytes_make_no_version(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	shell_save(f, "a.md", "one\n", 5);
	struct handle *h = open_file(f, "a.md", O_WRONLY, 5);
	close_handle(h);
	h = open_file(f, "a.md", O_RDWR, 5);
	put(h, "o", 0);
	close_handle(h);
	assert_int_equal(count_versions(f, "a.md"), 1);
	assert_int_equal(count_saves(f, "a.md"), 0);
}

static void test_empty_file_is_one_version(void **state)
{
	struct fixture *f = *state;

	close_handle(create(f, "empty.md", 5));
	pass(f, WINDOW);
	assert_int_equal(count_versions(f, "empty.md"), 1);
	assert_text(f, "empty.md", "");
}

static void test_append_and_random_writes(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	struct handle *h = open_file(f, "a.md", O_WRONLY, 5), *other = open_file(f, "a.md", O_WRONLY, 6);
	uint64_t at;
	assert_int_equal(handle_append(h, "tw", 2, &at), 2);
	assert_int_equal(at, 4);
	assert_int_equal(handle_append(other, "o\n", 2, &at), 2);
	assert_int_equal(at, 6);
	handle_release(other);
	close_handle(h);
	assert_text(f, "a.md", "one\ntwo\n");
	h = open_file(f, "a.md", O_RDWR, 5);
	put(h, "X", 20);
	assert_int_equal(handle_truncate(h, 5), 0);
	close_handle(h);
	assert_text(f, "a.md", "one\nt");
	assert_int_equal(count_versions(f, "a.md"), 3);
}

static void test_rename_over_is_a_save(void **state)
{
	struct fixture *f = *state;
	struct id first = published(f, "a.md", "one\n", 5);

	shell_save(f, "a.md.unknown", "two\n", 6);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md.unknown"), at(f, "a.md"), 0, 6), 0);
	assert_text(f, "a.md", "two\n");
	assert_gone(f, "a.md.unknown");
	assert_int_equal(count_versions(f, "a.md"), 2);
	assert_parent(f, "a.md", &first);
	pass(f, WINDOW * 2);
	assert_int_equal(count_versions(f, "a.md.unknown"), 0);
}

static void test_rename_over_while_open(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	struct handle *h = create(f, "b.md", 6);
	put(h, "two\n", 0);
	assert_int_equal(desk_rename(f->desk, at(f, "b.md"), at(f, "a.md"), 0, 6), 0);
	close_handle(h);
	assert_text(f, "a.md", "two\n");
	assert_int_equal(count_versions(f, "a.md"), 2);
	pass(f, WINDOW * 2);
	assert_int_equal(count_versions(f, "a.md"), 2);
	assert_int_equal(count_versions(f, "b.md"), 0);
}

static void test_rename_away_and_create_anew_goes_on(void **state)
{
	struct fixture *f = *state;
	struct id first = published(f, "a.md", "one\n", 5);
	FILE *backup = tmpfile();

	/* vim: the document becomes a scratch file, then is created again */
	assert_int_equal(desk_give_file(f->desk, at(f, "a.md"), fileno(backup)), 0);
	assert_gone(f, "a.md");
	struct handle *h = create(f, "a.md", 5);
	put(h, "two\n", 0);
	close_handle(h);
	assert_int_equal(count_versions(f, "a.md"), 2);
	assert_parent(f, "a.md", &first);
	pass(f, WINDOW * 2);
	assert_int_equal(count_versions(f, "a.md"), 2);
	assert_int_equal(count_heads(f, "a.md"), 1);
	char text[5] = { 0 };
	assert_int_equal(pread(fileno(backup), text, 4, 0), 4);
	assert_string_equal(text, "one\n");
	fclose(backup);
}

static void test_removal_waits_and_lock_files_hold_it(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	assert_int_equal(desk_unlink(f->desk, at(f, "a.md")), 0);
	assert_gone(f, "a.md");
	assert_int_equal(count_heads(f, "a.md"), 1);
	f->busy = true;
	pass(f, WINDOW);
	assert_int_equal(count_heads(f, "a.md"), 1);
	f->busy = false;
	pass(f, WINDOW);
	assert_int_equal(count_heads(f, "a.md"), 0);
	assert_int_equal(count_versions(f, "a.md"), 1);
	assert_gone(f, "a.md");
	/* created after the window: a document of its own */
	shell_save(f, "a.md", "new\n", 5);
	pass(f, WINDOW);
	assert_int_equal(head_version(f, "a.md").parent_count, 0);
	assert_int_equal(count_versions(f, "a.md"), 2);
}

static void test_new_name_removed_in_its_window_is_never_published(void **state)
{
	struct fixture *f = *state;

	shell_save(f, "tmp.md", "x\n", 5);
	assert_int_equal(desk_unlink(f->desk, at(f, "tmp.md")), 0);
	pass(f, WINDOW * 3);
	assert_int_equal(count_versions(f, "tmp.md"), 0);
	assert_gone(f, "tmp.md");
}

static void test_plain_rename_keeps_history(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	shell_save(f, "a.md", "two\n", 5);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b.md"), 0, 5), 0);
	assert_gone(f, "a.md");
	assert_text(f, "b.md", "two\n");
	assert_int_equal(count_versions(f, "b.md"), 2);
	assert_int_equal(desk_rename(f->desk, at(f, "b.md"), at(f, "b.md"), 0, 5), 0);
	shell_save(f, "b.md", "three\n", 5);
	assert_int_equal(count_versions(f, "b.md"), 3);
}

static void test_two_editors_lose_nothing(void **state)
{
	struct fixture *f = *state;
	char text[16];

	struct id first = published(f, "a.md", "one\n", 1000);
	struct handle *a = open_file(f, "a.md", O_RDONLY, 30), *b = open_file(f, "a.md", O_RDONLY, 40);
	handle_read(a, text, sizeof(text), 0);
	handle_read(b, text, sizeof(text), 0);
	handle_release(a);
	handle_release(b);
	shell_save(f, "a.md", "by a\n", 30);
	shell_save(f, "a.md", "by b\n", 40);
	assert_int_equal(count_versions(f, "a.md"), 3);
	assert_int_equal(count_heads(f, "a.md"), 2);
	assert_parent(f, "a.md", &first);
	assert_text(f, "a.md", "by b\n");
}

static void test_a_number_of_a_process_given_again_has_seen_nothing(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	close_handle(open_file(f, "a.md", O_RDONLY, 6));
	shell_save(f, "a.md", "two\n", 5);
	pass(f, 1000);
	f->started_ms = f->time_ms;
	shell_save(f, "a.md", "three\n", 6);
	assert_int_equal(count_heads(f, "a.md"), 1);
	f->started_ms = 0;
	close_handle(open_file(f, "a.md", O_RDONLY, 6));
	shell_save(f, "a.md", "four\n", 5);
	shell_save(f, "a.md", "five\n", 6);
	assert_int_equal(count_heads(f, "a.md"), 2);
}

static void test_a_shell_has_seen_what_it_ran(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 10);
	shell_save(f, "a.md", "by its child\n", 20);
	shell_save(f, "a.md", "by the shell\n", 10);
	assert_int_equal(count_versions(f, "a.md"), 3);
	assert_int_equal(count_heads(f, "a.md"), 1);
}

static void test_open_handle_is_sealed_when_idle(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	struct handle *h = open_file(f, "a.md", O_WRONLY, 6), *cut = NULL;
	put(h, "two\n", 4);
	pass(f, WINDOW - 1);
	assert_int_equal(count_versions(f, "a.md"), 1);
	pass(f, 1);
	assert_int_equal(count_versions(f, "a.md"), 2);
	close_handle(h);
	assert_int_equal(count_versions(f, "a.md"), 2);
	/* truncated and not yet written is not a state */
	cut = open_file(f, "a.md", O_WRONLY | O_TRUNC, 6);
	pass(f, WINDOW * 3);
	assert_int_equal(count_versions(f, "a.md"), 2);
	put(cut, "three\n", 0);
	close_handle(cut);
	assert_int_equal(count_versions(f, "a.md"), 3);
}

static void test_unlinked_file_still_reads_and_writes(void **state)
{
	struct fixture *f = *state;
	char text[16] = { 0 };

	published(f, "a.md", "one\n", 5);
	struct handle *h = open_file(f, "a.md", O_RDWR, 6);
	assert_int_equal(desk_unlink(f->desk, at(f, "a.md")), 0);
	put(h, "X", 0);
	assert_int_equal(handle_read(h, text, sizeof(text), 0), 4);
	assert_string_equal(text, "Xne\n");
	close_handle(h);
	pass(f, WINDOW * 2);
	assert_int_equal(count_versions(f, "a.md"), 1);
}

static void test_closed_then_unlinked_is_kept(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "one\n", 5);
	struct handle *h = open_file(f, "a.md", O_WRONLY | O_TRUNC, 6);
	put(h, "two\n", 0);
	assert_int_equal(handle_flush(h), 0); /* close(2) is done, the release still to come */
	assert_int_equal(desk_unlink(f->desk, at(f, "a.md")), 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(count_versions(f, "a.md"), 2);
}

static void test_copy_is_a_fork(void **state)
{
	struct fixture *f = *state;
	struct id first = published(f, "a.md", "one\n", 5);

	struct handle *from = open_file(f, "a.md", O_RDONLY, 7), *to = create(f, "b.md", 7);
	assert_int_equal(handle_copy(from, NULL, 0, to, 0, 1 << 20), 4);
	close_handle(to);
	handle_release(from);
	pass(f, WINDOW);
	assert_text(f, "b.md", "one\n");
	struct version head = head_version(f, "b.md");
	assert_memory_equal(&head.row.id, &first, sizeof(first));
	shell_save(f, "b.md", "two\n", 5);
	assert_parent(f, "b.md", &first);
	assert_text(f, "a.md", "one\n");
	/* read by one process and written by it within the window */
	char text[16];
	from = open_file(f, "a.md", O_RDONLY, 8);
	handle_read(from, text, sizeof(text), 0);
	handle_release(from);
	shell_save(f, "c.md", "one\n", 8);
	shell_save(f, "d.md", "one\n", 9);
	pass(f, WINDOW);
	head = head_version(f, "c.md");
	assert_memory_equal(&head.row.id, &first, sizeof(first));
	head = head_version(f, "d.md");
	assert_memory_not_equal(&head.row.id, &first, sizeof(first));
}

static void test_directories(void **state)
{
	struct fixture *f = *state;
	struct desk_item dir, other;

	assert_int_equal(desk_mkdir(f->desk, at(f, "guides"), 0755, 0, 0, &dir), 0);
	assert_int_equal(desk_mkdir(f->desk, at(f, "guides"), 0755, 0, 0, &other), -EEXIST);
	struct desk_slot inside = { dir.id, "soil.md" };
	struct handle *h;
	struct desk_item item;
	assert_int_equal(desk_create(f->desk, inside, 0644, 0, 0, 5, &h, &item), 0);
	put(h, "soil\n", 0);
	close_handle(h);
	assert_int_equal(desk_rmdir(f->desk, at(f, "guides")), -ENOTEMPTY);
	assert_int_equal(desk_rename(f->desk, at(f, "guides"), at(f, "handbook"), 0, 5), 0);
	pass(f, WINDOW);
	assert_listing(f, &f->root, "handbook ");
	assert_listing(f, &dir.id, "soil.md ");
	assert_int_equal(desk_rename(f->desk, at(f, "handbook"), at(f, "guides"), 0, 5), 0);
	assert_listing(f, &f->root, "guides ");
	assert_int_equal(desk_unlink(f->desk, inside), 0);
	assert_int_equal(desk_rmdir(f->desk, at(f, "guides")), 0);
	pass(f, WINDOW);
	assert_listing(f, &f->root, "");
	assert_int_equal(desk_mkdir(f->desk, at(f, "guides"), 0755, 0, 0, &other), 0);
	pass(f, WINDOW);
	assert_listing(f, &f->root, "guides ");
}

static void test_directory_renamed_before_signed_is_never_published(void **state)
{
	struct fixture *f = *state;
	struct desk_item dir, second;
	struct standing standing[4];
	struct store_txn *txn;

	assert_int_equal(desk_mkdir(f->desk, at(f, "Untitled Folder"), 0755, 0, 0, &dir), 0);
	assert_int_equal(desk_rename(f->desk, at(f, "Untitled Folder"), at(f, "plans"), 0, 5), 0);
	assert_int_equal(desk_mkdir(f->desk, at(f, "Untitled Folder"), 0755, 0, 0, &second), 0);
	assert_memory_not_equal(&dir.id, &second.id, sizeof(dir.id));
	assert_int_equal(desk_rmdir(f->desk, at(f, "Untitled Folder")), 0);
	pass(f, WINDOW * 2);
	assert_listing(f, &f->root, "plans ");
	assert_int_equal(store_begin(f->store, false, &txn), 0);
	assert_int_equal(tree_standing(txn, &f->root, &f->root, "Untitled Folder", standing, 4), 0);
	store_abort(txn);
}

struct places {
	uint64_t cookies[200];
	size_t count;
};

static int note_place(void *context, const struct desk_item *item)
{
	struct places *places = context;

	places->cookies[places->count++] = item->cookie;
	return 0;
}

/* A listing that goes on while names are signed gives none twice. */
static void test_signed_names_keep_their_places(void **state)
{
	struct fixture *f = *state;
	struct places before = { .count = 0 }, after = { .count = 0 };
	char name[20];

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "n%d.md", i);
		shell_save(f, name, "text\n", 5);
	}
	assert_int_equal(desk_each(f->desk, &f->root, &f->root, 0, note_place, &before), 0);
	assert_int_equal(before.count, 200);
	for (int i = 0; i < 4; i++)
		pass(f, WINDOW);
	assert_int_equal(count_versions(f, "n199.md"), 1);
	assert_int_equal(desk_each(f->desk, &f->root, &f->root, 0, note_place, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void test_exchange(void **state)
{
	struct fixture *f = *state;

	published(f, "a.md", "A\n", 5);
	published(f, "b.md", "B\n", 5);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b.md"), RENAME_EXCHANGE, 5), 0);
	assert_text(f, "a.md", "B\n");
	assert_text(f, "b.md", "A\n");
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b.md"), RENAME_NOREPLACE, 5), -EEXIST);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b.md"), 4, 5), -EINVAL);
	shell_save(f, "a.md", "BB\n", 5);
	assert_int_equal(count_heads(f, "a.md"), 1);
}

static void test_head_and_merge(void **state)
{
	struct fixture *f = *state;
	struct id first = published(f, "a.md", "one\n", 5);

	shell_save(f, "a.md", "two\n", 5);
	assert_int_equal(desk_set_head(f->desk, at(f, "a.md"), &first), 0);
	assert_text(f, "a.md", "one\n");
	assert_int_equal(f->changed, 1);
	assert_int_equal(desk_unlink(f->desk, at(f, "a.md")), 0);
	pass(f, WINDOW);
	assert_int_equal(desk_set_head(f->desk, at(f, "a.md"), &first), 0);
	assert_text(f, "a.md", "one\n");

	char text[16];
	struct handle *b = open_file(f, "a.md", O_RDONLY, 40);
	handle_read(b, text, sizeof(text), 0);
	handle_release(b);
	shell_save(f, "a.md", "x\n", 30);
	shell_save(f, "a.md", "y\n", 40);
	assert_int_equal(count_heads(f, "a.md"), 2);
	struct standing standing[2];
	struct store_txn *txn;
	assert_int_equal(store_begin(f->store, false, &txn), 0);
	assert_int_equal(tree_standing(txn, &f->root, &f->root, "a.md", standing, 2), 2);
	store_abort(txn);
	const struct id parents[] = { standing[0].id, standing[1].id };
	assert_int_equal(desk_merge(f->desk, at(f, "a.md"), parents, 2, "xy\n", 3), 0);
	assert_int_equal(count_heads(f, "a.md"), 1);
	assert_text(f, "a.md", "xy\n");
	assert_int_equal(head_version(f, "a.md").parent_count, 2);
}

static void test_attributes_stay(void **state)
{
	struct fixture *f = *state;
	struct attributes a = { .permissions = 0600, .mtime_ns = 123456789 };
	struct desk_item item;

	published(f, "a.md", "one\n", 5);
	assert_int_equal(desk_set_attributes(f->desk, at(f, "a.md"), DESK_SET_MTIME | DESK_SET_PERMISSIONS, &a), 0);
	assert_int_equal(count_versions(f, "a.md"), 1);
	desk_lookup(f->desk, &f->root, &f->root, "a.md", &item);
	uint64_t ino = item.attributes.ino;
	assert_int_equal(item.attributes.mtime_ns, 123456789);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b.md"), 0, 5), 0);
	close_desk(f);
	open_desk(f, false, true);
	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, "b.md", &item), 0);
	assert_int_equal(item.attributes.mtime_ns, 123456789);
	assert_int_equal(item.attributes.permissions, 0600);
	assert_int_equal(item.attributes.ino, ino);
	/* the x bit is the version's */
	a.permissions = 0755;
	assert_int_equal(desk_set_attributes(f->desk, at(f, "b.md"), DESK_SET_PERMISSIONS, &a), 0);
	assert_int_equal(count_versions(f, "b.md"), 2);
	assert_int_equal(head_version(f, "b.md").row.mode, MODE_EXECUTABLE);
}

static void test_links(void **state)
{
	struct fixture *f = *state;
	struct desk_item item;
	char target[64];

	assert_int_equal(desk_symlink(f->desk, at(f, "l"), "../there.md", 0, 0, &item), 0);
	assert_int_equal(item.mode, MODE_LINK);
	assert_int_equal(desk_readlink(f->desk, &f->root, at(f, "l"), target, sizeof(target)), 0);
	assert_string_equal(target, "../there.md");
	pass(f, WINDOW);
	assert_int_equal(desk_readlink(f->desk, &f->root, at(f, "l"), target, sizeof(target)), 0);
	assert_string_equal(target, "../there.md");
	assert_int_equal(desk_symlink(f->desk, at(f, "l"), "x", 0, 0, &item), -EEXIST);
}

/* The daemon is killed: nothing is closed. A copy of the folder as it is then is opened. */
static void crash(struct fixture *f)
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
	struct desk_item dir;

	published(f, "old.md", "old\n", 5);
	published(f, "gone.md", "gone\n", 5);
	shell_save(f, "new.md", "one\n", 5);
	shell_save(f, "new.md", "two\n", 5);
	assert_int_equal(desk_mkdir(f->desk, at(f, "dir"), 0755, 0, 0, &dir), 0);
	assert_int_equal(desk_unlink(f->desk, at(f, "gone.md")), 0);
	struct handle *h = open_file(f, "old.md", O_WRONLY | O_TRUNC, 6);
	put(h, "closed, not released\n", 0);
	assert_int_equal(handle_flush(h), 0);

	crash(f);
	free(h);
	assert_text(f, "new.md", "two\n");
	assert_text(f, "old.md", "closed, not released\n");
	assert_gone(f, "gone.md");
	pass(f, WINDOW);
	pass(f, 1);
	assert_int_equal(count_versions(f, "new.md"), 2);
	assert_int_equal(count_versions(f, "old.md"), 2);
	assert_int_equal(count_heads(f, "old.md"), 1);
	assert_int_equal(count_heads(f, "gone.md"), 0);
	struct desk_item item;
	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, "dir", &item), 0);
	assert_int_equal(item.what, WHAT_DIRECTORY);
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct desk_item item;
	struct handle *h;
	char long_name[300];

	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[299] = '\0';
	assert_int_equal(desk_create(f->desk, at(f, long_name), 0644, 0, 0, 5, &h, &item), -ENAMETOOLONG);
	assert_int_equal(desk_create(f->desk, at(f, "a@"), 0644, 0, 0, 5, &h, &item), -EINVAL);
	assert_int_equal(desk_create(f->desk, at(f, "a\xff"), 0644, 0, 0, 5, &h, &item), -EINVAL);
	assert_int_equal(desk_open_file(f->desk, at(f, "none.md"), O_RDONLY, 5, &h), -ENOENT);
	h = create(f, "a.md", 5);
	assert_int_equal(handle_write(h, "x", 1, 1 << 20), -EFBIG);
	close_handle(h);
	assert_int_equal(desk_rename(f->desk, at(f, "a.md"), at(f, "b@"), 0, 5), -EINVAL);
	assert_int_equal(desk_rename(f->desk, at(f, "none"), at(f, "b"), 0, 5), -ENOENT);
	assert_text(f, "a.md", "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown), \
		{ #name ", together", name, setup_together, teardown, NULL }
	const struct CMUnitTest tests[] = {
		T(test_first_save_waits_for_its_window),
		T(test_saves_in_the_window_are_versions_in_order),
		T(test_later_saves_are_signed_at_once),
		T(test_equal_bytes_make_no_version),
		T(test_empty_file_is_one_version),
		T(test_append_and_random_writes),
		T(test_rename_over_is_a_save),
		T(test_rename_over_while_open),
		T(test_rename_away_and_create_anew_goes_on),
		T(test_removal_waits_and_lock_files_hold_it),
		T(test_new_name_removed_in_its_window_is_never_published),
		T(test_plain_rename_keeps_history),
		T(test_two_editors_lose_nothing),
		T(test_a_number_of_a_process_given_again_has_seen_nothing),
		T(test_a_shell_has_seen_what_it_ran),
		T(test_open_handle_is_sealed_when_idle),
		T(test_unlinked_file_still_reads_and_writes),
		T(test_closed_then_unlinked_is_kept),
		T(test_copy_is_a_fork),
		T(test_directories),
		T(test_directory_renamed_before_signed_is_never_published),
		T(test_signed_names_keep_their_places),
		T(test_exchange),
		T(test_head_and_merge),
		T(test_attributes_stay),
		T(test_links),
		T(test_what_waits_survives_a_kill),
		T(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
