/*
 * address.h - where a node is reached, as people write it: `host:port`, `[v6]:port`, `:port`, and `#id` after it.
 *
 * Only text: names are looked up elsewhere.  Ports are 1 .. 65535 (0 where one listens: any).
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "net_limits.h"

/*
 * "host:port", "[v6]:port", or, if out_id is not NULL, with "#id" after it (zero id: none given). The host may not
 * be empty, the port not 0. -EINVAL, untouched. out_address may be `text`.
 */
int address_parse(const char *text, char out_address[ADDRESS_SIZE_MAX], struct id *out_id);
/* The two parts of an address; the host without brackets, empty for ":port". -EINVAL. */
int address_split(const char *address, char out_host[ADDRESS_SIZE_MAX], uint16_t *out_port);
void address_join(char out[ADDRESS_SIZE_MAX], const char *host, uint16_t port);

/* What peers are told of an address listened on: its port alone where that is all interfaces. */
void address_announce(char out[ADDRESS_SIZE_MAX], const char *listening);

/* How far an address carries: it is told only to those who came from as near. Names count as the internet. */
enum address_scope { ADDRESS_LOOPBACK, ADDRESS_LINK, ADDRESS_PRIVATE, ADDRESS_INTERNET };
enum address_scope address_scope(const char *host);
/*
 * May an address that a peer tells be dialled?  Only a numeric one of a single host, no nearer than the peer itself:
 * nobody is sent to this machine, or into this house, by somebody from outside.
 */
bool address_is_tellable(const char *address, enum address_scope from);

#endif
