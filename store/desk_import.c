/* desk_import.c - many local files at once: signed together, so that none of them waits by itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "desk_private.h"
#include "file.h"

struct desk_import {
	struct desk *desk;
	struct store_batch *batch;
	struct slot *slots[PUBLISH_SAVES_MAX]; /* held; what is new in each is the last of its queue */
	size_t count;
};

struct desk_import *desk_import_new(struct desk *desk)
{
	struct desk_import *import = calloc(1, sizeof(*import));

	if (import)
		import->desk = desk;
	return import;
}

size_t desk_import_waiting(const struct desk_import *import)
{
	return import->count;
}

static void drop_slots(struct desk_import *import)
{
	for (size_t i = 0; i < import->count; i++)
		slot_drop(import->slots[i]);
	import->count = 0;
}

void desk_import_free(struct desk_import *import)
{
	if (!import)
		return;
	desk_lock(import->desk);
	for (size_t i = 0; i < import->count; i++)
		slot_clear_queue(import->slots[i]);
	drop_slots(import);
	desk_unlock(import->desk);
	store_batch_free(import->batch);
	free(import);
}

/* The pieces, and the attributes of what has the same bytes as before. */
static int keep_pieces(struct desk_import *import)
{
	struct store_txn *txn;

	int err = store_begin(import->desk->store, true, &txn);
	if (err < 0)
		return err;
	if (import->batch)
		err = store_batch_finish(import->batch, txn);
	for (size_t i = 0; err == 0 && i < import->count; i++) {
		struct slot *slot = import->slots[i];
		if (slot->queue_count == 0)
			err = attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes, &slot->head);
	}
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int sign_all(struct desk_import *import)
{
	struct slot *changed[PUBLISH_SAVES_MAX];
	size_t count = 0;

	int err = import->count > 0 ? keep_pieces(import) : 0;
	for (size_t i = 0; i < import->count; i++)
		if (import->slots[i]->queue_count > 0)
			changed[count++] = import->slots[i];
	if (err == 0 && count > 0)
		err = slots_publish(import->desk, changed, count);
	if (err < 0)
		return err;
	drop_slots(import);
	store_batch_free(import->batch);
	import->batch = NULL;
	return 0;
}

int desk_import_flush(struct desk_import *import)
{
	desk_lock(import->desk);
	if (desk_is_held(import->desk))
		desk_wait_hold(import->desk);
	int err = sign_all(import);
	desk_unlock(import->desk);
	return err;
}

static ssize_t fd_source(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	return file_pread_all(*(int *)context, out, size, (off_t)offset);
}

/* Something waits or is open there: that has rules of its own. */
static bool is_busy(const struct slot *slot)
{
	return slot->waiting || slot->queue_count > 0 || slot->draft.text || slot->refs > 0 ||
	       (slot->published && !slot->shown);
}

/* 1 if it is taken, 0 if the slot is busy. */
static int take(struct desk_import *import, struct desk_slot to, const struct save *save, const struct attributes *a)
{
	struct desk *desk = import->desk;
	struct slot *slot;

	int err = slot_make(desk, to, &slot);
	if (err < 0)
		return err;
	if (is_busy(slot))
		return 0;
	if (slot->shown && slot->what == WHAT_DIRECTORY) {
		slot_settle(slot);
		return -EISDIR;
	}
	slot_hold(slot);
	if (!slot->shown || !slot_has_text(slot, save))
		err = slot_push_save(slot, save);
	if (err < 0) {
		slot_drop(slot);
		return err;
	}
	slot->shown = true;
	slot->what = WHAT_VERSION;
	slot->mode = save->mode;
	slot_set_text(slot, save->text);
	slot->attributes = *a;
	slot->attributes.ctime_ns = clock_time_ns(desk->clock);
	slot->attributes.ino = attributes_new_ino(desk);
	folder_touch(desk, &slot->folder->id);
	import->slots[import->count++] = slot;
	return 1;
}

int desk_import_file(struct desk_import *import, int fd, struct desk_slot to, const struct attributes *a)
{
	struct save save = { .mode = a->permissions & 0100 ? MODE_EXECUTABLE : MODE_FILE };
	struct desk *desk = import->desk;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > desk->options.document_size_max)
		return -EFBIG;
	if (!import->batch)
		import->batch = store_batch_new(desk->store);
	if (!import->batch)
		return -ENOMEM;
	desk_lock(desk);
	if (desk_is_held(desk))
		desk_wait_hold(desk);
	save.time_ms = clock_time_ms(desk->clock);
	int taken = body_write(desk, import->batch, fd_source, &fd, (uint64_t)st.st_size, &save.text);
	if (taken == 0)
		taken = take(import, to, &save, a);
	save_finish(&save);
	int err = taken < 0 ? taken : 0;
	if (err == 0 && (taken == 0 || import->count == PUBLISH_SAVES_MAX))
		err = sign_all(import);
	desk_unlock(desk);
	return err == 0 && taken == 0 ? desk_take_file(desk, fd, to, a, 0, NULL) : err;
}
