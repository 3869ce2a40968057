#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "handshake_world.h"
#include "net_limits.h"
#include "stream.h"

static void who_meet_share_keys_and_know_each_other(void **state)
{
	struct world *w = *state;

	for (int named = 0; named < 2; named++) {
		struct handshake_keys keys[2];

		begin_to(w, 7, named ? &w->b.public : NULL);
		assert_false(handshake_done(w->client, keys) || handshake_done(w->dialled, keys));
		say_hello(w);
		assert_false(handshake_done(w->client, keys) || handshake_done(w->dialled, keys));
		begin_to(w, 7, named ? &w->b.public : NULL);
		say_earn(w);
		expect_same_keys(w->client, w->dialled, keys);
		assert_true(id_equal(&keys[0].peer, &w->b.public));
		assert_true(id_equal(&keys[1].peer, &w->a.public));
		assert_int_equal(keys[0].peer_time_ms, KIT_TIME_MS + 15000);
		assert_int_equal(keys[1].peer_time_ms, KIT_TIME_MS + 14000);
		assert_int_equal(keys[1].effort, 0);
	}
}

static void every_session_is_another(void **state)
{
	struct world *w = *state;
	struct handshake_keys keys[3][2];

	for (uint64_t i = 0; i < 3; i++) {
		begin(w, i < 2 ? 10 + i : 10);
		say_earn(w);
		expect_same_keys(w->client, w->dialled, keys[i]);
	}
	assert_false(id_equal(&keys[0][0].cb, &keys[1][0].cb));
	assert_memory_not_equal(keys[0][0].send, keys[1][0].send, 32);
	assert_memory_not_equal(keys[0][0].receive, keys[1][0].receive, 32);
	/* Only randomness makes them so. */
	assert_true(id_equal(&keys[0][0].cb, &keys[2][0].cb));
}

/* The client against the model's server. */
static void the_client_is_as_the_model_says(void **state)
{
	struct world *w = *state;
	struct offer offer = { .server = w->b.public, .time_ms = 12345, .seed = { { 1, 2, 3 } } };
	struct handshake_keys keys, expected;
	struct model b;

	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	model_init(&b, 99);
	model_begin(&b, &nobody, w->hello);
	model_meet(&b, w->hello + 5, false);
	model_challenge(&b, w->challenge, &w->b, &offer);
	pass(w->client, w->challenge, CHALLENGE_SIZE);
	give(w->client, w->earn, EARN_SIZE);
	assert_true(handshake_done(w->client, &keys));
	model_mix(&b, w->earn + 1, EARN_SIZE - 1);
	model_finish(&b, false, &expected);
	assert_memory_equal(keys.send, expected.receive, 32);
	assert_memory_equal(keys.receive, expected.send, 32);
	assert_true(id_equal(&keys.cb, &expected.cb));
	assert_int_equal(keys.peer_time_ms, 12345);
}

static void the_server_is_as_the_model_says(void **state)
{
	struct world *w = *state;
	struct claim claim = { .client = w->a.public, .time_ms = 54321 };
	struct handshake_keys keys, expected;
	struct model a;
	struct id h2;

	model_to_h3(w, &a, &nobody, &h2);
	model_earn(&a, w->earn, &w->a, &w->b.public, &claim);
	pass(w->dialled, w->earn, EARN_SIZE);
	assert_true(handshake_done(w->dialled, &keys));
	model_finish(&a, true, &expected);
	assert_memory_equal(keys.send, expected.receive, 32);
	assert_memory_equal(keys.receive, expected.send, 32);
	assert_true(id_equal(&keys.cb, &expected.cb));
	assert_true(id_equal(&keys.peer, &w->a.public));
	assert_int_equal(keys.peer_time_ms, 54321);
}

/* What is on the wire stays what it is. */
static void the_bytes_are_fixed(void **state)
{
	struct world *w = *state;
	struct flat f = { .size = 0 };
	struct handshake_keys keys;
	uint8_t hash[32];
	char hex[65];

	begin(w, 7);
	say_earn(w);
	assert_true(handshake_done(w->client, &keys));
	flat_put(&f, w->hello, HELLO_SIZE);
	flat_put(&f, w->challenge, CHALLENGE_SIZE);
	flat_put(&f, w->earn, EARN_SIZE);
	flat_put(&f, keys.send, 32);
	flat_put(&f, keys.receive, 32);
	flat_put(&f, keys.cb.bytes, 32);
	flat_hash(hash, &f, NULL);
	sodium_bin2hex(hex, sizeof hex, hash, 32);
	assert_string_equal(hex, "f0579135f0cd23a07854b415089873b13fd46d862ab0d02725ed4fc44be84a14");
}

static void expect_prefixes_to_wait(struct handshake *h, const uint8_t *message, size_t size)
{
	uint8_t more[HANDSHAKE_MESSAGE_MAX + 1];

	for (size_t cut = 0; cut < size; cut++)
		assert_int_equal(take(h, message, cut), 0);
	/* What follows is not ours. */
	memcpy(more, message, size);
	more[size] = 0xff;
	assert_int_equal(take(h, more, size + 1), size);
}

static void every_prefix_of_every_message_waits(void **state)
{
	struct world *w = *state;
	uint8_t cookie[HANDSHAKE_MESSAGE_MAX];

	begin(w, 7);
	w->server.loaded = true;
	give(w->client, w->hello, HELLO_SIZE);
	expect_prefixes_to_wait(w->dialled, w->hello, HELLO_SIZE);
	give(w->dialled, cookie, COOKIE_SIZE);
	expect_prefixes_to_wait(w->client, cookie, COOKIE_SIZE);
	say_hello(w);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	expect_prefixes_to_wait(w->client, w->challenge, CHALLENGE_SIZE);
	give(w->client, w->earn, EARN_SIZE);
	expect_prefixes_to_wait(w->dialled, w->earn, EARN_SIZE);
	assert_true(handshake_done(w->dialled, NULL));
	assert_int_equal(take(w->dialled, "session", 7), 0);
}

/* Where the server does not see it, which is in mac2 alone, the client does. */
static void no_flipped_bit_of_hello_passes(void **state)
{
	struct world *w = *state;
	unsigned passed = 0;

	for (size_t bit = 0; bit < HELLO_SIZE * 8; bit++) {
		begin(w, 7);
		give(w->client, w->hello, HELLO_SIZE);
		w->hello[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (take(w->dialled, w->hello, HELLO_SIZE) < 0) {
			assert_int_equal(handshake_give(w->dialled, w->challenge), 0);
			continue;
		}
		passed++;
		assert_true(bit / 8 >= HELLO_SIZE - 16);
		give(w->dialled, w->challenge, CHALLENGE_SIZE);
		refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, "hello flipped");
	}
	assert_int_equal(passed, 16 * 8);
}

static void no_flipped_bit_of_challenge_passes(void **state)
{
	struct world *w = *state;

	for (size_t bit = 0; bit < CHALLENGE_SIZE * 8; bit++) {
		begin(w, 7);
		give(w->client, w->hello, HELLO_SIZE);
		if (bit == 0) {
			pass(w->dialled, w->hello, HELLO_SIZE);
			give(w->dialled, w->challenge, CHALLENGE_SIZE);
		}
		w->challenge[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int err = (int)take(w->client, w->challenge, CHALLENGE_SIZE);
		if (err >= 0 || handshake_give(w->client, w->earn) > 0)
			fail_msg("bit %zu: %d", bit, err);
		w->challenge[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	/* And as it was, it passes. */
	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	pass(w->client, w->challenge, CHALLENGE_SIZE);
}

static void no_flipped_bit_of_earn_passes(void **state)
{
	struct world *w = *state;

	begin(w, 7);
	say_earn(w);
	for (size_t bit = 0; bit <= EARN_SIZE * 8; bit++) {
		uint8_t flipped[EARN_SIZE];
		bool right = bit == EARN_SIZE * 8;

		begin(w, 7);
		pass(w->dialled, w->hello, HELLO_SIZE);
		give(w->dialled, w->challenge, CHALLENGE_SIZE);
		memcpy(flipped, w->earn, EARN_SIZE);
		if (!right)
			flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int err = (int)take(w->dialled, flipped, EARN_SIZE);
		if ((err == EARN_SIZE) != right || handshake_done(w->dialled, NULL) != right)
			fail_msg("bit %zu: %d", bit, err);
	}
}

static void no_flipped_bit_of_cookie_passes(void **state)
{
	struct world *w = *state;
	uint8_t cookie[HANDSHAKE_MESSAGE_MAX];

	w->server.loaded = true;
	for (size_t bit = 0; bit < COOKIE_SIZE * 8; bit++) {
		begin(w, 7);
		say_hello(w);
		give(w->dialled, cookie, COOKIE_SIZE);
		cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (take(w->client, cookie, COOKIE_SIZE) < 0) {
			assert_true(bit < 8);
			continue;
		}
		assert_true(bit >= 8);
		give(w->client, w->hello, HELLO_SIZE);
		refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "cookie flipped");
	}
}

/* RFC 7748's points without a product: 0, 1, two of order 8, and p - 1, p, p + 1; and with the bit that is ignored. */
static const char *const small_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void point_of(uint8_t out[32], size_t i)
{
	assert_int_equal(sodium_hex2bin(out, 32, small_order[i / 2], 64, NULL, NULL, NULL), 0);
	out[31] |= i % 2 ? 0x80 : 0;
}

static void a_key_of_small_order_is_refused_by_the_server(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 2 * COUNT(small_order); i++) {
		uint8_t eA[32];

		begin(w, 7);
		point_of(eA, i);
		model_hello(w->hello, eA, &w->b.public);
		refuse(w->dialled, w->hello, HELLO_SIZE, -EBADMSG, small_order[i / 2]);
	}
}

/* All else is right, by what a lax end would go on with: keys of a product of zeroes, or keys of zeroes. */
static void a_key_of_small_order_is_refused_by_the_client(void **state)
{
	static const uint8_t zero[32];
	struct world *w = *state;
	struct offer offer = { .server = w->b.public };

	for (size_t i = 0; i < 4 * COUNT(small_order); i++) {
		struct model b;

		begin(w, 7);
		give(w->client, w->hello, HELLO_SIZE);
		model_init(&b, 99);
		point_of(b.public, i / 2);
		model_begin(&b, &nobody, w->hello);
		if (i % 2 == 0)
			model_keys(&b, zero, w->hello + 5, b.public, false);
		model_challenge(&b, w->challenge, &w->b, &offer);
		refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, small_order[i / 4]);
	}
}

static void a_replayed_hello_gets_nobody_anywhere(void **state)
{
	struct world *w = *state;
	uint8_t old_hello[HELLO_SIZE], old_challenge[CHALLENGE_SIZE], old_earn[EARN_SIZE];

	begin(w, 7);
	say_earn(w);
	memcpy(old_hello, w->hello, HELLO_SIZE);
	memcpy(old_challenge, w->challenge, CHALLENGE_SIZE);
	memcpy(old_earn, w->earn, EARN_SIZE);

	/* Into another session: another challenge, which the old msg3 does not answer. */
	begin(w, 8);
	pass(w->dialled, old_hello, HELLO_SIZE);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	assert_memory_not_equal(w->challenge, old_challenge, CHALLENGE_SIZE);
	refuse(w->dialled, old_earn, EARN_SIZE, -EBADMSG, "old earn");

	/* Into the same: before and after the challenge was given. */
	begin(w, 9);
	say_hello(w);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "hello twice");
	begin(w, 9);
	say_hello(w);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "hello twice");
}

static void a_replayed_challenge_is_refused(void **state)
{
	struct world *w = *state;

	begin(w, 7);
	say_challenge(w);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EPROTO, "twice");
	begin(w, 8);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EPROTO, "before hello");
	begin(w, 8);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, "of another session");
}

static void a_replayed_earn_is_refused(void **state)
{
	struct world *w = *state;
	struct handshake_keys keys;
	struct stream stream;
	struct bytes packet;
	uint8_t old_earn[EARN_SIZE], stretched[EARN_SIZE * 2];
	bool final;

	begin(w, 7);
	say_earn(w);
	memcpy(old_earn, w->earn, EARN_SIZE);

	/* The same session: it is past, and the stream does not take it. */
	assert_int_equal(take(w->dialled, old_earn, EARN_SIZE), 0);
	assert_true(handshake_done(w->dialled, &keys));
	assert_int_equal(take(w->dialled, old_earn, EARN_SIZE), -EPROTO);
	bytes_init(&packet, PACKET_SIZE_MAX);
	stream_init(&stream, keys.send, keys.receive, 0);
	memcpy(stretched, old_earn, EARN_SIZE);
	memcpy(stretched + EARN_SIZE, old_earn, EARN_SIZE);
	assert_int_equal(stream_pull(&stream, stretched, sizeof stretched, &packet, &final), -EBADMSG);
	bytes_finish(&packet);

	/* Another, at either time. */
	begin(w, 8);
	refuse(w->dialled, old_earn, EARN_SIZE, -EPROTO, "before hello");
	begin(w, 8);
	say_hello(w);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	refuse(w->dialled, old_earn, EARN_SIZE, -EBADMSG, "of another session");
}

static void a_reflection_is_refused(void **state)
{
	struct world *w = *state;
	struct offer offer = { .server = w->b.public };
	struct model a;

	/* Its own words. */
	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->client, w->hello, HELLO_SIZE, -EPROTO, "own hello");

	/* eA = eB, all else right: the model has A's secret. */
	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	model_init(&a, 14);
	assert_memory_equal(a.public, w->hello + 5, 32);
	model_begin(&a, &nobody, w->hello);
	model_meet(&a, a.public, false);
	model_challenge(&a, w->challenge, &w->b, &offer);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EPROTO, "eA = eB at the client");

	/* The server that draws what the client drew. */
	begin(w, 7);
	kit_clock_init(&w->b_clock, 14);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "eA = eB at the server");
}

static void who_dials_himself_is_refused(void **state)
{
	struct world *w = *state;
	struct claim claim = { .client = w->b.public };
	struct model a;
	struct id h2;

	/* idA = idB, seen by A. */
	for (int named = 0; named < 2; named++) {
		begin(w, 7);
		handshake_free(w->client);
		w->client = handshake_new_client(&w->b, NULL, named ? &w->b.public : NULL, &w->a_clock.clock);
		say_hello(w);
		give(w->dialled, w->challenge, CHALLENGE_SIZE);
		refuse(w->client, w->challenge, CHALLENGE_SIZE, -EPROTO, "idA = idB at the client");
	}

	/* And by B: all is right but for that. */
	model_to_h3(w, &a, &nobody, &h2);
	model_earn(&a, w->earn, &w->b, &w->b.public, &claim);
	refuse(w->dialled, w->earn, EARN_SIZE, -EPROTO, "idA = idB at the server");
}

/* A dials M, and M hands all on to B: neither may think of the other as somebody else. */
static void a_man_in_the_middle_is_refused(void **state)
{
	struct world *w = *state;

	/* As it came: it names M. */
	begin_to(w, 7, &w->m.public);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "names another");

	/* With B's mac1, which anyone can make. */
	begin_to(w, 7, &w->m.public);
	give(w->client, w->hello, HELLO_SIZE);
	model_mac1(w->hello, &w->b.public);
	pass(w->dialled, w->hello, HELLO_SIZE);
	give(w->dialled, w->challenge, CHALLENGE_SIZE);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, "mac1 made anew");

	/* Where A names nobody it meets B, and knows: M is a cable. */
	begin_to(w, 7, NULL);
	say_earn(w);
	struct handshake_keys keys[2];
	expect_same_keys(w->client, w->dialled, keys);
	assert_true(id_equal(&keys[0].peer, &w->b.public) && id_equal(&keys[1].peer, &w->a.public));
}

/* M as server towards A, as client towards B, with what the one signed shown to the other. */
static void a_signature_for_one_is_none_for_another(void **state)
{
	struct world *w = *state;
	struct offer offer = { .server = w->b.public };
	struct claim claim = { .client = w->a.public };
	struct model m;
	struct id h2;

	/* M says that it is B, by its own key. */
	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	model_init(&m, 99);
	model_begin(&m, &nobody, w->hello);
	model_meet(&m, w->hello + 5, false);
	struct model wrong = m;
	model_challenge(&wrong, w->challenge, &w->m, &offer);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EKEYREJECTED, "not B's signature");

	/* B's signature of another session. */
	begin(w, 7);
	give(w->client, w->hello, HELLO_SIZE);
	wrong = m;
	wrong.h[0] ^= 1;
	model_challenge(&wrong, w->challenge, &w->b, &offer);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, "of another session");

	/* M says that it is A. */
	model_to_h3(w, &m, &nobody, &h2);
	model_earn(&m, w->earn, &w->m, &w->b.public, &claim);
	refuse(w->dialled, w->earn, EARN_SIZE, -EKEYREJECTED, "not A's signature");

	/* A's signature, which names M. */
	model_to_h3(w, &m, &nobody, &h2);
	model_earn(&m, w->earn, &w->a, &w->m.public, &claim);
	refuse(w->dialled, w->earn, EARN_SIZE, -EKEYREJECTED, "names M");
}

static void another_network_is_refused(void **state)
{
	static const struct id circle = { { 1 } }, other = { { 1, 1 } };
	static const struct {
		const char *name;
		const struct id *client, *server;
		bool pass;
	} cases[] = {
		{ "the commons", NULL, &nobody, true },
		{ "one circle", &circle, &circle, true },
		{ "a circle's client in the commons", &circle, NULL, false },
		{ "the commons' client in a circle", NULL, &circle, false },
		{ "two circles", &circle, &other, false },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		handshake_server_init(&w->server, &w->b, cases[i].server, &w->b_clock.clock);
		begin(w, 7);
		handshake_free(w->client);
		w->client = handshake_new_client(&w->a, cases[i].client, &w->b.public, &w->a_clock.clock);
		say_hello(w);
		give(w->dialled, w->challenge, CHALLENGE_SIZE);
		if (cases[i].pass)
			pass(w->client, w->challenge, CHALLENGE_SIZE);
		else
			refuse(w->client, w->challenge, CHALLENGE_SIZE, -EBADMSG, cases[i].name);
	}

	/* Nor does the server take it from a client that goes on. */
	struct claim claim = { .client = w->a.public };
	struct model a;
	struct id h2;
	handshake_server_init(&w->server, &w->b, &circle, &w->b_clock.clock);
	model_to_h3(w, &a, &other, &h2);
	model_earn(&a, w->earn, &w->a, &w->b.public, &claim);
	refuse(w->dialled, w->earn, EARN_SIZE, -EBADMSG, "two circles, at the server");
	model_to_h3(w, &a, &circle, &h2);
	model_earn(&a, w->earn, &w->a, &w->b.public, &claim);
	pass(w->dialled, w->earn, EARN_SIZE);
}

static void another_peer_than_dialled_is_refused(void **state)
{
	struct world *w = *state;
	struct offer offer = { .server = w->b.public };
	struct model b;

	/* An honest server that is another does not answer at all. */
	begin_to(w, 7, &w->m.public);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "another is named");

	/* One that does, as itself. */
	begin_to(w, 7, &w->m.public);
	give(w->client, w->hello, HELLO_SIZE);
	model_init(&b, 99);
	model_begin(&b, &nobody, w->hello);
	model_meet(&b, w->hello + 5, false);
	model_challenge(&b, w->challenge, &w->b, &offer);
	refuse(w->client, w->challenge, CHALLENGE_SIZE, -EKEYREJECTED, "another answers");
}

static void a_closed_server_wants_to_be_named(void **state)
{
	struct world *w = *state;

	w->server.closed = true;
	begin_to(w, 7, NULL);
	give(w->client, w->hello, HELLO_SIZE);
	refuse(w->dialled, w->hello, HELLO_SIZE, -EPROTO, "zero-keyed mac1");
	begin(w, 7);
	say_earn(w);
}

static void what_is_not_known_yet_is_refused(void **state)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		int expected;
	} cases[] = {
		{ "version 0", 1, 0, -EBADMSG },
		{ "version 2", 1, 2, -EBADMSG },
		{ "suite 0", 2, 0, -EBADMSG },
		{ "suite 2", 2, 2, -EBADMSG },
		{ "a flag", 3, 1, -EBADMSG },
		{ "the last flag", 4, 0x80, -EBADMSG },
		{ "mac1", 37, 0x55, -EPROTO },
		{ "type 0", 0, 0, -EBADMSG },
		{ "type 255", 0, 255, -EBADMSG },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		begin(w, 7);
		give(w->client, w->hello, HELLO_SIZE);
		w->hello[cases[i].at] = cases[i].value;
		if (cases[i].at != 37)
			model_mac1(w->hello, &w->b.public);
		refuse(w->dialled, w->hello, HELLO_SIZE, cases[i].expected, cases[i].name);
	}
}

/* Every type at every turn: its byte alone is enough to refuse it. */
static void a_message_at_the_wrong_time_is_refused(void **state)
{
	static const uint8_t types[] = { KIT_HELLO, KIT_COOKIE, KIT_CHALLENGE, KIT_EARN };
	static const struct {
		const char *name;
		unsigned said; /* messages: none, hello, challenge, earn */
		uint8_t client_waits[2], server_waits;
	} turns[] = {
		{ "at first", 0, { 0 }, KIT_HELLO },
		{ "after hello", 1, { KIT_COOKIE, KIT_CHALLENGE }, 0 },
		{ "after challenge", 2, { 0 }, KIT_EARN },
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(turns) * COUNT(types); i++) {
		size_t turn = i / COUNT(types);
		uint8_t type = types[i % COUNT(types)];

		begin(w, 7);
		if (turns[turn].said == 1)
			say_hello(w);
		if (turns[turn].said == 2)
			say_challenge(w);
		if (type == turns[turn].client_waits[0] || type == turns[turn].client_waits[1])
			assert_int_equal(take(w->client, &type, 1), 0);
		else
			refuse(w->client, &type, 1, -EPROTO, turns[turn].name);
		if (type == turns[turn].server_waits)
			assert_int_equal(take(w->dialled, &type, 1), 0);
		else
			refuse(w->dialled, &type, 1, -EPROTO, turns[turn].name);
	}
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_WORLD(who_meet_share_keys_and_know_each_other),
		WITH_WORLD(every_session_is_another),
		WITH_WORLD(the_client_is_as_the_model_says),
		WITH_WORLD(the_server_is_as_the_model_says),
		WITH_WORLD(the_bytes_are_fixed),
		WITH_WORLD(every_prefix_of_every_message_waits),
		WITH_WORLD(no_flipped_bit_of_hello_passes),
		WITH_WORLD(no_flipped_bit_of_challenge_passes),
		WITH_WORLD(no_flipped_bit_of_earn_passes),
		WITH_WORLD(no_flipped_bit_of_cookie_passes),
		WITH_WORLD(a_key_of_small_order_is_refused_by_the_server),
		WITH_WORLD(a_key_of_small_order_is_refused_by_the_client),
		WITH_WORLD(a_replayed_hello_gets_nobody_anywhere),
		WITH_WORLD(a_replayed_challenge_is_refused),
		WITH_WORLD(a_replayed_earn_is_refused),
		WITH_WORLD(a_reflection_is_refused),
		WITH_WORLD(who_dials_himself_is_refused),
		WITH_WORLD(a_man_in_the_middle_is_refused),
		WITH_WORLD(a_signature_for_one_is_none_for_another),
		WITH_WORLD(another_network_is_refused),
		WITH_WORLD(another_peer_than_dialled_is_refused),
		WITH_WORLD(a_closed_server_wants_to_be_named),
		WITH_WORLD(what_is_not_known_yet_is_refused),
		WITH_WORLD(a_message_at_the_wrong_time_is_refused),
	};

	if (sodium_init() < 0)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
