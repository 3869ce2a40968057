/* Where a node is: its name, its place among documents, its path among local files and for people. */
#include <errno.h>
#include <string.h>

#include "node_private.h"

static int place_in(const struct node *parent, const char *name, struct place *out)
{
	if (parent->is.kind != NODE_DIRECTORY)
		return -ENOTDIR;
	if (strlen(name) > SHOWN_NAME_MAX)
		return -ENAMETOOLONG;
	out->person = parent->is.person;
	out->directory = parent->is.id;
	strcpy(out->name, name);
	return 0;
}

int node_place(struct nodes *nodes, struct node *node, struct place *out)
{
	pthread_mutex_lock(&nodes->lock);
	const struct link *link = node->links;
	int err = link ? place_in(link->parent, link->name, out) : -ESTALE;
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

int node_place_in(struct nodes *nodes, struct node *parent, const char *name, struct place *out)
{
	pthread_mutex_lock(&nodes->lock);
	int err = place_in(parent, name, out);
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

int node_name(struct nodes *nodes, struct node *node, struct node **out_parent, char out_name[SHOWN_NAME_MAX + 1])
{
	int err = -ESTALE;
	pthread_mutex_lock(&nodes->lock);
	const struct link *link = node->links ? node->links : node->left;
	if (link) {
		*out_parent = link->parent;
		link->parent->pins++;
		strcpy(out_name, link->name);
		err = 0;
	}
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

struct backwards { /* a path written from its end */
	char *out, *at;
	bool full;
};

static void backwards_start(struct backwards *b, char *out, size_t size)
{
	b->out = out;
	b->at = out + size - 1;
	*b->at = '\0';
	b->full = false;
}

static void backwards_put(struct backwards *b, const char *part)
{
	size_t size = strlen(part);
	bool separate = *b->at != '\0';
	if (b->full || (size_t)(b->at - b->out) < size + separate) {
		b->full = true;
		return;
	}
	if (separate)
		*--b->at = '/';
	b->at -= size;
	memcpy(b->at, part, size);
}

static int backwards_finish(struct backwards *b)
{
	memmove(b->out, b->at, strlen(b->at) + 1);
	return b->full ? -ENAMETOOLONG : 0;
}

static int scratch_folder(const struct node *node, char *out, size_t size)
{
	struct backwards path;
	backwards_start(&path, out, size);
	while (node->is.kind == NODE_SCRATCH) {
		if (!node->links)
			return -ESTALE;
		backwards_put(&path, node->links->name);
		node = node->links->parent;
	}
	if (node->is.kind != NODE_ROOT && node->is.kind != NODE_DIRECTORY)
		return -ENOTDIR;

	char text[ID_TEXT_SIZE + 1];
	id_format(text, &node->is.id); /* the root's is zero */
	backwards_put(&path, text);
	return backwards_finish(&path);
}

int node_scratch_path(struct nodes *nodes, struct node *node, char *out_folder, size_t folder_size,
		      char *out_name, size_t name_size)
{
	int err = 0;
	pthread_mutex_lock(&nodes->lock);
	if (out_name) {
		const struct link *link = node->links;
		if (!link)
			err = -ESTALE;
		else if (strlen(link->name) >= name_size)
			err = -ENAMETOOLONG;
		else
			strcpy(out_name, link->name);
		if (link)
			node = link->parent;
	}
	if (err == 0)
		err = scratch_folder(node, out_folder, folder_size);
	pthread_mutex_unlock(&nodes->lock);
	return err;
}

void node_path(struct nodes *nodes, struct node *node, const char *name, char *out, size_t out_size)
{
	struct backwards path;
	backwards_start(&path, out, out_size);
	if (name)
		backwards_put(&path, name);
	pthread_mutex_lock(&nodes->lock);
	while (node->links) {
		backwards_put(&path, node->links->name);
		node = node->links->parent;
	}
	pthread_mutex_unlock(&nodes->lock);
	backwards_finish(&path);
}
