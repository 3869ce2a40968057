/* Which heads `merge` showed, to whom: so that what is written back names the parents that were seen. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION(key, size, hash) memcpy(&(hash), (key), sizeof(hash)) /* keys are hashes already */
#include <uthash.h>

#include "control_private.h"

#define MEMORY_MAX 256 /* the one longest unread goes */

struct memory_entry {
	struct id key; /* of the name, and the process; 0: anybody */
	struct merge_heads heads;
	UT_hash_handle hh; /* in order of reading */
};

struct control_memory {
	pthread_mutex_t lock;
	struct memory_entry *entries;
};

struct control_memory *control_memory_new(void)
{
	struct control_memory *memory = calloc(1, sizeof(*memory));

	if (memory && pthread_mutex_init(&memory->lock, NULL) != 0) {
		free(memory);
		memory = NULL;
	}
	return memory;
}

static void drop(struct control_memory *memory, struct memory_entry *entry)
{
	HASH_DEL(memory->entries, entry);
	free(entry);
}

void control_memory_free(struct control_memory *memory)
{
	struct memory_entry *entry, *next;

	if (!memory)
		return;
	HASH_ITER(hh, memory->entries, entry, next)
		drop(memory, entry);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static struct id make_key(uint32_t process, const struct control_node *node)
{
	const struct span spans[] = {
		{ &process, sizeof(process) }, { node->person.bytes, ID_SIZE }, { node->directory.bytes, ID_SIZE },
		{ node->name, strlen(node->name) },
	};
	struct id key;

	id_of_spans(&key, spans, sizeof(spans) / sizeof(spans[0]));
	return key;
}

static struct memory_entry *find(struct control_memory *memory, uint32_t process, const struct control_node *node)
{
	const struct id key = make_key(process, node);
	struct memory_entry *entry;

	HASH_FIND(hh, memory->entries, &key, sizeof(key), entry);
	return entry;
}

static void note(struct control_memory *memory, uint32_t process, const struct control_node *node,
		 const struct merge_heads *heads)
{
	struct memory_entry *entry = find(memory, process, node);

	if (entry)
		drop(memory, entry);
	else if (HASH_COUNT(memory->entries) >= MEMORY_MAX)
		drop(memory, memory->entries);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return; /* as if it had not been read */
	entry->key = make_key(process, node);
	entry->heads = *heads;
	HASH_ADD(hh, memory->entries, key, sizeof(entry->key), entry);
	if (!entry->hh.tbl)
		free(entry);
}

void memory_note(struct control_memory *memory, uint32_t process, const struct control_node *node,
		 const struct merge_heads *heads)
{
	if (!memory)
		return;
	pthread_mutex_lock(&memory->lock);
	note(memory, 0, node, heads);
	if (process != 0)
		note(memory, process, node, heads);
	pthread_mutex_unlock(&memory->lock);
}

void memory_forget(struct control_memory *memory, uint32_t process, const struct control_node *node)
{
	if (!memory)
		return;
	pthread_mutex_lock(&memory->lock);
	struct memory_entry *entry = find(memory, 0, node);
	if (entry)
		drop(memory, entry);
	entry = process ? find(memory, process, node) : NULL;
	if (entry)
		drop(memory, entry);
	pthread_mutex_unlock(&memory->lock);
}

bool memory_find(struct control_memory *memory, uint32_t process, const struct control_node *node,
		 struct merge_heads *out)
{
	if (!memory)
		return false;
	pthread_mutex_lock(&memory->lock);
	const struct memory_entry *entry = find(memory, process, node);
	if (entry)
		*out = entry->heads;
	pthread_mutex_unlock(&memory->lock);
	return entry != NULL;
}
