/*
 * wire.h - bounds-checked reading of fixed-width fields that disks and peers give us.
 *
 * A reader borrows its input and never looks past the end of it.  The first
 * short read makes it fail for good: later reads give zeroes and NULLs, and
 * wire_finish() tells.  So a decoder reads every field, then checks once.
 * Nothing here allocates.  Integers are little-endian unless the name says be.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"

struct wire {
	const uint8_t *at;
	size_t left;
	bool failed;
};

void wire_init(struct wire *w, const void *bytes, size_t size);
uint8_t wire_u8(struct wire *w);
uint16_t wire_u16(struct wire *w);
uint32_t wire_u32(struct wire *w);
uint64_t wire_u64(struct wire *w);
uint16_t wire_u16_be(struct wire *w);
uint32_t wire_u32_be(struct wire *w);
uint64_t wire_u64_be(struct wire *w);
/* Borrowed from the input; NULL when it is too short. */
const uint8_t *wire_bytes(struct wire *w, size_t size);
void wire_id(struct wire *w, struct id *out); /* zeroes when short */
/* 0, or -EBADMSG if a read was short or bytes are left. */
int wire_finish(const struct wire *w);

#endif
