#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "core_private.h"
#include "record.h"

void push_prune(struct link *link, const struct id *device)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_prune(&packet, device);
	link_send(link, &packet, false);
}

/* Whose log it is: as the depot says, else as the first record itself does. False: it is none. */
bool push_person(struct core *core, const struct record_item *first, struct head *out_here, bool *out_is_here,
		 uint64_t *out_seq)
{
	const struct depot *depot = core->depot;
	struct record *record = record_new();

	bool valid = record && record_decode_head(record, first->bytes, first->size) == 0;
	if (valid) {
		*out_seq = record->seq;
		*out_is_here = depot->calls->head(depot->context, &record->voucher, out_here) == 0;
		if (!*out_is_here)
			*out_here = (struct head){ .device = record->voucher, .person = record->voucher };
	}
	if (valid && !*out_is_here && record->seq == 0 && record->field == FIELD_PROFILE) {
		valid = record_decode(record, first->bytes, first->size) == 0;
		if (valid && !id_is_zero(&record->profile.person))
			out_here->person = record->profile.person;
	}
	free(record);
	return valid;
}

static size_t read_records(const struct packet *packet, struct record_item out[PUSH_RECORDS_MAX])
{
	struct cbor_reader list = packet->push.records;
	size_t left = packet->push.record_count, count = 0;

	while (count < PUSH_RECORDS_MAX && packet_next_record(&list, &left, &out[count]))
		count++;
	return count;
}

static void drop(struct core *core, struct held *held)
{
	LL_DELETE(core->held, held);
	bytes_finish(&held->pieces);
	free(held);
}

/* The pieces come with records that the depot has not judged yet: they wait. */
static void hold(struct link *link, const struct packet *packet, const struct id *device, uint64_t last, const uint8_t *bytes,
		 size_t size)
{
	struct core *core = link->core;
	struct held *held, *first = NULL;
	unsigned count = 0;

	if (packet->push.piece_count == 0)
		return;
	LL_FOREACH(core->held, held)
		if (held->session == link->session && ++count == 1)
			first = held;
	if (count >= HELD_MAX)
		drop(core, first);
	held = calloc(1, sizeof(*held));
	if (!held)
		return;
	held->session = link->session;
	held->device = *device;
	held->last = last;
	bytes_init(&held->pieces, PACKET_SIZE_MAX);
	bytes_put(&held->pieces, bytes, size);
	LL_APPEND(core->held, held);
}

static int take_push(struct link *link, const struct packet *packet, const struct record_item *records, size_t count,
		     const uint8_t *bytes, size_t size)
{
	struct core *core = link->core;
	struct head here;
	uint64_t first;
	bool is_here;

	if (!push_person(core, &records[0], &here, &is_here, &first)) {
		link_offend(link, OFFENCE_MALFORMED);
		return -EBADMSG;
	}
	int err = 1;
	find_told(link, &here.person);
	if (pull_follows(core, &here))
		err = chase_push(core->chase, link->session, &here.device, is_here ? &here : NULL, records, count);
	if (err == -EBADMSG || err == -EPROTO) {
		link_offend(link, OFFENCE_MALFORMED);
		return err;
	}
	if (err == 0) {
		/* Of other authors the depot says which pieces are wanted. */
		if (!authors_has(core, &here.person))
			hold(link, packet, &here.device, first + count - 1, bytes, size);
		core->synced = false;
	} else if (err == 1) {
		push_prune(link, &here.device);
		core->counts.duplicates++;
	}
	return 0;
}

int push_take(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size)
{
	struct cbor_reader pieces = packet->push.pieces;
	struct record_item records[PUSH_RECORDS_MAX];
	size_t count = read_records(packet, records);

	link->core->counts.pushes_in++;
	if (pieces.left > HELD_SIZE_MAX) {
		link_offend(link, OFFENCE_FLOOD);
		return -EPROTO;
	}
	return count > 0 ? take_push(link, packet, records, count, bytes, size) : 0;
}

/* ---- pieces of a push ---- */

struct named {
	const struct depot *depot;
	struct depot_piece *items;
	size_t count, room;
};

static void name_missing(struct named *named, const struct record_item *record)
{
	struct id id;

	record_id(&id, record->bytes, record->size);
	if (named->count == named->room)
		return;
	ssize_t count = named->depot->calls->missing_of(named->depot->context, &id, named->items + named->count,
							named->room - named->count);
	named->count += count > 0 ? (size_t)count : 0;
}

static const struct depot_piece *find_named(const struct named *named, const struct id *name)
{
	for (size_t i = 0; i < named->count; i++)
		if (id_equal(&named->items[i].name, name))
			return &named->items[i];
	return NULL;
}

/* Those that a version names and that are not here yet: they count as asked for. */
static size_t pick(struct core *core, const struct packet *packet, uint64_t session, struct piece_item *out)
{
	struct named named = { .depot = core->depot, .room = PUSH_PIECES_MAX };
	struct cbor_reader list = packet->push.records;
	size_t left = packet->push.record_count, count = 0;
	struct record_item record;
	struct piece_item piece;

	named.items = calloc(named.room, sizeof(named.items[0]));
	if (!named.items)
		return 0;
	while (packet_next_record(&list, &left, &record))
		name_missing(&named, &record);
	list = packet->push.pieces;
	left = packet->push.piece_count;
	while (packet_next_push_piece(&list, &left, &piece)) {
		id_of_bytes(&piece.name, piece.bytes, piece.size);
		const struct depot_piece *missing = find_named(&named, &piece.name);
		if (missing && fetch_add(core->fetch, &piece.name, missing->stored, FETCH_HEAD, missing->version) >= 0 &&
		    fetch_got(core->fetch, session, &piece.name))
			out[count++] = piece;
	}
	free(named.items);
	return count;
}

/* False: there is nothing to wait for. */
static bool take_held(struct core *core, struct held *held, uint64_t from, uint64_t to)
{
	struct piece_item *pieces = calloc(PUSH_PIECES_MAX, sizeof(*pieces));
	struct packet packet;
	struct job *job;
	size_t count = 0;

	if (pieces && packet_read(&packet, held->pieces.data, held->pieces.size) == 0)
		count = pick(core, &packet, held->session, pieces);
	int err = count > 0 ? pull_pieces(core, held->session, &held->pieces, pieces, count, &job) : -ENOENT;
	for (size_t i = 0; err < 0 && i < count; i++)
		fetch_failed(core->fetch, held->session, &pieces[i].name, false, core->now_ms);
	if (err == 0) {
		job->spread = true;
		job->device = held->device;
		job->from = from;
		job->to = to;
	}
	free(pieces);
	return err == 0;
}

void push_taken(struct core *core, const struct job *job, bool taken)
{
	const struct depot *depot = core->depot;
	struct held *held, *next;
	struct head head;
	bool later = false;

	bool here = depot->calls->head(depot->context, &job->device, &head) == 0;
	uint64_t from = job->was_here ? job->before + 1 : 0;
	LL_FOREACH_SAFE(core->held, held, next) {
		if (held->session != job->session || !id_equal(&held->device, &job->device) ||
		    (taken && here && held->last > head.seq))
			continue; /* another's, or its records come later */
		if (taken && here)
			later |= take_held(core, held, from, head.seq);
		drop(core, held);
	}
	if (taken && here && !later && (!job->was_here || head.seq > job->before))
		spread_log(core, &job->device, from, head.seq, job->session, true);
}

void push_gone(struct link *link)
{
	struct core *core = link->core;
	struct held *held, *next;

	LL_FOREACH_SAFE(core->held, held, next)
		if (held->session == link->session)
			drop(core, held);
}
