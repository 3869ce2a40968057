/*
 * earn.h - who is served first when more handshakes come than can be served, and what newcomers are asked to pay.
 *
 * Done handshakes wait here for a slot; while slots are free none waits at all.  Of ten slots five are for
 * peers known well, whatever they paid, four go to the highest effort, one to a newcomer by lot (DESIGN 7.2);
 * a slot nobody of its kind waits for is anybody's.  The suggested effort follows the
 * controller of Tor's proposal 362, period EARN_PERIOD_MS: it rises while more of
 * those who paid it come than slots go round, falls in proportion else, and is 0 when idle.  What those known
 * well do never moves it, nor do false solutions, which do not come this far.
 *
 * The struct is the caller's; nothing allocates.  Times are of the now_ms clock.
 */
#ifndef EARN_H
#define EARN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EARN_PER_SECOND 100     /* slots: what follows a handshake costs some milliseconds of one core */
#define EARN_BURST 50           /* slots saved up while idle */
#define EARN_WAITING_MAX 64
#define EARN_PERIOD_MS 10000
#define EARN_SUGGESTED_MAX 2000 /* units: two seconds of a core; bids may be higher */
#define EARN_BID_FACTOR 8       /* a single bid counts as at most so many times the suggestion */

struct earn_waiting {
	uint64_t session, since_ms;
	uint32_t effort;
	bool known;
};

struct earn {
	uint32_t suggested;           /* the least effort to ask for now */
	struct earn_waiting waiting[EARN_WAITING_MAX]; /* oldest first */
	size_t count;
	unsigned turn;                /* which of ten slots is next */
	uint64_t slots, slots_ms;     /* free now, and as of when */
	uint64_t period_ms, empty_ms; /* began; since when nobody waits */
	uint64_t idle_ms, served;     /* of this period: nobody waited; slots given */
	uint64_t bids, bids_effort;   /* newcomers who came with the suggestion, and what they paid */
};

void earn_init(struct earn *e, uint64_t now_ms);
/* Queues a session. Returns the one that has to leave because too many wait (maybe this one), or 0. */
uint64_t earn_join(struct earn *e, const struct earn_waiting *newcomer, uint64_t now_ms);
/* Whose turn it is; 0: nobody's now. chance: any number, for the lot. */
uint64_t earn_next(struct earn *e, uint64_t now_ms, uint32_t chance);
void earn_leave(struct earn *e, uint64_t session, uint64_t now_ms); /* it is gone, if it was here */
void earn_tick(struct earn *e, uint64_t now_ms);                    /* moves the suggestion */
uint64_t earn_deadline_ms(const struct earn *e);                    /* when either may have something; UINT64_MAX */

#endif
