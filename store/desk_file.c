/* desk_file.c - open files: reading, writing, flushing, releasing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"
#include "utf8.h"

void file_wait(struct file *file)
{
	while (file->busy)
		pthread_cond_wait(&file->desk->idle, &file->desk->lock);
}

struct attributes *file_attributes(struct file *file)
{
	return file->slot ? &file->slot->attributes : &file->attributes;
}

void file_detach(struct file *file)
{
	struct slot *slot = file->slot;

	if (!slot)
		return;
	file->attributes = slot->attributes;
	if (slot->file == file)
		slot->file = NULL;
	if (slot->draft_of == file) {
		save_finish(&slot->draft);
		slot->draft_of = NULL;
		pthread_cond_broadcast(&file->desk->idle);
	}
	file->slot = NULL;
	slot->refs--;
	slot_settle(slot);
}

void file_abandon(struct file *file)
{
	file->dirty = false;
	file_detach(file);
	/* One whose release failed waits for no handle. */
	if (file->handles == 0 && !file->busy)
		file_free(file);
}

void slot_abandon_files(struct slot *slot)
{
	struct file *file, *next;

	slot_hold(slot);
	if (slot->file)
		file_abandon(slot->file);
	if (slot->refs > 1) /* parted from the name by a head set by hand */
		DL_FOREACH_SAFE(slot->desk->files, file, next)
			if (file->slot == slot)
				file_abandon(file);
	slot_drop(slot);
}

void slot_abandon_replaced(struct slot *slot, const struct attributes *before)
{
	struct attributes now = slot->attributes;

	slot->attributes = *before;
	slot_abandon_files(slot);
	slot->attributes = now;
}

struct file *file_of_version(struct desk *desk, const struct version *v)
{
	struct file *file = calloc(1, sizeof(*file));
	struct body *text = body_new(&v->content);

	if (!file || !text) {
		free(file);
		body_unref(text);
		return NULL;
	}
	file->desk = desk;
	file->text = text;
	file->base = body_ref(text);
	file->mode = file->base_mode = v->row.mode;
	file->version = v->row.id;
	DL_APPEND(desk->files, file);
	return file;
}

struct file *file_new(struct slot *slot)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->desk = slot->desk;
	file->slot = slot;
	slot->refs++;
	slot->file = file;
	file->mode = file->base_mode = slot->mode;
	if (slot->text) {
		file->text = body_ref(slot->text);
		file->base = body_ref(slot->text);
	}
	file->version = slot_version(slot);
	DL_APPEND(file->desk->files, file);
	return file;
}

void file_free(struct file *file)
{
	DL_DELETE(file->desk->files, file);
	file_detach(file);
	spool_free(file->spool);
	body_unref(file->text);
	body_unref(file->base);
	body_unref(file->draft);
	free(file);
}

void file_hold(struct file *file)
{
	file->handles++;
}

void file_drop(struct file *file)
{
	/* What could not be sealed (a full disk) is kept and tried again by the tick. */
	if (--file->handles == 0 && !(file->dirty && file->slot))
		file_free(file);
}

struct handle *handle_new(struct file *file, int flags, uint32_t process)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	atomic_init(&h->holders, 1);
	h->file = file;
	h->flags = flags;
	h->process = process;
	file->handles++;
	return h;
}

static void note_time(struct file *file)
{
	struct attributes *a = file_attributes(file);

	a->mtime_ns = a->ctime_ns = clock_time_ns(file->desk->clock);
	file->last_write_ms = clock_now_ms(file->desk->clock);
}

/* The bytes now differ, or may, from what was flushed. */
static void file_changed(struct file *file)
{
	file->dirty = true;
	file->flushed = false;
	memset(&file->fork_of, 0, sizeof(file->fork_of));
	note_time(file);
}

static void handle_changed(struct handle *h)
{
	h->changed = true;
	h->changed_seals = h->file->seals;
}

/* The release of what was closed may come when the next has begun to write: that is not to be sealed half done. */
static bool has_unsealed(const struct handle *h)
{
	return h->changed && h->changed_seals == h->file->seals;
}

static int file_empty_spool(struct file *file)
{
	struct spool *spool;

	int err = spool_new(&spool, file->desk->spool_fd);
	if (err < 0)
		return err;
	spool_free(file->spool);
	file->spool = spool;
	body_unref(file->text);
	file->text = NULL;
	return 0;
}

/* Copies a text into a spool without the lock. */
static int copy_text(struct desk *desk, struct body *text, struct spool *spool)
{
	uint8_t *buffer = malloc(PIECE_TEXT_MAX);
	uint64_t offset = 0;
	int err = buffer ? 0 : -ENOMEM;

	while (err == 0 && offset < text->content.size) {
		ssize_t size = content_read(store_piece_cache(desk->store), store_pieces(desk->store), &text->content,
					    buffer, PIECE_TEXT_MAX, offset);
		if (size <= 0)
			err = size < 0 ? (int)size : -EBADMSG;
		else
			err = spool_write(spool, buffer, (size_t)size, offset);
		offset += size > 0 ? (uint64_t)size : 0;
	}
	free(buffer);
	return err;
}

int file_load_spool(struct file *file)
{
	struct spool *spool;

	file_wait(file);
	if (file->spool)
		return 0;
	int err = spool_new(&spool, file->desk->spool_fd);
	if (err < 0)
		return err;
	struct body *text = body_ref(file->text);
	if (text) {
		file->busy = true;
		desk_unlock(file->desk);
		err = copy_text(file->desk, text, spool);
		desk_lock(file->desk);
		file->busy = false;
		pthread_cond_broadcast(&file->desk->idle);
		body_unref(text);
	}
	if (err < 0) {
		spool_free(spool);
		return err;
	}
	file->spool = spool;
	body_unref(file->text);
	file->text = NULL;
	return 0;
}

/* ---- opening ---- */

static int truncate_whole(struct file *file, uint32_t process)
{
	file_wait(file);
	int err = file_empty_spool(file);
	if (err < 0)
		return err;
	file_changed(file);
	file->written = false;
	file->whole = true;
	if (file->slot)
		saver_find(file->desk, process, file->slot, &file->saver);
	return 0;
}

static void fill_item(struct handle *h, struct desk_item *out)
{
	struct file *file = h->file;
	const struct slot *slot = file->slot;

	memset(out, 0, sizeof(*out));
	out->order = ++file->desk->order;
	if (slot) {
		memcpy(out->name, slot->name, sizeof(slot->name));
		memcpy(out->slot_name, slot->name, sizeof(slot->name));
		out->directory = slot->folder->id;
		out->id = slot->head;
		out->cookie = slot->cookie;
	}
	out->what = WHAT_VERSION;
	out->mode = file->mode;
	out->size = file->spool ? spool_size(file->spool) : file->text ? file->text->content.size : 0;
	out->waits = file->dirty || (slot && slot->waiting);
	out->attributes = *file_attributes(file);
}

static void new_attributes(struct slot *slot, mode_t permissions, uint32_t uid, uint32_t gid)
{
	slot->attributes.permissions = permissions & 07777;
	slot->attributes.uid = uid;
	slot->attributes.gid = gid;
	slot->attributes.mtime_ns = slot->attributes.ctime_ns = clock_time_ns(slot->desk->clock);
}

int desk_create(struct desk *desk, struct desk_slot at, mode_t permissions, uint32_t uid, uint32_t gid,
		uint32_t process, struct handle **out, struct desk_item *out_item)
{
	struct slot *slot;
	struct handle *h = NULL;

	desk_lock(desk);
	int err = slot_make_free(desk, at, WHAT_VERSION, &slot);
	if (err == 0) {
		/* A name in its window goes on: the file's base is what stood there. */
		bool continues = slot->what == WHAT_VERSION && slot->text;
		if (!continues)
			slot_set_text(slot, NULL);
		struct file *file = file_new(slot);
		h = file ? handle_new(file, O_RDWR, process) : NULL;
		if (!h)
			err = -ENOMEM;
		else
			err = truncate_whole(file, process);
		if (err == 0) {
			slot->shown = true;
			slot->what = WHAT_VERSION;
			file->mode = permissions & 0100 ? MODE_EXECUTABLE : MODE_FILE;
			if (!continues)
				slot->mode = file->mode;
			handle_changed(h);
			new_attributes(slot, permissions, uid, gid);
			folder_touch(desk, &slot->folder->id);
			fill_item(h, out_item);
			*out = h;
		} else {
			free(h);
			if (file)
				file_free(file);
			else
				slot_settle(slot);
		}
	}
	desk_unlock(desk);
	return err;
}

/* Opens what a slot shows; shares the file that is open there. */
static int open_slot(struct slot *slot, int flags, uint32_t process, struct handle **out)
{
	struct file *file = slot->file;

	if (!slot->shown)
		return -ENOENT;
	if (slot->what == WHAT_DIRECTORY)
		return -EISDIR;
	/* What is read is a version, to descend from. */
	if ((flags & O_ACCMODE) != O_WRONLY && !(flags & O_TRUNC))
		slot_part(slot);
	if (!file)
		file = file_new(slot);
	struct handle *h = file ? handle_new(file, flags, process) : NULL;
	int err = h ? 0 : -ENOMEM;
	/* What another has closed, and whose release is still to come, is a save of its own. */
	if (err == 0 && (flags & O_ACCMODE) != O_RDONLY && file->dirty && file->flushed)
		err = file_seal(file);
	if (err == 0 && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
		err = truncate_whole(file, process);
		handle_changed(h);
	}
	if (err < 0) {
		if (file && !h)
			file_hold(file);
		free(h);
		if (file)
			file_drop(file);
		return err;
	}
	/* The kernel's cache may answer the reads: to open for reading is to have seen it. */
	if ((flags & O_ACCMODE) != O_WRONLY && file->base && !file->dirty)
		seen_note(file->desk, process, slot, &file->version, &file->base->content.digest);
	*out = h;
	return 0;
}

int desk_open_file(struct desk *desk, struct desk_slot at, int flags, uint32_t process, struct handle **out)
{
	struct slot *slot;

	desk_lock(desk);
	int err = slot_get(desk, at, &slot);
	if (err == 0) {
		slot_hold(slot);
		err = open_slot(slot, flags, process, out);
		slot_drop(slot);
	}
	if (err == ALIAS)
		err = alias_open(desk, at, flags, process, out);
	desk_unlock(desk);
	return err;
}

int desk_reopen(struct desk *desk, struct handle *of, int flags, uint32_t process, struct handle **out)
{
	desk_lock(desk);
	struct handle *h = handle_new(of->file, flags, process);
	int err = h ? 0 : -ENOMEM;
	if (err == 0 && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
		err = truncate_whole(of->file, process);
		handle_changed(h);
	}
	if (err == 0) {
		*out = h;
	} else if (h) {
		of->file->handles--;
		free(h);
	}
	desk_unlock(desk);
	return err;
}

/* ---- bytes ---- */

ssize_t handle_read(struct handle *h, void *out, size_t size, uint64_t offset)
{
	struct file *file = h->file;
	struct desk *desk = file->desk;
	ssize_t done = 0;

	desk_lock(desk);
	if (!h->noted && file->slot && file->base && !file->dirty) {
		h->noted = true;
		slot_part(file->slot);
		seen_note(desk, h->process, file->slot, &file->version, &file->base->content.digest);
	}
	while (file->busy && !file->spool && !file->text)
		pthread_cond_wait(&desk->idle, &desk->lock);
	if (file->spool) {
		done = spool_read(file->spool, out, size, offset);
	} else if (file->text) {
		struct body *text = body_ref(file->text);
		desk_unlock(desk);
		done = content_read(store_piece_cache(desk->store), store_pieces(desk->store), &text->content,
				    out, size, offset);
		desk_lock(desk);
		body_unref(text);
	}
	desk_unlock(desk);
	return done;
}

/* It is loaded, and stays so; empty, or small, it is no work. */
static bool is_ready(const struct file *file)
{
	return !file->busy && (file->spool || !file->text || file->text->content.size <= PIECE_TEXT_MAX);
}

static int load(struct file *file)
{
	int err = file_load_spool(file);
	file_wait(file);
	return err;
}

int handle_load(struct handle *h)
{
	struct desk *desk = h->file->desk;

	desk_lock(desk);
	int err = load(h->file);
	desk_unlock(desk);
	return err;
}

/* offset NULL: at the end, which is told. */
static ssize_t write_at(struct handle *h, const void *bytes, size_t size, const uint64_t *offset, uint64_t *out_offset,
			bool waits)
{
	struct file *file = h->file;
	struct desk *desk = file->desk;
	uint64_t at = 0;

	desk_lock(desk);
	int err = waits || is_ready(file) ? load(file) : -EAGAIN;
	if (err == 0) {
		at = offset ? *offset : spool_size(file->spool);
		if (at > desk->options.document_size_max || size > desk->options.document_size_max - at)
			err = -EFBIG;
	}
	if (err == 0)
		err = spool_write(file->spool, bytes, size, at);
	if (err == 0) {
		file_changed(file);
		file->written = true;
		handle_changed(h);
		if (file->slot && file->saver.process != h->process)
			saver_find(desk, h->process, file->slot, &file->saver);
		if (out_offset)
			*out_offset = at;
	}
	desk_unlock(desk);
	return err < 0 ? err : (ssize_t)size;
}

ssize_t handle_write(struct handle *h, const void *bytes, size_t size, uint64_t offset)
{
	return write_at(h, bytes, size, &offset, NULL, true);
}

ssize_t handle_append(struct handle *h, const void *bytes, size_t size, uint64_t *out_offset)
{
	return write_at(h, bytes, size, NULL, out_offset, true);
}

ssize_t handle_try_write(struct handle *h, const void *bytes, size_t size, const uint64_t *offset, uint64_t *out_offset)
{
	return write_at(h, bytes, size, offset, out_offset, false);
}

static int file_truncate(struct file *file, uint64_t size, uint32_t process)
{
	if (size == 0)
		return truncate_whole(file, process);
	if (size > file->desk->options.document_size_max)
		return -EFBIG;
	int err = file_load_spool(file);
	file_wait(file);
	if (err == 0)
		err = spool_truncate(file->spool, size);
	if (err == 0) {
		file_changed(file);
		file->written = true; /* nothing need follow: it is a state of its own */
	}
	return err;
}

int handle_truncate(struct handle *h, uint64_t size)
{
	desk_lock(h->file->desk);
	int err = file_truncate(h->file, size, h->process);
	if (err == 0)
		handle_changed(h);
	desk_unlock(h->file->desk);
	return err;
}

int handle_flush(struct handle *h)
{
	struct desk *desk = h->file->desk;

	desk_lock(desk);
	int err = has_unsealed(h) ? file_flush(h->file) : 0;
	desk_unlock(desk);
	return err;
}

int handle_sync(struct handle *h)
{
	struct desk *desk = h->file->desk;

	desk_lock(desk);
	int err = file_flush(h->file);
	desk_unlock(desk);
	return err < 0 ? err : journal_sync(store_journal(desk->store));
}

void handle_hold(struct handle *h)
{
	atomic_fetch_add(&h->holders, 1);
}

int handle_release(struct handle *h)
{
	struct file *file = h->file;
	struct desk *desk = file->desk;
	int err = 0;

	if (atomic_fetch_sub(&h->holders, 1) > 1)
		return 0;
	desk_lock(desk);
	file_wait(file);
	if (has_unsealed(h))
		err = file_seal(file);
	file_wait(file);
	free(h);
	file_drop(file);
	desk_unlock(desk);
	return err;
}

int handle_item(struct handle *h, struct desk_item *out)
{
	desk_lock(h->file->desk);
	fill_item(h, out);
	desk_unlock(h->file->desk);
	return 0;
}

/* The text and version that a whole copy takes over. */
static int copy_source(struct desk *desk, struct handle *from, const struct id *version, struct body **out_text,
		       struct id *out_version)
{
	if (from) {
		struct file *file = from->file;
		if (file->dirty || !file->base || !file->slot || file->slot->queue_count > 0 || id_is_zero(&file->version))
			return -EXDEV;
		*out_text = body_ref(file->base);
		*out_version = file->version;
		return 0;
	}
	struct store_txn *txn;
	struct version *v = malloc(sizeof(*v));
	int err = v ? store_begin(desk->store, false, &txn) : -ENOMEM;
	if (err == 0) {
		err = document_version(txn, version, v);
		store_abort(txn);
	}
	*out_text = err == 0 ? body_new(&v->content) : NULL;
	*out_version = *version;
	free(v);
	return err < 0 ? err : *out_text ? 0 : -ENOMEM;
}

ssize_t handle_copy(struct handle *from, const struct id *version, uint64_t from_offset,
		    struct handle *to, uint64_t to_offset, uint64_t size)
{
	struct file *file = to->file;
	struct desk *desk = file->desk;
	struct body *text = NULL;
	struct id of;

	desk_lock(desk);
	file_wait(file);
	int err = -EXDEV;
	if (from_offset == 0 && to_offset == 0 && file->spool && spool_size(file->spool) == 0)
		err = copy_source(desk, from, version, &text, &of);
	uint64_t done = err == 0 ? text->content.size : 0;
	if (err == 0 && (done == 0 || size < done || done > desk->options.document_size_max))
		err = -EXDEV;
	if (err == 0) {
		spool_free(file->spool);
		file->spool = NULL;
		file->text = body_ref(text);
		file_changed(file);
		file->written = true;
		file->fork_of = of;
		handle_changed(to);
	}
	body_unref(text);
	desk_unlock(desk);
	return err < 0 ? err : (ssize_t)done;
}

void desk_note_read(struct desk *desk, uint32_t process, const struct id *version)
{
	struct store_txn *txn;
	struct slot *slot = calloc(1, sizeof(*slot));
	struct version *v = malloc(sizeof(*v));

	/* Remembered under the version's own id: S7 asks for bytes, not for a place. */
	if (slot && v && store_begin(desk->store, false, &txn) == 0) {
		int err = document_version(txn, version, v);
		store_abort(txn);
		memcpy(slot->key, version->bytes, ID_SIZE);
		slot->key_size = ID_SIZE;
		desk_lock(desk);
		if (err == 0)
			seen_note(desk, process, slot, version, &v->content.digest);
		desk_unlock(desk);
	}
	free(slot);
	free(v);
}

int desk_truncate(struct desk *desk, struct desk_slot at, uint64_t size, uint32_t process)
{
	struct handle *h;

	int err = desk_open_file(desk, at, O_WRONLY, process, &h);
	if (err < 0)
		return err;
	err = handle_truncate(h, size);
	if (err == 0)
		err = handle_flush(h);
	int released = handle_release(h);
	return err < 0 ? err : released;
}
