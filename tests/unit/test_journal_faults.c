/* Tests of journal.h: compaction, system calls that fail, and many threads. */
#include "journal_kit.h"

#include <errno.h>
#include <pthread.h>

/* ---- compaction ---- */

static bool odd_lives(void *context, const struct journal_entry *entry)
{
	return entry->number % 2;
}

static bool none_lives(void *context, const struct journal_entry *entry)
{
	return false;
}

static void note_move(void *context, const struct journal_entry *entry, journal_place new_place)
{
	journal_place *places = context;
	places[entry->number - 1] = new_place;
}

static void test_compaction(void **state)
{
	struct folder *f = *state;
	journal_place places[40], moved[40] = { 0 };
	uint8_t out[256];
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 2048, NULL);
	for (unsigned n = 0; n < 40; n++)
		append_ok(j, n, 100, &places[n]);
	uint32_t active = (uint32_t)(journal_end(j) >> 32);
	uint64_t before = journal_segment_size(j, 1);

	assert_int_equal(journal_compact_prepare(j, active, odd_lives, note_move, moved), -EINVAL);
	assert_int_equal(journal_compact_prepare(j, 99, odd_lives, note_move, moved), -ENOENT);
	assert_int_equal(journal_compact_commit(j, 1), -EINVAL);
	assert_int_equal(journal_compact_prepare(j, 1, odd_lives, note_move, moved), 0);
	assert_int_equal(journal_compact_prepare(j, 2, odd_lives, note_move, moved), -EBUSY);
	check_read(j, places[1], 1, 100);
	journal_compact_abandon(j, 1);
	assert_int_equal(file_size(f, "journal/00000001.new"), SIZE_MAX);
	check_read(j, places[1], 1, 100);
	assert_int_equal(journal_segment_size(j, 1), before);

	assert_int_equal(journal_compact_prepare(j, 1, odd_lives, note_move, moved), 0);
	assert_int_equal(journal_compact_commit(j, 1), 0);
	assert_true(journal_segment_size(j, 1) * 2 <= before + 200);
	uint64_t last = places[0]; /* of segment 1 */
	for (unsigned n = 0; n < 40; n++)
		last = places[n] >> 32 == 1 ? places[n] : last;
	assert_int_equal(journal_read(j, last, NULL, out, sizeof(out)), -EBADMSG);
	scan_all(j, seen);
	assert_int_equal(seen->damages, 0);
	for (unsigned n = 0; n < 40; n += 2) {
		bool rewritten = places[n] >> 32 == 1;
		check_read(j, rewritten ? moved[n] : places[n], n, 100);
		assert_int_equal(moved[n] != 0, rewritten);
	}
	assert_int_equal(journal_sync(j), 0);
	append_ok(j, 40, 100, NULL);
	assert_int_equal(journal_close(j), 0);

	size_t count = seen->count;
	j = open_small(f, 2048, NULL);
	scan_all(j, seen);
	assert_int_equal(seen->count, count + 1);
	assert_int_equal(seen->numbers[count], 41);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

static void test_compaction_to_nothing(void **state)
{
	struct folder *f = *state;
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 1024, NULL);
	append_ok(j, 1, 100, NULL);
	assert_int_equal(journal_rotate(j), 0);
	append_ok(j, 2, 100, NULL);
	assert_int_equal(journal_compact_prepare(j, 1, none_lives, note_move, NULL), 0);
	assert_int_equal(journal_compact_commit(j, 1), 0);
	assert_int_equal(journal_segment_size(j, 1), SEGMENT_HEAD_SIZE);
	scan_all(j, seen);
	assert_int_equal(seen->count, 1);
	assert_int_equal(journal_close(j), 0);
	j = open_small(f, 1024, NULL);
	assert_int_equal(journal_segments(j, NULL, 0), 1);
	assert_int_equal(journal_end(j) >> 32, 2);
	assert_int_equal(file_size(f, "journal/00000001.seg"), SIZE_MAX);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

static void test_compaction_keeps_what_is_damaged_aside(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096], torn[4096];
	journal_place moved[SMALL_COUNT];
	size_t size = make_small(f, bytes);
	bytes[SMALL_AT(1) + 3] ^= 1;
	write_file(f, "journal/00000001.seg", bytes, size);
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 0, NULL);
	assert_int_equal(journal_rotate(j), 0);
	assert_int_equal(journal_compact_prepare(j, 1, odd_lives, note_move, moved), 0);
	assert_int_equal(journal_compact_commit(j, 1), 0);
	scan_all(j, seen);
	assert_int_equal(seen->count, 3);
	assert_int_equal(seen->damages, 0);
	assert_int_equal(read_file(f, "journal/00000001.torn", torn, sizeof(torn)), SMALL_STEP);
	assert_memory_equal(torn, bytes + SMALL_AT(1), SMALL_STEP);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

static void test_compaction_of_what_was_taken_back(void **state)
{
	struct folder *f = *state;
	journal_place moved[8];
	struct journal *j = open_small(f, 512, NULL);
	append_ok(j, 0, 100, NULL);
	journal_place end = journal_end(j);
	for (unsigned n = 1; n < 6; n++)
		append_ok(j, n, 100, NULL);
	assert_int_equal(journal_compact_prepare(j, 1, odd_lives, note_move, moved), 0);
	assert_int_equal(journal_rollback(j, end), 0);
	assert_int_equal(journal_compact_commit(j, 1), -EAGAIN);
	assert_int_equal(journal_compact_prepare(j, 1, odd_lives, note_move, moved), 0);
	assert_int_equal(journal_close(j), 0);
}

/* ---- faults ---- */

enum call { CALL_READ = 1, CALL_WRITE = 2, CALL_SYNC = 4, CALL_TRUNCATE = 8, CALL_OPEN = 16, CALL_RENAME = 32 };

struct faults {
	unsigned kinds;    /* calls that count */
	int fail_at;       /* which of them fails, from 1; 0: none */
	bool for_good;     /* and all after it */
	int error;
	size_t write_max;  /* bytes a write takes at most; 0: any */
	off_t bad_sector;  /* reads that touch it fail; 0: none */
	int count, failed;
	int sync_ms;
	int syncs;
	pthread_mutex_t lock;
};

static bool fails(struct faults *faults, enum call kind)
{
	if (!(faults->kinds & kind))
		return false;
	faults->count++;
	if (!faults->fail_at || faults->count < faults->fail_at ||
	    (faults->count > faults->fail_at && !faults->for_good))
		return false;
	faults->failed++;
	errno = faults->error;
	return true;
}

static ssize_t faulty_pread(void *context, int fd, void *out, size_t size, off_t offset)
{
	struct faults *faults = context;
	if (faults->bad_sector && offset < faults->bad_sector + 4096 && offset + (off_t)size > faults->bad_sector) {
		errno = EIO;
		return -1;
	}
	return fails(faults, CALL_READ) ? -1 : pread(fd, out, size, offset);
}

static ssize_t faulty_pwrite(void *context, int fd, const void *bytes, size_t size, off_t offset)
{
	struct faults *faults = context;
	if (fails(faults, CALL_WRITE))
		return -1;
	if (faults->write_max && size > faults->write_max)
		size = faults->write_max;
	return pwrite(fd, bytes, size, offset);
}

static int faulty_sync(void *context, int fd)
{
	struct faults *faults = context;
	if (faults->sync_ms) {
		pthread_mutex_lock(&faults->lock);
		faults->syncs++;
		pthread_mutex_unlock(&faults->lock);
		usleep((useconds_t)faults->sync_ms * 1000);
	}
	return fails(faults, CALL_SYNC) ? -1 : 0;
}

static int faulty_ftruncate(void *context, int fd, off_t size)
{
	return fails(context, CALL_TRUNCATE) ? -1 : ftruncate(fd, size);
}

static int faulty_openat(void *context, int directory_fd, const char *path, int flags, mode_t mode)
{
	return fails(context, CALL_OPEN) ? -1 : openat(directory_fd, path, flags, mode);
}

static int faulty_renameat(void *context, int directory_fd, const char *from, const char *to)
{
	return fails(context, CALL_RENAME) ? -1 : renameat(directory_fd, from, directory_fd, to);
}

static struct journal_calls faulty_calls(struct faults *faults)
{
	return (struct journal_calls){
		.pread = faulty_pread, .pwrite = faulty_pwrite, .fdatasync = faulty_sync, .fsync = faulty_sync,
		.ftruncate = faulty_ftruncate, .openat = faulty_openat, .renameat = faulty_renameat,
		.random = known_random, .context = faults,
	};
}

static void arm(struct faults *faults, unsigned kinds, int fail_at, bool for_good, int error)
{
	faults->kinds = kinds;
	faults->fail_at = fail_at;
	faults->for_good = for_good;
	faults->error = error;
	faults->count = faults->failed = 0;
}

static void test_append_with_faults(void **state)
{
	struct folder *f = *state;
	static const struct {
		const char *name;
		unsigned kinds;
		bool for_good;
		size_t write_max;
		size_t fill; /* of the segment of 1024 before */
		int error;
	} cases[] = {
		{ "full disk", CALL_WRITE, false, 0, 100, ENOSPC },
		{ "full disk after short writes", CALL_WRITE, true, 7, 100, ENOSPC },
		{ "quota, and no truncation", CALL_WRITE | CALL_TRUNCATE, true, 50, 100, EDQUOT },
		{ "anything at a new segment", ~0u, false, 0, 900, EIO },
		{ "anything for good at a new segment", ~0u, true, 60, 900, EIO },
	};
	struct seen *seen = seen_new();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct faults faults = { 0 };
		struct journal_calls calls = faulty_calls(&faults);
		int err = -1;
		for (int n = 1; err < 0; n++) {
			journal_place place;
			remove_journal(f->fd);
			arm(&faults, 0, 0, false, 0);
			struct journal *j = open_small(f, 1024, &calls);
			append_ok(j, 1, cases[i].fill, NULL);
			faults.write_max = cases[i].write_max;
			arm(&faults, cases[i].kinds, n, cases[i].for_good, cases[i].error);
			err = append_sized(j, 2, 200, &place);
			assert_true(n > 1 || err < 0);
			assert_int_equal(err < 0, faults.failed > 0);
			if (err < 0)
				assert_int_equal(err, -cases[i].error);
			scan_all(j, seen);

			arm(&faults, 0, 0, false, 0);
			faults.write_max = 0;
			scan_all(j, seen);
			assert_int_equal(seen->count, err < 0 ? 1 : 2);
			append_ok(j, 3, 10, NULL); /* shorter than what may have been left */
			scan_readonly(f, seen);    /* as it would be after kill -9 */
			assert_int_equal(journal_close(j), 0);
			if (seen->damages || seen->count != (err < 0 ? 2 : 3) || seen->numbers[seen->count - 1] != seen->count)
				fail_msg("%s at call %d: %zu entries, %zu damages", cases[i].name, n, seen->count, seen->damages);
		}
	}
	free(seen);
}

static void test_open_with_faults(void **state)
{
	struct folder *f = *state;
	uint8_t bytes[4096];
	struct faults faults = { 0 };
	struct journal_calls calls = faulty_calls(&faults);
	size_t size = make_small(f, bytes);
	struct seen *seen = seen_new();
	int err = -1;
	for (int n = 1; err < 0; n++) {
		struct journal *j = NULL;
		struct why why = { "" };
		make_segment(f, bytes, size - 7);
		arm(&faults, ~0u, n, false, ENOSPC);
		const struct journal_tuning tuning = { .calls = &calls, .power_was_cut = n % 2 };
		err = journal_open_tuned(&j, f->fd, &tuning, &why);
		assert_int_equal(err < 0, why.text[0] != '\0');
		assert_int_equal(err, faults.failed ? -ENOSPC : 0);
		arm(&faults, 0, 0, false, 0);
		scan_readonly(f, seen);
		assert_int_equal(seen->count, SMALL_COUNT - 1);
		assert_int_equal(journal_close(j), 0);
	}
	assert_int_equal(file_size(f, "journal/00000001.torn"), SMALL_STEP - 7);
	assert_int_equal(file_size(f, "journal/00000001.torn.2"), SIZE_MAX);
	free(seen);
}

static void test_sync_fails_until_written_again(void **state)
{
	struct folder *f = *state;
	struct faults faults = { 0 };
	struct journal_calls calls = faulty_calls(&faults);
	struct seen *seen = seen_new();
	int err = -1;
	for (int n = 1; err < 0; n++) {
		journal_place places[8];
		remove_journal(f->fd);
		arm(&faults, 0, 0, false, 0);
		struct journal *j = open_small(f, 0, &calls);
		append_ok(j, 0, 300, &places[0]);
		assert_int_equal(journal_sync(j), 0);
		append_ok(j, 1, 300, &places[1]);
		struct stat before, after;
		assert_int_equal(fstatat(f->fd, "journal/00000001.seg", &before, 0), 0);

		arm(&faults, CALL_SYNC, 1, false, EIO);
		assert_int_equal(journal_sync(j), -EIO);
		assert_false(journal_is_synced(j));
		append_ok(j, 2, 300, &places[2]);

		/* Writing it again fails in the n-th of all its calls. */
		arm(&faults, ~0u, n, true, ENOSPC);
		err = journal_sync(j);
		assert_int_equal(err, faults.failed ? -ENOSPC : 0);
		assert_true(n > 1 || err < 0);
		assert_int_equal(journal_is_synced(j), err == 0);
		arm(&faults, 0, 0, false, 0);
		append_ok(j, 3, 300, &places[3]);
		assert_int_equal(journal_sync(j), 0);
		assert_true(journal_is_synced(j));

		assert_int_equal(fstatat(f->fd, "journal/00000001.seg", &after, 0), 0);
		assert_true(err < 0 || before.st_ino != after.st_ino);
		for (unsigned k = 0; k < 4; k++)
			check_read(j, places[k], k, 300);
		assert_int_equal(file_size(f, "journal/00000001.copy"), SIZE_MAX);
		assert_int_equal(journal_close(j), 0);
		scan_readonly(f, seen);
		assert_int_equal(seen->count, 4);
		assert_int_equal(seen->damages, 0);
	}
	free(seen);
}

static void test_sync_never_lies_about_lost_pages(void **state)
{
	struct folder *f = *state;
	struct faults faults = { 0 };
	struct journal_calls calls = faulty_calls(&faults);
	struct journal *j = open_small(f, 0, &calls);
	journal_place place, end;
	append_ok(j, 0, 300, &place);
	assert_int_equal(journal_sync(j), 0);
	end = journal_end(j);
	append_ok(j, 1, 300, &place);

	arm(&faults, CALL_SYNC, 1, false, EIO);
	assert_int_equal(journal_sync(j), -EIO);
	int fd = openat(f->fd, "journal/00000001.seg", O_WRONLY | O_CLOEXEC);
	uint8_t zeroes[324] = { 0 };
	assert_int_equal(pwrite(fd, zeroes, sizeof(zeroes), (off_t)(place & UINT32_MAX)), sizeof(zeroes));
	close(fd);
	for (int i = 0; i < 3; i++)
		assert_int_equal(journal_sync(j), -EIO);
	append_ok(j, 2, 300, NULL);
	assert_int_equal(journal_sync(j), -EIO);
	assert_false(journal_is_synced(j));
	/* Taken back, there is nothing lost any more. */
	assert_int_equal(journal_rollback(j, end), 0);
	assert_int_equal(journal_sync(j), 0);
	assert_int_equal(journal_close(j), 0);
}

static void test_compaction_with_faults(void **state)
{
	struct folder *f = *state;
	struct faults faults = { 0 };
	struct journal_calls calls = faulty_calls(&faults);
	struct seen *seen = seen_new();
	int err = -1;
	for (int n = 1; err < 0; n++) {
		journal_place places[6], moved[6] = { 0 };
		remove_journal(f->fd);
		arm(&faults, 0, 0, false, 0);
		struct journal *j = open_small(f, 0, &calls);
		for (unsigned k = 0; k < 6; k++)
			append_ok(j, k, 100, &places[k]);
		assert_int_equal(journal_rotate(j), 0);
		assert_int_equal(journal_sync(j), 0);

		arm(&faults, CALL_WRITE | CALL_SYNC | CALL_OPEN | CALL_RENAME, n, false, ENOSPC);
		err = journal_compact_prepare(j, 1, odd_lives, note_move, moved);
		bool kept = err < 0;
		if (err == 0 && faults.failed == 0) {
			err = journal_compact_commit(j, 1);
			kept = err < 0;
			/* Syncing the directory failed after the rename: told by the next sync. */
			if (err == 0 && faults.failed)
				assert_false(journal_is_synced(j));
		}
		for (unsigned k = 0; k < 6; k += 2)
			check_read(j, kept ? places[k] : moved[k], k, 100);
		assert_int_equal(journal_sync(j), 0);
		assert_int_equal(file_size(f, "journal/00000001.new"), SIZE_MAX);
		scan_all(j, seen);
		assert_int_equal(seen->count, kept ? 6 : 3);
		assert_int_equal(seen->damages, 0);
		assert_int_equal(journal_close(j), 0);
	}
	free(seen);
}

static void test_unreadable_sector(void **state)
{
	struct folder *f = *state;
	struct faults faults = { 0 };
	struct journal_calls calls = faulty_calls(&faults);
	struct seen *seen = seen_new();
	struct journal *j = open_small(f, 0, &calls);
	for (unsigned n = 0; n < 100; n++)
		append_ok(j, n, 1000, NULL);
	assert_int_equal(journal_close(j), 0);

	faults.bad_sector = 10 * 4096;
	j = open_small(f, 0, &calls);
	scan_all(j, seen);
	assert_int_equal(seen->damages, 1);
	assert_int_equal(seen->count, 95); /* of five entries of 1 KiB some stood in it */
	assert_int_equal(seen->numbers[seen->count - 1], 100);
	assert_int_equal(journal_close(j), 0);

	/* At the end it is a torn tail, of which the readable part is set aside. */
	faults.bad_sector = 1024 * 100 - 4096;
	j = open_small(f, 0, &calls);
	scan_all(j, seen);
	assert_int_equal(seen->damages, 0);
	assert_int_equal(seen->count, 95);
	assert_true(file_size(f, "journal/00000001.torn") >= 4096);
	assert_int_equal(journal_close(j), 0);
	free(seen);
}

/* ---- threads ---- */

#define THREAD_APPENDS 150

struct crowd {
	struct journal *j;
	struct folder *folder;
	unsigned base;
	journal_place places[THREAD_APPENDS];
	int error;
};

static void *append_and_sync(void *context)
{
	struct crowd *c = context;
	uint8_t bytes[200];
	struct span span = { bytes, sizeof(bytes) };
	for (unsigned n = 0; n < THREAD_APPENDS && !c->error; n++) {
		unsigned tag = c->base + n;
		struct journal_part part = { (uint8_t)(tag % 5 + 1), &span, 1 };
		fill(bytes, tag, sizeof(bytes));
		c->error = journal_append(c->j, &part, 1, &c->places[n]);
		if (!c->error && n % 5 == 0)
			c->error = journal_sync(c->j);
	}
	return NULL;
}

static int count_entry(void *context, const struct journal_entry *entry)
{
	(*(size_t *)context)++;
	return 0;
}

static void *read_back(void *context)
{
	struct crowd *c = context;
	for (int n = 0; n < 40 && !c->error; n++) {
		size_t count = 0;
		struct journal_stats stats;
		journal_stats(c->j, &stats);
		(void)journal_is_synced(c->j);
		c->error = journal_scan(c->j, 0, count_entry, NULL, &count);
		if (!c->error)
			c->error = scan_as_other(c->folder->fd, count_entry, NULL, &count);
	}
	return NULL;
}

static bool all_live(void *context, const struct journal_entry *entry)
{
	return true;
}

static void ignore_move(void *context, const struct journal_entry *entry, journal_place new_place)
{
}

static void *rewrite(void *context)
{
	struct crowd *c = context;
	for (int n = 0; n < 20 && !c->error; n++) {
		if (journal_segments(c->j, NULL, 0) < 2) {
			usleep(1000);
			continue;
		}
		uint32_t ids[64];
		size_t count = journal_segments(c->j, ids, 64);
		uint32_t id = ids[(size_t)n % (count - 1)];
		c->error = journal_compact_prepare(c->j, id, all_live, ignore_move, NULL);
		if (!c->error)
			c->error = journal_compact_commit(c->j, id);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct folder *f = *state;
	static void *(*const work[])(void *) = {
		append_and_sync, append_and_sync, append_and_sync, append_and_sync, read_back, rewrite,
	};
	enum { COUNT = sizeof(work) / sizeof(work[0]) };
	struct crowd *crowd = calloc(COUNT, sizeof(*crowd));
	pthread_t threads[COUNT];
	struct journal *j = open_small(f, 16 * 1024, NULL);
	for (unsigned i = 0; i < COUNT; i++) {
		crowd[i] = (struct crowd){ .j = j, .folder = f, .base = i * 1000 };
		assert_int_equal(pthread_create(&threads[i], NULL, work[i], &crowd[i]), 0);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(crowd[i].error, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		for (unsigned n = 0; n < THREAD_APPENDS; n++)
			check_read(j, crowd[i].places[n], crowd[i].base + n, 200);
	struct seen *seen = seen_new();
	scan_all(j, seen);
	assert_int_equal(seen->count, 4 * THREAD_APPENDS);
	for (size_t i = 0; i < seen->count; i++)
		assert_int_equal(seen->numbers[i], i + 1);
	assert_int_equal(journal_sync(j), 0);
	assert_true(journal_is_synced(j));
	assert_int_equal(journal_close(j), 0);
	free(seen);
	free(crowd);
}

static void *append_then_sync(void *context)
{
	struct crowd *c = context;
	struct span span = { "x", 1 };
	struct journal_part part = { 1, &span, 1 };
	for (int n = 0; n < 5 && !c->error; n++) {
		c->error = journal_append(c->j, &part, 1, &c->places[n]);
		if (!c->error)
			c->error = journal_sync(c->j);
	}
	return NULL;
}

static void test_syncs_are_shared(void **state)
{
	struct folder *f = *state;
	struct faults faults = { .sync_ms = 5, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct journal_calls calls = faulty_calls(&faults);
	struct journal *j = open_small(f, 0, &calls);
	struct crowd crowd[8];
	pthread_t threads[8];
	faults.syncs = 0;
	for (size_t i = 0; i < 8; i++) {
		crowd[i] = (struct crowd){ .j = j };
		assert_int_equal(pthread_create(&threads[i], NULL, append_then_sync, &crowd[i]), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(crowd[i].error, 0);
	}
	/* 40 were asked for; each who waits at most waits for one under way and one more. */
	assert_in_range(faults.syncs, 5, 25);
	assert_true(journal_is_synced(j));
	assert_int_equal(journal_close(j), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_compaction),
		TEST(test_compaction_to_nothing),
		TEST(test_compaction_keeps_what_is_damaged_aside),
		TEST(test_compaction_of_what_was_taken_back),
		TEST(test_append_with_faults),
		TEST(test_open_with_faults),
		TEST(test_sync_fails_until_written_again),
		TEST(test_sync_never_lies_about_lost_pages),
		TEST(test_compaction_with_faults),
		TEST(test_unreadable_sector),
		TEST(test_threads),
		TEST(test_syncs_are_shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
