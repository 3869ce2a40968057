#include "inbox.h"

#include <errno.h>
#include <stdlib.h>

#define REQUESTS_MAX 4096
#define REQUESTS_GROW 64

void inbox_init(struct inbox *in)
{
	*in = (struct inbox){ 0 };
	pthread_mutex_init(&in->lock, NULL);
}

void inbox_finish(struct inbox *in)
{
	free(in->requests);
	pthread_mutex_destroy(&in->lock);
}

static int put(struct inbox *in, const struct request *request)
{
	if (in->count >= REQUESTS_MAX)
		return -EAGAIN;
	if (in->count % REQUESTS_GROW == 0) {
		struct request *grown = realloc(in->requests, (in->count + REQUESTS_GROW) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		in->requests = grown;
	}
	in->requests[in->count++] = *request;
	return 0;
}

int inbox_put(struct inbox *in, const struct request *request)
{
	pthread_mutex_lock(&in->lock);
	int err = put(in, request);
	pthread_mutex_unlock(&in->lock);
	return err;
}

bool inbox_raise(struct inbox *in, enum inbox_flag flag)
{
	pthread_mutex_lock(&in->lock);
	bool wakes = !(in->flags & flag) && !(flag == INBOX_APPENDED && in->alone);
	in->flags |= flag;
	pthread_mutex_unlock(&in->lock);
	return wakes;
}

bool inbox_has(struct inbox *in, enum inbox_flag flag)
{
	pthread_mutex_lock(&in->lock);
	bool has = in->flags & flag;
	pthread_mutex_unlock(&in->lock);
	return has;
}

unsigned inbox_take(struct inbox *in, struct request **out, size_t *count)
{
	pthread_mutex_lock(&in->lock);
	const unsigned flags = in->flags;
	*out = in->requests;
	*count = in->count;
	in->requests = NULL;
	in->count = 0;
	in->flags = 0;
	pthread_mutex_unlock(&in->lock);
	return flags;
}

unsigned inbox_set_alone(struct inbox *in, bool alone)
{
	pthread_mutex_lock(&in->lock);
	in->alone = alone;
	const unsigned flags = in->flags;
	pthread_mutex_unlock(&in->lock);
	return flags;
}
