/* command_devices.c - devices. */
#include <stdio.h>
#include <string.h>

#include "command.h"

static int print_table(struct target *t, const char *row, struct why *why)
{
	struct bytes text;

	int err = target_read(t, row, &text, why);
	if (err < 0)
		return err;
	fwrite(text.data, 1, text.size, stdout);
	bytes_finish(&text);
	return 0;
}

int command_devices(int argc, char **argv)
{
	static const struct { const char *name, *row, *before; } forms[] = {
		{ "admit", "devices", "" }, { "retire", "devices", "-" }, { "keep", "forks", "" },
	};
	const char *row = argc == 1 ? "devices" : argc == 2 && strcmp(argv[1], "forks") == 0 ? "forks" : NULL;
	char line[ID_TEXT_SIZE + 16];
	struct why why = { { 0 } };
	struct target target;

	for (size_t i = 0; argc == 3 && i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (strcmp(argv[1], forms[i].name) != 0)
			continue;
		row = forms[i].row;
		if (argv[2][0] == '-' ||
		    snprintf(line, sizeof(line), "%s%s\n", forms[i].before, argv[2]) >= (int)sizeof(line))
			return command_fail(forms[i].row[0] == 'f' ? "`%s` is not the id of a record: `moot devices forks` prints them" :
						    "`%s` is not the id of a device: `moot id` there prints it", argv[2]);
	}
	if (!row)
		return command_usage(argv[0]);
	int err = target_open_person(&target, "me", &why);
	if (err == 0)
		err = argc == 3 ? target_write(&target, row, line, &why) : print_table(&target, row, &why);
	target_close(&target);
	return err < 0 ? command_fail("%s", why.text[0] ? why.text : why_errno(err)) : 0;
}
