/* Persons' directories and the documents in them: what the desk shows, as nodes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "operations.h"

struct desk_slot slot_of(const struct place *place)
{
	return (struct desk_slot){ .directory = place->directory, .name = place->name };
}

bool is_self(const struct mount *m, const struct id *person)
{
	return id_equal(person, &m->self);
}

bool is_withheld(const struct mount *m, const struct id *person, const char *name)
{
	return name[0] == '.' && !is_self(m, person) && scratch_is_name(m->scratch, name, false, NULL, NULL);
}

bool is_own(const struct mount *m, const struct id *person)
{
	return id_equal(person, &m->self) && m->counts;
}

int refuse_other(struct mount *m, struct node *node, const char *name, const struct id *person, const char *what)
{
	char sentence[160];

	if (is_self(m, person))
		return refuse(m, node, name, -EACCES,
			      "this device was not admitted, or was retired: write its id to me@/devices on one that is");
	snprintf(sentence, sizeof(sentence), "this is somebody else's %s: it can only be read", what);
	return refuse(m, node, name, -EACCES, sentence);
}

static void stat_item(bool own, const struct desk_item *item, struct stat *out)
{
	const struct attributes *a = &item->attributes;
	mode_t type = item->what == WHAT_DIRECTORY ? S_IFDIR : item->mode == MODE_LINK ? S_IFLNK : S_IFREG;
	mode_t permissions = type == S_IFLNK ? 0777 : (a->permissions & 07777);

	/* What others publish is read here, never written. */
	if (!own && type != S_IFLNK)
		permissions &= ~(mode_t)0222;
	*out = (struct stat){
		.st_mode = type | permissions,
		.st_nlink = 1,
		.st_ino = a->ino & INO_MASK,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_size = type == S_IFDIR ? 0 : (off_t)item->size,
		.st_blksize = 4096,
		.st_mtim = time_of_ns(a->mtime_ns),
		.st_ctim = time_of_ns(a->ctime_ns),
	};
	out->st_atim = a->atime_ns ? time_of_ns(a->atime_ns) : out->st_mtim;
	out->st_blocks = (out->st_size + 511) / 512;
}

void found_item(const struct mount *m, const struct id *person, const struct desk_item *item, struct found *out)
{
	out->entry_timeout = TIMEOUT_LONG;
	/* How many folders are in a folder is counted when it is asked for itself. */
	out->attr_timeout = item->what == WHAT_DIRECTORY ? 0 : TIMEOUT_LONG;
	stat_item(is_own(m, person), item, &out->stat);
	out->identity = (struct identity){
		.kind = item->what == WHAT_DIRECTORY ? NODE_DIRECTORY : NODE_DOCUMENT,
		.type = out->stat.st_mode & S_IFMT,
		.person = *person,
		.id = item->id,
		.waits = item->what == WHAT_VERSION && item->waits,
		.order = item->order,
	};
}

void found_made(struct mount *m, struct node *parent, const char *name, const struct desk_item *item,
		struct found *out)
{
	/* Whatever the kernel knew there is another file. */
	node_leave(m->nodes, parent, name, true);
	found_item(m, &m->self, item, out);
	out->identity.waits = item->what == WHAT_VERSION;
}

/* ---- directories ---- */

#define ENTRIES_COUNTED_MAX 512

/* 2 and one for each folder in it, as on a disk; 1, as other filesystems that do not count, where that takes long. */
static nlink_t links_of(struct mount *m, const struct id *person, const struct id *directory)
{
	char path[ID_TEXT_SIZE + 1];
	struct stat local = { .st_nlink = 2 };

	const int folders = desk_count_directories(m->desk, person, directory, ENTRIES_COUNTED_MAX);
	if (folders < 0)
		return 1;
	id_format(path, directory);
	if (is_self(m, person) && fstatat(scratch_fd(m->scratch), path, &local, AT_SYMLINK_NOFOLLOW) == 0 &&
	    local.st_nlink < 2)
		return 1;
	return (nlink_t)folders + local.st_nlink;
}

static int directory_lookup(struct mount *m, struct node *node, const char *name, struct found *out)
{
	size_t size = strlen(name);
	struct desk_item item;
	struct place place;

	int err = node_place_in(m->nodes, node, name, &place);
	if (err < 0)
		return err;
	if (is_withheld(m, &place.person, name))
		return -ENOENT;
	if (size > 0 && name[size - 1] == '@') {
		place.name[size - 1] = '\0';
		return control_of_document(m, &place, out);
	}
	err = desk_lookup(m->desk, &place.person, &place.directory, place.name, &item);
	if (err == 0) {
		found_item(m, &place.person, &item, out);
		if (item.what == WHAT_DIRECTORY) {
			out->stat.st_nlink = links_of(m, &place.person, &item.id);
			out->attr_timeout = TIMEOUT_LONG;
		}
	} else if (err == -ENOENT && is_self(m, &place.person))
		err = scratch_lookup(m, node, name, out);
	return err;
}

static int directory_stat(struct mount *m, struct node *node, struct open *open, struct stat *out,
			  double *out_timeout)
{
	struct identity is;
	struct place place;
	struct desk_item item = { .what = WHAT_DIRECTORY };

	node_identity(m->nodes, node, &is);
	int err = desk_directory(m->desk, &is.person, &is.id, &item.attributes);
	if (err < 0 && err != -ENOENT)
		return err;
	stat_item(is_own(m, &is.person), &item, out);
	/* Removed, and still somebody's working directory. */
	if (err < 0 || node_place(m->nodes, node, &place) == -ESTALE)
		out->st_nlink = 0;
	else
		out->st_nlink = links_of(m, &is.person, &is.id);
	*out_timeout = TIMEOUT_LONG;
	return 0;
}

static unsigned attributes_of(struct mount *m, const struct stat *attr, int mask, struct attributes *out)
{
	const uint64_t now_ns = clock_time_ns(store_clock(m->store));
	unsigned set = 0;

	*out = (struct attributes){ 0 };
	if (mask & FUSE_SET_ATTR_MODE) {
		out->permissions = attr->st_mode & 07777;
		set |= DESK_SET_PERMISSIONS;
	}
	if (mask & FUSE_SET_ATTR_UID) {
		out->uid = attr->st_uid;
		set |= DESK_SET_UID;
	}
	if (mask & FUSE_SET_ATTR_GID) {
		out->gid = attr->st_gid;
		set |= DESK_SET_GID;
	}
	if (mask & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		out->mtime_ns = mask & FUSE_SET_ATTR_MTIME_NOW ? now_ns : ns_of_time(&attr->st_mtim);
		set |= DESK_SET_MTIME;
	}
	if (mask & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
		out->atime_ns = mask & FUSE_SET_ATTR_ATIME_NOW ? now_ns : ns_of_time(&attr->st_atim);
		set |= DESK_SET_ATIME;
	}
	return set;
}

static int directory_set(struct mount *m, struct node *node, struct open *open, const struct stat *attr, int mask,
			 uint32_t process)
{
	struct identity is;
	struct attributes a;

	node_identity(m->nodes, node, &is);
	if (!is_own(m, &is.person))
		return refuse_other(m, node, NULL, &is.person, "directory");
	unsigned set = attributes_of(m, attr, mask, &a);
	return set ? desk_set_directory_attributes(m->desk, &is.id, set, &a) : 0;
}

struct directory_list {
	struct mount *m;
	struct node *node;
	struct lister *lister;
	struct id person;
	uint64_t after, since_ms;
	mode_t known_type;
};

/* Each document has two places in a listing: its own and, after it, that of its control folder. */
static uint64_t cookie_of(const struct desk_item *item)
{
	return COOKIE_FIRST + 2 * item->cookie;
}

static int list_controls(struct directory_list *list, const struct desk_item *item)
{
	char name[SHOWN_NAME_MAX + 2];
	struct found found = { .stat = { .st_mode = S_IFDIR | 0555, .st_ino = INO_MADE } };

	if (item->what != WHAT_VERSION || cookie_of(item) + 1 <= list->after)
		return 0;
	strcpy(name, item->name);
	strcat(name, "@");
	return lister_add(list->lister, name, cookie_of(item) + 1, &found);
}

/* The kernel has its attributes, and will have them for some time. */
static uint64_t kernel_knows(void *context, const struct tree_item *item)
{
	struct directory_list *list = context;
	return node_known(list->m->nodes, list->node, item->name, &item->id, list->since_ms, &list->known_type);
}

static int list_item(void *context, const struct desk_item *item)
{
	struct directory_list *list = context;
	struct found found;

	if (is_withheld(list->m, &list->person, item->name))
		return 0;
	if (cookie_of(item) > list->after) {
		if (item->known)
			found = (struct found){ .stat = { .st_mode = list->known_type,
							  .st_ino = item->attributes.ino } };
		else
			found_item(list->m, &list->person, item, &found);
		if (lister_add(list->lister, item->name, cookie_of(item), &found))
			return 1;
	}
	return list->m->list_controls ? list_controls(list, item) : 0;
}

static int directory_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l)
{
	struct identity is;
	node_identity(m->nodes, node, &is);

	if (after < COOKIE_SCRATCH) {
		const uint64_t now_ms = clock_now_ms(store_clock(m->store)), trusted_ms = (uint64_t)TIMEOUT_LONG * 1000 / 2;
		/* After a document's own place its control folder's may be left. */
		uint64_t passed = after < COOKIE_FIRST ? 0 : (after - COOKIE_FIRST) / 2;
		if (m->list_controls && passed > 0)
			passed--;
		struct directory_list list = {
			.m = m, .node = node, .lister = l, .person = is.person, .after = after,
			.since_ms = now_ms > trusted_ms ? now_ms - trusted_ms : 0,
		};
		int err = desk_each_new(m->desk, &is.person, &is.id, passed, kernel_knows, list_item, &list);
		if (err != 0)
			return err;
	}
	return is_self(m, &is.person) ? scratch_list(m, node, open, after, l) : 0;
}

const struct kind kind_directory = {
	.lookup = directory_lookup, .stat = directory_stat, .set = directory_set, .list = directory_list,
};

/* ---- documents ---- */

bool has_handle(const struct open *open)
{
	return open->handle;
}

/* What the desk shows at the node's name, if that is what the node stands for. -ESTALE: it is not. */
static int document_item(struct mount *m, struct node *node, struct place *place, struct desk_item *out)
{
	int err = node_place(m->nodes, node, place);
	if (err == 0)
		err = desk_lookup(m->desk, &place->person, &place->directory, place->name, out);
	if (err < 0)
		return err;
	if (out->what != WHAT_VERSION || !node_agrees(m->nodes, node, &out->id, out->waits, out->order))
		return -ESTALE;
	return 0;
}

void document_refresh(struct mount *m, struct node *node)
{
	struct place place;
	struct desk_item item;

	const struct kind *kind = kind_enter(m, node);
	if (kind == &kind_document)
		document_item(m, node, &place, &item);
	kind_leave(m, kind);
}

int stat_handle(struct handle *handle, struct stat *out)
{
	struct desk_item item;
	int err = handle_item(handle, &item);
	if (err < 0)
		return err;
	stat_item(true, &item, out);
	out->st_nlink = !id_is_zero(&item.directory);
	return 0;
}

/* A version that shows nowhere now, or not under this node. */
static int stat_version(struct mount *m, struct node *node, struct stat *out)
{
	struct store_txn *txn;
	struct identity is;
	struct version_row row;

	node_identity(m->nodes, node, &is);
	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = document_version_row(txn, &is.id, &row);
	store_abort(txn);
	if (err < 0)
		return -ESTALE;

	uint64_t ns = row.time_ms * 1000000, ino;
	memcpy(&ino, &is.id, sizeof(ino));
	struct desk_item item = {
		.what = WHAT_VERSION, .mode = row.mode, .size = row.size,
		.attributes = { .permissions = row.mode == MODE_EXECUTABLE ? 0755 : 0644, .uid = m->uid, .gid = m->gid,
				.mtime_ns = ns, .ctime_ns = ns, .ino = ino },
	};
	stat_item(true, &item, out);
	return 0;
}

static int document_stat(struct mount *m, struct node *node, struct open *open, struct stat *out,
			 double *out_timeout)
{
	struct place place;
	struct desk_item item;

	*out_timeout = TIMEOUT_LONG;
	if (open && open->handle)
		return stat_handle(open->handle, out);

	int err = document_item(m, node, &place, &item);
	if (err == 0) {
		stat_item(is_own(m, &place.person), &item, out);
		return 0;
	}
	struct open *held = node_hold_open(m->nodes, node, has_handle);
	err = held ? stat_handle(held->handle, out) : stat_version(m, node, out);
	let_go(m, held);
	return err;
}

static int set_size(struct mount *m, struct node *node, struct handle *handle, uint64_t size, uint32_t process)
{
	struct place place;
	struct desk_item item;
	int err;

	node_set_dirty(m->nodes, node, desk_order(m->desk));
	if (handle)
		return handle_truncate(handle, size);
	err = document_item(m, node, &place, &item);
	if (err == 0)
		err = desk_truncate(m->desk, slot_of(&place), size, process);
	/* It made a version at once. */
	node_set_dirty(m->nodes, node, desk_order(m->desk));
	return err;
}

static int set_attributes(struct mount *m, struct node *node, struct handle *handle, unsigned set,
			  const struct attributes *a)
{
	struct place place;

	/* The x bit is published. */
	if (set & DESK_SET_PERMISSIONS)
		node_set_dirty(m->nodes, node, desk_order(m->desk));
	if (handle)
		return handle_set_attributes(handle, set, a);
	int err = node_place(m->nodes, node, &place);
	return err < 0 ? err : desk_set_attributes(m->desk, slot_of(&place), set, a);
}

static int document_set(struct mount *m, struct node *node, struct open *open, const struct stat *attr, int mask,
			uint32_t process)
{
	struct attributes a;
	struct place place;
	struct open *held = NULL;
	int err = 0;

	bool placed = node_place(m->nodes, node, &place) == 0;
	if (placed && !is_own(m, &place.person))
		return refuse_other(m, node, NULL, &place.person, "document");
	struct handle *handle = open ? open->handle : NULL;
	if (!handle && !placed) {
		held = node_hold_open(m->nodes, node, has_handle);
		if (!held)
			return -ESTALE;
		handle = held->handle;
	}

	if (mask & FUSE_SET_ATTR_SIZE)
		err = set_size(m, node, handle, (uint64_t)attr->st_size, process);
	if (err == 0 && open && mask & FUSE_SET_ATTR_SIZE)
		open->wrote = true;
	unsigned set = attributes_of(m, attr, mask, &a);
	if (err == 0 && set)
		err = set_attributes(m, node, handle, set, &a);
	let_go(m, held);
	return err;
}

static int content_readlink(struct mount *m, const struct id *version, char *out, size_t size)
{
	struct store_txn *txn;
	CLEANUP(cleanup_free) struct version *v = malloc(sizeof(*v));
	if (!v)
		return -ENOMEM;

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = document_version(txn, version, v);
	store_abort(txn);
	if (err < 0)
		return err;
	ssize_t got = content_read(store_piece_cache(m->store), store_pieces(m->store), &v->content,
				   (uint8_t *)out, size - 1, 0);
	if (got < 0)
		return (int)got;
	out[got] = '\0';
	return 0;
}

static int document_readlink(struct mount *m, struct node *node, char *out, size_t size)
{
	struct place place;
	struct desk_item item;
	struct identity is;

	if (document_item(m, node, &place, &item) == 0)
		return desk_readlink(m->desk, &place.person, slot_of(&place), out, size);
	node_identity(m->nodes, node, &is);
	return content_readlink(m, &is.id, out, size);
}

static int open_content(struct mount *m, const struct id *version, int flags, uint32_t process, struct open **out)
{
	struct store_txn *txn;
	CLEANUP(cleanup_free) struct version *v = malloc(sizeof(*v));
	if (!v)
		return -ENOMEM;

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = document_version(txn, version, v);
	store_abort(txn);
	if (err < 0)
		return err;
	struct open *open = open_new(OPEN_CONTENT, flags, process);
	if (!open)
		return -ENOMEM;
	open->content = malloc(sizeof(*open->content));
	if (!open->content) {
		open_free(open);
		return -ENOMEM;
	}
	*open->content = v->content;
	open->version = *version;
	*out = open;
	return 0;
}

/* Another head may have come since it was looked at; bytes that are cut off are nobody's. */
static int open_shown(struct mount *m, struct node *node, const struct place *place, int flags, uint32_t process,
		      struct handle **out)
{
	struct desk_item item;
	struct handle *handle;

	int err = desk_open_file(m->desk, slot_of(place), flags, process, &handle);
	if (err < 0)
		return err;
	if (!(flags & O_TRUNC) && handle_item(handle, &item) == 0 &&
	    !node_agrees(m->nodes, node, &item.id, item.waits, item.order)) {
		handle_release(handle);
		return -ESTALE;
	}
	*out = handle;
	return 0;
}

/* -ESTALE: the kernel looks the name up again, and opens what shows now. */
static int open_own(struct mount *m, struct node *node, int flags, uint32_t process, struct handle **out)
{
	struct place place;
	struct desk_item item;

	if (document_item(m, node, &place, &item) == 0)
		return open_shown(m, node, &place, flags, process, out);

	/* It shows nowhere under this node: what has it open can be opened again, by /proc/PID/fd. */
	struct open *held = node_hold_open(m->nodes, node, has_handle);
	int err = held ? desk_reopen(m->desk, held->handle, flags, process, out) : -ESTALE;
	let_go(m, held);
	return err;
}

static int document_open(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
			 struct open **out)
{
	struct place place;
	struct identity is;
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;

	fi->keep_cache = 1;
	fi->noflush = !writes;
	if (node_place(m->nodes, node, &place) == 0 && !is_own(m, &place.person)) {
		if (writes)
			return refuse_other(m, node, NULL, &place.person, "document");
		node_identity(m->nodes, node, &is);
		return open_content(m, &is.id, fi->flags, process, out);
	}

	struct open *open = open_new(OPEN_DOCUMENT, fi->flags, process);
	if (!open)
		return -ENOMEM;
	int flags = fi->flags & (O_ACCMODE | O_TRUNC);
	struct desk_item item;
	struct handle *handle;
	int err = open_own(m, node, flags == (O_RDONLY | O_TRUNC) ? O_RDWR | O_TRUNC : flags, process, &handle);
	if (err < 0) {
		open_free(open);
		return err;
	}
	open->handle = handle;
	if (handle_item(handle, &item) == 0)
		open->version = item.id;
	if (fi->flags & O_TRUNC) {
		open->wrote = true;
		node_set_dirty(m->nodes, node, desk_order(m->desk));
	}
	*out = open;
	return 0;
}

const struct kind kind_document = {
	.by_name = true,
	.stat = document_stat, .set = document_set, .readlink = document_readlink, .open = document_open,
};

int document_create(struct mount *m, struct node *parent, const char *name, mode_t mode, const struct fuse_ctx *who,
		    uint32_t process, struct open **out, struct found *out_found)
{
	struct place place;
	struct desk_item item;

	int err = node_place_in(m->nodes, parent, name, &place);
	if (err < 0)
		return err;
	struct open *open = open_new(OPEN_DOCUMENT, O_RDWR, process);
	if (!open)
		return -ENOMEM;
	struct handle *handle;
	err = desk_create(m->desk, slot_of(&place), mode & 07777, who->uid, who->gid, process, &handle, &item);
	if (err < 0) {
		open_free(open);
		return err;
	}
	open->handle = handle;
	open->wrote = true;
	found_made(m, parent, name, &item, out_found);
	*out = open;
	return 0;
}
