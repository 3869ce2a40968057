/* desk_seal.c - from bytes under edit to drafts (flush), saves (seal) and signed records (publish). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk_private.h"

/* ---- flush ---- */

static struct packer *take_packer(struct desk *desk)
{
	for (size_t i = 0; i < PACKERS_KEPT; i++)
		if (desk->packers[i]) {
			struct packer *packer = desk->packers[i];
			desk->packers[i] = NULL;
			return packer;
		}
	return packer_new();
}

static void give_packer(struct desk *desk, struct packer *packer)
{
	for (size_t i = 0; i < PACKERS_KEPT; i++)
		if (!desk->packers[i]) {
			desk->packers[i] = packer;
			return;
		}
	packer_free(packer);
}

static ssize_t spool_source(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	return spool_read(context, out, size, offset);
}

int body_write(struct desk *desk, struct store_batch *batch, content_source source, void *context, uint64_t size,
	       struct body **out)
{
	struct content *content = malloc(sizeof(*content));
	struct packer *packer = take_packer(desk);
	struct piece_store pieces = store_batch_pieces(batch);

	int err = content && packer ? 0 : -ENOMEM;
	if (err == 0) {
		desk_unlock(desk);
		err = content_write(packer, &pieces, source, context, size, content);
		desk_lock(desk);
	}
	if (err == 0) {
		*out = body_new(content);
		err = *out ? 0 : -ENOMEM;
	}
	if (packer)
		give_packer(desk, packer);
	free(content);
	return err;
}

static int compress(struct file *file, struct store_batch *batch, struct body **out)
{
	file->busy = true;
	int err = body_write(file->desk, batch, spool_source, file->spool, spool_size(file->spool), out);
	file->busy = false;
	pthread_cond_broadcast(&file->desk->idle);
	return err;
}

static void draft_parent(struct file *file, struct id *out)
{
	*out = file->version;
	if (file->whole)
		seen_get(file->desk, file->saver.process, file->slot, out);
}

/* The draft of another file at the slot, which a head set by hand has parted from its name: it is a save now. */
static int take_other_draft(struct slot *slot)
{
	struct save other = slot->draft;

	if (slot->draft_of && slot->draft_of->flushed)
		return file_seal(slot->draft_of);
	memset(&slot->draft, 0, sizeof(slot->draft));
	int err = slot_take_save(slot, &other);
	if (err < 0)
		slot->draft = other;
	else
		save_finish(&other);
	return err;
}

/* Journals the draft and its pieces; the slot shows them as such. */
static int keep_draft(struct file *file, struct store_batch *batch, struct body *body)
{
	struct slot *slot = file->slot;

	bool other = slot->draft.text && slot->draft_of != file;
	if (other || slot->saver.process != file->saver.process)
		slot_part(slot); /* if it cannot be signed, this descends from what waits */
	int err = other ? take_other_draft(slot) : 0;
	if (err < 0)
		return err;
	struct save draft = { .text = body_ref(body), .mode = file->mode,
			      .time_ms = clock_time_ms(file->desk->clock), .fork_of = file->fork_of };
	draft_parent(file, &draft.parent);
	struct save before = slot->draft;
	slot->draft = draft;
	err = fact_keep(batch, slot);
	if (err < 0) {
		slot->draft = before;
		save_finish(&draft);
		return err;
	}
	slot->draft_of = file;
	save_finish(&before);
	return 0;
}

static int flush_held(struct file *file)
{
	struct body *body = NULL;

	file_wait(file);
	if (!file->dirty || file->flushed || !file->slot)
		return 0;
	struct store_batch *batch = store_batch_new(file->desk->store);
	int err = batch ? 0 : -ENOMEM;
	if (err == 0 && file->spool)
		err = compress(file, batch, &body);
	else if (err == 0)
		body = body_ref(file->text);
	/* Without the lock it may have been unlinked, or flushed by another handle. */
	if (err == 0 && file->slot) {
		err = keep_draft(file, batch, body);
		/* More saves wait than one fact holds: their window ends here. */
		if (err == -EMSGSIZE && file->slot->queue_count > 0) {
			desk_end_hold(file->desk);
			err = slot_publish(file->slot);
			if (err == 0)
				err = keep_draft(file, batch, body);
		}
		if (err == 0) {
			body_unref(file->draft);
			file->draft = body_ref(body);
			file->flushed = true;
		}
	}
	body_unref(body);
	store_batch_free(batch);
	return err;
}

/* While the lock is dropped the last handle may go: the file must not go with it. */
int file_flush(struct file *file)
{
	file_hold(file);
	int err = flush_held(file);
	file_drop(file);
	return err;
}

/* ---- records ---- */

static int compare_replaced(const void *a, const void *b)
{
	const struct replaced *x = a, *y = b;
	int order = id_compare(&x->record, &y->record);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static void put_name(struct entry *entry, const struct id *directory, const char *name)
{
	entry->directory = *directory;
	entry->name.data = name;
	entry->name.size = strlen(name);
}

/* Adds what an entry replaces: what stands there and `wanted` says yes to. Tells the newest time of what it leaves. */
static int add_replaces(struct store_txn *txn, struct desk *desk, struct record *record, struct entry *entry,
			bool (*wanted)(const struct standing *s, const void *context), const void *context,
			uint64_t *out_beside_ms)
{
	struct standing standing[REPLACES_MAX / 4];

	/* The names here are the desk's own, and end in a NUL. */
	int count = tree_standing(txn, &desk->self, &entry->directory, entry->name.data, standing, REPLACES_MAX / 4);
	if (count < 0)
		return count;
	*out_beside_ms = 0;
	if (count > REPLACES_MAX / 4)
		count = REPLACES_MAX / 4;
	entry->replaces_first = record->replaces_count;
	for (int i = 0; i < count && record->replaces_count < REPLACES_MAX; i++) {
		desk->directories_changed += standing[i].what == WHAT_DIRECTORY;
		if (!wanted || wanted(&standing[i], context))
			record->replaces[record->replaces_count++] =
				(struct replaced){ standing[i].record_id, standing[i].index };
		else if (standing[i].time_ms > *out_beside_ms)
			*out_beside_ms = standing[i].time_ms;
	}
	entry->replaces_count = record->replaces_count - entry->replaces_first;
	qsort(record->replaces + entry->replaces_first, entry->replaces_count, sizeof(struct replaced),
	      compare_replaced);
	return 0;
}

static void add_seen(struct record *record, struct entry *entry, const struct replaced *seen, size_t count)
{
	entry->replaces_first = record->replaces_count;
	for (size_t i = 0; i < count && record->replaces_count < REPLACES_MAX; i++)
		record->replaces[record->replaces_count++] = seen[i];
	entry->replaces_count = record->replaces_count - entry->replaces_first;
	qsort(record->replaces + entry->replaces_first, entry->replaces_count, sizeof(struct replaced),
	      compare_replaced);
}

/* Directories may come or go by this entry itself, apart from what it replaces. 1, 0 or an error. */
static int changes_directories(struct store_txn *txn, struct desk *desk, const struct planned_entry *entry)
{
	if (entry->what == WHAT_VERSION)
		return 0;
	if (entry->what == WHAT_DIRECTORY || !entry->of_version)
		return 1;
	/* The last document of a directory that nothing names any more takes that with it. */
	if (id_equal(entry->directory, &desk->self))
		return 0;
	int count = tree_placements(txn, &desk->self, entry->directory, NULL, 0);
	return count < 0 ? count : count == 0;
}

int entries_append(struct store_txn *txn, struct desk *desk, const struct planned_entry *entries, size_t count)
{
	struct record *record = store_txn_record(txn, 0);
	struct id id;
	uint64_t number, beside_ms;
	int err = record ? 0 : -ENOMEM;

	if (err < 0)
		return err;
	record->field = FIELD_ENTRIES;
	record->entries.count = (uint32_t)count;
	record->replaces_count = 0;
	for (size_t i = 0; err == 0 && i < count; i++) {
		struct entry *entry = &record->entries.entries[i];
		put_name(entry, entries[i].directory, entries[i].name);
		entry->what = entries[i].what;
		entry->id = entries[i].id;
		int changes = changes_directories(txn, desk, &entries[i]);
		desk->directories_changed += changes > 0;
		if (changes < 0)
			err = changes;
		else if (entries[i].seen)
			add_seen(record, entry, entries[i].seen, entries[i].seen_count);
		else
			err = add_replaces(txn, desk, record, entry, NULL, NULL, &beside_ms);
	}
	return err < 0 ? err : log_append(txn, record, &id, &number);
}

struct parents {
	const struct id *ids;
	size_t count;
};

static bool is_superseded(const struct standing *s, const void *context)
{
	const struct parents *parents = context;

	if (s->what == WHAT_NOTHING)
		return true;
	for (size_t i = 0; s->what == WHAT_VERSION && i < parents->count; i++)
		if (id_equal(&s->id, &parents->ids[i]))
			return true;
	return false;
}

static int compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

int version_append(struct store_txn *txn, struct slot *slot, struct body *body, enum mode mode,
			  const struct id *document, const struct id *parents, size_t parent_count,
			  struct id *out_id)
{
	struct record *record = store_txn_record(txn, 0);
	const struct parents superseded = { parents, parent_count };
	uint64_t number, beside_ms;

	if (!record)
		return -ENOMEM;
	record->field = FIELD_VERSION;
	record->version.document = *document;
	record->version.parent_count = (uint32_t)parent_count;
	for (size_t i = 0; i < parent_count; i++)
		record->version.parents[i] = parents[i];
	qsort(record->version.parents, parent_count, sizeof(struct id), compare_ids);
	record->version.mode = mode;
	memcpy(&record->version.content, &body->content,
	       offsetof(struct content, pieces) + body->content.count * sizeof(struct piece_ref));
	put_name(&record->version.entry, &slot->folder->id, slot->name);
	record->version.entry.what = WHAT_VERSION;
	memset(&record->version.entry.id, 0, sizeof(struct id));
	record->replaces_count = 0;
	int err = add_replaces(txn, slot->desk, record, &record->version.entry, is_superseded, &superseded, &beside_ms);
	if (err == 0)
		err = tree_set_cookie(txn, &slot->desk->self, &slot->folder->id, slot->name, slot->cookie);
	/* Beside another head the newest save is the one that shows. */
	if (err == 0)
		err = log_append_after(txn, record, beside_ms ? beside_ms + 1 : 0, out_id, &number);
	if (err == 0)
		known_add(slot->desk, &(struct known){ .id = *out_id, .document = id_is_zero(document) ? *out_id : *document,
						       .mode = mode, .time_ms = record->time_ms,
						       .text = body });
	return err;
}

/* ---- publishing ---- */

static int document_of(struct store_txn *txn, struct desk *desk, const struct id *version, struct id *out)
{
	struct known known;

	int err = known_get(desk, txn, version, &known);
	if (err < 0)
		return err;
	*out = known.document;
	body_unref(known.text);
	return 0;
}

static int sign_fork(struct store_txn *txn, struct slot *slot, const struct save *save, struct signed_head *head)
{
	const struct planned_entry entry = { .directory = &slot->folder->id, .name = slot->name,
					     .what = WHAT_VERSION, .id = save->fork_of };

	int err = tree_set_cookie(txn, &slot->desk->self, &slot->folder->id, slot->name, slot->cookie);
	if (err == 0)
		err = entries_append(txn, slot->desk, &entry, 1);
	if (err == 0)
		err = document_of(txn, slot->desk, &save->fork_of, &head->document);
	head->head = save->fork_of;
	return err;
}

/* Are its bytes those of a version? After a torn append a save may be the head already. */
static bool is_version(struct store_txn *txn, struct desk *desk, const struct save *save, const struct id *version)
{
	struct known known;

	if (id_is_zero(version) || known_get(desk, txn, version, &known) < 0)
		return false;
	const struct content *content = &known.text->content;
	bool same = known.mode == save->mode && content->size == save->text->content.size &&
		    id_equal(&content->digest, &save->text->content.digest);
	body_unref(known.text);
	return same;
}

/* Signs one save on top of head. */
static int sign_save(struct store_txn *txn, struct slot *slot, const struct save *save, struct signed_head *head)
{
	struct id parent = id_is_zero(&save->parent) ? head->head : save->parent;
	struct id document = head->document, next;

	if (id_is_zero(&head->head) && !id_is_zero(&save->fork_of)) {
		if (is_version(txn, slot->desk, save, &save->fork_of))
			return sign_fork(txn, slot, save, head);
		parent = save->fork_of; /* of another mode, it descends from there */
	}
	if (is_version(txn, slot->desk, save, &head->head))
		return 0;
	/* The very bytes that the saver saw, put back over another's: a version of the other. */
	if (!id_is_zero(&head->head) && !id_equal(&parent, &head->head) && is_version(txn, slot->desk, save, &parent))
		parent = head->head;
	bool has_parent = !id_is_zero(&parent);
	if (has_parent && document_of(txn, slot->desk, &parent, &document) < 0)
		document = head->document;
	int err = version_append(txn, slot, save->text, save->mode, &document, &parent, has_parent ? 1 : 0, &next);
	if (err < 0)
		return err;
	head->head = next;
	head->document = id_is_zero(&document) ? next : document;
	return 0;
}

static int sign_queue(struct store_txn *txn, struct slot *slot, struct signed_head *head)
{
	int err = 0;

	head->head = slot->head;
	head->document = slot->document;
	for (head->saves = 0; err == 0 && head->saves < slot->queue_count && head->saves < PUBLISH_SAVES_MAX;)
		err = sign_save(txn, slot, &slot->queue[head->saves++], head);
	if (err == 0)
		err = attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes, &head->head);
	return err;
}

static int sign_slot(struct store_txn *txn, struct slot *slot, struct signed_head *head)
{
	struct planned_entry entry = { .directory = &slot->folder->id, .name = slot->name };
	int err = 0;

	if (!slot->shown) {
		entry.what = WHAT_NOTHING;
		entry.seen = slot->seen;
		entry.seen_count = slot->seen_count;
		entry.of_version = slot->what == WHAT_VERSION;
		if (slot->published && slot->seen_count > 0)
			err = entries_append(txn, slot->desk, &entry, 1);
		if (err == 0)
			err = attributes_forget(txn, &slot->folder->id, slot->name);
	} else if (slot->what == WHAT_DIRECTORY) {
		entry.what = WHAT_DIRECTORY;
		entry.id = slot->directory_id;
		err = tree_set_cookie(txn, &slot->desk->self, &slot->folder->id, slot->name, slot->cookie);
		if (err == 0 && !slot->published)
			err = entries_append(txn, slot->desk, &entry, 1);
		if (err == 0)
			err = attributes_put(txn, &slot->directory_id, "", &slot->attributes, NULL);
	} else if (slot->queue_count > 0) {
		err = sign_queue(txn, slot, head);
	}
	return err;
}

/* What the slot is once its records are kept. */
static void slot_signed(struct slot *slot, const struct signed_head *head)
{
	slot_clear_seen(slot);
	if (!slot->shown)
		slot_clear(slot);
	else if (slot->what == WHAT_DIRECTORY || head->saves > 0)
		slot->published = true; /* what is only open has nothing signed yet */
	if (slot->shown && slot->what == WHAT_VERSION && head->saves > 0) {
		slot->head = head->head;
		slot->document = head->document;
		for (size_t i = 0; i < head->saves; i++)
			save_finish(&slot->queue[i]);
		slot->queue_count -= head->saves;
		memmove(slot->queue, slot->queue + head->saves, slot->queue_count * sizeof(*slot->queue));
		if (slot->queue_count == 0)
			slot_clear_queue(slot);
		if (slot->file && slot->queue_count == 0)
			slot->file->version = slot->head;
		slot_parted(slot);
	}
	slot_wait(slot, slot->queue_count > 0 ? clock_now_ms(slot->desk->clock) : 0);
}

/* The fact of a slot of which some saves are signed now: what is left. */
static int fact_put_rest(struct store_txn *txn, struct slot *slot, size_t saves)
{
	struct save *queue = slot->queue;
	size_t count = slot->queue_count;
	bool published = slot->published;

	slot->queue = queue ? queue + saves : NULL;
	slot->queue_count -= saves;
	slot->published = published || saves > 0;
	int err = fact_put(txn, slot);
	slot->queue = queue;
	slot->queue_count = count;
	slot->published = published;
	return err;
}

static int slots_sign(struct desk *desk, struct slot **slots, size_t count, struct signed_head *heads)
{
	struct store_txn *txn;

	int err = store_begin(desk->store, true, &txn);
	if (err < 0)
		return err;
	for (size_t i = 0; err == 0 && i < count; i++) {
		err = sign_slot(txn, slots[i], &heads[i]);
		/* A queue too long for one transaction, or a draft still open, goes on waiting. */
		bool rest = slots[i]->draft.text || (slots[i]->shown && heads[i].saves < slots[i]->queue_count);
		if (err == 0)
			err = rest ? fact_put_rest(txn, slots[i], heads[i].saves) : fact_forget(txn, slots[i]);
	}
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

/* Signs one slot in a transaction of its own, but not what it needs. */
static int publish_alone(struct slot *slot)
{
	struct signed_head head = { 0 };
	bool fact = slot->fact;

	int err = slots_sign(slot->desk, &slot, 1, &head);
	if (err < 0) {
		slot->fact = fact;
		return err;
	}
	slot_signed(slot, &head);
	slot_settle(slot); /* callers hold what they still need */
	return 0;
}

static struct slot *waiting_in(struct desk *desk, const struct id *directory)
{
	struct folder *folder;
	struct slot *slot = NULL;

	HASH_FIND(hh, desk->folders, directory, sizeof(*directory), folder);
	if (folder)
		DL_FOREACH(folder->slots, slot)
			if (slot->waiting)
				break;
	return slot;
}

int folder_publish_removals(struct desk *desk, const struct id *directory)
{
	for (;;) {
		const struct id *inside = directory;
		struct slot *leaf = NULL, *slot;
		while ((slot = waiting_in(desk, inside))) {
			leaf = slot;
			if (slot->what != WHAT_DIRECTORY)
				break;
			inside = &slot->directory_id;
		}
		int err = leaf ? publish_alone(leaf) : 0;
		if (err < 0 || !leaf)
			return err;
	}
}

int slots_publish(struct desk *desk, struct slot **slots, size_t count)
{
	struct signed_head *heads = calloc(count, sizeof(*heads));
	bool *facts = calloc(count, sizeof(*facts));
	int err = heads && facts ? 0 : -ENOMEM;

	for (size_t i = 0; i < count; i++)
		slot_hold(slots[i]);
	for (size_t i = 0; err == 0 && i < count; i++)
		if (slots[i]->shown)
			err = folder_publish(desk, &slots[i]->folder->id);
		else if (slots[i]->what == WHAT_DIRECTORY)
			err = folder_publish_removals(desk, &slots[i]->directory_id);
	if (err == 0) {
		for (size_t i = 0; i < count; i++)
			facts[i] = slots[i]->fact;
		err = slots_sign(desk, slots, count, heads);
		for (size_t i = 0; i < count; i++) {
			if (err == 0)
				slot_signed(slots[i], &heads[i]);
			else
				slots[i]->fact = facts[i];
		}
	}
	for (size_t i = 0; i < count; i++)
		slot_drop(slots[i]);
	free(heads);
	free(facts);
	return err;
}

int slot_publish(struct slot *slot)
{
	return slots_publish(slot->desk, &slot, 1);
}

/* The slot of a directory of ours that is not signed yet. */
static struct slot *unpublished_folder(struct desk *desk, const struct id *directory)
{
	struct slot *slot = directory_waiting(desk, directory);

	return slot && slot->shown && !slot->published ? slot : NULL;
}

int folder_publish(struct desk *desk, const struct id *directory)
{
	for (;;) {
		/* The topmost first, each alone, so that no record speaks of a directory before it is there. */
		struct slot *top = NULL, *slot = unpublished_folder(desk, directory);
		while (slot) {
			top = slot;
			slot = unpublished_folder(desk, &slot->folder->id);
		}
		if (!top)
			return 0;
		int err = publish_alone(top);
		if (err < 0)
			return err;
	}
}

/* ---- seal ---- */

/* Signs a save of a published chain at once. */
static int sign_now(struct store_txn *txn, struct slot *slot, const struct save *save, struct signed_head *head)
{
	head->head = slot->head;
	head->document = slot->document;
	slot_wait(slot, 0);
	int err = sign_save(txn, slot, save, head);
	if (err == 0)
		err = attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes, &head->head);
	return err == 0 ? fact_put(txn, slot) : err;
}

/* Queues a save of a new name until its window ends; txn NULL: without one. */
static int queue_up(struct store_txn *txn, struct slot *slot, const struct save *save)
{
	int err = slot_push_save(slot, save);

	if (err < 0)
		return err;
	if (!slot->waiting)
		slot_wait(slot, clock_now_ms(slot->desk->clock) + slot->desk->options.window_ms);
	if (!txn)
		return facts_keep_later(NULL, slot);
	err = fact_put(txn, slot);
	return err == 0 ? attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes, NULL) : err;
}

bool slot_is_chain(const struct slot *slot)
{
	return !desk_is_held(slot->desk) && slot->published && slot->queue_count == 0 && slot->what == WHAT_VERSION;
}

int slot_take_begin(struct store_txn *txn, struct slot *slot, const struct save *save, bool chain, struct taking *t)
{
	*t = (struct taking){ .queue_count = slot->queue_count, .seen = slot->seen, .seen_count = slot->seen_count,
			      .what = slot->what, .shown = slot->shown, .fact = slot->fact, .due_ms = slot->due_ms };
	t->chain = chain;
	slot->shown = true;
	slot->seen = NULL;
	slot->seen_count = 0;
	slot->what = WHAT_VERSION;
	return t->chain ? sign_now(txn, slot, save, &t->head) : queue_up(txn, slot, save);
}

void slot_take_end(struct slot *slot, const struct save *save, const struct taking *t, int err)
{
	if (err < 0) {
		if (slot->queue_count > t->queue_count)
			save_finish(&slot->queue[--slot->queue_count]);
		slot->shown = t->shown;
		slot->seen = t->seen;
		slot->seen_count = t->seen_count;
		slot->what = t->what;
		slot->fact = t->fact;
		slot_wait(slot, t->due_ms);
		return;
	}
	free(t->seen);
	if (t->chain) {
		slot->head = t->head.head;
		slot->document = t->head.document;
	}
	slot->mode = save->mode;
	slot_set_text(slot, save->text);
}

static int take_save(struct slot *slot, const struct save *save)
{
	struct store_txn *txn = NULL;
	struct taking taking;

	/* Asked once: a hold may end at any moment. */
	bool chain = slot_is_chain(slot);
	int err = chain ? store_begin(slot->desk->store, true, &txn) : 0;
	if (err < 0)
		return err;
	err = slot_take_begin(txn, slot, save, chain, &taking);
	if (err == 0 && txn)
		err = store_commit(txn);
	else
		store_abort(txn);
	slot_take_end(slot, save, &taking, err);
	return err;
}

int slot_take_save(struct slot *slot, const struct save *save)
{
	int err = take_save(slot, save);

	/* A name saved so often is no temporary one; and each save writes down all that wait. */
	if (err == 0 && slot->queue_count >= QUEUE_LONG) {
		desk_end_hold(slot->desk);
		slot_publish(slot); /* what cannot be signed now goes on waiting */
	}
	/* More saves wait than one fact holds: their window ends here. */
	if (err == -EMSGSIZE && slot->shown && slot->queue_count > 0) {
		desk_end_hold(slot->desk);
		err = slot_publish(slot);
		if (err == 0)
			err = take_save(slot, save);
	}
	return err;
}

static bool is_unchanged(const struct file *file)
{
	return file->base && file->base_mode == file->mode && file->base->content.size == file->draft->content.size &&
	       id_equal(&file->base->content.digest, &file->draft->content.digest);
}

/* The draft goes without a version: bytes equal to the base make none. */
static int drop_draft(struct slot *slot)
{
	struct save draft = slot->draft;
	struct store_txn *txn;
	bool fact = slot->fact;

	memset(&slot->draft, 0, sizeof(slot->draft));
	int err = store_begin(slot->desk->store, true, &txn);
	if (err == 0) {
		err = fact_put(txn, slot);
		if (err == 0)
			err = attributes_put(txn, &slot->folder->id, slot->name, &slot->attributes,
					     slot->published ? &slot->head : NULL);
		if (err == 0)
			err = store_commit(txn);
		else
			store_abort(txn);
	}
	if (err < 0) {
		slot->draft = draft;
		slot->fact = fact;
		return err;
	}
	save_finish(&draft);
	return 0;
}

static void file_sealed(struct file *file)
{
	if (file->slot && file->slot->draft_of == file)
		file->slot->draft_of = NULL;
	body_unref(file->base);
	file->base = body_ref(file->draft);
	file->base_mode = file->mode;
	if (file->slot)
		file->version = slot_version(file->slot);
	file->dirty = file->written = file->flushed = file->whole = false;
	file->seals++;
	memset(&file->fork_of, 0, sizeof(file->fork_of));
	pthread_cond_broadcast(&file->desk->idle);
}

static int seal_held(struct file *file)
{
	struct desk *desk = file->desk;

	int err = flush_held(file);
	if (err < 0 || !file->dirty)
		return err;
	struct slot *slot = file->slot;
	if (!slot || !file->flushed) {
		file->dirty = file->dirty && slot; /* unlinked: what is written there goes with it */
		return 0;
	}
	if (is_unchanged(file)) {
		err = drop_draft(slot);
	} else {
		struct save save = slot->draft; /* this file's: a flush puts that of another away */
		bool fresh = !slot->published && slot->queue_count == 0;
		save.time_ms = clock_time_ms(desk->clock);
		if (!fresh || save.text->content.size == 0)
			memset(&save.fork_of, 0, sizeof(save.fork_of));
		else if (id_is_zero(&save.fork_of))
			seen_copy(desk, file->saver.process, &save.text->content.digest, &save.fork_of);
		memset(&slot->draft, 0, sizeof(slot->draft));
		bool joins = slot_may_join(slot, &file->saver);
		err = joins ? slot_join(slot, &save, &file->saver) : slot_take_save(slot, &save);
		if (err < 0) {
			slot->draft = save;
			return err;
		}
		if (!joins)
			seen_note_save(desk, &file->saver, slot);
		save_finish(&save);
		/* Another head came here since it was opened, and was shown. */
		if (slot->file != file)
			desk_tell(desk, slot);
	}
	if (err == 0)
		file_sealed(file);
	return err;
}

int file_seal(struct file *file)
{
	file_hold(file);
	int err = seal_held(file);
	file_drop(file);
	return err;
}
