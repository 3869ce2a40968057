#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "request.h"

/* From a heap block of exactly that size. */
static int read_bytes(const char *bytes, size_t size, struct request *out)
{
	uint8_t *exact = malloc(size ? size : 1);

	assert_non_null(exact);
	memcpy(exact, bytes, size);
	int result = request_read(exact, size, out);
	if (result == 1) {
		out->path = bytes + (out->path - (const char *)exact);
		out->text = bytes + (out->text - (const char *)exact);
	}
	free(exact);
	return result;
}

static const struct whole {
	const char *bytes;
	enum request_verb verb;
	const char *path, *text;
} wholes[] = {
	{ "read @/status\n", REQUEST_READ, "@/status", "" },
	{ "read a b\tc@/log\n", REQUEST_READ, "a b\tc@/log", "" },
	{ "write 0 @/connect\n", REQUEST_WRITE, "@/connect", "" },
	{ "write 2 bob@/subscribe\n1\n", REQUEST_WRITE, "bob@/subscribe", "1\n" },
	{ "write 10 me@/about\nI am\nhere.", REQUEST_WRITE, "me@/about", "I am\nhere." },
	{ "write 3 4 5@/x\nabc", REQUEST_WRITE, "4 5@/x", "abc" },
	{ "watch @/events\n", REQUEST_WATCH, "@/events", "" },
};

static void test_requests_are_read_and_written(void **state)
{
	for (size_t i = 0; i < sizeof(wholes) / sizeof(wholes[0]); i++) {
		const struct whole *w = &wholes[i];
		struct request r = { 0 };
		struct bytes bytes;

		print_message("case: %s", w->bytes);
		for (size_t size = 0; size < strlen(w->bytes); size++)
			assert_int_equal(read_bytes(w->bytes, size, &r), 0);
		assert_int_equal(read_bytes(w->bytes, strlen(w->bytes), &r), 1);
		assert_int_equal(r.verb, w->verb);
		assert_int_equal(r.path_size, strlen(w->path));
		assert_memory_equal(r.path, w->path, r.path_size);
		assert_int_equal(r.text_size, strlen(w->text));
		assert_memory_equal(r.text, w->text, r.text_size);

		bytes_init(&bytes, REQUEST_SIZE_MAX);
		assert_int_equal(request_write(&bytes, &r), 0);
		assert_int_equal(bytes.size, strlen(w->bytes));
		assert_memory_equal(bytes.data, w->bytes, bytes.size);
		bytes_finish(&bytes);
	}
}

static void test_what_is_no_request(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t size; /* 0: to the NUL */
	} cases[] = {
		{ "nothing", "\n", 0 },
		{ "no verb", "@/status\n", 0 },
		{ "another verb", "list @/status\n", 0 },
		{ "half a verb", "rea\n", 0 },
		{ "no path", "read \n", 0 },
		{ "no blank", "read\n", 0 },
		{ "no size", "write @/connect\n", 0 },
		{ "a size alone", "write 5\nabcde", 0 },
		{ "a size and no path", "write 5 \nabcde", 0 },
		{ "an empty size", "write  @/connect\n", 0 },
		{ "a zero in front", "write 05 @/connect\nabcde", 0 },
		{ "a sign", "write -1 @/connect\n", 0 },
		{ "too much text", "write 8193 @/connect\n", 0 },
		{ "a size beyond any", "write 18446744073709551621 @/connect\nabcde", 0 },
		{ "bytes after a read", "read @/status\nx", 0 },
		{ "bytes after the text", "write 2 @/connect\nabc", 0 },
		{ "a NUL in the path", "read @/st\0tus\n", 14 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct request r = { .path_size = 77 };
		size_t size = cases[i].size ? cases[i].size : strlen(cases[i].bytes);

		print_message("case: %s\n", cases[i].name);
		assert_int_equal(read_bytes(cases[i].bytes, size, &r), -EBADMSG);
		assert_int_equal(r.path_size, 77);
	}
}

static void test_limits(void **state)
{
	static char bytes[REQUEST_SIZE_MAX + 64];
	struct request r;

	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(read_bytes(bytes, sizeof(bytes), &r), -EMSGSIZE);
	memcpy(bytes, "read ", 5);
	bytes[5 + REQUEST_PATH_MAX] = '\n';
	assert_int_equal(read_bytes(bytes, 5 + REQUEST_PATH_MAX + 1, &r), 1);
	bytes[5 + REQUEST_PATH_MAX] = 'x';
	bytes[5 + REQUEST_PATH_MAX + 1] = '\n';
	assert_int_equal(read_bytes(bytes, 5 + REQUEST_PATH_MAX + 2, &r), -EBADMSG);

	struct bytes out;
	bytes_init(&out, REQUEST_SIZE_MAX);
	const struct request refused[] = {
		{ REQUEST_READ, "", 0, NULL, 0 },
		{ REQUEST_READ, "a\nb", 3, NULL, 0 },
		{ REQUEST_READ, "a\0b", 3, NULL, 0 },
		{ REQUEST_READ, bytes, REQUEST_PATH_MAX + 1, NULL, 0 },
		{ REQUEST_WRITE, "a", 1, bytes, REQUEST_TEXT_MAX + 1 },
	};
	bytes[5 + REQUEST_PATH_MAX + 1] = 'x';
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_true(request_write(&out, &refused[i]) < 0);
	assert_int_equal(out.size, 0);
	/* The longest fits where it is gathered. */
	const struct request longest = { REQUEST_WRITE, bytes, REQUEST_PATH_MAX, bytes, REQUEST_TEXT_MAX };
	assert_int_equal(request_write(&out, &longest), 0);
	assert_int_equal(request_read(out.data, out.size, &r), 1);
	bytes_finish(&out);
}

static void test_answers(void **state)
{
	static const struct {
		const char *bytes;
		ssize_t taken;
		struct answer_head head;
	} cases[] = {
		{ "ok 0\n", 5, { 0 } },
		{ "ok 12\nrest", 6, { .size = 12 } },
		{ "ok\nlines", 3, { .endless = true } },
		{ "error 2 nobody\n", 15, { .error = -2, .sentence = "nobody" } },
		{ "error 22 \n", 10, { .error = -22 } },
		{ "ok 5", 0, { 0 } },
		{ "", 0, { 0 } },
		{ "ok x\n", -EBADMSG, { 0 } },
		{ "ok 01\n", -EBADMSG, { 0 } },
		{ "ok \n", -EBADMSG, { 0 } },
		{ "okay\n", -EBADMSG, { 0 } },
		{ "error 0 fine\n", -EBADMSG, { 0 } },
		{ "error 22\n", -EBADMSG, { 0 } },
		{ "error 4096 x\n", -EBADMSG, { 0 } },
		{ "\n", -EBADMSG, { 0 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct answer_head head = { .size = 99 };
		struct bytes bytes;

		print_message("case: %s\n", cases[i].bytes);
		assert_int_equal(answer_read((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes), &head), cases[i].taken);
		if (cases[i].taken <= 0) {
			assert_int_equal(head.size, 99);
			continue;
		}
		assert_int_equal(head.error, cases[i].head.error);
		assert_int_equal(head.size, cases[i].head.size);
		assert_int_equal(head.endless, cases[i].head.endless);
		assert_string_equal(head.sentence, cases[i].head.sentence);
		bytes_init(&bytes, ANSWER_HEAD_MAX);
		answer_write(&bytes, &head);
		assert_int_equal(bytes.size, cases[i].taken);
		assert_memory_equal(bytes.data, cases[i].bytes, bytes.size);
		bytes_finish(&bytes);
	}
}

static void test_a_sentence_stays_a_line(void **state)
{
	struct answer_head head = { .error = -EINVAL }, read = { 0 };
	struct bytes bytes;

	memset(head.sentence, 'y', sizeof(head.sentence) - 1);
	head.sentence[3] = '\n';
	bytes_init(&bytes, ANSWER_HEAD_MAX);
	answer_write(&bytes, &head);
	assert_int_equal(bytes_error(&bytes), 0);
	assert_int_equal(answer_read(bytes.data, bytes.size, &read), (ssize_t)bytes.size);
	assert_memory_equal(read.sentence, "yyy yyy", 7);
	assert_int_equal(strlen(read.sentence), WHY_SIZE - 1);
	bytes_finish(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_are_read_and_written),
		cmocka_unit_test(test_what_is_no_request),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_a_sentence_stays_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
