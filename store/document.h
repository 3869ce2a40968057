/*
 * document.h - the versions of a document: rows, lists, names, the graph.
 *
 * A document is named by the id of its first version record; all versions that
 * say so are its versions, of whatever device.  Lists are in order of (time, first 8
 * bytes of the device, seq, record id): one device's saves of one millisecond in the order they were
 * made, and the same order on every node.
 *
 * Rows: TABLE_VERSION (document, time, device 8, seq, record id) -> [record number, size, log, mode];
 * TABLE_NODE record number -> [document, time, id, size, log, mode, parents]; TABLE_CHILD (parent,
 * child record numbers).
 *
 * A version's name in `versions/` is `20261122T073104Z-alice-k5xq3m7a.md`: UTC
 * time, author, short id of the record, the suffix of the document's name.
 */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include "log.h"
#include "tree.h"

struct version_row {
	struct id id;
	struct id document;
	uint64_t number;   /* of the record */
	uint64_t time_ms;
	uint64_t size;     /* of the text */
	uint64_t log;      /* author's device */
	enum mode mode;
};

struct version { /* a version record, read whole */
	struct version_row row;
	struct id device;
	uint32_t parent_count;
	struct id parents[PARENTS_MAX];
	struct content content;
};

int document_version_row(struct store_txn *txn, const struct id *version, struct version_row *out);
int document_version(struct store_txn *txn, const struct id *version, struct version *out);
/* True if no known version has it as parent. */
bool document_is_leaf(struct store_txn *txn, uint64_t record_number);

/*
 * The versions shown at a slot, oldest first: of the documents that ever stood there those saved
 * there, and all up to the newest that came there from elsewhere (by a rename or a copy); of
 * documents that do not stand there now none after the last entry there. Of one that stands there and that this node's person
 * follows, whoever writes it, all are shown. Streams: memory does not grow with the count.
 * From those after a place (0: all): a place is above 0, below 2^62, and what it was when others come
 * before it. Going on after one costs no more than beginning. Stops at nonzero and returns it.
 */
int document_each(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, uint64_t after,
		  int (*visit)(void *context, const struct version_row *row, uint64_t place), void *context);
/* The logs that have versions of a document, each once, count_max at most: returns how many. Reads all its rows. */
int document_authors(struct store_txn *txn, const struct id *document, uint64_t *out_logs, size_t count_max);
int document_count(struct store_txn *txn, const struct id *person, const struct id *directory,
		   const char *name, uint64_t *out);

/*
 * A version of the slot as a person may write it: its name in versions/ (with the document's suffix,
 * `.diff` or none, whatever it calls the author), its number
 * in the list (1 .. 999999, -1 the newest; more digits are an id prefix; four where the list is
 * shorter, a year), a UTC time (2026, 2026-11,
 * 2026-11-20, 2026-11-20T14, 2026-11-20T14:00[:05][Z]: the newest version not after the end of
 * it), or an id or prefix. -ENOENT: none; -ENOTUNIQ: several; -EINVAL: nonsense.
 */
int document_find(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, const char *spelling, struct version_row *out);
/* The end of a UTC time so spelt, as ms since 1970 (exclusive). -EINVAL. */
int document_parse_time(const char *text, uint64_t *out_end_ms);
/* The name in versions/ with this suffix instead of the document's if not NULL. */
#define VERSION_NAME_MAX (17 + PROFILE_NAME_MAX + 1 + ID_SHORT_SIZE + NAME_SIZE_MAX + 1)
int document_version_name(struct store_txn *txn, const struct version_row *row, const char *document_name,
			  const char *suffix, char out[VERSION_NAME_MAX + 1]);
/* ".md" of "notes.md", "" of "Makefile" and ".profile". Borrowed from name. */
const char *document_suffix(const char *name);

/* Lowest common ancestors of two versions by parents, sorted by id: how many (at most count_max). */
int document_common_ancestors(struct store_txn *txn, const struct id *a, const struct id *b,
			      struct id *out, size_t count_max);

/* For person.h: a version record became effective. */
int document_apply(struct store_txn *txn, const struct record_row *row, const struct record *record);

#endif
