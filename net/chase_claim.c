#include <errno.h>
#include <stdlib.h>

#include "chase_private.h"

/* ---- sessions ---- */

struct session *chase_session_find(const struct chase *c, uint64_t number)
{
	struct session *s;

	HASH_FIND(hh, c->sessions, &number, sizeof(number), s);
	return s;
}

int chase_join(struct chase *c, uint64_t session)
{
	struct session *s;

	if (!session || chase_session_find(c, session))
		return -EEXIST;
	if (HASH_COUNT(c->sessions) >= SESSIONS_MAX)
		return -ENOSPC;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->number = session;
	HASH_ADD(hh, c->sessions, number, sizeof(s->number), s);
	if (!s->hh.tbl) {
		free(s);
		return -ENOMEM;
	}
	return 0;
}

void chase_leave(struct chase *c, uint64_t session)
{
	struct session *s = chase_session_find(c, session);

	if (!s)
		return;
	while (s->claims) {
		struct log *log = s->claims->log;

		chase_claim_free(c, s->claims);
		chase_log_put(c, log);
	}
	HASH_DEL(c->sessions, s);
	free(s);
}

size_t chase_room(const struct chase *c, uint64_t session)
{
	const struct session *s = chase_session_find(c, session);
	size_t room, all = CHASE_CLAIMS_MAX - c->claim_count, logs = CHASE_LOGS_MAX - HASH_COUNT(c->logs);

	if (!s)
		return 0;
	room = CHASE_CLAIMS_SESSION - s->claim_count;
	room = room < all ? room : all;
	return room < logs ? room : logs;
}

size_t chase_behind(const struct chase *c, uint64_t session)
{
	const struct session *s = chase_session_find(c, session);

	return s ? s->wanted : 0;
}

/* ---- logs ---- */

struct log *chase_log_find(const struct chase *c, const struct id *device)
{
	struct log *log;

	HASH_FIND(hh, c->logs, device, sizeof(*device), log);
	return log;
}

struct log *chase_log_get(struct chase *c, const struct id *device)
{
	struct log *log = chase_log_find(c, device);

	if (log || HASH_COUNT(c->logs) >= CHASE_LOGS_MAX)
		return log;
	log = calloc(1, sizeof(*log));
	if (!log)
		return NULL;
	log->device = *device;
	log->window = CHASE_WINDOW;
	HASH_ADD(hh, c->logs, device, sizeof(log->device), log);
	if (!log->hh.tbl) {
		free(log);
		return NULL;
	}
	return log;
}

void chase_log_set_own(struct log *log, const struct head *own)
{
	log->has_own = own;
	if (own)
		log->own = *own;
}

void chase_log_clear(struct chase *c, struct log *log)
{
	c->memory -= log->pool.memory;
	chase_pool_clear(&log->pool);
}

void chase_log_put(struct chase *c, struct log *log)
{
	if (log->claims || log->take || log->pool.items)
		return;
	HASH_DEL(c->logs, log);
	free(log);
}

void chase_own(struct chase *c, const struct head *own)
{
	struct log *log = chase_log_find(c, &own->device);
	struct claim *claim, *next;

	if (!log)
		return;
	chase_log_set_own(log, own);
	DL_FOREACH_SAFE2(log->claims, claim, next, log_next)
		if (claim->state != CLAIM_LIAR && claim != log->source && chase_claim_is_satisfied(claim))
			chase_claim_free(c, claim);
	chase_log_put(c, log);
}

void chase_forget(struct chase *c, const struct id *device)
{
	struct log *log = chase_log_find(c, device);

	if (!log)
		return;
	while (log->claims)
		chase_claim_free(c, log->claims);
	chase_log_clear(c, log);
	chase_log_put(c, log);
}

/* ---- claims ---- */

static bool state_is_wanted(enum claim_state state)
{
	return state == CLAIM_READY || state == CLAIM_ACTIVE || state == CLAIM_DELAYED;
}

static struct claim **claim_list(struct chase *c, const struct claim *claim)
{
	switch (claim->state) {
	case CLAIM_READY:
		return &claim->session->ready;
	case CLAIM_ACTIVE:
		return &claim->session->active;
	case CLAIM_DELAYED:
		return &c->delayed;
	case CLAIM_OVER:
	case CLAIM_LIAR:
		break;
	}
	return NULL;
}

static void claim_enter(struct chase *c, struct claim *claim, enum claim_state state)
{
	struct claim **list;

	claim->state = state;
	list = claim_list(c, claim);
	if (list)
		DL_APPEND(*list, claim);
	if (state_is_wanted(state)) {
		claim->session->wanted++;
		if (!claim->log->wanted++)
			c->behind++;
	}
}

static void claim_exit(struct chase *c, struct claim *claim)
{
	struct claim **list = claim_list(c, claim);

	if (list)
		DL_DELETE(*list, claim);
	if (state_is_wanted(claim->state)) {
		claim->session->wanted--;
		if (!--claim->log->wanted)
			c->behind--;
	}
}

void chase_claim_set_state(struct chase *c, struct claim *claim, enum claim_state state)
{
	if (claim->log->source == claim && state != CLAIM_ACTIVE) {
		chase_round_abandon(c, claim->log);
		claim->log->source = NULL;
	}
	claim_exit(c, claim);
	claim_enter(c, claim, state);
	if (state == CLAIM_ACTIVE)
		claim->log->source = claim;
}

struct claim *chase_claim_find(const struct log *log, const struct session *s)
{
	struct claim *claim;

	DL_FOREACH2(log->claims, claim, log_next)
		if (claim->session == s)
			return claim;
	return NULL;
}

int chase_claim_get(struct chase *c, struct session *s, struct log *log, const struct head *head, struct claim **out)
{
	struct claim *claim = chase_claim_find(log, s);

	if (!claim) {
		if (c->claim_count >= CHASE_CLAIMS_MAX || s->claim_count >= CHASE_CLAIMS_SESSION)
			return -ENOSPC;
		claim = calloc(1, sizeof(*claim));
		if (!claim)
			return -ENOMEM;
		claim->session = s;
		claim->log = log;
		claim->head = *head;
		DL_APPEND2(log->claims, claim, log_prev, log_next);
		DL_APPEND2(s->claims, claim, session_prev, session_next);
		s->claim_count++;
		c->claim_count++;
		claim_enter(c, claim, CLAIM_OVER);
	}
	*out = claim;
	return 0;
}

void chase_claim_free(struct chase *c, struct claim *claim)
{
	struct session *s = claim->session;

	if (claim->log->source == claim)
		chase_claim_set_state(c, claim, CLAIM_OVER);
	claim_exit(c, claim);
	DL_DELETE2(claim->log->claims, claim, log_prev, log_next);
	DL_DELETE2(s->claims, claim, session_prev, session_next);
	s->claim_count--;
	c->claim_count--;
	free(claim);
}

bool chase_claim_is_satisfied(const struct claim *claim)
{
	const struct log *log = claim->log;
	const struct head *own = &log->own, *head = &claim->head;

	if (!log->has_own || own->records < head->records)
		return false;
	if (claim->reached || (own->seq == head->seq && id_equal(&own->record, &head->record)))
		return true;
	return !claim->missing && own->seq > head->seq;
}

static bool head_is_equal(const struct head *a, const struct head *b)
{
	return a->seq == b->seq && id_equal(&a->record, &b->record);
}

static void claim_set_head(struct claim *claim, const struct head *head, bool missing)
{
	if (!head_is_equal(&claim->head, head)) {
		claim->reached = false;
		claim->reaching = 0;
		claim->missing = missing;
		claim->failures = 0;
		claim->head = *head;
		return;
	}
	claim->missing |= missing;
	if (head->records > claim->head.records)
		claim->head.records = head->records;
}

int chase_claim_make(struct chase *c, struct session *s, struct log *log, const struct head *head, bool missing)
{
	struct claim *claim = chase_claim_find(log, s);
	int err;

	if (!claim) {
		err = chase_claim_get(c, s, log, head, &claim);
		if (err)
			return err;
	} else if (claim->state == CLAIM_LIAR) {
		return 0;
	} else if (claim->state == CLAIM_OVER && head_is_equal(&claim->head, head) &&
		   head->records <= claim->head.records) {
		return 0; /* tried */
	} else if ((claim->state == CLAIM_ACTIVE || (missing && state_is_wanted(claim->state))) &&
		   head->seq < claim->head.seq) {
		return 1; /* what is on its way, or will be, is newer */
	}
	claim_set_head(claim, head, missing);
	if (claim->state != CLAIM_ACTIVE && chase_claim_is_satisfied(claim)) {
		chase_claim_free(c, claim);
		return 0;
	}
	if (claim->state == CLAIM_OVER)
		chase_claim_set_state(c, claim, CLAIM_READY);
	return 1;
}

void chase_claim_pushed(struct chase *c, struct log *log)
{
	struct item *item, *next;

	HASH_ITER(hh, log->pool.items, item, next) {
		struct head head = { .device = log->device, .seq = item->seq, .record = item->id };
		struct session *s = chase_session_find(c, item->session);

		if (s && item->pushed && (!log->has_own || item->seq > log->own.seq))
			chase_claim_make(c, s, log, &head, true); /* no room: what it tells next will do */
	}
}

static int told(struct chase *c, uint64_t session, const struct head *theirs, const struct head *own, bool missing)
{
	struct session *s = chase_session_find(c, session);
	struct log *log = chase_log_find(c, &theirs->device);
	int result;

	if (!s)
		return -ENOENT;
	if (theirs->seq > SEQ_MAX)
		return -EPROTO;
	if (!log && !missing && own && own->records >= theirs->records &&
	    (own->seq > theirs->seq || head_is_equal(own, theirs)))
		return 0;
	log = chase_log_get(c, &theirs->device);
	if (!log)
		return HASH_COUNT(c->logs) >= CHASE_LOGS_MAX ? -ENOSPC : -ENOMEM;
	chase_log_set_own(log, own);
	result = chase_claim_make(c, s, log, theirs, missing);
	chase_log_put(c, log);
	return result;
}

int chase_told(struct chase *c, uint64_t session, const struct head *theirs, const struct head *own)
{
	return told(c, session, theirs, own, false);
}

int chase_told_branch(struct chase *c, uint64_t session, const struct head *theirs, const struct head *own)
{
	return told(c, session, theirs, own, true);
}
