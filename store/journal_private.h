/*
 * journal_private.h - what the files of journal.h share; nobody else includes it but their tests.
 *
 * journal_segment.c knows names, open files and replacing one; journal_salt.c
 * the salt; journal_scan.c the format and reading on after damage; journal_tail.c what a
 * crash left at the end; journal_sync.c making durable; journal_compact.c rewriting; journal.c the rest.
 *
 * Locks, in this order: `state` guards what appends and syncs change; `files`
 * the open files and sizes, and is held only briefly (never over a read, write
 * or sync).  The array of segments and what stands in it change under both
 * and are read under either, but where a field says otherwise.
 */
#ifndef JOURNAL_PRIVATE_H
#define JOURNAL_PRIVATE_H

#include <pthread.h>

#include "journal.h"
#include "journal_scan.h"

#define SEGMENT_NAME_SIZE 32
#define OPEN_FILES_MAX 64 /* readers of an old journal must not use up the process's descriptors */

/* The system calls that can fail, as they are in unistd.h; a test puts its own here. */
struct journal_calls {
	ssize_t (*pread)(void *context, int fd, void *out, size_t size, off_t offset);
	ssize_t (*pwrite)(void *context, int fd, const void *bytes, size_t size, off_t offset);
	int (*fdatasync)(void *context, int fd);
	int (*fsync)(void *context, int fd);
	int (*ftruncate)(void *context, int fd, off_t size);
	int (*openat)(void *context, int directory_fd, const char *path, int flags, mode_t mode);
	int (*renameat)(void *context, int directory_fd, const char *from, const char *to);
	void (*random)(void *context, uint8_t *out, size_t size);
	void *context;
};

extern const struct journal_calls journal_system_calls;

struct segment_file { /* shared by the table and those who read or sync right now */
	int fd;
	unsigned refs; /* files */
};

struct segment {
	uint32_t id;
	uint64_t size;             /* bytes that count; the file is longer only if truncate_due */
	struct segment_file *file; /* NULL: not open */
	uint64_t used;             /* tick of the last use; files */
	uint64_t inode;            /* of the file as it was last seen; readonly alone; files */
	uint64_t touched;          /* generation of the last append or truncation */
	uint64_t clean;            /* generation known durable */
	/* state alone: */
	uint64_t synced_size; /* bytes known durable */
	bool lost;            /* a sync failed: the file is to be written again */
	bool truncate_due;
};

struct compaction {
	uint32_t segment; /* 0: none */
	int fd;
	uint64_t size, source_size;
};

struct journal {
	struct journal_calls calls;
	uint64_t segment_size_max;
	int directory_fd; /* of journal/ */
	bool readonly;
	bool salt_damaged; /* journal/salt is not there as it should; readonly alone: else it is made anew */
	struct journal_salt salt;

	pthread_mutex_t state, files;
	pthread_cond_t synced;

	struct segment *segments; /* by id; the last is the active one */
	size_t segment_count, segment_capacity;
	size_t open_count;
	uint64_t tick;

	uint64_t next_number;
	uint64_t round_next; /* the least next_number since the last sync began: what is taken back meanwhile is not durable */
	uint64_t durable_number; /* of the last entry known durable; 0 until the first sync */
	uint64_t generation; /* rises with every append and truncation */
	uint64_t durable;    /* generation up to which all is known durable */
	bool syncing;        /* a leader is at work */
	uint64_t failures;   /* failed rounds of syncing; what the last one covered, and its error */
	uint64_t failed_generation;
	int failed_error;
	uint64_t syncs, entries_appended;

	struct compaction compaction;
};

/*
 * A process before this one may have been killed between its appends and their
 * sync. It synced every second: what it left is in the newest segments.
 */
#define UNSYNCED_AT_OPEN_MAX 8

struct journal_tuning {
	uint64_t segment_size_max;         /* 0: SEGMENT_SIZE_MAX */
	const struct journal_calls *calls; /* NULL: the system's */
	bool power_was_cut;
};
int journal_open_tuned(struct journal **out, int directory_fd, const struct journal_tuning *tuning, struct why *why);

/* ---- journal_segment.c ---- */

void journal_segment_name(char out[SEGMENT_NAME_SIZE], uint32_t id, const char *suffix);
/* Ids in order; the caller's to free. leftovers: also removes what an interrupted rewrite left. */
int journal_list(int directory_fd, bool leftovers, uint32_t **out_ids, size_t *out_count);
/* Each transfers all or fails; a read is short only at the end of the file. */
int journal_write_all(const struct journal_calls *calls, int fd, const uint8_t *bytes, size_t size,
		      uint64_t offset);
ssize_t journal_read_all(const struct journal_calls *calls, int fd, uint8_t *out, size_t size,
			 uint64_t offset);
/* The same, but sectors that the disk cannot read are zeroes. */
ssize_t journal_read_readable(const struct journal_calls *calls, int fd, uint8_t *out, size_t size,
			      uint64_t offset);
int journal_copy(const struct journal_calls *calls, int from, uint64_t from_offset, uint64_t size, int to);
int journal_sync_directory(struct journal *j);
/* Copies a range of a segment to journal/N.torn (.torn.2 ...), durably. */
int journal_set_aside(struct journal *j, uint32_t id, int fd, uint64_t offset, uint64_t size);

/* Under either lock. NULL: there is none. */
struct segment *journal_find(struct journal *j, uint32_t id);
/* Both take ownership of fd on success only. Under state. */
int journal_add_segment(struct journal *j, uint32_t id, uint64_t size, int fd);
int journal_replace_file(struct journal *j, struct segment *s, int fd, const char *name, uint64_t size);
/* A new generation, of which this segment's new size is a part. Under state. */
void journal_touch(struct journal *j, struct segment *s, uint64_t size);
/* What was touched up to a generation is durable. Under state. */
void journal_set_clean(struct journal *j, struct segment *s, uint64_t generation, uint64_t synced_size);
/* -ENOENT: no such segment. Without `files`. */
int journal_acquire(struct journal *j, uint32_t id, struct segment_file **out, uint64_t *out_size);
void journal_release(struct journal *j, struct segment_file *file);
void journal_close_files(struct journal *j);
/* Cuts a file to the size its segment has. Under state. */
int journal_truncate(struct journal *j, struct segment *s);

/* ---- journal_salt.c ---- */

/* Finds the salt in journal/salt or a segment's head, or makes one for a journal that is new. */
int journal_find_salt(struct journal *j, struct why *why);

/* ---- journal_tail.c ---- */

/* Becomes durable with the first entry, before which it is not needed. */
int journal_write_segment_head(struct journal *j, int fd);
/* After a power cut: moves aside all from the first hole that is no damage. */
int journal_cut_after_holes(struct journal *j, struct why *why);
/* Moves a torn tail aside and finds the next number. */
int journal_find_end(struct journal *j, struct why *why);

/* ---- journal.c ---- */

/* Creates the segment after the active one. Under state. */
int journal_begin_segment(struct journal *j);

#endif
