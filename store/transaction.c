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
#include <time.h>

#include "log.h"
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

journal_place store_txn_covered(struct store_txn *txn)
{
	struct counters counters;

	return counters_load(txn->store, txn->index, &counters) == 0 ? counters.covered : 0;
}

static void buffers_take(struct store *store, struct txn_buffers *out)
{
	pthread_mutex_lock(&store->small_lock);
	for (size_t i = 0; i < BUFFERS_KEPT; i++)
		if (store->buffers[i].buffer) {
			*out = store->buffers[i];
			store->buffers[i] = (struct txn_buffers){ 0 };
			break;
		}
	pthread_mutex_unlock(&store->small_lock);
}

static void buffers_finish(struct txn_buffers *buffers)
{
	free(buffers->records[0]);
	free(buffers->records[1]);
	free(buffers->buffer);
}

static void buffers_give(struct store *store, struct txn_buffers *buffers)
{
	struct txn_buffers left = *buffers;

	pthread_mutex_lock(&store->small_lock);
	for (size_t i = 0; left.buffer && i < BUFFERS_KEPT; i++)
		if (!store->buffers[i].buffer) {
			store->buffers[i] = left;
			left = (struct txn_buffers){ 0 };
		}
	pthread_mutex_unlock(&store->small_lock);
	buffers_finish(&left);
}

void txn_buffers_finish(struct store *store)
{
	for (size_t i = 0; i < BUFFERS_KEPT; i++)
		buffers_finish(&store->buffers[i]);
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
	txn->hot = write ? calloc(1, sizeof(*txn->hot)) : NULL;
	int err = write && !txn->hot ? -ENOMEM : index_begin(store->index, write, &txn->index);
	if (err < 0) {
		free(txn->hot);
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
	buffers_give(txn->store, &txn->buffers);
	free(txn->hot);
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

/* ---- what the index learns later ---- */

void later_drop(struct store *store)
{
	for (size_t i = 0; i < store->later_count; i++)
		free(store->later[i].bytes);
	store->later_count = store->later_size = 0;
}

static int later_apply(struct store_txn *txn)
{
	struct store *store = txn->store;
	int err = 0;

	txn->later = store->later_count > 0;
	for (size_t i = 0; err == 0 && i < store->later_count; i++) {
		const struct later *later = &store->later[i];
		struct id text_id;
		if (later->kind == KIND_PIECE) {
			memcpy(text_id.bytes, later->bytes, ID_SIZE);
			err = piece_row_put(txn, &later->name, &text_id, (uint32_t)(later->size - ID_SIZE), later->place);
		} else {
			err = local_apply(txn, later->bytes, later->size, later->place);
		}
	}
	return err;
}

static int later_add(struct store *store, const struct journal_part *part, const struct id *name, journal_place place)
{
	struct later later = { .kind = part->kind, .place = place, .name = *name };
	uint8_t *at;

	for (size_t i = 0; i < part->span_count; i++)
		later.size += part->spans[i].size;
	later.bytes = at = malloc(later.size);
	if (!at)
		return -ENOMEM;
	for (size_t i = 0; i < part->span_count; i++) {
		memcpy(at, part->spans[i].data, part->spans[i].size);
		at += part->spans[i].size;
	}
	store->later[store->later_count++] = later;
	store->later_size += later.size;
	return 0;
}

int store_append_later(struct store *store, const struct journal_part *parts, const struct id *names, size_t count)
{
	journal_place places[LATER_MAX];
	size_t size = 0;
	int err;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < parts[i].span_count; j++)
			size += parts[i].spans[j].size;
	if (count > LATER_MAX || size > LATER_SIZE_MAX)
		return -ENOBUFS;

	pthread_mutex_lock(&store->write_lock);
	if (store->stale)
		err = -EIO;
	else if (store->later_count + count > LATER_MAX || store->later_size + size > LATER_SIZE_MAX)
		err = -ENOBUFS;
	else
		err = make_room(store);
	const journal_place before = journal_end(store->journal);
	const size_t kept = store->later_count;
	if (err == 0)
		err = journal_append(store->journal, parts, count, places);
	if (err == 0) {
		pthread_mutex_lock(&store->small_lock);
		for (size_t i = 0; err == 0 && i < count; i++)
			err = later_add(store, &parts[i], &names[i], places[i]);
		while (err < 0 && store->later_count > kept) {
			struct later *last = &store->later[--store->later_count];
			store->later_size -= last->size;
			free(last->bytes);
		}
		pthread_mutex_unlock(&store->small_lock);
		if (err < 0 && journal_rollback(store->journal, before) < 0)
			store->stale = true;
	}
	pthread_mutex_unlock(&store->write_lock);
	return err;
}

int store_begin(struct store *store, bool write, struct store_txn **out)
{
	struct store_txn *txn = NULL;

	if (!write)
		return txn_new(store, false, out);

	atomic_fetch_add(&store->writers, 1);
	pthread_mutex_lock(&store->write_lock);
	atomic_fetch_sub(&store->writers, 1);
	int err = store->stale ? -EIO : store->moved ? gc_mend(store) : 0;
	if (err == 0)
		err = make_room(store);
	if (err == 0)
		err = txn_new(store, true, &txn);
	if (err == 0)
		err = later_apply(txn);
	if (err == 0) {
		*out = txn;
		return 0;
	}
	if (txn) {
		index_abort(txn->index);
		txn_free(txn);
	}
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
			if (journal_rollback(store->journal, before) < 0)
				store->stale = true;
			err = -EIO;
		}
	free(parts);
	free(spans);
	free(places);
	return err;
}

void store_on_append(struct store *store, void (*appended)(void *context), void *context)
{
	pthread_mutex_lock(&store->small_lock);
	store->on_append = appended;
	store->on_append_context = context;
	pthread_mutex_unlock(&store->small_lock);
}

/* Under the lock: who stops listening may be gone right after. */
static void tell_appended(struct store *store)
{
	pthread_mutex_lock(&store->small_lock);
	if (store->on_append)
		store->on_append(store->on_append_context);
	pthread_mutex_unlock(&store->small_lock);
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
		err = log_settle(txn);
	if (err == 0)
		err = log_sign(txn);
	if (err == 0)
		err = bytes_error(&txn->bytes);
	journal_place before = journal_end(store->journal);
	if (err == 0 && txn->planned_count > 0)
		err = write_planned(txn);
	bool written = err == 0 && txn->planned_count > 0;
	if (written || txn->later)
		txn->counters.covered = journal_end(store->journal);
	if (err == 0)
		err = counters_save(txn);
	if (err == 0)
		err = index_commit(txn->index);
	else
		index_abort(txn->index);
	if (err == 0) {
		store->counters = txn->counters;
		store->moved = 0;
		pthread_mutex_lock(&store->small_lock);
		if (txn->later)
			later_drop(store);
		pthread_mutex_unlock(&store->small_lock);
	} else if (written && journal_rollback(store->journal, before) < 0)
		store->stale = true; /* the index is behind: the next start replays it */
	bool locked = !txn->replaying, own = txn->own && err == 0;
	txn_free(txn);
	if (locked)
		pthread_mutex_unlock(&store->write_lock);
	if (own)
		tell_appended(store);
	return err;
}

uint64_t store_txn_work(const struct store_txn *txn)
{
	return index_work(txn->index);
}

/* A mutex goes to whoever asks first, which is who has just let it go. */
void store_give_way(struct store *store)
{
	const struct timespec moment = { .tv_nsec = 500 * 1000 };

	for (int i = 0; i < 10 && atomic_load(&store->writers) > 0; i++)
		nanosleep(&moment, NULL);
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
	if (!txn->buffers.buffer && !store_txn_buffer(txn))
		return NULL;
	if (!txn->buffers.records[index])
		txn->buffers.records[index] = record_new();
	return txn->buffers.records[index];
}

uint8_t *store_txn_buffer(struct store_txn *txn)
{
	if (!txn->buffers.buffer)
		buffers_take(txn->store, &txn->buffers);
	if (!txn->buffers.buffer)
		txn->buffers.buffer = malloc(RECORD_SIZE_MAX + 64);
	return txn->buffers.buffer;
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

/* Where a number is remembered that was asked for lately; NULL in a read transaction. */
static struct hot_number *hot_slot(struct store_txn *txn, enum number_kind kind, const struct id *id)
{
	return txn->hot ? &txn->hot->numbers[(id->bytes[0] + 7u * (unsigned)kind) % HOT_NUMBERS] : NULL;
}

static bool hot_has(const struct hot_number *hot, enum number_kind kind, const struct id *id)
{
	return hot && hot->kind == kind && id_equal(&hot->id, id);
}

static int number_read(const uint8_t *value, size_t size, uint64_t *out)
{
	struct wire w;

	wire_init(&w, value, size);
	uint64_t number = wire_u64(&w);
	int err = wire_finish(&w);
	if (err == 0)
		*out = number;
	return err;
}

int store_number(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out)
{
	struct hot_number *hot = hot_slot(txn, kind, id);
	uint8_t key[1 + ID_SIZE];
	const uint8_t *value;
	size_t size;

	if (hot_has(hot, kind, id)) {
		*out = hot->number;
		return 0;
	}
	number_key(key, kind, id);
	int err = index_get(txn->index, TABLE_NUMBER, key, sizeof(key), &value, &size);
	if (err == 0)
		err = number_read(value, size, out);
	if (err == 0 && hot)
		*hot = (struct hot_number){ (uint8_t)kind, *id, *out };
	return err;
}

int store_number_make(struct store_txn *txn, enum number_kind kind, const struct id *id, uint64_t *out)
{
	struct hot_number *hot = hot_slot(txn, kind, id);
	uint8_t key[1 + ID_SIZE], back[9], value[8];
	uint64_t number = txn->counters.next[kind];
	const uint8_t *there;
	size_t size;

	if (hot_has(hot, kind, id)) {
		*out = hot->number;
		return 0;
	}
	for (int i = 0; i < 8; i++)
		value[i] = (uint8_t)(number >> (8 * i));
	number_key(key, kind, id);
	int err = index_put_new(txn->index, TABLE_NUMBER, key, sizeof(key), value, sizeof(value), &there, &size);
	if (err == 0) {
		txn->counters.next[kind]++;
		if (kind != NUMBER_RECORD && kind != NUMBER_PIECE) {
			id_key(back, kind, number);
			err = index_put(txn->index, TABLE_NUMBER, back, sizeof(back), id->bytes, ID_SIZE);
		}
	} else if (err == -EEXIST) {
		err = number_read(there, size, &number);
	}
	if (err < 0)
		return err;
	*out = number;
	if (hot)
		*hot = (struct hot_number){ (uint8_t)kind, *id, number };
	return 0;
}

int store_number_id(struct store_txn *txn, enum number_kind kind, uint64_t number, struct id *out)
{
	uint8_t key[9];
	const uint8_t *value;
	size_t size;

	if (kind == NUMBER_ENTITY && txn->hot && number && txn->hot->entity == number) {
		*out = txn->hot->entity_id;
		return 0;
	}
	id_key(key, kind, number);
	int err = index_get(txn->index, TABLE_NUMBER, key, sizeof(key), &value, &size);
	if (err < 0)
		return err;
	if (size != ID_SIZE)
		return -EBADMSG;
	memcpy(out->bytes, value, ID_SIZE);
	if (kind == NUMBER_ENTITY && txn->hot) {
		txn->hot->entity = number;
		txn->hot->entity_id = *out;
	}
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
