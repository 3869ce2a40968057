/*
 * events.h - what arrived, a line each: the last thousand, and whoever reads them as they come.
 *
 * A line is TIME, a tab, what it is, a tab, and the path or person: one line, whatever a name has.  Threads: any; the
 * functions given are called with no lock held.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"

#define EVENTS_KEPT 1000
#define LISTENERS_MAX 1024

struct events;
struct listener; /* one who reads */

struct events *events_new(const struct clock *clock); /* NULL: no memory */
void events_free(struct events *e); /* every listener has left; takes NULL */
/* Without memory it is lost. */
void events_add(struct events *e, const char *what, const char *path);

/* From the oldest line that is kept. -ENOMEM; -EMFILE: too many listen. */
int events_listen(struct events *e, struct listener **out);
/* Returns what was armed, or NULL. Takes NULL. */
void *events_leave(struct events *e, struct listener *l);
/*
 * Whole lines that it has not read yet, as many as fit (one that does not fit at all is cut); 0: no more now.
 * Lines that were dropped meanwhile are told of by one that says how many.
 */
size_t events_read(struct events *e, struct listener *l, char *out, size_t size);
bool events_has_more(struct events *e, struct listener *l);
/* What to wake when there is more; what was armed before is returned, the caller's again. */
void *events_arm(struct events *e, struct listener *l, void *armed);
/* Gives back, each once, what is armed of those for whom there is more. */
void events_wake(struct events *e, void (*wake)(void *context, void *armed), void *context);

#endif
