#include "reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reconcile_range.h"

#define SHORT_LIST_MAX 2          /* items: a list of so many is no longer than a fingerprint, and says more */
#define ASK_SIZE_MIN 4096         /* bytes: the least that a message may carry when answers do not fit */
#define ANSWER_SLACK 256          /* bytes: more than the largest head or fingerprint with all around it */
#define HEADS_INITIAL 64

/* ---- the responder ---- */

/* Answers that all of [from, to) differs, by fingerprints of its buckets. */
static void answer_split(const struct reconcile_set *set, struct writer *w, size_t from, size_t to,
			 const struct bound *bound)
{
	size_t first = from;

	for (size_t i = 1; i <= RECONCILE_BUCKETS; i++) {
		size_t end = from + (to - from) * i / RECONCILE_BUCKETS;
		struct bound until = i == RECONCILE_BUCKETS ? *bound : set_bound(set, end);

		if (!writer_print(w, &until, end - first, set_sum(set, first, end)))
			return;
		first = end;
	}
}

static void answer_print(const struct reconcile_set *set, struct writer *w, size_t from, size_t to,
			 const struct range *asked)
{
	struct sum sum = set_sum(set, from, to);
	size_t count = to - from;

	if (count == asked->count && sum_equal(sum, asked->sum))
		writer_skip(w, &asked->to);
	else if (count < RECONCILE_LIST_MAX || asked->count < RECONCILE_LIST_MAX)
		writer_print(w, &asked->to, count, sum);
	else
		answer_split(set, w, from, to, &asked->to);
}

/* Both are in order of device, so what matches does too: true, and `same` and *next move on. */
static bool match(const struct range *asked, uint64_t digest, size_t *next, uint64_t *same)
{
	for (size_t i = *next; i < asked->digest_count; i++) {
		if (range_digest(asked, i) == digest) {
			*same |= 1ull << i;
			*next = i + 1;
			return true;
		}
	}
	return false;
}

static int answer_list(const struct reconcile_set *set, struct writer *w, size_t from, size_t to,
		       const struct range *asked)
{
	struct bound until = asked->to;
	size_t count = 0, next = 0, room = writer_room(w);
	uint64_t same = 0;
	struct bytes heads;
	bool fits = true;

	bytes_init(&heads, RECONCILE_MESSAGE_MAX);
	for (size_t i = from; i < to && fits; i++) {
		size_t size = heads.size;

		if (match(asked, set_digest(set, i), &next, &same))
			continue;
		packet_put_head_item(&heads, &set->heads[i]);
		count++;
		fits = heads.size <= room;
		if (!fits && i > from)
			until = set_bound(set, i);
		if (!fits)
			heads.size = size;
	}
	int err = bytes_error(&heads);
	if (err == 0 && fits && count == 0 && same == (1ull << asked->digest_count) - 1)
		writer_skip(w, &until);
	else if (err == 0 && (fits || bound_compare(&until, &asked->to) < 0))
		writer_difference(w, &until, same, &heads, fits ? count : count - 1);
	if (!fits)
		w->full = true;
	bytes_finish(&heads);
	return err;
}

static int answer_ranges(const struct reconcile_set *set, struct cbor_reader *r, struct writer *w)
{
	enum range_mode last = RANGE_PRINT;
	struct bound at = { 0 };
	size_t from = 0;
	int err = 0;

	for (size_t count = 1; r->left > 0 && !r->failed && err == 0; count++) {
		struct range asked;

		range_read(r, &at, false, &asked);
		if (count > RECONCILE_RANGES_MAX || (last == RANGE_SKIP && asked.mode == RANGE_SKIP) ||
		    (asked.mode == RANGE_PRINT && asked.count == 0))
			cbor_reader_fail(r);
		if (r->failed)
			break;

		size_t to = set_find(set, &asked.to);
		if (asked.mode == RANGE_SKIP && !w->full)
			writer_skip(w, &asked.to);
		else if (asked.mode == RANGE_PRINT && !w->full)
			answer_print(set, w, from, to, &asked);
		else if (asked.mode == RANGE_LIST && !w->full)
			err = answer_list(set, w, from, to, &asked);
		at = asked.to;
		from = to;
		last = asked.mode;
	}
	if (last == RANGE_SKIP)
		cbor_reader_fail(r);
	return err < 0 ? err : cbor_reader_finish(r);
}

int reconcile_answer(const struct reconcile_set *set, const uint8_t *bytes, size_t size, struct bytes *out)
{
	size_t start = out->size;
	struct cbor_reader r;
	struct writer w;

	if (size == 0 || size > RECONCILE_MESSAGE_MAX)
		return -EBADMSG;
	cbor_reader_init(&r, bytes, size);
	writer_init(&w, out, RECONCILE_MESSAGE_MAX);
	int err = answer_ranges(set, &r, &w);
	if (err == 0) {
		writer_end(&w);
		err = bytes_error(out);
	}
	if (err < 0)
		out->size = start;
	return err;
}

/* ---- the initiator ---- */

struct open_range {
	struct bound from, to;
	bool differs;   /* else it is to be asked whether it does */
	bool listed;    /* asked: by a list, whose item 0 is `first` */
	size_t first;
};

struct open_ranges {
	struct open_range *at;
	size_t count, capacity;
};

struct reconcile {
	const struct reconcile_set *set;
	struct open_ranges open;  /* to be asked, the least last */
	struct open_ranges asked; /* in the message that is out, the least first */
	struct open_ranges found; /* while an answer is read: what it left open, the least first */
	struct head *theirs;
	size_t theirs_count, theirs_capacity;
	size_t *mine;             /* indexes */
	size_t mine_count, mine_capacity;
	size_t ask_size_max;
	unsigned rounds, cut_rounds;
	bool begun, over;
};

struct reconcile *reconcile_new(const struct reconcile_set *set)
{
	struct reconcile *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->set = set;
	r->ask_size_max = RECONCILE_MESSAGE_MAX;
	return r;
}

void reconcile_free(struct reconcile *r)
{
	if (!r)
		return;
	free(r->open.at);
	free(r->asked.at);
	free(r->found.at);
	free(r->theirs);
	free(r->mine);
	free(r);
}

/* Makes room for one more; false: no memory. */
static bool grow(void **array, size_t *capacity, size_t count, size_t item_size)
{
	if (count < *capacity)
		return true;

	size_t more = *capacity > 0 ? *capacity * 2 : HEADS_INITIAL;
	void *moved = reallocarray(*array, more, item_size);
	if (!moved)
		return false;
	*array = moved;
	*capacity = more;
	return true;
}

static int push(struct open_ranges *ranges, const struct open_range *range)
{
	void *array = ranges->at;

	if (!grow(&array, &ranges->capacity, ranges->count, sizeof *range))
		return -ENOMEM;
	ranges->at = array;
	ranges->at[ranges->count++] = *range;
	return 0;
}

static int add_theirs(struct reconcile *r, const struct head *head)
{
	void *array = r->theirs;

	if (!grow(&array, &r->theirs_capacity, r->theirs_count, sizeof *head))
		return -ENOMEM;
	r->theirs = array;
	r->theirs[r->theirs_count++] = *head;
	return 0;
}

static int add_mine(struct reconcile *r, size_t index)
{
	void *array = r->mine;

	if (!grow(&array, &r->mine_capacity, r->mine_count, sizeof index))
		return -ENOMEM;
	r->mine = array;
	r->mine[r->mine_count++] = index;
	return 0;
}

/* ---- asking ---- */

/* Puts the buckets of [first, end) back, each to be asked of. */
static int split(struct reconcile *r, const struct open_range *range, size_t first, size_t end)
{
	struct bound to = range->to;
	int err = 0;

	for (size_t i = RECONCILE_BUCKETS; i-- > 0 && err == 0;) {
		size_t from = first + (end - first) * i / RECONCILE_BUCKETS;
		struct open_range bucket = { .from = i == 0 ? range->from : set_bound(r->set, from), .to = to };

		err = push(&r->open, &bucket);
		to = bucket.from;
	}
	return err;
}

/* Writes what is to be asked of a range with the items [first, end); false: it does not fit. */
static bool ask(struct reconcile *r, struct writer *w, struct open_range *range, size_t first, size_t end)
{
	static const struct bound least = { 0 };
	const struct bound *at = r->asked.count > 0 ? &r->asked.at[r->asked.count - 1].to : &least;
	size_t count = end - first;

	w->skips = false;
	if (bound_compare(at, &range->from) < 0)
		writer_skip(w, &range->from);
	range->listed = range->differs || count <= SHORT_LIST_MAX;
	range->first = first;
	if (range->listed)
		return writer_list(w, &range->to, r->set, first, end);
	return writer_print(w, &range->to, count, set_sum(r->set, first, end));
}

/* 1: a message was made; 0: nothing is open. */
static int make_message(struct reconcile *r, struct bytes *out)
{
	size_t start = out->size;
	struct writer w;
	int err = 0;

	writer_init(&w, out, r->ask_size_max);
	r->asked.count = 0;
	while (r->open.count > 0 && err == 0) {
		struct open_range range = r->open.at[--r->open.count];
		size_t first = set_find(r->set, &range.from), end = set_find(r->set, &range.to);

		if (range.differs && end - first >= RECONCILE_LIST_MAX) {
			err = split(r, &range, first, end);
			continue;
		}
		if (!ask(r, &w, &range, first, end)) {
			r->open.count++; /* where it still stands */
			break;
		}
		err = push(&r->asked, &range);
	}
	if (err == 0)
		err = bytes_error(out);
	if (err < 0)
		out->size = start;
	return err < 0 ? err : r->asked.count > 0;
}

int reconcile_begin(struct reconcile *r, struct bytes *out)
{
	struct open_range all = { .to.is_end = true, .differs = true };

	if (r->begun)
		return -EPROTO;
	r->begun = true;
	int err = push(&r->open, &all);
	if (err == 0)
		err = make_message(r, out);
	r->over = err < 0;
	return err < 0 ? err : 0;
}

/* ---- taking answers ---- */

static int take_print(struct reconcile *r, const struct bound *from, const struct range *theirs)
{
	size_t first = set_find(r->set, from), end = set_find(r->set, &theirs->to);
	struct open_range range = { .from = *from, .to = theirs->to, .differs = true };
	int err = 0;

	if (theirs->count == end - first && sum_equal(theirs->sum, set_sum(r->set, first, end)))
		return 0;
	if (theirs->count > 0)
		return push(&r->found, &range);
	for (size_t i = first; i < end && err == 0; i++)
		err = add_mine(r, i);
	return err;
}

static int take_difference(struct reconcile *r, const struct bound *from, const struct range *theirs, size_t listed)
{
	size_t first = set_find(r->set, from), end = set_find(r->set, &theirs->to);
	struct cbor_reader heads = theirs->heads;
	size_t left = theirs->head_count;
	struct head head;
	int err = 0;

	if (theirs->same >> (end - listed) != 0 || (theirs->same & ((1ull << (first - listed)) - 1)) != 0)
		return -EBADMSG;
	for (size_t i = first; i < end && err == 0; i++)
		if (!(theirs->same >> (i - listed) & 1))
			err = add_mine(r, i);
	while (err == 0 && packet_next_head(&heads, &left, &head))
		err = add_theirs(r, &head);
	return err;
}

/* One range of an answer, from where the one before ended; *index is the asked range that is next. */
static int take_range(struct reconcile *r, const struct bound *from, const struct range *theirs, size_t *index)
{
	struct open_ranges *asked = &r->asked;

	if (theirs->mode == RANGE_SKIP) {
		while (*index < asked->count && bound_compare(&asked->at[*index].to, &theirs->to) <= 0)
			(*index)++;
		if (*index < asked->count && bound_compare(&asked->at[*index].from, &theirs->to) < 0)
			asked->at[*index].from = theirs->to;
		return 0;
	}

	struct open_range *range = *index < asked->count ? &asked->at[*index] : NULL;
	bool listed = theirs->mode == RANGE_DIFFERENCE;
	if (!range || range->listed != listed || bound_compare(from, &range->from) < 0 ||
	    bound_compare(&range->to, &theirs->to) < 0)
		return -EBADMSG;

	int err = listed ? take_difference(r, from, theirs, range->first) : take_print(r, from, theirs);
	range->from = theirs->to;
	if (bound_compare(&range->from, &range->to) == 0)
		(*index)++;
	return err;
}

/* Reads an answer; what it has not come to is found again. out_ranges: how many it has; out_short: it has not come to all. */
static int take_answer(struct reconcile *r, const uint8_t *bytes, size_t size, size_t *out_ranges, bool *out_short)
{
	enum range_mode last = RANGE_PRINT;
	struct bound at = { 0 };
	struct cbor_reader reader;
	size_t index = 0, count = 0;
	int err = 0;

	cbor_reader_init(&reader, bytes, size);
	for (; reader.left > 0 && err == 0; count++) {
		struct range theirs;

		range_read(&reader, &at, true, &theirs);
		if (reader.failed || count == RECONCILE_RANGES_MAX ||
		    (last == RANGE_SKIP && theirs.mode == RANGE_SKIP))
			return -EBADMSG;
		err = take_range(r, &at, &theirs, &index);
		at = theirs.to;
		last = theirs.mode;
	}
	*out_ranges = count;
	*out_short = index < r->asked.count;
	for (; index < r->asked.count && err == 0; index++)
		err = push(&r->found, &r->asked.at[index]);
	return err;
}

/* Counts the round, and whether the next may be larger. */
static int end_round(struct reconcile *r, bool was_short, bool was_full)
{
	if (was_short && !was_full)
		return -EPROTO;
	if (was_short || r->open.count > 0)
		r->cut_rounds++;
	else
		r->rounds++;
	if (r->rounds > RECONCILE_ROUNDS_MAX || r->cut_rounds > RECONCILE_CUT_ROUNDS_MAX ||
	    r->open.count + r->found.count > RECONCILE_OPEN_MAX)
		return -EPROTO;

	/* What an answer has no room for was asked for nothing. */
	if (was_short && r->ask_size_max / 2 >= ASK_SIZE_MIN)
		r->ask_size_max /= 2;
	else if (!was_short && r->ask_size_max < RECONCILE_MESSAGE_MAX)
		r->ask_size_max *= 2;
	return 0;
}

static int take(struct reconcile *r, const uint8_t *bytes, size_t size, struct bytes *out)
{
	size_t range_count;
	bool was_short;

	if (size == 0 || size > RECONCILE_MESSAGE_MAX)
		return -EBADMSG;
	r->found.count = 0;
	int err = take_answer(r, bytes, size, &range_count, &was_short);
	if (err == 0)
		err = end_round(r, was_short, size > RECONCILE_MESSAGE_MAX - ANSWER_SLACK ||
					      range_count + 1 >= RECONCILE_RANGES_MAX);
	for (size_t i = r->found.count; i-- > 0 && err == 0;)
		err = push(&r->open, &r->found.at[i]);
	return err < 0 ? err : make_message(r, out);
}

int reconcile_take(struct reconcile *r, const uint8_t *bytes, size_t size, struct bytes *out)
{
	if (!r->begun || r->over)
		return -EPROTO;

	int result = take(r, bytes, size, out);
	r->over = result <= 0;
	return result;
}

static int compare_heads(const void *a, const void *b)
{
	return id_compare(&((const struct head *)a)->device, &((const struct head *)b)->device);
}

void reconcile_each_theirs(struct reconcile *r, void (*visit)(void *context, const struct head *theirs), void *context)
{
	size_t count = r->theirs_count;

	if (count > 1)
		qsort(r->theirs, count, sizeof r->theirs[0], compare_heads);
	r->theirs_count = 0;
	for (size_t i = 0; i < count; i++)
		visit(context, &r->theirs[i]);
}

static int compare_indexes(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

void reconcile_each_mine(struct reconcile *r, void (*visit)(void *context, const struct head *mine), void *context)
{
	size_t count = r->mine_count;

	if (count > 1)
		qsort(r->mine, count, sizeof r->mine[0], compare_indexes);
	r->mine_count = 0;
	for (size_t i = 0; i < count; i++)
		visit(context, &r->set->heads[r->mine[i]]);
}
