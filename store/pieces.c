/*
 * pieces.c - pieces in the journal and the index.
 *
 * TABLE_PIECE number -> [name 32, stored size u32, place u64]; TABLE_TEXT first 16 bytes of
 * the hash of the inflated bytes -> piece number, so that equal texts are kept once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#include "store_limits.h"
#include "store_private.h"
#include "wanted.h"
#include "wire.h"

#define TEXT_KEY_SIZE 16
/* Pieces waiting outside a transaction: enough to make one large write of them, small beside the memory promise. */
#define BATCH_SIZE_MAX (512 * 1024)

struct piece_row {
	struct id name;
	uint32_t stored_size;
	journal_place place;
};

static void number_be(uint8_t out[8], uint64_t number)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
}

static int row_get(struct store_txn *txn, uint64_t number, struct piece_row *out)
{
	uint8_t key[8];
	const uint8_t *value;
	size_t size;
	struct wire w;

	number_be(key, number);
	int err = index_get(txn->index, TABLE_PIECE, key, sizeof(key), &value, &size);
	if (err < 0)
		return err;
	wire_init(&w, value, size);
	wire_id(&w, &out->name);
	out->stored_size = wire_u32(&w);
	out->place = wire_u64(&w);
	return wire_finish(&w);
}

static int row_find(struct store_txn *txn, const struct id *name, struct piece_row *out)
{
	uint64_t number;

	int err = store_number(txn, NUMBER_PIECE, name, &number);
	return err < 0 ? err : row_get(txn, number, out);
}

int piece_row_put(struct store_txn *txn, const struct id *name, const struct id *text_id,
		  uint32_t stored_size, journal_place place)
{
	uint8_t key[8], number_value[8];
	uint64_t number, next = txn->counters.next[NUMBER_PIECE];
	struct bytes row;

	int err = store_number_make(txn, NUMBER_PIECE, name, &number);
	if (err < 0)
		return err;
	number_be(key, number);
	bytes_init(&row, 64);
	bytes_put(&row, name->bytes, ID_SIZE);
	bytes_put_u32(&row, stored_size);
	bytes_put_u64(&row, place);
	err = bytes_error(&row);
	if (err == 0)
		err = index_put(txn->index, TABLE_PIECE, key, sizeof(key), row.data, row.size);
	bytes_finish(&row);
	if (err < 0)
		return err;
	number_be(number_value, number);
	err = index_put(txn->index, TABLE_TEXT, text_id->bytes, TEXT_KEY_SIZE, number_value, sizeof(number_value));
	return err < 0 || number == next ? err : wanted_piece_came(txn, number);
}

int piece_row_forget(struct store_txn *txn, const struct id *name)
{
	uint8_t key[8];
	uint64_t number;

	int err = store_number(txn, NUMBER_PIECE, name, &number);
	if (err < 0)
		return err;
	number_be(key, number);
	/* The text's row may go on naming the number: a look-up finds no row behind it. */
	err = index_delete(txn->index, TABLE_PIECE, key, sizeof(key));
	return err < 0 ? err : wanted_piece_dropped(txn, number);
}

bool store_has_piece(struct store_txn *txn, const struct id *name)
{
	struct piece_row row;

	return row_find(txn, name, &row) == 0;
}

static int find_text(struct store_txn *txn, const struct id *text_id, struct piece_ref *out)
{
	const uint8_t *value;
	size_t size;
	struct wire w;
	struct piece_row row;

	int err = index_get(txn->index, TABLE_TEXT, text_id->bytes, TEXT_KEY_SIZE, &value, &size);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	wire_init(&w, value, size);
	uint64_t number = wire_u64_be(&w);
	err = wire_finish(&w);
	if (err == 0)
		err = row_get(txn, number, &row);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	out->name = row.name;
	out->stored_size = row.stored_size;
	return 1;
}

static int put_piece(struct store_txn *txn, const struct id *name, const struct id *text_id,
		     const uint8_t *member, uint32_t size)
{
	const struct span spans[] = { { text_id->bytes, ID_SIZE }, { member, size } };
	journal_place place;

	int err = store_append(txn, KIND_PIECE, spans, 2, &place);
	return err < 0 ? err : piece_row_put(txn, name, text_id, size, place);
}

bool pieces_wait_moving(struct store *store)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (int i = 0; i < 5000; i++) {
		if (!atomic_load(&store->moving))
			return i > 0;
		nanosleep(&nap, NULL);
	}
	return false;
}

/* The piece of that name, or with that text, among those that the index learns of later. Under small_lock. */
static const struct later *later_piece(const struct store *store, const struct id *name, const struct id *text_id)
{
	for (size_t i = 0; i < store->later_count; i++) {
		const struct later *later = &store->later[i];
		if (later->kind == KIND_PIECE && (!name || id_equal(&later->name, name)) &&
		    (!text_id || memcmp(later->bytes, text_id->bytes, ID_SIZE) == 0))
			return later;
	}
	return NULL;
}

static ssize_t later_get(struct store *store, const struct id *name, uint8_t *out, size_t out_size)
{
	ssize_t size = -ENOENT;

	pthread_mutex_lock(&store->small_lock);
	const struct later *later = later_piece(store, name, NULL);
	if (later) {
		size = (ssize_t)(later->size - ID_SIZE);
		if (later->size - ID_SIZE > out_size)
			size = -EMSGSIZE;
		else
			memcpy(out, later->bytes + ID_SIZE, later->size - ID_SIZE);
	}
	pthread_mutex_unlock(&store->small_lock);
	return size;
}

/* 1 if found. */
static int later_find_text(struct store *store, const struct id *text_id, struct piece_ref *out)
{
	pthread_mutex_lock(&store->small_lock);
	const struct later *later = later_piece(store, NULL, text_id);
	if (later) {
		out->name = later->name;
		out->stored_size = (uint32_t)(later->size - ID_SIZE);
	}
	pthread_mutex_unlock(&store->small_lock);
	return later != NULL;
}

/* -EAGAIN if something else stands at the place. */
static ssize_t read_row(struct store *store, const struct id *name, const struct piece_row *row, uint8_t *buffer,
			size_t buffer_size)
{
	struct id found;
	uint8_t kind;

	ssize_t size = journal_read(store->journal, row->place, &kind, buffer, buffer_size);
	if (size < 0 && size != -EBADMSG && size != -ENOENT && size != -EMSGSIZE)
		return size;
	if (size != (ssize_t)(ID_SIZE + row->stored_size) || kind != KIND_PIECE)
		return -EAGAIN;
	id_of_bytes(&found, buffer + ID_SIZE, row->stored_size);
	return id_equal(&found, name) ? (ssize_t)row->stored_size : -EAGAIN;
}

/* One look-up and read. */
static ssize_t try_get(struct store *store, const struct id *name, uint8_t *buffer, size_t buffer_size)
{
	struct store_txn *txn;
	struct piece_row row;

	int err = store_begin(store, false, &txn);
	if (err < 0)
		return err;
	err = row_find(txn, name, &row);
	store_abort(txn);
	return err < 0 ? err : read_row(store, name, &row, buffer, buffer_size);
}

ssize_t pieces_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct store *store = context;
	uint8_t buffer[ID_SIZE + PIECE_STORED_MAX];

	/* First here: what is there no more, the index knows. */
	ssize_t size = later_get(store, name, out, out_size);
	if (size != -ENOENT)
		return size;
	/* Compaction may move an entry between the look-up and the read: then look again. */
	size = -EAGAIN;
	for (int try = 0; try < 3 && size == -EAGAIN; try++) {
		size = try_get(store, name, buffer, sizeof(buffer));
		if (size == -EAGAIN)
			pieces_wait_moving(store);
	}
	if (size < 0)
		return size == -EAGAIN ? -EBADMSG : size;
	if ((size_t)size > out_size)
		return -EMSGSIZE;
	memcpy(out, buffer + ID_SIZE, (size_t)size);
	return size;
}

ssize_t store_read_piece(struct store *store, const struct id *name, uint8_t *out, size_t out_size)
{
	return pieces_get(store, name, out, out_size);
}

int store_accept_piece(struct store_txn *txn, const uint8_t *member, size_t size)
{
	uint8_t *text = malloc(PIECE_TEXT_MAX);
	struct packer *packer = packer_new();
	struct id name, text_id;

	ssize_t text_size = text && packer ? piece_inflate(packer, member, size, text) : -ENOMEM;
	int err = text_size < 0 ? (int)text_size : 0;
	if (err == 0) {
		id_of_bytes(&name, member, size);
		id_of_bytes(&text_id, text, (size_t)text_size);
		if (!store_has_piece(txn, &name))
			err = put_piece(txn, &name, &text_id, member, (uint32_t)size);
	}
	packer_free(packer);
	free(text);
	return err;
}

int store_drop_piece(struct store_txn *txn, const struct id *name)
{
	struct bytes body;
	journal_place place;

	bytes_init(&body, 64);
	bytes_put(&body, name->bytes, ID_SIZE);
	const struct span span = { body.data, body.size };
	int err = bytes_error(&body);
	if (err == 0 && store_has_piece(txn, name)) {
		err = store_append(txn, KIND_MARK, &span, 1, &place);
		if (err == 0)
			err = piece_row_forget(txn, name);
	}
	bytes_finish(&body);
	return err;
}

/* ---- inside a transaction ---- */

static int txn_put(void *context, const struct id *text_id, const struct piece_ref *offer,
		   const uint8_t *member, struct piece_ref *out)
{
	struct store_txn *txn = context;

	int found = find_text(txn, text_id, out);
	if (found != 0)
		return found < 0 ? found : 0;
	int err = put_piece(txn, &offer->name, text_id, member, offer->stored_size);
	if (err == 0)
		*out = *offer;
	return err;
}

static int txn_find_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	return find_text(context, text_id, out);
}

static ssize_t txn_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct store_txn *txn = context;
	struct piece_row row;

	/* One planned in this very transaction is not in the journal yet. */
	int err = row_find(txn, name, &row);
	if (err < 0)
		return err;
	for (size_t i = 0; i < txn->planned_count; i++) {
		const struct planned *p = &txn->planned[i];
		if (p->place != row.place)
			continue;
		if (p->size - ID_SIZE > out_size)
			return -EMSGSIZE;
		memcpy(out, txn->bytes.data + p->offset + ID_SIZE, p->size - ID_SIZE);
		return (ssize_t)(p->size - ID_SIZE);
	}
	/* A row of this transaction's own nobody else sees yet. */
	uint8_t buffer[ID_SIZE + PIECE_STORED_MAX];
	ssize_t size = read_row(txn->store, name, &row, buffer, sizeof(buffer));
	if (size == -EAGAIN)
		return pieces_get(txn->store, name, out, out_size);
	if (size > (ssize_t)out_size)
		return -EMSGSIZE;
	if (size > 0)
		memcpy(out, buffer + ID_SIZE, (size_t)size);
	return size;
}

struct piece_store store_txn_pieces(struct store_txn *txn)
{
	return (struct piece_store){ .put = txn_put, .find_text = txn_find_text, .get = txn_get, .context = txn };
}

/* ---- outside one ---- */

struct batched {
	struct id text_id; /* key */
	struct piece_ref ref;
	size_t offset;
	UT_hash_handle hh;
};

struct store_batch {
	struct store *store;
	struct batched *by_text;
	struct bytes members;
};

struct store_batch *store_batch_new(struct store *store)
{
	struct store_batch *batch = calloc(1, sizeof(*batch));
	if (batch) {
		batch->store = store;
		bytes_init(&batch->members, BATCH_SIZE_MAX + PIECE_STORED_MAX);
		/* From now on no piece may go that it finds in the store. */
		pthread_mutex_lock(&store->write_lock);
		store->batches++;
		pthread_mutex_unlock(&store->write_lock);
	}
	return batch;
}

static void batch_clear(struct store_batch *batch)
{
	struct batched *each, *next;

	HASH_ITER(hh, batch->by_text, each, next) {
		HASH_DEL(batch->by_text, each);
		free(each);
	}
	bytes_clear(&batch->members);
}

void store_batch_free(struct store_batch *batch)
{
	if (!batch)
		return;
	pthread_mutex_lock(&batch->store->write_lock);
	batch->store->batches--;
	pthread_mutex_unlock(&batch->store->write_lock);
	batch_clear(batch);
	bytes_finish(&batch->members);
	free(batch);
}

int store_batch_finish(struct store_batch *batch, struct store_txn *txn)
{
	struct batched *each, *next;
	int err = 0;

	/* uthash keeps the order of insertion. */
	HASH_ITER(hh, batch->by_text, each, next) {
		if (!store_has_piece(txn, &each->ref.name))
			err = put_piece(txn, &each->ref.name, &each->text_id,
					batch->members.data + each->offset, each->ref.stored_size);
		if (err < 0)
			return err;
	}
	return 0;
}

/* The same in a transaction. */
static int keep_now(struct store *store, struct store_batch *batch, const struct local_fact *facts, size_t count)
{
	struct store_txn *txn;

	int err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	if (batch)
		err = store_batch_finish(batch, txn);
	for (size_t i = 0; err == 0 && i < count; i++)
		err = store_local_put(txn, facts[i].kind, facts[i].key, facts[i].key_size, facts[i].value, facts[i].value_size);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int keep_later(struct store *store, struct store_batch *batch, const struct local_fact *facts, size_t fact_count)
{
	struct journal_part parts[LATER_MAX];
	struct span spans[LATER_MAX][2];
	struct id names[LATER_MAX];
	struct bytes encoded[KEEP_FACTS_MAX];
	struct batched *each = batch ? batch->by_text : NULL;
	size_t count = 0, done = 0;
	int err = 0;

	if (fact_count > KEEP_FACTS_MAX || (batch && HASH_COUNT(batch->by_text) + fact_count > LATER_MAX))
		return -ENOBUFS;
	for (; each; each = each->hh.next, count++) {
		names[count] = each->ref.name;
		spans[count][0] = (struct span){ each->text_id.bytes, ID_SIZE };
		spans[count][1] = (struct span){ batch->members.data + each->offset, each->ref.stored_size };
		parts[count] = (struct journal_part){ KIND_PIECE, spans[count], 2 };
	}
	for (; err == 0 && done < fact_count; done++, count++) {
		const struct local_fact *fact = &facts[done];
		err = local_encode(&encoded[done], fact->kind, fact->key, fact->key_size, fact->value, fact->value_size);
		names[count] = (struct id){ { 0 } };
		spans[count][0] = (struct span){ encoded[done].data, encoded[done].size };
		parts[count] = (struct journal_part){ KIND_LOCAL, spans[count], 1 };
	}
	if (err == 0)
		err = store_append_later(store, parts, names, count);
	for (size_t i = 0; i < done; i++)
		bytes_finish(&encoded[i]);
	return err;
}

int store_keep_later(struct store *store, struct store_batch *batch, const struct local_fact *facts, size_t count)
{
	int err = keep_later(store, batch, facts, count);

	return err == -ENOBUFS ? keep_now(store, batch, facts, count) : err;
}

static int batch_flush(struct store_batch *batch)
{
	struct store_txn *txn;

	int err = store_begin(batch->store, true, &txn);
	if (err < 0)
		return err;
	err = store_batch_finish(batch, txn);
	if (err < 0) {
		store_abort(txn);
		return err;
	}
	err = store_commit(txn);
	if (err == 0)
		batch_clear(batch);
	return err;
}

static int batch_find_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	struct store_batch *batch = context;
	struct batched *found;
	struct store_txn *txn;

	HASH_FIND(hh, batch->by_text, text_id, sizeof(*text_id), found);
	if (found) {
		*out = found->ref;
		return 1;
	}
	if (later_find_text(batch->store, text_id, out))
		return 1;
	int err = store_begin(batch->store, false, &txn);
	if (err < 0)
		return err;
	err = find_text(txn, text_id, out);
	store_abort(txn);
	return err;
}

static int batch_put(void *context, const struct id *text_id, const struct piece_ref *offer,
		     const uint8_t *member, struct piece_ref *out)
{
	struct store_batch *batch = context;

	/* A transaction has room for so many entries, however small. */
	if (batch->members.size + offer->stored_size > BATCH_SIZE_MAX ||
	    HASH_COUNT(batch->by_text) >= TRANSACTION_ENTRIES_MAX / 2) {
		int err = batch_flush(batch);
		if (err < 0)
			return err;
	}
	struct batched *next = calloc(1, sizeof(*next));
	if (!next)
		return -ENOMEM;
	next->text_id = *text_id;
	next->ref = *offer;
	next->offset = batch->members.size;
	bytes_put(&batch->members, member, offer->stored_size);
	int err = bytes_error(&batch->members);
	if (err < 0) {
		free(next);
		return err;
	}
	HASH_ADD(hh, batch->by_text, text_id, sizeof(next->text_id), next);
	if (!next->hh.tbl) {
		batch->members.size = next->offset;
		free(next);
		return -ENOMEM;
	}
	*out = *offer;
	return 0;
}

static ssize_t batch_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct store_batch *batch = context;

	return pieces_get(batch->store, name, out, out_size);
}

struct piece_store store_batch_pieces(struct store_batch *batch)
{
	return (struct piece_store){ .put = batch_put, .find_text = batch_find_text, .get = batch_get, .context = batch };
}
