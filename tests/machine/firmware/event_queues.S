/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocates event queues in 16 adapters, one adapter after the other, until each
 * refuses.
 *
 * Results, four of each adapter: how many it says that it has, how many it gave,
 * the lowest and the highest interrupt source.
 */
#include "adapter.h"

#define ADAPTERS	16
#define MAX_EQS		0x1c		/* in the block of the query */

	entry
	li	20, HANDLE
	li64	28, RESULTS
next:	mr	4, 20
	li64	5, BLOCK
	hcall	H_QUERY_HEA
	li64	21, BLOCK
	lwz	22, MAX_EQS(21)
	li	23, 0			/* given */
	li	24, -1			/* the lowest */
	li	25, 0			/* the highest */
again:	alloc_eq 20, AFFILIATED_EQ
	cmpdi	3, 0
	bne	full
	addi	23, 23, 1
	cmpld	9, 24
	bge	1f
	mr	24, 9
1:	cmpld	9, 25
	ble	again
	mr	25, 9
	b	again

full:	std	22, 8(28)
	std	23, 16(28)
	std	24, 24(28)
	std	25, 32(28)
	addi	28, 28, 32
	addi	20, 20, 1
	cmpdi	20, HANDLE + ADAPTERS
	blt	next
	li64	30, RESULTS
	done
