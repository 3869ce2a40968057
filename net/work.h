/*
 * work.h - what the protocol core must not do itself, because it takes time: the shell runs it on a worker thread, the
 * simulator at once.
 *
 * A work is made by core.c, run once by work_run() (which knows the depot and nothing of the core), and handed back
 * with core_work_done(). It owns all it points to.
 */
#ifndef WORK_H
#define WORK_H

#include "depot.h"
#include "puzzle.h"

enum work_kind {
	WORK_RECORDS,  /* check and take a chain */
	WORK_PIECES,   /* check, inflate and take pieces */
	WORK_ANSWER,   /* read, make and sign a page */
	WORK_CHECK,    /* the signature of a page that came */
	WORK_SYNC,     /* make own records durable */
	WORK_PUZZLE,   /* solve; looks at `cancelled` now and then */
	WORK_REMEMBER, /* local facts: work_put_fact() */
};

struct work {
	enum work_kind kind;
	uint64_t session;         /* on whose behalf; 0: the node's own */
	uint64_t token;           /* the core's: what it belongs to */
	const struct depot *depot;
	struct bytes input;       /* packet or pieces or records, borrowed from by what is below */
	struct bytes output;
	int result;
	uint64_t time_ms;         /* wall clock, for pages */
	volatile int cancelled;

	struct id device;         /* RECORDS; CHECK: the signer */
	struct record_item *records; /* RECORDS: owned array that borrows from input */
	struct piece_item *pieces;   /* PIECES: the same */
	int *results;             /* PIECES: owned, one each */
	size_t count;
	struct query query;       /* ANSWER: borrows from input */
	struct id cb;             /* ANSWER */
	struct signature signature; /* ANSWER: made; CHECK: to be checked */
	uint64_t bytes, items;    /* ANSWER: what it carries, for receipts */
	struct puzzle puzzle;
	struct solution solution;
	struct work *next;        /* the core's */
};

struct work *work_new(enum work_kind kind, const struct depot *depot); /* NULL: no memory */
void work_free(struct work *work); /* takes NULL */
void work_run(struct work *work);
/* REMEMBER: one more; an empty value forgets. Errors are those of work->input. */
void work_put_fact(struct work *work, const void *key, size_t key_size, const void *value, size_t value_size);

/*
 * ANSWER, alone: reads and signs the page that answers a query. Also used by tests. Slices begin where the query says,
 * so offset is 0, and count is greater than the items' exactly if there is more to ask for. Of peers
 * all that were spoken to are told: who asks from where only the core knows.
 */
int answer_make(const struct depot *depot, const struct query *query, const struct id *cb, uint64_t time_ms,
		struct bytes *out, struct signature *out_signature, uint64_t *out_items);

#endif
