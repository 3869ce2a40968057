#include "events.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "bytes.h"
#include "utf8.h"

#define LINE_SIZE_MAX 16384 /* a path of 4,096 bytes with each byte shown as four */

struct listener {
	uint64_t next; /* number of the line that it reads next */
	void *armed;
	struct listener *prev, *following;
};

struct events {
	struct clock clock;
	pthread_mutex_t lock;
	char *lines[EVENTS_KEPT]; /* by number, modulo their count */
	uint64_t count;           /* of all that there were */
	struct listener *listeners;
	size_t listener_count;
};

struct events *events_new(const struct clock *clock)
{
	struct events *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->clock = *clock;
	pthread_mutex_init(&e->lock, NULL);
	return e;
}

void events_free(struct events *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free(e->lines[i]);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

/* ---- lines ---- */

static void put_visible(struct bytes *out, const char *text)
{
	bool whole = utf8_valid(text, strlen(text));

	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !whole))
			bytes_put_format(out, "\\x%02x", byte);
		else
			bytes_put_u8(out, byte);
	}
}

static char *make_line(uint64_t time_ms, const char *what, const char *path)
{
	time_t seconds = (time_t)(time_ms / 1000);
	char time[32];
	struct bytes line;
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &tm);
	bytes_init(&line, LINE_SIZE_MAX);
	bytes_put_format(&line, "%s\t%s\t", time, what);
	put_visible(&line, path);
	bytes_put(&line, "\n", 2);
	char *copy = bytes_error(&line) < 0 ? NULL : strdup((const char *)line.data);
	bytes_finish(&line);
	return copy;
}

void events_add(struct events *e, const char *what, const char *path)
{
	char *line = make_line(clock_time_ms(&e->clock), what, path);

	if (!line)
		return;
	pthread_mutex_lock(&e->lock);
	char **at = &e->lines[e->count++ % EVENTS_KEPT];
	char *old = *at;
	*at = line;
	pthread_mutex_unlock(&e->lock);
	free(old);
}

/* ---- who reads ---- */

static uint64_t oldest(const struct events *e)
{
	return e->count > EVENTS_KEPT ? e->count - EVENTS_KEPT : 0;
}

int events_listen(struct events *e, struct listener **out)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_lock(&e->lock);
	bool full = e->listener_count == LISTENERS_MAX;
	if (!full) {
		l->next = oldest(e);
		DL_APPEND2(e->listeners, l, prev, following);
		e->listener_count++;
	}
	pthread_mutex_unlock(&e->lock);
	if (full) {
		free(l);
		return -EMFILE;
	}
	*out = l;
	return 0;
}

void *events_leave(struct events *e, struct listener *l)
{
	if (!l)
		return NULL;
	pthread_mutex_lock(&e->lock);
	void *armed = l->armed;
	DL_DELETE2(e->listeners, l, prev, following);
	e->listener_count--;
	pthread_mutex_unlock(&e->lock);
	free(l);
	return armed;
}

/* It was slower than what came. */
static size_t tell_missed(struct events *e, struct listener *l, char *out, size_t size)
{
	char line[64];

	int length = snprintf(line, sizeof(line), "# %" PRIu64 " lines before these are not kept\n", oldest(e) - l->next);
	if ((size_t)length > size)
		return 0;
	memcpy(out, line, (size_t)length);
	l->next = oldest(e);
	return (size_t)length;
}

size_t events_read(struct events *e, struct listener *l, char *out, size_t size)
{
	size_t used = 0;

	pthread_mutex_lock(&e->lock);
	if (l->next < oldest(e))
		used = tell_missed(e, l, out, size);
	while (l->next >= oldest(e) && l->next < e->count) {
		const char *line = e->lines[l->next % EVENTS_KEPT];
		size_t length = strlen(line);
		if (length > size - used && used > 0)
			break;
		if (length > size)
			length = size;
		memcpy(out + used, line, length);
		used += length;
		l->next++;
	}
	pthread_mutex_unlock(&e->lock);
	return used;
}

bool events_has_more(struct events *e, struct listener *l)
{
	pthread_mutex_lock(&e->lock);
	bool more = l->next < e->count;
	pthread_mutex_unlock(&e->lock);
	return more;
}

void *events_arm(struct events *e, struct listener *l, void *armed)
{
	pthread_mutex_lock(&e->lock);
	void *before = l->armed;
	l->armed = armed;
	pthread_mutex_unlock(&e->lock);
	return before;
}

static void *take_armed(struct events *e)
{
	struct listener *l;
	void *armed = NULL;

	pthread_mutex_lock(&e->lock);
	DL_FOREACH2(e->listeners, l, following) {
		if (l->armed && l->next < e->count) {
			armed = l->armed;
			l->armed = NULL;
			break;
		}
	}
	pthread_mutex_unlock(&e->lock);
	return armed;
}

void events_wake(struct events *e, void (*wake)(void *context, void *armed), void *context)
{
	void *armed;

	while ((armed = take_armed(e)))
		wake(context, armed);
}
