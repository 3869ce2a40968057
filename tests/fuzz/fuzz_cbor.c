/* Any bytes: what cbor_skip() accepts, read item by item and written again, gives the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"

#define DEPTH_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void copy_string(struct cbor_reader *r, struct bytes *out, bool is_text)
{
	size_t size;

	if (is_text) {
		const char *text = cbor_get_text(r, 0, SIZE_MAX, &size);
		require(text != NULL);
		cbor_put_text(out, text, size);
	} else {
		const uint8_t *bytes = cbor_get_bytes(r, 0, SIZE_MAX, &size);
		require(bytes != NULL);
		cbor_put_bytes(out, bytes, size);
	}
}

/* Copies one item; of an array only the head, and then says how many items are to come. */
static size_t copy_item(struct cbor_reader *r, struct bytes *out)
{
	size_t count = 0;

	require(r->left > 0);
	switch (*r->at >> 5) {
	case 0:
		cbor_put_uint(out, cbor_get_uint(r, UINT64_MAX));
		break;
	case 2:
		copy_string(r, out, false);
		break;
	case 3:
		copy_string(r, out, true);
		break;
	case 4:
		count = cbor_get_array(r, 0, SIZE_MAX);
		cbor_put_array(out, count);
		break;
	default:
		abort();
	}
	require(!r->failed);
	return count;
}

static void check(const uint8_t *input, size_t size)
{
	struct cbor_reader r;
	struct bytes out;

	cbor_reader_init(&r, input, size);
	cbor_skip(&r, DEPTH_MAX);
	if (r.failed) {
		require(cbor_reader_finish(&r) < 0);
		return;
	}

	size_t item_size = size - r.left;
	require(item_size > 0 && r.at == input + item_size);
	bytes_init(&out, size);
	cbor_reader_init(&r, input, item_size);
	for (size_t pending = 1; pending > 0; pending--)
		pending += copy_item(&r, &out);
	require(cbor_reader_finish(&r) == 0 && bytes_error(&out) == 0);
	require(out.size == item_size && memcmp(out.data, input, item_size) == 0);
	bytes_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	check(size ? copy : NULL, size);
	free(copy);
	return 0;
}
