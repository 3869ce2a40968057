/* Things that clash at a name: each is read, renamed and removed alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_bench.h"

/* As another device would: a directory stands at a name where something stands already. */
static struct id add_directory(struct bench *b, const char *name, uint8_t fill)
{
	struct store_txn *txn = txn_begin(&b->t, true);
	struct record *record = store_txn_record(txn, 0);
	struct id id;

	memset(id.bytes, fill, sizeof(id.bytes));
	record->field = FIELD_ENTRIES;
	record->entries.count = 1;
	record->replaces_count = 0;
	record->entries.entries[0] = (struct entry){ .directory = b->root, .name = { name, strlen(name) },
						     .what = WHAT_DIRECTORY, .id = id };
	assert_int_equal(log_append(txn, record, NULL, NULL), 0);
	txn_commit(txn);
	return id;
}

static int find_alias(void *context, const struct desk_item *item)
{
	struct desk_item *out = context;

	if (strcmp(item->name, item->slot_name) == 0)
		return 0;
	*out = *item;
	return 1;
}

static struct desk_item the_alias(struct bench *b)
{
	struct desk_item item;

	assert_int_equal(desk_each(b->desk, &b->root, &b->root, 0, find_alias, &item), 1);
	return item;
}

static void save_in(struct bench *b, const struct id *directory, const char *name)
{
	struct desk_item item;
	struct handle *h;

	assert_int_equal(desk_create(b->desk, (struct desk_slot){ *directory, name }, 0644, 0, 0, 5, &h, &item), 0);
	put(h, "inside\n", 0);
	assert_int_equal(handle_flush(h), 0);
	assert_int_equal(handle_release(h), 0);
	pass(b, WINDOW);
	pass(b, 1);
}

static void test_directories(void **state)
{
	struct bench b;
	struct desk_item item;

	bench_make(&b);
	struct id first = add_directory(&b, "Q", 1);
	pass(&b, 5);
	struct id second = add_directory(&b, "Q", 2);
	save_in(&b, &first, "of-first.md");
	save_in(&b, &second, "of-second.md");
	struct desk_item alias = the_alias(&b);
	assert_memory_equal(&alias.id, &first, sizeof(first)); /* the newest shows plainly */

	assert_int_equal(desk_rmdir(b.desk, at(&b, alias.name)), -ENOTEMPTY);
	assert_int_equal(desk_unlink(b.desk, at(&b, alias.name)), -EISDIR);
	assert_int_equal(desk_rename(b.desk, at(&b, alias.name), at(&b, "R"), 0, 5), 0);
	assert_listing(&b, "Q/ R/ ");
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "Q", &item), 0);
	assert_memory_equal(&item.id, &second, sizeof(second));
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "R", &item), 0);
	assert_memory_equal(&item.id, &first, sizeof(first));

	/* and the plain one of a clash goes alone */
	pass(&b, 5);
	struct id third = add_directory(&b, "R", 3);
	assert_int_equal(desk_rmdir(b.desk, at(&b, "R")), 0);
	pass(&b, WINDOW);
	pass(&b, 1);
	assert_int_equal(desk_lookup(b.desk, &b.root, &b.root, "R", &item), 0);
	assert_memory_equal(&item.id, &first, sizeof(first));
	assert_memory_not_equal(&item.id, &third, sizeof(third));
	assert_sound(&b);
	bench_remove(&b);
}

static void test_document_and_directory(void **state)
{
	char text[32] = { 0 };
	struct bench b;
	struct handle *h;

	bench_make(&b);
	must_publish(&b, "N", "text\n", 5);
	pass(&b, 5);
	add_directory(&b, "N", 4);
	struct desk_item alias = the_alias(&b);
	assert_int_equal(alias.what, WHAT_VERSION);
	assert_int_equal(desk_open_file(b.desk, at(&b, alias.name), O_WRONLY, 5, &h), -EROFS);
	assert_int_equal(desk_open_file(b.desk, at(&b, alias.name), O_RDONLY, 5, &h), 0);
	assert_int_equal(handle_read(h, text, sizeof(text), 0), 5);
	assert_string_equal(text, "text\n");
	assert_int_equal(handle_release(h), 0);

	assert_int_equal(desk_rmdir(b.desk, at(&b, "N")), 0);
	pass(&b, WINDOW);
	pass(&b, 1);
	assert_text(&b, "N", "text\n");

	add_directory(&b, "N", 5);
	alias = the_alias(&b);
	assert_int_equal(desk_rmdir(b.desk, at(&b, alias.name)), -ENOTDIR);
	assert_int_equal(desk_unlink(b.desk, at(&b, alias.name)), 0);
	assert_listing(&b, "N/ ");
	assert_int_equal(count_versions(&b, "N"), 1);
	assert_sound(&b);
	bench_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_document_and_directory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
