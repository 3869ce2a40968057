#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_host_name(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

	return host[0] && host[0] != '.' && host[strspn(host, allowed)] == '\0';
}

/* A v6 address with the scope that link-local ones need. */
static bool is_v6(const char *host)
{
	char bare[ADDRESS_SIZE_MAX];
	struct in6_addr address;

	snprintf(bare, sizeof(bare), "%s", host);
	char *scope = strchr(bare, '%');
	if (scope)
		*scope = '\0';
	return inet_pton(AF_INET6, bare, &address) == 1;
}

static int parse_port(const char *text, uint16_t *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9' || strlen(text) > 5)
		return -EINVAL;
	unsigned long port = strtoul(text, &end, 10);
	if (*end || port > UINT16_MAX)
		return -EINVAL;
	*out = (uint16_t)port;
	return 0;
}

int address_split(const char *address, char out_host[ADDRESS_SIZE_MAX], uint16_t *out_port)
{
	char host[ADDRESS_SIZE_MAX];
	const char *colon = strrchr(address, ':');
	uint16_t port;

	if (!colon || strlen(address) >= ADDRESS_SIZE_MAX || parse_port(colon + 1, &port) < 0)
		return -EINVAL;
	size_t size = (size_t)(colon - address);
	memcpy(host, address, size);
	host[size] = '\0';
	if (host[0] == '[') {
		if (host[size - 1] != ']')
			return -EINVAL;
		host[size - 1] = '\0';
		memmove(host, host + 1, size - 1);
		if (!is_v6(host))
			return -EINVAL;
	} else if (host[0] && !is_host_name(host)) {
		return -EINVAL;
	}
	memcpy(out_host, host, strlen(host) + 1);
	*out_port = port;
	return 0;
}

void address_join(char out[ADDRESS_SIZE_MAX], const char *host, uint16_t port)
{
	char host_copy[ADDRESS_SIZE_MAX];

	snprintf(host_copy, sizeof(host_copy), "%.*s", ADDRESS_SIZE_MAX - 9, host);
	snprintf(out, ADDRESS_SIZE_MAX, strchr(host_copy, ':') ? "[%.55s]:%u" : "%.55s:%u", host_copy, port);
}

int address_parse(const char *text, char out_address[ADDRESS_SIZE_MAX], struct id *out_id)
{
	char address[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX];
	struct id id = { { 0 } };
	uint16_t port;

	const char *hash = strchr(text, '#');
	size_t size = hash ? (size_t)(hash - text) : strlen(text);
	if (size >= sizeof(address) || (hash && (!out_id || id_parse(&id, hash + 1) < 0)))
		return -EINVAL;
	memcpy(address, text, size);
	address[size] = '\0';
	if (address_split(address, host, &port) < 0 || !host[0] || port == 0)
		return -EINVAL;
	memcpy(out_address, address, size + 1);
	if (out_id)
		*out_id = id;
	return 0;
}

void address_announce(char out[ADDRESS_SIZE_MAX], const char *listening)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	if (address_split(listening, host, &port) < 0)
		out[0] = '\0';
	else
		address_join(out, strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "" : host, port);
}

static enum address_scope scope_v4(uint32_t ip)
{
	if (ip >> 24 == 127)
		return ADDRESS_LOOPBACK;
	if (ip >> 16 == 0xa9fe)
		return ADDRESS_LINK;
	if (ip >> 24 == 10 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8)
		return ADDRESS_PRIVATE;
	return ADDRESS_INTERNET;
}

static uint32_t mapped_v4(const struct in6_addr *v6)
{
	const uint8_t *ip = v6->s6_addr + 12;
	return (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | ip[3];
}

enum address_scope address_scope(const char *host)
{
	char bare[ADDRESS_SIZE_MAX];
	struct in6_addr v6;
	struct in_addr v4;

	snprintf(bare, sizeof(bare), "%s", host);
	char *scope = strchr(bare, '%');
	if (scope)
		*scope = '\0';
	if (strcmp(bare, "localhost") == 0)
		return ADDRESS_LOOPBACK;
	if (inet_pton(AF_INET, bare, &v4) == 1)
		return scope_v4(ntohl(v4.s_addr));
	if (inet_pton(AF_INET6, bare, &v6) != 1)
		return ADDRESS_INTERNET;
	if (IN6_IS_ADDR_V4MAPPED(&v6))
		return scope_v4(mapped_v4(&v6));
	if (IN6_IS_ADDR_LOOPBACK(&v6))
		return ADDRESS_LOOPBACK;
	if (IN6_IS_ADDR_LINKLOCAL(&v6))
		return ADDRESS_LINK;
	return (v6.s6_addr[0] & 0xfe) == 0xfc ? ADDRESS_PRIVATE : ADDRESS_INTERNET;
}

/* Not "any", not many. */
static bool is_one_host_v4(uint32_t ip)
{
	return ip >> 24 != 0 && ip >> 28 < 0xe;
}

static bool is_one_host(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return is_one_host_v4(ntohl(v4.s_addr));
	if (inet_pton(AF_INET6, host, &v6) != 1)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&v6))
		return is_one_host_v4(mapped_v4(&v6));
	return !IN6_IS_ADDR_MULTICAST(&v6) && !IN6_IS_ADDR_UNSPECIFIED(&v6);
}

bool address_is_tellable(const char *address, enum address_scope from)
{
	char host[ADDRESS_SIZE_MAX];
	uint16_t port;

	return address_split(address, host, &port) == 0 && port != 0 && is_one_host(host) && address_scope(host) >= from;
}
