/*
 * sim_random.h - streams of random numbers that a seed and a name decide: ChaCha20 of libsodium.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_random {
	uint8_t key[32];
	uint64_t block;
	uint8_t left;
	uint8_t bytes[64];
};

void sim_random_init(struct sim_random *r, uint64_t seed, uint64_t stream);
void sim_random_fill(struct sim_random *r, uint8_t *out, size_t size);
uint64_t sim_random_u64(struct sim_random *r);
uint64_t sim_random_below(struct sim_random *r, uint64_t limit); /* 0: 0 */
uint64_t sim_random_range(struct sim_random *r, uint64_t least, uint64_t greatest); /* both may come */
bool sim_random_chance(struct sim_random *r, uint32_t per_million);
/* From least to greatest, each power of two as likely as any other. */
uint64_t sim_random_skewed(struct sim_random *r, uint64_t least, uint64_t greatest);
/* The same for the same three numbers, whatever was drawn before. */
uint64_t sim_random_of(uint64_t seed, uint64_t a, uint64_t b);

#endif
