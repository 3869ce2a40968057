/* depot_follow.c - who and which documents are followed, and who writes those. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "depot_private.h"
#include "document.h"
#include "person.h"

#define AUTHORS_MAX 1024

static int compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

bool depot_follows(void *context, const struct id *entity)
{
	struct depot_store *d = context;

	pthread_mutex_lock(&d->lock);
	bool found = bsearch(entity, d->followed, d->followed_count, sizeof(*entity), compare_ids) != NULL;
	pthread_mutex_unlock(&d->lock);
	return found;
}

/* What a list holds now, without the lock. */
static int each_id(struct depot_store *d, struct id *const *list, const size_t *list_count,
		   int (*visit)(void *visitor, const struct id *id), void *visitor)
{
	int stop = 0;

	pthread_mutex_lock(&d->lock);
	size_t count = *list_count;
	struct id *copy = malloc((count + 1) * sizeof(*copy));
	if (copy && count > 0)
		memcpy(copy, *list, count * sizeof(*copy));
	pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; copy && stop == 0 && i < count; i++)
		stop = visit(visitor, &copy[i]);
	free(copy);
	return copy ? stop : -ENOMEM;
}

int depot_each_followed(void *context, int (*visit)(void *visitor, const struct id *entity), void *visitor)
{
	struct depot_store *d = context;

	return each_id(d, &d->followed, &d->followed_count, visit, visitor);
}

int depot_each_document(void *context, int (*visit)(void *visitor, const struct id *document), void *visitor)
{
	struct depot_store *d = context;

	return each_id(d, &d->documents, &d->document_count, visit, visitor);
}

bool depot_follows_document(struct depot_store *d, const struct id *document)
{
	pthread_mutex_lock(&d->lock);
	bool found = d->document_count > 0 &&
		     bsearch(document, d->documents, d->document_count, sizeof(*document), compare_ids) != NULL;
	pthread_mutex_unlock(&d->lock);
	return found;
}

uint64_t depot_follow_count(void *context)
{
	struct depot_store *d = context;

	pthread_mutex_lock(&d->lock);
	uint64_t count = d->followed_count;
	pthread_mutex_unlock(&d->lock);
	return count;
}

struct ids {
	struct id *items;
	size_t count, capacity;
};

struct following {
	struct store_txn *txn;
	struct ids entities, documents;
};

static int follow_add(struct ids *ids, const struct id *id)
{
	if (ids->count == ids->capacity) {
		size_t capacity = ids->capacity ? 2 * ids->capacity : 64;
		struct id *items = realloc(ids->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		ids->items = items;
		ids->capacity = capacity;
	}
	ids->items[ids->count++] = *id;
	return 0;
}

/* What is not known yet may be either. */
static int follow_said(void *context, const struct id *subject, uint64_t value)
{
	struct following *f = context;
	uint64_t number;

	if (!value)
		return 0;
	bool is_document = store_number(f->txn, NUMBER_DOCUMENT, subject, &number) == 0;
	bool is_entity = store_number(f->txn, NUMBER_ENTITY, subject, &number) == 0;
	int err = is_document && !is_entity ? 0 : follow_add(&f->entities, subject);
	if (err == 0 && !is_entity)
		err = follow_add(&f->documents, subject);
	return err;
}

/* In order, each once; the list that was there before is freed. Under the lock. */
static void replace(struct id **list, size_t *list_count, struct ids *ids)
{
	size_t count = 0;

	if (ids->count > 0)
		qsort(ids->items, ids->count, sizeof(*ids->items), compare_ids);
	for (size_t i = 0; i < ids->count; i++)
		if (count == 0 || !id_equal(&ids->items[count - 1], &ids->items[i]))
			ids->items[count++] = ids->items[i];
	free(*list);
	*list = ids->items;
	*list_count = count;
}

int depot_refresh(struct depot_store *d)
{
	struct following f = { 0 };
	struct id self;

	int err = store_begin(d->store, false, &f.txn);
	if (err < 0)
		return err;
	err = person_self(f.txn, &self);
	if (err == 0)
		err = follow_add(&f.entities, &self);
	if (err == 0)
		err = person_said_by(f.txn, &self, FIELD_SUBSCRIBE, follow_said, &f);
	store_abort(f.txn);
	if (err < 0) {
		free(f.entities.items);
		free(f.documents.items);
		return err;
	}
	pthread_mutex_lock(&d->lock);
	replace(&d->followed, &d->followed_count, &f.entities);
	replace(&d->documents, &d->document_count, &f.documents);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

void depot_store_follows_changed(struct depot_store *d)
{
	depot_refresh(d); /* no memory: what was followed before */
}

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool has_id(const struct id *ids, size_t count, const struct id *id)
{
	for (size_t i = 0; i < count; i++)
		if (id_equal(&ids[i], id))
			return true;
	return false;
}

int depot_each_author(void *context, const struct id *document, int (*visit)(void *visitor, const struct id *entity),
		       void *visitor)
{
	struct depot_store *d = context;
	uint64_t *logs = calloc(AUTHORS_MAX, sizeof(*logs));
	struct id *persons = calloc(AUTHORS_MAX, sizeof(*persons));
	struct store_txn *txn = NULL;
	struct log_row log;
	int count = 0, stop = 0;
	size_t found = 0;

	int err = logs && persons ? store_begin(d->store, false, &txn) : -ENOMEM;
	if (err == 0)
		count = document_authors(txn, document, logs, AUTHORS_MAX);
	if (count < 0)
		err = count;
	/* Logs are numbered as they become known. */
	if (count > 0)
		qsort(logs, (size_t)count, sizeof(*logs), compare_numbers);
	for (int i = 0; err == 0 && i < count; i++) {
		err = log_get_number(txn, logs[i], &log);
		if (err == 0)
			err = store_number_id(txn, NUMBER_ENTITY, log.person, &persons[found]);
		if (err == 0 && !has_id(persons, found, &persons[found]))
			found++;
	}
	store_abort(txn);
	for (size_t i = 0; err == 0 && stop == 0 && i < found; i++)
		stop = visit(visitor, &persons[i]);
	free(logs);
	free(persons);
	return err < 0 ? err : stop;
}
