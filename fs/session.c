/* session.c - the data folder opened by the command itself, and the paths that people give. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "ask.h"
#include "command.h"
#include "diff.h"
#include "file.h"
#include "mount.h"
#include "person.h"

#define READ_MAX (1024u * 1024 * 1024)

int session_path(char out[PATH_MAX], struct why *why)
{
	int err = store_default_path(out, PATH_MAX);

	return err < 0 ? why_set(why, err, "no data folder is known: set MOOT_HOME or HOME") : 0;
}

int session_ask(const char *prompt, char *out, size_t size)
{
	struct termios old, quiet;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;

	if (terminal) {
		fprintf(stderr, "%s", prompt);
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	char *line = fgets(out, (int)size, stdin);
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	if (!line)
		return -EIO;
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

int session_key(const char *path, struct key *out, struct why *why)
{
	char passphrase[1024];

	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return why_set(why, -errno, "%s cannot be opened: %s", path, strerror(errno));
	if (fd < 0)
		return why_set(why, -ENOENT, "there is no data folder at %s; make one with `moot init`", path);
	int err = key_load(out, fd, NULL, why);
	if (err == -ENOKEY) {
		err = session_ask("passphrase: ", passphrase, sizeof(passphrase));
		if (err < 0)
			why_set(why, err, "the key is sealed and no passphrase was given");
		else
			err = key_load(out, fd, passphrase, why);
		explicit_bzero(passphrase, sizeof(passphrase));
	}
	if (err == -ENOENT)
		why_set(why, err, "there is no identity at %s; make one with `moot init`", path);
	close(fd);
	return err;
}

static void show_reindex(void *context, uint64_t done, uint64_t total)
{
	progress_show("reindex", done, total);
}

static int find_self(struct session *s)
{
	struct store_txn *txn;

	int err = store_begin(s->store, false, &txn);
	if (err < 0)
		return err;
	err = person_self(txn, &s->self);
	store_abort(txn);
	return err;
}

static int open_desk(struct session *s, bool serves, struct why *why)
{
	struct control_settings settings = { 0 };

	int err = control_settings_read(s->store, &settings);
	if (err < 0)
		return err;
	const struct desk_options options = { .window_ms = settings.window_ms, .document_size_max = settings.document_size_max,
					      .uid = getuid(), .gid = getgid(),
					      .hold_ms = serves ? network_hold_ms(s->store) : 0 };
	err = scratch_open(&s->scratch, store_directory_fd(s->store), (const char *)settings.scratch.data, why);
	if (err == 0)
		err = desk_open(&s->desk, s->store, &options);
	control_settings_finish(&settings);
	return err;
}

static int open_all(struct session *s, bool reindex, bool serves, struct why *why)
{
	struct store_options options = { .clock = clock_system(), .reindex = reindex, .progress = show_reindex };
	struct key key = { 0 };

	memset(s, 0, sizeof(*s));
	int err = session_path(s->path, why);
	if (err == 0)
		err = session_key(s->path, &key, why);
	if (err == 0)
		err = store_open(&s->store, s->path, &key, &options, why);
	key_finish(&key);
	if (err < 0)
		return err;

	err = diff_init();
	if (err == 0)
		err = open_desk(s, serves, why);
	if (err == 0)
		err = find_self(s);
	s->errors = errors_new(store_clock(s->store));
	s->memory = control_memory_new();
	if (err == 0 && (!s->errors || !s->memory))
		err = -ENOMEM;
	if (err < 0) {
		session_close(s);
		return why && why->text[0] ? err : why_set(why, err, "%s cannot be opened: %s", s->path, why_errno(err));
	}
	s->host = (struct control_host){ .store = s->store, .desk = s->desk, .scratch = s->scratch,
					 .errors = s->errors, .memory = s->memory, .data_path = s->path };
	return 0;
}

int session_open(struct session *s, bool reindex, struct why *why)
{
	return open_all(s, reindex, false, why);
}

int session_open_serving(struct session *s, struct why *why)
{
	return open_all(s, false, true, why);
}

int session_close(struct session *s)
{
	int err = desk_close(s->desk);

	errors_free(s->errors);
	control_memory_free(s->memory);
	scratch_close(s->scratch);
	int closed = store_close(s->store);
	memset(s, 0, sizeof(*s));
	return err < 0 ? err : closed;
}

/* ---- paths ---- */

/* "alice/guides/soil.md" in an open session. The last name need not show: it may be gone. */
static int find_slot(struct target *t, const char *path)
{
	char copy[PATH_MAX], *save = NULL;
	struct desk_item item;
	struct id person;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	char *part = strtok_r(copy, "/", &save), *next;
	if (!part)
		return -ENOENT;
	int err = control_find_person(&t->session.host, part, &person);
	struct id directory = person;
	part = strtok_r(NULL, "/", &save);
	if (err == 0 && !part)
		control_node_entity(&t->node, &person);
	for (; err == 0 && part; part = next) {
		next = strtok_r(NULL, "/", &save);
		err = desk_lookup(t->session.desk, &person, &directory, part, &item);
		if (err == -ENOENT && !next) {
			control_node_document(&t->node, &person, &directory, part);
			return 0;
		}
		if (err == 0 && next && item.what != WHAT_DIRECTORY)
			err = -ENOTDIR;
		if (err == 0 && !next && item.what == WHAT_DIRECTORY)
			err = -EISDIR;
		if (err == 0 && !next)
			control_node_document(&t->node, &person, &item.directory, item.slot_name);
		directory = item.id;
	}
	return err;
}

/* An absolute path whose last part need not exist. */
static int make_absolute(const char *path, char out[PATH_MAX])
{
	char copy[PATH_MAX], folder[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	size_t size = strlen(copy);
	while (size > 1 && copy[size - 1] == '/')
		copy[--size] = '\0';
	char *slash = strrchr(copy, '/');
	const char *last = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	if (!realpath(slash ? (slash == copy ? "/" : copy) : ".", folder))
		return -errno;
	int written = snprintf(out, PATH_MAX, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, last);
	return written < 0 || written >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The mount that serves this data folder now, if any. */
static bool find_holder(char out[PATH_MAX])
{
	char path[PATH_MAX];
	int pid = 0;

	return session_path(path, NULL) == 0 && store_holder(path, &pid, out, PATH_MAX) == 0 && pid != 0 && out[0];
}

int target_open(struct target *t, const char *path, struct why *why)
{
	char absolute[PATH_MAX], mount[PATH_MAX];

	memset(t, 0, sizeof(*t));
	if (make_absolute(path, absolute) == 0 && mount_find(absolute, mount, sizeof(mount)) == 0) {
		memcpy(t->mount_path, absolute, sizeof(absolute));
		return 0;
	}
	if (find_holder(mount)) {
		if (snprintf(t->mount_path, PATH_MAX, "%.2000s/%.2000s", mount, path) >= PATH_MAX)
			return why_set(why, -ENAMETOOLONG, "%s is too long", path);
		return 0;
	}
	int err = session_open(&t->session, false, why);
	if (err < 0)
		return err;
	t->opened = true;
	err = find_slot(t, path);
	return err < 0 ? why_set(why, err, "%s: %s", path, why_errno(err)) : 0;
}

/* A node that runs: its mount, or what serves the data folder without one. */
static bool find_running(struct target *t, const char *who)
{
	char mount[PATH_MAX];
	int pid = 0;

	memset(t, 0, sizeof(*t));
	if (session_path(t->session.path, NULL) < 0 || store_holder(t->session.path, &pid, mount, PATH_MAX) < 0 || pid == 0)
		return false;
	t->served = !mount[0] && ask_is_there(t->session.path);
	if (mount[0])
		snprintf(t->mount_path, PATH_MAX, "%.2000s/%.2000s", mount, who);
	else
		snprintf(t->mount_path, PATH_MAX, "%s", who);
	return mount[0] || t->served;
}

int target_open_node(struct target *t, struct why *why)
{
	if (find_running(t, ""))
		return 0;
	int err = session_open(&t->session, false, why);
	if (err == 0) {
		t->opened = true;
		control_node_root(&t->node);
	}
	return err;
}

int target_open_person(struct target *t, const char *who, struct why *why)
{
	char name[PATH_MAX];

	/* A path is taken for what stands at its end. */
	if (snprintf(name, sizeof(name), "%s", who) >= (int)sizeof(name))
		return why_set(why, -ENAMETOOLONG, "that name is too long");
	for (size_t size = strlen(name); size > 1 && name[size - 1] == '/'; size--)
		name[size - 1] = '\0';
	const char *last = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	if (find_running(t, last))
		return 0;
	int err = session_open(&t->session, false, why);
	if (err < 0)
		return err;
	t->opened = true;
	err = find_slot(t, last);
	return err < 0 ? why_set(why, err, "nobody is known as %s here", last) : 0;
}

void target_close(struct target *t)
{
	if (t->opened)
		session_close(&t->session);
	t->opened = false;
}

static int read_content(struct session *s, const struct control_node *node, struct bytes *out)
{
	struct content *content = malloc(sizeof(*content));

	int err = content ? control_content(&s->host, node, content) : -ENOMEM;
	for (uint64_t offset = 0; err == 0 && offset < content->size;) {
		uint8_t *at = bytes_extend(out, PIECE_TEXT_MAX);
		ssize_t size = at ? content_read(store_piece_cache(s->store), store_pieces(s->store), content, at,
						 PIECE_TEXT_MAX, offset) : bytes_error(out);
		if (size <= 0)
			err = size < 0 ? (int)size : -EBADMSG;
		else
			out->size -= PIECE_TEXT_MAX - (size_t)size;
		offset += size > 0 ? (uint64_t)size : 0;
	}
	free(content);
	return err;
}

static int control_path(const struct target *t, const char *row, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s@/%s", t->mount_path, row) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int read_file(const char *path, struct bytes *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

	for (ssize_t size = 1; err == 0 && size > 0;) {
		uint8_t *at = bytes_extend(out, 65536);
		size = at ? read(fd, at, 65536) : -1;
		err = !at ? bytes_error(out) : size < 0 ? -errno : 0;
		out->size -= 65536 - (size > 0 ? (size_t)size : 0);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int target_read(struct target *t, const char *row, struct bytes *out, struct why *why)
{
	char path[PATH_MAX];
	struct control_node node;
	int err;

	bytes_init(out, READ_MAX);
	if (t->opened) {
		err = control_find_below(&t->session.host, &t->node, row, &node);
		if (err == 0)
			err = control_kind(&node) == CONTROL_CONTENT
				      ? read_content(&t->session, &node, out)
				      : control_read(&t->session.host, &node, (uint32_t)getpid(), out);
	} else {
		err = control_path(t, row, path);
		if (err == 0)
			err = t->served ? ask_read(t->session.path, path, out, why) : read_file(path, out);
	}
	if (err == 0)
		return 0;
	bytes_finish(out);
	if (t->served && why && why->text[0])
		return err;
	return why_set(why, err, "%s cannot be read: %s", row, err == -ENOENT ? "there is no such version or file" : why_errno(err));
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

	if (err == 0)
		err = file_write_all(fd, text, strlen(text));
	if (fd >= 0 && close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

/* The sentence of the newest refusal, if it is of this row: what is written can only fail with a number. */
static bool find_reason(const char *path, const char *row, struct why *why)
{
	char file[PATH_MAX + 16], line[4096], mark[512];

	if (mount_find(path, file, PATH_MAX) < 0 || snprintf(mark, sizeof(mark), "@/%s  ", row) >= (int)sizeof(mark))
		return false;
	strcat(file, "/@/errors");
	FILE *errors = fopen(file, "re");
	if (!errors)
		return false;
	const char *got = fgets(line, sizeof(line), errors);
	fclose(errors);
	line[got ? strcspn(line, "\n") : 0] = '\0';
	/* Time, path, errno's name, sentence: two blanks between them. */
	const char *at = strstr(line, mark);
	at = at ? strstr(at + strlen(mark), "  ") : NULL;
	if (!at)
		return false;
	why_set(why, 0, "%s: %s", row, at + 2);
	return true;
}

int target_write(struct target *t, const char *row, const char *text, struct why *why)
{
	char path[PATH_MAX];
	struct control_node node;

	if (t->opened) {
		int err = control_find_below(&t->session.host, &t->node, row, &node);
		if (err == 0)
			err = control_write(&t->session.host, &node, (uint32_t)getpid(), text, strlen(text), why);
		return err < 0 && !(why && why->text[0]) ? why_set(why, err, "%s: %s", row, why_errno(err)) : err;
	}
	int err = control_path(t, row, path);
	if (err == 0 && t->served)
		return ask_write(t->session.path, path, text, why);
	if (err == 0)
		err = write_file(path, text);
	if (err == 0 || find_reason(path, row, why))
		return err;
	return why_set(why, err, "%s cannot be written: %s", row, why_errno(err));
}

void session_raise_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}
