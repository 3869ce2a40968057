/*
 * reconcile_range.h - private to reconcile.c: sets, bounds, and ranges as they stand in a message.
 *
 * Reading borrows and does not allocate. A writer leaves out at the end of a message
 * what does not fit: then it is full, and writes nothing more.
 */
#ifndef RECONCILE_RANGE_H
#define RECONCILE_RANGE_H

#include "reconcile.h"

#define RECONCILE_DIGEST_SIZE 8 /* of an item in a list: a chance of 2^-64 that two look alike, nobody can raise it */

struct bound { /* before the devices from `key` on */
	struct id key;
	bool is_end; /* after all; key is zero */
};

struct sum { /* mod 2^128 */
	uint64_t low, high;
};

struct reconcile_set {
	struct head *heads; /* in order of device, each once */
	struct sum *sums;   /* sums[i] is of the items before i; count + 1 of them */
	size_t count;
};

enum range_mode { RANGE_SKIP, RANGE_PRINT, RANGE_LIST, RANGE_DIFFERENCE };

struct range { /* borrows from the message */
	enum range_mode mode;
	struct bound to;
	uint64_t count;            /* fingerprint */
	struct sum sum;
	const uint8_t *digests;    /* list */
	size_t digest_count;
	uint64_t same;             /* difference */
	struct cbor_reader heads;  /* packet_next_head() */
	size_t head_count;
};

struct writer {
	struct bytes *out;
	size_t start, size_max;
	size_t count;      /* ranges */
	bool skips;        /* up to `skip`; not yet written */
	struct bound skip;
	bool full;
};

int bound_compare(const struct bound *a, const struct bound *b);

/* How many items are before the bound. */
size_t set_find(const struct reconcile_set *set, const struct bound *bound);
/* The shortest bound between item index - 1 and item index; index is 1 .. count - 1. */
struct bound set_bound(const struct reconcile_set *set, size_t index);
struct sum set_sum(const struct reconcile_set *set, size_t from, size_t to);
uint64_t set_digest(const struct reconcile_set *set, size_t index); /* its first 8 bytes, little-endian */
bool sum_equal(struct sum a, struct sum b);
uint64_t range_digest(const struct range *range, size_t index);

/* The range after `from`. Fails the reader if it is none, or of a mode that this direction has not. */
void range_read(struct cbor_reader *r, const struct bound *from, bool is_answer, struct range *out);

void writer_init(struct writer *w, struct bytes *out, size_t size_max);
size_t writer_room(const struct writer *w); /* bytes that are left for the items of one more range */
void writer_skip(struct writer *w, const struct bound *to); /* written with what follows, or by writer_end() */
/* False: full. */
bool writer_print(struct writer *w, const struct bound *to, uint64_t count, struct sum sum);
bool writer_list(struct writer *w, const struct bound *to, const struct reconcile_set *set, size_t first, size_t end);
bool writer_difference(struct writer *w, const struct bound *to, uint64_t same, const struct bytes *heads, size_t count);
void writer_end(struct writer *w); /* of an answer: a skip at its end says something */

#endif
