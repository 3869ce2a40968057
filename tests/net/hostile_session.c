#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"
#include "puzzle.h"
#include "reconcile.h"

#define IN_SIZE_MAX (4 * 1024 * 1024)
#define MEET_MS 3000
#define WRITE_MS 1000 /* a victim that does not read: it is over */

void begin_clock(struct hostile *h)
{
	h->until_ms = clock_now_ms(&h->clock) + h->seconds * 1000;
}

bool is_over(const struct hostile *h)
{
	return clock_now_ms(&h->clock) >= h->until_ms;
}

uint64_t number_of(struct hostile *h, uint64_t below)
{
	uint64_t number;

	clock_random(&h->clock, &number, sizeof(number));
	return number % below;
}

void nap(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

int dial(struct hostile *h, unsigned source, bool nonblocking)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	if (fd < 0)
		return -1;
	h->tries++;
	from.sin_addr.s_addr = htonl(0x7f420000 + source % 0xfffe + 1);
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
	    (connect(fd, (struct sockaddr *)&h->target, sizeof(h->target)) == 0 || errno == EINPROGRESS))
		return fd;
	h->refused++;
	close(fd);
	return -1;
}

/* ---- bytes ---- */

static int wait_for(int fd, short events, int ms)
{
	struct pollfd at = { .fd = fd, .events = events };

	return poll(&at, 1, ms) > 0;
}

int session_write(struct session *s, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;

	while (size > 0) {
		ssize_t done = send(s->fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno == EAGAIN) {
			if (!wait_for(s->fd, POLLOUT, WRITE_MS))
				return -ETIMEDOUT;
			continue;
		}
		if (done <= 0)
			return -EPIPE;
		s->hostile->sent += (uint64_t)done;
		from += done;
		size -= (size_t)done;
	}
	return 0;
}

/* 1: something came; 0: nothing in time. */
static int read_more(struct session *s, int wait_ms)
{
	if (!wait_for(s->fd, POLLIN, wait_ms))
		return 0;
	uint8_t *to = bytes_extend(&s->in, 64 * 1024);
	if (!to)
		abort();
	ssize_t done = recv(s->fd, to, 64 * 1024, MSG_DONTWAIT);
	s->in.size -= 64 * 1024 - (size_t)(done > 0 ? done : 0);
	if (done < 0 && errno == EAGAIN)
		return 0;
	if (done <= 0)
		return -EPIPE;
	s->hostile->received += (uint64_t)done;
	return 1;
}

static void drop_front(struct bytes *b, size_t size)
{
	if (size == 0)
		return;
	memmove(b->data, b->data + size, b->size - size);
	b->size -= size;
}

/* ---- the handshake ---- */

static bool solve(struct handshake *hs)
{
	struct puzzle puzzle;
	struct puzzle_search search = { 0 };

	if (!handshake_puzzle(hs, &puzzle))
		return true;
	if (!puzzle_solve(&puzzle, &search, 1u << 24))
		return false;
	handshake_solved(hs, &search.found);
	return true;
}

static int meet(struct session *s, struct handshake *hs)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];
	uint64_t until_ms = clock_now_ms(&s->hostile->clock) + MEET_MS;

	while (clock_now_ms(&s->hostile->clock) < until_ms) {
		size_t size;
		while (solve(hs) && (size = handshake_give(hs, message)) > 0)
			if (session_write(s, message, size) < 0)
				return -EPIPE;
		if (handshake_done(hs, &s->keys))
			return 0;
		if (read_more(s, 50) < 0)
			return -EPIPE;
		ssize_t used = handshake_take(hs, s->in.data, s->in.size);
		if (used < 0)
			return (int)used;
		drop_front(&s->in, (size_t)used);
	}
	return -ETIMEDOUT;
}

static int say_ready(struct session *s)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_ready(&packet, &s->shelf->key.public, "", 1, 1);
	return session_send(s, &packet);
}

int session_open(struct session *s, struct hostile *h, struct shelf *shelf, unsigned source)
{
	struct handshake *hs;

	*s = (struct session){ .hostile = h, .shelf = shelf, .fd = dial(h, source, false) };
	bytes_init(&s->in, IN_SIZE_MAX);
	bytes_init(&s->packet, PACKET_SIZE_MAX);
	clock_random(&h->clock, &s->nonce, sizeof(s->nonce));
	if (s->fd < 0) {
		nap(20);
		return -ECONNREFUSED;
	}
	hs = handshake_new_client(&shelf->key, NULL, NULL, &h->clock);
	int err = hs ? meet(s, hs) : -ENOMEM;
	handshake_free(hs);
	if (err == 0)
		stream_init(&s->stream, s->keys.send, s->keys.receive, clock_now_ms(&h->clock));
	while (err == 0 && !s->ready)
		err = is_over(h) ? -ETIMEDOUT : session_turn(s, 50);
	if (err < 0) {
		h->refused++;
		session_close(s);
		nap(5);
		return err;
	}
	h->sessions++;
	return 0;
}

void session_close(struct session *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	bytes_finish(&s->in);
	bytes_finish(&s->packet);
}

int session_send(struct session *s, struct bytes *packet)
{
	struct bytes frame;

	bytes_init(&frame, FRAME_SIZE_MAX + 64);
	int err = bytes_error(packet);
	if (err == 0)
		err = stream_push(&s->stream, packet->data, packet->size, false, clock_now_ms(&s->hostile->clock), &frame);
	if (err == 0)
		err = session_write(s, frame.data, frame.size);
	bytes_finish(&frame);
	bytes_finish(packet);
	return err;
}

int session_push(struct session *s, size_t from, size_t to, size_t piece_count)
{
	struct record_item records[PUSH_RECORDS_MAX];
	struct bytes packet;
	size_t count = 0;

	for (size_t i = from; i <= to && i < s->shelf->record_count && count < PUSH_RECORDS_MAX; i++)
		records[count++] = s->shelf->records[i].item;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_push(&packet, records, count, s->shelf->pieces, piece_count);
	return session_send(s, &packet);
}

int session_note(struct session *s, const struct head *heads, size_t count)
{
	struct bytes packet;

	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_notes(&packet, heads, count);
	return session_send(s, &packet);
}

/* ---- answers ---- */

static void answer_ranges(struct session *s, const struct query *query, struct bytes *items, struct page *page)
{
	struct bytes message;
	struct head head;
	uint8_t key[16];

	shelf_head(s->shelf, &head);
	reconcile_key(key, &s->keys.cb);
	struct reconcile_set *set = reconcile_set_new(&head, 1, key);
	bytes_init(&message, RECONCILE_MESSAGE_MAX);
	if (set && reconcile_answer(set, query->ranges, query->ranges_size, &message) == 0) {
		packet_put_ranges_item(items, message.data, message.size);
		page->item_count = 1;
	}
	reconcile_set_free(set);
	bytes_finish(&message);
}

static void answer_heads(struct session *s, const struct query *query, struct bytes *items, struct page *page)
{
	struct head head;

	if (query->mode == HEADS_RANGES) {
		answer_ranges(s, query, items, page);
		return;
	}
	shelf_head(s->shelf, &head);
	if (query->mode == HEADS_ALL && id_compare(&head.device, &query->subject) <= 0)
		return;
	packet_put_head_item(items, &head);
	page->item_count = 1;
}

static void answer_records(struct session *s, const struct query *query, struct bytes *items, struct page *page)
{
	if (!id_equal(&query->subject, &s->shelf->key.public))
		return;
	for (size_t i = 0; i < s->shelf->record_count; i++) {
		const struct forged *f = &s->shelf->records[i];
		if (f->seq < query->from || f->seq > query->to)
			continue;
		if (items->size >= PAGE_SIZE_AIM || page->item_count == PAGE_ITEMS_MAX) {
			page->count = 1; /* more */
			break;
		}
		packet_put_record_item(items, &f->item);
		page->item_count++;
	}
}

static void answer_pieces(struct session *s, const struct query *query, struct bytes *items, struct page *page)
{
	struct cbor_reader list = query->list;

	for (size_t i = 0; i < query->list_count && items->size < PAGE_SIZE_AIM; i++) {
		struct piece_item item = { 0 };
		cbor_get_id(&list, &item.name);
		const struct piece_item *piece = shelf_find_piece(s->shelf, &item.name);
		packet_put_piece_item(items, piece ? piece : &item);
		page->item_count++;
	}
}

static void answer_query(struct session *s, const struct query *query, struct bytes *items, struct page *page)
{
	switch (query->field) {
	case QUERY_HEADS:
		answer_heads(s, query, items, page);
		break;
	case QUERY_RECORDS:
		answer_records(s, query, items, page);
		break;
	case QUERY_PIECES:
		answer_pieces(s, query, items, page);
		break;
	case QUERY_HOLDERS:
	case QUERY_PEERS:
	case QUERY_SEARCH:
	case QUERY_CHALLENGE:
	case QUERY_ADVERT:
	case QUERY_TALLY:
	case QUERY_ROSTER:
	case QUERY_AUTHORS:
	case QUERY_FIELD_COUNT:
		break;
	}
}

/* It begins and does not end: nothing can be said after it. */
static int send_half(struct session *s, struct bytes *packet)
{
	struct bytes frame;

	bytes_init(&frame, FRAME_SIZE_MAX + 64);
	int err = stream_push(&s->stream, packet->data, packet->size, false, 0, &frame);
	if (err == 0)
		err = session_write(s, frame.data, frame.size / 2);
	bytes_finish(&frame);
	bytes_finish(packet);
	s->mute = true;
	return err;
}

static int send_page(struct session *s, struct page *page, const struct bytes *items)
{
	struct bytes statement, packet;
	struct signature signature;

	page->items_bytes = items->data;
	page->items_size = items->size;
	bytes_init(&statement, PAGE_STATEMENT_MAX);
	bytes_init(&packet, PACKET_SIZE_MAX);
	int err = page_make(page, &s->shelf->key, &statement, &signature);
	if (err == 0) {
		if (s->lie == LIE_SIGNATURE)
			signature.bytes[9] ^= 1;
		packet_put_statement(&packet, PACKET_PAGE, statement.data, statement.size, &signature);
	}
	bytes_finish(&statement);
	if (err < 0) {
		fprintf(stderr, "a page cannot be made: %s\n", strerror(-err));
		bytes_finish(&packet);
		return err;
	}
	return s->lie == LIE_HALF ? send_half(s, &packet) : session_send(s, &packet);
}

static int answer(struct session *s, const struct query *query)
{
	struct head head;
	struct bytes items;
	struct page page = { .nonce = query->nonce, .time_ms = clock_time_ms(&s->hostile->clock), .field = query->field,
			     .cb = s->keys.cb };

	shelf_head(s->shelf, &head);
	page.head_seq = head.seq;
	page.head = head.record;
	bytes_init(&items, PAGE_STATEMENT_MAX);
	answer_query(s, query, &items, &page);
	page.count += page.item_count;
	if (s->edit)
		s->edit(s, query, &page, &items);
	if (s->lie == LIE_NONCE)
		page.nonce ^= 1;
	if (s->lie == LIE_BINDING)
		page.cb.bytes[0] ^= 1;
	int err = send_page(s, &page, &items);
	if (err == 0 && s->lie == LIE_TWICE)
		err = send_page(s, &page, &items);
	bytes_finish(&items);
	return err;
}

/* ---- packets that come ---- */

static int hear(struct session *s)
{
	struct packet packet;
	struct bytes pong;

	if (packet_read(&packet, s->packet.data, s->packet.size) < 0) {
		fprintf(stderr, "the victim sent what is no packet\n");
		return -EBADMSG;
	}
	s->pages += packet.kind == PACKET_PAGE;
	s->pushes += packet.kind == PACKET_PUSH || packet.kind == PACKET_NOTE;
	if (s->mute)
		return 0;
	if (packet.kind == PACKET_READY) {
		s->ready = true;
		return say_ready(s);
	}
	if (packet.kind == PACKET_PING) {
		bytes_init(&pong, PACKET_SIZE_MAX);
		packet_put_ping(&pong, PACKET_PONG, packet.token);
		return session_send(s, &pong);
	}
	if (packet.kind != PACKET_QUERY)
		return 0;
	s->queries++;
	s->hostile->queries++;
	return s->is_silent ? 0 : answer(s, &packet.query);
}

static int take_frames(struct session *s)
{
	bool final = false;
	ssize_t used;
	int err = 0;

	while (err == 0 && (used = stream_pull(&s->stream, s->in.data, s->in.size, &s->packet, &final)) > 0) {
		drop_front(&s->in, (size_t)used);
		if (s->packet.size > 0)
			err = hear(s);
		if (final)
			return -EPIPE;
	}
	return err < 0 ? err : used < 0 ? (int)used : 0;
}

int session_turn(struct session *s, int wait_ms)
{
	int err = read_more(s, wait_ms);

	return err < 0 ? err : take_frames(s);
}

void session_stay(struct session *s)
{
	while (!is_over(s->hostile) && session_turn(s, 20) == 0)
		;
}

int session_settle(struct session *s, unsigned quiet_ms)
{
	uint64_t queries = s->queries, since_ms = clock_now_ms(&s->hostile->clock), until_ms = since_ms + 4 * quiet_ms;
	int err = 0;

	while (err == 0 && !is_over(s->hostile) && clock_now_ms(&s->hostile->clock) - since_ms < quiet_ms &&
	       clock_now_ms(&s->hostile->clock) < until_ms) {
		err = session_turn(s, 10);
		if (s->queries != queries)
			since_ms = clock_now_ms(&s->hostile->clock);
		queries = s->queries;
	}
	return err;
}
