/*
 * wanted.h - which versions lack pieces, so that the network asks for them.
 *
 * A version whose record came from elsewhere is noted when its record becomes effective and one of its pieces, or of
 * the lists of them, is not here; it waits for one of these, and when that one comes it waits for
 * another or is forgotten.  So what stands here follows from the journal's order alone, and one's own saves cost
 * nothing.  A piece that is dropped on purpose is not waited for.
 *
 * Rows: TABLE_WANTED class u8 (0: no version descends from it, as far as is known; 1: the rest), record number
 * inverted (newest first) -> [number of the piece it waits for, offset in the text from which on pieces lack, flags];
 * and (2, piece number, record number) -> nothing.
 *
 * Threads: those of the transaction.
 */
#ifndef WANTED_H
#define WANTED_H

#include "content.h"
#include "log.h"

/* For document.h: a version record became effective; another descends from this one. */
int wanted_note(struct store_txn *txn, const struct record_row *row, const struct content *content);
int wanted_note_parent(struct store_txn *txn, uint64_t record);
/* The same for one that lost a piece to damage. */
int wanted_note_lost(struct store_txn *txn, uint64_t record);

/* For the store: a piece that was spoken of before is here now, with its row; it was dropped. */
int wanted_piece_came(struct store_txn *txn, uint64_t piece);
int wanted_piece_dropped(struct store_txn *txn, uint64_t piece);

struct wanted {
	uint64_t record; /* number */
	bool is_leaf;
	uint64_t next;   /* cursor of what comes after it */
};
/* The first at or after a cursor (0: of all), leaves first and each newest first. 1, 0: no more, or an error. */
int wanted_next(struct store_txn *txn, uint64_t cursor, struct wanted *out);
/*
 * Missing pieces of a version, each once: lists of pieces first, then what the lists that are here name. Returns how many
 * it filled, 0 also of a content that is not sound. -ENOENT: not a version that can be read. Uses the transaction's record 1.
 */
ssize_t wanted_missing(struct store_txn *txn, uint64_t record, struct piece_ref *out, size_t count_max);

#endif
