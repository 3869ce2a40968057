#include "mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "mount.h"
#include "store.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define HELPER "fusermount3"
/* What a daemon has left to do when its folder is gone: sealing and syncing. */
#define RELEASE_WAIT_MS 30000

/* ---- mountinfo ---- */

struct mounted {
	char point[PATH_MAX], source[PATH_MAX];
};

/* Spaces and the like stand as octal: \040. */
static void unescape(char *text)
{
	char *out = text;
	for (const char *at = text; *at; out++) {
		unsigned value;
		if (at[0] == '\\' && sscanf(at + 1, "%3o", &value) == 1 && strlen(at) >= 4) {
			*out = (char)value;
			at += 4;
		} else {
			*out = *at++;
		}
	}
	*out = '\0';
}

/* 36 35 98:0 / POINT OPTIONS [more] - TYPE SOURCE OPTIONS. True: one of ours. */
static bool mounted_parse(const char *line, struct mounted *out)
{
	char type[64];
	const char *rest = strstr(line, " - ");

	if (!rest || sscanf(line, "%*s %*s %*s %*s %4095s", out->point) != 1 ||
	    sscanf(rest, " - %63s %4095s", type, out->source) != 2)
		return false;
	unescape(out->point);
	unescape(out->source);
	return strcmp(type, "fuse." MOUNT_SUBTYPE) == 0;
}

/* Does a path lie at or below a mount point? */
static bool lies_in(const char *path, const char *point)
{
	size_t size = strlen(point);
	if (size > 0 && point[size - 1] == '/')
		size--;
	return strncmp(path, point, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* The last of ours that holds an absolute path (the deepest; of several on one point the uppermost). */
static int mounted_find(const char *path, struct mounted *out)
{
	FILE *file = fopen(MOUNTINFO, "re");
	char *line = NULL;
	size_t capacity = 0, best = 0;
	struct mounted *one = malloc(sizeof(*one));
	int err = file && one ? -ENOENT : -errno;

	while (file && one && getline(&line, &capacity, file) > 0) {
		if (!mounted_parse(line, one) || !lies_in(path, one->point) || strlen(one->point) < best)
			continue;
		best = strlen(one->point);
		*out = *one;
		err = 0;
	}
	free(line);
	free(one);
	if (file)
		fclose(file);
	return err;
}

static void tidy(char *path)
{
	/* Only for what realpath(3) could not walk: a dead mount. */
	size_t size = strlen(path);
	while (size > 1 && path[size - 1] == '/')
		path[--size] = '\0';
}

int mountpoint_absolute(const char *path, char *out, size_t size)
{
	char resolved[PATH_MAX], directory[PATH_MAX];
	int count;

	if (realpath(path, resolved))
		count = snprintf(out, size, "%s", resolved);
	else if (path[0] == '/')
		count = snprintf(out, size, "%s", path);
	else if (!getcwd(directory, sizeof(directory)))
		return -errno;
	else
		count = snprintf(out, size, "%s/%s", directory, path);
	if (count < 0 || (size_t)count >= size)
		return -ENAMETOOLONG;
	tidy(out);
	return 0;
}

int mount_find(const char *path, char *out_mount_point, size_t size)
{
	char absolute[PATH_MAX];
	struct mounted *found = malloc(sizeof(*found));
	if (!found)
		return -ENOMEM;

	int err = mountpoint_absolute(path, absolute, sizeof(absolute));
	if (err == 0)
		err = mounted_find(absolute, found);
	if (err == 0 && strlen(found->point) >= size)
		err = -ENAMETOOLONG;
	if (err == 0)
		strcpy(out_mount_point, found->point);
	free(found);
	return err;
}

/* ---- may it be mounted there? ---- */

static bool helper_exists(void)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : "/usr/bin:/bin"), *left = NULL;
	bool found = false;

	for (char *part = copy ? strtok_r(copy, ":", &left) : NULL; part && !found; part = strtok_r(NULL, ":", &left)) {
		char program[PATH_MAX];
		int count = snprintf(program, sizeof(program), "%s/" HELPER, part);
		found = count > 0 && (size_t)count < sizeof(program) && access(program, X_OK) == 0;
	}
	free(copy);
	/* libfuse also looks where it was installed. */
	return found || access("/usr/bin/" HELPER, X_OK) == 0 || access("/bin/" HELPER, X_OK) == 0;
}

static int check_fuse(struct why *why)
{
	if (access("/dev/fuse", F_OK) < 0)
		return why_set(why, -ENODEV, "/dev/fuse is missing: load the kernel module `fuse`, or let this "
			       "container have the device");
	if (geteuid() != 0 && !helper_exists())
		return why_set(why, -ENOENT, HELPER " is missing: install the package `fuse3`, without it only root can mount");
	return 0;
}

static int check_empty(const char *path, struct why *why)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool empty = true;

	if (!directory) {
		int err = -errno;
		return why_set(why, err, "%s cannot be opened: %s", path, strerror(-err));
	}
	while (empty && (entry = readdir(directory)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(directory);
	return empty ? 0 : why_set(why, -ENOTEMPTY, "%s is not empty: mount on an empty directory, what is in it would be hidden", path);
}

int mountpoint_check(const char *mount_point, const char *data_path, struct why *why)
{
	char absolute[PATH_MAX], ours[PATH_MAX], data[PATH_MAX];
	struct stat st;

	if (stat(mount_point, &st) < 0) {
		int err = -errno;
		if (err == -ENOENT)
			return why_set(why, err, "%s does not exist: make it with mkdir", mount_point);
		return why_set(why, err, "%s cannot be used: %s", mount_point, strerror(-err));
	}
	if (!S_ISDIR(st.st_mode))
		return why_set(why, -ENOTDIR, "%s is not a directory", mount_point);

	int err = mountpoint_absolute(mount_point, absolute, sizeof(absolute));
	if (err == 0)
		err = mountpoint_absolute(data_path, data, sizeof(data));
	if (err < 0)
		return why_set(why, err, "%s cannot be used: %s", mount_point, strerror(-err));
	if (mount_find(absolute, ours, sizeof(ours)) == 0)
		return strcmp(ours, absolute) == 0 ?
			why_set(why, -EBUSY, "%s is mounted already: `moot umount %s` ends that", absolute, absolute) :
			why_set(why, -EBUSY, "%s lies in the folder mounted at %s", absolute, ours);
	if (lies_in(data, absolute) || lies_in(absolute, data))
		return why_set(why, -EINVAL, "%s and the data folder %s must not lie in one another", absolute, data);
	err = check_fuse(why);
	return err < 0 ? err : check_empty(absolute, why);
}

/* ---- unmounting ---- */

/* Runs fusermount3 quietly: 0, or -EIO when it says no. */
static int helper_run(const char *flags, const char *mount_point)
{
	char *arguments[] = { (char *)HELPER, (char *)flags, (char *)"--", (char *)mount_point, NULL };
	posix_spawn_file_actions_t actions;
	extern char **environ;
	pid_t pid;
	int status = 0;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	int err = posix_spawnp(&pid, HELPER, &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int unmount(const char *mount_point, bool lazily)
{
	if (geteuid() == 0)
		return umount2(mount_point, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) < 0 ? -errno : 0;
	return helper_run(lazily ? "-uz" : "-u", mount_point);
}

/* Asks whoever serves it: stat(2) would be answered by what the kernel remembers. */
static bool is_dead(const char *mount_point)
{
	int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTCONN;
	close(fd);
	return false;
}

int mount_clean_stale(const char *mount_point, struct why *why)
{
	char absolute[PATH_MAX], ours[PATH_MAX];

	if (!is_dead(mount_point))
		return 0;
	int err = mountpoint_absolute(mount_point, absolute, sizeof(absolute));
	if (err < 0)
		return err;
	if (mount_find(absolute, ours, sizeof(ours)) < 0 || strcmp(ours, absolute) != 0)
		return why_set(why, -ENOTCONN, "%s is the dead mount of some other program: unmount it first", absolute);
	err = unmount(absolute, true);
	if (err < 0)
		return why_set(why, err, "%s is left from a daemon that was killed, and could not be unmounted: %s",
			       absolute, strerror(-err));
	return 1;
}

static void sleep_ms(long ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

/* The daemon seals what was open and closes its data folder; then another may open it. */
static int wait_closed(const char *data_path, struct why *why)
{
	char mounted_at[PATH_MAX];
	int pid = 0;

	for (long waited = 0; waited < RELEASE_WAIT_MS; waited += 20) {
		if (store_holder(data_path, &pid, mounted_at, sizeof(mounted_at)) < 0 || pid == 0)
			return 0;
		sleep_ms(20);
	}
	return why_set(why, -ETIMEDOUT, "it is unmounted, but process %d has not closed %s yet", pid, data_path);
}

static int unmount_found(const char *absolute, const struct mounted *found, struct why *why)
{
	struct why unused;

	if (strcmp(found->point, absolute) != 0)
		return why_set(why, -EINVAL, "%s is inside the mount: give %s", absolute, found->point);
	int err = unmount(absolute, false);
	/* Nobody serves it: nothing can be kept by refusing. */
	if (err < 0 && mount_clean_stale(absolute, &unused) == 1)
		err = 0;
	if (err == -EBUSY || err == -EIO)
		return why_set(why, -EBUSY, "%s is in use: close what is open in it, and leave it in every shell", absolute);
	if (err < 0)
		return why_set(why, err, "%s could not be unmounted: %s", absolute, strerror(-err));
	return found->source[0] == '/' ? wait_closed(found->source, why) : 0;
}

int mount_unmount(const char *mount_point, struct why *why)
{
	char absolute[PATH_MAX];
	struct mounted *found = malloc(sizeof(*found));
	if (!found)
		return -ENOMEM;

	int err = mountpoint_absolute(mount_point, absolute, sizeof(absolute));
	if (err == 0)
		err = mounted_find(absolute, found);
	if (err < 0)
		why_set(why, err, "%s is not a mounted mootfs folder", mount_point);
	else
		err = unmount_found(absolute, found, why);
	free(found);
	return err;
}

int mount_data_path(const char *path, char *out, size_t size)
{
	char absolute[PATH_MAX];
	struct mounted *found = malloc(sizeof(*found));
	if (!found)
		return -ENOMEM;

	int err = mountpoint_absolute(path, absolute, sizeof(absolute));
	if (err == 0)
		err = mounted_find(absolute, found);
	if (err == 0 && found->source[0] != '/')
		err = -ENOENT;
	if (err == 0 && strlen(found->source) >= size)
		err = -ENAMETOOLONG;
	if (err == 0)
		strcpy(out, found->source);
	free(found);
	return err;
}
