/*
 * floor - the least that a folder in user space can cost: a mount that stores nothing.
 *
 *   floor MOUNTPOINT
 *
 * Names, sizes and last contents are kept in memory and are gone at the end.  What the
 * kernel is told is what moot tells it: the same mount options, threads, capabilities, long
 * timeouts, keep_cache, no flush for readers, no extended attributes.  So moot's time less
 * floor's is what keeping costs.  Stays in the foreground; SIGTERM unmounts.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <uthash.h>
#include <utlist.h>

#define TIMEOUT 3600.0
#define THREADS_MAX 10
#define NAME_SIZE_MAX 255

struct node {
	struct stat st;
	uint64_t lookups;              /* what the kernel remembers of it */
	struct node *parent;           /* NULL: it has no name any more, or is the root */
	struct node *children;
	size_t child_count, key_size, room;
	uint8_t *content;
	struct node *next, *prev;      /* its siblings */
	UT_hash_handle by_number, by_name;
	struct {
		uint64_t parent;
		char name[NAME_SIZE_MAX + 1];
	} key;
};

struct listing { /* a folder as it was when it was opened */
	size_t count;
	uint64_t numbers[];
};

struct floor {
	pthread_mutex_t lock;
	struct node *numbers, *names;
	uint64_t last_number;
};

/* ---- the tree ---- */

static struct node *node_find(struct floor *f, fuse_ino_t ino)
{
	struct node *node;
	uint64_t number = ino;

	HASH_FIND(by_number, f->numbers, &number, sizeof(number), node);
	return node;
}

static size_t key_make(struct node *node, uint64_t parent, const char *name)
{
	size_t size = strlen(name);

	node->key.parent = parent;
	memcpy(node->key.name, name, size + 1);
	return sizeof(parent) + size;
}

static struct node *child_find(struct floor *f, fuse_ino_t parent, const char *name)
{
	struct node wanted, *node;

	if (strlen(name) > NAME_SIZE_MAX)
		return NULL;
	size_t size = key_make(&wanted, parent, name);
	HASH_FIND(by_name, f->names, &wanted.key, size, node);
	return node;
}

static struct node *node_new(struct floor *f, mode_t mode)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->st.st_ino = ++f->last_number;
	node->st.st_mode = mode;
	node->st.st_nlink = S_ISDIR(mode) ? 2 : 1;
	node->st.st_uid = getuid();
	node->st.st_gid = getgid();
	node->st.st_blksize = 4096;
	clock_gettime(CLOCK_REALTIME, &node->st.st_mtim);
	node->st.st_atim = node->st.st_ctim = node->st.st_mtim;
	HASH_ADD(by_number, f->numbers, st.st_ino, sizeof(node->st.st_ino), node);
	return node;
}

static void node_link(struct floor *f, struct node *node, struct node *parent, const char *name)
{
	node->parent = parent;
	node->key_size = key_make(node, parent->st.st_ino, name);
	HASH_ADD_KEYPTR(by_name, f->names, &node->key, node->key_size, node);
	DL_APPEND(parent->children, node);
	parent->child_count++;
	clock_gettime(CLOCK_REALTIME, &parent->st.st_mtim);
}

static void node_drop(struct floor *f, struct node *node)
{
	if (node->lookups || node->parent)
		return;
	HASH_DELETE(by_number, f->numbers, node);
	free(node->content);
	free(node);
}

static void node_unlink(struct floor *f, struct node *node)
{
	HASH_DELETE(by_name, f->names, node);
	DL_DELETE(node->parent->children, node);
	node->parent->child_count--;
	clock_gettime(CLOCK_REALTIME, &node->parent->st.st_mtim);
	node->parent = NULL;
}

static int node_resize(struct node *node, size_t size)
{
	if (size > node->room) {
		size_t room = size < 4096 ? 4096 : size > 2 * node->room ? size : 2 * node->room;
		uint8_t *content = realloc(node->content, room);
		if (!content)
			return ENOMEM;
		node->content = content;
		node->room = room;
	}
	size_t before = (size_t)node->st.st_size;
	if (size > before)
		memset(node->content + before, 0, size - before);
	node->st.st_size = (off_t)size;
	node->st.st_blocks = (blkcnt_t)((size + 511) / 512);
	clock_gettime(CLOCK_REALTIME, &node->st.st_mtim);
	return 0;
}

/* ---- what the kernel asks: each under the one lock ---- */

static struct floor *enter(fuse_req_t req)
{
	struct floor *f = fuse_req_userdata(req);

	pthread_mutex_lock(&f->lock);
	return f;
}

static void leave(struct floor *f)
{
	pthread_mutex_unlock(&f->lock);
}

static struct fuse_entry_param entry_of(struct node *node)
{
	node->lookups++;
	return (struct fuse_entry_param){ .ino = node->st.st_ino, .attr = node->st,
					  .attr_timeout = TIMEOUT, .entry_timeout = TIMEOUT };
}

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
	connection->max_write = 1024 * 1024;
	connection->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPORT_SUPPORT |
					FUSE_CAP_HANDLE_KILLPRIV);
	connection->want |= connection->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
						   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	struct floor *f = enter(req);
	struct node *node = child_find(f, parent, name);

	if (node)
		entry = entry_of(node);
	leave(f);
	if (node)
		fuse_reply_entry(req, &entry);
	else
		fuse_reply_err(req, ENOENT);
}

static void forget(struct floor *f, fuse_ino_t ino, uint64_t lookups)
{
	struct node *node = node_find(f, ino);

	if (!node || ino == FUSE_ROOT_ID)
		return;
	node->lookups -= lookups;
	node_drop(f, node);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	struct floor *f = enter(req);

	forget(f, ino, lookups);
	leave(f);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct floor *f = enter(req);

	for (size_t index = 0; index < count; index++)
		forget(f, forgets[index].ino, forgets[index].nlookup);
	leave(f);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct floor *f = enter(req);
	struct stat st = node_find(f, ino)->st;

	leave(f);
	fuse_reply_attr(req, &st, TIMEOUT);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int mask, struct fuse_file_info *fi)
{
	struct floor *f = enter(req);
	struct node *node = node_find(f, ino);
	int err = mask & FUSE_SET_ATTR_SIZE ? node_resize(node, (size_t)attr->st_size) : 0;

	if (mask & FUSE_SET_ATTR_MODE)
		node->st.st_mode = (node->st.st_mode & S_IFMT) | (attr->st_mode & 07777);
	if (mask & FUSE_SET_ATTR_MTIME)
		node->st.st_mtim = attr->st_mtim;
	if (mask & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &node->st.st_mtim);
	struct stat st = node->st;
	leave(f);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_attr(req, &st, TIMEOUT);
}

/* 0 or an errno; the new node is in *entry. */
static int make(struct floor *f, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_entry_param *entry)
{
	if (strlen(name) > NAME_SIZE_MAX)
		return ENAMETOOLONG;
	if (child_find(f, parent, name))
		return EEXIST;
	struct node *node = node_new(f, mode);
	if (!node)
		return ENOMEM;
	node_link(f, node, node_find(f, parent), name);
	*entry = entry_of(node);
	return 0;
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_entry_param entry;
	struct floor *f = enter(req);
	int err = make(f, parent, name, S_IFDIR | mode, &entry);

	leave(f);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_entry(req, &entry);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct floor *f = enter(req);
	int err = make(f, parent, name, S_IFREG | (mode & 07777), &entry);

	leave(f);
	fi->keep_cache = 1;
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_create(req, &entry, fi);
}

static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct floor *f = enter(req);
	struct node *node = child_find(f, parent, name);
	int err = !node ? ENOENT : node->children ? ENOTEMPTY : 0;

	if (!err) {
		node_unlink(f, node);
		node_drop(f, node);
	}
	leave(f);
	fuse_reply_err(req, err);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	struct floor *f = enter(req);
	struct node *node = child_find(f, parent, name), *old = child_find(f, new_parent, new_name);
	int err = flags ? EINVAL : !node ? ENOENT : old && old->children ? ENOTEMPTY : 0;

	if (!err && old != node) {
		if (old) {
			node_unlink(f, old);
			node_drop(f, old);
		}
		node_unlink(f, node);
		node_link(f, node, node_find(f, new_parent), new_name);
	}
	leave(f);
	fuse_reply_err(req, err);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fi->flags & O_TRUNC) {
		struct floor *f = enter(req);
		node_resize(node_find(f, ino), 0);
		leave(f);
	}
	fi->keep_cache = 1;
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
	fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct floor *f = enter(req);
	struct node *node = node_find(f, ino);
	size_t at = (size_t)offset, end = (size_t)node->st.st_size;

	if (at > end)
		at = end;
	fuse_reply_buf(req, (const char *)node->content + at, size < end - at ? size : end - at);
	leave(f);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct floor *f = enter(req);
	struct node *node = node_find(f, ino);
	size_t at = (size_t)offset;
	int err = at + size > (size_t)node->st.st_size ? node_resize(node, at + size) : 0;

	if (!err)
		memcpy(node->content + at, bytes, size);
	leave(f);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

static void op_done(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct floor *f = enter(req);
	struct node *folder = node_find(f, ino), *child;
	struct listing *listing = malloc(sizeof(*listing) + folder->child_count * sizeof(listing->numbers[0]));

	if (listing) {
		listing->count = 0;
		DL_FOREACH(folder->children, child)
			listing->numbers[listing->count++] = child->st.st_ino;
	}
	leave(f);
	fi->fh = (uintptr_t)listing;
	if (listing)
		fuse_reply_open(req, fi);
	else
		fuse_reply_err(req, ENOMEM);
}

static void list(fuse_req_t req, size_t size, off_t offset, const struct fuse_file_info *fi, bool plus)
{
	struct listing *listing = (struct listing *)(uintptr_t)fi->fh;
	char *out = malloc(size);
	size_t used = 0;
	struct floor *f = enter(req);

	for (size_t at = (size_t)offset; out && at < listing->count; at++) {
		struct node *node = node_find(f, listing->numbers[at]);
		if (!node || !node->parent)
			continue;
		struct fuse_entry_param entry = entry_of(node);
		off_t next = (off_t)at + 1;
		size_t took = plus ?
			fuse_add_direntry_plus(req, out + used, size - used, node->key.name, &entry, next) :
			fuse_add_direntry(req, out + used, size - used, node->key.name, &node->st, next);
		if (!plus || took > size - used)
			node->lookups--;
		if (took > size - used)
			break;
		used += took;
	}
	leave(f);
	fuse_reply_buf(req, out, used);
	free(out);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, size, offset, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, size, offset, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	free((struct listing *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init, .lookup = op_lookup, .forget = op_forget, .forget_multi = op_forget_multi,
	.getattr = op_getattr, .setattr = op_setattr, .mkdir = op_mkdir, .unlink = op_remove, .rmdir = op_remove,
	.rename = op_rename, .open = op_open, .create = op_create, .read = op_read, .write = op_write,
	.flush = op_done, .release = op_done, .fsync = op_fsync, .opendir = op_opendir, .readdir = op_readdir,
	.readdirplus = op_readdirplus, .releasedir = op_releasedir,
};

int main(int argc, char **argv)
{
	struct floor f = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	if (argc != 2 || !config || !node_new(&f, S_IFDIR | 0755))
		return 2;
	fuse_opt_add_arg(&arguments, argv[0]);
	fuse_opt_add_arg(&arguments, "-osubtype=floor,fsname=floor,default_permissions");
	struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof(operations), &f);
	if (!session || fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, argv[1]) != 0)
		return 1;
	umask(0);
	fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	int ended = fuse_session_loop_mt(session, config);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	fuse_loop_cfg_destroy(config);
	fuse_opt_free_args(&arguments);
	return ended < 0;
}
