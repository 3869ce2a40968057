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
	const struct thing thing = { &from->folder->id, from->name, from->what, &from->directory_id };
	struct planned_entry entries[1 + MOVED_MAX];
	struct replaced seen[SEEN_MAX];
	static const struct replaced none;
	size_t count = 0;

	int seen_count = standing_of(txn, desk, &thing, seen);
	if (seen_count < 0)
		return seen_count;
	int heads = tree_standing(txn, &desk->self, &from->folder->id, from->name, standing, MOVED_MAX);
	if (heads < 0)
		return heads;
	entries[count++] = (struct planned_entry){ .directory = &from->folder->id, .name = from->name,
		.seen = seen, .seen_count = (size_t)seen_count, .of_version = from->what == WHAT_VERSION };
	/* Of the entries of one record the last is the newest: the head stays the head. */
	for (int i = (heads < MOVED_MAX ? heads : MOVED_MAX) - 1; i >= 0; i--) {
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

/* The fact as it will be then. */
static int put_last_save(struct store_txn *txn, struct slot *slot)
{
	struct save *queue = slot->queue;
	size_t count = slot->queue_count;

	if (count > 1) {
		slot->queue += count - 1;
		slot->queue_count = 1;
		/* Edited since it was copied, it still descends from there. */
		if (id_is_zero(&slot->queue->parent))
			slot->queue->parent = queue->fork_of;
	}
	int err = fact_put(txn, slot);
	slot->queue = queue;
	slot->queue_count = count;
	return err;
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
	err = slot->published ? fact_put(txn, slot) : put_last_save(txn, slot);
	if (err == 0 && slot->what == WHAT_VERSION)
		err = attributes_put(txn, &folder->id, name, &slot->attributes,
				     slot->published && slot->queue_count == 0 ? &slot->head : NULL);
	return err;
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
		slot->cookie = cookie; /* before it is linked by it */
		if (slot->folder != old_folder || strcmp(slot->name, old_name) != 0)
			slot_rename(slot, old_folder, old_name);
		slot->fact = fact;
		return err;
	}
	if (!slot->published && slot->waiting) {
		keep_last_save(slot);
		slot_wait(slot, clock_now_ms(desk->clock) + desk->options.window_ms);
	}
	folder_touch(desk, &old_folder->id);
	folder_touch(desk, &folder->id);
	return 0;
}

/* Takes away, at once, what a rename has moved into another document. */
static int sign_gone(struct store_txn *txn, struct slot *slot)
{
	const struct thing thing = { &slot->folder->id, slot->name, slot->what, &slot->directory_id };
	struct replaced seen[SEEN_MAX];

	int count = standing_of(txn, slot->desk, &thing, seen);
	if (count < 0)
		return count;
	const struct planned_entry entry = { .directory = &slot->folder->id, .name = slot->name,
					     .seen = seen, .seen_count = (size_t)count,
					     .of_version = slot->what == WHAT_VERSION };
	int err = slot->published ? entries_append(txn, slot->desk, &entry, 1) : 0;
	if (err == 0)
		err = fact_forget(txn, slot);
	return err == 0 ? attributes_forget(txn, &slot->folder->id, slot->name) : err;
}

static void gone(struct slot *slot)
{
	slot_clear(slot);
	slot_wait(slot, 0);
	folder_touch(slot->desk, &slot->folder->id);
}

static int remove_source(struct slot *slot)
{
	struct store_txn *txn;
	bool fact = slot->fact;

	int err = store_begin(slot->desk->store, true, &txn);
	if (err < 0)
		return err;
	err = sign_gone(txn, slot);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0)
		slot->fact = fact;
	else
		gone(slot);
	return err;
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
	file->version = slot_version(to);
	file->dirty = file->written = file->flushed = file->whole = false;
	file->seals++;
}

/* The bytes that show there already: no version, but the name is back if it was leaving. */
static int keep_shown(struct store_txn *txn, struct slot *slot)
{
	slot->shown = true;
	int err = fact_put(txn, slot);
	return err == 0 ? attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes,
					 slot->published && slot->queue_count == 0 ? &slot->head : NULL) : err;
}

/* The save of the target and the end of the source, in one transaction. */
static int save_over(struct slot *from, struct slot *to, const struct save *save)
{
	struct save draft = to->draft; /* of a file that loses the name */
	bool same = slot_has_text(to, save), shown = to->shown, to_fact = to->fact, fact = from->fact;
	struct taking taking;
	struct store_txn *txn;

	int err = store_begin(from->desk->store, true, &txn);
	if (err < 0)
		return err;
	memset(&to->draft, 0, sizeof(to->draft));
	err = same ? keep_shown(txn, to) : slot_take_begin(txn, to, save, slot_is_chain(to), &taking);
	if (err == 0)
		err = sign_gone(txn, from);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (!same)
		slot_take_end(to, save, &taking, err);
	if (err < 0) {
		to->draft = draft;
		to->shown = shown;
		to->fact = to_fact;
		from->fact = fact;
		return err;
	}
	to->draft_of = NULL;
	save_finish(&draft);
	return 0;
}

/* S3: a rename onto a document is a save of that document. */
static int rename_over(struct slot *from, struct slot *to, uint32_t process)
{
	struct file *file = from->file;
	struct attributes before = to->attributes;
	struct saver saver;
	int err = 0;

	if (file && file->dirty)
		err = file_flush(file); /* the lock is dropped: both slots are held */
	if (err == 0 && to->draft_of && to->draft_of->dirty && to->draft_of->flushed)
		err = file_seal(to->draft_of);
	/* What waits on a published chain (drafts of before a crash) was closed: it is a version first. */
	while (err == 0 && from->published && from->queue_count > 0)
		err = slot_publish(from);
	if (err < 0)
		return err;
	if (slot_is_aside(to))
		return -ESTALE;
	if (!from->shown)
		return -ENOENT;
	file = from->file;
	struct body *body = file && file->dirty ? file->draft : file ? file->base : from->text;
	if (!body)
		return -ENOENT;
	struct save save = { .text = body_ref(body), .mode = file ? file->mode : from->mode,
			     .time_ms = clock_time_ms(from->desk->clock) };
	if (!seen_get(from->desk, process, to, &save.parent))
		save.parent = slot_version(to);
	to->attributes = from->attributes;
	to->attributes.ctime_ns = clock_time_ns(from->desk->clock);
	err = save_over(from, to, &save);
	if (err == -EMSGSIZE && to->shown && to->queue_count > 0) {
		err = slot_publish(to);
		if (err == 0)
			err = save_over(from, to, &save);
	}
	if (err == 0) {
		slot_abandon_replaced(to, &before);
		saver_find(from->desk, process, to, &saver);
		seen_note_save(from->desk, &saver, to);
		folder_touch(from->desk, &to->folder->id);
		move_file(from, to);
		slot_abandon_files(from);
		gone(from);
	} else {
		to->attributes = before;
	}
	save_finish(&save);
	return err;
}

static int sign_exchange(struct store_txn *txn, const struct slot *a, const struct slot *b)
{
	const struct planned_entry entries[] = {
		{ .directory = &a->folder->id, .name = a->name, .what = b->what,
		  .id = b->what == WHAT_DIRECTORY ? b->directory_id : b->head },
		{ .directory = &b->folder->id, .name = b->name, .what = a->what,
		  .id = a->what == WHAT_DIRECTORY ? a->directory_id : a->head },
	};

	int err = entries_append(txn, a->desk, entries, 2);
	if (err == 0)
		err = b->what == WHAT_VERSION ? attributes_put(txn, &a->folder->id, a->name, &b->attributes, &b->head)
					      : attributes_forget(txn, &a->folder->id, a->name);
	if (err == 0)
		err = a->what == WHAT_VERSION ? attributes_put(txn, &b->folder->id, b->name, &a->attributes, &a->head)
					      : attributes_forget(txn, &b->folder->id, b->name);
	return err;
}

static int exchange(struct slot *a, struct slot *b)
{
	struct folder *folder = a->folder, *other_folder = b->folder;
	char name[NAME_SIZE_MAX + 1], other[NAME_SIZE_MAX + 1];
	struct store_txn *txn;

	int err = store_begin(a->desk->store, true, &txn);
	if (err < 0)
		return err;
	err = sign_exchange(txn, a, b);
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err < 0)
		return err;
	memcpy(name, a->name, sizeof(name));
	memcpy(other, b->name, sizeof(other));
	uint64_t cookie = a->cookie;
	a->cookie = b->cookie;
	b->cookie = cookie;
	/* Through a name that no document can have, so that the two never share a key. */
	slot_rename(a, folder, "/");
	slot_rename(b, folder, name);
	slot_rename(a, other_folder, other);
	folder_touch(a->desk, &folder->id);
	folder_touch(a->desk, &other_folder->id);
	return 0;
}

/* What is open or waits there is signed first. */
static int settle_for_exchange(struct slot *slot)
{
	int err = 0;

	if (slot->file && slot->file->dirty)
		err = file_seal(slot->file);
	if (err == 0 && slot->draft_of && slot->draft_of->flushed)
		err = file_seal(slot->draft_of);
	while (err == 0 && slot->waiting)
		err = slot_publish(slot);
	return err;
}

static int rename_exchange(struct slot *from, struct slot *to)
{
	if (!to || !to->shown)
		return -ENOENT;
	int err = settle_for_exchange(from);
	if (err == 0)
		err = settle_for_exchange(to);
	if (err < 0)
		return err;
	/* The lock was dropped meanwhile: another may have taken one away, or saved again. */
	if (!from->shown || !to->shown)
		return slot_is_aside(to) ? -ESTALE : -ENOENT;
	return from->published && to->published ? exchange(from, to) : -EBUSY;
}

/* Others hold it while they wait for the lock: they find nothing there, under a name that no document can have. */
static void set_aside(struct slot *slot)
{
	char name[NAME_SIZE_MAX + 1];

	snprintf(name, sizeof(name), "/%p", (void *)slot);
	slot_clear(slot);
	slot_rename(slot, slot->folder, name);
}

/* May a directory take this name? An empty one there gives way. */
static int make_way(struct desk *desk, const struct slot *from, struct desk_slot at, struct slot **to)
{
	struct slot *slot = *to;

	if (!slot)
		return 0;
	int err = slot->shown ? folder_publish_removals(desk, &slot->directory_id) : 0;
	if (err < 0)
		return err;
	if (slot->shown && !(slot->published && from->published))
		err = remove_source(slot);
	else if (slot->waiting)
		err = slot_publish(slot);
	if (err < 0)
		return err;
	slot->shown = false; /* a directory, empty: its entries are replaced by the ones to come */
	slot_wait(slot, 0);
	slot_abandon_files(slot);
	slot_drop(slot);
	*to = NULL;
	slot = slot_find(desk, &at.directory, at.name);
	if (slot)
		set_aside(slot);
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
	int empty = to->what == WHAT_DIRECTORY ? folder_is_empty(desk, &to->directory_id) : 1;
	return empty < 0 ? empty : empty ? 0 : -ENOTEMPTY;
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
	err = make_way(desk, from, at, to);
	return err < 0 ? err : move_slot(from, folder, at.name);
}

/* -ESTALE: a name was given to another while the lock was dropped. */
static int rename_once(struct desk *desk, struct desk_slot from, struct desk_slot to, unsigned flags, uint32_t process)
{
	struct slot *source, *target = NULL;

	int err = slot_get(desk, from, &source);
	if (err == ALIAS)
		return flags & RENAME_EXCHANGE ? -EBUSY : alias_rename(desk, from, to);
	if (err < 0)
		return err;
	slot_hold(source);
	err = slot_get(desk, to, &target);
	if (err == 0)
		slot_hold(target);
	if (err == -ENOENT)
		err = 0;
	if (err == ALIAS)
		err = flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (err == 0)
		err = slot_part(source);
	if (err == 0 && target)
		err = slot_part(target);
	if (err == 0 && source == target)
		err = source->shown ? 0 : -ENOENT;
	else if (err == 0)
		err = rename_held(desk, source, &target, to, flags, process);
	slot_drop(target);
	slot_drop(source);
	return err;
}

int desk_rename(struct desk *desk, struct desk_slot from, struct desk_slot to, unsigned flags, uint32_t process)
{
	int err;

	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (strlen(to.name) > NAME_SIZE_MAX)
		return -ENAMETOOLONG;
	if (!utf8_valid_name(to.name, strlen(to.name)))
		return -EINVAL;
	desk_lock(desk);
	do {
		err = rename_once(desk, from, to, flags, process);
	} while (err == -ESTALE || (err == STORE_HELD && desk_wait_hold(desk)));
	desk_unlock(desk);
	return err;
}
