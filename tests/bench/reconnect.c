/*
 * reconnect - what it costs two nodes with large and nearly equal stores to agree again.
 *
 *   reconnect FOLDER LOGS RECORDS [DIFFERENCES [ROUNDS]]
 *
 * Makes FOLDER/a and FOLDER/b, unless they are there: two data folders that follow the same LOGS persons and one
 * another, and have RECORDS records of each.  Then, in each round, half of the DIFFERENCES are made in the one and half
 * in the other, each a record of another log, and they meet over loopback: two loops of net/ in this process. Prints
 * bytes both ways, pages, and the time from connecting until both have all, by the clock and of the processor (both
 * nodes together), of each round and the median.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "depot_store.h"
#include "log.h"
#include "loop.h"
#include "person.h"

#define TIME_MS 1700000000000ull /* of the records */
#define BATCH_RECORDS 4000 /* of one transaction: under TRANSACTION_ENTRIES_MAX */
#define ROUNDS_MAX 100
#define WAIT_S 60
#define SETTLE_US 300000 /* figures are told every 100 ms */

static void must(const char *what, int err)
{
	if (err >= 0)
		return;
	fprintf(stderr, "reconnect: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void *need(void *memory)
{
	if (!memory)
		must("memory", -ENOMEM);
	return memory;
}

/* ---- persons made up ---- */

struct chance {
	uint64_t state;
};

static uint64_t chance_next(struct chance *c)
{
	uint64_t z = c->state += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna) */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void chance_fill(void *context, uint8_t *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)chance_next(context);
}

/* The same for the same number. */
static void person_key(struct key *out, unsigned number)
{
	struct chance chance = { 1000003ull * (number + 1) };
	struct clock clock = clock_system();

	clock.random = chance_fill;
	clock.context = &chance;
	key_create(out, &clock);
}

struct writer {
	struct record *record;
	struct bytes bytes;
	struct key key;
	struct id tip;
};

static void writer_init(struct writer *w)
{
	memset(w, 0, sizeof(*w));
	w->record = need(record_new());
	bytes_init(&w->bytes, RECORD_SIZE_MAX);
}

static void writer_finish(struct writer *w)
{
	free(w->record);
	bytes_finish(&w->bytes);
}

/* The next record of a person: a profile, then ever again their trust in somebody. */
static void write_next(struct writer *w, struct store_txn *txn, uint64_t seq, uint64_t time_ms, bool is_signed)
{
	struct record *r = w->record;
	struct signature signature;

	r->voucher = w->key.public;
	r->seq = seq;
	r->time_ms = time_ms;
	memcpy(r->nonce, &seq, sizeof(r->nonce));
	if (seq == 0) {
		memset(&r->prev, 0, sizeof(r->prev));
		r->field = FIELD_PROFILE;
		memset(&r->profile, 0, sizeof(r->profile));
		r->profile.name = (struct text){ "person", 6 };
	} else {
		r->prev = w->tip;
		r->field = FIELD_TRUST;
		memset(r->trust.entity.bytes, 7, sizeof(r->trust.entity.bytes));
		r->trust.parts_per_million = (uint32_t)(seq % 1000000);
	}
	bytes_clear(&w->bytes);
	must("record", record_encode(r, &w->bytes));
	record_id(&w->tip, w->bytes.data, w->bytes.size);
	if (is_signed)
		must("signature", record_sign(&signature, &w->key, &w->tip));
	must("record", log_accept(txn, w->bytes.data, w->bytes.size, is_signed ? &signature : NULL));
}

/* Before so many more: begins anew what would grow too large. */
static void make_room(struct store *store, struct store_txn **txn, unsigned *written, unsigned more)
{
	if (*written + more > BATCH_RECORDS) {
		must("commit", store_commit(*txn));
		must("transaction", store_begin(store, true, txn));
		*written = 0;
	}
	*written += more;
}

static void fill(struct store *store, unsigned logs, unsigned records)
{
	struct store_txn *txn;
	struct writer w;
	unsigned written = 0;

	writer_init(&w);
	must("transaction", store_begin(store, true, &txn));
	for (unsigned i = 0; i < logs; i++) {
		make_room(store, &txn, &written, records);
		person_key(&w.key, i);
		for (unsigned seq = 0; seq < records; seq++)
			write_next(&w, txn, seq, TIME_MS + seq, seq + 1 == records);
	}
	must("commit", store_commit(txn));
	writer_finish(&w);
}

/* One more record of the persons from `first` on. */
static void add(struct store *store, unsigned first, unsigned count)
{
	struct store_txn *txn;
	struct log_row log;
	struct writer w;

	writer_init(&w);
	must("transaction", store_begin(store, true, &txn));
	for (unsigned i = 0; i < count; i++) {
		person_key(&w.key, first + i);
		must("log", log_get(txn, &w.key.public, &log));
		w.tip = log.tip_id;
		write_next(&w, txn, log.tip_seq + 1, log.tip_time_ms + 1, true);
	}
	must("commit", store_commit(txn));
	writer_finish(&w);
}

/* ---- nodes ---- */

struct node {
	char path[512];
	struct key key;
	struct store *store;
	struct depot_store *depot;
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t records;
	bool synced;
	struct timespec last;
};

static void happened(void *context, const struct event *event)
{
	struct node *n = context;

	if (event->kind != EVENT_RECORDS && event->kind != EVENT_SYNCED)
		return;
	pthread_mutex_lock(&n->lock);
	if (event->kind == EVENT_RECORDS)
		n->records += event->count;
	n->synced = event->kind == EVENT_SYNCED;
	clock_gettime(CLOCK_MONOTONIC, &n->last);
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

static void node_open(struct node *n, const char *folder, const char *name)
{
	struct store_options options = { .clock = clock_system(), .create = true };
	struct why why = { 0 };

	snprintf(n->path, sizeof(n->path), "%s/%s", folder, name);
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->changed, NULL);
	int fd = open(n->path, O_RDONLY | O_DIRECTORY);
	must(n->path, fd < 0 ? -errno : 0);
	int err = key_load(&n->key, fd, NULL, &why);
	if (err == -ENOENT) {
		key_create(&n->key, &options.clock);
		err = key_save(&n->key, fd, NULL, &options.clock, &why);
	}
	close(fd);
	if (err == 0)
		err = store_open(&n->store, n->path, &n->key, &options, &why);
	if (err < 0) {
		fprintf(stderr, "reconnect: %s: %s\n", n->path, why.text);
		exit(1);
	}
}

static void node_close(struct node *n)
{
	depot_store_free(n->depot);
	must("close", store_close(n->store));
	key_finish(&n->key);
}

static void follow(struct store_txn *txn, struct record *record, const struct id *person)
{
	record->field = FIELD_SUBSCRIBE;
	record->subscribe.what = SUBJECT_ENTITY;
	record->subscribe.id = *person;
	record->subscribe.on = true;
	must("subscribe", log_append(txn, record, NULL, NULL));
}

static void follow_all(struct node *n, const struct node *other, unsigned logs)
{
	struct record *record = need(record_new());
	unsigned written = 0;
	struct store_txn *txn;
	struct key key;

	must("transaction", store_begin(n->store, true, &txn));
	record->field = FIELD_PROFILE;
	must("profile", log_append(txn, record, NULL, NULL));
	for (unsigned i = 0; i < logs; i++) {
		person_key(&key, i);
		make_room(n->store, &txn, &written, 2);
		follow(txn, record, &key.public);
	}
	follow(txn, record, &other->key.public);
	must("commit", store_commit(txn));
	free(record);
}

static void node_start(struct node *n)
{
	struct depot_store_options options = { .store = n->store };
	struct loop_options o = { .clock = clock_system(), .listen = "127.0.0.1:0", .event = happened, .context = n };
	struct why why = { 0 };

	if (!n->depot)
		must("depot", depot_store_new(&n->depot, &options));
	o.depot = depot_store_depot(n->depot);
	n->records = 0;
	n->synced = false;
	must("loop", loop_start(&n->loop, &o, &why));
}

static bool node_wait(struct node *n, uint64_t records)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&n->lock);
	while (err == 0 && !(n->synced && n->records >= records))
		err = pthread_cond_timedwait(&n->changed, &n->lock, &until);
	pthread_mutex_unlock(&n->lock);
	return err == 0;
}

/* ---- a meeting ---- */

struct figures {
	uint64_t wall_us, processor_us, bytes, pages;
};

static uint64_t us_of(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_nsec / 1000;
}

static uint64_t processor_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return us_of(&t);
}

/* Both come to have what the other has: so many records of it are new to the one and to the other. */
static struct figures meet(struct node *a, struct node *b, uint64_t new_to_a, uint64_t new_to_b)
{
	char address[ADDRESS_SIZE_MAX];
	struct core_counts count_a, count_b;
	struct timespec start;
	struct figures f;

	node_start(a);
	node_start(b);
	loop_address(a->loop, address);
	uint64_t processor = processor_us();
	clock_gettime(CLOCK_MONOTONIC, &start);
	must("connect", loop_connect(b->loop, address, &a->key.public));
	if (!node_wait(a, new_to_a) || !node_wait(b, new_to_b)) {
		fprintf(stderr, "reconnect: after %d s the one has got %" PRIu64 " and the other %" PRIu64 " records\n",
			WAIT_S, a->records, b->records);
		exit(1);
	}
	f.processor_us = processor_us() - processor;
	f.wall_us = (us_of(&a->last) > us_of(&b->last) ? us_of(&a->last) : us_of(&b->last)) - us_of(&start);
	usleep(SETTLE_US);
	loop_count(a->loop, &count_a);
	loop_count(b->loop, &count_b);
	f.bytes = count_a.bytes_in + count_b.bytes_in;
	f.pages = count_a.pages_in + count_b.pages_in;
	loop_stop(b->loop);
	loop_stop(a->loop);
	return f;
}

/* ---- making them ---- */

static void copy(const char *folder)
{
	char from[512], to[512];
	int status = -1;

	snprintf(from, sizeof(from), "%s/a", folder);
	snprintf(to, sizeof(to), "%s/b", folder);
	pid_t pid = fork();
	if (pid == 0) {
		execlp("cp", "cp", "-a", "--sparse=always", from, to, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	must("cp", status == 0 ? 0 : -EIO);
	strcat(to, "/key");
	must("key", unlink(to) == 0 ? 0 : -errno);
}

static void make(const char *folder, unsigned logs, unsigned records)
{
	struct node *a = need(calloc(1, sizeof(*a))), *b = need(calloc(1, sizeof(*b)));
	char path[512];

	snprintf(path, sizeof(path), "%s/a", folder);
	must(path, mkdir(path, 0700) == 0 ? 0 : -errno);
	node_open(a, folder, "a");
	fill(a->store, logs, records);
	node_close(a);
	copy(folder);

	memset(a, 0, sizeof(*a));
	node_open(a, folder, "a");
	node_open(b, folder, "b");
	follow_all(a, b, logs);
	follow_all(b, a, logs);
	meet(a, b, logs + 2, logs + 2);
	node_close(a);
	node_close(b);
	free(a);
	free(b);
}

static int compare_figures(const void *x, const void *y)
{
	const struct figures *a = x, *b = y;

	return (a->wall_us > b->wall_us) - (a->wall_us < b->wall_us);
}

static void print(const char *what, const struct figures *f)
{
	printf("%s %8" PRIu64 " bytes %3" PRIu64 " pages %5" PRIu64 ".%" PRIu64 " ms clock %5" PRIu64 ".%" PRIu64
	       " ms processor\n", what, f->bytes, f->pages, f->wall_us / 1000, f->wall_us / 100 % 10,
	       f->processor_us / 1000, f->processor_us / 100 % 10);
	fflush(stdout);
}

static void run(const char *folder, unsigned logs, unsigned differences, unsigned rounds)
{
	struct node *a = need(calloc(1, sizeof(*a))), *b = need(calloc(1, sizeof(*b)));
	struct figures figures[ROUNDS_MAX];
	unsigned half = differences / 2;

	node_open(a, folder, "a");
	node_open(b, folder, "b");
	for (unsigned i = 0; i < rounds; i++) {
		unsigned first = (i * differences * 7919) % (logs - differences);
		add(a->store, first, differences - half);
		add(b->store, first + differences - half, half);
		figures[i] = meet(a, b, half, differences - half);
		print("reconnect", &figures[i]);
	}
	qsort(figures, rounds, sizeof(figures[0]), compare_figures);
	print("median   ", &figures[rounds / 2]);
	node_close(a);
	node_close(b);
	free(a);
	free(b);
}

int main(int argc, char **argv)
{
	unsigned logs = argc > 3 ? (unsigned)atoi(argv[2]) : 0, records = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	unsigned differences = argc > 4 ? (unsigned)atoi(argv[4]) : 10, rounds = argc > 5 ? (unsigned)atoi(argv[5]) : 5;
	char path[512];

	if (records < 2 || records > BATCH_RECORDS || differences < 2 || logs <= differences || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: reconnect FOLDER LOGS RECORDS [DIFFERENCES [ROUNDS]]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%s/b/key", argv[1]);
	if (access(path, F_OK) < 0) {
		uint64_t start = processor_us();
		make(argv[1], logs, records);
		printf("made %u logs of %u records, twice: %" PRIu64 " s of processor\n", logs, records,
		       (processor_us() - start) / 1000000);
	}
	run(argv[1], logs, differences, rounds);
	return 0;
}
