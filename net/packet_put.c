#include "packet.h"

#include <errno.h>
#include <string.h>

#include "packet_private.h"
#include "store_limits.h"

static void refuse(struct bytes *out, int error)
{
	if (!out->error)
		out->error = error;
}

/* Begins a packet; returns where, for end(). */
static size_t begin(struct bytes *out, enum packet_kind kind)
{
	size_t start = out->size;

	cbor_put_array(out, packet_item_count(kind));
	cbor_put_uint(out, kind);
	return start;
}

static void end(struct bytes *out, size_t start)
{
	if (out->size - start > PACKET_SIZE_MAX)
		refuse(out, -EMSGSIZE);
	if (bytes_error(out) < 0)
		out->size = start;
}

static void put_number(struct bytes *out, uint64_t value)
{
	if (value > NUMBER_MAX)
		refuse(out, -EINVAL);
	cbor_put_uint(out, value);
}

static void put_string(struct bytes *out, const void *data, size_t size, size_t size_min, size_t size_max)
{
	if (size < size_min || size > size_max)
		refuse(out, -EINVAL);
	else
		cbor_put_bytes(out, data, size);
}

static void put_address(struct bytes *out, const char *address, size_t size_min)
{
	size_t size = strlen(address);

	if (size < size_min || !packet_address_is_valid(address, size))
		refuse(out, -EINVAL);
	else
		cbor_put_text(out, address, size);
}

/* The head of a list; false: it has too few or too many items. */
static bool put_count(struct bytes *out, size_t count, size_t count_min, size_t count_max)
{
	if (count < count_min || count > count_max) {
		refuse(out, -EINVAL);
		return false;
	}
	cbor_put_array(out, count);
	return true;
}

static void put_ids(struct bytes *out, const struct id *ids, size_t count, size_t count_min, size_t count_max)
{
	if (!put_count(out, count, count_min, count_max))
		return;
	for (size_t i = 0; i < count; i++)
		cbor_put_id(out, &ids[i]);
}

void packet_put_ready(struct bytes *out, const struct id *person, const char *address, uint64_t follow_count,
		      uint64_t log_count)
{
	size_t start = begin(out, PACKET_READY);

	cbor_put_uint(out, READY_VERSION);
	cbor_put_id(out, person);
	put_address(out, address, 0);
	put_number(out, follow_count);
	put_number(out, log_count);
	end(out, start);
}

static size_t begin_query(struct bytes *out, uint64_t nonce, enum query_field field)
{
	size_t start = begin(out, PACKET_QUERY);

	nonce_put(out, nonce);
	cbor_put_uint(out, field);
	return start;
}

static size_t begin_query_heads(struct bytes *out, uint64_t nonce, enum heads_mode mode)
{
	size_t start = begin_query(out, nonce, QUERY_HEADS);

	cbor_put_array(out, 2);
	cbor_put_uint(out, mode);
	return start;
}

void packet_put_query_heads_of(struct bytes *out, uint64_t nonce, const struct id *entities, size_t count)
{
	size_t start = begin_query_heads(out, nonce, HEADS_OF);

	put_ids(out, entities, count, 0, NOTES_MAX);
	end(out, start);
}

void packet_put_query_heads_all(struct bytes *out, uint64_t nonce, const struct id *after)
{
	size_t start = begin_query_heads(out, nonce, HEADS_ALL);

	cbor_put_optional_id(out, after);
	end(out, start);
}

void packet_put_query_heads_ranges(struct bytes *out, uint64_t nonce, const void *ranges, size_t size)
{
	size_t start = begin_query_heads(out, nonce, HEADS_RANGES);

	put_string(out, ranges, size, 1, RECONCILE_MESSAGE_MAX);
	end(out, start);
}

void packet_put_query_records(struct bytes *out, uint64_t nonce, const struct id *device, uint64_t from, uint64_t to)
{
	size_t start = begin_query(out, nonce, QUERY_RECORDS);

	if (from > to)
		refuse(out, -EINVAL);
	cbor_put_array(out, 3);
	cbor_put_id(out, device);
	put_number(out, from);
	put_number(out, to);
	end(out, start);
}

void packet_put_query_pieces(struct bytes *out, uint64_t nonce, const struct id *names, size_t count)
{
	size_t start = begin_query(out, nonce, QUERY_PIECES);

	put_ids(out, names, count, 1, QUERY_PIECES_MAX);
	end(out, start);
}

void packet_put_query_plain(struct bytes *out, uint64_t nonce, enum query_field field, const struct id *subject)
{
	size_t start = begin_query(out, nonce, field);

	if (field != (subject ? QUERY_AUTHORS : QUERY_PEERS))
		refuse(out, -EINVAL);
	cbor_put_array(out, subject ? 1 : 0);
	if (subject)
		cbor_put_id(out, subject);
	end(out, start);
}

void packet_put_statement(struct bytes *out, enum packet_kind kind, const void *bytes, size_t size,
			  const struct signature *signature)
{
	struct receipt receipt;
	bool valid = kind == PACKET_PAGE ? packet_page_is_valid(bytes, size) :
		     (kind == PACKET_THANKS || kind == PACKET_WELCOME) && receipt_read(&receipt, bytes, size) == 0;

	if (!valid) {
		refuse(out, -EINVAL);
		return;
	}

	size_t start = begin(out, kind);
	cbor_put_bytes(out, bytes, size);
	cbor_put_bytes(out, signature->bytes, sizeof signature->bytes);
	end(out, start);
}

void packet_put_push(struct bytes *out, const struct record_item *records, size_t record_count,
		     const struct piece_item *pieces, size_t piece_count)
{
	size_t start = begin(out, PACKET_PUSH);

	if (put_count(out, record_count, 1, PUSH_RECORDS_MAX))
		for (size_t i = 0; i < record_count; i++)
			packet_put_record_item(out, &records[i]);
	if (put_count(out, piece_count, 0, PUSH_PIECES_MAX))
		for (size_t i = 0; i < piece_count; i++)
			put_string(out, pieces[i].bytes, pieces[i].size, 1, PIECE_STORED_MAX);
	end(out, start);
}

void packet_put_notes(struct bytes *out, const struct head *heads, size_t count)
{
	size_t start = begin(out, PACKET_NOTE);

	if (put_count(out, count, 1, NOTES_MAX)) {
		for (size_t i = 0; i < count; i++) {
			cbor_put_array(out, 3);
			cbor_put_id(out, &heads[i].device);
			put_number(out, heads[i].seq);
			cbor_put_id(out, &heads[i].record);
		}
	}
	end(out, start);
}

void packet_put_graft(struct bytes *out, const struct id *device, uint64_t from)
{
	size_t start = begin(out, PACKET_GRAFT);

	cbor_put_id(out, device);
	put_number(out, from);
	end(out, start);
}

void packet_put_prune(struct bytes *out, const struct id *device)
{
	size_t start = begin(out, PACKET_PRUNE);

	cbor_put_id(out, device);
	end(out, start);
}

void packet_put_follow(struct bytes *out, const void *bits, size_t size)
{
	size_t start = begin(out, PACKET_FOLLOW);

	put_string(out, bits, size, FOLLOW_SIZE_MIN, FOLLOW_SIZE_MAX);
	end(out, start);
}

void packet_put_ping(struct bytes *out, enum packet_kind kind, uint64_t token)
{
	if (kind != PACKET_PING && kind != PACKET_PONG) {
		refuse(out, -EINVAL);
		return;
	}

	size_t start = begin(out, kind);
	nonce_put(out, token);
	end(out, start);
}

/* ---- items of pages ---- */

void packet_put_head_item(struct bytes *out, const struct head *head)
{
	if (head->seq > NUMBER_MAX || head->records > NUMBER_MAX) {
		refuse(out, -EINVAL);
		return;
	}
	cbor_put_array(out, HEAD_ITEMS);
	cbor_put_id(out, &head->device);
	cbor_put_id(out, &head->person);
	cbor_put_uint(out, head->seq);
	cbor_put_id(out, &head->record);
	cbor_put_uint(out, head->records);
}

void packet_put_record_item(struct bytes *out, const struct record_item *item)
{
	if (item->size == 0 || item->size > RECORD_SIZE_MAX) {
		refuse(out, -EINVAL);
		return;
	}
	cbor_put_array(out, 2);
	cbor_put_bytes(out, item->bytes, item->size);
	cbor_put_bytes(out, item->signature.bytes, item->is_signed ? sizeof item->signature.bytes : 0);
}

void packet_put_piece_item(struct bytes *out, const struct piece_item *item)
{
	if (item->size > PIECE_STORED_MAX) {
		refuse(out, -EINVAL);
		return;
	}
	cbor_put_array(out, 2);
	cbor_put_id(out, &item->name);
	cbor_put_bytes(out, item->bytes, item->size);
}

void packet_put_peer_item(struct bytes *out, const char *address, const struct id *device)
{
	size_t start = out->size;

	cbor_put_array(out, 2);
	put_address(out, address, 1);
	cbor_put_id(out, device);
	end(out, start);
}

void packet_put_id_item(struct bytes *out, const struct id *id)
{
	cbor_put_array(out, 1);
	cbor_put_id(out, id);
}

void packet_put_ranges_item(struct bytes *out, const void *ranges, size_t size)
{
	size_t start = out->size;

	cbor_put_array(out, 1);
	put_string(out, ranges, size, 1, RECONCILE_MESSAGE_MAX);
	end(out, start);
}
