/* What persons are called here: nicknames pinned, petnames given, and the own name before all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "names.h"
#include "store_helper.h"

struct world { /* what alice, and others, know of one another is what is sent */
	struct test_store alice, others[3];
	struct id ids[3];
	char shorts[3][ID_SHORT_SIZE + 1];
};

static void call(struct test_store *t, const struct id *person, const char *name)
{
	struct store_txn *txn = txn_begin(t, true);

	say_profile(txn, person, name);
	txn_commit(txn);
}

static int setup(void **state)
{
	static const char *const names[] = { "bob", "bob", "alice" };
	struct world *w = calloc(1, sizeof(*w));

	test_store_make(&w->alice, 1);
	call(&w->alice, NULL, "alice");
	for (unsigned i = 0; i < 3; i++) {
		test_store_make(&w->others[i], 2 + i);
		call(&w->others[i], NULL, names[i]);
		w->ids[i] = w->others[i].key.public;
		id_format_short(w->shorts[i], &w->ids[i]);
	}
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	test_store_remove(&w->alice);
	for (unsigned i = 0; i < 3; i++)
		test_store_remove(&w->others[i]);
	free(w);
	return 0;
}

static void assert_called(struct test_store *t, const struct id *person, const char *expected)
{
	char name[PROFILE_NAME_MAX + 1];
	struct store_txn *txn = txn_begin(t, false);
	struct id found;

	names_of(txn, person, name);
	assert_string_equal(name, expected);
	assert_int_equal(names_find(txn, name, &found), 0);
	assert_true(id_equal(&found, person));
	store_abort(txn);
}

static void assert_unknown(struct test_store *t, const char *name)
{
	struct store_txn *txn = txn_begin(t, false);
	struct id found;

	assert_int_equal(names_find(txn, name, &found), -ENOENT);
	store_abort(txn);
}

static void meet(struct world *w, unsigned which)
{
	struct id renamed;

	send_log(&w->others[which], &w->alice);
	assert_int_equal(names_pin(w->alice.store, &w->ids[which], &renamed), 0);
}

static void namesakes_stay_apart(void **state)
{
	struct world *w = *state;
	char apart[PROFILE_NAME_MAX + 1];
	struct id renamed;

	for (unsigned i = 0; i < 3; i++)
		meet(w, i);
	assert_called(&w->alice, &w->ids[0], "bob");
	snprintf(apart, sizeof(apart), "bob.%s", w->shorts[1]);
	assert_called(&w->alice, &w->ids[1], apart);
	snprintf(apart, sizeof(apart), "alice.%s", w->shorts[2]);
	assert_called(&w->alice, &w->ids[2], apart);
	assert_called(&w->alice, &w->alice.key.public, "alice");
	/* For good: also once more, for everybody, and whatever they call themselves later. */
	call(&w->others[0], NULL, "robert");
	meet(w, 0);
	assert_int_equal(names_pin(w->alice.store, &(struct id){ { 0 } }, &renamed), 0);
	assert_called(&w->alice, &w->ids[0], "bob");
	assert_unknown(&w->alice, "robert");
}

/* Nobody takes the place of somebody who is not known here yet, or is. */
static void nicknames_that_look_like_ids(void **state)
{
	struct world *w = *state;
	char apart[PROFILE_NAME_MAX + 1];

	call(&w->others[0], NULL, "caroline");
	call(&w->others[1], NULL, "k5xq3m7a");
	meet(w, 0);
	meet(w, 1);
	assert_called(&w->alice, &w->ids[0], "caroline");
	snprintf(apart, sizeof(apart), "k5xq3m7a.%s", w->shorts[1]);
	assert_called(&w->alice, &w->ids[1], apart);
	call(&w->others[2], NULL, w->shorts[0]);
	meet(w, 2);
	snprintf(apart, sizeof(apart), "%s.%s", w->shorts[0], w->shorts[2]);
	assert_called(&w->alice, &w->ids[2], apart);
}

static void petnames(void **state)
{
	struct world *w = *state;
	char long_name[PROFILE_NAME_MAX + 2] = { 0 }, id[ID_TEXT_SIZE + 1];

	meet(w, 0);
	meet(w, 1);
	memset(long_name, 'n', PROFILE_NAME_MAX + 1);
	id_format(id, &w->ids[2]);
	const struct {
		const char *name;
		int expected;
	} cases[] = {
		{ "Bob Ross", 0 },   { "gardener", 0 },    { "\xc3\xa5sa", 0 },      { "alice", -EEXIST },
		{ "", -EINVAL },     { ".bob", -EINVAL },  { "a/b", -EINVAL },       { "bob@", -EINVAL },
		{ "a\nb", -EINVAL }, { "\xff", -EINVAL },  { "me", -EINVAL },        { "README.md", -EINVAL },
		{ id, -EINVAL },     { "bob", 0 },         { long_name, -ENAMETOOLONG }, { w->shorts[1], -EEXIST },
		{ w->shorts[0], 0 }, { "carol", 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct why why = { { 0 } };
		int err = names_give(w->alice.store, &w->ids[0], cases[i].name, &why);
		if (err != cases[i].expected || (err < 0) != (why.text[0] != '\0'))
			fail_msg("%s: %d, not %d; %s", cases[i].name, err, cases[i].expected, why.text);
		if (err == 0)
			assert_called(&w->alice, &w->ids[0], cases[i].name);
	}
	assert_unknown(&w->alice, "bob");
	assert_int_equal(names_give(w->alice.store, &w->ids[1], "carol", NULL), -EEXIST);
	assert_int_equal(names_give(w->alice.store, &w->alice.key.public, "carola", NULL), -EPERM);
	/* Kept with the rest. */
	test_store_stop(&w->alice);
	test_store_start(&w->alice, true);
	assert_called(&w->alice, &w->ids[0], "carol");
}

/* A further device learns what its person is called when somebody else is called so already. */
static void the_own_name_comes_first(void **state)
{
	struct world *w = *state;
	struct id renamed = { { 0 } };
	char own[ID_SHORT_SIZE + 1], apart[PROFILE_NAME_MAX + 1];
	struct test_store box;

	test_store_make(&box, 9);
	call(&box, &w->alice.key.public, "");
	id_format_short(own, &w->alice.key.public);
	assert_called(&box, &w->alice.key.public, own);
	send_log(&w->others[2], &box);
	assert_int_equal(names_pin(box.store, &w->ids[2], &renamed), 0);
	assert_called(&box, &w->ids[2], "alice");

	send_log(&w->alice, &box);
	assert_int_equal(names_pin(box.store, &w->alice.key.public, &renamed), 1);
	assert_true(id_equal(&renamed, &w->ids[2]));
	assert_called(&box, &w->alice.key.public, "alice");
	snprintf(apart, sizeof(apart), "alice.%s", w->shorts[2]);
	assert_called(&box, &w->ids[2], apart);
	assert_int_equal(names_pin(box.store, &w->alice.key.public, &renamed), 0);
	test_store_remove(&box);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(namesakes_stay_apart),
		WITH_WORLD(nicknames_that_look_like_ids),
		WITH_WORLD(petnames),
		WITH_WORLD(the_own_name_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
