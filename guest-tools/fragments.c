// SPDX-License-Identifier: GPL-2.0
/*
 * Sends datagrams whose payload is in 1 to MAX_FRAGMENTS pieces, each in another page. Zero-copy
 * transmission makes every piece a fragment of the socket buffer. The kernel reports if it had to
 * copy the pieces after all, which is a failure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ehea-net.h"

/* Largest UDP payload of one frame with an MTU of 9000. */
#define MAX_DATAGRAM	(9000 - 20 - 8)
#define MAX_FLOWS	256

static int connect_udp(const char *address, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int one = 1;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die("%s is not an address", address);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("cannot connect to %s", address);
	if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		die("no zero-copy transmission");
	return fd;
}

/* Waits until the kernel is done with a datagram's pages. Returns true if it has copied them. */
static bool wait_done(int fd)
{
	char control[256];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct pollfd pollfd = { .fd = fd };
	struct sock_extended_err *error;
	struct cmsghdr *cmsg;

	while (recvmsg(fd, &msg, MSG_ERRQUEUE) < 0) {
		if (errno != EAGAIN)
			die("no completion");
		if (poll(&pollfd, 1, -1) < 0)
			die("poll");
	}
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		die("a completion without content");
	error = (void *)CMSG_DATA(cmsg);
	errno = 0;
	if (error->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
		die("an error instead of a completion: %u", error->ee_errno);
	return error->ee_code & SO_EE_CODE_ZEROCOPY_COPIED;
}

/* Cuts len bytes into n pieces of at least one byte. */
static void cut(size_t *pieces, unsigned int n, size_t len, uint64_t *random)
{
	size_t left = len;
	unsigned int i;

	for (i = 0; i + 1 < n; i++) {
		size_t most = (left - (n - i - 1)) * 2 / (n - i);

		pieces[i] = 1 + splitmix64(random) % (most ? most : 1);
		if (pieces[i] > left - (n - i - 1))
			pieces[i] = left - (n - i - 1);
		left -= pieces[i];
	}
	pieces[n - 1] = left;
}

/* Memory to send from. For each piece, it has room for the longest one anywhere in its first page. */
struct area {
	uint8_t *start;
	size_t size;
	size_t page;
	size_t room;
};

static struct area map_area(unsigned int pieces)
{
	struct area area = { .page = sysconf(_SC_PAGESIZE) };

	area.room = (MAX_DATAGRAM + area.page - 1) / area.page * area.page + area.page;
	area.size = area.room * pieces;
	area.start = mmap(NULL, area.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (area.start == MAP_FAILED)
		die("no memory");
	/* Each page must have memory of its own instead of the shared page of zeroes. */
	memset(area.start, 0xee, area.size);
	return area;
}

/*
 * Sends a numbered datagram of random length in n pieces and waits until it is sent. Returns true if
 * the kernel or the driver has copied the pieces.
 */
static bool send_pieces(int fd, const struct area *area, unsigned int n, uint32_t stream,
			uint64_t seq, uint64_t *random)
{
	size_t len = PAYLOAD_HEADER + splitmix64(random) % (MAX_DATAGRAM - PAYLOAD_HEADER + 1);
	uint8_t payload[MAX_DATAGRAM];
	struct iovec iov[MOST_FRAGMENTS];
	size_t pieces[MOST_FRAGMENTS];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	size_t at = 0;
	unsigned int i;

	/* Each piece has at least one byte. */
	if (len < n)
		len = n;
	pattern_fill(payload, len, stream, seq);
	cut(pieces, n, len, random);
	for (i = 0; i < n; i++) {
		/* The piece may start anywhere in its page, to cover alignments and ends of pages. */
		size_t last = pieces[i] < area->page ? area->page - pieces[i] : 0;
		uint8_t *to = area->start + i * area->room + splitmix64(random) % (last + 1);

		memcpy(to, payload + at, pieces[i]);
		iov[i] = (struct iovec){ to, pieces[i] };
		at += pieces[i];
	}
	if (sendmsg(fd, &msg, MSG_ZEROCOPY) != (ssize_t)len)
		die("sendmsg of %u pieces", n);
	return wait_done(fd);
}

/*
 * Arguments: ADDRESS PORT ROUNDS STREAM LOW HIGH. Each round sends one datagram for each number of
 * pieces. Prints how many of the pages that are sent from are in the physical range [LOW, HIGH).
 */
int cmd_fragments(int argc, char **argv)
{
	int fd = connect_udp(argv[1], parse_number(argv[2]));
	uint64_t rounds = parse_number(argv[3]);
	uint32_t stream = parse_number(argv[4]);
	struct area area = map_area(MAX_FRAGMENTS);
	uint64_t seq = 0, random = stream;
	uint64_t round;
	unsigned int n;

	(void)argc;
	printf("pages %zu inside %zu\n", area.size / area.page,
	       pages_inside(area.start, area.size, parse_number(argv[5]), parse_number(argv[6])));
	for (round = 0; round < rounds; round++)
		for (n = 1; n <= MAX_FRAGMENTS; n++, seq++)
			if (send_pieces(fd, &area, n, stream, seq, &random))
				die("the kernel copied the payload: the interface has no scatter-gather or no checksum offload");
	printf("sent %llu\n", (unsigned long long)seq);
	return 0;
}

/* Puts the pages of an area into a pipe that nobody reads. They cannot move while they are in it. */
static void pin(const struct area *area)
{
	struct iovec iov = { area->start, area->size };
	int ends[2];

	if (pipe(ends) || fcntl(ends[1], F_SETPIPE_SZ, area->size) < 0)
		die("pipe");
	if (vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK) != (ssize_t)area->size)
		die("vmsplice");
}

/*
 * Arguments: ADDRESS PORT COUNT STREAM LOW HIGH READY. Pins pages, at least one of them in the
 * physical range [LOW, HIGH), which keeps that range from going offline. Then writes its process id to
 * the file READY. Sends COUNT numbered datagrams from the pages on each SIGUSR1, until SIGTERM.
 */
int cmd_hold(int argc, char **argv)
{
	int fd = connect_udp(argv[1], parse_number(argv[2]));
	uint64_t count = parse_number(argv[3]);
	uint32_t stream = parse_number(argv[4]);
	struct area area = map_area(1);
	uint64_t seq = 0, random = stream;
	sigset_t signals;
	FILE *ready;
	int signal;

	(void)argc;
	errno = 0;
	pin(&area);
	if (!pages_inside(area.start, area.size, parse_number(argv[5]), parse_number(argv[6])))
		die("no page is in the range");
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL))
		die("sigprocmask");
	ready = fopen(argv[7], "w");
	if (!ready || fprintf(ready, "%d\n", getpid()) < 0 || fclose(ready))
		die("%s", argv[7]);
	while (!sigwait(&signals, &signal) && signal == SIGUSR1) {
		uint64_t end = seq + count;

		for (; seq < end; seq++)
			send_pieces(fd, &area, 1, stream, seq, &random);
	}
	return 0;
}

/*
 * Arguments: ADDRESS PORT PIECES COUNT STREAM. Sends COUNT datagrams of PIECES pieces each. That can be
 * more than MAX_FRAGMENTS if the kernel is configured for it.
 */
int cmd_pieces(int argc, char **argv)
{
	int fd = connect_udp(argv[1], parse_number(argv[2]));
	unsigned int pieces = parse_number(argv[3]);
	uint64_t count = parse_number(argv[4]);
	uint32_t stream = parse_number(argv[5]);
	uint64_t seq, random = stream;
	struct area area;

	(void)argc;
	errno = 0;
	if (!pieces || pieces > MOST_FRAGMENTS)
		die("a datagram has 1 to %d pieces", MOST_FRAGMENTS);
	area = map_area(pieces);
	for (seq = 0; seq < count; seq++)
		send_pieces(fd, &area, pieces, stream, seq, &random);
	printf("sent %llu\n", (unsigned long long)seq);
	return 0;
}

/*
 * Arguments: ADDRESS PORT FLOWS COUNT STREAM. Sends numbered datagrams from FLOWS sockets in turn, so
 * that the stack spreads them over the queues of an interface.
 */
int cmd_flows(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(parse_number(argv[2])) };
	uint64_t flows = parse_number(argv[3]);
	uint64_t count = parse_number(argv[4]);
	uint32_t stream = parse_number(argv[5]);
	int fds[MAX_FLOWS];
	uint8_t payload[512];
	uint64_t seq, i;

	(void)argc;
	errno = 0;
	if (!flows || flows > MAX_FLOWS)
		die("there are 1 to %d flows", MAX_FLOWS);
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		die("%s is not an address", argv[1]);
	for (i = 0; i < flows; i++) {
		fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&to, sizeof(to)))
			die("cannot connect to %s", argv[1]);
	}
	for (seq = 0; seq < count; seq++) {
		pattern_fill(payload, sizeof(payload), stream, seq);
		if (send(fds[seq % flows], payload, sizeof(payload), 0) != sizeof(payload))
			die("send");
	}
	printf("sent %llu\n", (unsigned long long)seq);
	return 0;
}
