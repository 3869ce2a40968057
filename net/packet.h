/*
 * packet.h - what two nodes say once they have met: one packet a frame, deterministic CBOR.
 *
 *   0 ready    [0, 1, person, address, follow count, log count]      both, first
 *   1 query    [1, nonce 8, field, arguments]                        arguments by field, below
 *   2 page     [2, page statement, signature]                        the answer to one query (statement.h)
 *   3 push     [3, [[record, signature or empty] ...], [piece ...]]  new records, whole chains; pieces they name
 *   4 note     [4, [[device, seq, record id] ...]]                   these are here: ask for what you want
 *   5 graft    [5, device, from seq]                                 push me this log, from there on
 *   6 prune    [6, device]                                           only note it: I have it from another
 *   7 follow   [7, bits]                                             a Bloom filter of the entities followed (follow.h)
 *   8 thanks   [8, receipt statement, signature]
 *   9 welcome  [9, receipt statement, signature]                     the same bytes, signed back
 *  10 ping     [10, token 8]   11 pong [11, token 8]
 *
 * Arguments of a query, by field:
 *   heads      [0, [entity ...]]   the logs of these;  [1, after device or empty]   all, by device, from there on
 *              [2, ranges]         a message of reconcile.h
 *   records    [device, from seq, to seq]     in order of (seq, id), all branches, as many as fit
 *   pieces     [piece name ...]    as many as fit, in that order
 *   peers      []
 *   authors    [document]          whose logs have versions of it
 *   others     known by number only, any array: answered with nothing
 *
 * Items of a page, by field:
 *   heads      [device, person, seq, record id, records]; of ranges: one item [ranges]
 *   records    [record, signature or empty]
 *   pieces     [name, gzip member], or [name, empty]: not here
 *   peers      [address, device]
 *   authors    [person]
 *   others     none
 *
 * Nonces and tokens are strings of 8 bytes, little-endian; numbers are below 2^53; an address is printable ASCII
 * without spaces.  A decoder borrows from the packet and does not allocate; lists are walked by
 * readers that check as they go, and packet_read() has walked them once: a list that it let pass cannot fail.
 */
#ifndef PACKET_H
#define PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "cbor.h"
#include "id.h"
#include "key.h"
#include "net_limits.h"
#include "statement.h"

enum packet_kind {
	PACKET_READY, PACKET_QUERY, PACKET_PAGE, PACKET_PUSH, PACKET_NOTE, PACKET_GRAFT, PACKET_PRUNE,
	PACKET_FOLLOW, PACKET_THANKS, PACKET_WELCOME, PACKET_PING, PACKET_PONG, PACKET_COUNT
};

enum heads_mode { HEADS_OF, HEADS_ALL, HEADS_RANGES };

struct head { /* the newest of a log */
	struct id device, person;
	uint64_t seq;
	struct id record;
	uint64_t records; /* how many are kept, of all branches */
};

struct query {
	uint64_t nonce;
	enum query_field field;
	enum heads_mode mode;          /* heads */
	struct id subject;             /* records: device; authors: document; heads all: after (zero: from the first) */
	uint64_t from, to;             /* records: seqs, inclusive */
	const uint8_t *ranges;         /* heads by ranges */
	size_t ranges_size;
	struct cbor_reader list;       /* heads of: entities; pieces: names. list_count of them, each cbor_get_id() */
	size_t list_count;
	const uint8_t *arguments;      /* others: the array as it came */
	size_t arguments_size;
};

struct packet {
	enum packet_kind kind;
	union {
		struct {
			struct id person;
			const char *address; /* where it listens: "host:port", ":port" (of the address it dials from) or empty; not NUL-terminated */
			size_t address_size;
			uint64_t follow_count, log_count;
		} ready;
		struct query query;
		struct { /* page, thanks, welcome: page_read() or receipt_read() takes the bytes, and items are as above */
			const uint8_t *bytes;
			size_t size;
			struct signature signature;
		} statement;
		struct {
			struct cbor_reader records, pieces; /* packet_next_record(), packet_next_piece() */
			size_t record_count, piece_count;
		} push;
		struct {
			struct cbor_reader list; /* packet_next_note() */
			size_t count;
		} note;
		struct {
			struct id device;
			uint64_t from; /* graft */
		} log;                 /* graft, prune */
		struct {
			const uint8_t *bits;
			size_t size;   /* bytes, FOLLOW_SIZE_MIN .. FOLLOW_SIZE_MAX */
		} follow;
		uint64_t token;        /* ping, pong */
	};
};

/* -EBADMSG: not one packet, whole and exact. Borrows. */
int packet_read(struct packet *out, const uint8_t *bytes, size_t size);

struct record_item { /* of pushes and pages; borrowed */
	const uint8_t *bytes;
	size_t size;
	bool is_signed;
	struct signature signature;
};
struct piece_item {
	struct id name;       /* zero in a push: its hash is its name */
	const uint8_t *bytes; /* size 0: not here */
	size_t size;
};
/* False: no more. The reader is a copy of the packet's, or of a page's items. */
bool packet_next_record(struct cbor_reader *list, size_t *left, struct record_item *out);
bool packet_next_piece(struct cbor_reader *list, size_t *left, struct piece_item *out);       /* of a page */
bool packet_next_push_piece(struct cbor_reader *list, size_t *left, struct piece_item *out);  /* of a push */
bool packet_next_head(struct cbor_reader *list, size_t *left, struct head *out);              /* items of a heads page */
bool packet_next_note(struct cbor_reader *list, size_t *left, struct head *out);              /* person zero, records 0 */
bool packet_next_peer(struct cbor_reader *list, size_t *left, const char **out_address, size_t *out_size, struct id *out_device);
bool packet_next_id(struct cbor_reader *list, size_t *left, struct id *out);                  /* [id] items: authors */
bool packet_next_ranges(struct cbor_reader *list, size_t *left, const uint8_t **out_bytes, size_t *out_size); /* the one item of a heads page by ranges */

/*
 * Each appends one whole packet to `out`. What packet_read() would refuse is not written: then the error of
 * `out` is -EINVAL (-EMSGSIZE: over PACKET_SIZE_MAX) and it is as long as before.
 */
void packet_put_ready(struct bytes *out, const struct id *person, const char *address, uint64_t follow_count, uint64_t log_count);
void packet_put_query_heads_of(struct bytes *out, uint64_t nonce, const struct id *entities, size_t count);
void packet_put_query_heads_all(struct bytes *out, uint64_t nonce, const struct id *after);
void packet_put_query_heads_ranges(struct bytes *out, uint64_t nonce, const void *ranges, size_t size);
void packet_put_query_records(struct bytes *out, uint64_t nonce, const struct id *device, uint64_t from, uint64_t to);
void packet_put_query_pieces(struct bytes *out, uint64_t nonce, const struct id *names, size_t count);
void packet_put_query_plain(struct bytes *out, uint64_t nonce, enum query_field field, const struct id *subject); /* peers (NULL), authors */
void packet_put_statement(struct bytes *out, enum packet_kind kind, const void *bytes, size_t size, const struct signature *signature);
void packet_put_push(struct bytes *out, const struct record_item *records, size_t record_count,
		     const struct piece_item *pieces, size_t piece_count);
void packet_put_notes(struct bytes *out, const struct head *heads, size_t count);
void packet_put_graft(struct bytes *out, const struct id *device, uint64_t from);
void packet_put_prune(struct bytes *out, const struct id *device);
void packet_put_follow(struct bytes *out, const void *bits, size_t size);
void packet_put_ping(struct bytes *out, enum packet_kind kind, uint64_t token);

/* Items of pages, one after the other: items_bytes of statement.h. Checked as above. */
void packet_put_head_item(struct bytes *out, const struct head *head);
void packet_put_record_item(struct bytes *out, const struct record_item *item);
void packet_put_piece_item(struct bytes *out, const struct piece_item *item);
void packet_put_peer_item(struct bytes *out, const char *address, const struct id *device);
void packet_put_id_item(struct bytes *out, const struct id *id);
void packet_put_ranges_item(struct bytes *out, const void *ranges, size_t size);

#endif
