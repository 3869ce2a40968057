/* test_core_hostile.c - peers that lie, flood or are silent: the session ends, it is counted, and nothing else happens. */
#include "core_puppet.h"

static struct world w;
static struct puppet p;
static struct node *node;

static void begin(void)
{
	world_begin(&w);
	node = node_add(&w);
	puppet_join(&p, node);
	assert_int_equal(count_of(node).sessions, 1);
}

static void end(void)
{
	puppet_end(&p);
	world_end(&w);
}

static uint64_t offences(void)
{
	struct core_counts c = count_of(node);

	return c.malformed + c.bad_signatures + c.floods;
}

static void assert_closed(void)
{
	puppet_drain(&p);
	assert_int_equal(p.session, 0);
	assert_int_equal(offences(), 1);
	assert_int_equal(count_of(node).sessions, 0);
	assert_int_equal(node->told[EVENT_GONE], 1);
	assert_true(node->last[EVENT_GONE].result < 0);
}

/* ---- malformed ---- */

static void send_raw(const void *bytes, size_t size)
{
	struct bytes packet = new_packet();

	bytes_put(&packet, bytes, size);
	puppet_send(&p, &packet);
}

static void test_malformed_packets(void **state)
{
	static const struct {
		const char *name;
		const char *bytes;
		size_t size;
	} cases[] = {
		{ "a byte", "\x00", 1 },
		{ "no array", "\x01\x02", 2 },
		{ "empty array", "\x80", 1 },
		{ "unknown kind", "\x82\x18\x20\x40", 4 },
		{ "a packet and a byte", "\x82\x0a\x48" "12345678" "\x00", 12 },
		{ "ready twice", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		if (cases[i].bytes) {
			send_raw(cases[i].bytes, cases[i].size);
		} else {
			struct bytes packet = new_packet();
			packet_put_ready(&packet, &p.key.public, "", 1, 1);
			puppet_send(&p, &packet);
		}
		if (p.session)
			fail_msg("%s was let pass", cases[i].name);
		assert_closed();
		assert_int_equal(count_of(node).malformed, 1);
		end();
	}
}

static void test_a_frame_that_is_not_authentic(void **state)
{
	begin();
	struct bytes packet = new_packet();
	packet_put_ping(&packet, PACKET_PING, 1);
	stream_push(&p.stream, packet.data, packet.size, false, 0, &p.out);
	bytes_finish(&packet);
	p.out.data[p.out.size - 1] ^= 1;
	puppet_flush(&p);
	assert_closed();
	end();
}

static void test_packets_before_ready(void **state)
{
	world_begin(&w);
	node = node_add(&w);
	assert_true(puppet_dial(&p, node, "10.7.7.7:777"));
	struct bytes packet = new_packet();
	packet_put_ping(&packet, PACKET_PING, 1);
	puppet_send(&p, &packet);
	assert_int_equal(p.session, 0);
	assert_int_equal(offences(), 1);
	end();
}

/* ---- pages ---- */

static void make_page(struct page *page, const struct packet *query, struct bytes *items)
{
	*page = (struct page){ .nonce = query->query.nonce, .field = query->query.field, .cb = p.cb,
			       .order = query->query.field == QUERY_HEADS ? ORDER_ASKED :
				       query->query.field == QUERY_RECORDS ? ORDER_SEQ : ORDER_ASKED };
	page->items_bytes = items->data;
	page->items_size = items->size;
}

static void send_page(const struct page *page, bool spoil)
{
	struct signature signature;
	struct bytes statement, packet = new_packet();

	bytes_init(&statement, PAGE_STATEMENT_MAX);
	assert_int_equal(page_make(page, &p.key, &statement, &signature), 0);
	signature.bytes[5] ^= spoil;
	packet_put_statement(&packet, PACKET_PAGE, statement.data, statement.size, &signature);
	bytes_finish(&statement);
	puppet_send(&p, &packet);
}

static const struct packet *find_query(enum query_field field)
{
	puppet_take(&p);
	for (size_t i = 0; i < p.taken_count; i++)
		if (p.taken[i].packet.kind == PACKET_QUERY && p.taken[i].packet.query.field == field)
			return &p.taken[i].packet;
	fail_msg("no such query came");
	return NULL;
}

static void test_pages(void **state)
{
	static const struct {
		const char *name;
		bool nonce, field, cb, signature, twice;
		int closed;
	} cases[] = {
		{ .name = "right", .closed = 0 },
		{ .name = "unknown nonce", .nonce = true, .closed = 1 },
		{ .name = "another field", .field = true, .closed = 1 },
		{ .name = "of another session", .cb = true, .closed = 1 },
		{ .name = "bad signature", .signature = true, .closed = 1 },
		{ .name = "twice", .twice = true, .closed = 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes none = { 0 };
		struct page page;
		begin();
		make_page(&page, find_query(QUERY_HEADS), &none);
		page.nonce += cases[i].nonce;
		if (cases[i].field) {
			page.field = QUERY_AUTHORS;
			page.order = ORDER_NONE;
		}
		page.cb.bytes[0] ^= cases[i].cb;
		send_page(&page, cases[i].signature);
		if (cases[i].twice)
			send_page(&page, false);
		puppet_drain(&p);
		if ((p.session == 0) != cases[i].closed)
			fail_msg("%s: %s", cases[i].name, cases[i].closed ? "let pass" : "closed");
		assert_int_equal(count_of(node).bad_signatures, cases[i].signature);
		end();
	}
}

static int put_item(void *context, uint64_t seq, const struct record_item *item)
{
	packet_put_record_item(context, item);
	return 0;
}

/* Records that were asked for, but not what they should be. */
static void test_records_that_lie(void **state)
{
	begin();
	struct key other;
	struct bytes items;
	struct page page;
	const struct packet *query = find_query(QUERY_RECORDS); /* the introduction */

	assert_memory_equal(&query->query.subject, &p.key.public, ID_SIZE);
	key_create(&other, &w.clock);
	struct memory *liar = memory_new(w.blobs, &other, NULL, &w.clock);
	memory_append_profile(liar, "somebody else");
	memory_sync(liar);
	bytes_init(&items, 1 << 20);
	memory_depot(liar)->calls->each_record(liar, &other.public, 0, 0, put_item, &items);
	make_page(&page, query, &items);
	page.count = page.item_count = 1;
	send_page(&page, false);
	assert_closed();
	bytes_finish(&items);
	memory_free(liar);
	end();
}

/* ---- floods ---- */

static void test_more_queries_than_may_be_open(void **state)
{
	begin();
	node->hold_works = true; /* so that none is answered */
	for (unsigned i = 0; i < QUERIES_MAX; i++) {
		struct bytes packet = new_packet();
		packet_put_query_heads_all(&packet, i, &(struct id){ { 0 } });
		puppet_send(&p, &packet);
		assert_int_not_equal(p.session, 0);
	}
	struct bytes packet = new_packet();
	packet_put_query_heads_all(&packet, 99, &(struct id){ { 0 } });
	puppet_send(&p, &packet);
	assert_closed();
	assert_int_equal(count_of(node).queries_dropped, 1);
	node->hold_works = false;
	end();
}

static void test_floods(void **state)
{
	static const struct {
		const char *name;
		enum packet_kind kind;
		unsigned let_pass, closed_by;
	} cases[] = {
		{ "pings", PACKET_PING, 100, 2000 },
		{ "pongs", PACKET_PONG, 100, 2000 },
		{ "prunes", PACKET_PRUNE, 1000, 10000 },
		{ "grafts", PACKET_GRAFT, 100, 2000 },
		{ "filters", PACKET_FOLLOW, 10, 100 },
		{ "notes", PACKET_NOTE, 50, 2000 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		unsigned sent = 0;
		for (; p.session && sent < cases[i].closed_by; sent++) {
			struct bytes packet = new_packet();
			static const uint8_t bits[FOLLOW_SIZE_MIN];
			static struct head heads[NOTES_MAX];
			for (unsigned n = 0; n < NOTES_MAX; n++)
				heads[n].device.bytes[n % 32] = (uint8_t)(n / 32 + 1);
			switch ((int)cases[i].kind) {
			case PACKET_PRUNE: packet_put_prune(&packet, &p.key.public); break;
			case PACKET_GRAFT: packet_put_graft(&packet, &p.key.public, 0); break;
			case PACKET_FOLLOW: packet_put_follow(&packet, bits, sizeof(bits)); break;
			case PACKET_NOTE: packet_put_notes(&packet, heads, 512); break;
			default: packet_put_ping(&packet, cases[i].kind, sent); break;
			}
			puppet_send(&p, &packet);
			bytes_clear(&p.in);
			if (sent + 1 == cases[i].let_pass && !p.session)
				fail_msg("%s: closed after %u", cases[i].name, sent);
		}
		if (p.session)
			fail_msg("%s: %u let pass", cases[i].name, sent);
		assert_int_equal(count_of(node).floods, 1);
		end();
	}
}

static int push_item(void *context, uint64_t seq, const struct record_item *item)
{
	struct bytes packet = new_packet();

	packet_put_push(&packet, item, 1, NULL, 0);
	if (p.session)
		puppet_send(&p, &packet);
	bytes_finish(&packet);
	bytes_clear(&p.in);
	return 0;
}

/* Records nobody asked for: RECORDS_PER_SECOND_MAX of them, and twice that at once. */
static void test_a_flood_of_pushes(void **state)
{
	struct key other;
	begin();
	key_create(&other, &w.clock);
	struct memory *author = memory_new(w.blobs, &other, NULL, &w.clock);
	for (unsigned i = 0; i < 3000; i++)
		memory_append_vote(author, i);
	memory_sync(author);
	memory_follow(node->memory, &other.public, true);
	core_follows_changed(node->core);
	memory_depot(author)->calls->each_record(author, &other.public, 0, 3000, push_item, NULL);
	assert_closed();
	assert_int_equal(count_of(node).floods, 1);
	assert_true(memory_records(node->memory) > 500); /* until then they were taken */
	memory_free(author);
	end();
}

/* Pieces that no record names, of a log that is followed or not, are not kept. */
static void test_pushed_pieces_that_nobody_names(void **state)
{
	struct key other;
	begin();
	key_create(&other, &w.clock);
	struct memory *author = memory_new(w.blobs, &other, NULL, &w.clock);
	memory_append_profile(author, "author");
	memory_sync(author);
	memory_follow(node->memory, &other.public, true);
	core_follows_changed(node->core);

	struct packer *packer = packer_new();
	uint8_t member[PIECE_STORED_MAX];
	ssize_t size = piece_deflate(packer, (const uint8_t *)"junk", 4, member);
	packer_free(packer);
	struct piece_item piece = { .bytes = member, .size = (size_t)size };
	struct record_item record = { 0 };
	struct bytes packet = new_packet();
	struct bytes items;
	bytes_init(&items, 1 << 20);
	memory_depot(author)->calls->each_record(author, &other.public, 0, 0, put_item, &items);
	struct cbor_reader list;
	size_t left = 1;
	cbor_reader_init(&list, items.data, items.size);
	assert_true(packet_next_record(&list, &left, &record));
	packet_put_push(&packet, &record, 1, &piece, 1);
	puppet_send(&p, &packet);
	assert_int_equal(memory_records(node->memory), 2);
	assert_int_equal(memory_pieces(node->memory), 0);
	assert_int_not_equal(p.session, 0);
	bytes_finish(&items);
	memory_free(author);
	end();
}

static void test_memory_stays_bounded(void **state)
{
	begin();
	uint64_t most = 0;
	node->hold_works = true;
	for (unsigned i = 0; p.session && i < 300; i++) {
		struct bytes packet = new_packet();
		static struct head heads[NOTES_MAX];
		for (unsigned n = 0; n < NOTES_MAX; n++)
			clock_random(&w.clock, &heads[n].device, ID_SIZE);
		if (i < QUERIES_MAX)
			packet_put_query_heads_of(&packet, i, &heads[0].device, 1);
		else
			packet_put_notes(&packet, heads, 16);
		puppet_send(&p, &packet);
		uint64_t memory = count_of(node).memory;
		most = memory > most ? memory : most;
	}
	assert_true(most < 2 << 20);
	node->hold_works = false;
	end();
}

/* ---- silence ---- */

static void test_silence_is_asked_then_left(void **state)
{
	begin();
	puppet_forget(&p);
	w.now_ms += IDLE_MS;
	core_tick(node->core);
	const struct packet *ping = puppet_find(&p, PACKET_PING);
	assert_non_null(ping);
	struct bytes packet = new_packet();
	packet_put_ping(&packet, PACKET_PONG, ping->token);
	puppet_send(&p, &packet);
	w.now_ms += SILENCE_MS_MAX - 1;
	core_tick(node->core);
	puppet_drain(&p);
	assert_int_not_equal(p.session, 0);
	w.now_ms += 1;
	core_tick(node->core);
	puppet_drain(&p);
	assert_int_equal(p.session, 0);
	assert_int_equal(count_of(node).timeouts, 1);
	assert_int_equal(node->last[EVENT_GONE].result, -ETIMEDOUT);
	end();
}

/* It says pong for ever, and answers nothing. */
static void test_who_never_answers_is_left(void **state)
{
	begin();
	for (int i = 0; p.session && i < 100; i++) {
		w.now_ms += 5000;
		core_tick(node->core);
		struct bytes packet = new_packet();
		packet_put_ping(&packet, PACKET_PONG, 1);
		puppet_send(&p, &packet);
		puppet_forget(&p);
	}
	assert_int_equal(p.session, 0);
	assert_int_equal(count_of(node).timeouts, 1);
	end();
}

static void test_a_handshake_that_stops(void **state)
{
	world_begin(&w);
	node = node_add(&w);
	p = (struct puppet){ .node = node };
	bytes_init(&p.in, 1 << 20);
	p.session = core_connected(node->core, "10.7.7.7:7", false, NULL);
	assert_int_equal(count_of(node).half_open, 1);
	assert_true(core_deadline_ms(node->core) == 0 || core_deadline_ms(node->core) <= w.now_ms + HANDSHAKE_MS_MAX);
	w.now_ms += HANDSHAKE_MS_MAX;
	core_tick(node->core);
	puppet_drain(&p);
	assert_int_equal(p.session, 0);
	assert_int_equal(count_of(node).half_open, 0);
	assert_int_equal(count_of(node).timeouts, 1);
	end();
}

static void test_noise_instead_of_a_handshake(void **state)
{
	uint8_t noise[1000];

	world_begin(&w);
	node = node_add(&w);
	for (unsigned i = 0; i < 50; i++) {
		p = (struct puppet){ .node = node };
		bytes_init(&p.in, 1 << 20);
		p.session = core_connected(node->core, "10.7.7.7:7", false, NULL);
		clock_random(&w.clock, noise, sizeof(noise));
		noise[0] = (uint8_t)(i % 6);
		core_take(node->core, p.session, noise, sizeof(noise));
		puppet_drain(&p);
		assert_int_equal(p.session, 0);
		assert_int_equal(p.in.size, 0); /* without a word */
		bytes_finish(&p.in);
	}
	assert_int_equal(count_of(node).handshake_failures, 50);
	assert_int_equal(count_of(node).half_open, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed_packets),
		cmocka_unit_test(test_a_frame_that_is_not_authentic),
		cmocka_unit_test(test_packets_before_ready),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_records_that_lie),
		cmocka_unit_test(test_more_queries_than_may_be_open),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_a_flood_of_pushes),
		cmocka_unit_test(test_pushed_pieces_that_nobody_names),
		cmocka_unit_test(test_memory_stays_bounded),
		cmocka_unit_test(test_silence_is_asked_then_left),
		cmocka_unit_test(test_who_never_answers_is_left),
		cmocka_unit_test(test_a_handshake_that_stops),
		cmocka_unit_test(test_noise_instead_of_a_handshake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
