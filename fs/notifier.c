#include "notifier.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#define END_WAIT_S 5

struct queued {
	UT_hash_handle hh; /* uthash keeps the order in which they were added */
	struct notice notice;
	size_t key_size;
	uint8_t key[]; /* person, directory, parent, bytes_of, name */
};

#define KEY_FIXED (2 * sizeof(struct id) + 2 * sizeof(uint64_t))

struct notifier {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct queued *queue;
	uint64_t count;
	bool ending;
	void (*tell)(void *context, const struct notice *notice);
	void *context;
};

static struct queued *notifier_take(struct notifier *n)
{
	struct queued *first = NULL;
	pthread_mutex_lock(&n->lock);
	while (!n->queue && !n->ending)
		pthread_cond_wait(&n->more, &n->lock);
	if (!n->ending) {
		first = n->queue;
		HASH_DELETE(hh, n->queue, first);
		n->count++;
	}
	pthread_mutex_unlock(&n->lock);
	return first;
}

static void *notifier_run(void *argument)
{
	struct notifier *n = argument;
	struct queued *queued;

	while ((queued = notifier_take(n))) {
		n->tell(n->context, &queued->notice);
		free(queued);
	}
	return NULL;
}

int notifier_new(struct notifier **out, void (*tell)(void *context, const struct notice *notice), void *context)
{
	struct notifier *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->more, NULL);
	n->tell = tell;
	n->context = context;

	/* Signals are for the thread that serves the session. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&n->thread, NULL, notifier_run, n);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		pthread_cond_destroy(&n->more);
		pthread_mutex_destroy(&n->lock);
		free(n);
		return -err;
	}
	*out = n;
	return 0;
}

bool notifier_free(struct notifier *n)
{
	struct timespec until;
	if (!n)
		return true;

	pthread_mutex_lock(&n->lock);
	n->ending = true;
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_WAIT_S;
	if (pthread_timedjoin_np(n->thread, NULL, &until) != 0)
		return false;

	struct queued *queued, *next;
	HASH_ITER(hh, n->queue, queued, next) {
		HASH_DELETE(hh, n->queue, queued);
		free(queued);
	}
	pthread_cond_destroy(&n->more);
	pthread_mutex_destroy(&n->lock);
	free(n);
	return true;
}

static struct queued *queued_new(const struct notice *notice)
{
	const char *name = notice->name ? notice->name : "";
	size_t name_size = strlen(name);
	struct queued *queued = calloc(1, sizeof(*queued) + KEY_FIXED + name_size + 1);
	if (!queued)
		return NULL;

	uint8_t *at = queued->key;
	memcpy(at, &notice->person, sizeof(struct id));
	memcpy(at + sizeof(struct id), &notice->directory, sizeof(struct id));
	memcpy(at + 2 * sizeof(struct id), &notice->parent, sizeof(uint64_t));
	memcpy(at + 2 * sizeof(struct id) + sizeof(uint64_t), &notice->bytes_of, sizeof(uint64_t));
	memcpy(at + KEY_FIXED, name, name_size + 1);
	queued->key_size = KEY_FIXED + name_size;
	queued->notice = *notice;
	queued->notice.name = (const char *)at + KEY_FIXED;
	return queued;
}

void notifier_add(struct notifier *n, const struct notice *notice)
{
	struct queued *same = NULL, *queued = queued_new(notice);
	if (!queued)
		return;

	pthread_mutex_lock(&n->lock);
	HASH_FIND(hh, n->queue, queued->key, queued->key_size, same);
	if (!same && !n->ending) {
		HASH_ADD_KEYPTR(hh, n->queue, queued->key, queued->key_size, queued);
		if (queued->hh.tbl)
			queued = NULL;
		pthread_cond_signal(&n->more);
	}
	if (same)
		same->notice.arrived |= notice->arrived;
	pthread_mutex_unlock(&n->lock);
	free(queued);
}

uint64_t notifier_count(struct notifier *n)
{
	pthread_mutex_lock(&n->lock);
	uint64_t count = n->count;
	pthread_mutex_unlock(&n->lock);
	return count;
}
