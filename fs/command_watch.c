/* command_watch.c - watch. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "command.h"
#include "mount.h"

struct watch {
	int fd;
	char below[PATH_MAX]; /* as paths in events begin; empty: everything */
	char line[16384];
	size_t used;
};

/* "TIME, what, path": is that what is watched, or in it? */
static bool is_watched(const struct watch *w, const char *line)
{
	const char *path = strchr(line, '\t');
	size_t size = strlen(w->below);

	path = path ? strchr(path + 1, '\t') : NULL;
	if (size == 0)
		return true;
	return path && strncmp(path + 1, w->below, size) == 0 && (path[1 + size] == '\n' || path[1 + size] == '/');
}

static void print_lines(struct watch *w, bool quiet)
{
	char *at = w->line, *end;

	while ((end = memchr(at, '\n', w->used - (size_t)(at - w->line)))) {
		char after = end[1];
		end[1] = '\0';
		if (!quiet && is_watched(w, at))
			fputs(at, stdout);
		end[1] = after;
		at = end + 1;
	}
	w->used -= (size_t)(at - w->line);
	memmove(w->line, at, w->used);
	if (w->used == sizeof(w->line) - 1)
		w->used = 0;
	fflush(stdout);
}

/* Until there is nothing more now; of what is served, until it ends. */
static int take_lines(struct watch *w, bool quiet)
{
	ssize_t got;

	while ((got = read(w->fd, w->line + w->used, sizeof(w->line) - 1 - w->used)) > 0 || (got < 0 && errno == EINTR)) {
		w->used += got > 0 ? (size_t)got : 0;
		print_lines(w, quiet);
		if (ferror(stdout))
			return -EPIPE;
	}
	return got < 0 ? -errno : 0;
}

/* A path into a mount: which, and what is below it. Any other is as it stands in the mount. */
static void find_below(struct watch *w, const char *path, char mount[PATH_MAX])
{
	char absolute[PATH_MAX];

	if (!realpath(path, absolute) || mount_find(absolute, mount, PATH_MAX) < 0) {
		snprintf(w->below, sizeof(w->below), "%s", path);
	} else {
		const char *below = absolute + strlen(mount);
		snprintf(w->below, sizeof(w->below), "%s", below + (below[0] == '/'));
	}
	size_t size = strlen(w->below);
	while (size > 0 && w->below[size - 1] == '/')
		w->below[--size] = '\0';
}

static int watch_mounted(struct watch *w, const char *mount, struct why *why)
{
	struct pollfd poll_fd = { .events = POLLIN };
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/@/events", mount) >= (int)sizeof(path))
		return why_set(why, -ENAMETOOLONG, "%s is too long", mount);
	poll_fd.fd = w->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0)
		return why_set(why, -errno, "%s: %s", path, strerror(errno));
	/* What came before is no news. */
	int err = take_lines(w, true);
	while (err == 0) {
		int ready = poll(&poll_fd, 1, -1);
		if (ready < 0 && errno != EINTR)
			return -errno;
		/* Unmounted, or its daemon died. */
		if (ready > 0 && poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL))
			return why_set(why, -ENOTCONN, "the folder is not mounted any more");
		err = take_lines(w, false);
	}
	return err == -ENOTCONN ? why_set(why, err, "the folder is not mounted any more") : err;
}

static int watch_served(struct watch *w, const char *data_path, struct why *why)
{
	w->fd = ask_watch(data_path, "@/events", why);
	if (w->fd < 0)
		return w->fd;
	int err = take_lines(w, false);
	return err == 0 ? why_set(why, -ENOTCONN, "the node that served the data folder has ended") : err;
}

static int watch(struct watch *w, const char *path, struct why *why)
{
	char mount[PATH_MAX] = "";
	struct target node;

	if (path)
		find_below(w, path, mount);
	if (mount[0])
		return watch_mounted(w, mount, why);
	int err = target_open_node(&node, why);
	if (err < 0)
		return err;
	if (node.opened) {
		target_close(&node);
		return why_set(why, -ENETDOWN, "nothing arrives while no node runs: `moot mount DIR` or `moot serve` first");
	}
	return node.served ? watch_served(w, node.session.path, why) : watch_mounted(w, node.mount_path, why);
}

int command_watch(int argc, char **argv)
{
	struct watch w = { .fd = -1 };
	struct why why = { { 0 } };

	if (argc > 2)
		return command_usage(argv[0]);
	int err = watch(&w, argc == 2 ? argv[1] : NULL, &why);
	if (w.fd >= 0)
		close(w.fd);
	return err == -EPIPE ? 0 : command_fail("%s", why.text[0] ? why.text : strerror(-err));
}
