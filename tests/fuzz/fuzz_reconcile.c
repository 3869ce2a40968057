/*
 * Byte 0: how many items our set has. The rest is chunks, each two bytes of size (little-endian) and so
 * many bytes: every chunk is asked of a responder, and answers an initiator until it is over.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "reconcile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[16] = { 1, 2, 3 };

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* Items spread evenly, so that short bounds fall between them. */
static struct reconcile_set *make_set(size_t count)
{
	struct head heads[256];

	for (size_t i = 0; i < count; i++) {
		heads[i] = (struct head){ .seq = i, .records = i + 1 };
		heads[i].device.bytes[0] = (uint8_t)i;
		heads[i].device.bytes[1] = 0x80;
	}
	return reconcile_set_new(heads, count, key);
}

struct last {
	struct id device;
	size_t count;
};

static void see(void *context, const struct head *head)
{
	struct last *last = context;

	require(last->count == 0 || id_compare(&last->device, &head->device) <= 0);
	last->device = head->device;
	last->count++;
}

/* What is accepted is answered with something. */
static void ask(const struct reconcile_set *set, const uint8_t *chunk, size_t size)
{
	struct bytes out;

	bytes_init(&out, RECONCILE_MESSAGE_MAX);
	int err = reconcile_answer(set, chunk, size, &out);
	require(err < 0 ? out.size == 0 : out.size > 0);
	bytes_finish(&out);
}

/* True: it goes on. */
static bool answer(struct reconcile *r, const struct reconcile_set *set, const uint8_t *chunk, size_t size,
		   size_t *mine)
{
	struct last theirs = { .count = 0 }, ours = { .count = 0 };
	struct bytes next, reply;

	bytes_init(&next, RECONCILE_MESSAGE_MAX);
	bytes_init(&reply, RECONCILE_MESSAGE_MAX);
	int result = reconcile_take(r, chunk, size, &next);
	require((result == 1) == (next.size > 0));
	if (result == 1) /* what we ask is well-formed, whatever was answered */
		require(reconcile_answer(set, next.data, next.size, &reply) == 0);
	reconcile_each_theirs(r, see, &theirs);
	reconcile_each_mine(r, see, &ours);
	*mine += ours.count;
	bytes_finish(&next);
	bytes_finish(&reply);
	return result == 1;
}

static void feed(const struct reconcile_set *set, size_t count, const uint8_t *data, size_t size)
{
	struct reconcile *r = reconcile_new(set);
	struct bytes first;
	size_t mine = 0;

	if (!r)
		return;
	bytes_init(&first, RECONCILE_MESSAGE_MAX);
	require(reconcile_begin(r, &first) == 0);
	bytes_finish(&first);
	for (bool goes_on = true; size >= 2;) {
		size_t chunk_size = (size_t)(data[0] | data[1] << 8);

		data += 2;
		size -= 2;
		if (chunk_size > size)
			chunk_size = size;
		CLEANUP(cleanup_free) uint8_t *chunk = malloc(chunk_size > 0 ? chunk_size : 1);
		if (!chunk)
			break;
		memcpy(chunk, data, chunk_size);
		ask(set, chunk, chunk_size);
		goes_on = goes_on && answer(r, set, chunk, chunk_size, &mine);
		data += chunk_size;
		size -= chunk_size;
	}
	require(mine <= count); /* each is told once */
	reconcile_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;

	struct reconcile_set *set = make_set(data[0]);
	if (set)
		feed(set, data[0], data + 1, size - 1);
	reconcile_set_free(set);
	return 0;
}
