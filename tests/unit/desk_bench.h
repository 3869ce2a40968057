/* desk_bench.h - for tests of a desk that may fail or be killed: one over a store of its own, and short ways to use it. After cmocka.h. */
#ifndef DESK_BENCH_H
#define DESK_BENCH_H

#define save helper_save /* store_helper.h and desk.h know different saves */
#include "store_helper.h"
#undef save
#include "desk.h"
#include "store_faults.h"

#define WINDOW 2000

/* ---- a desk ---- */

struct bench {
	struct test_store t;
	struct desk *desk;
	struct id root;
	bool busy, together; /* saves wait to be signed with others */
};

static inline bool is_busy(void *context, const struct id *directory, const char *name)
{
	return ((struct bench *)context)->busy;
}

static inline void ignore_soon(void *context)
{
}

static inline void start(struct bench *b, bool reindex)
{
	const struct desk_options options = { .window_ms = WINDOW, .document_size_max = 1 << 30, .uid = 7, .gid = 8,
					      .busy = is_busy, .soon = b->together ? ignore_soon : NULL,
					      .context = b };

	test_store_start(&b->t, reindex);
	assert_int_equal(desk_open(&b->desk, b->t.store, &options), 0);
	use_faults(b->t.store);
}

static inline void bench_make_for(struct bench *b, bool together)
{
	memset(b, 0, sizeof(*b));
	b->together = together;
	arm(0, 0, false, 0);
	test_store_make(&b->t, 7);
	struct store_txn *txn = txn_begin(&b->t, true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	test_store_stop(&b->t);
	b->root = b->t.key.public;
	start(b, false);
}

static inline void bench_make(struct bench *b)
{
	bench_make_for(b, false);
}

static inline void stop(struct bench *b)
{
	assert_int_equal(desk_close(b->desk), 0);
	test_store_stop(&b->t);
}

static inline void bench_remove(struct bench *b)
{
	arm(0, 0, false, 0);
	stop(b);
	test_store_remove(&b->t);
}

static inline struct desk_slot at(struct bench *b, const char *name)
{
	return (struct desk_slot){ b->root, name };
}

static inline void pass(struct bench *b, uint64_t ms)
{
	b->t.time_ms += ms;
	desk_tick(b->desk);
}

static inline struct handle *must_create(struct bench *b, const char *name, uint32_t process)
{
	struct desk_item item;
	struct handle *h;

	assert_int_equal(desk_create(b->desk, at(b, name), 0644, 0, 0, process, &h, &item), 0);
	return h;
}

static inline struct handle *must_open(struct bench *b, const char *name, int flags, uint32_t process)
{
	struct handle *h;

	assert_int_equal(desk_open_file(b->desk, at(b, name), flags, process, &h), 0);
	return h;
}

static inline void put(struct handle *h, const char *text, uint64_t offset)
{
	assert_int_equal(handle_write(h, text, strlen(text), offset), (ssize_t)strlen(text));
}

static inline void must_save(struct bench *b, const char *name, const char *text, uint32_t process)
{
	struct desk_item item;
	struct handle *h = desk_lookup(b->desk, &b->root, &b->root, name, &item) < 0
				   ? must_create(b, name, process) : must_open(b, name, O_WRONLY | O_TRUNC, process);

	put(h, text, 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
}

static inline void must_publish(struct bench *b, const char *name, const char *text, uint32_t process)
{
	must_save(b, name, text, process);
	pass(b, WINDOW);
	pass(b, 1);
}

/* -1: nothing there. */
static inline ssize_t read_all(struct bench *b, const char *name, char *out, size_t size)
{
	struct handle *h;

	if (desk_open_file(b->desk, at(b, name), O_RDONLY, 0, &h) < 0)
		return -1;
	ssize_t got = handle_read(h, out, size, 0);
	handle_release(h);
	return got;
}

static inline void assert_text(struct bench *b, const char *name, const char *expected)
{
	char text[256] = "";

	ssize_t size = read_all(b, name, text, sizeof(text) - 1);
	if (size != (ssize_t)strlen(expected) || memcmp(text, expected, (size_t)size) != 0)
		fail_msg("%s shows %zd bytes \"%s\", not \"%s\"", name, size, text, expected);
}

static inline void assert_gone(struct bench *b, const char *name)
{
	struct desk_item item;

	assert_int_equal(desk_lookup(b->desk, &b->root, &b->root, name, &item), -ENOENT);
}

static inline int count_versions(struct bench *b, const char *name)
{
	struct store_txn *txn = txn_begin(&b->t, false);
	uint64_t count;

	assert_int_equal(document_count(txn, &b->root, &b->root, name, &count), 0);
	store_abort(txn);
	return (int)count;
}

static inline int list_one(void *context, const struct desk_item *item)
{
	char *list = context;

	snprintf(list + strlen(list), 1000 - strlen(list), "%s%s ", item->name, item->what == WHAT_DIRECTORY ? "/" : "");
	return 0;
}

static inline void assert_listing(struct bench *b, const char *expected)
{
	char list[1000] = "";

	assert_int_equal(desk_each(b->desk, &b->root, &b->root, 0, list_one, list), 0);
	assert_string_equal(list, expected);
}

static inline int count_waiting(void *context, const struct desk_waiting *w)
{
	(*(int *)context)++;
	return 0;
}

static inline int waiting(struct bench *b)
{
	int count = 0;

	desk_each_waiting(b->desk, count_waiting, &count);
	return count;
}

static inline void print_finding(void *context, const char *sentence)
{
	print_error("%s\n", sentence);
}

static inline void assert_sound(struct bench *b)
{
	struct verify_report report;
	struct why why = { "" };

	assert_int_equal(journal_sync(store_journal(b->t.store)), 0);
	assert_int_equal(store_verify(b->t.path, print_finding, NULL, NULL, &report, &why), 0);
	assert_int_equal(report.bad, 0);
}

/* The data folder as a kill leaves it. */
static inline void copy_tree(const char *from, const char *to)
{
	char command[600];

	snprintf(command, sizeof(command), "cp -a '%s' '%s'", from, to);
	assert_int_equal(system(command), 0);
}

/* The daemon is killed and started again. Handles that were open are the caller's to free. */
static inline void crash(struct bench *b)
{
	char copy[300];

	snprintf(copy, sizeof(copy), "%s.copy", b->t.path);
	copy_tree(b->t.path, copy);
	stop(b);
	nftw(b->t.path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, b->t.path), 0);
	start(b, false);
}

#endif
