#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "handshake_kit.h"
#include "net_limits.h"
#include "puzzle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The i-th puzzle, always the same. */
static struct puzzle puzzle_of(uint64_t i, uint32_t effort)
{
	struct puzzle p = { .effort = effort };
	struct kit_clock clock;

	kit_clock_init(&clock, i);
	clock_random(&clock.clock, &p.server, sizeof p.server);
	clock_random(&clock.clock, &p.client, sizeof p.client);
	clock_random(&clock.clock, &p.h2, sizeof p.h2);
	clock_random(&clock.clock, &p.seed, sizeof p.seed);
	return p;
}

static struct solution solve(const struct puzzle *p)
{
	struct puzzle_search search = { 0 };

	assert_true(puzzle_solve(p, &search, UINT64_MAX));
	return search.found;
}

/* DESIGN 7.2 word for word: R * D <= 2^64 - 1 is a product without its upper half. */
static bool model_part_holds(const struct puzzle *p, uint32_t effort, unsigned part, uint64_t nonce)
{
	uint64_t d = ((uint64_t)effort * 4096 + 7) / 8, r = 0, product;
	struct flat f = { .size = 0 };
	uint8_t hash[16];

	flat_label(&f, "mootfs puzzle 1");
	flat_put(&f, p->server.bytes, 32);
	flat_put(&f, p->client.bytes, 32);
	flat_put(&f, p->h2.bytes, 32);
	flat_put(&f, p->seed.bytes, 32);
	flat_little(&f, effort, 4);
	flat_little(&f, part, 1);
	flat_little(&f, nonce, 8);
	crypto_generichash(hash, sizeof hash, f.bytes, f.size, NULL, 0);
	for (unsigned i = 0; i < 8; i++)
		r |= (uint64_t)hash[i] << (8 * i);
	return !__builtin_mul_overflow(r, d, &product);
}

static void known_solutions(void **state)
{
	static const struct {
		uint64_t puzzle;
		uint32_t effort;
		uint64_t nonces[PUZZLE_PARTS];
	} cases[] = {
		{ 1, 0, { 0 } },
		{ 1, 1, { 70, 449, 1, 158, 1296, 500, 344, 694 } },
		{ 2, 1, { 2375, 88, 211, 226, 401, 192, 153, 503 } },
		{ 3, 5, { 84, 1431, 5675, 1852, 3706, 5941, 2205, 4144 } },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct puzzle p = puzzle_of(cases[i].puzzle, cases[i].effort);
		struct solution s = solve(&p);

		assert_int_equal(s.effort, cases[i].effort);
		assert_memory_equal(s.nonces, cases[i].nonces, sizeof s.nonces);
		assert_true(puzzle_check(&p, &s));
	}
}

/* The least nonce that holds, part by part. */
static void the_search_is_as_the_model_says(void **state)
{
	for (uint32_t effort = 1; effort < 4; effort++) {
		struct puzzle p = puzzle_of(effort, effort);
		struct solution s = solve(&p);

		for (unsigned part = 0; part < PUZZLE_PARTS; part++) {
			for (uint64_t nonce = 0; nonce <= s.nonces[part]; nonce++)
				assert_int_equal(model_part_holds(&p, effort, part, nonce), nonce == s.nonces[part]);
		}
	}
}

static void a_search_can_be_cut_up(void **state)
{
	struct puzzle p = puzzle_of(5, 1);
	struct puzzle_search search = { 0 };
	struct solution whole = solve(&p);
	uint64_t hashes = PUZZLE_PARTS, turns = 0;

	for (unsigned part = 0; part < PUZZLE_PARTS; part++)
		hashes += whole.nonces[part];
	assert_false(puzzle_solve(&p, &search, 0));
	while (!puzzle_solve(&p, &search, 7))
		turns++;
	assert_int_equal(turns, (hashes - 1) / 7);
	assert_memory_equal(&search.found, &whole, sizeof whole);
	assert_true(puzzle_solve(&p, &search, 0)); /* stays solved */
}

static void a_solution_is_of_one_puzzle(void **state)
{
	const struct puzzle p = puzzle_of(9, 2);
	const struct solution s = solve(&p);
	const struct {
		const char *name;
		size_t at;
	} fields[] = {
		{ "server", offsetof(struct puzzle, server) },
		{ "client", offsetof(struct puzzle, client) },
		{ "h2", offsetof(struct puzzle, h2) },
		{ "seed", offsetof(struct puzzle, seed) },
	};

	assert_true(puzzle_check(&p, &s));
	for (size_t i = 0; i < COUNT(fields); i++) {
		for (size_t bit = 0; bit < 256; bit++) {
			struct puzzle other = p;
			((uint8_t *)&other)[fields[i].at + bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (puzzle_check(&other, &s))
				fail_msg("%s, bit %zu", fields[i].name, bit);
		}
	}
	/* Two of the same hash swapped. */
	struct puzzle swapped = p;
	swapped.server = p.client;
	swapped.client = p.server;
	assert_false(puzzle_check(&swapped, &s));
}

static void a_wrong_solution_is_refused(void **state)
{
	const struct puzzle p = puzzle_of(10, 2);
	const struct solution s = solve(&p);
	struct solution wrong = s;

	for (unsigned part = 0; part < PUZZLE_PARTS; part++) {
		wrong.nonces[part]++;
		assert_false(puzzle_check(&p, &wrong));
		wrong.nonces[part] -= s.nonces[part] > 0 ? 2 : 1; /* the one before does not hold either */
		assert_false(puzzle_check(&p, &wrong));
		wrong = s;
	}
	/* What holds for one part does not for another. */
	wrong.nonces[0] = s.nonces[1];
	wrong.nonces[1] = s.nonces[0];
	assert_false(puzzle_check(&p, &wrong));
}

static void effort_is_what_was_hashed(void **state)
{
	static const struct {
		const char *name;
		uint32_t asked, solved, claimed;
		bool pass;
	} cases[] = {
		{ "as asked", 2, 2, 2, true },
		{ "more than asked", 1, 3, 3, true },
		{ "where nothing is asked", 0, 2, 2, true },
		{ "nothing where nothing is asked", 0, 0, 0, true },
		{ "less than asked", 3, 2, 2, false },
		{ "nothing", 1, 0, 0, false },
		{ "more claimed than solved", 1, 2, 3, false },
		{ "less claimed than solved", 1, 3, 2, false },
		{ "the greatest claimed", 0, 0, UINT32_MAX, false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct puzzle p = puzzle_of(11, cases[i].solved);
		struct solution s = solve(&p);

		p.effort = cases[i].asked;
		s.effort = cases[i].claimed;
		if (puzzle_check(&p, &s) != cases[i].pass)
			fail_msg("%s", cases[i].name);
	}
}

/* Half a minute each to find: what is above the limit is refused although it was paid. */
static void effort_has_a_limit(void **state)
{
	static const struct {
		struct solution solution;
		bool pass;
	} cases[] = {
		{ { 20000, { 3495850, 12851438, 11371736, 95538, 14151447, 18973416, 11603178, 10392918 } }, true },
		{ { 20001, { 2773471, 927599, 15311105, 12152070, 21350363, 12909253, 7582372, 13461181 } }, false },
	};

	assert_int_equal(EFFORT_MAX, 20000);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct puzzle p = puzzle_of(12, 0);

		assert_int_equal(puzzle_check(&p, &cases[i].solution), cases[i].pass);
		for (unsigned part = 0; part < PUZZLE_PARTS; part++)
			assert_true(model_part_holds(&p, cases[i].solution.effort, part, cases[i].solution.nonces[part]));
	}
}

/*
 * A unit is 4096 hashes: the mean of 100 puzzles lies within 15 % (four deviations), and eight parts keep the
 * slowest below 3.5 times and the fastest above a fifth.  The puzzles are always the same, so this never wavers.
 */
static void a_unit_is_some_4096_hashes(void **state)
{
	static const uint32_t efforts[] = { 1, 3 };

	for (size_t e = 0; e < COUNT(efforts); e++) {
		uint64_t all = 0, least = UINT64_MAX, most = 0, expected = efforts[e] * UINT64_C(4096);
		const uint64_t count = 100;

		for (uint64_t i = 0; i < count; i++) {
			struct puzzle p = puzzle_of(1000 + i, efforts[e]);
			struct solution s = solve(&p);
			uint64_t hashes = PUZZLE_PARTS;
			for (unsigned part = 0; part < PUZZLE_PARTS; part++)
				hashes += s.nonces[part];
			all += hashes;
			least = hashes < least ? hashes : least;
			most = hashes > most ? hashes : most;
		}
		assert_in_range(all / count, expected * 85 / 100, expected * 115 / 100);
		assert_in_range(least, expected / 5, expected);
		assert_in_range(most, expected, expected * 7 / 2);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_solutions),
		cmocka_unit_test(the_search_is_as_the_model_says),
		cmocka_unit_test(a_search_can_be_cut_up),
		cmocka_unit_test(a_solution_is_of_one_puzzle),
		cmocka_unit_test(a_wrong_solution_is_refused),
		cmocka_unit_test(effort_is_what_was_hashed),
		cmocka_unit_test(effort_has_a_limit),
		cmocka_unit_test(a_unit_is_some_4096_hashes),
	};

	if (sodium_init() < 0)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
