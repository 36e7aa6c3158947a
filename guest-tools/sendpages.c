// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a file over TCP from the page cache, without copying, and prints where in physical memory its
 * pages are.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ehea-net.h"

/* Counts the file's pages whose physical address is in [low, high). */
static void count_pages(int file, size_t size, uint64_t low, uint64_t high)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);

	if (map == MAP_FAILED)
		die("cannot map the file");
	printf("pages %zu inside %zu\n", (size + page - 1) / page,
	       pages_inside(map, size, low, high));
	munmap(map, size);
}

/* Arguments: FILE ADDRESS PORT LOW HIGH. LOW and HIGH bound a range of physical addresses. */
int cmd_sendpages(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(parse_number(argv[3])) };
	int file = open(argv[1], O_RDONLY);
	struct stat stat;
	off_t sent = 0;
	int fd;

	(void)argc;
	if (file < 0 || fstat(file, &stat))
		die("%s", argv[1]);
	count_pages(file, stat.st_size, parse_number(argv[4]), parse_number(argv[5]));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		die("%s is not an address", argv[2]);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("cannot connect to %s", argv[2]);
	while (sent < stat.st_size)
		if (sendfile(fd, file, &sent, stat.st_size - sent) <= 0)
			die("sendfile");
	printf("sent %lld\n", (long long)sent);
	return close(fd) ? 1 : 0;
}
