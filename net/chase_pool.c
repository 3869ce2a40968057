#include <errno.h>
#include <stdlib.h>

#include "chase_private.h"

int chase_pool_put(struct pool *pool, const struct record_item *record, const struct record *head, const struct id *id,
	     uint64_t session, bool pushed)
{
	struct item *item;

	if (chase_pool_find(pool, id))
		return 1;
	item = calloc(1, sizeof(*item) + record->size);
	if (!item)
		return -ENOMEM;
	item->id = *id;
	item->prev = head->prev;
	item->seq = head->seq;
	item->session = session;
	item->pushed = pushed;
	item->is_signed = record->is_signed;
	if (record->is_signed)
		item->signature = record->signature;
	item->size = record->size;
	memcpy(item->bytes, record->bytes, record->size);
	HASH_ADD(hh, pool->items, id, sizeof(item->id), item);
	if (!item->hh.tbl) {
		free(item);
		return -ENOMEM;
	}
	pool->bytes += item->size;
	pool->memory += sizeof(*item) + item->size;
	return 0;
}

struct item *chase_pool_find(const struct pool *pool, const struct id *id)
{
	struct item *item;

	HASH_FIND(hh, pool->items, id, sizeof(*id), item);
	return item;
}

void chase_pool_drop(struct pool *pool, struct item *item)
{
	pool->bytes -= item->size;
	pool->memory -= sizeof(*item) + item->size;
	HASH_DEL(pool->items, item);
	free(item);
}

void chase_pool_clear(struct pool *pool)
{
	struct item *item, *next;

	HASH_ITER(hh, pool->items, item, next)
		chase_pool_drop(pool, item);
}

static int item_order(const struct item *a, const struct item *b)
{
	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	return id_compare(&a->id, &b->id);
}

static bool joint_fits(const struct joint *joint, const struct item *item)
{
	for (size_t i = 0; i < 2; i++)
		if (joint->known[i] && id_equal(joint->known[i], &item->prev))
			return true;
	return item->seq <= joint->pending_from;
}

struct item *chase_pool_join(struct pool *pool, const struct joint *joint, size_t *out_count)
{
	struct item *item, *last = NULL;
	size_t count = 0;

	/* In order of seq, so what a record names is judged before it. */
	HASH_SORT(pool->items, item_order);
	for (item = pool->items; item; item = item->hh.next) {
		struct item *parent = chase_pool_find(pool, &item->prev);

		/* A number that does not follow its parent's is for the taking to refuse. */
		item->parent = parent && parent->seq + 1 == item->seq ? parent : NULL;
		item->usable = item->parent ? item->parent->usable : joint_fits(joint, item);
		item->in_chain = false;
		if (item->usable && item->is_signed)
			last = item;
	}
	for (item = last; item; item = item->parent) {
		item->in_chain = true;
		count++;
	}
	if (last)
		*out_count = count;
	return last;
}
