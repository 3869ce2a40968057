/*
 * mountpoint.h - where a folder may be mounted, and what mountinfo says of ours.
 */
#ifndef MOUNTPOINT_H
#define MOUNTPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "why.h"

#define MOUNT_SUBTYPE "mootfs"

/* An absolute path without `.` and `..`, links followed as far as they lead. -ENAMETOOLONG, -ENOENT. */
int mountpoint_absolute(const char *path, char *out, size_t size);
/* A directory, empty, not in the data folder nor above it, nothing of ours on it; and FUSE is here. The sentence says what is wrong. */
int mountpoint_check(const char *mount_point, const char *data_path, struct why *why);

#endif
