#include "open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A text of a control file: diffs and merges of two large documents still fit. */
#define TEXT_MAX (256u * 1024 * 1024)
/* What is written to a control file before it is applied. */
#define WRITTEN_MAX (64u * 1024 * 1024)

struct open *open_new(enum open_kind kind, int flags, uint32_t process)
{
	struct open *open = calloc(1, sizeof(*open));
	if (!open)
		return NULL;

	open->kind = kind;
	open->flags = flags;
	open->process = process;
	open->fd = -1;
	pthread_mutex_init(&open->lock, NULL);
	bytes_init(&open->text, TEXT_MAX);
	bytes_init(&open->written, WRITTEN_MAX);
	return open;
}

void open_free(struct open *open)
{
	if (!open)
		return;

	if (open->fd >= 0)
		close(open->fd);
	free(open->content);
	bytes_finish(&open->text);
	bytes_finish(&open->written);
	listing_clear(&open->listing);
	pthread_mutex_destroy(&open->lock);
	free(open);
}

int listing_add(struct listing *listing, const char *name, mode_t type, uint64_t ino)
{
	if (listing->count == listing->capacity) {
		size_t capacity = listing->capacity ? listing->capacity * 2 : 16;
		struct listed *items = realloc(listing->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		listing->items = items;
		listing->capacity = capacity;
	}

	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	listing->items[listing->count++] = (struct listed){ .name = copy, .type = type, .ino = ino };
	return 0;
}

void listing_clear(struct listing *listing)
{
	for (size_t index = 0; index < listing->count; index++)
		free(listing->items[index].name);
	free(listing->items);
	*listing = (struct listing){ 0 };
}
