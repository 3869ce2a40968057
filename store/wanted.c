#include "wanted.h"

#include <errno.h>
#include <stdlib.h>

#include "document.h"
#include "row.h"

enum { CLASS_LEAF = 0, CLASS_REST = 1, CLASS_PIECE = 2 };
enum { WATCH_LAST = 1 }; /* nothing else lacks */

#define CURSOR_REST (1ull << 63)

struct watch {
	uint64_t piece; /* number */
	uint64_t from;  /* offset in the text: what stands before is here */
	uint8_t flags;
};

/* ---- rows ---- */

static struct row wanted_key(uint8_t class, uint64_t record)
{
	struct row key = { .size = 0 };

	row_u8(&key, class);
	row_u64_be(&key, UINT64_MAX - record);
	return key;
}

static struct row watch_key(uint64_t piece)
{
	struct row key = { .size = 0 };

	row_u8(&key, CLASS_PIECE);
	row_u64_be(&key, piece);
	return key;
}

static int wanted_get(struct store_txn *txn, uint8_t class, uint64_t record, struct watch *out)
{
	struct row key = wanted_key(class, record);
	struct wire w;

	int err = row_get(txn, TABLE_WANTED, &key, &w);
	if (err < 0)
		return err;
	out->piece = wire_u64(&w);
	out->from = wire_u64(&w);
	out->flags = wire_u8(&w);
	return wire_finish(&w);
}

/* Of either class. -ENOENT: it is not wanted. */
static int wanted_find(struct store_txn *txn, uint64_t record, struct watch *out, uint8_t *out_class)
{
	*out_class = CLASS_LEAF;
	int err = wanted_get(txn, CLASS_LEAF, record, out);
	if (err != -ENOENT)
		return err;
	*out_class = CLASS_REST;
	return wanted_get(txn, CLASS_REST, record, out);
}

static int wanted_put(struct store_txn *txn, uint8_t class, uint64_t record, const struct watch *watch)
{
	struct row key = wanted_key(class, record), value = { .size = 0 }, back = watch_key(watch->piece);

	row_u64(&value, watch->piece);
	row_u64(&value, watch->from);
	row_u8(&value, watch->flags);
	int err = row_put(txn, TABLE_WANTED, &key, &value);
	if (err < 0)
		return err;
	row_u64_be(&back, record);
	return row_put(txn, TABLE_WANTED, &back, NULL);
}

/* ---- what lacks ---- */

struct search {
	struct store_txn *txn;
	struct id name;
	uint64_t at;
	bool found, unheard; /* unheard: nothing named the piece before, so nothing else waits for it */
	bool several;
};

static void search_flat(struct search *s, const struct content *content)
{
	uint64_t number;

	for (size_t i = 0; i < content->count; i++) {
		const struct id *name = &content->pieces[i].name;
		if (store_has_piece(s->txn, name) || (s->found && id_equal(name, &s->name)))
			continue;
		s->several |= s->found;
		if (s->found && s->unheard)
			continue;
		/* Versions share most of their pieces: who waits for one of its own is looked at but once. */
		bool unheard = store_number(s->txn, NUMBER_PIECE, name, &number) == -ENOENT;
		if (!s->found || unheard) {
			s->name = *name;
			s->unheard = unheard;
		}
		s->found = true;
	}
}

static int search_ref(void *context, const struct piece_ref *ref, bool is_list, uint64_t at)
{
	struct search *s = context;

	if (store_has_piece(s->txn, &ref->name))
		return 0;
	s->name = ref->name;
	s->at = at;
	s->found = s->several = true;
	return 1;
}

/* A piece that lacks. 1, 0: none, or the text cannot be whole whatever comes; -ENOMEM. */
static int find_missing(struct store_txn *txn, const struct content *content, uint64_t from, struct watch *out)
{
	struct search s = { .txn = txn };
	const struct piece_store pieces = store_txn_pieces(txn);
	int err = content_check(content);

	if (err < 0)
		return 0;
	if (content->depth == 0)
		search_flat(&s, content);
	else
		err = content_each_from(store_piece_cache(store_of(txn)), &pieces, content, from, search_ref, &s);
	if (err < 0 || !s.found)
		return err == -ENOMEM ? err : 0;
	*out = (struct watch){ .from = s.at, .flags = s.several ? 0 : WATCH_LAST };
	err = store_number_make(txn, NUMBER_PIECE, &s.name, &out->piece);
	return err < 0 ? err : 1;
}

/* ---- noting ---- */

int wanted_note(struct store_txn *txn, const struct record_row *row, const struct content *content)
{
	struct watch watch;

	if (row->made) /* here, a moment ago */
		return 0;
	int found = find_missing(txn, content, 0, &watch);
	if (found <= 0)
		return found;
	bool leaf = row->fresh || document_is_leaf(txn, row->number);
	return wanted_put(txn, leaf ? CLASS_LEAF : CLASS_REST, row->number, &watch);
}

int wanted_note_parent(struct store_txn *txn, uint64_t record)
{
	struct row key = wanted_key(CLASS_LEAF, record);
	struct watch watch;

	if (index_rows(store_index(txn), TABLE_WANTED) == 0)
		return 0;
	int err = wanted_get(txn, CLASS_LEAF, record, &watch);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = row_delete(txn, TABLE_WANTED, &key);
	return err < 0 ? err : wanted_put(txn, CLASS_REST, record, &watch);
}

struct reading { /* of records, beside what the transaction's own buffers are used for */
	struct record *record;
	uint8_t *buffer;
};

static void reading_finish(struct reading *r)
{
	free(r->record);
	free(r->buffer);
}

/* -ENOENT: it is no version, or cannot be read. */
static int read_version(struct store_txn *txn, uint64_t number, struct reading *r)
{
	struct record_row row;
	const uint8_t *bytes;

	if (!r->record)
		r->record = record_new();
	if (!r->buffer)
		r->buffer = malloc(RECORD_BUFFER_SIZE);
	if (!r->record || !r->buffer)
		return -ENOMEM;
	int err = log_record_row(txn, number, &row);
	if (err < 0 || row.field != FIELD_VERSION)
		return err < 0 ? err : -ENOENT;
	err = log_read_bytes(txn, &row, r->buffer, &bytes, NULL);
	if (err == 0)
		err = record_decode(r->record, bytes, row.size);
	return err == -EBADMSG || err == -EIO ? -ENOENT : err;
}

int wanted_note_lost(struct store_txn *txn, uint64_t record)
{
	struct reading r = { 0 };
	struct watch watch;
	uint8_t class;

	int err = wanted_find(txn, record, &watch, &class);
	if (err != -ENOENT)
		return err;
	err = read_version(txn, record, &r);
	int found = err < 0 ? err : find_missing(txn, &r.record->version.content, 0, &watch);
	reading_finish(&r);
	if (found <= 0)
		return found;
	return wanted_put(txn, document_is_leaf(txn, record) ? CLASS_LEAF : CLASS_REST, record, &watch);
}

/* ---- pieces come ---- */

/* The first version that waits for a piece; it waits no more. 1, 0 or an error. */
static int take_watch(struct store_txn *txn, uint64_t piece, uint64_t *out_record)
{
	struct row prefix = watch_key(piece);
	struct index_range range;
	struct wire w;

	int err = row_range(txn, TABLE_WANTED, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	if (err > 0) {
		wire_init(&w, range.key + prefix.size, range.key_size - prefix.size);
		*out_record = wire_u64_be(&w);
	}
	index_range_close(&range);
	if (err <= 0)
		return err;
	row_u64_be(&prefix, *out_record);
	err = row_delete(txn, TABLE_WANTED, &prefix);
	return err < 0 ? err : 1;
}

/* What it waited for is here: it waits for another, if more lacks. */
static int go_on(struct store_txn *txn, uint64_t record, struct reading *r)
{
	struct watch watch;
	uint8_t class;

	int err = wanted_find(txn, record, &watch, &class);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	struct row key = wanted_key(class, record);
	err = row_delete(txn, TABLE_WANTED, &key);
	if (err < 0 || watch.flags & WATCH_LAST)
		return err;
	err = read_version(txn, record, r);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	int found = find_missing(txn, &r->record->version.content, watch.from, &watch);
	return found <= 0 ? found : wanted_put(txn, class, record, &watch);
}

int wanted_piece_came(struct store_txn *txn, uint64_t piece)
{
	struct reading r = { 0 };
	uint64_t record;
	int found;

	while ((found = take_watch(txn, piece, &record)) > 0) {
		found = go_on(txn, record, &r);
		if (found < 0)
			break;
	}
	reading_finish(&r);
	return found;
}

int wanted_piece_dropped(struct store_txn *txn, uint64_t piece)
{
	struct watch watch;
	uint64_t record;
	uint8_t class;
	int found;

	while ((found = take_watch(txn, piece, &record)) > 0) {
		int err = wanted_find(txn, record, &watch, &class);
		struct row key = wanted_key(class, record);
		if (err == 0)
			err = row_delete(txn, TABLE_WANTED, &key);
		if (err < 0 && err != -ENOENT)
			return err;
	}
	return found;
}

/* ---- asking ---- */

int wanted_next(struct store_txn *txn, uint64_t cursor, struct wanted *out)
{
	struct row key = { .size = 0 };
	struct index_range range;
	struct wire w;

	row_u8(&key, cursor & CURSOR_REST ? CLASS_REST : CLASS_LEAF);
	row_u64_be(&key, cursor & ~CURSOR_REST ? cursor | CURSOR_REST : 0); /* inverted numbers have that bit */
	int err = row_range_at(txn, TABLE_WANTED, 0, &key, false, &range);
	if (err == 0)
		err = index_range_next(&range);
	if (err > 0) {
		wire_init(&w, range.key, range.key_size);
		uint8_t class = wire_u8(&w);
		uint64_t inverted = wire_u64_be(&w);
		if (class == CLASS_PIECE || w.failed)
			err = w.failed ? -EBADMSG : 0;
		else
			*out = (struct wanted){ UINT64_MAX - inverted, class == CLASS_LEAF,
						((inverted + 1) & ~CURSOR_REST) | (class == CLASS_REST ? CURSOR_REST : 0) };
	}
	index_range_close(&range);
	return err;
}

struct listing {
	struct store_txn *txn;
	struct piece_ref *out;
	size_t count, count_max;
	bool lists;
};

static bool is_listed(const struct listing *l, const struct id *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (id_equal(&l->out[i].name, name))
			return true;
	return false;
}

static int list_ref(void *context, const struct piece_ref *ref, bool is_list, uint64_t at)
{
	struct listing *l = context;

	if (is_list != l->lists && !is_list)
		return 0;
	if (store_has_piece(l->txn, &ref->name))
		return 0;
	if (is_list == l->lists && !is_listed(l, &ref->name))
		l->out[l->count++] = *ref;
	if (l->count == l->count_max)
		return 1;
	return is_list ? CONTENT_SKIP : 0;
}

ssize_t wanted_missing(struct store_txn *txn, uint64_t record, struct piece_ref *out, size_t count_max)
{
	struct listing l = { .txn = txn, .out = out, .count_max = count_max };
	const struct piece_store pieces = store_txn_pieces(txn);
	struct reading r = { store_txn_record(txn, 1), store_txn_buffer(txn) };
	struct watch watch = { 0 };
	uint8_t class;

	if (count_max == 0)
		return 0;
	if (!r.record || !r.buffer)
		return -ENOMEM;
	int err = wanted_find(txn, record, &watch, &class);
	if (err == 0 || err == -ENOENT)
		err = read_version(txn, record, &r);
	for (int pass = 0; err == 0 && pass < 2; pass++) {
		const struct content *content = &r.record->version.content;
		l.lists = pass == 0;
		if (content->depth == 0 && l.lists)
			continue;
		err = content_each_from(store_piece_cache(store_of(txn)), &pieces, content, watch.from, list_ref, &l);
	}
	/* What follows a list that is not sound nobody can tell. */
	return err < 0 && err != -EBADMSG ? err : (ssize_t)l.count;
}
