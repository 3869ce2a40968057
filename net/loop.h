/*
 * loop.h - the network thread: libuv moves bytes between sockets and core.h, and decides nothing.
 *
 * The only file that knows libuv is loop.c.  One thread runs the loop and owns the core; works
 * run on libuv's workers.  Every function here may be called from any thread: it leaves a request in a bounded
 * queue and wakes the loop, and never waits for the network.  Callbacks come on the network thread, hold no lock, and must
 * return at once.
 */
#ifndef LOOP_H
#define LOOP_H

#include "address.h"
#include "core.h"
#include "why.h"

struct loop;

struct loop_options {
	const struct depot *depot;
	struct clock clock;
	struct id network;
	char listen[ADDRESS_SIZE_MAX];    /* "127.0.0.1:0", "[::]:4040"; "": do not listen */
	char announce[ADDRESS_SIZE_MAX];  /* what peers are told instead of it; "": the listening address, or only its port if it is on all interfaces */
	bool dial;
	/* All but DIAL; CLOSE only of what was dialled and never became ready: its address and why. May be NULL. */
	void (*event)(void *context, const struct event *event);
	void *context;
};

/* Listens (errors are told here, in `why`), then starts the thread. */
int loop_start(struct loop **out, const struct loop_options *options, struct why *why);
/* Says goodbye to peers (100 ms at most), stops the thread, frees. Takes NULL. */
void loop_stop(struct loop *loop);
/* Where it listens, with the port that was given: "" if nowhere. */
void loop_address(const struct loop *loop, char out[ADDRESS_SIZE_MAX]);

/* -EAGAIN: the queue is full. */
int loop_connect(struct loop *loop, const char *address, const struct id *expected); /* -EINVAL: not an address */
int loop_want(struct loop *loop, const struct id *version, uint64_t token, uint64_t until_ms);
void loop_appended(struct loop *loop);        /* cheap: many become one */
void loop_follows_changed(struct loop *loop);
bool loop_follows_wait(struct loop *loop);    /* it was called, and the core does not know yet */

/* Copies of what the core said last (at most 100 ms ago). */
size_t loop_peers(struct loop *loop, struct peer_view *out, size_t count_max);
void loop_count(struct loop *loop, struct core_counts *out);

#endif
