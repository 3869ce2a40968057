/* desk_attributes.c - permissions, owners and times: of documents and directories, closed or open. */
#include <errno.h>
#include <string.h>

#include "desk_private.h"

static void merge_attributes(struct attributes *a, unsigned mask, const struct attributes *from, const struct clock *clock)
{
	if (mask & DESK_SET_PERMISSIONS)
		a->permissions = from->permissions & 07777;
	if (mask & DESK_SET_UID)
		a->uid = from->uid;
	if (mask & DESK_SET_GID)
		a->gid = from->gid;
	if (mask & (DESK_SET_MTIME | DESK_SET_ATIME) && a->atime_ns == 0)
		a->atime_ns = a->mtime_ns;
	if (mask & DESK_SET_ATIME)
		a->atime_ns = from->atime_ns ? from->atime_ns : 1; /* 0 is taken */
	if (mask & DESK_SET_MTIME)
		a->mtime_ns = from->mtime_ns;
	a->ctime_ns = clock_time_ns(clock);
}

static int keep_document_attributes(struct slot *slot)
{
	const struct file *file = slot->file;
	bool of_head = slot->queue_count == 0 && slot->published;
	/* While the slot is here, nobody asks the index. */
	bool later = slot->waiting || slot->queue_count > 0 || slot->draft.text;

	if (file && file->dirty)
		return 0; /* kept with what is written there */
	return attributes_keep(slot->desk, &slot->folder->id, slot->name, &slot->attributes,
			       of_head ? &slot->head : NULL, later);
}

/* The x bit belongs to the save that waits. */
static int set_mode_waiting(struct slot *slot, enum mode mode)
{
	struct save *last = &slot->queue[slot->queue_count - 1];
	enum mode before = last->mode;

	last->mode = mode;
	int err = facts_keep_later(NULL, slot);
	if (err < 0)
		last->mode = before;
	return err;
}

/* The x bit of a closed document is a version of its own. Keeps the attributes too. */
static int set_mode(struct slot *slot, enum mode mode)
{
	int err;

	if (slot->queue_count > 0) {
		err = set_mode_waiting(slot, mode);
	} else {
		struct save save = { .text = body_ref(slot->text), .mode = mode, .parent = slot_version(slot),
				     .time_ms = clock_time_ms(slot->desk->clock) };
		err = slot_take_save(slot, &save);
		save_finish(&save);
	}
	if (err < 0)
		return err;
	slot->mode = mode;
	if (slot->file) {
		slot->file->mode = slot->file->base_mode = mode;
		slot->file->version = slot_version(slot);
	}
	return 0;
}

static int set_document_attributes(struct slot *slot, bool permissions)
{
	enum mode mode = slot->attributes.permissions & 0100 ? MODE_EXECUTABLE : MODE_FILE;
	struct file *file = slot->file;

	/* Made where a link was, it is none, though the slot's last version still is. */
	if (!permissions || (file ? file->mode : slot->mode) == MODE_LINK)
		return keep_document_attributes(slot);
	if (file && file->dirty) {
		file_hold(file);
		file_wait(file); /* a draft of the old mode is being made */
		file_drop(file);
		if (slot->file == file && file->dirty) {
			file->flushed = file->flushed && file->mode == mode;
			file->mode = mode;
			return keep_document_attributes(slot);
		}
	}
	if (slot_is_aside(slot) || !slot->shown)
		return -ENOENT;
	return slot->mode == mode ? keep_document_attributes(slot) : set_mode(slot, mode);
}

static int slot_set_attributes(struct slot *slot, unsigned mask, const struct attributes *a)
{
	struct desk *desk = slot->desk;
	struct attributes before = slot->attributes;
	int err = 0;

	slot_hold(slot);
	merge_attributes(&slot->attributes, mask, a, desk->clock);
	if (slot->what == WHAT_DIRECTORY) {
		struct folder *folder;
		HASH_FIND(hh, desk->folders, &slot->directory_id, sizeof(struct id), folder);
		if (folder && (mask & DESK_SET_MTIME))
			folder->time_ns = 0;
		err = attributes_keep(desk, &slot->directory_id, "", &slot->attributes, NULL, slot->waiting);
	} else {
		err = set_document_attributes(slot, mask & DESK_SET_PERMISSIONS);
	}
	if (err < 0)
		slot->attributes = before;
	slot_drop(slot);
	return err;
}

int desk_set_attributes(struct desk *desk, struct desk_slot at, unsigned mask, const struct attributes *a)
{
	struct slot *slot;

	desk_lock(desk);
	int err = slot_get(desk, at, &slot);
	if (err == 0) {
		slot_hold(slot);
		slot_part(slot);
		err = slot->shown ? slot_set_attributes(slot, mask, a) : -ENOENT;
		slot_drop(slot);
	}
	desk_unlock(desk);
	return err;
}

int desk_set_directory_attributes(struct desk *desk, const struct id *directory, unsigned mask, const struct attributes *a)
{
	struct attributes now;
	struct folder *folder;
	struct slot *slot;

	int err = desk_directory(desk, &desk->self, directory, &now);
	if (err < 0)
		return err;
	desk_lock(desk);
	merge_attributes(&now, mask, a, desk->clock);
	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (folder && (mask & DESK_SET_MTIME))
		folder->time_ns = 0;
	slot = directory_waiting(desk, directory);
	if (slot)
		slot->attributes = now;
	err = attributes_keep(desk, directory, "", &now, NULL, false);
	desk_unlock(desk);
	return err;
}

int handle_set_attributes(struct handle *h, unsigned mask, const struct attributes *a)
{
	struct file *file = h->file;
	int err = 0;

	desk_lock(file->desk);
	if (file->slot)
		slot_part(file->slot);
	if (file->slot)
		err = slot_set_attributes(file->slot, mask, a);
	else
		merge_attributes(&file->attributes, mask, a, file->desk->clock);
	desk_unlock(file->desk);
	return err;
}
