/* command_view.c - log, show, diff, restore. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "diff.h"

static int print_row(const char *path, const char *row)
{
	struct why why = { { 0 } };
	struct target target;
	struct bytes text;

	int err = target_open(&target, path, &why);
	if (err == 0) {
		err = target_read(&target, row, &text, &why);
		if (err == 0) {
			fwrite(text.data, 1, text.size, stdout);
			bytes_finish(&text);
		}
	}
	target_close(&target);
	return err < 0 ? command_fail("%s: %s", path, why.text) : 0;
}

int command_log(int argc, char **argv)
{
	return argc == 2 ? print_row(argv[1], "log") : command_usage(argv[0]);
}

/* "versions/NAME" with what a person wrote; a slash cannot be part of it. */
static int version_row(char out[NAME_SIZE_MAX * 2], const char *folder, const char *version)
{
	return strchr(version, '/') || snprintf(out, NAME_SIZE_MAX * 2, "%s/%s", folder, version) >= NAME_SIZE_MAX * 2
		       ? -EINVAL : 0;
}

/* The first line of a control file: the value. */
static int read_value(struct target *target, const char *row, char *out, size_t size, struct why *why)
{
	struct bytes text;

	int err = target_read(target, row, &text, why);
	if (err < 0)
		return err;
	bytes_put_u8(&text, 0);
	snprintf(out, size, "%.*s", (int)strcspn((const char *)text.data, "\n"), (const char *)text.data);
	bytes_finish(&text);
	return 0;
}

int command_show(int argc, char **argv)
{
	char row[NAME_SIZE_MAX * 2], head[NAME_SIZE_MAX + 1];
	struct why why = { { 0 } };
	struct target target;

	if (argc != 2 && argc != 3)
		return command_usage(argv[0]);
	if (argc == 3)
		return version_row(row, "versions", argv[2]) < 0 ? command_fail("`%s` names no version", argv[2])
								 : print_row(argv[1], row);
	int err = target_open(&target, argv[1], &why);
	if (err == 0)
		err = read_value(&target, "head", head, sizeof(head), &why);
	target_close(&target);
	if (err < 0)
		return command_fail("%s: %s", argv[1], why.text);
	if (version_row(row, "versions", head[0] ? head : "-1") < 0)
		return command_fail("%s: its head has no name", argv[1]);
	return print_row(argv[1], row);
}

static int read_version(struct target *target, const char *version, struct bytes *out, struct why *why)
{
	char row[NAME_SIZE_MAX * 2];

	if (version_row(row, "versions", version) < 0)
		return why_set(why, -EINVAL, "`%s` names no version", version);
	return target_read(target, row, out, why);
}

static int print_difference(struct target *target, const char *from, const char *to, struct why *why)
{
	struct bytes before, after, text;
	char head[NAME_SIZE_MAX + 1];

	int err = to ? 0 : read_value(target, "head", head, sizeof(head), why);
	if (err < 0)
		return err;
	if (!to)
		to = head[0] ? head : "-1";
	err = read_version(target, from, &before, why);
	if (err < 0)
		return err;
	err = read_version(target, to, &after, why);
	if (err < 0) {
		bytes_finish(&before);
		return err;
	}
	bytes_init(&text, 1u << 30);
	const struct diff_side sides[] = { { from, { before.data, before.size } }, { to, { after.data, after.size } } };
	err = diff_init();
	if (err == 0)
		err = diff_unified(&sides[0], &sides[1], &text);
	if (err == 0)
		fwrite(text.data, 1, text.size, stdout);
	else
		why_set(why, err, "no difference can be made: %s", why_errno(err));
	diff_finish();
	bytes_finish(&text);
	bytes_finish(&after);
	bytes_finish(&before);
	return err;
}

int command_diff(int argc, char **argv)
{
	struct why why = { { 0 } };
	struct target target;

	if (argc < 2 || argc > 4)
		return command_usage(argv[0]);
	if (argc == 2)
		return print_row(argv[1], "diffs/-1");
	int err = target_open(&target, argv[1], &why);
	if (err == 0)
		err = print_difference(&target, argv[2], argc == 4 ? argv[3] : NULL, &why);
	target_close(&target);
	return err < 0 ? command_fail("%s: %s", argv[1], why.text) : 0;
}

int command_restore(int argc, char **argv)
{
	char line[NAME_SIZE_MAX * 2];
	struct why why = { { 0 } };
	struct target target;

	if (argc != 2 && argc != 3)
		return command_usage(argv[0]);
	snprintf(line, sizeof(line), "%s\n", argc == 3 ? argv[2] : "-1");
	int err = target_open(&target, argv[1], &why);
	if (err == 0)
		err = target_write(&target, "head", line, &why);
	target_close(&target);
	return err < 0 ? command_fail("%s: %s", argv[1], why.text) : 0;
}
