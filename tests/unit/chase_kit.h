/*
 * chase_kit.h - for tests of chase: logs made of records (signatures are only marked true or false), a store that
 * takes chains as depot.h says, and scripted peers that answer queries.
 */
#ifndef CHASE_KIT_H
#define CHASE_KIT_H

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chase.h"
#include "record.h"

struct kit_record {
	struct id id;
	uint64_t seq;
	size_t prev;       /* index in its log; SIZE_MAX: none */
	bool is_signed;
	bool branch;       /* on the second branch */
	bool here;         /* in the store */
	unsigned sent;     /* how often peers sent it */
	struct bytes bytes;
};

struct kit_log {
	struct id device;
	struct kit_record *records; /* in the order in which they were made */
	size_t count;
};

struct kit_plan {
	size_t trunk;       /* records of the first branch */
	size_t fork_at;     /* how many of them the second shares (0: not even the first) */
	size_t branch;      /* records that it has beyond; 0: no fork */
	size_t sign_every;  /* each so many is signed, and the last; 1: all */
	size_t padding;     /* bytes of each body */
};

static inline void kit_record_make(struct kit_log *log, struct record *record, size_t prev, bool is_signed, bool branch)
{
	struct kit_record *made = &log->records[log->count++];
	int err;

	memset(&record->prev, 0, sizeof(record->prev));
	record->voucher = log->device;
	record->seq = prev == SIZE_MAX ? 0 : log->records[prev].seq + 1;
	if (prev != SIZE_MAX)
		record->prev = log->records[prev].id;
	record->time_ms = 1000 + record->seq;
	record->nonce[0] = branch;
	record->field = 200;
	bytes_init(&made->bytes, RECORD_SIZE_MAX);
	err = record_encode(record, &made->bytes);
	assert(!err);
	(void)err;
	record_id(&made->id, made->bytes.data, made->bytes.size);
	made->seq = record->seq;
	made->prev = prev;
	made->is_signed = is_signed;
	made->branch = branch;
}

static inline void kit_log_make(struct kit_log *log, uint64_t number, const struct kit_plan *plan)
{
	struct record *record = record_new();
	uint8_t *body = calloc(1, plan->padding + 4);

	assert(record && body);
	id_of_bytes(&log->device, &number, sizeof(number));
	log->count = 0;
	log->records = calloc(plan->trunk + plan->branch, sizeof(*log->records));
	assert(log->records);
	/* [bytes of the padding], or [] */
	memcpy(body, (uint8_t[]){ 0x81, 0x59, (uint8_t)(plan->padding >> 8), (uint8_t)plan->padding }, 4);
	if (plan->padding < 256)
		body[0] = 0x80;
	record->body_bytes = body;
	record->body_size = plan->padding < 256 ? 1 : plan->padding + 4;
	for (size_t i = 0; i < plan->trunk; i++)
		kit_record_make(log, record, i ? i - 1 : SIZE_MAX,
				(i + 1) % plan->sign_every == 0 || i + 1 == plan->trunk, false);
	for (size_t i = 0; i < plan->branch; i++)
		kit_record_make(log, record, i ? log->count - 1 : plan->fork_at ? plan->fork_at - 1 : SIZE_MAX,
				(i + 1) % plan->sign_every == 0 || i + 1 == plan->branch, true);
	free(body);
	free(record);
}

static inline void kit_log_finish(struct kit_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		bytes_finish(&log->records[i].bytes);
	free(log->records);
}

static inline struct record_item kit_item(const struct kit_record *record)
{
	struct record_item item = { .bytes = record->bytes.data, .size = record->bytes.size, .is_signed = record->is_signed };

	item.signature.bytes[0] = 1; /* true */
	return item;
}

static inline struct kit_record *kit_find(const struct kit_log *log, const struct id *id)
{
	for (size_t i = 0; i < log->count; i++)
		if (id_equal(&log->records[i].id, id))
			return &log->records[i];
	return NULL;
}

/* ---- who has what ---- */

/* Of a log a holder has the first of the trunk and the first of the branch. */
struct kit_holding {
	size_t trunk, branch;
};

static inline bool kit_holds(const struct kit_log *log, const struct kit_holding *h, size_t index)
{
	size_t trunk = 0;

	if (!log->records[index].branch)
		return index < h->trunk;
	while (trunk < log->count && !log->records[trunk].branch)
		trunk++;
	return index - trunk < h->branch;
}

static inline bool kit_is_newer(const struct kit_record *a, const struct kit_record *b)
{
	return a->seq != b->seq ? a->seq > b->seq : id_compare(&a->id, &b->id) > 0;
}

static inline bool kit_head(const struct kit_log *log, const struct kit_holding *h, struct head *out)
{
	const struct kit_record *tip = NULL;

	memset(out, 0, sizeof(*out));
	out->device = log->device;
	for (size_t i = 0; i < log->count; i++) {
		if (h ? !kit_holds(log, h, i) : !log->records[i].here)
			continue;
		out->records++;
		if (!tip || kit_is_newer(&log->records[i], tip))
			tip = &log->records[i];
	}
	if (!tip)
		return false;
	out->seq = tip->seq;
	out->record = tip->id;
	return true;
}

/* Puts what a holder has into the store. */
static inline void kit_store(struct kit_log *log, const struct kit_holding *h)
{
	for (size_t i = 0; i < log->count; i++)
		log->records[i].here |= kit_holds(log, h, i);
}

/* depot->take_records(), where signatures are true when their first byte is 1. */
static inline int kit_take(struct kit_log *log, const struct record_item *records, size_t count)
{
	struct kit_record *prev = NULL;
	int fresh = 0;

	assert(count && records[count - 1].is_signed);
	if (records[count - 1].signature.bytes[0] != 1)
		return -EKEYREJECTED;
	for (size_t i = 0; i < count; i++) {
		struct kit_record *record;
		struct id id;

		record_id(&id, records[i].bytes, records[i].size);
		record = kit_find(log, &id);
		if (!record)
			return -EPROTO;
		if (i && (record->prev == SIZE_MAX || &log->records[record->prev] != prev))
			return -EPROTO;
		if (!i && record->prev != SIZE_MAX && !log->records[record->prev].here)
			return -EAGAIN;
		prev = record;
	}
	for (size_t i = 0; i < count; i++) {
		struct id id;
		struct kit_record *record;

		record_id(&id, records[i].bytes, records[i].size);
		record = kit_find(log, &id);
		fresh += !record->here;
		record->here = true;
	}
	return fresh;
}

#endif
