/*
 * hostile MODE 127.x.y.z:PORT SECONDS [SEED]   misbehaves that long, then tells in one line what happened
 * hostile list                                 the modes
 * hostile id SEED                              who it is: for those who are to follow it
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>

#include "address.h"
#include "hostile.h"

#define SECONDS_MAX 600

static const struct {
	const char *name;
	mode_function *run;
} modes[] = {
	{ "crowd-garbage", crowd_garbage },           /* bytes that are no handshake */
	{ "crowd-garbage-earn", crowd_garbage_earn }, /* a handshake that ends in garbage */
	{ "crowd-silent-one", crowd_silent_one },     /* a thousand connections of one address that say nothing */
	{ "crowd-silent-many", crowd_silent_many },   /* the same of thousands */
	{ "crowd-hello", crowd_hello },               /* that say hello and nothing more */
	{ "crowd-slow", crowd_slow },                 /* a byte at a time */
	{ "crowd-churn", crowd_churn },               /* meets and goes, as fast as it can */
	{ "crowd-identities", crowd_identities },     /* a thousand nodes at one address */
	{ "crowd-partial-frames", crowd_partial_frames }, /* each a MiB that waits for its last byte */
	{ "crowd-slow-readers", crowd_slow_readers }, /* ask for everything and read nothing */
	{ "crowd-filters", crowd_filters },           /* who say that they follow everybody */
	{ "words-garbage", words_garbage },           /* frames that do not open */
	{ "words-garbage-packets", words_garbage_packets }, /* frames with no packet in them */
	{ "words-oversized", words_oversized },       /* lengths of no frame */
	{ "words-cut", words_cut },                   /* gone in the middle of a frame */
	{ "words-again-ready", words_again_ready },
	{ "words-queries", words_queries },           /* many more than may wait */
	{ "words-ranges", words_ranges },             /* sets to be compared, without end */
	{ "words-filters", words_filters },           /* the largest, again and again */
	{ "words-pings", words_pings },
	{ "words-rekeys", words_rekeys },
	{ "words-notes", words_notes },               /* of logs that do not exist, and more of the victim's own */
	{ "words-grafts", words_grafts },
	{ "words-thanks", words_thanks },             /* for what it did not get */
	{ "words-pages-unasked", words_pages_unasked },
	{ "words-junk", words_junk },                 /* 100,000 valid records that nobody follows */
	{ "words-chains", words_chains },             /* forged ones that nobody follows */
	{ "words-large-pushes", words_large_pushes },
	{ "friend-nonce", friend_nonce },             /* answers to what was not asked */
	{ "friend-binding", friend_binding },         /* of another session */
	{ "friend-signature", friend_signature },     /* that nobody signed */
	{ "friend-twice", friend_twice },             /* each page twice */
	{ "friend-half", friend_half },               /* a page that stops in its middle */
	{ "friend-mute", friend_mute },               /* no answers */
	{ "friend-endless", friend_endless },         /* 2^53 records, one a page */
	{ "friend-empty", friend_empty },             /* 2^53 records, none a page */
	{ "friend-heads", friend_heads },             /* of devices that do not exist */
	{ "friend-own-head", friend_own_head },       /* more of the victim's log than it has itself */
	{ "friend-peers", friend_peers },             /* where nobody is */
	{ "friend-bomb", friend_bomb },               /* gzip */
	{ "friend-larger", friend_larger },           /* pieces larger than stated */
	{ "friend-wrong-piece", friend_wrong_piece },
	{ "friend-lists", friend_lists },             /* documents of 89,600 pieces that nobody has */
	{ "friend-future", friend_future },           /* records of next year */
	{ "friend-prev", friend_prev },               /* a chain broken before its tip */
	{ "friend-tip", friend_tip },                 /* a false signature at the tip */
	{ "friend-voucher", friend_voucher },         /* another's records */
	{ "friend-fork", friend_fork },               /* another history in each session */
	{ "friend-devices", friend_devices },         /* thousands, each with a chain without a signature */
	{ "friend-junk", friend_junk },               /* 100,000 valid records */
	{ "tree-strangers", tree_strangers },         /* whose introductions are folders */
	{ "tree-deep", tree_deep },                   /* 6,400 directories in one another */
	{ "tree-same", tree_same },                   /* at one name */
	{ "tree-nowhere", tree_nowhere },             /* in none */
	{ "tree-documents", tree_documents },         /* 1,500 at one name */
};

#define MODE_COUNT (sizeof(modes) / sizeof(modes[0]))

static mode_function *find_mode(const char *name)
{
	for (size_t i = 0; i < MODE_COUNT; i++)
		if (strcmp(modes[i].name, name) == 0)
			return modes[i].run;
	return NULL;
}

/* Only the loopback: nothing here may leave the machine. */
static int parse_target(const char *text, struct sockaddr_in *out)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	if (address_split(text, host, &port) < 0 || port == 0 || inet_pton(AF_INET, host, &out->sin_addr) != 1 ||
	    ntohl(out->sin_addr.s_addr) >> 24 != 127)
		return -EINVAL;
	out->sin_family = AF_INET;
	out->sin_port = htons(port);
	return 0;
}

static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(mode_function *mode, struct hostile *h)
{
	h->clock = clock_system();
	h->shelf = shelf_new(h->seed);
	begin_clock(h);
	mode(h);
	shelf_free(h->shelf);
	printf("%s: %llu connections, %llu refused, %llu sessions, %llu bytes sent, %llu received, %llu queries\n", h->mode,
	       (unsigned long long)h->tries, (unsigned long long)h->refused, (unsigned long long)h->sessions,
	       (unsigned long long)h->sent, (unsigned long long)h->received, (unsigned long long)h->queries);
	return 0;
}

static int tell_id(const char *seed)
{
	struct shelf *shelf = shelf_new(strtoull(seed, NULL, 10));
	char id[ID_TEXT_SIZE + 1];

	id_format(id, &shelf->key.public);
	shelf_free(shelf);
	printf("moot:%s\n", id);
	return 0;
}

int main(int count, char **arguments)
{
	struct hostile h = { .seed = 1 };

	if (sodium_init() < 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	allow_files();
	if (count == 2 && strcmp(arguments[1], "list") == 0) {
		for (size_t i = 0; i < MODE_COUNT; i++)
			puts(modes[i].name);
		return 0;
	}
	if (count == 3 && strcmp(arguments[1], "id") == 0)
		return tell_id(arguments[2]);
	mode_function *mode = count >= 4 ? find_mode(arguments[1]) : NULL;
	h.seconds = count >= 4 ? strtoul(arguments[3], NULL, 10) : 0;
	if (!mode || h.seconds == 0 || h.seconds > SECONDS_MAX || parse_target(arguments[2], &h.target) < 0) {
		fprintf(stderr, "hostile MODE 127.x.y.z:PORT SECONDS [SEED] | hostile list | hostile id SEED\n");
		return 2;
	}
	h.mode = arguments[1];
	if (count > 4)
		h.seed = strtoull(arguments[4], NULL, 10);
	return run(mode, &h);
}
