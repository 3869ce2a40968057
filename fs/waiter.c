#include "waiter.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#define SWEEP_MS 20 /* between two looks at all that waits, while pieces keep coming */

struct waiter {
	struct waiter_options options;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	struct waiting *list;
	size_t count;
	uint64_t next_token;
	uint64_t swept_ms;
	bool came, ending;
};

static uint64_t now_ms(const struct waiter *w)
{
	return clock_now_ms(&w->options.clock);
}

/* ---- the thread ---- */

/* One that something is to be done about now, made busy; else when there will be, in *out_ms. */
static struct waiting *next_due(struct waiter *w, uint64_t now, uint64_t *out_ms)
{
	struct waiting *waiting;

	*out_ms = UINT64_MAX;
	DL_FOREACH(w->list, waiting) {
		if (waiting->own.busy)
			continue;
		if (w->ending || waiting->own.interrupted || waiting->own.due || waiting->until_ms <= now) {
			waiting->own.due = false;
			waiting->own.busy = true;
			return waiting;
		}
		if (waiting->until_ms < *out_ms)
			*out_ms = waiting->until_ms;
	}
	return NULL;
}

/* What came may be what any of them waits for; a flood of pieces is not looked at one by one. */
static void sweep(struct waiter *w, uint64_t now, uint64_t *next_ms)
{
	struct waiting *waiting;

	if (!w->came)
		return;
	if (now < w->swept_ms + SWEEP_MS) {
		*next_ms = w->swept_ms + SWEEP_MS < *next_ms ? w->swept_ms + SWEEP_MS : *next_ms;
		return;
	}
	w->came = false;
	w->swept_ms = now;
	DL_FOREACH(w->list, waiting) {
		waiting->own.due = true;
		*next_ms = now;
	}
}

static void finish(struct waiter *w, struct waiting *waiting)
{
	DL_DELETE(w->list, waiting);
	w->count--;
	pthread_mutex_unlock(&w->lock);
	waiting->end(waiting);
	pthread_mutex_lock(&w->lock);
}

/* Without the lock while it is attempted: it is busy, so nobody else ends it. */
static void attend(struct waiter *w, struct waiting *waiting)
{
	bool late = w->ending || waiting->until_ms <= now_ms(w);
	int err = waiting->own.interrupted ? -EINTR : w->ending ? -ENODATA : 0;

	pthread_mutex_unlock(&w->lock);
	if (err == 0)
		err = waiting->attempt(waiting);
	else
		late = true;
	if (err < 0 && late)
		waiting->refuse(waiting, err);
	pthread_mutex_lock(&w->lock);
	if (err == 0 || late)
		finish(w, waiting);
	else
		waiting->own.busy = false;
}

static void sleep_until(struct waiter *w, uint64_t now, uint64_t until_ms)
{
	struct timespec until;

	if (until_ms == UINT64_MAX) {
		pthread_cond_wait(&w->wake, &w->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t ns = (uint64_t)until.tv_nsec + (until_ms > now ? until_ms - now : 1) * 1000000;
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec = (long)(ns % 1000000000);
	pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

static void *waiter_run(void *argument)
{
	struct waiter *w = argument;
	struct waiting *waiting;
	uint64_t next_ms;

	pthread_mutex_lock(&w->lock);
	while (!w->ending || w->count > 0) {
		uint64_t now = now_ms(w);
		waiting = next_due(w, now, &next_ms);
		if (waiting) {
			attend(w, waiting);
			continue;
		}
		sweep(w, now, &next_ms);
		if (next_ms > now)
			sleep_until(w, now, next_ms);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- beginning and end ---- */

int waiter_new(struct waiter **out, const struct waiter_options *options)
{
	struct waiter *w = calloc(1, sizeof(*w));
	pthread_condattr_t attributes;
	sigset_t all, before;

	if (!w)
		return -ENOMEM;
	w->options = *options;
	w->next_token = 1;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attributes);
	pthread_condattr_destroy(&attributes);

	/* Signals are for the thread that serves the session. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&w->thread, NULL, waiter_run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		pthread_cond_destroy(&w->wake);
		pthread_mutex_destroy(&w->lock);
		free(w);
		return -err;
	}
	*out = w;
	return 0;
}

void waiter_free(struct waiter *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* ---- parking ---- */

static int enter(struct waiter *w, struct waiting *waiting)
{
	int err = 0;

	pthread_mutex_lock(&w->lock);
	if (w->ending || w->count >= WAITING_MAX || waiting->until_ms <= now_ms(w)) {
		err = -ENODATA;
	} else {
		w->next_token += waiting->version_count + 1;
		waiting->own = (struct waiting_private){ .token = w->next_token - 1, .wanted = waiting->version_count,
							 .busy = true };
		DL_APPEND(w->list, waiting);
		w->count++;
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

int waiter_park(struct waiter *w, struct waiting *waiting, void (*ready)(struct waiting *waiting, uint64_t token))
{
	int err = enter(w, waiting);

	if (err < 0)
		return err;
	/* Busy: neither an interrupt nor an answer ends it yet. */
	const uint64_t token = waiting->own.token, until_ms = waiting->until_ms;
	if (ready)
		ready(waiting, token);
	size_t refused = 0;
	for (size_t i = 0; i < waiting->version_count; i++)
		if (w->options.want(w->options.context, &waiting->versions[i], token - i, until_ms) < 0)
			refused++;
	pthread_mutex_lock(&w->lock);
	waiting->own.busy = false;
	/* What it needs may have come since it was looked for. */
	waiting->own.due = true;
	waiting->own.wanted -= refused < waiting->own.wanted ? refused : waiting->own.wanted;
	/* Nobody will bring it. */
	if (waiting->own.wanted == 0)
		waiting->until_ms = now_ms(w);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

static struct waiting *find(struct waiter *w, uint64_t token)
{
	struct waiting *waiting;

	DL_FOREACH(w->list, waiting)
		if (token <= waiting->own.token && waiting->own.token - token <= waiting->version_count)
			return waiting;
	return NULL;
}

void waiter_interrupt(struct waiter *w, uint64_t token)
{
	pthread_mutex_lock(&w->lock);
	struct waiting *waiting = find(w, token);
	if (waiting) {
		waiting->own.interrupted = true;
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
}

/* When the last of them was answered, what is not here then will not come. */
void waiter_wanted(struct waiter *w, uint64_t token)
{
	pthread_mutex_lock(&w->lock);
	struct waiting *waiting = find(w, token);
	if (waiting && waiting->own.wanted > 0) {
		waiting->own.due = true;
		if (--waiting->own.wanted == 0)
			waiting->until_ms = now_ms(w);
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
}

void waiter_came(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	w->came = w->count > 0;
	if (w->came)
		pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

size_t waiter_count(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	size_t count = w->count;
	pthread_mutex_unlock(&w->lock);
	return count;
}
