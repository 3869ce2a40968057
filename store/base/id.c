#include "id.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define CHARACTER_BITS 5
#define ID_BITS (ID_SIZE * 8)

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char scheme[] = "moot:";

void id_of_bytes(struct id *out, const void *bytes, size_t size)
{
	crypto_generichash(out->bytes, ID_SIZE, bytes, size, NULL, 0);
}

void id_of_spans(struct id *out, const struct span *spans, size_t count)
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, ID_SIZE);
	for (size_t i = 0; i < count; i++)
		crypto_generichash_update(&state, spans[i].data, spans[i].size);
	crypto_generichash_final(&state, out->bytes, ID_SIZE);
}

bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->bytes, b->bytes, ID_SIZE) == 0;
}

int id_compare(const struct id *a, const struct id *b)
{
	return memcmp(a->bytes, b->bytes, ID_SIZE);
}

bool id_is_zero(const struct id *id)
{
	static const struct id zero;

	return id_equal(id, &zero);
}

/* Bits are numbered from the first byte's highest; past the end they are zero. */
static unsigned bit_get(const struct id *id, size_t index)
{
	return index < ID_BITS ? id->bytes[index / 8] >> (7 - index % 8) & 1u : 0;
}

static void bit_set(struct id *id, size_t index, unsigned bit)
{
	uint8_t mask = (uint8_t)(1u << (7 - index % 8));

	if (bit)
		id->bytes[index / 8] |= mask;
	else
		id->bytes[index / 8] &= (uint8_t)~mask;
}

static void format_characters(char *out, const struct id *id, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		unsigned value = 0;

		for (size_t k = 0; k < CHARACTER_BITS; k++)
			value = value << 1 | bit_get(id, i * CHARACTER_BITS + k);
		out[i] = alphabet[value];
	}
	out[count] = '\0';
}

void id_format(char out[ID_TEXT_SIZE + 1], const struct id *id)
{
	format_characters(out, id, ID_TEXT_SIZE);
}

void id_format_short(char out[ID_SHORT_SIZE + 1], const struct id *id)
{
	format_characters(out, id, ID_SHORT_SIZE);
}

static int parse_character(struct id *least, struct id *greatest, size_t index, char character)
{
	const char *found = character ? strchr(alphabet, character) : NULL;
	if (!found)
		return -EINVAL;

	unsigned value = (unsigned)(found - alphabet);
	for (size_t k = 0; k < CHARACTER_BITS; k++) {
		size_t at = index * CHARACTER_BITS + k;
		unsigned bit = value >> (CHARACTER_BITS - 1 - k) & 1u;

		/* What the last character has over must be zero: one id has one text. */
		if (at >= ID_BITS && bit)
			return -EINVAL;
		if (at >= ID_BITS)
			continue;
		bit_set(least, at, bit);
		bit_set(greatest, at, bit);
	}
	return 0;
}

static int parse(struct id *out_least, struct id *out_greatest, const char *text, size_t size_min)
{
	struct id least, greatest;

	if (strncmp(text, scheme, sizeof scheme - 1) == 0)
		text += sizeof scheme - 1;

	size_t size = strlen(text);
	if (size < size_min || size > ID_TEXT_SIZE)
		return -EINVAL;

	memset(&least, 0, sizeof least);
	memset(&greatest, 0xff, sizeof greatest);
	for (size_t i = 0; i < size; i++) {
		if (parse_character(&least, &greatest, i, text[i]) < 0)
			return -EINVAL;
	}
	*out_least = least;
	*out_greatest = greatest;
	return 0;
}

int id_parse(struct id *out, const char *text)
{
	struct id greatest;

	return parse(out, &greatest, text, ID_TEXT_SIZE);
}

int id_parse_prefix(struct id *out_least, struct id *out_greatest, const char *text)
{
	return parse(out_least, out_greatest, text, ID_PREFIX_MIN);
}
