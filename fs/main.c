#include <signal.h>

#include "command.h"

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	return command_run(argc, argv);
}
