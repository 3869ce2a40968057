/* What stands behind this node: status, id, errors, metrics, config, quota. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "person.h"

#define PATH_TEXT_MAX 65536
#define WINDOW_MS_DEFAULT 2000
#define WINDOW_MS_MAX (60 * 60 * 1000)
#define QUOTA_DEFAULT (10ull << 30)

/* Keys of LOCAL_CONFIG; values are text. */
#define KEY_WINDOW "window"
#define KEY_LIMIT "limit"
#define KEY_SCRATCH "scratch" /* lines as scratch_open() takes them */
#define KEY_QUOTA "quota"
#define KEY_LISTEN "listen"

/* ---- status ---- */

/* As in the mount: "alice/guides/soil.md". A zero directory is the root of the mount. */
static void put_mount_path(struct control_call *c, struct bytes *out, const struct id *directory, const char *name)
{
	struct bytes path;

	if (!id_is_zero(directory)) {
		bytes_init(&path, PATH_TEXT_MAX);
		int err = text_put_path(&path, c->txn, &c->self, directory, NULL);
		bytes_put(&path, "", 1);
		if (err == 0 && bytes_error(&path) == 0) {
			text_put_person(out, c->txn, &c->self);
			bytes_put_text(out, path.data[0] ? "/" : "");
			text_put_visible(out, (const char *)path.data);
		} else {
			text_put_short(out, directory);
		}
		bytes_put_text(out, "/");
		bytes_finish(&path);
	}
	text_put_visible(out, name);
}

struct status {
	struct control_call *c;
	struct bytes *out;
	uint64_t now_ms;
	struct desk_waiting *waiting; /* collected: the desk must not be asked, nor kept, meanwhile */
	size_t count, capacity;
};

static int collect_waiting(void *context, const struct desk_waiting *w)
{
	struct status *s = context;

	if (s->count == s->capacity) {
		size_t capacity = s->capacity ? s->capacity * 2 : 16;
		struct desk_waiting *grown = realloc(s->waiting, capacity * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->waiting = grown;
		s->capacity = capacity;
	}
	s->waiting[s->count++] = *w;
	return 0;
}

static void put_waiting(struct status *s, const struct desk_waiting *w)
{
	bytes_put_text(s->out, "waits\t");
	put_mount_path(s->c, s->out, &w->directory, w->name);
	if (w->removal)
		bytes_put_text(s->out, "\tremoved");
	else if (w->saves > 0)
		bytes_put_format(s->out, "\t%" PRIu32 " save%s", w->saves, w->saves == 1 ? "" : "s");
	else
		bytes_put_text(s->out, "\tnew");
	if (w->due_ms == 0)
		bytes_put_text(s->out, ", signed when it is closed\n");
	else
		bytes_put_format(s->out, ", signed in %" PRIu64 " ms\n", w->due_ms > s->now_ms ? w->due_ms - s->now_ms : 0);
}

static int put_scratch(void *context, const struct id *directory, const char *name)
{
	struct status *s = context;
	const char *rule = scratch_rule(s->c->host->scratch, name);

	if (text_is_full(s->out))
		return 1;
	bytes_put_text(s->out, "scratch\t");
	put_mount_path(s->c, s->out, directory, name);
	bytes_put_text(s->out, "\t");
	bytes_put_text(s->out, rule ? rule : "it was scratch when it was made");
	bytes_put_text(s->out, "\n");
	return bytes_error(s->out);
}

static int put_unpublished(struct status *s)
{
	const struct control_host *host = s->c->host;

	int err = host->desk ? desk_each_waiting(host->desk, collect_waiting, s) : 0;
	if (err < 0)
		return err;
	for (size_t i = 0; i < s->count && !text_is_full(s->out); i++)
		put_waiting(s, &s->waiting[i]);
	err = host->scratch ? scratch_each(host->scratch, NULL, put_scratch, s) : 0;
	return err < 0 ? err : 0;
}

int status_read(struct control_call *c, struct bytes *out)
{
	const struct control_host *host = c->host;
	struct status s = { .c = c, .out = out, .now_ms = clock_now_ms(store_clock(host->store)) };
	struct store_counts counts;

	int err = store_counts(host->store, &counts);
	if (err < 0)
		return err;
	if (host->mount_point) {
		bytes_put_text(out, "mounted\t");
		text_put_visible(out, host->mount_point);
	} else {
		bytes_put_text(out, host->network ? "mounted\tno, served" : "mounted\tno");
	}
	if (host->mount_point || host->network) {
		bytes_put_text(out, "\nsince\t");
		text_put_time(out, host->started_ms);
	}
	bytes_put_text(out, "\ndata\t");
	text_put_visible(out, host->data_path ? host->data_path : "");
	bytes_put_format(out, "\nrecords\t%" PRIu64 "\npieces\t%" PRIu64 "\nlogs\t%" PRIu64
			 "\njournal\t%" PRIu64 " bytes in %" PRIu64 " segments\n",
			 counts.records, counts.pieces, counts.logs, counts.journal_bytes, counts.journal_segments);
	network_put_status(c, out);
	err = forks_put_status(c, out);
	if (err == 0)
		err = put_unpublished(&s);
	free(s.waiting);
	if (err == 0)
		bytes_put_text(out, "# waits: not signed yet; scratch: never published, and the rule that says so\n");
	return err;
}

int node_id_read(struct control_call *c, struct bytes *out)
{
	text_put_id(out, &store_key(c->host->store)->public);
	bytes_put_text(out, "\n# a device of ");
	text_put_person(out, c->txn, &c->self);
	bytes_put_text(out, ", ");
	text_put_id(out, &c->self);
	bytes_put_text(out, "\n");
	return 0;
}

/* ---- errors, metrics ---- */

int errors_file_read(struct control_call *c, struct bytes *out)
{
	if (c->host->errors)
		errors_read(c->host->errors, out);
	return 0;
}

static void put_metric(struct bytes *out, const char *name, const char *type, const char *help, uint64_t value)
{
	bytes_put_format(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type, name, value);
}

/* Those that are kept; a mount serves a reader who stays by itself. */
int events_file_read(struct control_call *c, struct bytes *out)
{
	struct events *events = c->host->events;
	struct listener *listener;
	char lines[4096];
	size_t size;

	if (!events)
		return 0;
	int err = events_listen(events, &listener);
	if (err < 0)
		return err;
	while (!text_is_full(out) && (size = events_read(events, listener, lines, sizeof(lines))) > 0)
		bytes_put(out, lines, size);
	events_leave(events, listener);
	return 0;
}

int metrics_read(struct control_call *c, struct bytes *out)
{
	const struct control_host *host = c->host;
	struct store_counts counts;

	int err = store_counts(host->store, &counts);
	if (err < 0)
		return err;
	put_metric(out, "moot_start_time_seconds", "gauge", "When this node started, since 1970.",
		   host->started_ms / 1000);
	put_metric(out, "moot_records", "gauge", "Signed records kept.", counts.records);
	put_metric(out, "moot_pieces", "gauge", "Pieces of text kept.", counts.pieces);
	put_metric(out, "moot_logs", "gauge", "Logs of devices known.", counts.logs);
	put_metric(out, "moot_journal_bytes", "gauge", "Size of the journal.", counts.journal_bytes);
	put_metric(out, "moot_journal_segments", "gauge", "Files of the journal.", counts.journal_segments);
	put_metric(out, "moot_refused_total", "counter", "What was refused, with a reason in @/errors.",
		   host->errors ? errors_count(host->errors) : 0);
	network_put_metrics(host->network, out);
	if (host->metrics)
		host->metrics(host->context, out);
	return 0;
}

/* ---- local facts ---- */

/* Appends the value's text; nothing where there is none. */
static int fact_get(struct store_txn *txn, const char *key, struct bytes *out)
{
	const uint8_t *value;
	size_t size;

	int err = store_local_get(txn, LOCAL_CONFIG, key, strlen(key), &value, &size);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	bytes_put(out, value, size);
	return bytes_error(out);
}

static int fact_get_number(struct store_txn *txn, const char *key, uint64_t otherwise, uint64_t *out)
{
	CLEANUP(bytes_finish) struct bytes value;
	uint64_t number;

	bytes_init(&value, 64);
	int err = fact_get(txn, key, &value);
	bytes_put(&value, "", 1);
	if (err < 0 && err != -EMSGSIZE)
		return err;
	bool whole = bytes_error(&value) == 0 && text_parse_size((const char *)value.data, &number) == 0;
	*out = whole ? number : otherwise;
	return 0;
}

static int fact_put(struct control_call *c, const char *key, const char *value, size_t size)
{
	struct store_txn *txn;

	control_release(c);
	int err = store_begin(c->host->store, true, &txn);
	if (err < 0)
		return err;
	err = store_local_put(txn, LOCAL_CONFIG, key, strlen(key), value, size);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}

static int fact_put_number(struct control_call *c, const char *key, uint64_t number)
{
	char text[32];

	int size = snprintf(text, sizeof(text), "%" PRIu64, number);
	return fact_put(c, key, text, (size_t)size);
}

/* ---- quota ---- */

int quota_read(struct control_call *c, struct bytes *out)
{
	uint64_t quota;

	int err = fact_get_number(c->txn, KEY_QUOTA, QUOTA_DEFAULT, &quota);
	if (err == 0)
		bytes_put_format(out, "%" PRIu64 "\n", quota);
	return err;
}

int quota_write(struct control_call *c, const char *text, size_t size)
{
	uint64_t quota;

	if (text_parse_size(text, &quota) < 0)
		return why_set(c->why, -EINVAL, "`%s` is no number of bytes; write %s", text, c->node->row->takes);
	return fact_put_number(c, KEY_QUOTA, quota);
}

/* ---- config ---- */

static int fact_get_address(struct store_txn *txn, const char *key, char out[ADDRESS_SIZE_MAX])
{
	CLEANUP(bytes_finish) struct bytes value;

	bytes_init(&value, ADDRESS_SIZE_MAX);
	int err = fact_get(txn, key, &value);
	bytes_put(&value, "", 1);
	if (err < 0 && err != -EMSGSIZE)
		return err;
	if (bytes_error(&value) == 0)
		memcpy(out, value.data, value.size);
	return 0;
}

static int settings_of(struct store_txn *txn, struct control_settings *out)
{
	bytes_init(&out->scratch, PATH_TEXT_MAX);
	int err = fact_get_number(txn, KEY_WINDOW, WINDOW_MS_DEFAULT, &out->window_ms);
	if (err == 0)
		err = fact_get_number(txn, KEY_LIMIT, DOCUMENT_SIZE_DEFAULT_MAX, &out->document_size_max);
	if (err == 0)
		err = fact_get_address(txn, KEY_LISTEN, out->listen);
	if (err == 0)
		err = fact_get(txn, KEY_SCRATCH, &out->scratch);
	if (err == 0 && out->scratch.size > 0)
		bytes_put(&out->scratch, "", 1);
	return err < 0 ? err : bytes_error(&out->scratch);
}

int control_settings_read(struct store *store, struct control_settings *out)
{
	struct store_txn *txn;

	*out = (struct control_settings){ 0 };
	int err = store_begin(store, false, &txn);
	if (err < 0)
		return err;
	err = settings_of(txn, out);
	store_abort(txn);
	return err;
}

void control_settings_finish(struct control_settings *settings)
{
	bytes_finish(&settings->scratch);
}

/* Each line with something before it. */
static void put_lines(struct bytes *out, const char *before, const char *text)
{
	while (*text) {
		size_t size = strcspn(text, "\n");
		bytes_put_text(out, before);
		bytes_put(out, text, size);
		bytes_put_text(out, "\n");
		text += size + (text[size] == '\n');
	}
}

int config_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(control_settings_finish) struct control_settings settings = { 0 };
	CLEANUP(bytes_finish) struct bytes table;

	bytes_init(&table, 1024 * 1024);
	int err = settings_of(c->txn, &settings);
	if (err < 0)
		return err;
	bytes_put_format(out, "window %" PRIu64 "\nlimit %" PRIu64 "\nlisten %s\n", settings.window_ms,
			 settings.document_size_max, settings.listen[0] ? settings.listen : NETWORK_LISTEN_DEFAULT);
	put_lines(out, "scratch ", settings.scratch.data ? (const char *)settings.scratch.data : "");
	bytes_put_text(out, "# window: how many ms a new or removed name waits; limit: bytes of a document\n"
			    "# listen: where peers may connect, such as 0.0.0.0:4040 or [::]:4040; port 0: any\n"
			    "# what is changed here holds from the next mount on; these names are scratch now:\n");
	if (c->host->scratch)
		scratch_describe(c->host->scratch, &table);
	bytes_put(&table, "", 1);
	err = bytes_error(&table);
	if (err == 0)
		put_lines(out, "#   ", (const char *)table.data);
	return err;
}

/* `value` empty: the default again. */
static int config_number(struct control_call *c, const char *key, const char *value, uint64_t least, uint64_t most)
{
	uint64_t number;

	if (value[0] == '\0')
		return fact_put(c, key, NULL, 0);
	if (text_parse_size(value, &number) < 0 || number < least || number > most)
		return why_set(c->why, -EINVAL, "%s is a number from %" PRIu64 " to %" PRIu64 ", not `%s`", key, least,
			       most, value);
	return fact_put_number(c, key, number);
}

static int config_listen(struct control_call *c, const char *value)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	if (value[0] != '\0' && (address_split(value, host, &port) < 0 || !host[0]))
		return why_set(c->why, -EINVAL, "`%s` is no address to listen on, such as 127.0.0.1:4040 or [::]:4040", value);
	return fact_put(c, KEY_LISTEN, value, strlen(value));
}

/* One pattern more, if the table takes it. */
static int config_scratch(struct control_call *c, const char *value)
{
	CLEANUP(bytes_finish) struct bytes rules;
	struct scratch *tried = NULL;

	bytes_init(&rules, PATH_TEXT_MAX - 1);
	if (value[0] == '\0')
		return fact_put(c, KEY_SCRATCH, NULL, 0);
	if (value[0] == '#')
		return why_set(c->why, -EINVAL, "a pattern that begins with `#` is a comment: write `[#]`");
	int err = fact_get(c->txn, KEY_SCRATCH, &rules);
	bytes_put_text(&rules, value);
	bytes_put_text(&rules, "\n");
	bytes_put(&rules, "", 1);
	if (bytes_error(&rules) == -EMSGSIZE)
		return why_set(c->why, -EINVAL, "there are too many scratch patterns; `scratch` alone takes all away");
	if (err == 0)
		err = bytes_error(&rules);
	if (err == 0)
		err = scratch_open(&tried, store_directory_fd(c->host->store), (const char *)rules.data, c->why);
	scratch_close(tried);
	return err < 0 ? err : fact_put(c, KEY_SCRATCH, (const char *)rules.data, rules.size - 1);
}

int config_write(struct control_call *c, const char *text, size_t size)
{
	char key[16] = { 0 };
	size_t key_size = strcspn(text, " \t");
	const char *value = text + key_size + strspn(text + key_size, " \t");

	if (key_size < sizeof(key))
		memcpy(key, text, key_size);
	if (strcmp(key, KEY_WINDOW) == 0)
		return config_number(c, KEY_WINDOW, value, 1, WINDOW_MS_MAX);
	if (strcmp(key, KEY_LIMIT) == 0)
		return config_number(c, KEY_LIMIT, value, 1, DOCUMENT_SIZE_MAX);
	if (strcmp(key, KEY_SCRATCH) == 0)
		return config_scratch(c, value);
	if (strcmp(key, KEY_LISTEN) == 0)
		return config_listen(c, value);
	return why_set(c->why, -EINVAL, "no setting is called `%.*s`; write %s", (int)key_size, text, c->node->row->takes);
}
