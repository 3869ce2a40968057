/* Many connections. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

#define CROWD_MAX 1000
#define SESSIONS_HELD 260 /* more than a node has room for */

struct crowd {
	struct hostile *hostile;
	int fds[CROWD_MAX];
	unsigned sources; /* addresses to come from */
	unsigned next;
};

static void crowd_begin(struct crowd *c, struct hostile *h, unsigned sources)
{
	*c = (struct crowd){ .hostile = h, .sources = sources };
	for (unsigned i = 0; i < CROWD_MAX; i++)
		c->fds[i] = -1;
}

static void crowd_end(struct crowd *c)
{
	for (unsigned i = 0; i < CROWD_MAX; i++)
		if (c->fds[i] >= 0)
			close(c->fds[i]);
}

/* Is it connected and not closed by the other end? What came is thrown away. */
static bool is_open(int fd)
{
	uint8_t bytes[4096];
	ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	return size > 0 || (size < 0 && (errno == EAGAIN || errno == ENOTCONN));
}

/* Sends to a connection that may not be there yet. */
static void say(struct hostile *h, int fd, const void *bytes, size_t size)
{
	struct pollfd at = { .fd = fd, .events = POLLOUT };

	if (poll(&at, 1, 50) <= 0)
		return;
	ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	h->sent += sent > 0 ? (uint64_t)sent : 0;
}

/* Keeps as many connections as it can; each says `bytes` when it begins. */
static void crowd_keep(struct crowd *c, void (*begin)(struct hostile *h, int fd))
{
	struct hostile *h = c->hostile;

	while (!is_over(h)) {
		for (unsigned i = 0; i < CROWD_MAX && !is_over(h); i++) {
			if (c->fds[i] >= 0 && is_open(c->fds[i]))
				continue;
			if (c->fds[i] >= 0) {
				h->refused++;
				close(c->fds[i]);
			}
			c->fds[i] = dial(h, c->next++ % c->sources, true);
			if (c->fds[i] >= 0 && begin)
				begin(h, c->fds[i]);
		}
		nap(5);
	}
}

static void crowd_run(struct hostile *h, unsigned sources, void (*begin)(struct hostile *h, int fd))
{
	struct crowd *c = malloc(sizeof(*c));

	crowd_begin(c, h, sources);
	crowd_keep(c, begin);
	crowd_end(c);
	free(c);
}

void crowd_silent_one(struct hostile *h)
{
	crowd_run(h, 1, NULL);
}

void crowd_silent_many(struct hostile *h)
{
	crowd_run(h, 5000, NULL);
}

static size_t make_hello(struct hostile *h, uint8_t out[HANDSHAKE_MESSAGE_MAX])
{
	struct handshake *hs = handshake_new_client(&h->shelf->key, NULL, NULL, &h->clock);
	size_t size = handshake_give(hs, out);

	handshake_free(hs);
	return size;
}

static void say_hello(struct hostile *h, int fd)
{
	uint8_t message[HANDSHAKE_MESSAGE_MAX];

	say(h, fd, message, make_hello(h, message));
}

void crowd_hello(struct hostile *h)
{
	crowd_run(h, 5000, say_hello);
}

static void say_garbage(struct hostile *h, int fd)
{
	uint8_t bytes[4096];
	static const uint8_t types[] = { 1, 2, 4, 7, 0, 255 };

	clock_random(&h->clock, bytes, sizeof(bytes));
	bytes[0] = types[number_of(h, sizeof(types))];
	say(h, fd, bytes, 1 + number_of(h, sizeof(bytes)));
}

void crowd_garbage(struct hostile *h)
{
	crowd_run(h, 5000, say_garbage);
}

/* A right hello, then what is no earn: the victim has to open it. */
void crowd_garbage_earn(struct hostile *h)
{
	uint8_t bytes[EARN_SIZE];

	for (unsigned i = 0; !is_over(h); i++) {
		int fd = dial(h, i % 100, false);
		if (fd < 0) {
			nap(10);
			continue;
		}
		struct pollfd at = { .fd = fd, .events = POLLIN };
		say_hello(h, fd);
		poll(&at, 1, 200);
		clock_random(&h->clock, bytes, sizeof(bytes));
		bytes[0] = 7;
		say(h, fd, bytes, sizeof(bytes));
		poll(&at, 1, 100);
		close(fd);
	}
}

/* A byte at a time, and few of them: half of the connections at the hello, half at a frame. */
void crowd_slow(struct hostile *h)
{
	uint8_t hello[HANDSHAKE_MESSAGE_MAX];
	struct session sessions[8];
	struct crowd *c = malloc(sizeof(*c));
	size_t size = make_hello(h, hello), at = 0;
	static const uint8_t frame[4] = { 0, 0, 4, 0 }; /* 256 KiB */

	crowd_begin(c, h, 5000);
	for (unsigned i = 0; i < 20; i++)
		c->fds[i] = dial(h, 1000 + i, true);
	for (unsigned i = 0; i < 8; i++) {
		struct shelf *shelf = shelf_new(h->seed + 100 + i);
		if (session_open(&sessions[i], h, shelf, i) == 0)
			session_write(&sessions[i], frame, sizeof(frame));
		shelf_free(shelf);
	}
	while (!is_over(h)) {
		for (unsigned i = 0; i < 20; i++)
			if (c->fds[i] >= 0 && at < size)
				say(h, c->fds[i], hello + at, 1);
		for (unsigned i = 0; i < 8; i++)
			if (sessions[i].fd >= 0)
				session_write(&sessions[i], "x", 1);
		at++;
		nap(100);
	}
	for (unsigned i = 0; i < 8; i++)
		session_close(&sessions[i]);
	crowd_end(c);
	free(c);
}

void crowd_churn(struct hostile *h)
{
	struct session s;

	for (unsigned i = 0; !is_over(h); i++)
		if (session_open(&s, h, h->shelf, i % 20) == 0)
			session_close(&s);
}

/* ---- many sessions, each with a key of its own ---- */

struct band {
	struct session *sessions;
	struct shelf **shelves;
	unsigned count;
};

static void band_run(struct hostile *h, unsigned sources, void (*begin)(struct session *s))
{
	struct band b = { .sessions = calloc(SESSIONS_HELD, sizeof(*b.sessions)),
			  .shelves = calloc(SESSIONS_HELD, sizeof(*b.shelves)) };

	for (unsigned i = 0; !is_over(h) && b.count < SESSIONS_HELD && i < SESSIONS_HELD + 10; i++) {
		b.shelves[b.count] = shelf_new(h->seed + 1000 + b.count);
		struct session *s = &b.sessions[b.count];
		if (session_open(s, h, b.shelves[b.count], b.count % sources) < 0) {
			shelf_free(b.shelves[b.count]);
			continue;
		}
		b.count++;
		if (begin)
			begin(s);
	}
	while (!is_over(h))
		nap(20);
	for (unsigned i = 0; i < b.count; i++) {
		session_close(&b.sessions[i]);
		shelf_free(b.shelves[i]);
	}
	free(b.sessions);
	free(b.shelves);
}

void crowd_identities(struct hostile *h)
{
	band_run(h, 1, NULL);
}

/* All of a frame of the greatest size but its last byte. */
static void begin_frame(struct session *s)
{
	size_t size = 4 + FRAME_SIZE_MAX - 1;
	uint8_t *bytes = calloc(1, size);

	bytes[2] = FRAME_SIZE_MAX >> 16;
	session_write(s, bytes, size);
	free(bytes);
}

void crowd_partial_frames(struct hostile *h)
{
	band_run(h, 100, begin_frame);
}

static void ask_all(struct session *s)
{
	for (unsigned i = 0; i < QUERIES_MAX - 1; i++) {
		struct bytes packet;
		bytes_init(&packet, PACKET_SIZE_MAX);
		packet_put_query_records(&packet, ++s->nonce, &s->keys.peer, 0, NUMBER_MAX);
		if (session_send(s, &packet) < 0)
			return;
	}
}

static void ask_slowly(struct session *s)
{
	int small = 4096;

	setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	ask_all(s);
}

/* Each asks for the whole log as often as it may, and reads nothing. */
void crowd_slow_readers(struct hostile *h)
{
	band_run(h, 100, ask_slowly);
}

static void say_filter(struct session *s)
{
	uint8_t *bits = calloc(1, FOLLOW_SIZE_MAX);
	struct bytes packet;

	memset(bits, 255, FOLLOW_SIZE_MAX); /* all are followed */
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_follow(&packet, bits, FOLLOW_SIZE_MAX);
	session_send(s, &packet);
	free(bits);
}

void crowd_filters(struct hostile *h)
{
	band_run(h, 100, say_filter);
}
