/* command_devices.c - devices, watch. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "mount.h"

/* ---- devices ---- */

static int print_devices(struct target *t, struct why *why)
{
	struct bytes text;

	int err = target_read(t, "devices", &text, why);
	if (err < 0)
		return err;
	fwrite(text.data, 1, text.size, stdout);
	bytes_finish(&text);
	return 0;
}

int command_devices(int argc, char **argv)
{
	char line[ID_TEXT_SIZE + 16];
	struct why why = { { 0 } };
	struct target target;

	bool retires = argc == 3 && strcmp(argv[1], "retire") == 0;
	if (argc != 1 && !retires && !(argc == 3 && strcmp(argv[1], "admit") == 0))
		return command_usage(argv[0]);
	if (argc == 3 && (argv[2][0] == '-' ||
			  snprintf(line, sizeof(line), "%s%s\n", retires ? "-" : "", argv[2]) >= (int)sizeof(line)))
		return command_fail("`%s` is not the id of a device: `moot id` there prints it", argv[2]);
	int err = target_open_person(&target, "me", &why);
	if (err == 0)
		err = argc == 3 ? target_write(&target, "devices", line, &why) : print_devices(&target, &why);
	target_close(&target);
	return err < 0 ? command_fail("%s", why.text[0] ? why.text : why_errno(err)) : 0;
}

/* ---- watch ---- */

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

/* Until there is nothing more now. */
static int take_lines(struct watch *w, bool quiet)
{
	ssize_t got;

	while ((got = read(w->fd, w->line + w->used, sizeof(w->line) - 1 - w->used)) > 0) {
		w->used += (size_t)got;
		print_lines(w, quiet);
		if (ferror(stdout))
			return -EPIPE;
	}
	return got < 0 && errno != EINTR ? -errno : 0;
}

/* The mount, and the path below it that is watched. */
static int find_watched(const char *path, char mount[PATH_MAX], struct watch *w, struct why *why)
{
	char absolute[PATH_MAX];
	struct target node;

	int err = target_open_node(&node, why);
	if (err < 0)
		return err;
	if (node.opened) {
		target_close(&node);
		return why_set(why, -ENETDOWN, "nothing arrives while the folder is not mounted: `moot mount DIR` first");
	}
	snprintf(mount, PATH_MAX, "%s", node.mount_path);
	if (!path)
		return 0;
	if (!realpath(path, absolute) || mount_find(absolute, mount, PATH_MAX) < 0) {
		/* As it stands in the mount. */
		snprintf(w->below, sizeof(w->below), "%s", path);
	} else {
		const char *below = absolute + strlen(mount);
		snprintf(w->below, sizeof(w->below), "%s", below + (below[0] == '/'));
	}
	size_t size = strlen(w->below);
	while (size > 0 && w->below[size - 1] == '/')
		w->below[--size] = '\0';
	return 0;
}

static int watch(struct watch *w)
{
	struct pollfd poll_fd = { .fd = w->fd, .events = POLLIN };

	/* What came before is no news. */
	int err = take_lines(w, true);
	while (err == 0) {
		int ready = poll(&poll_fd, 1, -1);
		if (ready < 0 && errno != EINTR)
			return -errno;
		/* Unmounted, or its daemon died. */
		if (ready > 0 && poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL))
			return -ENOTCONN;
		err = take_lines(w, false);
	}
	return err;
}

int command_watch(int argc, char **argv)
{
	char mount[PATH_MAX], path[PATH_MAX];
	struct watch w = { .fd = -1 };
	struct why why = { { 0 } };

	if (argc > 2)
		return command_usage(argv[0]);
	int err = find_watched(argc == 2 ? argv[1] : NULL, mount, &w, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	if (snprintf(path, sizeof(path), "%s/@/events", mount) >= (int)sizeof(path))
		return command_fail("%s is too long", mount);
	w.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w.fd < 0)
		return command_fail("%s: %s", path, strerror(errno));
	err = watch(&w);
	close(w.fd);
	return err == -EPIPE ? 0 : command_fail("%s", err == -ENOTCONN ? "the folder is not mounted any more" : strerror(-err));
}
