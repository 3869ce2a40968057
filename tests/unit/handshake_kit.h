/*
 * handshake_kit.h - mootfs hs 1 a second time, flat and slow, to compare with and to forge by; a clock that repeats.
 *
 * Each end of the model is a struct model: what it says is what it is told to say, right or wrong.
 */
#ifndef HANDSHAKE_KIT_H
#define HANDSHAKE_KIT_H

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"

enum kit_type { KIT_HELLO = 1, KIT_COOKIE = 2, KIT_CHALLENGE = 4, KIT_EARN = 7 };

#define KIT_TIME_MS 1700000000000ull

struct kit_clock {
	struct clock clock; /* .context is the kit_clock: never copied while in use */
	uint64_t seed, draws, now_ms;
};

static inline void kit_random(void *context, uint8_t *out, size_t size)
{
	struct kit_clock *c = context;
	uint8_t seed[randombytes_SEEDBYTES] = { 0 };

	memcpy(seed, &c->seed, 8);
	memcpy(seed + 8, &c->draws, 8);
	c->draws++;
	randombytes_buf_deterministic(out, size, seed);
}

static inline uint64_t kit_now_ms(void *context)
{
	return ((const struct kit_clock *)context)->now_ms;
}

static inline uint64_t kit_time_ns(void *context)
{
	const struct kit_clock *c = context;
	return (KIT_TIME_MS + c->seed * 1000 + c->now_ms) * 1000000;
}

static inline void kit_clock_init(struct kit_clock *c, uint64_t seed)
{
	*c = (struct kit_clock){
		.clock = { .time_ns = kit_time_ns, .now_ms = kit_now_ms, .random = kit_random, .context = c },
		.seed = seed,
	};
}

struct flat { /* bytes one after the other */
	uint8_t bytes[1024];
	size_t size;
};

static inline void flat_put(struct flat *f, const void *bytes, size_t size)
{
	if (size > sizeof f->bytes - f->size)
		abort();
	memcpy(f->bytes + f->size, bytes, size);
	f->size += size;
}

static inline void flat_label(struct flat *f, const char *label)
{
	flat_put(f, label, strlen(label) + 1);
}

static inline void flat_little(struct flat *f, uint64_t value, size_t size)
{
	for (; size > 0; size--, value >>= 8)
		flat_put(f, (uint8_t[]){ value & 0xff }, 1);
}

static inline void flat_hash(uint8_t out[32], const struct flat *f, const uint8_t *key)
{
	crypto_generichash(out, 32, f->bytes, f->size, key, key ? 32 : 0);
}

struct model {
	uint8_t public[32], secret[32], rx[32], tx[32]; /* of this session */
	uint8_t h[32];
};

struct offer {
	struct id server;
	uint64_t time_ms;
	struct puzzle_seed seed;
	uint32_t effort;
};

struct claim {
	struct id client;
	uint64_t time_ms;
	struct solution solution;
};

static inline void model_init(struct model *m, uint64_t seed)
{
	struct kit_clock clock;
	uint8_t bytes[32];

	memset(m, 0, sizeof *m);
	kit_clock_init(&clock, seed);
	clock_random(&clock.clock, bytes, 32);
	crypto_kx_seed_keypair(m->public, m->secret, bytes);
}

static inline void model_mix(struct model *m, const void *bytes, size_t size)
{
	struct flat f = { .size = 0 };

	flat_put(&f, m->h, 32);
	flat_put(&f, bytes, size);
	flat_hash(m->h, &f, NULL);
}

/* KH(key, label h) */
static inline void model_key(const struct model *m, uint8_t out[32], const uint8_t key[32], const char *label)
{
	struct flat f = { .size = 0 };

	flat_label(&f, label);
	flat_put(&f, m->h, 32);
	flat_hash(out, &f, key);
}

/* h1, of both ends; hello is whole, with its type. */
static inline void model_begin(struct model *m, const struct id *network, const uint8_t *hello)
{
	struct flat f = { .size = 0 };

	flat_label(&f, "mootfs hs 1");
	flat_put(&f, network->bytes, 32);
	flat_little(&f, HANDSHAKE_SUITE, 1);
	flat_hash(m->h, &f, NULL);
	model_mix(m, hello + 1, HELLO_SIZE - 1);
}

/* Puts the mac1 for `named` on a hello. */
static inline void model_mac1(uint8_t hello[HELLO_SIZE], const struct id *named)
{
	struct flat f = { .size = 0 };
	uint8_t key[32], mac[32];

	flat_label(&f, "mootfs mac1");
	flat_put(&f, named->bytes, 32);
	flat_hash(key, &f, NULL);
	f.size = 0;
	flat_put(&f, hello + 1, 36);
	flat_hash(mac, &f, key);
	memcpy(hello + 37, mac, 16);
}

static inline void model_hello(uint8_t out[HELLO_SIZE], const uint8_t eA[32], const struct id *named)
{
	static const uint8_t start[5] = { KIT_HELLO, HANDSHAKE_VERSION, HANDSHAKE_SUITE, 0, 0 };

	memset(out, 0, HELLO_SIZE);
	memcpy(out, start, sizeof start);
	memcpy(out + 5, eA, 32);
	model_mac1(out, named);
}

/* p is the product of the two; made wrong where libsodium would refuse to (small order). */
static inline void model_keys(struct model *m, const uint8_t p[32], const uint8_t eA[32], const uint8_t eB[32], bool is_a)
{
	uint8_t keys[64];
	struct flat f = { .size = 0 };

	flat_put(&f, p, 32);
	flat_put(&f, eA, 32);
	flat_put(&f, eB, 32);
	crypto_generichash(keys, 64, f.bytes, f.size, NULL, 0);
	memcpy(m->rx, keys + (is_a ? 0 : 32), 32);
	memcpy(m->tx, keys + (is_a ? 32 : 0), 32);
}

static inline void model_meet(struct model *m, const uint8_t other[32], bool is_a)
{
	uint8_t p[32];

	if (crypto_scalarmult(p, m->secret, other) != 0)
		memset(p, 0, 32);
	model_keys(m, p, is_a ? m->public : other, is_a ? other : m->public, is_a);
}

static inline void model_seal(const struct model *m, uint8_t *out, const struct flat *text, const char *label)
{
	static const uint8_t nonce[24];
	uint8_t key[32];

	model_key(m, key, m->tx, label);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, text->bytes, text->size, m->h, 32, NULL, nonce, key);
}

static inline void flat_sign(struct flat *out, const struct flat *text, const struct key *signer)
{
	uint8_t signature[64];

	crypto_sign_detached(signature, NULL, text->bytes, text->size, signer->secret);
	flat_put(out, signature, 64);
}

/* From h1 to h3, rx and tx known. */
static inline void model_challenge(struct model *m, uint8_t out[CHALLENGE_SIZE], const struct key *signer,
				   const struct offer *offer)
{
	struct flat text = { .size = 0 }, signed_text = { .size = 0 };

	model_mix(m, m->public, 32);
	flat_put(&text, offer->server.bytes, 32);
	flat_little(&text, offer->time_ms, 8);
	flat_put(&text, offer->seed.bytes, 32);
	flat_little(&text, offer->effort, 4);
	flat_label(&signed_text, "mootfs hs 1 server");
	flat_put(&signed_text, m->h, 32);
	flat_put(&signed_text, text.bytes, text.size);
	flat_sign(&text, &signed_text, signer);

	out[0] = KIT_CHALLENGE;
	memcpy(out + 1, m->public, 32);
	model_seal(m, out + 33, &text, "mootfs k2");
	model_mix(m, out + 33, CHALLENGE_SIZE - 33);
}

/* From h1 to h3, at A: false if it cannot be opened. h2 is what puzzles want. */
static inline bool model_open_challenge(struct model *m, const uint8_t *challenge, struct offer *out, struct id *out_h2)
{
	static const uint8_t nonce[24];
	uint8_t key[32], text[CHALLENGE_SIZE];

	model_mix(m, challenge + 1, 32);
	memcpy(out_h2->bytes, m->h, 32);
	model_meet(m, challenge + 1, true);
	model_key(m, key, m->rx, "mootfs k2");
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(text, NULL, NULL, challenge + 33, CHALLENGE_SIZE - 33, m->h, 32,
						       nonce, key) != 0)
		return false;
	model_mix(m, challenge + 33, CHALLENGE_SIZE - 33);
	memcpy(out->server.bytes, text, 32);
	out->time_ms = 0;
	for (int i = 7; i >= 0; i--)
		out->time_ms = out->time_ms << 8 | text[32 + i];
	memcpy(out->seed.bytes, text + 40, 32);
	out->effort = text[72] | (uint32_t)text[73] << 8 | (uint32_t)text[74] << 16 | (uint32_t)text[75] << 24;
	return true;
}

/* From h3 to h4. `named` is the server that the signature names. */
static inline void model_earn(struct model *m, uint8_t out[EARN_SIZE], const struct key *signer, const struct id *named,
			      const struct claim *claim)
{
	struct flat text = { .size = 0 }, signed_text = { .size = 0 };

	flat_put(&text, claim->client.bytes, 32);
	flat_little(&text, claim->time_ms, 8);
	flat_little(&text, claim->solution.effort, 4);
	for (unsigned i = 0; i < PUZZLE_PARTS; i++)
		flat_little(&text, claim->solution.nonces[i], 8);
	flat_label(&signed_text, "mootfs hs 1 client");
	flat_put(&signed_text, m->h, 32);
	flat_put(&signed_text, claim->client.bytes, 32);
	flat_put(&signed_text, named->bytes, 32);
	flat_put(&signed_text, text.bytes + 32, text.size - 32);
	flat_sign(&text, &signed_text, signer);

	out[0] = KIT_EARN;
	model_seal(m, out + 1, &text, "mootfs k3");
	model_mix(m, out + 1, EARN_SIZE - 1);
}

static inline void model_finish(const struct model *m, bool is_a, struct handshake_keys *out)
{
	struct flat f = { .size = 0 };

	memset(out, 0, sizeof *out);
	model_key(m, out->send, m->tx, is_a ? "mootfs a>b" : "mootfs b>a");
	model_key(m, out->receive, m->rx, is_a ? "mootfs b>a" : "mootfs a>b");
	flat_label(&f, "mootfs cb");
	flat_put(&f, m->h, 32);
	flat_hash(out->cb.bytes, &f, NULL);
}

#endif
