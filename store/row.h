/*
 * row.h - building keys and small values of index rows.
 *
 * Numbers in keys are big-endian, so that they sort; in values little-endian,
 * read back with wire.h.  A name inside a key ends with NUL, which no name
 * contains, so that one name's rows are never among another's.
 */
#ifndef ROW_H
#define ROW_H

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "id.h"
#include "index.h"
#include "store.h"
#include "wire.h"

#define ROW_SIZE_MAX 511 /* LMDB's limit of a key */

struct row {
	uint8_t data[ROW_SIZE_MAX];
	size_t size;
};

static inline void row_bytes(struct row *r, const void *bytes, size_t size)
{
	assert(size <= sizeof(r->data) - r->size);
	memcpy(r->data + r->size, bytes, size);
	r->size += size;
}

static inline void row_u8(struct row *r, uint8_t value)
{
	row_bytes(r, &value, 1);
}

static inline void row_u32(struct row *r, uint32_t value)
{
	value = htole32(value);
	row_bytes(r, &value, sizeof(value));
}

static inline void row_u64(struct row *r, uint64_t value)
{
	value = htole64(value);
	row_bytes(r, &value, sizeof(value));
}

static inline void row_u16_be(struct row *r, uint16_t value)
{
	value = htobe16(value);
	row_bytes(r, &value, sizeof(value));
}

static inline void row_u32_be(struct row *r, uint32_t value)
{
	value = htobe32(value);
	row_bytes(r, &value, sizeof(value));
}

static inline void row_u64_be(struct row *r, uint64_t value)
{
	value = htobe64(value);
	row_bytes(r, &value, sizeof(value));
}

static inline void row_id(struct row *r, const struct id *id)
{
	row_bytes(r, id->bytes, ID_SIZE);
}

static inline void row_name(struct row *r, const char *name, size_t size)
{
	row_bytes(r, name, size);
	row_u8(r, 0);
}

/*
 * Called, not inlined: a call fills the caller's row where it stands, while what is inlined is copied
 * whole, and initialised it would be zeroed whole; either costs more than the rest.
 */
#define ROW_CALLED __attribute__((noinline, unused)) static

ROW_CALLED struct row row_none(void)
{
	struct row r;

	r.size = 0;
	return r;
}

/* A key that begins with these numbers. */
ROW_CALLED struct row row_of(uint64_t a)
{
	struct row r;

	r.size = 0;
	row_u64_be(&r, a);
	return r;
}

ROW_CALLED struct row row_of2(uint64_t a, uint64_t b)
{
	struct row r;

	r.size = 0;
	row_u64_be(&r, a);
	row_u64_be(&r, b);
	return r;
}

ROW_CALLED struct row row_of3(uint64_t a, uint64_t b, uint64_t c)
{
	struct row r;

	r.size = 0;
	row_u64_be(&r, a);
	row_u64_be(&r, b);
	row_u64_be(&r, c);
	return r;
}

static inline int row_put(struct store_txn *txn, enum table table, const struct row *key, const struct row *value)
{
	return index_put(store_index(txn), table, key->data, key->size, value ? value->data : NULL,
			 value ? value->size : 0);
}

static inline int row_delete(struct store_txn *txn, enum table table, const struct row *key)
{
	return index_delete(store_index(txn), table, key->data, key->size);
}

static inline int row_delete_prefix(struct store_txn *txn, enum table table, const struct row *prefix)
{
	return index_delete_prefix(store_index(txn), table, prefix->data, prefix->size);
}

/* 0 with a reader over the value, or -ENOENT. */
static inline int row_get(struct store_txn *txn, enum table table, const struct row *key, struct wire *out)
{
	const uint8_t *value;
	size_t size;

	int err = index_get(store_index(txn), table, key->data, key->size, &value, &size);
	if (err == 0)
		wire_init(out, value, size);
	return err;
}

static inline int row_range(struct store_txn *txn, enum table table, const struct row *prefix, struct index_range *out)
{
	return index_range_open(out, store_index(txn), table, prefix->data, prefix->size);
}

/* From the first row of the prefix at or after (backwards: the last at or before) a key. */
static inline int row_range_at(struct store_txn *txn, enum table table, size_t prefix_size, const struct row *key,
			       bool backwards, struct index_range *out)
{
	return index_range_open_at(out, store_index(txn), table, key->data, prefix_size, key->data, key->size,
				   backwards);
}

#endif
