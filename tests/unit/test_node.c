/* What the kernel knows: look-ups counted, names moved, heads that come from elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node.h"

static const struct id person = { { 1 } }, directory = { { 2 } }, one = { { 3 } }, two = { { 4 } }, none;

static struct identity document(const struct id *version, bool waits)
{
	return (struct identity){ .kind = NODE_DOCUMENT, .type = S_IFREG, .person = person, .id = *version, .waits = waits, .order = 9 };
}

static struct identity folder(const struct id *id)
{
	return (struct identity){ .kind = NODE_DIRECTORY, .type = S_IFDIR, .person = person, .id = *id };
}

static struct identity local(mode_t type, ino_t inode)
{
	return (struct identity){ .kind = NODE_SCRATCH, .type = type, .device = 7, .inode = inode };
}

static struct node *enter(struct nodes *nodes, struct node *parent, const char *name, struct identity identity)
{
	struct node *node = NULL;
	assert_int_equal(node_enter(nodes, parent, name, &identity, &node), 0);
	return node;
}

static uint64_t count(struct nodes *nodes)
{
	uint64_t node_count, open_count;
	nodes_count(nodes, &node_count, &open_count);
	return node_count;
}

static void no_release(void *context, struct open *open)
{
	fail();
}

static struct nodes *table(struct node **out_directory)
{
	struct nodes *nodes;
	assert_int_equal(nodes_new(&nodes), 0);
	*out_directory = enter(nodes, nodes_root(nodes), "alice", folder(&directory));
	return nodes;
}

static void test_lives_while_counted(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	uint64_t number = parent->number;

	struct node *child = enter(nodes, parent, "a.md", document(&one, false));
	assert_ptr_equal(enter(nodes, parent, "a.md", document(&one, false)), child);
	/* The parent is forgotten first: the child's name holds it. */
	node_forget(nodes, number, 1);
	assert_non_null(node_find(nodes, number));
	uint64_t child_number = child->number;
	node_forget(nodes, child_number, 1);
	assert_non_null(node_find(nodes, child_number));
	node_forget(nodes, child_number, 1);
	assert_null(node_find(nodes, child_number));
	assert_null(node_find(nodes, number));
	assert_int_equal(count(nodes), 1);
	/* Never the same number again. */
	assert_true(enter(nodes, nodes_root(nodes), "alice", folder(&directory))->number > child_number);
	nodes_free(nodes, no_release, NULL);
}

static void test_head(void **state)
{
	static const struct {
		const char *name;
		const struct id *had;
		bool waited, dirty;
		const struct id *finds;
		bool waits, same;
	} cases[] = {
		{ "the same head",                        &one, false, false, &one, false, true },
		{ "a head from elsewhere",                &one, false, false, &two, false, false },
		{ "a save through it was signed",         &one, false, true,  &two, false, true },
		{ "a first save was signed",              &none, true, false, &one, false, true },
		{ "a save of ours waits",                 &one, false, false, &one, true,  true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct node *parent;
		struct nodes *nodes = table(&parent);
		struct node *node = enter(nodes, parent, "a.md", document(cases[i].had, cases[i].waited));
		if (cases[i].dirty)
			node_set_dirty(nodes, node, 0);
		struct node *found = enter(nodes, parent, "a.md", document(cases[i].finds, cases[i].waits));
		if ((found == node) != cases[i].same)
			fail_msg("%s", cases[i].name);
		/* What came is noted: the next other head is again one from elsewhere. */
		if (cases[i].same && !cases[i].waits)
			assert_ptr_not_equal(enter(nodes, parent, "a.md", document(&person, false)), node);
		nodes_free(nodes, no_release, NULL);
	}
}

static void test_superseded_remembers_its_name(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct node *old = enter(nodes, parent, "a.md", document(&one, false));
	struct node *new = enter(nodes, parent, "a.md", document(&two, false));
	struct place place;

	assert_ptr_not_equal(old, new);
	assert_int_equal(node_place(nodes, old, &place), 0);
	assert_string_equal(place.name, "a.md");
	assert_memory_equal(&place.directory, &directory, sizeof(directory));
	assert_false(node_agrees(nodes, old, &one, false, 9));
	assert_true(node_agrees(nodes, new, &two, false, 9));
	assert_false(node_agrees(nodes, new, &one, false, 9));

	struct node *child = node_child(nodes, parent, "a.md");
	assert_ptr_equal(child, new);
	node_unpin(nodes, child);
	node_leave(nodes, parent, "a.md", true);
	assert_int_equal(node_place(nodes, new, &place), -ESTALE);
	nodes_free(nodes, no_release, NULL);
}

static void test_another_type_is_another_node(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct identity link = document(&two, false);
	struct node *file = enter(nodes, parent, "a", document(&one, true));

	link.type = S_IFLNK;
	assert_ptr_not_equal(enter(nodes, parent, "a", link), file);
	nodes_free(nodes, no_release, NULL);
}

static void test_moves(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct node *inner = enter(nodes, parent, "guides", folder(&one));
	struct node *a = enter(nodes, parent, "a.md", document(&one, false));
	struct node *b = enter(nodes, inner, "b.md", document(&two, false));
	struct place place;
	char path[64];

	assert_int_equal(node_exchange(nodes, parent, "a.md", inner, "b.md"), 0);
	assert_int_equal(node_place(nodes, a, &place), 0);
	assert_string_equal(place.name, "b.md");
	assert_memory_equal(&place.directory, &one, sizeof(one));
	assert_int_equal(node_move(nodes, parent, "guides", parent, "soil"), 0);
	node_path(nodes, a, NULL, path, sizeof(path));
	assert_string_equal(path, "alice/soil/b.md");
	node_path(nodes, parent, "x", path, sizeof(path));
	assert_string_equal(path, "alice/x");
	node_leave(nodes, inner, "b.md", true);
	assert_int_equal(node_move(nodes, parent, "a.md", inner, "b.md"), 0);
	assert_int_equal(node_place(nodes, a, &place), -ESTALE);
	assert_int_equal(node_place(nodes, b, &place), 0);
	assert_int_equal(node_move(nodes, parent, "none", inner, "c"), -ENOENT);
	nodes_free(nodes, no_release, NULL);
}

static void test_local_files_have_names(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	char expected[128], id[ID_TEXT_SIZE + 1], where[128], name[32];
	struct node *git = enter(nodes, parent, ".git", local(S_IFDIR, 1));
	struct node *a = enter(nodes, git, "a", local(S_IFREG, 2));

	assert_ptr_equal(enter(nodes, git, "b", local(S_IFREG, 2)), a);
	assert_ptr_not_equal(enter(nodes, git, "c", local(S_IFREG, 3)), a);
	id_format(id, &directory);
	snprintf(expected, sizeof(expected), "%s/.git", id);
	assert_int_equal(node_scratch_path(nodes, a, where, sizeof(where), name, sizeof(name)), 0);
	assert_string_equal(where, expected);
	node_leave(nodes, git, "b", false);
	assert_int_equal(node_scratch_path(nodes, a, where, sizeof(where), name, sizeof(name)), 0);
	assert_string_equal(name, "a");
	assert_int_equal(node_scratch_path(nodes, git, where, sizeof(where), NULL, 0), 0);
	assert_string_equal(where, expected);
	assert_int_equal(node_scratch_path(nodes, git, where, 8, NULL, 0), -ENAMETOOLONG);

	/* The last name goes: its number on the disk may be another file's now. */
	node_leave(nodes, git, "a", true);
	assert_int_equal(node_scratch_path(nodes, a, where, sizeof(where), name, sizeof(name)), -ESTALE);
	assert_ptr_not_equal(enter(nodes, git, "d", local(S_IFREG, 2)), a);
	nodes_free(nodes, no_release, NULL);
}

static void test_becomes_a_document(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct node *node = enter(nodes, parent, ".t", local(S_IFREG, 5));
	struct identity identity = document(&none, true);

	node_become(nodes, node, &identity);
	assert_int_equal(node_move(nodes, parent, ".t", parent, "t.md"), 0);
	assert_ptr_equal(enter(nodes, parent, "t.md", document(&one, false)), node);
	assert_ptr_not_equal(enter(nodes, parent, ".t", local(S_IFREG, 5)), node);
	nodes_free(nodes, no_release, NULL);
}

static bool any(const struct open *open)
{
	return true;
}

static void release_one(void *context, struct open *open)
{
	*(int *)context += 1;
	open_free(open);
}

static void test_open_is_held(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct node *node = enter(nodes, parent, "a.md", document(&one, false));
	uint64_t number = node->number;
	struct open *open = open_new(OPEN_DOCUMENT, O_RDWR, 0), *left = open_new(OPEN_TEXT, O_RDONLY, 0);
	int released = 0;

	assert_non_null(open);
	assert_non_null(left);
	node_add_open(nodes, node, open);
	node_forget(nodes, number, 1);
	assert_non_null(node_find(nodes, number));
	assert_ptr_equal(node_hold_open(nodes, node, any), open);
	/* Whoever holds it last ends it. */
	assert_false(node_drop_open(nodes, open));
	assert_null(node_find(nodes, number));
	assert_true(node_let_go(nodes, open));
	open_free(open);
	assert_false(node_let_go(nodes, NULL));

	node_add_open(nodes, parent, left);
	nodes_free(nodes, release_one, &released);
	assert_int_equal(released, 1);
}

static void test_directory_is_found(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);

	struct node *found = node_of_directory(nodes, &person, &directory);
	assert_ptr_equal(found, parent);
	node_unpin(nodes, found);
	assert_null(node_of_directory(nodes, &person, &one));
	assert_null(node_of_directory(nodes, &one, &directory));
	nodes_free(nodes, no_release, NULL);
}

#define DEEP 100000

static void test_deep_path_is_no_recursion(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct node *node = parent;
	char where[256];

	for (ino_t i = 0; i < DEEP; i++) {
		struct node *child = enter(nodes, node, ".d", local(S_IFDIR, 100 + i));
		node_forget(nodes, node->number, 1);
		node = child;
	}
	assert_int_equal(node_scratch_path(nodes, node, where, sizeof(where), NULL, 0), -ENAMETOOLONG);
	assert_int_equal(count(nodes), DEEP + 2);
	node_forget(nodes, node->number, 1);
	assert_int_equal(count(nodes), 1);
	nodes_free(nodes, no_release, NULL);
}

static bool leads(struct nodes *nodes, struct node *node, const struct node *parent, const char *name)
{
	char found[SHOWN_NAME_MAX + 1];
	struct node *folder = NULL;

	if (node_name(nodes, node, &folder, found) < 0)
		return false;
	bool equal = folder == parent && strcmp(found, name) == 0;
	node_unpin(nodes, folder);
	return equal;
}

static void test_remembers_the_name_that_it_had(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	struct place place;

	/* Removed; replaced by a rename; a local file with another name left. */
	struct node *removed = enter(nodes, parent, "a.md", document(&one, false));
	node_leave(nodes, parent, "a.md", true);
	struct node *replaced = enter(nodes, parent, "b.md", document(&one, false));
	enter(nodes, parent, "c.md", document(&two, false));
	assert_int_equal(node_move(nodes, parent, "c.md", parent, "b.md"), 0);
	struct node *linked = enter(nodes, parent, ".one", local(S_IFREG, 1));
	assert_ptr_equal(enter(nodes, parent, ".two", local(S_IFREG, 1)), linked);
	node_leave(nodes, parent, ".two", false);

	assert_true(leads(nodes, removed, parent, "a.md"));
	assert_true(leads(nodes, replaced, parent, "b.md"));
	assert_true(leads(nodes, linked, parent, ".one"));
	assert_int_equal(node_place(nodes, removed, &place), -ESTALE);
	assert_int_equal(node_place(nodes, replaced, &place), -ESTALE);
	/* Named again, it has forgotten. */
	node_leave(nodes, parent, ".one", true);
	assert_true(leads(nodes, linked, parent, ".one"));

	/* It holds the folder, and no longer than it lives. */
	uint64_t number = parent->number;
	node_forget(nodes, enter(nodes, parent, "b.md", document(&two, false))->number, 2);
	node_forget(nodes, linked->number, 2);
	node_forget(nodes, removed->number, 1);
	node_forget(nodes, number, 1);
	assert_non_null(node_find(nodes, number));
	node_forget(nodes, replaced->number, 1);
	assert_null(node_find(nodes, number));
	assert_int_equal(count(nodes), 1);
	nodes_free(nodes, no_release, NULL);
}

static void test_a_node_with_a_last_name_is_freed_with_the_table(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	enter(nodes, parent, "a.md", document(&one, false));
	node_leave(nodes, parent, "a.md", true);
	nodes_free(nodes, no_release, NULL);
}

static void test_what_the_kernel_knows(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	mode_t type = 0;
	struct identity identity = document(&one, false);
	identity.ino = 77;
	identity.told_ms = 1000;

	assert_int_equal(node_known(nodes, parent, "a.md", &one, 0, &type), 0);
	struct node *node = enter(nodes, parent, "a.md", identity);
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 1000, &type), 77);
	assert_int_equal(type, S_IFREG);
	/* Too long ago, another head, another name. */
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 1001, &type), 0);
	assert_int_equal(node_known(nodes, parent, "a.md", &two, 1000, &type), 0);
	assert_int_equal(node_known(nodes, parent, "b.md", &one, 1000, &type), 0);
	identity.told_ms = 2000;
	enter(nodes, parent, "a.md", identity);
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 1001, &type), 77);
	/* What is being changed is told anew; what is forgotten too. */
	node_set_dirty(nodes, node, 0);
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 0, &type), 0);
	node_agrees(nodes, node, &one, false, 9);
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 0, &type), 77);
	node_pin(nodes, node);
	node_forget(nodes, node->number, 2);
	assert_int_equal(node_known(nodes, parent, "a.md", &one, 0, &type), 0);
	node_unpin(nodes, node);
	/* A local file is none. */
	enter(nodes, parent, ".x", local(S_IFREG, 5));
	assert_int_equal(node_known(nodes, parent, ".x", &none, 0, &type), 0);
	nodes_free(nodes, no_release, NULL);
}

/* What the kernel was told of first is to go first; not what is in use. */
static void test_too_many_are_told_to_go(void **state)
{
	struct node *parent, *pinned = NULL;
	struct nodes *nodes = table(&parent);
	char name[SHOWN_NAME_MAX + 1], wanted[32];
	uint64_t number, from = parent->number + 1;
	struct node *child;
	unsigned gone = 0;

	assert_false(node_surplus(nodes, &number, name));
	for (unsigned i = 0; i < NODES_MAX; i++) {
		assert_int_equal(nodes_are_many(nodes), count(nodes) > NODES_MAX);
		snprintf(name, sizeof(name), "%u.md", i);
		child = enter(nodes, parent, name, document(&one, false));
		if (i == 1)
			node_pin(nodes, pinned = child);
	}
	assert_true(nodes_are_many(nodes));
	for (; node_surplus(nodes, &number, name); gone++) {
		snprintf(wanted, sizeof(wanted), "%u.md", gone == 0 ? 0 : gone + 1); /* the second is pinned */
		assert_string_equal(name, wanted);
		assert_int_equal(number, parent->number);
		node_forget(nodes, from + (gone == 0 ? 0 : gone + 1), 1);
	}
	assert_in_range(gone, NODES_MAX / 4, NODES_MAX / 4 + 3);
	assert_false(nodes_are_many(nodes));
	assert_ptr_equal(node_find(nodes, pinned->number), pinned);
	nodes_free(nodes, no_release, NULL);
}

/* The kernel is not asked again and again to let go of what it needs: each time all are passed by. */
static void test_those_in_use_are_not_gone_through_for_each_more(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	char name[SHOWN_NAME_MAX + 1];
	uint64_t number, looks = 0;

	for (unsigned i = 0; i < 2 * NODES_MAX; i++) {
		snprintf(name, sizeof(name), "%u.md", i);
		node_pin(nodes, enter(nodes, parent, name, document(&one, false)));
		if (nodes_are_many(nodes)) {
			assert_false(node_surplus(nodes, &number, name));
			looks++;
		}
	}
	assert_in_range(looks, 1, 8);
	nodes_free(nodes, no_release, NULL);
}

/* New ones that were saved and never looked at again. */
static void test_too_many_new_ones_are_told_to_go(void **state)
{
	struct node *parent;
	struct nodes *nodes = table(&parent);
	char name[SHOWN_NAME_MAX + 1];
	uint64_t number;

	for (unsigned i = 0; i < NODES_MAX; i++) {
		snprintf(name, sizeof(name), "%u.md", i);
		node_set_dirty(nodes, enter(nodes, parent, name, document(&none, true)), 0);
	}
	assert_true(nodes_are_many(nodes));
	assert_true(node_surplus(nodes, &number, name));
	assert_string_equal(name, "0.md");
	nodes_free(nodes, no_release, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives_while_counted),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_superseded_remembers_its_name),
		cmocka_unit_test(test_another_type_is_another_node),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_local_files_have_names),
		cmocka_unit_test(test_becomes_a_document),
		cmocka_unit_test(test_open_is_held),
		cmocka_unit_test(test_directory_is_found),
		cmocka_unit_test(test_deep_path_is_no_recursion),
		cmocka_unit_test(test_remembers_the_name_that_it_had),
		cmocka_unit_test(test_a_node_with_a_last_name_is_freed_with_the_table),
		cmocka_unit_test(test_what_the_kernel_knows),
		cmocka_unit_test(test_those_in_use_are_not_gone_through_for_each_more),
		cmocka_unit_test(test_too_many_new_ones_are_told_to_go),
		cmocka_unit_test(test_too_many_are_told_to_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
