/* reconcile_kit.h - random pairs of sets of heads, and by a slow model what differs between them. After cmocka.h. */
#ifndef RECONCILE_KIT_H
#define RECONCILE_KIT_H

#include <stdlib.h>
#include <string.h>

#include "reconcile.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static struct id random_id(uint64_t *state)
{
	struct id id;

	for (size_t i = 0; i < sizeof id.bytes; i += 8) {
		uint64_t value = next_random(state);

		memcpy(id.bytes + i, &value, 8);
	}
	return id;
}

static void session_key(uint8_t out_key[16])
{
	struct id cb = { .bytes = { 1 } };

	reconcile_key(out_key, &cb);
}

/* ---- two sets, and what each has that the other has not ---- */

struct pile {
	struct head *heads;
	size_t count, capacity;
};

static void pile_add(struct pile *pile, const struct head *head)
{
	if (pile->count == pile->capacity) {
		pile->capacity = pile->capacity ? pile->capacity * 2 : 64;
		pile->heads = realloc(pile->heads, pile->capacity * sizeof *head);
		assert_non_null(pile->heads);
	}
	pile->heads[pile->count++] = *head;
}

static void add(void *context, const struct head *head)
{
	pile_add(context, head);
}

static void pile_free(struct pile *pile)
{
	free(pile->heads);
	*pile = (struct pile){ 0 };
}

static int compare_heads(const void *a, const void *b)
{
	return id_compare(&((const struct head *)a)->device, &((const struct head *)b)->device);
}

static void pile_sort(struct pile *pile)
{
	if (pile->count > 1)
		qsort(pile->heads, pile->count, sizeof pile->heads[0], compare_heads);
}

static bool same_head(const struct head *a, const struct head *b)
{
	return id_equal(&a->device, &b->device) && id_equal(&a->person, &b->person) && a->seq == b->seq &&
	       id_equal(&a->record, &b->record) && a->records == b->records;
}

struct shape {
	const char *name;
	unsigned a_only, b_only, changed; /* of 1000 */
	bool clustered;                   /* devices that differ only in their last bytes */
};

struct pair {
	struct pile a, b;
};

static struct head random_head(uint64_t *state, bool clustered)
{
	struct head head = { .device = random_id(state), .person = random_id(state),
			     .seq = next_random(state) % 100000, .record = random_id(state),
			     .records = next_random(state) % 100000 };

	if (clustered)
		memset(head.device.bytes, 0, 29);
	return head;
}

static bool has_device(const struct pile *sorted, const struct head *head)
{
	return sorted->count > 0 &&
	       bsearch(head, sorted->heads, sorted->count, sizeof *head, compare_heads) != NULL;
}

/* `count` devices, each in one of the sets or in both. */
static struct pair pair_make(uint64_t seed, size_t count, const struct shape *shape)
{
	struct pair pair = { 0 };
	struct pile all = { 0 };

	while (all.count < count) {
		struct head head = random_head(&seed, shape->clustered);

		pile_add(&all, &head);
		if (all.count == count) { /* clustered ones may come twice */
			size_t kept = 0;

			pile_sort(&all);
			for (size_t i = 0; i < count; i++)
				if (i == 0 || compare_heads(&all.heads[kept - 1], &all.heads[i]) != 0)
					all.heads[kept++] = all.heads[i];
			all.count = kept;
		}
	}
	for (size_t i = 0; i < all.count; i++) {
		unsigned turn = (unsigned)(next_random(&seed) % 1000);
		struct head *head = &all.heads[i];

		if (turn >= shape->b_only)
			pile_add(&pair.a, head);
		if (turn >= shape->b_only && turn < shape->b_only + shape->a_only)
			continue;
		if (turn >= 1000 - shape->changed)
			*(next_random(&seed) % 2 ? &head->seq : &head->records) += 1;
		pile_add(&pair.b, head);
	}
	pile_free(&all);
	return pair;
}

static void pair_free(struct pair *pair)
{
	pile_free(&pair->a);
	pile_free(&pair->b);
}

/* The slow model: of `of`, in order, what `from` has not or has otherwise. */
static struct pile difference(const struct pile *of, const struct pile *from)
{
	struct pile found = { 0 };

	for (size_t i = 0; i < of->count; i++) {
		const struct head *other = !has_device(from, &of->heads[i]) ? NULL :
			bsearch(&of->heads[i], from->heads, from->count, sizeof of->heads[0], compare_heads);

		if (!other || !same_head(&of->heads[i], other))
			pile_add(&found, &of->heads[i]);
	}
	return found;
}

static struct reconcile_set *set_of(const struct pile *pile)
{
	uint8_t key[16];

	session_key(key);
	struct reconcile_set *set = reconcile_set_new(pile->heads, pile->count, key);
	assert_non_null(set);
	return set;
}

#endif
