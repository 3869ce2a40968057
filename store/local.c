/*
 * local.c - local facts: what this machine alone knows, newest value by key.
 *
 * TABLE_LOCAL [kind, key] -> [place u64, value]: the place tells compaction which entry is the live one.
 */
#include <errno.h>
#include <string.h>

#include "cbor.h"
#include "store_private.h"

#define KEY_MAX 500   /* LMDB's own limit is 511 */
#define PLACE_SIZE 8

static int local_key(uint8_t out[1 + KEY_MAX], enum local_kind kind, const void *key, size_t key_size)
{
	if (key_size > KEY_MAX)
		return -EMSGSIZE;
	out[0] = (uint8_t)kind;
	memcpy(out + 1, key, key_size);
	return 0;
}

static int row_put(struct store_txn *txn, enum local_kind kind, const void *key, size_t key_size,
		   const void *value, size_t value_size, journal_place place)
{
	uint8_t full[1 + KEY_MAX];
	struct bytes row;

	int err = local_key(full, kind, key, key_size);
	if (err < 0)
		return err;
	if (value_size == 0)
		return index_delete(txn->index, TABLE_LOCAL, full, 1 + key_size);
	bytes_init(&row, JOURNAL_ENTRY_MAX);
	bytes_put_u64(&row, place);
	bytes_put(&row, value, value_size);
	err = bytes_error(&row);
	if (err == 0)
		err = index_put(txn->index, TABLE_LOCAL, full, 1 + key_size, row.data, row.size);
	bytes_finish(&row);
	return err;
}

int store_local_get(struct store_txn *txn, enum local_kind kind, const void *key, size_t key_size,
		    const uint8_t **out_value, size_t *out_size)
{
	uint8_t full[1 + KEY_MAX];
	const uint8_t *value;
	size_t size;

	int err = local_key(full, kind, key, key_size);
	if (err == 0)
		err = index_get(txn->index, TABLE_LOCAL, full, 1 + key_size, &value, &size);
	if (err < 0)
		return err;
	if (size < PLACE_SIZE)
		return -EBADMSG;
	*out_value = value + PLACE_SIZE;
	*out_size = size - PLACE_SIZE;
	return 0;
}

int local_encode(struct bytes *out, enum local_kind kind, const void *key, size_t key_size,
		 const void *value, size_t value_size)
{
	bytes_init(out, JOURNAL_ENTRY_MAX);
	if (key_size > KEY_MAX)
		return -EMSGSIZE;
	cbor_put_array(out, 3);
	cbor_put_uint(out, kind);
	cbor_put_bytes(out, key, key_size);
	cbor_put_bytes(out, value, value_size);
	return bytes_error(out);
}

int store_local_put(struct store_txn *txn, enum local_kind kind, const void *key, size_t key_size,
		    const void *value, size_t value_size)
{
	struct bytes body;
	journal_place place;

	int err = local_encode(&body, kind, key, key_size, value, value_size);
	const struct span span = { body.data, body.size };
	if (err == 0)
		err = store_append(txn, KIND_LOCAL, &span, 1, &place);
	if (err == 0)
		err = row_put(txn, kind, key, key_size, value, value_size, place);
	bytes_finish(&body);
	return err;
}

int local_apply(struct store_txn *txn, const uint8_t *bytes, size_t size, journal_place place)
{
	struct cbor_reader r;
	size_t key_size, value_size;

	cbor_reader_init(&r, bytes, size);
	cbor_get_array(&r, 3, 3);
	uint64_t kind = cbor_get_uint(&r, UINT8_MAX);
	const uint8_t *key = cbor_get_bytes(&r, 0, KEY_MAX, &key_size);
	const uint8_t *value = cbor_get_bytes(&r, 0, JOURNAL_ENTRY_MAX, &value_size);
	int err = cbor_reader_finish(&r);
	if (err < 0)
		return err;
	return row_put(txn, (enum local_kind)kind, key, key_size, value, value_size, place);
}

int store_local_range(struct store_txn *txn, enum local_kind kind, const void *prefix,
		      size_t prefix_size, struct index_range *out)
{
	uint8_t full[1 + KEY_MAX];

	int err = local_key(full, kind, prefix, prefix_size);
	return err < 0 ? err : index_range_open(out, txn->index, TABLE_LOCAL, full, 1 + prefix_size);
}

void store_local_row(const struct index_range *range, const uint8_t **out_key, size_t *out_key_size,
		     const uint8_t **out_value, size_t *out_value_size)
{
	bool whole = range->key_size >= 1 && range->value_size >= PLACE_SIZE;

	*out_key = range->key + 1;
	*out_key_size = whole ? range->key_size - 1 : 0;
	*out_value = range->value + PLACE_SIZE;
	*out_value_size = whole ? range->value_size - PLACE_SIZE : 0;
}
