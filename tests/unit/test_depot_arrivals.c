/* test_depot_arrivals.c - what a depot tells of what arrived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libdeflate.h>

#include "store_helper.h"

#include "depot_pair.h"

static void arrivals_are_told_for_what_changed(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);
	struct id guides;

	struct store_txn *txn = txn_begin(&p->alice.t, true);
	say_directory(txn, alice, "guides", &guides);
	txn_commit(txn);
	write_text(&p->alice, NULL, "a", "1");
	write_text(&p->alice, &guides, "b", "1");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_int_equal(p->bob.arrival_count, 3);
	assert_true(has_arrived(&p->bob, alice, alice, "guides"));
	assert_true(has_arrived(&p->bob, alice, alice, "a"));
	assert_true(has_arrived(&p->bob, alice, &guides, "b"));
	assert_int_equal(p->bob.takings, 1);

	/* Only what is new; each name once. */
	p->bob.arrival_count = 0;
	write_text(&p->alice, NULL, "a", "2");
	write_text(&p->alice, NULL, "a", "3");
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_int_equal(p->bob.arrival_count, 1);
	assert_true(has_arrived(&p->bob, alice, alice, "a"));

	/* Both ends of a move. */
	p->bob.arrival_count = 0;
	txn = txn_begin(&p->alice.t, true);
	struct record *move = entries_begin();
	entries_put(txn, move, alice, "guides", WHAT_NOTHING, NULL);
	entries_put(txn, move, alice, "books", WHAT_DIRECTORY, &guides);
	entries_say(txn, move);
	txn_commit(txn);
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_true(has_arrived(&p->bob, alice, alice, "guides"));
	assert_true(has_arrived(&p->bob, alice, alice, "books"));
	assert_int_equal(p->bob.arrival_count, 2);

	/* Nothing new: nothing is told. */
	p->bob.arrival_count = 0;
	p->bob.takings = 0;
	carry_logs(&p->alice, &p->bob);
	assert_int_equal(p->bob.arrival_count, 0);
	assert_int_equal(p->bob.takings, 0);

	/* A name that a person goes by is the whole person's. */
	txn = txn_begin(&p->alice.t, true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	node_sync(&p->alice);
	carry_logs(&p->alice, &p->bob);
	assert_int_equal(p->bob.arrival_count, 1);
	assert_true(has_arrived(&p->bob, alice, alice, ""));
}

/* Alice puts Bob's version in her folder; its record comes to Carol after hers. */
static void a_version_that_comes_late_is_told_where_it_stands(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice), *bob = device_of(&p->bob);
	struct node carol;

	struct id version = write_text(&p->bob, NULL, "x", "bob's");
	node_sync(&p->bob);
	carry_log(&p->bob, &p->alice, bob);
	struct store_txn *txn = txn_begin(&p->alice.t, true);
	struct record *copy = entries_begin();
	entries_put(txn, copy, alice, "copy", WHAT_VERSION, &version);
	entries_say(txn, copy);
	txn_commit(txn);
	node_sync(&p->alice);
	node_make(&carol, 3);
	carry_log(&p->alice, &carol, alice);
	carol.arrival_count = 0;
	carry_log(&p->bob, &carol, bob);
	assert_true(has_arrived(&carol, bob, bob, "x"));
	assert_true(has_arrived(&carol, alice, alice, "copy"));
	node_remove(&carol);
}

/* A second device is admitted: whose it is, and all that shows, changes. */
static void a_device_that_is_admitted_changes_a_person(void **state)
{
	struct pair *p = *state;
	const struct id *alice = device_of(&p->alice);
	struct node phone;

	node_make(&phone, 5);
	struct store_txn *txn = txn_begin(&phone.t, true);
	say_profile(txn, alice, "");
	txn_commit(txn);
	write_text(&phone, device_of(&phone), "by phone", "1");
	node_sync(&phone);
	txn = txn_begin(&p->alice.t, true);
	say_admit(txn, device_of(&phone), true, NULL);
	txn_commit(txn);
	node_sync(&p->alice);
	carry_log(&phone, &p->bob, device_of(&phone));
	p->bob.arrival_count = 0;
	carry_log(&p->alice, &p->bob, alice);
	assert_true(has_arrived(&p->bob, alice, alice, ""));
	assert_true(has_arrived(&p->bob, device_of(&phone), device_of(&phone), ""));
	/* Both logs are Alice's now. */
	struct carrying c = { .count = 0 };
	assert_int_equal(p->bob.depot->calls->each_head_of(p->bob.depot->context, alice, carry_head, &c), 0);
	assert_int_equal(c.count, 2);
	for (size_t i = 0; i < c.count; i++)
		assert_true(id_equal(&c.heads[i].person, alice));
	node_remove(&phone);
}

/* ---- against a model: all that shows, before and after ---- */

struct spot {
	struct id directory, id;
	enum what what;
	char name[SHOWN_NAME_MAX + 1];
};

struct picture {
	struct spot spots[512];
	size_t count;
	struct id directories[256], directory; /* those that show, the root first */
	size_t directory_count;
};

static int take_spot(void *context, const struct tree_item *item)
{
	struct picture *p = context;
	struct spot *spot = &p->spots[p->count++];

	assert_true(p->count < 512 && p->directory_count < 255);
	spot->directory = p->directory;
	spot->id = item->id;
	spot->what = item->what;
	memcpy(spot->name, item->name, sizeof(spot->name));
	if (item->what == WHAT_DIRECTORY)
		p->directories[p->directory_count++] = item->id;
	return 0;
}

static struct picture *picture_of(struct node *n, const struct id *person)
{
	struct picture *p = calloc(1, sizeof(*p));
	struct store_txn *txn = txn_begin(&n->t, false);

	p->directories[p->directory_count++] = *person;
	for (size_t i = 0; i < p->directory_count; i++) {
		p->directory = p->directories[i];
		assert_int_equal(tree_each(txn, person, &p->directory, 0, take_spot, p), 0);
	}
	store_abort(txn);
	return p;
}

static bool has_directory(const struct picture *p, const struct id *id)
{
	for (size_t i = 0; i < p->directory_count; i++)
		if (id_equal(&p->directories[i], id))
			return true;
	return false;
}

static bool has_spot(const struct picture *p, const struct spot *spot)
{
	for (size_t i = 0; i < p->count; i++)
		if (id_equal(&p->spots[i].directory, &spot->directory) && id_equal(&p->spots[i].id, &spot->id) &&
		    p->spots[i].what == spot->what && strcmp(p->spots[i].name, spot->name) == 0)
			return true;
	return false;
}

/* By the name it shows under, or by the one that it shares with others. */
static bool was_told(const struct node *n, const struct spot *spot)
{
	for (size_t i = 0; i < n->arrival_count; i++) {
		const struct arrival *a = &n->arrivals[i];
		size_t size = strlen(a->name);
		if (size == 0 || (id_equal(&a->directory, &spot->directory) && strncmp(spot->name, a->name, size) == 0 &&
				  (spot->name[size] == '\0' || spot->name[size] == '.')))
			return true;
	}
	return false;
}

static size_t check_told(const struct node *n, const struct picture *before, const struct picture *after)
{
	size_t changes = 0;

	for (size_t i = 0; i < before->count; i++) {
		const struct spot *spot = &before->spots[i];
		if (has_spot(after, spot) || !has_directory(after, &spot->directory))
			continue;
		changes++;
		if (!was_told(n, spot))
			fail_msg("%s went or changed, and nobody was told", spot->name);
	}
	for (size_t i = 0; i < after->count; i++) {
		const struct spot *spot = &after->spots[i];
		if (has_spot(before, spot) || !has_directory(before, &spot->directory))
			continue;
		changes++;
		if (!was_told(n, spot))
			fail_msg("%s came or changed, and nobody was told", spot->name);
	}
	return changes;
}

/* Something in the person's folder is made, moved or taken away. */
static void do_anything(struct node *n, const struct id *person, uint64_t *chance)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	struct picture *p = picture_of(n, person);
	struct id in = p->directories[chance_below(chance, (unsigned)p->directory_count)], directory;
	const char *name = names[chance_below(chance, 4)];
	const struct spot *spot = p->count ? &p->spots[chance_below(chance, (unsigned)p->count)] : NULL;
	struct store_txn *txn = txn_begin(&n->t, true);

	n->t.time_ms += chance_below(chance, 3);
	switch (chance_below(chance, 5)) {
	case 0:
		say_directory(txn, &in, name, &directory);
		break;
	case 1:
		say_version(&n->t, txn, &(struct save){ .directory = in, .name = name, .text = names[chance_below(chance, 4)] });
		break;
	case 2:
		if (spot && !strchr(spot->name, '.'))
			say_nothing(txn, &spot->directory, spot->name);
		break;
	default:
		if (spot && !strchr(spot->name, '.')) {
			struct record *move = entries_begin();
			entries_put(txn, move, &spot->directory, spot->name, WHAT_NOTHING, NULL);
			entries_put(txn, move, &in, name, spot->what, &spot->id);
			entries_say(txn, move);
		}
	}
	txn_commit(txn);
	free(p);
}

static void whatever_shows_elsewise_is_told(void **state)
{
	size_t changes = 0;

	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct node devices[2], bob;
		uint64_t chance = seed;
		node_make(&devices[0], seed * 5);
		node_make(&devices[1], seed * 5 + 1);
		node_make(&bob, seed * 5 + 2);
		const struct id *person = device_of(&devices[0]);
		struct store_txn *txn = txn_begin(&devices[1].t, true);
		say_profile(txn, person, "");
		txn_commit(txn);
		txn = txn_begin(&devices[0].t, true);
		say_admit(txn, device_of(&devices[1]), true, NULL);
		txn_commit(txn);
		for (int step = 0; step < 120; step++) {
			unsigned which = chance_below(&chance, 2);
			struct node *device = &devices[which];
			if (chance_below(&chance, 6) == 0) {
				node_sync(device);
				carry_logs(device, &devices[!which]);
			}
			do_anything(device, person, &chance);
			if (chance_below(&chance, 3))
				continue;
			struct picture *before = picture_of(&bob, person);
			bob.arrival_count = 0;
			node_sync(device);
			carry_log(device, &bob, device_of(device));
			struct picture *after = picture_of(&bob, person);
			changes += check_told(&bob, before, after);
			free(before);
			free(after);
		}
		assert_reindex_is_same(&bob);
		node_remove(&devices[0]);
		node_remove(&devices[1]);
		node_remove(&bob);
	}
	assert_true(changes > 500);
}
int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(arrivals_are_told_for_what_changed),
		WITH_PAIR(a_version_that_comes_late_is_told_where_it_stands),
		WITH_PAIR(a_device_that_is_admitted_changes_a_person),
		cmocka_unit_test(whatever_shows_elsewise_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
