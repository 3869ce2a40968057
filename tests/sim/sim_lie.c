#include <string.h>

#include "sim.h"

/*
 * A lying node is an honest core whose packets are changed as they leave: a bit flipped, the end missing, the one
 * before once more, or nothing but a ping in its place.
 */
bool lie_sending(void *context, const uint8_t *packet, size_t size, struct bytes *out)
{
	struct sim *sim = context;
	struct sim_node *node = sim->sender;
	static const uint8_t ping[] = { 0x82, PACKET_PING, 0x48, 1, 2, 3, 4, 5, 6, 7, 8 };

	sim->packets++;
	if (size > 1 && packet[1] < PACKET_COUNT)
		node->sent[packet[1]]++;
	if (!node->lies || sim->calm || !sim_random_chance(&sim->random, 30000))
		return false;
	enum sim_lie lie = (enum sim_lie)sim_random_below(&sim->random, SIM_LIE_COUNT);
	switch (lie) {
	case SIM_LIE_DROP:
		bytes_put(out, ping, sizeof(ping));
		break;
	case SIM_LIE_CUT:
		bytes_put(out, packet, size - sim_random_below(&sim->random, size));
		break;
	case SIM_LIE_REPEAT:
		bytes_put(out, packet, size);
		if (2 * size < PACKET_SIZE_MAX)
			bytes_put(out, packet, size);
		break;
	case SIM_LIE_FLIP:
	case SIM_LIE_COUNT:
		bytes_put(out, packet, size);
		if (bytes_error(out) == 0)
			out->data[sim_random_below(&sim->random, size)] ^= (uint8_t)(1u << sim_random_below(&sim->random, 8));
		break;
	}
	return true;
}
