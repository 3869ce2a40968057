#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct id name_of(uint64_t number)
{
	struct id id;

	id_of_bytes(&id, &number, sizeof(number));
	return id;
}

static struct fetch *fetch_with(size_t sessions)
{
	struct fetch *f = fetch_new();

	assert_non_null(f);
	for (size_t i = 1; i <= sessions; i++)
		assert_int_equal(fetch_join(f, i), 0);
	return f;
}

/* ---- random schedules against a model ---- */

enum manner {
	HONEST,    /* has all, answers all */
	PARTIAL,   /* answers some of what is asked */
	LACKING,   /* has half */
	SLOW,      /* answers after 5 to 40 s */
	SILENT,    /* never answers */
	LIAR,      /* every third piece is false */
	VANISHING, /* leaves and comes back with a new number */
	MANNERS
};

#define PIECES 1500
#define PEERS 6

struct answer {
	uint64_t at_ms, session;
	struct fetch_batch batch;
	struct answer *next;
};

struct run {
	struct fetch *fetch;
	uint64_t random, now_ms, last_session;
	uint64_t sessions[PEERS];
	enum manner manners[PEERS];
	unsigned asked[PIECES], came[PIECES];
	struct answer *answers;
	uint64_t digest;
	size_t added, here;
};

static uint64_t draw(struct run *r, uint64_t below)
{
	r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
	return (r->random >> 33) % below;
}

/* The first 8 bytes carry the number: the model reads it back. */
static struct id run_name(uint64_t number)
{
	struct id id = name_of(number);

	memcpy(id.bytes, &number, sizeof(number));
	return id;
}

static uint64_t run_number(const struct id *id)
{
	uint64_t number;

	memcpy(&number, id->bytes, sizeof(number));
	return number;
}

static void run_refill(struct run *r)
{
	while (r->added < PIECES && draw(r, 50)) {
		struct id id = run_name(r->added);

		assert_int_equal(fetch_add(r->fetch, &id, (uint32_t)draw(r, 60000) + 20,
					   (enum fetch_priority)draw(r, FETCH_PRIORITIES), r->added / 7), 0);
		r->added++;
	}
}

static void run_ask(struct run *r, size_t peer)
{
	struct answer *answer;
	size_t out = 0;

	for (answer = r->answers; answer; answer = answer->next)
		out += answer->session == r->sessions[peer];
	for (;;) {
		answer = calloc(1, sizeof(*answer));
		assert_non_null(answer);
		if (!fetch_next(r->fetch, r->sessions[peer], r->now_ms, &answer->batch))
			break;
		assert_in_range(answer->batch.count, 1, FETCH_BATCH_NAMES);
		assert_true(answer->batch.count == 1 || answer->batch.bytes <= FETCH_BATCH_BYTES);
		if (r->manners[peer] != SILENT && r->manners[peer] != SLOW)
			assert_true(++out <= FETCH_BATCHES_MAX);
		answer->session = r->sessions[peer];
		answer->at_ms = r->now_ms + 1 + draw(r, 300);
		if (r->manners[peer] == SLOW)
			answer->at_ms += 5000 + draw(r, 35000);
		if (r->manners[peer] == SILENT)
			answer->at_ms = UINT64_MAX;
		for (size_t i = 0; i < answer->batch.count; i++) {
			r->asked[run_number(&answer->batch.names[i])]++;
			r->digest = r->digest * 31 + run_number(&answer->batch.names[i]) + r->now_ms * 7 + peer;
		}
		answer->next = r->answers;
		r->answers = answer;
	}
	free(answer);
}

static void run_item(struct run *r, size_t peer, const struct id *name)
{
	uint64_t number = run_number(name), session = r->sessions[peer];
	bool lacks = r->manners[peer] == LACKING && number % 2;
	bool is_false = r->manners[peer] == LIAR && number % 3 == 0;

	if (r->manners[peer] == PARTIAL && draw(r, 3) == 0)
		return;
	if (lacks) {
		fetch_absent(r->fetch, session, name);
		return;
	}
	if (!fetch_got(r->fetch, session, name))
		return;
	if (is_false) {
		fetch_failed(r->fetch, session, name, true, r->now_ms);
	} else if (draw(r, 40) == 0) {
		fetch_failed(r->fetch, session, name, false, r->now_ms);
	} else {
		fetch_came(r->fetch, name);
		r->came[number]++;
		r->here++;
	}
}

static void run_answer(struct run *r, struct answer *answer)
{
	for (size_t peer = 0; peer < PEERS; peer++) {
		if (r->sessions[peer] != answer->session)
			continue;
		for (size_t i = 0; i < answer->batch.count; i++)
			run_item(r, peer, &answer->batch.names[i]);
		fetch_answered(r->fetch, answer->session, answer->batch.number, r->now_ms);
		if (r->manners[peer] == VANISHING && draw(r, 4) == 0) {
			fetch_leave(r->fetch, r->sessions[peer]);
			r->sessions[peer] = ++r->last_session;
			assert_int_equal(fetch_join(r->fetch, r->sessions[peer]), 0);
		}
	}
	free(answer);
}

static void run_advance(struct run *r)
{
	struct answer **earliest = NULL, *answer;
	uint64_t next_ms = fetch_deadline_ms(r->fetch);

	for (struct answer **at = &r->answers; *at; at = &(*at)->next)
		if ((*at)->at_ms != UINT64_MAX && (!earliest || (*at)->at_ms < (*earliest)->at_ms))
			earliest = at;
	if (earliest && (*earliest)->at_ms < next_ms)
		next_ms = (*earliest)->at_ms;
	if (r->added == PIECES)
		assert_true(next_ms != UINT64_MAX); /* else nothing would ever happen again */
	else if (next_ms > r->now_ms + 50)
		next_ms = r->now_ms + 50;
	r->now_ms = next_ms > r->now_ms ? next_ms : r->now_ms;
	if (earliest && (*earliest)->at_ms <= r->now_ms) {
		answer = *earliest;
		*earliest = answer->next;
		run_answer(r, answer);
	}
	fetch_tick(r->fetch, r->now_ms);
}

static uint64_t run_all(uint64_t seed, const enum manner *manners, bool exact)
{
	struct run *r = calloc(1, sizeof(*r));
	struct fetch_counts counts;
	struct answer *answer;
	uint64_t digest;
	size_t turns;

	assert_non_null(r);
	r->fetch = fetch_new();
	r->random = seed;
	assert_non_null(r->fetch);
	for (size_t i = 0; i < PEERS; i++) {
		r->manners[i] = manners[i];
		r->sessions[i] = ++r->last_session;
		assert_int_equal(fetch_join(r->fetch, r->sessions[i]), 0);
	}
	for (turns = 0; r->here < PIECES && turns < 100000; turns++) {
		run_refill(r);
		for (size_t i = 0; i < PEERS; i++)
			run_ask(r, i);
		run_advance(r);
	}
	assert_int_equal(r->here, PIECES);
	for (size_t i = 0; i < PIECES; i++) {
		assert_int_equal(r->came[i], 1);
		if (exact)
			assert_int_equal(r->asked[i], 1);
	}
	fetch_count(r->fetch, &counts);
	assert_int_equal(counts.pieces, 0);
	digest = r->digest;
	while ((answer = r->answers)) {
		r->answers = answer->next;
		free(answer);
	}
	fetch_free(r->fetch);
	free(r);
	return digest;
}

static void all_that_somebody_has_comes_once(void **state)
{
	enum manner manners[PEERS];
	struct run seeds = { .random = 1 };
	uint64_t count = getenv("MOOT_LONG") ? 2000 : 30;

	for (uint64_t seed = 1; seed <= count; seed++) {
		manners[0] = HONEST;
		for (size_t i = 1; i < PEERS; i++)
			manners[i] = (enum manner)draw(&seeds, MANNERS);
		assert_int_equal(run_all(seed, manners, false), run_all(seed, manners, false));
	}
}

/* Pieces that fail to be kept are asked twice, and at the end a second peer: with neither, each is asked for once. */
static void of_honest_peers_each_piece_is_asked_once(void **state)
{
	struct fetch *f = fetch_with(4);
	unsigned asked[2000] = { 0 };
	struct fetch_batch batch;
	size_t here = 0;

	for (uint64_t n = 0; n < COUNT(asked); n++) {
		struct id id = run_name(n);

		assert_int_equal(fetch_add(f, &id, 3000, FETCH_REST, n / 5), 0);
	}
	for (uint64_t now_ms = 0; here < COUNT(asked); now_ms += 10) {
		assert_true(now_ms < 10000);
		fetch_tick(f, now_ms);
		for (uint64_t s = 1; s <= 4; s++) {
			if (!fetch_next(f, s, now_ms, &batch))
				continue;
			for (size_t i = 0; i < batch.count; i++) {
				asked[run_number(&batch.names[i])]++;
				assert_true(fetch_got(f, s, &batch.names[i]));
				fetch_came(f, &batch.names[i]);
				here++;
			}
			fetch_answered(f, s, batch.number, now_ms + 5);
		}
	}
	for (size_t i = 0; i < COUNT(asked); i++)
		assert_int_equal(asked[i], 1);
	fetch_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_somebody_has_comes_once),
		cmocka_unit_test(of_honest_peers_each_piece_is_asked_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
