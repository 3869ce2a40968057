/*
 * core_peer.h - one core with a small depot in memory, and a peer that has met it: for fuzz_core.c and dump_core.c.
 *
 * Everything is drawn from one seed, so nonces and the channel binding are the same in each run: a
 * conversation that was dumped once is understood when it is replayed.
 */
#ifndef CORE_PEER_H
#define CORE_PEER_H

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "depot_memory.h"
#include "handshake.h"
#include "packet.h"
#include "stream.h"

struct peer_clock {
	uint64_t now_ms, random;
};

static uint64_t peer_now(void *context)
{
	return ((struct peer_clock *)context)->now_ms;
}

static uint64_t peer_time(void *context)
{
	return (UINT64_C(1790000000000) + ((struct peer_clock *)context)->now_ms) * 1000000;
}

static void peer_random(void *context, uint8_t *out, size_t size)
{
	struct peer_clock *c = context;

	for (size_t i = 0; i < size; i++) {
		c->random = c->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[i] = (uint8_t)(c->random >> 56);
	}
}

struct side { /* a node */
	struct peer_clock time;
	struct clock clock;
	struct key key;
	struct memory *memory;
	struct core *core;
};

struct peer { /* what speaks to it */
	struct side *side;
	struct peer_clock time; /* of its own: what the core draws is the same whatever is said */
	struct clock clock;
	const struct key *key;
	uint64_t session;       /* 0: closed */
	struct handshake *handshake;
	struct stream stream;
	bool open;
	struct id cb;
	struct bytes in, out;
};

static inline void side_begin(struct side *s, struct blobs *blobs, uint64_t seed)
{
	s->time = (struct peer_clock){ 1000, seed };
	s->clock = (struct clock){ peer_time, peer_now, peer_random, &s->time };
	key_create(&s->key, &s->clock);
	s->memory = memory_new(blobs, &s->key, NULL, &s->clock);
	memory_append_profile(s->memory, "name");
}

/* The core's own works and events; closes are obeyed. */
static inline void peer_drain(struct peer *p)
{
	struct core *core = p->side->core;
	struct event event;
	struct work *work;

	for (;;) {
		if (core_next_event(core, &event)) {
			if (event.kind == EVENT_DIAL)
				core_unreachable(core, event.address);
			if (event.kind != EVENT_CLOSE || event.session != p->session)
				continue;
			core_give(core, p->session, &p->in, 32 << 20);
			core_closed(core, p->session);
			p->session = 0;
		} else if ((work = core_next_work(core))) {
			work_run(work);
			core_work_done(core, work);
		} else {
			break;
		}
	}
	if (p->session)
		core_give(core, p->session, &p->in, 32 << 20);
}

static inline void peer_flush(struct peer *p)
{
	if (p->session && p->out.size > 0)
		core_take(p->side->core, p->session, p->out.data, p->out.size);
	bytes_clear(&p->out);
	peer_drain(p);
}

static inline void peer_eat(struct peer *p, size_t size)
{
	memmove(p->in.data, p->in.data + size, p->in.size - size);
	p->in.size -= size;
}

/* Dials and shakes hands. */
static inline void peer_begin(struct peer *p, struct side *side, const struct key *key)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];
	struct handshake_keys keys;

	*p = (struct peer){ .side = side, .key = key, .time = { 1000, 77 } };
	p->clock = (struct clock){ peer_time, peer_now, peer_random, &p->time };
	bytes_init(&p->in, 64 << 20);
	bytes_init(&p->out, 64 << 20);
	p->session = core_connected(side->core, "192.0.2.1:9", false, NULL);
	p->handshake = handshake_new_client(key, NULL, NULL, &p->clock);
	for (int i = 0; i < 5 && !handshake_done(p->handshake, NULL); i++) {
		struct puzzle puzzle;
		if (handshake_puzzle(p->handshake, &puzzle)) {
			struct puzzle_search search = { 0 };
			puzzle_solve(&puzzle, &search, UINT64_MAX);
			handshake_solved(p->handshake, &search.found);
		}
		bytes_put(&p->out, message, handshake_give(p->handshake, message));
		peer_flush(p);
		ssize_t used = handshake_done(p->handshake, NULL) ? 0 : handshake_take(p->handshake, p->in.data, p->in.size);
		if (used > 0)
			peer_eat(p, (size_t)used);
	}
	if (!handshake_done(p->handshake, &keys))
		abort();
	p->cb = keys.cb;
	stream_init(&p->stream, keys.send, keys.receive, p->time.now_ms);
	p->open = true;
}

static inline void peer_end(struct peer *p)
{
	if (p->session)
		core_closed(p->side->core, p->session);
	handshake_free(p->handshake);
	if (p->open)
		stream_finish(&p->stream);
	bytes_finish(&p->in);
	bytes_finish(&p->out);
}

/* One packet, whatever it is. */
static inline void peer_say(struct peer *p, const uint8_t *bytes, size_t size)
{
	if (stream_push(&p->stream, bytes, size, false, p->time.now_ms, &p->out) == 0)
		peer_flush(p);
}

static inline void peer_wait(struct peer *p, uint64_t ms)
{
	p->side->time.now_ms += ms;
	core_tick(p->side->core);
	peer_drain(p);
}

/* The node under test: it has a log of its own and one of an author, follows that author and the peer. */
static inline void stage_begin(struct side *a, struct blobs *blobs, const struct id *peer)
{
	struct core_options options = { .address = "192.0.2.7:4040", .dial = true, .peers_aim = 2 };
	struct side author;

	side_begin(&author, blobs, 3);
	memory_save(author.memory, NULL, NULL, "by an author", 12, NULL);
	memory_append_vote(author.memory, 1);
	memory_sync(author.memory);
	side_begin(a, blobs, 1);
	memory_save(a->memory, NULL, NULL, "by the node", 11, NULL);
	memory_append_vote(a->memory, 2);
	memory_sync(a->memory);
	memory_follow(a->memory, &author.key.public, true);
	memory_follow(a->memory, peer, true);
	memory_free(author.memory);
	options.clock = a->clock;
	a->core = core_new(&options, memory_depot(a->memory));
}

static inline void side_end(struct side *s)
{
	core_free(s->core);
	memory_free(s->memory);
}

#endif
