#include "errors.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A path may be long and a sentence foreign: one refusal must not fill a screen. */
#define PATH_KEPT 1023
#define SENTENCE_KEPT 511

struct refusal {
	uint64_t time_ms;
	uint64_t times; /* 0: the place is free */
	int error;      /* positive */
	char *path;
	char *sentence;
};

struct errors {
	pthread_mutex_t lock;
	struct clock clock;
	uint64_t total;
	size_t newest; /* place of the newest, where total > 0 */
	struct refusal kept[ERRORS_KEPT];
};

struct errors *errors_new(const struct clock *clock)
{
	struct errors *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->clock = *clock;
	e->newest = ERRORS_KEPT - 1;
	if (pthread_mutex_init(&e->lock, NULL) != 0) {
		free(e);
		return NULL;
	}
	return e;
}

void errors_free(struct errors *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < ERRORS_KEPT; i++) {
		free(e->kept[i].path);
		free(e->kept[i].sentence);
	}
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static bool same_text(const char *kept, const char *text, size_t kept_max)
{
	return kept && strlen(kept) == strnlen(text, kept_max) &&
	       strncmp(kept, text, kept_max) == 0;
}

static bool is_repeat(const struct refusal *r, const char *path, int error, const char *sentence)
{
	return r->times > 0 && r->error == error && same_text(r->path, path, PATH_KEPT) &&
	       same_text(r->sentence, sentence, SENTENCE_KEPT);
}

/* With no memory left the line stays without words, but it is there. */
static void replace_oldest(struct errors *e, const char *path, int error, const char *sentence)
{
	e->newest = (e->newest + 1) % ERRORS_KEPT;

	struct refusal *r = &e->kept[e->newest];
	free(r->path);
	free(r->sentence);
	r->path = strndup(path, PATH_KEPT);
	r->sentence = strndup(sentence, SENTENCE_KEPT);
	r->error = error;
	r->times = 0;
}

void errors_add(struct errors *e, const char *path, int error, const char *sentence)
{
	uint64_t time_ms = clock_time_ms(&e->clock);

	if (error < 0)
		error = -error;
	pthread_mutex_lock(&e->lock);
	if (!is_repeat(&e->kept[e->newest], path, error, sentence))
		replace_oldest(e, path, error, sentence);
	e->kept[e->newest].time_ms = time_ms;
	e->kept[e->newest].times++;
	e->total++;
	pthread_mutex_unlock(&e->lock);
}

uint64_t errors_count(struct errors *e)
{
	pthread_mutex_lock(&e->lock);
	uint64_t total = e->total;
	pthread_mutex_unlock(&e->lock);
	return total;
}

/* A name may hold any byte; a line must stay one line and a terminal unharmed. */
static void put_visible(struct bytes *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			bytes_put_format(out, "\\x%02x", *c);
		else
			bytes_put(out, c, 1);
	}
}

static void put_time(struct bytes *out, uint64_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm utc;
	char text[32];

	if (!gmtime_r(&seconds, &utc) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
		bytes_put_text(out, "?");
	else
		bytes_put_text(out, text);
}

static void put_line(struct bytes *out, const struct refusal *r)
{
	const char *name = strerrorname_np(r->error);

	put_time(out, r->time_ms);
	bytes_put_text(out, "  ");
	put_visible(out, r->path ? r->path : "?");
	bytes_put_text(out, "  ");
	if (name)
		bytes_put_text(out, name);
	else
		bytes_put_format(out, "%d", r->error);
	bytes_put_text(out, "  ");
	put_visible(out, r->sentence ? r->sentence : "?");
	if (r->times > 1)
		bytes_put_format(out, " (%llu times)", (unsigned long long)r->times);
	bytes_put_text(out, "\n");
}

void errors_read(struct errors *e, struct bytes *out)
{
	pthread_mutex_lock(&e->lock);
	for (size_t i = 0; i < ERRORS_KEPT; i++) {
		const struct refusal *r = &e->kept[(e->newest + ERRORS_KEPT - i) % ERRORS_KEPT];
		if (r->times == 0)
			break;
		put_line(out, r);
	}
	pthread_mutex_unlock(&e->lock);
}
