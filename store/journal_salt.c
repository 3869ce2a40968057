/* journal_salt.c - the salt of a journal: kept in a file of its own, and again in the head of every segment. */
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define SALT_NAME "salt"
#define SALT_NEW_NAME "salt.new"

/* -ENOENT: it is not there, or empty. */
static int read_from(struct journal *j, const char *name, struct journal_salt *out)
{
	uint8_t head[SEGMENT_HEAD_SIZE];
	CLEANUP(cleanup_close) int fd = openat(j->directory_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t size = journal_read_readable(&j->calls, fd, head, sizeof(head), 0);
	if (size <= 0)
		return size < 0 ? (int)size : -ENOENT;
	return journal_get_segment_head(out, head, (size_t)size);
}

/* -ENOENT: there is nothing in any segment. */
static int read_from_segments(struct journal *j, struct journal_salt *out)
{
	int err = -ENOENT;
	for (size_t i = 0; i < j->segment_count; i++) {
		char name[SEGMENT_NAME_SIZE];
		journal_segment_name(name, j->segments[i].id, "seg");
		int got = read_from(j, name, out);
		if (got != -ENOENT && got != -EBADMSG)
			return got;
		if (got == -EBADMSG)
			err = got;
	}
	return err;
}

/* Durable before any segment is begun. */
static int write_salt(struct journal *j)
{
	uint8_t head[SEGMENT_HEAD_SIZE];
	journal_put_segment_head(head, &j->salt);
	CLEANUP(cleanup_close) int fd = j->calls.openat(j->calls.context, j->directory_fd, SALT_NEW_NAME,
							O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int err = journal_write_all(&j->calls, fd, head, sizeof(head), 0);
	if (err == 0 && j->calls.fsync(j->calls.context, fd) < 0)
		err = -errno;
	if (err == 0 && j->calls.renameat(j->calls.context, j->directory_fd, SALT_NEW_NAME, SALT_NAME) < 0)
		err = -errno;
	if (err < 0) {
		unlinkat(j->directory_fd, SALT_NEW_NAME, 0);
		return err;
	}
	return journal_sync_directory(j);
}

static int tell_why(struct why *why, int err)
{
	if (err == -EPROTONOSUPPORT)
		return why_set(why, err, "the journal is of another format than the one that this program reads, which is %d",
			       SEGMENT_FORMAT);
	if (err == -EBADMSG)
		return why_set(why, err, "the journal cannot be read: its salt is lost in journal/salt and in the head of every segment");
	return why_set(why, err, "cannot read the salt of the journal: %s", why_errno(err));
}

int journal_find_salt(struct journal *j, struct why *why)
{
	int err = read_from(j, SALT_NAME, &j->salt);
	if (err == 0)
		return 0;
	if (err == -ENOENT || err == -EBADMSG)
		err = read_from_segments(j, &j->salt);
	if (err < 0 && err != -ENOENT)
		return tell_why(why, err);
	if (j->readonly) {
		j->salt_damaged = err == 0;
		return 0;
	}
	if (err == -ENOENT)
		j->calls.random(j->calls.context, j->salt.bytes, sizeof(j->salt.bytes));
	err = write_salt(j);
	return err < 0 ? why_set(why, err, "cannot write journal/salt: %s", why_errno(err)) : 0;
}
