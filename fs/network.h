/*
 * network.h - the node's network as the mount and `moot serve` run it: a depot over the store, and the loop over it.
 *
 * Starts and stops both, tells the loop what is appended here, and the desk and the caller what arrives; names
 * persons as they become known (names.h).  Nothing here waits for the network.  Threads: any.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include "desk.h"
#include "loop.h"

#define NETWORK_LISTEN_DEFAULT "127.0.0.1:0" /* off the loopback only when asked for */
#define NETWORK_HOLD_MS 5000 /* for peers to tell the newest record of the own log, after an unclean stop */

struct network;

struct network_options {
	struct store *store;
	struct desk *desk;
	const char *listen; /* NULL: as configured; "": do not listen */
	/*
	 * What shows under a name may be another thing now (depot_store.h): before the desk knows it, and after. On a
	 * worker, no lock held. May be NULL.
	 */
	void (*arriving)(void *context, const struct id *person, const struct id *directory, const char *name);
	void (*arrived)(void *context, const struct id *person, const struct id *directory, const char *name);
	/* On the network thread: must return at once. May be NULL. */
	void (*event)(void *context, const struct event *event);
	void *context;
};

/* With port 0 it listens where it did last, if that is free. */
int network_start(struct network **out, const struct network_options *options, struct why *why);
void network_stop(struct network *n); /* takes NULL */
/*
 * How long the desk is to be held from its start (desk.h): not at all after a clean stop in the same place (a copy is another), nor where no peer
 * is remembered. The network ends it as soon as a peer has told, or none can be reached.
 */
uint64_t network_hold_ms(struct store *store);

/* host:port or host:port#id, as a person writes it: dialled, and remembered. -EINVAL with a sentence. */
int network_connect(struct network *n, const char *text, struct why *why);

enum asked_state { ASKED_NOTHING, ASKED_TRYING, ASKED_CONNECTED, ASKED_FAILED };
struct network_asked { /* what was last asked, and how it ended */
	enum asked_state state;
	char address[ADDRESS_SIZE_MAX];
	struct id device, person; /* CONNECTED: who answered; else who is expected, or zero */
	int result;               /* FAILED */
};
void network_asked(struct network *n, struct network_asked *out);
/* Its own address: "" where it does not listen. */
void network_address(const struct network *n, char out[ADDRESS_SIZE_MAX]);
/* EVENT_WANTED with the token follows, by until_ms (clock_now_ms) at the latest. -EAGAIN: too many wait. */
int network_want(struct network *n, const struct id *version, uint64_t token, uint64_t until_ms);
/* A subscription of this node's person changed. */
void network_follows_changed(struct network *n);
/* Since then not all that are connected have told what they have of it: what is missing is not known yet. */
bool network_is_asking(struct network *n);
/* Copies: how many there are; fills at most count_max. */
size_t network_peers(struct network *n, struct peer_view *out, size_t count_max);
void network_count(struct network *n, struct core_counts *out);
/* Is anybody connected who could have what is missing here? */
bool network_has_peers(struct network *n);

#endif
