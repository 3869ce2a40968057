/*
 * handshake.h - how two nodes meet: mootfs hs 1 (moot-protocol(7)), SIGMA-I in shape, libsodium only.
 *
 *   A                                                B
 *   | -- msg1: version suite flags eA mac1 mac2 ----> |
 *   | <- cookie (only under load: B keeps no state) - |   then msg1 again, with mac2
 *   | <- msg2: eB, c2 = [idB tB puzzle sB] ---------- |
 *   | -- msg3: c3 = [idA tA solution sA] -----------> |
 *   |        both: keys, channel binding              |
 *
 * A state machine without I/O: bytes in, bytes out, one struct each end.  Every
 * message has a fixed size, so a stream is cut without a length: 1 byte of
 * type (1 msg1, 2 cookie, 4 msg2, 7 msg3), then the message.  What is wrong ends it:
 * the state is wiped and dead, and nothing tells a stranger why.  Randomness and time are
 * passed in; sodium_init() was called by the program.  How long a handshake may
 * take (HANDSHAKE_MS_MAX) is the caller's to watch.  One thread.
 */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clock.h"
#include "id.h"
#include "key.h"
#include "puzzle.h"

#define HANDSHAKE_VERSION 1
#define HANDSHAKE_SUITE 1 /* X25519, Ed25519, BLAKE2b, XChaCha20-Poly1305 */

/* Each with its byte of type. */
#define HELLO_SIZE (1 + 4 + 32 + 16 + 16)
#define COOKIE_SIZE (1 + 16)
#define CHALLENGE_SIZE (1 + 32 + 32 + 8 + PUZZLE_SIZE + 64 + 16)
#define EARN_SIZE (1 + 32 + 8 + SOLUTION_SIZE + 64 + 16)
#define HANDSHAKE_MESSAGE_MAX 512

struct handshake_keys {
	uint8_t send[32], receive[32]; /* for stream.h */
	struct id cb;                  /* channel binding: the same at both ends, of no other session */
	struct id peer;                /* the other's device */
	uint64_t peer_time_ms;         /* as it says: evidence, never a reason */
	uint32_t effort;               /* B: what A has paid */
};

struct handshake_server { /* what all handshakes of a node that is dialled share; the caller's */
	const struct key *key;
	struct id network;             /* zero: the commons; others for tests and closed circles */
	uint8_t cookie_secret[2][32];  /* now, and before */
	uint64_t cookie_from_ms;
	struct puzzle_seed seed[2];
	uint64_t seed_from_ms;
	uint32_t effort;               /* the least asked for now */
	bool loaded;                   /* a cookie is asked for first */
	bool closed;                   /* who does not know our id (mac1 with zeroes) is refused */
};
/* key is borrowed; network NULL: the commons. */
void handshake_server_init(struct handshake_server *s, const struct key *key, const struct id *network,
			   const struct clock *clock);
/* Rotates secrets whose time has come; handshakes do so themselves. */
void handshake_server_tick(struct handshake_server *s, const struct clock *clock);
void handshake_server_finish(struct handshake_server *s); /* wipes */

struct handshake; /* one under way */

/* key and clock are borrowed. network NULL: the commons. peer NULL: whoever answers there. NULL: no memory. */
struct handshake *handshake_new_client(const struct key *key, const struct id *network, const struct id *peer,
				       const struct clock *clock);
/*
 * address: bytes that stand for where the peer dials from (for cookies), at most ADDRESS_SIZE_MAX.
 * `s` and clock must outlive it. NULL: no memory, or that address.
 */
struct handshake *handshake_new_server(struct handshake_server *s, const void *address, size_t address_size,
				       const struct clock *clock);
void handshake_free(struct handshake *h); /* wipes; takes NULL */

/*
 * Takes bytes of the stream: returns how many belonged to the handshake (0: give more), what is left is the
 * session's, and once done all is (0). -EBADMSG, -EPROTO, -EKEYREJECTED, -ENOMEM: over, close without a word
 * (-EPROTO again if asked again). At most one message is taken a call: give what there is to send in between.
 */
ssize_t handshake_take(struct handshake *h, const uint8_t *bytes, size_t size);
/* Copies what is to be sent into out (HANDSHAKE_MESSAGE_MAX): its size, 0: nothing now (or no memory to sign: then it is dead). */
size_t handshake_give(struct handshake *h, uint8_t *out);
/* A puzzle is to be solved before handshake_give() goes on (client): true, and what. Solve it elsewhere, bit by bit. */
bool handshake_puzzle(const struct handshake *h, struct puzzle *out);
void handshake_solved(struct handshake *h, const struct solution *solution);
/*
 * True once this end is done: B when it took msg3, A when it gave it (the first frame from B then proves
 * that B took it). out_keys NULL only asks; else the keys are handed over, once, and this is wiped and dead.
 */
bool handshake_done(struct handshake *h, struct handshake_keys *out_keys);

#endif
