/*
 * transaction.c - the order of things in a change: plan, apply to the index, journal, commit.
 *
 * The journal never divides one append over two segments, so a transaction
 * knows its entries' places in advance if the segment has room for the most it may
 * write: begin rotates where it has not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store_limits.h"
#include "store_private.h"
#include "wire.h"

#define COUNTERS_KEY "counters"

int counters_load(struct store *store, struct index_txn *index, struct counters *out)
{
	const uint8_t *value;
	size_t size;
	struct counters counters = { 0 };

	(void)store;
	for (int i = 0; i < NUMBER_KINDS; i++)
		counters.next[i] = 1;
	int err = index_get(index, TABLE_META, COUNTERS_KEY, strlen(COUNTERS_KEY), &value, &size);
	if (err == 0) {
		struct wire w;
		wire_init(&w, value, size);
		counters.covered = wire_u64(&w);
		for (int i = 0; i < NUMBER_KINDS; i++)
			counters.next[i] = wire_u64(&w);
		err = wire_finish(&w);
	}
	if (err < 0 && err != -ENOENT)
		return err;
	*out = counters;
	return 0;
}

int counters_save(struct store_txn *txn)
{
	uint8_t buffer[8 * (1 + NUMBER_KINDS)], *at = buffer;
	uint64_t values[1 + NUMBER_KINDS];

	values[0] = txn->counters.covered;
	memcpy(values + 1, txn->counters.next, sizeof(txn->counters.next));
	for (size_t i = 0; i < 1 + NUMBER_KINDS; i++)
		for (int shift = 0; shift < 64; shift += 8)
			*at++ = (uint8_t)(values[i] >> shift);
	return index_put(txn->index, TABLE_META, COUNTERS_KEY, strlen(COUNTERS_KEY), buffer, sizeof(buffer));
}

int txn_new(struct store *store, bool write, struct store_txn **out)
{
	struct store_txn *txn = calloc(1, sizeof(*txn));
	if (!txn)
		return -ENOMEM;
	txn->store = store;
	txn->write = write;
	txn->time_ms = clock_time_ms(&store->clock);
	bytes_init(&txn->bytes, TRANSACTION_SIZE_MAX);
	int err = index_begin(store->index, write, &txn->index);
	if (err < 0) {
		free(txn);
		return err;
	}
	if (write)
		txn->counters = store->counters;
	*out = txn;
	return 0;
}

void txn_free(struct store_txn *txn)
{
	bytes_finish(&txn->bytes);
	free(txn->planned);
	free(txn->records[0]);
	free(txn->records[1]);
	free(txn->buffer);
	free(txn);
}

/* Room for a whole transaction in one segment, so that planned places hold. */
static int make_room(struct store *store)
{
	uint64_t offset = journal_end(store->journal) & 0xffffffffu;

	if (offset + TRANSACTION_SIZE_MAX + JOURNAL_HEAD_SIZE * TRANSACTION_ENTRIES_MAX > SEGMENT_SIZE_MAX)
		return journal_rotate(store->journal);
	return 0;
}

int store_begin(struct store *store, bool write, struct store_txn **out)
{
	if (!write)
		return txn_new(store, false, out);

	pthread_mutex_lock(&store->write_lock);
	int err = store->stale ? -EIO : make_room(store);
	if (err == 0)
		err = txn_new(store, true, out);
	if (err < 0)
		pthread_mutex_unlock(&store->write_lock);
	return err;
}

void store_abort(struct store_txn *txn)
{
	if (!txn)
		return;
	struct store *store = txn->store;
	bool locked = txn->write && !txn->replaying;

	index_abort(txn->index);
	txn_free(txn);
	if (locked)
		pthread_mutex_unlock(&store->write_lock);
}

/* Writes what was planned; the places must be the planned ones. */
static int write_planned(struct store_txn *txn)
{
	struct store *store = txn->store;
	size_t count = txn->planned_count;

	struct journal_part *parts = calloc(count, sizeof(*parts));
	struct span *spans = calloc(count, sizeof(*spans));
	journal_place *places = calloc(count, sizeof(*places));
	int err = parts && spans && places ? 0 : -ENOMEM;
	for (size_t i = 0; err == 0 && i < count; i++) {
		spans[i] = (struct span){ txn->bytes.data + txn->planned[i].offset, txn->planned[i].size };
		parts[i] = (struct journal_part){ txn->planned[i].kind, &spans[i], 1 };
	}
	journal_place before = journal_end(store->journal);
	if (err == 0)
		err = journal_append(store->journal, parts, count, places);
	for (size_t i = 0; err == 0 && i < count; i++)
		if (places[i] != txn->planned[i].place) {
			journal_rollback(store->journal, before);
			err = -EIO;
		}
	free(parts);
	free(spans);
	free(places);
	return err;
}

int store_commit(struct store_txn *txn)
{
	struct store *store = txn->store;

	if (!txn->write) {
		int ended = index_commit(txn->index);
		txn_free(txn);
		return ended;
	}
	int err = tree_settle(txn);
	if (err == 0)
		err = bytes_error(&txn->bytes);
	journal_place before = journal_end(store->journal);
	if (err == 0 && txn->planned_count > 0)
		err = write_planned(txn);
	bool written = err == 0 && txn->planned_count > 0;
	if (written)
		txn->counters.covered = journal_end(store->journal);
	if (err == 0)
		err = counters_save(txn);
	if (err == 0)
		err = index_commit(txn->index);
	else
		index_abort(txn->index);
	if (err == 0)
		store->counters = txn->counters;
	else if (written && journal_rollback(store->journal, before) < 0)
		store->stale = true; /* the index is behind: the next start replays it */
	bool locked = !txn->replaying;
	txn_free(txn);
	if (locked)
		pthread_mutex_unlock(&store->write_lock);
	return err;
}

struct index_txn *store_index(struct store_txn *txn)
{
	return txn->index;
}

struct store *store_of(struct store_txn *txn)
{
	return txn->store;
}

uint64_t store_txn_time_ms(const struct store_txn *txn)
{
	return txn->time_ms;
}

struct tree_dirty *store_txn_tree(struct store_txn *txn)
{
	return &txn->tree;
}

struct record *store_txn_record(struct store_txn *txn, unsigned index)
{
	if (!txn->records[index])
		txn->records[index] = record_new();
	return txn->records[index];
}

uint8_t *store_txn_buffer(struct store_txn *txn)
{
	if (!txn->buffer)
		txn->buffer = malloc(RECORD_SIZE_MAX + 64);
	return txn->buffer;
}

static int planned_grow(struct store_txn *txn)
{
	if (txn->planned_count < txn->planned_capacity)
		return 0;
	if (txn->planned_count >= TRANSACTION_ENTRIES_MAX)
		return -EMSGSIZE;
	size_t capacity = txn->planned_capacity ? txn->planned_capacity * 2 : 8;
	struct planned *planned = realloc(txn->planned, capacity * sizeof(*planned));
	if (!planned)
		return -ENOMEM;
	txn->planned = planned;
	txn->planned_capacity = capacity;
	return 0;
}

int store_append(struct store_txn *txn, uint8_t kind, const struct span *spans, size_t span_count,
		 journal_place *out_place)
{
	struct planned next = { .kind = kind, .offset = txn->bytes.size };

	if (!txn->write || txn->replaying)
		return -EPERM;
	int err = planned_grow(txn);
	if (err < 0)
		return err;
	for (size_t i = 0; i < span_count; i++)
		bytes_put(&txn->bytes, spans[i].data, spans[i].size);
	err = bytes_error(&txn->bytes);
	if (err < 0)
		return err;
	next.size = txn->bytes.size - next.offset;
	if (next.size + JOURNAL_HEAD_SIZE > JOURNAL_ENTRY_MAX)
		return -EMSGSIZE;

	if (txn->planned_count == 0) {
		struct journal_part part = { kind, spans, span_count };
		journal_plan(txn->store->journal, &part, 1, &next.place);
	} else {
		const struct planned *last = &txn->planned[txn->planned_count - 1];
		next.place = last->place + JOURNAL_HEAD_SIZE + last->size;
	}
	txn->planned[txn->planned_count++] = next;
	*out_place = next.place;
	return 0;
}

/* ---- numbers ---- */

static void number_key(uint8_t key[1 + ID_SIZE], enum number_kind kind, const struct id *id)
{
	key[0] = (uint8_t)kind;
	memcpy(key + 1, id->bytes, ID_SIZE);
}

/* The way back stands in the same table, under the kind with its high bit set. */
static void id_key(uint8_t key[9], enum number_kind kind, uint64_t number)
{
	key[0] = (uint8_t)(kind | 0x80);
	for (int i = 0; i < 8; i++)
		key[1 + i] = (uint8_t)(number >> (56 - 8 * i));
}

int store_number(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out)
{
	uint8_t key[1 + ID_SIZE];
	const uint8_t *value;
	size_t size;
	struct wire w;

	number_key(key, kind, id);
	int err = index_get(txn->index, TABLE_NUMBER, key, sizeof(key), &value, &size);
	if (err < 0)
		return err;
	wire_init(&w, value, size);
	uint64_t number = wire_u64(&w);
	err = wire_finish(&w);
	if (err == 0)
		*out = number;
	return err;
}

int store_number_make(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out)
{
	uint8_t key[1 + ID_SIZE], back[9], value[8];

	int err = store_number(txn, kind, id, out);
	if (err != -ENOENT)
		return err;
	uint64_t number = txn->counters.next[kind]++;
	for (int i = 0; i < 8; i++)
		value[i] = (uint8_t)(number >> (8 * i));
	number_key(key, kind, id);
	err = index_put(txn->index, TABLE_NUMBER, key, sizeof(key), value, sizeof(value));
	if (err == 0 && kind != NUMBER_RECORD && kind != NUMBER_PIECE) {
		id_key(back, kind, number);
		err = index_put(txn->index, TABLE_NUMBER, back, sizeof(back), id->bytes, ID_SIZE);
	}
	if (err == 0)
		*out = number;
	return err;
}

int store_number_id(struct store_txn *txn, enum number_kind kind, uint64_t number, struct id *out)
{
	uint8_t key[9];
	const uint8_t *value;
	size_t size;

	id_key(key, kind, number);
	int err = index_get(txn->index, TABLE_NUMBER, key, sizeof(key), &value, &size);
	if (err < 0)
		return err;
	if (size != ID_SIZE)
		return -EBADMSG;
	memcpy(out->bytes, value, ID_SIZE);
	return 0;
}

int store_number_between(struct store_txn *txn, enum number_kind kind, const struct id *least,
			 const struct id *greatest, struct id *out, size_t count_max)
{
	uint8_t prefix = (uint8_t)kind, key[1 + ID_SIZE];
	struct index_range range;
	struct id found;
	size_t count = 0;

	number_key(key, kind, least);
	int err = index_range_open_at(&range, txn->index, TABLE_NUMBER, &prefix, 1, key, sizeof(key), false);
	while (err == 0 && count <= count_max && (err = index_range_next(&range)) > 0) {
		err = 0;
		if (range.key_size != sizeof(key))
			break;
		memcpy(found.bytes, range.key + 1, ID_SIZE);
		if (id_compare(&found, greatest) > 0)
			break;
		if (count < count_max)
			out[count] = found;
		count++;
	}
	index_range_close(&range);
	return err < 0 ? err : (int)count;
}
