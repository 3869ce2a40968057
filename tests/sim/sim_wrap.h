/*
 * sim_wrap.h - what the simulator puts between the core and the functions it calls, by the linker (--wrap).
 *
 *   key_sign, key_verify        of keys made by sim_fake_key(): a hash for a signature, which costs nothing
 *   puzzle_solve, puzzle_check  no search: the simulator lets the time go by that it would take
 *   stream_push                 packets are counted, and those of lying nodes changed
 *
 * --wrap hands over no context: what is set here is the one variable of the process.
 */
#ifndef SIM_WRAP_H
#define SIM_WRAP_H

#include "bytes.h"
#include "key.h"

struct sim_hook {
	/* A packet is about to be encrypted. It may be changed in `out` (empty): true, and then that is sent instead. */
	bool (*sending)(void *context, const uint8_t *packet, size_t size, struct bytes *out);
	void *context;
};
void sim_wrap_set(const struct sim_hook *hook); /* borrowed; NULL: none */

/* A key whose signatures are hashes that everybody could make. */
void sim_fake_key(struct key *out, uint64_t seed, uint64_t number);

#endif
