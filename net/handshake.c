/*
 * handshake.c - mootfs hs 1, with the symbols of moot-protocol(7): A dials, B is dialled; eA, eB are X25519 keys
 * of this session alone; H is BLAKE2b-256, KH the same with a key; h0 to h4 is the running hash, which
 * stands in h->hash.  Labels end with their NUL, integers are little-endian.
 *
 * Each kind of message is a row of `kinds`: its size, the state that waits for it, and its function.  Whatever
 * that function refuses ends the handshake and wipes it.
 */
#include "handshake.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "net_limits.h"
#include "wire.h"

#define MAC_SIZE 16
#define FLAGS 0 /* none is known yet */
#define NAMED_SIZE (4 + 32) /* of msg1, what mac1 is over */
#define MSG1_SIZE (NAMED_SIZE + MAC_SIZE + MAC_SIZE)
#define BOX_OVERHEAD crypto_aead_xchacha20poly1305_ietf_ABYTES
#define OFFER_SIZE (32 + 8 + PUZZLE_SIZE) /* idB tB puzzle */
#define CLAIM_SIZE (32 + 8 + SOLUTION_SIZE) /* idA tA solution */
#define SIGNATURE_SIZE 64

_Static_assert(HELLO_SIZE == 1 + MSG1_SIZE, "msg1");
_Static_assert(CHALLENGE_SIZE == 1 + 32 + OFFER_SIZE + SIGNATURE_SIZE + BOX_OVERHEAD, "msg2");
_Static_assert(EARN_SIZE == 1 + CLAIM_SIZE + SIGNATURE_SIZE + BOX_OVERHEAD, "msg3");
_Static_assert(CHALLENGE_SIZE <= HANDSHAKE_MESSAGE_MAX && EARN_SIZE <= HANDSHAKE_MESSAGE_MAX, "room");
_Static_assert(crypto_kx_SESSIONKEYBYTES == 32 && crypto_kx_PUBLICKEYBYTES == 32 && crypto_kx_SEEDBYTES == 32, "kx");

/* No flipped bit makes one of another. */
enum type { HELLO = 1, COOKIE = 2, CHALLENGE = 4, EARN = 7 };

enum state {
	DEAD,
	GIVE_HELLO, AWAIT_CHALLENGE, SOLVE, GIVE_EARN, /* A; a cookie leads back to GIVE_HELLO */
	AWAIT_HELLO, GIVE_COOKIE, GIVE_CHALLENGE, AWAIT_EARN, /* B; GIVE_COOKIE leads back to AWAIT_HELLO */
	DONE,
	STATES
};

struct handshake {
	enum state state;
	const struct key *key;
	const struct clock *clock;
	struct handshake_server *server; /* B */
	struct id network;
	struct id peer;                  /* zero: A dials whoever answers there */
	struct id hash;
	uint8_t ephemeral[32], ephemeral_secret[32];
	uint8_t rx[32], tx[32];          /* from the other, to the other */
	uint8_t cookie[MAC_SIZE];        /* A: mac2; B: what mac2 is to be */
	bool cookie_used;                /* one is enough */
	struct puzzle puzzle;
	struct solution solution;
	uint64_t peer_time_ms;
	uint8_t address[ADDRESS_SIZE_MAX];
	size_t address_size;
};

#define LABEL(text) { (text), sizeof(text) }

static void keyed_hash(uint8_t out[32], const uint8_t key[32], const struct span *spans, size_t count)
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, key, 32, 32);
	for (size_t i = 0; i < count; i++)
		crypto_generichash_update(&state, spans[i].data, spans[i].size);
	crypto_generichash_final(&state, out, 32);
	sodium_memzero(&state, sizeof state);
}

/* KH(key, label h) */
static void derive(uint8_t out[32], const uint8_t key[32], struct span label, const struct id *hash)
{
	keyed_hash(out, key, (struct span[]){ label, { hash->bytes, ID_SIZE } }, 2);
}

static void begin_hash(struct handshake *h) /* h0 */
{
	static const uint8_t suite = HANDSHAKE_SUITE;
	const struct span spans[] = { LABEL("mootfs hs 1"), { h->network.bytes, ID_SIZE }, { &suite, 1 } };

	id_of_spans(&h->hash, spans, 3);
}

static void mix(struct handshake *h, const void *bytes, size_t size)
{
	id_of_spans(&h->hash, (struct span[]){ { h->hash.bytes, ID_SIZE }, { bytes, size } }, 2);
}

/* Each key seals one message, so the nonce is zero. */
static const uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];

static void seal(uint8_t *out, const uint8_t *text, size_t size, const uint8_t key[32], const struct id *hash)
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, text, size, hash->bytes, ID_SIZE, NULL, nonce, key);
}

static int unseal(uint8_t *out, const uint8_t *box, size_t text_size, const uint8_t key[32], const struct id *hash)
{
	return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, box, text_size + BOX_OVERHEAD, hash->bytes,
							  ID_SIZE, nonce, key) == 0 ? 0 : -EBADMSG;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

static uint8_t *put_little(uint8_t *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

static void die(struct handshake *h)
{
	sodium_memzero(h, sizeof *h); /* which is DEAD */
}

static void make_ephemeral(struct handshake *h)
{
	uint8_t seed[32];

	clock_random(h->clock, seed, sizeof seed);
	crypto_kx_seed_keypair(h->ephemeral, h->ephemeral_secret, seed);
	sodium_memzero(seed, sizeof seed);
}

/* mac1: who knows B's id may speak. */
static void make_mac1(uint8_t out[MAC_SIZE], const struct id *named, const uint8_t *msg1)
{
	uint8_t mac[32];
	struct id mac_key;

	id_of_spans(&mac_key, (struct span[]){ LABEL("mootfs mac1"), { named->bytes, ID_SIZE } }, 2);
	keyed_hash(mac, mac_key.bytes, &(struct span){ msg1, NAMED_SIZE }, 1);
	memcpy(out, mac, MAC_SIZE);
}

static void make_cookie(uint8_t out[MAC_SIZE], const uint8_t secret[32], const struct handshake *h, const uint8_t *eA)
{
	uint8_t mac[32];

	keyed_hash(mac, secret, (struct span[]){ { h->address, h->address_size }, { eA, 32 } }, 2);
	memcpy(out, mac, MAC_SIZE);
}

/* msg1: version suite flags eA mac1 mac2 */

static size_t create_hello(struct handshake *h, uint8_t *out)
{
	uint8_t *at = put_little(out, HELLO, 1), *msg1 = at;

	at = put_little(at, HANDSHAKE_VERSION, 1);
	at = put_little(at, HANDSHAKE_SUITE, 1);
	at = put_little(at, FLAGS, 2);
	at = put(at, h->ephemeral, 32);
	make_mac1(at, &h->peer, msg1);
	put(at + MAC_SIZE, h->cookie, MAC_SIZE);

	begin_hash(h);
	mix(h, msg1, MSG1_SIZE); /* h1 */
	h->state = AWAIT_CHALLENGE;
	return HELLO_SIZE;
}

static bool mac1_is_right(const struct handshake *h, const uint8_t *msg1, const uint8_t *mac1)
{
	static const struct id nobody;
	uint8_t expected[MAC_SIZE];

	make_mac1(expected, &h->key->public, msg1);
	if (sodium_memcmp(mac1, expected, MAC_SIZE) == 0)
		return true;
	if (h->server->closed)
		return false;
	make_mac1(expected, &nobody, msg1);
	return sodium_memcmp(mac1, expected, MAC_SIZE) == 0;
}

/* Leaves what it should have been in h->cookie. */
static bool mac2_is_right(struct handshake *h, const uint8_t *eA, const uint8_t *mac2)
{
	uint8_t before[MAC_SIZE];

	make_cookie(h->cookie, h->server->cookie_secret[0], h, eA);
	make_cookie(before, h->server->cookie_secret[1], h, eA);
	return sodium_memcmp(mac2, h->cookie, MAC_SIZE) == 0 || sodium_memcmp(mac2, before, MAC_SIZE) == 0;
}

/* Who has a cookie (or needs none) costs us a key pair and a product. */
static int answer_hello(struct handshake *h, const uint8_t *eA)
{
	make_ephemeral(h);
	if (sodium_memcmp(h->ephemeral, eA, 32) == 0)
		return -EPROTO;
	if (crypto_kx_server_session_keys(h->rx, h->tx, h->ephemeral, h->ephemeral_secret, eA) != 0)
		return -EBADMSG;
	sodium_memzero(h->ephemeral_secret, sizeof h->ephemeral_secret);

	uint32_t effort = h->server->effort;
	h->puzzle = (struct puzzle){
		.server = h->key->public,
		.seed = h->server->seed[0],
		.effort = effort < EFFORT_MAX ? effort : EFFORT_MAX,
	};
	h->state = GIVE_CHALLENGE;
	return 0;
}

static int consume_hello(struct handshake *h, const uint8_t *msg1)
{
	struct wire w;

	wire_init(&w, msg1, MSG1_SIZE);
	if (wire_u8(&w) != HANDSHAKE_VERSION || wire_u8(&w) != HANDSHAKE_SUITE || wire_u16(&w) != FLAGS)
		return -EBADMSG;
	const uint8_t *eA = wire_bytes(&w, 32), *mac1 = wire_bytes(&w, MAC_SIZE), *mac2 = wire_bytes(&w, MAC_SIZE);
	if (!mac1_is_right(h, msg1, mac1))
		return -EPROTO;

	handshake_server_tick(h->server, h->clock);
	if (h->server->loaded && !mac2_is_right(h, eA, mac2)) {
		h->state = GIVE_COOKIE;
		return h->cookie_used ? -EPROTO : 0;
	}
	begin_hash(h);
	mix(h, msg1, MSG1_SIZE); /* h1 */
	return answer_hello(h, eA);
}

/* The cookie */

static size_t create_cookie(struct handshake *h, uint8_t *out)
{
	put(put_little(out, COOKIE, 1), h->cookie, MAC_SIZE);
	h->cookie_used = true;
	h->state = AWAIT_HELLO;
	return COOKIE_SIZE;
}

static int consume_cookie(struct handshake *h, const uint8_t *cookie)
{
	if (h->cookie_used)
		return -EPROTO;
	memcpy(h->cookie, cookie, MAC_SIZE);
	h->cookie_used = true;
	h->state = GIVE_HELLO;
	return 0;
}

/* msg2: eB, c2 = [idB tB puzzle sB]. sB is over h2 and all before it in c2. */

static size_t create_challenge(struct handshake *h, uint8_t *out)
{
	uint8_t text[ID_SIZE + OFFER_SIZE + SIGNATURE_SIZE], *offer = text + ID_SIZE, k2[32];
	struct signature sB;
	size_t size = 0;

	uint8_t *c2 = put(put_little(out, CHALLENGE, 1), h->ephemeral, 32);
	mix(h, h->ephemeral, 32); /* h2 */
	h->puzzle.h2 = h->hash;
	derive(k2, h->tx, (struct span)LABEL("mootfs k2"), &h->hash);

	put(text, h->hash.bytes, ID_SIZE);
	uint8_t *at = put(offer, h->key->public.bytes, ID_SIZE);
	at = put_little(at, clock_time_ms(h->clock), 8);
	at = put(at, h->puzzle.seed.bytes, PUZZLE_SEED_SIZE);
	at = put_little(at, h->puzzle.effort, 4);
	if (key_sign(&sB, h->key, "mootfs hs 1 server", text, ID_SIZE + OFFER_SIZE) < 0) {
		die(h);
		goto out;
	}
	put(at, sB.bytes, SIGNATURE_SIZE);
	seal(c2, offer, OFFER_SIZE + SIGNATURE_SIZE, k2, &h->hash);
	mix(h, c2, CHALLENGE_SIZE - 1 - 32); /* h3 */
	h->state = AWAIT_EARN;
	size = CHALLENGE_SIZE;
out:
	sodium_memzero(k2, sizeof k2);
	sodium_memzero(text, sizeof text);
	return size;
}

/* Cheap things first, then sB. `text` is h2 and what c2 held. */
static int check_offer(struct handshake *h, const uint8_t *text)
{
	struct signature sB;
	struct wire w;

	wire_init(&w, text + ID_SIZE, OFFER_SIZE + SIGNATURE_SIZE);
	wire_id(&w, &h->puzzle.server);
	h->peer_time_ms = wire_u64(&w);
	memcpy(h->puzzle.seed.bytes, wire_bytes(&w, PUZZLE_SEED_SIZE), PUZZLE_SEED_SIZE);
	h->puzzle.effort = wire_u32(&w);
	memcpy(sB.bytes, wire_bytes(&w, SIGNATURE_SIZE), SIGNATURE_SIZE);

	if (!id_is_zero(&h->peer) && !id_equal(&h->peer, &h->puzzle.server))
		return -EKEYREJECTED;
	if (id_equal(&h->puzzle.server, &h->key->public) || h->puzzle.effort > EFFORT_MAX)
		return -EPROTO;
	return key_verify(&sB, &h->puzzle.server, "mootfs hs 1 server", text, ID_SIZE + OFFER_SIZE);
}

static int consume_challenge(struct handshake *h, const uint8_t *msg2)
{
	uint8_t text[ID_SIZE + OFFER_SIZE + SIGNATURE_SIZE], k2[32];
	const uint8_t *eB = msg2, *c2 = msg2 + 32;

	if (sodium_memcmp(eB, h->ephemeral, 32) == 0)
		return -EPROTO;
	if (crypto_kx_client_session_keys(h->rx, h->tx, h->ephemeral, h->ephemeral_secret, eB) != 0)
		return -EBADMSG;
	sodium_memzero(h->ephemeral_secret, sizeof h->ephemeral_secret);

	mix(h, eB, 32); /* h2 */
	derive(k2, h->rx, (struct span)LABEL("mootfs k2"), &h->hash);
	put(text, h->hash.bytes, ID_SIZE);
	int err = unseal(text + ID_SIZE, c2, OFFER_SIZE + SIGNATURE_SIZE, k2, &h->hash);
	if (err == 0)
		err = check_offer(h, text);
	if (err < 0)
		goto out;

	h->peer = h->puzzle.server;
	h->puzzle.client = h->key->public;
	h->puzzle.h2 = h->hash;
	mix(h, c2, CHALLENGE_SIZE - 1 - 32); /* h3 */
	h->state = h->puzzle.effort > 0 ? SOLVE : GIVE_EARN;
out:
	sodium_memzero(k2, sizeof k2);
	sodium_memzero(text, sizeof text);
	return err;
}

/* msg3: c3 = [idA tA solution sA]. sA is over h3, idA, idB and what follows idA in c3. */

#define CLAIM_TEXT_SIZE (ID_SIZE + ID_SIZE + CLAIM_SIZE)

static void put_claim_text(uint8_t text[CLAIM_TEXT_SIZE], const struct handshake *h, const uint8_t *claim)
{
	uint8_t *at = put(put(text, h->hash.bytes, ID_SIZE), claim, ID_SIZE);

	put(put(at, h->puzzle.server.bytes, ID_SIZE), claim + ID_SIZE, CLAIM_SIZE - ID_SIZE);
}

static size_t create_earn(struct handshake *h, uint8_t *out)
{
	uint8_t claim[CLAIM_SIZE + SIGNATURE_SIZE], text[CLAIM_TEXT_SIZE], k3[32];
	struct signature sA;
	size_t size = 0;

	uint8_t *c3 = put_little(out, EARN, 1);
	uint8_t *at = put(claim, h->key->public.bytes, ID_SIZE);
	at = put_little(at, clock_time_ms(h->clock), 8);
	at = put_little(at, h->solution.effort, 4);
	for (unsigned i = 0; i < PUZZLE_PARTS; i++)
		at = put_little(at, h->solution.nonces[i], 8);
	put_claim_text(text, h, claim);
	if (key_sign(&sA, h->key, "mootfs hs 1 client", text, sizeof text) < 0) {
		die(h);
		goto out;
	}
	put(at, sA.bytes, SIGNATURE_SIZE);
	derive(k3, h->tx, (struct span)LABEL("mootfs k3"), &h->hash);
	seal(c3, claim, sizeof claim, k3, &h->hash);
	mix(h, c3, EARN_SIZE - 1); /* h4 */
	h->state = DONE;
	size = EARN_SIZE;
out:
	sodium_memzero(k3, sizeof k3);
	sodium_memzero(claim, sizeof claim);
	sodium_memzero(text, sizeof text);
	return size;
}

static bool seed_is_of_now(const struct handshake *h)
{
	return memcmp(&h->puzzle.seed, &h->server->seed[0], PUZZLE_SEED_SIZE) == 0 ||
	       memcmp(&h->puzzle.seed, &h->server->seed[1], PUZZLE_SEED_SIZE) == 0;
}

/* Cheap things first, then sA. `claim` is what c3 held. */
static int check_claim(struct handshake *h, const uint8_t *claim)
{
	uint8_t text[CLAIM_TEXT_SIZE];
	struct signature sA;
	struct wire w;

	wire_init(&w, claim, CLAIM_SIZE + SIGNATURE_SIZE);
	wire_id(&w, &h->puzzle.client);
	h->peer_time_ms = wire_u64(&w);
	h->solution.effort = wire_u32(&w);
	for (unsigned i = 0; i < PUZZLE_PARTS; i++)
		h->solution.nonces[i] = wire_u64(&w);
	memcpy(sA.bytes, wire_bytes(&w, SIGNATURE_SIZE), SIGNATURE_SIZE);

	if (id_equal(&h->puzzle.client, &h->key->public))
		return -EPROTO;
	if (!seed_is_of_now(h) || !puzzle_check(&h->puzzle, &h->solution))
		return -EKEYREJECTED;
	put_claim_text(text, h, claim);
	int err = key_verify(&sA, &h->puzzle.client, "mootfs hs 1 client", text, sizeof text);
	sodium_memzero(text, sizeof text);
	return err;
}

static int consume_earn(struct handshake *h, const uint8_t *c3)
{
	uint8_t claim[CLAIM_SIZE + SIGNATURE_SIZE], k3[32];

	handshake_server_tick(h->server, h->clock);
	derive(k3, h->rx, (struct span)LABEL("mootfs k3"), &h->hash);
	int err = unseal(claim, c3, sizeof claim, k3, &h->hash);
	if (err == 0)
		err = check_claim(h, claim);
	if (err < 0)
		goto out;

	h->peer = h->puzzle.client;
	mix(h, c3, EARN_SIZE - 1); /* h4 */
	h->state = DONE;
out:
	sodium_memzero(k3, sizeof k3);
	sodium_memzero(claim, sizeof claim);
	return err;
}

/* The server's secrets */

static void replace(uint8_t *now, uint8_t *before, uint64_t age_ms, uint64_t life_ms, const struct clock *clock)
{
	memcpy(before, now, 32);
	clock_random(clock, now, 32);
	if (age_ms >= 2 * life_ms) /* nobody looked for long: that one is over too */
		clock_random(clock, before, 32);
}

void handshake_server_init(struct handshake_server *s, const struct key *key, const struct id *network,
			   const struct clock *clock)
{
	*s = (struct handshake_server){ .key = key };
	if (network)
		s->network = *network;
	clock_random(clock, s->cookie_secret, sizeof s->cookie_secret);
	clock_random(clock, s->seed, sizeof s->seed);
	s->cookie_from_ms = s->seed_from_ms = clock_now_ms(clock);
}

void handshake_server_tick(struct handshake_server *s, const struct clock *clock)
{
	uint64_t now_ms = clock_now_ms(clock);
	uint64_t cookie_age_ms = now_ms - s->cookie_from_ms, seed_age_ms = now_ms - s->seed_from_ms;

	if (cookie_age_ms >= COOKIE_MS) {
		replace(s->cookie_secret[0], s->cookie_secret[1], cookie_age_ms, COOKIE_MS, clock);
		s->cookie_from_ms = now_ms;
	}
	if (seed_age_ms >= SEED_MS) {
		replace(s->seed[0].bytes, s->seed[1].bytes, seed_age_ms, SEED_MS, clock);
		s->seed_from_ms = now_ms;
	}
}

void handshake_server_finish(struct handshake_server *s)
{
	if (s)
		sodium_memzero(s, sizeof *s);
}

/* The machine */

struct handshake *handshake_new_client(const struct key *key, const struct id *network, const struct id *peer,
				       const struct clock *clock)
{
	struct handshake *h = calloc(1, sizeof *h);
	if (!h)
		return NULL;

	h->state = GIVE_HELLO;
	h->key = key;
	h->clock = clock;
	if (network)
		h->network = *network;
	if (peer)
		h->peer = *peer;
	make_ephemeral(h);
	return h;
}

struct handshake *handshake_new_server(struct handshake_server *s, const void *address, size_t address_size,
				       const struct clock *clock)
{
	struct handshake *h = address_size <= ADDRESS_SIZE_MAX ? calloc(1, sizeof *h) : NULL;
	if (!h)
		return NULL;

	h->state = AWAIT_HELLO;
	h->key = s->key;
	h->clock = clock;
	h->server = s;
	h->network = s->network;
	if (address_size > 0)
		memcpy(h->address, address, address_size);
	h->address_size = address_size;
	return h;
}

void handshake_free(struct handshake *h)
{
	if (!h)
		return;
	die(h);
	free(h);
}

static const struct kind {
	enum type type;
	enum state state;
	size_t size; /* with its byte of type */
	int (*consume)(struct handshake *h, const uint8_t *message);
} kinds[] = {
	{ HELLO, AWAIT_HELLO, HELLO_SIZE, consume_hello },
	{ COOKIE, AWAIT_CHALLENGE, COOKIE_SIZE, consume_cookie },
	{ CHALLENGE, AWAIT_CHALLENGE, CHALLENGE_SIZE, consume_challenge },
	{ EARN, AWAIT_EARN, EARN_SIZE, consume_earn },
};

static const struct kind *find_kind(uint8_t type)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (kinds[i].type == type)
			return &kinds[i];
	}
	return NULL;
}

ssize_t handshake_take(struct handshake *h, const uint8_t *bytes, size_t size)
{
	if (h->state == DEAD)
		return -EPROTO;
	if (h->state == DONE || size == 0)
		return 0;

	const struct kind *kind = find_kind(bytes[0]);
	int err = !kind ? -EBADMSG : kind->state != h->state ? -EPROTO : 0;
	if (err == 0 && size < kind->size)
		return 0;
	if (err == 0)
		err = kind->consume(h, bytes + 1);
	if (err < 0) {
		die(h);
		return err;
	}
	return (ssize_t)kind->size;
}

size_t handshake_give(struct handshake *h, uint8_t *out)
{
	static size_t (*const create[STATES])(struct handshake *h, uint8_t *out) = {
		[GIVE_HELLO] = create_hello,
		[GIVE_COOKIE] = create_cookie,
		[GIVE_CHALLENGE] = create_challenge,
		[GIVE_EARN] = create_earn,
	};

	return create[h->state] ? create[h->state](h, out) : 0;
}

bool handshake_puzzle(const struct handshake *h, struct puzzle *out)
{
	if (h->state != SOLVE)
		return false;
	*out = h->puzzle;
	return true;
}

void handshake_solved(struct handshake *h, const struct solution *solution)
{
	if (h->state != SOLVE)
		return;
	h->solution = *solution;
	h->state = GIVE_EARN;
}

bool handshake_done(struct handshake *h, struct handshake_keys *out_keys)
{
	if (h->state != DONE)
		return false;
	if (!out_keys)
		return true;

	const struct span a_to_b = LABEL("mootfs a>b"), b_to_a = LABEL("mootfs b>a"), binding = LABEL("mootfs cb");
	derive(out_keys->send, h->tx, h->server ? b_to_a : a_to_b, &h->hash);
	derive(out_keys->receive, h->rx, h->server ? a_to_b : b_to_a, &h->hash);
	id_of_spans(&out_keys->cb, (struct span[]){ binding, { h->hash.bytes, ID_SIZE } }, 2);
	out_keys->peer = h->peer;
	out_keys->peer_time_ms = h->peer_time_ms;
	out_keys->effort = h->solution.effort;
	die(h);
	return true;
}
