#include <errno.h>
#include <utlist.h>

#include "core_private.h"

static int keep_query(struct link *link, const uint8_t *bytes, size_t size)
{
	struct core *core = link->core;
	struct work *work = work_new(WORK_ANSWER, core->depot);
	struct packet packet;

	if (!work)
		return -ENOMEM;
	bytes_put(&work->input, bytes, size);
	int err = bytes_error(&work->input);
	if (err == 0)
		err = packet_read(&packet, work->input.data, work->input.size); /* again, to borrow from what is kept */
	if (err < 0) {
		work_free(work);
		return err;
	}
	work->session = link->session;
	work->cb = link->cb;
	work->query = packet.query;
	LL_APPEND(link->queries, work);
	link->query_count++;
	core->queries++;
	return 0;
}

int serve_query(struct link *link, const struct query *query, const uint8_t *bytes, size_t size)
{
	struct core *core = link->core;

	if (link->query_count + link->answering >= QUERIES_MAX) {
		core->counts.queries_dropped++;
		link_offend(link, OFFENCE_FLOOD);
		return -EPROTO;
	}
	if (query->field == QUERY_HEADS && query->mode == HEADS_RANGES)
		link->ranged_ms = core->now_ms;
	int err = query->field == QUERY_PEERS ? dial_answer(link, query) : keep_query(link, bytes, size);
	if (err < 0)
		link_close(link, err);
	return err;
}

/* Records and pieces wait for thanks; what tells of them does not. */
static struct work *next_query(struct link *link)
{
	bool wait = receipts_wait(&link->receipts);
	struct work *work;

	LL_FOREACH(link->queries, work)
		if (!wait || (work->query.field != QUERY_RECORDS && work->query.field != QUERY_PIECES))
			return work;
	return NULL;
}

/* Of all sessions together pages may take half of LINKS_MEMORY_MAX; who has taken all it was given gets one even so. */
static bool has_budget(const struct link *link)
{
	const struct core *core = link->core;
	size_t used = core->links_memory + (size_t)core->answering * PAGE_SIZE_AIM;

	if (link->answering == 0 && link_waiting(link) == 0)
		return used < LINKS_MEMORY_MAX / 4 * 3;
	return used < LINKS_MEMORY_MAX / 2;
}

static void answer_next(struct link *link)
{
	struct core *core = link->core;
	struct work *work;

	while (link->state == LINK_READY && link->answering < ANSWERS_MAX && link_waiting(link) <= SEND_QUEUE_MAX &&
	       has_budget(link) && (work = next_query(link))) {
		LL_DELETE(link->queries, work);
		work->next = NULL;
		work->time_ms = clock_time_ms(core->clock);
		link->query_count--;
		core->queries--;
		link->answering++;
		core->answering++;
		core->served_last = link->session;
		core_send_work(core, work);
	}
}

/* In turn: after the one that was served last, so that the first ones do not take all. */
void serve_pump(struct core *core)
{
	struct link *link, *next;
	uint64_t last = core->served_last;

	if (core->queries == 0)
		return;
	HASH_ITER(hh, core->links, link, next)
		if (link->session > last)
			answer_next(link);
	HASH_ITER(hh, core->links, link, next)
		if (link->session <= last)
			answer_next(link);
}

static void count_served(struct link *link, const struct work *work)
{
	struct core_counts *counts = &link->core->counts;
	struct receipt_amount amount;

	receipt_weigh(&amount, work->output.data, work->output.size);
	receipt_add(&link->receipts.served, &amount);
	counts->pages_out++;
	counts->records_out += amount.records;
	counts->pieces_out += amount.pieces;
}

void serve_answered(struct link *link, struct work *work)
{
	struct bytes packet;

	if (link->state != LINK_READY)
		return;
	link->answering--;
	link->core->links_memory += work->output.size;
	if (work->result == -EBADMSG && work->query.field == QUERY_HEADS) { /* ranges that are none */
		link_offend(link, OFFENCE_MALFORMED);
		return;
	}
	if (work->result < 0) {
		link_close(link, work->result);
		return;
	}
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_statement(&packet, PACKET_PAGE, work->output.data, work->output.size, &work->signature);
	count_served(link, work);
	link_send(link, &packet, true);
}
