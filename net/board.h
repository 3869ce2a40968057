/*
 * board.h - what the network thread last saw, for others to read: peers and counts.
 *
 * The thread that owns the core posts; any thread reads copies.  A leaf: nothing is called with its lock held but the
 * core's own views.
 */
#ifndef BOARD_H
#define BOARD_H

#include <pthread.h>

#include "core.h"

struct board {
	pthread_mutex_t lock;
	struct peer_view peers[SESSIONS_MAX];
	size_t peer_count;
	struct core_counts counts;
};

void board_init(struct board *b);
void board_finish(struct board *b);

void board_post(struct board *b, struct core *core);
/* How many there are; fills at most count_max. */
size_t board_peers(struct board *b, struct peer_view *out, size_t count_max);
void board_count(struct board *b, struct core_counts *out);

#endif
