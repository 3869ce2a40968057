/*
 * content.h - a text as pieces: cutting, compressing, naming, and reading it again.
 *
 * Text is cut by FastCDC (Xia et al., USENIX ATC 2016, normalised chunking
 * level 2; constants in moot-store(5)); each cut becomes one gzip member (RFC
 * 1952), a piece, named by the BLAKE2b-256 of its bytes.  A list of more than
 * CONTENT_PIECES_MAX pieces is itself a text and cut by the same rule, again
 * until at most that many remain; `depth` says how often (0: the pieces are
 * the text's own).  A list text is the concatenation of its piece_refs, each
 * CONTENT_REF_SIZE bytes: name (32), text size (u64), stored size (u32),
 * little-endian.  A cut of a list that falls inside a ref moves to that ref's
 * end (to its start where the end is beyond PIECE_TEXT_MAX), so every list
 * piece holds whole refs.  Above a list, `text_size` of a ref is the number of
 * bytes of *document* text under it, so that a reader at an offset descends
 * without reading siblings.
 *
 * An empty text is one piece, the empty member.  The members of a document in
 * order are one valid gzip file.
 *
 * Nothing here knows the journal or the index: pieces go to and come from a
 * `struct piece_store`.  Threads: each object is one thread's at a time, but
 * for the cache, which many may share.
 */
#ifndef CONTENT_H
#define CONTENT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "id.h"
#include "store_limits.h"

#define CONTENT_REF_SIZE 44 /* bytes of a ref in a list */
#define PIECE_STORED_MIN 20 /* bytes of the empty member */

struct piece_ref {
	struct id name;
	uint64_t text_size;   /* bytes of document text below it, 0 only for the empty document */
	uint32_t stored_size; /* bytes of the gzip member */
};

struct content {
	uint64_t size;    /* bytes of text */
	struct id digest; /* BLAKE2b-256 of the whole text */
	uint8_t depth;    /* levels of lists above the text's own pieces */
	uint16_t count;   /* 1 .. CONTENT_PIECES_MAX */
	struct piece_ref pieces[CONTENT_PIECES_MAX];
};

/* Where pieces are kept. `context` first in every call. */
struct piece_store {
	/*
	 * Keeps a piece. `text_id` is the BLAKE2b-256 of its inflated bytes, offer->text_size
	 * their number (also of a list). If a piece of that very text is kept already, the store
	 * may answer with that one's name and stored size in *out instead (compressors differ in
	 * bytes); *out is the offer at first. Negative errno on failure.
	 */
	int (*put)(void *context, const struct id *text_id, const struct piece_ref *offer,
		   const uint8_t *member, struct piece_ref *out);
	/* Asked before compressing: is a piece of this text kept? 1 and *out (but for text_size), or 0. */
	int (*find_text)(void *context, const struct id *text_id, struct piece_ref *out);
	/* The member's bytes (at most PIECE_STORED_MAX) into `out`: size, or -ENOENT, -EIO, .... */
	ssize_t (*get)(void *context, const struct id *name, uint8_t *out, size_t out_size);
	void *context;
};

/* ---- one piece ---- */

struct packer; /* compressor, decompressor and buffers, reused: one per thread */
struct packer *packer_new(void); /* NULL: no memory */
void packer_free(struct packer *p);

/* text -> member. out has PIECE_STORED_MAX bytes. Returns its size. size <= PIECE_TEXT_MAX. */
ssize_t piece_deflate(struct packer *p, const uint8_t *text, size_t size, uint8_t *out);
void packer_hurry(struct packer *p, bool hurry); /* from now on speed counts more than room */
uint8_t *packer_member(struct packer *p); /* PIECE_STORED_MAX bytes for one member, the packer's own */
/*
 * member -> text. -EBADMSG unless it is exactly one member with the encoder's
 * header (no flags, mtime 0, OS 255), a right checksum, nothing after it, and
 * between 0 and PIECE_TEXT_MAX bytes of text. out has PIECE_TEXT_MAX bytes. Returns the text's size.
 */
ssize_t piece_inflate(struct packer *p, const uint8_t *member, size_t size, uint8_t *out);
/* The length of the first cut of text: all of it if `size` <= PIECE_TEXT_MIN. Give at least PIECE_TEXT_MAX bytes unless it is the end. */
size_t piece_cut(const uint8_t *text, size_t size);

/* ---- a whole text ---- */

/* Reads bytes of the text at an offset, short only at the end; bytes or negative errno. */
typedef ssize_t (*content_source)(void *context, uint8_t *out, size_t size, uint64_t offset);

/*
 * Cuts, compresses and stores `size` bytes of the source, holding a window of it and
 * of each list. -EFBIG over DOCUMENT_SIZE_MAX; -EIO if the source ends before `size`;
 * any error of source or store.
 */
int content_write(struct packer *p, const struct piece_store *store, content_source source,
		  void *source_context, uint64_t size, struct content *out);
/* The same for text in memory. */
int content_write_bytes(struct packer *p, const struct piece_store *store, const void *text,
			size_t size, struct content *out);

/*
 * Whether a content that somebody told of can be one: counts and sizes within bounds,
 * the sizes add up, and every ref but the one that ends the text has at least
 * PIECE_TEXT_MIN bytes of it. 0 or -EBADMSG. content_read() and content_each() check
 * this, and each list they pass likewise.
 */
int content_check(const struct content *content);

/*
 * An LRU of inflated pieces, shared by readers, of at most size_max bytes;
 * thread-safe. Hash again what comes from the store: a piece whose bytes do not
 * have its name is -EBADMSG.
 */
struct piece_cache;
struct piece_cache *piece_cache_new(size_t size_max);
void piece_cache_free(struct piece_cache *cache);

/*
 * Up to `size` bytes of text at `offset`; 0 at or after the end. Inflates only the
 * pieces it touches. -ENODATA: a piece is not in the store; -EBADMSG: damaged. Any
 * other error of the store. An error in any piece is the answer: never short but at the end.
 */
ssize_t content_read(struct piece_cache *cache, const struct piece_store *store,
		     const struct content *content, uint8_t *out, size_t size, uint64_t offset);

/* Visits the names of the text's own pieces in order, and (with_lists) those of the lists before what they list. Stops at nonzero and returns it. */
int content_each(struct piece_cache *cache, const struct piece_store *store,
		 const struct content *content, bool with_lists,
		 int (*visit)(void *context, const struct piece_ref *ref, bool is_list), void *context);
/*
 * Visits lists and pieces alike, but of those that reach beyond `offset` of the text alone; `at` is where their
 * text starts. A list for which the visitor says CONTENT_SKIP is not opened: it may be missing.
 */
#define CONTENT_SKIP INT_MAX
int content_each_from(struct piece_cache *cache, const struct piece_store *store, const struct content *content,
		      uint64_t offset,
		      int (*visit)(void *context, const struct piece_ref *ref, bool is_list, uint64_t at), void *context);

#endif
