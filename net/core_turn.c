#include <errno.h>

#include "core_private.h"

#define MOVED_MAX (64 * 1024) /* bytes into links and to them until it is counted anew what they hold: little beside LINKS_MEMORY_MAX */

/* Sessions are full: of those who are known well one more, instead of the newest who is not. */
static bool make_room(struct core *core, const struct link *newcomer)
{
	struct link *loser = NULL;
	unsigned sessions = 0;

	for (struct link *link = core->links; link; link = link->hh.next) {
		if (link->state != LINK_READY && link->state != LINK_OPENING)
			continue;
		sessions++;
		if (!link->known && !link->outgoing)
			loser = link;
	}
	if (sessions < SESSIONS_MAX)
		return true;
	if (!newcomer->known || !loser)
		return false;
	link_close(loser, -EBUSY);
	return true;
}

static void admit(struct core *core)
{
	uint64_t session;

	earn_tick(&core->earn, core->now_ms);
	core->server.effort = core->earn.suggested;
	while ((session = earn_next(&core->earn, core->now_ms, core_chance(core)))) {
		struct link *link = core_find(core, session);
		if (!link || link->state != LINK_WAITING)
			continue;
		if (make_room(core, link)) {
			greet_open(link);
		} else {
			core->counts.refused++;
			link_close(link, -EBUSY);
		}
	}
}

static void tend_links(struct core *core)
{
	struct link *link, *next;

	HASH_ITER(hh, core->links, link, next) {
		if (link->state != LINK_READY)
			continue;
		meet_pump(link);
		ask_pump(link);
		spread_pump(link);
	}
}

static void tell_synced(struct core *core)
{
	bool surveyed = false;

	if (core->synced || !pull_is_idle(core))
		return;
	for (const struct link *link = core->links; link; link = link->hh.next) {
		if (link->state == LINK_READY && (!link->survey.complete || link->survey.running))
			return;
		surveyed |= link->state == LINK_READY;
	}
	if (!surveyed)
		return;
	core->synced = true;
	core_tell(core, EVENT_SYNCED, NULL);
}

/* Those known well may cost four times as much. Honest ones hold a page or two: who keeps back a frame's end, or reads nothing, holds more. */
static struct link *find_dearest(const struct core *core)
{
	struct link *dearest = NULL;
	size_t most = 0;

	for (struct link *link = core->links; link; link = link->hh.next) {
		size_t cost = link->state == LINK_CLOSING ? 0 : link_memory(link) / (link->known ? 4 : 1);
		if (cost > most) {
			dearest = link;
			most = cost;
		}
	}
	return dearest;
}

static void bound_memory(struct core *core)
{
	struct link *link;

	if (core->moved < MOVED_MAX && core->links_memory < LINKS_MEMORY_MAX / 8)
		return;
	core->moved = 0;
	core->links_memory = 0;
	for (link = core->links; link; link = link->hh.next)
		core->links_memory += link_memory(link);
	while (core->links_memory > LINKS_MEMORY_MAX && (link = find_dearest(core))) {
		core->links_memory -= link_memory(link);
		link_offend(link, OFFENCE_FLOOD);
	}
}

/* All that follows from what came. */
void core_turn(struct core *core)
{
	while (core->stirred) {
		core->stirred = false;
		bound_memory(core);
		admit(core);
		spread_own(core);
		spread_due(core);
		pull_records(core);
		pull_missing(core);
		pull_told(core);
		authors_tick(core);
		tend_links(core);
		serve_pump(core);
		if (!core->ending)
			dial_pump(core);
		find_pump(core);
		tell_synced(core);
	}
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t core_deadline_ms(const struct core *core)
{
	uint64_t deadline = least(earn_deadline_ms(&core->earn), rumor_deadline_ms(core->rumor));

	if (core->stirred)
		return 0;
	deadline = least(deadline, least(chase_deadline_ms(core->chase), fetch_deadline_ms(core->fetch)));
	deadline = least(deadline, least(dial_deadline_ms(core), find_deadline_ms(core)));
	deadline = least(deadline, authors_deadline_ms(core));
	if (core->missing_stale)
		deadline = least(deadline, core->missing_ms);
	if (core->absent_ms)
		deadline = least(deadline, core->absent_ms);
	for (const struct link *link = core->links; link; link = link->hh.next)
		deadline = least(deadline, link_deadline_ms(link));
	return deadline;
}
