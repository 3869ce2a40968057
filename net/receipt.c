#include "receipt.h"

#include <errno.h>
#include <string.h>

#include "packet.h"

#define STATEMENT_MAX 512 /* bytes: three ids and seven numbers */

void receipts_init(struct receipts *r)
{
	*r = (struct receipts){ 0 };
	bytes_init(&r->pending, STATEMENT_MAX);
}

void receipts_finish(struct receipts *r)
{
	bytes_finish(&r->pending);
}

static uint64_t count_present(const struct page *page)
{
	struct cbor_reader items = page->items;
	struct piece_item piece;
	size_t left = page->item_count;
	uint64_t present = 0;

	while (packet_next_piece(&items, &left, &piece))
		present += piece.size > 0;
	return present;
}

void receipt_weigh(struct receipt_amount *out, const uint8_t *bytes, size_t size)
{
	struct page page;

	*out = (struct receipt_amount){ 0 };
	if (page_read(&page, bytes, size) < 0 || (page.field != QUERY_RECORDS && page.field != QUERY_PIECES))
		return;
	out->bytes = size;
	if (page.field == QUERY_RECORDS)
		out->records = page.item_count;
	else
		out->pieces = count_present(&page);
}

void receipt_add(struct receipt_amount *to, const struct receipt_amount *amount)
{
	to->bytes += amount->bytes;
	to->pieces += amount->pieces;
	to->records += amount->records;
}

bool receipts_due(const struct receipts *r)
{
	return r->got.bytes >= RECEIPT_BYTES || r->got.pieces >= RECEIPT_PIECES;
}

bool receipts_wait(const struct receipts *r)
{
	return r->served.bytes >= RECEIPTS_OUTSTANDING_MAX * RECEIPT_BYTES ||
	       r->served.pieces >= RECEIPTS_OUTSTANDING_MAX * RECEIPT_PIECES;
}

int receipts_thank(struct receipts *r, const struct receipt_ends *ends)
{
	struct receipt receipt = {
		.client = ends->key->public, .server = ends->peer, .cb = ends->cb,
		.number = r->thanked, .time_ms = ends->time_ms,
		.bytes = r->got.bytes, .pieces = r->got.pieces, .records = r->got.records,
		.took_ms = r->got_from_ms && ends->now_ms > r->got_from_ms ? ends->now_ms - r->got_from_ms : 0,
		.welcome = ends->welcome,
	};

	bytes_clear(&r->pending);
	receipt_put(&receipt, &r->pending);
	int err = bytes_error(&r->pending);
	if (err == 0)
		err = receipt_sign(&r->pending_signature, ends->key, true, r->pending.data, r->pending.size);
	if (err < 0) {
		bytes_clear(&r->pending);
		return err;
	}
	r->thanked++;
	r->got = (struct receipt_amount){ 0 };
	r->got_from_ms = 0;
	return 0;
}

static bool amount_within(const struct receipt *receipt, const struct receipt_amount *served)
{
	return receipt->bytes <= served->bytes && receipt->pieces <= served->pieces &&
	       receipt->records <= served->records;
}

int receipts_take_thanks(struct receipts *r, const struct receipt_ends *ends, const uint8_t *bytes, size_t size,
			 const struct signature *signature, struct receipt_pair *out_pair)
{
	struct receipt receipt;

	if (receipt_read(&receipt, bytes, size) < 0)
		return -EBADMSG;
	if (!id_equal(&receipt.client, &ends->peer) || !id_equal(&receipt.server, &ends->key->public) ||
	    !id_equal(&receipt.cb, &ends->cb) || receipt.number != r->welcomed || !amount_within(&receipt, &r->served))
		return -EPROTO;
	int err = receipt_verify(signature, &ends->peer, true, bytes, size);
	if (err < 0)
		return err;
	struct receipt_pair pair = { .bytes = bytes, .size = size, .thanks = *signature };
	err = receipt_sign(&pair.welcome, ends->key, false, bytes, size);
	if (err < 0)
		return err;
	r->welcomed++;
	r->served.bytes -= receipt.bytes;
	r->served.pieces -= receipt.pieces;
	r->served.records -= receipt.records;
	*out_pair = pair;
	return 0;
}

int receipts_take_welcome(struct receipts *r, const struct receipt_ends *ends, const uint8_t *bytes, size_t size,
			  const struct signature *signature, struct receipt_pair *out_pair)
{
	struct receipt receipt;

	if (receipt_read(&receipt, bytes, size) < 0)
		return -EBADMSG;
	if (!id_equal(&receipt.client, &ends->key->public) || !id_equal(&receipt.cb, &ends->cb) ||
	    receipt.number >= r->thanked)
		return -EPROTO;
	/* The welcome of an older thanks was overtaken: the newer pair is worth more. */
	if (size != r->pending.size || memcmp(bytes, r->pending.data, size) != 0)
		return receipt.number + 1 < r->thanked ? -EAGAIN : -EPROTO;
	int err = receipt_verify(signature, &ends->peer, false, bytes, size);
	if (err < 0)
		return err;
	*out_pair = (struct receipt_pair){ bytes, size, r->pending_signature, *signature };
	bytes_clear(&r->pending);
	return 0;
}

void receipt_memory_key(uint8_t out[RECEIPT_KEY_SIZE], const struct id *peer, bool client)
{
	memcpy(out, "receipt", 8);
	memcpy(out + 8, peer->bytes, ID_SIZE);
	out[8 + ID_SIZE] = client ? 'c' : 's';
}

void receipt_memory_put(struct bytes *out, const struct receipt_pair *pair)
{
	cbor_put_array(out, 3);
	cbor_put_bytes(out, pair->bytes, pair->size);
	cbor_put_bytes(out, pair->thanks.bytes, sizeof(pair->thanks.bytes));
	cbor_put_bytes(out, pair->welcome.bytes, sizeof(pair->welcome.bytes));
}
