/* test_core_find.c - who follows what we follow is found through peers of peers, at a bounded cost. */
#include "core_kit.h"
#include "book.h"

#define MINUTE_MS (60 * 1000)

static struct world w;

/* As if it had spoken to it there before. */
static void remember(struct node *node, const struct node *other)
{
	const struct depot *depot = memory_depot(node->memory);
	char key[BOOK_KEY_PREFIX_SIZE + ADDRESS_SIZE_MAX] = BOOK_KEY_PREFIX;
	uint8_t value[BOOK_VALUE_SIZE] = { 0 };

	memcpy(key + BOOK_KEY_PREFIX_SIZE, other->address, strlen(other->address));
	memcpy(value, other->key.public.bytes, ID_SIZE);
	value[ID_SIZE] = 1;
	depot->calls->remember(depot->context, key, BOOK_KEY_PREFIX_SIZE + strlen(other->address), value, sizeof(value));
}

/* A ring on which each knows the two before it and the two after it. */
static void begin_ring(size_t count, unsigned aim)
{
	world_begin(&w);
	for (size_t i = 0; i < count; i++) {
		struct node *node = node_add(&w);
		node_down(node);
		node->dial = true;
		node->aim = aim;
	}
	for (size_t i = 0; i < count; i++)
		for (size_t step = 1; step <= 2; step++) {
			remember(&w.nodes[i], &w.nodes[(i + step) % count]);
			remember(&w.nodes[i], &w.nodes[(i + count - step) % count]);
		}
}

static void all_up(void)
{
	for (size_t i = 0; i < w.node_count; i++)
		node_up(&w.nodes[i]);
}

static bool has_log(struct node *node, const struct id *device)
{
	const struct depot *depot = memory_depot(node->memory);
	struct head head;

	return depot->calls->head(depot->context, device, &head) == 0 && head.seq > 0;
}

static bool same_log(struct node *a, struct node *b)
{
	const struct depot *to = memory_depot(a->memory), *from = memory_depot(b->memory);
	struct head got, made;

	return from->calls->head(from->context, &b->key.public, &made) == 0 &&
	       to->calls->head(to->context, &b->key.public, &got) == 0 && got.seq == made.seq;
}

static struct cable *joined(const struct node *a, const struct node *b)
{
	for (size_t i = 0; i < w.cable_count; i++) {
		struct cable *c = &w.cables[i];
		if (c->open && c->ends[0].node == a && c->ends[1].node == b)
			return c;
	}
	return NULL;
}

/* A log that only `keeper` has, of somebody who is not there. */
static void give_log(struct node *keeper, struct key *out_key)
{
	key_create(out_key, &w.clock);
	struct memory *author = memory_new(w.blobs, out_key, NULL, &w.clock);
	struct node gone = { .memory = author };

	memory_append_profile(author, "gone");
	memory_save(author, NULL, NULL, "what is left", 12, NULL);
	memory_sync(author);
	memory_follow(keeper->memory, &out_key->public, true);
	struct core_options options = { .clock = w.clock, .peers_aim = 8 };
	/* By the core itself: two nodes that meet once. */
	struct core *core = core_new(&options, memory_depot(author));
	assert_non_null(core);
	gone.core = core;
	gone.world = &w;
	strcpy(gone.address, "10.3.0.1:4040");
	struct node *spare = &w.nodes[w.node_count++];
	*spare = gone;
	node_up(keeper);
	assert_non_null(join_nodes(keeper, spare, NULL));
	world_run(&w, 1000);
	assert_true(has_log(keeper, &out_key->public));
	node_down(spare);
	node_down(keeper);
	memory_free(author);
	*spare = (struct node){ 0 };
	w.node_count--;
}

static uint64_t dials_of_all(void)
{
	uint64_t dials = 0;

	for (size_t i = 0; i < w.node_count; i++)
		dials += w.nodes[i].told[EVENT_DIAL];
	return dials;
}

/* Sixty nodes with few sessions each; one on the other side of the ring has what this one follows. */
static void test_one_far_away_is_found(void **state)
{
	struct key key;

	begin_ring(60, 4);
	struct node *seeker = &w.nodes[0], *keeper = &w.nodes[30];
	give_log(keeper, &key);
	memory_follow(seeker->memory, &key.public, true);
	all_up();
	uint64_t begun_ms = w.now_ms;
	while (!has_log(seeker, &key.public)) {
		assert_true(w.now_ms - begun_ms < 10 * MINUTE_MS);
		world_run(&w, 1000);
	}
	assert_true(seeker->told[EVENT_DIAL] < 80);
	/* Who misses nobody hardly moves: one try in ten minutes, and what others let go for theirs. */
	uint64_t before = dials_of_all();
	world_run(&w, 4 * MINUTE_MS);
	assert_true(dials_of_all() - before < 60 * 2);
	assert_true(count_of(seeker).sessions <= 3 * 4);
	world_end(&w);
}

/* Nobody has it: ever more seldom is it looked for, and who is a source of others stays. */
static void test_what_nobody_has(void **state)
{
	struct key key;

	begin_ring(14, 3);
	struct node *seeker = &w.nodes[0], *source = &w.nodes[1];
	key_create(&key, &w.clock);
	memory_follow(seeker->memory, &key.public, true);
	memory_follow(seeker->memory, &source->key.public, true);
	source->dial = false; /* so it does not end sessions either */
	all_up();
	world_run(&w, 20 * MINUTE_MS);
	uint64_t searched = seeker->told[EVENT_DIAL];
	assert_in_range(searched, 12, 60);
	struct cable *cable = joined(seeker, source);
	assert_non_null(cable);
	for (int i = 0; i < 4; i++) {
		world_run(&w, 10 * MINUTE_MS);
		node_save(source, "still here", NULL);
		world_run(&w, 1000);
		assert_true(same_log(seeker, source));
		assert_true(cable->open);
	}
	assert_true(seeker->told[EVENT_DIAL] - searched < 4 * 6);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_far_away_is_found),
		cmocka_unit_test(test_what_nobody_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
