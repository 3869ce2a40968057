#include "sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "book.h"
#include "depot_memory_private.h"

#define EPOCH_MS UINT64_C(1790000000000)
#define ROUNDS_MAX 10000 /* of one pump: more is a core that does not come to rest */

struct sim_job { /* a work that is out */
	struct sim_job *prev, *next;
	struct sim_node *node;
	struct work *work;
	bool ran;
};

/* ---- the whole ---- */

struct sim *sim_new(const struct sim_options *options, unsigned count_max)
{
	struct sim *sim = must(calloc(1, sizeof(*sim)));

	sim->options = *options;
	sim->now_us = SECOND_US;
	sim->count_max = count_max;
	sim->nodes = must(calloc(count_max, sizeof(sim->nodes[0])));
	sim->blobs = blobs_new(!options->fake_keys);
	sim->truth = truth_new();
	sim_random_init(&sim->random, options->seed, 1);
	sim_random_init(&sim->story, options->seed, 2);
	crypto_generichash_init(&sim->trace, NULL, 0, ID_SIZE);
	sim->hook = (struct sim_hook){ lie_sending, sim };
	sim_wrap_set(&sim->hook);
	return sim;
}

static void drop_jobs(struct sim_node *node)
{
	struct sim_job *job, *next;

	DL_FOREACH_SAFE(node->jobs, job, next) {
		if (!job->ran)
			job->work->result = -ECANCELED;
		core_work_done(node->core, job->work);
		job->work = NULL; /* freed when its event comes */
		job->node = NULL;
	}
	node->jobs = NULL;
}

static void free_event(const struct sim_event *event)
{
	if (event->kind == SIM_WORK || event->kind == SIM_CALL || event->kind == SIM_DIAL_COMES ||
	    event->kind == SIM_DIAL_ANSWERED || event->kind == SIM_DIAL_FAILS)
		free(event->subject);
}

void sim_free(struct sim *sim)
{
	struct sim_event event;

	sim_wrap_set(NULL);
	for (unsigned i = 0; i < sim->count; i++) {
		struct sim_node *node = &sim->nodes[i];
		if (node->core)
			drop_jobs(node);
		core_free(node->core);
		check_wants_end(node);
		free(node->contacts);
	}
	while (sim_heap_take(&sim->heap, &event))
		free_event(&event);
	wire_free_all(sim);
	for (unsigned i = 0; i < sim->count; i++)
		memory_free(sim->nodes[i].memory);
	sim_heap_finish(&sim->heap);
	truth_free(sim->truth);
	blobs_free(sim->blobs);
	free(sim->nodes);
	free(sim);
}

void sim_fail(struct sim *sim, const struct sim_node *node, const char *format, ...)
{
	va_list arguments;

	if (sim->failure[0])
		return;
	int size = snprintf(sim->failure, sizeof(sim->failure), "at %llu.%06llu s, node %d: ",
			    (unsigned long long)(sim->now_us / SECOND_US), (unsigned long long)(sim->now_us % SECOND_US),
			    node ? (int)node->index : -1);
	va_start(arguments, format);
	vsnprintf(sim->failure + size, sizeof(sim->failure) - (size_t)size, format, arguments);
	va_end(arguments);
}

void sim_digest(const struct sim *sim, struct id *out)
{
	crypto_generichash_state state = sim->trace;

	crypto_generichash_final(&state, out->bytes, sizeof(out->bytes));
}

/* ---- nodes ---- */

static uint64_t node_time_ns(void *context)
{
	const struct sim_node *node = context;

	return ((uint64_t)((int64_t)EPOCH_MS + node->skew_ms) * 1000 + node->sim->now_us) * 1000;
}

static uint64_t node_now_ms(void *context)
{
	const struct sim_node *node = context;

	return node->sim->now_us / 1000;
}

static void node_random(void *context, uint8_t *out, size_t size)
{
	struct sim_node *node = context;

	sim_random_fill(&node->random, out, size);
}

struct sim_node *sim_add(struct sim *sim, const struct id *person)
{
	struct sim_node *node = &sim->nodes[sim->count];
	const struct sim_weather *weather = &sim->options.weather;
	unsigned i = sim->count;

	if (sim->count == sim->count_max)
		abort();
	*node = (struct sim_node){ .sim = sim, .index = i, .wake_us = UINT64_MAX, .dialable = true, .own_known = true };
	node->clock = (struct clock){ node_time_ns, node_now_ms, node_random, node };
	sim_random_init(&node->random, sim->options.seed, UINT64_C(1) << 32 | i);
	snprintf(node->address, sizeof(node->address), "10.%u.%u.%u:%d", i >> 16, (i >> 8) & 255, i & 255, SIM_PORT);
	if (sim->options.fake_keys)
		sim_fake_key(&node->key, sim->options.seed, UINT64_C(2) << 32 | i);
	else
		key_create(&node->key, &node->clock);
	node->rate = sim_random_skewed(&sim->random, weather->rate_least, weather->rate_greatest);
	node->memory = memory_new(sim->blobs, &node->key, person, &node->clock);
	sim->count++;
	return node;
}

void sim_meet(struct sim_node *node, const struct sim_node *other)
{
	unsigned *contacts = realloc(node->contacts, (node->contact_count + 1) * sizeof(contacts[0]));

	node->contacts = must(contacts);
	contacts[node->contact_count++] = other->index;
	if (node->core && core_connect(node->core, other->address, &other->key.public) < 0)
		sim_fail(node->sim, node, "cannot be told an address");
}

static int found_one(void *visitor, const void *key, size_t key_size, const void *value, size_t value_size)
{
	return 1;
}

static bool remembers(const struct sim_node *node, const struct sim_node *other)
{
	const struct depot *depot = memory_depot(node->memory);
	char key[BOOK_KEY_PREFIX_SIZE + ADDRESS_SIZE_MAX] = BOOK_KEY_PREFIX;

	memcpy(key + BOOK_KEY_PREFIX_SIZE, other->address, strlen(other->address));
	return depot->calls->each_memory(depot->context, key, BOOK_KEY_PREFIX_SIZE + strlen(other->address), found_one, NULL);
}

/* Addresses that the node does not remember are told again, as people do. */
void sim_start(struct sim_node *node)
{
	struct sim *sim = node->sim;
	struct core_options options = { .clock = node->clock, .dial = true, .peers_aim = sim->options.peers_aim };

	if (node->core)
		return;
	strcpy(options.address, node->dialable ? node->address : "");
	node->life++;
	sim->sender = node;
	node->core = must(core_new(&options, memory_depot(node->memory)));
	for (size_t i = 0; i < node->contact_count; i++) {
		const struct sim_node *other = &sim->nodes[node->contacts[i]];
		if (!remembers(node, other) && core_connect(node->core, other->address, &other->key.public) < 0)
			sim_fail(sim, node, "cannot be told an address");
	}
	sim_pump(node);
}

/* The newest records of other logs go, down to one with a signature: a log ends with one. */
static void lose_some(struct sim_node *node)
{
	struct memory *m = node->memory;
	struct sim_random *random = &node->sim->random;

	for (size_t i = 0; i < m->log_count; i++) {
		struct log *log = m->logs[i];
		if (id_equal(&log->device, &node->key.public) || !sim_random_chance(random, 100000))
			continue;
		size_t keep = log->count - sim_random_below(random, log->count < 10 ? log->count + 1 : 10);
		while (keep > 0 && !log->entries[keep - 1].is_signed)
			keep--;
		while (log->count > keep) {
			struct blob *blob = log->entries[--log->count].blob;
			for (size_t j = 0; j < m->version_count; j++)
				if (m->versions[j] == blob)
					m->versions[j] = NULL;
			blob_unref(m->blobs, blob);
		}
		log->durable = log->count;
	}
}

static bool names_piece(const struct log *log, const struct id *name)
{
	for (size_t i = 0; log && i < log->count; i++)
		for (size_t j = 0; j < log->entries[i].blob->piece_count; j++)
			if (id_equal(&log->entries[i].blob->pieces[j].name, name))
				return true;
	return false;
}

/* Pieces of others: they are not synced one by one. */
static void lose_pieces(struct sim_node *node)
{
	struct memory *m = node->memory;
	const struct log *own = memory_find_log(m, &node->key.public);

	for (size_t i = 0; i < m->log_count; i++)
		for (size_t j = 0; m->logs[i] != own && j < m->logs[i]->count; j++) {
			const struct blob *blob = m->logs[i]->entries[j].blob;
			for (size_t k = 0; k < blob->piece_count; k++)
				if (sim_random_chance(&node->sim->random, 20000) && !names_piece(own, &blob->pieces[k].name))
					memory_drop_piece(m, &blob->pieces[k].name);
		}
}

void sim_crash(struct sim_node *node, bool politely)
{
	if (!node->core)
		return;
	node->sim->crashes++;
	wire_crash(node, politely);
	drop_jobs(node);
	core_free(node->core);
	node->core = NULL;
	check_wants_end(node);
	node->wake_us = UINT64_MAX;
	const struct log *own = memory_find_log(node->memory, &node->key.public);
	if (own && own->count > own->durable)
		memory_rewind(node->memory, own->count - own->durable);
	if (!politely) {
		lose_some(node);
		lose_pieces(node);
	}
}

struct sim_node *sim_author(struct sim *sim, const struct id *device)
{
	for (unsigned i = 0; i < sim->count; i++)
		if (id_equal(&sim->nodes[i].key.public, device))
			return &sim->nodes[i];
	return NULL;
}

/* ---- works ---- */

static uint64_t cost_us(struct sim *sim, const struct work *work)
{
	struct sim_random *random = &sim->random;

	switch (work->kind) {
	case WORK_RECORDS:
		return 100 + 20 * work->count + sim_random_below(random, 2000);
	case WORK_PIECES:
		return 50 * work->count + sim_random_below(random, 2000);
	case WORK_ANSWER:
	case WORK_CHECK:
		return 80 + sim_random_below(random, 400);
	case WORK_SYNC:
	case WORK_REMEMBER:
		return sim_random_skewed(random, 500, 60000);
	case WORK_PUZZLE:
		return 100 + (uint64_t)work->puzzle.effort * 1000;
	}
	return 1;
}

static void track(struct sim_node *node, const struct work *work)
{
	struct sim *sim = node->sim;
	const struct depot *depot = memory_depot(node->memory);
	struct depot_piece piece;
	struct head head;

	if (!sim->tracking || node->hop || depot->calls->head(depot->context, &sim->tracked_device, &head) < 0 ||
	    head.seq < sim->tracked_seq)
		return;
	if (depot->calls->missing_of(depot->context, &sim->tracked_version, &piece, 1) != 0)
		return;
	const struct sim_end *end = wire_find(node, work->session);
	const struct sim_node *from = end ? end->wire->ends[end == &end->wire->ends[0]].node : NULL;
	node->hop = from && from->hop ? from->hop + 1 : 1;
	node->reached_us = sim->now_us;
	sim->tracked_count++;
}

void sim_track(struct sim_node *author, const struct id *version)
{
	struct sim *sim = author->sim;
	const struct log *own = memory_find_log(author->memory, &author->key.public);

	for (unsigned i = 0; i < sim->count; i++)
		sim->nodes[i].hop = sim->nodes[i].reached_us = 0;
	sim->tracked_device = author->key.public;
	sim->tracked_version = *version;
	sim->tracked_seq = own->entries[own->count - 1].blob->seq;
	sim->tracked_us = sim->now_us;
	sim->tracked_count = 0;
	sim->tracking = true;
	author->hop = 1;
	author->reached_us = sim->now_us;
}

static void run_job(struct sim_job *job)
{
	struct sim_node *node = job->node;

	job->ran = true;
	work_run(job->work);
	if (job->work->kind == WORK_SYNC || job->work->kind == WORK_RECORDS)
		check_synced(node); /* own records come back from others, too */
	if (job->work->kind == WORK_RECORDS)
		check_taken(node, &job->work->device);
	if (job->work->kind == WORK_RECORDS || job->work->kind == WORK_PIECES)
		track(node, job->work);
}

/* What a work sees is the depot as it begins, or as it ends: by lot. */
static void begin_work(struct sim_node *node, struct work *work)
{
	struct sim *sim = node->sim;
	struct sim_job *job = must(calloc(1, sizeof(*job)));

	job->node = node;
	job->work = work;
	DL_APPEND(node->jobs, job);
	uint64_t us = cost_us(sim, work);
	if (sim_random_chance(&sim->random, 500000))
		run_job(job);
	sim_heap_put(&sim->heap, (struct sim_event){ .time_us = sim->now_us + us, .kind = SIM_WORK, .number = node->index,
						     .subject = job, .argument = work->kind });
}

static void end_work(struct sim *sim, struct sim_job *job)
{
	struct sim_node *node = job->node;

	if (node) {
		sim->sender = node;
		if (!job->ran)
			run_job(job);
		DL_DELETE(node->jobs, job);
		core_work_done(node->core, job->work);
		sim_pump(node);
	}
	free(job);
}

/* ---- a turn ---- */

static void take_event(struct sim_node *node, const struct event *event)
{
	struct sim *sim = node->sim;

	switch (event->kind) {
	case EVENT_DIAL:
		wire_dial(node, event);
		break;
	case EVENT_CLOSE:
		check_closed(node, event);
		wire_close(node, event->session);
		break;
	case EVENT_READY:
		sim->sessions++;
		break;
	case EVENT_OWN_KNOWN:
		node->own_known = true;
		break;
	case EVENT_WANTED:
		check_wanted(node, event);
		break;
	case EVENT_FORK:
		if (!sim->rewinds)
			sim_fail(sim, node, "a fork of an honest log");
		break;
	case EVENT_GONE:
	case EVENT_RECORDS:
	case EVENT_PIECES:
	case EVENT_SYNCED:
		break;
	}
}

static void set_alarm(struct sim_node *node)
{
	struct sim *sim = node->sim;
	uint64_t ms = core_deadline_ms(node->core);
	uint64_t us = ms >= UINT64_MAX / 1000 ? UINT64_MAX : ms * 1000;

	if (us <= sim->now_us)
		us = sim->now_us + 1000; /* what is due at once is due in this millisecond */
	if (us >= node->wake_us)
		return;
	node->wake_us = us;
	sim_heap_put(&sim->heap, (struct sim_event){ .time_us = us, .kind = SIM_WAKE, .number = node->index });
}

void sim_pump(struct sim_node *node)
{
	struct sim *sim = node->sim;
	struct event event;
	struct work *work;
	bool any = node->core != NULL;

	sim->sender = node;
	for (unsigned rounds = 0; any; rounds++) {
		any = false;
		while (core_next_event(node->core, &event)) {
			any = true;
			take_event(node, &event);
		}
		while ((work = core_next_work(node->core))) {
			any = true;
			begin_work(node, work);
		}
		for (struct sim_end *end = node->ends, *next; end; end = next) {
			next = end->next;
			any |= wire_flush(end);
		}
		if (rounds > ROUNDS_MAX) {
			sim_fail(sim, node, "does not come to rest");
			return;
		}
	}
	if (!node->core)
		return;
	check_node(node);
	set_alarm(node);
}

static void wake(struct sim *sim, const struct sim_event *event)
{
	struct sim_node *node = &sim->nodes[event->number];

	if (!node->core || node->wake_us != event->time_us)
		return;
	node->wake_us = UINT64_MAX;
	sim->sender = node;
	core_tick(node->core);
	sim_pump(node);
}

struct call {
	sim_call *call;
	void *context;
};

void sim_at(struct sim *sim, uint64_t time_us, sim_call *call, void *context, uint64_t argument)
{
	struct call *c = must(calloc(1, sizeof(*c)));

	*c = (struct call){ call, context };
	sim_heap_put(&sim->heap, (struct sim_event){ .time_us = time_us, .kind = SIM_CALL, .subject = c, .argument = argument });
}

static void do_call(struct sim *sim, const struct sim_event *event)
{
	struct call *c = event->subject;

	c->call(sim, c->context, event->argument);
	free(c);
}

bool sim_step(struct sim *sim)
{
	struct sim_event event;

	if (sim->failure[0] || !sim_heap_take(&sim->heap, &event))
		return false;
	sim->now_us = event.time_us;
	sim->events++;
	uint64_t text[4] = { event.time_us, event.sequence, (uint64_t)event.kind << 32 | event.number, event.argument };
	crypto_generichash_update(&sim->trace, (const uint8_t *)text, sizeof(text));
	if (event.kind == SIM_WAKE)
		wake(sim, &event);
	else if (event.kind == SIM_WORK)
		end_work(sim, event.subject);
	else if (event.kind == SIM_CALL)
		do_call(sim, &event);
	else
		wire_event(sim, &event);
	return !sim->failure[0];
}

bool sim_run(struct sim *sim, uint64_t until_us)
{
	while (sim_heap_next_us(&sim->heap) <= until_us)
		if (!sim_step(sim))
			return false;
	sim->now_us = until_us;
	return true;
}
