#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "follow.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct id entity(uint64_t number)
{
	struct id id;

	id_of_bytes(&id, &number, sizeof number);
	return id;
}

static void key_of(uint8_t out[FOLLOW_KEY_SIZE], uint64_t session)
{
	struct id cb = entity(1000000 + session);

	follow_key(out, &cb);
}

static void sizes_are_bounded(void **state)
{
	static const struct {
		const char *name;
		uint64_t count;
		size_t size;
	} cases[] = {
		{ "nobody", 0, FOLLOW_SIZE_MIN },
		{ "as many as the least holds", 51, FOLLOW_SIZE_MIN },
		{ "one more", 52, 65 },
		{ "a thousand", 1000, 1250 },
		{ "as many as the greatest holds", 6553, FOLLOW_SIZE_AIM },
		{ "one more than it holds", 6554, FOLLOW_SIZE_AIM },
		{ "beyond all reason", UINT64_MAX, FOLLOW_SIZE_AIM },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		if (follow_size(cases[i].count) != cases[i].size)
			fail_msg("%s: %zu", cases[i].name, follow_size(cases[i].count));
}

/* How many of 10,000 others pass a filter with `count` entities; all of its own do. */
static unsigned strangers_that_pass(uint64_t count, uint64_t session)
{
	size_t size = follow_size(count);
	CLEANUP(cleanup_free) uint8_t *bits = calloc(size, 1);
	uint8_t key[FOLLOW_KEY_SIZE];
	unsigned passed = 0;

	assert_non_null(bits);
	key_of(key, session);
	for (uint64_t i = 0; i < count; i++) {
		struct id id = entity(i);

		follow_add(bits, size, key, &id);
	}
	for (uint64_t i = 0; i < count + 10000; i++) {
		struct id id = entity(i);
		bool follows = follow_test(bits, size, key, &id);

		if (i < count)
			assert_true(follows);
		else
			passed += follows;
	}
	return passed;
}

static void all_that_are_followed_pass_and_few_others(void **state)
{
	static const struct {
		const char *name;
		uint64_t count;
		unsigned passed_max;
	} cases[] = {
		{ "nobody is followed", 0, 0 },
		{ "one", 1, 1 },
		{ "the least filter, full", 51, 200 },
		{ "a thousand", 1000, 150 },
		{ "as many as the greatest holds", 6553, 150 },
		{ "ten thousand", 10000, 900 },
		{ "a hundred thousand", 100000, 10000 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned passed = strangers_that_pass(cases[i].count, i);

		print_message("%s: %u of 10000 others pass\n", cases[i].name, passed);
		if (passed > cases[i].passed_max)
			fail_msg("%s: %u", cases[i].name, passed);
	}
}

/* The rule of the header, worked out by another program: fixes the format. */
static void positions_are_those_of_the_header(void **state)
{
	static const uint8_t expected_key[FOLLOW_KEY_SIZE] = { 0xa3, 0x77, 0x52, 0x45, 0x97, 0x12, 0xb5, 0xb9, 0x5c, 0xa2, 0xe3, 0x19, 0x29, 0x45, 0x05, 0xa8 };
	static const unsigned expected[FOLLOW_HASHES] = { 157, 438, 207, 488, 257, 26, 307 }; /* g is even */
	uint8_t bits[FOLLOW_SIZE_MIN] = { 0 }, same[FOLLOW_SIZE_MIN] = { 0 }, key[FOLLOW_KEY_SIZE];
	struct id cb = { .bytes = { 1 } }, id = { .bytes = { 3 } };

	follow_key(key, &cb);
	assert_memory_equal(key, expected_key, sizeof key);
	follow_add(bits, sizeof bits, key, &id);
	for (size_t i = 0; i < FOLLOW_HASHES; i++)
		same[expected[i] / 8] |= (uint8_t)(1 << expected[i] % 8);
	assert_memory_equal(bits, same, sizeof bits);
}

static void sessions_have_filters_of_their_own(void **state)
{
	uint8_t bits[2][FOLLOW_SIZE_MIN] = { { 0 }, { 0 } }, key[2][FOLLOW_KEY_SIZE];
	struct id id = entity(1);

	for (unsigned i = 0; i < 2; i++) {
		key_of(key[i], i);
		follow_add(bits[i], sizeof bits[i], key[i], &id);
	}
	assert_memory_not_equal(key[0], key[1], sizeof key[0]);
	assert_memory_not_equal(bits[0], bits[1], sizeof bits[0]);
	assert_false(follow_test(bits[0], sizeof bits[0], key[1], &id));
}

static void odd_sizes_stay_within(void **state)
{
	uint8_t key[FOLLOW_KEY_SIZE];
	struct id id = entity(1);

	key_of(key, 0);
	assert_false(follow_test(NULL, 0, key, &id));
	follow_add(NULL, 0, key, &id);
	for (size_t size = 1; size < 200; size++) {
		CLEANUP(cleanup_free) uint8_t *bits = calloc(size, 1);

		assert_non_null(bits);
		follow_add(bits, size, key, &id);
		assert_true(follow_test(bits, size, key, &id));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_bounded),
		cmocka_unit_test(all_that_are_followed_pass_and_few_others),
		cmocka_unit_test(positions_are_those_of_the_header),
		cmocka_unit_test(sessions_have_filters_of_their_own),
		cmocka_unit_test(odd_sizes_stay_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
