#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "core_private.h"

#define EVENTS_MIN 16
#define CLOSING_MAX 1024 /* links that the shell has still to close: small */
#define EVENTS_MAX 65536 /* of a shell that does not take them: later ones are lost */

/* ---- small things for the others ---- */

static int grow_events(struct core *core)
{
	size_t capacity = core->event_capacity ? 2 * core->event_capacity : EVENTS_MIN;
	struct event *events = capacity <= EVENTS_MAX ? calloc(capacity, sizeof(*events)) : NULL;

	if (!events)
		return -ENOMEM;
	for (size_t i = 0; i < core->event_count; i++)
		events[i] = core->events[(core->event_first + i) % core->event_capacity];
	free(core->events);
	core->events = events;
	core->event_first = 0;
	core->event_capacity = capacity;
	return 0;
}

struct event *core_tell(struct core *core, enum event_kind kind, const struct link *link)
{
	if (core->event_count == core->event_capacity && grow_events(core) < 0)
		return NULL;
	struct event *event = &core->events[(core->event_first + core->event_count++) % core->event_capacity];
	*event = (struct event){ .kind = kind };
	if (link) {
		event->session = link->session;
		event->device = link->device;
		event->person = meet_person(link);
		strcpy(event->address, link->address);
	}
	return event;
}

void core_send_work(struct core *core, struct work *work)
{
	if (!work)
		return;
	work->next = NULL;
	if (core->works_last)
		core->works_last->next = work;
	else
		core->works = work;
	core->works_last = work;
}

struct link *core_find(struct core *core, uint64_t session)
{
	struct link *link;

	HASH_FIND(hh, core->links, &session, sizeof(session), link);
	return link;
}

struct link *core_find_device(struct core *core, const struct id *device, const struct link *but)
{
	for (struct link *link = core->links; link; link = link->hh.next)
		if (link != but && link->state == LINK_READY && id_equal(&link->device, device))
			return link;
	return NULL;
}

struct job *core_job(struct core *core, struct work *work, enum job_kind kind)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->kind = kind;
	job->token = work->token = ++core->last_token;
	HASH_ADD(hh, core->jobs, token, sizeof(job->token), job);
	if (job->hh.tbl)
		return job;
	free(job);
	return NULL;
}

static struct job *find_job(struct core *core, uint64_t token)
{
	struct job *job;

	HASH_FIND(hh, core->jobs, &token, sizeof(token), job);
	return job;
}

int core_remember(struct core *core, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct work *work = work_new(WORK_REMEMBER, core->depot);

	if (!work)
		return -ENOMEM;
	work_put_fact(work, key, key_size, value, value_size);
	core_send_work(core, work);
	return 0;
}

uint32_t core_chance(struct core *core)
{
	uint32_t number;

	clock_random(core->clock, &number, sizeof(number));
	return number;
}

static void enter(struct core *core)
{
	core->now_ms = clock_now_ms(core->clock);
}

/* ---- a node ---- */

static int begin(struct core *core)
{
	const struct depot *depot = core->depot;
	struct head own;

	core->book = book_new(core->clock);
	core->rumor = rumor_new();
	core->chase = chase_new();
	core->fetch = fetch_new();
	authors_refresh(core);
	if (!core->book || !core->rumor || !core->chase || !core->fetch || survey_follows(core) < 0)
		return -ENOMEM;
	core->has_own = depot->calls->head(depot->context, &depot->key->public, &own) == 0;
	core->own_seq = core->has_own ? own.seq : 0;
	if (core->has_own)
		core->own_record = own.record;
	handshake_server_init(&core->server, depot->key, &core->options.network, core->clock);
	earn_init(&core->earn, core->now_ms);
	dial_load(core);
	return 0;
}

struct core *core_new(const struct core_options *options, const struct depot *depot)
{
	struct core *core = calloc(1, sizeof(*core));

	if (!core)
		return NULL;
	core->options = *options;
	core->depot = depot;
	core->clock = &core->options.clock;
	core->missing_stale = core->stirred = true;
	bytes_init(&core->packet, PACKET_SIZE_MAX);
	enter(core);
	if (begin(core) < 0) {
		core_free(core);
		return NULL;
	}
	return core;
}

static void free_lists(struct core *core)
{
	struct work *work, *next_work;
	struct job *job, *next_job;
	struct want *want, *next_want;

	LL_FOREACH_SAFE(core->works, work, next_work)
		work_free(work);
	HASH_ITER(hh, core->jobs, job, next_job) {
		HASH_DEL(core->jobs, job);
		free(job);
	}
	LL_FOREACH_SAFE(core->wants, want, next_want)
		free(want);
	free(core->events);
	free(core->followed);
	bytes_finish(&core->packet);
}

void core_free(struct core *core)
{
	struct link *link, *next;

	if (!core)
		return;
	core->ending = true;
	HASH_ITER(hh, core->links, link, next)
		link_free(link);
	free_lists(core);
	book_free(core->book);
	authors_finish(core);
	rumor_free(core->rumor);
	chase_free(core->chase);
	fetch_free(core->fetch);
	handshake_server_finish(&core->server);
	free(core);
}

void core_goodbye(struct core *core)
{
	struct link *link, *next;

	enter(core);
	core->ending = true;
	HASH_ITER(hh, core->links, link, next)
		link_close(link, -ESHUTDOWN);
}

/* ---- sessions ---- */

/* Connections of one host; this machine itself is not counted: there, others share it. */
static unsigned count_from(const struct core *core, const char *address)
{
	char host[ADDRESS_SIZE_MAX], other[ADDRESS_SIZE_MAX];
	uint16_t port;
	unsigned count = 0;

	if (address_split(address, host, &port) < 0 || address_scope(host) == ADDRESS_LOOPBACK)
		return 0;
	for (const struct link *link = core->links; link; link = link->hh.next)
		count += !link->outgoing && link->state != LINK_CLOSING &&
			 address_split(link->address, other, &port) == 0 && strcmp(host, other) == 0;
	return count;
}

/* Too many handshakes are under way: the oldest that said nothing ends, else the oldest. Who means it comes through. */
static void make_way(struct core *core)
{
	struct link *loser = NULL;

	for (struct link *link = core->links; link; link = link->hh.next)
		if (!link->outgoing && link->state == LINK_GREETING && (!loser || (loser->received > 0 && link->received == 0)))
			loser = link;
	if (!loser)
		return;
	core->counts.refused++;
	link_close(loser, -EBUSY);
}

static bool is_refused(struct core *core, const char *address, bool outgoing)
{
	if (core->ending || HASH_COUNT(core->links) >= SESSIONS_MAX + HALF_OPEN_MAX + CLOSING_MAX)
		return true;
	if (outgoing)
		return false;
	if (count_from(core, address) >= SESSIONS_PER_ADDRESS_MAX)
		return true;
	if (core->half_open >= HALF_OPEN_MAX)
		make_way(core);
	return core->half_open >= HALF_OPEN_MAX;
}

uint64_t core_connected(struct core *core, const char *address, bool outgoing, const struct id *expected)
{
	struct link *link = NULL;

	enter(core);
	core->stirred = true;
	if (outgoing && core->dialling > 0)
		core->dialling--;
	handshake_server_tick(&core->server, core->clock);
	bool scout = outgoing && find_dialled(core, address);
	if (!is_refused(core, address, outgoing))
		link = link_new(core, address, outgoing, expected);
	if (link) {
		link->scout = scout;
		return link->session;
	}
	core->counts.refused++;
	if (outgoing)
		book_ended(core->book, address, false);
	return 0;
}

void core_unreachable(struct core *core, const char *address)
{
	enter(core);
	core->stirred = true;
	if (core->dialling > 0)
		core->dialling--;
	find_dialled(core, address);
	dial_failed(core, address);
}

int core_take(struct core *core, uint64_t session, const uint8_t *bytes, size_t size)
{
	enter(core);
	struct link *link = core_find(core, session);
	return link ? link_take(link, bytes, size) : -ENOENT;
}

bool core_give(struct core *core, uint64_t session, struct bytes *out, size_t size_max)
{
	enter(core);
	struct link *link = core_find(core, session);
	return link && link_give(link, out, size_max);
}

void core_closed(struct core *core, uint64_t session)
{
	enter(core);
	struct link *link = core_find(core, session);
	if (!link)
		return;
	link_end(link, link->streaming && !link->stream.closed_in ? -ECONNRESET : 0);
	link_free(link);
	core->stirred = true;
}

void core_unsent(struct core *core, uint64_t session, size_t size)
{
	struct link *link = core_find(core, session);

	if (!link)
		return;
	core->stirred |= size < link->unsent;
	link->unsent = size;
}

/* ---- from this node ---- */

void core_appended(struct core *core)
{
	core->appended = core->stirred = true;
}

void core_follows_changed(struct core *core)
{
	struct id *before = core->followed;
	size_t count = core->followed_count;
	struct link *link, *next;

	enter(core);
	authors_refresh(core);
	core->followed = NULL;
	if (survey_follows(core) < 0) {
		core->followed = before;
		return;
	}
	survey_unfollow(core, before, before ? count : 0);
	free(before);
	HASH_ITER(hh, core->links, link, next) {
		if (link->state != LINK_READY)
			continue;
		link->follow_due = true;
		memset(link->told, 0, sizeof(link->told));
		survey_stop(link);
		survey_start(link, 0);
	}
	core->missing_stale = core->stirred = core->find.stale = true;
	core->synced = false;
}

int core_connect(struct core *core, const char *address, const struct id *expected)
{
	enter(core);
	core->stirred = true;
	int err = book_add(core->book, address, expected, BOOK_WANTED);
	return err < 0 ? err : 0;
}

void core_want(struct core *core, const struct id *version, uint64_t token, uint64_t until_ms)
{
	enter(core);
	pull_want(core, version, token, until_ms);
	core->stirred = true;
}

/* ---- time and work ---- */

void core_tick(struct core *core)
{
	struct link *link, *next;

	enter(core);
	handshake_server_tick(&core->server, core->clock);
	HASH_ITER(hh, core->links, link, next)
		link_tick(link);
	chase_tick(core->chase, core->now_ms);
	fetch_tick(core->fetch, core->now_ms);
	core->stirred = true;
}

struct work *core_next_work(struct core *core)
{
	enter(core);
	core_turn(core);
	struct work *work = core->works;
	if (work) {
		core->works = work->next;
		if (!core->works)
			core->works_last = NULL;
		work->next = NULL;
	}
	return work;
}

static void done_job(struct core *core, struct work *work)
{
	struct job *job = find_job(core, work->token);

	if (!job)
		return;
	HASH_DEL(core->jobs, job);
	switch (job->kind) {
	case JOB_TAKE:
	case JOB_INTRO:
		pull_taken(core, job, work);
		break;
	case JOB_PIECES:
		pull_pieces_done(core, job, work);
		break;
	}
	free(job);
}

void core_work_done(struct core *core, struct work *work)
{
	enter(core);
	struct link *link = core_find(core, work->session);

	core->stirred = true;
	switch (work->kind) {
	case WORK_RECORDS:
	case WORK_PIECES:
		done_job(core, work);
		break;
	case WORK_ANSWER:
		core->answering--;
		if (link)
			serve_answered(link, work);
		break;
	case WORK_CHECK:
		if (link)
			ask_checked(link, work);
		break;
	case WORK_PUZZLE:
		if (link)
			greet_solved(link, work);
		break;
	case WORK_SYNC:
		spread_synced(core, work);
		break;
	case WORK_REMEMBER:
		break;
	}
	work_free(work);
}

bool core_next_event(struct core *core, struct event *out)
{
	enter(core);
	core_turn(core);
	if (core->event_count == 0)
		return false;
	*out = core->events[core->event_first];
	core->event_first = (core->event_first + 1) % core->event_capacity;
	core->event_count--;
	return true;
}
