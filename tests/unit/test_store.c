/* The data folder: opening it, transactions whole or not at all, replay, pieces, local facts, giving back room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <lmdb.h>
#include <pthread.h>
#include <sys/wait.h>

#include "journal_private.h"
#include "store_helper.h"

/* ---- calls that fail ---- */

enum call { CALL_WRITE = 1, CALL_SYNC = 2, CALL_COMMIT = 4, CALL_PUT = 8, CALL_RENAME = 16 };

static struct faults {
	unsigned kinds;
	int fail_at; /* which of them fails, from 1 */
	int count, failed;
} faults;

static void arm(unsigned kinds, int fail_at)
{
	faults = (struct faults){ .kinds = kinds, .fail_at = fail_at };
}

static bool fails(enum call kind)
{
	if (!(faults.kinds & kind) || ++faults.count != faults.fail_at)
		return false;
	faults.failed++;
	errno = ENOSPC;
	return true;
}

static ssize_t faulty_pwrite(void *context, int fd, const void *bytes, size_t size, off_t offset)
{
	if (!fails(CALL_WRITE))
		return pwrite(fd, bytes, size, offset);
	if (size > 40 && pwrite(fd, bytes, size / 2, offset) > 0) /* a full disk takes what still fits */
		errno = ENOSPC;
	return -1;
}

static int faulty_sync(void *context, int fd)
{
	return fails(CALL_SYNC) ? -1 : 0;
}

static int faulty_renameat(void *context, int directory_fd, const char *from, const char *to)
{
	return fails(CALL_RENAME) ? -1 : renameat(directory_fd, from, directory_fd, to);
}

/* These stand before liblmdb's own, whose errors they give: the index has no seam of its own. */
int mdb_txn_commit(MDB_txn *txn)
{
	static int (*real)(MDB_txn *txn);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_txn_commit");
	if (!fails(CALL_COMMIT))
		return real(txn);
	mdb_txn_abort(txn);
	return ENOSPC;
}

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags)
{
	static int (*real)(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mdb_put");
	return fails(CALL_PUT) ? MDB_MAP_FULL : real(txn, dbi, key, data, flags);
}

static void use_faults(struct test_store *t)
{
	struct journal *journal = store_journal(t->store);

	journal->calls.pwrite = faulty_pwrite;
	journal->calls.fdatasync = journal->calls.fsync = faulty_sync;
	journal->calls.renameat = faulty_renameat;
}

/* ---- a store for each test ---- */

static int setup(void **state)
{
	struct test_store *t = calloc(1, sizeof(*t));

	arm(0, 0);
	test_store_make(t, 11);
	use_faults(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	arm(0, 0);
	test_store_remove(*state);
	free(*state);
	return 0;
}

static void reopen(struct test_store *t, bool reindex)
{
	test_store_stop(t);
	test_store_start(t, reindex);
	use_faults(t);
}

/* As a kill leaves it: the folder is copied while it is open. */
static void kill_and_start(struct test_store *t)
{
	char copy[300], command[700];

	snprintf(copy, sizeof(copy), "%s.copy", t->path);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", t->path, copy);
	assert_int_equal(system(command), 0);
	store_close(t->store); /* its disk may still be failing */
	nftw(t->path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, t->path), 0);
	arm(0, 0);
	test_store_start(t, false);
	use_faults(t);
}

static int put_fact(struct test_store *t, const char *key, const char *value)
{
	struct store_txn *txn;

	int err = store_begin(t->store, true, &txn);
	if (err < 0)
		return err;
	err = store_local_put(txn, LOCAL_CONFIG, key, strlen(key), value, strlen(value));
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static void assert_fact(struct test_store *t, const char *key, const char *expected)
{
	struct store_txn *txn = txn_begin(t, false);
	const uint8_t *value;
	size_t size;

	int err = store_local_get(txn, LOCAL_CONFIG, key, strlen(key), &value, &size);
	if (!expected)
		assert_int_equal(err, -ENOENT);
	else if (err < 0 || size != strlen(expected) || memcmp(value, expected, size) != 0)
		fail_msg("%s: %d, %.*s, not %s", key, err, err < 0 ? 0 : (int)size, err < 0 ? "" : (const char *)value, expected);
	store_abort(txn);
}

/* A store with a bit of everything: documents, directories, facts. */
static void fill(struct test_store *t, unsigned versions)
{
	struct store_txn *txn = txn_begin(t, true);
	struct id root = t->key.public, directory, last = { { 0 } }, document = { { 0 } };
	char text[64];

	say_profile(txn, NULL, "alice");
	say_directory(txn, &root, "guides", &directory);
	for (unsigned i = 0; i < versions; i++) {
		snprintf(text, sizeof(text), "version %u\n", i);
		const struct save save = { .directory = directory, .name = "soil.md", .text = text, .document = document, .parent = last };
		last = say_version(t, txn, &save);
		if (i == 0)
			document = last;
	}
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "quota", 5, "10", 2), 0);
	txn_commit(txn);
}

/* ---- opening ---- */

static int try_open(struct test_store *t, const char *path, bool create, struct why *why)
{
	const struct store_options options = { .clock = helper_clock(t), .create = create };
	struct store *store = NULL;

	*why = (struct why){ "" };
	int err = store_open(&store, path, &t->key, &options, why);
	if (err == 0)
		assert_int_equal(store_close(store), 0);
	return err;
}

static void assert_refused(struct test_store *t, const char *path, int error, const char *words)
{
	struct why why;

	assert_int_equal(try_open(t, path, false, &why), error);
	if (!strstr(why.text, words))
		fail_msg("\"%s\" does not say \"%s\"", why.text, words);
}

static void test_open_errors(void **state)
{
	struct test_store *t = *state;
	char path[300], file[320];

	snprintf(path, sizeof(path), "%s/none", t->path);
	assert_refused(t, path, -ENOENT, "moot init");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(t, path, -ENOENT, "moot init");
	assert_int_equal(chmod(path, 0755), 0);
	assert_refused(t, path, -EACCES, "chmod 700");
	assert_int_equal(chmod(path, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		assert_refused(t, path, -EACCES, "12345");
		assert_int_equal(chown(path, 0, 0), 0);
	}
	snprintf(file, sizeof(file), "%s/file", path);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	assert_refused(t, file, -ENOTDIR, file);
	/* A link in place of the lock is not followed. */
	unlink(file);
	snprintf(file, sizeof(file), "%s/lock", path);
	unlink(file);
	assert_int_equal(symlink("/etc/passwd", file), 0);
	assert_refused(t, path, -ELOOP, "lock");
}

static void test_second_process_is_refused(void **state)
{
	struct test_store *t = *state;
	struct why why;
	char mount[100] = "x", pid_text[20], byte;
	int ready[2], done[2], pid = -1;

	assert_int_equal(store_set_mount(t->store, "/somewhere"), 0);
	assert_int_equal(store_holder(t->path, &pid, mount, sizeof(mount)), 0);
	assert_int_equal(pid, getpid());
	assert_string_equal(mount, "/somewhere");
	test_store_stop(t);
	assert_int_equal(store_holder(t->path, &pid, mount, sizeof(mount)), 0);
	assert_int_equal(pid, 0);
	assert_string_equal(mount, "");

	assert_true(pipe(ready) == 0 && pipe(done) == 0);
	pid_t child = fork();
	if (child == 0) {
		test_store_start(t, false);
		store_set_mount(t->store, "/elsewhere");
		_exit(write(ready[1], "x", 1) != 1 || read(done[0], &byte, 1) != 1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(try_open(t, t->path, false, &why), -EBUSY);
	snprintf(pid_text, sizeof(pid_text), "%d", (int)child);
	assert_non_null(strstr(why.text, pid_text));
	assert_non_null(strstr(why.text, "/elsewhere"));
	/* Refused, it changed nothing that the holder wrote. */
	assert_int_equal(store_holder(t->path, &pid, mount, sizeof(mount)), 0);
	assert_int_equal(pid, child);
	assert_int_equal(write(done[1], "x", 1), 1);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	test_store_start(t, false);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(done[i]);
	}
}

/* ---- the index follows the journal ---- */

static int dump_table(struct store_txn *txn, enum table table, struct bytes *out)
{
	struct index_range range;
	int more = 0;

	int err = index_range_open(&range, store_index(txn), table, NULL, 0);
	while (err == 0 && (more = index_range_next(&range)) > 0) {
		bytes_put_u32(out, (uint32_t)range.key_size);
		bytes_put(out, range.key, range.key_size);
		bytes_put_u32(out, (uint32_t)range.value_size);
		bytes_put(out, range.value, range.value_size);
	}
	index_range_close(&range);
	return err < 0 ? err : more;
}

/* All rows of all tables but META, one after the other. */
static void dump(struct test_store *t, struct bytes *out)
{
	struct store_txn *txn = txn_begin(t, false);

	bytes_init(out, 1u << 28);
	for (int table = TABLE_META + 1; table < TABLE_COUNT; table++) {
		bytes_put_u32(out, (uint32_t)table);
		assert_int_equal(dump_table(txn, (enum table)table, out), 0);
	}
	assert_int_equal(bytes_error(out), 0);
	store_abort(txn);
}

static void assert_dump(struct test_store *t, const struct bytes *expected)
{
	struct bytes now;

	dump(t, &now);
	assert_int_equal(now.size, expected->size);
	assert_memory_equal(now.data, expected->data, now.size);
	bytes_finish(&now);
}

static void assert_counts(struct test_store *t, const struct store_counts *expected)
{
	struct store_counts now;

	assert_int_equal(store_counts(t->store, &now), 0);
	assert_int_equal(now.records, expected->records);
	assert_int_equal(now.pieces, expected->pieces);
	assert_int_equal(now.logs, expected->logs);
	assert_int_equal(now.journal_bytes, expected->journal_bytes);
}

static void test_reopened_killed_and_reindexed_it_is_the_same(void **state)
{
	struct test_store *t = *state;
	struct store_counts counts;
	struct bytes rows;

	fill(t, 20);
	assert_int_equal(put_fact(t, "a", "1"), 0);
	assert_int_equal(put_fact(t, "a", "2"), 0);
	assert_int_equal(put_fact(t, "b", "gone"), 0);
	assert_int_equal(put_fact(t, "b", ""), 0);
	dump(t, &rows);
	assert_int_equal(store_counts(t->store, &counts), 0);
	assert_int_equal(counts.records, 22);
	assert_int_equal(counts.logs, 1);
	for (int round = 0; round < 3; round++) {
		if (round == 0)
			reopen(t, false);
		else if (round == 1)
			kill_and_start(t);
		else
			reopen(t, true);
		assert_dump(t, &rows);
		assert_counts(t, &counts);
		assert_fact(t, "a", "2");
		assert_fact(t, "b", NULL);
	}
	bytes_finish(&rows);
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
	assert_true(done <= total);
	(*(int *)context)++;
}

/* Opens it; was anything replayed? */
static bool replays(struct test_store *t)
{
	int calls = 0;
	const struct store_options options = { .clock = helper_clock(t), .progress = count_progress, .progress_context = &calls };

	assert_int_equal(store_open(&t->store, t->path, &t->key, &options, NULL), 0);
	return calls > 0;
}

static void replace_file(struct test_store *t, const char *name, const char *text)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", t->path, name);
	assert_int_equal(file_replace(AT_FDCWD, path, 0600, text, strlen(text)), 0);
}

static void test_index_that_cannot_be_trusted_is_rebuilt(void **state)
{
	static const struct {
		const char *name, *file, *text; /* what stands in which file before the start; NULL: it is removed */
		bool rebuilt;
	} cases[] = {
		{ "closed", NULL, NULL, false },
		{ "closed by another boot", "index/state", "mootfs index 1\nother-boot\nclosed\n", false },
		{ "open in another boot", "index/state", "mootfs index 1\nother-boot\nopen\n", true },
		{ "another format", "index/state", "mootfs index 0\nother-boot\nclosed\n", true },
		{ "an empty state", "index/state", "", true },
		{ "no state", "index/state", NULL, true },
		{ "tables of nonsense", "index/data.mdb", "nonsense", true },
		{ "no tables", "index/data.mdb", NULL, true },
	};
	struct test_store *t = *state;
	struct bytes rows;
	char path[300];

	fill(t, 5);
	dump(t, &rows);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_store_stop(t);
		snprintf(path, sizeof(path), "%s/%s", t->path, cases[i].file ? cases[i].file : "none");
		if (cases[i].text)
			replace_file(t, cases[i].file, cases[i].text);
		else if (cases[i].file)
			assert_int_equal(unlink(path), 0);
		if (replays(t) != cases[i].rebuilt)
			fail_msg("%s: rebuilt %d", cases[i].name, !cases[i].rebuilt);
		assert_dump(t, &rows);
	}
	bytes_finish(&rows);
}

/* ---- transactions ---- */

static void test_numbers(void **state)
{
	struct test_store *t = *state;
	struct id ids[5], found[5], id;
	uint64_t number, again;

	for (int i = 0; i < 5; i++) {
		memset(&ids[i], 0, sizeof(ids[i]));
		ids[i].bytes[0] = 0x40;
		ids[i].bytes[1] = (uint8_t)i;
	}
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_number(txn, NUMBER_DOCUMENT, &ids[0], &number), -ENOENT);
	for (uint64_t i = 0; i < 5; i++) {
		assert_int_equal(store_number_make(txn, NUMBER_DOCUMENT, &ids[i], &number), 0);
		assert_int_equal(number, i + 1);
		assert_int_equal(store_number_make(txn, NUMBER_DOCUMENT, &ids[i], &again), 0);
		assert_int_equal(again, number);
		assert_int_equal(store_number_id(txn, NUMBER_DOCUMENT, number, &id), 0);
		assert_true(id_equal(&id, &ids[i]));
	}
	assert_int_equal(store_number(txn, NUMBER_ENTITY, &ids[0], &number), -ENOENT); /* kinds are apart */
	assert_int_equal(store_number_id(txn, NUMBER_DOCUMENT, 6, &id), -ENOENT);
	assert_int_equal(store_number_between(txn, NUMBER_DOCUMENT, &ids[1], &ids[3], found, 5), 3);
	assert_true(id_equal(&found[0], &ids[1]) && id_equal(&found[2], &ids[3]));
	assert_int_equal(store_number_between(txn, NUMBER_DOCUMENT, &ids[0], &ids[4], found, 2), 3);
	store_abort(txn);
	/* What was given in vain is given again. */
	txn = txn_begin(t, true);
	assert_int_equal(store_number(txn, NUMBER_DOCUMENT, &ids[0], &number), -ENOENT);
	assert_int_equal(store_number_make(txn, NUMBER_DOCUMENT, &ids[4], &number), 0);
	assert_int_equal(number, 1);
	store_abort(txn);
}

static void test_append_limits(void **state)
{
	struct test_store *t = *state;
	uint8_t *bytes = calloc(1, JOURNAL_ENTRY_MAX);
	struct store_counts before;
	journal_place place;
	struct store_txn *txn;

	assert_int_equal(store_counts(t->store, &before), 0);
	txn = txn_begin(t, false);
	const struct span small = { bytes, 1 };
	assert_int_equal(store_append(txn, 100, &small, 1, &place), -EPERM);
	store_abort(txn);

	txn = txn_begin(t, true);
	const struct span large = { bytes, JOURNAL_ENTRY_MAX - JOURNAL_HEAD_SIZE + 1 };
	assert_int_equal(store_append(txn, 100, &large, 1, &place), -EMSGSIZE);
	const struct span largest = { bytes, JOURNAL_ENTRY_MAX - JOURNAL_HEAD_SIZE };
	assert_int_equal(store_append(txn, 100, &largest, 1, &place), 0);
	txn_commit(txn);

	/* More than a transaction holds: it fails whole, also if a caller did not look. */
	txn = txn_begin(t, true);
	int err = 0;
	for (int i = 0; err == 0 && i < 100; i++)
		err = store_append(txn, 100, &largest, 1, &place);
	assert_int_equal(err, -EMSGSIZE);
	assert_int_equal(store_commit(txn), -EMSGSIZE);
	txn = txn_begin(t, true);
	err = 0;
	int count = 0;
	for (; err == 0; count++)
		err = store_append(txn, 100, &small, 1, &place);
	assert_int_equal(err, -EMSGSIZE);
	assert_int_equal(count, TRANSACTION_ENTRIES_MAX + 1);
	store_abort(txn);

	before.journal_bytes += JOURNAL_ENTRY_MAX;
	assert_counts(t, &before);
	assert_int_equal(put_fact(t, "a", "1"), 0);
	free(bytes);
}

static void test_segments_turn_over(void **state)
{
	struct test_store *t = *state;
	uint8_t *bytes = calloc(1, JOURNAL_ENTRY_MAX);
	struct store_counts counts;
	journal_place place;
	char key[20];

	/* Facts among entries that fill more than one segment: each is where the index says. */
	for (int i = 0; i < 36; i++) {
		struct store_txn *txn = txn_begin(t, true);
		const struct span span = { bytes, 100000 };
		for (int k = 0; k < 20; k++)
			assert_int_equal(store_append(txn, 100, &span, 1, &place), 0);
		txn_commit(txn);
		snprintf(key, sizeof(key), "%d", i);
		assert_int_equal(put_fact(t, key, key), 0);
	}
	free(bytes);
	assert_int_equal(store_counts(t->store, &counts), 0);
	assert_true(counts.journal_segments > 1);
	reopen(t, true);
	for (int i = 0; i < 36; i++) {
		snprintf(key, sizeof(key), "%d", i);
		assert_fact(t, key, key);
	}
}

/* One transaction of many parts; a call in it fails. */
static int change(struct test_store *t)
{
	struct id root = t->key.public, directory;
	struct store_txn *txn;

	int err = store_begin(t->store, true, &txn);
	if (err < 0)
		return err;
	struct record *record = entries_begin();
	err = tree_new_directory_id(txn, &root, "new", &directory);
	entries_put(txn, record, &root, "new", WHAT_DIRECTORY, &directory);
	if (err == 0)
		err = log_append(txn, record, &directory, NULL);
	free(record);
	if (err == 0)
		err = store_local_put(txn, LOCAL_CONFIG, "changed", 7, "yes", 3);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static void check_change_with_faults(struct test_store *t, unsigned kinds)
{
	int err = -1;

	for (int n = 1; err < 0; n++) {
		struct store_counts before;
		struct bytes rows;
		dump(t, &rows);
		assert_int_equal(store_counts(t->store, &before), 0);
		arm(kinds, n);
		err = change(t);
		assert_int_equal(err < 0, faults.failed > 0);
		arm(0, 0);
		if (err < 0) {
			assert_dump(t, &rows);
			assert_counts(t, &before);
			/* The next one works, and is all that a restart finds. */
			assert_int_equal(put_fact(t, "next", "works"), 0);
			if (n % 4 == 1)
				kill_and_start(t);
			else if (n % 4 == 3)
				reopen(t, true);
			assert_fact(t, "next", "works");
			assert_fact(t, "changed", NULL);
		}
		bytes_finish(&rows);
	}
	assert_fact(t, "changed", "yes");
}

static void test_journal_fails(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_WRITE);
}

static void test_index_fails(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_COMMIT);
}

static void test_index_puts_fail(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_PUT);
}

/* ---- records from the future ---- */

static void test_held_records_come_when_it_is_time(void **state)
{
	struct test_store *t = *state, other;
	struct parcel parcels[2];
	struct store_txn *txn;
	uint64_t next;

	assert_int_equal(store_tick(t->store, &next), 0);
	assert_true(next == UINT64_MAX);
	test_store_make(&other, 12);
	for (int i = 0; i < 2; i++) {
		other.time_ms = HELPER_TIME_MS + (uint64_t)(i + 1) * 60 * 60 * 1000;
		txn = txn_begin(&other, true);
		struct id id = say_profile(txn, NULL, i ? "late" : "early");
		txn_commit(txn);
		txn = txn_begin(&other, false);
		assert_int_equal(parcel_read(txn, &id, &parcels[i]), 0);
		store_abort(txn);
	}
	test_store_remove(&other);
	for (int i = 0; i < 2; i++) {
		txn = txn_begin(t, true);
		parcel_accept(txn, &parcels[i]);
		txn_commit(txn);
		free(parcels[i].bytes);
	}
	assert_int_equal(store_tick(t->store, &next), 0);
	assert_int_equal(next, HELPER_TIME_MS + 60 * 60 * 1000);
	t->time_ms = HELPER_TIME_MS + 60 * 60 * 1000;
	assert_int_equal(store_tick(t->store, &next), 1);
	assert_int_equal(next, HELPER_TIME_MS + 2 * 60 * 60 * 1000);
	reopen(t, true);
	t->time_ms += 60 * 60 * 1000;
	assert_int_equal(store_tick(t->store, &next), 1);
	assert_true(next == UINT64_MAX);
}

/* ---- pieces ---- */

static void random_text(char *text, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + chance_next(&seed) % 26);
}

static void write_text(struct test_store *t, const char *text, size_t size, struct content *out)
{
	struct store_txn *txn = txn_begin(t, true);
	const struct piece_store pieces = store_txn_pieces(txn);

	assert_int_equal(content_write_bytes(t->packer, &pieces, text, size, out), 0);
	txn_commit(txn);
}

static void assert_reads(struct test_store *t, const struct content *content, const char *text, size_t size)
{
	char *got = malloc(size + 1);
	/* A cache of its own: what comes from the disk is looked at. */
	struct piece_cache *cache = piece_cache_new(PIECE_TEXT_MAX);

	assert_int_equal(content_read(cache, store_pieces(t->store), content, (uint8_t *)got, size + 1, 0), (ssize_t)size);
	assert_memory_equal(got, text, size);
	piece_cache_free(cache);
	free(got);
}

static uint64_t count_pieces(struct test_store *t)
{
	struct store_counts counts;

	assert_int_equal(store_counts(t->store, &counts), 0);
	return counts.pieces;
}

static void test_equal_texts_are_kept_once(void **state)
{
	enum { SIZE = 100000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(2, sizeof(*content));
	struct store_counts before, after;

	random_text(text, SIZE, 1);
	write_text(t, text, SIZE, &content[0]);
	uint64_t pieces = count_pieces(t);
	assert_int_equal(store_counts(t->store, &before), 0);
	write_text(t, text, SIZE, &content[1]);
	assert_int_equal(store_counts(t->store, &after), 0);
	assert_int_equal(after.pieces, pieces);
	assert_int_equal(after.journal_bytes, before.journal_bytes);
	assert_memory_equal(&content[0].pieces, &content[1].pieces, content[0].count * sizeof(struct piece_ref));
	/* In a batch too, whether kept before or waiting in it. */
	struct store_batch *batch = store_batch_new(t->store);
	const struct piece_store waiting = store_batch_pieces(batch);
	random_text(text + SIZE / 2, SIZE / 2, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(content_write_bytes(t->packer, &waiting, text, SIZE, &content[i]), 0);
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_true(count_pieces(t) > pieces && count_pieces(t) < 2 * pieces);
	assert_reads(t, &content[1], text, SIZE);
	/* The store itself takes none. */
	assert_int_equal(content_write_bytes(t->packer, store_pieces(t->store), "x", 1, &content[0]), -EPERM);
	free(content);
	free(text);
}

static void test_large_batch_is_kept_as_it_grows(void **state)
{
	enum { SIZE = 3000000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));

	random_text(text, SIZE, 3);
	struct store_batch *batch = store_batch_new(t->store);
	const struct piece_store pieces = store_batch_pieces(batch);
	assert_int_equal(content_write_bytes(t->packer, &pieces, text, SIZE, content), 0);
	assert_true(count_pieces(t) > 20);
	/* A transaction that fails takes nothing out of it. */
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	arm(CALL_WRITE, 1);
	assert_int_equal(store_commit(txn), -ENOSPC);
	arm(0, 0);
	txn = txn_begin(t, true);
	assert_int_equal(store_batch_finish(batch, txn), 0);
	txn_commit(txn);
	store_batch_free(batch);
	assert_reads(t, content, text, SIZE);
	reopen(t, true);
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

static void test_batch_on_a_full_disk(void **state)
{
	enum { SIZE = 2000000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));
	int err = -1;

	random_text(text, SIZE, 4);
	for (int n = 1; err < 0; n++) {
		struct store_batch *batch = store_batch_new(t->store);
		const struct piece_store pieces = store_batch_pieces(batch);
		arm(CALL_WRITE | CALL_COMMIT, n);
		err = content_write_bytes(t->packer, &pieces, text, SIZE, content);
		assert_int_equal(err, faults.failed ? -ENOSPC : 0);
		arm(0, 0);
		if (err == 0) {
			struct store_txn *txn = txn_begin(t, true);
			assert_int_equal(store_batch_finish(batch, txn), 0);
			txn_commit(txn);
		}
		store_batch_free(batch);
	}
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

static void test_foreign_pieces(void **state)
{
	struct test_store *t = *state;
	uint8_t member[PIECE_STORED_MAX + 1] = { 0 }, got[PIECE_STORED_MAX];
	struct store_txn *txn = txn_begin(t, true);
	struct id name;

	ssize_t size = piece_deflate(t->packer, (const uint8_t *)"a piece", 7, member);
	assert_true(size > 0);
	const struct {
		const char *name;
		size_t size, flip; /* which byte is changed; SIZE_MAX: none */
		int expected;
	} cases[] = {
		{ "nothing", 0, SIZE_MAX, -EBADMSG },
		{ "a byte short", (size_t)size - 1, SIZE_MAX, -EBADMSG },
		{ "a byte more", (size_t)size + 1, SIZE_MAX, -EBADMSG },
		{ "another magic", (size_t)size, 0, -EBADMSG },
		{ "another checksum", (size_t)size, (size_t)size - 8, -EBADMSG },
		{ "whole", (size_t)size, SIZE_MAX, 0 },
		{ "once more", (size_t)size, SIZE_MAX, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].flip != SIZE_MAX)
			member[cases[i].flip] ^= 1;
		int err = store_accept_piece(txn, member, cases[i].size);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		if (cases[i].flip != SIZE_MAX)
			member[cases[i].flip] ^= 1;
	}
	txn_commit(txn);
	assert_int_equal(count_pieces(t), 1);
	id_of_bytes(&name, member, (size_t)size);
	assert_int_equal(store_read_piece(t->store, &name, got, sizeof(got)), size);
	assert_memory_equal(got, member, (size_t)size);
	assert_int_equal(store_read_piece(t->store, &name, got, (size_t)size - 1), -EMSGSIZE);
	name.bytes[0] ^= 1;
	assert_int_equal(store_read_piece(t->store, &name, got, sizeof(got)), -ENOENT);
}

static void test_dropped_pieces_stay_dropped(void **state)
{
	struct test_store *t = *state;
	struct content *content = calloc(2, sizeof(*content));
	struct gc_report report;
	uint8_t got[PIECE_STORED_MAX];

	write_text(t, "to be dropped", 13, &content[0]);
	write_text(t, "to be kept", 10, &content[1]);
	struct store_txn *txn = txn_begin(t, true);
	assert_int_equal(store_drop_piece(txn, &content[0].pieces[0].name), 0);
	assert_false(store_has_piece(txn, &content[0].pieces[0].name));
	assert_int_equal(store_drop_piece(txn, &content[0].pieces[0].name), 0);
	txn_commit(txn);
	for (int round = 0; round < 4; round++) {
		assert_int_equal(store_read_piece(t->store, &content[0].pieces[0].name, got, sizeof(got)), -ENOENT);
		assert_reads(t, &content[1], "to be kept", 10);
		if (round == 1) {
			assert_int_equal(journal_rotate(store_journal(t->store)), 0);
			assert_int_equal(store_gc(t->store, false, &report), 0);
		}
		reopen(t, true);
	}
	/* Kept again it is there again, also after a rebuild. */
	write_text(t, "to be dropped", 13, &content[0]);
	assert_reads(t, &content[0], "to be dropped", 13);
	reopen(t, true);
	assert_reads(t, &content[0], "to be dropped", 13);
	free(content);
}

/* ---- giving back room ---- */

/* Segments of facts overwritten and forgotten, beside versions that stay. */
static void fill_for_gc(struct test_store *t)
{
	char key[20], value[20];

	fill(t, 10);
	assert_int_equal(put_fact(t, "forgotten", "must not come back"), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "stays %d", i);
		assert_int_equal(put_fact(t, key, "forever"), 0);
	}
	for (int segment = 0; segment < 3; segment++) {
		assert_int_equal(journal_rotate(store_journal(t->store)), 0);
		for (int i = 0; i < 50; i++) {
			snprintf(value, sizeof(value), "%d.%d", segment, i);
			assert_int_equal(put_fact(t, "overwritten", value), 0);
		}
		assert_int_equal(put_fact(t, "forgotten", ""), 0);
	}
	assert_int_equal(journal_rotate(store_journal(t->store)), 0);
}

static void check_after_gc(struct test_store *t)
{
	struct store_txn *txn = txn_begin(t, false);
	struct id root = t->key.public;
	struct tree_item item;
	uint64_t count;

	assert_int_equal(tree_lookup(txn, &root, &root, "guides", &item), 0);
	struct id directory = item.id;
	assert_int_equal(document_count(txn, &root, &directory, "soil.md", &count), 0);
	assert_int_equal(count, 10);
	assert_int_equal(tree_lookup(txn, &root, &directory, "soil.md", &item), 0);
	struct version *v = malloc(sizeof(*v));
	assert_int_equal(document_version(txn, &item.id, v), 0);
	store_abort(txn);
	assert_reads(t, &v->content, "version 9\n", 10);
	free(v);
	assert_fact(t, "overwritten", "2.49");
	assert_fact(t, "forgotten", NULL);
	assert_fact(t, "stays 19", "forever");
	assert_fact(t, "quota", "10");
}

static void test_gc(void **state)
{
	struct test_store *t = *state;
	struct gc_report report;
	struct store_counts before, after;

	fill_for_gc(t);
	assert_int_equal(store_counts(t->store, &before), 0);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	/* The first is mostly alive. */
	assert_int_equal(report.segments_rewritten, 3);
	assert_int_equal(store_counts(t->store, &after), 0);
	assert_int_equal(before.journal_bytes - after.journal_bytes, report.bytes_freed);
	check_after_gc(t);
	kill_and_start(t);
	check_after_gc(t);
	reopen(t, true);
	check_after_gc(t);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	assert_int_equal(report.segments_rewritten, 0);

	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_true(report.bytes_freed > 0);
	check_after_gc(t);
	reopen(t, true);
	check_after_gc(t);
	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_int_equal(report.bytes_freed, 0);
}

static void test_gc_of_all_drops_what_nothing_names(void **state)
{
	enum { SIZE = 50000 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct content *content = calloc(1, sizeof(*content));
	struct gc_report report;
	uint8_t got[PIECE_STORED_MAX];

	fill_for_gc(t);
	random_text(text, SIZE, 5);
	write_text(t, text, SIZE, content);
	assert_int_equal(store_gc(t->store, false, &report), 0);
	assert_reads(t, content, text, SIZE);
	assert_int_equal(store_gc(t->store, true, &report), 0);
	assert_int_equal(store_read_piece(t->store, &content->pieces[0].name, got, sizeof(got)), -ENOENT);
	check_after_gc(t);
	reopen(t, true);
	assert_int_equal(store_read_piece(t->store, &content->pieces[0].name, got, sizeof(got)), -ENOENT);
	check_after_gc(t);
	/* It may come again. */
	write_text(t, text, SIZE, content);
	assert_reads(t, content, text, SIZE);
	free(content);
	free(text);
}

/* Whatever fails in it, and wherever it is killed, nothing is lost. */
static void test_gc_with_faults(void **state)
{
	struct test_store *t = *state;
	struct gc_report report;
	int err = -1;

	for (int n = 1; err < 0; n++) {
		fill_for_gc(t);
		arm(CALL_WRITE | CALL_SYNC | CALL_COMMIT | CALL_PUT | CALL_RENAME, n);
		err = store_gc(t->store, n % 2, &report);
		if (err < 0)
			assert_true(faults.failed);
		/* A commit after a segment was replaced is the one thing that cannot be taken back. */
		bool stale = put_fact(t, "after", "works") == -EIO;
		arm(0, 0);
		if (!stale)
			check_after_gc(t);
		kill_and_start(t);
		check_after_gc(t);
		assert_int_equal(put_fact(t, "after", "works"), 0);
		assert_int_equal(store_gc(t->store, true, &report), 0);
		reopen(t, true);
		check_after_gc(t);
		assert_int_equal(store_close(t->store), 0);
		nftw(t->path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
		assert_int_equal(mkdir(t->path, 0700), 0);
		test_store_start(t, false);
		use_faults(t);
	}
}

struct reader {
	struct test_store *t;
	const struct content *content;
	const char *text;
	size_t size;
	bool stop; /* atomic */
	int errors, reads;
};

static void *read_on(void *context)
{
	struct reader *r = context;
	char *got = malloc(r->size);

	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		struct piece_cache *cache = piece_cache_new(PIECE_TEXT_MAX);
		ssize_t size = content_read(cache, store_pieces(r->t->store), r->content, (uint8_t *)got, r->size, 0);
		r->errors += size != (ssize_t)r->size || memcmp(got, r->text, r->size) != 0;
		r->reads++;
		piece_cache_free(cache);
	}
	free(got);
	return NULL;
}

static void test_readers_notice_nothing_of_gc(void **state)
{
	enum { SIZE = 200000, ROUNDS = 20 };
	struct test_store *t = *state;
	char *text = malloc(SIZE);
	struct reader r = { .t = t, .text = text, .size = SIZE };
	struct content *content = calloc(1, sizeof(*content));
	struct gc_report report;
	pthread_t thread;

	/* Behind facts that die, so that each round moves the pieces. */
	random_text(text, SIZE, 6);
	for (int i = 0; i < ROUNDS; i++) {
		char key[20];
		snprintf(key, sizeof(key), "dying %d", i);
		assert_int_equal(put_fact(t, key, "a value of some length"), 0);
	}
	write_text(t, text, SIZE, content);
	assert_int_equal(journal_rotate(store_journal(t->store)), 0);
	r.content = content;
	/* A batch is alive: nothing may take the pieces for unneeded. */
	struct store_batch *batch = store_batch_new(t->store);
	assert_int_equal(pthread_create(&thread, NULL, read_on, &r), 0);
	for (int i = 0; i < ROUNDS; i++) {
		char key[20];
		snprintf(key, sizeof(key), "dying %d", i);
		assert_int_equal(put_fact(t, key, ""), 0);
		assert_int_equal(store_gc(t->store, true, &report), 0);
		assert_true(report.segments_rewritten > 0);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_true(r.reads > 0);
	assert_int_equal(r.errors, 0);
	store_batch_free(batch);
	free(content);
	free(text);
}

static void test_local_facts(void **state)
{
	struct test_store *t = *state;
	uint8_t key[501] = { 1 };
	struct index_range range;
	const uint8_t *value, *found;
	size_t size, found_size;
	struct store_txn *txn = txn_begin(t, true);

	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, key, 501, "x", 1), -EMSGSIZE);
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, key, 500, "x", 1), 0);
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "ab", 2, "1", 1), 0);
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "ac", 2, "2", 1), 0);
	assert_int_equal(store_local_put(txn, LOCAL_NAME, "ad", 2, "3", 1), 0);
	assert_int_equal(store_local_put(txn, LOCAL_CONFIG, "b", 1, "4", 1), 0);
	assert_int_equal(store_local_get(txn, LOCAL_CONFIG, "ac", 2, &value, &size), 0); /* seen in its own transaction */
	assert_int_equal(store_local_get(txn, LOCAL_CONFIG, "ad", 2, &value, &size), -ENOENT);
	txn_commit(txn);
	txn = txn_begin(t, false);
	assert_int_equal(store_local_range(txn, LOCAL_CONFIG, "a", 1, &range), 0);
	assert_int_equal(index_range_next(&range), 1);
	store_local_row(&range, &found, &found_size, &value, &size);
	assert_true(found_size == 2 && memcmp(found, "ab", 2) == 0 && size == 1 && value[0] == '1');
	assert_int_equal(index_range_next(&range), 1);
	assert_int_equal(index_range_next(&range), 0);
	index_range_close(&range);
	store_abort(txn);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_open_errors),
		T(test_second_process_is_refused),
		T(test_reopened_killed_and_reindexed_it_is_the_same),
		T(test_index_that_cannot_be_trusted_is_rebuilt),
		T(test_numbers),
		T(test_append_limits),
		T(test_segments_turn_over),
		T(test_journal_fails),
		T(test_index_fails),
		T(test_index_puts_fail),
		T(test_held_records_come_when_it_is_time),
		T(test_equal_texts_are_kept_once),
		T(test_large_batch_is_kept_as_it_grows),
		T(test_batch_on_a_full_disk),
		T(test_foreign_pieces),
		T(test_dropped_pieces_stay_dropped),
		T(test_gc),
		T(test_gc_of_all_drops_what_nothing_names),
		T(test_gc_with_faults),
		T(test_readers_notice_nothing_of_gc),
		T(test_local_facts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
