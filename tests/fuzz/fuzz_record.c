/* A record that is accepted has one spelling, and its head reads the same without its body. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_same_bytes(struct record *r, const uint8_t *data, size_t size)
{
	struct summary_section sections[SUMMARY_COUNT];
	struct bytes out;

	for (unsigned i = 0; r->field == FIELD_SUMMARY && i < SUMMARY_COUNT; i++)
		require(record_summary_section(r, i, &sections[i]) == 0);
	if (r->field == FIELD_SUMMARY)
		r->summary.sections = sections;

	bytes_init(&out, RECORD_SIZE_MAX);
	require(record_encode(r, &out) == 0);
	require(out.size == size && memcmp(out.data, data, size) == 0);
	bytes_finish(&out);
}

static void check_same_head(const struct record *r, const struct record *head)
{
	require(id_equal(&r->voucher, &head->voucher) && id_equal(&r->prev, &head->prev));
	require(r->seq == head->seq && r->time_ms == head->time_ms && r->field == head->field);
	require(memcmp(r->nonce, head->nonce, sizeof(r->nonce)) == 0);
	require(r->body_bytes == head->body_bytes && r->body_size == head->body_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *copy = malloc(size > 0 ? size : 1);
	CLEANUP(cleanup_free) struct record *r = malloc(sizeof(*r));
	CLEANUP(cleanup_free) struct record *head = malloc(sizeof(*head));

	if (!copy || !r || !head)
		return 0;
	if (size > 0)
		memcpy(copy, data, size);

	int err = record_decode(r, copy, size);
	int head_err = record_decode_head(head, copy, size);
	require(head_err == 0 || err < 0);
	if (err == 0) {
		check_same_head(r, head);
		check_same_bytes(r, copy, size);
	}
	return 0;
}
