/*
 * What a stranger may say to a server.
 *
 * First byte: bit 0 a script (else all that follows is what the stranger says), bit 1 loaded, bit 2 closed, bit 3 an
 * effort is asked for.  A script makes a hello and an earn by the model; whether they pass must be what the script says.
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
	struct handshake_server server;
	struct handshake *dialled;
};

static void begin(struct scene *s, uint8_t start)
{
	if (sodium_init() < 0)
		abort();
	kit_clock_init(&s->clock, 1);
	key_create(&s->a, &s->clock.clock);
	key_create(&s->b, &s->clock.clock);
	key_create(&s->m, &s->clock.clock);
	handshake_server_init(&s->server, &s->b, NULL, &s->clock.clock);
	s->server.loaded = start & 2;
	s->server.closed = start & 4;
	s->server.effort = start & 8 ? 1 : 0;
	s->dialled = handshake_new_server(&s->server, "here", 4, &s->clock.clock);
	CHECK(s->dialled);
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

static void take_anything(struct scene *s, const uint8_t *bytes, size_t size)
{
	uint8_t out[HANDSHAKE_MESSAGE_MAX];
	unsigned cookies = 0;
	ssize_t used;

	while ((used = take(s->dialled, bytes, size)) > 0) {
		size_t given = handshake_give(s->dialled, out);
		CHECK(used == HELLO_SIZE && (given == COOKIE_SIZE || given == CHALLENGE_SIZE));
		CHECK(given == CHALLENGE_SIZE || (s->server.loaded && ++cookies == 1));
		bytes += used;
		size -= (size_t)used;
	}
	if (used < 0)
		CHECK(handshake_give(s->dialled, out) == 0 && take(s->dialled, bytes, size) == -EPROTO);
	CHECK(!handshake_done(s->dialled, NULL));
}

/* True: the challenge has come. how: 0 right, 1 naming nobody, 2 naming another; then what is flipped. */
static bool pass_hello(struct scene *s, struct wire *w, struct model *a, uint8_t *challenge)
{
	static const struct id nobody;
	const struct id *const names[] = { &s->b.public, &nobody, &s->m.public };
	uint8_t how = wire_u8(w) % 3, hello[HELLO_SIZE], before[HELLO_SIZE], flip;

	model_init(a, 2);
	model_hello(hello, a->public, names[how]);
	if (s->server.loaded && wire_u8(w) != 1) {
		uint8_t cookie[HANDSHAKE_MESSAGE_MAX];
		bool right = how == 0 || (how == 1 && !s->server.closed);
		CHECK((take(s->dialled, hello, HELLO_SIZE) == HELLO_SIZE) == right);
		CHECK(handshake_give(s->dialled, cookie) == (right ? COOKIE_SIZE : 0));
		memcpy(hello + HELLO_SIZE - 16, cookie + 1, right ? 16 : 0);
	}
	memcpy(before, hello, sizeof before);
	while ((flip = wire_u8(w)) != 0)
		hello[wire_u8(w) % HELLO_SIZE] ^= flip;

	bool named_flipped = memcmp(before, hello, HELLO_SIZE - 16) != 0;
	bool mac2_flipped = memcmp(before + HELLO_SIZE - 16, hello + HELLO_SIZE - 16, 16) != 0;
	bool has_cookie = memcmp(before + HELLO_SIZE - 16, (uint8_t[16]){ 0 }, 16) != 0 && !mac2_flipped;
	bool passes = (how == 0 || (how == 1 && !s->server.closed)) && !named_flipped;
	take(s->dialled, hello, HELLO_SIZE);
	size_t given = handshake_give(s->dialled, challenge);
	CHECK((given == CHALLENGE_SIZE) == (passes && (!s->server.loaded || has_cookie)));
	model_begin(a, &nobody, before);
	return given == CHALLENGE_SIZE && !mac2_flipped;
}

static void take_script(struct scene *s, struct wire *w)
{
	uint8_t challenge[HANDSHAKE_MESSAGE_MAX], earn[EARN_SIZE], before[EARN_SIZE], flip;
	const struct key *const keys[] = { &s->a, &s->m, &s->b };
	struct handshake_keys keys_of_b;
	struct offer offer;
	struct model a;
	struct id h2;

	if (!pass_hello(s, w, &a, challenge))
		return;
	CHECK(model_open_challenge(&a, challenge, &offer, &h2));
	uint8_t who = wire_u8(w), paid = wire_u8(w) % 4;
	const struct key *signer = keys[who % 3], *said = keys[who / 3 % 3];
	const struct id *named = who & 0x80 ? &s->m.public : &s->b.public;
	struct claim claim = { .client = said->public, .time_ms = wire_u64(w) };
	struct puzzle puzzle = { s->b.public, said->public, h2, offer.seed, paid };
	struct puzzle_search search = { 0 };
	CHECK(puzzle_solve(&puzzle, &search, UINT64_MAX));
	claim.solution = search.found;
	claim.solution.effort ^= wire_u32(w);
	model_earn(&a, earn, signer, named, &claim);
	memcpy(before, earn, sizeof before);
	while ((flip = wire_u8(w)) != 0)
		earn[wire_u8(w) % EARN_SIZE] ^= flip;

	bool right = signer == said && said != &s->b && named == &s->b.public && paid >= s->server.effort &&
		     memcmp(before, earn, sizeof before) == 0;
	bool effort_right = claim.solution.effort == paid || (claim.solution.effort == 0 && s->server.effort == 0);
	CHECK((take(s->dialled, earn, EARN_SIZE) == EARN_SIZE) == (right && effort_right));
	if (!right || !effort_right)
		return;
	CHECK(handshake_done(s->dialled, &keys_of_b) && keys_of_b.effort == claim.solution.effort);
	CHECK(id_equal(&keys_of_b.peer, &said->public) && keys_of_b.peer_time_ms == claim.time_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scene s;
	struct wire w;

	wire_init(&w, data, size);
	uint8_t start = wire_u8(&w);
	begin(&s, start);
	if (start & 1)
		take_script(&s, &w);
	else
		take_anything(&s, w.at, w.left);
	handshake_free(s.dialled);
	return 0;
}
