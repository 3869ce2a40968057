#include "log.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "person.h"
#include "row.h"
#include "store_private.h"

#define SIGNATURE_SIZE sizeof(struct signature)
#define EACH_BATCH 64 /* rows read before they are visited: visitors may write */

enum { RECORD_HELD = 1 };
enum { LOG_FORKED = 1 };

/* ---- rows ---- */

static int record_row_put(struct store_txn *txn, const struct record_row *row)
{
	struct row key = row_of(row->number), value = row_none();

	row_id(&value, &row->id);
	row_u64(&value, row->place); /* compaction changes it in place: at offset 32 */
	row_u32(&value, row->size);
	row_u64(&value, row->log);
	row_u64(&value, row->seq);
	row_u64(&value, row->time_ms);
	row_u64(&value, row->field);
	row_u8(&value, row->held ? RECORD_HELD : 0);
	row_u64(&value, row->prev);
	txn->hot->last = *row;
	txn->hot->last.fresh = txn->hot->last.made = false;
	return row_put(txn, TABLE_RECORD, &key, &value);
}

int log_record_row(struct store_txn *txn, uint64_t number, struct record_row *out)
{
	struct row key = row_of(number);
	struct record_row row = { .number = number };
	struct wire w;

	if (txn->hot && number && txn->hot->last.number == number) {
		*out = txn->hot->last;
		return 0;
	}
	int err = row_get(txn, TABLE_RECORD, &key, &w);
	if (err < 0)
		return err;
	wire_id(&w, &row.id);
	row.place = wire_u64(&w);
	row.size = wire_u32(&w);
	row.log = wire_u64(&w);
	row.seq = wire_u64(&w);
	row.time_ms = wire_u64(&w);
	row.field = wire_u64(&w);
	row.held = wire_u8(&w) & RECORD_HELD;
	row.prev = wire_u64(&w);
	err = wire_finish(&w);
	if (err == 0)
		*out = row;
	return err;
}

int log_find_record(struct store_txn *txn, const struct id *id, struct record_row *out)
{
	uint64_t number;

	if (txn->hot && txn->hot->last.number && id_equal(&txn->hot->last.id, id)) {
		*out = txn->hot->last;
		return 0;
	}
	int err = store_number(txn, NUMBER_RECORD, id, &number);
	return err < 0 ? err : log_record_row(txn, number, out);
}

static int log_row_put(struct store_txn *txn, const struct log_row *row)
{
	struct row key = row_of(row->number), value = row_none();

	row_id(&value, &row->device);
	row_u64(&value, row->records);
	row_u64(&value, row->tip);
	row_u64(&value, row->tip_seq);
	row_u64(&value, row->tip_time_ms);
	row_id(&value, &row->tip_id);
	row_u8(&value, row->forked ? LOG_FORKED : 0);
	row_u64(&value, row->branch);
	row_u64(&value, row->newest_ms);
	row_u64(&value, row->person);
	row_u64(&value, row->claim);
	row_u64(&value, row->claim_seq);
	row_id(&value, &row->claim_id);
	row_u64(&value, row->seq_end);
	row_u64(&value, row->cut);
	return row_put(txn, TABLE_LOG, &key, &value);
}

int log_settle(struct store_txn *txn)
{
	int err = txn->hot->log.number ? log_row_put(txn, &txn->hot->log) : 0;

	txn->hot->log.number = 0;
	return err;
}

int log_put(struct store_txn *txn, const struct log_row *row)
{
	int err = txn->hot->log.number != row->number ? log_settle(txn) : 0;

	if (err == 0)
		txn->hot->log = *row;
	return err;
}

static int log_row_read(struct wire *w, uint64_t number, struct log_row *out)
{
	struct log_row row = { .number = number };

	wire_id(w, &row.device);
	row.records = wire_u64(w);
	row.tip = wire_u64(w);
	row.tip_seq = wire_u64(w);
	row.tip_time_ms = wire_u64(w);
	wire_id(w, &row.tip_id);
	row.forked = wire_u8(w) & LOG_FORKED;
	row.branch = wire_u64(w);
	row.newest_ms = wire_u64(w);
	row.person = wire_u64(w);
	row.claim = wire_u64(w);
	row.claim_seq = wire_u64(w);
	wire_id(w, &row.claim_id);
	row.seq_end = wire_u64(w);
	row.cut = wire_u64(w);
	int err = wire_finish(w);
	if (err == 0)
		*out = row;
	return err;
}

int log_get_number(struct store_txn *txn, uint64_t log, struct log_row *out)
{
	struct row key = row_of(log);
	struct wire w;

	if (txn->hot && log && txn->hot->log.number == log) {
		*out = txn->hot->log;
		return 0;
	}
	int err = row_get(txn, TABLE_LOG, &key, &w);
	return err < 0 ? err : log_row_read(&w, log, out);
}

int log_each_row(struct store_txn *txn, uint64_t number, int (*visit)(void *context, const struct log_row *row),
		 void *context)
{
	struct row key = row_of(number);
	struct index_range range;
	struct log_row row;
	struct wire w;

	int err = row_range_at(txn, TABLE_LOG, 0, &key, false, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		wire_init(&w, range.key, range.key_size);
		uint64_t log = wire_u64_be(&w);
		wire_init(&w, range.value, range.value_size);
		err = log_row_read(&w, log, &row);
		if (err == 0)
			err = visit(context, &row);
	}
	index_range_close(&range);
	return err;
}

int log_get(struct store_txn *txn, const struct id *device, struct log_row *out)
{
	uint64_t number;

	int err = store_number(txn, NUMBER_DEVICE, device, &number);
	return err < 0 ? err : log_get_number(txn, number, out);
}

/* ---- reading ---- */

/* What this transaction planned is not in the journal yet. */
static ssize_t read_planned(const struct store_txn *txn, journal_place place, uint8_t *out, size_t out_size)
{
	size_t low = 0, high = txn->planned_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (txn->planned[middle].place < place)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == txn->planned_count || txn->planned[low].place != place)
		return -ENOENT;
	const struct planned *found = &txn->planned[low];
	if (found->kind != KIND_RECORD || found->size > out_size)
		return -EBADMSG;
	memcpy(out, txn->bytes.data + found->offset, found->size);
	return (ssize_t)found->size;
}

static ssize_t read_entry(struct store_txn *txn, journal_place place, uint8_t *out, size_t out_size)
{
	uint8_t kind;

	ssize_t size = read_planned(txn, place, out, out_size);
	if (size != -ENOENT)
		return size;
	size = journal_read(store_journal(store_of(txn)), place, &kind, out, out_size);
	return size >= 0 && kind != KIND_RECORD ? -EBADMSG : size;
}

/* Where it stands by now: compaction may have moved it since this transaction began, or be about to. */
static int place_now(struct store_txn *txn, uint64_t number, journal_place *out)
{
	struct store_txn *fresh;
	struct record_row row;

	pieces_wait_moving(store_of(txn));
	int err = store_begin(store_of(txn), false, &fresh);
	if (err < 0)
		return err;
	err = log_record_row(fresh, number, &row);
	store_abort(fresh);
	if (err == 0)
		*out = row.place;
	return err;
}

/* The size of signature and record. -EBADMSG if another stands there: what we hand out must be what was asked for. */
static ssize_t read_exact(struct store_txn *txn, const struct record_row *row, journal_place place, uint8_t *buffer)
{
	struct id id;

	ssize_t size = read_entry(txn, place, buffer, RECORD_SIZE_MAX + SIGNATURE_SIZE);
	if (size < 0)
		return size;
	if ((size_t)size != SIGNATURE_SIZE + row->size)
		return -EBADMSG;
	id_of_bytes(&id, buffer + SIGNATURE_SIZE, row->size);
	return id_equal(&id, &row->id) ? size : -EBADMSG;
}

int log_read_bytes(struct store_txn *txn, const struct record_row *row, uint8_t *buffer,
		   const uint8_t **out_bytes, struct signature *out_signature)
{
	journal_place moved;

	ssize_t size = read_exact(txn, row, row->place, buffer);
	if (size < 0 && place_now(txn, row->number, &moved) == 0 && moved != row->place)
		size = read_exact(txn, row, moved, buffer);
	if (size < 0)
		return (int)size;
	*out_bytes = buffer + SIGNATURE_SIZE;
	if (out_signature)
		memcpy(out_signature, buffer, SIGNATURE_SIZE);
	return 0;
}

int log_read_record(struct store_txn *txn, const struct record_row *row, struct record *out,
		    struct signature *out_signature)
{
	uint8_t *buffer = store_txn_buffer(txn);
	struct signature signature;
	const uint8_t *bytes;

	if (!buffer || !out)
		return -ENOMEM;
	int err = log_read_bytes(txn, row, buffer, &bytes, &signature);
	if (err == 0)
		err = record_decode(out, bytes, row->size);
	if (err == 0 && out_signature)
		*out_signature = signature;
	return err;
}

/* Up to EACH_BATCH record numbers of a log after a key; *key moves on. */
static int next_batch(struct store_txn *txn, struct row *key, uint64_t numbers[EACH_BATCH])
{
	struct index_range range;
	int count = 0, err;

	err = row_range_at(txn, TABLE_CHAIN, 8, key, false, &range);
	while (err == 0 && count < EACH_BATCH && (err = index_range_next(&range)) > 0) {
		struct wire w;
		wire_init(&w, range.key, range.key_size);
		wire_u64_be(&w);
		uint64_t seq = wire_u64_be(&w);
		numbers[count] = wire_u64_be(&w);
		err = wire_finish(&w);
		if (seq == UINT64_MAX)
			break; /* branch statements */
		if (err == 0) {
			memcpy(key->data, range.key, range.key_size);
			key->size = range.key_size;
			count++;
		}
	}
	index_range_close(&range);
	if (err < 0)
		return err;
	/* The key after the last one visited. */
	if (count > 0)
		row_u8(key, 0);
	return count;
}

int log_each(struct store_txn *txn, uint64_t log, uint64_t seq,
	     int (*visit)(void *context, const struct record_row *row), void *context)
{
	struct row key = row_of2(log, seq);
	uint64_t numbers[EACH_BATCH];
	struct record_row row;
	int count;

	while ((count = next_batch(txn, &key, numbers)) > 0) {
		for (int i = 0; i < count; i++) {
			int err = log_record_row(txn, numbers[i], &row);
			if (err == 0)
				err = visit(context, &row);
			if (err != 0)
				return err;
		}
	}
	return count;
}

/* ---- appending ---- */

/* The row of the voucher's log, new where there is none. */
static int open_log(struct store_txn *txn, const struct id *device, struct log_row *out)
{
	struct log_row row = { .device = *device, .seq_end = UINT64_MAX };

	int err = store_number_make(txn, NUMBER_DEVICE, device, &row.number);
	if (err == 0)
		err = log_get_number(txn, row.number, out);
	if (err != -ENOENT)
		return err;
	err = store_number_make(txn, NUMBER_ENTITY, device, &row.person);
	if (err == 0)
		err = person_begin(txn, &row);
	if (err == 0)
		*out = row;
	return err;
}

/* Is there another record of this seq? */
static int has_rival(struct store_txn *txn, const struct record_row *row)
{
	struct row prefix = row_of2(row->log, row->seq);
	struct index_range range;

	int err = row_range(txn, TABLE_CHAIN, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	index_range_close(&range);
	return err;
}

bool log_is_newer(const struct log_row *log, const struct record_row *row)
{
	if (!log->tip || row->seq != log->tip_seq)
		return !log->tip || row->seq > log->tip_seq;
	return row->time_ms != log->tip_time_ms ? row->time_ms > log->tip_time_ms
						: id_compare(&row->id, &log->tip_id) > 0;
}

void log_set_tip(struct log_row *log, const struct record_row *row)
{
	log->tip = row->number;
	log->tip_seq = row->seq;
	log->tip_time_ms = row->time_ms;
	log->tip_id = row->id;
}

/* The chain row, and the tip if this record is the newest of the branch in effect. */
static int link_record(struct store_txn *txn, const struct record_row *row, struct log_row *log)
{
	struct row key = row_of3(row->log, row->seq, row->number), value = row_none();
	struct record_row prev;
	uint8_t flags = 0;

	/* Nothing stands beyond the tip, unless a branch is in effect. */
	bool beyond = log->branch == 0 && log->tip && row->seq > log->tip_seq;
	int rival = beyond ? 0 : has_rival(txn, row);
	if (rival < 0)
		return rival;
	log->forked |= rival > 0;
	if (row->prev && log->branch) {
		int err = log_record_row(txn, row->prev, &prev);
		if (err == 0)
			err = log_chain_flags(txn, &prev, &flags);
		if (err < 0 && err != -ENOENT)
			return err;
	}
	flags &= CHAIN_KEPT;
	row_u8(&value, flags);
	if (log_is_newer(log, row) && (!log->branch || flags))
		log_set_tip(log, row);
	return row_put(txn, TABLE_CHAIN, &key, &value);
}

/* Writes the rows of a record and, unless it is held, applies it. row: all but number, log and prev. 1: it is here. */
static int take_record(struct store_txn *txn, struct record_row *row, const struct record *record)
{
	struct log_row log;

	uint64_t next = txn->counters.next[NUMBER_RECORD];

	int err = store_number_make(txn, NUMBER_RECORD, &row->id, &row->number);
	row->fresh = err == 0 && row->number == next;
	if (err == 0 && !row->fresh && txn->replaying) { /* examine() did not ask */
		struct record_row known;
		err = log_record_row(txn, row->number, &known);
		if (err != -ENOENT)
			return err < 0 ? err : 1;
		err = 0;
	}
	if (err == 0 && row->seq > 0)
		err = store_number_make(txn, NUMBER_RECORD, &record->prev, &row->prev);
	if (err == 0)
		err = open_log(txn, &record->voucher, &log);
	if (err < 0)
		return err;
	row->log = log.number;
	log.records++;
	if (!row->held && row->time_ms > log.newest_ms)
		log.newest_ms = row->time_ms;
	err = record_row_put(txn, row);
	if (err == 0)
		err = link_record(txn, row, &log);
	if (err == 0)
		err = log_put(txn, &log);
	if (err < 0)
		return err;
	if (!row->held)
		return person_apply(txn, row, record);
	struct row held = row_of2(row->time_ms, row->number);
	return row_put(txn, TABLE_HELD, &held, NULL);
}

static int append_entry(struct store_txn *txn, const struct signature *signature, const void *bytes, size_t size,
			journal_place *out)
{
	static const struct signature none;
	const struct span spans[] = { { signature ? signature : &none, SIGNATURE_SIZE }, { bytes, size } };

	return store_append(txn, KIND_RECORD, spans, 2, out);
}

/* voucher, seq, prev, time and nonce of a record of this device. */
static int fill_head(struct store_txn *txn, struct record *record, uint64_t least_ms)
{
	const struct id *self = &store_key(store_of(txn))->public;
	struct log_row log = { 0 };
	struct id person;
	uint64_t newest;

	int err = log_get(txn, self, &log);
	if (err < 0 && err != -ENOENT)
		return err;
	err = person_of(txn, self, &person);
	if (err == 0)
		err = person_newest_ms(txn, &person, &newest);
	if (err < 0)
		return err;
	record->voucher = *self;
	record->seq = log.tip ? log.tip_seq + 1 : 0;
	record->prev = log.tip_id;
	record->time_ms = store_txn_time_ms(txn);
	if (record->time_ms < log.tip_time_ms)
		record->time_ms = log.tip_time_ms;
	if (record->time_ms < newest)
		record->time_ms = newest;
	if (record->time_ms < least_ms)
		record->time_ms = least_ms;
	clock_random(store_clock(store_of(txn)), record->nonce, sizeof(record->nonce));
	return 0;
}

int log_sign(struct store_txn *txn)
{
	struct signature signature;

	if (txn->run.count == 0)
		return 0;
	int err = record_sign(&signature, store_key(store_of(txn)), &txn->run.last);
	if (err < 0)
		return err;
	memcpy(txn->bytes.data + txn->planned[txn->run.planned].offset, &signature, SIGNATURE_SIZE);
	txn->run = (struct unsigned_run){ 0 };
	return 0;
}

/* What is never looked at alone may leave its signature to one that follows at once. */
static bool waits_for_next(const struct store_txn *txn, const struct record *record)
{
	return (record->field == FIELD_VERSION || record->field == FIELD_ENTRIES) &&
	       txn->run.count < UNSIGNED_MAX && txn->run.size < UNSIGNED_SIZE_MAX;
}

static int append_own(struct store_txn *txn, const struct record *record, const struct bytes *bytes,
		      const struct id *id, journal_place *out)
{
	size_t index = txn->planned_count;

	int err = append_entry(txn, NULL, bytes->data, bytes->size, out);
	if (err < 0)
		return err;
	bool waits = waits_for_next(txn, record);
	txn->run = (struct unsigned_run){ .last = *id, .planned = index, .count = txn->run.count + 1,
					  .size = txn->run.size + bytes->size };
	return waits ? 0 : log_sign(txn);
}

int log_append(struct store_txn *txn, struct record *record, struct id *out_id, uint64_t *out_number)
{
	return log_append_after(txn, record, 0, out_id, out_number);
}

int log_append_after(struct store_txn *txn, struct record *record, uint64_t least_ms, struct id *out_id,
		     uint64_t *out_number)
{
	struct record_row row = { 0 };
	struct bytes bytes;

	if (store_held_until_ms(store_of(txn)))
		return STORE_HELD;
	int err = fill_head(txn, record, least_ms);
	if (err < 0)
		return err;
	bytes_init(&bytes, RECORD_SIZE_MAX);
	err = record_encode(record, &bytes);
	if (err == 0)
		err = bytes_error(&bytes);
	if (err == 0) {
		row = (struct record_row){ .size = (uint32_t)bytes.size, .seq = record->seq,
					   .time_ms = record->time_ms, .field = record->field, .made = true };
		record_id(&row.id, bytes.data, bytes.size);
		err = append_own(txn, record, &bytes, &row.id, &row.place);
	}
	bytes_finish(&bytes);
	if (err == 0)
		err = take_record(txn, &row, record);
	if (err < 0)
		return err;
	txn->own = true;
	if (out_id)
		*out_id = row.id;
	if (out_number)
		*out_number = row.number;
	return 0;
}

/* ---- accepting ---- */

/* Decodes, and fills what the row of this record will say. 1: it is here; else as log_accept(). */
static int examine(struct store_txn *txn, const uint8_t *bytes, size_t size, struct record *record,
		   struct record_row *out)
{
	struct record_row known, prev;
	struct log_row log;

	if (!record)
		return -ENOMEM;
	int err = record_decode(record, bytes, size);
	if (err < 0)
		return err;
	*out = (struct record_row){ .size = (uint32_t)size, .seq = record->seq, .time_ms = record->time_ms,
				    .field = record->field };
	record_id(&out->id, bytes, size);
	out->held = record->time_ms > store_txn_time_ms(txn) + FUTURE_MS_MAX &&
		    !id_equal(&record->voucher, &store_key(store_of(txn))->public);
	/* While replaying take_record() finds out: here it would be one look-up more for each. */
	err = txn->replaying ? -ENOENT : log_find_record(txn, &out->id, &known);
	if (err != -ENOENT)
		return err < 0 ? err : 1;
	if (record->seq == 0)
		return 0;
	err = log_find_record(txn, &record->prev, &prev);
	if (err < 0)
		return err == -ENOENT ? -EAGAIN : err;
	err = log_get_number(txn, prev.log, &log);
	if (err < 0)
		return err;
	if (!id_equal(&log.device, &record->voucher) || prev.seq + 1 != record->seq ||
	    record->time_ms < prev.time_ms)
		return -EPROTO;
	return 0;
}

int log_accept(struct store_txn *txn, const uint8_t *bytes, size_t size, const struct signature *signature)
{
	struct record *record = store_txn_record(txn, 0);
	struct record_row row;

	int err = examine(txn, bytes, size, record, &row);
	if (err == 0 && signature)
		err = record_verify(signature, &record->voucher, &row.id);
	if (err == 0)
		err = append_entry(txn, signature, bytes, size, &row.place);
	return err == 0 ? take_record(txn, &row, record) : err;
}

int log_replay(struct store_txn *txn, const uint8_t *bytes, size_t size, journal_place place)
{
	struct record *record = store_txn_record(txn, 0);
	struct record_row row;

	if (size <= SIGNATURE_SIZE)
		return -EBADMSG;
	int err = examine(txn, bytes + SIGNATURE_SIZE, size - SIGNATURE_SIZE, record, &row);
	row.place = place;
	if (err == -EAGAIN) {
		/*
		 * The one before was lost to damage. What was accepted once counts on, or the folder would
		 * fall back and this device sign its next record with a number it has used. Of its own
		 * records most leave the signature to the next.
		 */
		struct signature signature;
		memcpy(signature.bytes, bytes, SIGNATURE_SIZE);
		err = id_equal(&record->voucher, &store_key(store_of(txn))->public) ? 0 :
		      record_verify(&signature, &record->voucher, &row.id);
	}
	return err == 0 ? take_record(txn, &row, record) : err;
}

int log_apply_held(struct store_txn *txn, uint64_t record_number)
{
	struct record *record = store_txn_record(txn, 0);
	struct record_row row;
	struct log_row log;

	int err = log_record_row(txn, record_number, &row);
	if (err < 0 || !row.held)
		return err;
	struct row key = row_of2(row.time_ms, row.number);
	int damaged = log_read_record(txn, &row, record, NULL);
	if (damaged < 0 && damaged != -EBADMSG)
		return damaged;
	err = row_delete(txn, TABLE_HELD, &key);
	/* What cannot be read any more must not stop those behind it. */
	if (err < 0 || damaged < 0)
		return err;
	row.held = false;
	err = record_row_put(txn, &row);
	if (err == 0)
		err = log_get_number(txn, row.log, &log);
	if (err < 0)
		return err;
	if (row.time_ms > log.newest_ms) {
		log.newest_ms = row.time_ms;
		err = log_put(txn, &log);
	}
	return err == 0 ? person_apply(txn, &row, record) : err;
}
