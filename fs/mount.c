#include "mount.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "arrivals.h"
#include "diff.h"
#include "events.h"
#include "mount_state.h"
#include "mountpoint.h"
#include "operations.h"
#include "person.h"

#define TICK_MS_MAX 1000
#define THREADS_MAX 10   /* one writer at a time: more only wait */
#define WAIT_S_DEFAULT 2

struct mount_choices { /* of -o, those that are ours */
	int controls;
	unsigned wait_s;
	char *listen;
	int allow_other;
};

/* ---- the desk's questions ---- */

static bool is_busy(void *context, const struct id *directory, const char *name)
{
	const struct mount *m = context;
	return scratch_is_busy(m->scratch, directory, name);
}

static void has_changed(void *context, const struct id *person, const struct id *directory, const char *name)
{
	struct mount *m = context;

	/* A head set or merged is nobody's save. */
	arrivals_coming(m, person, directory, name);
	if (m->notifier)
		notifier_add(m->notifier, &(struct notice){ .person = *person, .directory = *directory, .name = name });
}

static uint32_t parent_of(void *context, uint32_t process)
{
	struct mount *m = context;

	return process_parent(&m->processes, process, clock_now_ms(store_clock(m->store)));
}

static uint64_t started_ms(void *context, uint32_t process)
{
	struct mount *m = context;

	return process_started_ms(&m->processes, process, clock_now_ms(store_clock(m->store)));
}

static void is_soon(void *context)
{
	struct mount *m = context;

	pthread_mutex_lock(&m->lock);
	m->soon = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
}

/* ---- the housekeeper ---- */

static void *housekeeper_run(void *argument)
{
	struct mount *m = argument;

	pthread_mutex_lock(&m->lock);
	while (!m->ending) {
		m->soon = false;
		pthread_mutex_unlock(&m->lock);
		uint64_t wait_ms = desk_tick(m->desk);
		struct timespec until;

		if (wait_ms > TICK_MS_MAX)
			wait_ms = TICK_MS_MAX;
		clock_gettime(CLOCK_REALTIME, &until);
		uint64_t ns = (uint64_t)until.tv_nsec + (wait_ms ? wait_ms : 1) * 1000000;
		until.tv_sec += (time_t)(ns / 1000000000);
		until.tv_nsec = (long)(ns % 1000000000);
		pthread_mutex_lock(&m->lock);
		if (!m->ending && !m->soon)
			pthread_cond_timedwait(&m->wake, &m->lock, &until);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int housekeeper_start(struct mount *m)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&m->housekeeper, NULL, housekeeper_run, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	m->keeping = err == 0;
	return -err;
}

static void housekeeper_stop(struct mount *m)
{
	if (!m->keeping)
		return;
	pthread_mutex_lock(&m->lock);
	m->ending = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->housekeeper, NULL);
	m->keeping = false;
}

/* ---- opening ---- */

static void metric(struct bytes *out, const char *name, const char *type, const char *help, uint64_t value)
{
	bytes_put_format(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
			 (unsigned long long)value);
}

static void metrics(void *context, struct bytes *out)
{
	struct mount *m = context;
	uint64_t nodes, opens;

	nodes_count(m->nodes, &nodes, &opens);
	metric(out, "moot_mount_nodes", "gauge", "Files and folders that the kernel knows of.", nodes);
	metric(out, "moot_mount_open_files", "gauge", "What is open.", opens);
	metric(out, "moot_mount_lookups_total", "counter", "Names looked up.", m->lookups);
	metric(out, "moot_mount_reads_total", "counter", "Reads that the kernel's cache did not answer.", m->reads);
	metric(out, "moot_mount_writes_total", "counter", "Writes.", m->writes);
	metric(out, "moot_mount_closed_total", "counter", "Files closed after they were written.", m->saves);
	metric(out, "moot_mount_notices_total", "counter", "Changes told to the kernel.",
	       notifier_count(m->notifier));
}

static int find_self(struct mount *m)
{
	struct store_txn *txn;
	int err = store_begin(m->store, false, &txn);
	if (err < 0)
		return err;
	err = person_self(txn, &m->self);
	m->counts = err == 0 && person_self_counts(txn) == 1;
	store_abort(txn);
	return err;
}

static int open_desk(struct mount *m, const struct control_settings *settings, struct why *why)
{
	const struct desk_options desk_options = {
		.window_ms = settings->window_ms,
		.document_size_max = settings->document_size_max,
		.uid = m->uid,
		.gid = m->gid,
		.busy = is_busy,
		.changed = has_changed,
		.parent_process = parent_of,
		.process_started_ms = started_ms,
		.soon = is_soon,
		.context = m,
		.hold_ms = network_hold_ms(m->store),
	};
	int err = desk_open(&m->desk, m->store, &desk_options);
	if (err < 0)
		return why_set(why, err, "what waits in %s could not be read: %s", m->data_path, why_errno(err));
	return 0;
}

static int open_data(struct mount *m, const struct key *key, struct why *why)
{
	const struct store_options store_options = { .clock = clock_system() };
	struct control_settings settings = { 0 };

	int err = store_open(&m->store, m->data_path, key, &store_options, why);
	if (err < 0)
		return err;
	m->started_ns = clock_time_ns(store_clock(m->store));
	m->errors = errors_new(store_clock(m->store));
	m->memory = control_memory_new();
	m->events = events_new(store_clock(m->store));
	err = m->errors && m->memory && m->events ? control_settings_read(m->store, &settings) : -ENOMEM;
	if (err == 0)
		err = scratch_open(&m->scratch, store_directory_fd(m->store), (const char *)settings.scratch.data, why);
	if (err == 0)
		err = open_desk(m, &settings, why);
	control_settings_finish(&settings);
	if (err == 0)
		err = find_self(m);
	if (err == 0)
		err = root_make_readme(m);
	if (err == 0)
		err = nodes_new(&m->nodes);
	m->host = (struct control_host){
		.store = m->store, .desk = m->desk, .scratch = m->scratch, .errors = m->errors, .memory = m->memory,
		.events = m->events, .data_path = m->data_path, .mount_point = m->mount_point, .started_ms = m->started_ns / 1000000,
		.metrics = metrics, .context = m,
	};
	return err;
}

static void log_nothing(enum fuse_log_level level, const char *format, va_list arguments)
{
}

/* libfuse's own lines would stand beside our one sentence. */
static int session_mount(struct mount *m, struct fuse_args *arguments, const struct mount_choices *choices,
			 struct why *why)
{
	fuse_set_log_func(log_nothing);
	errno = 0;
	m->session = fuse_session_new(arguments, &operations, sizeof(operations), m);
	int err = m->session ? 0 : why_set(why, -EINVAL, "an option after -o is not known");
	if (err == 0 && fuse_session_mount(m->session, m->mount_point) != 0) {
		err = errno ? -errno : -EIO;
		why_set(why, err, choices->allow_other && geteuid() != 0 ?
			"mounting on %s failed: %s (allow_other needs the line user_allow_other in /etc/fuse.conf)" :
			"mounting on %s failed: %s", m->mount_point, errno ? strerror(errno) : "fusermount3 refused");
	} else if (err == 0) {
		m->mounted = true;
	}
	fuse_set_log_func(NULL);
	return err;
}

static const struct fuse_opt choices_table[] = {
	{ "controls", offsetof(struct mount_choices, controls), 1 },
	{ "wait=%u", offsetof(struct mount_choices, wait_s), 0 },
	{ "listen=%s", offsetof(struct mount_choices, listen), 0 },
	FUSE_OPT_END,
};

static int open_session(struct mount *m, const char *fuse_options, struct why *why)
{
	struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
	struct mount_choices choices = { .wait_s = WAIT_S_DEFAULT };
	char *own = NULL, source[sizeof(m->data_path) + 8];

	snprintf(source, sizeof(source), "fsname=%s", m->data_path);
	int failed = fuse_opt_add_arg(&arguments, "mootfs");
	if (fuse_options && fuse_options[0]) {
		failed |= fuse_opt_add_arg(&arguments, "-o");
		failed |= fuse_opt_add_arg(&arguments, fuse_options);
		choices.allow_other = strstr(fuse_options, "allow_other") != NULL;
	}
	failed |= fuse_opt_parse(&arguments, &choices, choices_table, NULL);
	failed |= fuse_opt_add_opt(&own, "subtype=" MOUNT_SUBTYPE ",default_permissions");
	failed |= fuse_opt_add_opt_escaped(&own, source);
	failed |= fuse_opt_add_arg(&arguments, "-o");
	failed |= fuse_opt_add_arg(&arguments, own ? own : "");
	m->list_controls = choices.controls;
	m->wait_s = choices.wait_s;
	m->listen = choices.listen;
	int err = failed ? why_set(why, -EINVAL, "the options after -o cannot be read") :
			   session_mount(m, &arguments, &choices, why);
	free(own);
	fuse_opt_free_args(&arguments);
	return err;
}

/* ---- serving ---- */

static int want(void *context, const struct id *version, uint64_t token, uint64_t until_ms)
{
	struct mount *m = context;

	return network_want(m->network, version, token, until_ms);
}

static int start_network(struct mount *m, struct why *why)
{
	const struct network_options options = { .store = m->store, .desk = m->desk, .listen = m->listen,
						 .arriving = arrivals_coming, .arrived = arrivals_came,
						 .event = arrivals_event, .context = m };
	const struct waiter_options waiting = { .clock = *store_clock(m->store), .want = want, .context = m };
	int err = waiter_new(&m->waiter, &waiting);

	if (err == 0)
		err = network_start(&m->network, &options, why);
	m->host.network = m->network;
	return err;
}

static int serve(struct mount *m, struct why *why)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err = config ? store_set_mount(m->store, m->mount_point) : -ENOMEM;

	if (err == 0)
		err = notifier_new(&m->notifier, arrivals_tell, m);
	if (err == 0)
		err = start_network(m, why);
	if (err == 0)
		err = housekeeper_start(m);
	if (err == 0 && fuse_set_signal_handlers(m->session) != 0)
		err = -EINVAL;
	if (err == 0) {
		umask(0); /* the kernel has applied the caller's */
		fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
		int ended = fuse_session_loop_mt(m->session, config);
		fuse_remove_signal_handlers(m->session);
		m->signalled = ended > 0;
		if (ended < 0)
			err = why_set(why, ended, "reading from /dev/fuse failed: %s", strerror(-ended));
	}
	if (config)
		fuse_loop_cfg_destroy(config);
	return err;
}

/* ---- closing ---- */

/*
 * The workers are gone, the kernel does not know yet: what waits for an answer, and the notifier
 * behind it, would wait for ever. For others than root the same comes when the descriptor is closed.
 */
static void abort_connection(struct mount *m)
{
	if (m->mounted && m->signalled && geteuid() == 0)
		umount2(m->mount_point, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW);
}

static void release_open(void *context, struct open *open)
{
	open_finish(context, open);
}

static int close_all(struct mount *m, struct why *why)
{
	int err = 0;

	abort_connection(m);
	network_stop(m->network);
	waiter_free(m->waiter);
	housekeeper_stop(m);
	if (m->mounted)
		fuse_session_unmount(m->session);
	struct notifier *notifier = m->notifier;
	m->notifier = NULL;
	bool told = notifier_free(notifier);
	if (m->desk) {
		nodes_free(m->nodes, release_open, m);
		err = desk_close(m->desk);
		if (err < 0)
			why_set(why, err, "what was open could not be kept: %s", why_errno(err));
	}
	scratch_close(m->scratch);
	if (m->store) {
		int failed = store_close(m->store);
		if (failed < 0 && err == 0)
			err = why_set(why, failed, "%s could not be closed: %s", m->data_path, why_errno(failed));
	}
	events_free(m->events);
	errors_free(m->errors);
	control_memory_free(m->memory);
	if (m->session && told)
		fuse_session_destroy(m->session);
	return err;
}

static struct mount *mount_new(const struct mount_options *options)
{
	struct mount *m = calloc(1, sizeof(*m));
	pthread_rwlockattr_t attributes;

	if (!m)
		return NULL;
	m->ready_fd = options->ready_fd;
	m->uid = getuid();
	m->gid = getgid();
	bytes_init(&m->readme, 64 * 1024);
	processes_init(&m->processes);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->wake, NULL);
	/* A stream of readers must not keep a rename waiting for ever. */
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->shape, &attributes);
	pthread_rwlock_init(&m->names, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	return m;
}

static void mount_free(struct mount *m)
{
	pthread_rwlock_destroy(&m->names);
	pthread_rwlock_destroy(&m->shape);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	processes_finish(&m->processes);
	bytes_finish(&m->readme);
	free(m->listen);
	free(m);
}

static int begin(struct mount *m, const struct mount_options *options, const struct key *key, struct why *why)
{
	int err = mountpoint_absolute(options->data_path, m->data_path, sizeof(m->data_path));
	if (err == 0)
		err = mount_clean_stale(options->mount_point, why);
	if (err >= 0)
		err = mountpoint_check(options->mount_point, m->data_path, why);
	if (err == 0)
		err = mountpoint_absolute(options->mount_point, m->mount_point, sizeof(m->mount_point));
	if (err == 0)
		err = diff_init();
	m->diffs = err == 0;
	if (err < 0)
		return err;
	err = open_data(m, key, why);
	if (err == 0)
		err = open_session(m, options->fuse_options, why);
	return err;
}

static void tell_failure(const struct mount *m, int err, struct why *why)
{
	if (!why->text[0])
		why_set(why, err, "the folder could not be mounted: %s", why_errno(err));
	/* Nobody may be waiting any more. */
	if (m->ready_fd >= 0 && write(m->ready_fd, why->text, strlen(why->text)) < 0)
		return;
}

int mount_serve(const struct mount_options *options, const struct key *key, struct why *why)
{
	struct why unread = { 0 };
	struct mount *m = mount_new(options);
	if (!m)
		return -ENOMEM;
	if (!why)
		why = &unread;

	why->text[0] = '\0';
	int err = begin(m, options, key, why);
	if (err == 0)
		err = serve(m, why);
	if (err < 0)
		tell_failure(m, err, why);
	int failed = close_all(m, err < 0 ? &unread : why);
	if (m->diffs)
		diff_finish();
	mount_free(m);
	return err < 0 ? err : failed;
}
