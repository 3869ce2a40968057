#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uthash.h>
#include <utlist.h>
#include <uv.h>

#include "board.h"
#include "inbox.h"
#include "lookup.h"

#define READ_SIZE (64 * 1024)
#define GIVE_SIZE (256 * 1024) /* taken from the core at a time */
#define GIVES_A_TURN 4         /* of one connection, before others have their turn */
#define KEEP_SIZE_MAX (16 * 1024) /* of what is sent, in a connection with nothing to send */
#define WORKS_MAX 4            /* libuv's workers */
#define PUZZLES_MAX 1          /* of them: the rest of the work must not wait behind */
#define DIAL_MS 10000
#define CLOSE_MS 100           /* to send what a connection that ends has left */
#define SNAPSHOT_MS 100
#define BACKLOG 128

enum connection_state { RESOLVING, DIALLING, OPEN, ENDING, CLOSED };

struct connection {
	struct loop *loop;
	enum connection_state state;
	uv_tcp_t tcp;
	struct lookup *lookup; /* RESOLVING */
	uv_connect_t connect;
	uv_write_t write;
	uint64_t session; /* 0: the core does not know it yet */
	char address[ADDRESS_SIZE_MAX];
	bool has_expected, outgoing, ready, told; /* told: why it never became ready */
	bool writing, shut;
	struct id expected;
	uint64_t until_ms; /* DIALLING, ENDING */
	struct bytes out;
	size_t sent;       /* of out */
	struct connection *prev, *next;
	UT_hash_handle hh;
};

struct job {
	uv_work_t request;
	struct loop *loop;
	struct work *work;
	struct job *next;
};

struct loop {
	struct loop_options options;
	char address[ADDRESS_SIZE_MAX];
	struct core *core;
	pthread_t thread;
	uv_loop_t uv;
	uv_async_t wake;
	uv_timer_t timer;
	uv_prepare_t prepare; /* before each sleep: what the core has to say */
	uv_idle_t more;       /* while something is left to be done at once */
	uv_tcp_t listener;
	bool listens, stopping;
	struct board board;
	uint64_t snapshot_ms;
	bool changed; /* since then */
	uint64_t stop_ms;
	struct connection *connections, *by_session;
	struct work *puzzles; /* that wait for their worker */
	struct job *jobs;
	unsigned jobs_running, puzzles_running;
	uint8_t read_buffer[READ_SIZE];
	struct inbox inbox;
	bool alone; /* as the inbox knows it */
};

static uint64_t now_ms(const struct loop *loop)
{
	return clock_now_ms(&loop->options.clock);
}

/* ---- closing ---- */

static void connection_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;

	DL_DELETE(c->loop->connections, c);
	bytes_finish(&c->out);
	free(c);
}

/* What was dialled has come to nothing. */
static void tell_failure(struct connection *c, const struct event *event)
{
	struct loop *loop = c->loop;

	if (!c->outgoing || c->ready || c->told)
		return;
	c->told = true;
	if (loop->options.event)
		loop->options.event(loop->options.context, event);
}

static void connection_close(struct connection *c, int result)
{
	struct event event = { .kind = EVENT_CLOSE, .result = result };

	if (c->state == CLOSED)
		return;
	c->loop->changed = true;
	lookup_leave(c->lookup);
	c->lookup = NULL;
	if (c->session) {
		if (c->hh.tbl)
			HASH_DEL(c->loop->by_session, c);
		core_closed(c->loop->core, c->session);
		c->session = 0;
	} else if (c->state == RESOLVING || c->state == DIALLING) {
		core_unreachable(c->loop->core, c->address);
	}
	strcpy(event.address, c->address);
	tell_failure(c, &event);
	c->state = CLOSED;
	uv_close((uv_handle_t *)&c->tcp, connection_closed);
}

/* ---- bytes ---- */

static void flush(struct connection *c);

static void more_to_do(uv_idle_t *idle)
{
	uv_idle_stop(idle); /* it only kept the loop from sleeping */
}

static void connection_written(uv_write_t *request, int status)
{
	struct connection *c = request->data;

	c->writing = false;
	bytes_clear(&c->out);
	c->sent = 0;
	if (status < 0)
		connection_close(c, status);
	else
		flush(c);
}

/* Writes what is in c->out: true if all of it went at once. */
static bool write_out(struct connection *c)
{
	uv_buf_t buffer = uv_buf_init((char *)c->out.data, (unsigned)c->out.size);

	int sent = uv_try_write((uv_stream_t *)&c->tcp, &buffer, 1);
	if (sent < 0 && sent != UV_EAGAIN) {
		connection_close(c, sent);
		return false;
	}
	c->sent = sent > 0 ? (size_t)sent : 0;
	if (c->sent == c->out.size) {
		bytes_clear(&c->out);
		c->sent = 0;
		return true;
	}
	buffer = uv_buf_init((char *)c->out.data + c->sent, (unsigned)(c->out.size - c->sent));
	c->write.data = c;
	int err = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buffer, 1, connection_written);
	if (err < 0)
		connection_close(c, err);
	else
		c->writing = true;
	return false;
}

/* Says that nothing more comes, and waits for the same: what is closed with bytes unread loses those on their way. */
static void shut(struct connection *c)
{
	uv_os_fd_t fd;

	if (c->shut)
		return;
	c->shut = true;
	if (uv_fileno((uv_handle_t *)&c->tcp, &fd) < 0 || shutdown(fd, SHUT_WR) < 0)
		connection_close(c, UV_EPIPE);
}

static void flush(struct connection *c)
{
	bool more = c->session != 0;

	if ((c->state != OPEN && c->state != ENDING) || c->writing || c->shut)
		return;
	for (int turn = 0; more && turn < GIVES_A_TURN; turn++) {
		more = core_give(c->loop->core, c->session, &c->out, GIVE_SIZE);
		if (c->out.size == 0)
			break;
		if (!write_out(c))
			break;
	}
	if (c->out.size == 0 && c->out.capacity > KEEP_SIZE_MAX)
		bytes_finish(&c->out); /* most connections are idle */
	if (c->state != CLOSED && c->session)
		core_unsent(c->loop->core, c->session, c->writing ? c->out.size - c->sent : 0);
	if (c->state == ENDING && !c->writing && !more)
		shut(c);
	else if (c->state != CLOSED && more && !c->writing)
		uv_idle_start(&c->loop->more, more_to_do);
}

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct connection *c = handle->data;

	/* One thread, and the core copies what it keeps. */
	*out = uv_buf_init((char *)c->loop->read_buffer, READ_SIZE);
}

static void connection_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
	struct connection *c = stream->data;

	if ((c->state != OPEN && c->state != ENDING) || size == 0)
		return;
	c->loop->changed = true;
	/* What the core refuses it closes itself, with an event that says why. */
	if (size < 0)
		connection_close(c, size == UV_EOF ? UV_ECONNRESET : (int)size);
	else if (c->state == OPEN)
		core_take(c->loop->core, c->session, (const uint8_t *)buffer->base, (size_t)size);
}

/* ---- connections that begin ---- */

static struct connection *connection_new(struct loop *loop, const char *address)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = loop;
	snprintf(c->address, sizeof(c->address), "%s", address);
	bytes_init(&c->out, GIVE_SIZE + FRAME_SIZE_MAX + 4096);
	uv_tcp_init(&loop->uv, &c->tcp);
	c->tcp.data = c->connect.data = c;
	DL_APPEND(loop->connections, c);
	return c;
}

static void connection_open(struct connection *c)
{
	struct loop *loop = c->loop;

	uv_tcp_nodelay(&c->tcp, 1);
	c->session = core_connected(loop->core, c->address, c->outgoing, c->has_expected ? &c->expected : NULL);
	c->state = OPEN;
	if (c->session)
		HASH_ADD(hh, loop->by_session, session, sizeof(c->session), c);
	if (!c->session || !c->hh.tbl)
		connection_close(c, UV_ENOBUFS);
	else if (uv_read_start((uv_stream_t *)&c->tcp, lend_buffer, connection_read) < 0)
		connection_close(c, UV_ENOTCONN);
}

static void connection_comes(uv_stream_t *listener, int status)
{
	struct sockaddr_storage from;
	struct loop *loop = listener->data;
	int size = sizeof(from);

	struct connection *c = status == 0 ? connection_new(loop, "") : NULL;
	if (!c)
		return;
	c->state = OPEN;
	if (loop->stopping || uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 ||
	    uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&from, &size) < 0) {
		connection_close(c, UV_ECONNABORTED);
		return;
	}
	lookup_name(&from, c->address);
	connection_open(c);
}

static void connection_made(uv_connect_t *request, int status)
{
	struct connection *c = request->data;

	if (c->state == DIALLING && status == 0)
		connection_open(c);
	else
		connection_close(c, status);
}

static void dial(struct connection *c, const struct sockaddr_storage *to)
{
	c->state = DIALLING;
	int err = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)to, connection_made);
	if (err < 0)
		connection_close(c, err);
}

/* Has the name been found? Then on to dialling. */
static void lookup_check(struct connection *c)
{
	struct sockaddr_storage found;

	int err = lookup_take(c->lookup, &found);
	if (err == -EAGAIN)
		return;
	c->lookup = NULL;
	if (err < 0)
		connection_close(c, err);
	else
		dial(c, &found);
}

static void name_found(void *context)
{
	struct loop *loop = context;

	uv_async_send(&loop->wake); /* each connection is looked at once a turn */
}

static void connection_dial(struct loop *loop, const struct event *event)
{
	char host[ADDRESS_SIZE_MAX];
	struct sockaddr_storage to;
	uint16_t port;

	struct connection *c = address_split(event->address, host, &port) == 0 && !loop->stopping ?
			       connection_new(loop, event->address) : NULL;
	if (!c) {
		core_unreachable(loop->core, event->address);
		return;
	}
	c->outgoing = true;
	c->has_expected = event->has_expected;
	c->expected = event->expected;
	c->until_ms = now_ms(loop) + DIAL_MS;
	if (lookup_numeric(host, port, &to) == 0) {
		dial(c, &to);
		return;
	}
	c->state = RESOLVING;
	int err = lookup_start(&c->lookup, host, port, name_found, loop);
	if (err < 0)
		connection_close(c, err);
}

/* ---- work ---- */

static void job_run(uv_work_t *request)
{
	const struct job *job = request->data;

	work_run(job->work);
}

static void job_done(uv_work_t *request, int status)
{
	struct job *job = request->data;
	struct loop *loop = job->loop;

	loop->changed = true;
	loop->jobs_running--;
	if (job->work->kind == WORK_PUZZLE)
		loop->puzzles_running--;
	if (status < 0)
		job->work->result = -ECANCELED;
	core_work_done(loop->core, job->work);
	LL_DELETE(loop->jobs, job);
	free(job);
}

static void job_start(struct loop *loop, struct work *work)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		work->result = -ENOMEM;
		core_work_done(loop->core, work);
		return;
	}
	job->loop = loop;
	job->work = work;
	job->request.data = job;
	LL_PREPEND(loop->jobs, job);
	loop->jobs_running++;
	if (work->kind == WORK_PUZZLE)
		loop->puzzles_running++;
	uv_queue_work(&loop->uv, &job->request, job_run, job_done);
}

static void start_jobs(struct loop *loop)
{
	while (loop->jobs_running < WORKS_MAX) {
		struct work *work = NULL;
		if (loop->puzzles && loop->puzzles_running < PUZZLES_MAX) {
			work = loop->puzzles;
			LL_DELETE(loop->puzzles, work);
		} else {
			work = core_next_work(loop->core);
		}
		if (!work)
			return;
		if (work->kind == WORK_PUZZLE && loop->puzzles_running >= PUZZLES_MAX)
			LL_APPEND(loop->puzzles, work);
		else
			job_start(loop, work);
	}
}

/* ---- requests of other threads ---- */

static int add_request(struct loop *loop, const struct request *request)
{
	int err = inbox_put(&loop->inbox, request);

	if (err == 0)
		uv_async_send(&loop->wake);
	return err;
}

int loop_connect(struct loop *loop, const char *address, const struct id *expected)
{
	struct request request = { .kind = REQUEST_CONNECT, .has_expected = expected && !id_is_zero(expected) };

	if (address_parse(address, request.address, NULL) < 0)
		return -EINVAL;
	if (request.has_expected)
		request.id = *expected;
	return add_request(loop, &request);
}

int loop_want(struct loop *loop, const struct id *version, uint64_t token, uint64_t until_ms)
{
	return add_request(loop, &(struct request){ .kind = REQUEST_WANT, .id = *version, .token = token,
						    .until_ms = until_ms });
}

static void raise_flag(struct loop *loop, enum inbox_flag flag)
{
	if (inbox_raise(&loop->inbox, flag))
		uv_async_send(&loop->wake);
}

void loop_appended(struct loop *loop)
{
	raise_flag(loop, INBOX_APPENDED);
}

void loop_follows_changed(struct loop *loop)
{
	raise_flag(loop, INBOX_FOLLOWS);
}

bool loop_follows_wait(struct loop *loop)
{
	return inbox_has(&loop->inbox, INBOX_FOLLOWS);
}

static void take_requests(struct loop *loop)
{
	struct request *requests;
	size_t count;
	const unsigned flags = inbox_take(&loop->inbox, &requests, &count);

	loop->changed = true;
	if (flags & INBOX_STOP)
		loop->stopping = true;
	if (flags & INBOX_APPENDED)
		core_appended(loop->core);
	if (flags & INBOX_FOLLOWS)
		core_follows_changed(loop->core);
	for (size_t i = 0; i < count; i++) {
		const struct request *r = &requests[i];
		if (r->kind == REQUEST_CONNECT)
			core_connect(loop->core, r->address, r->has_expected ? &r->id : NULL);
		else
			core_want(loop->core, &r->id, r->token, r->until_ms);
	}
	free(requests);
}

static void note_company(struct loop *loop)
{
	const bool alone = !loop->connections;

	if (alone == loop->alone)
		return;
	loop->alone = alone;
	if (inbox_set_alone(&loop->inbox, alone) && !alone)
		take_requests(loop);
}

/* ---- what others may read ---- */

static void take_snapshot(struct loop *loop)
{
	board_post(&loop->board, loop->core);
	loop->snapshot_ms = now_ms(loop);
	loop->changed = false;
}

size_t loop_peers(struct loop *loop, struct peer_view *out, size_t count_max)
{
	return board_peers(&loop->board, out, count_max);
}

void loop_count(struct loop *loop, struct core_counts *out)
{
	board_count(&loop->board, out);
}

/* ---- a turn ---- */

static void take_event(struct loop *loop, const struct event *event)
{
	struct connection *c = NULL;

	if (event->kind == EVENT_DIAL) {
		connection_dial(loop, event);
		return;
	}
	if (event->kind == EVENT_CLOSE || event->kind == EVENT_READY)
		HASH_FIND(hh, loop->by_session, &event->session, sizeof(event->session), c);
	if (event->kind == EVENT_CLOSE && event->session) {
		if (c && c->state == OPEN) {
			tell_failure(c, event);
			c->state = ENDING;
			c->until_ms = now_ms(loop) + CLOSE_MS;
		}
		return;
	}
	if (c)
		c->ready = true;
	if (loop->options.event)
		loop->options.event(loop->options.context, event);
}

static void take_events(struct loop *loop)
{
	struct event event;

	while (core_next_event(loop->core, &event))
		take_event(loop, &event);
}

/* Sends what there is, and ends what has had its time. */
static uint64_t tend_connections(struct loop *loop)
{
	uint64_t now = now_ms(loop), next = UINT64_MAX;
	struct connection *c, *tmp;

	DL_FOREACH_SAFE(loop->connections, c, tmp) {
		if (c->lookup)
			lookup_check(c);
		flush(c);
		if (c->state == OPEN || c->state == CLOSED)
			continue;
		if (now >= c->until_ms)
			connection_close(c, UV_ETIMEDOUT);
		else if (c->until_ms < next)
			next = c->until_ms;
	}
	return next;
}

static void timer_rang(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	if (now_ms(loop) >= core_deadline_ms(loop->core)) {
		loop->changed = true;
		core_tick(loop->core);
	}
}

static void woken(uv_async_t *wake)
{
	take_requests(wake->data);
}

static void set_timer(struct loop *loop, uint64_t until_ms)
{
	const uint64_t now = now_ms(loop);
	uint64_t core_ms = core_deadline_ms(loop->core);

	if (core_ms < until_ms)
		until_ms = core_ms;
	if (loop->changed && loop->snapshot_ms + SNAPSHOT_MS < until_ms)
		until_ms = loop->snapshot_ms + SNAPSHOT_MS;
	if (until_ms == UINT64_MAX)
		uv_timer_stop(&loop->timer);
	else
		uv_timer_start(&loop->timer, timer_rang, until_ms > now ? until_ms - now : 0, 0);
}

static void close_all(uv_handle_t *handle, void *context)
{
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

/* Everything has been said goodbye to, and no work is out: true when the loop may end. */
static bool wind_up(struct loop *loop)
{
	struct connection *c, *tmp;
	struct job *job;

	if (loop->stop_ms == 0) {
		loop->stop_ms = now_ms(loop) + CLOSE_MS;
		core_goodbye(loop->core);
		take_events(loop);
		if (loop->listens)
			uv_close((uv_handle_t *)&loop->listener, NULL);
		LL_FOREACH(loop->jobs, job) {
			job->work->cancelled = 1;
			uv_cancel((uv_req_t *)&job->request);
		}
	}
	DL_FOREACH_SAFE(loop->connections, c, tmp)
		if (c->state != ENDING || now_ms(loop) >= loop->stop_ms)
			connection_close(c, UV_ECANCELED);
	return !loop->connections && !loop->jobs;
}

static void turn(uv_prepare_t *handle)
{
	struct loop *loop = handle->data;

	note_company(loop);
	take_events(loop);
	if (!loop->stopping)
		start_jobs(loop);
	take_events(loop);
	uint64_t next = tend_connections(loop);
	if (loop->changed && now_ms(loop) >= loop->snapshot_ms + SNAPSHOT_MS)
		take_snapshot(loop);
	if (loop->stopping && wind_up(loop)) {
		uv_walk(&loop->uv, close_all, NULL);
		return;
	}
	if (loop->stopping && loop->stop_ms < next)
		next = loop->stop_ms > now_ms(loop) ? loop->stop_ms : now_ms(loop) + 1;
	set_timer(loop, next);
}

static void *loop_run(void *argument)
{
	struct loop *loop = argument;

	uv_run(&loop->uv, UV_RUN_DEFAULT);
	return NULL;
}

/* ---- beginning and end ---- */

static int listen_on(struct loop *loop, struct why *why)
{
	struct sockaddr_storage at;
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;
	int size = sizeof(at);

	const char *wanted = loop->options.listen;
	if (address_split(wanted, host, &port) < 0 || lookup_numeric(host, port, &at) < 0)
		return why_set(why, -EINVAL, "%s is not an address to listen on, such as 127.0.0.1:4040 or [::]:4040", wanted);
	uv_tcp_init(&loop->uv, &loop->listener);
	loop->listener.data = loop;
	loop->listens = true;
	int err = uv_tcp_bind(&loop->listener, (const struct sockaddr *)&at, 0);
	if (err == 0)
		err = uv_listen((uv_stream_t *)&loop->listener, BACKLOG, connection_comes);
	if (err == 0)
		err = uv_tcp_getsockname(&loop->listener, (struct sockaddr *)&at, &size);
	if (err < 0)
		return why_set(why, err, "it cannot listen on %s: %s", wanted, uv_strerror(err));
	lookup_name(&at, loop->address);
	return 0;
}

static int begin(struct loop *loop, struct why *why)
{
	struct core_options options = { .clock = loop->options.clock, .network = loop->options.network,
					.dial = loop->options.dial, .peers_aim = 8 };

	int err = loop->options.listen[0] ? listen_on(loop, why) : 0;
	if (err < 0)
		return err;
	/* What peers are told; only the port where it listens on all interfaces. */
	if (loop->options.announce[0])
		strcpy(options.address, loop->options.announce);
	else if (loop->address[0])
		address_announce(options.address, loop->address);
	loop->core = core_new(&options, loop->options.depot);
	return loop->core ? 0 : -ENOMEM;
}

static int handles_init(struct loop *loop)
{
	int err = uv_async_init(&loop->uv, &loop->wake, woken);

	if (err < 0)
		return err;
	uv_timer_init(&loop->uv, &loop->timer);
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_idle_init(&loop->uv, &loop->more);
	loop->wake.data = loop->timer.data = loop->prepare.data = loop->more.data = loop;
	uv_prepare_start(&loop->prepare, turn);
	return 0;
}

static void loop_free(struct loop *loop)
{
	struct work *work, *tmp;

	LL_FOREACH_SAFE(loop->puzzles, work, tmp)
		core_work_done(loop->core, work);
	core_free(loop->core);
	board_finish(&loop->board);
	inbox_finish(&loop->inbox);
	free(loop);
}

int loop_start(struct loop **out, const struct loop_options *options, struct why *why)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	sigset_t all, before;

	if (!loop)
		return -ENOMEM;
	loop->options = *options;
	inbox_init(&loop->inbox);
	board_init(&loop->board);
	int err = uv_loop_init(&loop->uv);
	if (err < 0) {
		loop_free(loop);
		return err;
	}
	err = handles_init(loop);
	if (err == 0)
		err = begin(loop, why);
	if (err == 0) {
		take_snapshot(loop);
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		err = -pthread_create(&loop->thread, NULL, loop_run, loop);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (err < 0) {
		uv_walk(&loop->uv, close_all, NULL);
		uv_run(&loop->uv, UV_RUN_DEFAULT);
		uv_loop_close(&loop->uv);
		loop_free(loop);
		return err;
	}
	*out = loop;
	return 0;
}

void loop_stop(struct loop *loop)
{
	if (!loop)
		return;
	raise_flag(loop, INBOX_STOP);
	pthread_join(loop->thread, NULL);
	uv_loop_close(&loop->uv);
	loop_free(loop);
}

void loop_address(const struct loop *loop, char out[ADDRESS_SIZE_MAX])
{
	snprintf(out, ADDRESS_SIZE_MAX, "%s", loop->address);
}
