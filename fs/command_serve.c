/* command_serve.c - serve: the node without a mount. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "news.h"
#include "progress.h"
#include "service.h"

#define TICK_MS_MAX 1000
/* A line on a terminal lives; in a log it is read later, if at all. */
#define QUIET_MS 1000
#define EVERY_MS 250
#define QUIET_PLAIN_MS 2000
#define EVERY_PLAIN_MS 5000

struct server {
	struct session session;
	struct notifier *notifier;
	struct news_place news; /* the notifier's */
	struct service *service;
	int wake_fd; /* of the service */
	struct progress progress;
};

/* The signals that end it, blocked in every thread; taken by sigtimedwait(). */
static void block_ends(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGTERM);
	sigaddset(out, SIGINT);
	sigaddset(out, SIGHUP);
	pthread_sigmask(SIG_BLOCK, out, NULL);
}

/* ---- what the network tells ---- */

static void tell(void *context, const struct notice *notice)
{
	struct server *s = context;

	news_tell(s->session.store, s->session.host.events, &s->news, notice);
	eventfd_write(s->wake_fd, 1);
}

static void came(void *context, const struct id *person, const struct id *directory, const char *name)
{
	struct server *s = context;

	notifier_add(s->notifier, &(struct notice){ .person = *person, .directory = *directory, .name = name, .arrived = true });
}

static void happened(void *context, const struct event *event)
{
	struct server *s = context;

	if (event->kind == EVENT_READY || event->kind == EVENT_GONE || event->kind == EVENT_FORK)
		notifier_add(s->notifier, &(struct notice){ .person = event->person, .directory = event->device,
							    .parent = UINT64_MAX - event->kind, .event = (int)event->kind });
}

/* ---- until it is stopped ---- */

static void show_progress(struct server *s)
{
	const bool terminal = isatty(STDERR_FILENO);
	uint64_t now_ms = clock_now_ms(store_clock(s->session.store));
	struct core_counts n;

	network_count(s->session.host.network, &n);
	const struct progress_counts counts = { n.records_in, n.pieces_in, n.bytes_in, n.missing_logs, n.missing_pieces, n.sessions };
	progress_take(&s->progress, &counts, now_ms);
	if (progress_is_due(&s->progress, terminal ? QUIET_MS : QUIET_PLAIN_MS, terminal ? EVERY_MS : EVERY_PLAIN_MS, now_ms))
		sync_print(&s->progress, terminal);
}

static void tend(struct server *s, const sigset_t *ends)
{
	for (;;) {
		uint64_t wait_ms = desk_tick(s->session.desk), most_ms = s->progress.state == PROGRESS_GOING ? EVERY_MS : TICK_MS_MAX;
		if (wait_ms > most_ms)
			wait_ms = most_ms;
		const struct timespec wait = { (time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000 };
		if (sigtimedwait(ends, NULL, &wait) > 0)
			return;
		show_progress(s);
	}
}

static int start(struct server *s, const char *listen, struct why *why)
{
	struct control_host *host = &s->session.host;
	const struct network_options options = { .store = s->session.store, .desk = s->session.desk, .listen = listen,
						 .arrived = came, .event = happened, .context = s };
	struct why mute = { { 0 } };

	host->started_ms = clock_time_ms(store_clock(s->session.store));
	host->events = events_new(store_clock(s->session.store));
	s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int err = !host->events ? -ENOMEM : s->wake_fd < 0 ? -errno : notifier_new(&s->notifier, tell, s);
	if (err == 0)
		err = network_start(&host->network, &options, why);
	if (err < 0)
		return why->text[0] ? err : why_set(why, err, "the network cannot be started: %s", why_errno(err));
	/* Where no socket can be made it serves its peers all the same. */
	const struct service_options service = { .host = host, .clock = *store_clock(host->store), .wake_fd = s->wake_fd };
	if (service_start(&s->service, &service, &mute) < 0)
		fprintf(stderr, "moot: %s; `moot status` and the like will not reach this node\n", mute.text);
	return 0;
}

/* Who asks goes first, then what comes, then what is told of it. */
static void stop(struct server *s)
{
	struct control_host *host = &s->session.host;

	service_stop(s->service);
	network_stop(host->network);
	host->network = NULL;
	if (notifier_free(s->notifier)) {
		events_free(host->events);
		if (s->wake_fd >= 0)
			close(s->wake_fd);
	}
	host->events = NULL;
}

static int serve(struct server *s, const char *listen, const sigset_t *ends, struct why *why)
{
	char address[ADDRESS_SIZE_MAX];

	int err = start(s, listen, why);
	if (err == 0) {
		network_address(s->session.host.network, address);
		printf("listening on %s\n", address);
		fflush(stdout);
		tend(s, ends);
	}
	stop(s);
	return err;
}

int command_serve(int argc, char **argv)
{
	struct server server = { .wake_fd = -1 };
	struct why why = { { 0 } };
	const char *listen = NULL;
	sigset_t ends;
	int option;

	while ((option = getopt(argc, argv, "l:")) != -1) {
		if (option != 'l')
			return command_usage(argv[0]);
		listen = optarg;
	}
	if (optind != argc || (listen && !listen[0]))
		return command_usage(argv[0]);
	block_ends(&ends);
	session_raise_files();
	int err = session_open_serving(&server.session, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	err = serve(&server, listen, &ends, &why);
	int closed = session_close(&server.session);
	if (err == 0 && closed < 0)
		err = why_set(&why, closed, "the data folder could not be closed: %s", why_errno(closed));
	return err < 0 ? command_fail("%s", why.text) : 0;
}
