/*
 * follow.h - whom a peer follows, told without telling: a Bloom filter of entity ids.
 *
 * 10 bits and 7 positions an entity, so of those it does not follow some 1 % pass: what is sent for nothing is
 * ignored.  The positions come from one SipHash-2-4-128 of the id, keyed by 16 bytes of
 * KH(cb, "mootfs follow" NUL): with h and g its two little-endian halves, position i is
 * (h + i * (g | 1) mod 2^64) mod the number of bits; bit b is bit b % 8 of byte b / 8.  So the filters of two
 * sessions cannot be compared, and nobody can aim at one that he does not hold.
 *
 * The caller owns the bits.  Above FOLLOW_SIZE_AIM a filter grows no more and only
 * passes more of what it should not. Nothing here allocates or fails.
 */
#ifndef FOLLOW_H
#define FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"
#include "net_limits.h"

#define FOLLOW_KEY_SIZE 16

void follow_key(uint8_t out_key[FOLLOW_KEY_SIZE], const struct id *cb);
/*
 * In a filter instead of the entity: of whom records are wanted and of their pieces only some, as of the authors of a
 * document. H("mootfs records" NUL entity).
 */
void follow_records_of(struct id *out, const struct id *entity);
/* Bytes of a filter for so many entities: FOLLOW_SIZE_MIN .. FOLLOW_SIZE_AIM. */
size_t follow_size(uint64_t count);
/* To make a filter: follow_size() zero bytes, then each entity. */
void follow_add(uint8_t *bits, size_t size, const uint8_t key[FOLLOW_KEY_SIZE], const struct id *entity);
/* False: surely not followed. An empty filter (size 0) has nobody. */
bool follow_test(const uint8_t *bits, size_t size, const uint8_t key[FOLLOW_KEY_SIZE], const struct id *entity);

#endif
