/*
 * rumor.h - what Plumtree remembers (Leitao, Pereira, Rodrigues, SRDS 2007): per peer the logs that it wants by name
 * only, and of all peers what was noted and did not come yet.
 *
 * A new record is pushed to peers that follow its log, or noted to those that pruned it.  Who gets by push
 * what is here already prunes; who hears by note of what does not come within
 * RUMOR_WAIT_MS grafts.  So the pushes of each log settle on a tree, and notes mend it.
 *
 * Nothing here sends.  One thread.  Times are of the now_ms clock.
 */
#ifndef RUMOR_H
#define RUMOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"
#include "packet.h"

#define RUMOR_WAIT_MS 150    /* for a push, after the note: a round trip over most of the world */
#define RUMOR_PRUNED_MAX 4096 /* logs of one peer; above it all of them are by note only */
#define RUMOR_NOTED_MAX 4096 /* logs waited for */
#define RUMOR_TELLERS_MAX 4  /* peers remembered of one note */

/* ---- of one peer: the logs it wants by name only ---- */

struct rumor_pruned {
	struct rumor_log *logs;
	bool all; /* too many: every log */
};
void rumor_pruned_finish(struct rumor_pruned *pruned); /* takes a zeroed one */
bool rumor_is_pruned(const struct rumor_pruned *pruned, const struct id *device);
void rumor_prune(struct rumor_pruned *pruned, const struct id *device);
void rumor_graft(struct rumor_pruned *pruned, const struct id *device);

/* ---- of the node: noted and not here ---- */

struct rumor;
struct rumor *rumor_new(void); /* NULL: no memory */
void rumor_free(struct rumor *rumor); /* takes NULL */

/* `session` has told of a head that is not here. */
void rumor_noted(struct rumor *rumor, const struct head *head, uint64_t session, uint64_t now_ms);
/* The log has come as far as this. */
void rumor_came(struct rumor *rumor, const struct id *device, uint64_t seq);
void rumor_gone(struct rumor *rumor, uint64_t session);
/* A note whose time is over, and who told it, the oldest first: it is forgotten, graft the log. */
struct rumor_note {
	struct head head;
	uint64_t tellers[RUMOR_TELLERS_MAX]; /* sessions */
	unsigned teller_count;
};
bool rumor_due(struct rumor *rumor, uint64_t now_ms, struct rumor_note *out);
uint64_t rumor_deadline_ms(const struct rumor *rumor);
size_t rumor_memory(const struct rumor *rumor);
size_t rumor_pruned_memory(const struct rumor_pruned *pruned);

#endif
