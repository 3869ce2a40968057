#include "fork.h"

#include <errno.h>
#include <stdlib.h>

#include "person.h"
#include "row.h"
#include "store_private.h"

/* ---- sides ---- */

static int read_key(const struct index_range *range, uint64_t *out_seq, uint64_t *out_number)
{
	struct wire w;

	wire_init(&w, range->key, range->key_size);
	wire_u64_be(&w);
	*out_seq = wire_u64_be(&w);
	*out_number = wire_u64_be(&w);
	return wire_finish(&w);
}

int fork_begin(struct store_txn *txn, const struct log_row *log, uint64_t *out_seq)
{
	struct row prefix = row_of(log->number);
	uint64_t last = UINT64_MAX, seq, number;
	struct index_range range;
	bool found = false;

	if (!log->forked)
		return -ENOENT;
	int err = row_range(txn, TABLE_CHAIN, &prefix, &range);
	while (err == 0 && !found && (err = index_range_next(&range)) > 0) {
		err = read_key(&range, &seq, &number);
		if (err == 0 && seq == UINT64_MAX) /* branch statements */
			break;
		found = err == 0 && seq == last;
		last = seq;
	}
	index_range_close(&range);
	if (err < 0 || !found)
		return err < 0 ? err : -ENOENT;
	*out_seq = last;
	return 0;
}

/* Sides as they are found from their ends on. */
struct walk {
	struct open_side {
		struct fork_side side;
		uint64_t next; /* record that it goes on with; 0: no more, or another side has it */
	} *sides;
	size_t count, count_max;
};

static bool comes_later(const struct record_row *a, const struct record_row *b)
{
	if (a->seq != b->seq)
		return a->seq > b->seq;
	return a->time_ms != b->time_ms ? a->time_ms > b->time_ms : id_compare(&a->id, &b->id) > 0;
}

/* The first one, which is in effect, goes before all. */
static int compare_sides(const void *a, const void *b)
{
	const struct open_side *x = a, *y = b;

	return comes_later(&x->side.newest, &y->side.newest) ? -1 : 1;
}

/* Comes by falling seq. Of several sides that lead here the first has it. */
static void take(struct walk *w, const struct record_row *row)
{
	struct open_side *on = NULL;

	for (size_t i = 0; i < w->count; i++) {
		struct open_side *side = &w->sides[i];
		if (side->next != row->number)
			continue;
		side->next = 0;
		if (!on || (on != w->sides && comes_later(&side->side.newest, &on->side.newest)))
			on = side;
	}
	if (!on) {
		if (w->count == w->count_max)
			return;
		on = &w->sides[w->count++];
		on->side.newest = *row;
	}
	on->side.from_seq = row->seq;
	on->next = row->prev;
}

static int walk_down(struct store_txn *txn, uint64_t log, uint64_t begin, struct walk *w)
{
	struct row key = row_of3(log, UINT64_MAX - 1, UINT64_MAX);
	struct index_range range;
	struct record_row row;
	uint64_t seq, number;

	int err = row_range_at(txn, TABLE_CHAIN, 8, &key, true, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		err = read_key(&range, &seq, &number);
		if (err == 0 && seq < begin)
			break;
		if (err == 0)
			err = log_record_row(txn, number, &row);
		if (err == 0)
			take(w, &row);
	}
	index_range_close(&range);
	return err;
}

int fork_sides(struct store_txn *txn, const struct log_row *log, struct fork_side *out, size_t count_max)
{
	struct walk w = { .count_max = count_max };
	uint64_t begin;

	int err = fork_begin(txn, log, &begin);
	if (err < 0 || count_max == 0)
		return err == -ENOENT ? 0 : err;
	w.sides = calloc(count_max, sizeof(*w.sides));
	if (!w.sides)
		return -ENOMEM;
	w.count = 1;
	w.sides[0].next = log->tip;
	w.sides[0].side.from_seq = log->tip_seq;
	err = log_record_row(txn, log->tip, &w.sides[0].side.newest);
	if (err == 0)
		err = walk_down(txn, log->number, begin, &w);
	if (err == 0 && w.count > 2)
		qsort(w.sides + 1, w.count - 1, sizeof(*w.sides), compare_sides);
	for (size_t i = 0; err == 0 && i < w.count; i++)
		out[i] = w.sides[i].side;
	free(w.sides);
	return err < 0 ? err : (int)w.count;
}

/* ---- keeping one ---- */

/* Is there a side that does not have it, of a log that this device may speak of? */
static int may_speak(struct store_txn *txn, const struct log_row *log, const struct record_row *row, struct why *why)
{
	struct log_row self;
	uint64_t begin;

	int err = log_get(txn, &store_key(store_of(txn))->public, &self);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err < 0 || self.person != log->person)
		return why_set(why, -EACCES, "only its own person can say which side a log keeps");
	int counts = person_self_counts(txn);
	if (counts < 0)
		return counts;
	if (!counts)
		return why_set(why, -EACCES, "this device does not speak for that person");
	err = fork_begin(txn, log, &begin);
	if (err == -ENOENT)
		return why_set(why, -EINVAL, "that log is not forked");
	if (err == 0 && row->seq < begin)
		return why_set(why, -EINVAL, "that record is older than the fork: no side would be left out");
	return err;
}

/* What a device says of its own log it can add to, and never take back. 1: it is said already. */
static int may_add(struct store_txn *txn, const struct log_branches *said, const struct record_row *row, struct why *why)
{
	if (said->other.number)
		return why_set(why, -EINVAL, "another of your devices has said which side is kept: only another device can say otherwise");
	if (said->rivals)
		return why_set(why, -EINVAL, "this log has kept two sides at once, so it is not heard any more: say it on another of your devices");
	if (!said->own.number)
		return 0;
	int on = log_is_ancestor(txn, row, &said->own);
	if (on != 0)
		return on;
	on = log_is_ancestor(txn, &said->own, row);
	return on != 0 ? on < 0 ? on : 0
		       : why_set(why, -EINVAL, "this log has kept another side: only another of your devices can say otherwise");
}

static int sign(struct store_txn *txn, const struct id *kept, uint64_t least_ms)
{
	struct record *record = store_txn_record(txn, 0);

	if (!record)
		return -ENOMEM;
	memset(record, 0, sizeof(*record));
	record->field = FIELD_BRANCH;
	record->branch.record = *kept;
	return log_append_after(txn, record, least_ms, NULL, NULL);
}

int fork_keep(struct store_txn *txn, const struct id *id, struct why *why)
{
	struct log_branches said;
	struct record_row row;
	struct log_row log;

	int err = log_find_record(txn, id, &row);
	if (err == 0)
		err = log_get_number(txn, row.log, &log);
	if (err < 0)
		return err == -ENOENT ? why_set(why, err, "there is no such record here") : err;
	err = may_speak(txn, &log, &row, why);
	if (err == 0)
		err = log_branches(txn, &log, &said);
	if (err < 0)
		return err;
	if (!id_equal(&log.device, &store_key(store_of(txn))->public))
		/* Of several by other devices the newest holds. */
		return log.branch == row.number ? 1 : sign(txn, &row.id, said.other.number ? said.other_ms + 1 : 0);
	err = may_add(txn, &said, &row, why);
	if (err == 0)
		err = log_take_branch(txn, log.number, row.number);
	return err != 0 ? err : sign(txn, &row.id, 0);
}
