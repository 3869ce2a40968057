/*
 * puzzle.h - work that a newcomer pays with (DESIGN 7.2): eight parts, so that luck evens out.
 *
 *   D = ceil(E * 4096 / 8); for i in 0..7: R_i = the first 8 bytes (little-endian) of
 *   BLAKE2b-128("mootfs puzzle 1" NUL idB idA h2 seed E i nonce_i), and R_i * D <= 2^64 - 1.
 *
 * A unit of effort is some 4096 hashes, about 1 ms of a core; to check takes microseconds.  Effort 0 needs no work.
 */
#ifndef PUZZLE_H
#define PUZZLE_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"

#define PUZZLE_PARTS 8
#define PUZZLE_SEED_SIZE 32
#define PUZZLE_SIZE (PUZZLE_SEED_SIZE + 4)      /* on the wire: seed, least effort u32 */
#define SOLUTION_SIZE (4 + PUZZLE_PARTS * 8)    /* on the wire: effort u32, nonces u64 */

struct puzzle_seed {
	uint8_t bytes[PUZZLE_SEED_SIZE];
};

struct puzzle {
	struct id server, client; /* devices: nobody else can use the solution */
	struct id h2;             /* of this session alone */
	struct puzzle_seed seed;
	uint32_t effort;          /* the least asked for; who solves may set more */
};

struct solution {
	uint32_t effort;
	uint64_t nonces[PUZZLE_PARTS];
};

struct puzzle_search { /* how far a search is; zeroed to begin */
	unsigned part;
	uint64_t nonce;
	struct solution found;
};

/* Tries up to tries_max hashes: true when all parts are solved (search->found). For a worker that can be told to stop. */
bool puzzle_solve(const struct puzzle *p, struct puzzle_search *search, uint64_t tries_max);
/* Effort at least the puzzle's, at most EFFORT_MAX, and all parts right. */
bool puzzle_check(const struct puzzle *p, const struct solution *solution);

#endif
