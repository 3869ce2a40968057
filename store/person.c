#include "person.h"

#include <errno.h>
#include <stdlib.h>

#include "document.h"
#include "members.h"
#include "row.h"
#include "tree.h"

#define SAID_BY_PERSON 0xffff /* in the place of a field: the rows found by person */
#define SAID_SIZE_MAX (8 + ID_SIZE + 1 + PROFILE_NAME_MAX + PROFILE_ABOUT_MAX)

enum { MEMBER_CLAIMS = 1, MEMBER_RETIRED = 2 };

/* ---- rows ---- */

static int member_put(struct store_txn *txn, uint64_t person, const struct member *member, uint64_t order)
{
	struct row key = row_of2(person, member->log), value = row_none();

	row_u64(&value, order);
	row_u64(&value, member->admitted_ms);
	row_u64(&value, member->seq_end);
	row_u64(&value, member->cut);
	row_u8(&value, (uint8_t)((member->claims ? MEMBER_CLAIMS : 0) | (member->retired ? MEMBER_RETIRED : 0)));
	return row_put(txn, TABLE_PERSON, &key, &value);
}

static int member_get(struct wire *w, struct member *out, uint64_t *out_order)
{
	*out_order = wire_u64(w);
	out->admitted_ms = wire_u64(w);
	out->seq_end = wire_u64(w);
	out->cut = wire_u64(w);
	uint8_t flags = wire_u8(w);
	out->claims = flags & MEMBER_CLAIMS;
	out->retired = flags & MEMBER_RETIRED;
	return wire_finish(w);
}

int person_begin(struct store_txn *txn, const struct log_row *log)
{
	struct member first = { .log = log->number, .claims = true, .seq_end = UINT64_MAX };

	return member_put(txn, log->person, &first, 0);
}

/* ---- who ---- */

int person_of(struct store_txn *txn, const struct id *device, struct id *out)
{
	struct log_row log;

	int err = log_get(txn, device, &log);
	if (err == -ENOENT) {
		*out = *device;
		return 0;
	}
	return err < 0 ? err : store_number_id(txn, NUMBER_ENTITY, log.person, out);
}

int person_self(struct store_txn *txn, struct id *out)
{
	const struct id *device = &store_key(store_of(txn))->public;
	struct log_row log;

	if (log_get(txn, device, &log) == 0 && log.claim)
		return store_number_id(txn, NUMBER_ENTITY, log.claim, out);
	return person_of(txn, device, out);
}

int person_self_counts(struct store_txn *txn)
{
	struct log_row log;

	int err = log_get(txn, &store_key(store_of(txn))->public, &log);
	if (err < 0)
		return err == -ENOENT ? 1 : err;
	return (!log.claim || log.claim == log.person) && log.seq_end == UINT64_MAX;
}

struct device_list {
	struct person_device *items;
	size_t count, count_max;
	uint64_t newest_ms;
};

/* Inserts in order of admission, dropping what does not fit. */
static void device_insert(struct device_list *list, const struct person_device *device)
{
	size_t at = list->count < list->count_max ? list->count : list->count_max;

	list->count++;
	while (at > 0 && list->items[at - 1].order > device->order) {
		if (at < list->count_max)
			list->items[at] = list->items[at - 1];
		at--;
	}
	if (at < list->count_max)
		list->items[at] = *device;
}

/* One row of a person: counted if the device is theirs. */
static int device_read(struct store_txn *txn, uint64_t person, const struct index_range *range,
		       struct device_list *list)
{
	struct member member;
	struct log_row log;
	struct wire key, value;
	uint64_t order;

	wire_init(&key, range->key + 8, range->key_size - 8);
	wire_init(&value, range->value, range->value_size);
	int err = member_get(&value, &member, &order);
	if (err == 0)
		err = log_get_number(txn, wire_u64_be(&key), &log);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	if (log.person != person)
		return 0;
	if (log.newest_ms > list->newest_ms)
		list->newest_ms = log.newest_ms;
	device_insert(list, &(struct person_device){
		.device = log.device, .log = log.number, .seq_end = member.seq_end,
		.retired = member.retired, .order = order, .admitted_ms = member.admitted_ms });
	return 0;
}

static int device_list(struct store_txn *txn, uint64_t person, struct device_list *list)
{
	struct row prefix = row_of(person);
	struct index_range range;

	int err = row_range(txn, TABLE_PERSON, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0)
		err = device_read(txn, person, &range, list);
	index_range_close(&range);
	return err;
}

int person_devices(struct store_txn *txn, const struct id *person, struct person_device *out, size_t count_max)
{
	struct device_list list = { .items = out, .count_max = count_max };
	uint64_t number;

	int err = store_number(txn, NUMBER_ENTITY, person, &number);
	if (err == 0)
		err = device_list(txn, number, &list);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return (int)list.count;
}

int person_newest_ms(struct store_txn *txn, const struct id *person, uint64_t *out)
{
	struct device_list list = { 0 };
	uint64_t number;

	int err = store_number(txn, NUMBER_ENTITY, person, &number);
	if (err == 0)
		err = device_list(txn, number, &list);
	if (err < 0 && err != -ENOENT)
		return err;
	*out = list.newest_ms;
	return 0;
}

/* ---- what they said ---- */

static struct row said_key(uint64_t field, const struct id *subject)
{
	struct row key = row_none();

	row_u16_be(&key, (uint16_t)field);
	row_id(&key, subject);
	return key;
}

static int said_get(struct store_txn *txn, const struct id *person, uint64_t field, const struct id *subject,
		    struct wire *out)
{
	struct row key = said_key(field, subject);
	uint64_t number;

	int err = store_number(txn, NUMBER_ENTITY, person, &number);
	if (err < 0)
		return err;
	row_u64_be(&key, number);
	err = row_get(txn, TABLE_SAID, &key, out);
	if (err == 0)
		wire_bytes(out, 8 + ID_SIZE);
	return err;
}

int person_said(struct store_txn *txn, const struct id *person, enum field field,
		const struct id *subject, uint64_t *out_value)
{
	struct wire w = { 0 };

	int err = said_get(txn, person, field, subject, &w);
	if (err < 0)
		return err;
	uint64_t value = wire_u64(&w);
	err = wire_finish(&w);
	if (err == 0)
		*out_value = value;
	return err;
}

int person_said_each(struct store_txn *txn, enum field field, const struct id *subject,
		     int (*visit)(void *context, const struct id *person, uint64_t value), void *context)
{
	struct row prefix = said_key(field, subject);
	struct index_range range;
	struct id person;

	int err = row_range(txn, TABLE_SAID, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct wire key, value;
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		wire_init(&value, range.value, range.value_size);
		wire_bytes(&value, 8 + ID_SIZE);
		uint64_t said = wire_u64(&value);
		err = wire_finish(&value);
		if (err == 0)
			err = store_number_id(txn, NUMBER_ENTITY, wire_u64_be(&key), &person);
		if (err == 0)
			err = visit(context, &person, said);
	}
	index_range_close(&range);
	return err;
}

int person_said_by(struct store_txn *txn, const struct id *person, enum field field,
		   int (*visit)(void *context, const struct id *subject, uint64_t value), void *context)
{
	struct row prefix = { .size = 0 };
	struct index_range range;
	uint64_t number, value;
	struct id subject;

	int err = store_number(txn, NUMBER_ENTITY, person, &number);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	row_u16_be(&prefix, SAID_BY_PERSON);
	row_u64_be(&prefix, number);
	row_u16_be(&prefix, (uint16_t)field);
	err = row_range(txn, TABLE_SAID, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct wire key;
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		wire_id(&key, &subject);
		err = wire_finish(&key);
		if (err == 0)
			err = person_said(txn, person, field, &subject, &value);
		if (err == 0)
			err = visit(context, &subject, value);
	}
	index_range_close(&range);
	return err;
}

int person_profile(struct store_txn *txn, const struct id *person, struct person_profile *out)
{
	static const struct id none;
	struct person_profile profile = { 0 };
	struct wire w = { 0 };

	int err = said_get(txn, person, FIELD_PROFILE, &none, &w);
	if (err < 0)
		return err;
	size_t size = wire_u8(&w);
	const uint8_t *name = wire_bytes(&w, size);
	size_t about_size = w.left;
	const uint8_t *about = wire_bytes(&w, about_size);
	if (wire_finish(&w) < 0 || size > PROFILE_NAME_MAX || about_size > PROFILE_ABOUT_MAX)
		return -EBADMSG;
	memcpy(profile.name, name, size);
	memcpy(profile.about, about, about_size);
	*out = profile;
	return 0;
}

/* What a record says of what; false: nothing that is kept here. */
static bool statement_of(const struct record *record, struct id *out_subject, uint64_t *out_value)
{
	memset(out_subject, 0, sizeof(*out_subject));
	*out_value = 0;
	switch (record->field) {
	case FIELD_SUBSCRIBE:
		*out_subject = record->subscribe.id;
		*out_value = record->subscribe.on;
		return true;
	case FIELD_TRUST:
		*out_subject = record->trust.entity;
		*out_value = record->trust.parts_per_million;
		return true;
	case FIELD_VOTE:
		*out_subject = record->vote.object;
		*out_value = record->vote.vote;
		return true;
	case FIELD_PROFILE:
		/* That of a device that joins names the person, and says nothing of them. */
		return record->profile.name.size > 0 || record->profile.about.size > 0 ||
		       id_is_zero(&record->profile.person);
	default:
		return false;
	}
}

/*
 * Of two statements of one millisecond: by (device, seq, id), so that of one device the
 * later one holds. 1 if `id` comes after the row.
 */
static int comes_after(struct store_txn *txn, const struct id *id, const struct record_row *row)
{
	struct record_row other;
	struct id mine, theirs;

	int err = log_find_record(txn, id, &other);
	if (err < 0)
		return err;
	if (other.log == row->log)
		return other.seq != row->seq ? other.seq > row->seq : id_compare(&other.id, &row->id) > 0;
	err = store_number_id(txn, NUMBER_DEVICE, row->log, &mine);
	if (err == 0)
		err = store_number_id(txn, NUMBER_DEVICE, other.log, &theirs);
	return err < 0 ? err : id_compare(&theirs, &mine) > 0;
}

/* 1 if what is there is newer. */
static int is_outdone(struct store_txn *txn, const struct row *key, const struct record_row *row)
{
	struct wire w;
	struct id id;

	int err = row_get(txn, TABLE_SAID, key, &w);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	uint64_t time_ms = wire_u64(&w);
	wire_id(&w, &id);
	return time_ms != row->time_ms ? time_ms > row->time_ms : comes_after(txn, &id, row);
}

static int said_apply(struct store_txn *txn, uint64_t person, const struct record_row *row,
		      const struct record *record)
{
	struct row back = row_none();
	struct bytes value;
	struct id subject;
	uint64_t said;

	if (!statement_of(record, &subject, &said))
		return 0;
	struct row key = said_key(record->field, &subject);
	row_u64_be(&key, person);
	int err = is_outdone(txn, &key, row);
	if (err != 0)
		return err < 0 ? err : 0;
	bytes_init(&value, SAID_SIZE_MAX);
	bytes_put_u64(&value, row->time_ms);
	bytes_put(&value, row->id.bytes, ID_SIZE);
	if (record->field == FIELD_PROFILE) {
		bytes_put_u8(&value, (uint8_t)record->profile.name.size);
		bytes_put(&value, record->profile.name.data, record->profile.name.size);
		bytes_put(&value, record->profile.about.data, record->profile.about.size);
	} else {
		bytes_put_u64(&value, said);
	}
	row_u16_be(&back, SAID_BY_PERSON);
	row_u64_be(&back, person);
	row_u16_be(&back, (uint16_t)record->field);
	row_id(&back, &subject);
	err = bytes_error(&value);
	if (err == 0)
		err = index_put(store_index(txn), TABLE_SAID, key.data, key.size, value.data, value.size);
	if (err == 0)
		err = row_put(txn, TABLE_SAID, &back, NULL);
	bytes_finish(&value);
	return err;
}

static int said_forget(struct store_txn *txn, uint64_t person)
{
	struct row prefix = row_none();
	struct index_range range;
	int found;

	row_u16_be(&prefix, SAID_BY_PERSON);
	row_u64_be(&prefix, person);
	do {
		struct row back = row_none(), key = row_none();
		found = row_range(txn, TABLE_SAID, &prefix, &range);
		if (found == 0 && (found = index_range_next(&range)) > 0) {
			row_bytes(&back, range.key, range.key_size);
			row_bytes(&key, range.key + prefix.size, range.key_size - prefix.size);
			row_u64_be(&key, person);
		}
		index_range_close(&range);
		if (found > 0) {
			int err = row_delete(txn, TABLE_SAID, &back);
			if (err == 0)
				err = row_delete(txn, TABLE_SAID, &key);
			if (err < 0)
				return err;
		}
	} while (found > 0);
	return found;
}

/* ---- applying ---- */

static int apply_counted(struct store_txn *txn, const struct log_row *log, const struct record_row *row,
			 const struct record *record)
{
	struct id person;

	int counts = log_counts(txn, log, row);
	if (counts < 0)
		return counts;
	int err = store_number_id(txn, NUMBER_ENTITY, log->person, &person);
	if (err < 0)
		return err;
	if (!counts)
		return tree_note(txn, &person, row, record);
	err = said_apply(txn, log->person, row, record);
	return err < 0 ? err : tree_apply(txn, &person, row, record);
}

struct rebuild {
	struct store_txn *txn;
	struct log_row log;
};

static int rebuild_record(void *context, const struct record_row *row)
{
	struct rebuild *r = context;
	struct record *record = store_txn_record(r->txn, 1);

	if (row->held)
		return 0;
	switch (row->field) {
	case FIELD_PROFILE: case FIELD_SUBSCRIBE: case FIELD_TRUST: case FIELD_VOTE:
	case FIELD_VERSION: case FIELD_ENTRIES:
		break;
	default:
		return 0;
	}
	int err = log_read_record(r->txn, row, record, NULL);
	if (err < 0)
		return err == -EBADMSG ? 0 : err; /* damaged: verify tells */
	return apply_counted(r->txn, &r->log, row, record);
}

/* The first device row of a person at or after a log. 1, 0 or an error. */
static int next_device(struct store_txn *txn, uint64_t person, uint64_t from, uint64_t *out)
{
	struct row key = row_of2(person, from);
	struct index_range range;
	struct wire w;

	int err = row_range_at(txn, TABLE_PERSON, 8, &key, false, &range);
	if (err == 0)
		err = index_range_next(&range);
	if (err > 0) {
		wire_init(&w, range.key + 8, range.key_size - 8);
		*out = wire_u64_be(&w);
	}
	index_range_close(&range);
	return err;
}

/* Makes all rows of a person again from the logs of their devices. */
static int rebuild_person(struct store_txn *txn, uint64_t person)
{
	uint64_t log = 0;
	struct id id;
	int found;

	int err = store_number_id(txn, NUMBER_ENTITY, person, &id);
	if (err == 0)
		err = tree_forget_person(txn, &id);
	if (err == 0)
		err = said_forget(txn, person);
	if (err < 0)
		return err;
	while ((found = next_device(txn, person, log, &log)) > 0) {
		struct rebuild r = { .txn = txn };
		err = log_get_number(txn, log, &r.log);
		if (err == 0 && r.log.person == person)
			err = log_each(txn, log, 0, rebuild_record, &r);
		if (err == 0 && r.log.person == person)
			err = log_settle_branch(txn, log);
		if (err < 0 && err != -ENOENT)
			return err;
		log++;
	}
	return found;
}

/* ---- devices come and go ---- */

#define CHANGED_STEP 16

struct numbers {
	uint64_t *items;
	size_t count;
};

static int numbers_add(struct numbers *n, uint64_t number)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->items[i] == number)
			return 0;
	if (n->count % CHANGED_STEP == 0) {
		uint64_t *grown = realloc(n->items, (n->count + CHANGED_STEP) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		n->items = grown;
	}
	n->items[n->count++] = number;
	return 0;
}

/* Whose device it is and where it is cut, from the rows of the person it claims. Adds whom that changes. */
static int reassign(struct store_txn *txn, uint64_t number, struct numbers *changed)
{
	struct member member = { .seq_end = UINT64_MAX };
	struct log_row log;
	struct wire w;
	uint64_t order, person;

	int err = log_get_number(txn, number, &log);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = store_number_make(txn, NUMBER_ENTITY, &log.device, &person);
	if (err == 0 && log.claim && log.claim != person) {
		struct row key = row_of2(log.claim, number);
		err = row_get(txn, TABLE_PERSON, &key, &w);
		if (err == 0) {
			person = log.claim;
			err = member_get(&w, &member, &order);
		}
		if (err == -ENOENT)
			err = 0;
	}
	bool cut_changed = log.seq_end != member.seq_end || log.cut != member.cut;
	if (err < 0 || (person == log.person && !cut_changed))
		return err;
	err = numbers_add(changed, log.person);
	if (err == 0)
		err = numbers_add(changed, person);
	log.person = person;
	log.seq_end = member.seq_end;
	log.cut = member.cut;
	if (err == 0)
		err = log_put(txn, &log);
	if (err == 0 && cut_changed)
		err = log_mark_cut(txn, number, member.cut);
	return err;
}

static int load_devices(struct store_txn *txn, uint64_t person, struct numbers *out)
{
	struct row prefix = row_of(person);
	struct index_range range;

	int err = row_range(txn, TABLE_PERSON, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct wire key;
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		err = numbers_add(out, wire_u64_be(&key));
	}
	index_range_close(&range);
	return err;
}

static int put_members(struct store_txn *txn, uint64_t person, const struct members *members,
		       struct numbers *devices)
{
	struct row prefix = row_of(person);

	int err = row_delete_prefix(txn, TABLE_PERSON, &prefix);
	for (size_t i = 0; err == 0 && i < members->count; i++) {
		err = member_put(txn, person, &members->items[i], i);
		if (err == 0)
			err = numbers_add(devices, members->items[i].log);
	}
	return err;
}

/* What a person's membership rests on has changed. */
static int members_changed(struct store_txn *txn, uint64_t person)
{
	struct members members = { 0 };
	struct numbers devices = { 0 }, changed = { 0 };

	int err = load_devices(txn, person, &devices);
	if (err == 0)
		err = members_find(txn, person, &members);
	if (err == 0)
		err = put_members(txn, person, &members, &devices);
	for (size_t i = 0; err == 0 && i < devices.count; i++)
		err = reassign(txn, devices.items[i], &changed);
	for (size_t i = 0; err == 0 && i < changed.count; i++)
		err = rebuild_person(txn, changed.items[i]);
	members_finish(&members);
	free(devices.items);
	free(changed.items);
	return err;
}

/* Statements of this device changed: they are of its own person, and of the one it claims. */
static int statements_changed(struct store_txn *txn, uint64_t number)
{
	struct log_row log;
	uint64_t own;

	int err = log_get_number(txn, number, &log);
	if (err == 0)
		err = store_number_make(txn, NUMBER_ENTITY, &log.device, &own);
	if (err == 0)
		err = members_changed(txn, own);
	if (err == 0 && log.claim && log.claim != own)
		err = members_changed(txn, log.claim);
	return err;
}

static int apply_profile(struct store_txn *txn, const struct record_row *row, const struct id *person)
{
	struct log_row log;
	uint64_t claim;

	if (id_is_zero(person))
		return 0;
	int err = log_get_number(txn, row->log, &log);
	if (err < 0)
		return err;
	if (log.claim && (log.claim_seq < row->seq ||
			  (log.claim_seq == row->seq && id_compare(&log.claim_id, &row->id) <= 0)))
		return 0;
	err = store_number_make(txn, NUMBER_ENTITY, person, &claim);
	if (err < 0)
		return err;
	uint64_t before = log.claim;
	log.claim = claim;
	log.claim_seq = row->seq;
	log.claim_id = row->id;
	err = log_put(txn, &log);
	if (err == 0 && before && before != claim)
		err = members_changed(txn, before);
	if (err == 0 && before != claim)
		err = members_changed(txn, claim);
	return err;
}

static int apply_admit(struct store_txn *txn, const struct record_row *row, const struct record *record)
{
	struct record_row last_row;
	uint64_t device, last = 0;

	int err = store_number_make(txn, NUMBER_DEVICE, &record->admit.device, &device);
	if (err == 0 && !id_is_zero(&record->admit.last)) {
		err = store_number_make(txn, NUMBER_RECORD, &record->admit.last, &last);
		if (err == 0)
			err = log_record_row(txn, last, &last_row);
		if (err == -ENOENT || (err == 0 && last_row.held))
			err = log_wait(txn, last, row->number);
	}
	if (err == 0)
		err = members_note(txn, row, device, record->admit.on, last);
	return err < 0 ? err : statements_changed(txn, row->log);
}

/* Statements that waited for this record. */
static int apply_waiting(struct store_txn *txn, const struct record_row *row)
{
	struct row prefix = row_of2(0, row->number);
	struct record_row statement;
	struct numbers waiting = { 0 };
	struct index_range range;

	int err = row_range(txn, TABLE_CHAIN, &prefix, &range);
	while (err == 0 && (err = index_range_next(&range)) > 0) {
		struct wire key;
		wire_init(&key, range.key + prefix.size, range.key_size - prefix.size);
		err = numbers_add(&waiting, wire_u64_be(&key));
	}
	index_range_close(&range);
	if (err == 0 && waiting.count > 0)
		err = row_delete_prefix(txn, TABLE_CHAIN, &prefix);
	for (size_t i = 0; err == 0 && i < waiting.count; i++) {
		err = log_record_row(txn, waiting.items[i], &statement);
		if (err == 0)
			err = statement.field == FIELD_BRANCH ? log_note_branch(txn, &statement, row->number)
							      : statements_changed(txn, statement.log);
	}
	free(waiting.items);
	return err;
}

/* What only this kind of record does. Not to be looked at after: rebuilding reads other records. */
static int apply_kind(struct store_txn *txn, const struct record_row *row, const struct record *record)
{
	uint64_t kept;

	switch (row->field) {
	case FIELD_PROFILE: {
		struct id person = record->profile.person;
		return apply_profile(txn, row, &person);
	}
	case FIELD_ADMIT:
		return apply_admit(txn, row, record);
	case FIELD_BRANCH: {
		int err = store_number_make(txn, NUMBER_RECORD, &record->branch.record, &kept);
		return err < 0 ? err : log_note_branch(txn, row, kept);
	}
	case FIELD_FOUND:
		return tree_apply_place(txn, &row->id);
	default:
		return 0;
	}
}

int person_apply(struct store_txn *txn, const struct record_row *row, const struct record *record)
{
	struct log_row log;
	int err = 0;

	if (row->field == FIELD_VERSION)
		err = document_apply(txn, row, record);
	if (err == 0)
		err = log_get_number(txn, row->log, &log);
	if (err == 0)
		err = apply_counted(txn, &log, row, record);
	if (err == 0)
		err = apply_kind(txn, row, record);
	return err < 0 || row->fresh ? err : apply_waiting(txn, row);
}
