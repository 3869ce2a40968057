/*
 * store_helper.h - for tests of what stands on a store: data folders of their own, each with
 * its key and a clock that goes when told, and short ways to say what records say.
 *
 * After cmocka.h. Everything follows from the seed: keys, nonces, so also record ids.
 */
#ifndef STORE_HELPER_H
#define STORE_HELPER_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "document.h"
#include "file.h"
#include "log.h"
#include "person.h"
#include "store.h"
#include "store_private.h"
#include "tree.h"

#define HELPER_TIME_MS 1800000000000ull /* 2027: when the tests' clocks begin */
#define HELPER_STANDING_MAX 64

/* ---- chance that repeats ---- */

static inline uint64_t chance_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna) */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline unsigned chance_below(uint64_t *state, unsigned count)
{
	return count ? (unsigned)(chance_next(state) % count) : 0;
}

/* ---- a store ---- */

struct test_store {
	char path[256];
	struct key key;
	uint64_t time_ms; /* what its clock says */
	uint64_t chance;  /* what its randomness is made of */
	struct store *store;
	struct packer *packer;
};

static inline uint64_t helper_time_ns(void *context)
{
	return ((struct test_store *)context)->time_ms * 1000000;
}

static inline uint64_t helper_now_ms(void *context)
{
	return ((struct test_store *)context)->time_ms;
}

static inline void helper_random(void *context, uint8_t *out, size_t size)
{
	struct test_store *t = context;

	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)chance_next(&t->chance);
}

static inline struct clock helper_clock(struct test_store *t)
{
	return (struct clock){ helper_time_ns, helper_now_ms, helper_random, t };
}

static inline void test_store_start(struct test_store *t, bool reindex)
{
	struct store_options options = { .clock = helper_clock(t), .create = true, .reindex = reindex };
	struct why why = { 0 };

	int err = store_open(&t->store, t->path, &t->key, &options, &why);
	if (err < 0)
		fail_msg("%s: %s (%d)", t->path, why.text, err);
}

static inline void test_store_stop(struct test_store *t)
{
	assert_int_equal(store_close(t->store), 0);
	t->store = NULL;
}

static inline void helper_folder(char path[256])
{
	const char *base = getenv("TMPDIR");

	/* Stores sync; where that costs nothing, tests take a tenth of the time. */
	if (!base)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, 256, "%s/moot-XXXXXX", base);
	assert_non_null(mkdtemp(path));
}

/* A new data folder, key and open store. */
static inline void test_store_make(struct test_store *t, uint64_t seed)
{
	*t = (struct test_store){ .time_ms = HELPER_TIME_MS, .chance = seed };
	struct clock clock = helper_clock(t);

	helper_folder(t->path);
	key_create(&t->key, &clock);
	t->packer = packer_new();
	assert_non_null(t->packer);
	test_store_start(t, false);
}

static inline int helper_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void test_store_remove(struct test_store *t)
{
	/* After a failure a transaction may be open: closing would wait for it for ever. */
	if (t->store && pthread_mutex_trylock(&t->store->write_lock) == 0) {
		pthread_mutex_unlock(&t->store->write_lock);
		test_store_stop(t);
	}
	packer_free(t->packer);
	key_finish(&t->key);
	nftw(t->path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Another folder with the same key and the same journal as `of` has now: a restored backup. Its nonces differ. */
static inline void test_store_copy(struct test_store *t, const struct test_store *of, uint64_t seed)
{
	char from[512], to[512];
	struct dirent *entry;

	*t = (struct test_store){ .time_ms = of->time_ms, .key = of->key, .chance = seed, .packer = packer_new() };
	helper_folder(t->path);
	snprintf(to, sizeof(to), "%.255s/journal", t->path);
	assert_int_equal(mkdir(to, 0700), 0);
	snprintf(from, sizeof(from), "%.255s/journal", of->path);
	DIR *journal = opendir(from);
	assert_non_null(journal);
	while ((entry = readdir(journal))) {
		uint8_t *bytes;
		size_t size;
		if (entry->d_name[0] == '.')
			continue;
		assert_int_equal(file_read(dirfd(journal), entry->d_name, 1u << 30, &bytes, &size), 0);
		snprintf(to, sizeof(to), "%.255s/journal/%.100s", t->path, entry->d_name);
		assert_int_equal(file_replace(AT_FDCWD, to, 0600, bytes, size), 0);
		free(bytes);
	}
	closedir(journal);
	test_store_start(t, false);
}

static inline struct store_txn *txn_begin(struct test_store *t, bool write)
{
	struct store_txn *txn;

	assert_int_equal(store_begin(t->store, write, &txn), 0);
	return txn;
}

static inline void txn_commit(struct store_txn *txn)
{
	assert_int_equal(store_commit(txn), 0);
}

/* ---- entries ---- */

static inline struct text text_of(const char *text)
{
	return (struct text){ text, strlen(text) };
}

static inline int compare_replaced(const void *a, const void *b)
{
	const struct replaced *x = a, *y = b;
	int order = id_compare(&x->record, &y->record);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static inline void sort_replaced(struct record *record, const struct entry *entry)
{
	if (entry->replaces_count)
		qsort(record->replaces + entry->replaces_first, entry->replaces_count, sizeof(struct replaced),
		      compare_replaced);
}

/* Lets an entry replace what stands at its slot, only the newest if so told. */
static inline void replace_standing(struct store_txn *txn, struct record *record, struct entry *entry, bool only_newest)
{
	struct standing standing[HELPER_STANDING_MAX];
	struct id person;
	char name[NAME_SIZE_MAX + 1];

	snprintf(name, sizeof(name), "%.*s", (int)entry->name.size, entry->name.data);
	assert_int_equal(person_self(txn, &person), 0);
	int count = tree_standing(txn, &person, &entry->directory, name, standing, HELPER_STANDING_MAX);
	assert_true(count >= 0);
	if (count > HELPER_STANDING_MAX)
		count = HELPER_STANDING_MAX;
	if (only_newest && count > 1)
		count = 1;
	entry->replaces_first = record->replaces_count;
	entry->replaces_count = (uint32_t)count;
	for (int i = 0; i < count; i++)
		record->replaces[record->replaces_count++] =
			(struct replaced){ standing[i].record_id, standing[i].index };
	sort_replaced(record, entry);
}

/* ---- saying ---- */

struct save {
	struct id directory;
	const char *name, *text;
	struct id document;        /* zero: a new one */
	struct id parent;          /* zero: none */
	bool replaces_nothing;     /* beside whatever stands */
	bool replaces_newest;      /* only the head, not what stands beside it */
};

/* A version of this text at a name; replaces what stands there. */
static inline struct id say_version(struct test_store *t, struct store_txn *txn, const struct save *save)
{
	struct record *record = record_new();
	struct piece_store pieces = store_txn_pieces(txn);
	struct id id;

	assert_non_null(record);
	record->field = FIELD_VERSION;
	record->version.document = save->document;
	if (!id_is_zero(&save->parent))
		record->version.parents[record->version.parent_count++] = save->parent;
	assert_int_equal(content_write_bytes(t->packer, &pieces, save->text, strlen(save->text),
					     &record->version.content), 0);
	record->version.entry = (struct entry){ .directory = save->directory, .name = text_of(save->name),
						.what = WHAT_VERSION };
	if (!save->replaces_nothing)
		replace_standing(txn, record, &record->version.entry, save->replaces_newest);
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

/* A record of entries is begun, given entries, and said. */
static inline struct record *entries_begin(void)
{
	struct record *record = record_new();

	assert_non_null(record);
	record->field = FIELD_ENTRIES;
	return record;
}

static inline struct entry *entries_add(struct record *record, const struct id *directory, const char *name,
					enum what what, const struct id *id)
{
	struct entry *entry = &record->entries.entries[record->entries.count++];

	assert_true(record->entries.count <= ENTRIES_MAX);
	*entry = (struct entry){ .directory = *directory, .name = text_of(name), .what = what };
	entry->replaces_first = record->replaces_count;
	if (id)
		entry->id = *id;
	return entry;
}

/* Adds one that replaces what stands at its slot. */
static inline void entries_put(struct store_txn *txn, struct record *record, const struct id *directory,
			       const char *name, enum what what, const struct id *id)
{
	replace_standing(txn, record, entries_add(record, directory, name, what, id), false);
}

static inline struct id entries_say(struct store_txn *txn, struct record *record)
{
	struct id id;

	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

static inline struct id say_nothing(struct store_txn *txn, const struct id *directory, const char *name)
{
	struct record *record = entries_begin();

	entries_put(txn, record, directory, name, WHAT_NOTHING, NULL);
	return entries_say(txn, record);
}

/* A directory at a name; *out its id. */
static inline struct id say_directory(struct store_txn *txn, const struct id *parent, const char *name, struct id *out)
{
	struct record *record = entries_begin();

	assert_int_equal(tree_new_directory_id(txn, parent, name, out), 0);
	entries_put(txn, record, parent, name, WHAT_DIRECTORY, out);
	return entries_say(txn, record);
}

static inline struct id say_profile(struct store_txn *txn, const struct id *person, const char *name)
{
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_PROFILE;
	if (person)
		record->profile.person = *person;
	record->profile.name = text_of(name);
	record->profile.about = text_of("");
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

static inline struct id say_admit(struct store_txn *txn, const struct id *device, bool on, const struct id *last)
{
	struct record *record = record_new();
	struct id id;

	record->field = FIELD_ADMIT;
	record->admit.device = *device;
	record->admit.on = on;
	if (last)
		record->admit.last = *last;
	assert_int_equal(log_append(txn, record, &id, NULL), 0);
	free(record);
	return id;
}

/* ---- records from one store to another ---- */

struct parcel { /* a record as it travels */
	struct id id;
	struct signature signature;
	uint8_t *bytes; /* owned */
	size_t size;
};

/* Reads a record out of a store; free(out->bytes). -ENOENT: it is not there. */
static inline int parcel_read(struct store_txn *txn, const struct id *id, struct parcel *out)
{
	struct record *record = record_new();
	struct record_row row;

	int err = log_find_record(txn, id, &row);
	if (err == 0) {
		assert_int_equal(log_read_record(txn, &row, record, &out->signature), 0);
		/* Alone it travels with a signature of its own, though one after it may vouch for it here. */
		const struct key *key = store_key(store_of(txn));
		if (id_equal(&record->voucher, &key->public))
			assert_int_equal(record_sign(&out->signature, key, id), 0);
		out->id = *id;
		out->size = row.size;
		out->bytes = malloc(row.size);
		memcpy(out->bytes, store_txn_buffer(txn) + sizeof(struct signature), row.size);
	}
	free(record);
	return err;
}

struct parcels { /* in order of a log */
	struct parcel items[256];
	size_t count;
	struct store_txn *txn;
};

static inline int parcels_visit(void *context, const struct record_row *row)
{
	struct parcels *p = context;

	assert_true(p->count < sizeof(p->items) / sizeof(p->items[0]));
	return parcel_read(p->txn, &row->id, &p->items[p->count++]);
}

static inline void parcels_free(struct parcels *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->items[i].bytes);
	free(p);
}

/* The log of a device as a store has it, by seq. */
static inline struct parcels *parcels_of(struct test_store *t, const struct id *device)
{
	struct parcels *p = calloc(1, sizeof(*p));
	struct log_row log;

	p->txn = txn_begin(t, false);
	if (log_get(p->txn, device, &log) == 0)
		assert_int_equal(log_each(p->txn, log.number, 0, parcels_visit, p), 0);
	store_abort(p->txn);
	return p;
}

static inline int parcel_accept(struct store_txn *txn, const struct parcel *parcel)
{
	return log_accept(txn, parcel->bytes, parcel->size, &parcel->signature);
}
/* Gives the log of `from`'s own device to another store, in order. */
static inline void send_log(struct test_store *from, struct test_store *to)
{
	struct parcels *p = parcels_of(from, &from->key.public);
	struct store_txn *txn = txn_begin(to, true);

	for (size_t i = 0; i < p->count; i++)
		assert_in_range(parcel_accept(txn, &p->items[i]), 0, 1);
	txn_commit(txn);
	parcels_free(p);
}

/* Both give one another their own logs. */
static inline void meet_each_other(struct test_store *a, struct test_store *b)
{
	send_log(a, b);
	send_log(b, a);
}

#endif
