#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

#define MATCHES_MAX 8 /* ids that begin alike */
#define ME "me"

bool names_is_plain(const char *name)
{
	size_t size = strlen(name);

	return size > 0 && size <= PROFILE_NAME_MAX && name[0] != '.' && utf8_valid_name(name, size) &&
	       !strpbrk(name, "@/\n\r\t") && strcmp(name, ME) != 0 && strcmp(name, "README.md") != 0;
}

static bool petname(struct store_txn *txn, const struct id *person, char out[PROFILE_NAME_MAX + 1])
{
	char text[PROFILE_NAME_MAX + 1] = { 0 };
	const uint8_t *value;
	size_t size;

	if (store_local_get(txn, LOCAL_NAME, person, sizeof(*person), &value, &size) < 0 || size > PROFILE_NAME_MAX)
		return false;
	memcpy(text, value, size);
	if (!names_is_plain(text))
		return false;
	strcpy(out, text);
	return true;
}

static bool nickname(struct store_txn *txn, const struct id *person, char out[PROFILE_NAME_MAX + 1])
{
	struct person_profile profile;

	if (person_profile(txn, person, &profile) < 0 || !names_is_plain(profile.name))
		return false;
	strcpy(out, profile.name);
	return true;
}

static bool is_self(struct store_txn *txn, const struct id *person)
{
	struct id self;

	return person_self(txn, &self) == 0 && id_equal(&self, person);
}

void names_of(struct store_txn *txn, const struct id *person, char out[PROFILE_NAME_MAX + 1])
{
	if (!(is_self(txn, person) ? nickname(txn, person, out) : petname(txn, person, out)))
		id_format_short(out, person);
}

static int find_petname(struct store_txn *txn, const char *name, struct id *out)
{
	struct index_range range;
	const uint8_t *key, *value;
	size_t key_size, value_size;

	int err = store_local_range(txn, LOCAL_NAME, "", 0, &range);
	if (err < 0)
		return err;
	err = -ENOENT;
	while (err == -ENOENT && index_range_next(&range) == 1) {
		store_local_row(&range, &key, &key_size, &value, &value_size);
		if (key_size == sizeof(*out) && value_size == strlen(name) && memcmp(value, name, value_size) == 0) {
			memcpy(out, key, sizeof(*out));
			err = 0;
		}
	}
	index_range_close(&range);
	return err;
}

/* ---- finding ---- */

static bool has_log(struct store_txn *txn, const struct id *device)
{
	struct log_row row;
	struct id person;

	return log_get(txn, device, &row) == 0 && row.records > 0 && person_of(txn, device, &person) == 0 &&
	       id_equal(&person, device);
}

static bool is_followed(struct store_txn *txn, const struct id *person)
{
	uint64_t on = 0;
	struct id self;

	return person_self(txn, &self) == 0 && person_said(txn, &self, FIELD_SUBSCRIBE, person, &on) == 0 && on;
}

/* Persons are named by their first device. */
static int find_prefix(struct store_txn *txn, const char *name, struct id *out)
{
	static const enum number_kind kinds[] = { NUMBER_DEVICE, NUMBER_ENTITY };
	struct id least, greatest, ids[MATCHES_MAX], found = { 0 };
	bool any = false;

	if (id_parse_prefix(&least, &greatest, name) < 0)
		return -ENOENT;
	for (size_t kind = 0; kind < 2; kind++) {
		int count = store_number_between(txn, kinds[kind], &least, &greatest, ids, MATCHES_MAX);
		if (count < 0)
			return count;
		if (count > MATCHES_MAX)
			return -ENOENT;
		for (int i = 0; i < count; i++) {
			if (!(kinds[kind] == NUMBER_DEVICE ? has_log(txn, &ids[i]) : is_followed(txn, &ids[i])))
				continue;
			if (any && !id_equal(&found, &ids[i]))
				return -ENOENT;
			found = ids[i];
			any = true;
		}
	}
	if (!any)
		return -ENOENT;
	*out = found;
	return 0;
}

int names_find(struct store_txn *txn, const char *name, struct id *out)
{
	char own[PROFILE_NAME_MAX + 1];
	struct id self;

	if (person_self(txn, &self) == 0) {
		names_of(txn, &self, own);
		if (strcmp(name, ME) == 0 || strcmp(name, own) == 0) {
			*out = self;
			return 0;
		}
	}
	int err = find_petname(txn, name, out);
	return err == -ENOENT ? find_prefix(txn, name, out) : err;
}

/* ---- followed ---- */

struct followed {
	struct store_txn *txn;
	int (*visit)(void *context, const struct id *person);
	void *context;
};

static int visit_subject(void *context, const struct id *subject, uint64_t value)
{
	const struct followed *f = context;
	uint64_t number;

	/* What is not known yet may be a person of whom nothing came. */
	return value && store_number(f->txn, NUMBER_DOCUMENT, subject, &number) == -ENOENT
		       ? f->visit(f->context, subject) : 0;
}

int names_each_followed(struct store_txn *txn, int (*visit)(void *context, const struct id *person), void *context)
{
	struct followed followed = { txn, visit, context };
	struct id self;

	int err = person_self(txn, &self);
	return err < 0 ? err : person_said_by(txn, &self, FIELD_SUBSCRIBE, visit_subject, &followed);
}

/* ---- pinning ---- */

/* It would stand in the way of that id's bearer. Of letters alone it is a name like caroline, unless somebody bears it. */
static bool looks_like_id(struct store_txn *txn, const char *name)
{
	struct id least, greatest, bearer;

	if (strlen(name) < ID_SHORT_SIZE || id_parse_prefix(&least, &greatest, name) < 0)
		return false;
	return strpbrk(name, "234567:") || find_prefix(txn, name, &bearer) == 0;
}

static bool is_taken(struct store_txn *txn, const char *name, const struct id *self)
{
	char own[PROFILE_NAME_MAX + 1];
	struct id other;

	if (looks_like_id(txn, name))
		return true;
	names_of(txn, self, own);
	return strcmp(own, name) == 0 || find_petname(txn, name, &other) == 0;
}

struct naming { /* what is to be called how */
	struct id person;
	char name[PROFILE_NAME_MAX + 1];
};

/* NAME.SHORTID. -ENOENT: that is too long for a name. */
static int name_apart(struct naming *naming, const char *name)
{
	char shorter[ID_SHORT_SIZE + 1];

	id_format_short(shorter, &naming->person);
	int size = snprintf(naming->name, sizeof(naming->name), "%s.%s", name, shorter);
	return size >= (int)sizeof(naming->name) ? -ENOENT : 0;
}

/* As those below: -ENOENT: there is nothing to do. */
static int choose_other(struct store_txn *txn, const struct id *self, const struct id *person, struct naming *out)
{
	char name[PROFILE_NAME_MAX + 1];

	out->person = *person;
	if (petname(txn, person, name) || !nickname(txn, person, name))
		return -ENOENT;
	if (is_taken(txn, name, self))
		return name_apart(out, name);
	strcpy(out->name, name);
	return 0;
}

/* What the own person is called may have come from another device after somebody here was called so. */
static int choose_own(struct store_txn *txn, const struct id *self, struct naming *out)
{
	char name[PROFILE_NAME_MAX + 1];

	if (!nickname(txn, self, name))
		return -ENOENT;
	int err = find_petname(txn, name, &out->person);
	return err == 0 ? name_apart(out, name) : err;
}

static int choose_name(struct store_txn *txn, const struct id *person, struct naming *out)
{
	struct id self;

	int err = person_self(txn, &self);
	if (err < 0)
		return err;
	return id_equal(&self, person) ? choose_own(txn, &self, out) : choose_other(txn, &self, person, out);
}

static int put_name(struct store_txn *txn, const struct id *person, const char *name)
{
	return store_local_put(txn, LOCAL_NAME, person, sizeof(*person), name, strlen(name));
}

static int pin_one(struct store *store, const struct id *person, struct id *out_renamed)
{
	struct naming naming = { 0 };
	struct store_txn *txn;

	int err = store_begin(store, false, &txn);
	if (err < 0)
		return err;
	err = choose_name(txn, person, &naming);
	store_abort(txn);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	/* Two may have been about to take the same one. */
	err = choose_name(txn, person, &naming);
	if (err == 0)
		err = put_name(txn, &naming.person, naming.name);
	if (err < 0) {
		store_abort(txn);
		return err == -ENOENT ? 0 : err;
	}
	err = store_commit(txn);
	if (err < 0 || id_equal(&naming.person, person))
		return err;
	*out_renamed = naming.person;
	return 1;
}

static int next_entity(struct store *store, uint64_t number, struct id *out)
{
	struct store_txn *txn;

	int err = store_begin(store, false, &txn);
	if (err == 0) {
		err = store_number_id(txn, NUMBER_ENTITY, number, out);
		store_abort(txn);
	}
	return err;
}

int names_pin(struct store *store, const struct id *person, struct id *out_renamed)
{
	struct id entity;
	int err = 0, renamed = 0;

	if (!id_is_zero(person))
		return pin_one(store, person, out_renamed);
	for (uint64_t number = 1; err >= 0; number++) {
		err = next_entity(store, number, &entity);
		if (err == 0)
			err = pin_one(store, &entity, out_renamed);
		renamed |= err > 0;
	}
	return err == -ENOENT ? renamed : err;
}

/* ---- petnames ---- */

static int check_name(const char *name, struct why *why)
{
	struct id id;

	if (strlen(name) > PROFILE_NAME_MAX)
		return why_set(why, -ENAMETOOLONG, "a name for a person has at most %d bytes", PROFILE_NAME_MAX);
	if (!names_is_plain(name))
		return why_set(why, -EINVAL, "a name for a person is UTF-8 without / @ and control characters, begins with no "
			       "dot, and is neither me nor README.md");
	if (id_parse(&id, name) == 0)
		return why_set(why, -EINVAL, "that is an id, and no name for anybody else");
	return 0;
}

int names_give(struct store *store, const struct id *person, const char *name, struct why *why)
{
	struct store_txn *txn;
	struct id other;

	int err = check_name(name, why);
	if (err == 0)
		err = store_begin(store, true, &txn);
	if (err < 0)
		return err;
	if (is_self(txn, person))
		err = why_set(why, -EPERM, "you are called as you said of yourself: that is for others to see");
	else if (names_find(txn, name, &other) == 0 && !id_equal(&other, person))
		err = why_set(why, -EEXIST, "somebody else is called %s here", name);
	else
		err = put_name(txn, person, name);
	if (err == 0)
		return store_commit(txn);
	store_abort(txn);
	return err;
}
