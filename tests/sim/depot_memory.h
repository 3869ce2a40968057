/*
 * depot_memory.h - depot.h in memory, of one node: for the simulator, tests and fuzzers.
 *
 * What never changes (records, pieces) stands once in a `struct blobs` that many nodes share, with
 * what it costs to know about it: decoded heads, signatures that were checked.  A node holds references.
 *
 * Simpler than a store: documents of up to CONTENT_PIECES_MAX pieces (no lists); whose device it is is
 * decided by its first profile and an admit record in the log of the person's first device; nothing is held back for its time.
 *
 * Thread-safe: one lock a `struct blobs`, which all its nodes take.  Allocation failure aborts.  The same calls
 * give the same answers in the same order, whatever the addresses of memory.
 */
#ifndef DEPOT_MEMORY_H
#define DEPOT_MEMORY_H

#include "clock.h"
#include "depot.h"
#include "record.h"

struct blobs;
/* check_signatures false: signatures are not made nor checked (simulations of thousands). */
struct blobs *blobs_new(bool check_signatures);
void blobs_free(struct blobs *blobs); /* after all its nodes */
size_t blobs_count(struct blobs *blobs);
uint64_t blobs_checked(struct blobs *blobs); /* signatures verified, each once */

struct memory;
/* key and clock are borrowed; person NULL: the key's own. The node follows its person. */
struct memory *memory_new(struct blobs *blobs, const struct key *key, const struct id *person, const struct clock *clock);
void memory_free(struct memory *m); /* takes NULL */
const struct depot *memory_depot(struct memory *m);

/* ---- what its user does ---- */

void memory_follow(struct memory *m, const struct id *entity, bool on);
void memory_follow_document(struct memory *m, const struct id *document, bool on);
/* Appends to the own log: fills voucher, seq, prev, time and nonce. Durable (and in the head) after the next sync. */
void memory_append(struct memory *m, struct record *record, struct id *out_id);
void memory_append_profile(struct memory *m, const char *name);
void memory_append_vote(struct memory *m, uint64_t number); /* the smallest record there is, about nothing */
/* A version of a new document (document NULL) or of that one, with one parent or none. */
void memory_save(struct memory *m, const struct id *document, const struct id *parent, const void *text, size_t size,
		 struct id *out_version);
void memory_sync(struct memory *m); /* the same as depot's */
/* The own log as a backup from before has it: the newest `count` records are forgotten. */
void memory_rewind(struct memory *m, uint64_t count);
void memory_fail_sync(struct memory *m, int error); /* what sync returns from now on; 0: it works */
void memory_fail_take(struct memory *m, int error); /* the same of records and pieces taken */
void memory_drop_piece(struct memory *m, const struct id *name);

/* ---- what a test looks at ---- */

uint64_t memory_records(struct memory *m);
uint64_t memory_pieces(struct memory *m);
/* Pieces that versions of those followed lack. */
uint64_t memory_missing(struct memory *m);
/* All records and pieces of those followed, in order: two nodes that follow the same and hold the same have the same. */
void memory_digest(struct memory *m, struct id *out);
/* The text of a version; -ENOENT, -ENODATA. */
ssize_t memory_read(struct memory *m, const struct id *version, uint8_t *out, size_t out_size);
size_t memory_size(struct memory *m); /* bytes of its own, without blobs */

#endif
