/*
 * A stream as its sender made it, and as somebody between made of it.
 *
 * First byte 0: what follows is what came.  Else a script: packets pushed, and bytes of the wire changed, doubled or
 * taken away.  What is pulled must be what was pushed, in order, and never past the first byte that is not the sender's.
 */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net_limits.h"
#include "stream.h"
#include "wire.h"

#define CHECK(condition)         \
	do {                     \
		if (!(condition)) \
			abort();  \
	} while (0)

#define WIRE_MAX (256 * 1024)
#define PACKETS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct scene {
	struct stream sender, receiver;
	struct bytes sent, came;
	size_t sizes[PACKETS_MAX], count;
	uint64_t now_ms;
};

static uint8_t byte_of(size_t packet, size_t at)
{
	return (uint8_t)(packet * 31 + at);
}

static void push(struct scene *s, size_t size, bool final)
{
	uint8_t *packet = malloc(size ? size : 1);
	bool closed = s->sender.closed_out;

	CHECK(packet);
	for (size_t i = 0; i < size; i++)
		packet[i] = byte_of(s->count, i);
	size_t before = s->sent.size;
	int err = stream_push(&s->sender, packet, size, final, s->now_ms, &s->sent);
	free(packet);
	CHECK((err == 0) == (!closed && (size > 0 || final)));
	if (err < 0) {
		CHECK(s->sent.size == before);
		return;
	}
	s->sizes[s->count++] = size;
	bytes_put(&s->came, s->sent.data + before, s->sent.size - before);
}

/* What somebody between does. */
static void spoil(struct scene *s, uint8_t op, size_t at, size_t size)
{
	struct bytes *b = &s->came;

	if (b->size == 0)
		return;
	at %= b->size;
	if (size > b->size - at)
		size = b->size - at;
	if (op == 1) {
		b->data[at] ^= (uint8_t)size;
	} else if (op == 2) {
		memmove(b->data + at, b->data + at + size, b->size - at - size);
		b->size -= size;
	} else {
		uint8_t *end = bytes_extend(b, size);
		CHECK(end);
		memmove(end, b->data + at, size);
	}
}

static ssize_t pull(struct scene *s, const uint8_t *bytes, size_t size, struct bytes *packet, bool *final)
{
	uint8_t *copy = malloc(size ? size : 1);

	CHECK(copy);
	if (size > 0)
		memcpy(copy, bytes, size);
	ssize_t used = stream_pull(&s->receiver, copy, size, packet, final);
	free(copy);
	CHECK(used <= (ssize_t)size && (used > 0 || packet->size == 0));
	return used;
}

static void expect(const struct scene *s, size_t packet, const struct bytes *got)
{
	CHECK(packet < s->count && got->size == s->sizes[packet]);
	for (size_t i = 0; i < got->size; i++)
		CHECK(got->data[i] == byte_of(packet, i));
}

static void pull_all(struct scene *s)
{
	struct bytes packet;
	size_t at = 0, count = 0;
	bool final = false;
	ssize_t used;

	bytes_init(&packet, PACKET_SIZE_MAX);
	while ((used = pull(s, at > 0 ? s->came.data + at : s->came.data, s->came.size - at, &packet, &final)) > 0) {
		at += (size_t)used;
		CHECK(at <= s->sent.size && memcmp(s->sent.data, s->came.data, at) == 0);
		expect(s, count++, &packet);
		CHECK(final == (count == s->count && s->sender.closed_out));
	}
	if (s->came.size == s->sent.size && at < s->sent.size)
		CHECK(memcmp(s->sent.data, s->came.data, s->sent.size) != 0);
	CHECK(s->receiver.closed_in == final);
	if (used < 0)
		CHECK(pull(s, s->sent.data, s->sent.size, &packet, &final) < 0);
	bytes_finish(&packet);
}

static void run_script(struct scene *s, struct wire *w)
{
	while (!w->failed && w->left > 0 && s->count < PACKETS_MAX && s->came.size < WIRE_MAX / 2) {
		uint8_t op = wire_u8(w);
		size_t size = wire_u8(w) * (op & 16 ? 256u : 1u), at = op & 3 ? wire_u16(w) : 0;

		if (op & 8)
			s->now_ms += REKEY_MS;
		if (op & 32)
			s->sender.bytes_since_rekey = REKEY_BYTES - 10;
		if (op & 3)
			spoil(s, op & 3, at, size);
		else
			push(s, size, op & 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t there[32] = { 1 }, back[32] = { 2 };
	struct scene s = { .count = 0 };
	struct wire w;

	CHECK(sodium_init() >= 0);
	stream_init(&s.sender, there, back, 0);
	stream_init(&s.receiver, back, there, 0);
	bytes_init(&s.sent, WIRE_MAX);
	bytes_init(&s.came, WIRE_MAX);
	wire_init(&w, data, size);
	if (wire_u8(&w) != 0)
		run_script(&s, &w);
	else if (w.left < WIRE_MAX)
		bytes_put(&s.came, w.at, w.left);
	pull_all(&s);
	stream_finish(&s.sender);
	stream_finish(&s.receiver);
	bytes_finish(&s.sent);
	bytes_finish(&s.came);
	return 0;
}
