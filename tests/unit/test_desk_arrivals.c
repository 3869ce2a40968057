/* What comes into the own folder from another device, and a desk that must not sign yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_fixture.h"
#include "store_helper.h"

#include "depot_kit.h"

struct world {
	struct fixture *f;  /* the laptop: a desk */
	struct node laptop; /* the same store, with a depot over it */
	struct node phone;  /* another device of the person */
};

static void laptop_open(struct world *w)
{
	w->laptop.t.store = w->f->store;
	w->laptop.t.key = w->f->key;
	node_open(&w->laptop);
}

static void restart(struct world *w, uint64_t hold_ms)
{
	const struct desk_options options = { .window_ms = WINDOW, .document_size_max = 1 << 20, .busy = is_busy,
					      .changed = note_changed, .context = w->f, .hold_ms = hold_ms };

	depot_store_free(w->laptop.store);
	close_desk(w->f);
	open_desk(w->f, false, false);
	assert_int_equal(desk_close(w->f->desk), 0);
	assert_int_equal(desk_open(&w->f->desk, w->f->store, &options), 0);
	laptop_open(w);
}

/* From the laptop to the phone. */
static void send(struct world *w)
{
	node_sync(&w->laptop);
	assert_true(carry_log(&w->laptop, &w->phone, &w->f->key.public) >= 0);
}

static int desk_told(struct world *w)
{
	int err = 0;

	for (size_t i = 0; i < w->laptop.arrival_count && err == 0; i++)
		err = desk_arrived(w->f->desk, &w->laptop.arrivals[i].person, &w->laptop.arrivals[i].directory,
				   w->laptop.arrivals[i].name);
	w->laptop.arrival_count = 0;
	return err;
}

/* From the phone to the laptop, with its pieces; the desk is told. */
static void deliver(struct world *w)
{
	node_sync(&w->phone);
	assert_true(carry_log(&w->phone, &w->laptop, device_of(&w->phone)) >= 0);
	carry_pieces(&w->phone, &w->laptop);
	w->f->changed = 0;
	assert_int_equal(desk_told(w), 0);
}

/* The phone writes a text in the person's folder, in view of what it has. */
static struct id phone_writes(struct world *w, const char *name, const char *text)
{
	struct standing standing[4];
	struct version_row row;

	w->phone.t.time_ms = w->f->time_ms;
	struct store_txn *txn = txn_begin(&w->phone.t, false);
	int count = tree_standing(txn, &w->f->root, &w->f->root, name, standing, 4);
	bool is_version = count > 0 && standing[0].what == WHAT_VERSION;
	if (is_version)
		assert_int_equal(document_version_row(txn, &standing[0].id, &row), 0);
	store_abort(txn);
	if (is_version)
		return write_next(&w->phone, &row.document, &standing[0].id, name, text);
	return write_text(&w->phone, NULL, name, text);
}

static int setup_world(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct id self;

	setup((void **)&w->f);
	laptop_open(w);
	node_make(&w->phone, 5);
	w->phone.t.time_ms = w->f->time_ms;
	struct store_txn *txn = txn_begin(&w->phone.t, true);
	say_profile(txn, &w->f->root, "");
	txn_commit(txn);
	txn = txn_begin(&w->laptop.t, true);
	say_admit(txn, device_of(&w->phone), true, NULL);
	txn_commit(txn);
	send(w);
	deliver(w);
	txn = txn_begin(&w->phone.t, false);
	assert_int_equal(person_self(txn, &self), 0);
	assert_true(id_equal(&self, &w->f->root));
	store_abort(txn);
	*state = w;
	return 0;
}

static int teardown_world(void **state)
{
	struct world *w = *state;

	depot_store_free(w->laptop.store);
	node_remove(&w->phone);
	teardown((void **)&w->f);
	free(w);
	return 0;
}

static void assert_shows(struct world *w, const char *name, const char *text)
{
	struct handle *h = open_file(w->f, name, O_RDONLY, 99);
	char read[64] = "";

	assert_int_equal(handle_read(h, read, sizeof(read) - 1, 0), strlen(text));
	assert_string_equal(read, text);
	assert_int_equal(handle_release(h), 0);
}

static void laptop_writes(struct world *w, const char *name, const char *text)
{
	struct desk_item item;
	bool there = desk_lookup(w->f->desk, &w->f->root, &w->f->root, name, &item) == 0;
	struct handle *h = there ? open_file(w->f, name, O_WRONLY | O_TRUNC, 7) : create(w->f, name, 7);

	put(h, text, 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
}

static void both_have(struct world *w, const char *name, const char *text)
{
	laptop_writes(w, name, text);
	pass(w->f, WINDOW);
	send(w);
}

static bool log_is_forked(struct store *store, const struct id *device)
{
	struct store_txn *txn;
	struct log_row log;

	assert_int_equal(store_begin(store, false, &txn), 0);
	assert_int_equal(log_get(txn, device, &log), 0);
	store_abort(txn);
	return log.forked;
}

/* ---- arrivals ---- */

static void what_arrives_shows(void **state)
{
	struct world *w = *state;

	phone_writes(w, "new.md", "from the phone");
	deliver(w);
	assert_int_equal(w->f->changed, 1);
	assert_shows(w, "new.md", "from the phone");
	both_have(w, "a.md", "one");
	phone_writes(w, "a.md", "two");
	deliver(w);
	assert_int_equal(w->f->changed, 1);
	assert_shows(w, "a.md", "two");
	assert_int_equal(count_heads(w->f, "a.md"), 1);
}

static void what_is_open_keeps_its_text(void **state)
{
	struct world *w = *state;
	char read[16] = "";

	both_have(w, "a.md", "one");
	struct handle *h = open_file(w->f, "a.md", O_RDWR, 7);
	struct id seen = head_version(w->f, "a.md").row.id;
	phone_writes(w, "a.md", "two");
	deliver(w);
	assert_int_equal(w->f->changed, 1);
	assert_int_equal(handle_read(h, read, sizeof(read), 0), 3);
	assert_string_equal(read, "one");
	assert_shows(w, "a.md", "two");
	/* Its next save descends from what it saw, so both stand, and the newest shows. */
	put(h, "ONE", 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(count_heads(w->f, "a.md"), 2);
	assert_shows(w, "a.md", "ONE");
	assert_parent(w->f, "a.md", &seen);
	assert_int_equal(count_versions(w->f, "a.md"), 3);
	/* The other device sees the same. */
	send(w);
	struct store_txn *txn = txn_begin(&w->phone.t, false);
	struct tree_item item;
	assert_int_equal(tree_lookup(txn, &w->f->root, &w->f->root, "a.md", &item), 0);
	assert_int_equal(item.heads, 2);
	store_abort(txn);
}

static void the_same_again_is_not_told(void **state)
{
	struct world *w = *state;

	both_have(w, "a.md", "one");
	struct handle *h = open_file(w->f, "a.md", O_RDONLY, 7);
	w->f->changed = 0;
	assert_int_equal(desk_arrived(w->f->desk, &w->f->root, &w->f->root, "a.md"), 0);
	assert_int_equal(w->f->changed, 0);
	assert_int_equal(desk_arrived(w->f->desk, &w->phone.t.key.public, &w->f->root, "a.md"), 0);
	assert_int_equal(w->f->changed, 0); /* of another person */
	assert_int_equal(handle_release(h), 0);
}

static void what_waits_is_not_lost(void **state)
{
	struct world *w = *state;

	/* A new name here, in its window, and there. */
	laptop_writes(w, "both.md", "laptop");
	phone_writes(w, "both.md", "phone");
	deliver(w);
	assert_int_equal(w->f->changed, 0);
	assert_shows(w, "both.md", "laptop");
	pass(w->f, WINDOW);
	assert_shows(w, "both.md", "laptop");
	assert_int_equal(count_heads(w->f, "both.md"), 2);
}

static void a_draft_goes_on(void **state)
{
	struct world *w = *state;

	both_have(w, "a.md", "one");
	struct handle *h = open_file(w->f, "a.md", O_RDWR, 7);
	put(h, "mine", 0);
	assert_int_equal(handle_flush(h), 0);
	phone_writes(w, "a.md", "two");
	deliver(w);
	assert_shows(w, "a.md", "mine");
	assert_int_equal(handle_release(h), 0);
	assert_int_equal(count_heads(w->f, "a.md"), 2);
	assert_shows(w, "a.md", "mine");
}

static void a_removal_arrives(void **state)
{
	struct world *w = *state;
	struct desk_item item;

	both_have(w, "a.md", "one");
	struct handle *h = open_file(w->f, "a.md", O_RDWR, 7);
	struct store_txn *txn = txn_begin(&w->phone.t, true);
	say_nothing(txn, &w->f->root, "a.md");
	txn_commit(txn);
	deliver(w);
	assert_int_equal(w->f->changed, 1);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "a.md", &item), -ENOENT);
	/* Who has it open and saves brings it back, as a version of what it was. */
	put(h, "ONE", 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
	pass(w->f, WINDOW);
	assert_shows(w, "a.md", "ONE");
	assert_int_equal(count_versions(w->f, "a.md"), 2);
	assert_int_equal(count_heads(w->f, "a.md"), 1);
}

static void a_removal_waits_and_a_version_arrives(void **state)
{
	struct world *w = *state;

	both_have(w, "a.md", "one");
	assert_int_equal(desk_unlink(w->f->desk, at(w->f, "a.md")), 0);
	phone_writes(w, "a.md", "two");
	deliver(w);
	pass(w->f, 2 * WINDOW);
	assert_shows(w, "a.md", "two");
}

static void a_directory_arrives(void **state)
{
	struct world *w = *state;
	struct id guides;
	struct desk_item item;
	struct handle *h;

	struct store_txn *txn = txn_begin(&w->phone.t, true);
	say_directory(txn, &w->f->root, "guides", &guides);
	txn_commit(txn);
	deliver(w);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "guides", &item), 0);
	assert_int_equal(item.what, WHAT_DIRECTORY);
	assert_int_equal(desk_count_directories(w->f->desk, &w->f->root, &w->f->root, 100), 1);
	assert_int_equal(desk_create(w->f->desk, (struct desk_slot){ guides, "soil.md" }, 0644, 0, 0, 7, &h, &item), 0);
	put(h, "earth", 0);
	assert_int_equal(handle_release(h), 0);
	/* It moves there while a file in it waits here. */
	txn = txn_begin(&w->phone.t, true);
	struct record *move = entries_begin();
	entries_put(txn, move, &w->f->root, "guides", WHAT_NOTHING, NULL);
	entries_put(txn, move, &w->f->root, "books", WHAT_DIRECTORY, &guides);
	entries_say(txn, move);
	txn_commit(txn);
	deliver(w);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "guides", &item), -ENOENT);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "books", &item), 0);
	pass(w->f, WINDOW);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &guides, "soil.md", &item), 0);
	assert_int_equal(item.size, 5);
}

static void anything_may_have_come(void **state)
{
	struct world *w = *state;
	const struct id anybody = { { 0 } };

	both_have(w, "a.md", "one");
	both_have(w, "b.md", "one");
	struct handle *a = open_file(w->f, "a.md", O_RDONLY, 7), *b = open_file(w->f, "b.md", O_RDONLY, 7);
	phone_writes(w, "a.md", "two");
	node_sync(&w->phone);
	assert_true(carry_log(&w->phone, &w->laptop, device_of(&w->phone)) > 0);
	carry_pieces(&w->phone, &w->laptop);
	w->laptop.arrival_count = 0;
	w->f->changed = 0;
	assert_int_equal(desk_arrived(w->f->desk, &anybody, &anybody, ""), 0);
	assert_int_equal(w->f->changed, 1);
	assert_shows(w, "a.md", "two");
	assert_shows(w, "b.md", "one");
	assert_int_equal(handle_release(a), 0);
	assert_int_equal(handle_release(b), 0);
}

/* ---- holding ---- */

static void nothing_is_signed_while_held(void **state)
{
	struct world *w = *state;
	struct record *record = record_new();

	both_have(w, "a.md", "one");
	desk_hold(w->f->desk, w->f->time_ms + 5000);
	laptop_writes(w, "a.md", "two");
	laptop_writes(w, "a.md", "three");
	laptop_writes(w, "new.md", "new");
	pass(w->f, 2 * WINDOW);
	assert_int_equal(count_versions(w->f, "a.md"), 1);
	assert_int_equal(count_versions(w->f, "new.md"), 0);
	assert_int_equal(count_saves(w->f, "a.md"), 2);
	assert_shows(w, "a.md", "three");
	assert_shows(w, "new.md", "new");
	struct store_txn *txn = txn_begin(&w->laptop.t, true);
	record->field = FIELD_VOTE;
	record->vote.object = w->f->root;
	assert_int_equal(log_append(txn, record, NULL, NULL), STORE_HELD);
	store_abort(txn);
	free(record);
	/* Its end comes by itself. */
	pass(w->f, 1001);
	assert_int_equal(count_versions(w->f, "a.md"), 3);
	assert_int_equal(count_versions(w->f, "new.md"), 1);
	assert_int_equal(count_heads(w->f, "a.md"), 1);
	assert_shows(w, "a.md", "three");
}

static void the_hold_is_released(void **state)
{
	struct world *w = *state;

	both_have(w, "a.md", "one");
	desk_hold(w->f->desk, w->f->time_ms + 5000);
	laptop_writes(w, "a.md", "two");
	desk_release_hold(w->f->desk);
	pass(w->f, 0);
	assert_int_equal(count_versions(w->f, "a.md"), 2);
	laptop_writes(w, "a.md", "three");
	assert_int_equal(count_versions(w->f, "a.md"), 3);
}

/* Whoever saves so often is not kept waiting, nor does each save write down all before it. */
static void many_saves_end_the_hold(void **state)
{
	struct world *w = *state;
	struct store_counts before, after;
	char text[32];

	both_have(w, "a.md", "one");
	assert_int_equal(store_counts(w->f->store, &before), 0);
	desk_hold(w->f->desk, w->f->time_ms + 5000);
	for (int i = 0; i < 400; i++) {
		snprintf(text, sizeof(text), "save %d", i);
		laptop_writes(w, "a.md", text);
	}
	assert_int_equal(count_versions(w->f, "a.md"), 401);
	assert_int_equal(count_heads(w->f, "a.md"), 1);
	assert_int_equal(store_counts(w->f->store, &after), 0);
	assert_true(after.journal_bytes - before.journal_bytes < 400 * 2048);
}

/* At any look at the clock. */
static void the_hold_ends_within_a_save(void **state)
{
	struct world *w = *state;
	char text[32];

	both_have(w, "a.md", "one");
	for (unsigned after = 1; after <= 24; after++) {
		desk_hold(w->f->desk, w->f->time_ms + 5000);
		w->f->jump_ms = 6000;
		w->f->jump_after = after;
		snprintf(text, sizeof(text), "save %u", after);
		laptop_writes(w, "a.md", text);
		w->f->jump_after = 0;
		assert_shows(w, "a.md", text);
		desk_release_hold(w->f->desk);
		pass(w->f, WINDOW);
		assert_int_equal(count_versions(w->f, "a.md"), 1 + after);
		assert_int_equal(count_heads(w->f, "a.md"), 1);
	}
}

static void what_was_left_waits_for_the_hold(void **state)
{
	struct world *w = *state;

	both_have(w, "a.md", "one");
	desk_hold(w->f->desk, w->f->time_ms + 60000);
	laptop_writes(w, "a.md", "two");
	laptop_writes(w, "new.md", "new");
	restart(w, 10000);
	pass(w->f, 2 * WINDOW);
	assert_int_equal(count_versions(w->f, "a.md"), 1);
	assert_shows(w, "a.md", "two");
	desk_release_hold(w->f->desk);
	pass(w->f, WINDOW);
	assert_int_equal(count_versions(w->f, "a.md"), 2);
	assert_int_equal(count_versions(w->f, "new.md"), 1);
	assert_shows(w, "a.md", "two");
}

/* What must sign at once waits; not longer than the hold. */
static void a_rename_waits_for_the_end(void **state)
{
	struct world *w = *state;
	struct desk_item item;

	both_have(w, "a.md", "one");
	desk_hold(w->f->desk, w->f->time_ms + 40);
	assert_int_equal(desk_rename(w->f->desk, at(w->f, "a.md"), at(w->f, "b.md"), 0, 7), 0);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "b.md", &item), 0);
	assert_int_equal(desk_lookup(w->f->desk, &w->f->root, &w->f->root, "a.md", &item), -ENOENT);
	/* A rename over, as editors save, does not wait. */
	desk_hold(w->f->desk, w->f->time_ms + 3600000);
	laptop_writes(w, "b.md.new", "two");
	assert_int_equal(desk_rename(w->f->desk, at(w->f, "b.md.new"), at(w->f, "b.md"), 0, 7), 0);
	assert_shows(w, "b.md", "two");
	assert_int_equal(count_saves(w->f, "b.md"), 1);
	desk_release_hold(w->f->desk);
	pass(w->f, WINDOW);
	assert_int_equal(count_versions(w->f, "b.md"), 2);
	assert_int_equal(count_heads(w->f, "b.md"), 1);
}

/* A backup of before the last records is put back; what peers have of the own log comes before anything is signed. */
static void a_restored_folder_forks_nothing(void **state)
{
	struct world *w = *state;
	struct test_store backup;
	struct node restored = { .arrival_count = 0 };
	struct fixture f = { .time_ms = w->f->time_ms, .root = w->f->root };
	const struct desk_options options = { .window_ms = WINDOW, .document_size_max = 1 << 20, .changed = note_changed,
					      .context = &f, .hold_ms = 5000 };

	both_have(w, "a.md", "one");
	w->laptop.t.time_ms = w->f->time_ms;
	snprintf(w->laptop.t.path, sizeof(w->laptop.t.path), "%s", w->f->path);
	test_store_copy(&backup, &w->laptop.t, 77);
	both_have(w, "a.md", "two, lost here");
	restored.t = backup;
	node_open(&restored);
	f.store = restored.t.store;
	assert_int_equal(desk_open(&f.desk, f.store, &options), 0);
	struct world r = { .f = &f };
	laptop_writes(&r, "a.md", "after the backup");
	assert_int_equal(carry_log(&w->phone, &restored, &w->f->key.public), 1);
	for (size_t i = 0; i < restored.arrival_count; i++)
		assert_int_equal(desk_arrived(f.desk, &restored.arrivals[i].person, &restored.arrivals[i].directory,
					      restored.arrivals[i].name), 0);
	desk_release_hold(f.desk);
	desk_tick(f.desk);
	assert_int_equal(count_versions(&f, "a.md"), 3);
	assert_int_equal(count_heads(&f, "a.md"), 2);
	assert_false(log_is_forked(f.store, &w->f->key.public));
	node_sync(&restored);
	assert_int_equal(carry_log(&restored, &w->phone, &w->f->key.public), 1);
	assert_false(log_is_forked(w->phone.t.store, &w->f->key.public));
	assert_int_equal(desk_close(f.desk), 0);
	node_remove(&restored);
}

int main(void)
{
#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup_world, teardown_world)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(what_arrives_shows),
		WITH_WORLD(what_is_open_keeps_its_text),
		WITH_WORLD(the_same_again_is_not_told),
		WITH_WORLD(what_waits_is_not_lost),
		WITH_WORLD(a_draft_goes_on),
		WITH_WORLD(a_removal_arrives),
		WITH_WORLD(a_removal_waits_and_a_version_arrives),
		WITH_WORLD(a_directory_arrives),
		WITH_WORLD(anything_may_have_come),
		WITH_WORLD(nothing_is_signed_while_held),
		WITH_WORLD(the_hold_is_released),
		WITH_WORLD(many_saves_end_the_hold),
		WITH_WORLD(the_hold_ends_within_a_save),
		WITH_WORLD(what_was_left_waits_for_the_hold),
		WITH_WORLD(a_rename_waits_for_the_end),
		WITH_WORLD(a_restored_folder_forks_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
