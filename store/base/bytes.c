#include "bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64 /* bytes: most buffers hold a head and a few ids */

void bytes_init(struct bytes *b, size_t size_max)
{
	*b = (struct bytes){ .size_max = size_max };
}

void bytes_finish(struct bytes *b)
{
	if (!b)
		return;
	free(b->data);
	bytes_init(b, b->size_max);
}

void bytes_clear(struct bytes *b)
{
	b->size = 0;
	b->error = 0;
}

static void fail(struct bytes *b, int error)
{
	if (!b->error)
		b->error = error;
}

/* Doubles, so that many small puts cost linear time, but never over size_max. */
static size_t capacity_for(const struct bytes *b, size_t size)
{
	size_t capacity = b->capacity > b->size_max / 2 ? b->size_max : b->capacity * 2;

	if (capacity < size)
		capacity = size;
	if (capacity < CAPACITY_MIN)
		capacity = CAPACITY_MIN;
	return capacity;
}

static int reserve(struct bytes *b, size_t size)
{
	if (b->data && size <= b->capacity)
		return 0;

	size_t capacity = capacity_for(b, size);
	uint8_t *data = realloc(b->data, capacity);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->capacity = capacity;
	return 0;
}

uint8_t *bytes_extend(struct bytes *b, size_t size)
{
	if (b->error)
		return NULL;
	if (size > b->size_max - b->size) {
		fail(b, -EMSGSIZE);
		return NULL;
	}
	if (reserve(b, b->size + size) < 0) {
		fail(b, -ENOMEM);
		return NULL;
	}

	uint8_t *end = b->data + b->size;
	b->size += size;
	return end;
}

void bytes_put(struct bytes *b, const void *data, size_t size)
{
	if (size == 0)
		return;

	uint8_t *end = bytes_extend(b, size);
	if (end)
		memcpy(end, data, size);
}

void bytes_put_text(struct bytes *b, const char *text)
{
	bytes_put(b, text, strlen(text));
}

void bytes_put_format(struct bytes *b, const char *format, ...)
{
	char line[256];
	va_list arguments;

	va_start(arguments, format);
	int size = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (size >= 0 && (size_t)size < sizeof line) {
		bytes_put(b, line, (size_t)size);
		return;
	}

	char *text = NULL;
	va_start(arguments, format);
	size = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (size < 0) {
		fail(b, -ENOMEM);
		return;
	}
	bytes_put(b, text, (size_t)size);
	free(text);
}

int bytes_error(const struct bytes *b)
{
	return b->error;
}

uint8_t *bytes_take(struct bytes *b, size_t *out_size)
{
	if (b->error) {
		*out_size = 0;
		return NULL;
	}

	uint8_t *data = b->data;
	*out_size = b->size;
	bytes_init(b, b->size_max);
	return data;
}

static void put_little(struct bytes *b, uint64_t value, size_t size)
{
	uint8_t *end = bytes_extend(b, size);

	for (size_t i = 0; end && i < size; i++)
		end[i] = (uint8_t)(value >> (8 * i));
}

static void put_big(struct bytes *b, uint64_t value, size_t size)
{
	uint8_t *end = bytes_extend(b, size);

	for (size_t i = 0; end && i < size; i++)
		end[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

void bytes_put_u8(struct bytes *b, uint8_t value)
{
	put_little(b, value, 1);
}

void bytes_put_u16(struct bytes *b, uint16_t value)
{
	put_little(b, value, 2);
}

void bytes_put_u32(struct bytes *b, uint32_t value)
{
	put_little(b, value, 4);
}

void bytes_put_u64(struct bytes *b, uint64_t value)
{
	put_little(b, value, 8);
}

void bytes_put_u16_be(struct bytes *b, uint16_t value)
{
	put_big(b, value, 2);
}

void bytes_put_u32_be(struct bytes *b, uint32_t value)
{
	put_big(b, value, 4);
}

void bytes_put_u64_be(struct bytes *b, uint64_t value)
{
	put_big(b, value, 8);
}
