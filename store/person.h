/*
 * person.h - whose device is it, which of its records count, and what a person has said.
 *
 * A person is named by the key of their first device.  A device belongs to the
 * person that the first of its profiles (by seq, then id) with a person in it
 * names, if that person admitted it; else it is a person of its own.  Admission is
 * a pure function of the records present, whatever order they came in:
 *
 *   the first device is a member before all, and nothing cuts its log.  Of the `on`
 *   statements (admit records) by members, made after their own admission and within
 *   their own cut, the least by (time, id) that names a device not a member yet
 *   admits it; so on until none is left.  A member's cut follows, in order of (time, id),
 *   from the statements about it that members admitted before it made since its
 *   admission: a retirement cuts its log after `last` (not here: what held before stays; none:
 *   everything is cut), an `on` lifts the cut.  So no device lifts its own retirement, and
 *   the first can never be retired.  An admitted device makes statements, and its records
 *   count, once its own profile names the person.
 *
 * Of a log that is cut, those records count that lie on the chain of `last`: a thief
 * cannot fork the log before it.  Entries of the others never stand, but their
 * versions are in the lists of the names where they put them.
 *
 * When what counts changes, the person's rows are made again from the logs.
 *
 * Rows: TABLE_PERSON (person, log) -> [order, admitted, seq_end, cut, flags] for each device
 * admitted, and (0, log, record) -> [device, on, last] for each admit record;
 * TABLE_SAID (field u16, subject, person) -> [time, record id, value or name and about], and
 * (65535, person, field u16, subject) to find them by person.
 */
#ifndef PERSON_H
#define PERSON_H

#include "log.h"

struct person_device {
	struct id device;
	uint64_t log;
	uint64_t seq_end;   /* records with seq below this count, of a forked log those on the chain of the last; UINT64_MAX: all */
	bool retired;
	uint64_t order;     /* of admission, 0 the first device */
	uint64_t admitted_ms;
};

/* The person that this device speaks for (itself, if of its own). */
int person_of(struct store_txn *txn, const struct id *device, struct id *out);
/* This node's own: whom its own profile names, admitted or not. */
int person_self(struct store_txn *txn, struct id *out);
/* Do records that this node's device makes now count for that person: admitted, and not retired? 1, 0 or an error. */
int person_self_counts(struct store_txn *txn);
/* Fills up to count_max devices in order of admission; returns how many. */
int person_devices(struct store_txn *txn, const struct id *person, struct person_device *out, size_t count_max);
/* The greatest time of any record of the person's devices; 0. */
int person_newest_ms(struct store_txn *txn, const struct id *person, uint64_t *out);

struct person_profile {
	char name[PROFILE_NAME_MAX + 1]; /* the nickname they chose; may be empty */
	char about[PROFILE_ABOUT_MAX + 1];
};
int person_profile(struct store_txn *txn, const struct id *person, struct person_profile *out);

/* The newest statement of a person of FIELD_SUBSCRIBE, _TRUST, _VOTE (value: on, ppm, vote) on a subject. -ENOENT. */
int person_said(struct store_txn *txn, const struct id *person, enum field field,
		const struct id *subject, uint64_t *out_value);
/* All persons' statements on a subject: (person, value). */
int person_said_each(struct store_txn *txn, enum field field, const struct id *subject,
		     int (*visit)(void *context, const struct id *person, uint64_t value), void *context);

/* What a person has said of this field: subjects, in order; whatever the value. Stops at nonzero and returns it. */
int person_said_by(struct store_txn *txn, const struct id *person, enum field field,
		   int (*visit)(void *context, const struct id *subject, uint64_t value), void *context);

/*
 * Called by log.h for each record as it becomes effective. Gives it to tree.h and
 * document.h, or rebuilds a person.
 */
int person_apply(struct store_txn *txn, const struct record_row *row, const struct record *record);
/* Called by log.h for a log that begins: it is a person of its own until more is known. */
int person_begin(struct store_txn *txn, const struct log_row *log);

#endif
