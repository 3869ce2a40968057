#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "depot_memory_private.h"

/* ---- begin and end ---- */

struct memory *memory_new(struct blobs *blobs, const struct key *key, const struct id *person, const struct clock *clock)
{
	struct memory *m = must(calloc(1, sizeof(*m)));

	m->blobs = blobs;
	m->key = key;
	m->clock = clock;
	m->depot = (struct depot){ &memory_calls, m, key, person ? *person : key->public };
	memory_follow(m, &m->depot.person, true);
	return m;
}

const struct depot *memory_depot(struct memory *m)
{
	return &m->depot;
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->log_count; i++) {
		for (size_t j = 0; j < m->logs[i]->count; j++)
			blob_unref(m->blobs, m->logs[i]->entries[j].blob);
		free(m->logs[i]->entries);
		free(m->logs[i]);
	}
	for (size_t i = 0; i < m->piece_capacity; i++)
		blob_unref(m->blobs, m->pieces[i]);
	while (m->facts) {
		struct fact *fact = m->facts;
		m->facts = fact->next;
		free(fact);
	}
	free(m->logs);
	free(m->pieces);
	free(m->versions);
	free(m->followed);
	free(m->once);
	free(m->documents);
	free(m);
}

/* ---- what its user does ---- */

static void remember_once(struct memory *m, const struct id *entity)
{
	if (memory_followed_once(m, entity))
		return;
	GROW(m->once, m->once_count, m->once_capacity);
	m->once[m->once_count++] = *entity;
	qsort(m->once, m->once_count, sizeof(*entity), memory_compare_ids);
}

void memory_follow(struct memory *m, const struct id *entity, bool on)
{
	LOCKED(m);
	remember_once(m, entity);
	struct id *found = m->followed_count ?
		bsearch(entity, m->followed, m->followed_count, sizeof(*entity), memory_compare_ids) : NULL;

	if (on && !found) {
		GROW(m->followed, m->followed_count, m->followed_capacity);
		m->followed[m->followed_count++] = *entity;
		qsort(m->followed, m->followed_count, sizeof(*entity), memory_compare_ids);
	} else if (!on && found) {
		*found = m->followed[--m->followed_count];
		qsort(m->followed, m->followed_count, sizeof(*entity), memory_compare_ids);
	}
}

void memory_follow_document(struct memory *m, const struct id *document, bool on)
{
	LOCKED(m);

	for (size_t i = 0; i < m->document_count; i++)
		if (id_equal(&m->documents[i], document))
			m->documents[i--] = m->documents[--m->document_count];
	if (!on)
		return;
	GROW(m->documents, m->document_count, m->document_capacity);
	m->documents[m->document_count++] = *document;
}

void memory_append(struct memory *m, struct record *record, struct id *out_id)
{
	LOCKED(m);
	struct log *own = memory_make_log(m, &m->key->public);
	const struct blob *tip = own->count ? own->entries[own->count - 1].blob : NULL;
	struct blob *blob;
	struct bytes bytes;

	record->voucher = m->key->public;
	record->seq = tip ? tip->seq + 1 : 0;
	record->prev = tip ? tip->id : (struct id){ { 0 } };
	record->time_ms = clock_time_ms(m->clock);
	if (tip && record->time_ms < tip->time_ms)
		record->time_ms = tip->time_ms;
	clock_random(m->clock, record->nonce, sizeof(record->nonce));
	bytes_init(&bytes, RECORD_SIZE_MAX);
	if (record_encode(record, &bytes) < 0 || blob_of_record(m->blobs, bytes.data, bytes.size, &blob) < 0)
		abort();
	bytes_finish(&bytes);
	if (m->blobs->check && record_sign(&blob->signature, m->key, &blob->id) < 0)
		abort();
	blob->is_checked = true;
	memory_add_entry(m, own, blob, true);
	if (out_id)
		*out_id = blob->id;
	blob_unref(m->blobs, blob);
}

void memory_append_profile(struct memory *m, const char *name)
{
	CLEANUP(cleanup_free) struct record *r = must(record_new());

	r->field = FIELD_PROFILE;
	r->profile.name = (struct text){ name, strlen(name) };
	r->profile.about = (struct text){ "", 0 };
	if (!id_equal(&m->depot.person, &m->key->public))
		r->profile.person = m->depot.person;
	memory_append(m, r, NULL);
}

void memory_append_vote(struct memory *m, uint64_t number)
{
	CLEANUP(cleanup_free) struct record *r = must(record_new());

	r->field = FIELD_VOTE;
	id_of_bytes(&r->vote.object, &number, sizeof(number));
	r->vote.vote = VOTE_KEEP;
	memory_append(m, r, NULL);
}

static int put_piece(void *context, const struct id *text_id, const struct piece_ref *offer, const uint8_t *member,
		     struct piece_ref *out)
{
	struct memory *m = context;
	struct piece_item piece = { offer->name, member, offer->stored_size };

	return memory_take_piece(m, &piece);
}

static int find_no_text(void *context, const struct id *text_id, struct piece_ref *out)
{
	return 0;
}

void memory_save(struct memory *m, const struct id *document, const struct id *parent, const void *text, size_t size,
		 struct id *out_version)
{
	CLEANUP(cleanup_free) struct record *r = must(record_new());
	struct piece_store pieces = { put_piece, find_no_text, memory_read_piece, m };
	struct packer *packer = must(packer_new());
	char name[32]; /* borrowed by the record */
	LOCKED(m);

	r->field = FIELD_VERSION;
	if (content_write_bytes(packer, &pieces, text, size, &r->version.content) < 0 || r->version.content.depth > 0)
		abort();
	packer_free(packer);
	if (document)
		r->version.document = *document;
	if (parent) {
		r->version.parent_count = 1;
		r->version.parents[0] = *parent;
	}
	snprintf(name, sizeof(name), "%08llx.txt", (unsigned long long)++m->nonce);
	r->version.entry = (struct entry){ .directory = m->depot.person, .what = WHAT_VERSION,
					   .name = { name, strlen(name) } };
	memory_append(m, r, out_version);
}

void memory_sync(struct memory *m)
{
	m->depot.calls->sync(m);
}

void memory_rewind(struct memory *m, uint64_t count)
{
	LOCKED(m);
	struct log *own = memory_find_log(m, &m->key->public);

	for (; own && own->count > 0 && count > 0; count--) {
		struct blob *blob = own->entries[--own->count].blob;
		for (size_t i = 0; i < m->version_count; i++)
			if (m->versions[i] == blob)
				m->versions[i] = NULL;
		blob_unref(m->blobs, blob);
	}
	if (own && own->durable > own->count)
		own->durable = own->count;
}

void memory_fail_sync(struct memory *m, int error)
{
	m->sync_error = error;
}

void memory_fail_take(struct memory *m, int error)
{
	m->take_error = error;
}

void memory_drop_piece(struct memory *m, const struct id *name)
{
	LOCKED(m);
	memory_remove_piece(m, name);
}

/* ---- what a test looks at ---- */

uint64_t memory_records(struct memory *m)
{
	LOCKED(m);
	uint64_t count = 0;

	for (size_t i = 0; i < m->log_count; i++)
		count += m->logs[i]->count;
	return count;
}

uint64_t memory_pieces(struct memory *m)
{
	return m->piece_count;
}

uint64_t memory_missing(struct memory *m)
{
	struct depot_piece pieces[64];
	uint64_t cursor = 0, count = 0;
	ssize_t more;

	while ((more = m->depot.calls->missing(m, &cursor, pieces, 64)) > 0)
		count += (uint64_t)more;
	return count;
}

static void hash_log(const struct memory *m, const struct log *log, struct id *digest)
{
	for (size_t i = 0; i < log->count; i++) {
		const struct blob *blob = log->entries[i].blob;
		id_of_spans(digest, (struct span[]){ { digest, sizeof(*digest) }, { &blob->id, sizeof(blob->id) } }, 2);
		for (size_t j = 0; j < blob->piece_count; j++)
			if (memory_find_piece(m, &blob->pieces[j].name))
				id_of_spans(digest, (struct span[]){ { digest, sizeof(*digest) },
								     { &blob->pieces[j].name, ID_SIZE } }, 2);
	}
}

void memory_digest(struct memory *m, struct id *out)
{
	LOCKED(m);

	*out = (struct id){ { 0 } };
	for (size_t i = 0; i < m->log_count; i++) {
		struct id person = memory_person_of(m, m->logs[i]);
		if (memory_follows(m, &person))
			hash_log(m, m->logs[i], out);
	}
}

ssize_t memory_read(struct memory *m, const struct id *version, uint8_t *out, size_t out_size)
{
	LOCKED(m);
	const struct blob *blob = memory_find_version(m, version);
	size_t size = 0;

	if (!blob)
		return -ENOENT;
	for (size_t i = 0; i < blob->piece_count; i++) {
		const struct blob *piece = memory_find_piece(m, &blob->pieces[i].name);
		if (!piece)
			return -ENODATA;
		ssize_t more = piece_inflate(m->blobs->packer, piece->bytes, piece->size, m->blobs->text);
		if (more < 0 || (size_t)more > out_size - size)
			return -EMSGSIZE;
		memcpy(out + size, m->blobs->text, (size_t)more);
		size += (size_t)more;
	}
	return (ssize_t)size;
}

size_t memory_size(struct memory *m)
{
	LOCKED(m);
	size_t size = sizeof(*m) + m->log_capacity * sizeof(m->logs[0]) + m->followed_capacity * sizeof(struct id) +
		      m->piece_capacity * sizeof(m->pieces[0]) + m->version_capacity * sizeof(m->versions[0]);

	for (size_t i = 0; i < m->log_count; i++)
		size += sizeof(*m->logs[i]) + m->logs[i]->capacity * sizeof(struct kept);
	return size;
}
