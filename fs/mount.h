/*
 * mount.h - serving the folder through FUSE (libfuse3, low-level API), until it is unmounted.
 *
 * Threads: several FUSE workers; one housekeeper that calls desk_tick(); one
 * notifier that alone sends invalidations, with no lock held.
 */
#ifndef MOUNT_H
#define MOUNT_H

#include "key.h"
#include "why.h"

struct mount_options {
	const char *data_path;
	const char *mount_point;
	const char *fuse_options;    /* comma-separated: controls, wait=SECONDS and FUSE's own; NULL: none */
	int ready_fd;                /* one byte 0 is written when the folder answers, else a sentence; -1: nobody waits */
};

/*
 * Opens the data folder, mounts and serves; returns when it was unmounted or a
 * signal asked to end (everything sealed and synced). Errors before serving fill why.
 */
int mount_serve(const struct mount_options *options, const struct key *key, struct why *why);

/* Our mounts, from /proc/self/mountinfo (subtype mootfs). */
int mount_find(const char *path, char *out_mount_point, size_t size); /* the mount that holds a path; -ENOENT */
/* The data folder of the mount that holds a path. -ENOENT: not ours, or mounted under another fsname. */
int mount_data_path(const char *path, char *out, size_t size);
/* Unmounts what a killed daemon left at mount_point (ENOTCONN and ours). 1: cleaned; 0: nothing to do. */
int mount_clean_stale(const char *mount_point, struct why *why);
/* Returns when the daemon has closed its data folder (30 s at most). */
int mount_unmount(const char *mount_point, struct why *why);

#endif
