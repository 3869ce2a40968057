#include "votes.h"

#include <errno.h>

static int count_vote(void *context, const struct id *person, uint64_t value)
{
	struct votes *votes = context;

	(void)person;
	votes->keep += value == VOTE_KEEP;
	votes->delete += value == VOTE_DELETE;
	return 0;
}

int votes_count(struct store_txn *txn, const struct id *object, struct votes *out)
{
	struct votes votes = { 0 };
	struct id self;
	uint64_t own;

	int err = person_said_each(txn, FIELD_VOTE, object, count_vote, &votes);
	if (err < 0)
		return err;
	err = person_self(txn, &self);
	if (err < 0)
		return err;
	err = person_said(txn, &self, FIELD_VOTE, object, &own);
	if (err < 0 && err != -ENOENT)
		return err;
	votes.own = err == 0 ? (enum vote)own : VOTE_NONE;
	*out = votes;
	return 0;
}
