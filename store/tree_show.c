/*
 * tree_show.c - what shows at a name, for a view of a person's tree.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "document_rows.h"
#include "tree_rows.h"

#define CANDIDATES_STEP 8

struct candidate { /* a thing whose name in this directory would be the base */
	struct slot_item item;   /* the head's entry, or the directory's; relocated: as its placement */
	uint64_t number;         /* of the directory or document */
	uint32_t heads;
	bool relocated;
	struct placement at;     /* if relocated */
};

struct candidates { /* newest first */
	struct candidate *items;
	size_t count, capacity;
	uint64_t cookie; /* of the slot */
};

static void candidates_finish(struct candidates *c)
{
	free(c->items);
	*c = (struct candidates){ 0 };
}

static int candidates_add(struct candidates *c, const struct candidate *candidate)
{
	if (c->count == c->capacity) {
		size_t capacity = c->capacity + CANDIDATES_STEP;
		struct candidate *items = realloc(c->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		c->items = items;
		c->capacity = capacity;
	}
	size_t at = c->count++;
	while (at > 0 && slot_item_compare(&candidate->item, &c->items[at - 1].item) < 0) {
		c->items[at] = c->items[at - 1];
		at--;
	}
	c->items[at] = *candidate;
	return 0;
}

/* ---- views ---- */

int view_open(struct view *view, struct store_txn *txn, const struct id *person)
{
	*view = (struct view){ .txn = txn, .person_id = *person };
	int err = store_number(txn, NUMBER_ENTITY, person, &view->person);
	if (err < 0)
		return err;
	err = store_number(txn, NUMBER_DIRECTORY, person, &view->root);
	return err == -ENOENT ? 0 : err;
}

/* ---- what would have this name ---- */

/* Does the directory show by this entry: its newest standing, and nowhere else? */
static int shows_here(const struct view *view, uint64_t directory, const struct slot_item *item)
{
	struct placement at;

	int root = tree_is_root(view->txn, &view->person_id, directory);
	if (root != 0)
		return root < 0 ? root : 0;
	int err = view_relocation(view, directory, &at);
	if (err != -ENOENT)
		return err;
	err = view_newest(view, directory, true, &at);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return id_equal(&at.record_id, &item->record_id) && at.index == item->index;
}

static int add_directory(const struct view *view, const struct slot_item *item, struct candidates *out)
{
	struct candidate candidate = { .item = *item };

	int err = store_number(view->txn, NUMBER_DIRECTORY, &item->id, &candidate.number);
	if (err < 0)
		return err;
	int shows = shows_here(view, candidate.number, item);
	if (shows <= 0)
		return shows;
	return candidates_add(out, &candidate);
}

/* Two devices that made the same rename put one version twice. */
static bool is_repeated(const struct slot *slot, size_t index)
{
	for (size_t back = 1; back <= index; back++)
		if (slot->items[index - back].what == WHAT_VERSION &&
		    id_equal(&slot->items[index - back].id, &slot->items[index].id))
			return true;
	return false;
}

static int collect_slot(const struct view *view, const struct slot *slot, struct candidates *out)
{
	struct candidate document = { 0 };
	int err = 0;

	out->cookie = slot->cookie;
	for (size_t i = 0; i < slot_looked(slot) && err == 0; i++) {
		const struct slot_item *item = &slot->items[i];
		if (item->what == WHAT_DIRECTORY) {
			err = add_directory(view, item, out);
		} else if (item->what == WHAT_VERSION && item->document && !is_repeated(slot, i)) {
			if (document.heads++ == 0) {
				document.item = *item;
				document.number = item->document;
			}
		}
	}
	return err == 0 && document.heads ? candidates_add(out, &document) : err;
}

struct relocated {
	const struct view *view;
	struct candidates found; /* the newest */
};

static int collect_relocated(void *context, uint64_t directory, const struct placement *at)
{
	struct relocated *r = context;
	struct candidate candidate = { .number = directory, .relocated = true, .at = *at };

	candidate.item = (struct slot_item){ .what = WHAT_DIRECTORY, .record = at->record, .index = at->index,
					     .time_ms = at->time_ms, .record_id = at->record_id };
	int err = store_number_id(r->view->txn, NUMBER_DIRECTORY, directory, &candidate.item.id);
	if (err == 0)
		err = candidates_add(&r->found, &candidate);
	if (r->found.count > SLOT_LOOKED_MAX)
		r->found.count--;
	return err;
}

/* Everything in a directory whose name would be this. Zero `out` first. */
static int collect(const struct view *view, uint64_t directory, const char *name, size_t size,
		   struct candidates *out)
{
	struct slot_name slot_name = { view->person, directory, name, size };
	struct relocated relocated = { .view = view };
	struct slot slot = { 0 };

	if (size == 0 || size > NAME_SIZE_MAX)
		return 0;
	int err = view_slot(view, &slot_name, &slot);
	if (err == 0)
		err = collect_slot(view, &slot, out);
	slot_finish(&slot);
	if (err < 0 && err != -ENOENT)
		return err;
	err = view_each_relocated_as(view, directory, name, size, collect_relocated, &relocated);
	for (size_t i = 0; err == 0 && i < relocated.found.count; i++)
		err = candidates_add(out, &relocated.found.items[i]);
	candidates_finish(&relocated.found);
	return err;
}

/* ---- names ---- */

static int candidate_id(const struct view *view, const struct candidate *candidate, struct id *out)
{
	if (candidate->item.what == WHAT_DIRECTORY) {
		*out = candidate->item.id;
		return 0;
	}
	return store_number_id(view->txn, NUMBER_DOCUMENT, candidate->number, out);
}

/* Does something show plainly under this name? */
static int is_taken(const struct view *view, uint64_t directory, const char *name)
{
	struct candidates c = { 0 };

	int err = collect(view, directory, name, strlen(name), &c);
	size_t count = c.count;
	candidates_finish(&c);
	return err < 0 ? err : count > 0;
}

static int shares_short_id(const struct view *view, const struct candidates *c, size_t index, const char *text)
{
	char other[ID_SHORT_SIZE + 1];
	struct id id;

	for (size_t i = 1; i < c->count; i++) {
		if (i == index)
			continue;
		int err = candidate_id(view, &c->items[i], &id);
		if (err < 0)
			return err;
		id_format_short(other, &id);
		if (strcmp(other, text) == 0)
			return 1;
	}
	return 0;
}

/* The name that the candidate shows under: the newest plainly, others with an id after it. */
static int name_candidate(const struct view *view, uint64_t directory, const char *base,
			  const struct candidates *c, size_t index, char out[SHOWN_NAME_MAX + 1])
{
	char text[ID_TEXT_SIZE + 1];
	struct id id;
	size_t size = strlen(base);

	memcpy(out, base, size + 1);
	if (index == 0)
		return 0;
	int err = candidate_id(view, &c->items[index], &id);
	if (err < 0)
		return err;
	id_format_short(text, &id);
	int taken = shares_short_id(view, c, index, text);
	out[size] = '.';
	memcpy(out + size + 1, text, ID_SHORT_SIZE + 1);
	if (taken == 0)
		taken = is_taken(view, directory, out);
	if (taken <= 0)
		return taken;
	id_format(text, &id);
	memcpy(out + size + 1, text, ID_TEXT_SIZE + 1);
	return 0;
}

/* ---- items ---- */

static int fill_slot(const struct view *view, uint64_t directory, const char *base,
		     const struct candidate *candidate, struct tree_item *out)
{
	snprintf(out->slot_name, sizeof(out->slot_name), "%s", base);
	if (!candidate->relocated || candidate->at.unnamed)
		return store_number_id(view->txn, NUMBER_DIRECTORY, directory, &out->directory);
	struct placement at;
	int err = view_newest(view, candidate->number, true, &at);
	if (err == -ENOENT)
		at = candidate->at; /* shown where it was last */
	else if (err < 0)
		return err;
	return store_number_id(view->txn, NUMBER_DIRECTORY, at.parent, &out->directory);
}

static int fill_item(const struct view *view, uint64_t directory, const char *base, const struct candidates *c,
		     size_t index, struct tree_item *out)
{
	const struct candidate *candidate = &c->items[index];
	const struct slot_item *entry = &candidate->item;
	uint64_t number, document;

	*out = (struct tree_item){ .what = entry->what, .id = entry->id, .time_ms = entry->time_ms,
				   .heads = candidate->heads };
	out->cookie = candidate->relocated ? COOKIE_RELOCATED | candidate->number
					   : c->cookie << COOKIE_SHIFT;
	int err = fill_slot(view, directory, base, candidate, out);
	if (err == 0)
		err = name_candidate(view, directory, base, c, index, out->name);
	if (err < 0 || entry->what != WHAT_VERSION || id_equal(&entry->id, &entry->record_id))
		return err;
	err = store_number(view->txn, NUMBER_RECORD, &entry->id, &number);
	return err < 0 ? err : document_of_record(view->txn, number, &document, &out->time_ms);
}

/* Shows those from the slot itself: the first at its cookie, more just after it. */
int show_slot(const struct showing *s, const char *name, size_t name_size)
{
	struct candidates c = { 0 };
	struct tree_item item;
	char base[NAME_SIZE_MAX + 1];
	uint64_t position = 0;

	if (name_size > NAME_SIZE_MAX)
		return -EBADMSG;
	memcpy(base, name, name_size);
	base[name_size] = '\0';
	int err = collect(s->view, s->directory, base, name_size, &c);
	for (size_t i = 0; i < c.count && err == 0; i++) {
		if (c.items[i].relocated)
			continue;
		uint64_t cookie = (c.cookie << COOKIE_SHIFT) + position;
		if (position < (1u << COOKIE_SHIFT) - 1)
			position++;
		if (!s->view->past && cookie <= s->after)
			continue;
		err = fill_item(s->view, s->directory, base, &c, i, &item);
		item.cookie = cookie;
		if (err == 0)
			err = s->visit(s->context, &item);
	}
	candidates_finish(&c);
	return err;
}

struct showing_relocated {
	const struct showing *showing;
	struct candidates c; /* of the last name: many may have had one */
	char name[NAME_SIZE_MAX + 1];
};

static int show_one_relocated(void *context, uint64_t directory, const struct placement *at)
{
	struct showing_relocated *r = context;
	const struct showing *s = r->showing;
	struct tree_item item;
	int err = 0;

	if (strcmp(r->name, at->name) != 0) {
		candidates_finish(&r->c);
		memcpy(r->name, at->name, sizeof(r->name));
		err = collect(s->view, s->directory, at->name, strlen(at->name), &r->c);
	}
	for (size_t i = 0; i < r->c.count && err == 0; i++) {
		if (!r->c.items[i].relocated || r->c.items[i].number != directory)
			continue;
		err = fill_item(s->view, s->directory, at->name, &r->c, i, &item);
		return err < 0 ? err : s->visit(s->context, &item);
	}
	return err;
}

int show_relocated(const struct showing *s)
{
	uint64_t from = s->after >= COOKIE_RELOCATED ? s->after - COOKIE_RELOCATED + 1 : 0;
	struct showing_relocated relocated = { .showing = s };

	int err = view_each_relocated(s->view, s->directory, from, show_one_relocated, &relocated);
	candidates_finish(&relocated.c);
	return err;
}

/* ---- look-ups ---- */

/* `name.<short or whole id>`: the length of what is before the last dot; 0: it is not so. */
static size_t base_of(const char *name)
{
	const char *dot = strrchr(name, '.');
	size_t rest = dot ? strlen(dot + 1) : 0;

	if (!dot || dot == name || (rest != ID_SHORT_SIZE && rest != ID_TEXT_SIZE))
		return 0;
	return strspn(dot + 1, "abcdefghijklmnopqrstuvwxyz234567") == rest ? (size_t)(dot - name) : 0;
}

static int lookup_clash(const struct view *view, uint64_t directory, const char *name, struct tree_item *out)
{
	struct candidates c = { 0 };
	char base[NAME_SIZE_MAX + 1], shown[SHOWN_NAME_MAX + 1];
	size_t size = base_of(name);

	if (size == 0 || size > NAME_SIZE_MAX)
		return -ENOENT;
	memcpy(base, name, size);
	base[size] = '\0';
	int err = collect(view, directory, base, size, &c);
	bool found = false;
	for (size_t i = 1; i < c.count && err == 0 && !found; i++) {
		err = name_candidate(view, directory, base, &c, i, shown);
		if (err == 0 && strcmp(shown, name) == 0) {
			err = fill_item(view, directory, base, &c, i, out);
			found = true;
		}
	}
	candidates_finish(&c);
	return err == 0 && !found ? -ENOENT : err;
}

int show_lookup(const struct view *view, const struct id *directory, const char *name, struct tree_item *out)
{
	struct candidates c = { 0 };
	struct tree_item item;
	uint64_t number;

	int err = store_number(view->txn, NUMBER_DIRECTORY, directory, &number);
	if (err == 0)
		err = collect(view, number, name, strlen(name), &c);
	if (err == 0)
		err = c.count ? fill_item(view, number, name, &c, 0, &item) : lookup_clash(view, number, name, &item);
	candidates_finish(&c);
	if (err == 0)
		*out = item;
	return err;
}

int tree_lookup(struct store_txn *txn, const struct id *person, const struct id *directory,
		const char *name, struct tree_item *out)
{
	struct view view;

	int err = view_open(&view, txn, person);
	return err < 0 ? err : show_lookup(&view, directory, name, out);
}

/* ---- listings ---- */

static int each_slot(const struct showing *s)
{
	uint64_t first = s->after >> COOKIE_SHIFT;
	struct row key = row_of3(s->view->person, s->directory, first ? first : 1);
	struct index_range range;

	if (s->after >= COOKIE_RELOCATED)
		return 0;
	int err = row_range_at(s->view->txn, TABLE_ORDER, 16, &key, false, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0)
		err = show_slot(s, (const char *)range.value, range.value_size);
	index_range_close(&range);
	return err;
}

int tree_each(struct store_txn *txn, const struct id *person, const struct id *directory,
	      uint64_t after, int (*visit)(void *context, const struct tree_item *item), void *context)
{
	struct view view;
	struct showing s = { .view = &view, .directory_id = *directory, .after = after,
			     .visit = visit, .context = context };

	int err = view_open(&view, txn, person);
	if (err == 0)
		err = store_number(txn, NUMBER_DIRECTORY, directory, &s.directory);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = each_slot(&s);
	return err == 0 ? show_relocated(&s) : err;
}

int tree_directory_path(struct store_txn *txn, const struct id *person, const struct id *directory,
			struct id *out_parent, char out_name[SHOWN_NAME_MAX + 1])
{
	struct candidates c = { 0 };
	struct placement at;
	struct view view;
	uint64_t number;

	int err = view_open(&view, txn, person);
	if (err == 0)
		err = store_number(txn, NUMBER_DIRECTORY, directory, &number);
	if (err < 0)
		return err;
	err = view_relocation(&view, number, &at);
	if (err == -ENOENT)
		err = view_newest(&view, number, true, &at);
	if (err == 0)
		err = collect(&view, at.parent, at.name, strlen(at.name), &c);
	size_t index = 0;
	while (err == 0 && index < c.count &&
	       !(c.items[index].item.what == WHAT_DIRECTORY && c.items[index].number == number))
		index++;
	if (err == 0 && index == c.count)
		err = -ENOENT;
	if (err == 0)
		err = store_number_id(txn, NUMBER_DIRECTORY, at.parent, out_parent);
	if (err == 0)
		err = name_candidate(&view, at.parent, at.name, &c, index, out_name);
	candidates_finish(&c);
	return err;
}

/* ---- what stands ---- */

/* The slot as it is now. -ENOENT: nothing was ever there, or nobody mentioned its names. */
static int find_slot(struct store_txn *txn, const struct id *person, const struct id *directory,
		     const char *name, struct slot_name *out_name, struct slot *out)
{
	out_name->name = name;
	out_name->size = strlen(name);
	if (out_name->size == 0 || out_name->size > NAME_SIZE_MAX)
		return -ENOENT;
	int err = store_number(txn, NUMBER_ENTITY, person, &out_name->person);
	if (err == 0)
		err = store_number(txn, NUMBER_DIRECTORY, directory, &out_name->directory);
	return err < 0 ? err : slot_load(txn, out_name, out);
}

int tree_standing(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, struct standing *out, size_t count_max)
{
	struct slot_name slot_name;
	struct slot slot = { 0 };
	size_t count = 0;

	int err = find_slot(txn, person, directory, name, &slot_name, &slot);
	for (size_t i = 0; err == 0 && i < slot_looked(&slot); i++) {
		const struct slot_item *item = &slot.items[i];
		if (item->what == WHAT_VERSION && !item->document)
			continue;
		if (count < count_max)
			out[count] = (struct standing){ .record = item->record, .record_id = item->record_id,
							.index = item->index, .what = item->what, .id = item->id,
							.time_ms = item->time_ms };
		count++;
	}
	slot_finish(&slot);
	return err < 0 && err != -ENOENT ? err : (int)count;
}

static int read_document(struct store_txn *txn, const struct index_range *range, size_t prefix_size,
			 const struct slot *slot, struct tree_document *out)
{
	struct wire key, value;

	wire_init(&key, range->key + prefix_size, range->key_size - prefix_size);
	wire_init(&value, range->value, range->value_size);
	uint64_t document = wire_u64_be(&key);
	out->last_ms = wire_u64(&value);
	out->placed_ms = wire_u64(&value);
	if (wire_finish(&key) < 0 || wire_finish(&value) < 0)
		return -EBADMSG;
	out->stands = slot_has_document(slot, document);
	return store_number_id(txn, NUMBER_DOCUMENT, document, &out->document);
}

int tree_documents(struct store_txn *txn, const struct id *person, const struct id *directory,
		   const char *name, struct tree_document *out, size_t count_max)
{
	struct slot_name slot_name = { 0 };
	struct tree_document document;
	struct slot slot = { 0 };
	struct index_range range;
	size_t count = 0;

	int err = find_slot(txn, person, directory, name, &slot_name, &slot);
	/* A slot where only entries that do not count were made has no row of its own. */
	if (err < 0 && (err != -ENOENT || !slot_name.directory))
		return err == -ENOENT ? 0 : err;
	struct row prefix = slot_key(&slot_name);
	err = row_range(txn, TABLE_PATH, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = read_document(txn, &range, prefix.size, &slot, &document);
		if (err == 0 && count < count_max)
			out[count] = document;
		count++;
	}
	index_range_close(&range);
	slot_finish(&slot);
	return err < 0 ? err : (int)count;
}

int tree_is_made_at(struct store_txn *txn, const struct id *person, const struct id *directory, const char *name,
		    uint64_t record, uint64_t time_ms)
{
	struct slot_name slot_name = { .name = name, .size = strlen(name) };
	struct entry_row entry;

	int err = store_number(txn, NUMBER_ENTITY, person, &slot_name.person);
	if (err == 0)
		err = store_number(txn, NUMBER_DIRECTORY, directory, &slot_name.directory);
	if (err == 0)
		err = entry_get(txn, &slot_name, time_ms, record, 0, &entry);
	return err == -ENOENT ? 0 : err < 0 ? err : 1;
}

int tree_placements(struct store_txn *txn, const struct id *person, const struct id *directory,
		    struct tree_placement *out, size_t count_max)
{
	struct placement at;
	struct index_range range;
	uint64_t owner, number;
	size_t count = 0;

	int err = store_number(txn, NUMBER_ENTITY, person, &owner);
	if (err == 0)
		err = store_number(txn, NUMBER_DIRECTORY, directory, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	struct row key = row_of2(number, owner);
	row_u8(&key, true);
	size_t prefix_size = key.size;
	row_u64_be(&key, UINT64_MAX);
	err = row_range_at(txn, TABLE_PLACED, prefix_size, &key, true, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = placed_read(&range, &at, NULL);
		if (err == 0 && count < count_max) {
			struct tree_placement *placement = &out[count];
			*placement = (struct tree_placement){ .record_id = at.record_id, .index = at.index,
							      .time_ms = at.time_ms };
			memcpy(placement->name, at.name, sizeof(placement->name));
			err = store_number_id(txn, NUMBER_DIRECTORY, at.parent, &placement->directory);
		}
		count++;
	}
	index_range_close(&range);
	return err < 0 ? err : (int)count;
}

/* ---- new directories ---- */

/* Does an entry that stands name it, of whatever person? 1, 0 or an error. */
static int is_in_use(struct store_txn *txn, const struct id *id)
{
	struct index_range range;
	uint64_t number;
	int found = 0;

	int err = store_number(txn, NUMBER_DIRECTORY, id, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	struct row prefix = row_of(number);
	err = row_range(txn, TABLE_PLACED, &prefix, &range);
	while (err == 0 && found == 0 && (err = index_range_next(&range)) > 0) {
		err = 0;
		found = range.key_size > PLACED_STANDING_AT && range.key[PLACED_STANDING_AT];
		if (!found && range.key_size <= PLACED_STANDING_AT)
			err = -EBADMSG;
	}
	index_range_close(&range);
	return err < 0 ? err : found;
}

int tree_new_directory_id(struct store_txn *txn, const struct id *parent, const char *name, struct id *out)
{
	static const char label[] = "mootfs directory 1";

	for (uint32_t n = 0;; n++) {
		const uint8_t little[4] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24) };
		const struct span spans[] = { { label, sizeof(label) }, { parent->bytes, ID_SIZE },
					      { name, strlen(name) }, { little, sizeof(little) } };
		struct id id;

		id_of_spans(&id, spans, sizeof(spans) / sizeof(spans[0]));
		int err = is_in_use(txn, &id);
		if (err == 0) {
			*out = id;
			return 0;
		}
		if (err < 0 || n == UINT32_MAX)
			return err < 0 ? err : -ENOSPC;
	}
}
