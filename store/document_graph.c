/*
 * document_graph.c - lowest common ancestors of two versions.
 *
 * Both ancestries are painted down from the newest on, as git's merge-base does:
 * what has both colours is common, and all before it is stale.  Clocks may be
 * wrong, so a node whose colours change is looked at again, and where several are
 * found the walk goes on to the end, to see which of them is before another.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Keys are numbers given one after the other: their low bits spread them best. */
#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash))
#include <uthash.h>

#include "document_rows.h"

enum { PAINT_A = 1, PAINT_B = 2, PAINT_STALE = 4, PAINT_RESULT = 8 };
#define PAINT_BOTH (PAINT_A | PAINT_B)

struct painted {
	uint64_t number;
	struct version_node node;
	unsigned flags;
	bool queued;
	UT_hash_handle hh;
};

struct walk {
	struct store_txn *txn;
	struct painted *nodes;  /* hash by number */
	struct painted **heap;  /* newest first */
	size_t count, capacity;
	size_t fresh;           /* queued and not stale */
	size_t results;
};

static void walk_free(struct walk *w)
{
	struct painted *node, *next;

	HASH_ITER(hh, w->nodes, node, next) {
		HASH_DEL(w->nodes, node);
		free(node);
	}
	free(w->heap);
}

static bool is_before(const struct painted *a, const struct painted *b)
{
	return a->node.time_ms != b->node.time_ms ? a->node.time_ms > b->node.time_ms : a->number > b->number;
}

static int heap_push(struct walk *w, struct painted *node)
{
	if (w->count == w->capacity) {
		size_t capacity = w->capacity ? w->capacity * 2 : 16;
		struct painted **heap = realloc(w->heap, capacity * sizeof(struct painted *));
		if (!heap)
			return -ENOMEM;
		w->heap = heap;
		w->capacity = capacity;
	}
	size_t at = w->count++;
	while (at > 0 && is_before(node, w->heap[(at - 1) / 2])) {
		w->heap[at] = w->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	w->heap[at] = node;
	return 0;
}

static struct painted *heap_pop(struct walk *w)
{
	struct painted *top = w->heap[0], *last = w->heap[--w->count];
	size_t at = 0, child;

	while ((child = 2 * at + 1) < w->count) {
		if (child + 1 < w->count && is_before(w->heap[child + 1], w->heap[child]))
			child++;
		if (!is_before(w->heap[child], last))
			break;
		w->heap[at] = w->heap[child];
		at = child;
	}
	w->heap[at] = last;
	return top;
}

static int find(struct walk *w, uint64_t number, struct painted **out)
{
	struct painted *node;

	HASH_FIND(hh, w->nodes, &number, sizeof(number), node);
	if (!node) {
		node = calloc(1, sizeof(*node));
		if (!node)
			return -ENOMEM;
		node->number = number;
		int err = document_node(w->txn, number, &node->node);
		if (err == 0) {
			HASH_ADD(hh, w->nodes, number, sizeof(node->number), node);
			if (!node->hh.tbl)
				err = -ENOMEM;
		}
		if (err < 0) {
			free(node);
			return err;
		}
	}
	*out = node;
	return 0;
}

/* Adds colours, and queues the node if they are new to it. A version not here is no ancestor that is known. */
static int paint(struct walk *w, uint64_t number, unsigned flags)
{
	struct painted *node;

	int err = find(w, number, &node);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	if ((node->flags & flags) == flags)
		return 0;
	bool was_fresh = node->queued && !(node->flags & PAINT_STALE);
	node->flags |= flags;
	if (!node->queued) {
		err = heap_push(w, node);
		node->queued = err == 0;
	}
	bool is_fresh = node->queued && !(node->flags & PAINT_STALE);
	w->fresh += (size_t)is_fresh - (size_t)was_fresh;
	return err;
}

static int step(struct walk *w)
{
	struct painted *node = heap_pop(w);
	unsigned flags = node->flags & (PAINT_BOTH | PAINT_STALE);

	node->queued = false;
	w->fresh -= !(flags & PAINT_STALE);
	if (flags == PAINT_BOTH) {
		w->results += !(node->flags & PAINT_RESULT);
		node->flags |= PAINT_RESULT;
		flags |= PAINT_STALE;
	}
	for (uint64_t i = 0; i < node->node.parent_count; i++) {
		int err = paint(w, node->node.parents[i], flags);
		if (err < 0)
			return err;
	}
	return 0;
}

static int insert_sorted(struct walk *w, uint64_t number, struct id *out, size_t count, size_t count_max)
{
	struct record_row row;

	int err = log_record_row(w->txn, number, &row);
	if (err < 0)
		return err;
	size_t at = count < count_max ? count : count_max;
	while (at > 0 && id_compare(&row.id, &out[at - 1]) < 0) {
		if (at < count_max)
			out[at] = out[at - 1];
		at--;
	}
	if (at < count_max)
		out[at] = row.id;
	return 0;
}

int document_common_ancestors(struct store_txn *txn, const struct id *a, const struct id *b,
			      struct id *out, size_t count_max)
{
	struct walk w = { .txn = txn };
	struct painted *node, *next;
	uint64_t first, second;
	size_t count = 0;

	int err = store_number(txn, NUMBER_RECORD, a, &first);
	if (err == 0)
		err = store_number(txn, NUMBER_RECORD, b, &second);
	if (err == 0)
		err = paint(&w, first, PAINT_A);
	if (err == 0)
		err = paint(&w, second, PAINT_B);
	while (err == 0 && w.count > 0 && (w.fresh > 0 || w.results > 1))
		err = step(&w);
	HASH_ITER(hh, w.nodes, node, next)
		if (err == 0 && (node->flags & PAINT_RESULT) && !(node->flags & PAINT_STALE))
			err = insert_sorted(&w, node->number, out, count++, count_max);
	walk_free(&w);
	return err < 0 ? err : (int)count;
}
