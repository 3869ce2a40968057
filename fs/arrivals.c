#include "arrivals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "events.h"
#include "news.h"
#include "operations.h"
#include "person.h"

/* ---- what the kernel knows ---- */

/* Does the name still lead to what the kernel's node of it stands for? What it does not stand for any more leaves the name. */
static bool outdates(struct mount *m, const struct id *person, const struct id *directory, const char *name,
		     struct node *child)
{
	struct identity is;
	struct desk_item item;

	node_identity(m->nodes, child, &is);
	if (is.kind != NODE_DOCUMENT && is.kind != NODE_DIRECTORY)
		return false;
	int err = desk_lookup(m->desk, person, directory, name, &item);
	if (err == 0 && id_equal(&item.id, &is.id) && (item.what == WHAT_DIRECTORY) == (is.kind == NODE_DIRECTORY))
		return false;
	if (is.kind == NODE_DOCUMENT)
		node_supersede(m->nodes, child);
	return true;
}

/* A person's directory in the root: what they are called here may have become known. */
static bool outdates_person(struct mount *m, const char *name, const struct identity *is)
{
	char shown[PROFILE_NAME_MAX + 1];

	person_shown_name(m, &is->person, shown);
	return strcmp(shown, name) != 0;
}

/* What the kernel does not have cached is no error. */
static void invalidate(struct mount *m, uint64_t parent, const char *name)
{
	fuse_lowlevel_notify_inval_entry(m->session, parent, name, strlen(name));
}

static void tell_name(struct mount *m, const struct notice *notice)
{
	struct node *directory = node_of_directory(m->nodes, &notice->person, &notice->directory);

	if (!directory)
		return;
	/* All work on the table is done, and nothing held, before the kernel is called. */
	struct node *child = node_child(m->nodes, directory, notice->name);
	uint64_t parent = directory->number;
	/* One that was superseded has left the name, and the kernel may know it there still. */
	bool entry = !child || outdates(m, &notice->person, &notice->directory, notice->name, child);
	node_unpin(m->nodes, child);
	node_unpin(m->nodes, directory);
	if (entry)
		invalidate(m, parent, notice->name);
	fuse_lowlevel_notify_inval_inode(m->session, parent, -1, 0);
}

static void tell_node(struct mount *m, uint64_t number)
{
	struct node *parent, *node = node_find_pinned(m->nodes, number);
	char name[SHOWN_NAME_MAX + 1];
	struct identity is, in;
	bool entry;

	if (!node)
		return;
	int err = node_name(m->nodes, node, &parent, name);
	if (err < 0) {
		node_unpin(m->nodes, node);
		return;
	}
	uint64_t parent_number = parent->number;
	node_identity(m->nodes, node, &is);
	node_identity(m->nodes, parent, &in);
	struct node *now = node_child(m->nodes, parent, name);
	if (now != node)
		entry = true;
	else if (in.kind == NODE_DIRECTORY)
		entry = outdates(m, &in.person, &in.id, name, node);
	else
		entry = outdates_person(m, name, &is);
	node_unpin(m->nodes, now);
	node_unpin(m->nodes, node);
	node_unpin(m->nodes, parent);
	if (entry)
		invalidate(m, parent_number, name);
	fuse_lowlevel_notify_inval_inode(m->session, number, -1, 0);
}

/* This device may have been admitted, or retired. */
static void look_at_self(struct mount *m)
{
	struct store_txn *txn;

	if (store_begin(m->store, false, &txn) < 0)
		return;
	int counts = person_self_counts(txn);
	store_abort(txn);
	if (counts >= 0)
		m->counts = counts == 1;
}

/* Anything of a person may be different, or of anybody: as much as the kernel knows of them is looked at. */
static void tell_person(struct mount *m, const struct id *person)
{
	CLEANUP(cleanup_free) uint64_t *numbers = NULL;

	if (id_is_zero(person) || is_self(m, person))
		look_at_self(m);
	ssize_t count = nodes_of_person(m->nodes, person, &numbers);
	for (ssize_t i = 0; i < count; i++)
		tell_node(m, numbers[i]);
}

/* As memory pressure would, but for our own memory. */
static void shed(struct mount *m)
{
	char name[SHOWN_NAME_MAX + 1];
	uint64_t parent;

	while (node_surplus(m->nodes, &parent, name))
		invalidate(m, parent, name);
}

/* ---- what people are told ---- */

static void wake(void *context, void *armed)
{
	fuse_lowlevel_notify_poll(armed);
	fuse_pollhandle_destroy(armed);
}

void arrivals_tell(void *context, const struct notice *notice)
{
	struct mount *m = context;

	if (notice->event) {
		/* The kernel knows nothing of it. */
	} else if (notice->surplus) {
		shed(m);
	} else if (notice->bytes_of) {
		fuse_lowlevel_notify_inval_inode(m->session, notice->bytes_of, 0, 0);
	} else if (notice->parent) {
		invalidate(m, notice->parent, notice->name);
		fuse_lowlevel_notify_inval_inode(m->session, notice->parent, -1, 0);
	} else if (!notice->name[0]) {
		tell_person(m, &notice->person);
	} else {
		tell_name(m, notice);
	}
	news_tell(m->store, m->events, &m->news, notice);
	events_wake(m->events, wake, NULL);
}

/* ---- what the network tells ---- */

static void supersede_dirty(struct mount *m, uint64_t number)
{
	struct node *node = node_find_pinned(m->nodes, number);

	if (!node)
		return;
	node_supersede_dirty(m->nodes, node);
	node_unpin(m->nodes, node);
}

/*
 * A node that was saved through takes the next head for its own; this one is not, and the kernel has the
 * bytes of that save under it.
 */
void arrivals_coming(void *context, const struct id *person, const struct id *directory, const char *name)
{
	CLEANUP(cleanup_free) uint64_t *numbers = NULL;
	struct mount *m = context;

	if (!id_is_zero(person) && !is_self(m, person))
		return;
	if (!name[0]) {
		ssize_t count = nodes_of_person(m->nodes, person, &numbers);
		for (ssize_t i = 0; i < count; i++)
			supersede_dirty(m, numbers[i]);
		return;
	}
	struct node *parent = node_of_directory(m->nodes, person, directory);
	struct node *child = parent ? node_child(m->nodes, parent, name) : NULL;
	if (child)
		node_supersede_dirty(m->nodes, child);
	node_unpin(m->nodes, child);
	node_unpin(m->nodes, parent);
}

void arrivals_came(void *context, const struct id *person, const struct id *directory, const char *name)
{
	struct mount *m = context;
	const struct notice notice = { .person = *person, .directory = *directory, .name = name, .arrived = true };

	notifier_add(m->notifier, &notice);
}

/* Looking a name up takes the store: not on the network's thread. */
void arrivals_event(void *context, const struct event *event)
{
	struct mount *m = context;

	switch (event->kind) {
	case EVENT_WANTED:
		waiter_wanted(m->waiter, event->token);
		break;
	case EVENT_PIECES:
		waiter_came(m->waiter);
		break;
	case EVENT_READY:
	case EVENT_GONE:
	case EVENT_FORK:
		notifier_add(m->notifier, &(struct notice){ .person = event->person, .directory = event->device,
							    .parent = UINT64_MAX - event->kind, .event = (int)event->kind });
		break;
	case EVENT_DIAL:
	case EVENT_CLOSE:
	case EVENT_RECORDS:
	case EVENT_SYNCED:
	case EVENT_OWN_KNOWN:
		break;
	}
}
