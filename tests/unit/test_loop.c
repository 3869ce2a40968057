/* Real sockets on the loopback: loops over depots in memory, and peers that are sockets held by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sodium.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "depot_memory.h"
#include "loop.h"

#define WAIT_MS 10000
#define EVENT_KINDS (EVENT_OWN_KNOWN + 1)

struct end {
	struct key key;
	struct memory *memory;
	struct depot depot;
	struct depot_calls calls;
	struct loop *loop;
	char address[ADDRESS_SIZE_MAX];
	atomic_uint told[EVENT_KINDS];
	atomic_int closed_result;
	atomic_bool holds; /* the next event keeps the network thread until `go` */
	sem_t held, go;
};

static struct clock clk;
static struct blobs *blobs;
static struct end a, b;

static uint64_t now_ms(void)
{
	return clock_now_ms(&clk);
}

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static void happened(void *context, const struct event *event)
{
	struct end *e = context;

	if (event->kind == EVENT_CLOSE)
		e->closed_result = event->result;
	e->told[event->kind]++;
	if (atomic_exchange(&e->holds, false)) {
		sem_post(&e->held);
		sem_wait(&e->go);
	}
}

static void end_make(struct end *e)
{
	memset(e, 0, sizeof(*e));
	key_create(&e->key, &clk);
	e->memory = memory_new(blobs, &e->key, NULL, &clk);
	memory_append_profile(e->memory, "somebody");
	memory_sync(e->memory);
	e->depot = *memory_depot(e->memory);
	e->calls = *e->depot.calls;
	e->depot.calls = &e->calls;
	sem_init(&e->held, 0, 0);
	sem_init(&e->go, 0, 0);
}

static void end_start(struct end *e)
{
	struct loop_options options = { .depot = &e->depot, .clock = clk, .listen = "127.0.0.1:0", .event = happened, .context = e };
	struct why why = { { 0 } };

	assert_int_equal(loop_start(&e->loop, &options, &why), 0);
	loop_address(e->loop, e->address);
}

static void end_remove(struct end *e)
{
	loop_stop(e->loop);
	memory_free(e->memory);
	sem_destroy(&e->held);
	sem_destroy(&e->go);
}

static int setup(void **state)
{
	blobs = blobs_new(true);
	end_make(&a);
	end_make(&b);
	memory_follow(a.memory, &b.key.public, true);
	memory_follow(b.memory, &a.key.public, true);
	end_start(&a);
	end_start(&b);
	return 0;
}

static int teardown(void **state)
{
	end_remove(&a);
	end_remove(&b);
	blobs_free(blobs);
	return 0;
}

#define WAIT_FOR(condition)                                                    \
	do {                                                                   \
		for (uint64_t until = now_ms() + WAIT_MS; !(condition);) {     \
			if (now_ms() > until)                                  \
				fail_msg("waited in vain for %s", #condition); \
			sleep_ms(2);                                           \
		}                                                              \
	} while (0)

static void save(struct end *e, size_t size)
{
	uint8_t *text = malloc(size);

	randombytes_buf(text, size);
	memory_save(e->memory, NULL, NULL, text, size, NULL);
	loop_appended(e->loop);
	free(text);
}

static bool same(void)
{
	struct id x, y;

	memory_digest(a.memory, &x);
	memory_digest(b.memory, &y);
	return id_equal(&x, &y);
}

static void stop_within(struct end *e, uint64_t ms)
{
	uint64_t start = now_ms();

	loop_stop(e->loop);
	e->loop = NULL;
	if (now_ms() - start > ms)
		fail_msg("it took %llu ms to stop", (unsigned long long)(now_ms() - start));
}

/* A socket of the test's own, connected to where the node listens. */
static int dial(const char *address)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	assert_int_equal(address_split(address, host, &port), 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, host, &to.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int listen_here(char address[ADDRESS_SIZE_MAX])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	address_join(address, "127.0.0.1", ntohs(at.sin_port));
	return fd;
}

/* ---- tests ---- */

static void test_two_meet_converge_and_part(void **state)
{
	struct peer_view peers[4];
	struct core_counts counts;

	save(&b, 200000);
	assert_int_equal(loop_connect(a.loop, b.address, &b.key.public), 0);
	WAIT_FOR(a.told[EVENT_READY] == 1 && b.told[EVENT_READY] == 1);
	WAIT_FOR(same() && memory_missing(a.memory) == 0);
	save(&a, 1000);
	WAIT_FOR(same() && memory_missing(b.memory) == 0);
	WAIT_FOR(loop_peers(a.loop, peers, 4) == 1 && peers[0].ready && peers[0].records > 0);
	assert_memory_equal(&peers[0].device, &b.key.public, ID_SIZE);
	loop_count(a.loop, &counts);
	assert_int_equal(counts.sessions, 1);
	stop_within(&a, 1000);
	WAIT_FOR(b.told[EVENT_GONE] == 1);
}

static void test_follow_later(void **state)
{
	memory_follow(a.memory, &b.key.public, false);
	loop_follows_changed(a.loop);
	save(&b, 1000);
	assert_int_equal(loop_connect(a.loop, b.address, NULL), 0);
	WAIT_FOR(a.told[EVENT_READY] == 1);
	memory_follow(a.memory, &b.key.public, true);
	loop_follows_changed(a.loop);
	WAIT_FOR(same() && memory_missing(a.memory) == 0);
}

static void test_what_cannot_be_reached_is_told(void **state)
{
	char address[ADDRESS_SIZE_MAX];

	close(listen_here(address));
	assert_int_equal(loop_connect(a.loop, address, NULL), 0);
	WAIT_FOR(a.told[EVENT_CLOSE] == 1);
	assert_int_equal(a.closed_result, -ECONNREFUSED);
	/* Somebody else than was named. */
	assert_int_equal(loop_connect(a.loop, b.address, &a.key.public), 0);
	WAIT_FOR(a.told[EVENT_CLOSE] >= 2);
	assert_int_equal(a.told[EVENT_READY], 0);
	assert_int_equal(loop_connect(a.loop, "nonsense", NULL), -EINVAL);
}

static void test_names_are_looked_up(void **state)
{
	char address[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX];
	uint16_t port;

	assert_int_equal(address_split(b.address, host, &port), 0);
	address_join(address, "localhost", port);
	assert_int_equal(loop_connect(a.loop, "nowhere.invalid:4040", NULL), 0);
	assert_int_equal(loop_connect(a.loop, address, NULL), 0);
	WAIT_FOR(a.told[EVENT_READY] == 1);
	stop_within(&a, 1000); /* whether or not the lookup has come back */
}

static void test_silent_slow_and_false_peers(void **state)
{
	char address[ADDRESS_SIZE_MAX];
	uint8_t bytes[4096];

	int silent = dial(a.address), slow = dial(a.address), false_one = dial(a.address), listener = listen_here(address);
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(loop_connect(a.loop, address, NULL), 0); /* it takes the connection and says nothing */
	assert_int_equal(write(false_one, bytes, sizeof(bytes)), sizeof(bytes));
	struct pollfd poll_one = { .fd = false_one, .events = POLLIN };
	assert_int_equal(poll(&poll_one, 1, WAIT_MS), 1);
	assert_true(read(false_one, bytes, sizeof(bytes)) <= 0);
	assert_int_equal(loop_connect(b.loop, a.address, NULL), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(slow, "\1", 1), 1);
		sleep_ms(5);
	}
	WAIT_FOR(b.told[EVENT_READY] == 1);
	save(&a, 100000);
	WAIT_FOR(same() && memory_missing(b.memory) == 0);
	stop_within(&a, 1000);
	close(silent);
	close(slow);
	close(false_one);
	close(listener);
}

/* ---- between two nodes: bytes go on until it stalls ---- */

struct relay {
	int listener, client, server;
	char to[ADDRESS_SIZE_MAX];
	size_t stall_after; /* bytes from the server; then nobody is read any more */
	atomic_bool stalled, ends;
	pthread_t thread;
};

static size_t pass(int from, int to)
{
	uint8_t bytes[16384];

	ssize_t size = read(from, bytes, sizeof(bytes));
	for (ssize_t at = 0, sent; at < size; at += sent) {
		sent = write(to, bytes + at, (size_t)(size - at));
		if (sent <= 0)
			return 0;
	}
	return size > 0 ? (size_t)size : 0;
}

static void *relay_run(void *argument)
{
	struct relay *r = argument;
	size_t passed = 0;

	r->client = accept(r->listener, NULL, NULL);
	r->server = dial(r->to);
	while (!r->ends) {
		struct pollfd fds[2] = { { .fd = r->client, .events = POLLIN }, { .fd = r->server, .events = POLLIN } };
		if (passed >= r->stall_after) {
			r->stalled = true;
			sleep_ms(5);
			continue;
		}
		if (poll(fds, 2, 20) <= 0)
			continue;
		if (fds[0].revents && pass(r->client, r->server) == 0)
			break;
		size_t size = fds[1].revents ? pass(r->server, r->client) : 1;
		if (size == 0)
			break;
		passed += fds[1].revents ? size : 0;
	}
	close(r->client);
	close(r->server);
	return NULL;
}

static void test_a_peer_that_does_not_read(void **state)
{
	struct relay r = { .stall_after = 400000 };
	char address[ADDRESS_SIZE_MAX];
	struct core_counts counts;

	for (int i = 0; i < 30; i++)
		save(&b, 1000000);
	r.listener = listen_here(address);
	strcpy(r.to, b.address);
	assert_int_equal(pthread_create(&r.thread, NULL, relay_run, &r), 0);
	assert_int_equal(loop_connect(a.loop, address, NULL), 0);
	WAIT_FOR(r.stalled);
	sleep_ms(300);
	loop_count(b.loop, &counts);
	assert_true(counts.memory < 16 * 1024 * 1024);
	assert_int_equal(counts.sessions, 1);
	stop_within(&b, 1000);
	stop_within(&a, 1000);
	r.ends = true;
	pthread_join(r.thread, NULL);
	close(r.listener);
}

/* ---- stopping ---- */

static void test_stop_while_busy(void **state)
{
	for (int i = 0; i < 10; i++)
		save(&b, 1000000);
	assert_int_equal(loop_connect(a.loop, b.address, NULL), 0);
	WAIT_FOR(memory_records(a.memory) > 2);
	stop_within(&a, 2000);
	stop_within(&b, 2000);
}

static int (*take_pieces)(void *context, const struct piece_item *pieces, size_t count, int *out_results);
static atomic_uint taking, taken;

static int take_slowly(void *context, const struct piece_item *pieces, size_t count, int *out_results)
{
	taking++;
	sleep_ms(400);
	int err = take_pieces(context, pieces, count, out_results);
	taken++;
	return err;
}

static void test_works_under_way_come_back(void **state)
{
	loop_stop(a.loop);
	take_pieces = a.calls.take_pieces;
	a.calls.take_pieces = take_slowly;
	end_start(&a);
	save(&b, 100000);
	assert_int_equal(loop_connect(a.loop, b.address, NULL), 0);
	WAIT_FOR(taking > 0);
	stop_within(&a, 3000);
	assert_int_equal(taken, taking);
}

static void test_requests_are_bounded(void **state)
{
	struct id version = { { 1 } };
	int err = 0, count = 0;

	a.holds = true;
	assert_int_equal(loop_connect(a.loop, b.address, NULL), 0);
	assert_int_equal(sem_wait(&a.held), 0);
	for (; err == 0 && count < 100000; count++)
		err = loop_want(a.loop, &version, (uint64_t)count, now_ms() + 10);
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(loop_connect(a.loop, b.address, NULL), -EAGAIN);
	sem_post(&a.go);
	/* What was taken is answered, all of it. */
	WAIT_FOR((int)a.told[EVENT_WANTED] >= count - 1);
	assert_int_equal(loop_want(a.loop, &version, 1, now_ms() + 10), 0);
}

static void test_where_it_cannot_listen(void **state)
{
	struct loop_options options = { .depot = &a.depot, .clock = clk };
	struct loop *loop = NULL;
	struct why why = { { 0 } };

	strcpy(options.listen, a.address);
	assert_int_equal(loop_start(&loop, &options, &why), -EADDRINUSE);
	assert_non_null(strstr(why.text, a.address));
	strcpy(options.listen, "nonsense");
	assert_int_equal(loop_start(&loop, &options, &why), -EINVAL);
	options.listen[0] = '\0';
	assert_int_equal(loop_start(&loop, &options, &why), 0);
	char address[ADDRESS_SIZE_MAX] = "?";
	loop_address(loop, address);
	assert_string_equal(address, "");
	loop_stop(loop);
	loop_stop(NULL);
}

int main(void)
{
#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_two_meet_converge_and_part),
		LOOP_TEST(test_follow_later),
		LOOP_TEST(test_what_cannot_be_reached_is_told),
		LOOP_TEST(test_names_are_looked_up),
		LOOP_TEST(test_silent_slow_and_false_peers),
		LOOP_TEST(test_a_peer_that_does_not_read),
		LOOP_TEST(test_stop_while_busy),
		LOOP_TEST(test_works_under_way_come_back),
		LOOP_TEST(test_requests_are_bounded),
		LOOP_TEST(test_where_it_cannot_listen),
	};

	signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0)
		return 1;
	clk = clock_system();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
