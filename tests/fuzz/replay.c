/*
 * replay.c - a main() that gives a fuzz target every file of the directories named.
 *
 * Each input is an exactly sized heap block, so that a sanitizer sees the first byte
 * read past it.  A directory without files is a failure: nothing would have been tried.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_whole(int fd, uint8_t *out, size_t size)
{
	while (size > 0) {
		ssize_t got = read(fd, out, size);
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		out += got;
		size -= (size_t)got;
	}
	return 0;
}

/* 1: replayed; 0: not a file; negative errno. */
static int replay_file(int directory, const char *name)
{
	struct stat st;
	uint8_t *bytes = NULL;
	int result = 0;
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		result = -errno;
		goto out;
	}
	if (!S_ISREG(st.st_mode))
		goto out;
	bytes = malloc((size_t)st.st_size);
	if (!bytes && st.st_size > 0)
		result = -ENOMEM;
	else
		result = read_whole(fd, bytes, (size_t)st.st_size);
	if (result < 0)
		goto out;
	LLVMFuzzerTestOneInput(bytes, (size_t)st.st_size);
	result = 1;
out:
	free(bytes);
	if (fd >= 0)
		close(fd);
	return result;
}

static int replay_directory(const char *path)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, NULL, alphasort);
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int replayed = 0, failed = count < 0 || directory < 0;

	if (failed)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		int result = failed ? 0 : replay_file(directory, entries[i]->d_name);
		if (result < 0) {
			fprintf(stderr, "%s/%s: %s\n", path, entries[i]->d_name, strerror(-result));
			failed = 1;
		} else {
			replayed += result;
		}
		free(entries[i]);
	}
	free(entries);
	if (directory >= 0)
		close(directory);
	printf("%s: %d inputs\n", path, replayed);
	return failed || replayed == 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	int failed = argc < 2;

	for (int i = 1; i < argc; i++)
		failed |= replay_directory(argv[i]) < 0;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
