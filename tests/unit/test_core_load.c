/* test_core_load.c - many connections: what is refused, who is served first, and what it costs. */
#include "core_puppet.h"

static struct world w;

static void address_of(char out[ADDRESS_SIZE_MAX], unsigned number)
{
	snprintf(out, ADDRESS_SIZE_MAX, "10.8.%u.%u:5000", number / 250, number % 250 + 1);
}

static struct puppet *new_puppets(size_t count)
{
	struct puppet *puppets = calloc(count, sizeof(*puppets));

	assert_non_null(puppets);
	return puppets;
}

static void end_puppets(struct puppet *puppets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		puppet_end(&puppets[i]);
	free(puppets);
}

/* A puppet that has gone as far as READY, or was refused. */
static bool arrive(struct puppet *p, struct node *node, unsigned number)
{
	char from[ADDRESS_SIZE_MAX];
	struct bytes packet = new_packet();

	address_of(from, number);
	if (!puppet_dial(p, node, from))
		return false;
	for (int waits = 0; p->session && !puppet_find(p, PACKET_READY) && waits < 50; waits++) {
		w.now_ms += 10; /* for a slot */
		core_tick(node->core);
		puppet_drain(p);
	}
	if (!p->session)
		return false;
	packet_put_ready(&packet, &p->key.public, "", 1, 1);
	puppet_send(p, &packet);
	puppet_take(p);
	puppet_forget(p);
	return p->session;
}

static void test_three_hundred_connections(void **state)
{
	enum { COUNT = 300 };
	struct puppet *p = new_puppets(COUNT);
	unsigned there = 0;

	world_begin(&w);
	struct node *node = node_add(&w);
	for (unsigned i = 0; i < COUNT; i++)
		there += arrive(&p[i], node, i);
	assert_int_equal(there, SESSIONS_MAX);
	struct core_counts counts = count_of(node);
	assert_int_equal(counts.sessions, SESSIONS_MAX);
	assert_int_equal(counts.refused, COUNT - SESSIONS_MAX);
	assert_int_equal(counts.half_open, 0);
	assert_true(counts.memory < SESSIONS_MAX * 64 * 1024);
	/* One leaves: there is room again. */
	puppet_end(&p[7]);
	assert_true(arrive(&p[7], node, 1000));
	end_puppets(p, COUNT);
	world_end(&w);
}

static void test_those_known_get_in_when_it_is_full(void **state)
{
	enum { COUNT = SESSIONS_MAX + 1 };
	struct puppet *p = new_puppets(COUNT);

	world_begin(&w);
	struct node *node = node_add(&w);
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		assert_true(arrive(&p[i], node, i));
	/* A friend: the newest stranger makes room. */
	struct puppet *friend = &p[SESSIONS_MAX];
	memset(friend, 0, sizeof(*friend));
	char from[ADDRESS_SIZE_MAX];
	address_of(from, 5000);
	friend->node = node;
	bytes_init(&friend->in, 64 << 20);
	bytes_init(&friend->out, 64 << 20);
	key_create(&friend->key, &w.clock);
	memory_follow(node->memory, &friend->key.public, true);
	core_follows_changed(node->core);
	friend->session = core_connected(node->core, from, false, NULL);
	assert_int_not_equal(friend->session, 0);
	friend->handshake = handshake_new_client(&friend->key, NULL, NULL, &w.clock);
	assert_true(puppet_shake(friend));
	for (int waits = 0; !puppet_find(friend, PACKET_READY) && waits < 50; waits++) {
		w.now_ms += 10;
		core_tick(node->core);
	}
	assert_int_not_equal(friend->session, 0);
	assert_non_null(puppet_find(friend, PACKET_READY));
	assert_int_equal(count_of(node).sessions, SESSIONS_MAX - 1); /* it has not said READY yet */
	end_puppets(p, COUNT);
	world_end(&w);
}

/* Of those that say nothing the oldest makes way: who comes and says hello is not shut out by them. */
static void test_half_open_connections(void **state)
{
	static const uint8_t hello_begun[] = { 1, 1 };
	char from[ADDRESS_SIZE_MAX];
	uint64_t first = 0;

	world_begin(&w);
	struct node *node = node_add(&w);
	for (unsigned i = 0; i < 3 * HALF_OPEN_MAX; i++) {
		address_of(from, i);
		uint64_t session = core_connected(node->core, from, false, NULL);
		assert_int_not_equal(session, 0);
		first = first ? first : session;
		if (session == first) /* the oldest of them all, but it speaks */
			assert_int_equal(core_take(node->core, session, hello_begun, sizeof(hello_begun)), 0);
		assert_true(count_of(node).half_open <= HALF_OPEN_MAX);
	}
	assert_int_equal(count_of(node).half_open, HALF_OPEN_MAX);
	assert_int_equal(count_of(node).refused, 2 * HALF_OPEN_MAX);
	assert_int_equal(core_take(node->core, first, hello_begun + 1, 1), 0); /* it is still there */
	world_run(&w, HANDSHAKE_MS_MAX);
	assert_int_equal(count_of(node).half_open, 0);
	for (uint64_t session = 1; session <= 3 * HALF_OPEN_MAX; session++)
		core_closed(node->core, session);
	address_of(from, 1);
	assert_int_not_equal(core_connected(node->core, from, false, NULL), 0);
	world_end(&w);
}

static void test_one_address_is_a_household(void **state)
{
	unsigned taken = 0, local = 0;
	char from[ADDRESS_SIZE_MAX];

	world_begin(&w);
	struct node *node = node_add(&w);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(from, sizeof(from), "10.5.5.5:%u", 1000 + i);
		taken += core_connected(node->core, from, false, NULL) != 0;
		snprintf(from, sizeof(from), "127.0.0.1:%u", 1000 + i);
		local += core_connected(node->core, from, false, NULL) != 0;
	}
	assert_int_equal(taken, SESSIONS_PER_ADDRESS_MAX);
	assert_int_equal(local, 20);
	world_end(&w);
}

/* Above half of HALF_OPEN_MAX who dials has to show that it is where it says. */
static void test_cookies_under_load(void **state)
{
	static struct puppet p;
	char from[ADDRESS_SIZE_MAX];

	world_begin(&w);
	struct node *node = node_add(&w);
	assert_true(arrive(&p, node, 900));
	assert_int_equal(count_of(node).cookies, 0);
	puppet_end(&p);
	for (unsigned i = 0; i <= HALF_OPEN_MAX / 2; i++) {
		address_of(from, i);
		core_connected(node->core, from, false, NULL);
	}
	assert_true(arrive(&p, node, 901));
	assert_int_equal(count_of(node).cookies, 1);
	puppet_end(&p);
	world_end(&w);
}

/* A wave of strangers: they wait their turn, a friend does not, and before long a price is asked. */
static void test_a_wave_of_strangers(void **state)
{
	enum { COUNT = 1200 };
	static struct puppet p;
	unsigned in = 0;

	world_begin(&w);
	struct node *node = node_add(&w);
	for (unsigned i = 0; i < COUNT; i++) {
		char from[ADDRESS_SIZE_MAX];
		address_of(from, i);
		in += puppet_dial(&p, node, from) && puppet_find(&p, PACKET_READY) != NULL;
		if (p.session && !puppet_find(&p, PACKET_READY)) {
			core_closed(node->core, p.session);
			p.session = 0;
		}
		puppet_end(&p);
		w.now_ms += 1; /* a thousand a second */
		core_tick(node->core);
	}
	assert_in_range(in, 50 + 100, 50 + 150); /* the slots of 1.2 s, and those saved up */
	world_end(&w);
}

/* ---- two sessions with one device ---- */

static void test_both_dial_at_once(void **state)
{
	for (int swap = 0; swap < 2; swap++) {
		world_begin(&w);
		struct node *a = node_add(&w), *b = node_add(&w);
		if (swap) {
			struct node *other = a;
			a = b;
			b = other;
		}
		struct cable *ab = join_nodes(a, b, NULL), *ba = join_nodes(b, a, NULL);
		assert_true(ab && ba);
		world_run(&w, 5000);
		assert_int_equal(count_of(a).sessions, 1);
		assert_int_equal(count_of(b).sessions, 1);
		assert_int_equal(ab->open + ba->open, 1);
		world_end(&w);
	}
}

/* b was cut off without a word and dials again: the new session is the one that lives. */
static void test_a_second_session_replaces_a_dead_one(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	struct cable *first = join_nodes(b, a, NULL);

	world_run(&w, 1000);
	first->ends[0].held = first->ends[1].held = true;
	core_closed(b->core, first->ends[0].session); /* b knows, a does not */
	first->ends[0].session = 0;
	first->ends[0].node = NULL;
	struct cable *second = join_nodes(b, a, NULL);
	world_run(&w, 1000);
	assert_true(second->open);
	assert_int_equal(count_of(a).sessions, 1);
	assert_int_equal(count_of(b).sessions, 1);
	world_end(&w);
}

static void test_dialling_oneself(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w);
	struct cable *c = join_nodes(a, a, NULL);

	world_run(&w, 1000);
	assert_int_equal(count_of(a).sessions, 0);
	assert_true(!c || !c->open);
	world_end(&w);
}

/* Memory is what is under way, and is given back. */
static void test_memory_is_given_back(void **state)
{
	enum { COUNT = 30 };
	struct node *n[COUNT];
	static uint8_t text[50000];

	world_begin(&w);
	for (int i = 0; i < COUNT; i++)
		n[i] = node_add(&w);
	for (int i = 0; i < 100; i++) {
		clock_random(&w.clock, text, sizeof(text));
		memory_save(n[0]->memory, NULL, NULL, text, sizeof(text), NULL);
	}
	memory_sync(n[0]->memory);
	uint64_t before = count_of(n[0]).memory;
	for (int i = 1; i < COUNT; i++) {
		node_follow(n[i], n[0], true);
		join_nodes(n[i], n[0], NULL);
	}
	world_run(&w, 5000);
	for (int i = 1; i < COUNT; i++)
		assert_int_equal(memory_missing(n[i]->memory), 0);
	uint64_t during = count_of(n[0]).memory;
	assert_true(during - before < COUNT * 48 * 1024);
	for (size_t i = 0; i < w.cable_count; i++)
		cable_cut(&w.cables[i]);
	world_settle(&w);
	uint64_t after = count_of(n[0]).memory;
	assert_true(after < before + 300 * 1024);
	assert_int_equal(count_of(n[0]).queued_bytes, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_hundred_connections),
		cmocka_unit_test(test_those_known_get_in_when_it_is_full),
		cmocka_unit_test(test_half_open_connections),
		cmocka_unit_test(test_one_address_is_a_household),
		cmocka_unit_test(test_cookies_under_load),
		cmocka_unit_test(test_a_wave_of_strangers),
		cmocka_unit_test(test_both_dial_at_once),
		cmocka_unit_test(test_a_second_session_replaces_a_dead_one),
		cmocka_unit_test(test_dialling_oneself),
		cmocka_unit_test(test_memory_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
