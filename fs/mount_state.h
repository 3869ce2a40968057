/*
 * mount_state.h - what the operations of one mount work on.
 *
 * Locks, in the order in which they may be taken: `names`, `shape`, the desk's own, the
 * table of nodes.  Never the desk while holding the table.
 */
#ifndef MOUNT_STATE_H
#define MOUNT_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "control.h"
#include "desk.h"
#include "errors.h"
#include "network.h"
#include "news.h"
#include "node.h"
#include "notifier.h"
#include "process.h"
#include "scratch.h"
#include "store.h"

struct events;
struct fuse_session;
struct waiter;

#define TOLD_STALE_KEPT 64

struct mount {
	struct store *store;
	struct desk *desk;
	struct scratch *scratch;
	struct errors *errors;
	struct control_memory *memory;
	struct nodes *nodes;
	struct notifier *notifier;
	struct network *network;
	struct waiter *waiter;
	struct events *events;
	struct news_place news; /* the notifier's */
	struct processes processes;
	struct fuse_session *session;
	struct control_host host;
	char data_path[4096], mount_point[4096];

	struct id self;                     /* this node's own person */
	atomic_bool counts;                 /* what this device makes is theirs: it was admitted, and not retired */
	uid_t uid;
	gid_t gid;
	uint64_t started_ns;
	struct bytes readme;
	bool list_controls;
	unsigned wait_s;
	char *listen; /* NULL: the default */

	/*
	 * From asking where a node is until that was used, it is held shared; whoever takes a name
	 * away or gives it to another holds it alone: what is opened is what the node stands for.
	 */
	pthread_rwlock_t names;
	/*
	 * Local files are read and written under it (shared), and become documents under it
	 * (alone): no byte is written to a file that was just read whole.
	 */
	pthread_rwlock_t shape;

	/* By thread: when it was told ESTALE (see act_again()). */
	atomic_uint_fast64_t told_stale[TOLD_STALE_KEPT];

	atomic_uint_fast64_t lookups, reads, writes, saves;

	/* The housekeeper. */
	pthread_t housekeeper;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool keeping, ending, soon;

	int ready_fd;
	bool diffs, mounted, signalled;
};

#endif
