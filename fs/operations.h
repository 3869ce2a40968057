/*
 * operations.h - between the files of the FUSE operations: what each kind of node can do.
 *
 * operations.c and its neighbours speak with FUSE and dispatch by the table of kinds; the files
 * named after kinds know what stands behind a name.  All return 0 or a negative errno.
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include <fuse_lowlevel.h>

#include "mount_state.h"
#include "waiter.h"

/* Changes come through the kernel or are told to it: these may be long. */
#define TIMEOUT_LONG 3600.0
#define TIMEOUT_VERSION 86400.0

/* st_ino: what the desk numbers as it is, the rest apart, so that no two things are taken for one file. */
#define INO_MASK ((UINT64_C(1) << 61) - 1)
#define INO_SCRATCH (UINT64_C(1) << 62)
#define INO_MADE (UINT64_C(1) << 61) /* control files and what is shown in the root */

struct found { /* what stands under a name */
	struct identity identity;
	struct control_node control; /* identity.control points here, if anywhere */
	struct stat stat;
	double entry_timeout, attr_timeout;
};

/* Takes one entry of a folder; a found without identity.type is only its stat's st_ino and type. Nonzero: full. */
struct lister;
int lister_add(struct lister *l, const char *name, uint64_t cookie, const struct found *found);
bool lister_wants_all(const struct lister *l); /* attributes and nodes, not names alone */

struct kind {
	bool by_name; /* its functions ask where the node is: see `names` */
	int (*lookup)(struct mount *m, struct node *node, const char *name, struct found *out);
	/* open: the handle it is asked by, or NULL. */
	int (*stat)(struct mount *m, struct node *node, struct open *open, struct stat *out, double *out_timeout);
	int (*set)(struct mount *m, struct node *node, struct open *open, const struct stat *attr, int mask,
		   uint32_t process);
	int (*readlink)(struct mount *m, struct node *node, char *out, size_t size);
	int (*open)(struct mount *m, struct node *node, struct fuse_file_info *fi, uint32_t process,
		    struct open **out);
	/* Entries after the cookie, beginning above COOKIE_FIRST. 1: the lister is full. */
	int (*list)(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l);
};
extern const struct kind kind_root, kind_readme, kind_alias, kind_directory, kind_document, kind_control, kind_at,
	kind_scratch;

/* Cookies: "." and ".." are 1 and 2; what a folder numbers itself follows; then local files. */
#define COOKIE_FIRST 4
#define COOKIE_SCRATCH (UINT64_C(1) << 62)

/* ---- operations.c ---- */

struct mount *request_mount(fuse_req_t req);
uint32_t request_process(fuse_req_t req);
/* What the node can do, until kind_leave(): holds `names` shared if that asks where the node is. */
const struct kind *kind_enter(struct mount *m, struct node *node);
void kind_leave(struct mount *m, const struct kind *kind);
/* What is done with a node while it is known what it is. */
typedef int action(struct mount *m, const struct kind *kind, struct node *node, void *argument);
/*
 * Does it, or -ESTALE where the node does not stand for what its name leads to: the kernel then looks the name up
 * again, once. A thread that is told so twice in a row is served what the name leads to now instead (1, not 0).
 */
int act_on(fuse_req_t req, struct node *node, action *act, void *argument);
enum node_kind node_kind_of(struct mount *m, struct node *node);
/* Counts the look-up and replies; takes it back if nobody hears. */
void reply_found(fuse_req_t req, struct mount *m, struct node *parent, const char *name, const struct found *found);
void reply_error(fuse_req_t req, int err);
int entry_fill(struct mount *m, struct node *parent, const char *name, const struct found *found,
	       struct fuse_entry_param *out);
/* Remembers why for @/errors; returns err. name may be NULL. */
int refuse(struct mount *m, struct node *node, const char *name, int err, const char *sentence);
extern const struct fuse_lowlevel_ops operations;

/* operations_file.c */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi);
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *handle);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t size, int flags);
/* Ends an open that the table has let go: seals, frees. */
void open_finish(struct mount *m, struct open *open);
void let_go(struct mount *m, struct open *open); /* what node_hold_open() gave; takes NULL */

/* operations_wait.c */
struct parked { /* a request that could not be answered with what is here */
	struct waiting waiting;
	fuse_req_t req;
	struct mount *m;
	struct node *node;     /* of what, where there is no open file yet; may be NULL */
	struct open *open;     /* may be NULL */
	struct handle *handle; /* held for it; may be NULL */
	fuse_ino_t ino;
	struct fuse_file_info fi;
	struct stat attr;
	int mask;
	size_t size;
	off_t offset;
	bool append;
	void *bytes;           /* size of them, of a write */
	int (*again)(struct parked *p);    /* -ENODATA: nothing was done; else answered, and what it held is let go */
	void (*dropped)(struct parked *p); /* it will not be: lets go of that; may be NULL */
};
/* True: it is answered later. Copies the request, and p->size bytes unless they are NULL. */
bool park(const struct parked *request, const void *bytes);

/* operations_list.c */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

/* operations_names.c */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);

enum where { WHERE_DOCUMENT, WHERE_SCRATCH };
/*
 * Where a name below this folder belongs if it is made now, or why it may not be; documents
 * and local files that stand there are what they are.
 */
int name_decide(struct mount *m, struct node *parent, const char *name, bool exclusive, enum where *out);
/* Whose is what stands there: WHERE_DOCUMENT and *out_item, WHERE_SCRATCH, -ENOENT, or why it may not be touched. */
int name_find(struct mount *m, struct node *parent, const char *name, enum where *out, struct desk_item *out_item);

/* operations_rename.c */
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
	       unsigned flags);

/* ---- operations_root.c ---- */

/* Whose directory shows under this name in the root, or whose id begins so: -ENOENT. */
int person_find(struct mount *m, const char *name, struct id *out);
void person_shown_name(struct mount *m, const struct id *person, char out[PROFILE_NAME_MAX + 1]);
int root_make_readme(struct mount *m);
/* Does a person's folder, or a link to it, stand under this name? False: not the root, or something else stands there. */
bool root_has_person(struct mount *m, struct node *parent, const char *name, struct id *out);
/* A petname, and a folder that is not listed any more. `names` is held alone. */
int root_rename(struct mount *m, struct node *root, const char *from, const struct id *person, struct node *to_parent,
		const char *to, bool exchange);
int root_unfollow(struct mount *m, struct node *root, const char *name, const struct id *person, uint32_t process);

/* ---- operations_document.c ---- */

struct desk_slot slot_of(const struct place *place);
bool is_self(const struct mount *m, const struct id *person);
/*
 * A name of somebody else that begins with a dot, which nobody publishes by chance: programs obey such files without
 * asking (.git/config, .envrc).  It is not shown, unless the config says that such names are no scratch here.
 */
bool is_withheld(const struct mount *m, const struct id *person, const char *name);
bool is_own(const struct mount *m, const struct id *person); /* the same, and this device may change what is theirs */
int refuse_other(struct mount *m, struct node *node, const char *name, const struct id *person, const char *what);
void found_item(const struct mount *m, const struct id *person, const struct desk_item *item, struct found *out);
/* A node for a file just made here. */
void found_made(struct mount *m, struct node *parent, const char *name, const struct desk_item *item,
		struct found *out);
bool has_handle(const struct open *open);
int stat_handle(struct handle *handle, struct stat *out);
/* The desk's view of the node after a save through it. */
void document_refresh(struct mount *m, struct node *node);
int document_create(struct mount *m, struct node *parent, const char *name, mode_t mode, const struct fuse_ctx *who,
		    uint32_t process, struct open **out, struct found *out_found);

/* ---- operations_control.c ---- */

/* NAME@ in a person's directory, or in the root: name without the `@`. */
int control_of_document(struct mount *m, const struct place *place, struct found *out);
int control_of_root(struct mount *m, const char *name, struct found *out);
int text_write(struct mount *m, struct open *open, const char *bytes, size_t size, off_t offset);
int text_flush(struct mount *m, struct open *open, bool ends, uint32_t process);

/* ---- operations_at.c ---- */

int at_root(struct mount *m, const struct control_node *control, struct found *out);

/* ---- operations_scratch.c ---- */

struct scratch_at { /* where a local file is: for the *at() calls */
	int fd;
	bool owned;
	char path[ID_TEXT_SIZE + 1 + NAME_SIZE_MAX + 1];
};
void scratch_at_finish(struct scratch_at *at); /* also for CLEANUP; takes one with fd -1 */
#define SCRATCH_AT(variable) CLEANUP(scratch_at_finish) struct scratch_at variable = { .fd = -1 }
/* A name below a folder (root, directory, scratch directory). make: the folder of a directory is made where missing. */
int scratch_at_name(struct mount *m, struct node *parent, const char *name, bool make, struct scratch_at *out);
int scratch_at_node(struct mount *m, struct node *node, struct scratch_at *out);

int scratch_stat_at(const struct scratch_at *at, struct stat *out);
int scratch_flags(int flags); /* of an open here, for the file behind it */
int scratch_lookup(struct mount *m, struct node *parent, const char *name, struct found *out);
void found_local(const struct stat *st, struct found *out);
/* Local files of a folder, after a cookie of COOKIE_SCRATCH or above (or any below it: all). */
int scratch_list(struct mount *m, struct node *node, struct open *open, uint64_t after, struct lister *l);
/* With `shape` held shared. */
ssize_t scratch_pwrite(struct open *open, const char *bytes, size_t size, off_t offset);

/* ---- operations_scratch_names.c ---- */

int scratch_create(struct mount *m, struct node *parent, const char *name, mode_t mode, int flags,
		   const struct fuse_ctx *who, uint32_t process, struct open **out, struct found *out_found);
int scratch_make_node(struct mount *m, struct node *parent, const char *name, mode_t mode, dev_t device,
		      const char *target, const struct fuse_ctx *who, struct found *out);
/* unlinkat() with these flags, and the name leaves the table. */
int scratch_remove(struct mount *m, struct node *parent, const char *name, int flags);
int scratch_link(struct mount *m, struct node *node, struct node *parent, const char *name, struct found *out);
/* 1: done, but the table of nodes did not know all of it. */
int scratch_rename(struct mount *m, struct node *from, const char *from_name, struct node *to, const char *to_name,
		   unsigned flags);

#endif
