/*
 * replay.c - the index is a cache: bringing it up to the journal, or building it anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "store_private.h"
#include "tree_late.h"
#include "wire.h"

#define INDEX_FORMAT "mootfs index 4" /* another text: built anew */
#define STATE_PATH "index/state"
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BATCH_ENTRIES 6000            /* applied in one transaction: at a million records each touches a page of its own, in memory */
#define RIPE_ENTRIES 1000             /* after which rows that came in order are written: the caches of the processor hold so many */
#define BATCH_SIZE (32u * 1024 * 1024)
#define GATHER_SIZE_MAX (512ull * 1024 * 1024) /* of rows in memory while the index is built anew: half a million records */
#define GATHER_PART 4                         /* and at most such a part of the machine's memory */

struct replay {
	struct store *store;
	struct store_txn *txn;
	const struct store_options *options;
	size_t pending_entries, pending_size;
	uint64_t done, total;
	journal_place end;
	size_t gather_max; /* 0: rows go straight to their tables */
};

static void read_boot_id(char out[40])
{
	CLEANUP(cleanup_free) uint8_t *text = NULL;
	size_t size;

	out[0] = '\0';
	if (file_read(AT_FDCWD, BOOT_ID_PATH, 256, &text, &size) == 0)
		snprintf(out, 40, "%.36s", (const char *)text);
}

static bool meta_is(struct index_txn *txn, const char *name, const char *expected)
{
	const uint8_t *value;
	size_t size;

	return index_get(txn, TABLE_META, name, strlen(name), &value, &size) == 0 &&
	       size == strlen(expected) && memcmp(value, expected, size) == 0;
}

/* index/state: format, boot id, and whether it was closed; beside the tables, since after a power cut those may be anything. */
static int write_state(struct store *store, const char *state)
{
	char boot[40], text[128];

	read_boot_id(boot);
	int size = snprintf(text, sizeof(text), INDEX_FORMAT "\n%s\n%s\n", boot, state);
	return file_replace(store->fd, STATE_PATH, 0600, text, (size_t)size);
}

enum left { LEFT_CLOSED, LEFT_BY_THIS_BOOT, LEFT_BY_ANOTHER_BOOT, LEFT_UNKNOWN };

/* How the folder was left, by a program that wrote this format; unknown: by another, or there is nothing yet. */
static enum left read_state(const struct store *store)
{
	CLEANUP(cleanup_free) uint8_t *text = NULL;
	char boot[40], format[32] = "", of[40] = "", state[8] = "";
	size_t size;

	read_boot_id(boot);
	if (file_read(store->fd, STATE_PATH, 256, &text, &size) < 0 ||
	    sscanf((const char *)text, "%31[^\n]\n%39[^\n]\n%7[^\n]", format, of, state) != 3 ||
	    strcmp(format, INDEX_FORMAT) != 0)
		return LEFT_UNKNOWN;
	if (strcmp(state, "closed") == 0)
		return LEFT_CLOSED;
	return boot[0] && strcmp(of, boot) == 0 ? LEFT_BY_THIS_BOOT : LEFT_BY_ANOTHER_BOOT;
}

bool replay_power_was_cut(const struct store *store)
{
	enum left left = read_state(store);

	return left == LEFT_BY_ANOTHER_BOOT || left == LEFT_UNKNOWN;
}

bool replay_was_closed(const struct store *store)
{
	return read_state(store) == LEFT_CLOSED;
}

/* May what is there be opened? */
static bool state_is_usable(const struct store *store)
{
	enum left left = read_state(store);

	return left == LEFT_CLOSED || left == LEFT_BY_THIS_BOOT;
}

/* And may what it says be trusted? */
static bool index_is_usable(struct store *store)
{
	struct index_txn *txn;
	struct counters counters;

	if (index_begin(store->index, false, &txn) < 0)
		return false;
	bool usable = !meta_is(txn, "moving", "1") && !index_is_building(txn) && counters_load(store, txn, &counters) == 0 &&
		      counters.covered <= journal_end(store->journal);
	index_abort(txn);
	return usable;
}

int replay_mark_closed(struct store *store)
{
	int err = index_sync(store->index);

	return err < 0 ? err : write_state(store, "closed");
}

static int replay_begin(struct replay *r)
{
	int err = txn_new(r->store, true, &r->txn);
	if (err == 0) {
		r->txn->replaying = true;
		index_expect_many(r->txn->index);
	}
	return err;
}

static int replay_commit(struct replay *r)
{
	struct store_txn *txn = r->txn;
	int err = r->gather_max ? index_gather_ripe(txn->index) : 0;

	r->txn = NULL;
	r->pending_entries = r->pending_size = 0;
	txn->counters.covered = r->end;
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int apply_piece(struct store_txn *txn, const struct journal_entry *entry)
{
	struct id name, text_id;

	if (entry->size <= ID_SIZE || entry->size > ID_SIZE + PIECE_STORED_MAX)
		return -EBADMSG;
	memcpy(text_id.bytes, entry->bytes, ID_SIZE);
	id_of_bytes(&name, entry->bytes + ID_SIZE, entry->size - ID_SIZE);
	return piece_row_put(txn, &name, &text_id, (uint32_t)(entry->size - ID_SIZE), entry->place);
}

static int apply_mark(struct store_txn *txn, const struct journal_entry *entry)
{
	struct id name;

	if (entry->size != ID_SIZE)
		return -EBADMSG;
	memcpy(name.bytes, entry->bytes, ID_SIZE);
	int err = piece_row_forget(txn, &name);
	return err == -ENOENT ? 0 : err;
}

static int apply_entry(struct store_txn *txn, const struct journal_entry *entry)
{
	switch (entry->kind) {
	case KIND_RECORD:
		return log_replay(txn, entry->bytes, entry->size, entry->place);
	case KIND_PIECE:
		return apply_piece(txn, entry);
	case KIND_LOCAL:
		return local_apply(txn, entry->bytes, entry->size, entry->place);
	case KIND_MARK:
		return apply_mark(txn, entry);
	default:
		return 0; /* of a newer program: kept, not understood */
	}
}

/* Damage in one entry's meaning must not hide the rest: verify tells of it. */
static bool is_entry_fault(int err)
{
	return err == -EBADMSG || err == -EPROTO || err == -EAGAIN || err == -EMSGSIZE || err == -EKEYREJECTED;
}

static int visit(void *context, const struct journal_entry *entry)
{
	struct replay *r = context;

	int err = apply_entry(r->txn, entry);
	if (err < 0 && !is_entry_fault(err))
		return err;
	r->end = entry->end;
	r->pending_entries++;
	r->pending_size += entry->size;
	r->done += entry->size + JOURNAL_HEAD_SIZE;
	if (r->gather_max && r->pending_entries % RIPE_ENTRIES == 0) {
		err = index_gather_ripe(r->txn->index);
		if (err < 0)
			return err;
	}
	if (r->pending_entries < BATCH_ENTRIES && r->pending_size < BATCH_SIZE)
		return 0;
	err = replay_commit(r);
	if (err == 0 && r->gather_max)
		err = index_gather_limit(r->store->index, r->gather_max);
	if (err == 0)
		err = replay_begin(r);
	if (err == 0 && r->options->progress)
		r->options->progress(r->options->progress_context, r->done < r->total ? r->done : r->total, r->total);
	return err;
}

/* There is nothing in the index yet. */
static int gather(struct replay *r)
{
	uint64_t seed, memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / GATHER_PART;

	clock_random(&r->store->clock, &seed, sizeof(seed));
	int err = index_gather(r->store->index, seed);
	if (err == 0)
		r->gather_max = memory < GATHER_SIZE_MAX ? memory : GATHER_SIZE_MAX;
	return err;
}

static int replay_tail(struct store *store, const struct store_options *options)
{
	struct replay r = { .store = store, .options = options, .end = store->counters.covered };
	struct journal_stats stats;

	if (store->counters.covered == journal_end(store->journal))
		return 0;
	journal_stats(store->journal, &stats);
	r.total = stats.bytes;
	int err = r.end == 0 ? gather(&r) : 0;
	if (err == 0)
		err = replay_begin(&r);
	if (err == 0)
		err = journal_scan(store->journal, r.end, visit, NULL, &r);
	if (err < 0) {
		if (r.txn)
			store_abort(r.txn);
		return err;
	}
	r.end = journal_end(store->journal);
	err = replay_commit(&r);
	if (err == 0 && r.gather_max)
		err = index_gather_end(store->index);
	if (err == 0 && options->progress)
		options->progress(options->progress_context, r.total, r.total);
	return err;
}

static int load_cookie(struct store *store)
{
	struct index_txn *txn;
	const uint8_t *value;
	size_t size;
	struct wire w;

	int err = index_begin(store->index, false, &txn);
	if (err < 0)
		return err;
	if (index_get(txn, TABLE_META, "cookie", 6, &value, &size) == 0) {
		wire_init(&w, value, size);
		atomic_store(&store->cookie, wire_u64(&w));
		err = wire_finish(&w);
	}
	index_abort(txn);
	return err;
}

static int load_counters(struct store *store)
{
	struct index_txn *txn;

	int err = index_begin(store->index, false, &txn);
	if (err < 0)
		return err;
	err = counters_load(store, txn, &store->counters);
	index_abort(txn);
	return err;
}

int replay_index(struct store *store, const struct store_options *options, struct why *why)
{
	int err = !options->reindex && state_is_usable(store) ? index_open(&store->index, store->fd, NULL) : -ENOENT;

	if (err < 0 || !index_is_usable(store)) {
		index_close(store->index);
		store->index = NULL;
		err = index_remove(store->fd);
		if (err == 0)
			err = index_open(&store->index, store->fd, why);
	}
	if (err == 0)
		err = write_state(store, "open");
	if (err == 0)
		err = load_counters(store);
	if (err == 0)
		err = load_cookie(store);
	if (err == 0)
		err = replay_tail(store, options);
	if (err == 0)
		err = tree_late_all(store);
	if (err < 0)
		return why_set(why, err, "the index cannot be built from the journal: %s", why_errno(err));
	return 0;
}
