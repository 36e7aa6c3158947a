// SPDX-License-Identifier: GPL-2.0
/*
 * Sends numbered frames as fast as the interface accepts them, far more than fit into its ring.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ehea-net.h"

/* Arguments: INTERFACE COUNT LENGTH STREAM. LENGTH is of the whole frame, without CRC. */
int cmd_blast(int argc, char **argv)
{
	int fd = packet_socket(argv[1], TEST_ETHERTYPE);
	uint64_t count = parse_number(argv[2]);
	uint64_t length = parse_number(argv[3]);
	uint32_t stream = parse_number(argv[4]);
	uint8_t frame[MAX_FRAME] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint64_t seq, retries = 0;

	(void)argc;
	if (length < 60 || length > MAX_FRAME)
		die("a frame has 60 to %d bytes", MAX_FRAME);
	interface_address(fd, argv[1], frame + 6);
	frame[12] = TEST_ETHERTYPE >> 8;
	frame[13] = TEST_ETHERTYPE & 0xff;
	for (seq = 0; seq < count; seq++) {
		pattern_fill(frame + 14, length - 14, stream, seq);
		while (send(fd, frame, length, 0) != (ssize_t)length) {
			if (errno != ENOBUFS)
				die("send");
			/* The queueing discipline is full and has not accepted this frame. */
			retries++;
			usleep(100);
		}
	}
	printf("queued %llu retries %llu outstanding %d\n", (unsigned long long)count,
	       (unsigned long long)retries, socket_outstanding(fd));
	fflush(stdout);
	while (socket_outstanding(fd))
		usleep(1000);
	printf("sent %llu\n", (unsigned long long)count);
	return 0;
}
