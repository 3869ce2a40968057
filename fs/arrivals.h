/*
 * arrivals.h - what comes from elsewhere: the kernel is told what it has cached and is not so any more, people what came.
 *
 * An open file keeps its text; the name leads to a new node (node.h), which one invalidation of the entry brings about.
 */
#ifndef ARRIVALS_H
#define ARRIVALS_H

#include "core.h"
#include "mount_state.h"

/* On the notifier's thread: see notifier_new(). */
void arrivals_tell(void *context, const struct notice *notice);
/* For network_options; context: the mount. */
void arrivals_coming(void *context, const struct id *person, const struct id *directory, const char *name);
void arrivals_came(void *context, const struct id *person, const struct id *directory, const char *name);
void arrivals_event(void *context, const struct event *event);

#endif
