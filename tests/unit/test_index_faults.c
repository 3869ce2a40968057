/* The index on a disk that fails or is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "index_kit.h"

/* Of writes to an index: which one fails, from 1; 0: none. */
static struct { int fail_at, count; bool all_after, done_all_the_same; } disk;

static bool is_index(int fd)
{
	char link[64], path[300];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	path[size > 0 ? size : 0] = '\0';
	return strstr(path, "/index/data.mdb") != NULL;
}

static bool disk_fails(int fd, int *out_at)
{
	*out_at = disk.fail_at && is_index(fd) ? ++disk.count : 0;
	return *out_at && (*out_at == disk.fail_at || (*out_at > disk.fail_at && disk.all_after));
}

/* They stand before libc's: LMDB finds these. */
ssize_t disk_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite");
ssize_t disk_pwrite64(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t disk_writev(int fd, const struct iovec *spans, int count) __asm__("writev");

ssize_t disk_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	int at;

	bool fails = disk_fails(fd, &at);
	if (!fails || (disk.done_all_the_same && at == disk.fail_at))
		size = (size_t)syscall(SYS_pwrite64, fd, bytes, size, offset);
	if (fails)
		errno = EIO;
	return fails ? -1 : (ssize_t)size;
}

ssize_t disk_pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return disk_pwrite(fd, bytes, size, offset);
}

ssize_t disk_writev(int fd, const struct iovec *spans, int count)
{
	int at;

	if (!disk_fails(fd, &at))
		return syscall(SYS_writev, fd, spans, count);
	errno = EIO;
	return -1;
}

/* The n-th write of a commit fails, or all from it on: nothing of it is there, and then it works again. */
static void a_failed_write_is_mended(void **state)
{
	const struct folder *f = *state;
	char value[16];

	for (int all_after = 0; all_after < 2; all_after++)
		for (int n = 1, failed = 1; failed; n++) {
			struct index_txn *txn = begin(f, true);
			put(txn, TABLE_LOG, "k", "before");
			assert_int_equal(index_commit(txn), 0);
			txn = begin(f, true);
			snprintf(value, sizeof(value), "%d", n);
			put(txn, TABLE_LOG, "k", value);
			put(txn, TABLE_PATH, value, value);
			disk.fail_at = n;
			disk.count = 0;
			disk.all_after = all_after;
			failed = index_commit(txn) < 0;
			assert_true(failed == (disk.count >= n));
			assert_true(!failed || n > 1 || disk.count > 0);
			if (n == 1)
				assert_true(failed);
			disk.fail_at = 0;
			txn = begin(f, n % 2);
			assert_value(txn, TABLE_LOG, "k", failed ? "before" : value);
			index_abort(txn);
		}
	assert_int_equal(index_sync(f->index), 0);
}

/* Fails the write of the page that makes a commit count. */
static int break_it(const struct folder *f, bool done_all_the_same)
{
	struct index_txn *txn = begin(f, true);

	put(txn, TABLE_LOG, "k", "counted");
	disk.fail_at = 1000;
	disk.count = 0;
	assert_int_equal(index_commit(txn), 0);
	disk.fail_at = disk.count; /* the last of them */
	disk.count = 0;
	disk.done_all_the_same = disk.all_after = done_all_the_same;
	txn = begin(f, true);
	put(txn, TABLE_LOG, "k", "refused");
	int err = index_commit(txn);
	memset(&disk, 0, sizeof(disk));
	return err;
}

static void *wait_to_read(void *context)
{
	struct index_txn *txn = begin(context, false);

	assert_value(txn, TABLE_LOG, "k", "counted");
	index_abort(txn);
	return NULL;
}

/* It is opened again when they have ended; what they see stays; who waits for himself is told. */
static void readers_are_waited_for(void **state)
{
	struct folder *f = *state;
	struct index_txn *txn = begin(f, true), *other;
	pthread_t thread;

	put(txn, TABLE_LOG, "k", "first");
	assert_int_equal(index_commit(txn), 0);
	txn = begin(f, false);
	assert_int_equal(break_it(f, false), -EIO);
	assert_value(txn, TABLE_LOG, "k", "first");
	assert_int_equal(index_begin(f->index, false, &other), -EIO); /* not for ever */
	assert_int_equal(pthread_create(&thread, NULL, wait_to_read, f), 0);
	usleep(20000);
	assert_value(txn, TABLE_LOG, "k", "first");
	index_abort(txn);
	assert_int_equal(pthread_join(thread, NULL), 0);
	txn = begin(f, true);
	put(txn, TABLE_LOG, "k", "after");
	assert_int_equal(index_commit(txn), 0);
}

/* The disk says no and has done it: what was taken back everywhere else must not be believed. */
static void a_refused_commit_that_is_there_is_not_believed(void **state)
{
	struct folder *f = *state;
	struct index_txn *txn;

	assert_int_equal(break_it(f, true), -EIO);
	for (int i = 0; i < 3; i++)
		assert_int_equal(index_begin(f->index, i % 2, &txn), -EIO);
	index_close(f->index);
	assert_int_equal(index_open(&f->index, f->fd, NULL), 0);
	txn = begin(f, false);
	assert_value(txn, TABLE_LOG, "k", NULL); /* to be built anew */
	index_abort(txn);
}

/* A file system of its own gets full in the middle of a commit: LMDB speaks of EIO where only a part was written. */
static void a_full_disk_is_told(void **state)
{
	enum { SIZE = 100000 };
	const struct folder *f = *state;
	uint8_t *value = calloc(1, SIZE);
	struct index *index = NULL;
	struct index_txn *txn;
	char path[300];
	int err = 0;

	snprintf(path, sizeof(path), "%s/small", f->path);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("small", path, "tmpfs", 0, "size=1m") < 0) {
		rmdir(path);
		free(value);
		print_message("no tmpfs can be mounted here\n");
		skip();
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(index_open(&index, fd, NULL), 0);
	for (uint8_t key = 0; err == 0; key++) {
		assert_int_equal(index_begin(index, true, &txn), 0);
		assert_int_equal(index_put(txn, TABLE_LOCAL, &key, 1, value, SIZE), 0);
		err = index_commit(txn);
	}
	int small = 0, count = -1;
	for (; small == 0 && count < 100; count++) { /* and with the rest of it used up */
		assert_int_equal(index_begin(index, true, &txn), 0);
		assert_int_equal(index_put(txn, TABLE_LOG, &count, sizeof(count), value, 1500), 0);
		small = index_commit(txn);
	}
	index_close(index);
	close(fd);
	umount2(path, MNT_DETACH);
	rmdir(path);
	free(value);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(small, -ENOSPC);
	assert_true(count > 0);
}
int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_failed_write_is_mended),
		TEST(readers_are_waited_for),
		TEST(a_full_disk_is_told),
		TEST(a_refused_commit_that_is_there_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
