// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what passes between the stack and an interface, and who did the work. A frame that is sent is
 * seen after the stack has cut segments and filled in checksums where it had to. A frame that is
 * received is seen after the stack has merged segments.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ehea-net.h"

#define IPV4_ETHERTYPE	0x0800

struct direction {
	unsigned long frames;
	/* Frames whose checksum is left to the device (sent), or was verified by it (received). */
	unsigned long checksums;
	/* Frames that the device is to cut into segments (sent), or merged frames (received). */
	unsigned long long_ones;
	/* Number of segments in these. */
	unsigned long segments;
};

static void count(struct direction *to, const struct virtio_net_hdr *header, size_t len)
{
	const uint8_t flags = VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;

	to->frames++;
	if (header->flags & flags)
		to->checksums++;
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE && header->gso_size) {
		size_t payload = len > header->hdr_len ? len - header->hdr_len : 0;

		to->long_ones++;
		to->segments += (payload + header->gso_size - 1) / header->gso_size;
	}
}

static void print(FILE *report, const char *name, const struct direction *of)
{
	fprintf(report, "%s_frames %lu\n%s_checksums %lu\n%s_long %lu\n%s_segments %lu\n", name,
		of->frames, name, of->checksums, name, of->long_ones, name, of->segments);
}

/*
 * Arguments: INTERFACE REPORT. Goes to the background and prints its process id. Writes the counters to
 * the file REPORT when it is terminated. Only IPv4 is counted.
 */
int cmd_watch(int argc, char **argv)
{
	int fd = packet_socket(argv[1], IPV4_ETHERTYPE);
	struct direction sent = {}, received = {};
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);
	int one = 1;
	FILE *report;

	(void)argc;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		die("no offload headers");
	go_to_background(argv[2]);
	while (!stopped) {
		static uint8_t frame[1 << 17];
		struct virtio_net_hdr header;
		struct sockaddr_ll from;
		struct iovec iov[] = {
			{ &header, sizeof(header) },
			{ frame, sizeof(frame) },
		};
		struct msghdr message = {
			.msg_name = &from,
			.msg_namelen = sizeof(from),
			.msg_iov = iov,
			.msg_iovlen = 2,
		};
		ssize_t got = recvmsg(fd, &message, 0);

		if (got < (ssize_t)sizeof(header)) {
			if (errno != EINTR && errno != ENETDOWN)
				break;
			continue;
		}
		count(from.sll_pkttype == PACKET_OUTGOING ? &sent : &received, &header,
		      got - sizeof(header));
	}
	report = open_report(argv[2]);
	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		die("no statistics");
	print(report, "sent", &sent);
	print(report, "received", &received);
	fprintf(report, "overflow %u\n", stats.tp_drops);
	return fclose(report) ? 1 : 0;
}
