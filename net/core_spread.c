#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "core_private.h"
#include "store_limits.h"

bool spread_wants(const struct link *link, const struct id *person)
{
	return follow_test(link->filter, link->filter_size, link->follow_key, person);
}

/* ---- a push is made ---- */

struct pushed {
	const struct depot *depot;
	struct bytes records, pieces;
	size_t sizes[PUSH_RECORDS_MAX], count, signed_count; /* up to the last signed one */
	bool is_signed[PUSH_RECORDS_MAX];
	struct signature signatures[PUSH_RECORDS_MAX];
	size_t piece_sizes[PUSH_PIECES_MAX], piece_count;
};

static int add_record(void *visitor, uint64_t seq, const struct record_item *item)
{
	struct pushed *p = visitor;

	if (p->count == PUSH_RECORDS_MAX)
		return -EMSGSIZE;
	bytes_put(&p->records, item->bytes, item->size);
	p->sizes[p->count] = item->size;
	p->is_signed[p->count] = item->is_signed;
	p->signatures[p->count++] = item->signature;
	if (item->is_signed)
		p->signed_count = p->count;
	return bytes_error(&p->records);
}

static void add_piece(struct pushed *p, const struct id *name)
{
	const struct depot *depot = p->depot;
	size_t before = p->pieces.size;
	uint8_t *to = bytes_extend(&p->pieces, PIECE_STORED_MAX);
	ssize_t size = to ? depot->calls->read_piece(depot->context, name, to, PIECE_STORED_MAX) : -ENOMEM;

	p->pieces.size = before;
	if (size <= 0 || before + (size_t)size > PUSH_PIECES_SIZE)
		return;
	p->pieces.size += (size_t)size;
	p->piece_sizes[p->piece_count++] = (size_t)size;
}

static void add_pieces(struct pushed *p, const struct record_item *record)
{
	struct id names[PUSH_PIECES_MAX];
	size_t room = PUSH_PIECES_MAX - p->piece_count;

	if (room == 0 || p->pieces.size >= PUSH_PIECES_SIZE)
		return;
	ssize_t count = p->depot->calls->pieces_of(p->depot->context, record, names, room,
						   PUSH_PIECES_SIZE - p->pieces.size);
	for (ssize_t i = 0; i < count; i++)
		add_piece(p, &names[i]);
}

/* Encodes what was gathered. */
static void put_push(struct pushed *p, struct bytes *out)
{
	struct record_item records[PUSH_RECORDS_MAX];
	struct piece_item pieces[PUSH_PIECES_MAX];
	size_t at = 0;

	for (size_t i = 0; i < p->signed_count; at += p->sizes[i], i++) {
		records[i] = (struct record_item){ p->records.data + at, p->sizes[i], p->is_signed[i], p->signatures[i] };
		add_pieces(p, &records[i]);
	}
	at = 0;
	for (size_t i = 0; i < p->piece_count; at += p->piece_sizes[i], i++)
		pieces[i] = (struct piece_item){ .bytes = p->pieces.data + at, .size = p->piece_sizes[i] };
	packet_put_push(out, records, p->signed_count, pieces, p->piece_count);
}

/* Records from .. to as a packet. Negative: too large, or they do not make one chain. */
static int make_push(struct core *core, const struct head *head, uint64_t from, uint64_t to, struct bytes *out)
{
	const struct depot *depot = core->depot;

	if (to < from || to - from >= PUSH_RECORDS_MAX || head->records > head->seq + 1)
		return -EMSGSIZE;
	struct pushed *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->depot = depot;
	bytes_init(&p->records, PUSH_RECORDS_SIZE);
	bytes_init(&p->pieces, PUSH_PIECES_SIZE + PIECE_STORED_MAX);
	int err = depot->calls->each_record(depot->context, &head->device, from, to, add_record, p);
	if (err == 0 && p->signed_count != to - from + 1)
		err = -EAGAIN;
	if (err == 0) {
		put_push(p, out);
		err = bytes_error(out);
	}
	bytes_finish(&p->records);
	bytes_finish(&p->pieces);
	free(p);
	return err;
}

/* ---- to whom ---- */

/* Most peers are behind with a log or two: room for all that may wait is 120 KiB. */
static int grow_notes(struct link *link)
{
	size_t room = link->note_room ? 4 * link->note_room : 4;
	struct head *notes = realloc(link->notes, room * sizeof(notes[0]));

	if (!notes)
		return -ENOMEM;
	link->notes = notes;
	link->note_room = room;
	return 0;
}

void spread_to_note(struct link *link, const struct head *head)
{
	for (size_t i = 0; i < link->note_count; i++)
		if (id_equal(&link->notes[i].device, &head->device)) {
			link->notes[i] = *head;
			return;
		}
	if (link->note_count == NOTES_WAITING_MAX)
		memmove(&link->notes[0], &link->notes[1], --link->note_count * sizeof(link->notes[0]));
	if (link->note_count == link->note_room && grow_notes(link) < 0)
		return;
	link->notes[link->note_count++] = *head;
	link->core->stirred = true;
}

void spread_pump(struct link *link)
{
	struct bytes packet;

	if (link->note_count == 0 || link_waiting(link) > SEND_QUEUE_MAX / 2 ||
	    !allowance_take(&link->said, link->core->now_ms, 2 * (1 + link->note_count / 16)))
		return;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_notes(&packet, link->notes, link->note_count);
	link->note_count = 0;
	free(link->notes);
	link->notes = NULL;
	link->note_room = 0;
	link_send(link, &packet, false);
}

static bool may_push(struct link *link, const struct id *device, uint64_t count)
{
	return !rumor_is_pruned(&link->pruned, device) && link_waiting(link) <= SEND_QUEUE_MAX / 2 &&
	       allowance_take(&link->said, link->core->now_ms, 2 * (count + 1)); /* twice: the other end's clock may be slow */
}

static void send_copy(struct link *link, const struct bytes *packet)
{
	struct bytes copy;

	bytes_init(&copy, PACKET_SIZE_MAX);
	bytes_put(&copy, packet->data, packet->size);
	link_send(link, &copy, false);
	link->core->counts.pushes_out++;
}

/* ---- who wants it otherwise: authors of documents that they follow, documents themselves ---- */

struct documents { /* of which new records are versions */
	struct id items[PUSH_RECORDS_MAX];
	size_t count;
};

static int list_document(void *visitor, uint64_t seq, const struct record_item *item)
{
	struct documents *d = visitor;
	struct id id;

	if (d->count == PUSH_RECORDS_MAX || !authors_document(item, &id))
		return 0;
	if (d->count == 0 || !id_equal(&d->items[d->count - 1], &id))
		d->items[d->count++] = id;
	return 0;
}

static bool wants_records(const struct link *link, const struct id *records_of, const struct documents *documents)
{
	if (spread_wants(link, records_of))
		return true;
	for (size_t i = 0; i < documents->count; i++)
		if (spread_wants(link, &documents->items[i]))
			return true;
	return false;
}

/* They hear of it by note: of its pieces they want but some. */
static void spread_to_readers(struct core *core, const struct head *head, uint64_t from, uint64_t from_session)
{
	const struct depot *depot = core->depot;
	struct documents documents = { .count = 0 };
	struct link *link, *next;
	struct id records_of;
	bool looked = false;

	follow_records_of(&records_of, &head->person);
	HASH_ITER(hh, core->links, link, next) {
		if (link->state != LINK_READY || link->session == from_session || link->filter_size == 0 ||
		    spread_wants(link, &head->person))
			continue;
		/* Of a long run the newest ones. */
		if (!looked)
			depot->calls->each_record(depot->context, &head->device,
						  head->seq - from < PUSH_RECORDS_MAX ? from : head->seq - PUSH_RECORDS_MAX + 1,
						  head->seq, list_document, &documents);
		looked = true;
		if (wants_records(link, &records_of, &documents))
			spread_to_note(link, head);
	}
}

void spread_log(struct core *core, const struct id *device, uint64_t from, uint64_t to, uint64_t from_session, bool eagerly)
{
	const struct depot *depot = core->depot;
	struct link *link, *next;
	struct bytes packet;
	struct head head;
	int made = eagerly ? 1 : -EAGAIN; /* 1: not tried yet */

	if (depot->calls->head(depot->context, device, &head) < 0)
		return;
	bytes_init(&packet, PACKET_SIZE_MAX);
	HASH_ITER(hh, core->links, link, next) {
		if (link->state != LINK_READY || link->session == from_session || !spread_wants(link, &head.person))
			continue;
		if (made == 1 && !rumor_is_pruned(&link->pruned, device))
			made = make_push(core, &head, from, to, &packet);
		if (made == 0 && may_push(link, device, to - from + 1))
			send_copy(link, &packet);
		else
			spread_to_note(link, &head);
	}
	bytes_finish(&packet);
	if (from <= head.seq)
		spread_to_readers(core, &head, from, from_session);
}

/* ---- own records ---- */

void spread_own(struct core *core)
{
	if (!core->appended || core->syncing || core->ending)
		return;
	struct work *work = work_new(WORK_SYNC, core->depot);
	if (!work)
		return;
	core->appended = false;
	core->syncing = true;
	core_send_work(core, work);
}

void spread_synced(struct core *core, struct work *work)
{
	const struct depot *depot = core->depot;
	const struct id *device = &depot->key->public;
	struct head head;

	core->syncing = false;
	if (work->result < 0 || depot->calls->head(depot->context, device, &head) < 0)
		return;
	if (core->has_own && id_equal(&head.record, &core->own_record))
		return;
	/* After a `branch` it may go on from a lower seq: then it is noted only. */
	uint64_t from = core->has_own ? core->own_seq + 1 : 0;
	core->has_own = true;
	core->own_seq = head.seq;
	core->own_record = head.record;
	spread_log(core, device, from, head.seq, 0, true);
	chase_own(core->chase, &head);
}

/* ---- notes, grafts, prunes, filters ---- */

static void take_note(struct link *link, struct head *noted)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	struct head here;

	if (depot->calls->head(depot->context, &noted->device, &here) < 0) {
		noted->person = noted->device;
		if (depot->calls->follows(depot->context, &noted->device) || authors_has(core, &noted->device)) {
			survey_told(link, noted);
			return;
		}
		authors_hint(link);
		link->survey.forced = true; /* whose log it is, its heads tell */
		survey_start(link, link->survey.complete ? AGAIN_SOON_MS / 10 : 0);
		return;
	}
	bool is_own = id_equal(&noted->device, &depot->key->public);
	if (!is_own && !depot->calls->follows(depot->context, &here.person) && !authors_has(core, &here.person))
		authors_hint(link);
	if ((!is_own && !pull_follows(core, &here)) || id_equal(&noted->record, &here.record))
		return;
	noted->person = here.person;
	if (noted->seq < here.seq) {
		if (here.records > here.seq + 1) /* of a fork: it may go on from the side that was kept */
			survey_told(link, noted);
		return;
	}
	find_told(link, &here.person);
	/* What ranges showed comes by no push: no need to wait for it. */
	bool ranged = link->ranged_ms && core->now_ms - link->ranged_ms < RANGED_MS;
	if (is_own || ranged || noted->seq == here.seq || noted->seq - here.seq > PUSH_RECORDS_MAX)
		survey_told(link, noted);
	else
		rumor_noted(core->rumor, noted, link->session, core->now_ms);
	core->synced = false;
}

int spread_note(struct link *link, const struct packet *packet)
{
	struct cbor_reader list = packet->note.list;
	size_t left = packet->note.count;
	struct head noted;

	while (link->state == LINK_READY && packet_next_note(&list, &left, &noted))
		take_note(link, &noted);
	if (link->state == LINK_READY && packet->note.count >= NOTES_WAITING_MAX) {
		link->survey.forced = true; /* it had more to note than it could keep */
		survey_start(link, AGAIN_SOON_MS / 10);
	}
	return 0;
}

/* From the next one on by push; what is missed now is asked for. */
static void graft(struct link *link, const struct head *head)
{
	struct bytes packet;

	if (!allowance_take(&link->said, link->core->now_ms, 16))
		return;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_graft(&packet, &head->device, head->seq + 1);
	link_send(link, &packet, false);
}

void spread_due(struct core *core)
{
	struct rumor_note note;

	while (rumor_due(core->rumor, core->now_ms, &note))
		for (unsigned i = 0; i < note.teller_count; i++) {
			struct link *link = core_find(core, note.tellers[i]);
			if (!link || link->state != LINK_READY)
				continue;
			if (i == 0)
				graft(link, &note.head);
			survey_told(link, &note.head);
		}
}

int spread_graft(struct link *link, const struct packet *packet)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	const struct id *device = &packet->log.device;
	struct bytes push;
	struct head head;

	rumor_graft(&link->pruned, device);
	if (depot->calls->head(depot->context, device, &head) < 0 || head.seq < packet->log.from)
		return 0;
	bytes_init(&push, PACKET_SIZE_MAX);
	uint64_t count = head.seq - packet->log.from + 1;
	if (may_push(link, device, count) && make_push(core, &head, packet->log.from, head.seq, &push) == 0)
		send_copy(link, &push);
	else
		spread_to_note(link, &head);
	bytes_finish(&push);
	return 0;
}

int spread_prune(struct link *link, const struct packet *packet)
{
	rumor_prune(&link->pruned, &packet->log.device);
	return 0;
}

int spread_filter(struct link *link, const struct packet *packet)
{
	uint8_t *filter = malloc(packet->follow.size);

	if (!filter) {
		link_close(link, -ENOMEM);
		return -ENOMEM;
	}
	memcpy(filter, packet->follow.bits, packet->follow.size);
	free(link->filter);
	link->filter = filter;
	link->filter_size = packet->follow.size;
	link->core->find.stale = true;
	return 0;
}
