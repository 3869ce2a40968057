#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "handshake_kit.h"
#include "net_limits.h"
#include "stream.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define OVERHEAD 17
#define FRAME(size) (4 + (size) + OVERHEAD)

struct line { /* two ends, and what is under way from a to b */
	struct stream a, b;
	struct bytes wire;
	struct bytes packet; /* what b pulled last */
	bool final;
	uint8_t keys[2][32];
};

static void line_begin(struct line *l)
{
	memset(l->keys[0], 1, 32);
	memset(l->keys[1], 2, 32);
	stream_init(&l->a, l->keys[0], l->keys[1], 1000);
	stream_init(&l->b, l->keys[1], l->keys[0], 1000);
	bytes_finish(&l->wire);
	bytes_finish(&l->packet);
	bytes_init(&l->wire, 4 * FRAME_SIZE_MAX);
	bytes_init(&l->packet, PACKET_SIZE_MAX);
	l->final = false;
}

static int line_setup(void **state)
{
	struct line *l = calloc(1, sizeof *l);

	if (!l)
		return -1;
	line_begin(l);
	*state = l;
	return 0;
}

static int line_teardown(void **state)
{
	struct line *l = *state;

	stream_finish(&l->a);
	stream_finish(&l->b);
	bytes_finish(&l->wire);
	bytes_finish(&l->packet);
	free(l);
	return 0;
}

static void push(struct line *l, const char *text, bool final)
{
	assert_int_equal(stream_push(&l->a, text, strlen(text), final, 1000, &l->wire), 0);
}

/* b pulls from a block of its own size. */
static ssize_t pull(struct line *l, const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	if (size > 0)
		memcpy(copy, bytes, size);
	ssize_t used = stream_pull(&l->b, copy, size, &l->packet, &l->final);
	free(copy);
	if (used <= 0)
		assert_int_equal(l->packet.size, 0);
	return used;
}

/* The next frame of the wire is this packet; it leaves the wire. */
static void expect(struct line *l, const void *packet, size_t size)
{
	ssize_t used = pull(l, l->wire.data, l->wire.size);

	assert_true(used > 0);
	assert_int_equal(l->packet.size, size);
	if (size > 0)
		assert_memory_equal(l->packet.data, packet, size);
	l->wire.size -= (size_t)used;
	memmove(l->wire.data, l->wire.data + used, l->wire.size);
}

static void expect_text(struct line *l, const char *text)
{
	expect(l, text, strlen(text));
}

/* Refused, and nothing is taken after, right or wrong. */
static void refuse(struct line *l, const void *bytes, size_t size, const char *name)
{
	ssize_t used = pull(l, bytes, size);

	if (used != -EBADMSG)
		fail_msg("%s: %zd", name, used);
	assert_int_equal(pull(l, l->wire.data, l->wire.size), -EBADMSG);
	assert_int_equal(pull(l, "x", 1), -EBADMSG);
}

static void packets_arrive_in_order(void **state)
{
	struct line *l = *state;

	push(l, "one", false);
	assert_int_equal(l->wire.size, 24 + FRAME(3));
	push(l, "two", false);
	assert_int_equal(l->wire.size, 24 + 2 * FRAME(3));
	push(l, "the last", true);
	expect_text(l, "one");
	assert_false(l->final);
	expect_text(l, "two");
	expect_text(l, "the last");
	assert_true(l->final && l->b.closed_in && l->a.closed_out);
	assert_int_equal(l->wire.size, 0);
	assert_int_equal(pull(l, "", 0), 0);

	/* The other way is open still. */
	assert_false(l->a.closed_in || l->b.closed_out);
	assert_int_equal(stream_push(&l->b, "back", 4, false, 1000, &l->wire), 0);
	assert_int_equal(stream_pull(&l->a, l->wire.data, l->wire.size, &l->packet, &l->final), 24 + FRAME(4));
	assert_memory_equal(l->packet.data, "back", 4);
	assert_false(l->final);
}

/* libsodium's own words on the wire, either way: the header is no more than a header. */
static void frames_are_those_of_secretstream(void **state)
{
	struct line *l = *state;
	crypto_secretstream_xchacha20poly1305_state s;
	uint8_t text[16], tag, raw[24 + FRAME(5)] = { 0 };
	unsigned long long size;

	push(l, "hello", false);
	assert_int_equal(crypto_secretstream_xchacha20poly1305_init_pull(&s, l->wire.data, l->keys[0]), 0);
	assert_int_equal(crypto_secretstream_xchacha20poly1305_pull(&s, text, &size, &tag, l->wire.data + 28, 22,
								    l->wire.data + 24, 4), 0);
	assert_int_equal(size, 5);
	assert_int_equal(tag, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
	assert_memory_equal(text, "hello", 5);
	assert_memory_equal(l->wire.data + 24, "\x16\0\0\0", 4);

	crypto_secretstream_xchacha20poly1305_init_push(&s, raw, l->keys[0]);
	raw[24] = 22;
	crypto_secretstream_xchacha20poly1305_push(&s, raw + 28, NULL, (const uint8_t *)"other", 5, raw + 24, 4, 0);
	assert_int_equal(pull(l, raw, sizeof raw), sizeof raw);
	assert_memory_equal(l->packet.data, "other", 5);
}

/* What libsodium would let through and we do not use: other tags, an empty packet, another length as associated data. */
static void what_we_never_say_is_refused(void **state)
{
	static const struct {
		const char *name;
		size_t size;
		uint8_t tag, ad;
		bool pass;
	} cases[] = {
		{ "a message", 5, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, 22, true },
		{ "rekey", 5, crypto_secretstream_xchacha20poly1305_TAG_REKEY, 22, true },
		{ "an empty end", 0, crypto_secretstream_xchacha20poly1305_TAG_FINAL, 17, true },
		{ "push", 5, crypto_secretstream_xchacha20poly1305_TAG_PUSH, 22, false },
		{ "an unknown tag", 5, 4, 22, false },
		{ "an empty message", 0, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, 17, false },
		{ "an empty rekey", 0, crypto_secretstream_xchacha20poly1305_TAG_REKEY, 17, false },
		{ "another length", 5, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, 21, false },
	};
	struct line *l = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		crypto_secretstream_xchacha20poly1305_state s;
		uint8_t raw[24 + FRAME(5)] = { 0 }, ad[4] = { cases[i].ad };
		size_t size = 24 + FRAME(cases[i].size);

		line_begin(l);
		crypto_secretstream_xchacha20poly1305_init_push(&s, raw, l->keys[0]);
		raw[24] = (uint8_t)(cases[i].size + OVERHEAD);
		crypto_secretstream_xchacha20poly1305_push(&s, raw + 28, NULL, (const uint8_t *)"other", cases[i].size, ad, 4,
							   cases[i].tag);
		if (cases[i].pass)
			assert_int_equal(pull(l, raw, size), size);
		else
			refuse(l, raw, size, cases[i].name);
	}
}

static void every_prefix_waits(void **state)
{
	struct line *l = *state;

	push(l, "first", false);
	push(l, "second", true);
	for (size_t cut = 0; cut < 24 + FRAME(5); cut++)
		assert_int_equal(pull(l, l->wire.data, cut), 0);
	expect_text(l, "first");
	for (size_t cut = 0; cut < FRAME(6); cut++)
		assert_int_equal(pull(l, l->wire.data, cut), 0);
	expect_text(l, "second");
}

static void no_flipped_bit_passes(void **state)
{
	struct line *l = *state;

	/* A longer length waits for what never comes, unless it is over the limit. */
	for (size_t bit = 0; bit < (24 + FRAME(3)) * 8; bit++) {
		line_begin(l);
		push(l, "abc", false);
		l->wire.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ssize_t used = pull(l, l->wire.data, l->wire.size);
		bool longer = used == 0 && bit / 8 >= 24 && bit / 8 < 28;
		if (used != -EBADMSG && !longer)
			fail_msg("bit %zu: %zd", bit, used);
		if (!longer)
			continue;
		assert_non_null(bytes_extend(&l->wire, 2 * FRAME_SIZE_MAX));
		memset(l->wire.data + 24 + FRAME(3), 0, 2 * FRAME_SIZE_MAX);
		assert_int_equal(pull(l, l->wire.data, l->wire.size), -EBADMSG);
	}
}

static void a_length_over_the_limit_is_refused_at_once(void **state)
{
	static const struct {
		const char *name;
		uint32_t length;
		bool pass;
	} cases[] = {
		{ "nothing", 0, false },
		{ "less than a tag", OVERHEAD - 1, false },
		{ "the least", OVERHEAD, true },
		{ "the most", FRAME_SIZE_MAX, true },
		{ "one more", FRAME_SIZE_MAX + 1, false },
		{ "all", UINT32_MAX, false },
	};
	struct line *l = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t start[28] = { 0 };

		line_begin(l);
		for (unsigned k = 0; k < 4; k++)
			start[24 + k] = (uint8_t)(cases[i].length >> (8 * k));
		if (cases[i].pass)
			assert_int_equal(pull(l, start, sizeof start), 0);
		else
			refuse(l, start, sizeof start, cases[i].name);
	}
}

static void the_largest_packet_passes(void **state)
{
	struct line *l = *state;
	uint8_t *large = malloc(PACKET_SIZE_MAX + 1);

	assert_non_null(large);
	randombytes_buf(large, PACKET_SIZE_MAX + 1);
	assert_int_equal(stream_push(&l->a, large, PACKET_SIZE_MAX + 1, false, 0, &l->wire), -EMSGSIZE);
	assert_int_equal(l->wire.size, 0);
	assert_int_equal(stream_push(&l->a, large, PACKET_SIZE_MAX, false, 0, &l->wire), 0);
	assert_int_equal(l->wire.size, 24 + 4 + FRAME_SIZE_MAX);
	expect(l, large, PACKET_SIZE_MAX);
	free(large);
}

static void repeated_reordered_and_dropped_frames_are_refused(void **state)
{
	static const struct {
		const char *name;
		unsigned order[4]; /* frames of 3 bytes, by number; the first pulled with the header */
	} cases[] = {
		{ "repeated", { 0, 0 } },
		{ "repeated later", { 0, 1, 0 } },
		{ "swapped", { 0, 2 } },
		{ "the first dropped", { 1 } },
		{ "one dropped", { 0, 1, 3 } },
	};
	struct line *l = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t bytes[24 + FRAME(3)];

		line_begin(l);
		for (unsigned k = 0; k < 4; k++)
			push(l, "abc", false);
		for (unsigned k = 0;; k++) {
			size_t header = k == 0 ? 24 : 0;
			bool right = cases[i].order[k] == k;
			memcpy(bytes, l->wire.data, header);
			memcpy(bytes + header, l->wire.data + 24 + cases[i].order[k] * FRAME(3), FRAME(3));
			if (!right) {
				refuse(l, bytes, header + FRAME(3), cases[i].name);
				break;
			}
			assert_int_equal(pull(l, bytes, header + FRAME(3)), header + FRAME(3));
		}
	}
}

static void the_header_comes_once(void **state)
{
	struct line *l = *state;
	uint8_t header[24];

	push(l, "abc", false);
	memcpy(header, l->wire.data, 24);
	expect_text(l, "abc");
	refuse(l, header, sizeof header, "the header again");
}

static void an_end_without_the_last_frame_is_seen(void **state)
{
	struct line *l = *state;

	push(l, "abc", false);
	push(l, "the last", true);
	expect_text(l, "abc");
	/* Here the connection ends: cut between two frames, or within one. */
	assert_false(l->final || l->b.closed_in);
	assert_int_equal(pull(l, l->wire.data, l->wire.size - 1), 0);
	assert_false(l->b.closed_in);
	expect_text(l, "the last");
	assert_true(l->b.closed_in);
}

static void nothing_comes_after_the_last_frame(void **state)
{
	struct line *l = *state;

	push(l, "", true);
	size_t size = l->wire.size;
	assert_int_equal(stream_push(&l->a, "more", 4, false, 1000, &l->wire), -EPROTO);
	assert_int_equal(stream_push(&l->a, "", 0, true, 1000, &l->wire), -EPROTO);
	assert_int_equal(l->wire.size, size);
	uint8_t again[24 + FRAME(0)];
	memcpy(again, l->wire.data, sizeof again);
	expect(l, "", 0);
	assert_true(l->final);
	assert_int_equal(pull(l, "", 0), 0);
	refuse(l, again + 24, FRAME(0), "after the end");

	line_begin(l);
	push(l, "", true);
	expect(l, "", 0);
	refuse(l, "x", 1, "a byte after the end");
}

static void what_cannot_be_pushed_changes_nothing(void **state)
{
	struct line *l = *state;
	struct bytes narrow;

	assert_int_equal(stream_push(&l->a, "", 0, false, 1000, &l->wire), -EINVAL);
	bytes_init(&narrow, 24 + FRAME(3) - 1);
	assert_int_equal(stream_push(&l->a, "abc", 3, false, 1000, &narrow), -EMSGSIZE);
	assert_int_equal(bytes_error(&narrow), 0);
	assert_int_equal(stream_push(&l->a, "ab", 2, false, 1000, &narrow), 0);
	assert_int_equal(stream_push(&l->a, "abc", 3, false, 1000, &narrow), -EMSGSIZE);
	assert_int_equal(stream_push(&l->a, "abc", 3, false, 1000, &l->wire), 0);
	assert_int_equal(pull(l, narrow.data, narrow.size), narrow.size);
	expect_text(l, "abc");
	bytes_finish(&narrow);
}

static bool rekeyed(struct line *l, size_t size, uint64_t now_ms)
{
	uint8_t key[32], packet[64] = { 0 };

	memcpy(key, l->a.out.k, 32);
	assert_int_equal(stream_push(&l->a, packet, size, false, now_ms, &l->wire), 0);
	expect(l, packet, size);
	assert_memory_equal(l->a.out.k, l->b.in.k, 32);
	return memcmp(key, l->a.out.k, 32) != 0;
}

static void keys_change_after_so_many_bytes(void **state)
{
	struct line *l = *state;

	assert_false(rekeyed(l, 5, 1000));
	l->a.bytes_since_rekey = REKEY_BYTES - 10;
	assert_false(rekeyed(l, 9, 1000));
	assert_true(rekeyed(l, 1, 1000));
	assert_int_equal(l->a.bytes_since_rekey, 0);
	assert_false(rekeyed(l, 64, 1000));
	l->a.bytes_since_rekey = REKEY_BYTES - 10;
	assert_true(rekeyed(l, 64, 1000));
}

static void keys_change_after_so_long(void **state)
{
	struct line *l = *state;

	assert_false(rekeyed(l, 5, 1000));
	assert_false(rekeyed(l, 5, 999 + REKEY_MS));
	assert_true(rekeyed(l, 5, 1000 + REKEY_MS));
	assert_false(rekeyed(l, 5, 999 + 2 * REKEY_MS));
	assert_true(rekeyed(l, 5, 1000 + 3 * REKEY_MS));
	assert_false(rekeyed(l, 5, 1000 + 3 * REKEY_MS));
	l->a.bytes_since_rekey = REKEY_BYTES; /* by bytes: the time begins anew */
	assert_true(rekeyed(l, 5, 2000 + 3 * REKEY_MS));
	assert_false(rekeyed(l, 5, 1000 + 4 * REKEY_MS));
}

/* The end of a key is the end of what it opens: an old frame after a rekey is not taken. */
static void a_frame_of_the_key_before_is_refused(void **state)
{
	struct line *l = *state;

	push(l, "abc", false);
	uint8_t old[FRAME(3)];
	memcpy(old, l->wire.data + 24, sizeof old);
	expect_text(l, "abc");
	assert_true(rekeyed(l, 5, 1000 + REKEY_MS));
	refuse(l, old, sizeof old, "of the key before");
}

static void directions_and_sessions_do_not_mix(void **state)
{
	struct line *l = *state;
	uint8_t other[32];

	/* A frame handed back to its sender. */
	push(l, "abc", false);
	assert_int_equal(stream_pull(&l->a, l->wire.data, l->wire.size, &l->packet, &l->final), -EBADMSG);

	/* And into another session. */
	memset(other, 3, sizeof other);
	stream_init(&l->b, l->keys[1], other, 1000);
	refuse(l, l->wire.data, l->wire.size, "of another session");
}

/* The first frames prove that both ends came to the same: through a real handshake. */
static void a_session_goes_both_ways(void **state)
{
	struct line *l = *state;
	struct kit_clock a_clock, b_clock;
	struct handshake_server server;
	struct handshake_keys a, b;
	struct key a_key, b_key;
	uint8_t out[HANDSHAKE_MESSAGE_MAX];

	kit_clock_init(&a_clock, 1);
	kit_clock_init(&b_clock, 2);
	key_create(&a_key, &a_clock.clock);
	key_create(&b_key, &b_clock.clock);
	handshake_server_init(&server, &b_key, NULL, &b_clock.clock);
	struct handshake *client = handshake_new_client(&a_key, NULL, &b_key.public, &a_clock.clock);
	struct handshake *dialled = handshake_new_server(&server, "", 0, &b_clock.clock);
	assert_true(client && dialled);
	assert_int_equal(handshake_take(dialled, out, handshake_give(client, out)), HELLO_SIZE);
	assert_int_equal(handshake_take(client, out, handshake_give(dialled, out)), CHALLENGE_SIZE);
	assert_int_equal(handshake_take(dialled, out, handshake_give(client, out)), EARN_SIZE);
	assert_true(handshake_done(client, &a) && handshake_done(dialled, &b));
	assert_true(id_equal(&a.cb, &b.cb));
	handshake_free(client);
	handshake_free(dialled);

	stream_init(&l->a, a.send, a.receive, 0);
	stream_init(&l->b, b.send, b.receive, 0);
	push(l, "from a", false);
	expect_text(l, "from a");
	assert_int_equal(stream_push(&l->b, "from b", 6, true, 0, &l->wire), 0);
	assert_int_equal(stream_pull(&l->a, l->wire.data, l->wire.size, &l->packet, &l->final), l->wire.size);
	assert_memory_equal(l->packet.data, "from b", 6);
	assert_true(l->final);
}

#define WITH_LINE(test) cmocka_unit_test_setup_teardown(test, line_setup, line_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_LINE(packets_arrive_in_order),
		WITH_LINE(frames_are_those_of_secretstream),
		WITH_LINE(what_we_never_say_is_refused),
		WITH_LINE(every_prefix_waits),
		WITH_LINE(no_flipped_bit_passes),
		WITH_LINE(a_length_over_the_limit_is_refused_at_once),
		WITH_LINE(the_largest_packet_passes),
		WITH_LINE(repeated_reordered_and_dropped_frames_are_refused),
		WITH_LINE(the_header_comes_once),
		WITH_LINE(an_end_without_the_last_frame_is_seen),
		WITH_LINE(nothing_comes_after_the_last_frame),
		WITH_LINE(what_cannot_be_pushed_changes_nothing),
		WITH_LINE(keys_change_after_so_many_bytes),
		WITH_LINE(keys_change_after_so_long),
		WITH_LINE(a_frame_of_the_key_before_is_refused),
		WITH_LINE(directions_and_sessions_do_not_mix),
		WITH_LINE(a_session_goes_both_ways),
	};

	if (sodium_init() < 0)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
