/*
 * errors.h - the last hundred reasons why something was refused, newest first: `@/errors`.
 *
 * Thread-safe; the oldest goes when one comes.
 */
#ifndef ERRORS_H
#define ERRORS_H

#include "bytes.h"
#include "clock.h"

#define ERRORS_KEPT 100

struct errors;

struct errors *errors_new(const struct clock *clock);
void errors_free(struct errors *e);
/* path: as in the mount. Repeats of the newest one are counted, not listed again. */
void errors_add(struct errors *e, const char *path, int error, const char *sentence);
uint64_t errors_count(struct errors *e);
/* A line each: time, path, errno's name, sentence. */
void errors_read(struct errors *e, struct bytes *out);

#endif
