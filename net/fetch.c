#include "fetch.h"

#include <errno.h>
#include <stdlib.h>

#include "fetch_private.h"

#define LATE_MS_MIN 500          /* below this a hiccup of the line would count as late */
#define LOST_MS (3 * QUERY_MS_MAX) /* then an answer is not waited for any more: queries can be dropped */
#define FAST_MS 500              /* an answer within this earns one more batch in flight, */
#define SLOW_MS 2000             /* over this costs one */
#define SMALLER_MS 4000          /* over this batches become smaller, for lines that carry no batch in QUERY_MS_MAX */
#define BATCH_BYTES_FIRST (64 * 1024)
#define BATCH_BYTES_MIN (16 * 1024)
#define BATCHES_FIRST 2
#define END_PIECES_MAX 64        /* so few are outstanding: a second peer is asked, */
#define END_MS_MIN 100           /* but not before the first had its usual time */
#define END_MS_UNKNOWN 1000
#define NEWS_MS 1000
#define RETRY_MS 1000
#define SLOTS_MIN 8

/* ---- life ---- */

struct fetch *fetch_new(void)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (f)
		f->changes = 1;
	return f;
}

static void session_free(struct session *s)
{
	for (unsigned i = 0; s && i < FETCH_BATCHES_MAX; i++)
		free(s->batches[i].names);
	free(s);
}

void fetch_free(struct fetch *f)
{
	struct wait *wait, *next_wait;
	struct piece *piece, *next;

	if (!f)
		return;
	HASH_ITER(hh, f->waits, wait, next_wait)
		fetch_unwait(f, wait->token);
	HASH_ITER(hh, f->pieces, piece, next)
		fetch_piece_free(f, piece);
	for (unsigned slot = 0; slot < f->slot_room; slot++)
		session_free(f->sessions[slot]);
	free(f->sessions);
	free(f->numbers);
	free(f);
}

/* ---- sessions ---- */

int fetch_slot_of(const struct fetch *f, uint64_t session)
{
	for (unsigned i = 0; session && i < f->slot_room; i++)
		if (f->numbers[i] == session)
			return (int)i;
	return -1;
}

/* What of a batch is still asked of this session is so no longer. */
static void batch_end(struct fetch *f, unsigned slot, struct batch *batch, bool lacks)
{
	struct session *s = f->sessions[slot];

	for (size_t i = batch->count; i-- > 0;) { /* each goes before those there: backwards keeps their order */
		struct piece *piece = fetch_piece_find(f, &batch->names[i]);

		if (!piece || !slots_has(&piece->asked, slot))
			continue;
		fetch_piece_unask(piece, slot);
		if (lacks)
			slots_add(&piece->lacks, slot);
		fetch_piece_settle(f, piece);
	}
	batch->number = 0;
	free(batch->names);
	batch->names = NULL;
	s->batch_count--;
	f->batch_count--;
	s->nothing_at = 0;
}

static void settle_absent(struct fetch *f)
{
	struct piece *piece, *next;

	DL_FOREACH_SAFE(f->absent, piece, next)
		fetch_piece_settle(f, piece);
	f->changes++;
}

/* SESSIONS_MAX at most: more than most nodes ever have. */
static int grow_slots(struct fetch *f)
{
	unsigned room = f->slot_room ? 2 * f->slot_room : SLOTS_MIN;
	uint64_t *numbers = realloc(f->numbers, room * sizeof(numbers[0]));

	if (!numbers)
		return -ENOMEM;
	f->numbers = numbers;
	struct session **sessions = realloc(f->sessions, room * sizeof(sessions[0]));
	if (!sessions)
		return -ENOMEM;
	f->sessions = sessions;
	for (unsigned slot = f->slot_room; slot < room; slot++) {
		numbers[slot] = 0;
		sessions[slot] = NULL;
	}
	f->slot_room = room;
	return 0;
}

int fetch_join(struct fetch *f, uint64_t session)
{
	unsigned slot = 0;
	struct session *s;

	if (!session || fetch_slot_of(f, session) >= 0)
		return -EEXIST;
	while (slot < f->slot_room && f->numbers[slot])
		slot++;
	if (slot == SESSIONS_MAX)
		return -ENOSPC;
	if (slot == f->slot_room && grow_slots(f) < 0)
		return -ENOMEM;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->batches_max = BATCHES_FIRST;
	s->bytes_max = BATCH_BYTES_FIRST;
	f->numbers[slot] = session;
	f->sessions[slot] = s;
	f->session_count++;
	slots_add(&f->connected, slot);
	settle_absent(f);
	return 0;
}

void fetch_leave(struct fetch *f, uint64_t session)
{
	int slot = fetch_slot_of(f, session);
	struct piece *piece, *next;

	if (slot < 0)
		return;
	for (unsigned i = 0; i < FETCH_BATCHES_MAX; i++)
		if (f->sessions[slot]->batches[i].number)
			batch_end(f, (unsigned)slot, &f->sessions[slot]->batches[i], false);
	f->news_count -= f->sessions[slot]->news_wait;
	session_free(f->sessions[slot]);
	f->sessions[slot] = NULL;
	f->numbers[slot] = 0;
	f->session_count--;
	slots_remove(&f->connected, (unsigned)slot);
	HASH_ITER(hh, f->pieces, piece, next) {
		slots_remove(&piece->lacks, (unsigned)slot);
		slots_remove(&piece->liars, (unsigned)slot);
		/* With nobody left what is absent stays so: the next to come decides. */
		if (f->session_count || piece->state != STATE_ABSENT)
			fetch_piece_settle(f, piece);
	}
	while (!f->session_count && f->waiting)
		fetch_wait_tell(f, f->waiting, -ENODATA);
}

static void news_count(struct fetch *f, unsigned slot, uint64_t now_ms)
{
	struct session *s = f->sessions[slot];
	struct piece *piece, *next;

	s->had_news = true;
	f->news_count -= s->news_wait;
	s->news_wait = false;
	s->news_ms = now_ms;
	HASH_ITER(hh, f->pieces, piece, next)
		slots_remove(&piece->lacks, slot);
	settle_absent(f);
}

void fetch_news(struct fetch *f, uint64_t session, uint64_t now_ms)
{
	int slot = fetch_slot_of(f, session);
	struct session *s = slot < 0 ? NULL : f->sessions[slot];

	if (!s)
		return;
	if (!s->had_news || now_ms - s->news_ms >= NEWS_MS) {
		news_count(f, (unsigned)slot, now_ms);
	} else if (!s->news_wait) {
		s->news_wait = true;
		f->news_count++;
	}
}

/* ---- pieces ---- */

size_t fetch_room(const struct fetch *f, enum fetch_priority priority)
{
	size_t max = FETCH_PIECES_MAX - (priority == FETCH_WAITED ? 0 : FETCH_PIECES_WAITED);
	size_t used = HASH_COUNT(f->pieces) - f->counts[STATE_ABSENT];

	return used < max ? max - used : 0;
}

bool fetch_holds(const struct fetch *f, const struct id *name)
{
	return fetch_piece_find(f, name);
}

int fetch_add(struct fetch *f, const struct id *name, uint32_t stored, enum fetch_priority priority, uint64_t group)
{
	struct piece *piece = fetch_piece_find(f, name);
	int err;

	if (piece) {
		err = fetch_piece_raise(f, piece, priority);
		return err ? err : 1;
	}
	if (!fetch_room(f, priority))
		return -ENOSPC;
	if (HASH_COUNT(f->pieces) >= FETCH_PIECES_MAX)
		fetch_piece_free(f, f->absent);
	piece = calloc(1, sizeof(*piece));
	if (!piece)
		return -ENOMEM;
	piece->name = *name;
	piece->stored = stored;
	piece->group = fetch_group_get(f, group, priority);
	if (!piece->group) {
		free(piece);
		return -ENOMEM;
	}
	HASH_ADD(hh, f->pieces, name, sizeof(piece->name), piece);
	if (!piece->hh.tbl) {
		fetch_group_put(f, piece->group);
		free(piece);
		return -ENOMEM;
	}
	piece->group->pieces++;
	fetch_piece_enter_state(f, piece, STATE_FREE, false);
	return 0;
}

/* ---- batches ---- */

static bool piece_may_ask(const struct piece *piece, unsigned slot)
{
	return !slots_has(&piece->lacks, slot) && !slots_has(&piece->liars, slot) && !slots_has(&piece->asked, slot);
}

static uint64_t usual_ms(const struct session *s)
{
	uint64_t least = END_MS_MIN;

	if (!s->usual_ms)
		return END_MS_UNKNOWN;
	return s->usual_ms > least ? s->usual_ms : least;
}

static uint64_t late_ms(const struct session *s)
{
	if (!s->usual_ms || s->usual_ms > QUERY_MS_MAX / 3)
		return QUERY_MS_MAX;
	return s->usual_ms * 3 > LATE_MS_MIN ? s->usual_ms * 3 : LATE_MS_MIN;
}

/* False: it does not fit any more. */
static bool batch_put(const struct session *s, struct fetch_batch *batch, const struct piece *piece)
{
	if (batch->count && batch->bytes + piece->stored > s->bytes_max)
		return false;
	batch->names[batch->count++] = piece->name;
	batch->bytes += piece->stored;
	return batch->count < FETCH_BATCH_NAMES;
}

static void batch_gather(const struct fetch *f, unsigned slot, struct fetch_batch *batch)
{
	const struct session *s = f->sessions[slot];
	const struct group *group;
	const struct piece *piece;

	for (unsigned i = 0; i < FETCH_PRIORITIES * 2; i++)
		DL_FOREACH(f->queues[i / 2][!(i % 2)], group)
			DL_FOREACH(group->free, piece)
				if (piece_may_ask(piece, slot) && !batch_put(s, batch, piece))
					return;
}

/* Nothing is left to be asked for the first time: what a slow one still owes. */
static void batch_gather_end(const struct fetch *f, unsigned slot, struct fetch_batch *batch)
{
	const struct session *s = f->sessions[slot];
	const struct piece *piece;

	if (s->batch_count || f->counts[STATE_ASKED] > END_PIECES_MAX)
		return;
	DL_FOREACH(f->asked, piece)
		if (piece->seconded && slots_one(&piece->asked) && piece_may_ask(piece, slot) &&
		    !batch_put(s, batch, piece))
			return;
}

/* False: no memory. */
static bool batch_ask(struct fetch *f, unsigned slot, const struct fetch_batch *given, uint64_t now_ms)
{
	struct session *s = f->sessions[slot];
	struct batch *batch = s->batches;

	while (batch->number)
		batch++;
	batch->names = malloc(given->count * sizeof(*given->names));
	if (!batch->names)
		return false;
	batch->number = given->number;
	batch->asked_ms = now_ms;
	batch->due_ms = now_ms + late_ms(s);
	batch->late = false;
	batch->count = given->count;
	memcpy(batch->names, given->names, given->count * sizeof(*given->names));
	s->batch_count++;
	f->batch_count++;
	for (size_t i = 0; i < given->count; i++) {
		struct piece *piece = fetch_piece_find(f, &given->names[i]);

		slots_add(&piece->asked, slot);
		piece->time_ms = now_ms + usual_ms(s);
		piece->seconded = false;
		fetch_piece_settle(f, piece);
		fetch_group_begin(f, piece->group);
	}
	return true;
}

static bool has_any(const struct fetch *f)
{
	return f->counts[STATE_FREE] + f->counts[STATE_LATE] + f->counts[STATE_ASKED] > 0;
}

bool fetch_next(struct fetch *f, uint64_t session, uint64_t now_ms, struct fetch_batch *out)
{
	int slot = has_any(f) ? fetch_slot_of(f, session) : -1;
	struct session *s = slot < 0 ? NULL : f->sessions[slot];

	if (!s || s->batch_count >= s->batches_max || s->nothing_at == f->changes)
		return false;
	out->count = 0;
	out->bytes = 0;
	batch_gather(f, (unsigned)slot, out);
	if (!out->count)
		batch_gather_end(f, (unsigned)slot, out);
	if (!out->count) {
		s->nothing_at = f->changes;
		return false;
	}
	out->number = ++f->last_batch;
	return batch_ask(f, (unsigned)slot, out, now_ms);
}

bool fetch_got(struct fetch *f, uint64_t session, const struct id *name)
{
	struct piece *piece = fetch_piece_find(f, name);
	int slot = fetch_slot_of(f, session);

	if (slot >= 0)
		f->sessions[slot]->said = true;
	if (!piece)
		return false;
	if (slot >= 0)
		fetch_piece_unask(piece, (unsigned)slot);
	if (piece->state == STATE_CHECKING)
		return false;
	fetch_piece_set_state(f, piece, STATE_CHECKING);
	return true;
}

void fetch_absent(struct fetch *f, uint64_t session, const struct id *name)
{
	struct piece *piece = fetch_piece_find(f, name);
	int slot = fetch_slot_of(f, session);

	if (slot < 0)
		return;
	f->sessions[slot]->said = true;
	if (!piece)
		return;
	fetch_piece_unask(piece, (unsigned)slot);
	slots_add(&piece->lacks, (unsigned)slot);
	fetch_piece_settle(f, piece);
}

static void session_adapt(struct session *s, uint64_t took_ms)
{
	took_ms = took_ms ? took_ms : 1;
	s->usual_ms = s->usual_ms ? (s->usual_ms * 3 + took_ms) / 4 : took_ms;
	s->usual_ms = s->usual_ms ? s->usual_ms : 1;
	if (took_ms < FAST_MS && s->batches_max < FETCH_BATCHES_MAX)
		s->batches_max++;
	if (took_ms > SLOW_MS && s->batches_max > 1)
		s->batches_max--;
	if (took_ms < 2 * FAST_MS && s->bytes_max < FETCH_BATCH_BYTES)
		s->bytes_max *= 2;
	if (took_ms > SMALLER_MS && s->bytes_max > BATCH_BYTES_MIN)
		s->bytes_max /= 2;
}

void fetch_answered(struct fetch *f, uint64_t session, uint64_t batch, uint64_t now_ms)
{
	int slot = fetch_slot_of(f, session);
	struct session *s = slot < 0 ? NULL : f->sessions[slot];
	bool said;

	if (!s)
		return;
	said = s->said;
	s->said = false;
	for (unsigned i = 0; batch && i < FETCH_BATCHES_MAX; i++)
		if (s->batches[i].number == batch) {
			session_adapt(s, now_ms - s->batches[i].asked_ms);
			batch_end(f, (unsigned)slot, &s->batches[i], !said);
		}
}

void fetch_came(struct fetch *f, const struct id *name)
{
	struct piece *piece = fetch_piece_find(f, name);

	if (!piece)
		return;
	while (piece->links) {
		struct link *link = piece->links;

		DL_DELETE(piece->links, link);
		link->piece = NULL;
		if (!--link->wait->left)
			fetch_wait_tell(f, link->wait, 0);
	}
	fetch_piece_free(f, piece);
}

void fetch_failed(struct fetch *f, uint64_t session, const struct id *name, bool is_false, uint64_t now_ms)
{
	struct piece *piece = fetch_piece_find(f, name);
	int slot = fetch_slot_of(f, session);

	if (!piece)
		return;
	if (is_false) {
		if (slot >= 0)
			slots_add(&piece->liars, (unsigned)slot);
		fetch_piece_release(f, piece);
		return;
	}
	fetch_piece_set_state(f, piece, STATE_DELAYED);
	piece->time_ms = now_ms + RETRY_MS;
}

/* ---- time and counts ---- */

static void batch_overdue(struct fetch *f, unsigned slot, struct batch *batch)
{
	batch->late = true;
	f->sessions[slot]->batches_max = 1;
	for (size_t i = batch->count; i-- > 0;) {
		struct piece *piece = fetch_piece_find(f, &batch->names[i]);

		if (!piece || !slots_has(&piece->asked, slot))
			continue;
		slots_add(&piece->late, slot);
		fetch_piece_settle(f, piece);
	}
}

static void tick_session(struct fetch *f, unsigned slot, uint64_t now_ms)
{
	struct session *s = f->sessions[slot];

	if (s->news_wait && now_ms - s->news_ms >= NEWS_MS)
		news_count(f, slot, now_ms);
	for (unsigned i = 0; i < FETCH_BATCHES_MAX; i++) {
		struct batch *batch = &s->batches[i];

		if (batch->number && !batch->late && batch->due_ms <= now_ms)
			batch_overdue(f, slot, batch);
		if (batch->number && batch->asked_ms + LOST_MS <= now_ms)
			batch_end(f, slot, batch, false);
	}
}

static bool is_at_end(const struct fetch *f)
{
	return f->session_count > 1 && f->counts[STATE_ASKED] <= END_PIECES_MAX;
}

void fetch_tick(struct fetch *f, uint64_t now_ms)
{
	struct piece *piece, *next;
	struct wait *wait, *next_wait;

	for (unsigned slot = 0; f->batch_count + f->news_count > 0 && slot < f->slot_room; slot++)
		if (f->sessions[slot])
			tick_session(f, slot, now_ms);
	DL_FOREACH_SAFE(f->delayed, piece, next)
		if (piece->time_ms <= now_ms)
			fetch_piece_release(f, piece);
	DL_FOREACH_SAFE(f->waiting, wait, next_wait)
		if (wait->until_ms <= now_ms)
			fetch_wait_tell(f, wait, -ENODATA);
	if (!is_at_end(f))
		return;
	DL_FOREACH(f->asked, piece)
		if (!piece->seconded && piece->time_ms <= now_ms) {
			piece->seconded = true;
			f->changes++;
		}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t session_deadline_ms(const struct session *s)
{
	uint64_t deadline = s->news_wait ? s->news_ms + NEWS_MS : UINT64_MAX;

	for (unsigned i = 0; i < FETCH_BATCHES_MAX; i++) {
		const struct batch *batch = &s->batches[i];

		if (batch->number)
			deadline = earlier(deadline, batch->late ? batch->asked_ms + LOST_MS : batch->due_ms);
	}
	return deadline;
}

uint64_t fetch_deadline_ms(const struct fetch *f)
{
	uint64_t deadline = UINT64_MAX;
	const struct piece *piece;
	const struct wait *wait;

	for (unsigned slot = 0; f->batch_count + f->news_count > 0 && slot < f->slot_room; slot++)
		if (f->sessions[slot])
			deadline = earlier(deadline, session_deadline_ms(f->sessions[slot]));
	DL_FOREACH(f->delayed, piece)
		deadline = earlier(deadline, piece->time_ms);
	DL_FOREACH(f->waiting, wait)
		deadline = earlier(deadline, wait->until_ms);
	if (is_at_end(f))
		DL_FOREACH(f->asked, piece)
			if (!piece->seconded)
				deadline = earlier(deadline, piece->time_ms);
	return deadline;
}

void fetch_count(const struct fetch *f, struct fetch_counts *out)
{
	*out = (struct fetch_counts){
		.pieces = HASH_COUNT(f->pieces),
		.unasked = f->counts[STATE_FREE],
		.outstanding = f->counts[STATE_ASKED] + f->counts[STATE_LATE],
		.checking = f->counts[STATE_CHECKING],
		.absent = f->counts[STATE_ABSENT],
		.delayed = f->counts[STATE_DELAYED],
		.waits = HASH_COUNT(f->waits),
	};
	out->batches = f->batch_count;
	out->memory = sizeof(*f) + f->slot_room * (sizeof(f->numbers[0]) + sizeof(f->sessions[0])) +
		      f->session_count * sizeof(struct session) + f->batch_count * FETCH_BATCH_NAMES * sizeof(struct id) + out->pieces * sizeof(struct piece) +
		      HASH_COUNT(f->groups) * sizeof(struct group) + out->waits * sizeof(struct wait) +
		      f->names_waited * sizeof(struct link);
}
