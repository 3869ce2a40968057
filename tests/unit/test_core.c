#include "core_kit.h"

static struct world w;

static void follow_each_other(struct node *a, struct node *b)
{
	node_follow(a, b, true);
	node_follow(b, a, true);
}

static void begin(struct node **a, struct node **b)
{
	world_begin(&w);
	*a = node_add(&w);
	*b = node_add(&w);
	follow_each_other(*a, *b);
}

static void test_two_meet_and_converge(void **state)
{
	struct node *a, *b;
	struct id version;
	uint8_t text[64];

	begin(&a, &b);
	for (int i = 0; i < 20; i++)
		node_save(a, "from a", &version);
	node_save(b, "from b", NULL);
	world_settle(&w);
	assert_false(same(a, b));

	assert_non_null(join_nodes(a, b, &b->key.public));
	world_settle(&w);
	assert_int_equal(a->told[EVENT_READY], 1);
	assert_int_equal(b->told[EVENT_READY], 1);
	assert_memory_equal(&a->last[EVENT_READY].device, &b->key.public, ID_SIZE);
	assert_true(same(a, b));
	assert_int_equal(memory_records(b->memory), 23);
	assert_int_equal(memory_missing(b->memory), 0);
	assert_int_equal(memory_read(b->memory, &version, text, sizeof(text)), 6);
	assert_int_equal(a->told[EVENT_SYNCED], 1);
	assert_int_equal(b->told[EVENT_SYNCED], 1);
	assert_int_equal(a->told[EVENT_OWN_KNOWN], 1);
	assert_int_equal(count_of(a).malformed + count_of(b).malformed, 0);
	world_end(&w);
}

/* The same through a wire that gives a byte at a time. */
static void test_any_cut_of_the_stream(void **state)
{
	static const size_t chunks[] = { 1, 2, 3, 7, 64, 1000, 16384 };

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct node *a, *b;
		begin(&a, &b);
		w.chunk = chunks[i];
		for (int n = 0; n < 5; n++)
			node_save(a, "some text", NULL);
		join_nodes(a, b, NULL);
		world_settle(&w);
		assert_true(same(a, b));
		world_end(&w);
	}
}

/* Nothing of those who are not followed is kept, but who they are. */
static void test_strangers_are_introduced_only(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	struct head head;

	for (int i = 0; i < 10; i++)
		node_save(a, "not for b", NULL);
	join_nodes(a, b, NULL);
	world_settle(&w);
	assert_int_equal(memory_records(b->memory), 2);
	assert_int_equal(memory_pieces(b->memory), 0);
	assert_int_equal(memory_depot(b->memory)->calls->head(b->memory, &a->key.public, &head), 0);
	assert_int_equal(head.seq, 0);
	node_save(a, "nor this", NULL);
	world_settle(&w);
	assert_int_equal(memory_records(b->memory), 2);
	world_end(&w);
}

static void test_a_follow_brings_what_is_there(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);

	for (int i = 0; i < 10; i++)
		node_save(a, "for b, later", NULL);
	join_nodes(a, b, NULL);
	world_settle(&w);
	node_follow(b, a, true);
	world_settle(&w);
	assert_int_equal(memory_records(b->memory), 12);
	assert_int_equal(memory_missing(b->memory), 0);
	/* And what comes from now on; then no more. */
	node_save(a, "live", NULL);
	world_settle(&w);
	assert_int_equal(memory_records(b->memory), 13);
	node_follow(b, a, false);
	world_settle(&w);
	node_save(a, "too late", NULL);
	world_run(&w, 1000);
	assert_int_equal(memory_records(b->memory), 13);
	world_end(&w);
}

/* c knows b alone, and gets what a wrote. */
static void test_through_a_third(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w), *c = node_add(&w);

	node_follow(b, a, true);
	node_follow(c, a, true);
	node_save(a, "passed on", NULL);
	world_settle(&w);
	struct cable *ab = join_nodes(a, b, NULL);
	world_settle(&w);
	cable_cut(ab);
	join_nodes(c, b, NULL);
	world_settle(&w);
	assert_int_equal(memory_missing(c->memory), 0);
	assert_int_equal(memory_records(c->memory), 4); /* its own, two of a, who b is */
	world_end(&w);
}

static void test_a_lost_session_resumes(void **state)
{
	struct node *a, *b;
	char text[20000];

	begin(&a, &b);
	for (int i = 0; i < 400; i++) {
		snprintf(text, sizeof(text), "text %d", i);
		for (size_t n = strlen(text); n < sizeof(text) - 1; n++)
			text[n] = (char)('a' + (n * 7 + (size_t)i * n * n) % 26);
		text[sizeof(text) - 1] = '\0';
		node_save(a, text, NULL);
	}
	world_settle(&w);
	b->hold_works = true; /* so that it does not all happen in one step */
	struct cable *c = join_nodes(a, b, NULL);
	for (int cuts = 0; cuts < 10; cuts++) {
		for (int step = 0; step < 6; step++) {
			world_settle(&w);
			run_works(b);
			b->hold_works = true;
		}
		cable_cut(c);
		c = join_nodes(b, a, NULL);
	}
	uint64_t before = memory_records(b->memory);
	assert_true(before > 10);
	run_works(b);
	world_run(&w, 20000);
	assert_true(same(a, b));
	assert_int_equal(memory_missing(b->memory), 0);
	/* What was here was not sent again. */
	assert_true(count_of(a).records_out < 2 * 401 + 400);
	world_end(&w);
}

/* The disk of a was set back: peers have more of its log than it has. */
static void test_own_log_comes_back_from_peers(void **state)
{
	struct node *a, *b;
	struct head here, there;

	begin(&a, &b);
	for (int i = 0; i < 30; i++)
		node_save(a, "to be lost", NULL);
	struct cable *c = join_nodes(a, b, NULL);
	world_settle(&w);
	cable_cut(c);
	node_down(a);
	memory_rewind(a->memory, 20);
	node_up(a);
	a->told[EVENT_OWN_KNOWN] = 0;
	a->hold_works = true;
	join_nodes(a, b, NULL);
	world_settle(&w);
	assert_int_equal(a->told[EVENT_OWN_KNOWN], 0);
	run_works(a);
	world_settle(&w);
	assert_int_equal(a->told[EVENT_OWN_KNOWN], 1);
	const struct depot *depot = memory_depot(a->memory);
	assert_int_equal(depot->calls->head(a->memory, &a->key.public, &here), 0);
	assert_int_equal(memory_depot(b->memory)->calls->head(b->memory, &a->key.public, &there), 0);
	assert_int_equal(here.seq, 30);
	assert_memory_equal(&here.record, &there.record, ID_SIZE);
	/* And goes on from there. */
	node_save(a, "after it", NULL);
	world_settle(&w);
	assert_true(same(a, b));
	assert_int_equal(a->told[EVENT_FORK] + b->told[EVENT_FORK], 0);
	world_end(&w);
}

/* a was set back and wrote at once: both branches reach everybody, and it is told. */
static void test_a_fork_is_kept_and_told(void **state)
{
	struct node *a, *b;

	begin(&a, &b);
	for (int i = 0; i < 10; i++)
		node_save(a, "one branch", NULL);
	struct cable *c = join_nodes(a, b, NULL);
	world_settle(&w);
	cable_cut(c);
	node_down(a);
	memory_rewind(a->memory, 3);
	for (int i = 0; i < 5; i++)
		memory_save(a->memory, NULL, NULL, "another", 7, NULL);
	memory_sync(a->memory);
	node_up(a);
	join_nodes(a, b, NULL);
	world_run(&w, 60000);
	assert_int_equal(memory_records(b->memory), 1 + 11 + 5);
	assert_int_equal(memory_records(a->memory), 1 + 11 + 5);
	assert_true(same(a, b));
	assert_true(b->told[EVENT_FORK] >= 1);
	world_end(&w);
}

/* Nothing that a disk may forget is told to anybody. */
static void test_only_what_is_durable_is_told(void **state)
{
	struct node *a, *b;
	struct head head;

	begin(&a, &b);
	join_nodes(a, b, NULL);
	world_settle(&w);
	memory_fail_sync(a->memory, -EIO);
	node_save(a, "not durable", NULL);
	world_run(&w, 1000);
	assert_int_equal(memory_depot(b->memory)->calls->head(b->memory, &a->key.public, &head), 0);
	assert_int_equal(head.seq, 0);
	memory_fail_sync(a->memory, 0);
	core_appended(a->core);
	world_settle(&w);
	assert_int_equal(memory_depot(b->memory)->calls->head(b->memory, &a->key.public, &head), 0);
	assert_int_equal(head.seq, 1);
	world_end(&w);
}

/* What somebody waits for comes before all else. */
static void test_what_is_waited_for(void **state)
{
	struct node *a, *b;
	struct id first, version;
	char text[60000];

	begin(&a, &b);
	node_save(a, "the oldest of all", &first);
	for (int i = 0; i < 60; i++) {
		for (size_t n = 0; n < sizeof(text) - 1; n++)
			text[n] = (char)('a' + (n * n + (size_t)i * n) % 26);
		text[sizeof(text) - 1] = '\0';
		node_save(a, text, &version);
	}
	world_settle(&w);
	join_nodes(a, b, NULL);
	world_settle(&w);
	assert_int_equal(memory_missing(b->memory), 0);
	core_want(b->core, &first, 7, w.now_ms + 5000); /* here already */
	world_settle(&w);
	assert_int_equal(b->told[EVENT_WANTED], 1);
	assert_int_equal(b->last[EVENT_WANTED].token, 7);
	assert_int_equal(b->last[EVENT_WANTED].result, 0);
	/* Not with anybody. */
	core_want(b->core, &(struct id){ { 9 } }, 8, w.now_ms + 5000);
	world_settle(&w);
	assert_int_equal(b->last[EVENT_WANTED].token, 8);
	assert_int_equal(b->last[EVENT_WANTED].result, -ENODATA);
	world_end(&w);
}

static struct id name_of_text(const char *text)
{
	static uint8_t member[PIECE_STORED_MAX];
	struct packer *packer = packer_new();
	struct id name;

	ssize_t size = piece_deflate(packer, (const uint8_t *)text, strlen(text), member);
	assert_true(size > 0);
	id_of_bytes(&name, member, (size_t)size);
	packer_free(packer);
	return name;
}

/* Who lacks it says so, which is told at once; then one comes who has it. */
static void test_a_piece_that_one_peer_lacks(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w), *c = node_add(&w);
	struct id version, name = name_of_text("in one place");

	node_follow(b, a, true);
	node_follow(c, a, true);
	node_save(a, "in one place", &version);
	world_settle(&w);
	struct cable *ab = join_nodes(a, b, NULL);
	world_settle(&w);
	cable_cut(ab);
	memory_drop_piece(b->memory, &name);
	join_nodes(c, b, NULL);
	world_settle(&w);
	assert_int_equal(memory_missing(c->memory), 1);
	core_want(c->core, &version, 1, w.now_ms + 60000);
	world_settle(&w);
	assert_int_equal(c->told[EVENT_WANTED], 1);
	assert_int_equal(c->last[EVENT_WANTED].result, -ENODATA);

	join_nodes(c, a, NULL);
	world_run(&w, 2000);
	assert_int_equal(memory_missing(c->memory), 0);
	world_end(&w);
}

struct copy {
	struct memory *to;
	const struct id *device;
};

static int copy_one(void *context, uint64_t seq, const struct record_item *item)
{
	const struct copy *copy = context;

	memory_depot(copy->to)->calls->take_records(copy->to, copy->device, item, 1);
	return 0;
}

struct many {
	const char *name;
	bool only_b_follows, b_is_dialled, all_differ;
};

/* a gets all of an author's log, b its first record, or nothing. */
static void give_log(struct memory *author, const struct id *device, struct node *a, struct node *b,
		     const struct many *many)
{
	const struct depot *from = memory_depot(author);

	memory_follow(a->memory, device, !many->only_b_follows);
	memory_follow(b->memory, device, true);
	from->calls->each_record(author, device, 0, 9, copy_one, &(struct copy){ a->memory, device });
	if (many->all_differ || device->bytes[0] % 10 != 3)
		from->calls->each_record(author, device, 0, 0, copy_one, &(struct copy){ b->memory, device });
}

/* Above NOTES_MAX follows and logs heads are reconciled by ranges. */
static void check_many_logs(const struct many *many)
{
	enum { AUTHORS = NOTES_MAX + 200 };
	static struct key keys[AUTHORS];

	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	for (int i = 0; i < AUTHORS; i++) {
		key_create(&keys[i], &w.clock);
		struct memory *author = memory_new(w.blobs, &keys[i], NULL, &w.clock);
		memory_append_profile(author, "author");
		if (i % 50 == 0 || many->all_differ)
			memory_append_vote(author, (uint64_t)i);
		memory_sync(author);
		give_log(author, &keys[i].public, a, b, many);
		memory_free(author);
	}
	core_follows_changed(a->core);
	core_follows_changed(b->core);
	world_settle(&w);
	struct cable *c = many->b_is_dialled ? join_nodes(a, b, NULL) : join_nodes(b, a, NULL);
	world_run(&w, 3000);
	assert_int_equal(count_of(b).malformed + count_of(a).malformed, 0);
	if (memory_records(b->memory) != memory_records(a->memory))
		fail_msg("%s: %llu of %llu records", many->name, (unsigned long long)memory_records(b->memory),
			 (unsigned long long)memory_records(a->memory));
	/* Told by what differs: some 150 logs of 1,224. */
	assert_true(many->all_differ || c->carried < 400000);
	world_end(&w);
}

static void test_many_logs_by_ranges(void **state)
{
	static const struct many cases[] = {
		{ "b dials", false, false, false },
		{ "a dials", false, true, false },
		{ "a follows nobody", true, false, false },
		{ "a follows nobody and dials", true, true, false },
		{ "a has more to note than one packet holds", false, true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_many_logs(&cases[i]);
}

/* A person with two devices: who follows the person gets both. */
static void test_two_devices_of_one_person(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w);
	struct key second;
	struct record *r = record_new();

	key_create(&second, &w.clock);
	struct memory *phone = memory_new(w.blobs, &second, &a->key.public, &w.clock);
	memory_append_profile(phone, "");
	memory_save(phone, NULL, NULL, "from the phone", 14, NULL);
	memory_sync(phone);
	r->field = FIELD_ADMIT;
	r->admit.device = second.public;
	r->admit.on = true;
	memory_append(a->memory, r, NULL);
	memory_sync(a->memory);
	free(r);
	struct core_options options = { .clock = w.clock };
	struct node *p = &w.nodes[w.node_count++];
	p->world = &w;
	p->key = second;
	p->memory = phone;
	p->core = core_new(&options, memory_depot(phone));

	node_follow(b, a, true);
	join_nodes(p, a, NULL); /* the phone gives its log to the other device, that to who follows */
	world_settle(&w);
	join_nodes(b, a, NULL);
	world_run(&w, 2000);
	assert_int_equal(memory_records(b->memory), 1 + 2 + 2);
	assert_int_equal(memory_missing(b->memory), 0);
	assert_true(same(a, p));
	world_end(&w);
}

/* Addresses travel: c is told of a by b, and dials. */
static void test_peers_tell_of_peers(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w), *b = node_add(&w), *c = node_add(&w);

	for (size_t i = 0; i < 3; i++) {
		w.nodes[i].dial = true;
		node_down(&w.nodes[i]);
		node_up(&w.nodes[i]);
	}
	assert_int_equal(core_connect(b->core, "nonsense", NULL), -EINVAL);
	assert_int_equal(core_connect(b->core, a->address, &a->key.public), 0);
	world_run(&w, 1000);
	assert_int_equal(b->told[EVENT_READY], 1);
	assert_int_equal(core_connect(c->core, b->address, NULL), 0);
	world_run(&w, 30000);
	assert_int_equal(count_of(c).sessions, 2);
	assert_int_equal(count_of(a).sessions, 2);
	assert_int_equal(count_of(b).sessions, 2);
	/* Remembered: after a restart c dials by itself. */
	node_down(c);
	node_up(c);
	world_run(&w, 5000);
	assert_int_equal(count_of(c).sessions, 2);
	world_end(&w);
}

static void test_dialling_backs_off(void **state)
{
	world_begin(&w);
	struct node *a = node_add(&w);

	a->dial = true;
	node_down(a);
	node_up(a);
	core_connect(a->core, "10.9.9.9:1", NULL);
	world_run(&w, 10000);
	assert_in_range(a->told[EVENT_DIAL], 3, 4); /* 0, 1, 2, 4 s and a quarter */
	world_run(&w, 3600 * 1000);
	assert_in_range(a->told[EVENT_DIAL], 15, 25);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_meet_and_converge),
		cmocka_unit_test(test_any_cut_of_the_stream),
		cmocka_unit_test(test_strangers_are_introduced_only),
		cmocka_unit_test(test_a_follow_brings_what_is_there),
		cmocka_unit_test(test_through_a_third),
		cmocka_unit_test(test_a_lost_session_resumes),
		cmocka_unit_test(test_own_log_comes_back_from_peers),
		cmocka_unit_test(test_a_fork_is_kept_and_told),
		cmocka_unit_test(test_only_what_is_durable_is_told),
		cmocka_unit_test(test_what_is_waited_for),
		cmocka_unit_test(test_a_piece_that_one_peer_lacks),
		cmocka_unit_test(test_many_logs_by_ranges),
		cmocka_unit_test(test_two_devices_of_one_person),
		cmocka_unit_test(test_peers_tell_of_peers),
		cmocka_unit_test(test_dialling_backs_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
