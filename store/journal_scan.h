/*
 * journal_scan.h - the head of an entry, and walking over the entries of one file; for journal_*.c alone.
 *
 * A scanner reads through a buffer of its own, one thread's, and goes on after
 * damage.  Errors are negative errno.
 */
#ifndef JOURNAL_SCAN_H
#define JOURNAL_SCAN_H

#include "journal.h"

#define ENTRY_HEAD_SIZE 24
#define SEGMENT_HEAD_SIZE JOURNAL_SEGMENT_HEAD_SIZE
#define SEGMENT_MAGIC 0x1a534de7u /* bytes e7 'M' 'S' 1a */
#define SEGMENT_FORMAT 2          /* 1 had neither heads of segments nor a salt */
#define ENTRY_MAGIC 0x1a4a4de7u /* bytes e7 'M' 'J' 1a: in no UTF-8 text */
#define ENTRY_BYTES_MAX (JOURNAL_ENTRY_MAX - ENTRY_HEAD_SIZE)

struct journal_calls;

struct journal_salt {
	uint8_t bytes[8];
};

/* The head of a segment; it is also all that journal/salt holds. */
void journal_put_segment_head(uint8_t out[SEGMENT_HEAD_SIZE], const struct journal_salt *salt);
/* -EBADMSG: this is no head; -EPROTONOSUPPORT: of another format. */
int journal_get_segment_head(struct journal_salt *out, const uint8_t *bytes, size_t size);

/* The head of the entry with these bytes at that place. */
void journal_put_head(uint8_t out[ENTRY_HEAD_SIZE], const struct journal_salt *salt, const struct journal_entry *entry);
uint32_t journal_entry_crc(const struct journal_salt *salt, journal_place place, const uint8_t head[ENTRY_HEAD_SIZE],
			   const uint8_t *bytes, size_t size);

struct entry_head {
	uint64_t number;
	uint32_t size, crc; /* size of the bytes */
	uint32_t unsynced;
	uint8_t kind;
};
/* False: this can be no head. */
bool journal_get_head(struct entry_head *out, const uint8_t head[ENTRY_HEAD_SIZE]);

struct scanner { /* the caller sets the first group, and the rest to 0 */
	const struct journal_calls *calls;
	int fd;
	uint32_t segment;
	struct journal_salt salt;
	uint64_t at, limit; /* offsets: next to look at, end */

	uint8_t *buffer;
	uint64_t window_at; /* what of the file is in the buffer */
	size_t window_size;
};

int scanner_begin(struct scanner *s);
void scanner_finish(struct scanner *s);
/*
 * 1: *entry is the next one; 0: there is no more. damage->size is not 0 where
 * bytes before that hold no entry; at 0 they may be no more than the segment's head.
 * entry->bytes live until the next call.
 */
int scanner_next(struct scanner *s, struct journal_entry *entry, struct journal_damage *damage);

#endif
