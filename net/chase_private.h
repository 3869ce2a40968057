/*
 * chase_private.h - what the parts of chase share: chase.c (queries, takes, pushes), chase_claim.c (who says what),
 * chase_round.c (where to go on), chase_pool.c (records that wait for their chain).
 */
#ifndef CHASE_PRIVATE_H
#define CHASE_PRIVATE_H

#include "chase.h"
#include "record.h"

#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define SEQ_MAX ((1ull << 53) - 1)    /* as in records */
#define LOST_MS (3 * QUERY_MS_MAX)  /* an answer is not waited for any more */
#define LATE_MS_MIN 1000
#define DELAY_MS 30000              /* a session that was slow with a log is not asked for it so long */
#define FAILURES_MAX 3              /* so often slow in a row: over */
#define TROUBLE_MS_MIN 1000         /* this node cannot store: nothing is asked, doubling */
#define TROUBLE_MS_MAX 60000
#define WINDOW_MIN 16
#define UNCUT_MAX 8                 /* so many whole pages in a row make windows longer */
#define PAGE_RESERVE (PAGE_SIZE_AIM + RECORD_SIZE_MAX) /* what an answer may bring */

struct item { /* a record */
	struct id id, prev;
	uint64_t seq;
	uint64_t session;    /* who sent it */
	bool pushed, in_chain, usable;
	bool is_signed;
	struct signature signature;
	struct item *parent; /* while a chain is looked for */
	UT_hash_handle hh;   /* by id; keeps the order in which they came */
	size_t size;
	uint8_t bytes[];
};

struct pool { /* of one log */
	struct item *items;
	size_t bytes;        /* of the records */
	size_t memory;
};

/* 0: new; 1: there already; -ENOMEM. */
int chase_pool_put(struct pool *pool, const struct record_item *record, const struct record *head, const struct id *id,
	     uint64_t session, bool pushed);
struct item *chase_pool_find(const struct pool *pool, const struct id *id);
void chase_pool_drop(struct pool *pool, struct item *item);
void chase_pool_clear(struct pool *pool);

struct joint { /* from where a chain may go on */
	const struct id *known[2]; /* records that are here, or NULL */
	uint64_t pending_from;     /* nothing below this seq is still to come */
};
/*
 * The longest chain that can be taken, its last item signed: marks its items (in_chain) and links them by `parent`
 * from the last, which is returned. NULL: none. *out_count: its items.
 */
struct item *chase_pool_join(struct pool *pool, const struct joint *joint, size_t *out_count);

enum claim_state {
	CLAIM_READY,   /* on its session's list, to be started */
	CLAIM_ACTIVE,  /* its log's source */
	CLAIM_DELAYED, /* was slow */
	CLAIM_OVER,    /* tried with this head */
	CLAIM_LIAR,
};

struct claim {
	struct session *session;
	struct log *log;
	struct head head;
	enum claim_state state;
	bool missing;         /* its record is not here, whatever the numbers say */
	bool reached;         /* it is: a chain with it was taken, */
	uint64_t reaching;    /* or is being taken */
	unsigned failures;
	uint64_t until_ms;    /* DELAYED */
	struct claim *prev, *next;         /* on the list of its state */
	struct claim *log_prev, *log_next;
	struct claim *session_prev, *session_next;
};

struct session {
	uint64_t number;
	struct claim *claims, *ready, *active;
	size_t claim_count, wanted; /* wanted: READY, ACTIVE, DELAYED */
	unsigned query_count;
	uint64_t usual_ms;          /* 0: not known */
	UT_hash_handle hh;
};

struct question { /* a query in flight */
	uint64_t number;
	struct session *session;
	struct log *log;
	uint64_t from, to;
	uint64_t asked_ms, due_ms;
	bool late, full;            /* full: not all of the answer was kept */
	size_t items;
	uint64_t seq_max;           /* of its items */
	struct question *prev, *next; /* of all */
	struct question *log_prev, *log_next;
	UT_hash_handle hh;
};

struct range {
	uint64_t from, to;
};

struct take {
	uint64_t number;
	struct log *log;
	struct id last;
	uint64_t last_seq;
	uint64_t session;
	bool pushed, given;         /* given: the caller has it */
	size_t size;
	struct chase_take out;
	struct take *prev, *next;
};

struct log {
	struct id device;
	bool has_own;
	struct head own;
	struct claim *claims;
	size_t wanted;
	struct claim *source;       /* who is asked; the rest is about it */

	unsigned back;              /* 0: forward from the own tip; else how many steps back */
	uint64_t base;              /* the seq from which steps are counted */
	uint64_t round_from, cursor; /* asked up to here, but for the gaps */
	struct range gaps[CHASE_WINDOWS_MAX]; /* in order */
	size_t gap_count;
	uint64_t window;
	unsigned uncut;             /* pages in a row that were not cut */
	bool round_new, anchored, exhausted;
	struct question *questions;
	size_t question_count;

	struct take *take;
	bool has_taken;
	struct id taken;            /* the last of the chain taken last */
	struct pool pool;
	UT_hash_handle hh;
};

struct chase {
	struct session *sessions;
	struct log *logs;
	struct claim *delayed;      /* in order of time */
	struct question *questions, *by_number;
	struct take *takes;
	size_t claim_count, question_count, take_count, behind;
	size_t memory;              /* of pools and takes */
	uint64_t last_number;
	uint64_t paused_until_ms, trouble_ms;
	struct record *record;      /* to decode into; NULL: nothing comes */
};

/* chase_claim.c */
struct session *chase_session_find(const struct chase *c, uint64_t number);
struct log *chase_log_find(const struct chase *c, const struct id *device);
struct log *chase_log_get(struct chase *c, const struct id *device); /* NULL: no memory, or CHASE_LOGS_MAX */
void chase_log_set_own(struct log *log, const struct head *own);
void chase_log_clear(struct chase *c, struct log *log);
/* Frees it if nothing is known about it. */
void chase_log_put(struct chase *c, struct log *log);
struct claim *chase_claim_find(const struct log *log, const struct session *s);
/* Makes it if there is none, with `head`. -ENOSPC, -ENOMEM. */
int chase_claim_get(struct chase *c, struct session *s, struct log *log, const struct head *head, struct claim **out);
void chase_claim_set_state(struct chase *c, struct claim *claim, enum claim_state state);
void chase_claim_free(struct chase *c, struct claim *claim); /* its log stays */
bool chase_claim_is_satisfied(const struct claim *claim);
/* What was pushed and waits for what goes before it is fetched as well: the pool is about to be cleared. */
void chase_claim_pushed(struct chase *c, struct log *log);
/* A session has this head. missing: its record is known not to be here. As chase_told(). */
int chase_claim_make(struct chase *c, struct session *s, struct log *log, const struct head *head, bool missing);

/* chase_round.c */
/* What the log is asked of its source ends, in whatever state it is. */
void chase_round_abandon(struct chase *c, struct log *log);
void chase_round_start(struct chase *c, struct claim *claim);
/* The same place again. */
void chase_round_restart(struct chase *c, struct log *log);
/* The chain does not join: from farther back. */
void chase_round_retreat(struct chase *c, struct log *log);
/* Lowest seq of what is asked for or will be. */
uint64_t chase_round_pending(const struct log *log);
/* The next window. False: none now. */
bool chase_round_next(const struct chase *c, struct log *log, struct range *out);
void chase_round_answered(struct log *log, const struct question *question);
/* Is it over? Then what comes next. Frees the log if it is done with. */
void chase_round_settle(struct chase *c, struct log *log);
void chase_question_drop(struct chase *c, struct question *question);

#endif
