/*
 * tree_settle.c - directories that do not show where a standing entry puts them.
 *
 * Directories and where they lie make a graph of one edge each: to the parent
 * named by the newest standing entry, or for one that lost its place and has
 * something in it, to where it was last.  What has no place and nothing in it does
 * not exist.  Every component of such a graph leads to a root or has one ring.
 *
 * That is looked at whole, but only when something may have changed it: where a directory lies matters to no
 * other but through a ring that it is in, or through what it alone keeps alive, itself or the one that it is in.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_private.h"
#include "tree_rows.h"

#define WALK_MAX 64        /* steps up, looking for a ring; more: looked at whole */
#define SETTLE_NOW_MAX 256 /* directories of a person of others: some milliseconds; more: later (tree_late.c) */

struct node {
	uint64_t directory;
	struct placement at;  /* standing, or where it was last, or unnamed */
	bool placed, exists;
	unsigned visited;     /* by which walk; 0: by none */
	UT_hash_handle hh;
};

struct graph {
	const struct view *view;
	size_t count_max;
	struct node *nodes; /* hash by directory */
};

static void graph_free(struct graph *g)
{
	struct node *node, *next;

	HASH_ITER(hh, g->nodes, node, next) {
		HASH_DEL(g->nodes, node);
		free(node);
	}
}

static struct node *graph_find(const struct graph *g, uint64_t directory)
{
	struct node *node;

	HASH_FIND(hh, g->nodes, &directory, sizeof(directory), node);
	return node;
}

static int unnamed_place(const struct view *view, uint64_t directory, struct placement *out)
{
	char text[ID_SHORT_SIZE + 1];
	struct id id;

	int err = store_number_id(view->txn, NUMBER_DIRECTORY, directory, &id);
	if (err < 0)
		return err;
	id_format_short(text, &id);
	*out = (struct placement){ .parent = view->root, .unnamed = true };
	memcpy(out->name, text, sizeof(text));
	return 0;
}

static int node_fill(const struct view *view, struct node *node)
{
	int err = view_newest(view, node->directory, true, &node->at);
	node->placed = node->exists = err == 0;
	if (err == -ENOENT)
		err = view_newest(view, node->directory, false, &node->at);
	if (err == -ENOENT)
		err = unnamed_place(view, node->directory, &node->at);
	return err;
}

static int graph_add(struct graph *g, uint64_t directory)
{
	int root = tree_is_root(g->view->txn, &g->view->person_id, directory);
	if (root != 0)
		return root < 0 ? root : 0;
	if (HASH_COUNT(g->nodes) >= g->count_max)
		return -E2BIG;
	struct node *node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->directory = directory;
	int err = node_fill(g->view, node);
	if (err == 0) {
		HASH_ADD(hh, g->nodes, directory, sizeof(node->directory), node);
		if (!node->hh.tbl)
			err = -ENOMEM;
	}
	if (err < 0)
		free(node);
	return err;
}

/* Every directory in which a slot ever was: only these can be orphans, or have something in them. */
static int graph_load(struct graph *g)
{
	struct row key = row_of(g->view->person);
	struct index_range range;
	uint64_t directory = 0;
	int found;

	do {
		found = row_range_at(g->view->txn, TABLE_ORDER, 8, &key, false, &range);
		if (found == 0 && (found = index_range_next(&range)) > 0) {
			struct wire w;
			wire_init(&w, range.key + 8, range.key_size - 8);
			directory = wire_u64_be(&w);
		}
		index_range_close(&range);
		if (found > 0) {
			int err = graph_add(g, directory);
			if (err < 0)
				return err;
			key = row_of2(g->view->person, directory + 1);
		}
	} while (found > 0);
	return found;
}

/* A directory with something in it exists; then so does the one where it was last. */
static void raise_up(struct graph *g, struct node *node)
{
	while (node && !node->exists) {
		node->exists = true;
		node = graph_find(g, node->at.parent);
	}
}

static int find_existing(struct graph *g)
{
	struct node *node, *next;

	HASH_ITER(hh, g->nodes, node, next) {
		if (node->exists)
			continue;
		int contains = view_contains(g->view, node->directory);
		if (contains < 0)
			return contains;
		if (contains)
			raise_up(g, node);
	}
	return 0;
}

static int compare_placements(const struct placement *a, const struct placement *b)
{
	if (a->time_ms != b->time_ms)
		return a->time_ms < b->time_ms ? -1 : 1;
	int order = id_compare(&a->record_id, &b->record_id);
	if (order == 0 && a->index != b->index)
		order = a->index < b->index ? -1 : 1;
	return order;
}

static int relocate(struct relocation **out, const struct node *node, const struct placement *at)
{
	struct relocation *relocation;

	HASH_FIND(hh, *out, &node->directory, sizeof(node->directory), relocation);
	if (relocation) {
		relocation->at = *at;
		return 0;
	}
	relocation = calloc(1, sizeof(*relocation));
	if (!relocation)
		return -ENOMEM;
	relocation->directory = node->directory;
	relocation->at = *at;
	HASH_ADD(hh, *out, directory, sizeof(relocation->directory), relocation);
	if (!relocation->hh.tbl) {
		free(relocation);
		return -ENOMEM;
	}
	return 0;
}

/* The newest entry of a ring gives way: its directory shows in the root. */
static int break_ring(struct graph *g, struct node *start, struct relocation **out)
{
	struct node *newest = start;

	for (struct node *node = graph_find(g, start->at.parent); node != start; node = graph_find(g, node->at.parent))
		if (compare_placements(&node->at, &newest->at) > 0)
			newest = node;
	struct placement at = newest->at;
	at.parent = g->view->root;
	return relocate(out, newest, &at);
}

static int find_rings(struct graph *g, struct relocation **out)
{
	struct node *start, *next;
	unsigned walk = 0;

	HASH_ITER(hh, g->nodes, start, next) {
		struct node *node = start;
		walk++;
		while (node && node->exists && !node->visited) {
			node->visited = walk;
			node = graph_find(g, node->at.parent);
		}
		if (node && node->exists && node->visited == walk) {
			int err = break_ring(g, node, out);
			if (err < 0)
				return err;
		}
	}
	return 0;
}

static int find_orphans(struct graph *g, struct relocation **out)
{
	struct node *node, *next;

	HASH_ITER(hh, g->nodes, node, next) {
		if (!node->exists || node->placed)
			continue;
		int err = relocate(out, node, &node->at);
		if (err < 0)
			return err;
	}
	return 0;
}

int settle_find(const struct view *view, size_t count_max, struct relocation **out)
{
	struct graph g = { .view = view, .count_max = count_max };

	int err = graph_load(&g);
	if (err == 0)
		err = find_existing(&g);
	if (err == 0)
		err = find_orphans(&g, out);
	if (err == 0)
		err = find_rings(&g, out);
	graph_free(&g);
	return err;
}

void relocations_free(struct relocation **relocations)
{
	struct relocation *relocation, *next;

	HASH_ITER(hh, *relocations, relocation, next) {
		HASH_DEL(*relocations, relocation);
		free(relocation);
	}
}

/* ---- who listens ---- */

void settle_tell(struct store_txn *txn, const struct slot_name *name)
{
	const struct tree_dirty *dirty = store_txn_tree(txn);

	if (dirty->changed)
		dirty->changed(dirty->context, name->person, name->directory, name->name, name->size);
}

int settle_tell_placed(struct store_txn *txn, uint64_t person, uint64_t directory)
{
	struct placement at;

	if (!store_txn_tree(txn)->changed)
		return 0;
	int err = placed_newest(txn, person, directory, true, &at);
	if (err == 0)
		settle_tell(txn, &(struct slot_name){ person, at.parent, at.name, strlen(at.name) });
	return err == -ENOENT ? 0 : err;
}

static int settle_person(struct store_txn *txn, uint64_t person)
{
	struct relocation_changes changes = { .count = 0 };
	struct relocation *found = NULL;
	struct view view;
	struct id id;

	int err = store_number_id(txn, NUMBER_ENTITY, person, &id);
	/* The root's number, so that something can be shown in it. */
	if (err == 0)
		err = view_open(&view, txn, &id);
	if (err == 0 && !view.root)
		err = store_number_make(txn, NUMBER_DIRECTORY, &id, &view.root);
	/* What this node itself did shows at once. */
	if (err == 0)
		err = settle_find(&view, txn->own ? SIZE_MAX : SETTLE_NOW_MAX, &found);
	if (err == 0)
		err = relocation_compare(&view, found, &changes);
	for (size_t i = 0; err == 0 && i < changes.count; i++) {
		const struct relocation_change *change = &changes.items[i];
		err = relocation_set(&view, change->directory, change->shows ? &change->at : NULL);
	}
	relocation_changes_finish(&changes);
	relocations_free(&found);
	return err == -E2BIG ? settle_put_late(txn, person) : err;
}

int tree_settle(struct store_txn *txn)
{
	struct tree_dirty *dirty = store_txn_tree(txn);
	int err = tree_keep_cookie(txn);

	if (err == 0 && dirty->all)
		err = settle_put_late(txn, 0);
	for (size_t i = 0; err == 0 && i < dirty->count; i++)
		err = settle_person(txn, dirty->persons[i]);
	dirty->all = false;
	dirty->count = 0;
	return err;
}

bool settle_is_marked(struct store_txn *txn, uint64_t person)
{
	const struct tree_dirty *dirty = store_txn_tree(txn);

	for (size_t i = 0; i < dirty->count; i++)
		if (dirty->persons[i] == person)
			return true;
	return false;
}

void settle_mark(struct store_txn *txn, uint64_t person)
{
	struct tree_dirty *dirty = store_txn_tree(txn);
	uint64_t root;
	struct id id;

	if (settle_is_marked(txn, person))
		return;
	/* The root gets its number now: at the commit is another time when replaying. settle_person() sees to errors. */
	if (store_number_id(txn, NUMBER_ENTITY, person, &id) == 0)
		store_number_make(txn, NUMBER_DIRECTORY, &id, &root);
	if (dirty->count == TREE_DIRTY_MAX)
		dirty->all = true;
	else
		dirty->persons[dirty->count++] = person;
}

/* Without a place: nothing may be in it, by its own entries or relocated. */
static int is_empty(const struct view *view, uint64_t directory)
{
	struct row prefix = row_of2(view->person, directory);
	struct contents contents;
	struct index_range range;

	int err = contents_get(view->txn, view->person, directory, &contents);
	if (err < 0)
		return err == -ENOENT ? 1 : err;
	if (contents.versions || contents.directories)
		return 0;
	err = row_range(view->txn, TABLE_EXTRA, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	index_range_close(&range);
	return err < 0 ? err : !err;
}

/* Where it lies as far as rings go; the root for what was never named. */
static int parent_of(const struct view *view, uint64_t directory, uint64_t *out)
{
	struct placement at;

	int err = placed_newest(view->txn, view->person, directory, true, &at);
	if (err == -ENOENT)
		err = placed_newest(view->txn, view->person, directory, false, &at);
	*out = err == 0 ? at.parent : view->root;
	return err == -ENOENT ? 0 : err;
}

/* Does the way up from its parent come back to it, or take too long to tell? */
static int leads_back(const struct view *view, uint64_t directory, uint64_t parent)
{
	for (int steps = 0; parent != view->root; steps++) {
		if (parent == directory || steps == WALK_MAX)
			return 1;
		int err = parent_of(view, parent, &parent);
		if (err < 0)
			return err;
	}
	return 0;
}

int settle_is_plain(const struct view *view, uint64_t directory)
{
	struct placement at, above;
	struct contents contents;

	int err = placed_newest(view->txn, view->person, directory, true, &at);
	if (err == -ENOENT)
		return is_empty(view, directory);
	if (err < 0 || at.parent == view->root)
		return err < 0 ? err : 1;
	/* What has no place may be there for the sake of this. */
	err = placed_newest(view->txn, view->person, at.parent, true, &above);
	if (err == -ENOENT)
		return tree_is_root(view->txn, &view->person_id, at.parent);
	/* In a new directory nothing lies: it is in no ring. */
	if (err == 0)
		err = contents_get(view->txn, view->person, directory, &contents);
	if (err < 0)
		return err == -ENOENT ? 1 : err;
	int back = leads_back(view, directory, at.parent);
	return back < 0 ? back : !back;
}

/* Does the person have something in this directory, or say where it is? */
static int uses_directory(struct store_txn *txn, uint64_t person, uint64_t directory)
{
	struct row prefix = row_of2(directory, person);
	struct contents contents;
	struct index_range range;

	int err = contents_get(txn, person, directory, &contents);
	if (err != -ENOENT)
		return err < 0 ? err : 1;
	err = row_range(txn, TABLE_PLACED, &prefix, &range);
	if (err == 0)
		err = index_range_next(&range);
	index_range_close(&range);
	return err;
}

int settle_mark_users(struct store_txn *txn, uint64_t directory)
{
	uint64_t person = 0;
	int found;

	while ((found = settle_next_person(txn, person + 1, &person)) > 0) {
		int uses = uses_directory(txn, person, directory);
		if (uses < 0)
			return uses;
		if (uses) {
			settle_mark(txn, person);
			settle_tell(txn, &(struct slot_name){ .person = person, .name = "" });
		}
	}
	return found;
}
