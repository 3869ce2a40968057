/* Tests of journal.h: what was appended is found again, in order, also around damage. */
#include "journal_kit.h"

#include <errno.h>

/* ---- round trips ---- */

static void test_round_trip(void **state)
{
	struct folder *f = *state;
	journal_place places[300], from;
	struct seen *seen = seen_new();
	struct journal_stats stats;

	struct journal *j = open_small(f, 4096, &journal_system_calls);
	assert_true(journal_is_synced(j));
	for (unsigned n = 0; n < 300; n++) {
		append_ok(j, n, n * 37 % 900, &places[n]);
		assert_true(n == 0 || places[n] > places[n - 1]);
		assert_int_equal(journal_end(j), places[n] + ENTRY_HEAD_SIZE + n * 37 % 900);
	}
	assert_false(journal_is_synced(j));
	assert_int_equal(journal_sync(j), 0);
	assert_true(journal_is_synced(j));
	from = places[123];

	for (int again = 0; again < 2; again++) {
		for (unsigned n = 0; n < 300; n++)
			check_read(j, places[n], n, n * 37 % 900);
		scan_all(j, seen);
		assert_int_equal(seen->count, 300);
		assert_int_equal(seen->damages, 0);
		for (unsigned n = 0; n < 300; n++) {
			assert_int_equal(seen->numbers[n], n + 1);
			assert_int_equal(seen->places[n], places[n]);
		}
		memset(seen, 0, sizeof(*seen));
		assert_int_equal(journal_scan(j, from, see, NULL, seen), 0);
		assert_int_equal(seen->count, 300 - 123);
		scan_readonly(f, seen);
		assert_int_equal(seen->count, 300);

		assert_int_equal(journal_close(j), 0);
		j = open_small(f, 4096, NULL);
		/* Who was killed before may have left what is not durable. */
		assert_false(journal_is_synced(j));
		assert_int_equal(journal_sync(j), 0);
		assert_true(journal_is_synced(j));
	}
	journal_stats(j, &stats);
	assert_true(stats.segments > 20);
	assert_int_equal(journal_segments(j, NULL, 0), stats.segments);
	append_ok(j, 300, 5, NULL);
	scan_all(j, seen);
	assert_int_equal(seen->numbers[300], 301);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

static void test_batches_stay_together(void **state)
{
	struct folder *f = *state;
	struct journal *j = open_small(f, 4096, NULL);
	uint8_t bytes[1000] = { 0 };
	struct span span = { bytes, sizeof(bytes) };
	struct journal_part parts[5] = { { 1, &span, 1 }, { 2, &span, 1 }, { 3, &span, 1 }, { 4, NULL, 0 }, { 5, &span, 1 } };
	journal_place planned[5], places[5];

	journal_plan(j, parts, 4, planned);
	assert_int_equal(journal_append(j, parts, 4, places), 0);
	assert_memory_equal(planned, places, sizeof(places[0]) * 4);
	journal_plan(j, parts, 4, planned);
	assert_int_equal(journal_append(j, parts, 4, places), 0);
	assert_memory_equal(planned, places, sizeof(places[0]) * 4);
	assert_int_equal(places[0] >> 32, 2);
	assert_int_equal(places[3] >> 32, 2);

	/* Over a segment, and over an entry. */
	assert_int_equal(journal_append(j, parts, 5, places), -EMSGSIZE);
	assert_int_equal(journal_close(j), 0);
	j = open_small(f, 0, NULL);
	size_t large = JOURNAL_ENTRY_MAX - ENTRY_HEAD_SIZE;
	append_ok(j, 7, large, &places[0]);
	check_read(j, places[0], 7, large);
	assert_int_equal(journal_read(j, places[0], NULL, bytes, sizeof(bytes)), -EMSGSIZE);
	assert_int_equal(append_sized(j, 7, large + 1, &places[0]), -EMSGSIZE);
	assert_int_equal(journal_append(j, NULL, 0, NULL), 0);
	assert_int_equal(journal_close(j), 0);
}

static int stop_at_third(void *context, const struct journal_entry *entry)
{
	return entry->number == 3 ? -ENOENT : 0;
}

static void test_scan_stops(void **state)
{
	struct folder *f = *state;
	struct journal *j = open_small(f, 128, NULL);
	struct why why = { "" };
	for (unsigned n = 0; n < 9; n++)
		append_ok(j, n, 40, NULL);
	assert_int_equal(journal_scan(j, 0, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(journal_scan_segment(j, 2, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(journal_scan_segment(j, 99, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(journal_scan_readonly(f->fd, stop_at_third, NULL, NULL, &why), -ENOENT);
	assert_string_equal(why.text, "");
	assert_int_equal(journal_close(j), 0);
}

static void test_reads_of_wrong_places(void **state)
{
	struct folder *f = *state;
	struct journal *j = open_small(f, 0, NULL);
	journal_place place;
	uint8_t out[64];
	append_ok(j, 1, 50, &place);
	append_ok(j, 2, 50, &place);
	static const struct {
		const char *name;
		journal_place place;
	} cases[] = {
		{ "none at all", 0 }, { "no such segment", 9ull << 32 }, { "inside a head", (1ull << 32) + 4 },
		{ "inside the bytes", (1ull << 32) + 30 }, { "the end", (1ull << 32) + 148 },
		{ "less than a head before the end", (1ull << 32) + 130 }, { "far beyond", (1ull << 32) + UINT32_MAX },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (journal_read(j, cases[i].place, NULL, out, sizeof(out)) != -EBADMSG)
			fail_msg("%s", cases[i].name);
	assert_int_equal(journal_close(j), 0);
}

static void test_readonly(void **state)
{
	struct folder *f = *state;
	struct journal *j = open_small(f, 512, NULL), *r = NULL;
	struct why why = { "" };
	struct seen *seen = seen_new();
	journal_place places[20], moved;
	for (unsigned n = 0; n < 10; n++)
		append_ok(j, n, 100, &places[n]);
	assert_int_equal(pwrite(j->segments[j->segment_count - 1].file->fd, "torn", 4,
				(off_t)(journal_end(j) & UINT32_MAX)), 4);

	assert_int_equal(journal_open_readonly(&r, f->fd, &why), 0);
	assert_int_equal(append_sized(r, 10, 100, &moved), -EROFS);
	assert_int_equal(journal_rollback(r, 0), -EROFS);
	assert_int_equal(journal_rotate(r), -EROFS);
	assert_int_equal(journal_compact_prepare(r, 1, NULL, NULL, NULL), -EROFS);
	assert_int_equal(journal_sync(r), 0);
	append_ok(j, 10, 300, &places[10]);
	append_ok(j, 11, 300, &places[11]);
	for (unsigned n = 0; n < 10; n++)
		check_read(r, places[n], n, 100);
	scan_all(r, seen);
	assert_int_equal(seen->count, 10);
	assert_int_equal(file_size(f, "journal/00000001.torn"), SIZE_MAX);
	assert_int_equal(journal_close(r), 0);
	assert_int_equal(journal_close(j), 0);

	remove_journal(f->fd);
	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	assert_int_equal(journal_open_readonly(&r, f->fd, &why), 0);
	scan_all(r, seen);
	assert_int_equal(seen->count, 0);
	assert_int_equal(journal_end(r), 0);
	assert_int_equal(journal_close(r), 0);
	assert_int_equal(file_size(f, "journal/00000001.seg"), SIZE_MAX);
	free(seen);
}

static void test_open_refuses(void **state)
{
	struct folder *f = *state;
	struct journal *j = NULL;
	struct why why = { "" };
	assert_int_equal(journal_scan_readonly(f->fd, see, NULL, NULL, &why), -ENOENT);
	assert_true(why.text[0]);

	write_file(f, "journal", "", 0);
	why.text[0] = '\0';
	assert_int_equal(journal_open(&j, f->fd, &why), -ENOTDIR);
	assert_true(why.text[0]);
	unlinkat(f->fd, "journal", 0);

	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	assert_int_equal(mkfifoat(f->fd, "journal/00000001.seg", 0600), 0);
	why.text[0] = '\0';
	assert_int_equal(journal_open(&j, f->fd, &why), -EBADMSG);
	assert_true(why.text[0]);
	assert_null(j);
}

static void test_other_files_are_left_alone(void **state)
{
	struct folder *f = *state;
	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	static const char *const names[] = {
		"journal/1.seg", "journal/00000000.seg", "journal/00000002.segx", "journal/notes", "journal/00000001.torn",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		write_file(f, names[i], "x", 1);
	write_file(f, "journal/00000001.new", "x", 1);
	write_file(f, "journal/00000001.copy", "x", 1);
	struct journal *j = open_small(f, 0, NULL);
	assert_int_equal(journal_segments(j, NULL, 0), 1);
	assert_int_equal(journal_end(j), 1ull << 32);
	assert_int_equal(journal_close(j), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(file_size(f, names[i]), 1);
	assert_int_equal(file_size(f, "journal/00000001.new"), SIZE_MAX);
	assert_int_equal(file_size(f, "journal/00000001.copy"), SIZE_MAX);
}

static void test_many_segments_few_files(void **state)
{
	struct folder *f = *state;
	journal_place places[200];
	struct journal *j = open_small(f, 64, NULL);
	for (unsigned n = 0; n < 200; n++) {
		append_ok(j, n, 40, &places[n]);
		if (n % 10 == 0)
			assert_int_equal(journal_sync(j), 0);
	}
	assert_int_equal(journal_segments(j, NULL, 0), 200);
	assert_int_equal(journal_sync(j), 0);
	assert_true(j->open_count <= OPEN_FILES_MAX);

	/* An error of writing back is told only to descriptors that were open before. */
	for (unsigned n = 0; n < 100; n++)
		append_ok(j, n, 40, &places[100 + n]);
	for (unsigned n = 0; n < 200; n++)
		check_read(j, places[n], n < 100 ? n : n - 100, 40);
	for (size_t i = 200; i < 300; i++)
		assert_non_null(j->segments[i].file);
	assert_int_equal(journal_sync(j), 0);
	for (unsigned n = 0; n < 100; n++)
		append_ok(j, n, 40, &places[n]);
	assert_int_equal(journal_sync(j), 0);
	check_read(j, 1ull << 32, 0, 40);
	assert_true(j->open_count <= OPEN_FILES_MAX);
	assert_int_equal(journal_close(j), 0);
}

/* ---- damage ---- */

static void test_format(void **state)
{
	struct folder *f = *state;
	/* number 1, length 3, kind 4, "abc"; the crc is zlib.crc32 of those 16 bytes and abc */
	static const uint8_t wanted[] = {
		0xe7, 'M', 'J', 0x1a, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0,
		0xf5, 0x93, 0x22, 0xaa, 'a', 'b', 'c',
	};
	uint8_t bytes[64];
	struct journal *j = open_small(f, 0, NULL);
	struct span span = { "abc", 3 };
	struct journal_part part = { 4, &span, 1 };
	journal_place place;
	assert_int_equal(journal_append(j, &part, 1, &place), 0);
	assert_int_equal(journal_close(j), 0);
	assert_int_equal(read_file(f, "journal/00000001.seg", bytes, sizeof(bytes)), sizeof(wanted));
	assert_memory_equal(bytes, wanted, sizeof(wanted));
}

static void test_torn_tail_at_every_byte(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096], torn[4096];
	size_t size = make_small(f, bytes);
	struct seen *seen = seen_new();
	for (size_t cut = 0; cut < size; cut++) {
		make_segment(f, bytes, cut);
		size_t whole = cut / SMALL_STEP, left = cut % SMALL_STEP;
		scan_readonly(f, seen);
		assert_int_equal(seen->count, whole);
		assert_int_equal(seen->damages, left != 0);
		if (left)
			assert_true(seen->damage.torn_tail && seen->damage.offset == whole * SMALL_STEP &&
				    seen->damage.size == left);

		struct journal *j = open_small(f, 0, NULL);
		if (left) {
			assert_int_equal(read_file(f, "journal/00000001.torn", torn, sizeof(torn)), left);
			assert_memory_equal(torn, bytes + whole * SMALL_STEP, left);
		} else {
			assert_int_equal(file_size(f, "journal/00000001.torn"), SIZE_MAX);
		}
		assert_int_equal(file_size(f, "journal/00000001.seg"), whole * SMALL_STEP);
		append_ok(j, 9, 3, NULL);
		scan_all(j, seen);
		assert_int_equal(seen->count, whole + 1);
		assert_int_equal(seen->numbers[whole], whole + 1);
		assert_int_equal(seen->damages, 0);
		assert_int_equal(journal_close(j), 0);
	}
	free(seen);
}

static void test_torn_tails_are_all_kept(void **state)
{
	struct folder *f = *state;
	static const char *const names[] = { "journal/00000001.torn", "journal/00000001.torn.2", "journal/00000001.torn.3" };
	uint8_t bytes[4096], got[16];
	size_t size = make_small(f, bytes);
	for (size_t i = 0; i < 3; i++) {
		memset(bytes + size, (int)('a' + i), 5);
		write_file(f, "journal/00000001.seg", bytes, size + 5);
		assert_int_equal(journal_close(open_small(f, 0, NULL)), 0);
	}
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(read_file(f, names[i], got, sizeof(got)), 5);
		assert_int_equal(got[0], 'a' + i);
	}
}

static void test_every_bit_flipped(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096];
	size_t size = make_small(f, bytes);
	struct seen *seen = seen_new();
	int fd = openat(f->fd, "journal/00000001.seg", O_WRONLY | O_CLOEXEC);
	for (size_t bit = 0; bit < size * 8; bit++) {
		size_t hurt = bit / 8 / SMALL_STEP;
		uint8_t flipped = bytes[bit / 8] ^ (uint8_t)(1u << bit % 8);
		assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
		scan_readonly(f, seen);
		assert_int_equal(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);

		if (seen->count != SMALL_COUNT - 1 || seen->damages != 1)
			fail_msg("bit %zu: %zu entries, %zu damages", bit, seen->count, seen->damages);
		for (size_t i = 0; i < seen->count; i++)
			assert_int_equal(seen->numbers[i], i < hurt ? i + 1 : i + 2);
		assert_int_equal(seen->damage.offset, hurt * SMALL_STEP);
		assert_int_equal(seen->damage.size, SMALL_STEP);
		assert_int_equal(seen->damage.torn_tail, hurt == SMALL_COUNT - 1);
	}
	close(fd);
	free(seen);
}

static void test_damage_in_the_middle_stays(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096], out[64];
	size_t size = make_small(f, bytes);
	bytes[2 * SMALL_STEP + 30] ^= 1;
	write_file(f, "journal/00000001.seg", bytes, size);
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 0, NULL);
	assert_int_equal(file_size(f, "journal/00000001.seg"), size);
	assert_int_equal(journal_read(j, (1ull << 32) + 2 * SMALL_STEP, NULL, out, sizeof(out)), -EBADMSG);
	append_ok(j, 5, 40, NULL);
	scan_all(j, seen);
	assert_int_equal(seen->count, SMALL_COUNT);
	assert_int_equal(seen->numbers[SMALL_COUNT - 1], SMALL_COUNT + 1);
	assert_int_equal(seen->damages, 1);
	assert_false(seen->damage.torn_tail);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

static void test_garbage_between(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096], *all = malloc(2 << 20);
	make_small(f, bytes);
	static const struct {
		const char *name;
		size_t garbage; /* bytes after the second entry */
		const char *pattern;
		size_t pattern_size;
	} cases[] = {
		{ "one byte", 1, "x", 1 },
		{ "a magic", 4, "\xe7MJ\x1a", 4 },
		{ "less than a head of zeroes", 23, "\0", 1 },
		{ "magics", 20000, "\xe7MJ\x1a", 4 },
		{ "heads that claim much", 20000, "\xe7MJ\x1a\1\0\0\0\0\0\0\0\xe8\xff\1\0\1\0\0\0\0\0\0\0", 24 },
		{ "zeroes", 700001, "\0", 1 },
		{ "halves of magics", 5000, "\xe7M", 2 },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t at = 2 * SMALL_STEP, rest = (SMALL_COUNT - 2) * SMALL_STEP;
		memcpy(all, bytes, at);
		for (size_t k = 0; k < cases[i].garbage; k++)
			all[at + k] = (uint8_t)cases[i].pattern[k % cases[i].pattern_size];
		memcpy(all + at + cases[i].garbage, bytes + at, rest);
		make_segment(f, all, at + cases[i].garbage + rest);
		scan_readonly(f, seen);
		if (seen->count != SMALL_COUNT || seen->damages != 1 || seen->damage.offset != at ||
		    seen->damage.size != cases[i].garbage || seen->damage.torn_tail)
			fail_msg("%s: %zu entries, %zu damages", cases[i].name, seen->count, seen->damages);
	}
	free(seen);
	free(all);
}

/* What a document holds must not become entries because a byte of it went bad. */
static void test_entries_within_damaged_entries(void **state)
{
	struct folder *f = *state;
	uint8_t inner[64], bytes[4096];
	struct journal *j = open_small(f, 0, NULL);
	memset(inner, 'x', sizeof(inner));
	journal_put_head(inner, 77, 4, inner + ENTRY_HEAD_SIZE, sizeof(inner) - ENTRY_HEAD_SIZE);
	struct span spans[2] = { { "0123456789", 10 }, { inner, sizeof(inner) } };
	struct journal_part part = { 2, spans, 2 };
	journal_place place;
	for (int i = 0; i < 3; i++)
		assert_int_equal(journal_append(j, &part, 1, &place), 0);
	assert_int_equal(journal_close(j), 0);

	size_t size = read_file(f, "journal/00000001.seg", bytes, sizeof(bytes));
	bytes[size / 3 + ENTRY_HEAD_SIZE + 3] ^= 1;
	write_file(f, "journal/00000001.seg", bytes, size);
	struct seen *seen = seen_new();
	scan_readonly(f, seen);
	assert_int_equal(seen->count, 2);
	assert_int_equal(seen->numbers[1], 3);
	free(seen);
}

static void test_numbers_go_on_after_empty_segments(void **state)
{
	struct folder *f = *state;
	struct journal *j = open_small(f, 0, NULL);
	struct seen *seen = seen_new();
	append_ok(j, 1, 10, NULL);
	append_ok(j, 2, 10, NULL);
	assert_int_equal(journal_rotate(j), 0);
	assert_int_equal(journal_rotate(j), 0); /* nothing to end */
	assert_int_equal(journal_end(j), 2ull << 32);
	assert_int_equal(journal_close(j), 0);
	j = open_small(f, 0, NULL);
	append_ok(j, 3, 10, NULL);
	scan_all(j, seen);
	assert_int_equal(seen->count, 3);
	assert_int_equal(seen->numbers[2], 3);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

/* ---- taking back ---- */

static void test_rollback(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		unsigned before, taken;
		bool sync;
	} cases[] = {
		{ "nothing", 3, 0, false }, { "one", 3, 1, false }, { "all", 0, 2, false },
		{ "into the next segment", 3, 4, false }, { "over several segments", 6, 40, false },
		{ "what is durable already", 3, 20, true },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		remove_journal(f->fd);
		struct journal *j = open_small(f, 512, NULL);
		for (unsigned n = 0; n < cases[i].before; n++)
			append_ok(j, n, 100, NULL);
		journal_place end = journal_end(j);
		for (unsigned n = 0; n < cases[i].taken; n++)
			append_ok(j, 100 + n, 100, NULL);
		if (cases[i].sync)
			assert_int_equal(journal_sync(j), 0);
		assert_int_equal(journal_rollback(j, end), 0);
		assert_int_equal(journal_is_synced(j), 0);
		append_ok(j, 200, 77, NULL);
		assert_int_equal(journal_sync(j), 0);
		scan_all(j, seen);
		if (seen->count != cases[i].before + 1 || seen->numbers[cases[i].before] != cases[i].before + 1 ||
		    seen->sizes[cases[i].before] != 77)
			fail_msg("%s", cases[i].name);
		assert_int_equal(journal_close(j), 0);
		j = open_small(f, 512, NULL);
		scan_all(j, seen);
		assert_int_equal(seen->count, cases[i].before + 1);
		assert_int_equal(seen->damages, 0);
		assert_int_equal(journal_close(j), 0);
	}
	free(seen);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_batches_stay_together),
		TEST(test_scan_stops),
		TEST(test_reads_of_wrong_places),
		TEST(test_readonly),
		TEST(test_open_refuses),
		TEST(test_other_files_are_left_alone),
		TEST(test_many_segments_few_files),
		TEST(test_format),
		TEST(test_torn_tail_at_every_byte),
		TEST(test_torn_tails_are_all_kept),
		TEST(test_every_bit_flipped),
		TEST(test_damage_in_the_middle_stays),
		TEST(test_garbage_between),
		TEST(test_entries_within_damaged_entries),
		TEST(test_numbers_go_on_after_empty_segments),
		TEST(test_rollback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
