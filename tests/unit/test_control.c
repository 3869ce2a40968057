/* Control files: every row read and written, and what is refused changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <zlib.h>

#include "control_kit.h"

static struct kit kit;
static struct kit_names names, more; /* large */

static int setup(void **state)
{
	kit_make(&kit, 1, "alice");
	return 0;
}

static int teardown(void **state)
{
	kit_remove(&kit);
	return 0;
}

static struct control_node entity(void)
{
	struct control_node node;

	control_node_entity(&node, &kit.self);
	return node;
}

static struct control_node root(void)
{
	struct control_node node;

	control_node_root(&node);
	return node;
}

/* ---- the table ---- */

static int check_row(void *context, enum control_scope scope, const char *name, const char *help, bool writable)
{
	const struct control_node scopes[] = { root(), entity(), kit_document(&kit, "notes.md") };
	const struct control_node folder = scopes[scope];
	struct control_node node = kit_node(&kit, &folder, name);
	struct stat st;

	print_message("row: %d %s\n", (int)scope, name);
	assert_true(strlen(help) > 5);
	assert_true(kit_contains(&kit, &folder, "README", name));
	assert_true(kit_contains(&kit, &folder, "README", help));
	assert_int_equal(control_stat(&kit.host, &node, &st), 0);
	assert_true(control_ino(&node) != 0);
	if (control_kind(&node) == CONTROL_FOLDER) {
		assert_int_equal(st.st_mode, S_IFDIR | 0555);
		assert_false(writable);
		return 0;
	}
	assert_int_equal(st.st_mode, S_IFREG | (writable ? 0644 : 0444));
	char *text = kit_read(&kit, &folder, name);
	bool bare = strcmp(name, "README") == 0 || strcmp(name, "merge") == 0 || strcmp(name, "about") == 0 ||
		    strcmp(name, "page.html") == 0 || strcmp(name, "metrics") == 0;
	if (!bare) {
		assert_non_null(strstr(text, help));
		assert_int_equal(strstr(text, "\n# write: ") != NULL, writable);
	}
	free(text);
	if (!writable)
		kit_refused(&kit, &folder, name, "x", -EACCES);
	(*(int *)context)++;
	return 0;
}

static void test_every_row_reads_and_is_told_of(void **state)
{
	int files = 0;

	kit_sign(&kit, "notes.md", "one\n");
	assert_int_equal(control_each_row(check_row, &files), 0);
	assert_int_equal(files, 27);
}

static void test_folders_list_their_rows(void **state)
{
	static const struct {
		enum control_scope scope;
		const char *expected;
	} cases[] = {
		{ CONTROL_NODE, "README status id peers connect errors events metrics config quota " },
		{ CONTROL_ENTITY, "README id about at devices forks subscribe log " },
		{ CONTROL_DOCUMENT, "README versions diffs head heads log merge pieces links page.html vote subscribe holders " },
	};
	const struct control_node scopes[] = { root(), entity(), kit_document(&kit, "notes.md") };

	for (size_t i = 0; i < 3; i++) {
		char all[512] = "";
		kit_list(&kit, &scopes[cases[i].scope], "", &names);
		for (size_t j = 0; j < names.count; j++) {
			strcat(all, names.names[j]);
			strcat(all, " ");
		}
		assert_string_equal(all, cases[i].expected);
		/* From any position on, the rest follows. */
		for (size_t j = 0; j < names.count; j++) {
			memset(&more, 0, sizeof(more));
			assert_int_equal(control_each(&kit.host, &scopes[cases[i].scope], names.positions[j], kit_note,
						      &more), 0);
			assert_int_equal(more.count, names.count - j - 1);
		}
	}
}

static void test_what_is_no_row_is_not_there(void **state)
{
	static const char *const cases[] = { "nothing", "Head", "head/x", "versions/0", "versions/9", "versions/!!",
					     "versions/zzzz", "versions/2001", "diffs/x.diff", "pieces/0001", "pieces/x",
					     "pieces/0000-aaaa.gz", "pieces/-1", "versions/", "README/x" };
	struct control_node folder = kit_document(&kit, "notes.md"), person = entity(), node;

	kit_sign(&kit, "notes.md", "one\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("case: %s\n", cases[i]);
		int err = kit_find(&kit, &folder, cases[i], &node);
		assert_true(strcmp(cases[i], "versions/") == 0 ? err == 0 : err == -ENOENT || err == -ENOTDIR);
	}
	assert_int_equal(kit_find(&kit, &person, "at/yesterday", &node), -ENOENT);
	assert_int_equal(kit_find(&kit, &person, "versions", &node), -ENOENT);
}

static void test_nodes_have_numbers(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md"), other = kit_document(&kit, "other.md");
	struct control_node head = kit_node(&kit, &folder, "head"), again = kit_node(&kit, &folder, "head");
	struct control_node heads = kit_node(&kit, &folder, "heads"), others = kit_node(&kit, &other, "head");

	assert_true(control_ino(&head) == control_ino(&again));
	assert_true(control_ino(&head) != control_ino(&heads));
	assert_true(control_ino(&head) != control_ino(&others));
	assert_true(control_ino(&head) != control_ino(&folder));
}

/* ---- versions, diffs, head ---- */

static void expect_content(const struct control_node *node, const char *expected)
{
	struct content content;
	uint8_t text[256];
	struct stat st;

	assert_int_equal(control_content(&kit.host, node, &content), 0);
	ssize_t size = content_read(store_piece_cache(kit.host.store), store_pieces(kit.host.store), &content, text,
				    sizeof(text), 0);
	assert_int_equal(size, strlen(expected));
	assert_memory_equal(text, expected, strlen(expected));
	assert_int_equal(control_stat(&kit.host, node, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0444);
	assert_int_equal(st.st_size, strlen(expected));
	assert_true(st.st_mtim.tv_sec >= (time_t)(HELPER_TIME_MS / 1000));
}

static void test_versions_are_listed_and_found(void **state)
{
	static const char *const texts[] = { "one\n", "one\ntwo\n", "one\n2\n" };
	struct control_node folder = kit_document(&kit, "notes.md"), node;

	for (size_t i = 0; i < 3; i++)
		kit_sign(&kit, "notes.md", texts[i]);
	kit_list(&kit, &folder, "versions", &names);
	kit_list(&kit, &folder, "diffs", &more);
	assert_int_equal(names.count, 3);
	assert_int_equal(more.count, 3);
	for (size_t i = 0; i < 3; i++) {
		char path[600], *name = names.names[i], *end = name + strlen(name) - 3;
		assert_string_equal(end, ".md");
		assert_int_equal(control_kind(&names.nodes[i]), CONTROL_CONTENT);
		expect_content(&names.nodes[i], texts[i]);
		const char *const spellings[] = { name, i == 0 ? "1" : i == 1 ? "2" : "3",
						  i == 0 ? "-3" : i == 1 ? "-2" : "-1", end - ID_SHORT_SIZE };
		for (size_t j = 0; j < 4; j++) {
			snprintf(path, sizeof(path), "versions/%.*s", j == 3 ? ID_SHORT_SIZE : 500, spellings[j]);
			node = kit_node(&kit, &folder, path);
			assert_true(control_ino(&node) == control_ino(&names.nodes[i]));
		}
		assert_memory_equal(more.names[i], name, strlen(name) - 3);
		assert_string_equal(more.names[i] + strlen(name) - 3, ".diff");
	}
	node = kit_node(&kit, &folder, "versions/2027");
	expect_content(&node, texts[2]);
	kit_expect_value(&kit, &folder, "head", names.names[2]);
	kit_expect_value(&kit, &folder, "heads", names.names[2]);
}

static void test_listing_stops_and_goes_on(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md"), versions = kit_node(&kit, &folder, "versions");

	kit_sign(&kit, "notes.md", "one\n");
	kit_sign(&kit, "notes.md", "two\n");
	desk_unlink(kit.host.desk, kit_at(&kit, "notes.md"));
	kit_later(&kit, KIT_WINDOW + 1);
	kit_save(&kit, "notes.md", "three\n"); /* a draft */
	memset(&names, 0, sizeof(names));
	names.stop_after = 1;
	assert_int_equal(control_each(&kit.host, &versions, 0, kit_note, &names), 1);
	for (size_t i = 1; i < 3; i++) {
		names.stop_after = i + 1;
		assert_int_equal(control_each(&kit.host, &versions, names.positions[i - 1], kit_note, &names), 1);
	}
	assert_int_equal(control_each(&kit.host, &versions, names.positions[2], kit_note, &names), 0);
	assert_int_equal(names.count, 3);
	assert_non_null(strstr(names.names[2], "Z-me-draft.md"));
}

static void test_diffs_are_against_the_first_parent(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");

	kit_sign(&kit, "notes.md", "one\n");
	kit_sign(&kit, "notes.md", "one\ntwo\n");
	kit_list(&kit, &folder, "diffs", &names);
	assert_true(kit_contains(&kit, &folder, "diffs/1", "--- /dev/null\n"));
	assert_true(kit_contains(&kit, &folder, "diffs/1", "+one\n"));
	assert_true(kit_contains(&kit, &folder, "diffs/-1", " one\n+two\n"));
	char path[600];
	snprintf(path, sizeof(path), "diffs/%.500s", names.names[1]);
	assert_true(kit_contains(&kit, &folder, path, "+two\n"));
}

static void test_saves_not_signed_are_drafts(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md"), node;
	struct control_node versions = kit_node(&kit, &folder, "versions");
	struct stat st;

	kit_save(&kit, "notes.md", "one\n");
	kit_save(&kit, "notes.md", "one\ntwo\n");
	kit_list(&kit, &folder, "versions", &names);
	assert_int_equal(names.count, 2);
	assert_string_equal(names.names[0], "20270115T080000Z-me-draft.md");
	assert_string_equal(names.names[1], "20270115T080000Z-me-draft-2.md");
	expect_content(&names.nodes[0], "one\n");
	expect_content(&names.nodes[1], "one\ntwo\n");
	assert_int_equal(control_lookup(&kit.host, &versions, names.names[1], &node), 0);
	assert_true(control_ino(&node) == control_ino(&names.nodes[1]));
	assert_int_equal(control_lookup(&kit.host, &versions, "-2", &node), 0);
	assert_true(control_ino(&node) == control_ino(&names.nodes[0]));
	kit_expect_value(&kit, &folder, "head", names.names[1]);
	assert_true(kit_contains(&kit, &folder, "log", "-me-draft-2.md\tme\t-\t8\t0\t0\tdraft\n"));
	assert_true(kit_contains(&kit, &folder, "diffs/2", "+two\n"));
	assert_true(kit_contains(&kit, &folder, "diffs/1", "/dev/null"));
	assert_true(kit_contains(&kit, &folder, "page.html", "one"));
	kit_list(&kit, &folder, "pieces", &more);
	assert_int_equal(more.count, 1);
	kit_refused(&kit, &folder, "vote", "keep", -EAGAIN);
	kit_refused(&kit, &folder, "subscribe", "1", -EAGAIN);
	kit_refused(&kit, &folder, "head", "-1", -EAGAIN);
	kit_refused(&kit, &folder, "merge", "x", -EAGAIN);

	kit_later(&kit, KIT_WINDOW + 1);
	kit_list(&kit, &folder, "versions", &more);
	assert_int_equal(more.count, 2);
	assert_null(strstr(more.names[1], "draft"));
	assert_int_equal(control_stat(&kit.host, &names.nodes[0], &st), -ENOENT);
}

static void test_head_stands_where_it_is_told(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	char id[ID_TEXT_SIZE + 1], line[600];

	kit_sign(&kit, "notes.md", "one\n");
	kit_sign(&kit, "notes.md", "two\n");
	kit_sign(&kit, "notes.md", "three\n");
	kit_list(&kit, &folder, "versions", &names);
	id_format(id, &names.nodes[1].version);
	snprintf(line, sizeof(line), "%.500s\n", names.names[0]);
	const char *const spellings[] = { "1\n", "-1\n", line, "-2", id, "3", "2027-01-15T08:00:03Z", "2\n" };
	const size_t expected[] = { 0, 2, 0, 1, 1, 2, 0, 1 };
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		print_message("case: %s\n", spellings[i]);
		kit.store.time_ms += 1000;
		kit_put(&kit, &folder, "head", spellings[i]);
		kit_expect_value(&kit, &folder, "head", names.names[expected[i]]);
		kit_expect_value(&kit, &folder, "heads", names.names[expected[i]]);
	}
	journal_place before = journal_end(store_journal(kit.store.store));
	kit_put(&kit, &folder, "head", "2"); /* stands there already */
	assert_true(journal_end(store_journal(kit.store.store)) == before);
}

static void test_head_restores_what_was_removed(void **state)
{
	struct control_node folder = kit_document(&kit, "gone.md");
	struct desk_item item;

	kit_sign(&kit, "gone.md", "one\n");
	assert_int_equal(desk_unlink(kit.host.desk, kit_at(&kit, "gone.md")), 0);
	kit_expect_value(&kit, &folder, "head", "none");
	kit_later(&kit, KIT_WINDOW + 1);
	kit_expect_value(&kit, &folder, "head", "none");
	kit_expect_text(&kit, &folder, "merge", "");
	kit_refused(&kit, &folder, "merge", "x", -EINVAL);
	assert_true(kit_contains(&kit, &folder, "page.html", "removed"));
	kit_list(&kit, &folder, "pieces", &names);
	assert_int_equal(names.count, 0);
	kit_put(&kit, &folder, "vote", "keep"); /* of what stood there last */
	kit_put(&kit, &folder, "head", "-1");
	assert_int_equal(desk_lookup(kit.host.desk, &kit.self, &kit.self, "gone.md", &item), 0);
	assert_int_equal(item.size, 4);
	kit_list(&kit, &folder, "versions", &names);
	kit_expect_value(&kit, &folder, "head", names.names[0]);
	kit_expect_value(&kit, &folder, "vote", "keep");
}

static void test_nonsense_is_refused(void **state)
{
	static const struct {
		enum control_scope scope;
		const char *name, *text;
	} cases[] = {
		{ CONTROL_DOCUMENT, "head", "" }, { CONTROL_DOCUMENT, "head", "\n" }, { CONTROL_DOCUMENT, "head", "99" },
		{ CONTROL_DOCUMENT, "head", "0" }, { CONTROL_DOCUMENT, "head", "no-such-version" },
		{ CONTROL_DOCUMENT, "head", "1\n2\n" }, { CONTROL_DOCUMENT, "head", "none" },
		{ CONTROL_DOCUMENT, "head", "1999-01-01" }, { CONTROL_DOCUMENT, "vote", "perhaps" },
		{ CONTROL_DOCUMENT, "vote", "keep delete" }, { CONTROL_DOCUMENT, "vote", "KEEP" },
		{ CONTROL_DOCUMENT, "subscribe", "2" }, { CONTROL_DOCUMENT, "subscribe", "yes please" },
		{ CONTROL_ENTITY, "devices", "nonsense" }, { CONTROL_ENTITY, "devices", "-" },
		{ CONTROL_ENTITY, "devices", "-nonsense" }, { CONTROL_ENTITY, "devices", "aaaaaaaa" },
		{ CONTROL_ENTITY, "about", "\xff\xfe" },
		{ CONTROL_NODE, "quota", "a lot" }, { CONTROL_NODE, "quota", "-1" }, { CONTROL_NODE, "quota", "1.5G" },
		{ CONTROL_NODE, "quota", "K" }, { CONTROL_NODE, "quota", "99999999999999999999999" },
		{ CONTROL_NODE, "quota", "9999999999T" }, { CONTROL_NODE, "quota", "5 G" },
		{ CONTROL_NODE, "config", "no-such-setting=1" }, { CONTROL_NODE, "config", "window soon" },
		{ CONTROL_NODE, "config", "window 99999999999" }, { CONTROL_NODE, "config", "limit 0" },
		{ CONTROL_NODE, "config", "scratch a/b" }, { CONTROL_NODE, "config", "scratch [a" },
		{ CONTROL_NODE, "config", "scratch !no-such-pattern" }, { CONTROL_NODE, "config", "scratch #x" },
	};
	const struct control_node scopes[] = { root(), entity(), kit_document(&kit, "notes.md") };

	kit_sign(&kit, "notes.md", "one\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *before = kit_read(&kit, &scopes[cases[i].scope], cases[i].name);
		kit_refused(&kit, &scopes[cases[i].scope], cases[i].name, cases[i].text, -EINVAL);
		kit_expect_text(&kit, &scopes[cases[i].scope], cases[i].name, before);
		free(before);
	}
	struct control_node head = kit_node(&kit, &scopes[CONTROL_DOCUMENT], "head");
	struct why why = { 0 };
	assert_int_equal(control_write(&kit.host, &head, 1, "1\0002", 3, &why), -EINVAL);
	assert_true(why.text[0] != '\0');
	assert_int_equal(control_write(&kit.host, &head, 1, NULL, 0, NULL), -EINVAL);
	char *long_line = calloc(1, 100001);
	memset(long_line, 'x', 100000);
	kit_refused(&kit, &scopes[CONTROL_DOCUMENT], "head", long_line, -EINVAL);
	kit_refused(&kit, &scopes[CONTROL_ENTITY], "about", long_line, -EINVAL);
	free(long_line);
}

/* ---- merge ---- */

/* A version beside whatever stands, as of a device that did not see it. */
static struct id say_child(const char *name, const char *text, const struct id *document, const struct id *parents,
			   uint32_t parent_count)
{
	kit.store.time_ms += 1000;
	struct store_txn *txn = txn_begin(&kit.store, true);
	struct piece_store pieces = store_txn_pieces(txn);
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_VERSION;
	record->version.document = *document;
	record->version.parent_count = parent_count;
	memcpy(record->version.parents, parents, parent_count * sizeof(*parents));
	if (parent_count == 2 && id_compare(&parents[0], &parents[1]) > 0) {
		record->version.parents[0] = parents[1];
		record->version.parents[1] = parents[0];
	}
	assert_int_equal(content_write_bytes(kit.store.packer, &pieces, text, strlen(text),
					     &record->version.content), 0);
	record->version.entry = (struct entry){ .directory = kit.self, .name = text_of(name), .what = WHAT_VERSION };
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	txn_commit(txn);
	return id;
}

/* Only these stand. */
static void stand_on(const char *name, const struct id *versions, size_t count)
{
	kit.store.time_ms += 1000;
	struct store_txn *txn = txn_begin(&kit.store, true);
	struct record *record = entries_begin();

	entries_put(txn, record, &kit.self, name, WHAT_VERSION, &versions[0]);
	for (size_t i = 1; i < count; i++)
		entries_add(record, &kit.self, name, WHAT_VERSION, &versions[i]);
	entries_say(txn, record);
	txn_commit(txn);
}

static struct id first_version(const char *name, const char *text)
{
	struct store_txn *txn;
	struct tree_item item;

	kit_sign(&kit, name, text);
	txn = txn_begin(&kit.store, false);
	assert_int_equal(tree_lookup(txn, &kit.self, &kit.self, name, &item), 0);
	store_abort(txn);
	return item.id;
}

/* Two heads, made of one version by two devices that did not see each other. */
static void fork_heads(const char *name, const char *base, const char *ours, const char *theirs)
{
	kit_sign(&kit, name, base);
	struct store_txn *txn = txn_begin(&kit.store, true);
	struct tree_item item;
	struct version_row row;
	assert_int_equal(tree_lookup(txn, &kit.self, &kit.self, name, &item), 0);
	assert_int_equal(document_version_row(txn, &item.id, &row), 0);
	const struct save save = { .directory = kit.self, .name = name, .text = theirs, .document = row.document,
				   .parent = item.id, .replaces_nothing = true };
	struct save mine = save;
	mine.text = ours;
	mine.replaces_nothing = false;
	kit.store.time_ms += 1000;
	say_version(&kit.store, txn, &mine);
	txn_commit(txn);
	kit.store.time_ms += 1000;
	txn = txn_begin(&kit.store, true);
	say_version(&kit.store, txn, &save);
	txn_commit(txn);
}

static size_t count_lines(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

static void test_merge_of_heads_becomes_their_child(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");

	fork_heads("notes.md", "a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n");
	char *heads = kit_read(&kit, &folder, "heads");
	assert_int_equal(count_lines(heads), 3); /* two, and what it is */
	free(heads);
	kit_expect_text(&kit, &folder, "merge", "A\nb\nc\nd\nE\n");
	kit_put(&kit, &folder, "merge", "A\nb\nc\nd\nE\nmerged\n");
	kit_list(&kit, &folder, "versions", &names);
	assert_int_equal(names.count, 4);
	expect_content(&names.nodes[3], "A\nb\nc\nd\nE\nmerged\n");
	kit_expect_value(&kit, &folder, "head", names.names[3]);
	heads = kit_read(&kit, &folder, "heads");
	assert_int_equal(count_lines(heads), 2);
	free(heads);
	char *log = kit_read(&kit, &folder, "log");
	const char *line = strstr(log, names.names[3]);
	assert_non_null(line);
	assert_non_null(strchr(line, ','));
	assert_non_null(strstr(line, "\thead,leaf\n"));
	free(log);
	kit_expect_text(&kit, &folder, "merge", "A\nb\nc\nd\nE\nmerged\n");
}

static void test_three_heads_merge_in_any_order(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct id base = first_version("notes.md", "a\nb\nc\nd\ne\nf\ng\n"), heads[3];

	heads[0] = say_child("notes.md", "A\nb\nc\nd\ne\nf\ng\n", &base, &base, 1);
	heads[1] = say_child("notes.md", "a\nb\nc\nD\ne\nf\ng\n", &base, &base, 1);
	heads[2] = say_child("notes.md", "a\nb\nc\nd\ne\nf\nG\n", &base, &base, 1);
	stand_on("notes.md", heads, 3);
	kit_expect_text(&kit, &folder, "merge", "A\nb\nc\nD\ne\nf\nG\n");
	const struct id turned[] = { heads[2], heads[0], heads[1] };
	stand_on("notes.md", turned, 3);
	kit_expect_text(&kit, &folder, "merge", "A\nb\nc\nD\ne\nf\nG\n");
}

/* Two merges of the same two: both of these are lowest common ancestors, and are merged first. */
static void test_merge_over_several_ancestors(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct id base = first_version("notes.md", "a\nb\nc\nd\ne\nf\ng\n"), sides[2], heads[2];

	sides[0] = say_child("notes.md", "A\nb\nc\nd\ne\nf\ng\n", &base, &base, 1);
	sides[1] = say_child("notes.md", "a\nb\nc\nd\ne\nf\nG\n", &base, &base, 1);
	heads[0] = say_child("notes.md", "AA\nb\nc\nd\ne\nf\nG\n", &base, sides, 2);
	heads[1] = say_child("notes.md", "A\nb\nc\nd\ne\nf\nGG\n", &base, sides, 2);
	stand_on("notes.md", heads, 2);
	kit_expect_text(&kit, &folder, "merge", "AA\nb\nc\nd\ne\nf\nGG\n"); /* over one alone they would clash */
}

static void test_merge_shows_where_heads_clash(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");

	fork_heads("notes.md", "base\n", "ours\n", "theirs\n");
	kit_list(&kit, &folder, "versions", &names);
	char *text = kit_read(&kit, &folder, "merge");
	assert_non_null(strstr(text, "<<<<<<<"));
	assert_non_null(strstr(text, names.names[1]));
	assert_non_null(strstr(text, names.names[2]));
	assert_true(strstr(text, "ours") < strstr(text, "theirs"));
	free(text);
}

static void test_merge_knows_what_was_read(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct why why = { 0 };

	fork_heads("notes.md", "base\n", "ours\n", "theirs\n");
	free(kit_read_as(&kit, &folder, "merge", 7, NULL));
	kit_list(&kit, &folder, "versions", &names);
	kit_put(&kit, &folder, "head", "1"); /* the heads are others now */
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 8, "x\n", &why), -EAGAIN);
	assert_true(strlen(why.text) > 10);
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 7, "merged\n", &why), 0);
	kit_list(&kit, &folder, "versions", &names);
	assert_int_equal(names.count, 4);
	expect_content(&names.nodes[3], "merged\n");

	/* Nobody has read it since: the heads as they are. */
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 9, "again\n", &why), 0);
	kit_list(&kit, &folder, "versions", &names);
	assert_int_equal(names.count, 5);
	/* The same bytes make no version of one head. */
	journal_place before = journal_end(store_journal(kit.store.store));
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 9, "again\n", &why), 0);
	assert_true(journal_end(store_journal(kit.store.store)) == before);
}

static void test_merge_forgets_the_oldest_reader(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	struct why why = { 0 };

	fork_heads("notes.md", "base\n", "ours\n", "theirs\n");
	for (uint32_t process = 1; process < 400; process++)
		free(kit_read_as(&kit, &folder, "merge", process, NULL));
	kit_put(&kit, &folder, "head", "1");
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 2, "x\n", &why), -EAGAIN);
	assert_int_equal(kit_write_as(&kit, &folder, "merge", 399, "x\n", &why), 0);
}

/* ---- log, vote, subscribe ---- */

static void test_log_has_columns(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md");
	char expected[1400], parent[ID_SHORT_SIZE + 1];

	kit_sign(&kit, "notes.md", "one\n");
	kit_sign(&kit, "notes.md", "one\ntwo\n");
	kit_list(&kit, &folder, "versions", &names);
	id_format_short(parent, &names.nodes[0].version);
	snprintf(expected, sizeof(expected), "%.500s\talice\t-\t4\t0\t0\t-\n%.500s\talice\t%s\t8\t0\t1\thead,leaf\n# ",
		 names.names[0], names.names[1], parent);
	char *log = kit_read(&kit, &folder, "log");
	assert_memory_equal(log, expected, strlen(expected));
	free(log);
}

static void test_votes_and_subscriptions(void **state)
{
	static const char *const votes[] = { "keep", "delete", "none", "keep" };
	static const char *const sums[] = { "# keep 1, delete 0\n", "# keep 0, delete 1\n", "# keep 0, delete 0\n",
					    "# keep 1, delete 0\n" };
	struct control_node folder = kit_document(&kit, "notes.md");

	kit_sign(&kit, "notes.md", "one\n");
	kit_expect_value(&kit, &folder, "vote", "none");
	kit_expect_value(&kit, &folder, "subscribe", "0");
	for (size_t i = 0; i < 4; i++) {
		kit.store.time_ms += 1;
		kit_put(&kit, &folder, "vote", votes[i]);
		kit_expect_value(&kit, &folder, "vote", votes[i]);
		assert_true(kit_contains(&kit, &folder, "vote", sums[i]));
	}
	kit_put(&kit, &folder, "subscribe", " 1 \r\n");
	kit_expect_value(&kit, &folder, "subscribe", "1");
	journal_place before = journal_end(store_journal(kit.store.store));
	kit_put(&kit, &folder, "subscribe", "1");
	kit_put(&kit, &folder, "vote", "keep\n");
	assert_true(journal_end(store_journal(kit.store.store)) == before);
}

/* ---- pieces, page, links ---- */

static void test_pieces_gunzip_to_the_text(void **state)
{
	static const size_t sizes[] = { 0, 1, 65536, 300000 };
	struct control_node folder = kit_document(&kit, "big.bin");
	uint8_t *text = malloc(300000), *got = malloc(400000), *packed = malloc(400000);
	uint64_t chance = 7;

	for (size_t i = 0; i < 300000; i++)
		text[i] = (uint8_t)chance_below(&chance, 200);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t packed_size = 0, size;
		kit.store.time_ms += 1000;
		kit_save_bytes(&kit, kit_at(&kit, "big.bin"), text, sizes[i]);
		kit_later(&kit, KIT_WINDOW + 1);
		kit_list(&kit, &folder, "pieces", &names);
		for (size_t j = 0; j < names.count; j++) {
			char path[600];
			struct stat st;
			snprintf(path, sizeof(path), "pieces/%.500s", names.names[j]);
			assert_int_equal(strtoul(names.names[j], NULL, 10), j);
			struct control_node node = kit_node(&kit, &folder, path);
			assert_true(control_ino(&node) == control_ino(&names.nodes[j]));
			char *member = kit_read_as(&kit, &folder, path, 1, &size);
			assert_int_equal(control_stat(&kit.host, &node, &st), 0);
			assert_int_equal(st.st_size, size);
			memcpy(packed + packed_size, member, size);
			packed_size += size;
			free(member);
		}
		z_stream z = { .next_in = packed, .avail_in = (uInt)packed_size, .next_out = got, .avail_out = 400000 };
		assert_int_equal(inflateInit2(&z, 31), Z_OK);
		int end = Z_OK;
		while (end == Z_OK && z.avail_in > 0) {
			end = inflate(&z, Z_FINISH);
			if (end == Z_STREAM_END && z.avail_in > 0)
				end = inflateReset(&z);
		}
		assert_int_equal(end, Z_STREAM_END);
		assert_int_equal(400000 - z.avail_out, sizes[i]);
		assert_memory_equal(got, text, sizes[i]);
		inflateEnd(&z);
	}
	free(text);
	free(got);
	free(packed);
}

static void test_page_is_rendered(void **state)
{
	struct control_node folder = kit_document(&kit, "notes.md"), binary = kit_document(&kit, "binary");
	struct control_node empty = kit_document(&kit, "empty.md");

	kit_sign(&kit, "notes.md", "# A *title*\n\n<script>alert(1)</script>\n\n[x](other.md)\n");
	assert_true(kit_contains(&kit, &folder, "page.html", "<h1>A <em>title</em></h1>"));
	assert_true(kit_contains(&kit, &folder, "page.html", "<title>A title</title>"));
	char *page = kit_read(&kit, &folder, "page.html");
	assert_null(strstr(page, "<script"));
	free(page);
	kit.store.time_ms += 1000;
	kit_save_bytes(&kit, kit_at(&kit, "binary"), "\0\1\2", 3);
	assert_true(kit_contains(&kit, &binary, "page.html", "not text"));
	kit_save(&kit, "empty.md", "");
	assert_true(kit_contains(&kit, &empty, "page.html", "</html>"));
}

static void test_links_go_both_ways(void **state)
{
	struct control_node notes = kit_document(&kit, "notes.md"), other = kit_document(&kit, "other.md"), soil;
	struct desk_item item;

	kit_sign(&kit, "notes.md", "[a](other.md) [b](other.md#x) [c](missing.md) [d](https://example.org/) ![e](guides/soil.md)\n");
	kit_save(&kit, "other.md", "[back](notes.md)\n");
	kit_later(&kit, KIT_WINDOW + 1);
	assert_int_equal(desk_mkdir(kit.host.desk, kit_at(&kit, "guides"), 0755, 0, 0, &item), 0);
	const struct desk_slot at = { item.id, "soil.md" };
	kit_save_bytes(&kit, at, "[n](../notes.md)\n", 17); /* not signed yet, nor is its folder */
	char *links = kit_read(&kit, &notes, "links");
	const char expected[] = "to\tother.md\nto\tmissing.md\tnothing is there\nto\tguides/soil.md\n"
				"from\tother.md\nfrom\tguides/soil.md\n# ";
	assert_memory_equal(links, expected, strlen(expected));
	free(links);
	assert_true(kit_contains(&kit, &other, "links", "to\tnotes.md\nfrom\tnotes.md\n# "));
	control_node_document(&soil, &kit.self, &item.id, "soil.md");
	assert_true(kit_contains(&kit, &soil, "links", "to\tnotes.md\nfrom\tnotes.md\n# "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_row_reads_and_is_told_of, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folders_list_their_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_row_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nodes_have_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions_are_listed_and_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listing_stops_and_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_diffs_are_against_the_first_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saves_not_signed_are_drafts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_head_stands_where_it_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_head_restores_what_was_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_of_heads_becomes_their_child, setup, teardown),
		cmocka_unit_test_setup_teardown(test_three_heads_merge_in_any_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_over_several_ancestors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_shows_where_heads_clash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_knows_what_was_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_forgets_the_oldest_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_has_columns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_votes_and_subscriptions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_gunzip_to_the_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_page_is_rendered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_go_both_ways, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
