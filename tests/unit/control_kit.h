/*
 * control_kit.h - for tests of control files: a person's store, desk and all else that a host has.
 *
 * After cmocka.h. The clock goes when told (kit->store.time_ms).
 */
#ifndef CONTROL_KIT_H
#define CONTROL_KIT_H

#include <inttypes.h>

#include "control.h"
#include "diff.h"
#include "store_helper.h"

#define KIT_TEXT_MAX (16u * 1024 * 1024)
#define KIT_WINDOW 2000

struct kit {
	struct test_store store;
	struct control_host host;
	struct id self; /* the person, and their root */
};

static inline void kit_start(struct kit *kit)
{
	const struct desk_options options = { .window_ms = KIT_WINDOW, .document_size_max = 1u << 30 };
	struct clock clock = helper_clock(&kit->store);
	struct why why = { 0 };

	kit->host = (struct control_host){ .store = kit->store.store, .data_path = kit->store.path,
					   .mount_point = "/mnt/moot", .started_ms = HELPER_TIME_MS };
	assert_int_equal(scratch_open(&kit->host.scratch, store_directory_fd(kit->store.store), NULL, &why), 0);
	assert_int_equal(desk_open(&kit->host.desk, kit->store.store, &options), 0);
	kit->host.errors = errors_new(&clock);
	kit->host.memory = control_memory_new();
	assert_non_null(kit->host.errors);
	assert_non_null(kit->host.memory);
}

static inline void kit_stop(struct kit *kit)
{
	assert_int_equal(desk_close(kit->host.desk), 0);
	scratch_close(kit->host.scratch);
	errors_free(kit->host.errors);
	control_memory_free(kit->host.memory);
}

static inline void kit_make(struct kit *kit, uint64_t seed, const char *name)
{
	memset(kit, 0, sizeof(*kit));
	assert_int_equal(diff_init(), 0);
	test_store_make(&kit->store, seed);
	struct store_txn *txn = txn_begin(&kit->store, true);
	say_profile(txn, NULL, name);
	assert_int_equal(person_self(txn, &kit->self), 0);
	txn_commit(txn);
	kit_start(kit);
}

static inline void kit_remove(struct kit *kit)
{
	kit_stop(kit);
	test_store_remove(&kit->store);
	diff_finish();
}

static inline void kit_later(struct kit *kit, uint64_t ms)
{
	kit->store.time_ms += ms;
	desk_tick(kit->host.desk);
}

/* ---- saves ---- */

static inline struct desk_slot kit_at(const struct kit *kit, const char *name)
{
	return (struct desk_slot){ .directory = kit->self, .name = name };
}

static inline void kit_write(struct handle *h, const void *text, size_t size)
{
	assert_int_equal(handle_write(h, text, size, 0), (ssize_t)size);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
}

/* One save, as a shell's `>` makes it; signed later where the name is new. */
static inline void kit_save_bytes(struct kit *kit, struct desk_slot at, const void *text, size_t size)
{
	struct desk_item item;
	struct handle *h;

	int err = desk_open_file(kit->host.desk, at, O_WRONLY | O_TRUNC, 1, &h);
	if (err == -ENOENT)
		err = desk_create(kit->host.desk, at, 0644, 0, 0, 1, &h, &item);
	assert_int_equal(err, 0);
	kit_write(h, text, size);
}

static inline void kit_save(struct kit *kit, const char *name, const char *text)
{
	kit_save_bytes(kit, kit_at(kit, name), text, strlen(text));
}

/* A save a second later, signed. */
static inline void kit_sign(struct kit *kit, const char *name, const char *text)
{
	kit->store.time_ms += 1000;
	kit_save(kit, name, text);
	kit_later(kit, KIT_WINDOW + 1);
}

/* ---- control files ---- */

/* "head" of a document, "versions/1": looked up step by step. */
static inline int kit_find(struct kit *kit, const struct control_node *folder, const char *path,
			   struct control_node *out)
{
	struct control_node node = *folder;

	while (*path) {
		char name[512] = { 0 };
		size_t size = strcspn(path, "/");
		assert_true(size < sizeof(name));
		memcpy(name, path, size);
		int err = control_lookup(&kit->host, &node, name, &node);
		if (err < 0)
			return err;
		path += size + (path[size] == '/');
	}
	*out = node;
	return 0;
}

static inline struct control_node kit_document(const struct kit *kit, const char *name)
{
	struct control_node node;

	control_node_document(&node, &kit->self, &kit->self, name);
	return node;
}

static inline struct control_node kit_node(struct kit *kit, const struct control_node *folder, const char *path)
{
	struct control_node node;

	int err = kit_find(kit, folder, path, &node);
	if (err < 0)
		fail_msg("%s: %s", path, why_errno(err));
	return node;
}

/* The whole text, NUL-terminated; free() it. */
static inline char *kit_read_as(struct kit *kit, const struct control_node *folder, const char *path, uint32_t process,
				size_t *out_size)
{
	struct control_node node = kit_node(kit, folder, path);
	struct bytes text;
	size_t size;

	bytes_init(&text, KIT_TEXT_MAX);
	int err = control_read(&kit->host, &node, process, &text);
	if (err < 0)
		fail_msg("%s: %s", path, why_errno(err));
	bytes_put(&text, "", 1);
	char *bytes = (char *)bytes_take(&text, &size);
	assert_non_null(bytes);
	if (out_size)
		*out_size = size - 1;
	return bytes;
}

static inline char *kit_read(struct kit *kit, const struct control_node *folder, const char *path)
{
	return kit_read_as(kit, folder, path, 1, NULL);
}

/* The first line. */
static inline char *kit_value(struct kit *kit, const struct control_node *folder, const char *path)
{
	char *text = kit_read(kit, folder, path);

	text[strcspn(text, "\n")] = '\0';
	return text;
}

static inline void kit_expect_value(struct kit *kit, const struct control_node *folder, const char *path,
				    const char *expected)
{
	char *value = kit_value(kit, folder, path);

	assert_string_equal(value, expected);
	free(value);
}

static inline void kit_expect_text(struct kit *kit, const struct control_node *folder, const char *path,
				   const char *expected)
{
	char *text = kit_read(kit, folder, path);

	assert_string_equal(text, expected);
	free(text);
}

static inline bool kit_contains(struct kit *kit, const struct control_node *folder, const char *path, const char *part)
{
	char *text = kit_read(kit, folder, path);
	bool contains = strstr(text, part) != NULL;

	if (!contains)
		print_message("%s has no `%s`:\n%s", path, part, text);
	free(text);
	return contains;
}

static inline int kit_write_as(struct kit *kit, const struct control_node *folder, const char *path, uint32_t process,
			       const char *text, struct why *why)
{
	struct control_node node = kit_node(kit, folder, path);

	return control_write(&kit->host, &node, process, text, strlen(text), why);
}

static inline void kit_put(struct kit *kit, const struct control_node *folder, const char *path, const char *text)
{
	struct why why = { 0 };

	int err = kit_write_as(kit, folder, path, 1, text, &why);
	if (err < 0)
		fail_msg("%s of `%s`: %s (%s)", path, text, why_errno(err), why.text);
}

/* Refused with this error and a sentence, and nothing was written anywhere. */
static inline void kit_refused(struct kit *kit, const struct control_node *folder, const char *path, const char *text,
			       int expected)
{
	journal_place before = journal_end(store_journal(kit->store.store));
	struct why why = { 0 };

	print_message("case: %s of `%.40s`\n", path, text);
	assert_int_equal(kit_write_as(kit, folder, path, 1, text, &why), expected);
	assert_true(strlen(why.text) > 10);
	assert_true(journal_end(store_journal(kit->store.store)) == before);
}

struct kit_names {
	size_t count;
	char names[64][512];
	struct control_node nodes[64];
	uint64_t positions[64];
	size_t stop_after; /* 0: never */
};

static inline int kit_note(void *context, const char *name, uint64_t position, const struct control_node *node)
{
	struct kit_names *names = context;

	assert_true(names->count < 64);
	snprintf(names->names[names->count], sizeof(names->names[0]), "%s", name);
	names->nodes[names->count] = *node;
	names->positions[names->count] = position;
	names->count++;
	return names->count == names->stop_after;
}

static inline void kit_list(struct kit *kit, const struct control_node *folder, const char *path, struct kit_names *out)
{
	struct control_node node = kit_node(kit, folder, path);

	memset(out, 0, sizeof(*out));
	assert_int_equal(control_each(&kit->host, &node, 0, kit_note, out), 0);
}

#endif
