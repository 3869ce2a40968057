/*
 * cleanup.h - locals that release what they own when they go out of scope.
 *
 * Initialise where declared; hand over with `*out = x; x = NULL;`.  Every
 * release function takes NULL (or -1) and half-built objects.  Never together
 * with goto in one function.
 */
#ifndef CLEANUP_H
#define CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#endif
