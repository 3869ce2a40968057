#include <errno.h>
#include <stdlib.h>

#include "fetch_private.h"

/* ---- groups ---- */

static void group_queue(struct fetch *f, struct group *group, bool first)
{
	struct group **queue = &f->queues[group->key.priority][group->begun];

	if (group->queued || !group->free)
		return;
	if (first)
		DL_PREPEND(*queue, group);
	else
		DL_APPEND(*queue, group);
	group->queued = true;
}

static void group_unqueue(struct fetch *f, struct group *group)
{
	if (group->queued)
		DL_DELETE(f->queues[group->key.priority][group->begun], group);
	group->queued = false;
}

void fetch_group_begin(struct fetch *f, struct group *group)
{
	if (group->begun)
		return;
	group_unqueue(f, group);
	group->begun = true;
	group_queue(f, group, false);
}

struct group *fetch_group_get(struct fetch *f, uint64_t token, enum fetch_priority priority)
{
	struct group_key key = { token, (uint64_t)priority };
	struct group *group;

	HASH_FIND(hh, f->groups, &key, sizeof(key), group);
	if (group)
		return group;
	group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	group->key = key;
	HASH_ADD(hh, f->groups, key, sizeof(group->key), group);
	if (!group->hh.tbl) {
		free(group);
		return NULL;
	}
	return group;
}

void fetch_group_put(struct fetch *f, struct group *group)
{
	if (group->pieces)
		return;
	group_unqueue(f, group);
	HASH_DEL(f->groups, group);
	free(group);
}

/* ---- states of pieces ---- */

struct piece *fetch_piece_find(const struct fetch *f, const struct id *name)
{
	struct piece *piece;

	HASH_FIND(hh, f->pieces, name, sizeof(*name), piece);
	return piece;
}

static void fetch_piece_leave_state(struct fetch *f, struct piece *piece)
{
	switch (piece->state) {
	case STATE_FREE:
	case STATE_LATE:
		DL_DELETE(piece->group->free, piece);
		if (!piece->group->free)
			group_unqueue(f, piece->group);
		break;
	case STATE_ASKED:
		DL_DELETE(f->asked, piece);
		break;
	case STATE_ABSENT:
		if (f->untold == piece)
			f->untold = piece->next;
		DL_DELETE(f->absent, piece);
		break;
	case STATE_DELAYED:
		DL_DELETE(f->delayed, piece);
		break;
	case STATE_CHECKING:
	case STATE_COUNT:
		break;
	}
	f->counts[piece->state]--;
}

void fetch_piece_enter_state(struct fetch *f, struct piece *piece, enum state state, bool first)
{
	piece->state = state;
	f->counts[state]++;
	switch (state) {
	case STATE_FREE:
	case STATE_LATE:
		if (first)
			DL_PREPEND(piece->group->free, piece);
		else
			DL_APPEND(piece->group->free, piece);
		group_queue(f, piece->group, first);
		f->changes++;
		break;
	case STATE_ASKED:
		DL_APPEND(f->asked, piece);
		break;
	case STATE_ABSENT:
		DL_APPEND(f->absent, piece);
		if (!f->untold)
			f->untold = piece;
		break;
	case STATE_DELAYED:
		DL_APPEND(f->delayed, piece);
		break;
	case STATE_CHECKING:
	case STATE_COUNT:
		break;
	}
}

void fetch_piece_set_state(struct fetch *f, struct piece *piece, enum state state)
{
	enum state old = piece->state;

	if (old == state)
		return;
	fetch_piece_leave_state(f, piece);
	/* What was asked for once comes before what was not; what was absent may be so again. */
	fetch_piece_enter_state(f, piece, state, old != STATE_ABSENT);
}

void fetch_wait_tell(struct fetch *f, struct wait *wait, int result)
{
	struct link *link;

	if (wait->told)
		return;
	for (size_t i = 0; i < wait->count; i++) {
		link = &wait->links[i];
		if (link->piece)
			DL_DELETE(link->piece->links, link);
		link->piece = NULL;
	}
	DL_DELETE(f->waiting, wait);
	DL_APPEND(f->told, wait);
	f->names_waited -= wait->count;
	wait->told = true;
	wait->result = result;
}

static void piece_fail_waits(struct fetch *f, struct piece *piece)
{
	while (piece->links)
		fetch_wait_tell(f, piece->links->wait, -ENODATA);
}

void fetch_piece_settle(struct fetch *f, struct piece *piece)
{
	struct slots not_here = piece->lacks;

	if (piece->state == STATE_CHECKING || piece->state == STATE_DELAYED)
		return;
	if (!slots_none(&piece->asked)) {
		fetch_piece_set_state(f, piece, slots_within(&piece->asked, &piece->late) ? STATE_LATE : STATE_ASKED);
		return;
	}
	for (unsigned i = 0; i < WORDS; i++)
		not_here.words[i] |= piece->liars.words[i];
	if (f->session_count && slots_within(&f->connected, &not_here)) {
		fetch_piece_set_state(f, piece, STATE_ABSENT);
		piece_fail_waits(f, piece);
	} else {
		fetch_piece_set_state(f, piece, STATE_FREE);
	}
}

void fetch_piece_release(struct fetch *f, struct piece *piece)
{
	fetch_piece_set_state(f, piece, STATE_FREE);
	fetch_piece_settle(f, piece);
}

void fetch_piece_unask(struct piece *piece, unsigned slot)
{
	slots_remove(&piece->asked, slot);
	slots_remove(&piece->late, slot);
}

void fetch_piece_free(struct fetch *f, struct piece *piece)
{
	struct group *group = piece->group;

	fetch_piece_leave_state(f, piece);
	group->pieces--;
	fetch_group_put(f, group);
	HASH_DEL(f->pieces, piece);
	free(piece);
}

int fetch_piece_raise(struct fetch *f, struct piece *piece, enum fetch_priority priority)
{
	struct group *old = piece->group;
	bool free = piece->state == STATE_FREE || piece->state == STATE_LATE;
	struct group *group;

	if (old->key.priority <= (uint64_t)priority)
		return 0;
	group = fetch_group_get(f, old->key.token, priority);
	if (!group)
		return -ENOMEM;
	if (old->begun)
		fetch_group_begin(f, group);
	group->pieces++;
	if (free)
		fetch_piece_leave_state(f, piece);
	piece->group = group;
	if (free)
		fetch_piece_enter_state(f, piece, piece->state, false);
	old->pieces--;
	fetch_group_put(f, old);
	return 0;
}

/* ---- who waits ---- */

static void wait_free(struct fetch *f, struct wait *wait)
{
	HASH_DEL(f->waits, wait);
	free(wait);
}

/* Without those that are here. -ENOMEM: not all could be raised. */
static int wait_link(struct fetch *f, struct wait *wait, const struct id *names)
{
	int err = 0;

	for (size_t i = 0; i < wait->count && !err; i++) {
		struct piece *piece = fetch_piece_find(f, &names[i]);
		struct link *link = &wait->links[i];

		if (!piece)
			continue;
		link->wait = wait;
		link->piece = piece;
		DL_APPEND(piece->links, link);
		wait->left++;
		err = fetch_piece_raise(f, piece, FETCH_WAITED);
	}
	return err;
}

static bool wait_is_hopeless(const struct fetch *f, const struct wait *wait)
{
	bool hopeless = !f->session_count;

	for (size_t i = 0; i < wait->count; i++)
		hopeless |= wait->links[i].piece && wait->links[i].piece->state == STATE_ABSENT;
	return hopeless;
}

int fetch_wait(struct fetch *f, uint64_t token, const struct id *names, size_t count, uint64_t until_ms)
{
	struct wait *wait;
	int err;

	HASH_FIND(hh, f->waits, &token, sizeof(token), wait);
	if (wait)
		return -EEXIST;
	if (HASH_COUNT(f->waits) >= FETCH_WAITS_MAX || count > FETCH_WAIT_NAMES_MAX - f->names_waited)
		return -ENOSPC;
	wait = calloc(1, sizeof(*wait) + count * sizeof(*wait->links));
	if (!wait)
		return -ENOMEM;
	wait->token = token;
	wait->until_ms = until_ms;
	wait->count = count;
	HASH_ADD(hh, f->waits, token, sizeof(wait->token), wait);
	if (!wait->hh.tbl) {
		free(wait);
		return -ENOMEM;
	}
	DL_APPEND(f->waiting, wait);
	f->names_waited += count;
	err = wait_link(f, wait, names);
	if (err)
		fetch_unwait(f, token);
	else if (!wait->left)
		fetch_wait_tell(f, wait, 0);
	else if (wait_is_hopeless(f, wait))
		fetch_wait_tell(f, wait, -ENODATA);
	return err;
}

void fetch_unwait(struct fetch *f, uint64_t token)
{
	struct wait *wait;

	HASH_FIND(hh, f->waits, &token, sizeof(token), wait);
	if (!wait)
		return;
	fetch_wait_tell(f, wait, -ECANCELED);
	DL_DELETE(f->told, wait);
	wait_free(f, wait);
}

bool fetch_next_told(struct fetch *f, uint64_t *out_token, int *out_result)
{
	struct wait *wait = f->told;

	if (!wait)
		return false;
	*out_token = wait->token;
	*out_result = wait->result;
	DL_DELETE(f->told, wait);
	wait_free(f, wait);
	return true;
}

bool fetch_next_absent(struct fetch *f, struct id *out_name)
{
	if (!f->untold)
		return false;
	*out_name = f->untold->name;
	f->untold = f->untold->next;
	return true;
}
