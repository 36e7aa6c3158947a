// SPDX-License-Identifier: GPL-2.0
/*
 * Executes the mark of the plugin that counts instructions (qemu/plugin/count.c).
 */
#include "ehea-net.h"

/* Arguments: NUMBER, at least 1. */
int cmd_mark(int argc, char **argv)
{
	register uint64_t number asm("r3") = parse_number(argv[1]);

	(void)argc;
	asm volatile("or 20,20,20" : : "r" (number));
	return 0;
}
