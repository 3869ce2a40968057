/* packet_kit.h - a packet that was read, written again from what was read of it alone. */
#ifndef PACKET_KIT_H
#define PACKET_KIT_H

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "packet.h"

static inline void kit_put_ready(const struct packet *p, struct bytes *out)
{
	char address[ADDRESS_SIZE_MAX] = "";

	memcpy(address, p->ready.address, p->ready.address_size);
	packet_put_ready(out, &p->ready.person, address, p->ready.follow_count, p->ready.log_count);
}

/* The ids of a list; free() them. */
static inline struct id *kit_ids(struct cbor_reader list, size_t count)
{
	struct id *ids = calloc(count + 1, sizeof *ids);

	for (size_t i = 0; ids && i < count; i++)
		cbor_get_id(&list, &ids[i]);
	return ids;
}

static inline void kit_put_query(const struct query *q, struct bytes *out)
{
	CLEANUP(cleanup_free) struct id *ids = kit_ids(q->list, q->list_count);

	if (!ids)
		return;
	if (q->field == QUERY_HEADS && q->mode == HEADS_OF) {
		packet_put_query_heads_of(out, q->nonce, ids, q->list_count);
	} else if (q->field == QUERY_HEADS && q->mode == HEADS_ALL) {
		packet_put_query_heads_all(out, q->nonce, &q->subject);
	} else if (q->field == QUERY_HEADS) {
		packet_put_query_heads_ranges(out, q->nonce, q->ranges, q->ranges_size);
	} else if (q->field == QUERY_RECORDS) {
		packet_put_query_records(out, q->nonce, &q->subject, q->from, q->to);
	} else if (q->field == QUERY_PIECES) {
		packet_put_query_pieces(out, q->nonce, ids, q->list_count);
	} else if (q->field == QUERY_PEERS || q->field == QUERY_AUTHORS) {
		packet_put_query_plain(out, q->nonce, q->field, q->field == QUERY_AUTHORS ? &q->subject : NULL);
	} else { /* nobody writes these yet */
		cbor_put_array(out, 4);
		cbor_put_uint(out, PACKET_QUERY);
		nonce_put(out, q->nonce);
		cbor_put_uint(out, q->field);
		bytes_put(out, q->arguments, q->arguments_size);
	}
}

static inline void kit_put_peer(struct cbor_reader *list, size_t *left, struct bytes *out)
{
	char text[ADDRESS_SIZE_MAX] = "";
	const char *address;
	struct id device;
	size_t size;

	if (!packet_next_peer(list, left, &address, &size, &device))
		abort();
	memcpy(text, address, size);
	packet_put_peer_item(out, text, &device);
}

static inline void kit_put_item(const struct page *page, struct cbor_reader *list, size_t *left, struct bytes *out)
{
	struct cbor_reader ahead = *list;
	struct record_item record;
	struct piece_item piece;
	const uint8_t *ranges;
	struct head head;
	struct id id;
	size_t size;

	if (page->field == QUERY_HEADS && cbor_get_array(&ahead, 1, 5) == 1) {
		if (!packet_next_ranges(list, left, &ranges, &size))
			abort();
		packet_put_ranges_item(out, ranges, size);
	} else if (page->field == QUERY_HEADS && packet_next_head(list, left, &head)) {
		packet_put_head_item(out, &head);
	} else if (page->field == QUERY_RECORDS && packet_next_record(list, left, &record)) {
		packet_put_record_item(out, &record);
	} else if (page->field == QUERY_PIECES && packet_next_piece(list, left, &piece)) {
		packet_put_piece_item(out, &piece);
	} else if (page->field == QUERY_AUTHORS && packet_next_id(list, left, &id)) {
		packet_put_id_item(out, &id);
	} else if (page->field == QUERY_PEERS) {
		kit_put_peer(list, left, out);
	} else {
		abort(); /* packet_read() let through what cannot be walked */
	}
}

/* The page's statement made anew, item by item, and signed by `key`. */
static inline void kit_put_page(const struct packet *p, const struct key *key, struct bytes *out)
{
	struct bytes items, statement;
	struct signature ignored;
	struct page page;

	bytes_init(&items, PACKET_SIZE_MAX);
	bytes_init(&statement, PACKET_SIZE_MAX);
	if (page_read(&page, p->statement.bytes, p->statement.size) < 0)
		abort();
	struct cbor_reader list = page.items;
	for (size_t left = page.item_count; left > 0;)
		kit_put_item(&page, &list, &left, &items);
	page.items_bytes = items.data;
	page.items_size = items.size;
	if (page_make(&page, key, &statement, &ignored) < 0)
		abort();
	packet_put_statement(out, p->kind, statement.data, statement.size, &p->statement.signature);
	bytes_finish(&items);
	bytes_finish(&statement);
}

static inline void kit_put_receipt(const struct packet *p, struct bytes *out)
{
	struct receipt receipt;
	struct bytes statement;

	bytes_init(&statement, RECEIPT_SIZE_MAX);
	if (receipt_read(&receipt, p->statement.bytes, p->statement.size) < 0)
		abort();
	receipt_put(&receipt, &statement);
	packet_put_statement(out, p->kind, statement.data, statement.size, &p->statement.signature);
	bytes_finish(&statement);
}

static inline void kit_put_push(const struct packet *p, struct bytes *out)
{
	struct record_item records[PUSH_RECORDS_MAX];
	struct piece_item pieces[PUSH_PIECES_MAX];
	struct cbor_reader list = p->push.records;
	size_t left = p->push.record_count;

	for (size_t i = 0; i < p->push.record_count; i++)
		if (!packet_next_record(&list, &left, &records[i]))
			abort();
	list = p->push.pieces;
	left = p->push.piece_count;
	for (size_t i = 0; i < p->push.piece_count; i++)
		if (!packet_next_push_piece(&list, &left, &pieces[i]))
			abort();
	packet_put_push(out, records, p->push.record_count, pieces, p->push.piece_count);
}

static inline void kit_put_notes(const struct packet *p, struct bytes *out)
{
	CLEANUP(cleanup_free) struct head *heads = calloc(p->note.count, sizeof *heads);
	struct cbor_reader list = p->note.list;
	size_t left = p->note.count;

	for (size_t i = 0; heads && i < p->note.count; i++)
		if (!packet_next_note(&list, &left, &heads[i]))
			abort();
	if (heads)
		packet_put_notes(out, heads, p->note.count);
}

/* key: whoever; only the statement is compared, the signature stays the packet's. */
static inline void kit_put_again(const struct packet *p, const struct key *key, struct bytes *out)
{
	switch (p->kind) {
	case PACKET_READY:
		kit_put_ready(p, out);
		break;
	case PACKET_QUERY:
		kit_put_query(&p->query, out);
		break;
	case PACKET_PAGE:
		kit_put_page(p, key, out);
		break;
	case PACKET_PUSH:
		kit_put_push(p, out);
		break;
	case PACKET_NOTE:
		kit_put_notes(p, out);
		break;
	case PACKET_GRAFT:
		packet_put_graft(out, &p->log.device, p->log.from);
		break;
	case PACKET_PRUNE:
		packet_put_prune(out, &p->log.device);
		break;
	case PACKET_FOLLOW:
		packet_put_follow(out, p->follow.bits, p->follow.size);
		break;
	case PACKET_THANKS:
	case PACKET_WELCOME:
		kit_put_receipt(p, out);
		break;
	case PACKET_PING:
	case PACKET_PONG:
		packet_put_ping(out, p->kind, p->token);
		break;
	case PACKET_COUNT:
		abort();
	}
}

#endif
