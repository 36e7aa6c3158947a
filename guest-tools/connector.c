// SPDX-License-Identifier: GPL-2.0
/*
 * Takes what is at a dynamic-reconfiguration connector from firmware, or gives it back (LoPAPR, "Dynamic
 * Reconfiguration"). The device tree is the kernel's to change, by /sys/kernel/dlpar.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ehea-net.h"

#define ISOLATION_STATE		9001
#define ALLOCATION_STATE	9003

/* All words are big-endian. The results follow the arguments in args. */
struct rtas_args {
	uint32_t token;
	uint32_t nargs;
	uint32_t nret;
	uint32_t args[16];
	uint64_t reserved;
} __attribute__((aligned(8)));

static uint32_t token(const char *path)
{
	uint32_t value;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, &value, sizeof(value)) != sizeof(value))
		die("%s", path);
	close(fd);
	return value;
}

static int set_indicator(uint32_t indicator, uint32_t connector, uint32_t state)
{
	struct rtas_args call = {
		.token = token("/proc/device-tree/rtas/set-indicator"),
		.nargs = htobe32(3),
		.nret = htobe32(1),
		.args = { htobe32(indicator), htobe32(connector), htobe32(state) },
	};
	int status;

	if (syscall(SYS_rtas, &call))
		die("rtas");
	status = be32toh(call.args[3]);
	if (status)
		fprintf(stderr, "ehea-net: set-indicator %u of %#x to %u: status %d\n", indicator, connector,
			state, status);
	return status;
}

/* Arguments: take|give-back CONNECTOR, its index. */
int cmd_connector(int argc, char **argv)
{
	uint32_t connector = parse_number(argv[2]);

	(void)argc;
	errno = 0;
	if (!strcmp(argv[1], "take"))
		return set_indicator(ALLOCATION_STATE, connector, 1) || set_indicator(ISOLATION_STATE, connector, 1);
	if (!strcmp(argv[1], "give-back"))
		return set_indicator(ISOLATION_STATE, connector, 0) || set_indicator(ALLOCATION_STATE, connector, 0);
	die("%s is neither take nor give-back", argv[1]);
}
