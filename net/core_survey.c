#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core_private.h"
#include "record.h"

#define CHUNK_MAX 128          /* entities of one query: a page holds some 2,000 heads */
#define RECONCILING_MAX 2      /* sets in memory at a time: 2 x 110 MB where there are a million logs */

/* ---- whose logs are wanted ---- */

static int append_entity(void *visitor, const struct id *entity)
{
	struct core *core = visitor;

	if (core->followed_count < core->follow_total)
		core->followed[core->followed_count++] = *entity;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

int survey_follows(struct core *core)
{
	const struct depot *depot = core->depot;
	struct id *list = NULL;

	core->follow_total = depot->calls->follow_count(depot->context) + HASH_COUNT(core->authors.by_person);
	if (core->follow_total <= NOTES_MAX) {
		list = calloc(core->follow_total + 1, sizeof(*list));
		if (!list)
			return -ENOMEM;
	}
	free(core->followed);
	core->followed = list;
	core->followed_count = 0;
	if (list) {
		depot->calls->each_followed(depot->context, append_entity, core);
		authors_each(core, false, append_entity, core);
		qsort(list, core->followed_count, sizeof(*list), compare_ids);
	}
	return 0;
}

static int forget_log(void *visitor, const struct head *head)
{
	struct core *core = visitor;

	chase_forget(core->chase, &head->device);
	return 0;
}

void survey_unfollow(struct core *core, const struct id *before, size_t count)
{
	const struct depot *depot = core->depot;

	for (size_t i = 0; i < count; i++)
		if (!depot->calls->follows(depot->context, &before[i]) && !authors_has(core, &before[i]))
			depot->calls->each_head_of(depot->context, &before[i], forget_log, core);
}

/* ---- begin and end ---- */

void survey_start(struct link *link, uint64_t in_ms)
{
	uint64_t at = link->core->now_ms + in_ms;

	if (at < link->survey.next_ms)
		link->survey.next_ms = at;
	link->core->stirred = true;
}

void survey_stop(struct link *link)
{
	struct survey *s = &link->survey;

	if (s->set)
		link->core->reconciling--;
	reconcile_free(s->reconcile);
	reconcile_set_free(s->set);
	s->reconcile = NULL;
	s->set = NULL;
	s->running = s->asked = false;
}

static void finish(struct link *link)
{
	survey_stop(link);
	link->survey.complete = true;
	link->core->find.stale = true;
	link->survey.forced = false;
	survey_start(link, AGAIN_MS);
	link->core->stirred = true;
	authors_surveyed(link);
	survey_own(link);
}

struct heads {
	struct head *items;
	size_t count, room;
};

static int append_head(void *visitor, const struct head *head)
{
	struct heads *heads = visitor;

	if (heads->count == heads->room)
		return 1;
	heads->items[heads->count++] = *head;
	return 0;
}

static int make_set(struct link *link)
{
	const struct depot *depot = link->core->depot;
	struct survey *s = &link->survey;
	struct heads heads = { .room = depot->calls->log_count(depot->context) + 1 };
	uint8_t key[16];

	heads.items = calloc(heads.room, sizeof(heads.items[0]));
	if (!heads.items)
		return -ENOMEM;
	depot->calls->every_head(depot->context, append_head, &heads);
	reconcile_key(key, &link->cb);
	s->set = reconcile_set_new(heads.items, heads.count, key);
	free(heads.items);
	if (!s->set)
		return -ENOMEM;
	link->core->reconciling++;
	s->reconcile = reconcile_new(s->set);
	return s->reconcile ? 0 : -ENOMEM;
}

static int begin_ranges(struct link *link)
{
	struct survey *s = &link->survey;

	int err = make_set(link);
	bytes_clear(&s->message);
	if (err == 0)
		err = reconcile_begin(s->reconcile, &s->message);
	return err;
}

/* Has the client many logs to ask for, of one who has many? */
static bool peer_reconciles(const struct link *link)
{
	const struct depot *depot = link->core->depot;

	return link->follow_count > NOTES_MAX && depot->calls->log_count(depot->context) > NOTES_MAX;
}

/* False: not now. */
static bool begin(struct link *link)
{
	struct core *core = link->core;
	struct survey *s = &link->survey;

	s->at = 0;
	s->chunk = CHUNK_MAX;
	s->after = (struct id){ { 0 } };
	if (core->followed) {
		s->mode = SURVEY_OF;
	} else if (link->log_count <= NOTES_MAX) {
		s->mode = SURVEY_ALL;
	} else if (!link->outgoing && !s->forced && peer_reconciles(link)) {
		s->next_ms = core->now_ms + AGAIN_MS; /* and notes what we lack */
		s->complete = true;
		return false;
	} else if (core->reconciling >= RECONCILING_MAX) {
		s->next_ms = core->now_ms + AGAIN_SOON_MS;
		return false;
	} else {
		s->mode = SURVEY_RANGES;
		int err = begin_ranges(link);
		if (err < 0) {
			link_close(link, err);
			return false;
		}
	}
	s->running = true;
	s->next_ms = UINT64_MAX;
	s->round++;
	return true;
}

/* ---- asking ---- */

static size_t chunk_of(const struct link *link)
{
	size_t left = link->core->followed_count - link->survey.at;

	return left < link->survey.chunk ? left : link->survey.chunk;
}

bool survey_pump(struct link *link)
{
	struct core *core = link->core;
	struct survey *s = &link->survey;
	struct bytes packet;

	if (link->state != LINK_READY || s->asked)
		return false;
	if (!s->running && (s->next_ms > core->now_ms || !begin(link)))
		return false;
	if (s->mode == SURVEY_OF && s->at >= core->followed_count) {
		finish(link);
		return false;
	}
	struct ask *ask = ask_begin(link, ASK_HEADS);
	if (!ask)
		return false;
	bytes_init(&packet, PACKET_SIZE_MAX);
	switch (s->mode) {
	case SURVEY_OF:
		packet_put_query_heads_of(&packet, ask->nonce, core->followed + s->at, chunk_of(link));
		break;
	case SURVEY_ALL:
		packet_put_query_heads_all(&packet, ask->nonce, &s->after);
		break;
	case SURVEY_RANGES:
		packet_put_query_heads_ranges(&packet, ask->nonce, s->message.data, s->message.size);
		break;
	}
	s->asked = true;
	ask->number = s->round;
	link_send(link, &packet, false);
	return true;
}

/* ---- answers ---- */

static void know_own(struct link *link, const struct head *head)
{
	link->own_told = *head;
	link->has_own_told = true;
}

struct seek {
	const struct id *record;
	bool found;
};

static int seek_record(void *visitor, uint64_t seq, const struct record_item *item)
{
	struct seek *seek = visitor;
	struct id id;

	record_id(&id, item->bytes, item->size);
	seek->found = id_equal(&id, seek->record);
	return seek->found;
}

/* An older head that is on no branch that is here: their log forked from ours. */
static bool is_branch(const struct depot *depot, const struct head *here, const struct head *theirs)
{
	struct seek seek = { &theirs->record, false };

	if (theirs->seq >= here->seq || id_is_zero(&theirs->record))
		return false;
	depot->calls->each_record(depot->context, &theirs->device, theirs->seq, theirs->seq, seek_record, &seek);
	return !seek.found;
}

void survey_told(struct link *link, const struct head *head)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	struct head own;
	bool is_own = id_equal(&head->device, &depot->key->public);

	if (!is_own && !pull_follows(core, head))
		return;
	find_told(link, &head->person);
	if (is_own)
		know_own(link, head);
	int here = depot->calls->head(depot->context, &head->device, &own);
	if (here < 0 && here != -ENOENT)
		return;
	bool branch = here == 0 && is_branch(depot, &own, head);
	int err = branch ? chase_told_branch(core->chase, link->session, head, &own) :
			   chase_told(core->chase, link->session, head, here == 0 ? &own : NULL);
	if (err == 1)
		core->synced = false;
	if (err == -ENOSPC || err == -ENOMEM)
		survey_start(link, 2 * AGAIN_SOON_MS);
	core->stirred = true;
}

/* Told once: from then on what is appended cannot clash with what peers remember. */
void survey_own(struct link *link)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	const struct head *told = &link->own_told;
	struct head own;

	if (!link->survey.complete || link->state != LINK_READY)
		return;
	bool here = depot->calls->head(depot->context, &depot->key->public, &own) == 0;
	if (link->has_own_told &&
	    (!here || told->seq > own.seq || (told->seq == own.seq && !id_equal(&told->record, &own.record)) ||
	     told->records > own.records))
		return;
	if (!core->own_known)
		core_tell(core, EVENT_OWN_KNOWN, link);
	core->own_known = true;
}

static void take_of(struct link *link, const struct page *page)
{
	struct survey *s = &link->survey;
	struct cbor_reader items = page->items;
	size_t left = page->item_count, asked = chunk_of(link);
	struct head head;

	while (packet_next_head(&items, &left, &head))
		survey_told(link, &head);
	if (page->item_count < page->count && s->chunk > 1)
		s->chunk /= 2; /* the page was full: fewer at once, the same again */
	else
		s->at += asked;
}

static void take_all(struct link *link, const struct page *page)
{
	struct survey *s = &link->survey;
	struct cbor_reader items = page->items;
	size_t left = page->item_count;
	struct head head;

	while (packet_next_head(&items, &left, &head)) {
		if (id_compare(&head.device, &s->after) <= 0) {
			link_offend(link, OFFENCE_MALFORMED);
			return;
		}
		s->after = head.device;
		survey_told(link, &head);
	}
	if (page->item_count == 0 || page->offset + page->item_count >= page->count)
		finish(link);
}

static void visit_theirs(void *context, const struct head *theirs)
{
	survey_told(context, theirs);
}

static void visit_mine(void *context, const struct head *mine)
{
	struct link *link = context;

	if (link->state == LINK_READY && spread_wants(link, &mine->person))
		spread_to_note(link, mine);
}

static void take_ranges(struct link *link, const struct page *page)
{
	struct survey *s = &link->survey;
	struct cbor_reader items = page->items;
	size_t left = page->item_count, size;
	const uint8_t *answer;

	bytes_clear(&s->message);
	int more = packet_next_ranges(&items, &left, &answer, &size) ?
			   reconcile_take(s->reconcile, answer, size, &s->message) : -EBADMSG;
	if (more == -ENOMEM) {
		link_close(link, more);
	} else if (more < 0) {
		link_offend(link, OFFENCE_MALFORMED);
	} else if (more == 0) {
		reconcile_each_theirs(s->reconcile, visit_theirs, link);
		reconcile_each_mine(s->reconcile, visit_mine, link);
		if (link->state == LINK_READY)
			finish(link);
	}
}

void survey_take(struct link *link, const struct ask *ask, const struct page *page)
{
	struct survey *s = &link->survey;

	if (!s->asked || ask->number != s->round) /* the list of those followed changed meanwhile */
		return;
	s->asked = false;
	switch (s->mode) {
	case SURVEY_OF:
		take_of(link, page);
		break;
	case SURVEY_ALL:
		take_all(link, page);
		break;
	case SURVEY_RANGES:
		take_ranges(link, page);
		break;
	}
	link->core->stirred = true;
}
