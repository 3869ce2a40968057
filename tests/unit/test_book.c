#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "book.h"
#include "net_limits.h"

#define WALL_MS UINT64_C(1790000000000)
#define DAY_MS UINT64_C(86400000)
#define NEVER UINT64_MAX

struct bench {
	struct clock clock;
	uint64_t now_ms, lot, draws; /* lot: what each draw gives; draws: counts up in place of it */
	bool counting;
	struct book *book;
};

static uint64_t bench_time_ns(void *context)
{
	const struct bench *b = context;

	return (WALL_MS + b->now_ms) * 1000000;
}

static uint64_t bench_now_ms(void *context)
{
	const struct bench *b = context;

	return b->now_ms;
}

static void bench_random(void *context, uint8_t *out, size_t size)
{
	struct bench *b = context;
	uint64_t number = b->counting ? b->draws++ : b->lot;

	memset(out, 0, size);
	memcpy(out, &number, size < sizeof(number) ? size : sizeof(number));
}

static void begin(struct bench *b)
{
	*b = (struct bench){ .clock = { bench_time_ns, bench_now_ms, bench_random, b } };
	b->book = book_new(&b->clock);
	assert_non_null(b->book);
}

static struct id id_of(unsigned number)
{
	struct id id = { { 0 } };

	id.bytes[0] = (uint8_t)number;
	return id;
}

/* ---- one step after the other ---- */

enum step { ADD, SET_WORKED, NEXT, FAILED, WORKED, ENDED, ALONE, WHEN, COUNT };
struct step_of {
	uint64_t at_ms;
	enum step step;
	const char *address; /* NEXT: expected; NULL: none */
	unsigned device;     /* ADD: 0: none; NEXT: expected there, 0: anybody */
	unsigned number;     /* ADD: source; NEXT, WHEN: need; ENDED: apart */
	uint64_t expected;   /* of ADD -errno too; WHEN: the deadline; NEXT: announced */
};
#define STEPS_MAX 14
#define A "10.0.0.1:1"
#define B "10.0.0.2:2"
#define ASKED BOOK_NEED_ASKED
#define WANTED BOOK_NEED_WANTED
#define ANY BOOK_NEED_ANY

static const struct story {
	const char *name;
	struct step_of steps[STEPS_MAX];
} stories[] = {
	{ "nothing known", { { 5, NEXT, NULL, 0, ANY, 0 }, { 5, WHEN, NULL, 0, ANY, NEVER }, { 5, COUNT, NULL, 0, 0, 0 } } },
	{ "no address", { { 0, ADD, "10.0.0.1", 0, BOOK_TOLD, (uint64_t)-EINVAL }, { 0, COUNT, NULL, 0, 0, 0 } } },
	{ "the same twice", { { 0, ADD, A, 0, BOOK_TOLD, 1 }, { 0, ADD, A, 0, BOOK_TOLD, 0 }, { 0, COUNT, NULL, 0, 0, 1 } } },
	{ "what was told is dialled only if peers are few",
	  { { 5, ADD, A, 1, BOOK_TOLD, 1 }, { 5, WHEN, NULL, 0, ASKED, NEVER }, { 5, WHEN, NULL, 0, WANTED, NEVER },
	    { 5, WHEN, NULL, 0, ANY, 0 }, { 5, NEXT, NULL, 0, WANTED, 0 }, { 5, NEXT, A, 1, ANY, 0 } } },
	{ "what a person asks for is dialled first, once",
	  { { 5, ADD, A, 0, BOOK_TOLD, 1 }, { 5, ADD, B, 2, BOOK_WANTED, 1 }, { 5, WHEN, NULL, 0, ASKED, 0 },
	    { 5, NEXT, B, 2, ANY, 0 }, { 5, WHEN, NULL, 0, ASKED, NEVER }, { 5, FAILED, B, 0, 0, 0 },
	    { 5, WHEN, NULL, 0, ASKED, NEVER }, { 5, WHEN, NULL, 0, WANTED, 1005 }, { 5, NEXT, A, 0, ANY, 0 } } },
	{ "asked for again while put off",
	  { { 5, ADD, A, 0, BOOK_WANTED, 1 }, { 5, NEXT, A, 0, ANY, 0 }, { 5, FAILED, A, 0, 0, 0 }, { 6, NEXT, NULL, 0, ANY, 0 },
	    { 6, ADD, A, 0, BOOK_WANTED, 0 }, { 6, WHEN, NULL, 0, ASKED, 0 }, { 6, NEXT, A, 0, ASKED, 0 } } },
	{ "while dialled it is not dialled again",
	  { { 5, ADD, A, 0, BOOK_WANTED, 1 }, { 5, NEXT, A, 0, ANY, 0 }, { 5, ADD, A, 0, BOOK_WANTED, 0 },
	    { 5, NEXT, NULL, 0, ANY, 0 }, { 5, WHEN, NULL, 0, ANY, NEVER }, { 5, FAILED, A, 0, 0, 0 },
	    { 5, WHEN, NULL, 0, ASKED, NEVER } } },
	{ "a failure puts it off, twice as long each time",
	  { { 0, ADD, A, 0, BOOK_WANTED, 1 }, { 0, NEXT, A, 0, ANY, 0 }, { 0, FAILED, A, 0, 0, 0 }, { 0, WHEN, NULL, 0, ANY, 1000 },
	    { 999, NEXT, NULL, 0, ANY, 0 }, { 1000, NEXT, A, 0, ANY, 0 }, { 1000, FAILED, A, 0, 0, 0 },
	    { 1000, WHEN, NULL, 0, ANY, 3000 }, { 3000, NEXT, A, 0, ANY, 0 }, { 3000, FAILED, A, 0, 0, 0 },
	    { 3000, WHEN, NULL, 0, ANY, 7000 } } },
	{ "what worked goes before what was told",
	  { { 5, ADD, A, 0, BOOK_TOLD, 1 }, { 5, ADD, B, 2, BOOK_REMEMBERED, 1 }, { 5, SET_WORKED, B, 0, 0, 77 },
	    { 5, NEXT, B, 2, ANY, 0 }, { 5, NEXT, A, 0, ANY, 0 } } },
	{ "what a person wants goes before what worked",
	  { { 5, ADD, A, 0, BOOK_REMEMBERED, 1 }, { 5, SET_WORKED, A, 0, 0, 77 }, { 5, ADD, B, 2, BOOK_WANTED, 1 },
	    { 5, NEXT, B, 2, ANY, 0 } } },
	{ "after a session it waits a little",
	  { { 5, ADD, A, 0, BOOK_TOLD, 1 }, { 5, NEXT, A, 0, ANY, 0 }, { 6, WORKED, A, 3, 0, 1 }, { 9, WHEN, NULL, 0, ANY, NEVER },
	    { 10, ENDED, A, 0, false, 0 }, { 10, WHEN, NULL, 0, ANY, 1010 }, { 1010, NEXT, A, 3, ANY, 0 } } },
	{ "apart it waits long, unless its device is alone",
	  { { 0, ADD, A, 0, BOOK_TOLD, 1 }, { 0, NEXT, A, 0, ANY, 0 }, { 0, WORKED, A, 3, 0, 1 }, { 0, ENDED, A, 0, true, 0 },
	    { 0, WHEN, NULL, 0, ANY, DIAL_MS_MAX }, { 10, ALONE, NULL, 4, 0, 0 }, { 10, WHEN, NULL, 0, ANY, DIAL_MS_MAX },
	    { 10, ALONE, NULL, 3, 0, 0 }, { 10, WHEN, NULL, 0, ANY, 1010 } } },
	{ "it is news once a day, and of another device",
	  { { 0, ADD, A, 0, BOOK_TOLD, 1 }, { 0, WORKED, A, 3, 0, 1 }, { 5, WORKED, A, 3, 0, 0 }, { 6, WORKED, A, 4, 0, 1 },
	    { DAY_MS + 5, WORKED, A, 4, 0, 0 }, { DAY_MS + 6, WORKED, A, 4, 0, 1 }, { 9, WORKED, B, 4, 0, 0 } } },
	{ "whoever answers is welcome after two failures, but where a person named him",
	  { { 0, ADD, A, 1, BOOK_TOLD, 1 }, { 0, NEXT, A, 1, ANY, 0 }, { 0, FAILED, A, 0, 0, 0 }, { 1000, NEXT, A, 1, ANY, 0 },
	    { 1000, FAILED, A, 0, 0, 0 }, { 9000, NEXT, A, 0, ANY, 0 }, { 9000, FAILED, A, 0, 0, 0 },
	    { 9000, ADD, A, 2, BOOK_WANTED, 0 }, { 9000, NEXT, A, 2, ANY, 0 }, { 9000, FAILED, A, 0, 0, 0 },
	    { 19000, NEXT, A, 2, ANY, 0 }, { 19000, FAILED, A, 0, 0, 0 }, { 39000, NEXT, A, 2, ANY, 0 } } },
	{ "what others tell does not change who was met there",
	  { { 0, ADD, A, 0, BOOK_TOLD, 1 }, { 0, WORKED, A, 3, 0, 1 }, { 0, ADD, A, 4, BOOK_TOLD, 0 }, { 0, NEXT, A, 3, ANY, 0 } } },
	{ "what a peer announces of itself is tried twice, to see whether it is true",
	  { { 0, ADD, A, 1, BOOK_ANNOUNCED, 1 }, { 0, WHEN, NULL, 0, WANTED, 0 }, { 0, NEXT, A, 1, WANTED, 1 },
	    { 0, FAILED, A, 0, 0, 0 }, { 1000, NEXT, A, 1, WANTED, 1 }, { 1000, FAILED, A, 0, 0, 0 },
	    { 1000, WHEN, NULL, 0, WANTED, NEVER }, { 1000, WHEN, NULL, 0, ANY, 3000 } } },
	{ "what was announced and is true is not tried again",
	  { { 0, ADD, A, 1, BOOK_TOLD, 1 }, { 0, WHEN, NULL, 0, WANTED, NEVER }, { 0, ADD, A, 1, BOOK_ANNOUNCED, 0 },
	    { 0, WHEN, NULL, 0, WANTED, 0 }, { 0, NEXT, A, 1, WANTED, 1 }, { 0, WORKED, A, 1, 0, 1 },
	    { 0, ENDED, A, 0, false, 0 }, { 0, WHEN, NULL, 0, WANTED, NEVER } } },
};

static void check(const struct story *story, size_t number, uint64_t actual, uint64_t expected)
{
	if (actual != expected)
		fail_msg("%s: step %zu: %lld, expected %lld", story->name, number, (long long)actual, (long long)expected);
}

static void check_next(const struct story *story, size_t number, struct bench *b, const struct step_of *s)
{
	struct book_dial dial = { .address = "" };
	struct id device = id_of(s->device);

	bool any = book_next(b->book, (enum book_need)s->number, &dial);
	if (any != (s->address != NULL) || (any && strcmp(dial.address, s->address) != 0))
		fail_msg("%s: step %zu: dials `%s`", story->name, number, dial.address);
	if (any && (dial.has_expected != (s->device > 0) || (s->device && !id_equal(&dial.expected, &device))))
		fail_msg("%s: step %zu: expects device %u", story->name, number, dial.has_expected ? dial.expected.bytes[0] : 0);
	check(story, number, dial.announced, s->expected);
}

static void take_step(const struct story *story, size_t number, struct bench *b, const struct step_of *s)
{
	struct id device = id_of(s->device);

	b->now_ms = s->at_ms;
	switch (s->step) {
	case ADD:
		check(story, number, (uint64_t)book_add(b->book, s->address, s->device ? &device : NULL,
							(enum book_source)s->number), s->expected);
		break;
	case SET_WORKED:
		book_set_worked(b->book, s->address, s->expected);
		break;
	case NEXT:
		check_next(story, number, b, s);
		break;
	case FAILED:
		check(story, number, book_failed(b->book, s->address), s->expected);
		break;
	case WORKED:
		check(story, number, book_worked(b->book, s->address, &device), s->expected);
		break;
	case ENDED:
		book_ended(b->book, s->address, s->number);
		break;
	case ALONE:
		book_alone(b->book, &device);
		break;
	case WHEN:
		check(story, number, book_deadline_ms(b->book, (enum book_need)s->number), s->expected);
		break;
	case COUNT:
		check(story, number, book_count(b->book), s->expected);
		break;
	}
}

/* With the deadlines asked for in between and without: what is remembered of them must not show. */
static void test_stories(void **state)
{
	for (size_t i = 0; i < 2 * sizeof(stories) / sizeof(stories[0]); i++) {
		const struct story *story = &stories[i / 2];
		struct bench b;

		begin(&b);
		for (size_t j = 0; j < STEPS_MAX && (story->steps[j].step != ADD || story->steps[j].address); j++) {
			take_step(story, j, &b, &story->steps[j]);
			for (unsigned need = ASKED; need <= ANY && i % 2; need++)
				book_deadline_ms(b.book, (enum book_need)need);
		}
		book_free(b.book);
	}
	book_free(NULL);
}

/* ---- how long ---- */

/* Dialled as often as it lets us, until it is out of the book or `most` times. */
static unsigned try_until_forgotten(struct bench *b, unsigned most)
{
	struct book_dial dial;
	unsigned tries = 0;

	while (tries < most) {
		b->now_ms = book_deadline_ms(b->book, ANY);
		assert_true(book_next(b->book, ANY, &dial));
		tries++;
		if (book_failed(b->book, dial.address))
			break;
		uint64_t wait_ms = book_deadline_ms(b->book, ANY) - b->now_ms;
		assert_true(wait_ms >= DIAL_MS_MIN && wait_ms <= DIAL_MS_MAX + DIAL_MS_MAX / 4);
	}
	return tries;
}

static void test_forgotten(void **state)
{
	static const struct {
		const char *name;
		enum book_source source;
		bool worked;
		unsigned tries;
		size_t left;
	} cases[] = {
		{ "told", BOOK_TOLD, false, 8, 0 },
		{ "announced", BOOK_ANNOUNCED, false, 8, 0 },
		{ "it worked once", BOOK_TOLD, true, 40, 0 },
		{ "a person wants it", BOOK_WANTED, false, 100, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct id device = id_of(1);
		struct bench b;

		begin(&b);
		b.lot = UINT64_MAX / 3;
		assert_int_equal(book_add(b.book, A, NULL, cases[i].source), 1);
		if (cases[i].worked)
			book_worked(b.book, A, &device);
		unsigned tries = try_until_forgotten(&b, 100);
		if (tries != cases[i].tries || book_count(b.book) != cases[i].left)
			fail_msg("%s: %u tries, %zu left", cases[i].name, tries, book_count(b.book));
		book_free(b.book);
	}
}

/* ---- how many ---- */

static int add_number(struct bench *b, unsigned number, enum book_source source)
{
	char address[ADDRESS_SIZE_MAX];

	snprintf(address, sizeof(address), "10.1.%u.%u:1", number >> 8, number & 255);
	return book_add(b->book, address, NULL, source);
}

static void test_hearsay_fills_half(void **state)
{
	struct id device = id_of(1);
	struct bench b;
	unsigned i;

	begin(&b);
	for (i = 0; i < PEERS_MAX / 2; i++)
		assert_int_equal(add_number(&b, i, i % 2 ? BOOK_TOLD : BOOK_ANNOUNCED), 1);
	assert_int_equal(add_number(&b, i, BOOK_TOLD), -ENOSPC);
	assert_int_equal(add_number(&b, i, BOOK_ANNOUNCED), -ENOSPC);
	assert_int_equal(add_number(&b, 0, BOOK_TOLD), 0);
	/* One of them is true: there is room for one more. */
	book_worked(b.book, "10.1.0.0:1", &device);
	assert_int_equal(add_number(&b, i, BOOK_TOLD), 1);
	assert_int_equal(add_number(&b, ++i, BOOK_TOLD), -ENOSPC);
	for (; book_count(b.book) < PEERS_MAX; i++)
		assert_int_equal(add_number(&b, i, BOOK_REMEMBERED), 1);
	assert_int_equal(add_number(&b, i, BOOK_WANTED), -ENOSPC);
	assert_int_equal(add_number(&b, 1, BOOK_WANTED), 0);
	assert_true(book_memory(b.book) >= PEERS_MAX * ADDRESS_SIZE_MAX);
	book_free(b.book);
}

/* ---- by lot ---- */

static void test_equals_are_dialled_by_lot(void **state)
{
	bool first[4] = { false };

	for (unsigned run = 0; run < 64; run++) {
		struct book_dial dial;
		struct bench b;

		begin(&b);
		b.counting = true;
		b.draws = run * 7;
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(add_number(&b, i, BOOK_TOLD), 1);
		assert_true(book_next(b.book, ANY, &dial));
		first[dial.address[7] - '0'] = true;
		book_free(b.book);
	}
	for (unsigned i = 0; i < 4; i++)
		if (!first[i])
			fail_msg("address %u is never the first", i);
}

/* ---- what others are told ---- */

static void test_tell(void **state)
{
	static const struct {
		const char *name, *address;
		bool confirmed, failed;
		enum address_scope to;
		bool told;
	} cases[] = {
		{ "never spoken to", A, false, false, ADDRESS_PRIVATE, false },
		{ "spoken to", A, true, false, ADDRESS_PRIVATE, true },
		{ "out of reach since", A, true, true, ADDRESS_PRIVATE, false },
		{ "loopback to the internet", "127.0.0.1:1", true, false, ADDRESS_INTERNET, false },
		{ "loopback to a neighbour", "127.0.0.1:1", true, false, ADDRESS_PRIVATE, false },
		{ "loopback to loopback", "127.0.0.1:1", true, false, ADDRESS_LOOPBACK, true },
		{ "internet to loopback", "198.51.100.1:1", true, false, ADDRESS_LOOPBACK, true },
		{ "internet to the internet", "198.51.100.1:1", true, false, ADDRESS_INTERNET, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct id device = id_of(9);
		struct book_told told[2];
		struct bench b;

		begin(&b);
		assert_int_equal(book_add(b.book, cases[i].address, &device, BOOK_TOLD), 1);
		if (cases[i].confirmed)
			book_worked(b.book, cases[i].address, &device);
		if (cases[i].failed)
			book_failed(b.book, cases[i].address);
		size_t count = book_tell(b.book, cases[i].to, told, 2);
		if (count != cases[i].told)
			fail_msg("%s: told %zu", cases[i].name, count);
		if (count > 0 && (strcmp(told[0].address, cases[i].address) != 0 || !id_equal(&told[0].device, &device)))
			fail_msg("%s: told `%s`", cases[i].name, told[0].address);
		book_free(b.book);
	}
}

static void test_tell_no_more_than_there_is_room_for(void **state)
{
	struct id device = id_of(9);
	struct book_told told[3];
	struct bench b;

	begin(&b);
	b.counting = true;
	for (unsigned i = 0; i < 10; i++) {
		char address[ADDRESS_SIZE_MAX];
		snprintf(address, sizeof(address), "10.1.0.%u:1", i);
		assert_int_equal(add_number(&b, i, BOOK_TOLD), 1);
		book_worked(b.book, address, &device);
	}
	assert_int_equal(book_tell(b.book, ADDRESS_PRIVATE, told, 3), 3);
	assert_string_not_equal(told[0].address, told[1].address);
	assert_string_not_equal(told[1].address, told[2].address);
	assert_string_not_equal(told[0].address, told[2].address);
	assert_int_equal(book_tell(b.book, ADDRESS_PRIVATE, told, 0), 0);
	book_free(b.book);
}

/* ---- scouts ---- */

static int judge_by_number(void *context, const struct id *device)
{
	return device->bytes[0] == 9 ? -1 : device->bytes[0];
}

static void test_scout(void **state)
{
	struct id one = id_of(1), two = id_of(2), never = id_of(9);
	struct book_dial dial;
	struct bench b;

	begin(&b);
	b.now_ms = 100;
	book_add(b.book, "10.0.0.9:9", &never, BOOK_TOLD);
	assert_false(book_scout(b.book, 1000, judge_by_number, NULL, &dial));
	book_add(b.book, A, &one, BOOK_TOLD);
	book_add(b.book, B, &two, BOOK_TOLD);
	assert_true(book_scout(b.book, 1000, judge_by_number, NULL, &dial));
	assert_string_equal(dial.address, B);
	assert_true(book_scout(b.book, 1000, judge_by_number, NULL, &dial));
	assert_string_equal(dial.address, A);
	book_ended(b.book, A, false);
	book_ended(b.book, B, false);
	b.now_ms = 1099; /* they were tried 999 ms ago */
	assert_false(book_scout(b.book, 1000, judge_by_number, NULL, &dial));
	b.now_ms = 1100;
	assert_true(book_scout(b.book, 1000, judge_by_number, NULL, &dial));
	assert_string_equal(dial.address, B);
	assert_false(book_is_wanted(b.book, A));
	assert_false(book_is_wanted(b.book, "10.0.0.3:3"));
	book_add(b.book, A, NULL, BOOK_WANTED);
	assert_true(book_is_wanted(b.book, A));
	book_free(b.book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_hearsay_fills_half),
		cmocka_unit_test(test_equals_are_dialled_by_lot),
		cmocka_unit_test(test_tell),
		cmocka_unit_test(test_tell_no_more_than_there_is_room_for),
		cmocka_unit_test(test_scout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
