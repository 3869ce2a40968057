/*
 * lookup.h - the address of a host; of a name, found by a thread of its own that may hang in the resolver for as long as
 * it likes: nobody ever waits for it.
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#include <stdint.h>
#include <sys/socket.h>

#include "net_limits.h"

/* The address of a host that is written in numbers, or `localhost`. -EINVAL: it is a name. */
int lookup_numeric(const char *host, uint16_t port, struct sockaddr_storage *out);
/* The other way: host:port in numbers. */
void lookup_name(const struct sockaddr_storage *from, char out[ADDRESS_SIZE_MAX]);

struct lookup;

/* `found` is called once, on another thread, when there is something to take; never after lookup_leave(). It may not call back. */
int lookup_start(struct lookup **out, const char *host, uint16_t port, void (*found)(void *context), void *context);
/* -EAGAIN: not yet. Else it is over and freed: the first address of the host, or -ENOENT. */
int lookup_take(struct lookup *lookup, struct sockaddr_storage *out);
/* Nobody waits any more. Takes NULL. */
void lookup_leave(struct lookup *lookup);

#endif
