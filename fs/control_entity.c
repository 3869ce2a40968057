/* What stands behind a person: id, about, at/, devices, log. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cleanup.h"
#include "control_private.h"
#include "members.h"
#include "person.h"
#include "utf8.h"

/* ---- id, about ---- */

int entity_id_read(struct control_call *c, struct bytes *out)
{
	text_put_id(out, &c->node->person);
	bytes_put_text(out, "\n# shown as ");
	text_put_person(out, c->txn, &c->node->person);
	bytes_put_text(out, "\n");
	return 0;
}

int about_read(struct control_call *c, struct bytes *out)
{
	struct person_profile profile;

	int err = person_profile(c->txn, &c->node->person, &profile);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	bytes_put_text(out, profile.about);
	if (profile.about[0])
		bytes_put_text(out, "\n");
	return 0;
}

struct profile_statement {
	struct id person; /* zero: this device's own */
	struct person_profile profile;
};

static void fill_profile(struct record *record, const void *context)
{
	const struct profile_statement *statement = context;
	const struct person_profile *profile = &statement->profile;

	record->profile.person = statement->person;
	record->profile.name = (struct text){ profile->name, strlen(profile->name) };
	record->profile.about = (struct text){ profile->about, strlen(profile->about) };
}

int about_write(struct control_call *c, const char *text, size_t size)
{
	struct profile_statement statement = { 0 };

	while (size > 0 && text[size - 1] == '\n')
		size--;
	if (size > PROFILE_ABOUT_MAX)
		return why_set(c->why, -EINVAL, "that is longer than %d bytes", PROFILE_ABOUT_MAX);
	if (memchr(text, '\0', size) || !utf8_valid(text, size))
		return why_set(c->why, -EINVAL, "that is not text; write %s", c->node->row->takes);
	int err = person_profile(c->txn, &c->self, &statement.profile);
	if (err < 0 && err != -ENOENT)
		return err;
	if (strlen(statement.profile.about) == size && memcmp(statement.profile.about, text, size) == 0)
		return 0;
	memset(statement.profile.about, 0, sizeof(statement.profile.about));
	memcpy(statement.profile.about, text, size);
	if (!id_equal(&c->self, &store_key(c->host->store)->public))
		statement.person = c->self;
	return control_sign(c, FIELD_PROFILE, fill_profile, &statement);
}

/* ---- at/ ---- */

int at_lookup(struct control_call *c, const char *name, struct control_node *out)
{
	int err = document_parse_time(name, &out->time_ms);

	return err == -EINVAL ? -ENOENT : err;
}

/* ---- devices ---- */

static int find_members(struct control_call *c, struct members *out)
{
	uint64_t person;

	int err = store_number(c->txn, NUMBER_ENTITY, &c->node->person, &person);
	if (err == 0)
		err = members_find(c->txn, person, out);
	return err == -ENOENT ? 0 : err;
}

static int put_device(struct control_call *c, const struct member *member, struct bytes *out)
{
	struct log_row log;
	struct id device;

	int err = store_number_id(c->txn, NUMBER_DEVICE, member->log, &device);
	if (err < 0)
		return err;
	text_put_id(out, &device);
	bytes_put_format(out, "\t%s\t", member->retired ? "retired" : member->claims ? "admitted" : "awaited");
	if (id_is_zero(&member->admitted_id))
		bytes_put_text(out, "from the beginning");
	else
		text_put_time(out, member->admitted_ms);
	bool here = log_get(c->txn, &device, &log) == 0 && log.tip;
	if (here)
		bytes_put_format(out, "\t%" PRIu64, log.tip_seq);
	else
		bytes_put_text(out, "\t-");
	if (id_equal(&device, &store_key(c->host->store)->public))
		bytes_put_text(out, "\tthis one");
	bytes_put_text(out, here && log.forked && !log.branch ? "\tforked\n" : "\n");
	return 0;
}

int devices_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(members_finish) struct members members = { 0 };

	int err = find_members(c, &members);
	for (size_t i = 0; err == 0 && i < members.count && !text_is_full(out); i++)
		err = put_device(c, &members.items[i], out);
	if (err == 0)
		bytes_put_text(out, "# id, state, since, number of its newest record that is here (-: none)\n"
				    "# admitted: speaks for this person; awaited: once its own profile names them\n"
				    "# forked: its log has several sides; `forks` shows them, and takes the one that it goes on from\n");
	return err;
}

struct admit_statement {
	struct id device, last;
	bool on;
};

static void fill_admit(struct record *record, const void *context)
{
	const struct admit_statement *statement = context;

	record->admit.device = statement->device;
	record->admit.on = statement->on;
	record->admit.last = statement->last;
}

/* A whole id, or of what is known here a prefix. */
static int find_device(struct control_call *c, const char *text, struct id *out)
{
	struct id least, greatest;

	if (id_parse(out, text) == 0)
		return 0;
	if (id_parse_prefix(&least, &greatest, text) < 0)
		return why_set(c->why, -EINVAL, "`%s` is not the id of a device; write %s", text, c->node->row->takes);
	int count = store_number_between(c->txn, NUMBER_DEVICE, &least, &greatest, out, 1);
	if (count < 0)
		return count;
	if (count != 1)
		return why_set(c->why, -EINVAL, count ? "several devices begin with `%s`: write more of the id" :
							"no device that is known here begins with `%s`: write the whole id",
			       text);
	return 0;
}

/* Position among the members; -1: it is none. */
static int member_index(struct control_call *c, const struct members *members, const struct id *device)
{
	uint64_t number;

	if (store_number(c->txn, NUMBER_DEVICE, device, &number) < 0)
		return -1;
	for (size_t i = 0; i < members->count; i++)
		if (members->items[i].log == number)
			return (int)i;
	return -1;
}

static int may_admit(struct control_call *c, const struct members *members, const struct id *device)
{
	int at = member_index(c, members, device);

	if (at >= 0 && !members->items[at].retired)
		return why_set(c->why, -EINVAL, "it is a device of yours already");
	if (id_is_zero(device))
		return why_set(c->why, -EINVAL, "that is no device's id");
	return 0;
}

/* Only who was admitted before can retire. */
static int may_retire(struct control_call *c, const struct members *members, const struct id *device)
{
	int at = member_index(c, members, device);
	int self = member_index(c, members, &store_key(c->host->store)->public);

	if (at < 0)
		return why_set(c->why, -EINVAL, "it is not a device of yours");
	if (members->items[at].retired)
		return why_set(c->why, -EINVAL, "it is retired already");
	if (at == 0)
		return why_set(c->why, -EINVAL, "the first device is who you are: it cannot be retired");
	if (self < 0 || self >= at)
		return why_set(c->why, -EINVAL, "only a device that was admitted before it can retire it");
	return 0;
}

int devices_write(struct control_call *c, const char *text, size_t size)
{
	CLEANUP(members_finish) struct members members = { 0 };
	struct admit_statement statement = { .on = text[0] != '-' };
	struct log_row log;

	int err = find_device(c, statement.on ? text : text + 1, &statement.device);
	if (err == 0)
		err = find_members(c, &members);
	if (err == 0)
		err = statement.on ? may_admit(c, &members, &statement.device) :
				     may_retire(c, &members, &statement.device);
	if (err < 0)
		return err;
	/* What is known of it here is the last that counts. */
	if (!statement.on && log_get(c->txn, &statement.device, &log) == 0)
		statement.last = log.tip_id;
	err = control_sign(c, FIELD_ADMIT, fill_admit, &statement);
	if (err < 0)
		return err;
	/* What it made is theirs now, or not any more; and peers may have more of it. */
	desk_arrived(c->host->desk, &c->self, &c->self, "");
	if (c->host->network)
		network_follows_changed(c->host->network);
	return 0;
}

/* ---- log ---- */

struct log_list {
	struct control_call *c;
	struct bytes *out;
	char device[ID_SHORT_SIZE + 1];
	struct record *record;
};

static void put_text(struct bytes *out, struct text text)
{
	char copy[NAME_SIZE_MAX + 1];
	size_t size = text.size < NAME_SIZE_MAX ? text.size : NAME_SIZE_MAX;

	memcpy(copy, text.data, size);
	copy[size] = '\0';
	text_put_visible(out, copy);
}

static void put_entry(struct bytes *out, const struct record *r, const struct entry *entry)
{
	if (entry->what == WHAT_NOTHING)
		bytes_put_text(out, "-");
	put_text(out, entry->name);
	if (entry->what == WHAT_DIRECTORY)
		bytes_put_text(out, "/");
	if (entry->what != WHAT_NOTHING && r->field == FIELD_ENTRIES) {
		bytes_put_text(out, " = ");
		text_put_short(out, &entry->id);
	}
}

static void put_entries(struct bytes *out, const struct record *r)
{
	const struct entry *entries;
	size_t count = record_entries(r, &entries);

	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			bytes_put_text(out, ", ");
		put_entry(out, r, &entries[i]);
	}
}

static void put_on(struct bytes *out, bool on, const struct id *id)
{
	if (!on)
		bytes_put_text(out, "-");
	text_put_short(out, id);
}

/* What a record is about. */
static void put_about(struct bytes *out, const struct record *r)
{
	static const char *const votes[] = { "none", "keep", "delete" };

	switch (r->field) {
	case FIELD_PROFILE: put_text(out, r->profile.name); break;
	case FIELD_SUBSCRIBE: put_on(out, r->subscribe.on, &r->subscribe.id); break;
	case FIELD_TRUST:
		text_put_short(out, &r->trust.entity);
		bytes_put_format(out, " %" PRIu32 ".%06" PRIu32, r->trust.parts_per_million / 1000000,
				 r->trust.parts_per_million % 1000000);
		break;
	case FIELD_DENOUNCE: text_put_short(out, &r->denounce.accused); break;
	case FIELD_RANK: text_put_short(out, &r->rank.peer); break;
	case FIELD_ADMIT: put_on(out, r->admit.on, &r->admit.device); break;
	case FIELD_BRANCH: text_put_short(out, &r->branch.record); break;
	case FIELD_VERSION: case FIELD_ENTRIES: put_entries(out, r); break;
	case FIELD_VOTE:
		text_put_short(out, &r->vote.object);
		bytes_put_format(out, " %s", votes[r->vote.vote]);
		break;
	case FIELD_RANKING: put_text(out, r->ranking.name); break;
	case FIELD_FOUND: put_text(out, r->found.name); break;
	case FIELD_JOIN: put_on(out, r->join.on, &r->join.group); break;
	case FIELD_AUTHORIZE: put_on(out, r->authorize.on, &r->authorize.entity); break;
	case FIELD_ROSTER: text_put_short(out, &r->roster.group); break;
	case FIELD_TALLY: put_text(out, r->tally.name); break;
	default: bytes_put_text(out, "-"); break;
	}
}

static int put_record(void *context, const struct record_row *row)
{
	struct log_list *l = context;

	if (text_is_full(l->out))
		return 1;
	bytes_put_format(l->out, "%s\t%" PRIu64 "\t", l->device, row->seq);
	text_put_time(l->out, row->time_ms);
	bytes_put_format(l->out, "\t%s\t", record_field_name(row->field));
	text_put_short(l->out, &row->id);
	bytes_put_text(l->out, "\t");
	int err = log_read_record(l->c->txn, row, l->record, NULL);
	if (err == -ENOMEM)
		return err;
	if (err < 0)
		bytes_put_text(l->out, "damaged");
	else
		put_about(l->out, l->record);
	bytes_put_text(l->out, row->held ? "\theld back until its time\n" : "\n");
	return bytes_error(l->out);
}

int entity_log_read(struct control_call *c, struct bytes *out)
{
	CLEANUP(members_finish) struct members members = { 0 };
	struct log_list l = { .c = c, .out = out, .record = store_txn_record(c->txn, 0) };
	struct id device;
	int result = l.record ? find_members(c, &members) : -ENOMEM;

	for (size_t i = 0; result == 0 && i < members.count; i++) {
		if (!members.items[i].claims)
			continue;
		result = store_number_id(c->txn, NUMBER_DEVICE, members.items[i].log, &device);
		if (result < 0)
			break;
		id_format_short(l.device, &device);
		result = log_each(c->txn, members.items[i].log, 0, put_record, &l);
	}
	return result < 0 ? result : 0;
}
