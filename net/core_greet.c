#include <errno.h>
#include <string.h>

#include "core_private.h"

struct handshake *greet_begin(const struct link *link, const struct id *expected)
{
	struct core *core = link->core;

	if (link->outgoing)
		return handshake_new_client(core->depot->key, &core->options.network, expected, core->clock);
	return handshake_new_server(&core->server, link->address, strlen(link->address), core->clock);
}

void greet_fail(struct link *link, int result)
{
	link->core->counts.handshake_failures++;
	link_close(link, result);
}

static void join_queue(struct link *link)
{
	struct core *core = link->core;
	struct earn_waiting newcomer = { .session = link->session, .effort = link->effort };

	link->known = newcomer.known = meet_is_known(core, &link->device);
	link_set_state(link, LINK_WAITING);
	uint64_t dropped = earn_join(&core->earn, &newcomer, core->now_ms);
	struct link *loser = dropped ? core_find(core, dropped) : NULL;
	if (loser) {
		core->counts.refused++;
		link_close(loser, -EBUSY);
	}
}

static void start_stream(struct link *link)
{
	stream_init(&link->stream, link->keys.send, link->keys.receive, link->core->now_ms);
	link->streaming = true;
	sodium_memzero(&link->keys, sizeof(link->keys));
	link_set_state(link, LINK_OPENING);
}

void greet_open(struct link *link)
{
	start_stream(link);
	meet_begin(link);
}

static void met(struct link *link)
{
	struct core *core = link->core;

	handshake_free(link->handshake);
	link->handshake = NULL;
	link->device = link->keys.peer;
	link->cb = link->keys.cb;
	link->effort = link->keys.effort;
	follow_key(link->follow_key, &link->cb);
	if (id_equal(&link->device, &core->depot->key->public)) {
		link->apart = true;
		link_close(link, -ELOOP);
	} else if (link->outgoing) {
		start_stream(link);
	} else {
		join_queue(link);
	}
}

static void solve(struct link *link, const struct puzzle *puzzle)
{
	struct work *work = work_new(WORK_PUZZLE, link->core->depot);

	if (!work) {
		greet_fail(link, -ENOMEM);
		return;
	}
	work->session = link->session;
	work->puzzle = *puzzle;
	link->puzzle = work;
	core_send_work(link->core, work);
}

/* Gives what the handshake has to say; sees whether it is done. */
void greet_advance(struct link *link)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];
	struct puzzle puzzle;
	size_t size = handshake_give(link->handshake, message);

	link->core->counts.cookies += size == COOKIE_SIZE;
	bytes_put(&link->out, message, size);
	if (bytes_error(&link->out) < 0)
		greet_fail(link, bytes_error(&link->out));
	else if (!link->puzzle && handshake_puzzle(link->handshake, &puzzle))
		solve(link, &puzzle);
	else if (handshake_done(link->handshake, &link->keys))
		met(link);
}

void greet_solved(struct link *link, struct work *work)
{
	if (link->puzzle != work)
		return;
	link->puzzle = NULL;
	if (work->result < 0) {
		greet_fail(link, work->result);
		return;
	}
	handshake_solved(link->handshake, &work->solution);
	greet_advance(link);
}

ssize_t greet_take(struct link *link, const uint8_t *bytes, size_t size)
{
	ssize_t used = handshake_take(link->handshake, bytes, size);

	if (used < 0)
		greet_fail(link, (int)used);
	else if (used > 0)
		greet_advance(link);
	return used;
}
