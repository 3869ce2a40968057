/*
 * Arbitrary bytes written to each writable control file, and names looked up in every folder, of a store with a
 * document of several versions.  What is refused has written nothing and reads as before.
 *
 * Input: a byte that says what is done and to which row, one for the process, then the text or path.
 * The store is made once and anew when its journal has grown: inputs that are accepted do change it.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "control.h"
#include "diff.h"
#include "person.h"

#define JOURNAL_MAX (1u << 20)
#define READ_MAX (1u << 20)
#define ROWS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct row {
	enum control_scope scope;
	const char *name;
};

static struct world {
	char path[64];
	uint64_t time_ms;
	struct control_host host;
	struct control_node scopes[3];
	struct row rows[ROWS_MAX]; /* writable */
	size_t row_count;
} world;

static void require_at(bool condition, int line)
{
	if (condition)
		return;
	fprintf(stderr, "not so: fuzz_control.c:%d\n", line);
	abort();
}
#define require(condition) require_at(condition, __LINE__)

/* ---- the store ---- */

static uint64_t time_ns(void *context)
{
	return world.time_ms * 1000000;
}

static uint64_t now_ms(void *context)
{
	return world.time_ms;
}

static void random_bytes(void *context, uint8_t *out, size_t size)
{
	static uint64_t state = 1;

	for (size_t i = 0; i < size; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		out[i] = (uint8_t)(state >> 56);
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void close_world(void)
{
	if (!world.host.store)
		return;
	desk_close(world.host.desk);
	scratch_close(world.host.scratch);
	errors_free(world.host.errors);
	control_memory_free(world.host.memory);
	store_close(world.host.store);
	memset(&world.host, 0, sizeof(world.host));
	nftw(world.path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void save(const char *text, const struct id *root)
{
	const struct desk_slot at = { *root, "notes.md" };
	struct desk_item item;
	struct handle *h;

	if (desk_open_file(world.host.desk, at, O_WRONLY | O_TRUNC, 1, &h) < 0)
		require(desk_create(world.host.desk, at, 0644, 0, 0, 1, &h, &item) == 0);
	require(handle_write(h, text, strlen(text), 0) == (ssize_t)strlen(text));
	require(handle_flush(h) == 0 && handle_release(h) == 0);
	world.time_ms += 3000;
	desk_tick(world.host.desk);
}

static void open_store(struct id *out_self)
{
	struct store_options options = { .clock = { time_ns, now_ms, random_bytes, NULL }, .create = true };
	struct key key;
	struct store_txn *txn;

	snprintf(world.path, sizeof(world.path), "%s/moot-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	require(mkdtemp(world.path) != NULL);
	key_create(&key, &options.clock);
	require(store_open(&world.host.store, world.path, &key, &options, NULL) == 0);
	key_finish(&key);
	require(store_begin(world.host.store, true, &txn) == 0);
	struct record *record = record_new();
	require(record != NULL);
	record->field = FIELD_PROFILE;
	record->profile.name = (struct text){ "alice", 5 };
	record->profile.about = (struct text){ "", 0 };
	require(log_append(txn, record, NULL, NULL) == 0);
	free(record);
	require(person_self(txn, out_self) == 0);
	require(store_commit(txn) == 0);
}

static int note_row(void *context, enum control_scope scope, const char *name, const char *help, bool writable)
{
	if (writable && world.row_count < ROWS_MAX)
		world.rows[world.row_count++] = (struct row){ scope, name };
	return 0;
}

static void open_world(void)
{
	const struct clock clock = { time_ns, now_ms, random_bytes, NULL };
	const struct desk_options options = { .window_ms = 2000, .document_size_max = 1u << 20 };
	struct id self;

	world.time_ms = 1800000000000;
	world.row_count = 0;
	open_store(&self);
	require(scratch_open(&world.host.scratch, store_directory_fd(world.host.store), NULL, NULL) == 0);
	require(desk_open(&world.host.desk, world.host.store, &options) == 0);
	world.host.errors = errors_new(&clock);
	world.host.memory = control_memory_new();
	require(world.host.errors && world.host.memory);
	save("one\n", &self);
	save("one\ntwo [three](three.md)\n", &self);
	control_node_root(&world.scopes[CONTROL_NODE]);
	control_node_entity(&world.scopes[CONTROL_ENTITY], &self);
	control_node_document(&world.scopes[CONTROL_DOCUMENT], &self, &self, "notes.md");
	control_each_row(note_row, NULL);
}

static journal_place journal_place_now(void)
{
	return journal_end(store_journal(world.host.store));
}

/* ---- what is done ---- */

static void read_node(const struct control_node *node, uint32_t process, struct bytes *out)
{
	bytes_init(out, READ_MAX);
	int err = control_read(&world.host, node, process, out);
	require(err == 0 || err == -EISDIR || err == -EMSGSIZE || err == -EFBIG || err == -EOPNOTSUPP);
}

static void write_row(const struct row *row, uint32_t process, const char *text, size_t size)
{
	struct bytes before, after;
	struct control_node node;
	struct why why = { 0 };

	require(control_lookup(&world.host, &world.scopes[row->scope], row->name, &node) == 0);
	read_node(&node, 0, &before);
	journal_place place = journal_place_now();
	int err = control_write(&world.host, &node, process, text, size, &why);
	require(err <= 0);
	if (err < 0) {
		if (!why.text[0])
			fprintf(stderr, "%s: no sentence goes with %d\n", row->name, err);
		require(why.text[0] != '\0');
		require(journal_place_now() == place);
		read_node(&node, 0, &after);
		require(before.size == after.size);
		require(before.size == 0 || memcmp(before.data, after.data, before.size) == 0);
		bytes_finish(&after);
	}
	bytes_finish(&before);
}

static int count_child(void *context, const char *name, uint64_t position, const struct control_node *node)
{
	unsigned *count = context;
	struct stat st;

	require(name[0] != '\0' && !strchr(name, '/'));
	require(control_stat(&world.host, node, &st) == 0);
	return ++*count == 100;
}

static void look(const struct control_node *node, uint32_t process)
{
	struct bytes text;
	struct stat st;
	unsigned count = 0;

	require(control_ino(node) != 0);
	require(control_stat(&world.host, node, &st) == 0);
	if (control_kind(node) == CONTROL_FOLDER)
		require(control_each(&world.host, node, 0, count_child, &count) >= 0);
	read_node(node, process, &text);
	bytes_finish(&text);
}

/* Follows a path of names as far as it leads. */
static void look_up(const struct control_node *folder, uint32_t process, const char *path)
{
	struct control_node node = *folder;
	journal_place place = journal_place_now();

	for (unsigned depth = 0; depth < 8; depth++) {
		char name[300] = { 0 };
		size_t size = strcspn(path, "/");
		if (size == 0 || size >= sizeof(name))
			break;
		memcpy(name, path, size);
		if (control_lookup(&world.host, &node, name, &node) < 0)
			break;
		look(&node, process);
		path += size + (path[size] == '/');
	}
	require(journal_place_now() == place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (!world.host.store || (journal_place_now() & UINT32_MAX) > JOURNAL_MAX) {
		if (!world.host.store) {
			require(diff_init() == 0);
			atexit(close_world);
		}
		close_world();
		open_world();
	}

	char *text = malloc(size - 2 + 1);
	if (!text)
		return 0;
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	world.time_ms += 5;
	if (data[0] & 0x80)
		look_up(&world.scopes[data[0] % 3], data[1], text);
	else
		write_row(&world.rows[data[0] % world.row_count], data[1], text, size - 2);
	free(text);
	if (data[1] == 0xff) {
		world.time_ms += 3000;
		desk_tick(world.host.desk);
	}
	return 0;
}
