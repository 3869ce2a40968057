/*
 * journal_tail.c - what a crash may have left at the end of a journal: put right before anything is appended.
 *
 * A process that was killed leaves at most half a write, after which nothing follows.  After a power cut
 * any part of what was not durable may be missing, and what was written after it there: a later entry without
 * the one that it builds on, the note that a save was signed without the signed record.  None of that
 * was durable, so nobody was told of it, and what is kept ends before the first hole.  Each entry tells how
 * many before it were not durable when it was written: a hole among those that were is damage, and stays.
 */
#include "journal_private.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

int journal_write_segment_head(struct journal *j, int fd)
{
	uint8_t head[SEGMENT_HEAD_SIZE];
	journal_put_segment_head(head, &j->salt);
	return journal_write_all(&j->calls, fd, head, sizeof(head), 0);
}

/* ---- the torn end ---- */

struct last { /* what the last entry of a segment tells */
	uint64_t end;    /* of it, else of the segment's head */
	uint64_t number; /* 0: there is none */
	bool headless;   /* the segment's head is damaged */
};

static int find_last(struct journal *j, uint32_t id, struct last *out)
{
	struct segment_file *file;
	uint64_t size;
	int got = journal_acquire(j, id, &file, &size);
	if (got < 0)
		return got;
	struct scanner s = { .calls = &j->calls, .fd = file->fd, .segment = id, .salt = j->salt, .limit = size };
	struct journal_entry entry;
	struct journal_damage damage;
	*out = (struct last){ .end = 0 };
	got = scanner_begin(&s);
	while (got == 0 && (got = scanner_next(&s, &entry, &damage)) == 1) {
		out->end = entry.end & UINT32_MAX;
		out->number = entry.number;
		out->headless |= damage.size && damage.offset == 0;
		got = 0;
	}
	if (got == 0 && out->number == 0)
		out->end = damage.offset;
	scanner_finish(&s);
	journal_release(j, file);
	return got;
}

/* Moves aside what is at `end` and after it; where that is 0, the segment begins anew. */
static int cut_from(struct journal *j, struct segment *s, uint64_t end)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, s->id, &file, &size);
	if (err < 0)
		return err;
	if (size > end)
		err = journal_set_aside(j, s->id, file->fd, end, size - end);
	if (err == 0 && j->calls.ftruncate(j->calls.context, file->fd, (off_t)end) < 0)
		err = -errno;
	if (err == 0 && end == 0) {
		err = journal_write_segment_head(j, file->fd);
		end = SEGMENT_HEAD_SIZE;
	}
	if (err == 0 && j->calls.fsync(j->calls.context, file->fd) < 0)
		err = -errno;
	if (err == 0)
		journal_touch(j, s, end);
	journal_release(j, file);
	return err;
}

/* What it must be is known. */
static int mend_head(struct journal *j, struct segment *s)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, s->id, &file, &size);
	if (err < 0)
		return err;
	err = journal_write_segment_head(j, file->fd);
	journal_release(j, file);
	return err;
}

int journal_find_end(struct journal *j, struct why *why)
{
	struct last last = { .end = 0 };
	for (size_t i = j->segment_count; i > 0 && last.number == 0; i--) {
		struct segment *s = &j->segments[i - 1];
		int err = find_last(j, s->id, &last);
		if (err < 0)
			return why_set(why, err, "cannot read segment %lu of the journal: %s",
				       (unsigned long)s->id, why_errno(err));
		if (i == j->segment_count && (last.end < s->size || last.end == 0))
			err = cut_from(j, s, last.end);
		if (err == 0 && i == j->segment_count && last.headless)
			err = mend_head(j, s);
		if (err < 0)
			return why_set(why, err, "cannot move the torn end of segment %lu of the journal aside: %s",
				       (unsigned long)s->id, why_errno(err));
	}
	j->next_number = last.number + 1;
	return 0;
}

/* ---- holes ---- */

struct hole {
	uint64_t offset; /* where it begins */
	uint64_t before; /* number of the last entry that cannot be in it */
};

struct survey {
	struct hole *holes;
	size_t count, capacity;
	uint64_t durable; /* number of the last entry that is known to have been durable */
};

static int note_hole(struct survey *v, struct hole hole)
{
	if (v->count == v->capacity) {
		size_t capacity = v->capacity ? 2 * v->capacity : 16;
		struct hole *more = realloc(v->holes, capacity * sizeof(*more));
		if (!more)
			return -ENOMEM;
		v->holes = more;
		v->capacity = capacity;
	}
	v->holes[v->count++] = hole;
	return 0;
}

static void note_durable(struct survey *v, const struct journal_entry *entry)
{
	if (entry->unsynced >= entry->number || entry->unsynced == JOURNAL_UNSYNCED_UNKNOWN)
		return;
	uint64_t durable = entry->number - 1 - entry->unsynced;
	if (durable > v->durable)
		v->durable = durable;
}

/* What no entry follows is no hole: it is the torn tail. */
static int survey_entries(struct survey *v, struct scanner *s)
{
	struct journal_entry entry;
	struct journal_damage damage;
	uint64_t number = 0;
	int got;
	while ((got = scanner_next(s, &entry, &damage)) == 1) {
		/* Of what the segment begins with, the last that is missing is known. */
		uint64_t before = number ? number : entry.number - 2;
		if (damage.size && (number || entry.number > 1))
			got = note_hole(v, (struct hole){ damage.offset, before });
		if (got < 0)
			return got;
		number = entry.number;
		note_durable(v, &entry);
	}
	return got;
}

static int survey_segment(struct journal *j, struct survey *v, uint32_t id)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, id, &file, &size);
	if (err < 0)
		return err;
	struct scanner s = { .calls = &j->calls, .fd = file->fd, .segment = id, .salt = j->salt, .limit = size };
	err = scanner_begin(&s);
	if (err == 0)
		err = survey_entries(v, &s);
	scanner_finish(&s);
	journal_release(j, file);
	return err;
}

static void free_holes(struct survey *v)
{
	free(v->holes);
}

int journal_cut_after_holes(struct journal *j, struct why *why)
{
	CLEANUP(free_holes) struct survey v = { .count = 0 };
	int err = 0;
	if (j->segment_count == 0)
		return 0;
	/* Every other one was made durable before the next was begun. */
	struct segment *last = &j->segments[j->segment_count - 1];
	err = survey_segment(j, &v, last->id);
	for (size_t i = 0; i < v.count && err == 0; i++) {
		if (v.holes[i].before < v.durable)
			continue;
		err = cut_from(j, last, v.holes[i].offset);
		break;
	}
	return err < 0 ? why_set(why, err, "cannot move aside what the power cut left of the journal: %s", why_errno(err)) : 0;
}
