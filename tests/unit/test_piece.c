#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "shelf.h"

/* ---- the cutter ---- */

/* The cutter as moot-store(5) tells it, slowly, with the table made anew. */
static size_t model_cut(const uint64_t gear[256], const uint8_t *text, size_t size)
{
	uint64_t fingerprint = 0;

	for (size_t i = 4096; i < size && i < 65536; i++) {
		fingerprint = fingerprint * 2 + gear[text[i]];
		if (fingerprint >> (i < 16384 ? 48 : 52) == 0)
			return i + 1;
	}
	return size < 65536 ? size : 65536;
}

static void test_cut_follows_the_model(void **state)
{
	uint64_t gear[256];
	size_t count = 0;

	gear_make(gear);
	for (uint64_t seed = 1; seed <= 4; seed++) {
		size_t size = 4 * MIB;
		uint8_t *text = seed % 2 ? noise_new(size, seed) : prose_new(size, seed);

		for (size_t at = 0; at < size; count++) {
			size_t cut = piece_cut(text + at, size - at);

			assert_int_equal(cut, model_cut(gear, text + at, size - at));
			at += cut;
		}
		free(text);
	}
	assert_in_range(count, 16 * MIB / (32 * KIB), 16 * MIB / (8 * KIB));
}

static void test_cut_of_each_byte_value(void **state)
{
	uint64_t gear[256];
	uint8_t *text = noise_new(PIECE_TEXT_MAX, 5);

	/* A wrong entry of the table shows where its byte stands before every cut. */
	gear_make(gear);
	for (unsigned value = 0; value < 256; value++) {
		for (size_t i = 0; i < PIECE_TEXT_MAX; i += 16)
			text[i] = (uint8_t)value;
		assert_int_equal(piece_cut(text, PIECE_TEXT_MAX), model_cut(gear, text, PIECE_TEXT_MAX));
	}
	free(text);
}

static void test_cut_bounds(void **state)
{
	static const struct {
		const char *name;
		size_t size, expected;
	} cases[] = {
		{ "nothing", 0, 0 },
		{ "a byte", 1, 1 },
		{ "the least", 4096, 4096 },
		{ "one more", 4097, 4097 },
		{ "the most", 65536, 65536 },
		{ "over the most", 65537, 65536 },
		{ "much", 200000, 65536 },
	};
	uint8_t *zeroes = calloc(1, 200000);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (piece_cut(zeroes, cases[i].size) != cases[i].expected)
			fail_msg("%s", cases[i].name);
	}
	free(zeroes);
}

/* A cutter that cuts otherwise shares no pieces with what peers keep: these numbers are for ever. */
static void test_cut_is_what_it_was(void **state)
{
	static const size_t expected[] = {
		4701, 16804, 17404, 17934, 19240, 25181, 22460, 16847, 22058, 21862,
		17109, 19227, 17899, 17980, 16721, 10170, 19741, 18125, 23588, 22731,
	};
	uint8_t *text = noise_new(MIB, 42);
	size_t at = 0;

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		size_t cut = piece_cut(text + at, MIB - at);

		assert_int_equal(cut, expected[i]);
		at += cut;
	}
	free(text);
}

/* ---- one piece ---- */

static void test_piece_round_trip(void **state)
{
	static const size_t sizes[] = { 0, 1, 2, 100, 4095, 4096, 4097, 32768, 65535, 65536 };
	struct bench *b = *state;
	static uint8_t member[PIECE_STORED_MAX], back[PIECE_TEXT_MAX];

	for (size_t i = 0; i < 3 * sizeof(sizes) / sizeof(*sizes); i++) {
		size_t size = sizes[i / 3];
		uint8_t *text = i % 3 == 0 ? noise_new(size, 7) : i % 3 == 1 ? prose_new(size, 7) :
							  calloc(1, size + 1);
		ssize_t member_size = piece_deflate(b->packer, text, size, member);

		assert_in_range(member_size, PIECE_STORED_MIN, PIECE_STORED_MAX);
		assert_memory_equal(member, gzip_header, sizeof(gzip_header));
		assert_int_equal(piece_inflate(b->packer, member, (size_t)member_size, back), size);
		assert_memory_equal(back, text, size);
		free(text);
	}
	assert_int_equal(piece_deflate(b->packer, back, PIECE_TEXT_MAX + 1, member), -EMSGSIZE);
}

static void test_piece_of_another_compressor(void **state)
{
	struct bench *b = *state;
	static uint8_t member[PIECE_STORED_MAX], back[PIECE_TEXT_MAX];
	uint8_t *text = prose_new(PIECE_TEXT_MAX, 8);

	for (int level = 0; level <= 9; level++) {
		size_t size = zlib_member(text, PIECE_TEXT_MAX, level, member, sizeof(member));

		assert_int_equal(piece_inflate(b->packer, member, size, back), PIECE_TEXT_MAX);
		assert_memory_equal(back, text, PIECE_TEXT_MAX);
	}
	free(text);
}

/* From an exactly sized heap block, so that a look past the end is seen. */
static ssize_t inflate_exactly(struct bench *b, const uint8_t *member, size_t size)
{
	static uint8_t back[PIECE_TEXT_MAX];
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, member, size);
	ssize_t result = piece_inflate(b->packer, copy, size, back);
	free(copy);
	return result;
}

static void test_piece_refuses_other_bytes(void **state)
{
	struct bench *b = *state;
	static uint8_t member[PIECE_STORED_MAX], twice[2 * PIECE_STORED_MAX];
	uint8_t *text = prose_new(1000, 9);
	size_t size = (size_t)piece_deflate(b->packer, text, 1000, member);

	assert_int_equal(inflate_exactly(b, member, size), 1000);
	for (size_t prefix = 0; prefix < size; prefix++)
		assert_int_equal(inflate_exactly(b, member, prefix), -EBADMSG);
	for (size_t i = 0; i < size; i++) {
		/* The header, the checksum and the size: each bit. The deflate stream: what it inflates to. */
		for (unsigned bit = 0; bit < 8; bit++) {
			member[i] ^= (uint8_t)(1u << bit);
			ssize_t result = inflate_exactly(b, member, size);
			member[i] ^= (uint8_t)(1u << bit);
			if (result != -EBADMSG && (i < 10 || i >= size - 8))
				fail_msg("byte %zu bit %u", i, bit);
			assert_true(result == -EBADMSG || result == 1000);
		}
	}

	memcpy(twice, member, size);
	memcpy(twice + size, member, size);
	assert_int_equal(inflate_exactly(b, twice, 2 * size), -EBADMSG);
	twice[size] = 0;
	assert_int_equal(inflate_exactly(b, twice, size + 1), -EBADMSG);
	free(text);
}

static void test_piece_refuses_too_much_text(void **state)
{
	struct bench *b = *state;
	static uint8_t member[PIECE_STORED_MAX];
	uint8_t *zeroes = calloc(1, 10 * MIB);

	size_t size = zlib_member(zeroes, PIECE_TEXT_MAX + 1, 9, member, sizeof(member));
	assert_int_equal(inflate_exactly(b, member, size), -EBADMSG);
	size = zlib_member(zeroes, 10 * MIB, 9, member, sizeof(member));
	assert_int_equal(inflate_exactly(b, member, size), -EBADMSG);
	free(zeroes);
}

/* ---- the cache ---- */

static void test_cache_is_bounded(void **state)
{
	struct bench *b = *state;
	uint8_t *text = noise_new(10 * 40000, 61), byte;
	struct content content = { .size = 10 * 40000, .count = 10 };

	for (size_t i = 0; i < 10; i++)
		make_piece(b, text + i * 40000, 40000, &content.pieces[i]);
	cache_renew(b, 4 * 41000);

	for (unsigned round = 0; round < 3; round++) { /* four fit: each is got once */
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(content_read(b->cache, &b->store, &content, &byte, 1, i * 40000), 1);
	}
	assert_int_equal(b->shelf.gets, 4);

	/* The fifth takes the place of the one not used for longest: the second. */
	content_read(b->cache, &b->store, &content, &byte, 1, 0);
	content_read(b->cache, &b->store, &content, &byte, 1, 4 * 40000);
	assert_int_equal(b->shelf.gets, 5);
	content_read(b->cache, &b->store, &content, &byte, 1, 0);
	assert_int_equal(b->shelf.gets, 5);
	content_read(b->cache, &b->store, &content, &byte, 1, 1 * 40000);
	assert_int_equal(b->shelf.gets, 6);

	for (unsigned i = 0; i < 30; i++) /* ten do not fit: each is got each time */
		content_read(b->cache, &b->store, &content, &byte, 1, i % 10 * 40000);
	assert_in_range(b->shelf.gets, 6 + 26, 6 + 30);

	cache_renew(b, 100); /* none fits */
	unsigned gets = b->shelf.gets;
	for (unsigned i = 0; i < 3; i++)
		content_read(b->cache, &b->store, &content, &byte, 1, 0);
	assert_int_equal(b->shelf.gets, gets + 3);
	free(text);
}

struct reader {
	struct bench *bench;
	const struct content *content;
	const uint8_t *text;
	uint64_t seed;
	unsigned wrong;
};

static void *read_ranges(void *context)
{
	struct reader *r = context;
	uint8_t *back = malloc(100000);

	for (unsigned i = 0; i < 60; i++) {
		size_t offset = (size_t)(noise_next(&r->seed) % (r->content->size - 100000));
		size_t size = (size_t)(noise_next(&r->seed) % 100000);

		if (content_read(r->bench->cache, &r->bench->store, r->content, back, size, offset) != (ssize_t)size ||
		    memcmp(back, r->text + offset, size) != 0)
			r->wrong++;
	}
	free(back);
	return NULL;
}

static void test_threads_share_the_cache(void **state)
{
	static const size_t cache_sizes[] = { 0, 200000, ROOMY };
	struct bench *b = *state;
	size_t size = 3 * MIB;
	uint8_t *text = prose_new(size, 71);
	struct content content;

	write_ok(b, text, size, &content);
	for (size_t i = 0; i < sizeof(cache_sizes) / sizeof(*cache_sizes); i++) {
		struct reader readers[12];
		pthread_t threads[12];

		cache_renew(b, cache_sizes[i]);
		for (unsigned k = 0; k < 12; k++) {
			readers[k] = (struct reader){ b, &content, text, 100 + k, 0 };
			assert_int_equal(pthread_create(&threads[k], NULL, read_ranges, &readers[k]), 0);
		}
		for (unsigned k = 0; k < 12; k++) {
			pthread_join(threads[k], NULL);
			assert_int_equal(readers[k].wrong, 0);
		}
	}
	free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_open, bench_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cut_follows_the_model),
		TEST(test_cut_of_each_byte_value),
		TEST(test_cut_bounds),
		TEST(test_cut_is_what_it_was),
		TEST(test_piece_round_trip),
		TEST(test_piece_of_another_compressor),
		TEST(test_piece_refuses_other_bytes),
		TEST(test_piece_refuses_too_much_text),
		TEST(test_cache_is_bounded),
		TEST(test_threads_share_the_cache),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
