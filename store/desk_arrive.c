/* desk_arrive.c - what came from elsewhere into the own folder; waiting with signing until it may have come. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

/* ---- arrivals ---- */

/* Its own state says more than the tree: that is signed first, and then stands beside what came. */
static bool has_own(const struct slot *slot)
{
	return slot->waiting || slot->queue_count > 0 || slot->draft.text || (slot->shown && !slot->published) ||
	       slot_is_aside(slot);
}

static bool shows_nothing(struct slot *slot)
{
	if (!slot->shown && !slot->published)
		return false;
	slot->file = NULL; /* what is open there goes on, and saves under this name again */
	slot_clear(slot);
	return true;
}

/* 1 if it shows another thing now. */
static int shows_item(struct slot *slot, struct store_txn *txn, const struct tree_item *item)
{
	if (slot->shown && slot_is(slot, item) && (item->what == WHAT_DIRECTORY || id_equal(&slot->head, &item->id)))
		return 0;
	slot->file = NULL;
	slot_forget_fresh(slot);
	slot_clear_seen(slot);
	slot_set_text(slot, NULL);
	memset(&slot->head, 0, sizeof(slot->head));
	memset(&slot->document, 0, sizeof(slot->document));
	memset(&slot->directory_id, 0, sizeof(slot->directory_id));
	int err = slot_fill(slot, txn, item);
	if (err < 0)
		slot_clear(slot);
	return err < 0 ? err : 1;
}

/* Makes a slot agree with the tree. 1: it shows another thing now. */
static int slot_follow(struct slot *slot, struct store_txn *txn)
{
	const struct desk_slot at = { slot->folder->id, slot->name };
	struct tree_item item;

	if (has_own(slot))
		return 0;
	int err = tree_lookup(txn, &slot->desk->self, &at.directory, at.name, &item);
	if (err == -ENOENT || (err == 0 && is_alias(&item, at)))
		return shows_nothing(slot);
	return err < 0 ? err : shows_item(slot, txn, &item);
}

static void tell_name(struct desk *desk, const struct id *directory, const char *name)
{
	struct changed *changed = desk->options.changed ? calloc(1, sizeof(*changed)) : NULL;

	if (!changed)
		return;
	changed->directory = *directory;
	memcpy(changed->name, name, strlen(name));
	LL_PREPEND(desk->changed, changed);
}

static int follow_one(struct desk *desk, struct store_txn *txn, const struct id *directory, const char *name)
{
	struct slot *slot = slot_find(desk, directory, name);

	/* What nothing is known of here the kernel may know. */
	int changed = slot ? slot_follow(slot, txn) : 1;
	if (changed > 0)
		tell_name(desk, directory, name);
	if (slot)
		slot_settle(slot);
	return changed < 0 ? changed : 0;
}

static int follow_all(struct desk *desk, struct store_txn *txn)
{
	struct slot *slot, *next;
	int err = 0;

	HASH_ITER(hh, desk->slots, slot, next) {
		int changed = slot_follow(slot, txn);
		err = changed < 0 ? changed : err;
		slot_settle(slot);
	}
	tell_name(desk, &desk->self, "");
	return err;
}

int desk_arrived(struct desk *desk, const struct id *person, const struct id *directory, const char *name)
{
	struct store_txn *txn;

	if (!id_is_zero(person) && !id_equal(person, &desk->self))
		return 0;
	if (strlen(name) > NAME_SIZE_MAX)
		return -ENAMETOOLONG;
	desk_lock(desk);
	int err = store_begin(desk->store, false, &txn);
	if (err == 0) {
		desk->directories_changed++;
		err = name[0] ? follow_one(desk, txn, directory, name) : follow_all(desk, txn);
		store_abort(txn);
	}
	desk_unlock(desk);
	return err;
}

/* ---- holding ---- */

void desk_hold(struct desk *desk, uint64_t until_ms)
{
	desk_lock(desk);
	store_hold_signing(desk->store, until_ms);
	desk->held = true;
	desk_unlock(desk);
}

void desk_end_hold(struct desk *desk)
{
	struct slot *slot, *next;
	uint64_t now_ms = clock_now_ms(desk->clock);

	if (!desk->held && !store_held_until_ms(desk->store))
		return;
	store_hold_signing(desk->store, 0);
	desk->held = false;
	/* Saves of what is published waited for nothing else. */
	HASH_ITER(hh, desk->slots, slot, next)
		if (slot->waiting && slot->published && slot->shown && slot->queue_count > 0)
			slot_wait(slot, now_ms);
	pthread_cond_broadcast(&desk->idle);
}

void desk_release_hold(struct desk *desk)
{
	desk_lock(desk);
	desk_end_hold(desk);
	desk_unlock(desk);
}

bool desk_is_held(struct desk *desk)
{
	if (store_held_until_ms(desk->store))
		return true;
	if (desk->held)
		desk_end_hold(desk);
	return false;
}

bool desk_wait_hold(struct desk *desk)
{
	uint64_t until_ms, now_ms = clock_now_ms(desk->clock);
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t begun_ms = (uint64_t)until.tv_sec * 1000 + (uint64_t)until.tv_nsec / 1000000;
	while ((until_ms = store_held_until_ms(desk->store)) != 0) {
		uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
		uint64_t end_ms = begun_ms + (left_ms < HOLD_WAIT_MS ? left_ms : HOLD_WAIT_MS);
		until = (struct timespec){ .tv_sec = (time_t)(end_ms / 1000), .tv_nsec = (long)(end_ms % 1000) * 1000000 };
		if (pthread_cond_timedwait(&desk->idle, &desk->lock, &until) == ETIMEDOUT)
			break;
	}
	desk_end_hold(desk);
	return true;
}

void desk_pass_hold(struct desk *desk)
{
	pthread_mutex_lock(&desk->lock);
	desk_wait_hold(desk);
	pthread_mutex_unlock(&desk->lock);
}
