#include <stdlib.h>

#include "depot_memory_private.h"
#include "sim_story.h"

#define CONTACTS 4       /* whom each knows at the start; as many know it */
#define SAVES 12         /* the first ones find out who tells whom, the last ones use it */
#define MEET_US (90 * SECOND_US)
#define SAVE_US (5 * SECOND_US)
#define WAIT_US (10 * 60 * SECOND_US)

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t packets_of(const struct sim *sim, enum packet_kind kind)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < sim->count; i++)
		count += sim->nodes[i].sent[kind];
	return count;
}

struct spread_count {
	uint64_t pushes, notes, others, bytes;
};

static struct spread_count count_now(const struct sim *sim)
{
	struct spread_count c = { packets_of(sim, PACKET_PUSH), packets_of(sim, PACKET_NOTE), 0, sim->bytes };

	for (enum packet_kind kind = PACKET_GRAFT; kind <= PACKET_PRUNE; kind++)
		c.others += packets_of(sim, kind);
	c.others += packets_of(sim, PACKET_QUERY) + packets_of(sim, PACKET_PAGE);
	return c;
}

static unsigned long long of_hundred(const struct sim *sim, uint64_t count)
{
	return count * 100 / sim->count;
}

static void tell_save(const struct sim *sim, const struct story_options *options, unsigned number,
		      const struct spread_count *before)
{
	struct spread_count now = count_now(sim);
	uint64_t *times = must(malloc(sim->count * sizeof(times[0]))), *hops = must(malloc(sim->count * sizeof(hops[0])));
	size_t count = 0, ninety_nine;

	for (unsigned i = 0; i < sim->count; i++)
		if (sim->nodes[i].hop) {
			times[count] = sim->nodes[i].reached_us - sim->tracked_us;
			hops[count++] = sim->nodes[i].hop - 1;
		}
	qsort(times, count, sizeof(times[0]), compare_u64);
	qsort(hops, count, sizeof(hops[0]), compare_u64);
	ninety_nine = (sim->count * 99 + 99) / 100 - 1;
	if (options->out && count > ninety_nine)
		fprintf(options->out,
			"  save %2u: 99%% after %llu ms (half %llu), hops median %llu, 99%% %llu; of 100 nodes: %llu pushes, "
			"%llu notes, %llu of graft, prune, query and page; %llu bytes a node\n",
			number, (unsigned long long)(times[ninety_nine] / 1000), (unsigned long long)(times[count / 2] / 1000),
			(unsigned long long)hops[count / 2], (unsigned long long)hops[ninety_nine],
			of_hundred(sim, now.pushes - before->pushes), of_hundred(sim, now.notes - before->notes),
			of_hundred(sim, now.others - before->others), of_hundred(sim, now.bytes - before->bytes) / 100);
	free(times);
	free(hops);
}

static void save_once(struct sim *sim, const struct story_options *options, unsigned number)
{
	struct spread_count before = count_now(sim);
	struct id version;

	kit_save(&sim->nodes[0], 2000, &version);
	sim_track(&sim->nodes[0], &version);
	sim_pump(&sim->nodes[0]);
	uint64_t until_us = sim->now_us + WAIT_US;
	uint64_t aim = ((uint64_t)sim->count * 99 + 99) / 100 - 1;
	while (sim->tracked_count < aim && sim->now_us < until_us && sim_run(sim, sim->now_us + SECOND_US / 4))
		;
	if (sim->tracked_count < aim)
		sim_fail(sim, NULL, "save %u reached %u of %u", number, sim->tracked_count, sim->count - 1);
	sim_run(sim, sim->now_us + SAVE_US);
	tell_save(sim, options, number, &before);
}

struct sim *story_spread(const struct story_options *options)
{
	struct sim_options sim_options = {
		.seed = options->seed, .fake_keys = !options->real_keys, .peers_aim = CONTACTS,
		.weather = { 5, 120, 1000, 0, 0, 0, 0, 512 * 1024, 12 * 1024 * 1024 },
	};
	struct sim *sim = sim_new(&sim_options, options->nodes ? options->nodes : 1000);

	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	for (unsigned i = 0; i < sim->count; i++) {
		memory_follow(sim->nodes[i].memory, &sim->nodes[0].key.public, true);
		for (unsigned j = 0; j < CONTACTS && i > 0; j++)
			sim_meet(&sim->nodes[i], &sim->nodes[j == 0 ? sim_random_below(&sim->story, i)
								    : sim_random_below(&sim->story, sim->count)]);
	}
	for (unsigned i = 0; i < sim->count; i++)
		kit_begin(&sim->nodes[i], "somebody");
	sim_run(sim, sim->now_us + MEET_US);
	if (options->out)
		fprintf(options->out, "  %u nodes, %llu sessions of 100 nodes\n", sim->count, of_hundred(sim, sim->sessions));
	for (unsigned i = 1; i <= SAVES && !sim->failure[0]; i++)
		save_once(sim, options, i);
	return sim;
}
