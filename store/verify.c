/*
 * verify.c - is what the journal holds what was signed, and all of it here?
 *
 * One pass over the journal, without the lock, checks each entry by itself and against
 * what stands before it, noting names: 72 bytes a piece, 112 a record, no texts.  Each record
 * holds the hash of the one before, so of a run of records that follow one another the
 * last signature is checked and vouches for all; if it is not good, a pass of its
 * own checks each of that run.  What needs what comes later, and texts of more than one
 * piece, wait for a last pass, which reads pieces through an LRU.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbor.h"
#include "cleanup.h"
#include "verify_table.h"

#define CACHE_SIZE (16u * 1024 * 1024)
#define READ_SIZE (256u * 1024)
#define PROGRESS_STEP (1024u * 1024)
#define RUN_MAX 256 /* records that one signature vouches for: what is checked one by one if it is not good */

struct run { /* of a log, not vouched for yet */
	size_t first;   /* row of its first record */
	size_t count;   /* 0: there is none */
	struct id last; /* what the next must follow */
	size_t signer;  /* row of the last that is signed; and */
	struct signature signature;
	bool has_signer;
};

struct verifier {
	struct journal *journal;
	struct verify_table table;
	struct packer *packer;
	struct piece_cache *cache;
	struct record *record;
	uint8_t *text; /* READ_SIZE */
	struct run *runs; /* by log */
	size_t run_count;
	size_t unsure, deferred; /* records that need another pass */
	struct id own; /* this device; zero: not known */
	int lacking;   /* -ENOMEM: a signature could not be checked */
	bool held;     /* another process has the lock: it may be appending */

	void (*finding)(void *context, const char *sentence);
	void (*progress)(void *context, uint64_t done, uint64_t total);
	void *context;
	struct verify_report report;
	uint64_t number; /* of the entry before */
	uint64_t done, told, total;
};

static void tell(struct verifier *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct verifier *v, const char *format, ...)
{
	char sentence[WHY_SIZE];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	v->report.bad++;
	if (v->finding)
		v->finding(v->context, sentence);
}

static void tell_entry(struct verifier *v, const struct journal_entry *entry, const char *what)
{
	tell(v, "segment %" PRIu64 ": the entry at %" PRIu64 " %s", entry->place >> 32,
	     entry->place & UINT32_MAX, what);
}

static void tell_record(struct verifier *v, const struct id *id, const struct id *log, const char *what)
{
	char record_text[ID_SHORT_SIZE + 1], log_text[ID_SHORT_SIZE + 1];
	id_format_short(record_text, id);
	id_format_short(log_text, log);
	tell(v, "record %s of log %s: %s", record_text, log_text, what);
}

static void tell_piece(struct verifier *v, const struct id *name, const char *what)
{
	char text[ID_SHORT_SIZE + 1];
	id_format_short(text, name);
	tell(v, "piece %s: %s", text, what);
}

static void advance(struct verifier *v, uint64_t size)
{
	v->done += size;
	if (v->progress && v->done - v->told >= PROGRESS_STEP) {
		v->told = v->done;
		v->progress(v->context, v->done < v->total ? v->done : v->total, v->total);
	}
}

/* ---- the first pass: each entry by itself ---- */

/* 0 and v->record, or -EBADMSG. */
static int decode_record(struct verifier *v, const struct journal_entry *entry, struct signature *out_signature,
			 struct id *out_id)
{
	if (entry->size <= sizeof(out_signature->bytes))
		return -EBADMSG;
	const uint8_t *bytes = entry->bytes + sizeof(out_signature->bytes);
	size_t size = entry->size - sizeof(out_signature->bytes);
	if (record_decode(v->record, bytes, size) < 0)
		return -EBADMSG;
	memcpy(out_signature->bytes, entry->bytes, sizeof(out_signature->bytes));
	record_id(out_id, bytes, size);
	return 0;
}

/* ---- the first pass: signatures ---- */

static int run_of(struct verifier *v, uint32_t log, struct run **out)
{
	if (log >= v->run_count) {
		size_t count = log + 16;
		struct run *runs = realloc(v->runs, count * sizeof(*runs));
		if (!runs)
			return -ENOMEM;
		memset(runs + v->run_count, 0, (count - v->run_count) * sizeof(*runs));
		v->runs = runs;
		v->run_count = count;
	}
	*out = &v->runs[log];
	return 0;
}

static void check_signature(struct verifier *v, struct verify_record *row, const struct signature *signature)
{
	const struct id *log = verify_table_log(&v->table, row->log);

	v->report.signatures++;
	int err = record_verify(signature, log, &row->id);
	if (err < 0 && err != -EKEYREJECTED) {
		v->lacking = err;
		return;
	}
	row->signed_well = err == 0;
	row->signed_badly = !row->signed_well;
	if (row->signed_badly)
		tell_record(v, &row->id, log, "its signature is not good");
}

/* The last signature of a run, for all of it; where it is not good the others have to speak for themselves. */
static void run_end(struct verifier *v, struct run *run)
{
	struct verify_record *rows = v->table.records, *signer = &rows[run->signer];

	if (run->count && run->has_signer)
		check_signature(v, signer, &run->signature);
	if (run->count && run->has_signer && signer->signed_badly)
		for (size_t i = run->first; i < run->signer; i++)
			if (rows[i].log == signer->log && !rows[i].signed_well) {
				rows[i].unsure = true;
				v->unsure++;
			}
	*run = (struct run){ 0 };
}

static int run_add(struct verifier *v, size_t index, const struct signature *signature)
{
	const struct verify_record *row = &v->table.records[index];
	struct run *run;

	int err = run_of(v, row->log, &run);
	if (err < 0)
		return err;
	bool is_signed = !sodium_is_zero(signature->bytes, sizeof(signature->bytes));
	if (run->count && (row->seq == 0 || !id_equal(&row->prev, &run->last)))
		run_end(v, run);
	if (run->count == 0)
		run->first = index;
	run->count++;
	run->last = row->id;
	if (is_signed) {
		run->has_signer = true;
		run->signer = index;
		run->signature = *signature;
	}
	if (run->count >= RUN_MAX && is_signed)
		run_end(v, run);
	return 0;
}

static int check_contents(struct verifier *v, const struct verify_record *row, bool last);

static int check_record(struct verifier *v, const struct journal_entry *entry)
{
	struct signature signature;
	struct verify_record row = { .number = entry->number, .place = entry->place };
	size_t index;

	v->report.records++;
	if (decode_record(v, entry, &signature, &row.id) < 0) {
		tell_entry(v, entry, "is no record that this program can read");
		return 0;
	}
	const struct record *r = v->record;
	row.prev = r->prev;
	row.seq = r->seq;
	row.time_ms = r->time_ms;
	int known = verify_table_add_record(&v->table, &row, &r->voucher, &index);
	if (known < 0)
		return known;
	if (known) { /* it stands twice */
		if (!sodium_is_zero(signature.bytes, sizeof(signature.bytes)))
			check_signature(v, &v->table.records[index], &signature);
		return 0;
	}
	int err = run_add(v, index, &signature);
	int done = err == 0 ? check_contents(v, &v->table.records[index], false) : err;
	if (done == 0) {
		v->table.records[index].deferred = true;
		v->deferred++;
	}
	return done < 0 ? done : 0;
}

static int check_piece(struct verifier *v, const struct journal_entry *entry)
{
	struct verify_piece row = { .place = entry->place };

	v->report.pieces++;
	if (entry->size <= ID_SIZE || entry->size > ID_SIZE + PIECE_STORED_MAX) {
		tell_entry(v, entry, "has no size that a piece can have");
		return 0;
	}
	const uint8_t *member = entry->bytes + ID_SIZE;
	row.stored_size = (uint32_t)(entry->size - ID_SIZE);
	id_of_bytes(&row.name, member, row.stored_size);
	ssize_t size = piece_inflate(v->packer, member, row.stored_size, v->text);
	if (size == -ENOMEM)
		return -ENOMEM;
	if (size < 0) {
		tell_piece(v, &row.name, "it is not one whole gzip member");
		return 0;
	}
	struct id text_id;
	id_of_bytes(&text_id, v->text, (size_t)size);
	memcpy(row.text_id, text_id.bytes, sizeof(row.text_id));
	if (memcmp(text_id.bytes, entry->bytes, ID_SIZE) != 0)
		tell_piece(v, &row.name, "it stands there for another text than it holds");
	row.text_size = (uint32_t)size;
	return verify_table_add_piece(&v->table, &row);
}

static void check_local(struct verifier *v, const struct journal_entry *entry)
{
	struct cbor_reader r;
	size_t size;

	cbor_reader_init(&r, entry->bytes, entry->size);
	cbor_get_array(&r, 3, 3);
	cbor_get_uint(&r, UINT8_MAX);
	cbor_get_bytes(&r, 0, SIZE_MAX, &size);
	cbor_get_bytes(&r, 0, SIZE_MAX, &size);
	if (cbor_reader_finish(&r) < 0)
		tell_entry(v, entry, "is no local fact");
}

static int check_mark(struct verifier *v, const struct journal_entry *entry)
{
	struct verify_piece row = { .place = entry->place, .marked = true };

	if (entry->size != ID_SIZE) {
		tell_entry(v, entry, "is no mark of a piece");
		return 0;
	}
	memcpy(row.name.bytes, entry->bytes, ID_SIZE);
	return verify_table_add_piece(&v->table, &row);
}

static int visit_first(void *context, const struct journal_entry *entry)
{
	struct verifier *v = context;

	v->report.bytes += entry->end - entry->place;
	advance(v, entry->end - entry->place);
	if (entry->number <= v->number)
		tell_entry(v, entry, "does not have a number above that of the one before");
	v->number = entry->number;

	switch (entry->kind) {
	case KIND_RECORD:
		return check_record(v, entry);
	case KIND_PIECE:
		return check_piece(v, entry);
	case KIND_LOCAL:
		check_local(v, entry);
		return 0;
	case KIND_MARK:
		return check_mark(v, entry);
	default:
		return 0; /* of a newer program */
	}
}

static void visit_damage(void *context, const struct journal_damage *damage)
{
	struct verifier *v = context;

	advance(v, damage->size);
	if (damage->segment == 0)
		tell(v, "journal/salt is not there as it should: the next start makes it anew");
	else if (!damage->torn_tail)
		tell(v, "segment %" PRIu32 ": %" PRIu64 " bytes at %" PRIu64 " hold no valid entry",
		     damage->segment, damage->size, damage->offset);
	else if (!v->held)
		tell(v, "segment %" PRIu32 ": the last %" PRIu64 " bytes, at %" PRIu64 ", are torn off an entry",
		     damage->segment, damage->size, damage->offset);
}

/* ---- signatures one by one ---- */

static int visit_unsure(void *context, const struct journal_entry *entry)
{
	struct verifier *v = context;
	struct signature signature;
	struct id id;

	if (entry->kind != KIND_RECORD || decode_record(v, entry, &signature, &id) < 0)
		return 0;
	struct verify_record *row = verify_table_record(&v->table, &id);
	if (row && row->unsure && !sodium_is_zero(signature.bytes, sizeof(signature.bytes)))
		check_signature(v, row, &signature);
	if (row)
		row->unsure = false;
	return 0;
}

/* ---- chains ---- */

static void check_chain(struct verifier *v, const struct verify_record *row)
{
	const struct id *log = verify_table_log(&v->table, row->log);
	char text[128];

	if (!row->vouched && !row->signed_badly)
		tell_record(v, &row->id, log, "neither it nor one that follows it has a good signature");
	if (row->seq == 0)
		return;
	const struct verify_record *prev = verify_table_record(&v->table, &row->prev);
	if (!prev) {
		tell_record(v, &row->id, log, "the record before it is not here");
		return;
	}
	if (prev->log != row->log)
		tell_record(v, &row->id, log, "it follows a record of another log");
	if (prev->place > row->place)
		tell_record(v, &row->id, log, "it stands before the record that it follows");
	if (row->seq != prev->seq + 1) {
		snprintf(text, sizeof(text), "its number is %" PRIu64 ", but that of the one before is %" PRIu64,
			 row->seq, prev->seq);
		tell_record(v, &row->id, log, text);
	}
	if (row->time_ms < prev->time_ms)
		tell_record(v, &row->id, log, "its time is before that of the record before it");
}

/* ---- texts ---- */

static int relocate(void *context, const struct journal_entry *entry)
{
	struct verifier *v = context;
	struct id name;

	if (entry->kind != KIND_PIECE || entry->size <= ID_SIZE)
		return 0;
	id_of_bytes(&name, entry->bytes + ID_SIZE, entry->size - ID_SIZE);
	struct verify_piece *row = verify_table_piece(&v->table, &name);
	if (row && row->place == 0) {
		row->place = entry->place;
		row->marked = false;
	}
	return 0;
}

/* The other process rewrote a segment: what it dropped was of no use, what it kept moved. */
static int find_again(struct verifier *v, uint32_t segment)
{
	verify_table_forget(&v->table, segment);
	return journal_scan_segment(v->journal, segment, relocate, NULL, v);
}

/* -EBADMSG: there is another entry now, or none. */
static ssize_t read_piece(struct verifier *v, const struct verify_piece *row, uint8_t *out, size_t out_size)
{
	uint8_t bytes[ID_SIZE + PIECE_STORED_MAX], kind;
	struct id name;

	ssize_t size = journal_read(v->journal, row->place, &kind, bytes, sizeof(bytes));
	if (size < 0)
		return size == -ESTALE || size == -EMSGSIZE ? -EBADMSG : size;
	size -= ID_SIZE;
	if (size <= 0 || (size_t)size > out_size || kind != KIND_PIECE)
		return -EBADMSG;
	id_of_bytes(&name, bytes + ID_SIZE, (size_t)size);
	if (!id_equal(&name, &row->name))
		return -EBADMSG;
	memcpy(out, bytes + ID_SIZE, (size_t)size);
	return size;
}

static ssize_t get_piece(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct verifier *v = context;
	ssize_t size = -EBADMSG;

	const struct verify_piece *row = verify_table_piece(&v->table, name);
	for (int try = 0; row && !row->marked && try < 3; try++) {
		size = read_piece(v, row, out, out_size);
		if (size != -EBADMSG)
			return size;
		int err = find_again(v, (uint32_t)(row->place >> 32));
		if (err < 0)
			return err;
	}
	return row && !row->marked ? size : -ENOENT;
}

struct holding {
	struct verifier *v;
	size_t missing, marked, wrong;
	struct id first; /* of the missing, else of the wrong ones */
};

/* Stops at a list that is not here: what it lists cannot be known. */
static int check_ref(void *context, const struct piece_ref *ref, bool is_list)
{
	struct holding *h = context;
	const struct verify_piece *row = verify_table_piece(&h->v->table, &ref->name);

	if (row && row->marked) {
		h->marked++;
		return is_list;
	}
	if (!row) {
		if (h->missing++ == 0)
			h->first = ref->name;
		return is_list;
	}
	bool right = row->stored_size == ref->stored_size && (is_list || row->text_size == ref->text_size);
	if (!right && h->wrong++ == 0 && !h->missing)
		h->first = ref->name;
	return 0;
}

static int digest_text(struct verifier *v, const struct piece_store *store, const struct content *content,
		       struct id *out)
{
	crypto_generichash_state state;
	uint64_t offset = 0;

	crypto_generichash_init(&state, NULL, 0, ID_SIZE);
	while (offset < content->size) {
		ssize_t size = content_read(v->cache, store, content, v->text, READ_SIZE, offset);
		if (size < 0)
			return (int)size;
		if (size == 0)
			return -EBADMSG;
		crypto_generichash_update(&state, v->text, (size_t)size);
		offset += (uint64_t)size;
	}
	crypto_generichash_final(&state, out->bytes, ID_SIZE);
	return 0;
}

/* The text of one piece has that piece's digest: no need to read it again. */
static bool is_one_piece(const struct verifier *v, const struct content *content)
{
	const struct piece_ref *ref = &content->pieces[0];
	const struct verify_piece *row;

	if (content->depth != 0 || content->count != 1 || content->size != ref->text_size)
		return false;
	row = verify_table_piece(&v->table, &ref->name);
	return row && !row->marked && row->stored_size == ref->stored_size && row->text_size == ref->text_size &&
	       memcmp(row->text_id, content->digest.bytes, sizeof(row->text_id)) == 0;
}

/* 1: it is done with; 0: not before all of the journal was seen. */
static int check_content(struct verifier *v, const struct verify_record *row, const struct content *content, bool last)
{
	const struct piece_store store = { .get = get_piece, .context = v };
	const struct id *log = verify_table_log(&v->table, row->log);
	struct holding h = { .v = v };
	char first[ID_SHORT_SIZE + 1], text[128];
	struct id digest;

	if (is_one_piece(v, content))
		return 1;
	if (!last)
		return 0;
	int err = content_each(v->cache, &store, content, true, check_ref, &h);
	id_format_short(first, &h.first);
	/* What others wrote may not have come yet; what was written here was here. */
	if (h.missing && !id_is_zero(&v->own) && !id_equal(log, &v->own)) {
		v->report.missing += h.missing;
		return 1;
	}
	if (h.missing) {
		snprintf(text, sizeof(text), "%zu of its pieces are not here, the first is %s", h.missing, first);
		tell_record(v, &row->id, log, text);
		return 1;
	}
	if (h.marked) /* dropped by intent: not held, and so not known to be wrong */
		return 1;
	if (h.wrong) {
		snprintf(text, sizeof(text), "%zu of its pieces have other sizes than it tells, the first is %s",
			 h.wrong, first);
		tell_record(v, &row->id, log, text);
		return 1;
	}
	if (err == 0)
		err = digest_text(v, &store, content, &digest);
	if (err == -ENOMEM)
		return err;
	if (err < 0)
		tell_record(v, &row->id, log, "its text cannot be put together from its pieces");
	else if (!id_equal(&digest, &content->digest))
		tell_record(v, &row->id, log, "its text does not have the digest that it tells");
	return 1;
}

/* Of the record at hand: as check_content(). */
static int check_contents(struct verifier *v, const struct verify_record *row, bool last)
{
	const struct record *r = v->record;
	int done = 1;

	if (r->field == FIELD_VERSION)
		return check_content(v, row, &r->version.content, last);
	if (r->field == FIELD_DENOUNCE)
		return check_content(v, row, &r->denounce.evidence, last);
	for (unsigned i = 0; r->field == FIELD_SUMMARY && done == 1 && i < SUMMARY_COUNT; i++) {
		struct summary_section section;
		int err = record_summary_section(r, i, &section);
		if (err == 0 && section.present)
			done = check_content(v, row, &section.content, last);
	}
	return done;
}

static int visit_deferred(void *context, const struct journal_entry *entry)
{
	struct verifier *v = context;
	struct signature signature;
	struct id id;

	advance(v, entry->end - entry->place);
	if (entry->kind != KIND_RECORD || decode_record(v, entry, &signature, &id) < 0)
		return 0;
	struct verify_record *row = verify_table_record(&v->table, &id);
	if (!row || !row->deferred) /* appended since, or it stands twice */
		return 0;
	row->deferred = false;
	int err = check_contents(v, row, true);
	return err < 0 ? err : 0;
}

/* ---- all of it ---- */

static int run(struct verifier *v, struct why *why)
{
	struct journal_stats stats;

	journal_stats(v->journal, &stats);
	v->total = 2 * stats.bytes;
	int err = journal_scan(v->journal, 0, visit_first, visit_damage, v);
	for (size_t i = 0; err == 0 && i < v->run_count; i++)
		run_end(v, &v->runs[i]);
	if (err == 0)
		err = v->lacking;
	if (err == 0 && v->unsure)
		err = journal_scan(v->journal, 0, visit_unsure, NULL, v);
	if (err == 0)
		err = v->lacking;
	if (err == 0) {
		v->report.logs = v->table.log_count;
		verify_table_spread_vouched(&v->table);
		for (size_t i = 0; i < v->table.record_count; i++)
			check_chain(v, &v->table.records[i]);
	}
	if (err == 0 && v->deferred)
		err = journal_scan(v->journal, 0, visit_deferred, NULL, v);
	if (err == 0 && v->progress)
		v->progress(v->context, v->total, v->total);
	return err < 0 ? why_set(why, err, "cannot read the journal: %s", why_errno(err)) : 0;
}

static void verifier_finish(struct verifier *v)
{
	journal_close(v->journal);
	verify_table_finish(&v->table);
	packer_free(v->packer);
	piece_cache_free(v->cache);
	free(v->record);
	free(v->text);
	free(v->runs);
}

int store_verify(const char *path, void (*finding)(void *context, const char *sentence),
		 void (*progress)(void *context, uint64_t done, uint64_t total),
		 void *context, struct verify_report *out, struct why *why)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int err = -errno;
		return why_set(why, err, "cannot open %s: %s", path, why_errno(err));
	}
	CLEANUP(verifier_finish) struct verifier v = {
		.finding = finding, .progress = progress, .context = context,
		.packer = packer_new(), .cache = piece_cache_new(CACHE_SIZE),
		.record = record_new(), .text = malloc(READ_SIZE),
	};
	if (!v.packer || !v.cache || !v.record || !v.text)
		return why_set(why, -ENOMEM, "cannot check the journal: %s", why_errno(-ENOMEM));

	if (key_load_public(&v.own, fd) < 0)
		memset(&v.own, 0, sizeof(v.own));
	int holder;
	v.held = store_holder(path, &holder, NULL, 0) == 0 && holder != 0;
	int err = journal_open_readonly(&v.journal, fd, why);
	if (err == 0)
		err = run(&v, why);
	if (err == 0)
		*out = v.report;
	return err;
}
