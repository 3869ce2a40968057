/*
 * Any bytes as a member, as a text to be cut, and as a list of pieces.
 *
 * As a list they stand in a content of their own, at depths 1 and 2: what
 * reading and visiting make of it must be the same.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "wire.h"

#define CHECK(condition)         \
	do {                     \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct shelf {
	struct id name;
	size_t size;
	uint8_t member[PIECE_STORED_MAX];
};

static ssize_t shelf_get(void *context, const struct id *name, uint8_t *out, size_t out_size)
{
	const struct shelf *shelf = context;

	if (!id_equal(name, &shelf->name))
		return -ENOENT;
	CHECK(shelf->size <= out_size);
	memcpy(out, shelf->member, shelf->size);
	return (ssize_t)shelf->size;
}

static void check_member(struct packer *packer, const uint8_t *bytes, size_t size)
{
	static uint8_t text[PIECE_TEXT_MAX], member[PIECE_STORED_MAX], again[PIECE_TEXT_MAX];

	ssize_t text_size = piece_inflate(packer, bytes, size, text);
	if (text_size < 0) {
		CHECK(text_size == -EBADMSG);
		return;
	}
	CHECK(text_size <= PIECE_TEXT_MAX);
	ssize_t member_size = piece_deflate(packer, text, (size_t)text_size, member);
	CHECK(member_size >= PIECE_STORED_MIN && member_size <= PIECE_STORED_MAX);
	CHECK(piece_inflate(packer, member, (size_t)member_size, again) == text_size);
	CHECK(memcmp(text, again, (size_t)text_size) == 0);
}

static void check_cut(const uint8_t *bytes, size_t size)
{
	size_t cut = piece_cut(bytes, size);

	CHECK(cut <= size && cut <= PIECE_TEXT_MAX);
	CHECK(size <= PIECE_TEXT_MIN ? cut == size : cut > PIECE_TEXT_MIN);
}

static int visit(void *context, const struct piece_ref *ref, bool is_list)
{
	uint64_t *left = context;

	CHECK(is_list || ref->text_size <= *left);
	*left -= is_list ? 0 : ref->text_size;
	return 0;
}

static void check_list(struct packer *packer, const uint8_t *bytes, size_t size, uint8_t depth)
{
	static struct shelf shelf;
	const struct piece_store store = { .get = shelf_get, .context = &shelf };
	struct content content = { .depth = depth, .count = 1 };
	struct wire list;
	uint8_t out[100];

	if (size > PIECE_TEXT_MAX)
		return;
	shelf.size = (size_t)piece_deflate(packer, bytes, size, shelf.member);
	id_of_bytes(&shelf.name, shelf.member, shelf.size);

	wire_init(&list, bytes, size);
	while (!list.failed && list.left > 0) {
		wire_bytes(&list, ID_SIZE);
		content.size += wire_u64(&list);
		wire_u32(&list);
	}
	content.pieces[0] = (struct piece_ref){
		.name = shelf.name,
		.text_size = content.size,
		.stored_size = (uint32_t)shelf.size,
	};

	struct piece_cache *cache = piece_cache_new(1 << 20);
	CHECK(cache);
	uint64_t left = content.size;
	int each = content_each(cache, &store, &content, true, visit, &left);
	ssize_t got = content_read(cache, &store, &content, out, sizeof(out), content.size / 2);
	if (content_check(&content) == 0 && depth == 1) {
		CHECK(each == 0 || each == -EBADMSG);
		CHECK(each == 0 ? left == 0 && (got == -ENODATA || got == -EBADMSG) : got == -EBADMSG);
	}
	CHECK(content.size > 0 ? got < 0 : got == 0);
	piece_cache_free(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size ? size : 1);
	struct packer *packer = packer_new();

	CHECK(bytes && packer);
	if (size > 0)
		memcpy(bytes, data, size);
	check_member(packer, bytes, size);
	check_cut(bytes, size);
	check_list(packer, bytes, size, 1);
	check_list(packer, bytes, size, 2);
	packer_free(packer);
	free(bytes);
	return 0;
}
