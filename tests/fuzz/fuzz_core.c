/*
 * fuzz_core.c - a session after its handshake, with a peer that has valid keys and says what it likes.
 *
 * The input is a list of doings, each an octet and what it needs:
 *   0 size u16, bytes    one packet, as it is
 *   1 query u8, count u8, size u16, bytes   a signed page of these items, answering that query of the core's
 *   2 ms u16             time passes
 *   3                    the node appends a record
 *   4 size u16, bytes    bytes that no stream made
 *   5 bytes u16          so much that it gave is not read yet
 */
#include <errno.h>
#include <stdint.h>

#include "core_peer.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUERIES_KEPT 32

struct play {
	struct wire w;
	struct peer peer;
	struct side node;
	struct query queries[QUERIES_KEPT]; /* of the core, only nonce and field */
	size_t query_count;
};

static void note_queries(struct play *p)
{
	struct packet packet;
	struct bytes bytes;
	bool final = false;

	bytes_init(&bytes, PACKET_SIZE_MAX);
	for (ssize_t used = 1; used > 0 && !final;) {
		used = stream_pull(&p->peer.stream, p->peer.in.data, p->peer.in.size, &bytes, &final);
		if (used <= 0)
			break;
		peer_eat(&p->peer, (size_t)used);
		/* What a core says is always right. */
		if (bytes.size > 0 && packet_read(&packet, bytes.data, bytes.size) < 0)
			abort();
		if (bytes.size > 0 && packet.kind == PACKET_QUERY)
			p->queries[p->query_count++ % QUERIES_KEPT] = (struct query){ .nonce = packet.query.nonce,
										      .field = packet.query.field };
	}
	bytes_finish(&bytes);
}

static const uint8_t *take_bytes(struct play *p, size_t *out_size)
{
	*out_size = wire_u16(&p->w);
	if (*out_size > p->w.left)
		*out_size = p->w.left;
	return wire_bytes(&p->w, *out_size);
}

static void say_page(struct play *p)
{
	static const enum page_order orders[] = { ORDER_ASKED, ORDER_SEQ, ORDER_ASKED };
	size_t index = wire_u8(&p->w), size;
	size_t count = wire_u8(&p->w);
	const uint8_t *items = take_bytes(p, &size);
	struct bytes statement, packet;
	struct signature signature;

	if (p->query_count == 0)
		return;
	size_t kept = p->query_count < QUERIES_KEPT ? p->query_count : QUERIES_KEPT;
	const struct query *query = &p->queries[index % kept];
	struct page page = { .nonce = query->nonce, .count = count, .time_ms = 1, .field = query->field, .cb = p->peer.cb,
			     .item_count = count, .items_bytes = items, .items_size = size,
			     .order = query->field <= QUERY_PIECES ? orders[query->field] : ORDER_NONE };
	bytes_init(&statement, PAGE_STATEMENT_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	if (page_make(&page, p->peer.key, &statement, &signature) == 0) {
		packet_put_statement(&packet, PACKET_PAGE, statement.data, statement.size, &signature);
		if (bytes_error(&packet) == 0)
			peer_say(&p->peer, packet.data, packet.size);
	}
	bytes_finish(&statement);
	bytes_finish(&packet);
}

static void say_bytes(struct play *p, bool framed)
{
	size_t size;
	const uint8_t *bytes = take_bytes(p, &size);

	if (!bytes || size == 0)
		return;
	uint8_t *exact = malloc(size);
	memcpy(exact, bytes, size);
	if (framed) {
		peer_say(&p->peer, exact, size);
	} else {
		bytes_put(&p->peer.out, exact, size);
		peer_flush(&p->peer);
	}
	free(exact);
}

static void do_one(struct play *p)
{
	switch (wire_u8(&p->w) % 6) {
	case 0: say_bytes(p, true); break;
	case 1: say_page(p); break;
	case 2: peer_wait(&p->peer, wire_u16(&p->w)); break;
	case 3:
		memory_append_vote(p->node.memory, p->w.left);
		core_appended(p->node.core);
		peer_drain(&p->peer);
		break;
	case 4: say_bytes(p, false); break;
	case 5:
		core_unsent(p->node.core, p->peer.session, (size_t)wire_u16(&p->w) * 256);
		peer_drain(&p->peer);
		break;
	}
}

/* Whatever was said: bounded, and the node's own log is its own. */
static void check(struct play *p)
{
	struct core_counts counts;

	core_count(p->node.core, &counts);
	if (counts.memory > 64 << 20)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blobs *blobs = blobs_new(true);
	struct play *p = calloc(1, sizeof(*p));
	struct side peer;

	if (sodium_init() < 0 || !p)
		abort();
	side_begin(&peer, blobs, 2);
	stage_begin(&p->node, blobs, &peer.key.public);
	peer_begin(&p->peer, &p->node, &peer.key);
	wire_init(&p->w, data, size);
	for (unsigned done = 0; p->peer.session && p->w.left > 0 && done < 1000; done++) {
		note_queries(p);
		do_one(p);
	}
	check(p);
	peer_end(&p->peer);
	side_end(&p->node);
	memory_free(peer.memory);
	blobs_free(blobs);
	free(p);
	return 0;
}
