#include "node_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What node.h's hashes by thing rely on. */
#define DIRECTORY_KEY_SIZE (2 * sizeof(struct id))
#define SCRATCH_KEY_SIZE (sizeof(dev_t) + sizeof(ino_t))
static_assert(offsetof(struct identity, id) == offsetof(struct identity, person) + sizeof(struct id),
	      "person and id are one key");
static_assert(offsetof(struct identity, inode) == offsetof(struct identity, device) + sizeof(dev_t),
	      "device and inode are one key");

#define LINK_NAME_OFFSET (offsetof(struct link, name) - offsetof(struct link, parent_number))

/* ---- under the lock ---- */

static struct link *link_find(struct nodes *nodes, const struct node *parent, const char *name)
{
	size_t name_size = strlen(name);
	uint8_t key[sizeof(uint64_t) + SHOWN_NAME_MAX + 1];
	struct link *link = NULL;

	if (name_size > SHOWN_NAME_MAX)
		return NULL;
	memcpy(key, &parent->number, sizeof(uint64_t));
	memcpy(key + sizeof(uint64_t), name, name_size);
	HASH_FIND(hh, nodes->links, key, sizeof(uint64_t) + name_size, link);
	return link;
}

static void node_settle(struct nodes *nodes, struct node *node);

static void left_forget(struct nodes *nodes, struct node *node)
{
	struct link *left = node->left;
	if (!left)
		return;
	node->left = NULL;
	left->parent->pins--;
	node_settle(nodes, left->parent);
	free(left);
}

static struct link *link_add(struct nodes *nodes, struct node *node, struct node *parent, const char *name)
{
	size_t name_size = strlen(name);
	if (name_size > SHOWN_NAME_MAX)
		return NULL;
	struct link *link = calloc(1, sizeof(*link) + name_size + 1);
	if (!link)
		return NULL;

	static_assert(LINK_NAME_OFFSET == sizeof(uint64_t), "the parent's number and the name are one key");
	link->node = node;
	link->parent = parent;
	link->parent_number = parent->number;
	link->key_size = sizeof(uint64_t) + name_size;
	memcpy(link->name, name, name_size + 1);

	HASH_ADD_KEYPTR(hh, nodes->links, &link->parent_number, link->key_size, link);
	if (!link->hh.tbl) {
		free(link);
		return NULL;
	}
	link->hashed = true;
	parent->pins++;
	link->next = node->links;
	node->links = link;
	left_forget(nodes, node);
	return link;
}

static void thing_remove(struct nodes *nodes, struct node *node)
{
	if (!node->by_thing.tbl)
		return;
	if (node->is.kind == NODE_DIRECTORY)
		HASH_DELETE(by_thing, nodes->directories, node);
	else
		HASH_DELETE(by_thing, nodes->scratch, node);
	memset(&node->by_thing, 0, sizeof(node->by_thing));
}

static struct node *thing_find(struct nodes *nodes, const struct identity *identity)
{
	struct node *node = NULL;
	if (identity->kind == NODE_DIRECTORY)
		HASH_FIND(by_thing, nodes->directories, &identity->person, DIRECTORY_KEY_SIZE, node);
	else if (identity->kind == NODE_SCRATCH)
		HASH_FIND(by_thing, nodes->scratch, &identity->device, SCRATCH_KEY_SIZE, node);
	return node;
}

/* The newest node of a thing is the one that is found; being found by thing is a help, so no memory is no failure. */
static void thing_add(struct nodes *nodes, struct node *node)
{
	struct node *old = thing_find(nodes, &node->is);
	if (old)
		thing_remove(nodes, old);
	if (node->is.kind == NODE_DIRECTORY)
		HASH_ADD_KEYPTR(by_thing, nodes->directories, &node->is.person, DIRECTORY_KEY_SIZE, node);
	else if (node->is.kind == NODE_SCRATCH)
		HASH_ADD_KEYPTR(by_thing, nodes->scratch, &node->is.device, SCRATCH_KEY_SIZE, node);
}

static void link_remove(struct nodes *nodes, struct link *link)
{
	struct node *parent = link->parent;
	struct link **at = &link->node->links;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	if (link->hashed)
		HASH_DELETE(hh, nodes->links, link);
	free(link);
	parent->pins--;
	node_settle(nodes, parent);
}

/* As link_remove(), of a name that is another's now or nobody's: what was looked up there may be asked for yet. */
static void link_leave(struct nodes *nodes, struct link *link)
{
	struct node *node = link->node;
	bool last = node->links == link && !link->next;

	if (!last || (node->is.kind != NODE_DOCUMENT && node->is.kind != NODE_SCRATCH)) {
		link_remove(nodes, link);
		return;
	}
	if (link->hashed)
		HASH_DELETE(hh, nodes->links, link);
	link->hashed = false;
	node->links = NULL;
	left_forget(nodes, node);
	node->left = link;
}

static bool node_is_used(const struct nodes *nodes, const struct node *node)
{
	return node == nodes->root || node->lookups || node->pins || node->opens;
}

/* Frees a node that nothing needs; then its parent, and so on up, through link_remove(). */
static void node_settle(struct nodes *nodes, struct node *node)
{
	while (node && !node_is_used(nodes, node)) {
		struct node *parent = NULL;

		/* The last link by hand, so that a deep path is a loop and not a recursion. */
		while (node->links && node->links->next)
			link_remove(nodes, node->links);
		/* Never both. */
		struct link *link = node->links ? node->links : node->left;
		if (link) {
			parent = link->parent;
			if (link->hashed)
				HASH_DELETE(hh, nodes->links, link);
			free(link);
			parent->pins--;
		}
		thing_remove(nodes, node);
		HASH_DELETE(by_number, nodes->by_number, node);
		free((void *)node->is.control);
		free(node);
		node = parent;
	}
}

static int identity_copy(struct identity *out, const struct identity *from)
{
	*out = *from;
	if (!from->control)
		return 0;

	struct control_node *control = malloc(sizeof(*control));
	if (!control)
		return -ENOMEM;
	*control = *from->control;
	out->control = control;
	return 0;
}

static struct node *node_make(struct nodes *nodes, const struct identity *identity)
{
	struct node *node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	if (identity_copy(&node->is, identity) < 0) {
		free(node);
		return NULL;
	}

	node->number = nodes->next_number++;
	node->dirty = identity->waits;
	HASH_ADD(by_number, nodes->by_number, number, sizeof(node->number), node);
	if (!node->by_number.tbl) {
		free((void *)node->is.control);
		free(node);
		return NULL;
	}
	thing_add(nodes, node);
	return node;
}

static bool node_has_writer(const struct node *node)
{
	for (const struct open *open = node->opens; open; open = open->next)
		if ((open->kind == OPEN_DOCUMENT || open->kind == OPEN_SCRATCH) &&
		    (open->flags & O_ACCMODE) != O_RDONLY)
			return true;
	return false;
}

/* Is this head the node's own: the one it has, or one that came by a save through it? */
static bool node_adopts(struct node *node, const struct id *version, bool waits, uint64_t order)
{
	bool equal = id_equal(&node->is.id, version);

	/* Asked for before what the node knows already: threads overtake one another. */
	if (order < node->is.order)
		return true;
	if (!equal && !node->dirty && !waits)
		return false;
	node->is.id = *version;
	node->is.waits = waits;
	node->is.order = order;
	if (waits)
		node->dirty = true;
	else if (!node_has_writer(node))
		node->dirty = false;
	return true;
}

static bool control_equal(const struct control_node *a, const struct control_node *b)
{
	return a->scope == b->scope && a->row == b->row && control_ino(a) == control_ino(b);
}

static bool node_matches(struct node *node, const struct identity *identity)
{
	const struct identity *is = &node->is;

	if (is->kind != identity->kind || is->type != identity->type)
		return false;
	switch (identity->kind) {
	case NODE_ROOT:
	case NODE_README:
		return true;
	case NODE_ALIAS:
		return id_equal(&is->person, &identity->person);
	case NODE_DIRECTORY:
		return id_equal(&is->person, &identity->person) && id_equal(&is->id, &identity->id);
	case NODE_DOCUMENT:
		return node_adopts(node, &identity->id, identity->waits, identity->order);
	case NODE_CONTROL:
		return control_equal(is->control, identity->control);
	case NODE_AT:
		return id_equal(&is->person, &identity->person) && id_equal(&is->id, &identity->id) &&
		       is->time_ms == identity->time_ms;
	case NODE_SCRATCH:
		return is->device == identity->device && is->inode == identity->inode;
	}
	return false;
}

static void supersede(struct nodes *nodes, struct node *node)
{
	struct link *link = node->links;
	if (link && link->hashed) {
		HASH_DELETE(hh, nodes->links, link);
		link->hashed = false;
	}
}

/* What stands under the name is not what was found there. */
static void link_outdate(struct nodes *nodes, struct link *link)
{
	if (link->node->is.kind == NODE_DOCUMENT)
		supersede(nodes, link->node);
	else
		link_remove(nodes, link);
}

static int enter(struct nodes *nodes, struct node *parent, const char *name, const struct identity *identity,
		 struct node **out)
{
	struct link *link = link_find(nodes, parent, name);
	if (link && node_matches(link->node, identity)) {
		link->node->is.ino = identity->ino;
		link->node->is.told_ms = identity->told_ms;
		*out = link->node;
		return 0;
	}
	if (link)
		link_outdate(nodes, link);

	struct node *node = NULL;
	if (identity->kind == NODE_SCRATCH && !S_ISDIR(identity->type)) {
		node = thing_find(nodes, identity);
		if (node && node->is.type != identity->type)
			node = NULL;
	}
	bool made = !node;
	if (made)
		node = node_make(nodes, identity);
	if (!node)
		return -ENOMEM;
	if (!link_add(nodes, node, parent, name)) {
		if (made)
			node_settle(nodes, node);
		return strlen(name) > SHOWN_NAME_MAX ? -ENAMETOOLONG : -ENOMEM;
	}
	*out = node;
	return 0;
}

/* ---- the table ---- */

int nodes_new(struct nodes **out)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;

	nodes->next_number = 1; /* FUSE_ROOT_ID */
	nodes->many = NODES_MAX;
	pthread_mutex_init(&nodes->lock, NULL);
	nodes->root = node_make(nodes, &(struct identity){ .kind = NODE_ROOT, .type = S_IFDIR });
	if (!nodes->root) {
		nodes_free(nodes, NULL, NULL);
		return -ENOMEM;
	}
	*out = nodes;
	return 0;
}

void nodes_free(struct nodes *nodes, void (*release)(void *context, struct open *open), void *context)
{
	if (!nodes)
		return;

	struct node *node, *next_node;
	struct link *link, *next_link;
	HASH_ITER(by_number, nodes->by_number, node, next_node) {
		while (node->opens) {
			struct open *open = node->opens;
			node->opens = open->next;
			release(context, open);
		}
	}
	HASH_ITER(hh, nodes->links, link, next_link)
		HASH_DELETE(hh, nodes->links, link);
	HASH_CLEAR(by_thing, nodes->directories);
	HASH_CLEAR(by_thing, nodes->scratch);
	HASH_ITER(by_number, nodes->by_number, node, next_node) {
		HASH_DELETE(by_number, nodes->by_number, node);
		while ((link = node->links)) {
			node->links = link->next;
			free(link);
		}
		free(node->left);
		free((void *)node->is.control);
		free(node);
	}
	pthread_mutex_destroy(&nodes->lock);
	free(nodes);
}

struct node *nodes_root(struct nodes *nodes)
{
	return nodes->root;
}

void nodes_count(struct nodes *nodes, uint64_t *out_nodes, uint64_t *out_opens)
{
	pthread_mutex_lock(&nodes->lock);
	*out_nodes = HASH_CNT(by_number, nodes->by_number);
	*out_opens = nodes->open_count;
	pthread_mutex_unlock(&nodes->lock);
}

struct node *node_find(struct nodes *nodes, uint64_t number)
{
	struct node *node = NULL;
	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(by_number, nodes->by_number, &number, sizeof(number), node);
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

int node_enter(struct nodes *nodes, struct node *parent, const char *name, const struct identity *identity,
	       struct node **out)
{
	pthread_mutex_lock(&nodes->lock);
	int err = enter(nodes, parent, name, identity, out);
	if (err == 0)
		(*out)->lookups++;
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

uint64_t node_known(struct nodes *nodes, struct node *parent, const char *name, const struct id *id,
		    uint64_t since_ms, mode_t *out_type)
{
	uint64_t ino = 0;
	pthread_mutex_lock(&nodes->lock);
	const struct link *link = link_find(nodes, parent, name);
	const struct node *node = link ? link->node : NULL;
	if (node && node->lookups > 0 && !node->dirty && node->is.told_ms >= since_ms &&
	    (node->is.kind == NODE_DOCUMENT || node->is.kind == NODE_DIRECTORY) && id_equal(&node->is.id, id)) {
		ino = node->is.ino;
		*out_type = node->is.type;
	}
	pthread_mutex_unlock(&nodes->lock);
	return ino;
}

void node_forget(struct nodes *nodes, uint64_t number, uint64_t count)
{
	struct node *node = NULL;
	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(by_number, nodes->by_number, &number, sizeof(number), node);
	if (node) {
		node->lookups -= count < node->lookups ? count : node->lookups;
		node_settle(nodes, node);
	}
	pthread_mutex_unlock(&nodes->lock);
}

bool nodes_are_many(struct nodes *nodes)
{
	pthread_mutex_lock(&nodes->lock);
	const uint64_t count = HASH_CNT(by_number, nodes->by_number);
	if (count <= NODES_MAX)
		nodes->many = NODES_MAX;
	bool many = count > nodes->many;
	pthread_mutex_unlock(&nodes->lock);
	return many;
}

/* A file with a name that the kernel has nothing under way with: it may as well look it up again, dirty or not. */
static bool node_is_idle(const struct node *node)
{
	return S_ISREG(node->is.type) && node->lookups > 0 && !node->pins && !node->opens &&
	       node->links && node->links->hashed;
}

bool node_surplus(struct nodes *nodes, uint64_t *out_parent, char out_name[SHOWN_NAME_MAX + 1])
{
	struct node *node = NULL;

	pthread_mutex_lock(&nodes->lock);
	/* Numbers rise: the lowest were looked up first. */
	while (nodes->surplus_next < nodes->next_number) {
		uint64_t number = nodes->surplus_next++;
		HASH_FIND(by_number, nodes->by_number, &number, sizeof(number), node);
		if (node && node_is_idle(node))
			break;
		node = NULL;
	}
	const uint64_t count = HASH_CNT(by_number, nodes->by_number);
	if (!node) {
		nodes->surplus_next = 0; /* next time those that were in use, */
		nodes->many = count + count / 8; /* which is when there are more: a look passes by all */
	} else if (count <= NODES_MAX / 4 * 3) {
		node = NULL;
	}
	if (node) {
		*out_parent = node->links->parent_number;
		memcpy(out_name, node->links->name, strlen(node->links->name) + 1);
	}
	pthread_mutex_unlock(&nodes->lock);
	return node != NULL;
}

void node_pin(struct nodes *nodes, struct node *node)
{
	pthread_mutex_lock(&nodes->lock);
	node->pins++;
	pthread_mutex_unlock(&nodes->lock);
}

void node_unpin(struct nodes *nodes, struct node *node)
{
	if (!node)
		return;
	pthread_mutex_lock(&nodes->lock);
	node->pins--;
	node_settle(nodes, node);
	pthread_mutex_unlock(&nodes->lock);
}

struct node *node_child(struct nodes *nodes, struct node *parent, const char *name)
{
	struct node *node = NULL;
	pthread_mutex_lock(&nodes->lock);
	struct link *link = link_find(nodes, parent, name);
	if (link) {
		node = link->node;
		node->pins++;
	}
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

void node_identity(struct nodes *nodes, struct node *node, struct identity *out)
{
	pthread_mutex_lock(&nodes->lock);
	*out = node->is;
	pthread_mutex_unlock(&nodes->lock);
}

void node_become(struct nodes *nodes, struct node *node, const struct identity *identity)
{
	assert(!node->is.control && !identity->control);
	pthread_mutex_lock(&nodes->lock);
	thing_remove(nodes, node);
	node->is = *identity;
	node->dirty = identity->waits;
	thing_add(nodes, node);
	pthread_mutex_unlock(&nodes->lock);
}

void node_set_dirty(struct nodes *nodes, struct node *node, uint64_t order)
{
	pthread_mutex_lock(&nodes->lock);
	node->dirty = true;
	if (order >= node->is.order)
		node->is.order = order + 1;
	pthread_mutex_unlock(&nodes->lock);
}

bool node_agrees(struct nodes *nodes, struct node *node, const struct id *version, bool waits, uint64_t order)
{
	pthread_mutex_lock(&nodes->lock);
	bool agrees = node->links && node->links->hashed && node_adopts(node, version, waits, order);
	pthread_mutex_unlock(&nodes->lock);
	return agrees;
}

static void leave(struct nodes *nodes, struct link *link, bool last)
{
	struct node *node = link->node;

	node->pins++;
	link_leave(nodes, link);
	/* The number of a removed local file may be given to the next one. */
	if (last && !node->links)
		thing_remove(nodes, node);
	node->pins--;
	node_settle(nodes, node);
}

void node_leave(struct nodes *nodes, struct node *parent, const char *name, bool last)
{
	pthread_mutex_lock(&nodes->lock);
	struct link *link = link_find(nodes, parent, name);
	if (link)
		leave(nodes, link, last);
	pthread_mutex_unlock(&nodes->lock);
}

static int move(struct nodes *nodes, struct node *from, const char *from_name, struct node *to,
		const char *to_name)
{
	struct link *old = link_find(nodes, from, from_name);
	if (!old)
		return -ENOENT;

	struct node *node = old->node;
	struct link *stale = link_find(nodes, to, to_name);
	node->pins++;
	if (stale)
		leave(nodes, stale, false);
	link_remove(nodes, old);
	struct link *link = link_add(nodes, node, to, to_name);
	node->pins--;
	node_settle(nodes, node);
	return link ? 0 : -ENOMEM;
}

int node_move(struct nodes *nodes, struct node *from, const char *from_name, struct node *to, const char *to_name)
{
	pthread_mutex_lock(&nodes->lock);
	int err = move(nodes, from, from_name, to, to_name);
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

int node_exchange(struct nodes *nodes, struct node *from, const char *from_name, struct node *to, const char *to_name)
{
	int err = -ENOENT;
	pthread_mutex_lock(&nodes->lock);
	struct link *one = link_find(nodes, from, from_name);
	struct link *two = link_find(nodes, to, to_name);
	if (one && two) {
		struct node *first = one->node, *second = two->node;
		first->pins++;
		second->pins++;
		link_remove(nodes, one);
		link_remove(nodes, two);
		err = link_add(nodes, first, to, to_name) && link_add(nodes, second, from, from_name) ? 0 : -ENOMEM;
		first->pins--;
		second->pins--;
		node_settle(nodes, first);
		node_settle(nodes, second);
	}
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

void node_supersede(struct nodes *nodes, struct node *node)
{
	pthread_mutex_lock(&nodes->lock);
	supersede(nodes, node);
	pthread_mutex_unlock(&nodes->lock);
}

void node_supersede_dirty(struct nodes *nodes, struct node *node)
{
	pthread_mutex_lock(&nodes->lock);
	if (node->is.kind == NODE_DOCUMENT && node->dirty)
		supersede(nodes, node);
	pthread_mutex_unlock(&nodes->lock);
}

struct node *node_find_pinned(struct nodes *nodes, uint64_t number)
{
	struct node *node = NULL;
	pthread_mutex_lock(&nodes->lock);
	HASH_FIND(by_number, nodes->by_number, &number, sizeof(number), node);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

static bool is_of_person(const struct node *node, const struct id *person)
{
	const struct link *link = node->links;
	if (!link || (node->is.kind != NODE_DOCUMENT && node->is.kind != NODE_DIRECTORY))
		return false;
	const struct identity *of = node->is.kind == NODE_DIRECTORY ? &node->is : &link->parent->is;
	return id_is_zero(person) || id_equal(&of->person, person);
}

ssize_t nodes_of_person(struct nodes *nodes, const struct id *person, uint64_t **out)
{
	struct node *node, *next;
	ssize_t count = 0;

	pthread_mutex_lock(&nodes->lock);
	uint64_t *numbers = malloc((HASH_CNT(by_number, nodes->by_number) + 1) * sizeof(*numbers));
	if (numbers)
		HASH_ITER(by_number, nodes->by_number, node, next)
			if (is_of_person(node, person))
				numbers[count++] = node->number;
	pthread_mutex_unlock(&nodes->lock);
	if (!numbers)
		return -ENOMEM;
	*out = numbers;
	return count;
}

struct node *node_of_directory(struct nodes *nodes, const struct id *person, const struct id *directory)
{
	struct identity identity = { .kind = NODE_DIRECTORY, .person = *person, .id = *directory };
	pthread_mutex_lock(&nodes->lock);
	struct node *node = thing_find(nodes, &identity);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

/* ---- what is open ---- */

void node_add_open(struct nodes *nodes, struct node *node, struct open *open)
{
	pthread_mutex_lock(&nodes->lock);
	open->node = node;
	open->prev = NULL;
	open->next = node->opens;
	if (open->next)
		open->next->prev = open;
	node->opens = open;
	nodes->open_count++;
	pthread_mutex_unlock(&nodes->lock);
}

bool node_drop_open(struct nodes *nodes, struct open *open)
{
	pthread_mutex_lock(&nodes->lock);
	struct node *node = open->node;
	if (open->prev)
		open->prev->next = open->next;
	else
		node->opens = open->next;
	if (open->next)
		open->next->prev = open->prev;
	open->dropped = true;
	nodes->open_count--;
	bool last = open->holders == 0;
	node_settle(nodes, node);
	pthread_mutex_unlock(&nodes->lock);
	return last;
}

struct open *node_hold_open(struct nodes *nodes, struct node *node, bool (*wanted)(const struct open *open))
{
	pthread_mutex_lock(&nodes->lock);
	struct open *open = node->opens;
	while (open && !wanted(open))
		open = open->next;
	if (open)
		open->holders++;
	pthread_mutex_unlock(&nodes->lock);
	return open;
}

bool node_let_go(struct nodes *nodes, struct open *open)
{
	if (!open)
		return false;
	pthread_mutex_lock(&nodes->lock);
	bool last = --open->holders == 0 && open->dropped;
	pthread_mutex_unlock(&nodes->lock);
	return last;
}

size_t node_hold_all(struct nodes *nodes, struct node *node, struct open **out, size_t count_max)
{
	size_t count = 0;
	pthread_mutex_lock(&nodes->lock);
	for (struct open *open = node->opens; open; open = open->next) {
		if (count < count_max) {
			open->holders++;
			out[count] = open;
		}
		count++;
	}
	pthread_mutex_unlock(&nodes->lock);
	return count;
}
