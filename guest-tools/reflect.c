// SPDX-License-Identifier: GPL-2.0
/*
 * Sends every numbered frame back to its sender, unchanged except that the addresses are swapped. The
 * peer on the host compares the returned frames with what it sent, so one pass checks both directions.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ehea-net.h"

struct reflector {
	int fd;
	unsigned long received;
	unsigned long reflected;
	/* Number of times that the queue below was full and a frame was sent again. */
	unsigned long retries;
	/* Number of frames not sent: the interface was down, or their length was not valid. */
	unsigned long discarded;
};

static void send_frame(struct reflector *reflector, const uint8_t *frame, size_t len)
{
	while (!stopped) {
		if (send(reflector->fd, frame, len, 0) == (ssize_t)len) {
			reflector->reflected++;
			return;
		}
		if (errno == ENETDOWN || errno == ENXIO || errno == ENODEV || errno == EMSGSIZE) {
			reflector->discarded++;
			return;
		}
		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			die("send");
		reflector->retries++;
	}
}

static void reflect(struct reflector *reflector)
{
	uint8_t frame[MAX_FRAME + 64];
	uint8_t address[6];
	ssize_t len;

	while (!stopped) {
		len = recv(reflector->fd, frame, sizeof(frame), MSG_TRUNC);
		if (len < 0) {
			if (errno != EINTR && errno != ENETDOWN)
				die("recv");
			continue;
		}
		reflector->received++;
		if (len < 14 || len > (ssize_t)sizeof(frame)) {
			reflector->discarded++;
			continue;
		}
		memcpy(address, frame, 6);
		memcpy(frame, frame + 6, 6);
		memcpy(frame + 6, address, 6);
		send_frame(reflector, frame, len);
	}
}

/*
 * Arguments: INTERFACE REPORT. Goes to the background once it can receive frames, and prints its
 * process id. Writes its counters to the file REPORT when it is terminated.
 */
int cmd_reflect(int argc, char **argv)
{
	struct reflector reflector = { .fd = packet_socket(argv[1], TEST_ETHERTYPE) };
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);
	FILE *report;

	(void)argc;
	go_to_background(argv[2]);
	reflect(&reflector);

	if (getsockopt(reflector.fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		die("no statistics");
	report = open_report(argv[2]);
	fprintf(report, "received %lu reflected %lu retries %lu discarded %lu overflow %u\n",
		reflector.received, reflector.reflected, reflector.retries, reflector.discarded,
		stats.tp_drops);
	return fclose(report) ? 1 : 0;
}
