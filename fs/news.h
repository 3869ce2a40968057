/*
 * news.h - what people are told of the network: a line of `@/events` for each thing that arrived.
 *
 * Threads: any, but not the network's, since names are looked up in the store.
 */
#ifndef NEWS_H
#define NEWS_H

#include "events.h"
#include "notifier.h"
#include "store.h"

/* Where the last one was: what arrives comes by thousands in one directory. Zeroed at first; of one thread. */
struct news_place {
	struct id person, directory;
	journal_place covered; /* when the path was looked up: it is so until more is */
	char path[1024];
};

/* Of a notice that has `arrived` or an `event`; of others nothing is told. Waking who listens is the caller's. */
void news_tell(struct store *store, struct events *events, struct news_place *place, const struct notice *notice);

#endif
