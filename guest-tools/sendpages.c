// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a file over TCP or UDP from the page cache, without copying, and prints where in physical
 * memory its pages are.
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

/* Length of a datagram from a file, which is less than a page that has 64 KiB. */
#define DATAGRAM	2000

static int open_file(const char *name, struct stat *stat)
{
	int file = open(name, O_RDONLY);

	if (file < 0 || fstat(file, stat))
		die("%s", name);
	return file;
}

static int connect_to(const char *address, const char *port, int type)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(parse_number(port)) };
	int fd = socket(AF_INET, type, 0);

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die("%s is not an address", address);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("cannot connect to %s", address);
	return fd;
}

/* Arguments: FILE ADDRESS PORT LOW HIGH. LOW and HIGH bound a range of physical addresses. */
int cmd_sendpages(int argc, char **argv)
{
	struct stat stat;
	int file = open_file(argv[1], &stat);
	off_t sent = 0;
	int fd;

	(void)argc;
	count_pages(file, stat.st_size, parse_number(argv[4]), parse_number(argv[5]));
	fd = connect_to(argv[2], argv[3], SOCK_STREAM);
	while (sent < stat.st_size)
		if (sendfile(fd, file, &sent, stat.st_size - sent) <= 0)
			die("sendfile");
	printf("sent %lld\n", (long long)sent);
	return close(fd) ? 1 : 0;
}

/*
 * Arguments: FILE ADDRESS PORT COUNT LOW HIGH. Sends COUNT datagrams from all over the file. LOW and
 * HIGH bound a range of physical addresses.
 */
int cmd_senddatagrams(int argc, char **argv)
{
	uint64_t count = parse_number(argv[4]), n;
	struct stat stat;
	int file = open_file(argv[1], &stat);
	int fd;

	(void)argc;
	count_pages(file, stat.st_size, parse_number(argv[5]), parse_number(argv[6]));
	fd = connect_to(argv[2], argv[3], SOCK_DGRAM);
	for (n = 0; n < count; n++) {
		off_t from = stat.st_size / count * n;

		if (sendfile(fd, file, &from, DATAGRAM) != DATAGRAM)
			die("sendfile");
	}
	printf("sent %llu\n", (unsigned long long)n);
	return close(fd) ? 1 : 0;
}
