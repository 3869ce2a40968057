#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "key.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PLAIN_SIZE 73
#define SEALED_SIZE 129

struct folder {
	char path[4096];
	int fd;
	struct clock clock;
	struct key key;
};

static int folder_setup(void **state)
{
	struct folder *f = calloc(1, sizeof *f);
	const char *tmp = getenv("TMPDIR");

	if (!f)
		return -1;
	snprintf(f->path, sizeof f->path, "%s/moot-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->path))
		return -1;
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f->clock = clock_system();
	key_create(&f->key, &f->clock);
	*state = f;
	return f->fd < 0 ? -1 : 0;
}

/* Every test leaves nothing but `key`: no half-written file, no second copy. */
static int folder_teardown(void **state)
{
	struct folder *f = *state;

	unlinkat(f->fd, "key", 0);
	close(f->fd);
	key_finish(&f->key);
	int result = rmdir(f->path);
	free(f);
	return result;
}

static bool keys_equal(const struct key *a, const struct key *b)
{
	return id_equal(&a->public, &b->public) && memcmp(a->secret, b->secret, sizeof a->secret) == 0;
}

static void write_key_file(struct folder *f, const void *bytes, size_t size)
{
	CLEANUP(cleanup_close) int fd = openat(f->fd, "key", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, bytes, size), 0);
}

/* Expects this failure, a sentence with it, and an untouched key. */
static void expect_load(struct folder *f, const char *passphrase, int expected, const char *name)
{
	struct key key, before;
	struct why why = { "" };

	memset(&key, 7, sizeof key);
	before = key;
	int err = key_load(&key, f->fd, passphrase, &why);
	if (err != expected)
		fail_msg("%s: %d, %s", name, err, why.text);
	assert_int_equal(keys_equal(&key, &before), expected != 0);
	assert_int_equal(strlen(why.text) > 0, expected != 0);
	assert_int_equal(key_load(&before, f->fd, passphrase, NULL), expected);
}

static void a_saved_key_is_loaded(void **state)
{
	struct folder *f = *state;
	struct why why = { "" };
	struct stat st;
	struct key key;

	expect_load(f, NULL, -ENOENT, "no key yet");
	umask(0);
	assert_int_equal(key_save(&f->key, f->fd, NULL, &f->clock, &why), 0);
	umask(022);
	assert_int_equal(fstatat(f->fd, "key", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, PLAIN_SIZE);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(key_load(&key, f->fd, NULL, &why), 0);
	assert_true(keys_equal(&key, &f->key));
	assert_int_equal(key_load(&key, f->fd, "not needed", &why), 0);
	assert_string_equal(why.text, "");
	key_finish(&key);
	assert_true(id_is_zero(&key.public));
	key_finish(NULL);
}

static void a_key_is_never_replaced(void **state)
{
	struct folder *f = *state;
	struct key second, key;
	struct why why;

	key_create(&second, &f->clock);
	assert_false(keys_equal(&second, &f->key));
	assert_int_equal(key_save(&f->key, f->fd, "", &f->clock, &why), 0);
	why.text[0] = '\0';
	assert_int_equal(key_save(&second, f->fd, NULL, &f->clock, &why), -EEXIST);
	assert_true(strlen(why.text) > 0);
	assert_int_equal(key_save(&second, f->fd, NULL, &f->clock, NULL), -EEXIST);
	assert_int_equal(key_load(&key, f->fd, NULL, &why), 0);
	assert_true(keys_equal(&key, &f->key));
}

/* Neither through a link to nowhere nor one to a file of ours. */
static void links_are_not_followed(void **state)
{
	struct folder *f = *state;
	struct why why;

	assert_int_equal(symlinkat("elsewhere", f->fd, "key"), 0);
	assert_int_equal(key_save(&f->key, f->fd, NULL, &f->clock, &why), -EEXIST);
	assert_int_equal(faccessat(f->fd, "elsewhere", F_OK, 0), -1);
	expect_load(f, NULL, -EACCES, "a link to nowhere");
	assert_int_equal(unlinkat(f->fd, "key", 0), 0);

	assert_int_equal(key_save(&f->key, f->fd, NULL, &f->clock, &why), 0);
	assert_int_equal(renameat(f->fd, "key", f->fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", f->fd, "key"), 0);
	expect_load(f, NULL, -EACCES, "a link to a key");
	assert_int_equal(unlinkat(f->fd, "elsewhere", 0), 0);
}

static void a_folder_that_cannot_be_written(void **state)
{
	struct folder *f = *state;
	struct why why = { "" };

	if (geteuid() == 0) {
		print_message("skipped: root may write everywhere\n");
		skip();
	}
	assert_int_equal(fchmod(f->fd, 0500), 0);
	int err = key_save(&f->key, f->fd, NULL, &f->clock, &why);
	assert_int_equal(fchmod(f->fd, 0700), 0);
	assert_int_equal(err, -EACCES);
	assert_true(strlen(why.text) > 0);
}

static void others_must_not_have_it(void **state)
{
	struct folder *f = *state;
	static const struct {
		mode_t mode;
		int expected;
	} cases[] = {
		{ 0600, 0 }, { 0400, 0 }, { 0700, 0 }, { 0640, -EACCES }, { 0604, -EACCES },
		{ 0620, -EACCES }, { 0602, -EACCES }, { 0610, -EACCES }, { 0601, -EACCES }, { 0666, -EACCES },
	};

	assert_int_equal(key_save(&f->key, f->fd, NULL, &f->clock, NULL), 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(fchmodat(f->fd, "key", cases[i].mode, 0), 0);
		expect_load(f, NULL, cases[i].expected, "mode");
	}
	assert_int_equal(fchmodat(f->fd, "key", 0600, 0), 0);
	if (geteuid() == 0) {
		assert_int_equal(fchownat(f->fd, "key", 12345, 12345, 0), 0);
		expect_load(f, NULL, -EACCES, "another owner");
	}
}

static void what_is_not_a_file_is_refused(void **state)
{
	struct folder *f = *state;

	assert_int_equal(mkdirat(f->fd, "key", 0700), 0);
	expect_load(f, NULL, -EBADMSG, "a directory");
	assert_int_equal(unlinkat(f->fd, "key", AT_REMOVEDIR), 0);
	assert_int_equal(mkfifoat(f->fd, "key", 0600), 0);
	expect_load(f, NULL, -EBADMSG, "a fifo");
}

/* Every prefix, a byte more, and every bit. */
static void damage_is_noticed(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_free) uint8_t *good = NULL;
	uint8_t bytes[PLAIN_SIZE + 1] = { 0 };
	size_t size;
	struct key key;

	assert_int_equal(key_save(&f->key, f->fd, NULL, &f->clock, NULL), 0);
	assert_int_equal(file_read(f->fd, "key", 1000, &good, &size), 0);
	assert_int_equal(size, PLAIN_SIZE);
	assert_memory_equal(good, "mootkey1\0", 9);
	memcpy(bytes, good, size);
	for (size_t cut = 0; cut <= PLAIN_SIZE + 1; cut++) {
		write_key_file(f, bytes, cut);
		assert_int_equal(key_load(&key, f->fd, NULL, NULL), cut == PLAIN_SIZE ? 0 : -EBADMSG);
	}
	for (size_t i = 0; i < PLAIN_SIZE; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);
		bytes[i] ^= bit;
		write_key_file(f, bytes, PLAIN_SIZE);
		expect_load(f, NULL, -EBADMSG, "a flipped bit");
		bytes[i] ^= bit;
	}
}

/* One derivation takes a second and 256 MiB: as few as can be. */
static void a_sealed_key_needs_its_passphrase(void **state)
{
	struct folder *f = *state;
	CLEANUP(cleanup_free) uint8_t *bytes = NULL;
	uint8_t seed[32];
	struct key key;
	struct why why;
	size_t size;

	assert_int_equal(key_save(&f->key, f->fd, "correct horse", &f->clock, &why), 0);
	assert_int_equal(file_read(f->fd, "key", 1000, &bytes, &size), 0);
	assert_int_equal(size, SEALED_SIZE);
	assert_memory_equal(bytes, "mootkey1\1", 9);
	assert_memory_equal(bytes + 9, f->key.public.bytes, ID_SIZE);
	crypto_sign_ed25519_sk_to_seed(seed, f->key.secret);
	assert_null(memmem(bytes, size, seed, sizeof seed));

	assert_int_equal(key_load(&key, f->fd, "correct horse", &why), 0);
	assert_true(keys_equal(&key, &f->key));
	assert_int_equal(key_load(&key, f->fd, "battery staple", &why), -EKEYREJECTED);
	assert_non_null(strstr(why.text, "passphrase"));
	expect_load(f, NULL, -ENOKEY, "no passphrase");

	/* What is told before the passphrase is tried. */
	write_key_file(f, bytes, size - 1);
	expect_load(f, "x", -EBADMSG, "cut");
	bytes[8] = 0;
	write_key_file(f, bytes, size);
	expect_load(f, "x", -EBADMSG, "sealed flag taken away");
	bytes[8] = 2;
	write_key_file(f, bytes, size);
	expect_load(f, "x", -EBADMSG, "unknown flag");

	/* The public key is sealed with the seed. */
	bytes[8] = 1;
	bytes[9] ^= 1;
	write_key_file(f, bytes, size);
	assert_int_equal(key_load(&key, f->fd, "correct horse", &why), -EKEYREJECTED);
}

static void signatures_bind_key_label_and_message(void **state)
{
	struct folder *f = *state;
	struct signature good, bad;
	struct key other;

	key_create(&other, &f->clock);
	assert_int_equal(key_sign(&good, &f->key, "mootfs record 1", "hello", 5), 0);
	assert_int_equal(key_verify(&good, &f->key.public, "mootfs record 1", "hello", 5), 0);
	assert_int_equal(key_verify(&good, &f->key.public, "mootfs record 2", "hello", 5), -EKEYREJECTED);
	assert_int_equal(key_verify(&good, &f->key.public, "mootfs record 1", "hellp", 5), -EKEYREJECTED);
	assert_int_equal(key_verify(&good, &f->key.public, "mootfs record 1", "hello", 4), -EKEYREJECTED);
	assert_int_equal(key_verify(&good, &other.public, "mootfs record 1", "hello", 5), -EKEYREJECTED);
	for (size_t i = 0; i < sizeof good.bytes; i++) {
		bad = good;
		bad.bytes[i] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(key_verify(&bad, &f->key.public, "mootfs record 1", "hello", 5), -EKEYREJECTED);
	}

	/* The NUL stands between: nothing moves from label to message. */
	assert_int_equal(key_sign(&good, &f->key, "ab", "c", 1), 0);
	assert_int_equal(key_verify(&good, &f->key.public, "a", "bc", 2), -EKEYREJECTED);
	assert_int_equal(key_sign(&good, &f->key, "empty", NULL, 0), 0);
	assert_int_equal(key_verify(&good, &f->key.public, "empty", NULL, 0), 0);
	assert_int_equal(crypto_sign_verify_detached(good.bytes, (const uint8_t *)"empty", 6,
						     f->key.public.bytes), 0);
}

/* The encodings that a lax check takes: S + L, and points of small order that verify anything. */
static void lax_signatures_are_refused(void **state)
{
	static const uint8_t order[32] = {
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	};
	struct folder *f = *state;
	struct signature s;
	unsigned carry = 0;

	assert_int_equal(key_sign(&s, &f->key, "label", "m", 1), 0);
	for (size_t i = 0; i < 32; i++) {
		carry += s.bytes[32 + i] + order[i];
		s.bytes[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_int_equal(key_verify(&s, &f->key.public, "label", "m", 1), -EKEYREJECTED);

	/* Identity as key and as R, S = 0: the equation holds for every message. */
	struct id identity = { { 1 } };
	struct signature nothing = { { 1 } };
	assert_int_equal(key_verify(&nothing, &identity, "label", "m", 1), -EKEYREJECTED);
}

static void seed_of_the_test(void *context, uint8_t *out, size_t size)
{
	assert_int_equal(size, 32);
	memcpy(out, context, size);
}

/* RFC 8032 section 7.1, TEST 1: the key is of the clock's randomness and nothing else. */
static void keys_are_ed25519(void **state)
{
	uint8_t seed[32], expected[32];
	struct clock clock = { .random = seed_of_the_test, .context = seed };
	struct key key;

	assert_int_equal(sodium_hex2bin(seed, 32,
		"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", 64, NULL, NULL, NULL), 0);
	assert_int_equal(sodium_hex2bin(expected, 32,
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", 64, NULL, NULL, NULL), 0);
	key_create(&key, &clock);
	assert_memory_equal(key.public.bytes, expected, 32);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_FOLDER(a_saved_key_is_loaded),
		WITH_FOLDER(a_key_is_never_replaced),
		WITH_FOLDER(links_are_not_followed),
		WITH_FOLDER(a_folder_that_cannot_be_written),
		WITH_FOLDER(others_must_not_have_it),
		WITH_FOLDER(what_is_not_a_file_is_refused),
		WITH_FOLDER(damage_is_noticed),
		WITH_FOLDER(a_sealed_key_needs_its_passphrase),
		WITH_FOLDER(signatures_bind_key_label_and_message),
		WITH_FOLDER(lax_signatures_are_refused),
		cmocka_unit_test(keys_are_ed25519),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
