/*
 * desk_facts.c - local facts of the desk, in deterministic CBOR (moot-store(5)).
 *
 * LOCAL_PENDING, key directory id and name:
 *   [shown, published, what, directory id or empty, [[record, index], ...] seen, [save, ...] queue, [save] or [] draft]
 *   save = [content, mode, time, parent or empty, fork_of or empty]
 * LOCAL_ATTR, key directory id and name (empty: the directory itself):
 *   [permissions, uid, gid, mtime ns, ctime ns, ino, version or empty, atime ns or 0]
 *   The times hold for that version only; empty: for what is not signed yet, and for directories.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cbor.h"
#include "desk_private.h"
#include "store_private.h"

#define FOLDERS_KEPT_MAX 512 /* in one transaction */
#define QUEUE_MAX 4096 /* saves of one slot in one window */

static size_t fact_key(uint8_t *out, const struct id *directory, const char *name)
{
	size_t size = strnlen(name, NAME_SIZE_MAX);

	memcpy(out, directory->bytes, ID_SIZE);
	memcpy(out + ID_SIZE, name, size);
	return ID_SIZE + size;
}

/* ---- what waits ---- */

static void put_save(struct bytes *b, const struct save *save)
{
	cbor_put_array(b, 5);
	record_put_content(b, &save->text->content);
	cbor_put_uint(b, save->mode);
	cbor_put_uint(b, save->time_ms);
	cbor_put_optional_id(b, &save->parent);
	cbor_put_optional_id(b, &save->fork_of);
}

static int get_save(struct cbor_reader *r, struct save *out)
{
	struct content *content = malloc(sizeof(*content));
	if (!content)
		return -ENOMEM;
	memset(out, 0, sizeof(*out));
	cbor_get_array(r, 5, 5);
	record_get_content(r, content);
	out->mode = (enum mode)cbor_get_uint(r, MODE_LINK);
	out->time_ms = cbor_get_uint(r, UINT64_MAX);
	cbor_get_optional_id(r, &out->parent);
	cbor_get_optional_id(r, &out->fork_of);
	int err = r->failed ? -EBADMSG : 0;
	if (err == 0) {
		out->text = body_new(content);
		err = out->text ? 0 : -ENOMEM;
	}
	free(content);
	return err;
}

static void put_slot(struct bytes *b, const struct slot *slot)
{
	cbor_put_array(b, 7);
	cbor_put_uint(b, slot->shown);
	cbor_put_uint(b, slot->published);
	cbor_put_uint(b, slot->what);
	cbor_put_optional_id(b, &slot->directory_id);
	cbor_put_array(b, slot->seen_count);
	for (size_t i = 0; i < slot->seen_count; i++) {
		cbor_put_array(b, 2);
		cbor_put_id(b, &slot->seen[i].record);
		cbor_put_uint(b, slot->seen[i].index);
	}
	cbor_put_array(b, slot->queue_count);
	for (size_t i = 0; i < slot->queue_count; i++)
		put_save(b, &slot->queue[i]);
	cbor_put_array(b, slot->draft.text ? 1 : 0);
	if (slot->draft.text)
		put_save(b, &slot->draft);
}

/* Finish what is encoded also after a failure. */
static int attributes_encode(struct bytes *out, const struct attributes *a, const struct id *version)
{
	const struct id none = { { 0 } };

	bytes_init(out, 256);
	cbor_put_array(out, 8);
	cbor_put_uint(out, a->permissions);
	cbor_put_uint(out, a->uid);
	cbor_put_uint(out, a->gid);
	cbor_put_uint(out, a->mtime_ns);
	cbor_put_uint(out, a->ctime_ns);
	cbor_put_uint(out, a->ino);
	cbor_put_optional_id(out, version ? version : &none);
	cbor_put_uint(out, a->atime_ns);
	return bytes_error(out);
}

static int fact_encode(struct bytes *out, const struct slot *slot)
{
	bytes_init(out, JOURNAL_ENTRY_MAX - 1024);
	put_slot(out, slot);
	return bytes_error(out);
}

int fact_put(struct store_txn *txn, struct slot *slot)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	struct bytes value;

	if (!slot->waiting && slot->queue_count == 0 && !slot->draft.text)
		return fact_forget(txn, slot);
	int err = fact_encode(&value, slot);
	if (err == 0)
		err = store_local_put(txn, LOCAL_PENDING, key, fact_key(key, &slot->folder->id, slot->name),
				      value.data, value.size);
	bytes_finish(&value);
	if (err == 0)
		slot->fact = true;
	return err;
}

int fact_keep(struct store_batch *batch, struct slot *slot)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	struct bytes value;

	int err = fact_encode(&value, slot);
	const struct local_fact fact = { LOCAL_PENDING, key, fact_key(key, &slot->folder->id, slot->name),
					 value.data, value.size };
	if (err == 0)
		err = store_keep_later(slot->desk->store, batch, &fact, 1);
	bytes_finish(&value);
	if (err == 0)
		slot->fact = true;
	return err;
}

int facts_keep_later(struct store_batch *batch, struct slot *slot)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	const size_t key_size = fact_key(key, &slot->folder->id, slot->name);
	struct bytes pending, attributes;

	int err = fact_encode(&pending, slot);
	int failed = attributes_encode(&attributes, &slot->attributes, NULL);
	const struct local_fact facts[] = {
		{ LOCAL_PENDING, key, key_size, pending.data, pending.size },
		{ LOCAL_ATTR, key, key_size, attributes.data, attributes.size },
	};
	if (err == 0)
		err = failed;
	if (err == 0)
		err = store_keep_later(slot->desk->store, batch, facts, 2);
	bytes_finish(&pending);
	bytes_finish(&attributes);
	if (err == 0)
		slot->fact = true;
	return err;
}

int fact_forget(struct store_txn *txn, struct slot *slot)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];

	if (!slot->fact)
		return 0;
	slot->fact = false;
	return store_local_put(txn, LOCAL_PENDING, key, fact_key(key, &slot->folder->id, slot->name), NULL, 0);
}

int facts_keep(struct slot *slot)
{
	struct store_txn *txn;
	bool fact = slot->fact;

	int err = store_begin(slot->desk->store, true, &txn);
	if (err < 0)
		return err;
	err = fact_put(txn, slot);
	if (err == 0 && slot->what == WHAT_VERSION)
		err = attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes,
				     slot->published && slot->queue_count == 0 ? &slot->head : NULL);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0)
		slot->fact = fact;
	return err;
}

static int get_seen(struct cbor_reader *r, struct slot *slot)
{
	slot_clear_seen(slot);
	size_t count = cbor_get_array(r, 0, SEEN_MAX);
	if (count == 0)
		return r->failed ? -EBADMSG : 0;
	slot->seen = calloc(count, sizeof(*slot->seen));
	if (!slot->seen)
		return -ENOMEM;
	slot->seen_count = count;
	for (size_t i = 0; i < slot->seen_count; i++) {
		cbor_get_array(r, 2, 2);
		cbor_get_id(r, &slot->seen[i].record);
		slot->seen[i].index = (uint32_t)cbor_get_uint(r, UINT32_MAX);
	}
	return r->failed ? -EBADMSG : 0;
}

/* Fills a slot from its fact; a flushed draft becomes the last save of the queue (S8). */
static int get_slot(struct slot *slot, const uint8_t *bytes, size_t size)
{
	struct cbor_reader r;
	struct save save;

	cbor_reader_init(&r, bytes, size);
	cbor_get_array(&r, 7, 7);
	slot->shown = cbor_get_uint(&r, 1);
	slot->published = cbor_get_uint(&r, 1);
	slot->what = (enum what)cbor_get_uint(&r, WHAT_DIRECTORY);
	cbor_get_optional_id(&r, &slot->directory_id);
	int err = get_seen(&r, slot);
	size_t count = err == 0 ? cbor_get_array(&r, 0, QUEUE_MAX) : 0;
	for (size_t list = 0; err == 0 && list < 2; list++) {
		for (size_t i = 0; err == 0 && i < count; i++) {
			err = get_save(&r, &save);
			if (err < 0)
				break;
			slot->mode = save.mode;
			slot_set_text(slot, save.text);
			err = slot_push_save(slot, &save);
			save_finish(&save);
		}
		if (list == 0 && err == 0)
			count = cbor_get_array(&r, 0, 1);
	}
	if (err == 0 && count == 1)
		slot->shown = true; /* a draft was open there */
	return err < 0 ? err : cbor_reader_finish(&r);
}

int pending_each_content(const uint8_t *value, size_t size,
			 int (*visit)(void *context, const struct content *content), void *context)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	struct content *content = malloc(sizeof(*content));

	int err = slot && content ? get_slot(slot, value, size) : -ENOMEM;
	for (size_t i = 0; err == 0 && i < slot->queue_count; i++) {
		save_content(&slot->queue[i], content);
		err = visit(context, content);
	}
	if (slot)
		slot_clear(slot);
	free(slot);
	free(content);
	return err;
}

static int load_fact(struct desk *desk, struct store_txn *txn, const uint8_t *key, size_t key_size,
		     const uint8_t *value, size_t value_size)
{
	struct id directory;
	char name[NAME_SIZE_MAX + 1] = { 0 };
	struct slot *slot = NULL;

	if (key_size <= ID_SIZE || key_size > ID_SIZE + NAME_SIZE_MAX)
		return -EBADMSG;
	memcpy(directory.bytes, key, ID_SIZE);
	memcpy(name, key + ID_SIZE, key_size - ID_SIZE);
	int err = slot_make(desk, (struct desk_slot){ directory, name }, &slot);
	if (err < 0)
		return err;
	/* What was signed before the crash stands in the tree by now; the rest is in the fact. */
	bool published = slot->published;
	enum what what = slot->what;
	struct id directory_id = slot->directory_id;
	slot->fact = true;
	err = get_slot(slot, value, value_size);
	if (err < 0)
		return err;
	slot->published = published && slot->what == what && id_equal(&slot->directory_id, &directory_id);
	slot_note_fresh(slot);
	uint64_t time_ms = slot->queue_count ? slot->queue[slot->queue_count - 1].time_ms : slot->attributes.mtime_ns / 1000000;
	if (slot->what == WHAT_VERSION)
		err = attributes_get(desk, txn, &directory, name, slot->queue_count ? NULL : &slot->head, time_ms,
				     slot->mode, &slot->attributes);
	else
		err = attributes_get(desk, txn, &slot->directory_id, "", NULL, clock_time_ms(desk->clock), MODE_FILE,
				     &slot->attributes);
	slot_wait(slot, clock_now_ms(desk->clock) + desk->options.window_ms);
	return err;
}

int fact_load_all(struct desk *desk)
{
	struct index_range range;
	struct store_txn *txn;
	const uint8_t *key, *value;
	size_t key_size, value_size;
	int more;

	int err = store_begin(desk->store, false, &txn);
	if (err < 0)
		return err;
	err = store_local_range(txn, LOCAL_PENDING, "", 0, &range);
	while (err == 0 && (more = index_range_next(&range)) != 0) {
		if (more < 0) {
			err = more;
			break;
		}
		store_local_row(&range, &key, &key_size, &value, &value_size);
		err = load_fact(desk, txn, key, key_size, value, value_size);
	}
	index_range_close(&range);
	store_abort(txn);
	return err;
}

/* ---- attributes ---- */

uint64_t attributes_new_ino(struct desk *desk)
{
	uint64_t ino;

	clock_random(desk->clock, &ino, sizeof(ino));
	return (ino >> 2) | (1ull << 62); /* the lower half is for what has no local attributes */
}

/* A number for what was never touched here: the same at every start. */
static uint64_t plain_ino(const struct id *directory, const char *name, const struct id *id)
{
	const struct span spans[] = { { directory->bytes, ID_SIZE }, { name, strlen(name) },
				      { id ? id->bytes : directory->bytes, name[0] ? 0 : ID_SIZE } };
	struct id hash;
	uint64_t ino;

	id_of_spans(&hash, spans, 3);
	memcpy(&ino, hash.bytes, sizeof(ino));
	ino >>= 2;
	return ino > 1024 ? ino : ino + 1024;
}

int attributes_put(struct store_txn *txn, const struct id *directory, const char *name,
		   const struct attributes *a, const struct id *version)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	struct bytes value;

	int err = attributes_encode(&value, a, version);
	if (err == 0)
		err = store_local_put(txn, LOCAL_ATTR, key, fact_key(key, directory, name), value.data, value.size);
	bytes_finish(&value);
	return err;
}

int attributes_keep(struct desk *desk, const struct id *directory, const char *name, const struct attributes *a,
		    const struct id *version, bool later)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	struct store_txn *txn;
	struct bytes value;

	if (later) {
		int encoded = attributes_encode(&value, a, version);
		const struct local_fact fact = { LOCAL_ATTR, key, fact_key(key, directory, name), value.data, value.size };
		if (encoded == 0)
			encoded = store_keep_later(desk->store, NULL, &fact, 1);
		bytes_finish(&value);
		return encoded;
	}
	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	err = attributes_put(txn, directory, name, a, version);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

int attributes_forget(struct store_txn *txn, const struct id *directory, const char *name)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];

	return store_local_put(txn, LOCAL_ATTR, key, fact_key(key, directory, name), NULL, 0);
}

int attributes_get(struct desk *desk, struct store_txn *txn, const struct id *directory, const char *name,
		   const struct id *version, uint64_t time_ms, enum mode mode, struct attributes *out)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	const uint8_t *value;
	size_t size;
	struct cbor_reader r;
	struct id of;

	out->permissions = name[0] == '\0' ? 0755 : mode == MODE_LINK ? 0777 : mode == MODE_EXECUTABLE ? 0755 : 0644;
	out->uid = desk->options.uid;
	out->gid = desk->options.gid;
	out->mtime_ns = out->ctime_ns = time_ms * 1000000;
	out->atime_ns = 0;
	out->ino = plain_ino(directory, name, version);

	int err = store_local_get(txn, LOCAL_ATTR, key, fact_key(key, directory, name), &value, &size);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	cbor_reader_init(&r, value, size);
	cbor_get_array(&r, 8, 8);
	out->permissions = (uint32_t)cbor_get_uint(&r, 07777);
	out->uid = (uint32_t)cbor_get_uint(&r, UINT32_MAX);
	out->gid = (uint32_t)cbor_get_uint(&r, UINT32_MAX);
	uint64_t mtime_ns = cbor_get_uint(&r, UINT64_MAX), ctime_ns = cbor_get_uint(&r, UINT64_MAX);
	out->ino = cbor_get_uint(&r, UINT64_MAX);
	cbor_get_optional_id(&r, &of);
	uint64_t atime_ns = cbor_get_uint(&r, UINT64_MAX);
	if (id_is_zero(&of) || (version && id_equal(&of, version))) {
		out->mtime_ns = mtime_ns;
		out->ctime_ns = ctime_ns;
		out->atime_ns = atime_ns;
	}
	if (name[0] != '\0' && mode != MODE_LINK) /* the x bit is the version's */
		out->permissions = mode == MODE_EXECUTABLE ? out->permissions | 0100 : out->permissions & ~0111u;
	return cbor_reader_finish(&r);
}

int folders_keep(struct desk *desk)
{
	struct folder *folder, *next;
	struct attributes a;
	struct store_txn *txn = NULL;
	size_t count = 0;
	int err = 0;

	for (folder = desk->folders; folder; folder = folder->hh.next)
		count += folder->touched;
	if (count == 0)
		return 0;
	err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	count = 0;
	HASH_ITER(hh, desk->folders, folder, next) {
		if (!folder->touched || count == FOLDERS_KEPT_MAX)
			continue;
		count++;
		err = attributes_get(desk, txn, &folder->id, "", NULL, 0, MODE_FILE, &a);
		a.mtime_ns = a.ctime_ns = folder->time_ns;
		if (err == 0)
			err = attributes_put(txn, &folder->id, "", &a, NULL);
		if (err < 0)
			break;
	}
	if (err < 0) {
		store_abort(txn);
		return err;
	}
	err = store_commit(txn);
	if (err < 0)
		return err;
	HASH_ITER(hh, desk->folders, folder, next) {
		if (!folder->touched || count == 0)
			continue;
		folder->touched = false;
		count--;
		if (!folder->slots) { /* the journal knows what there is to know */
			HASH_DEL(desk->folders, folder);
			free(folder);
		}
	}
	return 0;
}
