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
#define ENTRY_MAGIC 0x1a4a4de7u /* bytes e7 'M' 'J' 1a: in no UTF-8 text */
#define ENTRY_BYTES_MAX (JOURNAL_ENTRY_MAX - ENTRY_HEAD_SIZE)

struct journal_calls;

/* The bytes are those that will follow the head. */
void journal_put_head(uint8_t out[ENTRY_HEAD_SIZE], uint64_t number, uint8_t kind, const uint8_t *bytes, size_t size);
uint32_t journal_entry_crc(const uint8_t head[ENTRY_HEAD_SIZE], const uint8_t *bytes, size_t size);

struct entry_head {
	uint64_t number;
	uint32_t size, crc; /* size of the bytes */
	uint8_t kind;
};
/* False: this can be no head. */
bool journal_get_head(struct entry_head *out, const uint8_t head[ENTRY_HEAD_SIZE]);

struct scanner { /* the caller sets the first group, and the rest to 0 */
	const struct journal_calls *calls;
	int fd;
	uint32_t segment;
	uint64_t at, limit; /* offsets: next to look at, end */

	uint8_t *buffer;
	uint64_t window_at; /* what of the file is in the buffer */
	size_t window_size;
};

int scanner_begin(struct scanner *s);
void scanner_finish(struct scanner *s);
/*
 * 1: *entry is the next one; 0: there is no more. damage->size is not 0 where
 * bytes before that hold no entry. entry->bytes live until the next call.
 */
int scanner_next(struct scanner *s, struct journal_entry *entry, struct journal_damage *damage);

#endif
