#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "depot_memory_private.h"
#include "sim.h"

/*
 * Bytes of one core, as it tells them itself: half a MiB, and for each session what fits in a page asked for, a page on
 * the way in and the two that it may have waiting.
 */
#define MEMORY_BASE (2 * 1024 * 1024)
#define MEMORY_SESSION (512 * 1024)
#define INTRO_MAX 1    /* records of a log that nobody here follows: here each is signed, so its first */
#define WANT_LATE_MS 1 /* clocks of the core count whole ones */
#define CHECK_TURNS 16 /* of a node, between two looks at its counts */

struct truth_record { /* one that its author's disk holds, or held */
	struct id id, prev, device;
	uint64_t seq;
	UT_hash_handle hh;
};
struct sim_truth {
	struct truth_record *records;
};

struct sim_truth *truth_new(void)
{
	return must(calloc(1, sizeof(struct sim_truth)));
}

void truth_free(struct sim_truth *truth)
{
	struct truth_record *record, *next;

	HASH_ITER(hh, truth->records, record, next) {
		HASH_DEL(truth->records, record);
		free(record);
	}
	free(truth);
}

static struct truth_record *find(const struct sim_truth *truth, const struct id *id)
{
	struct truth_record *record;

	HASH_FIND(hh, truth->records, id, sizeof(*id), record);
	return record;
}

void check_synced(struct sim_node *node)
{
	struct sim_truth *truth = node->sim->truth;
	const struct log *own = memory_find_log(node->memory, &node->key.public);

	for (size_t i = own ? own->durable : 0; i > 0; i--) {
		const struct blob *blob = own->entries[i - 1].blob;
		if (find(truth, &blob->id)) {
			if (!node->sim->rewinds)
				break;
			continue;
		}
		struct truth_record *record = must(calloc(1, sizeof(*record)));
		*record = (struct truth_record){ blob->id, blob->prev, blob->voucher, blob->seq, { 0 } };
		HASH_ADD(hh, truth->records, id, sizeof(record->id), record);
	}
}

static bool has_before(const struct log *log, size_t at)
{
	const struct blob *blob = log->entries[at].blob;

	for (size_t i = at; i > 0; i--) {
		const struct blob *before = log->entries[i - 1].blob;
		if (before->seq + 1 < blob->seq)
			return false;
		if (before->seq + 1 == blob->seq && id_equal(&before->id, &blob->prev))
			return true;
	}
	return false;
}

static void check_log(struct sim_node *node, const struct log *log)
{
	struct sim *sim = node->sim;
	const struct sim_node *author = NULL;
	bool is_own = id_equal(&log->device, &node->key.public);

	sim->checks++;
	for (size_t i = 0; i < (is_own ? log->durable : log->count) && !sim->failure[0]; i++) {
		const struct blob *blob = log->entries[i].blob;
		const struct truth_record *record = find(sim->truth, &blob->id);
		if (!author && !record)
			author = sim_author(sim, &log->device);
		if (!record && !(author && author->lies))
			sim_fail(sim, node, "holds record %llu of node %d, which its author's disk never held",
				 (unsigned long long)blob->seq, author ? (int)author->index : -1);
		else if (!id_equal(&blob->voucher, &log->device) || (record && !id_equal(&record->device, &log->device)))
			sim_fail(sim, node, "a record stands in another's log");
		else if (blob->seq > 0 ? !has_before(log, i) : !id_is_zero(&blob->prev))
			sim_fail(sim, node, "a record's predecessor is not there");
		else if (!sim->rewinds && blob->seq != i)
			sim_fail(sim, node, "an honest log has two records %llu", (unsigned long long)blob->seq);
	}
	struct id person = memory_person_of(node->memory, log);
	if (!sim->devices && log->count > INTRO_MAX && !memory_followed_once(node->memory, &person))
		sim_fail(sim, node, "holds %zu records of somebody who is not followed", log->count);
	if (!is_own && log->count > 0 && !log->entries[log->count - 1].is_signed)
		sim_fail(sim, node, "a log ends without a signature");
}

void check_taken(struct sim_node *node, const struct id *device)
{
	const struct log *log = memory_find_log(node->memory, device);

	if (log)
		check_log(node, log);
}

/* ---- who waits ---- */

struct sim_want {
	struct sim_want *next;
	uint64_t token, until_ms;
	struct id version;
};

void check_want(struct sim_node *node, const struct id *version, uint64_t until_ms)
{
	struct sim_want *want = must(calloc(1, sizeof(*want)));

	*want = (struct sim_want){ node->wants, ++node->sim->last_want, until_ms, *version };
	node->wants = want;
	core_want(node->core, version, want->token, until_ms);
}

void check_wanted(struct sim_node *node, const struct event *event)
{
	const struct depot *depot = memory_depot(node->memory);
	struct sim_want **at = &node->wants, *want;
	struct depot_piece piece;

	while (*at && (*at)->token != event->token)
		at = &(*at)->next;
	want = *at;
	if (!want) {
		sim_fail(node->sim, node, "tells one who does not wait");
		return;
	}
	if (node->sim->now_us / 1000 > want->until_ms + WANT_LATE_MS)
		sim_fail(node->sim, node, "tells one who waited %llu ms too late",
			 (unsigned long long)(node->sim->now_us / 1000 - want->until_ms));
	if (event->result == 0 && depot->calls->missing_of(depot->context, &want->version, &piece, 1) != 0)
		sim_fail(node->sim, node, "says that a version is here, and it is not whole");
	*at = want->next;
	free(want);
}

void check_wants_end(struct sim_node *node)
{
	for (struct sim_want *want = node->wants, *next; want; want = next) {
		next = want->next;
		free(want);
	}
	node->wants = NULL;
}

static void check_waiting(struct sim_node *node)
{
	for (const struct sim_want *want = node->wants; want; want = want->next)
		if (node->sim->now_us / 1000 > want->until_ms + WANT_LATE_MS)
			sim_fail(node->sim, node, "lets somebody wait");
}

void check_node(struct sim_node *node)
{
	struct core_counts counts;

	if (++node->turns % CHECK_TURNS != 0)
		return;
	check_waiting(node);
	core_count(node->core, &counts);
	if (counts.memory > node->memory_most)
		node->memory_most = counts.memory;
	if (counts.memory > MEMORY_BASE + counts.sessions * MEMORY_SESSION)
		sim_fail(node->sim, node, "%llu bytes of memory with %llu sessions", (unsigned long long)counts.memory,
			 (unsigned long long)counts.sessions);
}

/* Nothing is kept but what a version names that is here. */
static void check_pieces(struct sim_node *node)
{
	const struct memory *m = node->memory;
	size_t named = 0;

	if (node->life > 1)
		return; /* a crash takes records and leaves their pieces */

	for (size_t i = 0; i < m->log_count; i++)
		for (size_t j = 0; j < m->logs[i]->count; j++) {
			const struct blob *blob = m->logs[i]->entries[j].blob;
			for (size_t k = 0; k < blob->piece_count; k++) {
				struct blob *piece = memory_find_piece(m, &blob->pieces[k].name);
				named += piece && piece->marked != node;
				if (piece)
					piece->marked = node;
			}
		}
	if (named < m->piece_count)
		sim_fail(node->sim, node, "keeps %zu pieces that no version here names", m->piece_count - named);
}

void check_all(struct sim *sim)
{
	for (unsigned i = 0; i < sim->count; i++) {
		check_pieces(&sim->nodes[i]);
		check_waiting(&sim->nodes[i]);
	}
	for (unsigned i = 0; i < sim->count; i++)
		for (size_t j = 0; j < sim->nodes[i].memory->log_count; j++)
			check_log(&sim->nodes[i], sim->nodes[i].memory->logs[j]);
}

void check_closed(struct sim_node *node, const struct event *event)
{
	struct sim *sim = node->sim;
	const struct sim_end *end = wire_find(node, event->session);
	const struct sim_node *other = end ? end->wire->ends[end == &end->wire->ends[0]].node : NULL;
	int result = -event->result;

	sim->closes[result >= 0 && result < 256 ? result : 255]++;
	if (result != EBADMSG && result != EKEYREJECTED && result != EPROTO)
		return;
	if (!node->lies && !(other && other->lies))
		sim_fail(sim, node, "closes a session with honest node %d: %s", other ? (int)other->index : -1, strerror(result));
}

/* ---- all have all ---- */

static struct id digest_of(const struct log *log)
{
	struct id digest = { { 0 } };

	for (size_t i = 0; log && i < log->count; i++)
		id_of_spans(&digest, (struct span[]){ { &digest, sizeof(digest) },
						      { &log->entries[i].blob->id, sizeof(struct id) } }, 2);
	return digest;
}

static bool has_log(const struct sim_node *node, const struct sim_node *author)
{
	const struct log *own = memory_find_log(author->memory, &author->key.public);
	const struct log *log = memory_find_log(node->memory, &author->key.public);
	size_t count = log ? log->count : 0, own_count = own ? own->count : 0;

	if (count != own_count || count == 0)
		return count == own_count;
	if (!node->sim->rewinds)
		return id_equal(&log->entries[count - 1].blob->id, &own->entries[count - 1].blob->id);
	struct id digest = digest_of(log), own_digest = digest_of(own);
	return id_equal(&digest, &own_digest);
}

/* Of its peers, those who follow that author or are it; NULL: all. */
static unsigned count_peers(const struct sim_node *node, const struct sim_node *author)
{
	unsigned count = 0;

	for (const struct sim_end *end = node->ends; end; end = end->next) {
		const struct sim_node *peer = end->wire->ends[end == &end->wire->ends[0]].node;
		count += !author || (peer && memory_follows(peer->memory, &author->memory->depot.person));
	}
	return count;
}

bool check_converged(const struct sim *sim, char *out_why, size_t why_size)
{
	for (unsigned i = 0; i < sim->count; i++) {
		struct sim_node *node = &sim->nodes[i];
		if (node->lies || !node->core)
			continue;
		for (unsigned j = 0; j < sim->count; j++) {
			const struct sim_node *author = &sim->nodes[j];
			if (i == j || author->lies || !memory_follows(node->memory, &author->memory->depot.person) ||
			    has_log(node, author))
				continue;
			const struct log *log = memory_find_log(node->memory, &author->key.public);
			const struct log *own = memory_find_log(author->memory, &author->key.public);
			snprintf(out_why, why_size, "node %u (sessions %u, followers among them %u) has %zu of %zu records of node %u", i,
				 count_peers(node, NULL), count_peers(node, author), log ? log->count : 0, own ? own->count : 0, j);
			return false;
		}
		uint64_t missing = memory_missing(node->memory);
		if (missing > 0) {
			struct depot_piece piece;
			uint64_t cursor = 0;
			unsigned holders = 0;
			node->memory->depot.calls->missing(node->memory, &cursor, &piece, 1);
			for (unsigned j = 0; j < sim->count; j++)
				holders += memory_find_piece(sim->nodes[j].memory, &piece.name) != NULL;
			snprintf(out_why, why_size, "node %u lacks %llu pieces, the first of version %llu, which %u others hold", i,
				 (unsigned long long)missing, (unsigned long long)piece.version, holders);
			return false;
		}
	}
	return true;
}
