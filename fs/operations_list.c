/* Listing folders: one buffer a request, entries with nodes where the kernel asks for them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operations.h"

struct lister {
	fuse_req_t req;
	struct mount *m;
	struct node *node;
	char *buffer;
	size_t size, used;
	bool all;            /* readdirplus */
	uint64_t *entered;   /* nodes counted, to be taken back if nobody hears */
	size_t entered_count;
};

/* The least an entry takes: a fuse_direntplus with a name of one byte. */
#define ENTRY_SIZE_MIN 152

bool lister_wants_all(const struct lister *l)
{
	return l->all;
}

static int add_with_node(struct lister *l, const char *name, uint64_t cookie, const struct found *found)
{
	/* ino 0: the kernel looks it up itself, if it wants to. */
	struct fuse_entry_param entry = { .attr = found->stat };
	size_t left = l->size - l->used;
	size_t need = fuse_add_direntry_plus(l->req, NULL, 0, name, NULL, 0);

	/* Before a look-up is counted. */
	if (need > left)
		return 1;
	if (found->identity.type) {
		int err = entry_fill(l->m, l->node, name, found, &entry);
		if (err < 0)
			return err;
		l->entered[l->entered_count++] = entry.ino;
	}
	l->used += fuse_add_direntry_plus(l->req, l->buffer + l->used, left, name, &entry, (off_t)cookie);
	return 0;
}

int lister_add(struct lister *l, const char *name, uint64_t cookie, const struct found *found)
{
	if (l->all)
		return add_with_node(l, name, cookie, found);

	size_t left = l->size - l->used;
	size_t need = fuse_add_direntry(l->req, l->buffer + l->used, left, name, &found->stat, (off_t)cookie);
	if (need > left)
		return 1;
	l->used += need;
	return 0;
}

static int add_dots(struct lister *l, uint64_t after)
{
	const struct found found = { .stat = { .st_mode = S_IFDIR, .st_ino = 1 } };
	int err = 0;

	if (after < 1)
		err = lister_add(l, ".", 1, &found);
	if (err == 0 && after < 2)
		err = lister_add(l, "..", 2, &found);
	return err;
}

static int list(struct lister *l, struct open *open, uint64_t after)
{
	/* Listed anew from the beginning: rewinddir(3). */
	if (after == 0 && open->listed) {
		listing_clear(&open->listing);
		open->listed = false;
	}
	int err = add_dots(l, after);
	if (err == 0) {
		const struct kind *kind = kind_enter(l->m, l->node);
		err = kind->list ? kind->list(l->m, l->node, open, after, l) : -ENOTDIR;
		kind_leave(l->m, kind);
	}
	/* An error after some entries is met again by the next request. */
	return err < 0 && l->used == 0 ? err : 0;
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi,
			   bool all)
{
	struct mount *m = request_mount(req);
	struct open *open = (struct open *)(uintptr_t)fi->fh;
	struct lister l = { .req = req, .m = m, .node = open->node, .size = size, .all = all };

	l.buffer = malloc(size);
	l.entered = all ? malloc((size / ENTRY_SIZE_MIN + 1) * sizeof(*l.entered)) : NULL;
	int err = -ENOMEM;
	if (l.buffer && (l.entered || !all)) {
		pthread_mutex_lock(&open->lock);
		err = list(&l, open, (uint64_t)offset);
		pthread_mutex_unlock(&open->lock);
	}
	if (err < 0)
		reply_error(req, err);
	else if (fuse_reply_buf(req, l.buffer, l.used) < 0)
		for (size_t index = 0; index < l.entered_count; index++)
			node_forget(m->nodes, l.entered[index], 1);
	free(l.buffer);
	free(l.entered);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, offset, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	read_directory(req, ino, size, offset, fi, true);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct node *node = node_find(m->nodes, ino);
	struct open *open = open_new(OPEN_FOLDER, fi->flags, 0);
	if (!node || !open) {
		reply_error(req, node ? -ENOMEM : -ESTALE);
		open_free(open);
		return;
	}
	node_add_open(m->nodes, node, open);
	fi->fh = (uintptr_t)open;
	if (fuse_reply_open(req, fi) < 0 && node_drop_open(m->nodes, open))
		open_free(open);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = (struct open *)(uintptr_t)fi->fh;
	if (node_drop_open(m->nodes, open))
		open_free(open);
	reply_error(req, 0);
}

/* A rename is durable when its directory is synced: all that was appended is. */
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = (struct open *)(uintptr_t)fi->fh;
	int err = 0;

	switch (node_kind_of(m, open->node)) {
	case NODE_DIRECTORY:
		err = journal_sync(store_journal(m->store));
		break;
	case NODE_SCRATCH:
		if (syncfs(scratch_fd(m->scratch)) < 0)
			err = -errno;
		break;
	case NODE_ROOT:
	case NODE_README:
	case NODE_ALIAS:
	case NODE_DOCUMENT:
	case NODE_CONTROL:
	case NODE_AT:
		break;
	}
	reply_error(req, err);
}
