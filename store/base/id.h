/*
 * id.h - the 32-byte names of things: record ids, piece names, device keys, directories.
 *
 * Hashes are BLAKE2b-256 (RFC 7693).  Text form: 52 characters of lower-case
 * base32 (RFC 4648, no padding), with `moot:` before it where it stands alone;
 * a short id is the first 8 characters.
 */
#ifndef ID_H
#define ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 32
#define ID_TEXT_SIZE 52  /* characters, without the NUL */
#define ID_SHORT_SIZE 8  /* characters, without the NUL */
#define ID_PREFIX_MIN 4  /* characters: the least that may stand for an id */

struct id {
	uint8_t bytes[ID_SIZE];
};

struct span { /* bytes borrowed from somewhere */
	const void *data;
	size_t size;
};

void id_of_bytes(struct id *out, const void *bytes, size_t size);
/* The hash of the spans one after the other. */
void id_of_spans(struct id *out, const struct span *spans, size_t count);
bool id_equal(const struct id *a, const struct id *b);
int id_compare(const struct id *a, const struct id *b); /* as memcmp */
bool id_is_zero(const struct id *id); /* all zeroes stands for 'none' in memory */

/* Writes 52 (8) characters and a NUL. */
void id_format(char out[ID_TEXT_SIZE + 1], const struct id *id);
void id_format_short(char out[ID_SHORT_SIZE + 1], const struct id *id);
/* Reads a whole id, with or without `moot:`. -EINVAL: not one, untouched. */
int id_parse(struct id *out, const char *text);
/*
 * Reads a prefix of ID_PREFIX_MIN to 52 characters, with or without `moot:`,
 * as the least and the greatest id that begin so. -EINVAL: not one.
 */
int id_parse_prefix(struct id *out_least, struct id *out_greatest, const char *text);

#endif
