// SPDX-License-Identifier: GPL-2.0
/*
 * Accepts one TCP connection and copies what it receives to standard output.
 */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ehea-net.h"

/* Arguments: ADDRESS PORT */
int cmd_receive(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(parse_number(argv[2])) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	char buffer[65536];
	int one = 1, fd;
	ssize_t len;

	(void)argc;
	if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
		die("%s is not an address", argv[1]);
	if (listener < 0 ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1))
		die("cannot listen on %s", argv[1]);
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	while ((len = read(fd, buffer, sizeof(buffer))) > 0) {
		char *from = buffer;

		while (len > 0) {
			ssize_t written = write(1, from, len);

			if (written < 0)
				die("write");
			from += written;
			len -= written;
		}
	}
	if (len < 0)
		die("read");
	return 0;
}
