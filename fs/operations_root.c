/* The root of the mount: README.md, `@`, `me`, persons, and local files beside them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "operations.h"

#define ME "me"
#define README "README.md"
#define FOLLOW "subscribe" /* behind a person */

enum { COOKIE_AT = COOKIE_FIRST, COOKIE_README, COOKIE_SELF, COOKIE_SELF_AT, COOKIE_ME, COOKIE_FOLLOWED = 64 };

/* ---- who is meant ---- */

void person_shown_name(struct mount *m, const struct id *person, char out[PROFILE_NAME_MAX + 1])
{
	struct store_txn *txn;

	id_format_short(out, person);
	if (store_begin(m->store, false, &txn) < 0)
		return;
	names_of(txn, person, out);
	store_abort(txn);
}

int person_find(struct mount *m, const char *name, struct id *out)
{
	struct store_txn *txn;

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = names_find(txn, name, out);
	store_abort(txn);
	return err;
}

/* ---- what stands in the root ---- */

static void stat_made(const struct mount *m, mode_t mode, uint64_t ino, uint64_t size, struct stat *out)
{
	*out = (struct stat){
		.st_mode = mode,
		.st_nlink = 1,
		.st_ino = INO_MADE | (ino & INO_MASK),
		.st_uid = m->uid,
		.st_gid = m->gid,
		.st_size = (off_t)size,
		.st_blocks = (blkcnt_t)((size + 511) / 512),
		.st_blksize = 4096,
	};
	out->st_mtim.tv_sec = (time_t)(m->started_ns / 1000000000);
	out->st_mtim.tv_nsec = (long)(m->started_ns % 1000000000);
	out->st_atim = out->st_ctim = out->st_mtim;
}

static void found_readme(const struct mount *m, struct found *out)
{
	out->identity = (struct identity){ .kind = NODE_README, .type = S_IFREG };
	out->entry_timeout = out->attr_timeout = TIMEOUT_LONG;
	stat_made(m, S_IFREG | 0444, 2, m->readme.size, &out->stat);
}

static void found_alias(struct mount *m, const struct id *person, struct found *out)
{
	char target[PROFILE_NAME_MAX + 1];
	uint64_t ino;

	person_shown_name(m, person, target);
	memcpy(&ino, person, sizeof(ino));
	out->identity = (struct identity){ .kind = NODE_ALIAS, .type = S_IFLNK, .person = *person };
	out->entry_timeout = out->attr_timeout = 0;
	stat_made(m, S_IFLNK | 0777, ino, strlen(target), &out->stat);
}

static int found_person(struct mount *m, const struct id *person, struct found *out)
{
	struct desk_item item = { .directory = *person, .what = WHAT_DIRECTORY, .id = *person };
	int err = desk_directory(m->desk, person, person, &item.attributes);
	if (err == 0)
		found_item(m, person, &item, out);
	return err;
}

static int root_lookup(struct mount *m, struct node *node, const char *name, struct found *out)
{
	char shown[PROFILE_NAME_MAX + 1], own[PROFILE_NAME_MAX + 1];
	size_t size = strlen(name);
	struct id person;

	if (size > 0 && name[size - 1] == '@') {
		char before[NAME_SIZE_MAX + 1];
		if (size > sizeof(before))
			return -ENAMETOOLONG;
		memcpy(before, name, size - 1);
		before[size - 1] = '\0';
		return control_of_root(m, before, out);
	}
	if (strcmp(name, README) == 0) {
		found_readme(m, out);
		return 0;
	}
	person_shown_name(m, &m->self, own);
	if (strcmp(name, own) != 0 && strcmp(name, ME) != 0) {
		int err = scratch_lookup(m, node, name, out);
		if (err != -ENOENT)
			return err;
	}
	int err = person_find(m, name, &person);
	if (err < 0)
		return err;
	person_shown_name(m, &person, shown);
	if (strcmp(name, shown) == 0)
		return found_person(m, &person, out);
	found_alias(m, &person, out);
	return 0;
}

static int root_stat(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout)
{
	stat_made(m, S_IFDIR | 0755, 1, 0, out);
	out->st_ino = 1;
	*out_timeout = TIMEOUT_LONG;
	return 0;
}

static int list_one(struct mount *m, struct lister *l, const char *name, uint64_t cookie, uint64_t after, int err,
		    const struct found *found)
{
	if (cookie <= after || err < 0)
		return 0;
	return lister_add(l, name, cookie, found);
}

struct followed { /* collected: a transaction must not be open while the lister is filled */
	struct id *persons;
	size_t count, capacity;
};

static int collect_followed(void *context, const struct id *person)
{
	struct followed *f = context;

	if (f->count == f->capacity) {
		size_t capacity = f->capacity ? f->capacity * 2 : 16;
		struct id *grown = realloc(f->persons, capacity * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		f->persons = grown;
		f->capacity = capacity;
	}
	f->persons[f->count++] = *person;
	return 0;
}

/* A place that stays: two of the same 56 bits are not to be expected. Two names each. */
static uint64_t cookie_of(const struct id *person)
{
	uint64_t cookie = 0;

	for (int i = 0; i < 7; i++)
		cookie = cookie << 8 | person->bytes[i];
	return COOKIE_FOLLOWED + cookie * 2;
}

static int list_person(struct mount *m, struct lister *l, const struct id *person, uint64_t after)
{
	struct found found = { 0 }, behind = { 0 };
	char name[PROFILE_NAME_MAX + 2];
	uint64_t cookie = cookie_of(person);

	if (cookie + 1 <= after)
		return 0;
	person_shown_name(m, person, name);
	if (list_one(m, l, name, cookie, after, found_person(m, person, &found), &found))
		return 1;
	if (!m->list_controls)
		return 0;
	int err = control_of_root(m, name, &behind);
	strcat(name, "@");
	return list_one(m, l, name, cookie + 1, after, err, &behind);
}

/* In order of id, which is that of their cookies. */
static int list_followed(struct mount *m, struct lister *l, uint64_t after)
{
	struct followed followed = { 0 };
	struct store_txn *txn;
	int full = 0;

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = names_each_followed(txn, collect_followed, &followed);
	store_abort(txn);
	for (size_t i = 0; err == 0 && full == 0 && i < followed.count; i++)
		if (!is_self(m, &followed.persons[i]))
			full = list_person(m, l, &followed.persons[i], after);
	free(followed.persons);
	return err < 0 ? err : full;
}

static int root_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l)
{
	char own[PROFILE_NAME_MAX + 1], behind[PROFILE_NAME_MAX + 2];
	struct found at = { 0 }, readme = { 0 }, self = { 0 }, self_at = { 0 }, me = { 0 };

	person_shown_name(m, &m->self, own);
	int err_at = control_of_root(m, "", &at);
	found_readme(m, &readme);
	int err_self = found_person(m, &m->self, &self);
	int err_self_at = m->list_controls ? control_of_root(m, own, &self_at) : -ENOENT;
	found_alias(m, &m->self, &me);
	strcpy(behind, own);
	strcat(behind, "@");

	if (list_one(m, l, "@", COOKIE_AT, after, err_at, &at) ||
	    list_one(m, l, README, COOKIE_README, after, 0, &readme) ||
	    list_one(m, l, own, COOKIE_SELF, after, err_self, &self) ||
	    list_one(m, l, behind, COOKIE_SELF_AT, after, err_self_at, &self_at) ||
	    list_one(m, l, ME, COOKIE_ME, after, 0, &me))
		return 1;
	int full = list_followed(m, l, after);
	if (full)
		return full;
	return scratch_list(m, node, open, after, l);
}

/* ---- people are named, and let go ---- */

bool root_has_person(struct mount *m, struct node *parent, const char *name, struct id *out)
{
	const struct id root = { 0 };
	size_t size = strlen(name);

	return node_kind_of(m, parent) == NODE_ROOT && size > 0 && name[size - 1] != '@' && strcmp(name, README) != 0 &&
	       !scratch_exists(m->scratch, &root, name) && person_find(m, name, out) == 0;
}

/* Also by another of their names: then the folder's own leads nowhere now. */
static void person_renamed(struct mount *m, struct node *root, const char *from, const char *before, const char *to)
{
	bool whole = strcmp(from, before) == 0;

	node_leave(m->nodes, root, to, true);
	if (whole)
		whole = node_move(m->nodes, root, from, root, to) == 0;
	else
		node_leave(m->nodes, root, from, true);
	if (whole)
		return;
	notifier_add(m->notifier, &(struct notice){ .parent = root->number, .name = before });
	notifier_add(m->notifier, &(struct notice){ .parent = root->number, .name = to });
}

int root_rename(struct mount *m, struct node *root, const char *from, const struct id *person, struct node *to_parent,
		const char *to, bool exchange)
{
	char before[PROFILE_NAME_MAX + 1];
	struct why why = { { 0 } };

	if (is_self(m, person))
		return refuse(m, root, from, -EPERM, "your own folder is called as you said of yourself");
	if (node_kind_of(m, to_parent) != NODE_ROOT)
		return refuse(m, root, from, -EPERM, "a person's folder stays in the root: it can be given another name there");
	if (exchange)
		return refuse(m, root, from, -EINVAL, "names of persons are given one at a time");
	if (scratch_is_name(m->scratch, to, false, NULL, NULL))
		return refuse(m, root, to, -EINVAL, "local files are called so (see @/config), and no person");
	person_shown_name(m, person, before);
	int err = names_give(m->store, person, to, &why);
	if (err < 0)
		return refuse(m, root, to, err, why.text[0] ? why.text : why_errno(err));
	person_renamed(m, root, from, before, to);
	return 0;
}

int root_unfollow(struct mount *m, struct node *root, const char *name, const struct id *person, uint32_t process)
{
	struct control_node folder, row;
	struct why why = { { 0 } };

	if (is_self(m, person))
		return refuse(m, root, name, -EPERM, "your own folder stands in the root as long as it is mounted");
	control_node_entity(&folder, person);
	int err = control_lookup(&m->host, &folder, FOLLOW, &row);
	if (err == 0)
		err = control_write(&m->host, &row, process, "0\n", 2, &why);
	if (err < 0)
		return refuse(m, root, name, err, why.text[0] ? why.text : why_errno(err));
	node_leave(m->nodes, root, name, true);
	return 0;
}

const struct kind kind_root = { .lookup = root_lookup, .stat = root_stat, .list = root_list };

/* ---- README.md ---- */

int root_make_readme(struct mount *m)
{
	struct bytes *b = &m->readme;

	bytes_put_text(b,
		"# This folder is a commons\n"
		"\n"
		"`me` leads to your own folder. Put documents there and edit them with any program: every\n"
		"save is kept as a signed version.\n"
		"\n"
		"**What is here is public.** Everything that is not scratch is for every peer to read, old\n"
		"versions too, whatever its mode says. What was published cannot be called back.\n"
		"\n"
		"Scratch is what programs write for themselves: names that begin with a dot, `*~`, `*.tmp`\n"
		"and the like, and all that lies in such folders. It stays on this machine and is no\n"
		"version. `@/config` has the whole list.\n"
		"\n");
	bytes_put_text(b,
		"**Append `@` to a name to see what stands behind it.** These folders answer, but are not listed:\n"
		"\n"
		"    ls me/notes.md@/versions     every version of a document\n"
		"    cat me/notes.md@/README      what else there is\n"
		"    ls me@/at/2026-11-20         the whole folder as it was on a day\n"
		"    ls @                         this node: its state, its settings\n"
		"    cat @/errors                 why something was refused\n"
		"\n"
		"Others stand beside you once you follow them: `moot follow WHO`, or `echo 1 > WHO@/subscribe`.\n"
		"`mv` gives them a name of your own, `rmdir` stops following; nothing of theirs is removed.\n"
		"\n"
		"A removed document answers too: that is how it is brought back. `moot help` tells what the\n"
		"command can do; the manual pages are moot(1) and mootfs(7).\n");
	return bytes_error(b);
}

static int readme_stat(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout)
{
	struct found found;
	found_readme(m, &found);
	*out = found.stat;
	*out_timeout = found.attr_timeout;
	return 0;
}

static int readme_open(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
		       struct open **out)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC)
		return refuse(m, node, NULL, -EACCES, "README.md is written by mootfs");
	struct open *open = open_new(OPEN_TEXT, fi->flags, process);
	if (!open)
		return -ENOMEM;
	bytes_put(&open->text, m->readme.data, m->readme.size);
	if (bytes_error(&open->text) < 0) {
		open_free(open);
		return -ENOMEM;
	}
	fi->keep_cache = 1;
	*out = open;
	return 0;
}

const struct kind kind_readme = { .stat = readme_stat, .open = readme_open };

/* ---- me, and whoever is looked up by id ---- */

static int alias_stat(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout)
{
	struct identity is;
	struct found found;

	node_identity(m->nodes, node, &is);
	found_alias(m, &is.person, &found);
	*out = found.stat;
	*out_timeout = 0;
	return 0;
}

static int alias_readlink(struct mount *m, struct node *node, char *out, size_t size)
{
	struct identity is;
	char target[PROFILE_NAME_MAX + 1];

	node_identity(m->nodes, node, &is);
	person_shown_name(m, &is.person, target);
	strcpy(out, target);
	return 0;
}

const struct kind kind_alias = { .stat = alias_stat, .readlink = alias_readlink };
