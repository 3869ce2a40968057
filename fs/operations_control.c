/*
 * Control folders and files: control.h's nodes, as nodes of the mount.
 *
 * A text is made when it is opened and read from that; what is written is applied line by line,
 * or whole when whoever opened it closes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "document.h"
#include "operations.h"

/* RELEASE follows close(2) at once, unless something else holds the file. */
#define RELEASED_MS 50

/* What was closed before this is in the store when it is looked at. */
static void wait_released(struct mount *m, const struct control_node *control)
{
	if (control->scope == CONTROL_DOCUMENT && is_own(m, &control->person))
		desk_wait_released(m->desk, &control->directory, control->name, RELEASED_MS);
	desk_settle(m->desk);
}

/* "20261122T073104Z-..." of a signed version: the name means that version for ever. */
static bool is_version_name(const char *name)
{
	return strlen(name) > 17 && name[8] == 'T' && name[15] == 'Z' && name[16] == '-';
}

static bool is_fixed(const struct control_node *control)
{
	return control_kind(control) == CONTROL_CONTENT && !id_is_zero(&control->version);
}

static int stat_control(struct mount *m, const struct control_node *control, struct stat *out)
{
	*out = (struct stat){ 0 };
	desk_settle(m->desk);
	int err = control_stat(&m->host, control, out);
	if (err < 0)
		return err;
	out->st_ino = INO_MADE | (control_ino(control) & INO_MASK);
	out->st_nlink = 1;
	out->st_uid = m->uid;
	out->st_gid = m->gid;
	out->st_blksize = 4096;
	if (out->st_mtim.tv_sec == 0)
		out->st_mtim.tv_sec = (time_t)(m->started_ns / 1000000000);
	out->st_atim = out->st_ctim = out->st_mtim;
	out->st_blocks = (out->st_size + 511) / 512;
	return 0;
}

static int found_control(struct mount *m, const char *name, struct found *out)
{
	const struct control_node *control = &out->control;
	int err = stat_control(m, control, &out->stat);
	if (err < 0)
		return err;
	out->identity = (struct identity){ .kind = NODE_CONTROL, .type = out->stat.st_mode & S_IFMT };
	out->attr_timeout = is_fixed(control) ? TIMEOUT_VERSION : 0;
	out->entry_timeout = is_fixed(control) && is_version_name(name) ? TIMEOUT_VERSION : 0;
	return 0;
}

int control_of_root(struct mount *m, const char *name, struct found *out)
{
	struct id person;

	if (name[0] == '\0') {
		control_node_root(&out->control);
	} else {
		int err = person_find(m, name, &person);
		/* Of whom nothing is known yet, that can be said and asked by the whole id. */
		if (err == -ENOENT && id_parse(&person, name) == 0)
			err = 0;
		if (err < 0)
			return err;
		control_node_entity(&out->control, &person);
	}
	return found_control(m, name, out);
}

/* Is anything known of a name at which nothing shows? */
static bool slot_is_known(struct mount *m, const struct place *place)
{
	struct store_txn *txn;
	struct standing standing;
	struct tree_document document;
	struct desk_save save;

	if (strlen(place->name) > NAME_SIZE_MAX)
		return false;
	if (is_own(m, &place->person) && desk_saves(m->desk, &place->directory, place->name, &save, 1) > 0)
		return true;
	if (store_begin(m->store, false, &txn) < 0)
		return false;
	bool known = tree_documents(txn, &place->person, &place->directory, place->name, &document, 1) > 0 ||
		     tree_standing(txn, &place->person, &place->directory, place->name, &standing, 1) > 0;
	store_abort(txn);
	return known;
}

int control_of_document(struct mount *m, const struct place *place, struct found *out)
{
	struct desk_item item;

	desk_settle(m->desk);
	int err = desk_lookup(m->desk, &place->person, &place->directory, place->name, &item);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0 && item.what == WHAT_VERSION)
		control_node_document(&out->control, &place->person, &item.directory, item.slot_name);
	else if (slot_is_known(m, place))
		control_node_document(&out->control, &place->person, &place->directory, place->name);
	else
		return -ENOENT;
	return found_control(m, place->name, out);
}

/* ---- folders ---- */

static int control_lookup_in(struct mount *m, struct node *node, const char *name, struct found *out)
{
	const struct control_node *control = node->is.control;

	wait_released(m, control);
	int err = control_lookup(&m->host, control, name, &out->control);
	if (err == -ENOTUNIQ)
		return refuse(m, node, name, -ENOENT, "several versions begin so: write more of the id");
	if (err < 0)
		return err;
	if (control_kind(&out->control) == CONTROL_AT) {
		struct control_node at = out->control;
		return at_root(m, &at, out);
	}
	return found_control(m, name, out);
}


static mode_t type_of(const struct control_node *control)
{
	switch (control_kind(control)) {
	case CONTROL_FOLDER:
	case CONTROL_AT:
		return S_IFDIR;
	case CONTROL_LINK:
		return S_IFLNK;
	case CONTROL_TEXT:
	case CONTROL_CONTENT:
	case CONTROL_STREAM:
		break;
	}
	return S_IFREG;
}

/* Only names: lists are long, and nodes are made of those that are looked at. */
static int list_control(void *context, const char *name, uint64_t position, const struct control_node *node)
{
	struct found found = {
		.stat = { .st_mode = type_of(node), .st_ino = INO_MADE | (control_ino(node) & INO_MASK) },
	};
	return lister_add(context, name, COOKIE_FIRST + position, &found);
}

static int control_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l)
{
	wait_released(m, node->is.control);
	return control_each(&m->host, node->is.control, after < COOKIE_FIRST ? 0 : after - COOKIE_FIRST, list_control,
			    l);
}

static int control_stat_node(struct mount *m, struct node *node, struct open *open, struct stat *out,
			     double *out_timeout)
{
	*out_timeout = is_fixed(node->is.control) ? TIMEOUT_VERSION : 0;
	return stat_control(m, node->is.control, out);
}

/* A shell truncates before it writes; nothing else of a control file can be set. */
static int control_set(struct mount *m, struct node *node, struct open *open, const struct stat *attr, int mask,
		       uint32_t process)
{
	const int others = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_ATIME |
			   FUSE_SET_ATTR_MTIME;
	if (is_fixed(node->is.control))
		return refuse(m, node, NULL, -EPERM, "a version never changes");
	if (mask & others)
		return refuse(m, node, NULL, -EPERM, "a control file has no attributes of its own");
	return 0;
}

static int control_readlink(struct mount *m, struct node *node, char *out, size_t size)
{
	CLEANUP(bytes_finish) struct bytes text;
	bytes_init(&text, size - 1);
	desk_settle(m->desk);
	int err = control_read(&m->host, node->is.control, 0, &text);
	if (err == 0)
		err = bytes_error(&text);
	if (err < 0)
		return err;
	memcpy(out, text.data ? text.data : (const uint8_t *)"", text.size);
	out[text.size] = '\0';
	return 0;
}

/* ---- files ---- */

static int open_version(struct mount *m, struct node *node, struct fuse_file_info *fi, struct open *open)
{
	const struct control_node *control = node->is.control;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC)
		return refuse(m, node, NULL, -EACCES, "a version never changes: copy it, or write its name to ../head");
	open->kind = OPEN_CONTENT;
	open->version = control->version;
	open->content = malloc(sizeof(*open->content));
	if (!open->content)
		return -ENOMEM;
	fi->keep_cache = is_fixed(control);
	fi->noflush = 1;
	return control_content(&m->host, control, open->content);
}

static int open_text(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
		     struct open *open)
{
	const struct control_node *control = node->is.control;
	struct stat st;
	int err = 0;

	fi->direct_io = 1;
	open->lines = control_takes_lines(control);
	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
		err = control_stat(&m->host, control, &st);
		if (err == 0 && !(st.st_mode & 0222))
			err = refuse(m, node, NULL, -EACCES, "this control file can only be read");
	}
	if (err == 0 && (fi->flags & O_ACCMODE) != O_WRONLY)
		err = control_read(&m->host, control, process, &open->text);
	return err < 0 ? err : bytes_error(&open->text);
}

static int open_stream(struct mount *m, struct node *node, struct fuse_file_info *fi, struct open *open)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC)
		return refuse(m, node, NULL, -EACCES, "this control file can only be read");
	open->kind = OPEN_STREAM;
	fi->direct_io = 1;
	fi->nonseekable = 1;
	fi->noflush = 1;
	return events_listen(m->events, &open->listener);
}

static int control_open(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
			struct open **out)
{
	wait_released(m, node->is.control);
	struct open *open = open_new(OPEN_TEXT, fi->flags, process);
	if (!open)
		return -ENOMEM;

	const enum control_kind kind = control_kind(node->is.control);
	int err = kind == CONTROL_CONTENT ? open_version(m, node, fi, open) :
		  kind == CONTROL_STREAM ? open_stream(m, node, fi, open) : open_text(m, node, fi, process, open);
	if (err < 0) {
		open_free(open);
		return err;
	}
	*out = open;
	return 0;
}

const struct kind kind_control = {
	.lookup = control_lookup_in, .stat = control_stat_node, .set = control_set, .readlink = control_readlink,
	.open = control_open, .list = control_list,
};

/* ---- writing ---- */

static int apply(struct mount *m, struct open *open, const char *text, size_t size)
{
	struct why why = { 0 };
	desk_settle(m->desk);
	int err = control_write(&m->host, open->node->is.control, open->process, text, size, &why);
	if (err < 0)
		refuse(m, open->node, NULL, err, why.text[0] ? why.text : why_errno(err));
	return err < 0 ? err : 0;
}

/* Applies each whole line there is; what cannot be applied is dropped and told to whoever wrote it. */
static int apply_lines(struct mount *m, struct open *open)
{
	struct bytes *b = &open->written;
	size_t done = 0;
	int err = 0;

	while (err == 0 && done < b->size) {
		const uint8_t *end = memchr(b->data + done, '\n', b->size - done);
		if (!end)
			break;
		size_t next = (size_t)(end - b->data) + 1;
		err = apply(m, open, (const char *)b->data + done, next - done);
		done = next;
	}
	if (err < 0)
		done = b->size;
	memmove(b->data, b->data + done, b->size - done);
	b->size -= done;
	open->unapplied = b->size > 0;
	return err;
}

static int gather(struct open *open, const char *bytes, size_t size, off_t offset)
{
	struct bytes *b = &open->written;
	size_t at = (size_t)offset;

	/* A position beyond what was written is where the text read ended (`>>`): it means the end. */
	if (open->lines || open->flags & O_APPEND || at > b->size)
		at = b->size;
	if (at + size > b->size && !bytes_extend(b, at + size - b->size)) {
		int err = bytes_error(b);
		return err == -EMSGSIZE ? -EFBIG : err;
	}
	memcpy(b->data + at, bytes, size);
	open->unapplied = true;
	return 0;
}

int text_write(struct mount *m, struct open *open, const char *bytes, size_t size, off_t offset)
{
	if (size == 0)
		return 0;
	pthread_mutex_lock(&open->lock);
	int err = gather(open, bytes, size, offset);
	if (err == 0 && open->lines)
		err = apply_lines(m, open);
	pthread_mutex_unlock(&open->lock);
	return err;
}

int text_flush(struct mount *m, struct open *open, bool ends, uint32_t process)
{
	int err = 0;

	pthread_mutex_lock(&open->lock);
	/* Programs that inherited the file close it too: the text is whole when whoever opened it closes. */
	if (open->unapplied && (ends || process == open->process)) {
		err = apply(m, open, (const char *)open->written.data, open->written.size);
		bytes_clear(&open->written);
		open->unapplied = false;
	}
	pthread_mutex_unlock(&open->lock);
	return err;
}
