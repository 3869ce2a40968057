#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet_samples.h"
#include "store_limits.h"

static int setup(void **state)
{
	struct clock clock = { .random = fixed_random };

	key_create(&key, &clock);
	return 0;
}

static void each_kind_is_read_as_it_was_written(void **state)
{
	bool seen[PACKET_COUNT] = { false };

	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		struct bytes sample, again;
		struct packet packet;

		bytes_init(&sample, PACKET_SIZE_MAX);
		bytes_init(&again, PACKET_SIZE_MAX);
		samples[i].put(&sample);
		if (bytes_error(&sample) < 0 || packet_read(&packet, sample.data, sample.size) < 0 ||
		    packet.kind != samples[i].kind)
			fail_msg("%s: not read", samples[i].name);
		kit_put_again(&packet, &key, &again);
		if (again.size != sample.size || memcmp(again.data, sample.data, sample.size) != 0)
			fail_msg("%s: another packet", samples[i].name);
		seen[packet.kind] = true;
		bytes_finish(&sample);
		bytes_finish(&again);
	}
	for (size_t i = 0; i < PACKET_COUNT; i++)
		assert_true(seen[i]);
}

/* Not by the encoder: the spelling of moot-protocol(7). */
static void small_packets_are_spelled_so(void **state)
{
	static const struct {
		const char *name, *hex;
		void (*put)(struct bytes *out);
	} cases[] = {
		{ "ping", "820a480807060504030201", put_ping },
		{ "pong", "820b48ffffffffffffffff", put_pong },
		{ "peers", "84014808070605040302010480", put_query_peers },
		{ "heads all, from the first", "84014808070605040302010082" "0140", put_heads_first },
		{ "heads by ranges", "84014808070605040302010082" "024672616e676573", put_heads_ranges },
		{ "heads of nobody", "840148ffffffffffffffff0082" "0080", put_heads_of_none },
		{ "graft", "8305" "58200101010101010101010101010101010101010101010101010101010101010101" "1903e8", put_graft },
		{ "prune", "8206" "58200101010101010101010101010101010101010101010101010101010101010101", put_prune },
		{ "ready nowhere",
		  "860001" "58200101010101010101010101010101010101010101010101010101010101010101" "6000"
		  "1b001fffffffffffff", put_ready_nowhere },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[256] = "";
		struct bytes out;

		bytes_init(&out, 120);
		cases[i].put(&out);
		for (size_t j = 0; j < out.size; j++)
			sprintf(text + 2 * j, "%02x", out.data[j]);
		if (strcmp(text, cases[i].hex) != 0)
			fail_msg("%s: %s", cases[i].name, text);
		bytes_finish(&out);
	}
}

static void values_come_through(void **state)
{
	struct packet packet;
	struct bytes out;
	struct head note;

	bytes_init(&out, PACKET_SIZE_MAX);
	put_ready(&out);
	assert_int_equal(packet_read(&packet, out.data, out.size), 0);
	assert_int_equal(packet.ready.address_size, 18);
	assert_memory_equal(packet.ready.address, "[2001:db8::1]:4040", 18);
	assert_int_equal(packet.ready.follow_count, 3);
	assert_int_equal(packet.ready.log_count, 70000);

	bytes_clear(&out);
	put_notes(&out);
	assert_int_equal(packet_read(&packet, out.data, out.size), 0);
	assert_int_equal(packet.note.count, 3);
	struct cbor_reader list = packet.note.list;
	size_t left = packet.note.count;
	assert_true(packet_next_note(&list, &left, &note));
	assert_true(packet_next_note(&list, &left, &note));
	assert_int_equal(note.seq, 2);
	assert_int_equal(note.records, 0);
	assert_true(id_is_zero(&note.person));
	assert_true(packet_next_note(&list, &left, &note));
	assert_false(packet_next_note(&list, &left, &note));
	bytes_finish(&out);
}

/* ---- what is refused ---- */

static void assert_same_or_refused(const char *name, const uint8_t *bytes, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *exact = malloc(size > 0 ? size : 1);
	struct packet packet;
	struct bytes again;

	assert_non_null(exact);
	memcpy(exact, bytes, size);
	if (packet_read(&packet, exact, size) < 0)
		return;
	bytes_init(&again, PACKET_SIZE_MAX);
	kit_put_again(&packet, &key, &again);
	if (again.size != size || memcmp(again.data, exact, size) != 0)
		fail_msg("%s: a second spelling", name);
	bytes_finish(&again);
}

static void spoil(const char *name, struct bytes *sample)
{
	struct packet packet;

	for (size_t size = 0; size < sample->size; size++) {
		CLEANUP(cleanup_free) uint8_t *exact = malloc(size > 0 ? size : 1);

		assert_non_null(exact);
		memcpy(exact, sample->data, size);
		if (packet_read(&packet, exact, size) != -EBADMSG)
			fail_msg("%s: its first %zu bytes are a packet", name, size);
	}
	bytes_put_u8(sample, 0);
	assert_int_equal(packet_read(&packet, sample->data, sample->size), -EBADMSG);
	sample->size--;
	for (size_t bit = 0; bit < sample->size * 8; bit++) {
		sample->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_same_or_refused(name, sample->data, sample->size);
		sample->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void spoiled_packets_are_refused_or_mean_themselves(void **state)
{
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		struct bytes sample;

		bytes_init(&sample, PACKET_SIZE_MAX);
		samples[i].put(&sample);
		spoil(samples[i].name, &sample);
		bytes_finish(&sample);
	}
}

/* Each puts a list of `count` items, or a string of `count` bytes, which may be one too many. */
static void put_entities(struct bytes *out, size_t count)
{
	struct id *ids = calloc(count + 1, sizeof *ids);

	assert_non_null(ids);
	packet_put_query_heads_of(out, NONCE, ids, count);
	free(ids);
}

static void put_names(struct bytes *out, size_t count)
{
	struct id *ids = calloc(count + 1, sizeof *ids);

	assert_non_null(ids);
	packet_put_query_pieces(out, NONCE, ids, count);
	free(ids);
}

static void put_many_notes(struct bytes *out, size_t count)
{
	struct head *heads = calloc(count + 1, sizeof *heads);

	assert_non_null(heads);
	packet_put_notes(out, heads, count);
	free(heads);
}

static void put_many_records(struct bytes *out, size_t count)
{
	struct record_item records[PUSH_RECORDS_MAX + 1];

	for (size_t i = 0; i < COUNT_OF(records); i++)
		records[i] = (struct record_item){ .bytes = (const uint8_t *)"r", .size = 1 };
	packet_put_push(out, records, count, NULL, 0);
}

static void put_many_pieces(struct bytes *out, size_t count)
{
	struct record_item record = { .bytes = (const uint8_t *)"r", .size = 1 };
	struct piece_item pieces[PUSH_PIECES_MAX + 1];

	for (size_t i = 0; i < COUNT_OF(pieces); i++)
		pieces[i] = (struct piece_item){ .bytes = (const uint8_t *)"p", .size = 1 };
	packet_put_push(out, &record, 1, pieces, count);
}

static void put_sized(struct bytes *out, size_t size, void (*put)(struct bytes *out, const uint8_t *data, size_t size))
{
	uint8_t *data = calloc(size + 1, 1);

	assert_non_null(data);
	put(out, data, size);
	free(data);
}

static void put_record_sized(struct bytes *out, const uint8_t *data, size_t size)
{
	struct record_item record = { .bytes = data, .size = size };

	packet_put_push(out, &record, 1, NULL, 0);
}

static void put_piece_sized(struct bytes *out, const uint8_t *data, size_t size)
{
	struct record_item record = { .bytes = data, .size = 1 };
	struct piece_item piece = { .bytes = data, .size = size };

	packet_put_push(out, &record, 1, &piece, 1);
}

static void put_filter_sized(struct bytes *out, const uint8_t *data, size_t size)
{
	packet_put_follow(out, data, size);
}

static void put_ranges_sized(struct bytes *out, const uint8_t *data, size_t size)
{
	packet_put_query_heads_ranges(out, NONCE, data, size);
}

static void put_address_sized(struct bytes *out, const uint8_t *data, size_t size)
{
	char address[ADDRESS_SIZE_MAX + 1] = "";
	struct id person = id_of(1);

	memset(address, 'a', size);
	packet_put_ready(out, &person, address, 0, 0);
}

static void put_record_of(struct bytes *out, size_t size) { put_sized(out, size, put_record_sized); }
static void put_piece_of(struct bytes *out, size_t size) { put_sized(out, size, put_piece_sized); }
static void put_filter_of(struct bytes *out, size_t size) { put_sized(out, size, put_filter_sized); }
static void put_ranges_of(struct bytes *out, size_t size) { put_sized(out, size, put_ranges_sized); }
static void put_address_of(struct bytes *out, size_t size) { put_sized(out, size, put_address_sized); }

static void put_graft_from(struct bytes *out, size_t seq)
{
	struct id device = id_of(1);

	packet_put_graft(out, &device, seq);
}

static void lists_and_strings_have_limits(void **state)
{
	static const struct {
		const char *name;
		void (*put)(struct bytes *out, size_t count);
		size_t least, greatest;
	} cases[] = {
		{ "entities", put_entities, 0, NOTES_MAX },
		{ "names of pieces", put_names, 1, QUERY_PIECES_MAX },
		{ "notes", put_many_notes, 1, NOTES_MAX },
		{ "pushed records", put_many_records, 1, PUSH_RECORDS_MAX },
		{ "pushed pieces", put_many_pieces, 0, PUSH_PIECES_MAX },
		{ "bytes of a record", put_record_of, 1, RECORD_SIZE_MAX },
		{ "bytes of a piece", put_piece_of, 1, PIECE_STORED_MAX },
		{ "bytes of a filter", put_filter_of, FOLLOW_SIZE_MIN, FOLLOW_SIZE_MAX },
		{ "bytes of ranges", put_ranges_of, 1, RECONCILE_MESSAGE_MAX },
		{ "bytes of an address", put_address_of, 0, ADDRESS_SIZE_MAX - 1 },
		{ "a number", put_graft_from, 0, NUMBER_MAX },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const size_t counts[] = { cases[i].least, cases[i].greatest, cases[i].greatest + 1, cases[i].least - 1 };
		size_t tried = cases[i].least > 0 ? 4 : 3;

		for (size_t j = 0; j < tried; j++) {
			struct packet packet;
			struct bytes out;

			bytes_init(&out, PACKET_SIZE_MAX);
			cases[i].put(&out, counts[j]);
			if (bytes_error(&out) != (j < 2 ? 0 : -EINVAL))
				fail_msg("%s: %zu: %d", cases[i].name, counts[j], bytes_error(&out));
			if (j < 2)
				assert_int_equal(packet_read(&packet, out.data, out.size), 0);
			else
				assert_int_equal(out.size, 0);
			bytes_finish(&out);
		}
	}
}

/* The limits of a reader hold whatever the writer did: packets written item by item. */
static void put_list_by_hand(struct bytes *out, enum packet_kind kind, size_t count)
{
	struct id id = id_of(1);

	cbor_put_array(out, kind == PACKET_QUERY ? 4 : 2);
	cbor_put_uint(out, kind);
	if (kind == PACKET_QUERY) {
		nonce_put(out, NONCE);
		cbor_put_uint(out, QUERY_PIECES);
	}
	cbor_put_array(out, count);
	for (size_t i = 0; i < count; i++) {
		if (kind == PACKET_NOTE)
			cbor_put_array(out, 3);
		cbor_put_id(out, &id);
		if (kind == PACKET_NOTE) {
			cbor_put_uint(out, 0);
			cbor_put_id(out, &id);
		}
	}
}

static void a_reader_has_the_same_limits(void **state)
{
	static const struct {
		const char *name;
		enum packet_kind kind;
		size_t count;
		int expected;
	} cases[] = {
		{ "no note", PACKET_NOTE, 0, -EBADMSG },
		{ "one note", PACKET_NOTE, 1, 0 },
		{ "as many notes as may be", PACKET_NOTE, NOTES_MAX, 0 },
		{ "a note too many", PACKET_NOTE, NOTES_MAX + 1, -EBADMSG },
		{ "no piece", PACKET_QUERY, 0, -EBADMSG },
		{ "as many pieces as may be", PACKET_QUERY, QUERY_PIECES_MAX, 0 },
		{ "a piece too many", PACKET_QUERY, QUERY_PIECES_MAX + 1, -EBADMSG },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct packet packet;
		struct bytes out;

		bytes_init(&out, PACKET_SIZE_MAX);
		put_list_by_hand(&out, cases[i].kind, cases[i].count);
		int err = packet_read(&packet, out.data, out.size);
		if (err != cases[i].expected)
			fail_msg("%s: %d", cases[i].name, err);
		bytes_finish(&out);
	}
}

static const struct {
	const char *name;
	size_t size;
	const char *bytes;
} refused[] = {
	{ "nothing", 0, "" },
	{ "an empty array", 1, "\x80" },
	{ "a kind that is not there", 3, "\x82\x0c\x00" },
	{ "a kind spelled long", 11, "\x82\x18\x0a\x48" "12345678" },
	{ "a ping with too much", 13, "\x83\x0a\x48" "12345678" "\x00" },
	{ "a short token", 10, "\x82\x0a\x47" "1234567" },
	{ "a token that is a number", 3, "\x82\x0a\x05" },
	{ "peers with an argument", 14, "\x84\x01\x48" "12345678" "\x04\x81\x00" },
	{ "a field that is not there", 13, "\x84\x01\x48" "12345678" "\x0b\x80" },
	{ "a later field without an array", 13, "\x84\x01\x48" "12345678" "\x05\x00" },
	{ "heads in a mode that is not there", 15, "\x84\x01\x48" "12345678" "\x00\x82\x03\x40" },
	{ "records from 2 to 1", 49,
	  "\x84\x01\x48" "12345678" "\x01\x83\x58\x20" "0123456789abcdef0123456789abcdef" "\x02\x01" },
	{ "a push of no record", 4, "\x83\x03\x80\x80" },
	{ "a push of an empty piece", 9, "\x83\x03\x81\x82\x41" "r" "\x40\x81\x40" },
	{ "a ready of version 0", 40, "\x86\x00\x00\x58\x20" "0123456789abcdef0123456789abcdef" "\x60\x00\x00" },
	{ "no ranges", 15, "\x84\x01\x48" "12345678" "\x00\x82\x02\x40" },
};

static void malformed_packets_are_refused(void **state)
{
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		CLEANUP(cleanup_free) uint8_t *exact = malloc(refused[i].size + 1);
		struct packet packet;

		assert_non_null(exact);
		memcpy(exact, refused[i].bytes, refused[i].size);
		if (packet_read(&packet, exact, refused[i].size) != -EBADMSG)
			fail_msg("%s", refused[i].name);
	}
}

static void a_page_has_items_of_its_field(void **state)
{
	static const struct {
		const char *name;
		enum query_field field;
		size_t count, size;
		const char *items;
	} cases[] = {
		{ "numbers for heads", QUERY_HEADS, 1, 3, "\x82\x01\x02" },
		{ "ranges twice", QUERY_HEADS, 2, 6, "\x81\x41\x01\x81\x41\x01" },
		{ "no ranges", QUERY_HEADS, 1, 2, "\x81\x40" },
		{ "a record without a signature's place", QUERY_RECORDS, 1, 3, "\x81\x41\x01" },
		{ "a signature of one byte", QUERY_RECORDS, 1, 5, "\x82\x41\x01\x41\x01" },
		{ "an empty record", QUERY_RECORDS, 1, 3, "\x82\x40\x40" },
		{ "a piece with a short name", QUERY_PIECES, 1, 4, "\x82\x41\x01\x40" },
		{ "a peer without a device", QUERY_PEERS, 1, 4, "\x82\x61" "a" "\x40" },
		{ "an author of one byte", QUERY_AUTHORS, 1, 3, "\x81\x41\x01" },
		{ "a find, which nobody knows yet", QUERY_SEARCH, 1, 1, "\x80" },
	};
	struct signature signature;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct page page = { .count = 5, .field = cases[i].field, .item_count = cases[i].count,
				     .items_bytes = (const uint8_t *)cases[i].items, .items_size = cases[i].size };
		struct bytes statement, out;
		struct packet packet;

		bytes_init(&statement, PAGE_STATEMENT_MAX);
		bytes_init(&out, PACKET_SIZE_MAX);
		assert_int_equal(page_make(&page, &key, &statement, &signature), 0);
		packet_put_statement(&out, PACKET_PAGE, statement.data, statement.size, &signature);
		if (bytes_error(&out) != -EINVAL)
			fail_msg("%s: written", cases[i].name);
		bytes_clear(&out);
		cbor_put_array(&out, 3);
		cbor_put_uint(&out, PACKET_PAGE);
		cbor_put_bytes(&out, statement.data, statement.size);
		cbor_put_bytes(&out, signature.bytes, sizeof signature.bytes);
		if (packet_read(&packet, out.data, out.size) != -EBADMSG)
			fail_msg("%s: read", cases[i].name);
		bytes_finish(&statement);
		bytes_finish(&out);
	}
}

static void a_page_has_so_many_items(void **state)
{
	struct id id = id_of(1);
	struct signature signature;
	struct bytes items, statement, out;

	bytes_init(&items, PACKET_SIZE_MAX);
	bytes_init(&statement, PACKET_SIZE_MAX);
	bytes_init(&out, PACKET_SIZE_MAX);
	for (size_t i = 0; i < PAGE_ITEMS_MAX; i++)
		packet_put_id_item(&items, &id);
	put_page(&out, QUERY_AUTHORS, &items, PAGE_ITEMS_MAX);
	assert_int_equal(bytes_error(&out), 0);

	packet_put_id_item(&items, &id);
	struct page page = { .count = PAGE_ITEMS_MAX + 1, .field = QUERY_AUTHORS, .items_bytes = items.data,
			     .items_size = items.size, .item_count = PAGE_ITEMS_MAX + 1 };
	assert_int_equal(page_make(&page, &key, &statement, &signature), 0);
	bytes_clear(&out);
	packet_put_statement(&out, PACKET_PAGE, statement.data, statement.size, &signature);
	assert_int_equal(bytes_error(&out), -EINVAL);
	bytes_finish(&items);
	bytes_finish(&statement);
	bytes_finish(&out);
}

static void addresses_can_be_shown(void **state)
{
	static const struct {
		const char *name, *address;
		bool valid;
	} cases[] = {
		{ "a host", "example.org:4040", true },
		{ "a port alone", ":4040", true },
		{ "nowhere", "", true },
		{ "a space", "a b:1", false },
		{ "a newline", "a\n:1", false },
		{ "a tab", "a\t:1", false },
		{ "delete", "a\x7f", false },
		{ "not ASCII", "\xc3\xbc.example:1", false },
	};
	struct id id = id_of(1);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct packet packet;
		struct bytes out;

		bytes_init(&out, PACKET_SIZE_MAX);
		packet_put_ready(&out, &id, cases[i].address, 0, 0);
		if ((bytes_error(&out) == 0) != cases[i].valid)
			fail_msg("%s: written", cases[i].name);
		bytes_clear(&out);
		cbor_put_array(&out, 6);
		cbor_put_uint(&out, PACKET_READY);
		cbor_put_uint(&out, 1);
		cbor_put_id(&out, &id);
		cbor_put_text(&out, cases[i].address, strlen(cases[i].address));
		cbor_put_uint(&out, 0);
		cbor_put_uint(&out, 0);
		if ((packet_read(&packet, out.data, out.size) == 0) != cases[i].valid)
			fail_msg("%s: read", cases[i].name);
		bytes_finish(&out);
	}
}

/* What was in the buffer before stays, also when a packet cannot be written. */
static void a_packet_that_cannot_be_written_leaves_nothing(void **state)
{
	struct id device = id_of(1);
	struct bytes out;

	bytes_init(&out, 60);
	put_prune(&out);
	size_t size = out.size;
	packet_put_graft(&out, &device, 5);
	assert_int_equal(bytes_error(&out), -EMSGSIZE);
	assert_int_equal(out.size, size);

	bytes_clear(&out);
	packet_put_query_records(&out, NONCE, &device, 5, 4);
	assert_int_equal(bytes_error(&out), -EINVAL);
	assert_int_equal(out.size, 0);
	bytes_clear(&out);
	packet_put_query_plain(&out, NONCE, QUERY_PEERS, &device);
	assert_int_equal(bytes_error(&out), -EINVAL);
	bytes_clear(&out);
	packet_put_ping(&out, PACKET_PRUNE, NONCE);
	assert_int_equal(bytes_error(&out), -EINVAL);
	bytes_finish(&out);
}

/* 15 pieces of the greatest size fit a frame; one more does not. */
static void a_packet_fits_a_frame(void **state)
{
	uint8_t *data = calloc(PIECE_STORED_MAX, 1);
	struct record_item record = { .bytes = data, .size = 1 };
	struct piece_item pieces[PUSH_PIECES_MAX];
	struct packet packet;
	struct bytes out;

	assert_non_null(data);
	for (size_t i = 0; i < COUNT_OF(pieces); i++)
		pieces[i] = (struct piece_item){ .bytes = data, .size = PIECE_STORED_MAX };
	bytes_init(&out, 4 * PACKET_SIZE_MAX);
	packet_put_push(&out, &record, 1, pieces, 15);
	assert_int_equal(bytes_error(&out), 0);
	assert_int_equal(packet_read(&packet, out.data, out.size), 0);
	bytes_clear(&out);
	packet_put_push(&out, &record, 1, pieces, 16);
	assert_int_equal(bytes_error(&out), -EMSGSIZE);
	assert_int_equal(out.size, 0);
	bytes_finish(&out);
	free(data);
}

/* test_packet --write DIR makes the fuzzer's corpus of the samples. */
static int write_samples(const char *directory)
{
	setup(NULL);
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		char path[4096];
		struct bytes out;

		bytes_init(&out, PACKET_SIZE_MAX);
		samples[i].put(&out);
		snprintf(path, sizeof path, "%s/%s", directory, samples[i].name);
		FILE *file = fopen(path, "wb");
		if (!file || fwrite(out.data, 1, out.size, file) != out.size || fclose(file) != 0)
			return 1;
		bytes_finish(&out);
	}
	return 0;
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_is_read_as_it_was_written),
		cmocka_unit_test(small_packets_are_spelled_so),
		cmocka_unit_test(values_come_through),
		cmocka_unit_test(spoiled_packets_are_refused_or_mean_themselves),
		cmocka_unit_test(lists_and_strings_have_limits),
		cmocka_unit_test(a_reader_has_the_same_limits),
		cmocka_unit_test(malformed_packets_are_refused),
		cmocka_unit_test(a_page_has_items_of_its_field),
		cmocka_unit_test(a_page_has_so_many_items),
		cmocka_unit_test(addresses_can_be_shown),
		cmocka_unit_test(a_packet_that_cannot_be_written_leaves_nothing),
		cmocka_unit_test(a_packet_fits_a_frame),
	};

	if (count == 3 && strcmp(arguments[1], "--write") == 0)
		return write_samples(arguments[2]);
	return cmocka_run_group_tests(tests, setup, NULL);
}
