/* depot_store.c - questions; depot_take.c takes what comes. */
#include "depot_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "depot_private.h"
#include "document.h"
#include "document_rows.h"
#include "person.h"
#include "wanted.h"

#define HEADS_BATCH 256   /* logs looked at in one transaction */
#define FORK_MAX 64       /* records of one seq put in order of their ids */
#define DEVICES_FEW 16    /* of most persons */
#define DEVICES_MAX 1024
#define WANTED_BATCH 256  /* versions looked at in one transaction */

/* ---- heads ---- */

/* The head of a log. -ENOENT: nothing of it is to be told. */
static int head_of(struct depot_store *d, struct store_txn *txn, const struct log_row *log, struct head *out)
{
	struct head head = { .device = log->device, .person = log->device, .seq = log->tip_seq, .record = log->tip_id,
			     .records = log->records };
	int err = log->tip ? 0 : -ENOENT;

	if (err == 0 && log->claim) /* else it is of its own */
		err = store_number_id(txn, NUMBER_ENTITY, log->person, &head.person);

	if (err == 0 && id_equal(&log->device, &d->depot.key->public)) {
		pthread_mutex_lock(&d->lock);
		err = d->durable ? 0 : -ENOENT;
		head.seq = d->own.seq;
		head.record = d->own.record;
		head.records = d->own.records;
		pthread_mutex_unlock(&d->lock);
	}
	if (err == 0)
		*out = head;
	return err;
}

static int head_of_device(struct depot_store *d, struct store_txn *txn, const struct id *device, struct head *out)
{
	struct log_row log;

	int err = log_get(txn, device, &log);
	return err < 0 ? err : head_of(d, txn, &log, out);
}

static int head(void *context, const struct id *device, struct head *out)
{
	struct depot_store *d = context;
	struct store_txn *txn;

	int err = store_begin(d->store, false, &txn);
	if (err < 0)
		return err;
	err = head_of_device(d, txn, device, out);
	store_abort(txn);
	return err;
}

/* The id after this one; false: there is none. */
static bool id_next(struct id *id)
{
	for (size_t i = ID_SIZE; i > 0; i--)
		if (++id->bytes[i - 1] != 0)
			return true;
	return false;
}

struct heads {
	struct id devices[HEADS_BATCH + 1];
	struct head heads[HEADS_BATCH];
	size_t count;
};

/* The heads of the next logs; *at moves on. How many devices there were, or an error. */
static int next_heads(struct depot_store *d, const struct id *at, struct heads *h)
{
	struct store_txn *txn;
	struct id last;

	memset(&last, 0xff, sizeof(last));
	h->count = 0;
	int err = store_begin(d->store, false, &txn);
	if (err < 0)
		return err;
	int count = store_number_between(txn, NUMBER_DEVICE, at, &last, h->devices, HEADS_BATCH);
	if (count > HEADS_BATCH)
		count = HEADS_BATCH;
	for (int i = 0; err == 0 && i < count; i++) {
		err = head_of_device(d, txn, &h->devices[i], &h->heads[h->count]);
		h->count += err == 0;
		err = err == -ENOENT ? 0 : err;
	}
	store_abort(txn);
	return err < 0 ? err : count;
}

static int each_head(void *context, const struct id *after, int (*visit)(void *visitor, const struct head *head),
		     void *visitor)
{
	struct heads *h = malloc(sizeof(*h));
	struct id at = *after;
	int count = h ? HEADS_BATCH : -ENOMEM, stop = 0;
	bool more = id_is_zero(&at) || id_next(&at);

	while (more && stop == 0 && count == HEADS_BATCH && (count = next_heads(context, &at, h)) > 0) {
		for (size_t i = 0; stop == 0 && i < h->count; i++)
			stop = visit(visitor, &h->heads[i]);
		at = h->devices[count - 1];
		more = id_next(&at);
	}
	free(h);
	return count < 0 ? count : stop;
}

struct every {
	struct depot_store *d;
	struct store_txn *txn;
	struct head heads[HEADS_BATCH];
	size_t count;
	uint64_t next; /* log */
};

static int keep_row(void *context, const struct log_row *log)
{
	struct every *e = context;

	if (e->count == HEADS_BATCH)
		return 1;
	int err = head_of(e->d, e->txn, log, &e->heads[e->count]);
	e->count += err == 0;
	e->next = log->number + 1;
	return err == -ENOENT ? 0 : err;
}

/* In order of their numbers rows stand side by side. */
static int every_head(void *context, int (*visit)(void *visitor, const struct head *head), void *visitor)
{
	struct every *e = malloc(sizeof(*e));
	int more = e ? 1 : -ENOMEM, stop = 0;

	if (e)
		*e = (struct every){ .d = context };
	while (more > 0 && stop == 0) {
		e->count = 0;
		more = store_begin(e->d->store, false, &e->txn);
		if (more == 0) {
			more = log_each_row(e->txn, e->next, keep_row, e);
			store_abort(e->txn);
		}
		for (size_t i = 0; more >= 0 && stop == 0 && i < e->count; i++)
			stop = visit(visitor, &e->heads[i]);
	}
	free(e);
	return more < 0 ? more : stop;
}

/* Of `count` devices at most. */
static int heads_of(struct depot_store *d, const struct id *entity, struct person_device *devices, struct head *heads,
		    int count_max)
{
	struct store_txn *txn;
	int found = 0;

	int err = store_begin(d->store, false, &txn);
	if (err < 0)
		return err;
	int count = person_devices(txn, entity, devices, (size_t)count_max);
	err = count < 0 ? count : 0;
	for (int i = 0; err == 0 && i < count && i < count_max; i++) {
		err = head_of_device(d, txn, &devices[i].device, &heads[found]);
		found += err == 0;
		err = err == -ENOENT ? 0 : err;
	}
	store_abort(txn);
	if (err == 0 && count == count_max && count_max < DEVICES_MAX)
		return -ENOBUFS;
	return err < 0 ? err : found;
}

static int each_head_of(void *context, const struct id *entity, int (*visit)(void *visitor, const struct head *head),
			void *visitor)
{
	struct person_device few[DEVICES_FEW], *devices = NULL;
	struct head few_heads[DEVICES_FEW], *heads = few_heads;
	int stop = 0;

	int count = heads_of(context, entity, few, few_heads, DEVICES_FEW);
	if (count == -ENOBUFS) {
		devices = calloc(DEVICES_MAX, sizeof(*devices));
		heads = calloc(DEVICES_MAX, sizeof(*heads));
		count = devices && heads ? heads_of(context, entity, devices, heads, DEVICES_MAX) : -ENOMEM;
	}
	for (int i = 0; stop == 0 && i < count; i++)
		stop = visit(visitor, &heads[i]);
	free(devices);
	if (heads != few_heads)
		free(heads);
	return count < 0 ? count : stop;
}

static bool has_admitted(void *context, const struct id *person, const struct id *device)
{
	struct person_device *devices = calloc(DEVICES_MAX, sizeof(*devices));
	struct depot_store *d = context;
	struct store_txn *txn;
	bool found = false;

	int count = devices ? store_begin(d->store, false, &txn) : -ENOMEM;
	if (count == 0) {
		count = person_devices(txn, person, devices, DEVICES_MAX);
		store_abort(txn);
	}
	for (int i = 0; !found && i < count && i < DEVICES_MAX; i++)
		found = id_equal(&devices[i].device, device);
	free(devices);
	return found;
}

static uint64_t log_count(void *context)
{
	struct depot_store *d = context;
	struct store_counts counts;

	return store_counts(d->store, &counts) == 0 ? counts.logs : 0;
}

/* ---- records ---- */

struct telling {
	struct store_txn *txn;
	uint8_t *buffer;
	uint64_t to;
	journal_place before; /* only what stands below this place; 0: all */
	bool forked;
	struct record_row same[FORK_MAX]; /* of one seq, not told yet */
	size_t same_count;
	int (*visit)(void *visitor, uint64_t seq, const struct record_item *item);
	void *visitor;
	bool over;
};

static int tell_record(struct telling *t, const struct record_row *row)
{
	static const struct signature none;
	struct record_item item = { .size = row->size };

	int err = log_read_bytes(t->txn, row, t->buffer, &item.bytes, &item.signature);
	if (err < 0)
		return err;
	item.is_signed = memcmp(&item.signature, &none, sizeof(none)) != 0;
	return t->visit(t->visitor, row->seq, &item);
}

static int compare_rows(const void *a, const void *b)
{
	return id_compare(&((const struct record_row *)a)->id, &((const struct record_row *)b)->id);
}

static int tell_same(struct telling *t)
{
	int stop = 0;

	qsort(t->same, t->same_count, sizeof(t->same[0]), compare_rows);
	for (size_t i = 0; stop == 0 && i < t->same_count; i++)
		stop = tell_record(t, &t->same[i]);
	t->same_count = 0;
	return stop;
}

static int tell_row(void *context, const struct record_row *row)
{
	struct telling *t = context;
	int stop = 0;

	if (row->seq > t->to) {
		t->over = true;
		return 1;
	}
	if (t->before && row->place >= t->before)
		return 0;
	if (!t->forked)
		return tell_record(t, row);
	if (t->same_count > 0 && (t->same[0].seq != row->seq || t->same_count == FORK_MAX))
		stop = tell_same(t);
	t->same[t->same_count++] = *row;
	return stop;
}

static int each_record(void *context, const struct id *device, uint64_t from, uint64_t to,
		       int (*visit)(void *visitor, uint64_t seq, const struct record_item *item), void *visitor)
{
	struct depot_store *d = context;
	struct telling *t = calloc(1, sizeof(*t));
	uint8_t *buffer = malloc(RECORD_BUFFER_SIZE);
	struct store_txn *txn = NULL;
	struct log_row log;

	int err = t && buffer ? store_begin(d->store, false, &txn) : -ENOMEM;
	if (err == 0)
		err = log_get(txn, device, &log);
	bool own = id_equal(device, &d->depot.key->public);
	if (err == 0) {
		*t = (struct telling){ .txn = txn, .buffer = buffer, .to = to, .forked = log.forked, .visit = visit,
				       .visitor = visitor };
		pthread_mutex_lock(&d->lock);
		t->before = own ? d->durable : 0;
		pthread_mutex_unlock(&d->lock);
		if (!own || t->before)
			err = log_each(txn, log.number, from, tell_row, t);
		if (err == 0 || t->over)
			err = tell_same(t);
	}
	store_abort(txn);
	free(buffer);
	free(t);
	return err == -ENOENT ? 0 : err;
}

/* ---- pieces ---- */

static bool has_piece(void *context, const struct id *name)
{
	struct depot_store *d = context;
	struct store_txn *txn;

	if (store_begin(d->store, false, &txn) < 0)
		return false;
	bool has = store_has_piece(txn, name);
	store_abort(txn);
	return has;
}

static ssize_t read_piece(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct depot_store *d = context;

	return store_read_piece(d->store, name, out, out_size);
}

struct asking { /* for what is missing */
	struct depot_store *d;
	struct store_txn *txn;
	struct depot_piece *out;
	struct piece_ref *refs;
	size_t count, count_max;
	uint64_t log; /* the last that was looked at, and whether its person is followed */
	bool followed;
	bool documents; /* some are followed */
};

static int is_of_document(struct asking *a, uint64_t record)
{
	uint64_t document, time_ms;
	struct id id;

	if (!a->documents)
		return 0;
	int err = document_of_record(a->txn, record, &document, &time_ms);
	if (err == 0)
		err = store_number_id(a->txn, NUMBER_DOCUMENT, document, &id);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return depot_follows_document(a->d, &id);
}

/* Is the author of a version followed? 1, 0 or an error. */
static int is_followed(struct asking *a, uint64_t record)
{
	struct record_row row;
	struct log_row log;
	struct id person;

	int err = log_record_row(a->txn, record, &row);
	if (err < 0 || (a->log && row.log == a->log))
		return err < 0 ? err : a->followed;
	err = log_get_number(a->txn, row.log, &log);
	if (err == 0)
		err = store_number_id(a->txn, NUMBER_ENTITY, log.person, &person);
	if (err < 0)
		return err;
	a->log = row.log;
	a->followed = depot_follows(a->d, &person);
	return a->followed;
}

static void ask_for(struct asking *a, uint64_t version, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t j = 0;
		while (j < a->count && !id_equal(&a->out[j].name, &a->refs[i].name))
			j++;
		if (j == a->count)
			a->out[a->count++] = (struct depot_piece){ a->refs[i].name, a->refs[i].stored_size, version };
	}
}

/* Some versions from the cursor on. 1: there are more, and there is room. */
static int ask_some(struct asking *a, uint64_t *cursor)
{
	struct wanted w;
	int found = 0;

	int err = store_begin(a->d->store, false, &a->txn);
	if (err < 0)
		return err;
	for (int i = 0; i < WANTED_BATCH && a->count < a->count_max; i++) {
		found = wanted_next(a->txn, *cursor, &w);
		int followed = found > 0 ? is_followed(a, w.record) : 0;
		if (found > 0 && followed == 0)
			followed = is_of_document(a, w.record);
		if (found <= 0 || followed < 0) {
			found = followed < 0 ? followed : found;
			break;
		}
		size_t room = a->count_max - a->count;
		ssize_t count = followed ? wanted_missing(a->txn, w.record, a->refs, room + 1) : 0;
		if (count < 0 && count != -ENOENT && count != -EIO) {
			found = (int)count;
			break;
		}
		/* One that does not fit begins the next answer. */
		if (count > (ssize_t)room && a->count > 0) {
			found = 0;
			break;
		}
		count = count > (ssize_t)room ? (ssize_t)room : count;
		ask_for(a, w.record, count > 0 ? (size_t)count : 0);
		*cursor = w.next;
	}
	store_abort(a->txn);
	return found < 0 ? found : found > 0 && a->count < a->count_max;
}

static ssize_t missing(void *context, uint64_t *cursor, struct depot_piece *out, size_t count_max)
{
	struct depot_store *d = context;
	struct asking a = { .d = d, .out = out };
	int more;

	a.count_max = count_max < DEPOT_MISSING_MAX ? count_max : DEPOT_MISSING_MAX;
	a.refs = calloc(a.count_max + 1, sizeof(*a.refs));
	if (!a.refs)
		return -ENOMEM;
	pthread_mutex_lock(&d->lock);
	a.documents = d->document_count > 0;
	pthread_mutex_unlock(&d->lock);
	do {
		more = ask_some(&a, cursor);
	} while (more > 0);
	free(a.refs);
	return more < 0 ? more : (ssize_t)a.count;
}

static ssize_t missing_of(void *context, const struct id *version, struct depot_piece *out, size_t count_max)
{
	struct asking a = { .d = context, .out = out };
	uint64_t record;

	a.count_max = count_max < DEPOT_MISSING_MAX ? count_max : DEPOT_MISSING_MAX;
	a.refs = calloc(a.count_max + 1, sizeof(*a.refs));
	int err = a.refs ? store_begin(a.d->store, false, &a.txn) : -ENOMEM;
	ssize_t count = err;
	if (err == 0) {
		err = store_number(a.txn, NUMBER_RECORD, version, &record);
		count = err < 0 ? err : wanted_missing(a.txn, record, a.refs, a.count_max);
		store_abort(a.txn);
	}
	if (count > 0)
		ask_for(&a, record, (size_t)count);
	free(a.refs);
	return count < 0 ? count : (ssize_t)a.count;
}

static bool names_piece(const struct content *content, const struct id *name)
{
	for (size_t i = 0; i < content->count; i++)
		if (id_equal(&content->pieces[i].name, name))
			return true;
	return false;
}

static ssize_t pieces_of(void *context, const struct record_item *item, struct id *out, size_t count_max, size_t size_max)
{
	struct depot_store *d = context;
	struct record *record = record_new();
	struct version *parent = calloc(1, sizeof(*parent));
	struct store_txn *txn = NULL;
	size_t count = 0, size = 0;

	int err = record && parent ? record_decode(record, item->bytes, item->size) : -ENOMEM;
	if (err == 0 && record->field == FIELD_VERSION)
		err = store_begin(d->store, false, &txn);
	if (txn) {
		const struct content *content = &record->version.content;
		/* Who has the version before has what they share. */
		if (record->version.parent_count > 0 &&
		    document_version(txn, &record->version.parents[0], parent) < 0)
			parent->content.count = 0;
		for (size_t i = 0; i < content->count && count < count_max; i++) {
			const struct piece_ref *ref = &content->pieces[i];
			if (size + ref->stored_size > size_max || names_piece(&parent->content, &ref->name) ||
			    !store_has_piece(txn, &ref->name))
				continue;
			size += ref->stored_size;
			out[count++] = ref->name;
		}
	}
	store_abort(txn);
	free(record);
	free(parent);
	return err < 0 ? err : (ssize_t)count;
}

/* ---- this node ---- */

/* What the index sees now is durable after it. */
static int sync_own(void *context)
{
	struct depot_store *d = context;
	struct store_txn *txn;
	struct log_row log = { 0 };

	int err = store_begin(d->store, false, &txn);
	if (err < 0)
		return err;
	journal_place covered = store_txn_covered(txn);
	err = log_get(txn, &d->depot.key->public, &log);
	store_abort(txn);
	if (err == 0 || err == -ENOENT)
		err = journal_sync(store_journal(d->store));
	if (err < 0)
		return err;
	pthread_mutex_lock(&d->lock);
	if (log.tip && covered > d->durable) {
		d->durable = covered;
		d->own = (struct head){ .seq = log.tip_seq, .record = log.tip_id, .records = log.records };
	}
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int remember(void *context, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct depot_store *d = context;
	struct store_txn *txn;

	int err = store_begin(d->store, true, &txn);
	if (err < 0)
		return err;
	err = store_local_put(txn, LOCAL_NET, key, key_size, value, value_size);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int each_memory(void *context, const void *prefix, size_t prefix_size,
		       int (*visit)(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size),
		       void *visitor)
{
	struct depot_store *d = context;
	const uint8_t *key, *value;
	size_t key_size, value_size;
	struct index_range range;
	struct store_txn *txn;

	int err = store_begin(d->store, false, &txn);
	if (err < 0)
		return err;
	err = store_local_range(txn, LOCAL_NET, prefix, prefix_size, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		store_local_row(&range, &key, &key_size, &value, &value_size);
		err = visit(visitor, key, key_size, value, value_size);
	}
	index_range_close(&range);
	store_abort(txn);
	return err;
}

static const struct depot_calls calls = {
	.head = head,
	.each_head = each_head,
	.every_head = every_head,
	.each_head_of = each_head_of,
	.log_count = log_count,
	.has_admitted = has_admitted,
	.each_record = each_record,
	.take_records = depot_take_records,
	.follows = depot_follows,
	.each_followed = depot_each_followed,
	.follow_count = depot_follow_count,
	.each_document = depot_each_document,
	.each_author = depot_each_author,
	.has_piece = has_piece,
	.read_piece = read_piece,
	.take_pieces = depot_take_pieces,
	.missing = missing,
	.missing_of = missing_of,
	.pieces_of = pieces_of,
	.sync = sync_own,
	.remember = remember,
	.each_memory = each_memory,
};

int depot_store_new(struct depot_store **out, const struct depot_store_options *options)
{
	struct depot_store *d = calloc(1, sizeof(*d));
	struct store_txn *txn;

	if (!d)
		return -ENOMEM;
	d->options = *options;
	d->store = options->store;
	d->depot = (struct depot){ .calls = &calls, .context = d, .key = store_key(d->store) };
	pthread_mutex_init(&d->lock, NULL);
	int err = store_begin(d->store, false, &txn);
	if (err == 0) {
		err = person_self(txn, &d->depot.person);
		store_abort(txn);
	}
	if (err == 0)
		err = depot_refresh(d);
	if (err == 0)
		err = sync_own(d);
	if (err < 0) {
		depot_store_free(d);
		return err;
	}
	store_on_due(d->store, depot_apply_due, d);
	*out = d;
	return 0;
}

void depot_store_free(struct depot_store *d)
{
	if (!d)
		return;
	store_on_due(d->store, NULL, NULL);
	for (size_t i = 0; i < DEPOT_PACKERS; i++)
		packer_free(d->packers[i]);
	free(d->followed);
	free(d->documents);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

const struct depot *depot_store_depot(const struct depot_store *d)
{
	return &d->depot;
}
