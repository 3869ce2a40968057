#include "puzzle.h"

#include <sodium.h>
#include <string.h>

#include "net_limits.h"

#define LABEL "mootfs puzzle 1"
#define EFFORT_HASHES 4096
#define TAIL_SIZE (1 + 8) /* part, nonce */
#define TEXT_SIZE (sizeof LABEL + 4 * ID_SIZE + 4 + TAIL_SIZE)
#define HASH_SIZE 16

_Static_assert(PUZZLE_SEED_SIZE == ID_SIZE, "four fields of one size");

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

/* What is hashed, but for its tail. */
static void begin_text(uint8_t text[TEXT_SIZE], const struct puzzle *p, uint32_t effort)
{
	uint8_t *at = put(text, LABEL, sizeof LABEL);

	at = put(at, p->server.bytes, ID_SIZE);
	at = put(at, p->client.bytes, ID_SIZE);
	at = put(at, p->h2.bytes, ID_SIZE);
	at = put(at, p->seed.bytes, PUZZLE_SEED_SIZE);
	put_little(at, effort, 4);
}

/* R * D <= 2^64 - 1 is R <= (2^64 - 1) / D, rounded down. */
static uint64_t greatest_hash(uint32_t effort)
{
	uint64_t d = ((uint64_t)effort * EFFORT_HASHES + PUZZLE_PARTS - 1) / PUZZLE_PARTS;

	return d == 0 ? UINT64_MAX : UINT64_MAX / d;
}

static uint64_t hash_of(uint8_t text[TEXT_SIZE], unsigned part, uint64_t nonce)
{
	uint8_t *tail = text + TEXT_SIZE - TAIL_SIZE;
	uint8_t hash[HASH_SIZE];
	uint64_t r = 0;

	put_little(put_little(tail, part, 1), nonce, 8);
	crypto_generichash(hash, sizeof hash, text, TEXT_SIZE, NULL, 0);
	for (size_t i = 8; i > 0; i--)
		r = r << 8 | hash[i - 1];
	return r;
}

bool puzzle_solve(const struct puzzle *p, struct puzzle_search *search, uint64_t tries_max)
{
	uint64_t greatest = greatest_hash(p->effort);
	uint8_t text[TEXT_SIZE];

	begin_text(text, p, p->effort);
	search->found.effort = p->effort;
	for (uint64_t tries = 0; tries < tries_max && search->part < PUZZLE_PARTS; tries++) {
		if (hash_of(text, search->part, search->nonce) > greatest) {
			search->nonce++;
			continue;
		}
		search->found.nonces[search->part++] = search->nonce;
		search->nonce = 0;
	}
	return search->part >= PUZZLE_PARTS;
}

bool puzzle_check(const struct puzzle *p, const struct solution *solution)
{
	uint64_t greatest = greatest_hash(solution->effort);
	uint8_t text[TEXT_SIZE];

	if (solution->effort < p->effort || solution->effort > EFFORT_MAX)
		return false;
	begin_text(text, p, solution->effort);
	for (unsigned part = 0; part < PUZZLE_PARTS; part++) {
		if (hash_of(text, part, solution->nonces[part]) > greatest)
			return false;
	}
	return true;
}
