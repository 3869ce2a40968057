/* command_network.c - connect, invite, peers, follow, unfollow. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define ANSWER_MS_MAX 5000 /* for whoever is connected to */
#define NAME_MS_MAX 1000   /* for their name to come */
#define POLL_MS 50
#define PUBLIC_SENTENCE "Everything that is not scratch is public to every peer from now on, old versions too."

static void sleep_ms(unsigned ms)
{
	const struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

/* ---- the node that runs ---- */

static int open_running(struct target *t, struct why *why)
{
	int err = target_open_node(t, why);

	if (err == 0 && t->opened) {
		target_close(t);
		err = why_set(why, -ENETDOWN, "the network runs while the folder is mounted or served: `moot mount DIR` or `moot serve` first");
	}
	return err;
}

/* A column of the first line of a control file that begins with `key` (NULL: of the first line): false if there is none. */
static bool find_column(const char *text, const char *key, int column, char *out, size_t size)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t length = strcspn(line, "\n");
		const char *at = line;
		if (line[0] == '#' || (key && (strncmp(line, key, strlen(key)) != 0 || line[strlen(key)] != '\t')))
			continue;
		for (int i = 0; i < column && at; i++) {
			at = memchr(at, '\t', length - (size_t)(at - line));
			at = at ? at + 1 : NULL;
		}
		if (!at)
			return false;
		size_t used = strcspn(at, "\t\n");
		if (used >= size)
			return false;
		memcpy(out, at, used);
		out[used] = '\0';
		return true;
	}
	return false;
}

static int read_column(struct target *t, const char *row, const char *key, int column, char *out, size_t size,
		       struct why *why)
{
	struct bytes text;

	int err = target_read(t, row, &text, why);
	if (err < 0)
		return err;
	bytes_put_u8(&text, 0);
	err = bytes_error(&text);
	if (err == 0 && !find_column((const char *)text.data, key, column, out, size))
		err = -ENOENT;
	bytes_finish(&text);
	return err;
}

/* ---- connect ---- */

struct answer {
	char address[ADDRESS_SIZE_MAX], state[16], who[WHY_SIZE], id[80];
};

static int read_answer(struct target *t, struct answer *out, struct why *why)
{
	memset(out, 0, sizeof(*out));
	int err = read_column(t, "connect", NULL, 0, out->address, sizeof(out->address), why);
	if (err == 0)
		err = read_column(t, "connect", NULL, 1, out->state, sizeof(out->state), why);
	if (err == 0 && strcmp(out->state, "trying") != 0)
		err = read_column(t, "connect", NULL, 2, out->who, sizeof(out->who), why);
	if (err == 0 && strcmp(out->state, "connected") == 0)
		err = read_column(t, "connect", NULL, 3, out->id, sizeof(out->id), why);
	/* Nothing is asked any more, or it changed between two lines. */
	return err == -ENOENT ? 0 : err;
}

/* Is it called by its id, as long as its own word has not come? */
static bool has_name(const struct answer *a)
{
	const char *id = strchr(a->id, ':');

	return !id || strncmp(id + 1, a->who, strlen(a->who)) != 0;
}

static int await_answer(struct target *t, struct answer *out, struct why *why)
{
	unsigned waited_ms = 0, until_ms = ANSWER_MS_MAX;

	for (;;) {
		int err = read_answer(t, out, why);
		if (err < 0)
			return err;
		bool connected = strcmp(out->state, "connected") == 0;
		if (strcmp(out->state, "failed") == 0 || (connected && has_name(out)))
			return 0;
		if (connected && until_ms > waited_ms + NAME_MS_MAX)
			until_ms = waited_ms + NAME_MS_MAX;
		if (waited_ms >= until_ms)
			return 0;
		sleep_ms(POLL_MS);
		waited_ms += POLL_MS;
	}
}

static int connect_to(struct target *t, const char *to, struct why *why)
{
	char line[ADDRESS_SIZE_MAX + 80], first[ADDRESS_SIZE_MAX];
	struct answer answer;
	struct id id;

	if (address_parse(to, first, &id) < 0)
		return why_set(why, -EINVAL, "`%s` is not HOST:PORT, nor HOST:PORT#ID", to);
	bool is_first = read_column(t, "peers", NULL, 1, first, sizeof(first), why) == -ENOENT;
	snprintf(line, sizeof(line), "%s\n", to);
	int err = target_write(t, "connect", line, why);
	if (err < 0)
		return err;
	if (is_first)
		fprintf(stderr, "%s\n", PUBLIC_SENTENCE);
	err = await_answer(t, &answer, why);
	if (err < 0)
		return err;
	if (strcmp(answer.state, "failed") == 0)
		return why_set(why, -EHOSTUNREACH, "%s: %s; it is tried again from time to time", answer.address, answer.who);
	if (strcmp(answer.state, "connected") != 0)
		return why_set(why, -ETIMEDOUT, "%s did not answer within %d seconds; it is tried on, `moot peers` tells", to,
			       ANSWER_MS_MAX / 1000);
	printf("connected to %s, %s\n", answer.who, answer.id);
	fflush(stdout);
	sync_await();
	return 0;
}

int command_connect(int argc, char **argv)
{
	struct why why = { { 0 } };
	struct target target;

	if (argc != 2)
		return command_usage(argv[0]);
	int err = open_running(&target, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	err = connect_to(&target, argv[1], &why);
	target_close(&target);
	return err < 0 ? command_fail("%s", why.text[0] ? why.text : why_errno(err)) : 0;
}

/* ---- invite ---- */

static bool is_any(const char *host)
{
	return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* An address of this machine by which others may reach it; the host's own if there is none. */
static void find_host(char host[ADDRESS_SIZE_MAX])
{
	const int family = strchr(host, ':') ? AF_INET6 : AF_INET;
	struct ifaddrs *all = NULL;
	char text[NI_MAXHOST];

	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || (a->ifa_flags & IFF_LOOPBACK) || !(a->ifa_flags & IFF_UP) ||
		    (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != family))
			continue;
		socklen_t size = a->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		if (getnameinfo(a->ifa_addr, size, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0 ||
		    strchr(text, '%') || strlen(text) + 9 > ADDRESS_SIZE_MAX)
			continue;
		strcpy(host, text);
		break;
	}
	freeifaddrs(all);
}

static int print_invitation(struct target *t, struct why *why)
{
	char address[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX], id[80];
	uint16_t port;

	int err = read_column(t, "status", "listening", 1, address, sizeof(address), why);
	if (err == 0)
		err = read_column(t, "id", NULL, 0, id, sizeof(id), why);
	if (err < 0)
		return err;
	if (address_split(address, host, &port) < 0)
		return why_set(why, -ENOTCONN, "this node does not listen, so nobody can connect to it: %s",
			       t->served ? "`moot serve -l ADDR:PORT`" : "mount it with -o listen=ADDR:PORT");
	if (is_any(host)) {
		find_host(host);
		address_join(address, host, port);
	}
	printf("moot connect %s#%s\n", address, id);
	fflush(stdout);
	if (address_scope(host) == ADDRESS_LOOPBACK)
		fputs(t->served ? "This works on this machine alone; for others, `moot serve -l 0.0.0.0:4040`.\n" :
				  "This works on this machine alone; for others, mount with -o listen=0.0.0.0:4040, or write "
				  "`listen 0.0.0.0:4040` to @/config and mount again.\n", stderr);
	return 0;
}

int command_invite(int argc, char **argv)
{
	struct why why = { { 0 } };
	struct target target;

	if (argc != 1)
		return command_usage(argv[0]);
	int err = open_running(&target, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	err = print_invitation(&target, &why);
	target_close(&target);
	return err < 0 ? command_fail("%s", why.text[0] ? why.text : why_errno(err)) : 0;
}

/* ---- peers, follow ---- */

int command_peers(int argc, char **argv)
{
	return command_print_node(argc, argv, "peers");
}

/* follow and unfollow. */
int command_follow(int argc, char **argv)
{
	struct why why = { { 0 } };
	struct target target;

	if (argc != 2)
		return command_usage(argv[0]);
	const char *on = strcmp(argv[0], "follow") == 0 ? "1\n" : "0\n";
	int err = target_open_person(&target, argv[1], &why);
	if (err == 0)
		err = target_write(&target, "subscribe", on, &why);
	bool runs = !target.opened;
	target_close(&target);
	if (err == 0 && on[0] == '1' && runs)
		sync_await();
	if (err == -ENOENT)
		return command_fail("nobody is known as %s here: give the id, or `moot connect` to a peer who knows them", argv[1]);
	return err < 0 ? command_fail("%s", why.text) : 0;
}
