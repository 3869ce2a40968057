/*
 * record.h - the one signed statement: every kind of it, encoded and decoded.
 *
 *   record = [1, voucher, seq, prev, time, nonce, field, body]   deterministic CBOR, at most 64 KiB
 *   id     = BLAKE2b-256(record)
 *   sig    = Ed25519("mootfs record 1" NUL id)
 *
 * moot-store(5) is normative.  record_decode() accepts exactly what
 * record_encode() makes: decode, then encode, gives the same bytes, or the
 * input is refused with -EBADMSG.  It does not allocate: pointers in the struct
 * borrow from the input and live as long as it.  A field that this program does
 * not know decodes with `body_bytes` alone (any well-formed deterministic
 * array): stored and passed on, never judged.
 *
 * Names marked text are UTF-8 and not NUL-terminated; sizes are in bytes.
 */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "content.h"
#include "id.h"
#include "key.h"
#include "store_limits.h"

enum field {
	FIELD_PROFILE = 0,
	FIELD_SUMMARY = 1,
	FIELD_SUBSCRIBE = 2,
	FIELD_TRUST = 3,
	FIELD_DENOUNCE = 4,
	FIELD_RANK = 5,
	FIELD_ADMIT = 6,
	FIELD_BRANCH = 7,
	FIELD_VERSION = 10,
	FIELD_ENTRIES = 11,
	FIELD_VOTE = 20,
	FIELD_RANKING = 30,
	FIELD_FOUND = 40,
	FIELD_JOIN = 41,
	FIELD_AUTHORIZE = 42,
	FIELD_ROSTER = 43,
	FIELD_TALLY = 44,
};

enum what { WHAT_NOTHING = 0, WHAT_VERSION = 1, WHAT_DIRECTORY = 2 };
enum mode { MODE_FILE = 0, MODE_EXECUTABLE = 1, MODE_LINK = 2 };
enum vote { VOTE_NONE = 0, VOTE_KEEP = 1, VOTE_DELETE = 2 };
enum subject { SUBJECT_ENTITY = 0, SUBJECT_DOCUMENT = 1 };

struct text { /* borrowed, not NUL-terminated */
	const char *data;
	size_t size;
};

struct replaced { /* an earlier entry of the same person at the same directory and name */
	struct id record;
	uint32_t index; /* of the entry within that record */
};

/*
 * [directory, name, what, id, replaces]. `id`: of the version or directory; zero
 * (encoded empty) for WHAT_NOTHING, and for a version record's own entry, which means
 * that record itself. replaces is sorted by (record, index), without duplicates.
 */
struct entry {
	struct id directory;
	struct text name;
	enum what what;
	struct id id;
	uint32_t replaces_first; /* index into struct record's replaces */
	uint32_t replaces_count;
};

struct cut_item {
	struct id device;
	uint64_t seq;
	struct id record;
};

struct summary_section { /* not present: nothing in force of this kind; present: size is not 0 */
	struct content content;
	bool present;
};

enum { /* sections of a summary, in order */
	SUMMARY_ENTRIES, SUMMARY_SUBSCRIPTIONS, SUMMARY_VOTES, SUMMARY_TRUST,
	SUMMARY_RANKINGS, SUMMARY_GROUPS, SUMMARY_ADMITS, SUMMARY_COUNT
};

struct record {
	struct id voucher;   /* the device whose log this is */
	uint64_t seq;        /* 0 .. 2^53 - 1 */
	struct id prev;      /* zero exactly when seq is 0 */
	uint64_t time_ms;    /* since 1970, at most 2^53 - 1 */
	uint8_t nonce[8];
	uint64_t field;      /* enum field, or one not known here */
	const uint8_t *body_bytes; /* the body as encoded: decode only; encode uses it for unknown fields */
	size_t body_size;

	union {
		struct {
			struct id person; /* zero: this device's own */
			struct text name, about;
		} profile;
		struct {
			/* Kept by pointer: seven contents are 18 KiB. NULL: empty. Decode does not fill
			 * it: use record_summary_section(). Encode reads it. */
			const struct summary_section *sections; /* SUMMARY_COUNT of them */
		} summary;
		struct {
			enum subject what;
			struct id id;
			bool on;
		} subscribe;
		struct {
			struct id entity;
			uint32_t parts_per_million; /* 0 .. 1,000,000 */
		} trust;
		struct {
			struct id accused;
			uint32_t offence;
			struct content evidence;
		} denounce;
		struct {
			struct id peer;
			struct { uint64_t good, bad; } ranks[7];
		} rank;
		struct {
			struct id device;
			bool on;
			struct id last; /* zero: none; always if on */
		} admit;
		struct {
			struct id record;
		} branch;
		struct {
			struct id document; /* zero: a new one, named by this record's id */
			uint32_t parent_count;
			struct id parents[PARENTS_MAX]; /* sorted, no duplicates */
			enum mode mode;
			struct content content;
			struct entry entry; /* what is WHAT_VERSION, id zero */
		} version;
		struct {
			uint32_t count; /* 1 .. ENTRIES_MAX */
			struct entry entries[ENTRIES_MAX];
		} entries;
		struct {
			struct id object;
			enum vote vote;
		} vote;
		struct {
			struct id directory;
			struct text name;
			uint32_t count;
			struct id versions[RANKING_MAX]; /* best first, zero: 'nothing'; no duplicates */
			struct id ballots; /* digest of all ballots known; zero: none */
		} ranking;
		struct {
			struct text name;
			uint64_t numerator, denominator; /* 1 <= numerator <= denominator <= 1000 */
		} found;
		struct {
			struct id group;
			bool on;
		} join;
		struct {
			struct id group, entity;
			bool on;
		} authorize;
		struct {
			struct id group;
			struct id previous; /* zero: the first */
			uint32_t cut_count;
			struct cut_item cut[CUT_MAX];   /* sorted by device, no duplicates */
			uint32_t member_count;          /* 1 .. MEMBERS_MAX */
			struct id members[MEMBERS_MAX]; /* sorted, no duplicates */
		} roster;
		struct {
			struct id group, directory;
			struct text name;
			struct id roster;
			uint32_t cut_count;
			struct cut_item cut[CUT_MAX];
			struct id winner; /* zero: 'nothing' */
			struct id rounds; /* digest of the rounds */
		} tally;
	};

	uint32_t replaces_count;
	struct replaced replaces[REPLACES_MAX]; /* of all entries, each its own range */
};

/* A record is large (about 100 KiB): keep it on the heap or one a thread, not in arrays. */
struct record *record_new(void); /* zeroed; NULL: no memory; free() it */

/* -EINVAL: what is in `r` breaks a rule (checked, since callers pass on what users gave); -EMSGSIZE: over RECORD_SIZE_MAX. */
int record_encode(const struct record *r, struct bytes *out);
/* -EBADMSG, or -EMSGSIZE over RECORD_SIZE_MAX; *out is undefined then. */
int record_decode(struct record *out, const uint8_t *bytes, size_t size);
/* Only voucher, seq, prev, time, nonce, field, body_bytes: for those who do not look inside. The body is checked to be well-formed only. */
int record_decode_head(struct record *out, const uint8_t *bytes, size_t size);
/* One section of a decoded summary (index SUMMARY_...). */
int record_summary_section(const struct record *r, unsigned index, struct summary_section *out);

void record_id(struct id *out, const uint8_t *bytes, size_t size);
int record_sign(struct signature *out, const struct key *key, const struct id *record_id);
int record_verify(const struct signature *signature, const struct id *voucher, const struct id *record_id);

/* The entries a record makes: a version's one, or those of an entries record; 0 of any other. */
size_t record_entries(const struct record *r, const struct entry **out_first);

/* The name of a field ("version"), or "unknown". */
const char *record_field_name(uint64_t field);

/* Content as it stands in a body: [size, digest, depth, [[name, text, stored], ...]]. Also in drafts. */
struct cbor_reader;
void record_put_content(struct bytes *b, const struct content *content);
void record_get_content(struct cbor_reader *r, struct content *out);

#endif
