/*
 * key.c - keys, signatures, and the file `key`:
 *
 *	offset  size  field
 *	     0     8  magic, "mootkey1"
 *	     8     1  sealed: 0 no, 1 yes
 *	     9    32  public key
 *	not sealed, 73 bytes in all:
 *	    41    32  seed (RFC 8032: the private key)
 *	sealed, 129 bytes in all:
 *	    41    16  salt
 *	    57    24  nonce
 *	    81    48  the seed, sealed by XChaCha20-Poly1305: 32 bytes and a tag of 16
 *
 * The sealing key is 32 bytes of Argon2id (version 1.3, 1 lane, 3 passes over
 * 256 MiB) of passphrase and salt; the additional data are bytes 0 to 56,
 * which is everything before the nonce.
 */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "file.h"
#include "wire.h"

#define FILE_NAME "key"
#define MAGIC "mootkey1"
#define MAGIC_SIZE 8
#define SEED_SIZE crypto_sign_SEEDBYTES
#define SALT_SIZE crypto_pwhash_argon2id_SALTBYTES
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define BOX_SIZE (SEED_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define AD_SIZE (MAGIC_SIZE + 1 + ID_SIZE + SALT_SIZE)
#define SEALED_FILE_SIZE (AD_SIZE + NONCE_SIZE + BOX_SIZE)

/* libsodium's MODERATE of today, in numbers: the file must open with tomorrow's library too. */
#define ARGON2_PASSES 3
#define ARGON2_MEMORY (256u << 20)

struct key_file { /* borrows from the bytes that were read */
	struct id public;
	bool sealed;
	const uint8_t *seed;                /* if not sealed */
	const uint8_t *salt, *nonce, *box;  /* if sealed */
};

void key_create(struct key *out, const struct clock *clock)
{
	uint8_t seed[SEED_SIZE];

	clock_random(clock, seed, sizeof seed);
	crypto_sign_seed_keypair(out->public.bytes, out->secret, seed);
	sodium_memzero(seed, sizeof seed);
}

void key_finish(struct key *key)
{
	if (key)
		sodium_memzero(key, sizeof *key);
}

static int derive(uint8_t out[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], const char *passphrase,
		  const uint8_t *salt, struct why *why)
{
	if (sodium_init() < 0)
		return why_set(why, -EIO, "libsodium cannot be used here");
	if (crypto_pwhash(out, crypto_aead_xchacha20poly1305_ietf_KEYBYTES, passphrase, strlen(passphrase),
			  salt, ARGON2_PASSES, ARGON2_MEMORY, crypto_pwhash_ALG_ARGON2ID13) < 0)
		return why_set(why, -ENOMEM,
			       "a passphrase needs 256 MiB of memory for a moment, and there is not enough");
	return 0;
}

/* Appends salt, nonce and the sealed seed to what stands in `file`, which is the magic to the public key. */
static int put_sealed(struct bytes *file, const struct key *key, const char *passphrase,
		      const struct clock *clock, struct why *why)
{
	uint8_t sealing_key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
	uint8_t salt[SALT_SIZE], nonce[NONCE_SIZE], box[BOX_SIZE], seed[SEED_SIZE];

	clock_random(clock, salt, sizeof salt);
	clock_random(clock, nonce, sizeof nonce);
	int err = derive(sealing_key, passphrase, salt, why);
	if (err < 0)
		return err;

	bytes_put(file, salt, sizeof salt);
	crypto_sign_ed25519_sk_to_seed(seed, key->secret);
	crypto_aead_xchacha20poly1305_ietf_encrypt(box, NULL, seed, sizeof seed, file->data, file->size,
						   NULL, nonce, sealing_key);
	bytes_put(file, nonce, sizeof nonce);
	bytes_put(file, box, sizeof box);
	sodium_memzero(sealing_key, sizeof sealing_key);
	sodium_memzero(seed, sizeof seed);
	return 0;
}

static int encode(struct bytes *file, const struct key *key, const char *passphrase,
		  const struct clock *clock, struct why *why)
{
	bool sealed = passphrase && passphrase[0];
	int err = 0;

	/* All the room at once: what grows leaves copies of the seed behind. */
	if (!bytes_extend(file, SEALED_FILE_SIZE))
		return why_set(why, -ENOMEM, "there is not enough memory");
	bytes_clear(file);
	bytes_put(file, MAGIC, MAGIC_SIZE);
	bytes_put_u8(file, sealed);
	bytes_put(file, key->public.bytes, ID_SIZE);
	if (sealed)
		err = put_sealed(file, key, passphrase, clock, why);
	else
		crypto_sign_ed25519_sk_to_seed(bytes_extend(file, SEED_SIZE), key->secret);
	return err;
}

static int write_new(int directory_fd, const char *name, const struct bytes *file)
{
	CLEANUP(cleanup_close) int fd = openat(directory_fd, name,
					       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	int err = file_write_all(fd, file->data, file->size);
	if (err == 0 && (fchmod(fd, 0600) < 0 || fsync(fd) < 0))
		err = -errno;
	return err;
}

/* Written beside, then linked to its name: link(2) neither replaces nor follows what has the name. */
static int place(int directory_fd, const struct bytes *file)
{
	char beside[64];

	snprintf(beside, sizeof beside, FILE_NAME ".%ld.tmp", (long)gettid());
	if (unlinkat(directory_fd, beside, 0) < 0 && errno != ENOENT)
		return -errno;

	int err = write_new(directory_fd, beside, file);
	if (err == 0 && linkat(directory_fd, beside, directory_fd, FILE_NAME, 0) < 0)
		err = -errno;
	if (unlinkat(directory_fd, beside, 0) < 0 && err == 0)
		err = -errno;
	return err;
}

static int sync_directory(int directory_fd)
{
	CLEANUP(cleanup_close) int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int key_save(const struct key *key, int directory_fd, const char *passphrase,
	     const struct clock *clock, struct why *why)
{
	static const char exists[] = "there is a key already, and it is never replaced";
	struct bytes file;
	struct stat st;

	/* Told before Argon2 takes its second; link(2) has the last word. */
	if (fstatat(directory_fd, FILE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return why_set(why, -EEXIST, "%s", exists);

	bytes_init(&file, SEALED_FILE_SIZE);
	int err = encode(&file, key, passphrase, clock, why);
	if (err < 0)
		goto out;
	err = place(directory_fd, &file);
	if (err == 0)
		err = sync_directory(directory_fd);
	if (err == -EEXIST)
		why_set(why, err, "%s", exists);
	else if (err < 0)
		why_set(why, err, "the key file cannot be written: %s", why_errno(err));
out:
	if (file.data)
		sodium_memzero(file.data, file.capacity);
	bytes_finish(&file);
	return err;
}

static int open_error(int error, struct why *why)
{
	switch (error) {
	case ENOENT:
		return why_set(why, -ENOENT, "there is no key here yet");
	case ELOOP:
		return why_set(why, -EACCES, "the key file is a symbolic link, which is not followed");
	case EACCES:
		return why_set(why, -EACCES, "the key file cannot be read: it belongs to somebody else"
			       " or its permissions forbid it");
	default:
		return why_set(why, -error, "the key file cannot be opened: %s", why_errno(-error));
	}
}

static int check_owner(int fd, struct why *why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return why_set(why, -errno, "the key file cannot be examined: %s", why_errno(-errno));
	if (!S_ISREG(st.st_mode))
		return why_set(why, -EBADMSG, "the key is not a regular file");
	if (st.st_uid != geteuid())
		return why_set(why, -EACCES, "the key file belongs to another user");
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return why_set(why, -EACCES, "others may use the key file (mode %03o): take that away with"
			       " `chmod 600`, or make a new key if somebody may have read it",
			       (unsigned)st.st_mode & 0777);
	return 0;
}

static int read_checked(int directory_fd, uint8_t *out, size_t size_max, size_t *out_size, struct why *why)
{
	/* O_NONBLOCK: a fifo of that name must not hang us. */
	CLEANUP(cleanup_close) int fd = openat(directory_fd, FILE_NAME,
					       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return open_error(errno, why);

	int err = check_owner(fd, why);
	if (err < 0)
		return err;
	ssize_t size = file_pread_all(fd, out, size_max, 0);
	if (size < 0)
		return why_set(why, (int)size, "the key file cannot be read: %s", why_errno((int)size));
	*out_size = (size_t)size;
	return 0;
}

static int decode(struct key_file *out, const uint8_t *bytes, size_t size, struct why *why)
{
	struct wire w;

	wire_init(&w, bytes, size);
	const uint8_t *magic = wire_bytes(&w, MAGIC_SIZE);
	uint8_t sealed = wire_u8(&w);
	wire_id(&w, &out->public);
	if (!magic || memcmp(magic, MAGIC, MAGIC_SIZE) != 0)
		return why_set(why, -EBADMSG, "the file `key` is not a key file of moot");
	if (sealed > 1)
		return why_set(why, -EBADMSG, "the key file is damaged: it is neither sealed nor open");

	out->sealed = sealed == 1;
	if (out->sealed) {
		out->salt = wire_bytes(&w, SALT_SIZE);
		out->nonce = wire_bytes(&w, NONCE_SIZE);
		out->box = wire_bytes(&w, BOX_SIZE);
	} else {
		out->seed = wire_bytes(&w, SEED_SIZE);
	}
	if (wire_finish(&w) < 0)
		return why_set(why, -EBADMSG, "the key file is damaged: its size is wrong");
	return 0;
}

static int open_box(uint8_t seed[SEED_SIZE], const struct key_file *file, const uint8_t *bytes,
		    const char *passphrase, struct why *why)
{
	uint8_t sealing_key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];

	int err = derive(sealing_key, passphrase, file->salt, why);
	if (err < 0)
		return err;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(seed, NULL, NULL, file->box, BOX_SIZE, bytes, AD_SIZE,
						       file->nonce, sealing_key) < 0)
		err = why_set(why, -EKEYREJECTED, "the passphrase is wrong (or the key file is damaged)");
	sodium_memzero(sealing_key, sizeof sealing_key);
	return err;
}

int key_load_public(struct id *out, int directory_fd)
{
	uint8_t bytes[SEALED_FILE_SIZE + 1];
	struct key_file file;
	size_t size = 0;

	int err = read_checked(directory_fd, bytes, sizeof bytes, &size, NULL);
	if (err == 0)
		err = decode(&file, bytes, size, NULL);
	if (err == 0)
		*out = file.public;
	sodium_memzero(bytes, sizeof bytes);
	return err;
}

int key_load(struct key *out, int directory_fd, const char *passphrase, struct why *why)
{
	uint8_t bytes[SEALED_FILE_SIZE + 1]; /* one more shows that it is too long */
	uint8_t seed[SEED_SIZE];
	struct key_file file;
	struct key key;
	size_t size = 0;

	int err = read_checked(directory_fd, bytes, sizeof bytes, &size, why);
	if (err == 0)
		err = decode(&file, bytes, size, why);
	if (err < 0)
		goto out;

	if (!file.sealed)
		memcpy(seed, file.seed, SEED_SIZE);
	else if (passphrase)
		err = open_box(seed, &file, bytes, passphrase, why);
	else
		err = why_set(why, -ENOKEY, "the key is sealed, and its passphrase was not given");
	if (err < 0)
		goto out;

	crypto_sign_seed_keypair(key.public.bytes, key.secret, seed);
	if (id_equal(&key.public, &file.public))
		*out = key;
	else
		err = why_set(why, -EBADMSG, "the key file is damaged: its two halves do not belong together");
out:
	sodium_memzero(bytes, sizeof bytes);
	sodium_memzero(seed, sizeof seed);
	key_finish(&key);
	return err;
}

/* label, NUL, message; the caller frees. NULL: no memory. */
static uint8_t *labelled(const char *label, const void *message, size_t size, size_t *out_size)
{
	size_t label_size = strlen(label) + 1;
	if (size > SIZE_MAX - label_size)
		return NULL;

	uint8_t *text = malloc(label_size + size);
	if (!text)
		return NULL;
	memcpy(text, label, label_size);
	if (size > 0)
		memcpy(text + label_size, message, size);
	*out_size = label_size + size;
	return text;
}

int key_sign(struct signature *out, const struct key *key, const char *label,
	     const void *message, size_t size)
{
	size_t text_size;
	CLEANUP(cleanup_free) uint8_t *text = labelled(label, message, size, &text_size);

	if (!text)
		return -ENOMEM;
	crypto_sign_detached(out->bytes, NULL, text, text_size, key->secret);
	return 0;
}

int key_verify(const struct signature *signature, const struct id *public, const char *label,
	       const void *message, size_t size)
{
	size_t text_size;
	CLEANUP(cleanup_free) uint8_t *text = labelled(label, message, size, &text_size);

	if (!text)
		return -ENOMEM;
	if (crypto_sign_verify_detached(signature->bytes, text, text_size, public->bytes) < 0)
		return -EKEYREJECTED;
	return 0;
}
