/*
 * sim.h - many nodes in one process: cores (core.h) over depots in memory, joined by a network that delays, loses, cuts
 * and comes back, under a clock that moves from event to event.
 *
 * All chance comes from the seed: two runs with one seed are the same run, and sim_digest() says so.
 *
 * The network carries connections, as TCP does: bytes of one direction stay in order, a lost segment is
 * a late one, a connection may be reset, and one whose way is cut stands still until it heals or time is up.  Between
 * connections there is no order.  A dial may come twice, and may be possible one way only.  A node may be deaf: what is
 * sent to it stands still, what it sends arrives.
 *
 * A crash takes what was not synced: own records to the last sync, the newest of what came from others, and some of
 * their pieces.
 *
 * What must hold is looked at as it happens (sim_check.c); what does not stands in sim->failure,
 * with the time, and the run ends.  One thread.  Times are microseconds of the simulation unless they say otherwise.
 */
#ifndef SIM_H
#define SIM_H

#include <sodium.h>

#include "core.h"
#include "depot_memory.h"
#include "sim_heap.h"
#include "sim_random.h"
#include "sim_wrap.h"

#define SECOND_US UINT64_C(1000000)
#define SIM_PORT 4040

struct sim;
struct sim_node;

struct sim_weather { /* of the whole network; may change at any time */
	uint32_t latency_least_ms, latency_greatest_ms; /* of a pair of nodes, one way */
	uint32_t lost;        /* segments per million: each comes that much later */
	uint32_t reset;       /* segments per million that end their connection */
	uint32_t split;       /* segments per million that are taken in two parts */
	uint32_t doubled;     /* dials per million that come twice */
	uint32_t one_way;     /* pairs per million of which one end cannot dial the other */
	uint64_t rate_least, rate_greatest; /* bytes a second that a node sends */
};

struct sim_options {
	uint64_t seed;
	bool fake_keys;       /* signatures that cost nothing */
	unsigned peers_aim;
	struct sim_weather weather;
};

enum sim_lie { /* what a lying node does to a packet of its own */
	SIM_LIE_FLIP, SIM_LIE_DROP, SIM_LIE_REPEAT, SIM_LIE_CUT, SIM_LIE_COUNT
};

struct sim_segment {
	struct sim_segment *next;
	uint64_t arrives_us;
	size_t size;
	uint8_t bytes[];
};

struct sim_want;
struct sim_wire;
struct sim_end { /* of a connection */
	struct sim_wire *wire;
	struct sim_node *node;
	uint64_t session;             /* 0: closed, or not there yet */
	struct sim_end *before, *next; /* of the node's list */
	struct sim_segment *first, *last; /* sent from here, not arrived */
	size_t flying;
	uint64_t arrives_us;          /* of the newest segment: the next one is not earlier */
	uint64_t stuck_us;            /* since when the way is cut; 0: it is not */
	bool arriving, more, finished; /* an event is in the heap; there is more to send; the end comes after the last segment */
	unsigned tries;
};
struct sim_wire {
	struct sim_wire *before, *next;
	uint64_t number;
	unsigned refs;                /* events that name it */
	char address[ADDRESS_SIZE_MAX]; /* that was dialled */
	struct sim_end ends[2];       /* 0 dialled */
};

struct sim_node {
	struct sim *sim;
	unsigned index, life;         /* life: counts the starts */
	char address[ADDRESS_SIZE_MAX];
	struct key key;
	struct memory *memory;
	struct core *core;            /* NULL: down */
	struct clock clock;
	struct sim_random random;
	int64_t skew_ms;              /* of the wall clock */
	bool dialable, hub, lies;     /* hub: everybody can dial it */
	bool deaf;                    /* nothing reaches it */
	unsigned side;                /* nodes of two sides do not reach each other */
	bool own_known;               /* may sign: EVENT_OWN_KNOWN came since the start, or it never had a past */
	uint64_t rate, busy_us, wake_us;
	struct sim_end *ends;
	struct sim_job *jobs;         /* works that are out */
	struct sim_want *wants;       /* not answered yet */
	unsigned *contacts;           /* nodes whose addresses its person knows */
	size_t contact_count;
	uint64_t sent[PACKET_COUNT];  /* packets by kind */
	uint64_t memory_most;         /* bytes of its core */
	unsigned turns;
	uint64_t hop, reached_us;     /* of the save that is tracked; 0: not reached */
};

struct sim_truth;

struct sim {
	struct sim_options options;
	uint64_t now_us;
	struct sim_heap heap;
	struct sim_random random;     /* of the network */
	struct sim_random story;      /* of who does what */
	struct blobs *blobs;
	struct sim_node *nodes;       /* never moves: sim_new() says how many there may be */
	unsigned count, count_max;
	struct sim_wire *wires;
	uint64_t last_wire;
	struct sim_node *sender;      /* whose core is called now */
	struct sim_hook hook;
	struct sim_truth *truth;
	crypto_generichash_state trace;
	bool calm;                    /* faults are over */
	bool rewinds;                 /* backups come back in this story: logs may fork */
	bool devices;                 /* persons have several */
	uint64_t last_want;

	char failure[256];            /* empty: none */
	uint64_t events, dials, sessions, segments, lost, resets, crashes, checks, bytes;
	uint64_t closes[256];         /* EVENT_CLOSE by -result */
	uint64_t packets;

	struct id tracked_device, tracked_version;
	uint64_t tracked_seq, tracked_us;
	unsigned tracked_count;
	bool tracking;
};

/* Aborts without memory, as all here. */
struct sim *sim_new(const struct sim_options *options, unsigned count_max);
void sim_free(struct sim *sim);
void sim_fail(struct sim *sim, const struct sim_node *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- nodes (sim.c) ---- */

/* A node that is down. person NULL: its own. */
struct sim_node *sim_add(struct sim *sim, const struct id *person);
void sim_meet(struct sim_node *node, const struct sim_node *other); /* tells it an address */
void sim_start(struct sim_node *node);
/* politely: its connections end at once at the other ends too, as when a process is killed; else as when power fails. */
void sim_crash(struct sim_node *node, bool politely);
void sim_pump(struct sim_node *node); /* after anything was done with its core */
struct sim_node *sim_author(struct sim *sim, const struct id *device);

/* One event. False: there are no more, or something failed. */
bool sim_step(struct sim *sim);
bool sim_run(struct sim *sim, uint64_t until_us);
/* call(context) at that time. */
typedef void sim_call(struct sim *sim, void *context, uint64_t argument);
void sim_at(struct sim *sim, uint64_t time_us, sim_call *call, void *context, uint64_t argument);
void sim_digest(const struct sim *sim, struct id *out);
/* From now on it is told who has this record, by which way. */
void sim_track(struct sim_node *author, const struct id *version);

/* ---- the network (sim_wire.c) ---- */

enum sim_event_kind {
	SIM_WAKE, SIM_WORK, SIM_CALL, SIM_DIAL_COMES, SIM_DIAL_ANSWERED, SIM_DIAL_FAILS, SIM_ARRIVES, SIM_CLOSED,
};
void wire_dial(struct sim_node *node, const struct event *event);
void wire_close(struct sim_node *node, uint64_t session); /* sends what the core has, then the end */
void wire_crash(struct sim_node *node, bool politely);
void wire_event(struct sim *sim, const struct sim_event *event);
bool wire_flush(struct sim_end *end); /* true: something was sent */
struct sim_end *wire_find(struct sim_node *node, uint64_t session);
bool wire_is_cut(const struct sim_node *from, const struct sim_node *to);
void wire_free_all(struct sim *sim);

/* ---- what must hold (sim_check.c) ---- */

struct sim_truth *truth_new(void);
void truth_free(struct sim_truth *truth);
void check_synced(struct sim_node *node);  /* its own log: what is durable becomes what others may hold */
void check_taken(struct sim_node *node, const struct id *device); /* a log of the node */
void check_node(struct sim_node *node);    /* counts and memory; cheap */
void check_all(struct sim *sim);
void check_closed(struct sim_node *node, const struct event *event);
/* Somebody waits for a version until then: told once, in time, and the truth. */
void check_want(struct sim_node *node, const struct id *version, uint64_t until_ms);
void check_wanted(struct sim_node *node, const struct event *event);
void check_wants_end(struct sim_node *node); /* it is down: nobody waits any more */
/* Every node has all that it follows. out_why: the first that has not. */
bool check_converged(const struct sim *sim, char *out_why, size_t why_size);

/* ---- faults of its own (sim_lie.c) ---- */

bool lie_sending(void *context, const uint8_t *packet, size_t size, struct bytes *out);

#endif
