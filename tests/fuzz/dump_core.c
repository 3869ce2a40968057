/*
 * dump_core.c - makes the seeds of fuzz_core.c: what a true core says to the node of core_peer.h. Not part of the tests:
 *
 *   dump_core <folder>
 *
 * It stands between the two and has the keys of both, so each packet passes through its hands as plain text. What is
 * bound to a session (pages, receipts, filters) is made anew for the other one.
 */
#include <stdio.h>

#include "core_peer.h"
#include "wire.h"

struct middle {
	struct side node, other;      /* the node of the fuzzer, and a true core that speaks to it */
	struct peer to_node, to_other; /* as the other, as the node */
	struct bytes script;
};

static void resign_page(const struct packet *packet, const struct peer *as, struct bytes *out)
{
	struct signature signature;
	struct bytes statement;
	struct page page;

	if (page_read(&page, packet->statement.bytes, packet->statement.size) < 0)
		abort();
	page.cb = as->cb;
	page.items_bytes = page.items.at;
	page.items_size = page.items.left;
	bytes_init(&statement, PAGE_STATEMENT_MAX);
	if (page_make(&page, as->key, &statement, &signature) < 0)
		abort();
	packet_put_statement(out, PACKET_PAGE, statement.data, statement.size, &signature);
	bytes_finish(&statement);
}

static void resign_receipt(const struct packet *packet, const struct peer *as, struct bytes *out)
{
	struct signature signature;
	struct receipt receipt;
	struct bytes statement;

	if (receipt_read(&receipt, packet->statement.bytes, packet->statement.size) < 0)
		abort();
	receipt.cb = as->cb;
	bytes_init(&statement, PACKET_SIZE_MAX);
	receipt_put(&receipt, &statement);
	receipt_sign(&signature, as->key, packet->kind == PACKET_THANKS, statement.data, statement.size);
	packet_put_statement(out, packet->kind, statement.data, statement.size, &signature);
	bytes_finish(&statement);
}

static void translate(const struct bytes *in, const struct peer *as, struct bytes *out)
{
	uint8_t all[FOLLOW_SIZE_MIN];
	struct packet packet;

	if (packet_read(&packet, in->data, in->size) < 0)
		abort();
	switch ((int)packet.kind) {
	case PACKET_PAGE: resign_page(&packet, as, out); break;
	case PACKET_THANKS:
	case PACKET_WELCOME: resign_receipt(&packet, as, out); break;
	case PACKET_FOLLOW:
		memset(all, 0xff, sizeof(all));
		packet_put_follow(out, all, sizeof(all));
		break;
	default: bytes_put(out, in->data, in->size); break;
	}
}

static void write_packet(struct middle *m, const struct bytes *packet)
{
	if (packet->size > UINT16_MAX)
		return;
	bytes_put_u8(&m->script, 0);
	bytes_put_u16(&m->script, (uint16_t)packet->size);
	bytes_put(&m->script, packet->data, packet->size);
}

/* One packet from `from` to `to`; false: there is none. */
static bool pass(struct middle *m, struct peer *from, struct peer *to)
{
	struct bytes packet, changed;
	bool final = false;

	bytes_init(&packet, PACKET_SIZE_MAX);
	bytes_init(&changed, PACKET_SIZE_MAX);
	ssize_t used = stream_pull(&from->stream, from->in.data, from->in.size, &packet, &final);
	if (used > 0) {
		peer_eat(from, (size_t)used);
		translate(&packet, to, &changed);
		if (to == &m->to_node)
			write_packet(m, &changed);
		peer_say(to, changed.data, changed.size);
	}
	bytes_finish(&packet);
	bytes_finish(&changed);
	return used > 0;
}

static void talk(struct middle *m)
{
	while (pass(m, &m->to_node, &m->to_other) || pass(m, &m->to_other, &m->to_node))
		;
}

static void wait(struct middle *m, uint16_t ms)
{
	bytes_put_u8(&m->script, 2);
	bytes_put_u16(&m->script, ms);
	m->other.time.now_ms += ms;
	core_tick(m->other.core);
	peer_drain(&m->to_other);
	peer_wait(&m->to_node, ms);
	talk(m);
}

static void save(const struct middle *m, const char *folder, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(m->script.data, 1, m->script.size, f) != m->script.size)
		abort();
	fclose(f);
}

static void append(struct middle *m, const char *text)
{
	memory_save(m->other.memory, NULL, NULL, text, strlen(text), NULL);
	core_appended(m->other.core);
	peer_drain(&m->to_other);
	talk(m);
}

static void conversation(const char *folder, const char *name, unsigned documents, bool live)
{
	struct core_options options = { .address = ":4040", .dial = true, .peers_aim = 2 };
	struct blobs *blobs = blobs_new(true);
	struct middle *m = calloc(1, sizeof(*m));
	char text[64];

	bytes_init(&m->script, 8 << 20);
	side_begin(&m->other, blobs, 2);
	for (unsigned i = 0; i < documents; i++) {
		snprintf(text, sizeof(text), "document %u", i);
		memory_save(m->other.memory, NULL, NULL, text, strlen(text), NULL);
	}
	memory_sync(m->other.memory);
	stage_begin(&m->node, blobs, &m->other.key.public);
	memory_follow(m->other.memory, &m->node.key.public, true);
	options.clock = m->other.clock;
	m->other.core = core_new(&options, memory_depot(m->other.memory));
	peer_begin(&m->to_node, &m->node, &m->other.key);
	peer_begin(&m->to_other, &m->other, &m->node.key);
	/* The one that is dialled speaks first, and both are: each READY is passed on as the answer to the other. */
	talk(m);
	for (unsigned i = 0; live && i < 3; i++) {
		append(m, "live");
		bytes_put_u8(&m->script, 3);
		memory_append_vote(m->node.memory, 1);
		core_appended(m->node.core);
		peer_drain(&m->to_node);
		talk(m);
		wait(m, 200);
	}
	if (live)
		wait(m, 31000);
	save(m, folder, name);
	fprintf(stderr, "%s: %zu bytes, %llu records here\n", name, m->script.size,
		(unsigned long long)memory_records(m->node.memory));
	peer_end(&m->to_node);
	peer_end(&m->to_other);
	side_end(&m->node);
	side_end(&m->other);
	bytes_finish(&m->script);
	free(m);
	blobs_free(blobs);
}

int main(int argc, char **argv)
{
	if (argc != 2 || sodium_init() < 0)
		return 2;
	conversation(argv[1], "meet", 0, false);
	conversation(argv[1], "records", 5, false);
	conversation(argv[1], "receipts", 90, false);
	conversation(argv[1], "live", 2, true);
	return 0;
}
