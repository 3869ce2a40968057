#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core_private.h"

#define FILTER_COST 400  /* of what we may say unasked: twice what it costs the other end, whose clock may be slow */
#define FILTER_MS 200    /* until it is tried again */
#define INTRO_RECORDS 64 /* seqs looked through for the signature that covers the first */
#define INTRO_SIZE_MAX (64 * 1024) /* bytes of them that are kept of a stranger: a record of the largest */

/* ---- ready ---- */

void meet_begin(struct link *link)
{
	const struct core *core = link->core;
	const struct depot *depot = core->depot;
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ready(&packet, &depot->person, core->options.address, core->follow_total,
			 depot->calls->log_count(depot->context));
	link_send(link, &packet, false);
}

static void begin_intro(struct link *link, unsigned index, const struct id *device)
{
	const struct depot *depot = link->core->depot;
	struct intro *intro = &link->intros[index];
	struct head head;

	intro->device = *device;
	intro->state = depot->calls->head(depot->context, device, &head) == -ENOENT ? INTRO_WANTED : INTRO_DONE;
}

static int join(struct link *link)
{
	struct core *core = link->core;

	int err = chase_join(core->chase, link->session);
	if (err == 0)
		err = fetch_join(core->fetch, link->session);
	if (err < 0)
		link_close(link, err);
	return err;
}

static void become_ready(struct link *link)
{
	struct core *core = link->core;

	link_set_state(link, LINK_READY);
	core->counts.sessions_total++;
	core_tell(core, EVENT_READY, link);
	if (join(link) < 0)
		return;
	begin_intro(link, 0, &link->device);
	begin_intro(link, 1, &link->person);
	if (id_equal(&link->device, &link->person))
		link->intros[1].state = INTRO_DONE;
	link->follow_due = true;
	link->peers_ms = link->authors_ms = core->now_ms;
	survey_start(link, 0);
	meet_ping(link);
}

/* Which of two sessions with one device stays: that which the lesser device dialled; of two by one dialler the newer, if we took it. */
static struct link *choose_loser(struct link *a, struct link *b)
{
	if (a->outgoing == b->outgoing)
		return a->outgoing ? NULL : a->session < b->session ? a : b;
	bool ours_stays = id_compare(&a->core->depot->key->public, &a->device) < 0;
	return a->outgoing == ours_stays ? b : a;
}

static void close_apart(struct link *link)
{
	link->apart = true;
	link_close(link, -EALREADY);
}

int meet_ready(struct link *link, const struct packet *packet)
{
	struct link *twin = core_find_device(link->core, &link->device, link);

	link->person = packet->ready.person;
	link->follow_count = packet->ready.follow_count;
	link->log_count = packet->ready.log_count;
	if (link->outgoing) {
		link->worked = true;
		dial_worked(link);
		if (twin) { /* nothing was said yet: the other end sees no second session */
			close_apart(link);
			return -EALREADY;
		}
		meet_begin(link);
	} else {
		dial_announced(link, packet->ready.address, packet->ready.address_size);
	}
	struct link *loser = twin ? choose_loser(twin, link) : NULL;
	if (loser)
		close_apart(loser);
	if (link->state != LINK_CLOSING)
		become_ready(link);
	return 0;
}

struct id meet_person(const struct link *link)
{
	const struct depot *depot = link->core->depot;
	struct head head;

	if (id_is_zero(&link->device))
		return link->device;
	if (depot->calls->head(depot->context, &link->device, &head) == 0 && id_equal(&head.person, &link->person))
		return link->person;
	return id_equal(&link->device, &link->person) ? link->person : (struct id){ { 0 } };
}

static int see_receipt(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size)
{
	return 1;
}

bool meet_is_known(struct core *core, const struct id *device)
{
	const struct depot *depot = core->depot;
	uint8_t key[RECEIPT_KEY_SIZE];
	struct head head;

	if (depot->calls->follows(depot->context, device))
		return true;
	if (depot->calls->head(depot->context, device, &head) == 0 && depot->calls->follows(depot->context, &head.person))
		return true;
	receipt_memory_key(key, device, true);
	return depot->calls->each_memory(depot->context, key, sizeof(key) - 1, see_receipt, NULL) == 1;
}

/* ---- whom we follow ---- */

struct filter {
	uint8_t *bits;
	size_t size;
	const uint8_t *key;
};

static int put_entity(void *visitor, const struct id *entity)
{
	const struct filter *filter = visitor;

	follow_add(filter->bits, filter->size, filter->key, entity);
	return 0;
}

static int put_author(void *visitor, const struct id *person)
{
	struct id id;

	follow_records_of(&id, person);
	return put_entity(visitor, &id);
}

static void send_filter(struct link *link)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	const struct authors *authors = &core->authors;
	struct filter filter = { .size = follow_size(core->follow_total + authors->document_count), .key = link->follow_key };
	struct bytes packet;

	link->follow_due = false;
	filter.bits = calloc(1, filter.size);
	if (!filter.bits) {
		link_close(link, -ENOMEM);
		return;
	}
	depot->calls->each_followed(depot->context, put_entity, &filter);
	for (size_t i = 0; i < authors->document_count; i++)
		put_entity(&filter, &authors->documents[i]);
	authors_each(core, true, put_author, &filter);
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_follow(&packet, filter.bits, filter.size);
	free(filter.bits);
	link_send(link, &packet, false);
	link->follow_mark = link->sent - link->unsent + link_waiting(link);
}

/* ---- introductions ---- */

static void ask_intro(struct link *link, struct intro *intro)
{
	struct ask *ask = ask_begin(link, ASK_INTRO);
	struct bytes packet;

	if (!ask)
		return;
	ask->device = intro->device;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_query_records(&packet, ask->nonce, &intro->device, 0,
				 intro->state == INTRO_LONGER ? INTRO_RECORDS - 1 : 0);
	ask->number = intro->state == INTRO_LONGER;
	intro->state = INTRO_ASKED;
	link_send(link, &packet, false);
}

/* On a line that stands one waits, not many: they would come all at once. */
bool meet_may_follow(const struct link *link)
{
	return link->follow_due && link->sent - link->unsent >= link->follow_mark;
}

void meet_pump(struct link *link)
{
	if (meet_may_follow(link) && link->filter_ms <= link->core->now_ms) {
		if (!allowance_take(&link->said, link->core->now_ms, FILTER_COST)) {
			link->filter_ms = link->core->now_ms + FILTER_MS;
		} else {
			send_filter(link);
			if (link->filter_late) /* what was new meanwhile was not told */
				survey_start(link, 0);
			link->filter_late = false;
		}
	}
	link->filter_late |= link->follow_due;
	for (unsigned i = 0; i < 2 && link->state == LINK_READY; i++)
		if (link->intros[i].state == INTRO_WANTED || link->intros[i].state == INTRO_LONGER)
			ask_intro(link, &link->intros[i]);
}

static struct intro *find_intro(struct link *link, const struct id *device)
{
	for (unsigned i = 0; i < 2; i++)
		if (link->intros[i].state == INTRO_ASKED && id_equal(&link->intros[i].device, device))
			return &link->intros[i];
	return NULL;
}

/* The shortest beginning of the log that is signed; 0: none. */
static size_t count_signed(const struct page *page)
{
	struct cbor_reader items = page->items;
	size_t left = page->item_count, count = 0;
	struct record_item item;

	while (packet_next_record(&items, &left, &item)) {
		count++;
		if (item.is_signed)
			return count;
	}
	return 0;
}

/* Of who is not followed: what strangers can make us keep has its bounds. */
static bool may_introduce(struct link *link, const struct id *device, const struct page *page, size_t count)
{
	struct core *core = link->core;
	const struct depot *depot = core->depot;
	struct cbor_reader items = page->items;
	size_t left = page->item_count, size = 0;
	struct record_item item;

	if (depot->calls->follows(depot->context, device))
		return true;
	while (count-- > 0 && packet_next_record(&items, &left, &item))
		size += item.size;
	if (size > INTRO_SIZE_MAX || !budget_has(&core->strangers, core->now_ms, STRANGERS_DAY) ||
	    (!link->outgoing && core->strangers.used >= STRANGERS_DAY / 2))
		return false;
	budget_spend(&core->strangers, 1);
	return true;
}

static int send_intro_work(struct link *link, const struct id *device, const struct page *page, size_t count)
{
	struct work *work = work_new(WORK_RECORDS, link->core->depot);
	struct cbor_reader items = page->items;
	size_t left = page->item_count;

	if (!work)
		return -ENOMEM;
	/* Of the page's items only what is read: copied, since the page is gone before the work is done. */
	bytes_put(&work->input, items.at, items.left);
	work->records = calloc(count, sizeof(work->records[0]));
	struct job *job = core_job(link->core, work, JOB_INTRO);
	if (bytes_error(&work->input) < 0 || !work->records || !job) {
		work_free(work);
		return -ENOMEM;
	}
	job->session = link->session;
	job->device = *device;
	items.at = work->input.data;
	while (work->count < count && packet_next_record(&items, &left, &work->records[work->count]))
		work->count++;
	work->session = link->session;
	work->device = *device;
	core_send_work(link->core, work);
	return 0;
}

void meet_intro(struct link *link, const struct ask *ask, const struct page *page)
{
	struct intro *intro = find_intro(link, &ask->device);
	size_t count = page ? count_signed(page) : 0;

	if (!intro)
		return;
	intro->state = INTRO_DONE;
	if (count > 0 && may_introduce(link, &ask->device, page, count))
		send_intro_work(link, &ask->device, page, count);
	else if (count == 0 && page && page->item_count > 0 && !ask->number)
		intro->state = INTRO_LONGER;
}

/* ---- receipts ---- */

static struct receipt_ends ends_of(const struct link *link)
{
	return (struct receipt_ends){
		.key = link->core->depot->key, .peer = link->device, .cb = link->cb,
		.time_ms = clock_time_ms(link->core->clock), .now_ms = link->core->now_ms,
		.welcome = 1000, /* all that it gave was asked for and right */
	};
}

static void remember_pair(struct link *link, const struct receipt_pair *pair, bool client)
{
	uint8_t key[RECEIPT_KEY_SIZE];
	struct bytes value;

	link->core->counts.receipts++;
	link->known = true;
	receipt_memory_key(key, &link->device, client);
	bytes_init(&value, PACKET_SIZE_MAX);
	receipt_memory_put(&value, pair);
	if (bytes_error(&value) == 0)
		core_remember(link->core, key, sizeof(key), value.data, value.size);
	bytes_finish(&value);
}

void meet_thank(struct link *link)
{
	struct receipt_ends ends = ends_of(link);
	struct bytes packet;

	if (!receipts_due(&link->receipts) || receipts_thank(&link->receipts, &ends) < 0)
		return;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_statement(&packet, PACKET_THANKS, link->receipts.pending.data, link->receipts.pending.size,
			     &link->receipts.pending_signature);
	link_send(link, &packet, false);
}

static int judge(struct link *link, int err)
{
	if (err == -EKEYREJECTED)
		link_offend(link, OFFENCE_SIGNATURE);
	else if (err == -EBADMSG || err == -EPROTO)
		link_offend(link, OFFENCE_MALFORMED);
	return err;
}

int meet_thanks(struct link *link, const struct packet *packet)
{
	struct receipt_ends ends = ends_of(link);
	struct receipt_pair pair;
	struct bytes answer;

	int err = receipts_take_thanks(&link->receipts, &ends, packet->statement.bytes, packet->statement.size,
				       &packet->statement.signature, &pair);
	if (err < 0)
		return judge(link, err);
	remember_pair(link, &pair, false);
	bytes_init(&answer, PACKET_SIZE_MAX);
	packet_put_statement(&answer, PACKET_WELCOME, pair.bytes, pair.size, &pair.welcome);
	link_send(link, &answer, false);
	return 0;
}

int meet_welcome(struct link *link, const struct packet *packet)
{
	struct receipt_ends ends = ends_of(link);
	struct receipt_pair pair;

	int err = receipts_take_welcome(&link->receipts, &ends, packet->statement.bytes, packet->statement.size,
					&packet->statement.signature, &pair);
	if (err < 0)
		return judge(link, err);
	remember_pair(link, &pair, true);
	return 0;
}

/* ---- is it there ---- */

void meet_ping(struct link *link)
{
	struct bytes packet;

	clock_random(link->core->clock, &link->ping_token, sizeof(link->ping_token));
	link->ping_ms = link->core->now_ms ? link->core->now_ms : 1;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ping(&packet, PACKET_PING, link->ping_token);
	link_send(link, &packet, false);
}

int meet_pong(struct link *link, const struct packet *packet)
{
	if (link->ping_ms && packet->token == link->ping_token) {
		link->round_trip_ms = link->core->now_ms - link->ping_ms;
		link->ping_ms = 0;
	}
	return 0;
}
