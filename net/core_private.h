/*
 * core_private.h - the parts of core.c: one struct a node, one a session, and which file does what with them.
 *
 *   core.c         what the shell calls
 *   core_turn.c    what is done after each input, and when something is next
 *   core_link.c    a session's bytes: frames, queues, closing, silence
 *   core_greet.c   its handshake
 *   core_hear.c    packets that came: one row a kind, and what unasked ones may cost
 *   core_meet.c    ready, introduction, duplicate sessions, pings, receipts
 *   core_ask.c     queries of ours, pages that answer them
 *   core_serve.c   queries of peers, pages we make
 *   core_survey.c  whose logs are where: heads
 *   core_pull.c    records and pieces into the depot
 *   core_spread.c  new records to peers: push, note, graft, prune
 *   core_push.c    pushes that came
 *   core_dial.c    addresses: dialling, telling
 *   core_find.c    who else follows what we follow
 *   core_authors.c who writes the documents that are followed
 *   core_view.c    what people see
 *
 * Inputs change state and mark the core stirred; what follows from it is done once a turn, by core_turn().
 * Links are freed in core_closed() and core_free() alone; who closes one (link_close(), link_offend()) may
 * go on using it, and finds it in LINK_CLOSING.
 */
#ifndef CORE_PRIVATE_H
#define CORE_PRIVATE_H

#include <uthash.h>

#include "book.h"
#include "chase.h"
#include "core.h"
#include "earn.h"
#include "fetch.h"
#include "follow.h"
#include "receipt.h"
#include "reconcile.h"
#include "rumor.h"
#include "stream.h"

#define AGAIN_MS (10 * 60 * 1000) /* heads and peers are asked for again: what was lost on the way is found then */
#define AGAIN_SOON_MS 5000        /* the same when there is reason to; not more often */
#define ABSENT_MS_MIN 2000        /* until peers are asked again for pieces that they lacked: they may be fetching them; doubling to AGAIN_MS */
#define PAGE_MS_MAX 120000        /* of queries that none of was answered: a page by a line of 64 kbit/s takes 33 s */
#define ANSWERS_MAX 2             /* made for one session at a time */
#define ASKS_MAX (2 * QUERIES_MAX) /* unanswered, and pages under check */
#define NOTES_WAITING_MAX 1024    /* of one peer; the oldest is lost first, AGAIN_MS mends it */
#define NOTES_PACKET_MAX 1024     /* heads of one packet */
#define RANGED_MS 2000            /* after its last ranges a peer notes what they showed that we lack */
#define HELD_MAX 4                /* pushes of one peer whose pieces wait for their records */
#define HELD_SIZE_MAX (128 * 1024) /* bytes of pieces of one push: we send half of it */
#define PUSH_PIECES_SIZE (64 * 1024) /* bytes of pieces sent along */
#define PUSH_RECORDS_SIZE (256 * 1024) /* bytes of records sent outright; longer chains are noted */
#define STRANGE_RECORDS_MAX 1024  /* of a log that a peer calls a followed person's and the person does not: an admission may come late */
#define WANTS_MAX 1024
#define DOCUMENTS_MAX 256         /* followed whoever writes them */

struct parcel { /* a packet that waits to be sent */
	struct parcel *next;
	size_t size;
	bool final;
	uint8_t bytes[];
};
struct parcels {
	struct parcel *first, *last;
};

enum link_state {
	LINK_GREETING, /* handshake */
	LINK_WAITING,  /* server: for a slot (earn.h) */
	LINK_OPENING,  /* keys are there, the peer's READY is not */
	LINK_READY,
	LINK_CLOSING,  /* until core_closed(): what waits may still be sent */
};

enum ask_kind { ASK_NOTHING, ASK_INTRO, ASK_HEADS, ASK_RECORDS, ASK_PIECES, ASK_PEERS, ASK_AUTHORS };
struct ask {
	enum ask_kind kind;
	uint64_t nonce;
	uint64_t number;   /* records, pieces: chase.h's, fetch.h's; heads: the survey's round; intro: 1 is the longer one */
	uint64_t asked_ms;
	struct id device;  /* intro; authors: the document */
	bool came;         /* its page is under check */
};

enum survey_mode { SURVEY_OF, SURVEY_ALL, SURVEY_RANGES };
struct survey {
	enum survey_mode mode;
	bool running, asked, complete; /* complete: came to its end once */
	bool forced;       /* server: by ranges, since the peer noted what is not known here */
	uint64_t next_ms;  /* when to begin (again); UINT64_MAX: not known yet */
	uint64_t round;    /* counts the beginnings */
	size_t at, chunk;  /* OF: of core->followed */
	struct id after;   /* ALL */
	struct reconcile_set *set;
	struct reconcile *reconcile;
	struct bytes message; /* RANGES: the next */
};

enum intro_state { INTRO_WANTED, INTRO_ASKED, INTRO_LONGER, INTRO_DONE };
struct intro { /* the beginning of a log, so that its person has a name here */
	enum intro_state state;
	struct id device;
};

#define ALLOWANCE_MAX (2 * RECORDS_PER_SECOND_MAX)
struct allowance { /* refilled by RECORDS_PER_SECOND_MAX a second */
	uint64_t left, ms;
};

struct link {
	uint64_t session;
	struct core *core;
	enum link_state state;
	int result;                 /* closing: why */
	bool outgoing, known;       /* known: followed, or there is a receipt */
	bool worked;                /* outgoing: the server proved that it has the keys */
	bool apart;                 /* closed for a reason that stays: do not dial soon */
	bool scout;                 /* dialled to see whether it follows whom nobody here does; not judged yet */
	bool needed, shares, holds; /* as of the last look: few others have what it has; it follows whom we follow */
	char address[ADDRESS_SIZE_MAX];
	struct id device, person, cb; /* person: as it says */
	uint64_t follow_count, log_count; /* as it says */
	uint32_t effort;

	struct handshake *handshake; /* GREETING */
	struct handshake_keys keys;  /* WAITING */
	struct work *puzzle;         /* out; looks at cancelled */
	struct stream stream;
	bool streaming;

	struct bytes in;             /* a frame that is not whole */
	struct bytes out;            /* handshake messages, frames */
	size_t out_at;               /* of them given */
	struct parcels urgent, bulk; /* bulk: pages */
	size_t queued, unsent;       /* bytes: in parcels; taken by the shell and not sent */

	uint64_t begun_ms, heard_ms, page_ms; /* page_ms: a page came, or the first query went out */
	uint64_t read, read_ms;      /* bytes that the peer's side has read of ours, and since when no more */
	uint64_t since_ms;           /* wall time */
	uint64_t ping_ms, ping_token, round_trip_ms; /* ping_ms 0: none out */
	uint64_t nonce;              /* of the newest query */

	struct ask asks[ASKS_MAX];
	unsigned ask_count;          /* of them unanswered */
	struct survey survey;
	uint8_t told[NOTES_MAX / 8]; /* bit i: it has something of core->followed[i] */
	struct intro intros[2];
	uint64_t peers_ms;           /* when to ask for peers */
	uint64_t authors_ms, authors_asked_ms; /* when to ask for authors; when that was done last */
	size_t author_at;            /* of core->authors.documents: the next */
	bool authors_out;            /* one is asked for */
	unsigned false_authors;      /* it told of, and they were none */
	uint8_t told_documents[DOCUMENTS_MAX / 8]; /* bit i: it knows authors of core->authors.documents[i] */
	struct work *queries;        /* of the peer, oldest first */
	unsigned query_count, answering;

	uint8_t *filter;             /* whom the peer follows */
	size_t filter_size;
	uint8_t follow_key[FOLLOW_KEY_SIZE];
	bool follow_due;             /* ours is to be sent, */
	bool filter_late;            /* heads were asked for before it went out */
	uint64_t filter_ms;          /* not before, */
	uint64_t follow_mark;        /* nor before so many bytes are sent: the last one is among them */
	struct rumor_pruned pruned;
	uint64_t ranged_ms;          /* the peer asked by ranges last; 0: never */
	struct head *notes;          /* waiting; NOTES_WAITING_MAX */
	size_t note_count, note_room;
	struct allowance heard, said; /* of what is unasked */

	struct receipts receipts;
	bool has_own_told;
	struct head own_told;        /* what the peer has of our own log */
	uint64_t received, sent, records, pieces, offences;
	UT_hash_handle hh;
};

enum job_kind { JOB_TAKE, JOB_INTRO, JOB_PIECES };
struct job { /* what a work of records or pieces is for */
	uint64_t token;
	enum job_kind kind;
	uint64_t session, number; /* TAKE: chase.h's */
	struct id device;
	bool pushed, was_here, was_forked;
	uint64_t before;          /* TAKE: seq of the head, if was_here */
	struct id before_record;
	bool spread;              /* PIECES: of a push: these records go on to others then */
	uint64_t from, to;
	UT_hash_handle hh;
};

struct held { /* pieces of a push whose records are being taken */
	struct held *next;
	uint64_t session;
	struct id device;
	uint64_t last;            /* seq of the last record */
	struct bytes pieces;      /* the packet they stand in */
};

struct want {
	struct want *next;
	struct id version;
	uint64_t token, until_ms;
};

struct author { /* of a document that is followed; not followed himself */
	struct id person, document;
	bool sure;         /* else a peer said so */
	uint64_t session, round, since_ms; /* which peer, during which of its surveys, and when */
	UT_hash_handle hh;
};
#define FALSE_KEPT 1024 /* who was said to be an author and was none: not tried again */
struct authors {
	struct id documents[DOCUMENTS_MAX]; /* sorted */
	size_t document_count, guess_count; /* guesses: not sure */
	struct author *by_person;
	struct wrong {
		struct id person, document;
	} *wrong;            /* a ring of FALSE_KEPT; NULL: none yet */
	unsigned wrong_at;
};

#define STRANGERS_DAY 1024     /* logs of strangers begun, so that they have a name; half of them only by those whom we dialled */
#define STRANGE_DAY 65536      /* records of devices that others say are those of somebody followed */
#define AUTHORS_DAY 262144     /* records of authors of documents followed */
struct budget { /* of a day, refilled all the time */
	uint64_t used, ms;
};

#define FIND_SCOUTS 2 /* at a time */
struct find {
	bool stale;                /* sessions or those followed are others than at the last look */
	uint64_t look_ms, next_ms; /* not before: the next look; the next scout */
	uint64_t wait_ms, quick_ms; /* wait_ms begins anew not before quick_ms */
	size_t missed;             /* followed, and no session follows them and has something of them */
	char scouting[FIND_SCOUTS][ADDRESS_SIZE_MAX]; /* being dialled */
};

struct core {
	struct core_options options;
	const struct depot *depot;
	const struct clock *clock;   /* of options */
	uint64_t now_ms;             /* as of this call */
	bool stirred, ending;
	struct handshake_server server;
	struct earn earn;
	struct link *links;
	uint64_t last_session, last_token;
	unsigned half_open, dialling, wanted; /* wanted: remembered at the start, of those followed */
	size_t links_memory;         /* as of the last count */
	size_t moved;                /* bytes since then */
	unsigned queries;            /* of all peers, waiting */
	unsigned answering;          /* pages under way, of all sessions */
	uint64_t served_last;        /* session that a page was begun for last */

	struct event *events;        /* a ring */
	size_t event_first, event_count, event_capacity;
	struct work *works, *works_last;
	struct job *jobs;
	struct bytes packet;         /* the one under way */

	struct book *book;
	struct find find;
	struct authors authors;
	struct budget strangers, strange, author_records;
	struct rumor *rumor;
	struct chase *chase;
	struct fetch *fetch;
	struct held *held;
	struct want *wants;
	size_t want_count;

	struct id *followed;         /* sorted; NULL if over NOTES_MAX */
	size_t followed_count;
	uint64_t follow_total;

	bool appended, syncing, sync_again;
	bool has_own;
	uint64_t own_seq;            /* durable and told to peers */
	struct id own_record;        /* its id: a forked log may go on from a lower seq */
	bool own_known;              /* was told by event */

	bool missing_stale, missing_done; /* there may be new ones; the cursor came to the end */
	uint64_t missing_cursor, missing_ms, missing_seen; /* ms: not to begin anew before */
	uint64_t absent_ms, absent_wait_ms; /* when peers are asked again for what they lacked (0: they lack nothing); the wait before */
	unsigned reconciling;        /* links with a set in memory */
	bool synced;                 /* was told by event */
	struct core_counts counts;
};

/* core.c */
struct event *core_tell(struct core *core, enum event_kind kind, const struct link *link); /* NULL: no memory, lost */
void core_send_work(struct core *core, struct work *work); /* the core's; NULL does nothing */
struct link *core_find(struct core *core, uint64_t session); /* NULL */
struct link *core_find_device(struct core *core, const struct id *device, const struct link *but);
struct job *core_job(struct core *core, struct work *work, enum job_kind kind); /* NULL: no memory */
int core_remember(struct core *core, const void *key, size_t key_size, const void *value, size_t value_size);
uint32_t core_chance(struct core *core);

/* core_turn.c */
void core_turn(struct core *core);

/* core_link.c */
struct link *link_new(struct core *core, const char *address, bool outgoing, const struct id *expected);
void link_free(struct link *link);
int link_take(struct link *link, const uint8_t *bytes, size_t size);
bool link_give(struct link *link, struct bytes *out, size_t size_max);
void link_set_state(struct link *link, enum link_state state);
void link_close(struct link *link, int result); /* says goodbye, tells EVENT_CLOSE */
void link_end(struct link *link, int result);   /* the same without the event: the connection is gone */
enum offence { OFFENCE_MALFORMED, OFFENCE_SIGNATURE, OFFENCE_FLOOD, OFFENCE_UNASKED };
void link_offend(struct link *link, enum offence offence);
void link_send(struct link *link, struct bytes *packet, bool bulk); /* copies; an error of `packet` closes. Finishes it */
size_t link_waiting(const struct link *link); /* bytes to be sent or taken */
void link_tick(struct link *link);
uint64_t link_deadline_ms(const struct link *link);
size_t link_memory(const struct link *link);

/* core_greet.c */
struct handshake *greet_begin(const struct link *link, const struct id *expected);
void greet_advance(struct link *link); /* gives what there is to say, sees whether it is done */
ssize_t greet_take(struct link *link, const uint8_t *bytes, size_t size);
void greet_fail(struct link *link, int result);
void greet_open(struct link *link); /* WAITING -> OPENING: it has its slot */
void greet_solved(struct link *link, struct work *work);

/* core_hear.c: 0, or the link is closing */
int hear_packet(struct link *link, const uint8_t *bytes, size_t size);
bool allowance_take(struct allowance *a, uint64_t now_ms, uint64_t cost);
bool budget_has(struct budget *b, uint64_t now_ms, uint64_t day);
void budget_spend(struct budget *b, uint64_t cost);

/* core_meet.c */
void meet_begin(struct link *link); /* sends READY */
int meet_ready(struct link *link, const struct packet *packet);
bool meet_may_follow(const struct link *link);
void meet_pump(struct link *link);  /* follow filter, introductions */
void meet_intro(struct link *link, const struct ask *ask, const struct page *page);
void meet_thank(struct link *link);
int meet_thanks(struct link *link, const struct packet *packet);
int meet_welcome(struct link *link, const struct packet *packet);
void meet_ping(struct link *link);
int meet_pong(struct link *link, const struct packet *packet);
struct id meet_person(const struct link *link); /* it speaks for, if that is so; zero: nobody is known to */
bool meet_is_known(struct core *core, const struct id *device);

/* core_ask.c */
bool ask_room(const struct link *link);
/* Room for one more, filled but for what the packet needs; NULL: none, or none to be had. */
struct ask *ask_begin(struct link *link, enum ask_kind kind);
void ask_pump(struct link *link); /* all that it has room for */
int ask_page(struct link *link, const struct packet *packet);
void ask_checked(struct link *link, struct work *work);
unsigned ask_count(const struct link *link);

/* core_serve.c */
int serve_query(struct link *link, const struct query *query, const uint8_t *bytes, size_t size);
void serve_pump(struct core *core);
void serve_answered(struct link *link, struct work *work);

/* core_survey.c */
void survey_start(struct link *link, uint64_t in_ms); /* at the latest then */
void survey_stop(struct link *link);
bool survey_pump(struct link *link); /* asks */
void survey_take(struct link *link, const struct ask *ask, const struct page *page);
void survey_told(struct link *link, const struct head *head);
void survey_own(struct link *link);
int survey_follows(struct core *core); /* reads the list anew. -ENOMEM */
void survey_unfollow(struct core *core, const struct id *before, size_t count);

/* core_pull.c */
bool pull_follows(struct core *core, const struct head *head); /* is this log wanted, and may more of it be taken now? */
void pull_records(struct core *core); /* makes works of takes */
void pull_taken(struct core *core, const struct job *job, const struct work *work);
void pull_page(struct link *link, const struct ask *ask, const struct page *page, struct work *work);
void pull_pieces_done(struct core *core, const struct job *job, const struct work *work);
int pull_pieces(struct core *core, uint64_t session, struct bytes *input, const struct piece_item *pieces, size_t count,
		struct job **out_job);
void pull_missing(struct core *core);
int pull_want(struct core *core, const struct id *version, uint64_t token, uint64_t until_ms);
void pull_told(struct core *core);
bool pull_is_idle(struct core *core);

/* core_spread.c */
int spread_note(struct link *link, const struct packet *packet);
int spread_graft(struct link *link, const struct packet *packet);
int spread_prune(struct link *link, const struct packet *packet);
int spread_filter(struct link *link, const struct packet *packet);
bool spread_wants(const struct link *link, const struct id *person);
/* Records from .. to of a log to all that follow it, but `from_session`. eagerly: by push to those who did not prune. */
void spread_log(struct core *core, const struct id *device, uint64_t from, uint64_t to, uint64_t from_session, bool eagerly);
void spread_to_note(struct link *link, const struct head *head);
void spread_pump(struct link *link); /* notes that wait */
void spread_due(struct core *core);  /* notes that nothing came of */
void spread_own(struct core *core);  /* appended, synced */
void spread_synced(struct core *core, struct work *work);

/* core_authors.c */
void authors_refresh(struct core *core); /* which documents are followed, and by the depot who writes them */
void authors_finish(struct core *core);
bool authors_has(const struct core *core, const struct id *person);     /* its logs are wanted */
bool authors_is_sure(const struct core *core, const struct id *person);
int authors_each(struct core *core, bool sure, int (*visit)(void *visitor, const struct id *person), void *visitor);
bool authors_ask(struct link *link);
void authors_take(struct link *link, const struct ask *ask, const struct page *page);
void authors_hint(struct link *link); /* the peer has news of somebody unknown */
void authors_see(struct core *core, const struct id *person, const struct record_item *item); /* a record came */
bool authors_document(const struct record_item *item, struct id *out); /* of which document is it a version? False: of none */
void authors_surveyed(struct link *link);
void authors_tick(struct core *core);
uint64_t authors_deadline_ms(const struct core *core);
size_t authors_memory(const struct core *core);

/* core_push.c */
int push_take(struct link *link, const struct packet *packet, const uint8_t *bytes, size_t size);
/* Whose log it is that this record begins or goes on with. False: it is no record. */
bool push_person(struct core *core, const struct record_item *first, struct head *out_here, bool *out_is_here,
		 uint64_t *out_seq);
void push_taken(struct core *core, const struct job *job, bool taken); /* its records were, or not: its pieces */
void push_prune(struct link *link, const struct id *device); /* we have this log from another */
void push_gone(struct link *link);

/* core_dial.c */
void dial_load(struct core *core);
void dial_pump(struct core *core);
uint64_t dial_deadline_ms(const struct core *core);
void dial_ask(struct link *link);
void dial_told(struct link *link, const struct page *page);
int dial_answer(struct link *link, const struct query *query);
void dial_worked(struct link *link);
void dial_ended(struct link *link);
void dial_failed(struct core *core, const char *address);
void dial_announced(struct link *link, const char *address, size_t size);
bool dial_has_room(const struct core *core);
bool dial_tell(struct core *core, const struct book_dial *dial); /* false: no memory, it counts as failed */

/* core_find.c */
void find_pump(struct core *core);
uint64_t find_deadline_ms(const struct core *core);
void find_told(struct link *link, const struct id *person); /* the peer has something of theirs */
void find_told_document(struct link *link, const struct id *document, bool any);
bool find_has_told(const struct link *link, const struct id *person);
bool find_dialled(struct core *core, const char *address);  /* a dial is over: was it a scout's? */

#endif
