/*
 * Arbitrary bytes as what is said over the socket of `moot serve`, by either end. What is taken is written again as
 * it was, and no beginning of it is taken for the whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_request(const uint8_t *bytes, size_t size)
{
	struct request request = { .path_size = 7 }, less;
	struct bytes again;

	int whole = request_read(bytes, size, &request);
	require(whole == 1 || whole == 0 || whole == -EBADMSG || whole == -EMSGSIZE);
	if (whole != 1) {
		require(request.path_size == 7);
		require(whole != 0 || size < REQUEST_SIZE_MAX);
		return;
	}
	require(size <= REQUEST_SIZE_MAX && request.path_size > 0 && request.path_size <= REQUEST_PATH_MAX);
	require(request.text_size <= REQUEST_TEXT_MAX && (request.verb == REQUEST_WRITE || request.text_size == 0));
	bytes_init(&again, REQUEST_SIZE_MAX);
	require(request_write(&again, &request) == 0);
	require(again.size == size && memcmp(again.data, bytes, size) == 0);
	bytes_finish(&again);
	for (size_t i = 0; i < size; i += 1 + i / 16)
		require(request_read(bytes, i, &less) == 0);
}

static void check_answer(const uint8_t *bytes, size_t size)
{
	struct answer_head head = { .size = 7 };
	struct bytes again;

	ssize_t taken = answer_read(bytes, size, &head);
	require(taken <= (ssize_t)size && (taken >= 0 || taken == -EBADMSG));
	if (taken <= 0) {
		require(head.size == 7);
		require(taken < 0 || size < ANSWER_HEAD_MAX);
		return;
	}
	bytes_init(&again, ANSWER_HEAD_MAX);
	answer_write(&again, &head);
	require(bytes_error(&again) == 0 && again.size == (size_t)taken && memcmp(again.data, bytes, again.size) == 0);
	bytes_finish(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	require(exact != NULL);
	if (size)
		memcpy(exact, data, size);
	check_request(exact, size);
	check_answer(exact, size);
	free(exact);
	return 0;
}
