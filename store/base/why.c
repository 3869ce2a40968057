#include "why.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int error;
	const char *text;
} sentences[] = {
	{ 0, "nothing is wrong" },
	{ -EBADMSG, "the bytes are damaged or not of this format" },
	{ -EPROTO, "a message came at a time when it makes no sense" },
	{ -EKEYREJECTED, "the signature or the passphrase is wrong" },
	{ -ENOKEY, "a passphrase is needed" },
	{ -EMSGSIZE, "it is larger than the limit" },
	{ -EFBIG, "the file is larger than the limit" },
	{ -ENOENT, "there is no such thing here" },
	{ -EAGAIN, "it is not here yet" },
	{ -ENODATA, "its contents are not held here" },
	{ -EEXIST, "there is one already" },
	{ -EINVAL, "that is not a valid value" },
	{ -EACCES, "permission is denied" },
	{ -EROFS, "it can only be read" },
	{ -EPERM, "that is not allowed here" },
	{ -ENOMEM, "there is not enough memory" },
	{ -ENOSPC, "the disk is full" },
	{ -EDQUOT, "the disk quota is used up" },
	{ -EIO, "the disk failed to read or write" },
	{ -ENAMETOOLONG, "the name is too long" },
	{ -EBUSY, "it is in use" },
};

/* A sentence cut short must still be UTF-8: drop the character that the end fell into. */
static void end_at_character(char *text, size_t size)
{
	while (size > 0 && ((unsigned char)text[size - 1] & 0xc0) == 0x80)
		size--;
	if (size > 0 && (unsigned char)text[size - 1] >= 0xc0)
		size--;
	text[size] = '\0';
}

int why_set(struct why *why, int error, const char *format, ...)
{
	va_list arguments;

	if (!why)
		return error;

	va_start(arguments, format);
	int size = vsnprintf(why->text, sizeof why->text, format, arguments);
	va_end(arguments);
	if (size < 0)
		why->text[0] = '\0';
	else if ((size_t)size >= sizeof why->text)
		end_at_character(why->text, sizeof why->text - 1);
	return error;
}

const char *why_errno(int error)
{
	for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
		if (sentences[i].error == error)
			return sentences[i].text;
	}

	const char *text = error < 0 && error > -4096 ? strerrordesc_np(-error) : NULL;
	return text ? text : "an unknown error";
}
