#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "follow.h"
#include "reconcile.h"
#include "reconcile_kit.h"
#include "store_limits.h"

/* ---- a whole reconciliation ---- */

struct run {
	struct pile theirs, mine;
	size_t size;      /* bytes, both ways */
	unsigned rounds;
	int result;
};

static void drain(struct reconcile *r, struct run *run)
{
	size_t theirs = run->theirs.count, mine = run->mine.count;

	reconcile_each_theirs(r, add, &run->theirs);
	reconcile_each_mine(r, add, &run->mine);
	for (size_t i = theirs + 1; i < run->theirs.count; i++)
		assert_true(compare_heads(&run->theirs.heads[i - 1], &run->theirs.heads[i]) < 0);
	for (size_t i = mine + 1; i < run->mine.count; i++)
		assert_true(compare_heads(&run->mine.heads[i - 1], &run->mine.heads[i]) < 0);
}

static struct run reconcile(const struct pile *a, const struct pile *b, bool drains)
{
	struct reconcile_set *ours = set_of(a), *theirs = set_of(b);
	struct reconcile *r = reconcile_new(ours);
	struct bytes message, answer;
	struct run run = { 0 };

	assert_non_null(r);
	bytes_init(&message, RECONCILE_MESSAGE_MAX);
	bytes_init(&answer, RECONCILE_MESSAGE_MAX);
	assert_int_equal(reconcile_begin(r, &message), 0);
	do {
		bytes_clear(&answer);
		assert_int_equal(reconcile_answer(theirs, message.data, message.size, &answer), 0);
		run.rounds++;
		run.size += message.size + answer.size;
		bytes_clear(&message);
		run.result = reconcile_take(r, answer.data, answer.size, &message);
		if (drains)
			drain(r, &run);
	} while (run.result == 1);
	drain(r, &run);
	drain(r, &run); /* each is told once */
	bytes_finish(&message);
	bytes_finish(&answer);
	reconcile_free(r);
	reconcile_set_free(ours);
	reconcile_set_free(theirs);
	return run;
}

static void run_free(struct run *run)
{
	pile_free(&run->theirs);
	pile_free(&run->mine);
}

static void assert_same_piles(const char *name, size_t count, const char *what, struct pile *found,
			      const struct pile *expected)
{
	pile_sort(found);
	if (found->count != expected->count)
		fail_msg("%s of %zu: %zu of %s, not %zu", name, count, found->count, what, expected->count);
	for (size_t i = 0; i < found->count; i++)
		if (!same_head(&found->heads[i], &expected->heads[i]))
			fail_msg("%s of %zu: %s %zu is another", name, count, what, i);
}

static void check(const char *name, size_t count, const struct pile *a, const struct pile *b)
{
	struct pile theirs = difference(b, a), mine = difference(a, b);
	struct run run = reconcile(a, b, count % 2 == 0);

	if (run.result != 0)
		fail_msg("%s of %zu: %d after %u rounds", name, count, run.result, run.rounds);
	assert_same_piles(name, count, "theirs", &run.theirs, &theirs);
	assert_same_piles(name, count, "mine", &run.mine, &mine);
	run_free(&run);
	pile_free(&theirs);
	pile_free(&mine);
}

static const struct shape shapes[] = {
	{ "the same", 0, 0, 0, false },
	{ "some at one end only", 20, 0, 0, false },
	{ "some of everything", 10, 15, 20, false },
	{ "half changed", 0, 0, 500, false },
	{ "nearly all in one or the other", 480, 480, 20, false },
	{ "nothing in common", 500, 500, 0, false },
	{ "all changed", 0, 0, 1000, false },
	{ "all at one end", 1000, 0, 0, false },
	{ "clustered", 50, 50, 50, true },
};

static void what_differs_comes_out(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 31, 32, 33, 63, 64, 1000, 10000 };

	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		for (size_t j = 0; j < COUNT_OF(counts); j++) {
			struct pair pair = pair_make(i * 100 + j, counts[j], &shapes[i]);

			check(shapes[i].name, counts[j], &pair.a, &pair.b);
			check(shapes[i].name, counts[j], &pair.b, &pair.a);
			pair_free(&pair);
		}
	}
}

static void many_seeds(void **state)
{
	uint64_t seed = 7;

	for (unsigned i = 0; i < 300; i++) {
		struct shape shape = { "random", (unsigned)next_random(&seed) % 300, (unsigned)next_random(&seed) % 300,
				       (unsigned)next_random(&seed) % 400, next_random(&seed) % 4 == 0 };
		size_t count = next_random(&seed) % 400;
		struct pair pair = pair_make(next_random(&seed), count, &shape);

		check("random", count, &pair.a, &pair.b);
		pair_free(&pair);
	}
}

/* Heads may be given in any order, and a device that comes twice does no harm. */
static void a_set_sorts_itself(void **state)
{
	static const struct shape shape = { "shuffled", 10, 10, 10, false };
	struct pair pair = pair_make(3, 500, &shape);
	struct pile theirs = difference(&pair.b, &pair.a), mine = difference(&pair.a, &pair.b);
	uint64_t seed = 1;

	for (size_t i = pair.a.count; i > 1; i--) {
		size_t j = next_random(&seed) % i;
		struct head head = pair.a.heads[j];

		pair.a.heads[j] = pair.a.heads[i - 1];
		pair.a.heads[i - 1] = head;
	}
	for (size_t i = 0; i < 40; i++) {
		struct head again = pair.a.heads[i];

		pile_add(&pair.a, &again);
	}
	struct run run = reconcile(&pair.a, &pair.b, true);
	assert_int_equal(run.result, 0);
	assert_same_piles("shuffled", 500, "theirs", &run.theirs, &theirs);
	assert_same_piles("shuffled", 500, "mine", &run.mine, &mine);
	run_free(&run);
	pile_free(&theirs);
	pile_free(&mine);
	pair_free(&pair);
}

/* ---- what it costs ---- */

/* The first `differences` of evenly spread heads are changed. */
static struct pair pair_differing(size_t count, size_t differences)
{
	static const struct shape same = { "same", 0, 0, 0, false };
	struct pair pair = pair_make(11, count, &same);

	for (size_t i = 0; i < differences; i++)
		pair.b.heads[i * (count / differences)].seq++;
	return pair;
}

static void cost_grows_with_the_difference(void **state)
{
	static const struct {
		size_t count, differences, size_max;
		unsigned rounds_max;
	} cases[] = {
		{ 10000, 0, 1024, 1 },
		{ 10000, 1, 4 * 1024, 4 },
		{ 10000, 10, 40 * 1024, 4 },
		{ 10000, 100, 160 * 1024, 6 },
		{ 10000, 10000, 3 * 1024 * 1024, 100 },
		{ 100000, 10, 64 * 1024, 5 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair pair = pair_differing(cases[i].count, cases[i].differences);
		struct run run = reconcile(&pair.a, &pair.b, true);

		print_message("%zu logs, %zu differ: %zu bytes both ways, %u rounds\n", cases[i].count,
			      cases[i].differences, run.size, run.rounds);
		assert_int_equal(run.result, 0);
		assert_int_equal(run.theirs.count, cases[i].differences);
		assert_int_equal(run.mine.count, cases[i].differences);
		if (run.size > cases[i].size_max || run.rounds > cases[i].rounds_max)
			fail_msg("over %zu bytes or %u rounds", cases[i].size_max, cases[i].rounds_max);
		run_free(&run);
		pair_free(&pair);
	}
}

/* What meeting again takes before the first record, where each log is followed: both filters, and the ranges. */
static void twice_the_logs_cost_no_more(void **state)
{
	for (size_t logs = 10000, before = 40 * 1024; logs <= 80000; logs *= 2) {
		struct pair pair = pair_differing(logs, 10);
		struct run run = reconcile(&pair.a, &pair.b, true);
		size_t size = 2 * follow_size(logs) + run.size;

		assert_int_equal(run.theirs.count, 10);
		if (size * 100 >= before * 120)
			fail_msg("%zu logs: %zu bytes, after %zu", logs, size, before);
		before = size;
		run_free(&run);
		pair_free(&pair);
	}
}

static void a_million_logs(void **state)
{
	if (!getenv("MOOT_LONG")) {
		print_message("a million logs: only with MOOT_LONG=1\n");
		skip();
	}
	struct pair pair = pair_differing(1000000, 100);
	struct run run = reconcile(&pair.a, &pair.b, true);
	print_message("1000000 logs, 100 differ: %zu bytes both ways, %u rounds\n", run.size, run.rounds);
	assert_int_equal(run.result, 0);
	assert_int_equal(run.theirs.count, 100);
	assert_true(run.size < 512 * 1024 && run.rounds <= 6);
	run_free(&run);
	pair_free(&pair);
}

/* Who has nothing is told all, and asks little for it. */
static void a_newcomer_learns_all(void **state)
{
	static const struct shape same = { "same", 0, 0, 0, false };
	struct pair pair = pair_make(5, 20000, &same);
	struct pile none = { 0 };
	struct run run = reconcile(&none, &pair.b, true);
	assert_int_equal(run.result, 0);
	assert_int_equal(run.theirs.count, 20000);
	assert_true(run.size < 20000 * 125);
	run_free(&run);

	run = reconcile(&pair.b, &none, true);
	assert_int_equal(run.mine.count, 20000);
	assert_int_equal(run.rounds, 1);
	run_free(&run);
	pair_free(&pair);
}

/* ---- those who lie ---- */

struct liar {
	const char *name;
	void (*answer)(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round, uint64_t *seed);
	int expected; /* 1: any end will do */
};

static void lie_random(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
		       uint64_t *seed)
{
	size_t size = next_random(seed) % 300;

	for (size_t i = 0; i < size; i++)
		bytes_put_u8(out, (uint8_t)next_random(seed));
}

static void lie_nothing(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
			uint64_t *seed)
{
}

static void lie_echo(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
		     uint64_t *seed)
{
	bytes_put(out, asked->data, asked->size);
}

static void lie_flipped(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
			uint64_t *seed)
{
	size_t bit = next_random(seed) % (honest->size * 8);

	bytes_put(out, honest->data, honest->size);
	out->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void lie_cut(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
		    uint64_t *seed)
{
	bytes_put(out, honest->data, honest->size / 2);
}

static void put_range(struct bytes *out, size_t item_count, uint64_t bound, unsigned mode)
{
	uint8_t prefix[9];
	size_t size = 8;

	for (size_t i = 0; i < 8; i++)
		prefix[i] = (uint8_t)(bound >> (56 - 8 * i));
	while (size > 0 && prefix[size - 1] == 0)
		size--;
	cbor_put_array(out, item_count);
	cbor_put_bytes(out, prefix, size); /* 0: to the end */
	cbor_put_uint(out, mode);
}

/* All differs, everywhere, in as many ranges as fit. */
static void lie_prints(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
		       uint64_t *seed)
{
	static const uint8_t sum[16] = { 1 };
	const unsigned count = 2000;

	for (unsigned i = 1; i <= count; i++) {
		put_range(out, 4, i == count ? 0 : UINT64_MAX / count * i, 1);
		cbor_put_uint(out, 1000);
		cbor_put_bytes(out, sum, sizeof sum);
	}
}

static void lie_one_print(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
			  uint64_t *seed)
{
	static const uint8_t sum[16] = { 1 };

	put_range(out, 4, 0, 1);
	cbor_put_uint(out, 1000);
	cbor_put_bytes(out, sum, sizeof sum);
}

/* New devices without end, a full answer each time. */
static void lie_heads(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
		      uint64_t *seed)
{
	const size_t count = 540; /* of 121 bytes */
	uint64_t least = (uint64_t)round << 20;

	if (round > 0)
		put_range(out, 2, least, 0);
	put_range(out, 4, least + (1 << 20), 3);
	cbor_put_uint(out, 0);
	cbor_put_array(out, count);
	for (uint64_t i = 0; i < count; i++) {
		struct head head = { .seq = NUMBER_MAX, .records = NUMBER_MAX };

		for (size_t j = 0; j < 8; j++)
			head.device.bytes[j] = (uint8_t)((least + i + 1) >> (56 - 8 * j));
		packet_put_head_item(out, &head);
	}
}

/* A head at a time, and the rest left open. */
static void lie_one_head(struct bytes *out, const struct bytes *asked, const struct bytes *honest, unsigned round,
			 uint64_t *seed)
{
	struct head head = { .device.bytes = { 0, 1 } };

	put_range(out, 4, 1ull << 50, 3);
	cbor_put_uint(out, 0);
	cbor_put_array(out, 1);
	packet_put_head_item(out, &head);
}

static const struct liar liars[] = {
	{ "random bytes", lie_random, 1 },
	{ "nothing", lie_nothing, -EBADMSG },
	{ "what was asked", lie_echo, 1 },
	{ "one bit wrong", lie_flipped, 1 },
	{ "half an answer", lie_cut, 1 },
	{ "thousands of ranges", lie_prints, 1 },
	{ "one range for all", lie_one_print, 1 },
	{ "a head at a time", lie_one_head, 1 },
};

/* It comes to an end, whatever end, in rounds that are bounded; nothing is written past a message's size. */
static void lie_to(const struct liar *liar, const struct pair *pair, uint64_t seed)
{
	struct reconcile_set *ours = set_of(&pair->a), *theirs = set_of(&pair->b);
	struct reconcile *r = reconcile_new(ours);
	struct bytes message, answer, honest;
	struct pile ignored = { 0 };
	unsigned round = 0;
	int result = 1;

	assert_non_null(r);
	bytes_init(&message, RECONCILE_MESSAGE_MAX);
	bytes_init(&answer, 2 * RECONCILE_MESSAGE_MAX);
	bytes_init(&honest, RECONCILE_MESSAGE_MAX);
	assert_int_equal(reconcile_begin(r, &message), 0);
	for (; result == 1; round++) {
		CLEANUP(cleanup_free) uint8_t *exact = NULL;

		bytes_clear(&answer);
		bytes_clear(&honest);
		assert_int_equal(reconcile_answer(theirs, message.data, message.size, &honest), 0);
		liar->answer(&answer, &message, &honest, round, &seed);
		exact = malloc(answer.size + 1);
		assert_non_null(exact);
		if (answer.size > 0)
			memcpy(exact, answer.data, answer.size);
		bytes_clear(&message);
		result = reconcile_take(r, exact, answer.size, &message);
		assert_true(result == 1 || message.size == 0);
		reconcile_each_theirs(r, add, &ignored);
		ignored.count = 0;
		reconcile_each_mine(r, add, &ignored);
		ignored.count = 0;
		if (round > RECONCILE_ROUNDS_MAX + RECONCILE_CUT_ROUNDS_MAX)
			fail_msg("%s: no end", liar->name);
	}
	if (liar->expected != 1 && result != liar->expected)
		fail_msg("%s: %d after %u rounds", liar->name, result, round);
	assert_true(result == 0 || result == -EBADMSG || result == -EPROTO);
	assert_int_equal(reconcile_take(r, (const uint8_t *)"", 0, &message), -EPROTO);
	bytes_finish(&message);
	bytes_finish(&answer);
	bytes_finish(&honest);
	pile_free(&ignored);
	reconcile_free(r);
	reconcile_set_free(ours);
	reconcile_set_free(theirs);
}

static void liars_come_to_an_end(void **state)
{
	static const struct shape shape = { "some", 100, 100, 100, false };
	static const size_t counts[] = { 0, 20, 3000 };

	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		struct pair pair = pair_make(i, counts[i], &shape);

		for (size_t j = 0; j < COUNT_OF(liars); j++)
			for (uint64_t seed = 0; seed < (counts[i] < 100 ? 40 : 10); seed++)
				lie_to(&liars[j], &pair, seed);
		pair_free(&pair);
	}
}

/* Heads without end, 64 KiB of them a round: the rounds have an end. */
static void endless_heads_come_to_an_end(void **state)
{
	static const struct liar endless = { "endless heads", lie_heads, -EPROTO };
	struct pair pair = { 0 };

	if (!getenv("MOOT_LONG")) {
		print_message("256 MiB of lies: only with MOOT_LONG=1\n");
		skip();
	}
	lie_to(&endless, &pair, 0);
}

/* ---- messages by hand ---- */

#define SUM "\x50" "0123456789abcdef"
#define EIGHT "01234567"
#define LIST_OF_4 EIGHT EIGHT EIGHT EIGHT
#define LIST_OF_31 LIST_OF_4 LIST_OF_4 LIST_OF_4 LIST_OF_4 LIST_OF_4 LIST_OF_4 LIST_OF_4 EIGHT EIGHT EIGHT
#define TEXT(string) (string), sizeof(string) - 1

static const struct {
	const char *name, *bytes;
	size_t size;
	int expected;
} asked[] = {
	{ "nothing", TEXT(""), -EBADMSG },
	{ "an empty list of all", TEXT("\x83\x40\x02\x40"), 0 },
	{ "a list of one", TEXT("\x83\x40\x02\x48" EIGHT), 0 },
	{ "a list as long as may be", TEXT("\x83\x40\x02\x58\xf8" LIST_OF_31), 0 },
	{ "a list too long", TEXT("\x83\x40\x02\x59\x01\x00" LIST_OF_31 EIGHT), -EBADMSG },
	{ "half a digest", TEXT("\x83\x40\x02\x44" "0123"), -EBADMSG },
	{ "a fingerprint", TEXT("\x84\x40\x01\x05" SUM), 0 },
	{ "a fingerprint of nothing", TEXT("\x84\x40\x01\x00\x50\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), -EBADMSG },
	{ "a fingerprint without a sum", TEXT("\x83\x40\x01\x05"), -EBADMSG },
	{ "a short sum", TEXT("\x84\x40\x01\x05\x4f" "0123456789abcde"), -EBADMSG },
	{ "two ranges", TEXT("\x83\x41\x80\x02\x40\x83\x40\x02\x40"), 0 },
	{ "a part alone", TEXT("\x83\x41\x80\x02\x40"), 0 },
	{ "a skip first", TEXT("\x82\x41\x80\x00\x83\x40\x02\x40"), 0 },
	{ "a skip last", TEXT("\x83\x41\x80\x02\x40\x82\x40\x00"), -EBADMSG },
	{ "a skip alone", TEXT("\x82\x40\x00"), -EBADMSG },
	{ "two skips", TEXT("\x82\x41\x40\x00\x82\x41\x80\x00\x83\x40\x02\x40"), -EBADMSG },
	{ "a bound before the last", TEXT("\x83\x41\x80\x02\x40\x83\x41\x7f\x02\x40"), -EBADMSG },
	{ "the same bound again", TEXT("\x83\x41\x80\x02\x40\x83\x41\x80\x02\x40"), -EBADMSG },
	{ "more after the end", TEXT("\x83\x40\x02\x40\x83\x41\x80\x02\x40"), -EBADMSG },
	{ "a bound that ends in zero", TEXT("\x83\x42\x80\x00\x02\x40"), -EBADMSG },
	{ "a bound of 33 bytes", TEXT("\x83\x58\x21" LIST_OF_4 "1\x02\x40"), -EBADMSG },
	{ "a difference, which answers have", TEXT("\x84\x40\x03\x00\x80"), -EBADMSG },
	{ "a mode that is not there", TEXT("\x82\x40\x04"), -EBADMSG },
	{ "a byte left", TEXT("\x83\x40\x02\x40\x00"), -EBADMSG },
};

static void messages_have_one_spelling(void **state)
{
	static const struct shape shape = { "some", 0, 0, 0, false };
	static const size_t counts[] = { 0, 40, 2000 };

	for (size_t i = 0; i < COUNT_OF(counts) * COUNT_OF(asked); i++) {
		size_t row = i / COUNT_OF(counts);
		struct pair pair = pair_make(1, counts[i % COUNT_OF(counts)], &shape);
		struct reconcile_set *set = set_of(&pair.a);
		CLEANUP(cleanup_free) uint8_t *exact = malloc(asked[row].size + 1);
		struct bytes out;

		assert_non_null(exact);
		memcpy(exact, asked[row].bytes, asked[row].size);
		bytes_init(&out, RECONCILE_MESSAGE_MAX);
		bytes_put_u8(&out, 0);
		out.size_max++;
		int err = reconcile_answer(set, exact, asked[row].size, &out);
		if (err != asked[row].expected)
			fail_msg("%s: %d", asked[row].name, err);
		assert_true(err == 0 ? out.size > 1 : out.size == 1);
		bytes_finish(&out);
		reconcile_set_free(set);
		pair_free(&pair);
	}
}

/* Of one item here (device 0x80...), to an initiator with the 40 below: is what it is told taken? */
static const struct {
	const char *name, *bytes;
	size_t size;
	int expected;
} answered[] = {
	{ "all the same", TEXT("\x82\x40\x00"), 0 },
	{ "a list, which questions have", TEXT("\x83\x40\x02\x40"), -EBADMSG },
	{ "two skips", TEXT("\x82\x41\x80\x00\x82\x40\x00"), -EBADMSG },
	{ "a part, though there is room", TEXT("\x82\x41\x80\x00"), -EPROTO },
	{ "nothing is here", TEXT("\x84\x40\x03\x00\x80"), 0 },
	{ "all is here", TEXT("\x84\x40\x03\x07\x80"), 0 },
	{ "more is here than was listed", TEXT("\x84\x40\x03\x08\x80"), -EBADMSG },
	{ "the last is here, in the first half", TEXT("\x84\x41\x80\x03\x04\x80\x82\x40\x00"), -EBADMSG },
	{ "the first is here, in the first half", TEXT("\x84\x41\x80\x03\x01\x80\x82\x40\x00"), 0 },
	{ "the first is here, in the second half", TEXT("\x82\x41\x80\x00\x84\x40\x03\x01\x80"), -EBADMSG },
	{ "a fingerprint, for a list", TEXT("\x84\x40\x01\x05" SUM), -EBADMSG },
	{ "heads that are none", TEXT("\x84\x40\x03\x00\x81\x00"), -EBADMSG },
};

static void answers_are_held_to_what_was_asked(void **state)
{
	struct pile pile = { 0 };
	struct head heads[3] = { { .device.bytes = { 0x10 } }, { .device.bytes = { 0x80 } }, { .device.bytes = { 0xf0 } } };

	for (size_t i = 0; i < COUNT_OF(heads); i++)
		pile_add(&pile, &heads[i]);
	struct reconcile_set *set = set_of(&pile);
	for (size_t i = 0; i < COUNT_OF(answered); i++) {
		CLEANUP(cleanup_free) uint8_t *exact = malloc(answered[i].size + 1);
		struct reconcile *r = reconcile_new(set);
		struct bytes out;

		assert_non_null(exact);
		memcpy(exact, answered[i].bytes, answered[i].size);
		bytes_init(&out, RECONCILE_MESSAGE_MAX);
		assert_int_equal(reconcile_take(r, exact, answered[i].size, &out), -EPROTO);
		reconcile_free(r);
		r = reconcile_new(set);
		assert_int_equal(reconcile_begin(r, &out), 0);
		assert_int_equal(reconcile_begin(r, &out), -EPROTO);
		int err = reconcile_take(r, exact, answered[i].size, &out);
		if (err != answered[i].expected)
			fail_msg("%s: %d", answered[i].name, err);
		reconcile_free(r);
		bytes_finish(&out);
	}
	reconcile_set_free(set);
	pile_free(&pile);
}

/* Worked out by another program: fixes digests, sums and lists. */
static void messages_are_spelled_so(void **state)
{
	static const uint8_t list[] = {
		0x83, 0x40, 0x02, 0x58, 0x18, 0xdb, 0xca, 0x80, 0xca, 0xa5, 0x9e, 0x2f, 0x0c, 0x59, 0xb3, 0x4e, 0x8e, 0x49, 0xdc, 0x9a, 0xe7, 0x85, 0x3c, 0xfc, 0x20, 0x44, 0x78, 0x28, 0x60,
	};
	static const uint8_t print[] = {
		0x84, 0x40, 0x01, 0x03, 0x50, 0xb9, 0xba, 0xcb, 0x79, 0x33, 0xf3, 0xf2, 0x53, 0x41, 0x2b, 0x10, 0x47, 0x30, 0xe1, 0xd9, 0x0e,
	};
	struct pile pile = { 0 };
	struct bytes out;

	for (uint8_t i = 0; i < 3; i++) {
		struct head head = { .device.bytes = { (uint8_t)(0x10 + 0x70 * i) }, .seq = i + 1u, .records = 4 };

		memset(head.record.bytes, 7, ID_SIZE);
		pile_add(&pile, &head);
	}
	struct reconcile_set *set = set_of(&pile);
	struct reconcile *r = reconcile_new(set);
	bytes_init(&out, RECONCILE_MESSAGE_MAX);
	assert_int_equal(reconcile_begin(r, &out), 0);
	assert_int_equal(out.size, sizeof list);
	assert_memory_equal(out.data, list, sizeof list);
	bytes_clear(&out);
	assert_int_equal(reconcile_answer(set, print, sizeof print, &out), 0);
	assert_int_equal(out.size, 3);
	assert_memory_equal(out.data, "\x82\x40\x00", 3);
	bytes_finish(&out);
	reconcile_free(r);
	reconcile_set_free(set);
	pile_free(&pile);
}

static void put_heads(struct bytes *out, const uint8_t *devices, size_t count)
{
	cbor_put_array(out, count);
	for (size_t i = 0; i < count; i++) {
		struct head head = { .device.bytes = { devices[i] } };

		packet_put_head_item(out, &head);
	}
}

/* Heads of a difference from 0x40 to 0xc0. */
static void heads_are_of_their_range_and_in_order(void **state)
{
	static const struct {
		const char *name;
		uint8_t devices[2];
		int expected;
	} cases[] = {
		{ "the least and the greatest", { 0x40, 0xbf }, 0 },
		{ "one before", { 0x3f, 0xbf }, -EBADMSG },
		{ "one after", { 0x40, 0xc0 }, -EBADMSG },
		{ "twice the same", { 0x50, 0x50 }, -EBADMSG },
		{ "twice the least", { 0x40, 0x40 }, -EBADMSG },
		{ "the wrong way round", { 0x51, 0x50 }, -EBADMSG },
	};
	struct pile none = { 0 };
	struct reconcile_set *set = set_of(&none);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct reconcile *r = reconcile_new(set);
		struct bytes answer, out;

		bytes_init(&answer, RECONCILE_MESSAGE_MAX);
		bytes_init(&out, RECONCILE_MESSAGE_MAX);
		bytes_put(&answer, TEXT("\x82\x41\x40\x00\x84\x41\xc0\x03\x00"));
		put_heads(&answer, cases[i].devices, 2);
		bytes_put(&answer, TEXT("\x82\x40\x00"));
		assert_int_equal(reconcile_begin(r, &out), 0);
		int err = reconcile_take(r, answer.data, answer.size, &out);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		bytes_finish(&answer);
		bytes_finish(&out);
		reconcile_free(r);
	}
	reconcile_set_free(set);
}

/* 256 devices, one for each first byte: the buckets of the first message are 16 wide. */
static void what_was_not_asked_cannot_be_answered(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t size;
		int expected;
	} cases[] = {
		{ "as asked", TEXT("\x82\x41\x80\x00\x84\x41\x90\x03\x00\x80\x82\x40\x00"), 0 },
		{ "from the first device on", TEXT("\x84\x41\x90\x03\x00\x80\x82\x40\x00"), -EBADMSG },
		{ "to the last device", TEXT("\x82\x41\x80\x00\x84\x40\x03\x00\x80"), -EBADMSG },
		{ "after what was asked", TEXT("\x82\x41\x90\x00\x84\x40\x03\x00\x80"), -EBADMSG },
	};
	static const char next[] = "\x82\x41\x80\x00\x83\x41\x90\x02\x58\x80";
	struct pile pile = { 0 }, mine = { 0 };

	for (unsigned i = 0; i < 256; i++) {
		struct head head = { .device.bytes = { (uint8_t)i, 1 } };

		pile_add(&pile, &head);
	}
	struct reconcile_set *set = set_of(&pile);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct reconcile *r = reconcile_new(set);
		struct bytes out;

		bytes_init(&out, RECONCILE_MESSAGE_MAX);
		assert_int_equal(reconcile_begin(r, &out), 0);
		bytes_clear(&out);
		assert_int_equal(reconcile_take(r, (const uint8_t *)"\x82\x41\x80\x00\x84\x41\x90\x01\x05" SUM "\x82\x40\x00",
						4 + 5 + 17 + 3, &out), 1);
		assert_memory_equal(out.data, next, sizeof next - 1);
		int err = reconcile_take(r, (const uint8_t *)cases[i].bytes, cases[i].size, &out);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		mine.count = 0;
		reconcile_each_mine(r, add, &mine);
		assert_int_equal(mine.count, err == 0 ? 16 : 0);
		bytes_finish(&out);
		reconcile_free(r);
	}
	reconcile_set_free(set);
	pile_free(&pile);
	pile_free(&mine);
}

/* A responder is asked every prefix and every flipped bit of a real message. */
static void spoiled_messages_do_no_harm(void **state)
{
	static const struct shape shape = { "some", 50, 50, 50, false };
	struct pair pair = pair_make(9, 600, &shape);
	struct reconcile_set *ours = set_of(&pair.a), *theirs = set_of(&pair.b);
	struct reconcile *r = reconcile_new(ours);
	struct bytes message, answer;

	assert_non_null(r);
	bytes_init(&message, RECONCILE_MESSAGE_MAX);
	bytes_init(&answer, RECONCILE_MESSAGE_MAX);
	assert_int_equal(reconcile_begin(r, &message), 0);
	for (size_t size = 0; size < message.size; size++) {
		CLEANUP(cleanup_free) uint8_t *exact = malloc(size + 1);

		assert_non_null(exact);
		memcpy(exact, message.data, size);
		bytes_clear(&answer);
		int err = reconcile_answer(theirs, exact, size, &answer);
		assert_true(err == -EBADMSG || (err == 0 && answer.size > 0));
	}
	for (size_t bit = 0; bit < message.size * 8; bit++) {
		message.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		bytes_clear(&answer);
		int err = reconcile_answer(theirs, message.data, message.size, &answer);
		assert_true(err == -EBADMSG || (err == 0 && answer.size > 0));
		message.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	bytes_finish(&message);
	bytes_finish(&answer);
	reconcile_free(r);
	reconcile_set_free(ours);
	reconcile_set_free(theirs);
	pair_free(&pair);
}

/* Another session has other fingerprints: what hides items in one does not in the next. */
static void a_session_has_fingerprints_of_its_own(void **state)
{
	struct id cb[2] = { { .bytes = { 1 } }, { .bytes = { 2 } } };
	static const struct shape same = { "same", 0, 0, 0, false };
	struct pair pair = pair_make(4, 100, &same);
	struct bytes messages[2];

	for (unsigned i = 0; i < 2; i++) {
		uint8_t key[16];

		reconcile_key(key, &cb[i]);
		struct reconcile_set *set = reconcile_set_new(pair.a.heads, pair.a.count, key);
		struct reconcile *r = reconcile_new(set);
		bytes_init(&messages[i], RECONCILE_MESSAGE_MAX);
		assert_int_equal(reconcile_begin(r, &messages[i]), 0);
		reconcile_free(r);
		reconcile_set_free(set);
	}
	assert_int_equal(messages[0].size, messages[1].size);
	assert_memory_not_equal(messages[0].data, messages[1].data, messages[0].size);
	bytes_finish(&messages[0]);
	bytes_finish(&messages[1]);
	pair_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_differs_comes_out),
		cmocka_unit_test(many_seeds),
		cmocka_unit_test(a_set_sorts_itself),
		cmocka_unit_test(cost_grows_with_the_difference),
		cmocka_unit_test(twice_the_logs_cost_no_more),
		cmocka_unit_test(a_million_logs),
		cmocka_unit_test(a_newcomer_learns_all),
		cmocka_unit_test(liars_come_to_an_end),
		cmocka_unit_test(endless_heads_come_to_an_end),
		cmocka_unit_test(messages_have_one_spelling),
		cmocka_unit_test(answers_are_held_to_what_was_asked),
		cmocka_unit_test(messages_are_spelled_so),
		cmocka_unit_test(heads_are_of_their_range_and_in_order),
		cmocka_unit_test(what_was_not_asked_cannot_be_answered),
		cmocka_unit_test(spoiled_messages_do_no_harm),
		cmocka_unit_test(a_session_has_fingerprints_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
