/*
 * fetch.h - which piece is asked of which peer.
 *
 *   fetch_add() -> free -> fetch_next() -> asked -> fetch_got() -> under check -> fetch_came(): no longer held
 *                   ^  ^-- fetch_absent(), fetch_answered(), late, gone --|             |
 *                   |--------------------------- fetch_failed() ------------------------|
 *
 * Free pieces are given in order of priority, then of groups: those begun first (one document whole is worth more
 * than two half), then as they were added.  A piece is asked of one peer at a time, of others too when its batch is
 * late, and of a second one when nothing else is left.  What all that are connected lack is absent.
 *
 * No I/O, no clock, no randomness: the same calls give the same answers.  now_ms never goes back.  Not thread-safe.  A
 * session is a number above 0, the caller's.
 *
 * Each turn: tell what happened, take out fetch_next_told() and fetch_next_absent(), then ask fetch_next() for each
 * session that has room until it says no.
 */
#ifndef FETCH_H
#define FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "net_limits.h"

#define FETCH_PIECES_MAX 16384      /* held: some 5 MiB of memory; 256 MiB of text at the aimed size */
#define FETCH_PIECES_WAITED 4096    /* of them kept for FETCH_WAITED: a read must not wait for a backlog */
#define FETCH_BATCH_NAMES 128       /* four of them are the two shares that a server gives without thanks */
#define FETCH_BATCH_BYTES PAGE_SIZE_AIM
#define FETCH_BATCHES_MAX 4         /* of one session, half of QUERIES_MAX: begins with 2, then as fast as it answers */
#define FETCH_WAITS_MAX 1024        /* tokens */
#define FETCH_WAIT_NAMES_MAX 65536  /* names of all tokens */

enum fetch_priority { FETCH_WAITED, FETCH_HEAD, FETCH_REST, FETCH_PRIORITIES };

struct fetch;
struct fetch *fetch_new(void); /* NULL: no memory */
void fetch_free(struct fetch *f);

/* ---- sessions ---- */

/* A peer that pieces may be asked of (once it is ready). What was absent is tried again. -ENOSPC: SESSIONS_MAX; -EEXIST; -ENOMEM. */
int fetch_join(struct fetch *f, uint64_t session);
/* What was asked of it is free again. */
void fetch_leave(struct fetch *f, uint64_t session);
/* It told something new, so what it lacked may be there now. At most once a second; what comes in between counts at the next fetch_tick(). */
void fetch_news(struct fetch *f, uint64_t session, uint64_t now_ms);

/* ---- pieces ---- */

/*
 * Wants a piece; group: what it belongs to (a version's number). 0; 1: held already (its priority is raised if this
 * one is more urgent); -ENOSPC: no room; -ENOMEM.
 */
int fetch_add(struct fetch *f, const struct id *name, uint32_t stored, enum fetch_priority priority, uint64_t group);
/* How many more can be added. Absent ones make room: they are forgotten, oldest first. */
size_t fetch_room(const struct fetch *f, enum fetch_priority priority);
bool fetch_holds(const struct fetch *f, const struct id *name);

struct fetch_batch {
	uint64_t number;  /* above 0, never used again */
	uint64_t bytes;   /* stored size of them all */
	size_t count;
	struct id names[FETCH_BATCH_NAMES];
};
/* The next batch to be asked of a session. False: nothing for it now. */
bool fetch_next(struct fetch *f, uint64_t session, uint64_t now_ms, struct fetch_batch *out);

/*
 * The answer to a batch came: first fetch_got() or fetch_absent() of each item of the page, then fetch_answered(). What
 * stood in neither is free again; an answer that says nothing of all its names counts as 'absent' for each.
 */
/* Bytes came. True: take them (fetch_came() or fetch_failed() follows for certain); false: not wanted, drop them. */
bool fetch_got(struct fetch *f, uint64_t session, const struct id *name);
void fetch_absent(struct fetch *f, uint64_t session, const struct id *name);
void fetch_answered(struct fetch *f, uint64_t session, uint64_t batch, uint64_t now_ms);
/* It is here, in whatever way it came (also a push): no longer held. */
void fetch_came(struct fetch *f, const struct id *name);
/* What came was not kept. is_false: it was not what its name says, this session is never asked for it again; else (no memory, disk) tried again after a second. */
void fetch_failed(struct fetch *f, uint64_t session, const struct id *name, bool is_false, uint64_t now_ms);

/* ---- who waits ---- */

/*
 * Somebody waits for these pieces, until then: they are given before all others. Names not held count as here, so
 * add first. Told exactly once, by fetch_next_told(): 0: all came; -ENODATA: all connected lack one of them, nobody
 * is connected, or time is up. The pieces stay wanted. -EEXIST: token in use; -ENOSPC; -ENOMEM.
 */
int fetch_wait(struct fetch *f, uint64_t token, const struct id *names, size_t count, uint64_t until_ms);
void fetch_unwait(struct fetch *f, uint64_t token); /* not told any more */
bool fetch_next_told(struct fetch *f, uint64_t *out_token, int *out_result);
/* Pieces that became absent, each told once until it is tried again. Need not be taken out. */
bool fetch_next_absent(struct fetch *f, struct id *out_name);

/* ---- time and counts ---- */

/* Batches over their time (thrice what the peer usually takes, at most QUERY_MS_MAX) go to others too. */
void fetch_tick(struct fetch *f, uint64_t now_ms);
uint64_t fetch_deadline_ms(const struct fetch *f); /* for fetch_tick(), and fetch_next() after it; UINT64_MAX: none */

struct fetch_counts {
	size_t pieces;       /* held: all below */
	size_t unasked;      /* free, none outstanding */
	size_t outstanding;  /* asked of somebody */
	size_t checking, absent, delayed;
	size_t batches, waits;
	size_t memory;       /* bytes, about */
};
void fetch_count(const struct fetch *f, struct fetch_counts *out);

#endif
