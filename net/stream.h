/*
 * stream.h - the encrypted stream of a session: frames of crypto_secretstream (XChaCha20-Poly1305).
 *
 *   each way: header 24, then frames [length u32 little-endian, ciphertext]
 *
 * The length is authenticated as associated data.  TAG_REKEY every GiB or 10
 * minutes; TAG_FINAL closes: a stream that ends without it was cut.  One packet a
 * frame, 1 .. PACKET_SIZE_MAX bytes.  Neither end is ever to act on what came before the first frame pulled.
 */
#ifndef STREAM_H
#define STREAM_H

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bytes.h"

#define STREAM_KEY_SIZE 32
#define STREAM_HEADER_SIZE 24

struct stream {
	crypto_secretstream_xchacha20poly1305_state out, in;
	uint8_t receive_key[STREAM_KEY_SIZE];  /* until the header came */
	uint8_t header[STREAM_HEADER_SIZE];    /* ours, sent before the first frame */
	bool header_sent, header_taken;
	bool closed_out, closed_in;            /* TAG_FINAL went out, came in: an end without it was a cut */
	bool failed;                           /* nothing more comes in */
	uint64_t bytes_since_rekey, rekeyed_ms;
};

void stream_init(struct stream *s, const uint8_t send_key[STREAM_KEY_SIZE],
		 const uint8_t receive_key[STREAM_KEY_SIZE], uint64_t now_ms);
void stream_finish(struct stream *s); /* wipes; takes NULL */

/*
 * Appends the frame of one packet to `out` (with the header before the first). final: the last one; packet
 * may be empty then. -EMSGSIZE: over PACKET_SIZE_MAX, or no room in `out`; -EINVAL: empty; -EPROTO: after
 * the last; -ENOMEM. Nothing has happened then, and the stream goes on.
 */
int stream_push(struct stream *s, const void *packet, size_t size, bool final, uint64_t now_ms, struct bytes *out);
/*
 * One frame from the bytes received: returns how many of them it used (0: give more) and the packet decrypted in
 * `out` (cleared before; made for PACKET_SIZE_MAX), out_final: the other has closed. -EBADMSG: not authentic,
 * empty, too long or after the end; -ENOMEM: the stream is dead.
 */
ssize_t stream_pull(struct stream *s, const uint8_t *bytes, size_t size, struct bytes *out, bool *out_final);

#endif
