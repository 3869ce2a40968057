/* journal.c - opening, appending, taking back and reading entries; the format stands in journal_scan.c. */
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define READ_AHEAD_SIZE 4096 /* most records come with their head in one pread */

static struct segment *active_segment(struct journal *j)
{
	return &j->segments[j->segment_count - 1];
}

static journal_place place_of(uint32_t segment, uint64_t offset)
{
	return (uint64_t)segment << 32 | offset;
}

/* ---- opening ---- */

int journal_begin_segment(struct journal *j)
{
	uint32_t id = j->segment_count ? active_segment(j)->id + 1 : 1;
	char name[SEGMENT_NAME_SIZE];
	journal_segment_name(name, id, "seg");
	if (id == 0)
		return -EFBIG;

	int fd = j->calls.openat(j->calls.context, j->directory_fd, name,
				 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int err = journal_write_segment_head(j, fd);
	if (err == 0)
		err = journal_sync_directory(j);
	if (err == 0)
		err = journal_add_segment(j, id, SEGMENT_HEAD_SIZE, fd);
	if (err < 0) {
		unlinkat(j->directory_fd, name, 0);
		close(fd);
	}
	return err;
}

static int add_listed(struct journal *j, struct why *why)
{
	CLEANUP(cleanup_free) uint32_t *ids = NULL;
	size_t count;
	int err = journal_list(j->directory_fd, !j->readonly, &ids, &count);
	if (err < 0)
		return why_set(why, err, "cannot list the journal: %s", why_errno(err));
	for (size_t i = 0; i < count; i++) {
		char name[SEGMENT_NAME_SIZE];
		struct stat st;
		journal_segment_name(name, ids[i], "seg");
		if (fstatat(j->directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT && j->readonly) /* removed since it was listed */
				continue;
			return why_set(why, -errno, "cannot look at journal/%s", name);
		}
		if (!S_ISREG(st.st_mode) || st.st_size > UINT32_MAX)
			return why_set(why, -EBADMSG, "journal/%s is no segment of a journal", name);
		bool is_empty = st.st_size == 0 || st.st_size == SEGMENT_HEAD_SIZE;
		if (is_empty && i + 1 < count && !j->readonly) { /* compaction left nothing in it */
			unlinkat(j->directory_fd, name, 0);
			continue;
		}
		err = journal_add_segment(j, ids[i], (uint64_t)st.st_size, -1);
		if (err < 0)
			return err;
		active_segment(j)->inode = st.st_ino;
	}
	return 0;
}

static int open_directory(struct journal *j, int directory_fd)
{
	if (!j->readonly && mkdirat(directory_fd, "journal", 0700) == 0) {
		if (j->calls.fsync(j->calls.context, directory_fd) < 0)
			return -errno;
	} else if (!j->readonly && errno != EEXIST) {
		return -errno;
	}
	j->directory_fd = openat(directory_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return j->directory_fd < 0 ? -errno : 0;
}

static void journal_free(struct journal *j)
{
	if (!j)
		return;
	journal_compact_abandon(j, j->compaction.segment);
	journal_close_files(j);
	if (j->directory_fd >= 0)
		close(j->directory_fd);
	pthread_cond_destroy(&j->synced);
	pthread_mutex_destroy(&j->files);
	pthread_mutex_destroy(&j->state);
	free(j);
}

static int open_into(struct journal *j, int directory_fd, bool power_was_cut, struct why *why)
{
	int err = open_directory(j, directory_fd);
	if (err < 0)
		return why_set(why, err, "cannot open the journal: %s", why_errno(err));
	err = add_listed(j, why);
	if (err == 0)
		err = journal_find_salt(j, why);
	if (err < 0 || j->readonly)
		return err;
	if (j->segment_count == 0 && (err = journal_begin_segment(j)) < 0)
		return why_set(why, err, "cannot begin a journal: %s", why_errno(err));
	err = power_was_cut ? journal_cut_after_holes(j, why) : 0;
	if (err == 0)
		err = journal_find_end(j, why);
	if (err < 0)
		return err;

	size_t first = j->segment_count > UNSYNCED_AT_OPEN_MAX ? j->segment_count - UNSYNCED_AT_OPEN_MAX : 0;
	for (size_t i = first; i < j->segment_count; i++)
		if (j->segments[i].size > SEGMENT_HEAD_SIZE)
			journal_touch(j, &j->segments[i], j->segments[i].size);
	return 0;
}

static struct journal *journal_new(void)
{
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->calls = journal_system_calls;
	j->segment_size_max = SEGMENT_SIZE_MAX;
	j->directory_fd = -1;
	pthread_mutex_init(&j->state, NULL);
	pthread_mutex_init(&j->files, NULL);
	pthread_cond_init(&j->synced, NULL);
	return j;
}

static int open_or_free(struct journal *j, int directory_fd, bool power_was_cut, struct journal **out,
			struct why *why)
{
	int err = open_into(j, directory_fd, power_was_cut, why);
	if (err < 0)
		journal_free(j);
	else
		*out = j;
	return err;
}

int journal_open_tuned(struct journal **out, int directory_fd, const struct journal_tuning *tuning, struct why *why)
{
	struct journal *j = journal_new();
	if (!j)
		return -ENOMEM;
	if (tuning->calls)
		j->calls = *tuning->calls;
	if (tuning->segment_size_max)
		j->segment_size_max = tuning->segment_size_max;
	return open_or_free(j, directory_fd, tuning->power_was_cut, out, why);
}

int journal_open(struct journal **out, int directory_fd, bool power_was_cut, struct why *why)
{
	const struct journal_tuning tuning = { .power_was_cut = power_was_cut };
	return journal_open_tuned(out, directory_fd, &tuning, why);
}

int journal_open_readonly(struct journal **out, int directory_fd, struct why *why)
{
	struct journal *j = journal_new();
	if (!j)
		return -ENOMEM;
	j->readonly = true;
	return open_or_free(j, directory_fd, false, out, why);
}

int journal_close(struct journal *j)
{
	if (!j)
		return 0;
	int err = journal_sync(j);
	journal_free(j);
	return err;
}

/* ---- appending ---- */

static size_t part_size(const struct journal_part *part)
{
	size_t size = 0;
	for (size_t i = 0; i < part->span_count; i++)
		size += part->spans[i].size;
	return size;
}

/* The size of all entries with their heads; -EMSGSIZE. */
static int total_size(const struct journal *j, const struct journal_part *parts, size_t count, uint64_t *out)
{
	uint64_t total = 0;
	for (size_t i = 0; i < count; i++) {
		size_t size = part_size(&parts[i]);
		if (size > ENTRY_BYTES_MAX)
			return -EMSGSIZE;
		total += ENTRY_HEAD_SIZE + size;
	}
	*out = total;
	return total > j->segment_size_max - SEGMENT_HEAD_SIZE ? -EMSGSIZE : 0;
}

static bool fits(const struct journal *j, const struct segment *s, uint64_t total)
{
	return s->size <= SEGMENT_HEAD_SIZE || s->size + total <= j->segment_size_max;
}

static size_t encode_part(uint8_t *out, const struct journal *j, const struct journal_part *part,
			  uint64_t number, journal_place place)
{
	uint64_t unsynced = number - 1 - j->durable_number;
	size_t size = 0;
	for (size_t i = 0; i < part->span_count; i++) {
		if (part->spans[i].size)
			memcpy(out + ENTRY_HEAD_SIZE + size, part->spans[i].data, part->spans[i].size);
		size += part->spans[i].size;
	}
	struct journal_entry entry = { .kind = part->kind, .number = number, .place = place,
				       .unsynced = unsynced < JOURNAL_UNSYNCED_UNKNOWN ? (uint32_t)unsynced
										       : JOURNAL_UNSYNCED_UNKNOWN,
				       .bytes = out + ENTRY_HEAD_SIZE, .size = size };
	journal_put_head(out, &j->salt, &entry);
	return ENTRY_HEAD_SIZE + size;
}

/* The places of entries that stand one after the other from there. */
static void tell_places(journal_place place, const struct journal_part *parts, size_t count,
			journal_place *out_places)
{
	for (size_t i = 0; i < count; i++) {
		out_places[i] = place;
		place += ENTRY_HEAD_SIZE + part_size(&parts[i]);
	}
}

/* What an earlier failure left after the end, must go first: it could outlive what is written over it. */
static int truncate_what_is_due(struct journal *j)
{
	int err = 0;
	for (size_t i = 0; i < j->segment_count; i++)
		if (j->segments[i].truncate_due && err == 0)
			err = journal_truncate(j, &j->segments[i]);
	return err;
}

/*
 * Begins segments until there is room. Under state, which it lets go of: the one before is made durable first,
 * so that what a power cut takes is in the last one alone.
 */
static int make_room(struct journal *j, uint64_t total)
{
	while (!fits(j, active_segment(j), total)) {
		const struct segment *s = active_segment(j);
		if (s->touched == s->clean && !s->lost) {
			int err = truncate_what_is_due(j);
			return err < 0 ? err : journal_begin_segment(j);
		}
		pthread_mutex_unlock(&j->state);
		int err = journal_sync(j);
		pthread_mutex_lock(&j->state);
		if (err < 0)
			return err;
	}
	return 0;
}

static int write_at_end(struct journal *j, const uint8_t *bytes, size_t size)
{
	struct segment *s = active_segment(j);
	struct segment_file *file;
	uint64_t end;
	int err = journal_acquire(j, s->id, &file, &end);
	if (err < 0)
		return err;
	err = journal_write_all(&j->calls, file->fd, bytes, size, end);
	journal_release(j, file);
	if (err == 0)
		journal_touch(j, s, end + size);
	else
		journal_truncate(j, s);
	return err;
}

/* As the next entries of the active segment. Under state. */
static void encode_parts(struct journal *j, uint8_t *out, const struct journal_part *parts, size_t count)
{
	journal_place place = place_of(active_segment(j)->id, active_segment(j)->size);
	size_t done = 0;
	for (size_t i = 0; i < count; i++)
		done += encode_part(out + done, j, &parts[i], j->next_number + i, place + done);
}

int journal_append(struct journal *j, const struct journal_part *parts, size_t count,
		   journal_place *out_places)
{
	uint64_t total;
	int err = j->readonly ? -EROFS : total_size(j, parts, count, &total);
	if (err < 0 || count == 0)
		return err;
	CLEANUP(cleanup_free) uint8_t *bytes = malloc(total);
	if (!bytes)
		return -ENOMEM;

	pthread_mutex_lock(&j->state);
	err = make_room(j, total);
	if (err == 0)
		err = truncate_what_is_due(j);
	if (err == 0) {
		journal_place place = place_of(active_segment(j)->id, active_segment(j)->size);
		encode_parts(j, bytes, parts, count);
		err = write_at_end(j, bytes, total);
		if (err == 0) {
			j->next_number += count;
			j->entries_appended += count;
			tell_places(place, parts, count, out_places);
		}
	}
	pthread_mutex_unlock(&j->state);
	return err;
}

void journal_plan(struct journal *j, const struct journal_part *parts, size_t count, journal_place *out_places)
{
	uint64_t total = 0;
	for (size_t i = 0; i < count; i++)
		total += ENTRY_HEAD_SIZE + part_size(&parts[i]);

	pthread_mutex_lock(&j->state);
	const struct segment *s = active_segment(j);
	journal_place place = fits(j, s, total) ? place_of(s->id, s->size) : place_of(s->id + 1, SEGMENT_HEAD_SIZE);
	pthread_mutex_unlock(&j->state);
	tell_places(place, parts, count, out_places);
}

journal_place journal_end(struct journal *j)
{
	pthread_mutex_lock(&j->state);
	const struct segment *s = j->segment_count ? active_segment(j) : NULL;
	journal_place end = s ? place_of(s->id, s->size) : 0;
	pthread_mutex_unlock(&j->state);
	return end;
}

/* The number of the entry at a place; 0: there is none. */
static uint64_t number_at(struct journal *j, const struct segment *s, uint64_t offset)
{
	struct segment_file *file;
	struct journal_entry entry;
	struct journal_damage damage;
	uint64_t size;
	if (journal_acquire(j, s->id, &file, &size) < 0)
		return 0;
	struct scanner scanner = { .calls = &j->calls, .fd = file->fd, .segment = s->id, .salt = j->salt,
				   .at = offset, .limit = size };
	int got = scanner_begin(&scanner);
	if (got == 0)
		got = scanner_next(&scanner, &entry, &damage);
	scanner_finish(&scanner);
	journal_release(j, file);
	return got == 1 ? entry.number : 0;
}

int journal_rollback(struct journal *j, journal_place end)
{
	int err = 0;
	uint64_t number = 0;
	if (j->readonly)
		return -EROFS;
	pthread_mutex_lock(&j->state);
	for (size_t i = 0; i < j->segment_count; i++) {
		struct segment *s = &j->segments[i];
		uint64_t keep = s->id == end >> 32 ? end & UINT32_MAX : SEGMENT_HEAD_SIZE;
		if (s->id < end >> 32 || s->size <= keep)
			continue;
		if (number == 0)
			number = number_at(j, s, keep);
		if (number == 0) /* the next one would leave a gap */
			err = -EIO;
		journal_touch(j, s, keep);
		journal_truncate(j, s); /* or before the next append */
	}
	if (number && number < j->next_number) {
		j->entries_appended -= j->next_number - number;
		j->next_number = number;
		if (j->round_next > number)
			j->round_next = number;
		if (j->durable_number >= number)
			j->durable_number = number - 1;
	}
	pthread_mutex_unlock(&j->state);
	return err;
}

int journal_rotate(struct journal *j)
{
	if (j->readonly)
		return -EROFS;
	pthread_mutex_lock(&j->state);
	int err = make_room(j, j->segment_size_max);
	pthread_mutex_unlock(&j->state);
	return err;
}

/* ---- reading ---- */

struct reading {
	int fd;
	journal_place place;
	uint64_t left; /* from there to the end of the segment */
	uint8_t *out;
	size_t out_size;
};

static ssize_t read_entry(struct journal *j, const struct reading *r, uint8_t *out_kind)
{
	uint8_t start[READ_AHEAD_SIZE];
	struct entry_head head;
	uint64_t offset = r->place & UINT32_MAX;
	ssize_t got = journal_read_all(&j->calls, r->fd, start, sizeof(start), offset);
	if (got < 0)
		return got;
	if (got < ENTRY_HEAD_SIZE || !journal_get_head(&head, start) || head.size > r->left - ENTRY_HEAD_SIZE)
		return -EBADMSG;
	if (head.size > r->out_size)
		return -EMSGSIZE;

	size_t have = (size_t)got - ENTRY_HEAD_SIZE;
	if (have > head.size)
		have = head.size;
	if (have)
		memcpy(r->out, start + ENTRY_HEAD_SIZE, have);
	if (have < head.size) {
		size_t rest = head.size - have;
		got = journal_read_all(&j->calls, r->fd, r->out + have, rest, offset + ENTRY_HEAD_SIZE + have);
		if (got < 0)
			return got;
		if ((size_t)got < rest)
			return -EBADMSG;
	}
	if (journal_entry_crc(&j->salt, r->place, start, r->out, head.size) != head.crc)
		return -EBADMSG;
	if (out_kind)
		*out_kind = head.kind;
	return (ssize_t)head.size;
}

ssize_t journal_read(struct journal *j, journal_place place, uint8_t *out_kind, void *out, size_t out_size)
{
	struct segment_file *file;
	uint64_t size, offset = place & UINT32_MAX;
	int err = journal_acquire(j, (uint32_t)(place >> 32), &file, &size);
	if (err < 0)
		return err == -ENOENT ? -EBADMSG : err;
	struct reading r = { .fd = file->fd, .place = place, .left = size - offset, .out = out, .out_size = out_size };
	ssize_t got = -EBADMSG;
	if (offset < size && r.left >= ENTRY_HEAD_SIZE)
		got = read_entry(j, &r, out_kind);
	journal_release(j, file);
	return got;
}

/* ---- asking ---- */

size_t journal_segments(struct journal *j, uint32_t *out, size_t count_max)
{
	pthread_mutex_lock(&j->files);
	size_t count = j->segment_count;
	for (size_t i = 0; i < count && i < count_max; i++)
		out[i] = j->segments[i].id;
	pthread_mutex_unlock(&j->files);
	return count;
}

uint64_t journal_segment_size(struct journal *j, uint32_t segment)
{
	pthread_mutex_lock(&j->files);
	const struct segment *s = journal_find(j, segment);
	uint64_t size = s ? s->size : 0;
	pthread_mutex_unlock(&j->files);
	return size;
}

void journal_stats(struct journal *j, struct journal_stats *out)
{
	pthread_mutex_lock(&j->state);
	*out = (struct journal_stats){
		.segments = j->segment_count,
		.syncs = j->syncs,
		.entries_appended = j->entries_appended,
	};
	for (size_t i = 0; i < j->segment_count; i++)
		out->bytes += j->segments[i].size;
	pthread_mutex_unlock(&j->state);
}
