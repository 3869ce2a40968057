/*
 * Forks of a log and the word on them: who is heard, in whatever order it comes, and that nothing is lost by it.
 *
 * Alice has a laptop and a box; the laptop's folder was copied, and both went on. Bob is somebody else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fork.h"
#include "store_helper.h"

enum machine { LAPTOP, COPY, BOX, BOB, MACHINES };
#define ORDERS 24
#define SIDES_MAX 8

struct alice {
	struct test_store machines[MACHINES];
	struct id id;     /* hers, and the laptop's */
	uint64_t time_ms; /* of what was said last */
};

/* ---- saying ---- */

/* A minute after what was said before anywhere. */
static struct store_txn *at_machine(struct alice *a, enum machine machine)
{
	a->time_ms += 60 * 1000;
	a->machines[machine].time_ms = a->time_ms;
	return txn_begin(&a->machines[machine], true);
}

/* Replaces what stands there, as it is known there. */
static struct id saves(struct alice *a, enum machine machine, const char *name, const char *text)
{
	struct store_txn *txn = at_machine(a, machine);
	struct save save = { .directory = a->id, .name = name, .text = text };
	struct id id = say_version(&a->machines[machine], txn, &save);

	txn_commit(txn);
	return id;
}

static void admits(struct alice *a, enum machine by, enum machine device, bool on, const struct id *last)
{
	struct store_txn *txn = at_machine(a, by);

	say_admit(txn, &a->machines[device].key.public, on, last);
	txn_commit(txn);
}

static int keeps(struct alice *a, enum machine by, const struct id *record)
{
	struct store_txn *txn = at_machine(a, by);
	struct why why = { { 0 } };

	int err = fork_keep(txn, record, &why);
	assert_true((err < 0) == (why.text[0] != '\0'));
	if (err == 0)
		txn_commit(txn);
	else
		store_abort(txn);
	return err;
}

/* As a program without our scruples says it. */
static void keeps_anyway(struct alice *a, enum machine by, const struct id *record)
{
	struct store_txn *txn = at_machine(a, by);
	struct record *said = record_new();

	said->field = FIELD_BRANCH;
	said->branch.record = *record;
	assert_int_equal(log_append(txn, said, NULL, NULL), 0);
	txn_commit(txn);
	free(said);
}

/* Everything from everybody, and nothing is in the future of anybody. */
static void meet(struct alice *a)
{
	uint64_t next;

	for (int i = 0; i < MACHINES; i++) {
		a->machines[i].time_ms = a->time_ms;
		if (a->machines[i].store)
			assert_in_range(store_tick(a->machines[i].store, &next), 0, 256);
	}
	for (int from = 0; from < MACHINES; from++)
		for (int to = 0; to < MACHINES; to++)
			if (from != to && a->machines[from].store && a->machines[to].store)
				send_log(&a->machines[from], &a->machines[to]);
}

static struct log_row log_at(struct alice *a, enum machine at, enum machine of)
{
	struct store_txn *txn = txn_begin(&a->machines[at], false);
	struct log_row log;

	assert_int_equal(log_get(txn, &a->machines[of].key.public, &log), 0);
	store_abort(txn);
	return log;
}

static void expect_tip(struct alice *a, enum machine at, const struct id *tip)
{
	struct log_row log = log_at(a, at, LAPTOP);

	assert_true(id_equal(&log.tip_id, tip));
}

static void copy_laptop(struct alice *a)
{
	test_store_stop(&a->machines[LAPTOP]);
	test_store_copy(&a->machines[COPY], &a->machines[LAPTOP], 77);
	test_store_start(&a->machines[LAPTOP], false);
}

static int alice_make(void **state)
{
	struct alice *a = calloc(1, sizeof(*a));

	for (int i = 0; i < MACHINES; i++)
		if (i != COPY)
			test_store_make(&a->machines[i], 40 + (unsigned)i);
	a->id = a->machines[LAPTOP].key.public;
	a->time_ms = HELPER_TIME_MS;
	struct store_txn *txn = at_machine(a, BOB);
	say_profile(txn, NULL, "bob");
	txn_commit(txn);
	txn = at_machine(a, BOX);
	say_profile(txn, &a->id, "alice");
	txn_commit(txn);
	admits(a, LAPTOP, BOX, true, NULL);
	saves(a, LAPTOP, "notes.md", "one");
	meet(a);
	*state = a;
	return 0;
}

static int alice_remove(void **state)
{
	struct alice *a = *state;

	for (int i = 0; i < MACHINES; i++)
		if (a->machines[i].packer)
			test_store_remove(&a->machines[i]);
	free(a);
	return 0;
}

/* The laptop saves once, its copy three times: that side is longer. */
static void fork_laptop(struct alice *a, struct id *out_short, struct id *out_long)
{
	copy_laptop(a);
	*out_short = saves(a, LAPTOP, "notes.md", "laptop");
	saves(a, COPY, "notes.md", "copy");
	saves(a, COPY, "copy.md", "copy");
	*out_long = saves(a, COPY, "notes.md", "copy again");
}

/* ---- what any store must make of it ---- */

struct gathered {
	struct parcel items[256];
	size_t count;
};

/* Every record there is, once each log: several machines have the same ones. */
static struct gathered *gather(struct alice *a)
{
	struct gathered *g = calloc(1, sizeof(*g));

	for (int i = 0; i < MACHINES; i++) {
		if (!a->machines[i].store)
			continue;
		struct parcels *p = parcels_of(&a->machines[i], &a->machines[i].key.public);
		for (size_t k = 0; k < p->count; k++) {
			assert_true(g->count < sizeof(g->items) / sizeof(g->items[0]));
			g->items[g->count++] = p->items[k];
		}
		free(p);
	}
	return g;
}

/* A store that hears of them in some order, those again whose predecessor it lacked. */
static void hear(struct gathered *g, struct test_store *t, uint64_t seed)
{
	bool given[256] = { false };
	size_t left = g->count;

	for (size_t i = g->count; i > 1; i--) {
		size_t k = chance_below(&seed, (unsigned)i);
		struct parcel swap = g->items[i - 1];
		g->items[i - 1] = g->items[k];
		g->items[k] = swap;
	}
	while (left > 0) {
		size_t before = left;
		for (size_t i = 0; i < g->count; i++) {
			if (given[i])
				continue;
			struct store_txn *txn = txn_begin(t, true);
			int err = parcel_accept(txn, &g->items[i]);
			assert_true(err == 0 || err == 1 || err == -EAGAIN);
			txn_commit(txn);
			given[i] = err != -EAGAIN;
			left -= given[i];
		}
		assert_true(left < before);
	}
}

static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + used, size - used, format, arguments);
	va_end(arguments);
}

static void describe_log(struct store_txn *txn, const struct id *device, char *text, size_t size)
{
	struct fork_side sides[SIDES_MAX];
	char name[ID_SHORT_SIZE + 1];
	struct record_row kept;
	struct log_row log;

	assert_int_equal(log_get(txn, device, &log), 0);
	id_format_short(name, &log.tip_id);
	add(text, size, "tip %s %llu of %llu forked %d", name, (unsigned long long)log.tip_seq,
	    (unsigned long long)log.records, log.forked);
	if (log.branch) {
		assert_int_equal(log_record_row(txn, log.branch, &kept), 0);
		id_format_short(name, &kept.id);
		add(text, size, " keeps %s", name);
	}
	int count = fork_sides(txn, &log, sides, SIDES_MAX);
	assert_in_range(count, 0, SIDES_MAX);
	for (int i = 0; i < count; i++) {
		id_format_short(name, &sides[i].newest.id);
		add(text, size, " side %s %llu-%llu", name, (unsigned long long)sides[i].from_seq,
		    (unsigned long long)sides[i].newest.seq);
	}
	add(text, size, "\n");
}

/* In order of name: each store lists them as they came. */
static void describe_folder(struct store_txn *txn, const struct id *person, char *text, size_t size)
{
	static const char *const names[] = { "notes.md", "copy.md", "laptop.md", "box.md", "later.md", "healed.md",
					     "too-late.md", "x.md", "y.md" };
	char name[ID_SHORT_SIZE + 1];
	struct tree_item item;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (tree_lookup(txn, person, person, names[i], &item) < 0)
			continue;
		id_format_short(name, &item.id);
		add(text, size, "%s %s heads %u\n", names[i], name, item.heads);
	}
}

static void describe(struct alice *a, struct test_store *t, char text[4096])
{
	struct store_txn *txn = txn_begin(t, false);

	text[0] = '\0';
	describe_log(txn, &a->id, text, 4096);
	describe_log(txn, &a->machines[BOX].key.public, text, 4096);
	describe_folder(txn, &a->id, text, 4096);
	store_abort(txn);
}

/* Whoever has all the records, in whatever order, sees the same: out_text. */
static void expect_agreement(struct alice *a, char out_text[4096])
{
	struct gathered *g = gather(a);
	char text[4096];

	for (unsigned order = 0; order < ORDERS; order++) {
		struct test_store t;
		test_store_make(&t, 1000 + order);
		t.time_ms = a->time_ms;
		hear(g, &t, order + 1);
		describe(a, &t, order ? text : out_text);
		if (order == ORDERS - 1) { /* and the index of it made again */
			test_store_stop(&t);
			test_store_start(&t, true);
			describe(a, &t, text);
		}
		if (order)
			assert_string_equal(text, out_text);
		test_store_remove(&t);
	}
	for (size_t i = 0; i < g->count; i++)
		free(g->items[i].bytes);
	free(g);
	meet(a);
	for (int i = 0; i < MACHINES; i++) {
		if (!a->machines[i].store)
			continue;
		describe(a, &a->machines[i], text);
		assert_string_equal(text, out_text);
	}
}

static void expect_agreed(struct alice *a, const char *what)
{
	char text[4096];

	expect_agreement(a, text);
	if (!strstr(text, what))
		fail_msg("no `%s` in:\n%s", what, text);
}

static const char *tip_text(const struct id *tip)
{
	static char text[32];
	char name[ID_SHORT_SIZE + 1];

	id_format_short(name, tip);
	snprintf(text, sizeof(text), "tip %s ", name);
	return text;
}

/* ---- sides ---- */

static void a_log_that_never_forked_has_no_sides(void **state)
{
	struct alice *a = *state;
	struct fork_side sides[SIDES_MAX];
	uint64_t begin;

	struct store_txn *txn = txn_begin(&a->machines[LAPTOP], false);
	struct log_row log;
	assert_int_equal(log_get(txn, &a->id, &log), 0);
	assert_int_equal(fork_begin(txn, &log, &begin), -ENOENT);
	assert_int_equal(fork_sides(txn, &log, sides, SIDES_MAX), 0);
	struct id tip = log.tip_id;
	store_abort(txn);
	assert_int_equal(keeps(a, LAPTOP, &tip), -EINVAL);
}

static void sides_are_told_from_where_they_part(void **state)
{
	struct alice *a = *state;
	struct fork_side sides[SIDES_MAX];
	struct id shorter, longer;
	struct log_row log;
	uint64_t begin;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	struct store_txn *txn = txn_begin(&a->machines[BOB], false);
	assert_int_equal(log_get(txn, &a->id, &log), 0);
	assert_int_equal(fork_begin(txn, &log, &begin), 0);
	assert_int_equal(begin, 2);
	assert_int_equal(fork_sides(txn, &log, sides, SIDES_MAX), 2);
	assert_true(id_equal(&sides[0].newest.id, &longer));
	assert_int_equal(sides[0].from_seq, 2);
	assert_int_equal(sides[0].newest.seq, 4);
	assert_true(id_equal(&sides[1].newest.id, &shorter));
	assert_int_equal(sides[1].from_seq, 2);
	/* No room for all: the one in effect is told. */
	assert_int_equal(fork_sides(txn, &log, sides, 1), 1);
	assert_true(id_equal(&sides[0].newest.id, &longer));
	store_abort(txn);
}

/* The copy forks again, and its two ends are of one length: whose their stem is does not hang on what came first. */
static void a_stem_is_told_of_the_same_end_everywhere(void **state)
{
	struct alice *a = *state;
	struct fork_side sides[SIDES_MAX];
	struct test_store second;
	struct id shorter, longer;
	struct log_row log;

	fork_laptop(a, &shorter, &longer);
	test_store_stop(&a->machines[COPY]);
	test_store_copy(&second, &a->machines[COPY], 78);
	test_store_start(&a->machines[COPY], false);
	struct store_txn *txn = txn_begin(&second, true);
	say_version(&second, txn, &(struct save){ .directory = a->id, .name = "y.md", .text = "y" });
	txn_commit(txn);
	saves(a, COPY, "x.md", "x");
	meet(a);
	assert_int_equal(keeps(a, LAPTOP, &shorter), 0);
	send_log(&second, &a->machines[COPY]);
	expect_agreed(a, "y.md");
	txn = txn_begin(&a->machines[BOB], false);
	assert_int_equal(log_get(txn, &a->id, &log), 0);
	assert_int_equal(fork_sides(txn, &log, sides, SIDES_MAX), 3);
	assert_int_equal(sides[0].newest.seq, 3);
	assert_int_equal(sides[1].from_seq, 2);
	assert_int_equal(sides[2].from_seq, 5);
	store_abort(txn);
	test_store_remove(&second);
}

/* The copy forks again: the stem of its two ends is told once, of the side that goes on farther. */
static void a_fork_within_a_fork(void **state)
{
	struct alice *a = *state;
	struct fork_side sides[SIDES_MAX];
	struct test_store second;
	struct id shorter, longer;
	struct log_row log;

	fork_laptop(a, &shorter, &longer);
	test_store_stop(&a->machines[COPY]);
	test_store_copy(&second, &a->machines[COPY], 78);
	test_store_start(&a->machines[COPY], false);
	struct id end = saves(a, COPY, "x.md", "x"); /* 5 */
	saves(a, COPY, "x.md", "x");                 /* 6 */
	struct id last = saves(a, COPY, "x.md", "x");
	struct store_txn *txn = txn_begin(&second, true);
	second.time_ms = a->time_ms;
	struct id other = say_version(&second, txn, &(struct save){ .directory = a->id, .name = "y.md", .text = "y" });
	txn_commit(txn);
	send_log(&second, &a->machines[COPY]);
	expect_agreed(a, tip_text(&last));
	txn = txn_begin(&a->machines[BOX], false);
	assert_int_equal(log_get(txn, &a->id, &log), 0);
	assert_int_equal(fork_sides(txn, &log, sides, SIDES_MAX), 3);
	assert_int_equal(sides[0].from_seq, 2);
	assert_true(id_equal(&sides[1].newest.id, &other));
	assert_int_equal(sides[1].from_seq, 5);
	assert_int_equal(sides[2].from_seq, 2);
	store_abort(txn);
	/* Kept as far as their stem, the longer of its two ends holds; then one of the ends, and so not the other. */
	assert_int_equal(keeps(a, LAPTOP, &longer), 0);
	struct log_row now = log_at(a, LAPTOP, LAPTOP);
	assert_int_equal(now.tip_seq, 8);
	expect_agreed(a, tip_text(&now.tip_id));
	assert_int_equal(keeps(a, LAPTOP, &other), 0);
	now = log_at(a, LAPTOP, LAPTOP);
	assert_int_equal(now.tip_seq, 6);
	expect_agreed(a, tip_text(&now.tip_id));
	assert_int_equal(keeps(a, LAPTOP, &end), -EINVAL);
	test_store_remove(&second);
}

/* ---- who is heard ---- */

static void a_device_keeps_a_side_of_its_own_log(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	expect_tip(a, LAPTOP, &longer);
	assert_int_equal(keeps(a, LAPTOP, &shorter), 0);
	/* It is said on the side kept, and goes on there. */
	struct log_row log = log_at(a, LAPTOP, LAPTOP);
	assert_int_equal(log.tip_seq, 3);
	struct id next = saves(a, LAPTOP, "later.md", "later");
	assert_int_equal(log_at(a, LAPTOP, LAPTOP).tip_seq, 4);
	/* The other side may grow as it likes. */
	for (int i = 0; i < 5; i++)
		saves(a, COPY, "copy.md", "more");
	expect_agreed(a, tip_text(&next));
	/* What the copy saved stands still, beside what the laptop did. */
	expect_agreed(a, "copy.md");
	char text[4096];
	describe(a, &a->machines[BOB], text);
	assert_non_null(strstr(strstr(text, "notes.md"), "heads 2"));
	/* Once is enough, and another word would be one against the first. */
	assert_int_equal(keeps(a, LAPTOP, &shorter), 1);
	assert_int_equal(keeps(a, LAPTOP, &longer), -EINVAL);
	assert_int_equal(keeps(a, COPY, &longer), -EINVAL);
	/* A save there merges what stands side by side, as of any two heads. */
	saves(a, LAPTOP, "notes.md", "both");
	struct log_row now = log_at(a, LAPTOP, LAPTOP);
	expect_agreed(a, tip_text(&now.tip_id));
	describe(a, &a->machines[BOB], text);
	assert_null(strstr(text, "heads 2"));
}

static void it_may_keep_what_lies_farther_on_the_same_side(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	assert_int_equal(keeps(a, LAPTOP, &shorter), 0);
	struct id later = saves(a, LAPTOP, "later.md", "later");
	assert_int_equal(keeps(a, LAPTOP, &later), 0);
	expect_agreed(a, "keeps");
	assert_int_equal(keeps(a, LAPTOP, &shorter), 1);
}

static void rivals_of_one_log_are_not_heard_until_another_device_is(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	/* Each end learns of the fork, and keeps its own, before it hears of the other's word. */
	send_log(&a->machines[COPY], &a->machines[LAPTOP]);
	assert_int_equal(keeps(a, LAPTOP, &shorter), 0);
	keeps_anyway(a, COPY, &longer);
	struct log_row log = log_at(a, COPY, LAPTOP);
	expect_agreed(a, tip_text(&log.tip_id)); /* the longest */
	assert_int_equal(log_at(a, LAPTOP, LAPTOP).branch, 0);
	assert_int_equal(keeps(a, LAPTOP, &shorter), -EINVAL);
	assert_int_equal(keeps(a, COPY, &longer), -EINVAL);
	assert_int_equal(keeps(a, BOX, &shorter), 0);
	meet(a);
	assert_true(log_at(a, LAPTOP, LAPTOP).branch != 0);
	struct id next = saves(a, LAPTOP, "healed.md", "healed");
	expect_agreed(a, tip_text(&next));
}

static void the_newest_word_of_another_device_holds(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	assert_int_equal(keeps(a, LAPTOP, &longer), 0);
	meet(a);
	assert_int_equal(keeps(a, BOX, &shorter), 0);
	expect_agreed(a, tip_text(&shorter));
	assert_int_equal(keeps(a, BOX, &shorter), 1);
	/* It holds before what the log says. */
	assert_int_equal(keeps(a, LAPTOP, &longer), -EINVAL);
	/* And it may change its mind, also where its clock stands still. */
	for (int i = 0; i < 10; i++) {
		a->time_ms -= 60 * 1000;
		assert_int_equal(keeps(a, BOX, i % 2 ? &shorter : &longer), 0);
	}
	expect_agreed(a, tip_text(&shorter));
}

static void a_stranger_is_not_heard(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	assert_int_equal(keeps(a, BOB, &shorter), -EACCES);
	keeps_anyway(a, BOB, &shorter);
	expect_agreed(a, tip_text(&longer));
	assert_int_equal(log_at(a, BOX, LAPTOP).branch, 0);
}

static void a_device_that_claims_her_and_was_not_admitted_is_not_heard(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	struct store_txn *txn = at_machine(a, BOB);
	say_profile(txn, &a->id, "alice");
	txn_commit(txn);
	assert_int_equal(keeps(a, BOB, &shorter), -EACCES);
	keeps_anyway(a, BOB, &shorter);
	expect_agreed(a, tip_text(&longer));
	/* Once it is, also for what it said before. */
	admits(a, BOX, BOB, true, NULL);
	expect_agreed(a, tip_text(&shorter));
}

static void a_retired_device_is_not_heard(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	struct id last = saves(a, BOX, "box.md", "box");
	admits(a, LAPTOP, BOX, false, &last); /* on the longer side, which is in effect */
	struct id tip = log_at(a, LAPTOP, LAPTOP).tip_id;
	keeps_anyway(a, BOX, &shorter);
	expect_agreed(a, tip_text(&tip));
	assert_int_equal(log_at(a, BOX, LAPTOP).branch, 0);
	assert_int_equal(keeps(a, BOX, &shorter), -EACCES);
	/* Had it been said before the last record that counts, it would be. */
	struct log_row all = log_at(a, BOX, BOX);
	admits(a, LAPTOP, BOX, false, &all.tip_id);
	expect_agreed(a, tip_text(&shorter));
	/* And no more, cut shorter again. */
	admits(a, COPY, BOX, false, &last);
	expect_agreed(a, "box.md");
	assert_int_equal(log_at(a, BOB, LAPTOP).branch, 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct alice *a = *state;
	struct id shorter, longer, unknown = { { 7 } };
	struct store_txn *txn;

	fork_laptop(a, &shorter, &longer);
	meet(a);
	assert_int_equal(keeps(a, LAPTOP, &unknown), -ENOENT);
	/* Of a log that is whole; and from before the fork. */
	struct id box = log_at(a, LAPTOP, BOX).tip_id;
	assert_int_equal(keeps(a, LAPTOP, &box), -EINVAL);
	struct parcels *p = parcels_of(&a->machines[LAPTOP], &a->id);
	assert_int_equal(keeps(a, LAPTOP, &p->items[1].id), -EINVAL);
	parcels_free(p);
	/* While peers are asked nothing is signed. */
	store_hold_signing(a->machines[LAPTOP].store, UINT64_MAX);
	txn = at_machine(a, LAPTOP);
	assert_int_equal(fork_keep(txn, &shorter, NULL), STORE_HELD);
	store_abort(txn);
	expect_tip(a, LAPTOP, &longer);
}

/* ---- devices come and go ---- */

static void of_a_retired_device_what_came_later_does_not_count(void **state)
{
	struct alice *a = *state;
	char text[4096];

	saves(a, BOX, "notes.md", "box");
	meet(a);
	saves(a, LAPTOP, "laptop.md", "laptop");
	struct id last = saves(a, BOX, "box.md", "box");
	meet(a);
	admits(a, LAPTOP, BOX, false, &last);
	saves(a, BOX, "too-late.md", "box");
	saves(a, BOX, "notes.md", "too late");
	struct id notes = saves(a, LAPTOP, "notes.md", "laptop again");
	expect_agreement(a, text);
	assert_non_null(strstr(text, "box.md"));
	assert_non_null(strstr(text, "laptop.md"));
	assert_null(strstr(text, "too-late.md"));
	char line[64], name[ID_SHORT_SIZE + 1];
	id_format_short(name, &notes);
	snprintf(line, sizeof(line), "notes.md %s heads 1\n", name);
	assert_non_null(strstr(text, line));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, alice_make, alice_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_log_that_never_forked_has_no_sides),
		TEST(sides_are_told_from_where_they_part),
		TEST(a_stem_is_told_of_the_same_end_everywhere),
		TEST(a_fork_within_a_fork),
		TEST(a_device_keeps_a_side_of_its_own_log),
		TEST(it_may_keep_what_lies_farther_on_the_same_side),
		TEST(rivals_of_one_log_are_not_heard_until_another_device_is),
		TEST(the_newest_word_of_another_device_holds),
		TEST(a_stranger_is_not_heard),
		TEST(a_device_that_claims_her_and_was_not_admitted_is_not_heard),
		TEST(a_retired_device_is_not_heard),
		TEST(what_makes_no_sense_is_refused),
		TEST(of_a_retired_device_what_came_later_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
