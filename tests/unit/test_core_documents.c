/* test_core_documents.c - documents followed whoever writes them. */
#include "core_kit.h"

#define MINUTE_MS (60 * 1000)

static struct world w;

static bool reads(struct node *node, const struct id *version, const char *text)
{
	uint8_t got[256];
	ssize_t size = memory_read(node->memory, version, got, sizeof(got));

	return size == (ssize_t)strlen(text) && memcmp(got, text, (size_t)size) == 0;
}

static void save_version(struct node *node, const struct id *document, const struct id *parent, const char *text,
			 struct id *out)
{
	memory_save(node->memory, document, parent, text, strlen(text), out);
	core_appended(node->core);
}

static void follow_document(struct node *node, const struct id *document, bool on)
{
	memory_follow_document(node->memory, document, on);
	core_follows_changed(node->core);
}

static bool has_more_than_name(struct node *node, const struct node *whose)
{
	const struct depot *depot = memory_depot(node->memory);
	struct head head;

	return depot->calls->head(depot->context, &whose->key.public, &head) == 0 && head.seq > 0;
}

/* a writes it, c has a version of his own of it; b follows the document, and neither of them. */
static void begin(struct node **a, struct node **b, struct node **c, struct id *document, struct id *version)
{
	world_begin(&w);
	*a = node_add(&w);
	*b = node_add(&w);
	*c = node_add(&w);
	save_version(*a, NULL, NULL, "as it began", document);
	save_version(*c, NULL, NULL, "something else", NULL);
	save_version(*c, document, document, "as c has it", version);
	world_settle(&w);
}

static void test_authors_are_found_and_read(void **state)
{
	struct node *a, *b, *c;
	struct id document, version, other;

	begin(&a, &b, &c, &document, &version);
	assert_non_null(join_nodes(b, a, NULL));
	assert_non_null(join_nodes(b, c, NULL));
	world_run(&w, 1000);
	assert_false(has_more_than_name(b, c)); /* not followed yet */
	follow_document(b, &document, true);
	world_run(&w, 2000);
	assert_true(reads(b, &document, "as it began"));
	assert_true(reads(b, &version, "as c has it"));
	assert_int_equal(memory_pieces(b->memory), 2); /* of the other document of c none */
	assert_true(count_of(b).records_in >= 4);      /* though its record: a log is a chain */

	/* From then on they are told of what is new, and of the document alone the text comes. */
	save_version(c, &document, &version, "a second time", &version);
	save_version(c, NULL, NULL, "not for b", &other);
	world_run(&w, 1000);
	assert_true(reads(b, &version, "a second time"));
	assert_int_equal(memory_read(b->memory, &other, (uint8_t[64]){ 0 }, 64), -ENODATA);
	assert_int_equal(memory_pieces(b->memory), 3);
	world_end(&w);
}

/* Unfollowed, nothing of it is asked for or taken any more. */
static void test_unfollow_ends_it(void **state)
{
	struct node *a, *b, *c;
	struct id document, version;

	begin(&a, &b, &c, &document, &version);
	assert_non_null(join_nodes(b, c, NULL));
	follow_document(b, &document, true);
	world_run(&w, 2000);
	assert_true(reads(b, &version, "as c has it"));
	follow_document(b, &document, false);
	world_run(&w, 1000);
	uint64_t records = memory_records(b->memory);
	save_version(c, &document, &version, "too late", &version);
	world_run(&w, 30 * MINUTE_MS);
	assert_int_equal(memory_records(b->memory), records);
	world_end(&w);
}

/* Whoever begins to write it later, also if he is known by name alone, and through one who follows him. */
static void test_a_new_author_is_noticed(void **state)
{
	struct node *a, *b, *c;
	struct id document, version;

	world_begin(&w);
	a = node_add(&w);
	b = node_add(&w);
	c = node_add(&w);
	save_version(a, NULL, NULL, "as it began", &document);
	node_follow(a, c, true);
	assert_non_null(join_nodes(b, a, NULL));
	assert_non_null(join_nodes(a, c, NULL));
	follow_document(b, &document, true);
	world_run(&w, 20000);
	assert_true(reads(b, &document, "as it began"));
	save_version(c, &document, &document, "c begins", &version);
	world_run(&w, 8000);
	assert_true(reads(b, &version, "c begins"));
	world_end(&w);
}

/* ---- a peer that names whom it likes ---- */

#define NAMES 10000
static unsigned names_asked;

static int name_many(void *context, const struct id *document, int (*visit)(void *visitor, const struct id *entity), void *visitor)
{
	int stop = 0;

	for (unsigned i = 0; stop == 0 && i < NAMES; i++) {
		struct id id;
		id_of_spans(&id, (struct span[]){ { &i, sizeof(i) }, { &names_asked, sizeof(names_asked) } }, 2);
		stop = visit(visitor, &id);
	}
	names_asked++;
	return stop;
}

static void test_ten_thousand_authors_cost_little(void **state)
{
	struct node *a, *b, *c;
	struct id document, version;
	struct depot_calls calls;
	struct depot liar;

	begin(&a, &b, &c, &document, &version);
	node_down(a);
	liar = *memory_depot(a->memory);
	calls = *liar.calls;
	calls.each_author = name_many;
	liar.calls = &calls;
	struct core_options options = { .clock = w.clock, .peers_aim = 8 };
	a->core = core_new(&options, &liar);
	names_asked = 0;
	follow_document(b, &document, true);
	struct cable *cable = join_nodes(b, a, NULL);
	assert_non_null(cable);
	world_run(&w, 1000);
	uint64_t memory = count_of(b).memory;
	world_run(&w, 60 * MINUTE_MS);
	assert_in_range(names_asked, 1, 4); /* it is not asked for ever */
	assert_true(cable->carried < 4 * 160 * 1024);
	assert_true(count_of(b).memory < memory + 64 * 1024);
	assert_int_equal(memory_records(b->memory), 2); /* its own name, and that of the liar */
	/* Others are heard all the same. */
	assert_non_null(join_nodes(b, c, NULL));
	world_run(&w, 5000);
	assert_true(reads(b, &version, "as c has it"));
	world_end(&w);
}

static const struct node *named_first, *named_end;

static int name_others(void *context, const struct id *document, int (*visit)(void *visitor, const struct id *entity),
		       void *visitor)
{
	int stop = 0;

	for (const struct node *node = named_first; stop == 0 && node < named_end; node++)
		stop = visit(visitor, &node->key.public);
	return stop;
}

/* Logs that there are, but of no version of the document: a few are looked at, then the peer is believed no more. */
static void test_authors_that_are_none(void **state)
{
	struct node *a, *b, *c;
	struct id document, version;

	begin(&a, &b, &c, &document, &version);
	follow_document(b, &document, true);
	named_first = &w.nodes[w.node_count];
	for (size_t i = 0; i < 40; i++) {
		struct node *other = node_add(&w);
		for (unsigned j = 0; j < 20; j++)
			memory_append_vote(other->memory, j);
		memory_sync(other->memory);
		node_follow(a, other, true);
		assert_non_null(join_nodes(a, other, NULL));
	}
	named_end = &w.nodes[w.node_count];
	world_run(&w, 1000);
	for (const struct node *node = named_first; node < named_end; node++)
		node_down((struct node *)node);
	node_down(a);
	struct depot liar = *memory_depot(a->memory);
	struct depot_calls calls = *liar.calls;
	struct core_options options = { .clock = w.clock, .peers_aim = 8 };
	calls.each_author = name_others;
	liar.calls = &calls;
	a->core = core_new(&options, &liar);
	assert_non_null(join_nodes(b, a, NULL));
	world_run(&w, 180 * MINUTE_MS);
	assert_in_range(memory_records(b->memory), 2 + 21, 2 + 8 * 21);
	assert_non_null(join_nodes(b, c, NULL));
	world_run(&w, 5000);
	assert_true(reads(b, &version, "as c has it"));
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_authors_are_found_and_read),
		cmocka_unit_test(test_unfollow_ends_it),
		cmocka_unit_test(test_a_new_author_is_noticed),
		cmocka_unit_test(test_ten_thousand_authors_cost_little),
		cmocka_unit_test(test_authors_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
