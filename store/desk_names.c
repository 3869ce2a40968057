/* desk_names.c - names that come, go and move. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "desk_private.h"
#include "file.h"
#include "utf8.h"

static uint64_t window_end(struct desk *desk)
{
	return clock_now_ms(desk->clock) + desk->options.window_ms;
}

/* One transaction that only writes what waits at a slot that is hidden; where nothing does, no attributes stay. */
static int keep_fact(struct slot *slot)
{
	struct store_txn *txn;
	bool fact = slot->fact;

	int err = store_begin(slot->desk->store, true, &txn);
	if (err < 0)
		return err;
	err = fact_put(txn, slot);
	if (err == 0 && !slot->waiting && slot->what == WHAT_VERSION)
		err = attributes_forget(txn, &slot->folder->id, slot->name);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0)
		slot->fact = fact;
	return err;
}

static int see_standing(struct slot *slot)
{
	const struct thing thing = { &slot->folder->id, slot->name, slot->what, &slot->directory_id };
	struct replaced seen[SEEN_MAX];
	struct store_txn *txn;

	int err = store_begin(slot->desk->store, false, &txn);
	if (err < 0)
		return err;
	int count = standing_of(txn, slot->desk, &thing, seen);
	store_abort(txn);
	if (count < 0)
		return count;
	slot_clear_seen(slot);
	slot->seen = calloc((size_t)count + 1, sizeof(*slot->seen));
	if (!slot->seen)
		return -ENOMEM;
	memcpy(slot->seen, seen, (size_t)count * sizeof(*seen));
	slot->seen_count = (size_t)count;
	return 0;
}

/* The name goes; the removal, if there is anything to remove, waits. */
static int hide(struct slot *slot)
{
	int err = 0;

	/* What waits on a published chain (drafts of before a crash) was closed: it is a version first. */
	while (err == 0 && slot->published && slot->queue_count > 0)
		err = slot_publish(slot);
	if (err == 0 && slot->published)
		err = see_standing(slot);
	if (err < 0)
		return err;
	struct save draft = slot->draft;
	memset(&slot->draft, 0, sizeof(slot->draft));
	slot->shown = false;
	uint64_t due_ms = slot->due_ms;
	slot_wait(slot, slot->published || slot->queue_count > 0 ? window_end(slot->desk) : 0);
	err = keep_fact(slot);
	if (err < 0) {
		slot->draft = draft;
		slot->shown = true;
		slot_wait(slot, due_ms);
		return err;
	}
	slot->draft_of = NULL;
	save_finish(&draft);
	slot_abandon_files(slot);
	folder_touch(slot->desk, &slot->folder->id);
	return 0;
}

/* What was closed there is a version before its name goes. */
static int seal_closed(struct slot *slot)
{
	struct file *file = slot->draft_of;

	return file && file->dirty && file->flushed ? file_seal(file) : 0;
}

static int unlink_once(struct desk *desk, struct desk_slot at)
{
	struct slot *slot;

	int err = slot_get(desk, at, &slot);
	if (err == 0) {
		slot_hold(slot);
		if (!slot->shown)
			err = -ENOENT;
		else if (slot->what == WHAT_DIRECTORY)
			err = -EISDIR;
		else
			err = seal_closed(slot);
		if (err == 0)
			err = hide(slot);
		slot_drop(slot);
	}
	if (err == ALIAS)
		err = alias_remove(desk, at, WHAT_VERSION);
	return err;
}

int desk_unlink(struct desk *desk, struct desk_slot at)
{
	int err;

	desk_lock(desk);
	do {
		err = unlink_once(desk, at);
	} while (err == STORE_HELD && desk_wait_hold(desk));
	desk_unlock(desk);
	return err;
}

/* ---- directories ---- */

static int new_directory_id(struct desk *desk, struct desk_slot at, struct id *out)
{
	struct store_txn *txn;

	for (;;) {
		int err = store_begin(desk->store, false, &txn);
		if (err < 0)
			return err;
		err = tree_new_directory_id(txn, &at.directory, at.name, out);
		store_abort(txn);
		if (err < 0 || !directory_waiting(desk, out))
			return err;
		/* One made here and renamed meanwhile has it: signed, it counts as in use. */
		do {
			err = folder_publish(desk, out);
		} while (err == STORE_HELD && desk_wait_hold(desk));
		if (err < 0)
			return err;
	}
}

static int show_directory(struct slot *slot, mode_t permissions, uint32_t uid, uint32_t gid)
{
	struct desk *desk = slot->desk;
	struct store_txn *txn;
	bool fact = slot->fact;
	uint64_t due_ms = slot->due_ms;

	slot->attributes.permissions = permissions & 07777;
	slot->attributes.uid = uid;
	slot->attributes.gid = gid;
	slot->attributes.mtime_ns = slot->attributes.ctime_ns = clock_time_ns(desk->clock);
	slot->shown = true;
	slot_wait(slot, window_end(desk));
	int err = store_begin(desk->store, true, &txn);
	if (err == 0) {
		err = fact_put(txn, slot);
		if (err == 0)
			err = attributes_put(txn, &slot->directory_id, "", &slot->attributes, NULL);
		if (err == 0)
			err = store_commit(txn);
		else
			store_abort(txn);
	}
	if (err < 0) {
		slot->fact = fact;
		slot->shown = false;
		slot_wait(slot, due_ms);
	}
	return err;
}

int desk_mkdir(struct desk *desk, struct desk_slot at, mode_t permissions, uint32_t uid, uint32_t gid, struct desk_item *out)
{
	struct slot *slot;

	desk_lock(desk);
	int err = slot_make_free(desk, at, WHAT_DIRECTORY, &slot);
	if (err == 0) {
		slot_hold(slot);
		if (id_is_zero(&slot->directory_id))
			err = new_directory_id(desk, at, &slot->directory_id);
		slot->what = WHAT_DIRECTORY;
		if (err == 0)
			err = show_directory(slot, permissions, uid, gid);
		if (err == 0)
			folder_touch(desk, &at.directory);
		slot_drop(slot);
	}
	desk_unlock(desk);
	return err < 0 ? err : desk_lookup(desk, &desk->self, &at.directory, at.name, out);
}

static int sees_item(void *context, const struct tree_item *item)
{
	struct desk *desk = context;
	const struct slot *slot = slot_find(desk, &item->directory, item->slot_name);

	return !slot || slot->shown;
}

int folder_is_empty(struct desk *desk, const struct id *directory)
{
	struct folder *folder;
	const struct slot *slot;
	struct store_txn *txn;

	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (folder)
		DL_FOREACH(folder->slots, slot)
			if (slot->shown)
				return 0;
	int err = store_begin(desk->store, false, &txn);
	if (err < 0)
		return err;
	err = tree_each(txn, &desk->self, directory, 0, sees_item, desk);
	store_abort(txn);
	return err < 0 ? err : err == 0;
}

static int rmdir_once(struct desk *desk, struct desk_slot at)
{
	struct slot *slot;

	int err = slot_get(desk, at, &slot);
	if (err == 0) {
		slot_hold(slot);
		if (!slot->shown)
			err = -ENOENT;
		else if (slot->what != WHAT_DIRECTORY)
			err = -ENOTDIR;
		else
			err = folder_is_empty(desk, &slot->directory_id);
		if (err >= 0)
			err = err == 0 ? -ENOTEMPTY : hide(slot);
		slot_drop(slot);
	}
	if (err == ALIAS)
		err = alias_remove(desk, at, WHAT_DIRECTORY);
	return err;
}

int desk_rmdir(struct desk *desk, struct desk_slot at)
{
	int err;

	desk_lock(desk);
	do {
		err = rmdir_once(desk, at);
	} while (err == STORE_HELD && desk_wait_hold(desk));
	desk_unlock(desk);
	return err;
}

/* ---- links ---- */

ssize_t span_source(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	const struct span *text = context;

	if (offset >= text->size)
		return 0;
	if (size > text->size - offset)
		size = text->size - offset;
	memcpy(out, (const uint8_t *)text->data + offset, size);
	return (ssize_t)size;
}

/* Commits the pieces of a text alone. */
static int keep_pieces(struct desk *desk, struct store_batch *batch)
{
	struct store_txn *txn;

	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	err = store_batch_finish(batch, txn);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int store_text(struct desk *desk, content_source source, void *context, uint64_t size, struct body **out)
{
	struct store_batch *batch = store_batch_new(desk->store);

	int err = batch ? body_write(desk, batch, source, context, size, out) : -ENOMEM;
	if (err == 0) {
		err = keep_pieces(desk, batch);
		if (err < 0) {
			body_unref(*out);
			*out = NULL;
		}
	}
	store_batch_free(batch);
	return err;
}

int desk_symlink(struct desk *desk, struct desk_slot at, const char *target, uint32_t uid, uint32_t gid, struct desk_item *out)
{
	struct span text = { target, strlen(target) };
	struct save save = { .mode = MODE_LINK };
	struct slot *slot;

	if (text.size == 0 || text.size > LINK_SIZE_MAX)
		return text.size ? -ENAMETOOLONG : -ENOENT;
	desk_lock(desk);
	save.time_ms = clock_time_ms(desk->clock);
	int err = store_text(desk, span_source, &text, text.size, &save.text);
	if (err == 0)
		err = slot_make_free(desk, at, WHAT_VERSION, &slot);
	if (err == 0) {
		slot_hold(slot);
		slot->attributes.permissions = 0777;
		slot->attributes.uid = uid;
		slot->attributes.gid = gid;
		slot->attributes.mtime_ns = slot->attributes.ctime_ns = clock_time_ns(desk->clock);
		err = slot_take_save(slot, &save);
		if (err == 0)
			folder_touch(desk, &at.directory);
		slot_drop(slot);
	}
	save_finish(&save);
	desk_unlock(desk);
	return err < 0 ? err : desk_lookup(desk, &desk->self, &at.directory, at.name, out);
}

/* The text at a name, of any person. */
static int text_at(struct desk *desk, const struct id *person, struct desk_slot at, struct body **out, enum mode *out_mode)
{
	const struct slot *slot = id_equal(person, &desk->self) ? slot_find(desk, &at.directory, at.name) : NULL;
	struct tree_item item;
	struct store_txn *txn;

	if (slot) {
		if (!slot->shown || !slot->text)
			return -ENOENT;
		*out = body_ref(slot->text);
		*out_mode = slot->mode;
		return 0;
	}
	struct version *v = malloc(sizeof(*v));
	int err = v ? store_begin(desk->store, false, &txn) : -ENOMEM;
	if (err == 0) {
		err = tree_lookup(txn, person, &at.directory, at.name, &item);
		if (err == 0)
			err = item.what == WHAT_VERSION ? document_version(txn, &item.id, v) : -EINVAL;
		store_abort(txn);
	}
	if (err == 0) {
		*out = body_new(&v->content);
		*out_mode = v->row.mode;
		err = *out ? 0 : -ENOMEM;
	}
	free(v);
	return err;
}

int desk_readlink(struct desk *desk, const struct id *person, struct desk_slot at, char *out, size_t out_size)
{
	struct body *body = NULL;
	enum mode mode = MODE_FILE;

	desk_lock(desk);
	int err = text_at(desk, person, at, &body, &mode);
	desk_unlock(desk);
	if (err == 0 && mode != MODE_LINK)
		err = -EINVAL;
	if (err == 0) {
		ssize_t size = content_read(store_piece_cache(desk->store), store_pieces(desk->store), &body->content,
					    (uint8_t *)out, out_size - 1, 0);
		if (size >= 0)
			out[size] = '\0';
		err = size < 0 ? (int)size : 0;
	}
	desk_lock(desk);
	body_unref(body);
	desk_unlock(desk);
	return err;
}

/* ---- local files that become documents, and back ---- */

static ssize_t fd_source(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	return file_pread_all(*(int *)context, out, size, (off_t)offset);
}

struct desk_text {
	struct body *body;
	struct store_batch *batch; /* its pieces; NULL: they are in the store */
	uint64_t time_ms; /* when it was read */
};

/* A save of a text: what is published signs it with others if it can. */
static int take_text(struct slot *slot, const struct save *save, uint32_t process, struct desk_text *text)
{
	struct saver saver;
	int err = 0;

	saver_find(slot->desk, process, slot, &saver);
	if (text->batch && slot_may_join(slot, &saver)) {
		err = slot_join_text(slot, save, &saver, text->batch);
		if (err != -EMSGSIZE)
			return err;
		err = slot_part(slot);
	}
	if (err == 0 && text->batch)
		err = keep_pieces(slot->desk, text->batch);
	if (err < 0)
		return err;
	store_batch_free(text->batch);
	text->batch = NULL;
	err = slot_take_save(slot, save);
	if (err == 0)
		seen_note_save(slot->desk, &saver, slot);
	return err;
}

/* Gives a slot a text that replaces whatever it had, as one save; open files of the old one go on without the name. */
static int replace_text(struct slot *slot, struct save *save, const struct attributes *a, uint32_t process,
			struct desk_text *text)
{
	struct attributes before = slot->attributes;
	bool shown = slot->shown;
	struct saver saver;

	int err = seal_closed(slot);
	if (err == 0 && slot_is_aside(slot))
		err = -ESTALE;
	if (err < 0)
		return err;
	bool fresh = !slot->published && slot->queue_count == 0;
	if (!seen_get(slot->desk, process, slot, &save->parent))
		save->parent = slot_version(slot);
	if (fresh && save->text->content.size > 0 && id_is_zero(&save->fork_of))
		seen_copy(slot->desk, process, &save->text->content.digest, &save->fork_of);
	slot->attributes = *a;
	struct save draft = slot->draft; /* of a file that loses the name */
	memset(&slot->draft, 0, sizeof(slot->draft));
	/* Bytes equal to what stands there make no version. */
	if (!fresh && slot_has_text(slot, save)) {
		slot->shown = true;
		err = facts_keep(slot);
		slot->shown = shown || err == 0;
		saver_find(slot->desk, process, slot, &saver);
		if (err == 0)
			seen_note_save(slot->desk, &saver, slot);
	} else {
		err = take_text(slot, save, process, text);
	}
	if (err < 0) {
		slot->attributes = before;
		slot->draft = draft;
		return err;
	}
	slot->draft_of = NULL;
	save_finish(&draft);
	slot_abandon_replaced(slot, &before);
	return 0;
}

static int take_body(struct desk *desk, struct desk_slot to, struct save *save, const struct attributes *a,
		     uint32_t process, struct desk_text *text, struct handle **out_handle)
{
	struct slot *slot;

	int err = slot_make(desk, to, &slot);
	if (err == 0 && slot->shown && slot->what == WHAT_DIRECTORY) {
		slot_settle(slot);
		err = -EISDIR;
	} else if (err == 0 && !slot->shown && slot->what == WHAT_DIRECTORY && slot->waiting) {
		err = slot_publish(slot);
		if (err == 0)
			err = slot_make(desk, to, &slot);
	}
	if (err < 0)
		return err;
	slot_hold(slot);
	if (process == 0 || slot->saver.process != process)
		slot_part(slot);
	struct attributes attributes = *a;
	attributes.ctime_ns = clock_time_ns(desk->clock);
	if (attributes.ino == 0)
		attributes.ino = attributes_new_ino(desk);
	err = replace_text(slot, save, &attributes, process, text);
	if (err == 0)
		folder_touch(desk, &slot->folder->id);
	if (err == 0 && out_handle) {
		struct file *file = file_new(slot);
		*out_handle = file ? handle_new(file, O_RDWR, process) : NULL;
		if (file && !*out_handle)
			file_free(file);
		err = *out_handle ? 0 : -ENOMEM;
	}
	slot_drop(slot);
	return err;
}

int desk_read_text(struct desk *desk, int fd, struct desk_text **out)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > desk->options.document_size_max)
		return -EFBIG;
	struct desk_text *text = calloc(1, sizeof(*text));
	if (!text)
		return -ENOMEM;
	text->batch = store_batch_new(desk->store);
	desk_lock(desk);
	text->time_ms = clock_time_ms(desk->clock);
	int err = text->batch ? body_write(desk, text->batch, fd_source, &fd, (uint64_t)st.st_size, &text->body) : -ENOMEM;
	desk_unlock(desk);
	if (err < 0) {
		desk_free_text(desk, text);
		return err;
	}
	*out = text;
	return 0;
}

int desk_take_text(struct desk *desk, struct desk_text *text, struct desk_slot to, const struct attributes *a,
		   uint32_t process, struct handle **out_handle)
{
	struct save save = { .mode = a->permissions & 0100 ? MODE_EXECUTABLE : MODE_FILE, .time_ms = text->time_ms };
	int err;

	desk_lock(desk);
	save.text = body_ref(text->body);
	do {
		err = take_body(desk, to, &save, a, process, text, out_handle);
	} while (err == -ESTALE || (err == STORE_HELD && desk_wait_hold(desk)));
	save_finish(&save);
	desk_unlock(desk);
	return err;
}

void desk_free_text(struct desk *desk, struct desk_text *text)
{
	if (!text)
		return;
	desk_lock(desk);
	body_unref(text->body);
	desk_unlock(desk);
	store_batch_free(text->batch);
	free(text);
}

int desk_take_file(struct desk *desk, int fd, struct desk_slot to, const struct attributes *a, uint32_t process,
		   struct handle **out_handle)
{
	struct desk_text *text = NULL;

	int err = desk_read_text(desk, fd, &text);
	if (err == 0)
		err = desk_take_text(desk, text, to, a, process, out_handle);
	desk_free_text(desk, text);
	return err;
}

/* What is not signed yet stands in the file alone from then on, after a power cut too. */
static int keep_unsigned(struct desk *desk, struct desk_slot from, int fd)
{
	struct desk_item item;

	int err = desk_lookup(desk, &desk->self, &from.directory, from.name, &item);
	if (err == 0 && item.waits && fsync(fd) < 0)
		return -errno;
	return err;
}

int desk_give_file(struct desk *desk, struct desk_slot from, int fd)
{
	uint8_t *buffer = malloc(PIECE_TEXT_MAX);
	struct handle *h;
	uint64_t offset = 0;

	int err = buffer ? desk_open_file(desk, from, O_RDONLY, 0, &h) : -ENOMEM;
	if (err < 0) {
		free(buffer);
		return err;
	}
	for (;;) {
		ssize_t size = handle_read(h, buffer, PIECE_TEXT_MAX, offset);
		if (size > 0)
			err = file_pwrite_all(fd, buffer, (size_t)size, (off_t)offset);
		else
			err = (int)size;
		if (size <= 0 || err < 0)
			break;
		offset += (uint64_t)size;
	}
	free(buffer);
	if (err == 0)
		err = keep_unsigned(desk, from, fd);
	if (err == 0)
		err = desk_unlink(desk, from);
	handle_release(h);
	return err;
}
