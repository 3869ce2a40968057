#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "depot_memory_private.h"
#include "sim_story.h"

#define TEXT_MAX (200 * 1024)
#define VOTES_MAX 200

void kit_follow(struct sim_node *node, struct sim_node *other)
{
	const struct id *person = &other->memory->depot.person;

	if (memory_follows(node->memory, person))
		return;
	memory_follow(node->memory, person, true);
	sim_meet(node, other);
	sim_meet(other, node);
	if (node->core)
		core_follows_changed(node->core);
}

void kit_begin(struct sim_node *node, const char *name)
{
	memory_append_profile(node->memory, name);
	memory_sync(node->memory);
	check_synced(node);
	sim_start(node);
}

void kit_save(struct sim_node *node, uint64_t size, struct id *out_version)
{
	char *text = must(malloc(size + 1));

	sim_random_fill(&node->sim->story, (uint8_t *)text, size);
	for (uint64_t i = 0; i < size; i++)
		text[i] = (char)(i % 64 == 63 ? '\n' : 'a' + (uint8_t)text[i] % 16);
	memory_save(node->memory, NULL, NULL, text, size, out_version);
	free(text);
	if (node->core)
		core_appended(node->core);
}

/* The newest version that is not whole here; NULL: none. */
static const struct blob *find_lacking(const struct memory *m)
{
	for (size_t i = m->version_count; i > 0; i--)
		if (m->versions[i - 1])
			return m->versions[i - 1];
	return NULL;
}

static void want_something(struct sim_node *node)
{
	struct sim *sim = node->sim;
	const struct sim_node *other = &sim->nodes[sim_random_below(&sim->story, sim->count)];
	const struct log *log = memory_find_log(other->memory, &other->key.public);

	if (!log || log->count == 0)
		return;
	const struct blob *blob = find_lacking(node->memory);
	if (!blob || sim_random_chance(&sim->story, 200000))
		blob = log->entries[sim_random_below(&sim->story, log->count)].blob;
	check_want(node, &blob->id, sim->now_us / 1000 + sim_random_skewed(&sim->story, 1, 5000));
}

static void change_follow(struct sim_node *node)
{
	struct sim *sim = node->sim;
	struct sim_node *other = &sim->nodes[sim_random_below(&sim->story, sim->count)];
	const struct id *person = &other->memory->depot.person;

	if (id_equal(person, &node->memory->depot.person) || node->hub)
		return;
	if (memory_follows(node->memory, person)) {
		memory_follow(node->memory, person, false);
		core_follows_changed(node->core);
	} else {
		kit_follow(node, other);
	}
}

void kit_act(struct sim_node *node)
{
	struct sim *sim = node->sim;
	uint64_t lot = sim_random_below(&sim->story, 100);

	if (!node->core || !node->own_known)
		return;
	sim->sender = node;
	if (lot < 60) {
		kit_save(node, sim_random_skewed(&sim->story, 1, lot < 5 ? TEXT_MAX : 16 * 1024), NULL);
	} else if (lot < 75) {
		for (uint64_t i = sim_random_skewed(&sim->story, 1, VOTES_MAX); i > 0; i--)
			memory_append_vote(node->memory, i);
		core_appended(node->core);
	} else if (lot < 80) {
		memory_append_profile(node->memory, "somebody else");
		core_appended(node->core);
	} else if (lot < 90) {
		change_follow(node);
	} else {
		want_something(node);
	}
	sim_pump(node);
}

/* ---- what breaks ---- */

static void come_up(struct sim *sim, void *context, uint64_t life)
{
	struct sim_node *node = context;

	if (!node->core && node->life == life)
		sim_start(node);
}

static void disk_works(struct sim *sim, void *context, uint64_t argument)
{
	struct sim_node *node = context;

	memory_fail_sync(node->memory, 0);
	memory_fail_take(node->memory, 0);
	if (node->core) {
		sim->sender = node;
		core_appended(node->core); /* the next save */
		sim_pump(node);
	}
}

static void join_sides(struct sim *sim, void *context, uint64_t argument)
{
	for (unsigned i = 0; i < sim->count; i++)
		sim->nodes[i].side = 0;
}

static void hear(struct sim *sim, void *context, uint64_t argument)
{
	struct sim_node *node = context;

	node->deaf = false;
}

/* What its user saves is not durable, or what comes from others cannot be kept, or both. */
static void break_disk(struct sim *sim, struct sim_node *node, uint64_t us)
{
	uint64_t lot = sim_random_below(&sim->story, 3);
	int error = sim_random_chance(&sim->story, 500000) ? -EIO : -ENOSPC;

	if (lot != 0)
		memory_fail_sync(node->memory, error);
	if (lot != 1)
		memory_fail_take(node->memory, error);
	sim_at(sim, sim->now_us + us, disk_works, node, 0);
}

static void break_node(struct sim *sim, struct sim_node *node, uint64_t us)
{
	if (!node->core)
		return;
	sim_crash(node, sim_random_chance(&sim->story, 500000));
	if (sim->rewinds && sim_random_chance(&sim->story, 300000)) {
		const struct log *own = memory_find_log(node->memory, &node->key.public);
		memory_rewind(node->memory, sim_random_below(&sim->story, own->count));
		node->own_known = false;
	}
	sim_at(sim, sim->now_us + us, come_up, node, node->life);
}

void kit_break(struct sim *sim, uint64_t longest_us)
{
	struct sim_random *story = &sim->story;
	struct sim_node *node = &sim->nodes[sim_random_below(story, sim->count)];
	uint64_t us = sim_random_skewed(story, 50000, longest_us);

	switch (sim_random_below(story, 7)) {
	case 0:
	case 1:
		break_node(sim, node, us);
		break;
	case 2:
		for (unsigned i = 0; i < sim->count; i++)
			sim->nodes[i].side = (unsigned)sim_random_below(story, 2);
		sim_at(sim, sim->now_us + us, join_sides, NULL, 0);
		break;
	case 3:
		break_disk(sim, node, us);
		break;
	case 4:
		sim->options.weather.lost = (uint32_t)sim_random_skewed(story, 1, 200000);
		sim->options.weather.reset = (uint32_t)sim_random_skewed(story, 1, 20000);
		break;
	case 5:
		node->deaf = true;
		sim_at(sim, sim->now_us + us, hear, node, 0);
		break;
	default:
		node->skew_ms = (int64_t)sim_random_below(story, 7200000) - 3600000;
		node->rate = sim_random_skewed(story, sim->options.weather.rate_least, sim->options.weather.rate_greatest);
		break;
	}
}

void kit_calm(struct sim *sim)
{
	sim->calm = true;
	sim->options.weather.lost = sim->options.weather.reset = 1000;
	sim->options.weather.reset = 0;
	join_sides(sim, NULL, 0);
	for (unsigned i = 0; i < sim->count; i++) {
		sim->nodes[i].deaf = false;
		sim_start(&sim->nodes[i]);
		disk_works(sim, &sim->nodes[i], 0);
	}
}

uint64_t kit_converge(struct sim *sim, uint64_t most_us)
{
	uint64_t begin_us = sim->now_us;
	char why[192];

	while (!check_converged(sim, why, sizeof(why))) {
		if (sim->now_us - begin_us >= most_us) {
			sim_fail(sim, NULL, "after %llu s of peace %s", (unsigned long long)(most_us / SECOND_US), why);
			break;
		}
		if (!sim_run(sim, sim->now_us + SECOND_US))
			break;
	}
	check_all(sim);
	return sim->now_us - begin_us;
}

/* ---- figures ---- */

void kit_tell_packets(const struct sim *sim, FILE *out)
{
	static const char *const names[PACKET_COUNT] = { "ready", "query", "page", "push", "note", "graft", "prune",
							 "follow", "thanks", "welcome", "ping", "pong" };

	fprintf(out, "  packets:");
	for (int kind = 0; kind < PACKET_COUNT; kind++) {
		uint64_t count = 0;
		for (unsigned i = 0; i < sim->count; i++)
			count += sim->nodes[i].sent[kind];
		if (count > 0)
			fprintf(out, " %s %llu;", names[kind], (unsigned long long)count);
	}
	unsigned sessions = 0, most = 0;
	for (unsigned i = 0; i < sim->count; i++) {
		unsigned ends = 0;
		for (const struct sim_end *end = sim->nodes[i].ends; end; end = end->next)
			ends++;
		sessions += ends;
		most = ends > most ? ends : most;
	}
	fprintf(out, " now %u sessions, at most %u of one node\n", sessions / 2, most);
}
