/*
 * cbor.h - deterministic CBOR (RFC 8949 section 4.2.1), the part of it that records use.
 *
 * Only unsigned integers, byte strings, text strings (valid UTF-8) and arrays
 * of definite length occur, each in its shortest form; anything else fails.
 * Encoding and decoding of heads is libcbor's; the strictness is ours.
 *
 * The writer appends to a `struct bytes`, whose sticky error is the writer's.
 * The reader borrows its input and is sticky too: after the first failure reads
 * give zeroes, and cbor_reader_finish() tells.
 */
#ifndef CBOR_H
#define CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "id.h"

void cbor_put_uint(struct bytes *b, uint64_t value);
void cbor_put_bytes(struct bytes *b, const void *data, size_t size);
/* Text that is not UTF-8 is not written: the buffer's error is -EINVAL then. */
void cbor_put_text(struct bytes *b, const char *text, size_t size);
void cbor_put_array(struct bytes *b, size_t count); /* `count` items follow */
void cbor_put_id(struct bytes *b, const struct id *id);          /* 32 bytes */
void cbor_put_optional_id(struct bytes *b, const struct id *id); /* zero id: empty string */

struct cbor_reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

void cbor_reader_init(struct cbor_reader *r, const void *bytes, size_t size);
uint64_t cbor_get_uint(struct cbor_reader *r, uint64_t max);
/* Borrowed; fails if the size is outside the bounds. Never NULL unless failed. */
const uint8_t *cbor_get_bytes(struct cbor_reader *r, size_t size_min, size_t size_max, size_t *out_size);
const char *cbor_get_text(struct cbor_reader *r, size_t size_min, size_t size_max, size_t *out_size);
size_t cbor_get_array(struct cbor_reader *r, size_t count_min, size_t count_max);
void cbor_get_id(struct cbor_reader *r, struct id *out);          /* exactly 32 bytes */
void cbor_get_optional_id(struct cbor_reader *r, struct id *out); /* 32 bytes, or empty: zero id */
/* Walks over one item of any shape, at most `depth_max` arrays deep (and 16), checking it as above. */
void cbor_skip(struct cbor_reader *r, unsigned depth_max);
void cbor_reader_fail(struct cbor_reader *r); /* a rule of the caller's is broken */
/* 0, or -EBADMSG if anything failed or bytes are left. */
int cbor_reader_finish(const struct cbor_reader *r);

#endif
