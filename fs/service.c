#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"

#define BACKLOG 64
#define PAUSE_MS 1000      /* of accepting, where it failed for want of descriptors */
#define LINES_SIZE 16384   /* taken from the events at a time */

enum caller_state { CALLER_ASKS, CALLER_IS_TOLD, CALLER_WATCHES };

struct caller { /* one connection; fd -1: none */
	int fd;
	enum caller_state state;
	uint32_t process;
	uint64_t deadline_ms; /* monotonic; watchers have none */
	struct bytes in, out;
	size_t sent;          /* of `out` */
	struct listener *listener;
};

struct service {
	const struct control_host *host;
	struct clock clock;
	uint64_t slow_ms;
	int directory_fd, listen_fd, wake_fd;
	pthread_t thread;
	_Atomic bool ending;
	uint64_t paused_until_ms;
	size_t watchers;
	struct caller callers[SERVICE_CONNECTIONS_MAX];
};

/* ---- one connection ---- */

static void caller_close(struct service *s, struct caller *c)
{
	if (c->listener) {
		events_leave(s->host->events, c->listener);
		s->watchers--;
	}
	close(c->fd);
	bytes_finish(&c->in);
	bytes_finish(&c->out);
	*c = (struct caller){ .fd = -1 };
}

/* This user's processes and root's. */
static bool is_allowed(int fd, uint32_t *out_process)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	*out_process = (uint32_t)peer.pid;
	return peer.uid == geteuid() || peer.uid == 0;
}

static void put_refusal(struct service *s, struct caller *c, const char *path, int err, const struct why *why)
{
	struct answer_head head = { .error = err };

	snprintf(head.sentence, sizeof(head.sentence), "%s", why->text[0] ? why->text : why_errno(err));
	if (s->host->errors)
		errors_add(s->host->errors, path[0] ? path : SERVICE_SOCKET, err, head.sentence);
	bytes_clear(&c->out);
	answer_write(&c->out, &head);
}

static int begin_watch(struct service *s, struct caller *c, const struct control_node *node, struct why *why)
{
	char lines[LINES_SIZE];

	if (control_kind(node) != CONTROL_STREAM || !s->host->events)
		return why_set(why, -EINVAL, "only @/events can be watched");
	if (s->watchers == SERVICE_WATCHERS_MAX)
		return why_set(why, -EMFILE, "%d watch already, which is as many as may", SERVICE_WATCHERS_MAX);
	int err = events_listen(s->host->events, &c->listener);
	if (err < 0)
		return err;
	s->watchers++;
	c->state = CALLER_WATCHES;
	/* What came before is no news. */
	while (events_read(s->host->events, c->listener, lines, sizeof(lines)) > 0)
		;
	answer_write(&c->out, &(struct answer_head){ .endless = true });
	return 0;
}

/* What the control file says is known only when it was asked, and its size stands before it. */
static int put_text(struct service *s, struct caller *c, const struct control_node *node)
{
	CLEANUP(bytes_finish) struct bytes text;

	bytes_init(&text, SERVICE_ANSWER_MAX);
	int err = control_read(s->host, node, c->process, &text);
	if (err < 0)
		return err;
	answer_write(&c->out, &(struct answer_head){ .size = text.size });
	bytes_put(&c->out, text.data, text.size);
	return bytes_error(&c->out);
}

static int perform(struct service *s, struct caller *c, const struct request *r, const char *path, struct why *why)
{
	struct control_node node;

	int err = control_find(s->host, path, &node);
	if (err < 0)
		return err;
	switch (r->verb) {
	case REQUEST_READ:
		return put_text(s, c, &node);
	case REQUEST_WATCH:
		return begin_watch(s, c, &node, why);
	case REQUEST_WRITE:
		err = control_write(s->host, &node, c->process, r->text, r->text_size, why);
		if (err == 0)
			answer_write(&c->out, &(struct answer_head){ 0 });
		break;
	}
	return err;
}

/* Whole, or not to be had: then what is in `out` is the answer. */
static void answer(struct service *s, struct caller *c, int whole, const struct request *r)
{
	char path[REQUEST_PATH_MAX + 1] = "";
	struct why why = { 0 };
	int err = whole;

	c->state = CALLER_IS_TOLD;
	if (whole == 1) {
		memcpy(path, r->path, r->path_size);
		err = perform(s, c, r, path, &why);
	} else {
		why_set(&why, err, "that is no request: `read PATH`, `write SIZE PATH` and SIZE bytes, or `watch PATH`");
	}
	if (err < 0)
		put_refusal(s, c, path, err, &why);
	c->deadline_ms = clock_now_ms(&s->clock) + s->slow_ms;
}

/* False: it is over. */
static bool take(struct service *s, struct caller *c)
{
	struct request request;
	uint8_t part[4096];

	ssize_t got = recv(c->fd, part, sizeof(part), 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	bytes_put(&c->in, part, (size_t)got);
	int whole = bytes_error(&c->in);
	if (whole == 0)
		whole = request_read(c->in.data, c->in.size, &request);
	if (whole != 0)
		answer(s, c, whole, &request);
	return true;
}

/* Lines are taken when those before are gone: who is slow is told how many were missed. */
static void put_lines(struct service *s, struct caller *c)
{
	char lines[LINES_SIZE];

	if (c->sent < c->out.size)
		return;
	bytes_clear(&c->out);
	c->sent = 0;
	size_t size = events_read(s->host->events, c->listener, lines, sizeof(lines));
	bytes_put(&c->out, lines, size);
}

/* False: it is over. */
static bool give(struct service *s, struct caller *c)
{
	for (;;) {
		if (c->state == CALLER_WATCHES)
			put_lines(s, c);
		if (bytes_error(&c->out) < 0)
			return false;
		if (c->sent == c->out.size)
			return c->state == CALLER_WATCHES;
		ssize_t sent = send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		c->sent += (size_t)sent;
		c->deadline_ms = clock_now_ms(&s->clock) + s->slow_ms;
	}
}

static bool is_late(const struct service *s, const struct caller *c)
{
	return c->state != CALLER_WATCHES && clock_now_ms(&s->clock) >= c->deadline_ms;
}

static void tend_caller(struct service *s, struct caller *c, short events)
{
	bool goes_on = !is_late(s, c) && !(events & (POLLERR | POLLNVAL));

	if (goes_on && c->state == CALLER_ASKS && events & (POLLIN | POLLHUP))
		goes_on = take(s, c);
	else if (goes_on && events & POLLHUP)
		goes_on = false;
	if (goes_on && c->state != CALLER_ASKS)
		goes_on = give(s, c);
	if (!goes_on)
		caller_close(s, c);
}

/* ---- the thread ---- */

static struct caller *free_place(struct service *s)
{
	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
		if (s->callers[i].fd < 0)
			return &s->callers[i];
	return NULL;
}

static void accept_all(struct service *s)
{
	struct caller *c;
	uint32_t process;

	while ((c = free_place(s))) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				s->paused_until_ms = clock_now_ms(&s->clock) + PAUSE_MS;
			return;
		}
		if (!is_allowed(fd, &process)) {
			close(fd);
			continue;
		}
		*c = (struct caller){ .fd = fd, .process = process,
				      .deadline_ms = clock_now_ms(&s->clock) + s->slow_ms };
		bytes_init(&c->in, REQUEST_SIZE_MAX);
		bytes_init(&c->out, SERVICE_ANSWER_MAX + ANSWER_HEAD_MAX);
	}
}

static short wanted(const struct service *s, const struct caller *c)
{
	if (c->state == CALLER_ASKS)
		return POLLIN;
	return c->sent < c->out.size ? POLLOUT : 0;
}

/* Until when nothing has to be done but for what comes. */
static int wait_ms(const struct service *s)
{
	uint64_t now_ms = clock_now_ms(&s->clock), until_ms = s->paused_until_ms > now_ms ? s->paused_until_ms : UINT64_MAX;

	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++) {
		const struct caller *c = &s->callers[i];
		if (c->fd >= 0 && c->state != CALLER_WATCHES && c->deadline_ms < until_ms)
			until_ms = c->deadline_ms;
	}
	if (until_ms == UINT64_MAX)
		return -1;
	return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

enum { AT_WAKE, AT_LISTEN, AT_CALLERS, POLLED = AT_CALLERS + SERVICE_CONNECTIONS_MAX };

static void turn(struct service *s)
{
	struct pollfd polled[POLLED];
	eventfd_t count;

	bool accepts = free_place(s) && clock_now_ms(&s->clock) >= s->paused_until_ms;
	polled[AT_WAKE] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
	polled[AT_LISTEN] = (struct pollfd){ .fd = accepts ? s->listen_fd : -1, .events = POLLIN };
	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
		polled[AT_CALLERS + i] = (struct pollfd){ .fd = s->callers[i].fd, .events = wanted(s, &s->callers[i]) };
	if (poll(polled, POLLED, wait_ms(s)) < 0)
		return;
	if (polled[AT_WAKE].revents)
		eventfd_read(s->wake_fd, &count);
	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
		if (s->callers[i].fd >= 0)
			tend_caller(s, &s->callers[i], polled[AT_CALLERS + i].revents);
	if (polled[AT_LISTEN].revents)
		accept_all(s);
}

static void *run(void *argument)
{
	struct service *s = argument;

	while (!s->ending)
		turn(s);
	return NULL;
}

/* ---- the socket ---- */

void service_address(int directory_fd, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/" SERVICE_SOCKET, directory_fd);
}

/* What a killed node left; the lock says that no other lives. */
static int clear_place(int directory_fd, struct why *why)
{
	struct stat st;

	if (fstatat(directory_fd, SERVICE_SOCKET, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return why_set(why, -EEXIST, "something in the data folder is called `" SERVICE_SOCKET "` and is none");
	return unlinkat(directory_fd, SERVICE_SOCKET, 0) < 0 ? -errno : 0;
}

static int listen_there(struct service *s, struct why *why)
{
	struct sockaddr_un address;

	int err = clear_place(s->directory_fd, why);
	if (err < 0)
		return err;
	service_address(s->directory_fd, &address);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* The mode that bind(2) gives it is the descriptor's. */
	if (s->listen_fd >= 0 && fchmod(s->listen_fd, 0600) == 0 &&
	    bind(s->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(s->listen_fd, BACKLOG) == 0)
		return 0;
	err = -errno;
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	s->listen_fd = -1;
	return err;
}

static int start_thread(struct service *s)
{
	sigset_t all, before;

	/* Signals are for the thread that ends it all. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void service_free(struct service *s)
{
	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
		if (s->callers[i].fd >= 0)
			caller_close(s, &s->callers[i]);
	if (s->listen_fd >= 0) {
		unlinkat(s->directory_fd, SERVICE_SOCKET, 0);
		close(s->listen_fd);
	}
	free(s);
}

int service_start(struct service **out, const struct service_options *options, struct why *why)
{
	struct why unread = { 0 };
	struct service *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	if (!why)
		why = &unread;
	s->host = options->host;
	s->clock = options->clock;
	s->slow_ms = options->slow_ms ? options->slow_ms : SERVICE_SLOW_MS;
	s->directory_fd = store_directory_fd(s->host->store);
	s->listen_fd = -1;
	for (size_t i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
		s->callers[i].fd = -1;
	s->wake_fd = options->wake_fd;
	int err = listen_there(s, why);
	if (err == 0)
		err = start_thread(s);
	if (err < 0) {
		service_free(s);
		return why->text[0] ? err : why_set(why, err, "no socket can be made in the data folder: %s", why_errno(err));
	}
	*out = s;
	return 0;
}

void service_stop(struct service *s)
{
	if (!s)
		return;
	s->ending = true;
	eventfd_write(s->wake_fd, 1);
	pthread_join(s->thread, NULL);
	service_free(s);
}
