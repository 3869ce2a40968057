#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "address.h"

#define ID "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
#define LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_split(void **state)
{
	static const struct {
		const char *name, *address, *host;
		uint16_t port;
		int expected;
	} cases[] = {
		{ "v4", "127.0.0.1:4040", "127.0.0.1", 4040, 0 },
		{ "v6", "[::1]:4040", "::1", 4040, 0 },
		{ "v6 with scope", "[fe80::1%eth0]:1", "fe80::1%eth0", 1, 0 },
		{ "a name", "moot.example.org:65535", "moot.example.org", 65535, 0 },
		{ "a port alone", ":4040", "", 4040, 0 },
		{ "any port", "127.0.0.1:0", "127.0.0.1", 0, 0 },
		{ "no port", "127.0.0.1", "", 0, -EINVAL },
		{ "an empty port", "127.0.0.1:", "", 0, -EINVAL },
		{ "a port too large", "127.0.0.1:65536", "", 0, -EINVAL },
		{ "a port too long", "127.0.0.1:000001", "", 0, -EINVAL },
		{ "a negative port", "127.0.0.1:-1", "", 0, -EINVAL },
		{ "a port with a sign", "127.0.0.1:+1", "", 0, -EINVAL },
		{ "a port and more", "127.0.0.1:1x", "", 0, -EINVAL },
		{ "v6 without brackets", "::1:4040", "", 0, -EINVAL },
		{ "a bracket left open", "[::1:4040", "", 0, -EINVAL },
		{ "a bracket never opened", "::1]:4040", "", 0, -EINVAL },
		{ "brackets around a name", "[host]:4040", "", 0, -EINVAL },
		{ "empty brackets", "[]:4040", "", 0, -EINVAL },
		{ "one bracket", "[:4040", "", 0, -EINVAL },
		{ "a slash", "a/b:4040", "", 0, -EINVAL },
		{ "a space", "a b:4040", "", 0, -EINVAL },
		{ "a dot in front", ".a:4040", "", 0, -EINVAL },
		{ "nothing", "", "", 0, -EINVAL },
		{ "the longest", LABEL ":65535", LABEL, 65535, 0 },
		{ "too long", LABEL LABEL ":65535", "", 0, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char host[ADDRESS_SIZE_MAX] = "untouched";
		uint16_t port = 7;
		int err = address_split(cases[i].address, host, &port);
		if (err != cases[i].expected || strcmp(host, err ? "untouched" : cases[i].host) != 0 ||
		    port != (err ? 7 : cases[i].port))
			fail_msg("%s: %d, `%s`, %u", cases[i].name, err, host, port);
	}
}

static void test_parse(void **state)
{
	static const struct {
		const char *name, *text, *address;
		bool id, has_id;
		int expected;
	} cases[] = {
		{ "plain", "127.0.0.1:4040", "127.0.0.1:4040", true, false, 0 },
		{ "with an id", "127.0.0.1:4040#" ID, "127.0.0.1:4040", true, true, 0 },
		{ "with moot:", "h:1#moot:" ID, "h:1", true, true, 0 },
		{ "an id where none may be", "h:1#" ID, "", false, false, -EINVAL },
		{ "an empty id", "h:1#", "", true, false, -EINVAL },
		{ "a short id", "h:1#abcdefgh", "", true, false, -EINVAL },
		{ "no host", ":4040", "", true, false, -EINVAL },
		{ "port 0", "h:0", "", true, false, -EINVAL },
		{ "only an id", "#" ID, "", true, false, -EINVAL },
		{ "too long", LABEL LABEL ":1", "", true, false, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char address[ADDRESS_SIZE_MAX] = "";
		struct id id = { { 0 } };
		int err = address_parse(cases[i].text, address, cases[i].id ? &id : NULL);
		if (err != cases[i].expected || strcmp(address, cases[i].address) != 0 || id_is_zero(&id) == cases[i].has_id)
			fail_msg("%s: %d, `%s`", cases[i].name, err, address);
	}
}

static void test_join_is_split_again(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "::1", "fe80::1%eth0", "host.example", "" };
	char address[ADDRESS_SIZE_MAX], host[ADDRESS_SIZE_MAX];
	uint16_t port;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		address_join(address, hosts[i], 4040);
		assert_int_equal(address_split(address, host, &port), 0);
		assert_string_equal(host, hosts[i]);
		assert_int_equal(port, 4040);
	}
	address_join(address, LABEL LABEL, 65535);
	assert_true(strlen(address) < sizeof(address));
	assert_non_null(strstr(address, ":65535"));
}

static void test_scope(void **state)
{
	static const struct {
		const char *host;
		enum address_scope expected;
	} cases[] = {
		{ "127.0.0.1", ADDRESS_LOOPBACK }, { "127.255.0.1", ADDRESS_LOOPBACK }, { "localhost", ADDRESS_LOOPBACK },
		{ "::1", ADDRESS_LOOPBACK }, { "::ffff:127.0.0.1", ADDRESS_LOOPBACK },
		{ "169.254.1.1", ADDRESS_LINK }, { "fe80::1%eth0", ADDRESS_LINK },
		{ "10.1.2.3", ADDRESS_PRIVATE }, { "172.16.0.1", ADDRESS_PRIVATE }, { "172.31.255.1", ADDRESS_PRIVATE },
		{ "192.168.0.1", ADDRESS_PRIVATE }, { "fd00::1", ADDRESS_PRIVATE }, { "fc00::1", ADDRESS_PRIVATE },
		{ "::ffff:10.0.0.1", ADDRESS_PRIVATE },
		{ "172.32.0.1", ADDRESS_INTERNET }, { "192.169.0.1", ADDRESS_INTERNET }, { "8.8.8.8", ADDRESS_INTERNET },
		{ "2001:db8::1", ADDRESS_INTERNET }, { "host.example", ADDRESS_INTERNET },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (address_scope(cases[i].host) != cases[i].expected)
			fail_msg("%s: %d", cases[i].host, address_scope(cases[i].host));
}

static void test_what_a_peer_may_tell(void **state)
{
	static const struct {
		const char *address;
		enum address_scope from;
		bool expected;
	} cases[] = {
		{ "127.0.0.1:4040", ADDRESS_LOOPBACK, true }, { "127.0.0.1:4040", ADDRESS_LINK, false },
		{ "127.0.0.1:22", ADDRESS_INTERNET, false }, { "[::1]:22", ADDRESS_PRIVATE, false },
		{ "[::ffff:127.0.0.1]:22", ADDRESS_PRIVATE, false }, { "169.254.1.1:80", ADDRESS_PRIVATE, false },
		{ "10.0.0.1:4040", ADDRESS_PRIVATE, true }, { "[::ffff:10.0.0.1]:4040", ADDRESS_PRIVATE, true },
		{ "10.0.0.1:4040", ADDRESS_INTERNET, false }, { "192.0.2.1:4040", ADDRESS_LOOPBACK, true },
		{ "192.0.2.1:4040", ADDRESS_INTERNET, true }, { "[2001:db8::1]:4040", ADDRESS_INTERNET, true },
		{ "0.0.0.0:22", ADDRESS_LOOPBACK, false }, { "[::]:22", ADDRESS_LOOPBACK, false },
		{ "[::ffff:0.0.0.0]:22", ADDRESS_LOOPBACK, false }, { "224.0.0.1:4040", ADDRESS_LOOPBACK, false },
		{ "255.255.255.255:4040", ADDRESS_LOOPBACK, false }, { "[ff02::1]:4040", ADDRESS_LOOPBACK, false },
		{ "localhost:22", ADDRESS_LOOPBACK, false }, { "host.example:4040", ADDRESS_INTERNET, false },
		{ "192.0.2.1:0", ADDRESS_INTERNET, false }, { "nonsense", ADDRESS_LOOPBACK, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (address_is_tellable(cases[i].address, cases[i].from) != cases[i].expected)
			fail_msg("%s from %d", cases[i].address, cases[i].from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_join_is_split_again),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_what_a_peer_may_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
