/*
 * Any two stores with the same records show the same folder, whatever the order they came in.
 *
 * Random histories of three devices of one person, whose clocks are up to an hour apart and who
 * meet now and then; a backup that is restored; a device that is retired. In the end all records go to all stores, and to
 * two fresh ones, in other orders, and everything they show is compared; a slow model says what must stand.
 *
 * MOOT_SEED=n runs one history; MOOT_SEEDS=n that many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "converge_kit.h"

#define SEEDS_DEFAULT 60
#define STEPS 80
#define HOUR_MS (3600 * 1000)

static const char *const names[] = { "a.md", "b.md", "c", "d", "e" };
#define NAMES (sizeof(names) / sizeof(names[0]))

/* ---- what devices do ---- */

static struct id *any_directory(struct world *w, struct spots *spots)
{
	return &spots->directories[chance_below(&w->chance, (unsigned)spots->directory_count)];
}

static const char *any_name(struct world *w)
{
	return names[chance_below(&w->chance, NAMES)];
}

static struct spot *any_spot(struct world *w, struct spots *spots, enum what what)
{
	unsigned count = 0;

	for (size_t i = 0; i < spots->count; i++)
		count += spots->items[i].item.what == what;
	unsigned pick = chance_below(&w->chance, count);
	for (size_t i = 0; i < spots->count; i++)
		if (spots->items[i].item.what == what && pick-- == 0)
			return &spots->items[i];
	return NULL;
}

static void do_create(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	char text[64];
	struct tree_item item;
	struct save save = { .directory = *any_directory(w, spots), .name = any_name(w), .text = text };

	snprintf(text, sizeof(text), "new %llu\n", (unsigned long long)chance_next(&w->chance) % 1000);
	/* A file manager would not: but another device may have. */
	if (tree_lookup(txn, &w->person, &save.directory, save.name, &item) == 0)
		save.replaces_nothing = true;
	say_version(t, txn, &save);
}

static void do_save(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);
	struct version_row row;
	char text[64];

	if (!spot)
		return;
	assert_int_equal(document_version_row(txn, &spot->item.id, &row), 0);
	snprintf(text, sizeof(text), "save %llu\n", (unsigned long long)chance_next(&w->chance) % 1000);
	struct save save = { .directory = spot->item.directory, .name = spot->item.slot_name, .text = text,
			     .document = row.document, .parent = row.id,
			     .replaces_newest = chance_below(&w->chance, 2) };
	say_version(t, txn, &save);
}

static void do_remove(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);

	if (spot)
		say_nothing(txn, &spot->item.directory, spot->item.slot_name);
}

static void do_mkdir(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct id parent = *any_directory(w, spots), id;
	const char *name = any_name(w);
	struct tree_item item;

	if (tree_lookup(txn, &w->person, &parent, name, &item) == -ENOENT)
		say_directory(txn, &parent, name, &id);
}

static void do_rename_document(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_VERSION);
	struct id to = *any_directory(w, spots);
	const char *name = any_name(w);

	if (!spot || (id_equal(&to, &spot->item.directory) && strcmp(name, spot->item.slot_name) == 0))
		return;
	struct record *record = entries_begin();
	entries_put(txn, record, &spot->item.directory, spot->item.slot_name, WHAT_NOTHING, NULL);
	entries_put(txn, record, &to, name, WHAT_VERSION, &spot->item.id);
	entries_say(txn, record);
}

#define PLACEMENTS_MAX 16

/* Nothing at each place where the directory stands, but not at (keep, name). The record borrows from places. */
static void leave_places(struct world *w, struct store_txn *txn, struct record *record, const struct id *directory,
			 const struct id *keep, const char *name, struct tree_placement places[PLACEMENTS_MAX])
{
	int count = tree_placements(txn, &w->person, directory, places, PLACEMENTS_MAX);
	assert_in_range(count, 0, PLACEMENTS_MAX);
	for (int i = 0; i < count; i++) {
		bool same = keep && id_equal(keep, &places[i].directory) && strcmp(name, places[i].name) == 0;
		for (int k = 0; k < i && !same; k++)
			same = id_equal(&places[k].directory, &places[i].directory) &&
			       strcmp(places[k].name, places[i].name) == 0;
		if (!same)
			entries_put(txn, record, &places[i].directory, places[i].name, WHAT_NOTHING, NULL);
	}
}

/* Does `inner` lie in `outer`, as this device sees it? */
static bool lies_in(struct world *w, struct store_txn *txn, struct id inner, const struct id *outer)
{
	char name[SHOWN_NAME_MAX + 1];
	struct id parent;

	for (int depth = 0; depth < PLACES_MAX; depth++) {
		if (id_equal(&inner, outer))
			return true;
		if (tree_directory_path(txn, &w->person, &inner, &parent, name) < 0)
			return false;
		inner = parent;
	}
	fail_msg("a ring shows");
	return true;
}

static void do_move_directory(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_DIRECTORY);
	struct id to = *any_directory(w, spots);
	const char *name = any_name(w);
	struct tree_placement places[PLACEMENTS_MAX];
	struct tree_item item;

	if (!spot || lies_in(w, txn, to, &spot->item.id) ||
	    tree_lookup(txn, &w->person, &to, name, &item) == 0)
		return;
	struct record *record = entries_begin();
	leave_places(w, txn, record, &spot->item.id, &to, name, places);
	entries_put(txn, record, &to, name, WHAT_DIRECTORY, &spot->item.id);
	entries_say(txn, record);
}

static int stop_at_any(void *context, const struct tree_item *item)
{
	return 1;
}

/* rmdir of an empty one; at times, as a careless program might, of one with something in it. */
static void do_rmdir(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct spot *spot = any_spot(w, spots, WHAT_DIRECTORY);
	struct tree_placement places[PLACEMENTS_MAX];

	if (!spot)
		return;
	int found = tree_each(txn, &w->person, &spot->item.id, 0, stop_at_any, NULL);
	assert_true(found >= 0);
	if (found && chance_below(&w->chance, 4))
		return;
	struct record *record = entries_begin();
	leave_places(w, txn, record, &spot->item.id, NULL, NULL, places);
	if (record->entries.count == 0)
		free(record);
	else
		entries_say(txn, record);
}

/* Any side of any log that forked: as a person says it, and at times as no program of ours would. */
static void do_branch(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct fork_side sides[SIDES_MAX];
	struct log_row log;
	struct id any = w->machines[chance_below(&w->chance, DEVICES)].key.public;

	int count = log_get(txn, &any, &log) == 0 ? fork_sides(txn, &log, sides, SIDES_MAX) : 0;
	if (count == 0)
		return;
	struct id kept = sides[chance_below(&w->chance, (unsigned)count)].newest.id;
	if (chance_below(&w->chance, 3)) {
		int err = fork_keep(txn, &kept, NULL);
		assert_true(err == 0 || err == 1 || err == -EINVAL || err == -EACCES);
		return;
	}
	struct record *record = record_new();
	record->field = FIELD_BRANCH;
	record->branch.record = kept;
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	free(record);
}

static void do_vote(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	struct record *record = record_new();

	record->field = FIELD_VOTE;
	record->vote.object = w->machines[chance_below(&w->chance, DEVICES)].key.public;
	record->vote.vote = (enum vote)chance_below(&w->chance, 3);
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	free(record);
}

static void do_retire(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots)
{
	size_t which = 1 + chance_below(&w->chance, DEVICES - 1);
	const struct id *device = &w->machines[which].key.public;
	struct record_row row;
	struct log_row log;

	if (!w->retirements)
		return;
	w->retirements--;
	int err = log_get(txn, device, &log);
	if (err == 0)
		assert_int_equal(log_record_row(txn, log.tip, &row), 0);
	bool on = chance_below(&w->chance, 2);
	say_admit(txn, device, on, err == 0 && !on ? &row.id : NULL);
}

typedef void (*deed)(struct world *w, struct test_store *t, struct store_txn *txn, struct spots *spots);

static const deed deeds[] = {
	do_create, do_save, do_remove, do_mkdir, do_rename_document, do_move_directory, do_rmdir,
	do_branch, do_vote, do_retire,
};
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))
#define WEIGHT_MAX 8

/* Every history has habits of its own: some move much, some hardly save. */
static void choose_habits(struct world *w)
{
	for (size_t i = 0; i < DEEDS; i++) {
		w->weights[i] = chance_below(&w->chance, WEIGHT_MAX) + (deeds[i] == do_create || deeds[i] == do_mkdir);
		w->weight += w->weights[i];
	}
	w->retirements = chance_below(&w->chance, 3);
}

static deed choose_deed(struct world *w)
{
	unsigned pick = chance_below(&w->chance, w->weight);
	size_t i = 0;

	while (pick >= w->weights[i])
		pick -= w->weights[i++];
	return deeds[i];
}

/* ---- records travel ---- */

/* Remembers what the machine has made since. */
static void gather(struct world *w, struct test_store *t, const struct id *made)
{
	struct store_txn *txn = txn_begin(t, false);

	assert_true(w->record_count < RECORDS_MAX);
	assert_int_equal(parcel_read(txn, made, &w->records[w->record_count++]), 0);
	store_abort(txn);
}

struct gathering {
	struct world *w;
	struct test_store *t;
};

static int gather_new(void *context, const struct record_row *row)
{
	struct gathering *g = context;

	for (size_t i = g->w->record_count; i > 0; i--)
		if (id_equal(&g->w->records[i - 1].id, &row->id))
			return 0;
	gather(g->w, g->t, &row->id);
	return 0;
}

static void gather_all(struct world *w, struct test_store *t)
{
	struct gathering g = { w, t };
	struct store_txn *txn = txn_begin(t, false);
	struct log_row log;

	if (log_get(txn, &t->key.public, &log) == 0)
		assert_int_equal(log_each(txn, log.number, 0, gather_new, &g), 0);
	store_abort(txn);
}

static bool has(struct store_txn *txn, const struct id *id)
{
	struct record_row row;

	return log_find_record(txn, id, &row) == 0;
}

static void shuffle(struct world *w, size_t *order, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t k = chance_below(&w->chance, (unsigned)i), swap = order[i - 1];
		order[i - 1] = order[k];
		order[k] = swap;
	}
}

/* Gives records in any order, those again whose predecessor was missing. from NULL: all there are. */
static void deliver(struct world *w, struct test_store *from, struct test_store *to, size_t count_max)
{
	size_t order[RECORDS_MAX], count = 0, given = 0;
	bool again = true;
	struct store_txn *source = from ? txn_begin(from, false) : NULL;

	for (size_t i = 0; i < w->record_count; i++)
		if (!source || has(source, &w->records[i].id))
			order[count++] = i;
	if (source)
		store_abort(source);
	shuffle(w, order, count);
	struct store_txn *txn = txn_begin(to, true);
	while (again && given < count_max) {
		again = false;
		for (size_t i = 0; i < count && given < count_max; i++) {
			int err = parcel_accept(txn, &w->records[order[i]]);
			if (err != 0 && err != 1 && err != -EAGAIN)
				fail_msg("a record was refused: %d", err);
			given += err == 0;
			again |= err == 0;
			if (err == 0 && chance_below(&w->chance, 8) == 0) {
				txn_commit(txn);
				txn = txn_begin(to, true);
			}
		}
	}
	txn_commit(txn);
}

/* ---- a history ---- */

static void set_clocks(struct world *w)
{
	for (size_t i = 0; i < w->machine_count; i++)
		w->machines[i].time_ms = (uint64_t)((int64_t)w->time_ms + w->skew_ms[i]);
}

static void tick(struct test_store *t)
{
	uint64_t next;

	assert_true(store_tick(t->store, &next) >= 0);
}

/* The first device admits the others, who say that they are its person's. */
static void introduce(struct world *w)
{
	for (size_t i = 0; i < DEVICES; i++) {
		struct test_store *t = &w->machines[i];
		struct store_txn *txn = txn_begin(t, true);
		say_profile(txn, i > 0 || chance_below(&w->chance, 2) ? &w->person : NULL, "alice");
		for (size_t k = 1; k < DEVICES && i == 0; k++)
			say_admit(txn, &w->machines[k].key.public, true, NULL);
		txn_commit(txn);
		gather_all(w, t);
	}
}

static void act(struct world *w, struct test_store *t, deed what)
{
	struct spots *spots = malloc(sizeof(*spots));
	struct store_txn *txn = txn_begin(t, true);
	struct id person;

	/* Not introduced yet: it has a folder of its own. */
	assert_int_equal(person_self(txn, &person), 0);
	if (id_equal(&person, &w->person)) {
		look(txn, &person, spots);
		what(w, t, txn, spots);
	}
	txn_commit(txn);
	free(spots);
	gather_all(w, t);
}

static void restore_backup(struct world *w, const struct test_store *backup)
{
	struct test_store *t = &w->machines[w->machine_count];

	test_store_copy(t, backup, w->seed + 999);
	w->skew_ms[w->machine_count] = w->skew_ms[1];
	w->machine_count++;
}

static void move_into(struct world *w, struct test_store *t, const struct id *directory, const struct id *to)
{
	struct tree_placement places[PLACEMENTS_MAX];
	struct store_txn *txn = txn_begin(t, true);
	const char *name = any_name(w);
	struct tree_item item;
	struct id person;

	assert_int_equal(person_self(txn, &person), 0);
	if (id_equal(&person, &w->person) && !lies_in(w, txn, *to, directory) &&
	    tree_lookup(txn, &w->person, to, name, &item) == -ENOENT) {
		struct record *record = entries_begin();
		leave_places(w, txn, record, directory, to, name, places);
		entries_put(txn, record, to, name, WHAT_DIRECTORY, directory);
		entries_say(txn, record);
	}
	txn_commit(txn);
	gather_all(w, t);
}

/* Two devices that know the same move two directories, each into the other. */
static void cross(struct world *w, struct test_store *a, struct test_store *b)
{
	struct spots *spots = malloc(sizeof(*spots));

	deliver(w, a, b, SIZE_MAX);
	deliver(w, b, a, SIZE_MAX);
	tick(a);
	tick(b);
	struct store_txn *txn = txn_begin(a, false);
	look(txn, &w->person, spots);
	store_abort(txn);
	struct id x = *any_directory(w, spots), y = *any_directory(w, spots);
	free(spots);
	if (a == b || id_equal(&x, &y) || id_equal(&x, &w->person) || id_equal(&y, &w->person))
		return;
	move_into(w, a, &x, &y);
	move_into(w, b, &y, &x);
}

static struct test_store *any_machine(struct world *w)
{
	return &w->machines[chance_below(&w->chance, (unsigned)w->machine_count)];
}

static void step(struct world *w)
{
	struct test_store *t = any_machine(w), *other = any_machine(w);

	w->time_ms += chance_below(&w->chance, 10) ? chance_below(&w->chance, 60 * 1000)
						   : chance_below(&w->chance, HOUR_MS);
	set_clocks(w);
	unsigned pick = chance_below(&w->chance, 24);
	if (pick < 8)
		tick(t);
	if (pick == 0)
		cross(w, t, other);
	else if (pick < 5 && other != t)
		deliver(w, other, t, chance_below(&w->chance, 20));
	else
		act(w, t, choose_deed(w));
	if (chance_below(&w->chance, 8) == 0)
		expect_settled(w, t);
}

/* One who has met everybody looks at what came of it, and goes on. */
static void go_on(struct world *w)
{
	struct test_store *t = any_machine(w);

	deliver(w, NULL, t, SIZE_MAX);
	w->time_ms += 2 * HOUR_MS;
	set_clocks(w);
	tick(t);
	act(w, t, do_branch);
	for (unsigned i = chance_below(&w->chance, 16); i > 0; i--) {
		act(w, t, choose_deed(w));
		expect_settled(w, t);
	}
}

static void live(struct world *w)
{
	struct test_store backup;
	unsigned steps = 20 + chance_below(&w->chance, STEPS);
	unsigned backed_up = chance_below(&w->chance, steps / 2), restored = backed_up + chance_below(&w->chance, steps / 2);
	bool forks = chance_below(&w->chance, 2);

	choose_habits(w);
	introduce(w);
	for (unsigned i = 0; i < steps; i++) {
		if (forks && i == backed_up) {
			test_store_stop(&w->machines[1]);
			test_store_copy(&backup, &w->machines[1], w->seed);
			test_store_start(&w->machines[1], false);
			test_store_stop(&backup);
		}
		if (forks && i == restored)
			restore_backup(w, &backup);
		step(w);
	}
	if (forks)
		test_store_remove(&backup);
	if (chance_below(&w->chance, 2))
		go_on(w);
}

/* Everything to everybody, and a clock for which nothing is in the future. */
static void meet(struct world *w)
{
	for (size_t i = 0; i < w->machine_count; i++)
		deliver(w, NULL, &w->machines[i], SIZE_MAX);
	for (size_t i = 0; i < FRESH; i++) {
		test_store_make(&w->fresh[i], w->seed * 1000 + 500 + i);
		/* One that holds most back at first, one that holds nothing back. */
		w->fresh[i].time_ms = i ? w->time_ms + 48 * (uint64_t)HOUR_MS : HELPER_TIME_MS - HOUR_MS;
		deliver(w, NULL, &w->fresh[i], SIZE_MAX);
		w->fresh[i].time_ms = w->time_ms + 48 * (uint64_t)HOUR_MS;
		tick(&w->fresh[i]);
	}
	for (size_t i = 0; i < w->machine_count; i++) {
		w->machines[i].time_ms = w->time_ms + 48 * (uint64_t)HOUR_MS;
		tick(&w->machines[i]);
	}
}

/* Counts what there was to be got wrong. */
static void count_seen(struct world *w, struct test_store *t)
{
	struct spots *spots = malloc(sizeof(*spots));
	struct store_txn *txn = txn_begin(t, false);
	struct log_row log;

	look(txn, &w->person, spots);
	for (size_t i = 0; i < spots->count; i++) {
		const struct spot *spot = &spots->items[i];
		if (spot->item.what == WHAT_DIRECTORY) {
			int places = tree_placements(txn, &w->person, &spot->item.id, NULL, 0);
			w->seen.several += places > 1;
			w->seen.orphans += places == 0;
			w->seen.rings += places > 0 && !id_equal(&spot->directory, &spot->item.directory);
		}
		w->seen.clashes += strcmp(spot->item.name, spot->item.slot_name) != 0;
		w->seen.heads += spot->item.heads > 1;
	}
	for (size_t i = 0; i < DEVICES; i++) {
		if (log_get(txn, &w->machines[i].key.public, &log) < 0)
			continue;
		w->seen.forked += log.forked;
		w->seen.cut += log.seq_end != UINT64_MAX;
		w->seen.branches += log.branch != 0;
		struct fork_side sides[SIDES_MAX];
		int count = fork_sides(txn, &log, sides, SIDES_MAX);
		w->seen.shorter += count > 1 && sides[1].newest.seq > sides[0].newest.seq;
	}
	store_abort(txn);
	free(spots);
}

static void compare_all(struct world *w)
{
	char *expected = dump_store(w, &w->machines[0]), what[64];

	for (size_t i = 1; i < w->machine_count; i++) {
		snprintf(what, sizeof(what), "machine %zu", i);
		expect_same(w, what, expected, &w->machines[i]);
	}
	for (size_t i = 0; i < FRESH; i++) {
		snprintf(what, sizeof(what), "fresh store %zu", i);
		expect_same(w, what, expected, &w->fresh[i]);
	}
	count_seen(w, &w->machines[0]);
	expect_model(w, &w->machines[0]);
	expect_settled(w, &w->machines[0]);
	size_t again = chance_below(&w->chance, (unsigned)w->machine_count);
	test_store_stop(&w->machines[again]);
	test_store_start(&w->machines[again], true);
	expect_same(w, "the index made again", expected, &w->machines[again]);
	free(expected);
}

static void run_seed(uint64_t seed, struct seen *seen)
{
	struct world *w = calloc(1, sizeof(*w));

	w->seed = w->chance = seed;
	w->seen = *seen;
	w->records = calloc(RECORDS_MAX, sizeof(*w->records));
	w->time_ms = HELPER_TIME_MS;
	w->machine_count = DEVICES;
	for (size_t i = 0; i < DEVICES; i++) {
		test_store_make(&w->machines[i], seed * 1000 + i);
		w->skew_ms[i] = (int64_t)chance_below(&w->chance, 2 * HOUR_MS) - HOUR_MS;
	}
	w->person = w->machines[0].key.public;
	set_clocks(w);
	live(w);
	meet(w);
	compare_all(w);
	for (size_t i = 0; i < w->machine_count; i++)
		test_store_remove(&w->machines[i]);
	for (size_t i = 0; i < FRESH; i++)
		test_store_remove(&w->fresh[i]);
	for (size_t i = 0; i < w->record_count; i++)
		free(w->records[i].bytes);
	*seen = w->seen;
	free(w->records);
	free(w);
}

static void stores_with_the_same_records_show_the_same(void **state)
{
	const char *one = getenv("MOOT_SEED"), *many = getenv("MOOT_SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
	struct seen seen = { 0 };

	for (uint64_t seed = first; seed < first + count; seed++)
		run_seed(seed, &seen);
	print_message("directories at several places %u, orphans %u, rings %u, clashes %u, several heads %u, "
		      "forked %u, cut %u, branches %u, of them not the longest %u\n", seen.several, seen.orphans, seen.rings, seen.clashes,
		      seen.heads, seen.forked, seen.cut, seen.branches, seen.shorter);
	if (count >= SEEDS_DEFAULT)
		assert_true(seen.several && seen.orphans && seen.rings && seen.clashes && seen.heads && seen.forked &&
			    seen.cut && seen.branches && seen.shorter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stores_with_the_same_records_show_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
