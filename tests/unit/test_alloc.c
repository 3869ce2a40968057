/*
 * Memory runs out: the n-th allocation of each thing that one does fails, for n = 1, 2, … until none is left to fail.
 * It says -ENOMEM or succeeds all the same, leaks nothing (ASan), what was there before is there, and
 * done again it succeeds. At the end the store is verified, opened and indexed anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/mman.h>

#include "alloc_faults.h"
#include "control_kit.h"
#include "markdown.h"
#include "node.h"
#include "spool.h"
#include "summary.h"

#define BASE "base.md"
#define BASE_TEXT "# Base\n\nwhat was there *before*, and [a link](other.md)\n"
#define LARGE_SIZE (160 * 1024)
#define FRIEND_RECORDS 100
#define STEP_AFTER 100 /* from here on not every allocation, but for MOOT_LONG */

static struct world {
	struct kit kit;
	unsigned turn; /* each with names of its own */
	char name[40], other[40];
	struct test_store friend; /* whose records are accepted */
	struct parcels *parcels;
	size_t parcel;
	uint8_t *large;
} world;

/* ---- a state to start from ---- */

static struct desk *desk(void)
{
	return world.kit.host.desk;
}

static struct desk_slot at(const char *name)
{
	return kit_at(&world.kit, name);
}

static void name_turn(void)
{
	world.turn++;
	snprintf(world.name, sizeof(world.name), "n%u.md", world.turn);
	snprintf(world.other, sizeof(world.other), "o%u.md", world.turn);
}

static void prepare_saved(void)
{
	kit_save(&world.kit, world.name, "saved\n");
}

static void prepare_signed(void)
{
	kit_sign(&world.kit, world.name, "signed\n");
}

static void prepare_two(void)
{
	prepare_signed();
	kit_sign(&world.kit, world.other, "other\n");
}

/* Two heads: what `merge` is about. */
static void prepare_forked(void)
{
	struct save save = { .directory = world.kit.self, .name = world.name, .text = "one\n", .replaces_nothing = true };

	struct store_txn *txn = txn_begin(&world.kit.store, true);
	struct id first = say_version(&world.kit.store, txn, &save);
	save = (struct save){ .directory = world.kit.self, .name = world.name, .text = "one\ntwo\n", .document = first,
			      .parent = first };
	say_version(&world.kit.store, txn, &save);
	save.text = "zero\none\n";
	save.replaces_nothing = true;
	say_version(&world.kit.store, txn, &save);
	txn_commit(txn);
}

/* ---- what is done ---- */

static int write_and_release(struct handle *h, const void *text, size_t size)
{
	ssize_t done = handle_write(h, text, size, 0);
	int err = done < 0 ? (int)done : handle_flush(h);
	int released = handle_release(h);

	return err < 0 ? err : released;
}

static int save_bytes(const char *name, const void *text, size_t size)
{
	struct desk_item item;
	struct handle *h;

	int err = desk_open_file(desk(), at(name), O_WRONLY | O_TRUNC, 5, &h);
	if (err == -ENOENT)
		err = desk_create(desk(), at(name), 0644, 1, 1, 5, &h, &item);
	return err < 0 ? err : write_and_release(h, text, size);
}

static int run_save(void)
{
	return save_bytes(world.name, "text\n", 5);
}

static int run_save_large(void)
{
	world.large[world.turn % LARGE_SIZE] ^= 0x55;
	return save_bytes("large.bin", world.large, LARGE_SIZE);
}

static int run_overwrite(void)
{
	struct handle *h;

	int err = desk_open_file(desk(), at(world.name), O_WRONLY, 5, &h);
	return err < 0 ? err : write_and_release(h, "more\n", 5);
}

static int run_truncate(void) { return desk_truncate(desk(), at(world.name), 2, 5); }

static int run_read(void)
{
	char text[sizeof(BASE_TEXT)];
	struct handle *h;

	int err = desk_open_file(desk(), at(BASE), O_RDONLY, 5, &h);
	if (err < 0)
		return err;
	ssize_t size = handle_read(h, text, sizeof(text), 0);
	handle_release(h);
	if (size >= 0)
		assert_int_equal(size, sizeof(BASE_TEXT) - 1);
	return size < 0 ? (int)size : 0;
}

static int see_item(void *context, const struct desk_item *item)
{
	return 0;
}

static int run_list(void)
{
	return desk_each(desk(), &world.kit.self, &world.kit.self, 0, see_item, NULL);
}

static int run_unlink(void)
{
	int err = desk_unlink(desk(), at(world.name));

	return err == -ENOENT ? 0 : err;
}

static int run_rename(void)
{
	int err = desk_rename(desk(), at(world.name), at(world.other), 0, 5);

	return err == -ENOENT ? 0 : err;
}

static int run_exchange(void)
{
	return desk_rename(desk(), at(world.name), at(world.other), RENAME_EXCHANGE, 5);
}

static int run_directories(void)
{
	struct desk_item item;

	int err = desk_mkdir(desk(), at(world.name), 0755, 1, 1, &item);
	if (err == 0 || err == -EEXIST)
		err = desk_rename(desk(), at(world.name), at(world.other), 0, 5);
	if (err == 0 || err == -ENOENT)
		err = desk_rmdir(desk(), at(world.other));
	return err == -ENOENT ? 0 : err;
}

static int run_symlink(void)
{
	struct desk_item item;
	char target[16];

	int err = desk_symlink(desk(), at(world.name), "target", 1, 1, &item);
	if (err == -EEXIST)
		err = 0;
	return err < 0 ? err : desk_readlink(desk(), &world.kit.self, at(world.name), target, sizeof(target));
}

static int run_attributes(void)
{
	const struct attributes a = { .permissions = 0755, .mtime_ns = 77 };

	return desk_set_attributes(desk(), at(world.name), DESK_SET_PERMISSIONS | DESK_SET_MTIME, &a);
}

static int run_take(void)
{
	const struct attributes a = { .permissions = 0644 };
	int fd = memfd_create("taken", MFD_CLOEXEC);

	assert_int_equal(file_pwrite_all(fd, "taken\n", 6, 0), 0);
	int err = desk_take_file(desk(), fd, at(world.name), &a, 5, NULL);
	close(fd);
	return err;
}

static int run_give(void)
{
	int fd = memfd_create("given", MFD_CLOEXEC);

	int err = desk_give_file(desk(), at(world.name), fd);
	close(fd);
	return err == -ENOENT ? 0 : err;
}

static int run_publish(void)
{
	return desk_publish_all(desk());
}

/* The timer's errors are its own: what it could not do now it does the next time. */
static int run_tick(void)
{
	world.kit.store.time_ms += KIT_WINDOW + 1;
	desk_tick(desk());
	return 0;
}

static int run_merge(void)
{
	struct control_node folder = kit_document(&world.kit, world.name), node;
	struct why why = { 0 };
	struct bytes text;

	bytes_init(&text, KIT_TEXT_MAX);
	int err = control_lookup(&world.kit.host, &folder, "merge", &node);
	if (err == 0)
		err = control_read(&world.kit.host, &node, 5, &text);
	if (err == 0)
		err = control_write(&world.kit.host, &node, 5, "merged\n", 7, &why);
	bytes_finish(&text);
	return err;
}

static int put_control(const char *row, const char *text)
{
	struct control_node folder = kit_document(&world.kit, world.name), node;
	struct why why = { 0 };

	int err = control_lookup(&world.kit.host, &folder, row, &node);
	return err < 0 ? err : control_write(&world.kit.host, &node, 5, text, strlen(text), &why);
}

static int run_head(void) { return put_control("head", "1\n"); }
static int run_vote(void) { return put_control("vote", world.turn % 2 ? "keep\n" : "none\n"); }

static int run_config(void)
{
	struct control_settings settings = { 0 };
	struct control_node folder, node;
	struct why why = { 0 };

	control_node_root(&folder);
	int err = control_lookup(&world.kit.host, &folder, "config", &node);
	if (err == 0)
		err = control_write(&world.kit.host, &node, 5, "window 2000\n", 12, &why);
	if (err == 0)
		err = control_settings_read(world.kit.store.store, &settings);
	control_settings_finish(&settings);
	return err;
}

/* ---- every control file is read, every folder listed ---- */

static int read_item(void *context, const char *name, uint64_t position, const struct control_node *node)
{
	struct bytes text;
	int err = 0;

	if (control_kind(node) == CONTROL_TEXT) {
		bytes_init(&text, KIT_TEXT_MAX);
		err = control_read(&world.kit.host, node, 5, &text);
		bytes_finish(&text);
	} else if (control_kind(node) == CONTROL_CONTENT) {
		struct content content;
		err = control_content(&world.kit.host, node, &content);
	}
	return err == -EINVAL || err == -ENOENT || err == -EACCES ? 0 : err; /* `merge` of one head, and such */
}

static int read_row(void *context, const char *name, uint64_t position, const struct control_node *node)
{
	if (control_kind(node) == CONTROL_FOLDER && strcmp(name, "at") != 0)
		return control_each(&world.kit.host, node, 0, read_item, NULL);
	return read_item(context, name, position, node);
}

static int run_controls_document(void)
{
	const struct control_node node = kit_document(&world.kit, BASE);

	return control_each(&world.kit.host, &node, 0, read_row, NULL);
}

static int run_controls_entity(void)
{
	struct control_node node;

	control_node_entity(&node, &world.kit.self);
	return control_each(&world.kit.host, &node, 0, read_row, NULL);
}

static int run_controls_node(void)
{
	struct control_node node;

	control_node_root(&node);
	errors_add(world.kit.host.errors, "somewhere", -EIO, "a sentence");
	return control_each(&world.kit.host, &node, 0, read_row, NULL);
}

/* ---- records ---- */

static int run_overwrite_record(void)
{
	struct record *record = record_new();
	struct store_txn *txn = NULL;
	struct id id;

	int err = record ? store_begin(world.kit.store.store, true, &txn) : -ENOMEM;
	if (err == 0) {
		record->field = FIELD_SUBSCRIBE;
		record->subscribe.id = world.kit.self;
		record->subscribe.on = world.turn % 2;
		err = log_append(txn, record, &id, NULL);
	}
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	free(record);
	return err;
}

static int run_summary(void)
{
	struct store_txn *txn;

	int err = store_begin(world.kit.store.store, true, &txn);
	if (err < 0)
		return err;
	err = summary_append(txn);
	if (err < 0) {
		store_abort(txn);
		return err;
	}
	return store_commit(txn);
}

/* A friend's log, record by record: the next one each time. */
static int run_accept(void)
{
	const struct parcel *parcel = &world.parcels->items[world.parcel];
	struct store_txn *txn;

	assert_true(world.parcel < world.parcels->count);

	int err = store_begin(world.kit.store.store, true, &txn);
	if (err < 0)
		return err;
	err = parcel_accept(txn, parcel);
	if (err < 0) {
		store_abort(txn);
		return err;
	}
	err = store_commit(txn);
	if (err == 0)
		world.parcel++;
	return err;
}

static int run_gc(void)
{
	struct gc_report report;

	return store_gc(world.kit.store.store, true, &report);
}

static void print_finding(void *context, const char *sentence)
{
	print_error("verify: %s\n", sentence);
}

static int run_verify(void)
{
	struct verify_report report = { 0 };
	struct why why = { 0 };

	int err = store_verify(world.kit.store.path, print_finding, NULL, NULL, &report, &why);
	if (err == 0)
		assert_int_equal(report.bad, 0);
	return err;
}

/* ---- opening: the folder is closed meanwhile ---- */

static int open_again(bool reindex)
{
	struct store_options options = { .clock = helper_clock(&world.kit.store), .reindex = reindex };
	const struct desk_options desk_options = { .window_ms = KIT_WINDOW, .document_size_max = 1u << 30 };
	struct control_host *host = &world.kit.host;
	struct why why = { 0 };

	scratch_close(host->scratch);
	errors_free(host->errors);
	control_memory_free(host->memory);
	host->scratch = NULL;
	host->errors = NULL;
	host->memory = NULL;
	int err = desk_close(host->desk);
	host->desk = NULL;
	int closed = store_close(world.kit.store.store);
	world.kit.store.store = host->store = NULL;
	err = err < 0 ? err : closed;
	if (err == 0)
		err = store_open(&world.kit.store.store, world.kit.store.path, &world.kit.store.key, &options, &why);
	host->store = world.kit.store.store;
	if (err == 0)
		err = desk_open(&host->desk, host->store, &desk_options);
	if (err == 0)
		err = scratch_open(&host->scratch, store_directory_fd(host->store), NULL, &why);
	if (err == 0) {
		host->errors = errors_new(&store_clock(host->store)[0]);
		host->memory = control_memory_new();
		err = host->errors && host->memory ? 0 : -ENOMEM;
	}
	return err;
}

static int run_open(void) { return open_again(false); }
static int run_reindex(void) { return open_again(true); }

/* ---- what stands alone ---- */

static int run_journal(void)
{
	char path[256];
	struct journal *journal = NULL;
	struct span span = { "bytes", 5 };
	const struct journal_part part = { 7, &span, 1 };
	journal_place place;
	struct why why = { 0 };

	bool armed = atomic_exchange(&allocations.armed, false);
	helper_folder(path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	allocations.armed = armed;
	int err = journal_open(&journal, fd, false, &why);
	for (int i = 0; err == 0 && i < 3; i++)
		err = journal_append(journal, &part, 1, &place);
	if (err == 0)
		err = journal_rotate(journal);
	if (err == 0)
		err = journal_append(journal, &part, 1, &place);
	if (err == 0)
		err = journal_sync(journal);
	int closed = journal_close(journal);
	allocations.armed = false;
	close(fd);
	nftw(path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
	allocations.armed = armed;
	return err < 0 ? err : closed;
}

static int run_texts(void)
{
	const char text[] = "# Title\n\nwith a [link](there.md \"t\") and `code` <b>\n", other[] = "# Title\n\nother\n";
	const struct diff_side one = { "one", { text, sizeof(text) - 1 } }, two = { "two", { other, sizeof(other) - 1 } };
	struct bytes out;

	bytes_init(&out, KIT_TEXT_MAX);
	int err = diff_unified(&one, &two, &out);
	if (err >= 0)
		err = diff_merge((struct span){ "# Title\n", 8 }, &one, &two, &out);
	if (err >= 0)
		err = markdown_page("title", text, sizeof(text) - 1, "note", &out);
	if (err >= 0)
		err = markdown_plain(text, sizeof(text) - 1, &out);
	if (err >= 0)
		err = markdown_title(text, sizeof(text) - 1, &out);
	if (err >= 0)
		err = markdown_resolve("a/b.md", "../c.md", &out);
	bytes_finish(&out);
	return err < 0 ? err : 0;
}

static int run_spool(void)
{
	struct spool *spool;

	int err = spool_new(&spool, store_directory_fd(world.kit.store.store));
	if (err < 0)
		return err;
	err = spool_write(spool, "x", 1, 5000);
	if (err == 0)
		err = spool_write(spool, world.large, LARGE_SIZE, 0);
	spool_free(spool);
	return err;
}

static int run_nodes(void)
{
	const struct identity directory = { .kind = NODE_DIRECTORY, .type = S_IFDIR, .person = world.kit.self,
					    .id = world.kit.self };
	const struct identity document = { .kind = NODE_DOCUMENT, .type = S_IFREG };
	struct nodes *nodes;
	struct node *folder, *one = NULL;

	int err = nodes_new(&nodes);
	if (err < 0)
		return err;
	err = node_enter(nodes, nodes_root(nodes), "alice", &directory, &folder);
	if (err == 0)
		err = node_enter(nodes, folder, "a.md", &document, &one);
	if (err == 0)
		err = node_move(nodes, folder, "a.md", folder, "b.md");
	nodes_free(nodes, NULL, NULL);
	return err;
}

static const struct scene {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
	bool closes; /* a failure leaves the folder closed */
} scenes[] = {
	{ "a journal of its own", NULL, run_journal, false },
	{ "texts", NULL, run_texts, false },
	{ "a spool", NULL, run_spool, false },
	{ "nodes", NULL, run_nodes, false },
	{ "save a new one", NULL, run_save, false },
	{ "save an old one", prepare_signed, run_save, false },
	{ "append", prepare_signed, run_overwrite, false },
	{ "truncate", prepare_signed, run_truncate, false },
	{ "save a large one", NULL, run_save_large, false },
	{ "read", NULL, run_read, false },
	{ "list", NULL, run_list, false },
	{ "unlink a new one", prepare_saved, run_unlink, false },
	{ "unlink an old one", prepare_signed, run_unlink, false },
	{ "rename a new one", prepare_saved, run_rename, false },
	{ "rename an old one", prepare_signed, run_rename, false },
	{ "rename over", prepare_two, run_rename, false },
	{ "exchange", prepare_two, run_exchange, false },
	{ "directories", NULL, run_directories, false },
	{ "symlink", NULL, run_symlink, false },
	{ "attributes", prepare_signed, run_attributes, false },
	{ "take a local file", NULL, run_take, false },
	{ "give a local file", prepare_signed, run_give, false },
	{ "publish", prepare_saved, run_publish, false },
	{ "tick", prepare_saved, run_tick, false },
	{ "merge", prepare_forked, run_merge, false },
	{ "head", prepare_two, run_head, false },
	{ "vote", prepare_signed, run_vote, false },
	{ "config", NULL, run_config, false },
	{ "control files of a document", NULL, run_controls_document, false },
	{ "control files of a person", NULL, run_controls_entity, false },
	{ "control files of the node", NULL, run_controls_node, false },
	{ "append a record", NULL, run_overwrite_record, false },
	{ "accept a record", NULL, run_accept, false },
	{ "summary", NULL, run_summary, false },
	{ "gc", NULL, run_gc, false },
	{ "verify", NULL, run_verify, false },
	{ "close and open", NULL, run_open, true },
	{ "close and index anew", NULL, run_reindex, true },
};

/* ---- the loop ---- */

static void expect_base(const char *name, unsigned n)
{
	char text[sizeof(BASE_TEXT) + 8] = "";
	struct handle *h;

	int err = desk_open_file(desk(), at(BASE), O_RDONLY, 0, &h);
	if (err < 0)
		fail_msg("%s, allocation %u: %s cannot be opened (%d)", name, n, BASE, err);
	ssize_t size = handle_read(h, text, sizeof(text) - 1, 0);
	handle_release(h);
	if (size != sizeof(BASE_TEXT) - 1 || strcmp(text, BASE_TEXT) != 0)
		fail_msg("%s, allocation %u: %s has changed", name, n, BASE);
}

static void check_after(const struct scene *scene, unsigned n, int err)
{
	if (err < 0 && err != -ENOMEM)
		fail_msg("%s: without allocation %u it fails with %d (%s)", scene->name, n, err, why_errno(err));
	if (scene->closes && err < 0) {
		int closed = desk_close(world.kit.host.desk);
		world.kit.host.desk = NULL;
		if (world.kit.store.store)
			store_close(world.kit.store.store);
		world.kit.store.store = NULL;
		scratch_close(world.kit.host.scratch);
		errors_free(world.kit.host.errors);
		control_memory_free(world.kit.host.memory);
		assert_int_equal(closed, 0);
		test_store_start(&world.kit.store, false);
		kit_start(&world.kit);
	}
	expect_base(scene->name, n);
}

static unsigned run_scene(const struct scene *scene)
{
	bool failed = true;
	unsigned n = 0;

	while (failed) {
		n += 1 + (n > STEP_AFTER && !getenv("MOOT_LONG") ? n / 16 : 0);
		name_turn();
		if (scene->prepare)
			scene->prepare();
		allocations_arm(n);
		int err = scene->run();
		failed = allocations_disarm();
		if (err < 0 && !failed)
			fail_msg("%s fails with %d, and nothing is wrong", scene->name, err);
		check_after(scene, n, err);
		err = scene->closes ? 0 : scene->run();
		if (err < 0)
			fail_msg("%s: after allocation %u had failed it fails with %d (%s)", scene->name, n, err, why_errno(err));
		expect_base(scene->name, n);
	}
	return n - 1;
}

static void start_world(void)
{
	kit_make(&world.kit, 11, "alice");
	kit_sign(&world.kit, BASE, "first\n");
	kit_sign(&world.kit, BASE, BASE_TEXT);
	world.large = malloc(LARGE_SIZE);
	assert_non_null(world.large);
	for (size_t i = 0; i < LARGE_SIZE; i++)
		world.large[i] = (uint8_t)chance_next(&world.kit.store.chance);
}

static void start_friend(void)
{
	test_store_make(&world.friend, 12);
	struct store_txn *txn = txn_begin(&world.friend, true);
	say_profile(txn, NULL, "bob");
	for (int i = 0; i < FRIEND_RECORDS; i++) {
		char name[16];
		struct id directory;
		snprintf(name, sizeof(name), "b%d", i % 70); /* some names again */
		say_directory(txn, &world.friend.key.public, name, &directory);
	}
	txn_commit(txn);
	world.parcels = parcels_of(&world.friend, &world.friend.key.public);
}

static void end_world(void)
{
	struct verify_report report;
	struct why why = { 0 };

	for (int i = 0; i < 3; i++)
		kit_later(&world.kit, KIT_WINDOW + 1);
	expect_base("the end", 0);
	kit_stop(&world.kit);
	test_store_stop(&world.kit.store);
	assert_int_equal(store_verify(world.kit.store.path, print_finding, NULL, NULL, &report, &why), 0);
	assert_int_equal(report.bad, 0);
	for (int reindex = 0; reindex < 2; reindex++) {
		test_store_start(&world.kit.store, reindex);
		kit_start(&world.kit);
		expect_base("opened again", 0);
		kit_stop(&world.kit);
		test_store_stop(&world.kit.store);
	}
	test_store_start(&world.kit.store, false);
	kit_start(&world.kit);
	free(world.large);
	kit_remove(&world.kit);
}

static void test_every_allocation_fails_once(void **state)
{
	const char *only = getenv("MOOT_SCENE");
	size_t ran = 0;

	start_friend();
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		if (only && strcmp(only, scenes[i].name) != 0)
			continue;
		start_world();
		unsigned count = run_scene(&scenes[i]);
		end_world();
		print_message("%s: %u allocations\n", scenes[i].name, count);
		ran++;
	}
	parcels_free(world.parcels);
	test_store_remove(&world.friend);
	assert_true(ran > 0);
}

/* libgit2 loses some of its own when it gets no memory. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libgit2";
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_allocation_fails_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
