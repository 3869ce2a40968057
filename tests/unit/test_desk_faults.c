/*
 * The desk on a disk that fails: the n-th write, sync or index commit of a fixed day's work, for n = 1, 2, ….
 * What fails says so and changes nothing that shows, what was acknowledged is there after a restart, and
 * when the fault is gone everything works.  Then what else goes wrong: full spools, crowded windows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <lmdb.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define save helper_save /* store_helper.h and desk.h know different saves */
#include "store_helper.h"
#undef save
#include "desk.h"
#include "journal_private.h"

#define WINDOW 2000
#define NAMES_MAX 16
#define TEXT_MAX 400000

/* ---- calls that fail ---- */

enum call { CALL_WRITE = 1, CALL_SYNC = 2, CALL_COMMIT = 4, CALL_PUT = 8 };

static struct faults { /* of the one desk that a test works with */
	unsigned kinds;
	int fail_at; /* which of them fails, from 1; 0: none */
	bool for_good;
	int error;
	int count, failed;
} faults;

static bool fails(enum call kind)
{
	if (!(faults.kinds & kind))
		return false;
	faults.count++;
	if (!faults.fail_at || faults.count < faults.fail_at || (faults.count > faults.fail_at && !faults.for_good))
		return false;
	faults.failed++;
	errno = faults.error;
	return true;
}

static void arm(unsigned kinds, int fail_at, bool for_good, int error)
{
	faults = (struct faults){ .kinds = kinds, .fail_at = fail_at, .for_good = for_good, .error = error };
}

static ssize_t faulty_pwrite(void *context, int fd, const void *bytes, size_t size, off_t offset)
{
	if (!fails(CALL_WRITE))
		return pwrite(fd, bytes, size, offset);
	/* A full disk takes what still fits. */
	return faults.error == ENOSPC && size > 10 && pwrite(fd, bytes, size / 2, offset) < 0 ? -1 : (errno = faults.error, -1);
}

static int faulty_sync(void *context, int fd)
{
	return fails(CALL_SYNC) ? -1 : 0;
}

/* These stand before liblmdb's own, whose error they give: the index has no seam of its own. */
int mdb_txn_commit(MDB_txn *txn)
{
	static int (*real)(MDB_txn *txn);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_txn_commit");
	if (!fails(CALL_COMMIT))
		return real(txn);
	mdb_txn_abort(txn);
	return faults.error;
}

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags)
{
	static int (*real)(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_put");
	return fails(CALL_PUT) ? faults.error : real(txn, dbi, key, data, flags);
}

/* ---- a desk ---- */

struct bench {
	struct test_store t;
	struct desk *desk;
	struct id root;
	bool busy;
};

static bool is_busy(void *context, const struct id *directory, const char *name)
{
	return ((struct bench *)context)->busy;
}

static void start(struct bench *b, bool reindex)
{
	const struct desk_options options = { .window_ms = WINDOW, .document_size_max = 1 << 30, .uid = 7, .gid = 8,
					      .busy = is_busy, .context = b };

	test_store_start(&b->t, reindex);
	assert_int_equal(desk_open(&b->desk, b->t.store, &options), 0);
	struct journal *journal = store_journal(b->t.store);
	journal->calls.pwrite = faulty_pwrite;
	journal->calls.fdatasync = journal->calls.fsync = faulty_sync;
}

static void bench_make(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	arm(0, 0, false, 0);
	test_store_make(&b->t, 7);
	struct store_txn *txn = txn_begin(&b->t, true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	test_store_stop(&b->t);
	b->root = b->t.key.public;
	start(b, false);
}

static void stop(struct bench *b)
{
	assert_int_equal(desk_close(b->desk), 0);
	test_store_stop(&b->t);
}

static void bench_remove(struct bench *b)
{
	arm(0, 0, false, 0);
	stop(b);
	test_store_remove(&b->t);
}

static struct desk_slot at(struct bench *b, const char *name)
{
	return (struct desk_slot){ b->root, name };
}

static void pass(struct bench *b, uint64_t ms)
{
	b->t.time_ms += ms;
	desk_tick(b->desk);
}

static struct handle *must_create(struct bench *b, const char *name, uint32_t process)
{
	struct desk_item item;
	struct handle *h;

	assert_int_equal(desk_create(b->desk, at(b, name), 0644, 0, 0, process, &h, &item), 0);
	return h;
}

static struct handle *must_open(struct bench *b, const char *name, int flags, uint32_t process)
{
	struct handle *h;

	assert_int_equal(desk_open_file(b->desk, at(b, name), flags, process, &h), 0);
	return h;
}

static void put(struct handle *h, const char *text, uint64_t offset)
{
	assert_int_equal(handle_write(h, text, strlen(text), offset), (ssize_t)strlen(text));
}

static void must_save(struct bench *b, const char *name, const char *text, uint32_t process)
{
	struct desk_item item;
	struct handle *h = desk_lookup(b->desk, &b->root, &b->root, name, &item) < 0
				   ? must_create(b, name, process) : must_open(b, name, O_WRONLY | O_TRUNC, process);

	put(h, text, 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
}

static void must_publish(struct bench *b, const char *name, const char *text, uint32_t process)
{
	must_save(b, name, text, process);
	pass(b, WINDOW);
	pass(b, 1);
}

/* -1: nothing there. */
static ssize_t read_all(struct bench *b, const char *name, char *out, size_t size)
{
	struct handle *h;

	if (desk_open_file(b->desk, at(b, name), O_RDONLY, 0, &h) < 0)
		return -1;
	ssize_t got = handle_read(h, out, size, 0);
	handle_release(h);
	return got;
}

static void assert_text(struct bench *b, const char *name, const char *expected)
{
	char text[256] = "";

	ssize_t size = read_all(b, name, text, sizeof(text) - 1);
	if (size != (ssize_t)strlen(expected) || memcmp(text, expected, (size_t)size) != 0)
		fail_msg("%s shows %zd bytes \"%s\", not \"%s\"", name, size, text, expected);
}

static void assert_gone(struct bench *b, const char *name)
{
	struct desk_item item;

	assert_int_equal(desk_lookup(b->desk, &b->root, &b->root, name, &item), -ENOENT);
}

static int count_versions(struct bench *b, const char *name)
{
	struct store_txn *txn = txn_begin(&b->t, false);
	uint64_t count;

	assert_int_equal(document_count(txn, &b->root, &b->root, name, &count), 0);
	store_abort(txn);
	return (int)count;
}

static int list_one(void *context, const struct desk_item *item)
{
	char *list = context;

	snprintf(list + strlen(list), 1000 - strlen(list), "%s%s ", item->name, item->what == WHAT_DIRECTORY ? "/" : "");
	return 0;
}

static void assert_listing(struct bench *b, const char *expected)
{
	char list[1000] = "";

	assert_int_equal(desk_each(b->desk, &b->root, &b->root, 0, list_one, list), 0);
	assert_string_equal(list, expected);
}

static int count_waiting(void *context, const struct desk_waiting *w)
{
	(*(int *)context)++;
	return 0;
}

static int waiting(struct bench *b)
{
	int count = 0;

	desk_each_waiting(b->desk, count_waiting, &count);
	return count;
}

static void print_finding(void *context, const char *sentence)
{
	print_error("%s\n", sentence);
}

static void assert_sound(struct bench *b)
{
	struct verify_report report;
	struct why why = { "" };

	assert_int_equal(journal_sync(store_journal(b->t.store)), 0);
	assert_int_equal(store_verify(b->t.path, print_finding, NULL, NULL, &report, &why), 0);
	assert_int_equal(report.bad, 0);
}

/* The data folder as a kill leaves it. */
static void copy_tree(const char *from, const char *to)
{
	char command[600];

	snprintf(command, sizeof(command), "cp -a '%s' '%s'", from, to);
	assert_int_equal(system(command), 0);
}

/* The daemon is killed and started again. Handles that were open are the caller's to free. */
static void crash(struct bench *b)
{
	char copy[300];

	snprintf(copy, sizeof(copy), "%s.copy", b->t.path);
	copy_tree(b->t.path, copy);
	stop(b);
	nftw(b->t.path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, b->t.path), 0);
	start(b, false);
}

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

static void begin_day(struct day *d)
{
	struct desk_item item;

	memset(d, 0, sizeof(*d));
	bench_make(&d->b);
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

	begin_day(&d);
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

static void test_a_kill_after_each_step(void **state)
{
	for (size_t last = 0; last < sizeof(steps) / sizeof(steps[0]); last++) {
		struct day d;
		begin_day(&d);
		for (size_t i = 0; i <= last; i++)
			assert_int_equal(steps[i].run(&d), 0);
		kill_day(&d, steps[last].name);
		end_day(&d);
	}
}

/* ---- one thing each ---- */

static void test_failed_release_is_tried_again(void **state)
{
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct handle *h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 5);
	put(h, "two\n", 0);
	arm(CALL_WRITE, 1, true, ENOSPC);
	assert_int_equal(handle_flush(h), -ENOSPC);
	assert_int_equal(handle_release(h), -ENOSPC);
	pass(&b, WINDOW);
	assert_text(&b, "a.md", "two\n");
	assert_int_equal(count_versions(&b, "a.md"), 1);
	arm(0, 0, false, 0);
	pass(&b, 1000);
	pass(&b, 1000);
	assert_int_equal(count_versions(&b, "a.md"), 2);
	/* and one that is removed before it could be kept is forgotten whole */
	h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 5);
	put(h, "three\n", 0);
	arm(CALL_WRITE, 1, true, ENOSPC);
	assert_int_equal(handle_flush(h), -ENOSPC);
	handle_release(h);
	arm(0, 0, false, 0);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	pass(&b, WINDOW);
	assert_gone(&b, "a.md");
	assert_int_equal(waiting(&b), 0);
	bench_remove(&b);
}

/* A head set by hand parts open files from the name; each of them still saves its own bytes. */
static void test_two_files_at_one_name(void **state)
{
	for (int order = 0; order < 4; order++) {
		struct standing standing[4];
		struct bench b;
		bench_make(&b);
		must_publish(&b, "a.md", "one\n", 5);
		must_save(&b, "a.md", "two\n", 5);
		struct store_txn *txn = txn_begin(&b.t, false);
		assert_int_equal(tree_standing(txn, &b.root, &b.root, "a.md", standing, 4), 1);
		store_abort(txn);
		must_save(&b, "a.md", "three\n", 5);
		struct handle *old = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
		put(old, "from before\n", 0);
		assert_int_equal(desk_set_head(b.desk, at(&b, "a.md"), &standing[0].id), 0);
		assert_text(&b, "a.md", "two\n");
		struct handle *new = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 7);
		put(new, "from after\n", 0);
		assert_int_equal(handle_flush(order & 1 ? old : new), 0);
		assert_int_equal(handle_flush(order & 1 ? new : old), 0);
		assert_int_equal(handle_release(order & 2 ? old : new), 0);
		if (order & 2)
			assert_text(&b, "a.md", "from after\n");
		assert_int_equal(handle_release(order & 2 ? new : old), 0);
		assert_int_equal(count_versions(&b, "a.md"), 5);
		assert_int_equal(waiting(&b), 0);
		bench_remove(&b);
	}
}

static void test_unlink_takes_parted_files_too(void **state)
{
	struct standing standing[4];
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct store_txn *txn = txn_begin(&b.t, false);
	assert_int_equal(tree_standing(txn, &b.root, &b.root, "a.md", standing, 4), 1);
	store_abort(txn);
	struct handle *old = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
	put(old, "never\n", 0);
	assert_int_equal(desk_set_head(b.desk, at(&b, "a.md"), &standing[0].id), 0);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	assert_int_equal(handle_flush(old), 0);
	assert_int_equal(handle_release(old), 0);
	assert_gone(&b, "a.md");
	pass(&b, WINDOW);
	assert_gone(&b, "a.md");
	bench_remove(&b);
}

/* What was flushed, then written on, must not come back over what replaced it. */
static void test_old_draft_goes_with_its_name(void **state)
{
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	struct handle *h = must_open(&b, "a.md", O_WRONLY | O_TRUNC, 6);
	put(h, "draft\n", 0);
	assert_int_equal(handle_flush(h), 0);
	put(h, "drift\n", 0);
	must_save(&b, "b.md", "over\n", 7);
	assert_int_equal(desk_rename(b.desk, at(&b, "b.md"), at(&b, "a.md"), 0, 7), 0);
	assert_int_equal(waiting(&b), 0);
	free(h);
	crash(&b);
	pass(&b, WINDOW);
	assert_text(&b, "a.md", "over\n");
	assert_int_equal(count_versions(&b, "a.md"), 2);
	bench_remove(&b);
}

static void test_new_names_survive_a_kill(void **state)
{
	const struct attributes a = { .permissions = 0644, .uid = 5 };
	struct desk_item item;
	struct attributes attributes;
	struct bench b;
	int fd = memfd_create("taken", 0);

	bench_make(&b);
	assert_int_equal(file_pwrite_all(fd, "taken\n", 6, 0), 0);
	assert_int_equal(desk_take_file(b.desk, fd, at(&b, "taken.md"), &a, 5, NULL), 0);
	close(fd);
	assert_int_equal(desk_symlink(b.desk, at(&b, "link"), "target", 1, 1, &item), 0);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "dir"), 0750, 3, 4, &item), 0);
	must_save(&b, "x", "x\n", 5);
	const struct attributes executable = { .permissions = 0700 };
	assert_int_equal(desk_set_attributes(b.desk, at(&b, "x"), DESK_SET_PERMISSIONS, &executable), 0);
	struct handle *draft = must_create(&b, "draft.md", 5);
	put(draft, "draft\n", 0);
	assert_int_equal(handle_flush(draft), 0);
	free(draft);
	crash(&b);
	for (int published = 0; published < 2; published++) {
		assert_text(&b, "taken.md", "taken\n");
		assert_text(&b, "link", "target");
		assert_text(&b, "draft.md", "draft\n");
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "dir", &item), 0);
		assert_int_equal(item.attributes.permissions, 0750);
		assert_int_equal(item.attributes.uid, 3);
		assert_int_equal(desk_directory(b.desk, &b.root, &item.id, &attributes), 0);
		assert_int_equal(attributes.permissions, 0750);
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "x", &item), 0);
		assert_int_equal(item.attributes.permissions, 0700);
		assert_int_equal(item.mode, MODE_EXECUTABLE);
		assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "draft.md", &item), 0);
		assert_true(item.attributes.mtime_ns / 1000000 >= HELPER_TIME_MS);
		pass(&b, WINDOW);
		assert_int_equal(waiting(&b), 0);
	}
	bench_remove(&b);
}

static void test_what_is_open_stays_listed(void **state)
{
	struct bench b;

	bench_make(&b);
	struct handle *h = must_create(&b, "a.md", 5);
	put(h, "text\n", 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "a.md"), at(&b, "b.md"), 0, 5), 0);
	assert_listing(&b, "b.md ");
	pass(&b, WINDOW - 1);
	assert_int_equal(handle_flush(h), 0);
	pass(&b, 10);
	assert_listing(&b, "b.md ");
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(count_versions(&b, "b.md"), 0); /* its first save has a window of its own */
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "b.md"), 1);
	bench_remove(&b);
}

static void fill_text(char *text, size_t size)
{
	uint64_t chance = 1;

	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + chance_next(&chance) % 26);
}

static void test_a_window_crowded_with_saves(void **state)
{
	enum { SAVES = 150, SIZE = 400000 };
	char *text = malloc(SIZE);
	struct bench b;

	/* Saves of many pieces: more than one fact holds. */
	bench_make(&b);
	fill_text(text, SIZE);
	struct handle *h = must_create(&b, "a.md", 5);
	for (int i = 0; i < SAVES; i++) {
		snprintf(text, 32, "save %d", i);
		assert_int_equal(handle_write(h, text, i ? 32 : SIZE, 0), i ? 32 : SIZE);
		assert_int_equal(handle_flush(h), 0);
		assert_int_equal(handle_release(h), 0);
		h = must_open(&b, "a.md", O_RDWR, 5);
	}
	assert_int_equal(handle_release(h), 0);
	assert_true(count_versions(&b, "a.md") > 0);
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "a.md"), SAVES);
	assert_sound(&b);
	bench_remove(&b);
	free(text);
}

static void test_removal_held_by_a_lock_file(void **state)
{
	struct desk_item dir, item;
	struct handle *h;
	struct bench b;

	bench_make(&b);
	must_publish(&b, "a.md", "one\n", 5);
	assert_int_equal(desk_unlink(b.desk, at(&b, "a.md")), 0);
	b.busy = true;
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(waiting(&b), 1);
	b.busy = false;
	pass(&b, WINDOW);
	assert_int_equal(waiting(&b), 0);
	/* What goes with its folder goes first. */
	assert_int_equal(desk_mkdir(b.desk, at(&b, "dir"), 0755, 1, 1, &dir), 0);
	const struct desk_slot inside = { dir.id, "x.md" };
	assert_int_equal(desk_create(b.desk, inside, 0644, 1, 1, 5, &h, &item), 0);
	put(h, "x\n", 0);
	assert_int_equal(handle_release(h), 0);
	pass(&b, WINDOW);
	b.busy = true;
	assert_int_equal(desk_unlink(b.desk, inside), 0);
	pass(&b, WINDOW);
	b.busy = false;
	assert_int_equal(desk_rmdir(b.desk, at(&b, "dir")), 0);
	assert_listing(&b, "");
	pass(&b, WINDOW);
	assert_listing(&b, "");
	assert_int_equal(waiting(&b), 0);
	bench_remove(&b);
}

static void test_directory_over_another(void **state)
{
	struct desk_item one, two, item;
	struct handle *h;
	struct bench b;

	bench_make(&b);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "one"), 0755, 1, 1, &one), 0);
	pass(&b, WINDOW);
	const struct desk_slot inside = { one.id, "x.md" };
	assert_int_equal(desk_create(b.desk, inside, 0644, 1, 1, 5, &h, &item), 0);
	put(h, "x\n", 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(desk_mkdir(b.desk, at(&b, "two"), 0755, 1, 1, &two), 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "two"), at(&b, "one"), 0, 5), -ENOTEMPTY);
	assert_int_equal(desk_unlink(b.desk, inside), 0);
	assert_int_equal(desk_rename(b.desk, at(&b, "two"), at(&b, "one"), 0, 5), 0);
	assert_listing(&b, "one/ ");
	crash(&b);
	assert_listing(&b, "one/ ");
	pass(&b, WINDOW);
	assert_listing(&b, "one/ ");
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "one", &item), 0);
	assert_true(id_equal(&item.id, &two.id));
	bench_remove(&b);
}

/* A draft of more pieces than a fact holds: only their list is named there. */
static void test_gc_keeps_what_waits(void **state)
{
	enum { SIZE = 2000000 };
	char *text = malloc(SIZE), *got = malloc(SIZE + 1);
	struct gc_report report;
	struct bench b;

	bench_make(&b);
	fill_text(text, SIZE);
	struct handle *h = must_create(&b, "a.md", 5);
	assert_int_equal(handle_write(h, text, SIZE, 0), SIZE);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	free(h);
	crash(&b);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	stop(&b);
	start(&b, true);
	assert_int_equal(read_all(&b, "a.md", got, SIZE + 1), SIZE);
	assert_memory_equal(got, text, SIZE);
	pass(&b, WINDOW);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	assert_int_equal(read_all(&b, "a.md", got, SIZE + 1), SIZE);
	assert_sound(&b);
	bench_remove(&b);
	free(text);
	free(got);
}

/* gc while a save is between its pieces and its record. */
static void test_gc_in_the_middle_of_a_save(void **state)
{
	enum { SIZE = 1500000 }; /* more than a batch holds: some pieces are committed alone */
	struct content *content = calloc(1, sizeof(*content));
	char *text = malloc(SIZE), *got = malloc(SIZE + 1);
	struct gc_report report;
	struct bench b;

	bench_make(&b);
	fill_text(text, SIZE);
	struct store_batch *batch = store_batch_new(b.t.store);
	const struct piece_store pieces = store_batch_pieces(batch);
	assert_int_equal(content_write_bytes(b.t.packer, &pieces, text, SIZE, content), 0);
	assert_int_equal(store_gc(b.t.store, true, &report), 0);
	struct store_txn *txn = txn_begin(&b.t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_int_equal(content_read(store_piece_cache(b.t.store), store_pieces(b.t.store), content, (uint8_t *)got, SIZE + 1, 0), SIZE);
	assert_memory_equal(got, text, SIZE);
	bench_remove(&b);
	free(content);
	free(text);
	free(got);
}

/* The bytes under edit do not fit: write(2) says so, and what was there before stays. */
static void test_full_spool(void **state)
{
	char path[300], *text = malloc(TEXT_MAX), *got = malloc(TEXT_MAX);
	struct bench b;

	bench_make(&b);
	fill_text(text, TEXT_MAX);
	stop(&b);
	snprintf(path, sizeof(path), "%s/spool", b.t.path);
	if (mount("tmpfs", path, "tmpfs", 0, "size=192k") < 0) {
		start(&b, false);
		bench_remove(&b);
		free(text);
		free(got);
		skip(); /* only root may mount */
	}
	start(&b, false);
	struct handle *h = must_create(&b, "a.md", 5);
	assert_int_equal(handle_write(h, text, 100000, 0), 100000);
	assert_int_equal(handle_write(h, text, 200000, 100000), -ENOSPC);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(read_all(&b, "a.md", got, TEXT_MAX), 100000);
	assert_memory_equal(got, text, 100000);
	must_publish(&b, "b.md", "small\n", 5);
	/* Opening what does not fit to write it fails alike. */
	h = must_open(&b, "a.md", O_RDWR, 5);
	struct handle *other = must_open(&b, "b.md", O_RDWR | O_TRUNC, 5);
	assert_int_equal(handle_write(other, text, 150000, 0), 150000);
	assert_int_equal(handle_write(h, "x", 1, 0), -ENOSPC);
	assert_int_equal(handle_release(other), 0);
	assert_int_equal(handle_write(h, "x", 1, 0), 1);
	assert_int_equal(handle_release(h), 0);
	pass(&b, WINDOW);
	assert_int_equal(count_versions(&b, "a.md"), 2);
	desk_close(b.desk);
	test_store_stop(&b.t);
	assert_int_equal(umount(path), 0);
	start(&b, false);
	assert_int_equal(read_all(&b, "a.md", got, TEXT_MAX), 100000);
	assert_int_equal(got[0], 'x');
	bench_remove(&b);
	free(text);
	free(got);
}

/* ---- many threads ---- */

struct worker {
	struct bench *b;
	unsigned number;
	pthread_t thread;
	int error;
};

static int list_none(void *context, const struct desk_item *item)
{
	return 0;
}

static void work_once(struct worker *w, uint64_t *chance)
{
	static const char *const names[] = { "a.md", "b.md", "c.md", "d.md" };
	struct bench *b = w->b;
	const struct desk_slot one = at(b, names[chance_below(chance, 4)]), two = at(b, names[chance_below(chance, 4)]);
	struct handle *h = NULL;
	struct desk_item item;
	char text[100];
	int err = 0, size = snprintf(text, sizeof(text), "%u %llu\n", w->number, (unsigned long long)*chance);

	switch (chance_below(chance, 8)) {
	case 0:
		err = desk_rename(b->desk, one, two, 0, w->number);
		break;
	case 1:
		err = desk_unlink(b->desk, one);
		break;
	case 2:
		err = desk_each(b->desk, &b->root, &b->root, 0, list_none, NULL);
		break;
	case 3:
		desk_tick(b->desk);
		break;
	case 4:
		err = desk_open_file(b->desk, one, O_RDONLY, w->number, &h);
		if (err == 0 && handle_read(h, text, sizeof(text), 0) < 0)
			w->error = -EIO;
		break;
	default:
		err = desk_create(b->desk, one, 0644, 1, 1, w->number, &h, &item);
		if (err == -EEXIST)
			err = desk_open_file(b->desk, one, O_WRONLY | O_TRUNC, w->number, &h);
		if (err == 0 && handle_write(h, text, (size_t)size, 0) != size)
			w->error = -EIO;
		if (err == 0 && handle_flush(h) < 0)
			w->error = -EIO;
		break;
	}
	if (h && handle_release(h) < 0)
		w->error = -EIO;
	if (err < 0 && err != -ENOENT && err != -EEXIST && err != -EBUSY)
		w->error = err;
}

static void *work(void *context)
{
	struct worker *w = context;
	uint64_t chance = w->number;

	for (int i = 0; i < 300 && w->error == 0; i++)
		work_once(w, &chance);
	return NULL;
}

static void test_threads(void **state)
{
	struct worker workers[4];
	struct bench b;

	bench_make(&b);
	desk_close(b.desk);
	test_store_stop(&b.t);
	/* The tests' own clock is one thread's. */
	const struct store_options options = { .clock = clock_system() };
	const struct desk_options desk_options = { .window_ms = 5, .document_size_max = 1 << 20 };
	assert_int_equal(store_open(&b.t.store, b.t.path, &b.t.key, &options, NULL), 0);
	assert_int_equal(desk_open(&b.desk, b.t.store, &desk_options), 0);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){ .b = &b, .number = i + 1 };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].error, 0);
	}
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(waiting(&b), 0);
	assert_sound(&b);
	bench_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_release_is_tried_again),
		cmocka_unit_test(test_two_files_at_one_name),
		cmocka_unit_test(test_unlink_takes_parted_files_too),
		cmocka_unit_test(test_old_draft_goes_with_its_name),
		cmocka_unit_test(test_new_names_survive_a_kill),
		cmocka_unit_test(test_what_is_open_stays_listed),
		cmocka_unit_test(test_a_window_crowded_with_saves),
		cmocka_unit_test(test_removal_held_by_a_lock_file),
		cmocka_unit_test(test_directory_over_another),
		cmocka_unit_test(test_gc_keeps_what_waits),
		cmocka_unit_test(test_gc_in_the_middle_of_a_save),
		cmocka_unit_test(test_full_spool),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_a_kill_after_each_step),
		cmocka_unit_test(test_every_write_fails_once),
		cmocka_unit_test(test_full_for_good),
		cmocka_unit_test(test_every_sync_fails_once),
		cmocka_unit_test(test_every_index_commit_fails_once),
		cmocka_unit_test(test_index_puts_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
