#include "reconcile_range.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "store_limits.h"
#include "wire.h"

#define LABEL "mootfs reconcile"
#define SUM_SIZE 16
#define RANGE_SIZE_MAX 128 /* bytes: more than a skip and a range without its items */

/* ---- sets ---- */

void reconcile_key(uint8_t out_key[16], const struct id *cb)
{
	uint8_t hash[ID_SIZE];

	crypto_generichash(hash, sizeof hash, (const uint8_t *)LABEL, sizeof LABEL, cb->bytes, sizeof cb->bytes);
	memcpy(out_key, hash, 16);
}

static void put_u64(uint8_t *out, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static struct sum get_sum(const uint8_t *bytes)
{
	struct wire w;

	wire_init(&w, bytes, SUM_SIZE);
	uint64_t low = wire_u64(&w);
	return (struct sum){ .low = low, .high = wire_u64(&w) };
}

static struct sum item_digest(const struct head *head, const uint8_t key[16])
{
	uint8_t text[ID_SIZE + 8 + ID_SIZE + 8], hash[SUM_SIZE];

	memcpy(text, head->device.bytes, ID_SIZE);
	put_u64(text + ID_SIZE, head->seq);
	memcpy(text + ID_SIZE + 8, head->record.bytes, ID_SIZE);
	put_u64(text + ID_SIZE + 8 + ID_SIZE, head->records);
	crypto_shorthash_siphashx24(hash, text, sizeof text, key);
	return get_sum(hash);
}

static struct sum sum_add(struct sum a, struct sum b)
{
	uint64_t low = a.low + b.low;

	return (struct sum){ .low = low, .high = a.high + b.high + (low < a.low) };
}

static struct sum sum_subtract(struct sum a, struct sum b)
{
	return (struct sum){ .low = a.low - b.low, .high = a.high - b.high - (a.low < b.low) };
}

bool sum_equal(struct sum a, struct sum b)
{
	return a.low == b.low && a.high == b.high;
}

struct place { /* of a head as given */
	uint64_t prefix; /* of its device, as a number */
	size_t index;
};

static uint64_t prefix_of(const struct id *device)
{
	uint64_t prefix = 0;

	for (unsigned i = 0; i < 8; i++)
		prefix = prefix << 8 | device->bytes[i];
	return prefix;
}

static int compare_places(const void *a, const void *b, void *heads)
{
	const struct place *x = a, *y = b;
	const struct head *of = heads;

	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	return id_compare(&of[x->index].device, &of[y->index].device);
}

/* Copies them in order; what is sorted are their places, which are smaller. */
static void copy_sorted(struct reconcile_set *set, const struct head *heads, struct place *places, size_t count)
{
	for (size_t i = 0; i < count; i++)
		places[i] = (struct place){ prefix_of(&heads[i].device), i };
	qsort_r(places, count, sizeof places[0], compare_places, (void *)(uintptr_t)heads);
	for (size_t i = 0; i < count; i++) {
		const struct head *head = &heads[places[i].index];
		if (set->count == 0 || !id_equal(&set->heads[set->count - 1].device, &head->device))
			set->heads[set->count++] = *head;
	}
}

struct reconcile_set *reconcile_set_new(const struct head *heads, size_t count, const uint8_t key[16])
{
	struct reconcile_set *set = calloc(1, sizeof *set);
	struct place *places = malloc((count + 1) * sizeof *places);

	if (set) {
		set->heads = malloc((count + 1) * sizeof set->heads[0]);
		set->sums = malloc((count + 1) * sizeof set->sums[0]);
	}
	if (!set || !places || !set->heads || !set->sums) {
		free(places);
		reconcile_set_free(set);
		return NULL;
	}

	copy_sorted(set, heads, places, count);
	free(places);
	set->sums[0] = (struct sum){ 0 };
	for (size_t i = 0; i < set->count; i++)
		set->sums[i + 1] = sum_add(set->sums[i], item_digest(&set->heads[i], key));
	return set;
}

void reconcile_set_free(struct reconcile_set *set)
{
	if (!set)
		return;
	free(set->heads);
	free(set->sums);
	free(set);
}

int bound_compare(const struct bound *a, const struct bound *b)
{
	if (a->is_end || b->is_end)
		return (int)a->is_end - (int)b->is_end;
	return id_compare(&a->key, &b->key);
}

size_t set_find(const struct reconcile_set *set, const struct bound *bound)
{
	size_t least = 0, greatest = set->count;

	if (bound->is_end)
		return set->count;
	while (least < greatest) {
		size_t middle = least + (greatest - least) / 2;

		if (id_compare(&set->heads[middle].device, &bound->key) < 0)
			least = middle + 1;
		else
			greatest = middle;
	}
	return least;
}

struct bound set_bound(const struct reconcile_set *set, size_t index)
{
	const struct id *before = &set->heads[index - 1].device, *after = &set->heads[index].device;
	struct bound bound = { 0 };

	/* They differ, and at the first difference `after` has the greater byte: never a zero. */
	for (size_t i = 0; i < ID_SIZE; i++) {
		bound.key.bytes[i] = after->bytes[i];
		if (before->bytes[i] != after->bytes[i])
			break;
	}
	return bound;
}

struct sum set_sum(const struct reconcile_set *set, size_t from, size_t to)
{
	return sum_subtract(set->sums[to], set->sums[from]);
}

uint64_t set_digest(const struct reconcile_set *set, size_t index)
{
	return set->sums[index + 1].low - set->sums[index].low;
}

/* ---- reading ---- */

static void get_bound(struct cbor_reader *r, struct bound *out)
{
	size_t size;
	const uint8_t *prefix = cbor_get_bytes(r, 0, ID_SIZE, &size);

	*out = (struct bound){ .is_end = true };
	if (!prefix || size == 0)
		return;
	if (prefix[size - 1] == 0)
		cbor_reader_fail(r);
	out->is_end = false;
	memcpy(out->key.bytes, prefix, size);
}

static void get_print(struct cbor_reader *r, struct range *out)
{
	size_t size;

	out->count = cbor_get_uint(r, NUMBER_MAX);
	const uint8_t *sum = cbor_get_bytes(r, SUM_SIZE, SUM_SIZE, &size);
	if (!sum)
		return;
	out->sum = get_sum(sum);
	if (out->count == 0 && !sum_equal(out->sum, (struct sum){ 0 }))
		cbor_reader_fail(r);
}

static void get_list(struct cbor_reader *r, struct range *out)
{
	size_t size;

	out->digests = cbor_get_bytes(r, 0, (RECONCILE_LIST_MAX - 1) * RECONCILE_DIGEST_SIZE, &size);
	out->digest_count = size / RECONCILE_DIGEST_SIZE;
	if (size % RECONCILE_DIGEST_SIZE != 0)
		cbor_reader_fail(r);
}

/* The heads are all within the range, in order, each device once. */
static void get_difference(struct cbor_reader *r, const struct bound *from, struct range *out)
{
	struct bound least = *from;
	struct head head;

	out->same = cbor_get_uint(r, (1ull << (RECONCILE_LIST_MAX - 1)) - 1);
	out->head_count = cbor_get_array(r, 0, RECONCILE_MESSAGE_MAX);
	out->heads = *r;
	for (size_t i = 0, left = out->head_count; packet_next_head(r, &left, &head); i++) {
		struct bound at = { .key = head.device };

		int order = bound_compare(&at, &least);
		if (order < 0 || (order == 0 && i > 0) || bound_compare(&at, &out->to) >= 0)
			cbor_reader_fail(r);
		least = at;
	}
	out->heads.left = (size_t)(r->at - out->heads.at);
}

void range_read(struct cbor_reader *r, const struct bound *from, bool is_answer, struct range *out)
{
	static const size_t item_counts[] = {
		[RANGE_SKIP] = 2, [RANGE_PRINT] = 4, [RANGE_LIST] = 3, [RANGE_DIFFERENCE] = 4,
	};

	*out = (struct range){ 0 };
	size_t item_count = cbor_get_array(r, 2, 4);
	get_bound(r, &out->to);
	out->mode = (enum range_mode)cbor_get_uint(r, RANGE_DIFFERENCE);
	if (r->failed || item_count != item_counts[out->mode] || bound_compare(from, &out->to) >= 0 ||
	    out->mode == (is_answer ? RANGE_LIST : RANGE_DIFFERENCE)) {
		cbor_reader_fail(r);
		return;
	}
	switch (out->mode) {
	case RANGE_SKIP:
		break;
	case RANGE_PRINT:
		get_print(r, out);
		break;
	case RANGE_LIST:
		get_list(r, out);
		break;
	case RANGE_DIFFERENCE:
		get_difference(r, from, out);
		break;
	}
}

uint64_t range_digest(const struct range *range, size_t index)
{
	struct wire w;

	wire_init(&w, range->digests + index * RECONCILE_DIGEST_SIZE, RECONCILE_DIGEST_SIZE);
	return wire_u64(&w);
}

/* ---- writing ---- */

void writer_init(struct writer *w, struct bytes *out, size_t size_max)
{
	*w = (struct writer){ .out = out, .start = out->size, .size_max = size_max };
}

/* -1: not even for a range without items. */
static ssize_t room(const struct writer *w)
{
	size_t used = w->out->size - w->start + RANGE_SIZE_MAX;

	return w->full || used > w->size_max ? -1 : (ssize_t)(w->size_max - used);
}

size_t writer_room(const struct writer *w)
{
	ssize_t left = room(w);

	return left < 0 ? 0 : (size_t)left;
}

void writer_skip(struct writer *w, const struct bound *to)
{
	w->skips = true;
	w->skip = *to;
}

static void put_range(struct writer *w, size_t item_count, const struct bound *to, enum range_mode mode)
{
	size_t size = to->is_end ? 0 : ID_SIZE;

	while (size > 0 && to->key.bytes[size - 1] == 0)
		size--;
	cbor_put_array(w->out, item_count);
	cbor_put_bytes(w->out, to->key.bytes, size);
	cbor_put_uint(w->out, mode);
	w->count++;
}

/* Begins a range with so many bytes of items, after the skip that waits; false: full. */
static bool begin(struct writer *w, size_t items_size)
{
	if (room(w) < (ssize_t)items_size || w->count + 1 + w->skips > RECONCILE_RANGES_MAX)
		w->full = true;
	if (w->full)
		return false;
	if (w->skips)
		put_range(w, 2, &w->skip, RANGE_SKIP);
	w->skips = false;
	return true;
}

bool writer_print(struct writer *w, const struct bound *to, uint64_t count, struct sum sum)
{
	uint8_t text[SUM_SIZE];

	if (!begin(w, 0))
		return false;
	put_u64(text, sum.low);
	put_u64(text + 8, sum.high);
	put_range(w, 4, to, RANGE_PRINT);
	cbor_put_uint(w->out, count);
	cbor_put_bytes(w->out, text, sizeof text);
	return true;
}

bool writer_list(struct writer *w, const struct bound *to, const struct reconcile_set *set, size_t first, size_t end)
{
	uint8_t text[RECONCILE_LIST_MAX * RECONCILE_DIGEST_SIZE];
	size_t size = (end - first) * RECONCILE_DIGEST_SIZE;

	if (!begin(w, size))
		return false;
	for (size_t i = first; i < end; i++)
		put_u64(text + (i - first) * RECONCILE_DIGEST_SIZE, set_digest(set, i));
	put_range(w, 3, to, RANGE_LIST);
	cbor_put_bytes(w->out, text, size);
	return true;
}

bool writer_difference(struct writer *w, const struct bound *to, uint64_t same, const struct bytes *heads, size_t count)
{
	if (!begin(w, heads->size))
		return false;
	put_range(w, 4, to, RANGE_DIFFERENCE);
	cbor_put_uint(w->out, same);
	cbor_put_array(w->out, count);
	bytes_put(w->out, heads->data, heads->size);
	return true;
}

void writer_end(struct writer *w)
{
	if (w->skips && room(w) >= 0 && w->count < RECONCILE_RANGES_MAX)
		put_range(w, 2, &w->skip, RANGE_SKIP);
}
