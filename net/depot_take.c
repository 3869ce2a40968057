/* depot_take.c - records and pieces of others come into the store, checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "depot_private.h"
#include "log.h"
#include "person.h"
#include "tree.h"
#include "tree_late.h"

/* ---- a chain ---- */

struct link { /* a record of it */
	struct id id, prev;
	uint64_t seq, time_ms;
	bool vouched;  /* a valid signature of its own, or of one after it */
	bool verified; /* its own was looked at, and is valid */
	bool here;
	bool wide;     /* says more than what stands where */
	bool follows;  /* may change who is followed */
	UT_hash_handle hh;
};

struct chain {
	struct depot_store *d;
	const struct id *device;
	const struct record_item *items;
	struct link *links; /* count of them */
	struct link *by_id; /* the first of each id */
	size_t count;
};

static void chain_finish(struct chain *c)
{
	HASH_CLEAR(hh, c->by_id);
	free(c->links);
}

static struct link *chain_find(const struct chain *c, const struct id *id)
{
	struct link *link;

	HASH_FIND(hh, c->by_id, id, sizeof(*id), link);
	return link;
}

static bool is_wide(uint64_t field)
{
	return field == FIELD_PROFILE || field == FIELD_ADMIT;
}

static bool is_about_follows(uint64_t field)
{
	return is_wide(field) || field == FIELD_SUBSCRIBE;
}

static int link_read(struct chain *c, struct link *link, const struct record_item *item, struct record *record)
{
	int err = record_decode(record, item->bytes, item->size);
	if (err < 0)
		return err == -ENOMEM ? err : -EBADMSG;
	if (!id_equal(&record->voucher, c->device))
		return -EPROTO;
	record_id(&link->id, item->bytes, item->size);
	link->prev = record->prev;
	link->seq = record->seq;
	link->time_ms = record->time_ms;
	link->wide = is_wide(record->field);
	link->follows = is_about_follows(record->field);
	if (chain_find(c, &link->id))
		return 0;
	HASH_ADD(hh, c->by_id, id, sizeof(link->id), link);
	return link->hh.tbl ? 0 : -ENOMEM;
}

/* Each of them alone, and against those before it in the chain. */
static int chain_read(struct chain *c)
{
	struct record *record = record_new();
	int err = record ? 0 : -ENOMEM;

	c->links = calloc(c->count, sizeof(*c->links));
	if (!c->links)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < c->count; i++) {
		struct link *link = &c->links[i];
		err = link_read(c, link, &c->items[i], record);
		const struct link *prev = err == 0 && link->seq > 0 ? chain_find(c, &link->prev) : NULL;
		if (prev && (prev > link || prev->seq + 1 != link->seq || prev->time_ms > link->time_ms))
			err = -EPROTO;
	}
	free(record);
	return err;
}

/* What the chain hangs on. -EAGAIN: it is not here; 1: all of the chain is here. */
static int chain_compare(struct chain *c, struct store_txn *txn)
{
	struct record_row row;
	struct log_row log;
	bool all = true;

	for (size_t i = 0; i < c->count; i++) {
		struct link *link = &c->links[i];
		int err = log_find_record(txn, &link->id, &row);
		link->here = err == 0;
		if (err == 0)
			continue;
		all = false;
		const struct link *prev = link->seq > 0 ? chain_find(c, &link->prev) : NULL;
		if (prev && prev > link)
			return -EPROTO;
		if (err == -ENOENT && (link->seq == 0 || prev))
			continue;
		if (err == -ENOENT)
			err = log_find_record(txn, &link->prev, &row);
		/* What is later than the first should have come with the one before it. */
		if (err == -ENOENT)
			return link->seq > c->links[0].seq ? -EPROTO : -EAGAIN;
		if (err == 0)
			err = log_get_number(txn, row.log, &log);
		if (err < 0)
			return err;
		if (!id_equal(&log.device, c->device) || row.seq + 1 != link->seq || row.time_ms > link->time_ms)
			return -EPROTO;
	}
	return all;
}

static int link_verify(struct chain *c, struct link *link)
{
	const struct record_item *item = &c->items[link - c->links];

	if (link->verified)
		return 0;
	int err = record_verify(&item->signature, c->device, &link->id);
	link->verified = link->vouched = err == 0;
	return err;
}

static bool ends_batch(const struct chain *c, size_t index, size_t first, size_t size)
{
	return index + 1 - first == DEPOT_BATCH_RECORDS || size >= DEPOT_BATCH_SIZE;
}

/* Signatures: the last one's; those at which a transaction will end, so that a run stored ends signed; those of other branches. */
static int chain_verify(struct chain *c)
{
	size_t first = 0, size = 0;

	if (!c->items[c->count - 1].is_signed)
		return -EPROTO;
	int err = link_verify(c, &c->links[c->count - 1]);
	for (size_t i = 0; err == 0 && i < c->count; i++) {
		size += c->items[i].size;
		if (!ends_batch(c, i, first, size))
			continue;
		if (c->items[i].is_signed)
			err = link_verify(c, &c->links[i]);
		first = i + 1;
		size = 0;
	}
	for (size_t i = c->count; err == 0 && i > 0; i--) {
		struct link *link = &c->links[i - 1];
		if (!link->vouched && !link->here && c->items[i - 1].is_signed)
			err = link_verify(c, link);
		struct link *prev = link->vouched && link->seq > 0 ? chain_find(c, &link->prev) : NULL;
		if (prev)
			prev->vouched = true;
	}
	return err;
}

/* ---- what changed ---- */

struct change_key { /* zeroed before use: it is hashed */
	uint64_t person, directory;
	char name[NAME_SIZE_MAX + 1]; /* empty: all of the person */
};

struct change {
	struct change_key key;
	struct id person, directory;
	UT_hash_handle hh;
};

struct changes {
	struct change *items;
	bool everything; /* more than can be told, or of persons that nobody can name */
};

static void changes_clear(struct changes *c)
{
	struct change *change, *next;

	HASH_ITER(hh, c->items, change, next) {
		HASH_DEL(c->items, change);
		free(change);
	}
	c->everything = false;
}

static void changes_add(struct changes *c, const struct change_key *key)
{
	struct change *change = NULL;

	if (c->everything)
		return;
	HASH_FIND(hh, c->items, key, sizeof(*key), change);
	if (change)
		return;
	/* Of who has very many, no more names are told. */
	if (key->name[0] && key->person && HASH_COUNT(c->items) >= DEPOT_NAMES_MAX) {
		struct change_key whole;
		memset(&whole, 0, sizeof(whole));
		whole.person = key->person;
		changes_add(c, &whole);
		return;
	}
	if (HASH_COUNT(c->items) < DEPOT_CHANGES_MAX)
		change = calloc(1, sizeof(*change));
	if (change) {
		change->key = *key;
		HASH_ADD(hh, c->items, key, sizeof(change->key), change);
		if (change->hh.tbl)
			return;
	}
	free(change);
	c->everything = true;
}

static void note_change(void *context, uint64_t person, uint64_t directory, const char *name, size_t name_size)
{
	struct change_key key;

	memset(&key, 0, sizeof(key));
	key.person = person;
	key.directory = directory;
	memcpy(key.name, name, name_size < NAME_SIZE_MAX ? name_size : NAME_SIZE_MAX);
	changes_add(context, &key);
}

static void note_person(struct changes *c, uint64_t person)
{
	note_change(c, person, 0, "", 0);
}

/* A person whose whole folder is looked at again needs no names beside. */
static bool is_covered(const struct changes *c, const struct change_key *key)
{
	struct change_key whole;
	struct change *change;

	if (!key->name[0])
		return false;
	memset(&whole, 0, sizeof(whole));
	whole.person = key->person;
	HASH_FIND(hh, c->items, &whole, sizeof(whole), change);
	return change != NULL;
}

/* Before the commit: ids of the numbers. */
static void changes_resolve(struct changes *c, struct store_txn *txn)
{
	struct change *change, *next;

	HASH_ITER(hh, c->items, change, next) {
		int err = store_number_id(txn, NUMBER_ENTITY, change->key.person, &change->person);
		change->directory = change->person;
		if (err == 0 && change->key.name[0])
			err = store_number_id(txn, NUMBER_DIRECTORY, change->key.directory, &change->directory);
		c->everything |= err < 0;
	}
}

static void changes_tell(const struct changes *c, const struct depot_store_options *to)
{
	static const struct id anybody;
	struct change *change, *next;

	if (!to->arrived)
		return;
	if (c->everything) {
		to->arrived(to->context, &anybody, &anybody, "");
		return;
	}
	HASH_ITER(hh, c->items, change, next)
		if (!is_covered(c, &change->key))
			to->arrived(to->context, &change->person, &change->directory, change->key.name);
}

/* ---- taking ---- */

struct batch {
	struct changes changes;
	size_t next; /* link after the last of it */
	size_t fresh;
	bool wide, follows;
};

/* Whose the log is, by number, now. */
static int note_author(struct chain *c, struct store_txn *txn, struct changes *changes)
{
	struct log_row log;

	int err = log_get(txn, c->device, &log);
	if (err == 0)
		note_person(changes, log.person);
	return err == -ENOENT ? 0 : err;
}

/*
 * The next record ends the transaction, for what this one has cost so far. As at any end its signature
 * is kept if it has a good one; without, one after it vouches for it.
 */
static bool is_costly(struct chain *c, struct store_txn *txn, size_t next)
{
	if (store_txn_work(txn) < DEPOT_BATCH_WORK)
		return false;
	if (next < c->count && c->links[next].vouched && c->items[next].is_signed)
		c->links[next].vouched = link_verify(c, &c->links[next]) == 0 || next + 1 < c->count;
	return true;
}

static int take_links(struct chain *c, struct store_txn *txn, size_t from, struct batch *b)
{
	bool last = false;
	size_t size = 0;

	for (b->next = from; b->next < c->count;) {
		const struct link *link = &c->links[b->next];
		const struct record_item *item = &c->items[b->next];
		bool taken = link->vouched && !link->here;
		/* A profile may make it another's log: what was the one's changes too. */
		if (taken && link->wide && note_author(c, txn, &b->changes) < 0)
			return -EIO;
		int err = taken ? log_accept(txn, item->bytes, item->size, link->verified ? &item->signature : NULL) : 1;
		if (err < 0)
			return err;
		b->fresh += err == 0;
		b->wide |= taken && link->wide;
		b->follows |= taken && link->follows;
		size += item->size;
		if (ends_batch(c, b->next++, from, size) || last)
			break;
		last = is_costly(c, txn, b->next);
	}
	return b->wide ? note_author(c, txn, &b->changes) : 0;
}

static int batch_begin(struct depot_store *d, struct batch *b, struct store_txn **out)
{
	int err = store_begin(d->store, true, out);
	if (err < 0)
		return err;
	struct tree_dirty *tree = store_txn_tree(*out);
	tree->changed = note_change;
	tree->context = &b->changes;
	return 0;
}

static int batch_end(struct batch *b, struct store_txn *txn, int err)
{
	if (err == 0)
		err = tree_settle(txn);
	if (err < 0) {
		store_abort(txn);
		return err;
	}
	changes_resolve(&b->changes, txn);
	store_txn_tree(txn)->changed = NULL;
	return store_commit(txn);
}

static void batch_tell(struct depot_store *d, const struct batch *b)
{
	if (b->follows)
		depot_refresh(d);
	changes_tell(&b->changes, &d->options);
}

static int take_batch(struct chain *c, size_t from, struct batch *b)
{
	struct store_txn *txn;

	int err = batch_begin(c->d, b, &txn);
	return err < 0 ? err : batch_end(b, txn, take_links(c, txn, from, b));
}

static int chain_take(struct chain *c)
{
	size_t from = 0, fresh = 0;
	int err = 0;

	while (err == 0 && from < c->count) {
		struct batch b = { .next = from };
		err = take_batch(c, from, &b);
		if (err == 0 && b.fresh > 0)
			batch_tell(c->d, &b);
		if (err == 0) {
			fresh += b.fresh;
			from = b.next;
		}
		changes_clear(&b.changes);
		store_give_way(c->d->store);
	}
	/* Of a restored folder: what peers had of it is the head again before anything is signed. */
	if (fresh > 0 && id_equal(c->device, &c->d->depot.key->public)) {
		int synced = c->d->depot.calls->sync(c->d);
		err = err < 0 ? err : synced;
	}
	if (fresh > 0 && c->d->options.records_taken)
		c->d->options.records_taken(c->d->options.context);
	return err < 0 ? err : (int)fresh;
}

static int chain_check(struct chain *c)
{
	struct store_txn *txn;

	int err = chain_read(c);
	if (err == 0)
		err = store_begin(c->d->store, false, &txn);
	if (err < 0)
		return err;
	int compared = chain_compare(c, txn);
	store_abort(txn);
	if (compared != 0)
		return compared;
	return chain_verify(c);
}

int depot_take_records(void *context, const struct id *device, const struct record_item *records, size_t count)
{
	struct chain c = { .d = context, .device = device, .items = records, .count = count };

	if (count == 0)
		return 0;
	int err = chain_check(&c);
	if (err == 0)
		err = chain_take(&c);
	else if (err > 0)
		err = 0; /* all of it is here */
	chain_finish(&c);
	return err;
}

/* ---- what was held back ---- */

static int note_log(struct store_txn *txn, uint64_t number, struct changes *changes)
{
	struct log_row log;

	int err = log_get_number(txn, number, &log);
	if (err == 0)
		note_person(changes, log.person);
	return err;
}

static int apply_one(struct store_txn *txn, uint64_t number, struct batch *b)
{
	struct record_row row;

	int err = log_record_row(txn, number, &row);
	if (err < 0)
		return err;
	bool wide = is_wide(row.field);
	if (wide)
		err = note_log(txn, row.log, &b->changes);
	if (err == 0)
		err = log_apply_held(txn, number);
	if (err == 0 && wide)
		err = note_log(txn, row.log, &b->changes);
	b->follows |= is_about_follows(row.field);
	return err;
}

/* One transaction of it: 1 if there is more. */
static int apply_late_some(struct depot_store *d, struct tree_late *late)
{
	struct batch b = { .fresh = 0 };
	struct store_txn *txn;

	int err = batch_begin(d, &b, &txn);
	if (err < 0)
		return err;
	int more = tree_late_apply(txn, late);
	err = batch_end(&b, txn, more < 0 ? more : 0);
	if (err == 0)
		batch_tell(d, &b);
	changes_clear(&b.changes);
	store_give_way(d->store);
	return err < 0 ? err : more;
}

static int apply_late(struct depot_store *d)
{
	struct tree_late *late;
	int more = 0;

	if (!tree_late_waits(d->store))
		return 0;
	int found = tree_late_find(d->store, &late);
	if (found <= 0)
		return found;
	while ((more = apply_late_some(d, late)) > 0)
		;
	tree_late_free(late);
	return more;
}

int depot_apply_due(void *context)
{
	struct depot_store *d = context;
	struct batch b = { .fresh = 0 };
	struct store_txn *txn;
	uint64_t number;
	int found = 0;

	int err = apply_late(d);
	if (err == 0)
		err = batch_begin(d, &b, &txn);
	if (err < 0)
		return err;
	while (err == 0 && b.fresh < DEPOT_BATCH_RECORDS && store_txn_work(txn) < DEPOT_BATCH_WORK &&
	       (found = store_first_due(txn, &number)) > 0) {
		err = apply_one(txn, number, &b);
		b.fresh++;
	}
	err = batch_end(&b, txn, err < 0 ? err : found < 0 ? found : 0);
	if (err == 0 && b.fresh > 0) {
		batch_tell(d, &b);
		if (d->options.came_due)
			d->options.came_due(d->options.context);
	}
	changes_clear(&b.changes);
	return err < 0 ? err : (int)b.fresh;
}

/* ---- pieces ---- */

static struct packer *take_packer(struct depot_store *d)
{
	struct packer *packer = NULL;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < DEPOT_PACKERS && !packer; i++) {
		packer = d->packers[i];
		d->packers[i] = NULL;
	}
	pthread_mutex_unlock(&d->lock);
	return packer ? packer : packer_new();
}

static void give_packer(struct depot_store *d, struct packer *packer)
{
	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < DEPOT_PACKERS && packer; i++)
		if (!d->packers[i]) {
			d->packers[i] = packer;
			packer = NULL;
		}
	pthread_mutex_unlock(&d->lock);
	packer_free(packer);
}

/* One that is what its name says goes into the batch. */
static int check_piece(struct packer *packer, const struct piece_store *batch, const struct piece_item *item, uint8_t *text)
{
	struct piece_ref ref = { .stored_size = (uint32_t)item->size }, kept;
	struct id text_id;

	if (item->size == 0 || item->size > PIECE_STORED_MAX)
		return -EBADMSG;
	id_of_bytes(&ref.name, item->bytes, item->size);
	if (!id_is_zero(&item->name) && !id_equal(&ref.name, &item->name))
		return -EBADMSG;
	ssize_t size = piece_inflate(packer, item->bytes, item->size, text);
	if (size < 0)
		return (int)size;
	ref.text_size = (uint64_t)size;
	id_of_bytes(&text_id, text, (size_t)size);
	return batch->put(batch->context, &text_id, &ref, item->bytes, &kept);
}

static int keep_batch(struct depot_store *d, struct store_batch *batch)
{
	struct store_txn *txn;

	int err = store_begin(d->store, true, &txn);
	if (err < 0)
		return err;
	err = store_batch_finish(batch, txn);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

int depot_take_pieces(void *context, const struct piece_item *pieces, size_t count, int *out_results)
{
	struct depot_store *d = context;
	struct store_batch *batch = store_batch_new(d->store);
	struct packer *packer = take_packer(d);
	uint8_t *text = malloc(PIECE_TEXT_MAX);
	size_t good = 0;

	int err = batch && packer && text ? 0 : -ENOMEM;
	if (err == 0) {
		const struct piece_store store = store_batch_pieces(batch);
		for (size_t i = 0; i < count; i++) {
			out_results[i] = check_piece(packer, &store, &pieces[i], text);
			good += out_results[i] == 0;
		}
		err = good > 0 ? keep_batch(d, batch) : 0;
	}
	for (size_t i = 0; err < 0 && i < count; i++)
		out_results[i] = err;
	free(text);
	give_packer(d, packer);
	store_batch_free(batch);
	return err;
}
