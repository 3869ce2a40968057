#include "sim_wrap.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "net_limits.h"
#include "puzzle.h"
#include "sim_random.h"
#include "stream.h"

static const struct sim_hook *the_hook;

void sim_wrap_set(const struct sim_hook *hook)
{
	the_hook = hook;
}

/* ---- signatures ---- */

static const char fake_mark[8] = "no point";

void sim_fake_key(struct key *out, uint64_t seed, uint64_t number)
{
	struct sim_random random;

	sim_random_init(&random, seed, number);
	memset(out, 0, sizeof(*out));
	sim_random_fill(&random, out->public.bytes, sizeof(out->public.bytes));
	memcpy(out->public.bytes + sizeof(out->public.bytes) - sizeof(fake_mark), fake_mark, sizeof(fake_mark));
}

static bool is_fake(const struct id *public)
{
	return memcmp(public->bytes + sizeof(public->bytes) - sizeof(fake_mark), fake_mark, sizeof(fake_mark)) == 0;
}

static void fake_sign(struct signature *out, const struct id *public, const char *label, const void *message, size_t size)
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, public->bytes, sizeof(public->bytes), sizeof(out->bytes));
	crypto_generichash_update(&state, (const uint8_t *)label, strlen(label) + 1);
	crypto_generichash_update(&state, message, size);
	crypto_generichash_final(&state, out->bytes, sizeof(out->bytes));
}

int __real_key_sign(struct signature *out, const struct key *key, const char *label, const void *message, size_t size);
int __wrap_key_sign(struct signature *out, const struct key *key, const char *label, const void *message, size_t size);
int __wrap_key_sign(struct signature *out, const struct key *key, const char *label, const void *message, size_t size)
{
	if (!is_fake(&key->public))
		return __real_key_sign(out, key, label, message, size);
	fake_sign(out, &key->public, label, message, size);
	return 0;
}

int __real_key_verify(const struct signature *signature, const struct id *public, const char *label, const void *message,
		      size_t size);
int __wrap_key_verify(const struct signature *signature, const struct id *public, const char *label, const void *message,
		      size_t size);
int __wrap_key_verify(const struct signature *signature, const struct id *public, const char *label, const void *message,
		      size_t size)
{
	struct signature right;

	if (!is_fake(public))
		return __real_key_verify(signature, public, label, message, size);
	fake_sign(&right, public, label, message, size);
	return memcmp(&right, signature, sizeof(right)) == 0 ? 0 : -EKEYREJECTED;
}

/* ---- puzzles ---- */

static void answer_of(const struct puzzle *p, uint32_t effort, struct solution *out)
{
	crypto_generichash_state state;

	memset(out, 0, sizeof(*out));
	out->effort = effort;
	crypto_generichash_init(&state, p->seed.bytes, sizeof(p->seed.bytes), sizeof(out->nonces));
	crypto_generichash_update(&state, p->server.bytes, sizeof(p->server.bytes));
	crypto_generichash_update(&state, p->client.bytes, sizeof(p->client.bytes));
	crypto_generichash_update(&state, p->h2.bytes, sizeof(p->h2.bytes));
	crypto_generichash_update(&state, (const uint8_t *)&effort, sizeof(effort));
	crypto_generichash_final(&state, (uint8_t *)out->nonces, sizeof(out->nonces));
}

bool __wrap_puzzle_solve(const struct puzzle *p, struct puzzle_search *search, uint64_t tries_max);
bool __wrap_puzzle_solve(const struct puzzle *p, struct puzzle_search *search, uint64_t tries_max)
{
	answer_of(p, p->effort, &search->found);
	search->part = PUZZLE_PARTS;
	return true;
}

bool __wrap_puzzle_check(const struct puzzle *p, const struct solution *solution);
bool __wrap_puzzle_check(const struct puzzle *p, const struct solution *solution)
{
	struct solution right;

	answer_of(p, solution->effort, &right);
	return solution->effort >= p->effort && solution->effort <= EFFORT_MAX &&
	       (solution->effort == 0 || memcmp(right.nonces, solution->nonces, sizeof(right.nonces)) == 0);
}

/* ---- packets ---- */

int __real_stream_push(struct stream *s, const void *packet, size_t size, bool final, uint64_t now_ms, struct bytes *out);
int __wrap_stream_push(struct stream *s, const void *packet, size_t size, bool final, uint64_t now_ms, struct bytes *out);
int __wrap_stream_push(struct stream *s, const void *packet, size_t size, bool final, uint64_t now_ms, struct bytes *out)
{
	struct bytes other;

	bytes_init(&other, PACKET_SIZE_MAX);
	bool changed = the_hook && size > 0 && the_hook->sending(the_hook->context, packet, size, &other) &&
		       other.size > 0 && bytes_error(&other) == 0;
	int err = changed ? __real_stream_push(s, other.data, other.size, final, now_ms, out)
			  : __real_stream_push(s, packet, size, final, now_ms, out);
	bytes_finish(&other);
	return err;
}
