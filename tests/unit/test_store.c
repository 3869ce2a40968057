/* The data folder: opening it, transactions whole or not at all, replay, local facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "store_bench.h"

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
		{ "closed by another boot", "index/state", "mootfs index 4\nother-boot\nclosed\n", false },
		{ "open in another boot", "index/state", "mootfs index 4\nother-boot\nopen\n", true },
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

static void check_change_with_faults(struct test_store *t, unsigned kinds, bool for_good)
{
	int err = -1;

	for (int n = 1; err < 0; n++) {
		struct store_counts before;
		struct bytes rows;
		dump(t, &rows);
		assert_int_equal(store_counts(t->store, &before), 0);
		arm(kinds, n, for_good, ENOSPC);
		err = change(t);
		assert_int_equal(err < 0, faults.failed > 0);
		arm(0, 0, false, 0);
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
	check_change_with_faults(*state, CALL_WRITE, false);
}

static void test_index_fails(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_COMMIT, false);
}

/* The journal keeps what it should take back; the next change cuts it off. */
static void test_index_fails_and_then_the_journal(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_COMMIT | CALL_TRUNCATE, true);
}

static void test_index_puts_fail(void **state)
{
	fill(*state, 3);
	check_change_with_faults(*state, CALL_PUT, false);
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

/* ---- local facts ---- */

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
		T(test_index_fails_and_then_the_journal),
		T(test_index_puts_fail),
		T(test_held_records_come_when_it_is_time),
		T(test_local_facts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
