#include "desk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "desk_private.h"
#include "person.h"
#include "utf8.h"

/* ---- texts and saves ---- */

struct body *body_new(const struct content *content)
{
	size_t size = offsetof(struct body, content) + offsetof(struct content, pieces) +
		      content->count * sizeof(content->pieces[0]);
	struct body *text = malloc(size < sizeof(*text) ? size : sizeof(*text));

	if (text) {
		memcpy(&text->content, content, size - offsetof(struct body, content));
		text->refs = 1;
	}
	return text;
}

struct body *body_ref(struct body *text)
{
	if (text)
		text->refs++;
	return text;
}

void body_unref(struct body *text)
{
	if (text && --text->refs == 0)
		free(text);
}

void save_finish(struct save *save)
{
	body_unref(save->text);
	memset(save, 0, sizeof(*save));
}

/* ---- the lock ---- */

void desk_lock(struct desk *desk)
{
	pthread_mutex_lock(&desk->lock);
}

void desk_tell(struct desk *desk, const struct slot *slot)
{
	struct changed *changed = desk->options.changed ? calloc(1, sizeof(*changed)) : NULL;

	if (!changed)
		return;
	changed->directory = slot->folder->id;
	memcpy(changed->name, slot->name, sizeof(changed->name));
	LL_PREPEND(desk->changed, changed);
}

void desk_unlock(struct desk *desk)
{
	struct changed *changed = desk->changed, *next;
	bool soon = desk->soon;

	desk->changed = NULL;
	desk->soon = false;
	pthread_mutex_unlock(&desk->lock);
	if (soon)
		desk->options.soon(desk->options.context);
	for (; changed; changed = next) {
		next = changed->next;
		desk->options.changed(desk->options.context, &desk->self, &changed->directory, changed->name);
		free(changed);
	}
}

/* ---- folders and slots ---- */

static size_t slot_key(uint8_t *key, const struct id *directory, const char *name)
{
	size_t size = strnlen(name, NAME_SIZE_MAX);

	memcpy(key, directory->bytes, ID_SIZE);
	memcpy(key + ID_SIZE, name, size);
	return ID_SIZE + size;
}

struct slot *slot_find(struct desk *desk, const struct id *directory, const char *name)
{
	uint8_t key[ID_SIZE + NAME_SIZE_MAX];
	struct slot *slot;

	if (strlen(name) > NAME_SIZE_MAX)
		return NULL;
	size_t size = slot_key(key, directory, name);
	HASH_FIND(hh, desk->slots, key, size, slot);
	return slot;
}

static int slot_link(struct slot *slot, struct folder *folder, const char *name)
{
	slot->folder = folder;
	memset(slot->name, 0, sizeof(slot->name));
	memcpy(slot->name, name, strlen(name));
	slot->key_size = slot_key(slot->key, &folder->id, name);
	HASH_ADD_KEYPTR(hh, slot->desk->slots, slot->key, slot->key_size, slot);
	if (!slot->hh.tbl)
		return -ENOMEM;
	DL_APPEND(folder->slots, slot);
	return 0;
}

static void slot_unlink(struct slot *slot)
{
	HASH_DEL(slot->desk->slots, slot);
	DL_DELETE(slot->folder->slots, slot);
	slot_forget_fresh(slot);
}

void slot_rename(struct slot *slot, struct folder *folder, const char *name)
{
	struct slot keep = { .key_size = 1 }; /* a key that no slot has */
	UT_hash_table *table = slot->hh.tbl;
	unsigned noexpand = table->noexpand;

	/* The table neither goes nor grows meanwhile: so it needs no memory, and cannot fail. */
	table->noexpand = 1;
	HASH_ADD_KEYPTR(hh, slot->desk->slots, keep.key, keep.key_size, &keep);
	slot_unlink(slot);
	int err = slot_link(slot, folder, name);
	assert(err == 0);
	(void)err;
	HASH_DEL(slot->desk->slots, &keep);
	table->noexpand = noexpand;
	slot_note_fresh(slot);
	slot->desk->directories_changed += slot->what == WHAT_DIRECTORY;
}

static struct slot *slot_new(struct desk *desk, const struct id *directory, const char *name)
{
	struct folder *folder = folder_get(desk, directory);
	struct slot *slot = folder ? calloc(1, sizeof(*slot)) : NULL;

	if (slot) {
		slot->desk = desk;
		if (slot_link(slot, folder, name) < 0) {
			free(slot);
			slot = NULL;
		}
	}
	return slot;
}

void slot_clear_queue(struct slot *slot)
{
	for (size_t i = 0; i < slot->queue_count; i++)
		save_finish(&slot->queue[i]);
	free(slot->queue);
	slot->queue = NULL;
	slot->queue_count = 0;
}

void slot_clear_seen(struct slot *slot)
{
	free(slot->seen);
	slot->seen = NULL;
	slot->seen_count = 0;
}

static void slot_empty(struct slot *slot)
{
	slot_clear_queue(slot);
	slot_clear_seen(slot);
	save_finish(&slot->draft);
	slot->draft_of = NULL;
	slot_set_text(slot, NULL);
	slot->shown = slot->published = false;
	slot->what = WHAT_NOTHING;
	memset(&slot->head, 0, sizeof(slot->head));
	memset(&slot->document, 0, sizeof(slot->document));
	memset(&slot->directory_id, 0, sizeof(slot->directory_id));
}

void slot_clear(struct slot *slot)
{
	slot_empty(slot);
	if (slot->is_fresh || !slot->folder)
		return;
	/* What comes there next is new, and so is its place. */
	slot->cookie = tree_cookie(slot->desk->store);
	slot_note_fresh(slot);
}

int slot_push_save(struct slot *slot, const struct save *save)
{
	struct save *queue = realloc(slot->queue, (slot->queue_count + 1) * sizeof(*queue));

	if (!queue)
		return -ENOMEM;
	slot->queue = queue;
	queue[slot->queue_count] = *save;
	body_ref(save->text);
	slot->queue_count++;
	return 0;
}

void slot_set_text(struct slot *slot, struct body *text)
{
	body_ref(text);
	body_unref(slot->text);
	slot->text = text;
}

bool slot_has_text(const struct slot *slot, const struct save *save)
{
	return slot->text && slot->mode == save->mode && slot->text->content.size == save->text->content.size &&
	       id_equal(&slot->text->content.digest, &save->text->content.digest);
}

void slot_wait(struct slot *slot, uint64_t due_ms)
{
	if (slot->waiting)
		DL_DELETE2(slot->desk->due, slot, due_prev, due_next);
	slot->waiting = due_ms != 0;
	slot->due_ms = due_ms;
	slot_wait_as_directory(slot);
	if (!slot->waiting)
		return;
	/* Nearly always the latest, or among the few that are due at once: walk from the nearer end. */
	struct slot *first = slot->desk->due, *after = first ? first->due_prev : NULL;
	if (first && after->due_ms > due_ms && due_ms < first->due_ms + (after->due_ms - first->due_ms) / 2) {
		after = NULL;
		for (struct slot *next = first; next->due_ms <= due_ms; next = next->due_next)
			after = next;
	}
	while (after && after->due_ms > due_ms)
		after = after == first ? NULL : after->due_prev;
	if (after)
		DL_APPEND_ELEM2(slot->desk->due, after, slot, due_prev, due_next);
	else
		DL_PREPEND2(slot->desk->due, slot, due_prev, due_next);
}

static void slot_free(struct slot *slot)
{
	slot_wait(slot, 0);
	slot_unlink(slot);
	slot_empty(slot);
	free(slot);
}

void slot_settle(struct slot *slot)
{
	if (slot->refs == 0 && !slot->waiting && slot->queue_count == 0 && !slot->draft.text)
		slot_free(slot);
}

/* Reads the version that shows into the slot. */
int slot_reload(struct slot *slot, struct store_txn *txn, const struct id *version)
{
	struct known known;

	int err = known_get(slot->desk, txn, version, &known);
	if (err < 0)
		return err;
	slot->head = *version;
	slot->document = known.document;
	slot->mode = known.mode;
	slot_set_text(slot, known.text);
	body_unref(known.text);
	return attributes_get(slot->desk, txn, &slot->folder->id, slot->name, version, known.time_ms, known.mode,
			      &slot->attributes);
}

int slot_fill(struct slot *slot, struct store_txn *txn, const struct tree_item *item)
{
	slot->shown = slot->published = true;
	slot->what = item->what;
	slot->cookie = item->cookie;
	if (item->what == WHAT_VERSION)
		return slot_reload(slot, txn, &item->id);
	slot->directory_id = item->id;
	return attributes_get(slot->desk, txn, &item->id, "", NULL, item->time_ms, MODE_FILE, &slot->attributes);
}

bool is_alias(const struct tree_item *item, struct desk_slot at)
{
	return !id_equal(&item->directory, &at.directory) || strcmp(item->slot_name, at.name) != 0;
}

bool slot_is(const struct slot *slot, const struct tree_item *item)
{
	return slot->what == item->what &&
	       (item->what != WHAT_DIRECTORY || id_equal(&slot->directory_id, &item->id));
}

int slot_get(struct desk *desk, struct desk_slot at, struct slot **out)
{
	struct tree_item item;
	struct store_txn *txn;

	struct slot *slot = slot_find(desk, &at.directory, at.name);
	if (slot) {
		*out = slot;
		return 0;
	}
	int err = store_begin(desk->store, false, &txn);
	if (err < 0)
		return err;
	err = tree_lookup(txn, &desk->self, &at.directory, at.name, &item);
	if (err == 0 && is_alias(&item, at))
		err = ALIAS;
	if (err == 0) {
		slot = slot_new(desk, &at.directory, at.name);
		err = slot ? slot_fill(slot, txn, &item) : -ENOMEM;
		if (err < 0 && slot)
			slot_settle(slot);
	}
	store_abort(txn);
	if (err == 0)
		*out = slot;
	return err;
}

int slot_make(struct desk *desk, struct desk_slot at, struct slot **out)
{
	int err = slot_get(desk, at, out);
	if (err != -ENOENT)
		return err;
	if (!utf8_valid_name(at.name, strlen(at.name)))
		return strlen(at.name) > NAME_SIZE_MAX ? -ENAMETOOLONG : -EINVAL;
	struct slot *slot = slot_new(desk, &at.directory, at.name);
	if (!slot)
		return -ENOMEM;
	slot->cookie = tree_cookie(desk->store);
	slot_note_fresh(slot);
	slot->attributes.ino = attributes_new_ino(desk);
	*out = slot;
	return 0;
}

int slot_make_free(struct desk *desk, struct desk_slot at, enum what what, struct slot **out)
{
	struct slot *slot;

	int err = slot_make(desk, at, &slot);
	if (err < 0)
		return err == ALIAS ? -EEXIST : err;
	if (slot->shown) {
		slot_settle(slot);
		return -EEXIST;
	}
	if (slot->waiting && slot->what != what) {
		err = slot_publish(slot);
		if (err == STORE_HELD && desk_wait_hold(desk))
			return slot_make_free(desk, at, what, out);
		return err < 0 ? err : slot_make(desk, at, out);
	}
	*out = slot;
	return 0;
}

void slot_hold(struct slot *slot)
{
	slot->refs++;
}

void slot_drop(struct slot *slot)
{
	if (!slot)
		return;
	slot->refs--;
	slot_settle(slot);
}

/* ---- what shows ---- */

static void item_of_slot(const struct slot *slot, struct desk_item *out)
{
	const struct file *file = slot->file;

	out->order = ++slot->desk->order;
	memcpy(out->name, slot->name, sizeof(slot->name));
	out->directory = slot->folder->id;
	memcpy(out->slot_name, slot->name, sizeof(slot->name));
	out->what = slot->what;
	out->id = slot->what == WHAT_DIRECTORY ? slot->directory_id : slot->head;
	out->mode = file ? file->mode : slot->mode;
	out->size = slot->text ? slot->text->content.size : 0;
	if (file)
		out->size = file->spool ? spool_size(file->spool) : file->text ? file->text->content.size : 0;
	out->cookie = slot->cookie;
	out->waits = slot->waiting || slot->draft.text || (file && file->dirty);
	out->attributes = slot->attributes;
	if (slot->what == WHAT_DIRECTORY) {
		struct folder *folder;
		HASH_FIND(hh, slot->desk->folders, &slot->directory_id, sizeof(struct id), folder);
		if (folder && folder->time_ns)
			out->attributes.mtime_ns = out->attributes.ctime_ns = folder->time_ns;
	}
}

static int item_of_tree(struct desk *desk, struct store_txn *txn, const struct tree_item *item, struct desk_item *out)
{
	struct version_row row;
	struct folder *folder;

	out->order = ++desk->order;
	memcpy(out->name, item->name, sizeof(item->name));
	out->directory = item->directory;
	memcpy(out->slot_name, item->slot_name, sizeof(item->slot_name));
	out->what = item->what;
	out->id = item->id;
	out->cookie = item->cookie;
	out->mode = MODE_FILE;
	out->size = 0;
	out->waits = false;
	if (item->what == WHAT_DIRECTORY) {
		int err = attributes_get(desk, txn, &item->id, "", NULL, item->time_ms, MODE_FILE, &out->attributes);
		HASH_FIND(hh, desk->folders, &item->id, sizeof(struct id), folder);
		if (folder && folder->time_ns)
			out->attributes.mtime_ns = out->attributes.ctime_ns = folder->time_ns;
		return err;
	}
	int err = document_version_row(txn, &item->id, &row);
	if (err < 0)
		return err;
	out->mode = row.mode;
	out->size = row.size;
	return attributes_get(desk, txn, &item->directory, item->slot_name, &row.id, row.time_ms, row.mode,
			      &out->attributes);
}

int desk_lookup(struct desk *desk, const struct id *person, const struct id *directory,
		const char *name, struct desk_item *out)
{
	bool own = id_equal(person, &desk->self);
	struct tree_item item;
	struct store_txn *txn = NULL;

	desk_lock(desk);
	const struct slot *slot = own ? slot_find(desk, directory, name) : NULL;
	int err = 0;
	if (slot) {
		if (slot->shown)
			item_of_slot(slot, out);
		else
			err = -ENOENT;
	} else {
		err = store_begin(desk->store, false, &txn);
		if (err == 0)
			err = tree_lookup(txn, person, directory, name, &item);
		if (err == 0)
			err = item_of_tree(desk, txn, &item, out);
	}
	store_abort(txn);
	desk_unlock(desk);
	return err;
}

struct each {
	struct desk *desk;
	struct store_txn *txn;
	bool own;
	struct folder *folder; /* NULL: none is known, or it is another's */
	struct slot *extra;    /* the next that may show and not be in the tree */
	uint64_t (*knows)(void *context, const struct tree_item *item);
	int (*visit)(void *context, const struct desk_item *item);
	void *context;
	struct desk_item item;
};

static int each_extra(struct each *each, uint64_t before)
{
	while (each->extra && each->extra->cookie < before) {
		const struct slot *slot = each->extra;
		each->extra = slot->fresh_next;
		if (!slot->shown || slot->published)
			continue;
		item_of_slot(slot, &each->item);
		int stop = each->visit(each->context, &each->item);
		if (stop != 0)
			return stop;
	}
	return 0;
}

static int each_known(struct each *each, const struct tree_item *item, uint64_t ino)
{
	struct desk_item *out = &each->item;

	memcpy(out->name, item->name, sizeof(item->name));
	out->what = item->what;
	out->id = item->id;
	out->cookie = item->cookie;
	out->attributes.ino = ino;
	out->known = true;
	int stop = each->visit(each->context, out);
	out->known = false;
	return stop;
}

static int each_item(void *context, const struct tree_item *item)
{
	struct each *each = context;

	int stop = each_extra(each, item->cookie);
	if (stop != 0)
		return stop;
	const struct slot *slot = each->own ? slot_find(each->desk, &item->directory, item->slot_name) : NULL;
	if (slot && !slot_is(slot, item))
		slot = NULL;
	if (slot && (!slot->shown || !slot->published))
		return 0; /* gone, or among the extra */
	if (slot) {
		item_of_slot(slot, &each->item);
		memcpy(each->item.name, item->name, sizeof(item->name));
		each->item.cookie = item->cookie;
	} else {
		uint64_t ino = each->knows ? each->knows(each->context, item) : 0;
		if (ino)
			return each_known(each, item, ino);
		int err = item_of_tree(each->desk, each->txn, item, &each->item);
		if (err < 0)
			return err;
	}
	return each->visit(each->context, &each->item);
}

int desk_each(struct desk *desk, const struct id *person, const struct id *directory, uint64_t after,
	      int (*visit)(void *context, const struct desk_item *item), void *context)
{
	return desk_each_new(desk, person, directory, after, NULL, visit, context);
}

int desk_each_new(struct desk *desk, const struct id *person, const struct id *directory, uint64_t after,
		  uint64_t (*knows)(void *context, const struct tree_item *item),
		  int (*visit)(void *context, const struct desk_item *item), void *context)
{
	struct each *each = calloc(1, sizeof(*each));
	if (!each)
		return -ENOMEM;
	each->desk = desk;
	each->knows = knows;
	each->visit = visit;
	each->context = context;
	each->own = id_equal(person, &desk->self);

	desk_lock(desk);
	int err = store_begin(desk->store, false, &each->txn);
	if (err == 0 && each->own)
		HASH_FIND(hh, desk->folders, directory, sizeof(*directory), each->folder);
	if (each->folder)
		each->extra = fresh_after(each->folder, after);
	if (err == 0)
		err = tree_each(each->txn, person, directory, after, each_item, each);
	if (err == 0)
		err = each_extra(each, UINT64_MAX);
	if (each->folder && each->folder->fresh)
		each->folder->listed = each->extra ? each->extra : each->folder->fresh->fresh_prev;
	store_abort(each->txn);
	desk_unlock(desk);
	free(each);
	return err;
}

uint64_t desk_order(struct desk *desk)
{
	return desk->order;
}

int desk_each_waiting(struct desk *desk, int (*visit)(void *context, const struct desk_waiting *w), void *context)
{
	struct slot *slot, *next;
	int stop = 0;

	desk_lock(desk);
	HASH_ITER(hh, desk->slots, slot, next) {
		struct desk_waiting w = {
			.directory = slot->folder->id,
			.removal = !slot->shown,
			.saves = (uint32_t)(slot->queue_count + (slot->draft.text ? 1 : 0)),
			.due_ms = slot->due_ms,
		};
		if (!slot->waiting && !slot->draft.text)
			continue;
		memcpy(w.name, slot->name, sizeof(w.name));
		stop = visit(context, &w);
		if (stop != 0)
			break;
	}
	desk_unlock(desk);
	return stop;
}

void save_content(const struct save *save, struct content *out)
{
	memcpy(out, &save->text->content,
	       offsetof(struct content, pieces) + save->text->content.count * sizeof(struct piece_ref));
}

static void save_tell(const struct save *save, struct desk_save *out)
{
	save_content(save, &out->content);
	out->mode = save->mode;
	out->time_ms = save->time_ms;
}

int desk_saves(struct desk *desk, const struct id *directory, const char *name, struct desk_save *out, size_t count_max)
{
	size_t count = 0;

	desk_lock(desk);
	const struct slot *slot = slot_find(desk, directory, name);
	for (size_t i = 0; slot && i < slot->queue_count; i++, count++)
		if (count < count_max)
			save_tell(&slot->queue[i], &out[count]);
	if (slot && slot->draft.text) {
		if (count < count_max)
			save_tell(&slot->draft, &out[count]);
		count++;
	}
	desk_unlock(desk);
	return (int)count;
}

void desk_wait_released(struct desk *desk, const struct id *directory, const char *name, uint64_t bound_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(bound_ms / 1000);
	until.tv_nsec += (long)(bound_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	desk_lock(desk);
	for (;;) {
		const struct slot *slot = slot_find(desk, directory, name);
		if (!slot || !slot->draft.text)
			break;
		if (pthread_cond_timedwait(&desk->idle, &desk->lock, &until) != 0)
			break;
	}
	desk_unlock(desk);
}

/* ---- open and close ---- */

static int open_spool_folder(struct desk *desk)
{
	int fd = store_directory_fd(desk->store);

	if (mkdirat(fd, "spool", 0700) < 0 && errno != EEXIST)
		return -errno;
	desk->spool_fd = openat(fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return desk->spool_fd < 0 ? -errno : 0;
}

int desk_open(struct desk **out, struct store *store, const struct desk_options *options)
{
	pthread_condattr_t attributes;
	struct store_txn *txn;

	struct desk *desk = calloc(1, sizeof(*desk));
	if (!desk)
		return -ENOMEM;
	desk->store = store;
	desk->options = *options;
	desk->clock = store_clock(store);
	desk->spool_fd = -1;
	pthread_mutex_init(&desk->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&desk->idle, &attributes);
	pthread_condattr_destroy(&attributes);

	int err = open_spool_folder(desk);
	if (err == 0)
		err = store_begin(store, false, &txn);
	if (err == 0) {
		err = person_self(txn, &desk->self);
		store_abort(txn);
	}
	if (err == 0) {
		desk_lock(desk);
		err = fact_load_all(desk);
		desk_unlock(desk);
	}
	if (err == 0 && options->hold_ms) {
		desk_hold(desk, clock_now_ms(desk->clock) + options->hold_ms);
	}
	if (err < 0) {
		desk_close(desk);
		return err;
	}
	*out = desk;
	return 0;
}

int desk_close(struct desk *desk)
{
	struct slot *slot, *next_slot;
	struct folder *folder, *next_folder;
	struct process_seen *seen, *next_seen;
	struct file *file, *next_file;
	int err = 0;

	if (!desk)
		return 0;
	desk_lock(desk);
	DL_FOREACH_SAFE(desk->files, file, next_file) {
		/* As the idle timer would have done: what was written is a save. */
		if (file->dirty && (file->written || file->flushed)) {
			int sealed = file_seal(file);
			err = err == 0 ? sealed : err;
		}
	}
	slots_part(desk);
	folders_keep(desk);
	DL_FOREACH_SAFE(desk->files, file, next_file) {
		DL_DELETE(desk->files, file);
		file_detach(file);
		spool_free(file->spool);
		body_unref(file->text);
		body_unref(file->base);
		body_unref(file->draft);
		free(file);
	}
	desk_unlock(desk);
	HASH_ITER(hh, desk->slots, slot, next_slot)
		slot_free(slot);
	HASH_ITER(hh, desk->folders, folder, next_folder) {
		HASH_DEL(desk->folders, folder);
		free(folder);
	}
	known_finish(desk);
	HASH_ITER(hh, desk->seen, seen, next_seen) {
		HASH_DEL(desk->seen, seen);
		free(seen);
	}
	for (size_t i = 0; i < PACKERS_KEPT; i++)
		packer_free(desk->packers[i]);
	if (desk->spool_fd >= 0)
		close(desk->spool_fd);
	pthread_cond_destroy(&desk->idle);
	pthread_mutex_destroy(&desk->lock);
	free(desk);
	return err;
}
