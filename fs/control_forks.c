/* What stands behind a person: forks, the sides of the logs of their devices that forked. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "fork.h"
#include "person.h"

#define DEVICES_SHOWN 64  /* of one person */
#define SIDES_SHOWN 32    /* of one log */
#define RECORDS_READ 64   /* of one side, for what they are about: the newest */
#define NAMES_SHOWN 6     /* of one side */

/* ---- every side ---- */

struct sides {
	struct person_device devices[DEVICES_SHOWN];
	struct fork_side items[SIDES_SHOWN];
};

typedef int (*side_visit)(void *context, const struct log_row *log, const struct fork_side *side, bool is_first);

static int each_side(struct control_call *c, side_visit visit, void *context)
{
	CLEANUP(cleanup_free) struct sides *sides = calloc(1, sizeof(*sides));
	struct log_row log;
	int stop = 0;

	if (!sides)
		return -ENOMEM;
	int count = person_devices(c->txn, &c->node->person, sides->devices, DEVICES_SHOWN);
	for (int i = 0; stop == 0 && i < count && i < DEVICES_SHOWN; i++) {
		stop = log_get_number(c->txn, sides->devices[i].log, &log);
		int side_count = stop == 0 ? fork_sides(c->txn, &log, sides->items, SIDES_SHOWN) : stop;
		if (side_count < 0)
			return side_count;
		for (int k = 0; stop == 0 && k < side_count; k++)
			stop = visit(context, &log, &sides->items[k], k == 0);
	}
	return count < 0 ? count : stop;
}

/* ---- reading ---- */

struct about { /* what records are about, each once */
	struct { struct id directory; char name[NAME_SIZE_MAX + 1]; } slots[NAMES_SHOWN];
	size_t slot_count;
	uint64_t fields[NAMES_SHOWN];
	size_t field_count;
	bool more;
};

static void note_slot(struct about *a, const struct entry *entry)
{
	char name[NAME_SIZE_MAX + 1] = "";

	memcpy(name, entry->name.data, entry->name.size < NAME_SIZE_MAX ? entry->name.size : NAME_SIZE_MAX);
	for (size_t i = 0; i < a->slot_count; i++)
		if (strcmp(a->slots[i].name, name) == 0 && id_equal(&a->slots[i].directory, &entry->directory))
			return;
	if (a->slot_count == NAMES_SHOWN) {
		a->more = true;
		return;
	}
	a->slots[a->slot_count].directory = entry->directory;
	memcpy(a->slots[a->slot_count++].name, name, sizeof(name));
}

static void note_field(struct about *a, uint64_t field)
{
	for (size_t i = 0; i < a->field_count; i++)
		if (a->fields[i] == field)
			return;
	if (a->field_count < NAMES_SHOWN)
		a->fields[a->field_count++] = field;
	else
		a->more = true;
}

static int gather_about(struct control_call *c, const struct fork_side *side, struct about *out)
{
	struct record *record = store_txn_record(c->txn, 0);
	struct record_row row = side->newest;
	const struct entry *entries;

	if (!record)
		return -ENOMEM;
	for (int read = 0; row.seq >= side->from_seq; read++) {
		out->more |= read == RECORDS_READ;
		if (out->more)
			return 0;
		int err = log_read_record(c->txn, &row, record, NULL);
		if (err < 0 && err != -EBADMSG) /* what is damaged tells nothing */
			return err;
		size_t count = err == 0 ? record_entries(record, &entries) : 0;
		for (size_t i = 0; i < count; i++)
			note_slot(out, &entries[i]);
		if (err == 0 && count == 0)
			note_field(out, row.field);
		if (!row.prev || (err = log_record_row(c->txn, row.prev, &row)) == -ENOENT)
			return 0;
		if (err < 0)
			return err;
	}
	return 0;
}

static int put_about(struct control_call *c, const struct about *a, struct bytes *out)
{
	const char *between = "\t";

	for (size_t i = 0; i < a->slot_count; i++, between = ", ") {
		CLEANUP(bytes_finish) struct bytes path;
		bytes_init(&path, 64 * 1024);
		int err = text_put_path(&path, c->txn, &c->node->person, &a->slots[i].directory, a->slots[i].name);
		bytes_put_u8(&path, 0);
		if (bytes_error(&path))
			return bytes_error(&path);
		bytes_put_text(out, between);
		/* In a folder that does not show: its name has to do. */
		text_put_visible(out, err == 0 ? (const char *)path.data : a->slots[i].name);
	}
	for (size_t i = 0; i < a->field_count; i++, between = ", ")
		bytes_put_format(out, "%s(%s)", between, record_field_name(a->fields[i]));
	bytes_put_text(out, a->more ? ", ...\n" : "\n");
	return bytes_error(out);
}

struct fork_list {
	struct control_call *c;
	struct bytes *out;
	bool any;
};

static int put_side(void *context, const struct log_row *log, const struct fork_side *side, bool is_first)
{
	struct fork_list *l = context;
	struct about about = { .more = false };

	if (text_is_full(l->out))
		return 1;
	l->any = true;
	text_put_short(l->out, &side->newest.id);
	bytes_put_format(l->out, "\t%s\t", !is_first ? "aside" : log->branch ? "kept" : "longest");
	text_put_short(l->out, &log->device);
	bytes_put_format(l->out, "\t%" PRIu64 "-%" PRIu64 "\t", side->from_seq, side->newest.seq);
	text_put_time(l->out, side->newest.time_ms);
	int err = gather_about(l->c, side, &about);
	return err < 0 ? err : put_about(l->c, &about, l->out);
}

int forks_read(struct control_call *c, struct bytes *out)
{
	struct fork_list l = { .c = c, .out = out };

	int err = each_side(c, put_side, &l);
	if (err < 0)
		return err;
	if (l.any)
		bytes_put_text(out, "# newest record of a side, state, device, numbers of its records, time of the newest, what they are about\n"
				    "# the device goes on from the side that is kept, else from the longest; all that was saved on the others\n"
				    "# is kept too, and shows in the folder and in `heads` till it is merged\n");
	else
		bytes_put_text(out, "# none: each number of each log was signed once\n");
	return 0;
}

/* A device of this person's own that awaits a word on its fork: a line of status. */
static int put_awaited(void *context, const struct log_row *log, const struct fork_side *side, bool is_first)
{
	struct bytes *out = context;

	if (!is_first || log->branch)
		return 0;
	bytes_put_text(out, "forked\t");
	text_put_short(out, &log->device);
	bytes_put_text(out, "\t`moot devices forks` shows its sides\n");
	return bytes_error(out);
}

int forks_put_status(struct control_call *c, struct bytes *out)
{
	struct control_node self;
	struct control_call call = *c;

	control_node_entity(&self, &c->self);
	call.node = &self;
	return each_side(&call, put_awaited, out);
}

/* ---- keeping one ---- */

struct fork_choice {
	struct id least, greatest; /* what was written */
	struct id found;
	size_t count;
};

static int match_side(void *context, const struct log_row *log, const struct fork_side *side, bool is_first)
{
	struct fork_choice *choice = context;

	if (id_compare(&side->newest.id, &choice->least) >= 0 && id_compare(&side->newest.id, &choice->greatest) <= 0) {
		choice->found = side->newest.id;
		choice->count++;
	}
	return 0;
}

/* The newest record of a side, or any other: the whole id or a prefix of it. */
static int find_choice(struct control_call *c, const char *text, struct id *out)
{
	struct fork_choice choice = { .count = 0 };

	if (id_parse(out, text) == 0)
		return 0;
	if (id_parse_prefix(&choice.least, &choice.greatest, text) < 0)
		return why_set(c->why, -EINVAL, "`%s` is not the id of a record; write %s", text, c->node->row->takes);
	int err = each_side(c, match_side, &choice);
	int count = choice.count > 0 ? (int)choice.count :
		    store_number_between(c->txn, NUMBER_RECORD, &choice.least, &choice.greatest, &choice.found, 1);
	if (err < 0 || count < 0)
		return err < 0 ? err : count;
	if (count != 1)
		return why_set(c->why, -EINVAL, count ? "several records begin with `%s`: write more of the id" :
							"no record that is here begins with `%s`", text);
	*out = choice.found;
	return 0;
}

int forks_write(struct control_call *c, const char *text, size_t size)
{
	struct store_txn *txn;
	struct id kept;

	int err = find_choice(c, text, &kept);
	if (err < 0)
		return err;
	control_release(c);
	err = store_begin(c->host->store, true, &txn);
	if (err < 0)
		return err;
	err = fork_keep(txn, &kept, c->why);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	if (err == STORE_HELD)
		return why_set(c->why, -EAGAIN, "peers are being asked for what this device signed before: again in some seconds");
	return err == 1 ? 0 : err == -ENOENT ? -EINVAL : err;
}
