#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_private.h"
#include "wire.h"

#define DIALLING_MAX 8 /* connections under way: a slow network must not hold up all */

#define WANTED_MAX 64   /* remembered nodes of those followed, dialled at the start whatever peers there are: few sessions beside SESSIONS_MAX */

/* ---- what is remembered ---- */

/* Where somebody who is followed was spoken to: other peers may not have his logs. */
static enum book_source source_of(const struct core *core, const struct id *device)
{
	const struct depot *depot = core->depot;
	struct head head;

	if (!core->options.dial || core->wanted >= WANTED_MAX ||
	    depot->calls->head(depot->context, device, &head) < 0 || !depot->calls->follows(depot->context, &head.person))
		return BOOK_REMEMBERED;
	return BOOK_WANTED;
}

static int load_one(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct core *core = visitor;
	char address[ADDRESS_SIZE_MAX];
	struct id device;
	struct wire w;

	size_t size = key_size - BOOK_KEY_PREFIX_SIZE;
	if (key_size <= BOOK_KEY_PREFIX_SIZE || size >= sizeof(address))
		return 0;
	memcpy(address, (const char *)key + BOOK_KEY_PREFIX_SIZE, size);
	address[size] = '\0';
	wire_init(&w, value, value_size);
	wire_id(&w, &device);
	uint64_t worked_ms = wire_u64(&w);
	if (wire_finish(&w) < 0)
		return 0;
	enum book_source source = source_of(core, &device);
	core->wanted += source == BOOK_WANTED;
	if (book_add(core->book, address, &device, source) >= 0)
		book_set_worked(core->book, address, worked_ms);
	return 0;
}

void dial_load(struct core *core)
{
	const struct depot *depot = core->depot;

	depot->calls->each_memory(depot->context, BOOK_KEY_PREFIX, BOOK_KEY_PREFIX_SIZE, load_one, core);
}

static void remember(struct core *core, const char *address, const struct id *device)
{
	char key[BOOK_KEY_PREFIX_SIZE + ADDRESS_SIZE_MAX] = BOOK_KEY_PREFIX;
	struct bytes value;

	memcpy(key + BOOK_KEY_PREFIX_SIZE, address, strlen(address));
	bytes_init(&value, BOOK_VALUE_SIZE);
	if (device) {
		bytes_put(&value, device->bytes, ID_SIZE);
		bytes_put_u64(&value, clock_time_ms(core->clock));
	}
	if (bytes_error(&value) == 0)
		core_remember(core, key, BOOK_KEY_PREFIX_SIZE + strlen(address), value.data, value.size);
	bytes_finish(&value);
}

/* ---- dialling ---- */

static enum book_need need_of(const struct core *core)
{
	unsigned sessions = core->dialling;

	if (!core->options.dial)
		return BOOK_NEED_ASKED;
	for (const struct link *link = core->links; link; link = link->hh.next)
		sessions += link->state != LINK_CLOSING;
	return sessions < core->options.peers_aim ? BOOK_NEED_ANY : BOOK_NEED_WANTED;
}

bool dial_has_room(const struct core *core)
{
	return !core->ending && core->dialling < DIALLING_MAX && HASH_COUNT(core->links) < SESSIONS_MAX;
}

bool dial_tell(struct core *core, const struct book_dial *dial)
{
	struct event *event = core_tell(core, EVENT_DIAL, NULL);

	if (!event) {
		book_failed(core->book, dial->address);
		return false;
	}
	strcpy(event->address, dial->address);
	event->has_expected = dial->has_expected;
	event->expected = dial->expected;
	core->dialling++;
	return true;
}

static void tell_self(struct core *core, const char *address)
{
	struct event *event = core_tell(core, EVENT_CLOSE, NULL);

	if (!event)
		return;
	event->result = -ELOOP;
	strcpy(event->address, address);
}

void dial_pump(struct core *core)
{
	struct book_dial dial;

	while (dial_has_room(core) &&
	       book_next(core->book, need_of(core), &dial)) {
		const bool is_self = strcmp(dial.address, core->options.address) == 0;
		if (is_self)
			tell_self(core, dial.address);
		if (is_self ||
		    (dial.has_expected && !dial.announced && core_find_device(core, &dial.expected, NULL))) {
			book_ended(core->book, dial.address, true);
			continue;
		}
		if (!dial_tell(core, &dial))
			return;
	}
}

uint64_t dial_deadline_ms(const struct core *core)
{
	if (!dial_has_room(core))
		return UINT64_MAX;
	return book_deadline_ms(core->book, need_of(core));
}

void dial_worked(struct link *link)
{
	if (book_worked(link->core->book, link->address, &link->device))
		remember(link->core, link->address, &link->device);
}

void dial_ended(struct link *link)
{
	struct core *core = link->core;

	if (link->outgoing && (link->worked || link->apart))
		book_ended(core->book, link->address, link->apart);
	else if (link->outgoing && book_failed(core->book, link->address))
		remember(core, link->address, NULL);
	if (!link->apart && !id_is_zero(&link->device) && !core_find_device(core, &link->device, link))
		book_alone(core->book, &link->device);
}

void dial_failed(struct core *core, const char *address)
{
	if (book_failed(core->book, address))
		remember(core, address, NULL);
}

/* ---- told ---- */

static enum address_scope scope_of(const struct link *link)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	return address_split(link->address, host, &port) == 0 ? address_scope(host) : ADDRESS_INTERNET;
}

/* ":port": the host is the one it dialled from. */
void dial_announced(struct link *link, const char *text, size_t size)
{
	char address[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX];
	uint16_t port, from_port;

	if (size == 0 || size >= sizeof(address))
		return;
	memcpy(address, text, size);
	address[size] = '\0';
	if (address[0] == ':') {
		if (address_split(address, host, &port) < 0 || port == 0 ||
		    address_split(link->address, host, &from_port) < 0)
			return;
		address_join(address, host, port);
	}
	if (!address_is_tellable(address, scope_of(link)))
		return;
	book_add(link->core->book, address, &link->device, BOOK_ANNOUNCED);
	link->core->stirred = true;
}

void dial_ask(struct link *link)
{
	struct core *core = link->core;
	struct bytes packet;

	if (!core->options.dial || link->peers_ms > core->now_ms || link->state != LINK_READY)
		return;
	struct ask *ask = ask_begin(link, ASK_PEERS);
	if (!ask)
		return;
	link->peers_ms = core->now_ms + AGAIN_MS;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_query_plain(&packet, ask->nonce, QUERY_PEERS, NULL);
	link_send(link, &packet, false);
}

void dial_told(struct link *link, const struct page *page)
{
	struct core *core = link->core;
	struct cbor_reader items = page->items;
	size_t left = page->item_count, size, taken = 0;
	char address[ADDRESS_SIZE_MAX];
	const char *text;
	struct id device;

	while (taken++ < PEERS_TOLD_MAX && packet_next_peer(&items, &left, &text, &size, &device)) {
		if (size >= sizeof(address) || id_equal(&device, &core->depot->key->public))
			continue;
		memcpy(address, text, size);
		address[size] = '\0';
		if (address_is_tellable(address, scope_of(link)))
			book_add(core->book, address, &device, BOOK_TOLD);
	}
	core->stirred = true;
}

static int sign_peers(struct link *link, struct page *page, struct bytes *out)
{
	const struct depot *depot = link->core->depot;
	struct signature signature;
	struct bytes statement;
	struct head own;

	if (depot->calls->head(depot->context, &depot->key->public, &own) == 0) {
		page->head_seq = own.seq;
		page->head = own.record;
	}
	bytes_init(&statement, PAGE_STATEMENT_MAX);
	int err = page_make(page, depot->key, &statement, &signature);
	if (err == 0)
		packet_put_statement(out, PACKET_PAGE, statement.data, statement.size, &signature);
	bytes_finish(&statement);
	return err;
}

/* Answered here, from memory: whom to tell what depends on where the peer is. */
int dial_answer(struct link *link, const struct query *query)
{
	struct core *core = link->core;
	struct book_told told[PEERS_TOLD_MAX];
	struct page page = { .nonce = query->nonce, .time_ms = clock_time_ms(core->clock), .field = QUERY_PEERS,
			     .order = ORDER_NONE, .cb = link->cb };
	struct bytes items, packet;

	bytes_init(&items, PAGE_STATEMENT_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	size_t count = book_tell(core->book, scope_of(link), told, PEERS_TOLD_MAX);
	for (size_t i = 0; i < count; i++)
		if (!id_equal(&told[i].device, &link->device)) {
			packet_put_peer_item(&items, told[i].address, &told[i].device);
			page.item_count++;
		}
	page.count = page.item_count;
	page.items_bytes = items.data;
	page.items_size = items.size;
	int err = bytes_error(&items);
	if (err == 0)
		err = sign_peers(link, &page, &packet);
	bytes_finish(&items);
	if (err < 0) {
		bytes_finish(&packet);
		return err;
	}
	core->counts.pages_out++;
	link_send(link, &packet, true);
	return 0;
}
