/*
 * fetch_private.h - what the parts of fetch share: fetch.c (sessions, batches, time), fetch_piece.c (groups and states
 * of pieces, who waits).
 */
#ifndef FETCH_PRIVATE_H
#define FETCH_PRIVATE_H

#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "fetch.h"

#define WORDS (SESSIONS_MAX / 64)

struct slots { /* a set of sessions, by slot */
	uint64_t words[WORDS];
};

enum state {
	STATE_FREE,     /* on its group's list */
	STATE_LATE,     /* the same, but asked for of somebody */
	STATE_ASKED,
	STATE_CHECKING,
	STATE_ABSENT,
	STATE_DELAYED,
	STATE_COUNT
};

struct link { /* a wait's interest in a piece */
	struct wait *wait;
	struct piece *piece; /* NULL: came */
	struct link *prev, *next;
};

struct wait {
	uint64_t token, until_ms;
	int result;
	bool told;
	size_t count, left;
	struct wait *prev, *next;
	UT_hash_handle hh;
	struct link links[];
};

struct piece {
	struct id name;
	uint32_t stored;
	enum state state;
	struct slots lacks;  /* has not got it; or is not to be asked again: */
	struct slots liars;
	struct slots asked, late;
	uint64_t time_ms;    /* ASKED: when a second one may be asked; DELAYED: until when */
	bool seconded;       /* ASKED: that time has come */
	struct group *group;
	struct link *links;
	struct piece *prev, *next; /* on the list of its state */
	UT_hash_handle hh;
};

struct group_key {
	uint64_t token, priority;
};

struct group {
	struct group_key key;
	bool begun, queued;
	size_t pieces;       /* held, in whatever state */
	struct piece *free;  /* FREE and LATE */
	struct group *prev, *next;
	UT_hash_handle hh;
};

struct batch {
	uint64_t number;     /* 0: not in use */
	uint64_t asked_ms, due_ms;
	bool late;
	size_t count;
	struct id *names;    /* while it is in use */
};

struct session {
	struct batch batches[FETCH_BATCHES_MAX];
	unsigned batch_count, batches_max;
	uint64_t bytes_max;  /* of a batch */
	uint64_t usual_ms;   /* 0: not known */
	uint64_t nothing_at; /* fetch.changes when there was nothing for it */
	uint64_t news_ms;    /* when news counted last */
	bool had_news, news_wait;
	bool said;           /* something of an answer not yet over */
};

struct fetch {
	uint64_t *numbers;        /* of sessions, by slot; 0: free */
	struct session **sessions;
	unsigned slot_room;       /* as many as there were at once, to SESSIONS_MAX */
	size_t session_count;
	size_t batch_count, news_count; /* of all sessions: in flight; news that wait */
	struct slots connected;

	struct piece *pieces;
	struct group *groups;
	struct group *queues[FETCH_PRIORITIES][2]; /* those with pieces to give: [1] begun */
	struct piece *asked, *absent, *delayed;
	struct piece *untold; /* the first on `absent` that was not told; those after it were not either */
	size_t counts[STATE_COUNT];

	struct wait *waits;       /* by token */
	struct wait *waiting, *told;
	size_t names_waited;

	uint64_t last_batch;
	uint64_t changes;         /* grows when there may be more to give */
};

static inline bool slots_has(const struct slots *s, unsigned slot)
{
	return s->words[slot / 64] >> (slot % 64) & 1;
}

static inline void slots_add(struct slots *s, unsigned slot)
{
	s->words[slot / 64] |= 1ull << (slot % 64);
}

static inline void slots_remove(struct slots *s, unsigned slot)
{
	s->words[slot / 64] &= ~(1ull << (slot % 64));
}

/* Is every one of a in b too? */
static inline bool slots_within(const struct slots *a, const struct slots *b)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (a->words[i] & ~b->words[i])
			return false;
	return true;
}

static inline bool slots_none(const struct slots *s)
{
	static const struct slots none;

	return slots_within(s, &none);
}

static inline bool slots_one(const struct slots *s)
{
	unsigned count = 0;

	for (unsigned i = 0; i < WORDS; i++)
		count += (unsigned)__builtin_popcountll(s->words[i]);
	return count == 1;
}

int fetch_slot_of(const struct fetch *f, uint64_t session); /* -1: none */

/* fetch_piece.c */
struct group *fetch_group_get(struct fetch *f, uint64_t token, enum fetch_priority priority); /* NULL: no memory */
void fetch_group_put(struct fetch *f, struct group *group); /* frees it if it has no pieces */
void fetch_group_begin(struct fetch *f, struct group *group);
struct piece *fetch_piece_find(const struct fetch *f, const struct id *name);
/* A new piece: first: before those that wait for their first turn. */
void fetch_piece_enter_state(struct fetch *f, struct piece *piece, enum state state, bool first);
void fetch_piece_set_state(struct fetch *f, struct piece *piece, enum state state);
/* Decides the state from who has been asked and who lacks it; not of one that is checked or delayed. */
void fetch_piece_settle(struct fetch *f, struct piece *piece);
/* Of those too. */
void fetch_piece_release(struct fetch *f, struct piece *piece);
void fetch_piece_unask(struct piece *piece, unsigned slot);
void fetch_piece_free(struct fetch *f, struct piece *piece); /* nobody waits for it */
int fetch_piece_raise(struct fetch *f, struct piece *piece, enum fetch_priority priority); /* -ENOMEM */
void fetch_wait_tell(struct fetch *f, struct wait *wait, int result);

#endif
