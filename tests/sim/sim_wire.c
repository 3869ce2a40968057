#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "depot_memory_private.h"
#include "sim.h"

#define WINDOW_SIZE (256 * 1024)    /* bytes on the way in one direction */
#define SEGMENT_SIZE (64 * 1024)
#define RETRY_US (200 * 1000)       /* the first retransmission; then twice as long each */
#define STUCK_US (60 * SECOND_US)   /* until a connection that cannot deliver is given up */
#define DIAL_US (10 * SECOND_US)    /* until a dial is given up */

struct sim_dial {
	struct sim_node *from, *to; /* to NULL: nobody is there */
	unsigned life;              /* of `from` */
	bool ghost;                 /* the second of one dial: nobody is behind it */
	char address[ADDRESS_SIZE_MAX];
	bool has_expected;
	struct id expected;
	struct sim_wire *wire;
};

/* ---- ways ---- */

bool wire_is_cut(const struct sim_node *from, const struct sim_node *to)
{
	return from->side != to->side || to->deaf;
}

/* A dial needs an answer. */
static bool is_out_of_reach(const struct sim_node *a, const struct sim_node *b)
{
	return wire_is_cut(a, b) || wire_is_cut(b, a);
}

static uint64_t way_us(struct sim *sim, const struct sim_node *a, const struct sim_node *b)
{
	const struct sim_weather *weather = &sim->options.weather;
	uint64_t low = a->index < b->index ? a->index : b->index, high = a->index + b->index - low;
	uint64_t span = (uint64_t)(weather->latency_greatest_ms - weather->latency_least_ms) * 1000 + 1;
	uint64_t base = (uint64_t)weather->latency_least_ms * 1000 + sim_random_of(sim->options.seed, low, high) % span;

	return base + sim_random_below(&sim->random, base / 4 + 100);
}

/* Of one pair it is the one with the odd lot that cannot. */
static bool may_dial(struct sim *sim, const struct sim_node *from, const struct sim_node *to)
{
	uint64_t low = from->index < to->index ? from->index : to->index, high = from->index + to->index - low;
	uint64_t lot = sim_random_of(sim->options.seed + 1, low, high);

	if (!to->dialable || to->hub)
		return to->hub;
	return lot % 1000000 >= sim->options.weather.one_way || (lot / 1000000 % 2 == 0) == (from->index < to->index);
}

static struct sim_node *node_of(struct sim *sim, const char *address)
{
	unsigned a, b, c, port;
	char end;

	if (sscanf(address, "10.%u.%u.%u:%u%c", &a, &b, &c, &port, &end) != 4 || port != SIM_PORT)
		return NULL;
	unsigned index = a << 16 | b << 8 | c;
	return index < sim->count ? &sim->nodes[index] : NULL;
}

static void put(struct sim *sim, uint64_t in_us, enum sim_event_kind kind, void *subject, uint64_t argument)
{
	sim_heap_put(&sim->heap, (struct sim_event){ .time_us = sim->now_us + in_us, .kind = kind, .subject = subject,
						     .argument = argument });
}

/* ---- connections ---- */

static struct sim_wire *wire_new(struct sim *sim, const char *address)
{
	struct sim_wire *wire = must(calloc(1, sizeof(*wire)));

	wire->number = ++sim->last_wire;
	wire->ends[0].wire = wire->ends[1].wire = wire;
	strcpy(wire->address, address);
	DL_APPEND2(sim->wires, wire, before, next);
	return wire;
}

static void drop_segments(struct sim_end *end)
{
	struct sim_segment *segment, *next;

	LL_FOREACH_SAFE(end->first, segment, next)
		free(segment);
	end->first = end->last = NULL;
	end->flying = 0;
}

static void wire_unref(struct sim *sim, struct sim_wire *wire)
{
	if (--wire->refs > 0 || wire->ends[0].session || wire->ends[1].session)
		return;
	drop_segments(&wire->ends[0]);
	drop_segments(&wire->ends[1]);
	DL_DELETE2(sim->wires, wire, before, next);
	free(wire);
}

void wire_free_all(struct sim *sim)
{
	struct sim_wire *wire, *next;

	DL_FOREACH_SAFE2(sim->wires, wire, next, next) {
		drop_segments(&wire->ends[0]);
		drop_segments(&wire->ends[1]);
		free(wire);
	}
	sim->wires = NULL;
}

static struct sim_end *other_end(const struct sim_end *end)
{
	return &end->wire->ends[end == &end->wire->ends[0]];
}

static unsigned end_number(const struct sim_end *end)
{
	return end == &end->wire->ends[1];
}

struct sim_end *wire_find(struct sim_node *node, uint64_t session)
{
	struct sim_end *end;

	DL_FOREACH2(node->ends, end, next)
		if (end->session == session)
			return end;
	return NULL;
}

static void attach(struct sim_end *end, struct sim_node *node, uint64_t session)
{
	end->node = node; /* stays: which way it was, after it is closed */
	end->session = session;
	if (session)
		DL_APPEND2(node->ends, end, before, next);
}

/* Not at a node any more; what is on its way stays there. */
static void detach(struct sim_end *end)
{
	DL_DELETE2(end->node->ends, end, before, next);
	end->session = 0;
	end->more = false;
}

/* This end learns, now, that the connection is gone. */
static void lose(struct sim_end *end)
{
	struct sim_node *node = end->node;
	uint64_t session = end->session;

	if (!session)
		return;
	detach(end);
	node->sim->sender = node;
	core_closed(node->core, session);
	sim_pump(node);
}

static void tell_closed(struct sim *sim, struct sim_end *end, uint64_t in_us)
{
	if (!end->session)
		return;
	end->wire->refs++;
	put(sim, in_us, SIM_CLOSED, end->wire, end_number(end));
}

/* ---- sending ---- */

static void expect(struct sim *sim, struct sim_end *end)
{
	if (end->arriving || (!end->first && !end->finished))
		return;
	uint64_t at_us = end->first ? end->first->arrives_us : end->arrives_us;
	end->arriving = true;
	end->wire->refs++;
	put(sim, at_us > sim->now_us ? at_us - sim->now_us : 0, SIM_ARRIVES, end->wire, end_number(end));
}

static void send_segment(struct sim_end *end, const struct bytes *bytes)
{
	struct sim_node *node = end->node;
	struct sim *sim = node->sim;
	const struct sim_weather *weather = &sim->options.weather;
	struct sim_segment *segment = must(malloc(sizeof(*segment) + bytes->size));

	*segment = (struct sim_segment){ .size = bytes->size };
	memcpy(segment->bytes, bytes->data, bytes->size);
	uint64_t begin_us = node->busy_us > sim->now_us ? node->busy_us : sim->now_us;
	node->busy_us = begin_us + (bytes->size + 60) * SECOND_US / node->rate;
	uint64_t at_us = node->busy_us + way_us(sim, node, other_end(end)->node);
	for (uint64_t retry_us = RETRY_US; sim_random_chance(&sim->random, weather->lost); retry_us *= 2) {
		at_us += retry_us;
		sim->lost++;
	}
	segment->arrives_us = end->arrives_us = at_us > end->arrives_us ? at_us : end->arrives_us;
	if (end->last)
		end->last->next = segment;
	else
		end->first = segment;
	end->last = segment;
	end->flying += bytes->size;
	sim->segments++;
	sim->bytes += bytes->size;
	if (sim_random_chance(&sim->random, weather->reset)) {
		sim->resets++;
		tell_closed(sim, end, sim_random_below(&sim->random, 100000));
		tell_closed(sim, other_end(end), sim_random_below(&sim->random, 100000));
	}
	expect(sim, end);
}

static bool give(struct sim_end *end, size_t window)
{
	struct sim_node *node = end->node;
	bool sent = false;

	for (end->more = true; end->more && end->flying < window; sent = true) {
		struct bytes bytes;
		bytes_init(&bytes, SEGMENT_SIZE);
		end->more = core_give(node->core, end->session, &bytes, SEGMENT_SIZE);
		if (bytes_error(&bytes) < 0)
			abort();
		bool none = bytes.size == 0;
		if (!none)
			send_segment(end, &bytes);
		bytes_finish(&bytes);
		if (none)
			break;
	}
	return sent && end->flying > 0;
}

bool wire_flush(struct sim_end *end)
{
	size_t before = end->flying;

	if (!end->session || before >= WINDOW_SIZE)
		return false;
	give(end, WINDOW_SIZE);
	if (end->flying == before)
		return false;
	core_unsent(end->node->core, end->session, end->flying);
	return true;
}

void wire_close(struct sim_node *node, uint64_t session)
{
	struct sim_end *end = wire_find(node, session);

	if (!end) {
		core_closed(node->core, session);
		return;
	}
	give(end, SIZE_MAX);
	detach(end);
	end->finished = true;
	core_closed(node->core, session);
	expect(node->sim, end);
}

void wire_crash(struct sim_node *node, bool politely)
{
	struct sim *sim = node->sim;

	while (node->ends) {
		struct sim_end *end = node->ends, *other = other_end(end);
		detach(end);
		if (politely && other->session && !wire_is_cut(node, other->node))
			tell_closed(sim, other, way_us(sim, node, other->node));
		if (!politely)
			drop_segments(end);
	}
}

/* ---- arriving ---- */

/* The way is cut, or the machine at its end is off: tried again, until time is up. */
static void stand_still(struct sim *sim, struct sim_end *from)
{
	if (!from->stuck_us)
		from->stuck_us = sim->now_us;
	if (sim->now_us - from->stuck_us >= STUCK_US || !from->session) {
		bool is_open = from->session;
		drop_segments(from);
		from->finished = false;
		if (is_open)
			lose(from);
		return;
	}
	uint64_t retry_us = (uint64_t)RETRY_US << (from->tries < 5 ? from->tries++ : 5);
	from->arriving = true;
	from->wire->refs++;
	put(sim, retry_us, SIM_ARRIVES, from->wire, end_number(from));
}

static int take_part(struct sim_end *end, const uint8_t *bytes, size_t size)
{
	uint8_t *exact = must(malloc(size)); /* reading too far is seen */
	memcpy(exact, bytes, size);
	int err = core_take(end->node->core, end->session, exact, size);
	free(exact);
	return err;
}

static void take_segment(struct sim_end *end, const struct sim_segment *segment)
{
	struct sim *sim = end->node->sim;
	size_t first = segment->size;

	if (sim_random_chance(&sim->random, sim->options.weather.split))
		first = sim_random_range(&sim->random, 1, segment->size);
	sim->sender = end->node;
	crypto_generichash_update(&sim->trace, segment->bytes, segment->size);
	if (take_part(end, segment->bytes, first) == 0 && first < segment->size)
		take_part(end, segment->bytes + first, segment->size - first);
}

static void arrive(struct sim *sim, struct sim_end *from)
{
	struct sim_end *to = other_end(from);

	from->arriving = false;
	if (!from->node || !to->node || (!from->first && !from->finished))
		return;
	if (wire_is_cut(from->node, to->node) || !to->node->core) {
		stand_still(sim, from);
		return;
	}
	from->stuck_us = from->tries = 0;
	struct sim_segment *segment = from->first;
	if (!to->session) { /* nobody is there: a reset comes back */
		drop_segments(from);
		from->finished = false;
		tell_closed(sim, from, way_us(sim, to->node, from->node));
		return;
	}
	if (!segment) {
		from->finished = false;
		lose(to);
		return;
	}
	from->first = segment->next;
	if (!from->first)
		from->last = NULL;
	from->flying -= segment->size;
	take_segment(to, segment);
	free(segment);
	sim_pump(to->node);
	expect(sim, from);
	if (from->session) {
		core_unsent(from->node->core, from->session, from->flying);
		if (from->more)
			sim_pump(from->node);
	}
}

/* ---- dialling ---- */

static void fail_dial(struct sim *sim, struct sim_dial *dial, uint64_t in_us)
{
	put(sim, in_us, SIM_DIAL_FAILS, dial, 0);
}

void wire_dial(struct sim_node *node, const struct event *event)
{
	struct sim *sim = node->sim;
	bool twice = sim_random_chance(&sim->random, sim->options.weather.doubled);

	sim->dials++;
	for (int i = 0; i <= twice; i++) {
		struct sim_dial *dial = must(calloc(1, sizeof(*dial)));
		*dial = (struct sim_dial){ .from = node, .life = node->life, .ghost = i > 0, .to = node_of(sim, event->address),
					   .has_expected = event->has_expected, .expected = event->expected };
		strcpy(dial->address, event->address);
		if (!dial->to)
			fail_dial(sim, dial, 1000);
		else if (is_out_of_reach(node, dial->to) || !may_dial(sim, node, dial->to))
			fail_dial(sim, dial, sim_random_chance(&sim->random, 500000) ? DIAL_US : 200000);
		else
			put(sim, way_us(sim, node, dial->to) + (i ? sim_random_below(&sim->random, 5 * SECOND_US) : 0),
			    SIM_DIAL_COMES, dial, dial->to->index);
	}
}

static void dial_comes(struct sim *sim, struct sim_dial *dial)
{
	struct sim_node *to = dial->to;
	char address[ADDRESS_SIZE_MAX];

	if (!to->core || is_out_of_reach(dial->from, to)) {
		fail_dial(sim, dial, to->core ? DIAL_US : way_us(sim, to, dial->from));
		return;
	}
	struct sim_wire *wire = wire_new(sim, dial->address);
	snprintf(address, sizeof(address), "10.%u.%u.%u:%u", dial->from->index >> 16, (dial->from->index >> 8) & 255,
		 dial->from->index & 255, (unsigned)sim_random_range(&sim->random, 32768, 60999));
	wire->ends[0].node = dial->from;
	wire->refs++; /* the answer's */
	dial->wire = wire;
	sim->sender = to;
	attach(&wire->ends[1], to, core_connected(to->core, address, false, NULL));
	put(sim, dial->ghost ? sim_random_below(&sim->random, 30 * SECOND_US) : way_us(sim, to, dial->from),
	    SIM_DIAL_ANSWERED, dial, to->index);
	sim_pump(to);
}

static void dial_answered(struct sim *sim, struct sim_dial *dial)
{
	struct sim_wire *wire = dial->wire;
	struct sim_node *from = dial->from;
	bool is_there = from->core && from->life == dial->life && !dial->ghost;

	if (is_there) {
		sim->sender = from;
		attach(&wire->ends[0], from,
		       core_connected(from->core, dial->address, true, dial->has_expected ? &dial->expected : NULL));
		if (!wire->ends[1].session)
			tell_closed(sim, &wire->ends[0], 1000);
	}
	if (!wire->ends[0].session)
		tell_closed(sim, &wire->ends[1], way_us(sim, from, dial->to));
	if (is_there)
		sim_pump(from);
	wire_unref(sim, wire);
	free(dial);
}

static void dial_fails(struct sim *sim, struct sim_dial *dial)
{
	struct sim_node *from = dial->from;

	if (from->core && from->life == dial->life && !dial->ghost) {
		sim->sender = from;
		core_unreachable(from->core, dial->address);
		sim_pump(from);
	}
	free(dial);
}

void wire_event(struct sim *sim, const struct sim_event *event)
{
	struct sim_wire *wire = event->subject;

	if (event->kind == SIM_DIAL_COMES) {
		dial_comes(sim, event->subject);
	} else if (event->kind == SIM_DIAL_ANSWERED) {
		dial_answered(sim, event->subject);
	} else if (event->kind == SIM_DIAL_FAILS) {
		dial_fails(sim, event->subject);
	} else {
		if (event->kind == SIM_ARRIVES)
			arrive(sim, &wire->ends[event->argument]);
		else
			lose(&wire->ends[event->argument]);
		wire_unref(sim, wire);
	}
}
