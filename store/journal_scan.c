/*
 * journal_scan.c - the format of an entry, and reading segments also where they are damaged.
 *
 * An entry, all integers little-endian:
 *
 *	offset  size  field
 *	0       4     magic: the bytes e7 4d 4a 1a
 *	4       8     number: 1, 2, 3 ... over all segments
 *	12      4     length of the bytes: at most 131048, so that an entry has at most 128 KiB
 *	16      1     kind
 *	17      3     zero
 *	20      4     crc32 (zlib's, of RFC 1952) of the bytes at 4 to 19, then of the bytes below
 *	24            the bytes
 *
 * A segment is nothing but entries, the next where the last one ends.  Where
 * there is none the search for the next goes by the magic, and an entry counts
 * only if it is wholly valid.  What a damaged entry holds may look like entries
 * itself, so its own length is believed first, if the entry after it has the
 * next number.
 */
#include "journal_private.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cleanup.h"
#include "wire.h"

#define BUFFER_SIZE (512 * 1024) /* holds any entry; large enough that calls cost nothing */

_Static_assert(BUFFER_SIZE >= 2 * JOURNAL_ENTRY_MAX, "an entry and what comes before it");

/* ---- the head ---- */

uint32_t journal_entry_crc(const uint8_t head[ENTRY_HEAD_SIZE], const uint8_t *bytes, size_t size)
{
	uLong crc = crc32(0, head + 4, 16);
	return (uint32_t)(size ? crc32(crc, bytes, (uInt)size) : crc);
}

void journal_put_head(uint8_t out[ENTRY_HEAD_SIZE], uint64_t number, uint8_t kind, const uint8_t *bytes, size_t size)
{
	uint32_t magic = htole32(ENTRY_MAGIC), length = htole32((uint32_t)size);
	number = htole64(number);
	memcpy(out, &magic, 4);
	memcpy(out + 4, &number, 8);
	memcpy(out + 12, &length, 4);
	out[16] = kind;
	memset(out + 17, 0, 3);
	uint32_t crc = htole32(journal_entry_crc(out, bytes, size));
	memcpy(out + 20, &crc, 4);
}

bool journal_get_head(struct entry_head *out, const uint8_t head[ENTRY_HEAD_SIZE])
{
	struct wire w;
	wire_init(&w, head, ENTRY_HEAD_SIZE);
	uint32_t magic = wire_u32(&w);
	out->number = wire_u64(&w);
	out->size = wire_u32(&w);
	out->kind = wire_u8(&w);
	uint32_t zero = wire_u8(&w);
	zero |= wire_u16(&w);
	out->crc = wire_u32(&w);
	return magic == ENTRY_MAGIC && zero == 0 && out->number != 0 && out->size <= ENTRY_BYTES_MAX;
}

/* ---- a window on the file ---- */

int scanner_begin(struct scanner *s)
{
	if (s->at >= s->limit) /* nothing to read */
		return 0;
	s->buffer = malloc(BUFFER_SIZE);
	return s->buffer ? 0 : -ENOMEM;
}

void scanner_finish(struct scanner *s)
{
	free(s->buffer);
	s->buffer = NULL;
}

static int refill(struct scanner *s, uint64_t offset)
{
	size_t kept = 0;
	if (offset >= s->window_at && offset < s->window_at + s->window_size) {
		kept = (size_t)(s->window_at + s->window_size - offset);
		memmove(s->buffer, s->buffer + (offset - s->window_at), kept);
	}
	s->window_at = offset;
	s->window_size = kept;

	uint64_t left = s->limit - offset - kept;
	size_t want = left < BUFFER_SIZE - kept ? (size_t)left : BUFFER_SIZE - kept;
	ssize_t n = journal_read_readable(s->calls, s->fd, s->buffer + kept, want, offset + kept);
	if (n < 0)
		return (int)n;
	s->window_size += (size_t)n;
	if ((size_t)n < want) /* cut while we read it */
		s->limit = offset + s->window_size;
	return 0;
}

/* 1 and the bytes at `offset`, 0 if the file does not have so many, negative errno. */
static int need(struct scanner *s, uint64_t offset, size_t size, const uint8_t **out)
{
	if (offset > s->limit || size > s->limit - offset)
		return 0;
	if (offset < s->window_at || offset + size > s->window_at + s->window_size) {
		int err = refill(s, offset);
		if (err < 0)
			return err;
		if (size > s->window_size)
			return 0;
	}
	*out = s->buffer + (offset - s->window_at);
	return 1;
}

/* ---- entries ---- */

/* 1: a whole entry stands there; 0: none; negative errno. */
static int entry_at(struct scanner *s, uint64_t offset, struct journal_entry *out)
{
	const uint8_t *bytes;
	struct entry_head head;
	int got = need(s, offset, ENTRY_HEAD_SIZE, &bytes);
	if (got <= 0 || !journal_get_head(&head, bytes))
		return got < 0 ? got : 0;
	got = need(s, offset, ENTRY_HEAD_SIZE + head.size, &bytes);
	if (got <= 0)
		return got;
	if (journal_entry_crc(bytes, bytes + ENTRY_HEAD_SIZE, head.size) != head.crc)
		return 0;

	journal_place place = (uint64_t)s->segment << 32 | offset;
	*out = (struct journal_entry){
		.kind = head.kind,
		.number = head.number,
		.place = place,
		.end = place + ENTRY_HEAD_SIZE + head.size,
		.bytes = bytes + ENTRY_HEAD_SIZE,
		.size = head.size,
	};
	return 1;
}

/* Only the bytes of the entry at `offset` are damaged, if the next follows where its head says. */
static int entry_after_damaged(struct scanner *s, uint64_t offset, struct journal_entry *out)
{
	const uint8_t *bytes;
	struct entry_head head;
	int got = need(s, offset, ENTRY_HEAD_SIZE, &bytes);
	if (got <= 0 || !journal_get_head(&head, bytes))
		return got < 0 ? got : 0;
	struct journal_entry next;
	got = entry_at(s, offset + ENTRY_HEAD_SIZE + head.size, &next);
	if (got <= 0 || next.number != head.number + 1)
		return got < 0 ? got : 0;
	*out = next;
	return 1;
}

/* The first entry at or after `offset`. */
static int entry_search(struct scanner *s, uint64_t offset, struct journal_entry *out)
{
	const uint32_t magic = htole32(ENTRY_MAGIC);
	for (;;) {
		const uint8_t *bytes;
		int got = need(s, offset, ENTRY_HEAD_SIZE, &bytes);
		if (got <= 0)
			return got;
		size_t there = (size_t)(s->window_at + s->window_size - offset);
		const uint8_t *found = memmem(bytes, there, &magic, sizeof(magic));
		if (!found) {
			offset += there - (sizeof(magic) - 1);
			continue;
		}
		offset += (uint64_t)(found - bytes);
		got = entry_at(s, offset, out);
		if (got)
			return got;
		offset++;
	}
}

int scanner_next(struct scanner *s, struct journal_entry *entry, struct journal_damage *damage)
{
	*damage = (struct journal_damage){ .segment = s->segment, .offset = s->at };
	if (s->at >= s->limit)
		return 0;

	uint64_t end = s->limit;
	int got = entry_at(s, s->at, entry);
	if (got == 0) {
		got = entry_after_damaged(s, s->at, entry);
		if (got == 0)
			got = entry_search(s, s->at + 1, entry);
		if (got < 0)
			return got;
		damage->size = (got ? (entry->place & UINT32_MAX) : end) - s->at;
	}
	if (got < 0)
		return got;
	s->at = got ? s->at + damage->size + (entry->end - entry->place) : end;
	return got;
}

/* ---- scanning ---- */

struct visitor {
	journal_visit visit;
	journal_damaged damaged;
	void *context;
	bool torn;    /* damage at the end of this segment is a torn tail */
	bool stopped; /* by visit */
};

static int scan_file(struct scanner *s, struct visitor *v)
{
	for (;;) {
		struct journal_entry entry;
		struct journal_damage damage;
		int got = scanner_next(s, &entry, &damage);
		if (got < 0)
			return got;
		if (damage.size && v->damaged) {
			damage.torn_tail = !got && v->torn;
			v->damaged(v->context, &damage);
		}
		if (!got)
			return 0;
		int stop = v->visit(v->context, &entry);
		if (stop) {
			v->stopped = true;
			return stop;
		}
	}
}

static int scan_segment(struct journal *j, uint32_t id, uint64_t from, uint64_t limit, struct visitor *v)
{
	struct segment_file *file;
	uint64_t size;
	int err = journal_acquire(j, id, &file, &size);
	if (err == -ESTALE) /* rewritten since it was listed: read the new one */
		err = journal_acquire(j, id, &file, &size);
	if (err == -ESTALE)
		return 0;
	if (err < 0)
		return err;
	struct scanner s = { .calls = &j->calls, .fd = file->fd, .segment = id, .at = from,
			     .limit = size < limit ? size : limit };
	err = scanner_begin(&s);
	if (err == 0)
		err = scan_file(&s, v);
	scanner_finish(&s);
	journal_release(j, file);
	return err;
}

int journal_scan_segment(struct journal *j, uint32_t segment, journal_visit visit,
			 journal_damaged damaged, void *context)
{
	struct visitor v = { .visit = visit, .damaged = damaged, .context = context };
	return scan_segment(j, segment, 0, UINT64_MAX, &v);
}

static int scan_from(struct journal *j, journal_place from, struct visitor *v)
{
	pthread_mutex_lock(&j->files);
	size_t count = j->segment_count;
	uint64_t end = count ? j->segments[count - 1].size : 0;
	CLEANUP(cleanup_free) uint32_t *ids = malloc((count + 1) * sizeof(*ids));
	for (size_t i = 0; ids && i < count; i++)
		ids[i] = j->segments[i].id;
	pthread_mutex_unlock(&j->files);
	if (!ids)
		return -ENOMEM;

	for (size_t i = 0; i < count; i++) {
		if (ids[i] < from >> 32)
			continue;
		uint64_t offset = ids[i] == from >> 32 ? from & UINT32_MAX : 0;
		bool last = i == count - 1;
		v->torn = last && j->readonly;
		int err = scan_segment(j, ids[i], offset, last ? end : UINT64_MAX, v);
		if (err)
			return err;
	}
	return 0;
}

int journal_scan(struct journal *j, journal_place from, journal_visit visit,
		 journal_damaged damaged, void *context)
{
	struct visitor v = { .visit = visit, .damaged = damaged, .context = context };
	return scan_from(j, from, &v);
}

int journal_scan_readonly(int directory_fd, journal_visit visit, journal_damaged damaged,
			  void *context, struct why *why)
{
	struct visitor v = { .visit = visit, .damaged = damaged, .context = context };
	struct journal *j;
	int err = journal_open_readonly(&j, directory_fd, why);
	if (err < 0)
		return err;
	err = scan_from(j, 0, &v);
	journal_close(j);
	if (err && !v.stopped)
		return why_set(why, err, "cannot read the journal: %s", why_errno(err));
	return err;
}
