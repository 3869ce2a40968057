/* Tests of store_verify(): a sound journal has no findings, and each thing that may be wrong is told. */
#include "journal_kit.h"

#include <errno.h>
#include <sys/file.h>

#include "cbor.h"
#include "store.h"

#define FINDINGS_MAX 32

/* ---- a data folder with a journal and two devices ---- */

struct log {
	struct key key;
	struct id tip;
	uint64_t seq, time_ms; /* of the next */
};

struct bench {
	struct folder *folder;
	struct journal *journal;
	struct packer *packer;
	struct piece_store pieces;
	struct log logs[2];
	struct record *record;
	journal_place last; /* of the last entry appended */

	/* What is wrong with the records and pieces that are appended. */
	enum { SIGNED, NOT_SIGNED, SIGNED_BADLY } signing;
	bool lose_record, lose_piece, lose_lists;
	size_t pieces_put;
};

static void append(struct bench *b, uint8_t kind, const struct span *spans, size_t span_count)
{
	struct journal_part part = { kind, spans, span_count };
	assert_int_equal(journal_append(b->journal, &part, 1, &b->last), 0);
}

static int put_piece(void *context, const struct id *text_id, const struct piece_ref *offer,
		     const uint8_t *member, struct piece_ref *out)
{
	struct bench *b = context;
	const struct span spans[] = { { text_id->bytes, ID_SIZE }, { member, offer->stored_size } };
	b->pieces_put++;
	*out = *offer;
	/* What is put last of a long text is its list. */
	if (!b->lose_piece && !(b->lose_lists && b->pieces_put > CONTENT_PIECES_MAX))
		append(b, KIND_PIECE, spans, 2);
	return 0;
}

static int find_no_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	return 0;
}

static void bench_begin(struct bench *b, struct folder *f, uint64_t segment_size)
{
	struct clock clock = clock_system();
	struct journal_calls quick = journal_system_calls;
	quick.fsync = quick.fdatasync = sync_at_once;
	*b = (struct bench){ .folder = f, .packer = packer_new(), .record = record_new() };
	assert_non_null(b->packer);
	assert_non_null(b->record);
	b->pieces = (struct piece_store){ .put = put_piece, .find_text = find_no_text, .context = b };
	const struct journal_tuning tuning = { .segment_size_max = segment_size, .calls = &quick };
	assert_int_equal(journal_open_tuned(&b->journal, f->fd, &tuning, NULL), 0);
	for (int i = 0; i < 2; i++) {
		key_create(&b->logs[i].key, &clock);
		b->logs[i].time_ms = 1000;
	}
}

static void bench_end(struct bench *b)
{
	assert_int_equal(journal_close(b->journal), 0);
	packer_free(b->packer);
	free(b->record);
}

/* Completes b->record, signs and appends it to the log. */
static void add_record(struct bench *b, struct log *log)
{
	struct bytes bytes;
	struct signature signature = { { 0 } };
	bytes_init(&bytes, RECORD_SIZE_MAX);
	b->record->voucher = log->key.public;
	b->record->seq = log->seq++;
	b->record->prev = log->tip;
	b->record->time_ms = log->time_ms++;
	int err = record_encode(b->record, &bytes);
	if (err)
		fail_msg("record_encode: %d", err);
	record_id(&log->tip, bytes.data, bytes.size);
	if (b->signing != NOT_SIGNED)
		assert_int_equal(record_sign(&signature, &log->key, &log->tip), 0);
	if (b->signing == SIGNED_BADLY)
		signature.bytes[5] ^= 1;
	const struct span spans[] = { { signature.bytes, sizeof(signature.bytes) }, { bytes.data, bytes.size } };
	if (!b->lose_record)
		append(b, KIND_RECORD, spans, 2);
	bytes_finish(&bytes);
}

static void add_subscribe(struct bench *b, int log)
{
	memset(b->record, 0, sizeof(*b->record));
	b->record->field = FIELD_SUBSCRIBE;
	b->record->subscribe.id = b->logs[0].key.public;
	b->record->subscribe.on = b->logs[log].seq % 2;
	add_record(b, &b->logs[log]);
}

static void add_version_of(struct bench *b, int log, const struct content *content)
{
	memset(b->record, 0, sizeof(*b->record));
	b->record->field = FIELD_VERSION;
	b->record->version.content = *content;
	b->record->version.entry = (struct entry){
		.directory = b->logs[log].key.public, .name = { "a.md", 4 }, .what = WHAT_VERSION,
	};
	add_record(b, &b->logs[log]);
}

static void write_text(struct bench *b, unsigned seed, size_t size, struct content *out)
{
	uint8_t *text = malloc(size + 1);
	uint64_t x = seed + 1;
	for (size_t i = 0; i < size; i++) { /* xorshift: it does not compress */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		text[i] = (uint8_t)x;
	}
	b->pieces_put = 0;
	assert_int_equal(content_write_bytes(b->packer, &b->pieces, text, size, out), 0);
	free(text);
}

static void add_version(struct bench *b, int log, unsigned seed, size_t size)
{
	struct content content;
	write_text(b, seed, size, &content);
	add_version_of(b, log, &content);
}

static void add_mark(struct bench *b, const struct id *name)
{
	const struct span span = { name->bytes, ID_SIZE };
	append(b, KIND_MARK, &span, 1);
}

static void add_local(struct bench *b, size_t value_size)
{
	uint8_t *value = calloc(1, value_size + 1);
	struct bytes bytes;
	bytes_init(&bytes, JOURNAL_ENTRY_MAX);
	cbor_put_array(&bytes, 3);
	cbor_put_uint(&bytes, LOCAL_CONFIG);
	cbor_put_bytes(&bytes, "key", 3);
	cbor_put_bytes(&bytes, value, value_size);
	const struct span span = { bytes.data, bytes.size };
	append(b, KIND_LOCAL, &span, 1);
	bytes_finish(&bytes);
	free(value);
}

static void flip_byte(struct bench *b, journal_place place, size_t offset)
{
	uint8_t byte;
	int fd = openat(b->folder->fd, "journal/00000001.seg", O_RDWR | O_CLOEXEC);
	off_t at = (off_t)((place & UINT32_MAX) + offset);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* ---- what is told ---- */

struct told {
	size_t count;
	char sentences[FINDINGS_MAX][WHY_SIZE];
	uint64_t done, total;
	unsigned progresses;
	void (*halfway)(void *context);
	void *context;
};

static void note_finding(void *context, const char *sentence)
{
	struct told *told = context;
	assert_true(told->count < FINDINGS_MAX);
	snprintf(told->sentences[told->count++], WHY_SIZE, "%s", sentence);
}

static void note_progress(void *context, uint64_t done, uint64_t total)
{
	struct told *told = context;
	assert_true(done >= told->done && done <= total);
	if (told->halfway && done > total / 2 && told->done <= total / 2)
		told->halfway(told->context);
	told->done = done;
	told->total = total;
	told->progresses++;
}

static void verify(const struct folder *f, struct told *told, struct verify_report *report)
{
	struct why why = { "" };
	int err = store_verify(f->path, note_finding, note_progress, told, report, &why);
	if (err)
		fail_msg("store_verify: %d %s", err, why.text);
	assert_int_equal(report->bad, told->count);
	assert_int_equal(told->done, told->total);
}

/* ---- sound journals ---- */

static void test_sound(void **state)
{
	struct folder *f = *state;
	struct bench b;
	struct told told = { 0 };
	struct verify_report report;
	bench_begin(&b, f, 1 << 20);
	add_version(&b, 0, 1, 0);
	add_version(&b, 0, 2, 100);
	add_version(&b, 1, 3, 200000);
	add_version(&b, 0, 4, 3000000); /* its list is a text itself */
	add_version(&b, 1, 3, 200000);  /* pieces that stand twice */
	add_subscribe(&b, 1);
	add_local(&b, 10);
	append(&b, 77, NULL, 0); /* of a newer program */
	bench_end(&b);
	verify(f, &told, &report);
	for (size_t i = 0; i < told.count; i++)
		print_message("%s\n", told.sentences[i]);
	assert_int_equal(report.bad, 0);
	assert_int_equal(report.records, 6);
	assert_int_equal(report.signatures, 2); /* the last of each log vouches for the others */
	assert_int_equal(report.logs, 2);
	assert_true(report.pieces > 150);
	assert_true(report.bytes > 3000000);
	assert_true(told.progresses > 4);
}

static void test_empty(void **state)
{
	struct folder *f = *state;
	struct told told = { 0 };
	struct verify_report report;
	struct why why = { "" };
	char path[300];
	snprintf(path, sizeof(path), "%s/none", f->path);
	assert_int_equal(store_verify(path, NULL, NULL, NULL, &report, &why), -ENOENT);
	assert_true(why.text[0]);
	why.text[0] = '\0';
	assert_int_equal(store_verify(f->path, NULL, NULL, NULL, &report, &why), -ENOENT);
	assert_true(why.text[0]);

	assert_int_equal(mkdirat(f->fd, "journal", 0700), 0);
	verify(f, &told, &report);
	assert_int_equal(report.bad + report.records + report.bytes, 0);
	write_file(f, "journal/00000001.seg", "", 0);
	verify(f, &told, &report);
	assert_int_equal(report.bad + report.records + report.bytes, 0);
	assert_int_equal(store_verify(f->path, NULL, NULL, NULL, &report, NULL), 0);
}

/* ---- one thing wrong ---- */

static void a_later_one_vouches(struct bench *b)
{
	b->signing = NOT_SIGNED;
	add_subscribe(b, 0);
	add_subscribe(b, 0);
	b->signing = SIGNED;
	add_subscribe(b, 0);
}

static void nobody_vouches(struct bench *b)
{
	add_subscribe(b, 0);
	add_subscribe(b, 1);
	b->signing = NOT_SIGNED;
	add_subscribe(b, 0);
}

static void bad_signature(struct bench *b)
{
	b->signing = SIGNED_BADLY;
	add_subscribe(b, 0);
}

static void bad_signature_does_not_vouch(struct bench *b)
{
	b->signing = NOT_SIGNED;
	add_subscribe(b, 0);
	b->signing = SIGNED_BADLY;
	add_subscribe(b, 0);
}

/* What a later signature vouches for needs none of its own. */
static void bad_signature_vouched_for(struct bench *b)
{
	add_subscribe(b, 0);
	b->signing = SIGNED_BADLY;
	add_subscribe(b, 0);
	b->signing = SIGNED;
	add_subscribe(b, 0);
}

/* Where the last one is not good, each before it is looked at. */
static void bad_signatures_at_the_end(struct bench *b)
{
	add_subscribe(b, 0);
	add_subscribe(b, 0);
	b->signing = NOT_SIGNED;
	add_subscribe(b, 0);
	b->signing = SIGNED_BADLY;
	add_subscribe(b, 0);
	add_subscribe(b, 0);
}

/* More than one signature is asked to vouch for; another log between. */
static void long_log(struct bench *b)
{
	for (int i = 0; i < 1000; i++)
		add_subscribe(b, i % 3 == 0);
	b->signing = SIGNED_BADLY;
	add_subscribe(b, 0);
}

static void orphan(struct bench *b)
{
	add_subscribe(b, 0);
	b->lose_record = true;
	add_subscribe(b, 0);
	b->lose_record = false;
	add_subscribe(b, 0);
	add_subscribe(b, 0);
}

static void number_jumps(struct bench *b)
{
	add_subscribe(b, 0);
	b->logs[0].seq = 5;
	add_subscribe(b, 0);
}

static void time_goes_back(struct bench *b)
{
	add_subscribe(b, 0);
	b->logs[0].time_ms = 999;
	add_subscribe(b, 0);
}

static void time_stands_still(struct bench *b)
{
	add_subscribe(b, 0);
	b->logs[0].time_ms = 1000;
	add_subscribe(b, 0);
}

static void another_log(struct bench *b)
{
	add_subscribe(b, 1);
	b->logs[0].tip = b->logs[1].tip;
	b->logs[0].seq = 1;
	add_subscribe(b, 0);
}

static void fork_of_a_log(struct bench *b)
{
	add_subscribe(b, 0);
	struct log before = b->logs[0];
	add_subscribe(b, 0);
	b->logs[0] = before;
	b->logs[0].time_ms += 7;
	add_subscribe(b, 0);
}

static void wrong_order(struct bench *b)
{
	b->lose_record = true;
	add_subscribe(b, 0);
	struct log first = b->logs[0];
	b->lose_record = false;
	add_subscribe(b, 0);
	b->logs[0] = (struct log){ .key = first.key, .time_ms = 1000 };
	add_subscribe(b, 0);
	assert_memory_equal(&b->logs[0].tip, &first.tip, sizeof(first.tip));
}

static void no_record(struct bench *b)
{
	const struct span short_one = { "0123456789", 10 };
	uint8_t bytes[200] = { 0x88 };
	const struct span nonsense = { bytes, sizeof(bytes) };
	append(b, KIND_RECORD, &short_one, 1);
	append(b, KIND_RECORD, &nonsense, 1);
}

static void no_pieces(struct bench *b)
{
	uint8_t bytes[200] = { 0 };
	const struct span short_one = { bytes, ID_SIZE }, nonsense = { bytes, sizeof(bytes) };
	append(b, KIND_PIECE, &short_one, 1);
	append(b, KIND_PIECE, &nonsense, 1);
}

static void piece_of_another_text(struct bench *b)
{
	uint8_t member[PIECE_STORED_MAX], zero[ID_SIZE] = { 0 };
	ssize_t size = piece_deflate(b->packer, (const uint8_t *)"abc", 3, member);
	assert_true(size > 0);
	const struct span spans[] = { { zero, ID_SIZE }, { member, (size_t)size } };
	append(b, KIND_PIECE, spans, 2);
}

static void no_local_fact_no_mark(struct bench *b)
{
	const struct span span = { "\x83\x01", 2 };
	append(b, KIND_LOCAL, &span, 1);
	append(b, KIND_MARK, &span, 1);
}

static void piece_is_missing(struct bench *b)
{
	b->lose_piece = true;
	add_version(b, 0, 1, 100);
}

static void list_is_missing(struct bench *b)
{
	b->lose_lists = true;
	add_version(b, 0, 1, 3000000);
}

static void piece_is_marked(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100, &content);
	add_version_of(b, 0, &content);
	add_mark(b, &content.pieces[0].name);
}

static void piece_came_again(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100, &content);
	add_mark(b, &content.pieces[0].name);
	write_text(b, 1, 100, &content);
	content.digest.bytes[0] ^= 1; /* so that it is seen to be held */
	add_version_of(b, 0, &content);
}

static void digest_is_wrong(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100000, &content);
	content.digest.bytes[31] ^= 1;
	add_version_of(b, 0, &content);
}

static void stored_size_is_wrong(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100, &content);
	content.pieces[0].stored_size++;
	add_version_of(b, 0, &content);
}

static void text_size_is_wrong(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100, &content);
	content.pieces[0].text_size++;
	content.size++;
	add_version_of(b, 0, &content);
}

static void pieces_in_wrong_order(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100000, &content);
	assert_true(content.count > 1 && content.depth == 0);
	struct piece_ref first = content.pieces[0];
	content.pieces[0] = content.pieces[1];
	content.pieces[1] = first;
	add_version_of(b, 0, &content);
}

static void summary_is_incomplete(struct bench *b)
{
	struct summary_section *sections = calloc(SUMMARY_COUNT, sizeof(*sections));
	sections[SUMMARY_VOTES].present = true;
	b->lose_piece = true;
	write_text(b, 1, 100, &sections[SUMMARY_VOTES].content);
	memset(b->record, 0, sizeof(*b->record));
	b->record->field = FIELD_SUMMARY;
	b->record->summary.sections = sections;
	add_record(b, &b->logs[0]);
	free(sections);
}

static void damage_in_a_piece(struct bench *b)
{
	struct content content;
	write_text(b, 1, 100, &content);
	journal_place piece = b->last;
	add_version_of(b, 0, &content);
	add_subscribe(b, 0);
	flip_byte(b, piece, ENTRY_HEAD_SIZE + 3);
}

static void torn_tail(struct bench *b)
{
	add_subscribe(b, 0);
	add_subscribe(b, 0);
	flip_byte(b, b->last, 3);
}

static void number_goes_back(struct bench *b)
{
	add_local(b, 1);
	b->journal->next_number = 1;
	add_local(b, 2);
}

static void test_findings(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		void (*make)(struct bench *b);
		const char *findings[3]; /* parts of the sentences, in order */
	} cases[] = {
		{ "a later one vouches", a_later_one_vouches, { NULL } },
		{ "nobody vouches", nobody_vouches, { "neither it nor one that follows it" } },
		{ "bad signature", bad_signature, { "signature is not good" } },
		{ "bad signature does not vouch", bad_signature_does_not_vouch,
		  { "signature is not good", "neither it nor" } },
		{ "bad signature vouched for", bad_signature_vouched_for, { NULL } },
		{ "bad signatures at the end", bad_signatures_at_the_end,
		  { "signature is not good", "signature is not good", "neither it nor" } },
		{ "a long log", long_log, { "signature is not good" } },
		{ "orphan", orphan, { "the record before it is not here" } },
		{ "number jumps", number_jumps, { "its number is 5, but that of the one before is 0" } },
		{ "time goes back", time_goes_back, { "its time is before" } },
		{ "time stands still", time_stands_still, { NULL } },
		{ "another log", another_log, { "it follows a record of another log" } },
		{ "fork", fork_of_a_log, { NULL } },
		{ "wrong order", wrong_order, { "it stands before the record that it follows" } },
		{ "no record", no_record, { "is no record that this program can read", "is no record" } },
		{ "no pieces", no_pieces, { "no size that a piece can have", "not one whole gzip member" } },
		{ "piece of another text", piece_of_another_text, { "for another text than it holds" } },
		{ "no local fact, no mark", no_local_fact_no_mark, { "is no local fact", "is no mark" } },
		{ "piece missing", piece_is_missing, { "1 of its pieces are not here, the first is" } },
		{ "list missing", list_is_missing, { "of its pieces are not here" } },
		{ "piece marked", piece_is_marked, { NULL } },
		{ "piece came again", piece_came_again, { "does not have the digest" } },
		{ "wrong digest", digest_is_wrong, { "does not have the digest" } },
		{ "wrong stored size", stored_size_is_wrong, { "1 of its pieces have other sizes" } },
		{ "wrong text size", text_size_is_wrong, { "1 of its pieces have other sizes" } },
		{ "wrong order of pieces", pieces_in_wrong_order, { "does not have the digest" } },
		{ "incomplete summary", summary_is_incomplete, { "1 of its pieces are not here" } },
		{ "damage", damage_in_a_piece, { "hold no valid entry", "1 of its pieces are not here" } },
		{ "torn tail", torn_tail, { "are torn off an entry" } },
		{ "number goes back", number_goes_back, { "does not have a number above" } },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct told *told = calloc(1, sizeof(*told));
		struct verify_report report;
		remove_journal(f->fd);
		bench_begin(&b, f, 0);
		cases[i].make(&b);
		verify(f, told, &report);
		bench_end(&b);
		for (size_t k = 0; k < 3; k++) {
			const char *wanted = cases[i].findings[k];
			if (!wanted && told->count > k)
				fail_msg("%s: also told: %s", cases[i].name, told->sentences[k]);
			if (wanted && (told->count <= k || !strstr(told->sentences[k], wanted)))
				fail_msg("%s: wanted \"%s\", told \"%s\"", cases[i].name, wanted,
					 told->sentences[k]);
		}
		free(told);
	}
}

/* ---- beside another process ---- */

static void test_torn_tail_of_one_who_appends(void **state)
{
	struct folder *f = *state;
	struct bench b;
	struct told told = { 0 };
	struct verify_report report;
	bench_begin(&b, f, 0);
	torn_tail(&b);
	write_file(f, "lock", "1\n\n", 3);
	verify(f, &told, &report);
	assert_int_equal(report.bad, 1);

	int lock = openat(f->fd, "lock", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	verify(f, &(struct told){ 0 }, &report);
	assert_int_equal(report.bad, 0);
	assert_int_equal(report.records, 1);
	close(lock);
	bench_end(&b);
	unlinkat(f->fd, "lock", 0);
}

static bool no_local_lives(void *context, const struct journal_entry *entry)
{
	return entry->kind != KIND_LOCAL;
}

static void ignore_move(void *context, const struct journal_entry *entry, journal_place new_place)
{
}

/* All places change while verify stands between its two passes. */
static void compact_all(void *context)
{
	struct bench *b = context;
	uint32_t ids[200];
	size_t count = journal_segments(b->journal, ids, 200);
	assert_true(count <= 200);
	for (size_t i = 0; i + 1 < count; i++) {
		assert_int_equal(journal_compact_prepare(b->journal, ids[i], no_local_lives, ignore_move, NULL), 0);
		assert_int_equal(journal_compact_commit(b->journal, ids[i]), 0);
	}
	add_subscribe(b, 1);
}

static void test_compaction_meanwhile(void **state)
{
	struct folder *f = *state;
	struct bench b;
	struct told told = { .halfway = compact_all, .context = &b };
	struct verify_report report;
	bench_begin(&b, f, 128 * 1024);
	/* More segments than are held open, so that some are opened again. */
	for (unsigned i = 0; journal_segments(b.journal, NULL, 0) < OPEN_FILES_MAX + 20; i++) {
		add_local(&b, 500);
		add_version(&b, (int)(i % 2), i, 90000);
	}
	verify(f, &told, &report);
	for (size_t i = 0; i < told.count; i++)
		print_message("%s\n", told.sentences[i]);
	assert_int_equal(report.bad, 0);
	bench_end(&b);
	verify(f, &(struct told){ 0 }, &report);
	assert_int_equal(report.bad, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_sound),
		TEST(test_empty),
		TEST(test_findings),
		TEST(test_torn_tail_of_one_who_appends),
		TEST(test_compaction_meanwhile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
