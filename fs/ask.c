#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "service.h"

#define ANSWER_S_MAX 60
#define ENDED "the node that serves the data folder ended before it had answered"

static int connect_to(const char *data_path)
{
	const struct timeval most = { .tv_sec = ANSWER_S_MAX };
	struct sockaddr_un address;

	int directory_fd = open(data_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return -errno;
	service_address(directory_fd, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = fd < 0 ? -errno : 0;
	if (err == 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)) < 0 ||
			 setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0 ||
			 connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0))
		err = -errno;
	close(directory_fd);
	if (err < 0 && fd >= 0)
		close(fd);
	return err < 0 ? err : fd;
}

bool ask_is_there(const char *data_path)
{
	int fd = connect_to(data_path);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int send_all(int fd, const uint8_t *bytes, size_t size, struct why *why)
{
	for (size_t sent = 0; sent < size;) {
		ssize_t done = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return why_set(why, -errno, ENDED);
		sent += (size_t)done;
	}
	return 0;
}

/* At most `size` bytes more. */
static int receive(int fd, struct bytes *in, size_t size, struct why *why)
{
	uint8_t *at = bytes_extend(in, size);
	ssize_t got;

	if (!at)
		return bytes_error(in);
	do
		got = recv(fd, at, size, 0);
	while (got < 0 && errno == EINTR);
	int err = got < 0 ? -errno : 0;
	in->size -= size - (got > 0 ? (size_t)got : 0);
	if (err == -EAGAIN)
		return why_set(why, -ETIMEDOUT, "the node that serves the data folder did not answer within %d seconds", ANSWER_S_MAX);
	return got > 0 ? 0 : why_set(why, err < 0 ? err : -ECONNRESET, ENDED);
}

/* Byte by byte: what follows the line is not to be taken with it. */
static int receive_head(int fd, struct answer_head *out, struct why *why)
{
	struct bytes line;
	ssize_t taken = 0;
	int err = 0;

	bytes_init(&line, ANSWER_HEAD_MAX);
	while (err == 0 && taken == 0) {
		err = receive(fd, &line, 1, why);
		taken = err < 0 ? err : answer_read(line.data, line.size, out);
		if (taken < 0)
			err = (int)taken;
	}
	bytes_finish(&line);
	if (err == -EBADMSG)
		return why_set(why, err, "what serves the data folder is of another version: stop it, and start it anew");
	return err < 0 ? err : out->error < 0 ? why_set(why, out->error, "%s", out->sentence) : 0;
}

/* Asks: a descriptor from which what follows the head is read. */
static int ask(const char *data_path, const struct request *request, struct answer_head *out, struct why *why)
{
	struct bytes bytes;

	bytes_init(&bytes, REQUEST_SIZE_MAX);
	int err = request_write(&bytes, request), fd = -1;
	if (err < 0)
		why_set(why, err, "that is too long to be asked");
	if (err == 0) {
		fd = connect_to(data_path);
		err = fd < 0 ? why_set(why, fd, "the node that serves the data folder has ended") : 0;
	}
	if (err == 0)
		err = send_all(fd, bytes.data, bytes.size, why);
	if (err == 0)
		err = receive_head(fd, out, why);
	bytes_finish(&bytes);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

int ask_read(const char *data_path, const char *path, struct bytes *out, struct why *why)
{
	const struct request request = { .verb = REQUEST_READ, .path = path, .path_size = strlen(path) };
	struct answer_head head;
	size_t before = out->size;

	int fd = ask(data_path, &request, &head, why);
	if (fd < 0)
		return fd;
	int err = head.endless ? why_set(why, -EBADMSG, ENDED) : 0;
	while (err == 0 && out->size - before < head.size)
		err = receive(fd, out, head.size - (out->size - before), why);
	close(fd);
	return err;
}

int ask_write(const char *data_path, const char *path, const char *text, struct why *why)
{
	const struct request request = { REQUEST_WRITE, path, strlen(path), text, strlen(text) };
	struct answer_head head;

	int fd = ask(data_path, &request, &head, why);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int ask_watch(const char *data_path, const char *path, struct why *why)
{
	const struct request request = { .verb = REQUEST_WATCH, .path = path, .path_size = strlen(path) };
	const struct timeval ever = { 0 };
	struct answer_head head;

	int fd = ask(data_path, &request, &head, why);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &ever, sizeof(ever));
	return fd;
}
