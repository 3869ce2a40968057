/*
 * scratch.h - names that tools make for themselves: which they are, and the local files behind them.
 *
 * A scratch name is decided once, at create.  Scratch of a directory of the
 * commons lives in the data folder as scratch/<directory id>/NAME, so it follows
 * when the directory is renamed; what is inside a scratch directory is a plain
 * tree below that.  All paths here are relative to the data folder's scratch/.
 *
 * Everything is passed through to the kernel: links, fifos, owners, times.
 * Errors are the kernel's.  Threads: any; there is no state but the open
 * directory and the rules.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>

#include "bytes.h"
#include "id.h"
#include "why.h"

struct scratch;

/*
 * directory_fd: the data folder's. `rules`: the config's own lines (one pattern a line, `#` comments,
 * `!pattern` takes one of the built-in table away); NULL: none. -EINVAL with why: a bad pattern.
 */
int scratch_open(struct scratch **out, int directory_fd, const char *rules, struct why *why);
void scratch_close(struct scratch *s);
int scratch_fd(const struct scratch *s); /* of scratch/: base of the *at() calls; borrowed */

/*
 * Is this name scratch if created now? `exclusive`: created with O_EXCL (names with random letters count
 * only then). `exists` answers whether a document of a name stands in the same directory (for <doc>.XXXXXX).
 */
bool scratch_is_name(const struct scratch *s, const char *name, bool exclusive,
		     bool (*exists)(void *context, const char *name), void *context);
/* Is it one that a document gets when a tool renames it away to keep it (`sed -i.bak`)? Created, such a name is none. */
bool scratch_is_backup(const char *name);
/* Why it is: the rule that matched, for status; NULL: none. */
const char *scratch_rule(const struct scratch *s, const char *name);
/* The table as text, built in and configured: for @/config. */
void scratch_describe(const struct scratch *s, struct bytes *out);

/* "<directory id as 52 characters>" and "<id>/NAME" into `out`. -ENAMETOOLONG. */
int scratch_path(char *out, size_t size, const struct id *directory, const char *name);
/* Makes the folder of a directory's scratch where missing (0700). */
int scratch_make_directory(struct scratch *s, const struct id *directory);
/* Does that directory have such a file? */
bool scratch_exists(const struct scratch *s, const struct id *directory, const char *name);
/* A swap or lock file of a document: .NAME.sw?, .#NAME, .~lock.NAME#, #NAME#. */
bool scratch_is_busy(const struct scratch *s, const struct id *directory, const char *name);
/* No scratch stands in it. */
bool scratch_is_empty(const struct scratch *s, const struct id *directory);
/* All scratch, for status: path is "<directory id>/NAME" of top-level names. Stops at nonzero and returns it. */
int scratch_each(const struct scratch *s, const struct id *directory /* NULL: all */,
		 int (*visit)(void *context, const struct id *directory, const char *name), void *context);

#endif
