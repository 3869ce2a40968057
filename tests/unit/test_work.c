/* Works as the shell runs them, and the pages that answer queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_helper.h"

#include "depot_kit.h"
#include "reconcile.h"
#include "work.h"

static const struct id binding = { { 9, 9, 9 } };

struct pair {
	struct node alice, bob;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	node_make(&p->alice, 1);
	node_make(&p->bob, 2);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	node_remove(&p->alice);
	node_remove(&p->bob);
	free(p);
	return 0;
}

struct answered {
	struct bytes query, page_bytes;
	struct page page;
	uint64_t items;
};

/* Asks as a peer does: the packet is read, the page made, its signature and its fields looked at. */
static void ask(const struct node *n, struct answered *a)
{
	struct packet packet;
	struct signature signature;

	bytes_init(&a->page_bytes, PAGE_STATEMENT_MAX);
	assert_int_equal(bytes_error(&a->query), 0);
	assert_int_equal(packet_read(&packet, a->query.data, a->query.size), 0);
	assert_int_equal(packet.kind, PACKET_QUERY);
	assert_int_equal(answer_make(n->depot, &packet.query, &binding, 12345, &a->page_bytes, &signature, &a->items), 0);
	assert_int_equal(page_verify(device_of(n), a->page_bytes.data, a->page_bytes.size, &signature), 0);
	assert_int_equal(page_read(&a->page, a->page_bytes.data, a->page_bytes.size), 0);
	assert_int_equal(a->page.item_count, a->items);
	assert_int_equal(a->page.nonce, 77);
	assert_int_equal(a->page.time_ms, 12345);
	assert_int_equal(a->page.offset, 0);
	assert_int_equal(a->page.field, packet.query.field);
	assert_true(id_equal(&a->page.cb, &binding));
	assert_true(a->page.items_size < PAGE_SIZE_AIM + RECORD_SIZE_MAX + PIECE_STORED_MAX + 256);
	assert_true(a->page.count >= a->page.item_count);
}

static void ask_begin(struct answered *a)
{
	memset(a, 0, sizeof(*a));
	bytes_init(&a->query, PACKET_SIZE_MAX);
}

static void ask_end(struct answered *a)
{
	bytes_finish(&a->query);
	bytes_finish(&a->page_bytes);
}

static void heads_of_entities(void **state)
{
	struct pair *p = *state;
	struct answered a;
	struct id last, entities[3] = { *device_of(&p->bob), { { 4 } }, *device_of(&p->alice) };
	struct head head;

	write_text(&p->alice, NULL, "a", "1");
	last = write_text(&p->alice, NULL, "a", "2");
	node_sync(&p->alice);
	write_text(&p->alice, NULL, "a", "not durable");
	ask_begin(&a);
	packet_put_query_heads_of(&a.query, 77, entities, 3);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 1);
	assert_int_equal(a.page.count, 1);
	assert_int_equal(a.page.head_seq, 1);
	assert_true(id_equal(&a.page.head, &last));
	size_t left = a.page.item_count;
	assert_true(packet_next_head(&a.page.items, &left, &head));
	assert_true(id_equal(&head.device, device_of(&p->alice)));
	assert_true(id_equal(&head.person, device_of(&p->alice)));
	assert_true(id_equal(&head.record, &last));
	assert_int_equal(head.seq, 1);
	assert_int_equal(head.records, 2);
	assert_false(packet_next_head(&a.page.items, &left, &head));
	ask_end(&a);
	/* One whose log is empty. */
	ask_begin(&a);
	packet_put_query_heads_of(&a.query, 77, entities, 3);
	ask(&p->bob, &a);
	assert_int_equal(a.page.item_count, 0);
	assert_int_equal(a.page.count, 0);
	assert_true(id_is_zero(&a.page.head));
	ask_end(&a);
}

static void heads_of_all(void **state)
{
	struct pair *p = *state;
	struct answered a;
	const struct id none = { { 0 } };
	struct head head;

	write_text(&p->alice, NULL, "a", "1");
	write_text(&p->bob, NULL, "a", "1");
	node_sync(&p->alice);
	node_sync(&p->bob);
	carry_logs(&p->alice, &p->bob);
	ask_begin(&a);
	packet_put_query_heads_all(&a.query, 77, &none);
	ask(&p->bob, &a);
	assert_int_equal(a.page.item_count, 2);
	assert_int_equal(a.page.count, 2);
	size_t left = 2;
	assert_true(packet_next_head(&a.page.items, &left, &head));
	struct id first = head.device;
	assert_true(packet_next_head(&a.page.items, &left, &head));
	assert_true(id_compare(&first, &head.device) < 0);
	ask_end(&a);
	ask_begin(&a);
	packet_put_query_heads_all(&a.query, 77, &first);
	ask(&p->bob, &a);
	assert_int_equal(a.page.item_count, 1);
	ask_end(&a);
}

struct theirs {
	struct id device;
	size_t count;
};

static void note_theirs(void *context, const struct head *head)
{
	struct theirs *t = context;

	t->device = head->device;
	t->count++;
}

static int add_head(void *visitor, const struct head *head)
{
	return carry_head(visitor, head);
}

static void heads_by_ranges(void **state)
{
	struct pair *p = *state;
	struct answered a;
	struct carrying own = { .count = 0 };
	const struct id none = { { 0 } };
	struct theirs theirs = { .count = 0 }, mine = { .count = 0 };
	struct bytes message;
	const uint8_t *answer;
	uint8_t key[16];
	size_t size;

	write_text(&p->alice, NULL, "a", "1");
	write_text(&p->bob, NULL, "a", "1");
	node_sync(&p->alice);
	node_sync(&p->bob);
	carry_logs(&p->bob, &p->alice);
	reconcile_key(key, &binding);
	assert_int_equal(p->bob.depot->calls->each_head(p->bob.depot->context, &none, add_head, &own), 0);
	struct reconcile_set *set = reconcile_set_new(own.heads, own.count, key);
	struct reconcile *r = reconcile_new(set);
	bytes_init(&message, PACKET_SIZE_MAX);
	assert_int_equal(reconcile_begin(r, &message), 0);
	int more = 1;
	for (int round = 0; more > 0 && round < 5; round++) {
		ask_begin(&a);
		packet_put_query_heads_ranges(&a.query, 77, message.data, message.size);
		ask(&p->alice, &a);
		assert_int_equal(a.page.item_count, 1);
		assert_int_equal(a.page.count, 1);
		size_t left = 1;
		assert_true(packet_next_ranges(&a.page.items, &left, &answer, &size));
		bytes_clear(&message);
		more = reconcile_take(r, answer, size, &message);
		ask_end(&a);
	}
	assert_int_equal(more, 0);
	reconcile_each_theirs(r, note_theirs, &theirs);
	reconcile_each_mine(r, note_theirs, &mine);
	assert_int_equal(theirs.count, 1);
	assert_true(id_equal(&theirs.device, device_of(&p->alice)));
	assert_int_equal(mine.count, 0);
	bytes_finish(&message);
	reconcile_free(r);
	reconcile_set_free(set);
}

/* Pages end when they are full; the next begins after the last item. */
static void records_by_pages(void **state)
{
	struct pair *p = *state;
	struct answered a;
	struct record_item item;
	uint64_t from = 0;
	size_t pages = 0, all = 0, unsigned_run = 0;
	char name[NAME_SIZE_MAX + 1];

	memset(name, 'n', NAME_SIZE_MAX);
	name[NAME_SIZE_MAX] = '\0';
	struct store_txn *txn = txn_begin(&p->alice.t, true);
	for (int i = 0; i < 40; i++) {
		struct record *record = entries_begin();
		for (int j = 0; j < 60; j++)
			entries_add(record, device_of(&p->alice), name, WHAT_NOTHING, NULL);
		entries_say(txn, record);
	}
	txn_commit(txn);
	node_sync(&p->alice);
	for (bool more = true; more; pages++) {
		ask_begin(&a);
		packet_put_query_records(&a.query, 77, device_of(&p->alice), from, 1000);
		ask(&p->alice, &a);
		assert_true(a.page.item_count > 0);
		assert_int_equal(a.page.order, ORDER_SEQ);
		more = a.page.count > a.page.item_count;
		size_t left = a.page.item_count;
		while (packet_next_record(&a.page.items, &left, &item)) {
			unsigned_run = item.is_signed ? 0 : unsigned_run + 1;
			assert_true(unsigned_run <= 16);
			all++;
			from++;
		}
		ask_end(&a);
	}
	assert_int_equal(all, 40);
	assert_int_equal(unsigned_run, 0);
	assert_in_range(pages, 3, 5);
	ask_begin(&a);
	packet_put_query_records(&a.query, 77, device_of(&p->alice), 3, 5);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 3);
	assert_int_equal(a.page.count, 3);
	ask_end(&a);
	ask_begin(&a);
	packet_put_query_records(&a.query, 77, device_of(&p->bob), 0, 5);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 0);
	ask_end(&a);
}

static void pieces_in_the_order_asked(void **state)
{
	struct pair *p = *state;
	struct answered a;
	struct piece_item item;
	struct id names[64];
	char *text = noise(5, 900000);

	write_text(&p->alice, NULL, "long", text);
	free(text);
	node_sync(&p->alice);
	struct run *run = run_of(&p->alice, device_of(&p->alice), 0, 0);
	ssize_t count = p->alice.depot->calls->pieces_of(p->alice.depot->context, &run->items[0], names, 64, SIZE_MAX);
	assert_in_range(count, 30, 64);
	run_free(run);
	names[1] = (struct id){ { 1 } }; /* not here */
	ask_begin(&a);
	packet_put_query_pieces(&a.query, 77, names, (size_t)count);
	ask(&p->alice, &a);
	assert_in_range(a.page.item_count, 10, count - 1);
	assert_true(a.page.count > a.page.item_count);
	size_t left = a.page.item_count;
	for (size_t i = 0; packet_next_piece(&a.page.items, &left, &item); i++) {
		struct id hash;
		assert_true(id_equal(&item.name, &names[i]));
		assert_int_equal(item.size == 0, i == 1);
		if (item.size == 0)
			continue;
		id_of_bytes(&hash, item.bytes, item.size);
		assert_true(id_equal(&hash, &names[i]));
	}
	ask_end(&a);
	ask_begin(&a);
	packet_put_query_pieces(&a.query, 77, names, 3);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 3);
	assert_int_equal(a.page.count, 3);
	ask_end(&a);
}

static void authors_and_peers_and_nothing(void **state)
{
	struct pair *p = *state;
	struct answered a;
	struct id author, device;
	const char *address;
	size_t size;

	struct id document = write_text(&p->alice, NULL, "a", "1");
	ask_begin(&a);
	packet_put_query_plain(&a.query, 77, QUERY_AUTHORS, &document);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 1);
	size_t left = 1;
	assert_true(packet_next_id(&a.page.items, &left, &author));
	assert_true(id_equal(&author, device_of(&p->alice)));
	ask_end(&a);

	struct work *work = work_new(WORK_REMEMBER, p->alice.depot);
	uint8_t value[40] = { 7 };
	work_put_fact(work, "peer\0example.org:4040", 21, value, sizeof(value));
	work_put_fact(work, "receipt\0x", 9, "y", 1);
	work_put_fact(work, "gone", 4, "", 0);
	work_run(work);
	assert_int_equal(work->result, 0);
	work_free(work);
	ask_begin(&a);
	packet_put_query_plain(&a.query, 77, QUERY_PEERS, NULL);
	ask(&p->alice, &a);
	assert_int_equal(a.page.item_count, 1);
	left = 1;
	assert_true(packet_next_peer(&a.page.items, &left, &address, &size, &device));
	assert_int_equal(size, 16);
	assert_memory_equal(address, "example.org:4040", size);
	assert_memory_equal(&device, value, ID_SIZE);
	ask_end(&a);

	const struct query unknown = { .nonce = 77, .field = QUERY_TALLY };
	struct signature signature;
	struct page page;
	struct bytes out;
	uint64_t items = 9;
	bytes_init(&out, PAGE_STATEMENT_MAX);
	assert_int_equal(answer_make(p->alice.depot, &unknown, &binding, 1, &out, &signature, &items), 0);
	assert_int_equal(items, 0);
	assert_int_equal(page_read(&page, out.data, out.size), 0);
	assert_int_equal(page.item_count, 0);
	bytes_finish(&out);
}

static struct work *run_work(struct work *work, int expected)
{
	assert_non_null(work);
	work_run(work);
	assert_int_equal(work->result, expected);
	return work;
}

static void works_do_what_they_say(void **state)
{
	struct pair *p = *state;
	struct head head;
	struct packet packet;

	write_text(&p->alice, NULL, "a", "text");
	work_free(run_work(work_new(WORK_SYNC, p->alice.depot), 0));
	assert_int_equal(p->alice.depot->calls->head(p->alice.depot->context, device_of(&p->alice), &head), 0);

	struct run *run = run_of(&p->alice, device_of(&p->alice), 0, 9);
	struct work *work = work_new(WORK_RECORDS, p->bob.depot);
	work->device = *device_of(&p->alice);
	work->records = calloc(1, sizeof(*work->records));
	work->records[0] = run->items[0];
	work->count = 1;
	work_free(run_work(work, 1));

	struct id name;
	uint8_t member[512];
	assert_int_equal(p->alice.depot->calls->pieces_of(p->alice.depot->context, &run->items[0], &name, 1, 512), 1);
	work = work_new(WORK_PIECES, p->bob.depot);
	work->pieces = calloc(2, sizeof(*work->pieces));
	work->count = 2;
	work->pieces[0].name = work->pieces[1].name = name;
	work->pieces[0].bytes = work->pieces[1].bytes = member;
	work->pieces[0].size = (size_t)p->alice.depot->calls->read_piece(p->alice.depot->context, &name, member, 512);
	work->pieces[1].size = 10;
	run_work(work, 0);
	assert_int_equal(work->results[0], 0);
	assert_int_equal(work->results[1], -EBADMSG);
	work_free(work);
	assert_same_folder(&p->alice, &p->bob, device_of(&p->alice));

	work = work_new(WORK_ANSWER, p->alice.depot);
	packet_put_query_records(&work->input, 5, device_of(&p->alice), 0, 9);
	assert_int_equal(packet_read(&packet, work->input.data, work->input.size), 0);
	work->query = packet.query;
	work->cb = binding;
	run_work(work, 0);
	assert_int_equal(work->items, 1);
	assert_int_equal(work->bytes, work->output.size);
	struct work *check = work_new(WORK_CHECK, p->bob.depot);
	check->device = *device_of(&p->alice);
	check->signature = work->signature;
	bytes_put(&check->input, work->output.data, work->output.size);
	run_work(check, 0);
	check->input.data[40] ^= 1;
	run_work(check, -EKEYREJECTED);
	work_free(check);
	work_free(work);
	run_free(run);

	work = work_new(WORK_PUZZLE, p->bob.depot);
	work->puzzle.effort = 1;
	run_work(work, 0);
	assert_true(puzzle_check(&work->puzzle, &work->solution));
	work->puzzle.effort = EFFORT_MAX;
	work->cancelled = 1;
	run_work(work, -ECANCELED);
	work_free(work);
	work_free(NULL);
}

int main(void)
{
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_PAIR(heads_of_entities),
		WITH_PAIR(heads_of_all),
		WITH_PAIR(heads_by_ranges),
		WITH_PAIR(records_by_pages),
		WITH_PAIR(pieces_in_the_order_asked),
		WITH_PAIR(authors_and_peers_and_nothing),
		WITH_PAIR(works_do_what_they_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
