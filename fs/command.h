/*
 * command.h - the `moot` command: one table of subcommands, and what they share.
 *
 * A command works through the mount where one serves the data folder (plain
 * files, as a shell would), asks `moot serve` where that does, and opens the data folder itself where nothing runs.
 * Exit status: 0; 1, failed, one sentence on stderr; 2, usage.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <limits.h>
#include <stdbool.h>

#include "control.h"
#include "why.h"

struct command {
	const char *name;
	const char *arguments;
	const char *help;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand */
};

extern const struct command command_table[]; /* ends with a NULL name */

int command_run(int argc, char **argv);
/* Prints `moot: sentence` on stderr and returns 1. */
int command_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the usage of a subcommand on stderr and returns 2. */
int command_usage(const char *name);

/* The data folder held open by this process, with what controls need. */
struct session {
	struct store *store;
	struct desk *desk;
	struct scratch *scratch;
	struct errors *errors;
	struct control_memory *memory;
	struct control_host host;
	struct id self; /* the person */
	char path[PATH_MAX];
};

/* The data folder's path. */
int session_path(char out[PATH_MAX], struct why *why);
/* Loads the key, asking for its passphrase on the terminal (else one line of standard input) if it is sealed. */
int session_key(const char *path, struct key *out, struct why *why);
int session_open(struct session *s, bool reindex, struct why *why);
/* The same by who runs the network then: nothing is signed before peers were asked, where that is called for. */
int session_open_serving(struct session *s, struct why *why);
/* As many descriptors as the system allows: before serving peers. */
void session_raise_files(void);
int session_close(struct session *s);
/* Asks for a passphrase; echo off. At most size - 1 bytes. */
int session_ask(const char *prompt, char *out, size_t size);

/* Where a path that a person gave leads: a file in a mount, or a slot in an open session. */
struct target {
	char mount_path[PATH_MAX]; /* served: as it would be below the mount */
	struct session session;
	bool opened; /* by the session */
	bool served; /* by a node without a mount, which is asked (ask.h); session.path is set */
	struct control_node node;
};

/* -ENOENT, -EBUSY, ... with why. Close it also when it was only half made. */
int target_open(struct target *t, const char *path, struct why *why);
/* As target_open(), of the node's own control folder. */
int target_open_node(struct target *t, struct why *why);
/* As target_open(), of a person: a name in the root, an id, or a path that ends in one. */
int target_open_person(struct target *t, const char *who, struct why *why);
void target_close(struct target *t);
/* A control file below the target's control folder ("log", "versions/-1"). */
int target_read(struct target *t, const char *row, struct bytes *out, struct why *why);
int target_write(struct target *t, const char *row, const char *text, struct why *why);

/* Prints a control file of the node; of commands without arguments. */
int command_print_node(int argc, char **argv, const char *row);
/* A bar on a terminal, nothing elsewhere. done == total ends it. */
void progress_show(const char *what, uint64_t done, uint64_t total);
/* On a terminal: how a sync goes on that the node which runs was asked for, until it cannot go on. Elsewhere nothing. */
void sync_await(void);
struct progress;
/* A line on stderr; on a terminal in the place of the one before, until it is over. */
void sync_print(const struct progress *p, bool terminal);

int command_init(int argc, char **argv);
int command_mount(int argc, char **argv);
int command_umount(int argc, char **argv);
int command_id(int argc, char **argv);
int command_status(int argc, char **argv);
int command_metrics(int argc, char **argv);
int command_log(int argc, char **argv);
int command_show(int argc, char **argv);
int command_diff(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_reindex(int argc, char **argv);
int command_gc(int argc, char **argv);
int command_import(int argc, char **argv);
int command_export(int argc, char **argv);
int command_serve(int argc, char **argv);
int command_connect(int argc, char **argv);
int command_invite(int argc, char **argv);
int command_peers(int argc, char **argv);
int command_follow(int argc, char **argv);
int command_devices(int argc, char **argv);
int command_watch(int argc, char **argv);
int command_help(int argc, char **argv);

#endif
