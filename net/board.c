#include "board.h"

#include <string.h>

void board_init(struct board *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
}

void board_finish(struct board *b)
{
	pthread_mutex_destroy(&b->lock);
}

static void post_peer(void *context, const struct peer_view *view)
{
	struct board *b = context;

	if (b->peer_count < SESSIONS_MAX)
		b->peers[b->peer_count++] = *view;
}

void board_post(struct board *b, struct core *core)
{
	pthread_mutex_lock(&b->lock);
	b->peer_count = 0;
	core_each_peer(core, post_peer, b);
	core_count(core, &b->counts);
	pthread_mutex_unlock(&b->lock);
}

size_t board_peers(struct board *b, struct peer_view *out, size_t count_max)
{
	pthread_mutex_lock(&b->lock);
	const size_t count = b->peer_count;
	memcpy(out, b->peers, (count < count_max ? count : count_max) * sizeof(*out));
	pthread_mutex_unlock(&b->lock);
	return count;
}

void board_count(struct board *b, struct core_counts *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->counts;
	pthread_mutex_unlock(&b->lock);
}
