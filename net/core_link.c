#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core_private.h"

#define IN_SIZE_MAX (FRAME_SIZE_MAX + 256 * 1024) /* a frame, and what is read with its end */
#define OUT_SIZE_MAX (FRAME_SIZE_MAX + 64)
#define KEEP_SIZE_MAX (16 * 1024)                 /* empty buffers above are given back: most sessions are idle */

/* ---- queues ---- */

static void parcels_clear(struct parcels *p)
{
	for (struct parcel *parcel = p->first, *next; parcel; parcel = next) {
		next = parcel->next;
		free(parcel);
	}
	*p = (struct parcels){ 0 };
}

static int parcels_put(struct parcels *p, const void *bytes, size_t size, bool final)
{
	struct parcel *parcel = malloc(sizeof(*parcel) + size);

	if (!parcel)
		return -ENOMEM;
	*parcel = (struct parcel){ .size = size, .final = final };
	if (size > 0)
		memcpy(parcel->bytes, bytes, size);
	if (p->last)
		p->last->next = parcel;
	else
		p->first = parcel;
	p->last = parcel;
	return 0;
}

static struct parcel *parcels_take(struct parcels *p)
{
	struct parcel *parcel = p->first;

	if (parcel)
		p->first = parcel->next;
	if (!p->first)
		p->last = NULL;
	return parcel;
}

static void give_back(struct bytes *b)
{
	bytes_clear(b);
	if (b->capacity > KEEP_SIZE_MAX)
		bytes_finish(b);
}

/* ---- begin and end ---- */

static bool is_half_open(const struct link *link)
{
	return !link->outgoing && link->state < LINK_READY;
}

void link_set_state(struct link *link, enum link_state state)
{
	struct core *core = link->core;

	core->half_open -= is_half_open(link);
	link->state = state;
	core->half_open += is_half_open(link);
	core->server.loaded = core->half_open > HALF_OPEN_MAX / 2;
	core->stirred = true;
}

struct link *link_new(struct core *core, const char *address, bool outgoing, const struct id *expected)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->core = core;
	link->outgoing = outgoing;
	link->session = core->last_session + 1;
	strncpy(link->address, address, sizeof(link->address) - 1);
	link->survey.next_ms = UINT64_MAX;
	link->begun_ms = link->heard_ms = link->page_ms = link->read_ms = core->now_ms;
	link->since_ms = clock_time_ms(core->clock);
	link->heard = link->said = (struct allowance){ ALLOWANCE_MAX, core->now_ms };
	bytes_init(&link->in, IN_SIZE_MAX);
	bytes_init(&link->out, OUT_SIZE_MAX);
	bytes_init(&link->survey.message, RECONCILE_MESSAGE_MAX + 1024);
	receipts_init(&link->receipts);
	link->handshake = greet_begin(link, expected);
	if (link->handshake)
		HASH_ADD(hh, core->links, session, sizeof(link->session), link);
	if (!link->handshake || !link->hh.tbl) {
		handshake_free(link->handshake);
		free(link);
		return NULL;
	}
	core->half_open += is_half_open(link);
	core->server.loaded = core->half_open > HALF_OPEN_MAX / 2;
	core->last_session = link->session;
	if (outgoing)
		greet_advance(link);
	return link;
}

/* All that a link that ends has no use for. Twice does no harm. */
static void release(struct link *link)
{
	survey_stop(link);
	handshake_free(link->handshake);
	link->handshake = NULL;
	sodium_memzero(&link->keys, sizeof(link->keys));
	if (link->puzzle)
		link->puzzle->cancelled = 1;
	link->puzzle = NULL;
	parcels_clear(&link->urgent);
	parcels_clear(&link->bulk);
	link->queued = 0;
	bytes_finish(&link->in);
	bytes_finish(&link->survey.message);
	receipts_finish(&link->receipts);
	rumor_pruned_finish(&link->pruned);
	free(link->filter);
	link->filter = NULL;
	link->filter_size = 0;
	free(link->notes);
	link->notes = NULL;
	link->note_count = link->note_room = 0;
	for (struct work *work = link->queries, *next; work; work = next) {
		next = work->next;
		work_free(work);
	}
	link->queries = NULL;
	link->core->queries -= link->query_count;
	link->query_count = 0;
}

void link_end(struct link *link, int result)
{
	struct core *core = link->core;

	if (link->state == LINK_CLOSING)
		return;
	bool was_ready = link->state == LINK_READY;
	link->result = result;
	if (link->state == LINK_WAITING)
		earn_leave(&core->earn, link->session, core->now_ms);
	link_set_state(link, LINK_CLOSING);
	chase_leave(core->chase, link->session);
	fetch_leave(core->fetch, link->session);
	rumor_gone(core->rumor, link->session);
	push_gone(link);
	dial_ended(link);
	release(link);
	if (link->streaming && stream_push(&link->stream, NULL, 0, true, core->now_ms, &link->out) < 0)
		link->out.error = 0; /* no room: the peer sees a cut */
	core->find.stale |= was_ready;
	if (was_ready) {
		struct event *event = core_tell(core, EVENT_GONE, link);
		if (event)
			event->result = result;
	}
}

void link_close(struct link *link, int result)
{
	if (link->state == LINK_CLOSING)
		return;
	link_end(link, result);
	struct event *event = core_tell(link->core, EVENT_CLOSE, link);
	if (event)
		event->result = result;
}

void link_offend(struct link *link, enum offence offence)
{
	struct core_counts *counts = &link->core->counts;

	if (link->state == LINK_CLOSING)
		return;
	switch (offence) {
	case OFFENCE_MALFORMED:
		counts->malformed++;
		break;
	case OFFENCE_SIGNATURE:
		counts->bad_signatures++;
		break;
	case OFFENCE_FLOOD:
	case OFFENCE_UNASKED:
		counts->floods++;
		break;
	}
	link->offences++;
	link->apart = true;
	link_close(link, offence == OFFENCE_MALFORMED ? -EBADMSG : offence == OFFENCE_SIGNATURE ? -EKEYREJECTED : -EPROTO);
}

void link_free(struct link *link)
{
	link_end(link, 0);
	link->core->half_open -= is_half_open(link);
	HASH_DEL(link->core->links, link);
	if (link->streaming)
		stream_finish(&link->stream);
	bytes_finish(&link->out);
	free(link);
}

/* ---- in ---- */

static ssize_t take_frame(struct link *link, const uint8_t *bytes, size_t size)
{
	struct core *core = link->core;
	bool final = false;
	ssize_t used = stream_pull(&link->stream, bytes, size, &core->packet, &final);

	if (used < 0) {
		if (used == -ENOMEM)
			link_close(link, (int)used);
		else if (link->state == LINK_OPENING && link->outgoing)
			greet_fail(link, (int)used);
		else
			link_offend(link, OFFENCE_MALFORMED);
		return used;
	}
	if (used > 0 && core->packet.size > 0)
		hear_packet(link, core->packet.data, core->packet.size);
	if (final)
		link_close(link, 0);
	return used;
}

/* Returns how many bytes were used. */
static size_t consume(struct link *link, const uint8_t *bytes, size_t size)
{
	size_t at = 0;

	while (link->handshake || link->streaming) {
		ssize_t used = link->handshake ? greet_take(link, bytes + at, size - at) :
						 take_frame(link, bytes + at, size - at);
		if (used <= 0 || link->state == LINK_CLOSING)
			break;
		at += (size_t)used;
	}
	return at;
}

static void take_more(struct link *link, const uint8_t *bytes, size_t size)
{
	bytes_put(&link->in, bytes, size);
	if (bytes_error(&link->in) < 0) {
		link_offend(link, OFFENCE_FLOOD);
		return;
	}
	size_t used = consume(link, link->in.data, link->in.size);
	if (link->state == LINK_CLOSING)
		return;
	memmove(link->in.data, link->in.data + used, link->in.size - used);
	link->in.size -= used;
	if (link->in.size == 0)
		give_back(&link->in);
}

int link_take(struct link *link, const uint8_t *bytes, size_t size)
{
	if (link->state != LINK_CLOSING) {
		link->heard_ms = link->core->now_ms;
		link->received += size;
		link->core->counts.bytes_in += size;
		link->core->moved += size;
		link->core->stirred = true;
		if (link->in.size == 0) {
			size_t used = consume(link, bytes, size);
			bytes += used;
			size -= used;
		}
		if (size > 0 && link->state != LINK_CLOSING)
			take_more(link, bytes, size);
		give_back(&link->core->packet);
	}
	return link->state != LINK_CLOSING ? 0 : link->result < 0 ? link->result : -EPIPE;
}

/* ---- out ---- */

void link_send(struct link *link, struct bytes *packet, bool bulk)
{
	int err = bytes_error(packet);

	if (link->state != LINK_CLOSING) {
		if (link_waiting(link) == 0)
			link->read_ms = link->core->now_ms;
		if (err == 0)
			err = parcels_put(bulk ? &link->bulk : &link->urgent, packet->data, packet->size, false);
		if (err < 0)
			link_close(link, err);
		else
			link->queued += packet->size;
		link->core->moved += packet->size;
	}
	bytes_finish(packet);
}

size_t link_waiting(const struct link *link)
{
	return link->queued + link->out.size - link->out_at + link->unsent;
}

/* Makes the next frame. */
static bool fill(struct link *link)
{
	struct parcel *parcel = link->streaming ? parcels_take(&link->urgent) : NULL;

	give_back(&link->out);
	link->out_at = 0;
	if (!parcel && link->streaming)
		parcel = parcels_take(&link->bulk);
	if (!parcel)
		return false;
	link->queued -= parcel->size;
	int err = stream_push(&link->stream, parcel->bytes, parcel->size, false, link->core->now_ms, &link->out);
	free(parcel);
	if (err < 0)
		link_close(link, err);
	return link->out.size > 0;
}

bool link_give(struct link *link, struct bytes *out, size_t size_max)
{
	size_t given = 0;

	while (link->out_at < link->out.size || fill(link)) {
		size_t size = link->out.size - link->out_at;
		size = size < size_max - given ? size : size_max - given;
		if (size == 0)
			break;
		bytes_put(out, link->out.data + link->out_at, size);
		link->out_at += size;
		given += size;
	}
	link->sent += given;
	link->core->counts.bytes_out += given;
	if (given > 0 && (link->queries || link->note_count))
		link->core->stirred = true;
	return link->out_at < link->out.size || link->urgent.first || link->bulk.first;
}

/* ---- time ---- */

/* True: bytes wait for it, and it has read none for long. */
static bool is_stuck(struct link *link)
{
	uint64_t read = link->sent - link->unsent;

	if (read != link->read || link_waiting(link) == 0) {
		link->read = read;
		link->read_ms = link->core->now_ms;
	}
	return link->core->now_ms - link->read_ms >= SILENCE_MS_MAX;
}

static void tick_ready(struct link *link)
{
	uint64_t now = link->core->now_ms;

	if (now - link->heard_ms >= SILENCE_MS_MAX || is_stuck(link) || (ask_count(link) > 0 && now - link->page_ms >= PAGE_MS_MAX)) {
		link->core->counts.timeouts++;
		link_close(link, -ETIMEDOUT);
		return;
	}
	if (now - link->heard_ms >= IDLE_MS && (!link->ping_ms || now - link->ping_ms >= IDLE_MS))
		meet_ping(link);
}

void link_tick(struct link *link)
{
	if (link->state == LINK_READY) {
		tick_ready(link);
	} else if (link->state < LINK_READY && link->core->now_ms - link->begun_ms >= HANDSHAKE_MS_MAX) {
		link->core->counts.timeouts++;
		link_close(link, -ETIMEDOUT);
	}
}

uint64_t link_deadline_ms(const struct link *link)
{
	if (link->state == LINK_CLOSING)
		return UINT64_MAX;
	if (link->state < LINK_READY)
		return link->begun_ms + HANDSHAKE_MS_MAX;
	uint64_t deadline = link->heard_ms + SILENCE_MS_MAX;
	uint64_t idle = link->heard_ms + IDLE_MS;
	if (link->ping_ms && link->ping_ms + IDLE_MS > idle)
		idle = link->ping_ms + IDLE_MS;
	deadline = idle < deadline ? idle : deadline;
	if (link_waiting(link) > 0 && link->read_ms + SILENCE_MS_MAX < deadline)
		deadline = link->read_ms + SILENCE_MS_MAX;
	if (ask_count(link) > 0 && link->page_ms + PAGE_MS_MAX < deadline)
		deadline = link->page_ms + PAGE_MS_MAX;
	if (!link->survey.running && link->survey.next_ms < deadline)
		deadline = link->survey.next_ms;
	if (meet_may_follow(link) && link->filter_ms < deadline)
		deadline = link->filter_ms;
	if (link->core->authors.document_count > 0 && !link->authors_out && link->authors_ms < deadline)
		deadline = link->authors_ms;
	return link->core->options.dial && link->peers_ms < deadline ? link->peers_ms : deadline;
}

size_t link_memory(const struct link *link)
{
	size_t size = sizeof(*link) + link->in.capacity + link->out.capacity + link->queued + link->unsent + link->filter_size +
		      link->note_room * sizeof(link->notes[0]) +
		      link->survey.message.capacity + rumor_pruned_memory(&link->pruned);

	for (const struct work *work = link->queries; work; work = work->next)
		size += sizeof(*work) + work->input.capacity;
	return size;
}
