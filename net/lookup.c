#include "lookup.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"

int lookup_numeric(const char *host, uint16_t port, struct sockaddr_storage *out)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, service, &hints, &found) != 0)
		return -EINVAL;
	memcpy(out, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return 0;
}

void lookup_name(const struct sockaddr_storage *from, char out[ADDRESS_SIZE_MAX])
{
	const socklen_t size = from->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	char host[NI_MAXHOST], service[NI_MAXSERV];

	if (getnameinfo((const struct sockaddr *)from, size, host, sizeof(host), service, sizeof(service),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		out[0] = '\0';
		return;
	}
	address_join(out, host, (uint16_t)atoi(service));
}

struct lookup { /* freed by whoever of the two comes last */
	pthread_mutex_t lock;
	void (*found)(void *context); /* NULL: nobody waits any more */
	void *context;
	bool done;
	int error;
	struct sockaddr_storage address;
	char host[ADDRESS_SIZE_MAX], service[8];
};

static void lookup_free(struct lookup *lookup)
{
	pthread_mutex_destroy(&lookup->lock);
	free(lookup);
}

static void *lookup_run(void *argument)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct lookup *lookup = argument;
	struct addrinfo *list = NULL;

	int failed = getaddrinfo(lookup->host, lookup->service, &hints, &list);
	pthread_mutex_lock(&lookup->lock);
	lookup->error = failed ? -ENOENT : 0;
	if (!failed)
		memcpy(&lookup->address, list->ai_addr, list->ai_addrlen);
	lookup->done = true;
	bool awaited = lookup->found != NULL;
	/* Under the lock: who leaves then waits until this is told. */
	if (awaited)
		lookup->found(lookup->context);
	pthread_mutex_unlock(&lookup->lock);
	if (list)
		freeaddrinfo(list);
	if (!awaited)
		lookup_free(lookup);
	return NULL;
}

int lookup_start(struct lookup **out, const char *host, uint16_t port, void (*found)(void *context), void *context)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_t thread;

	if (!lookup)
		return -ENOMEM;
	pthread_mutex_init(&lookup->lock, NULL);
	lookup->found = found;
	lookup->context = context;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->service, sizeof(lookup->service), "%u", port);
	int err = pthread_create(&thread, NULL, lookup_run, lookup);
	if (err != 0) {
		lookup_free(lookup);
		return -err;
	}
	pthread_detach(thread);
	*out = lookup;
	return 0;
}

int lookup_take(struct lookup *lookup, struct sockaddr_storage *out)
{
	pthread_mutex_lock(&lookup->lock);
	bool done = lookup->done;
	pthread_mutex_unlock(&lookup->lock);
	if (!done)
		return -EAGAIN;
	int err = lookup->error;
	if (err == 0)
		*out = lookup->address;
	lookup_free(lookup);
	return err;
}

void lookup_leave(struct lookup *lookup)
{
	if (!lookup)
		return;
	pthread_mutex_lock(&lookup->lock);
	bool done = lookup->done;
	lookup->found = NULL;
	pthread_mutex_unlock(&lookup->lock);
	if (done)
		lookup_free(lookup);
}
