/* One session that says what it must not. */
#include <sodium.h>

#include "hostile.h"
#include "reconcile.h"

/* Again and again: meets, says it until it is thrown out, waits for the end. */
static void repeat(struct hostile *h, int (*say)(struct session *s))
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		while (!is_over(h) && say(&s) == 0 && session_turn(&s, 0) == 0)
			;
		session_close(&s);
	}
}

/* The same, and what it said once is enough: how the victim takes it is waited for. */
static void repeat_once(struct hostile *h, int (*say)(struct session *s))
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		if (say(&s) == 0)
			session_settle(&s, 200);
		session_close(&s);
	}
}

/* ---- frames ---- */

static int say_garbage(struct session *s)
{
	uint8_t bytes[2048] = { 0 };

	clock_random(&s->hostile->clock, bytes + 4, sizeof(bytes) - 4);
	bytes[0] = (sizeof(bytes) - 4) & 255;
	bytes[1] = (sizeof(bytes) - 4) >> 8;
	return session_write(s, bytes, sizeof(bytes));
}

void words_garbage(struct hostile *h)
{
	repeat_once(h, say_garbage);
}

static int say_garbage_packet(struct session *s)
{
	uint8_t bytes[2048];
	struct bytes packet;

	clock_random(&s->hostile->clock, bytes, sizeof(bytes));
	bytes[0] = (uint8_t)(0x80 + number_of(s->hostile, 8)); /* an array */
	bytes[1] = (uint8_t)number_of(s->hostile, 14);         /* a kind */
	bytes_init(&packet, PACKET_SIZE_MAX);
	bytes_put(&packet, bytes, 2 + number_of(s->hostile, sizeof(bytes) - 2));
	return session_send(s, &packet);
}

void words_garbage_packets(struct hostile *h)
{
	repeat_once(h, say_garbage_packet);
}

static int say_oversized(struct session *s)
{
	static const uint32_t sizes[] = { FRAME_SIZE_MAX + 1, UINT32_MAX, INT32_MAX, 0, 1, 16 };
	uint32_t size = sizes[number_of(s->hostile, sizeof(sizes) / sizeof(sizes[0]))];
	uint8_t bytes[4096] = { (uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24) };

	return session_write(s, bytes, sizeof(bytes));
}

void words_oversized(struct hostile *h)
{
	repeat_once(h, say_oversized);
}

/* A page's beginning, then the connection is gone. */
static int say_cut(struct session *s)
{
	struct bytes packet, frame;

	bytes_init(&packet, PACKET_SIZE_MAX);
	bytes_init(&frame, FRAME_SIZE_MAX + 64);
	packet_put_ping(&packet, PACKET_PING, 1);
	int err = stream_push(&s->stream, packet.data, packet.size, false, 0, &frame);
	if (err == 0)
		err = session_write(s, frame.data, frame.size / 2);
	bytes_finish(&packet);
	bytes_finish(&frame);
	return err < 0 ? err : -EPIPE;
}

void words_cut(struct hostile *h)
{
	repeat_once(h, say_cut);
}

static int say_ready_again(struct session *s)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ready(&packet, &s->keys.peer, ":1", 3, NUMBER_MAX);
	return session_send(s, &packet);
}

void words_again_ready(struct hostile *h)
{
	repeat_once(h, say_ready_again);
}

static int say_rekey(struct session *s)
{
	struct bytes packet;
	uint8_t frame[256];
	unsigned long long size;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ping(&packet, PACKET_PING, 1);
	uint8_t length[4] = { (uint8_t)(packet.size + 17) };
	memcpy(frame, length, 4);
	crypto_secretstream_xchacha20poly1305_push(&s->stream.out, frame + 4, &size, packet.data, packet.size, length, 4,
						   crypto_secretstream_xchacha20poly1305_TAG_REKEY);
	bytes_finish(&packet);
	return session_write(s, frame, 4 + (size_t)size);
}

void words_rekeys(struct hostile *h)
{
	repeat(h, say_rekey);
}

/* ---- packets in floods ---- */

static int say_ping(struct session *s)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ping(&packet, number_of(s->hostile, 2) ? PACKET_PING : PACKET_PONG, 7);
	return session_send(s, &packet);
}

void words_pings(struct hostile *h)
{
	repeat(h, say_ping);
}

static int say_query(struct session *s)
{
	struct bytes packet;
	struct id none = { { 0 } };

	bytes_init(&packet, PACKET_SIZE_MAX);
	switch (number_of(s->hostile, 4)) {
	case 0:
		packet_put_query_records(&packet, ++s->nonce, &s->keys.peer, 0, NUMBER_MAX);
		break;
	case 1:
		packet_put_query_heads_all(&packet, ++s->nonce, &none);
		break;
	case 2:
		packet_put_query_plain(&packet, ++s->nonce, QUERY_PEERS, NULL);
		break;
	default:
		packet_put_query_plain(&packet, ++s->nonce, QUERY_AUTHORS, &s->keys.peer);
	}
	return session_send(s, &packet);
}

void words_queries(struct hostile *h)
{
	repeat(h, say_query);
}

/* A message that asks to divide all, as many times as queries go: one at a time, answered or not. */
static int say_ranges(struct session *s)
{
	struct bytes message, packet;
	struct reconcile_set *set;
	struct head heads[64];
	uint8_t key[16];

	clock_random(&s->hostile->clock, heads, sizeof(heads));
	for (unsigned i = 0; i < 64; i++)
		heads[i].seq = heads[i].records = 5;
	reconcile_key(key, &s->keys.cb);
	set = reconcile_set_new(heads, 64, key);
	struct reconcile *r = reconcile_new(set);
	bytes_init(&message, RECONCILE_MESSAGE_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	reconcile_begin(r, &message);
	if (number_of(s->hostile, 8) == 0)
		message.data[number_of(s->hostile, message.size)] ^= 255;
	packet_put_query_heads_ranges(&packet, ++s->nonce, message.data, message.size);
	bytes_finish(&message);
	reconcile_free(r);
	reconcile_set_free(set);
	int err = session_send(s, &packet);
	return err < 0 ? err : session_turn(s, 5);
}

void words_ranges(struct hostile *h)
{
	repeat(h, say_ranges);
}

static int say_filter(struct session *s)
{
	uint8_t *bits = malloc(FOLLOW_SIZE_MAX);
	struct bytes packet;

	clock_random(&s->hostile->clock, bits, FOLLOW_SIZE_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_follow(&packet, bits, FOLLOW_SIZE_MAX);
	free(bits);
	return session_send(s, &packet);
}

void words_filters(struct hostile *h)
{
	repeat(h, say_filter);
}

/* Notes of logs that nobody has. */
static int say_notes(struct session *s)
{
	static struct head heads[NOTES_MAX];

	for (unsigned i = 0; i < NOTES_MAX; i++) {
		clock_random(&s->hostile->clock, &heads[i].device, ID_SIZE);
		clock_random(&s->hostile->clock, &heads[i].record, ID_SIZE);
		heads[i].seq = number_of(s->hostile, NUMBER_MAX);
	}
	heads[0].device = s->keys.peer; /* also of the victim's own: it is said to have more */
	return session_note(s, heads, NOTES_MAX);
}

void words_notes(struct hostile *h)
{
	repeat(h, say_notes);
}

static int say_graft(struct session *s)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_graft(&packet, &s->keys.peer, number_of(s->hostile, 3));
	return session_send(s, &packet);
}

void words_grafts(struct hostile *h)
{
	repeat(h, say_graft);
}

/* Thanks for what was never served. */
static int say_thanks(struct session *s)
{
	const struct receipt receipt = { .client = s->shelf->key.public, .server = s->keys.peer, .cb = s->keys.cb,
					 .bytes = 1 << 30, .pieces = 4096, .welcome = WELCOME_MAX };
	struct bytes statement, packet;
	struct signature signature;

	bytes_init(&statement, RECEIPT_SIZE_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	receipt_put(&receipt, &statement);
	receipt_sign(&signature, &s->shelf->key, true, statement.data, statement.size);
	packet_put_statement(&packet, PACKET_THANKS, statement.data, statement.size, &signature);
	bytes_finish(&statement);
	return session_send(s, &packet);
}

void words_thanks(struct hostile *h)
{
	repeat_once(h, say_thanks);
}

static int say_page(struct session *s)
{
	struct page page = { .nonce = ++s->nonce, .field = QUERY_RECORDS, .cb = s->keys.cb, .count = NUMBER_MAX,
			     .item_count = 1, .head_seq = 1, .head = s->keys.peer };
	struct bytes items, statement, packet;
	struct signature signature;

	bytes_init(&items, PAGE_STATEMENT_MAX);
	bytes_init(&statement, PAGE_STATEMENT_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_record_item(&items, &s->shelf->records[0].item);
	page.items_bytes = items.data;
	page.items_size = items.size;
	int err = page_make(&page, &s->shelf->key, &statement, &signature);
	if (err == 0)
		packet_put_statement(&packet, PACKET_PAGE, statement.data, statement.size, &signature);
	bytes_finish(&items);
	bytes_finish(&statement);
	return err < 0 ? err : session_send(s, &packet);
}

void words_pages_unasked(struct hostile *h)
{
	repeat_once(h, say_page);
}

/* ---- logs nobody asked for ---- */

/* A valid log of 100,000 records and large pieces, pushed as fast as it goes. */
void words_junk(struct hostile *h)
{
	static uint8_t text[60000];
	const struct forgery no_signature = { .no_signature = true };
	struct session s;

	clock_random(&h->clock, text, sizeof(text));
	for (unsigned i = 0; i < 8; i++) {
		text[i] ^= 1;
		shelf_save(h->shelf, text, sizeof(text), NULL, NULL);
	}
	while (h->shelf->record_count < 100000)
		shelf_vote(h->shelf, h->shelf->record_count % PUSH_RECORDS_MAX == PUSH_RECORDS_MAX - 1 ? NULL : &no_signature);
	begin_clock(h);
	for (unsigned i = 0; !is_over(h); i++) {
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		int err = session_push(&s, 0, 8, 1);
		for (size_t at = 0; err == 0 && at < h->shelf->record_count && !is_over(h); at += PUSH_RECORDS_MAX) {
			err = session_push(&s, at, at + PUSH_RECORDS_MAX - 1, 0);
			if (err == 0)
				err = session_turn(&s, 0);
		}
		session_close(&s);
	}
}

/* Chains of strangers, forged in each way. */
void words_chains(struct hostile *h)
{
	const struct id *victim = NULL;
	struct session s;

	for (unsigned i = 0; !is_over(h); i++) {
		const struct forgery forgeries[] = { { .prev = true }, { .signature = true }, { .no_signature = true }, { .voucher = victim } };
		if (session_open(&s, h, h->shelf, i % 20) < 0)
			continue;
		victim = &s.keys.peer;
		shelf_cut(h->shelf, 1);
		shelf_vote(h->shelf, &forgeries[i % 4]);
		if (session_push(&s, 0, 1, 0) == 0)
			session_settle(&s, 100);
		session_close(&s);
	}
}

/* More pieces than a push may bring. */
static int say_large_push(struct session *s)
{
	return session_push(s, 0, s->shelf->record_count - 1, s->shelf->piece_count);
}

void words_large_pushes(struct hostile *h)
{
	static uint8_t text[600000];

	clock_random(&h->clock, text, sizeof(text));
	shelf_save(h->shelf, text, sizeof(text), NULL, NULL);
	repeat_once(h, say_large_push);
}
