/*
 * The records are written in the notation of record_vectors.h, not by the encoder, so that both
 * sides are held to the vectors in tests/data/records. `test_record --write DIR` makes those
 * files from the tables; without it they must be equal to them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "record.h"
#include "record_vectors.h"

#define NUMBER_MAX ((1ull << 53) - 1)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the notation ---- */

static void put_head(struct bytes *b, unsigned major, uint64_t value)
{
	unsigned size = value < 24 ? 0 : value < 256 ? 1 : value < 65536 ? 2 : value <= UINT32_MAX ? 4 : 8;
	unsigned more = size == 0 ? (unsigned)value : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27;

	bytes_put_u8(b, (uint8_t)(major << 5 | more));
	for (unsigned i = size; i > 0; i--)
		bytes_put_u8(b, (uint8_t)(value >> (8 * (i - 1))));
}

static void put_filled(struct bytes *b, unsigned major, uint8_t byte, size_t size)
{
	put_head(b, major, size);
	for (size_t i = 0; i < size; i++)
		bytes_put_u8(b, byte);
}

static void put_hex(struct bytes *b, const char *text, size_t size)
{
	assert_int_equal(size % 2, 0);
	for (size_t i = 0; i + 1 < size; i += 2) {
		char digits[3] = { text[i], text[i + 1], '\0' };

		bytes_put_u8(b, (uint8_t)strtoul(digits, NULL, 16));
	}
}

static void put_counted_id(struct bytes *b, uint32_t turn)
{
	put_head(b, 2, ID_SIZE);
	bytes_put_u32_be(b, turn);
	for (size_t i = 4; i < ID_SIZE; i++)
		bytes_put_u8(b, 0);
}

static void put_token(struct bytes *b, const char *token, size_t size, uint32_t turn)
{
	uint64_t value = strtoull(token + 1, NULL, 10);
	static const uint8_t nonce[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };

	switch (token[0]) {
	case 'A': put_head(b, 4, value); break;
	case 'u': put_head(b, 0, value); break;
	case 'B': put_filled(b, 2, 0, value); break;
	case 'T': put_filled(b, 3, 'a', value); break;
	case 'e': put_head(b, 2, 0); break;
	case 'N': put_head(b, 2, 8); bytes_put(b, nonce, 8); break;
	case 'I':
		if (size > 1 && token[1] == '#')
			put_counted_id(b, turn);
		else
			put_filled(b, 2, (uint8_t)strtoul(token + 1, NULL, 16), ID_SIZE);
		break;
	case 't':
		put_head(b, 3, size < 2 ? 0 : size - 2);
		if (size > 2)
			bytes_put(b, token + 2, size - 2);
		break;
	case 'x': put_hex(b, token + 1, size - 1); break;
	default: fail_msg("not a token: %.*s", (int)size, token);
	}
}

static void assemble(struct bytes *b, const char *notation)
{
	const char *at = notation, *repeated = NULL;
	uint32_t turn = 0, turns = 0;

	bytes_clear(b);
	while (*at) {
		size_t size = strcspn(at, " ");

		if (at[0] == 'R') {
			turns = (uint32_t)strtoul(at + 1, NULL, 10);
			turn = 1;
			repeated = at + size;
		} else if (at[0] == ')' && turn++ < turns) {
			at = repeated;
			continue;
		} else if (at[0] != ')' && size > 0) {
			put_token(b, at, size, turn);
		}
		at += size + (at[size] == ' ');
	}
	assert_int_equal(bytes_error(b), 0);
}

/* ---- decoding and encoding again ---- */

struct bench { /* what each case needs */
	struct record *record, *head;
	struct bytes input, output;
};

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_non_null(bench);
	bench->record = record_new();
	bench->head = record_new();
	assert_non_null(bench->record);
	assert_non_null(bench->head);
	bytes_init(&bench->input, 4 * RECORD_SIZE_MAX);
	bytes_init(&bench->output, RECORD_SIZE_MAX);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	free(bench->record);
	free(bench->head);
	bytes_finish(&bench->input);
	bytes_finish(&bench->output);
	free(bench);
	return 0;
}

/* The encoder reads a summary's sections from where the caller has them. */
static int encode_again(struct record *r, struct bytes *out)
{
	CLEANUP(cleanup_free) struct summary_section *sections = NULL;

	if (r->field == FIELD_SUMMARY) {
		sections = calloc(SUMMARY_COUNT, sizeof(*sections));
		assert_non_null(sections);
		for (unsigned i = 0; i < SUMMARY_COUNT; i++)
			assert_int_equal(record_summary_section(r, i, &sections[i]), 0);
		r->summary.sections = sections;
	}
	bytes_clear(out);
	int err = record_encode(r, out);
	if (sections)
		r->summary.sections = NULL;
	return err;
}

/* From an exactly sized block, so that a read past the end is seen. */
static int decode_exactly(struct bench *bench, const uint8_t *bytes, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *copy = malloc(size > 0 ? size : 1);

	assert_non_null(copy);
	if (size > 0)
		memcpy(copy, bytes, size);
	int err = record_decode(bench->record, copy, size);
	int head_err = record_decode_head(bench->head, copy, size);
	if (err < 0)
		return err;

	assert_int_equal(head_err, 0);
	assert_memory_equal(&bench->head->voucher, &bench->record->voucher, ID_SIZE);
	assert_memory_equal(&bench->head->prev, &bench->record->prev, ID_SIZE);
	assert_memory_equal(bench->head->nonce, bench->record->nonce, 8);
	assert_int_equal(bench->head->seq, bench->record->seq);
	assert_int_equal(bench->head->time_ms, bench->record->time_ms);
	assert_int_equal(bench->head->field, bench->record->field);
	assert_ptr_equal(bench->head->body_bytes, bench->record->body_bytes);
	assert_int_equal(bench->head->body_size, bench->record->body_size);
	assert_int_equal(encode_again(bench->record, &bench->output), 0);
	assert_int_equal(bench->output.size, size);
	assert_memory_equal(bench->output.data, copy, size);
	return 0;
}

static const char *notation_of(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		if (strcmp(accepted[i].name, name) == 0)
			return accepted[i].notation;
	}
	fail_msg("no vector %s", name);
	return NULL;
}

static void test_accepts_each_kind(void **state)
{
	struct bench *bench = *state;
	bool seen[64] = { false };

	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		assemble(&bench->input, accepted[i].notation);
		memset(bench->record, 0xa5, sizeof(*bench->record)); /* decoding sets all it needs */
		if (decode_exactly(bench, bench->input.data, bench->input.size) < 0)
			fail_msg("%s: refused", accepted[i].name);
		if (bench->record->field < COUNT_OF(seen))
			seen[bench->record->field] = true;
	}
	for (size_t field = 0; field < COUNT_OF(seen); field++) {
		if (strcmp(record_field_name(field), "unknown") != 0 && !seen[field])
			fail_msg("no vector of %s", record_field_name(field));
	}
}

static void test_refuses(void **state)
{
	struct bench *bench = *state;

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		assemble(&bench->input, refused[i].notation);
		if (decode_exactly(bench, bench->input.data, bench->input.size) != -EBADMSG)
			fail_msg("%s: not refused", refused[i].name);
	}
}

/* A head that breaks a rule, or a body that is not CBOR of ours, is refused without looking inside. */
static void test_head_refuses_what_it_sees(void **state)
{
	struct bench *bench = *state;
	static const struct {
		const char *name;
		int expected;
	} cases[] = {
		{ "trailing-byte", -EBADMSG },
		{ "missing-body", -EBADMSG },
		{ "version-2", -EBADMSG },
		{ "seq-0-with-prev", -EBADMSG },
		{ "body-not-array", -EBADMSG },
		{ "float", -EBADMSG },
		{ "integer-not-shortest-8", -EBADMSG },
		{ "unknown-body-bad-utf8", -EBADMSG },
		{ "vote-3", 0 },
		{ "name-slash", 0 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t k = 0;

		while (k < COUNT_OF(refused) && strcmp(refused[k].name, cases[i].name) != 0)
			k++;
		assert_true(k < COUNT_OF(refused));
		assemble(&bench->input, refused[k].notation);
		int err = record_decode_head(bench->head, bench->input.data, bench->input.size);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
	}
}

/* An id that must be there is never 32 zero bytes, and one that need not be is then empty. */
static void test_no_id_is_zero(void **state)
{
	struct bench *bench = *state;
	size_t ids = 0;

	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		CLEANUP(cleanup_free) char *notation = strdup(accepted[i].notation);

		assert_non_null(notation);
		for (char *at = strstr(notation, " I"); at; at = strstr(at + 1, " I")) {
			char was[2] = { at[2], at[3] };

			memcpy(at + 2, "00", 2);
			assemble(&bench->input, notation);
			if (decode_exactly(bench, bench->input.data, bench->input.size) != -EBADMSG)
				fail_msg("%s: accepted", notation);
			memcpy(at + 2, was, 2);
			ids++;
		}
	}
	assert_true(ids > 100);
}

static void test_each_limit(void **state)
{
	struct bench *bench = *state;
	static const struct {
		const char *name, *most, *over;
	} cases[] = {
		{ "parents", LATER(10) "A5 I10 A16 R16( I# ) u0 " TEXT OWN,
		  LATER(10) "A5 I10 A17 R17( I# ) u0 " TEXT OWN },
		{ "pieces", LATER(10) "A5 e A0 u0 A4 u262144 I20 u0 A64 R64( A3 I# u4096 u20 ) " OWN,
		  LATER(10) "A5 e A0 u0 A4 u266240 I20 u0 A65 R65( A3 I# u4096 u20 ) " OWN },
		{ "rank", LATER(5) "A2 I05 A7 R7( A2 u9007199254740991 u9007199254740991 )",
		  LATER(5) "A2 I05 A7 R6( A2 u0 u0 ) A2 u9007199254740992 u0" },
		{ "stored", LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I21 u5 u65600 " OWN,
		  LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I21 u5 u65601 " OWN },
		{ "short link", LATER(10) "A5 e A0 u2 A4 u1 I20 u0 A1 A3 I21 u1 u20 " OWN,
		  LATER(10) "A5 e A0 u2 A4 u0 I20 u0 A1 A3 I21 u0 u20 " OWN },
		{ "text", LATER(10) "A5 e A0 u0 A4 u1099511627776 I20 u4 A1 A3 I21 u1099511627776 u65600 " OWN,
		  LATER(10) "A5 e A0 u0 A4 u1099511627777 I20 u4 A1 A3 I21 u1099511627777 u65600 " OWN },
		{ "link", LATER(10) "A5 e A0 u2 A4 u4095 I20 u0 A1 A3 I21 u4095 u65600 " OWN,
		  LATER(10) "A5 e A0 u2 A4 u4096 I20 u0 A1 A3 I21 u4096 u65600 " OWN },
		{ "entries", LATER(11) "A64 R64( A5 I# T255 u0 e A0 )", LATER(11) "A65 R65( A5 I# T1 u0 e A0 )" },
		{ "replaces", LATER(11) "A1 A5 I30 t:a u0 e A256 R256( A2 I# u63 )",
		  LATER(11) "A1 A5 I30 t:a u0 e A257 R257( A2 I# u63 )" },
		{ "replaces of all", LATER(11) "A2 A5 I30 t:a u0 e A1 A2 I02 u0 A5 I30 t:b u0 e A255 R255( A2 I# u0 )",
		  LATER(11) "A2 A5 I30 t:a u0 e A1 A2 I02 u0 A5 I30 t:b u0 e A256 R256( A2 I# u0 )" },
		{ "ranking", LATER(30) "A4 I30 T255 A256 R256( I# ) e", LATER(30) "A4 I30 T255 A257 R257( I# ) e" },
		{ "cut and members", LATER(43) "A4 I40 e A512 R512( A3 I# u9007199254740991 I02 ) A512 R512( I# )",
		  LATER(43) "A4 I40 e A512 R512( A3 I# u0 I02 ) A513 R513( I# )" },
		{ "cut", LATER(44) "A7 I40 I30 T255 I41 A512 R512( A3 I# u0 I02 ) e I42",
		  LATER(44) "A7 I40 I30 T255 I41 A513 R513( A3 I# u0 I02 ) e I42" },
		{ "profile", FIRST(0) "A3 e T63 T4096", FIRST(0) "A3 e T64 T4096" },
		{ "found", LATER(40) "A3 T63 u1 u1", LATER(40) "A3 T64 u1 u1" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assemble(&bench->input, cases[i].most);
		if (decode_exactly(bench, bench->input.data, bench->input.size) != 0)
			fail_msg("%s: the most is refused", cases[i].name);
		assemble(&bench->input, cases[i].over);
		if (decode_exactly(bench, bench->input.data, bench->input.size) != -EBADMSG)
			fail_msg("%s: over the limit is accepted", cases[i].name);
	}
}

static void test_size_of_a_record(void **state)
{
	struct bench *bench = *state;

	/* 94 bytes around the zeroes. */
	assemble(&bench->input, LATER(8) "A1 B65442");
	assert_int_equal(bench->input.size, RECORD_SIZE_MAX);
	assert_int_equal(decode_exactly(bench, bench->input.data, bench->input.size), 0);
	assemble(&bench->input, LATER(8) "A1 B65443");
	assert_int_equal(decode_exactly(bench, bench->input.data, bench->input.size), -EMSGSIZE);
	assert_int_equal(record_decode_head(bench->head, bench->input.data, bench->input.size), -EMSGSIZE);

	/* The encoder says so too, whatever its buffer could hold. */
	struct bytes large;
	bytes_init(&large, 4 * RECORD_SIZE_MAX);
	bytes_put_text(&large, "before");
	assemble(&bench->input, LATER(8) "A0");
	assert_int_equal(record_decode(bench->record, bench->input.data, bench->input.size), 0);
	assemble(&bench->input, "A1 B65443");
	bench->record->body_bytes = bench->input.data;
	bench->record->body_size = bench->input.size;
	assert_int_equal(record_encode(bench->record, &large), -EMSGSIZE);
	assert_int_equal(large.size, 6);
	assert_int_equal(record_encode(bench->record, &bench->output), -EMSGSIZE);
	assemble(&bench->input, "A1 B65442");
	bench->record->body_bytes = bench->input.data;
	bench->record->body_size = bench->input.size;
	assert_int_equal(record_encode(bench->record, &large), 0);
	assert_int_equal(large.size, 6 + RECORD_SIZE_MAX);
	bytes_finish(&large);
}

/* ---- damage ---- */

static void test_every_prefix_is_refused(void **state)
{
	struct bench *bench = *state;

	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		assemble(&bench->input, accepted[i].notation);
		for (size_t size = 0; size < bench->input.size; size++) {
			if (decode_exactly(bench, bench->input.data, size) != -EBADMSG)
				fail_msg("%s: %zu bytes of it are accepted", accepted[i].name, size);
		}
	}
}

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* decode_exactly() asserts that what is accepted has no other spelling. */
static void test_changed_bytes(void **state)
{
	struct bench *bench = *state;
	uint64_t random = 1;
	size_t accepted_count = 0, refused_count = 0;

	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		for (unsigned turn = 0; turn < 1500; turn++) {
			assemble(&bench->input, accepted[i].notation);
			for (unsigned k = turn % 3; k < 3; k++) {
				uint32_t at = next_random(&random) % (uint32_t)bench->input.size;

				bench->input.data[at] = turn % 2 ? (uint8_t)next_random(&random)
					: (uint8_t)(bench->input.data[at] ^ 1u << next_random(&random) % 8);
			}
			if (decode_exactly(bench, bench->input.data, bench->input.size) == 0)
				accepted_count++;
			else
				refused_count++;
		}
	}
	assert_true(accepted_count > 1000); /* changes within ids are still records */
	assert_true(refused_count > 1000);
}

/* ---- the encoder refuses what the decoder would ---- */

static void no_voucher(struct record *r) { memset(&r->voucher, 0, ID_SIZE); }
static void seq_too_large(struct record *r) { r->seq = NUMBER_MAX + 1; }
static void seq_without_prev(struct record *r) { memset(&r->prev, 0, ID_SIZE); }
static void first_with_prev(struct record *r) { r->seq = 0; }
static void time_too_large(struct record *r) { r->time_ms = NUMBER_MAX + 1; }
static void field_too_large(struct record *r) { r->field = NUMBER_MAX + 1; }
static void no_body(struct record *r) { r->body_bytes = NULL; }
static void body_short(struct record *r) { r->body_size--; }
static void name_at(struct record *r) { r->profile.name = (struct text){ "a@", 2 }; }
static void name_not_utf8(struct record *r) { r->profile.name = (struct text){ "\xff", 1 }; }
static void name_missing(struct record *r) { r->profile.name = (struct text){ NULL, 2 }; }
static struct text letters(size_t size)
{
	static char text[PROFILE_ABOUT_MAX + 1];

	memset(text, 'a', sizeof(text));
	return (struct text){ text, size };
}

static void name_64(struct record *r) { r->profile.name = letters(64); }
static void about_4097(struct record *r) { r->profile.about = letters(4097); }
static void found_name_64(struct record *r) { r->found.name = letters(64); }
static void cut_seq(struct record *r) { r->roster.cut[0].seq = NUMBER_MAX + 1; }
static void about_nul(struct record *r) { r->profile.about = (struct text){ "a\0b", 3 }; }
static void subject_2(struct record *r) { r->subscribe.what = (enum subject)2; }
static void subscribe_none(struct record *r) { memset(&r->subscribe.id, 0, ID_SIZE); }
static void trust_more(struct record *r) { r->trust.parts_per_million = 1000001; }
static void offence_0(struct record *r) { r->denounce.offence = 0; }
static void evidence_count(struct record *r) { r->denounce.evidence.count = 65; }
static void rank_more(struct record *r) { r->rank.ranks[6].bad = NUMBER_MAX + 1; }
static void admit_last(struct record *r) { r->admit.on = true; }
static void branch_none(struct record *r) { memset(&r->branch.record, 0, ID_SIZE); }
static void parents_many(struct record *r) { r->version.parent_count = PARENTS_MAX + 1; }
static void parents_same(struct record *r) { r->version.parents[1] = r->version.parents[0]; }
static void mode_3(struct record *r) { r->version.mode = (enum mode)3; }
static void link_large(struct record *r) { r->version.mode = MODE_LINK; }
static void size_wrong(struct record *r) { r->version.content.size++; }
static void count_0(struct record *r) { r->version.content.count = 0; }
static void depth_5(struct record *r) { r->version.content.depth = 5; }
static void stored_0(struct record *r) { r->version.content.pieces[1].stored_size = 0; }
static void own_id(struct record *r) { r->version.entry.id = r->voucher; }
static void own_nothing(struct record *r) { r->version.entry.what = WHAT_NOTHING; }
static void range_first(struct record *r) { r->version.entry.replaces_first = UINT32_MAX; }
static void range_count(struct record *r) { r->version.entry.replaces_count++; }
static void replaces_same(struct record *r) { r->replaces[1] = r->replaces[0]; }
static void replaces_many(struct record *r) { r->replaces_count = REPLACES_MAX + 1; }
static void index_64(struct record *r) { r->replaces[2].index = ENTRIES_MAX; }
static void entries_0(struct record *r) { r->entries.count = 0; }
static void entries_many(struct record *r) { r->entries.count = ENTRIES_MAX + 1; }
static void what_3(struct record *r) { r->entries.entries[1].what = (enum what)3; }
static void version_none(struct record *r) { memset(&r->entries.entries[1].id, 0, ID_SIZE); }
static void entry_slash(struct record *r) { r->entries.entries[0].name = (struct text){ "/", 1 }; }
static void vote_3(struct record *r) { r->vote.vote = (enum vote)3; }
static void ranking_many(struct record *r) { r->ranking.count = RANKING_MAX + 1; }
static void ranking_same(struct record *r) { r->ranking.versions[2] = r->ranking.versions[0]; }
static void quorum_0(struct record *r) { r->found.numerator = 0; }
static void quorum_1001(struct record *r) { r->found.denominator = 1001; }
static void join_none(struct record *r) { memset(&r->join.group, 0, ID_SIZE); }
static void authorize_none(struct record *r) { memset(&r->authorize.entity, 0, ID_SIZE); }
static void members_0(struct record *r) { r->roster.member_count = 0; }
static void members_many(struct record *r) { r->roster.member_count = MEMBERS_MAX + 1; }
static void cut_many(struct record *r) { r->roster.cut_count = CUT_MAX + 1; }
static void cut_same(struct record *r) { r->roster.cut[1] = r->roster.cut[0]; }
static void rounds_none(struct record *r) { memset(&r->tally.rounds, 0, ID_SIZE); }

static void test_encoder_refuses(void **state)
{
	struct bench *bench = *state;
	static const struct {
		const char *vector, *name;
		void (*damage)(struct record *r);
	} cases[] = {
#define CASE(vector, damage) { vector, #damage, damage }
		CASE("vote-none", no_voucher), CASE("vote-none", seq_too_large),
		CASE("vote-none", seq_without_prev), CASE("vote-none", first_with_prev),
		CASE("vote-none", time_too_large), CASE("vote-none", field_too_large),
		CASE("unknown-field", no_body), CASE("unknown-field", body_short),
		CASE("profile", name_at), CASE("profile", name_64), CASE("profile", about_4097),
		CASE("found", found_name_64), CASE("roster", cut_seq), CASE("profile", name_not_utf8), CASE("profile", name_missing),
		CASE("profile", about_nul), CASE("subscribe-entity", subject_2),
		CASE("subscribe-entity", subscribe_none), CASE("trust", trust_more),
		CASE("denounce", offence_0), CASE("denounce", evidence_count), CASE("rank", rank_more),
		CASE("admit-retire-after", admit_last), CASE("branch", branch_none),
		CASE("version-of-two-parents", parents_many), CASE("version-of-two-parents", parents_same),
		CASE("version-of-two-parents", mode_3), CASE("version-of-two-parents", link_large),
		CASE("version-of-two-parents", size_wrong), CASE("version-of-two-parents", count_0),
		CASE("version-of-two-parents", depth_5), CASE("version-of-two-parents", stored_0),
		CASE("version-of-two-parents", own_id), CASE("version-of-two-parents", own_nothing),
		CASE("version-of-two-parents", range_first), CASE("version-of-two-parents", range_count),
		CASE("version-of-two-parents", replaces_same), CASE("version-of-two-parents", replaces_many),
		CASE("version-of-two-parents", index_64), CASE("entries-rename", entries_0),
		CASE("entries-rename", entries_many), CASE("entries-rename", what_3),
		CASE("entries-rename", version_none), CASE("entries-rename", entry_slash),
		CASE("vote-none", vote_3), CASE("ranking", ranking_many), CASE("ranking", ranking_same),
		CASE("found", quorum_0), CASE("found", quorum_1001), CASE("join", join_none),
		CASE("authorize", authorize_none), CASE("roster", members_0), CASE("roster", members_many),
		CASE("roster", cut_many), CASE("roster", cut_same), CASE("tally", rounds_none),
#undef CASE
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assemble(&bench->input, notation_of(cases[i].vector));
		assert_int_equal(record_decode(bench->record, bench->input.data, bench->input.size), 0);
		bytes_clear(&bench->output);
		assert_int_equal(record_encode(bench->record, &bench->output), 0);
		bytes_clear(&bench->output);
		cases[i].damage(bench->record);
		if (record_encode(bench->record, &bench->output) != -EINVAL || bench->output.size != 0)
			fail_msg("%s with %s: encoded", cases[i].vector, cases[i].name);
	}
}

/* Entries may share a range of replaces in memory; on disk they each have their own. */
static void test_replaces_over_all_entries(void **state)
{
	struct bench *bench = *state;
	struct record *r = bench->record;

	assemble(&bench->input, LATER(11) "A2 A5 I30 t:a u0 e A129 R129( A2 I# u0 ) A5 I30 t:b u0 e A0");
	assert_int_equal(record_decode(r, bench->input.data, bench->input.size), 0);
	r->entries.entries[1].replaces_first = 0;
	r->entries.entries[1].replaces_count = 127;
	bytes_clear(&bench->output);
	assert_int_equal(record_encode(r, &bench->output), 0);
	r->entries.entries[1].replaces_count = 128;
	bytes_clear(&bench->output);
	assert_int_equal(record_encode(r, &bench->output), -EINVAL);
}

/* ---- what a caller sees ---- */

static void test_decoded_values(void **state)
{
	struct bench *bench = *state;
	struct record *r = bench->record;
	const struct entry *first;

	memset(r, 0xa5, sizeof(*r));
	assemble(&bench->input, notation_of("version-of-two-parents"));
	assert_int_equal(record_decode(r, bench->input.data, bench->input.size), 0);
	assert_int_equal(r->seq, 7);
	assert_int_equal(r->time_ms, 1700000000000);
	assert_int_equal(r->field, FIELD_VERSION);
	assert_int_equal(r->version.document.bytes[31], 0x10);
	assert_int_equal(r->version.parent_count, 2);
	assert_int_equal(r->version.parents[1].bytes[0], 0x12);
	assert_int_equal(r->version.content.size, 70000);
	assert_int_equal(r->version.content.pieces[0].stored_size, 65600);
	assert_int_equal(record_entries(r, &first), 1);
	assert_int_equal(first->name.size, 8);
	assert_memory_equal(first->name.data, "notes.md", 8);
	assert_int_equal(first->replaces_count, 3);
	assert_int_equal(r->replaces[first->replaces_first + 2].index, 63);
	assert_int_equal(r->replaces_count, 3);
	/* The rest is not touched: clearing all of it would cost more than decoding. */
	assert_int_equal(((uint8_t *)&r->replaces[REPLACES_MAX - 1])[0], 0xa5);

	assemble(&bench->input, notation_of("entries-rename"));
	assert_int_equal(record_decode(r, bench->input.data, bench->input.size), 0);
	assert_int_equal(record_entries(r, &first), 2);
	assert_int_equal(first[0].what, WHAT_NOTHING);
	assert_true(id_is_zero(&first[0].id));
	assert_int_equal(first[0].replaces_count, 1);
	assert_int_equal(first[1].replaces_count, 0);
	assert_int_equal(first[1].directory.bytes[0], 0x31);

	assemble(&bench->input, notation_of("unknown-field-deep"));
	assert_int_equal(record_decode(r, bench->input.data, bench->input.size), 0);
	assert_int_equal(record_entries(r, &first), 0);
	assert_null(first);
	assert_int_equal(r->body_size, 17);
	assert_int_equal(r->replaces_count, 0);
}

static void test_summary_sections(void **state)
{
	struct bench *bench = *state;
	struct summary_section section;
	struct summary_section sections[SUMMARY_COUNT];

	assemble(&bench->input, notation_of("summary"));
	assert_int_equal(record_decode(bench->record, bench->input.data, bench->input.size), 0);
	assert_null(bench->record->summary.sections);
	assert_int_equal(record_summary_section(bench->record, SUMMARY_ENTRIES, &section), 0);
	assert_true(section.present);
	assert_int_equal(section.content.size, 5);
	assert_int_equal(record_summary_section(bench->record, SUMMARY_SUBSCRIPTIONS, &section), 0);
	assert_false(section.present);
	assert_int_equal(record_summary_section(bench->record, SUMMARY_ADMITS, &section), 0);
	assert_int_equal(section.content.depth, 1);
	assert_int_equal(record_summary_section(bench->record, SUMMARY_COUNT, &section), -EINVAL);

	memset(sections, 0, sizeof(sections));
	sections[3] = section;
	bench->record->summary.sections = sections;
	bytes_clear(&bench->output);
	assert_int_equal(record_encode(bench->record, &bench->output), 0);
	sections[3].content.size++;
	bytes_clear(&bench->output);
	assert_int_equal(record_encode(bench->record, &bench->output), -EINVAL);
}

static void test_id_and_signature(void **state)
{
	struct bench *bench = *state;
	/* By Python's hashlib.blake2b(digest_size=32) of accept-vote-delete.hex. */
	static const char expected[] = "35f209d37e9856d0285c51f05206ddee01d86202ecd29b82b014d788871343b0";
	struct key key, other;
	struct signature signature;
	struct clock clock = clock_system();
	struct id id;
	char text[ID_SIZE * 2 + 1];

	assemble(&bench->input, notation_of("vote-delete"));
	record_id(&id, bench->input.data, bench->input.size);
	for (size_t i = 0; i < ID_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", id.bytes[i]);
	assert_string_equal(text, expected);

	key_create(&key, &clock);
	key_create(&other, &clock);
	assert_int_equal(record_sign(&signature, &key, &id), 0);
	assert_int_equal(record_verify(&signature, &key.public, &id), 0);
	assert_int_equal(key_verify(&signature, &key.public, "mootfs record 1", id.bytes, ID_SIZE), 0);
	assert_int_equal(record_verify(&signature, &other.public, &id), -EKEYREJECTED);
	id.bytes[31] ^= 1;
	assert_int_equal(record_verify(&signature, &key.public, &id), -EKEYREJECTED);
	key_finish(&key);
	key_finish(&other);
}

static void test_field_names(void **state)
{
	(void)state;
	assert_string_equal(record_field_name(FIELD_PROFILE), "profile");
	assert_string_equal(record_field_name(FIELD_VERSION), "version");
	assert_string_equal(record_field_name(FIELD_TALLY), "tally");
	assert_string_equal(record_field_name(8), "unknown");
	assert_string_equal(record_field_name(UINT64_MAX), "unknown");
}

/* ---- the files ---- */

static void vector_path(char *out, size_t out_size, const char *directory, const char *verdict, const char *name)
{
	int size = snprintf(out, out_size, "%s/%s-%s.hex", directory, verdict, name);

	assert_true(size > 0 && (size_t)size < out_size);
}

static const char *vector_directory(char *out, size_t out_size)
{
	const char *slash = strrchr(__FILE__, '/');

	snprintf(out, out_size, "%.*s/../data/records", slash ? (int)(slash - __FILE__) : 1,
		 slash ? __FILE__ : ".");
	return out;
}

/* Lines of at most 32 bytes in hex; lines that begin with '#' are comments. */
static void write_vector(const char *path, const struct vector *vector, const struct bytes *bytes)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fprintf(file, "# %s\n", vector->notation);
	for (size_t i = 0; i < bytes->size; i++)
		fprintf(file, "%02x%s", bytes->data[i], i % 32 == 31 || i + 1 == bytes->size ? "\n" : "");
	assert_int_equal(fclose(file), 0);
}

static void read_vector(const char *path, struct bytes *out)
{
	char line[16 * 1024];
	FILE *file = fopen(path, "r");

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	bytes_clear(out);
	while (fgets(line, sizeof(line), file)) {
		if (line[0] != '#')
			put_hex(out, line, strcspn(line, "\n"));
	}
	fclose(file);
}

static void test_files_are_the_tables(void **state)
{
	struct bench *bench = *state;
	char directory[PATH_MAX / 2], path[PATH_MAX];

	vector_directory(directory, sizeof(directory));
	for (size_t i = 0; i < COUNT_OF(accepted) + COUNT_OF(refused); i++) {
		bool accept = i < COUNT_OF(accepted);
		const struct vector *vector = accept ? &accepted[i] : &refused[i - COUNT_OF(accepted)];

		vector_path(path, sizeof(path), directory, accept ? "accept" : "reject", vector->name);
		read_vector(path, &bench->input);
		int err = decode_exactly(bench, bench->input.data, bench->input.size);
		if (err != (accept ? 0 : -EBADMSG))
			fail_msg("%s: %d", path, err);
		assemble(&bench->output, vector->notation);
		assert_int_equal(bench->output.size, bench->input.size);
		if (bench->input.size > 0)
			assert_memory_equal(bench->output.data, bench->input.data, bench->input.size);
	}
}

static int write_files(const char *directory)
{
	struct bytes bytes;
	char path[PATH_MAX];

	bytes_init(&bytes, 4 * RECORD_SIZE_MAX);
	for (size_t i = 0; i < COUNT_OF(accepted); i++) {
		assemble(&bytes, accepted[i].notation);
		vector_path(path, sizeof(path), directory, "accept", accepted[i].name);
		write_vector(path, &accepted[i], &bytes);
	}
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		assemble(&bytes, refused[i].notation);
		vector_path(path, sizeof(path), directory, "reject", refused[i].name);
		write_vector(path, &refused[i], &bytes);
	}
	bytes_finish(&bytes);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_accepts_each_kind, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refuses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_head_refuses_what_it_sees, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_id_is_zero, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_size_of_a_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_prefix_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changed_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_encoder_refuses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replaces_over_all_entries, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_decoded_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_summary_sections, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_id_and_signature, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_files_are_the_tables, set_up, tear_down),
		cmocka_unit_test(test_field_names),
	};

	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return write_files(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
