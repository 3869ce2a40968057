/*
 * Documents that are followed whoever writes them: who does, and what may be taken of their logs.
 *
 * Peers tell the authors they know. One of them is a guess until a version of the document came in a log of his; then he stays one.
 * Records of authors are taken whole, so that logs stay chains that can be checked, within an allowance a day; of pieces
 * the depot asks only for those of the document.
 */
#include <stdlib.h>
#include <string.h>

#include "core_private.h"
#include "record.h"

#define AUTHORS_DOCUMENT_MAX 256  /* of one document: those known longest */
#define AUTHORS_MAX 512           /* of all, beside the entities followed: both are asked for by name up to NOTES_MAX */
#define GUESSES_MAX 64            /* at a time; */
#define GUESSES_LINK_MAX 8        /* of one peer */
#define GUESS_MS_MAX AGAIN_MS     /* until one is given up: his log is long, or nobody has it */
#define FALSE_MAX 8               /* guesses of one peer that came to nothing: it is not asked any more */
#define AUTHORS_AGAIN_MS 30000    /* it has told more than there was room for */

/* ---- what is followed ---- */

static struct author *find(const struct core *core, const struct id *person)
{
	struct author *author;

	HASH_FIND(hh, core->authors.by_person, person, sizeof(*person), author);
	return author;
}

bool authors_has(const struct core *core, const struct id *person)
{
	return find(core, person) != NULL;
}

bool authors_is_sure(const struct core *core, const struct id *person)
{
	const struct author *author = find(core, person);

	return author && author->sure;
}

static void drop(struct core *core, struct author *author)
{
	core->authors.guess_count -= !author->sure;
	HASH_DEL(core->authors.by_person, author);
	free(author);
}

/* NULL: followed anyway, there already, no room. */
static struct author *add(struct core *core, const struct id *person, const struct id *document, bool sure)
{
	const struct depot *depot = core->depot;
	struct authors *authors = &core->authors;

	if (find(core, person) || HASH_COUNT(authors->by_person) >= AUTHORS_MAX || id_is_zero(person) ||
	    depot->calls->follows(depot->context, person))
		return NULL;
	struct author *author = calloc(1, sizeof(*author));
	if (!author)
		return NULL;
	author->person = *person;
	author->document = *document;
	author->sure = sure;
	author->since_ms = core->now_ms;
	HASH_ADD(hh, authors->by_person, person, sizeof(author->person), author);
	if (!author->hh.tbl) {
		free(author);
		return NULL;
	}
	authors->guess_count += !sure;
	return author;
}

static int add_document(void *visitor, const struct id *document)
{
	struct authors *authors = visitor;

	if (authors->document_count == DOCUMENTS_MAX)
		return 1;
	authors->documents[authors->document_count++] = *document;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

static bool follows(const struct authors *authors, const struct id *document)
{
	return authors->document_count &&
	       bsearch(document, authors->documents, authors->document_count, sizeof(*document), compare_ids);
}

struct listing {
	struct id persons[AUTHORS_DOCUMENT_MAX];
	size_t count;
};

static int list_person(void *visitor, const struct id *person)
{
	struct listing *listing = visitor;

	if (listing->count == AUTHORS_DOCUMENT_MAX)
		return 1;
	listing->persons[listing->count++] = *person;
	return 0;
}

void authors_refresh(struct core *core)
{
	const struct depot *depot = core->depot;
	struct authors *authors = &core->authors;
	struct author *author, *next;
	struct listing *listing = calloc(1, sizeof(*listing));

	authors->document_count = 0;
	depot->calls->each_document(depot->context, add_document, authors);
	qsort(authors->documents, authors->document_count, sizeof(authors->documents[0]), compare_ids);
	HASH_ITER(hh, authors->by_person, author, next)
		if (author->sure || !follows(authors, &author->document) ||
		    depot->calls->follows(depot->context, &author->person))
			drop(core, author);
	for (size_t i = 0; listing && i < authors->document_count; i++) {
		listing->count = 0;
		depot->calls->each_author(depot->context, &authors->documents[i], list_person, listing);
		for (size_t j = 0; j < listing->count; j++) {
			author = find(core, &listing->persons[j]);
			if (author)
				authors->guess_count -= !author->sure;
			if (author)
				author->sure = true;
			else
				add(core, &listing->persons[j], &authors->documents[i], true);
		}
	}
	free(listing);
	for (struct link *link = core->links; link; link = link->hh.next) {
		memset(link->told_documents, 0, sizeof(link->told_documents));
		link->author_at = 0;
		link->authors_ms = link->false_authors < FALSE_MAX ? core->now_ms : UINT64_MAX;
	}
}

void authors_finish(struct core *core)
{
	struct author *author, *next;

	HASH_ITER(hh, core->authors.by_person, author, next)
		drop(core, author);
	free(core->authors.wrong);
	core->authors.wrong = NULL;
}

/* ---- asking ---- */

void authors_hint(struct link *link)
{
	struct core *core = link->core;
	uint64_t soonest_ms = link->authors_asked_ms ? link->authors_asked_ms + AGAIN_SOON_MS : core->now_ms;

	if (core->authors.document_count == 0 || link->false_authors >= FALSE_MAX || link->authors_ms <= soonest_ms)
		return;
	link->authors_ms = soonest_ms > core->now_ms ? soonest_ms : core->now_ms;
	core->stirred = true;
}

bool authors_ask(struct link *link)
{
	struct core *core = link->core;
	struct authors *authors = &core->authors;
	struct bytes packet;

	if (authors->document_count == 0 || link->authors_out || link->authors_ms > core->now_ms || link->state != LINK_READY)
		return false;
	if (link->author_at >= authors->document_count)
		link->author_at = 0;
	struct ask *ask = ask_begin(link, ASK_AUTHORS);
	if (!ask)
		return false;
	ask->device = authors->documents[link->author_at++];
	link->authors_out = true;
	link->authors_asked_ms = core->now_ms;
	if (link->author_at >= authors->document_count)
		link->authors_ms = core->now_ms + AGAIN_MS;
	bytes_init(&packet, PACKET_SIZE_MAX);
	packet_put_query_plain(&packet, ask->nonce, QUERY_AUTHORS, &ask->device);
	link_send(link, &packet, false);
	return true;
}

static size_t count_guesses(const struct core *core, uint64_t session)
{
	size_t count = 0;

	for (const struct author *author = core->authors.by_person; author; author = author->hh.next)
		count += !author->sure && author->session == session;
	return count;
}

static bool was_false(const struct authors *authors, const struct id *person, const struct id *document)
{
	for (unsigned i = 0; authors->wrong && i < FALSE_KEPT; i++)
		if (id_equal(&authors->wrong[i].person, person) && id_equal(&authors->wrong[i].document, document))
			return true;
	return false;
}

static bool is_news(const struct core *core, const struct id *person, const struct id *document)
{
	const struct depot *depot = core->depot;

	return !find(core, person) && !was_false(&core->authors, person, document) &&
	       !depot->calls->follows(depot->context, person);
}

/* Some that are new, by lot: who tells many gets no more than his part. How many there were. */
static size_t choose(struct core *core, const struct page *page, const struct id *document, struct id *out, size_t room)
{
	struct cbor_reader items = page->items;
	size_t left = page->item_count, seen = 0;
	struct id person;

	while (packet_next_id(&items, &left, &person)) {
		if (!is_news(core, &person, document))
			continue;
		size_t at = seen < room ? seen : core_chance(core) % (seen + 1);
		seen++;
		if (at < room)
			out[at] = person;
	}
	return seen;
}

/* The list of those whose logs are wanted is another: they are asked for. */
static void changed(struct core *core)
{
	struct link *link, *next;

	if (survey_follows(core) < 0)
		return;
	HASH_ITER(hh, core->links, link, next) {
		if (link->state != LINK_READY)
			continue;
		memset(link->told, 0, sizeof(link->told));
		survey_stop(link);
		survey_start(link, 0);
	}
	core->find.stale = core->stirred = true;
	core->synced = false;
}

void authors_take(struct link *link, const struct ask *ask, const struct page *page)
{
	struct core *core = link->core;
	struct authors *authors = &core->authors;
	struct id chosen[GUESSES_LINK_MAX];
	size_t own = count_guesses(core, link->session), room = own < GUESSES_LINK_MAX ? GUESSES_LINK_MAX - own : 0;
	bool any = false;

	link->authors_out = false;
	if (!follows(authors, &ask->device) || link->false_authors >= FALSE_MAX)
		return;
	find_told_document(link, &ask->device, page->item_count > 0);
	if (room > GUESSES_MAX - authors->guess_count)
		room = GUESSES_MAX - authors->guess_count;
	size_t seen = choose(core, page, &ask->device, chosen, room);
	for (size_t i = 0; i < seen && i < room; i++) {
		struct author *author = add(core, &chosen[i], &ask->device, false);
		if (!author)
			continue;
		author->session = link->session;
		author->round = link->survey.round;
		any = true;
	}
	if (seen > room && link->authors_ms > core->now_ms + AUTHORS_AGAIN_MS)
		link->authors_ms = core->now_ms + AUTHORS_AGAIN_MS;
	if (any)
		changed(core);
}

/* ---- what came of it ---- */

bool authors_document(const struct record_item *item, struct id *out)
{
	struct record *record = record_new();

	bool is_version = record && record_decode(record, item->bytes, item->size) == 0 && record->field == FIELD_VERSION;
	if (is_version && id_is_zero(&record->version.document))
		record_id(out, item->bytes, item->size);
	else if (is_version)
		*out = record->version.document;
	free(record);
	return is_version;
}

/* Of whom a version of the document came is an author. */
void authors_see(struct core *core, const struct id *person, const struct record_item *item)
{
	struct author *author = find(core, person);
	struct id document;

	if (author && !author->sure && authors_document(item, &document) && id_equal(&document, &author->document)) {
		author->sure = true;
		core->authors.guess_count--;
		core->find.stale = core->missing_stale = true;
		for (struct link *link = core->links; link; link = link->hh.next)
			link->follow_due = link->filter_late = link->state == LINK_READY || link->follow_due;
	}
}

static void give_up(struct core *core, struct author *author)
{
	struct authors *authors = &core->authors;
	struct link *link = core_find(core, author->session);

	if (!authors->wrong)
		authors->wrong = calloc(FALSE_KEPT, sizeof(authors->wrong[0]));
	if (authors->wrong)
		authors->wrong[authors->wrong_at++ % FALSE_KEPT] = (struct wrong){ author->person, author->document };
	if (link && ++link->false_authors >= FALSE_MAX)
		link->authors_ms = UINT64_MAX;
	drop(core, author);
}

/* The peer that told of them has been asked for their logs. */
void authors_surveyed(struct link *link)
{
	struct core *core = link->core;
	struct author *author, *next;

	if (!core->followed || core->authors.guess_count == 0)
		return;
	HASH_ITER(hh, core->authors.by_person, author, next)
		if (!author->sure && author->session == link->session && link->survey.round > author->round &&
		    !find_has_told(link, &author->person))
			give_up(core, author);
}

void authors_tick(struct core *core)
{
	struct author *author, *next;

	if (core->authors.guess_count == 0)
		return;
	HASH_ITER(hh, core->authors.by_person, author, next)
		if (!author->sure && core->now_ms - author->since_ms >= GUESS_MS_MAX)
			give_up(core, author);
}

uint64_t authors_deadline_ms(const struct core *core)
{
	uint64_t deadline = UINT64_MAX;

	if (core->authors.guess_count == 0)
		return deadline;
	for (const struct author *author = core->authors.by_person; author; author = author->hh.next)
		if (!author->sure && author->since_ms + GUESS_MS_MAX < deadline)
			deadline = author->since_ms + GUESS_MS_MAX;
	return deadline;
}

int authors_each(struct core *core, bool sure, int (*visit)(void *visitor, const struct id *person), void *visitor)
{
	int stop = 0;

	for (const struct author *author = core->authors.by_person; stop == 0 && author; author = author->hh.next)
		stop = author->sure || !sure ? visit(visitor, &author->person) : 0;
	return stop;
}

size_t authors_memory(const struct core *core)
{
	return HASH_COUNT(core->authors.by_person) * sizeof(struct author) + HASH_OVERHEAD(hh, core->authors.by_person);
}
