/*
 * reconcile.h - which logs differ, at a cost that grows with the difference (range-based set reconciliation,
 * A. Meyer, arXiv 2212.13567; B = 16 buckets, lists below 32 items).
 *
 * A set has one item a log: its device, and a digest of the rest of its head.  Items are in order of device.  A
 * range's fingerprint is the sum mod 2^128 of the items' SipHash-2-4-128, keyed by the session, and
 * how many there are: never an unkeyed sum, in which Wagner's attack could hide items.
 *
 *   key         = KH(cb, "mootfs reconcile" NUL)[0..16)
 *   digest      = SipHash-2-4-128(key, device, seq u64, record id, records u64), little-endian
 *   message     = ranges one after the other, the first from the least device on, each from the end of the one before
 *   skip        = [bound, 0]
 *   fingerprint = [bound, 1, count, sum 16]
 *   list        = [bound, 2, the first 8 bytes of each item's digest, in order]      initiator to responder
 *   difference  = [bound, 3, same, [head ...]]                                       responder to initiator
 *
 * A bound is the end of its range: a prefix just long enough of the first device after it, without zeroes at its end;
 * empty, it is after all. To the responder, skip says that nothing is asked of there; to
 * the initiator, that there the sets are the same. `same` has bit i set if item i of the list is here as it is there; the heads
 * are all the others of the range, so a list need not name what it has not, nor a difference what it lacks.
 *
 * A message is at most RECONCILE_MESSAGE_MAX bytes and RECONCILE_RANGES_MAX ranges: what does not fit is left out at its end
 * and is asked again.  An answer may only end early when it is full.  Only the initiator keeps anything: the
 * responder answers each message from the message and its set alone.
 */
#ifndef RECONCILE_H
#define RECONCILE_H

#include "bytes.h"
#include "id.h"
#include "packet.h"

struct reconcile_set; /* sorted items and their digests; does not change, so any threads may read it */

/* Copies; heads in any order, one a device (of more, one is taken). key: 16 bytes that both ends make of the channel binding. NULL: no memory. */
struct reconcile_set *reconcile_set_new(const struct head *heads, size_t count, const uint8_t key[16]);
void reconcile_set_free(struct reconcile_set *set);
void reconcile_key(uint8_t out_key[16], const struct id *cb);

struct reconcile; /* of the initiator */
struct reconcile *reconcile_new(const struct reconcile_set *set); /* borrows the set; NULL: no memory */
void reconcile_free(struct reconcile *r);
/* The first message, appended to `out`; -EPROTO: not the first. */
int reconcile_begin(struct reconcile *r, struct bytes *out);
/*
 * Takes an answer: 1 and the next message appended to `out`, or 0: done. -EBADMSG; -EPROTO: it does not
 * come to an end (too many rounds, ranges that grow, an answer cut short), or nothing was asked. After a failure it is over.
 */
int reconcile_take(struct reconcile *r, const uint8_t *bytes, size_t size, struct bytes *out);
/*
 * What came out since they were called last, in order of device, each told once: their heads that differ from ours or are
 * not here; ours that differ or are not there. Call after each reconcile_take(): so long it is kept.
 */
void reconcile_each_theirs(struct reconcile *r, void (*visit)(void *context, const struct head *theirs), void *context);
void reconcile_each_mine(struct reconcile *r, void (*visit)(void *context, const struct head *mine), void *context);

/* The responder: the answer to one message, appended. -EBADMSG. On failure out is as long as before. */
int reconcile_answer(const struct reconcile_set *set, const uint8_t *bytes, size_t size, struct bytes *out);

#endif
