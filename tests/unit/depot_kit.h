/*
 * depot_kit.h - for tests of the store's side of the network: nodes that are a store with a depot over it, and
 * records and pieces carried from one to another through depot calls alone.
 *
 * After cmocka.h and store_helper.h.
 */
#ifndef DEPOT_KIT_H
#define DEPOT_KIT_H

#include "depot_store.h"
#include "index.h"

#define ARRIVALS_MAX 512

struct arrival {
	struct id person, directory;
	char name[NAME_SIZE_MAX + 1];
};

struct node {
	struct test_store t;
	struct depot_store *store;
	const struct depot *depot;
	struct arrival arrivals[ARRIVALS_MAX];
	size_t arrival_count;
	unsigned takings; /* records_taken() calls */
};

static inline void kit_arrived(void *context, const struct id *person, const struct id *directory, const char *name)
{
	struct node *n = context;

	if (n->arrival_count == ARRIVALS_MAX)
		return;
	struct arrival *a = &n->arrivals[n->arrival_count++];
	a->person = *person;
	a->directory = *directory;
	snprintf(a->name, sizeof(a->name), "%s", name);
}

static inline void kit_taken(void *context)
{
	((struct node *)context)->takings++;
}

static inline void node_open(struct node *n)
{
	const struct depot_store_options options = { .store = n->t.store, .arrived = kit_arrived, .records_taken = kit_taken,
						     .context = n };

	assert_int_equal(depot_store_new(&n->store, &options), 0);
	n->depot = depot_store_depot(n->store);
}

static inline void node_make(struct node *n, uint64_t seed)
{
	memset(n, 0, sizeof(*n));
	test_store_make(&n->t, seed);
	node_open(n);
}

static inline void node_remove(struct node *n)
{
	depot_store_free(n->store);
	test_store_remove(&n->t);
}

static inline const struct id *device_of(const struct node *n)
{
	return &n->t.key.public;
}

static inline bool has_arrived(const struct node *n, const struct id *person, const struct id *directory, const char *name)
{
	for (size_t i = 0; i < n->arrival_count; i++)
		if (id_equal(&n->arrivals[i].person, person) && id_equal(&n->arrivals[i].directory, directory) &&
		    strcmp(n->arrivals[i].name, name) == 0)
			return true;
	return false;
}

static inline void node_sync(struct node *n)
{
	assert_int_equal(n->depot->calls->sync(n->depot->context), 0);
}

static inline void node_follow(struct node *n, const struct id *person, bool on)
{
	struct record *record = record_new();
	struct store_txn *txn = txn_begin(&n->t, true);

	record->field = FIELD_SUBSCRIBE;
	record->subscribe.what = SUBJECT_ENTITY;
	record->subscribe.id = *person;
	record->subscribe.on = on;
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	txn_commit(txn);
	free(record);
	depot_store_follows_changed(n->store);
}

/* ---- chains ---- */

#define CHAIN_MAX 4096

struct run { /* records that own their bytes */
	struct record_item items[CHAIN_MAX];
	uint64_t seqs[CHAIN_MAX];
	size_t count;
};

static inline int run_add(void *visitor, uint64_t seq, const struct record_item *item)
{
	struct run *run = visitor;

	assert_true(run->count < CHAIN_MAX);
	struct record_item *copy = &run->items[run->count];
	*copy = *item;
	uint8_t *bytes = malloc(item->size);
	memcpy(bytes, item->bytes, item->size);
	copy->bytes = bytes;
	run->seqs[run->count++] = seq;
	return 0;
}

static inline struct run *run_of(const struct node *from, const struct id *device, uint64_t first, uint64_t last)
{
	struct run *run = calloc(1, sizeof(*run));

	assert_int_equal(from->depot->calls->each_record(from->depot->context, device, first, last, run_add, run), 0);
	return run;
}

static inline void run_free(struct run *run)
{
	for (size_t i = 0; i < run->count; i++)
		free((void *)(uintptr_t)run->items[i].bytes);
	free(run);
}

static inline int node_take(struct node *to, const struct id *device, const struct record_item *items, size_t count)
{
	return to->depot->calls->take_records(to->depot->context, device, items, count);
}

/* All of one log; how many were new. */
static inline int carry_log(const struct node *from, struct node *to, const struct id *device)
{
	struct run *run = run_of(from, device, 0, UINT64_MAX);
	int err = node_take(to, device, run->items, run->count);

	run_free(run);
	return err;
}

struct carrying {
	const struct node *from;
	struct node *to;
	struct head heads[64];
	size_t count;
};

static inline int carry_head(void *visitor, const struct head *head)
{
	struct carrying *c = visitor;

	assert_true(c->count < 64);
	c->heads[c->count++] = *head;
	return 0;
}

static inline void carry_logs(const struct node *from, struct node *to)
{
	struct carrying c = { .from = from, .to = to };
	const struct id none = { { 0 } };

	assert_int_equal(from->depot->calls->each_head(from->depot->context, &none, carry_head, &c), 0);
	for (size_t i = 0; i < c.count; i++)
		assert_true(carry_log(from, to, &c.heads[i].device) >= 0);
}

/* ---- pieces ---- */

static inline int carry_piece(const struct node *from, struct node *to, const struct id *name)
{
	uint8_t *member = malloc(PIECE_STORED_MAX);
	struct piece_item item = { .name = *name, .bytes = member };
	int result = 1;

	ssize_t size = from->depot->calls->read_piece(from->depot->context, name, member, PIECE_STORED_MAX);
	if (size > 0) {
		item.size = (size_t)size;
		assert_int_equal(to->depot->calls->take_pieces(to->depot->context, &item, 1, &result), 0);
	}
	free(member);
	return size < 0 ? (int)size : result;
}

/* All that is missing and there. How many came. */
static inline size_t carry_pieces(const struct node *from, struct node *to)
{
	struct depot_piece pieces[16];
	uint64_t cursor = 0;
	size_t came = 0, before;
	ssize_t count;

	do {
		before = came;
		cursor = 0;
		while ((count = to->depot->calls->missing(to->depot->context, &cursor, pieces, 16)) > 0)
			for (ssize_t i = 0; i < count; i++)
				came += carry_piece(from, to, &pieces[i].name) == 0;
		assert_int_equal(count, 0);
	} while (came > before);
	return came;
}

static inline size_t count_missing(struct node *n)
{
	struct depot_piece pieces[64];
	uint64_t cursor = 0;
	size_t all = 0;
	ssize_t count;

	while ((count = n->depot->calls->missing(n->depot->context, &cursor, pieces, 64)) > 0)
		all += (size_t)count;
	assert_int_equal(count, 0);
	return all;
}

/* ---- comparing ---- */

struct dump {
	struct bytes tables[TABLE_COUNT];
};

/* All rows of all tables but META. */
static inline void dump_rows(struct test_store *t, struct dump *dump)
{
	struct store_txn *txn = txn_begin(t, false);

	for (int table = 0; table < TABLE_COUNT; table++) {
		struct bytes *out = &dump->tables[table];
		struct index_range range;
		int more;
		bytes_init(out, 1u << 28);
		if (table == TABLE_META)
			continue;
		assert_int_equal(index_range_open(&range, store_index(txn), (enum table)table, NULL, 0), 0);
		while ((more = index_range_next(&range)) > 0) {
			bytes_put_u32(out, (uint32_t)range.key_size);
			bytes_put(out, range.key, range.key_size);
			bytes_put_u32(out, (uint32_t)range.value_size);
			bytes_put(out, range.value, range.value_size);
		}
		index_range_close(&range);
		assert_int_equal(more, 0);
		assert_int_equal(bytes_error(out), 0);
	}
	store_abort(txn);
}

/* The index made anew from the journal has the same bytes. */
static inline void assert_reindex_is_same(struct node *n)
{
	struct dump before, after;

	dump_rows(&n->t, &before);
	depot_store_free(n->store);
	test_store_stop(&n->t);
	test_store_start(&n->t, true);
	node_open(n);
	dump_rows(&n->t, &after);
	for (int table = 0; table < TABLE_COUNT; table++) {
		const struct bytes *x = &before.tables[table], *y = &after.tables[table];
		if (x->size != y->size || (x->size && memcmp(x->data, y->data, x->size) != 0))
			fail_msg("table %d is another: %zu bytes, not %zu", table, y->size, x->size);
		bytes_finish(&before.tables[table]);
		bytes_finish(&after.tables[table]);
	}
}

struct lines { /* a hash each: of where it shows, its name, what it is, and its text */
	struct id items[1024];
	size_t count;
};

struct listing {
	struct node *n;
	struct store_txn *txn;
	struct lines *out;
	struct id person, directory;
	struct id inside[256]; /* directories still to be looked at */
	size_t inside_count;
};

static inline int list_item(void *context, const struct tree_item *item)
{
	struct listing *l = context;
	struct version *v = calloc(1, sizeof(*v));
	uint8_t *text = NULL;
	ssize_t size = 0;

	if (item->what == WHAT_VERSION) {
		assert_int_equal(document_version(l->txn, &item->id, v), 0);
		text = malloc(v->content.size + 1);
		size = content_read(store_piece_cache(l->n->t.store), store_pieces(l->n->t.store), &v->content, text,
				    v->content.size, 0);
	} else {
		assert_true(l->inside_count < 256);
		l->inside[l->inside_count++] = item->id;
	}
	const struct span spans[] = { { &l->directory, ID_SIZE }, { item->name, strlen(item->name) + 1 },
				      { &item->id, ID_SIZE }, { &item->heads, sizeof(item->heads) },
				      { &size, sizeof(size) }, { text, size > 0 ? (size_t)size : 0 } };
	assert_true(l->out->count < 1024);
	id_of_spans(&l->out->items[l->out->count++], spans, sizeof(spans) / sizeof(spans[0]));
	free(text);
	free(v);
	return 0;
}

static inline int compare_lines(const void *a, const void *b)
{
	return id_compare(a, b);
}

/* All that shows of a person, with the texts, in no order. */
static inline void folder_of(struct node *n, const struct id *person, struct lines *out)
{
	struct listing l = { .n = n, .txn = txn_begin(&n->t, false), .out = out, .person = *person,
			     .inside = { *person }, .inside_count = 1 };

	out->count = 0;
	for (size_t i = 0; i < l.inside_count; i++) {
		l.directory = l.inside[i];
		assert_int_equal(tree_each(l.txn, person, &l.directory, 0, list_item, &l), 0);
	}
	qsort(out->items, out->count, sizeof(out->items[0]), compare_lines);
	store_abort(l.txn);
}

static inline void assert_same_folder(struct node *a, struct node *b, const struct id *person)
{
	struct lines *x = calloc(1, sizeof(*x)), *y = calloc(1, sizeof(*y));

	folder_of(a, person, x);
	folder_of(b, person, y);
	assert_true(x->count > 0);
	assert_int_equal(x->count, y->count);
	assert_memory_equal(x->items, y->items, x->count * sizeof(x->items[0]));
	free(x);
	free(y);
}

/* ---- writing ---- */

static inline struct id write_text(struct node *n, const struct id *directory, const char *name, const char *text)
{
	struct store_txn *txn = txn_begin(&n->t, true);
	struct id person, id;

	assert_int_equal(person_self(txn, &person), 0);
	n->t.time_ms += 1000;
	id = say_version(&n->t, txn, &(struct save){ .directory = directory ? *directory : person, .name = name, .text = text });
	txn_commit(txn);
	return id;
}

static inline struct id write_next(struct node *n, const struct id *document, const struct id *parent, const char *name,
				   const char *text)
{
	struct store_txn *txn = txn_begin(&n->t, true);
	struct id person, id;

	assert_int_equal(person_self(txn, &person), 0);
	n->t.time_ms += 1000;
	id = say_version(&n->t, txn, &(struct save){ .directory = person, .name = name, .text = text,
						     .document = *document, .parent = *parent });
	txn_commit(txn);
	return id;
}

/* Text that does not compress, `size` characters of it; free it. */
static inline char *noise(uint64_t seed, size_t size)
{
	char *text = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		text[i] = (char)(33 + chance_next(&seed) % 90);
	text[size] = '\0';
	return text;
}

#endif
