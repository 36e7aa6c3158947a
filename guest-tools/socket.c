// SPDX-License-Identifier: GPL-2.0
/*
 * Socket helpers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ehea-net.h"

int packet_socket(const char *interface, uint16_t ethertype)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ethertype),
		.sll_ifindex = if_nametoindex(interface),
	};
	int fd;

	if (!address.sll_ifindex)
		die("no interface %s", interface);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0)
		die("cannot make a packet socket");
	/* Must precede binding, so that no frame arrives at the small default buffer. */
	socket_buffers(fd, 256 << 20);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("cannot bind to %s", interface);
	return fd;
}

void parse_address(const char *text, uint8_t address[6])
{
	char end;

	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%c", &address[0], &address[1], &address[2],
		   &address[3], &address[4], &address[5], &end) != 6) {
		errno = 0;
		die("%s is not an Ethernet address", text);
	}
}

void interface_address(int fd, const char *interface, uint8_t address[6])
{
	struct ifreq request = {};

	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		die("no address of %s", interface);
	memcpy(address, request.ifr_hwaddr.sa_data, 6);
}

void socket_buffers(int fd, int size)
{
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		die("cannot enlarge a socket's buffers");
}

int socket_outstanding(int fd)
{
	int bytes;

	if (ioctl(fd, SIOCOUTQ, &bytes))
		die("cannot ask for outstanding bytes");
	return bytes;
}
