/*
 * journal_sync.c - making what was appended durable, one fdatasync for all who wait.
 *
 * Every append and truncation is a generation.  Who needs one durable waits for
 * the round of syncing under way, and if that began too early leads the next,
 * which covers all who came meanwhile.
 *
 * After a failed fdatasync the kernel has dropped what it could not write and a
 * second one would succeed without having written it.  So the next round
 * writes the whole segment to another file under the same name, and every round
 * fails until one has done so: places stay, and what was never durable is never
 * called so.
 */
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"

static bool is_dirty(const struct segment *s)
{
	return s->touched != s->clean || s->lost;
}

/* From `synced_size` on there is entry after entry. */
static int check_copy(struct journal *j, const struct segment *s, int fd)
{
	struct scanner scanner = { .calls = &j->calls, .fd = fd, .segment = s->id, .salt = j->salt,
				   .at = s->synced_size, .limit = s->size };
	struct journal_entry entry;
	struct journal_damage damage = { 0 };
	int got = scanner_begin(&scanner);
	while (got == 0 && (got = scanner_next(&scanner, &entry, &damage)) == 1 && !damage.size)
		got = 0;
	if (got >= 0 && damage.size)
		got = -EIO;
	scanner_finish(&scanner);
	return got;
}

static int copy_segment(struct journal *j, const struct segment *s, int copy)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, s->id, &file, &size);
	if (err < 0)
		return err;
	err = journal_copy(&j->calls, file->fd, 0, size, copy);
	journal_release(j, file);
	if (err == 0)
		err = check_copy(j, s, copy);
	if (err == 0 && j->calls.fsync(j->calls.context, copy) < 0)
		err = -errno;
	return err;
}

/* Keeps `state` all the while: nothing may be appended to a file that is being replaced. */
static int write_again(struct journal *j, struct segment *s)
{
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, s->id, "copy");
	int fd = j->calls.openat(j->calls.context, j->directory_fd, name,
				 O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int err = copy_segment(j, s, fd);
	if (err == 0)
		err = journal_replace_file(j, s, fd, name, s->size);
	if (err < 0) {
		close(fd);
		unlinkat(j->directory_fd, name, 0);
		return err;
	}
	s->truncate_due = false;
	err = journal_sync_directory(j);
	if (err < 0)
		return err; /* still lost: which of the two files a crash leaves is unknown */
	s->lost = false;
	journal_set_clean(j, s, s->touched, s->size);
	return 0;
}

/* Unlocks `state` while the disk works, so that appends go on; `s` is not valid after. */
static int sync_file(struct journal *j, struct segment *s)
{
	struct segment_file *file;
	uint64_t size, generation = s->touched;
	uint32_t id = s->id;
	int err = journal_acquire(j, id, &file, &size);
	if (err < 0)
		return err;
	pthread_mutex_unlock(&j->state);
	if (j->calls.fdatasync(j->calls.context, file->fd) < 0)
		err = -errno;
	pthread_mutex_lock(&j->state);

	s = journal_find(j, id);
	if (s && s->file == file) { /* else compaction replaced it, durably */
		if (err < 0)
			s->lost = true;
		else if (generation > s->clean)
			journal_set_clean(j, s, generation, size);
	}
	journal_release(j, file);
	return err;
}

static int sync_segment(struct journal *j, struct segment *s)
{
	int err = s->truncate_due ? journal_truncate(j, s) : 0;
	if (err < 0)
		return err;
	return s->lost ? write_again(j, s) : sync_file(j, s);
}

static struct segment *next_dirty(struct journal *j, uint32_t after)
{
	for (size_t i = 0; i < j->segment_count; i++)
		if (j->segments[i].id > after && is_dirty(&j->segments[i]))
			return &j->segments[i];
	return NULL;
}

/* One round, covering all up to the generation at its begin. */
static int sync_round(struct journal *j)
{
	uint64_t generation = j->generation, number = j->next_number - 1;
	int err = 0;
	uint32_t after = 0;
	struct segment *s;

	j->round_next = j->next_number;
	j->syncing = true;
	j->syncs++;
	while ((s = next_dirty(j, after))) {
		after = s->id;
		int failed = sync_segment(j, s);
		if (failed < 0 && err == 0)
			err = failed;
	}
	j->syncing = false;
	if (err < 0) {
		j->failures++;
		j->failed_generation = generation;
		j->failed_error = err;
	} else if (generation > j->durable) {
		j->durable = generation;
		/* Others may have the numbers of what was taken back meanwhile. */
		j->durable_number = number < j->round_next ? number : j->round_next - 1;
	}
	pthread_cond_broadcast(&j->synced);
	return err;
}

int journal_sync(struct journal *j)
{
	int err = 0;
	pthread_mutex_lock(&j->state);
	uint64_t generation = j->generation, failures = j->failures;
	while (j->durable < generation) {
		if (!j->syncing) {
			err = sync_round(j);
			if (err < 0)
				break;
			continue;
		}
		pthread_cond_wait(&j->synced, &j->state);
		if (j->durable < generation && j->failures != failures && j->failed_generation >= generation) {
			err = j->failed_error;
			break;
		}
	}
	pthread_mutex_unlock(&j->state);
	return err;
}

bool journal_is_synced(struct journal *j)
{
	pthread_mutex_lock(&j->state);
	bool synced = j->durable == j->generation;
	pthread_mutex_unlock(&j->state);
	return synced;
}
