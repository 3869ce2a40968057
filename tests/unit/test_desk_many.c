/* Many names at once: listings page by page while names come and go, many directories that wait, and how many are in one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_bench.h"

#define PAGE 7
#define NAMES 40
#define MANY 512 /* entries counted, as a mount does */

static uint64_t chance;

static unsigned pick(unsigned count)
{
	return (unsigned)(chance_next(&chance) % count);
}

static void must_mkdir(struct bench *b, struct desk_slot slot, struct id *out)
{
	struct desk_item item;

	assert_int_equal(desk_mkdir(b->desk, slot, 0755, 0, 0, &item), 0);
	*out = item.id;
}

/* ---- listings ---- */

struct listing {
	uint64_t after;
	unsigned left; /* of the page */
	unsigned seen[2 * NAMES];
};

static unsigned number_of(const char *name)
{
	return (unsigned)strtoul(name + 1, NULL, 10) + (name[0] == 'b' ? NAMES : 0);
}

static void name_of(unsigned number, char out[16])
{
	snprintf(out, 16, "%c%u", number < NAMES ? 'a' : 'b', number % NAMES);
}

static int list_page(void *context, const struct desk_item *item)
{
	struct listing *l = context;

	if (l->left == 0)
		return 1;
	assert_true(item->cookie > l->after);
	l->after = item->cookie;
	l->left--;
	l->seen[number_of(item->name)]++;
	return 0;
}

/* False: that was all. */
static bool next_page(struct bench *b, struct listing *l)
{
	l->left = PAGE;
	return desk_each(b->desk, &b->root, &b->root, l->after, list_page, l) == 1;
}

struct model {
	bool there[2 * NAMES];
	bool stayed[2 * NAMES]; /* since the listings began */
	struct handle *open[2 * NAMES]; /* held while the name goes: its slot lives on */
};

static void close_one(struct model *m, unsigned number)
{
	if (m->open[number])
		assert_int_equal(handle_release(m->open[number]), 0);
	m->open[number] = NULL;
}

static void change(struct bench *b, struct model *m)
{
	unsigned number = pick(2 * NAMES), other = pick(2 * NAMES);
	char name[16], to[16];

	name_of(number, name);
	name_of(other, to);
	switch (pick(6)) {
	case 0:
	case 1:
		if (m->there[number])
			break;
		close_one(m, number);
		m->open[number] = must_create(b, name, 0);
		put(m->open[number], name, 0);
		m->there[number] = true;
		if (pick(2))
			close_one(m, number);
		break;
	case 2:
		if (!m->there[number])
			break;
		assert_int_equal(desk_unlink(b->desk, at(b, name)), 0);
		m->there[number] = m->stayed[number] = false;
		break;
	case 3:
		if (!m->there[number] || number == other)
			break;
		close_one(m, number);
		close_one(m, other);
		assert_int_equal(desk_rename(b->desk, at(b, name), at(b, to), 0, 0), 0);
		m->there[number] = m->stayed[number] = m->stayed[other] = false;
		m->there[other] = true;
		break;
	case 4:
		pass(b, pick(WINDOW));
		break;
	case 5:
		close_one(m, number);
		break;
	}
}

static void list_whole(struct bench *b, const struct model *m)
{
	struct listing l = { 0 };

	while (next_page(b, &l))
		;
	for (unsigned i = 0; i < 2 * NAMES; i++)
		assert_int_equal(l.seen[i], m->there[i]);
}

/* Two listings at once, and names that come, go, move and are signed meanwhile. */
static void list_while_changing(struct bench *b, struct model *m)
{
	struct listing one = { 0 }, two = { 0 };
	bool more_one = true, more_two = true;

	memcpy(m->stayed, m->there, sizeof(m->stayed));
	for (unsigned turn = 0; turn < 200 && (more_one || more_two); turn++) {
		more_one = more_one && next_page(b, &one);
		if (pick(2))
			more_two = more_two && next_page(b, &two);
		for (unsigned i = pick(4); i > 0; i--)
			change(b, m);
	}
	for (unsigned i = 0; i < 2 * NAMES; i++)
		if (m->stayed[i]) {
			assert_int_equal(one.seen[i], 1);
			assert_int_equal(two.seen[i], 1);
		}
}

static void test_listings_while_names_come_and_go(void **state)
{
	struct model m = { 0 };
	struct bench b;

	chance = 5;
	bench_make(&b);
	for (unsigned round = 0; round < 60; round++) {
		list_while_changing(&b, &m);
		list_whole(&b, &m);
	}
	for (unsigned i = 0; i < 2 * NAMES; i++)
		close_one(&m, i);
	assert_sound(&b);
	bench_remove(&b);
}

/* ---- directories that wait ---- */

static void test_many_directories_wait(void **state)
{
	enum { COUNT = 4500 }; /* more than there are lists of them */
	struct id *ids = calloc(COUNT, sizeof(*ids));
	struct attributes a;
	struct bench b;
	char name[16];

	bench_make(&b);
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		must_mkdir(&b, i % 3 ? (struct desk_slot){ ids[i - 1], name } : at(&b, name), &ids[i]);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		a.permissions = 0700 + i % 64;
		assert_int_equal(desk_set_directory_attributes(b.desk, &ids[i], DESK_SET_PERMISSIONS, &a), 0);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(desk_directory(b.desk, &b.root, &ids[i], &a), 0);
		assert_int_equal(a.permissions, 0700 + i % 64);
	}
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(waiting(&b), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(desk_directory(b.desk, &b.root, &ids[i], &a), 0);
		assert_int_equal(a.permissions, 0700 + i % 64);
	}
	bench_remove(&b);
	free(ids);
}

/* ---- how many directories are in one ---- */

static int count(struct bench *b)
{
	return desk_count_directories(b->desk, &b->root, &b->root, MANY);
}

static void test_directories_are_counted_whatever_changes(void **state)
{
	enum { DIRECTORIES = 12 };
	bool there[DIRECTORIES] = { false };
	int expected = 0;
	struct bench b;
	struct id id;
	char name[16];

	chance = 9;
	bench_make(&b);
	for (unsigned turn = 0; turn < 1000; turn++) {
		unsigned i = pick(DIRECTORIES);
		snprintf(name, sizeof(name), "d%u", i);
		switch (pick(4)) {
		case 0:
			if (!there[i])
				must_mkdir(&b, at(&b, name), &id);
			expected += !there[i];
			there[i] = true;
			break;
		case 1:
			if (there[i])
				assert_int_equal(desk_rmdir(b.desk, at(&b, name)), 0);
			expected -= there[i];
			there[i] = false;
			break;
		case 2:
			snprintf(name, sizeof(name), "f%u", i);
			if (desk_unlink(b.desk, at(&b, name)) == -ENOENT)
				must_save(&b, name, "text\n", 0);
			break;
		case 3:
			pass(&b, pick(WINDOW));
			break;
		}
		assert_int_equal(count(&b), expected);
	}
	bench_remove(&b);
}

static void test_too_many_to_count_are_counted_again(void **state)
{
	struct bench b;
	struct id id;
	char name[16];

	bench_make(&b);
	must_mkdir(&b, at(&b, "directory"), &id);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(count(&b), 1);
		snprintf(name, sizeof(name), "f%u", i);
		must_save(&b, name, "text\n", 0);
	}
	must_mkdir(&b, at(&b, "another"), &id);
	assert_int_equal(count(&b), -E2BIG);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(desk_unlink(b.desk, at(&b, name)), 0);
	}
	assert_int_equal(desk_publish_all(b.desk), 0);
	assert_int_equal(count(&b), -E2BIG); /* not so soon again */
	pass(&b, 1000);
	must_mkdir(&b, at(&b, "a third"), &id);
	assert_int_equal(count(&b), 3);
	bench_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listings_while_names_come_and_go),
		cmocka_unit_test(test_many_directories_wait),
		cmocka_unit_test(test_directories_are_counted_whatever_changes),
		cmocka_unit_test(test_too_many_to_count_are_counted_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
