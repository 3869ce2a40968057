/*
 * desk_private.h - what the files of the desk share.
 *
 * One lock for everything.  It is dropped only while a file's text is read,
 * compressed or loaded; `busy` then keeps others from changing that file.
 *
 * A slot is here while something waits there or a file of it is open; what is
 * not here shows as the tree has it.
 */
#ifndef DESK_PRIVATE_H
#define DESK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>
#include <utlist.h>

#include "desk.h"
#include "spool.h"

#define SEEN_MAX 32       /* entries that a removal was made in view of */
#define PROCESSES_MAX 4096 /* (process, slot) pairs remembered for S6 and S7 */
#define PUBLISH_MAX 128    /* slots signed in one transaction */
#define PUBLISH_SAVES_MAX 512 /* saves signed in one transaction */
#define PACKERS_KEPT 4
#define HOLD_WAIT_MS 2000 /* no file operation waits longer for the network */
#define QUEUE_LONG 16      /* saves of a new name that end its window */
#define TOGETHER_MS 3       /* a save of what is published waits so long for others, if it came so soon after another */
#define TOGETHER_MAX 8     /* or until so many are there: each draft writes them all down */
#define DIRECTORY_LISTS 4096 /* a fixed table: it needs no memory, and cannot fail */

struct body { /* an immutable content, shared; cut to its piece count */
	unsigned refs;
	struct content content;
};

struct save { /* a state closed and not yet signed, or a flushed draft */
	struct body *text; /* owned reference */
	enum mode mode;
	uint64_t time_ms;
	struct id parent;  /* version it descends from; zero: the save before it in the queue, or none */
	struct id fork_of; /* the version whose very bytes these are (S7); zero: none */
};

#define ANCESTORS_MAX 16

/* Who saves: a shell has seen what the programs that it ran saved. */
struct saver {
	uint32_t process;
	uint32_t ancestors[ANCESTORS_MAX]; /* those that have a memory of the slot */
	size_t ancestor_count;
};

struct folder { /* a directory as far as the desk must know it */
	struct id id;
	struct slot *slots;  /* list of those in it */
	struct slot *fresh;  /* those among them of which nothing is published, by cookie; others may be there too */
	struct slot *listed; /* the one of these that the last listing stopped at, or NULL */
	uint64_t time_ns;    /* of the last change of names; 0: none in this session */
	bool touched;        /* and that is not in the journal yet */
	bool counted;        /* desk_count_directories() said `count`, at counted_ms and when directories_changed was counted_at */
	uint64_t counted_at, counted_ms;
	int count;
	UT_hash_handle hh;
};

struct slot {
	struct desk *desk;
	struct folder *folder;
	char name[NAME_SIZE_MAX + 1];
	uint64_t cookie;
	enum what what;
	bool shown;     /* the name is there */
	bool published; /* entries stand there in the tree */
	bool fact;      /* a LOCAL_PENDING fact is in the journal */
	struct id directory_id;         /* WHAT_DIRECTORY */
	struct id head, document;       /* published head; zero: none */
	struct body *text;              /* current content: of the head, or the last save; NULL of a directory */
	enum mode mode;                 /* of text */
	struct save *queue;             /* closed, unsigned, in order */
	size_t queue_count;
	struct saver saver;             /* whose alone they are, if they wait for others to be signed with; else process 0 */
	struct save draft;              /* flushed, not released; text NULL: none */
	struct file *draft_of;          /* whose draft it is */
	struct replaced *seen;          /* what stood when it was removed; owned */
	size_t seen_count;
	uint64_t due_ms;                /* now_ms when it is to be signed; 0: not waiting */
	struct file *file;              /* the open file that shows, or NULL */
	unsigned refs;                  /* files that came from here */
	struct attributes attributes;
	struct slot *prev, *next;         /* in the folder */
	struct slot *fresh_prev, *fresh_next; /* in its list of these */
	bool is_fresh;
	struct slot *due_prev, *due_next; /* in the desk's waiting list, earliest first */
	struct slot *directory_prev, *directory_next; /* in one of desk->directories */
	struct slot **directories; /* which; NULL: in none */
	bool waiting;
	UT_hash_handle hh;
	size_t key_size;
	uint8_t key[ID_SIZE + NAME_SIZE_MAX]; /* directory id, name */
};

struct file {
	struct desk *desk;
	struct slot *slot;       /* where it saves to; NULL once unlinked or replaced */
	unsigned handles;
	bool busy;               /* its bytes are being read without the lock: do not change them */
	struct body *text;       /* its bytes while there is no spool */
	struct spool *spool;     /* its bytes while edited */
	struct body *base;       /* what a seal compares with; NULL: it is new */
	enum mode base_mode, mode;
	struct id version;       /* the signed version that base is; zero: none */
	bool dirty;              /* changed since the last seal */
	uint64_t seals;          /* how often it was sealed */
	bool written;            /* by write(2), not only truncated */
	bool flushed;            /* `draft` is in the journal and is these bytes */
	struct body *draft;
	bool whole;              /* content replaced whole, by `saver` */
	struct saver saver;
	struct id fork_of;       /* filled by a copy of this version, untouched since */
	uint64_t last_write_ms;
	struct attributes attributes; /* once the slot is gone; before, the slot's hold */
	struct file *prev, *next;
};

struct handle {
	atomic_uint holders;     /* the last to release it ends it */
	struct file *file;
	int flags;
	uint32_t process;
	bool noted, changed;
	uint64_t changed_seals;  /* the file's seals when it was changed: what was sealed since is not this handle's to seal */
};

struct seen_key { /* zeroed before use: it is hashed */
	struct id slot; /* hash of directory and name */
	uint32_t process, padding;
};

struct process_seen {
	struct seen_key key;
	struct id version;
	struct id digest; /* of its text */
	uint64_t at_ms;
	UT_hash_handle hh;
};

struct known { /* a version */
	struct id id, document;
	enum mode mode;
	uint64_t time_ms;
	struct body *text; /* owned reference */
	UT_hash_handle hh;
};

struct changed { /* a name to tell of when the lock is gone */
	struct id directory;
	char name[NAME_SIZE_MAX + 1];
	struct changed *next;
};

struct desk {
	struct store *store;
	atomic_uint_least64_t order; /* of answers */
	struct desk_options options;
	const struct clock *clock;
	struct id self; /* the person */
	int spool_fd;
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a file is no longer busy, or a draft was released */
	struct slot *slots;
	struct folder *folders;
	struct slot *due;
	struct slot *directories[DIRECTORY_LISTS]; /* the directories among those that wait, by the first bytes of their ids */
	uint64_t directories_changed; /* times that one came, went or moved */
	struct file *files;
	struct process_seen *seen; /* in order of use, oldest first */
	struct known *known;       /* in order of arrival */
	struct changed *changed;
	bool held;          /* signing waits, or did until a moment ago */
	uint64_t tick_ms;   /* when desk_tick() is to be called next */
	uint64_t saved_ms;  /* the last save */
	bool soon;          /* that is earlier than it said, to be told when the lock is gone */
	uint64_t synced_ms;
	uint64_t appended, appended_ms, gc_ms; /* of the journal: how far it was, since when, and its last compaction */
	struct packer *packers[PACKERS_KEPT]; /* idle ones: making one costs more than a save */
};

/* ---- desk.c: slots ---- */

void desk_lock(struct desk *desk);
void desk_unlock(struct desk *desk); /* then tells what changed */
void desk_tell(struct desk *desk, const struct slot *slot);

struct slot *slot_find(struct desk *desk, const struct id *directory, const char *name);
/* The slot of a name, made from the tree if it shows or stands there; -ENOENT if nothing does. Shown plain names only. */
int slot_get(struct desk *desk, struct desk_slot at, struct slot **out);
/* The same, or a new one that shows nothing yet. */
int slot_make(struct desk *desk, struct desk_slot at, struct slot **out);
/* A slot where a new thing of this kind may be made: -EEXIST if something shows; what was removed there and is of another kind is signed away first. */
int slot_make_free(struct desk *desk, struct desk_slot at, enum what what, struct slot **out);
void slot_hold(struct slot *slot); /* while the lock may be dropped */
/* The name was given to another meanwhile (desk_rename.c): nothing is or will be here. */
static inline bool slot_is_aside(const struct slot *slot)
{
	return slot->name[0] == '/';
}
void slot_drop(struct slot *slot); /* settles it; takes NULL */
/* What shows plainly there, into a slot that has nothing. */
int slot_fill(struct slot *slot, struct store_txn *txn, const struct tree_item *item);
/* Reads the head out of the tree again. */
int slot_reload(struct slot *slot, struct store_txn *txn, const struct id *version);
/* Frees it if nothing keeps it. */
void slot_settle(struct slot *slot);
void slot_rename(struct slot *slot, struct folder *folder, const char *name);
void slot_wait(struct slot *slot, uint64_t due_ms); /* 0: not waiting any more */
void slot_set_text(struct slot *slot, struct body *text); /* takes a reference of its own */
void slot_clear_queue(struct slot *slot);
void slot_clear_seen(struct slot *slot);
/* Is this the text that shows there, or was there before it was hidden? */
bool slot_has_text(const struct slot *slot, const struct save *save);
/* Nothing is or was here any more. */
void slot_clear(struct slot *slot);
/* The version that its text is; zero: a save that is not signed yet. */
static inline struct id slot_version(const struct slot *slot)
{
	return slot->queue_count == 0 ? slot->head : (struct id){ { 0 } };
}
int slot_push_save(struct slot *slot, const struct save *save); /* takes its own references */
/* ---- desk_folder.c ---- */

struct folder *folder_get(struct desk *desk, const struct id *id); /* NULL: no memory */
void folder_touch(struct desk *desk, const struct id *id);
/* Called when a slot is linked and when nothing is published there any more: it is listed by itself. */
void slot_note_fresh(struct slot *slot);
void slot_forget_fresh(struct slot *slot);
/* The first in its list whose cookie is greater, or NULL. */
struct slot *fresh_after(const struct folder *folder, uint64_t cookie);
void slot_wait_as_directory(struct slot *slot); /* slot_wait() calls it: `what` and the id are right by then */
/* The slot that waits with this directory, or NULL. */
struct slot *directory_waiting(struct desk *desk, const struct id *directory);

int folders_keep(struct desk *desk); /* the times of those touched, in the journal */

struct body *body_new(const struct content *content); /* NULL: no memory */
struct body *body_ref(struct body *text);             /* takes NULL */
void body_unref(struct body *text);                   /* takes NULL */
void save_finish(struct save *save);
void save_content(const struct save *save, struct content *out);

/* ---- desk_alias.c: what shows under another name than its entries' ---- */

/* slot_get() of such a name says so: a slot is for what shows plainly. */
#define ALIAS (-EREMOTE)
bool is_alias(const struct tree_item *item, struct desk_slot at);
/* Is this what the slot is for? Others may stand at the same one. */
bool slot_is(const struct slot *slot, const struct tree_item *item);

struct thing { /* one of those that may stand at a slot */
	const struct id *directory;
	const char *name;
	enum what what;
	const struct id *id; /* of a directory */
};
/* Its entries that stand, and the nothings beside: how many, SEEN_MAX at most. */
int standing_of(struct store_txn *txn, struct desk *desk, const struct thing *thing, struct replaced *out);
int alias_open(struct desk *desk, struct desk_slot at, int flags, uint32_t process, struct handle **out);
int alias_remove(struct desk *desk, struct desk_slot at, enum what what);
int alias_rename(struct desk *desk, struct desk_slot from, struct desk_slot to);

/* ---- desk_arrive.c ---- */

bool desk_is_held(struct desk *desk); /* nothing is signed now */
/* Drops the lock until that is over, HOLD_WAIT_MS at most, and ends it. True: try again what failed with STORE_HELD. */
bool desk_wait_hold(struct desk *desk);
/* What cannot wait is signed: what the peers would have told may be a fork then. */
void desk_end_hold(struct desk *desk);

/* ---- desk_facts.c: what waits and attributes, in the journal ---- */

int fact_put(struct store_txn *txn, struct slot *slot);    /* what the slot's state says; forgets when nothing waits */
int fact_forget(struct store_txn *txn, struct slot *slot);
/* Without a transaction (store_append_later()): the fact with the pieces of a draft; both facts of what is not signed yet. */
int fact_keep(struct store_batch *batch, struct slot *slot);
int facts_keep_later(struct store_batch *batch, struct slot *slot);
/* Both facts of a slot in a transaction of their own. */
int facts_keep(struct slot *slot);
int fact_load_all(struct desk *desk);
int attributes_put(struct store_txn *txn, const struct id *directory, const char *name,
		   const struct attributes *a, const struct id *version);
/* In the journal; later: in the index by and by, for who asks the slot and not the index. */
int attributes_keep(struct desk *desk, const struct id *directory, const char *name, const struct attributes *a,
		    const struct id *version, bool later);
int attributes_forget(struct store_txn *txn, const struct id *directory, const char *name);
/* Local attributes of a slot, or what a document without them shows. */
int attributes_get(struct desk *desk, struct store_txn *txn, const struct id *directory, const char *name,
		   const struct id *version, uint64_t time_ms, enum mode mode, struct attributes *out);
uint64_t attributes_new_ino(struct desk *desk);

/* ---- desk_seal.c: from bytes to versions ---- */

/* Compresses and stores the file's bytes as a draft (drops the lock meanwhile). */
int file_flush(struct file *file);
/* One version, or a save in the queue, or nothing if the bytes are the base's. */
int file_seal(struct file *file);
/* Signs all that waits at these slots now, their directories first. */
int slots_publish(struct desk *desk, struct slot **slots, size_t count);
int slot_publish(struct slot *slot);
/* Makes sure that a directory of the desk's own is published. */
int folder_publish(struct desk *desk, const struct id *directory);
/* Of one that goes: a directory with something in it would show again. */
int folder_publish_removals(struct desk *desk, const struct id *directory);
/* A save of a slot's chain: signed now if it is published, else queued. The slot is held. */
int slot_take_save(struct slot *slot, const struct save *save);
/* The same as slot_take_save() as a part of a transaction; the end takes the error of its commit and undoes. */
struct signed_head { /* what a slot's head becomes when the transaction holds */
	struct id head, document;
	size_t saves; /* of the queue, signed */
};
struct taking {
	struct signed_head head;
	struct replaced *seen;
	size_t queue_count, seen_count;
	uint64_t due_ms;
	bool chain, shown, fact;
	enum what what;
};
int slot_take_begin(struct store_txn *txn, struct slot *slot, const struct save *save, bool chain, struct taking *t);
/* Are its saves signed at once, now? */
bool slot_is_chain(const struct slot *slot);
void slot_take_end(struct slot *slot, const struct save *save, const struct taking *t, int err);
/* Entries of one record, each [slot, what, id], replacing what stands where (only: NULL all). */
struct planned_entry {
	const struct id *directory;
	const char *name;
	enum what what;
	struct id id;
	const struct replaced *seen; /* NULL: all that stands there now */
	size_t seen_count;
	bool of_version; /* a nothing: no directory goes by it */
};
int entries_append(struct store_txn *txn, struct desk *desk, const struct planned_entry *entries, size_t count);

/* Signs one version of a slot. document zero: a new one. */
int version_append(struct store_txn *txn, struct slot *slot, struct body *body, enum mode mode,
		   const struct id *document, const struct id *parents, size_t parent_count, struct id *out_id);
/* A text from anywhere, cut and compressed without the lock; its pieces wait in the batch. */
int body_write(struct desk *desk, struct store_batch *batch, content_source source, void *context, uint64_t size,
	       struct body **out);

/* ---- desk_together.c: saves of what is published wait a moment, to be signed with others ---- */

/*
 * Asked once for each save: may it wait here, and do others come? Those of one process alone may: what that saw is
 * then what is last in the queue (S6).
 */
bool slot_may_join(struct slot *slot, const struct saver *saver);
int slot_join(struct slot *slot, const struct save *save, const struct saver *saver);
/* The same of one that no draft was of: its facts are kept, with the pieces in the batch. -EMSGSIZE: not with those before it. */
int slot_join_text(struct slot *slot, const struct save *save, const struct saver *saver, struct store_batch *batch);
/* Signs them, before another looks or the name changes. The slot is held. */
int slot_part(struct slot *slot);
void slots_part(struct desk *desk); /* all there are */
void slot_parted(struct slot *slot); /* they are signed: who saved them has seen the head */

/* ---- desk_known.c ---- */

/* The caller drops its reference to out->text. Errors of document_version(). */
int known_get(struct desk *desk, struct store_txn *txn, const struct id *version, struct known *out);
void known_add(struct desk *desk, const struct known *version); /* takes a reference of its own */
void known_finish(struct desk *desk);

/* ---- desk_seen.c ---- */

/* What a process saw at a slot; what it saved there, which those that run it have then seen too. */
void seen_note(struct desk *desk, uint32_t process, const struct slot *slot, const struct id *version, const struct id *digest);
void seen_note_save(struct desk *desk, const struct saver *saver, const struct slot *slot);
/* Asked while the process lives, for its release may come after its end. */
void saver_find(struct desk *desk, uint32_t process, const struct slot *slot, struct saver *out);
bool seen_get(struct desk *desk, uint32_t process, const struct slot *slot, struct id *out_version);
/* A content_source over a struct span. */
ssize_t span_source(void *context, uint8_t *out, size_t size, uint64_t offset);
/* The version with these very bytes that the process read within the window (S7). */
bool seen_copy(struct desk *desk, uint32_t process, const struct id *digest, struct id *out_version);

/* ---- desk_names.c ---- */

/* Nothing shows in it. 1, 0 or an error. */
int folder_is_empty(struct desk *desk, const struct id *directory);

/* ---- desk_file.c ---- */

struct file *file_of_version(struct desk *desk, const struct version *v); /* only to be read */
struct file *file_new(struct slot *slot); /* the one that shows there; NULL: no memory */
void file_free(struct file *file);
void file_hold(struct file *file); /* as a handle does, while the lock may be dropped */
void file_drop(struct file *file); /* frees it if it was the last */
struct handle *handle_new(struct file *file, int flags, uint32_t process);

void file_detach(struct file *file); /* its slot goes on without it */
void file_abandon(struct file *file); /* the same; nobody's any more, it is freed */
void slot_abandon_files(struct slot *slot); /* all files that came from there */
void slot_abandon_replaced(struct slot *slot, const struct attributes *before); /* the same, which had these */
int file_load_spool(struct file *file); /* drops the lock meanwhile */
void file_wait(struct file *file);
struct attributes *file_attributes(struct file *file);

#endif
