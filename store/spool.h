/*
 * spool.h - bytes under edit: random access, in memory while small, in an unlinked file beyond that.
 *
 * A spool keeps SPOOL_MEMORY_MAX bytes in memory at most; larger ones move to a
 * temporary file in the given directory (O_TMPFILE), so memory does not grow
 * with document size.  Holes read as zeroes.  One thread at a time.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stdint.h>
#include <sys/types.h>

#define SPOOL_MEMORY_MAX (64 * 1024)

struct spool;

int spool_new(struct spool **out, int directory_fd); /* fd borrowed, must outlive it */
void spool_free(struct spool *s);
uint64_t spool_size(const struct spool *s);
/* Short only at the end; bytes or negative errno. */
ssize_t spool_read(struct spool *s, void *out, size_t size, uint64_t offset);
/* 0, or -ENOSPC, -EIO, -ENOMEM, ...: then nothing of it may be relied on beyond the old bytes outside the range. */
int spool_write(struct spool *s, const void *bytes, size_t size, uint64_t offset);
int spool_truncate(struct spool *s, uint64_t size);

#endif
