/*
 * desk_alias.c - things that show under another name than their entries' (clashes, rings, orphans).
 *
 * They can be read, renamed and removed, each alone: what else stands at the
 * same slot stays.  Renamed to a name of their own they are as any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

int standing_of(struct store_txn *txn, struct desk *desk, const struct thing *thing, struct replaced *out)
{
	struct standing standing[SEEN_MAX];
	int count = 0;

	int found = tree_standing(txn, &desk->self, thing->directory, thing->name, standing, SEEN_MAX);
	if (found < 0)
		return found;
	for (int i = 0; i < found && i < SEEN_MAX; i++) {
		bool its = standing[i].what == thing->what &&
			   (thing->what != WHAT_DIRECTORY || id_equal(&standing[i].id, thing->id));
		if (its || standing[i].what == WHAT_NOTHING)
			out[count++] = (struct replaced){ standing[i].record_id, standing[i].index };
	}
	return count;
}

static int find_alias(struct desk *desk, struct store_txn *txn, struct desk_slot at, struct tree_item *out)
{
	int err = tree_lookup(txn, &desk->self, &at.directory, at.name, out);

	return err == 0 && !is_alias(out, at) ? -ENOENT : err;
}

int alias_open(struct desk *desk, struct desk_slot at, int flags, uint32_t process, struct handle **out)
{
	struct version *v = malloc(sizeof(*v));
	struct tree_item item;
	struct store_txn *txn;

	int err = v ? store_begin(desk->store, false, &txn) : -ENOMEM;
	if (err == 0) {
		err = find_alias(desk, txn, at, &item);
		if (err == 0 && item.what == WHAT_DIRECTORY)
			err = -EISDIR;
		if (err == 0)
			err = (flags & O_ACCMODE) == O_RDONLY ? document_version(txn, &item.id, v) : -EROFS;
		store_abort(txn);
	}
	struct file *file = err == 0 ? file_of_version(desk, v) : NULL;
	*out = file ? handle_new(file, flags, process) : NULL;
	if (err == 0 && !*out)
		err = -ENOMEM;
	if (err < 0 && file)
		file_free(file);
	free(v);
	return err;
}

int alias_remove(struct desk *desk, struct desk_slot at, enum what what)
{
	struct replaced seen[SEEN_MAX];
	struct tree_item item;
	struct store_txn *txn;

	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	err = find_alias(desk, txn, at, &item);
	if (err == 0 && item.what != what)
		err = what == WHAT_DIRECTORY ? -ENOTDIR : -EISDIR;
	if (err == 0 && what == WHAT_DIRECTORY) {
		int empty = folder_is_empty(desk, &item.id);
		err = empty < 0 ? empty : empty ? 0 : -ENOTEMPTY;
	}
	if (err == 0) {
		const struct thing thing = { &item.directory, item.slot_name, item.what, &item.id };
		int count = standing_of(txn, desk, &thing, seen);
		const struct planned_entry entry = { .directory = &item.directory, .name = item.slot_name,
						     .seen = seen, .seen_count = count > 0 ? (size_t)count : 0 };
		err = count < 0 ? count : entries_append(txn, desk, &entry, 1);
	}
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

int alias_rename(struct desk *desk, struct desk_slot from, struct desk_slot to)
{
	struct replaced seen[SEEN_MAX];
	struct tree_item item, there;
	struct store_txn *txn;

	const struct slot *target = slot_find(desk, &to.directory, to.name);
	if (target && (target->shown || target->waiting))
		return target->shown ? -EEXIST : -EBUSY;
	int err = folder_publish(desk, &to.directory);
	if (err == 0)
		err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	err = tree_lookup(txn, &desk->self, &to.directory, to.name, &there);
	err = err == -ENOENT ? find_alias(desk, txn, from, &item) : err == 0 ? -EEXIST : err;
	if (err == 0) {
		const struct thing thing = { &item.directory, item.slot_name, item.what, &item.id };
		int count = standing_of(txn, desk, &thing, seen);
		const struct planned_entry entries[] = {
			{ .directory = &item.directory, .name = item.slot_name, .seen = seen,
			  .seen_count = count > 0 ? (size_t)count : 0 },
			{ .directory = &to.directory, .name = to.name, .what = item.what, .id = item.id },
		};
		err = count < 0 ? count : entries_append(txn, desk, entries, 2);
	}
	if (err == 0)
		err = store_commit(txn);
	else
		store_abort(txn);
	if (err == 0) {
		folder_touch(desk, &from.directory);
		folder_touch(desk, &to.directory);
	}
	return err;
}
