/* Control files by their path in the mount, for those who have no mount. */
#include <errno.h>
#include <string.h>

#include "control.h"
#include "names.h"

int control_find_person(const struct control_host *host, const char *name, struct id *out)
{
	struct store_txn *txn;

	int err = store_begin(host->store, false, &txn);
	if (err < 0)
		return err;
	err = names_find(txn, name, out);
	store_abort(txn);
	/* Of whom nothing is known yet, that can be said and asked by the whole id. */
	return err == -ENOENT && id_parse(out, name) == 0 ? 0 : err;
}

int control_find_below(const struct control_host *host, const struct control_node *folder, const char *path,
		       struct control_node *out)
{
	struct control_node node = *folder;
	char name[NAME_SIZE_MAX + 1];

	while (*path) {
		size_t size = strcspn(path, "/");
		if (size >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, path, size);
		name[size] = '\0';
		int err = size == 0 ? 0 : control_lookup(host, &node, name, &node);
		if (err < 0)
			return err;
		path += size + (path[size] == '/');
	}
	*out = node;
	return 0;
}

int control_find(const struct control_host *host, const char *path, struct control_node *out)
{
	char name[NAME_SIZE_MAX + 1];
	struct control_node folder;
	struct id person;

	size_t size = strcspn(path, "/");
	if (size == 0 || path[size - 1] != '@')
		return -ENOENT;
	if (size > sizeof(name))
		return -ENAMETOOLONG;
	memcpy(name, path, size - 1);
	name[size - 1] = '\0';
	if (name[0] == '\0') {
		control_node_root(&folder);
	} else {
		int err = control_find_person(host, name, &person);
		if (err < 0)
			return err;
		control_node_entity(&folder, &person);
	}
	return control_find_below(host, &folder, path + size + (path[size] == '/'), out);
}
