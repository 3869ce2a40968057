/*
 * document_find.c - versions as people write them: names, numbers, times, ids.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "document_rows.h"
#include "person.h"
#include "utf8.h"

#define NUMBER_DIGITS_MAX 6
#define YEAR_DIGITS 4
#define STAMP_SIZE 16           /* 20261122T073104Z */
#define STAMP_MAX_S 253402300799 /* the end of the year 9999: later times are shown as this */
#define MATCHES_MAX 256         /* records that share a prefix of 4 characters */

/* ---- times ---- */

/* Two digits after `before`, within bounds; moves *text on. false: not so, untouched. */
static bool read_two(const char **text, char before, int least, int greatest, int *out)
{
	const char *at = *text;

	if (at[0] != before || !isdigit((unsigned char)at[1]) || !isdigit((unsigned char)at[2]))
		return false;
	int value = (at[1] - '0') * 10 + at[2] - '0';
	if (value < least || value > greatest)
		return false;
	*out = value;
	*text = at + 3;
	return true;
}

/* Reads year to second as far as given; *out_parts of them (1: the year alone). */
static int read_parts(const char *text, int parts[6], int *out_count)
{
	static const struct {
		char before;
		int least, greatest;
	} rules[] = { { '-', 1, 12 }, { '-', 1, 31 }, { 'T', 0, 23 }, { ':', 0, 59 }, { ':', 0, 59 } };
	int count = 1;

	for (int i = 0; i < YEAR_DIGITS; i++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		parts[0] = parts[0] * 10 + *text++ - '0';
	}
	for (; count < 6 && read_two(&text, rules[count - 1].before, rules[count - 1].least,
				     rules[count - 1].greatest, &parts[count]); count++)
		continue;
	if (*text == 'Z' && count > 3)
		text++;
	*out_count = count;
	return *text ? -EINVAL : 0;
}

int document_parse_time(const char *text, uint64_t *out_end_ms)
{
	int parts[6] = { 0, 1, 1, 0, 0, 0 }, count;

	int err = read_parts(text, parts, &count);
	if (err < 0 || parts[0] < 1970)
		return -EINVAL;
	struct tm start = { .tm_year = parts[0] - 1900, .tm_mon = parts[1] - 1, .tm_mday = parts[2] }, day = start;
	/* The 31st of April is no day. */
	if (timegm(&day) < 0 || day.tm_mday != parts[2])
		return -EINVAL;
	start.tm_hour = parts[3];
	start.tm_min = parts[4];
	start.tm_sec = parts[5];
	int *const units[] = { &start.tm_year, &start.tm_mon, &start.tm_mday, &start.tm_hour, &start.tm_min,
			       &start.tm_sec };
	(*units[count - 1])++;
	*out_end_ms = (uint64_t)timegm(&start) * 1000;
	return 0;
}

/* ---- names ---- */

const char *document_suffix(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name && dot[1] ? dot : name + strlen(name);
}

static void format_stamp(char out[STAMP_SIZE + 1], uint64_t time_ms)
{
	uint64_t seconds = time_ms / 1000;
	time_t time = (time_t)(seconds < STAMP_MAX_S ? seconds : STAMP_MAX_S);
	struct tm parts;

	gmtime_r(&time, &parts);
	strftime(out, STAMP_SIZE + 1, "%Y%m%dT%H%M%SZ", &parts);
}

/* May it stand inside a file name as it is? */
static bool is_plain_name(const char *name, size_t size)
{
	if (size == 0 || size > PROFILE_NAME_MAX || name[0] == '.' || !utf8_valid_name(name, size))
		return false;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == '\x7f' || name[i] == '@')
			return false;
	return true;
}

/* What the person is called here: the petname, else the nickname they chose, else a short id. */
static int author_name(struct store_txn *txn, uint64_t log, char out[PROFILE_NAME_MAX + 1])
{
	struct person_profile profile;
	struct log_row row;
	struct id person;
	const uint8_t *name;
	size_t size;

	int err = log_get_number(txn, log, &row);
	if (err == 0)
		err = store_number_id(txn, NUMBER_ENTITY, row.person, &person);
	if (err < 0)
		return err;
	if (store_local_get(txn, LOCAL_NAME, person.bytes, ID_SIZE, &name, &size) == 0 &&
	    is_plain_name((const char *)name, size)) {
		memcpy(out, name, size);
		out[size] = '\0';
		return 0;
	}
	err = person_profile(txn, &person, &profile);
	if (err < 0 && err != -ENOENT)
		return err;
	if (err == 0 && is_plain_name(profile.name, strlen(profile.name)))
		memcpy(out, profile.name, strlen(profile.name) + 1);
	else
		id_format_short(out, &person);
	return 0;
}

int document_version_name(struct store_txn *txn, const struct version_row *row, const char *document_name,
			  const char *suffix, char out[VERSION_NAME_MAX + 1])
{
	char stamp[STAMP_SIZE + 1], author[PROFILE_NAME_MAX + 1], id[ID_SHORT_SIZE + 1];

	int err = author_name(txn, row->log, author);
	if (err < 0)
		return err;
	format_stamp(stamp, row->time_ms);
	id_format_short(id, &row->id);
	int size = snprintf(out, VERSION_NAME_MAX + 1, "%s-%s-%s%s", stamp, author, id,
			    suffix ? suffix : document_suffix(document_name));
	return size < 0 || size > VERSION_NAME_MAX ? -ENAMETOOLONG : 0;
}

/* ---- finding ---- */

/* The n-th of the list, from the end if n is negative. */
static int find_number(struct store_txn *txn, const struct list_at *at, long number, struct version_row *out)
{
	struct version_list list;
	struct version_row row;
	int found = 1;

	int err = number < 0 ? version_list_open_backwards(&list, txn, at, UINT64_MAX)
			     : version_list_open(&list, txn, at, 0);
	for (long left = labs(number); err == 0 && left > 0 && found > 0; left--)
		found = version_list_next(&list, &row);
	version_list_close(&list);
	if (err < 0 || found < 0)
		return err < 0 ? err : found;
	if (!found || number == 0)
		return -ENOENT;
	*out = row;
	return 0;
}

static int find_time(struct store_txn *txn, const struct list_at *at, uint64_t end_ms, struct version_row *out)
{
	struct version_list list;
	int found = 0;

	int err = version_list_open_backwards(&list, txn, at, end_ms);
	if (err == 0)
		found = version_list_next(&list, out);
	version_list_close(&list);
	return err < 0 ? err : found < 0 ? found : found ? 0 : -ENOENT;
}

/* The one version of the list whose id is between; with a stamp, of that time. */
static int find_id(struct store_txn *txn, const struct list_at *at, const struct id bounds[2], const char *stamp,
		   struct version_row *out)
{
	struct id matches[MATCHES_MAX];
	struct version_list list;
	struct version_row row;
	int count = 0, result = -ENOENT;

	int err = version_list_open(&list, txn, at, 0);
	if (err == 0)
		count = store_number_between(txn, NUMBER_RECORD, &bounds[0], &bounds[1], matches, MATCHES_MAX);
	if (err == 0)
		err = count < 0 ? count : count > MATCHES_MAX ? -ENOTUNIQ : 0;
	for (int i = 0; err == 0 && i < count; i++) {
		char text[STAMP_SIZE + 1];
		int found = document_version_row(txn, &matches[i], &row);
		if (found < 0) {
			err = found == -ENOENT ? 0 : found;
			continue;
		}
		format_stamp(text, row.time_ms);
		if (version_list_contains(&list, &row) <= 0 || (stamp && memcmp(stamp, text, STAMP_SIZE) != 0))
			continue;
		if (result == 0)
			err = -ENOTUNIQ;
		*out = row;
		result = 0;
	}
	version_list_close(&list);
	return err < 0 ? err : result;
}

/* `20261122T073104Z-alice-k5xq3m7a.md`: where the short id is; NULL: not such a name. */
static const char *id_of_name(const char *spelling, const char *suffix)
{
	size_t size = strlen(spelling), rest = 0;
	const char *const suffixes[] = { suffix, ".diff" };

	for (size_t i = 0; i < 2 && rest == 0; i++) {
		size_t length = strlen(suffixes[i]);
		if (length && size > length && strcmp(spelling + size - length, suffixes[i]) == 0)
			rest = length;
	}
	size -= rest;
	if (size < STAMP_SIZE + 1 + ID_SHORT_SIZE + 1 || spelling[STAMP_SIZE] != '-' || spelling[8] != 'T' ||
	    spelling[STAMP_SIZE - 1] != 'Z' || spelling[size - ID_SHORT_SIZE - 1] != '-')
		return NULL;
	return spelling + size - ID_SHORT_SIZE;
}

static int find_name(struct store_txn *txn, const struct list_at *at, const char *spelling, const char *short_id,
		     struct version_row *out)
{
	char text[ID_SHORT_SIZE + 1] = "";
	struct id bounds[2];

	memcpy(text, short_id, ID_SHORT_SIZE);
	if (id_parse_prefix(&bounds[0], &bounds[1], text) < 0)
		return -EINVAL;
	return find_id(txn, at, bounds, spelling, out);
}

static bool is_number(const char *text)
{
	size_t digits = strspn(text + (text[0] == '-'), "0123456789");

	return digits >= 1 && digits <= NUMBER_DIGITS_MAX && text[digits + (text[0] == '-')] == '\0';
}

int document_find(struct store_txn *txn, const struct id *person, const struct id *directory,
		  const char *name, const char *spelling, struct version_row *out)
{
	const struct list_at at = { person, directory, name };
	struct id bounds[2];
	struct version_row row;
	uint64_t end_ms;
	int err = -EINVAL;

	const char *short_id = id_of_name(spelling, document_suffix(name));
	if (short_id) {
		err = find_name(txn, &at, spelling, short_id, &row);
	} else if (is_number(spelling)) {
		err = find_number(txn, &at, strtol(spelling, NULL, 10), &row);
		if (err == -ENOENT && document_parse_time(spelling, &end_ms) == 0)
			err = find_time(txn, &at, end_ms, &row);
	} else if (document_parse_time(spelling, &end_ms) == 0) {
		err = find_time(txn, &at, end_ms, &row);
	} else if (id_parse_prefix(&bounds[0], &bounds[1], spelling) == 0) {
		err = find_id(txn, &at, bounds, NULL, &row);
	}
	if (err == 0)
		*out = row;
	return err;
}
