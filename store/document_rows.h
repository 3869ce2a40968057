/* document_rows.h - what document.c, document_find.c and tree.c share. */
#ifndef DOCUMENT_ROWS_H
#define DOCUMENT_ROWS_H

#include "document.h"
#include "row.h"

/* The document and time of a version record. -ENOENT: it is not here, or is no version. */
int document_of_record(struct store_txn *txn, uint64_t record, uint64_t *out_document, uint64_t *out_time_ms);

struct version_node { /* of the graph */
	uint64_t number, time_ms;
	uint64_t parent_count;
	uint64_t parents[PARENTS_MAX]; /* record numbers; they need not be here */
};
int document_node(struct store_txn *txn, uint64_t record, struct version_node *out); /* -ENOENT */

/* ---- the list at a slot: a merge of the ranges of its documents ---- */

struct version_source {
	struct id document;
	uint64_t limit_ms;  /* versions up to then are shown here */
	uint64_t placed_ms; /* later ones only if they were saved here: a copy's are the copy's */
	struct index_range range;
	bool live; /* the range is at a row */
};

struct list_at { /* a slot */
	const struct id *person, *directory;
	const char *name;
};

struct version_list {
	struct store_txn *txn;
	struct list_at at; /* borrowed */
	bool backwards;
	struct version_source *sources;
	size_t count;
};

/* From the oldest of a time or later; or backwards, from the newest before a time (UINT64_MAX: of all). */
int version_list_open(struct version_list *list, struct store_txn *txn, const struct list_at *at, uint64_t from_ms);
int version_list_open_backwards(struct version_list *list, struct store_txn *txn, const struct list_at *at,
				uint64_t before_ms);
/* 1: *out is the next; 0: no more. */
int version_list_next(struct version_list *list, struct version_row *out);
/* Is this version in the list? 1, 0 or an error. */
int version_list_contains(const struct version_list *list, const struct version_row *row);
void version_list_close(struct version_list *list);

#endif
