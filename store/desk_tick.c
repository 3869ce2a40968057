/* desk_tick.c - heads set by hand, and what is due. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

#define TICK_MS_MAX 1000
#define IDLE_MS (60 * 1000)      /* nothing was written for so long: there is time to tidy up */
#define GC_MS (60 * 60 * 1000)   /* and it is done so often at most */
#define RETRY_MS 1000 /* after a failure: a full disk may have room again */

/* ---- heads ---- */

/* The slot shows another head now; what is open there saves beside it. */
static int show_head(struct desk *desk, struct desk_slot at, const struct id *version)
{
	struct store_txn *txn;
	struct slot *slot = slot_find(desk, &at.directory, at.name);
	int err = 0;

	if (slot) {
		slot->file = NULL;
		slot->shown = slot->published = true;
		slot->what = WHAT_VERSION;
		slot_clear_seen(slot);
		err = store_begin(desk->store, false, &txn);
		if (err == 0) {
			err = slot_reload(slot, txn, version);
			store_abort(txn);
		}
		slot_wait(slot, 0);
		slot_settle(slot);
	}
	struct changed *changed = desk->options.changed ? calloc(1, sizeof(*changed)) : NULL;
	if (changed) {
		changed->directory = at.directory;
		memcpy(changed->name, at.name, strlen(at.name));
		LL_PREPEND(desk->changed, changed);
	}
	return err;
}

/* What waits at the slot is signed first, so that nothing is lost under the new head. */
static int sign_waiting(struct desk *desk, struct desk_slot at)
{
	struct slot *slot = slot_find(desk, &at.directory, at.name);
	int err = folder_publish(desk, &at.directory);

	if (err == 0 && slot && slot->file && slot->file->dirty && slot->file->flushed)
		err = file_seal(slot->file);
	while (err == 0 && (slot = slot_find(desk, &at.directory, at.name)) && slot->waiting)
		err = slot_publish(slot);
	return err;
}

/* 0 if the directory is there to put something in; -ENOENT. */
static int folder_shows(struct desk *desk, const struct id *directory)
{
	char name[SHOWN_NAME_MAX + 1];
	const struct slot *slot;
	struct store_txn *txn;
	struct id parent;

	if (id_equal(directory, &desk->self))
		return 0;
	slot = directory_waiting(desk, directory);
	if (slot)
		return slot->shown ? 0 : -ENOENT;
	int err = store_begin(desk->store, false, &txn);
	if (err < 0)
		return err;
	err = tree_directory_path(txn, &desk->self, directory, &parent, name);
	store_abort(txn);
	return err;
}

int desk_set_head(struct desk *desk, struct desk_slot at, const struct id *version)
{
	const struct planned_entry entry = { .directory = &at.directory, .name = at.name,
					     .what = WHAT_VERSION, .id = *version };
	struct store_txn *txn;

	if (strlen(at.name) > NAME_SIZE_MAX)
		return -ENAMETOOLONG;
	desk_lock(desk);
	if (desk_is_held(desk))
		desk_wait_hold(desk);
	int err = folder_shows(desk, &at.directory);
	if (err == 0)
		err = sign_waiting(desk, at);
	if (err == 0)
		err = store_begin(desk->store, true, &txn);
	if (err == 0) {
		err = entries_append(txn, desk, &entry, 1);
		if (err == 0)
			err = store_commit(txn);
		else
			store_abort(txn);
	}
	if (err == 0)
		err = show_head(desk, at, version);
	desk_unlock(desk);
	return err;
}

/* Signs the merge in one transaction with its pieces. */
static int sign_merge(struct slot *slot, struct store_batch *batch, struct body *body,
		      const struct id *parents, size_t parent_count, struct id *out_version)
{
	struct version_row row;
	struct store_txn *txn;

	int err = store_begin(slot->desk->store, true, &txn);
	if (err < 0)
		return err;
	err = document_version_row(txn, &parents[0], &row);
	if (err == 0)
		err = store_batch_finish(batch, txn);
	if (err == 0)
		err = version_append(txn, slot, body, row.mode, &row.document, parents, parent_count, out_version);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

int desk_merge(struct desk *desk, struct desk_slot at, const struct id *parents, size_t parent_count,
	       const void *text, size_t size)
{
	struct span source = { text, size };
	struct body *body = NULL;
	struct slot *slot = NULL;
	struct id version;

	if (parent_count == 0 || parent_count > PARENTS_MAX)
		return -EINVAL;
	struct store_batch *batch = store_batch_new(desk->store);
	desk_lock(desk);
	if (desk_is_held(desk))
		desk_wait_hold(desk);
	int err = batch ? body_write(desk, batch, span_source, &source, size, &body) : -ENOMEM;
	if (err == 0)
		err = folder_shows(desk, &at.directory);
	if (err == 0)
		err = sign_waiting(desk, at);
	if (err == 0)
		err = slot_make(desk, at, &slot);
	if (err == 0) {
		slot_hold(slot);
		err = sign_merge(slot, batch, body, parents, parent_count, &version);
		if (err == 0)
			err = show_head(desk, at, &version);
		slot_drop(slot);
	}
	body_unref(body);
	desk_unlock(desk);
	store_batch_free(batch);
	return err;
}

/* ---- upkeep ---- */

/* Handles left open are sealed some time after their last write. */
static uint64_t seal_idle(struct desk *desk, uint64_t now_ms)
{
	struct file *file, *next;
	uint64_t next_ms = UINT64_MAX;

	DL_FOREACH_SAFE(desk->files, file, next) {
		bool open = file->handles > 0;
		if (!file->dirty || !file->slot || file->busy || (open && !file->written))
			continue;
		uint64_t due_ms = file->last_write_ms + (open ? desk->options.window_ms : RETRY_MS);
		if (due_ms > now_ms) {
			next_ms = due_ms < next_ms ? due_ms : next_ms;
			continue;
		}
		file_hold(file);
		if (file_seal(file) < 0)
			file->last_write_ms = now_ms;
		file_drop(file);
		return now_ms; /* the lock was dropped: begin again */
	}
	return next_ms;
}

static bool must_stay(struct desk *desk, const struct slot *slot)
{
	return !slot->shown && slot->published && desk->options.busy &&
	       desk->options.busy(desk->options.context, &slot->folder->id, slot->name);
}

/* Signs some of what is due up to a time. How many slots it looked at, or an error. */
static int publish_due(struct desk *desk, uint64_t now_ms, uint64_t due_ms)
{
	struct slot *slots[PUBLISH_MAX];
	size_t count = 0, saves = 0, seen = 0;
	struct slot *slot, *next;

	for (slot = desk->due; slot && slot->due_ms <= due_ms && count < PUBLISH_MAX; slot = next, seen++) {
		next = slot->due_next;
		if (must_stay(desk, slot)) {
			slot_wait(slot, now_ms + desk->options.window_ms);
			continue;
		}
		if (count > 0 && saves + slot->queue_count > PUBLISH_SAVES_MAX)
			break;
		saves += slot->queue_count;
		slots[count++] = slot;
	}
	for (size_t i = 0; i < count; i++)
		slot_hold(slots[i]);
	int err = count ? slots_publish(desk, slots, count) : 0;
	/* One that cannot be signed must not keep the others waiting. */
	int failed = err;
	for (size_t i = 0; failed < 0 && i < count; i++) {
		int alone = count > 1 ? slot_publish(slots[i]) : failed;
		if (alone < 0)
			slot_wait(slots[i], now_ms + RETRY_MS);
		err = i == 0 || alone < 0 ? alone : err;
	}
	for (size_t i = 0; i < count; i++)
		slot_drop(slots[i]);
	return err < 0 ? err : (int)seen;
}

static uint64_t next_due(const struct desk *desk)
{
	return desk->due ? desk->due->due_ms : UINT64_MAX;
}

/* Idle time is there for rewriting segments with more than half dead bytes. */
static bool is_idle(struct desk *desk, uint64_t now_ms)
{
	struct journal_stats stats;

	journal_stats(store_journal(desk->store), &stats);
	if (stats.entries_appended != desk->appended) {
		desk->appended = stats.entries_appended;
		desk->appended_ms = now_ms;
	}
	if (now_ms - desk->appended_ms < IDLE_MS || now_ms - desk->gc_ms < GC_MS)
		return false;
	desk->gc_ms = now_ms;
	return true;
}

uint64_t desk_tick(struct desk *desk)
{
	struct gc_report report;
	uint64_t now_ms = clock_now_ms(desk->clock), next_ms, held_ms;

	desk_lock(desk);
	for (int i = 0; (next_ms = seal_idle(desk, now_ms)) <= now_ms && i < 64; i++)
		;
	bool held = desk_is_held(desk);
	for (int i = 0; !held && next_due(desk) <= now_ms && i < 64; i++)
		publish_due(desk, now_ms, now_ms);
	if (!held && next_due(desk) < next_ms)
		next_ms = next_due(desk);
	bool sync = now_ms - desk->synced_ms >= JOURNAL_SYNC_MS;
	if (sync) {
		desk->synced_ms = now_ms;
		folders_keep(desk);
	}
	bool idle = is_idle(desk, now_ms);
	uint64_t wait_ms = next_ms <= now_ms ? 0 : next_ms - now_ms < TICK_MS_MAX ? next_ms - now_ms : TICK_MS_MAX;
	desk->tick_ms = now_ms + wait_ms;
	desk_unlock(desk);

	store_tick(desk->store, &held_ms);
	if (sync && !journal_is_synced(store_journal(desk->store)))
		journal_sync(store_journal(desk->store));
	if (idle)
		store_gc(desk->store, false, &report);
	return wait_ms;
}

int desk_publish_all(struct desk *desk)
{
	struct file *file, *next;
	int err = 0, sealed;

	desk_lock(desk);
	if (desk_is_held(desk))
		desk_wait_hold(desk);
	uint64_t now_ms = clock_now_ms(desk->clock);
	DL_FOREACH_SAFE(desk->files, file, next)
		if (file->dirty && file->slot && file->flushed && !file->busy) {
			sealed = file_seal(file);
			err = err == 0 ? sealed : err;
		}
	size_t left = 0;
	for (const struct slot *slot = desk->due; slot; slot = slot->due_next)
		left++;
	/* What must stay is due again at the end of the list; of a long queue the rest is due at once. */
	while (err == 0 && (left > 0 || next_due(desk) <= now_ms)) {
		int seen = publish_due(desk, now_ms, UINT64_MAX);
		err = seen < 0 ? seen : 0;
		left -= left < (size_t)seen ? left : (size_t)seen;
		if (seen == 0)
			break;
	}
	desk_unlock(desk);
	return err;
}
