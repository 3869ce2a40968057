/*
 * receipt.h - what was served in a session, acknowledged by both ends (DESIGN 7.3).
 *
 *   asker: each RECEIPT_BYTES or RECEIPT_PIECES got, THANKS: [statement, its signature]
 *   server: WELCOME: the same statement, its own signature.  Both remember the newest pair of a peer.
 *
 * What counts are pages of records and of pieces: the bytes of their statements, and the pieces that are in
 * them, so that both ends count the same.  A server waits with more when
 * RECEIPTS_OUTSTANDING_MAX shares are not thanked for.  One struct a session, the caller's; nothing here sends.
 */
#ifndef RECEIPT_H
#define RECEIPT_H

#include <stdbool.h>

#include "clock.h"
#include "net_limits.h"
#include "statement.h"

struct receipt_amount {
	uint64_t bytes, pieces, records;
};

struct receipts {
	struct receipt_amount got;    /* since the last thanks */
	uint64_t got_from_ms;         /* when the first of it was asked for; 0: nothing yet */
	uint64_t thanked;             /* how many thanks were sent: the next one's number */
	struct receipt_amount served; /* not thanked for yet */
	uint64_t welcomed;            /* thanks taken */
	struct bytes pending;         /* our newest thanks, until its welcome comes; empty: none */
	struct signature pending_signature;
};

struct receipt_pair { /* whose numbers both ends signed */
	const uint8_t *bytes;
	size_t size;
	struct signature thanks, welcome;
};

void receipts_init(struct receipts *r);
void receipts_finish(struct receipts *r); /* takes a zeroed one */

/* What a page of records or pieces amounts to; zero of others, and of bytes that are no page. */
void receipt_weigh(struct receipt_amount *out, const uint8_t *page, size_t size);
void receipt_add(struct receipt_amount *to, const struct receipt_amount *amount);
bool receipts_due(const struct receipts *r); /* a share was got: thank for it */
bool receipts_wait(const struct receipts *r); /* too much served without thanks */

struct receipt_ends { /* of whom it speaks, on the clock of the caller */
	const struct key *key;
	struct id peer, cb;
	uint64_t time_ms, now_ms;
	uint64_t welcome; /* the rank given: 0 .. 1000 */
};
/* Makes the next thanks of what was got into r->pending and begins to count anew. -ENOMEM. */
int receipts_thank(struct receipts *r, const struct receipt_ends *ends);
/*
 * Takes thanks for what we served: *out_pair to remember and to send back as WELCOME; it borrows from `bytes`. -EBADMSG,
 * -EPROTO (other ends, another session, out of turn, for more than was served), -EKEYREJECTED.
 */
int receipts_take_thanks(struct receipts *r, const struct receipt_ends *ends, const uint8_t *bytes, size_t size,
			 const struct signature *signature, struct receipt_pair *out_pair);
/* Takes the welcome for our newest thanks; *out_pair borrows from `bytes`. Errors as above. */
int receipts_take_welcome(struct receipts *r, const struct receipt_ends *ends, const uint8_t *bytes, size_t size,
			  const struct signature *signature, struct receipt_pair *out_pair);

/* A local fact: "receipt" NUL device, role ('c': we were the client; 's') -> [statement, thanks, welcome]. */
#define RECEIPT_KEY_SIZE (8 + ID_SIZE + 1)
void receipt_memory_key(uint8_t out[RECEIPT_KEY_SIZE], const struct id *peer, bool client);
void receipt_memory_put(struct bytes *out, const struct receipt_pair *pair);

#endif
