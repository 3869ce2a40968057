/* test_core_strangers.c - what those may cost whom nobody here follows, and what they may call themselves. */
#include "core_kit.h"
#include "core_private.h"

#define DAY_MS UINT64_C(86400000)

static struct world w;

static bool has(struct node *node, const struct id *device)
{
	const struct depot *depot = memory_depot(node->memory);
	struct head head;

	return depot->calls->head(depot->context, device, &head) == 0;
}

/* A node that says it is a device of `person`. */
static struct node *add_device(const struct id *person)
{
	struct core_options options = { .clock = w.clock, .peers_aim = 8 };
	struct node *node = &w.nodes[w.node_count++];

	node->world = &w;
	snprintf(node->address, sizeof(node->address), "10.2.0.%zu:4040", w.node_count);
	key_create(&node->key, &w.clock);
	node->memory = memory_new(w.blobs, &node->key, person, &w.clock);
	memory_append_profile(node->memory, "so called");
	memory_save(node->memory, NULL, NULL, "from a device", 13, NULL);
	memory_sync(node->memory);
	node->core = core_new(&options, memory_depot(node->memory));
	assert_non_null(node->core);
	return node;
}

static void admit(struct node *by, const struct node *device)
{
	struct record *r = record_new();

	r->field = FIELD_ADMIT;
	r->admit.device = device->key.public;
	r->admit.on = true;
	memory_append(by->memory, r, NULL);
	memory_sync(by->memory);
	free(r);
}

struct seen {
	struct id device, person;
	bool found;
};

static void see(void *context, const struct peer_view *view)
{
	struct seen *seen = context;

	if (!view->session || !id_equal(&view->device, &seen->device))
		return;
	seen->person = view->person;
	seen->found = true;
}

static struct id person_shown(struct node *at, const struct node *peer)
{
	struct seen seen = { .device = peer->key.public };

	core_each_peer(at->core, see, &seen);
	assert_true(seen.found);
	return seen.person;
}

/* Who only says that he is somebody is shown as the device that he has shown to be. */
static void test_a_claim_is_no_person(void **state)
{
	struct id person;

	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	struct node *thief = add_device(&a->key.public), *phone = add_device(&a->key.public);
	admit(a, phone);
	assert_non_null(join_nodes(thief, b, NULL));
	assert_non_null(join_nodes(phone, b, NULL));
	world_run(&w, 2000);
	person = person_shown(b, thief);
	assert_true(id_is_zero(&person));
	assert_true(id_is_zero(&b->last[EVENT_READY].person));
	person = person_shown(b, phone);
	assert_true(id_is_zero(&person)); /* not known yet */
	node_follow(b, a, true);
	assert_non_null(join_nodes(a, b, NULL));
	world_run(&w, 2000);
	person = person_shown(b, a);
	assert_true(id_equal(&person, &a->key.public));
	person = person_shown(b, phone);
	assert_true(id_equal(&person, &a->key.public));
	person = person_shown(b, thief);
	assert_true(id_is_zero(&person));
	world_end(&w);
}

/* So many a day; the second half of them only those whom we dialled. */
static void test_introductions_have_an_end(void **state)
{
	world_begin(&w);
	struct node *b = node_add(&w), *n[5];

	for (int i = 0; i < 5; i++)
		n[i] = node_add(&w);
	assert_non_null(join_nodes(n[0], b, NULL));
	world_run(&w, 1000);
	assert_true(has(b, &n[0]->key.public));
	assert_int_equal(b->core->strangers.used, 1);
	b->core->strangers.used = STRANGERS_DAY / 2;
	assert_non_null(join_nodes(n[1], b, NULL));
	assert_non_null(join_nodes(b, n[2], NULL));
	world_run(&w, 1000);
	assert_false(has(b, &n[1]->key.public));
	assert_true(has(b, &n[2]->key.public));
	b->core->strangers.used = STRANGERS_DAY;
	assert_non_null(join_nodes(b, n[3], NULL));
	node_follow(b, n[4], true); /* who is followed is no stranger */
	assert_non_null(join_nodes(n[4], b, NULL));
	world_run(&w, 1000);
	assert_false(has(b, &n[3]->key.public));
	assert_true(has(b, &n[4]->key.public));
	w.now_ms += DAY_MS;
	for (int i = 1; i < 5; i++)
		node_down(n[i]);
	node_up(n[1]);
	assert_non_null(join_nodes(n[1], b, NULL));
	world_run(&w, 1000);
	assert_true(has(b, &n[1]->key.public));
	world_end(&w);
}

static struct node *liar;
static struct id lied_person;

/* All logs that it has are those of one person, it says. */
static int say_theirs(void *context, const struct id *entity, int (*visit)(void *visitor, const struct head *head),
		      void *visitor)
{
	const struct depot *depot = memory_depot(liar->memory);
	struct head head;

	if (!id_equal(entity, &lied_person) || depot->calls->head(depot->context, &liar->key.public, &head) < 0)
		return 0;
	head.person = lied_person;
	return visit(visitor, &head);
}

/* Of devices that a peer calls those of somebody followed, and nobody has admitted, only so much is taken. */
static void test_devices_that_nobody_admitted(void **state)
{
	static const struct {
		const char *name;
		uint64_t used;
		bool admitted, taken;
	} cases[] = {
		{ "an allowance", 0, false, true },
		{ "no allowance", STRANGE_DAY + 1000, false, false },
		{ "no allowance, but admitted", STRANGE_DAY + 1000, true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		world_begin(&w);
		struct node *a = node_add(&w), *b = node_add(&w);
		struct core_options options = { .clock = w.clock, .peers_aim = 8 };
		print_message("%s\n", cases[i].name);
		liar = add_device(&a->key.public);
		lied_person = a->key.public;
		node_down(liar);
		struct depot depot = *memory_depot(liar->memory);
		struct depot_calls calls = *depot.calls;
		calls.each_head_of = say_theirs;
		depot.calls = &calls;
		liar->core = core_new(&options, &depot);
		if (cases[i].admitted)
			admit(a, liar);
		node_follow(b, a, true);
		assert_non_null(join_nodes(a, b, NULL));
		world_run(&w, 1000);
		b->core->strangers.used = STRANGERS_DAY + 1000;
		b->core->strange.used = cases[i].used;
		assert_non_null(join_nodes(liar, b, NULL));
		world_run(&w, 2000);
		assert_int_equal(has(b, &liar->key.public), cases[i].taken);
		assert_int_equal(b->core->strange.used > cases[i].used, cases[i].taken && !cases[i].admitted);
		world_end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_claim_is_no_person),
		cmocka_unit_test(test_introductions_have_an_end),
		cmocka_unit_test(test_devices_that_nobody_admitted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
