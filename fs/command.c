#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct command command_table[] = {
	{ "init", "[--name NAME] [--person ID] [--passphrase]", "make an identity and a data folder", command_init },
	{ "mount", "[-f] [-o OPTION,...] DIR", "mount the commons; returns when it answers", command_mount },
	{ "umount", "DIR", "unmount; everything closed is signed or kept", command_umount },
	{ "serve", "[-l ADDR:PORT]", "the same node without a mount, until it is stopped", command_serve },
	{ "connect", "HOST:PORT[#ID]", "connect to a peer, and remember it", command_connect },
	{ "invite", "", "print the line by which another connects to you", command_invite },
	{ "peers", "", "who is connected or remembered, and what came from whom", command_peers },
	{ "follow", "WHO", "fetch and keep all that is theirs, from now on", command_follow },
	{ "unfollow", "WHO", "no more", command_follow },
	{ "devices", "[admit|retire ID | forks | keep ID]",
	  "your devices; let another one speak for you, or no more; which side of a forked log counts", command_devices },
	{ "watch", "[PATH]", "print what arrives, as it arrives, until it is interrupted", command_watch },
	{ "metrics", "", "print counters, in the text format of Prometheus", command_metrics },
	{ "id", "", "print who you are here", command_id },
	{ "status", "", "what is served, what waits to be signed, what is not published and why", command_status },
	{ "log", "PATH", "the versions of a document, a line each, oldest first", command_log },
	{ "show", "PATH [VERSION]", "print a version (by default the one in effect)", command_show },
	{ "diff", "PATH [VERSION [VERSION]]", "what a version changed, or what lies between two", command_diff },
	{ "restore", "PATH [VERSION]", "stand on an old version; of a removed document, the newest", command_restore },
	{ "import", "DIR [TO]", "save what is in a folder into yours", command_import },
	{ "export", "DIR [FROM]", "write your folder out as plain files", command_export },
	{ "verify", "", "check every hash, chain and signature", command_verify },
	{ "reindex", "", "build the index anew from the journal", command_reindex },
	{ "gc", "", "give back the room of what is not needed any more", command_gc },
	{ "help", "[COMMAND]", "this list, or one line of it", command_help },
	{ NULL, NULL, NULL, NULL },
};

static const struct command *find(const char *name)
{
	for (const struct command *c = command_table; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

int command_fail(const char *format, ...)
{
	va_list arguments;

	fputs("moot: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return 1;
}

int command_usage(const char *name)
{
	const struct command *c = find(name);

	fprintf(stderr, "usage: moot %s%s%s\n", name, c->arguments[0] ? " " : "", c->arguments);
	return 2;
}

static void print_row(FILE *out, const struct command *c)
{
	char left[64];

	snprintf(left, sizeof(left), "%s %s", c->name, c->arguments);
	fprintf(out, "  moot %-36s %s\n", left, c->help);
}

int command_help(int argc, char **argv)
{
	if (argc > 2)
		return command_usage(argv[0]);
	const struct command *c = argc == 2 ? find(argv[1]) : NULL;
	if (argc == 2 && !c)
		return command_fail("there is no command `%s`; `moot help` lists them", argv[1]);
	if (c) {
		print_row(stdout, c);
		return 0;
	}
	puts("moot " MOOT_VERSION ": a commons of Markdown documents that you mount as a folder");
	for (c = command_table; c->name; c++)
		print_row(stdout, c);
	puts("What is in the mount and is not scratch is public to every peer, old versions too.");
	return 0;
}

int command_run(int argc, char **argv)
{
	if (argc < 2) {
		fputs("usage: moot COMMAND ...; `moot help` lists them\n", stderr);
		return 2;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("moot " MOOT_VERSION);
		return 0;
	}
	const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help" : argv[1];
	const struct command *c = find(name);
	if (!c) {
		fprintf(stderr, "moot: there is no command `%s`; `moot help` lists them\n", argv[1]);
		return 2;
	}
	int status = c->run(argc - 1, argv + 1);
	if (fflush(stdout) != 0 && status == 0)
		status = command_fail("the output could not be written");
	return status;
}
