#include <errno.h>

#include "core_private.h"

bool allowance_take(struct allowance *a, uint64_t now_ms, uint64_t cost)
{
	uint64_t more = (now_ms - a->ms) * RECORDS_PER_SECOND_MAX / 1000;

	if (more > 0) {
		a->left = more >= ALLOWANCE_MAX - a->left ? ALLOWANCE_MAX : a->left + more;
		a->ms = now_ms;
	}
	if (a->left < cost)
		return false;
	a->left -= cost;
	return true;
}

#define DAY_MS UINT64_C(86400000)

bool budget_has(struct budget *b, uint64_t now_ms, uint64_t day)
{
	uint64_t back = (now_ms - b->ms) * day / DAY_MS;

	if (back > 0) {
		b->used -= back < b->used ? back : b->used;
		b->ms = now_ms;
	}
	if (b->used > 2 * day)
		b->used = 2 * day;
	return b->used < day;
}

void budget_spend(struct budget *b, uint64_t cost)
{
	b->used += cost;
}

static int hear_query(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size)
{
	return serve_query(link, &packet->query, bytes, size);
}

static int hear_ping(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size)
{
	struct bytes pong;

	if (link_waiting(link) > SEND_QUEUE_MAX)
		return 0; /* who does not read needs no answer */
	bytes_init(&pong, PACKET_SIZE_MAX);
	packet_put_ping(&pong, PACKET_PONG, packet->token);
	link_send(link, &pong, false);
	return 0;
}

/* For those that need only what is decoded. */
#define PLAIN(name, function) \
	static int name(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size) \
	{ \
		return function(link, packet); \
	}
PLAIN(hear_ready, meet_ready)
PLAIN(hear_page, ask_page)
PLAIN(hear_note, spread_note)
PLAIN(hear_graft, spread_graft)
PLAIN(hear_prune, spread_prune)
PLAIN(hear_follow, spread_filter)
PLAIN(hear_thanks, meet_thanks)
PLAIN(hear_welcome, meet_welcome)
PLAIN(hear_pong, meet_pong)

/* cost: of the allowance for what nobody asked for, where a record costs 1. Queries and pages are bounded by number. */
static const struct {
	enum link_state state;
	unsigned cost;
	int (*hear)(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size);
} kinds[PACKET_COUNT] = {
	[PACKET_READY] = { LINK_OPENING, 0, hear_ready },
	[PACKET_QUERY] = { LINK_READY, 0, hear_query },
	[PACKET_PAGE] = { LINK_READY, 0, hear_page },
	[PACKET_PUSH] = { LINK_READY, 1, push_take },
	[PACKET_NOTE] = { LINK_READY, 1, hear_note },
	[PACKET_GRAFT] = { LINK_READY, 8, hear_graft },
	[PACKET_PRUNE] = { LINK_READY, 1, hear_prune },
	[PACKET_FOLLOW] = { LINK_READY, 200, hear_follow },
	[PACKET_THANKS] = { LINK_READY, 8, hear_thanks },
	[PACKET_WELCOME] = { LINK_READY, 8, hear_welcome },
	[PACKET_PING] = { LINK_READY, 8, hear_ping },
	[PACKET_PONG] = { LINK_READY, 8, hear_pong },
};

#define PEERS_COST 400 /* answered at once, with a signature */

static uint64_t cost_of(const struct packet *packet)
{
	uint64_t cost = kinds[packet->kind].cost;

	if (packet->kind == PACKET_PUSH)
		cost += packet->push.record_count;
	else if (packet->kind == PACKET_NOTE)
		cost += packet->note.count / 16;
	else if (packet->kind == PACKET_QUERY && packet->query.field == QUERY_PEERS)
		cost += PEERS_COST;
	return cost;
}

int hear_packet(struct link *link, const uint8_t *bytes, size_t size)
{
	struct packet packet;

	if (packet_read(&packet, bytes, size) < 0 || link->state != kinds[packet.kind].state) {
		link_offend(link, OFFENCE_MALFORMED);
		return -EPROTO;
	}
	if (!allowance_take(&link->heard, link->core->now_ms, cost_of(&packet))) {
		link_offend(link, OFFENCE_FLOOD);
		return -EPROTO;
	}
	return kinds[packet.kind].hear(link, &packet, bytes, size);
}
