#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "core_private.h"
#include "record.h"

#define SCAN_COUNT 64       /* missing pieces asked of the depot at a time */
#define SCAN_TURN_MAX 2048  /* of one turn */
#define SCAN_FRESH 256      /* the newest of a scan go before older ones */
#define BACKLOG_MAX 4096    /* pieces held of older versions, so that there is room for new ones */
#define WANT_PIECES_MAX 1024 /* of one version asked for at a time */

enum right { RIGHT_NONE, RIGHT_FOLLOWED, RIGHT_AUTHOR };

static enum right right_of_person(const struct core *core, const struct id *person)
{
	const struct depot *depot = core->depot;

	if (depot->calls->follows(depot->context, person))
		return RIGHT_FOLLOWED;
	return authors_has(core, person) ? RIGHT_AUTHOR : RIGHT_NONE;
}

/* By what is here, whatever peers say. */
static enum right right_of_log(const struct core *core, const struct id *device)
{
	const struct depot *depot = core->depot;
	struct head here;

	return right_of_person(core, depot->calls->head(depot->context, device, &here) == 0 ? &here.person : device);
}

static bool has_budget(struct core *core, enum right right)
{
	switch (right) {
	case RIGHT_FOLLOWED:
		return true;
	case RIGHT_AUTHOR:
		return budget_has(&core->author_records, core->now_ms, AUTHORS_DAY);
	case RIGHT_NONE:
		return budget_has(&core->strange, core->now_ms, STRANGE_DAY);
	}
	return false;
}

bool pull_follows(struct core *core, const struct head *head)
{
	const struct depot *depot = core->depot;
	enum right right = right_of_log(core, &head->device);
	struct head here;

	if (right != RIGHT_NONE)
		return has_budget(core, right);
	right = right_of_person(core, &head->person);
	if (right != RIGHT_NONE && depot->calls->has_admitted(depot->context, &head->person, &head->device))
		return has_budget(core, right);
	/* What a peer says of whose device it is is not always so. */
	if (right == RIGHT_NONE || !has_budget(core, RIGHT_NONE))
		return false;
	return depot->calls->head(depot->context, &head->device, &here) < 0 || here.records < STRANGE_RECORDS_MAX;
}

/* Of a log that begins with it: the first record tells whose it is, if he has admitted it. */
static bool may_take(struct core *core, const struct chase_take *t)
{
	const struct depot *depot = core->depot;
	struct head head;
	uint64_t seq;
	bool is_here;

	if (has_budget(core, right_of_log(core, &t->device)))
		return true;
	return push_person(core, &t->records[0], &head, &is_here, &seq) && !is_here &&
	       depot->calls->has_admitted(depot->context, &head.person, &t->device) &&
	       has_budget(core, right_of_person(core, &head.person));
}

static void charge(struct core *core, const struct id *device, uint64_t count)
{
	enum right right = right_of_log(core, device);

	if (right == RIGHT_AUTHOR)
		budget_spend(&core->author_records, count);
	else if (right == RIGHT_NONE)
		budget_spend(&core->strange, count);
}

/* ---- records ---- */

static bool take(struct core *core, struct chase_take *t)
{
	const struct depot *depot = core->depot;
	struct work *work = work_new(WORK_RECORDS, depot);
	struct job *job = work ? core_job(core, work, JOB_TAKE) : NULL;
	struct head head;

	if (!job) {
		work_free(work);
		return false;
	}
	job->was_here = depot->calls->head(depot->context, &t->device, &head) == 0;
	job->before = job->was_here ? head.seq : 0;
	if (job->was_here)
		job->before_record = head.record;
	job->was_forked = job->was_here && head.records > head.seq + 1;
	job->session = work->session = t->session;
	job->number = t->number;
	job->device = work->device = t->device;
	job->pushed = t->pushed;
	work->input = t->bytes;
	work->records = t->records;
	work->count = t->count;
	core_send_work(core, work);
	return true;
}

void pull_records(struct core *core)
{
	const struct depot *depot = core->depot;
	struct chase_take t;

	while (chase_next_take(core->chase, &t)) {
		bool may = may_take(core, &t);
		if (may && take(core, &t))
			continue;
		struct head head;
		bool here = depot->calls->head(depot->context, &t.device, &head) == 0;
		chase_taken(core->chase, t.number, may ? -ENOMEM : 0, here ? &head : NULL, core->now_ms);
		if (!may)
			chase_forget(core->chase, &t.device); /* asked for again when there is an allowance for it */
		chase_take_finish(&t);
	}
}

static bool is_lie(int result)
{
	return result == -EBADMSG || result == -EPROTO || result == -EKEYREJECTED;
}

static void tell_records(struct core *core, struct link *link, const struct job *job, uint64_t count)
{
	struct event *event = core_tell(core, EVENT_RECORDS, link);

	if (event) {
		event->device = job->device;
		event->count = count;
	}
	core->counts.records_in += count;
	if (link)
		link->records += count;
	core->missing_stale = true;
	core->synced = false;
}

static void tell_fork(struct core *core, const struct job *job)
{
	struct event *event = core_tell(core, EVENT_FORK, NULL);

	if (event)
		event->device = job->device;
	core->counts.forks++;
}

static uint64_t field_of(const struct record_item *item)
{
	struct cbor_reader r;
	struct id id;
	size_t size;

	cbor_reader_init(&r, item->bytes, item->size);
	cbor_get_array(&r, 8, 8);
	cbor_get_uint(&r, UINT64_MAX);
	cbor_get_id(&r, &id);
	cbor_get_uint(&r, UINT64_MAX);
	cbor_get_optional_id(&r, &id);
	cbor_get_uint(&r, UINT64_MAX);
	cbor_get_bytes(&r, 8, 8, &size);
	return cbor_get_uint(&r, UINT64_MAX);
}

/* A device was admitted, so its log is another person's than before: those who follow that person hear of it, and we ask. */
static void took_admission(struct core *core, const struct record_item *item)
{
	const struct depot *depot = core->depot;
	struct record *record = record_new();
	struct link *link, *next;
	struct head head;

	if (record && record_decode(record, item->bytes, item->size) == 0 && record->admit.on) {
		bool here = depot->calls->head(depot->context, &record->admit.device, &head) == 0;
		HASH_ITER(hh, core->links, link, next) {
			if (link->state != LINK_READY)
				continue;
			survey_start(link, AGAIN_SOON_MS / 10);
			if (here && spread_wants(link, &head.person))
				spread_to_note(link, &head);
		}
	}
	free(record);
}

/* New ones are in the depot. */
static void took_new(struct core *core, struct link *link, const struct job *job, const struct head *head, int result)
{
	tell_records(core, link, job, (uint64_t)result);
	rumor_came(core->rumor, &job->device, head->seq);
	if (!job->was_forked && head->records > head->seq + 1)
		tell_fork(core, job);
	if (id_equal(&job->device, &core->depot->key->public)) {
		core->own_seq = head->seq;
		core->own_record = head->record;
	}
}

/* Passed on: what came by push goes on by push (with its pieces, once they are here), the rest is noted. */
static void pass_on(struct core *core, const struct job *job, const struct head *head, bool is_new)
{
	if (job->pushed)
		push_taken(core, job, is_new);
	else if (is_new && (!job->was_here || !id_equal(&head->record, &job->before_record)) && pull_follows(core, head))
		spread_log(core, &job->device, job->was_here ? job->before + 1 : 0, head->seq, job->session, false);
}

static void see_statements(struct core *core, const struct work *work, const struct head *head)
{
	bool follows = false;

	for (size_t i = 0; i < work->count; i++) {
		uint64_t field = field_of(&work->records[i]);
		if (field == FIELD_ADMIT)
			took_admission(core, &work->records[i]);
		else if (field == FIELD_VERSION)
			authors_see(core, &head->person, &work->records[i]);
		follows |= field == FIELD_ADMIT || field == FIELD_SUBSCRIBE;
	}
	/* Another device of our person has said whom we follow. */
	if (follows && id_equal(&head->person, &core->depot->person))
		core_follows_changed(core);
}

void pull_taken(struct core *core, const struct job *job, const struct work *work)
{
	const struct depot *depot = core->depot;
	struct link *link = core_find(core, job->session), *other, *next;
	struct head head;
	int result = work->result;

	bool here = depot->calls->head(depot->context, &job->device, &head) == 0;
	bool is_new = here && result > 0;
	if (job->kind == JOB_TAKE)
		chase_taken(core->chase, job->number, result, here ? &head : NULL, core->now_ms);
	else if (is_new)
		chase_own(core->chase, &head);
	if (is_new && job->kind == JOB_TAKE)
		charge(core, &job->device, (uint64_t)result);
	if (is_new) {
		took_new(core, link, job, &head, result);
		see_statements(core, work, &head);
	}
	if (job->pushed && result == 0) {
		core->counts.duplicates++;
		if (link)
			push_prune(link, &job->device);
	}
	pass_on(core, job, &head, is_new);
	if (link && is_lie(result))
		link_offend(link, result == -EKEYREJECTED ? OFFENCE_SIGNATURE : OFFENCE_MALFORMED);
	if (id_equal(&job->device, &depot->key->public))
		HASH_ITER(hh, core->links, other, next)
			survey_own(other);
}

static void take_records_page(struct link *link, const struct ask *ask, const struct page *page)
{
	struct core *core = link->core;
	struct cbor_reader items = page->items;
	size_t left = page->item_count;
	struct record_item item;
	int err = 0;

	while (err == 0 && packet_next_record(&items, &left, &item))
		err = chase_item(core->chase, ask->number, &item);
	if (err == 0)
		err = chase_answered(core->chase, ask->number, core->now_ms);
	if (is_lie(err) || err == -EMSGSIZE)
		link_offend(link, OFFENCE_MALFORMED);
}

/* ---- pieces ---- */

int pull_pieces(struct core *core, uint64_t session, struct bytes *input, const struct piece_item *pieces, size_t count,
		struct job **out_job)
{
	struct work *work = work_new(WORK_PIECES, core->depot);
	struct job *job = NULL;

	if (work) {
		work->pieces = malloc(count * sizeof(pieces[0]));
		work->results = calloc(count, sizeof(work->results[0]));
	}
	if (work && work->pieces && work->results)
		job = core_job(core, work, JOB_PIECES);
	if (!job) {
		work_free(work);
		return -ENOMEM;
	}
	memcpy(work->pieces, pieces, count * sizeof(pieces[0]));
	work->count = count;
	bytes_finish(&work->input);
	work->input = *input; /* the memory that pieces borrow from moves along */
	bytes_init(input, input->size_max);
	job->session = work->session = session;
	*out_job = job;
	core_send_work(core, work);
	return 0;
}

static void take_pieces_page(struct link *link, const struct ask *ask, const struct page *page, struct work *work)
{
	struct core *core = link->core;
	struct cbor_reader items = page->items;
	size_t left = page->item_count, count = 0;
	struct piece_item *wanted = calloc(page->item_count + 1, sizeof(*wanted)), item;
	struct job *job;

	while (packet_next_piece(&items, &left, &item)) {
		if (item.size == 0)
			fetch_absent(core->fetch, link->session, &item.name);
		else if (wanted && fetch_got(core->fetch, link->session, &item.name))
			wanted[count++] = item;
		else
			core->counts.duplicates += wanted != NULL;
	}
	fetch_answered(core->fetch, link->session, ask->number, core->now_ms);
	if (count > 0 && pull_pieces(core, link->session, &work->input, wanted, count, &job) < 0)
		for (size_t i = 0; i < count; i++)
			fetch_failed(core->fetch, link->session, &wanted[i].name, false, core->now_ms);
	free(wanted);
}

void pull_page(struct link *link, const struct ask *ask, const struct page *page, struct work *work)
{
	if (ask->kind == ASK_RECORDS)
		take_records_page(link, ask, page);
	else
		take_pieces_page(link, ask, page, work);
}

void pull_pieces_done(struct core *core, const struct job *job, const struct work *work)
{
	struct link *link = core_find(core, job->session);
	uint64_t came = 0;
	bool lied = false;

	for (size_t i = 0; i < work->count; i++) {
		int result = work->result < 0 ? work->result : work->results[i];
		bool is_false = is_lie(result);
		if (result == 0)
			fetch_came(core->fetch, &work->pieces[i].name);
		else
			fetch_failed(core->fetch, job->session, &work->pieces[i].name, is_false, core->now_ms);
		came += result == 0;
		lied |= is_false;
	}
	if (came > 0) {
		struct event *event = core_tell(core, EVENT_PIECES, link);
		if (event)
			event->count = came;
		core->counts.pieces_in += came;
		core->absent_wait_ms = 0;
		core->missing_stale = true; /* what a list names is known now */
		if (link)
			link->pieces += came;
	}
	if (job->spread)
		spread_log(core, &job->device, job->from, job->to, job->session, true);
	if (link && lied)
		link_offend(link, OFFENCE_MALFORMED);
}

/* ---- which pieces ---- */

/* Else all that the last scan found has come: the next one has less to look at. */
static bool holds_any(const struct core *core)
{
	struct fetch_counts counts;

	fetch_count(core->fetch, &counts);
	return counts.pieces > 0;
}

/* A scan that found much is not begun anew soon: its cost stays a small part of the time. */
static void begin_scan(struct core *core)
{
	core->missing_ms = core->now_ms + core->missing_seen / 10;
	core->missing_stale = core->missing_done = false;
	core->missing_cursor = core->missing_seen = 0;
}

static void add_missing(struct core *core, const struct depot_piece *pieces, size_t count)
{
	bool fresh = core->missing_seen < SCAN_FRESH;

	for (size_t i = 0; i < count; i++)
		fetch_add(core->fetch, &pieces[i].name, pieces[i].stored, fresh ? FETCH_HEAD : FETCH_REST,
			  pieces[i].version);
	core->missing_seen += count;
}

static size_t scan_room(struct core *core)
{
	struct fetch_counts counts;

	if (core->missing_seen < SCAN_FRESH)
		return fetch_room(core->fetch, FETCH_HEAD);
	fetch_count(core->fetch, &counts);
	size_t room = fetch_room(core->fetch, FETCH_REST);
	size_t backlog = counts.pieces < BACKLOG_MAX ? BACKLOG_MAX - counts.pieces : 0;
	return room < backlog ? room : backlog;
}

/* Nobody tells when a piece has come to him: what all lacked is asked for again, ever more seldom. */
static void ask_absent(struct core *core)
{
	struct fetch_counts counts;

	fetch_count(core->fetch, &counts);
	if (counts.pieces == 0)
		core->absent_wait_ms = 0;
	if (counts.absent == 0) {
		core->absent_ms = 0;
		return;
	}
	if (core->absent_ms > core->now_ms)
		return;
	if (core->absent_ms)
		for (const struct link *link = core->links; link; link = link->hh.next)
			fetch_news(core->fetch, link->session, core->now_ms);
	uint64_t wait_ms = core->absent_wait_ms ? 2 * core->absent_wait_ms : ABSENT_MS_MIN;
	core->absent_wait_ms = wait_ms < AGAIN_MS ? wait_ms : AGAIN_MS;
	core->absent_ms = core->now_ms + core->absent_wait_ms;
}

void pull_missing(struct core *core)
{
	const struct depot *depot = core->depot;
	struct depot_piece pieces[SCAN_COUNT];

	ask_absent(core);
	if (core->missing_stale && (core->now_ms >= core->missing_ms || !holds_any(core)))
		begin_scan(core);
	for (size_t seen = 0; !core->missing_done && seen < SCAN_TURN_MAX;) {
		size_t room = scan_room(core);
		if (room == 0)
			return;
		ssize_t count = depot->calls->missing(depot->context, &core->missing_cursor, pieces,
						      room < SCAN_COUNT ? room : SCAN_COUNT);
		if (count <= 0) {
			core->missing_done = true;
			return;
		}
		add_missing(core, pieces, (size_t)count);
		seen += (size_t)count;
	}
	core->stirred |= !core->missing_done;
}

bool pull_is_idle(struct core *core)
{
	struct fetch_counts fetch;
	struct chase_counts chase;

	if (!core->missing_done || core->missing_stale)
		return false;
	fetch_count(core->fetch, &fetch);
	chase_count(core->chase, &chase);
	return fetch.unasked + fetch.outstanding + fetch.checking + fetch.delayed == 0 && chase.behind == 0 &&
	       chase.takes == 0;
}

/* ---- who waits ---- */

static void tell_wanted(struct core *core, uint64_t token, int result)
{
	struct event *event = core_tell(core, EVENT_WANTED, NULL);

	if (event) {
		event->token = token;
		event->result = result;
	}
}

/* 0: waiting; 1: nothing is missing. */
static int wait_for(struct core *core, const struct want *want)
{
	const struct depot *depot = core->depot;
	struct depot_piece *pieces = calloc(WANT_PIECES_MAX, sizeof(*pieces));
	struct id *names = calloc(WANT_PIECES_MAX, sizeof(*names));
	ssize_t count = -ENOMEM;
	size_t kept = 0;

	if (pieces && names)
		count = depot->calls->missing_of(depot->context, &want->version, pieces, WANT_PIECES_MAX);
	for (ssize_t i = 0; i < count; i++) {
		int err = fetch_add(core->fetch, &pieces[i].name, pieces[i].stored, FETCH_WAITED, pieces[i].version);
		if (err >= 0)
			names[kept++] = pieces[i].name;
	}
	int err = count < 0 ? (int)count : count == 0 ? 1 : kept == 0 ? -ENOSPC : 0;
	if (err == 0)
		err = fetch_wait(core->fetch, want->token, names, kept, want->until_ms);
	free(pieces);
	free(names);
	core->stirred = true;
	return err;
}

int pull_want(struct core *core, const struct id *version, uint64_t token, uint64_t until_ms)
{
	struct want *want = core->want_count < WANTS_MAX ? malloc(sizeof(*want)) : NULL;

	int err = want ? 0 : -ENOSPC;
	if (want) {
		*want = (struct want){ .version = *version, .token = token, .until_ms = until_ms };
		err = wait_for(core, want);
	}
	if (err == 0) {
		LL_PREPEND(core->wants, want);
		core->want_count++;
		return 0;
	}
	free(want);
	tell_wanted(core, token, err == 1 ? 0 : -ENODATA);
	return 0;
}

void pull_told(struct core *core)
{
	struct want *want;
	uint64_t token;
	int result;

	while (fetch_next_told(core->fetch, &token, &result)) {
		LL_SEARCH_SCALAR(core->wants, want, token, token);
		if (!want)
			continue;
		/* A list that came may name more. */
		if (result == 0)
			result = wait_for(core, want);
		if (result == 0)
			continue;
		tell_wanted(core, token, result == 1 ? 0 : -ENODATA);
		LL_DELETE(core->wants, want);
		core->want_count--;
		free(want);
	}
}
