/*
 * members.h - which devices a person has admitted, and where their logs are cut: for person.c.
 *
 * Reads the admit statements in TABLE_PERSON and the claims in TABLE_LOG; writes nothing.
 */
#ifndef MEMBERS_H
#define MEMBERS_H

#include "log.h"

struct member {
	uint64_t log;             /* number of the device; it may have no log yet */
	uint64_t admitted_ms;
	struct id admitted_id;    /* of the record; zero: the first device */
	bool claims;              /* its own profile names the person */
	bool retired;
	uint64_t seq_end, cut;    /* as in struct log_row */
};

struct member_statement { /* an admit record */
	struct record_row row;
	uint64_t device, last; /* numbers; last 0: none given */
	bool on;
	size_t by;     /* index of the member who made it */
	bool admitted; /* the device is a member by now */
};

struct members {
	struct member *items; /* in order of admission */
	size_t count, capacity;
	struct member_statement *statements;
	size_t statement_count, statement_capacity;
	size_t next; /* none before this one admits anybody any more */
};

/* Zero `out` first. Frees nothing on failure: members_finish(). */
int members_find(struct store_txn *txn, uint64_t person, struct members *out);
void members_finish(struct members *members); /* also for CLEANUP */

/* The row of one admit record. */
int members_note(struct store_txn *txn, const struct record_row *row, uint64_t device, bool on, uint64_t last);

#endif
