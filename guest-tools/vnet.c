// SPDX-License-Identifier: GPL-2.0
/*
 * Sends frames whose header for the device (struct virtio_net_hdr) may contradict the frame. A virtual
 * machine, or anybody with a packet socket, can hand such frames to a network device.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ehea-net.h"

#define IPV4_ETHERTYPE	0x0800
#define IP_AT		14
#define TRANSPORT_AT	34
#define TCP_FIELD	16
#define UDP_FIELD	6
/* Offset of an inner transport header, after headers of UDP, VXLAN, Ethernet and IPv4. */
#define INNER_AT	(TRANSPORT_AT + 8 + 8 + 14 + 20)
#define LONG		400
/* Length of a frame that fits into the work request itself. */
#define SHORT		70
#define TSO		9014

struct kind {
	const char *name;
	/* Length of the frame; LONG if 0. */
	size_t len;
	/* Total length in the IP header; the packet's real length if 0. */
	size_t total;
	/* Checksum start and offset of its field; those of the protocol if 0. */
	uint16_t start;
	uint16_t field;
	uint16_t fragment;
	uint16_t gso_size;
	/* Protocol in the IP header; TCP if 0. */
	uint8_t protocol;
	/* First byte of the IP header, its version and length; 0x45 if 0. */
	uint8_t version;
	/* Header length of TCP, in 32-bit words; 5 if 0. */
	uint8_t tcp_words;
};

static const struct kind kinds[] = {
	{ .name = "tcp" },
	{ .name = "udp", .protocol = IPPROTO_UDP },
	{ .name = "padded", .total = LONG - IP_AT - 30 },
	{ .name = "segments", .len = TSO, .gso_size = 1000 },
	{ .name = "inner", .protocol = IPPROTO_UDP, .start = INNER_AT, .field = TCP_FIELD },
	{ .name = "udp-field", .field = UDP_FIELD },
	{ .name = "tcp-field", .protocol = IPPROTO_UDP, .field = TCP_FIELD },
	{ .name = "start-in-ip", .start = IP_AT },
	{ .name = "total-beyond", .total = LONG },
	{ .name = "total-tiny", .total = 24 },
	{ .name = "header-longer", .version = 0x46 },
	{ .name = "header-zero", .version = 0x40 },
	{ .name = "version", .version = 0x65 },
	{ .name = "fragment", .fragment = 0x2000 },
	{ .name = "short-total-beyond", .len = SHORT, .total = SHORT },
	{ .name = "short-header-longer", .len = SHORT, .version = 0x46 },
	{ .name = "segments-of-udp", .len = TSO, .gso_size = 1000, .protocol = IPPROTO_UDP },
	{ .name = "segments-long-header", .len = TSO, .gso_size = 1000, .tcp_words = 15 },
	{ .name = "segments-total", .len = TSO, .gso_size = 1000, .total = 1000 },
	{ .name = "segments-9014", .len = 40000, .gso_size = 9014 },
	{ .name = "segments-12000", .len = 40000, .gso_size = 12000 },
	{ .name = "segments-30000", .len = 60000, .gso_size = 30000 },
};

#define KINDS		(sizeof(kinds) / sizeof(kinds[0]))

static void put16(uint8_t *to, uint16_t value)
{
	to[0] = value >> 8;
	to[1] = value;
}

static size_t or_default(size_t value, size_t otherwise)
{
	return value ? value : otherwise;
}

static struct virtio_net_hdr fill(uint8_t *frame, const struct kind *kind)
{
	uint8_t protocol = or_default(kind->protocol, IPPROTO_TCP);
	uint8_t *ip = frame + IP_AT, *transport = frame + TRANSPORT_AT;
	size_t len = or_default(kind->len, LONG);
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = or_default(kind->start, TRANSPORT_AT),
		.csum_offset = or_default(kind->field,
					  protocol == IPPROTO_UDP ? UDP_FIELD : TCP_FIELD),
	};
	static const uint8_t addresses[] = { 10, 79, 0, 1, 10, 79, 0, 2 };

	if (kind->gso_size) {
		header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		header.gso_size = kind->gso_size;
		header.hdr_len = TRANSPORT_AT + 4 * or_default(kind->tcp_words, 5);
	}
	ip[0] = or_default(kind->version, 0x45);
	put16(ip + 2, or_default(kind->total, len - IP_AT));
	put16(ip + 6, kind->fragment);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, addresses, sizeof(addresses));
	put16(transport, 4000);
	put16(transport + 2, 4001);
	if (protocol == IPPROTO_UDP)
		put16(transport + 4, len - TRANSPORT_AT);
	transport[12] = or_default(kind->tcp_words, 5) << 4;
	/* PSH and ACK */
	transport[13] = 0x18;
	return header;
}

static uint64_t random_state;

/* Returns a random number below the limit. */
static uint64_t below(uint64_t limit)
{
	return splitmix64(&random_state) % limit;
}

/* Sometimes replaces a value by a random one. */
static uint16_t perhaps(uint16_t value)
{
	switch (below(8)) {
	case 0:
		return below(120);
	case 1:
		return below(65536);
	default:
		return value;
	}
}

/*
 * Turns a frame of some kind, and the header for it, into one that may be wrong in any respect. Leaves the
 * addresses alone. Returns its length.
 */
static size_t spoil(uint8_t *frame, struct virtio_net_hdr *header, size_t len)
{
	static const uint8_t gso_types[] = {
		VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV4,
		VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_HDR_GSO_TCPV6,
		VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4,
	};
	static const uint16_t gso_sizes[] = { 0, 1, 40, 536, 1448, 8960, 8964, 8965, 9014, 30000 };
	size_t i;

	for (i = below(4); i > 0; i--)
		frame[12 + below(80)] = below(256);
	header->csum_start = perhaps(header->csum_start);
	header->csum_offset = perhaps(header->csum_offset);
	header->hdr_len = perhaps(header->hdr_len);
	if (!below(8))
		header->flags = 0;
	if (!below(3)) {
		header->gso_type = gso_types[below(sizeof(gso_types))];
		header->gso_size = gso_sizes[below(sizeof(gso_sizes) / sizeof(gso_sizes[0]))];
	}
	switch (below(6)) {
	case 0:
		return 14 + below(250);
	case 1:
		return 14 + below(9020);
	case 2:
		return len + below(40);
	default:
		return len;
	}
}

/* Sends a frame, and returns whether the kernel took it. */
static bool send_frame(int fd, struct virtio_net_hdr *header, uint8_t *frame, size_t len)
{
	struct iovec iov[] = {
		{ header, sizeof(*header) },
		{ frame, len },
	};

	/* Queues that are full are waited for by the kernel, or say so. */
	while (writev(fd, iov, 2) < 0) {
		if (errno == EINVAL || errno == EMSGSIZE)
			return false;
		if (errno != ENOBUFS)
			die("writev");
		usleep(1000);
	}
	return true;
}

/* Returns a packet socket whose frames begin with a header for the device. */
static int vnet_socket(const char *interface, const char *destination, uint8_t *addresses)
{
	int fd = packet_socket(interface, IPV4_ETHERTYPE);
	int one = 1;

	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		die("no offload headers");
	parse_address(destination, addresses);
	interface_address(fd, interface, addresses + 6);
	return fd;
}

/* Arguments: INTERFACE DESTINATION KIND. Sends one frame, or prints that the kernel refused it. */
int cmd_vnet(int argc, char **argv)
{
	static uint8_t frame[65536];
	int fd = vnet_socket(argv[1], argv[2], frame);
	const struct kind *kind = NULL;
	struct virtio_net_hdr header;
	size_t i;

	(void)argc;
	for (i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, argv[3]))
			kind = &kinds[i];
	errno = 0;
	if (!kind)
		die("no kind %s", argv[3]);
	put16(frame + 12, IPV4_ETHERTYPE);
	header = fill(frame, kind);
	if (send_frame(fd, &header, frame, or_default(kind->len, LONG)))
		printf("sent\n");
	else
		printf("refused: %s\n", strerror(errno));
	return 0;
}

/*
 * Arguments: INTERFACE DESTINATION SEED COUNT. Sends frames that are wrong at random, the same for the
 * same seed, and prints how many the kernel took.
 */
int cmd_odd(int argc, char **argv)
{
	static uint8_t frame[1 << 17];
	uint8_t addresses[12];
	int fd = vnet_socket(argv[1], argv[2], addresses);
	uint64_t count = parse_number(argv[4]), sent = 0, i;

	(void)argc;
	random_state = parse_number(argv[3]);
	for (i = 0; i < count; i++) {
		const struct kind *kind = &kinds[below(KINDS)];
		struct virtio_net_hdr header;
		size_t len;

		memset(frame, 0, IP_AT + 100);
		memcpy(frame, addresses, sizeof(addresses));
		put16(frame + 12, IPV4_ETHERTYPE);
		header = fill(frame, kind);
		len = spoil(frame, &header, or_default(kind->len, LONG));
		sent += send_frame(fd, &header, frame, len);
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}
