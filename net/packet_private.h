/* packet_private.h - between packet.c, which reads, and packet_put.c: what both hold to. */
#ifndef PACKET_PRIVATE_H
#define PACKET_PRIVATE_H

#include "packet.h"

#define ADDRESS_TEXT_MAX (ADDRESS_SIZE_MAX - 1) /* bytes, without the NUL */
#define HEAD_ITEMS 5
#define READY_VERSION 1

/* Printable ASCII: anything else would have to be escaped wherever an address is shown. */
bool packet_address_is_valid(const char *text, size_t size);
/* A page statement whose items are of its field. */
bool packet_page_is_valid(const uint8_t *bytes, size_t size);
/* Of a packet, its kind among them. */
size_t packet_item_count(enum packet_kind kind);

#endif
