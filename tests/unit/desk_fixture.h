/* desk_fixture.h - a desk over a store in a temporary folder, with a clock of the test's own, and short ways to use it. After cmocka.h. */
#ifndef DESK_FIXTURE_H
#define DESK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "desk.h"
#include "log.h"
#include "person.h"

#define WINDOW 2000

struct fixture {
	char path[64];
	uint64_t time_ms; /* wall and monotonic alike */
	struct key key;
	struct store *store;
	struct desk *desk;
	struct id root;
	bool busy;
	unsigned changed;
	bool together; /* saves wait to be signed with others */
	unsigned soon;
	uint64_t started_ms; /* of every process; 0: unknown */
	unsigned jump_after; /* so many looks at the clock from now it is jump_ms later; 0: never */
	uint64_t jump_ms;
};

static inline uint64_t fake_time_ns(void *context)
{
	return ((struct fixture *)context)->time_ms * 1000000;
}

static inline uint64_t fake_now_ms(void *context)
{
	struct fixture *f = context;

	if (f->jump_after > 0 && --f->jump_after == 0)
		f->time_ms += f->jump_ms;
	return f->time_ms;
}

static inline void fake_random(void *context, uint8_t *out, size_t size)
{
	struct clock system = clock_system();

	clock_random(&system, out, size);
}

static inline bool is_busy(void *context, const struct id *directory, const char *name)
{
	return ((struct fixture *)context)->busy;
}

static inline void note_changed(void *context, const struct id *person, const struct id *directory, const char *name)
{
	((struct fixture *)context)->changed++;
}

static inline void note_soon(void *context)
{
	((struct fixture *)context)->soon++;
}

/* Process 20 was started by process 10. */
static inline uint32_t parent_of(void *context, uint32_t process)
{
	return process == 20 ? 10 : 1;
}

static inline uint64_t started_of(void *context, uint32_t process)
{
	return ((struct fixture *)context)->started_ms;
}

static inline void write_profile(struct fixture *f)
{
	struct store_txn *txn;
	struct id id;
	uint64_t number;

	assert_int_equal(store_begin(f->store, true, &txn), 0);
	struct record *record = store_txn_record(txn, 0);
	record->field = FIELD_PROFILE;
	memset(&record->profile, 0, sizeof(record->profile));
	record->profile.name = (struct text){ "alice", 5 };
	record->profile.about = (struct text){ "", 0 };
	assert_int_equal(log_append(txn, record, &id, &number), 0);
	assert_int_equal(store_commit(txn), 0);
}

static inline void open_desk(struct fixture *f, bool create, bool reindex)
{
	struct store_options options = { .create = create, .reindex = reindex,
		.clock = { fake_time_ns, fake_now_ms, fake_random, f } };
	const struct desk_options desk_options = { .window_ms = WINDOW, .document_size_max = 1 << 20, .busy = is_busy,
		.changed = note_changed, .parent_process = parent_of, .process_started_ms = started_of,
		.soon = f->together ? note_soon : NULL, .context = f };
	struct why why = { { 0 } };

	int err = store_open(&f->store, f->path, &f->key, &options, &why);
	if (err < 0)
		fail_msg("store_open: %d %s", err, why.text);
	if (create)
		write_profile(f);
	f->root = f->key.public;
	assert_int_equal(desk_open(&f->desk, f->store, &desk_options), 0);
}

static inline void close_desk(struct fixture *f)
{
	assert_int_equal(desk_close(f->desk), 0);
	assert_int_equal(store_close(f->store), 0);
}

static inline int setup_desk(void **state, bool together)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct clock system = clock_system();

	snprintf(f->path, sizeof(f->path), "/tmp/test_desk.XXXXXX");
	assert_non_null(mkdtemp(f->path));
	f->time_ms = 1790000000000;
	f->together = together;
	key_create(&f->key, &system);
	open_desk(f, true, false);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	return setup_desk(state, false);
}

static inline int setup_together(void **state)
{
	return setup_desk(state, true);
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	close_desk(f);
	nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* ---- what the tests say ---- */

static inline struct desk_slot at(struct fixture *f, const char *name)
{
	return (struct desk_slot){ f->root, name };
}

static inline void pass(struct fixture *f, uint64_t ms)
{
	f->time_ms += ms;
	desk_tick(f->desk);
}

/* As who looks at versions in the mount does. */
static inline void settle(struct fixture *f)
{
	if (f->together)
		desk_settle(f->desk);
}

static inline int count_versions(struct fixture *f, const char *name)
{
	struct store_txn *txn;
	uint64_t count;

	settle(f);

	assert_int_equal(store_begin(f->store, false, &txn), 0);
	assert_int_equal(document_count(txn, &f->root, &f->root, name, &count), 0);
	store_abort(txn);
	return (int)count;
}

static inline int count_saves(struct fixture *f, const char *name)
{
	settle(f);
	return desk_saves(f->desk, &f->root, name, NULL, 0);
}

static inline int count_heads(struct fixture *f, const char *name)
{
	struct store_txn *txn;
	struct standing standing[16];
	int versions = 0;

	settle(f);
	assert_int_equal(store_begin(f->store, false, &txn), 0);
	int count = tree_standing(txn, &f->root, &f->root, name, standing, 16);
	for (int i = 0; i < count; i++)
		versions += standing[i].what == WHAT_VERSION;
	store_abort(txn);
	return versions;
}

static inline struct handle *create(struct fixture *f, const char *name, uint32_t process)
{
	struct desk_item item;
	struct handle *h = NULL;

	assert_int_equal(desk_create(f->desk, at(f, name), 0644, 0, 0, process, &h, &item), 0);
	return h;
}

static inline struct handle *open_file(struct fixture *f, const char *name, int flags, uint32_t process)
{
	struct handle *h = NULL;

	assert_int_equal(desk_open_file(f->desk, at(f, name), flags, process, &h), 0);
	return h;
}

static inline void put(struct handle *h, const char *text, uint64_t offset)
{
	assert_int_equal(handle_write(h, text, strlen(text), offset), (ssize_t)strlen(text));
}

static inline void close_handle(struct handle *h)
{
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
}

/* As `echo TEXT > NAME` does it: an empty flush before the bytes. */
static inline void shell_save(struct fixture *f, const char *name, const char *text, uint32_t process)
{
	struct desk_item item;
	struct handle *h = desk_lookup(f->desk, &f->root, &f->root, name, &item) == -ENOENT
				   ? create(f, name, process) : open_file(f, name, O_WRONLY | O_TRUNC, process);

	assert_int_equal(handle_flush(h), 0);
	put(h, text, 0);
	close_handle(h);
}

static inline void assert_text(struct fixture *f, const char *name, const char *expected)
{
	char text[4096] = { 0 };
	struct desk_item item;
	struct handle *h = open_file(f, name, O_RDONLY, 0);

	assert_int_equal(handle_read(h, text, sizeof(text) - 1, 0), (ssize_t)strlen(expected));
	assert_string_equal(text, expected);
	handle_release(h);
	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, name, &item), 0);
	assert_int_equal(item.size, strlen(expected));
}

static inline void assert_gone(struct fixture *f, const char *name)
{
	struct desk_item item;

	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, name, &item), -ENOENT);
}

static inline struct version head_version(struct fixture *f, const char *name)
{
	struct version version;
	struct desk_item item;
	struct store_txn *txn;

	settle(f);
	assert_int_equal(desk_lookup(f->desk, &f->root, &f->root, name, &item), 0);
	assert_int_equal(store_begin(f->store, false, &txn), 0);
	assert_int_equal(document_version(txn, &item.id, &version), 0);
	store_abort(txn);
	return version;
}

static inline void assert_parent(struct fixture *f, const char *name, const struct id *expected)
{
	struct version head = head_version(f, name);

	assert_int_equal(head.parent_count, 1);
	assert_memory_equal(&head.parents[0], expected, sizeof(*expected));
}

/* Saved and signed. */
static inline struct id published(struct fixture *f, const char *name, const char *text, uint32_t process)
{
	shell_save(f, name, text, process);
	pass(f, WINDOW);
	pass(f, 1);
	return head_version(f, name).row.id;
}

static inline int list_one(void *context, const struct desk_item *item)
{
	char *list = context;

	strcat(list, item->name);
	strcat(list, " ");
	return 0;
}

static inline void assert_listing(struct fixture *f, const struct id *directory, const char *expected)
{
	char list[4096] = "";

	assert_int_equal(desk_each(f->desk, &f->root, directory, 0, list_one, list), 0);
	assert_string_equal(list, expected);
}

#endif
