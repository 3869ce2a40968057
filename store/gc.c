/*
 * gc.c - giving back the room of dead entries: segments are rewritten without them.
 *
 * An entry lives if the index names its place: a record's, a piece's, a local
 * fact's.  Marks live on, so that a rebuilt index does not bring back what they
 * dropped; and so does the forgetting of a fact while a segment before it has dead
 * entries, for one of them may be that fact.  Pieces that no version and nothing that waits names (drafts that
 * came to nothing) lose their rows first, when all is asked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "log.h"
#include "store_private.h"
#include "wire.h"

#define SEGMENTS_MAX 65536
#define RECORD_PLACE_OFFSET 32 /* of the place in a record's row (log.c) */
#define PIECE_PLACE_OFFSET 36  /* after name and stored size (pieces.c) */

struct gc {
	struct store *store;
	struct store_txn *txn;
	uint8_t *needed; /* a bit a piece number */
	uint64_t needed_max;
	uint64_t live_bytes, all_bytes;
	bool clean_before; /* no segment before this one has dead entries */
	int error;         /* of a callback */
};

/* ---- which pieces are needed ---- */

static void need(struct gc *gc, uint64_t number)
{
	if (number <= gc->needed_max)
		gc->needed[number / 8] |= (uint8_t)(1u << (number % 8));
}

static int need_piece(void *context, const struct piece_ref *ref, bool is_list)
{
	struct gc *gc = context;
	uint64_t number;

	if (store_number(gc->txn, NUMBER_PIECE, &ref->name, &number) == 0)
		need(gc, number);
	return 0;
}

static int need_content(struct gc *gc, const struct content *content)
{
	struct store *store = gc->store;

	int err = content_each(store->cache, &store->pieces, content, true, need_piece, gc);
	return err == -ENODATA ? 0 : err;
}

static int need_record(struct gc *gc, uint64_t number)
{
	struct record *record = store_txn_record(gc->txn, 0);
	struct record_row row;
	struct summary_section *section;

	if (!record)
		return -ENOMEM;
	int err = log_record_row(gc->txn, number, &row);
	if (err < 0 || (row.field != FIELD_VERSION && row.field != FIELD_DENOUNCE && row.field != FIELD_SUMMARY))
		return err;
	err = log_read_record(gc->txn, &row, record, NULL);
	if (err < 0)
		return err == -EBADMSG ? 0 : err;
	if (row.field == FIELD_VERSION)
		return need_content(gc, &record->version.content);
	if (row.field == FIELD_DENOUNCE)
		return need_content(gc, &record->denounce.evidence);
	section = malloc(sizeof(*section));
	if (!section)
		return -ENOMEM;
	for (unsigned i = 0; err == 0 && i < SUMMARY_COUNT; i++) {
		err = record_summary_section(record, i, section);
		if (err == 0 && section->present)
			err = need_content(gc, &section->content);
	}
	free(section);
	return err;
}

static int need_waiting(void *context, const struct content *content)
{
	return need_content(context, content);
}

static int find_needed(struct gc *gc)
{
	struct index_range range;
	const uint8_t *key, *value;
	size_t key_size, value_size;
	int more = 0;

	gc->needed_max = gc->store->counters.next[NUMBER_PIECE];
	gc->needed = calloc(gc->needed_max / 8 + 1, 1);
	if (!gc->needed)
		return -ENOMEM;
	for (uint64_t number = 1; number < gc->store->counters.next[NUMBER_RECORD]; number++) {
		int err = need_record(gc, number);
		if (err < 0 && err != -ENOENT)
			return err;
	}
	int err = store_local_range(gc->txn, LOCAL_PENDING, "", 0, &range);
	while (err == 0 && (more = index_range_next(&range)) > 0) {
		store_local_row(&range, &key, &key_size, &value, &value_size);
		err = pending_each_content(value, value_size, need_waiting, gc);
	}
	index_range_close(&range);
	return err < 0 ? err : more;
}

static int forget_rows(struct gc *gc)
{
	struct index_range range;
	struct bytes dead;
	int more;

	int err = index_range_open(&range, gc->txn->index, TABLE_PIECE, NULL, 0);
	if (err < 0)
		return err;
	bytes_init(&dead, SIZE_MAX / 2);
	while ((more = index_range_next(&range)) > 0) {
		struct wire w;
		wire_init(&w, range.key, range.key_size);
		uint64_t number = wire_u64_be(&w);
		if (number <= gc->needed_max && !(gc->needed[number / 8] & (1u << (number % 8))))
			bytes_put(&dead, range.key, 8);
	}
	index_range_close(&range);
	err = more < 0 ? more : bytes_error(&dead);
	for (size_t i = 0; err == 0 && i + 8 <= dead.size; i += 8)
		err = index_delete(gc->txn->index, TABLE_PIECE, dead.data + i, 8);
	bytes_finish(&dead);
	return err;
}

struct wholeness {
	struct store_txn *txn;
	bool damaged;
};

/* A record that was not applied may name pieces that nothing else does. */
static int find_unknown(void *context, const struct journal_entry *entry)
{
	struct wholeness *w = context;
	struct record_row row;
	struct id id;

	if (entry->kind != KIND_RECORD || entry->size <= sizeof(struct signature))
		return 0;
	id_of_bytes(&id, entry->bytes + sizeof(struct signature), entry->size - sizeof(struct signature));
	int err = log_find_record(w->txn, &id, &row);
	w->damaged |= err == -ENOENT;
	return w->damaged ? 1 : err;
}

static void note_damage(void *context, const struct journal_damage *damage)
{
	struct wholeness *w = context;

	w->damaged = true;
}

/* 1 if every record that the journal has or had is known: only then can it be told what nothing needs. */
static int is_whole(struct store *store)
{
	struct wholeness w = { 0 };

	int err = store_begin(store, false, &w.txn);
	if (err < 0)
		return err;
	err = journal_scan(store->journal, 0, find_unknown, note_damage, &w);
	store_abort(w.txn);
	return err < 0 ? err : !w.damaged;
}

/* Forgets the rows of pieces that nothing needs; their entries are dead from then on. */
static int forget_unneeded(struct store *store)
{
	struct gc gc = { .store = store };

	int err = store_begin(store, true, &gc.txn);
	if (err < 0)
		return err;
	/* A batch may count on pieces that nothing names yet. */
	if (store->batches > 0) {
		store_abort(gc.txn);
		return 0;
	}
	err = find_needed(&gc);
	if (err == 0)
		err = forget_rows(&gc);
	free(gc.needed);
	if (err == 0)
		return store_commit(gc.txn);
	store_abort(gc.txn);
	return err;
}

/* ---- segments ---- */

struct row { /* where the index keeps an entry's place */
	enum table table;
	uint8_t key[512];
	size_t key_size, place_offset;
};

static int number_row(struct gc *gc, const struct journal_entry *entry, size_t skip, struct row *out)
{
	bool record = entry->kind == KIND_RECORD;
	struct id id;
	uint64_t number;

	if (entry->size <= skip)
		return -ENOENT;
	id_of_bytes(&id, entry->bytes + skip, entry->size - skip);
	int err = store_number(gc->txn, record ? NUMBER_RECORD : NUMBER_PIECE, &id, &number);
	if (err < 0)
		return err;
	out->table = record ? TABLE_RECORD : TABLE_PIECE;
	out->place_offset = record ? RECORD_PLACE_OFFSET : PIECE_PLACE_OFFSET;
	for (int i = 0; i < 8; i++)
		out->key[i] = (uint8_t)(number >> (56 - 8 * i));
	out->key_size = 8;
	return 0;
}

static int local_row(const struct journal_entry *entry, struct row *out)
{
	struct cbor_reader r;
	size_t size;

	cbor_reader_init(&r, entry->bytes, entry->size);
	cbor_get_array(&r, 3, 3);
	out->table = TABLE_LOCAL;
	out->key[0] = (uint8_t)cbor_get_uint(&r, UINT8_MAX);
	const uint8_t *key = cbor_get_bytes(&r, 0, sizeof(out->key) - 1, &size);
	if (r.failed)
		return -ENOENT;
	memcpy(out->key + 1, key, size);
	out->key_size = 1 + size;
	out->place_offset = 0;
	return 0;
}

static bool forgets(const struct journal_entry *entry)
{
	struct cbor_reader r;
	size_t size;

	if (entry->kind != KIND_LOCAL)
		return false;
	cbor_reader_init(&r, entry->bytes, entry->size);
	cbor_get_array(&r, 3, 3);
	cbor_get_uint(&r, UINT8_MAX);
	cbor_get_bytes(&r, 0, SIZE_MAX, &size);
	cbor_get_bytes(&r, 0, SIZE_MAX, &size);
	return !r.failed && size == 0;
}

static int find_row(struct gc *gc, const struct journal_entry *entry, struct row *out)
{
	switch (entry->kind) {
	case KIND_RECORD: return number_row(gc, entry, sizeof(struct signature), out);
	case KIND_PIECE: return number_row(gc, entry, ID_SIZE, out);
	case KIND_LOCAL: return local_row(entry, out);
	default: return -ENOENT;
	}
}

static int read_row(struct gc *gc, const struct row *row, const uint8_t **out_value, size_t *out_size, journal_place *out_place)
{
	struct wire w;

	int err = index_get(gc->txn->index, row->table, row->key, row->key_size, out_value, out_size);
	if (err < 0)
		return err;
	wire_init(&w, *out_value, *out_size);
	wire_bytes(&w, row->place_offset);
	*out_place = wire_u64(&w);
	return w.failed ? -EBADMSG : 0;
}

static bool is_live(void *context, const struct journal_entry *entry)
{
	struct gc *gc = context;
	struct row row;
	const uint8_t *value;
	size_t size;
	journal_place place;

	/* Marks, and what a newer program wrote, stay. */
	if (entry->kind != KIND_RECORD && entry->kind != KIND_PIECE && entry->kind != KIND_LOCAL)
		return true;
	int err = find_row(gc, entry, &row);
	if (err == 0)
		err = read_row(gc, &row, &value, &size, &place);
	/* A record that the index does not know (damaged chain) is not ours to destroy. */
	if (err == -ENOENT)
		return entry->kind == KIND_RECORD || (!gc->clean_before && forgets(entry));
	return err < 0 || place == entry->place;
}

static int count_live(void *context, const struct journal_entry *entry)
{
	struct gc *gc = context;
	uint64_t size = entry->size + JOURNAL_HEAD_SIZE;

	gc->all_bytes += size;
	gc->live_bytes += is_live(gc, entry) ? size : 0;
	return 0;
}

static void move_row(void *context, const struct journal_entry *entry, journal_place new_place)
{
	struct gc *gc = context;
	struct row row;
	const uint8_t *value;
	size_t size;
	journal_place place;
	struct bytes changed;

	if (gc->error < 0 || find_row(gc, entry, &row) < 0 || read_row(gc, &row, &value, &size, &place) < 0)
		return;
	bytes_init(&changed, JOURNAL_ENTRY_MAX + 64);
	bytes_put(&changed, value, row.place_offset);
	bytes_put_u64(&changed, new_place);
	bytes_put(&changed, value + row.place_offset + 8, size - row.place_offset - 8);
	gc->error = bytes_error(&changed);
	if (gc->error == 0)
		gc->error = index_put(gc->txn->index, row.table, row.key, row.key_size, changed.data, changed.size);
	bytes_finish(&changed);
}

/* While it says 1 a crash makes the next start build the index anew: places may be of either file. */
static int set_moving(struct store *store, const char *value)
{
	struct store_txn *txn;

	int err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	err = index_put(txn->index, TABLE_META, "moving", 6, value, 1);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int replace_segment(struct gc *gc, uint32_t segment)
{
	struct journal *journal = gc->store->journal;

	int err = journal_compact_prepare(journal, segment, is_live, move_row, gc);
	if (err < 0)
		return err;
	err = gc->error;
	if (err == 0)
		err = journal_compact_commit(journal, segment);
	if (err < 0)
		journal_compact_abandon(journal, segment);
	return err;
}

static int find_moved(void *context, const struct journal_entry *entry)
{
	struct gc *gc = context;
	struct row row;
	const uint8_t *value;
	size_t size;
	journal_place place;

	/* What stands elsewhere too has its row there. */
	if (find_row(gc, entry, &row) == 0 && read_row(gc, &row, &value, &size, &place) == 0 &&
	    place >> 32 == entry->place >> 32)
		move_row(gc, entry, entry->place);
	return gc->error;
}

int gc_mend(struct store *store)
{
	struct gc gc = { .store = store };

	int err = txn_new(store, true, &gc.txn);
	if (err < 0)
		return err;
	gc.txn->replaying = true; /* the lock stays the caller's */
	err = journal_scan_segment(store->journal, store->moved, find_moved, NULL, &gc);
	if (err == 0)
		err = index_put(gc.txn->index, TABLE_META, "moving", 6, "0", 1);
	if (err < 0) {
		store_abort(gc.txn);
		return err;
	}
	return store_commit(gc.txn);
}

/* *clean: no segment before this one has dead entries; then whether this is so after it. */
static int rewrite_segment(struct store *store, uint32_t segment, bool all, bool *clean, struct gc_report *report)
{
	struct gc gc = { .store = store, .clean_before = *clean };

	int err = store_begin(store, true, &gc.txn);
	if (err < 0)
		return err;
	err = journal_scan_segment(store->journal, segment, count_live, NULL, &gc);
	bool wanted = err == 0 && gc.live_bytes < gc.all_bytes && (all || gc.live_bytes * 2 < gc.all_bytes);
	*clean = *clean && (wanted || gc.live_bytes == gc.all_bytes);
	if (!wanted) {
		store_abort(gc.txn);
		return err;
	}
	/* Readers who find something else at a place wait for the commit. */
	atomic_store(&store->moving, true);
	err = replace_segment(&gc, segment);
	if (err == 0) {
		store->moved = segment; /* until a commit succeeds; after a kill "moving" makes the next start rebuild it */
		err = store_commit(gc.txn);
	} else {
		store_abort(gc.txn);
	}
	atomic_store(&store->moving, false);
	if (err == 0) {
		report->segments_rewritten++;
		report->bytes_freed += gc.all_bytes - gc.live_bytes;
	}
	return err;
}

static int rewrite_segments(struct store *store, const uint32_t *segments, size_t count, bool all,
			    struct gc_report *report)
{
	bool clean = true;

	if (count == 0)
		return 0;
	int err = set_moving(store, "1");
	if (err < 0)
		return err;
	for (size_t i = 0; err == 0 && i < count; i++)
		err = rewrite_segment(store, segments[i], all, &clean, report);
	int cleared = set_moving(store, "0");
	return err < 0 ? err : cleared;
}

static int rotate(struct store *store)
{
	/* Not while a transaction has planned places. */
	pthread_mutex_lock(&store->write_lock);
	int err = journal_rotate(store->journal);
	pthread_mutex_unlock(&store->write_lock);
	return err;
}

int store_gc(struct store *store, bool all, struct gc_report *out)
{
	struct gc_report report = { 0 };

	/* Rewriting a damaged journal would hide what is lost, and take what only it needed. */
	int whole = is_whole(store);
	if (whole <= 0)
		return whole < 0 ? whole : -EUCLEAN;
	uint32_t *segments = malloc(SEGMENTS_MAX * sizeof(*segments));
	int err = segments ? 0 : -ENOMEM;
	if (err == 0 && all)
		err = forget_unneeded(store);
	if (err == 0 && all)
		err = rotate(store);
	if (err == 0)
		err = journal_sync(store->journal);
	size_t count = err == 0 ? journal_segments(store->journal, segments, SEGMENTS_MAX) : 0;
	if (err == 0 && count > 0)
		err = rewrite_segments(store, segments, count - 1, all, &report); /* not the active one */
	free(segments);
	if (err == 0)
		*out = report;
	return err;
}
