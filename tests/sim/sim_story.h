/*
 * sim_story.h - what happens in a simulation: who knows whom, who saves what, what breaks when.
 *
 * A story builds its nodes, runs, and says in sim->failure what did not hold.  Figures go to `out`.
 */
#ifndef SIM_STORY_H
#define SIM_STORY_H

#include <stdio.h>

#include "sim.h"

struct story_options {
	uint64_t seed;
	unsigned nodes;   /* 0: the story's own */
	unsigned seconds; /* of faults, or of whatever goes on; 0: the story's own */
	bool real_keys;   /* where the story would take those that cost nothing */
	FILE *out;        /* NULL: quiet */
	FILE *progress;   /* long stories tell there how far they are; NULL: nowhere */
};

struct story {
	const char *name, *about;
	/* The simulation as it ended; the caller frees it. NULL: what it needs is not here. */
	struct sim *(*tell)(const struct story_options *options);
};

const struct story *story_find(const char *name); /* NULL */
const struct story *story_each(size_t index);     /* NULL: no more */

/* ---- what stories share (sim_kit.c) ---- */

/* They follow, and each knows where the other is. */
void kit_follow(struct sim_node *node, struct sim_node *other);
void kit_begin(struct sim_node *node, const char *name); /* profile, durable; starts */
/* Random bytes as text: about half of it does not compress. */
void kit_save(struct sim_node *node, uint64_t size, struct id *out_version);
void kit_act(struct sim_node *node);  /* something that people do */
/* Something breaks, and heals by itself within `longest_us`. */
void kit_break(struct sim *sim, uint64_t longest_us);
void kit_calm(struct sim *sim);       /* all is healed, everybody is up */
/* Until all have all. Fails after `most_us`. The time it took. */
uint64_t kit_converge(struct sim *sim, uint64_t most_us);

void kit_tell_packets(const struct sim *sim, FILE *out); /* sent, by kind; sessions that nodes have now */

struct sim *story_spread(const struct story_options *options);
struct sim *story_history(const struct story_options *options);

#endif
