#include "content.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "bytes.h"
#include "cleanup.h"
#include "piece.h"
#include "wire.h"

#define LARGE_MIN (4 * 1024 * 1024) /* bytes: more than people write, and a second's wait */

/* Two of the longest cuts: each refill moves less than it reads. */
#define WINDOW_SIZE (2 * PIECE_TEXT_MAX)

/* The longest list piece, and the least that piece_cut() must see of a list to judge it. */
#define LIST_PIECE_MAX (PIECE_TEXT_MAX / CONTENT_REF_SIZE * CONTENT_REF_SIZE)
#define LIST_WINDOW_SIZE (LIST_PIECE_MAX + CONTENT_REF_SIZE)

static_assert(LIST_WINDOW_SIZE >= PIECE_TEXT_MAX, "piece_cut() must see PIECE_TEXT_MAX bytes");
static_assert(LIST_WINDOW_SIZE / CONTENT_REF_SIZE > CONTENT_PIECES_MAX,
	      "only a list that will not fit may be cut early");

/* ---- writing ---- */

/* The refs of one depth that no list piece holds yet. */
struct level {
	struct bytes list;
	uint64_t count; /* of all refs of this depth so far */
};

struct writer {
	struct packer *packer;
	const struct piece_store *store;
	struct level levels[CONTENT_DEPTH_MAX + 1]; /* by depth: 0 has the text's own pieces */
};

static void writer_init(struct writer *w, struct packer *packer, const struct piece_store *store)
{
	*w = (struct writer){ .packer = packer, .store = store };
	for (size_t i = 0; i <= CONTENT_DEPTH_MAX; i++)
		bytes_init(&w->levels[i].list, LIST_WINDOW_SIZE);
}

static void writer_finish(struct writer *w)
{
	for (size_t i = 0; i <= CONTENT_DEPTH_MAX; i++)
		bytes_finish(&w->levels[i].list);
}

/* Stores one cut, whose hash text_id is, unless a piece of its text is kept already. */
static int write_piece(struct writer *w, const uint8_t *text, size_t size, const struct id *text_id,
		       struct piece_ref *out)
{
	const struct piece_store *store = w->store;
	struct piece_ref kept;

	int found = store->find_text(store->context, text_id, &kept);
	if (found < 0)
		return found;

	if (found == 0) {
		uint8_t *member = packer_member(w->packer);
		ssize_t member_size = piece_deflate(w->packer, text, size, member);
		if (member_size < 0)
			return (int)member_size;

		struct piece_ref offer = {
			.text_size = size,
			.stored_size = (uint32_t)member_size,
		};
		id_of_bytes(&offer.name, member, (size_t)member_size);
		kept = offer;
		int err = store->put(store->context, text_id, &offer, member, &kept);
		if (err < 0)
			return err;
	}

	*out = (struct piece_ref){
		.name = kept.name,
		.text_size = size,
		.stored_size = kept.stored_size,
	};
	return 0;
}

static void get_ref(struct wire *list, struct piece_ref *out)
{
	wire_id(list, &out->name);
	out->text_size = wire_u64(list);
	out->stored_size = wire_u32(list);
}

static int put_ref(struct level *level, const struct piece_ref *ref)
{
	bytes_put(&level->list, ref->name.bytes, ID_SIZE);
	bytes_put_u64(&level->list, ref->text_size);
	bytes_put_u32(&level->list, ref->stored_size);
	level->count++;
	return bytes_error(&level->list);
}

/* piece_cut(), moved to where a ref ends. */
static size_t list_cut(const uint8_t *list, size_t size)
{
	size_t cut = piece_cut(list, size);

	cut = (cut + CONTENT_REF_SIZE - 1) / CONTENT_REF_SIZE * CONTENT_REF_SIZE;
	return cut < LIST_PIECE_MAX ? cut : LIST_PIECE_MAX;
}

/* Stores the first cut of a level's list and takes it out of there; *out is the ref to it. */
static int write_list(struct writer *w, struct level *level, struct piece_ref *out)
{
	size_t cut = list_cut(level->list.data, level->list.size);
	struct piece_ref list;
	uint64_t text_size = 0;
	struct wire refs;

	wire_init(&refs, level->list.data, cut);
	while (refs.left > 0) {
		struct piece_ref ref;

		get_ref(&refs, &ref);
		text_size += ref.text_size;
	}

	struct id text_id;

	id_of_bytes(&text_id, level->list.data, cut);
	int err = write_piece(w, level->list.data, cut, &text_id, &list);
	if (err < 0)
		return err;

	level->list.size -= cut;
	memmove(level->list.data, level->list.data + cut, level->list.size);
	*out = list;
	out->text_size = text_size;
	return 0;
}

/* Adds a ref of this depth, and those of the depths above that this completes. */
static int add_ref(struct writer *w, size_t depth, const struct piece_ref *ref)
{
	struct piece_ref above = *ref;

	for (; depth <= CONTENT_DEPTH_MAX; depth++) {
		struct level *level = &w->levels[depth];

		int err = put_ref(level, &above);
		if (err < 0 || level->list.size < LIST_WINDOW_SIZE)
			return err;
		err = write_list(w, level, &above);
		if (err < 0)
			return err;
	}
	return -EFBIG;
}

/* Writes what is left of the lists, up to the depth that needs none. */
static int finish_lists(struct writer *w, struct content *out)
{
	for (size_t depth = 0; depth <= CONTENT_DEPTH_MAX; depth++) {
		struct level *level = &w->levels[depth];

		if (level->count <= CONTENT_PIECES_MAX) {
			struct wire refs;

			wire_init(&refs, level->list.data, level->list.size);
			for (size_t i = 0; i < level->count; i++)
				get_ref(&refs, &out->pieces[i]);
			out->depth = (uint8_t)depth;
			out->count = (uint16_t)level->count;
			return 0;
		}
		while (level->list.size > 0) {
			struct piece_ref above;

			int err = write_list(w, level, &above);
			if (err == 0)
				err = add_ref(w, depth + 1, &above);
			if (err < 0)
				return err;
		}
	}
	return -EFBIG;
}

/* The part of the source that is being cut. */
struct window {
	uint8_t *bytes; /* WINDOW_SIZE of them */
	size_t start, end;
	uint64_t offset; /* in the source, of `end` */
	uint64_t size;   /* of the source */
	content_source source;
	void *context;
	crypto_generichash_state digest;
};

/* Makes the window hold the longest cut, or all that is left. */
static int window_fill(struct window *w)
{
	if (w->end - w->start >= PIECE_TEXT_MAX || w->offset == w->size)
		return 0;

	w->end -= w->start;
	memmove(w->bytes, w->bytes + w->start, w->end);
	w->start = 0;

	uint64_t left = w->size - w->offset;
	size_t wanted = WINDOW_SIZE - w->end;
	if (wanted > left)
		wanted = (size_t)left;
	ssize_t got = w->source(w->context, w->bytes + w->end, wanted, w->offset);
	if (got < 0)
		return (int)got;
	if ((size_t)got != wanted)
		return -EIO; /* the text shrank under us */

	w->end += wanted;
	w->offset += wanted;
	return 0;
}

/* One cut at least: the empty text is one empty piece. A text of one cut is hashed once. */
static int write_text(struct writer *w, struct window *window, struct id *out_digest)
{
	struct id text_id;
	bool whole;

	do {
		struct piece_ref ref;

		int err = window_fill(window);
		if (err < 0)
			return err;

		const uint8_t *text = window->bytes + window->start;
		size_t cut = piece_cut(text, window->end - window->start);
		whole = cut == window->size;
		id_of_bytes(&text_id, text, cut);
		if (!whole)
			crypto_generichash_update(&window->digest, text, cut);
		err = write_piece(w, text, cut, &text_id, &ref);
		if (err == 0)
			err = add_ref(w, 0, &ref);
		if (err < 0)
			return err;
		window->start += cut;
	} while (window->start < window->end || window->offset < window->size);
	if (whole)
		*out_digest = text_id;
	else
		crypto_generichash_final(&window->digest, out_digest->bytes, ID_SIZE);
	return 0;
}

int content_write(struct packer *p, const struct piece_store *store, content_source source,
		  void *source_context, uint64_t size, struct content *out)
{
	if (size > DOCUMENT_SIZE_MAX)
		return -EFBIG;

	/* A small text pays for a small buffer: large blocks are mapped and faulted in anew each time. */
	CLEANUP(cleanup_free) uint8_t *buffer = malloc(size < WINDOW_SIZE ? size + 1 : WINDOW_SIZE);
	CLEANUP(writer_finish) struct writer writer;
	writer_init(&writer, p, store);
	packer_hurry(p, size >= LARGE_MIN);
	if (!buffer)
		return -ENOMEM;

	struct window window = {
		.bytes = buffer,
		.size = size,
		.source = source,
		.context = source_context,
	};
	crypto_generichash_init(&window.digest, NULL, 0, ID_SIZE);
	struct content content = { .size = size };
	int err = write_text(&writer, &window, &content.digest);
	if (err < 0)
		return err;

	err = finish_lists(&writer, &content);
	if (err < 0)
		return err;
	*out = content;
	return 0;
}

static ssize_t read_memory(void *context, uint8_t *out, size_t size, uint64_t offset)
{
	const uint8_t *text = context;

	if (size > 0)
		memcpy(out, text + offset, size);
	return (ssize_t)size;
}

int content_write_bytes(struct packer *p, const struct piece_store *store, const void *text,
			size_t size, struct content *out)
{
	return content_write(p, store, read_memory, (void *)(uintptr_t)text, size, out);
}

/* ---- checking ---- */

/*
 * Goes over the refs of one list: do they make up the text that the list stands
 * for, and which one holds the byte at `wanted`?
 */
struct scan {
	uint64_t start;         /* where in the document the list's text starts */
	uint64_t end;           /* and ends: what its refs must add up to */
	uint64_t document_size;
	bool own;               /* the refs are of the text's own pieces */
	uint64_t wanted;
	uint64_t at;            /* where the next ref's text starts */
	bool bad;
	struct piece_ref found;
	uint64_t found_start;
};

static void scan_init(struct scan *s, uint64_t start, uint64_t size, const struct content *content)
{
	*s = (struct scan){
		.start = start,
		.end = start + size,
		.document_size = content->size,
		.at = start,
	};
}

static void scan_ref(struct scan *s, const struct piece_ref *ref)
{
	uint64_t left = s->end - s->at;
	uint64_t text_size = ref->text_size;

	if (s->bad)
		return;
	s->bad = text_size > left || (text_size == 0 && s->document_size > 0) ||
		 (s->own && text_size > PIECE_TEXT_MAX) ||
		 ref->stored_size < PIECE_STORED_MIN || ref->stored_size > PIECE_STORED_MAX ||
		 /* Only the end of the text may be cut short: this bounds how many there can be. */
		 (text_size < PIECE_TEXT_MIN && s->at + text_size != s->document_size);
	if (s->bad)
		return;

	if (s->wanted >= s->at && s->wanted - s->at < text_size) {
		s->found = *ref;
		s->found_start = s->at;
	}
	s->at += text_size;
}

static int scan_finish(const struct scan *s)
{
	return s->bad || s->at != s->end ? -EBADMSG : 0;
}

static int scan_content(struct scan *s, const struct content *content, uint64_t wanted)
{
	if (content->size > DOCUMENT_SIZE_MAX || content->depth > CONTENT_DEPTH_MAX ||
	    content->count == 0 || content->count > CONTENT_PIECES_MAX)
		return -EBADMSG;
	if (content->size == 0 && (content->count != 1 || content->depth != 0))
		return -EBADMSG;

	scan_init(s, 0, content->size, content);
	s->wanted = wanted;
	s->own = content->depth == 0;
	for (size_t i = 0; i < content->count; i++)
		scan_ref(s, &content->pieces[i]);
	return scan_finish(s);
}

int content_check(const struct content *content)
{
	struct scan scan;

	return scan_content(&scan, content, 0);
}

/* ---- reading ---- */

/* Loads a list, and checks it by a scan that scan_init() began. */
static int load_list(struct piece_cache *cache, const struct piece_store *store,
		     const struct piece_ref *ref, struct scan *scan, struct inflated **out)
{
	struct inflated *list;
	struct wire refs;

	int err = piece_cache_get(cache, store, ref, &list);
	if (err < 0)
		return err;

	scan->bad = list->size % CONTENT_REF_SIZE != 0;
	wire_init(&refs, list->text, list->size);
	while (!scan->bad && refs.left > 0) {
		struct piece_ref below;

		get_ref(&refs, &below);
		scan_ref(scan, &below);
	}
	err = scan_finish(scan);
	if (err < 0) {
		piece_cache_release(cache, list);
		return err;
	}
	*out = list;
	return 0;
}

/* Descends to the piece of the text that holds the byte at an offset. */
static int find_piece(struct piece_cache *cache, const struct piece_store *store,
		      const struct content *content, uint64_t offset,
		      struct piece_ref *out, uint64_t *out_start)
{
	struct scan scan;

	int err = scan_content(&scan, content, offset);
	if (err < 0)
		return err;

	struct piece_ref ref = scan.found;
	uint64_t start = scan.found_start;
	for (unsigned depth = content->depth; depth > 0; depth--) {
		struct inflated *list;

		scan_init(&scan, start, ref.text_size, content);
		scan.wanted = offset;
		scan.own = depth == 1;
		err = load_list(cache, store, &ref, &scan, &list);
		if (err < 0)
			return err;
		piece_cache_release(cache, list);
		ref = scan.found;
		start = scan.found_start;
	}
	*out = ref;
	*out_start = start;
	return 0;
}

/* As much as one piece has. */
static ssize_t read_piece(struct piece_cache *cache, const struct piece_store *store,
			  const struct content *content, uint8_t *out, size_t size, uint64_t offset)
{
	struct piece_ref ref;
	struct inflated *piece;
	uint64_t start;

	int err = find_piece(cache, store, content, offset, &ref, &start);
	if (err == 0)
		err = piece_cache_get(cache, store, &ref, &piece);
	if (err < 0)
		return err;
	if (piece->size != ref.text_size) {
		piece_cache_release(cache, piece);
		return -EBADMSG;
	}

	size_t skip = (size_t)(offset - start);
	size_t part = piece->size - skip < size ? piece->size - skip : size;
	memcpy(out, piece->text + skip, part);
	piece_cache_release(cache, piece);
	return (ssize_t)part;
}

ssize_t content_read(struct piece_cache *cache, const struct piece_store *store,
		     const struct content *content, uint8_t *out, size_t size, uint64_t offset)
{
	if (offset >= content->size)
		return 0;
	if (size > content->size - offset)
		size = (size_t)(content->size - offset);

	size_t done = 0;
	while (done < size) {
		ssize_t got = read_piece(cache, store, content, out + done, size - done,
					 offset + done);
		if (got < 0)
			return got;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* ---- visiting ---- */

/* The lists that stand above the ref at hand, with what is left of each. */
struct walk {
	struct piece_cache *cache;
	const struct piece_store *store;
	const struct content *content;
	uint64_t start; /* of the text of the ref at hand */
	struct {
		struct inflated *list;
		struct wire refs;
	} above[CONTENT_DEPTH_MAX];
	unsigned count;
};

static int walk_enter(struct walk *w, const struct piece_ref *ref)
{
	struct inflated *list;
	struct scan scan;

	scan_init(&scan, w->start, ref->text_size, w->content);
	scan.own = w->count + 1 == w->content->depth;
	int err = load_list(w->cache, w->store, ref, &scan, &list);
	if (err < 0)
		return err;

	w->above[w->count].list = list;
	wire_init(&w->above[w->count].refs, list->text, list->size);
	w->count++;
	return 0;
}

static void walk_leave(struct walk *w)
{
	w->count--;
	piece_cache_release(w->cache, w->above[w->count].list);
}

/* The next ref of the lists entered; false: they are all done. */
static bool walk_next(struct walk *w, struct piece_ref *out)
{
	while (w->count > 0 && w->above[w->count - 1].refs.left == 0)
		walk_leave(w);
	if (w->count == 0)
		return false;
	get_ref(&w->above[w->count - 1].refs, out);
	return true;
}

int content_each_from(struct piece_cache *cache, const struct piece_store *store, const struct content *content,
		      uint64_t offset,
		      int (*visit)(void *context, const struct piece_ref *ref, bool is_list, uint64_t at), void *context)
{
	struct walk walk = { .cache = cache, .store = store, .content = content };

	int err = content_check(content);
	if (err < 0)
		return err;

	for (size_t i = 0; err == 0 && i < content->count; i++) {
		struct piece_ref ref = content->pieces[i];

		do {
			bool is_list = walk.count < content->depth;
			bool enter = false;

			if (offset == 0 || walk.start + ref.text_size > offset) {
				err = visit(context, &ref, is_list, walk.start);
				enter = is_list && err == 0;
				if (is_list && err == CONTENT_SKIP)
					err = 0;
			}
			if (enter)
				err = walk_enter(&walk, &ref);
			else
				walk.start += ref.text_size;
		} while (err == 0 && walk_next(&walk, &ref));
	}
	while (walk.count > 0)
		walk_leave(&walk);
	return err;
}

struct each {
	bool with_lists;
	int (*visit)(void *context, const struct piece_ref *ref, bool is_list);
	void *context;
};

static int each_ref(void *context, const struct piece_ref *ref, bool is_list, uint64_t at)
{
	struct each *each = context;

	return is_list && !each->with_lists ? 0 : each->visit(each->context, ref, is_list);
}

int content_each(struct piece_cache *cache, const struct piece_store *store,
		 const struct content *content, bool with_lists,
		 int (*visit)(void *context, const struct piece_ref *ref, bool is_list), void *context)
{
	struct each each = { with_lists, visit, context };

	return content_each_from(cache, store, content, 0, each_ref, &each);
}
