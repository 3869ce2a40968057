#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "depot_memory_private.h"

/* ---- pieces of a node ---- */

static size_t slot_of(const struct memory *m, const struct id *name)
{
	uint64_t hash;

	memcpy(&hash, name->bytes, sizeof(hash));
	size_t slot = hash & (m->piece_capacity - 1);
	while (m->pieces[slot] && !id_equal(&m->pieces[slot]->id, name))
		slot = (slot + 1) & (m->piece_capacity - 1);
	return slot;
}

struct blob *memory_find_piece(const struct memory *m, const struct id *name)
{
	return m->piece_capacity ? m->pieces[slot_of(m, name)] : NULL;
}

static void resize_pieces(struct memory *m, size_t capacity)
{
	struct blob **before = m->pieces;
	size_t count = m->piece_capacity;

	m->pieces = must(calloc(capacity, sizeof(before[0])));
	m->piece_capacity = capacity;
	for (size_t i = 0; i < count; i++)
		if (before[i])
			m->pieces[slot_of(m, &before[i]->id)] = before[i];
	free(before);
}

static void add_piece(struct memory *m, struct blob *blob)
{
	if (2 * (m->piece_count + 1) > m->piece_capacity)
		resize_pieces(m, m->piece_capacity ? 2 * m->piece_capacity : 8);
	size_t slot = slot_of(m, &blob->id);
	if (m->pieces[slot])
		return;
	m->pieces[slot] = blob_ref(blob);
	m->piece_count++;
}

static void list_versions(struct memory *m)
{
	m->version_count = 0;
	for (size_t i = 0; i < m->log_count; i++)
		for (size_t j = 0; j < m->logs[i]->count; j++)
			if (m->logs[i]->entries[j].blob->field == FIELD_VERSION) {
				GROW(m->versions, m->version_count, m->version_capacity);
				m->versions[m->version_count++] = m->logs[i]->entries[j].blob;
			}
}

void memory_remove_piece(struct memory *m, const struct id *name)
{
	struct blob *blob = memory_find_piece(m, name);

	if (!blob)
		return;
	list_versions(m); /* those that lacked nothing are not in it any more */
	m->pieces[slot_of(m, name)] = NULL;
	m->piece_count--;
	resize_pieces(m, m->piece_capacity); /* probes must not end early */
	blob_unref(m->blobs, blob);
}

/* ---- logs of a node ---- */

static size_t place_of(const struct memory *m, const struct id *device)
{
	size_t low = 0, high = m->log_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (id_compare(&m->logs[middle]->device, device) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct log *memory_find_log(const struct memory *m, const struct id *device)
{
	size_t place = place_of(m, device);

	return place < m->log_count && id_equal(&m->logs[place]->device, device) ? m->logs[place] : NULL;
}

struct log *memory_make_log(struct memory *m, const struct id *device)
{
	struct log *log = memory_find_log(m, device);
	size_t place = place_of(m, device);

	if (log)
		return log;
	GROW(m->logs, m->log_count, m->log_capacity);
	memmove(&m->logs[place + 1], &m->logs[place], (m->log_count - place) * sizeof(m->logs[0]));
	log = m->logs[place] = must(calloc(1, sizeof(*log)));
	m->log_count++;
	log->device = *device;
	return log;
}

static int compare_entry(const struct blob *a, uint64_t seq, const struct id *id)
{
	return a->seq != seq ? (a->seq < seq ? -1 : 1) : id_compare(&a->id, id);
}

/* Where (seq, id) stands or belongs. */
static size_t entry_place(const struct log *log, uint64_t seq, const struct id *id)
{
	size_t low = 0, high = log->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (compare_entry(log->entries[middle].blob, seq, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct kept *find_entry(const struct log *log, uint64_t seq, const struct id *id)
{
	size_t place = log ? entry_place(log, seq, id) : 0;

	return log && place < log->count && id_equal(&log->entries[place].blob->id, id) ? &log->entries[place] : NULL;
}

void memory_add_entry(struct memory *m, struct log *log, struct blob *blob, bool is_signed)
{
	size_t place = entry_place(log, blob->seq, &blob->id);

	GROW(log->entries, log->count, log->capacity);
	memmove(&log->entries[place + 1], &log->entries[place], (log->count - place) * sizeof(log->entries[0]));
	log->entries[place] = (struct kept){ blob_ref(blob), is_signed };
	log->count++;
	if (blob->field != FIELD_VERSION)
		return;
	GROW(m->versions, m->version_count, m->version_capacity);
	m->versions[m->version_count++] = blob;
}

static bool has_admitted(const struct memory *m, const struct id *person, const struct id *device)
{
	const struct log *log = memory_find_log(m, person);

	for (size_t i = 0; log && i < log->count; i++)
		if (id_equal(&log->entries[i].blob->admits, device))
			return true;
	return false;
}

struct id memory_person_of(const struct memory *m, const struct log *log)
{
	for (size_t i = 0; i < log->count; i++) {
		const struct blob *blob = log->entries[i].blob;
		if (blob->field == FIELD_PROFILE && !id_is_zero(&blob->person))
			return has_admitted(m, &blob->person, &log->device) ? blob->person : log->device;
	}
	return log->device;
}

static bool is_own(const struct memory *m, const struct log *log)
{
	return id_equal(&log->device, &m->key->public);
}

static size_t count_told(const struct memory *m, const struct log *log)
{
	return is_own(m, log) ? log->durable : log->count;
}

static int head_of(const struct memory *m, const struct log *log, struct head *out)
{
	size_t count = log ? count_told(m, log) : 0;

	if (count == 0)
		return -ENOENT;
	const struct blob *newest = log->entries[count - 1].blob;
	*out = (struct head){ log->device, memory_person_of(m, log), newest->seq, newest->id, count };
	return 0;
}

/* ---- depot: logs ---- */

static int call_head(void *context, const struct id *device, struct head *out)
{
	struct memory *m = context;
	LOCKED(m);

	return head_of(m, memory_find_log(m, device), out);
}

static int call_each_head(void *context, const struct id *after, int (*visit)(void *visitor, const struct head *head),
			  void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	size_t at = id_is_zero(after) ? 0 : place_of(m, after);
	struct head head;
	int result = 0;

	if (at < m->log_count && id_equal(&m->logs[at]->device, after))
		at++;
	for (; result == 0 && at < m->log_count; at++)
		if (head_of(m, m->logs[at], &head) == 0)
			result = visit(visitor, &head);
	return result;
}

static int call_every_head(void *context, int (*visit)(void *visitor, const struct head *head), void *visitor)
{
	static const struct id none;

	return call_each_head(context, &none, visit, visitor);
}

static int call_each_head_of(void *context, const struct id *entity,
			     int (*visit)(void *visitor, const struct head *head), void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	struct head head;
	int result = 0;

	/* Nearly everybody has one device. */
	struct log *first = memory_find_log(m, entity);
	bool more = false;
	for (size_t i = 0; first && i < first->count; i++)
		more |= !id_is_zero(&first->entries[i].blob->admits);
	if (!more)
		return head_of(m, first, &head) == 0 && id_equal(&head.person, entity) ? visit(visitor, &head) : 0;
	for (size_t i = 0; result == 0 && i < m->log_count; i++)
		if (head_of(m, m->logs[i], &head) == 0 && id_equal(&head.person, entity))
			result = visit(visitor, &head);
	return result;
}

static uint64_t call_log_count(void *context)
{
	struct memory *m = context;
	LOCKED(m);

	return m->log_count;
}

static bool call_has_admitted(void *context, const struct id *person, const struct id *device)
{
	struct memory *m = context;
	LOCKED(m);

	return id_equal(person, device) || has_admitted(m, person, device);
}

static int call_each_record(void *context, const struct id *device, uint64_t from, uint64_t to,
			    int (*visit)(void *visitor, uint64_t seq, const struct record_item *item), void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	const struct log *log = memory_find_log(m, device);
	struct id none = { { 0 } };
	int result = 0;

	if (!log)
		return 0;
	for (size_t i = entry_place(log, from, &none); result == 0 && i < count_told(m, log); i++) {
		const struct blob *blob = log->entries[i].blob;
		if (blob->seq > to)
			break;
		struct record_item item = { blob->bytes, blob->size, log->entries[i].is_signed, blob->signature };
		result = visit(visitor, blob->seq, &item);
	}
	return result;
}

static int check_link(const struct blob *blob, const struct blob *prev)
{
	if (blob->seq == 0)
		return id_is_zero(&blob->prev) ? 0 : -EPROTO;
	if (!prev)
		return -EAGAIN;
	return prev->seq + 1 == blob->seq && prev->time_ms <= blob->time_ms ? 0 : -EPROTO;
}

/* Each names the one before it, or what is here. */
static int check_chain(const struct memory *m, const struct id *device, struct blob **blobs, size_t count)
{
	const struct log *log = memory_find_log(m, device);
	int err = 0;

	for (size_t i = 0; err == 0 && i < count; i++) {
		const struct blob *prev = NULL;
		if (!id_equal(&blobs[i]->voucher, device))
			return -EPROTO;
		for (size_t j = i; !prev && j > 0; j--)
			if (id_equal(&blobs[j - 1]->id, &blobs[i]->prev))
				prev = blobs[j - 1];
		if (!prev && blobs[i]->seq > 0) {
			const struct kept *entry = find_entry(log, blobs[i]->seq - 1, &blobs[i]->prev);
			prev = entry ? entry->blob : NULL;
		}
		err = check_link(blobs[i], prev);
		if (err == -EAGAIN && i > 0)
			err = -EPROTO;
	}
	return err;
}

static int keep_chain(struct memory *m, const struct id *device, struct blob **blobs, const struct record_item *records,
		      size_t count)
{
	struct log *log = memory_make_log(m, device);
	int added = 0;

	for (size_t i = 0; i < count; i++) {
		struct kept *entry = find_entry(log, blobs[i]->seq, &blobs[i]->id);
		bool is_signed = records[i].is_signed &&
				 (!m->blobs->check || (blobs[i]->is_checked && memcmp(&blobs[i]->signature, &records[i].signature,
										      sizeof(struct signature)) == 0));
		if (entry) {
			entry->is_signed |= is_signed;
			continue;
		}
		memory_add_entry(m, log, blobs[i], is_signed);
		added++;
	}
	if (added > 0 || !is_own(m, log)) /* what is appended and not synced stays so */
		log->durable = log->count;
	return added;
}

static int call_take_records(void *context, const struct id *device, const struct record_item *records, size_t count)
{
	struct memory *m = context;
	LOCKED(m);
	struct blob **blobs = must(calloc(count + 1, sizeof(blobs[0])));
	size_t known = 0;
	int err = m->take_error ? m->take_error : count > 0 && records[count - 1].is_signed ? 0 : -EBADMSG;

	while (err == 0 && known < count) {
		err = blob_of_record(m->blobs, records[known].bytes, records[known].size, &blobs[known]);
		known += blobs[known] != NULL;
	}
	if (err == 0)
		err = check_chain(m, device, blobs, count);
	if (err == 0)
		err = blob_check(m->blobs, blobs[count - 1], &records[count - 1].signature);
	if (err == 0)
		err = keep_chain(m, device, blobs, records, count);
	while (known > 0)
		blob_unref(m->blobs, blobs[--known]);
	free(blobs);
	return err;
}

/* ---- depot: who is followed ---- */

int memory_compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

bool memory_follows(const struct memory *m, const struct id *entity)
{
	return m->followed_count && bsearch(entity, m->followed, m->followed_count, sizeof(*entity), memory_compare_ids);
}

bool memory_followed_once(const struct memory *m, const struct id *entity)
{
	return m->once_count &&
	       bsearch(entity, m->once, m->once_count, sizeof(*entity), memory_compare_ids);
}

static bool call_follows(void *context, const struct id *entity)
{
	struct memory *m = context;
	LOCKED(m);

	return memory_follows(m, entity);
}

static int call_each_followed(void *context, int (*visit)(void *visitor, const struct id *entity), void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	int result = 0;

	for (size_t i = 0; result == 0 && i < m->followed_count; i++)
		result = visit(visitor, &m->followed[i]);
	return result;
}

static uint64_t call_follow_count(void *context)
{
	struct memory *m = context;
	LOCKED(m);

	return m->followed_count;
}

static int call_each_document(void *context, int (*visit)(void *visitor, const struct id *document), void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	int result = 0;

	for (size_t i = 0; result == 0 && i < m->document_count; i++)
		result = visit(visitor, &m->documents[i]);
	return result;
}

static bool follows_document(const struct memory *m, const struct blob *version)
{
	for (size_t i = 0; version && i < m->document_count; i++)
		if (id_equal(&m->documents[i], &version->document))
			return true;
	return false;
}

static int call_each_author(void *context, const struct id *document,
			    int (*visit)(void *visitor, const struct id *entity), void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	int result = 0;

	for (size_t i = 0; result == 0 && i < m->log_count; i++)
		for (size_t j = 0; j < m->logs[i]->count; j++)
			if (id_equal(&m->logs[i]->entries[j].blob->document, document)) {
				struct id person = memory_person_of(m, m->logs[i]);
				result = visit(visitor, &person);
				break;
			}
	return result;
}

/* ---- depot: pieces ---- */

static bool call_has_piece(void *context, const struct id *name)
{
	struct memory *m = context;
	LOCKED(m);

	return memory_find_piece(m, name);
}

ssize_t memory_read_piece(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	struct memory *m = context;
	LOCKED(m);
	const struct blob *blob = memory_find_piece(m, name);

	if (!blob)
		return -ENOENT;
	if (blob->size > out_size)
		return -EMSGSIZE;
	memcpy(out, blob->bytes, blob->size);
	return blob->size;
}

int memory_take_piece(struct memory *m, const struct piece_item *piece)
{
	struct blobs *blobs = m->blobs;
	struct blob *blob = blob_find(blobs, &piece->name);
	struct id name;

	id_of_bytes(&name, piece->bytes, piece->size);
	if (!id_equal(&name, &piece->name) || (blob && blob->is_record))
		return -EBADMSG;
	if (!blob) {
		if (piece_inflate(blobs->packer, piece->bytes, piece->size, blobs->text) < 0)
			return -EBADMSG;
		blob = blob_add(blobs, &piece->name, piece->bytes, piece->size);
	}
	blob_ref(blob);
	add_piece(m, blob);
	blob_unref(blobs, blob);
	return 0;
}

static int call_take_pieces(void *context, const struct piece_item *pieces, size_t count, int *out_results)
{
	struct memory *m = context;
	LOCKED(m);

	for (size_t i = 0; i < count; i++)
		out_results[i] = memory_take_piece(m, &pieces[i]);
	return m->take_error; /* it is not known which are there */
}

/* Its pieces that are not here, from the one at `skip` on; *out_next: where to go on, or its count. */
static size_t lacks(const struct memory *m, const struct blob *version, uint64_t number, size_t skip,
		    struct depot_piece *out, size_t count_max, size_t *out_next)
{
	size_t count = 0, i = skip;

	for (; i < version->piece_count && count < count_max; i++)
		if (!memory_find_piece(m, &version->pieces[i].name))
			out[count++] = (struct depot_piece){ version->pieces[i].name, version->pieces[i].stored_size, number };
	*out_next = i;
	return count;
}

/* The cursor: how many of the newest are done (times 128), and how many pieces of the next. */
static ssize_t call_missing(void *context, uint64_t *cursor, struct depot_piece *out, size_t count_max)
{
	struct memory *m = context;
	LOCKED(m);
	size_t count = 0;
	uint64_t at = *cursor ? *cursor : (uint64_t)m->version_count << 8; /* index of the one after the next, and pieces */

	while (count < count_max && at >> 8 > 0) {
		uint64_t index = (at >> 8) - 1;
		struct blob *version = m->versions[index];
		const struct log *log = version ? memory_find_log(m, &version->voucher) : NULL;
		struct id person = log ? memory_person_of(m, log) : (struct id){ { 0 } };
		size_t next = 0, skip = at & 0xff;
		bool followed = log && (memory_follows(m, &person) || follows_document(m, version));
		size_t found = followed ? lacks(m, version, index + 1, skip, out + count, count_max - count, &next) : 0;
		count += found;
		if (followed && skip == 0 && found == 0)
			m->versions[index] = NULL; /* all is here: not looked at again */
		if (version && next < version->piece_count && found)
			at = (at & ~UINT64_C(0xff)) | next;
		else
			at = index << 8;
	}
	*cursor = at ? at : 1; /* 1: at the end */
	return (ssize_t)count;
}

const struct blob *memory_find_version(const struct memory *m, const struct id *id)
{
	const struct blob *blob = blob_find(m->blobs, id);
	const struct log *log = blob && blob->is_record ? memory_find_log(m, &blob->voucher) : NULL;

	return log && blob->field == FIELD_VERSION && find_entry(log, blob->seq, id) ? blob : NULL;
}

static ssize_t call_missing_of(void *context, const struct id *version, struct depot_piece *out, size_t count_max)
{
	struct memory *m = context;
	LOCKED(m);
	const struct blob *blob = memory_find_version(m, version);
	size_t next;

	return blob ? (ssize_t)lacks(m, blob, 1, 0, out, count_max, &next) : -ENOENT;
}

static ssize_t call_pieces_of(void *context, const struct record_item *record, struct id *out, size_t count_max,
			      size_t size_max)
{
	struct memory *m = context;
	LOCKED(m);
	struct id id;
	size_t count = 0;

	record_id(&id, record->bytes, record->size);
	const struct blob *blob = memory_find_version(m, &id);
	for (size_t i = 0; blob && i < blob->piece_count && count < count_max; i++) {
		const struct piece_ref *ref = &blob->pieces[i];
		if (ref->stored_size > size_max || !memory_find_piece(m, &ref->name))
			continue;
		size_max -= ref->stored_size;
		out[count++] = ref->name;
	}
	return (ssize_t)count;
}

/* ---- depot: this node ---- */

static int call_sync(void *context)
{
	struct memory *m = context;
	LOCKED(m);
	struct log *own = memory_find_log(m, &m->key->public);

	if (m->sync_error == 0 && own)
		own->durable = own->count;
	return m->sync_error;
}

static int compare_keys(const struct fact *fact, const void *key, size_t key_size)
{
	size_t size = fact->key_size < key_size ? fact->key_size : key_size;
	int order = memcmp(fact->bytes, key, size);

	return order ? order : fact->key_size < key_size ? -1 : fact->key_size > key_size;
}

static int call_remember(void *context, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct memory *m = context;
	LOCKED(m);
	struct fact **at = &m->facts;

	while (*at && compare_keys(*at, key, key_size) < 0)
		at = &(*at)->next;
	if (*at && compare_keys(*at, key, key_size) == 0) {
		struct fact *gone = *at;
		*at = gone->next;
		free(gone);
	}
	if (value_size == 0)
		return 0;
	struct fact *fact = must(malloc(sizeof(*fact) + key_size + value_size));
	*fact = (struct fact){ *at, key_size, value_size };
	memcpy(fact->bytes, key, key_size);
	memcpy(fact->bytes + key_size, value, value_size);
	*at = fact;
	return 0;
}

static int call_each_memory(void *context, const void *prefix, size_t prefix_size,
			    int (*visit)(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size),
			    void *visitor)
{
	struct memory *m = context;
	LOCKED(m);
	int result = 0;

	for (const struct fact *fact = m->facts; result == 0 && fact; fact = fact->next)
		if (fact->key_size >= prefix_size && memcmp(fact->bytes, prefix, prefix_size) == 0)
			result = visit(visitor, fact->bytes, fact->key_size, fact->bytes + fact->key_size, fact->value_size);
	return result;
}

const struct depot_calls memory_calls = {
	call_head, call_each_head, call_every_head, call_each_head_of, call_log_count, call_has_admitted, call_each_record, call_take_records,
	call_follows, call_each_followed, call_follow_count, call_each_document,
	call_each_author,
	call_has_piece, memory_read_piece, call_take_pieces, call_missing, call_missing_of, call_pieces_of,
	call_sync, call_remember, call_each_memory,
};
