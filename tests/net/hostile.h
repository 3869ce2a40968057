/*
 * hostile.h - a peer that speaks the protocol and misbehaves, for the tests of nodes that must bear it.
 *
 *   hostile_shelf.c    a log, true or forged, and its pieces
 *   hostile_session.c  one connection: handshake, frames, answers, and how they are falsified
 *   hostile_crowd.c    many connections: floods, slow senders, identities by the thousand
 *   hostile_words.c    one session that says what it must not
 *   hostile_friend.c   what a friend gone bad serves those who follow it
 *   hostile_tree.c     folders that are much work
 *   hostile.c          the table of modes, and main
 *
 * A test program: without memory it aborts, and it talks to addresses of the loopback alone.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "packet.h"
#include "record.h"
#include "statement.h"
#include "store_limits.h"
#include "stream.h"

/* ---- a log and its pieces ---- */

struct forged {
	struct record_item item; /* owns its bytes */
	struct id id;
	uint64_t seq;
};

struct forgery { /* what is false in a record; zeroes: nothing */
	bool prev, signature, no_signature;
	const struct id *voucher;
	uint64_t ahead_ms;
};

struct shelf {
	struct key key;
	struct forged *records; /* in order of seq */
	size_t record_count, record_capacity;
	struct piece_item *pieces; /* own their bytes */
	size_t piece_count, piece_capacity;
	uint64_t names, time_ms;
	struct packer *packer;
	struct clock clock;
};

/* The key is the seed's own: the same seed is the same person. With a profile as its first record. */
struct shelf *shelf_new(uint64_t seed);
void shelf_free(struct shelf *s);
void shelf_append(struct shelf *s, struct record *record, const struct forgery *forgery);
/* A document of one version; edit (may be NULL) spoils its content before it is signed. */
void shelf_save(struct shelf *s, const void *text, size_t size, void (*edit)(struct content *), const struct forgery *forgery);
void shelf_vote(struct shelf *s, const struct forgery *forgery); /* the smallest record there is */
void shelf_add_piece(struct shelf *s, const void *member, size_t size, struct id *out_name);
void shelf_cut(struct shelf *s, size_t count); /* so many records are left: what follows is a fork */
void shelf_head(const struct shelf *s, struct head *out);
const struct piece_item *shelf_find_piece(const struct shelf *s, const struct id *name);

/* ---- what one mode has to work with ---- */

struct hostile {
	struct sockaddr_in target;
	const char *mode;
	uint64_t seed, seconds, until_ms;
	struct shelf *shelf;
	struct clock clock;
	uint64_t tries, refused, sessions, sent, received, queries; /* told at the end */
};
void begin_clock(struct hostile *h); /* the time runs from now: what was prepared does not count */
bool is_over(const struct hostile *h);
uint64_t number_of(struct hostile *h, uint64_t below); /* by chance */
void nap(unsigned ms);

/* From 127.66.x.y, as source says; nonblocking: the connect may be under way. -1: no. */
int dial(struct hostile *h, unsigned source, bool nonblocking);

/* ---- a session ---- */

enum lie { LIE_NONE, LIE_NONCE, LIE_BINDING, LIE_SIGNATURE, LIE_TWICE, LIE_HALF };

struct session {
	struct hostile *hostile;
	struct shelf *shelf;
	int fd;
	struct handshake_keys keys;
	struct stream stream;
	struct bytes in, packet;
	uint64_t nonce;
	bool ready;          /* the peer's READY came, and ours was said */
	uint64_t queries, pages, pushes; /* that came */
	enum lie lie;        /* in the answers */
	bool is_silent;      /* no answers */
	bool mute;           /* nothing at all */
	/* Spoils an answer before it is signed. */
	void (*edit)(struct session *s, const struct query *query, struct page *page, struct bytes *items);
};

/* Connects, meets, says READY. 0, or why not; then it is closed. */
int session_open(struct session *s, struct hostile *h, struct shelf *shelf, unsigned source);
void session_close(struct session *s);
int session_send(struct session *s, struct bytes *packet); /* finishes it */
int session_write(struct session *s, const void *bytes, size_t size); /* as it is */
/* Takes what comes within so many milliseconds, and answers it. Negative: it is over. */
int session_turn(struct session *s, int wait_ms);
/* The same until the end of the time, or of the session. */
void session_stay(struct session *s);
/* Until the peer has asked nothing for so long; four times that at most. */
int session_settle(struct session *s, unsigned quiet_ms);
/* A push of the records from .. to of the shelf, with the pieces named. */
int session_push(struct session *s, size_t from, size_t to, size_t piece_count);
int session_note(struct session *s, const struct head *heads, size_t count);

/* ---- modes ---- */

typedef void mode_function(struct hostile *h);
mode_function crowd_garbage, crowd_garbage_earn, crowd_silent_one, crowd_silent_many, crowd_hello, crowd_slow, crowd_churn,
	crowd_identities, crowd_partial_frames, crowd_slow_readers, crowd_filters;
mode_function words_garbage, words_garbage_packets, words_oversized, words_cut, words_again_ready, words_queries, words_ranges,
	words_filters, words_pings, words_rekeys, words_notes, words_grafts, words_thanks, words_pages_unasked,
	words_junk, words_chains, words_large_pushes;
mode_function friend_nonce, friend_binding, friend_signature, friend_twice, friend_half, friend_mute, friend_endless,
	friend_empty, friend_heads, friend_own_head, friend_peers, friend_bomb, friend_larger, friend_wrong_piece, friend_lists,
	friend_future, friend_prev, friend_tip, friend_voucher, friend_fork, friend_devices, friend_junk;
mode_function tree_strangers, tree_deep, tree_same, tree_nowhere, tree_documents;

#endif
