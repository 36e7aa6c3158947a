// SPDX-License-Identifier: GPL-2.0
/*
 * Sends TCP segments and UDP datagrams whose checksum, and for TCP the segmentation, is left to the
 * adapter, or to the kernel if the adapter cannot do it.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ehea-net.h"

#define IPV4_ETHERTYPE	0x0800
#define ETHER_HEADER	14
#define IP_HEADER	20
#define TCP_HEADER	20
#define UDP_HEADER	8
#define TCP_CHECKSUM	16
#define UDP_CHECKSUM	6
/* Largest TCP payload: the total length of an IPv4 packet has 16 bits. */
#define MAX_PAYLOAD	(65535 - IP_HEADER - TCP_HEADER)

static const uint8_t source[4] = { 10, 79, 0, 1 };
static const uint8_t destination[4] = { 10, 79, 0, 2 };

static void put16(uint8_t *to, uint16_t value)
{
	to[0] = value >> 8;
	to[1] = value;
}

static void put32(uint8_t *to, uint32_t value)
{
	put16(to, value >> 16);
	put16(to + 2, value);
}

/* Returns the Internet checksum of big-endian words, not complemented. */
static uint16_t sum(const uint8_t *bytes, size_t len, uint32_t start)
{
	size_t at;

	for (at = 0; at + 1 < len; at += 2)
		start += bytes[at] << 8 | bytes[at + 1];
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return start;
}

static void fill_ip(uint8_t *ip, uint8_t protocol, size_t payload, uint16_t id)
{
	memset(ip, 0, IP_HEADER);
	ip[0] = 0x45;
	put16(ip + 2, IP_HEADER + payload);
	put16(ip + 4, id);
	/* Don't fragment. */
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, source, 4);
	memcpy(ip + 16, destination, 4);
	put16(ip + 10, ~sum(ip, IP_HEADER, 0));
}

/* Returns the sum of the pseudo header. The field of an unfinished checksum holds it. */
static uint16_t pseudo_header(const uint8_t *ip, size_t len)
{
	return sum(ip + 12, 8, ip[9] + len);
}

/*
 * Arguments: INTERFACE DESTINATION tcp|udp COUNT LENGTH STEP MSS STREAM. Frame n carries LENGTH + n *
 * STEP bytes of numbered payload. If MSS is not 0, the frame is to be cut into segments of that size.
 */
int cmd_offload(int argc, char **argv)
{
	static uint8_t packet[ETHER_HEADER + 65536];
	int fd = packet_socket(argv[1], IPV4_ETHERTYPE);
	int tcp = !strcmp(argv[3], "tcp");
	uint64_t count = parse_number(argv[4]);
	uint64_t first = parse_number(argv[5]);
	uint64_t step = parse_number(argv[6]);
	uint16_t mss = parse_number(argv[7]);
	uint32_t stream = parse_number(argv[8]);
	size_t l4_header = tcp ? TCP_HEADER : UDP_HEADER;
	uint8_t *ip = packet + ETHER_HEADER, *l4 = ip + IP_HEADER;
	uint32_t tcp_sequence = 0xfffff000;
	uint64_t seq;
	int one = 1;

	(void)argc;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		die("no offload headers");
	parse_address(argv[2], packet);
	interface_address(fd, argv[1], packet + 6);
	put16(packet + 12, IPV4_ETHERTYPE);
	for (seq = 0; seq < count; seq++) {
		size_t payload = first + seq * step;
		size_t headers = ETHER_HEADER + IP_HEADER + l4_header;
		struct virtio_net_hdr header = {
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.gso_type = mss ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
			.hdr_len = headers,
			.gso_size = mss,
			.csum_start = ETHER_HEADER + IP_HEADER,
			.csum_offset = tcp ? TCP_CHECKSUM : UDP_CHECKSUM,
		};
		struct iovec iov[] = {
			{ &header, sizeof(header) },
			{ packet, headers + payload },
		};
		ssize_t whole = sizeof(header) + headers + payload;

		errno = 0;
		if (payload < PAYLOAD_HEADER || payload > MAX_PAYLOAD)
			die("a payload of %zu bytes", payload);
		fill_ip(ip, tcp ? IPPROTO_TCP : IPPROTO_UDP, l4_header + payload, seq);
		memset(l4, 0, l4_header);
		put16(l4, 4000);
		put16(l4 + 2, 4001);
		if (tcp) {
			put32(l4 + 4, tcp_sequence);
			put32(l4 + 8, 1);
			l4[12] = TCP_HEADER / 4 << 4;
			/* PSH and ACK */
			l4[13] = 0x18;
			put16(l4 + 14, 0xffff);
			tcp_sequence += payload;
		} else {
			put16(l4 + 4, l4_header + payload);
		}
		put16(l4 + header.csum_offset, pseudo_header(ip, l4_header + payload));
		pattern_fill(l4 + l4_header, payload, stream, seq);
		while (writev(fd, iov, 2) != whole) {
			if (errno != ENOBUFS)
				die("a payload of %zu bytes", payload);
			usleep(100);
		}
	}
	printf("sent %llu\n", (unsigned long long)count);
	return 0;
}
