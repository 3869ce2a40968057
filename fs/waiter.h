/*
 * waiter.h - requests that wait for what has to come from a peer, and the one thread that answers them.
 *
 * What a request needs is here (0 or an error that it was answered with), or not (-ENODATA): then it is parked and
 * its attempt is made again, on the waiter's thread, when pieces came or its time is up, so that no
 * worker of FUSE waits.  Knows nothing of FUSE, nor of the network.
 *
 * Threads: waiter_came(), waiter_wanted() and waiter_interrupt() only note it and return at once; attempts are made with no lock held.
 */
#ifndef WAITER_H
#define WAITER_H

#include "clock.h"
#include "id.h"

#define WAITING_MAX 1024     /* requests parked at once: beyond, what is not here fails at once */
#define WAITED_VERSIONS 8    /* that one request may need */

struct waiter;

struct waiting { /* a request; the caller embeds it, and it is the waiter's from park to end */
	struct id versions[WAITED_VERSIONS]; /* of which it needs something */
	size_t version_count;
	uint64_t until_ms;                   /* now_ms clock */
	/* 0: answered. -ENODATA: what it needs is not here yet, nothing was answered. */
	int (*attempt)(struct waiting *waiting);
	/* Answers with this error. */
	void (*refuse)(struct waiting *waiting, int err);
	/* After either: frees it. */
	void (*end)(struct waiting *waiting);
	struct waiting *prev, *next; /* these and what follows: the waiter's */
	struct waiting_private {
		uint64_t token; /* the greatest of its own: one a version, in a row */
		size_t wanted;  /* answers of the network that are out */
		bool interrupted, due, busy;
	} own;
};

struct waiter_options {
	struct clock clock;
	/* waiter_wanted() with the token follows, by until_ms at the latest. < 0: it will not. */
	int (*want)(void *context, const struct id *version, uint64_t token, uint64_t until_ms);
	void *context;
};

int waiter_new(struct waiter **out, const struct waiter_options *options);
/* All that waits is refused with -ENODATA before it returns. Takes NULL. */
void waiter_free(struct waiter *w);

/*
 * Parks it. `ready` is called (may be NULL) with the token that interrupts it, before anything can end it. -ENODATA: too
 * many wait, its time is up, or the waiter ends; -ENOMEM: then it is still the caller's.
 */
int waiter_park(struct waiter *w, struct waiting *waiting, void (*ready)(struct waiting *waiting, uint64_t token));
void waiter_interrupt(struct waiter *w, uint64_t token); /* it is refused with -EINTR; unknown tokens are ignored */
void waiter_wanted(struct waiter *w, uint64_t token);    /* the network has what it can have of it, or gave up */
void waiter_came(struct waiter *w);                      /* pieces came: for anybody */
size_t waiter_count(struct waiter *w);                   /* how many wait */

#endif
