#include "rumor.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* ---- of one peer ---- */

struct rumor_log {
	struct id device; /* key */
	UT_hash_handle hh;
};

void rumor_pruned_finish(struct rumor_pruned *pruned)
{
	for (struct rumor_log *log = pruned->logs, *next; log; log = next) {
		next = log->hh.next;
		HASH_DEL(pruned->logs, log);
		free(log);
	}
}

static struct rumor_log *find_log(const struct rumor_pruned *pruned, const struct id *device)
{
	struct rumor_log *log;

	HASH_FIND(hh, pruned->logs, device, sizeof(*device), log);
	return log;
}

bool rumor_is_pruned(const struct rumor_pruned *pruned, const struct id *device)
{
	return pruned->all || find_log(pruned, device);
}

void rumor_prune(struct rumor_pruned *pruned, const struct id *device)
{
	if (rumor_is_pruned(pruned, device))
		return;
	struct rumor_log *log = HASH_COUNT(pruned->logs) < RUMOR_PRUNED_MAX ? calloc(1, sizeof(*log)) : NULL;
	if (log) {
		log->device = *device;
		HASH_ADD(hh, pruned->logs, device, sizeof(log->device), log);
	}
	if (!log || !log->hh.tbl) {
		free(log);
		pruned->all = true;
		rumor_pruned_finish(pruned);
	}
}

void rumor_graft(struct rumor_pruned *pruned, const struct id *device)
{
	struct rumor_log *log = find_log(pruned, device);

	if (!log)
		return;
	HASH_DEL(pruned->logs, log);
	free(log);
}

size_t rumor_pruned_memory(const struct rumor_pruned *pruned)
{
	return HASH_COUNT(pruned->logs) * sizeof(struct rumor_log) + HASH_OVERHEAD(hh, pruned->logs);
}

/* ---- of the node ---- */

struct noted {
	struct id device; /* key */
	struct rumor_note note; /* the newest head told of */
	uint64_t due_ms;
	UT_hash_handle hh;
};

struct rumor {
	struct noted *noted;
};

struct rumor *rumor_new(void)
{
	return calloc(1, sizeof(struct rumor));
}

static void forget(struct rumor *rumor, struct noted *n)
{
	HASH_DEL(rumor->noted, n);
	free(n);
}

void rumor_free(struct rumor *rumor)
{
	if (!rumor)
		return;
	for (struct noted *n = rumor->noted, *next; n; n = next) {
		next = n->hh.next;
		forget(rumor, n);
	}
	free(rumor);
}

static struct noted *find_noted(const struct rumor *rumor, const struct id *device)
{
	struct noted *n;

	HASH_FIND(hh, rumor->noted, device, sizeof(*device), n);
	return n;
}

static struct noted *add_noted(struct rumor *rumor, const struct head *head, uint64_t now_ms)
{
	struct noted *n = HASH_COUNT(rumor->noted) < RUMOR_NOTED_MAX ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return NULL;
	n->device = head->device;
	n->due_ms = now_ms + RUMOR_WAIT_MS;
	HASH_ADD(hh, rumor->noted, device, sizeof(n->device), n);
	if (n->hh.tbl)
		return n;
	free(n);
	return NULL;
}

void rumor_noted(struct rumor *rumor, const struct head *head, uint64_t session, uint64_t now_ms)
{
	struct noted *n = find_noted(rumor, &head->device);

	if (!n)
		n = add_noted(rumor, head, now_ms);
	if (!n)
		return;
	struct rumor_note *note = &n->note;
	if (head->seq >= note->head.seq)
		note->head = *head;
	for (unsigned i = 0; i < note->teller_count; i++)
		if (note->tellers[i] == session)
			return;
	if (note->teller_count < RUMOR_TELLERS_MAX)
		note->tellers[note->teller_count++] = session;
}

void rumor_came(struct rumor *rumor, const struct id *device, uint64_t seq)
{
	struct noted *n = find_noted(rumor, device);

	if (n && n->note.head.seq <= seq)
		forget(rumor, n);
}

static void remove_teller(struct rumor_note *note, uint64_t session)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < note->teller_count; i++)
		if (note->tellers[i] != session)
			note->tellers[kept++] = note->tellers[i];
	note->teller_count = kept;
}

void rumor_gone(struct rumor *rumor, uint64_t session)
{
	for (struct noted *n = rumor->noted, *next; n; n = next) {
		next = n->hh.next;
		remove_teller(&n->note, session);
		if (n->note.teller_count == 0)
			forget(rumor, n);
	}
}

bool rumor_due(struct rumor *rumor, uint64_t now_ms, struct rumor_note *out)
{
	for (struct noted *n = rumor->noted; n; n = n->hh.next) {
		if (n->due_ms > now_ms)
			continue;
		*out = n->note;
		forget(rumor, n);
		return true;
	}
	return false;
}

uint64_t rumor_deadline_ms(const struct rumor *rumor)
{
	uint64_t deadline = UINT64_MAX;

	for (const struct noted *n = rumor->noted; n; n = n->hh.next)
		deadline = n->due_ms < deadline ? n->due_ms : deadline;
	return deadline;
}

size_t rumor_memory(const struct rumor *rumor)
{
	return HASH_COUNT(rumor->noted) * sizeof(struct noted) + HASH_OVERHEAD(hh, rumor->noted);
}
