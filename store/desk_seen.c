/* desk_seen.c - what a process saw and saved (S6, S7). */
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

static void seen_key(struct seen_key *out, uint32_t process, const struct slot *slot)
{
	memset(out, 0, sizeof(*out));
	out->process = process;
	id_of_bytes(&out->slot, slot->key, slot->key_size);
}

static void seen_put(struct desk *desk, const struct seen_key *key, const struct id *version, const struct id *digest)
{
	struct process_seen *seen;

	HASH_FIND(hh, desk->seen, key, sizeof(*key), seen);
	if (!seen && HASH_COUNT(desk->seen) >= PROCESSES_MAX)
		seen = desk->seen; /* the one longest unused */
	if (seen)
		HASH_DEL(desk->seen, seen);
	if (id_is_zero(version)) { /* not signed yet: nothing to descend from */
		free(seen);
		return;
	}
	if (!seen)
		seen = calloc(1, sizeof(*seen));
	if (!seen)
		return; /* only a guess at a better parent is lost */
	seen->key = *key;
	seen->version = *version;
	seen->digest = *digest;
	seen->at_ms = clock_now_ms(desk->clock);
	HASH_ADD(hh, desk->seen, key, sizeof(seen->key), seen);
	if (!seen->hh.tbl)
		free(seen);
}

void saver_find(struct desk *desk, uint32_t process, const struct slot *slot, struct saver *out)
{
	struct process_seen *seen;
	struct seen_key key;

	*out = (struct saver){ .process = process };
	if (process == 0 || !desk->options.parent_process)
		return;
	seen_key(&key, process, slot);
	for (int depth = 0; depth < ANCESTORS_MAX; depth++) {
		process = desk->options.parent_process(desk->options.context, process);
		if (process <= 1)
			return;
		key.process = process;
		HASH_FIND(hh, desk->seen, &key, sizeof(key), seen);
		if (seen)
			out->ancestors[out->ancestor_count++] = process;
	}
}

void seen_note(struct desk *desk, uint32_t process, const struct slot *slot, const struct id *version,
	       const struct id *digest)
{
	struct seen_key key;

	if (process == 0)
		return;
	seen_key(&key, process, slot);
	seen_put(desk, &key, version, digest);
}

void seen_note_save(struct desk *desk, const struct saver *saver, const struct slot *slot)
{
	if (!slot->text)
		return;
	const struct id *digest = &slot->text->content.digest, version = slot_version(slot);
	for (size_t i = 0; i < saver->ancestor_count; i++)
		seen_note(desk, saver->ancestors[i], slot, &version, digest);
	seen_note(desk, saver->process, slot, &version, digest);
}

/* Numbers of processes come round again. */
static bool is_of_another(struct desk *desk, const struct process_seen *seen)
{
	const uint64_t slack_ms = 20; /* ticks are coarse */

	return desk->options.process_started_ms &&
	       desk->options.process_started_ms(desk->options.context, seen->key.process) > seen->at_ms + slack_ms;
}

bool seen_get(struct desk *desk, uint32_t process, const struct slot *slot, struct id *out_version)
{
	struct process_seen *seen;
	struct seen_key key;

	/* What was seen of a name that has gone since is of another document. */
	if (process == 0 || !slot->published)
		return false;
	seen_key(&key, process, slot);
	HASH_FIND(hh, desk->seen, &key, sizeof(key), seen);
	if (!seen)
		return false;
	if (is_of_another(desk, seen)) {
		HASH_DEL(desk->seen, seen);
		free(seen);
		return false;
	}
	*out_version = seen->version;
	return true;
}

bool seen_copy(struct desk *desk, uint32_t process, const struct id *digest, struct id *out_version)
{
	uint64_t now_ms = clock_now_ms(desk->clock);
	struct process_seen *seen = desk->seen ? ELMT_FROM_HH(desk->seen->hh.tbl, desk->seen->hh.tbl->tail) : NULL;

	for (; seen && process != 0 && now_ms - seen->at_ms <= desk->options.window_ms; seen = seen->hh.prev)
		if (seen->key.process == process && id_equal(&seen->digest, digest)) {
			*out_version = seen->version;
			return true;
		}
	return false;
}
