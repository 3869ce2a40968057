#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "packet.h"
#include "receipt.h"

#define TIME_MS UINT64_C(1790000000000)

struct bench { /* an asker and a server in one session */
	struct clock clock;
	struct key asker_key, server_key, other_key;
	struct receipt_ends asker, server;
	struct receipts got, served;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->clock = clock_system();
	key_create(&b->asker_key, &b->clock);
	key_create(&b->server_key, &b->clock);
	key_create(&b->other_key, &b->clock);
	struct id cb = { { 7 } };
	b->asker = (struct receipt_ends){ &b->asker_key, b->server_key.public, cb, TIME_MS, 5000, 1000 };
	b->server = (struct receipt_ends){ &b->server_key, b->asker_key.public, cb, TIME_MS + 3, 9000, 1000 };
	receipts_init(&b->got);
	receipts_init(&b->served);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	receipts_finish(&b->got);
	receipts_finish(&b->served);
	free(b);
	return 0;
}

static void serve(struct bench *b, uint64_t bytes, uint64_t pieces, uint64_t records)
{
	struct receipt_amount amount = { bytes, pieces, records };

	receipt_add(&b->got.got, &amount);
	receipt_add(&b->served.served, &amount);
}

/* ---- what a page amounts to ---- */

static const uint8_t text[] = "not really a piece";

static void make_items(struct page *page, struct bytes *items, size_t present, size_t absent)
{
	struct piece_item piece = { .bytes = text, .size = sizeof(text) };
	struct record_item record = { .bytes = text, .size = sizeof(text) };

	for (size_t i = 0; i < present + absent; i++) {
		piece.size = i < present ? sizeof(text) : 0;
		piece.name.bytes[0] = (uint8_t)i;
		if (page->field == QUERY_PIECES)
			packet_put_piece_item(items, &piece);
		else if (page->field == QUERY_RECORDS)
			packet_put_record_item(items, &record);
		page->item_count += page->field == QUERY_PIECES || page->field == QUERY_RECORDS;
	}
	page->count = page->item_count;
	page->items_bytes = items->data;
	page->items_size = items->size;
}

static void test_weigh(void **state)
{
	struct bench *b = *state;
	static const struct {
		const char *name;
		enum query_field field;
		size_t present, absent;
		uint64_t pieces, records;
		bool counts;
	} cases[] = {
		{ "no pieces", QUERY_PIECES, 0, 0, 0, 0, true },
		{ "pieces", QUERY_PIECES, 5, 0, 5, 0, true },
		{ "pieces that are not there count no more than their page", QUERY_PIECES, 2, 3, 2, 0, true },
		{ "records", QUERY_RECORDS, 4, 0, 0, 4, true },
		{ "heads cost nothing", QUERY_HEADS, 0, 0, 0, 0, false },
		{ "peers cost nothing", QUERY_PEERS, 0, 0, 0, 0, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct page page = { .field = cases[i].field, .time_ms = TIME_MS };
		struct receipt_amount amount = { 1, 2, 3 };
		struct signature signature;
		struct bytes items, statement;

		bytes_init(&items, 65536);
		bytes_init(&statement, 65536);
		make_items(&page, &items, cases[i].present, cases[i].absent);
		assert_int_equal(page_make(&page, &b->server_key, &statement, &signature), 0);
		receipt_weigh(&amount, statement.data, statement.size);
		if (amount.bytes != (cases[i].counts ? statement.size : 0) || amount.pieces != cases[i].pieces ||
		    amount.records != cases[i].records)
			fail_msg("%s: %d bytes, %d pieces, %d records", cases[i].name, (int)amount.bytes, (int)amount.pieces,
				 (int)amount.records);
		receipt_weigh(&amount, statement.data, statement.size - 1);
		if (amount.bytes != 0 || amount.pieces != 0 || amount.records != 0)
			fail_msg("%s: cut short, and counted", cases[i].name);
		bytes_finish(&items);
		bytes_finish(&statement);
	}
}

/* ---- when ---- */

static void test_shares(void **state)
{
	static const struct {
		const char *name;
		struct receipt_amount amount;
		bool due, wait;
	} cases[] = {
		{ "nothing", { 0, 0, 0 }, false, false },
		{ "a byte less than a share", { RECEIPT_BYTES - 1, RECEIPT_PIECES - 1, 0 }, false, false },
		{ "a share of bytes", { RECEIPT_BYTES, 0, 0 }, true, false },
		{ "a share of pieces", { 0, RECEIPT_PIECES, 0 }, true, false },
		{ "records alone are no share", { 0, 0, 1000000 }, false, false },
		{ "a byte less than two shares", { RECEIPTS_OUTSTANDING_MAX * RECEIPT_BYTES - 1, 0, 0 }, true, false },
		{ "two shares of bytes", { RECEIPTS_OUTSTANDING_MAX * RECEIPT_BYTES, 0, 0 }, true, true },
		{ "two shares of pieces", { 0, RECEIPTS_OUTSTANDING_MAX * RECEIPT_PIECES, 0 }, true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct receipts r = { .got = cases[i].amount, .served = cases[i].amount };
		if (receipts_due(&r) != cases[i].due || receipts_wait(&r) != cases[i].wait)
			fail_msg("%s: due %d, wait %d", cases[i].name, receipts_due(&r), receipts_wait(&r));
	}
}

/* ---- thanks and welcome ---- */

static void exchange(struct bench *b, struct receipt_pair *out_thanks, struct receipt_pair *out_welcome)
{
	assert_int_equal(receipts_thank(&b->got, &b->asker), 0);
	assert_int_equal(receipts_take_thanks(&b->served, &b->server, b->got.pending.data, b->got.pending.size,
					      &b->got.pending_signature, out_thanks), 0);
	/* The welcome comes in a packet of its own. */
	uint8_t packet[512];
	assert_true(out_thanks->size <= sizeof(packet));
	memcpy(packet, out_thanks->bytes, out_thanks->size);
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, packet, out_thanks->size, &out_thanks->welcome, out_welcome), 0);
	out_welcome->bytes = NULL;
}

static void test_both_ends_have_the_same_pair(void **state)
{
	struct bench *b = *state;
	struct receipt_pair thanks, welcome;
	struct receipt receipt;

	b->got.got_from_ms = 1000;
	serve(b, 2000000, 70, 5);
	assert_int_equal(receipts_thank(&b->got, &b->asker), 0);
	assert_int_equal(receipt_read(&receipt, b->got.pending.data, b->got.pending.size), 0);
	assert_int_equal(receipt.number, 0);
	assert_int_equal(receipt.bytes, 2000000);
	assert_int_equal(receipt.pieces, 70);
	assert_int_equal(receipt.records, 5);
	assert_int_equal(receipt.took_ms, 4000);
	assert_int_equal(receipt.time_ms, TIME_MS);
	assert_int_equal(receipt.welcome, 1000);
	assert_false(receipts_due(&b->got)); /* counted anew */
	assert_int_equal(b->got.got_from_ms, 0);
	assert_int_equal(receipts_take_thanks(&b->served, &b->server, b->got.pending.data, b->got.pending.size,
					      &b->got.pending_signature, &thanks), 0);
	assert_int_equal(b->served.served.bytes, 0);
	assert_int_equal(b->served.served.pieces, 0);
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, thanks.bytes, thanks.size, &thanks.welcome, &welcome), 0);
	assert_memory_equal(&thanks.thanks, &welcome.thanks, sizeof(thanks.thanks));
	assert_memory_equal(&thanks.welcome, &welcome.welcome, sizeof(thanks.welcome));
	assert_int_equal(receipt_verify(&welcome.thanks, &b->asker_key.public, true, thanks.bytes, thanks.size), 0);
	assert_int_equal(receipt_verify(&welcome.welcome, &b->server_key.public, false, thanks.bytes, thanks.size), 0);
	assert_int_equal(receipt_verify(&welcome.thanks, &b->asker_key.public, false, thanks.bytes, thanks.size), -EKEYREJECTED);
}

static void test_numbers_go_on(void **state)
{
	struct bench *b = *state;
	struct receipt_pair thanks, welcome;

	for (uint64_t i = 0; i < 3; i++) {
		serve(b, RECEIPT_BYTES + i, 3, 0);
		exchange(b, &thanks, &welcome);
		assert_int_equal(b->got.thanked, i + 1);
		assert_int_equal(b->served.welcomed, i + 1);
	}
}

/* What of the thanks is changed before it is signed and sent. */
static void test_thanks_are_refused(void **state)
{
	struct bench *b = *state;
	enum change { NOTHING, CLIENT, SERVER, BINDING, NUMBER, BYTES, PIECES, RECORDS, SIGNER, LABEL, CUT, LESS };
	static const struct {
		const char *name;
		enum change change;
		int expected;
	} cases[] = {
		{ "as it should be", NOTHING, 0 },
		{ "for less than was served", LESS, 0 },
		{ "of another client", CLIENT, -EPROTO },
		{ "to another server", SERVER, -EPROTO },
		{ "of another session", BINDING, -EPROTO },
		{ "out of turn", NUMBER, -EPROTO },
		{ "for a byte more", BYTES, -EPROTO },
		{ "for a piece more", PIECES, -EPROTO },
		{ "for a record more", RECORDS, -EPROTO },
		{ "signed by another", SIGNER, -EKEYREJECTED },
		{ "signed as a welcome", LABEL, -EKEYREJECTED },
		{ "cut short", CUT, -EBADMSG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum change change = cases[i].change;
		struct receipt receipt = {
			.client = change == CLIENT ? b->other_key.public : b->asker_key.public,
			.server = change == SERVER ? b->other_key.public : b->server_key.public,
			.cb = b->asker.cb, .number = change == NUMBER, .time_ms = TIME_MS,
			.bytes = change == LESS ? 5 : 1000 + (change == BYTES), .pieces = 10 + (change == PIECES),
			.records = 3 + (change == RECORDS), .welcome = 1000,
		};
		struct receipts served = { .served = { 1000, 10, 3 } };
		struct receipt_pair pair = { .size = 77 };
		struct signature signature;
		struct bytes bytes;

		receipt.cb.bytes[3] ^= change == BINDING;
		bytes_init(&bytes, 512);
		receipt_put(&receipt, &bytes);
		assert_int_equal(receipt_sign(&signature, change == SIGNER ? &b->other_key : &b->asker_key, change != LABEL,
					      bytes.data, bytes.size), 0);
		int err = receipts_take_thanks(&served, &b->server, bytes.data, bytes.size - (change == CUT), &signature, &pair);
		bool counted = served.welcomed == 1 && served.served.bytes == 1000 - receipt.bytes;
		bool untouched = served.welcomed == 0 && served.served.bytes == 1000 && pair.size == 77;
		if (err != cases[i].expected || !(err ? untouched : counted))
			fail_msg("%s: %d, welcomed %d", cases[i].name, err, (int)served.welcomed);
		/* Twice is once too often. */
		if (!err && receipts_take_thanks(&served, &b->server, bytes.data, bytes.size, &signature, &pair) != -EPROTO)
			fail_msg("%s: taken twice", cases[i].name);
		bytes_finish(&bytes);
	}
}

static void test_welcomes_are_refused(void **state)
{
	struct bench *b = *state;
	struct receipt_pair thanks, welcome;
	uint8_t old[512];

	serve(b, RECEIPT_BYTES, 1, 1);
	struct signature none = { { 0 } };
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, old, 0, &none, &welcome), -EBADMSG);
	assert_int_equal(receipts_thank(&b->got, &b->asker), 0);
	size_t size = b->got.pending.size;
	memcpy(old, b->got.pending.data, size);
	struct signature signature = b->got.pending_signature;
	assert_int_equal(receipts_take_thanks(&b->served, &b->server, old, size, &signature, &thanks), 0);
	/* Our own thanks come back, another's signature, another session's. */
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, old, size, &signature, &welcome), -EKEYREJECTED);
	struct receipt_ends elsewhere = b->asker;
	elsewhere.cb.bytes[0] ^= 1;
	assert_int_equal(receipts_take_welcome(&b->got, &elsewhere, old, size, &thanks.welcome, &welcome), -EPROTO);
	/* It is late: a newer thanks is on its way. */
	serve(b, RECEIPT_BYTES, 1, 1);
	assert_int_equal(receipts_thank(&b->got, &b->asker), 0);
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, old, size, &thanks.welcome, &welcome), -EAGAIN);
	assert_int_equal(receipts_take_thanks(&b->served, &b->server, b->got.pending.data, b->got.pending.size,
					      &b->got.pending_signature, &thanks), 0);
	memcpy(old, thanks.bytes, thanks.size);
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, old, thanks.size, &thanks.welcome, &welcome), 0);
	assert_int_equal(receipts_take_welcome(&b->got, &b->asker, old, thanks.size, &thanks.welcome, &welcome), -EPROTO);
}

/* ---- kept ---- */

static void test_memory(void **state)
{
	struct bench *b = *state;
	struct receipt_pair thanks, welcome;
	uint8_t as_client[RECEIPT_KEY_SIZE], as_server[RECEIPT_KEY_SIZE];
	struct cbor_reader r;
	struct bytes value;
	size_t size;

	receipt_memory_key(as_client, &b->server_key.public, true);
	receipt_memory_key(as_server, &b->server_key.public, false);
	assert_memory_equal(as_client, "receipt", 8);
	assert_memory_equal(as_client + 8, b->server_key.public.bytes, ID_SIZE);
	assert_memory_equal(as_client, as_server, RECEIPT_KEY_SIZE - 1);
	assert_int_equal(as_client[RECEIPT_KEY_SIZE - 1], 'c');
	assert_int_equal(as_server[RECEIPT_KEY_SIZE - 1], 's');
	serve(b, RECEIPT_BYTES, 1, 1);
	exchange(b, &thanks, &welcome);
	bytes_init(&value, 1024);
	receipt_memory_put(&value, &thanks);
	cbor_reader_init(&r, value.data, value.size);
	cbor_get_array(&r, 3, 3);
	const uint8_t *statement = cbor_get_bytes(&r, 1, 512, &size);
	assert_int_equal(size, thanks.size);
	assert_memory_equal(statement, thanks.bytes, size);
	assert_memory_equal(cbor_get_bytes(&r, 64, 64, &size), thanks.thanks.bytes, 64);
	assert_memory_equal(cbor_get_bytes(&r, 64, 64, &size), thanks.welcome.bytes, 64);
	assert_int_equal(cbor_reader_finish(&r), 0);
	bytes_finish(&value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_weigh, setup, teardown),
		cmocka_unit_test(test_shares),
		cmocka_unit_test_setup_teardown(test_both_ends_have_the_same_pair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thanks_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_welcomes_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
