/* packet_samples.h - one packet of each kind and shape, and what they are made of. After cmocka.h; make `key` first. */
#ifndef PACKET_SAMPLES_H
#define PACKET_SAMPLES_H

#include "packet_kit.h"
#include "store_limits.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define NONCE 0x0102030405060708

static struct key key;

static void fixed_random(void *context, uint8_t *out, size_t size)
{
	memset(out, 1, size);
}

static struct id id_of(uint8_t byte)
{
	struct id id;

	memset(id.bytes, byte, sizeof id.bytes);
	return id;
}

static struct head head_of(uint8_t byte)
{
	return (struct head){ .device = id_of(byte), .person = id_of(100), .seq = byte, .record = id_of(101), .records = 300 };
}

static struct signature signature_of(uint8_t byte)
{
	struct signature signature;

	memset(signature.bytes, byte, sizeof signature.bytes);
	return signature;
}

/* ---- samples: one of each kind and shape ---- */

static void put_ready(struct bytes *out)
{
	struct id person = id_of(1);

	packet_put_ready(out, &person, "[2001:db8::1]:4040", 3, 70000);
}

static void put_ready_nowhere(struct bytes *out)
{
	struct id person = id_of(1);

	packet_put_ready(out, &person, "", 0, NUMBER_MAX);
}

static void put_heads_of(struct bytes *out)
{
	struct id ids[] = { id_of(1), id_of(2) };

	packet_put_query_heads_of(out, NONCE, ids, 2);
}

static void put_heads_of_none(struct bytes *out)
{
	packet_put_query_heads_of(out, UINT64_MAX, NULL, 0);
}

static void put_heads_all(struct bytes *out)
{
	struct id after = id_of(4);

	packet_put_query_heads_all(out, NONCE, &after);
}

static void put_heads_first(struct bytes *out)
{
	struct id zero = id_of(0);

	packet_put_query_heads_all(out, NONCE, &zero);
}

static void put_heads_ranges(struct bytes *out)
{
	packet_put_query_heads_ranges(out, NONCE, "ranges", 6);
}

static void put_query_records(struct bytes *out)
{
	struct id device = id_of(1);

	packet_put_query_records(out, NONCE, &device, 0, NUMBER_MAX);
}

static void put_query_pieces(struct bytes *out)
{
	struct id names[] = { id_of(9), id_of(8), id_of(9) };

	packet_put_query_pieces(out, NONCE, names, 3);
}

static void put_query_peers(struct bytes *out)
{
	packet_put_query_plain(out, NONCE, QUERY_PEERS, NULL);
}

static void put_query_authors(struct bytes *out)
{
	struct id document = id_of(5);

	packet_put_query_plain(out, NONCE, QUERY_AUTHORS, &document);
}

static void put_query_later(struct bytes *out)
{
	cbor_put_array(out, 4);
	cbor_put_uint(out, PACKET_QUERY);
	nonce_put(out, NONCE);
	cbor_put_uint(out, QUERY_SEARCH);
	cbor_put_array(out, 2);
	cbor_put_text(out, "words", 5);
	cbor_put_array(out, 0);
}

static void put_page(struct bytes *out, enum query_field field, const struct bytes *items, size_t count)
{
	struct page page = { .nonce = NONCE, .count = count, .field = field, .items_bytes = items->data,
			     .items_size = items->size, .item_count = count };
	struct signature signature;
	struct bytes statement;

	bytes_init(&statement, PAGE_STATEMENT_MAX);
	assert_int_equal(bytes_error(items), 0);
	assert_int_equal(page_make(&page, &key, &statement, &signature), 0);
	packet_put_statement(out, PACKET_PAGE, statement.data, statement.size, &signature);
	bytes_finish(&statement);
}

static void put_page_empty(struct bytes *out)
{
	struct bytes items;

	bytes_init(&items, 0);
	put_page(out, QUERY_SEARCH, &items, 0);
}

static void put_page_heads(struct bytes *out)
{
	struct head heads[] = { head_of(1), head_of(2) };
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_head_item(&items, &heads[0]);
	packet_put_head_item(&items, &heads[1]);
	put_page(out, QUERY_HEADS, &items, 2);
	bytes_finish(&items);
}

static void put_page_ranges(struct bytes *out)
{
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_ranges_item(&items, "\x01\x02", 2);
	put_page(out, QUERY_HEADS, &items, 1);
	bytes_finish(&items);
}

static void put_page_records(struct bytes *out)
{
	struct record_item records[] = { { .bytes = (const uint8_t *)"a", .size = 1 },
					 { .bytes = (const uint8_t *)"bc", .size = 2, .is_signed = true,
					   .signature = signature_of(3) } };
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_record_item(&items, &records[0]);
	packet_put_record_item(&items, &records[1]);
	put_page(out, QUERY_RECORDS, &items, 2);
	bytes_finish(&items);
}

static void put_page_pieces(struct bytes *out)
{
	struct piece_item pieces[] = { { .name = id_of(1), .bytes = (const uint8_t *)"member", .size = 6 },
				       { .name = id_of(2) } };
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_piece_item(&items, &pieces[0]);
	packet_put_piece_item(&items, &pieces[1]);
	put_page(out, QUERY_PIECES, &items, 2);
	bytes_finish(&items);
}

static void put_page_peers(struct bytes *out)
{
	struct id device = id_of(1);
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_peer_item(&items, "example.org:4040", &device);
	packet_put_peer_item(&items, "192.0.2.1:1", &device);
	put_page(out, QUERY_PEERS, &items, 2);
	bytes_finish(&items);
}

static void put_page_authors(struct bytes *out)
{
	struct id person = id_of(1);
	struct bytes items;

	bytes_init(&items, PACKET_SIZE_MAX);
	packet_put_id_item(&items, &person);
	put_page(out, QUERY_AUTHORS, &items, 1);
	bytes_finish(&items);
}

static void put_push(struct bytes *out)
{
	struct record_item records[] = { { .bytes = (const uint8_t *)"a", .size = 1 },
					 { .bytes = (const uint8_t *)"bc", .size = 2, .is_signed = true,
					   .signature = signature_of(3) } };
	struct piece_item pieces[] = { { .bytes = (const uint8_t *)"member", .size = 6 },
				       { .bytes = (const uint8_t *)"z", .size = 1 } };

	packet_put_push(out, records, 2, pieces, 2);
}

static void put_notes(struct bytes *out)
{
	struct head heads[] = { head_of(1), head_of(2), head_of(30) };

	packet_put_notes(out, heads, 3);
}

static void put_graft(struct bytes *out)
{
	struct id device = id_of(1);

	packet_put_graft(out, &device, 1000);
}

static void put_prune(struct bytes *out)
{
	struct id device = id_of(1);

	packet_put_prune(out, &device);
}

static void put_follow(struct bytes *out)
{
	uint8_t bits[FOLLOW_SIZE_MIN] = { 1, 2, 0xff };

	packet_put_follow(out, bits, sizeof bits);
}

static void put_receipt(struct bytes *out, enum packet_kind kind)
{
	struct receipt receipt = { .client = id_of(1), .server = id_of(2), .cb = id_of(3), .number = 4,
				   .time_ms = 1700000000000, .bytes = 5, .welcome = WELCOME_MAX };
	struct signature signature = signature_of(9);
	struct bytes statement;

	bytes_init(&statement, RECEIPT_SIZE_MAX);
	receipt_put(&receipt, &statement);
	packet_put_statement(out, kind, statement.data, statement.size, &signature);
	bytes_finish(&statement);
}

static void put_thanks(struct bytes *out) { put_receipt(out, PACKET_THANKS); }
static void put_welcome(struct bytes *out) { put_receipt(out, PACKET_WELCOME); }
static void put_ping(struct bytes *out) { packet_put_ping(out, PACKET_PING, NONCE); }
static void put_pong(struct bytes *out) { packet_put_ping(out, PACKET_PONG, UINT64_MAX); }

static const struct sample {
	const char *name;
	void (*put)(struct bytes *out);
	enum packet_kind kind;
} samples[] = {
	{ "ready", put_ready, PACKET_READY },
	{ "ready-nowhere", put_ready_nowhere, PACKET_READY },
	{ "heads-of", put_heads_of, PACKET_QUERY },
	{ "heads-of-none", put_heads_of_none, PACKET_QUERY },
	{ "heads-all", put_heads_all, PACKET_QUERY },
	{ "heads-first", put_heads_first, PACKET_QUERY },
	{ "heads-ranges", put_heads_ranges, PACKET_QUERY },
	{ "query-records", put_query_records, PACKET_QUERY },
	{ "query-pieces", put_query_pieces, PACKET_QUERY },
	{ "query-peers", put_query_peers, PACKET_QUERY },
	{ "query-authors", put_query_authors, PACKET_QUERY },
	{ "query-later", put_query_later, PACKET_QUERY },
	{ "page-empty", put_page_empty, PACKET_PAGE },
	{ "page-heads", put_page_heads, PACKET_PAGE },
	{ "page-ranges", put_page_ranges, PACKET_PAGE },
	{ "page-records", put_page_records, PACKET_PAGE },
	{ "page-pieces", put_page_pieces, PACKET_PAGE },
	{ "page-peers", put_page_peers, PACKET_PAGE },
	{ "page-authors", put_page_authors, PACKET_PAGE },
	{ "push", put_push, PACKET_PUSH },
	{ "notes", put_notes, PACKET_NOTE },
	{ "graft", put_graft, PACKET_GRAFT },
	{ "prune", put_prune, PACKET_PRUNE },
	{ "follow", put_follow, PACKET_FOLLOW },
	{ "thanks", put_thanks, PACKET_THANKS },
	{ "welcome", put_welcome, PACKET_WELCOME },
	{ "ping", put_ping, PACKET_PING },
	{ "pong", put_pong, PACKET_PONG },
};

#endif
