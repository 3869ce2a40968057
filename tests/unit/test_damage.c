/*
 * A store whose journal is flipped bit by bit and cut at every length: verify says so, nothing crashes, and what
 * the damage did not hit is read after the index was built anew.  MOOT_LONG=1 takes every bit and every length of
 * small stores, and of a larger one every 37th bit and all of the heads of segments and of every 16th entry: some
 * minutes, where $TMPDIR is in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal_scan.h"
#include "store_helper.h"

#define DOCUMENTS_MAX 128
#define ENTRIES_EACH 2 /* a piece, then the record of the version */
#define FLIPS_SHORT 150
#define CUTS_SHORT 60

struct damage_bench {
	struct test_store t;
	unsigned count;
	struct id versions[DOCUMENTS_MAX];
	struct { journal_place begin, end; } entries[ENTRIES_EACH * DOCUMENTS_MAX];
	unsigned entry_count;
	struct { uint8_t *bytes; size_t size; } segments[2];
	size_t damages; /* tried */
};

static bool is_long(void)
{
	return getenv("MOOT_LONG") != NULL;
}

static void text_of_document(char out[256], unsigned n)
{
	snprintf(out, 256, "Document %u\n\nIts text is the %uth of all, and no other has it.\n", n, n * n);
}

static int note_entry(void *context, const struct journal_entry *entry)
{
	struct damage_bench *b = context;

	assert_true(b->entry_count < ENTRIES_EACH * DOCUMENTS_MAX);
	assert_int_equal(entry->kind, b->entry_count % ENTRIES_EACH ? KIND_RECORD : KIND_PIECE);
	b->entries[b->entry_count].begin = entry->place;
	b->entries[b->entry_count++].end = entry->end;
	return 0;
}

/* Half of the documents in each of two segments. */
static struct damage_bench *bench_make(unsigned count)
{
	struct damage_bench *b = calloc(1, sizeof(*b));
	char text[256], name[32];

	test_store_make(&b->t, count);
	b->count = count;
	for (unsigned n = 0; n < count; n++) {
		if (n == count / 2)
			assert_int_equal(journal_rotate(store_journal(b->t.store)), 0);
		text_of_document(text, n);
		snprintf(name, sizeof(name), "d%u.md", n);
		struct store_txn *txn = txn_begin(&b->t, true);
		b->versions[n] = say_version(&b->t, txn, &(struct save){ .directory = b->t.key.public, .name = name,
									.text = text });
		txn_commit(txn);
	}
	assert_int_equal(journal_scan(store_journal(b->t.store), 0, note_entry, NULL, b), 0);
	assert_int_equal(b->entry_count, ENTRIES_EACH * count);
	test_store_stop(&b->t);
	for (unsigned i = 0; i < 2; i++) {
		char path[300];
		snprintf(path, sizeof(path), "%s/journal/%08u.seg", b->t.path, i + 1);
		assert_int_equal(file_read(AT_FDCWD, path, 1u << 30, &b->segments[i].bytes, &b->segments[i].size), 0);
	}
	return b;
}

static void bench_free(struct damage_bench *b)
{
	print_message("%zu kinds of damage to %zu bytes\n", b->damages, b->segments[0].size + b->segments[1].size);
	test_store_remove(&b->t);
	free(b->segments[0].bytes);
	free(b->segments[1].bytes);
	free(b);
}

/* Both segments as they were, but for a cut and a flipped bit (SIZE_MAX: none) of one. */
static void put_journal(struct damage_bench *b, unsigned segment, size_t cut, size_t bit)
{
	for (unsigned i = 0; i < 2; i++) {
		char path[300];
		snprintf(path, sizeof(path), "%s/journal/%08u.seg", b->t.path, i + 1);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		size_t size = i == segment && cut < b->segments[i].size ? cut : b->segments[i].size;
		assert_int_equal(file_pwrite_all(fd, b->segments[i].bytes, size, 0), 0);
		if (i == segment && bit / 8 < size) {
			uint8_t flipped = b->segments[i].bytes[bit / 8] ^ (uint8_t)(1u << bit % 8);
			assert_int_equal(file_pwrite_all(fd, &flipped, 1, (off_t)(bit / 8)), 0);
		}
		close(fd);
	}
	b->damages++;
}

static void count_sentence(void *context, const char *sentence)
{
	assert_true(sentence[0]);
	(*(uint64_t *)context)++;
}

static uint64_t findings(const struct damage_bench *b)
{
	struct verify_report report;
	uint64_t told = 0;

	assert_int_equal(store_verify(b->t.path, count_sentence, NULL, &told, &report, NULL), 0);
	assert_int_equal(told, report.bad);
	return told;
}

static bool is_read(struct damage_bench *b, struct store_txn *txn, unsigned n)
{
	char text[256], got[256];
	struct version version;

	text_of_document(text, n);
	return document_version(txn, &b->versions[n], &version) == 0 &&
	       content_read(store_piece_cache(b->t.store), store_pieces(b->t.store), &version.content,
			    (uint8_t *)got, sizeof(got), 0) == (ssize_t)strlen(text) &&
	       memcmp(got, text, strlen(text)) == 0;
}

/* Was an entry of the document hit by damage of these bytes of a segment? */
static bool is_hit(const struct damage_bench *b, unsigned n, uint32_t segment, uint64_t from, uint64_t to)
{
	journal_place begin = (uint64_t)segment << 32 | from, end = (uint64_t)segment << 32 | to;

	for (unsigned i = ENTRIES_EACH * n; i < ENTRIES_EACH * (n + 1); i++)
		if (b->entries[i].begin < end && begin < b->entries[i].end)
			return true;
	return false;
}

/* Just those that were not hit are there once the index was made again, and saving goes on. */
static void check_rest(struct damage_bench *b, const char *what, size_t which, uint32_t segment, uint64_t from, uint64_t to)
{
	test_store_start(&b->t, true);
	struct store_txn *txn = txn_begin(&b->t, false);
	for (unsigned n = 0; n < b->count; n++)
		if (is_read(b, txn, n) == is_hit(b, n, segment, from, to))
			fail_msg("segment %u, %s %zu: document %u", segment, what, which, n);
	store_abort(txn);
	txn = txn_begin(&b->t, true);
	say_version(&b->t, txn, &(struct save){ .directory = b->t.key.public, .name = "after.md", .text = "after\n" });
	txn_commit(txn);
	test_store_stop(&b->t);
}

static void remove_torn(const struct damage_bench *b)
{
	for (unsigned i = 1; i <= 2; i++) {
		char path[300];
		snprintf(path, sizeof(path), "%s/journal/%08u.torn", b->t.path, i);
		unlink(path);
	}
}

static void flip(struct damage_bench *b, uint32_t segment, size_t bit)
{
	put_journal(b, segment - 1, SIZE_MAX, bit);
	if (findings(b) == 0)
		fail_msg("segment %u, bit %zu: nothing was found", segment, bit);
	check_rest(b, "bit", bit, segment, bit / 8, bit / 8 + 1);
	remove_torn(b);
}

/* Every `step`th bit; the head of the segment and of every `each`th entry whole. */
static void flip_all(struct damage_bench *b, size_t step, unsigned each)
{
	for (uint32_t segment = 1; segment <= 2; segment++) {
		for (size_t bit = segment; bit < 8 * b->segments[segment - 1].size; bit += step)
			flip(b, segment, bit);
		for (size_t bit = 0; bit < 8 * SEGMENT_HEAD_SIZE; bit += is_long() ? 1 : 11)
			flip(b, segment, bit);
	}
	for (unsigned i = 0; i < b->entry_count; i += each)
		for (size_t bit = 0; bit < 8 * ENTRY_HEAD_SIZE; bit += is_long() ? 1 : 7)
			flip(b, (uint32_t)(b->entries[i].begin >> 32), 8 * (b->entries[i].begin & UINT32_MAX) + bit);
}

static void test_flipped_bits(void **state)
{
	struct damage_bench *b = bench_make(DOCUMENTS_MAX);

	assert_int_equal(findings(b), 0);
	size_t bits = 8 * (b->segments[0].size + b->segments[1].size);
	flip_all(b, is_long() ? 37 : bits / FLIPS_SHORT | 1, is_long() ? 16 : 63);
	bench_free(b);
}

static void test_every_bit(void **state)
{
	if (!is_long())
		skip();
	struct damage_bench *b = bench_make(12);
	flip_all(b, 1, 1000);
	bench_free(b);
}

static bool is_boundary(const struct damage_bench *b, uint32_t segment, size_t size)
{
	if (size == 0 || size == SEGMENT_HEAD_SIZE) /* as a segment that was begun and no more */
		return true;
	for (unsigned i = 0; i < b->entry_count; i++)
		if (b->entries[i].end == ((uint64_t)segment << 32 | size))
			return true;
	return false;
}

static void test_cut_at_every_length(void **state)
{
	struct damage_bench *b = bench_make(is_long() ? 24 : DOCUMENTS_MAX);
	for (uint32_t segment = 1; segment <= 2; segment++) {
		size_t size = b->segments[segment - 1].size, step = is_long() ? 1 : 2 * size / CUTS_SHORT | 1;
		for (size_t cut = 0; cut < size; cut += step) {
			put_journal(b, segment - 1, cut, SIZE_MAX);
			/* Between a piece and its record nothing tells that there was more. */
			if (findings(b) == 0 && !is_boundary(b, segment, cut))
				fail_msg("segment %u cut at %zu: nothing was found", segment, cut);
			check_rest(b, "cut at", cut, segment, cut, UINT32_MAX);
			remove_torn(b);
		}
	}
	bench_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_cut_at_every_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
