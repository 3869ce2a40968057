/*
 * What a server may say to a client that dialled it.
 *
 * First byte: bit 0 a script (else all that follows is what the server says), bit 1 whether the client named B.
 * A script makes a challenge, right or wrong, by the model; whether the client takes it must be what the script says.
 */
#include <errno.h>
#include <stdint.h>

#include "../unit/handshake_kit.h"
#include "net_limits.h"
#include "wire.h"

#define CHECK(condition)         \
	do {                     \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct scene {
	struct kit_clock clock;
	struct key a, b, m;
	struct handshake *client;
	uint8_t hello[HANDSHAKE_MESSAGE_MAX];
	bool named;
};

static void begin(struct scene *s, bool named)
{
	if (sodium_init() < 0)
		abort();
	kit_clock_init(&s->clock, 1);
	key_create(&s->a, &s->clock.clock);
	key_create(&s->b, &s->clock.clock);
	key_create(&s->m, &s->clock.clock);
	s->named = named;
	s->client = handshake_new_client(&s->a, NULL, named ? &s->b.public : NULL, &s->clock.clock);
	CHECK(s->client && handshake_give(s->client, s->hello) == HELLO_SIZE);
}

static ssize_t take(struct handshake *h, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	CHECK(copy);
	if (size > 0)
		memcpy(copy, bytes, size);
	ssize_t used = handshake_take(h, copy, size);
	free(copy);
	CHECK(used <= (ssize_t)size && used <= HANDSHAKE_MESSAGE_MAX);
	return used;
}

/* Nobody guesses a challenge; a cookie is taken once. */
static void take_anything(struct scene *s, const uint8_t *bytes, size_t size)
{
	uint8_t out[HANDSHAKE_MESSAGE_MAX];
	unsigned cookies = 0;
	ssize_t used;

	while ((used = take(s->client, bytes, size)) > 0) {
		CHECK(used == COOKIE_SIZE && ++cookies == 1);
		CHECK(handshake_give(s->client, out) == HELLO_SIZE);
		CHECK(memcmp(out + HELLO_SIZE - 16, bytes + 1, 16) == 0);
		bytes += used;
		size -= (size_t)used;
	}
	if (used < 0)
		CHECK(handshake_give(s->client, out) == 0 && take(s->client, bytes, size) == -EPROTO);
	CHECK(!handshake_done(s->client, NULL));
}

/* who says it is whom, the effort, what of it is flipped at last */
static void take_script(struct scene *s, struct wire *w)
{
	const struct key *const keys[] = { &s->b, &s->m, &s->a };
	uint8_t who = wire_u8(w), other_network = wire_u8(w);
	const struct key *signer = keys[who % 3], *said = keys[who / 3 % 3];
	struct offer offer = { .server = said->public, .effort = wire_u32(w), .time_ms = wire_u64(w) };
	struct id network = { { other_network == 1 } };
	uint8_t challenge[CHALLENGE_SIZE], out[HANDSHAKE_MESSAGE_MAX], flip;
	struct puzzle puzzle;
	struct model b;

	model_init(&b, 2);
	model_begin(&b, &network, s->hello);
	model_meet(&b, s->hello + 5, false);
	model_challenge(&b, challenge, signer, &offer);
	uint8_t before[CHALLENGE_SIZE];
	memcpy(before, challenge, sizeof before);
	while ((flip = wire_u8(w)) != 0)
		challenge[wire_u8(w) % CHALLENGE_SIZE] ^= flip;

	bool right = signer == said && said != &s->a && (said == &s->b || !s->named) && other_network != 1 &&
		     offer.effort <= EFFORT_MAX && memcmp(before, challenge, sizeof before) == 0;
	ssize_t used = take(s->client, challenge, CHALLENGE_SIZE);
	CHECK((used == CHALLENGE_SIZE) == right);
	if (!right)
		return;
	CHECK(handshake_puzzle(s->client, &puzzle) == (offer.effort > 0));
	if (offer.effort > 0) {
		CHECK(puzzle.effort == offer.effort && handshake_give(s->client, out) == 0);
		handshake_solved(s->client, &(struct solution){ .effort = offer.effort });
	}
	struct handshake_keys keys_of_a;
	CHECK(handshake_give(s->client, out) == EARN_SIZE && handshake_done(s->client, &keys_of_a));
	CHECK(id_equal(&keys_of_a.peer, &said->public) && keys_of_a.peer_time_ms == offer.time_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scene s;
	struct wire w;

	wire_init(&w, data, size);
	uint8_t start = wire_u8(&w);
	begin(&s, start & 2);
	if (start & 1)
		take_script(&s, &w);
	else
		take_anything(&s, w.at, w.left);
	handshake_free(s.client);
	return 0;
}
