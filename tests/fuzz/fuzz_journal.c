/*
 * Scanning a segment of arbitrary bytes, of the journal whose salt is eight Z: what is told covers the segment
 * from its head to its end without a gap, and entries encode to the bytes they came from.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "journal_private.h"

struct input {
	const uint8_t *bytes;
	size_t size;
};

static ssize_t read_input(void *context, int fd, void *out, size_t size, off_t offset)
{
	const struct input *input = context;
	if ((size_t)offset >= input->size)
		return 0;
	if (size > input->size - (size_t)offset)
		size = input->size - (size_t)offset;
	memcpy(out, input->bytes + offset, size);
	return (ssize_t)size;
}

static const struct journal_salt salt = { "ZZZZZZZZ" };

static void check_entry(const struct input *input, const struct journal_entry *entry)
{
	uint8_t head[ENTRY_HEAD_SIZE];
	size_t offset = (size_t)(entry->place & UINT32_MAX);
	assert(entry->size <= ENTRY_BYTES_MAX);
	assert(entry->end - entry->place == ENTRY_HEAD_SIZE + entry->size);
	assert((entry->end & UINT32_MAX) <= input->size);
	assert(memcmp(entry->bytes, input->bytes + offset + ENTRY_HEAD_SIZE, entry->size) == 0);
	journal_put_head(head, &salt, entry);
	assert(memcmp(head, input->bytes + offset, sizeof(head)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);

	struct input input = { copy, size };
	struct journal_calls calls = { .pread = read_input, .context = &input };
	struct scanner s = { .calls = &calls, .segment = 1, .salt = salt, .limit = size };
	struct journal_entry entry;
	struct journal_damage damage;
	uint8_t head[SEGMENT_HEAD_SIZE];
	journal_put_segment_head(head, &salt);
	uint64_t told = size >= sizeof(head) && memcmp(copy, head, sizeof(head)) == 0 ? sizeof(head) : 0;
	int got = scanner_begin(&s);
	while (got == 0) {
		got = scanner_next(&s, &entry, &damage);
		assert(got >= 0);
		assert(damage.size == 0 || damage.offset == told);
		told += damage.size;
		if (got == 0)
			break;
		assert((entry.place & UINT32_MAX) == told);
		check_entry(&input, &entry);
		told = entry.end & UINT32_MAX;
		got = 0;
	}
	assert(got < 0 || told == size);
	scanner_finish(&s);
	free(copy);
	return 0;
}
