#include "progress.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_missing(const struct progress_counts *c)
{
	return c->missing_logs || c->missing_pieces;
}

static bool has_moved(const struct progress_counts *a, const struct progress_counts *b)
{
	return a->records != b->records || a->pieces != b->pieces || a->missing_logs != b->missing_logs ||
	       a->missing_pieces != b->missing_pieces;
}

enum progress_state progress_take(struct progress *p, const struct progress_counts *counts, uint64_t now_ms)
{
	bool missing = is_missing(counts);

	if (p->state == PROGRESS_NONE || p->state == PROGRESS_ENDED) {
		/* What came since the look before belongs to what begins now. */
		p->first = p->looked ? p->last : *counts;
		p->began_ms = p->moved_ms = now_ms;
		p->told = PROGRESS_NONE;
		p->state = missing ? PROGRESS_GOING : PROGRESS_NONE;
	}
	if (has_moved(&p->last, counts))
		p->moved_ms = now_ms;
	if (missing)
		p->needed_ms = now_ms;
	p->last = *counts;
	p->looked = true;
	if (p->state == PROGRESS_NONE)
		return p->state;
	if (counts->peers == 0)
		p->state = PROGRESS_STALLED;
	else if (missing)
		p->state = now_ms - p->moved_ms >= PROGRESS_STALLED_MS ? PROGRESS_STALLED : PROGRESS_GOING;
	else
		p->state = now_ms - p->needed_ms >= PROGRESS_SETTLED_MS ? PROGRESS_ENDED : PROGRESS_GOING;
	return p->state;
}

bool progress_is_due(struct progress *p, uint64_t quiet_ms, uint64_t every_ms, uint64_t now_ms)
{
	bool due = false;

	switch (p->state) {
	case PROGRESS_NONE:
		break;
	case PROGRESS_GOING:
		due = p->told == PROGRESS_GOING ? now_ms - p->told_ms >= every_ms : now_ms - p->began_ms >= quiet_ms;
		break;
	case PROGRESS_ENDED:
	case PROGRESS_STALLED:
		due = p->told == PROGRESS_GOING || (p->told == PROGRESS_NONE && now_ms - p->began_ms >= quiet_ms);
		break;
	}
	if (due) {
		p->told = p->state;
		p->told_ms = now_ms;
	}
	return due;
}

/* "8.9 MiB" */
static void describe_size(uint64_t bytes, char *out, size_t size)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	uint64_t tenths = bytes * 10 / 1024;
	size_t unit = 0;

	for (; tenths >= 10240 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		tenths /= 1024;
	snprintf(out, size, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
}

void progress_describe(const struct progress *p, char out[PROGRESS_TEXT_SIZE])
{
	const struct progress_counts *first = &p->first, *last = &p->last;
	char got[32];

	describe_size(last->bytes - first->bytes, got, sizeof(got));
	int size = snprintf(out, PROGRESS_TEXT_SIZE, "got %" PRIu64 " records, %" PRIu64 " pieces, %s", last->records - first->records,
			    last->pieces - first->pieces, got);
	if (is_missing(last))
		snprintf(out + size, PROGRESS_TEXT_SIZE - (size_t)size, "; missing %" PRIu64 " logs, %" PRIu64 " pieces",
			 last->missing_logs, last->missing_pieces);
	else if (last->peers == 0)
		snprintf(out + size, PROGRESS_TEXT_SIZE - (size_t)size, "; nobody is connected any more");
}
