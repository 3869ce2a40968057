#include "chase.h"

#include <errno.h>
#include <stdlib.h>

#include "chase_private.h"

struct chase *chase_new(void)
{
	return calloc(1, sizeof(struct chase));
}

static void take_free(struct chase *c, struct take *take)
{
	DL_DELETE(c->takes, take);
	c->take_count--;
	c->memory -= take->size;
	if (take->log)
		take->log->take = NULL;
	if (!take->given)
		chase_take_finish(&take->out);
	free(take);
}

void chase_free(struct chase *c)
{
	struct log *log, *next;

	if (!c)
		return;
	while (c->takes)
		take_free(c, c->takes);
	while (c->sessions)
		chase_leave(c, c->sessions->number);
	HASH_ITER(hh, c->logs, log, next) {
		chase_log_clear(c, log);
		chase_log_put(c, log);
	}
	free(c->record);
	free(c);
}

/* ---- queries ---- */

static uint64_t late_ms(const struct session *s)
{
	if (!s->usual_ms || s->usual_ms > QUERY_MS_MAX / 3)
		return QUERY_MS_MAX;
	return s->usual_ms * 3 > LATE_MS_MIN ? s->usual_ms * 3 : LATE_MS_MIN;
}

/* False: no memory. The window is lost then: the round begins again. */
static bool ask(struct chase *c, struct claim *claim, const struct range *range, uint64_t now_ms, struct chase_query *out)
{
	struct question *question = calloc(1, sizeof(*question));
	struct log *log = claim->log;

	if (!question)
		return false;
	question->number = c->last_number + 1;
	question->session = claim->session;
	question->log = log;
	question->from = range->from;
	question->to = range->to;
	question->asked_ms = now_ms;
	question->due_ms = now_ms + late_ms(claim->session);
	HASH_ADD(hh, c->by_number, number, sizeof(question->number), question);
	if (!question->hh.tbl) {
		free(question);
		return false;
	}
	c->last_number++;
	DL_APPEND(c->questions, question);
	DL_APPEND2(log->questions, question, log_prev, log_next);
	log->question_count++;
	c->question_count++;
	claim->session->query_count++;
	*out = (struct chase_query){ question->number, claim->session->number, log->device, range->from, range->to };
	return true;
}

static bool ask_of(struct chase *c, struct claim *claim, uint64_t now_ms, struct chase_query *out)
{
	struct range range;

	if (!chase_round_next(c, claim->log, &range))
		return false;
	if (ask(c, claim, &range, now_ms, out))
		return true;
	chase_round_restart(c, claim->log);
	return false;
}

/* Chains that cannot end hold all the memory: the longest gives way. */
static void make_room(struct chase *c)
{
	struct log *log, *next, *largest = NULL;

	HASH_ITER(hh, c->logs, log, next)
		if (log->source && (!largest || log->pool.memory > largest->pool.memory))
			largest = log;
	if (largest)
		chase_claim_set_state(c, largest->source, CLAIM_OVER);
}

static bool has_room(struct chase *c)
{
	if (c->memory + (c->question_count + 1) * PAGE_RESERVE <= CHASE_BYTES_MAX)
		return true;
	if (!c->question_count && !c->take_count)
		make_room(c);
	return false;
}

bool chase_next(struct chase *c, uint64_t session, uint64_t now_ms, struct chase_query *out)
{
	struct session *s = c->behind ? chase_session_find(c, session) : NULL;
	struct claim *claim, *next;

	if (!s || s->query_count >= CHASE_QUERIES_MAX || now_ms < c->paused_until_ms || !has_room(c))
		return false;
	DL_FOREACH(s->active, claim)
		if (ask_of(c, claim, now_ms, out)) {
			DL_DELETE(s->active, claim); /* each in its turn */
			DL_APPEND(s->active, claim);
			return true;
		}
	DL_FOREACH_SAFE(s->ready, claim, next) {
		struct log *log = claim->log;

		if (log->source || log->take || log->pool.items)
			continue;
		if (chase_claim_is_satisfied(claim)) {
			chase_claim_free(c, claim);
			chase_log_put(c, log);
			continue;
		}
		chase_round_start(c, claim);
		if (ask_of(c, claim, now_ms, out))
			return true;
	}
	return false;
}

/* A session lied about a log: not asked for it any more. */
static void convict(struct chase *c, struct session *s, struct log *log)
{
	struct head none = { .device = log->device };
	struct claim *claim;

	if (s && !chase_claim_get(c, s, log, &none, &claim))
		chase_claim_set_state(c, claim, CLAIM_LIAR);
}

/* A record is 60 KiB: it is here while some are coming (chase_tick()). */
static bool has_record(struct chase *c)
{
	if (!c->record)
		c->record = record_new();
	return c->record;
}

/* Is it one of this log, within the bounds of what was asked? Leaves it decoded in c->record. */
static int check_item(struct chase *c, const struct id *device, uint64_t from, uint64_t to, const struct record_item *item)
{
	if (record_decode_head(c->record, item->bytes, item->size) < 0)
		return -EBADMSG;
	if (!id_equal(&c->record->voucher, device) || c->record->seq < from || c->record->seq > to)
		return -EPROTO;
	return 0;
}

static int keep_item(struct chase *c, struct log *log, const struct record_item *item, uint64_t session, bool pushed)
{
	size_t before = log->pool.memory;
	struct id id;
	int result;

	record_id(&id, item->bytes, item->size);
	result = chase_pool_put(&log->pool, item, c->record, &id, session, pushed);
	c->memory += log->pool.memory - before;
	return result;
}

static bool fits(const struct chase *c, const struct log *log, size_t size)
{
	size_t held = log->pool.bytes + (log->take ? log->take->size : 0);

	return held + size <= CHAIN_SIZE_MAX && c->memory + size + sizeof(struct item) <= CHASE_BYTES_MAX;
}

int chase_item(struct chase *c, uint64_t query, const struct record_item *item)
{
	struct question *question;
	struct log *log;
	int result;

	HASH_FIND(hh, c->by_number, &query, sizeof(query), question);
	if (!question)
		return -ENOENT;
	if (!has_record(c))
		return -ENOMEM;
	log = question->log;
	result = check_item(c, &log->device, question->from, question->to, item);
	if (result < 0) {
		convict(c, question->session, log);
		return result;
	}
	if (question->full)
		return 0;
	if (!fits(c, log, item->size)) {
		question->full = true;
		return 0;
	}
	result = keep_item(c, log, item, question->session->number, false);
	if (result < 0) {
		question->full = true;
		return result;
	}
	question->items++;
	if (c->record->seq > question->seq_max)
		question->seq_max = c->record->seq;
	return 0;
}

/* ---- takes ---- */

void chase_take_finish(struct chase_take *take)
{
	bytes_finish(&take->bytes);
	free(take->records);
	take->records = NULL;
	take->count = 0;
}

/* Copies the chain from its last item back; both buffers have their whole size, so nothing moves. */
static int take_fill(struct take *take, struct item *last, size_t count)
{
	struct chase_take *out = &take->out;
	size_t size = 0;
	uint8_t *end;

	for (struct item *item = last; item; item = item->parent)
		size += item->size;
	bytes_init(&out->bytes, size);
	end = bytes_extend(&out->bytes, size);
	out->records = calloc(count, sizeof(*out->records));
	if (!end || !out->records) {
		chase_take_finish(out);
		return -ENOMEM;
	}
	end += size;
	out->count = count;
	for (struct item *item = last; item; item = item->parent) {
		end -= item->size;
		memcpy(end, item->bytes, item->size);
		out->records[--count] = (struct record_item){ end, item->size, item->is_signed, item->signature };
	}
	take->size = size;
	return 0;
}

static struct take *take_new(struct chase *c, struct log *log, struct item *last, size_t count)
{
	struct take *take = calloc(1, sizeof(*take));

	if (!take || take_fill(take, last, count) < 0) {
		free(take);
		return NULL;
	}
	take->number = ++c->last_number;
	take->log = log;
	take->last = last->id;
	take->last_seq = last->seq;
	take->session = last->session;
	take->pushed = last->pushed;
	take->out.number = take->number;
	take->out.session = take->session;
	take->out.pushed = take->pushed;
	take->out.device = log->device;
	return take;
}

/* If a chain of the log has come together, it is to be taken. -ENOMEM. */
static int log_join(struct chase *c, struct log *log)
{
	struct joint joint = {
		.known = { log->has_own ? &log->own.record : NULL, log->has_taken ? &log->taken : NULL },
		.pending_from = chase_round_pending(log),
	};
	struct item *last, *item;
	struct claim *claim;
	struct take *take;
	size_t count;

	last = log->take ? NULL : chase_pool_join(&log->pool, &joint, &count);
	if (!last)
		return 0;
	take = take_new(c, log, last, count);
	if (!take)
		return -ENOMEM;
	DL_FOREACH2(log->claims, claim, log_next) {
		item = chase_pool_find(&log->pool, &claim->head.record);
		if (item && item->in_chain)
			claim->reaching = take->number;
	}
	c->memory -= log->pool.memory;
	for (item = last; item; item = last) {
		last = item->parent;
		chase_pool_drop(&log->pool, item);
	}
	c->memory += log->pool.memory + take->size;
	DL_APPEND(c->takes, take);
	c->take_count++;
	log->take = take;
	return 0;
}

bool chase_next_take(struct chase *c, struct chase_take *out)
{
	struct take *take;

	DL_FOREACH(c->takes, take)
		if (!take->given) {
			take->given = true;
			*out = take->out;
			return true;
		}
	return false;
}

static void session_adapt(struct session *s, uint64_t took_ms)
{
	took_ms = took_ms ? took_ms : 1;
	s->usual_ms = s->usual_ms ? (s->usual_ms * 3 + took_ms + 3) / 4 : took_ms;
}

int chase_answered(struct chase *c, uint64_t query, uint64_t now_ms)
{
	struct session *s;
	struct question *question;
	struct log *log;
	bool full, moved;

	HASH_FIND(hh, c->by_number, &query, sizeof(query), question);
	if (!question)
		return -ENOENT;
	log = question->log;
	s = question->session;
	session_adapt(s, now_ms - question->asked_ms);
	full = question->full;
	moved = question->items;
	if (moved)
		log->source->failures = 0;
	chase_round_answered(log, question);
	chase_question_drop(c, question);
	if (log_join(c, log) < 0) {
		chase_round_restart(c, log);
		return -ENOMEM;
	}
	/* A chain as long as may be, and still no signature. */
	if (full && !log->take && !log->question_count && log->pool.bytes + RECORD_SIZE_MAX > CHAIN_SIZE_MAX) {
		convict(c, s, log);
		return -EMSGSIZE;
	}
	chase_round_settle(c, log);
	return 0;
}

static void take_succeeded(struct chase *c, struct log *log, const struct take *take, int result)
{
	struct claim *claim;

	c->trouble_ms = 0;
	log->has_taken = true;
	log->taken = take->last;
	log->anchored = true;
	log->round_new |= result > 0;
	DL_FOREACH2(log->claims, claim, log_next)
		if (claim->reaching == take->number)
			claim->reached = true;
}

/* What was pushed has to be fetched: its predecessor is not here, or it could not be kept. */
static void chase_instead(struct chase *c, struct log *log, const struct take *take)
{
	struct head head = { .device = log->device, .seq = take->last_seq, .record = take->last };
	struct session *s = chase_session_find(c, take->session);

	if (s && take->pushed)
		chase_claim_make(c, s, log, &head, true); /* no room: what it tells next will do */
	chase_claim_pushed(c, log);
}

static void take_failed(struct chase *c, struct log *log, const struct take *take, int result, uint64_t now_ms)
{
	switch (result) {
	case -EAGAIN:
		chase_instead(c, log, take);
		if (log->source)
			chase_round_retreat(c, log);
		return;
	case -EBADMSG:
	case -EPROTO:
	case -EKEYREJECTED:
		convict(c, chase_session_find(c, take->session), log);
		return;
	default:
		c->trouble_ms = c->trouble_ms ? c->trouble_ms * 2 : TROUBLE_MS_MIN;
		c->trouble_ms = c->trouble_ms < TROUBLE_MS_MAX ? c->trouble_ms : TROUBLE_MS_MAX;
		c->paused_until_ms = now_ms + c->trouble_ms;
		chase_instead(c, log, take);
		if (log->source)
			chase_round_restart(c, log);
	}
}

void chase_taken(struct chase *c, uint64_t number, int result, const struct head *own, uint64_t now_ms)
{
	struct take *take, copy;
	struct log *log;

	DL_FOREACH(c->takes, take)
		if (take->number == number)
			break;
	if (!take)
		return;
	copy = *take;
	log = take->log;
	take_free(c, take);
	chase_log_set_own(log, own);
	if (result >= 0)
		take_succeeded(c, log, &copy, result);
	else
		take_failed(c, log, &copy, result, now_ms);
	if (log_join(c, log) < 0 && log->source)
		chase_round_restart(c, log);
	chase_round_settle(c, log);
}

/* ---- pushes ---- */

/* A line of records of this device, whose last is signed. */
static int check_push(struct chase *c, const struct id *device, const struct record_item *records, size_t count,
		      uint64_t *out_first_seq, struct head *out_last)
{
	struct id id = { .bytes = { 0 } };

	if (!count || !records[count - 1].is_signed)
		return -EPROTO;
	for (size_t i = 0; i < count; i++) {
		int err = check_item(c, device, i ? out_last->seq + 1 : 0, i ? out_last->seq + 1 : SEQ_MAX, &records[i]);

		if (err)
			return err;
		if (i && !id_equal(&c->record->prev, &id))
			return -EPROTO;
		if (!i)
			*out_first_seq = c->record->seq;
		record_id(&id, records[i].bytes, records[i].size);
		out_last->seq = c->record->seq;
	}
	out_last->record = id;
	return 0;
}

static bool is_known(const struct log *log, const struct id *id)
{
	return (log->has_own && id_equal(&log->own.record, id)) || (log->take && id_equal(&log->take->last, id)) ||
	       chase_pool_find(&log->pool, id);
}

static int push_keep(struct chase *c, struct log *log, uint64_t session, const struct record_item *records, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int result = record_decode_head(c->record, records[i].bytes, records[i].size);

		if (result >= 0)
			result = keep_item(c, log, &records[i], session, true);
		if (result < 0) {
			chase_log_clear(c, log);
			return result;
		}
	}
	return 0;
}

static int push(struct chase *c, struct session *s, struct log *log, const struct head *last, uint64_t first_seq,
		const struct record_item *records, size_t count)
{
	struct claim *claim = chase_claim_find(log, s);
	size_t size = 0;
	int err;

	for (size_t i = 0; i < count; i++)
		size += records[i].size;
	if (is_known(log, &last->record) || (claim && claim->state == CLAIM_LIAR))
		return 1;
	/* Below or right after the tip it can join; after what is on its way to be taken too. */
	if (!log->source && fits(c, log, size + count * sizeof(struct item)) &&
	    (first_seq <= (log->has_own ? log->own.seq + 1 : 0) || log->take || log->pool.items)) {
		err = push_keep(c, log, s->number, records, count);
		return err ? err : log_join(c, log);
	}
	err = chase_claim_make(c, s, log, last, true);
	return err < 0 ? err : 0;
}

int chase_push(struct chase *c, uint64_t session, const struct id *device, const struct head *own,
	       const struct record_item *records, size_t count)
{
	struct session *s = chase_session_find(c, session);
	struct head last = { .device = *device };
	uint64_t first_seq = 0;
	struct log *log;
	int result;

	if (!s)
		return -ENOENT;
	if (!has_record(c))
		return -ENOMEM;
	result = check_push(c, device, records, count, &first_seq, &last);
	if (result < 0)
		return result;
	log = chase_log_get(c, device);
	if (!log)
		return HASH_COUNT(c->logs) >= CHASE_LOGS_MAX ? -ENOSPC : -ENOMEM;
	chase_log_set_own(log, own);
	result = push(c, s, log, &last, first_seq, records, count);
	chase_log_put(c, log);
	return result;
}

/* ---- time and counts ---- */

/* Another session could be asked for the log at once. */
static bool has_other(const struct log *log)
{
	const struct claim *claim;

	DL_FOREACH2(log->claims, claim, log_next)
		if (claim->state == CLAIM_READY)
			return true;
	return false;
}

static void give_up(struct chase *c, struct claim *claim, uint64_t now_ms)
{
	claim->until_ms = now_ms + DELAY_MS;
	chase_claim_set_state(c, claim, ++claim->failures < FAILURES_MAX ? CLAIM_DELAYED : CLAIM_OVER);
}

/* True: the question is gone, and others of its log with it. */
static bool tick_question(struct chase *c, struct question *question, uint64_t now_ms)
{
	if (now_ms < question->due_ms)
		return false;
	question->late = true;
	if (now_ms < question->asked_ms + LOST_MS && !has_other(question->log))
		return false;
	give_up(c, question->log->source, now_ms);
	return true;
}

void chase_tick(struct chase *c, uint64_t now_ms)
{
	struct question *question = c->questions;

	while (question)
		question = tick_question(c, question, now_ms) ? c->questions : question->next;
	while (c->delayed && c->delayed->until_ms <= now_ms)
		chase_claim_set_state(c, c->delayed, CLAIM_READY);
	if (c->paused_until_ms <= now_ms)
		c->paused_until_ms = 0;
	if (!c->question_count && chase_is_idle(c)) {
		free(c->record);
		c->record = NULL;
	}
}

uint64_t chase_deadline_ms(const struct chase *c)
{
	uint64_t deadline = c->paused_until_ms ? c->paused_until_ms : UINT64_MAX;
	const struct question *question;

	DL_FOREACH(c->questions, question) {
		uint64_t due = question->late ? question->asked_ms + LOST_MS : question->due_ms;

		deadline = due < deadline ? due : deadline;
	}
	if (c->delayed && c->delayed->until_ms < deadline)
		deadline = c->delayed->until_ms;
	return deadline;
}

bool chase_is_idle(const struct chase *c)
{
	return !c->behind && !c->take_count;
}

static uint64_t log_to_come(const struct log *log)
{
	uint64_t have = log->has_own ? log->own.seq + 1 : 0, most = have;
	const struct claim *claim;

	DL_FOREACH2(log->claims, claim, log_next)
		if (claim->state != CLAIM_OVER && claim->state != CLAIM_LIAR && claim->head.seq + 1 > most)
			most = claim->head.seq + 1;
	return most - have;
}

void chase_count(const struct chase *c, struct chase_counts *out)
{
	const struct log *log;

	*out = (struct chase_counts){
		.behind = c->behind,
		.logs = HASH_COUNT(c->logs),
		.claims = c->claim_count,
		.queries = c->question_count,
		.takes = c->take_count,
		.bytes = c->memory,
	};
	for (log = c->behind ? c->logs : NULL; log; log = log->hh.next) {
		uint64_t to_come = log_to_come(log);

		out->records = to_come > SEQ_MAX - out->records ? SEQ_MAX : out->records + to_come;
	}
	out->memory = sizeof(*c) + (c->record ? sizeof(struct record) : 0) + c->memory + HASH_COUNT(c->sessions) * sizeof(struct session) +
		      out->logs * sizeof(struct log) + out->claims * sizeof(struct claim) +
		      out->queries * sizeof(struct question) + out->takes * sizeof(struct take);
}
