#include <errno.h>
#include <string.h>

#include "core_private.h"

unsigned ask_count(const struct link *link)
{
	return link->ask_count;
}

static struct ask *find_free(struct link *link)
{
	for (unsigned i = 0; i < ASKS_MAX; i++)
		if (link->asks[i].kind == ASK_NOTHING)
			return &link->asks[i];
	return NULL;
}

bool ask_room(const struct link *link)
{
	return link->state == LINK_READY && ask_count(link) < QUERIES_MAX &&
	       find_free((struct link *)link);
}

struct ask *ask_begin(struct link *link, enum ask_kind kind)
{
	struct core *core = link->core;

	if (!ask_room(link) || core->ending)
		return NULL;
	struct ask *ask = find_free(link);
	if (ask_count(link) == 0)
		link->page_ms = core->now_ms;
	if (link->nonce == 0)
		clock_random(core->clock, &link->nonce, sizeof(link->nonce));
	*ask = (struct ask){ .kind = kind, .nonce = ++link->nonce, .asked_ms = core->now_ms };
	link->ask_count++;
	return ask;
}

/* ---- asking ---- */

static bool ask_records(struct link *link)
{
	struct core *core = link->core;
	struct chase_query query;
	struct bytes packet;

	if (!ask_room(link) || !chase_next(core->chase, link->session, core->now_ms, &query))
		return false;
	struct ask *ask = ask_begin(link, ASK_RECORDS);
	if (!ask)
		return false;
	ask->number = query.number;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_query_records(&packet, ask->nonce, &query.device, query.from, query.to);
	link_send(link, &packet, false);
	return true;
}

static bool ask_pieces(struct link *link)
{
	struct core *core = link->core;
	struct fetch_batch batch;
	struct bytes packet;

	if (!ask_room(link) || !fetch_next(core->fetch, link->session, core->now_ms, &batch))
		return false;
	struct ask *ask = ask_begin(link, ASK_PIECES);
	if (!ask)
		return false;
	ask->number = batch.number;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_query_pieces(&packet, ask->nonce, batch.names, batch.count);
	link_send(link, &packet, false);
	return true;
}

void ask_pump(struct link *link)
{
	if (link->core->ending)
		return;
	while (survey_pump(link))
		;
	dial_ask(link);
	authors_ask(link);
	while (ask_records(link))
		;
	while (ask_pieces(link))
		;
}

/* ---- answers ---- */

static struct ask *find_ask(struct link *link, uint64_t nonce)
{
	for (unsigned i = 0; i < ASKS_MAX; i++)
		if (link->asks[i].kind != ASK_NOTHING && link->asks[i].nonce == nonce)
			return &link->asks[i];
	return NULL;
}

static bool is_answer(const struct ask *ask, const struct page *page)
{
	static const enum query_field fields[] = {
		[ASK_INTRO] = QUERY_RECORDS, [ASK_HEADS] = QUERY_HEADS, [ASK_RECORDS] = QUERY_RECORDS,
		[ASK_PIECES] = QUERY_PIECES, [ASK_PEERS] = QUERY_PEERS, [ASK_AUTHORS] = QUERY_AUTHORS,
	};

	return ask && ask->kind != ASK_NOTHING && !ask->came && page->field == fields[ask->kind];
}

/* Nobody asked, or not this: told before a signature costs anything. */
int ask_page(struct link *link, const struct packet *packet)
{
	struct core *core = link->core;
	struct page page;

	if (page_read(&page, packet->statement.bytes, packet->statement.size) < 0) {
		link_offend(link, OFFENCE_MALFORMED);
		return -EBADMSG;
	}
	struct ask *ask = find_ask(link, page.nonce);
	if (!is_answer(ask, &page) || !id_equal(&page.cb, &link->cb)) {
		link_offend(link, OFFENCE_UNASKED);
		return -EPROTO;
	}
	struct work *work = work_new(WORK_CHECK, core->depot);
	if (work)
		bytes_put(&work->input, packet->statement.bytes, packet->statement.size);
	if (!work || bytes_error(&work->input) < 0) {
		work_free(work);
		link_close(link, -ENOMEM);
		return -ENOMEM;
	}
	work->session = link->session;
	work->token = page.nonce;
	work->device = link->device;
	work->signature = packet->statement.signature;
	ask->came = true;
	link->ask_count--;
	link->page_ms = core->now_ms;
	core->counts.pages_in++;
	core_send_work(core, work);
	return 0;
}

static void count_for_receipt(struct link *link, const struct ask *ask, const struct work *work)
{
	struct receipt_amount amount;

	receipt_weigh(&amount, work->input.data, work->input.size);
	receipt_add(&link->receipts.got, &amount);
	if (!link->receipts.got_from_ms && amount.bytes > 0)
		link->receipts.got_from_ms = ask->asked_ms;
	meet_thank(link);
}

static void route(struct link *link, const struct ask *ask, const struct page *page, struct work *work)
{
	switch (ask->kind) {
	case ASK_INTRO:
		meet_intro(link, ask, page);
		break;
	case ASK_HEADS:
		survey_take(link, ask, page);
		break;
	case ASK_RECORDS:
	case ASK_PIECES:
		pull_page(link, ask, page, work);
		break;
	case ASK_PEERS:
		dial_told(link, page);
		break;
	case ASK_AUTHORS:
		authors_take(link, ask, page);
		break;
	case ASK_NOTHING:
		break;
	}
}

void ask_checked(struct link *link, struct work *work)
{
	struct ask *slot = find_ask(link, work->token);
	struct page page;

	if (link->state == LINK_CLOSING || !slot)
		return;
	struct ask ask = *slot;
	*slot = (struct ask){ .kind = ASK_NOTHING };
	if (work->result == -EKEYREJECTED || work->result == -EBADMSG) {
		link_offend(link, OFFENCE_SIGNATURE);
	} else if (work->result < 0 || page_read(&page, work->input.data, work->input.size) < 0) {
		link_close(link, work->result < 0 ? work->result : -EBADMSG);
	} else {
		count_for_receipt(link, &ask, work);
		route(link, &ask, &page, work);
	}
}
