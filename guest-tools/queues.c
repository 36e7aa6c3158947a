// SPDX-License-Identifier: GPL-2.0
/*
 * Prints which NAPI instance and interrupt the queues of an interface have, as the kernel tells it
 * (generic netlink, family "netdev").
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netdev.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ehea-net.h"

#define MAX_QUEUES	64
#define MAX_ATTRIBUTE	16
#define NONE		UINT32_MAX

struct request {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	struct nlattr attr;
	char value[16];
};

/* Numbers of a message, by attribute; NONE if it hasn't the attribute. */
typedef uint32_t numbers[MAX_ATTRIBUTE];

static int netlink = -1;

static void send_request(uint16_t family, uint8_t command, uint16_t flags, uint16_t type,
			 const void *value, size_t len)
{
	struct request request = {
		.nl.nlmsg_type = family,
		.nl.nlmsg_flags = NLM_F_REQUEST | flags,
		.genl.cmd = command,
		.genl.version = 1,
		.attr.nla_type = type,
		.attr.nla_len = NLA_HDRLEN + len,
	};

	memcpy(request.value, value, len);
	request.nl.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN + NLA_ALIGN(request.attr.nla_len);
	if (send(netlink, &request, request.nl.nlmsg_len, 0) < 0)
		die("netlink");
}

static void read_numbers(const struct nlmsghdr *nl, numbers out)
{
	const char *at = (const char *)nl + NLMSG_HDRLEN + GENL_HDRLEN;
	const char *end = (const char *)nl + nl->nlmsg_len;

	memset(out, 0xff, sizeof(numbers));
	while (end - at >= NLA_HDRLEN) {
		const struct nlattr *attr = (const void *)at;
		size_t len = attr->nla_len - NLA_HDRLEN;
		uint16_t half;

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > end - at)
			die("netlink: a message makes no sense");
		if (attr->nla_type < MAX_ATTRIBUTE && len == sizeof(uint32_t)) {
			memcpy(&out[attr->nla_type], at + NLA_HDRLEN, len);
		} else if (attr->nla_type < MAX_ATTRIBUTE && len == sizeof(half)) {
			memcpy(&half, at + NLA_HDRLEN, len);
			out[attr->nla_type] = half;
		}
		at += NLA_ALIGN(attr->nla_len);
	}
}

/* Receives the answer, or those of a dump, which has an end of its own; returns how many there were. */
static size_t receive(numbers *out, size_t max, int dump)
{
	_Alignas(struct nlmsghdr) static char buffer[65536];
	size_t count = 0;

	for (;;) {
		ssize_t len = recv(netlink, buffer, sizeof(buffer), 0);
		struct nlmsghdr *nl = (void *)buffer;

		if (len < 0)
			die("netlink");
		for (; NLMSG_OK(nl, (size_t)len); nl = NLMSG_NEXT(nl, len)) {
			if (nl->nlmsg_type == NLMSG_ERROR) {
				errno = -((struct nlmsgerr *)NLMSG_DATA(nl))->error;
				die("netlink");
			}
			if (nl->nlmsg_type == NLMSG_DONE)
				return count;
			if (count == max)
				die("too many answers");
			read_numbers(nl, out[count++]);
			if (!dump)
				return count;
		}
	}
}

/* Argument: INTERFACE. Prints a line for each queue: "rx|tx NUMBER NAPI INTERRUPT", "-" for none. */
int cmd_queues(int argc, char **argv)
{
	static numbers family[1], queues[MAX_QUEUES], instances[MAX_QUEUES];
	uint32_t interface = if_nametoindex(argv[1]);
	size_t queue_count, instance_count, q, i;

	(void)argc;
	netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	if (netlink < 0 || !interface)
		die("no interface %s", argv[1]);
	send_request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0, CTRL_ATTR_FAMILY_NAME,
		     NETDEV_FAMILY_NAME, sizeof(NETDEV_FAMILY_NAME));
	receive(family, 1, 0);
	send_request(family[0][CTRL_ATTR_FAMILY_ID], NETDEV_CMD_QUEUE_GET, NLM_F_DUMP,
		     NETDEV_A_QUEUE_IFINDEX, &interface, sizeof(interface));
	queue_count = receive(queues, MAX_QUEUES, 1);
	send_request(family[0][CTRL_ATTR_FAMILY_ID], NETDEV_CMD_NAPI_GET, NLM_F_DUMP,
		     NETDEV_A_NAPI_IFINDEX, &interface, sizeof(interface));
	instance_count = receive(instances, MAX_QUEUES, 1);

	for (q = 0; q < queue_count; q++) {
		uint32_t napi = queues[q][NETDEV_A_QUEUE_NAPI_ID];
		uint32_t irq = NONE;

		for (i = 0; i < instance_count; i++)
			if (instances[i][NETDEV_A_NAPI_ID] == napi)
				irq = instances[i][NETDEV_A_NAPI_IRQ];
		printf("%s %u", queues[q][NETDEV_A_QUEUE_TYPE] == NETDEV_QUEUE_TYPE_RX ? "rx" : "tx",
		       queues[q][NETDEV_A_QUEUE_ID]);
		printf(napi == NONE ? " -" : " %u", napi);
		printf(irq == NONE ? " -\n" : " %u\n", irq);
	}
	return 0;
}
