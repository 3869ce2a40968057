/* A folder as it stood at a time, read-only: alice@/at/2026-11-20/. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "document.h"
#include "operations.h"

static void found_at(const struct mount *m, const struct id *person, uint64_t time_ms, const struct tree_item *item,
		     const struct version_row *row, struct found *out)
{
	mode_t mode = S_IFDIR | 0555;
	uint64_t ino;

	if (item->what == WHAT_VERSION)
		mode = row->mode == MODE_LINK ? S_IFLNK | 0777 :
		       row->mode == MODE_EXECUTABLE ? S_IFREG | 0555 : S_IFREG | 0444;
	memcpy(&ino, &item->id, sizeof(ino));
	if (S_ISDIR(mode))
		ino ^= time_ms; /* as it stood then is not as it stands */
	out->identity = (struct identity){
		.kind = NODE_AT, .type = mode & S_IFMT, .person = *person, .id = item->id, .time_ms = time_ms,
	};
	out->stat = (struct stat){
		.st_mode = mode,
		.st_nlink = 1,
		.st_ino = INO_MADE | (ino & INO_MASK),
		.st_uid = m->uid,
		.st_gid = m->gid,
		.st_size = S_ISDIR(mode) ? 0 : (off_t)row->size,
		.st_blksize = 4096,
		.st_mtim = { .tv_sec = (time_t)(item->time_ms / 1000),
			     .tv_nsec = (long)(item->time_ms % 1000) * 1000000 },
	};
	out->stat.st_blocks = (out->stat.st_size + 511) / 512;
	out->stat.st_atim = out->stat.st_ctim = out->stat.st_mtim;
	/* Old saves of others may still arrive: what stood where is asked anew, a version never changes. */
	out->entry_timeout = 0;
	out->attr_timeout = S_ISDIR(mode) ? 0 : TIMEOUT_VERSION;
}

static int item_row(struct store_txn *txn, const struct tree_item *item, struct version_row *out)
{
	*out = (struct version_row){ 0 };
	return item->what == WHAT_VERSION ? document_version_row(txn, &item->id, out) : 0;
}

int at_root(struct mount *m, const struct control_node *control, struct found *out)
{
	struct tree_item item = { .what = WHAT_DIRECTORY, .id = control->person, .time_ms = control->time_ms };
	found_at(m, &control->person, control->time_ms, &item, NULL, out);
	return 0;
}

static int at_lookup(struct mount *m, struct node *node, const char *name, struct found *out)
{
	struct store_txn *txn;
	struct tree_item item;
	struct version_row row;
	const struct identity *is = &node->is;

	if (is_withheld(m, &is->person, name))
		return -ENOENT;
	desk_settle(m->desk);
	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = tree_lookup_at(txn, &is->person, &is->id, is->time_ms, name, &item);
	if (err == 0)
		err = item_row(txn, &item, &row);
	store_abort(txn);
	if (err == 0)
		found_at(m, &is->person, is->time_ms, &item, &row, out);
	return err;
}

static int at_stat(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout)
{
	struct store_txn *txn;
	struct found found;
	struct version_row row = { 0 };
	const struct identity *is = &node->is;
	struct tree_item item = { .what = S_ISDIR(is->type) ? WHAT_DIRECTORY : WHAT_VERSION, .id = is->id,
				  .time_ms = is->time_ms };

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = item_row(txn, &item, &row);
	store_abort(txn);
	if (err < 0)
		return err;
	if (item.what == WHAT_VERSION)
		item.time_ms = row.time_ms;
	found_at(m, &is->person, is->time_ms, &item, &row, &found);
	*out = found.stat;
	*out_timeout = found.attr_timeout;
	return 0;
}

static int at_content(struct mount *m, const struct id *id, struct content *out)
{
	struct store_txn *txn;
	CLEANUP(cleanup_free) struct version *version = malloc(sizeof(*version));
	if (!version)
		return -ENOMEM;

	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = document_version(txn, id, version);
	store_abort(txn);
	if (err == 0)
		*out = version->content;
	return err;
}

static int at_readlink(struct mount *m, struct node *node, char *out, size_t size)
{
	CLEANUP(cleanup_free) struct content *content = malloc(sizeof(*content));
	if (!content)
		return -ENOMEM;
	int err = at_content(m, &node->is.id, content);
	if (err < 0)
		return err;
	ssize_t got = content_read(store_piece_cache(m->store), store_pieces(m->store), content, (uint8_t *)out,
				   size - 1, 0);
	if (got < 0)
		return (int)got;
	out[got] = '\0';
	return 0;
}

static int at_open(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
		   struct open **out)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC)
		return refuse(m, node, NULL, -EROFS, "what stood at a time can only be read");
	struct open *open = open_new(OPEN_CONTENT, fi->flags, process);
	if (!open)
		return -ENOMEM;
	open->version = node->is.id;
	open->content = malloc(sizeof(*open->content));
	int err = open->content ? at_content(m, &node->is.id, open->content) : -ENOMEM;
	if (err < 0) {
		open_free(open);
		return err;
	}
	fi->keep_cache = 1;
	fi->noflush = 1;
	*out = open;
	return 0;
}

struct at_listing {
	struct store_txn *txn;
	struct listing *listing;
};

static int list_item(void *context, const struct tree_item *item)
{
	const struct at_listing *list = context;
	struct version_row row;
	uint64_t ino;

	if (item_row(list->txn, item, &row) < 0)
		return 0;
	mode_t type = item->what == WHAT_DIRECTORY ? S_IFDIR : row.mode == MODE_LINK ? S_IFLNK : S_IFREG;
	memcpy(&ino, &item->id, sizeof(ino));
	return listing_add(list->listing, item->name, type, ino);
}

static int listing_fill(struct mount *m, const struct identity *is, struct listing *out)
{
	struct store_txn *txn;

	desk_settle(m->desk);
	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	struct at_listing list = { .txn = txn, .listing = out };
	err = tree_each_at(txn, &is->person, &is->id, is->time_ms, list_item, &list);
	store_abort(txn);
	return err;
}

static int at_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l)
{
	int err = 0;

	if (!open->listed) {
		err = listing_fill(m, &node->is, &open->listing);
		if (err < 0) {
			listing_clear(&open->listing);
			return err;
		}
		open->listed = true;
	}
	size_t index = after < COOKIE_FIRST ? 0 : after - COOKIE_FIRST;
	for (; err == 0 && index < open->listing.count; index++) {
		const struct listed *item = &open->listing.items[index];
		if (is_withheld(m, &node->is.person, item->name))
			continue;
		struct found found = { .stat = { .st_mode = item->type, .st_ino = INO_MADE | (item->ino & INO_MASK) } };
		err = lister_add(l, item->name, COOKIE_FIRST + index + 1, &found);
	}
	return err;
}

const struct kind kind_at = {
	.lookup = at_lookup, .stat = at_stat, .readlink = at_readlink, .open = at_open, .list = at_list,
};
