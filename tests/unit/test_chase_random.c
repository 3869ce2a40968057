#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>

#include "chase_kit.h"

/* ---- many logs, many peers, random schedules ---- */

enum manner {
	HONEST,
	SLOW,      /* answers after 5 to 40 s */
	SILENT,    /* never */
	FORGER,    /* bad signatures */
	BABBLER,   /* malformed records */
	HOLLOW,    /* tells heads, answers nothing */
	LOSSY,     /* leaves records out */
	BARE,      /* leaves signatures out */
	VANISHING, /* goes and comes back as a new session */
	MANNERS
};

#define PEERS_COUNT 5

struct world_answer {
	uint64_t at_ms;
	struct chase_query query;
	struct world_answer *next;
};

struct world_take {
	uint64_t at_ms;
	struct chase_take take;
	struct world_take *next;
};

struct world {
	struct chase *chase;
	struct kit_log *logs;
	size_t log_count;
	struct kit_holding *holdings[PEERS_COUNT]; /* by log */
	enum manner manners[PEERS_COUNT];
	uint64_t sessions[PEERS_COUNT], last_session;
	uint64_t random, now_ms, digest;
	bool trouble;
	size_t page_items;
	struct world_answer *answers;
	struct world_take *takes;
};

static uint64_t draw(struct world *w, uint64_t below)
{
	w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
	return (w->random >> 33) % below;
}

static size_t world_log(const struct world *w, const struct id *device)
{
	size_t i = 0;

	while (!id_equal(&w->logs[i].device, device))
		i++;
	return i;
}

static void world_tell(struct world *w, size_t peer)
{
	assert_int_equal(chase_join(w->chase, w->sessions[peer] = ++w->last_session), 0);
	for (size_t i = 0; i < w->log_count; i++) {
		struct head theirs, own;
		bool has = kit_head(&w->logs[i], NULL, &own);

		if (kit_head(&w->logs[i], &w->holdings[peer][i], &theirs))
			assert_true(chase_told(w->chase, w->sessions[peer], &theirs, has ? &own : NULL) >= 0);
	}
}

static void world_ask(struct world *w, size_t peer)
{
	struct world_answer *answer;
	struct chase_counts counts;

	for (;;) {
		answer = calloc(1, sizeof(*answer));
		assert_non_null(answer);
		if (!chase_next(w->chase, w->sessions[peer], w->now_ms, &answer->query))
			break;
		assert_int_equal(answer->query.session, w->sessions[peer]);
		assert_true(answer->query.to - answer->query.from < CHASE_WINDOW);
		w->digest = w->digest * 31 + answer->query.from * 7 + answer->query.to + peer + w->now_ms;
		answer->at_ms = w->now_ms + 1 + draw(w, 200);
		if (w->manners[peer] == SLOW)
			answer->at_ms += 5000 + draw(w, 35000);
		if (w->manners[peer] == SILENT)
			answer->at_ms = UINT64_MAX;
		answer->next = w->answers;
		w->answers = answer;
	}
	free(answer);
	chase_count(w->chase, &counts);
	assert_true(counts.queries <= PEERS_COUNT * CHASE_QUERIES_MAX);
	assert_true(counts.bytes <= CHASE_BYTES_MAX);
}

static int compare_records(const void *a, const void *b)
{
	const struct kit_record *x = *(struct kit_record *const *)a, *y = *(struct kit_record *const *)b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return id_compare(&x->id, &y->id);
}

static int world_item(struct world *w, size_t peer, uint64_t query, struct kit_record *record)
{
	struct record_item item = kit_item(record);
	int err;

	if (w->manners[peer] == FORGER)
		item.signature.bytes[0] = 0;
	if (w->manners[peer] == BABBLER && draw(w, 20) == 0)
		item.size--;
	if (w->manners[peer] == BARE)
		item.is_signed = false;
	if (w->manners[peer] == LOSSY && draw(w, 20) == 0)
		return 0;
	err = chase_item(w->chase, query, &item);
	record->sent += !err;
	return err;
}

static void world_answer(struct world *w, const struct chase_query *query)
{
	size_t peer = 0, log = world_log(w, &query->device), count = 0;
	struct kit_record **records;
	int err = 0;

	while (peer < PEERS_COUNT && w->sessions[peer] != query->session)
		peer++;
	if (peer == PEERS_COUNT)
		return;
	records = calloc(w->logs[log].count + 1, sizeof(struct kit_record *));
	assert_non_null(records);
	for (size_t i = 0; i < w->logs[log].count; i++)
		if (kit_holds(&w->logs[log], &w->holdings[peer][log], i) && w->logs[log].records[i].seq >= query->from &&
		    w->logs[log].records[i].seq <= query->to)
			records[count++] = &w->logs[log].records[i];
	qsort(records, count, sizeof(struct kit_record *), compare_records);
	for (size_t i = 0; i < count && i < w->page_items && !err && w->manners[peer] != HOLLOW; i++)
		err = world_item(w, peer, query->number, records[i]);
	free(records);
	err = chase_answered(w->chase, query->number, w->now_ms);
	assert_true(err == 0 || err == -ENOENT);
	if (w->manners[peer] == VANISHING && draw(w, 5) == 0) {
		chase_leave(w->chase, w->sessions[peer]);
		world_tell(w, peer);
	}
}

static void world_gather_takes(struct world *w)
{
	struct world_take *take;

	for (;;) {
		take = calloc(1, sizeof(*take));
		assert_non_null(take);
		if (!chase_next_take(w->chase, &take->take))
			break;
		take->at_ms = w->now_ms + draw(w, 60);
		take->next = w->takes;
		w->takes = take;
	}
	free(take);
}

static void world_take(struct world *w, struct world_take *take)
{
	struct kit_log *log = &w->logs[world_log(w, &take->take.device)];
	struct head own;
	int result;

	result = w->trouble && draw(w, 30) == 0 ? -ENOSPC : kit_take(log, take->take.records, take->take.count);
	chase_take_finish(&take->take);
	chase_taken(w->chase, take->take.number, result, kit_head(log, NULL, &own) ? &own : NULL, w->now_ms);
	free(take);
}

static void world_advance(struct world *w)
{
	uint64_t next_ms = chase_deadline_ms(w->chase);
	struct world_answer *answer;
	struct world_take *take;

	for (answer = w->answers; answer; answer = answer->next)
		next_ms = answer->at_ms < next_ms ? answer->at_ms : next_ms;
	for (take = w->takes; take; take = take->next)
		next_ms = take->at_ms < next_ms ? take->at_ms : next_ms;
	assert_true(next_ms != UINT64_MAX);
	w->now_ms = next_ms > w->now_ms ? next_ms : w->now_ms;
	for (struct world_answer **at = &w->answers; (answer = *at);) {
		if (answer->at_ms > w->now_ms) {
			at = &answer->next;
			continue;
		}
		*at = answer->next;
		world_answer(w, &answer->query);
		free(answer);
	}
	for (struct world_take **at = &w->takes; (take = *at);) {
		if (take->at_ms > w->now_ms) {
			at = &take->next;
			continue;
		}
		*at = take->next;
		world_take(w, take);
	}
	chase_tick(w->chase, w->now_ms);
}

static void world_run(struct world *w)
{
	size_t turns = 0;

	for (size_t i = 0; i < PEERS_COUNT; i++)
		world_tell(w, i);
	while (!chase_is_idle(w->chase)) {
		assert_true(turns++ < 200000);
		for (size_t i = 0; i < PEERS_COUNT; i++)
			world_ask(w, i);
		world_gather_takes(w);
		if (!chase_is_idle(w->chase))
			world_advance(w);
	}
}

static void world_close(struct world *w)
{
	struct world_answer *answer;

	assert_null(w->takes);
	while ((answer = w->answers)) {
		w->answers = answer->next;
		free(answer);
	}
	chase_free(w->chase);
	for (size_t i = 0; i < w->log_count; i++)
		kit_log_finish(&w->logs[i]);
	for (size_t i = 0; i < PEERS_COUNT; i++)
		free(w->holdings[i]);
	free(w->logs);
}

static void world_open(struct world *w, uint64_t seed, size_t logs)
{
	*w = (struct world){ .chase = chase_new(), .log_count = logs, .random = seed, .page_items = 5 + seed % 200 };
	assert_non_null(w->chase);
	w->logs = calloc(logs, sizeof(*w->logs));
	assert_non_null(w->logs);
	for (size_t i = 0; i < PEERS_COUNT; i++) {
		w->holdings[i] = calloc(logs, sizeof(*w->holdings[i]));
		assert_non_null(w->holdings[i]);
	}
}

static void a_thousand_logs_come_once_each(void **state)
{
	struct world w;

	world_open(&w, 7, 1000);
	w.page_items = 500;
	for (size_t i = 0; i < w.log_count; i++) {
		struct kit_plan plan = { .trunk = 1 + draw(&w, 12), .sign_every = 1 + draw(&w, 3) };

		if (i % 200 == 0)
			plan.trunk = 2000;
		kit_log_make(&w.logs[i], i, &plan);
		kit_store(&w.logs[i], &(struct kit_holding){ .trunk = i % 5 ? 0 : 1 });
		for (size_t p = 0; p < PEERS_COUNT; p++)
			w.holdings[p][i].trunk = plan.trunk;
	}
	world_run(&w);
	for (size_t i = 0; i < w.log_count; i++)
		for (size_t n = 0; n < w.logs[i].count; n++) {
			assert_true(w.logs[i].records[n].here);
			assert_int_equal(w.logs[i].records[n].sent, i % 5 || n ? 1 : 0);
		}
	world_close(&w);
}

static uint64_t run_seed(uint64_t seed)
{
	uint64_t digest;
	struct world w;

	world_open(&w, seed, 12);
	w.trouble = true;
	for (size_t i = 1; i < PEERS_COUNT; i++)
		w.manners[i] = (enum manner)draw(&w, MANNERS);
	for (size_t i = 0; i < w.log_count; i++) {
		struct kit_plan plan = { .trunk = 1 + draw(&w, i ? 60 : 1200), .sign_every = 1 + draw(&w, 5) };
		struct kit_holding mine;

		if (draw(&w, 2)) {
			plan.fork_at = draw(&w, plan.trunk + 1);
			plan.branch = 1 + draw(&w, 40);
		}
		kit_log_make(&w.logs[i], i, &plan);
		mine.trunk = draw(&w, 3) ? draw(&w, plan.trunk + 1) : 0;
		mine.branch = mine.trunk >= plan.fork_at ? draw(&w, plan.branch + 1) : 0;
		kit_store(&w.logs[i], &mine);
		for (size_t p = 0; p < PEERS_COUNT; p++) {
			w.holdings[p][i] = (struct kit_holding){ plan.trunk, plan.branch };
			if (p && draw(&w, 2)) {
				w.holdings[p][i].trunk = draw(&w, plan.trunk + 1);
				w.holdings[p][i].branch = 0;
			}
		}
	}
	world_run(&w);
	for (size_t i = 0; i < w.log_count; i++)
		for (size_t n = 0; n < w.logs[i].count; n++) {
			if (!w.logs[i].records[n].here)
				print_message("seed %zu: log %zu lacks %zu of %zu\n", (size_t)seed, i, n, w.logs[i].count);
			assert_true(w.logs[i].records[n].here);
		}
	digest = w.digest;
	world_close(&w);
	return digest;
}

static void all_that_an_honest_peer_has_comes(void **state)
{
	uint64_t seeds = getenv("MOOT_LONG") ? 3000 : 40;

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		uint64_t digest = run_seed(seed);

		if (seed < 5)
			assert_int_equal(run_seed(seed), digest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_logs_come_once_each),
		cmocka_unit_test(all_that_an_honest_peer_has_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
