/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Gives the first LMB of the first DIMM back, which the machine refuses as nobody
 * asked for it, and negotiates its options again: whose LMB is it when?
 *
 * Results: the return code of the negotiation, then those of three attempts to
 * use the LMB for a queue: at first, given back, and after the negotiation.
 */
#include "adapter.h"

#define SET_INDICATOR	0x201a
#define ISOLATION_STATE	9001
#define ISOLATE		0
/* Its connector: the type, and the number of the LMB of 256 MiB */
#define CONNECTOR	(0x80000000 + (DIMM >> 28))

	/* Uses the LMB for an event queue, and frees it. */
	.macro	attempt result
	alloc_eq 20, NOTIFICATION_EQ
	mr	21, 4
	register_page 20, 21, 0, DIMM
	keep	3, \result
	li	4, HANDLE
	mr	5, 21
	li	6, 1			/* with force */
	hcall	H_FREE_RESOURCE
	.endm

	entry
	li	20, HANDLE
	cas
	keep	3, 0
	attempt	1
	li	4, isolate@l
	hcall	H_RTAS
	attempt	2
	cas
	attempt	3
	done

	.balign	8
isolate:
	.long	SET_INDICATOR, 3, 1, ISOLATION_STATE, CONNECTOR, ISOLATE, 0
