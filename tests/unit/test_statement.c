#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "statement.h"
#include "store_limits.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void fixed_random(void *context, uint8_t *out, size_t size)
{
	memset(out, *(int *)context, size);
}

static struct key key_of(int byte)
{
	struct clock clock = { .random = fixed_random, .context = &byte };
	struct key key;

	key_create(&key, &clock);
	return key;
}

static struct id id_of(uint8_t byte)
{
	struct id id;

	memset(id.bytes, byte, sizeof id.bytes);
	return id;
}

static const uint8_t two_items[] = { 0x82, 0x41, 0xaa, 0x05, 0x81, 0x61, 'x' }; /* [h'aa', 5], ["x"] */

static struct page page_of(void)
{
	return (struct page){
		.nonce = 0x0102030405060708, .count = 9, .offset = 3, .time_ms = 1700000000000,
		.field = QUERY_PEERS, .order = ORDER_ASKED, .head_seq = 24, .head = id_of(7), .cb = id_of(8),
		.items_bytes = two_items, .items_size = sizeof two_items, .item_count = 2,
	};
}

static void put_id(struct bytes *out, uint8_t byte)
{
	struct id id = id_of(byte);

	bytes_put(out, "\x58\x20", 2);
	bytes_put(out, id.bytes, sizeof id.bytes);
}

static void assert_same_pages(const struct page *a, const struct page *b)
{
	assert_int_equal(a->nonce, b->nonce);
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->time_ms, b->time_ms);
	assert_int_equal(a->field, b->field);
	assert_int_equal(a->order, b->order);
	assert_int_equal(a->head_seq, b->head_seq);
	assert_true(id_equal(&a->head, &b->head) && id_equal(&a->cb, &b->cb));
	assert_int_equal(a->item_count, b->item_count);
	assert_int_equal(a->items_size, b->items_size);
	if (a->items_size > 0)
		assert_memory_equal(a->items_bytes, b->items_bytes, a->items_size);
}

/* Spelled out byte by byte, so that both sides are held to it. */
static void a_page_is_spelled_so(void **state)
{
	struct page page = page_of(), again;
	struct key key = key_of(1);
	struct signature signature;
	struct bytes made, spelled;

	bytes_init(&made, PAGE_STATEMENT_MAX);
	bytes_init(&spelled, PAGE_STATEMENT_MAX);
	bytes_put(&spelled, "\x89\x48\x08\x07\x06\x05\x04\x03\x02\x01\x09\x03\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x00\x04\x03", 23);
	bytes_put(&spelled, "\x82\x18\x18", 3);
	put_id(&spelled, 7);
	put_id(&spelled, 8);
	bytes_put_u8(&spelled, 0x82);
	bytes_put(&spelled, two_items, sizeof two_items);

	assert_int_equal(page_make(&page, &key, &made, &signature), 0);
	assert_int_equal(made.size, spelled.size);
	assert_memory_equal(made.data, spelled.data, spelled.size);
	assert_int_equal(page_read(&again, spelled.data, spelled.size), 0);
	assert_same_pages(&page, &again);
	assert_int_equal(again.items.left, sizeof two_items);
	assert_ptr_equal(again.items.at, again.items_bytes);
	bytes_finish(&made);
	bytes_finish(&spelled);
}

static void a_signature_is_of_one_signer_and_purpose(void **state)
{
	struct key key = key_of(1), other = key_of(2);
	struct page page = page_of();
	struct signature signature, thanks, welcome;
	struct bytes out;

	bytes_init(&out, PAGE_STATEMENT_MAX);
	bytes_put_u8(&out, 0xff); /* what stands before is not signed */
	assert_int_equal(page_make(&page, &key, &out, &signature), 0);
	uint8_t *bytes = out.data + 1;
	size_t size = out.size - 1;

	assert_int_equal(page_verify(&key.public, bytes, size, &signature), 0);
	assert_int_equal(page_verify(&other.public, bytes, size, &signature), -EKEYREJECTED);
	assert_int_equal(receipt_sign(&thanks, &key, true, bytes, size), 0);
	assert_int_equal(receipt_sign(&welcome, &key, false, bytes, size), 0);
	assert_int_equal(receipt_verify(&thanks, &key.public, true, bytes, size), 0);
	assert_int_equal(receipt_verify(&thanks, &key.public, false, bytes, size), -EKEYREJECTED);
	assert_int_equal(receipt_verify(&welcome, &key.public, false, bytes, size), 0);
	assert_int_equal(receipt_verify(&welcome, &key.public, true, bytes, size), -EKEYREJECTED);
	assert_int_equal(receipt_verify(&signature, &key.public, true, bytes, size), -EKEYREJECTED);
	assert_int_equal(page_verify(&key.public, bytes, size, &thanks), -EKEYREJECTED);
	assert_int_equal(page_verify(&key.public, bytes, size - 1, &signature), -EKEYREJECTED);
	bytes[size - 1] ^= 1;
	assert_int_equal(page_verify(&key.public, bytes, size, &signature), -EKEYREJECTED);
	bytes_finish(&out);
}

struct page_case {
	const char *name;
	void (*change)(struct page *page);
	int expected;
};

static void change_nothing(struct page *p) { p->cb = id_of(9); }
static void change_to_largest(struct page *p)
{
	p->nonce = UINT64_MAX;
	p->count = p->time_ms = p->head_seq = NUMBER_MAX;
	p->offset = NUMBER_MAX - 2;
	p->field = QUERY_AUTHORS;
}
static void change_to_least(struct page *p)
{
	*p = (struct page){ 0 };
}
static void change_to_first_record(struct page *p) { p->head_seq = 0; }
static void change_items_over_count(struct page *p) { p->offset = 8; }
static void change_offset_over_count(struct page *p) { p->offset = UINT64_MAX; }
static void change_count(struct page *p) { p->count = NUMBER_MAX + 1; }
static void change_time(struct page *p) { p->time_ms = NUMBER_MAX + 1; }
static void change_field(struct page *p) { p->field = QUERY_FIELD_COUNT; }
static void change_order(struct page *p) { p->order = (enum page_order)(ORDER_ASKED + 1); }
static void change_seq(struct page *p) { p->head_seq = NUMBER_MAX + 1; }
static void change_head(struct page *p) { p->head = id_of(0); }
static void change_more_items(struct page *p) { p->item_count = 3; }
static void change_fewer_items(struct page *p) { p->item_count = 1; }
static void change_cut_items(struct page *p) { p->items_size--; }
static void change_scalar_item(struct page *p)
{
	p->items_bytes = (const uint8_t *)"\x80\x05";
	p->items_size = 2;
}
static void change_long_number(struct page *p)
{
	p->items_bytes = (const uint8_t *)"\x80\x81\x18\x05";
	p->items_size = 4;
}
static void change_deep_items(struct page *p)
{
	p->items_bytes = (const uint8_t *)"\x80\x81\x81\x81\x81\x80";
	p->items_size = 6;
}

static const struct page_case page_cases[] = {
	{ "as it is", change_nothing, 0 },
	{ "largest numbers", change_to_largest, 0 },
	{ "all zero, an empty log", change_to_least, 0 },
	{ "a log of one record", change_to_first_record, 0 },
	{ "more items than the answer has", change_items_over_count, -EINVAL },
	{ "offset past the end", change_offset_over_count, -EINVAL },
	{ "count too large", change_count, -EINVAL },
	{ "time too large", change_time, -EINVAL },
	{ "no such field", change_field, -EINVAL },
	{ "no such order", change_order, -EINVAL },
	{ "head seq too large", change_seq, -EINVAL },
	{ "an empty log at record 24", change_head, -EINVAL },
	{ "an item too few", change_more_items, -EINVAL },
	{ "an item too many", change_fewer_items, -EINVAL },
	{ "items cut short", change_cut_items, -EINVAL },
	{ "an item that is no array", change_scalar_item, -EINVAL },
	{ "an item in a second spelling", change_long_number, -EINVAL },
	{ "arrays too deep", change_deep_items, -EINVAL },
};

static void pages_are_made_if_they_can_be_read(void **state)
{
	struct key key = key_of(1);

	for (size_t i = 0; i < COUNT_OF(page_cases); i++) {
		struct page page = page_of(), again;
		struct signature signature;
		struct bytes out;

		bytes_init(&out, PAGE_STATEMENT_MAX);
		page_cases[i].change(&page);
		int err = page_make(&page, &key, &out, &signature);
		if (err != page_cases[i].expected)
			fail_msg("%s: %d", page_cases[i].name, err);
		if (err < 0) {
			assert_int_equal(out.size, 0);
		} else {
			assert_int_equal(page_read(&again, out.data, out.size), 0);
			assert_same_pages(&page, &again);
		}
		bytes_finish(&out);
	}
}

/* One item of `size` bytes in all makes a page of some length; the first that is too long is refused. */
static void a_page_has_a_limit(void **state)
{
	struct key key = key_of(1);
	struct page page = page_of();
	struct signature signature;
	struct bytes item, out;

	bytes_init(&item, 2 * PAGE_STATEMENT_MAX);
	bytes_init(&out, 2 * PAGE_STATEMENT_MAX);
	assert_int_equal(page_make(&page, &key, &out, &signature), 0);
	size_t data_size = PAGE_STATEMENT_MAX - (out.size - sizeof two_items) - 1 - 5;
	bytes_clear(&out);
	uint8_t *data = calloc(data_size + 1, 1);
	assert_non_null(data);

	for (size_t more = 0; more < 2; more++) {
		bytes_clear(&item);
		cbor_put_array(&item, 1);
		cbor_put_bytes(&item, data, data_size + more);
		page.item_count = 1;
		page.items_bytes = item.data;
		page.items_size = item.size;
		assert_int_equal(page_make(&page, &key, &out, &signature), more ? -EMSGSIZE : 0);
		assert_int_equal(out.size, more ? 0 : PAGE_STATEMENT_MAX);
		assert_true(more || page_read(&page, out.data, out.size) == 0);
		out.size = 0;
	}
	free(data);
	bytes_finish(&item);
	bytes_finish(&out);
}

static struct receipt receipt_of(uint64_t number)
{
	return (struct receipt){
		.client = id_of(1), .server = id_of(2), .cb = id_of(3), .number = number, .time_ms = number,
		.bytes = number, .pieces = number, .records = number, .took_ms = number, .welcome = WELCOME_MAX,
	};
}

static void a_receipt_is_spelled_so(void **state)
{
	struct receipt receipt = { .client = id_of(1), .server = id_of(2), .cb = id_of(3), .number = 4, .time_ms = 5,
				   .bytes = 256, .pieces = 7, .records = 8, .took_ms = 9, .welcome = 10 };
	struct receipt again;
	struct bytes made, spelled;

	bytes_init(&made, RECEIPT_SIZE_MAX);
	bytes_init(&spelled, RECEIPT_SIZE_MAX);
	bytes_put_u8(&spelled, 0x8a);
	put_id(&spelled, 1);
	put_id(&spelled, 2);
	put_id(&spelled, 3);
	bytes_put(&spelled, "\x04\x05\x19\x01\x00\x07\x08\x09\x0a", 9);
	receipt_put(&receipt, &made);
	assert_int_equal(bytes_error(&made), 0);
	assert_int_equal(made.size, spelled.size);
	assert_memory_equal(made.data, spelled.data, spelled.size);
	assert_int_equal(receipt_read(&again, spelled.data, spelled.size), 0);
	assert_memory_equal(&receipt, &again, sizeof receipt);
	bytes_finish(&made);
	bytes_finish(&spelled);
}

static void receipts_have_limits(void **state)
{
	struct receipt receipt = receipt_of(NUMBER_MAX), again;
	struct bytes out;

	bytes_init(&out, RECEIPT_SIZE_MAX);
	receipt_put(&receipt, &out);
	assert_int_equal(bytes_error(&out), 0);
	assert_int_equal(receipt_read(&again, out.data, out.size), 0);
	assert_memory_equal(&receipt, &again, sizeof receipt);

	uint64_t *const numbers[] = { &receipt.number, &receipt.time_ms, &receipt.bytes, &receipt.pieces,
				      &receipt.records, &receipt.took_ms, &receipt.welcome };
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		bytes_clear(&out);
		++*numbers[i];
		receipt_put(&receipt, &out);
		assert_int_equal(bytes_error(&out), -EINVAL);
		assert_int_equal(out.size, 0);
		--*numbers[i];
	}
	bytes_finish(&out);
}

/* ---- every prefix and every flipped bit of what is read ---- */

static bool reads_page(const uint8_t *bytes, size_t size, struct bytes *out)
{
	struct key key = key_of(1);
	struct signature signature;
	struct page page;

	return page_read(&page, bytes, size) == 0 && page_make(&page, &key, out, &signature) == 0;
}

static bool reads_receipt(const uint8_t *bytes, size_t size, struct bytes *out)
{
	struct receipt receipt;

	if (receipt_read(&receipt, bytes, size) < 0)
		return false;
	receipt_put(&receipt, out);
	return bytes_error(out) == 0;
}

typedef bool again(const uint8_t *bytes, size_t size, struct bytes *out);

static void assert_same_or_refused(again *reads, const uint8_t *bytes, size_t size)
{
	CLEANUP(cleanup_free) uint8_t *exact = malloc(size > 0 ? size : 1);
	struct bytes out;

	assert_non_null(exact);
	memcpy(exact, bytes, size);
	bytes_init(&out, PAGE_STATEMENT_MAX);
	if (reads(exact, size, &out)) {
		assert_int_equal(out.size, size);
		assert_memory_equal(out.data, bytes, size);
	}
	bytes_finish(&out);
}

static void spoil(again *reads, struct bytes *sample)
{
	struct bytes out;

	bytes_init(&out, PAGE_STATEMENT_MAX);
	for (size_t size = 0; size < sample->size; size++)
		assert_false(reads(sample->data, size, &out));
	bytes_put_u8(sample, 0);
	assert_false(reads(sample->data, sample->size, &out));
	sample->size--;
	for (size_t bit = 0; bit < sample->size * 8; bit++) {
		sample->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_same_or_refused(reads, sample->data, sample->size);
		sample->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	bytes_finish(&out);
}

static void spoiled_statements_are_refused_or_mean_themselves(void **state)
{
	struct receipt receipt = receipt_of(300);
	struct page page = page_of();
	struct key key = key_of(1);
	struct signature signature;
	struct bytes sample;

	bytes_init(&sample, PAGE_STATEMENT_MAX);
	assert_int_equal(page_make(&page, &key, &sample, &signature), 0);
	spoil(reads_page, &sample);
	bytes_clear(&sample);
	receipt_put(&receipt, &sample);
	spoil(reads_receipt, &sample);
	bytes_finish(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_spelled_so),
		cmocka_unit_test(a_signature_is_of_one_signer_and_purpose),
		cmocka_unit_test(pages_are_made_if_they_can_be_read),
		cmocka_unit_test(a_page_has_a_limit),
		cmocka_unit_test(a_receipt_is_spelled_so),
		cmocka_unit_test(receipts_have_limits),
		cmocka_unit_test(spoiled_statements_are_refused_or_mean_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
