/* test_summary.c - summaries against a slow model that follows moot-store(5) word by word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"
#include "summary.h"
#include "summary_model.h"

/* ---- what is under test ---- */

static struct summary_section *sections_new(void)
{
	struct summary_section *sections = calloc(SUMMARY_COUNT, sizeof(*sections));

	assert_non_null(sections);
	return sections;
}

static void read_text(struct test_store *t, struct store_txn *txn, const struct content *content, struct bytes *out)
{
	struct piece_store pieces = store_txn_pieces(txn);

	bytes_init(out, TEXT_SIZE_MAX);
	uint8_t *at = bytes_extend(out, content->size);
	assert_non_null(at);
	assert_int_equal(content_read(store_piece_cache(t->store), &pieces, content, at, content->size, 0), content->size);
}

static void assert_sections(struct test_store *t, struct store_txn *txn, struct model *m, size_t count,
			    const struct summary_section *sections)
{
	for (unsigned i = 0; i < SUMMARY_COUNT; i++) {
		struct bytes expected, found;
		model_section(m, count, i, &expected);
		assert_int_equal(sections[i].present, expected.size > 0);
		if (expected.size > 0) {
			assert_int_equal(content_check(&sections[i].content), 0);
			read_text(t, txn, &sections[i].content, &found);
			assert_int_equal(found.size, expected.size);
			assert_memory_equal(found.data, expected.data, expected.size);
			bytes_finish(&found);
		}
		bytes_finish(&expected);
	}
}

static uint64_t own_log(struct test_store *t, struct store_txn *txn)
{
	uint64_t log;

	assert_int_equal(store_number(txn, NUMBER_DEVICE, &t->key.public, &log), 0);
	return log;
}

/* ---- logs at random ---- */

static struct id some_id(uint64_t *seed, unsigned kinds)
{
	struct id id;

	memset(&id, (int)(1 + chance_below(seed, kinds)), sizeof(id));
	return id;
}

static struct text some_name(uint64_t *seed)
{
	static const char *const names[] = { "a", "b", "notes.md", "a rather long name of a document, as they are.md" };

	return text_of(names[chance_below(seed, 4)]);
}

/* Mostly entries that are there, of this or another slot; some of others. */
static void some_replaces(struct model *m, struct record *r, struct entry *entry, uint64_t *seed)
{
	entry->replaces_first = r->replaces_count;
	for (unsigned k = chance_below(seed, 5); k > 0 && r->replaces_count < REPLACES_MAX; k--) {
		struct replaced next = { some_id(seed, 6), chance_below(seed, 3) };
		if (m->entry_count > 0 && chance_below(seed, 4)) {
			const struct said_entry *e = &m->entries[chance_below(seed, (unsigned)m->entry_count)];
			next = (struct replaced){ e->record, e->index };
		}
		bool twice = false;
		for (uint32_t i = entry->replaces_first; i < r->replaces_count; i++)
			twice |= compare_replaced(&r->replaces[i], &next) == 0;
		if (!twice)
			r->replaces[r->replaces_count++] = next;
	}
	entry->replaces_count = r->replaces_count - entry->replaces_first;
	sort_replaced(r, entry);
}

static void some_entry(struct model *m, struct record *r, struct entry *entry, bool version, uint64_t *seed)
{
	*entry = (struct entry){ .directory = some_id(seed, 2), .name = some_name(seed),
				 .what = version ? WHAT_VERSION : (enum what)chance_below(seed, 3) };
	if (!version && entry->what != WHAT_NOTHING)
		entry->id = some_id(seed, 4);
	some_replaces(m, r, entry, seed);
}

static void some_content(struct test_store *t, struct store_txn *txn, struct content *out, uint64_t *seed)
{
	struct piece_store pieces = store_txn_pieces(txn);
	uint8_t byte = (uint8_t)chance_below(seed, 4);

	assert_int_equal(content_write_bytes(t->packer, &pieces, &byte, 1, out), 0);
}

static void some_record(struct test_store *t, struct store_txn *txn, struct model *m, struct record *r, uint64_t *seed)
{
	static const uint64_t fields[] = {
		FIELD_VERSION, FIELD_ENTRIES, FIELD_VERSION, FIELD_ENTRIES, FIELD_SUBSCRIBE, FIELD_VOTE, FIELD_TRUST,
		FIELD_RANKING, FIELD_FOUND, FIELD_JOIN, FIELD_AUTHORIZE, FIELD_ADMIT, FIELD_PROFILE, FIELD_RANK,
	};

	memset(r, 0, sizeof(*r));
	r->field = fields[chance_below(seed, sizeof(fields) / sizeof(fields[0]))];
	switch (r->field) {
	case FIELD_VERSION:
		some_content(t, txn, &r->version.content, seed);
		some_entry(m, r, &r->version.entry, true, seed);
		break;
	case FIELD_ENTRIES:
		r->entries.count = 1 + chance_below(seed, 4);
		for (uint32_t i = 0; i < r->entries.count; i++)
			some_entry(m, r, &r->entries.entries[i], false, seed);
		break;
	case FIELD_SUBSCRIBE:
		r->subscribe.what = (enum subject)chance_below(seed, 2);
		r->subscribe.id = some_id(seed, 3);
		r->subscribe.on = chance_below(seed, 2);
		break;
	case FIELD_VOTE:
		r->vote.object = some_id(seed, 3);
		r->vote.vote = (enum vote)chance_below(seed, 3);
		break;
	case FIELD_TRUST:
		r->trust.entity = some_id(seed, 3);
		r->trust.parts_per_million = chance_below(seed, 1000001);
		break;
	case FIELD_RANKING:
		r->ranking.directory = some_id(seed, 2);
		r->ranking.name = some_name(seed);
		r->ranking.count = chance_below(seed, 2);
		r->ranking.versions[0] = some_id(seed, 3);
		break;
	case FIELD_FOUND:
		r->found.name = some_name(seed);
		r->found.numerator = r->found.denominator = 1 + chance_below(seed, 3);
		break;
	case FIELD_JOIN:
		r->join.group = some_id(seed, 3);
		r->join.on = chance_below(seed, 2);
		break;
	case FIELD_AUTHORIZE:
		r->authorize.group = some_id(seed, 2);
		r->authorize.entity = some_id(seed, 2);
		r->authorize.on = chance_below(seed, 2);
		break;
	case FIELD_ADMIT:
		r->admit.device = some_id(seed, 3);
		r->admit.on = chance_below(seed, 2);
		if (!r->admit.on && chance_below(seed, 2))
			r->admit.last = some_id(seed, 3);
		break;
	case FIELD_RANK:
		r->rank.peer = some_id(seed, 3);
		break;
	default:
		r->profile.name = some_name(seed);
		r->profile.about = text_of("");
		break;
	}
}

static void some_log(struct test_store *t, struct model *m, unsigned count, uint64_t *seed)
{
	struct record *r = record_new();
	struct id id;

	for (unsigned i = 0; i < count; i++) {
		struct store_txn *txn = txn_begin(t, true);
		model_entries(m, m->count);
		some_record(t, txn, m, r, seed);
		assert_int_equal(log_append(txn, r, &id, NULL), 0);
		model_take(m, txn, &id);
		txn_commit(txn);
		t->time_ms += chance_below(seed, 3); /* often the same time */
	}
	free(r);
}

static struct id append_summary(struct test_store *t, struct model *m)
{
	struct store_txn *txn = txn_begin(t, true);
	struct log_row log;

	assert_int_equal(summary_append(txn), 0);
	assert_int_equal(log_get(txn, &t->key.public, &log), 0);
	if (m)
		model_take(m, txn, &log.tip_id);
	txn_commit(txn);
	return log.tip_id;
}

/* Through the transaction's own record and buffer, as any caller would. */
static int check(struct test_store *t, const struct id *id)
{
	struct store_txn *txn = txn_begin(t, false);
	struct record *record = store_txn_record(txn, 0);
	struct record_row row;

	assert_int_equal(log_find_record(txn, id, &row), 0);
	assert_int_equal(log_read_record(txn, &row, record, NULL), 0);
	int says = summary_check(txn, &row, record);
	store_abort(txn);
	return says;
}

static void like_the_model(void **state)
{
	for (uint64_t round = 1; round <= 6; round++) {
		struct model *m = model_new();
		struct summary_section *sections = sections_new();
		struct test_store t;
		uint64_t seed = round;
		test_store_make(&t, round);
		for (int part = 0; part < 5; part++) {
			some_log(&t, m, 25, &seed);
			struct store_txn *txn = txn_begin(&t, true);
			uint64_t log = own_log(&t, txn);
			size_t before = 1 + chance_below(&seed, (unsigned)m->count);
			assert_int_equal(summary_make(txn, log, m->count - 1, sections), 0);
			assert_sections(&t, txn, m, m->count, sections);
			assert_int_equal(summary_make(txn, log, before - 1, sections), 0);
			assert_sections(&t, txn, m, before, sections);
			txn_commit(txn);
			struct id id = append_summary(&t, m);
			assert_int_equal(check(&t, &id), 1);
		}
		test_store_remove(&t);
		free(sections);
		model_free(m);
	}
}

/* ---- small ones, by hand ---- */

static void put_hex(struct bytes *b, const char *text)
{
	for (; *text; text++)
		if (*text != ' ') {
			unsigned value;
			assert_int_equal(sscanf(text, "%2x", &value), 1);
			bytes_put_u8(b, (uint8_t)value);
			text++;
		}
}

static void put_time(struct bytes *b, uint64_t time_ms)
{
	bytes_put_u8(b, 0x1b);
	bytes_put_u64_be(b, time_ms);
}

static void put_id(struct bytes *b, const struct id *id)
{
	put_hex(b, "5820");
	bytes_put(b, id->bytes, ID_SIZE);
}

/* The bytes as the manual has them: nothing here goes through the encoder. */
static void entries_byte_by_byte(void **state)
{
	struct summary_section *sections = sections_new();
	struct bytes expected, found;
	struct test_store t;
	struct id directory;

	test_store_make(&t, 1);
	memset(&directory, 0x30, sizeof(directory));
	struct store_txn *txn = txn_begin(&t, true);
	struct id first = say_version(&t, txn, &(struct save){ .directory = directory, .name = "b.md", .text = "1" });
	struct id second = say_version(&t, txn, &(struct save){ .directory = directory, .name = "b.md", .text = "2",
								.document = first, .parent = first });
	struct id gone = say_nothing(txn, &directory, "c");
	struct record *record = entries_begin();
	struct entry *entry = entries_add(record, &directory, "b.md", WHAT_DIRECTORY, &directory);
	memset(record->replaces[0].record.bytes, 0x77, ID_SIZE); /* somebody else's */
	record->replaces[0].index = 63;
	record->replaces_count = entry->replaces_count = 1;
	struct id beside = entries_say(txn, record);
	assert_int_equal(summary_make(txn, own_log(&t, txn), 3, sections), 0);

	bytes_init(&expected, 4096);
	put_hex(&expected, "84 5820"); /* "c" first: the shorter text is the lesser in CBOR */
	bytes_put(&expected, directory.bytes, ID_SIZE);
	put_hex(&expected, "61 63 81 85");
	put_id(&expected, &gone);
	put_hex(&expected, "00 00 40");
	put_time(&expected, HELPER_TIME_MS);
	put_hex(&expected, "80");
	put_hex(&expected, "84 5820");
	bytes_put(&expected, directory.bytes, ID_SIZE);
	put_hex(&expected, "64 622e6d64 82");
	bool second_first = id_compare(&second, &beside) < 0;
	for (int i = 0; i < 2; i++) {
		bool version = (i == 0) == second_first;
		put_hex(&expected, "85");
		put_id(&expected, version ? &second : &beside);
		put_hex(&expected, version ? "00 01" : "00 02");
		put_id(&expected, version ? &second : &directory);
		put_time(&expected, HELPER_TIME_MS);
	}
	put_hex(&expected, "81 82");
	memset(first.bytes, 0x77, ID_SIZE);
	put_id(&expected, &first);
	put_hex(&expected, "183f");

	assert_true(sections[SUMMARY_ENTRIES].present);
	read_text(&t, txn, &sections[SUMMARY_ENTRIES].content, &found);
	assert_int_equal(found.size, expected.size);
	assert_memory_equal(found.data, expected.data, expected.size);
	for (unsigned i = 1; i < SUMMARY_COUNT; i++)
		assert_false(sections[i].present);
	bytes_finish(&found);
	bytes_finish(&expected);
	txn_commit(txn);
	test_store_remove(&t);
	free(sections);
}

static void of_nothing(void **state)
{
	struct test_store t;

	test_store_make(&t, 1);
	struct id first = append_summary(&t, NULL), second = append_summary(&t, NULL);
	assert_int_equal(check(&t, &first), 1);
	assert_int_equal(check(&t, &second), 1);
	test_store_remove(&t);
}

static void what_cannot_be_made(void **state)
{
	struct summary_section *sections = sections_new();
	struct model *m = model_new();
	struct record *record = record_new();
	struct record_row row;
	struct test_store t;
	uint64_t seed = 3;

	test_store_make(&t, 1);
	some_log(&t, m, 20, &seed);
	struct store_txn *txn = txn_begin(&t, true);
	uint64_t log = own_log(&t, txn);
	assert_int_equal(summary_make(txn, log, 20, sections), -ENOENT);
	assert_int_equal(summary_make(txn, log + 1, 0, sections), -ENOENT);
	store_abort(txn);
	txn = txn_begin(&t, false);
	assert_int_equal(summary_make(txn, log, 19, sections), -EPERM);
	assert_int_equal(summary_append(txn), -EPERM);
	assert_int_equal(log_find_record(txn, &m->log[3].id, &row), 0);
	assert_int_equal(log_read_record(txn, &row, record, NULL), 0);
	assert_int_equal(summary_check(txn, &row, record), -EINVAL);
	store_abort(txn);
	test_store_remove(&t);
	model_free(m);
	free(sections);
	free(record);
}

/* ---- checking ---- */

enum lie { LIE_NONE, LIE_DIGEST, LIE_SIZE, LIE_LEFT_OUT, LIE_ADDED, LIE_SWAPPED, LIE_STALE, LIE_COUNT };

static bool tell_lie(struct store_txn *txn, struct test_store *t, enum lie lie, struct summary_section *sections)
{
	struct summary_section spare;
	unsigned there = SUMMARY_COUNT, other = SUMMARY_COUNT, missing = SUMMARY_COUNT;

	for (unsigned i = SUMMARY_COUNT; i > 0; i--) {
		unsigned *place = !sections[i - 1].present ? &missing : there == SUMMARY_COUNT ? &there : &other;
		*place = i - 1;
	}
	switch (lie) {
	case LIE_NONE:
		break;
	case LIE_DIGEST:
		sections[there].content.digest.bytes[31] ^= 1;
		break;
	case LIE_SIZE:
		sections[there].content.size++;
		sections[there].content.pieces[sections[there].content.count - 1].text_size++;
		break;
	case LIE_LEFT_OUT:
		sections[there].present = false;
		break;
	case LIE_ADDED:
		sections[missing] = sections[there];
		break;
	case LIE_SWAPPED:
		spare = sections[there];
		sections[there] = sections[other];
		sections[other] = spare;
		break;
	case LIE_STALE: /* true of the log one record earlier */
		assert_int_equal(summary_make(txn, own_log(t, txn), 2, sections), 0);
		break;
	case LIE_COUNT:
		break;
	}
	return lie != LIE_NONE;
}

static struct id say_vote(struct store_txn *txn, uint8_t object, enum vote vote)
{
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_VOTE;
	memset(record->vote.object.bytes, object, ID_SIZE);
	record->vote.vote = vote;
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

static void lies_are_seen(void **state)
{
	for (enum lie lie = LIE_NONE; lie < LIE_COUNT; lie++) {
		struct summary_section *sections = sections_new();
		struct record *record = record_new();
		struct test_store t;
		struct id id, directory;

		test_store_make(&t, 1);
		struct store_txn *txn = txn_begin(&t, true);
		say_version(&t, txn, &(struct save){ .directory = t.key.public, .name = "a.md", .text = "x" });
		say_directory(txn, &t.key.public, "d", &directory);
		say_vote(txn, 1, VOTE_KEEP);
		txn_commit(txn);
		t.time_ms++;
		txn = txn_begin(&t, true);
		say_vote(txn, 1, VOTE_DELETE);
		assert_int_equal(summary_make(txn, own_log(&t, txn), 3, sections), 0);
		bool lied = tell_lie(txn, &t, lie, sections);
		record->field = FIELD_SUMMARY;
		record->summary.sections = sections;
		assert_int_equal(log_append(txn, record, &id, NULL), 0);
		txn_commit(txn);
		if (check(&t, &id) != !lied)
			fail_msg("lie %d: %d", lie, check(&t, &id));
		test_store_remove(&t);
		free(sections);
		free(record);
	}
}

/* ---- other stores ---- */

/* Delivers all parcels in an order of chance: what comes before its predecessor is tried again. */
static void deliver(struct test_store *to, struct parcel *const *parcels, size_t count, uint64_t *seed)
{
	bool *there = calloc(count, sizeof(*there));
	size_t left = count;

	while (left > 0) {
		size_t i = chance_below(seed, (unsigned)count);
		for (size_t k = 0; k < count && there[i]; k++)
			i = (i + 1) % count;
		struct store_txn *txn = txn_begin(to, true);
		int err = parcel_accept(txn, parcels[i]);
		if (err == -EAGAIN) {
			store_abort(txn);
			continue;
		}
		assert_int_equal(err, 0);
		txn_commit(txn);
		there[i] = true;
		left--;
	}
	free(there);
}

static void the_same_on_every_store(void **state)
{
	enum { DEVICES = 3, RECORDS = 40 };
	struct summary_section *sections[2] = { sections_new(), sections_new() };
	struct parcel *parcels[DEVICES * (RECORDS + 1)];
	struct test_store devices[DEVICES], other;
	struct model *models[DEVICES];
	struct id summaries[DEVICES];
	uint64_t seed = 7;
	size_t count = 0;

	for (unsigned i = 0; i < DEVICES; i++) {
		test_store_make(&devices[i], i + 1);
		models[i] = model_new();
		some_log(&devices[i], models[i], RECORDS, &seed);
		summaries[i] = append_summary(&devices[i], models[i]);
		for (size_t k = 0; k < models[i]->count; k++)
			parcels[count++] = &models[i]->log[k];
	}
	for (uint64_t round = 0; round < 3; round++) {
		test_store_make(&other, 100 + round);
		other.time_ms += 3600000;
		deliver(&other, parcels, count, &seed);
		for (unsigned i = 0; i < DEVICES; i++) {
			assert_int_equal(check(&other, &summaries[i]), 1);
			struct store_txn *here = txn_begin(&devices[i], true), *there = txn_begin(&other, true);
			uint64_t log;
			assert_int_equal(store_number(there, NUMBER_DEVICE, &devices[i].key.public, &log), 0);
			assert_int_equal(summary_make(here, own_log(&devices[i], here), RECORDS, sections[0]), 0);
			assert_int_equal(summary_make(there, log, RECORDS, sections[1]), 0);
			assert_memory_equal(sections[0], sections[1], SUMMARY_COUNT * sizeof(*sections[0]));
			assert_sections(&other, there, models[i], RECORDS + 1, sections[1]);
			store_abort(here);
			store_abort(there);
		}
		test_store_remove(&other);
	}
	for (unsigned i = 0; i < DEVICES; i++) {
		test_store_remove(&devices[i]);
		model_free(models[i]);
	}
	free(sections[0]);
	free(sections[1]);
}

/* ---- forks ---- */

static struct id say_branch(struct store_txn *txn, const struct id *keep)
{
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_BRANCH;
	record->branch.record = *keep;
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

/* A backup is restored beside the original: each summary tells of its own branch, wherever it is checked. */
static void of_a_forked_log_the_branch(void **state)
{
	struct summary_section *sections = sections_new();
	struct model *m[2] = { model_new(), model_new() };
	struct test_store t[2];
	struct id summaries[2];
	struct parcel *parcels[64];
	uint64_t seed = 11;

	test_store_make(&t[0], 1);
	some_log(&t[0], m[0], 15, &seed);
	test_store_stop(&t[0]);
	test_store_copy(&t[1], &t[0], 2);
	test_store_start(&t[0], false);
	struct store_txn *txn = txn_begin(&t[1], false);
	for (size_t i = 0; i < m[0]->count; i++)
		model_take(m[1], txn, &m[0]->log[i].id);
	store_abort(txn);
	some_log(&t[0], m[0], 10, &seed);
	some_log(&t[1], m[1], 14, &seed);
	for (int i = 0; i < 2; i++)
		summaries[i] = append_summary(&t[i], m[i]);
	for (int i = 0; i < 2; i++) {
		size_t count = m[!i]->count - 15;
		for (size_t k = 0; k < count; k++)
			parcels[k] = &m[!i]->log[15 + k];
		deliver(&t[i], parcels, count, &seed);
	}
	/* Branch 1 is longer, so both have its tip; then the shorter one is kept. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(check(&t[i], &summaries[0]), 1);
		assert_int_equal(check(&t[i], &summaries[1]), 1);
		txn = txn_begin(&t[i], true);
		assert_int_equal(summary_make(txn, own_log(&t[i], txn), m[1]->count - 1, sections), 0);
		assert_sections(&t[i], txn, m[1], m[1]->count, sections);
		say_branch(txn, &m[0]->log[16].id);
		assert_int_equal(summary_make(txn, own_log(&t[i], txn), m[0]->count - 1, sections), 0);
		assert_sections(&t[i], txn, m[0], m[0]->count, sections);
		txn_commit(txn);
	}
	for (int i = 0; i < 2; i++) {
		test_store_remove(&t[i]);
		model_free(m[i]);
	}
	free(sections);
}

/* ---- large ones ---- */

/* Many names, each said anew in every round: a list of pieces, and facts thinned out on the way. */
static void of_many_names(void **state)
{
	enum { ROUNDS = 2, NAMES = 16000 };
	struct test_store t;
	struct id id = { { 1 } }, *before = calloc(NAMES / ENTRIES_MAX, sizeof(*before));
	struct content content;
	char name[ENTRIES_MAX][16];

	test_store_make(&t, 1);
	for (unsigned i = 0; i < ROUNDS * NAMES / ENTRIES_MAX; i++) {
		struct store_txn *txn = txn_begin(&t, true);
		unsigned part = i % (NAMES / ENTRIES_MAX);
		struct record *record = entries_begin();
		for (unsigned k = 0; k < ENTRIES_MAX; k++) {
			snprintf(name[k], sizeof(name[k]), "%05u.md", part * ENTRIES_MAX + k);
			struct entry *entry = entries_add(record, &t.key.public, name[k], WHAT_DIRECTORY, &id);
			if (!id_is_zero(&before[part])) {
				record->replaces[record->replaces_count++] = (struct replaced){ before[part], k };
				entry->replaces_count = 1;
			}
		}
		before[part] = entries_say(txn, record);
		txn_commit(txn);
	}
	struct id summary = append_summary(&t, NULL);
	assert_int_equal(check(&t, &summary), 1);
	struct store_txn *txn = txn_begin(&t, false);
	struct record_row row;
	struct summary_section *sections = sections_new();
	assert_int_equal(log_find_record(txn, &summary, &row), 0);
	assert_int_equal(log_read_record(txn, &row, store_txn_record(txn, 0), NULL), 0);
	assert_int_equal(record_summary_section(store_txn_record(txn, 0), SUMMARY_ENTRIES, sections), 0);
	content = sections[0].content;
	/* 84 5820 id 68 name 81 85 5820 id index(1 or 2) what 5820 id 1b time 80: 24 of 64 indexes have one byte */
	assert_int_equal(content.size, (uint64_t)NAMES * (35 + 9 + 1 + 1 + 34 + 2 + 1 + 34 + 9 + 1) - NAMES / 64 * 24);
	assert_true(content.depth > 0);
	store_abort(txn);
	test_store_remove(&t);
	free(sections);
	free(before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_byte_by_byte),
		cmocka_unit_test(of_nothing),
		cmocka_unit_test(like_the_model),
		cmocka_unit_test(what_cannot_be_made),
		cmocka_unit_test(lies_are_seen),
		cmocka_unit_test(the_same_on_every_store),
		cmocka_unit_test(of_a_forked_log_the_branch),
		cmocka_unit_test(of_many_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
