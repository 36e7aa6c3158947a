// SPDX-License-Identifier: GPL-2.0
/*
 * Gives an LMB back to the machine. Linux has removed it without a request of the machine, which
 * therefore refused to take it at that time.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ehea-net.h"

/* Indicators of a dynamic-reconfiguration connector, and their states for an LMB that nobody has. */
#define ISOLATION_STATE		9001
#define ISOLATED		0
#define ALLOCATION_STATE	9003
#define UNUSABLE		0

/* Arguments of a call, laid out like the kernel's struct rtas_args. */
struct rtas_call {
	uint32_t token;
	uint32_t inputs;
	uint32_t outputs;
	uint32_t values[16];
	uint64_t reserved;
};

static uint32_t set_indicator_token(void)
{
	FILE *property = fopen("/proc/device-tree/rtas/set-indicator", "r");
	uint32_t token;

	if (!property || fread(&token, sizeof(token), 1, property) != 1)
		die("no RTAS call set-indicator");
	fclose(property);
	return ntohl(token);
}

static void set_indicator(uint32_t indicator, uint32_t connector, uint32_t state)
{
	struct rtas_call call = {
		.token = htonl(set_indicator_token()),
		.inputs = htonl(3),
		.outputs = htonl(1),
		.values = { htonl(indicator), htonl(connector), htonl(state) },
	};

	if (syscall(SYS_rtas, &call))
		die("rtas");
	if (call.values[3])
		die("set-indicator %u of %#x: status %d", indicator, connector,
		    (int)ntohl(call.values[3]));
}

/* Arguments: CONNECTOR, the index of the LMB's dynamic-reconfiguration connector. */
int cmd_release(int argc, char **argv)
{
	uint32_t connector = parse_number(argv[1]);

	(void)argc;
	set_indicator(ISOLATION_STATE, connector, ISOLATED);
	set_indicator(ALLOCATION_STATE, connector, UNUSABLE);
	return 0;
}
