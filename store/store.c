#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "store_private.h"
#include "tree_late.h"
#include "wire.h"

#define LOCK_SIZE_MAX (PATH_MAX + 64)
/* Inflated pieces kept for neighbours' reads: a sixteenth of the memory promise. */
#define CACHE_SIZE_MAX (4 * 1024 * 1024)

int store_default_path(char *out, size_t out_size)
{
	const char *home = getenv("MOOT_HOME"), *data = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
	char cwd[PATH_MAX];
	int size;

	if (home && home[0] == '/')
		size = snprintf(out, out_size, "%s", home);
	else if (home && home[0] && getcwd(cwd, sizeof(cwd)))
		size = snprintf(out, out_size, "%s/%s", cwd, home);
	else if (data && data[0] == '/')
		size = snprintf(out, out_size, "%s/moot", data);
	else if (user && user[0] == '/')
		size = snprintf(out, out_size, "%s/.local/share/moot", user);
	else
		return -ENOENT;
	return size < 0 || (size_t)size >= out_size ? -ENAMETOOLONG : 0;
}

/* ---- the lock: who holds it stands in it ---- */

static void read_holder(int lock_fd, int *out_pid, char *out_mount, size_t mount_size)
{
	char text[LOCK_SIZE_MAX + 1];

	ssize_t size = file_pread_all(lock_fd, text, LOCK_SIZE_MAX, 0);
	text[size > 0 ? size : 0] = '\0';
	*out_pid = (int)strtol(text, NULL, 10);
	char *mount = strchr(text, '\n');
	if (out_mount) {
		if (mount)
			mount[1 + strcspn(mount + 1, "\n")] = '\0';
		snprintf(out_mount, mount_size, "%s", mount ? mount + 1 : "");
	}
}

int store_holder(const char *path, int *out_pid, char *out_mount, size_t mount_size)
{
	char lock_path[PATH_MAX];

	if (snprintf(lock_path, sizeof(lock_path), "%s/lock", path) >= (int)sizeof(lock_path))
		return -ENAMETOOLONG;
	int fd = open(lock_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out_pid = 0;
	if (out_mount && mount_size)
		out_mount[0] = '\0';
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		read_holder(fd, out_pid, out_mount, mount_size);
	close(fd);
	return 0;
}

int store_set_mount(struct store *store, const char *mount_point)
{
	char text[LOCK_SIZE_MAX];

	int size = snprintf(text, sizeof(text), "%d\n%s\n", (int)getpid(), mount_point ? mount_point : "");
	if (size < 0 || (size_t)size >= sizeof(text))
		return -ENAMETOOLONG;
	if (ftruncate(store->lock_fd, 0) < 0)
		return -errno;
	return file_pwrite_all(store->lock_fd, text, (size_t)size, 0);
}

static int take_lock(struct store *store, struct why *why)
{
	char mount[PATH_MAX];
	int pid;

	store->lock_fd = openat(store->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return why_set(why, -errno, "%s/lock cannot be opened: %s", store->path, strerror(errno));
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return store_set_mount(store, NULL);
	read_holder(store->lock_fd, &pid, mount, sizeof(mount));
	return mount[0] ? why_set(why, -EBUSY, "%s is in use by process %d, mounted at %s", store->path, pid, mount)
			: why_set(why, -EBUSY, "%s is in use by process %d", store->path, pid);
}

static int open_folder(struct store *store, struct why *why)
{
	struct stat st;

	store->fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->fd < 0 && errno == ENOENT)
		return why_set(why, -ENOENT, "there is no data folder at %s; make one with `moot init`", store->path);
	if (store->fd < 0 || fstat(store->fd, &st) < 0)
		return why_set(why, -errno, "%s cannot be opened: %s", store->path, strerror(errno));
	if (st.st_uid != geteuid())
		return why_set(why, -EACCES, "%s belongs to another user (uid %u)", store->path, (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return why_set(why, -EACCES, "others can enter %s; make it private with `chmod 700`", store->path);
	return 0;
}

static int open_parts(struct store *store, const struct store_options *options, struct why *why)
{
	struct stat st;

	if (!options->create && fstatat(store->fd, "journal", &st, 0) < 0)
		return why_set(why, -ENOENT, "%s has no journal; make one with `moot init`", store->path);
	store->was_closed = replay_was_closed(store);
	int err = journal_open(&store->journal, store->fd, replay_power_was_cut(store), why);
	if (err < 0)
		return err;
	store->cache = piece_cache_new(CACHE_SIZE_MAX);
	if (!store->cache)
		return -ENOMEM;
	return replay_index(store, options, why);
}

static int put_denied(void *context, const struct id *text_id, const struct piece_ref *offer,
		      const uint8_t *member, struct piece_ref *out)
{
	return -EPERM;
}

static int find_denied(void *context, const struct id *text_id, struct piece_ref *out)
{
	return -EPERM;
}

int store_open(struct store **out, const char *path, const struct key *key,
	       const struct store_options *options, struct why *why)
{
	struct store *store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;
	store->fd = store->lock_fd = -1;
	store->key = *key;
	store->clock = options->clock;
	store->pieces = (struct piece_store){ put_denied, find_denied, pieces_get, store };
	pthread_mutex_init(&store->write_lock, NULL);
	pthread_mutex_init(&store->small_lock, NULL);
	pthread_mutex_init(&store->due_lock, NULL);
	store->path = strdup(path);

	int err = store->path ? open_folder(store, why) : -ENOMEM;
	if (err == 0)
		err = take_lock(store, why);
	if (err == 0)
		err = open_parts(store, options, why);
	if (err < 0) {
		if (why && !why->text[0])
			why_set(why, err, "%s cannot be opened: %s", path, why_errno(err));
		/* What was not opened whole is not to be marked clean. */
		store->stale = true;
		store_close(store);
		return err;
	}
	*out = store;
	return 0;
}

int store_close(struct store *store)
{
	int err = 0;

	if (!store)
		return 0;
	if (store->journal)
		err = journal_close(store->journal);
	if (store->index && !store->stale && !store->moved && err == 0)
		err = replay_mark_closed(store);
	index_close(store->index);
	piece_cache_free(store->cache);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	if (store->fd >= 0)
		close(store->fd);
	key_finish(&store->key);
	later_drop(store);
	txn_buffers_finish(store);
	pthread_mutex_destroy(&store->due_lock);
	pthread_mutex_destroy(&store->small_lock);
	pthread_mutex_destroy(&store->write_lock);
	free(store->path);
	free(store);
	return err;
}

int store_directory_fd(const struct store *store)
{
	return store->fd;
}

const struct key *store_key(const struct store *store)
{
	return &store->key;
}

const struct clock *store_clock(const struct store *store)
{
	return &store->clock;
}

struct journal *store_journal(struct store *store)
{
	return store->journal;
}

struct piece_cache *store_piece_cache(struct store *store)
{
	return store->cache;
}

const struct piece_store *store_pieces(struct store *store)
{
	return &store->pieces;
}

uint64_t store_next_cookie(struct store *store)
{
	return atomic_fetch_add(&store->cookie, 1) + 1;
}

bool store_was_closed(const struct store *store)
{
	return store->was_closed;
}

void store_hold_signing(struct store *store, uint64_t until_ms)
{
	atomic_store(&store->held_until_ms, until_ms);
}

uint64_t store_held_until_ms(struct store *store)
{
	uint64_t until_ms = atomic_load(&store->held_until_ms);

	return until_ms && clock_now_ms(&store->clock) < until_ms ? until_ms : 0;
}

int store_counts(struct store *store, struct store_counts *out)
{
	struct store_txn *txn;
	struct journal_stats stats;

	int err = store_begin(store, false, &txn);
	if (err < 0)
		return err;
	out->records = index_rows(txn->index, TABLE_RECORD);
	out->pieces = index_rows(txn->index, TABLE_PIECE);
	out->logs = index_rows(txn->index, TABLE_LOG);
	store_abort(txn);
	journal_stats(store->journal, &stats);
	out->journal_bytes = stats.bytes;
	out->journal_segments = stats.segments;
	return 0;
}

/* The first held record: its time and number, from the key. 1, 0 or an error. */
static int first_held(struct store_txn *txn, uint64_t *out_time_ms, uint64_t *out_number)
{
	struct index_range range;
	struct wire w;

	int err = index_range_open(&range, txn->index, TABLE_HELD, NULL, 0);
	if (err == 0)
		err = index_range_next(&range);
	if (err > 0) {
		wire_init(&w, range.key, range.key_size);
		*out_time_ms = wire_u64_be(&w);
		*out_number = wire_u64_be(&w);
		if (wire_finish(&w) < 0)
			err = -EBADMSG;
	}
	index_range_close(&range);
	return err;
}

int store_first_due(struct store_txn *txn, uint64_t *out_number)
{
	uint64_t time_ms;

	int found = first_held(txn, &time_ms, out_number);
	return found > 0 ? time_ms <= txn->time_ms + FUTURE_MS_MAX : found;
}

void store_on_due(struct store *store, int (*apply)(void *context), void *context)
{
	pthread_mutex_lock(&store->due_lock);
	store->on_due = apply;
	store->on_due_context = context;
	pthread_mutex_unlock(&store->due_lock);
}

static int apply_here(struct store *store)
{
	struct store_txn *txn;
	uint64_t number;
	int applied = 0, found;

	int err = tree_late_waits(store) ? tree_late_once(store) : 0;
	if (err >= 0)
		err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	while ((found = store_first_due(txn, &number)) > 0) {
		err = log_apply_held(txn, number);
		if (err < 0)
			break;
		applied++;
	}
	if (err < 0 || found < 0) {
		store_abort(txn);
		return err < 0 ? err : found;
	}
	err = store_commit(txn);
	return err < 0 ? err : applied;
}

static int apply_due(struct store *store)
{
	pthread_mutex_lock(&store->due_lock);
	int applied = store->on_due ? store->on_due(store->on_due_context) : apply_here(store);
	pthread_mutex_unlock(&store->due_lock);
	return applied;
}

int store_tick(struct store *store, uint64_t *out_next_ms)
{
	struct store_txn *txn;
	uint64_t time_ms = UINT64_MAX, number;
	int applied = tree_late_waits(store) ? apply_due(store) : 0;

	if (applied < 0)
		return applied;
	for (;;) {
		int err = store_begin(store, false, &txn);
		if (err < 0)
			return err;
		int found = first_held(txn, &time_ms, &number);
		bool due = found > 0 && time_ms <= txn->time_ms + FUTURE_MS_MAX;
		store_abort(txn);
		if (found < 0)
			return found;
		if (!due) {
			*out_next_ms = found > 0 ? time_ms : UINT64_MAX;
			return applied;
		}
		int some = apply_due(store);
		if (some < 0)
			return some;
		applied += some;
	}
}
