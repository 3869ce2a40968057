/* test_core_live.c - what happens as records are written: pushes, notes, prunes, grafts, receipts, slow readers. */
#include "core_puppet.h"

static struct world w;

static void all_follow(struct node **nodes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++)
			if (i != j)
				node_follow(nodes[i], nodes[j], true);
}

/* Nodes joined each with each. */
static void begin_mesh(struct node **nodes, size_t count)
{
	world_begin(&w);
	for (size_t i = 0; i < count; i++)
		nodes[i] = node_add(&w);
	all_follow(nodes, count);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++)
			assert_non_null(join_nodes(nodes[i], nodes[j], NULL));
	world_run(&w, 2000);
}

static void test_a_push_brings_record_and_piece(void **state)
{
	struct node *n[2];
	struct id version;
	uint8_t text[64];

	begin_mesh(n, 2);
	struct core_counts before = count_of(n[1]);
	node_save(n[0], "at once", &version);
	world_settle(&w);
	struct core_counts after = count_of(n[1]);
	assert_int_equal(memory_read(n[1]->memory, &version, text, sizeof(text)), 7);
	assert_int_equal(after.pushes_in - before.pushes_in, 1);
	assert_int_equal(after.pages_in, before.pages_in); /* nothing had to be asked for */
	assert_int_equal(after.pieces_in - before.pieces_in, 1);
	world_end(&w);
}

static void test_a_large_piece_is_asked_for(void **state)
{
	struct node *n[2];
	struct id version;
	static uint8_t text[300000];

	begin_mesh(n, 2);
	clock_random(&w.clock, text, sizeof(text));
	memory_save(n[0]->memory, NULL, NULL, text, sizeof(text), &version);
	core_appended(n[0]->core);
	world_run(&w, 100);
	assert_int_equal(memory_missing(n[1]->memory), 0);
	assert_true(same(n[0], n[1]));
	world_end(&w);
}

/* On a mesh the pushes of a log settle on a tree: each record comes to each node once, or nearly. */
static void test_pushes_settle_on_a_tree(void **state)
{
	struct node *n[6];
	uint64_t first = 0, later = 0, duplicates;

	begin_mesh(n, 6);
	node_save(n[0], "the first goes everywhere", NULL);
	world_run(&w, 1000);
	for (int i = 0; i < 6; i++)
		first += count_of(n[i]).duplicates;
	assert_true(first > 3);
	for (int i = 0; i < 10; i++) {
		node_save(n[0], "later ones do not", NULL);
		world_run(&w, 1000);
	}
	for (int i = 0; i < 6; i++)
		later += count_of(n[i]).duplicates;
	duplicates = later - first;
	assert_true(duplicates <= 5);
	for (int i = 1; i < 6; i++)
		assert_true(same(n[0], n[i]));
	world_end(&w);
}

/* The link that pushes went by is cut: the note of another neighbour brings the record. */
static void test_a_note_mends_the_tree(void **state)
{
	struct node *n[3];
	struct id version;
	uint8_t text[64];

	begin_mesh(n, 3);
	for (int i = 0; i < 3; i++) {
		node_save(n[0], "grow the tree", NULL);
		world_run(&w, 1000);
	}
	for (size_t i = 0; i < w.cable_count; i++) {
		struct cable *c = &w.cables[i];
		if ((c->ends[0].node == n[0] && c->ends[1].node == n[2]) || (c->ends[0].node == n[2] && c->ends[1].node == n[0]))
			cable_cut(c);
	}
	uint64_t at = w.now_ms;
	node_save(n[0], "another way", &version);
	while (memory_read(n[2]->memory, &version, text, sizeof(text)) != 11) {
		assert_true(w.now_ms - at < 1000);
		world_run(&w, 10);
	}
	/* Grafted: the next one needs no note. */
	at = w.now_ms;
	node_save(n[0], "the new way", &version);
	world_settle(&w);
	assert_int_equal(memory_read(n[2]->memory, &version, text, sizeof(text)), 11);
	world_end(&w);
}

static void test_a_chain_passes_it_on(void **state)
{
	struct node *n[5];
	struct id version;
	uint8_t text[64];

	world_begin(&w);
	for (size_t i = 0; i < 5; i++)
		n[i] = node_add(&w);
	all_follow(n, 5);
	for (size_t i = 1; i < 5; i++)
		join_nodes(n[i], n[i - 1], NULL);
	world_run(&w, 2000);
	for (int i = 1; i < 5; i++)
		assert_true(same(n[0], n[i]));
	node_save(n[0], "to the end", &version);
	world_settle(&w); /* no time passes: pushed all the way, with its piece */
	assert_int_equal(memory_read(n[4]->memory, &version, text, sizeof(text)), 10);
	world_end(&w);
}

/* A burst is noted, and asked for. */
static void test_many_records_at_once(void **state)
{
	struct node *n[2];

	begin_mesh(n, 2);
	for (unsigned i = 0; i < 5000; i++)
		memory_append_vote(n[0]->memory, i);
	core_appended(n[0]->core);
	world_run(&w, 3000);
	assert_true(same(n[0], n[1]));
	assert_int_equal(memory_records(n[1]->memory), 5002);
	assert_int_equal(count_of(n[1]).floods, 0);
	world_end(&w);
}

/* A save a millisecond for some seconds: whoever is quick gets them all, nobody is taken for a flood. */
static void test_a_busy_author(void **state)
{
	struct node *n[3];

	begin_mesh(n, 3);
	for (unsigned i = 0; i < 3000; i++) {
		memory_append_vote(n[0]->memory, i);
		core_appended(n[0]->core);
		world_run(&w, 1);
	}
	world_run(&w, 3000);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(count_of(n[i]).floods, 0);
		assert_true(same(n[0], n[i]));
	}
	world_end(&w);
}

/* ---- receipts ---- */

struct seen {
	unsigned client, server;
};

static int see(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct seen *seen = visitor;
	const uint8_t *bytes = key;

	seen->client += bytes[key_size - 1] == 'c';
	seen->server += bytes[key_size - 1] == 's';
	return 0;
}

static void test_receipts_are_kept_by_both(void **state)
{
	struct node *n[2];
	static uint8_t text[60000];
	struct seen seen[2] = { { 0 } };

	begin_mesh(n, 2);
	for (int i = 0; i < 40; i++) { /* some 2.4 MB that do not compress */
		clock_random(&w.clock, text, sizeof(text));
		memory_save(n[0]->memory, NULL, NULL, text, sizeof(text), NULL);
	}
	core_appended(n[0]->core);
	world_run(&w, 2000);
	assert_int_equal(memory_missing(n[1]->memory), 0);
	assert_true(count_of(n[0]).receipts >= 2);
	assert_int_equal(count_of(n[0]).receipts, count_of(n[1]).receipts);
	for (int i = 0; i < 2; i++)
		memory_depot(n[i]->memory)->calls->each_memory(n[i]->memory, "receipt", 8, see, &seen[i]);
	assert_int_equal(seen[0].server, 1);
	assert_int_equal(seen[1].client, 1);
	assert_int_equal(seen[0].client + seen[1].server, 0);
	world_end(&w);
}

/* Small documents, and the names of their pieces. */
static void save_small(struct node *node, struct id *out_names, size_t count)
{
	static uint8_t member[PIECE_STORED_MAX];
	struct packer *packer = packer_new();
	char text[32];

	for (size_t i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "document %zu", i);
		memory_save(node->memory, NULL, NULL, text, strlen(text), NULL);
		ssize_t size = piece_deflate(packer, (const uint8_t *)text, strlen(text), member);
		assert_true(size > 0);
		id_of_bytes(&out_names[i], member, (size_t)size);
	}
	packer_free(packer);
	core_appended(node->core);
	world_settle(&w);
}

static unsigned count_pages(struct puppet *p, enum query_field field)
{
	unsigned count = 0;

	puppet_take(p);
	for (size_t i = 0; i < p->taken_count; i++) {
		struct page page;
		if (p->taken[i].packet.kind != PACKET_PAGE)
			continue;
		assert_int_equal(page_read(&page, p->taken[i].packet.statement.bytes, p->taken[i].packet.statement.size), 0);
		count += page.field == field;
	}
	return count;
}

/* Who does not thank gets RECEIPTS_OUTSTANDING_MAX shares and what was being made, and is still told heads. */
static void test_who_does_not_thank_waits(void **state)
{
	static struct puppet p;
	static struct id names[RECEIPT_PIECES];

	world_begin(&w);
	struct node *node = node_add(&w);
	save_small(node, names, RECEIPT_PIECES);
	puppet_join(&p, node);
	for (unsigned q = 0; q < 6; q++) {
		struct bytes packet = new_packet();
		packet_put_query_pieces(&packet, 1000 + q, names, RECEIPT_PIECES);
		puppet_send(&p, &packet);
	}
	struct bytes packet = new_packet();
	packet_put_query_heads_all(&packet, 2000, &(struct id){ { 0 } });
	puppet_send(&p, &packet);
	assert_in_range(count_pages(&p, QUERY_PIECES), RECEIPTS_OUTSTANDING_MAX, RECEIPTS_OUTSTANDING_MAX + 1);
	assert_int_equal(count_pages(&p, QUERY_HEADS), 1);
	puppet_end(&p);
	world_end(&w);
}

/* No clock goes: all comes, and is told to have come, as fast as peers answer. */
static void test_a_first_sync_waits_for_nothing(void **state)
{
	enum { DOCUMENTS = 1500 };
	static struct id names[DOCUMENTS];

	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	save_small(a, names, DOCUMENTS);
	world_settle(&w);
	node_follow(b, a, true);
	join_nodes(b, a, NULL);
	world_settle(&w);
	assert_int_equal(memory_pieces(b->memory), DOCUMENTS);
	assert_int_equal(memory_missing(b->memory), 0);
	assert_true(b->told[EVENT_SYNCED] > 0);
	world_end(&w);
}

/* ---- who reads slowly ---- */

static void test_a_slow_reader_costs_little(void **state)
{
	struct node *n[1];
	static uint8_t text[60000];
	static struct puppet p;
	uint64_t most = 0;

	world_begin(&w);
	n[0] = node_add(&w);
	for (int i = 0; i < 200; i++) {
		clock_random(&w.clock, text, sizeof(text));
		memory_save(n[0]->memory, NULL, NULL, text, sizeof(text), NULL);
	}
	memory_sync(n[0]->memory);
	core_appended(n[0]->core);
	puppet_join(&p, n[0]);
	core_unsent(n[0]->core, p.session, 3 << 20); /* it reads nothing */
	for (unsigned i = 0; i < 300; i++) {
		clock_random(&w.clock, text, 1000);
		memory_save(n[0]->memory, NULL, NULL, text, 1000, NULL);
		core_appended(n[0]->core);
		puppet_drain(&p);
		uint64_t waiting = count_of(n[0]).queued_bytes;
		most = waiting > most ? waiting : most;
	}
	assert_true(most < (3 << 20) + SEND_QUEUE_MAX);
	for (unsigned q = 0; q < QUERIES_MAX; q++) {
		struct bytes packet = new_packet();
		packet_put_query_records(&packet, 1000 + q, &n[0]->key.public, 0, 1000);
		puppet_send(&p, &packet);
	}
	uint64_t pages = count_of(n[0]).pages_out;
	puppet_drain(&p);
	assert_int_equal(count_of(n[0]).pages_out, pages);
	core_unsent(n[0]->core, p.session, 0); /* now it has read */
	puppet_drain(&p);
	assert_true(count_of(n[0]).pages_out > pages);
	puppet_end(&p);
	world_end(&w);
}

/* It says pings for ever and reads nothing of what waits. */
static void test_who_reads_nothing_is_left(void **state)
{
	static struct puppet p;

	world_begin(&w);
	struct node *node = node_add(&w);
	puppet_join(&p, node);
	uint64_t until = w.now_ms + 2 * SILENCE_MS_MAX;
	while (p.session && w.now_ms < until) {
		struct bytes packet = new_packet();
		core_unsent(node->core, p.session, 1000);
		packet_put_ping(&packet, PACKET_PONG, 1);
		puppet_send(&p, &packet);
		w.now_ms += 5000;
		core_tick(node->core);
	}
	assert_int_equal(p.session, 0);
	assert_int_equal(count_of(node).timeouts, 1);
	puppet_end(&p);
	world_end(&w);
}

/* ---- silence ---- */

static void test_idle_sessions_live(void **state)
{
	struct node *n[2];

	begin_mesh(n, 2);
	world_run(&w, 3600 * 1000);
	assert_int_equal(count_of(n[0]).sessions, 1);
	assert_int_equal(count_of(n[0]).timeouts, 0);
	world_end(&w);
}

static void test_a_dead_wire_is_noticed(void **state)
{
	struct node *n[2];

	begin_mesh(n, 2);
	w.cables[0].ends[0].held = w.cables[0].ends[1].held = true;
	world_run(&w, SILENCE_MS_MAX + 1000);
	assert_int_equal(n[0]->told[EVENT_GONE], 1);
	assert_int_equal(n[1]->told[EVENT_GONE], 1);
	assert_int_equal(n[0]->last[EVENT_GONE].result, -ETIMEDOUT);
	world_end(&w);
}

/* Whoever follows sixty people in a moment is no flood to his peers. */
static void test_many_follows_at_once(void **state)
{
	struct node *n[2];
	struct key key;

	begin_mesh(n, 2);
	for (int i = 0; i < 60; i++) {
		key_create(&key, &w.clock);
		memory_follow(n[0]->memory, &key.public, true);
		core_follows_changed(n[0]->core);
		world_run(&w, 5);
	}
	world_run(&w, 1000);
	assert_int_equal(count_of(n[1]).floods, 0);
	assert_int_equal(count_of(n[1]).sessions, 1);
	world_end(&w);
}

/* A line that stands still lets them come all at once. */
static void test_many_follows_on_a_line_that_stands(void **state)
{
	struct node *n[2];
	struct key key;

	begin_mesh(n, 2);
	w.cables[0].ends[0].held = w.cables[0].ends[1].held = true;
	for (int i = 0; i < 60; i++) {
		key_create(&key, &w.clock);
		memory_follow(n[0]->memory, &key.public, true);
		core_follows_changed(n[0]->core);
		world_run(&w, 400);
	}
	w.cables[0].ends[0].held = w.cables[0].ends[1].held = false;
	world_run(&w, 1000);
	assert_int_equal(count_of(n[1]).floods, 0);
	assert_int_equal(count_of(n[1]).sessions, 1);
	world_end(&w);
}

static void test_goodbye(void **state)
{
	struct node *n[2];

	begin_mesh(n, 2);
	core_goodbye(n[0]->core);
	world_settle(&w);
	assert_int_equal(n[1]->told[EVENT_GONE], 1);
	assert_int_equal(n[1]->last[EVENT_GONE].result, 0);
	assert_int_equal(core_connected(n[0]->core, "10.3.3.3:3", false, NULL), 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_push_brings_record_and_piece),
		cmocka_unit_test(test_a_large_piece_is_asked_for),
		cmocka_unit_test(test_pushes_settle_on_a_tree),
		cmocka_unit_test(test_a_note_mends_the_tree),
		cmocka_unit_test(test_a_chain_passes_it_on),
		cmocka_unit_test(test_many_records_at_once),
		cmocka_unit_test(test_a_busy_author),
		cmocka_unit_test(test_receipts_are_kept_by_both),
		cmocka_unit_test(test_who_does_not_thank_waits),
		cmocka_unit_test(test_a_first_sync_waits_for_nothing),
		cmocka_unit_test(test_a_slow_reader_costs_little),
		cmocka_unit_test(test_who_reads_nothing_is_left),
		cmocka_unit_test(test_idle_sessions_live),
		cmocka_unit_test(test_a_dead_wire_is_noticed),
		cmocka_unit_test(test_many_follows_at_once),
		cmocka_unit_test(test_many_follows_on_a_line_that_stands),
		cmocka_unit_test(test_goodbye),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
