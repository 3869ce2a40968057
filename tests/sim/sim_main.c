/*
 * sim_main.c - moot-sim: runs a story of sim_story.c, by default twice with each seed, and compares the digests of all
 * that happened.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim_story.h"

#define SKIPPED 77 /* what meson takes for a test that was skipped */

static const char usage[] =
	"moot-sim [--scenario NAME] [--seed S] [--seeds COUNT] [--nodes N] [--seconds T] [--real] [--once] [--progress]\n"
	"  --seeds    so many seeds, from S on\n"
	"  --seconds  of faults; --nodes: of the history, so many edits\n"
	"  --real     signatures are made and checked in large stories too\n"
	"  --once     each seed once, without comparing\n";

static uint64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void tell_closes(const struct sim *sim)
{
	printf("  closed:");
	for (int i = 0; i < 256; i++)
		if (sim->closes[i] > 0)
			printf(" %s %llu;", i ? strerror(i) : "goodbye", (unsigned long long)sim->closes[i]);
	printf("\n");
}

static void tell(const struct sim *sim, uint64_t seed, uint64_t cpu_ms)
{
	struct id digest;
	char text[ID_SHORT_SIZE + 1];

	sim_digest(sim, &digest);
	id_format_short(text, &digest);
	printf("seed %llu: %s, %llu events in %llu s of theirs and %llu ms of ours; %llu dials, %llu sessions, %llu segments "
	       "(%llu lost), %llu resets, %llu crashes, %llu checks; %llu packets, %llu a node\n",
	       (unsigned long long)seed, text, (unsigned long long)sim->events,
	       (unsigned long long)(sim->now_us / SECOND_US), (unsigned long long)cpu_ms, (unsigned long long)sim->dials,
	       (unsigned long long)sim->sessions, (unsigned long long)sim->segments, (unsigned long long)sim->lost,
	       (unsigned long long)sim->resets, (unsigned long long)sim->crashes, (unsigned long long)sim->checks,
	       (unsigned long long)sim->packets, (unsigned long long)(sim->packets / sim->count));
	if (sim->failure[0])
		printf("FAILED with seed %llu %s\n", (unsigned long long)seed, sim->failure);
}

/* 0, 1: it failed, SKIPPED. */
static int run_once(const struct story *story, struct story_options *options, bool verbose, struct id *out_digest)
{
	uint64_t begin_ms = milliseconds();

	options->out = verbose ? stdout : NULL;
	struct sim *sim = story->tell(options);
	if (!sim) {
		printf("skipped: $MOOT_SHARED/data/history.jsonl.gz is not here\n");
		return SKIPPED;
	}
	sim_digest(sim, out_digest);
	bool failed = sim->failure[0];
	if (verbose || failed) {
		tell(sim, options->seed, milliseconds() - begin_ms);
		kit_tell_packets(sim, stdout);
		tell_closes(sim);
	}
	fflush(stdout);
	sim_free(sim);
	return failed;
}

static int run_seed(const struct story *story, struct story_options *options, bool once)
{
	struct id first, second;
	int result = run_once(story, options, true, &first);

	if (result || once)
		return result;
	result = run_once(story, options, false, &second);
	if (result || id_equal(&first, &second))
		return result;
	printf("FAILED with seed %llu: two runs differ\n", (unsigned long long)options->seed);
	return 1;
}

static const struct option long_options[] = {
	{ "scenario", required_argument, NULL, 'c' }, { "seed", required_argument, NULL, 's' },
	{ "seeds", required_argument, NULL, 'S' },    { "nodes", required_argument, NULL, 'n' },
	{ "seconds", required_argument, NULL, 't' },  { "real", no_argument, NULL, 'r' },
	{ "once", no_argument, NULL, 'o' },           { "progress", no_argument, NULL, 'p' },
	{ NULL, 0, NULL, 0 },
};

static void show_usage(void)
{
	const struct story *story;

	fputs(usage, stderr);
	for (size_t i = 0; (story = story_each(i)); i++)
		fprintf(stderr, "  %-8s   %s\n", story->name, story->about);
}

int main(int argc, char **argv)
{
	struct story_options options = { .seed = 1 };
	const struct story *story = story_find("small");
	unsigned long seeds = 1;
	bool once = false;
	int c, result = 0, failures = 0;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		unsigned long number = optarg ? strtoul(optarg, NULL, 10) : 0;
		if (c == 'c')
			story = story_find(optarg);
		else if (c == 's')
			options.seed = number;
		else if (c == 'S')
			seeds = number;
		else if (c == 'n')
			options.nodes = (unsigned)number;
		else if (c == 't')
			options.seconds = (unsigned)number;
		else if (c == 'r')
			options.real_keys = true;
		else if (c == 'o')
			once = true;
		else if (c == 'p')
			options.progress = stderr;
		else
			story = NULL;
	}
	if (!story || sodium_init() < 0) {
		show_usage();
		return 2;
	}
	for (unsigned long i = 0; i < seeds && result != SKIPPED; i++, options.seed++) {
		result = run_seed(story, &options, once);
		failures += result != 0;
	}
	return result == SKIPPED ? SKIPPED : failures > 0;
}
