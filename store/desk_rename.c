/* desk_rename.c - one name takes another's place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"
#include "utf8.h"

#define MOVED_MAX 60 /* heads that move along with a document: a record holds 64 entries */

/* The entries of a published thing moving from one name to another. */
static int sign_move(struct store_txn *txn, struct slot *from, const struct id *to_directory, const char *to_name)
{
	struct desk *desk = from->desk;
	struct standing standing[MOVED_MAX];
	struct planned_entry entries[1 + MOVED_MAX];
	static const struct replaced none;
	size_t count = 0;

	int heads = tree_standing(txn, &desk->self, &from->folder->id, from->name, standing, MOVED_MAX);
	if (heads < 0)
		return heads;
	entries[count++] = (struct planned_entry){ .directory = &from->folder->id, .name = from->name };
	for (int i = 0; i < heads && i < MOVED_MAX; i++) {
		if (standing[i].what != from->what ||
		    (from->what == WHAT_DIRECTORY && !id_equal(&standing[i].id, &from->directory_id)))
			continue;
		/* The first replaces what stood at the new name; the rest stand beside it. */
		entries[count] = (struct planned_entry){ .directory = to_directory, .name = to_name,
			.what = from->what, .id = standing[i].id, .seen = count > 1 ? &none : NULL };
		count++;
	}
	return entries_append(txn, desk, entries, count);
}

/* Local facts follow the name. */
static int move_facts(struct store_txn *txn, struct slot *slot, struct folder *folder, const char *name)
{
	int err = fact_forget(txn, slot);
	if (err == 0 && slot->what == WHAT_VERSION)
		err = attributes_forget(txn, &slot->folder->id, slot->name);
	if (err < 0)
		return err;
	slot_rename(slot, folder, name);
	slot->attributes.ctime_ns = clock_time_ns(slot->desk->clock);
	if (slot->waiting || slot->queue_count > 0 || slot->draft.text)
		err = fact_put(txn, slot);
	if (err == 0 && slot->what == WHAT_VERSION)
		err = attributes_put(txn, &folder->id, name, &slot->attributes,
				     slot->published && slot->queue_count == 0 ? &slot->head : NULL);
	return err;
}

/* Of a new name that is renamed before it was signed only the last state counts. */
static void keep_last_save(struct slot *slot)
{
	if (slot->queue_count < 2)
		return;
	for (size_t i = 0; i + 1 < slot->queue_count; i++)
		save_finish(&slot->queue[i]);
	slot->queue[0] = slot->queue[slot->queue_count - 1];
	slot->queue_count = 1;
}

static int move_slot(struct slot *slot, struct folder *folder, const char *name)
{
	struct desk *desk = slot->desk;
	struct folder *old_folder = slot->folder;
	char old_name[NAME_SIZE_MAX + 1];
	struct store_txn *txn;
	bool fact = slot->fact;
	uint64_t cookie = slot->cookie;

	memcpy(old_name, slot->name, sizeof(old_name));
	int err = slot->published ? folder_publish(desk, &folder->id) : 0;
	if (err == 0)
		err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	slot->cookie = tree_cookie(desk->store);
	err = tree_set_cookie(txn, &desk->self, &folder->id, name, slot->cookie);
	if (err == 0 && slot->published)
		err = sign_move(txn, slot, &folder->id, name);
	if (err == 0)
		err = move_facts(txn, slot, folder, name);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0) {
		if (slot->folder != old_folder || strcmp(slot->name, old_name) != 0)
			slot_rename(slot, old_folder, old_name);
		slot->fact = fact;
		slot->cookie = cookie;
		return err;
	}
	if (!slot->published) {
		keep_last_save(slot);
		slot_wait(slot, clock_now_ms(desk->clock) + desk->options.window_ms);
	}
	folder_touch(desk, &old_folder->id);
	folder_touch(desk, &folder->id);
	return 0;
}

/* Takes away, at once, what a rename has moved into another document. */
static int remove_source(struct slot *slot)
{
	struct desk *desk = slot->desk;
	const struct planned_entry entry = { .directory = &slot->folder->id, .name = slot->name };
	struct store_txn *txn;
	bool fact = slot->fact;

	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	if (slot->published)
		err = entries_append(txn, desk, &entry, 1);
	if (err == 0)
		err = fact_forget(txn, slot);
	if (err == 0)
		err = attributes_forget(txn, &slot->folder->id, slot->name);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0) {
		slot->fact = fact;
		return err;
	}
	slot_clear(slot);
	slot_wait(slot, 0);
	folder_touch(desk, &slot->folder->id);
	return 0;
}

/* The open file of the source is from now on the target's. */
static void move_file(struct slot *from, struct slot *to)
{
	struct file *file = from->file;

	if (!file)
		return;
	file_detach(file);
	file->slot = to;
	to->refs++;
	to->file = file;
	body_unref(file->base);
	file->base = body_ref(to->text);
	file->base_mode = to->mode;
	file->version = to->queue_count == 0 ? to->head : (struct id){ { 0 } };
	file->dirty = file->written = file->flushed = file->whole = false;
}

static void free_target_file(struct slot *to)
{
	if (!to->file)
		return;
	to->file->dirty = false;
	file_detach(to->file);
}

/* S3: a rename onto a document is a save of that document. */
static int rename_over(struct slot *from, struct slot *to, uint32_t process)
{
	struct file *file = from->file;
	struct attributes before = to->attributes;
	int err = 0;

	if (file && file->dirty)
		err = file_flush(file); /* the lock is dropped: both slots are held */
	if (err == 0 && to->file && to->file->dirty && to->file->flushed)
		err = file_seal(to->file);
	if (err < 0)
		return err;
	if (!from->shown)
		return -ENOENT;
	struct body *body = file && file->dirty ? file->draft : file ? file->base : from->text;
	struct save save = { .text = body_ref(body), .mode = file ? file->mode : from->mode,
			     .time_ms = clock_time_ms(from->desk->clock) };
	if (!seen_get(from->desk, process, to, &save.parent) && to->published)
		save.parent = to->head;
	free_target_file(to);
	to->attributes = from->attributes;
	to->attributes.ctime_ns = clock_time_ns(from->desk->clock);
	bool same = to->text && to->mode == save.mode && to->text->content.size == save.text->content.size &&
		    id_equal(&to->text->content.digest, &save.text->content.digest);
	if (same) {
		to->shown = true;
		err = facts_keep(to);
	} else {
		err = slot_take_save(to, &save);
	}
	if (err == 0) {
		seen_note(from->desk, process, to, &to->head, &save.text->content.digest);
		folder_touch(from->desk, &to->folder->id);
		err = remove_source(from);
		if (err == 0)
			move_file(from, to);
	} else {
		to->attributes = before;
	}
	save_finish(&save);
	return err;
}

static int exchange(struct slot *a, struct slot *b)
{
	struct desk *desk = a->desk;
	const struct planned_entry entries[] = {
		{ .directory = &a->folder->id, .name = a->name, .what = b->what,
		  .id = b->what == WHAT_DIRECTORY ? b->directory_id : b->head },
		{ .directory = &b->folder->id, .name = b->name, .what = a->what,
		  .id = a->what == WHAT_DIRECTORY ? a->directory_id : a->head },
	};
	struct folder *folder = a->folder;
	char name[NAME_SIZE_MAX + 1];
	struct store_txn *txn;

	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	err = entries_append(txn, desk, entries, 2);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0)
		return err;
	memcpy(name, a->name, sizeof(name));
	uint64_t cookie = a->cookie;
	a->cookie = b->cookie;
	b->cookie = cookie;
	char other[NAME_SIZE_MAX + 1];
	struct folder *other_folder = b->folder;
	memcpy(other, b->name, sizeof(other));
	/* Through a name that no document can have, so that the two never share a key. */
	slot_rename(a, folder, "/");
	slot_rename(b, folder, name);
	slot_rename(a, other_folder, other);
	err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return 0; /* signed; only local attributes are of the other name */
	if (a->what == WHAT_VERSION)
		attributes_put(txn, &a->folder->id, a->name, &a->attributes, &a->head);
	if (b->what == WHAT_VERSION)
		attributes_put(txn, &b->folder->id, b->name, &b->attributes, &b->head);
	store_commit(txn);
	return 0;
}

static int rename_exchange(struct slot *from, struct slot *to)
{
	struct slot *both[] = { from, to };
	int err = 0;

	if (!to || !to->shown)
		return -ENOENT;
	for (int i = 0; err == 0 && i < 2; i++) {
		struct file *file = both[i]->file;
		if (file && file->dirty)
			err = file_seal(file);
		if (err == 0 && both[i]->waiting)
			err = slot_publish(both[i]);
	}
	return err < 0 ? err : exchange(from, to);
}

/* May a directory take this name? An empty one there gives way. */
static int make_way(struct desk *desk, struct desk_slot at, struct slot **to)
{
	struct slot *slot = *to;

	if (!slot)
		return 0;
	if (slot->shown) {
		/* Empty by the caller's check; its entries are replaced by the ones to come. */
		int err = slot->published ? 0 : remove_source(slot);
		if (err < 0)
			return err;
		slot->shown = false;
	} else if (slot->waiting) {
		int err = slot_publish(slot);
		if (err < 0)
			return err;
	}
	slot_wait(slot, 0);
	free_target_file(slot);
	slot_drop(slot);
	*to = NULL;
	slot = slot_find(desk, &at.directory, at.name);
	if (slot)
		return -EBUSY; /* an old file of that name is still open and unsaved */
	return 0;
}

static int check_target(struct desk *desk, const struct slot *from, const struct slot *to, unsigned flags)
{
	if (!to || !to->shown)
		return 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (from->what == WHAT_DIRECTORY && to->what != WHAT_DIRECTORY)
		return -ENOTDIR;
	if (from->what != WHAT_DIRECTORY && to->what == WHAT_DIRECTORY)
		return -EISDIR;
	return 0;
}

static int rename_held(struct desk *desk, struct slot *from, struct slot **to, struct desk_slot at,
		       unsigned flags, uint32_t process)
{
	if (!from->shown)
		return -ENOENT;
	if (flags & RENAME_EXCHANGE)
		return rename_exchange(from, *to);
	int err = check_target(desk, from, *to, flags);
	if (err < 0)
		return err;
	struct slot *target = *to;
	bool chain = target && target->what == WHAT_VERSION &&
		     (target->shown || (target->waiting && !from->published));
	if (from->what == WHAT_VERSION && chain)
		return rename_over(from, target, process);
	struct folder *folder = folder_get(desk, &at.directory);
	if (!folder)
		return -ENOMEM;
	err = make_way(desk, at, to);
	return err < 0 ? err : move_slot(from, folder, at.name);
}

int desk_rename(struct desk *desk, struct desk_slot from, struct desk_slot to, unsigned flags, uint32_t process)
{
	struct slot *source, *target = NULL;

	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (strlen(to.name) > NAME_SIZE_MAX)
		return -ENAMETOOLONG;
	if (!utf8_valid_name(to.name, strlen(to.name)))
		return -EINVAL;
	desk_lock(desk);
	int err = slot_get(desk, from, &source);
	if (err == 0) {
		slot_hold(source);
		err = slot_get(desk, to, &target);
		if (err == 0)
			slot_hold(target);
		if (err == -ENOENT)
			err = 0;
		if (err == 0 && source != target)
			err = rename_held(desk, source, &target, to, flags, process);
		slot_drop(target);
		slot_drop(source);
	}
	desk_unlock(desk);
	return err;
}
