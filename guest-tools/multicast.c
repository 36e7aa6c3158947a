// SPDX-License-Identifier: GPL-2.0
/*
 * Makes an interface start or stop receiving a multicast address.
 */
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ehea-net.h"

/* Arguments: INTERFACE add|del ADDRESS, an Ethernet address. An added address stays. */
int cmd_multicast(int argc, char **argv)
{
	unsigned long request = strcmp(argv[2], "add") ? SIOCDELMULTI : SIOCADDMULTI;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifreq = {};
	uint8_t address[6];

	(void)argc;
	parse_address(argv[3], address);
	strncpy(ifreq.ifr_name, argv[1], IFNAMSIZ - 1);
	memcpy(ifreq.ifr_hwaddr.sa_data, address, sizeof(address));
	if (fd < 0 || ioctl(fd, request, &ifreq))
		die("cannot %s %s", argv[2], argv[3]);
	return 0;
}
