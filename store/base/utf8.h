/* utf8.h - is this text? UTF-8 (RFC 3629): no surrogates, nothing overlong, nothing above U+10FFFF. */
#ifndef UTF8_H
#define UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool utf8_valid(const void *bytes, size_t size);
/* A name as records have it: 1 to 255 bytes of UTF-8 without '/' and NUL, not "." or "..", not ending in '@'. */
bool utf8_valid_name(const void *bytes, size_t size);

#endif
