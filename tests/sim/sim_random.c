#include "sim_random.h"

#include <sodium.h>
#include <string.h>

void sim_random_init(struct sim_random *r, uint64_t seed, uint64_t stream)
{
	uint64_t name[2] = { seed, stream };

	memset(r, 0, sizeof(*r));
	crypto_generichash(r->key, sizeof(r->key), (const uint8_t *)name, sizeof(name), NULL, 0);
}

static void refill(struct sim_random *r)
{
	uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];

	memcpy(nonce, &r->block, sizeof(nonce));
	crypto_stream_chacha20(r->bytes, sizeof(r->bytes), nonce, r->key);
	r->block++;
	r->left = sizeof(r->bytes);
}

void sim_random_fill(struct sim_random *r, uint8_t *out, size_t size)
{
	while (size > 0) {
		if (r->left == 0)
			refill(r);
		size_t part = size < r->left ? size : r->left;
		memcpy(out, r->bytes + sizeof(r->bytes) - r->left, part);
		r->left -= (uint8_t)part;
		out += part;
		size -= part;
	}
}

uint64_t sim_random_u64(struct sim_random *r)
{
	uint64_t number;

	sim_random_fill(r, (uint8_t *)&number, sizeof(number));
	return number;
}

uint64_t sim_random_below(struct sim_random *r, uint64_t limit)
{
	uint64_t number = sim_random_u64(r);

	return limit > 0 ? number % limit : 0;
}

uint64_t sim_random_range(struct sim_random *r, uint64_t least, uint64_t greatest)
{
	return least + sim_random_below(r, greatest - least + 1);
}

bool sim_random_chance(struct sim_random *r, uint32_t per_million)
{
	return per_million > 0 && sim_random_below(r, 1000000) < per_million;
}

uint64_t sim_random_skewed(struct sim_random *r, uint64_t least, uint64_t greatest)
{
	unsigned doublings = 0;

	while (least << doublings < greatest && doublings < 40)
		doublings++;
	uint64_t low = least << sim_random_below(r, doublings + 1);
	uint64_t number = sim_random_range(r, low, 2 * low);
	return number < greatest ? number : greatest;
}

uint64_t sim_random_of(uint64_t seed, uint64_t a, uint64_t b)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES] = "sim_random_of";
	uint64_t text[3] = { seed, a, b }, out;

	crypto_shorthash((uint8_t *)&out, (const uint8_t *)text, sizeof(text), key);
	return out;
}
