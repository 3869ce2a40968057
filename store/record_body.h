/*
 * record_body.h - the bodies of records by kind: private to record.c and record_body.c.
 *
 * A kind is a row: how its body is written, read and judged.  `put` and `get` only move
 * values; every rule stands once, in `valid`, which both encoding and decoding ask.  `get`
 * bounds what it reads to what the struct holds, and fails the reader otherwise.
 */
#ifndef RECORD_BODY_H
#define RECORD_BODY_H

#include "cbor.h"
#include "record.h"

struct record_kind {
	uint64_t field;
	const char *name;
	void (*put)(struct bytes *b, const struct record *r);
	void (*get)(struct cbor_reader *reader, struct record *r);
	bool (*valid)(const struct record *r);
};

/* NULL: a field not known here. */
const struct record_kind *record_kind_find(uint64_t field);

/* Reads a section of a summary: no content is an empty array. */
void record_get_section(struct cbor_reader *reader, struct summary_section *out);

#endif
