/*
 * chase.h - which logs are behind, and which records are asked of whom.
 *
 *   chase_told(), chase_push() -> claim: this session has that head
 *   chase_next()      -> a query of records for a session with room: windows of one log from one session,
 *   chase_item(), chase_answered()                                   many logs at once from many
 *   chase_next_take() -> a chain, signed at its end, to be taken; one of a log at a time
 *   chase_taken()     -> on, or back: tip, tip - 1, - 2, - 4 ... 0 until the branches meet
 *
 * Nothing here is verified but form and hashes: the taking does that.  A session that lied about a log is not asked
 * for it again.  A claim that brings nothing new and does not move forward is over.  Heads are those of
 * depot.h; `own` is always what depot->head says now, NULL: no record is here (of this node's own device: after what
 * was taken is durable).  A head with more records than seq + 1 is a fork's.  A page of a forked log must hold all records of
 * one number, or the others of it are not found; PAGE_SIZE_AIM has room for four of the largest.
 *
 * No I/O, no clock, no randomness: the same calls give the same answers.  now_ms never goes back.  Not thread-safe.  A
 * session is a number above 0, the caller's.
 */
#ifndef CHASE_H
#define CHASE_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "id.h"
#include "net_limits.h"
#include "packet.h"

#define CHASE_WINDOW 1024           /* seqs of a query; less when pages are cut before */
#define CHASE_WINDOWS_MAX 3         /* in flight of one log: a page or two more than fills the line */
#define CHASE_QUERIES_MAX 4         /* in flight of one session: half of QUERIES_MAX */
#define CHASE_LOGS_MAX 16384
#define CHASE_CLAIMS_MAX 65536      /* of all sessions */
#define CHASE_CLAIMS_SESSION 8192   /* of one: an invented log costs as much as a real one */
#define CHASE_BYTES_MAX (64 * 1024 * 1024) /* records waiting to be joined or taken, over all logs; CHAIN_SIZE_MAX of one */

struct chase;
struct chase *chase_new(void); /* NULL: no memory */
void chase_free(struct chase *c);

/* -ENOSPC: SESSIONS_MAX; -EEXIST; -ENOMEM. */
int chase_join(struct chase *c, uint64_t session);
/* Its claims are gone; what it was asked for is asked of others. Takes under way go on. */
void chase_leave(struct chase *c, uint64_t session);

/*
 * A session told its head of a log that is followed (records 0: not known). 1: there is something to get; 0: nothing
 * new. -ENOSPC: ask for its heads again when chase_room() says so; -EPROTO: no log has such a number; -ENOENT: no
 * such session; -ENOMEM.
 */
int chase_told(struct chase *c, uint64_t session, const struct head *theirs, const struct head *own);
/* The same of a head that is not newer, but whose record is not here: the end of another branch. */
int chase_told_branch(struct chase *c, uint64_t session, const struct head *theirs, const struct head *own);
size_t chase_room(const struct chase *c, uint64_t session); /* claims that it may still make */
/* The own head of a log moved otherwise. */
void chase_own(struct chase *c, const struct head *own);
/* No longer followed: forgotten, but for a take under way. */
void chase_forget(struct chase *c, const struct id *device);

struct chase_query {
	uint64_t number; /* above 0, never used again */
	uint64_t session;
	struct id device;
	uint64_t from, to; /* seqs, inclusive */
};
/* False: nothing for it now. */
bool chase_next(struct chase *c, uint64_t session, uint64_t now_ms, struct chase_query *out);
/*
 * The answer: each item of the page (copied), then chase_answered(), also after a page without items.
 * -ENOENT: not waited for any more (late, or from a place that is no longer needed): drop it, no offence.
 * -EBADMSG, -EPROTO, -EMSGSIZE: an offence of its session, which is not asked again for this log. -ENOMEM: the query counts as not answered.
 */
int chase_item(struct chase *c, uint64_t query, const struct record_item *item);
int chase_answered(struct chase *c, uint64_t query, uint64_t now_ms);

/*
 * Records came unasked: a chain, its last one signed. 0: they will be taken, or a chase of the session began; 1: known here, or
 * not wanted of it: prune. -EBADMSG, -EPROTO: an offence; -ENOENT: no such session; -ENOSPC, -ENOMEM.
 */
int chase_push(struct chase *c, uint64_t session, const struct id *device, const struct head *own,
	       const struct record_item *records, size_t count);

struct chase_take { /* all of it the caller's: as struct work wants it */
	uint64_t number;
	uint64_t session;          /* who sent the last one, and is to blame */
	bool pushed;               /* 0 new then means: prune */
	struct id device;
	struct bytes bytes;
	struct record_item *records; /* malloc'd; borrows from bytes; with the signatures that came */
	size_t count;
};
bool chase_next_take(struct chase *c, struct chase_take *out);
void chase_take_finish(struct chase_take *take); /* frees; takes one that was moved from and zeroed */
/*
 * What depot->take_records() returned, and the own head after it. -EBADMSG, -EPROTO, -EKEYREJECTED: take.session lied
 * about this log (count an offence). Other errors: this node's own trouble, tried again later.
 */
void chase_taken(struct chase *c, uint64_t take, int result, const struct head *own, uint64_t now_ms);

void chase_tick(struct chase *c, uint64_t now_ms);
uint64_t chase_deadline_ms(const struct chase *c); /* for chase_tick(), and chase_next() after it; UINT64_MAX: none */

struct chase_counts {
	size_t behind;       /* logs of which somebody connected has more, as far as they say */
	uint64_t records;    /* to come for them, by seq */
	size_t logs, claims, queries, takes;
	size_t bytes;        /* of records held */
	size_t memory;       /* bytes, about, with those */
};
void chase_count(const struct chase *c, struct chase_counts *out);
/* Nothing is behind and nothing is being taken, as far as those connected say. */
bool chase_is_idle(const struct chase *c);
/* Logs that this session has newer. */
size_t chase_behind(const struct chase *c, uint64_t session);

#endif
