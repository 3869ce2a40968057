#include "sim_story.h"

#include <stdlib.h>
#include <string.h>

#include "depot_memory_private.h"

#define PEACE_US (30 * 60 * SECOND_US) /* heads are asked for again each 10 minutes, failed addresses within 5 */

struct storm { /* acts and faults go on until then */
	uint64_t until_us, act_us, break_us, longest_us;
};

static void act(struct sim *sim, void *context, uint64_t index)
{
	const struct storm *storm = context;

	if (sim->now_us >= storm->until_us)
		return;
	kit_act(&sim->nodes[index]);
	sim_at(sim, sim->now_us + sim_random_skewed(&sim->story, 1000, storm->act_us), act, context, index);
}

static void fault(struct sim *sim, void *context, uint64_t argument)
{
	const struct storm *storm = context;

	if (sim->now_us >= storm->until_us)
		return;
	kit_break(sim, storm->longest_us);
	sim_at(sim, sim->now_us + sim_random_below(&sim->story, storm->break_us), fault, context, 0);
}

static void rage(struct sim *sim, struct storm *storm)
{
	for (unsigned i = 0; i < sim->count; i++)
		sim_at(sim, sim->now_us + sim_random_below(&sim->story, storm->act_us), act, storm, i);
	sim_at(sim, sim->now_us + sim_random_below(&sim->story, storm->break_us), fault, storm, 0);
	sim_run(sim, storm->until_us);
	kit_calm(sim);
}

static void end(struct sim *sim, const struct story_options *options)
{
	uint64_t us = sim->failure[0] ? 0 : kit_converge(sim, PEACE_US);
	uint64_t most = 0, records = 0;

	for (unsigned i = 0; i < sim->count; i++) {
		most = sim->nodes[i].memory_most > most ? sim->nodes[i].memory_most : most;
		records += memory_records(sim->nodes[i].memory);
	}
	if (options->out)
		fprintf(options->out, "  peace after %llu s; %llu records held; at most %llu KiB in a core\n",
			(unsigned long long)(us / SECOND_US), (unsigned long long)records, (unsigned long long)(most / 1024));
}

/* ---- small: everything at once ---- */

static struct sim_weather any_weather(struct sim_random *r)
{
	struct sim_weather weather = {
		.latency_least_ms = (uint32_t)sim_random_below(r, 30),
		.lost = sim_random_chance(r, 500000) ? (uint32_t)sim_random_skewed(r, 100, 100000) : 0,
		.reset = sim_random_chance(r, 500000) ? (uint32_t)sim_random_skewed(r, 10, 5000) : 0,
		.split = 200000,
		.doubled = 50000,
		.one_way = sim_random_chance(r, 500000) ? 300000 : 0,
		.rate_least = sim_random_skewed(r, 16 * 1024, 1024 * 1024),
		.rate_greatest = 12 * 1024 * 1024,
	};
	weather.latency_greatest_ms = weather.latency_least_ms + (uint32_t)sim_random_skewed(r, 1, 600);
	return weather;
}

static struct sim *begin_small(const struct story_options *options, unsigned count, bool rewinds)
{
	struct sim_random random;

	sim_random_init(&random, options->seed, 3);
	struct sim_options sim_options = { .seed = options->seed, .peers_aim = 8,
					   .weather = any_weather(&random) };
	struct sim *sim = sim_new(&sim_options, options->nodes ? options->nodes : count);
	sim->rewinds = rewinds;
	return sim;
}

/* A box that is always on and follows all, or everybody reaches everybody whom he follows. */
static void join_small(struct sim *sim)
{
	bool with_hub = sim_random_chance(&sim->story, 500000);

	sim->nodes[0].hub = with_hub;
	for (unsigned i = 0; i < sim->count; i++) {
		for (unsigned j = 0; j < sim->count; j++)
			if (i != j && (sim_random_chance(&sim->story, 500000) || (with_hub && i == 0)))
				kit_follow(&sim->nodes[i], &sim->nodes[j]);
		if (with_hub && i > 0) {
			sim->nodes[i].dialable = sim_random_chance(&sim->story, 500000);
			sim_meet(&sim->nodes[i], &sim->nodes[0]);
		}
	}
}

static struct sim *run_small(struct sim *sim, const struct story_options *options)
{
	struct storm storm = { .until_us = sim->now_us + (options->seconds ? options->seconds : 60) * SECOND_US,
			       .act_us = 4 * SECOND_US, .break_us = 8 * SECOND_US, .longest_us = 40 * SECOND_US };

	rage(sim, &storm);
	end(sim, options);
	return sim;
}

static struct sim *tell_small(const struct story_options *options)
{
	struct sim *sim = begin_small(options, 5, false);

	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	join_small(sim);
	for (unsigned i = 0; i < sim->count; i++)
		kit_begin(&sim->nodes[i], "somebody");
	return run_small(sim, options);
}

static struct sim *tell_backup(const struct story_options *options)
{
	struct sim *sim = begin_small(options, 5, true);

	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	join_small(sim);
	for (unsigned i = 0; i < sim->count; i++)
		kit_begin(&sim->nodes[i], "somebody");
	return run_small(sim, options);
}

/* ---- lies: the same, and some of them change what they say ---- */

static struct sim *tell_lies(const struct story_options *options)
{
	struct sim *sim = begin_small(options, 7, false);

	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	for (unsigned i = 0; i < sim->count; i++)
		for (unsigned j = 0; j < sim->count; j++)
			if (i != j)
				kit_follow(&sim->nodes[i], &sim->nodes[j]);
	for (unsigned i = 0; i < sim->count; i++) {
		sim->nodes[i].lies = i >= sim->count - 2;
		kit_begin(&sim->nodes[i], "somebody");
	}
	return run_small(sim, options);
}

/* ---- devices: one person with three, and two friends ---- */

static void admit(struct sim_node *first, const struct sim_node *other)
{
	struct record *record = must(record_new());

	record->field = FIELD_ADMIT;
	record->admit.device = other->key.public;
	record->admit.on = true;
	memory_append(first->memory, record, NULL);
	free(record);
}

static struct sim *tell_devices(const struct story_options *options)
{
	struct sim *sim = begin_small(options, 5, false);
	struct sim_node *nodes = sim->nodes;

	sim->devices = true;
	sim_add(sim, NULL);
	sim_add(sim, &nodes[0].key.public);
	sim_add(sim, &nodes[0].key.public);
	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	for (unsigned i = 0; i < 3; i++) {
		sim_meet(&nodes[i], &nodes[(i + 1) % 3]);
		sim_meet(&nodes[i], &nodes[(i + 2) % 3]);
	}
	for (unsigned i = 3; i < sim->count; i++)
		for (unsigned j = 0; j < 3; j++) {
			memory_follow(nodes[i].memory, &nodes[0].key.public, true);
			sim_meet(&nodes[i], &nodes[j]);
			sim_meet(&nodes[j], &nodes[i]);
		}
	for (unsigned i = 0; i < sim->count; i++)
		kit_begin(&nodes[i], "somebody");
	admit(&nodes[0], &nodes[1]);
	admit(&nodes[0], &nodes[2]);
	core_appended(nodes[0].core);
	sim_pump(&nodes[0]);
	return run_small(sim, options);
}

/* ---- hundred ---- */

static struct sim *tell_hundred(const struct story_options *options)
{
	struct sim_options sim_options = {
		.seed = options->seed, .fake_keys = !options->real_keys, .peers_aim = 8,
		.weather = { 5, 120, 5000, 100, 50000, 10000, 0, 256 * 1024, 8 * 1024 * 1024 },
	};
	struct sim *sim = sim_new(&sim_options, options->nodes ? options->nodes : 100);

	while (sim->count < sim->count_max)
		sim_add(sim, NULL);
	for (unsigned i = 0; i < sim->count; i++)
		for (unsigned j = 0; j < 10; j++) {
			unsigned other = (unsigned)sim_random_below(&sim->story, sim->count);
			if (other != i)
				kit_follow(&sim->nodes[i], &sim->nodes[other]);
		}
	for (unsigned i = 0; i < sim->count; i++)
		kit_begin(&sim->nodes[i], "somebody");
	struct storm storm = { .until_us = sim->now_us + (options->seconds ? options->seconds : 30) * SECOND_US,
			       .act_us = 20 * SECOND_US, .break_us = 2 * SECOND_US, .longest_us = 20 * SECOND_US };
	rage(sim, &storm);
	end(sim, options);
	return sim;
}

static const struct story stories[] = {
	{ "small", "5 nodes; everything that can go wrong does", tell_small },
	{ "backup", "the same, and disks come back as they were earlier", tell_backup },
	{ "lies", "7 nodes, two of which change what they say", tell_lies },
	{ "devices", "a person with three devices, and two friends", tell_devices },
	{ "hundred", "100 nodes that follow ten each; partitions and crashes", tell_hundred },
	{ "spread", "N nodes that follow one; how its saves get to them", story_spread },
	{ "history", "the authors of a real edit history, who follow one another", story_history },
};

const struct story *story_each(size_t index)
{
	return index < sizeof(stories) / sizeof(stories[0]) ? &stories[index] : NULL;
}

const struct story *story_find(const char *name)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		if (strcmp(stories[i].name, name) == 0)
			return &stories[i];
	return NULL;
}
