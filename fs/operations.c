#include "operations.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "utf8.h"

static const struct kind *const kinds[] = {
	[NODE_ROOT] = &kind_root,
	[NODE_README] = &kind_readme,
	[NODE_ALIAS] = &kind_alias,
	[NODE_DIRECTORY] = &kind_directory,
	[NODE_DOCUMENT] = &kind_document,
	[NODE_CONTROL] = &kind_control,
	[NODE_AT] = &kind_at,
	[NODE_SCRATCH] = &kind_scratch,
};

struct mount *request_mount(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

uint32_t request_process(fuse_req_t req)
{
	struct mount *m = request_mount(req);
	return process_of(&m->processes, (uint32_t)fuse_req_ctx(req)->pid, clock_now_ms(store_clock(m->store)));
}

enum node_kind node_kind_of(struct mount *m, struct node *node)
{
	struct identity is;
	node_identity(m->nodes, node, &is);
	return is.kind;
}

const struct kind *kind_enter(struct mount *m, struct node *node)
{
	const struct kind *kind = kinds[node_kind_of(m, node)];
	if (!kind->by_name)
		return kind;
	pthread_rwlock_rdlock(&m->names);
	/* A rename may have made it another meanwhile: of the same sort, so the lock is right. */
	kind = kinds[node_kind_of(m, node)];
	assert(kind->by_name);
	return kind;
}

void kind_leave(struct mount *m, const struct kind *kind)
{
	if (kind->by_name)
		pthread_rwlock_unlock(&m->names);
}

/* ---- names that lead elsewhere meanwhile ---- */

#define TOLD_STALE_MS 1000

/* Was this thread told before? It is now. */
static bool was_told_stale(fuse_req_t req)
{
	struct mount *m = request_mount(req);
	uint32_t thread = (uint32_t)fuse_req_ctx(req)->pid;
	uint32_t now_ms = (uint32_t)clock_now_ms(store_clock(m->store));
	uint64_t before = atomic_exchange(&m->told_stale[thread % TOLD_STALE_KEPT], (uint64_t)thread << 32 | now_ms);

	return before >> 32 == thread && now_ms - (uint32_t)before < TOLD_STALE_MS;
}

/* What the name leads to, counted as by a look-up. `names` is held, so that it goes on leading there. */
static int find_again(struct mount *m, struct node *parent, const char *name, mode_t type, struct node **out)
{
	const struct kind *kind = kinds[node_kind_of(m, parent)];
	struct found found = { 0 };

	int err = kind->lookup ? kind->lookup(m, parent, name, &found) : -ENOENT;
	if (err < 0)
		return err;
	/* The kernel takes no file for a link. */
	if (found.identity.type != type)
		return -ESTALE;
	return node_enter(m->nodes, parent, name, &found.identity, out);
}

static int act_again(struct mount *m, struct node *stale, action *act, void *argument)
{
	struct node *parent, *node;
	struct identity is;
	char name[SHOWN_NAME_MAX + 1];

	node_identity(m->nodes, stale, &is);
	int err = node_name(m->nodes, stale, &parent, name);
	if (err < 0)
		return err;
	pthread_rwlock_rdlock(&m->names);
	err = find_again(m, parent, name, is.type, &node);
	if (err == 0) {
		err = act(m, kinds[node_kind_of(m, node)], node, argument);
		node_forget(m->nodes, node->number, 1);
	}
	pthread_rwlock_unlock(&m->names);
	node_unpin(m->nodes, parent);
	return err < 0 ? err : 1;
}

int act_on(fuse_req_t req, struct node *node, action *act, void *argument)
{
	struct mount *m = request_mount(req);
	if (!node)
		return -ESTALE;

	const struct kind *kind = kind_enter(m, node);
	int err = act(m, kind, node, argument);
	kind_leave(m, kind);
	return err == -ESTALE && was_told_stale(req) ? act_again(m, node, act, argument) : err;
}

void reply_error(fuse_req_t req, int err)
{
	/* Where it went wrong may have said more; that the disk failed is never kept back. */
	if (err == -ENOSPC || err == -EDQUOT || err == -EIO || err == -ENOMEM)
		errors_add(request_mount(req)->errors, "", err, why_errno(err));
	fuse_reply_err(req, -err);
}

/* One line that a terminal can take, whatever bytes a name has. */
static void put_path(struct bytes *out, const char *path)
{
	bool text = utf8_valid(path, strlen(path));
	for (; *path; path++) {
		unsigned char byte = (unsigned char)*path;
		if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !text))
			bytes_put_format(out, "\\x%02x", byte);
		else
			bytes_put_u8(out, byte);
	}
	bytes_put_u8(out, '\0');
}

int refuse(struct mount *m, struct node *node, const char *name, int err, const char *sentence)
{
	CLEANUP(bytes_finish) struct bytes shown;
	char path[4096];

	bytes_init(&shown, 4 * sizeof(path) + 1);
	node_path(m->nodes, node, name, path, sizeof(path));
	put_path(&shown, path);
	errors_add(m->errors, bytes_error(&shown) ? "" : (const char *)shown.data, err, sentence);
	return err;
}

int entry_fill(struct mount *m, struct node *parent, const char *name, const struct found *found,
	       struct fuse_entry_param *out)
{
	struct identity identity = found->identity;
	struct node *node;

	/* Its address is this copy's: callers hand structs about by value. */
	if (identity.kind == NODE_CONTROL)
		identity.control = &found->control;
	identity.ino = found->stat.st_ino;
	identity.told_ms = clock_now_ms(store_clock(m->store));
	int err = node_enter(m->nodes, parent, name, &identity, &node);
	if (err < 0)
		return err;
	if (nodes_are_many(m->nodes))
		notifier_add(m->notifier, &(struct notice){ .parent = UINT64_MAX, .surplus = true });
	*out = (struct fuse_entry_param){
		.ino = node->number,
		.generation = 1,
		.attr = found->stat,
		.attr_timeout = found->attr_timeout,
		.entry_timeout = found->entry_timeout,
	};
	return 0;
}

void reply_found(fuse_req_t req, struct mount *m, struct node *parent, const char *name, const struct found *found)
{
	struct fuse_entry_param entry;
	int err = entry_fill(m, parent, name, found, &entry);
	if (err < 0)
		reply_error(req, err);
	else if (fuse_reply_entry(req, &entry) < 0)
		node_forget(m->nodes, entry.ino, 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = request_mount(req);
	struct node *node = node_find(m->nodes, parent);
	struct found found = { 0 };

	m->lookups++;
	int err = -ESTALE;
	if (node) {
		const struct kind *kind = kind_enter(m, node);
		err = kind->lookup ? kind->lookup(m, node, name, &found) : -ENOTDIR;
		kind_leave(m, kind);
	}
	if (err < 0)
		reply_error(req, err);
	else
		reply_found(req, m, node, name, &found);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	node_forget(request_mount(req)->nodes, ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t index = 0; index < count; index++)
		node_forget(request_mount(req)->nodes, forgets[index].ino, forgets[index].nlookup);
	fuse_reply_none(req);
}

static struct open *open_of(const struct fuse_file_info *fi)
{
	return fi ? (struct open *)(uintptr_t)fi->fh : NULL;
}

/* What is open is asked at the node that it was opened at. */
static struct node *node_asked(struct mount *m, fuse_ino_t ino, const struct open *open)
{
	return open ? open->node : node_find(m->nodes, ino);
}

struct stat_action {
	struct open *open;
	struct stat st;
	double timeout;
};

static int act_stat(struct mount *m, const struct kind *kind, struct node *node, void *argument)
{
	struct stat_action *a = argument;
	return kind->stat(m, node, a->open, &a->st, &a->timeout);
}

static void reply_stat(fuse_req_t req, struct node *node, struct open *open)
{
	struct stat_action a = { .open = open };

	int err = act_on(req, node, act_stat, &a);
	if (err < 0)
		reply_error(req, err);
	else
		fuse_reply_attr(req, &a.st, err || (open && open->astray) ? 0 : a.timeout);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open *open = open_of(fi);
	reply_stat(req, node_asked(request_mount(req), ino, open), open);
}

struct set_action {
	struct open *open;
	const struct stat *attr;
	int mask;
	uint32_t process;
	uint64_t number; /* of the node that it was done to */
};

static int act_set(struct mount *m, const struct kind *kind, struct node *node, void *argument)
{
	struct set_action *a = argument;
	a->number = node->number;
	return kind->set ? kind->set(m, node, a->open, a->attr, a->mask, a->process) : -EPERM;
}

static int set_again(struct parked *p)
{
	struct set_action a = { .open = p->open, .attr = &p->attr, .mask = p->mask, .process = request_process(p->req) };

	int err = act_on(p->req, p->node, act_set, &a);
	if (err == -ENODATA)
		return err;
	if (err == 1)
		notifier_add(p->m->notifier, &(struct notice){ .bytes_of = a.number });
	if (err < 0)
		reply_error(p->req, err);
	else
		reply_stat(p->req, p->node, p->open);
	return 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int mask, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	struct parked p = { .req = req, .m = m, .node = node_asked(m, ino, open), .open = open, .attr = *attr, .mask = mask,
			    .again = set_again };

	/* A size needs the text that is cut. */
	if (set_again(&p) == -ENODATA && !park(&p, NULL))
		reply_error(req, -ENODATA);
}

static int act_readlink(struct mount *m, const struct kind *kind, struct node *node, void *argument)
{
	return kind->readlink ? kind->readlink(m, node, argument, LINK_SIZE_MAX + 1) : -EINVAL;
}

static int readlink_again(struct parked *p)
{
	char target[LINK_SIZE_MAX + 1];

	int err = act_on(p->req, p->node, act_readlink, target);
	if (err == -ENODATA)
		return err;
	if (err < 0)
		reply_error(p->req, err);
	else
		fuse_reply_readlink(p->req, target);
	return 0;
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = request_mount(req);
	struct parked p = { .req = req, .m = m, .node = node_find(m->nodes, ino), .again = readlink_again };

	if (readlink_again(&p) == -ENODATA && !park(&p, NULL))
		reply_error(req, -ENODATA);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	if (fstatvfs(store_directory_fd(request_mount(req)->store), &st) < 0) {
		reply_error(req, -errno);
		return;
	}
	st.f_namemax = NAME_SIZE_MAX;
	fuse_reply_statfs(req, &st);
}

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
	struct mount *m = userdata;

	connection->max_write = 1024 * 1024;
	/* All changes come through the kernel or make a new node: it need not guess by mtime. */
	connection->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPORT_SUPPORT |
					FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ASYNC_DIO); /* the last: a signal ends no such read */
	connection->want |= connection->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
						   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
	/* Those that wait for a peer must not keep others from being asked. */
	connection->max_background = WAITING_MAX + 64;
	connection->congestion_threshold = WAITING_MAX;
	/* Whoever comes from now on is answered. */
	if (m->ready_fd >= 0 && write(m->ready_fd, "", 1) == 1)
		m->ready_fd = -1;
}

/* Extended attributes would have their four rows here; without them the kernel is told ENOSYS once and asks no more. */
const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.poll = op_poll,
	.copy_file_range = op_copy_file_range,
};
