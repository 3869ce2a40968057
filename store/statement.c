#include "statement.h"

#include <errno.h>
#include <string.h>

#include "store_limits.h"

#define PAGE_LABEL "mootfs page 1"
#define THANKS_LABEL "mootfs thanks 1"
#define WELCOME_LABEL "mootfs welcome 1"

#define PAGE_FIELDS 9
#define RECEIPT_FIELDS 10
#define NONCE_SIZE 8
#define ITEM_DEPTH_MAX 4 /* arrays in arrays of an item; those of today are flat */

void nonce_put(struct bytes *out, uint64_t nonce)
{
	uint8_t string[NONCE_SIZE];

	for (unsigned i = 0; i < NONCE_SIZE; i++)
		string[i] = (uint8_t)(nonce >> (8 * i));
	cbor_put_bytes(out, string, sizeof string);
}

uint64_t nonce_get(struct cbor_reader *r)
{
	size_t size;
	const uint8_t *string = cbor_get_bytes(r, NONCE_SIZE, NONCE_SIZE, &size);
	uint64_t nonce = 0;

	for (unsigned i = 0; string && i < NONCE_SIZE; i++)
		nonce |= (uint64_t)string[i] << (8 * i);
	return nonce;
}

static int sign(struct signature *out, const struct key *key, const char *label, const uint8_t *bytes, size_t size)
{
	struct id hash;

	id_of_bytes(&hash, bytes, size);
	return key_sign(out, key, label, hash.bytes, sizeof hash.bytes);
}

static int verify(const struct signature *signature, const struct id *signer, const char *label,
		  const uint8_t *bytes, size_t size)
{
	struct id hash;

	id_of_bytes(&hash, bytes, size);
	return key_verify(signature, signer, label, hash.bytes, sizeof hash.bytes);
}

/* ---- pages ---- */

static bool page_is_valid(const struct page *p)
{
	return p->count <= NUMBER_MAX && p->offset <= p->count && p->item_count <= p->count - p->offset &&
	       p->time_ms <= NUMBER_MAX && p->field < QUERY_FIELD_COUNT && p->order <= ORDER_ASKED &&
	       p->head_seq <= NUMBER_MAX && (p->head_seq == 0 || !id_is_zero(&p->head));
}

/* Walks over `count` items, each an array. */
static void skip_items(struct cbor_reader *r, size_t count)
{
	for (size_t i = 0; i < count && !r->failed; i++) {
		struct cbor_reader ahead = *r;

		cbor_get_array(&ahead, 0, SIZE_MAX);
		if (ahead.failed)
			cbor_reader_fail(r);
		cbor_skip(r, ITEM_DEPTH_MAX);
	}
}

static bool items_are_valid(const struct page *p)
{
	struct cbor_reader r;

	cbor_reader_init(&r, p->items_bytes, p->items_size);
	skip_items(&r, p->item_count);
	return cbor_reader_finish(&r) == 0;
}

static void page_put(const struct page *p, struct bytes *out)
{
	cbor_put_array(out, PAGE_FIELDS);
	nonce_put(out, p->nonce);
	cbor_put_uint(out, p->count);
	cbor_put_uint(out, p->offset);
	cbor_put_uint(out, p->time_ms);
	cbor_put_uint(out, p->field);
	cbor_put_uint(out, p->order);
	cbor_put_array(out, 2);
	cbor_put_uint(out, p->head_seq);
	cbor_put_optional_id(out, &p->head);
	cbor_put_id(out, &p->cb);
	cbor_put_array(out, p->item_count);
	bytes_put(out, p->items_bytes, p->items_size);
}

int page_make(const struct page *page, const struct key *key, struct bytes *out, struct signature *out_signature)
{
	size_t start = out->size;

	if (!page_is_valid(page) || !items_are_valid(page))
		return -EINVAL;

	page_put(page, out);
	int err = bytes_error(out);
	if (err == 0 && out->size - start > PAGE_STATEMENT_MAX)
		err = -EMSGSIZE;
	if (err == 0)
		err = sign(out_signature, key, PAGE_LABEL, out->data + start, out->size - start);
	if (err < 0)
		out->size = start;
	return err;
}

static void get_items(struct cbor_reader *r, struct page *out)
{
	out->item_count = cbor_get_array(r, 0, PAGE_STATEMENT_MAX);
	out->items = *r;
	out->items_bytes = r->at;
	skip_items(r, out->item_count);
	out->items_size = (size_t)(r->at - out->items_bytes);
	out->items.left = out->items_size;
}

int page_read(struct page *out, const uint8_t *bytes, size_t size)
{
	struct cbor_reader r;

	if (size > PAGE_STATEMENT_MAX)
		return -EBADMSG;
	cbor_reader_init(&r, bytes, size);
	cbor_get_array(&r, PAGE_FIELDS, PAGE_FIELDS);
	out->nonce = nonce_get(&r);
	out->count = cbor_get_uint(&r, NUMBER_MAX);
	out->offset = cbor_get_uint(&r, NUMBER_MAX);
	out->time_ms = cbor_get_uint(&r, NUMBER_MAX);
	out->field = (enum query_field)cbor_get_uint(&r, QUERY_FIELD_COUNT - 1);
	out->order = (enum page_order)cbor_get_uint(&r, ORDER_ASKED);
	cbor_get_array(&r, 2, 2);
	out->head_seq = cbor_get_uint(&r, NUMBER_MAX);
	cbor_get_optional_id(&r, &out->head);
	cbor_get_id(&r, &out->cb);
	get_items(&r, out);
	if (!r.failed && !page_is_valid(out))
		cbor_reader_fail(&r);
	return cbor_reader_finish(&r);
}

int page_verify(const struct id *signer, const uint8_t *bytes, size_t size, const struct signature *signature)
{
	return verify(signature, signer, PAGE_LABEL, bytes, size);
}

/* ---- receipts ---- */

static bool receipt_is_valid(const struct receipt *r)
{
	return r->number <= NUMBER_MAX && r->time_ms <= NUMBER_MAX && r->bytes <= NUMBER_MAX &&
	       r->pieces <= NUMBER_MAX && r->records <= NUMBER_MAX && r->took_ms <= NUMBER_MAX &&
	       r->welcome <= WELCOME_MAX;
}

void receipt_put(const struct receipt *r, struct bytes *out)
{
	if (!receipt_is_valid(r)) {
		if (!out->error)
			out->error = -EINVAL;
		return;
	}
	cbor_put_array(out, RECEIPT_FIELDS);
	cbor_put_id(out, &r->client);
	cbor_put_id(out, &r->server);
	cbor_put_id(out, &r->cb);
	cbor_put_uint(out, r->number);
	cbor_put_uint(out, r->time_ms);
	cbor_put_uint(out, r->bytes);
	cbor_put_uint(out, r->pieces);
	cbor_put_uint(out, r->records);
	cbor_put_uint(out, r->took_ms);
	cbor_put_uint(out, r->welcome);
}

int receipt_read(struct receipt *out, const uint8_t *bytes, size_t size)
{
	struct cbor_reader r;

	cbor_reader_init(&r, bytes, size);
	cbor_get_array(&r, RECEIPT_FIELDS, RECEIPT_FIELDS);
	cbor_get_id(&r, &out->client);
	cbor_get_id(&r, &out->server);
	cbor_get_id(&r, &out->cb);
	out->number = cbor_get_uint(&r, NUMBER_MAX);
	out->time_ms = cbor_get_uint(&r, NUMBER_MAX);
	out->bytes = cbor_get_uint(&r, NUMBER_MAX);
	out->pieces = cbor_get_uint(&r, NUMBER_MAX);
	out->records = cbor_get_uint(&r, NUMBER_MAX);
	out->took_ms = cbor_get_uint(&r, NUMBER_MAX);
	out->welcome = cbor_get_uint(&r, WELCOME_MAX);
	return cbor_reader_finish(&r);
}

int receipt_sign(struct signature *out, const struct key *key, bool thanks, const uint8_t *bytes, size_t size)
{
	return sign(out, key, thanks ? THANKS_LABEL : WELCOME_LABEL, bytes, size);
}

int receipt_verify(const struct signature *signature, const struct id *signer, bool thanks,
		   const uint8_t *bytes, size_t size)
{
	return verify(signature, signer, thanks ? THANKS_LABEL : WELCOME_LABEL, bytes, size);
}
