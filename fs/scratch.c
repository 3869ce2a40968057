#include "scratch.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "store_limits.h"

#define FOLDER "scratch"
#define DOC "<doc>" /* in a rule: the name of a document that stands beside */
#define RULES_MAX 1024 /* of the config: each costs a match at every create */

/*
 * Names that programs make for themselves.  In a rule for exclusive creation
 * each `?` is one letter or digit, as mkstemp(3) draws them; elsewhere the
 * pattern is one of fnmatch(3).  The first that matches is the one told.
 */
#define BACKUP_PATTERN "*.bak"

static const struct rule {
	const char *pattern;
	bool only_exclusive;
	const char *about;
} table[] = {
	{ ".*.sw[a-px]", false, "vim: swap; nano: lock" },
	{ ".#*", false, "Emacs, joe, mcedit: lock" },
	{ ".~lock.*#", false, "LibreOffice: lock" },
	{ ".goutputstream-*", false, "GNOME: new text before it is renamed over" },
	{ "." DOC ".??????", true, "rsync: new text before it is renamed over" },
	{ ".~tmp~", false, "rsync --delay-updates" },
	{ "._*", false, "macOS: attributes" },
	{ ".nfs*", false, "NFS: removed while open" },
	{ ".fuse_hidden*", false, "FUSE: removed while open" },
	{ ".Trash*", false, "file managers: trash" },
	{ ".git", false, "git" },
	{ ".*", false, "hidden" },
	{ "*~", false, "backup" },
	{ "#*#", false, "Emacs: text not yet saved" },
	{ "4913", false, "vim: may files be created here" },
	{ "sed??????", true, "sed -i" },
	{ "XX??????", true, "perl -i" },
	{ DOC ".??????", true, "GLib, Qt: new text before it is renamed over" },
	{ DOC ".o??????", true, "patch: new text before it is renamed over" },
	{ DOC ".save", true, "nano: what was not saved when it was ended" },
	{ DOC ".save.?", true, "nano: what was not saved when it was ended" },
	{ "nano.[0-9]*.save", false, "nano: what had no name yet when it was ended" },
	{ "DEADJOE", false, "joe: what was not saved when it was ended" },
	{ "ed.hup", false, "ed: what was not saved when it was ended" },
	{ "~WRL*.tmp", false, "Word" },
	{ "~$*", false, "Word: lock" },
	{ "lu*.tmp", false, "LibreOffice: new text before it is renamed over" },
	{ "*.tmp", false, "temporary" },
	{ "*.orig", false, "patch: the text before" },
	{ "*.rej", false, "patch: what did not apply" },
	{ "*.kate-swp", false, "Kate: swap" },
	{ "*.vsctmp", false, "VS Code" },
	{ "*___jb_*___", false, "JetBrains" },
	{ "*.part", false, "a download not yet whole" },
	{ "*.crdownload", false, "a download not yet whole" },
	{ "*.filepart", false, "a download not yet whole" },
	{ "Thumbs.db", false, "Windows: thumbnails" },
	{ "desktop.ini", false, "Windows: folder settings" },
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

struct scratch {
	int fd; /* of scratch/ */
	bool taken[TABLE_COUNT]; /* rows that the config takes away */
	char *text;              /* the config's lines, cut into patterns */
	const char **patterns;   /* into text */
	size_t pattern_count;
};

/* ---- rules ---- */

static char *trim(char *line)
{
	while (*line == ' ' || *line == '\t')
		line++;

	size_t size = strlen(line);
	while (size > 0 && strchr(" \t\r", line[size - 1]))
		size--;
	line[size] = '\0';
	return line;
}

/* The end of a bracket expression that begins at p, or NULL: fnmatch would take it for a plain `[`. */
static const char *bracket_end(const char *p)
{
	p++;
	if (*p == '!' || *p == '^')
		p++;
	if (*p == ']')
		p++;
	while (*p && *p != ']')
		p++;
	return *p ? p : NULL;
}

static int check_pattern(const char *pattern, struct why *why)
{
	if (strlen(pattern) > NAME_SIZE_MAX)
		return why_set(why, -EINVAL, "a scratch pattern is longer than a name can be: %.40s...", pattern);
	if (strchr(pattern, '/'))
		return why_set(why, -EINVAL, "a scratch pattern is for one name and has no `/`: %s", pattern);
	for (const char *p = pattern; *p; p++) {
		if (*p == '\\') {
			if (!*++p)
				return why_set(why, -EINVAL, "a scratch pattern ends in a lone `\\`: %s", pattern);
		} else if (*p == '[') {
			p = bracket_end(p);
			if (!p)
				return why_set(why, -EINVAL, "a scratch pattern has a `[` without `]`: %s", pattern);
		}
	}
	return 0;
}

static int take_row(struct scratch *s, const char *pattern, struct why *why)
{
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		if (strcmp(table[i].pattern, pattern) == 0) {
			s->taken[i] = true;
			return 0;
		}
	}
	return why_set(why, -EINVAL, "no scratch pattern of the built-in table is %s", pattern);
}

static int add_pattern(struct scratch *s, const char *pattern, struct why *why)
{
	int err = check_pattern(pattern, why);
	if (err < 0)
		return err;
	if (s->pattern_count == RULES_MAX)
		return why_set(why, -EINVAL, "more than %d scratch patterns", RULES_MAX);

	const char **grown = realloc(s->patterns, (s->pattern_count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->patterns = grown;
	s->patterns[s->pattern_count++] = pattern;
	return 0;
}

static int read_rules(struct scratch *s, const char *rules, struct why *why)
{
	char *rest = s->text = strdup(rules);

	if (!rest)
		return -ENOMEM;
	for (char *line; (line = strsep(&rest, "\n"));) {
		int err = 0;

		line = trim(line);
		if (*line == '!')
			err = take_row(s, trim(line + 1), why);
		else if (*line && *line != '#')
			err = add_pattern(s, line, why);
		if (err < 0)
			return err;
	}
	return 0;
}

static int open_folder(int directory_fd)
{
	if (mkdirat(directory_fd, FOLDER, 0700) < 0 && errno != EEXIST)
		return -errno;

	int fd = openat(directory_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int scratch_open(struct scratch **out, int directory_fd, const char *rules, struct why *why)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fd = open_folder(directory_fd);

	int err = s->fd < 0 ? why_set(why, s->fd, "cannot open the folder of scratch files: %s", strerror(-s->fd)) : 0;
	if (err == 0 && rules)
		err = read_rules(s, rules, why);
	if (err < 0) {
		scratch_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void scratch_close(struct scratch *s)
{
	if (!s)
		return;
	cleanup_close(&s->fd);
	free(s->patterns);
	free(s->text);
	free(s);
}

int scratch_fd(const struct scratch *s)
{
	return s->fd;
}

/* As fnmatch for literals and `?`, where `?` is a letter or digit; sizes must be equal. */
static bool matches_drawn(const char *pattern, const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)name[i];
		if (pattern[i] == '?' ? c > 0x7f || !isalnum(c) : pattern[i] != name[i])
			return false;
	}
	return true;
}

/* The part of `name` where a drawn pattern has DOC; the whole pattern must fit. *out_size is 0 where it has none. */
static bool find_document(const char *pattern, const char *name, const char **out, size_t *out_size)
{
	const char *doc = strstr(pattern, DOC);
	size_t name_size = strlen(name);

	if (!doc) {
		*out_size = 0;
		return strlen(pattern) == name_size && matches_drawn(pattern, name, name_size);
	}

	const char *tail = doc + strlen(DOC);
	size_t head_size = (size_t)(doc - pattern);
	size_t tail_size = strlen(tail);
	if (name_size <= head_size + tail_size || name_size > NAME_SIZE_MAX)
		return false;
	*out = name + head_size;
	*out_size = name_size - head_size - tail_size;
	return matches_drawn(pattern, name, head_size) &&
	       matches_drawn(tail, name + name_size - tail_size, tail_size);
}

/* exists NULL: by its form alone. */
static bool rule_matches(const struct rule *rule, const char *name, bool exclusive,
			 bool (*exists)(void *context, const char *name), void *context)
{
	const char *at = NULL;
	size_t size;

	if (!rule->only_exclusive)
		return fnmatch(rule->pattern, name, 0) == 0;
	if (!exclusive || !find_document(rule->pattern, name, &at, &size))
		return false;
	if (size == 0 || !exists)
		return true;

	char document[NAME_SIZE_MAX + 1];
	memcpy(document, at, size);
	document[size] = '\0';
	return exists(context, document);
}

static const char *find_rule(const struct scratch *s, const char *name, bool exclusive,
			     bool (*exists)(void *context, const char *name), void *context)
{
	for (size_t i = 0; i < s->pattern_count; i++) {
		if (fnmatch(s->patterns[i], name, 0) == 0)
			return s->patterns[i];
	}
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		if (!s->taken[i] && rule_matches(&table[i], name, exclusive, exists, context))
			return table[i].pattern;
	}
	return NULL;
}

static bool exists_nothing(void *context, const char *name)
{
	return false;
}

bool scratch_is_name(const struct scratch *s, const char *name, bool exclusive,
		     bool (*exists)(void *context, const char *name), void *context)
{
	return find_rule(s, name, exclusive, exists ? exists : exists_nothing, context) != NULL;
}

bool scratch_is_backup(const char *name)
{
	return fnmatch(BACKUP_PATTERN, name, 0) == 0;
}

const char *scratch_rule(const struct scratch *s, const char *name)
{
	const char *rule = find_rule(s, name, true, NULL, NULL);

	return rule || !scratch_is_backup(name) ? rule : BACKUP_PATTERN;
}

void scratch_describe(const struct scratch *s, struct bytes *out)
{
	for (size_t i = 0; i < s->pattern_count; i++)
		bytes_put_format(out, "%-18s  of the config\n", s->patterns[i]);
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		bytes_put_format(out, "%s%-*s  %s%s\n", s->taken[i] ? "!" : "", s->taken[i] ? 17 : 18,
				 table[i].pattern, table[i].about,
				 table[i].only_exclusive ? " (only where created with O_EXCL)" : "");
	}
	bytes_put_format(out, "%-18s  sed -i.bak, perl -i.bak (only where a document is renamed to it)\n", BACKUP_PATTERN);
}

/* ---- files ---- */

int scratch_path(char *out, size_t size, const struct id *directory, const char *name)
{
	char id[ID_TEXT_SIZE + 1];

	id_format(id, directory);
	int written = snprintf(out, size, "%s%s%s", id, name ? "/" : "", name ? name : "");
	return written < 0 || (size_t)written >= size ? -ENAMETOOLONG : 0;
}

int scratch_make_directory(struct scratch *s, const struct id *directory)
{
	char path[ID_TEXT_SIZE + 1];

	id_format(path, directory);
	return mkdirat(s->fd, path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

bool scratch_exists(const struct scratch *s, const struct id *directory, const char *name)
{
	char path[ID_TEXT_SIZE + 1 + NAME_SIZE_MAX + 1];
	struct stat st;

	return scratch_path(path, sizeof(path), directory, name) == 0 &&
	       fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool exists_beside(const struct scratch *s, const struct id *directory, const char *before,
			  const char *name, const char *after)
{
	char beside[NAME_SIZE_MAX + 1];
	int size = snprintf(beside, sizeof(beside), "%s%s%s", before, name, after);

	return size > 0 && (size_t)size < sizeof(beside) && scratch_exists(s, directory, beside);
}

bool scratch_is_busy(const struct scratch *s, const struct id *directory, const char *name)
{
	static const char letters[] = "ponmlkjihgfedcbax"; /* vim takes .swp first, then .swo, ... */
	char path[ID_TEXT_SIZE + 1];
	char suffix[] = ".sw?";

	id_format(path, directory);
	if (faccessat(s->fd, path, F_OK, 0) < 0)
		return false;
	for (size_t i = 0; letters[i]; i++) {
		suffix[3] = letters[i];
		if (exists_beside(s, directory, ".", name, suffix))
			return true;
	}
	return exists_beside(s, directory, ".#", name, "") ||
	       exists_beside(s, directory, ".~lock.", name, "#") ||
	       exists_beside(s, directory, "#", name, "#");
}

/* Names in a directory below fd but `.` and `..`. Stops at nonzero and returns it; a directory that is not there has none. */
static int each_name(int fd, const char *path, int (*visit)(void *context, const char *name), void *context)
{
	int child = openat(fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child < 0)
		return errno == ENOENT ? 0 : -errno;

	DIR *stream = fdopendir(child);
	if (!stream) {
		int err = -errno;
		close(child);
		return err;
	}

	int result = 0;
	for (struct dirent *entry; result == 0;) {
		errno = 0;
		entry = readdir(stream);
		if (!entry) {
			result = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = visit(context, entry->d_name);
	}
	closedir(stream);
	return result;
}

static int visit_any(void *context, const char *name)
{
	return 1;
}

bool scratch_is_empty(const struct scratch *s, const struct id *directory)
{
	char path[ID_TEXT_SIZE + 1];

	id_format(path, directory);
	return each_name(s->fd, path, visit_any, NULL) == 0;
}

struct listing {
	const struct scratch *s;
	struct id directory;
	int (*visit)(void *context, const struct id *directory, const char *name);
	void *context;
};

static int visit_file(void *context, const char *name)
{
	struct listing *l = context;

	return l->visit(l->context, &l->directory, name);
}

static int visit_directory(void *context, const char *name)
{
	struct listing *l = context;

	if (strlen(name) != ID_TEXT_SIZE || id_parse(&l->directory, name) < 0)
		return 0;
	return each_name(l->s->fd, name, visit_file, l);
}

int scratch_each(const struct scratch *s, const struct id *directory,
		 int (*visit)(void *context, const struct id *directory, const char *name), void *context)
{
	struct listing l = { .s = s, .visit = visit, .context = context };
	char path[ID_TEXT_SIZE + 1];

	if (!directory)
		return each_name(s->fd, ".", visit_directory, &l);
	l.directory = *directory;
	id_format(path, directory);
	return each_name(s->fd, path, visit_file, &l);
}
