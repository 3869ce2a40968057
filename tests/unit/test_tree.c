#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

/* Two devices of one person: a is the first, b was admitted. */
struct pair {
	struct test_store a, b;
	struct id person;
};

static int pair_make(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	test_store_make(&p->a, 1);
	test_store_make(&p->b, 2);
	p->person = p->a.key.public;
	struct store_txn *txn = txn_begin(&p->a, true);
	say_profile(txn, NULL, "alice");
	say_admit(txn, &p->b.key.public, true, NULL);
	txn_commit(txn);
	txn = txn_begin(&p->b, true);
	say_profile(txn, &p->person, "alice");
	txn_commit(txn);
	meet_each_other(&p->a, &p->b);
	*state = p;
	return 0;
}

static int pair_remove(void **state)
{
	struct pair *p = *state;

	test_store_remove(&p->a);
	test_store_remove(&p->b);
	free(p);
	return 0;
}

static struct id save_at(struct test_store *t, const struct id *directory, const char *name, const char *text)
{
	struct store_txn *txn = txn_begin(t, true);
	struct save save = { .directory = *directory, .name = name, .text = text };
	struct standing standing;
	struct version_row row;
	struct id person;

	assert_int_equal(person_self(txn, &person), 0);
	if (tree_standing(txn, &person, directory, name, &standing, 1) > 0 && standing.what == WHAT_VERSION) {
		assert_int_equal(document_version_row(txn, &standing.id, &row), 0);
		save.document = row.document;
		save.parent = row.id;
	}
	struct id id = say_version(t, txn, &save);
	txn_commit(txn);
	return id;
}

static void remove_at(struct test_store *t, const struct id *directory, const char *name)
{
	struct store_txn *txn = txn_begin(t, true);

	say_nothing(txn, directory, name);
	txn_commit(txn);
}

static struct id directory_at(struct test_store *t, const struct id *parent, const char *name)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id id;

	say_directory(txn, parent, name, &id);
	txn_commit(txn);
	return id;
}

struct move {
	struct id from, to;
	const char *old_name, *new_name;
	enum what what;
	struct id id;
};

static void move_at(struct test_store *t, const struct move *m)
{
	struct store_txn *txn = txn_begin(t, true);
	struct record *record = entries_begin();

	entries_put(txn, record, &m->from, m->old_name, WHAT_NOTHING, NULL);
	entries_put(txn, record, &m->to, m->new_name, m->what, &m->id);
	entries_say(txn, record);
	txn_commit(txn);
}

/* ---- what is expected ---- */

struct listing {
	char text[2048];
	size_t size;
};

static int list_item(void *context, const struct tree_item *item)
{
	struct listing *l = context;

	l->size += (size_t)snprintf(l->text + l->size, sizeof(l->text) - l->size, "%s%s%s", l->size ? " " : "",
				    item->name, item->what == WHAT_DIRECTORY ? "/" : "");
	return 0;
}

/* Names that show, in the order of listing. */
static void expect_listing(struct pair *p, struct test_store *t, const struct id *directory, const char *expected)
{
	struct store_txn *txn = txn_begin(t, false);
	struct listing l = { .size = 0 };

	l.text[0] = '\0';
	assert_int_equal(tree_each(txn, &p->person, directory, 0, list_item, &l), 0);
	assert_string_equal(l.text, expected);
	store_abort(txn);
}

static void expect_both(struct pair *p, const struct id *directory, const char *expected)
{
	expect_listing(p, &p->a, directory, expected);
	expect_listing(p, &p->b, directory, expected);
}

static struct tree_item item_at(struct pair *p, struct test_store *t, const struct id *directory, const char *name)
{
	struct store_txn *txn = txn_begin(t, false);
	struct tree_item item;

	int err = tree_lookup(txn, &p->person, directory, name, &item);
	store_abort(txn);
	if (err < 0)
		fail_msg("%s is not there (%d)", name, err);
	assert_string_equal(item.name, name);
	return item;
}

static void expect_absent(struct pair *p, struct test_store *t, const struct id *directory, const char *name)
{
	struct store_txn *txn = txn_begin(t, false);
	struct tree_item item;

	assert_int_equal(tree_lookup(txn, &p->person, directory, name, &item), -ENOENT);
	store_abort(txn);
}

/* ---- saving ---- */

static void a_save_shows_and_the_next_replaces_it(void **state)
{
	struct pair *p = *state;

	struct id first = save_at(&p->a, &p->person, "notes.md", "one");
	struct tree_item item = item_at(p, &p->a, &p->person, "notes.md");
	assert_true(id_equal(&item.id, &first));
	assert_int_equal(item.what, WHAT_VERSION);
	assert_int_equal(item.heads, 1);
	uint64_t cookie = item.cookie;

	p->a.time_ms += 1000;
	struct id second = save_at(&p->a, &p->person, "notes.md", "two");
	item = item_at(p, &p->a, &p->person, "notes.md");
	assert_true(id_equal(&item.id, &second));
	assert_int_equal(item.heads, 1);
	assert_int_equal(item.cookie, cookie);
	assert_int_equal(item.time_ms, p->a.time_ms);
	expect_listing(p, &p->a, &p->person, "notes.md");
}

static void nothing_shows_of_a_stranger(void **state)
{
	struct pair *p = *state;
	struct store_txn *txn = txn_begin(&p->a, false);
	struct id nobody = { { 7 } };
	struct tree_item item;
	struct standing standing;
	struct listing l = { .size = 0 };

	assert_int_equal(tree_lookup(txn, &nobody, &nobody, "x", &item), -ENOENT);
	assert_int_equal(tree_each(txn, &nobody, &nobody, 0, list_item, &l), 0);
	assert_int_equal(tree_standing(txn, &nobody, &nobody, "x", &standing, 1), 0);
	assert_int_equal(tree_documents(txn, &nobody, &nobody, "x", NULL, 0), 0);
	assert_int_equal(tree_placements(txn, &nobody, &nobody, NULL, 0), 0);
	store_abort(txn);
}

static void saves_of_two_devices_are_two_heads(void **state)
{
	struct pair *p = *state;

	save_at(&p->a, &p->person, "n", "base");
	meet_each_other(&p->a, &p->b);
	save_at(&p->a, &p->person, "n", "of a");
	p->b.time_ms += 5000;
	struct id newest = save_at(&p->b, &p->person, "n", "of b");
	meet_each_other(&p->a, &p->b);
	for (int i = 0; i < 2; i++) {
		struct tree_item item = item_at(p, i ? &p->b : &p->a, &p->person, "n");
		assert_true(id_equal(&item.id, &newest));
		assert_int_equal(item.heads, 2);
	}
	/* A save in view of both is the only one. */
	save_at(&p->a, &p->person, "n", "merged");
	meet_each_other(&p->a, &p->b);
	assert_int_equal(item_at(p, &p->b, &p->person, "n").heads, 1);
}

static void a_save_beside_a_removal_stands(void **state)
{
	struct pair *p = *state;

	save_at(&p->a, &p->person, "n", "base");
	meet_each_other(&p->a, &p->b);
	remove_at(&p->a, &p->person, "n");
	expect_listing(p, &p->a, &p->person, "");
	struct id kept = save_at(&p->b, &p->person, "n", "beside");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "n");
	struct tree_item item = item_at(p, &p->a, &p->person, "n");
	assert_true(id_equal(&item.id, &kept));
}

static void a_rename_beside_a_save_keeps_both(void **state)
{
	struct pair *p = *state;

	struct id base = save_at(&p->a, &p->person, "x", "base");
	meet_each_other(&p->a, &p->b);
	move_at(&p->a, &(struct move){ p->person, p->person, "x", "y", WHAT_VERSION, base });
	struct id beside = save_at(&p->b, &p->person, "x", "beside");
	meet_each_other(&p->a, &p->b);
	for (int i = 0; i < 2; i++) {
		struct tree_item x = item_at(p, i ? &p->b : &p->a, &p->person, "x");
		struct tree_item y = item_at(p, i ? &p->b : &p->a, &p->person, "y");
		assert_true(id_equal(&x.id, &beside));
		assert_true(id_equal(&y.id, &base));
	}
}

static void entries_may_come_before_what_they_replace_or_name(void **state)
{
	struct pair *p = *state;
	struct test_store c;

	struct id base = save_at(&p->a, &p->person, "x", "base");
	meet_each_other(&p->a, &p->b);
	move_at(&p->b, &(struct move){ p->person, p->person, "x", "y", WHAT_VERSION, base });

	/* A third store hears of b first, then of a up to the admission, then of the version. */
	test_store_make(&c, 3);
	struct parcels *of_a = parcels_of(&p->a, &p->a.key.public);
	send_log(&p->b, &c);
	struct store_txn *txn = txn_begin(&c, true);
	assert_int_equal(of_a->count, 3);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(parcel_accept(txn, &of_a->items[i]), 0);
	txn_commit(txn);
	expect_listing(p, &c, &p->person, "");
	txn = txn_begin(&c, false);
	struct standing standing[4];
	assert_int_equal(tree_standing(txn, &p->person, &p->person, "y", standing, 4), 0);
	store_abort(txn);

	txn = txn_begin(&c, true);
	assert_int_equal(parcel_accept(txn, &of_a->items[2]), 0);
	txn_commit(txn);
	expect_listing(p, &c, &p->person, "y");
	struct tree_item item = item_at(p, &c, &p->person, "y");
	assert_true(id_equal(&item.id, &base));
	/* The version's own entry was replaced before it came. */
	expect_absent(p, &c, &p->person, "x");
	parcels_free(of_a);
	test_store_remove(&c);
}

static void replaces_count_at_their_own_slot_only(void **state)
{
	struct pair *p = *state;
	struct store_txn *txn = txn_begin(&p->a, true);
	struct save save = { .directory = p->person, .name = "x", .text = "x" };
	struct id version = say_version(&p->a, txn, &save);
	struct record *record = entries_begin();

	struct entry *entry = entries_add(record, &p->person, "y", WHAT_NOTHING, NULL);
	record->replaces[record->replaces_count++] = (struct replaced){ version, 0 };
	entry->replaces_count = 1;
	entries_say(txn, record);
	txn_commit(txn);
	expect_listing(p, &p->a, &p->person, "x");
}

/* ---- directories ---- */

static void the_same_folder_made_twice_is_one(void **state)
{
	struct pair *p = *state;

	struct id a = directory_at(&p->a, &p->person, "d"), b = directory_at(&p->b, &p->person, "d");
	assert_true(id_equal(&a, &b));
	save_at(&p->a, &a, "of-a", "1");
	save_at(&p->b, &b, "of-b", "2");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "d/");
	struct store_txn *txn = txn_begin(&p->a, false);
	struct tree_placement places[4];
	assert_int_equal(tree_placements(txn, &p->person, &a, places, 4), 2);
	assert_string_equal(places[0].name, "d");
	store_abort(txn);
	/* Made again after it is gone it is the same: what was removed in it can come back. */
	remove_at(&p->a, &p->person, "d");
	struct id again = directory_at(&p->a, &p->person, "d");
	assert_true(id_equal(&again, &a));
}

static void a_save_moves_with_its_renamed_folder(void **state)
{
	struct pair *p = *state;

	struct id d = directory_at(&p->a, &p->person, "d");
	meet_each_other(&p->a, &p->b);
	move_at(&p->a, &(struct move){ p->person, p->person, "d", "e", WHAT_DIRECTORY, d });
	save_at(&p->b, &d, "n", "meanwhile");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "e/");
	expect_both(p, &d, "n");
}

static void a_removed_folder_shows_again_if_something_was_saved_in_it(void **state)
{
	struct pair *p = *state;

	struct id d = directory_at(&p->a, &p->person, "d");
	meet_each_other(&p->a, &p->b);
	remove_at(&p->a, &p->person, "d");
	expect_listing(p, &p->a, &p->person, "");
	save_at(&p->b, &d, "n", "meanwhile");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "d/");
	struct tree_item item = item_at(p, &p->a, &p->person, "d");
	assert_true(id_equal(&item.id, &d));
	/* Its last document goes: so does it. */
	remove_at(&p->a, &d, "n");
	expect_listing(p, &p->a, &p->person, "");
	/* And in a folder that is gone, whose parent is gone too. */
	struct id e = directory_at(&p->a, &p->person, "e"), f = directory_at(&p->a, &e, "f");
	remove_at(&p->a, &e, "f");
	remove_at(&p->a, &p->person, "e");
	expect_listing(p, &p->a, &p->person, "");
	save_at(&p->a, &f, "deep", "x");
	expect_listing(p, &p->a, &p->person, "e/");
	expect_listing(p, &p->a, &e, "f/");
	expect_listing(p, &p->a, &f, "deep");
}

static void a_removed_folder_shows_for_the_sake_of_one_last_in_it(void **state)
{
	struct pair *p = *state;

	struct id d = directory_at(&p->a, &p->person, "d"), e = directory_at(&p->a, &d, "e");
	meet_each_other(&p->a, &p->b);
	remove_at(&p->a, &d, "e");
	save_at(&p->b, &e, "n", "meanwhile");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &d, "e/");
	remove_at(&p->a, &p->person, "d");
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "d/");
	expect_both(p, &d, "e/");
	/* Put back by its name, it is where it was. */
	struct store_txn *txn = txn_begin(&p->a, true);
	struct record *record = entries_begin();
	entries_put(txn, record, &p->person, "d", WHAT_DIRECTORY, &d);
	entries_say(txn, record);
	txn_commit(txn);
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "d/");
	expect_both(p, &e, "n");
}

static void a_folder_nobody_made_shows_under_its_short_id(void **state)
{
	struct pair *p = *state;
	struct id unnamed = { { 1, 2, 3 } };
	char text[ID_SHORT_SIZE + 2];

	save_at(&p->a, &unnamed, "n", "text");
	id_format_short(text, &unnamed);
	struct tree_item item = item_at(p, &p->a, &p->person, text);
	assert_int_equal(item.what, WHAT_DIRECTORY);
	assert_true(id_equal(&item.id, &unnamed));
	strcat(text, "/");
	expect_listing(p, &p->a, &p->person, text);
}

static void moves_into_one_another_leave_no_ring(void **state)
{
	struct pair *p = *state;
	struct id parent;
	char name[SHOWN_NAME_MAX + 1];

	struct id x = directory_at(&p->a, &p->person, "x"), y = directory_at(&p->a, &p->person, "y");
	save_at(&p->a, &x, "in-x", "1");
	save_at(&p->a, &y, "in-y", "2");
	meet_each_other(&p->a, &p->b);
	move_at(&p->a, &(struct move){ p->person, y, "x", "x", WHAT_DIRECTORY, x });
	p->b.time_ms += 1000;
	move_at(&p->b, &(struct move){ p->person, x, "y", "y", WHAT_DIRECTORY, y });
	meet_each_other(&p->a, &p->b);
	/* y was moved last: it shows in the root. */
	expect_both(p, &p->person, "y/");
	expect_both(p, &y, "in-y x/");
	expect_both(p, &x, "in-x");
	struct store_txn *txn = txn_begin(&p->a, false);
	assert_int_equal(tree_directory_path(txn, &p->person, &y, &parent, name), 0);
	assert_true(id_equal(&parent, &p->person));
	assert_string_equal(name, "y");
	assert_int_equal(tree_directory_path(txn, &p->person, &p->person, &parent, name), -ENOENT);
	store_abort(txn);
	/* Moved to a real place, all is plain again. */
	move_at(&p->a, &(struct move){ x, p->person, "y", "z", WHAT_DIRECTORY, y });
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "z/");
}

static void a_folder_at_two_names_shows_at_the_newest(void **state)
{
	struct pair *p = *state;
	struct tree_placement places[4];

	struct id d = directory_at(&p->a, &p->person, "d");
	meet_each_other(&p->a, &p->b);
	move_at(&p->a, &(struct move){ p->person, p->person, "d", "e", WHAT_DIRECTORY, d });
	p->b.time_ms += 1000;
	move_at(&p->b, &(struct move){ p->person, p->person, "d", "f", WHAT_DIRECTORY, d });
	meet_each_other(&p->a, &p->b);
	expect_both(p, &p->person, "f/");
	struct store_txn *txn = txn_begin(&p->a, false);
	assert_int_equal(tree_placements(txn, &p->person, &d, places, 4), 2);
	assert_string_equal(places[0].name, "f");
	assert_string_equal(places[1].name, "e");
	store_abort(txn);
}

/* ---- names ---- */

static void at_one_name_the_newest_shows_plainly(void **state)
{
	struct pair *p = *state;
	char clash[64], id[ID_SHORT_SIZE + 1];

	struct id d = directory_at(&p->a, &p->person, "n");
	save_at(&p->a, &d, "inside", "1");
	p->b.time_ms += 1000;
	save_at(&p->b, &p->person, "n", "a document");
	meet_each_other(&p->a, &p->b);
	id_format_short(id, &d);
	snprintf(clash, sizeof(clash), "n n.%s/", id);
	expect_both(p, &p->person, clash);
	snprintf(clash, sizeof(clash), "n.%s", id);
	struct tree_item item = item_at(p, &p->a, &p->person, clash);
	assert_true(id_equal(&item.id, &d));
	assert_string_equal(item.slot_name, "n");
	assert_int_equal(item_at(p, &p->a, &p->person, "n").what, WHAT_VERSION);

	/* Where that name is taken, the whole id stands in it. */
	save_at(&p->a, &p->person, clash, "taken");
	char whole[ID_TEXT_SIZE + 1], text[SHOWN_NAME_MAX + 1];
	id_format(whole, &d);
	snprintf(text, sizeof(text), "n.%s", whole);
	item = item_at(p, &p->a, &p->person, text);
	assert_true(id_equal(&item.id, &d));
	assert_int_equal(item_at(p, &p->a, &p->person, clash).what, WHAT_VERSION);
}

/* ---- listings ---- */

static int stop_at_first(void *context, const struct tree_item *item)
{
	*(struct tree_item *)context = *item;
	return 7;
}

static void listings_go_on_from_a_cookie(void **state)
{
	struct pair *p = *state;
	static const char *const names[] = { "c", "a", "b" };
	uint64_t after = 0;

	for (size_t i = 0; i < 3; i++)
		save_at(&p->a, &p->person, names[i], names[i]);
	struct store_txn *txn = txn_begin(&p->a, false);
	for (size_t i = 0; i < 3; i++) {
		struct tree_item item;
		assert_int_equal(tree_each(txn, &p->person, &p->person, after, stop_at_first, &item), 7);
		assert_string_equal(item.name, names[i]);
		assert_true(item.cookie > after);
		after = item.cookie;
	}
	assert_int_equal(tree_each(txn, &p->person, &p->person, after, stop_at_first, NULL), 0);
	store_abort(txn);
}

static void a_cookie_may_be_chosen_before(void **state)
{
	struct pair *p = *state;
	uint64_t first = tree_cookie(p->a.store);

	save_at(&p->a, &p->person, "later", "1");
	struct store_txn *txn = txn_begin(&p->a, true);
	struct save save = { .directory = p->person, .name = "sooner", .text = "2" };
	assert_int_equal(tree_set_cookie(txn, &p->person, &p->person, "sooner", first), 0);
	say_version(&p->a, txn, &save);
	/* One that is taken is not given twice. */
	save.name = "third";
	assert_int_equal(tree_set_cookie(txn, &p->person, &p->person, "third", first), 0);
	say_version(&p->a, txn, &save);
	txn_commit(txn);
	assert_int_equal(item_at(p, &p->a, &p->person, "sooner").cookie, first);
	expect_listing(p, &p->a, &p->person, "sooner later third");
	/* A restart gives no cookie twice. */
	test_store_stop(&p->a);
	test_store_start(&p->a, false);
	assert_true(tree_cookie(p->a.store) > item_at(p, &p->a, &p->person, "third").cookie);
}

/* ---- the past ---- */

static void expect_past(struct pair *p, uint64_t time_ms, const char *expected)
{
	struct store_txn *txn = txn_begin(&p->a, false);
	struct listing l = { .size = 0 };

	l.text[0] = '\0';
	assert_int_equal(tree_each_at(txn, &p->person, &p->person, time_ms, list_item, &l), 0);
	assert_string_equal(l.text, expected);
	store_abort(txn);
}

static void the_folder_as_it_stood(void **state)
{
	struct pair *p = *state;
	uint64_t start = p->a.time_ms;
	struct tree_item item;

	struct id first = save_at(&p->a, &p->person, "n", "one");
	p->a.time_ms = start + 1000;
	struct id d = directory_at(&p->a, &p->person, "d");
	p->a.time_ms = start + 2000;
	save_at(&p->a, &p->person, "n", "two");
	p->a.time_ms = start + 3000;
	move_at(&p->a, &(struct move){ p->person, p->person, "d", "e", WHAT_DIRECTORY, d });
	p->a.time_ms = start + 4000;
	remove_at(&p->a, &p->person, "n");
	p->a.time_ms = start + 5000;
	expect_past(p, start - 1, "");
	expect_past(p, start, "n");
	expect_past(p, start + 1999, "d/ n");
	expect_past(p, start + 3000, "e/ n");
	expect_past(p, start + 5000, "e/");
	struct store_txn *txn = txn_begin(&p->a, false);
	assert_int_equal(tree_lookup_at(txn, &p->person, &p->person, start + 1500, "n", &item), 0);
	assert_true(id_equal(&item.id, &first));
	assert_int_equal(tree_lookup_at(txn, &p->person, &p->person, start + 4500, "n", &item), -ENOENT);
	store_abort(txn);
}

/* ---- groups ---- */

static void a_group_is_a_root_and_shows_nowhere_else(void **state)
{
	struct pair *p = *state;
	struct store_txn *txn = txn_begin(&p->a, true);
	struct record *record = record_new();
	struct id group, parent;
	char name[SHOWN_NAME_MAX + 1];

	record->field = FIELD_FOUND;
	record->found.name = text_of("gardeners");
	record->found.numerator = 1;
	record->found.denominator = 2;
	assert_int_equal(log_append(txn, record, &group, NULL), 0);
	free(record);
	txn_commit(txn);
	save_at(&p->a, &group, "tomatoes.md", "red");
	struct id beds = directory_at(&p->a, &group, "beds");
	save_at(&p->a, &beds, "one.md", "1");
	expect_listing(p, &p->a, &p->person, "");
	expect_listing(p, &p->a, &group, "tomatoes.md beds/");
	txn = txn_begin(&p->a, false);
	assert_int_equal(tree_directory_path(txn, &p->person, &beds, &parent, name), 0);
	assert_true(id_equal(&parent, &group));
	store_abort(txn);

	/* Who hears of entries before the group sees a folder nobody made, until then. */
	meet_each_other(&p->a, &p->b);
	save_at(&p->b, &group, "beans.md", "green");
	struct test_store c;
	test_store_make(&c, 9);
	send_log(&p->b, &c);
	struct parcels *of_a = parcels_of(&p->a, &p->a.key.public);
	char short_id[ID_SHORT_SIZE + 2];
	id_format_short(short_id, &group);
	strcat(short_id, "/");
	for (size_t i = 0; i < of_a->count; i++) {
		txn = txn_begin(&c, true);
		assert_int_equal(parcel_accept(txn, &of_a->items[i]), 0);
		txn_commit(txn);
		expect_listing(p, &c, &p->person, i == 1 ? short_id : "");
	}
	expect_listing(p, &c, &group, "beans.md tomatoes.md beds/");
	parcels_free(of_a);
	test_store_remove(&c);
}

/* ---- much ---- */

static void many_saves_cost_what_stands(void **state)
{
	struct pair *p = *state;
	struct store_txn *txn = txn_begin(&p->a, true);
	struct save save = { .directory = p->person, .name = "n", .text = "x" };

	for (int i = 0; i < 3000; i++) {
		struct id id = say_version(&p->a, txn, &save);
		if (i == 0)
			save.document = id;
		save.parent = id;
		if (i % 500 == 499) {
			txn_commit(txn);
			txn = txn_begin(&p->a, true);
		}
	}
	txn_commit(txn);
	assert_int_equal(item_at(p, &p->a, &p->person, "n").heads, 1);
	txn = txn_begin(&p->a, false);
	uint64_t count;
	assert_int_equal(document_count(txn, &p->person, &p->person, "n", &count), 0);
	assert_int_equal(count, 3000);
	store_abort(txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_make, pair_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_save_shows_and_the_next_replaces_it),
		TEST(nothing_shows_of_a_stranger),
		TEST(saves_of_two_devices_are_two_heads),
		TEST(a_save_beside_a_removal_stands),
		TEST(a_rename_beside_a_save_keeps_both),
		TEST(entries_may_come_before_what_they_replace_or_name),
		TEST(replaces_count_at_their_own_slot_only),
		TEST(the_same_folder_made_twice_is_one),
		TEST(a_save_moves_with_its_renamed_folder),
		TEST(a_removed_folder_shows_again_if_something_was_saved_in_it),
		TEST(a_removed_folder_shows_for_the_sake_of_one_last_in_it),
		TEST(a_folder_nobody_made_shows_under_its_short_id),
		TEST(moves_into_one_another_leave_no_ring),
		TEST(a_folder_at_two_names_shows_at_the_newest),
		TEST(at_one_name_the_newest_shows_plainly),
		TEST(listings_go_on_from_a_cookie),
		TEST(a_cookie_may_be_chosen_before),
		TEST(the_folder_as_it_stood),
		TEST(a_group_is_a_root_and_shows_nowhere_else),
		TEST(many_saves_cost_what_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
