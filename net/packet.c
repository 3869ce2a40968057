#include "packet.h"

#include <errno.h>
#include <string.h>

#include "packet_private.h"
#include "store_limits.h"

#define PACKET_ITEMS_MAX 6    /* of the longest packet */
#define ARGUMENTS_DEPTH_MAX 4 /* arrays in arrays of what is not known here */

bool packet_address_is_valid(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return size <= ADDRESS_TEXT_MAX;
}

/* ---- items: each reader of one has the shape that next() and walk() want ---- */

union item {
	struct record_item record;
	struct piece_item piece;
	struct head head;
	struct id id;
	struct span span;
	struct {
		struct span address;
		struct id device;
	} peer;
};

typedef void item_reader(struct cbor_reader *r, union item *out);

static struct span get_string(struct cbor_reader *r, size_t size_min, size_t size_max)
{
	struct span span = { 0 };

	span.data = cbor_get_bytes(r, size_min, size_max, &span.size);
	return span;
}

static struct span get_address(struct cbor_reader *r, size_t size_min)
{
	struct span span = { 0 };

	span.data = cbor_get_text(r, size_min, ADDRESS_TEXT_MAX, &span.size);
	if (span.data && !packet_address_is_valid(span.data, span.size))
		cbor_reader_fail(r);
	return span;
}

static void get_signature(struct cbor_reader *r, struct signature *out)
{
	struct span span = get_string(r, sizeof out->bytes, sizeof out->bytes);

	memset(out, 0, sizeof *out);
	if (span.data)
		memcpy(out->bytes, span.data, sizeof out->bytes);
}

static void get_record(struct cbor_reader *r, union item *out)
{
	struct record_item *item = &out->record;

	cbor_get_array(r, 2, 2);
	struct span record = get_string(r, 1, RECORD_SIZE_MAX);
	struct span signature = get_string(r, 0, sizeof item->signature.bytes);
	*item = (struct record_item){ .bytes = record.data, .size = record.size, .is_signed = signature.size > 0 };
	if (!item->is_signed)
		return;
	if (signature.size == sizeof item->signature.bytes)
		memcpy(item->signature.bytes, signature.data, signature.size);
	else
		cbor_reader_fail(r);
}

static void get_piece(struct cbor_reader *r, union item *out)
{
	struct span member;

	cbor_get_array(r, 2, 2);
	cbor_get_id(r, &out->piece.name);
	member = get_string(r, 0, PIECE_STORED_MAX);
	out->piece.bytes = member.data;
	out->piece.size = member.size;
}

static void get_push_piece(struct cbor_reader *r, union item *out)
{
	struct span member = get_string(r, 1, PIECE_STORED_MAX);

	out->piece = (struct piece_item){ .bytes = member.data, .size = member.size };
}

static void get_head(struct cbor_reader *r, union item *out)
{
	cbor_get_array(r, HEAD_ITEMS, HEAD_ITEMS);
	cbor_get_id(r, &out->head.device);
	cbor_get_id(r, &out->head.person);
	out->head.seq = cbor_get_uint(r, NUMBER_MAX);
	cbor_get_id(r, &out->head.record);
	out->head.records = cbor_get_uint(r, NUMBER_MAX);
}

static void get_note(struct cbor_reader *r, union item *out)
{
	memset(&out->head, 0, sizeof out->head);
	cbor_get_array(r, 3, 3);
	cbor_get_id(r, &out->head.device);
	out->head.seq = cbor_get_uint(r, NUMBER_MAX);
	cbor_get_id(r, &out->head.record);
}

static void get_peer(struct cbor_reader *r, union item *out)
{
	cbor_get_array(r, 2, 2);
	out->peer.address = get_address(r, 1);
	cbor_get_id(r, &out->peer.device);
}

static void get_id_item(struct cbor_reader *r, union item *out)
{
	cbor_get_array(r, 1, 1);
	cbor_get_id(r, &out->id);
}

static void get_id(struct cbor_reader *r, union item *out)
{
	cbor_get_id(r, &out->id);
}

static void get_ranges_item(struct cbor_reader *r, union item *out)
{
	cbor_get_array(r, 1, 1);
	out->span = get_string(r, 1, RECONCILE_MESSAGE_MAX);
}

/* Takes the next of `left` items; false: there is none, or it is not one. */
static bool next(struct cbor_reader *list, size_t *left, item_reader *get, union item *out)
{
	if (*left == 0 || list->failed)
		return false;
	get(list, out);
	if (list->failed) {
		*left = 0;
		return false;
	}
	(*left)--;
	return true;
}

static void walk(struct cbor_reader *r, size_t count, item_reader *get)
{
	union item ignored;

	while (next(r, &count, get, &ignored))
		;
}

/* Takes a whole list: out_list is a reader of its items alone. */
static size_t get_list(struct cbor_reader *r, size_t count_min, size_t count_max, item_reader *get,
		       struct cbor_reader *out_list)
{
	size_t count = cbor_get_array(r, count_min, count_max);

	*out_list = *r;
	walk(r, count, get);
	out_list->left = (size_t)(r->at - out_list->at);
	return count;
}

bool packet_next_record(struct cbor_reader *list, size_t *left, struct record_item *out)
{
	union item item;

	if (!next(list, left, get_record, &item))
		return false;
	*out = item.record;
	return true;
}

bool packet_next_piece(struct cbor_reader *list, size_t *left, struct piece_item *out)
{
	union item item;

	if (!next(list, left, get_piece, &item))
		return false;
	*out = item.piece;
	return true;
}

bool packet_next_push_piece(struct cbor_reader *list, size_t *left, struct piece_item *out)
{
	union item item;

	if (!next(list, left, get_push_piece, &item))
		return false;
	*out = item.piece;
	return true;
}

bool packet_next_head(struct cbor_reader *list, size_t *left, struct head *out)
{
	union item item;

	if (!next(list, left, get_head, &item))
		return false;
	*out = item.head;
	return true;
}

bool packet_next_note(struct cbor_reader *list, size_t *left, struct head *out)
{
	union item item;

	if (!next(list, left, get_note, &item))
		return false;
	*out = item.head;
	return true;
}

bool packet_next_peer(struct cbor_reader *list, size_t *left, const char **out_address, size_t *out_size,
		      struct id *out_device)
{
	union item item;

	if (!next(list, left, get_peer, &item))
		return false;
	*out_address = item.peer.address.data;
	*out_size = item.peer.address.size;
	*out_device = item.peer.device;
	return true;
}

bool packet_next_id(struct cbor_reader *list, size_t *left, struct id *out)
{
	union item item;

	if (!next(list, left, get_id_item, &item))
		return false;
	*out = item.id;
	return true;
}

bool packet_next_ranges(struct cbor_reader *list, size_t *left, const uint8_t **out_bytes, size_t *out_size)
{
	union item item;

	if (!next(list, left, get_ranges_item, &item))
		return false;
	*out_bytes = item.span.data;
	*out_size = item.span.size;
	return true;
}

/* ---- packets ---- */

static void get_ready(struct cbor_reader *r, struct packet *out)
{
	if (cbor_get_uint(r, READY_VERSION) != READY_VERSION)
		cbor_reader_fail(r);
	cbor_get_id(r, &out->ready.person);
	struct span address = get_address(r, 0);
	out->ready.address = address.data;
	out->ready.address_size = address.size;
	out->ready.follow_count = cbor_get_uint(r, NUMBER_MAX);
	out->ready.log_count = cbor_get_uint(r, NUMBER_MAX);
}

static void get_query_heads(struct cbor_reader *r, struct query *out)
{
	struct span ranges;

	cbor_get_array(r, 2, 2);
	out->mode = (enum heads_mode)cbor_get_uint(r, HEADS_RANGES);
	if (r->failed)
		return;
	switch (out->mode) {
	case HEADS_OF:
		out->list_count = get_list(r, 0, NOTES_MAX, get_id, &out->list);
		break;
	case HEADS_ALL:
		cbor_get_optional_id(r, &out->subject);
		break;
	case HEADS_RANGES:
		ranges = get_string(r, 1, RECONCILE_MESSAGE_MAX);
		out->ranges = ranges.data;
		out->ranges_size = ranges.size;
		break;
	}
}

static void get_query_records(struct cbor_reader *r, struct query *out)
{
	cbor_get_array(r, 3, 3);
	cbor_get_id(r, &out->subject);
	out->from = cbor_get_uint(r, NUMBER_MAX);
	out->to = cbor_get_uint(r, NUMBER_MAX);
	if (out->from > out->to)
		cbor_reader_fail(r);
}

/* Later programs may ask what this one cannot answer; that is no offence. */
static void get_query_unknown(struct cbor_reader *r, struct query *out)
{
	struct cbor_reader ahead = *r;

	cbor_get_array(&ahead, 0, PACKET_SIZE_MAX);
	if (ahead.failed)
		cbor_reader_fail(r);
	out->arguments = r->at;
	cbor_skip(r, ARGUMENTS_DEPTH_MAX);
	out->arguments_size = (size_t)(r->at - out->arguments);
}

static void get_query(struct cbor_reader *r, struct packet *out)
{
	struct query *query = &out->query;

	query->nonce = nonce_get(r);
	query->field = (enum query_field)cbor_get_uint(r, QUERY_FIELD_COUNT - 1);
	if (r->failed)
		return;
	switch (query->field) {
	case QUERY_HEADS:
		get_query_heads(r, query);
		break;
	case QUERY_RECORDS:
		get_query_records(r, query);
		break;
	case QUERY_PIECES:
		query->list_count = get_list(r, 1, QUERY_PIECES_MAX, get_id, &query->list);
		break;
	case QUERY_PEERS:
		cbor_get_array(r, 0, 0);
		break;
	case QUERY_AUTHORS:
		cbor_get_array(r, 1, 1);
		cbor_get_id(r, &query->subject);
		break;
	case QUERY_HOLDERS:
	case QUERY_SEARCH:
	case QUERY_CHALLENGE:
	case QUERY_ADVERT:
	case QUERY_TALLY:
	case QUERY_ROSTER:
	case QUERY_FIELD_COUNT:
		get_query_unknown(r, query);
		break;
	}
}

static item_reader *item_reader_of(enum query_field field)
{
	switch (field) {
	case QUERY_HEADS:
		return get_head;
	case QUERY_RECORDS:
		return get_record;
	case QUERY_PIECES:
		return get_piece;
	case QUERY_PEERS:
		return get_peer;
	case QUERY_AUTHORS:
		return get_id_item;
	case QUERY_HOLDERS:
	case QUERY_SEARCH:
	case QUERY_CHALLENGE:
	case QUERY_ADVERT:
	case QUERY_TALLY:
	case QUERY_ROSTER:
	case QUERY_FIELD_COUNT:
		break;
	}
	return NULL;
}

static bool items_are(const struct page *page, item_reader *get)
{
	struct cbor_reader items = page->items;

	walk(&items, page->item_count, get);
	return cbor_reader_finish(&items) == 0;
}

bool packet_page_is_valid(const uint8_t *bytes, size_t size)
{
	struct page page;

	if (page_read(&page, bytes, size) < 0 || page.item_count > PAGE_ITEMS_MAX)
		return false;
	if (page.item_count == 0)
		return true;

	item_reader *get = item_reader_of(page.field);
	if (get && items_are(&page, get))
		return true;
	return page.field == QUERY_HEADS && page.item_count == 1 && items_are(&page, get_ranges_item);
}

static void get_statement(struct cbor_reader *r, struct packet *out, size_t size_max)
{
	struct span statement = get_string(r, 1, size_max);

	out->statement.bytes = statement.data;
	out->statement.size = statement.size;
	get_signature(r, &out->statement.signature);
}

static void get_page(struct cbor_reader *r, struct packet *out)
{
	get_statement(r, out, PAGE_STATEMENT_MAX);
	if (!r->failed && !packet_page_is_valid(out->statement.bytes, out->statement.size))
		cbor_reader_fail(r);
}

static void get_receipt(struct cbor_reader *r, struct packet *out)
{
	struct receipt receipt;

	get_statement(r, out, RECEIPT_SIZE_MAX);
	if (!r->failed && receipt_read(&receipt, out->statement.bytes, out->statement.size) < 0)
		cbor_reader_fail(r);
}

static void get_push(struct cbor_reader *r, struct packet *out)
{
	out->push.record_count = get_list(r, 1, PUSH_RECORDS_MAX, get_record, &out->push.records);
	out->push.piece_count = get_list(r, 0, PUSH_PIECES_MAX, get_push_piece, &out->push.pieces);
}

static void get_notes(struct cbor_reader *r, struct packet *out)
{
	out->note.count = get_list(r, 1, NOTES_MAX, get_note, &out->note.list);
}

static void get_graft(struct cbor_reader *r, struct packet *out)
{
	cbor_get_id(r, &out->log.device);
	out->log.from = cbor_get_uint(r, NUMBER_MAX);
}

static void get_prune(struct cbor_reader *r, struct packet *out)
{
	cbor_get_id(r, &out->log.device);
}

static void get_follow(struct cbor_reader *r, struct packet *out)
{
	struct span bits = get_string(r, FOLLOW_SIZE_MIN, FOLLOW_SIZE_MAX);

	out->follow.bits = bits.data;
	out->follow.size = bits.size;
}

static void get_token(struct cbor_reader *r, struct packet *out)
{
	out->token = nonce_get(r);
}

static const struct {
	size_t item_count; /* with the kind */
	void (*get)(struct cbor_reader *r, struct packet *out);
} kinds[PACKET_COUNT] = {
	[PACKET_READY] = { 6, get_ready },
	[PACKET_QUERY] = { 4, get_query },
	[PACKET_PAGE] = { 3, get_page },
	[PACKET_PUSH] = { 3, get_push },
	[PACKET_NOTE] = { 2, get_notes },
	[PACKET_GRAFT] = { 3, get_graft },
	[PACKET_PRUNE] = { 2, get_prune },
	[PACKET_FOLLOW] = { 2, get_follow },
	[PACKET_THANKS] = { 3, get_receipt },
	[PACKET_WELCOME] = { 3, get_receipt },
	[PACKET_PING] = { 2, get_token },
	[PACKET_PONG] = { 2, get_token },
};

size_t packet_item_count(enum packet_kind kind)
{
	return kinds[kind].item_count;
}

int packet_read(struct packet *out, const uint8_t *bytes, size_t size)
{
	struct cbor_reader r;

	memset(out, 0, sizeof *out);
	if (size > PACKET_SIZE_MAX)
		return -EBADMSG;
	cbor_reader_init(&r, bytes, size);
	size_t item_count = cbor_get_array(&r, 2, PACKET_ITEMS_MAX);
	out->kind = (enum packet_kind)cbor_get_uint(&r, PACKET_COUNT - 1);
	if (r.failed || kinds[out->kind].item_count != item_count)
		return -EBADMSG;
	kinds[out->kind].get(&r, out);
	return cbor_reader_finish(&r);
}
