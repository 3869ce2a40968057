/*
 * why.h - the sentence that goes with an error, for a person.
 *
 * Functions that can fail in ways an errno does not tell take a `struct why *`
 * (NULL if nobody will read it) and fill it when they return an error.
 */
#ifndef WHY_H
#define WHY_H

#define WHY_SIZE 512

struct why {
	char text[WHY_SIZE]; /* one sentence without a full stop; empty: none was given */
};

/* Sets the sentence if `why` is not NULL and returns `error`. */
int why_set(struct why *why, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A plain sentence for a negative errno as this project uses them (STYLE, Errors). */
const char *why_errno(int error);

#endif
