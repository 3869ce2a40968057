/*
 * The cutter, for moot-store(5).  FastCDC (Xia et al., USENIX ATC 2016) with
 * normalised chunking level 2: from byte PIECE_TEXT_MIN on, a 64-bit
 * fingerprint, 0 at first, takes in each byte as (fingerprint << 1) +
 * gear[byte], and the text is cut after the first byte where all bits of the
 * mask are 0: CUT_MASK_BEFORE for bytes before PIECE_TEXT_AIM, CUT_MASK_AFTER
 * for those after it.  The masks are the top bits, which the widest window of
 * bytes (49 to 64) has a say in.  Without such a byte the cut is PIECE_TEXT_MAX
 * long, or ends with the text.
 */
#include "piece.h"

#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define COMPRESSION_LEVEL 6 /* zlib 6's ratio at 1.6 times its speed */
/*
 * A text of one short cut, as most notes are: level 1 takes 60 % of the time and 3 % more room, since most of the
 * time of level 6 goes into clearing tables for a search that finds little in so short a text.
 */
#define SHORT_TEXT_MAX 4096
#define COMPRESSION_LEVEL_SHORT 1
/* Of what is large somebody waits for the end: twice the speed for 5 % more room. */
#define COMPRESSION_LEVEL_HURRY 3

/* Inflaters kept for the next reader; more threads than this at once make their own. */
#define IDLE_MAX 8

#define CUT_MASK_BEFORE 0xffff000000000000u /* 16 one bits: cuts are rare */
#define CUT_MASK_AFTER 0xfff0000000000000u  /* 12 one bits: cuts are likely */

/* RFC 1952 section 2.3: deflate, no flags, no time, no level told, system unknown. */
static const uint8_t gzip_header[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };

/* The first 8 bytes, little-endian, of BLAKE2b-256("mootfs gear 1" NUL byte). */
static const uint64_t gear[256] = {
	0x5e1c8097ee91f911, 0x22f0c9ffed353195, 0xb6f0513bac559dc0, 0xfb5057e8d0a9a079,
	0x05839e4f6a1dfdc9, 0x08a244fe273dd020, 0x0929efcc7074bc07, 0xcadebe0b43426fc5,
	0x20fffc8bb1aba2cf, 0x6d96cd40296fe6f1, 0xe02238bd92888e64, 0x97c832c415812e58,
	0xd2098350d29bfc4a, 0xcbcce1f5faae2722, 0xfd96306df4db5200, 0x54fbd03d055e531a,
	0xf9f52d379c5dc285, 0x10b409e0f6e075f2, 0x6fac93c42db1f46f, 0xc97ed1c7a0f9380b,
	0x951ec0bd903430b5, 0x5065d753aa2f9e49, 0xd7e54e6670bf8c4e, 0x6bb807554fa4d05b,
	0xd8b361b3e4ef8889, 0xc65348d1b23b6ac6, 0x403c362e7b105482, 0x04e770d842b7b817,
	0x60049bac94cbe669, 0x495244e8b82b2359, 0xa0a3233634b64d8d, 0x19edde4b5c2c56a7,
	0xd2b7c52e0bac151c, 0x71e1d9c5cb7522d7, 0xcb7edaf1b2647ab2, 0xb403ab1524ecd7d5,
	0x082a83c241a688a1, 0x235a1dcab3cde15c, 0xb117f20987e0f555, 0x98ef2dc9a33f7fe2,
	0xdf12171cd4a542ae, 0xa82d121190422a1b, 0xf5a83e446f5c0876, 0xeb0f8417c9720a6d,
	0x4fab28e51cb2418f, 0x06c5057760c4ad76, 0x995d612b3ab647aa, 0x2b361e162fb2e6b4,
	0x56157d53f5ce3bc0, 0x5c41413ac89f21dd, 0x06926a8d77b015b2, 0x0300a8192616197a,
	0x6e5af2fdb60fd4ad, 0x1a66704b6e70bd02, 0x9f3be1badf026f75, 0x328e1de5aa50a268,
	0x78f569afd2c05796, 0x260667f7635364de, 0x5d9c2f71d3711dab, 0x1df3545e16dac13f,
	0x2c44ed396157c18f, 0x2dff44a00465edb0, 0x4bc75eddb0231ccd, 0x9f9e02aa66c4214d,
	0xa8e594b01b84b8d7, 0xb6dd7ca58a16c4cb, 0xd5e9240c945db197, 0xce6498ce10f778d6,
	0x8c7c8e91029c1b4e, 0xf25e34c48819d737, 0x00e1cf577d37ff36, 0xfd2d548a8399e141,
	0xea8891f5ed5bf6b7, 0x3d9d5842a3a2bfad, 0x845015b38af0f0a3, 0x6440481e4d5367cd,
	0xa5a72aaa63bb256b, 0x45044702e73c137d, 0x4f33359ef19076ea, 0xaf8f84584f75997b,
	0x3f1e046a9c1f0b13, 0xd1eb023281404737, 0xc45f3be32fd16ee5, 0x537564a9ab69616c,
	0xe5cb282023338d1b, 0x254192ddad8c7a3b, 0xc171348e89f7c246, 0x225e3d077799fee4,
	0x32a9b4dbdcebc9b9, 0x6d6a83ab4f7a73df, 0xb6ed61dcf308fd43, 0x17c0d9ed41d6dd27,
	0x4fa1377be8bbacb9, 0x886730558db47bc4, 0x569fbec0425ade6f, 0x6fd07338138e27e1,
	0x104332ad154a4812, 0xa59320f061a3a4a9, 0xf380481fcaf803a8, 0x1f0b9ec30060ca6c,
	0x5e29e7786538cb92, 0xa3e50fa859ea828f, 0xeb348b78e51b33d2, 0x78058b363b9ec9bf,
	0x504265a592a8236d, 0xea256f5f3d1a5f08, 0xf65de57eb014333f, 0xdfc78c6c59073dac,
	0x0d424ad36226f565, 0x3d7597d9aedfac2c, 0x96ccae39dc5aec52, 0x8a559a532847eed1,
	0x74940bc804a6371f, 0x26998d5457264a00, 0x251d7abdb4974240, 0xe60f44a8e70dbfa5,
	0x29250d47beb29435, 0x994bbc852ce18da8, 0x087805f95581eedb, 0xdfaddfc5d3075ad0,
	0x2c1365ce1a067fbf, 0xf15dd3853f6216e7, 0xb406302fc9a8b991, 0xdb5967e223a639b3,
	0x85f4bb85cbf9e4de, 0xab9c1a2fc244cc20, 0x3528c63757b7927e, 0xfba31f2731da9a2d,
	0xf3bd1920c3e68135, 0x81534657c02979bd, 0x43a1ebba42f9fc0d, 0x5b63561b4ff01cbf,
	0x9c47165ab54ffc15, 0x80391401952b0afb, 0xe6668880a3b5d33a, 0xde3a8cf05d7051ab,
	0x58adff1769345cae, 0x65158bbef6bd7e44, 0x2e8e567c36726a4f, 0x3b849eaf58748103,
	0x51dc14564f6a962d, 0xcad5f00d269685b9, 0x8a49f4ab59369bee, 0x569d2b0c045643af,
	0x9eaf3468f53890f4, 0xfd2f22ea69f486ba, 0xc4f93e3e366e4ae9, 0xf7f6d70ad846d258,
	0x60d7c724991d0480, 0x6f8f62fc320778fd, 0x0104909ed4ee23ac, 0x8c36c381dc8e5b05,
	0xdf83c123930427bc, 0x8031e03b989df038, 0xf733ede1f8aab783, 0x2c0077c14c823a10,
	0xcbf304b095f88983, 0x9f53aa47d9b7fe24, 0x149119c09aeae587, 0xb4b7f45071326f45,
	0x207602a0642e0c4a, 0x30b4be7e421e36a4, 0x13d62dff943ed5fa, 0x6339a945606ab385,
	0xf4f74b063f91f4df, 0x9f8235dfc17937c6, 0xb71c5c40a0d00121, 0xc5cc7c93d70dd3fc,
	0x9bda2d4849ad29f7, 0x3a5f5654710695ea, 0x7cd7eb8fd88c2cc0, 0x4d2147b8e385784d,
	0xff5823df7d86a825, 0x4c034f027480d275, 0x2addc64054c6c961, 0x306995b66a833a00,
	0x96014acb42cc350f, 0xae76211935d93b4b, 0x7ff08e62762c42f0, 0xa768c5de38f0efe7,
	0x96e37565458059e4, 0x03d0263fbd623c5c, 0x67018b6b9d7a1bb3, 0x2155d5bbec99751a,
	0x11e64bb1b1eb449f, 0xf1e0554c550d783e, 0x0fb165b0de4c64ef, 0xec7e37358eca6ff6,
	0x0fbbbcaf3aecfc92, 0x4aca523570eb5737, 0x230781787ce74097, 0xc3cad1d181d87edc,
	0x62ba2490d6003347, 0x8f3f176255e9a2eb, 0xb9e2460c4bfa2af8, 0x479f185b0c2e6255,
	0x1ed3f1b418352992, 0xeea1de7373f5d39f, 0x4684b593e199148e, 0xee7c1924afdd7b0a,
	0x2424804f6c3d8421, 0xf2b0e2cb12542493, 0x1e80c4e1c4fb2328, 0xbe73d8802bcd3003,
	0x71a21f678faca3bd, 0xe8d8d86a0948dd52, 0x5202c8c5015dcd18, 0x8d3b7a841d79a62e,
	0x2e74786ad7843532, 0xaba33471268f869a, 0x6daa38c50fb91f1d, 0x7bd7bc7bb6df4de7,
	0xdfe5486570371de9, 0xd6958b4dff2d51c2, 0x7e9638bd39ed589b, 0x8ed00fa203bc1542,
	0x3c233042ca1eafc9, 0xfe6b4c89c786a26b, 0xc0745b52fad3eae5, 0x28abacdbb48438d4,
	0x378a42abeccbc6ed, 0x7ca202191b255e24, 0x000e8e359ea0bc08, 0x74c6312f9c20f88f,
	0x64bd139e5016c6ac, 0xad41324a73f5b17c, 0xbb97a2beea116d4e, 0xcaf63a8d7d8c2929,
	0xa716f40551ce56d0, 0x9095f149e8f8e9bc, 0x0e8c39581f9f7fd9, 0x5d25ffd20d029eaa,
	0x2180d49d56c65787, 0xe667f299261e665b, 0x2da6a6cad6a7f016, 0xedeeadd580f49b7a,
	0x3f31be37920f979f, 0x276a721365aaf2d3, 0xc1bb0c1a393f173a, 0x20de547eb9d0d634,
	0xdf08ecd8e6cd7b40, 0xb85590ccecfcad5d, 0xa665972a389f97dd, 0xda5f22d8d5c9fb82,
	0x3f58ba94952b9398, 0xb48c15fe342bc16e, 0x769c279ba6736efc, 0x7c51db5194688a92,
	0x8ef9c27830bcb6c3, 0x063c8f93fc388f0e, 0x2b939e986cd08d70, 0xc55cabe5970045c6,
	0x0cf6edd2f4b89b96, 0x04d12a6ebaf63ed8, 0x6b869ef463337b59, 0xf7d36235623614b2,
};

struct packer {
	struct libdeflate_compressor *compressors[COMPRESSION_LEVEL + 1]; /* by level, made when first used */
	bool hurry;
	struct libdeflate_decompressor *decompressor;
	uint8_t member[PIECE_STORED_MAX];
};

struct packer *packer_new(void)
{
	struct packer *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;

	p->decompressor = libdeflate_alloc_decompressor();
	if (p->decompressor == NULL) {
		free(p);
		return NULL;
	}
	return p;
}

void packer_free(struct packer *p)
{
	if (p == NULL)
		return;
	for (int level = 0; level <= COMPRESSION_LEVEL; level++)
		libdeflate_free_compressor(p->compressors[level]);
	libdeflate_free_decompressor(p->decompressor);
	free(p);
}

void packer_hurry(struct packer *p, bool hurry)
{
	p->hurry = hurry;
}

uint8_t *packer_member(struct packer *p)
{
	return p->member;
}

/* Only stored blocks, which always fit PIECE_STORED_MAX. 0: no memory. */
static size_t deflate_stored(const uint8_t *text, size_t size, uint8_t *out)
{
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(0);
	if (compressor == NULL)
		return 0;

	size_t member_size = libdeflate_gzip_compress(compressor, text, size, out, PIECE_STORED_MAX);
	libdeflate_free_compressor(compressor);
	return member_size;
}

ssize_t piece_deflate(struct packer *p, const uint8_t *text, size_t size, uint8_t *out)
{
	const int level = size <= SHORT_TEXT_MAX ? COMPRESSION_LEVEL_SHORT
			  : p->hurry		 ? COMPRESSION_LEVEL_HURRY
						 : COMPRESSION_LEVEL;
	struct libdeflate_compressor **compressor = &p->compressors[level];

	if (size > PIECE_TEXT_MAX)
		return -EMSGSIZE;
	if (*compressor == NULL)
		*compressor = libdeflate_alloc_compressor(level);
	if (*compressor == NULL)
		return -ENOMEM;

	size_t member_size = libdeflate_gzip_compress(*compressor, text, size, out, PIECE_STORED_MAX);
	/* A compressor that splits noise into many blocks may not fit. */
	if (member_size == 0)
		member_size = deflate_stored(text, size, out);
	if (member_size == 0)
		return -ENOMEM;

	/* What a member says of its maker is ours to fix: one text, one header. */
	memcpy(out, gzip_header, sizeof(gzip_header));
	return (ssize_t)member_size;
}

ssize_t piece_inflate(struct packer *p, const uint8_t *member, size_t size, uint8_t *out)
{
	size_t taken, text_size;

	if (size < PIECE_STORED_MIN || size > PIECE_STORED_MAX)
		return -EBADMSG;
	if (memcmp(member, gzip_header, sizeof(gzip_header)) != 0)
		return -EBADMSG;
	if (libdeflate_gzip_decompress_ex(p->decompressor, member, size, out, PIECE_TEXT_MAX,
					  &taken, &text_size) != LIBDEFLATE_SUCCESS)
		return -EBADMSG;
	if (taken != size)
		return -EBADMSG;
	return (ssize_t)text_size;
}

size_t piece_cut(const uint8_t *text, size_t size)
{
	size_t end = size < PIECE_TEXT_MAX ? size : PIECE_TEXT_MAX;
	size_t aim = end < PIECE_TEXT_AIM ? end : PIECE_TEXT_AIM;
	uint64_t fingerprint = 0;
	size_t i = PIECE_TEXT_MIN;

	for (; i < aim; i++) {
		fingerprint = (fingerprint << 1) + gear[text[i]];
		if ((fingerprint & CUT_MASK_BEFORE) == 0)
			return i + 1;
	}
	for (; i < end; i++) {
		fingerprint = (fingerprint << 1) + gear[text[i]];
		if ((fingerprint & CUT_MASK_AFTER) == 0)
			return i + 1;
	}
	return end;
}

/* ---- the cache ---- */

struct inflater {
	struct packer *packer;
	uint8_t member[PIECE_STORED_MAX];
	uint8_t text[PIECE_TEXT_MAX];
};

struct piece_cache {
	pthread_mutex_t lock;
	struct inflated *table;
	struct inflated *newest; /* list, last used first */
	size_t size, size_max;   /* of what is in the table; readers may yet hold evicted pieces */
	struct inflater *idle[IDLE_MAX];
	size_t idle_count;
};

static void inflater_free(struct inflater *inflater)
{
	if (!inflater)
		return;
	packer_free(inflater->packer);
	free(inflater);
}

static struct inflater *inflater_new(void)
{
	struct inflater *inflater = malloc(sizeof(*inflater));
	if (!inflater)
		return NULL;

	inflater->packer = packer_new();
	if (!inflater->packer) {
		free(inflater);
		return NULL;
	}
	return inflater;
}

static size_t inflated_cost(const struct inflated *piece)
{
	return sizeof(*piece) + piece->size;
}

/* Under the lock. */
static void cache_remove(struct piece_cache *cache, struct inflated *piece)
{
	HASH_DEL(cache->table, piece);
	DL_DELETE(cache->newest, piece);
	cache->size -= inflated_cost(piece);
	piece->cached = false;
	if (piece->users == 0)
		free(piece);
}

/* Under the lock. A piece too large for the cache is its reader's alone. */
static void cache_insert(struct piece_cache *cache, struct inflated *piece)
{
	size_t cost = inflated_cost(piece);

	if (cost > cache->size_max)
		return;
	while (cache->size > cache->size_max - cost)
		cache_remove(cache, cache->newest->prev); /* the head's prev is the tail */

	HASH_ADD(hh, cache->table, name, sizeof(piece->name), piece);
	if (!piece->hh.tbl)
		return; /* no memory for the table: not cached then */
	DL_PREPEND(cache->newest, piece);
	cache->size += cost;
	piece->cached = true;
}

/* Under the lock. */
static struct inflated *cache_find(struct piece_cache *cache, const struct id *name)
{
	struct inflated *piece;

	HASH_FIND(hh, cache->table, name, sizeof(*name), piece);
	if (!piece)
		return NULL;
	DL_DELETE(cache->newest, piece);
	DL_PREPEND(cache->newest, piece);
	piece->users++;
	return piece;
}

struct piece_cache *piece_cache_new(size_t size_max)
{
	struct piece_cache *cache = calloc(1, sizeof(*cache));
	if (!cache)
		return NULL;

	cache->size_max = size_max;
	if (pthread_mutex_init(&cache->lock, NULL) != 0) {
		free(cache);
		return NULL;
	}
	return cache;
}

void piece_cache_free(struct piece_cache *cache)
{
	if (!cache)
		return;
	while (cache->newest)
		cache_remove(cache, cache->newest);
	for (size_t i = 0; i < cache->idle_count; i++)
		inflater_free(cache->idle[i]);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* From the store, checked against its name. The caller is its one user. */
static int load_piece(struct inflater *inflater, const struct piece_store *store,
		      const struct piece_ref *ref, struct inflated **out)
{
	struct id name;

	ssize_t stored_size = store->get(store->context, &ref->name, inflater->member,
					 sizeof(inflater->member));
	if (stored_size == -ENOENT)
		return -ENODATA;
	if (stored_size < 0)
		return (int)stored_size;
	if (stored_size != (ssize_t)ref->stored_size)
		return -EBADMSG;
	id_of_bytes(&name, inflater->member, (size_t)stored_size);
	if (!id_equal(&name, &ref->name))
		return -EBADMSG;

	ssize_t size = piece_inflate(inflater->packer, inflater->member, (size_t)stored_size,
				     inflater->text);
	if (size < 0)
		return (int)size;

	struct inflated *piece = malloc(sizeof(*piece) + (size_t)size);
	if (!piece)
		return -ENOMEM;
	*piece = (struct inflated){
		.name = name,
		.stored_size = ref->stored_size,
		.size = (size_t)size,
		.users = 1,
	};
	memcpy(piece->text, inflater->text, (size_t)size);
	*out = piece;
	return 0;
}

void piece_cache_release(struct piece_cache *cache, struct inflated *piece)
{
	pthread_mutex_lock(&cache->lock);
	piece->users--;
	bool unused = piece->users == 0 && !piece->cached;
	pthread_mutex_unlock(&cache->lock);
	if (unused)
		free(piece);
}

/* A miss: inflates outside the lock, so that readers of other pieces go on. */
static int cache_load(struct piece_cache *cache, struct inflater *inflater,
		      const struct piece_store *store, const struct piece_ref *ref,
		      struct inflated **out)
{
	struct inflated *piece = NULL;

	if (!inflater)
		inflater = inflater_new();
	if (!inflater)
		return -ENOMEM;
	int err = load_piece(inflater, store, ref, &piece);

	pthread_mutex_lock(&cache->lock);
	if (cache->idle_count < IDLE_MAX) {
		cache->idle[cache->idle_count++] = inflater;
		inflater = NULL;
	}
	struct inflated *raced = err == 0 ? cache_find(cache, &ref->name) : NULL;
	if (err == 0 && !raced)
		cache_insert(cache, piece);
	pthread_mutex_unlock(&cache->lock);

	inflater_free(inflater);
	if (err < 0)
		return err;
	if (raced) {
		free(piece);
		piece = raced;
	}
	*out = piece;
	return 0;
}

int piece_cache_get(struct piece_cache *cache, const struct piece_store *store,
		    const struct piece_ref *ref, struct inflated **out)
{
	struct inflater *inflater = NULL;

	pthread_mutex_lock(&cache->lock);
	struct inflated *piece = cache_find(cache, &ref->name);
	if (!piece && cache->idle_count > 0)
		inflater = cache->idle[--cache->idle_count];
	pthread_mutex_unlock(&cache->lock);

	if (!piece)
		return cache_load(cache, inflater, store, ref, out);
	/* What a ref says must not depend on what another said before. */
	if (piece->stored_size != ref->stored_size) {
		piece_cache_release(cache, piece);
		return -EBADMSG;
	}
	*out = piece;
	return 0;
}
