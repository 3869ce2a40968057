/* Those who follow what we follow: nodes beyond the sessions that are there are tried, one after the other. */
#include <stdlib.h>
#include <string.h>

#include "core_private.h"

#define FIND_MS_MIN 2000     /* between tries while somebody followed has no follower here; a sixteenth more each time, to AGAIN_MS */
#define FIND_LOOK_MS 1000    /* between looks at who is missed */
#define FIND_TRY_MS AGAIN_MS /* an address tried so long ago is worth another try */
#define FIND_THIN 2          /* sessions that the same is had from: they stay; where there are many sessions, the last one */
#define DEVICES_MAX 64       /* of those who are missed: their addresses go first */

/* ---- who is missed ---- */

static int compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

static ssize_t index_of(const struct core *core, const struct id *entity)
{
	const struct id *at = core->followed_count ? bsearch(entity, core->followed, core->followed_count, sizeof(*entity),
							     compare_ids) : NULL;

	return at ? at - core->followed : -1;
}

void find_told(struct link *link, const struct id *person)
{
	ssize_t index = link->core->followed ? index_of(link->core, person) : -1;

	if (index < 0 || link->told[index / 8] >> index % 8 & 1)
		return;
	link->told[index / 8] |= (uint8_t)(1 << index % 8);
	link->core->find.stale = true;
}

bool find_has_told(const struct link *link, const struct id *person)
{
	ssize_t index = link->core->followed ? index_of(link->core, person) : -1;

	return index >= 0 && link->told[index / 8] >> index % 8 & 1;
}

void find_told_document(struct link *link, const struct id *document, bool any)
{
	const struct authors *authors = &link->core->authors;
	const struct id *at = bsearch(document, authors->documents, authors->document_count, sizeof(*document), compare_ids);

	if (!at)
		return;
	size_t index = (size_t)(at - authors->documents);
	if (any)
		link->told_documents[index / 8] |= (uint8_t)(1 << index % 8);
	else
		link->told_documents[index / 8] &= (uint8_t)~(1 << index % 8);
	link->core->find.stale = true;
}

static bool has_told(const struct link *link, size_t index)
{
	return link->core->followed && link->told[index / 8] >> index % 8 & 1;
}

static int count_one(void *visitor, const struct head *head)
{
	unsigned *count = visitor;

	return ++*count > 1;
}

/* Nobody else has what this device alone makes. */
static bool is_alone(const struct core *core)
{
	const struct depot *depot = core->depot;
	unsigned count = 0;

	if (!id_equal(&depot->person, &depot->key->public))
		return false;
	depot->calls->each_head_of(depot->context, &depot->person, count_one, &count);
	return count <= 1;
}

struct looking {
	struct core *core;
	unsigned thin;
	bool alone; /* this device is all of its person */
	size_t at, missed;
	struct id *devices; /* of those who are missed; NULL: not asked for */
	size_t device_count;
};

static bool is_sought(const struct looking *l, const struct id *entity)
{
	if (authors_has(l->core, entity))
		return authors_is_sure(l->core, entity);
	return !l->alone || !id_equal(entity, &l->core->depot->person);
}

/* Who follows it and has something of it is a source; who only has it goes no more than the last source does. */
static int look_at(void *visitor, const struct id *entity)
{
	struct looking *l = visitor;
	size_t index = l->at++;
	unsigned sources = 0, holders = 0;
	struct id records;

	if (l->at > NOTES_MAX)
		return 1; /* of more than that the first ones stand for all */
	bool is_author = authors_has(l->core, entity);
	if (is_author)
		follow_records_of(&records, entity);
	for (struct link *link = l->core->links; link; link = link->hh.next) {
		if (link->state != LINK_READY)
			continue;
		bool wants = spread_wants(link, is_author ? &records : entity) || (is_author && spread_wants(link, entity));
		bool told = has_told(link, index);
		link->holds = wants || told;
		link->shares |= wants;
		holders += link->holds;
		sources += wants && (told || !l->core->followed);
	}
	for (struct link *link = l->core->links; link && holders <= l->thin; link = link->hh.next)
		link->needed |= link->state == LINK_READY && link->holds;
	if (sources > 0 || !is_sought(l, entity))
		return 0;
	l->missed++;
	if (l->devices && l->device_count < DEVICES_MAX)
		l->devices[l->device_count++] = *entity;
	return 0;
}

/* Who follows it or knows its authors: two stay, one is missed. */
static void look_at_document(struct looking *l, size_t index)
{
	const struct id *document = &l->core->authors.documents[index];
	unsigned holders = 0;

	for (struct link *link = l->core->links; link; link = link->hh.next) {
		if (link->state != LINK_READY)
			continue;
		link->holds = spread_wants(link, document) || link->told_documents[index / 8] >> index % 8 & 1;
		holders += link->holds;
	}
	for (struct link *link = l->core->links; link && holders <= l->thin; link = link->hh.next)
		link->needed |= link->state == LINK_READY && link->holds;
	l->missed += holders == 0;
}

static int add_device(void *visitor, const struct head *head)
{
	struct looking *l = visitor;

	if (l->device_count == DEVICES_MAX)
		return 1;
	l->devices[l->device_count++] = head->device;
	return 0;
}

static void look_around(struct core *core, struct looking *l)
{
	const struct depot *depot = core->depot;
	unsigned sessions = 0;

	l->core = core;
	l->alone = is_alone(core);
	for (struct link *link = core->links; link; link = link->hh.next) {
		link->needed = link->shares = false;
		sessions += link->outgoing;
	}
	l->thin = sessions > 2 * core->options.peers_aim ? 1 : FIND_THIN;
	if (core->followed)
		for (size_t i = 0; i < core->followed_count; i++)
			look_at(l, &core->followed[i]);
	else
		depot->calls->each_followed(depot->context, look_at, l);
	for (size_t i = 0; i < core->authors.document_count; i++)
		look_at_document(l, i);
	size_t entities = l->device_count;
	for (size_t i = 0; i < entities; i++)
		depot->calls->each_head_of(depot->context, &l->devices[i], add_device, l);
	core->find.stale = false;
	core->find.look_ms = core->now_ms + FIND_LOOK_MS;
}

/* Quick again where somebody is missed who was not; not each time that others come and go. */
static void look(struct core *core, struct looking *l)
{
	struct find *find = &core->find;

	look_around(core, l);
	if (l->missed > find->missed && find->quick_ms <= core->now_ms) {
		find->wait_ms = FIND_MS_MIN;
		find->quick_ms = core->now_ms + AGAIN_MS;
	}
	if (l->missed > find->missed && find->next_ms > core->now_ms + find->wait_ms)
		find->next_ms = core->now_ms + find->wait_ms;
	find->missed = l->missed;
}

static void look_again(struct core *core)
{
	struct looking l = { 0 };

	look(core, &l);
}

/* ---- a scout has come back ---- */

static bool may_go(const struct link *link)
{
	const struct core *core = link->core;

	return link->state == LINK_READY && link->outgoing && !link->needed && !link->scout && link->survey.complete &&
	       !link->survey.running && ask_count(link) == 0 && chase_behind(core->chase, link->session) == 0 &&
	       !book_is_wanted(core->book, link->address);
}

/* One that is not needed, by lot: so the sessions of all mix. Those to whom we may be needed only if there is no other. */
static void let_one_go(struct core *core)
{
	struct link *loser = NULL;
	uint32_t among = 0;
	unsigned sessions = 0;

	for (struct link *link = core->links; link; link = link->hh.next) {
		sessions += link->state != LINK_CLOSING;
		if (!may_go(link) || (loser && link->shares && !loser->shares))
			continue;
		among = loser && link->shares == loser->shares ? among + 1 : 1;
		if (core_chance(core) % among == 0)
			loser = link;
	}
	if (!loser || sessions <= core->options.peers_aim)
		return;
	loser->apart = true;
	link_close(loser, 0);
}

static void judge(struct core *core)
{
	for (struct link *link = core->links; link; link = link->hh.next) {
		if (!link->scout || link->state != LINK_READY || !link->survey.complete || link->survey.running ||
		    link->filter_size == 0 || ask_count(link) > 0)
			continue;
		link->scout = false;
		look_again(core);
		let_one_go(core);
	}
}

/* ---- scouts ---- */

static int worth_of(void *context, const struct id *device)
{
	const struct looking *l = context;

	if (id_is_zero(device))
		return 0;
	if (id_equal(device, &l->core->depot->key->public) || core_find_device(l->core, device, NULL))
		return -1;
	for (size_t i = 0; i < l->device_count; i++)
		if (id_equal(device, &l->devices[i]))
			return 1;
	return 0;
}

static unsigned count_scouts(const struct core *core)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FIND_SCOUTS; i++)
		count += core->find.scouting[i][0] != '\0';
	for (const struct link *link = core->links; link; link = link->hh.next)
		count += link->scout && link->state != LINK_CLOSING;
	return count;
}

static void send_scout(struct core *core)
{
	struct id devices[DEVICES_MAX];
	struct looking l = { .devices = devices };
	struct book_dial dial;
	unsigned slot = 0;

	if (count_scouts(core) >= FIND_SCOUTS || !dial_has_room(core) || HASH_COUNT(core->links) >= SESSIONS_MAX / 2)
		return;
	while (core->find.scouting[slot][0])
		slot++;
	look(core, &l);
	if (!book_scout(core->book, FIND_TRY_MS, worth_of, &l, &dial))
		return;
	if (strcmp(dial.address, core->options.address) == 0)
		book_ended(core->book, dial.address, true);
	else if (dial_tell(core, &dial))
		strcpy(core->find.scouting[slot], dial.address);
}

bool find_dialled(struct core *core, const char *address)
{
	for (unsigned i = 0; i < FIND_SCOUTS; i++)
		if (core->find.scouting[i][0] && strcmp(core->find.scouting[i], address) == 0) {
			core->find.scouting[i][0] = '\0';
			return true;
		}
	return false;
}

/* One of the peers is asked again whom it knows. */
static void ask_again(struct core *core)
{
	struct link *chosen = NULL;
	uint32_t among = 0;

	for (struct link *link = core->links; link; link = link->hh.next)
		if (link->state == LINK_READY && link->peers_ms > core->now_ms &&
		    link->peers_ms - core->now_ms < AGAIN_MS - AGAIN_SOON_MS && core_chance(core) % ++among == 0)
			chosen = link;
	if (!chosen)
		return;
	chosen->peers_ms = core->now_ms;
	dial_ask(chosen);
}

void find_pump(struct core *core)
{
	struct find *find = &core->find;

	if (!core->options.dial || core->ending)
		return;
	judge(core);
	if (find->stale && find->look_ms <= core->now_ms)
		look_again(core);
	if (find->next_ms > core->now_ms)
		return;
	if (find->next_ms == 0) {
		find->stale = true;
		find->wait_ms = FIND_MS_MIN;
	} else {
		ask_again(core);
		send_scout(core);
	}
	/* Also where all is well one is tried now and then: those who follow one another may be apart in two halves. */
	uint64_t wait_ms = find->missed > 0 ? find->wait_ms : AGAIN_MS;
	find->next_ms = core->now_ms + wait_ms + core_chance(core) % (wait_ms / 4);
	find->wait_ms += find->wait_ms / 16;
	if (find->wait_ms > AGAIN_MS)
		find->wait_ms = AGAIN_MS;
}

uint64_t find_deadline_ms(const struct core *core)
{
	const struct find *find = &core->find;

	if (!core->options.dial || core->ending)
		return UINT64_MAX;
	return find->stale && find->look_ms < find->next_ms ? find->look_ms : find->next_ms;
}
