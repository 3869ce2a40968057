/*
 * journal_scan.c - the format of an entry, and reading segments also where they are damaged.
 *
 * A segment begins with a head, all integers little-endian:
 *
 *	offset  size  field
 *	0       4     magic: the bytes e7 4d 53 1a
 *	4       4     format: 2
 *	8       8     salt: random, the same in all segments of a journal
 *	16      4     crc32 of the bytes before
 *
 * The rest is nothing but entries, the next where the last one ends:
 *
 *	offset  size  field
 *	0       4     magic: the bytes e7 4d 4a 1a
 *	4       8     number: 1, 2, 3 ... over all segments
 *	12      4     length of the bytes: at most 131048, so that an entry has at most 128 KiB
 *	16      1     kind
 *	17      3     unsynced: how many entries before it, by number, were not known durable when it
 *	              was appended; 0xffffff: that many or more
 *	20      4     crc32 (zlib's, of RFC 1952) of the salt, the entry's place as 8 bytes, the bytes at
 *	              4 to 19, and the bytes below
 *	24            the bytes
 *
 * Where there is none the search for the next goes by the magic, and an entry
 * counts only if it is wholly valid.  What a damaged entry holds may look like
 * entries itself: made by a stranger, they have not the salt; copied from this
 * very journal, not the place.
 */
#include "journal_private.h"

#include <endian.h>
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cleanup.h"
#include "wire.h"

#define BUFFER_SIZE (512 * 1024) /* holds any entry; large enough that calls cost nothing */

_Static_assert(BUFFER_SIZE >= 2 * JOURNAL_ENTRY_MAX, "an entry and what comes before it");

/* ---- the heads ---- */

void journal_put_segment_head(uint8_t out[SEGMENT_HEAD_SIZE], const struct journal_salt *salt)
{
	uint32_t magic = htole32(SEGMENT_MAGIC), format = htole32(SEGMENT_FORMAT);
	memcpy(out, &magic, 4);
	memcpy(out + 4, &format, 4);
	memcpy(out + 8, salt->bytes, sizeof(salt->bytes));
	uint32_t crc = htole32((uint32_t)crc32(0, out, 16));
	memcpy(out + 16, &crc, 4);
}

int journal_get_segment_head(struct journal_salt *out, const uint8_t *bytes, size_t size)
{
	struct wire w;
	wire_init(&w, bytes, size);
	uint32_t magic = wire_u32(&w), format = wire_u32(&w);
	if (magic == ENTRY_MAGIC) /* how the first format began */
		return -EPROTONOSUPPORT;
	const uint8_t *salt = wire_bytes(&w, sizeof(out->bytes));
	uint32_t crc = wire_u32(&w);
	if (wire_finish(&w) < 0 || magic != SEGMENT_MAGIC || crc != crc32(0, bytes, 16))
		return -EBADMSG;
	if (format != SEGMENT_FORMAT)
		return -EPROTONOSUPPORT;
	memcpy(out->bytes, salt, sizeof(out->bytes));
	return 0;
}

uint32_t journal_entry_crc(const struct journal_salt *salt, journal_place place, const uint8_t head[ENTRY_HEAD_SIZE],
			   const uint8_t *bytes, size_t size)
{
	uint8_t before[8 + 8 + 16];
	place = htole64(place);
	memcpy(before, salt->bytes, 8);
	memcpy(before + 8, &place, 8);
	memcpy(before + 16, head + 4, 16);
	/* The same function as zlib's, at several times its speed. */
	uint32_t crc = libdeflate_crc32(0, before, sizeof(before));
	return size ? libdeflate_crc32(crc, bytes, size) : crc;
}

void journal_put_head(uint8_t out[ENTRY_HEAD_SIZE], const struct journal_salt *salt, const struct journal_entry *entry)
{
	uint32_t magic = htole32(ENTRY_MAGIC), length = htole32((uint32_t)entry->size);
	uint64_t number = htole64(entry->number);
	memcpy(out, &magic, 4);
	memcpy(out + 4, &number, 8);
	memcpy(out + 12, &length, 4);
	out[16] = entry->kind;
	for (unsigned i = 0; i < 3; i++)
		out[17 + i] = (uint8_t)(entry->unsynced >> 8 * i);
	uint32_t crc = htole32(journal_entry_crc(salt, entry->place, out, entry->bytes, entry->size));
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
	out->unsynced = wire_u8(&w);
	out->unsynced |= (uint32_t)wire_u16(&w) << 8;
	out->crc = wire_u32(&w);
	return magic == ENTRY_MAGIC && out->number != 0 && out->size <= ENTRY_BYTES_MAX;
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
	journal_place place = (uint64_t)s->segment << 32 | offset;
	if (journal_entry_crc(&s->salt, place, bytes, bytes + ENTRY_HEAD_SIZE, head.size) != head.crc)
		return 0;

	*out = (struct journal_entry){
		.kind = head.kind,
		.number = head.number,
		.unsynced = head.unsynced,
		.place = place,
		.end = place + ENTRY_HEAD_SIZE + head.size,
		.bytes = bytes + ENTRY_HEAD_SIZE,
		.size = head.size,
	};
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

/* 1: the segment begins as it should; 0: not so. */
static int segment_head_is_good(struct scanner *s)
{
	uint8_t wanted[SEGMENT_HEAD_SIZE];
	const uint8_t *bytes;
	int got = need(s, 0, SEGMENT_HEAD_SIZE, &bytes);
	journal_put_segment_head(wanted, &s->salt);
	return got > 0 ? memcmp(bytes, wanted, sizeof(wanted)) == 0 : got;
}

int scanner_next(struct scanner *s, struct journal_entry *entry, struct journal_damage *damage)
{
	*damage = (struct journal_damage){ .segment = s->segment, .offset = s->at };
	if (s->at >= s->limit)
		return 0;

	uint64_t end = s->limit;
	int got = s->at ? 0 : segment_head_is_good(s);
	if (got < 0)
		return got;
	if (got)
		s->at = damage->offset = SEGMENT_HEAD_SIZE;
	if (s->at == end)
		return 0;
	uint64_t from = s->at ? s->at : SEGMENT_HEAD_SIZE;
	got = entry_at(s, from, entry);
	if (got == 0)
		got = entry_search(s, from + 1, entry);
	if (got < 0)
		return got;
	damage->size = (got ? (entry->place & UINT32_MAX) : end) - s->at;
	s->at = got ? entry->end & UINT32_MAX : end;
	return got;
}

/* ---- scanning ---- */

struct visitor {
	journal_visit visit;
	journal_damaged damaged;
	void *context;
	bool torn; /* damage at the end of this segment is a torn tail */
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
		if (stop)
			return stop;
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
	struct scanner s = { .calls = &j->calls, .fd = file->fd, .segment = id, .salt = j->salt, .at = from,
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

	if (j->salt_damaged && v->damaged && from == 0)
		v->damaged(v->context, &(struct journal_damage){ .size = SEGMENT_HEAD_SIZE });
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
