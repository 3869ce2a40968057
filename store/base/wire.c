#include "wire.h"

#include <errno.h>
#include <string.h>

void wire_init(struct wire *w, const void *bytes, size_t size)
{
	*w = (struct wire){ .at = bytes ? bytes : (const uint8_t *)"", .left = size };
}

const uint8_t *wire_bytes(struct wire *w, size_t size)
{
	if (w->failed || size > w->left) {
		w->failed = true;
		return NULL;
	}

	const uint8_t *bytes = w->at;
	w->at += size;
	w->left -= size;
	return bytes;
}

static uint64_t read_little(struct wire *w, size_t size)
{
	const uint8_t *bytes = wire_bytes(w, size);
	uint64_t value = 0;

	for (size_t i = size; bytes && i > 0; i--)
		value = value << 8 | bytes[i - 1];
	return value;
}

static uint64_t read_big(struct wire *w, size_t size)
{
	const uint8_t *bytes = wire_bytes(w, size);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint8_t wire_u8(struct wire *w)
{
	return (uint8_t)read_little(w, 1);
}

uint16_t wire_u16(struct wire *w)
{
	return (uint16_t)read_little(w, 2);
}

uint32_t wire_u32(struct wire *w)
{
	return (uint32_t)read_little(w, 4);
}

uint64_t wire_u64(struct wire *w)
{
	return read_little(w, 8);
}

uint16_t wire_u16_be(struct wire *w)
{
	return (uint16_t)read_big(w, 2);
}

uint32_t wire_u32_be(struct wire *w)
{
	return (uint32_t)read_big(w, 4);
}

uint64_t wire_u64_be(struct wire *w)
{
	return read_big(w, 8);
}

void wire_id(struct wire *w, struct id *out)
{
	const uint8_t *bytes = wire_bytes(w, ID_SIZE);

	if (bytes)
		memcpy(out->bytes, bytes, ID_SIZE);
	else
		memset(out->bytes, 0, ID_SIZE);
}

int wire_finish(const struct wire *w)
{
	return w->failed || w->left > 0 ? -EBADMSG : 0;
}
