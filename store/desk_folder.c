/* desk_folder.c - directories as the desk knows them: those that wait, when they changed, how many are in one. */
#include <errno.h>
#include <stdlib.h>

#include "desk_private.h"
#include "person.h"

/* ---- those that wait ---- */

void slot_wait_as_directory(struct slot *slot)
{
	struct desk *desk = slot->desk;

	if (slot->waits_as_directory)
		DL_DELETE2(desk->directories, slot, directory_prev, directory_next);
	if (slot->waits_as_directory || slot->what == WHAT_DIRECTORY)
		desk->directories_changed++;
	slot->waits_as_directory = slot->waiting && slot->what == WHAT_DIRECTORY;
	if (slot->waits_as_directory)
		DL_APPEND2(desk->directories, slot, directory_prev, directory_next);
}

struct slot *directory_waiting(struct desk *desk, const struct id *directory)
{
	struct slot *slot;

	DL_FOREACH2(desk->directories, slot, directory_next)
		if (slot->what == WHAT_DIRECTORY && id_equal(&slot->directory_id, directory))
			return slot;
	return NULL;
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

struct counting {
	size_t entries_max, entries, directories;
};

static uint64_t knows_enough(void *context, const struct tree_item *item)
{
	return 1;
}

static int count_item(void *context, const struct desk_item *item)
{
	struct counting *counting = context;

	counting->directories += item->what == WHAT_DIRECTORY;
	return ++counting->entries > counting->entries_max ? -E2BIG : 0;
}

int desk_count_directories(struct desk *desk, const struct id *person, const struct id *directory, size_t entries_max)
{
	struct counting counting = { .entries_max = entries_max };
	struct folder *folder;

	/* Every new file makes the kernel ask for its directory anew: those that change here are counted once. */
	desk_lock(desk);
	const uint64_t changed = desk->directories_changed;
	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	const bool counted = folder && folder->counted && folder->counted_at == changed;
	const int known = counted ? folder->count : 0;
	desk_unlock(desk);
	if (counted)
		return known;

	int err = desk_each_new(desk, person, directory, 0, knows_enough, count_item, &counting);
	const int count = err < 0 ? err : (int)counting.directories;
	desk_lock(desk);
	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (folder && desk->directories_changed == changed) {
		folder->counted = true;
		folder->counted_at = changed;
		folder->count = count;
	}
	desk_unlock(desk);
	return count;
}
