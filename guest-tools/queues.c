// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the NAPI instance, the interrupt and the counters of each queue of an interface, as the
 * kernel reports them (generic netlink, family "netdev").
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
#define MAX_ATTRIBUTE	64
#define NONE		UINT64_MAX

struct request {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	/* Attributes. */
	char attributes[64];
};

/* Numbers in a message, by attribute; NONE if the message does not have the attribute. */
typedef uint64_t numbers[MAX_ATTRIBUTE];

static int netlink = -1;

static void add_attribute(struct request *request, uint16_t type, const void *value, size_t len)
{
	struct nlattr attr = { .nla_type = type, .nla_len = NLA_HDRLEN + len };
	char *at = (char *)request + NLMSG_ALIGN(request->nl.nlmsg_len);

	if (at + NLA_ALIGN(attr.nla_len) > request->attributes + sizeof(request->attributes))
		die("a request is too long");
	memcpy(at, &attr, sizeof(attr));
	memcpy(at + NLA_HDRLEN, value, len);
	request->nl.nlmsg_len = at + NLA_ALIGN(attr.nla_len) - (char *)request;
}

static struct request new_request(uint16_t family, uint8_t command, uint16_t flags)
{
	return (struct request){
		.nl.nlmsg_type = family,
		.nl.nlmsg_flags = NLM_F_REQUEST | flags,
		.nl.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN,
		.genl.cmd = command,
		.genl.version = 1,
	};
}

static void send_request(const struct request *request)
{
	if (send(netlink, request, request->nl.nlmsg_len, 0) < 0)
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
		const void *value = at + NLA_HDRLEN;

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > end - at)
			die("netlink: a message makes no sense");
		if (attr->nla_type < MAX_ATTRIBUTE) {
			if (len == sizeof(uint64_t))
				memcpy(&out[attr->nla_type], value, len);
			else if (len == sizeof(uint32_t))
				out[attr->nla_type] = *(const uint32_t *)value;
			else if (len == sizeof(uint16_t))
				out[attr->nla_type] = *(const uint16_t *)value;
		}
		at += NLA_ALIGN(attr->nla_len);
	}
}

/* Receives the answer, or all answers of a dump until the message that ends it. Returns their number. */
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

/* Reads all objects of an interface, with their attributes, into out. Returns their number. */
static size_t dump(uint16_t family, uint8_t command, uint16_t attribute, uint32_t interface,
		   int scope, numbers *out)
{
	struct request request = new_request(family, command, NLM_F_DUMP);
	uint32_t by_queue = NETDEV_QSTATS_SCOPE_QUEUE;

	add_attribute(&request, attribute, &interface, sizeof(interface));
	if (scope)
		add_attribute(&request, NETDEV_A_QSTATS_SCOPE, &by_queue, sizeof(by_queue));
	send_request(&request);
	return receive(out, MAX_QUEUES, 1);
}

static void print(uint64_t number)
{
	if (number == NONE)
		printf(" -");
	else
		printf(" %llu", (unsigned long long)number);
}

/*
 * Argument: INTERFACE. Prints a line for each queue, "rx|tx NUMBER NAPI INTERRUPT FRAMES BYTES", and
 * one for the device, "total RX-FRAMES RX-BYTES TX-FRAMES TX-BYTES". "-" stands for a missing value.
 */
int cmd_queues(int argc, char **argv)
{
	static numbers family[1], queues[MAX_QUEUES], instances[MAX_QUEUES], stats[MAX_QUEUES];
	uint32_t interface = if_nametoindex(argv[1]);
	size_t queue_count, instance_count, stat_count, q, i;
	struct request request = new_request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	uint16_t netdev;

	(void)argc;
	netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	if (netlink < 0 || !interface)
		die("no interface %s", argv[1]);
	add_attribute(&request, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY_NAME,
		      sizeof(NETDEV_FAMILY_NAME));
	send_request(&request);
	receive(family, 1, 0);
	netdev = family[0][CTRL_ATTR_FAMILY_ID];

	queue_count = dump(netdev, NETDEV_CMD_QUEUE_GET, NETDEV_A_QUEUE_IFINDEX, interface, 0,
			   queues);
	instance_count = dump(netdev, NETDEV_CMD_NAPI_GET, NETDEV_A_NAPI_IFINDEX, interface, 0,
			      instances);
	stat_count = dump(netdev, NETDEV_CMD_QSTATS_GET, NETDEV_A_QSTATS_IFINDEX, interface, 1,
			  stats);
	for (q = 0; q < queue_count; q++) {
		int rx = queues[q][NETDEV_A_QUEUE_TYPE] == NETDEV_QUEUE_TYPE_RX;
		uint64_t irq = NONE, frames = NONE, bytes = NONE;

		for (i = 0; i < instance_count; i++)
			if (instances[i][NETDEV_A_NAPI_ID] == queues[q][NETDEV_A_QUEUE_NAPI_ID])
				irq = instances[i][NETDEV_A_NAPI_IRQ];
		for (i = 0; i < stat_count; i++)
			if (stats[i][NETDEV_A_QSTATS_QUEUE_TYPE] == queues[q][NETDEV_A_QUEUE_TYPE] &&
			    stats[i][NETDEV_A_QSTATS_QUEUE_ID] == queues[q][NETDEV_A_QUEUE_ID]) {
				frames = stats[i][rx ? NETDEV_A_QSTATS_RX_PACKETS
						     : NETDEV_A_QSTATS_TX_PACKETS];
				bytes = stats[i][rx ? NETDEV_A_QSTATS_RX_BYTES
						    : NETDEV_A_QSTATS_TX_BYTES];
			}
		printf(rx ? "rx" : "tx");
		print(queues[q][NETDEV_A_QUEUE_ID]);
		print(queues[q][NETDEV_A_QUEUE_NAPI_ID]);
		print(irq);
		print(frames);
		print(bytes);
		printf("\n");
	}
	if (dump(netdev, NETDEV_CMD_QSTATS_GET, NETDEV_A_QSTATS_IFINDEX, interface, 0, stats) == 1) {
		printf("total");
		print(stats[0][NETDEV_A_QSTATS_RX_PACKETS]);
		print(stats[0][NETDEV_A_QSTATS_RX_BYTES]);
		print(stats[0][NETDEV_A_QSTATS_TX_PACKETS]);
		print(stats[0][NETDEV_A_QSTATS_TX_BYTES]);
		printf("\n");
	}
	return 0;
}
