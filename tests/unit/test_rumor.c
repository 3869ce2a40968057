#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "rumor.h"

static struct id id_of(uint64_t number)
{
	struct id id = { { 0 } };

	memcpy(id.bytes, &number, sizeof(number));
	return id;
}

static struct head head_of(uint64_t log, uint64_t seq)
{
	return (struct head){ .device = id_of(log), .person = id_of(log), .seq = seq, .record = id_of(1000 * log + seq),
			      .records = seq + 1 };
}

/* ---- of one peer ---- */

static void test_pruned_is_by_note_until_grafted(void **state)
{
	struct rumor_pruned pruned = { 0 };
	struct id a = id_of(1), b = id_of(2);

	assert_false(rumor_is_pruned(&pruned, &a));
	assert_int_equal(rumor_pruned_memory(&pruned), 0);
	rumor_prune(&pruned, &a);
	rumor_prune(&pruned, &a);
	assert_true(rumor_is_pruned(&pruned, &a));
	assert_false(rumor_is_pruned(&pruned, &b));
	assert_true(rumor_pruned_memory(&pruned) > 0);
	rumor_graft(&pruned, &b); /* what was not pruned */
	rumor_graft(&pruned, &a);
	assert_false(rumor_is_pruned(&pruned, &a));
	rumor_graft(&pruned, &a);
	rumor_pruned_finish(&pruned);
}

/* Above the maximum each log is by note only, for good: a graft brings what is missed, not the pushes. */
static void test_too_many_pruned_are_all(void **state)
{
	struct rumor_pruned pruned = { 0 };
	struct id other = id_of(RUMOR_PRUNED_MAX + 2), one;

	for (uint64_t i = 1; i <= RUMOR_PRUNED_MAX; i++) {
		one = id_of(i);
		rumor_prune(&pruned, &one);
	}
	assert_false(pruned.all);
	assert_false(rumor_is_pruned(&pruned, &other));
	size_t most = rumor_pruned_memory(&pruned);
	one = id_of(RUMOR_PRUNED_MAX + 1);
	rumor_prune(&pruned, &one);
	assert_true(pruned.all);
	assert_true(rumor_is_pruned(&pruned, &one));
	assert_true(rumor_is_pruned(&pruned, &other));
	assert_true(rumor_pruned_memory(&pruned) < most);
	rumor_prune(&pruned, &other);
	rumor_graft(&pruned, &other);
	assert_true(rumor_is_pruned(&pruned, &other));
	rumor_pruned_finish(&pruned);
}

/* ---- of the node: one step after the other ---- */

enum step { NOTED, CAME, GONE, DUE, NOT_DUE, DEADLINE };
struct step_of {
	enum step step;
	uint64_t log, seq, session, at_ms; /* DUE: session: the first teller; DEADLINE: at_ms: expected, 0: none */
	unsigned tellers;
};
#define STEPS_MAX 12

static const struct {
	const char *name;
	struct step_of steps[STEPS_MAX];
	size_t count;
} stories[] = {
	{ "nothing noted", { { .step = NOT_DUE, .at_ms = 99999 }, { .step = DEADLINE } }, 2 },
	{ "a note waits for its push",
	  { { NOTED, 1, 5, 7, 1000, 0 }, { .step = DEADLINE, .at_ms = 1000 + RUMOR_WAIT_MS },
	    { .step = NOT_DUE, .at_ms = 999 + RUMOR_WAIT_MS }, { DUE, 1, 5, 7, 1000 + RUMOR_WAIT_MS, 1 },
	    { .step = NOT_DUE, .at_ms = 99999 }, { .step = DEADLINE } }, 6 },
	{ "the push comes", { { NOTED, 1, 5, 7, 1000, 0 }, { CAME, 1, 5, 0, 0, 0 }, { .step = NOT_DUE, .at_ms = 99999 } }, 3 },
	{ "more than noted comes", { { NOTED, 1, 5, 7, 0, 0 }, { CAME, 1, 9, 0, 0, 0 }, { .step = NOT_DUE, .at_ms = 99999 } }, 3 },
	{ "less than noted comes", { { NOTED, 1, 5, 7, 0, 0 }, { CAME, 1, 4, 0, 0, 0 }, { DUE, 1, 5, 7, 99999, 1 } }, 3 },
	{ "another log comes", { { NOTED, 1, 5, 7, 0, 0 }, { CAME, 2, 9, 0, 0, 0 }, { DUE, 1, 5, 7, 99999, 1 } }, 3 },
	{ "the newest head told of", { { NOTED, 1, 5, 7, 0, 0 }, { NOTED, 1, 8, 8, 50, 0 }, { DUE, 1, 8, 7, 99999, 2 } }, 3 },
	{ "an older head changes nothing", { { NOTED, 1, 8, 7, 0, 0 }, { NOTED, 1, 5, 8, 50, 0 }, { DUE, 1, 8, 7, 99999, 2 } }, 3 },
	{ "the first note's time counts",
	  { { NOTED, 1, 5, 7, 1000, 0 }, { NOTED, 1, 6, 8, 1100, 0 }, { DUE, 1, 6, 7, 1000 + RUMOR_WAIT_MS, 2 } }, 3 },
	{ "one teller counts once", { { NOTED, 1, 5, 7, 0, 0 }, { NOTED, 1, 6, 7, 0, 0 }, { DUE, 1, 6, 7, 99999, 1 } }, 3 },
	{ "four tellers are remembered",
	  { { NOTED, 1, 5, 1, 0, 0 }, { NOTED, 1, 5, 2, 0, 0 }, { NOTED, 1, 5, 3, 0, 0 }, { NOTED, 1, 5, 4, 0, 0 },
	    { NOTED, 1, 5, 5, 0, 0 }, { DUE, 1, 5, 1, 99999, RUMOR_TELLERS_MAX } }, 6 },
	{ "a teller leaves", { { NOTED, 1, 5, 7, 0, 0 }, { NOTED, 1, 5, 8, 0, 0 }, { GONE, 0, 0, 7, 0, 0 }, { DUE, 1, 5, 8, 99999, 1 } }, 4 },
	{ "all tellers leave",
	  { { NOTED, 1, 5, 7, 0, 0 }, { GONE, 0, 0, 8, 0, 0 }, { GONE, 0, 0, 7, 0, 0 }, { .step = NOT_DUE, .at_ms = 99999 },
	    { .step = DEADLINE } }, 5 },
	{ "two logs, each in its time",
	  { { NOTED, 1, 5, 7, 1000, 0 }, { NOTED, 2, 3, 7, 1100, 0 }, { .step = DEADLINE, .at_ms = 1000 + RUMOR_WAIT_MS },
	    { DUE, 1, 5, 7, 1000 + RUMOR_WAIT_MS, 1 }, { .step = NOT_DUE, .at_ms = 1000 + RUMOR_WAIT_MS },
	    { .step = DEADLINE, .at_ms = 1100 + RUMOR_WAIT_MS }, { DUE, 2, 3, 7, 1100 + RUMOR_WAIT_MS, 1 } }, 7 },
};

static void take_step(const char *name, size_t number, struct rumor *rumor, const struct step_of *s)
{
	struct head head = head_of(s->log, s->seq);
	struct rumor_note note = { .teller_count = 0 };

	switch (s->step) {
	case NOTED:
		rumor_noted(rumor, &head, s->session, s->at_ms);
		return;
	case CAME:
		rumor_came(rumor, &head.device, s->seq);
		return;
	case GONE:
		rumor_gone(rumor, s->session);
		return;
	case DUE:
		if (!rumor_due(rumor, s->at_ms, &note) || !id_equal(&note.head.record, &head.record) ||
		    note.teller_count != s->tellers || note.tellers[0] != s->session)
			fail_msg("%s: step %zu: seq %d of %u", name, number, (int)note.head.seq, note.teller_count);
		return;
	case NOT_DUE:
		if (rumor_due(rumor, s->at_ms, &note))
			fail_msg("%s: step %zu: due", name, number);
		return;
	case DEADLINE:
		if (rumor_deadline_ms(rumor) != (s->at_ms ? s->at_ms : UINT64_MAX))
			fail_msg("%s: step %zu: deadline %d", name, number, (int)rumor_deadline_ms(rumor));
		return;
	}
}

static void test_notes(void **state)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		struct rumor *rumor = rumor_new();
		assert_non_null(rumor);
		for (size_t j = 0; j < stories[i].count; j++)
			take_step(stories[i].name, j, rumor, &stories[i].steps[j]);
		rumor_free(rumor);
	}
	rumor_free(NULL);
}

static void test_notes_have_a_maximum(void **state)
{
	struct rumor *rumor = rumor_new();
	struct rumor_note note;
	unsigned due = 0;

	assert_non_null(rumor);
	for (uint64_t i = 1; i <= RUMOR_NOTED_MAX + 10; i++) {
		struct head head = head_of(i, 1);
		rumor_noted(rumor, &head, 1, 0);
	}
	assert_true(rumor_memory(rumor) >= RUMOR_NOTED_MAX * sizeof(note));
	while (rumor_due(rumor, RUMOR_WAIT_MS, &note))
		due++;
	assert_int_equal(due, RUMOR_NOTED_MAX);
	assert_int_equal(rumor_memory(rumor), 0);
	struct head head = head_of(RUMOR_NOTED_MAX + 10, 1); /* there is room again */
	rumor_noted(rumor, &head, 1, 0);
	assert_true(rumor_due(rumor, RUMOR_WAIT_MS, &note));
	rumor_free(rumor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pruned_is_by_note_until_grafted),
		cmocka_unit_test(test_too_many_pruned_are_all),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_notes_have_a_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
