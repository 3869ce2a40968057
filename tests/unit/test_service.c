#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "ask.h"
#include "control_kit.h"
#include "service.h"

#define SLOW_MS 300

struct world {
	struct kit kit;
	struct service *service;
	int wake_fd;
};

static int start(struct world *w, struct why *why)
{
	const struct service_options options = { .host = &w->kit.host, .clock = clock_system(), .wake_fd = w->wake_fd,
						 .slow_ms = SLOW_MS };
	return service_start(&w->service, &options, why);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct why why = { { 0 } };

	assert_non_null(w);
	kit_make(&w->kit, 7, "alice");
	struct clock clock = helper_clock(&w->kit.store);
	w->kit.host.events = events_new(&clock);
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(w->kit.host.events && w->wake_fd >= 0);
	assert_int_equal(start(w, &why), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	service_stop(w->service);
	close(w->wake_fd);
	events_free(w->kit.host.events);
	kit_remove(&w->kit);
	free(w);
	return 0;
}

static const char *data(const struct world *w)
{
	return w->kit.host.data_path;
}

static void add_event(struct world *w, const char *path)
{
	events_add(w->kit.host.events, "version", path);
	eventfd_write(w->wake_fd, 1);
}

static int dial(const struct world *w)
{
	struct sockaddr_un address;

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	service_address(store_directory_fd(w->kit.store.store), &address);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All that comes until the end. */
static size_t receive_all(int fd, char *out, size_t size)
{
	size_t used = 0;
	ssize_t got;

	while (used < size && (got = recv(fd, out + used, size - used, 0)) > 0)
		used += (size_t)got;
	assert_true(used < size);
	out[used] = '\0';
	return used;
}

static void test_reads_as_the_control_files_do(void **state)
{
	struct world *w = *state;
	char id[ID_TEXT_SIZE + 1], by_id[ID_TEXT_SIZE + 32];
	struct control_node root, self;

	control_node_root(&root);
	control_node_entity(&self, &w->kit.self);
	id_format(id, &w->kit.self);
	snprintf(by_id, sizeof(by_id), "moot:%s@/devices", id);
	const struct {
		const char *path, *row;
		const struct control_node *folder;
	} cases[] = {
		{ "@/id", "id", &root }, { "@/config", "config", &root }, { "@/metrics", "metrics", &root },
		{ "@/events", "events", &root }, { "me@/devices", "devices", &self }, { "alice@/id", "id", &self },
		{ by_id, "devices", &self },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *expected = kit_read(&w->kit, cases[i].folder, cases[i].row);
		struct bytes out;

		print_message("case: %s\n", cases[i].path);
		bytes_init(&out, KIT_TEXT_MAX);
		assert_int_equal(ask_read(data(w), cases[i].path, &out, NULL), 0);
		assert_int_equal(out.size, strlen(expected));
		if (out.size)
			assert_memory_equal(out.data, expected, out.size);
		bytes_finish(&out);
		free(expected);
	}
}

static void test_writes_as_the_control_files_do(void **state)
{
	struct world *w = *state;
	struct control_node root;
	struct why why = { { 0 } };

	control_node_root(&root);
	assert_int_equal(ask_write(data(w), "@/quota", "5G\n", &why), 0);
	kit_expect_value(&w->kit, &root, "quota", "5368709120");
	assert_int_equal(ask_write(data(w), "me@/about", "I am\nhere.\n", &why), 0);
	assert_int_equal(ask_write(data(w), "@/quota", "much\n", &why), -EINVAL);
	assert_non_null(strstr(why.text, "`much` is no number of bytes"));
	kit_expect_value(&w->kit, &root, "quota", "5368709120");
	assert_true(kit_contains(&w->kit, &root, "errors", "@/quota  EINVAL  `much` is no number"));
}

static void test_what_is_not_to_be_had(void **state)
{
	static const struct {
		const char *path;
		int read, write;
	} cases[] = {
		{ "@/nothing", -ENOENT, -ENOENT }, { "@/", -EISDIR, -EACCES }, { "@", -EISDIR, -EACCES },
		{ "status", -ENOENT, -ENOENT }, { "bob@/id", -ENOENT, -ENOENT }, { "me@/at/2026", -EISDIR, -EACCES },
		{ "alice/notes.md@/head", -ENOENT, -ENOENT }, { "@/status/deeper", -ENOTDIR, -ENOTDIR },
		{ "../@/status", -ENOENT, -ENOENT },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct why why = { { 0 } };
		struct bytes out;

		print_message("case: %s\n", cases[i].path);
		bytes_init(&out, 4096);
		assert_int_equal(ask_read(data(w), cases[i].path, &out, &why), cases[i].read);
		assert_int_equal(ask_write(data(w), cases[i].path, "1\n", &why), cases[i].write);
		assert_true(why.text[0]);
		assert_int_equal(out.size, 0);
		bytes_finish(&out);
	}
	assert_int_equal(ask_watch(data(w), "@/status", NULL), -EINVAL);
}

static void test_who_watches_is_told_of_what_comes(void **state)
{
	struct world *w = *state;
	char text[4096];

	add_event(w, "alice/before.md");
	int fds[2] = { ask_watch(data(w), "@/events", NULL), ask_watch(data(w), "@/events", NULL) };
	add_event(w, "alice/one.md");
	add_event(w, "alice/two.md");
	for (int i = 0; i < 2; i++) {
		size_t used = 0;
		assert_true(fds[i] >= 0);
		while (used == 0 || !strstr(text, "two.md\n")) {
			ssize_t got = recv(fds[i], text + used, sizeof(text) - 1 - used, 0);
			assert_true(got > 0);
			used += (size_t)got;
			text[used] = '\0';
		}
		assert_null(strstr(text, "before.md"));
		assert_non_null(strstr(text, "\tversion\talice/one.md\n"));
	}
	/* One leaves, the other is there until the node ends. */
	close(fds[0]);
	add_event(w, "alice/three.md");
	assert_true(recv(fds[1], text, sizeof(text), 0) > 0);
	service_stop(w->service);
	w->service = NULL;
	assert_int_equal(recv(fds[1], text, sizeof(text), 0), 0);
	close(fds[1]);
}

/* It takes nothing: what is kept for it stays one buffer, and it is told what it missed. */
static void test_a_watcher_may_be_slow(void **state)
{
	struct world *w = *state;
	static char text[4 << 20];
	char path[1000];
	size_t used = 0;

	int fd = ask_watch(data(w), "@/events", NULL);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	for (int i = 0; i < 2 * EVENTS_KEPT; i++)
		add_event(w, path);
	add_event(w, "alice/last.md");
	do {
		ssize_t got = recv(fd, text + used, sizeof(text) - 1 - used, 0);
		assert_true(got > 0);
		used += (size_t)got;
		text[used] = '\0';
	} while (!strstr(text + (used > 64 ? used - 64 : 0), "alice/last.md\n"));
	assert_non_null(strstr(text, " lines before these are not kept\n"));
	close(fd);
}

static void test_what_is_no_request_is_said_so(void **state)
{
	struct world *w = *state;
	char text[1024], *big = malloc(2 * REQUEST_SIZE_MAX);

	assert_non_null(big);
	memset(big, 'x', 2 * REQUEST_SIZE_MAX);
	const struct {
		const char *bytes;
		size_t size;
	} cases[] = { { "hello\n", 6 }, { "read @/id\nread @/id\n", 20 }, { big, 2 * REQUEST_SIZE_MAX }, { "write 9999999 @/x\n", 18 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = dial(w);
		/* It may be refused before all is taken. */
		if (send(fd, cases[i].bytes, cases[i].size, MSG_NOSIGNAL) < 0)
			assert_int_equal(errno, EPIPE);
		receive_all(fd, text, sizeof(text));
		assert_int_equal(strncmp(text, "error ", 6), 0);
		assert_non_null(strstr(text, "that is no request"));
		close(fd);
	}
	free(big);
}

static void test_a_request_may_come_in_parts(void **state)
{
	static const char request[] = "write 3 @/quota\n7K\n";
	struct world *w = *state;
	char text[256];

	int fd = dial(w);
	for (size_t i = 0; i < sizeof(request) - 1; i++)
		assert_int_equal(send(fd, request + i, 1, 0), 1);
	receive_all(fd, text, sizeof(text));
	assert_string_equal(text, "ok 0\n");
	close(fd);
}

/* They hold every place and say nothing, or half of it: they lose it, and who asks is answered. */
static void test_the_slow_do_not_keep_others_out(void **state)
{
	struct world *w = *state;
	int fds[SERVICE_CONNECTIONS_MAX + 8];
	struct bytes out;
	char text[64];

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		fds[i] = dial(w);
		if (i % 2)
			assert_int_equal(send(fds[i], "read ", 5, 0), 5);
	}
	bytes_init(&out, 4096);
	assert_int_equal(ask_read(data(w), "@/id", &out, NULL), 0);
	assert_true(out.size > 50);
	bytes_finish(&out);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		assert_int_equal(receive_all(fds[i], text, sizeof(text)), 0);
		close(fds[i]);
	}
}

static void test_watchers_leave_room_to_ask(void **state)
{
	struct world *w = *state;
	int fds[SERVICE_WATCHERS_MAX];
	struct why why = { { 0 } };
	struct bytes out;

	for (size_t i = 0; i < SERVICE_WATCHERS_MAX; i++) {
		fds[i] = ask_watch(data(w), "@/events", NULL);
		assert_true(fds[i] >= 0);
	}
	assert_int_equal(ask_watch(data(w), "@/events", &why), -EMFILE);
	assert_non_null(strstr(why.text, "watch already"));
	bytes_init(&out, 4096);
	assert_int_equal(ask_read(data(w), "@/id", &out, NULL), 0);
	bytes_finish(&out);
	/* Silence is no reason to lose a watcher. */
	usleep((SLOW_MS + 100) * 1000);
	add_event(w, "alice/one.md");
	for (size_t i = 0; i < SERVICE_WATCHERS_MAX; i++) {
		char text[256];
		assert_true(recv(fds[i], text, sizeof(text), 0) > 0);
		close(fds[i]);
	}
}

/* ---- the socket ---- */

static void test_only_the_user_may_speak(void **state)
{
	struct world *w = *state;
	struct stat st;
	int fd = store_directory_fd(w->kit.store.store), status;

	assert_int_equal(fstatat(fd, SERVICE_SOCKET, &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	if (geteuid() != 0) {
		print_message("not root: no other user can be had\n");
		return;
	}
	/* Even where everything is left open. */
	assert_int_equal(fchmod(fd, 0755), 0);
	assert_int_equal(fchmodat(fd, SERVICE_SOCKET, 0666, 0), 0);
	pid_t child = fork();
	if (child == 0) {
		char text[256];
		struct sockaddr_un address;
		service_address(fd, &address);
		int other = socket(AF_UNIX, SOCK_STREAM, 0);
		if (setgid(65534) < 0 || setuid(65534) < 0 || connect(other, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(2);
		if (send(other, "read @/id\n", 10, MSG_NOSIGNAL) < 0 && errno != EPIPE)
			_exit(3);
		_exit(recv(other, text, sizeof(text), 0) > 0 ? 4 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(fchmod(fd, 0700), 0);
}

static void test_what_a_killed_node_left_is_replaced(void **state)
{
	struct world *w = *state;
	struct sockaddr_un address;
	struct stat st;
	int fd = store_directory_fd(w->kit.store.store);

	service_stop(w->service);
	w->service = NULL;
	assert_int_equal(fstatat(fd, SERVICE_SOCKET, &st, 0), -1);
	assert_false(ask_is_there(data(w)));
	int left = socket(AF_UNIX, SOCK_STREAM, 0);
	service_address(fd, &address);
	assert_int_equal(bind(left, (struct sockaddr *)&address, sizeof(address)), 0);
	close(left);
	assert_false(ask_is_there(data(w)));
	assert_int_equal(start(w, NULL), 0);
	assert_true(ask_is_there(data(w)));
}

static void test_what_is_no_socket_is_kept(void **state)
{
	struct world *w = *state;
	struct why why = { { 0 } };
	int fd = store_directory_fd(w->kit.store.store);

	service_stop(w->service);
	w->service = NULL;
	int file = openat(fd, SERVICE_SOCKET, O_CREAT | O_WRONLY, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(start(w, &why), -EEXIST);
	assert_true(why.text[0]);
	assert_int_equal(faccessat(fd, SERVICE_SOCKET, F_OK, 0), 0);
	assert_int_equal(unlinkat(fd, SERVICE_SOCKET, 0), 0);
}

/* Deeper than an address is long. */
static void test_the_way_may_be_long(void **state)
{
	struct world *w = *state;
	char part[128], path[PATH_MAX];
	struct bytes out;

	memset(part, 'd', sizeof(part) - 1);
	part[sizeof(part) - 1] = '\0';
	snprintf(path, sizeof(path), "%s/%s", data(w), part);
	assert_int_equal(mkdir(path, 0700), 0);
	int err = ask_is_there(path) ? 0 : -ENOENT;
	assert_int_equal(err, -ENOENT);
	/* The same folder by a longer name. */
	snprintf(path, sizeof(path), "%s/%s/..", data(w), part);
	bytes_init(&out, 4096);
	assert_int_equal(ask_read(path, "@/id", &out, NULL), 0);
	bytes_finish(&out);
	path[strlen(path) - 3] = '\0';
	assert_int_equal(rmdir(path), 0);
}

static void test_it_ends_at_once(void **state)
{
	struct world *w = *state;
	struct clock clock = clock_system();
	int fds[4];
	char text[64];

	for (int i = 0; i < 3; i++)
		fds[i] = dial(w);
	assert_int_equal(send(fds[1], "write 100 @/quota\n", 18, 0), 18);
	fds[3] = ask_watch(data(w), "@/events", NULL);
	uint64_t began_ms = clock_now_ms(&clock);
	service_stop(w->service);
	assert_true(clock_now_ms(&clock) - began_ms < 5000);
	for (int i = 0; i < 4; i++) {
		assert_true(recv(fds[i], text, sizeof(text), 0) <= 0);
		close(fds[i]);
	}
	assert_int_equal(start(w, NULL), 0);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_reads_as_the_control_files_do),
		TEST(test_writes_as_the_control_files_do),
		TEST(test_what_is_not_to_be_had),
		TEST(test_who_watches_is_told_of_what_comes),
		TEST(test_a_watcher_may_be_slow),
		TEST(test_what_is_no_request_is_said_so),
		TEST(test_a_request_may_come_in_parts),
		TEST(test_the_slow_do_not_keep_others_out),
		TEST(test_watchers_leave_room_to_ask),
		TEST(test_only_the_user_may_speak),
		TEST(test_what_a_killed_node_left_is_replaced),
		TEST(test_what_is_no_socket_is_kept),
		TEST(test_the_way_may_be_long),
		TEST(test_it_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
