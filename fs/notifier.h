/*
 * notifier.h - the one thread that tells the kernel what it has cached and is not so any more.
 *
 * Told after the commit, from any thread, without waiting; the kernel is called
 * with no lock held, since an invalidation waits for whatever goes on in that
 * directory.  The same name told twice before its turn is told once.
 */
#ifndef NOTIFIER_H
#define NOTIFIER_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"

struct notifier;

struct notice { /* a name in a person's directory, or below a node of the kernel's; or a node's own bytes */
	struct id person, directory;
	uint64_t parent; /* node number; 0: by person and directory */
	const char *name;
	bool surplus; /* names of which the kernel knows too many, and nothing of the rest; parent is UINT64_MAX */
	bool arrived; /* from a peer: people are told too */
	/* 0, or a kind of event (core.h) of the person and a device in `directory`: people are told, the kernel is not. parent: UINT64_MAX less it. */
	int event;
	uint64_t bytes_of; /* node number: what is cached of its bytes and attributes, and nothing of the above; 0: none */
};

/* `tell` is called on the notifier's thread, in order. */
int notifier_new(struct notifier **out, void (*tell)(void *context, const struct notice *notice), void *context);
/*
 * What is queued is dropped. False: the thread did not come back from the kernel within 5 s; it
 * is left there, and so is what `tell` uses after the kernel was called. Takes NULL (true).
 */
bool notifier_free(struct notifier *n);
/* Copies the notice. Without memory it is lost: the caches' times bound the harm. */
void notifier_add(struct notifier *n, const struct notice *notice);
uint64_t notifier_count(struct notifier *n); /* told so far */

#endif
