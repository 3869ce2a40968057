#include "follow.h"

#include <sodium.h>
#include <string.h>

#include "wire.h"

#define LABEL "mootfs follow"
#define RECORDS_LABEL "mootfs records"

void follow_key(uint8_t out_key[FOLLOW_KEY_SIZE], const struct id *cb)
{
	uint8_t hash[ID_SIZE];

	crypto_generichash(hash, sizeof hash, (const uint8_t *)LABEL, sizeof LABEL, cb->bytes, sizeof cb->bytes);
	memcpy(out_key, hash, FOLLOW_KEY_SIZE);
}

void follow_records_of(struct id *out, const struct id *entity)
{
	id_of_spans(out, (struct span[]){ { RECORDS_LABEL, sizeof RECORDS_LABEL }, { entity, sizeof *entity } }, 2);
}

size_t follow_size(uint64_t count)
{
	if (count > FOLLOW_SIZE_AIM * 8ull / FOLLOW_BITS)
		return FOLLOW_SIZE_AIM;

	size_t size = (size_t)(count * FOLLOW_BITS + 7) / 8;
	return size < FOLLOW_SIZE_MIN ? FOLLOW_SIZE_MIN : size;
}

static void place(uint64_t out_positions[FOLLOW_HASHES], size_t size, const uint8_t key[FOLLOW_KEY_SIZE],
		  const struct id *entity)
{
	uint8_t hash[crypto_shorthash_siphashx24_BYTES];
	struct wire w;

	crypto_shorthash_siphashx24(hash, entity->bytes, sizeof entity->bytes, key);
	wire_init(&w, hash, sizeof hash);
	uint64_t position = wire_u64(&w);
	uint64_t step = wire_u64(&w) | 1;
	for (unsigned i = 0; i < FOLLOW_HASHES; i++, position += step)
		out_positions[i] = position % ((uint64_t)size * 8);
}

void follow_add(uint8_t *bits, size_t size, const uint8_t key[FOLLOW_KEY_SIZE], const struct id *entity)
{
	uint64_t positions[FOLLOW_HASHES];

	if (size == 0)
		return;
	place(positions, size, key, entity);
	for (unsigned i = 0; i < FOLLOW_HASHES; i++)
		bits[positions[i] / 8] |= (uint8_t)(1 << positions[i] % 8);
}

bool follow_test(const uint8_t *bits, size_t size, const uint8_t key[FOLLOW_KEY_SIZE], const struct id *entity)
{
	uint64_t positions[FOLLOW_HASHES];

	if (size == 0)
		return false;
	place(positions, size, key, entity);
	for (unsigned i = 0; i < FOLLOW_HASHES; i++)
		if (!(bits[positions[i] / 8] >> positions[i] % 8 & 1))
			return false;
	return true;
}
