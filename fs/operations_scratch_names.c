/* Local files come, go and change names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include "cleanup.h"
#include "operations.h"

/* What root makes for somebody is theirs; a folder with the set-group-id bit gives its group. */
static int give_to(const struct scratch_at *at, const struct fuse_ctx *who)
{
	struct stat folder;

	if (geteuid() != 0)
		return 0;
	gid_t gid = who->gid;
	/* A directory's own folder of scratch is never such a one. */
	if (at->owned && fstat(at->fd, &folder) == 0 && folder.st_mode & S_ISGID)
		gid = folder.st_gid;
	return fchownat(at->fd, at->path, who->uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int scratch_create(struct mount *m, struct node *parent, const char *name, mode_t mode, int flags,
		   const struct fuse_ctx *who, uint32_t process, struct open **out, struct found *out_found)
{
	SCRATCH_AT(at);
	struct stat st;
	struct open *open = open_new(OPEN_SCRATCH, flags, process);
	if (!open)
		return -ENOMEM;

	int err = scratch_at_name(m, parent, name, true, &at);
	if (err == 0) {
		int how = scratch_flags(flags) | O_CREAT | (flags & O_EXCL);
		open->fd = openat(at.fd, at.path, how, mode & 07777);
		err = open->fd < 0 ? -errno : give_to(&at, who);
	}
	/* The owner's change has taken the set-id bits away. */
	if (err == 0 && mode & (S_ISUID | S_ISGID) && fchmod(open->fd, mode & 07777) < 0)
		err = -errno;
	if (err == 0 && fstat(open->fd, &st) < 0)
		err = -errno;
	if (err < 0) {
		open_free(open);
		return err;
	}
	found_local(&st, out_found);
	*out = open;
	return 0;
}

static int make_at(const struct scratch_at *at, mode_t mode, dev_t device, const char *target)
{
	int result;

	if (target)
		result = symlinkat(target, at->fd, at->path);
	else if (S_ISDIR(mode))
		result = mkdirat(at->fd, at->path, mode & 07777);
	else
		result = mknodat(at->fd, at->path, mode, device);
	return result < 0 ? -errno : 0;
}

int scratch_make_node(struct mount *m, struct node *parent, const char *name, mode_t mode, dev_t device,
		      const char *target, const struct fuse_ctx *who, struct found *out)
{
	SCRATCH_AT(at);
	struct stat st;

	int err = scratch_at_name(m, parent, name, true, &at);
	if (err == 0)
		err = make_at(&at, mode, device, target);
	if (err < 0)
		return err;
	err = give_to(&at, who);
	if (err == 0)
		err = scratch_stat_at(&at, &st);
	if (err == 0)
		found_local(&st, out);
	else
		unlinkat(at.fd, at.path, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
	return err;
}

int scratch_remove(struct mount *m, struct node *parent, const char *name, int flags)
{
	SCRATCH_AT(at);
	struct stat st;

	int err = scratch_at_name(m, parent, name, false, &at);
	if (err == 0)
		err = scratch_stat_at(&at, &st);
	if (err == 0 && unlinkat(at.fd, at.path, flags) < 0)
		err = -errno;
	if (err == 0)
		node_leave(m->nodes, parent, name, S_ISDIR(st.st_mode) || st.st_nlink <= 1);
	return err;
}

int scratch_link(struct mount *m, struct node *node, struct node *parent, const char *name, struct found *out)
{
	SCRATCH_AT(from);
	SCRATCH_AT(to);
	struct stat st;

	int err = scratch_at_node(m, node, &from);
	if (err == 0)
		err = scratch_at_name(m, parent, name, true, &to);
	if (err == 0 && linkat(from.fd, from.path, to.fd, to.path, 0) < 0)
		err = -errno;
	if (err == 0)
		err = scratch_stat_at(&to, &st);
	if (err == 0)
		found_local(&st, out);
	return err;
}

int scratch_rename(struct mount *m, struct node *from, const char *from_name, struct node *to, const char *to_name,
		   unsigned flags)
{
	SCRATCH_AT(source);
	SCRATCH_AT(target);
	struct stat st;

	int err = scratch_at_name(m, from, from_name, false, &source);
	if (err == 0)
		err = scratch_at_name(m, to, to_name, true, &target);
	if (err < 0)
		return err;
	bool replaces = scratch_stat_at(&target, &st) == 0;
	if (renameat2(source.fd, source.path, target.fd, target.path, flags) < 0)
		return -errno;

	if (flags & RENAME_EXCHANGE)
		return node_exchange(m->nodes, from, from_name, to, to_name) < 0;
	if (replaces)
		node_leave(m->nodes, to, to_name, S_ISDIR(st.st_mode) || st.st_nlink <= 1);
	return node_move(m->nodes, from, from_name, to, to_name) < 0;
}
