/*
 * key.h - the Ed25519 key pair of this device (RFC 8032), and the file that keeps it.
 *
 * A key never lives on two machines: there is no export.  The file `key` of the
 * data folder is 0600; with a passphrase the seed is sealed by
 * XChaCha20-Poly1305 under a key of Argon2id (libsodium's MODERATE limits).
 * Every signature is over a NUL-free ASCII label and the message, so that one
 * made for one purpose never serves another.  The format stands in moot-store(5).
 *
 * Secrets are wiped by key_finish(), the single exit.
 */
#ifndef KEY_H
#define KEY_H

#include "clock.h"
#include "id.h"
#include "why.h"

struct signature {
	uint8_t bytes[64];
};

struct key {
	struct id public; /* the device's id */
	uint8_t secret[64];
};

/* A new pair from the clock's randomness. */
void key_create(struct key *out, const struct clock *clock);
void key_finish(struct key *key); /* wipes; takes a zeroed one */

/* Writes the file `key` (0600, atomically). -EEXIST: there is one already. passphrase NULL or "": not sealed. */
int key_save(const struct key *key, int directory_fd, const char *passphrase,
	     const struct clock *clock, struct why *why);
/*
 * Reads the file `key`. -ENOENT; -EACCES: others may read it, or it is not ours;
 * -ENOKEY: sealed and passphrase NULL; -EKEYREJECTED: wrong passphrase;
 * -EBADMSG: damaged (wrong size or magic, or the public key is not that of the seed).
 */
int key_load(struct key *out, int directory_fd, const char *passphrase, struct why *why);

/* The public key alone, which stands there unsealed: the device's id. Errors of key_load(). */
int key_load_public(struct id *out, int directory_fd);

/* Signs label, NUL, message. Messages here are short (ids, pages): they are copied. */
int key_sign(struct signature *out, const struct key *key, const char *label,
	     const void *message, size_t size);
/* 0, or -EKEYREJECTED. libsodium's strict check: small-order keys and S >= L are refused. */
int key_verify(const struct signature *signature, const struct id *public, const char *label,
	       const void *message, size_t size);

#endif
