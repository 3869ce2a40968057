#include "record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record_body.h"

#define RECORD_VERSION 1
#define RECORD_ITEMS 8
#define RECORD_LABEL "mootfs record 1"
#define BODY_DEPTH_MAX 16 /* arrays in arrays of a body not known here; ours need 4 */

struct record *record_new(void)
{
	return calloc(1, sizeof(struct record));
}

static bool head_is_valid(const struct record *r)
{
	return !id_is_zero(&r->voucher) && r->seq <= NUMBER_MAX &&
	       id_is_zero(&r->prev) == (r->seq == 0) && r->time_ms <= NUMBER_MAX &&
	       r->field <= NUMBER_MAX;
}

/* Any array, well-formed. */
static void skip_body(struct cbor_reader *reader)
{
	struct cbor_reader ahead = *reader;

	cbor_get_array(&ahead, 0, RECORD_SIZE_MAX);
	if (ahead.failed)
		cbor_reader_fail(reader);
	cbor_skip(reader, BODY_DEPTH_MAX);
}

static int put_unknown_body(struct bytes *out, const struct record *r)
{
	struct cbor_reader reader;

	if (!r->body_bytes)
		return -EINVAL;
	cbor_reader_init(&reader, r->body_bytes, r->body_size);
	skip_body(&reader);
	if (cbor_reader_finish(&reader) < 0)
		return -EINVAL;
	bytes_put(out, r->body_bytes, r->body_size);
	return 0;
}

static void put_head(struct bytes *out, const struct record *r)
{
	cbor_put_array(out, RECORD_ITEMS);
	cbor_put_uint(out, RECORD_VERSION);
	cbor_put_id(out, &r->voucher);
	cbor_put_uint(out, r->seq);
	cbor_put_optional_id(out, &r->prev);
	cbor_put_uint(out, r->time_ms);
	cbor_put_bytes(out, r->nonce, sizeof(r->nonce));
	cbor_put_uint(out, r->field);
}

int record_encode(const struct record *r, struct bytes *out)
{
	const struct record_kind *kind = record_kind_find(r->field);
	size_t start = out->size;
	int err = 0;

	if (!head_is_valid(r) || (kind && !kind->valid(r)))
		return -EINVAL;

	put_head(out, r);
	if (kind)
		kind->put(out, r);
	else
		err = put_unknown_body(out, r);
	if (err == 0)
		err = bytes_error(out);
	if (err == 0 && out->size - start > RECORD_SIZE_MAX)
		err = -EMSGSIZE;
	if (err < 0)
		out->size = start;
	return err;
}

static void get_head(struct cbor_reader *reader, struct record *out)
{
	const uint8_t *nonce;
	size_t size;

	cbor_get_array(reader, RECORD_ITEMS, RECORD_ITEMS);
	if (cbor_get_uint(reader, RECORD_VERSION) != RECORD_VERSION)
		cbor_reader_fail(reader);
	cbor_get_id(reader, &out->voucher);
	out->seq = cbor_get_uint(reader, NUMBER_MAX);
	cbor_get_optional_id(reader, &out->prev);
	out->time_ms = cbor_get_uint(reader, NUMBER_MAX);
	nonce = cbor_get_bytes(reader, sizeof(out->nonce), sizeof(out->nonce), &size);
	if (nonce)
		memcpy(out->nonce, nonce, sizeof(out->nonce));
	out->field = cbor_get_uint(reader, NUMBER_MAX);
	if (!reader->failed && !head_is_valid(out))
		cbor_reader_fail(reader);
}

/* kind NULL: the body is walked over, not looked into. */
static void get_body(struct cbor_reader *reader, const struct record_kind *kind, struct record *out)
{
	out->body_bytes = reader->at;
	out->replaces_count = 0;
	if (!kind) {
		skip_body(reader);
	} else {
		kind->get(reader, out);
		if (!reader->failed && !kind->valid(out))
			cbor_reader_fail(reader);
	}
	if (!reader->failed)
		out->body_size = (size_t)(reader->at - out->body_bytes);
}

int record_decode(struct record *out, const uint8_t *bytes, size_t size)
{
	struct cbor_reader reader;

	if (size > RECORD_SIZE_MAX)
		return -EMSGSIZE;
	cbor_reader_init(&reader, bytes, size);
	get_head(&reader, out);
	if (!reader.failed)
		get_body(&reader, record_kind_find(out->field), out);
	return cbor_reader_finish(&reader);
}

int record_decode_head(struct record *out, const uint8_t *bytes, size_t size)
{
	struct cbor_reader reader;

	if (size > RECORD_SIZE_MAX)
		return -EMSGSIZE;
	cbor_reader_init(&reader, bytes, size);
	get_head(&reader, out);
	if (!reader.failed)
		get_body(&reader, NULL, out);
	return cbor_reader_finish(&reader);
}

int record_summary_section(const struct record *r, unsigned index, struct summary_section *out)
{
	struct cbor_reader reader;

	if (r->field != FIELD_SUMMARY || index >= SUMMARY_COUNT || !r->body_bytes)
		return -EINVAL;
	cbor_reader_init(&reader, r->body_bytes, r->body_size);
	cbor_get_array(&reader, SUMMARY_COUNT, SUMMARY_COUNT);
	for (unsigned i = 0; i < index; i++)
		cbor_skip(&reader, BODY_DEPTH_MAX);
	record_get_section(&reader, out);
	return reader.failed ? -EBADMSG : 0;
}

void record_id(struct id *out, const uint8_t *bytes, size_t size)
{
	id_of_bytes(out, bytes, size);
}

int record_sign(struct signature *out, const struct key *key, const struct id *record_id)
{
	return key_sign(out, key, RECORD_LABEL, record_id->bytes, sizeof(record_id->bytes));
}

int record_verify(const struct signature *signature, const struct id *voucher, const struct id *record_id)
{
	return key_verify(signature, voucher, RECORD_LABEL, record_id->bytes, sizeof(record_id->bytes));
}

size_t record_entries(const struct record *r, const struct entry **out_first)
{
	switch (r->field) {
	case FIELD_VERSION:
		*out_first = &r->version.entry;
		return 1;
	case FIELD_ENTRIES:
		*out_first = r->entries.entries;
		return r->entries.count;
	default: /* not an enum: a field may be any number */
		*out_first = NULL;
		return 0;
	}
}

const char *record_field_name(uint64_t field)
{
	const struct record_kind *kind = record_kind_find(field);

	return kind ? kind->name : "unknown";
}
