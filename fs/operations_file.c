/* Open files: reading, writing, closing, whatever stands behind them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "events.h"
#include "operations.h"

static struct open *open_of(const struct fuse_file_info *fi)
{
	return (struct open *)(uintptr_t)fi->fh;
}

/* A document or a local file: which of them may change while it is open, under `shape`. */
static bool is_file(const struct open *open)
{
	return open->kind == OPEN_DOCUMENT || open->kind == OPEN_SCRATCH;
}

static bool is_local(const struct open *open)
{
	return is_file(open) && !open->handle;
}

/* ---- handles ---- */

/* What takes long is done without `shape`: renames wait for that, and all names for them. NULL: there is none. */
static struct handle *hold_handle(struct mount *m, struct open *open)
{
	pthread_rwlock_rdlock(&m->shape);
	struct handle *handle = open->handle;
	if (handle)
		handle_hold(handle);
	pthread_rwlock_unlock(&m->shape);
	return handle;
}

/* Before the request is answered: what comes after the answer finds it released. Takes NULL. */
static void release_handle(struct mount *m, struct handle *handle)
{
	int err = handle ? handle_release(handle) : 0;
	if (err < 0)
		errors_add(m->errors, "", err, "what was closed could not be kept as a version");
}

/* ---- ending ---- */

void open_finish(struct mount *m, struct open *open)
{
	struct fuse_pollhandle *armed = events_leave(m->events, open->listener);

	if (armed)
		fuse_pollhandle_destroy(armed);
	release_handle(m, open->handle);
	open_free(open);
}

void let_go(struct mount *m, struct open *open)
{
	if (node_let_go(m->nodes, open))
		open_finish(m, open);
}

static void release(struct mount *m, struct open *open)
{
	struct node *node = open->node;
	bool wrote = open->wrote;
	bool outdates = open->astray && (open->flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY;

	node_pin(m->nodes, node);
	/* Whoever asked before this does not know what is sealed now, and must not take it for somebody else's. */
	if (wrote)
		node_set_dirty(m->nodes, node, desk_order(m->desk));
	if (node_drop_open(m->nodes, open))
		open_finish(m, open);
	/* A version of our own is no other head. */
	if (wrote) {
		m->saves++;
		document_refresh(m, node);
	}
	if (outdates)
		notifier_add(m->notifier, &(struct notice){ .bytes_of = node->number });
	node_unpin(m->nodes, node);
}

/* ---- beginning ---- */

struct open_action {
	struct fuse_file_info *fi;
	uint32_t process;
	struct open *open;
};

static int act_open(struct mount *m, const struct kind *kind, struct node *node, void *argument)
{
	struct open_action *a = argument;
	int err = kind->open ? kind->open(m, node, a->fi, a->process, &a->open) : -EINVAL;

	/* A rename that makes it another goes through all that is open. */
	if (err == 0)
		node_add_open(m->nodes, node, a->open);
	return err;
}

/* -ENODATA: nothing was done. */
static int open_again(struct parked *p)
{
	fuse_req_t req = p->req;
	struct mount *m = p->m;
	struct fuse_file_info copy = p->fi, *fi = &copy;
	struct open_action a = { .fi = fi, .process = request_process(req) };

	int err = act_on(req, p->node, act_open, &a);
	if (err == -ENODATA)
		return err;
	if (err < 0) {
		reply_error(req, err);
		return 0;
	}
	/* What the kernel has of its own node is another file's: the size, too. */
	if (err == 1) {
		notifier_add(m->notifier, &(struct notice){ .bytes_of = p->ino });
		a.open->astray = true;
		fi->direct_io = 1;
		fi->keep_cache = 0;
	}
	/* The kernel's cache may answer the reads: to open is to have seen it. */
	if (a.open->content && !id_is_zero(&a.open->version))
		desk_note_read(m->desk, a.open->process, &a.open->version);
	fi->fh = (uintptr_t)a.open;
	if (fuse_reply_open(req, fi) < 0)
		release(m, a.open);
	return 0;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct parked p = { .req = req, .m = m, .ino = ino, .node = node_find(m->nodes, ino), .fi = *fi, .again = open_again };

	if (open_again(&p) == -ENODATA && !park(&p, NULL))
		reply_error(req, -ENODATA);
}

static int create(fuse_req_t req, struct mount *m, struct node *parent, const char *name, mode_t mode, int flags,
		  struct open **out, struct found *found)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	enum where where;

	int err = name_decide(m, parent, name, flags & O_EXCL, &where);
	if (err < 0)
		return err;
	if (where == WHERE_DOCUMENT)
		return document_create(m, parent, name, mode, who, request_process(req), out, found);
	return scratch_create(m, parent, name, mode, flags, who, request_process(req), out, found);
}

static int create_entered(fuse_req_t req, struct mount *m, struct node *parent, const char *name, mode_t mode,
			  int flags, struct open **out, struct fuse_entry_param *out_entry)
{
	struct found found = { 0 };

	const struct kind *kind = kind_enter(m, parent);
	int err = create(req, m, parent, name, mode, flags, out, &found);
	if (err == 0) {
		err = entry_fill(m, parent, name, &found, out_entry);
		if (err < 0)
			open_finish(m, *out);
		else
			node_add_open(m->nodes, node_find(m->nodes, out_entry->ino), *out);
	}
	kind_leave(m, kind);
	return err;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct node *node = node_find(m->nodes, parent);
	struct fuse_entry_param entry;
	struct open *open = NULL;

	int err = node ? create_entered(req, m, node, name, mode, fi->flags, &open, &entry) : -ESTALE;
	if (err < 0) {
		reply_error(req, err);
		return;
	}
	fi->fh = (uintptr_t)open;
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &entry, fi) < 0) {
		release(m, open);
		node_forget(m->nodes, entry.ino, 1);
	}
}

/* ---- reading ---- */

static ssize_t read_content(struct mount *m, struct open *open, uint8_t *out, size_t size, uint64_t offset)
{
	return content_read(store_piece_cache(m->store), store_pieces(m->store), open->content, out, size, offset);
}

static ssize_t read_text(const struct open *open, uint8_t *out, size_t size, uint64_t offset)
{
	if (offset >= open->text.size)
		return 0;
	size_t left = open->text.size - (size_t)offset;
	if (size > left)
		size = left;
	memcpy(out, open->text.data + offset, size);
	return (ssize_t)size;
}

static ssize_t read_bytes(struct mount *m, struct open *open, struct handle *handle, uint8_t *out, size_t size,
			  uint64_t offset)
{
	if (handle)
		return handle_read(handle, out, size, offset);
	switch (open->kind) {
	case OPEN_CONTENT:
		return read_content(m, open, out, size, offset);
	case OPEN_TEXT:
		return read_text(open, out, size, offset);
	case OPEN_STREAM:
		return (ssize_t)events_read(m->events, open->listener, (char *)out, size);
	case OPEN_DOCUMENT:
	case OPEN_SCRATCH:
	case OPEN_FOLDER:
		break;
	}
	return -EISDIR;
}

/* content_read() and handle_read() may stop at a piece's end; a short read means the end to the kernel. */
static ssize_t read_full(struct mount *m, struct open *open, struct handle *handle, uint8_t *out, size_t size,
			 uint64_t offset)
{
	size_t done = 0;
	while (done < size) {
		ssize_t got = read_bytes(m, open, handle, out + done, size - done, offset + done);
		if (got < 0)
			return got;
		if (got == 0)
			break;
		done += (size_t)got;
		if (open->kind == OPEN_STREAM)
			break;
	}
	return (ssize_t)done;
}

/* -ENODATA: nothing was done. Else answered, and the handle released, if there is one. */
static int read_again(struct parked *p)
{
	CLEANUP(cleanup_free) uint8_t *bytes = malloc(p->size ? p->size : 1);
	ssize_t got = bytes ? read_full(p->m, p->open, p->handle, bytes, p->size, (uint64_t)p->offset) : -ENOMEM;

	if (got == -ENODATA)
		return -ENODATA;
	release_handle(p->m, p->handle);
	if (got < 0)
		reply_error(p->req, (int)got);
	else
		fuse_reply_buf(p->req, (const char *)bytes, (size_t)got);
	return 0;
}

static void read_dropped(struct parked *p)
{
	release_handle(p->m, p->handle);
}

/* Releases the handle, if there is one. */
static void reply_bytes(fuse_req_t req, struct mount *m, struct open *open, struct handle *handle, size_t size,
			off_t offset)
{
	struct parked p = { .req = req, .m = m, .open = open, .node = open->node, .handle = handle, .size = size,
			    .offset = offset, .again = read_again, .dropped = read_dropped };

	if (read_again(&p) == -ENODATA && !park(&p, NULL)) {
		read_dropped(&p);
		reply_error(req, -ENODATA);
	}
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);

	m->reads++;
	if (!is_file(open)) {
		reply_bytes(req, m, open, NULL, size, offset);
		return;
	}
	pthread_rwlock_rdlock(&m->shape);
	struct handle *handle = open->handle;
	if (handle) {
		handle_hold(handle);
	} else {
		struct fuse_bufvec from = FUSE_BUFVEC_INIT(size);
		from.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		from.buf[0].fd = open->fd;
		from.buf[0].pos = offset;
		fuse_reply_data(req, &from, 0);
	}
	pthread_rwlock_unlock(&m->shape);
	if (handle)
		reply_bytes(req, m, open, handle, size, offset);
}

/* ---- writing ---- */

/* Several nodes of the kernel may stand for one document, each with a size of its own: the end is where the desk says. */
static ssize_t append_handle(struct mount *m, struct open *open, struct handle *handle, const char *bytes, size_t size,
			     off_t offset)
{
	uint64_t at = (uint64_t)offset;

	ssize_t wrote = handle_try_write(handle, bytes, size, NULL, &at);
	if (at != (uint64_t)offset) /* what the kernel keeps of it stands elsewhere */
		notifier_add(m->notifier, &(struct notice){ .bytes_of = open->node->number });
	return wrote;
}

static ssize_t write_handle(struct mount *m, struct open *open, struct handle *handle, const char *bytes, size_t size,
			    off_t offset, bool append)
{
	const uint64_t at = (uint64_t)offset;

	if (!atomic_exchange(&open->wrote, true))
		node_set_dirty(m->nodes, open->node, desk_order(m->desk));
	return append ? append_handle(m, open, handle, bytes, size, offset)
		      : handle_try_write(handle, bytes, size, &at, NULL);
}

/* Written under `shape`, for a document that became a local file would not have it; waited for without. */
static ssize_t write_file(struct mount *m, struct open *open, const char *bytes, size_t size, off_t offset, bool append)
{
	for (;;) {
		pthread_rwlock_rdlock(&m->shape);
		struct handle *handle = open->handle;
		ssize_t wrote = handle ? write_handle(m, open, handle, bytes, size, offset, append) :
					 scratch_pwrite(open, bytes, size, offset);
		bool again = handle && wrote == -EAGAIN;
		if (again)
			handle_hold(handle);
		pthread_rwlock_unlock(&m->shape);
		if (!again)
			return wrote;
		int err = handle_load(handle);
		release_handle(m, handle);
		if (err < 0)
			return err;
	}
}

static ssize_t write_bytes(struct mount *m, struct open *open, const char *bytes, size_t size, off_t offset,
			   bool append)
{
	switch (open->kind) {
	case OPEN_DOCUMENT:
	case OPEN_SCRATCH:
		return write_file(m, open, bytes, size, offset, append);
	case OPEN_TEXT: {
		int err = text_write(m, open, bytes, size, offset);
		return err < 0 ? err : (ssize_t)size;
	}
	case OPEN_CONTENT:
	case OPEN_STREAM:
	case OPEN_FOLDER:
		break;
	}
	return -EBADF;
}

/* -ENODATA: nothing was done. */
static int write_parked(struct parked *p, const char *bytes)
{
	ssize_t wrote = write_bytes(p->m, p->open, bytes, p->size, p->offset, p->append);

	if (wrote == -ENODATA)
		return -ENODATA;
	if (wrote == -EFBIG)
		refuse(p->m, p->open->node, NULL, -EFBIG, "a document may not be larger than the limit: see @/config");
	if (wrote < 0)
		reply_error(p->req, (int)wrote);
	else
		fuse_reply_write(p->req, (size_t)wrote);
	return 0;
}

static int write_again(struct parked *p)
{
	return write_parked(p, p->bytes);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	/* A page of a mapping stays where it is. */
	struct parked p = { .req = req, .m = m, .open = open, .node = open->node, .size = size, .offset = offset,
			    .append = (fi->flags & O_APPEND) && !fi->writepage, .again = write_again };

	m->writes++;
	/* What was there before may have to come first. */
	if (write_parked(&p, bytes) == -ENODATA && !park(&p, bytes))
		reply_error(req, -ENODATA);
}

/* ---- closing ---- */

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	int err = 0;

	struct handle *handle = open->wrote ? hold_handle(m, open) : NULL;
	if (handle) {
		err = handle_flush(handle);
		if (err < 0)
			refuse(m, open->node, NULL, err, "what was written could not be kept");
		release_handle(m, handle);
	}
	if (open->kind == OPEN_TEXT)
		err = text_flush(m, open, false, request_process(req));
	reply_error(req, err);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);

	if (open->kind == OPEN_TEXT)
		text_flush(m, open, true, 0);
	release(m, open);
	reply_error(req, 0);
}

/* Both handles of the desk and descriptors: are they still those? */
static bool is_still(struct mount *m, struct open *open, const struct handle *handle, int fd, bool synced)
{
	pthread_rwlock_rdlock(&m->shape);
	bool same = open->handle == handle && open->fd == fd;
	if (same && synced)
		atomic_store(&open->node->synced, true);
	pthread_rwlock_unlock(&m->shape);
	return same;
}

/* A rename may make it another meanwhile: that is to be durable then. */
static int sync_file(struct mount *m, struct open *open, bool data_only, bool *out_same)
{
	CLEANUP(cleanup_close) int own = -1;
	int err = 0;

	pthread_rwlock_rdlock(&m->shape);
	struct handle *handle = open->handle;
	int fd = open->fd;
	if (handle) {
		handle_hold(handle);
	} else {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		err = own < 0 ? -errno : 0;
	}
	pthread_rwlock_unlock(&m->shape);
	if (handle)
		err = handle_sync(handle);
	else if (err == 0)
		err = (data_only ? fdatasync(own) : fsync(own)) < 0 ? -errno : 0;
	*out_same = is_still(m, open, handle, fd, !handle && err == 0);
	if (handle && err < 0)
		refuse(m, open->node, NULL, err, "what was written could not be made durable");
	release_handle(m, handle);
	return err;
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	bool same = !is_file(open);
	int err = 0;

	while (err == 0 && !same)
		err = sync_file(m, open, data_only, &same);
	reply_error(req, err);
}

/* ---- the rest ---- */

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	int err = -EOPNOTSUPP;

	pthread_rwlock_rdlock(&m->shape);
	if (is_local(open))
		err = fallocate(open->fd, mode, offset, size) < 0 ? -errno : 0;
	pthread_rwlock_unlock(&m->shape);
	reply_error(req, err);
}

/* Texts have no holes. */
static off_t seek_text(off_t size, off_t offset, int whence)
{
	if (offset < 0 || offset >= size)
		return -ENXIO;
	return whence == SEEK_DATA ? offset : size;
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	struct stat st;
	double timeout;
	off_t found;

	pthread_rwlock_rdlock(&m->shape);
	bool local = is_local(open);
	if (local) {
		found = lseek(open->fd, offset, whence);
		if (found < 0)
			found = -errno;
	}
	pthread_rwlock_unlock(&m->shape);
	if (!local) {
		const struct kind *kind = kind_enter(m, open->node);
		found = kind->stat(m, open->node, open, &st, &timeout);
		kind_leave(m, kind);
		if (found == 0)
			found = seek_text(st.st_size, offset, whence);
	}
	if (found < 0)
		reply_error(req, (int)found);
	else
		fuse_reply_lseek(req, found);
}

static ssize_t copy(struct mount *m, struct open *from, off_t from_offset, struct open *to, off_t to_offset,
		    size_t size, int flags)
{
	struct handle *source = from->handle, *target = to->handle;

	if (is_local(from) && is_local(to)) {
		ssize_t copied = copy_file_range(from->fd, &from_offset, to->fd, &to_offset, size, (unsigned)flags);
		return copied < 0 ? -errno : copied;
	}
	if (!target || (!source && from->kind != OPEN_CONTENT) || (!source && id_is_zero(&from->version)))
		return -EXDEV;
	ssize_t copied = handle_copy(source, source ? NULL : &from->version, (uint64_t)from_offset, target,
				     (uint64_t)to_offset, size);
	if (copied > 0 && !atomic_exchange(&to->wrote, true))
		node_set_dirty(m->nodes, to->node, desk_order(m->desk));
	return copied;
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t size, int flags)
{
	struct mount *m = request_mount(req);

	pthread_rwlock_rdlock(&m->shape);
	ssize_t copied = copy(m, open_of(fi_in), off_in, open_of(fi_out), off_out, size, flags);
	pthread_rwlock_unlock(&m->shape);
	if (copied < 0)
		reply_error(req, (int)copied);
	else
		fuse_reply_write(req, (size_t)copied);
}

/* Files are always ready, but for lines that are still to come. */
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *handle)
{
	struct mount *m = request_mount(req);
	struct open *open = open_of(fi);
	unsigned ready = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

	if (open->kind == OPEN_STREAM) {
		if (handle)
			handle = events_arm(m->events, open->listener, handle);
		/* Asked after it was armed: what comes now wakes it. */
		ready = events_has_more(m->events, open->listener) ? POLLIN | POLLRDNORM : 0;
	}
	if (handle)
		fuse_pollhandle_destroy(handle);
	fuse_reply_poll(req, ready);
}
