/* Names come and go: whose they are, and what may not be made where. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "operations.h"
#include "utf8.h"

/* ---- whose is a name ---- */

static int refuse_in_root(struct mount *m, struct node *parent, const char *name)
{
	return refuse(m, parent, name, -EPERM, "here stand persons, not documents: yours go into me/");
}

/* May anything be made or removed in this folder? */
static int check_folder(struct mount *m, struct node *parent, const struct identity *is, const char *name)
{
	switch (is->kind) {
	case NODE_ROOT:
	case NODE_SCRATCH:
		return 0;
	case NODE_DIRECTORY:
		if (!is_own(m, &is->person))
			return refuse_other(m, parent, name, &is->person, "directory");
		return 0;
	case NODE_CONTROL:
		return refuse(m, parent, name, -EPERM, "nothing can be made or removed behind an @");
	case NODE_AT:
		return refuse(m, parent, name, -EROFS, "what stood at a time can only be read");
	case NODE_README:
	case NODE_ALIAS:
	case NODE_DOCUMENT:
		break;
	}
	return -ENOTDIR;
}

struct beside {
	struct mount *m;
	struct place place;
};

static bool document_exists(void *context, const char *name)
{
	struct beside *beside = context;
	struct desk_item item;
	return desk_lookup(beside->m->desk, &beside->place.person, &beside->place.directory, name, &item) == 0 &&
	       item.what == WHAT_VERSION;
}

static int check_document_name(struct mount *m, struct node *parent, const char *name)
{
	size_t size = strlen(name);
	if (size > NAME_SIZE_MAX)
		return -ENAMETOOLONG;
	if (!utf8_valid_name(name, size))
		return refuse(m, parent, name, -EINVAL, "a name that others shall read must be UTF-8");
	return 0;
}

int name_decide(struct mount *m, struct node *parent, const char *name, bool exclusive, enum where *out)
{
	struct identity is;
	struct beside beside = { .m = m };

	node_identity(m->nodes, parent, &is);
	int err = check_folder(m, parent, &is, name);
	if (err < 0)
		return err;
	*out = WHERE_SCRATCH;
	if (is.kind == NODE_SCRATCH)
		return 0;
	size_t size = strlen(name);
	if (size > 0 && name[size - 1] == '@')
		return refuse(m, parent, name, -EINVAL, "a name that ends in @ leads behind a name: none can be made");
	if (is.kind == NODE_ROOT)
		return scratch_is_name(m->scratch, name, exclusive, NULL, NULL) ? 0 : refuse_in_root(m, parent, name);

	if (scratch_exists(m->scratch, &is.id, name))
		return 0;
	err = size > SHOWN_NAME_MAX ? -ENAMETOOLONG : node_place_in(m->nodes, parent, name, &beside.place);
	if (err < 0)
		return err;
	if (scratch_is_name(m->scratch, name, exclusive, document_exists, &beside))
		return 0;
	*out = WHERE_DOCUMENT;
	return check_document_name(m, parent, name);
}

static int find_in_root(struct mount *m, struct node *parent, const char *name)
{
	const struct id root = { 0 };
	struct id person;
	size_t size = strlen(name);

	if (scratch_exists(m->scratch, &root, name))
		return 0;
	if ((size > 0 && name[size - 1] == '@') || strcmp(name, "README.md") == 0 || person_find(m, name, &person) == 0)
		return refuse(m, parent, name, -EPERM, "this stands in the root as long as it is mounted");
	return -ENOENT;
}

int name_find(struct mount *m, struct node *parent, const char *name, enum where *out, struct desk_item *out_item)
{
	struct identity is;
	struct found found;
	size_t size = strlen(name);

	node_identity(m->nodes, parent, &is);
	int err = check_folder(m, parent, &is, name);
	if (err < 0)
		return err;
	*out = WHERE_SCRATCH;
	if (is.kind == NODE_ROOT)
		return find_in_root(m, parent, name);
	if (is.kind == NODE_DIRECTORY) {
		if (size > 0 && name[size - 1] == '@')
			return refuse(m, parent, name, -EPERM, "what is behind an @ cannot be moved or removed");
		err = desk_lookup(m->desk, &is.person, &is.id, name, out_item);
		if (err != -ENOENT) {
			*out = WHERE_DOCUMENT;
			return err;
		}
	}
	return scratch_lookup(m, parent, name, &found);
}

/* ---- making ---- */

struct wanted { /* what a name shall stand for */
	mode_t mode;        /* with its type */
	dev_t device;
	const char *target; /* of a symbolic link, else NULL */
	struct node *other; /* a file that gets one more name, else NULL */
	const struct fuse_ctx *who;
	uint32_t process;
};

static int make_file(struct mount *m, struct node *parent, const char *name, const struct wanted *w,
		     struct found *out)
{
	struct open *open;

	int err = document_create(m, parent, name, w->mode, w->who, w->process, &open, out);
	if (err == 0)
		open_finish(m, open);
	return err;
}

static int make_document(struct mount *m, struct node *parent, const char *name, const struct wanted *w,
			 struct found *out)
{
	const mode_t permissions = w->mode & 07777;
	struct place place;
	struct desk_item item;

	if (!S_ISREG(w->mode) && !S_ISDIR(w->mode) && !S_ISLNK(w->mode))
		return refuse(m, parent, name, -EPERM, "fifos, sockets and devices cannot be published");
	if (S_ISREG(w->mode))
		return make_file(m, parent, name, w, out);
	int err = node_place_in(m->nodes, parent, name, &place);
	if (err == 0 && S_ISDIR(w->mode))
		err = desk_mkdir(m->desk, slot_of(&place), permissions, w->who->uid, w->who->gid, &item);
	else if (err == 0)
		err = desk_symlink(m->desk, slot_of(&place), w->target, w->who->uid, w->who->gid, &item);
	if (err == 0)
		found_made(m, parent, name, &item, out);
	return err;
}

static int make_name(struct mount *m, struct node *parent, const char *name, const struct wanted *w,
		     struct found *out)
{
	enum where where;

	int err = name_decide(m, parent, name, false, &where);
	if (err < 0)
		return err;
	if (w->other && (where == WHERE_DOCUMENT || node_kind_of(m, w->other) != NODE_SCRATCH))
		return refuse(m, parent, name, -EPERM, "a document has one name: it can be copied, not linked");
	if (where == WHERE_DOCUMENT)
		return make_document(m, parent, name, w, out);
	return w->other ? scratch_link(m, w->other, parent, name, out) :
			  scratch_make_node(m, parent, name, w->mode, w->device, w->target, w->who, out);
}

static void reply_made(fuse_req_t req, fuse_ino_t parent, const char *name, struct wanted *w)
{
	struct mount *m = request_mount(req);
	struct node *node = node_find(m->nodes, parent);
	struct found found = { 0 };
	int err = -ESTALE;

	w->who = fuse_req_ctx(req);
	w->process = request_process(req);
	pthread_rwlock_rdlock(&m->names);
	if (node)
		err = make_name(m, node, name, w, &found);
	pthread_rwlock_unlock(&m->names);
	if (err < 0)
		reply_error(req, err);
	else
		reply_found(req, m, node, name, &found);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	reply_made(req, parent, name, &(struct wanted){ .mode = mode, .device = device });
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	reply_made(req, parent, name, &(struct wanted){ .mode = S_IFDIR | (mode & 07777) });
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	reply_made(req, parent, name, &(struct wanted){ .mode = S_IFLNK, .target = target });
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct node *other = node_find(request_mount(req)->nodes, ino);
	if (other)
		reply_made(req, parent, name, &(struct wanted){ .other = other });
	else
		reply_error(req, -ESTALE);
}

/* ---- removing ---- */

/* `names` is held alone. */
typedef int removal(struct mount *m, struct node *parent, const char *name, uint32_t process);

static void reply_removed(fuse_req_t req, fuse_ino_t parent, const char *name, removal *remove)
{
	struct mount *m = request_mount(req);
	struct node *node = node_find(m->nodes, parent);

	pthread_rwlock_wrlock(&m->names);
	int err = node ? remove(m, node, name, request_process(req)) : -ESTALE;
	pthread_rwlock_unlock(&m->names);
	reply_error(req, err);
}

static int unlink_name(struct mount *m, struct node *parent, const char *name, uint32_t process)
{
	enum where where;
	struct place place;
	struct desk_item item;

	int err = name_find(m, parent, name, &where, &item);
	if (err < 0)
		return err;
	if (where == WHERE_SCRATCH)
		return scratch_remove(m, parent, name, 0);
	err = node_place_in(m->nodes, parent, name, &place);
	if (err == 0)
		err = desk_unlink(m->desk, slot_of(&place));
	if (err == 0)
		node_leave(m->nodes, parent, name, true);
	return err;
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_removed(req, parent, name, unlink_name);
}

static int rmdir_name(struct mount *m, struct node *parent, const char *name, uint32_t process)
{
	enum where where;
	struct place place;
	struct desk_item item;
	char path[ID_TEXT_SIZE + 1];
	struct id person;

	if (root_has_person(m, parent, name, &person))
		return root_unfollow(m, parent, name, &person, process);
	int err = name_find(m, parent, name, &where, &item);
	if (err < 0)
		return err;
	if (where == WHERE_SCRATCH)
		return scratch_remove(m, parent, name, AT_REMOVEDIR);
	if (item.what != WHAT_DIRECTORY)
		return -ENOTDIR;
	if (!scratch_is_empty(m->scratch, &item.id))
		return -ENOTEMPTY;
	err = node_place_in(m->nodes, parent, name, &place);
	if (err == 0)
		err = desk_rmdir(m->desk, slot_of(&place));
	if (err < 0)
		return err;
	node_leave(m->nodes, parent, name, true);
	id_format(path, &item.id);
	unlinkat(scratch_fd(m->scratch), path, AT_REMOVEDIR); /* may never have been made */
	return 0;
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_removed(req, parent, name, rmdir_name);
}
