#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "depot_memory_private.h"

/* ---- blobs ---- */

void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

struct blobs *blobs_new(bool check_signatures)
{
	struct blobs *blobs = must(calloc(1, sizeof(*blobs)));
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&blobs->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	blobs->check = check_signatures;
	blobs->scratch = must(record_new());
	blobs->packer = must(packer_new());
	blobs->text = must(malloc(PIECE_TEXT_MAX));
	return blobs;
}

void blobs_free(struct blobs *blobs)
{
	if (!blobs)
		return;
	for (struct blob *blob = blobs->table, *next; blob; blob = next) {
		next = blob->hh.next;
		HASH_DEL(blobs->table, blob);
		free(blob->pieces);
		free(blob);
	}
	packer_free(blobs->packer);
	free(blobs->text);
	free(blobs->scratch);
	pthread_mutex_destroy(&blobs->lock);
	free(blobs);
}

size_t blobs_count(struct blobs *blobs)
{
	return HASH_COUNT(blobs->table);
}

uint64_t blobs_checked(struct blobs *blobs)
{
	return blobs->checked;
}

struct blob *blob_find(struct blobs *blobs, const struct id *id)
{
	struct blob *blob;

	HASH_FIND(hh, blobs->table, id, sizeof(*id), blob);
	return blob;
}

struct blob *blob_ref(struct blob *blob)
{
	blob->refs++;
	return blob;
}

void blob_unref(struct blobs *blobs, struct blob *blob)
{
	if (!blob || --blob->refs > 0)
		return;
	HASH_DEL(blobs->table, blob);
	free(blob->pieces);
	free(blob);
}

struct blob *blob_add(struct blobs *blobs, const struct id *id, const void *bytes, size_t size)
{
	struct blob *blob = must(calloc(1, sizeof(*blob) + size));

	blob->id = *id;
	blob->size = (uint32_t)size;
	memcpy(blob->bytes, bytes, size);
	HASH_ADD(hh, blobs->table, id, sizeof(blob->id), blob);
	return blob;
}

static void note_record(struct blob *blob, const struct record *r)
{
	blob->is_record = true;
	blob->voucher = r->voucher;
	blob->prev = r->prev;
	blob->seq = r->seq;
	blob->time_ms = r->time_ms;
	blob->field = r->field;
	if (r->field == FIELD_PROFILE)
		blob->person = r->profile.person;
	if (r->field == FIELD_ADMIT && r->admit.on)
		blob->admits = r->admit.device;
	if (r->field != FIELD_VERSION)
		return;
	blob->document = id_is_zero(&r->version.document) ? blob->id : r->version.document;
	blob->piece_count = r->version.content.count;
	blob->pieces = must(calloc(blob->piece_count, sizeof(blob->pieces[0])));
	memcpy(blob->pieces, r->version.content.pieces, blob->piece_count * sizeof(blob->pieces[0]));
}

/* -EBADMSG. A reference is the caller's. */
int blob_of_record(struct blobs *blobs, const uint8_t *bytes, size_t size, struct blob **out)
{
	struct id id;

	record_id(&id, bytes, size);
	struct blob *blob = blob_find(blobs, &id);
	if (!blob) {
		if (record_decode(blobs->scratch, bytes, size) < 0)
			return -EBADMSG;
		blob = blob_add(blobs, &id, bytes, size);
		note_record(blob, blobs->scratch);
	}
	*out = blob_ref(blob);
	return blob->is_record ? 0 : -EBADMSG;
}

int blob_check(struct blobs *blobs, struct blob *blob, const struct signature *signature)
{
	if (!blobs->check)
		return 0;
	if (blob->is_checked && memcmp(&blob->signature, signature, sizeof(*signature)) == 0)
		return 0;
	blobs->checked++;
	int err = record_verify(signature, &blob->voucher, &blob->id);
	if (err < 0)
		return err;
	blob->is_checked = true;
	blob->signature = *signature;
	return 0;
}
