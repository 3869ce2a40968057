/*
 * command_copy.c - import and export: whole folders in and out.
 *
 * With a mount both are copies between folders; without one they go through
 * the desk.  The walk over plain files is fts(3)'s.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "command.h"
#include "file.h"
#include "mount.h"
#include "person.h"

#define COPY_SIZE (256 * 1024)

struct copy {
	struct session *session;          /* NULL: into or out of a mount */
	char to[PATH_MAX];                /* the folder written to, if files are */
	struct id directories[PATH_MAX / 2]; /* by depth: where the walk stands, in a session */
	struct desk_import *import;       /* into a session */
	uint64_t files, folders, bytes, skipped, failed, total;
	bool out; /* an export */
	struct why *why;
};

static void tell_skipped(struct copy *copy, const char *path, const char *reason)
{
	copy->skipped++;
	fprintf(stderr, "moot: %s is left out: %s\n", path, reason);
}

/* What cannot be copied, and does not keep the rest from being copied. */
static void tell_failed(struct copy *copy, const char *path, int err)
{
	copy->failed++;
	fprintf(stderr, "moot: %s is not copied: %s\n", path, why_errno(err));
}

/* Why a folder or a person's directory has no room for such a thing; NULL: the error is of another kind. */
static const char *refusal(int err)
{
	switch (err) {
	case -EINVAL:
	case -EILSEQ:
		return "its name is not one that a document can have";
	case -EISDIR:
		return "a folder has that name already";
	case -ENOTDIR:
		return "a document has that name already";
	case -EREMOTE:
		return "what shows there is one of two things of the same name; rename it first";
	case -ENAMETOOLONG:
	case -EFBIG:
		return why_errno(err);
	default:
		return NULL;
	}
}

/* One entry's own trouble, not that of the whole copy. */
static bool is_of_one(const struct copy *copy, int err)
{
	switch (err) {
	case -EACCES:
	case -ENOENT:
		return true;
	case -EBADMSG:
	case -ENODATA:
	case -EAGAIN:
	case -EIO:
		return copy->out;
	default:
		return copy->out && refusal(err);
	}
}

/* 0: it was told, and the copy goes on. */
static int tell_entry(struct copy *copy, const char *path, int err)
{
	if (err == 0)
		return 0;
	if (is_of_one(copy, err))
		tell_failed(copy, path, err);
	else if (refusal(err))
		tell_skipped(copy, path, refusal(err));
	else
		return why_set(copy->why, err, "%s: %s", path, why_errno(err));
	return 0;
}

static void attributes_of(const struct stat *st, struct attributes *out)
{
	memset(out, 0, sizeof(*out));
	out->permissions = st->st_mode & 07777;
	out->uid = getuid();
	out->gid = getgid();
	out->mtime_ns = ns_of_time(&st->st_mtim);
}

/* ---- into a session ---- */

static int import_folder(struct copy *copy, const FTSENT *at)
{
	struct desk *desk = copy->session->desk;
	struct desk_slot slot = { copy->directories[at->fts_level - 1], at->fts_name };
	struct desk_item item;

	int err = desk_mkdir(desk, slot, at->fts_statp->st_mode & 0777, getuid(), getgid(), &item);
	if (err == -EEXIST) {
		err = desk_lookup(desk, &copy->session->self, &slot.directory, slot.name, &item);
		if (err == 0 && item.what != WHAT_DIRECTORY)
			err = -ENOTDIR;
	}
	if (err == 0) {
		copy->directories[at->fts_level] = item.id;
		copy->folders++;
	}
	return err;
}

static int import_file(struct copy *copy, const FTSENT *at)
{
	struct attributes attributes;

	CLEANUP(cleanup_close) int fd = open(at->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	attributes_of(at->fts_statp, &attributes);
	struct desk_slot slot = { copy->directories[at->fts_level - 1], at->fts_name };
	return desk_import_file(copy->import, fd, slot, &attributes);
}

/* Another target is a new version of what stands there. */
static int replace_link(struct session *s, struct desk_slot slot, const char *target)
{
	char before[PATH_MAX];
	struct desk_item item;

	int err = desk_readlink(s->desk, &s->self, slot, before, sizeof(before));
	if (err == 0 && strcmp(before, target) == 0)
		return 0;
	if (desk_lookup(s->desk, &s->self, &slot.directory, slot.name, &item) == 0 && strcmp(item.slot_name, slot.name) != 0)
		return -EREMOTE; /* removed, it would leave a name that is no document's */
	err = desk_unlink(s->desk, slot);
	return err < 0 ? err : desk_symlink(s->desk, slot, target, getuid(), getgid(), &item);
}

static int import_link(struct copy *copy, const FTSENT *at)
{
	char target[PATH_MAX];
	struct desk_item item;

	ssize_t size = readlink(at->fts_accpath, target, sizeof(target) - 1);
	if (size < 0)
		return -errno;
	target[size] = '\0';
	struct desk_slot slot = { copy->directories[at->fts_level - 1], at->fts_name };
	int err = desk_symlink(copy->session->desk, slot, target, getuid(), getgid(), &item);
	return err == -EEXIST ? replace_link(copy->session, slot, target) : err;
}

/* ---- into a folder ---- */

static int path_below(const struct copy *copy, const FTSENT *at, const FTSENT *root, char out[PATH_MAX])
{
	int size = snprintf(out, PATH_MAX, "%s%s", copy->to, at->fts_path + root->fts_pathlen);

	return size < 0 || size >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int copy_bytes(int from, int to)
{
	CLEANUP(cleanup_free) uint8_t *buffer = malloc(COPY_SIZE);
	ssize_t size;

	if (!buffer)
		return -ENOMEM;
	while ((size = read(from, buffer, COPY_SIZE)) > 0) {
		int err = file_write_all(to, buffer, (size_t)size);
		if (err < 0)
			return err;
	}
	return size < 0 ? -errno : 0;
}

static int copy_file(const char *from, const char *to, const struct stat *st)
{
	const struct timespec times[] = { st->st_mtim, st->st_mtim };
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;

	CLEANUP(cleanup_close) int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0)
		return -errno;
	int out = open(to, flags, st->st_mode & 0777);
	if (out < 0 && errno == ELOOP && unlink(to) == 0) /* a link stands there: not what it leads to is written */
		out = open(to, flags, st->st_mode & 0777);
	if (out < 0)
		return -errno;
	int err = copy_bytes(in, out);
	if (err == 0 && futimens(out, times) < 0)
		err = -errno;
	if (close(out) < 0 && err == 0)
		err = -errno;
	return err;
}

static int copy_folder(const char *to, const struct stat *st)
{
	struct stat there;

	if (mkdir(to, st->st_mode & 0777) == 0)
		return 0;
	if (errno != EEXIST || lstat(to, &there) < 0)
		return -errno;
	return S_ISDIR(there.st_mode) ? 0 : -ENOTDIR;
}

static int copy_link(const char *from, const char *to)
{
	char target[PATH_MAX], before[PATH_MAX];

	ssize_t size = readlink(from, target, sizeof(target) - 1);
	if (size < 0)
		return -errno;
	target[size] = '\0';
	if (symlink(target, to) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	ssize_t there = readlink(to, before, sizeof(before));
	if (there == size && memcmp(before, target, (size_t)size) == 0)
		return 0;
	return unlink(to) < 0 || symlink(target, to) < 0 ? -errno : 0;
}

static int copy_entry(struct copy *copy, const FTSENT *at, const FTSENT *root)
{
	char to[PATH_MAX];

	int err = path_below(copy, at, root, to);
	if (err < 0)
		return err;
	if (at->fts_info == FTS_D) {
		err = copy_folder(to, at->fts_statp);
		copy->folders += err == 0;
		return err;
	}
	if (at->fts_info != FTS_F)
		return copy_link(at->fts_accpath, to);
	err = copy_file(at->fts_accpath, to, at->fts_statp);
	if (err < 0 && copy->out)
		unlink(to); /* half of it would look whole */
	return err;
}

/* ---- the walk ---- */

static int take_entry(struct copy *copy, FTS *walk, FTSENT *at, const FTSENT *root, const struct scratch *scratch)
{
	int err;

	if (at->fts_level == 0)
		return 0;
	if (scratch && scratch_is_name(scratch, at->fts_name, false, NULL, NULL)) {
		if (at->fts_info == FTS_D)
			fts_set(walk, at, FTS_SKIP);
		tell_skipped(copy, at->fts_path, "its name is one that tools make for themselves, and never published");
		return 0;
	}
	/* Such a folder could be one of those that a mount shows, and what is written there does things. */
	if (!copy->out && at->fts_name[at->fts_namelen - 1] == '@') {
		if (at->fts_info == FTS_D)
			fts_set(walk, at, FTS_SKIP);
		return at->fts_info == FTS_DP ? 0 : tell_entry(copy, at->fts_path, -EINVAL);
	}
	switch (at->fts_info) {
	case FTS_D:
		err = copy->session ? import_folder(copy, at) : copy_entry(copy, at, root);
		if (err < 0)
			fts_set(walk, at, FTS_SKIP);
		break;
	case FTS_F:
		err = copy->session ? import_file(copy, at) : copy_entry(copy, at, root);
		if (err == 0) {
			copy->files++;
			copy->bytes += (uint64_t)at->fts_statp->st_size;
		}
		break;
	case FTS_SL:
	case FTS_SLNONE:
		err = copy->session ? import_link(copy, at) : copy_entry(copy, at, root);
		copy->files += err == 0;
		break;
	case FTS_DP:
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		err = -at->fts_errno;
		break;
	default:
		tell_skipped(copy, at->fts_path, "it is neither a file, a folder nor a link");
		return 0;
	}
	return tell_entry(copy, at->fts_path, err);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static uint64_t count_files(const char *path)
{
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	uint64_t count = 0;

	for (const FTSENT *at; walk && (at = fts_read(walk)) != NULL;)
		count += at->fts_info == FTS_F || at->fts_info == FTS_SL;
	if (walk)
		fts_close(walk);
	return count;
}

static int walk_tree(struct copy *copy, const char *path, const char *what, const struct scratch *scratch)
{
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	const FTSENT *root = NULL;
	int err = 0;

	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (!walk)
		return -errno;
	copy->total = isatty(STDERR_FILENO) ? count_files(path) : 0;
	for (FTSENT *at; err == 0 && (at = fts_read(walk)) != NULL;) {
		if (!root)
			root = at;
		err = take_entry(copy, walk, at, root, scratch);
		if (copy->files % 16 == 0)
			progress_show(what, copy->files, copy->total);
	}
	if (err == 0)
		progress_show(what, copy->total, copy->total);
	fts_close(walk);
	return err;
}

static int print_copy(const struct copy *copy, const char *verb)
{
	printf("%s %" PRIu64 " documents in %" PRIu64 " folders, %" PRIu64 " bytes", verb, copy->files, copy->folders, copy->bytes);
	if (copy->skipped)
		printf("; %" PRIu64 " left out", copy->skipped);
	if (copy->failed)
		printf("; %" PRIu64 " not copied", copy->failed);
	putchar('\n');
	return copy->failed > 0;
}

/* ---- import ---- */

/* The directory that TO names below the own folder ("guides", "me/guides"), made where missing. */
static int make_import_root(struct copy *copy, const char *to)
{
	char path[PATH_MAX], *save = NULL;
	struct person_profile profile;
	struct store_txn *txn;
	struct desk_item item;
	struct id self;

	int err = store_begin(copy->session->store, false, &txn);
	if (err < 0)
		return err;
	err = person_self(txn, &self);
	if (err == 0)
		err = person_profile(txn, &self, &profile);
	store_abort(txn);
	copy->directories[0] = self;
	if (err < 0 || snprintf(path, sizeof(path), "%s", to) >= PATH_MAX)
		return err < 0 ? err : -ENAMETOOLONG;
	bool first = true;
	for (char *part = strtok_r(path, "/", &save); err == 0 && part; part = strtok_r(NULL, "/", &save)) {
		bool own = first && (strcmp(part, "me") == 0 || strcmp(part, profile.name) == 0);
		first = false;
		if (own)
			continue;
		struct desk_slot slot = { copy->directories[0], part };
		err = desk_mkdir(copy->session->desk, slot, 0755, getuid(), getgid(), &item);
		if (err == -EEXIST)
			err = desk_lookup(copy->session->desk, &self, &slot.directory, part, &item);
		if (err == 0 && item.what != WHAT_DIRECTORY)
			err = -ENOTDIR;
		copy->directories[0] = item.id;
	}
	return err < 0 ? why_set(copy->why, err, "%s: %s", to, why_errno(err)) : 0;
}

static int import_into_store(struct copy *copy, const char *from, const char *to)
{
	struct session session;

	int err = session_open(&session, false, copy->why);
	if (err < 0)
		return err;
	copy->session = &session;
	copy->import = desk_import_new(session.desk);
	err = copy->import ? make_import_root(copy, to) : -ENOMEM;
	if (err == 0)
		err = walk_tree(copy, from, "import", session.scratch);
	/* What was read before a failure is kept as well. */
	int kept = copy->import ? desk_import_flush(copy->import) : 0;
	if (kept < 0)
		copy->files -= desk_import_waiting(copy->import);
	err = err < 0 ? err : kept;
	desk_import_free(copy->import);
	if (err == 0)
		err = desk_publish_all(session.desk);
	if (err == 0)
		err = journal_sync(store_journal(session.store));
	int closed = session_close(&session);
	return err < 0 ? err : closed;
}

/* A folder in a mount, "me/…" of the one that serves this data folder unless a path in a mount was given. */
static bool mounted_folder(const char *to, char out[PATH_MAX])
{
	char path[PATH_MAX], mount[PATH_MAX];
	int pid = 0;

	if (realpath(to, path) && mount_find(path, mount, sizeof(mount)) == 0)
		return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
	if (session_path(path, NULL) < 0 || store_holder(path, &pid, mount, sizeof(mount)) < 0 || pid == 0 || !mount[0])
		return false;
	bool own = strcmp(to, "me") == 0 || strncmp(to, "me/", 3) == 0;
	return snprintf(out, PATH_MAX, "%.2000s/%s%.2000s", mount, own ? "" : "me/", to) < PATH_MAX;
}

static struct copy *copy_new(struct why *why)
{
	struct copy *copy = calloc(1, sizeof(*copy));

	if (copy)
		copy->why = why;
	return copy;
}

int command_import(int argc, char **argv)
{
	struct why why = { { 0 } };
	struct stat st;

	if (argc != 2 && argc != 3)
		return command_usage(argv[0]);
	if (stat(argv[1], &st) < 0 || !S_ISDIR(st.st_mode))
		return command_fail("%s is not a folder that can be read", argv[1]);
	CLEANUP(cleanup_free) struct copy *copy = copy_new(&why);
	if (!copy)
		return command_fail("there is no memory");
	const char *to = argc == 3 ? argv[2] : "me";
	int err;
	if (mounted_folder(to, copy->to)) {
		struct scratch *rules = NULL;
		err = file_make_directories(copy->to, 0755);
		if (err == 0)
			err = walk_tree(copy, argv[1], "import", rules);
	} else {
		err = import_into_store(copy, argv[1], to);
	}
	if (err < 0)
		return command_fail("import ended after %" PRIu64 " documents: %s", copy->files, why.text[0] ? why.text : why_errno(err));
	return print_copy(copy, "imported");
}

/* ---- export ---- */

struct export_at { /* one folder of the walk, waiting */
	struct id directory;
	char path[PATH_MAX];
	struct export_at *next;
};

struct export {
	struct copy *copy;
	struct export_at *at, *waiting;
	struct desk_item *items; /* of the folder at hand */
	size_t count, capacity;
};

static int collect(void *context, const struct desk_item *item)
{
	struct export *e = context;

	if (e->count == e->capacity) {
		size_t capacity = e->capacity ? e->capacity * 2 : 64;
		struct desk_item *items = realloc(e->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		e->items = items;
		e->capacity = capacity;
	}
	e->items[e->count++] = *item;
	return 0;
}

static int write_document(struct session *s, const struct desk_item *item, const char *path)
{
	const struct timespec time = time_of_ns(item->attributes.mtime_ns);
	const struct timespec times[] = { time, time };
	CLEANUP(cleanup_free) uint8_t *buffer = malloc(COPY_SIZE);
	struct handle *h = NULL;

	if (!buffer)
		return -ENOMEM;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, item->attributes.permissions & 0777);
	if (fd < 0)
		return -errno;
	int err = desk_open_file(s->desk, (struct desk_slot){ item->directory, item->slot_name }, O_RDONLY, 0, &h);
	ssize_t size = 0;
	for (uint64_t offset = 0; err == 0 && (size = handle_read(h, buffer, COPY_SIZE, offset)) > 0; offset += (uint64_t)size)
		err = file_write_all(fd, buffer, (size_t)size);
	if (err == 0)
		err = size < 0 ? (int)size : 0;
	if (h)
		handle_release(h);
	if (err == 0 && futimens(fd, times) < 0)
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	if (err < 0)
		unlink(path);
	return err;
}

static int export_item(struct export *e, const struct desk_item *item)
{
	struct session *s = e->copy->session;
	char path[PATH_MAX], target[PATH_MAX];

	if (snprintf(path, sizeof(path), "%.3000s/%s", e->at->path, item->name) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (item->what == WHAT_DIRECTORY) {
		struct export_at *next = calloc(1, sizeof(*next));
		if (!next)
			return -ENOMEM;
		next->directory = item->id;
		memcpy(next->path, path, sizeof(path));
		next->next = e->waiting;
		e->waiting = next;
		e->copy->folders++;
		return mkdir(path, 0755) < 0 ? -errno : 0;
	}
	int err;
	if (item->mode != MODE_LINK) {
		err = write_document(s, item, path);
	} else {
		err = desk_readlink(s->desk, &s->self, (struct desk_slot){ item->directory, item->slot_name }, target, sizeof(target));
		if (err == 0 && symlink(target, path) < 0)
			err = -errno;
	}
	if (err == 0) {
		e->copy->files++;
		e->copy->bytes += item->mode == MODE_LINK ? 0 : item->size;
	}
	return err;
}

static int export_folder(struct export *e)
{
	struct session *s = e->copy->session;

	e->count = 0;
	char path[PATH_MAX];

	int err = desk_each(s->desk, &s->self, &e->at->directory, 0, collect, e);
	if (err < 0)
		err = tell_entry(e->copy, e->at->path, err);
	for (size_t i = 0; err == 0 && i < e->count; i++) {
		const struct desk_item *item = &e->items[i];
		snprintf(path, sizeof(path), "%.3000s/%s", e->at->path, item->name);
		err = tell_entry(e->copy, path, export_item(e, item));
	}
	return err;
}

static int export_from_store(struct copy *copy, const char *from)
{
	struct session session;
	struct export e = { .copy = copy };

	int err = session_open(&session, false, copy->why);
	if (err < 0)
		return err;
	copy->session = &session;
	e.waiting = calloc(1, sizeof(*e.waiting));
	err = e.waiting ? make_import_root(copy, from) : -ENOMEM;
	if (err == 0) {
		e.waiting->directory = copy->directories[0];
		memcpy(e.waiting->path, copy->to, sizeof(copy->to));
	}
	while (e.waiting) {
		e.at = e.waiting;
		e.waiting = e.at->next;
		if (err == 0)
			err = export_folder(&e);
		free(e.at);
	}
	free(e.items);
	int closed = session_close(&session);
	return err < 0 ? err : closed;
}

/* A new or empty folder: nothing that is there is written over. */
static int make_export_root(const char *path, struct why *why)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return why_set(why, -errno, "%s cannot be made: %s", path, strerror(errno));
	char *const paths[] = { (char *)(uintptr_t)path, NULL };
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	const FTSENT *at = walk ? fts_read(walk) : NULL;
	bool folder = at && at->fts_info == FTS_D, empty = folder && !fts_children(walk, FTS_NAMEONLY) && errno == 0;
	if (walk)
		fts_close(walk);
	if (!folder)
		return why_set(why, -ENOTDIR, "%s is not a folder", path);
	return empty ? 0 : why_set(why, -ENOTEMPTY, "%s is not empty", path);
}

int command_export(int argc, char **argv)
{
	char from[PATH_MAX];
	struct why why = { { 0 } };

	if (argc != 2 && argc != 3)
		return command_usage(argv[0]);
	CLEANUP(cleanup_free) struct copy *copy = copy_new(&why);
	if (!copy)
		return command_fail("there is no memory");
	int err = make_export_root(argv[1], &why);
	if (err < 0)
		return command_fail("%s", why.text);
	copy->out = true;
	snprintf(copy->to, sizeof(copy->to), "%s", argv[1]);
	if (mounted_folder(argc == 3 ? argv[2] : "me", from)) {
		char whole[PATH_MAX];
		err = realpath(from, whole) ? walk_tree(copy, whole, "export", NULL) : -errno;
	} else {
		err = export_from_store(copy, argc == 3 ? argv[2] : "me");
	}
	if (err < 0)
		return command_fail("export ended after %" PRIu64 " documents: %s", copy->files, why.text[0] ? why.text : why_errno(err));
	return print_copy(copy, "exported");
}
