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
	struct journal *j = open_small(f, 160, NULL);
	for (unsigned n = 0; n < 9; n++)
		append_ok(j, n, 40, NULL);
	assert_int_equal(journal_scan(j, 0, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(journal_scan_segment(j, 2, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(journal_scan_segment(j, 99, stop_at_third, NULL, NULL), -ENOENT);
	assert_int_equal(scan_as_other(f->fd, stop_at_third, NULL, NULL), -ENOENT);
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
		{ "none at all", 0 }, { "no such segment", 9ull << 32 }, { "the head of the segment", 1ull << 32 },
		{ "inside a head", (1ull << 32) + 24 }, { "inside the bytes", (1ull << 32) + 50 },
		{ "the end", (1ull << 32) + 168 }, { "less than a head before the end", (1ull << 32) + 150 },
		{ "far beyond", (1ull << 32) + UINT32_MAX },
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
	assert_int_equal(journal_open_readonly(&j, f->fd, &why), -ENOENT);
	assert_true(why.text[0]);

	write_file(f, "journal", "", 0);
	why.text[0] = '\0';
	assert_int_equal(journal_open(&j, f->fd, false, &why), -ENOTDIR);
	assert_true(why.text[0]);
	unlinkat(f->fd, "journal", 0);

	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	assert_int_equal(mkfifoat(f->fd, "journal/00000001.seg", 0600), 0);
	why.text[0] = '\0';
	assert_int_equal(journal_open(&j, f->fd, false, &why), -EBADMSG);
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
	assert_int_equal(journal_end(j), (1ull << 32) + SEGMENT_HEAD_SIZE);
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
	struct journal *j = open_small(f, 84, NULL);
	for (unsigned n = 0; n < 200; n++) {
		append_ok(j, n, 40, &places[n]);
		if (n % 10 == 0)
			assert_int_equal(journal_sync(j), 0);
	}
	assert_int_equal(journal_segments(j, NULL, 0), 200);
	assert_int_equal(journal_sync(j), 0);
	assert_true(j->open_count <= OPEN_FILES_MAX);

	for (unsigned n = 0; n < 100; n++)
		append_ok(j, n, 40, &places[100 + n]);
	for (unsigned n = 0; n < 200; n++)
		check_read(j, places[n], n < 100 ? n : n - 100, 40);
	/* An error of writing back is told only to descriptors that were open before. */
	assert_non_null(j->segments[299].file);
	assert_int_equal(journal_sync(j), 0);
	for (unsigned n = 0; n < 100; n++)
		append_ok(j, n, 40, &places[n]);
	assert_int_equal(journal_sync(j), 0);
	check_read(j, (1ull << 32) + SEGMENT_HEAD_SIZE, 0, 40);
	assert_true(j->open_count <= OPEN_FILES_MAX);
	assert_int_equal(journal_close(j), 0);
}

/* ---- damage ---- */

static void test_format(void **state)
{
	struct folder *f = *state;
	/* The crcs are those that another program made of: the first 16; the salt, the place, the 16 after the magic, abc. */
	static const uint8_t wanted[] = {
		0xe7, 'M', 'S', 0x1a, 2, 0, 0, 0, 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 0x9f, 0x86, 0x86, 0xe9,
		0xe7, 'M', 'J', 0x1a, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0x3a, 0x93, 0x5d, 0x04, 'a', 'b', 'c',
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
		bool begun = cut >= SEGMENT_HEAD_SIZE;
		size_t whole = begun ? (cut - SEGMENT_HEAD_SIZE) / SMALL_STEP : 0;
		size_t end = begun ? SMALL_AT(whole) : 0, left = cut - end;
		scan_readonly(f, seen);
		assert_int_equal(seen->count, whole);
		assert_int_equal(seen->damages, left != 0);
		if (left)
			assert_true(seen->damage.torn_tail && seen->damage.offset == end && seen->damage.size == left);

		struct journal *j = open_small(f, 0, NULL);
		if (left) {
			assert_int_equal(read_file(f, "journal/00000001.torn", torn, sizeof(torn)), left);
			assert_memory_equal(torn, bytes + end, left);
		} else {
			assert_int_equal(file_size(f, "journal/00000001.torn"), SIZE_MAX);
		}
		assert_int_equal(file_size(f, "journal/00000001.seg"), SMALL_AT(whole));
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
	for (size_t bit = 8 * SEGMENT_HEAD_SIZE; bit < size * 8; bit++) {
		size_t hurt = (bit / 8 - SEGMENT_HEAD_SIZE) / SMALL_STEP;
		uint8_t flipped = bytes[bit / 8] ^ (uint8_t)(1u << bit % 8);
		assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
		scan_readonly(f, seen);
		assert_int_equal(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);

		if (seen->count != SMALL_COUNT - 1 || seen->damages != 1)
			fail_msg("bit %zu: %zu entries, %zu damages", bit, seen->count, seen->damages);
		for (size_t i = 0; i < seen->count; i++)
			assert_int_equal(seen->numbers[i], i < hurt ? i + 1 : i + 2);
		assert_int_equal(seen->damage.offset, SMALL_AT(hurt));
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
	bytes[SMALL_AT(2) + 30] ^= 1;
	write_file(f, "journal/00000001.seg", bytes, size);
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 0, NULL);
	assert_int_equal(file_size(f, "journal/00000001.seg"), size);
	assert_int_equal(journal_read(j, (1ull << 32) + SMALL_AT(2), NULL, out, sizeof(out)), -EBADMSG);
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
	uint8_t *all = malloc(2 << 20);
	static const struct {
		const char *name;
		size_t garbage; /* bytes, and two heads, that stood after the second entry */
		const char *pattern;
		size_t pattern_size;
	} cases[] = {
		{ "texts", 1, "x", 1 },
		{ "a magic", 4, "\xe7MJ\x1a", 4 },
		{ "less than a head of zeroes", 23, "\0", 1 },
		{ "magics", 20000, "\xe7MJ\x1a", 4 },
		{ "heads that claim much", 20000, "\xe7MJ\x1a\1\0\0\0\0\0\0\0\xe8\xff\1\0\1\0\0\0\0\0\0\0", 24 },
		{ "zeroes", 700001, "\0", 1 },
		{ "halves of magics", 5000, "\xe7M", 2 },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		remove_journal(f->fd);
		struct journal *j = open_small(f, 0, NULL);
		for (unsigned n = 0; n < SMALL_COUNT; n++) {
			append_ok(j, n, n == 2 ? cases[i].garbage % ENTRY_BYTES_MAX : SMALL_SIZE, NULL);
			for (unsigned k = 0; n == 2 && k < cases[i].garbage / ENTRY_BYTES_MAX; k++)
				append_ok(j, n, ENTRY_BYTES_MAX, NULL);
		}
		size_t at = SMALL_AT(2), rest = 2 * SMALL_STEP;
		size_t end = (size_t)(journal_end(j) & UINT32_MAX) - rest;
		assert_int_equal(journal_close(j), 0);
		size_t size = read_file(f, "journal/00000001.seg", all, 2 << 20);
		for (size_t k = 0; k < end - at; k++)
			all[at + k] = (uint8_t)cases[i].pattern[k % cases[i].pattern_size];
		write_file(f, "journal/00000001.seg", all, size);
		scan_readonly(f, seen);
		if (seen->count != SMALL_COUNT - 1 || seen->damages != 1 || seen->damage.offset != at ||
		    seen->damage.size != end - at || seen->damage.torn_tail)
			fail_msg("%s: %zu entries, %zu damages", cases[i].name, seen->count, seen->damages);
	}
	free(seen);
	free(all);
}

/*
 * What a document holds must not become an entry because of damage, be it the best
 * that a stranger could know: everything but the salt, even the place.
 */
static void test_entries_within_damaged_entries(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		size_t hurt; /* from the outer entry's begin */
		size_t hurt_size;
		bool copied; /* not a stranger's, but the first entry of this very journal */
	} cases[] = {
		{ "its bytes", ENTRY_HEAD_SIZE + 3, 1, false }, { "its magic", 0, 1, false }, { "its length", 12, 1, false },
		{ "all of its head", 0, ENTRY_HEAD_SIZE, false }, { "a copy, all of its head", 0, ENTRY_HEAD_SIZE, true },
		{ "all before what it holds", 0, ENTRY_HEAD_SIZE + 10, false },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct journal_salt guess = { "YZZZZZZZ" };
		uint8_t inner[SMALL_STEP], bytes[4096];
		make_small(f, bytes);
		struct journal_entry entry = { .kind = 4, .number = SMALL_COUNT + 2, .bytes = inner + ENTRY_HEAD_SIZE,
					       .size = SMALL_SIZE,
					       .place = (1ull << 32) + SMALL_AT(SMALL_COUNT) + ENTRY_HEAD_SIZE + 10 };
		memset(inner, 'x', sizeof(inner));
		journal_put_head(inner, &guess, &entry);
		if (cases[i].copied)
			memcpy(inner, bytes + SMALL_AT(0), SMALL_STEP);
		struct span spans[2] = { { "0123456789", 10 }, { inner, sizeof(inner) } };
		struct journal_part part = { 2, spans, 2 };
		struct journal *j = open_small(f, 0, NULL);
		journal_place place;
		assert_int_equal(journal_append(j, &part, 1, &place), 0);
		append_ok(j, 1, 5, NULL);
		assert_int_equal(journal_close(j), 0);

		size_t size = read_file(f, "journal/00000001.seg", bytes, sizeof(bytes));
		for (size_t k = 0; k < cases[i].hurt_size; k++)
			bytes[SMALL_AT(SMALL_COUNT) + cases[i].hurt + k] ^= 1;
		write_file(f, "journal/00000001.seg", bytes, size);
		scan_readonly(f, seen);
		if (seen->count != SMALL_COUNT + 1 || seen->numbers[SMALL_COUNT] != SMALL_COUNT + 2 ||
		    seen->sizes[SMALL_COUNT] != 5 || seen->damages != 1)
			fail_msg("%s: %zu entries, %zu damages", cases[i].name, seen->count, seen->damages);
		remove_journal(f->fd);
	}
	free(seen);
}

/* ---- the salt ---- */

static void check_whole(const struct folder *f, const char *name, size_t damages)
{
	struct seen *seen = seen_new();
	scan_readonly(f, seen);
	if (seen->count != SMALL_COUNT || seen->damages != damages)
		fail_msg("%s: %zu entries, %zu damages", name, seen->count, seen->damages);
	free(seen);
}

/* Wherever one of its two places is hurt, all entries are still read and the damage is told. */
static void test_salt_is_there_twice(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096], salt[64];
	size_t size = make_small(f, bytes);
	assert_int_equal(read_file(f, "journal/salt", salt, sizeof(salt)), SEGMENT_HEAD_SIZE);
	for (size_t bit = 0; bit < 8 * SEGMENT_HEAD_SIZE; bit++) {
		uint8_t flipped[4096];
		memcpy(flipped, bytes, size);
		flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		make_segment(f, flipped, size);
		check_whole(f, "the segment's head", 1);
		struct journal *j = open_small(f, 0, NULL);
		assert_int_equal(journal_end(j), (1ull << 32) + size);
		assert_int_equal(journal_close(j), 0);

		make_segment(f, bytes, size);
		memcpy(flipped, salt, SEGMENT_HEAD_SIZE);
		flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		write_file(f, "journal/salt", flipped, bit % 2 ? SEGMENT_HEAD_SIZE : bit / 8);
		check_whole(f, "journal/salt", 1);
		j = open_small(f, 0, NULL); /* made anew */
		assert_int_equal(journal_close(j), 0);
		check_whole(f, "journal/salt made anew", 0);
	}
	make_segment(f, bytes, size);
	unlinkat(f->fd, "journal/salt", 0);
	check_whole(f, "no journal/salt", 1);
}

/* As a power cut leaves it: the first segment was begun and nothing in it is durable. */
static void test_segment_without_head_and_entries(void **state)
{
	struct folder *f = *state;
	static const uint8_t zeroes[5000];
	static const size_t sizes[] = { 0, 1, SEGMENT_HEAD_SIZE - 1, SEGMENT_HEAD_SIZE, 100, 5000 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_segment(f, zeroes, sizes[i]);
		struct journal *j = open_small(f, 0, NULL);
		for (unsigned n = 0; n < SMALL_COUNT; n++)
			append_ok(j, n, SMALL_SIZE, NULL);
		assert_int_equal(journal_close(j), 0);
		check_whole(f, "begun anew", 0);
		assert_int_equal(file_size(f, "journal/00000001.torn"), sizes[i] ? sizes[i] : SIZE_MAX);
	}
}

static void test_other_formats_are_refused(void **state)
{
	struct folder *f = *state;
	static const uint8_t first[] = {
		0xe7, 'M', 'J', 0x1a, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0xf5, 0x93, 0x22, 0xaa, 'a', 'b', 'c',
	};
	uint8_t next[SEGMENT_HEAD_SIZE] = { 0xe7, 'M', 'S', 0x1a, 3, 0, 0, 0, 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 'Z', 0xf0, 0xca, 0x23, 0x72 };
	const struct {
		const char *name;
		const void *salt, *segment; /* NULL: none */
		size_t size;                /* of the segment */
		int expected;
		const char *word; /* of the sentence */
	} cases[] = {
		{ "the first", NULL, first, sizeof(first), -EPROTONOSUPPORT, "format" },
		{ "the next", next, next, sizeof(next), -EPROTONOSUPPORT, "format" },
		{ "the next, its salt lost", NULL, next, sizeof(next), -EPROTONOSUPPORT, "format" },
		{ "no salt", NULL, "some other file of any kind", 27, -EBADMSG, "salt" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t bytes[64];
		struct journal *j = NULL;
		make_segment(f, cases[i].segment, cases[i].size);
		unlinkat(f->fd, "journal/salt", 0);
		if (cases[i].salt)
			write_file(f, "journal/salt", cases[i].salt, SEGMENT_HEAD_SIZE);
		for (int readonly = 0; readonly < 2; readonly++) {
			struct why why = { "" };
			int err = readonly ? journal_open_readonly(&j, f->fd, &why) : journal_open(&j, f->fd, false, &why);
			if (err != cases[i].expected || !strstr(why.text, cases[i].word))
				fail_msg("%s: %d %s", cases[i].name, err, why.text);
		}
		assert_int_equal(read_file(f, "journal/00000001.seg", bytes, sizeof(bytes)), cases[i].size);
		assert_memory_equal(bytes, cases[i].segment, cases[i].size);
	}
}

/* ---- power cuts ---- */

#define WHOLE_COUNT 12 /* entries of SMALL_SIZE: 4 of the first segment, 4 durable and 4 not in the second */

/* Wipes out `count` entries from the one with this number, as a disk does that had not written them. */
static void wipe(const struct folder *f, unsigned number, unsigned count)
{
	const uint8_t zeroes[WHOLE_COUNT * SMALL_STEP] = { 0 };
	const char *path = number <= 4 ? "journal/00000001.seg" : "journal/00000002.seg";
	int fd = openat(f->fd, path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, zeroes, count * SMALL_STEP, (off_t)SMALL_AT((number - 1) % 4 + 4 * (number > 8))),
			 count * SMALL_STEP);
	close(fd);
}

static void make_whole(const struct folder *f)
{
	remove_journal(f->fd);
	struct journal *j = open_small(f, SMALL_AT(8), NULL);
	for (unsigned n = 0; n < WHOLE_COUNT; n++) {
		append_ok(j, n, SMALL_SIZE, NULL);
		if (n + 1 == 4)
			assert_int_equal(journal_rotate(j), 0);
		if (n + 1 == 8)
			assert_int_equal(journal_sync(j), 0);
	}
	assert_int_equal(journal_close(j), 0);
}

/*
 * What was not durable ends before its first hole, what was durable stays
 * around its damage; and holes are cut only after a power cut.
 */
static void test_holes_after_a_power_cut(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		unsigned number, count; /* of what is missing */
		unsigned kept, last;    /* entries then, and the number of the last */
		size_t damages;
	} cases[] = {
		{ "nothing", 9, 0, 12, 12, 0 },
		{ "the first that was not durable", 9, 1, 8, 8, 0 },
		{ "the second", 10, 1, 9, 9, 0 },
		{ "two", 10, 2, 9, 9, 0 },
		{ "the last: a torn tail", 12, 1, 11, 11, 0 },
		{ "all that was not durable", 9, 4, 8, 8, 0 },
		{ "one that was durable", 6, 1, 11, 12, 1 },
		{ "the first of the segment, which was", 5, 1, 11, 12, 1 },
		{ "one in the segment before", 3, 1, 11, 12, 1 },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int cut = 0; cut < 2; cut++) {
			make_whole(f);
			wipe(f, cases[i].number, cases[i].count);
			struct journal *j = open_after(f, SMALL_AT(8), NULL, cut);
			scan_all(j, seen);
			bool torn = cases[i].number + cases[i].count > WHOLE_COUNT;
			size_t kept = cut || torn ? cases[i].kept : WHOLE_COUNT - cases[i].count;
			if (seen->count != kept || (cut && seen->damages != cases[i].damages) ||
			    (cut && seen->numbers[kept - 1] != cases[i].last))
				fail_msg("%s%s: %zu entries to %zu, %zu damages", cases[i].name, cut ? ", cut" : "",
					 seen->count, (size_t)seen->numbers[seen->count - 1], seen->damages);
			bool aside = cut && cases[i].kept < 11;
			if (cut)
				assert_int_equal(file_size(f, "journal/00000002.torn") != SIZE_MAX, aside || torn);
			append_ok(j, 3, 3, NULL);
			assert_int_equal(journal_close(j), 0);
		}
	}
	free(seen);
}

/* A segment of which nothing was durable: its first entries, or its head, are missing. */
static void test_holes_where_a_segment_begins(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		size_t offset, size;
		size_t kept, damages;
	} cases[] = {
		{ "the first entry", SEGMENT_HEAD_SIZE, SMALL_STEP, 4, 0 },
		{ "head and entry", 0, SEGMENT_HEAD_SIZE + SMALL_STEP, 4, 0 },
		{ "the head", 0, SEGMENT_HEAD_SIZE, 7, 0 }, /* mended */
	};
	const uint8_t zeroes[200] = { 0 };
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		remove_journal(f->fd);
		struct journal *j = open_small(f, SMALL_AT(4), NULL);
		for (unsigned n = 0; n < 7; n++)
			append_ok(j, n, SMALL_SIZE, NULL);
		assert_int_equal(journal_close(j), 0);
		int fd = openat(f->fd, "journal/00000002.seg", O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, zeroes, cases[i].size, (off_t)cases[i].offset), cases[i].size);
		close(fd);
		j = open_after(f, SMALL_AT(4), NULL, true);
		append_ok(j, 9, 3, NULL);
		scan_all(j, seen);
		if (seen->count != cases[i].kept + 1 || seen->damages != cases[i].damages ||
		    seen->numbers[cases[i].kept] != cases[i].kept + 1)
			fail_msg("%s: %zu entries, %zu damages", cases[i].name, seen->count, seen->damages);
		assert_int_equal(journal_close(j), 0);
	}
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
	assert_int_equal(journal_end(j), (2ull << 32) + SEGMENT_HEAD_SIZE);
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
		TEST(test_salt_is_there_twice),
		TEST(test_segment_without_head_and_entries),
		TEST(test_other_formats_are_refused),
		TEST(test_holes_after_a_power_cut),
		TEST(test_holes_where_a_segment_begins),
		TEST(test_numbers_go_on_after_empty_segments),
		TEST(test_rollback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
