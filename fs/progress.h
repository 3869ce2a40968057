/*
 * progress.h - how a sync goes on, for a person who waits: it begins when something is missing, goes on while
 * anything comes, and ends when nothing is missing any more.
 *
 * Counts and a monotonic clock in; a state, a line of text and when to print it out.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_SETTLED_MS 500  /* without anything missing: what was got may lead to more */
#define PROGRESS_STALLED_MS 8000 /* without anything coming: peers do not have the rest */
#define PROGRESS_TEXT_SIZE 200

struct progress_counts {
	uint64_t records, pieces, bytes;       /* that came, ever */
	uint64_t missing_logs, missing_pieces; /* now, as far as those connected say */
	uint64_t peers;                        /* connected now */
};

enum progress_state {
	PROGRESS_NONE,    /* nothing is missing, and nothing was */
	PROGRESS_GOING,
	PROGRESS_ENDED,   /* once, then NONE */
	PROGRESS_STALLED, /* something is missing, and nothing comes; or nobody is connected any more */
};

struct progress { /* zeroed at first */
	enum progress_state state, told; /* told: at the last line */
	bool looked;
	uint64_t began_ms;  /* of what goes on */
	uint64_t moved_ms;  /* when anything came last */
	uint64_t needed_ms; /* when anything was missing last */
	uint64_t told_ms;   /* when the last line was due */
	struct progress_counts first, last;
};

enum progress_state progress_take(struct progress *p, const struct progress_counts *counts, uint64_t now_ms);
/*
 * Is a line to be printed now? What is over within quiet_ms is not worth one; then one each every_ms while it goes
 * on, and a last one.
 */
bool progress_is_due(struct progress *p, uint64_t quiet_ms, uint64_t every_ms, uint64_t now_ms);
/* "got 1234 records, 567 pieces, 8.9 MiB; missing 2 logs, 88 pieces", since it began. */
void progress_describe(const struct progress *p, char out[PROGRESS_TEXT_SIZE]);

#endif
