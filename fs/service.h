/*
 * service.h - the control files of a node without a mount, served on a socket in its data folder: request.h's words.
 *
 * One thread serves all who ask, in turn, with poll(2). Only this user and root are answered. What a connection may
 * cost is bounded: how many there are, what one may send, how long it may take. Watching has no end but the
 * watcher's, or the node's. Whoever starts it holds the data folder's lock.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <sys/un.h>

#include "control.h"
#include "request.h"

#define SERVICE_SOCKET "socket"       /* in the data folder */
#define SERVICE_CONNECTIONS_MAX 32    /* others wait in the queue of the socket until one ends */
#define SERVICE_WATCHERS_MAX 16       /* of them: those who ask find a place */
#define SERVICE_SLOW_MS 5000          /* until a request is whole, and for each part of the answer to be taken */
#define SERVICE_ANSWER_MAX (4u << 20) /* lists end early, and say so */

struct service;

struct service_options {
	const struct control_host *host; /* with its errors and events */
	struct clock clock;
	int wake_fd;      /* a nonblocking eventfd(2), the caller's: written to when there are new events */
	uint64_t slow_ms; /* 0: SERVICE_SLOW_MS */
};

/*
 * Replaces a socket that was left there. What the options name outlives the service. -EEXIST: something else is called
 * `socket`; -EADDRINUSE, ..., with a sentence.
 */
int service_start(struct service **out, const struct service_options *options, struct why *why);
/* Ends every connection, removes the socket. Takes NULL. */
void service_stop(struct service *s);
/*
 * Where it listens. A data folder may lie deeper than the address of a socket is long, so the way goes by a
 * descriptor of the folder, which must stay open as long as the address is used.
 */
void service_address(int directory_fd, struct sockaddr_un *out);

#endif
