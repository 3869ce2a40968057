/*
 * desk_together.c - saves of what is published wait a moment, to be signed with others in one transaction.
 *
 * A save alone is signed at once; those that follow one another within that moment wait.
 * Their drafts are in the journal, so they are as safe as signed ones; and they stand
 * in the slot's queue as the saves of a new name do.  All of a queue are of one process:
 * each descends from the one before, whatever that process saw, and whoever else saves or
 * reads there has them signed first, so that it has seen a version.
 */
#include <string.h>

#include "desk_private.h"

static bool is_together(const struct slot *slot)
{
	return slot->waiting && slot->shown && slot->published && slot->what == WHAT_VERSION && slot->queue_count > 0;
}

bool slot_may_join(struct slot *slot, const struct saver *saver)
{
	struct desk *desk = slot->desk;
	uint64_t now_ms = clock_now_ms(desk->clock);
	bool hurried = now_ms - desk->saved_ms <= TOGETHER_MS;

	desk->saved_ms = now_ms;
	if (!desk->options.soon || saver->process == 0 || !slot->shown || !slot->published ||
	    slot->what != WHAT_VERSION || desk_is_held(desk))
		return false;
	return slot->queue_count > 0 ? slot->saver.process == saver->process : !slot->waiting && hurried;
}

static void joined(struct slot *slot, const struct save *save, const struct saver *saver)
{
	struct desk *desk = slot->desk;

	slot->mode = save->mode;
	slot_set_text(slot, save->text);
	seen_note_save(desk, saver, slot);
	if (slot->queue_count == 1) {
		slot->saver = *saver; /* it finds no ancestors later: they remember nothing now */
		slot_wait(slot, clock_now_ms(desk->clock) + TOGETHER_MS);
		desk->soon |= slot->due_ms < desk->tick_ms;
	}
	if (slot->queue_count >= TOGETHER_MAX)
		slot_publish(slot); /* what cannot be signed now goes on waiting */
}

int slot_join(struct slot *slot, const struct save *save, const struct saver *saver)
{
	int err = slot_push_save(slot, save);

	if (err == 0)
		joined(slot, save, saver);
	return err;
}

int slot_join_text(struct slot *slot, const struct save *save, const struct saver *saver, struct store_batch *batch)
{
	int err = slot_push_save(slot, save);

	if (err < 0)
		return err;
	err = facts_keep_later(batch, slot);
	if (err == 0)
		joined(slot, save, saver);
	else
		save_finish(&slot->queue[--slot->queue_count]);
	return err;
}

int slot_part(struct slot *slot)
{
	int err = 0;

	while (err == 0 && is_together(slot) && !desk_is_held(slot->desk))
		err = slot_publish(slot);
	return err;
}

void slot_parted(struct slot *slot)
{
	if (slot->saver.process && slot->queue_count == 0)
		seen_note_save(slot->desk, &slot->saver, slot);
	if (slot->queue_count == 0)
		memset(&slot->saver, 0, sizeof(slot->saver));
}

void slots_part(struct desk *desk)
{
	uint64_t end_ms = clock_now_ms(desk->clock) + TOGETHER_MS;
	struct slot *slots[PUBLISH_MAX];
	size_t count;
	int err = 0;

	do {
		count = 0;
		for (struct slot *slot = desk->due; slot && slot->due_ms <= end_ms && count < PUBLISH_MAX; slot = slot->due_next)
			if (is_together(slot))
				slots[count++] = slot;
		for (size_t i = 0; i < count; i++)
			slot_hold(slots[i]);
		if (count > 0)
			err = desk_is_held(desk) ? STORE_HELD : slots_publish(desk, slots, count);
		for (size_t i = 0; i < count; i++)
			slot_drop(slots[i]);
	} while (count == PUBLISH_MAX && err == 0); /* what cannot be signed now goes on waiting */
}

void desk_settle(struct desk *desk)
{
	desk_lock(desk);
	slots_part(desk);
	desk_unlock(desk);
}
