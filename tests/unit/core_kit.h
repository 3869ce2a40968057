/*
 * core_kit.h - a few cores in one process, joined by queues of bytes, with one clock that moves only when told.
 *
 * Works are run at once.  What one gives another takes in the same step, unless the wire is held.
 */
#ifndef CORE_KIT_H
#define CORE_KIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <cmocka.h>

#include "core.h"
#include "depot_memory.h"

#define NODES_MAX 80
#define WIRES_MAX 512
#define EVENT_KINDS (EVENT_OWN_KNOWN + 1)

struct world;

struct node {
	struct world *world;
	char address[ADDRESS_SIZE_MAX];
	struct key key;
	struct memory *memory;
	struct core *core;       /* NULL: down */
	bool dial;
	unsigned aim;            /* sessions it keeps; 0: 8 */
	bool hold_works;         /* works stay in `works` until it is lifted */
	struct work *works[64];
	size_t work_count;
	uint64_t told[EVENT_KINDS]; /* events of each kind */
	struct event last[EVENT_KINDS];
};

struct wire_end {
	struct node *node;       /* NULL: the test itself */
	uint64_t session;        /* 0: closed */
	struct bytes to_take;    /* for this end */
	bool held;               /* takes nothing */
};

struct cable {
	struct wire_end ends[2]; /* 0 dialled */
	bool open;
	uint64_t carried;
};

struct world {
	uint64_t now_ms, time_ms, random;
	struct clock clock;
	struct blobs *blobs;
	struct node nodes[NODES_MAX];
	size_t node_count;
	struct cable cables[WIRES_MAX];
	size_t cable_count;
	size_t chunk;            /* bytes taken at a time; 0: all */
};

static uint64_t kit_now(void *context)
{
	return ((struct world *)context)->now_ms;
}

static uint64_t kit_time(void *context)
{
	struct world *w = context;

	return (w->time_ms + w->now_ms) * 1000000;
}

static void kit_random(void *context, uint8_t *out, size_t size)
{
	struct world *w = context;

	for (size_t i = 0; i < size; i++) {
		w->random += UINT64_C(0x9e3779b97f4a7c15);
		uint64_t z = w->random;
		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		out[i] = (uint8_t)(z >> 56);
	}
}

static inline void world_begin(struct world *w)
{
	assert_true(sodium_init() >= 0);
	memset(w, 0, sizeof(*w));
	w->now_ms = 1000;
	w->time_ms = UINT64_C(1790000000000);
	w->random = 1;
	w->clock = (struct clock){ kit_time, kit_now, kit_random, w };
	w->blobs = blobs_new(true);
}

static inline void node_up(struct node *node)
{
	struct core_options options = { .clock = node->world->clock, .dial = node->dial,
					.peers_aim = node->aim ? node->aim : 8 };

	strcpy(options.address, node->address);
	node->core = core_new(&options, memory_depot(node->memory));
	assert_non_null(node->core);
}

static inline struct node *node_add(struct world *w)
{
	struct node *node = &w->nodes[w->node_count++];

	assert_true(w->node_count <= NODES_MAX);
	node->world = w;
	snprintf(node->address, sizeof(node->address), "10.0.%zu.%zu:4040", w->node_count / 250, w->node_count % 250);
	key_create(&node->key, &w->clock);
	node->memory = memory_new(w->blobs, &node->key, NULL, &w->clock);
	memory_append_profile(node->memory, "somebody");
	memory_sync(node->memory);
	node_up(node);
	return node;
}

static inline void cable_cut(struct cable *c)
{
	for (int i = 0; i < 2; i++) {
		struct wire_end *end = &c->ends[i];
		if (end->node && end->node->core && end->session)
			core_closed(end->node->core, end->session);
		end->session = 0;
		bytes_clear(&end->to_take);
	}
	c->open = false;
}

static inline void node_down(struct node *node)
{
	struct world *w = node->world;

	for (size_t i = 0; i < w->cable_count; i++)
		if (w->cables[i].open && (w->cables[i].ends[0].node == node || w->cables[i].ends[1].node == node))
			cable_cut(&w->cables[i]);
	for (size_t i = 0; i < node->work_count; i++)
		core_work_done(node->core, node->works[i]);
	node->work_count = 0;
	core_free(node->core);
	node->core = NULL;
}

static inline void world_end(struct world *w)
{
	for (size_t i = 0; i < w->node_count; i++) {
		if (w->nodes[i].core)
			node_down(&w->nodes[i]);
		memory_free(w->nodes[i].memory);
	}
	for (size_t i = 0; i < w->cable_count; i++) {
		bytes_finish(&w->cables[i].ends[0].to_take);
		bytes_finish(&w->cables[i].ends[1].to_take);
	}
	blobs_free(w->blobs);
}

/* NULL: refused by one of them. a NULL: the test dials. */
static inline struct cable *join_nodes(struct node *a, struct node *b, const struct id *expected)
{
	struct world *w = b->world;
	struct cable *c = &w->cables[0];

	if (w->cable_count < WIRES_MAX)
		c = &w->cables[w->cable_count++];
	else
		while (c->open) /* those that were cut are used again */
			assert_true(++c < &w->cables[WIRES_MAX]);
	bytes_finish(&c->ends[0].to_take);
	bytes_finish(&c->ends[1].to_take);
	*c = (struct cable){ .open = true, .ends = { { .node = a }, { .node = b } } };
	bytes_init(&c->ends[0].to_take, 64 << 20);
	bytes_init(&c->ends[1].to_take, 64 << 20);
	char from[ADDRESS_SIZE_MAX];
	snprintf(from, sizeof(from), "10.1.%zu.%zu:50000", (size_t)(c - w->cables + 1) / 250, (size_t)(c - w->cables + 1) % 250);
	c->ends[1].session = core_connected(b->core, from, false, NULL);
	if (a)
		c->ends[0].session = core_connected(a->core, b->address, true, expected);
	if (c->ends[1].session == 0 || (a && c->ends[0].session == 0)) {
		cable_cut(c);
		return NULL;
	}
	return c;
}

static inline struct node *node_at(struct world *w, const char *address)
{
	for (size_t i = 0; i < w->node_count; i++)
		if (strcmp(w->nodes[i].address, address) == 0)
			return &w->nodes[i];
	return NULL;
}

static inline void take_dial(struct node *node, const struct event *event)
{
	struct node *other = node_at(node->world, event->address);

	if (!other || !other->core || other == node)
		core_unreachable(node->core, event->address);
	else
		join_nodes(node, other, event->has_expected ? &event->expected : NULL);
}

static inline void flush_end(struct cable *c, int i)
{
	struct wire_end *from = &c->ends[i], *to = &c->ends[1 - i];

	if (!c->open || !from->node || !from->session)
		return;
	size_t before = to->to_take.size;
	while (to->to_take.size < (to->held ? 256 * 1024 : 32 << 20) &&
	       core_give(from->node->core, from->session, &to->to_take, 64 * 1024))
		;
	c->carried += to->to_take.size - before;
	core_unsent(from->node->core, from->session, to->held ? to->to_take.size : 0);
}

static inline void deliver(struct cable *c, int i)
{
	struct wire_end *end = &c->ends[i];
	struct world *w = c->ends[1].node->world;

	if (!c->open || end->held || !end->node || end->to_take.size == 0)
		return;
	struct bytes bytes = end->to_take;
	bytes_init(&end->to_take, bytes.size_max);
	size_t chunk = w->chunk ? w->chunk : bytes.size;
	for (size_t at = 0; at < bytes.size && end->session; at += chunk) {
		size_t size = bytes.size - at < chunk ? bytes.size - at : chunk;
		uint8_t *exact = malloc(size);
		memcpy(exact, bytes.data + at, size);
		int err = core_take(end->node->core, end->session, exact, size);
		free(exact);
		if (err < 0)
			break;
	}
	bytes_finish(&bytes);
}

static inline void take_close(struct node *node, const struct event *event)
{
	struct world *w = node->world;

	for (size_t i = 0; i < w->cable_count; i++)
		for (int e = 0; e < 2; e++) {
			struct cable *c = &w->cables[i];
			if (!c->open || c->ends[e].node != node || c->ends[e].session != event->session)
				continue;
			flush_end(c, e);
			deliver(c, 1 - e);
			cable_cut(c);
		}
}

static inline bool drain_node(struct node *node)
{
	struct event event;
	struct work *work;
	bool any = false;

	while (node->core && core_next_event(node->core, &event)) {
		any = true;
		node->told[event.kind]++;
		node->last[event.kind] = event;
		if (event.kind == EVENT_DIAL)
			take_dial(node, &event);
		else if (event.kind == EVENT_CLOSE)
			take_close(node, &event);
	}
	while (node->core && !(node->hold_works && node->work_count == 64) && (work = core_next_work(node->core))) {
		any = true;
		if (node->hold_works) {
			node->works[node->work_count++] = work;
			continue;
		}
		work_run(work);
		core_work_done(node->core, work);
	}
	return any;
}

static inline void run_works(struct node *node)
{
	node->hold_works = false;
	for (size_t i = 0; i < node->work_count; i++) {
		work_run(node->works[i]);
		core_work_done(node->core, node->works[i]);
	}
	node->work_count = 0;
}

/* Until nothing moves; the clock stands. */
static inline void world_settle(struct world *w)
{
	bool any = true;

	for (unsigned rounds = 0; any; rounds++) {
		assert_true(rounds < 100000);
		any = false;
		for (size_t i = 0; i < w->node_count; i++)
			any |= drain_node(&w->nodes[i]);
		for (size_t i = 0; i < w->cable_count; i++)
			for (int e = 0; e < 2; e++)
				flush_end(&w->cables[i], e);
		for (size_t i = 0; i < w->cable_count; i++)
			for (int e = 0; e < 2; e++) {
				struct cable *c = &w->cables[i];
				any |= c->open && c->ends[e].node && !c->ends[e].held && c->ends[e].to_take.size > 0;
				deliver(c, e);
			}
	}
}

static inline uint64_t next_deadline(const struct world *w)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < w->node_count; i++) {
		uint64_t ms = w->nodes[i].core ? core_deadline_ms(w->nodes[i].core) : UINT64_MAX;
		least = ms < least ? ms : least;
	}
	return least;
}

/* So many milliseconds. */
static inline void world_run(struct world *w, uint64_t ms)
{
	uint64_t until = w->now_ms + ms;

	world_settle(w);
	while (w->now_ms < until) {
		uint64_t next = next_deadline(w);
		w->now_ms = next > until ? until : next > w->now_ms ? next : w->now_ms + 1;
		for (size_t i = 0; i < w->node_count; i++)
			if (w->nodes[i].core && core_deadline_ms(w->nodes[i].core) <= w->now_ms)
				core_tick(w->nodes[i].core);
		world_settle(w);
	}
}

static inline struct core_counts count_of(struct node *node)
{
	struct core_counts counts;

	core_count(node->core, &counts);
	return counts;
}

static inline void node_follow(struct node *node, const struct node *whom, bool on)
{
	memory_follow(node->memory, &whom->key.public, on);
	core_follows_changed(node->core);
}

static inline void node_save(struct node *node, const char *text, struct id *out_version)
{
	memory_save(node->memory, NULL, NULL, text, strlen(text), out_version);
	core_appended(node->core);
}

static inline bool same(struct node *a, struct node *b)
{
	struct id x, y;

	memory_digest(a->memory, &x);
	memory_digest(b->memory, &y);
	return id_equal(&x, &y);
}

#endif
