/* desk_folder.c - directories as the desk knows them: those that wait, when they changed, how many are in one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"
#include "person.h"

/* ---- those that wait ---- */

static struct slot **list_of(struct desk *desk, const struct id *directory)
{
	uint16_t hash;

	memcpy(&hash, directory->bytes, sizeof(hash)); /* an id is a hash already */
	return &desk->directories[hash % DIRECTORY_LISTS];
}

void slot_wait_as_directory(struct slot *slot)
{
	struct desk *desk = slot->desk;

	if (slot->directories)
		DL_DELETE2(*slot->directories, slot, directory_prev, directory_next);
	if (slot->directories || slot->what == WHAT_DIRECTORY)
		desk->directories_changed++;
	slot->directories = slot->waiting && slot->what == WHAT_DIRECTORY ? list_of(desk, &slot->directory_id) : NULL;
	if (slot->directories)
		DL_APPEND2(*slot->directories, slot, directory_prev, directory_next);
}

struct slot *directory_waiting(struct desk *desk, const struct id *directory)
{
	struct slot **list = list_of(desk, directory), *slot;

	DL_FOREACH2(*list, slot, directory_next)
		if (slot->what == WHAT_DIRECTORY && id_equal(&slot->directory_id, directory))
			return slot;
	return NULL;
}

/* ---- those of which nothing is published ---- */

void slot_note_fresh(struct slot *slot)
{
	struct folder *folder = slot->folder;

	if (slot->published || slot->is_fresh || !folder)
		return;
	/* Nearly always the greatest: walk from the end. */
	struct slot *after = folder->fresh ? folder->fresh->fresh_prev : NULL;
	while (after && after->cookie > slot->cookie)
		after = after == folder->fresh ? NULL : after->fresh_prev;
	if (after)
		DL_APPEND_ELEM2(folder->fresh, after, slot, fresh_prev, fresh_next);
	else
		DL_PREPEND2(folder->fresh, slot, fresh_prev, fresh_next);
	slot->is_fresh = true;
}

void slot_forget_fresh(struct slot *slot)
{
	struct folder *folder = slot->folder;

	if (!slot->is_fresh)
		return;
	if (folder->listed == slot)
		folder->listed = slot->fresh_next;
	DL_DELETE2(folder->fresh, slot, fresh_prev, fresh_next);
	slot->is_fresh = false;
}

struct slot *fresh_after(const struct folder *folder, uint64_t cookie)
{
	/* A listing goes on near where one stopped. */
	struct slot *slot = folder->listed && cookie > 0 ? folder->listed : folder->fresh;

	while (slot != folder->fresh && slot->cookie > cookie)
		slot = slot->fresh_prev;
	while (slot && slot->cookie <= cookie)
		slot = slot->fresh_next;
	return slot;
}

/* ---- folders ---- */

struct folder *folder_get(struct desk *desk, const struct id *id)
{
	struct folder *folder;

	HASH_FIND(hh, desk->folders, id, sizeof(*id), folder);
	if (folder)
		return folder;
	folder = calloc(1, sizeof(*folder));
	if (folder) {
		folder->id = *id;
		HASH_ADD(hh, desk->folders, id, sizeof(folder->id), folder);
		if (!folder->hh.tbl) {
			free(folder);
			folder = NULL;
		}
	}
	return folder;
}

void folder_touch(struct desk *desk, const struct id *id)
{
	struct folder *folder = folder_get(desk, id);

	if (!folder)
		return;
	folder->time_ns = clock_time_ns(desk->clock);
	folder->touched = true;
}

int desk_directory(struct desk *desk, const struct id *person, const struct id *directory, struct attributes *out)
{
	struct store_txn *txn;
	struct folder *folder;
	struct slot *slot;

	desk_lock(desk);
	slot = directory_waiting(desk, directory);
	int err = 0;
	if (slot) {
		*out = slot->attributes;
	} else {
		err = store_begin(desk->store, false, &txn);
		if (err == 0) {
			/* Nothing tells when a folder of a person changed last: their newest record is no older. */
			uint64_t newest_ms = 0;
			person_newest_ms(txn, person, &newest_ms);
			err = attributes_get(desk, txn, directory, "", NULL, newest_ms, MODE_FILE, out);
			store_abort(txn);
		}
	}
	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (err == 0 && folder && folder->time_ns)
		out->mtime_ns = out->ctime_ns = folder->time_ns;
	desk_unlock(desk);
	return err;
}

/* ---- how many directories are in one ---- */

#define MANY_MS 1000 /* that there are too many to count is true for so long at least */

struct counting {
	struct desk *desk;
	bool own;
	size_t entries_max, entries, directories;
};

/* What is hidden is passed by too: it counts as an entry, or many of these would take long. */
static int count_item(void *context, const struct tree_item *item)
{
	struct counting *counting = context;
	const struct slot *slot = counting->own ? slot_find(counting->desk, &item->directory, item->slot_name) : NULL;
	bool gone = slot && slot_is(slot, item) && (!slot->shown || !slot->published);

	counting->directories += item->what == WHAT_DIRECTORY && !gone;
	return ++counting->entries > counting->entries_max ? -E2BIG : 0;
}

static int count_fresh(struct counting *counting, const struct folder *folder)
{
	const struct slot *slot;

	DL_FOREACH2(folder->fresh, slot, fresh_next) {
		counting->directories += slot->shown && !slot->published && slot->what == WHAT_DIRECTORY;
		if (++counting->entries > counting->entries_max)
			return -E2BIG;
	}
	return 0;
}

/* Every new file makes the kernel ask for its directory anew: those that change here are counted once. */
static bool is_counted(const struct desk *desk, const struct folder *folder)
{
	if (!folder || !folder->counted)
		return false;
	return folder->counted_at == desk->directories_changed ||
	       (folder->count < 0 && clock_now_ms(desk->clock) - folder->counted_ms < MANY_MS);
}

int desk_count_directories(struct desk *desk, const struct id *person, const struct id *directory, size_t entries_max)
{
	struct counting counting = { .desk = desk, .own = id_equal(person, &desk->self), .entries_max = entries_max };
	struct store_txn *txn = NULL;
	struct folder *folder;
	int err = 0;

	desk_lock(desk);
	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (is_counted(desk, folder)) {
		const int known = folder->count;
		desk_unlock(desk);
		return known;
	}
	if (counting.own && folder)
		err = count_fresh(&counting, folder);
	if (err == 0)
		err = store_begin(desk->store, false, &txn);
	if (err == 0)
		err = tree_each(txn, person, directory, 0, count_item, &counting);
	store_abort(txn);
	const int count = err < 0 ? err : (int)counting.directories;
	if (folder) {
		folder->counted = count >= 0 || count == -E2BIG;
		folder->counted_at = desk->directories_changed;
		folder->counted_ms = clock_now_ms(desk->clock);
		folder->count = count;
	}
	desk_unlock(desk);
	return count;
}
