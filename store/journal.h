/*
 * journal.h - append-only segment files: the truth of a data folder.
 *
 * journal/00000001.seg, 00000002.seg, ...: each at most SEGMENT_SIZE_MAX bytes,
 * a head of its own and then entries [magic, number, length, kind, crc32, bytes]
 * (moot-store(5)).  Numbers rise by one over all segments, but for gaps that compaction
 * leaves.  The crc32 (zlib's) is over the journal's salt, the entry's place, the other fields
 * of its head and the bytes.  An append of several entries is one write(2).
 *
 * The salt is random and stands in journal/salt and in every segment's head, so
 * that one damage cannot take it.  Who does not know it cannot make bytes
 * that damage would turn into an entry, nor can an entry count at another place.
 *
 * After damage the reader scans for the next valid entry; only a tail that no
 * valid entry follows is cut, or after a power cut what never was durable, and it is
 * moved aside (journal/00000003.torn), never destroyed.  A segment is durable before the next is begun.
 *
 * Threads: all functions may be called from any thread.  Appending callers are
 * few and short (one write); syncing is grouped: one fdatasync serves all who
 * wait.  After a failed write the file ends where it did before it.  After a
 * failed fdatasync the entries not known durable are written again into a
 * new segment by the next sync; until that succeeds every sync fails (pages
 * whose write-back failed are lost to the kernel: a second fdatasync of the
 * same file lies).
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "id.h"
#include "store_limits.h"
#include "why.h"

#define JOURNAL_HEAD_SIZE 24 /* bytes before an entry's own */
#define JOURNAL_SEGMENT_HEAD_SIZE 20 /* bytes before a segment's first entry */

/* Where an entry stands: segment << 32 | offset of its head. Rises with every append. */
typedef uint64_t journal_place;

struct journal;

#define JOURNAL_UNSYNCED_UNKNOWN 0xffffffu

struct journal_entry { /* an entry as read; bytes are borrowed until the callback returns */
	uint8_t kind;
	uint32_t unsynced; /* so many before it, by number, were not known durable when it was appended */
	uint64_t number;
	journal_place place;
	journal_place end; /* of the byte after it */
	const uint8_t *bytes;
	size_t size;
};

struct journal_damage { /* a range of a segment that holds no valid entry, or is not its head */
	uint32_t segment;      /* 0: journal/salt */
	uint64_t offset, size; /* bytes */
	bool torn_tail;        /* nothing valid follows: it was moved aside */
};

struct journal_stats {
	uint64_t segments, bytes, syncs, entries_appended;
};

/*
 * Opens or makes the journal in `directory_fd`/journal. Reads only the last segment
 * (to find its end and next number); a torn tail is moved aside. Other damage is met when scanned.
 * power_was_cut: the machine stopped while it was in use. Then all from the first missing entry that never was
 * durable is moved aside, for what came after builds on it.
 * -EPROTONOSUPPORT: it is of another format. -EBADMSG: the salt is lost, or something else has a segment's name.
 */
int journal_open(struct journal **out, int directory_fd, bool power_was_cut, struct why *why);
/*
 * The journal as it is now, to be read only, also while another process appends to it: nothing is
 * made, cut or removed, and what appends or rewrites fails with -EROFS. An incomplete tail is told by
 * scans as damage with torn_tail. When the other process rewrites a segment, journal_read() at an old place
 * gives -ESTALE, -EBADMSG or another entry: scan the segment again. -ENOENT: there is no journal.
 */
int journal_open_readonly(struct journal **out, int directory_fd, struct why *why);
/* Syncs and closes; the error is that of the last sync. Takes NULL. */
int journal_close(struct journal *j);

struct journal_part { /* one entry to append; its bytes are the spans joined */
	uint8_t kind;
	const struct span *spans;
	size_t span_count;
};

/*
 * Appends the entries in one write, never dividing them over two segments.
 * out_places (count of them) tells where each stands. -ENOSPC, -EIO, -EDQUOT, -EFBIG:
 * nothing was appended. -EMSGSIZE: an entry over JOURNAL_ENTRY_MAX.
 */
int journal_append(struct journal *j, const struct journal_part *parts, size_t count,
		   journal_place *out_places);
/*
 * Takes back the appends since `end` (journal_end() before them). Only legal while no other appended since.
 * Where the disk refuses to cut the file, the next append does it first. -EIO: their numbers cannot be given again.
 */
int journal_rollback(struct journal *j, journal_place end);
/* The place of the next append, unless a new segment begins. All entries stand below it. */
journal_place journal_end(struct journal *j);
/* Where the next append of these parts will stand, were it made now: for callers that serialise appends. */
void journal_plan(struct journal *j, const struct journal_part *parts, size_t count, journal_place *out_places);

/* Makes everything appended before the call durable. Callers share fdatasyncs. */
int journal_sync(struct journal *j);
/* True if everything appended is known durable. */
bool journal_is_synced(struct journal *j);

/* One entry's bytes, checked: -EBADMSG if there is no valid entry there. Size, or -EMSGSIZE if `out` is small. */
ssize_t journal_read(struct journal *j, journal_place place, uint8_t *out_kind, void *out, size_t out_size);

typedef int (*journal_visit)(void *context, const struct journal_entry *entry);
typedef void (*journal_damaged)(void *context, const struct journal_damage *damage);
/*
 * Visits every valid entry from `from` (0: all) to the end as it is at the call; stops at nonzero and returns it.
 * `damaged` (may be NULL) is told of each range skipped.
 */
int journal_scan(struct journal *j, journal_place from, journal_visit visit,
		 journal_damaged damaged, void *context);

/* The segments, oldest first: for compaction. */
size_t journal_segments(struct journal *j, uint32_t *out, size_t count_max);
uint64_t journal_segment_size(struct journal *j, uint32_t segment);
/* Ends the active segment, which is made durable: the next append begins a new one. */
int journal_rotate(struct journal *j);
/* Visits the entries of one segment. */
int journal_scan_segment(struct journal *j, uint32_t segment, journal_visit visit,
			 journal_damaged damaged, void *context);
/*
 * Rewrites a segment (not the active one) without the entries that `live` refuses;
 * order and numbers stay, so a later scan meets records in the order they came.
 * Two steps, because the caller's index must follow: prepare writes and syncs the
 * new file and tells each kept entry's new place (`moved`); commit renames it over
 * the old one, abandon removes it. Readers that hold an old place get -EBADMSG or
 * another entry after the commit: check what was read by its name, and look its place
 * up again. Damaged ranges are moved aside. One compaction at a time: -EBUSY. A commit
 * that fails changes nothing and abandons; -EAGAIN: entries were taken back meanwhile.
 */
int journal_compact_prepare(struct journal *j, uint32_t segment,
			    bool (*live)(void *context, const struct journal_entry *entry),
			    void (*moved)(void *context, const struct journal_entry *entry,
					  journal_place new_place),
			    void *context);
int journal_compact_commit(struct journal *j, uint32_t segment);
void journal_compact_abandon(struct journal *j, uint32_t segment);

void journal_stats(struct journal *j, struct journal_stats *out);

#endif
