/* Cookies, seeds of puzzles, effort: what a server does when there is much to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "alloc_faults.h"
#include "handshake_world.h"
#include "net_limits.h"

/* hello, cookie, and hello again, not taken yet. */
static void get_cookie(struct world *w)
{
	uint8_t cookie[HANDSHAKE_MESSAGE_MAX];

	w->server.loaded = true;
	begin(w, 7);
	say_hello(w);
	give(w->dialled, cookie, COOKIE_SIZE);
	assert_int_equal(handshake_give(w->dialled, cookie + COOKIE_SIZE), 0);
	pass(w->client, cookie, COOKIE_SIZE);
	give(w->client, w->hello, HELLO_SIZE);
}

static void expect_challenge(struct world *w)
{
	struct handshake_keys keys[2];

	pass(w->dialled, w->hello, HELLO_SIZE);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	pass(w->client, w->challenge, CHALLENGE_SIZE);
	give(w->client, w->earn, EARN_SIZE);
	pass(w->dialled, w->earn, EARN_SIZE);
	expect_same_keys(w->client, w->dialled, keys);
}

static void dial_anew(struct world *w, const void *from, size_t from_size)
{
	handshake_free(w->dialled);
	w->dialled = handshake_new_server(&w->server, from, from_size, &w->b_clock.clock);
	assert_non_null(w->dialled);
}

static void expect_another_cookie(struct world *w, const char *name)
{
	uint8_t cookie[HANDSHAKE_MESSAGE_MAX];

	pass(w->dialled, w->hello, HELLO_SIZE);
	if (handshake_give(w->dialled, cookie) != COOKIE_SIZE)
		fail_msg("%s: was let in", name);
	refuse(w->client, cookie, COOKIE_SIZE, -EPROTO, name);
}

static void a_loaded_server_asks_for_its_cookie(void **state)
{
	struct world *w = *state;

	get_cookie(w);
	expect_challenge(w);

	/* Nothing of the first hello was kept: any other end with the same secret takes the second. */
	get_cookie(w);
	dial_anew(w, address, sizeof address);
	expect_challenge(w);

	/* Nor is one refused where none is asked for any more. */
	get_cookie(w);
	w->server.loaded = false;
	expect_challenge(w);
}

static void a_cookie_is_of_one_address(void **state)
{
	static const char other[] = "192.0.2.2";
	static const struct {
		const char *name;
		const void *from;
		size_t size;
	} cases[] = {
		{ "another", other, sizeof other },
		{ "shorter", address, sizeof address - 1 },
		{ "none", NULL, 0 },
	};
	struct world *w = *state;
	uint8_t longest[ADDRESS_SIZE_MAX + 1] = { 0 };

	for (size_t i = 0; i < COUNT(cases); i++) {
		get_cookie(w);
		dial_anew(w, cases[i].from, cases[i].size);
		expect_another_cookie(w, cases[i].name);
	}
	dial_anew(w, longest, ADDRESS_SIZE_MAX);
	assert_null(handshake_new_server(&w->server, longest, sizeof longest, &w->b_clock.clock));
}

static void a_cookie_is_of_one_key(void **state)
{
	struct world *w = *state;
	uint8_t mac2[16];

	get_cookie(w);
	memcpy(mac2, w->hello + HELLO_SIZE - 16, 16);
	begin(w, 8);
	give(w->client, w->hello, HELLO_SIZE);
	memcpy(w->hello + HELLO_SIZE - 16, mac2, 16);
	pass(w->dialled, w->hello, HELLO_SIZE);
	give(w->dialled, w->challenge, COOKIE_SIZE);
}

static void a_cookie_lives_two_minutes_and_once_more(void **state)
{
	static const struct {
		const char *name;
		uint64_t waits_ms[2]; /* a tick after each */
		bool pass;
	} cases[] = {
		{ "at once", { 0, 0 }, true },
		{ "just before the first end", { COOKIE_MS - 1, 0 }, true },
		{ "the secret before", { COOKIE_MS, 0 }, true },
		{ "just before the second end", { COOKIE_MS, COOKIE_MS - 1 }, true },
		{ "after the second", { COOKIE_MS, COOKIE_MS }, false },
		{ "long after, nobody having looked", { 0, 2 * COOKIE_MS }, false },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		kit_clock_init(&w->b_clock, 5);
		handshake_server_init(&w->server, &w->b, NULL, &w->b_clock.clock);
		get_cookie(w);
		for (size_t k = 0; k < 2; k++) {
			w->b_clock.now_ms += cases[i].waits_ms[k];
			if (k == 0)
				handshake_server_tick(&w->server, &w->b_clock.clock);
		}
		dial_anew(w, address, sizeof address); /* which looks at the clock itself */
		if (cases[i].pass)
			expect_challenge(w);
		else
			expect_another_cookie(w, cases[i].name);
	}
}

/* A cookie that does not help twice would go on for ever. */
static void one_cookie_is_enough(void **state)
{
	struct world *w = *state;
	uint8_t cookie[HANDSHAKE_MESSAGE_MAX] = { KIT_COOKIE };

	get_cookie(w);
	refuse(w->client, cookie, COOKIE_SIZE, -EPROTO, "a second cookie");
	get_cookie(w);
	memset(w->hello + HELLO_SIZE - 16, 0, 16);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "a second hello without");
}

static void cookies_are_for_those_who_name_us(void **state)
{
	struct world *w = *state;

	w->server.loaded = true;
	begin_to(w, 7, &w->m.public);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "names another");
}

static void seeds_rotate(void **state)
{
	struct world *w = *state;
	struct puzzle_seed first = w->server.seed[0], second;

	w->b_clock.now_ms = SEED_MS - 1;
	handshake_server_tick(&w->server, &w->b_clock.clock);
	assert_memory_equal(&w->server.seed[0], &first, sizeof first);
	w->b_clock.now_ms = SEED_MS;
	handshake_server_tick(&w->server, &w->b_clock.clock);
	assert_memory_not_equal(&w->server.seed[0], &first, sizeof first);
	assert_memory_equal(&w->server.seed[1], &first, sizeof first);
	second = w->server.seed[0];
	handshake_server_tick(&w->server, &w->b_clock.clock);
	assert_memory_equal(&w->server.seed[0], &second, sizeof first);
	w->b_clock.now_ms += 2 * SEED_MS;
	handshake_server_tick(&w->server, &w->b_clock.clock);
	assert_memory_not_equal(&w->server.seed[1], &second, sizeof first);
	assert_memory_not_equal(&w->server.seed[0], &second, sizeof first);
}

static void a_puzzle_outlives_one_rotation(void **state)
{
	struct world *w = *state;

	for (unsigned rotations = 0; rotations <= 2; rotations++) {
		begin(w, 7 + rotations); /* else it would draw the same seeds again */
		say_challenge(w);
		give(w->client, w->earn, EARN_SIZE);
		for (unsigned i = 0; i < rotations; i++) {
			w->b_clock.now_ms += SEED_MS;
			handshake_server_tick(&w->server, &w->b_clock.clock);
		}
		if (rotations < 2)
			pass(w->dialled, w->earn, EARN_SIZE);
		else
			refuse(w->dialled, w->earn, EARN_SIZE, -EKEYREJECTED, "two rotations later");
	}
}

static void a_puzzle_is_solved_before_the_answer(void **state)
{
	struct world *w = *state;
	struct puzzle puzzle, none;
	struct puzzle_search search = { 0 };
	struct handshake_keys keys[2];

	w->server.effort = 1;
	begin(w, 7);
	assert_false(handshake_puzzle(w->client, &none));
	say_challenge(w);
	assert_int_equal(handshake_give(w->client, w->earn), 0);
	assert_false(handshake_done(w->client, NULL));
	assert_false(handshake_puzzle(w->dialled, &none));
	assert_true(handshake_puzzle(w->client, &puzzle));
	assert_int_equal(puzzle.effort, 1);
	assert_true(id_equal(&puzzle.server, &w->b.public) && id_equal(&puzzle.client, &w->a.public));

	assert_true(puzzle_solve(&puzzle, &search, UINT64_MAX));
	handshake_solved(w->client, &search.found);
	assert_false(handshake_puzzle(w->client, &none));
	give(w->client, w->earn, EARN_SIZE);
	pass(w->dialled, w->earn, EARN_SIZE);
	expect_same_keys(w->client, w->dialled, keys);
	assert_int_equal(keys[1].effort, 1);
}

static void what_was_not_earned_is_refused(void **state)
{
	static const struct {
		const char *name;
		uint32_t asked, paid;
		int wrong; /* 1: a nonce, 2: of another session, 3: none at all */
		bool pass;
	} cases[] = {
		{ "what is asked", 1, 1, 0, true },
		{ "more than is asked", 1, 3, 0, true },
		{ "less than is asked", 2, 1, 0, false },
		{ "nothing", 1, 0, 0, false },
		{ "a wrong nonce", 1, 1, 1, false },
		{ "of another session", 1, 1, 2, false },
		{ "only claimed", 1, EFFORT_MAX, 3, false },
		{ "claimed above the limit", 1, EFFORT_MAX + 1, 3, false },
		{ "claimed where nothing is asked", 0, 1, 3, false },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct claim claim = { .client = w->a.public };
		struct puzzle_search search = { 0 };
		struct handshake_keys keys;
		struct model a;
		struct id h2;

		w->server.effort = cases[i].asked;
		model_to_h3(w, &a, &nobody, &h2);
		struct puzzle puzzle = {
			.server = w->b.public, .client = w->a.public, .h2 = h2, .seed = w->server.seed[0], .effort = cases[i].paid,
		};
		puzzle.h2.bytes[0] ^= cases[i].wrong == 2;
		if (cases[i].wrong != 3)
			assert_true(puzzle_solve(&puzzle, &search, UINT64_MAX));
		search.found.effort = cases[i].paid;
		search.found.nonces[7] += cases[i].wrong == 1;
		claim.solution = search.found;
		model_earn(&a, w->earn, &w->a, &w->b.public, &claim);
		if (!cases[i].pass) {
			refuse(w->dialled, w->earn, EARN_SIZE, -EKEYREJECTED, cases[i].name);
			continue;
		}
		pass(w->dialled, w->earn, EARN_SIZE);
		assert_true(handshake_done(w->dialled, &keys));
		assert_int_equal(keys.effort, cases[i].paid);
	}
}

static void too_much_effort_is_not_paid(void **state)
{
	static const struct {
		uint32_t effort;
		bool pass;
	} cases[] = { { 1, true }, { EFFORT_MAX, true }, { EFFORT_MAX + 1, false }, { UINT32_MAX, false } };
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct offer offer = { .server = w->b.public, .effort = cases[i].effort };
		struct puzzle puzzle;
		struct model b;

		begin(w, 7);
		give(w->client, w->hello, HELLO_SIZE);
		model_init(&b, 99);
		model_begin(&b, &nobody, w->hello);
		model_meet(&b, w->hello + 5, false);
		model_challenge(&b, w->challenge, &w->b, &offer);
		if (!cases[i].pass) {
			refuse(w->client, w->challenge, CHALLENGE_SIZE, -EPROTO, "over the limit");
			continue;
		}
		pass(w->client, w->challenge, CHALLENGE_SIZE);
		assert_true(handshake_puzzle(w->client, &puzzle));
		assert_int_equal(puzzle.effort, cases[i].effort);
	}

	/* And an honest server never asks for more, whatever its controller says. */
	w->server.effort = UINT32_MAX;
	begin(w, 7);
	say_challenge(w);
	struct puzzle puzzle;
	assert_true(handshake_puzzle(w->client, &puzzle));
	assert_int_equal(puzzle.effort, EFFORT_MAX);
}

/* One message each way until nobody has anything to say. */
static void talk(struct handshake *from, struct handshake *to)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];

	for (size_t size; (size = handshake_give(from, message)) > 0;) {
		if (handshake_take(to, message, size) < 0)
			return;
		struct handshake *other = from;
		from = to;
		to = other;
	}
}

static void without_memory_nobody_finishes(void **state)
{
	struct world *w = *state;
	struct handshake_keys keys[2];
	bool failed = true;
	unsigned n;

	for (n = 1; failed; n++) {
		begin(w, 7);
		handshake_free(w->client);
		handshake_free(w->dialled);
		allocations_arm(n);
		w->client = handshake_new_client(&w->a, NULL, NULL, &w->a_clock.clock);
		w->dialled = handshake_new_server(&w->server, address, sizeof address, &w->b_clock.clock);
		if (w->client && w->dialled)
			talk(w->client, w->dialled);
		failed = allocations_disarm();
		if (failed && w->dialled)
			assert_false(handshake_done(w->dialled, NULL));
	}
	assert_in_range(n, 6, 10); /* two ends, two signatures, two checks */
	expect_same_keys(w->client, w->dialled, keys);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_WORLD(a_loaded_server_asks_for_its_cookie),
		WITH_WORLD(a_cookie_is_of_one_address),
		WITH_WORLD(a_cookie_is_of_one_key),
		WITH_WORLD(a_cookie_lives_two_minutes_and_once_more),
		WITH_WORLD(one_cookie_is_enough),
		WITH_WORLD(cookies_are_for_those_who_name_us),
		WITH_WORLD(seeds_rotate),
		WITH_WORLD(a_puzzle_outlives_one_rotation),
		WITH_WORLD(a_puzzle_is_solved_before_the_answer),
		WITH_WORLD(what_was_not_earned_is_refused),
		WITH_WORLD(too_much_effort_is_not_paid),
		WITH_WORLD(without_memory_nobody_finishes),
	};

	if (sodium_init() < 0)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
