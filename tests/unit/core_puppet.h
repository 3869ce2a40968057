/*
 * core_puppet.h - a peer that says what the test wants: a true handshake and stream, packets of any kind.
 */
#ifndef CORE_PUPPET_H
#define CORE_PUPPET_H

#include "core_kit.h"
#include "handshake.h"
#include "packet.h"
#include "stream.h"

#define TAKEN_MAX 256

struct puppet {
	struct node *node;      /* it speaks to */
	uint64_t session;       /* 0: closed */
	struct key key;
	struct handshake *handshake;
	struct stream stream;
	struct id cb;
	bool open;
	struct bytes in, out;   /* raw */
	struct { struct bytes bytes; struct packet packet; } taken[TAKEN_MAX]; /* packets that came */
	size_t taken_count;
};

static inline void puppet_end(struct puppet *p)
{
	if (p->session && p->node->core)
		core_closed(p->node->core, p->session);
	handshake_free(p->handshake);
	if (p->open)
		stream_finish(&p->stream);
	for (size_t i = 0; i < p->taken_count; i++)
		bytes_finish(&p->taken[i].bytes);
	bytes_finish(&p->in);
	bytes_finish(&p->out);
	memset(p, 0, sizeof(*p));
}

/* What the core says of it is taken: closes are obeyed. */
static inline void puppet_drain(struct puppet *p)
{
	struct node *node = p->node;
	struct event event;
	struct work *work;

	for (;;) {
		if (core_next_event(node->core, &event)) {
			node->told[event.kind]++;
			node->last[event.kind] = event;
			if (event.kind == EVENT_CLOSE && event.session == p->session) {
				core_give(node->core, p->session, &p->in, 32 << 20);
				core_closed(node->core, p->session);
				p->session = 0;
			}
		} else if (!node->hold_works && (work = core_next_work(node->core))) {
			work_run(work);
			core_work_done(node->core, work);
		} else {
			break;
		}
	}
	if (p->session)
		core_give(node->core, p->session, &p->in, 32 << 20);
}

static inline void puppet_flush(struct puppet *p)
{
	if (p->session && p->out.size > 0)
		core_take(p->node->core, p->session, p->out.data, p->out.size);
	bytes_clear(&p->out);
	puppet_drain(p);
}

/* Solves what it is asked for. True: it is done. */
static inline bool puppet_shake(struct puppet *p)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];
	struct puzzle puzzle;
	struct handshake_keys keys;

	for (int rounds = 0; rounds < 10 && !handshake_done(p->handshake, NULL); rounds++) {
		if (handshake_puzzle(p->handshake, &puzzle)) {
			struct puzzle_search search = { 0 };
			assert_true(puzzle_solve(&puzzle, &search, UINT64_MAX));
			handshake_solved(p->handshake, &search.found);
		}
		size_t size = handshake_give(p->handshake, message);
		bytes_put(&p->out, message, size);
		puppet_flush(p);
		ssize_t used = handshake_done(p->handshake, NULL) ? 0 : handshake_take(p->handshake, p->in.data, p->in.size);
		if (used < 0)
			return false;
		memmove(p->in.data, p->in.data + used, p->in.size - (size_t)used);
		p->in.size -= (size_t)used;
	}
	if (!handshake_done(p->handshake, &keys))
		return false;
	p->cb = keys.cb;
	stream_init(&p->stream, keys.send, keys.receive, p->node->world->now_ms);
	p->open = true;
	return true;
}

static inline void puppet_send(struct puppet *p, struct bytes *packet)
{
	assert_int_equal(bytes_error(packet), 0);
	assert_int_equal(stream_push(&p->stream, packet->data, packet->size, false, p->node->world->now_ms, &p->out), 0);
	bytes_finish(packet);
	puppet_flush(p);
}

static inline struct bytes new_packet(void)
{
	struct bytes b;

	bytes_init(&b, PACKET_SIZE_MAX);
	return b;
}

/* Takes what came; returns how many packets are in `taken`. */
static inline size_t puppet_take(struct puppet *p)
{
	bool final = false;

	puppet_flush(p);
	while (p->taken_count < TAKEN_MAX && !final) {
		struct bytes *to = &p->taken[p->taken_count].bytes;
		bytes_init(to, PACKET_SIZE_MAX);
		ssize_t used = stream_pull(&p->stream, p->in.data, p->in.size, to, &final);
		assert_true(used >= 0);
		memmove(p->in.data, p->in.data + used, p->in.size - (size_t)used);
		p->in.size -= (size_t)used;
		if (used == 0 || to->size == 0) {
			bytes_finish(to);
			break;
		}
		assert_int_equal(packet_read(&p->taken[p->taken_count].packet, to->data, to->size), 0);
		p->taken_count++;
	}
	return p->taken_count;
}

static inline void puppet_forget(struct puppet *p)
{
	while (p->taken_count > 0)
		bytes_finish(&p->taken[--p->taken_count].bytes);
}

/* The newest of a kind; NULL. */
static inline const struct packet *puppet_find(struct puppet *p, enum packet_kind kind)
{
	puppet_take(p);
	for (size_t i = p->taken_count; i > 0; i--)
		if (p->taken[i - 1].packet.kind == kind)
			return &p->taken[i - 1].packet;
	return NULL;
}

static inline bool puppet_dial(struct puppet *p, struct node *node, const char *from)
{
	memset(p, 0, sizeof(*p));
	p->node = node;
	bytes_init(&p->in, 64 << 20);
	bytes_init(&p->out, 64 << 20);
	key_create(&p->key, &node->world->clock);
	p->session = core_connected(node->core, from, false, NULL);
	if (!p->session)
		return false;
	p->handshake = handshake_new_client(&p->key, NULL, NULL, &node->world->clock);
	return puppet_shake(p);
}

/* Handshake and READY, so that the core takes it for a peer. */
static inline void puppet_join(struct puppet *p, struct node *node)
{
	struct bytes packet = new_packet();

	assert_true(puppet_dial(p, node, "10.7.7.7:777"));
	assert_non_null(puppet_find(p, PACKET_READY));
	packet_put_ready(&packet, &p->key.public, "", 1, 1);
	puppet_send(p, &packet);
	puppet_take(p);
}

#endif
