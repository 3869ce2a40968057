#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reconcile.h"
#include "store_limits.h"
#include "wire.h"

#define PUZZLE_TRIES 65536 /* between looks at `cancelled`: some 10 ms */
#define PEER_KEY "peer"    /* with its NUL, before the address */

struct work *work_new(enum work_kind kind, const struct depot *depot)
{
	struct work *work = calloc(1, sizeof(*work));

	if (!work)
		return NULL;
	work->kind = kind;
	work->depot = depot;
	bytes_init(&work->input, 2 * CHAIN_SIZE_MAX);
	bytes_init(&work->output, PAGE_STATEMENT_MAX);
	return work;
}

void work_free(struct work *work)
{
	if (!work)
		return;
	bytes_finish(&work->input);
	bytes_finish(&work->output);
	free(work->records);
	free(work->pieces);
	free(work->results);
	free(work);
}

/* ---- answers ---- */

struct answer {
	const struct depot *depot;
	struct bytes items;
	size_t count;
	bool more; /* than it carries */
};

/* Is it full? Asked before an item is put. */
static bool answer_full(struct answer *a)
{
	a->more = a->items.size >= PAGE_SIZE_AIM || a->count == PAGE_ITEMS_MAX;
	return a->more;
}

static int put_head(void *context, const struct head *head)
{
	struct answer *a = context;

	if (answer_full(a))
		return 1;
	packet_put_head_item(&a->items, head);
	a->count++;
	return 0;
}

static int answer_heads_of(struct answer *a, const struct query *query)
{
	const struct depot *depot = a->depot;
	struct cbor_reader list = query->list;
	struct id entity;
	int err = 0;

	for (size_t i = 0; err == 0 && i < query->list_count; i++) {
		cbor_get_id(&list, &entity);
		err = list.failed ? -EBADMSG : depot->calls->each_head_of(depot->context, &entity, put_head, a);
	}
	return err;
}

struct heads {
	struct head *items;
	size_t count, capacity;
};

static int keep_head(void *context, const struct head *head)
{
	struct heads *h = context;

	if (h->count == h->capacity) {
		size_t capacity = h->capacity ? 2 * h->capacity : 256;
		struct head *items = realloc(h->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		h->items = items;
		h->capacity = capacity;
	}
	h->items[h->count++] = *head;
	return 0;
}

static int answer_ranges(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;
	struct reconcile_set *set = NULL;
	struct heads heads = { 0 };
	struct bytes message;
	uint8_t key[16];

	bytes_init(&message, PAGE_STATEMENT_MAX / 2);
	reconcile_key(key, cb);
	int err = depot->calls->every_head(depot->context, keep_head, &heads);
	if (err == 0) {
		set = reconcile_set_new(heads.items, heads.count, key);
		err = set ? reconcile_answer(set, query->ranges, query->ranges_size, &message) : -ENOMEM;
	}
	if (err == 0)
		err = bytes_error(&message);
	if (err == 0) {
		packet_put_ranges_item(&a->items, message.data, message.size);
		a->count = 1;
	}
	reconcile_set_free(set);
	free(heads.items);
	bytes_finish(&message);
	return err;
}

static int answer_heads(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;

	switch (query->mode) {
	case HEADS_OF: return answer_heads_of(a, query);
	case HEADS_ALL: return depot->calls->each_head(depot->context, &query->subject, put_head, a);
	case HEADS_RANGES: return answer_ranges(a, query, cb);
	}
	return -EBADMSG;
}

static int put_record(void *context, uint64_t seq, const struct record_item *item)
{
	struct answer *a = context;

	if (answer_full(a))
		return 1;
	packet_put_record_item(&a->items, item);
	a->count++;
	return 0;
}

static int answer_records(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;

	int err = depot->calls->each_record(depot->context, &query->subject, query->from, query->to, put_record, a);
	/* What comes before one that cannot be read is right. */
	return err == -EBADMSG || err == -EIO ? 0 : err;
}

static int answer_pieces(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;
	uint8_t *member = malloc(PIECE_STORED_MAX);
	struct cbor_reader list = query->list;
	int err = member ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < query->list_count && !answer_full(a); i++) {
		struct piece_item item = { .bytes = member };
		cbor_get_id(&list, &item.name);
		err = list.failed ? -EBADMSG : 0;
		if (err < 0)
			break;
		ssize_t size = depot->calls->read_piece(depot->context, &item.name, member, PIECE_STORED_MAX);
		item.size = size > 0 ? (size_t)size : 0; /* also one that the disk lost */
		packet_put_piece_item(&a->items, &item);
		a->count++;
	}
	a->more = a->count < query->list_count;
	free(member);
	return err;
}

static int put_peer(void *context, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct answer *a = context;
	char address[ADDRESS_SIZE_MAX];
	struct id device;

	size_t size = key_size - sizeof(PEER_KEY);
	if (key_size <= sizeof(PEER_KEY) || size >= sizeof(address) || value_size < ID_SIZE)
		return 0;
	if (a->count == PEERS_TOLD_MAX)
		return 1;
	memcpy(address, (const char *)key + sizeof(PEER_KEY), size);
	address[size] = '\0';
	memcpy(device.bytes, value, ID_SIZE);
	packet_put_peer_item(&a->items, address, &device);
	a->count++;
	return 0;
}

static int answer_peers(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;

	return depot->calls->each_memory(depot->context, PEER_KEY, sizeof(PEER_KEY), put_peer, a);
}

static int put_id(void *context, const struct id *id)
{
	struct answer *a = context;

	if (answer_full(a))
		return 1;
	packet_put_id_item(&a->items, id);
	a->count++;
	return 0;
}

static int answer_authors(struct answer *a, const struct query *query, const struct id *cb)
{
	const struct depot *depot = a->depot;

	return depot->calls->each_author(depot->context, &query->subject, put_id, a);
}

static const struct {
	int (*answer)(struct answer *a, const struct query *query, const struct id *cb); /* NULL: with nothing */
	enum page_order order;
} fields[QUERY_FIELD_COUNT] = {
	[QUERY_HEADS] = { answer_heads, ORDER_DEVICE },
	[QUERY_RECORDS] = { answer_records, ORDER_SEQ },
	[QUERY_PIECES] = { answer_pieces, ORDER_ASKED },
	[QUERY_PEERS] = { answer_peers, ORDER_NONE },
	[QUERY_AUTHORS] = { answer_authors, ORDER_NONE },
};

static enum page_order order_of(const struct query *query)
{
	return query->field == QUERY_HEADS && query->mode == HEADS_OF ? ORDER_ASKED : fields[query->field].order;
}

static int sign_page(const struct answer *a, struct page *page, struct bytes *out, struct signature *out_signature)
{
	const struct depot *depot = a->depot;
	struct head own;

	int err = depot->calls->head(depot->context, &depot->key->public, &own);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0) {
		page->head_seq = own.seq;
		page->head = own.record;
	}
	page->count = a->count + (a->more ? 1 : 0);
	page->item_count = a->count;
	page->items_bytes = a->items.data;
	page->items_size = a->items.size;
	return page_make(page, depot->key, out, out_signature);
}

int answer_make(const struct depot *depot, const struct query *query, const struct id *cb, uint64_t time_ms,
		struct bytes *out, struct signature *out_signature, uint64_t *out_items)
{
	struct answer a = { .depot = depot };
	struct page page = { .nonce = query->nonce, .time_ms = time_ms, .field = query->field, .cb = *cb };
	int err = 0;

	if (query->field >= QUERY_FIELD_COUNT)
		return -EBADMSG;
	page.order = order_of(query);
	bytes_init(&a.items, PAGE_STATEMENT_MAX);
	if (fields[query->field].answer)
		err = fields[query->field].answer(&a, query, cb);
	if (err >= 0) /* above: it is full */
		err = bytes_error(&a.items);
	if (err == 0)
		err = sign_page(&a, &page, out, out_signature);
	bytes_finish(&a.items);
	if (err == 0 && out_items)
		*out_items = a.count;
	return err;
}

/* ---- works ---- */

static int run_records(struct work *work)
{
	const struct depot *depot = work->depot;

	return depot->calls->take_records(depot->context, &work->device, work->records, work->count);
}

static int run_pieces(struct work *work)
{
	const struct depot *depot = work->depot;

	if (!work->results)
		work->results = calloc(work->count + 1, sizeof(*work->results));
	if (!work->results)
		return -ENOMEM;
	return depot->calls->take_pieces(depot->context, work->pieces, work->count, work->results);
}

static int run_answer(struct work *work)
{
	int err = answer_make(work->depot, &work->query, &work->cb, work->time_ms, &work->output, &work->signature,
			      &work->items);

	work->bytes = work->output.size;
	return err;
}

static int run_check(struct work *work)
{
	return page_verify(&work->device, work->input.data, work->input.size, &work->signature);
}

static int run_sync(struct work *work)
{
	const struct depot *depot = work->depot;

	return depot->calls->sync(depot->context);
}

static int run_puzzle(struct work *work)
{
	struct puzzle_search search = { 0 };

	while (!puzzle_solve(&work->puzzle, &search, PUZZLE_TRIES))
		if (work->cancelled)
			return -ECANCELED;
	work->solution = search.found;
	return 0;
}

/* Facts in the input: key size u16, value size u32, key, value. */
void work_put_fact(struct work *work, const void *key, size_t key_size, const void *value, size_t value_size)
{
	bytes_put_u16(&work->input, (uint16_t)key_size);
	bytes_put_u32(&work->input, (uint32_t)value_size);
	bytes_put(&work->input, key, key_size);
	bytes_put(&work->input, value, value_size);
}

static int run_remember(struct work *work)
{
	const struct depot *depot = work->depot;
	struct wire w;
	int err = bytes_error(&work->input);

	wire_init(&w, work->input.data, work->input.size);
	while (err == 0 && w.left > 0) {
		size_t key_size = wire_u16(&w), value_size = wire_u32(&w);
		const uint8_t *key = wire_bytes(&w, key_size), *value = wire_bytes(&w, value_size);
		err = w.failed ? -EBADMSG : depot->calls->remember(depot->context, key, key_size, value, value_size);
	}
	return err;
}

static int (*const runs[])(struct work *work) = {
	[WORK_RECORDS] = run_records, [WORK_PIECES] = run_pieces, [WORK_ANSWER] = run_answer, [WORK_CHECK] = run_check,
	[WORK_SYNC] = run_sync, [WORK_PUZZLE] = run_puzzle, [WORK_REMEMBER] = run_remember,
};

void work_run(struct work *work)
{
	work->result = runs[work->kind](work);
}
