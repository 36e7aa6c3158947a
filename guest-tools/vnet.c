// SPDX-License-Identifier: GPL-2.0
/*
 * Sends frames whose header for the device (struct virtio_net_hdr) may contradict the frame. A virtual
 * machine, or anybody with a packet socket, can hand such frames to a network device.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

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

/* Arguments: INTERFACE DESTINATION KIND. Sends one frame, or prints that the kernel refused it. */
int cmd_vnet(int argc, char **argv)
{
	int fd = packet_socket(argv[1], IPV4_ETHERTYPE);
	static uint8_t frame[65536];
	const struct kind *kind = NULL;
	struct virtio_net_hdr header;
	size_t i;
	int one = 1;

	(void)argc;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, argv[3]))
			kind = &kinds[i];
	errno = 0;
	if (!kind)
		die("no kind %s", argv[3]);
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		die("no offload headers");
	parse_address(argv[2], frame);
	interface_address(fd, argv[1], frame + 6);
	put16(frame + 12, IPV4_ETHERTYPE);
	header = fill(frame, kind);

	struct iovec iov[] = {
		{ &header, sizeof(header) },
		{ frame, or_default(kind->len, LONG) },
	};

	if (writev(fd, iov, 2) >= 0)
		printf("sent\n");
	else if (errno == EINVAL || errno == EMSGSIZE)
		printf("refused: %s\n", strerror(errno));
	else
		die("writev");
	return 0;
}
