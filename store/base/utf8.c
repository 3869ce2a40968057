#include "utf8.h"

#include <string.h>
#include <unistr.h>

#include "store_limits.h"

bool utf8_valid(const void *bytes, size_t size)
{
	return size == 0 || u8_check(bytes, size) == NULL;
}

static bool is_dots(const char *name, size_t size)
{
	return (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.');
}

bool utf8_valid_name(const void *bytes, size_t size)
{
	const char *name = bytes;

	if (size < 1 || size > NAME_SIZE_MAX)
		return false;
	if (is_dots(name, size) || name[size - 1] == '@')
		return false;
	if (memchr(name, '/', size) || memchr(name, '\0', size))
		return false;
	return utf8_valid(bytes, size);
}
