/*
 * record_vectors.h - the records that test_record.c accepts and refuses, in a notation of its own.
 *
 * A token at a time:
 *   A3 array of 3    u7 integer     I2a id of 32 bytes 0x2a    e empty bytes    t empty text
 *   t:abc text       T9 text of 9 letters    B9 9 zero bytes   N the nonce      x00ff raw bytes
 *   R3( ... ) what is between, 3 times; in it I# is the turn, from 1, as an id
 */
#ifndef RECORD_VECTORS_H
#define RECORD_VECTORS_H

/* The head of a record that is the first, or a later one, of its log. */
#define FIRST(field) "A8 u1 I01 u0 e u1700000000000 N u" #field " "
#define LATER(field) "A8 u1 I01 u7 I02 u1700000000000 N u" #field " "

#define TEXT "A4 u5 I20 u0 A1 A3 I21 u5 u25 "
#define EMPTY_TEXT "A4 u0 I20 u0 A1 A3 I21 u0 u20 "
#define TWO_PIECES "A4 u70000 I20 u0 A2 A3 I22 u65536 u65600 A3 I21 u4464 u20 "
#define LISTED "A4 u10000000 I20 u1 A2 A3 I22 u9999999 u4000 A3 I21 u1 u40 "
#define OWN "A5 I30 t:notes.md u1 e A0 "
#define SELF_LESS "A5 I30 t:notes.md u0 e "

struct vector {
	const char *name;
	const char *notation;
};

static const struct vector accepted[] = {
	{ "profile", FIRST(0) "A3 e t:alice t:gardener" },
	{ "profile-of-person", LATER(0) "A3 I05 t:alice t" },
	{ "profile-without-name", FIRST(0) "A3 e t t" },
	{ "summary", LATER(1) "A7 " TEXT "A0 " TWO_PIECES "A0 A0 A0 " LISTED },
	{ "summary-of-nothing", LATER(1) "A7 A0 A0 A0 A0 A0 A0 A0" },
	{ "subscribe-entity", LATER(2) "A3 u0 I05 u1" },
	{ "subscribe-document-off", LATER(2) "A3 u1 I05 u0" },
	{ "trust", LATER(3) "A2 I05 u1000000" },
	{ "denounce", LATER(4) "A3 I05 u1 " TEXT },
	{ "denounce-other-offence", LATER(4) "A3 I05 u255 " TWO_PIECES },
	{ "rank", LATER(5) "A2 I05 A7 A2 u0 u0 A2 u1 u2 A2 u3 u4 A2 u23 u24 A2 u255 u256 A2 u65535 u65536 "
		  "A2 u4294967296 u9007199254740991" },
	{ "admit", LATER(6) "A3 I05 u1 e" },
	{ "admit-retire-wholly", LATER(6) "A3 I05 u0 e" },
	{ "admit-retire-after", LATER(6) "A3 I05 u0 I06" },
	{ "branch", LATER(7) "A1 I05" },
	{ "version-of-new-document", FIRST(10) "A5 e A0 u0 " TEXT OWN },
	{ "version-of-two-parents", LATER(10) "A5 I10 A2 I11 I12 u0 " TWO_PIECES
				    "A5 I30 t:notes.md u1 e A3 A2 I11 u0 A2 I12 u3 A2 I12 u63" },
	{ "version-executable", LATER(10) "A5 I10 A1 I11 u1 " TEXT OWN },
	{ "version-link", LATER(10) "A5 e A0 u2 " TEXT OWN },
	{ "version-empty-text", LATER(10) "A5 e A0 u0 " EMPTY_TEXT OWN },
	{ "version-listed", LATER(10) "A5 e A0 u0 " LISTED OWN },
	{ "version-hidden-name", LATER(10) "A5 e A0 u0 " TEXT "A5 I30 t:...@.md u1 e A0" },
	{ "entries-rename", LATER(11) "A2 A5 I30 t:a u0 e A1 A2 I02 u0 A5 I31 t:b u1 I10 A0" },
	{ "entries-directory", LATER(11) "A1 A5 I30 x64c3a4c3b6 u2 I31 A0" },
	{ "vote-none", LATER(20) "A2 I05 u0" },
	{ "vote-delete", LATER(20) "A2 I05 u2" },
	{ "ranking", LATER(30) "A4 I30 t:a A3 I12 e I11 I06" },
	{ "ranking-withdrawn", LATER(30) "A4 I30 t:a A0 e" },
	{ "found", LATER(40) "A3 t:gardeners u2 u3" },
	{ "found-all", LATER(40) "A3 t:gardeners u1000 u1000" },
	{ "join", LATER(41) "A2 I40 u1" },
	{ "authorize", LATER(42) "A3 I40 I05 u1" },
	{ "roster-first", LATER(43) "A4 I40 e A0 A1 I05" },
	{ "roster", LATER(43) "A4 I40 I41 A2 A3 I01 u9 I02 A3 I03 u0 I02 A2 I05 I06" },
	{ "tally", LATER(44) "A7 I40 I30 t:a I41 A1 A3 I01 u9 I02 I12 I42" },
	{ "tally-nothing-won", LATER(44) "A7 I40 I30 t:a I41 A0 e I42" },
	{ "unknown-field", LATER(9007199254740991) "A4 u18446744073709551615 B3 t:x A0" },
	{ "unknown-field-deep", LATER(8) "R16( A1 ) u0" },
	{ "largest-numbers", "A8 u1 I01 u9007199254740991 I02 u9007199254740991 N u20 A2 I05 u1" },
};

static const struct vector refused[] = {
	/* the envelope */
	{ "nothing", "" },
	{ "trailing-byte", LATER(20) "A2 I05 u1 u0" },
	{ "missing-body", "A8 u1 I01 u0 e u1 N u20" },
	{ "seven-items", "A7 u1 I01 u0 e u1 N u20" },
	{ "nine-items", "A9 u1 I01 u0 e u1 N u20 A2 I05 u1 u0" },
	{ "version-0", "A8 u0 I01 u0 e u1 N u20 A2 I05 u1" },
	{ "version-2", "A8 u2 I01 u0 e u1 N u20 A2 I05 u1" },
	{ "voucher-zero", "A8 u1 I00 u0 e u1 N u20 A2 I05 u1" },
	{ "voucher-short", "A8 u1 B31 u0 e u1 N u20 A2 I05 u1" },
	{ "seq-0-with-prev", "A8 u1 I01 u0 I02 u1 N u20 A2 I05 u1" },
	{ "seq-1-without-prev", "A8 u1 I01 u1 e u1 N u20 A2 I05 u1" },
	{ "seq-over-2-53", "A8 u1 I01 u9007199254740992 I02 u1 N u20 A2 I05 u1" },
	{ "time-over-2-53", "A8 u1 I01 u0 e u9007199254740992 N u20 A2 I05 u1" },
	{ "prev-written-zero", "A8 u1 I01 u0 I00 u1 N u20 A2 I05 u1" },
	{ "prev-33-bytes", "A8 u1 I01 u1 x5821 R33( x11 ) u1 N u20 A2 I05 u1" },
	{ "nonce-7-bytes", "A8 u1 I01 u0 e u1 B7 u20 A2 I05 u1" },
	{ "nonce-9-bytes", "A8 u1 I01 u0 e u1 B9 u20 A2 I05 u1" },
	{ "field-over-2-53", LATER(9007199254740992) "A0" },
	{ "body-not-array", LATER(20) "u1" },
	{ "unknown-body-not-array", LATER(8) "u1" },
	{ "unknown-body-missing", LATER(8) },
	{ "unknown-body-two", LATER(8) "A0 A0" },
	{ "unknown-body-too-deep", LATER(8) "R17( A1 ) u0" },
	{ "unknown-body-bad-utf8", LATER(8) "A1 x62c328" },
	{ "unknown-body-indefinite", LATER(8) "x9fff" },
	{ "unknown-body-float", LATER(8) "A1 xf93c00" },

	/* other spellings, and what never occurs */
	{ "integer-not-shortest-1", "A8 x1801 I01 u0 e u1 N u20 A2 I05 u1" },
	{ "integer-not-shortest-2", LATER(20) "A2 I05 x190001" },
	{ "integer-not-shortest-4", LATER(20) "A2 I05 x1a00000001" },
	{ "integer-not-shortest-8", LATER(20) "A2 I05 x1b0000000000000001" },
	{ "array-not-shortest", LATER(20) "x9802 I05 u1" },
	{ "bytes-not-shortest", "A8 u1 I01 u0 x5800 u1 N u20 A2 I05 u1" },
	{ "text-not-shortest", FIRST(0) "A3 e x780161 t" },
	{ "array-indefinite", LATER(20) "x9f I05 u1 xff" },
	{ "bytes-indefinite", "A8 u1 I01 u0 x5fff u1 N u20 A2 I05 u1" },
	{ "text-indefinite", FIRST(0) "A3 e x7f6161ff t" },
	{ "integer-negative", LATER(20) "A2 I05 x20" },
	{ "map", LATER(8) "A1 xa0" },
	{ "body-map", LATER(20) "xa1 I05 u1" },
	{ "tag", LATER(20) "A2 I05 xc1 u1" },
	{ "float", LATER(20) "A2 I05 xf93c00" },
	{ "bool", LATER(41) "A2 I40 xf5" },
	{ "null", LATER(6) "A3 I05 u0 xf6" },
	{ "reserved-head", LATER(20) "A2 I05 x1c" },
	{ "text-for-bytes", LATER(20) "A2 x7820 R32( x61 ) u1" },
	{ "bytes-for-text", FIRST(0) "A3 e B1 t" },

	/* kinds */
	{ "profile-name-64-bytes", FIRST(0) "A3 e T64 t" },
	{ "profile-name-slash", FIRST(0) "A3 e t:a/b t" },
	{ "profile-name-at", FIRST(0) "A3 e t:alice@ t" },
	{ "profile-about-nul", FIRST(0) "A3 e t:alice x626100" },
	{ "profile-about-4097-bytes", FIRST(0) "A3 e t:alice T4097" },
	{ "profile-person-written-zero", FIRST(0) "A3 I00 t:alice t" },
	{ "summary-six", LATER(1) "A6 A0 A0 A0 A0 A0 A0" },
	{ "summary-section-of-one", LATER(1) "A7 A1 u0 A0 A0 A0 A0 A0 A0" },
	{ "summary-section-empty-text", LATER(1) "A7 " EMPTY_TEXT "A0 A0 A0 A0 A0 A0" },
	{ "subscribe-what-2", LATER(2) "A3 u2 I05 u1" },
	{ "subscribe-on-2", LATER(2) "A3 u1 I05 u2" },
	{ "subscribe-id-zero", LATER(2) "A3 u1 I00 u1" },
	{ "subscribe-id-empty", LATER(2) "A3 u1 e u1" },
	{ "trust-over-a-million", LATER(3) "A2 I05 u1000001" },
	{ "denounce-offence-0", LATER(4) "A3 I05 u0 " TEXT },
	{ "denounce-offence-256", LATER(4) "A3 I05 u256 " TEXT },
	{ "denounce-empty-evidence", LATER(4) "A3 I05 u1 " EMPTY_TEXT },
	{ "rank-six", LATER(5) "A2 I05 A6 R6( A2 u0 u0 )" },
	{ "rank-over-2-53", LATER(5) "A2 I05 A7 R6( A2 u0 u0 ) A2 u0 u9007199254740992" },
	{ "admit-with-last", LATER(6) "A3 I05 u1 I06" },
	{ "branch-empty", LATER(7) "A1 e" },
	{ "vote-3", LATER(20) "A2 I05 u3" },
	{ "ranking-twice", LATER(30) "A4 I30 t:a A3 I12 I11 I12 e" },
	{ "ranking-nothing-twice", LATER(30) "A4 I30 t:a A3 e I11 e e" },
	{ "found-name-empty", LATER(40) "A3 t u1 u2" },
	{ "found-name-64-bytes", LATER(40) "A3 T64 u1 u2" },
	{ "found-quorum-zero", LATER(40) "A3 t:g u0 u2" },
	{ "found-quorum-over-one", LATER(40) "A3 t:g u3 u2" },
	{ "found-denominator-1001", LATER(40) "A3 t:g u1 u1001" },
	{ "join-on-2", LATER(41) "A2 I40 u2" },
	{ "authorize-zero", LATER(42) "A3 I40 I00 u1" },
	{ "roster-no-members", LATER(43) "A4 I40 e A0 A0" },
	{ "roster-members-unsorted", LATER(43) "A4 I40 e A0 A2 I06 I05" },
	{ "roster-members-twice", LATER(43) "A4 I40 e A0 A2 I05 I05" },
	{ "roster-cut-unsorted", LATER(43) "A4 I40 e A2 A3 I03 u0 I02 A3 I01 u9 I02 A1 I05" },
	{ "roster-cut-device-twice", LATER(43) "A4 I40 e A2 A3 I01 u0 I02 A3 I01 u9 I04 A1 I05" },
	{ "tally-roster-empty", LATER(44) "A7 I40 I30 t:a e A0 e I42" },
	{ "tally-rounds-empty", LATER(44) "A7 I40 I30 t:a I41 A0 e e" },

	/* versions and their contents */
	{ "version-parents-unsorted", LATER(10) "A5 I10 A2 I12 I11 u0 " TEXT OWN },
	{ "version-parents-twice", LATER(10) "A5 I10 A2 I11 I11 u0 " TEXT OWN },
	{ "version-parent-zero", LATER(10) "A5 I10 A2 I00 I11 u0 " TEXT OWN },
	{ "version-mode-3", LATER(10) "A5 I10 A0 u3 " TEXT OWN },
	{ "version-link-empty", LATER(10) "A5 e A0 u2 " EMPTY_TEXT OWN },
	{ "version-link-4096-bytes", LATER(10) "A5 e A0 u2 A4 u4096 I20 u0 A1 A3 I21 u4096 u25 " OWN },
	{ "version-entry-nothing", LATER(10) "A5 e A0 u0 " TEXT SELF_LESS "A0" },
	{ "version-entry-directory", LATER(10) "A5 e A0 u0 " TEXT "A5 I30 t:a u2 I31 A0" },
	{ "version-entry-with-id", LATER(10) "A5 e A0 u0 " TEXT "A5 I30 t:a u1 I10 A0" },
	{ "content-no-pieces", LATER(10) "A5 e A0 u0 A4 u0 I20 u0 A0 " OWN },
	{ "content-65-pieces", LATER(10) "A5 e A0 u0 A4 u266240 I20 u0 A65 R65( A3 I# u4096 u21 ) " OWN },
	{ "content-sum-too-small", LATER(10) "A5 e A0 u0 A4 u6 I20 u0 A1 A3 I21 u5 u25 " OWN },
	{ "content-sum-too-large", LATER(10) "A5 e A0 u0 A4 u4 I20 u0 A1 A3 I21 u5 u25 " OWN },
	{ "content-empty-piece", LATER(10) "A5 e A0 u0 A4 u4096 I20 u0 A2 A3 I21 u4096 u25 A3 I22 u0 u20 " OWN },
	{ "content-two-empty-pieces", LATER(10) "A5 e A0 u0 A4 u0 I20 u0 A2 A3 I21 u0 u20 A3 I22 u0 u20 " OWN },
	{ "content-empty-with-depth", LATER(10) "A5 e A0 u0 A4 u0 I20 u1 A1 A3 I21 u0 u20 " OWN },
	{ "content-depth-5", LATER(10) "A5 e A0 u0 A4 u5 I20 u5 A1 A3 I21 u5 u25 " OWN },
	{ "content-large-piece", LATER(10) "A5 e A0 u0 A4 u65537 I20 u0 A1 A3 I21 u65537 u25 " OWN },
	{ "content-stored-0", LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I21 u5 u0 " OWN },
	{ "content-stored-19", LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I21 u5 u19 " OWN },
	{ "content-short-piece-within", LATER(10) "A5 e A0 u0 A4 u4100 I20 u0 A2 A3 I21 u4095 u25 A3 I22 u5 u25 " OWN },
	{ "content-stored-65601", LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I21 u5 u65601 " OWN },
	{ "content-over-2-40", LATER(10) "A5 e A0 u0 A4 u1099511627777 I20 u1 A1 A3 I21 u1099511627777 u25 " OWN },
	{ "content-digest-zero", LATER(10) "A5 e A0 u0 A4 u5 I00 u0 A1 A3 I21 u5 u25 " OWN },
	{ "content-piece-zero", LATER(10) "A5 e A0 u0 A4 u5 I20 u0 A1 A3 I00 u5 u25 " OWN },

	/* entries */
	{ "entries-none", LATER(11) "A0" },
	{ "entry-what-3", LATER(11) "A1 A5 I30 t:a u3 I31 A0" },
	{ "entry-nothing-with-id", LATER(11) "A1 A5 I30 t:a u0 I31 A0" },
	{ "entry-version-without-id", LATER(11) "A1 A5 I30 t:a u1 e A0" },
	{ "entry-directory-without-id", LATER(11) "A1 A5 I30 t:a u2 e A0" },
	{ "entry-in-zero", LATER(11) "A1 A5 I00 t:a u0 e A0" },
	{ "name-empty", LATER(11) "A1 A5 I30 t u0 e A0" },
	{ "name-bad-utf8", LATER(11) "A1 A5 I30 x62c328 u0 e A0" },
	{ "name-surrogate", LATER(11) "A1 A5 I30 x63eda080 u0 e A0" },
	{ "name-overlong", LATER(11) "A1 A5 I30 x62c1a1 u0 e A0" },
	{ "name-slash", LATER(11) "A1 A5 I30 t:a/b u0 e A0" },
	{ "name-nul", LATER(11) "A1 A5 I30 x63610062 u0 e A0" },
	{ "name-dot", LATER(11) "A1 A5 I30 t:. u0 e A0" },
	{ "name-dot-dot", LATER(11) "A1 A5 I30 t:.. u0 e A0" },
	{ "name-ends-in-at", LATER(11) "A1 A5 I30 t:notes.md@ u0 e A0" },
	{ "name-256-bytes", LATER(11) "A1 A5 I30 T256 u0 e A0" },
	{ "replaces-twice", LATER(11) "A1 A5 I30 t:a u0 e A2 A2 I02 u0 A2 I02 u0" },
	{ "replaces-record-unsorted", LATER(11) "A1 A5 I30 t:a u0 e A2 A2 I03 u0 A2 I02 u0" },
	{ "replaces-index-unsorted", LATER(11) "A1 A5 I30 t:a u0 e A2 A2 I02 u1 A2 I02 u0" },
	{ "replaces-index-64", LATER(11) "A1 A5 I30 t:a u0 e A1 A2 I02 u64" },
	{ "replaces-zero", LATER(11) "A1 A5 I30 t:a u0 e A1 A2 I00 u0" },
};

#endif
