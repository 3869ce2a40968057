/*
 * shelf.h - for tests of what stands on pieces: a piece store in memory, which
 * counts its calls and can be made to fail, and texts that are the same everywhere.
 *
 * After cmocka.h.  bench_open() and bench_close() are a test's setup and teardown.
 */
#ifndef SHELF_H
#define SHELF_H

#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <zlib.h>

#include "content.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define ROOMY (64 * MIB) /* a cache that never evicts in these tests */

/* ---- a store in memory, which counts and can be made to fail ---- */

struct kept {
	struct id name;
	struct piece_ref ref;
	uint8_t *member;
	UT_hash_handle hh;
};

struct known {
	struct id text_id;
	struct piece_ref ref;
	UT_hash_handle hh;
};

struct shelf {
	struct kept *pieces;
	struct known *texts;
	pthread_mutex_t lock;
	unsigned puts, gets, finds;
	unsigned fail_put, fail_find; /* the how manieth call fails; 0: none */
	int error;
	int get_error;
};

static inline void shelf_keep(struct shelf *shelf, const struct piece_ref *ref, const uint8_t *member)
{
	struct kept *kept;

	HASH_FIND(hh, shelf->pieces, &ref->name, sizeof(ref->name), kept);
	if (kept)
		return;
	kept = calloc(1, sizeof(*kept));
	assert_non_null(kept);
	kept->name = ref->name;
	kept->ref = *ref;
	kept->member = malloc(ref->stored_size);
	assert_non_null(kept->member);
	memcpy(kept->member, member, ref->stored_size);
	HASH_ADD(hh, shelf->pieces, name, sizeof(kept->name), kept);
}

static inline int shelf_put(void *context, const struct id *text_id, const struct piece_ref *offer,
		     const uint8_t *member, struct piece_ref *out)
{
	struct shelf *shelf = context;

	if (++shelf->puts == shelf->fail_put)
		return shelf->error;
	shelf_keep(shelf, offer, member);

	struct known *known = calloc(1, sizeof(*known));
	assert_non_null(known);
	known->text_id = *text_id;
	known->ref = *offer;
	HASH_ADD(hh, shelf->texts, text_id, sizeof(known->text_id), known);
	*out = *offer;
	return 0;
}

static inline int shelf_find_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	struct shelf *shelf = context;
	struct known *known;

	if (++shelf->finds == shelf->fail_find)
		return shelf->error;
	HASH_FIND(hh, shelf->texts, text_id, sizeof(*text_id), known);
	if (!known)
		return 0;
	*out = known->ref;
	return 1;
}

static inline struct kept *shelf_find(struct shelf *shelf, const struct id *name)
{
	struct kept *kept;

	HASH_FIND(hh, shelf->pieces, name, sizeof(*name), kept);
	return kept;
}

static inline ssize_t shelf_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct shelf *shelf = context;

	pthread_mutex_lock(&shelf->lock);
	shelf->gets++;
	struct kept *kept = shelf_find(shelf, name);
	pthread_mutex_unlock(&shelf->lock);
	if (shelf->get_error)
		return shelf->get_error;
	if (!kept)
		return -ENOENT;
	assert_true(kept->ref.stored_size <= out_size);
	memcpy(out, kept->member, kept->ref.stored_size);
	return (ssize_t)kept->ref.stored_size;
}

static inline void shelf_remove(struct shelf *shelf, const struct id *name)
{
	struct kept *kept = shelf_find(shelf, name);

	assert_non_null(kept);
	HASH_DEL(shelf->pieces, kept);
	free(kept->member);
	free(kept);
}

/* ---- what every test has ---- */

struct bench {
	struct shelf shelf;
	struct piece_store store;
	struct packer *packer;
	struct piece_cache *cache;
};

static inline int bench_open(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	assert_non_null(b);
	pthread_mutex_init(&b->shelf.lock, NULL);
	b->store = (struct piece_store){
		.put = shelf_put,
		.find_text = shelf_find_text,
		.get = shelf_get,
		.context = &b->shelf,
	};
	b->packer = packer_new();
	b->cache = piece_cache_new(ROOMY);
	assert_non_null(b->packer);
	assert_non_null(b->cache);
	*state = b;
	return 0;
}

static inline int bench_close(void **state)
{
	struct bench *b = *state;
	struct known *known, *known_next;

	while (b->shelf.pieces)
		shelf_remove(&b->shelf, &b->shelf.pieces->name);
	HASH_ITER(hh, b->shelf.texts, known, known_next) {
		HASH_DEL(b->shelf.texts, known);
		free(known);
	}
	piece_cache_free(b->cache);
	packer_free(b->packer);
	pthread_mutex_destroy(&b->shelf.lock);
	free(b);
	return 0;
}

static inline void cache_renew(struct bench *b, size_t size_max)
{
	piece_cache_free(b->cache);
	b->cache = piece_cache_new(size_max);
	assert_non_null(b->cache);
}

/* xorshift64*: the same bytes on every machine. */
static inline uint64_t noise_next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

static inline uint8_t *noise_new(size_t size, uint64_t seed)
{
	uint8_t *text = malloc(size + 8);
	assert_non_null(text);
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = htole64(noise_next(&seed));

		memcpy(text + i, &word, 8);
	}
	return text;
}

/* Text that compresses about as prose does. */
static inline uint8_t *prose_new(size_t size, uint64_t seed)
{
	static const char *const words[16] = {
		"soil ", "seed ", "water ", "the ", "a ", "garden ", "of ", "to ",
		"winter ", "and ", "tomato ", "grow ", "in ", "light\n", "leaf ", "is ",
	};
	uint8_t *text = malloc(size + 8);
	assert_non_null(text);
	for (size_t i = 0; i < size;) {
		const char *word = words[noise_next(&seed) >> 60];

		for (; *word && i < size; word++)
			text[i++] = (uint8_t)*word;
	}
	return text;
}

static inline void write_ok(struct bench *b, const uint8_t *text, size_t size, struct content *out)
{
	assert_int_equal(content_write_bytes(b->packer, &b->store, text, size, out), 0);
	assert_int_equal(content_check(out), 0);
}

/* A piece as another node may have made it. */
static inline void make_piece(struct bench *b, const void *text, size_t size, struct piece_ref *out)
{
	static uint8_t member[PIECE_STORED_MAX];
	ssize_t member_size = piece_deflate(b->packer, text, size, member);

	assert_true(member_size > 0);
	*out = (struct piece_ref){ .text_size = size, .stored_size = (uint32_t)member_size };
	id_of_bytes(&out->name, member, (size_t)member_size);
	shelf_keep(&b->shelf, out, member);
}

/* ---- the format, told again ---- */

/* The table of the cutter. */
static inline void gear_make(uint64_t gear[256])
{
	for (unsigned i = 0; i < 256; i++) {
		uint8_t seed[15] = "mootfs gear 1";
		uint8_t hash[32];

		seed[14] = (uint8_t)i;
		crypto_generichash(hash, sizeof(hash), seed, sizeof(seed), NULL, 0);
		gear[i] = 0;
		for (unsigned k = 0; k < 8; k++)
			gear[i] |= (uint64_t)hash[k] << (8 * k);
	}
}

static const uint8_t gzip_header[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff };

/* A member by zlib, which differs in bytes; its header made ours. */
static inline size_t zlib_member(const uint8_t *text, size_t size, int level, uint8_t *out, size_t out_size)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)text;
	z.avail_in = (uInt)size;
	z.next_out = out;
	z.avail_out = (uInt)out_size;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t member_size = z.total_out;
	deflateEnd(&z);
	memcpy(out, gzip_header, sizeof(gzip_header));
	return member_size;
}

#endif
