/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puts an event queue of the processor where the adapter has its registers: the
 * adapter's interrupts are stores to the adapter.
 *
 * Results: return codes of the calls.
 */
#include "adapter.h"

#define PRIORITY	6

	entry
	cas
	keep	3, 0
	li	20, HANDLE
	alloc_eq 20, NOTIFICATION_EQ
	keep	3, 1
	mr	21, 4			/* the event queue */
	mr	22, 9			/* its interrupt source */
	register_page 20, 21, 0, EVENTS
	keep	3, 2

	li	4, 1			/* notify always */
	li	5, 0			/* processor */
	li	6, PRIORITY
	li64	7, ADAPTER
	li	8, 12			/* 4 KiB */
	hcall	H_INT_SET_QUEUE_CONFIG
	keep	3, 3

	li	4, 2			/* with a number for the processor */
	mr	5, 22
	li	6, 0			/* processor */
	li	7, PRIORITY
	li	8, 5			/* the number */
	hcall	H_INT_SET_SOURCE_CONFIG
	keep	3, 4

	/* Turns the source on */
	li64	23, ESB_PAGE(0) + ESB_ON
	sldi	24, 22, 17
	ldx	24, 23, 24
	done
