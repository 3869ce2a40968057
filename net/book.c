#include "book.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define TRIES_MAX 8              /* failures in a row until what never worked is forgotten */
#define TRIES_OLD_MAX 40         /* the same of what did: some three hours of trying */
#define EXPECT_TRIES_MAX 2       /* failures until anybody there is welcome: hosts change their key */
#define REMEMBER_MS (24ull * 3600 * 1000)
#define TOLD_MAX (PEERS_MAX / 2)

struct place {
	char address[ADDRESS_SIZE_MAX]; /* key */
	enum book_source source;
	enum address_scope scope;
	struct id device;       /* zero: not known */
	bool strict;            /* a person named the device */
	bool asked;             /* core_connect() was not dialled yet */
	bool busy;              /* being dialled, or in session */
	bool confirmed;         /* device was spoken to here */
	unsigned failures;      /* in a row */
	uint64_t next_ms;
	uint64_t tried_ms;      /* 0: never */
	uint64_t worked_ms;     /* wall time; 0: never */
	UT_hash_handle hh;
};

#define NEEDS (BOOK_NEED_ANY + 1)

struct book {
	const struct clock *clock;
	struct place *places;
	uint64_t next_ms[NEEDS]; /* the earliest of that need, so that not all are looked through at each turn, */
	bool known[NEEDS];       /* if it is known */
	size_t told; /* of them BOOK_TOLD that never worked */
};

struct book *book_new(const struct clock *clock)
{
	struct book *book = calloc(1, sizeof(*book));

	if (book)
		book->clock = clock;
	return book;
}

static bool is_hearsay(const struct place *p)
{
	return p->source <= BOOK_ANNOUNCED && !p->worked_ms;
}

static void drop(struct book *book, struct place *p)
{
	book->told -= is_hearsay(p);
	HASH_DEL(book->places, p);
	free(p);
}

void book_free(struct book *book)
{
	if (!book)
		return;
	for (struct place *p = book->places, *next; p; p = next) {
		next = p->hh.next;
		drop(book, p);
	}
	free(book);
}

/* Something about when a place may be dialled. */
static void touch(struct book *book)
{
	memset(book->known, 0, sizeof(book->known));
}

static struct place *find(const struct book *book, const char *address)
{
	struct place *p;

	HASH_FIND_STR(book->places, address, p);
	return p;
}

static uint32_t chance(const struct book *book)
{
	uint32_t number;

	clock_random(book->clock, &number, sizeof(number));
	return number;
}

static int insert(struct book *book, const char *address, enum book_source source, struct place **out)
{
	if (HASH_COUNT(book->places) >= PEERS_MAX || (source <= BOOK_ANNOUNCED && book->told >= TOLD_MAX))
		return -ENOSPC;
	struct place *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;
	strcpy(p->address, address);
	p->scope = address_split(address, host, &port) == 0 ? address_scope(host) : ADDRESS_INTERNET;
	p->source = source;
	HASH_ADD_STR(book->places, address, p);
	if (!p->hh.tbl) {
		free(p);
		return -ENOMEM;
	}
	book->told += is_hearsay(p);
	*out = p;
	return 0;
}

int book_add(struct book *book, const char *text, const struct id *device, enum book_source source)
{
	char address[ADDRESS_SIZE_MAX];

	if (address_parse(text, address, NULL) < 0)
		return -EINVAL;
	struct place *p = find(book, address);
	int err = 0;
	if (!p) {
		err = insert(book, address, source, &p);
		if (err < 0)
			return err;
		err = 1;
	}
	touch(book);
	if (device && !id_is_zero(device) && (source == BOOK_WANTED || (!p->strict && !p->confirmed)))
		p->device = *device;
	if (source == BOOK_WANTED) {
		book->told -= is_hearsay(p);
		p->source = BOOK_WANTED;
		p->strict = device && !id_is_zero(device);
		p->asked = !p->busy;
		p->next_ms = 0;
		p->failures = 0;
	} else if (source == BOOK_ANNOUNCED && p->source == BOOK_TOLD) {
		p->source = source;
	}
	return err;
}

void book_set_worked(struct book *book, const char *address, uint64_t worked_ms)
{
	struct place *p = find(book, address);

	if (!p)
		return;
	touch(book);
	book->told -= is_hearsay(p);
	p->worked_ms = worked_ms;
	p->confirmed = worked_ms && !id_is_zero(&p->device);
	book->told += is_hearsay(p);
}

static int rank(const struct place *p)
{
	return p->source == BOOK_WANTED ? 2 : p->worked_ms ? 1 : 0;
}

static bool is_needed(const struct place *p, enum book_need need)
{
	if (p->busy)
		return false;
	switch (need) {
	case BOOK_NEED_ASKED:
		return p->asked;
	case BOOK_NEED_WANTED:
		return p->source == BOOK_WANTED || (p->source == BOOK_ANNOUNCED && !p->confirmed && p->failures < EXPECT_TRIES_MAX);
	case BOOK_NEED_ANY:
		return true;
	}
	return false;
}

/* One of the best rank whose time has come, each as likely as the other. */
static struct place *choose(struct book *book, enum book_need need, uint64_t now_ms)
{
	struct place *best = NULL;
	uint32_t among = 0;

	for (struct place *p = book->places; p; p = p->hh.next) {
		if (!is_needed(p, need) || p->next_ms > now_ms)
			continue;
		if (!best || rank(p) > rank(best)) {
			best = p;
			among = 1;
		} else if (rank(p) == rank(best) && chance(book) % ++among == 0) {
			best = p;
		}
	}
	return best;
}

static void begin_dial(struct book *book, struct place *p, struct book_dial *out)
{
	touch(book);
	p->busy = true;
	p->asked = false;
	p->tried_ms = clock_now_ms(book->clock);
	*out = (struct book_dial){ .announced = p->source == BOOK_ANNOUNCED && !p->confirmed };
	strcpy(out->address, p->address);
	out->has_expected = !id_is_zero(&p->device) && (p->strict || p->failures < EXPECT_TRIES_MAX);
	if (out->has_expected)
		out->expected = p->device;
}

bool book_next(struct book *book, enum book_need need, struct book_dial *out)
{
	uint64_t now_ms = clock_now_ms(book->clock);
	struct place *p = book_deadline_ms(book, need) <= now_ms ? choose(book, need, now_ms) : NULL;

	if (p)
		begin_dial(book, p, out);
	return p != NULL;
}

bool book_scout(struct book *book, uint64_t again_ms, int (*judge)(void *context, const struct id *device), void *context,
		struct book_dial *out)
{
	uint64_t now_ms = clock_now_ms(book->clock);
	struct place *best = NULL;
	int best_worth = 0;
	uint32_t among = 0;

	for (struct place *p = book->places; p; p = p->hh.next) {
		if (p->busy || p->next_ms > now_ms || (p->tried_ms && now_ms - p->tried_ms < again_ms))
			continue;
		int worth = judge(context, &p->device);
		if (worth < 0 || (best && worth < best_worth) ||
		    (best && worth == best_worth && p->tried_ms > best->tried_ms))
			continue;
		bool equal = best && worth == best_worth && p->tried_ms == best->tried_ms;
		among = equal ? among + 1 : 1;
		if (equal && chance(book) % among != 0)
			continue;
		best = p;
		best_worth = worth;
	}
	if (best)
		begin_dial(book, best, out);
	return best != NULL;
}

bool book_is_wanted(const struct book *book, const char *address)
{
	const struct place *p = find(book, address);

	return p && p->source == BOOK_WANTED;
}

uint64_t book_deadline_ms(struct book *book, enum book_need need)
{
	uint64_t deadline = UINT64_MAX;

	if (book->known[need])
		return book->next_ms[need];
	for (const struct place *p = book->places; p; p = p->hh.next)
		if (is_needed(p, need) && p->next_ms < deadline)
			deadline = p->next_ms;
	book->known[need] = true;
	book->next_ms[need] = deadline;
	return deadline;
}

static void put_off(struct book *book, struct place *p)
{
	uint64_t ms = p->failures < 10 ? (uint64_t)DIAL_MS_MIN << (p->failures - 1) : DIAL_MS_MAX;

	p->next_ms = clock_now_ms(book->clock) + ms + chance(book) % (ms / 4);
}

bool book_failed(struct book *book, const char *address)
{
	struct place *p = find(book, address);

	if (!p)
		return false;
	touch(book);
	p->busy = false;
	p->failures++;
	put_off(book, p);
	if (p->source == BOOK_WANTED || p->failures < (p->worked_ms ? TRIES_OLD_MAX : TRIES_MAX))
		return false;
	drop(book, p);
	return true;
}

bool book_worked(struct book *book, const char *address, const struct id *device)
{
	struct place *p = find(book, address);

	if (!p)
		return false;
	uint64_t time_ms = clock_time_ms(book->clock);
	bool news = !p->worked_ms || !id_equal(&p->device, device) || time_ms - p->worked_ms >= REMEMBER_MS;
	touch(book);
	book->told -= is_hearsay(p);
	p->failures = 0;
	p->confirmed = true;
	p->device = *device;
	if (news)
		p->worked_ms = time_ms ? time_ms : 1;
	return news;
}

void book_ended(struct book *book, const char *address, bool apart)
{
	struct place *p = find(book, address);

	if (!p)
		return;
	touch(book);
	p->busy = false;
	p->failures = apart ? 16 : p->failures ? p->failures : 1;
	put_off(book, p);
	p->failures = 0;
}

void book_alone(struct book *book, const struct id *device)
{
	for (struct place *p = book->places; p; p = p->hh.next) {
		uint64_t soon_ms = clock_now_ms(book->clock) + DIAL_MS_MIN + chance(book) % DIAL_MS_MIN;
		if (!p->busy && !p->failures && p->next_ms > soon_ms && id_equal(&p->device, device)) {
			p->next_ms = soon_ms;
			touch(book);
		}
	}
}

size_t book_tell(const struct book *book, enum address_scope scope, struct book_told *out, size_t count_max)
{
	size_t seen = 0;

	for (const struct place *p = book->places; p; p = p->hh.next) {
		if (!p->confirmed || p->failures || p->scope < (scope < ADDRESS_PRIVATE ? scope : ADDRESS_PRIVATE))
			continue;
		size_t at = seen < count_max ? seen : chance(book) % (seen + 1);
		seen++;
		if (at < count_max)
			out[at] = (struct book_told){ p->address, p->device };
	}
	return seen < count_max ? seen : count_max;
}

size_t book_count(const struct book *book)
{
	return HASH_COUNT(book->places);
}

void book_each(const struct book *book,
	       void (*visit)(void *context, const char *address, const struct id *device, uint64_t worked_ms), void *context)
{
	for (const struct place *p = book->places; p; p = p->hh.next)
		visit(context, p->address, &p->device, p->worked_ms);
}

size_t book_memory(const struct book *book)
{
	return HASH_COUNT(book->places) * sizeof(struct place) + HASH_OVERHEAD(hh, book->places);
}
