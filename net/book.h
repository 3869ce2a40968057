/*
 * book.h - addresses of nodes: which are known, which to dial next and when, which to tell others.
 *
 * Addresses come from a person, from what was remembered, and from peers, who announce their own and tell those of others; what
 * peers say fills at most half of the book and are forgotten after TRIES_MAX failures.  Dialled are first
 * those that a person asked for, then those that worked before, then the others, by lot within each; after a failure
 * an address waits DIAL_MS_MIN, doubling to DIAL_MS_MAX, and a random quarter more.  Told to others are only
 * addresses at which we have spoken to that device, never further than they carry (address.h).
 *
 * Nothing here dials or writes.  One thread.  Times are of the now_ms clock but for worked_ms (wall time).
 */
#ifndef BOOK_H
#define BOOK_H

#include "address.h"
#include "clock.h"
#include "id.h"

enum book_source { BOOK_TOLD, BOOK_ANNOUNCED, BOOK_REMEMBERED, BOOK_WANTED };

struct book;

/* clock is borrowed. NULL: no memory. */
struct book *book_new(const struct clock *clock);
void book_free(struct book *book); /* takes NULL */

/* device: who is expected there; NULL: anybody. 0, or 1 if it is new; -EINVAL: not an address; -ENOSPC, -ENOMEM. */
int book_add(struct book *book, const char *address, const struct id *device, enum book_source source);
/* worked_ms of what was remembered. */
void book_set_worked(struct book *book, const char *address, uint64_t worked_ms);

/* What may be dialled: what core_connect() has just asked for; also what a person wants and what was announced and never tried; all. */
enum book_need { BOOK_NEED_ASKED, BOOK_NEED_WANTED, BOOK_NEED_ANY };

struct book_dial {
	char address[ADDRESS_SIZE_MAX];
	bool has_expected, announced; /* announced: to see whether it is true, though that peer may be here already */
	struct id expected;
};
/* The next to dial, if its time has come; it is marked as dialled until one of the three below says what came of it. */
bool book_next(struct book *book, enum book_need need, struct book_dial *out);
/*
 * The same of one that was not tried within again_ms, whatever sessions there are: the most worth by `judge` (negative: not
 * that one; device zero: not known), of equals the one not tried for longest, by lot.
 */
bool book_scout(struct book *book, uint64_t again_ms, int (*judge)(void *context, const struct id *device), void *context,
		struct book_dial *out);
bool book_is_wanted(const struct book *book, const char *address); /* by a person */
uint64_t book_deadline_ms(struct book *book, enum book_need need); /* UINT64_MAX: nothing to dial */

/* True: it is to be forgotten (book_memory_key()), it is out of the book. */
bool book_failed(struct book *book, const char *address);
/* Spoken to that device there. True: worth remembering now (another device, or a day since the last time). */
bool book_worked(struct book *book, const char *address, const struct id *device);
/* The session is over: it may be dialled again. apart: at once there would be no use in it (it is ourselves, or closed on purpose). */
void book_ended(struct book *book, const char *address, bool apart);
/* The last session with a device is over: its addresses that were put off because of that session may be dialled again soon. */
void book_alone(struct book *book, const struct id *device);

/* Up to count_max addresses to tell one who came from `scope`, by lot. */
struct book_told {
	const char *address; /* borrowed until the book changes */
	struct id device;
};
size_t book_tell(const struct book *book, enum address_scope scope, struct book_told *out, size_t count_max);

size_t book_count(const struct book *book);
void book_each(const struct book *book,
	       void (*visit)(void *context, const char *address, const struct id *device, uint64_t worked_ms), void *context);
size_t book_memory(const struct book *book); /* bytes */

/* A local fact: "peer" NUL address -> device 32, worked_ms u64 little-endian. */
#define BOOK_KEY_PREFIX "peer"      /* with its NUL */
#define BOOK_KEY_PREFIX_SIZE 5
#define BOOK_VALUE_SIZE (ID_SIZE + 8)

#endif
