#include "earn.h"

#include <string.h>

#define SLOT_MS (1000 / EARN_PER_SECOND)
#define NOBODY EARN_WAITING_MAX

enum turn { TURN_KNOWN, TURN_BID, TURN_LOT };

static const enum turn turns[10] = {
	TURN_KNOWN, TURN_BID, TURN_KNOWN, TURN_BID, TURN_KNOWN, TURN_LOT, TURN_KNOWN, TURN_BID, TURN_KNOWN, TURN_BID,
};

void earn_init(struct earn *e, uint64_t now_ms)
{
	*e = (struct earn){ .slots = EARN_BURST, .slots_ms = now_ms, .period_ms = now_ms, .empty_ms = now_ms };
}

static void stop_idling(struct earn *e, uint64_t now_ms)
{
	if (e->count == 0)
		e->idle_ms += now_ms - e->empty_ms;
}

/* Proposal 362: idle time that the queue left would have filled does not count as idle. */
static uint32_t suggest(const struct earn *e, uint64_t period)
{
	uint64_t backlog = e->served ? period * e->count / e->served : 0;
	uint64_t idle = e->idle_ms > backlog ? e->idle_ms - backlog : 0;

	if (e->served == 0)
		return e->count ? e->suggested : 0;
	if (idle >= period)
		return 0;
	uint64_t able = e->served * period / (period - idle); /* what could have been served */
	uint64_t next = (uint64_t)e->suggested * e->bids / able;
	if (e->bids >= able) {
		next = e->bids_effort / e->served;
		if (next < (uint64_t)e->suggested + 1)
			next = (uint64_t)e->suggested + 1;
	}
	return next < EARN_SUGGESTED_MAX ? (uint32_t)next : EARN_SUGGESTED_MAX;
}

void earn_tick(struct earn *e, uint64_t now_ms)
{
	uint64_t period = now_ms - e->period_ms;

	if (period < EARN_PERIOD_MS)
		return;
	stop_idling(e, now_ms);
	e->suggested = suggest(e, period);
	e->period_ms = e->empty_ms = now_ms;
	e->idle_ms = e->served = e->bids = e->bids_effort = 0;
}

static void take_out(struct earn *e, size_t index, uint64_t now_ms)
{
	memmove(&e->waiting[index], &e->waiting[index + 1], (e->count - index - 1) * sizeof(e->waiting[0]));
	if (--e->count == 0)
		e->empty_ms = now_ms;
}

/* The newcomer who paid least, of those the youngest; those known well only if all are. */
static size_t find_least(const struct earn *e)
{
	size_t least = 0;

	for (size_t i = 1; i < e->count; i++) {
		const struct earn_waiting *a = &e->waiting[i], *b = &e->waiting[least];
		if (a->known != b->known ? b->known : a->effort <= b->effort)
			least = i;
	}
	return least;
}

static void count_bid(struct earn *e, const struct earn_waiting *newcomer)
{
	uint64_t most = (uint64_t)(e->suggested ? e->suggested : 1) * EARN_BID_FACTOR;

	if (newcomer->known || newcomer->effort < e->suggested)
		return;
	e->bids++;
	e->bids_effort += newcomer->effort < most ? newcomer->effort : most;
}

uint64_t earn_join(struct earn *e, const struct earn_waiting *newcomer, uint64_t now_ms)
{
	uint64_t dropped = 0;

	earn_tick(e, now_ms);
	count_bid(e, newcomer); /* also of who is turned away: that is what a load is */
	if (e->count == EARN_WAITING_MAX) {
		size_t least = find_least(e);
		const struct earn_waiting *w = &e->waiting[least];
		if (newcomer->known == w->known ? newcomer->effort <= w->effort : w->known)
			return newcomer->session;
		dropped = w->session;
		take_out(e, least, now_ms);
	}
	stop_idling(e, now_ms);
	e->waiting[e->count] = *newcomer;
	e->waiting[e->count++].since_ms = now_ms;
	return dropped;
}

static size_t find_known(const struct earn *e)
{
	for (size_t i = 0; i < e->count; i++)
		if (e->waiting[i].known)
			return i;
	return NOBODY;
}

static size_t find_highest(const struct earn *e)
{
	size_t highest = NOBODY;

	for (size_t i = 0; i < e->count; i++)
		if (!e->waiting[i].known &&
		    (highest == NOBODY || e->waiting[i].effort > e->waiting[highest].effort))
			highest = i;
	return highest;
}

/* One of those who paid nothing, else of all newcomers. */
static size_t find_by_lot(const struct earn *e, uint32_t chance)
{
	size_t poor[EARN_WAITING_MAX], count = 0;

	for (size_t i = 0; i < e->count; i++)
		if (!e->waiting[i].known && e->waiting[i].effort == 0)
			poor[count++] = i;
	return count ? poor[chance % count] : find_highest(e);
}

static size_t find_turn(const struct earn *e, enum turn turn, uint32_t chance)
{
	size_t index = turn == TURN_KNOWN ? find_known(e) : turn == TURN_BID ? find_highest(e) : find_by_lot(e, chance);

	if (index == NOBODY)
		index = find_known(e);
	return index == NOBODY ? find_highest(e) : index;
}

static void refill(struct earn *e, uint64_t now_ms)
{
	uint64_t more = (now_ms - e->slots_ms) / SLOT_MS;

	e->slots_ms += more * SLOT_MS;
	e->slots = more > EARN_BURST - e->slots ? EARN_BURST : e->slots + more;
}

uint64_t earn_next(struct earn *e, uint64_t now_ms, uint32_t chance)
{
	refill(e, now_ms);
	if (e->count == 0 || e->slots == 0)
		return 0;
	size_t index = find_turn(e, turns[e->turn], chance);
	uint64_t session = e->waiting[index].session;
	e->turn = (e->turn + 1) % 10;
	e->slots--;
	e->served++;
	take_out(e, index, now_ms);
	return session;
}

void earn_leave(struct earn *e, uint64_t session, uint64_t now_ms)
{
	for (size_t i = 0; i < e->count; i++)
		if (e->waiting[i].session == session) {
			take_out(e, i, now_ms);
			return;
		}
}

uint64_t earn_deadline_ms(const struct earn *e)
{
	uint64_t deadline = e->suggested || e->bids ? e->period_ms + EARN_PERIOD_MS : UINT64_MAX;

	if (e->count > 0) {
		uint64_t slot = e->slots ? 0 : e->slots_ms + SLOT_MS;
		deadline = slot < deadline ? slot : deadline;
	}
	return deadline;
}
