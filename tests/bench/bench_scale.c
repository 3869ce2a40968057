/*
 * bench_scale - what things cost in a folder of a given size; run by tests/bench/scale.
 *
 *   bench_scale fill COUNT        documents in the root folder until there are so many
 *   bench_scale deepen COUNT      versions of the first document until there are so many
 *   bench_scale save|create|open|list|versions|find [COUNT]
 *   bench_scale start             opening and closing the data folder
 *   bench_scale edit FILE OFFSET  saves FILE twice, one byte changed between; counts the pieces
 *
 * The data folder is $MOOT_HOME, made by `moot init`. Each prints one line: what, how many,
 * and for one of them microseconds of processor time and of the clock, and pages of the index written.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "log.h"

#define BATCH 1200 /* documents in one transaction: under TRANSACTION_ENTRIES_MAX */
#define DEEP_BATCH 50 /* versions of one document in one: they share a time, as saves do not */
#define SAVE_SIZE 4096
#define NAME_FORMAT "doc-%07u.md"

/* session.c shows one while it builds the index. */
void progress_show(const char *what, uint64_t done, uint64_t total)
{
}

struct bench {
	struct session session;
	struct packer *packer;
	uint64_t chance;
	unsigned documents;
};

struct span_of_time {
	uint64_t wall_us, processor_us;
};

static void fail(const char *what, int err)
{
	fprintf(stderr, "bench_scale: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void must(const char *what, int err)
{
	if (err < 0)
		fail(what, err);
}

static uint64_t next(struct bench *b)
{
	uint64_t z = b->chance += 0x9e3779b97f4a7c15u; /* splitmix64 (Vigna) */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static struct span_of_time now(void)
{
	struct rusage usage;
	struct timespec t;

	getrusage(RUSAGE_SELF, &usage);
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (struct span_of_time){
		.wall_us = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000,
		.processor_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
				(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
	};
}

static void report(const struct bench *b, const char *what, uint64_t count, const struct span_of_time *since)
{
	struct span_of_time end = now();
	uint64_t processor = (end.processor_us - since->processor_us) * 10 / (count ? count : 1);
	uint64_t wall = (end.wall_us - since->wall_us) * 10 / (count ? count : 1);

	printf("%-10s %8u documents %8" PRIu64 " times %9" PRIu64 ".%" PRIu64 " us processor %9" PRIu64 ".%" PRIu64 " us clock\n",
	       what, b->documents, count, processor / 10, processor % 10, wall / 10, wall % 10);
}

/* Words that compress about as text does, never twice the same. */
static size_t make_text(struct bench *b, char *out, size_t size)
{
	static const char *const words[] = { "soil ", "water ", "the ", "a ", "garden ", "of ", "seed ", "leaf\n", "and ",
					     "root ", "in ", "spring ", "to ", "plant ", "rain ", "sun.\n" };
	size_t at = 0;

	while (at + 24 < size) {
		uint64_t chance = next(b);
		for (int i = 0; i < 8 && at + 24 < size; i++, chance >>= 4)
			at += (size_t)sprintf(out + at, "%s", words[chance & 15]);
		at += (size_t)sprintf(out + at, "%x ", (unsigned)(chance & 0xffff));
	}
	return at;
}

static unsigned count_documents(struct bench *b)
{
	struct desk_item item;
	unsigned low = 0, high = 1u << 24;
	char name[32];

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		snprintf(name, sizeof(name), NAME_FORMAT, middle);
		if (desk_lookup(b->session.desk, &b->session.self, &b->session.self, name, &item) == 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- making ---- */

/* What stands at the name is replaced by the caller's word only: the generator knows what it wrote. */
static struct id say_version(struct bench *b, struct store_txn *txn, const char *name, const struct id *document,
			     const struct id *parent)
{
	struct record *record = store_txn_record(txn, 0);
	struct piece_store pieces = store_txn_pieces(txn);
	char text[400];
	struct id id;

	record->field = FIELD_VERSION;
	memset(&record->version.document, 0, ID_SIZE);
	record->version.parent_count = 0;
	record->replaces_count = 0;
	record->version.mode = MODE_FILE;
	record->version.entry = (struct entry){ .directory = b->session.self, .name = { name, strlen(name) }, .what = WHAT_VERSION };
	if (parent) {
		record->version.document = *document;
		record->version.parents[record->version.parent_count++] = *parent;
		record->replaces[record->replaces_count++] = (struct replaced){ *parent, 0 };
		record->version.entry.replaces_count = 1;
	}
	size_t size = make_text(b, text, 120 + next(b) % 240);
	must("content", content_write_bytes(b->packer, &pieces, text, size, &record->version.content));
	must("record", log_append(txn, record, &id, NULL));
	return id;
}

static void fill(struct bench *b, unsigned count)
{
	struct span_of_time start = now();
	unsigned first = b->documents;
	struct store_txn *txn;
	char name[32];

	while (b->documents < count) {
		must("transaction", store_begin(b->session.store, true, &txn));
		for (int i = 0; i < BATCH && b->documents < count; i++) {
			snprintf(name, sizeof(name), NAME_FORMAT, b->documents++);
			say_version(b, txn, name, NULL, NULL);
		}
		must("commit", store_commit(txn));
	}
	report(b, "fill", b->documents - first, &start);
}

static struct desk_item first_document(struct bench *b, char name[32])
{
	struct desk_item item;

	snprintf(name, 32, NAME_FORMAT, 0);
	must("look-up", desk_lookup(b->session.desk, &b->session.self, &b->session.self, name, &item));
	return item;
}

static uint64_t count_versions(struct bench *b)
{
	struct store_txn *txn;
	uint64_t count;
	char name[32];

	snprintf(name, sizeof(name), NAME_FORMAT, 0);
	must("transaction", store_begin(b->session.store, false, &txn));
	must("count", document_count(txn, &b->session.self, &b->session.self, name, &count));
	store_abort(txn);
	return count;
}

static void deepen(struct bench *b, unsigned count)
{
	struct span_of_time start = now();
	char name[32];
	struct id head = first_document(b, name).id, document;
	struct version_row row;
	struct store_txn *txn;
	uint64_t first = count_versions(b), at = first;

	must("transaction", store_begin(b->session.store, false, &txn));
	must("version", document_version_row(txn, &head, &row));
	document = row.document;
	store_abort(txn);
	while (at < count) {
		must("transaction", store_begin(b->session.store, true, &txn));
		for (int i = 0; i < DEEP_BATCH && at < count; i++, at++)
			head = say_version(b, txn, name, &document, &head);
		must("commit", store_commit(txn));
	}
	report(b, "deepen", at - first, &start);
}

/* ---- measuring ---- */

static void write_document(struct bench *b, struct handle *h)
{
	char text[SAVE_SIZE + 32];

	must("write", (int)handle_write(h, text, make_text(b, text, SAVE_SIZE), 0));
	must("flush", handle_flush(h));
	must("release", handle_release(h));
}

static void save(struct bench *b, unsigned count)
{
	struct handle *h;
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), NAME_FORMAT, (unsigned)(next(b) % b->documents));
		must("open", desk_open_file(b->session.desk, (struct desk_slot){ b->session.self, name }, O_WRONLY | O_TRUNC, 0, &h));
		write_document(b, h);
	}
}

/* The first document again and again: what the next version of many costs. */
static void again(struct bench *b, unsigned count)
{
	struct handle *h;
	char name[32];

	snprintf(name, sizeof(name), NAME_FORMAT, 0);
	for (unsigned i = 0; i < count; i++) {
		must("open", desk_open_file(b->session.desk, (struct desk_slot){ b->session.self, name }, O_WRONLY | O_TRUNC, 0, &h));
		write_document(b, h);
	}
}

static void create(struct bench *b, unsigned count)
{
	struct desk_item item;
	struct handle *h;
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "new-%016" PRIx64 ".md", next(b));
		must("create", desk_create(b->session.desk, (struct desk_slot){ b->session.self, name }, 0644, getuid(), getgid(), 0, &h, &item));
		write_document(b, h);
	}
	must("publish", desk_publish_all(b->session.desk));
}

static void open_some(struct bench *b, unsigned count)
{
	char name[32], text[8192];
	struct handle *h;

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), NAME_FORMAT, (unsigned)(next(b) % b->documents));
		must("open", desk_open_file(b->session.desk, (struct desk_slot){ b->session.self, name }, O_RDONLY, 0, &h));
		must("read", (int)handle_read(h, text, sizeof(text), 0));
		must("release", handle_release(h));
	}
}

static void open_first(struct bench *b, unsigned count)
{
	char name[32], text[8192];
	struct handle *h;

	snprintf(name, sizeof(name), NAME_FORMAT, 0);
	for (unsigned i = 0; i < count; i++) {
		must("open", desk_open_file(b->session.desk, (struct desk_slot){ b->session.self, name }, O_RDONLY, 0, &h));
		must("read", (int)handle_read(h, text, sizeof(text), 0));
		must("release", handle_release(h));
	}
}

struct listing {
	unsigned count, batch;
	uint64_t after;
};

static int list_item(void *context, const struct desk_item *item)
{
	struct listing *l = context;

	l->count++;
	l->after = item->cookie;
	return ++l->batch == 100; /* about as many as one request of the kernel's */
}

static unsigned list(struct bench *b)
{
	struct listing l = { 0 };

	do {
		l.batch = 0;
		must("list", desk_each(b->session.desk, &b->session.self, &b->session.self, l.after, list_item, &l));
	} while (l.batch > 0);
	return l.count;
}

struct versions {
	struct store_txn *txn;
	unsigned count, batch;
	uint64_t after;
};

static int list_version(void *context, const struct version_row *row, uint64_t place)
{
	struct versions *v = context;

	v->count++;
	v->after = place;
	return ++v->batch == 100;
}

/* As a listing by requests, each with a transaction of its own. */
static unsigned list_versions(struct bench *b)
{
	struct versions v = { 0 };
	char name[32];

	snprintf(name, sizeof(name), NAME_FORMAT, 0);
	do {
		v.batch = 0;
		must("transaction", store_begin(b->session.store, false, &v.txn));
		must("versions", document_each(v.txn, &b->session.self, &b->session.self, name, v.after, list_version, &v));
		store_abort(v.txn);
	} while (v.batch > 0);
	return v.count;
}

/* By number from the middle, by time, by prefix. */
static void find(struct bench *b, unsigned count)
{
	uint64_t versions = count_versions(b);
	char name[32], spelling[ID_TEXT_SIZE + 1];
	struct version_row row;
	struct store_txn *txn;

	snprintf(name, sizeof(name), NAME_FORMAT, 0);
	for (unsigned i = 0; i < count; i++) {
		must("transaction", store_begin(b->session.store, false, &txn));
		snprintf(spelling, sizeof(spelling), "%" PRIu64, 1 + next(b) % versions);
		must("number", document_find(txn, &b->session.self, &b->session.self, name, spelling, &row));
		id_format(spelling, &row.id);
		spelling[12] = '\0';
		must("prefix", document_find(txn, &b->session.self, &b->session.self, name, spelling, &row));
		store_abort(txn);
	}
}

/* ---- one byte of a large document ---- */

static uint64_t pieces_of(struct bench *b)
{
	struct store_counts counts;

	must("counts", store_counts(b->session.store, &counts));
	return counts.pieces;
}

static void take(struct bench *b, int fd, const char *what)
{
	const struct attributes attributes = { .permissions = 0644, .uid = getuid(), .gid = getgid() };
	struct span_of_time start = now();
	uint64_t before = pieces_of(b);

	must("save", desk_take_file(b->session.desk, fd, (struct desk_slot){ b->session.self, "large.bin" }, &attributes, 0, NULL));
	must("publish", desk_publish_all(b->session.desk));
	printf("%-10s stored %" PRIu64 " pieces\n", what, pieces_of(b) - before);
	report(b, what, 1, &start);
}

static void edit(struct bench *b, const char *path, off_t offset)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte = 0;

	if (fd < 0 || pread(fd, &byte, 1, offset) != 1)
		fail(path, -errno);
	take(b, fd, "first");
	byte ^= 1;
	if (pwrite(fd, &byte, 1, offset) != 1)
		fail(path, -errno);
	take(b, fd, "edited");
	close(fd);
}

/* ---- */

static void run(struct bench *b, const char *what, unsigned count)
{
	static const struct {
		const char *name;
		void (*run)(struct bench *b, unsigned count);
		bool warm; /* once before, so that what it touches is in memory */
	} rows[] = { { "save", save, true },  { "again", again, true },          { "create", create, true },
		     { "open", open_some, true }, { "open-first", open_first, true }, { "find", find, true } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, what) == 0) {
			if (rows[i].warm)
				rows[i].run(b, count / 10 + 1);
			struct span_of_time start = now();
			rows[i].run(b, count);
			report(b, what, count, &start);
			return;
		}
	fprintf(stderr, "bench_scale: %s?\n", what);
	exit(2);
}

int main(int argc, char **argv)
{
	struct bench b = { .packer = packer_new(), .chance = (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL) };
	const char *what = argc > 1 ? argv[1] : "";
	unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;
	struct why why = { { 0 } };
	struct span_of_time start = now();

	if (!b.packer || argc < 2)
		return 2;
	if (session_open(&b.session, false, &why) < 0) {
		fprintf(stderr, "bench_scale: %s\n", why.text);
		return 1;
	}
	if (strcmp(what, "start") == 0)
		report(&b, "start", 1, &start);
	b.documents = count_documents(&b);
	start = now();
	if (strcmp(what, "start") == 0)
		;
	else if (strcmp(what, "fill") == 0)
		fill(&b, count);
	else if (strcmp(what, "deepen") == 0)
		deepen(&b, count);
	else if (strcmp(what, "edit") == 0)
		edit(&b, argv[2], (off_t)strtoll(argc > 3 ? argv[3] : "0", NULL, 10));
	else if (strcmp(what, "list") == 0)
		report(&b, "list", list(&b), &start);
	else if (strcmp(what, "versions") == 0)
		report(&b, "versions", list_versions(&b), &start);
	else
		run(&b, what, count);
	start = now();
	must("close", session_close(&b.session));
	if (strcmp(what, "start") == 0)
		report(&b, "stop", 1, &start);
	packer_free(b.packer);
	return 0;
}
