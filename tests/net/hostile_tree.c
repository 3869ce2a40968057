/* Folders made of entries that no program makes: by the thousand in one another, at one name, or nowhere. */
#include "hostile.h"

#define RECORDS 100 /* of ENTRIES_MAX entries each */
#define DOCUMENTS 1500
#define INTRODUCTION 60 /* records of a stranger */

enum place { IN_ONE_ANOTHER, AT_ONE_NAME, NOWHERE };

static void add_directories(struct hostile *h, struct shelf *shelf, enum place place, struct id *at, bool is_signed)
{
	const struct forgery no_signature = { .no_signature = true };
	struct record *record = record_new();

	if (!record)
		abort();
	record->field = FIELD_ENTRIES;
	for (record->entries.count = 0; record->entries.count < ENTRIES_MAX; record->entries.count++) {
		struct entry *entry = &record->entries.entries[record->entries.count];
		*entry = (struct entry){ .directory = *at, .name = { "d", 1 }, .what = WHAT_DIRECTORY };
		clock_random(&h->clock, &entry->id, sizeof(entry->id));
		if (place == IN_ONE_ANOTHER) {
			*at = entry->id;
		} else if (place == NOWHERE) { /* each has the one before in it */
			entry->directory = entry->id;
			entry->id = *at;
			*at = entry->directory;
		}
	}
	shelf_append(shelf, record, is_signed ? NULL : &no_signature);
	free(record);
}

static void serve_tree(struct hostile *h)
{
	struct session s;

	begin_clock(h);
	while (!is_over(h)) {
		if (session_open(&s, h, h->shelf, 3) < 0) {
			nap(50);
			continue;
		}
		session_stay(&s);
		session_close(&s);
	}
}

static void serve_directories(struct hostile *h, enum place place)
{
	struct id at = h->shelf->key.public;

	if (place == NOWHERE)
		clock_random(&h->clock, &at, sizeof(at));
	for (unsigned i = 0; i < RECORDS; i++)
		add_directories(h, h->shelf, place, &at, true);
	serve_tree(h);
}

void tree_deep(struct hostile *h)
{
	serve_directories(h, IN_ONE_ANOTHER);
}

void tree_same(struct hostile *h)
{
	serve_directories(h, AT_ONE_NAME);
}

void tree_nowhere(struct hostile *h)
{
	serve_directories(h, NOWHERE);
}

void tree_documents(struct hostile *h)
{
	for (unsigned i = 0; i < DOCUMENTS; i++) {
		h->shelf->names = 0; /* the same again */
		shelf_save(h->shelf, &i, sizeof(i), NULL, NULL);
	}
	serve_tree(h);
}

/* All that a stranger may have, in the answer to whatever is asked first. */
static void edit_all(struct session *s, const struct query *query, struct page *page, struct bytes *items)
{
	if (query->field != QUERY_RECORDS || !id_equal(&query->subject, &s->shelf->key.public))
		return;
	bytes_clear(items);
	page->item_count = 0;
	for (size_t i = 0; i < s->shelf->record_count; i++) {
		if (s->shelf->records[i].seq < query->from || s->shelf->records[i].seq > query->to)
			continue;
		packet_put_record_item(items, &s->shelf->records[i].item);
		page->item_count++;
	}
	page->count = page->item_count;
}

/* Strangers, one after the other, whose introductions are folders. */
void tree_strangers(struct hostile *h)
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		struct shelf *shelf = shelf_new(h->seed * 1000003 + i);
		struct id at = shelf->key.public;
		shelf->records[0].item.is_signed = false;
		for (unsigned j = 0; j < INTRODUCTION; j++)
			add_directories(h, shelf, i % 2 ? AT_ONE_NAME : IN_ONE_ANOTHER, &at, j + 1 == INTRODUCTION);
		if (session_open(&s, h, shelf, i % 200) == 0) {
			s.edit = edit_all;
			session_settle(&s, 100);
			session_close(&s);
		}
		shelf_free(shelf);
	}
}
