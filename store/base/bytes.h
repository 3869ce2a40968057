/*
 * bytes.h - a growing buffer of bytes, and little-endian integers in place.
 *
 * A buffer never grows over the maximum it was made with.  The first failure
 * (no memory, over the maximum) is kept: later puts do nothing, and the caller
 * asks once, with bytes_error().  Sizes are in bytes.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
	uint8_t *data; /* owned; NULL while empty */
	size_t size;
	size_t capacity;
	size_t size_max;
	int error; /* 0, -ENOMEM or -EMSGSIZE (-EINVAL: cbor_put_text); stays */
};

void bytes_init(struct bytes *b, size_t size_max);
void bytes_finish(struct bytes *b); /* frees; also for CLEANUP */
void bytes_clear(struct bytes *b);  /* empty again, no error, memory kept */

void bytes_put(struct bytes *b, const void *data, size_t size);
void bytes_put_text(struct bytes *b, const char *text);
void bytes_put_format(struct bytes *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Room for `size` bytes at the end, counted as written; NULL on failure. */
uint8_t *bytes_extend(struct bytes *b, size_t size);
int bytes_error(const struct bytes *b);
/* Hands the memory over to the caller (free with free()); the buffer is empty after. NULL: empty, or an error. */
uint8_t *bytes_take(struct bytes *b, size_t *out_size);

void bytes_put_u8(struct bytes *b, uint8_t value);
void bytes_put_u16(struct bytes *b, uint16_t value);
void bytes_put_u32(struct bytes *b, uint32_t value);
void bytes_put_u64(struct bytes *b, uint64_t value);

/* Big-endian, for index keys that must sort as numbers. */
void bytes_put_u16_be(struct bytes *b, uint16_t value);
void bytes_put_u32_be(struct bytes *b, uint32_t value);
void bytes_put_u64_be(struct bytes *b, uint64_t value);

#endif
