/*
 * inbox.h - what other threads ask of the network thread.
 *
 * Any thread puts, the network thread takes all at once.  Bounded; a leaf: nothing is called with its lock held.
 */
#ifndef INBOX_H
#define INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "id.h"

enum request_kind { REQUEST_CONNECT, REQUEST_WANT };

struct request {
	enum request_kind kind;
	char address[ADDRESS_SIZE_MAX];
	bool has_expected;
	struct id id; /* whom CONNECT expects; the version that is wanted */
	uint64_t token, until_ms;
};

enum inbox_flag {
	INBOX_STOP = 1,
	INBOX_APPENDED = 2, /* to the own log */
	INBOX_FOLLOWS = 4,  /* changed */
};

struct inbox {
	pthread_mutex_t lock;
	struct request *requests;
	size_t count;
	unsigned flags;
	bool alone;
};

void inbox_init(struct inbox *in);
void inbox_finish(struct inbox *in);

/* -EAGAIN: too many wait; -ENOMEM.  0: the thread is to be woken. */
int inbox_put(struct inbox *in, const struct request *request);
/* Is the thread to be woken?  Not for a flag that stands already, nor for INBOX_APPENDED while it is alone. */
bool inbox_raise(struct inbox *in, enum inbox_flag flag);
bool inbox_has(struct inbox *in, enum inbox_flag flag); /* it was raised, and not taken yet */

/* *out: to be freed by the caller, *count of them. Returns the flags that were raised. */
unsigned inbox_take(struct inbox *in, struct request **out, size_t *count);
/* There is no connection: nobody to tell what is appended.  Returns the flags that stand. */
unsigned inbox_set_alone(struct inbox *in, bool alone);

#endif
