#include "cbor.h"

#include <cbor/encoding.h>
#include <cbor/streaming.h>
#include <errno.h>
#include <string.h>

#include "utf8.h"

#define HEAD_SIZE_MAX 9 /* bytes: the type, and an argument of 8 */
#define DEPTH_MAX 16    /* arrays within arrays that cbor_skip() keeps count of */

enum major { /* RFC 8949 section 3.1, the ones that occur */
	MAJOR_UINT = 0,
	MAJOR_BYTES = 2,
	MAJOR_TEXT = 3,
	MAJOR_ARRAY = 4,
};

void cbor_put_uint(struct bytes *b, uint64_t value)
{
	uint8_t head[HEAD_SIZE_MAX];

	bytes_put(b, head, cbor_encode_uint(value, head, sizeof head));
}

void cbor_put_bytes(struct bytes *b, const void *data, size_t size)
{
	uint8_t head[HEAD_SIZE_MAX];

	bytes_put(b, head, cbor_encode_bytestring_start(size, head, sizeof head));
	bytes_put(b, data, size);
}

void cbor_put_text(struct bytes *b, const char *text, size_t size)
{
	uint8_t head[HEAD_SIZE_MAX];

	/* Such a record could never be read again. */
	if (!utf8_valid(text, size)) {
		if (!b->error)
			b->error = -EINVAL;
		return;
	}
	bytes_put(b, head, cbor_encode_string_start(size, head, sizeof head));
	bytes_put(b, text, size);
}

void cbor_put_array(struct bytes *b, size_t count)
{
	uint8_t head[HEAD_SIZE_MAX];

	bytes_put(b, head, cbor_encode_array_start(count, head, sizeof head));
}

void cbor_put_id(struct bytes *b, const struct id *id)
{
	cbor_put_bytes(b, id->bytes, ID_SIZE);
}

void cbor_put_optional_id(struct bytes *b, const struct id *id)
{
	cbor_put_bytes(b, id->bytes, id_is_zero(id) ? 0 : ID_SIZE);
}

void cbor_reader_init(struct cbor_reader *r, const void *bytes, size_t size)
{
	*r = (struct cbor_reader){ .at = bytes ? bytes : (const uint8_t *)"", .left = size };
}

void cbor_reader_fail(struct cbor_reader *r)
{
	r->failed = true;
}

int cbor_reader_finish(const struct cbor_reader *r)
{
	return r->failed || r->left > 0 ? -EBADMSG : 0;
}

static const uint8_t *advance(struct cbor_reader *r, size_t size)
{
	const uint8_t *at = r->at;

	r->at += size;
	r->left -= size;
	return at;
}

static void take_u8(void *context, uint8_t value)
{
	*(uint64_t *)context = value;
}

static void take_u16(void *context, uint16_t value)
{
	*(uint64_t *)context = value;
}

static void take_u32(void *context, uint32_t value)
{
	*(uint64_t *)context = value;
}

static void take_u64(void *context, uint64_t value)
{
	*(uint64_t *)context = value;
}

/*
 * Every head has the argument of an unsigned integer behind its three bits of
 * type, so libcbor is shown each as one: given a string's own head it would
 * want the whole string at hand, and would add up a length of the sender's.
 * The shortest form is what the encoder makes of the value again.
 */
static size_t head_decode(const struct cbor_reader *r, uint64_t *out_value)
{
	static const struct cbor_callbacks callbacks = {
		.uint8 = take_u8, .uint16 = take_u16, .uint32 = take_u32, .uint64 = take_u64,
	};
	uint8_t head[HEAD_SIZE_MAX], shortest[HEAD_SIZE_MAX];
	size_t size = r->left < sizeof head ? r->left : sizeof head;

	if (size == 0)
		return 0;
	memcpy(head, r->at, size);
	head[0] &= 0x1f;

	struct cbor_decoder_result result = cbor_stream_decode(head, size, &callbacks, out_value);
	if (result.status != CBOR_DECODER_FINISHED)
		return 0;
	if (cbor_encode_uint(*out_value, shortest, sizeof shortest) != result.read)
		return 0;
	return result.read;
}

/* Takes one head of any of our types; false: failed. */
static bool take_head(struct cbor_reader *r, enum major *out_major, uint64_t *out_value)
{
	uint64_t value = 0;

	size_t size = r->failed ? 0 : head_decode(r, &value);
	if (size == 0) {
		r->failed = true;
		return false;
	}
	*out_major = (enum major)(*advance(r, size) >> 5);
	*out_value = value;
	return true;
}

/* Takes one head of this type and argument; 0 if failed. */
static uint64_t take_head_of(struct cbor_reader *r, enum major major, uint64_t min, uint64_t max)
{
	enum major actual;
	uint64_t value;

	if (!take_head(r, &actual, &value))
		return 0;
	if (actual != major || value < min || value > max) {
		r->failed = true;
		return 0;
	}
	return value;
}

uint64_t cbor_get_uint(struct cbor_reader *r, uint64_t max)
{
	return take_head_of(r, MAJOR_UINT, 0, max);
}

static const uint8_t *take_string(struct cbor_reader *r, enum major major, size_t size_min,
				  size_t size_max, size_t *out_size)
{
	uint64_t size = take_head_of(r, major, size_min, size_max);

	if (r->failed || size > r->left) {
		r->failed = true;
		*out_size = 0;
		return NULL;
	}
	*out_size = (size_t)size;
	return advance(r, (size_t)size);
}

const uint8_t *cbor_get_bytes(struct cbor_reader *r, size_t size_min, size_t size_max, size_t *out_size)
{
	return take_string(r, MAJOR_BYTES, size_min, size_max, out_size);
}

const char *cbor_get_text(struct cbor_reader *r, size_t size_min, size_t size_max, size_t *out_size)
{
	const uint8_t *text = take_string(r, MAJOR_TEXT, size_min, size_max, out_size);

	if (text && !utf8_valid(text, *out_size)) {
		r->failed = true;
		*out_size = 0;
		return NULL;
	}
	return (const char *)text;
}

size_t cbor_get_array(struct cbor_reader *r, size_t count_min, size_t count_max)
{
	uint64_t count = take_head_of(r, MAJOR_ARRAY, count_min, count_max);

	/* An item is a byte at least: a caller may loop or allocate by this count. */
	if (count > r->left) {
		r->failed = true;
		return 0;
	}
	return (size_t)count;
}

void cbor_get_id(struct cbor_reader *r, struct id *out)
{
	size_t size;
	const uint8_t *bytes = cbor_get_bytes(r, ID_SIZE, ID_SIZE, &size);

	memset(out, 0, sizeof *out);
	if (bytes)
		memcpy(out->bytes, bytes, ID_SIZE);
}

void cbor_get_optional_id(struct cbor_reader *r, struct id *out)
{
	size_t size;
	const uint8_t *bytes = cbor_get_bytes(r, 0, ID_SIZE, &size);

	memset(out, 0, sizeof *out);
	if (!bytes || size == 0)
		return;
	if (size == ID_SIZE)
		memcpy(out->bytes, bytes, ID_SIZE);
	/* Zeroes written out are the empty string's second spelling. */
	if (id_is_zero(out))
		r->failed = true;
}

/* Takes one item, of an array only its head: then true, with the count of items that follow. */
static bool skip_one(struct cbor_reader *r, uint64_t *out_count)
{
	enum major major;
	uint64_t value;

	if (!take_head(r, &major, &value) || major == MAJOR_UINT)
		return false;
	if ((major != MAJOR_BYTES && major != MAJOR_TEXT && major != MAJOR_ARRAY) || value > r->left) {
		r->failed = true;
		return false;
	}
	if (major == MAJOR_ARRAY) {
		*out_count = value;
		return true;
	}

	const uint8_t *string = advance(r, (size_t)value);
	if (major == MAJOR_TEXT && !utf8_valid(string, (size_t)value))
		r->failed = true;
	return false;
}

void cbor_skip(struct cbor_reader *r, unsigned depth_max)
{
	uint64_t pending[DEPTH_MAX + 1] = { 1 }; /* items still to come, by depth */
	unsigned depth = 0;

	while (!r->failed) {
		uint64_t count;

		while (pending[depth] == 0) {
			if (depth == 0)
				return;
			depth--;
		}
		pending[depth]--;
		if (!skip_one(r, &count))
			continue;
		if (depth == depth_max || depth == DEPTH_MAX)
			r->failed = true;
		else
			pending[++depth] = count;
	}
}
