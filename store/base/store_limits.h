/* store_limits.h - every limit of store/, in one place, each with its reason. */
#ifndef STORE_LIMITS_H
#define STORE_LIMITS_H

/* Every number in CBOR without a bound of its own: exact in any language. */
#define NUMBER_MAX ((1ull << 53) - 1)

/* A record travels whole and is judged whole; 64 KiB is one page of pieces and keeps evidence under 128 KiB. */
#define RECORD_SIZE_MAX (64 * 1024)

/* One piece is inflated into one buffer of this size: nothing a peer sends makes us inflate more at a time. */
#define PIECE_TEXT_MAX (64 * 1024)
#define PIECE_TEXT_MIN (4 * 1024)  /* below this a cut costs more in names than it saves in text */
#define PIECE_TEXT_AIM (16 * 1024)
/* gzip: 10 bytes of header, 8 of trailer, and deflate's worst case of 5 bytes a stored block of 64 KiB - 1. */
#define PIECE_STORED_MAX (PIECE_TEXT_MAX + 64)

/* A list longer than this is itself cut into pieces: 64 * 45 bytes leave a record small. */
#define CONTENT_PIECES_MAX 64
/* 64 KiB / 16 KiB aims give 1 GiB = 65,536 pieces = 3 MiB of list = 192 pieces = 9 KiB of list; 4 is ample. */
#define CONTENT_DEPTH_MAX 4
/* A document: 1 GiB is the default limit of the mount, this is what the format can say. */
#define DOCUMENT_SIZE_MAX (1ull << 40)
#define DOCUMENT_SIZE_DEFAULT_MAX (1ull << 30)

#define NAME_SIZE_MAX 255    /* bytes: NAME_MAX of every Linux filesystem */
#define LINK_SIZE_MAX 4095   /* bytes: PATH_MAX less the NUL */
#define PROFILE_NAME_MAX 63  /* bytes: fits a column */
#define PROFILE_ABOUT_MAX 4096

#define PARENTS_MAX 16       /* a merge of more heads is made in steps */
#define ENTRIES_MAX 64       /* entries of one record: a rename is two, a bulk removal is cut up */
#define REPLACES_MAX 256     /* replaced entries, over all entries of one record */
#define RANKING_MAX 256      /* versions on a ballot */
#define CUT_MAX 512          /* (device, seq, record) of a cut: 80 bytes each fit a record */
#define MEMBERS_MAX 512      /* of a roster */
#define PERSON_DEVICES_MAX 256 /* retired ones counted: who admits more makes us no more work */

/* Clock skew: a record from further in the future is held back until its time comes. */
#define FUTURE_MS_MAX (10ull * 60 * 1000)

/* Journal: segments small enough to rewrite in idle time, an entry no larger than a record or piece with its frame. */
#define SEGMENT_SIZE_MAX (64u * 1024 * 1024)
#define JOURNAL_ENTRY_MAX (128u * 1024)
/* One change: what it buffers before its one write, and into how many entries. Far below a segment. */
#define TRANSACTION_SIZE_MAX (4u * 1024 * 1024)
#define TRANSACTION_ENTRIES_MAX 4096
#define JOURNAL_SYNC_MS 1000 /* at least every second what was written is made durable */

/* Address space of the index, not its size on disk; LMDB asks for it in advance. */
#define INDEX_MAP_SIZE (64ull << 30)

#endif
