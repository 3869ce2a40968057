/* The first byte says what the rest is: an even one a page, an odd one a receipt. What is accepted has one spelling. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "statement.h"

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

static bool again_page(const uint8_t *bytes, size_t size, struct bytes *out)
{
	const struct clock clock = { .random = fixed_random };
	struct signature signature;
	struct page page;
	struct key key;

	if (page_read(&page, bytes, size) < 0)
		return false;
	require(page.items.left == page.items_size && page.items.at == page.items_bytes);
	struct cbor_reader items = page.items;
	for (size_t i = 0; i < page.item_count; i++)
		cbor_skip(&items, 16);
	require(cbor_reader_finish(&items) == 0);
	key_create(&key, &clock);
	require(page_make(&page, &key, out, &signature) == 0);
	require(page_verify(&key.public, out->data, out->size, &signature) == 0);
	return true;
}

static bool again_receipt(const uint8_t *bytes, size_t size, struct bytes *out)
{
	struct receipt receipt;

	if (receipt_read(&receipt, bytes, size) < 0)
		return false;
	require(size <= RECEIPT_SIZE_MAX);
	receipt_put(&receipt, out);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;

	CLEANUP(cleanup_free) uint8_t *copy = malloc(size > 1 ? size - 1 : 1);
	struct bytes again;

	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	bytes_init(&again, PAGE_STATEMENT_MAX);
	if (data[0] % 2 == 0 ? again_page(copy, size - 1, &again) : again_receipt(copy, size - 1, &again))
		require(again.size == size - 1 && memcmp(again.data, copy, size - 1) == 0);
	bytes_finish(&again);
	return 0;
}
