#include <stdlib.h>
#include <string.h>

#include "core_private.h"

static void view_link(const struct link *link, struct peer_view *out)
{
	*out = (struct peer_view){
		.session = link->session, .device = link->device, .person = meet_person(link),
		.outgoing = link->outgoing, .ready = link->state == LINK_READY, .since_ms = link->since_ms,
		.received = link->received, .sent = link->sent, .records = link->records, .pieces = link->pieces,
		.missing = chase_behind(link->core->chase, link->session), .round_trip_ms = link->round_trip_ms,
		.offences = link->offences,
	};
	strcpy(out->address, link->address);
}

struct visit {
	const struct core *core;
	void (*visit)(void *context, const struct peer_view *view);
	void *context;
};

static void visit_place(void *context, const char *address, const struct id *device, uint64_t worked_ms)
{
	const struct visit *v = context;
	struct peer_view view = { .device = *device, .outgoing = true };

	for (const struct link *link = v->core->links; link; link = link->hh.next)
		if (link->outgoing && link->state != LINK_CLOSING && strcmp(link->address, address) == 0)
			return;
	strcpy(view.address, address);
	v->visit(v->context, &view);
}

void core_each_peer(struct core *core, void (*visit)(void *context, const struct peer_view *view), void *context)
{
	struct visit v = { core, visit, context };
	struct peer_view view;

	for (const struct link *link = core->links; link; link = link->hh.next) {
		if (link->state == LINK_CLOSING)
			continue;
		view_link(link, &view);
		visit(context, &view);
	}
	book_each(core->book, visit_place, &v);
}

static size_t memory_of_lists(const struct core *core)
{
	size_t size = core->event_capacity * sizeof(core->events[0]) + core->followed_count * sizeof(struct id) +
		      core->packet.capacity;

	for (const struct work *work = core->works; work; work = work->next)
		size += sizeof(*work) + work->input.capacity + work->output.capacity;
	for (const struct held *held = core->held; held; held = held->next)
		size += sizeof(*held) + held->pieces.capacity;
	return size + HASH_COUNT(core->jobs) * sizeof(struct job) + core->want_count * sizeof(struct want);
}

void core_count(struct core *core, struct core_counts *out)
{
	struct fetch_counts fetch;
	struct chase_counts chase;

	*out = core->counts;
	fetch_count(core->fetch, &fetch);
	chase_count(core->chase, &chase);
	out->half_open = core->half_open;
	out->missing_logs = chase.behind;
	out->missing_pieces = fetch.pieces;
	out->memory = sizeof(*core) + fetch.memory + chase.memory + book_memory(core->book) +
		      rumor_memory(core->rumor) + authors_memory(core) + memory_of_lists(core);
	for (const struct link *link = core->links; link; link = link->hh.next) {
		out->sessions += link->state == LINK_READY;
		out->queued_bytes += link_waiting(link);
		out->memory += link_memory(link);
	}
}
