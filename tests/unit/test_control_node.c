/* Control files of persons and of the node, and of what others wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control_kit.h"

static struct kit kit, other;
static struct kit_names names; /* large */
static struct control_node root, person;

static int setup(void **state)
{
	kit_make(&kit, 1, "alice");
	control_node_root(&root);
	control_node_entity(&person, &kit.self);
	return 0;
}

static int teardown(void **state)
{
	kit_remove(&kit);
	return 0;
}

static int setup_two(void **state)
{
	kit_make(&other, 2, "bob");
	return setup(state);
}

static int teardown_two(void **state)
{
	kit_remove(&other);
	return teardown(state);
}

/* ---- what others wrote ---- */

struct records {
	struct id ids[64];
	size_t count;
};

static int note_record(void *context, const struct record_row *row)
{
	struct records *records = context;

	assert_true(records->count < 64);
	records->ids[records->count++] = row->id;
	return 0;
}

static int take_piece(void *context, const struct piece_ref *ref, bool is_list)
{
	uint8_t member[PIECE_STORED_MAX];

	ssize_t size = store_read_piece(other.store.store, &ref->name, member, sizeof(member));
	assert_true(size > 0);
	return store_accept_piece(context, member, (size_t)size);
}

/* All records of the other's device, and the pieces of its versions. */
static void take_all(void)
{
	struct records records = { .count = 0 };
	struct version *version = malloc(sizeof(*version));
	struct store_txn *from = txn_begin(&other.store, false), *to = txn_begin(&kit.store, true);
	struct log_row log;

	assert_int_equal(log_get(from, &other.store.key.public, &log), 0);
	assert_int_equal(log_each(from, log.number, 0, note_record, &records), 0);
	for (size_t i = 0; i < records.count; i++) {
		struct parcel parcel;
		assert_int_equal(parcel_read(from, &records.ids[i], &parcel), 0);
		assert_true(parcel_accept(to, &parcel) >= 0);
		free(parcel.bytes);
		if (document_version(from, &records.ids[i], version) == 0)
			assert_int_equal(content_each(store_piece_cache(other.store.store),
						      store_pieces(other.store.store), &version->content, true,
						      take_piece, to), 0);
	}
	store_abort(from);
	txn_commit(to);
	free(version);
}

static void test_others_documents_are_read_only(void **state)
{
	static const char *const refused[] = { "head", "merge" };
	struct control_node folder, theirs, node;
	struct stat st;

	kit_sign(&other, "notes.md", "one\n");
	kit_sign(&other, "notes.md", "[x](notes.md)\n");
	take_all();
	control_node_document(&folder, &other.self, &other.self, "notes.md");
	control_node_entity(&theirs, &other.self);
	kit_list(&kit, &folder, "versions", &names);
	assert_int_equal(names.count, 2);
	assert_non_null(strstr(names.names[0], "-bob-"));
	kit_expect_value(&kit, &folder, "head", names.names[1]);
	assert_true(kit_contains(&kit, &folder, "log", "\tbob\t"));
	assert_true(kit_contains(&kit, &folder, "links", "to\tnotes.md\n"));
	assert_true(kit_contains(&kit, &folder, "diffs/2", "-one\n"));
	for (size_t i = 0; i < 2; i++) {
		node = kit_node(&kit, &folder, refused[i]);
		assert_int_equal(control_stat(&kit.host, &node, &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | 0444);
		kit_refused(&kit, &folder, refused[i], "1", -EACCES);
	}
	kit_refused(&kit, &theirs, "about", "x", -EACCES);
	kit_refused(&kit, &theirs, "devices", "-aaaaaaaa", -EACCES);
	char *head = kit_read(&kit, &folder, "head");
	assert_null(strstr(head, "# write"));
	free(head);
	/* But one may say what one thinks of them. */
	kit_put(&kit, &folder, "vote", "delete");
	kit_put(&kit, &folder, "subscribe", "1");
	kit_expect_value(&kit, &folder, "vote", "delete");
	kit_expect_value(&kit, &folder, "subscribe", "1");
}

/* ---- persons ---- */

static void test_id_and_about(void **state)
{
	char expected[ID_TEXT_SIZE + 6] = "moot:", text[PROFILE_ABOUT_MAX + 2];

	id_format(expected + 5, &kit.self);
	kit_expect_value(&kit, &person, "id", expected);
	assert_true(kit_contains(&kit, &person, "id", "# shown as alice\n"));
	kit_expect_text(&kit, &person, "about", "");
	kit.store.time_ms++;
	kit_put(&kit, &person, "about", "I grow\ntomatoes.\n");
	kit_expect_text(&kit, &person, "about", "I grow\ntomatoes.\n");
	assert_true(kit_contains(&kit, &person, "id", "alice")); /* the name is kept */
	memset(text, 'x', sizeof(text));
	text[PROFILE_ABOUT_MAX + 1] = '\0';
	kit_refused(&kit, &person, "about", text, -EINVAL);
	text[PROFILE_ABOUT_MAX] = '\0';
	kit.store.time_ms++;
	kit_put(&kit, &person, "about", text);
	journal_place before = journal_end(store_journal(kit.store.store));
	kit_put(&kit, &person, "about", text);
	assert_true(journal_end(store_journal(kit.store.store)) == before);
	kit.store.time_ms++;
	kit_put(&kit, &person, "about", "");
	kit_expect_text(&kit, &person, "about", "");
}

static void test_devices_are_admitted_and_retired(void **state)
{
	char id[ID_TEXT_SIZE + 1], own[ID_TEXT_SIZE + 1], line[80];

	id_format(id, &other.self);
	id_format(own, &kit.self);
	assert_true(kit_contains(&kit, &person, "devices", "\tadmitted\tfrom the beginning\t0\tthis one\n"));
	snprintf(line, sizeof(line), "-%s", id);
	kit_refused(&kit, &person, "devices", line, -EINVAL);
	snprintf(line, sizeof(line), "-%s", own);
	kit_refused(&kit, &person, "devices", line, -EINVAL);
	kit_refused(&kit, &person, "devices", own, -EINVAL);
	kit_refused(&kit, &person, "devices", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL);

	kit.store.time_ms += 1000;
	snprintf(line, sizeof(line), "moot:%s\n", id);
	kit_put(&kit, &person, "devices", line);
	assert_true(kit_contains(&kit, &person, "devices", "\tawaited\t2027-01-15T08:00:01Z\t-\n"));
	kit_refused(&kit, &person, "devices", id, -EINVAL);

	/* It says whose it is. */
	other.store.time_ms += 2000;
	struct store_txn *txn = txn_begin(&other.store, true);
	say_profile(txn, &kit.self, "bob");
	txn_commit(txn);
	take_all();
	assert_true(kit_contains(&kit, &person, "devices", "\tadmitted\t2027-01-15T08:00:01Z\t1\n"));
	assert_true(kit_contains(&kit, &person, "log", "\tadmit\t"));
	kit.store.time_ms += 2000;
	snprintf(line, sizeof(line), "-%.12s", id);
	kit_put(&kit, &person, "devices", line);
	assert_true(kit_contains(&kit, &person, "devices", "\tretired\t"));
	kit_refused(&kit, &person, "devices", line, -EINVAL);
}

static void test_forks_are_shown_and_one_side_is_kept(void **state)
{
	struct test_store copy;
	char id[ID_SHORT_SIZE + 1], line[80];
	struct log_row log;

	assert_true(kit_contains(&kit, &person, "forks", "# none: "));
	kit_refused(&kit, &person, "forks", "aaaaaaaa", -EINVAL);
	/* A copy of the folder goes on, and is heard of. */
	kit_stop(&kit);
	test_store_stop(&kit.store);
	test_store_copy(&copy, &kit.store, 77);
	test_store_start(&kit.store, false);
	kit_start(&kit);
	kit_sign(&kit, "notes.md", "here\n");
	struct store_txn *txn = txn_begin(&copy, true);
	copy.time_ms = kit.store.time_ms;
	say_version(&copy, txn, &(struct save){ .directory = kit.self, .name = "copy.md", .text = "copy\n" });
	say_profile(txn, NULL, "the copy");
	txn_commit(txn);
	txn = txn_begin(&copy, false);
	assert_int_equal(log_get(txn, &kit.self, &log), 0);
	store_abort(txn);
	send_log(&copy, &kit.store);
	id_format_short(id, &log.tip_id);
	snprintf(line, sizeof(line), "%s\tlongest\t", id);
	assert_true(kit_contains(&kit, &person, "forks", line));
	assert_true(kit_contains(&kit, &person, "forks", "\tcopy.md, (profile)\n"));
	assert_true(kit_contains(&kit, &person, "forks", "\taside\t"));
	assert_true(kit_contains(&kit, &person, "forks", "\tnotes.md\n"));
	assert_true(kit_contains(&kit, &person, "devices", "\tthis one\tforked\n"));
	assert_true(kit_contains(&kit, &root, "status", "\nforked\t"));

	kit_refused(&kit, &person, "forks", "aaaaaaaa", -EINVAL);
	kit_refused(&kit, &person, "forks", "nonsense!", -EINVAL);
	kit_refused(&kit, &person, "forks", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL);
	store_hold_signing(kit.store.store, UINT64_MAX);
	kit_refused(&kit, &person, "forks", id, -EAGAIN);
	store_hold_signing(kit.store.store, 0);
	kit_put(&kit, &person, "forks", id);
	kit_put(&kit, &person, "forks", id); /* changes nothing */
	assert_true(kit_contains(&kit, &person, "forks", "\tkept\t"));
	assert_true(kit_contains(&kit, &person, "log", "\tbranch\t"));
	assert_false(kit_contains(&kit, &person, "devices", "\tforked\n"));
	assert_false(kit_contains(&kit, &root, "status", "\nforked\t"));
	test_store_remove(&copy);
}

static void test_log_tells_of_every_record(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct desk_item item;

	kit_sign(&kit, "notes.md", "one\n");
	kit_put(&kit, &folder, "vote", "keep");
	kit_put(&kit, &folder, "subscribe", "1");
	assert_int_equal(desk_mkdir(kit.host.desk, kit_at(&kit, "guides"), 0755, 0, 0, &item), 0);
	kit_later(&kit, KIT_WINDOW + 1);
	assert_int_equal(desk_unlink(kit.host.desk, kit_at(&kit, "notes.md")), 0);
	kit_later(&kit, KIT_WINDOW + 1);
	char *log = kit_read(&kit, &person, "log"), *line = log;
	static const char *const kinds[] = { "profile", "version", "vote", "subscribe", "entries", "entries" };
	static const char *const about[] = { "alice", "notes.md", " keep", "", "guides/ = ", "-notes.md" };
	for (size_t i = 0; i < 6; i++) {
		char device[16] = "", kind[16] = "", time[32] = "", id[16] = "";
		unsigned seq;
		assert_int_equal(sscanf(line, "%8s\t%u\t%31s\t%15s\t%8s\t", device, &seq, time, kind, id), 5);
		assert_int_equal(seq, i);
		assert_string_equal(kind, kinds[i]);
		assert_int_equal(strlen(id), ID_SHORT_SIZE);
		assert_true(strncmp(time, "2027-01-15T08:00:", 17) == 0);
		char *end = strchr(line, '\n');
		*end = '\0';
		assert_non_null(strstr(line, about[i]));
		line = end + 1;
	}
	assert_int_equal(*line, '#');
	free(log);
}

static void test_at_takes_times(void **state)
{
	static const struct {
		const char *name;
		uint64_t end_ms; /* 0: no time */
	} cases[] = {
		{ "2027-01-15T08:00", HELPER_TIME_MS + 60000 }, { "2027-01-15", HELPER_TIME_MS + 16 * 3600000 },
		{ "yesterday", 0 }, { "2027-13-01", 0 }, { "", 0 }, { "1", 0 },
	};
	struct control_node folder = kit_node(&kit, &person, "at"), node;
	struct stat st;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = control_lookup(&kit.host, &folder, cases[i].name, &node);
		print_message("case: %s\n", cases[i].name);
		assert_int_equal(err, cases[i].end_ms ? 0 : -ENOENT);
		if (err < 0)
			continue;
		assert_int_equal(control_kind(&node), CONTROL_AT);
		assert_int_equal(node.time_ms, cases[i].end_ms);
		assert_int_equal(control_stat(&kit.host, &node, &st), 0);
		assert_int_equal(st.st_mode, S_IFDIR | 0555);
	}
	kit_list(&kit, &person, "at", &names);
	assert_int_equal(names.count, 0);
}

/* ---- the node ---- */

static void test_status_tells_what_is_not_published(void **state)
{
	struct desk_item item;

	kit_sign(&kit, "signed.md", "x\n");
	assert_true(kit_contains(&kit, &root, "status", "mounted\t/mnt/moot\nsince\t2027-01-15T08:00:00Z\n"));
	assert_true(kit_contains(&kit, &root, "status", kit.store.path));
	assert_int_equal(desk_mkdir(kit.host.desk, kit_at(&kit, "guides"), 0755, 0, 0, &item), 0);
	kit_later(&kit, KIT_WINDOW + 1);
	kit_save(&kit, "new.md", "x\n");
	kit_save(&kit, "new.md", "y\n");
	assert_int_equal(desk_unlink(kit.host.desk, kit_at(&kit, "signed.md")), 0);
	assert_int_equal(scratch_make_directory(kit.host.scratch, &item.id), 0);
	char path[ID_TEXT_SIZE + 40];
	assert_int_equal(scratch_path(path, sizeof(path), &item.id, ".soil.md.swp"), 0);
	assert_int_equal(mkdirat(scratch_fd(kit.host.scratch), path, 0700), 0);
	assert_true(kit_contains(&kit, &root, "status", "\nwaits\talice/new.md\t2 saves, signed in 2000 ms\n"));
	assert_true(kit_contains(&kit, &root, "status", "\nwaits\talice/signed.md\tremoved, signed in 2000 ms\n"));
	assert_true(kit_contains(&kit, &root, "status", "\nscratch\talice/guides/.soil.md.swp\t.*.sw[a-px]\n"));
	assert_true(kit_contains(&kit, &root, "status", "\nrecords\t3\n"));
}

static void put_own_metric(void *context, struct bytes *out)
{
	bytes_put_format(out, "moot_own %d\n", *(int *)context);
}

/* Each sample follows its HELP and TYPE. */
static void test_metrics_are_prometheus(void **state)
{
	int value = 42;

	kit.host.metrics = put_own_metric;
	kit.host.context = &value;
	errors_add(kit.host.errors, "x", -EINVAL, "y");
	char *text = kit_read(&kit, &root, "metrics"), *rest = text, *line;
	unsigned samples = 0, helps = 0, types = 0;
	while ((line = strsep(&rest, "\n")) && *line) {
		char name[64];
		unsigned long long number;
		if (strncmp(line, "# HELP moot_", 12) == 0)
			helps++;
		else if (strncmp(line, "# TYPE moot_", 12) == 0)
			types++;
		else
			samples += sscanf(line, "%63s %llu", name, &number) == 2;
	}
	free(text);
	assert_int_equal(samples, helps + 1);
	assert_int_equal(helps, types);
	assert_true(kit_contains(&kit, &root, "metrics", "\nmoot_refused_total 1\n"));
	assert_true(kit_contains(&kit, &root, "metrics", "moot_own 42\n"));
	assert_true(kit_contains(&kit, &root, "metrics", "\nmoot_records 1\n"));
}

static void test_errors_are_newest_first(void **state)
{
	errors_add(kit.host.errors, "alice/notes.md@/head", -EINVAL, "first reason");
	errors_add(kit.host.errors, "alice/notes.md@/vote", -EINVAL, "second reason");
	char *newest = kit_value(&kit, &root, "errors");
	assert_non_null(strstr(newest, "EINVAL  second reason"));
	free(newest);
}

static void test_quota_is_kept(void **state)
{
	static const char *const cases[][2] = {
		{ "0", "0" }, { "5", "5" }, { "5K\n", "5120" }, { "3M", "3145728" }, { "2G", "2147483648" },
		{ "1T", "1099511627776" }, { " 7 ", "7" }, { "9223372036854775807", "9223372036854775807" },
	};

	kit_expect_value(&kit, &root, "quota", "10737418240");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kit_put(&kit, &root, "quota", cases[i][0]);
		kit_expect_value(&kit, &root, "quota", cases[i][1]);
	}
	kit_stop(&kit);
	test_store_stop(&kit.store);
	test_store_start(&kit.store, false);
	kit_start(&kit);
	kit_expect_value(&kit, &root, "quota", "9223372036854775807");
}

static void expect_settings(uint64_t window_ms, uint64_t limit, const char *scratch)
{
	struct control_settings settings;

	assert_int_equal(control_settings_read(kit.store.store, &settings), 0);
	assert_int_equal(settings.window_ms, window_ms);
	assert_int_equal(settings.document_size_max, limit);
	assert_string_equal(settings.scratch.data ? (const char *)settings.scratch.data : "", scratch);
	control_settings_finish(&settings);
}

static void test_config_is_shown_and_set(void **state)
{
	expect_settings(2000, 1u << 30, "");
	kit_expect_value(&kit, &root, "config", "window 2000");
	assert_true(kit_contains(&kit, &root, "config", "\nlimit 1073741824\n"));
	assert_true(kit_contains(&kit, &root, "config", "\n#   *.tmp "));
	kit_put(&kit, &root, "config", "window 500\n");
	kit_put(&kit, &root, "config", "limit 5M");
	kit_put(&kit, &root, "config", "scratch *.bak");
	kit_put(&kit, &root, "config", "scratch !*.orig");
	expect_settings(500, 5u << 20, "*.bak\n!*.orig\n");
	assert_true(kit_contains(&kit, &root, "config", "window 500\nlimit 5242880\nlisten 127.0.0.1:0\nscratch *.bak\nscratch !*.orig\n# "));
	kit_put(&kit, &root, "config", "listen [::]:4040");
	assert_true(kit_contains(&kit, &root, "config", "\nlisten [::]:4040\n"));
	kit_put(&kit, &root, "config", "listen");
	assert_true(kit_contains(&kit, &root, "config", "\nlisten 127.0.0.1:0\n"));
	kit_put(&kit, &root, "config", "window");
	kit_put(&kit, &root, "config", "limit");
	kit_put(&kit, &root, "config", "scratch");
	expect_settings(2000, 1u << 30, "");
}

static void test_node_id(void **state)
{
	char expected[ID_TEXT_SIZE + 6] = "moot:";

	id_format(expected + 5, &kit.store.key.public);
	kit_expect_value(&kit, &root, "id", expected);
	assert_true(kit_contains(&kit, &root, "id", "# a device of alice, moot:"));
}

/* The command has no mount, no errors to show and nobody's memory of `merge`. */
static void test_a_host_may_lack_parts(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct control_memory *memory = kit.host.memory;
	struct errors *errors = kit.host.errors;

	kit.host.memory = NULL;
	kit.host.errors = NULL;
	kit.host.mount_point = NULL;
	kit_sign(&kit, "notes.md", "one\n");
	assert_true(kit_contains(&kit, &root, "status", "mounted\tno\n"));
	free(kit_read(&kit, &root, "errors"));
	free(kit_read(&kit, &root, "metrics"));
	kit_expect_text(&kit, &folder, "merge", "one\n");
	kit_put(&kit, &folder, "merge", "two\n");
	kit_expect_text(&kit, &folder, "merge", "two\n");
	kit.host.memory = memory;
	kit.host.errors = errors;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_others_documents_are_read_only, setup_two, teardown_two),
		cmocka_unit_test_setup_teardown(test_id_and_about, setup, teardown),
		cmocka_unit_test_setup_teardown(test_devices_are_admitted_and_retired, setup_two, teardown_two),
		cmocka_unit_test_setup_teardown(test_forks_are_shown_and_one_side_is_kept, setup_two, teardown_two),
		cmocka_unit_test_setup_teardown(test_log_tells_of_every_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_at_takes_times, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_tells_what_is_not_published, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics_are_prometheus, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_are_newest_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quota_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_is_shown_and_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_node_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_host_may_lack_parts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
