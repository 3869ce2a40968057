/*
 * desk_model.h - a simple model of a desk: what each name must show, and which closed states must become
 * versions. Beside the desk itself, for random histories. After cmocka.h.
 */
#ifndef DESK_MODEL_H
#define DESK_MODEL_H

#define save helper_save /* store_helper.h and desk.h know different saves */
#include "store_helper.h"
#undef save
#include "desk.h"

#define WINDOW 2000
#define NAMES 4
#define DIRS_MAX 64
#define HANDLES 6
#define TEXT_MAX 200000
#define STATES_MAX 4096

static const char *const names[NAMES] = { "a.md", "b.md", "c", "d" };

struct text_copy {
	char *bytes; /* NULL: none */
	size_t size;
};

struct state { /* bytes that were closed */
	struct text_copy text;
	bool required;
	unsigned step;
};

struct model_file { /* as an inode */
	unsigned refs; /* the name and the handles */
	char *bytes;
	size_t size;
	struct text_copy base, draft; /* last sealed; flushed since */
	struct text_copy maybe;       /* a rename may have sealed this */
	bool dirty, written, flushed, created, link;
	uint64_t last_write_ms;
	unsigned seals;
	struct model_name *name;
};

struct model_name {
	struct model_file *file;
	int directory; /* -1: none */
	size_t pending[STATES_MAX]; /* states closed here, perhaps not signed yet */
	size_t pending_count;
};

struct model_directory {
	struct id id;
	bool alive;
	struct model_name names[NAMES];
};

struct model_handle {
	struct handle *handle;
	struct model_file *file;
	int flags;
	unsigned changed; /* the file's seals when it was changed, plus one; 0: never */
};

struct run {
	struct test_store t;
	struct desk *desk;
	struct id root;
	uint64_t seed, chance;
	unsigned step, counter;
	const char *doing;
	struct model_directory directories[DIRS_MAX]; /* 0 is the root */
	int directory_count;
	struct model_handle handles[HANDLES];
	struct state states[STATES_MAX];
	size_t state_count;
	char *buffer;
	bool trace;
};

#define CHECK(r, condition, ...) do { if (!(condition)) { \
	print_error("MOOT_SEED=%llu step %u, %s: ", (unsigned long long)(r)->seed, (r)->step, (r)->doing); \
	print_error(__VA_ARGS__); print_error("\n"); fail_msg("%s", #condition); } } while (0)

/* With MOOT_TRACE each step tells what it does. */
#define TRACE(r, ...) do { if ((r)->trace) { \
	printf("%u %s ", (r)->step, (r)->doing); printf(__VA_ARGS__); printf("\n"); } } while (0)

/* ---- texts and files of the model ---- */

static inline void copy_set(struct text_copy *copy, const char *bytes, size_t size)
{
	char *fresh = bytes ? malloc(size + 1) : NULL;

	if (fresh && size)
		memcpy(fresh, bytes, size);
	free(copy->bytes);
	*copy = (struct text_copy){ fresh, size };
}

static inline bool copy_is(const struct text_copy *copy, const char *bytes, size_t size)
{
	return copy->bytes && copy->size == size && memcmp(copy->bytes, bytes, size) == 0;
}

static inline struct model_file *file_make(void)
{
	struct model_file *f = calloc(1, sizeof(*f));

	f->bytes = malloc(TEXT_MAX);
	f->refs = 1;
	return f;
}

static inline void file_put(struct model_file *f)
{
	if (!f || --f->refs)
		return;
	free(f->bytes);
	free(f->base.bytes);
	free(f->draft.bytes);
	free(f->maybe.bytes);
	free(f);
}

static inline void file_written(struct run *r, struct model_file *f, bool by_write)
{
	f->dirty = true;
	f->flushed = false;
	f->written = by_write || (f->written && by_write);
	f->last_write_ms = r->t.time_ms;
}

static inline void add_state(struct run *r, struct model_name *n, const char *bytes, size_t size)
{
	CHECK(r, r->state_count < STATES_MAX, "too many states");
	struct state *s = &r->states[r->state_count];
	copy_set(&s->text, bytes, size);
	s->required = true;
	s->step = r->step;
	n->pending[n->pending_count++] = r->state_count++;
}

static inline void sealed(struct model_file *f)
{
	f->seals++;
	copy_set(&f->base, f->bytes, f->size);
	copy_set(&f->draft, NULL, 0);
	copy_set(&f->maybe, NULL, 0);
	f->dirty = f->written = f->flushed = f->created = false;
}

/* What was sealed since it changed it is not this handle's to seal. */
static inline bool has_unsealed(const struct model_handle *h)
{
	return h->changed == h->file->seals + 1;
}

static inline void seal(struct run *r, struct model_file *f)
{
	if (!f->dirty || !f->name)
		return;
	if (!copy_is(&f->base, f->bytes, f->size))
		add_state(r, f->name, f->bytes, f->size);
	sealed(f);
}

static inline void flush(struct model_file *f)
{
	if (!f->dirty || f->flushed || !f->name)
		return;
	copy_set(&f->draft, f->bytes, f->size);
	f->flushed = true;
}

static inline void leave_name(struct model_name *n)
{
	if (!n->file)
		return;
	n->file->name = NULL;
	n->file->dirty = false;
	file_put(n->file);
	n->file = NULL;
}

static inline void take_name(struct model_name *n, struct model_file *f)
{
	n->file = f;
	f->name = n;
}

static inline bool shows(const struct model_name *n)
{
	return n->file || n->directory >= 0;
}

/* ---- asking the desk ---- */

static inline struct desk_slot slot_at(struct run *r, int directory, int name)
{
	return (struct desk_slot){ r->directories[directory].id, names[name] };
}

static inline int look(struct run *r, int directory, int name, struct desk_item *out)
{
	return desk_lookup(r->desk, &r->root, &r->directories[directory].id, names[name], out);
}

/* What the desk shows there, into r->buffer: size, or -1 if nothing or a directory does. */
static inline ssize_t shown_text(struct run *r, int directory, int name)
{
	struct handle *h;

	if (desk_open_file(r->desk, slot_at(r, directory, name), O_RDONLY, 0, &h) < 0)
		return -1;
	ssize_t size = handle_read(h, r->buffer, TEXT_MAX, 0);
	CHECK(r, size >= 0, "%s of %d cannot be read: %zd", names[name], directory, size);
	CHECK(r, handle_release(h) == 0, "release");
	return size;
}

static inline void check_text(struct run *r, int directory, int name)
{
	const struct model_file *f = r->directories[directory].names[name].file;

	if (!f)
		return;
	ssize_t size = shown_text(r, directory, name);
	CHECK(r, size == (ssize_t)f->size && memcmp(r->buffer, f->bytes, f->size) == 0,
	      "%s of %d shows %zd bytes \"%.*s\", not %zu \"%.*s\"", names[name], directory, size,
	      size > 30 ? 30 : (int)size, r->buffer, f->size, f->size > 30 ? 30 : (int)f->size, f->bytes);
}

struct listing {
	struct run *run;
	const struct model_directory *directory;
	unsigned seen;
	uint64_t cookie;
};

static inline int list_item(void *context, const struct desk_item *item)
{
	struct listing *l = context;
	int i = 0;

	while (i < NAMES && strcmp(names[i], item->name) != 0)
		i++;
	CHECK(l->run, i < NAMES && !(l->seen & 1u << i), "\"%s\" is listed that should not be", item->name);
	CHECK(l->run, item->cookie > l->cookie, "cookies of \"%s\" do not rise", item->name);
	l->cookie = item->cookie;
	l->seen |= 1u << i;
	return 0;
}

static inline void check_directory(struct run *r, int directory)
{
	struct model_directory *d = &r->directories[directory];
	struct listing l = { .run = r, .directory = d };
	struct desk_item item;

	CHECK(r, desk_each(r->desk, &r->root, &d->id, 0, list_item, &l) == 0, "cannot list %d", directory);
	for (int i = 0; i < NAMES; i++) {
		struct model_name *n = &d->names[i];
		int err = look(r, directory, i, &item);
		CHECK(r, err == (shows(n) ? 0 : -ENOENT), "%s of %d: look-up says %d", names[i], directory, err);
		CHECK(r, shows(n) == !!(l.seen & 1u << i), "%s of %d: listed %d", names[i], directory,
		      !!(l.seen & 1u << i));
		if (n->directory >= 0)
			CHECK(r, item.what == WHAT_DIRECTORY && id_equal(&item.id, &r->directories[n->directory].id),
			      "%s is not its directory", names[i]);
		if (n->file)
			CHECK(r, item.what == WHAT_VERSION && item.size == n->file->size, "%s of %d has %llu bytes, not %zu",
			      names[i], directory, (unsigned long long)item.size, n->file->size);
		if (n->file && !item.waits && !id_is_zero(&item.id))
			n->pending_count = 0; /* signed */
	}
}

static inline void check_all(struct run *r)
{
	for (int d = 0; d < r->directory_count; d++)
		if (r->directories[d].alive)
			check_directory(r, d);
}

/* ---- opening, closing, crashing ---- */

static inline void ignore_soon(void *context)
{
}

static inline void start(struct run *r, bool reindex)
{
	const struct desk_options options = { .window_ms = WINDOW, .document_size_max = TEXT_MAX, .uid = 7, .gid = 7,
					      .soon = r->seed % 2 ? ignore_soon : NULL };

	test_store_start(&r->t, reindex);
	int err = desk_open(&r->desk, r->t.store, &options);
	CHECK(r, err == 0, "desk_open: %d", err);
}

static inline void copy_files(const char *from, const char *to)
{
	DIR *directory = opendir(from);
	struct dirent *entry;
	struct stat st;
	uint8_t *bytes;
	size_t size;

	assert_non_null(directory);
	assert_true(mkdir(to, 0700) == 0 || errno == EEXIST);
	while ((entry = readdir(directory))) {
		char source[512], target[512];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(source, sizeof(source), "%.200s/%.100s", from, entry->d_name);
		snprintf(target, sizeof(target), "%.200s/%.100s", to, entry->d_name);
		assert_int_equal(lstat(source, &st), 0);
		if (S_ISDIR(st.st_mode)) {
			copy_files(source, target);
			continue;
		}
		assert_int_equal(file_read(AT_FDCWD, source, 1u << 28, &bytes, &size), 0);
		int fd = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(file_pwrite_all(fd, bytes, size, 0), 0);
		close(fd);
		free(bytes);
	}
	closedir(directory);
}

static inline void forget_handles(struct run *r)
{
	for (int i = 0; i < HANDLES; i++) {
		if (!r->handles[i].handle)
			continue;
		free(r->handles[i].handle);
		file_put(r->handles[i].file);
		r->handles[i] = (struct model_handle){ 0 };
	}
}

static inline void set_bytes(struct model_file *f, const char *bytes, size_t size)
{
	memcpy(f->bytes, bytes, size);
	f->size = size;
}

/* Was what is in the buffer ever closed anywhere? */
static inline bool is_known(const struct run *r, size_t size)
{
	for (size_t i = 0; i < r->state_count; i++)
		if (copy_is(&r->states[i].text, r->buffer, size))
			return true;
	return false;
}

/* What was open is closed by the end of the program: drafts are saves now, the rest is lost. */
static inline void lose_open(struct run *r, int directory, int name, bool crashed)
{
	struct model_name *n = &r->directories[directory].names[name];
	struct model_file *f = n->file;

	if (!f || !f->dirty)
		return;
	if (!crashed && (f->written || f->flushed)) {
		seal(r, f);
	} else if (f->draft.bytes && !f->maybe.bytes) {
		set_bytes(f, f->draft.bytes, f->draft.size);
		seal(r, f);
	} else if (f->created || f->maybe.bytes) {
		/* Gone, or what stood there before. */
		ssize_t size = shown_text(r, directory, name);
		CHECK(r, size < 0 ? !f->draft.bytes : copy_is(&f->maybe, r->buffer, (size_t)size) ||
		      copy_is(&f->draft, r->buffer, (size_t)size) || is_known(r, (size_t)size),
		      "%s shows what never stood there: %zd bytes", names[name], size);
		if (size < 0) {
			leave_name(n);
			return;
		}
		set_bytes(f, r->buffer, (size_t)size);
		sealed(f);
	} else {
		set_bytes(f, f->base.bytes, f->base.size);
		sealed(f);
	}
}

static inline void end_program(struct run *r, bool crash, bool reindex)
{
	char copy[300];

	TRACE(r, "%s", reindex ? "and reindex" : "");
	snprintf(copy, sizeof(copy), "%s.copy", r->t.path);
	if (crash)
		copy_files(r->t.path, copy);
	CHECK(r, desk_close(r->desk) == 0, "desk_close");
	test_store_stop(&r->t);
	if (crash) {
		nftw(r->t.path, helper_remove, 16, FTW_DEPTH | FTW_PHYS);
		assert_int_equal(rename(copy, r->t.path), 0);
	}
	forget_handles(r);
	start(r, reindex);
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES && r->directories[d].alive; i++)
			lose_open(r, d, i, crash);
	check_all(r);
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES && r->directories[d].alive; i++)
			check_text(r, d, i);
}

static inline void tick(struct run *r, uint64_t ms)
{
	r->t.time_ms += ms;
	TRACE(r, "%llu ms", (unsigned long long)ms);
	desk_tick(r->desk);
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES; i++) {
			struct model_file *f = r->directories[d].names[i].file;
			if (f && f->dirty && f->written && r->t.time_ms >= f->last_write_ms + WINDOW)
				seal(r, f);
		}
}

/* ---- when all windows are over ---- */

struct history {
	struct run *run;
	struct store_txn *txn;
	struct id digests[STATES_MAX * 2];
	size_t count;
	struct version *version;
	struct id last_id, last_digest;
	enum mode last_mode;
	const char *name;
};

static inline int note_version(void *context, const struct version_row *row, uint64_t index)
{
	struct history *h = context;
	struct version *v = h->version;

	assert_int_equal(document_version(h->txn, &row->id, v), 0);
	CHECK(h->run, !(index > 0 && v->parent_count == 1 && id_equal(&v->parents[0], &h->last_id) &&
			id_equal(&v->content.digest, &h->last_digest) && h->last_mode == row->mode),
	      "version %llu of %s is the one before it again", (unsigned long long)index, h->name);
	h->last_id = row->id;
	h->last_digest = v->content.digest;
	h->last_mode = row->mode;
	assert_true(h->count < STATES_MAX * 2);
	h->digests[h->count++] = v->content.digest;
	return 0;
}

static inline void check_versions(struct run *r)
{
	struct history *h = calloc(1, sizeof(*h));

	h->run = r;
	h->version = malloc(sizeof(*h->version));
	h->txn = txn_begin(&r->t, false);
	for (int d = 0; d < r->directory_count; d++)
		for (int i = 0; i < NAMES; i++) {
			h->name = names[i];
			int err = document_each(h->txn, &r->root, &r->directories[d].id, names[i], 0, note_version, h);
			CHECK(r, err == 0, "document_each: %d", err);
		}
	for (size_t i = 0; i < r->state_count; i++) {
		const struct state *s = &r->states[i];
		struct id digest;
		bool found = false;
		id_of_bytes(&digest, s->text.bytes, s->text.size);
		for (size_t k = 0; k < h->count && !found; k++)
			found = id_equal(&h->digests[k], &digest);
		CHECK(r, found || !s->required, "what was closed in step %u is no version: %zu bytes \"%.*s\"", s->step,
		      s->text.size, s->text.size > 30 ? 30 : (int)s->text.size, s->text.bytes);
	}
	store_abort(h->txn);
	free(h->version);
	free(h);
}

static inline void print_finding(void *context, const char *sentence)
{
	print_error("%s\n", sentence);
}

static inline void check_sound(struct run *r)
{
	struct verify_report report;
	struct why why = { "" };

	assert_int_equal(journal_sync(store_journal(r->t.store)), 0);
	int err = store_verify(r->t.path, print_finding, NULL, NULL, &report, &why);
	CHECK(r, err == 0 && report.bad == 0, "verify: %d %s, %llu findings", err, why.text, (unsigned long long)report.bad);
}

static inline int refuse_waiting(void *context, const struct desk_waiting *w)
{
	CHECK((struct run *)context, false, "%s still waits, removal %d, %u saves", w->name, w->removal, w->saves);
	return 0;
}

/* Every window is over and nothing is open: no fact says otherwise. */
static inline void check_nothing_waits(struct run *r)
{
	struct store_txn *txn = txn_begin(&r->t, false);
	struct index_range range;

	desk_each_waiting(r->desk, refuse_waiting, r);
	assert_int_equal(store_local_range(txn, LOCAL_PENDING, "", 0, &range), 0);
	int more = index_range_next(&range);
	CHECK(r, more == 0, "a fact of what waits is left: %.*s", more > 0 ? (int)range.key_size - 33 : 0,
	      more > 0 ? (const char *)range.key + 33 : "");
	index_range_close(&range);
	store_abort(txn);
}

#endif
