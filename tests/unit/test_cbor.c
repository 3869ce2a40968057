#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "cleanup.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A literal with NULs in it, and its size. */
#define BYTES(literal) (literal), sizeof(literal) - 1

static void expect_bytes(const struct bytes *b, const void *expected, size_t size)
{
	assert_int_equal(bytes_error(b), 0);
	assert_int_equal(b->size, size);
	assert_memory_equal(b->data, expected, size);
}

/* RFC 8949 appendix A, the unsigned integers, and each border of sizes. */
static void uints_are_shortest(void **state)
{
	static const struct {
		uint64_t value;
		const char *bytes;
		size_t size;
	} cases[] = {
		{ 0, BYTES("\x00") },
		{ 1, BYTES("\x01") },
		{ 10, BYTES("\x0a") },
		{ 23, BYTES("\x17") },
		{ 24, BYTES("\x18\x18") },
		{ 100, BYTES("\x18\x64") },
		{ 255, BYTES("\x18\xff") },
		{ 256, BYTES("\x19\x01\x00") },
		{ 1000, BYTES("\x19\x03\xe8") },
		{ 65535, BYTES("\x19\xff\xff") },
		{ 65536, BYTES("\x1a\x00\x01\x00\x00") },
		{ 1000000, BYTES("\x1a\x00\x0f\x42\x40") },
		{ UINT32_MAX, BYTES("\x1a\xff\xff\xff\xff") },
		{ 1ull << 32, BYTES("\x1b\x00\x00\x00\x01\x00\x00\x00\x00") },
		{ 1000000000000ull, BYTES("\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00") },
		{ UINT64_MAX, BYTES("\x1b\xff\xff\xff\xff\xff\xff\xff\xff") },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		CLEANUP(bytes_finish) struct bytes b;
		struct cbor_reader r;

		bytes_init(&b, 100);
		cbor_put_uint(&b, cases[i].value);
		expect_bytes(&b, cases[i].bytes, cases[i].size);

		cbor_reader_init(&r, b.data, b.size);
		assert_true(cbor_get_uint(&r, cases[i].value) == cases[i].value);
		assert_int_equal(cbor_reader_finish(&r), 0);

		cbor_reader_init(&r, b.data, b.size);
		if (cases[i].value > 0) {
			assert_int_equal(cbor_get_uint(&r, cases[i].value - 1), 0);
			assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
		}
	}
}

static void strings_and_arrays_are_as_in_the_rfc(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;

	bytes_init(&b, 1000);
	cbor_put_bytes(&b, NULL, 0);
	cbor_put_bytes(&b, "\x01\x02\x03\x04", 4);
	cbor_put_text(&b, "", 0);
	cbor_put_text(&b, "IETF", 4);
	cbor_put_text(&b, "\xe6\xb0\xb4", 3);
	cbor_put_array(&b, 0);
	cbor_put_array(&b, 3);
	cbor_put_array(&b, 25);
	static const char expected[] = "\x40" "\x44\x01\x02\x03\x04" "\x60" "\x64IETF" "\x63\xe6\xb0\xb4"
				       "\x80" "\x83" "\x98\x19";
	expect_bytes(&b, BYTES(expected));
}

static void text_that_is_not_utf8_is_not_written(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;

	bytes_init(&b, 1000);
	cbor_put_text(&b, "caf\xe9", 4);
	assert_int_equal(bytes_error(&b), -EINVAL);
	assert_int_equal(b.size, 0);
}

static void put_sample(struct bytes *b)
{
	struct id id, zero = { { 0 } };

	id_of_bytes(&id, "sample", 6);
	cbor_put_array(b, 7);
	cbor_put_uint(b, 300);
	cbor_put_bytes(b, "bytes", 5);
	cbor_put_text(b, "gr\xc3\xbc\xc3\x9f", 6);
	cbor_put_id(b, &id);
	cbor_put_optional_id(b, &id);
	cbor_put_optional_id(b, &zero);
	cbor_put_array(b, 2);
	cbor_put_uint(b, 1);
	cbor_put_array(b, 0);
}

static int read_sample(struct cbor_reader *r)
{
	struct id id, got;
	size_t size;

	id_of_bytes(&id, "sample", 6);
	if (cbor_get_array(r, 7, 7) == 7 && cbor_get_uint(r, 1000) == 300) {
		const uint8_t *bytes = cbor_get_bytes(r, 1, 5, &size);
		assert_true(bytes ? size == 5 && memcmp(bytes, "bytes", 5) == 0 : r->failed);
		const char *text = cbor_get_text(r, 1, 6, &size);
		assert_true(text ? size == 6 && memcmp(text, "gr\xc3\xbc\xc3\x9f", 6) == 0 : r->failed);
		cbor_get_id(r, &got);
		assert_true(r->failed ? id_is_zero(&got) : id_equal(&got, &id));
		cbor_get_optional_id(r, &got);
		assert_true(r->failed ? id_is_zero(&got) : id_equal(&got, &id));
		cbor_get_optional_id(r, &got);
		assert_true(id_is_zero(&got));
		size_t count = cbor_get_array(r, 0, 9);
		assert_int_equal(count, r->failed ? 0 : 2);
		uint64_t value = cbor_get_uint(r, 9);
		assert_int_equal(value, r->failed ? 0 : 1);
		assert_int_equal(cbor_get_array(r, 0, 9), 0);
	}
	return cbor_reader_finish(r);
}

static void what_was_written_is_read(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;
	struct cbor_reader r;

	bytes_init(&b, 1000);
	put_sample(&b);
	/* Every prefix, from an exactly sized block: read and skipped. */
	for (size_t size = 0; size <= b.size; size++) {
		CLEANUP(cleanup_free) uint8_t *copy = malloc(size ? size : 1);
		int expected = size == b.size ? 0 : -EBADMSG;

		assert_non_null(copy);
		memcpy(copy, b.data, size);
		cbor_reader_init(&r, copy, size);
		assert_int_equal(read_sample(&r), expected);
		cbor_reader_init(&r, copy, size);
		cbor_skip(&r, 3);
		assert_int_equal(cbor_reader_finish(&r), expected);
	}
	bytes_put_u8(&b, 0);
	cbor_reader_init(&r, b.data, b.size);
	assert_int_equal(read_sample(&r), -EBADMSG); /* a byte left */
}

static void refuse(const char *name, const void *bytes, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *copy = malloc(size ? size : 1);
	struct cbor_reader r;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	cbor_reader_init(&r, copy, size);
	cbor_skip(&r, 4);
	if (cbor_reader_finish(&r) != -EBADMSG)
		fail_msg("%s: accepted", name);
	if (size == 0)
		return;

	/* The getter of that type refuses it too; the bounds are as wide as they can be. */
	size_t got = 7;
	cbor_reader_init(&r, copy, size);
	switch (copy[0] >> 5) {
	case 2:
		assert_null(cbor_get_bytes(&r, 0, SIZE_MAX, &got));
		assert_int_equal(got, 0);
		break;
	case 3:
		assert_null(cbor_get_text(&r, 0, SIZE_MAX, &got));
		assert_int_equal(got, 0);
		break;
	case 4:
		for (got = cbor_get_array(&r, 0, SIZE_MAX); got > 0 && !r.failed; got--)
			cbor_skip(&r, 3);
		break;
	default:
		assert_true(cbor_get_uint(&r, UINT64_MAX) == 0);
	}
	if (cbor_reader_finish(&r) != -EBADMSG)
		fail_msg("%s: got", name);
}

static void what_is_not_deterministic_is_refused(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t size;
	} cases[] = {
		{ "nothing", BYTES("") },
		{ "23 in two bytes", BYTES("\x18\x17") },
		{ "0 in two bytes", BYTES("\x18\x00") },
		{ "255 in three", BYTES("\x19\x00\xff") },
		{ "65535 in five", BYTES("\x1a\x00\x00\xff\xff") },
		{ "2^32-1 in nine", BYTES("\x1b\x00\x00\x00\x00\xff\xff\xff\xff") },
		{ "reserved 28", BYTES("\x1c") },
		{ "reserved 29", BYTES("\x1d") },
		{ "reserved 30", BYTES("\x1e") },
		{ "indefinite integer", BYTES("\x1f") },
		{ "cut head", BYTES("\x1b\x01\x00\x00\x00\x00\x00\x00") },
		{ "negative", BYTES("\x20") },
		{ "long string head", BYTES("\x58\x01z") },
		{ "bytes cut", BYTES("\x42z") },
		{ "huge bytes", BYTES("\x5b\xff\xff\xff\xff\xff\xff\xff\xff") },
		{ "huge bytes, wraps with head", BYTES("\x5b\xff\xff\xff\xff\xff\xff\xff\xf7zz") },
		{ "indefinite bytes", BYTES("\x5f\x41z\xff") },
		{ "reserved bytes", BYTES("\x5czz") },
		{ "text cut", BYTES("\x62z") },
		{ "huge text", BYTES("\x7b\x80\x00\x00\x00\x00\x00\x00\x00z") },
		{ "long text head", BYTES("\x78\x01z") },
		{ "indefinite text", BYTES("\x7f\x61z\xff") },
		{ "text not UTF-8", BYTES("\x64" "caf\xe9") },
		{ "text with a surrogate", BYTES("\x63\xed\xa0\x80") },
		{ "text overlong", BYTES("\x62\xc0\xaf") },
		{ "text within an array not UTF-8", BYTES("\x81\x61\xff") },
		{ "array cut", BYTES("\x82\x01") },
		{ "long array head", BYTES("\x98\x01\x01") },
		{ "huge array", BYTES("\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01") },
		{ "large array", BYTES("\x9a\xff\xff\xff\xff\x01") },
		{ "indefinite array", BYTES("\x9f\x01\xff") },
		{ "map", BYTES("\xa0") },
		{ "map of one", BYTES("\xa1\x01\x01") },
		{ "tag", BYTES("\xc0\x01") },
		{ "false", BYTES("\xf4") },
		{ "null", BYTES("\xf6") },
		{ "half float", BYTES("\xf9\x00\x00") },
		{ "double", BYTES("\xfb\x00\x00\x00\x00\x00\x00\x00\x00") },
		{ "break", BYTES("\xff") },
		{ "map within an array", BYTES("\x81\xa0") },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		refuse(cases[i].name, cases[i].bytes, cases[i].size);
}

/* Every head byte with every type asked for: only the right one is given. */
static void types_are_not_mixed_up(void **state)
{
	for (unsigned head = 0; head < 256; head++) {
		uint8_t bytes[40] = { (uint8_t)head };
		struct cbor_reader r;
		struct id id;
		size_t size;

		memset(bytes + 1, 'a', sizeof bytes - 1);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_uint(&r, UINT64_MAX);
		assert_int_equal(!r.failed, head >> 5 == 0 && (head & 31) <= 27);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_bytes(&r, 0, SIZE_MAX, &size);
		assert_int_equal(!r.failed, head >> 5 == 2 && (head & 31) < 24);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_text(&r, 0, SIZE_MAX, &size);
		assert_int_equal(!r.failed, head >> 5 == 3 && (head & 31) < 24);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_array(&r, 0, SIZE_MAX);
		assert_int_equal(!r.failed, head >> 5 == 4 && (head & 31) < 24);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_id(&r, &id);
		assert_true(r.failed);
		cbor_reader_init(&r, bytes, sizeof bytes);
		cbor_get_optional_id(&r, &id);
		assert_int_equal(!r.failed, head == 0x40);
	}
}

static void bounds_are_kept(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t size, min, max;
		bool expected;
	} cases[] = {
		{ "bytes least", BYTES("\x42zz"), 2, 9, true },
		{ "bytes most", BYTES("\x42zz"), 0, 2, true },
		{ "bytes too short", BYTES("\x42zz"), 3, 9, false },
		{ "bytes too long", BYTES("\x42zz"), 0, 1, false },
		{ "text least", BYTES("\x62zz"), 2, 9, true },
		{ "text most", BYTES("\x62zz"), 0, 2, true },
		{ "text too short", BYTES("\x62zz"), 3, 9, false },
		{ "text too long", BYTES("\x62zz"), 0, 1, false },
		{ "array least", BYTES("\x82\x01\x01"), 2, 9, true },
		{ "array most", BYTES("\x82\x01\x01"), 0, 2, true },
		{ "array too short", BYTES("\x82\x01\x01"), 3, 9, false },
		{ "array too long", BYTES("\x82\x01\x01"), 0, 1, false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cbor_reader r;
		size_t size;

		cbor_reader_init(&r, cases[i].bytes, cases[i].size);
		if (cases[i].bytes[0] == 0x42)
			cbor_get_bytes(&r, cases[i].min, cases[i].max, &size);
		else if (cases[i].bytes[0] == 0x62)
			cbor_get_text(&r, cases[i].min, cases[i].max, &size);
		else
			cbor_get_array(&r, cases[i].min, cases[i].max);
		if (r.failed == cases[i].expected)
			fail_msg("%s", cases[i].name);
	}
}

static void optional_ids_have_one_spelling(void **state)
{
	uint8_t zeroes[2 + ID_SIZE] = { 0x58, ID_SIZE }, shorter[2 + ID_SIZE - 1] = { 0x58, ID_SIZE - 1, 1 };
	struct cbor_reader r;
	struct id id;

	cbor_reader_init(&r, "\x40", 1);
	memset(&id, 1, sizeof id);
	cbor_get_optional_id(&r, &id);
	assert_int_equal(cbor_reader_finish(&r), 0);
	assert_true(id_is_zero(&id));

	cbor_reader_init(&r, zeroes, sizeof zeroes);
	cbor_get_optional_id(&r, &id);
	assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
	cbor_reader_init(&r, shorter, sizeof shorter);
	cbor_get_optional_id(&r, &id);
	assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
	cbor_reader_init(&r, "\x40", 1);
	cbor_get_id(&r, &id);
	assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
}

static void failure_stays(void **state)
{
	struct cbor_reader r;
	size_t size;

	cbor_reader_init(&r, "\x01\x02\x40", 3);
	assert_int_equal(cbor_get_uint(&r, 9), 1);
	cbor_reader_fail(&r);
	assert_int_equal(cbor_get_uint(&r, 9), 0);
	assert_null(cbor_get_bytes(&r, 0, 9, &size));
	assert_int_equal(cbor_get_array(&r, 0, 9), 0);
	cbor_skip(&r, 9);
	assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
}

static void skip_is_bounded_in_depth(void **state)
{
	uint8_t nested[1000];
	struct cbor_reader r;

	memset(nested, 0x81, sizeof nested);
	for (unsigned arrays = 0; arrays < 30; arrays++) {
		nested[arrays] = 0x00;
		for (unsigned depth_max = 0; depth_max < 40; depth_max++) {
			cbor_reader_init(&r, nested, arrays + 1);
			cbor_skip(&r, depth_max);
			bool expected = arrays <= depth_max && arrays <= 16;
			assert_int_equal(cbor_reader_finish(&r), expected ? 0 : -EBADMSG);
		}
		nested[arrays] = 0x81;
	}
	cbor_reader_init(&r, nested, sizeof nested);
	cbor_skip(&r, UINT32_MAX);
	assert_int_equal(cbor_reader_finish(&r), -EBADMSG);
}

/* The first item only; and the ends of several arrays at once. */
static void skip_takes_one_item(void **state)
{
	static const uint8_t bytes[] = { 0x83, 0x82, 0x80, 0x81, 0x01, 0x40, 0x81, 0x80, 0x05, 0x06 };
	struct cbor_reader r;

	cbor_reader_init(&r, bytes, sizeof bytes);
	cbor_skip(&r, 3);
	assert_int_equal(cbor_get_uint(&r, 9), 5);
	cbor_skip(&r, 0);
	assert_int_equal(cbor_reader_finish(&r), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(uints_are_shortest),
		cmocka_unit_test(strings_and_arrays_are_as_in_the_rfc),
		cmocka_unit_test(text_that_is_not_utf8_is_not_written),
		cmocka_unit_test(what_was_written_is_read),
		cmocka_unit_test(what_is_not_deterministic_is_refused),
		cmocka_unit_test(types_are_not_mixed_up),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(optional_ids_have_one_spelling),
		cmocka_unit_test(failure_stays),
		cmocka_unit_test(skip_is_bounded_in_depth),
		cmocka_unit_test(skip_takes_one_item),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
