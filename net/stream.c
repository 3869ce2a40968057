#include "stream.h"

#include <errno.h>
#include <string.h>

#include "net_limits.h"
#include "wire.h"

#define LABEL "mootfs stream header"
#define LENGTH_SIZE 4
#define OVERHEAD crypto_secretstream_xchacha20poly1305_ABYTES

_Static_assert(STREAM_HEADER_SIZE == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "header");
_Static_assert(PACKET_SIZE_MAX + OVERHEAD == FRAME_SIZE_MAX, "frame");

/*
 * A key serves one direction of one session, so its header may be any bytes: of the key, that a run can
 * be repeated.  init_pull() is init_push() with a given header instead of a random one.
 */
static void begin_out(struct stream *s, const uint8_t send_key[STREAM_KEY_SIZE])
{
	uint8_t hash[32];

	crypto_generichash(hash, sizeof hash, (const uint8_t *)LABEL, sizeof LABEL, send_key, STREAM_KEY_SIZE);
	memcpy(s->header, hash, sizeof s->header);
	crypto_secretstream_xchacha20poly1305_init_pull(&s->out, s->header, send_key);
}

void stream_init(struct stream *s, const uint8_t send_key[STREAM_KEY_SIZE],
		 const uint8_t receive_key[STREAM_KEY_SIZE], uint64_t now_ms)
{
	*s = (struct stream){ .rekeyed_ms = now_ms };
	begin_out(s, send_key);
	memcpy(s->receive_key, receive_key, sizeof s->receive_key);
}

void stream_finish(struct stream *s)
{
	if (s)
		sodium_memzero(s, sizeof *s);
}

static uint8_t next_tag(struct stream *s, size_t size, bool final, uint64_t now_ms)
{
	if (final)
		return crypto_secretstream_xchacha20poly1305_TAG_FINAL;

	s->bytes_since_rekey += size;
	if (s->bytes_since_rekey < REKEY_BYTES && now_ms - s->rekeyed_ms < REKEY_MS)
		return crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
	s->bytes_since_rekey = 0;
	s->rekeyed_ms = now_ms;
	return crypto_secretstream_xchacha20poly1305_TAG_REKEY;
}

int stream_push(struct stream *s, const void *packet, size_t size, bool final, uint64_t now_ms, struct bytes *out)
{
	size_t header_size = s->header_sent ? 0 : sizeof s->header;
	size_t room = header_size + LENGTH_SIZE + size + OVERHEAD;

	if (s->closed_out)
		return -EPROTO;
	if (size == 0 && !final)
		return -EINVAL;
	/* Asked for first: an error of the buffer would stay. */
	if (size > PACKET_SIZE_MAX || room > out->size_max - out->size)
		return -EMSGSIZE;

	uint8_t *at = bytes_extend(out, room);
	if (!at)
		return bytes_error(out);
	memcpy(at, s->header, header_size);
	at += header_size;
	for (unsigned i = 0; i < LENGTH_SIZE; i++)
		at[i] = (uint8_t)((size + OVERHEAD) >> (8 * i));
	crypto_secretstream_xchacha20poly1305_push(&s->out, at + LENGTH_SIZE, NULL, packet, size, at, LENGTH_SIZE,
						   next_tag(s, size, final, now_ms));
	s->header_sent = true;
	s->closed_out = final;
	return 0;
}

static bool tag_is_known(uint8_t tag)
{
	return tag == crypto_secretstream_xchacha20poly1305_TAG_MESSAGE ||
	       tag == crypto_secretstream_xchacha20poly1305_TAG_REKEY ||
	       tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
}

/* 1: whole, and where it is; 0: not here yet. */
static int find_frame(const struct stream *s, const uint8_t *bytes, size_t size,
		      const uint8_t **out_length, size_t *out_size)
{
	struct wire w;

	wire_init(&w, bytes, size);
	if (!s->header_taken)
		wire_bytes(&w, sizeof s->header);
	const uint8_t *length = w.at;
	size_t frame_size = wire_u32(&w);
	if (w.failed)
		return 0;
	if (frame_size < OVERHEAD || frame_size > FRAME_SIZE_MAX)
		return -EBADMSG;
	wire_bytes(&w, frame_size);
	if (w.failed)
		return 0;
	*out_length = length;
	*out_size = frame_size;
	return 1;
}

static int open_frame(struct stream *s, const uint8_t *length, size_t size, struct bytes *out)
{
	uint8_t tag = 0;
	uint8_t *packet = bytes_extend(out, size - OVERHEAD);

	if (!packet)
		return bytes_error(out);
	if (crypto_secretstream_xchacha20poly1305_pull(&s->in, packet, NULL, &tag, length + LENGTH_SIZE, size,
						       length, LENGTH_SIZE) != 0)
		return -EBADMSG;

	s->closed_in = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
	return tag_is_known(tag) && (out->size > 0 || s->closed_in) ? 0 : -EBADMSG;
}

static ssize_t pull(struct stream *s, const uint8_t *bytes, size_t size, struct bytes *out)
{
	const uint8_t *length = NULL;
	size_t frame_size = 0;

	if (s->failed || (s->closed_in && size > 0))
		return -EBADMSG;
	int err = find_frame(s, bytes, size, &length, &frame_size);
	if (err <= 0)
		return err;

	if (!s->header_taken) {
		crypto_secretstream_xchacha20poly1305_init_pull(&s->in, bytes, s->receive_key);
		sodium_memzero(s->receive_key, sizeof s->receive_key);
		s->header_taken = true;
	}
	err = open_frame(s, length, frame_size, out);
	return err < 0 ? err : length - bytes + (ssize_t)(LENGTH_SIZE + frame_size);
}

ssize_t stream_pull(struct stream *s, const uint8_t *bytes, size_t size, struct bytes *out, bool *out_final)
{
	bytes_clear(out);
	ssize_t used = pull(s, bytes, size, out);
	if (used < 0) {
		s->failed = true;
		bytes_clear(out);
	} else if (used > 0) {
		*out_final = s->closed_in;
	}
	return used;
}
