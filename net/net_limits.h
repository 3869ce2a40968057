/* net_limits.h - every limit of net/, in one place, each with its reason. */
#ifndef NET_LIMITS_H
#define NET_LIMITS_H

/* A frame holds one packet: a page of pieces is some 256 KiB, and nothing needs more than 1 MiB at once. */
#define FRAME_SIZE_MAX (1024 * 1024) /* bytes of ciphertext */
#define PACKET_SIZE_MAX (FRAME_SIZE_MAX - 17) /* less crypto_secretstream's tag and MAC */

/* Pages: what one answer carries. Twice this in flight fills 10 Mbit/s at 50 ms, and 100 sessions fit 64 MiB. */
#define PAGE_SIZE_AIM (256 * 1024) /* bytes of items: a page ends at the first item that passes it */
#define PAGE_ITEMS_MAX 4096
#define QUERY_PIECES_MAX 256       /* names of one query; FETCH_BATCH_NAMES are asked at a time */
#define QUERIES_MAX 8              /* of one peer unanswered at a time, each way */
#define QUERY_MS_MAX 10000         /* an answer must begin within this; then another peer is asked */

/* Handshake: 10 s cover the slowest puzzle asked for by default and three round trips by satellite. */
#define HANDSHAKE_MS_MAX 10000
#define EFFORT_MAX 20000           /* units of about 1 ms of a core: 20 s */
#define COOKIE_MS 120000           /* the secret of cookies lives so long, and once more */
#define SEED_MS 600000             /* the seed of puzzles, likewise */

/* Sessions. */
#define SESSIONS_MAX 256
#define SESSIONS_PER_ADDRESS_MAX 8 /* a household, not a flood */
#define HALF_OPEN_MAX 64           /* handshakes under way of those who dialled us; above half of it cookies are asked for */
#define IDLE_MS 30000              /* a peer from whom nothing came for so long is asked (ping); */
#define SILENCE_MS_MAX 60000       /* after so long it is gone */
#define REKEY_BYTES (1ull << 30)
#define REKEY_MS (10 * 60 * 1000)
#define SEND_QUEUE_MAX (2 * 1024 * 1024) /* bytes waiting for one peer: who reads slower gets no more pages */
#define LINKS_MEMORY_MAX (32 * 1024 * 1024) /* bytes of all sessions together: pages for peers may take half of it; above it the dearest session goes */

/* Reconciliation: arXiv 2212.13567; research says 16 buckets, lists below 32. */
#define RECONCILE_BUCKETS 16
#define RECONCILE_LIST_MAX 32
#define RECONCILE_RANGES_MAX 4096  /* of one message */
#define RECONCILE_MESSAGE_MAX (64 * 1024) /* bytes: a quarter of a page; what does not fit is for the next round */
#define RECONCILE_ROUNDS_MAX 12    /* in which all fitted: each divides what differs by 16 at least */
#define RECONCILE_CUT_ROUNDS_MAX 4096 /* in which it did not: 64 KiB each are the heads of 2 million logs */
#define RECONCILE_OPEN_MAX 65536   /* ranges still open, 5 MB: an honest peer leaves some 5,000 at each of 5 depths */
#define NOTES_MAX 1024             /* logs: up to so many their heads are told outright */

/* Logs. */
#define PUSH_RECORDS_MAX 64        /* records of one push */
#define PUSH_PIECES_MAX 256        /* pieces of one push: 64 KiB, few of them below 256 bytes */
#define RECORDS_PER_SECOND_MAX 2000 /* unasked for, of one peer: above it is a flood */
#define CHAIN_SIZE_MAX (4 * 1024 * 1024) /* bytes of a chain held until a signature comes */

/* Filters of the entities followed: 10 bits and 7 positions an entity let 1 % of the others pass. */
#define FOLLOW_BITS 10
#define FOLLOW_HASHES 7
#define FOLLOW_SIZE_MIN 64             /* bytes: small filters all look alike */
#define FOLLOW_SIZE_AIM (8 * 1024)     /* bytes of those made: 6,553 entities; more only let more pass. So meeting again costs no more with the size of the store */
#define FOLLOW_SIZE_MAX (256 * 1024)   /* bytes of those taken; who sends so much is dear (LINKS_MEMORY_MAX) */

/* Peers. */
#define ADDRESS_SIZE_MAX 64        /* bytes of "[v6%scope]:port" or a short host name with its port */
#define PEERS_MAX 4096             /* addresses remembered */
#define PEERS_TOLD_MAX 64          /* in one answer */
#define DIAL_MS_MIN 1000           /* between attempts at one address, doubling */
#define DIAL_MS_MAX (5 * 60 * 1000)

/* Receipts: DESIGN 7.3. */
#define RECEIPT_BYTES (1024 * 1024)
#define RECEIPT_PIECES 256         /* small ones: two shares in a round trip of 50 ms are 10,000 a second */
#define RECEIPTS_OUTSTANDING_MAX 2 /* then a server pauses */

#endif
