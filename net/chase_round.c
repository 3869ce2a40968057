#include <stdlib.h>

#include "chase_private.h"

void chase_question_drop(struct chase *c, struct question *question)
{
	struct log *log = question->log;

	DL_DELETE2(log->questions, question, log_prev, log_next);
	log->question_count--;
	DL_DELETE(c->questions, question);
	HASH_DEL(c->by_number, question);
	c->question_count--;
	question->session->query_count--;
	free(question);
}

void chase_round_abandon(struct chase *c, struct log *log)
{
	while (log->questions)
		chase_question_drop(c, log->questions);
	log->gap_count = 0;
	chase_log_clear(c, log);
}

/* How far back the k-th step goes: 0, 1, 2, 4 ... */
static uint64_t step_back(unsigned back)
{
	if (back < 2)
		return 0;
	return back - 2 < 63 ? 1ull << (back - 2) : UINT64_MAX;
}

static void round_begin(struct chase *c, struct log *log)
{
	uint64_t distance = step_back(log->back);

	chase_round_abandon(c, log);
	if (log->back)
		log->round_from = log->base > distance ? log->base - distance : 0;
	else
		log->round_from = log->has_own ? log->own.seq + 1 : 0;
	log->cursor = log->round_from;
	log->round_new = log->anchored = log->exhausted = false;
}

/* Forward where there is something ahead, else from the tip back. */
static void round_aim(struct chase *c, struct log *log)
{
	const struct head *head = &log->source->head;

	log->back = log->has_own && head->seq <= log->own.seq;
	log->base = !log->has_own ? 0 : log->own.seq < head->seq ? log->own.seq : head->seq;
	round_begin(c, log);
}

void chase_round_start(struct chase *c, struct claim *claim)
{
	chase_claim_pushed(c, claim->log);
	chase_claim_set_state(c, claim, CLAIM_ACTIVE);
	round_aim(c, claim->log);
}

void chase_round_restart(struct chase *c, struct log *log)
{
	round_begin(c, log);
}

void chase_round_retreat(struct chase *c, struct log *log)
{
	if (log->back && !log->round_from) {
		chase_claim_set_state(c, log->source, CLAIM_OVER);
		return;
	}
	log->back++;
	round_begin(c, log);
}

/* Then a page may end between two records of one number: what comes after begins with that number again. */
static bool round_overlaps(const struct log *log)
{
	return log->back || log->source->head.records > log->source->head.seq + 1;
}

static bool round_has_more(const struct log *log)
{
	return log->source && !log->exhausted && log->cursor <= log->source->head.seq;
}

uint64_t chase_round_pending(const struct log *log)
{
	uint64_t least = round_has_more(log) ? log->cursor : UINT64_MAX;
	const struct question *question;

	DL_FOREACH2(log->questions, question, log_next)
		least = question->from < least ? question->from : least;
	for (size_t i = 0; i < log->gap_count; i++)
		least = log->gaps[i].from < least ? log->gaps[i].from : least;
	return least;
}

/* Is there room for one more page? The first one always: a chain must be able to end. */
static bool round_has_room(const struct log *log)
{
	size_t held = log->pool.bytes + (log->take ? log->take->size : 0);

	if (!log->question_count && !log->take)
		return true;
	return held + (log->question_count + 1) * PAGE_RESERVE <= CHAIN_SIZE_MAX;
}

bool chase_round_next(const struct chase *c, struct log *log, struct range *out)
{
	/* While it is not known where the branches meet, more than one window would be asked for in vain. */
	size_t windows = !log->back || log->anchored ? CHASE_WINDOWS_MAX : 1;

	if (log->question_count >= windows || !round_has_room(log))
		return false;
	if (log->gap_count) {
		*out = log->gaps[0];
		log->gap_count--;
		memmove(log->gaps, log->gaps + 1, log->gap_count * sizeof(*log->gaps));
		return true;
	}
	if (!round_has_more(log))
		return false;
	out->from = log->cursor;
	out->to = log->source->head.seq;
	if (out->to - out->from >= log->window)
		out->to = out->from + log->window - 1;
	log->cursor = round_overlaps(log) && out->to > out->from ? out->to : out->to + 1;
	return true;
}

static void gap_add(struct log *log, uint64_t from, uint64_t to)
{
	size_t i = log->gap_count++;

	for (; i && log->gaps[i - 1].from > from; i--)
		log->gaps[i] = log->gaps[i - 1];
	log->gaps[i] = (struct range){ from, to };
}

/* Windows as long as pages: a remainder costs a query of its own. */
static void window_adapt(struct log *log, const struct question *question)
{
	if (question->seq_max >= question->to) {
		if (++log->uncut < UNCUT_MAX)
			return;
		log->uncut = 0;
		log->window += log->window / 4;
	} else {
		log->uncut = 0;
		log->window = question->items > WINDOW_MIN ? question->items : WINDOW_MIN;
	}
	log->window = log->window < CHASE_WINDOW ? log->window : CHASE_WINDOW;
}

void chase_round_answered(struct log *log, const struct question *question)
{
	uint64_t from;

	if (!question->items) {
		if (question->full)
			gap_add(log, question->from, question->to);
		else
			log->exhausted = true;
		return;
	}
	if (!question->full)
		window_adapt(log, question);
	if (question->seq_max >= question->to)
		return;
	from = question->seq_max + 1;
	if (round_overlaps(log) && question->seq_max > question->from)
		from--;
	gap_add(log, from, question->to);
}

static void drop_satisfied(struct chase *c, struct log *log)
{
	struct claim *claim, *next;

	DL_FOREACH_SAFE2(log->claims, claim, next, log_next)
		if (claim->state != CLAIM_LIAR && chase_claim_is_satisfied(claim))
			chase_claim_free(c, claim);
}

void chase_round_settle(struct chase *c, struct log *log)
{
	bool ahead;

	if (log->take)
		return;
	if (!log->source) {
		if (!log->pool.items)
			drop_satisfied(c, log);
		chase_log_put(c, log);
		return;
	}
	if (log->question_count || log->gap_count || round_has_more(log))
		return;
	chase_log_clear(c, log);
	drop_satisfied(c, log);
	if (!log->source) {
		chase_log_put(c, log);
		return;
	}
	ahead = !log->has_own || log->own.seq < log->source->head.seq;
	if (log->round_new && ahead && !log->source->reached)
		round_aim(c, log);
	else if (log->exhausted || (ahead && !log->source->reached))
		chase_claim_set_state(c, log->source, CLAIM_OVER);
	else
		chase_round_retreat(c, log);
}
