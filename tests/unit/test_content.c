#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "bytes.h"
#include "content.h"
#include "shelf.h"

/* ---- a whole text ---- */

static int collect_member(void *context, const struct piece_ref *ref, bool is_list)
{
	void **both = context;
	struct kept *kept = shelf_find(both[0], &ref->name);

	assert_false(is_list);
	assert_non_null(kept);
	assert_int_equal(kept->ref.stored_size, ref->stored_size);
	bytes_put(both[1], kept->member, ref->stored_size);
	return 0;
}

/* The members one after the other: a gzip file. */
static void members_of(struct bench *b, const struct content *content, struct bytes *out)
{
	void *both[2] = { &b->shelf, out };

	bytes_init(out, 512 * MIB);
	assert_int_equal(content_each(b->cache, &b->store, content, false, collect_member, both), 0);
	assert_int_equal(bytes_error(out), 0);
}

/* As gunzip does: member after member. */
static void assert_gunzips_to(const struct bytes *members, const uint8_t *text, size_t size)
{
	uint8_t *back = malloc(size + 1);
	z_stream z = { .next_in = members->data, .avail_in = (uInt)members->size,
		       .next_out = back, .avail_out = (uInt)size + 1 };

	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	while (z.avail_in > 0) {
		assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
		assert_int_equal(inflateReset(&z), Z_OK);
	}
	assert_int_equal(size + 1 - z.avail_out, size);
	assert_memory_equal(back, text, size);
	inflateEnd(&z);
	free(back);
}

static void assert_reads_as(struct bench *b, const struct content *content, const uint8_t *text, size_t size)
{
	uint8_t *back = malloc(size + 10);

	assert_int_equal(content_read(b->cache, &b->store, content, back, size + 10, 0), size);
	assert_memory_equal(back, text, size);
	assert_int_equal(content_read(b->cache, &b->store, content, back, 10, size), 0);
	assert_int_equal(content_read(b->cache, &b->store, content, back, 10, size + 1), 0);
	assert_int_equal(content_read(b->cache, &b->store, content, back, 10, UINT64_MAX), 0);
	assert_int_equal(content_read(b->cache, &b->store, content, back, 0, 0), 0);
	free(back);
}

static void assert_is_text(struct bench *b, const struct content *content, const uint8_t *text, size_t size)
{
	struct id digest;
	struct bytes members;

	id_of_bytes(&digest, text, size);
	assert_int_equal(content->size, size);
	assert_memory_equal(&content->digest, &digest, sizeof(digest));
	assert_reads_as(b, content, text, size);
	members_of(b, content, &members);
	assert_gunzips_to(&members, text, size);
	bytes_finish(&members);
}

static void test_texts_of_all_sizes(void **state)
{
	static const size_t sizes[] = {
		0, 1, 2, 4095, 4096, 4097, 4098, 16383, 16384, 16385, 65535, 65536, 65537,
		131071, 131072, 131073, 200000, 64 * 4096, MIB, MIB + 1, 3 * MIB,
	};
	struct bench *b = *state;

	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) {
		size_t size = sizes[i / 2];
		uint8_t *text = i % 2 ? noise_new(size, i) : prose_new(size, i);
		struct content content;

		write_ok(b, text, size, &content);
		assert_is_text(b, &content, text, size);
		free(text);
	}
}

/* Zeroes are cut at 64 KiB, so that their number of pieces is known. */
static void test_lists_begin_at_65_pieces(void **state)
{
	static const struct {
		size_t size;
		unsigned depth, count;
	} cases[] = {
		{ 0, 0, 1 }, { 65536, 0, 1 }, { 65537, 0, 2 },
		{ 63 * 65536, 0, 63 }, { 64 * 65536 - 1, 0, 64 }, { 64 * 65536, 0, 64 },
		{ 64 * 65536 + 1, 1, 1 }, { 65 * 65536, 1, 1 }, { 80 * 65536, 1, 1 },
	};
	struct bench *b = *state;
	uint8_t *zeroes = calloc(80, 65536);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct content content;

		write_ok(b, zeroes, cases[i].size, &content);
		assert_int_equal(content.depth, cases[i].depth);
		assert_int_equal(content.count, cases[i].count);
		assert_is_text(b, &content, zeroes, cases[i].size);
	}
	free(zeroes);
}

/* Each piece ends with three bytes that make the cutter cut: 4,099 bytes, all different by their number. */
struct small_pieces {
	uint8_t end[3];
	uint64_t edited; /* a piece of another text; UINT64_MAX: none */
};

static void small_pieces_init(struct small_pieces *s)
{
	uint64_t gear[256];

	gear_make(gear);
	s->edited = UINT64_MAX;
	for (uint32_t i = 0; i < 1u << 24; i++) {
		uint64_t fingerprint = 4 * gear[i & 255] + 2 * gear[i >> 8 & 255] + gear[i >> 16];

		if (fingerprint >> 48 == 0 && gear[i & 255] >> 48 && (2 * gear[i & 255] + gear[i >> 8 & 255]) >> 48) {
			for (unsigned k = 0; k < 3; k++)
				s->end[k] = (uint8_t)(i >> (8 * k));
			return;
		}
	}
	fail_msg("no three bytes make a cut");
}

static ssize_t small_pieces_read(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	const struct small_pieces *s = context;
	size_t done = 0;

	while (done < size) {
		uint8_t piece[4099] = { 0 };
		uint64_t number = (offset + done) / sizeof(piece);
		size_t skip = (size_t)((offset + done) % sizeof(piece));
		size_t part = sizeof(piece) - skip < size - done ? sizeof(piece) - skip : size - done;

		snprintf((char *)piece, 32, "%llu%s", (unsigned long long)number,
			 number == s->edited ? " edited" : "");
		memcpy(piece + 4096, s->end, 3);
		memcpy(out + done, piece + skip, part);
		done += part;
	}
	return (ssize_t)size;
}

static void test_a_large_text_has_lists_of_lists(void **state)
{
	struct bench *b = *state;
	struct small_pieces source;
	struct content content, edited;
	uint64_t size = 120 * MIB, seed = 1;
	static uint8_t expected[200000], actual[200000];

	small_pieces_init(&source);
	assert_int_equal(content_write(b->packer, &b->store, small_pieces_read, &source, size, &content), 0);
	assert_int_equal(content_check(&content), 0);
	assert_int_equal(content.depth, 2);

	for (unsigned i = 0; i < 40; i++) {
		size_t length = (size_t)(noise_next(&seed) % sizeof(actual));
		uint64_t offset = noise_next(&seed) % (size - length);

		small_pieces_read(&source, expected, length, offset);
		assert_int_equal(content_read(b->cache, &b->store, &content, actual, length, offset), length);
		assert_memory_equal(actual, expected, length);
	}
	assert_int_equal(content_read(b->cache, &b->store, &content, actual, 100, size - 1), 1);

	/* One piece of another text: at most three new pieces at each of three depths. */
	unsigned puts = b->shelf.puts;
	source.edited = 12345;
	assert_int_equal(content_write(b->packer, &b->store, small_pieces_read, &source, size, &edited), 0);
	assert_in_range(b->shelf.puts - puts, 3, 9);
}

static int collect_ref(void *context, const struct piece_ref *ref, bool is_list)
{
	bytes_put(context, ref->name.bytes, ID_SIZE);
	bytes_put_u64(context, ref->text_size);
	bytes_put_u32(context, ref->stored_size);
	return 0;
}

/* The cutter's rule over a list, moved to the end of a ref. */
static void assert_lists_are_cut_after_a_ref(struct bench *b, const struct content *content)
{
	struct bytes list;
	size_t count = 0;

	bytes_init(&list, MIB);
	assert_int_equal(content_each(b->cache, &b->store, content, false, collect_ref, &list), 0);
	assert_int_equal(bytes_error(&list), 0);
	for (size_t at = 0; at < list.size; count++) {
		size_t cut = (piece_cut(list.data + at, list.size - at) + 43) / 44 * 44;
		struct id text_id;
		struct piece_ref kept;

		id_of_bytes(&text_id, list.data + at, cut);
		assert_int_equal(shelf_find_text(&b->shelf, &text_id, &kept), 1);
		assert_memory_equal(&kept.name, &content->pieces[count].name, ID_SIZE);
		at += cut;
	}
	assert_int_equal(count, content->count);
	assert_in_range(count, 2, 8);
	bytes_finish(&list);
}

static void test_a_changed_byte_makes_few_pieces(void **state)
{
	struct bench *b = *state;
	size_t size = 20 * MIB;
	uint8_t *text = noise_new(size + 1, 77);
	struct content content;

	write_ok(b, text, size, &content);
	assert_int_equal(content.depth, 1);
	assert_lists_are_cut_after_a_ref(b, &content);
	unsigned puts = b->shelf.puts;
	text[12345678] ^= 1;
	write_ok(b, text, size, &content);
	assert_in_range(b->shelf.puts - puts, 2, 6);

	puts = b->shelf.puts;
	memmove(text + 5000001, text + 5000000, size - 5000000);
	write_ok(b, text, size + 1, &content);
	assert_in_range(b->shelf.puts - puts, 2, 6);
	assert_reads_as(b, &content, text, size + 1);

	puts = b->shelf.puts;
	write_ok(b, text, size + 1, &content);
	assert_int_equal(b->shelf.puts, puts);
	free(text);
}

static void test_reads_of_ranges(void **state)
{
	static const size_t cache_sizes[] = { 0, 1, 70000, 300000, ROOMY };
	struct bench *b = *state;
	size_t size = 3 * MIB + 123;
	uint8_t *text = prose_new(size, 11), *back = malloc(300000);
	uint64_t seed = 12;
	struct content content;

	write_ok(b, text, size, &content);
	assert_int_equal(content.depth, 1);
	for (size_t i = 0; i < sizeof(cache_sizes) / sizeof(*cache_sizes); i++) {
		cache_renew(b, cache_sizes[i]);
		for (unsigned k = 0; k < 60; k++) {
			size_t offset = (size_t)(noise_next(&seed) % (size + 1000));
			size_t length = (size_t)(noise_next(&seed) % (k % 2 ? 300000 : 100));
			size_t left = offset < size ? size - offset : 0;
			size_t expected = length < left ? length : left;

			memset(back, 0xa5, 300000);
			assert_int_equal(content_read(b->cache, &b->store, &content, back, length, offset),
					 expected);
			assert_memory_equal(back, text + (expected ? offset : 0), expected);
			if (expected < 300000)
				assert_int_equal(back[expected], 0xa5);
		}
	}
	free(text);
	free(back);
}

/* ---- contents that somebody else made ---- */

/* A list of these refs, with `extra` zero bytes after them. */
static void make_list(struct bench *b, const struct piece_ref *refs, size_t count, size_t extra,
		      struct piece_ref *out)
{
	struct bytes list;
	uint64_t text_size = 0;

	bytes_init(&list, PIECE_TEXT_MAX);
	for (size_t i = 0; i < count; i++) {
		bytes_put(&list, refs[i].name.bytes, ID_SIZE);
		bytes_put_u64(&list, refs[i].text_size);
		bytes_put_u32(&list, refs[i].stored_size);
		text_size += refs[i].text_size;
	}
	for (size_t i = 0; i < extra; i++)
		bytes_put_u8(&list, 0);
	assert_int_equal(bytes_error(&list), 0);
	make_piece(b, list.data, list.size, out);
	out->text_size = text_size;
	bytes_finish(&list);
}

struct visit {
	unsigned count, lists, stop_at;
	struct piece_ref refs[64];
	bool is_list[64];
};

static int visit_note(void *context, const struct piece_ref *ref, bool is_list)
{
	struct visit *v = context;

	if (v->count < 64) {
		v->refs[v->count] = *ref;
		v->is_list[v->count] = is_list;
	}
	v->count++;
	v->lists += is_list;
	return v->count == v->stop_at ? 7 : 0;
}

/* Three pieces a list, four lists deep. */
static uint8_t *deep_content_new(struct bench *b, struct content *out)
{
	size_t size = 242 * 4096 + 100; /* 3 to the 5th pieces, the last one short */
	uint8_t *text = noise_new(size, 21);
	struct piece_ref refs[243];
	size_t count = 243;

	for (size_t i = 0; i < count; i++)
		make_piece(b, text + i * 4096, i < 242 ? 4096 : 100, &refs[i]);
	for (; count > 3; count /= 3) {
		for (size_t i = 0; i < count / 3; i++)
			make_list(b, refs + 3 * i, 3, 0, &refs[i]);
	}
	*out = (struct content){ .size = size, .depth = CONTENT_DEPTH_MAX, .count = 3 };
	memcpy(out->pieces, refs, 3 * sizeof(*refs));
	return text;
}

static void test_reads_of_the_greatest_depth(void **state)
{
	struct bench *b = *state;
	struct content content;
	uint8_t *text = deep_content_new(b, &content), back[10000];
	uint64_t seed = 5;

	assert_reads_as(b, &content, text, content.size);
	for (unsigned i = 0; i < 200; i++) {
		size_t offset = (size_t)(noise_next(&seed) % (content.size - sizeof(back)));

		assert_int_equal(content_read(b->cache, &b->store, &content, back, sizeof(back), offset),
				 sizeof(back));
		assert_memory_equal(back, text + offset, sizeof(back));
	}
	free(text);
}

static void test_each_visits_in_order(void **state)
{
	struct bench *b = *state;
	struct content content;
	uint8_t *text = deep_content_new(b, &content);
	struct visit all = { 0 }, own = { 0 }, stopped = { .stop_at = 5 };
	static const bool expected[] = { 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1 };

	assert_int_equal(content_each(b->cache, &b->store, &content, true, visit_note, &all), 0);
	assert_int_equal(all.count, 243 + 81 + 27 + 9 + 3);
	assert_int_equal(all.lists, 81 + 27 + 9 + 3);
	for (size_t i = 0; i < sizeof(expected); i++)
		assert_int_equal(all.is_list[i], expected[i]);

	assert_int_equal(content_each(b->cache, &b->store, &content, false, visit_note, &own), 0);
	assert_int_equal(own.count, 243);
	assert_int_equal(own.lists, 0);
	assert_int_equal(content_each(b->cache, &b->store, &content, true, visit_note, &stopped), 7);
	assert_int_equal(stopped.count, 5);

	/* A list is told before it is missed. */
	shelf_remove(&b->shelf, &all.refs[2].name);
	cache_renew(b, ROOMY);
	memset(&all, 0, sizeof(all));
	assert_int_equal(content_each(b->cache, &b->store, &content, true, visit_note, &all), -ENODATA);
	assert_int_equal(all.count, 3);
	free(text);
}

static void assert_refused(struct bench *b, const struct content *content, const char *name)
{
	static uint8_t back[20000];
	struct visit visit = { 0 };
	ssize_t got = content_read(b->cache, &b->store, content, back, sizeof(back), 0);
	int each = content_each(b->cache, &b->store, content, true, visit_note, &visit);

	if (got != -EBADMSG || each != -EBADMSG)
		fail_msg("%s: read %zd, each %d", name, got, each);
}

static void test_inconsistent_lists_are_refused(void **state)
{
	static const struct {
		const char *name;
		unsigned index; /* the ref that is changed */
		uint64_t text_size;
		uint32_t stored_size; /* 0: as it is */
		uint64_t size;        /* of the document, 0: the sum */
		unsigned extra;
	} cases[] = {
		{ "a byte after the refs", 2, 100, 0, 0, 1 },
		{ "half a ref", 2, 100, 0, 0, 22 },
		{ "a ref of nothing after the refs", 2, 100, 0, 0, 44 },
		{ "more than the document", 2, 101, 0, 8192 + 5000 + 100, 0 },
		{ "less than the document", 2, 99, 0, 8192 + 5000 + 100, 0 },
		{ "no text", 2, 0, 0, 0, 0 },
		{ "no text in the middle", 1, 0, 0, 0, 0 },
		{ "too little text in the middle", 1, 4095, 0, 0, 0 },
		{ "more text than a piece may have", 1, 65537, 0, 0, 0 },
		{ "a sum beyond 64 bits", 1, UINT64_MAX - 8191, 0, 8192 + 100, 0 },
		{ "a member of no size", 1, 5000, 19, 0, 0 },
		{ "a member too large", 1, 5000, PIECE_STORED_MAX + 1, 0, 0 },
	};
	struct bench *b = *state;
	uint8_t *text = noise_new(8192 + 5000 + 100, 4);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct piece_ref refs[3];
		struct content content = { .depth = 1, .count = 1 };

		make_piece(b, text, 8192, &refs[0]);
		make_piece(b, text + 8192, 5000, &refs[1]);
		make_piece(b, text + 8192 + 5000, 100, &refs[2]);
		make_list(b, refs, 3, 0, &content.pieces[0]);
		content.size = content.pieces[0].text_size;
		assert_reads_as(b, &content, text, 8192 + 5000 + 100);

		refs[cases[i].index].text_size = cases[i].text_size;
		if (cases[i].stored_size)
			refs[cases[i].index].stored_size = cases[i].stored_size;
		make_list(b, refs, 3, cases[i].extra, &content.pieces[0]);
		if (cases[i].size)
			content.pieces[0].text_size = cases[i].size;
		content.size = content.pieces[0].text_size;
		assert_refused(b, &content, cases[i].name);
	}
	free(text);
}

static void test_contents_that_cannot_be_are_refused(void **state)
{
	struct bench *b = *state;
	uint8_t *zeroes = calloc(1, 12288);
	struct content good = { .size = 12288, .count = 3 };
	struct piece_ref nothing;

	for (size_t i = 0; i < 3; i++)
		make_piece(b, zeroes, 4096, &good.pieces[i]);
	make_piece(b, zeroes, 0, &nothing);
	assert_reads_as(b, &good, zeroes, 12288);

	struct content bad[11];
	for (size_t i = 0; i < 11; i++)
		bad[i] = good;
	bad[0].depth = CONTENT_DEPTH_MAX + 1;
	bad[1].count = 0;
	bad[2].count = CONTENT_PIECES_MAX + 1;
	bad[3].count = 2;
	bad[4].size = 12289;
	bad[5].size = 12287;
	bad[6].size = DOCUMENT_SIZE_MAX + 1;
	bad[7].pieces[0].text_size = 4095;
	bad[7].pieces[1].text_size = 4097;
	bad[8].count = 4;
	bad[8].pieces[3] = nothing;
	bad[9].pieces[2].stored_size = PIECE_STORED_MIN - 1;
	bad[10].depth = 1; /* 2^64 too much adds up again */
	bad[10].pieces[1].text_size = UINT64_MAX - 4095;
	bad[10].pieces[2].text_size = 12288;
	for (size_t i = 0; i < 11; i++) {
		char name[16];

		snprintf(name, sizeof(name), "content %zu", i);
		assert_int_equal(content_check(&bad[i]), -EBADMSG);
		assert_refused(b, &bad[i], name);
	}

	struct content empty = { .count = 1, .pieces = { nothing, nothing } };
	assert_int_equal(content_check(&empty), 0);
	empty.count = 2;
	assert_int_equal(content_check(&empty), -EBADMSG);
	empty.count = 1;
	empty.depth = 1;
	assert_int_equal(content_check(&empty), -EBADMSG);
	free(zeroes);
}

/* What a ref says of a piece must hold, whether the piece is in the cache or not. */
static void test_pieces_that_differ_from_their_ref_are_refused(void **state)
{
	struct bench *b = *state;
	uint8_t *text = noise_new(8192, 4), *back = malloc(8192);
	struct content content = { .size = 8192, .count = 1 }, bad;

	make_piece(b, text, 8192, &content.pieces[0]);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 2)
			cache_renew(b, 0);
		bad = content;
		bad.size = bad.pieces[0].text_size = 8191;
		assert_int_equal(content_read(b->cache, &b->store, &bad, back, 8192, 0), -EBADMSG);
		bad = content;
		bad.pieces[0].stored_size--;
		assert_int_equal(content_read(b->cache, &b->store, &bad, back, 8192, 0), -EBADMSG);
		assert_reads_as(b, &content, text, 8192);
	}
	free(text);
	free(back);
}

static void test_damage_in_the_store(void **state)
{
	struct bench *b = *state;
	size_t size = 5 * MIB;
	uint8_t *text = noise_new(size, 31), *back = malloc(size);
	struct content content;

	write_ok(b, text, size, &content);
	assert_int_equal(content.depth, 1);
	struct kept *list = shelf_find(&b->shelf, &content.pieces[0].name);
	struct visit visit = { 0 };
	assert_int_equal(content_each(b->cache, &b->store, &content, true, visit_note, &visit), 0);
	struct kept *piece = shelf_find(&b->shelf, &visit.refs[3].name);

	struct kept *damaged[] = { list, piece };
	for (unsigned i = 0; i < 2; i++) {
		damaged[i]->member[damaged[i]->ref.stored_size / 2] ^= 1;
		cache_renew(b, ROOMY);
		assert_int_equal(content_read(b->cache, &b->store, &content, back, size, 0), -EBADMSG);
		damaged[i]->member[damaged[i]->ref.stored_size / 2] ^= 1;
		assert_int_equal(content_read(b->cache, &b->store, &content, back, size, 0), size);
	}

	/* Another good member of the same sizes, under this name. */
	struct piece_ref other;
	uint8_t *other_text = noise_new(visit.refs[3].text_size, 32);
	make_piece(b, other_text, visit.refs[3].text_size, &other);
	assert_int_equal(other.stored_size, piece->ref.stored_size);
	memcpy(piece->member, shelf_find(&b->shelf, &other.name)->member, other.stored_size);
	cache_renew(b, ROOMY);
	assert_int_equal(content_read(b->cache, &b->store, &content, back, size, 0), -EBADMSG);
	free(other_text);

	cache_renew(b, ROOMY);
	shelf_remove(&b->shelf, &piece->name);
	assert_int_equal(content_read(b->cache, &b->store, &content, back, size, 0), -ENODATA);
	assert_int_equal(content_read(b->cache, &b->store, &content, back, 1, 0), 1);
	b->shelf.get_error = -EIO;
	cache_renew(b, ROOMY);
	assert_int_equal(content_read(b->cache, &b->store, &content, back, 1, 0), -EIO);
	free(text);
	free(back);
}

/* ---- errors of writing ---- */

static void test_store_errors_come_through(void **state)
{
	struct bench *b = *state;
	size_t size = MIB + 300 * KIB;
	uint8_t *text = noise_new(size, 41);
	struct content untouched, content;
	unsigned failures = 0;

	memset(&untouched, 0x5a, sizeof(untouched));
	b->shelf.error = -ENOSPC;
	for (unsigned n = 1;; n++, failures++) {
		memcpy(&content, &untouched, sizeof(content));
		b->shelf.fail_find = b->shelf.finds + n;
		b->shelf.fail_put = b->shelf.puts + n / 2;
		int err = content_write_bytes(b->packer, &b->store, text, size, &content);
		if (err == 0)
			break;
		assert_int_equal(err, -ENOSPC);
		assert_memory_equal(&content, &untouched, sizeof(content));
	}
	assert_in_range(failures, 65, 300);
	assert_is_text(b, &content, text, size);
	free(text);
}

static ssize_t read_failing(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	ssize_t result = *(ssize_t *)context;

	if (offset == 0) {
		memset(out, 0, size);
		return (ssize_t)size;
	}
	return result;
}

static void test_source_errors_come_through(void **state)
{
	struct bench *b = *state;
	struct content content;
	ssize_t result = -EINTR;

	assert_int_equal(content_write(b->packer, &b->store, read_failing, &result, MIB, &content), -EINTR);
	result = 5; /* the text ended early */
	assert_int_equal(content_write(b->packer, &b->store, read_failing, &result, MIB, &content), -EIO);
	result = 0;
	assert_int_equal(content_write(b->packer, &b->store, read_failing, &result, MIB, &content), -EIO);
	assert_int_equal(content_write(b->packer, &b->store, read_failing, &result, DOCUMENT_SIZE_MAX + 1,
				       &content), -EFBIG);
}

/* The store may know the text by a member of another compressor. */
static void test_kept_pieces_are_used(void **state)
{
	struct bench *b = *state;
	static uint8_t member[PIECE_STORED_MAX];
	uint8_t *text = prose_new(4000, 51);
	struct known *known = calloc(1, sizeof(*known));
	struct content content;

	known->ref.stored_size = (uint32_t)zlib_member(text, 4000, 1, member, sizeof(member));
	known->ref.text_size = 99;
	id_of_bytes(&known->ref.name, member, known->ref.stored_size);
	id_of_bytes(&known->text_id, text, 4000);
	shelf_keep(&b->shelf, &known->ref, member);
	HASH_ADD(hh, b->shelf.texts, text_id, sizeof(known->text_id), known);

	write_ok(b, text, 4000, &content);
	assert_int_equal(b->shelf.puts, 0);
	assert_memory_equal(&content.pieces[0].name, &known->ref.name, ID_SIZE);
	assert_is_text(b, &content, text, 4000);
	free(text);
}

/* ---- real documents, real programs ---- */

static void test_gunzip_gives_the_text(void **state)
{
	static const size_t sizes[] = { 0, 10, 300000 };
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		char path[] = "/tmp/test_content.XXXXXX", command[128];
		uint8_t *text = prose_new(sizes[i], 81), *back = malloc(sizes[i] + 1);
		struct content content;
		struct bytes members;

		write_ok(b, text, sizes[i], &content);
		members_of(b, &content, &members);
		int fd = mkstemp(path);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, members.data, members.size), members.size);
		close(fd);
		snprintf(command, sizeof(command), "gunzip -c < %s", path);
		FILE *pipe = popen(command, "r");
		assert_non_null(pipe);
		assert_int_equal(fread(back, 1, sizes[i] + 1, pipe), sizes[i]);
		assert_int_equal(pclose(pipe), 0);
		assert_memory_equal(back, text, sizes[i]);
		unlink(path);
		bytes_finish(&members);
		free(text);
		free(back);
	}
}

/* The next file of a tar archive (POSIX ustar): its text, or NULL at the end. */
static uint8_t *tar_next(gzFile tar, size_t *out_size)
{
	char head[512];

	while (gzread(tar, head, sizeof(head)) == sizeof(head) && head[0]) {
		size_t size = strtoull(head + 124, NULL, 8), padded = (size + 511) / 512 * 512;
		uint8_t *text = malloc(padded + 1);

		assert_non_null(text);
		assert_int_equal(gzread(tar, text, (unsigned)padded), padded);
		if (head[156] == '0') {
			*out_size = size;
			return text;
		}
		free(text);
	}
	return NULL;
}

static void test_real_documents(void **state)
{
	struct bench *b = *state;
	const char *shared = getenv("MOOT_SHARED");
	char path[4096];
	size_t size, count = 0;
	uint8_t *text;

	snprintf(path, sizeof(path), "%s/data/documents.tar.gz", shared ? shared : "");
	gzFile tar = gzopen(path, "rb");
	if (!tar) {
		print_message("skipped: no %s\n", path);
		skip();
	}
	for (; (text = tar_next(tar, &size)); count++) {
		/* All that have several pieces, and every 32nd of the others. */
		if (size > PIECE_TEXT_MIN || count % 32 == 0) {
			struct content content;

			write_ok(b, text, size, &content);
			assert_is_text(b, &content, text, size);
		}
		free(text);
	}
	gzclose(tar);
	assert_in_range(count, 1000, 100000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_open, bench_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_texts_of_all_sizes),
		TEST(test_lists_begin_at_65_pieces),
		TEST(test_a_large_text_has_lists_of_lists),
		TEST(test_a_changed_byte_makes_few_pieces),
		TEST(test_reads_of_ranges),
		TEST(test_reads_of_the_greatest_depth),
		TEST(test_each_visits_in_order),
		TEST(test_inconsistent_lists_are_refused),
		TEST(test_contents_that_cannot_be_are_refused),
		TEST(test_pieces_that_differ_from_their_ref_are_refused),
		TEST(test_damage_in_the_store),
		TEST(test_store_errors_come_through),
		TEST(test_source_errors_come_through),
		TEST(test_kept_pieces_are_used),
		TEST(test_gunzip_gives_the_text),
		TEST(test_real_documents),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
