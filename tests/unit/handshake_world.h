/* handshake_world.h - two nodes and a third, and their handshakes step by step, for the tests of cmocka. */
#ifndef HANDSHAKE_WORLD_H
#define HANDSHAKE_WORLD_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "handshake_kit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct id nobody;
static const char address[] = "192.0.2.1";

struct world {
	struct kit_clock a_clock, b_clock;
	struct key a, b, m; /* m: in the middle, or merely another */
	struct handshake_server server;
	struct handshake *client, *dialled;
	uint8_t hello[HANDSHAKE_MESSAGE_MAX], challenge[HANDSHAKE_MESSAGE_MAX], earn[HANDSHAKE_MESSAGE_MAX];
};

static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct kit_clock clock;

	if (!w)
		return -1;
	kit_clock_init(&clock, 1);
	key_create(&w->a, &clock.clock);
	key_create(&w->b, &clock.clock);
	key_create(&w->m, &clock.clock);
	kit_clock_init(&w->a_clock, 2);
	kit_clock_init(&w->b_clock, 3);
	handshake_server_init(&w->server, &w->b, NULL, &w->b_clock.clock);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;

	handshake_free(w->client);
	handshake_free(w->dialled);
	handshake_server_finish(&w->server);
	free(w);
	return 0;
}

/* Two who have said nothing yet. seed: both ends' randomness; the same again gives the same bytes again. */
static inline void begin_to(struct world *w, uint64_t seed, const struct id *peer)
{
	handshake_free(w->client);
	handshake_free(w->dialled);
	kit_clock_init(&w->a_clock, 2 * seed);
	uint64_t now_ms = w->b_clock.now_ms;
	kit_clock_init(&w->b_clock, 2 * seed + 1);
	w->b_clock.now_ms = now_ms;
	w->client = handshake_new_client(&w->a, NULL, peer, &w->a_clock.clock);
	w->dialled = handshake_new_server(&w->server, address, sizeof address, &w->b_clock.clock);
	assert_non_null(w->client);
	assert_non_null(w->dialled);
}

static inline void begin(struct world *w, uint64_t seed)
{
	begin_to(w, seed, &w->b.public);
}

/* From a block of its own size, so that a sanitizer sees a read past it. */
static inline ssize_t take(struct handshake *h, const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	ssize_t used = handshake_take(h, copy, size);
	free(copy);
	return used;
}

static inline void give(struct handshake *h, uint8_t *out, size_t size)
{
	assert_int_equal(handshake_give(h, out), size);
}

static inline void pass(struct handshake *h, const uint8_t *message, size_t size)
{
	assert_int_equal(take(h, message, size), size);
}

static inline void say_hello(struct world *w)
{
	give(w->client, w->hello, HELLO_SIZE);
	pass(w->dialled, w->hello, HELLO_SIZE);
}

static inline void say_challenge(struct world *w)
{
	say_hello(w);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	pass(w->client, w->challenge, CHALLENGE_SIZE);
}

static inline void say_earn(struct world *w)
{
	say_challenge(w);
	give(w->client, w->earn, EARN_SIZE);
	pass(w->dialled, w->earn, EARN_SIZE);
}

/* Refused so, and then for good: nothing is said, nothing taken, nothing agreed. */
static inline void refuse(struct handshake *h, const void *bytes, size_t size, int expected, const char *name)
{
	uint8_t out[HANDSHAKE_MESSAGE_MAX];
	struct handshake_keys keys;
	struct puzzle puzzle;

	ssize_t got = take(h, bytes, size);
	if (got != expected)
		fail_msg("%s: %zd, not %d", name, got, expected);
	assert_int_equal(handshake_give(h, out), 0);
	assert_false(handshake_puzzle(h, &puzzle));
	assert_false(handshake_done(h, &keys));
	assert_int_equal(take(h, bytes, size), -EPROTO);
}

static inline void expect_same_keys(struct handshake *client, struct handshake *server, struct handshake_keys out[2])
{
	assert_true(handshake_done(client, NULL) && handshake_done(server, NULL));
	assert_true(handshake_done(client, &out[0]) && handshake_done(server, &out[1]));
	assert_memory_equal(out[0].send, out[1].receive, 32);
	assert_memory_equal(out[1].send, out[0].receive, 32);
	assert_memory_not_equal(out[0].send, out[0].receive, 32);
	assert_true(id_equal(&out[0].cb, &out[1].cb));
	assert_false(handshake_done(client, NULL) || handshake_done(server, &out[1]));
}

/* The model's client up to h3, with `earn` still to be said. */
static inline void model_to_h3(struct world *w, struct model *a, const struct id *network, struct id *out_h2)
{
	struct offer offer;

	handshake_free(w->dialled);
	w->dialled = handshake_new_server(&w->server, address, sizeof address, &w->b_clock.clock);
	model_init(a, 98);
	model_hello(w->hello, a->public, &w->b.public);
	model_begin(a, network, w->hello);
	pass(w->dialled, w->hello, HELLO_SIZE);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	if (!model_open_challenge(a, w->challenge, &offer, out_h2))
		return; /* as with another network */
	assert_true(id_equal(&offer.server, &w->b.public));
	assert_int_equal(offer.effort, w->server.effort);
	assert_memory_equal(&offer.seed, &w->server.seed[0], PUZZLE_SEED_SIZE);
}

#endif
