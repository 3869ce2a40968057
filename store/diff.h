/*
 * diff.h - unified diffs and three-way merges of texts in memory, by libgit2.
 *
 * Only libgit2's in-memory functions are used; nothing here reads or writes files.
 * diff_init() once a process before threads start, diff_finish() at the end.
 */
#ifndef DIFF_H
#define DIFF_H

#include "bytes.h"
#include "id.h"

int diff_init(void);
void diff_finish(void);

struct diff_side {
	const char *name;      /* as in `--- a/NAME`; NULL: the text did not exist */
	struct span text;
};

/*
 * A unified diff, 3 lines of context, that `patch -p1` applies; empty when equal. Binary (a NUL byte in it): one line that
 * says so. -EMSGSIZE: a text over 512 MiB.
 */
int diff_unified(const struct diff_side *before, const struct diff_side *after, struct bytes *out);
/*
 * Three-way merge. Where both changed the same lines it is tried again sentence by sentence (a sentence ends at
 * . ! ? followed by white space, or at a line's end); what still clashes stands between conflict markers labelled with
 * the names, in whole lines. `ancestor` may be empty. Returns the number of clashes, or negative errno: -EBADMSG where
 * both changed and one is binary, -EMSGSIZE over 512 MiB. The same bytes for everybody: a function of its input only.
 */
int diff_merge(struct span ancestor, const struct diff_side *ours, const struct diff_side *theirs, struct bytes *out);

#endif
