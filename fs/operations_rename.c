/*
 * Renames.  Documents among documents are the desk's, local files among local files the kernel's.
 * A regular local file that takes a document's name becomes a save of it, a document that takes a
 * local name becomes a local file; all else that would cross is EXDEV, and tools copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "operations.h"

struct side {
	struct node *parent;
	const char *name;
	enum where where;
	bool exists;
	struct desk_item item; /* a document or directory that stands there */
};

/*
 * To read a large file takes long, and all names wait for a rename: it is read before, and again if it was
 * changed meanwhile.
 */
struct reading {
	int fd;                 /* what shall be read, as it was then; -1: nothing */
	struct stat st;
	struct desk_text *text; /* its text, once read */
	unsigned times;
};

struct rename {
	struct mount *m;
	struct side from, to;
	unsigned flags;
	uint32_t process;
	struct reading reading;
};

#define READ_FIRST 1             /* not done: see struct reading */
#define READ_FIRST_MIN (1 << 20) /* bytes; what is smaller is read while names wait */
#define READ_FIRST_TIMES 3       /* whoever writes on and on gets its way while names wait */
#define TICK_NS 20000000         /* more than a step of the disk's clock, by which a change is seen */

/* The table did not know the old name: the kernel must not keep what it believes of the new one. */
static void moved(struct rename *r, int err)
{
	if (err < 0)
		notifier_add(r->m->notifier, &(struct notice){ .parent = r->to.parent->number, .name = r->to.name });
}

static int side_place(struct mount *m, const struct side *side, struct place *out)
{
	return node_place_in(m->nodes, side->parent, side->name, out);
}

/* ---- document to document ---- */

static int rename_documents(struct rename *r)
{
	struct mount *m = r->m;
	struct place from, to;

	int err = side_place(m, &r->from, &from);
	if (err == 0)
		err = side_place(m, &r->to, &to);
	/* Local files go with the directory that they are in. */
	if (err == 0 && r->to.exists && r->to.item.what == WHAT_DIRECTORY && !(r->flags & RENAME_EXCHANGE) &&
	    !scratch_is_empty(m->scratch, &r->to.item.id))
		err = -ENOTEMPTY;
	if (err == 0)
		err = desk_rename(m->desk, slot_of(&from), slot_of(&to), r->flags, r->process);
	if (err < 0)
		return err;

	if (r->flags & RENAME_EXCHANGE) {
		moved(r, node_exchange(m->nodes, r->from.parent, r->from.name, r->to.parent, r->to.name));
	} else {
		node_leave(m->nodes, r->to.parent, r->to.name, true);
		moved(r, node_move(m->nodes, r->from.parent, r->from.name, r->to.parent, r->to.name));
	}
	return 0;
}

/* Its saves from here on are its own, whatever version they make. */
static void now_dirty(struct mount *m, struct node *parent, const char *name)
{
	struct node *node = node_child(m->nodes, parent, name);
	if (node && node_kind_of(m, node) == NODE_DOCUMENT)
		node_set_dirty(m->nodes, node, desk_order(m->desk));
	node_unpin(m->nodes, node);
}

/* ---- local file to document ---- */

struct opens { /* all that is open of a node, held */
	struct open **all;
	size_t count;
};

static void opens_let_go(struct mount *m, struct opens *opens)
{
	for (size_t index = 0; index < opens->count; index++)
		let_go(m, opens->all[index]);
	free(opens->all);
	*opens = (struct opens){ 0 };
}

/* Some may be closed between counting and holding. */
static int opens_hold(struct mount *m, struct node *node, struct opens *out)
{
	size_t capacity = 0, count;

	*out = (struct opens){ 0 };
	while (node && (count = node_hold_all(m->nodes, node, out->all, capacity)) > capacity) {
		out->count = capacity;
		opens_let_go(m, out);
		capacity = count;
		out->all = calloc(capacity, sizeof(struct open *));
		if (!out->all)
			return -ENOMEM;
	}
	out->count = node ? count : 0;
	return 0;
}

static struct attributes attributes_of_local(const struct stat *st)
{
	return (struct attributes){
		.permissions = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime_ns = ns_of_time(&st->st_mtim),
		.ctime_ns = ns_of_time(&st->st_ctim),
		.atime_ns = ns_of_time(&st->st_atim),
	};
}

/* Whoever has the local file open goes on with the document. */
static int open_as_document(struct rename *r, const struct opens *opens, struct handle *handle)
{
	int err = 0;
	for (size_t index = 0; index < opens->count; index++) {
		struct open *open = opens->all[index];
		struct handle *own;

		if ((open->kind != OPEN_SCRATCH && open->kind != OPEN_DOCUMENT) || open->handle)
			continue;
		int failed = desk_reopen(r->m->desk, handle, open->flags & O_ACCMODE, open->process, &own);
		if (failed < 0)
			err = failed;
		else
			open->handle = own;
	}
	return err;
}

static int take(struct rename *r, struct node *node, int fd, const struct stat *st)
{
	struct mount *m = r->m;
	struct opens opens = { 0 };
	struct handle *handle = NULL;
	struct place to;
	const struct attributes a = attributes_of_local(st);

	int err = side_place(m, &r->to, &to);
	if (err < 0)
		return err;
	err = opens_hold(m, node, &opens);
	if (err == 0 && r->reading.text)
		err = desk_take_text(m->desk, r->reading.text, slot_of(&to), &a, r->process,
				     opens.count ? &handle : NULL);
	else if (err == 0)
		err = desk_take_file(m->desk, fd, slot_of(&to), &a, r->process, opens.count ? &handle : NULL);
	if (err == 0 && handle) {
		int failed = open_as_document(r, &opens, handle);
		if (failed < 0)
			refuse(m, r->to.parent, r->to.name, failed, "what still writes this file writes into the void");
		handle_release(handle);
	}
	opens_let_go(m, &opens);
	return err;
}

static void become_document(struct rename *r, struct node *node)
{
	struct mount *m = r->m;
	struct place to;
	struct desk_item item;
	struct found found;

	node_leave(m->nodes, r->to.parent, r->to.name, true);
	if (node && side_place(m, &r->to, &to) == 0 &&
	    desk_lookup(m->desk, &to.person, &to.directory, to.name, &item) == 0) {
		found_item(m, &m->self, &item, &found);
		node_become(m->nodes, node, &found.identity);
		node_set_dirty(m->nodes, node, desk_order(m->desk));
	}
	moved(r, node_move(m->nodes, r->from.parent, r->from.name, r->to.parent, r->to.name));
}

static bool times_are_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool was_read(const struct reading *reading, const struct stat *st)
{
	const struct stat *was = &reading->st;
	return reading->text && was->st_dev == st->st_dev && was->st_ino == st->st_ino && was->st_size == st->st_size &&
	       times_are_equal(&was->st_mtim, &st->st_mtim) && times_are_equal(&was->st_ctim, &st->st_ctim);
}

static void reading_finish(struct rename *r)
{
	desk_free_text(r->m->desk, r->reading.text);
	r->reading.text = NULL;
	if (r->reading.fd >= 0)
		close(r->reading.fd);
	r->reading.fd = -1;
}

/* What was written in this tick of the disk's clock may be written again in it, and nobody would see. */
static bool is_settled(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)(ns_of_time(&now) - ns_of_time(&st->st_ctim)) > TICK_NS;
}

/* No lock is held. */
static int read_first(struct rename *r)
{
	const struct timespec tick = { .tv_nsec = TICK_NS + TICK_NS / 4 };
	struct reading *reading = &r->reading;

	nanosleep(&tick, NULL);
	if (fstat(reading->fd, &reading->st) < 0)
		return -errno;
	return is_settled(&reading->st) ? desk_read_text(r->m->desk, reading->fd, &reading->text) : 0;
}

/* Shall it be read (again) before it is renamed? Takes the descriptor then. */
static bool reads_first(struct rename *r, int *fd, const struct stat *st)
{
	if (was_read(&r->reading, st))
		return false;
	reading_finish(r);
	if (st->st_size < READ_FIRST_MIN || r->reading.times == READ_FIRST_TIMES)
		return false;
	r->reading.times++;
	r->reading.fd = *fd;
	*fd = -1;
	return true;
}

static int rename_to_document(struct rename *r)
{
	SCRATCH_AT(at);
	CLEANUP(cleanup_close) int fd = -1;
	struct mount *m = r->m;
	struct stat st;

	int err = scratch_at_name(m, r->from.parent, r->from.name, false, &at);
	if (err == 0)
		err = scratch_stat_at(&at, &st);
	if (err < 0)
		return err;
	/* Only what has one name and plain bytes. */
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || r->flags & RENAME_EXCHANGE)
		return -EXDEV;
	if (r->to.exists && r->to.item.what == WHAT_DIRECTORY)
		return -EISDIR;
	fd = openat(at.fd, at.path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	struct node *node = node_child(m->nodes, r->from.parent, r->from.name);
	pthread_rwlock_wrlock(&m->shape);
	err = fstat(fd, &st) < 0 ? -errno : reads_first(r, &fd, &st) ? READ_FIRST : take(r, node, fd, &st);
	if (err == 0)
		become_document(r, node);
	pthread_rwlock_unlock(&m->shape);
	/* What is durable under the one name goes only when it is under the other. */
	if (err == 0 && node && atomic_load(&node->synced))
		err = journal_sync(store_journal(m->store));
	if (err == 0)
		unlinkat(at.fd, at.path, 0);
	node_unpin(m->nodes, node);
	return err;
}

/* ---- document to local file ---- */

/* As far as the disk takes them: the text is what matters. */
static void give_attributes(int fd, const struct desk_item *item)
{
	const struct attributes *a = &item->attributes;
	const struct timespec times[2] = { time_of_ns(a->atime_ns ? a->atime_ns : a->mtime_ns),
					   time_of_ns(a->mtime_ns) };

	if (geteuid() == 0 && fchown(fd, a->uid, a->gid) < 0)
		return;
	if (fchmod(fd, a->permissions & 07777) == 0)
		futimens(fd, times);
}

/* Whoever has the document open goes on with the local file: each with a descriptor of its own, made before. */
static void open_as_local(struct rename *r, const struct opens *opens, const int *fds)
{
	for (size_t index = 0; index < opens->count; index++) {
		struct open *open = opens->all[index];
		struct handle *handle = atomic_exchange(&open->handle, NULL);

		if (open->fd >= 0)
			close(open->fd);
		open->fd = fds[index];
		int err = handle ? handle_release(handle) : 0;
		if (err < 0)
			refuse(r->m, r->to.parent, r->to.name, err, "what was written could not be kept");
	}
}

static int give_to_opens(struct rename *r, struct place *from, int fd)
{
	struct mount *m = r->m;
	struct opens opens;
	struct node *node = node_child(m->nodes, r->from.parent, r->from.name);
	size_t made = 0;

	int err = opens_hold(m, node, &opens);
	CLEANUP(cleanup_free) int *fds = malloc((opens.count ? opens.count : 1) * sizeof(int));
	if (err == 0 && !fds)
		err = -ENOMEM;
	for (; err == 0 && made < opens.count; made++) {
		fds[made] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (fds[made] < 0) {
			err = -errno;
			break;
		}
	}
	/* The document leaves its name when its bytes stand here. */
	if (err == 0)
		err = desk_give_file(m->desk, slot_of(from), fd);
	if (err == 0)
		open_as_local(r, &opens, fds);
	else
		while (made > 0)
			close(fds[--made]);
	opens_let_go(m, &opens);
	node_unpin(m->nodes, node);
	return err;
}

static int give(struct rename *r, const struct scratch_at *at, const char *beside)
{
	struct place from;
	int err = side_place(r->m, &r->from, &from);
	if (err < 0)
		return err;
	CLEANUP(cleanup_close) int fd = openat(at->fd, beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	err = give_to_opens(r, &from, fd);
	if (err < 0) {
		unlinkat(at->fd, beside, 0);
		return err;
	}
	give_attributes(fd, &r->from.item);
	return renameat(at->fd, beside, at->fd, at->path) < 0 ? -errno : 0;
}

static void become_local(struct rename *r, const struct stat *st, bool last)
{
	struct mount *m = r->m;
	struct found found;
	struct node *node = node_child(m->nodes, r->from.parent, r->from.name);

	node_leave(m->nodes, r->to.parent, r->to.name, last);
	if (node) {
		found_local(st, &found);
		node_become(m->nodes, node, &found.identity);
	}
	moved(r, node_move(m->nodes, r->from.parent, r->from.name, r->to.parent, r->to.name));
	node_unpin(m->nodes, node);
}

static int rename_to_local(struct rename *r)
{
	SCRATCH_AT(at);
	struct mount *m = r->m;
	struct stat old = { 0 }, st;
	char beside[sizeof(at.path)];

	if (r->from.item.what != WHAT_VERSION || r->from.item.mode == MODE_LINK || r->flags & RENAME_EXCHANGE)
		return -EXDEV;
	int err = scratch_at_name(m, r->to.parent, r->to.name, true, &at);
	if (err < 0)
		return err;
	bool replaces = scratch_stat_at(&at, &old) == 0;
	if (replaces && S_ISDIR(old.st_mode))
		return -EISDIR;

	/* A name beside it that no program makes: the folder's part, then a number nobody has. */
	const char *slash = strrchr(at.path, '/');
	snprintf(beside, sizeof(beside), "%.*s.moot-%016llx", slash ? (int)(slash - at.path + 1) : 0, at.path,
		 (unsigned long long)(r->from.item.attributes.ino ^ clock_time_ns(store_clock(m->store))));
	pthread_rwlock_wrlock(&m->shape);
	err = give(r, &at, beside);
	if (err == 0)
		err = scratch_stat_at(&at, &st);
	if (err == 0)
		become_local(r, &st, old.st_nlink <= 1);
	pthread_rwlock_unlock(&m->shape);
	return err;
}

static int rename_local(struct rename *r)
{
	int done = scratch_rename(r->m, r->from.parent, r->from.name, r->to.parent, r->to.name, r->flags);
	if (done == 1)
		moved(r, -ENOENT);
	return done < 0 ? done : 0;
}

/* ---- which ---- */

static int find_sides(struct rename *r)
{
	struct mount *m = r->m;

	int err = name_find(m, r->from.parent, r->from.name, &r->from.where, &r->from.item);
	if (err < 0)
		return err;
	err = name_find(m, r->to.parent, r->to.name, &r->to.where, &r->to.item);
	r->to.exists = err == 0;
	if (err == -ENOENT)
		err = name_decide(m, r->to.parent, r->to.name, false, &r->to.where);
	/* Renamed away to be kept, a document leaves its history behind. */
	if (err == 0 && !r->to.exists && r->from.where == WHERE_DOCUMENT && r->from.item.what == WHAT_VERSION &&
	    scratch_is_backup(r->to.name))
		r->to.where = WHERE_SCRATCH;
	return err;
}

static int rename_names(struct rename *r)
{
	struct id person;

	if (r->flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	/* Before the target is looked for: it is asked for by name only. */
	size_t size = strlen(r->to.name);
	if (size > 0 && r->to.name[size - 1] == '@' && node_kind_of(r->m, r->to.parent) == NODE_DIRECTORY)
		return refuse(r->m, r->to.parent, r->to.name, -EINVAL,
			      "a name that ends in @ leads behind a name: none can be made");
	if (root_has_person(r->m, r->from.parent, r->from.name, &person))
		return root_rename(r->m, r->from.parent, r->from.name, &person, r->to.parent, r->to.name,
				   r->flags & RENAME_EXCHANGE);
	int err = find_sides(r);
	if (err < 0)
		return err;
	if (r->to.exists && r->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (!r->to.exists && r->flags & RENAME_EXCHANGE)
		return -ENOENT;

	if (r->from.where == WHERE_DOCUMENT && r->to.where == WHERE_DOCUMENT) {
		err = rename_documents(r);
		if (err == 0)
			now_dirty(r->m, r->to.parent, r->to.name);
		if (err == 0 && r->flags & RENAME_EXCHANGE)
			now_dirty(r->m, r->from.parent, r->from.name);
		return err;
	}
	if (r->from.where == WHERE_SCRATCH && r->to.where == WHERE_DOCUMENT)
		return rename_to_document(r);
	if (r->from.where == WHERE_DOCUMENT)
		return rename_to_local(r);
	return rename_local(r);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
	       unsigned flags)
{
	struct mount *m = request_mount(req);
	struct rename r = {
		.m = m, .flags = flags, .process = request_process(req), .reading.fd = -1,
		.from = { .parent = node_find(m->nodes, parent), .name = name },
		.to = { .parent = node_find(m->nodes, to_parent), .name = to_name },
	};
	int err = r.from.parent && r.to.parent ? READ_FIRST : -ESTALE;
	while (err == READ_FIRST) {
		pthread_rwlock_wrlock(&m->names);
		err = rename_names(&r);
		pthread_rwlock_unlock(&m->names);
		if (err == READ_FIRST) {
			int failed = read_first(&r);
			err = failed < 0 ? failed : READ_FIRST;
		}
	}
	reading_finish(&r);
	reply_error(req, err);
}
