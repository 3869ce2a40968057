#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "clock.h"
#include "file.h"
#include "id.h"
#include "utf8.h"
#include "why.h"
#include "wire.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- bytes --- */

static void bytes_appends_in_order(void **state)
{
	struct bytes b;

	bytes_init(&b, 1 << 20);
	assert_null(b.data);
	bytes_put_text(&b, "ab");
	bytes_put(&b, NULL, 0);
	bytes_put_format(&b, "%d-%s", 42, "c");
	bytes_put_u8(&b, 0x01);
	bytes_put_u16(&b, 0x0203);
	bytes_put_u32(&b, 0x04050607);
	bytes_put_u64(&b, 0x08090a0b0c0d0e0full);
	bytes_put_u16_be(&b, 0x0203);
	bytes_put_u32_be(&b, 0x04050607);
	bytes_put_u64_be(&b, 0x08090a0b0c0d0e0full);
	static const char expected[] = "ab42-c\x01\x03\x02\x07\x06\x05\x04\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08"
				       "\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
	assert_int_equal(bytes_error(&b), 0);
	assert_int_equal(b.size, sizeof expected - 1);
	assert_memory_equal(b.data, expected, sizeof expected - 1);

	size_t size;
	uint8_t *taken = bytes_take(&b, &size);
	assert_int_equal(size, sizeof expected - 1);
	assert_memory_equal(taken, expected, size);
	assert_null(b.data);
	assert_int_equal(b.size, 0);
	free(taken);
	bytes_finish(&b);
	bytes_finish(NULL);
}

static void bytes_stops_at_its_maximum(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;
	size_t size;

	bytes_init(&b, 10);
	bytes_put_text(&b, "0123456789");
	assert_int_equal(bytes_error(&b), 0);
	bytes_put_u8(&b, 1);
	assert_int_equal(bytes_error(&b), -EMSGSIZE);
	assert_int_equal(b.size, 10);

	bytes_clear(&b);
	assert_int_equal(bytes_error(&b), 0);
	bytes_put_text(&b, "abc");
	assert_null(bytes_extend(&b, SIZE_MAX)); /* would wrap around */
	assert_int_equal(bytes_error(&b), -EMSGSIZE);
	bytes_put_text(&b, "d"); /* would fit, but the failure stays */
	assert_int_equal(b.size, 3);
	assert_null(bytes_take(&b, &size));
	assert_int_equal(size, 0);
}

static void bytes_extends_by_nothing_without_failing(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;

	bytes_init(&b, 0);
	assert_non_null(bytes_extend(&b, 0));
	assert_int_equal(bytes_error(&b), 0);
	assert_null(bytes_extend(&b, 1));
}

static void bytes_formats_long_lines(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;

	bytes_init(&b, SIZE_MAX);
	for (int width = 250; width < 260; width++)
		bytes_put_format(&b, "%*d", width, 7);
	assert_int_equal(b.size, 250 + 251 + 252 + 253 + 254 + 255 + 256 + 257 + 258 + 259);
	assert_int_equal(b.data[b.size - 1], '7');
	assert_int_equal(b.data[249], '7');
}

/* --- wire --- */

static void wire_reads_what_bytes_puts(void **state)
{
	CLEANUP(bytes_finish) struct bytes b;
	struct id id, zero = { { 0 } }, got;
	struct wire w;

	id_of_bytes(&id, "x", 1);
	bytes_init(&b, 1000);
	bytes_put_u8(&b, 200);
	bytes_put_u16(&b, 60000);
	bytes_put_u32(&b, 4000000000u);
	bytes_put_u64(&b, UINT64_MAX - 1);
	bytes_put_u16_be(&b, 60001);
	bytes_put_u32_be(&b, 4000000001u);
	bytes_put_u64_be(&b, UINT64_MAX - 2);
	bytes_put(&b, id.bytes, ID_SIZE);
	bytes_put_text(&b, "end");

	/* Every prefix, from an exactly sized block. */
	for (size_t size = 0; size <= b.size; size++) {
		CLEANUP(cleanup_free) uint8_t *copy = malloc(size ? size : 1);
		assert_non_null(copy);
		memcpy(copy, b.data, size);
		wire_init(&w, copy, size);
		assert_int_equal(wire_u8(&w), size >= 1 ? 200 : 0);
		assert_int_equal(wire_u16(&w), size >= 3 ? 60000 : 0);
		assert_int_equal(wire_u32(&w), size >= 7 ? 4000000000u : 0);
		assert_true(wire_u64(&w) == (size >= 15 ? UINT64_MAX - 1 : 0));
		assert_int_equal(wire_u16_be(&w), size >= 17 ? 60001 : 0);
		assert_int_equal(wire_u32_be(&w), size >= 21 ? 4000000001u : 0);
		assert_true(wire_u64_be(&w) == (size >= 29 ? UINT64_MAX - 2 : 0));
		wire_id(&w, &got);
		assert_true(id_equal(&got, size >= 61 ? &id : &zero));
		const uint8_t *text = wire_bytes(&w, 3);
		assert_int_equal(text != NULL, size == b.size);
		assert_int_equal(wire_finish(&w), size == b.size ? 0 : -EBADMSG);
	}
}

static void wire_fails_for_good(void **state)
{
	struct wire w;

	wire_init(&w, "abcd", 4);
	assert_int_equal(wire_u64(&w), 0);
	assert_int_equal(wire_u8(&w), 0); /* would fit */
	assert_int_equal(wire_finish(&w), -EBADMSG);

	wire_init(&w, "abcd", 4);
	assert_int_equal(wire_u8(&w), 'a');
	assert_int_equal(wire_finish(&w), -EBADMSG); /* bytes are left */
	assert_null(wire_bytes(&w, SIZE_MAX));

	wire_init(&w, NULL, 0);
	assert_non_null(wire_bytes(&w, 0));
	assert_int_equal(wire_finish(&w), 0);
}

/* --- id --- */

static void id_hashes_as_blake2b(void **state)
{
	/* RFC 7693 gives BLAKE2b-512 only; this is BLAKE2b-256 of nothing, as `b2sum -l 256` prints it. */
	static const uint8_t empty[ID_SIZE] = {
		0x0e, 0x57, 0x51, 0xc0, 0x26, 0xe5, 0x43, 0xb2, 0xe8, 0xab, 0x2e, 0xb0, 0x60, 0x99, 0xda, 0xa1,
		0xd1, 0xe5, 0xdf, 0x47, 0x77, 0x8f, 0x77, 0x87, 0xfa, 0xab, 0x45, 0xcd, 0xf1, 0x2f, 0xe3, 0xa8,
	};
	struct id whole, parts;

	id_of_bytes(&whole, NULL, 0);
	assert_memory_equal(whole.bytes, empty, ID_SIZE);

	id_of_bytes(&whole, "hello, world", 12);
	const struct span spans[] = { { "hello", 5 }, { NULL, 0 }, { ", ", 2 }, { "world", 5 } };
	id_of_spans(&parts, spans, COUNT(spans));
	assert_true(id_equal(&whole, &parts));
	assert_int_equal(id_compare(&whole, &parts), 0);
	parts.bytes[31] ^= 1;
	assert_false(id_equal(&whole, &parts));
	assert_false(id_is_zero(&whole));
	memset(&whole, 0, sizeof whole);
	assert_true(id_is_zero(&whole));
	assert_true(id_compare(&whole, &parts) < 0);
}

/* RFC 4648 section 10, whose lengths are not ours: as the beginning of an id. */
static void id_text_agrees_with_rfc_4648(void **state)
{
	static const struct {
		const char *bytes, *base32;
	} cases[] = {
		{ "f", "MY" }, { "fo", "MZXQ" }, { "foo", "MZXW6" }, { "foob", "MZXW6YQ" },
		{ "fooba", "MZXW6YTB" }, { "foobar", "MZXW6YTBOI" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct id id = { { 0 } };
		char text[ID_TEXT_SIZE + 1], shorter[ID_SHORT_SIZE + 1];

		memcpy(id.bytes, cases[i].bytes, strlen(cases[i].bytes));
		id_format(text, &id);
		id_format_short(shorter, &id);
		assert_int_equal(strlen(text), ID_TEXT_SIZE);
		assert_int_equal(strlen(shorter), ID_SHORT_SIZE);
		assert_memory_equal(text, shorter, ID_SHORT_SIZE);
		for (size_t k = 0; cases[i].base32[k]; k++)
			assert_int_equal(text[k], cases[i].base32[k] | (cases[i].base32[k] >= 'A' ? 0x20 : 0));
	}
}

/* A whole id through Python's base64.b32encode(bytes(range(32))). */
static const char counting[] = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq";

static void id_text_goes_and_comes_back(void **state)
{
	struct id id, back;
	char text[ID_TEXT_SIZE + 1], prefixed[5 + ID_TEXT_SIZE + 1];

	for (size_t i = 0; i < ID_SIZE; i++)
		id.bytes[i] = (uint8_t)i;
	id_format(text, &id);
	assert_string_equal(text, counting);
	for (unsigned i = 0; i < 200; i++) {
		id_of_bytes(&id, &i, sizeof i);
		id_format(text, &id);
		snprintf(prefixed, sizeof prefixed, "moot:%s", text);
		assert_int_equal(id_parse(&back, text), 0);
		assert_true(id_equal(&id, &back));
		memset(&back, 0, sizeof back);
		assert_int_equal(id_parse(&back, prefixed), 0);
		assert_true(id_equal(&id, &back));
	}
}

static void id_parse_refuses(void **state)
{
	static const struct {
		const char *name, *text;
	} cases[] = {
		{ "nothing", "" },
		{ "scheme only", "moot:" },
		{ "a character short", "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp" },
		{ "a character long", "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypqa" },
		{ "bits over in the last", "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypr" },
		{ "upper case", "AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPQ" },
		{ "not in the alphabet", "aaaqeayeaudaocajb1fqydiob4ibceqtcqkrmfyydenbwha5dypq" },
		{ "scheme twice", "moot:moot:aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq" },
		{ "a space", " aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp" },
		{ "a new line", "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq\n" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct id id, before;

		memset(&id, 7, sizeof id);
		before = id;
		if (id_parse(&id, cases[i].text) != -EINVAL)
			fail_msg("%s: accepted", cases[i].name);
		assert_true(id_equal(&id, &before));
	}
}

static void id_prefix_bounds_all_that_begin_so(void **state)
{
	struct id least, greatest, id;
	char text[ID_TEXT_SIZE + 1];

	for (size_t i = 0; i < ID_SIZE; i++)
		id.bytes[i] = (uint8_t)i;
	for (size_t size = 0; size <= ID_TEXT_SIZE; size++) {
		snprintf(text, sizeof text, "%.*s", (int)size, counting);
		int expected = size < ID_PREFIX_MIN ? -EINVAL : 0;
		assert_int_equal(id_parse_prefix(&least, &greatest, text), expected);
		if (expected < 0)
			continue;
		assert_true(id_compare(&least, &id) <= 0);
		assert_true(id_compare(&greatest, &id) >= 0);
		assert_int_equal(id_equal(&least, &greatest), size == ID_TEXT_SIZE);

		char end[ID_TEXT_SIZE + 1];
		id_format(end, &least);
		assert_memory_equal(end, text, size);
		id_format(end, &greatest);
		assert_memory_equal(end, text, size);
	}
	assert_int_equal(id_parse_prefix(&least, &greatest, "moot:aaaq"), 0);
	assert_int_equal(least.bytes[2], 0x00);
	assert_int_equal(greatest.bytes[2], 0x0f);
	assert_int_equal(greatest.bytes[31], 0xff);
	assert_int_equal(id_parse_prefix(&least, &greatest, "moot:aaa"), -EINVAL);
	assert_int_equal(id_parse_prefix(&least, &greatest, "aaa1"), -EINVAL);
	assert_int_equal(id_parse_prefix(&least, &greatest,
					 "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypqa"), -EINVAL);
}

/* --- utf8 --- */

static void utf8_is_rfc_3629(void **state)
{
	static const struct {
		const char *name, *text;
		bool expected;
	} cases[] = {
		{ "empty", "", true },
		{ "ascii", "hello", true },
		{ "two bytes", "gr\xc3\xbc\xc3\x9f", true },
		{ "three bytes", "\xe2\x82\xac", true },
		{ "four bytes", "\xf0\x9f\x8c\xb1", true },
		{ "greatest", "\xf4\x8f\xbf\xbf", true },
		{ "above U+10FFFF", "\xf4\x90\x80\x80", false },
		{ "surrogate", "\xed\xa0\x80", false },
		{ "overlong slash", "\xc0\xaf", false },
		{ "overlong three", "\xe0\x80\xaf", false },
		{ "lone continuation", "a\x80", false },
		{ "cut short", "\xe2\x82", false },
		{ "latin 1", "caf\xe9", false },
		{ "0xff", "\xff", false },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		if (utf8_valid(cases[i].text, strlen(cases[i].text)) != cases[i].expected)
			fail_msg("%s", cases[i].name);
	}
	assert_true(utf8_valid("a\0b", 3));
	assert_true(utf8_valid(NULL, 0));
}

static void utf8_names(void **state)
{
	char longest[256];
	static const struct {
		const char *name, *text;
		size_t size;
		bool expected;
	} cases[] = {
		{ "empty", "", 0, false },
		{ "plain", "notes.md", 8, true },
		{ "dot", ".", 1, false },
		{ "two dots", "..", 2, false },
		{ "three dots", "...", 3, true },
		{ "hidden", ".x", 2, true },
		{ "slash", "a/b", 3, false },
		{ "NUL", "a\0b", 3, false },
		{ "ends in at", "notes.md@", 9, false },
		{ "only at", "@", 1, false },
		{ "at within", "a@b", 3, true },
		{ "not UTF-8", "caf\xe9", 4, false },
		{ "new line", "a\nb", 3, true },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		if (utf8_valid_name(cases[i].text, cases[i].size) != cases[i].expected)
			fail_msg("%s", cases[i].name);
	}
	memset(longest, 'x', sizeof longest);
	assert_true(utf8_valid_name(longest, 255));
	assert_false(utf8_valid_name(longest, 256));
}

/* --- why --- */

static void why_carries_a_sentence(void **state)
{
	struct why why;

	assert_int_equal(why_set(NULL, -EIO, "nobody reads %d", 1), -EIO);
	assert_int_equal(why_set(&why, -EBADMSG, "seq %d is missing", 3), -EBADMSG);
	assert_string_equal(why.text, "seq 3 is missing");
	assert_string_equal(why_errno(-ENOSPC), "the disk is full");
	assert_true(strlen(why_errno(-EXDEV)) > 0);
	assert_string_equal(why_errno(-100000), "an unknown error");
	assert_string_equal(why_errno(5), "an unknown error");
}

static void why_cuts_at_a_character(void **state)
{
	char text[WHY_SIZE + 8];
	struct why why;

	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'x', sizeof text);
		for (size_t i = shift; i + 3 < sizeof text; i += 3)
			memcpy(text + i, "\xe2\x82\xac", 3);
		text[sizeof text - 1] = '\0';
		why_set(&why, -EIO, "%s", text);
		assert_true(utf8_valid(why.text, strlen(why.text)));
		assert_true(strlen(why.text) >= WHY_SIZE - 4);
	}
}

/* --- clock --- */

static void clock_of_the_system(void **state)
{
	struct clock c = clock_system();
	uint8_t a[32] = { 0 }, b[32] = { 0 };

	uint64_t before = clock_now_ms(&c);
	assert_true(clock_now_ms(&c) >= before);
	assert_true(clock_time_ms(&c) > 1700000000000ull);
	assert_true(clock_time_ns(&c) / 1000000 - clock_time_ms(&c) < 10000);
	clock_random(&c, a, sizeof a);
	clock_random(&c, b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
}

/* --- file --- */

struct folder {
	char path[4096];
	int fd;
};

static int folder_setup(void **state)
{
	struct folder *f = calloc(1, sizeof *f);
	const char *tmp = getenv("TMPDIR");

	if (!f)
		return -1;
	snprintf(f->path, sizeof f->path, "%s/moot-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->path))
		return -1;
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return f->fd < 0 ? -1 : 0;
}

static int folder_teardown(void **state)
{
	struct folder *f = *state;
	char command[5000];

	close(f->fd);
	snprintf(command, sizeof command, "rm -rf -- '%s'", f->path);
	int result = system(command);
	free(f);
	return result;
}

static size_t count_entries(const struct folder *f)
{
	char command[5000];
	unsigned count = 0;

	snprintf(command, sizeof command, "ls -A '%s' | wc -l", f->path);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%u", &count), 1);
	pclose(pipe);
	return count;
}

static void expect_contents(struct folder *f, const char *path, const char *expected)
{
	CLEANUP(cleanup_free) uint8_t *bytes = NULL;
	size_t size;

	assert_int_equal(file_read(f->fd, path, 1 << 20, &bytes, &size), 0);
	assert_int_equal(size, strlen(expected));
	assert_string_equal((char *)bytes, expected);
}

static void file_replaces_whole(void **state)
{
	struct folder *f = *state;
	struct stat st;

	assert_int_equal(file_replace(f->fd, "a", 0600, "one", 3), 0);
	expect_contents(f, "a", "one");
	assert_int_equal(file_replace(f->fd, "a", 0644, "another", 7), 0);
	expect_contents(f, "a", "another");
	assert_int_equal(file_replace(f->fd, "a", 0644, NULL, 0), 0);
	expect_contents(f, "a", "");
	assert_int_equal(fstatat(f->fd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(count_entries(f), 1); /* nothing left beside */
	assert_int_equal(file_replace(f->fd, "no/such", 0600, "x", 1), -ENOENT);
	assert_int_equal(mkdirat(f->fd, "sub", 0700), 0);
	assert_int_equal(file_replace(f->fd, "sub/a", 0600, "in sub", 6), 0);
	expect_contents(f, "sub/a", "in sub");
	assert_int_equal(file_replace(f->fd, "sub", 0600, "x", 1), -EISDIR);
	assert_int_equal(count_entries(f), 2);
}

/* A replacer that is killed at any moment leaves the old or the new, and does not block the next. */
static void file_replace_leaves_the_old_or_the_new(void **state)
{
	struct folder *f = *state;
	enum { SIZE = 200 * 1000 };
	CLEANUP(cleanup_free) uint8_t *text = malloc(SIZE);

	assert_non_null(text);
	memset(text, 'a', SIZE);
	assert_int_equal(file_replace(f->fd, "a", 0600, text, SIZE), 0);
	for (unsigned round = 0; round < 30; round++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			for (unsigned i = 0;; i++) {
				memset(text, 'a' + (int)(i % 26), SIZE);
				file_replace(f->fd, "a", 0600, text, SIZE);
			}
		}
		usleep(500 * round);
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);

		CLEANUP(cleanup_free) uint8_t *bytes = NULL;
		size_t size;
		assert_int_equal(file_read(f->fd, "a", SIZE, &bytes, &size), 0);
		assert_int_equal(size, SIZE);
		for (size_t i = 1; i < size; i++)
			assert_int_equal(bytes[i], bytes[0]);
	}
	assert_int_equal(file_replace(f->fd, "a", 0600, "end", 3), 0);
	expect_contents(f, "a", "end");
}

static void file_replace_that_fails_leaves_the_old(void **state)
{
	struct folder *f = *state;
	struct rlimit old, small;
	static uint8_t text[64 * 1024];

	assert_int_equal(file_replace(f->fd, "a", 0600, "old", 3), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 1000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int err = file_replace(f->fd, "a", 0600, text, sizeof text);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, -EFBIG);
	expect_contents(f, "a", "old");
	assert_int_equal(count_entries(f), 1);
}

static void file_reads_within_its_limit(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		size_t size, size_max;
		int expected;
	} cases[] = {
		{ "empty, nothing allowed", 0, 0, 0 },
		{ "one, nothing allowed", 1, 0, -EFBIG },
		{ "exactly", 1000, 1000, 0 },
		{ "one over", 1001, 1000, -EFBIG },
		{ "large exactly", 300000, 300000, 0 },
		{ "large over", 300001, 300000, -EFBIG },
		{ "no limit", 300001, SIZE_MAX, 0 },
	};
	CLEANUP(cleanup_free) uint8_t *text = malloc(300001);

	assert_non_null(text);
	memset(text, 'q', 300001);
	for (size_t i = 0; i < COUNT(cases); i++) {
		CLEANUP(cleanup_free) uint8_t *bytes = NULL;
		size_t size = 77;

		assert_int_equal(file_replace(f->fd, "a", 0600, text, cases[i].size), 0);
		int err = file_read(f->fd, "a", cases[i].size_max, &bytes, &size);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		assert_int_equal(size, err ? 77 : cases[i].size);
		if (err == 0)
			assert_int_equal(bytes[size], 0);
	}
	uint8_t *none = NULL;
	size_t size;
	assert_int_equal(file_read(f->fd, "none", 10, &none, &size), -ENOENT);
	assert_int_equal(file_read(f->fd, ".", 10, &none, &size), -EISDIR);
	assert_null(none);
}

/* Its st_size is 0, its contents are not. */
static void file_reads_of_unknown_size(void **state)
{
	CLEANUP(cleanup_free) uint8_t *bytes = NULL;
	size_t size = 0;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/smaps", 1 << 24, &bytes, &size), 0);
	assert_true(size > 20000);
	assert_int_equal(strlen((char *)bytes), size);
}

static void file_reads_and_writes_all(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_close) int fd = openat(f->fd, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[16];

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, "hello", 5), 0);
	assert_int_equal(file_pwrite_all(fd, "J", 1, 0), 0);
	assert_int_equal(file_pwrite_all(fd, "!", 1, 7), 0);
	assert_int_equal(file_pread_all(fd, text, sizeof text, 0), 8);
	assert_memory_equal(text, "Jello\0\0!", 8);
	assert_int_equal(file_pread_all(fd, text, 3, 4), 3);
	assert_int_equal(file_pread_all(fd, text, 3, 100), 0);
	assert_int_equal(file_pread_all(-1, text, 3, 0), -EBADF);
	assert_int_equal(file_write_all(-1, text, 3), -EBADF);
	assert_int_equal(file_pwrite_all(-1, text, 3, 0), -EBADF);
}

static void file_makes_directories(void **state)
{
	struct folder *f = *state;
	char path[5000];
	struct stat st;

	snprintf(path, sizeof path, "%s/x//y/z/", f->path);
	assert_int_equal(file_make_directories(path, 0700), 0);
	assert_int_equal(file_make_directories(path, 0700), 0);
	assert_int_equal(fstatat(f->fd, "x/y/z", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(file_make_directories("/", 0700), 0);

	assert_int_equal(file_replace(f->fd, "file", 0600, "", 0), 0);
	snprintf(path, sizeof path, "%s/file", f->path);
	assert_int_equal(file_make_directories(path, 0700), -ENOTDIR);
	snprintf(path, sizeof path, "%s/file/below", f->path);
	assert_int_equal(file_make_directories(path, 0700), -ENOTDIR);
	assert_int_equal(file_make_directories("", 0700), -ENOENT);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_appends_in_order),
		cmocka_unit_test(bytes_stops_at_its_maximum),
		cmocka_unit_test(bytes_extends_by_nothing_without_failing),
		cmocka_unit_test(bytes_formats_long_lines),
		cmocka_unit_test(wire_reads_what_bytes_puts),
		cmocka_unit_test(wire_fails_for_good),
		cmocka_unit_test(id_hashes_as_blake2b),
		cmocka_unit_test(id_text_agrees_with_rfc_4648),
		cmocka_unit_test(id_text_goes_and_comes_back),
		cmocka_unit_test(id_parse_refuses),
		cmocka_unit_test(id_prefix_bounds_all_that_begin_so),
		cmocka_unit_test(utf8_is_rfc_3629),
		cmocka_unit_test(utf8_names),
		cmocka_unit_test(why_carries_a_sentence),
		cmocka_unit_test(why_cuts_at_a_character),
		cmocka_unit_test(clock_of_the_system),
		WITH_FOLDER(file_replaces_whole),
		WITH_FOLDER(file_replace_leaves_the_old_or_the_new),
		WITH_FOLDER(file_replace_that_fails_leaves_the_old),
		WITH_FOLDER(file_reads_within_its_limit),
		cmocka_unit_test(file_reads_of_unknown_size),
		WITH_FOLDER(file_reads_and_writes_all),
		WITH_FOLDER(file_makes_directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
