/* command_store.c - init, mount, umount, id, status, metrics, verify, reindex, gc. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "file.h"
#include "log.h"
#include "mount.h"
#include "person.h"
#include "utf8.h"

#define PUBLIC_SENTENCE "What is in the mount and is not scratch is public to every peer, old versions too."

#define PROFILE_ENTRY_MAX 512 /* bytes of journal that `moot init` writes, at most */

/* ---- init ---- */

static bool is_nickname(const char *name)
{
	size_t size = strlen(name);

	return size <= PROFILE_NAME_MAX && utf8_valid_name(name, size) && name[0] != '.' && !strchr(name, '@') &&
	       strcmp(name, "me") != 0 && strcmp(name, "README.md") != 0 && !strpbrk(name, "\n\t\r");
}

static int ask_new_passphrase(char *out, size_t size, struct why *why)
{
	char again[1024];

	int err = session_ask("new passphrase: ", out, size);
	if (err == 0 && isatty(STDIN_FILENO)) {
		err = session_ask("once more: ", again, sizeof(again));
		if (err == 0 && strcmp(out, again) != 0)
			err = -EINVAL;
		explicit_bzero(again, sizeof(again));
	}
	if (err == 0 && !out[0])
		err = -EINVAL;
	return err < 0 ? why_set(why, err, "no passphrase: it was empty, or not the same twice") : 0;
}

static int write_profile(struct store *store, const char *name, const struct id *person)
{
	struct store_txn *txn;
	struct id id;
	uint64_t number;

	int err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	struct record *record = store_txn_record(txn, 0);
	if (!record) {
		store_abort(txn);
		return -ENOMEM;
	}
	record->field = FIELD_PROFILE;
	memset(&record->profile, 0, sizeof(record->profile));
	record->profile.person = *person;
	record->profile.name = (struct text){ name, strlen(name) };
	record->profile.about = (struct text){ "", 0 };
	record->replaces_count = 0;
	err = log_append(txn, record, &id, &number);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

/* A journal without its key is somebody's work: a new key would be a stranger in it. One profile is a broken-off init. */
static int check_no_journal(int fd, const char *path, struct why *why)
{
	struct stat st;

	if (fstatat(fd, "journal/00000002.seg", &st, 0) < 0 &&
	    (fstatat(fd, "journal/00000001.seg", &st, 0) < 0 || st.st_size <= PROFILE_ENTRY_MAX))
		return 0;
	return why_set(why, -EEXIST, "%s has a journal, but its key is missing: put the file `key` back, or move the folder away", path);
}

static int make_identity(const char *path, const char *name, const struct id *person, const char *passphrase,
			 struct key *key, struct why *why)
{
	struct store_options options = { .clock = clock_system(), .create = true };
	struct store *store;

	int err = file_make_directories(path, 0700);
	if (err < 0)
		return why_set(why, err, "%s cannot be made: %s", path, strerror(-err));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return why_set(why, -errno, "%s cannot be opened: %s", path, strerror(errno));
	key_create(key, &options.clock);
	err = faccessat(fd, "key", F_OK, 0) == 0
		      ? why_set(why, -EEXIST, "there is an identity at %s already; it is kept", path)
		      : check_no_journal(fd, path, why);
	if (err == 0)
		err = store_open(&store, path, key, &options, why);
	if (err == 0) {
		/* The key last: an init that breaks off can be begun again. */
		err = write_profile(store, name, person);
		if (err == 0)
			err = journal_sync(store_journal(store));
		if (err == 0)
			err = key_save(key, fd, passphrase, &options.clock, why);
		int closed = store_close(store);
		if (err == 0)
			err = closed;
		if (err < 0 && !why->text[0])
			why_set(why, err, "the identity cannot be written: %s", why_errno(err));
	}
	close(fd);
	return err;
}

int command_init(int argc, char **argv)
{
	static const struct option options[] = { { "name", required_argument, NULL, 'n' },
						 { "passphrase", no_argument, NULL, 'p' },
						 { "person", required_argument, NULL, 'o' }, { 0 } };
	char path[PATH_MAX], passphrase[1024] = "", text[ID_TEXT_SIZE + 1];
	const struct passwd *user = getpwuid(getuid());
	const char *name = NULL;
	struct why why = { { 0 } };
	struct id person = { { 0 } };
	struct key key = { 0 };
	bool sealed = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'n')
			name = optarg;
		else if (option == 'p')
			sealed = true;
		else if (option == 'o' && id_parse(&person, optarg) < 0)
			return command_fail("`%s` is not the id of a person: `moot id` there prints it", optarg);
		else if (option != 'o')
			return command_usage(argv[0]);
	}
	if (optind < argc)
		return command_usage(argv[0]);
	/* A further device is called as its person is. */
	if (!name)
		name = !id_is_zero(&person) ? "" : user && is_nickname(user->pw_name) ? user->pw_name : "anonymous";
	if (!is_nickname(name) && (name[0] || id_is_zero(&person)))
		return command_fail("`%s` cannot be a name: 1 to %d bytes of UTF-8, no `/` or `@`, no dot in front, not `me` or `README.md`",
				    name, PROFILE_NAME_MAX);
	int err = session_path(path, &why);
	if (err == 0 && sealed)
		err = ask_new_passphrase(passphrase, sizeof(passphrase), &why);
	if (err == 0)
		err = make_identity(path, name, &person, sealed ? passphrase : NULL, &key, &why);
	explicit_bzero(passphrase, sizeof(passphrase));
	id_format(text, &key.public);
	key_finish(&key);
	if (err < 0)
		return command_fail("%s", why.text);
	if (id_is_zero(&person)) {
		printf("You are %s, moot:%s\n", name, text);
	} else {
		printf("This device is moot:%s\n"
		       "It speaks for you once it is admitted: connect to a device that is, and there run\n"
		       "moot devices admit moot:%s\n", text, text);
	}
	printf("Your data folder is %s\n%s\n", path, PUBLIC_SENTENCE);
	return 0;
}

/* ---- mount ---- */

static int serve(const struct mount_options *options, const struct key *key)
{
	struct why why = { { 0 } };

	session_raise_files();
	int err = mount_serve(options, key, &why);
	if (err < 0 && options->ready_fd < 0)
		return command_fail("%s", why.text[0] ? why.text : why_errno(err));
	return err < 0;
}

/* The parent's part: waits for the one byte, or prints the sentence that came instead. */
static int await_ready(int fd, pid_t child)
{
	char text[WHY_SIZE + 1];
	size_t size = 0;
	ssize_t got;

	while (size < WHY_SIZE && (got = read(fd, text + size, WHY_SIZE - size)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		size += (size_t)got;
		if (text[0] == '\0')
			return 0;
	}
	text[size] = '\0';
	int status = 0;
	waitpid(child, &status, 0);
	return size > 0 ? command_fail("%s", text)
			: command_fail("the daemon ended before the folder answered (status %d)", status);
}

static int serve_in_background(struct mount_options *options, const struct key *key)
{
	int ready[2];

	fflush(NULL);
	if (pipe2(ready, O_CLOEXEC) < 0)
		return command_fail("no pipe can be made: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		return command_fail("no process can be started: %s", strerror(errno));
	if (child > 0) {
		close(ready[1]);
		return await_ready(ready[0], child);
	}
	close(ready[0]);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	if (chdir("/") < 0)
		_exit(1);
	options->ready_fd = ready[1];
	_exit(serve(options, key));
}

/* Appends to a comma-separated list. */
static bool add_option(char *list, size_t size, const char *option)
{
	size_t used = strlen(list);

	return (size_t)snprintf(list + used, size - used, "%s%s", used ? "," : "", option) < size - used;
}

int command_mount(int argc, char **argv)
{
	char path[PATH_MAX], mount_point[PATH_MAX], list[4096] = "";
	struct why why = { { 0 } };
	struct key key = { 0 };
	bool foreground = false;
	int option;

	while ((option = getopt(argc, argv, "fo:")) != -1) {
		if (option == 'f')
			foreground = true;
		else if (option != 'o' || !add_option(list, sizeof(list), optarg))
			return command_usage(argv[0]);
	}
	if (optind + 1 != argc)
		return command_usage(argv[0]);
	int err = mount_clean_stale(argv[optind], &why);
	if (err < 0)
		return command_fail("%s", why.text);
	if (!realpath(argv[optind], mount_point))
		return command_fail("%s: %s", argv[optind], errno == ENOENT ? "there is no such folder to mount on" : strerror(errno));
	err = session_path(path, &why);
	if (err == 0)
		err = session_key(path, &key, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	struct mount_options options = { .data_path = path, .mount_point = mount_point,
					 .fuse_options = list[0] ? list : NULL, .ready_fd = -1 };
	int status = foreground ? serve(&options, &key) : serve_in_background(&options, &key);
	key_finish(&key);
	return status;
}

int command_umount(int argc, char **argv)
{
	char mount_point[PATH_MAX];
	struct why why = { { 0 } };

	if (argc != 2)
		return command_usage(argv[0]);
	int err = mount_clean_stale(argv[1], &why);
	if (err > 0)
		return 0;
	if (err == 0 && !realpath(argv[1], mount_point))
		return command_fail("%s: %s", argv[1], strerror(errno));
	if (err == 0)
		err = mount_unmount(mount_point, &why);
	return err < 0 ? command_fail("%s", why.text) : 0;
}

/* ---- what is here ---- */

int command_print_node(int argc, char **argv, const char *row)
{
	struct why why = { { 0 } };
	struct target target;
	struct bytes text;

	if (argc != 1)
		return command_usage(argv[0]);
	int err = target_open_node(&target, &why);
	if (err == 0) {
		err = target_read(&target, row, &text, &why);
		if (err == 0) {
			fwrite(text.data, 1, text.size, stdout);
			bytes_finish(&text);
		}
	}
	target_close(&target);
	return err < 0 ? command_fail("%s", why.text) : 0;
}

int command_id(int argc, char **argv)
{
	return command_print_node(argc, argv, "id");
}

int command_status(int argc, char **argv)
{
	return command_print_node(argc, argv, "status");
}

int command_metrics(int argc, char **argv)
{
	return command_print_node(argc, argv, "metrics");
}

/* ---- upkeep ---- */

static void print_finding(void *context, const char *sentence)
{
	printf("%s\n", sentence);
}

static void show_verify(void *context, uint64_t done, uint64_t total)
{
	progress_show("verify", done, total);
}

int command_verify(int argc, char **argv)
{
	char path[PATH_MAX];
	struct verify_report report;
	struct why why = { { 0 } };

	if (argc != 1)
		return command_usage(argv[0]);
	int err = session_path(path, &why);
	if (err == 0)
		err = store_verify(path, print_finding, show_verify, NULL, &report, &why);
	if (err == -ENOENT)
		return command_fail("there is no data folder at %s; make one with `moot init`", path);
	if (err < 0)
		return command_fail("%s", why.text[0] ? why.text : why_errno(err));
	printf("%" PRIu64 " records in %" PRIu64 " logs, %" PRIu64 " signatures, %" PRIu64 " pieces, %" PRIu64 " bytes checked\n",
	       report.records, report.logs, report.signatures, report.pieces, report.bytes);
	if (report.missing > 0)
		printf("%" PRIu64 " pieces of what others wrote are not here\n", report.missing);
	if (report.bad > 0)
		return command_fail("%" PRIu64 " finding%s", report.bad, report.bad == 1 ? "" : "s");
	puts("all is well");
	return 0;
}

int command_reindex(int argc, char **argv)
{
	struct store_counts counts;
	struct why why = { { 0 } };
	struct session session;

	if (argc != 1)
		return command_usage(argv[0]);
	int err = session_open(&session, true, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	err = store_counts(session.store, &counts);
	int closed = session_close(&session);
	if (err < 0 || closed < 0)
		return command_fail("the index could not be closed: %s", why_errno(err < 0 ? err : closed));
	printf("%" PRIu64 " records of %" PRIu64 " logs and %" PRIu64 " pieces indexed\n", counts.records, counts.logs, counts.pieces);
	return 0;
}

int command_gc(int argc, char **argv)
{
	struct gc_report report;
	struct why why = { { 0 } };
	struct session session;

	if (argc != 1)
		return command_usage(argv[0]);
	int err = session_open(&session, false, &why);
	if (err < 0)
		return command_fail("%s", why.text);
	err = store_gc(session.store, true, &report);
	int closed = session_close(&session);
	if (err == -EUCLEAN)
		return command_fail("the journal is damaged, `moot verify` tells where; nothing was touched");
	if (err < 0 || closed < 0)
		return command_fail("the journal could not be rewritten: %s", why_errno(err < 0 ? err : closed));
	printf("%" PRIu64 " segments rewritten, %" PRIu64 " bytes given back\n", report.segments_rewritten, report.bytes_freed);
	return 0;
}
