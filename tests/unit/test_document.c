#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

#define MINUTE_MS (60 * 1000)
#define START_MS 1795332664000ull /* 2026-11-22T07:31:04Z */

static int store_make(void **state)
{
	struct test_store *t = calloc(1, sizeof(*t));

	test_store_make(t, 1);
	t->time_ms = START_MS;
	struct store_txn *txn = txn_begin(t, true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	*state = t;
	return 0;
}

static int store_remove(void **state)
{
	test_store_remove(*state);
	free(*state);
	return 0;
}

/* A version, a minute after the one before. */
static struct id put(struct test_store *t, const char *name, const struct id *document, const struct id *parent)
{
	struct store_txn *txn = txn_begin(t, true);
	struct save save = { .directory = t->key.public, .name = name, .text = name };

	if (document)
		save.document = *document;
	if (parent)
		save.parent = *parent;
	struct id id = say_version(t, txn, &save);
	txn_commit(txn);
	t->time_ms += MINUTE_MS;
	return id;
}

/* A document of so many versions, a minute apart. */
static void put_many(struct test_store *t, const char *name, size_t count, struct id *out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = put(t, name, i ? &out[0] : NULL, i ? &out[i - 1] : NULL);
}

static int find(struct test_store *t, const char *name, const char *spelling, struct id *out)
{
	struct store_txn *txn = txn_begin(t, false);
	struct version_row row;

	int err = document_find(txn, &t->key.public, &t->key.public, name, spelling, &row);
	store_abort(txn);
	if (err == 0)
		*out = row.id;
	return err;
}

/* ---- rows ---- */

static void a_version_is_read_again(void **state)
{
	struct test_store *t = *state;
	struct version *version = calloc(1, sizeof(*version));
	struct version_row row;
	struct id ids[2], none = { { 1 } };
	char text[16] = "";

	put_many(t, "n", 2, ids);
	struct store_txn *txn = txn_begin(t, false);
	assert_int_equal(document_version_row(txn, &none, &row), -ENOENT);
	assert_int_equal(document_version(txn, &ids[1], version), 0);
	assert_true(id_equal(&version->row.id, &ids[1]));
	assert_true(id_equal(&version->row.document, &ids[0]));
	assert_true(id_equal(&version->device, &t->key.public));
	assert_int_equal(version->row.size, 1);
	assert_int_equal(version->row.time_ms, START_MS + MINUTE_MS);
	assert_int_equal(version->parent_count, 1);
	assert_true(id_equal(&version->parents[0], &ids[0]));
	assert_int_equal(content_read(store_piece_cache(t->store), store_pieces(t->store), &version->content,
				      (uint8_t *)text, sizeof(text), 0), 1);
	assert_string_equal(text, "n");
	assert_true(document_is_leaf(txn, version->row.number));
	assert_int_equal(document_version_row(txn, &ids[0], &row), 0);
	assert_false(document_is_leaf(txn, row.number));
	store_abort(txn);
	free(version);
}

/* ---- lists ---- */

struct list {
	struct id ids[64];
	size_t count;
	uint64_t place;
	bool one; /* at a time */
};

static int list_version(void *context, const struct version_row *row, uint64_t place)
{
	struct list *l = context;

	assert_true(l->count < 64);
	assert_true(place > l->place);
	l->place = place;
	l->ids[l->count++] = row->id;
	return row->size == 99 || l->one ? 1 : 0;
}

static void expect_list(struct test_store *t, const char *name, const struct id *const *expected, size_t count)
{
	struct store_txn *txn = txn_begin(t, false);
	struct list whole = { .count = 0 }, parts = { .one = true };
	uint64_t total;

	assert_int_equal(document_each(txn, &t->key.public, &t->key.public, name, 0, list_version, &whole), 0);
	assert_int_equal(whole.count, count);
	for (size_t i = 0; i < count; i++)
		assert_true(id_equal(&whole.ids[i], expected[i]));
	while (document_each(txn, &t->key.public, &t->key.public, name, parts.place, list_version, &parts) == 1)
		;
	assert_int_equal(parts.count, count);
	assert_memory_equal(parts.ids, whole.ids, sizeof(whole.ids));
	assert_int_equal(document_count(txn, &t->key.public, &t->key.public, name, &total), 0);
	assert_int_equal(total, count);
	store_abort(txn);
}

static void versions_are_listed_oldest_first(void **state)
{
	struct test_store *t = *state;
	struct id ids[3];

	expect_list(t, "n", NULL, 0);
	put_many(t, "n", 3, ids);
	expect_list(t, "n", (const struct id *[]){ &ids[0], &ids[1], &ids[2] }, 3);
}

static void saves_of_one_moment_are_listed_as_they_were_made(void **state)
{
	struct test_store *t = *state;
	struct store_txn *txn = txn_begin(t, true);
	struct save save = { .directory = t->key.public, .name = "n", .text = "x" };
	const struct id *expected[20];
	struct id ids[20];

	for (size_t i = 0; i < 20; i++) {
		expected[i] = &ids[i];
		ids[i] = say_version(t, txn, &save);
		save.document = ids[0];
		save.parent = ids[i];
	}
	txn_commit(txn);
	expect_list(t, "n", expected, 20);
}

static void a_name_lists_what_once_stood_there_up_to_then(void **state)
{
	struct test_store *t = *state;
	struct id ids[2];

	/* a moves from x to y, goes on there; another document is made at x. */
	put_many(t, "x", 2, ids);
	struct store_txn *txn = txn_begin(t, true);
	struct record *record = entries_begin();
	entries_put(txn, record, &t->key.public, "x", WHAT_NOTHING, NULL);
	entries_put(txn, record, &t->key.public, "y", WHAT_VERSION, &ids[1]);
	entries_say(txn, record);
	txn_commit(txn);
	t->time_ms += MINUTE_MS;
	struct id third = put(t, "y", &ids[0], &ids[1]);
	struct id other = put(t, "x", NULL, NULL);
	expect_list(t, "x", (const struct id *[]){ &ids[0], &ids[1], &other }, 3);
	expect_list(t, "y", (const struct id *[]){ &ids[0], &ids[1], &third }, 3);

	/* Removed, its versions are there still. */
	txn = txn_begin(t, true);
	say_nothing(txn, &t->key.public, "y");
	txn_commit(txn);
	expect_list(t, "y", (const struct id *[]){ &ids[0], &ids[1], &third }, 3);
	struct tree_document documents[4];
	txn = txn_begin(t, false);
	assert_int_equal(tree_documents(txn, &t->key.public, &t->key.public, "x", documents, 4), 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(documents[i].stands, id_equal(&documents[i].document, &other));
	store_abort(txn);
}

/* ---- names ---- */

static void a_version_has_a_name(void **state)
{
	struct test_store *t = *state;
	char name[VERSION_NAME_MAX + 1], expected[VERSION_NAME_MAX + 1], id[ID_SHORT_SIZE + 1];
	struct version_row row;
	struct id version = put(t, "notes.md", NULL, NULL), found;

	id_format_short(id, &version);
	struct store_txn *txn = txn_begin(t, false);
	assert_int_equal(document_version_row(txn, &version, &row), 0);
	assert_int_equal(document_version_name(txn, &row, "notes.md", NULL, name), 0);
	snprintf(expected, sizeof(expected), "20261122T073104Z-alice-%s.md", id);
	assert_string_equal(name, expected);
	assert_int_equal(document_version_name(txn, &row, "notes.md", ".diff", name), 0);
	snprintf(expected, sizeof(expected), "20261122T073104Z-alice-%s.diff", id);
	assert_string_equal(name, expected);
	store_abort(txn);
	assert_int_equal(find(t, "notes.md", name, &found), 0);

	/* A petname goes before the nickname; what cannot be in a name is not. */
	txn = txn_begin(t, true);
	assert_int_equal(store_local_put(txn, LOCAL_NAME, t->key.public.bytes, ID_SIZE, "Bob", 3), 0);
	txn_commit(txn);
	txn = txn_begin(t, false);
	assert_int_equal(document_version_name(txn, &row, "notes.md", NULL, name), 0);
	snprintf(expected, sizeof(expected), "20261122T073104Z-Bob-%s.md", id);
	assert_string_equal(name, expected);
	store_abort(txn);
	txn = txn_begin(t, true);
	assert_int_equal(store_local_put(txn, LOCAL_NAME, t->key.public.bytes, ID_SIZE, NULL, 0), 0);
	say_profile(txn, NULL, "two\nlines");
	txn_commit(txn);
	char person[ID_SHORT_SIZE + 1];
	id_format_short(person, &t->key.public);
	txn = txn_begin(t, false);
	assert_int_equal(document_version_name(txn, &row, "notes.md", NULL, name), 0);
	snprintf(expected, sizeof(expected), "20261122T073104Z-%s-%s.md", person, id);
	assert_string_equal(name, expected);
	store_abort(txn);
}

static void suffixes(void **state)
{
	static const struct {
		const char *name, *expected;
	} cases[] = {
		{ "notes.md", ".md" }, { "a.tar.gz", ".gz" }, { "Makefile", "" }, { ".profile", "" },
		{ ".a.txt", ".txt" }, { "end.", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(document_suffix(cases[i].name), cases[i].expected);
}

/* ---- times ---- */

static void times_are_parsed_to_their_end(void **state)
{
	static const struct {
		const char *text;
		uint64_t end_s; /* 0: -EINVAL */
	} cases[] = {
		{ "1970", 31536000 },
		{ "2026", 1798761600 },
		{ "2026-11", 1796083200 },
		{ "2026-12", 1798761600 },
		{ "2026-11-22", 1795392000 },
		{ "2026-12-31", 1798761600 },
		{ "2024-02-29", 1709251200 },
		{ "2026-11-22T07", 1795334400 },
		{ "2026-11-22T07Z", 1795334400 },
		{ "2026-11-22T07:31", 1795332720 },
		{ "2026-11-22T23:59", 1795392000 },
		{ "2026-11-22T07:31:04", 1795332665 },
		{ "2026-11-22T07:31:04Z", 1795332665 },
		{ "", 0 }, { "26", 0 }, { "20261", 0 }, { "2026-", 0 }, { "2026-1", 0 }, { "2026-13", 0 },
		{ "2026-00", 0 }, { "2026-11-31", 0 }, { "2026-02-29", 0 }, { "2026-11-00", 0 },
		{ "2026-11-22T", 0 }, { "2026-11-22T24", 0 }, { "2026-11-22T07:60", 0 }, { "2026-11-22Z", 0 },
		{ "2026-11-22 07", 0 }, { "2026-11-22T07:31:04ZZ", 0 }, { "2026-11-22T07:31:04.5", 0 },
		{ "1969-12-31", 0 }, { "-2026", 0 }, { "2026-11-22T07:31:04+01", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t end_ms = 7;
		int err = document_parse_time(cases[i].text, &end_ms);
		if (err != (cases[i].end_s ? 0 : -EINVAL) || end_ms != (cases[i].end_s ? cases[i].end_s * 1000 : 7))
			fail_msg("%s: %d, %llu", cases[i].text, err, (unsigned long long)end_ms);
	}
}

/* ---- spellings ---- */

static void versions_are_found_as_people_write_them(void **state)
{
	struct test_store *t = *state;
	struct id ids[3], found;
	char text[5][VERSION_NAME_MAX + 64], full[ID_TEXT_SIZE + 1], short_id[ID_SHORT_SIZE + 1];

	put_many(t, "n.md", 3, ids); /* at 07:31:04, 07:32:04, 07:33:04 */
	id_format(full, &ids[1]);
	id_format_short(short_id, &ids[1]);
	snprintf(text[0], sizeof(text[0]), "moot:%s", full);
	snprintf(text[1], sizeof(text[1]), "%.4s", full);
	snprintf(text[2], sizeof(text[2]), "20261122T073204Z-whoever-%s.md", short_id);
	snprintf(text[3], sizeof(text[3]), "20261122T073204Z-alice-b-%s", short_id);
	snprintf(text[4], sizeof(text[4]), "20261122T073104Z-alice-%s.md", short_id);
	const struct {
		const char *spelling;
		int expected; /* which, or an error */
	} cases[] = {
		{ "1", 0 }, { "2", 1 }, { "3", 2 }, { "4", -ENOENT }, { "-1", 2 }, { "-3", 0 }, { "-4", -ENOENT },
		{ "000002", 1 }, { "0", -ENOENT }, { "999999", -ENOENT },
		{ "2026-11-22T07:31", 0 }, { "2026-11-22T07:32", 1 }, { "2026-11-22T07:32:04", 1 },
		{ "2026-11-22T07:32:03", 0 }, { "2026-11-22", 2 }, { "2026", 2 }, { "2026-11-21", -ENOENT },
		{ "2027", 2 }, { "1999", -ENOENT },
		{ full, 1 }, { short_id, 1 }, { text[0], 1 }, { text[1], 1 },
		{ text[2], 1 }, { text[3], 1 }, { text[4], -ENOENT },
		{ "aaaaaaaa", -ENOENT }, { "abc", -EINVAL }, { "", -EINVAL }, { "n.md", -EINVAL },
		{ "1234567", -EINVAL }, { "--1", -EINVAL }, { "1x", -EINVAL }, { "head", -ENOENT },
		{ "20261122T073204Z-alice-.md", -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = find(t, "n.md", cases[i].spelling, &found);
		if (err != (cases[i].expected < 0 ? cases[i].expected : 0))
			fail_msg("%s: %d", cases[i].spelling, err);
		if (err == 0 && !id_equal(&found, &ids[cases[i].expected]))
			fail_msg("%s: another", cases[i].spelling);
	}
	/* A version of another name is none of this one. */
	struct id other = put(t, "other", NULL, NULL);
	id_format(full, &other);
	assert_int_equal(find(t, "n.md", full, &found), -ENOENT);
	assert_int_equal(find(t, "other", full, &found), 0);
	assert_int_equal(find(t, "absent", "1", &found), -ENOENT);
}

static void a_prefix_of_several_is_not_unique(void **state)
{
	struct test_store *t = *state;
	struct id first = put(t, "n", NULL, NULL), found;
	char prefix[ID_TEXT_SIZE + 1], other[ID_TEXT_SIZE + 1];
	int clashes = 0;

	/* Of 3000 some four pairs share the 20 bits of 4 characters. */
	struct store_txn *txn = txn_begin(t, true);
	struct save save = { .directory = t->key.public, .name = "n", .text = "x", .document = first };
	struct id *ids = calloc(3000, sizeof(*ids));
	for (int i = 0; i < 3000; i++) {
		if (i % 1000 == 999) {
			txn_commit(txn);
			txn = txn_begin(t, true);
		}
		ids[i] = say_version(t, txn, &save);
	}
	txn_commit(txn);
	for (int i = 0; i < 3000 && !clashes; i++)
		for (int k = 0; k < i && !clashes; k++) {
			if (memcmp(ids[i].bytes, ids[k].bytes, 2) != 0)
				continue;
			id_format(prefix, &ids[i]);
			id_format(other, &ids[k]);
			prefix[4] = '\0';
			if (strncmp(prefix, other, 4) != 0 || strspn(prefix, "234567") == 4)
				continue;
			assert_int_equal(find(t, "n", prefix, &found), -ENOTUNIQ);
			clashes++;
		}
	assert_int_equal(clashes, 1);
	free(ids);
}

/* ---- ancestors ---- */

struct shape { /* a version graph: parents by letter */
	const char *name;
	const char *edges;    /* "b<a" b's parent is a; in order of making */
	char a, b;
	const char *expected; /* letters */
	bool clock_back;      /* each version is older than the one before it */
};

static struct id make_node(struct test_store *t, const struct id *parents, size_t count)
{
	struct store_txn *txn = txn_begin(t, true);
	struct record *record = record_new();
	struct piece_store pieces = store_txn_pieces(txn);
	struct id id;

	record->field = FIELD_VERSION;
	record->version.parent_count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		size_t at = i;
		while (at > 0 && id_compare(&parents[i], &record->version.parents[at - 1]) < 0) {
			record->version.parents[at] = record->version.parents[at - 1];
			at--;
		}
		record->version.parents[at] = parents[i];
	}
	assert_int_equal(content_write_bytes(t->packer, &pieces, "x", 1, &record->version.content), 0);
	record->version.entry = (struct entry){ .directory = t->key.public, .name = text_of("n"),
						.what = WHAT_VERSION };
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	txn_commit(txn);
	free(record);
	return id;
}

/* Two devices write in turn, so that times may fall although no log's do. */
static void make_shape(struct test_store *stores, const struct shape *shape, struct id nodes[26])
{
	const char *at = shape->edges;
	unsigned made = 0;

	while (*at) {
		size_t node = (size_t)(*at++ - 'a'), count = 0;
		struct id parents[4];
		if (*at == '<')
			for (at++; *at && *at != ' '; at++)
				parents[count++] = nodes[*at - 'a'];
		while (*at == ' ')
			at++;
		nodes[node] = make_node(&stores[shape->clock_back ? made : 0], parents, count);
		made++;
	}
}

static void lowest_common_ancestors(void **state)
{
	static const struct shape shapes[] = {
		{ "the same", "a", 'a', 'a', "a", false },
		{ "one before the other", "a b<a c<b", 'a', 'c', "a", false },
		{ "two of one", "a b<a c<a", 'b', 'c', "a", false },
		{ "a lower one hides a higher", "a b<a c<b d<b", 'c', 'd', "b", false },
		{ "strangers", "a b", 'a', 'b', "", false },
		{ "criss-cross: two", "a b<a c<a d<bc e<bc", 'd', 'e', "bc", false },
		{ "three parents", "a b c d<abc e<ab", 'd', 'e', "ab", false },
		{ "a merge into one", "a b<a c<a d<bc e<b", 'd', 'e', "b", false },
		{ "a long way and a short", "a b<a c<b d<c e<ad f<d", 'e', 'f', "d", false },
		{ "times fall: a lower one", "a b<a c<b d<b", 'c', 'd', "b", true },
		{ "times fall: criss-cross", "a b<a c<a d<bc e<bc", 'd', 'e', "bc", true },
		{ "times fall: a long way", "a b<a c<b d<c e<ad f<da", 'e', 'f', "d", true },
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct test_store stores[6];
		struct id nodes[26], found[8];
		for (size_t k = 0; k < 6; k++) {
			test_store_make(&stores[k], 50 + k);
			stores[k].time_ms = START_MS - k * MINUTE_MS;
		}
		make_shape(stores, &shapes[i], nodes);
		for (size_t k = 1; k < 6; k++)
			send_log(&stores[k], &stores[0]);
		struct store_txn *txn = txn_begin(&stores[0], false);
		int count = document_common_ancestors(txn, &nodes[shapes[i].a - 'a'], &nodes[shapes[i].b - 'a'],
						      found, 8);
		store_abort(txn);
		size_t expected = strlen(shapes[i].expected);
		if (count != (int)expected)
			fail_msg("%s: %d", shapes[i].name, count);
		for (size_t k = 0; k < expected; k++) {
			bool is_there = false;
			for (size_t n = 0; n < expected; n++)
				is_there |= id_equal(&found[n], &nodes[shapes[i].expected[k] - 'a']);
			if (!is_there || (k > 0 && id_compare(&found[k - 1], &found[k]) >= 0))
				fail_msg("%s: another", shapes[i].name);
		}
		for (size_t k = 0; k < 6; k++)
			test_store_remove(&stores[k]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_version_is_read_again),
		TEST(versions_are_listed_oldest_first),
		TEST(saves_of_one_moment_are_listed_as_they_were_made),
		TEST(a_name_lists_what_once_stood_there_up_to_then),
		TEST(a_version_has_a_name),
		cmocka_unit_test(suffixes),
		cmocka_unit_test(times_are_parsed_to_their_end),
		TEST(versions_are_found_as_people_write_them),
		TEST(a_prefix_of_several_is_not_unique),
		TEST(lowest_common_ancestors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
