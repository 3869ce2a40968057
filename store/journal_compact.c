/* journal_compact.c - rewriting a segment without what is dead, beside it until the index can follow. */
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"

#define WRITE_SIZE (256 * 1024)

struct rewrite {
	struct journal *j;
	uint32_t segment;
	int source, target;
	bool (*live)(void *context, const struct journal_entry *entry);
	void (*moved)(void *context, const struct journal_entry *entry, journal_place new_place);
	void *context;
	struct bytes pending; /* entries not yet written */
	uint64_t written;
};

static int flush(struct rewrite *w)
{
	if (!w->pending.size)
		return 0;
	int err = journal_write_all(&w->j->calls, w->target, w->pending.data, w->pending.size, w->written);
	w->written += w->pending.size;
	bytes_clear(&w->pending);
	return err;
}

static int keep(struct rewrite *w, const struct journal_entry *entry)
{
	uint8_t head[ENTRY_HEAD_SIZE];
	struct journal_entry there = *entry;
	journal_place place = (uint64_t)w->segment << 32 | (w->written + w->pending.size);
	there.place = place;
	there.unsynced = 0; /* all before it is durable, or was dropped */
	journal_put_head(head, &w->j->salt, &there);
	bytes_put(&w->pending, head, sizeof(head));
	bytes_put(&w->pending, entry->bytes, entry->size);
	int err = bytes_error(&w->pending);
	if (err == 0 && w->pending.size >= WRITE_SIZE)
		err = flush(w);
	if (err == 0)
		w->moved(w->context, entry, place);
	return err;
}

static int rewrite_entries(struct rewrite *w, uint64_t size)
{
	struct scanner s = { .calls = &w->j->calls, .fd = w->source, .segment = w->segment,
			     .salt = w->j->salt, .limit = size };
	uint8_t head[SEGMENT_HEAD_SIZE];
	journal_put_segment_head(head, &w->j->salt);
	bytes_put(&w->pending, head, sizeof(head));
	int got = scanner_begin(&s);
	while (got == 0) {
		struct journal_entry entry;
		struct journal_damage damage;
		got = scanner_next(&s, &entry, &damage);
		if (got >= 0 && damage.size) { /* not ours to destroy */
			int err = journal_set_aside(w->j, w->segment, w->source, damage.offset, damage.size);
			if (err < 0)
				got = err;
		}
		if (got <= 0)
			break;
		got = w->live(w->context, &entry) ? keep(w, &entry) : 0;
	}
	scanner_finish(&s);
	if (got == 0)
		got = flush(w);
	if (got == 0 && w->j->calls.fsync(w->j->calls.context, w->target) < 0)
		got = -errno;
	return got;
}

/* 0 and the segment's size if it may be compacted now; it is marked so. */
static int claim(struct journal *j, uint32_t segment)
{
	int err = 0;
	pthread_mutex_lock(&j->state);
	const struct segment *s = journal_find(j, segment);
	if (!s)
		err = -ENOENT;
	else if (s == &j->segments[j->segment_count - 1])
		err = -EINVAL;
	else if (j->compaction.segment)
		err = -EBUSY;
	else
		j->compaction = (struct compaction){ .segment = segment, .fd = -1, .source_size = s->size };
	pthread_mutex_unlock(&j->state);
	return err;
}

int journal_compact_prepare(struct journal *j, uint32_t segment,
			    bool (*live)(void *context, const struct journal_entry *entry),
			    void (*moved)(void *context, const struct journal_entry *entry,
					  journal_place new_place),
			    void *context)
{
	/* What was not durable could not be told from what is dropped here. */
	int err = j->readonly ? -EROFS : journal_sync(j);
	if (err == 0)
		err = claim(j, segment);
	if (err < 0)
		return err;

	struct rewrite w = { .j = j, .segment = segment, .live = live, .moved = moved, .context = context };
	struct segment_file *file;
	uint64_t size;
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, segment, "new");
	bytes_init(&w.pending, WRITE_SIZE + JOURNAL_ENTRY_MAX);
	w.target = j->calls.openat(j->calls.context, j->directory_fd, name,
				   O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (w.target < 0)
		err = -errno;
	j->compaction.fd = w.target;
	if (err == 0)
		err = journal_acquire(j, segment, &file, &size);
	if (err == 0) {
		w.source = file->fd;
		err = rewrite_entries(&w, j->compaction.source_size);
		journal_release(j, file);
	}
	j->compaction.size = w.written;
	bytes_finish(&w.pending);
	if (err < 0)
		journal_compact_abandon(j, segment);
	return err;
}

static int replace(struct journal *j, struct segment *s, const char *name)
{
	int err = journal_replace_file(j, s, j->compaction.fd, name, j->compaction.size);
	if (err < 0)
		return err;
	j->compaction.fd = -1;
	s->truncate_due = false;
	/* If the directory cannot be synced, syncs fail until the file was written once more. */
	s->lost = journal_sync_directory(j) < 0;
	if (s->lost)
		journal_touch(j, s, s->size);
	else
		journal_set_clean(j, s, s->touched, s->size);
	return 0;
}

int journal_compact_commit(struct journal *j, uint32_t segment)
{
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, segment, "new");

	pthread_mutex_lock(&j->state);
	struct segment *s = journal_find(j, segment);
	int err = 0;
	if (!s || !segment || j->compaction.segment != segment)
		err = -EINVAL;
	else if (s->size != j->compaction.source_size) /* taken back meanwhile */
		err = -EAGAIN;
	else
		err = replace(j, s, name);
	if (err == 0)
		j->compaction = (struct compaction){ 0 };
	pthread_mutex_unlock(&j->state);
	if (err < 0)
		journal_compact_abandon(j, segment);
	return err;
}

void journal_compact_abandon(struct journal *j, uint32_t segment)
{
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, segment, "new");

	pthread_mutex_lock(&j->state);
	if (segment && j->compaction.segment == segment) {
		if (j->compaction.fd >= 0) {
			close(j->compaction.fd);
			unlinkat(j->directory_fd, name, 0);
		}
		j->compaction = (struct compaction){ 0 };
	}
	pthread_mutex_unlock(&j->state);
}
