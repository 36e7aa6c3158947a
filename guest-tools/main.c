// SPDX-License-Identifier: GPL-2.0
/*
 * ehea-net: traffic tools for the guest, one subcommand for each job.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ehea-net.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	int arguments;
	const char *usage;
} commands[] = {
	{ "reflect", cmd_reflect, 2, "INTERFACE REPORT" },
	{ "blast", cmd_blast, 4, "INTERFACE COUNT LENGTH STREAM" },
	{ "fragments", cmd_fragments, 6, "ADDRESS PORT ROUNDS STREAM LOW HIGH" },
	{ "hold", cmd_hold, 7, "ADDRESS PORT COUNT STREAM LOW HIGH READY" },
	{ "pieces", cmd_pieces, 5, "ADDRESS PORT PIECES COUNT STREAM" },
	{ "flows", cmd_flows, 5, "ADDRESS PORT FLOWS COUNT STREAM" },
	{ "offload", cmd_offload, 8,
	  "INTERFACE DESTINATION tcp|udp COUNT LENGTH STEP MSS STREAM" },
	{ "vnet", cmd_vnet, 3, "INTERFACE DESTINATION KIND" },
	{ "odd", cmd_odd, 4, "INTERFACE DESTINATION SEED COUNT" },
	{ "watch", cmd_watch, 2, "INTERFACE REPORT" },
	{ "multicast", cmd_multicast, 3, "INTERFACE add|del ADDRESS" },
	{ "kdump", cmd_kdump, 3, "KERNEL INITRD COMMAND-LINE" },
	{ "kexec", cmd_kexec, 3, "KERNEL INITRD COMMAND-LINE" },
	{ "sendpages", cmd_sendpages, 5, "FILE ADDRESS PORT LOW HIGH" },
	{ "senddatagrams", cmd_senddatagrams, 6, "FILE ADDRESS PORT COUNT LOW HIGH" },
	{ "receive", cmd_receive, 2, "ADDRESS PORT" },
	{ "soak", cmd_soak, 1, "COMMAND" },
	{ "await", cmd_await, 2, "INTERFACE READY" },
	{ "mark", cmd_mark, 1, "NUMBER" },
	{ "queues", cmd_queues, 1, "INTERFACE" },
	{ "connector", cmd_connector, 2, "take|give-back CONNECTOR" },
};

void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	fprintf(stderr, "ehea-net: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fprintf(stderr, "\n");
	exit(1);
}

uint64_t parse_number(const char *text)
{
	uint64_t number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || end == text || *end)
		die("%s is not a number", text);
	return number;
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (argc - 2 != commands[i].arguments) {
			fprintf(stderr, "usage: ehea-net %s %s\n", argv[1], commands[i].usage);
			return 2;
		}
		return commands[i].run(argc - 1, argv + 1);
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "usage: ehea-net %s %s\n", commands[i].name, commands[i].usage);
	return 2;
}
