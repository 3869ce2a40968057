/*
 * statement.h - what one node signs for another: pages, receipts (adverts and answers to audits will join them).
 *
 *   page    = [query nonce 8, count, offset, time, field, order, [head seq, head id], cb, items]
 *   receipt = [client, server, cb, number, time, bytes, pieces, records, milliseconds, welcome]
 *   signature = Ed25519("mootfs page 1" / "mootfs thanks 1" / "mootfs welcome 1", NUL, BLAKE2b-256(statement))
 *
 * Deterministic CBOR; moot-protocol(7) is normative.  cb, the channel binding of
 * the session, ties each to it.  `head` is the signer's own newest durable record (an empty log: 0 and an empty id).
 * A nonce is a string of 8 bytes, little-endian.  Numbers are below 2^53.
 * Decoders borrow, do not allocate, and accept only what encoders make.  They live below trust/, which judges them without a network.
 */
#ifndef STATEMENT_H
#define STATEMENT_H

#include <stdint.h>

#include "bytes.h"
#include "cbor.h"
#include "id.h"
#include "key.h"

enum query_field {
	QUERY_HEADS, QUERY_RECORDS, QUERY_PIECES, QUERY_HOLDERS, QUERY_PEERS, QUERY_SEARCH,
	QUERY_CHALLENGE, QUERY_ADVERT, QUERY_TALLY, QUERY_ROSTER, QUERY_AUTHORS, QUERY_FIELD_COUNT
};

enum page_order { ORDER_NONE, ORDER_DEVICE, ORDER_SEQ, ORDER_ASKED };

#define PAGE_STATEMENT_MAX (900 * 1024) /* bytes: fits a frame with its packet */
#define RECEIPT_SIZE_MAX 160            /* bytes: three ids, seven numbers */
#define WELCOME_MAX 1000

struct page {
	uint64_t nonce;   /* the query's */
	uint64_t count;   /* of the whole answer: offset + item_count at least */
	uint64_t offset;  /* where this slice begins */
	uint64_t time_ms;
	enum query_field field;
	enum page_order order;
	uint64_t head_seq;
	struct id head;   /* zero: its log is empty */
	struct id cb;
	struct cbor_reader items; /* decoded: item_count arrays, each whole and well-formed */
	size_t item_count;
	const uint8_t *items_bytes; /* encoded: the items one after the other */
	size_t items_size;
};

/* Encodes and signs. -EMSGSIZE; -EINVAL: what page_read() would refuse. On failure out is as long as before. */
int page_make(const struct page *page, const struct key *key, struct bytes *out, struct signature *out_signature);
int page_read(struct page *out, const uint8_t *bytes, size_t size); /* -EBADMSG; does not look at the signature */
int page_verify(const struct id *signer, const uint8_t *bytes, size_t size, const struct signature *signature);

struct receipt {
	struct id client, server, cb;
	uint64_t number;  /* of this session, from 0 */
	uint64_t time_ms; /* the client's */
	uint64_t bytes, pieces, records, took_ms; /* got since the last */
	uint64_t welcome; /* the rank that the client gives the server: 0 .. WELCOME_MAX */
};

void receipt_put(const struct receipt *r, struct bytes *out); /* out's error is -EINVAL if a number is too large */
int receipt_read(struct receipt *out, const uint8_t *bytes, size_t size); /* -EBADMSG */
/* thanks: the client's; else the server's. */
int receipt_sign(struct signature *out, const struct key *key, bool thanks, const uint8_t *bytes, size_t size);
int receipt_verify(const struct signature *signature, const struct id *signer, bool thanks, const uint8_t *bytes, size_t size);

/* A nonce of a query, and of the page that answers it. */
void nonce_put(struct bytes *out, uint64_t nonce);
uint64_t nonce_get(struct cbor_reader *r);

#endif
