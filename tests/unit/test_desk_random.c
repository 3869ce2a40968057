/*
 * Random histories of a desk beside a simple model of what each name must show and which closed
 * states must become versions.  Everything follows from the seed; MOOT_SEED=N runs that one alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <time.h>

#include "desk_model.h"

#define STEPS 300
#define SECONDS 3 /* of seeds */

/* ---- steps ---- */

static uint32_t any_process(struct run *r)
{
	return chance_below(&r->chance, 4); /* 0: unknown */
}

static int any_directory(struct run *r)
{
	for (;;) {
		int d = (int)chance_below(&r->chance, (unsigned)r->directory_count);
		if (r->directories[d].alive && (d == 0 || chance_below(&r->chance, 3) > 0))
			return d;
	}
}

static size_t any_text(struct run *r)
{
	unsigned kind = chance_below(&r->chance, 12);

	if (kind == 0)
		return (size_t)snprintf(r->buffer, 100, "the same\n");
	int size = snprintf(r->buffer, 100, "text %u\n", ++r->counter);
	if (kind > 1)
		return (size_t)size;
	size_t large = kind == 1 ? 70000 + chance_below(&r->chance, 20000) : 3000;
	for (size_t i = (size_t)size; i < large; i++)
		r->buffer[i] = (char)('a' + (i * i + r->counter) % 26);
	return large;
}

static struct model_handle *free_handle(struct run *r)
{
	for (int i = 0; i < HANDLES; i++)
		if (!r->handles[i].handle)
			return &r->handles[i];
	return NULL;
}

static struct model_handle *any_handle(struct run *r)
{
	struct model_handle *h = &r->handles[chance_below(&r->chance, HANDLES)];

	return h->handle ? h : NULL;
}

static bool is_open(const struct run *r, const struct model_file *f)
{
	for (int i = 0; i < HANDLES; i++)
		if (r->handles[i].handle && r->handles[i].file == f)
			return true;
	return false;
}

static void truncated(struct run *r, struct model_file *f)
{
	f->size = 0;
	f->written = false;
	file_written(r, f, false);
}

static void do_create(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	struct model_handle *h = free_handle(r);
	struct desk_item item;

	if (!h)
		return;
	int err = desk_create(r->desk, slot_at(r, d, i), 0644, 1, 1, any_process(r), &h->handle, &item);
	TRACE(r, "%d/%s: %d", d, names[i], err);
	CHECK(r, err == (shows(n) ? -EEXIST : 0), "create: %d", err);
	if (err < 0) {
		h->handle = NULL;
		return;
	}
	struct model_file *f = file_make();
	f->created = true;
	truncated(r, f);
	take_name(n, f);
	f->refs++;
	TRACE(r, "handle %d", (int)(h - r->handles));
	h->file = f;
	h->flags = O_RDWR;
	h->changed = h->file->seals + 1;
}

static void do_open(struct run *r)
{
	static const int flags[] = { O_RDONLY, O_WRONLY | O_TRUNC, O_RDWR, O_WRONLY | O_APPEND };
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	const struct model_name *n = &r->directories[d].names[i];
	struct model_handle *h = free_handle(r);

	if (!h)
		return;
	h->flags = flags[chance_below(&r->chance, n->file && n->file->link ? 1 : 4)];
	int err = desk_open_file(r->desk, slot_at(r, d, i), h->flags, any_process(r), &h->handle);
	TRACE(r, "%d/%s flags %o: %d, handle %d", d, names[i], (unsigned)h->flags, err, (int)(h - r->handles));
	CHECK(r, err == (n->file ? 0 : n->directory >= 0 ? -EISDIR : -ENOENT), "open: %d", err);
	if (err < 0) {
		h->handle = NULL;
		return;
	}
	h->file = n->file;
	h->file->refs++;
	h->changed = h->flags & O_TRUNC ? h->file->seals + 1 : 0;
	if (h->changed)
		truncated(r, h->file);
}

static void do_write(struct run *r)
{
	struct model_handle *h = any_handle(r);
	uint64_t offset = 0;

	if (!h || (h->flags & O_ACCMODE) == O_RDONLY)
		return;
	struct model_file *f = h->file;
	size_t size = any_text(r);
	if (h->flags & O_APPEND || chance_below(&r->chance, 2))
		offset = f->size;
	else if (chance_below(&r->chance, 4) == 0)
		offset = f->size / 2;
	uint64_t at = offset;
	ssize_t done = h->flags & O_APPEND ? handle_append(h->handle, r->buffer, size, &at)
					   : handle_write(h->handle, r->buffer, size, offset);
	TRACE(r, "handle %d, %zu at %llu: %zd", (int)(h - r->handles), size, (unsigned long long)offset, done);
	if (offset + size > TEXT_MAX) {
		CHECK(r, done == -EFBIG, "write beyond the limit: %zd", done);
		return;
	}
	CHECK(r, done == (ssize_t)size && at == offset, "write: %zd", done);
	memcpy(f->bytes + offset, r->buffer, size);
	f->size = offset + size > f->size ? offset + size : f->size;
	file_written(r, f, true);
	h->changed = h->file->seals + 1;
}

static void do_truncate(struct run *r)
{
	struct model_handle *h = any_handle(r);

	if (!h || (h->flags & O_ACCMODE) == O_RDONLY)
		return;
	struct model_file *f = h->file;
	size_t size = chance_below(&r->chance, 2) ? 0 : f->size / 2 + chance_below(&r->chance, 20);
	if (size > TEXT_MAX)
		return;
	TRACE(r, "handle %d to %zu", (int)(h - r->handles), size);
	CHECK(r, handle_truncate(h->handle, size) == 0, "truncate");
	h->changed = h->file->seals + 1;
	if (size == 0) {
		truncated(r, f);
		return;
	}
	if (size > f->size)
		memset(f->bytes + f->size, 0, size - f->size);
	f->size = size;
	file_written(r, f, true);
}

static void do_read(struct run *r)
{
	const struct model_handle *h = any_handle(r);

	if (!h)
		return;
	ssize_t size = handle_read(h->handle, r->buffer, TEXT_MAX, 0);
	CHECK(r, size == (ssize_t)h->file->size && memcmp(r->buffer, h->file->bytes, h->file->size) == 0,
	      "a handle reads %zd bytes, not %zu", size, h->file->size);
}

static void do_flush(struct run *r)
{
	const struct model_handle *h = any_handle(r);

	if (!h)
		return;
	bool sync = chance_below(&r->chance, 4) == 0;
	int err = sync ? handle_sync(h->handle) : handle_flush(h->handle);
	TRACE(r, "handle %d: %d", (int)(h - r->handles), err);
	CHECK(r, err == 0, "flush: %d", err);
	if (sync || has_unsealed(h))
		flush(h->file);
}

static void close_handle(struct run *r, struct model_handle *h)
{
	TRACE(r, "handle %d", (int)(h - r->handles));
	if (chance_below(&r->chance, 4) > 0)
		CHECK(r, handle_flush(h->handle) == 0, "flush");
	int err = handle_release(h->handle);
	CHECK(r, err == 0, "release: %d", err);
	if (has_unsealed(h))
		seal(r, h->file);
	file_put(h->file);
	*h = (struct model_handle){ 0 };
}

static void do_close(struct run *r)
{
	struct model_handle *h = any_handle(r);

	if (h)
		close_handle(r, h);
}

/* As a shell or an editor saves. */
static void do_save(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	struct desk_item item;
	struct handle *h;
	uint32_t process = any_process(r);

	if (n->directory >= 0 || (n->file && n->file->link))
		return;
	size_t size = any_text(r);
	TRACE(r, "%d/%s %zu bytes", d, names[i], size);
	int err = n->file ? desk_open_file(r->desk, slot_at(r, d, i), O_WRONLY | O_TRUNC, process, &h)
			  : desk_create(r->desk, slot_at(r, d, i), 0644, 1, 1, process, &h, &item);
	CHECK(r, err == 0, "open: %d", err);
	CHECK(r, handle_flush(h) == 0 && handle_write(h, r->buffer, size, 0) == (ssize_t)size && handle_flush(h) == 0 &&
	      handle_release(h) == 0, "save");
	if (!n->file)
		take_name(n, file_make());
	set_bytes(n->file, r->buffer, size);
	n->file->dirty = true;
	seal(r, n->file);
}

/* Closed, unsigned saves of a name that goes need not become versions. */
static void drop_pending(struct run *r, int d, int i)
{
	struct model_name *n = &r->directories[d].names[i];
	struct desk_item item;

	if (look(r, d, i, &item) < 0 || !id_is_zero(&item.id))
		return;
	for (size_t k = 0; k < n->pending_count; k++)
		r->states[n->pending[k]].required = false;
}

/* A flushed draft is a version before its name goes. */
static void seal_flushed(struct run *r, struct model_name *n)
{
	if (n->file && n->file->dirty && n->file->flushed)
		seal(r, n->file);
}

static void do_unlink(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	int err;

	seal_flushed(r, n);
	drop_pending(r, d, i);
	if (chance_below(&r->chance, 3) == 0 && n->file) {
		int fd = memfd_create("given", 0);
		err = desk_give_file(r->desk, slot_at(r, d, i), fd);
		ssize_t size = file_pread_all(fd, r->buffer, TEXT_MAX, 0);
		CHECK(r, size == (ssize_t)n->file->size && memcmp(r->buffer, n->file->bytes, n->file->size) == 0, "given %zd", size);
		close(fd);
	} else {
		err = desk_unlink(r->desk, slot_at(r, d, i));
	}
	TRACE(r, "%d/%s: %d", d, names[i], err);
	CHECK(r, err == (n->file ? 0 : n->directory >= 0 ? -EISDIR : -ENOENT), "unlink: %d", err);
	leave_name(n);
}

static void do_mkdir(struct run *r)
{
	int i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[0].names[i];
	struct desk_item item;

	if (r->directory_count == DIRS_MAX)
		return;
	int err = desk_mkdir(r->desk, slot_at(r, 0, i), 0755, 1, 1, &item);
	TRACE(r, "%s: %d", names[i], err);
	CHECK(r, err == (shows(n) ? -EEXIST : 0), "mkdir: %d", err);
	if (err < 0)
		return;
	int d = 1; /* one that was removed may be back */
	while (d < r->directory_count && !id_equal(&r->directories[d].id, &item.id))
		d++;
	CHECK(r, d == r->directory_count || !r->directories[d].alive, "mkdir: an id in use");
	if (d == r->directory_count) {
		r->directory_count++;
		for (int k = 0; k < NAMES; k++)
			r->directories[d].names[k].directory = -1;
	}
	r->directories[d].id = item.id;
	r->directories[d].alive = true;
	n->directory = d;
}

static bool is_empty(const struct model_directory *d)
{
	for (int i = 0; i < NAMES; i++)
		if (shows(&d->names[i]))
			return false;
	return true;
}

static void do_rmdir(struct run *r)
{
	int i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[0].names[i];

	int err = desk_rmdir(r->desk, slot_at(r, 0, i));
	int expected = n->file ? -ENOTDIR : n->directory < 0 ? -ENOENT : is_empty(&r->directories[n->directory]) ? 0 : -ENOTEMPTY;
	TRACE(r, "%s: %d", names[i], err);
	CHECK(r, err == expected, "rmdir: %d, not %d", err, expected);
	if (err == 0) {
		r->directories[n->directory].alive = false;
		n->directory = -1;
	}
}

static int expected_rename(const struct run *r, const struct model_name *from, const struct model_name *to, unsigned flags)
{
	if (!shows(from))
		return -ENOENT;
	if (from == to)
		return 0;
	if (flags & RENAME_EXCHANGE)
		return shows(to) ? 0 : -ENOENT;
	if (!shows(to))
		return 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (from->file)
		return to->file ? 0 : -EISDIR;
	if (to->file)
		return -ENOTDIR;
	return is_empty(&r->directories[to->directory]) ? 0 : -ENOTEMPTY;
}

static void exchanged(struct run *r, struct model_name *a, struct model_name *b)
{
	struct model_file *file = a->file;
	int directory = a->directory;

	if (a->file)
		seal(r, a->file);
	if (b->file)
		seal(r, b->file);
	a->file = b->file;
	a->directory = b->directory;
	b->file = file;
	b->directory = directory;
	if (a->file)
		a->file->name = a;
	if (b->file)
		b->file->name = b;
}

static void renamed(struct run *r, struct model_name *a, struct model_name *b)
{
	struct model_file *file = a->file;

	if (!file) {
		if (b->directory >= 0)
			r->directories[b->directory].alive = false;
		b->directory = a->directory;
		a->directory = -1;
		return;
	}
	bool over = b->file;
	seal_flushed(r, b);
	leave_name(b);
	a->file = NULL;
	take_name(b, file);
	if (over || !file->dirty) {
		add_state(r, b, file->bytes, file->size);
		sealed(file);
	} else {
		/* What was removed there a moment ago goes on with these bytes. */
		copy_set(&file->maybe, file->bytes, file->size);
	}
}

static void do_rename(struct run *r)
{
	static const unsigned all_flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	int d = any_directory(r), e = any_directory(r);
	int i = (int)chance_below(&r->chance, NAMES), k = (int)chance_below(&r->chance, NAMES);
	struct model_name *a = &r->directories[d].names[i], *b = &r->directories[e].names[k];
	unsigned flags = all_flags[chance_below(&r->chance, 5)];

	/* The kernel never asks for a directory inside itself; here they are in the root only. */
	if ((a->directory >= 0 && e != 0) || (b->directory >= 0 && d != 0))
		return;
	int expected = expected_rename(r, a, b, flags);
	if (expected == 0 && a != b && !(flags & RENAME_EXCHANGE)) {
		/* Of saves that wait only the last moves with the name. */
		seal_flushed(r, b);
		if (a->file)
			drop_pending(r, d, i);
	}
	int err = desk_rename(r->desk, slot_at(r, d, i), slot_at(r, e, k), flags, any_process(r));
	TRACE(r, "%d/%s to %d/%s flags %u: %d", d, names[i], e, names[k], flags, err);
	CHECK(r, err == expected, "rename: %d, not %d", err, expected);
	if (err < 0 || a == b)
		return;
	if (flags & RENAME_EXCHANGE)
		exchanged(r, a, b);
	else
		renamed(r, a, b);
}

static void do_reopen(struct run *r)
{
	const struct model_handle *of = any_handle(r);
	struct model_handle *h = free_handle(r);

	if (!of || !h || of->file->link)
		return;
	h->flags = chance_below(&r->chance, 2) ? O_RDWR : O_WRONLY | O_TRUNC;
	TRACE(r, "handle %d as %d flags %o", (int)(of - r->handles), (int)(h - r->handles), (unsigned)h->flags);
	CHECK(r, desk_reopen(r->desk, of->handle, h->flags, any_process(r), &h->handle) == 0, "reopen");
	h->file = of->file;
	h->file->refs++;
	h->changed = h->flags & O_TRUNC ? h->file->seals + 1 : 0;
	if (h->changed)
		truncated(r, h->file);
}

static void do_copy(struct run *r)
{
	const struct model_handle *from = any_handle(r);
	struct model_handle *to = any_handle(r);

	if (!from || !to || from == to || (to->flags & O_ACCMODE) == O_RDONLY)
		return;
	ssize_t done = handle_copy(from->handle, NULL, 0, to->handle, 0, TEXT_MAX);
	TRACE(r, "handle %d to %d: %zd", (int)(from - r->handles), (int)(to - r->handles), done);
	CHECK(r, done == -EXDEV || (done == (ssize_t)from->file->size && to->file->size == 0), "copy: %zd", done);
	if (done < 0)
		return;
	set_bytes(to->file, from->file->bytes, from->file->size);
	file_written(r, to->file, true);
	to->changed = to->file->seals + 1;
}

static void do_take(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	const struct attributes a = { .permissions = 0644, .uid = 3, .gid = 4, .mtime_ns = 5 };
	struct model_handle *h = chance_below(&r->chance, 2) ? free_handle(r) : NULL;
	size_t size = any_text(r);
	int fd = memfd_create("taken", 0);

	assert_int_equal(file_pwrite_all(fd, r->buffer, size, 0), 0);
	int err = desk_take_file(r->desk, fd, slot_at(r, d, i), &a, any_process(r), h ? &h->handle : NULL);
	close(fd);
	TRACE(r, "%d/%s %zu bytes: %d", d, names[i], size, err);
	CHECK(r, err == (n->directory >= 0 ? -EISDIR : 0), "take: %d", err);
	if (err < 0)
		return;
	seal_flushed(r, n);
	leave_name(n);
	take_name(n, file_make());
	set_bytes(n->file, r->buffer, size);
	add_state(r, n, r->buffer, size);
	sealed(n->file);
	if (h) {
		h->file = n->file;
		h->file->refs++;
		h->flags = O_RDWR;
	}
}

static void do_link(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	char target[32], read[64];
	struct desk_item item;

	snprintf(target, sizeof(target), "../target %u", ++r->counter);
	int err = desk_symlink(r->desk, slot_at(r, d, i), target, 1, 1, &item);
	TRACE(r, "%d/%s: %d", d, names[i], err);
	CHECK(r, err == (shows(n) ? -EEXIST : 0), "symlink: %d", err);
	if (err < 0)
		return;
	take_name(n, file_make());
	set_bytes(n->file, target, strlen(target));
	n->file->link = true;
	add_state(r, n, target, strlen(target));
	sealed(n->file);
	err = desk_readlink(r->desk, &r->root, slot_at(r, d, i), read, sizeof(read));
	CHECK(r, err == 0 && strcmp(read, target) == 0, "readlink: %d", err);
}

static void do_mode(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	const struct model_name *n = &r->directories[d].names[i];
	struct attributes a = { .permissions = chance_below(&r->chance, 2) ? 0755 : 0644, .mtime_ns = 77 };
	struct desk_item item;

	int err = desk_set_attributes(r->desk, slot_at(r, d, i), DESK_SET_PERMISSIONS | DESK_SET_MTIME, &a);
	TRACE(r, "%d/%s %o: %d", d, names[i], a.permissions, err);
	CHECK(r, err == (shows(n) ? 0 : -ENOENT), "chmod: %d", err);
	if (!n->file)
		return;
	n->file->flushed = false; /* the mode is part of a draft; flushed again it may be */
	CHECK(r, look(r, d, i, &item) == 0 && item.attributes.mtime_ns == 77, "mtime is not kept");
	CHECK(r, n->file->link || item.attributes.permissions == a.permissions, "mode %o", item.attributes.permissions);
}

struct picked {
	struct version_row row;
	unsigned left;
};

static int pick_version(void *context, const struct version_row *row, uint64_t index)
{
	struct picked *p = context;

	p->row = *row;
	return p->left-- == 0;
}

/* Stands on an old version, as the control file does; nobody has it open. */
static void do_head(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	struct picked p = { .left = chance_below(&r->chance, 5) };
	struct version *v = malloc(sizeof(*v));

	if (n->directory < 0 && !(n->file && is_open(r, n->file))) {
		struct store_txn *txn = txn_begin(&r->t, false);
		int err = document_each(txn, &r->root, &r->directories[d].id, names[i], 0, pick_version, &p);
		CHECK(r, err >= 0, "document_each: %d", err);
		bool found = !id_is_zero(&p.row.id) && p.row.mode != MODE_LINK;
		if (found)
			assert_int_equal(document_version(txn, &p.row.id, v), 0);
		store_abort(txn);
		if (found) {
			ssize_t size = content_read(store_piece_cache(r->t.store), store_pieces(r->t.store), &v->content,
						    (uint8_t *)r->buffer, TEXT_MAX, 0);
			CHECK(r, size == (ssize_t)v->content.size, "a version cannot be read: %zd", size);
			err = desk_set_head(r->desk, slot_at(r, d, i), &p.row.id);
			TRACE(r, "%d/%s: %d", d, names[i], err);
			CHECK(r, err == 0, "set_head: %d", err);
			leave_name(n);
			take_name(n, file_make());
			set_bytes(n->file, r->buffer, (size_t)size);
			sealed(n->file);
		}
	}
	free(v);
}

static void do_merge(struct run *r)
{
	int d = any_directory(r), i = (int)chance_below(&r->chance, NAMES);
	struct model_name *n = &r->directories[d].names[i];
	struct standing standing[4];
	struct id parents[4];

	if (!n->file || is_open(r, n->file) || n->file->link)
		return;
	struct store_txn *txn = txn_begin(&r->t, false);
	int count = tree_standing(txn, &r->root, &r->directories[d].id, names[i], standing, 4);
	store_abort(txn);
	if (count < 2 || count > 4)
		return;
	for (int k = 0; k < count; k++)
		parents[k] = standing[k].id;
	size_t size = any_text(r);
	int err = desk_merge(r->desk, slot_at(r, d, i), parents, (size_t)count, r->buffer, size);
	TRACE(r, "%d/%s: %d", d, names[i], err);
	CHECK(r, err == 0, "merge: %d", err);
	leave_name(n);
	take_name(n, file_make());
	set_bytes(n->file, r->buffer, size);
	add_state(r, n, r->buffer, size);
	sealed(n->file);
}

static void do_tick(struct run *r)
{
	static const uint64_t ms[] = { 0, 1, 100, 700, WINDOW - 1, WINDOW, 5000 };

	tick(r, ms[chance_below(&r->chance, 7)]);
}

static void do_publish(struct run *r)
{
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES; i++)
			seal_flushed(r, &r->directories[d].names[i]);
	CHECK(r, desk_publish_all(r->desk) == 0, "publish_all");
}

static void do_gc(struct run *r)
{
	struct gc_report report;
	bool all = chance_below(&r->chance, 2);

	if (!all)
		assert_int_equal(journal_rotate(store_journal(r->t.store)), 0);
	int err = store_gc(r->t.store, all, &report);
	CHECK(r, err == 0, "gc: %d", err);
}

static void do_crash(struct run *r)
{
	end_program(r, true, chance_below(&r->chance, 3) == 0);
}

static void do_restart(struct run *r)
{
	end_program(r, false, chance_below(&r->chance, 3) == 0);
}

static const struct {
	const char *name;
	unsigned weight;
	void (*run)(struct run *r);
} steps[] = {
	{ "create", 10, do_create }, { "open", 14, do_open }, { "write", 24, do_write },
	{ "truncate", 5, do_truncate }, { "read", 6, do_read }, { "flush", 10, do_flush },
	{ "close", 16, do_close }, { "save", 14, do_save }, { "unlink", 8, do_unlink },
	{ "mkdir", 4, do_mkdir }, { "rmdir", 4, do_rmdir }, { "rename", 16, do_rename },
	{ "reopen", 3, do_reopen }, { "copy", 6, do_copy }, { "take", 6, do_take },
	{ "link", 2, do_link }, { "mode", 4, do_mode }, { "head", 3, do_head }, { "merge", 3, do_merge },
	{ "tick", 20, do_tick }, { "publish", 1, do_publish }, { "gc", 1, do_gc },
	{ "crash", 3, do_crash }, { "restart", 1, do_restart },
};

static void take_step(struct run *r)
{
	unsigned total = 0, i = 0;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	unsigned at = chance_below(&r->chance, total);
	for (i = 0; at >= steps[i].weight; i++)
		at -= steps[i].weight;
	r->doing = steps[i].name;
	steps[i].run(r);
	check_all(r);
	check_text(r, any_directory(r), (int)chance_below(&r->chance, NAMES));
}

/* ---- a whole history ---- */

static void finish(struct run *r)
{
	r->doing = "the end";
	for (int i = 0; i < HANDLES; i++)
		if (r->handles[i].handle)
			close_handle(r, &r->handles[i]);
	tick(r, WINDOW);
	tick(r, WINDOW);
	check_all(r);
	check_nothing_waits(r);
	check_versions(r);
	check_sound(r);
	end_program(r, false, true);
	check_versions(r);
	CHECK(r, desk_close(r->desk) == 0, "desk_close");
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES; i++)
			leave_name(&r->directories[d].names[i]);
	for (size_t i = 0; i < r->state_count; i++)
		free(r->states[i].text.bytes);
}

static void run_seed(uint64_t seed)
{
	struct run *r = calloc(1, sizeof(*r));

	r->seed = seed;
	r->trace = getenv("MOOT_TRACE");
	r->chance = seed * 1000003;
	r->doing = "the beginning";
	r->buffer = malloc(TEXT_MAX + 1);
	test_store_make(&r->t, seed);
	struct store_txn *txn = txn_begin(&r->t, true);
	say_profile(txn, NULL, "alice");
	txn_commit(txn);
	test_store_stop(&r->t);
	r->root = r->directories[0].id = r->t.key.public;
	r->directories[0].alive = true;
	r->directory_count = 1;
	for (int i = 0; i < NAMES; i++)
		r->directories[0].names[i].directory = -1;
	start(r, false);
	for (r->step = 1; r->step <= STEPS; r->step++)
		take_step(r);
	finish(r);
	test_store_remove(&r->t);
	free(r->buffer);
	free(r);
}

static void test_random_histories(void **state)
{
	const char *only = getenv("MOOT_SEED");
	const char *seeds = getenv("MOOT_SEEDS");
	time_t end = time(NULL) + SECONDS;
	uint64_t seed = 0;

	if (only) {
		run_seed(strtoull(only, NULL, 10));
		return;
	}
	do
		run_seed(++seed);
	while (seeds ? seed < strtoull(seeds, NULL, 10) : time(NULL) < end);
	print_message("%llu seeds\n", (unsigned long long)seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_histories) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
