/*
 * core.h - a node of the network without I/O: sessions, sync, push, fetch, peers told about peers.
 *
 *   A                                                     B
 *   | ============ handshake (handshake.h) =============> |
 *   | <- ready ------------------------------------------ |
 *   | -- ready, follow, query heads --------------------> |
 *   | <- follow, query heads, page of heads ------------- |
 *   | -- query records (of logs that are followed) -----> |
 *   | <- page: a chain, signed at its tip --------------- |
 *   | -- query pieces (newest heads first) -------------> |
 *   | <- page: gzip members ----------------------------- |
 *   | -- thanks ----------------------------------------> |   each MiB or 256 pieces
 *   | <- welcome ---------------------------------------- |
 *   | <- push: a record as it became durable, its pieces  |   eagerly to some,
 *   | <- note: the same by name ------------------------- |   lazily to the rest (Plumtree)
 *
 * Bytes, the clock's values and results of work in; bytes, work, dials and
 * events out.  Not thread-safe: one thread owns it (loop.c, the simulator, a fuzzer).  Nothing here
 * sleeps, opens, or asks the system for anything.
 *
 * Order of use, each turn: give it what came (core_take, core_work_done, core_appended ...), then take out all that
 * there is: core_next_event() until it says no more, core_next_work() until NULL, core_give() of each session that
 * has something; then sleep until core_deadline_ms().
 */
#ifndef CORE_H
#define CORE_H

#include "depot.h"
#include "handshake.h"
#include "work.h"

struct core;

struct core_options {
	struct clock clock;
	struct id network;           /* zero: the commons */
	char address[ADDRESS_SIZE_MAX]; /* where we are reached: "host:port", ":port", or "": nowhere */
	bool dial;                   /* keep in touch with remembered peers by itself (serve, mount); false: tests */
	unsigned peers_aim;          /* sessions to keep when there are addresses: 8 */
};

/* depot outlives it. NULL: no memory. */
struct core *core_new(const struct core_options *options, const struct depot *depot);
void core_free(struct core *core); /* works still out must have come back */

/* ---- sessions: a session is a connection, whoever made it ---- */

/* One came in (peer and expected NULL), or one that core asked for came to be. Returns its number, above 0; 0: refused, close it. */
uint64_t core_connected(struct core *core, const char *address, bool outgoing, const struct id *expected);
/* A dial that an event asked for failed. */
void core_unreachable(struct core *core, const char *address);
/* Bytes came. Nonzero: close it (also told by an event). */
int core_take(struct core *core, uint64_t session, const uint8_t *bytes, size_t size);
/* Takes all that is to be sent to `out` (appended, at most size_max bytes more). True: there is more. */
bool core_give(struct core *core, uint64_t session, struct bytes *out, size_t size_max);
/* The connection is gone. */
void core_closed(struct core *core, uint64_t session);
/* The node ends: every session says goodbye (TAG_FINAL) and gets an EVENT_CLOSE; nothing new is begun. */
void core_goodbye(struct core *core);
/* What the shell has taken from core_give() and not sent yet: who reads slowly gets no more. */
void core_unsent(struct core *core, uint64_t session, size_t size);

/* ---- from this node ---- */

/* Own records were appended (maybe not durable yet). */
void core_appended(struct core *core);
/* Records of this entity, or the list of those followed, are to be looked at again: a subscription changed. */
void core_follows_changed(struct core *core);
/* A person wants a peer: dialled now and remembered. -EINVAL: not an address. */
int core_connect(struct core *core, const char *address, const struct id *expected);
/*
 * Somebody waits for this version: its missing pieces are asked for before all others. token comes back in an
 * EVENT_WANTED with 0, or -ENODATA when nobody connected has it or until_ms (now_ms clock) passes.
 */
void core_want(struct core *core, const struct id *version, uint64_t token, uint64_t until_ms);

/* ---- time and work ---- */

void core_tick(struct core *core);
uint64_t core_deadline_ms(const struct core *core); /* on the now_ms clock; UINT64_MAX: none */
struct work *core_next_work(struct core *core);     /* NULL: none now. The caller's until core_work_done() */
void core_work_done(struct core *core, struct work *work); /* takes it back */

/* ---- out ---- */

enum event_kind {
	EVENT_DIAL,      /* connect to `address`, then core_connected() or core_unreachable() */
	EVENT_CLOSE,     /* send what core_give() has, then close `session` */
	EVENT_READY,     /* a peer is there: `device`, and `person` if it is known to be so, else zero */
	EVENT_GONE,      /* and gone again; result: why */
	EVENT_RECORDS,   /* `count` new records of `device` are in the store */
	EVENT_PIECES,    /* `count` pieces came */
	EVENT_WANTED,    /* core_want() `token` has come to `result` */
	EVENT_SYNCED,    /* nothing that is followed is missing, as far as the peers connected know */
	EVENT_FORK,      /* two records of one log with one seq: `device` */
	EVENT_OWN_KNOWN, /* a peer has told its head of our own log, and it holds nothing that is not here */
};

struct event {
	enum event_kind kind;
	uint64_t session, token, count;
	int result;
	char address[ADDRESS_SIZE_MAX];
	bool has_expected;
	struct id expected;      /* DIAL */
	struct id device, person;
};
bool core_next_event(struct core *core, struct event *out);

/* ---- what people see ---- */

struct peer_view {
	uint64_t session;         /* 0: not connected now */
	char address[ADDRESS_SIZE_MAX];
	struct id device, person; /* zero: not known; person: if it admitted that device, as far as is known here */
	bool outgoing, ready;
	uint64_t since_ms, received, sent; /* time_ms; bytes */
	uint64_t records, pieces; /* got from it */
	uint64_t missing;         /* logs that it has newer, of those followed */
	uint64_t round_trip_ms;
	uint64_t offences;        /* malformed or false things from it */
};
void core_each_peer(struct core *core, void (*visit)(void *context, const struct peer_view *view), void *context);

struct core_counts { /* for metrics; all since the start but the last ones */
	uint64_t sessions_total, refused, handshake_failures, cookies, malformed, bad_signatures, floods, timeouts;
	uint64_t records_in, records_out, pieces_in, pieces_out, bytes_in, bytes_out, pushes_in, pushes_out, duplicates;
	uint64_t pages_in, pages_out, queries_dropped, receipts, forks;
	uint64_t sessions, half_open, missing_logs, missing_pieces, queued_bytes, memory; /* now */
};
void core_count(struct core *core, struct core_counts *out);

#endif
