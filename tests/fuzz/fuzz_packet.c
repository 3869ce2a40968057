/* A packet that is accepted can be walked to the end, and has one spelling. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/packet_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void fixed_random(void *context, uint8_t *out, size_t size)
{
	memset(out, 1, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *copy = malloc(size > 0 ? size : 1);
	const struct clock clock = { .random = fixed_random };
	struct packet packet;
	struct bytes again;
	struct key key;

	if (!copy)
		return 0;
	if (size > 0)
		memcpy(copy, data, size);
	if (packet_read(&packet, copy, size) < 0)
		return 0;

	if (packet.kind == PACKET_PAGE)
		key_create(&key, &clock);
	bytes_init(&again, PACKET_SIZE_MAX);
	kit_put_again(&packet, &key, &again);
	require(bytes_error(&again) == 0 && again.size == size && memcmp(again.data, copy, size) == 0);
	bytes_finish(&again);
	return 0;
}
