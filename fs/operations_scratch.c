/*
 * Local files: passed through to the data folder's scratch/.
 *
 * Folders inside a scratch directory are opened beneath scratch/ without following
 * links, so that a link put in the way leads nowhere.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "operations.h"

/* Deeper than any path that a program can name at once. */
#define FOLDER_PATH_MAX 8192

/* ---- where ---- */

void scratch_at_finish(struct scratch_at *at)
{
	if (at->owned && at->fd >= 0)
		close(at->fd);
	at->fd = -1;
}

static int open_beneath(int fd, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long opened = syscall(SYS_openat2, fd, path, &how, sizeof(how));
	return opened < 0 ? -errno : (int)opened;
}

/* A folder below scratch/, in steps that the kernel takes as a path. */
static int open_folder(struct mount *m, char *path)
{
	int fd = scratch_fd(m->scratch);
	bool owned = false;

	for (;;) {
		char *end = NULL;
		if (strlen(path) >= PATH_MAX) {
			for (end = path + PATH_MAX - 1; *end != '/'; end--)
				;
			*end = '\0';
		}
		int next = open_beneath(fd, path);
		if (owned)
			close(fd);
		if (next < 0 || !end)
			return next;
		fd = next;
		owned = true;
		path = end + 1;
	}
}

static int scratch_at(struct mount *m, char *folder, const char *name, struct scratch_at *out)
{
	size_t name_size = strlen(name);
	if (name_size > NAME_SIZE_MAX)
		return -ENAMETOOLONG;

	out->owned = false;
	out->fd = scratch_fd(m->scratch);
	if (strlen(folder) == ID_TEXT_SIZE) {
		memcpy(out->path, folder, ID_TEXT_SIZE);
		out->path[ID_TEXT_SIZE] = '/';
		memcpy(out->path + ID_TEXT_SIZE + 1, name, name_size + 1);
		return 0;
	}
	out->fd = open_folder(m, folder);
	out->owned = true;
	memcpy(out->path, name, name_size + 1);
	return out->fd < 0 ? out->fd : 0;
}

int scratch_at_name(struct mount *m, struct node *parent, const char *name, bool make, struct scratch_at *out)
{
	char folder[FOLDER_PATH_MAX];
	struct identity is;

	int err = node_scratch_path(m->nodes, parent, folder, sizeof(folder), NULL, 0);
	if (err < 0)
		return err;
	node_identity(m->nodes, parent, &is);
	if (make && is.kind != NODE_SCRATCH) {
		err = scratch_make_directory(m->scratch, &is.id);
		if (err < 0)
			return err;
	}
	return scratch_at(m, folder, name, out);
}

int scratch_at_node(struct mount *m, struct node *node, struct scratch_at *out)
{
	char folder[FOLDER_PATH_MAX], name[NAME_SIZE_MAX + 1];
	int err = node_scratch_path(m->nodes, node, folder, sizeof(folder), name, sizeof(name));
	return err < 0 ? err : scratch_at(m, folder, name, out);
}

/* ---- what it is ---- */

static void stat_local(const struct stat *st, struct stat *out)
{
	*out = *st;
	out->st_ino = INO_SCRATCH | (st->st_ino & INO_MASK);
}

void found_local(const struct stat *st, struct found *out)
{
	out->identity = (struct identity){
		.kind = NODE_SCRATCH,
		.type = st->st_mode & S_IFMT,
		.device = st->st_dev,
		.inode = st->st_ino,
	};
	out->entry_timeout = out->attr_timeout = TIMEOUT_LONG;
	stat_local(st, &out->stat);
}

int scratch_stat_at(const struct scratch_at *at, struct stat *out)
{
	return fstatat(at->fd, at->path, out, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int scratch_lookup(struct mount *m, struct node *parent, const char *name, struct found *out)
{
	SCRATCH_AT(at);
	struct stat st;

	int err = scratch_at_name(m, parent, name, false, &at);
	if (err == 0)
		err = scratch_stat_at(&at, &st);
	if (err < 0)
		return err;
	found_local(&st, out);
	return 0;
}

static bool has_fd(const struct open *open)
{
	return open->fd >= 0;
}

/* Removed, and no descriptor of ours holds it: somebody's working directory, or once a document and still open. */
static int stat_gone(struct mount *m, struct node *node, struct stat *out)
{
	struct identity is;
	struct open *held = node_hold_open(m->nodes, node, has_handle);

	node_identity(m->nodes, node, &is);
	int err = held ? stat_handle(held->handle, out) : 0;
	if (!held)
		*out = (struct stat){ .st_mode = is.type | 0700, .st_uid = m->uid, .st_gid = m->gid };
	let_go(m, held);
	out->st_ino = INO_SCRATCH | (is.inode & INO_MASK);
	out->st_nlink = 0;
	return err;
}

static int local_stat(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout)
{
	SCRATCH_AT(at);
	struct stat st;

	*out_timeout = TIMEOUT_LONG;
	struct open *held = open && open->fd >= 0 ? NULL : node_hold_open(m->nodes, node, has_fd);
	if (held)
		open = held;
	int err;
	if (open && open->fd >= 0) {
		err = fstat(open->fd, &st) < 0 ? -errno : 0;
	} else {
		err = scratch_at_node(m, node, &at);
		if (err == 0)
			err = scratch_stat_at(&at, &st);
	}
	let_go(m, held);
	if (err == 0)
		stat_local(&st, out);
	else if (err == -ESTALE)
		err = stat_gone(m, node, out);
	return err;
}

/* ---- changing what it is ---- */

/* O_PATH: also of what may not be opened. */
static int open_path(const struct scratch_at *at)
{
	int fd = openat(at->fd, at->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int set_mode(int fd, mode_t mode)
{
	char path[sizeof("/proc/self/fd/2147483647")];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

static int set_owner(int fd, const struct stat *attr, int mask)
{
	uid_t uid = mask & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = mask & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set_local_size(int fd, const struct open *open, off_t size)
{
	if (open && open->fd >= 0 && (open->flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(open->fd, size) < 0 ? -errno : 0;

	char path[sizeof("/proc/self/fd/2147483647")];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return truncate(path, size) < 0 ? -errno : 0;
}

static struct timespec set_time(const struct timespec *time, int mask, int set, int now)
{
	if (mask & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return mask & set ? *time : (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_times(int fd, const struct stat *attr, int mask)
{
	const struct timespec times[2] = {
		set_time(&attr->st_atim, mask, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
		set_time(&attr->st_mtim, mask, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
	};
	/* By the descriptor itself, so that a link is not followed (Linux 5.8 and later). */
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_all(int fd, const struct open *open, const struct stat *attr, int mask)
{
	int err = 0;

	/* chown clears the set-id bits, so the mode comes after. */
	if (mask & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		err = set_owner(fd, attr, mask);
	if (err == 0 && mask & FUSE_SET_ATTR_MODE)
		err = set_mode(fd, attr->st_mode);
	if (err == 0 && mask & FUSE_SET_ATTR_SIZE)
		err = set_local_size(fd, open, attr->st_size);
	if (err == 0 && mask & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
				FUSE_SET_ATTR_MTIME_NOW))
		err = set_times(fd, attr, mask);
	return err;
}

static bool node_is_directory(struct nodes *nodes, struct node *node)
{
	struct identity is;

	node_identity(nodes, node, &is);
	return S_ISDIR(is.type);
}

static int local_set(struct mount *m, struct node *node, struct open *open, const struct stat *attr, int mask,
		     uint32_t process)
{
	SCRATCH_AT(at);
	int err, fd = -1;

	pthread_rwlock_rdlock(&m->shape);
	struct open *held = open && open->fd >= 0 ? NULL : node_hold_open(m->nodes, node, has_fd);
	if (held)
		open = held;
	err = scratch_at_node(m, node, &at);
	if (err == 0)
		fd = open_path(&at);
	if (fd >= 0)
		err = set_all(fd, open, attr, mask);
	else if (open && open->fd >= 0) /* unlinked */
		err = set_all(open->fd, open, attr, mask);
	else if (err == 0)
		err = fd;
	else if (err == -ESTALE && node_is_directory(m->nodes, node)) /* removed and still open: nobody sees it */
		err = 0;
	if (fd >= 0)
		close(fd);
	let_go(m, held);
	pthread_rwlock_unlock(&m->shape);
	return err;
}

static int local_readlink(struct mount *m, struct node *node, char *out, size_t size)
{
	SCRATCH_AT(at);
	int err = scratch_at_node(m, node, &at);
	if (err < 0)
		return err;
	ssize_t got = readlinkat(at.fd, at.path, out, size - 1);
	if (got < 0)
		return -errno;
	out[got] = '\0';
	return 0;
}

/* ---- open and list ---- */

/* Offsets come from the kernel, which has applied O_APPEND; a page of a mapping must not be appended. */
int scratch_flags(int flags)
{
	return (flags & ~(O_APPEND | O_DIRECT | O_CREAT | O_EXCL)) | O_NOFOLLOW | O_CLOEXEC;
}

static int local_open(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
		      struct open **out)
{
	SCRATCH_AT(at);
	struct open *open = open_new(OPEN_SCRATCH, fi->flags, process);
	if (!open)
		return -ENOMEM;

	fi->keep_cache = 1;
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
	int err = scratch_at_node(m, node, &at);
	if (err == 0) {
		open->fd = openat(at.fd, at.path, scratch_flags(fi->flags));
		err = open->fd < 0 ? -errno : 0;
	} else {
		struct open *held = node_hold_open(m->nodes, node, has_fd);
		if (held) {
			char path[sizeof("/proc/self/fd/2147483647")];
			snprintf(path, sizeof(path), "/proc/self/fd/%d", held->fd);
			open->fd = openat(AT_FDCWD, path, scratch_flags(fi->flags) & ~O_NOFOLLOW);
			err = open->fd < 0 ? -errno : 0;
		}
		let_go(m, held);
	}
	if (err < 0) {
		open_free(open);
		return err;
	}
	*out = open;
	return 0;
}

/* The folder of local files of a node, for reading; -ENOENT: none was ever made. */
static int open_listing(struct mount *m, struct node *node)
{
	char folder[FOLDER_PATH_MAX];
	int err = node_scratch_path(m->nodes, node, folder, sizeof(folder), NULL, 0);
	if (err < 0)
		return err;
	CLEANUP(cleanup_close) int fd = open_folder(m, folder);
	if (fd < 0)
		return fd;
	int opened = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return opened < 0 ? -errno : opened;
}

/* All names at once: numbers of a directory of the disk would not fit beside the desk's. */
static int listing_fill(int fd, struct listing *out)
{
	int own = dup(fd);
	DIR *directory = own < 0 ? NULL : fdopendir(own);
	const struct dirent *entry;
	int err = 0;

	if (!directory) {
		err = -errno;
		if (own >= 0)
			close(own);
		return err;
	}
	while (err == 0 && (errno = 0, entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			err = listing_add(out, entry->d_name, DTTOIF(entry->d_type), entry->d_ino);
	if (err == 0 && errno)
		err = -errno;
	closedir(directory);
	return err;
}

static int list_local(int fd, const struct listed *item, uint64_t cookie, struct lister *l)
{
	struct found found = { .stat = { .st_mode = item->type, .st_ino = INO_SCRATCH | (item->ino & INO_MASK) } };
	struct stat st;

	if (lister_wants_all(l)) {
		/* Gone since the names were read. */
		if (fstatat(fd, item->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return 0;
		found_local(&st, &found);
	}
	return lister_add(l, item->name, cookie, &found);
}

int scratch_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l)
{
	size_t index = after < COOKIE_SCRATCH ? 0 : after - COOKIE_SCRATCH;
	if (open->listed && index >= open->listing.count)
		return 0;

	CLEANUP(cleanup_close) int fd = open_listing(m, node);
	if (fd < 0)
		return fd == -ENOENT || fd == -ESTALE ? 0 : fd;
	int err = open->listed ? 0 : listing_fill(fd, &open->listing);
	if (err < 0) {
		listing_clear(&open->listing);
		return err;
	}
	open->listed = true;
	for (; err == 0 && index < open->listing.count; index++)
		err = list_local(fd, &open->listing.items[index], COOKIE_SCRATCH + index + 1, l);
	return err;
}

const struct kind kind_scratch = {
	.by_name = true,
	.lookup = scratch_lookup, .stat = local_stat, .set = local_set, .readlink = local_readlink,
	.open = local_open, .list = scratch_list,
};

ssize_t scratch_pwrite(struct open *open, const char *bytes, size_t size, off_t offset)
{
	size_t done = 0;
	while (done < size) {
		ssize_t wrote = pwrite(open->fd, bytes + done, size - done, offset + (off_t)done);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return done ? (ssize_t)done : -errno;
		done += (size_t)wrote;
	}
	return (ssize_t)done;
}
