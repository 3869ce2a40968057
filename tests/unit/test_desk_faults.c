/*
 * The desk on a disk that fails: the n-th write, sync or index commit of a fixed day's work, for n = 1, 2, ….
 * What fails says so and changes nothing that shows, what was acknowledged is there after a restart, and
 * when the fault is gone everything works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "desk_bench.h"

#define NAMES_MAX 16

/* ---- a day's work, with what must show after each part of it ---- */

struct shown { /* by name; text NULL: nothing, "/": a directory */
	const char *name, *text;
};

struct day {
	struct bench b;
	struct shown shown[NAMES_MAX];
	struct handle *open; /* of open.md, truncated and not yet written */
};

static void note(struct day *d, const char *name, const char *text)
{
	size_t i = 0;

	while (d->shown[i].name && strcmp(d->shown[i].name, name) != 0)
		i++;
	assert_true(i < NAMES_MAX);
	d->shown[i] = (struct shown){ name, text };
}

static const char *text_shown(const struct day *d, const char *name)
{
	for (size_t i = 0; i < NAMES_MAX && d->shown[i].name; i++)
		if (strcmp(d->shown[i].name, name) == 0)
			return d->shown[i].text;
	return NULL;
}

static void check_shown(struct day *d, const char *when)
{
	for (size_t i = 0; i < NAMES_MAX && d->shown[i].name; i++) {
		const char *expected = d->shown[i].text;
		char text[256] = "";
		struct desk_item item;
		int err = desk_lookup(d->b.desk, &d->b.root, &d->b.root, d->shown[i].name, &item);
		ssize_t size = err == 0 && item.what == WHAT_VERSION ? read_all(&d->b, d->shown[i].name, text, sizeof(text) - 1) : 0;
		bool right = !expected ? err == -ENOENT
				       : err == 0 && (expected[0] == '/' ? item.what == WHAT_DIRECTORY
					 : size == (ssize_t)strlen(expected) && strcmp(text, expected) == 0);
		if (!right)
			fail_msg("call %d, %s: %s shows \"%s\" (%d, %zd), not \"%s\"", faults.fail_at, when, d->shown[i].name,
				 text, err, size, expected ? expected : "nothing");
	}
}

/* As a program saves: any step may fail, and only what close(2) acknowledged counts. */
static int save_text(struct day *d, const char *name, const char *text)
{
	struct desk_item item;
	struct handle *h;
	bool exists = text_shown(d, name);

	int err = exists ? desk_open_file(d->b.desk, at(&d->b, name), O_WRONLY | O_TRUNC, 5, &h)
			 : desk_create(d->b.desk, at(&d->b, name), 0644, 1, 1, 5, &h, &item);
	if (err < 0)
		return err;
	ssize_t done = handle_write(h, text, strlen(text), 0);
	assert_int_equal(done, (ssize_t)strlen(text));
	note(d, name, text); /* all who look see it, kept or not */
	err = handle_flush(h);
	int released = handle_release(h);
	return err < 0 ? err : released;
}

static int step_save_new(struct day *d) { return save_text(d, "new.md", "new\n"); }
static int step_save_again(struct day *d) { return save_text(d, "old.md", "old, edited\n"); }
static int step_save_twice(struct day *d) { return save_text(d, "new.md", "new, twice\n"); }
static int step_temporary(struct day *d) { return save_text(d, "old.md.xyz", "old, by rename\n"); }

static int rename_shown(struct day *d, const char *from, const char *to, unsigned flags)
{
	const char *text = text_shown(d, from), *other = text_shown(d, to);

	int err = desk_rename(d->b.desk, at(&d->b, from), at(&d->b, to), flags, 5);
	if (err == 0) {
		note(d, to, text);
		note(d, from, flags ? other : NULL);
	}
	return err;
}

static int step_rename_over(struct day *d) { return rename_shown(d, "old.md.xyz", "old.md", 0); }
static int step_rename_new(struct day *d) { return rename_shown(d, "new.md", "newer.md", 0); }
static int step_rename_old(struct day *d) { return rename_shown(d, "moved.md", "away.md", 0); }
static int step_exchange(struct day *d) { return rename_shown(d, "one.md", "two.md", RENAME_EXCHANGE); }

static int step_unlink(struct day *d)
{
	int err = desk_unlink(d->b.desk, at(&d->b, "gone.md"));

	if (err == 0)
		note(d, "gone.md", NULL);
	return err;
}

static int step_create_again(struct day *d)
{
	return text_shown(d, "gone.md") ? 0 : save_text(d, "gone.md", "back\n");
}

static int step_mkdir(struct day *d)
{
	struct desk_item item;

	int err = desk_mkdir(d->b.desk, at(&d->b, "dir"), 0750, 3, 4, &item);
	if (err == 0)
		note(d, "dir", "/");
	return err;
}

static int step_move_into(struct day *d)
{
	struct desk_item item;

	if (desk_lookup(d->b.desk, &d->b.root, &d->b.root, "dir", &item) < 0)
		return -EIO; /* the step before failed */
	int err = desk_rename(d->b.desk, at(&d->b, "inside.md"), (struct desk_slot){ item.id, "x.md" }, 0, 5);
	if (err == 0)
		note(d, "inside.md", NULL);
	return err;
}

static int step_rmdir(struct day *d)
{
	int err = desk_rmdir(d->b.desk, at(&d->b, "empty"));

	if (err == 0)
		note(d, "empty", NULL);
	return err;
}

static int step_mkdir_again(struct day *d)
{
	struct desk_item item;

	int err = desk_mkdir(d->b.desk, at(&d->b, "empty"), 0750, 3, 4, &item);
	if (err == 0)
		note(d, "empty", "/");
	return text_shown(d, "empty") && err == -EEXIST ? 0 : err;
}

static int step_link(struct day *d)
{
	struct desk_item item;

	int err = desk_symlink(d->b.desk, at(&d->b, "link"), "target", 1, 1, &item);
	if (err == 0)
		note(d, "link", "target");
	return err;
}

static int step_take(struct day *d)
{
	const struct attributes a = { .permissions = 0644 };
	int fd = memfd_create("taken", 0);

	assert_int_equal(file_pwrite_all(fd, "taken\n", 6, 0), 0);
	int err = desk_take_file(d->b.desk, fd, at(&d->b, "taken.md"), &a, 5, NULL);
	close(fd);
	if (err == 0)
		note(d, "taken.md", "taken\n");
	return err;
}

static int step_mode(struct day *d)
{
	const struct attributes a = { .permissions = 0755 };

	return desk_set_attributes(d->b.desk, at(&d->b, "one.md"), DESK_SET_PERMISSIONS, &a);
}

static int step_truncate(struct day *d)
{
	int err = desk_truncate(d->b.desk, at(&d->b, "two.md"), 2, 5);

	/* As after a failed close: the bytes are there, kept or not. */
	struct desk_item item;
	if (desk_lookup(d->b.desk, &d->b.root, &d->b.root, "two.md", &item) == 0 && item.size == 2)
		note(d, "two.md", text_shown(d, "two.md")[0] == '1' ? "1\n" : "2\n");
	return err;
}

static int step_write_and_leave_open(struct day *d)
{
	put(d->open, "open, written\n", 0);
	note(d, "open.md", "open, written\n");
	return handle_sync(d->open);
}

static int step_head(struct day *d)
{
	struct standing standing[4];
	struct desk_item item;

	if (desk_lookup(d->b.desk, &d->b.root, &d->b.root, "away.md", &item) < 0)
		return 0;
	struct store_txn *txn = txn_begin(&d->b.t, false);
	int count = tree_standing(txn, &d->b.root, &d->b.root, "away.md", standing, 4);
	store_abort(txn);
	assert_int_equal(count, 1);
	return desk_set_head(d->b.desk, at(&d->b, "away.md"), &standing[0].id);
}

static int step_tick(struct day *d)
{
	pass(&d->b, WINDOW + 1000); /* errors of the timer are its own: it tries again */
	return 0;
}

static int step_publish(struct day *d)
{
	return desk_publish_all(d->b.desk);
}

static const struct {
	const char *name;
	int (*run)(struct day *d);
} steps[] = {
	{ "save a new one", step_save_new }, { "save an old one", step_save_again },
	{ "save the new one again", step_save_twice }, { "save beside", step_temporary },
	{ "rename over", step_rename_over }, { "rename the new one", step_rename_new },
	{ "rename an old one", step_rename_old }, { "unlink", step_unlink },
	{ "create it again", step_create_again }, { "mkdir", step_mkdir }, { "move into it", step_move_into },
	{ "rmdir", step_rmdir }, { "mkdir again", step_mkdir_again }, { "link", step_link }, { "take", step_take },
	{ "chmod", step_mode }, { "write, sync, leave open", step_write_and_leave_open }, { "tick", step_tick },
	{ "exchange", step_exchange }, { "truncate", step_truncate }, { "set head", step_head },
	{ "publish", step_publish }, { "tick again", step_tick },
};

static void begin_day(struct day *d, bool together)
{
	struct desk_item item;

	memset(d, 0, sizeof(*d));
	bench_make_for(&d->b, together);
	static const char *const old[][2] = { { "old.md", "old\n" }, { "gone.md", "gone\n" }, { "one.md", "1\n\n" },
					      { "two.md", "2\n\n" }, { "moved.md", "moved\n" }, { "inside.md", "in\n" },
					      { "open.md", "open\n" } };
	for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		must_save(&d->b, old[i][0], old[i][1], 5);
		note(d, old[i][0], old[i][1]);
	}
	assert_int_equal(desk_mkdir(d->b.desk, at(&d->b, "empty"), 0755, 1, 1, &item), 0);
	note(d, "empty", "/");
	pass(&d->b, WINDOW);
	pass(&d->b, 1);
	d->open = must_open(&d->b, "open.md", O_RDWR | O_TRUNC, 9);
	note(d, "open.md", "");
}

/* What was acknowledged shows after a kill too, and once the disk has room again everything goes on. */
static void end_day(struct day *d)
{
	arm(0, 0, false, 0);
	check_shown(d, "after the fault");
	/* What a failed release left is sealed by the tick, what waits is signed. */
	for (int i = 0; i < 4; i++)
		pass(&d->b, WINDOW);
	check_shown(d, "after the ticks");
	assert_int_equal(handle_flush(d->open), 0);
	assert_int_equal(handle_release(d->open), 0);
	for (int i = 0; i < 2; i++)
		pass(&d->b, WINDOW);
	assert_int_equal(waiting(&d->b), 0);
	must_publish(&d->b, "after.md", "after\n", 5);
	note(d, "after.md", "after\n");
	assert_sound(&d->b);
	stop(&d->b);
	start(&d->b, false);
	check_shown(d, "after a restart");
	stop(&d->b);
	start(&d->b, true);
	check_shown(d, "after a reindex");
	bench_remove(&d->b);
}

static void check_step(struct day *d, const char *name)
{
	struct faults kept = faults;

	faults.kinds = 0;
	check_shown(d, name);
	faults = kept;
}

/* The daemon is killed and comes back; what was open is open again. */
static void kill_day(struct day *d, const char *when)
{
	struct faults kept = faults;

	faults.kinds = 0;
	free(d->open);
	if (text_shown(d, "open.md")[0] == '\0') /* truncated, not flushed: the old text was kept */
		note(d, "open.md", "open\n");
	crash(&d->b);
	check_shown(d, when);
	d->open = must_open(&d->b, "open.md", O_RDWR, 9);
	faults = kept;
}

/* A whole day in which the n-th call fails. How many calls it has. */
static int run_day(unsigned kinds, int n, bool for_good, int error)
{
	struct day d;

	begin_day(&d, n % 2 == 0);
	arm(kinds, n, for_good, error);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int before = faults.failed;
		int err = steps[i].run(&d);
		if (err < 0 && !faults.failed)
			fail_msg("%s fails with %d, and nothing is wrong", steps[i].name, err);
		check_step(&d, steps[i].name);
		/* It met the fault and says that all is well. */
		if (faults.failed > before && !for_good && err == 0)
			kill_day(&d, steps[i].name);
	}
	int count = faults.count;
	end_day(&d);
	return count;
}

static void test_every_write_fails_once(void **state)
{
	for (int n = 1, count = 1; n <= count; n++)
		count = run_day(CALL_WRITE, n, false, n % 3 ? ENOSPC : EIO);
}

static void test_full_for_good(void **state)
{
	for (int n = 1, count = 1; n <= count; n += 4)
		count = run_day(CALL_WRITE, n, true, ENOSPC);
}

static void test_every_sync_fails_once(void **state)
{
	for (int n = 1, count = 1; n <= count; n++)
		count = run_day(CALL_SYNC, n, false, EIO);
}

static void test_every_index_commit_fails_once(void **state)
{
	for (int n = 1, count = 1; n <= count; n += 2)
		count = run_day(CALL_COMMIT, n, false, ENOSPC);
}

static void test_index_puts_fail(void **state)
{
	for (int n = 1, count = 1; n <= count; n += 37)
		count = run_day(CALL_PUT, n, false, MDB_MAP_FULL);
}

/* Three saves of each of three documents, signed together, while the n-th call fails. How many calls there were. */
static int save_together(unsigned kinds, int n)
{
	static const char *const names[] = { "a.md", "b.md", "c.md" };
	struct bench b;
	char text[16];

	bench_make_for(&b, true);
	for (size_t i = 0; i < 3; i++)
		must_publish(&b, names[i], "old\n", 5);
	arm(kinds, n, false, ENOSPC);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < 3; i++) {
			snprintf(text, sizeof(text), "%d\n", round);
			struct handle *h = must_open(&b, names[i], O_WRONLY | O_TRUNC, 5);
			put(h, text, 0);
			if (handle_flush(h) < 0) /* tried again, as a person would */
				assert_int_equal(handle_flush(h), 0);
			handle_release(h); /* its draft is kept: what is not signed now is later */
		}
	pass(&b, 3);
	int count = faults.count;
	arm(0, 0, false, 0);
	crash(&b);
	for (int i = 0; i < 3; i++)
		pass(&b, WINDOW);
	assert_int_equal(waiting(&b), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_text(&b, names[i], "2\n");
		assert_int_equal(count_versions(&b, names[i]), 4);
	}
	assert_sound(&b);
	bench_remove(&b);
	return count;
}

static void test_saves_signed_together(void **state)
{
	for (int n = 1, count = 1; n <= count; n++)
		count = save_together(CALL_WRITE, n);
	for (int n = 1, count = 1; n <= count; n++)
		count = save_together(CALL_COMMIT, n);
	for (int n = 1, count = 1; n <= count; n += 7)
		count = save_together(CALL_PUT, n);
}

static void test_a_kill_after_each_step(void **state)
{
	for (size_t last = 0; last < sizeof(steps) / sizeof(steps[0]); last++) {
		struct day d;
		begin_day(&d, last % 2);
		for (size_t i = 0; i <= last; i++)
			assert_int_equal(steps[i].run(&d), 0);
		kill_day(&d, steps[last].name);
		end_day(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_kill_after_each_step),
		cmocka_unit_test(test_saves_signed_together),
		cmocka_unit_test(test_every_write_fails_once),
		cmocka_unit_test(test_full_for_good),
		cmocka_unit_test(test_every_sync_fails_once),
		cmocka_unit_test(test_every_index_commit_fails_once),
		cmocka_unit_test(test_index_puts_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
